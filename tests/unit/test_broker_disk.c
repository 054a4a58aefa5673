/* A disk that fails: what is served, what is told, and what is on it when it works again. */
#include "tests/unit/broker_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/failinject.h"

/* No file may grow or be written: the kernel says EFBIG to every write, for root as well. */
static void disk_refuses(bool refuses)
{
	struct rlimit limit;

	assert_return_code(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = refuses ? 0 : limit.rlim_max;
	assert_return_code(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static int setup(void **state)
{
	disk_refuses(false);
	return fixture_setup(state);
}

static int teardown(void **state)
{
	disk_refuses(false);
	return fixture_teardown(state);
}

static void assert_on_disk(struct fixture *f, const char *pointer, const char *value)
{
	cJSON *record = fixture_record(f, "rota");
	const cJSON *at = json_at(record, pointer);

	if (value) {
		assert_true(cJSON_IsString(at));
		assert_string_equal(at->valuestring, value);
	} else {
		assert_null(at);
	}
	cJSON_Delete(record);
}

/* A rotation whose answer meets a disk that refuses. */
static void rotate_without_disk(struct fixture *f, struct profile *p, struct token_reply reply)
{
	unsigned requests = token_server_requests(f->server);
	struct reader rd = { 0 };

	reply.hold = true;
	token_server_next(f->server, reply);
	reader_start(f, &rd, p, BROKER_KEY);
	fixture_requests(f, requests + 1);
	disk_refuses(true);
	token_server_release(f->server);
	reader_await(f, &rd);
	fixture_settle(f);
}

static void an_answer_that_cannot_be_saved_is_served(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, 0, NULL);
	rotate_without_disk(f, p, (struct token_reply){ 0 });
	assert_key(f, p, CANARY "-at-1");
	assert_status(f, p, "/state", "unsaved");
	assert_status(f, p, "/last_error/diagnostic_code", "store.io");
	assert_int_equal(fixture_events(f, "unsaved"), 1);
	assert_on_disk(f, "/oauth/refresh", CANARY "-rt-0");
	/* It is tried again every second, and told once. */
	uint64_t failed = f->b->count.saves_failed;

	for (int i = 0; i < 5; i++) {
		fixture_advance(f, 999);
		fixture_settle(f);
		assert_int_equal(f->b->count.saves_failed, failed + (uint64_t)i);
		fixture_advance(f, 1);
		fixture_settle(f);
		assert_int_equal(f->b->count.saves_failed, failed + (uint64_t)i + 1);
	}
	assert_int_equal(fixture_events(f, "unsaved"), 1);
	/* No second rotation, though it is due, nor when it has expired. */
	fixture_advance(f, 55 * MINUTE);
	assert_key(f, p, CANARY "-at-1");
	fixture_advance(f, 5 * MINUTE);
	assert_no_key(f, p, PA_EXPIRED);
	assert_int_equal(token_server_requests(f->server), 1);
	fixture_settle(f);

	disk_refuses(false);
	fixture_advance(f, 1000);
	fixture_settle(f);
	assert_int_equal(fixture_events(f, "saved"), 1);
	assert_status(f, p, "/last_error", NULL);
	assert_on_disk(f, "/oauth/refresh", CANARY "-rt-1");
	assert_key(f, p, CANARY "-at-2");
	assert_status(f, p, "/state", "valid");
	assert_on_disk(f, "/oauth/refresh", CANARY "-rt-2");
}

/* The last chance is when the server stops. */
static void what_is_unsaved_is_saved_at_the_end(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, 0, NULL);
	rotate_without_disk(f, p, (struct token_reply){ 0 });
	assert_status(f, p, "/state", "unsaved");
	disk_refuses(false);
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	assert_key(f, p, CANARY "-at-1");
	assert_status(f, p, "/state", "valid");
	fixture_advance(f, HOUR);
	assert_key(f, p, CANARY "-at-2");
}

/* Not saved, and then the server died: the token is lost as if its answer were. */
static void what_was_never_saved_counts_as_lost(void **state)
{
	struct fixture *f = *state;

	fixture_login(f, fixture_profile(f, "rota"), HOUR, NULL);
	fixture_advance(f, 55 * MINUTE);
	fixture_close(f);
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		fixture_open(f);
		struct profile *p = fixture_profile(f, "rota");
		struct reader rd = { 0 };

		reader_start(f, &rd, p, BROKER_KEY);
		fixture_phase(f, p, REFRESH_EXCHANGE); /* the intent is on disk */
		disk_refuses(true);
		assert_int_equal(reader_await(f, &rd), 0);
		assert_string_equal(rd.value, CANARY "-at-1");
		assert_status(f, p, "/state", "unsaved");
		_exit(42);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	fixture_open(f);
	struct profile *p = fixture_profile(f, "rota");

	assert_true(p->lost_answer);
	assert_key(f, p, CANARY "-at-0"); /* not asked again while this one lives */
	assert_int_equal(token_server_requests(f->server), 1);
}

static void nothing_is_sent_without_an_intent(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, HOUR, NULL);
	fixture_advance(f, 55 * MINUTE);
	disk_refuses(true);
	assert_key(f, p, CANARY "-at-0");
	fixture_settle(f);
	assert_status(f, p, "/state", "retrying");
	assert_status(f, p, "/last_error/diagnostic_code", "store.io");
	assert_int_equal(token_server_requests(f->server), 0);
	fixture_advance(f, 5 * MINUTE);
	assert_no_key(f, p, PA_STORE_IO);
	assert_int_equal(token_server_requests(f->server), 0);
	disk_refuses(false);
	fixture_advance(f, MINUTE);
	assert_key(f, p, CANARY "-at-1");
	assert_false(token_server_is_revoked(f->server));
}

