/* What an import decides about the entries that it finds, and what the store holds then. */
#include "tests/unit/migrate_player.h"

#include <stdio.h>
#include <stdlib.h>

static void what_is_new_is_imported(void **state)
{
	struct fixture *f = *state;
	cJSON *request;

	assert_report(f, "/state", "pending");
	script(FOUND("pi", "/h/auth.json"),
		ENTRY("pi", "/h/auth.json", "Rotary", "Rotary", "oauth", LOGIN("1", SOON)),
		ENTRY("pi", "/h/auth.json", "plain", "plain", "api_key",
			"{\"type\":\"api_key\",\"key\":\"" CANARY "-k\",\"env\":{\"A\":\"b\"}}"),
		ENTRY("pi", "/h/auth.json", "Custom", "Custom", "api_key", KEY("c")), END);
	assert_int_equal(migrate(f, "now"), 0);
	assert_report(f, "/state", "migrated");
	assert_report(f, "/command", "now");
	assert_report(f, "/files/0/state", "found");
	assert_report(f, "/files/0/tool", "pi");
	assert_entry(f, 0, "rota imported", "");
	assert_entry(f, 1, "plain imported", "");
	assert_entry(f, 2, "custom imported", "");
	assert_profile_key(f, "rota", CANARY "-a1");
	assert_profile_key(f, "plain", CANARY "-k");
	assert_profile_key(f, "custom", CANARY "-c");
	assert_link(f, "rota", 0, "/h/auth.json", "on");
	assert_int_equal(fixture_events(f, "imported"), 3);
	request = player_asked(0, 0);
	assert_string_equal(json_str(request, "op"), "scan");
	assert_null(json_str(request, "from"));
	cJSON_Delete(request);

	fixture_restart(f);
	assert_report(f, "/state", "migrated");
	assert_entry(f, 2, "custom imported", "");
	assert_profile_key(f, "custom", CANARY "-c");
	fixture_close(f);
	request = fixture_record(f, "plain");
	assert_string_equal(json_at(request, "/api_key/env/A")->valuestring, "b");
	cJSON_Delete(request);
	request = fixture_record(f, "rota");
	assert_int_equal(cJSON_GetArraySize(json_at(request, "/known")), 1);
	assert_true(json_at(request, "/oauth/refreshed")->valuedouble == (double)WALL_0);
	cJSON_Delete(request);
}

static void names_that_cannot_be_are_refused(void **state)
{
	static const char nobody[] = "its provider has no name that a directory can have";
	struct fixture *f = *state;

	script(FOUND("pi", "/h/auth.json"),
		ENTRY("pi", "/h/auth.json", "a", "no good", "api_key", KEY("c")),
		ENTRY("pi", "/h/auth.json", "b", "", "api_key", KEY("c")),
		ENTRY("pi", "/h/auth.json", "c", "../x", "api_key", KEY("c")),
		ENTRY("pi", "/h/auth.json", "d", "status", "api_key", KEY("c")),
		ENTRY("pi", "/h/auth.json", "e", "x@y", "api_key", KEY("c")),
		ENTRY("pi", "/h/auth.json", "f", ".piauth", "api_key", KEY("c")),
		PART("pi", "/h/auth.json", "g", "rota", "a b", "api_key", KEY("c")),
		REFUSED("pi", "/h/auth.json", "h", "a variable"),
		ENTRY("pi", "/h/auth.json", "i", "rota", "oauth", "{\"type\":\"oauth\"}"),
		ENTRY("pi", "/h/auth.json", "j", "rota", "api_key",
			"{\"type\":\"api_key\",\"key\":\"$X\"}"),
		ENTRY("pi", "/h/auth.json", "k", "rota", "api_key", "7"), END);
	assert_int_equal(migrate(f, "now"), 0);
	assert_entry(f, 0, "- refused", nobody);
	assert_entry(f, 1, "- refused", nobody);
	assert_entry(f, 2, "- refused", nobody);
	assert_entry(f, 3, "- refused", "the mount has a file of its own under this name");
	assert_entry(f, 4, "- refused", nobody);
	assert_entry(f, 5, "- refused", nobody);
	assert_entry(f, 6, "- refused", "its profile has no name that a directory can have");
	assert_entry(f, 7, "rota refused", "a variable");
	assert_entry(f, 9, "rota refused", "\"key\" is a command or variable, not a key");
	assert_entry(f, 10, "rota refused", "an object with a \"type\" is expected");
	assert_null(broker_next(f->b, NULL));
	assert_int_equal(fixture_events(f, "imported"), 0);
}

