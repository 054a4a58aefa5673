/* Exchanges: who wins when a login comes while one is being refreshed, and what requests and answers hold. */
#include "tests/unit/broker_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static struct token_reply answer(int status, const char *body)
{
	return (struct token_reply){ .status = status, .body = body };
}

/* ---- another login while one is being refreshed ---- */

static const char new_login[] = "{\"type\":\"oauth\",\"access\":\"" CANARY
				"-new\",\"refresh\":\"" CANARY "-rt-%u\",\"expires\":%lld}";

static void exchange_with_login(struct fixture *f, struct profile *p, struct token_reply reply,
	int64_t life, struct reader *rd)
{
	unsigned requests = token_server_requests(f->server);
	char entry[256];

	fixture_login(f, p, 0, NULL);
	reply.hold = true;
	token_server_next(f->server, reply);
	reader_start(f, rd, p, BROKER_KEY);
	fixture_requests(f, requests + 1);
	/* A login of its own family: its refresh token is the one that is issued next. */
	snprintf(entry, sizeof(entry), new_login, token_server_issued(f->server),
		(long long)(f->wall_ms + life));
	if (reply.status && !reply.take)
		snprintf(entry, sizeof(entry),
			"{\"type\":\"oauth\",\"access\":\"" CANARY "-new\",\"refresh\":\"" CANARY
			"-other\",\"expires\":%lld}",
			(long long)(f->wall_ms + life));
	struct outcome o = { 0 };
	struct broker_input *in;

	assert_int_equal(broker_input_new(f->b, p, LANE_OAUTH, &in, NULL), 0);
	broker_input_write(in, entry, strlen(entry), outcome_done, &o);
	assert_int_equal(outcome_await(f, &o), 0);
	broker_input_free(in);
	token_server_release(f->server);
	fixture_settle(f);
}

static void a_new_login_wins_over_any_answer(void **state)
{
	static const struct token_reply replies[] = {
		{ 0 },
		{ .status = 400, .body = "{\"error\":\"invalid_grant\"}" },
		{ .status = 503 },
		{ .status = 502 },
		{ .status = 200, .body = "garbage" },
		{ .status = 400, .lose = true },
	};
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader rd = { 0 };

	for (size_t i = 0; i < sizeof(replies) / sizeof(*replies); i++) {
		exchange_with_login(f, p, replies[i], HOUR, &rd);
		assert_true(rd.ended);
		assert_string_equal(rd.value, CANARY "-new");
		assert_status(f, p, "/state", "valid");
		assert_status(f, p, "/last_error", NULL);
		assert_false(p->lost_answer || p->facts.dead);
		assert_key(f, p, CANARY "-new");
	}
	assert_int_equal(fixture_events(f, "dead"), 0);
}

/* The login is accepted and waits behind a slow disk when the old one's answer comes: it wins as well. */
static void a_login_in_the_queue_wins(void **state)
{
	static const struct token_reply replies[] = {
		{ .hold = true },
		{ .hold = true, .status = 400, .body = "{\"error\":\"invalid_grant\"}" },
	};
	static const char entry[] =
		"{\"type\":\"oauth\",\"access\":\"" CANARY "-new\",\"refresh\":\"" CANARY
		"-other\",\"expires\":1700003600000}";
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	for (size_t i = 0; i < sizeof(replies) / sizeof(*replies); i++) {
		struct outcome written = { 0 }, mode = { 0 };
		struct reader rd = { 0 };
		struct broker_input *in;
		struct slow_disk *disk;

		fixture_login(f, p, 0, NULL);
		token_server_next(f->server, replies[i]);
		reader_start(f, &rd, p, BROKER_KEY);
		fixture_requests(f, (unsigned)i + 1);
		assert_int_equal(broker_input_new(f->b, p, LANE_OAUTH, &in, NULL), 0);
		broker_input_write(in, entry, strlen(entry), outcome_done, &written);
		assert_int_equal(outcome_await(f, &written), 0);
		disk = slow_disk_start(f);
		broker_set_mode(f->b, p, "auto", 4, outcome_done, &mode);
		broker_input_free(in); /* publishes, behind the mode */
		token_server_release(f->server);
		fixture_phase(f, p, REFRESH_SAVE);
		assert_false(rd.ended || mode.ended);
		slow_disk_end(disk);
		fixture_settle(f);
		assert_int_equal(rd.r, 0);
		assert_string_equal(rd.value, CANARY "-new");
		assert_key(f, p, CANARY "-new");
		assert_status(f, p, "/state", "valid");
		cJSON *record = fixture_record(f, "rota");

		assert_string_equal(
			json_str(json_at(record, "/oauth"), "refresh"), CANARY "-other");
		assert_null(json_at(record, "/dead"));
		cJSON_Delete(record);
	}
}