/* A provider that does not rotate needs none. */
static void the_rest_goes_on(void **state)
{
	struct fixture *f = fixture_new(NULL, NULL, false);
	struct profile *p = fixture_profile(f, "free"), *q = fixture_profile(f, "plain");

	fixture_key(f, q, "sk");
	fixture_login(f, p, 0, NULL);
	disk_refuses(true);
	assert_key(f, p, CANARY "-at-1");
	assert_key(f, q, "sk");
	assert_status(f, p, "/state", "unsaved");
	disk_refuses(false);
	fixture_free(f);
}

static void a_verdict_that_cannot_be_saved_holds(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, 0, NULL);
	rotate_without_disk(f, p,
		(struct token_reply){ .status = 400, .body = "{\"error\":\"invalid_grant\"}" });
	assert_no_key(f, p, PA_REFRESH_DEAD);
	assert_status(f, p, "/state", "dead");
	fixture_advance(f, HOUR);
	assert_no_key(f, p, PA_REFRESH_DEAD);
	assert_int_equal(token_server_requests(f->server), 1);
	fixture_settle(f);
	assert_on_disk(f, "/dead", NULL);
	disk_refuses(false);
	fixture_advance(f, 1000);
	fixture_settle(f);
	assert_on_disk(f, "/dead/detail", "HTTP 400, invalid_grant");
	assert_status(f, p, "/last_error/diagnostic_code", "auth.oauth.token_refresh_failed");
	fixture_restart(f);
	assert_no_key(f, fixture_profile(f, "rota"), PA_REFRESH_DEAD);
}

/* ---- writing ---- */

static void a_key_that_cannot_be_stored_leaves_the_old_one(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_key(f, p, "old");
	disk_refuses(true);
	assert_int_equal(fixture_write(f, p, LANE_API_KEY, "new"), -EIO);
	assert_int_equal(fixture_error()->code, PA_STORE_IO);
	assert_key(f, p, "old");
	assert_int_equal(fixture_forget(f, p, LANE_NONE), -EIO);
	assert_int_equal(fixture_mode(f, p, "oauth"), -EIO);
	assert_key(f, p, "old");
	assert_status(f, p, "/state", "valid");
	struct outcome o = { 0 };

	broker_make(f->b, "mine", outcome_done, &o);
	assert_int_equal(outcome_await(f, &o), -EIO);
	assert_int_equal(broker_resolve(f->b, "mine", &p), BROKER_NAME_NONE);
	disk_refuses(false);
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	assert_key(f, p, "old");
	assert_int_equal(fixture_write(f, p, LANE_API_KEY, "new"), 0);
	assert_key(f, p, "new");
	assert_status(f, p, "/last_error", NULL);
}

