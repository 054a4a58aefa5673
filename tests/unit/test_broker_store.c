/* What outlives the server: crashes at every phase of a refresh, ids, machines, damaged records. */
#include "tests/unit/broker_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs part in a process of its own that ends without any order, as by kill -9. */
static void crash_in(struct fixture *f, void (*part)(struct fixture *f, struct profile *p))
{
	int status;
	pid_t pid;

	fixture_close(f);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		fixture_open(f);
		part(f, fixture_profile(f, "rota"));
		_exit(42);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	fixture_open(f);
}

static struct reader crash_reader;

static void crash_before_the_intent(struct fixture *f, struct profile *p)
{
	slow_disk_start(f);
	reader_start(f, &crash_reader, p, BROKER_KEY);
	assert_int_equal(p->refresh->phase, REFRESH_JOURNAL);
}

static void crash_before_the_save(struct fixture *f, struct profile *p)
{
	reader_start(f, &crash_reader, p, BROKER_KEY);
	fixture_phase(f, p, REFRESH_EXCHANGE);
	slow_disk_start(f);
	fixture_phase(f, p, REFRESH_SAVE);
	assert_false(crash_reader.ended);
}

static void crash_after_the_save(struct fixture *f, struct profile *p)
{
	reader_start(f, &crash_reader, p, BROKER_KEY);
	assert_int_equal(reader_await(f, &crash_reader), 0);
}

/* Nothing left this machine: the refresh is made as if nothing had been. */
static void killed_before_the_intent(void **state)
{
	struct fixture *f = *state;

	fixture_login(f, fixture_profile(f, "rota"), HOUR, NULL);
	fixture_advance(f, 55 * MINUTE);
	crash_in(f, crash_before_the_intent);
	struct profile *p = fixture_profile(f, "rota");

	assert_false(p->lost_answer);
	assert_int_equal(token_server_requests(f->server), 0);
	assert_key(f, p, CANARY "-at-1");
	assert_int_equal(fixture_intent(f, "rota"), INTENT_REFRESH);
	assert_false(token_server_is_revoked(f->server));
}

/* The provider has rotated, the answer died with the server: what the journal is for. */
static void lost_in_a_crash(struct fixture *f, void (*part)(struct fixture *f, struct profile *p))
{
	fixture_login(f, fixture_profile(f, "rota"), HOUR, NULL);
	fixture_advance(f, 55 * MINUTE);
	crash_in(f, part);
	struct profile *p = fixture_profile(f, "rota");

	assert_int_equal(token_server_issued(f->server), 1);
	assert_true(p->lost_answer);
	assert_status(f, p, "/state", "retrying");
	for (int i = 0; i < 5; i++) {
		assert_key(f, p, CANARY "-at-0"); /* no repeat while it lives */
		fixture_settle(f);
		fixture_advance(f, 30 * SECOND);
	}
	assert_int_equal(token_server_requests(f->server), 1);
	assert_false(token_server_is_revoked(f->server));
	fixture_advance(f, 3 * MINUTE);
	assert_no_key(f, p, PA_REFRESH_DEAD); /* one repeat when it does not */
	assert_int_equal(token_server_requests(f->server), 2);
	assert_int_equal(fixture_intent(f, "rota"), INTENT_REPEAT);
	assert_non_null(strstr(fixture_error()->detail, "answer of an earlier refresh was lost"));
	fixture_advance(f, HOUR);
	assert_no_key(f, p, PA_REFRESH_DEAD);
	assert_int_equal(token_server_requests(f->server), 2);
}

static void killed_before_the_save(void **state)
{
	lost_in_a_crash(*state, crash_before_the_save);
}

/* The answer never comes: the child is killed while it waits. */
static void killed_in_the_exchange(void **state)
{
	struct fixture *f = *state;
	struct pollfd at = { .fd = token_server_fd(f->server), .events = POLLIN };
	struct profile *p;
	int status;
	pid_t pid;

	fixture_login(f, fixture_profile(f, "rota"), HOUR, NULL);
	fixture_advance(f, 55 * MINUTE);
	token_server_next(f->server, (struct token_reply){ .hold = true });
	fixture_close(f);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		fixture_open(f);
		reader_start(f, &crash_reader, fixture_profile(f, "rota"), BROKER_KEY);
		/* Its own loop: fixture_settle would take the news of the request from the parent. */
		for (;;) {
			struct pollfd mine = { .fd = broker_fd(f->b), .events = POLLIN };

			poll(&mine, 1, -1);
			broker_dispatch(f->b);
		}
	}
	while (!token_server_requests(f->server))
		assert_true(poll(&at, 1, 30000) > 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	token_server_release(f->server);
	fixture_open(f);
	p = fixture_profile(f, "rota");
	assert_true(p->lost_answer);
	assert_key(f, p, CANARY "-at-0");
	assert_int_equal(token_server_requests(f->server), 1);
	fixture_advance(f, 5 * MINUTE);
	assert_no_key(f, p, PA_REFRESH_DEAD);
	assert_int_equal(token_server_requests(f->server), 2);
}