/* Two tools at one provider; one login in two files; a tool's second login. */
static const char *const families[] = { FOUND("pi", "/h/pi"), FOUND("cc", "/h/cc"),
	FOUND("oc", "/h/oc"), ENTRY("pi", "/h/pi", "rota", "rota", "oauth", LOGIN("1", SOON)),
	ENTRY("cc", "/h/cc", "x", "rota", "oauth", LOGIN("2", SOON)),
	ENTRY("oc", "/h/oc", "rota", "rota", "oauth", LOGIN("1", SOON)),
	ENTRY("pi", "/h/pi-old", "rota", "rota", "oauth", LOGIN("3", LATER)),
	ENTRY("pi", "/h/pi-old", "k", "plain", "api_key", KEY("1")),
	ENTRY("cc", "/h/cc", "k", "plain", "api_key", KEY("2")),
	ENTRY("oc", "/h/oc", "k", "plain", "api_key", KEY("1")),
	PART("oc", "/h/oc", "w", "rota", "work", "oauth", LOGIN("2", SOON)), END, NULL };

static void assert_families(struct fixture *f, bool again)
{
	const char *word = again ? "already_there" : "imported";
	char wanted[64];

	snprintf(wanted, sizeof(wanted), "rota %s", word);
	assert_entry(f, 0, wanted, "");
	snprintf(wanted, sizeof(wanted), "rota@cc %s", word);
	assert_entry(f, 1, wanted, "");
	assert_entry(f, 2, "rota already_there", "");
	assert_entry(f, 3, "rota newer_there", "another login is stored here");
	snprintf(wanted, sizeof(wanted), "plain %s", word);
	assert_entry(f, 4, wanted, "");
	snprintf(wanted, sizeof(wanted), "plain@cc %s", word);
	assert_entry(f, 5, wanted, "");
	assert_entry(f, 6, "plain already_there", "");
	assert_entry(f, 7, "rota@cc already_there", "");
}

static void a_family_has_one_profile(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	script_of(families);
	script_of(families);
	script_of(families);
	assert_int_equal(migrate(f, "dry-run"), 0);
	assert_families(f, false);
	assert_null(broker_next(f->b, NULL));
	assert_int_equal(migrate(f, "now"), 0);
	assert_families(f, false);
	assert_int_equal(fixture_events(f, "imported"), 4);
	assert_link(f, "rota", 0, "/h/pi", "on");
	assert_link(f, "rota", 1, "/h/oc", "on");
	assert_link(f, "rota@cc", 0, "/h/cc", "on");
	assert_link(f, "rota@cc", 1, "/h/oc", "on");
	assert_profile_key(f, "rota@cc", CANARY "-a2");
	before = f->b->count.saves;
	assert_int_equal(migrate(f, "now"), 0);
	assert_families(f, true);
	assert_int_equal(f->b->count.saves, before);
	assert_int_equal(fixture_events(f, "imported"), 4);
}

static void what_is_stored_wins(void **state)
{
	static const char *const scan[] = { FOUND("pi", "/h/pi"),
		ENTRY("pi", "/h/pi", "rota", "rota", "oauth", LOGIN("1", LATER)),
		ENTRY("pi", "/h/pi", "free", "free", "oauth", LOGIN("2", "1")),
		ENTRY("pi", "/h/pi", "plain", "plain", "api_key", KEY("file")), END, NULL };
	struct fixture *f = *state;
	struct profile *rota = fixture_profile(f, "rota"), *free_ = fixture_profile(f, "free"),
		       *plain = fixture_profile(f, "plain");
	cJSON *status;

	fixture_login(f, rota, HOUR, NULL);
	fixture_login(f, free_, HOUR, NULL);
	fixture_key(f, plain, CANARY "-mine");
	script_of(scan);
	assert_int_equal(migrate(f, "now"), 0);
	assert_entry(f, 0, "rota newer_there", "another login is stored here");
	assert_entry(f, 1, "free newer_here", "another login is stored here");
	assert_entry(f, 2, "plain newer_here", "another key is stored here");
	assert_key(f, rota, CANARY "-at-0");
	assert_key(f, plain, CANARY "-mine");
	status = fixture_status(f, rota);
	assert_int_equal(cJSON_GetArraySize(json_at(status, "/links")), 0);
	cJSON_Delete(status);
}

