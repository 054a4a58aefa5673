/* A login that is shared with another program's file: the real process reads and writes the file. */
#include "tests/unit/broker_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/import/serve.h"
#include "store/link.h"

#define PATIENCE_MS 30000
#define LOCK_DIR    "auth.json.lock"

static bool silent; /* the process that is started says nothing */

static int start(void *arg, int *ret_fd, int *ret_pidfd, struct pa_err *err)
{
	struct fixture *f = arg;
	posix_spawn_file_actions_t actions;
	char home[160];
	char *const argv[] = { (char *)"test", (char *)(silent ? "--silent" : "--serve"), home,
		NULL };
	int fds[2];
	pid_t pid;

	snprintf(home, sizeof(home), "%s/home", f->dir);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
	assert_int_equal(posix_spawn_file_actions_adddup2(&actions, fds[1], 0), 0);
	assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	*ret_fd = fds[0];
	*ret_pidfd = pidfd_open(pid, 0);
	return *ret_pidfd < 0 ? pa_fail(err, PA_SYSTEM, errno, "pidfd_open") : 0;
}

static const char *path_of(const struct fixture *f, const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/home/.pi/agent/%s", f->dir, name);
	return path;
}

static void put_text(const struct fixture *f, const char *text)
{
	FILE *file = fopen(path_of(f, "auth.json"), "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* pi's file with this pair, a login of another provider, and a member that only pi knows. */
static void put_pair(const struct fixture *f, unsigned n, int64_t expires, const char *more)
{
	char text[1024];

	snprintf(text, sizeof(text),
		"{\n  \"other\": {\n    \"type\": \"api_key\",\n    \"key\": \"" CANARY
		"-other\"\n  },\n"
		"  \"rota\": {\n    \"type\": \"oauth\",\n    \"access\": \"" CANARY "-at-%u\",\n"
		"    \"refresh\": \"" CANARY
		"-rt-%u\",\n    \"expires\": %lld,\n    \"own\": 1%s\n  }\n}",
		n, n, (long long)expires, more);
	put_text(f, text);
}

static cJSON *get_file(const struct fixture *f)
{
	char text[4096];
	int fd = open(path_of(f, "auth.json"), O_RDONLY | O_CLOEXEC);
	cJSON *root = NULL;
	struct pa_err err;
	ssize_t n;

	assert_true(fd >= 0);
	n = read(fd, text, sizeof(text));
	close(fd);
	assert_true(n > 0);
	must(json_parse(text, (size_t)n, PA_BAD_INPUT, &root, NULL, &err), &err, "auth.json");
	return root;
}

/* The process gives the lock back when the broker has no more use for it. */
static void await_no_lock(struct fixture *f)
{
	struct pollfd pfd[2] = { { .fd = inotify_init1(IN_CLOEXEC), .events = POLLIN },
		{ .fd = broker_fd(f->b), .events = POLLIN } };
	char events[4096];

	assert_true(pfd[0].fd >= 0);
	assert_true(inotify_add_watch(pfd[0].fd, path_of(f, ""), IN_DELETE) >= 0);
	while (access(path_of(f, LOCK_DIR), F_OK) == 0) {
		if (poll(pfd, 2, PATIENCE_MS) <= 0)
			fail_msg("the lock stays");
		if (pfd[0].revents && read(pfd[0].fd, events, sizeof(events)) < 0)
			fail_msg("the lock cannot be watched");
		broker_dispatch(f->b);
	}
	close(pfd[0].fd);
}

static void assert_file(struct fixture *f, unsigned n)
{
	cJSON *root = get_file(f);
	char want[64];

	snprintf(want, sizeof(want), CANARY "-rt-%u", n);
	assert_string_equal(json_at(root, "/rota/refresh")->valuestring, want);
	snprintf(want, sizeof(want), CANARY "-at-%u", n);
	assert_string_equal(json_at(root, "/rota/access")->valuestring, want);
	assert_string_equal(json_at(root, "/other/key")->valuestring, CANARY "-other");
	assert_int_equal(json_at(root, "/rota/own")->valueint, 1);
	assert_null(json_at(root, "/rota/refreshed"));
	cJSON_Delete(root);
	await_no_lock(f);
}

static int apply_link(struct commit *c, struct record *r, struct pa_err *err)
{
	struct link l = { "pi", path_of(c->arg, "auth.json"), "rota", LANE_OAUTH, LINK_ON, "", "" };

	return link_set(r, &l, err);
}

/* Stores login 0 for an hour, and links it with pi's file. */
static struct profile *shared_login(struct fixture *f, const char *more)
{
	struct profile *p = fixture_profile(f, "rota");
	struct commit *c;

	fixture_login(f, p, HOUR, more);
	put_pair(f, 0, f->wall_ms + HOUR, "");
	c = commit_new(p, COMMIT_SAVE, apply_link, NULL, NULL);
	assert_non_null(c);
	c->arg = f;
	commit_start(c);
	fixture_settle(f);
	assert_status(f, p, "/links/0/state", "on");
	return p;
}

static struct legacy_spawn spawn;

static int setup(void **state)
{
	struct fixture *f;
	char path[256];

	fixture_setup(state);
	f = *state;
	snprintf(path, sizeof(path), "%s/home", f->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/home/.pi", f->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(mkdir(path_of(f, ""), 0700), 0);
	spawn = (struct legacy_spawn){ start, f };
	f->legacy = &spawn;
	silent = false;
	fixture_restart(f);
	return 0;
}

static int64_t real_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static void await_event(struct fixture *f, const char *event)
{
	int64_t end = real_s() + PATIENCE_MS / 1000;

	while (!fixture_events(f, event)) {
		struct pollfd pfd = { .fd = broker_fd(f->b), .events = POLLIN };

		if (real_s() > end || poll(&pfd, 1, PATIENCE_MS) <= 0)
			fail_msg("no event %s", event);
		broker_dispatch(f->b);
	}
}

static void await_note(struct fixture *f, struct profile *p, const char *note)
{
	int64_t end = real_s() + PATIENCE_MS / 1000;

	for (;;) {
		struct pollfd pfd = { .fd = broker_fd(f->b), .events = POLLIN };
		cJSON *status = fixture_status(f, p);
		bool is = !strcmp(json_at(status, "/links/0/note")->valuestring, note);

		cJSON_Delete(status);
		if (is)
			return;
		if (real_s() > end || poll(&pfd, 1, PATIENCE_MS) <= 0)
			fail_msg("no note %s", note);
		broker_dispatch(f->b);
	}
}

/* ---- a refresh ---- */

static void a_rotation_is_written_back(void **state)
{
	struct fixture *f = *state;
	struct profile *p = shared_login(f, NULL);

	fixture_advance(f, 55 * MINUTE);
	assert_key(f, p, CANARY "-at-1");
	fixture_settle(f);
	assert_file(f, 1);
	fixture_advance(f, 55 * MINUTE);
	assert_key(f, p, CANARY "-at-2");
	fixture_settle(f);
	assert_file(f, 2);
	assert_status(f, p, "/links/0/note", "");
	assert_int_equal(token_server_requests(f->server), 2);
}

/* The tool is given a shorter life, by its own rule, but never less than half of it. */
static void expires_follows_the_tools_rule(void **state)
{
	static const struct {
		int64_t life, skew;
	} rows[] = { { 3600, 300 }, { 400, 200 }, { 2, 1 } };
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "anthropic"); /* expires_skew_s 300 */

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		JSON_AUTO cJSON *entry = cJSON_CreateObject(), *seen = NULL;
		struct pa_err err;
		int64_t expires;

		json_set_int(entry, "refreshed", WALL_0, &err);
		json_set_int(entry, "expires", WALL_0 + rows[i].life * 1000, &err);
		seen = linked_file_entry(p, entry, &err);
		assert_true(json_int(seen, "expires", &expires));
		assert_int_equal(expires, WALL_0 + (rows[i].life - rows[i].skew) * 1000);
		assert_null(json_at(seen, "/refreshed"));
	}
}

/* Whoever got the answer has written it down: there is nothing to repeat. */
static void a_lost_answer_is_found_in_the_file(void **state)
{
	struct fixture *f = *state;
	struct profile *p = shared_login(f, NULL);

	fixture_advance(f, 55 * MINUTE);
	token_server_next(
		f->server, (struct token_reply){ .status = 200, .take = true, .body = "{}" });
	assert_key(f, p, CANARY "-at-0");
	fixture_settle(f);
	assert_true(p->lost_answer);
	put_pair(f, 1, f->wall_ms + HOUR, "");
	await_event(f, "adopted");
	assert_key(f, p, CANARY "-at-2");
	fixture_settle(f);
	assert_false(token_server_is_revoked(f->server));
	assert_file(f, 2);
}

/* Served at once, but not believed before a refresh has proved it. */
static void what_is_adopted_has_to_prove_itself(void **state)
{
	struct fixture *f = *state;
	struct profile *p = shared_login(f, NULL);

	put_pair(f, 7, f->wall_ms + HOUR, "");
	await_event(f, "adopted");
	token_server_next(f->server,
		(struct token_reply){ .status = 400, .body = "{\"error\":\"invalid_grant\"}" });
	assert_key(f, p, CANARY "-at-0");
	fixture_settle(f);
	assert_int_equal(fixture_events(f, "adoption_refused"), 1);
	assert_int_equal(fixture_events(f, "dead"), 0);
	/* It is not tried a second time, and the file gets what is right. */
	fixture_advance(f, 55 * MINUTE);
	assert_key(f, p, CANARY "-at-1");
	fixture_settle(f);
	assert_int_equal(fixture_events(f, "adopted"), 1);
	assert_file(f, 1);
}

static void changes_are_seen_after_a_restart(void **state)
{
	struct fixture *f = *state;
	struct profile *p;

	shared_login(f, NULL);
	fixture_close(f);
	put_pair(f, 7, f->wall_ms + HOUR, "");
	fixture_open(f);
	await_event(f, "adopted");
	p = fixture_profile(f, "rota");
	assert_true(p->facts.adopted);
}

/* ---- files that are not to be believed ---- */

/* Its tool would spend the old token, which ends the family for both. */
static void an_old_pair_is_replaced_at_once(void **state)
{
	struct fixture *f = *state;
	struct profile *p = shared_login(f, NULL);

	fixture_advance(f, 55 * MINUTE);
	assert_key(f, p, CANARY "-at-1");
	fixture_settle(f);
	put_pair(f, 0, f->wall_ms + 100 * 365 * 24 * HOUR, "");
	await_note(f, p, "it holds a login that has been replaced since; is it a backup?");
	await_note(f, p, "");
	assert_file(f, 1);
	assert_int_equal(token_server_requests(f->server), 1);
	assert_int_equal(fixture_events(f, "adopted"), 0);
	fixture_advance(f, 55 * MINUTE);
	assert_key(f, p, CANARY "-at-2");
	fixture_settle(f);
	assert_file(f, 2);
}

static void expires_in_the_file_is_not_believed(void **state)
{
	struct fixture *f = *state;
	struct profile *p = shared_login(f, NULL);

	put_pair(f, 0, INT64_C(4102444800000), "");
	fixture_advance(f, 55 * MINUTE);
	assert_key(f, p, CANARY "-at-1");
	fixture_settle(f);
	assert_file(f, 1);
}

static void another_account_is_unlinked(void **state)
{
	struct fixture *f = *state;
	struct profile *p = shared_login(f, "\"accountId\":\"alice\"");

	put_pair(f, 5, f->wall_ms + HOUR, ",\n    \"accountId\": \"bob\"");
	fixture_advance(f, 55 * MINUTE);
	assert_key(f, p, CANARY "-at-1");
	fixture_settle(f);
	assert_status(f, p, "/links/0/state", "off");
	assert_status(f, p, "/links/0/note", "it holds the login of another account");
	assert_status(f, p, "/account", "alice");
	assert_file(f, 5);
}

static void a_torn_file_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct profile *p = shared_login(f, NULL);

	fixture_advance(f, 55 * MINUTE);
	put_text(f, "");
	assert_key(f, p, CANARY "-at-0");
	fixture_settle(f);
	assert_int_equal(token_server_requests(f->server), 0);
	assert_status(f, p, "/state", "retrying");
	/* It stays so: somebody broke it. Our login does not depend on that. */
	fixture_advance(f, 2 * MINUTE);
	assert_key(f, p, CANARY "-at-1");
	fixture_settle(f);
	assert_status(f, p, "/links/0/state", "on");
}

