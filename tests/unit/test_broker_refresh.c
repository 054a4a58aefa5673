/* What comes of a refresh that fails: states, back-off, the end of a login, lost answers. */
#include "tests/unit/broker_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static struct token_reply answer(int status, const char *body)
{
	return (struct token_reply){ .status = status, .body = body };
}

/* ---- failures ---- */

static const struct failure {
	struct token_reply reply;
	enum pa_code code;
	bool dead; /* else it tries again */
	bool lost; /* the token may have been taken */
} failures[] = {
	{ { .status = 400, .body = "{\"error\":\"invalid_grant\"}" }, PA_REFRESH_DEAD, true,
		false },
	{ { .status = 401, .body = "{\"error\":{\"code\":\"refresh_token_reused\"}}" },
		PA_REFRESH_DEAD, true, false },
	{ { .status = 401, .body = "{\"error\":\"invalid_client\"}" }, PA_REFRESH_DEAD, true,
		false },
	{ { .status = 403, .body = "{\"error\":\"access_denied\"}" }, PA_REFRESH_DEAD, true,
		false },
	{ { .status = 200, .body = "{\"error\":\"bad_refresh_token\"}" }, PA_REFRESH_DEAD, true,
		false },
	{ { .status = 400, .body = "{\"error\":\"invalid_request\"}" }, PA_EXCHANGE, false, false },
	{ { .status = 403, .body = "<html>blocked</html>" }, PA_EXCHANGE, false, false },
	{ { .status = 404, .body = "nothing here" }, PA_NET_ANSWER, false, false },
	{ { .status = 402, .body = "" }, PA_QUOTA, false, false },
	{ { .status = 408, .body = "" }, PA_NET_TIMEOUT, false, false },
	{ { .status = 429, .body = "{}" }, PA_RATE, false, false },
	{ { .status = 200, .body = "{\"error\":\"slow_down\"}" }, PA_RATE, false, false },
	{ { .status = 500, .body = "{\"error\":\"invalid_grant\"}" }, PA_NET_SERVER, false, false },
	{ { .status = 503, .body = "" }, PA_NET_SERVER, false, false },
	{ { .status = 302, .headers = "Location: http://127.0.0.1:1/\r\n", .body = "" },
		PA_NET_ANSWER, false, false },
	{ { .status = 502, .body = "" }, PA_NET_SERVER, false, true },
	{ { .status = 504, .body = "" }, PA_NET_SERVER, false, true },
	{ { .status = 200, .body = "garbage" }, PA_NET_ANSWER, false, true },
	{ { .status = 200, .body = "{\"access_token\":7}" }, PA_NET_ANSWER, false, true },
	{ { .lose = true }, PA_NET_UNREACHABLE, false, true },
};

/* While the old token lives: it is served, status says what happened, the login is whole. */
static void a_failure_keeps_the_old_token(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	for (size_t i = 0; i < sizeof(failures) / sizeof(*failures); i++) {
		const struct failure *c = &failures[i];
		struct token_reply reply = c->reply;
		unsigned requests = token_server_requests(f->server);
		char token[32];

		if (reply.lose) /* and has not taken it */
			reply = (struct token_reply){ .status = 200, .lose = true };
		snprintf(token, sizeof(token), CANARY "-at-%u", token_server_issued(f->server));
		fixture_login(f, p, HOUR, NULL);
		assert_status(f, p, "/state", "valid");
		assert_status(f, p, "/last_error", NULL);
		fixture_advance(f, 55 * MINUTE);
		token_server_next(f->server, reply);
		assert_key(f, p, token);
		fixture_settle(f);
		assert_status(f, p, "/state", c->dead ? "dead" : "retrying");
		assert_status(f, p, "/last_error/diagnostic_code", pa_wire(c->code));
		assert_status(f, p, "/last_error/summary", pa_summary(c->code));
		assert_status(f, p, "/last_error/diagnostic_remediation", pa_remedy(c->code));
		assert_int_equal(p->lost_answer, c->lost);
		assert_int_equal(
			fixture_intent(f, "rota"), c->lost ? INTENT_REFRESH : INTENT_ANSWERED);
		/* Nobody waits for what will not come. */
		struct reader rd = { 0 };

		assert_true(reader_start(f, &rd, p, BROKER_KEY));
		assert_string_equal(rd.value, token);
		assert_int_equal(token_server_requests(f->server), requests + 1);
	}
}

