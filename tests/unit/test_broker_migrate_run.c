/* The course of an import: the look, commands, ends, what is remembered; take-over and give-back. */
#include "tests/unit/migrate_player.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the look ---- */

static void what_ends_the_process_is_left_out(void **state)
{
	struct fixture *f = *state;
	cJSON *request;

	/* The first dies at /h/a, having found something before; the second hangs at /h/b. */
	script(FOUND("pi", "/h/0"), ENTRY("pi", "/h/0", "rota", "rota", "api_key", KEY("0")),
		LOOKING("pi", "/h/a"), DIE);
	script(FOUND("pi", "/h/0"), LOOKING("cc", "/h/b"), "hang\n");
	script(FOUND("pi", "/h/0"), ENTRY("pi", "/h/0", "rota", "rota", "api_key", KEY("0")), END);
	assert_int_equal(migrate(f, "now"), 0);
	assert_int_equal(player_started(), 3);
	assert_report(f, "/files/0/path", "/h/a");
	assert_report(f, "/files/0/state", "unreadable");
	assert_report(f, "/files/0/reason", "the process that read it ended");
	assert_report(f, "/files/1/path", "/h/b");
	assert_report(f, "/files/1/reason", "no answer within 5 s");
	assert_report(f, "/files/2/path", "/h/0");
	assert_report(f, "/files/3/path", NULL);
	assert_entry(f, 0, "rota imported", "");
	request = player_asked(2, 0);
	assert_string_equal(json_at(request, "/skip/0")->valuestring, "/h/a");
	assert_string_equal(json_at(request, "/skip/1")->valuestring, "/h/b");
	cJSON_Delete(request);
}

static void it_is_given_up_some_time(void **state)
{
	struct fixture *f = *state;
	char text[256];

	for (unsigned i = 0; i < 9; i++) {
		snprintf(text, sizeof(text), LOOKING("pi", "/h/%u") DIE, i);
		script(text);
	}
	assert_int_equal(migrate(f, "now"), -EIO);
	assert_int_equal(player_started(), 9);
	assert_report(f, "/state", "pending");
	assert_report(f, "/error", "the process for other programs' files ended");
	/* And it can be tried again. */
	script("{\"m\":\"error\",\"reason\":\"no home\"}\n");
	assert_int_equal(migrate(f, "now"), -EIO);
	assert_report(f, "/error", "no home");
	script(END);
	assert_int_equal(migrate(f, "now"), 0);
	assert_report(f, "/state", "not_needed");
	assert_report(f, "/error", NULL);
}

static void a_long_report_counts_what_it_leaves_out(void **state)
{
	struct fixture *f = *state;
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);
	cJSON *root;

	fputs(FOUND("pi", "/h/0"), to);
	for (unsigned i = 0; i < 1500; i++)
		fprintf(to,
			"{\"m\":\"entry\",\"tool\":\"pi\",\"path\":\"/h/0\",\"name\":\"n%u\","
			"\"provider\":\"rota\",\"refused\":\"a variable\"}\n",
			i);
	fputs(ENTRY("pi", "/h/0", "last", "rota", "api_key", KEY("0")) END, to);
	fclose(to);
	script(text);
	free(text);
	assert_int_equal(migrate(f, "now"), 0);
	root = report(f);
	size = (size_t)cJSON_GetArraySize(json_at(root, "/entries"));
	assert_in_range(size, 500, 999);
	assert_int_equal(json_at(root, "/more")->valueint, 1501 - (int)size);
	cJSON_Delete(root);
	assert_profile_key(f, "rota", CANARY "-0");
	fixture_restart(f);
	root = report(f);
	assert_int_equal(json_at(root, "/more")->valueint, 1501 - (int)size);
	cJSON_Delete(root);
}

/* ---- commands ---- */