static void logged_out_there_is_logged_out_here(void **state)
{
	struct fixture *f = *state;
	struct profile *p = shared_login(f, NULL);

	fixture_advance(f, 55 * MINUTE);
	put_text(f, "{}");
	assert_no_key(f, p, PA_NO_KEY);
	fixture_settle(f);
	assert_int_equal(token_server_requests(f->server), 0);
	assert_status(f, p, "/links/0/note", "no longer in the file");
	assert_int_equal(fixture_events(f, "logout"), 1);
}

static void a_missing_file_is_no_logout(void **state)
{
	struct fixture *f = *state;
	struct profile *p = shared_login(f, NULL);

	assert_int_equal(unlink(path_of(f, "auth.json")), 0);
	fixture_advance(f, 55 * MINUTE);
	assert_key(f, p, CANARY "-at-1");
	fixture_settle(f);
	assert_status(f, p, "/links/0/state", "on");
	assert_int_equal(access(path_of(f, "auth.json"), F_OK), -1);
}

/* ---- a file system that does not answer ---- */

static void silence_costs_nothing_while_the_token_lives(void **state)
{
	struct fixture *f = *state;
	struct profile *p = shared_login(f, NULL);
	struct reader rd = { 0 };

	silent = true;
	fixture_advance(f, 52 * MINUTE);
	reader_start(f, &rd, p, BROKER_KEY);
	/* It joins for three seconds of the test's clock. */
	fixture_advance(f, JOIN_MS);
	assert_int_equal(reader_await(f, &rd), 0);
	assert_string_equal(rd.value, CANARY "-at-0");
	fixture_phase(f, p, REFRESH_IDLE);
	assert_int_equal(token_server_requests(f->server), 0);
	assert_status(f, p, "/last_error/diagnostic_code", "file.no_answer");
	await_note(f, p, "no answer for 7000 ms");
	/* Dead: without a try the login is lost for certain. */
	fixture_advance(f, HOUR);
	assert_key(f, p, CANARY "-at-1");
}

int main(int argc, char **argv)
{
	struct pa_err err;
	char byte[1];

	if (argc == 3 && !strcmp(argv[1], "--silent")) {
		while (read(0, byte, sizeof(byte)) > 0)
			continue;
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "--serve")) {
		json_init();
		return import_serve(0, argv[2], &err) < 0;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_rotation_is_written_back, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			expires_follows_the_tools_rule, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_lost_answer_is_found_in_the_file, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			what_is_adopted_has_to_prove_itself, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			changes_are_seen_after_a_restart, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			an_old_pair_is_replaced_at_once, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			expires_in_the_file_is_not_believed, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			another_account_is_unlinked, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_torn_file_is_waited_for, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			logged_out_there_is_logged_out_here, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_missing_file_is_no_logout, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			silence_costs_nothing_while_the_token_lives, setup, fixture_teardown),
	};

	fixture_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
