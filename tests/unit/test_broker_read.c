/* Reading: the rule "When to refresh", who waits how long, and what many readers cost. */
#include "tests/unit/broker_fixture.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#define HELD ((struct token_reply){ .hold = true })

enum expected { FRESH, SOON, DUE, EXPIRED };

/* One login of this life, and a read when this much of it is left. */
static void read_with_left(
	struct fixture *f, struct profile *p, int64_t life, int64_t left, enum expected expected)
{
	unsigned n = token_server_issued(f->server), requests = token_server_requests(f->server);
	char old[32], new[32];
	struct reader rd = { 0 };

	snprintf(old, sizeof(old), CANARY "-at-%u", n);
	snprintf(new, sizeof(new), CANARY "-at-%u", n + 1);
	fixture_login(f, p, life, NULL);
	fixture_advance(f, life - left);
	assert_false(p->refresh); /* nobody has read it: nobody's refresh */
	if (expected != FRESH)
		token_server_next(f->server, HELD);
	reader_start(f, &rd, p, BROKER_KEY);
	assert_int_equal(p->refresh != NULL, expected != FRESH);
	assert_int_equal(rd.ended, expected == FRESH || expected == SOON);
	if (rd.ended)
		assert_string_equal(rd.value, old);
	else
		assert_int_equal(rd.w.join, expected == DUE);
	if (expected == FRESH) {
		fixture_settle(f);
		assert_int_equal(token_server_requests(f->server), requests);
		return;
	}
	fixture_requests(f, requests + 1);
	assert_int_equal(rd.ended, expected == SOON);
	token_server_release(f->server);
	fixture_settle(f);
	if (expected != SOON)
		assert_string_equal(rd.value, new);
	assert_int_equal(rd.r, 0);
	assert_key(f, p, new);
	assert_int_equal(token_server_requests(f->server), requests + 1);
}

static void refreshes_when_the_rule_says(void **state)
{
	static const struct {
		int64_t life, margin, hard;
	} tokens[] = {
		{ HOUR, 10 * MINUTE, 30 * SECOND },
		{ 8 * HOUR, 10 * MINUTE, 30 * SECOND },
		{ 25 * MINUTE, 5 * MINUTE, 30 * SECOND },
		{ 5 * MINUTE, MINUTE, 15 * SECOND },
		{ 2 * SECOND, 400, 100 },
	};
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	for (size_t i = 0; i < sizeof(tokens) / sizeof(*tokens); i++) {
		int64_t life = tokens[i].life, margin = tokens[i].margin, hard = tokens[i].hard;

		read_with_left(f, p, life, life, FRESH);
		read_with_left(f, p, life, margin * 3 / 2 + 1, FRESH);
		read_with_left(f, p, life, margin * 3 / 2, SOON);
		read_with_left(f, p, life, margin + 1, SOON);
		read_with_left(f, p, life, margin, DUE);
		read_with_left(f, p, life, hard + 1, DUE);
		read_with_left(f, p, life, hard, EXPIRED);
		read_with_left(f, p, life, 1, EXPIRED);
		read_with_left(f, p, life, 0, EXPIRED);
		read_with_left(f, p, life, -24 * HOUR, EXPIRED);
	}
}

static void keys_and_endless_tokens_are_always_fresh(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_key(f, p, "sk-1");
	fixture_advance(f, 24 * 365 * HOUR);
	assert_key(f, p, "sk-1");
	assert_int_equal(fixture_write(f, p, LANE_OAUTH,
				 "{\"type\":\"oauth\",\"access\":\"endless\",\"refresh\":\"\","
				 "\"expires\":9007199254740991}"),
		0);
	fixture_advance(f, 24 * 365 * HOUR);
	assert_key(f, p, "endless");
	/* Nothing to wake up for. */
	assert_int_equal(p->heap_index, 0);
	/* In a file 0 is a time long ago, not "never". */
	assert_int_equal(fixture_write(f, p, LANE_OAUTH,
				 "{\"type\":\"oauth\",\"access\":\"old\",\"expires\":0}"),
		0);
	assert_no_key(f, p, PA_EXPIRED);
	assert_int_equal(token_server_requests(f->server), 0);
}