/* When the old token is dead, the reader gets the error of its refresh. */
static void a_failure_is_the_readers_error(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	for (size_t i = 0; i < sizeof(failures) / sizeof(*failures); i++) {
		const struct failure *c = &failures[i];
		struct reader rd[2] = { 0 };
		unsigned requests = token_server_requests(f->server);
		struct token_reply reply = c->reply;

		if (reply.lose)
			reply = (struct token_reply){ .status = 200, .lose = true };
		fixture_login(f, p, 0, NULL);
		token_server_next(f->server, reply);
		reader_start(f, &rd[0], p, BROKER_KEY);
		reader_start(f, &rd[1], p, BROKER_KEY);
		for (int k = 0; k < 2; k++) {
			assert_int_equal(reader_await(f, &rd[k]), -pa_errno(c->code));
			assert_int_equal(rd[k].err.code, c->code);
		}
		fixture_settle(f);
		/* In the back-off, or dead: the same answer, and no request. */
		assert_no_key(f, p, c->code);
		assert_int_equal(token_server_requests(f->server), requests + 1);
		/* It holds nothing back from who asks when the time has come. */
		fixture_advance(f, 2 * MINUTE);
		if (c->dead) {
			assert_no_key(f, p, c->code);
			assert_int_equal(token_server_requests(f->server), requests + 1);
		} else {
			assert_non_null(fixture_read(f, p, BROKER_KEY));
			assert_int_equal(token_server_requests(f->server), requests + 2);
			assert_status(f, p, "/state", "valid");
			assert_status(f, p, "/last_error", NULL);
		}
		fixture_settle(f);
	}
}

static void network_failures(void **state)
{
	struct fixture *f = fixture_new(NULL, "\"exchange_deadline_s\":1,", true);
	struct profile *p = fixture_profile(f, "rota");

	/* Silence: the exchange ends at its own deadline, and the token may be gone. */
	fixture_login(f, p, 0, NULL);
	token_server_next(f->server, (struct token_reply){ .hold = true });
	assert_no_key(f, p, PA_NET_TIMEOUT);
	assert_int_equal(fixture_error()->errnum, ETIMEDOUT);
	assert_true(p->lost_answer);
	token_server_release(f->server);

	/* Nobody there: nothing was sent. */
	int port = token_server_port(f->server);
	struct token_server *gone = f->server;

	fixture_login(f, p, 0, NULL);
	f->server = token_server_start(CANARY, true);
	token_server_stop(gone);
	assert_int_not_equal(port, token_server_port(f->server));
	assert_no_key(f, p, PA_NET_UNREACHABLE);
	assert_int_equal(fixture_error()->errnum, EHOSTUNREACH);
	assert_false(p->lost_answer);
	fixture_settle(f);
	assert_int_equal(fixture_intent(f, "rota"), INTENT_ANSWERED);
	fixture_free(f);
}

static void backs_off_longer_each_time(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	int64_t least = 1000;

	fixture_login(f, p, 0, NULL);
	for (unsigned i = 1; i <= 12; i++) {
		token_server_next(f->server, answer(503, ""));
		assert_no_key(f, p, PA_NET_SERVER);
		fixture_settle(f);
		assert_int_equal(token_server_requests(f->server), i);
		int64_t wait = p->retry_boot_ms - f->boot_ms;

		assert_in_range(wait, least, least + least / 4);
		fixture_advance(f, wait - 1);
		assert_no_key(f, p, PA_NET_SERVER);
		assert_int_equal(token_server_requests(f->server), i);
		fixture_advance(f, 1);
		least = least * 2 < 5 * MINUTE ? least * 2 : 5 * MINUTE;
	}
	assert_key(f, p, CANARY "-at-1");
	/* And from the beginning after a success. */
	fixture_advance(f, HOUR);
	token_server_next(f->server, answer(503, ""));
	assert_no_key(f, p, PA_NET_SERVER);
	assert_in_range(p->retry_boot_ms - f->boot_ms, 1000, 1250);
}

static void retry_after_is_honoured(void **state)
{
	static const struct {
		const char *header;
		int64_t least, most;
	} cases[] = {
		{ "Retry-After: 90\r\n", 90 * SECOND, 90 * SECOND },
		{ "Retry-After: 0\r\n", 1000, 1250 },
		{ "Retry-After: 1000000\r\n", HOUR, HOUR },
		{ "Retry-After: soon\r\n", 1000, 1250 },
		{ "", 1000, 1250 },
	};
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct token_reply reply = answer(i % 2 ? 503 : 429, "");

		reply.headers = cases[i].header;
		fixture_login(f, p, 0, NULL);
		token_server_next(f->server, reply);
		assert_no_key(f, p, i % 2 ? PA_NET_SERVER : PA_RATE);
		assert_in_range(p->retry_boot_ms - f->boot_ms, cases[i].least, cases[i].most);
	}
}