static void killed_after_the_save(void **state)
{
	struct fixture *f = *state;

	fixture_login(f, fixture_profile(f, "rota"), HOUR, NULL);
	fixture_advance(f, 55 * MINUTE);
	crash_in(f, crash_after_the_save);
	struct profile *p = fixture_profile(f, "rota");

	assert_false(p->lost_answer);
	assert_key(f, p, CANARY "-at-1");
	fixture_advance(f, HOUR);
	assert_key(f, p, CANARY "-at-2");
	assert_int_equal(token_server_requests(f->server), 2);
	assert_false(token_server_is_revoked(f->server));
}

/* ---- what comes back ---- */

static void everything_is_there_after_a_restart(void **state)
{
	struct fixture *f = *state;
	static const char *const names[] = { "rota", "groq", "rota@work", "rota@a.b+c@d", "mine",
		"mine@2" };
	struct outcome o = { 0 };
	uint64_t ids[6], generations[6];
	char key[32];

	broker_make(f->b, "mine", outcome_done, &o);
	assert_int_equal(outcome_await(f, &o), 0);
	for (size_t i = 0; i < 6; i++) {
		struct profile *p = fixture_profile(f, names[i]);

		snprintf(key, sizeof(key), "sk-%zu", i);
		for (size_t k = 0; k <= i; k++)
			fixture_key(f, p, key);
		ids[i] = profile_id(p);
		generations[i] = p->facts.generation;
		assert_in_range(ids[i], 1, (UINT64_C(1) << 55) - 1);
		assert_int_equal(generations[i], i + 1);
	}
	fixture_restart(f);
	for (size_t i = 0; i < 6; i++) {
		struct profile *p = fixture_profile(f, names[i]);

		snprintf(key, sizeof(key), "sk-%zu", i);
		assert_key(f, p, key);
		assert_int_equal(profile_id(p), ids[i]);
		assert_ptr_equal(broker_by_id(f->b, ids[i]), p);
		assert_int_equal(p->facts.generation, generations[i]);
	}
	/* In byte order, and nothing else. */
	static const char *const order[] = { "groq", "mine", "mine@2", "rota", "rota@a.b+c@d",
		"rota@work" };
	const char *after = NULL;

	for (size_t i = 0; i < 6; i++) {
		struct profile *p = broker_next(f->b, after);

		assert_string_equal(profile_name(p), order[i]);
		after = profile_name(p);
	}
	assert_null(broker_next(f->b, after));
}

static void settings_survive(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "plain");
	struct outcome o = { 0 };
	struct profile_facts facts;

	broker_set_base_url(f->b, p, "https://host.example/v1\n", 24, outcome_done, &o);
	assert_int_equal(outcome_await(f, &o), 0);
	assert_int_equal(fixture_mode(f, p, "api_key\n"), 0);
	fixture_key(f, p, "sk");
	fixture_restart(f);
	p = fixture_profile(f, "plain");
	broker_facts(f->b, p, &facts);
	assert_string_equal(facts.base_url, "https://host.example/v1");
	assert_int_equal(facts.mode, MODE_API_KEY);
	/* They outlive a logout, too. */
	assert_int_equal(fixture_forget(f, p, LANE_NONE), 0);
	fixture_restart(f);
	broker_facts(f->b, fixture_profile(f, "plain"), &facts);
	assert_string_equal(facts.base_url, "https://host.example/v1");
	assert_int_equal(facts.mode, MODE_API_KEY);
	assert_false(facts.stored);
}

/* ---- another machine ---- */

static void a_copied_store_does_not_refresh(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, HOUR, NULL);
	fixture_close(f);
	fixture_edit(f, "rota", "machine", "\"aaaaaaaaaaaaaaaaaaaaaaaaaa\"");
	fixture_open(f);
	p = fixture_profile(f, "rota");
	assert_key(f, p, CANARY "-at-0");
	assert_status(f, p, "/state", "valid");
	assert_status(f, p, "/last_error/diagnostic_code", "store.other_machine");
	/* To its last second, and nobody waits for a refresh that will not be. */
	struct reader rd = { 0 };

	fixture_advance(f, HOUR - 1);
	assert_true(reader_start(f, &rd, p, BROKER_KEY));
	assert_string_equal(rd.value, CANARY "-at-0");
	fixture_advance(f, 1);
	assert_no_key(f, p, PA_STORE_MOVED);
	assert_int_equal(fixture_error()->errnum, EKEYEXPIRED);
	assert_status(f, p, "/state", "dead");
	assert_int_equal(token_server_requests(f->server), 0);
	/* A login here belongs here. */
	fixture_login(f, p, 0, NULL);
	assert_key(f, p, CANARY "-at-1");
}