static void idle_tokens_cost_nothing(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, HOUR, NULL);
	assert_int_equal(p->heap_index, 0);
	assert_key(f, p, CANARY "-at-0");
	/* It was read: it is refreshed when 1.5 margins are left, without a reader. */
	assert_true(p->wake_boot_ms == f->boot_ms + HOUR - 15 * MINUTE);
	fixture_advance(f, HOUR - 15 * MINUTE - 1);
	assert_false(p->refresh);
	fixture_advance(f, 1);
	assert_true(p->refresh);
	fixture_settle(f);
	assert_int_equal(token_server_requests(f->server), 1);
	/* The new one has no reader yet. */
	assert_int_equal(p->heap_index, 0);
	fixture_advance(f, 100 * HOUR);
	fixture_settle(f);
	assert_int_equal(token_server_requests(f->server), 1);
	assert_key(f, p, CANARY "-at-2");
}

/* expires counts from when the request was sent, not from when the answer came. */
static void expiry_counts_from_sending(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct profile_facts facts;
	struct reader rd = { 0 };

	token_server_life(f->server, 1000);
	fixture_login(f, p, 0, NULL);
	token_server_next(f->server, HELD);
	reader_start(f, &rd, p, BROKER_KEY);
	fixture_requests(f, 1);
	int64_t sent = f->wall_ms;

	fixture_advance(f, 20 * SECOND);
	token_server_release(f->server);
	assert_int_equal(reader_await(f, &rd), 0);
	broker_facts(f->b, p, &facts);
	assert_true(facts.expires_wall_ms == sent + 1000 * SECOND);
	assert_int_equal(rd.generation, facts.generation);
	fixture_settle(f);
}

static void joiners_take_the_old_token_after_3_s(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader rd[3] = { 0 };

	fixture_login(f, p, HOUR, NULL);
	fixture_advance(f, 55 * MINUTE);
	token_server_next(f->server, HELD);
	reader_start(f, &rd[0], p, BROKER_KEY);
	fixture_advance(f, 1000);
	reader_start(f, &rd[1], p, BROKER_HEADER);
	fixture_requests(f, 1);
	fixture_advance(f, 1999);
	assert_false(rd[0].ended);
	fixture_advance(f, 1);
	assert_true(rd[0].ended);
	assert_string_equal(rd[0].value, CANARY "-at-0");
	assert_false(rd[1].ended);
	fixture_advance(f, 1000);
	assert_string_equal(rd[1].value, "Authorization: Bearer " CANARY "-at-0\n");
	/* The refresh goes on; who comes now joins it. */
	assert_false(reader_start(f, &rd[2], p, BROKER_KEY));
	token_server_release(f->server);
	assert_int_equal(reader_await(f, &rd[2]), 0);
	assert_string_equal(rd[2].value, CANARY "-at-1");
	assert_int_equal(token_server_requests(f->server), 1);
}

/* A token that dies while its reader has joined: the reader waits on, to the deadline in all. */
static void joiners_of_a_dying_token_wait_on(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader rd = { 0 };

	fixture_login(f, p, 10 * SECOND, NULL);
	fixture_advance(f, 9 * SECOND);
	token_server_next(f->server, HELD);
	assert_false(reader_start(f, &rd, p, BROKER_KEY));
	assert_true(rd.w.join);
	fixture_requests(f, 1);
	fixture_advance(f, 3 * SECOND);
	assert_false(rd.ended || rd.w.join);
	fixture_advance(f, 57 * SECOND - 1);
	assert_false(rd.ended);
	fixture_advance(f, 1);
	assert_true(rd.ended);
	assert_int_equal(rd.r, -ETIMEDOUT);
	assert_int_equal(rd.err.code, PA_NET_TIMEOUT);
	token_server_release(f->server);
	fixture_settle(f);
}

static void waiters_end_at_the_deadline(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader first = { 0 }, second = { 0 };

	fixture_login(f, p, 0, NULL);
	token_server_next(f->server, HELD);
	reader_start(f, &first, p, BROKER_KEY);
	fixture_requests(f, 1);
	fixture_advance(f, 30 * SECOND);
	reader_start(f, &second, p, BROKER_KEY);
	fixture_advance(f, 30 * SECOND - 1);
	assert_false(first.ended);
	fixture_advance(f, 1);
	assert_int_equal(reader_await(f, &first), -ETIMEDOUT);
	assert_int_equal(first.err.code, PA_NET_TIMEOUT);
	assert_false(second.ended);
	/* The exchange outlives its first reader. */
	token_server_release(f->server);
	assert_int_equal(reader_await(f, &second), 0);
	assert_string_equal(second.value, CANARY "-at-1");
	fixture_settle(f);
	assert_int_equal(f->b->count.waiting, 0);
}