static void commands_are_checked(void **state)
{
	static const char *const bad[] = { "", " ", "\n", "never", "now then", "from", "from x",
		"dry-run now", "dry-run from", "skip it", "now\nskip", "NOW" };
	struct fixture *f = *state;
	struct outcome first = { 0 }, second = { 0 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (migrate(f, bad[i]) != -EINVAL)
			fail_msg("%s", bad[i]);
	}
	assert_int_equal(migrate(f, "take-over nosuch"), -ENOENT);
	assert_int_equal(player_started(), 0);
	assert_report(f, "/state", "pending");

	script(FOUND("pi", "/h/a b"), END);
	broker_migrate(f->b, "dry-run  from /h/a b\n", 21, outcome_done, &first);
	assert_report(f, "/state", "running");
	broker_migrate(f->b, "now", 3, outcome_done, &second);
	assert_true(second.ended);
	assert_int_equal(second.r, -EBUSY);
	assert_int_equal(outcome_await(f, &first), 0);
	assert_report(f, "/command", "from /h/a b");
	assert_report(f, "/state", "pending");
	assert_int_equal(migrate(f, "take-over"), 0);
	assert_report(f, "/state", "pending");

	assert_int_equal(migrate(f, "skip"), 0);
	assert_report(f, "/state", "skipped");
	fixture_restart(f);
	assert_report(f, "/state", "skipped");
	assert_null(fixture_record(f, "rota"));
}

static void without_a_process_there_is_only_skip(void **state)
{
	struct fixture *f = *state;

	f->legacy = NULL;
	fixture_restart(f);
	assert_int_equal(migrate(f, "now"), -EOPNOTSUPP);
	assert_int_equal(migrate(f, "take-over"), -EOPNOTSUPP);
	assert_int_equal(migrate(f, "skip"), 0);
	assert_report(f, "/state", "skipped");
}

static void the_end_of_the_broker_ends_it(void **state)
{
	struct fixture *f = *state;
	struct outcome looking = { 0 }, deciding = { 0 };
	struct slow_disk *disk;

	script(LOOKING("pi", "/h/a"), "hang\n");
	broker_migrate(f->b, "now", 3, outcome_done, &looking);
	fixture_close(f);
	assert_true(looking.ended);
	assert_int_equal(looking.r, -EINTR);
	fixture_open(f);

	script(FOUND("pi", "/h/pi"), ENTRY("pi", "/h/pi", "plain", "plain", "api_key", KEY("1")),
		ENTRY("pi", "/h/pi", "free", "free", "api_key", KEY("2")), END);
	disk = slow_disk_start(f);
	broker_migrate(f->b, "now", 3, outcome_done, &deciding);
	while (!f->b->busy) {
		struct pollfd pfd = { .fd = broker_fd(f->b), .events = POLLIN };

		assert_true(poll(&pfd, 1, 30000) > 0);
		broker_dispatch(f->b);
	}
	slow_disk_end(disk);
	fixture_close(f);
	assert_true(deciding.ended);
	fixture_open(f);
	assert_profile_key(f, "plain", CANARY "-1");
}

/* What was decided is lost: it could have been "skip". */
static void a_damaged_decision_imports_nothing(void **state)
{
	struct fixture *f = *state;
	struct pa_err err;

	fixture_close(f);
	f->vault = fixture_vault(f);
	struct sealed s = { 0 };

	must(vault_seal(f->vault, MIGRATE_RECORD, 1,
		     "{\"format\":1,\"profile\":\".migrate\",\"report\":7}", 45, &s, &err),
		&err, "seal");
	must(vault_put_now(f->vault, MIGRATE_RECORD, &s, &err), &err, "put");
	sealed_free(&s);
	vault_close(f->vault);
	f->import = true;
	fixture_open(f);
	assert_false(broker_is_importing(f->b));
	assert_report(f, "/state", "pending");
	assert_report(f, "/error", "what was decided cannot be read: it is damaged");
	script(END);
	assert_int_equal(migrate(f, "now"), 0);
	fixture_restart(f);
	assert_report(f, "/state", "not_needed");
	assert_report(f, "/error", NULL);
}