static void who_does_not_rotate_may_be_copied(void **state)
{
	struct fixture *f = fixture_new(NULL, NULL, false);

	fixture_login(f, fixture_profile(f, "free"), 0, NULL);
	fixture_close(f);
	fixture_edit(f, "free", "machine", "\"aaaaaaaaaaaaaaaaaaaaaaaaaa\"");
	fixture_open(f);
	assert_key(f, fixture_profile(f, "free"), CANARY "-at-1");
	fixture_free(f);
}

static void a_moved_login_does_not_refresh(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, HOUR, NULL);
	fixture_close(f);
	fixture_edit(f, "rota", "moved", "true");
	fixture_open(f);
	p = fixture_profile(f, "rota");
	assert_key(f, p, CANARY "-at-0");
	fixture_advance(f, HOUR);
	assert_no_key(f, p, PA_STORE_MOVED);
	assert_non_null(strstr(fixture_error()->detail, "exported"));
	assert_int_equal(token_server_requests(f->server), 0);
	fixture_login(f, p, 0, NULL);
	assert_key(f, p, CANARY "-at-1");
}

/* A login that was pending when its store was copied belongs to the machine it came in on. */
static void a_pending_login_keeps_its_machine(void **state)
{
	struct fixture *f = *state;

	fixture_key(f, fixture_profile(f, "rota"), "sk");
	fixture_close(f);
	fixture_edit(f, "rota", "pending",
		"{\"oauth\":{\"type\":\"oauth\",\"access\":\"a\",\"refresh\":\"" CANARY
		"-rt-0\",\"expires\":1},\"machine\":\"another\"}");
	fixture_open(f);
	struct profile *p = fixture_profile(f, "rota");

	assert_no_key(f, p, PA_STORE_MOVED);
	assert_int_equal(token_server_requests(f->server), 0);
}

/* ---- damage ---- */

static void flip(struct fixture *f, const char *profile)
{
	char name[SEAL_NAME_LEN + 1], path[256];
	uint8_t byte;
	int fd;

	assert_int_equal(vault_name(f->vault, profile, name, NULL), 0);
	snprintf(path, sizeof(path), "%s/store/records/%s", f->dir, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, 300), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, 300), 1);
	close(fd);
}

static void a_damaged_record_is_reported_and_kept(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct outcome o = { 0 };

	fixture_key(f, p, "sk-1");
	fixture_key(f, fixture_profile(f, "plain"), "sk-2");
	flip(f, "rota");
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	assert_no_key(f, p, PA_STORE_CORRUPT);
	assert_int_equal(fixture_error()->errnum, EBADMSG);
	assert_status(f, p, "/state", "locked");
	assert_status(f, p, "/last_error/diagnostic_code", "store.corrupt");
	assert_int_equal(f->b->count.broken_records, 1);
	assert_key(f, fixture_profile(f, "plain"), "sk-2");
	assert_ptr_equal(broker_next(f->b, "plain"), p); /* ls shows it */
	/* No setting overwrites it. */
	assert_int_equal(fixture_mode(f, p, "api_key"), -EBADMSG);
	/* Undone, it is as it was. */
	flip(f, "rota");
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	assert_key(f, p, "sk-1");

	/* A new key takes its place. */
	flip(f, "rota");
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	fixture_key(f, p, "sk-3");
	assert_key(f, p, "sk-3");
	assert_status(f, p, "/state", "valid");
	assert_status(f, p, "/last_error", NULL);

	/* And so does a logout. */
	flip(f, "rota");
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	broker_forget(f->b, p, LANE_NONE, outcome_done, &o);
	assert_int_equal(outcome_await(f, &o), 0);
	assert_no_key(f, p, PA_NO_KEY);
	fixture_restart(f);
	assert_no_key(f, fixture_profile(f, "rota"), PA_NO_KEY);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(killed_before_the_intent),
		T(killed_in_the_exchange),
		T(killed_before_the_save),
		T(killed_after_the_save),
		T(everything_is_there_after_a_restart),
		T(settings_survive),
		T(a_copied_store_does_not_refresh),
		cmocka_unit_test(who_does_not_rotate_may_be_copied),
		T(a_moved_login_does_not_refresh),
		T(a_pending_login_keeps_its_machine),
		T(a_damaged_record_is_reported_and_kept),
	};

	fixture_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