static void the_deadline_is_a_setting(void **state)
{
	struct fixture *f = fixture_new(NULL, "\"deadline_s\":2,", true);
	struct profile *p = fixture_profile(f, "rota");
	struct reader joiner = { 0 }, waiter = { 0 };

	fixture_login(f, p, HOUR, NULL);
	fixture_advance(f, 55 * MINUTE);
	token_server_next(f->server, HELD);
	reader_start(f, &joiner, p, BROKER_KEY);
	fixture_requests(f, 1);
	fixture_advance(f, 2 * SECOND);
	assert_true(joiner.ended);
	assert_string_equal(joiner.value, CANARY "-at-0");
	fixture_advance(f, 5 * MINUTE);
	reader_start(f, &waiter, p, BROKER_KEY);
	fixture_advance(f, 2 * SECOND);
	assert_true(waiter.ended);
	assert_int_equal(waiter.err.code, PA_NET_TIMEOUT);
	token_server_release(f->server);
	fixture_settle(f);
	fixture_free(f);
}

static void ten_thousand_readers_cost_one_request(void **state)
{
	enum { READERS = 10000 };
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader *rd = calloc(READERS, sizeof(*rd));
	size_t heap[2], plain[2] = { 0 };
	unsigned ended = 0;

	assert_non_null(rd);
	/* Once before, so that what is kept for ever is there. */
	fixture_login(f, p, 0, NULL);
	assert_key(f, p, CANARY "-at-1");
	fixture_settle(f);
	for (int round = 0; round < 2; round++) {
		fixture_advance(f, 2 * HOUR);
		token_server_next(f->server, HELD);
		unsigned had = f->b->count.reads_waited;

		ended = 0;
		for (int i = 0; i < READERS; i++) {
			rd[i].count = &ended;
			assert_false(reader_start(f, &rd[i], p, BROKER_KEY));
		}
		assert_int_equal(f->b->count.waiting, READERS);
		assert_int_equal(f->b->count.reads_waited - had, READERS);
		fixture_requests(f, 2 + round);
		token_server_release(f->server);
		fixture_settle(f);
		assert_int_equal(ended, READERS);
		for (int i = 0; i < READERS; i++) {
			assert_int_equal(rd[i].r, 0);
			assert_string_equal(rd[i].value, round ? CANARY "-at-3" : CANARY "-at-2");
			assert_int_equal(rd[i].generation, rd[0].generation);
		}
		assert_int_equal(token_server_requests(f->server), 2 + round);
		assert_int_equal(f->b->count.waiting, 0);
		heap[round] = secret_heap_used();
		plain[round] = mallinfo2().uordblks;
	}
	assert_int_equal(heap[0], heap[1]);
	assert_in_range(plain[1], 0, plain[0] + plain[0] / 10);
	free(rd);
}

static void cancelling_stops_no_refresh(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader rd[3] = { 0 };

	fixture_login(f, p, 0, NULL);
	token_server_next(f->server, HELD);
	for (int i = 0; i < 3; i++)
		reader_start(f, &rd[i], p, BROKER_KEY);
	fixture_requests(f, 1);
	broker_cancel(f->b, &rd[0].w);
	broker_cancel(f->b, &rd[2].w);
	assert_int_equal(f->b->count.waiting, 1);
	token_server_release(f->server);
	assert_int_equal(reader_await(f, &rd[1]), 0);
	assert_string_equal(rd[1].value, CANARY "-at-1");
	assert_false(rd[0].ended || rd[2].ended);

	/* Also when nobody is left. */
	fixture_advance(f, 2 * HOUR);
	token_server_next(f->server, HELD);
	reader_start(f, &rd[0], p, BROKER_KEY);
	fixture_requests(f, 2);
	broker_cancel(f->b, &rd[0].w);
	token_server_release(f->server);
	fixture_settle(f);
	assert_key(f, p, CANARY "-at-2");
	assert_int_equal(token_server_requests(f->server), 2);
}