static void the_first_start_imports_once(void **state)
{
	struct fixture *f = *state;

	f->import = true;
	script(FOUND("pi", "/h/pi"), ENTRY("pi", "/h/pi", "plain", "plain", "api_key", KEY("1")),
		END);
	fixture_restart(f);
	assert_true(broker_is_importing(f->b));
	await_import(f);
	assert_profile_key(f, "plain", CANARY "-1");
	fixture_restart(f);
	assert_false(broker_is_importing(f->b));
	assert_int_equal(player_started(), 1);
}

/* ---- take-over, give-back ---- */

#define OPEN "{\"m\":\"opened\"}\n"
#define OPENED(path, lock)                                 \
	"{\"m\":\"file\",\"tool\":\"pi\",\"path\":\"" path \
	"\",\"state\":\"found\",\"lock\":\"" lock "\"}\n"
#define HAS(path, name, entry)                                                    \
	"{\"m\":\"entry\",\"tool\":\"pi\",\"path\":\"" path "\",\"name\":\"" name \
	"\",\"entry\":" entry "}\n"
#define PUT(path, name, result)                                                 \
	"{\"m\":\"put\",\"tool\":\"pi\",\"path\":\"" path "\",\"name\":\"" name \
	"\",\"result\":\"" result "\",\"reason\":\"because\"}\n"

static void import_keys(struct fixture *f)
{
	script(FOUND("pi", "/h/pi"), ENTRY("pi", "/h/pi", "plain", "plain", "api_key", KEY("1")),
		ENTRY("pi", "/h/pi", "free", "free", "api_key", KEY("2")),
		ENTRY("pi", "/h/two", "robot", "robot", "api_key", KEY("3")), END);
	assert_int_equal(migrate(f, "now"), 0);
	assert_link(f, "robot", 0, "/h/two", "on");
}

static void secrets_are_taken_and_given_back(void **state)
{
	struct fixture *f = *state;
	uint64_t before;
	cJSON *request;

	import_keys(f);
	before = generation_of(f, "plain");
	script(OPENED("/h/pi", "held"), HAS("/h/pi", "plain", KEY("1")),
		HAS("/h/pi", "free", KEY("2")), OPEN, "<\n", PUT("/h/pi", "free", "written"), "<\n",
		PUT("/h/pi", "plain", "written"));
	script(OPENED("/h/two", "held"), HAS("/h/two", "robot", KEY("3")), OPEN, "<\n",
		PUT("/h/two", "robot", "written"));
	assert_int_equal(migrate(f, "take-over backup"), 0);
	assert_entry(f, 0, "free taken", "");
	assert_entry(f, 1, "plain taken", "");
	assert_entry(f, 2, "robot taken", "");
	assert_link(f, "plain", 0, "/h/pi", "taken");
	assert_profile_key(f, "plain", CANARY "-1");
	assert_int_equal(generation_of(f, "plain"), before);
	request = player_asked(1, 0);
	assert_string_equal(json_str(request, "op"), "open");
	assert_true(json_bool(request, "lock", false));
	assert_int_equal(cJSON_GetArraySize(json_at(request, "/files/0/names")), 2);
	cJSON_Delete(request);
	request = player_asked(1, 1);
	assert_string_equal(json_str(request, "op"), "drop");
	assert_string_equal(json_str(request, "expect"), CANARY "-2");
	assert_true(json_bool(request, "backup", false));
	cJSON_Delete(request);

	script(OPENED("/h/pi", "held"), OPEN, "<\n", PUT("/h/pi", "plain", "written"));
	assert_int_equal(migrate(f, "give-back plain"), 0);
	assert_entry(f, 0, "plain given_back", "");
	assert_link(f, "plain", 0, "/h/pi", "on");
	assert_link(f, "free", 0, "/h/pi", "taken");
	request = player_asked(3, 1);
	assert_string_equal(json_str(request, "op"), "put");
	assert_string_equal(json_str(request, "expect"), "");
	assert_string_equal(json_at(request, "/entry/key")->valuestring, CANARY "-1");
	assert_null(json_at(request, "/entry/set"));
	cJSON_Delete(request);
	assert_int_equal(fixture_events(f, "taken_over"), 3);
	assert_int_equal(fixture_events(f, "given_back"), 1);
}