/* A token that is in use is tried again without a reader, in its last minutes. */
static void the_background_refresh_is_repeated(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, HOUR, NULL);
	assert_key(f, p, CANARY "-at-0");
	token_server_next(f->server, answer(503, ""));
	token_server_next(f->server, answer(503, ""));
	fixture_advance(f, 45 * MINUTE);
	fixture_settle(f);
	assert_int_equal(token_server_requests(f->server), 1);
	fixture_advance(f, p->wake_boot_ms - f->boot_ms);
	fixture_settle(f);
	assert_int_equal(token_server_requests(f->server), 2);
	fixture_advance(f, p->wake_boot_ms - f->boot_ms);
	fixture_settle(f);
	assert_int_equal(token_server_requests(f->server), 3);
	assert_key(f, p, CANARY "-at-1");
	assert_int_equal(fixture_events(f, "refresh_failed"), 2);
	assert_int_equal(fixture_events(f, "refreshed"), 1);
}

static void tokens_that_come_expired_make_no_storm(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, 0, NULL);
	token_server_life(f->server, 0);
	assert_no_key(f, p, PA_EXPIRED);
	for (int i = 0; i < 100; i++)
		assert_no_key(f, p, PA_EXPIRED);
	assert_int_equal(token_server_requests(f->server), 1);
	assert_status(f, p, "/state", "retrying");
	token_server_life(f->server, 3600);
	fixture_advance(f, 2 * SECOND);
	assert_key(f, p, CANARY "-at-2");
}

/* ---- the end of a login ---- */

static void dead_lasts_until_the_next_login(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, 0, NULL);
	token_server_next(f->server, answer(400, "{\"error\":\"invalid_grant\"}"));
	assert_no_key(f, p, PA_REFRESH_DEAD);
	assert_int_equal(fixture_error()->errnum, EKEYREVOKED);
	assert_int_equal(fixture_events(f, "dead"), 1);
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	fixture_advance(f, 24 * HOUR);
	assert_no_key(f, p, PA_REFRESH_DEAD);
	assert_status(f, p, "/state", "dead");
	assert_status(f, p, "/last_error/diagnostic_code", "auth.oauth.token_refresh_failed");
	assert_status(f, p, "/last_error/context/details", "HTTP 400, invalid_grant");
	assert_int_equal(token_server_requests(f->server), 1);
	/* Nothing was erased. */
	cJSON *record = fixture_record(f, "rota");

	assert_string_equal(json_str(json_at(record, "/oauth"), "refresh"), CANARY "-rt-0");
	cJSON_Delete(record);

	fixture_login(f, p, 0, NULL);
	assert_status(f, p, "/state", "valid");
	assert_key(f, p, CANARY "-at-1");
	assert_int_equal(token_server_requests(f->server), 2);
	record = fixture_record(f, "rota");
	assert_null(json_at(record, "/dead"));
	cJSON_Delete(record);
}

static void readers_hear_of_death_when_it_is_durable(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader rd = { 0 };
	struct slow_disk *disk;

	fixture_login(f, p, 0, NULL);
	token_server_next(f->server,
		(struct token_reply){
			.status = 400, .body = "{\"error\":\"invalid_grant\"}", .hold = true });
	reader_start(f, &rd, p, BROKER_KEY);
	fixture_requests(f, 1);
	disk = slow_disk_start(f);
	token_server_release(f->server);
	fixture_phase(f, p, REFRESH_SAVE);
	assert_false(rd.ended);
	slow_disk_end(disk);
	assert_int_equal(reader_await(f, &rd), -EKEYREVOKED);
}

/* ---- lost answers ---- */

static void an_answer_that_was_lost_is_not_asked_for_twice(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, HOUR, NULL);
	fixture_advance(f, 50 * MINUTE);
	/* The provider takes the token; its answer does not arrive. It would refuse a second try. */
	token_server_next(f->server, (struct token_reply){ .lose = true });
	assert_key(f, p, CANARY "-at-0");
	fixture_settle(f);
	assert_status(f, p, "/state", "retrying");
	for (int i = 0; i < 50; i++) {
		fixture_advance(f, 10 * SECOND);
		assert_key(f, p, CANARY "-at-0");
		fixture_settle(f);
	}
	assert_int_equal(token_server_requests(f->server), 1);
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	assert_true(p->lost_answer);
	assert_status(f, p, "/state", "retrying");
	assert_key(f, p, CANARY "-at-0");
	fixture_settle(f);
	assert_int_equal(token_server_requests(f->server), 1);
	assert_int_equal(fixture_intent(f, "rota"), INTENT_REFRESH);

	/* When it has died one repeat decides. */
	fixture_advance(f, 10 * MINUTE);
	assert_no_key(f, p, PA_REFRESH_DEAD);
	assert_int_equal(token_server_requests(f->server), 2);
	assert_int_equal(fixture_intent(f, "rota"), INTENT_REPEAT);
	assert_non_null(
		strstr(fixture_error()->detail, "the answer of an earlier refresh was lost"));
	assert_non_null(strstr(fixture_error()->detail, "invalid_grant"));
	assert_int_equal(f->b->count.repeats, 1);
	fixture_advance(f, 24 * HOUR);
	assert_no_key(f, p, PA_REFRESH_DEAD);
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	assert_no_key(f, p, PA_REFRESH_DEAD);
	assert_int_equal(token_server_requests(f->server), 2);
	assert_status(f, p, "/state", "dead");
	cJSON *status = fixture_status(f, p);
	const cJSON *details = json_at(status, "/last_error/context/details");

	assert_non_null(strstr(details->valuestring, "the answer of an earlier refresh was lost"));
	cJSON_Delete(status);
}