/* The new login needs a refresh itself: whoever waits, waits for that. */
static void waiters_go_over_to_the_new_login(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader rd = { 0 };

	exchange_with_login(f, p, (struct token_reply){ 0 }, 0, &rd);
	assert_int_equal(reader_await(f, &rd), 0);
	assert_string_equal(rd.value, CANARY "-at-2");
	assert_int_equal(token_server_requests(f->server), 2);
	assert_false(token_server_is_revoked(f->server));
}

static void another_mode_stops_no_refresh(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader rd = { 0 };

	fixture_key(f, p, "sk-1");
	fixture_login(f, p, 0, NULL);
	token_server_next(f->server, (struct token_reply){ .hold = true });
	reader_start(f, &rd, p, BROKER_KEY);
	fixture_requests(f, 1);
	struct outcome o = { 0 };

	broker_set_mode(f->b, p, "api_key", 7, outcome_done, &o);
	assert_int_equal(outcome_await(f, &o), 0);
	assert_int_equal(reader_await(f, &rd), 0);
	assert_string_equal(rd.value, "sk-1");
	token_server_release(f->server);
	fixture_settle(f);
	/* The rotated token is there all the same. */
	assert_int_equal(fixture_mode(f, p, "oauth\n"), 0);
	assert_key(f, p, CANARY "-at-1");
	assert_int_equal(token_server_requests(f->server), 1);
}

/* ---- kinds of requests ---- */

static void sends_what_each_provider_wants(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	const char *request = token_server_last(f->server);

	fixture_login(f, p, 0, NULL);
	assert_key(f, p, CANARY "-at-1");
	assert_ptr_equal(strstr(request, "POST /token HTTP/1.1\r\n"), request);
	assert_non_null(strstr(request, "Content-Type: application/x-www-form-urlencoded\r\n"));
	assert_non_null(strstr(request, "\r\n\r\ngrant_type=refresh_token&refresh_token=" CANARY
					"-rt-0&client_id=rota-client"));
	p = fixture_profile(f, "anthropic");
	fixture_login(f, p, 0, NULL);
	assert_key(f, p, CANARY "-at-2");
	assert_non_null(strstr(request, "Content-Type: application/json\r\n"));
	assert_non_null(strstr(request, "\"refresh_token\":\"" CANARY "-rt-1\""));
}

static void the_account_comes_from_the_token(void **state)
{
	/* {"https://api.openai.com/auth":{"chatgpt_account_id":"acc-7"}} */
	static const char jwt[] =
		"e30."
		"eyJodHRwczovL2FwaS5vcGVuYWkuY29tL2F1dGgiOnsiY2hhdGdwdF9hY2NvdW50X2lkIjoiYWNjLTcif"
		"X0.c2ln";
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "openai-codex");
	struct profile_facts facts;

	token_server_access(f->server, jwt);
	fixture_login(f, p, 0, NULL);
	broker_facts(f->b, p, &facts);
	assert_null(facts.account);
	assert_key(f, p, jwt);
	broker_facts(f->b, p, &facts);
	assert_string_equal(facts.account, "acc-7");
	assert_status(f, p, "/account", "acc-7");
	assert_non_null(strstr(fixture_read(f, p, BROKER_HEADER), "\nchatgpt-account-id: acc-7\n"));
	cJSON *record = fixture_record(f, "openai-codex");

	assert_string_equal(json_str(json_at(record, "/oauth"), "accountId"), "acc-7");
	cJSON_Delete(record);
}