static void env_never_waits(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader rd = { 0 };

	assert_true(reader_start(f, &rd, p, BROKER_ENV));
	assert_int_equal(rd.r, -ENOKEY);
	fixture_login(f, p, HOUR, NULL);
	assert_true(reader_start(f, &rd, p, BROKER_ENV));
	assert_string_equal(rd.value, "ROTA_API_KEY=" CANARY "-at-0\n");
	fixture_advance(f, 59 * MINUTE + 50 * SECOND);
	token_server_next(f->server, HELD);
	assert_true(reader_start(f, &rd, p, BROKER_ENV));
	assert_string_equal(rd.value, "ROTA_API_KEY=" CANARY "-at-0\n");
	fixture_requests(f, 1); /* but it has seen to it */
	fixture_advance(f, 10 * SECOND);
	assert_true(reader_start(f, &rd, p, BROKER_ENV));
	assert_int_equal(rd.r, -EAGAIN);
	assert_int_equal(rd.err.code, PA_NOT_READY);
	token_server_release(f->server);
	fixture_settle(f);
	assert_true(reader_start(f, &rd, p, BROKER_ENV));
	assert_string_equal(rd.value, "ROTA_API_KEY=" CANARY "-at-1\n");
	assert_int_equal(token_server_requests(f->server), 1);
}

static void a_clock_before_the_token_is_not_believed(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader rd = { 0 };

	fixture_login(f, p, HOUR, NULL);
	assert_key(f, p, CANARY "-at-0");
	fixture_set_wall(f, WALL_0 - 1);
	/* It may be long dead: a refresh, and meanwhile what there is. */
	assert_false(reader_start(f, &rd, p, BROKER_KEY));
	assert_true(rd.w.join);
	assert_int_equal(reader_await(f, &rd), 0);
	assert_string_equal(rd.value, CANARY "-at-1");
	/* The clock is right again: the token of before has a year to live, it seems, and is fresh. */
	fixture_settle(f);
	assert_key(f, p, CANARY "-at-1");
	assert_int_equal(token_server_requests(f->server), 1);
}

static void a_clock_that_jumps_ahead_is_noticed(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, HOUR, NULL);
	assert_key(f, p, CANARY "-at-0");
	fixture_set_wall(f, WALL_0 + 50 * MINUTE);
	assert_true(p->refresh);
	fixture_settle(f);
	assert_key(f, p, CANARY "-at-1");
	assert_int_equal(token_server_requests(f->server), 1);
}

/* What happens to those who wait when the credential changes under them. */
static void waits_end_when_the_credential_changes(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader rd = { 0 };

	/* logout */
	fixture_login(f, p, 0, NULL);
	token_server_next(f->server, HELD);
	reader_start(f, &rd, p, BROKER_KEY);
	fixture_requests(f, 1);
	struct outcome o = { 0 };

	broker_forget(f->b, p, LANE_NONE, outcome_done, &o);
	assert_int_equal(outcome_await(f, &o), 0);
	assert_true(rd.ended);
	assert_int_equal(rd.r, -ENOKEY);
	assert_int_equal(rd.err.code, PA_NO_KEY);
	token_server_release(f->server);
	fixture_settle(f);
	assert_no_key(f, p, PA_NO_KEY); /* the answer was nobody's */

	/* a key */
	fixture_login(f, p, 0, NULL);
	token_server_next(f->server, HELD);
	reader_start(f, &rd, p, BROKER_KEY);
	fixture_requests(f, 2);
	struct broker_input *in;

	assert_int_equal(broker_input_new(f->b, p, LANE_API_KEY, &in, NULL), 0);
	o = (struct outcome){ 0 };
	broker_input_write(in, "sk-2", 4, outcome_done, &o);
	outcome_await(f, &o);
	assert_false(rd.ended);
	broker_input_free(in);
	assert_int_equal(reader_await(f, &rd), 0);
	assert_string_equal(rd.value, "sk-2");
	token_server_release(f->server);
	fixture_settle(f);
	assert_int_equal(token_server_requests(f->server), 2);
}