/* A gateway lost it, the provider has taken nothing: the repeat saves the login. */
static void a_repeat_can_succeed(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, HOUR, NULL);
	fixture_advance(f, 50 * MINUTE);
	token_server_next(f->server, answer(502, ""));
	assert_key(f, p, CANARY "-at-0");
	fixture_settle(f);
	fixture_advance(f, 10 * MINUTE);
	assert_key(f, p, CANARY "-at-1");
	assert_int_equal(fixture_intent(f, "rota"), INTENT_REPEAT);
	assert_false(p->lost_answer);
	assert_status(f, p, "/state", "valid");
	fixture_restart(f); /* the row is about a token that is no more */
	p = fixture_profile(f, "rota");
	assert_false(p->lost_answer);
	fixture_advance(f, HOUR);
	assert_key(f, p, CANARY "-at-2");
	assert_int_equal(fixture_intent(f, "rota"), INTENT_REFRESH);
}

/* What does not decide about the first request does not settle it either. */
static void only_an_answer_settles_a_lost_one(void **state)
{
	static const struct token_reply undecided[] = {
		{ .status = 503 },
		{ .status = 429 },
		{ .status = 400, .body = "{\"error\":\"invalid_request\"}" },
		{ .status = 504 },
		{ .status = 200, .lose = true },
	};
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, HOUR, NULL);
	fixture_advance(f, 50 * MINUTE);
	token_server_next(f->server, (struct token_reply){ .lose = true });
	assert_key(f, p, CANARY "-at-0");
	fixture_settle(f);
	fixture_advance(f, 10 * MINUTE);
	for (size_t i = 0; i < sizeof(undecided) / sizeof(*undecided); i++) {
		token_server_next(f->server, undecided[i]);
		assert_null(fixture_read(f, p, BROKER_KEY));
		fixture_settle(f);
		assert_int_not_equal(fixture_error()->code, PA_REFRESH_DEAD);
		assert_true(p->lost_answer);
		assert_int_equal(fixture_intent(f, "rota"), INTENT_REPEAT);
		fixture_advance(f, 10 * MINUTE);
	}
	assert_no_key(f, p, PA_REFRESH_DEAD);
	assert_non_null(
		strstr(fixture_error()->detail, "the answer of an earlier refresh was lost"));
	assert_int_equal(f->b->count.repeats, 6);
}

static void who_does_not_rotate_may_be_asked_again(void **state)
{
	struct fixture *f = fixture_new(NULL, NULL, false);
	struct profile *p = fixture_profile(f, "free");

	fixture_login(f, p, HOUR, NULL);
	fixture_advance(f, 50 * MINUTE);
	token_server_next(f->server, (struct token_reply){ .lose = true });
	assert_key(f, p, CANARY "-at-0");
	fixture_settle(f);
	assert_false(p->lost_answer);
	assert_int_equal(token_server_requests(f->server), 1);
	fixture_advance(f, 2 * SECOND);
	assert_key(f, p, CANARY "-at-2");
	assert_int_equal(token_server_requests(f->server), 2);
	/* It needs no journal. */
	assert_int_equal(fixture_intent(f, "free"), 0);
	fixture_free(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(a_failure_keeps_the_old_token),
		T(a_failure_is_the_readers_error),
		cmocka_unit_test(network_failures),
		T(backs_off_longer_each_time),
		T(retry_after_is_honoured),
		T(the_background_refresh_is_repeated),
		T(tokens_that_come_expired_make_no_storm),
		T(dead_lasts_until_the_next_login),
		T(readers_hear_of_death_when_it_is_durable),
		T(an_answer_that_was_lost_is_not_asked_for_twice),
		T(a_repeat_can_succeed),
		T(only_an_answer_settles_a_lost_one),
		cmocka_unit_test(who_does_not_rotate_may_be_asked_again),
	};

	fixture_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