static int write_part(struct fixture *f, struct broker_input *in, const char *text)
{
	struct outcome o = { 0 };

	broker_input_write(in, text, strlen(text), outcome_done, &o);
	return outcome_await(f, &o);
}

/* The value was good, the next write was not, and taking it back fails: then it is taken back later. */
static void a_failed_clean_up_is_made_good(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct broker_input *in;

	fixture_key(f, p, "old");
	assert_int_equal(broker_input_new(f->b, p, LANE_API_KEY, &in, NULL), 0);
	assert_int_equal(write_part(f, in, "first\n"), 0);
	disk_refuses(true);
	assert_int_equal(write_part(f, in, "second"), -EINVAL);
	broker_input_free(in);
	fixture_settle(f);
	assert_key(f, p, "old");
	assert_on_disk(f, "/pending/api_key/key", "first");
	disk_refuses(false);
	fixture_advance(f, 1000);
	fixture_settle(f);
	assert_on_disk(f, "/pending", NULL);
	assert_key(f, p, "old");
	assert_status(f, p, "/state", "valid");
}

/* Publishing is no second chance to fail: the value is durable, the disk is tidied when it can be. */
static void publishing_needs_no_disk(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct broker_input *in;
	struct outcome o = { 0 };

	fixture_key(f, p, "old");
	assert_int_equal(broker_input_new(f->b, p, LANE_API_KEY, &in, NULL), 0);
	assert_int_equal(write_part(f, in, "new\n"), 0);
	disk_refuses(true);
	broker_input_flush(in, outcome_done, &o);
	assert_true(o.ended);
	assert_int_equal(o.r, 0);
	assert_key(f, p, "new");
	broker_input_free(in);
	fixture_settle(f);
	assert_key(f, p, "new");
	assert_status(f, p, "/state", "valid");
	assert_on_disk(f, "/pending/api_key/key", "new");
	disk_refuses(false);
	fixture_advance(f, 1000);
	fixture_settle(f);
	assert_on_disk(f, "/pending", NULL);
	assert_on_disk(f, "/api_key/key", "new");
}

/* ---- fail step 1, 2, 3 ... ---- */

static const enum fail_mode modes[] = { FAIL_ERRNO, FAIL_SHORT, FAIL_EXIT, FAIL_TORN };