/* A key that is there goes on being what is served. */
static void another_lane_does_not_take_over(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_key(f, p, CANARY "-mine");
	script(FOUND("pi", "/h/pi"),
		ENTRY("pi", "/h/pi", "rota", "rota", "oauth", LOGIN("1", LATER)), END);
	assert_int_equal(migrate(f, "now"), 0);
	assert_entry(f, 0, "rota imported", "");
	assert_key(f, p, CANARY "-mine");
	assert_int_equal(fixture_mode(f, p, "oauth"), 0);
	assert_key(f, p, CANARY "-a1");
}

static void a_logout_is_remembered(void **state)
{
	static const char *const scan[] = { FOUND("pi", "/h/pi"),
		ENTRY("pi", "/h/pi", "rota", "rota", "oauth", LOGIN("1", LATER)),
		ENTRY("pi", "/h/pi", "plain", "plain", "api_key", KEY("k")), END, NULL };
	struct fixture *f = *state;

	script_of(scan);
	script_of(scan);
	assert_int_equal(migrate(f, "now"), 0);
	assert_int_equal(fixture_forget(f, fixture_profile(f, "rota"), LANE_NONE), 0);
	assert_int_equal(fixture_forget(f, fixture_profile(f, "plain"), LANE_NONE), 0);
	fixture_restart(f);
	assert_int_equal(migrate(f, "now"), 0);
	assert_entry(f, 0, "rota already_there", "logged out here");
	assert_entry(f, 1, "plain already_there", "logged out here");
	assert_null(broker_next(f->b, NULL));
}

static void an_older_token_of_the_family_is_no_login(void **state)
{
	static const char *const scan[] = { FOUND("pi", "/h/pi"),
		ENTRY("pi", "/h/pi", "rota", "rota", "oauth", LOGIN("1", LATER)), END, NULL };
	struct fixture *f = *state;
	char record[64];

	script_of(scan);
	script_of(scan);
	assert_int_equal(migrate(f, "now"), 0);
	fixture_close(f);
	/* As after a rotation that did not reach the file. */
	snprintf(record, sizeof(record), "\"%s\"", CANARY "-r9");
	fixture_edit(f, "rota", "oauth/refresh", record);
	fixture_open(f);
	assert_int_equal(migrate(f, "now"), 0);
	assert_entry(f, 0, "rota newer_here", "an older token of this login");
}

static void a_dead_login_gives_way(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, HOUR, NULL);
	profile_drop(p, 1);
	fixture_close(f);
	fixture_edit(f, "rota", "dead", "{\"detail\":\"x\",\"http_status\":400,\"at\":1}");
	fixture_open(f);
	script(FOUND("pi", "/h/pi"),
		ENTRY("pi", "/h/pi", "rota", "rota", "oauth", LOGIN("1", SOON)), END);
	assert_int_equal(migrate(f, "now"), 0);
	assert_entry(f, 0, "rota imported", "");
	assert_profile_key(f, "rota", CANARY "-a1");
}

static void a_damaged_record_is_left_alone(void **state)
{
	struct fixture *f = *state;
	char name[SEAL_NAME_LEN + 1], path[512];
	struct pa_err err;
	FILE *file;

	fixture_key(f, fixture_profile(f, "plain"), CANARY "-mine");
	must(vault_name(f->vault, "plain", name, &err), &err, "name");
	fixture_close(f);
	snprintf(path, sizeof(path), "%s/store/records/%s", f->dir, name);
	file = fopen(path, "r+e");
	assert_non_null(file);
	fseek(file, 200, SEEK_SET);
	fputs("damage", file);
	fclose(file);
	fixture_open(f);
	script(FOUND("pi", "/h/pi"), ENTRY("pi", "/h/pi", "plain", "plain", "api_key", KEY("file")),
		ENTRY("pi", "/h/pi", "rota", "rota", "api_key", KEY("file")), END);
	assert_int_equal(migrate(f, "now"), 0);
	assert_report(f, "/entries/0/decision", "failed");
	assert_entry(f, 1, "rota imported", "");
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			what_is_new_is_imported, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			names_that_cannot_be_are_refused, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_family_has_one_profile, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			what_is_stored_wins, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			another_lane_does_not_take_over, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_logout_is_remembered, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			an_older_token_of_the_family_is_no_login, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_dead_login_gives_way, player_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_damaged_record_is_left_alone, player_setup, fixture_teardown),
	};
	int code;

	if (player_is_it(argc, argv, &code))
		return code;
	fixture_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