static void fields_survive_a_rotation(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, 0, "\"accountId\":\"acc-1\",\"mine\":{\"a\":[1]},\"scope\":\"old\"");
	token_server_extra(f->server, "\"scope\":\"new\",\"noise\":1");
	fixture_close(f);
	fixture_edit(f, "rota", "later", "{\"version\":2}");
	fixture_open(f);
	p = fixture_profile(f, "rota");
	assert_key(f, p, CANARY "-at-1");
	assert_read(
		f, p, BROKER_HEADER, "Authorization: Bearer " CANARY "-at-1\nx-account: acc-1\n");
	cJSON *record = fixture_record(f, "rota");
	const cJSON *entry = json_at(record, "/oauth");

	assert_string_equal(json_str(entry, "accountId"), "acc-1");
	assert_non_null(json_at(entry, "/mine/a/0"));
	assert_string_equal(json_str(entry, "scope"), "new");
	assert_null(json_at(entry, "/noise"));
	assert_non_null(json_at(record, "/later/version"));
	cJSON_Delete(record);
}

static void client_credentials(void **state)
{
	static const char entry[] = "{\"type\":\"oauth\",\"client_id\":\"bot\",\"client_secret\":"
				    "\"" CANARY "-secret\"}";
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "robot");
	const char *request = token_server_last(f->server);

	assert_int_equal(fixture_write(f, p, LANE_OAUTH, entry), 0);
	assert_key(f, p, CANARY "-at-1");
	assert_non_null(strstr(request, "grant_type=client_credentials"));
	assert_non_null(strstr(request, "client_id=bot&client_secret=" CANARY "-secret"));
	/* A lost answer costs nothing here: there is no token to spend. */
	fixture_advance(f, 50 * MINUTE);
	token_server_next(f->server, (struct token_reply){ .lose = true });
	assert_key(f, p, CANARY "-at-1");
	fixture_settle(f);
	assert_false(p->lost_answer);
	fixture_advance(f, 10 * MINUTE);
	assert_key(f, p, CANARY "-at-3");
	/* Nor is it bound to a machine. */
	fixture_close(f);
	fixture_edit(f, "robot", "machine", "\"another\"");
	fixture_open(f);
	p = fixture_profile(f, "robot");
	fixture_advance(f, HOUR);
	assert_key(f, p, CANARY "-at-4");

	/* Refused: no login is dead, the next try may work. */
	fixture_advance(f, HOUR);
	token_server_next(f->server, answer(401, "{\"error\":\"invalid_client\"}"));
	assert_no_key(f, p, PA_EXCHANGE);
	fixture_advance(f, MINUTE);
	assert_key(f, p, CANARY "-at-5");

	/* Other credentials while a request is out: its token is dropped. */
	fixture_advance(f, HOUR);
	token_server_next(f->server, (struct token_reply){ .hold = true });
	struct reader rd = { 0 };

	reader_start(f, &rd, p, BROKER_KEY);
	fixture_requests(f, 7);
	struct outcome o = { 0 };
	struct broker_input *in;
	static const char other[] = "{\"type\":\"oauth\",\"client_id\":\"bot2\",\"client_secret\":"
				    "\"" CANARY "-secret2\"}";

	assert_int_equal(broker_input_new(f->b, p, LANE_OAUTH, &in, NULL), 0);
	broker_input_write(in, other, strlen(other), outcome_done, &o);
	assert_int_equal(outcome_await(f, &o), 0);
	broker_input_free(in);
	token_server_release(f->server);
	assert_int_equal(reader_await(f, &rd), 0);
	assert_string_equal(rd.value, CANARY "-at-7");
	assert_non_null(strstr(request, "client_id=bot2"));
	fixture_settle(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(a_new_login_wins_over_any_answer),
		T(a_login_in_the_queue_wins),
		T(waiters_go_over_to_the_new_login),
		T(another_mode_stops_no_refresh),
		T(sends_what_each_provider_wants),
		T(the_account_comes_from_the_token),
		T(fields_survive_a_rotation),
		T(client_credentials),
	};

	fixture_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