static void a_slow_disk_delays_no_valid_token(void **state)
{
	struct fixture *f = *state;
	struct profile *rota = fixture_profile(f, "rota"), *plain = fixture_profile(f, "plain");
	struct reader rd = { 0 }, waiter = { 0 };
	struct slow_disk *disk;

	fixture_key(f, plain, "sk-plain");
	fixture_login(f, rota, HOUR, NULL);
	fixture_advance(f, 59 * MINUTE);
	disk = slow_disk_start(f);
	assert_false(reader_start(f, &waiter, rota, BROKER_KEY));
	assert_true(reader_start(f, &rd, plain, BROKER_KEY));
	assert_string_equal(rd.value, "sk-plain");
	/* Nothing leaves before its intent is on disk. */
	broker_dispatch(f->b);
	assert_int_equal(rota->refresh->phase, REFRESH_JOURNAL);
	assert_int_equal(token_server_requests(f->server), 0);
	fixture_advance(f, 3 * SECOND);
	assert_string_equal(waiter.value, CANARY "-at-0");
	slow_disk_end(disk);
	fixture_settle(f);
	assert_key(f, rota, CANARY "-at-1");
}

/* No reader sees a token whose refresh token is not durable. */
static void an_answer_is_saved_before_it_is_read(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader rd = { 0 };
	struct slow_disk *disk;
	cJSON *record;

	fixture_login(f, p, 0, NULL);
	token_server_next(f->server, HELD);
	reader_start(f, &rd, p, BROKER_KEY);
	fixture_requests(f, 1);
	disk = slow_disk_start(f);
	token_server_release(f->server);
	fixture_phase(f, p, REFRESH_SAVE);
	assert_false(rd.ended);
	record = fixture_record(f, "rota");
	assert_string_equal(json_str(json_at(record, "/oauth"), "refresh"), CANARY "-rt-0");
	cJSON_Delete(record);
	slow_disk_end(disk);
	assert_int_equal(reader_await(f, &rd), 0);
	record = fixture_record(f, "rota");
	assert_string_equal(json_str(json_at(record, "/oauth"), "refresh"), CANARY "-rt-1");
	cJSON_Delete(record);
}

static void the_end_of_the_server_ends_all_waits(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader waiter = { 0 }, joiner = { 0 };
	struct profile *q = fixture_profile(f, "openai-codex");

	fixture_login(f, q, HOUR, NULL);
	fixture_advance(f, 55 * MINUTE);
	fixture_login(f, p, 0, NULL);
	token_server_next(f->server, HELD);
	token_server_next(f->server, HELD);
	reader_start(f, &waiter, p, BROKER_KEY);
	fixture_requests(f, 1);
	reader_start(f, &joiner, q, BROKER_KEY);
	fixture_close(f);
	assert_true(waiter.ended && joiner.ended);
	assert_int_equal(waiter.r, -EINTR);
	assert_int_equal(waiter.err.code, PA_INTERRUPTED);
	/* For this one there was something to give, and its request had not left. */
	assert_int_equal(joiner.r, 0);
	assert_string_equal(joiner.value, CANARY "-at-0");
	assert_int_equal(fixture_intent(f, "openai-codex"), INTENT_ANSWERED);
	/* What was sent may have been taken. */
	assert_int_equal(fixture_intent(f, "rota"), INTENT_REFRESH);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(refreshes_when_the_rule_says),
		T(keys_and_endless_tokens_are_always_fresh),
		T(idle_tokens_cost_nothing),
		T(expiry_counts_from_sending),
		T(joiners_take_the_old_token_after_3_s),
		T(joiners_of_a_dying_token_wait_on),
		T(waiters_end_at_the_deadline),
		cmocka_unit_test(the_deadline_is_a_setting),
		T(ten_thousand_readers_cost_one_request),
		T(cancelling_stops_no_refresh),
		T(env_never_waits),
		T(a_clock_before_the_token_is_not_believed),
		T(a_clock_that_jumps_ahead_is_noticed),
		T(waits_end_when_the_credential_changes),
		T(a_slow_disk_delays_no_valid_token),
		T(an_answer_is_saved_before_it_is_read),
		T(the_end_of_the_server_ends_all_waits),
	};

	fixture_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