static void a_file_that_is_not_changed_stays_linked(void **state)
{
	struct fixture *f = *state;

	import_keys(f);
	/* One holds another key, the other cannot be written; then a lock is held; then it is gone. */
	script(OPENED("/h/pi", "held"), HAS("/h/pi", "plain", KEY("other")),
		HAS("/h/pi", "free", KEY("2")), OPEN, "<\n", PUT("/h/pi", "free", "failed"));
	script(OPENED("/h/two", "busy"), OPEN);
	assert_int_equal(migrate(f, "take-over"), 0);
	assert_entry(f, 0, "free failed", "because");
	assert_entry(f, 1, "plain failed", "the file holds another credential");
	assert_entry(f, 2, "robot failed", "another program holds its lock");
	assert_link(f, "free", 0, "/h/pi", "on");
	assert_link(f, "plain", 0, "/h/pi", "on");
	assert_link(f, "robot", 0, "/h/two", "on");
	script(OPENED("/h/two", "held"), OPEN);
	assert_int_equal(migrate(f, "take-over robot"), 0);
	assert_entry(f, 0, "robot taken", "it was not there any more");
	script(OPENED("/h/two", "held"), HAS("/h/two", "robot", KEY("other")), OPEN);
	assert_int_equal(migrate(f, "give-back"), 0);
	assert_entry(f, 0, "robot failed", "the file holds another credential");
	assert_link(f, "robot", 0, "/h/two", "taken");
	script(OPENED("/h/two", "held"), HAS("/h/two", "robot", KEY("3")), OPEN);
	assert_int_equal(migrate(f, "give-back"), 0);
	assert_entry(f, 0, "robot given_back", "");
}

/* Whether the entry is gone is not known: a record that says "on" would make it a logout. */
static void a_process_that_dies_at_it_costs_no_login(void **state)
{
	struct fixture *f = *state;

	import_keys(f);
	script(OPENED("/h/pi", "held"), HAS("/h/pi", "plain", KEY("1")),
		HAS("/h/pi", "free", KEY("2")), OPEN, "<\n", DIE);
	script(DIE);
	assert_int_equal(migrate(f, "take-over"), 0);
	assert_report(f, "/entries/0/decision", "failed");
	assert_report(f, "/entries/1/decision", "failed");
	assert_report(f, "/entries/2/decision", "failed");
	assert_link(f, "free", 0, "/h/pi", "taken");
	assert_link(f, "plain", 0, "/h/pi", "on");
	assert_link(f, "robot", 0, "/h/two", "on");
	/* It still was there: the next look finds it, and it is linked again. */
	script(FOUND("pi", "/h/pi"), ENTRY("pi", "/h/pi", "free", "free", "api_key", KEY("2")),
		END);
	assert_int_equal(migrate(f, "now"), 0);
	assert_entry(f, 0, "free already_there", "");
	assert_link(f, "free", 0, "/h/pi", "on");
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			what_ends_the_process_is_left_out, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			it_is_given_up_some_time, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_long_report_counts_what_it_leaves_out, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			commands_are_checked, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			without_a_process_there_is_only_skip, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			the_end_of_the_broker_ends_it, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_damaged_decision_imports_nothing, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			the_first_start_imports_once, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			secrets_are_taken_and_given_back, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_file_that_is_not_changed_stays_linked, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_process_that_dies_at_it_costs_no_login, player_setup, fixture_teardown),
	};
	int code;

	if (player_is_it(argc, argv, &code))
		return code;
	fixture_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