/* Runs part with its n-th change of the disk failing; false when there is no n-th one. */
static bool fails_at(struct fixture *f, enum fail_mode mode, unsigned n, int errnum,
	void (*part)(struct fixture *f, struct profile *p))
{
	int status;
	pid_t pid;

	fixture_close(f);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		fixture_open(f);
		struct profile *p = fixture_profile(f, "rota");

		failinject_arm(mode, n, errnum);
		part(f, p);
		bool reached = failinject_disarm();

		/* Without fixture_close, which would have one more try at what failed. */
		_exit(reached ? 2 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	fixture_open(f);
	if (WEXITSTATUS(status) != FAIL_STATUS && WEXITSTATUS(status) != 2)
		assert_int_equal(WEXITSTATUS(status), 3);
	return WEXITSTATUS(status) != 3;
}

static int told[2]; /* a pipe: what the writer in the child was told */

static void store_new_key(struct fixture *f, struct profile *p)
{
	struct broker_input *in;
	char acknowledged;

	if (broker_input_new(f->b, p, LANE_API_KEY, &in, NULL) < 0)
		_exit(1);
	acknowledged = write_part(f, in, "new\n") == 0;
	/* Not write(2), whose calls are counted. */
	dprintf(told[1], "%d", acknowledged);
	broker_input_free(in);
	fixture_settle(f);
	assert_read(f, p, BROKER_KEY, acknowledged ? "new" : "old");
}

/* Whatever fails: the old key or the new one, whole; and the new one where the write was acknowledged. */
static void a_key_survives_every_failure(void **state)
{
	struct fixture *f = *state;
	unsigned steps = 0;

	for (size_t m = 0; m < sizeof(modes) / sizeof(*modes); m++) {
		bool more = true;

		for (unsigned n = 1; more; n++) {
			char byte = '0';

			fixture_key(f, fixture_profile(f, "rota"), "old");
			assert_return_code(pipe(told), 0);
			more = fails_at(f, modes[m], n, m ? 0 : EIO, store_new_key);
			close(told[1]);
			if (read(told[0], &byte, 1) != 1)
				byte = '?'; /* it died before it was told */
			close(told[0]);
			struct profile *p = fixture_profile(f, "rota");
			const char *key = fixture_read(f, p, BROKER_KEY);

			assert_non_null(key);
			if (byte == '1')
				assert_string_equal(key, "new");
			else if (byte == '0')
				assert_string_equal(key, "old");
			else
				assert_true(!strcmp(key, "new") || !strcmp(key, "old"));
			fixture_settle(f);
			assert_on_disk(f, "/pending", NULL);
			steps += more;
		}
	}
	assert_in_range(steps, 4 * 5, 4 * 30);
}

static void rotate(struct fixture *f, struct profile *p)
{
	fixture_read(f, p, BROKER_KEY);
	fixture_settle(f);
}

/* A rotation, and the disk fails at any step of it: the login lives, unless the answer itself was lost. */
static void a_login_survives_every_failure(void **state)
{
	struct fixture *f = *state;
	unsigned lost = 0, alive = 0;

	for (size_t m = 0; m < sizeof(modes) / sizeof(*modes); m++) {
		bool more = true;

		for (unsigned n = 1; more; n++) {
			unsigned requests = token_server_requests(f->server);
			struct profile *p = fixture_profile(f, "rota");

			fixture_login(f, p, 0, NULL);
			more = fails_at(f, modes[m], n, m ? 0 : ENOSPC, rotate);
			unsigned sent = token_server_requests(f->server) - requests;

			assert_in_range(sent, 0, 1);
			p = fixture_profile(f, "rota");
			if (!p->lost_answer) {
				alive++;
				fixture_advance(f, HOUR);
				assert_non_null(fixture_read(f, p, BROKER_KEY));
				assert_false(token_server_is_revoked(f->server));
				continue;
			}
			/* One repeat; it is refused, because the provider did rotate, or it saves. */
			lost++;
			if (fixture_read(f, p, BROKER_KEY)) {
				assert_int_equal(sent, 0);
				continue;
			}
			assert_int_equal(sent, 1);
			assert_int_equal(fixture_error()->code, PA_REFRESH_DEAD);
			assert_non_null(strstr(fixture_error()->detail,
				"the answer of an earlier refresh was lost"));
			assert_int_equal(token_server_requests(f->server) - requests, 2);
			fixture_free(f);
			*state = f = fixture_new(NULL, NULL, true);
		}
	}
	assert_in_range(lost, 4, 60);
	assert_in_range(alive, 8, 100);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(an_answer_that_cannot_be_saved_is_served),
		T(what_is_unsaved_is_saved_at_the_end),
		T(what_was_never_saved_counts_as_lost),
		T(nothing_is_sent_without_an_intent),
		cmocka_unit_test(the_rest_goes_on),
		T(a_verdict_that_cannot_be_saved_holds),
		T(a_key_that_cannot_be_stored_leaves_the_old_one),
		T(a_failed_clean_up_is_made_good),
		T(publishing_needs_no_disk),
		T(a_key_survives_every_failure),
		T(a_login_survives_every_failure),
	};

	signal(SIGXFSZ, SIG_IGN); /* as the server does */
	fixture_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
