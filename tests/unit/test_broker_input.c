/* Writing: what becomes of the bytes of an open, in whatever pieces they come. */
#include "store/link.h"
#include "tests/unit/broker_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct broker_input *input(struct fixture *f, struct profile *p, enum lane lane)
{
	struct broker_input *in = NULL;

	assert_int_equal(broker_input_new(f->b, p, lane, &in, NULL), 0);
	return in;
}

static int write_part(struct fixture *f, struct broker_input *in, const char *bytes, size_t len)
{
	struct outcome o = { 0 };

	broker_input_write(in, bytes, len, outcome_done, &o);
	return outcome_await(f, &o);
}

static int flush(struct fixture *f, struct broker_input *in)
{
	struct outcome o = { 0 };

	broker_input_flush(in, outcome_done, &o);
	return outcome_await(f, &o);
}

static void release(struct fixture *f, struct broker_input *in)
{
	broker_input_free(in);
	fixture_settle(f);
}

/* Whether the record on disk holds a pending value. */
static bool has_pending(struct fixture *f, const char *profile)
{
	cJSON *record = fixture_record(f, profile);
	bool has = record && json_at(record, "/pending");

	cJSON_Delete(record);
	return has;
}

struct parts {
	const char *parts[6]; /* NULL ends */
	size_t lens[6];       /* 0: strlen */
	const char *key;      /* what is served afterwards */
	int r;                /* of the last write that was tried; it is the first that fails */
};

/* A shell's way: write, write, ..., close. */
static void pieces_become_one_key(void **state)
{
	static const struct parts cases[] = {
		{ { "sk-1\n" }, { 0 }, "sk-1", 0 },
		{ { "sk-2" }, { 0 }, "sk-2", 0 },
		{ { "s", "k", "-", "3", "\n" }, { 0 }, "sk-3", 0 },
		{ { "sk-4\r", "\n" }, { 0 }, "sk-4", 0 },
		{ { "sk-5", "\r\n" }, { 0 }, "sk-5", 0 },
		{ { "sk-6", "\r", "\n" }, { 0 }, "sk-6", 0 },
		{ { "sk", "-7\n" }, { 0 }, "sk-7", 0 },
		/* printf 'a\nb' of bash comes as two writes. */
		{ { "a\n", "b" }, { 0 }, "old", -EINVAL },
		{ { "a\nb\n" }, { 0 }, "old", -EINVAL },
		{ { "a\r", "b" }, { 0 }, "old", -EINVAL },
		{ { "a\n", "\n" }, { 0 }, "old", -EINVAL },
		{ { "\n" }, { 0 }, "old", -EINVAL },
		{ { "\r\n" }, { 0 }, "old", -EINVAL },
		{ { "a\0b" }, { 3 }, "old", -EINVAL },
		{ { "a", "\0" }, { 0, 1 }, "old", -EINVAL },
		{ { "a", "\x1b" }, { 0 }, "old", -EINVAL },
		{ { "a\xff" }, { 0 }, "old", -EINVAL },
	};
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct parts *c = &cases[i];
		struct broker_input *in;
		int r = 0;

		fixture_key(f, p, "old");
		in = input(f, p, LANE_API_KEY);
		/* bash flushes once before it writes. */
		assert_int_equal(flush(f, in), 0);
		for (size_t k = 0; c->parts[k] && r == 0; k++) {
			size_t len = c->lens[k] ? c->lens[k] : strlen(c->parts[k]);

			r = write_part(f, in, c->parts[k], len);
			/* No reader sees a fragment. */
			assert_key(f, p, "old");
			if (r == 0)
				assert_true(has_pending(f, "rota"));
		}
		assert_int_equal(r, c->r);
		if (r < 0) {
			/* It was gone from the disk when the error was told; nothing more counts. */
			assert_false(has_pending(f, "rota"));
			assert_int_equal(write_part(f, in, "later", 5), c->r);
		}
		assert_int_equal(flush(f, in), c->r);
		assert_key(f, p, c->key);
		release(f, in);
		assert_key(f, p, c->key);
		assert_false(has_pending(f, "rota"));
		fixture_restart(f);
		p = fixture_profile(f, "rota");
		assert_key(f, p, c->key);
	}
}

static void a_first_key_that_fails_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct broker_input *in = input(f, p, LANE_API_KEY);

	assert_int_equal(write_part(f, in, "a\n", 2), 0);
	assert_int_equal(write_part(f, in, "b", 1), -EINVAL);
	release(f, in);
	assert_no_key(f, p, PA_NO_KEY);
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	assert_no_key(f, p, PA_NO_KEY);
	assert_null(broker_next(f->b, NULL));
}

static void the_length_is_limited(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	char *big = malloc(2 * 1024 * 1024);
	struct broker_input *in;
	struct reader rd = { 0 };

	assert_non_null(big);
	memset(big, 'k', 2 * 1024 * 1024);
	fixture_key(f, p, "old");
	static const size_t lens[] = { RECORD_KEY_MAX + 1, RECORD_KEY_MAX + 2, RECORD_KEY_MAX + 3,
		1024 * 1024, 2 * 1024 * 1024 };

	for (size_t i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
		in = input(f, p, LANE_API_KEY);
		assert_int_equal(write_part(f, in, big, lens[i]), -EFBIG);
		release(f, in);
		assert_key(f, p, "old");
	}
	/* In pieces: what fits is pending, what does not takes it back. */
	in = input(f, p, LANE_API_KEY);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(write_part(f, in, big, RECORD_KEY_MAX / 4), 0);
	assert_true(has_pending(f, "rota"));
	assert_int_equal(write_part(f, in, big, 1), -EFBIG);
	assert_false(has_pending(f, "rota"));
	release(f, in);
	assert_key(f, p, "old");
	/* The longest there may be, with its line end. */
	memcpy(big + RECORD_KEY_MAX, "\r\n", 2);
	in = input(f, p, LANE_API_KEY);
	assert_int_equal(write_part(f, in, big, RECORD_KEY_MAX + 2), 0);
	release(f, in);
	assert_true(reader_start(f, &rd, p, BROKER_KEY));
	assert_int_equal(rd.len, RECORD_KEY_MAX);
	assert_int_equal(broker_size(f->b, p, BROKER_KEY), RECORD_KEY_MAX);
	free(big);
}

/* Both lanes as long as they may be, each with a pending value as long. */
static void the_largest_record_opens_again(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	char *key = malloc(RECORD_KEY_MAX + 1), *entry = malloc(RECORD_OAUTH_MAX + 1);
	static const char begin[] =
		"{\"type\":\"oauth\",\"access\":\"a\",\"expires\":9007199254740991,"
		"\"x\":\"";
	struct broker_input *in[2];
	struct reader rd = { 0 };

	assert_true(key && entry);
	memset(key, '"', RECORD_KEY_MAX); /* each takes two bytes of JSON */
	key[RECORD_KEY_MAX] = '\0';
	memset(entry, 'x', RECORD_OAUTH_MAX);
	memcpy(entry, begin, sizeof(begin) - 1);
	memcpy(entry + RECORD_OAUTH_MAX - 2, "\"}", 3);
	assert_int_equal(fixture_write(f, p, LANE_OAUTH, entry), 0);
	fixture_key(f, p, key);
	in[0] = input(f, p, LANE_API_KEY);
	in[1] = input(f, p, LANE_OAUTH);
	assert_int_equal(write_part(f, in[0], key, RECORD_KEY_MAX), 0);
	assert_int_equal(write_part(f, in[1], entry, RECORD_OAUTH_MAX), 0);
	cJSON *record = fixture_record(f, "rota");

	assert_non_null(record);
	cJSON_Delete(record);
	release(f, in[0]);
	release(f, in[1]);
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	assert_int_equal(p->broken.code, PA_NONE);
	assert_int_equal(fixture_mode(f, p, "api_key"), 0);
	assert_true(reader_start(f, &rd, p, BROKER_KEY));
	assert_int_equal(rd.len, RECORD_KEY_MAX);
	free(key);
	free(entry);
}

/* The value was acknowledged: a crash before the flush does not lose it. */
static void acknowledged_values_survive_a_crash(void **state)
{
	struct fixture *f = *state;
	char entry[256];

	for (int login = 0; login < 2; login++) {
		pid_t pid;
		int status;

		snprintf(entry, sizeof(entry),
			"{\"type\":\"oauth\",\"access\":\"" CANARY "-at-0\",\"refresh\":\"" CANARY
			"-rt-0\",\"expires\":%lld}",
			(long long)(f->wall_ms + 2000));
		fixture_close(f);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			struct broker_input *in;

			fixture_open(f);
			in = input(
				f, fixture_profile(f, "rota"), login ? LANE_OAUTH : LANE_API_KEY);
			if (login)
				write_part(f, in, entry, strlen(entry));
			else
				write_part(f, in, "sk-crash\n", 9);
			_exit(42);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(WEXITSTATUS(status), 42);
		assert_true(has_pending(f, "rota"));
		fixture_open(f);
		struct profile *p = fixture_profile(f, "rota");

		assert_key(f, p, login ? CANARY "-at-0" : "sk-crash");
		fixture_settle(f);
		assert_false(has_pending(f, "rota"));
		if (!login)
			continue;
		/* It is a login like any other: bound to this machine, its life is known. */
		cJSON *record = fixture_record(f, "rota");

		assert_string_equal(json_str(record, "machine"), vault_machine_id(f->vault));
		cJSON_Delete(record);
		assert_true(p->facts.refreshed_ms == f->wall_ms);
		assert_int_equal(p->refresh != NULL, 0);
	}
}

static void a_fragment_is_adopted_by_nobody(void **state)
{
	struct fixture *f = *state;
	pid_t pid;
	int status;

	fixture_key(f, fixture_profile(f, "rota"), "old");
	fixture_close(f);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct broker_input *in;

		fixture_open(f);
		in = input(f, fixture_profile(f, "rota"), LANE_API_KEY);
		write_part(f, in, "first line\n", 11);
		_exit(write_part(f, in, "second line", 11) == -EINVAL ? 42 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 42);
	fixture_open(f);
	assert_key(f, fixture_profile(f, "rota"), "old");
}

static void logins_come_in_pieces(void **state)
{
	static const char entry[] =
		"{\"type\":\"oauth\",\"access\":\"" CANARY
		"-at-0\",\"expires\":1700003600000,\"refresh\":\"" CANARY "-rt-0\"}\n";
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	for (size_t step = 1; step < sizeof(entry); step += 7) {
		struct broker_input *in = input(f, p, LANE_OAUTH);

		assert_int_equal(fixture_forget(f, p, LANE_NONE), 0);
		for (size_t at = 0; at < sizeof(entry) - 1; at += step) {
			size_t len = sizeof(entry) - 1 - at < step ? sizeof(entry) - 1 - at : step;

			assert_false(p->facts.stored);
			if (at && at + len < sizeof(entry) - 2)
				assert_int_equal(flush(f, in), -EINVAL); /* it has no end yet */
			assert_int_equal(write_part(f, in, entry + at, len), 0);
		}
		assert_int_equal(flush(f, in), 0);
		assert_key(f, p, CANARY "-at-0");
		release(f, in);
	}
	/* One that never ends stores nothing. */
	struct broker_input *in = input(f, p, LANE_OAUTH);

	assert_int_equal(write_part(f, in, "{\"type\":\"oau", 12), 0);
	assert_int_equal(flush(f, in), -EINVAL);
	release(f, in);
	assert_key(f, p, CANARY "-at-0");
}

static void bad_logins_are_refused(void **state)
{
	static const char *const bad[] = {
		"sk-x\n",
		"{\"type\":\"oauth\"}",
		"{\"type\":\"oauth\",\"access\":\"a\"}",
		"{\"type\":\"oauth\",\"access\":\"a\\nb\",\"expires\":1}",
		"{\"type\":\"oauth\",\"access\":7,\"expires\":1}",
		"{\"type\":\"oauth\",\"access\":\"a\",\"expires\":\"soon\"}",
		"{\"type\":\"api_key\",\"key\":\"$KEY\"}",
	};
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_login(f, p, HOUR, NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(fixture_write(f, p, LANE_OAUTH, bad[i]), -EINVAL);
		assert_int_equal(fixture_error()->code, PA_BAD_INPUT);
		assert_key(f, p, CANARY "-at-0");
	}
	/* An api_key entry is a key. */
	assert_int_equal(
		fixture_write(f, p, LANE_OAUTH, "{\"type\":\"api_key\",\"key\":\"sk-e\"}"), 0);
	assert_key(f, p, "sk-e");
	assert_true(p->facts.has_oauth && p->facts.has_api_key);
}

static void two_opens_do_not_mix(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct broker_input *a = input(f, p, LANE_API_KEY), *b = input(f, p, LANE_API_KEY);

	assert_int_equal(write_part(f, a, "sk-", 3), 0);
	assert_int_equal(write_part(f, b, "other", 5), 0);
	assert_int_equal(write_part(f, a, "a", 1), 0);
	assert_int_equal(flush(f, b), 0);
	assert_key(f, p, "other");
	assert_int_equal(flush(f, a), 0);
	assert_key(f, p, "sk-a");
	release(f, a);
	release(f, b);
	assert_key(f, p, "sk-a");

	/* One fails: the other's pending value stays, and is what a crash would adopt. */
	a = input(f, p, LANE_API_KEY);
	b = input(f, p, LANE_API_KEY);
	assert_int_equal(write_part(f, a, "good", 4), 0);
	assert_int_equal(write_part(f, b, "bad\n", 4), 0);
	assert_int_equal(write_part(f, b, "line", 4), -EINVAL);
	cJSON *record = fixture_record(f, "rota");

	assert_string_equal(json_str(json_at(record, "/pending/api_key"), "key"), "good");
	cJSON_Delete(record);
	release(f, b);
	assert_key(f, p, "sk-a");
	release(f, a);
	assert_key(f, p, "good");
	assert_false(has_pending(f, "rota"));

	/* Both lanes at once. */
	a = input(f, p, LANE_API_KEY);
	b = input(f, p, LANE_OAUTH);
	assert_int_equal(write_part(f, a, "sk-b", 4), 0);
	static const char entry[] =
		"{\"type\":\"oauth\",\"access\":\"" CANARY "-x\",\"expires\":1700003600000}";

	assert_int_equal(write_part(f, b, entry, strlen(entry)), 0);
	release(f, a);
	assert_key(f, p, "sk-b");
	assert_true(has_pending(f, "rota"));
	release(f, b);
	assert_key(f, p, CANARY "-x");
	assert_false(has_pending(f, "rota"));
}

/* Writes that are under way when flush and release come, as a dying writer leaves them. */
static void release_waits_for_what_is_under_way(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct broker_input *in = input(f, p, LANE_API_KEY);
	struct slow_disk *disk = slow_disk_start(f);
	struct outcome write = { 0 }, flushed = { 0 };

	broker_input_write(in, "sk-slow", 7, outcome_done, &write);
	broker_input_flush(in, outcome_done, &flushed);
	broker_input_free(in);
	broker_dispatch(f->b);
	assert_false(write.ended || flushed.ended);
	assert_no_key(f, p, PA_NO_KEY);
	slow_disk_end(disk);
	fixture_settle(f);
	assert_true(write.ended && flushed.ended);
	assert_int_equal(write.r, 0);
	assert_key(f, p, "sk-slow");

	in = input(f, p, LANE_API_KEY);
	disk = slow_disk_start(f);
	write = (struct outcome){ 0 };
	broker_input_write(in, "sk-lone", 7, outcome_done, &write);
	broker_input_free(in);
	slow_disk_end(disk);
	fixture_settle(f);
	assert_key(f, p, "sk-lone");
	assert_false(has_pending(f, "rota"));
}

static void truncation_starts_anew(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct broker_input *in = input(f, p, LANE_API_KEY);

	fixture_key(f, p, "old");
	broker_input_reset(in); /* what > does before it writes */
	assert_int_equal(write_part(f, in, "first\n", 6), 0);
	broker_input_reset(in);
	assert_int_equal(write_part(f, in, "second\n", 7), 0);
	assert_int_equal(flush(f, in), 0);
	assert_key(f, p, "second");
	/* By itself it changes nothing. */
	broker_input_reset(in);
	assert_int_equal(flush(f, in), 0);
	release(f, in);
	assert_key(f, p, "second");
	in = input(f, p, LANE_OAUTH);
	assert_int_equal(write_part(f, in, "{\"type\":", 8), 0);
	broker_input_reset(in);
	assert_int_equal(write_part(f, in, "{\"type\":\"api_key\",\"key\":\"third\"}", 32), 0);
	release(f, in);
	assert_key(f, p, "third");
}

static void a_logout_between_write_and_flush(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct broker_input *in = input(f, p, LANE_API_KEY);

	fixture_key(f, p, "old");
	assert_int_equal(write_part(f, in, "new", 3), 0);
	assert_int_equal(fixture_forget(f, p, LANE_NONE), 0);
	assert_no_key(f, p, PA_NO_KEY);
	assert_false(has_pending(f, "rota"));
	/* The write was acknowledged and its close comes after the logout: it is the last word. */
	assert_int_equal(flush(f, in), 0);
	assert_key(f, p, "new");
	release(f, in);
	assert_int_equal(fixture_events(f, "logout"), 1);
}

static void many_writers_one_after_the_other(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct broker_input *in[50];
	struct outcome o[50] = { 0 };
	char key[50][16];

	for (int i = 0; i < 50; i++) {
		in[i] = input(f, p, LANE_API_KEY);
		snprintf(key[i], sizeof(key[i]), "sk-%d", i);
		broker_input_write(in[i], key[i], strlen(key[i]), outcome_done, &o[i]);
	}
	for (int i = 0; i < 50; i++)
		broker_input_free(in[i]);
	fixture_settle(f);
	for (int i = 0; i < 50; i++)
		assert_true(o[i].ended && o[i].r == 0);
	assert_key(f, p, "sk-49");
	fixture_restart(f);
	assert_key(f, fixture_profile(f, "rota"), "sk-49");
}

/* The files are left as they are; that their logins are not wanted any more is remembered. */
static void a_logout_ends_the_links(void **state)
{
	static const struct {
		enum lane lane;
		const char *off; /* which of the two */
	} cases[] = { { LANE_OAUTH, "10" }, { LANE_API_KEY, "01" }, { LANE_NONE, "11" } };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct profile *p = fixture_profile(f, "rota");
		char proof[2][LINK_PROOF_LEN + 1];
		struct record r = { NULL };
		struct link l;
		struct pa_err err;

		fixture_key(f, p, CANARY "-key");
		fixture_login(f, p, HOUR, NULL);
		must(vault_proof(f->vault, CANARY "-rt-0", strlen(CANARY "-rt-0"), proof[0], &err),
			&err, "proof");
		must(vault_proof(f->vault, CANARY "-key", strlen(CANARY "-key"), proof[1], &err),
			&err, "proof");
		fixture_close(f);
		fixture_edit(f, "rota", "links",
			"[{\"tool\":\"pi\",\"path\":\"/a\",\"name\":\"rota\","
			"\"lane\":\"oauth\",\"state\":\"on\"},"
			"{\"tool\":\"pi\",\"path\":\"/b\",\"name\":\"rota\","
			"\"lane\":\"api_key\",\"state\":\"on\"}]");
		fixture_open(f);
		p = fixture_profile(f, "rota");
		assert_int_equal(fixture_forget(f, p, cases[i].lane), 0);
		assert_non_null(r.root = fixture_record(f, "rota"));
		for (size_t k = 0; k < 2; k++) {
			bool off = cases[i].off[k] == '1';

			assert_true(link_at(&r, k, &l));
			assert_int_equal(l.state, off ? LINK_OFF : LINK_ON);
			assert_string_equal(l.proof, off ? proof[k] : "");
		}
		record_done(&r);
	}
}

/* ---- opens that an earlier process had ---- */

static struct broker_input *resumed(
	struct fixture *f, struct profile *p, enum lane lane, uint64_t sent, bool unanswered)
{
	struct broker_input *in = input(f, p, lane);

	broker_input_resume(in, sent, unanswered);
	return in;
}

struct resume {
	const char *stored;
	uint64_t sent;
	bool unanswered;
	const char *writes[3]; /* NULL ends */
	int r;                 /* of the last */
	const char *key;       /* in the end */
};

/* The key that is stored is what was sent, up to its line end. */
static void a_key_is_continued_after_a_restart(void **state)
{
	static const struct resume cases[] = {
		{ "sk-ab", 0, false, { "new\n" }, 0, "new" },
		{ "sk-ab", 5, false, { "cd" }, 0, "sk-abcd" },
		{ "sk-ab", 5, false, { "c", "d\n" }, 0, "sk-abcd" },
		{ "sk-ab", 5, false, { "\n" }, 0, "sk-ab" },
		{ "sk-ab", 5, false, { "\r", "\n" }, 0, "sk-ab" },
		{ "sk-ab", 5, false, { "\ncd" }, -EINVAL, "sk-ab" },
		/* A line end was sent: nothing may follow, but its other half. */
		{ "sk-ab", 6, false, { "cd" }, -EINVAL, "sk-ab" },
		{ "sk-ab", 6, false, { "\n" }, 0, "sk-ab" },
		{ "sk-ab", 7, false, { "cd" }, -EINVAL, "sk-ab" },
		{ "sk-ab", 7, false, { "\n" }, -EINVAL, "sk-ab" },
		/* Stored before it was acknowledged: it comes again. */
		{ "sk-ab", 3, false, { "ab" }, 0, "sk-ab" },
		{ "sk-ab", 3, false, { "ab\n" }, 0, "sk-ab" },
		{ "sk-ab", 3, false, { "ab\r\n" }, 0, "sk-ab" },
		{ "sk-ab", 3, false, { "ab", "cd" }, 0, "sk-abcd" },
		{ "sk-ab", 0, false, { "sk-ab" }, 0, "sk-ab" },
		/* Counted before it was acknowledged: the same. */
		{ "sk-ab", 5, true, { "ab" }, 0, "sk-ab" },
		{ "sk-ab", 5, true, { "ab", "cd" }, 0, "sk-abcd" },
		{ "sk-ab", 5, true, { "sk-ab" }, 0, "sk-ab" },
		{ "sk-ab", 6, true, { "b\n" }, 0, "sk-ab" },
		{ "sk-ab", 6, true, { "b\n", "\n" }, -EINVAL, "sk-ab" },
		{ "sk-ab", 6, true, { "\r", "\n" }, 0, "sk-ab" },
		{ "sk-ab", 7, true, { "\r\n" }, 0, "sk-ab" },
		{ "sk-ab", 7, true, { "sk-ab\r\n" }, 0, "sk-ab" },
		{ "sk-xy", 3, true, { "abc" }, 0, "abc" },
		/* Somebody else has stored another one. */
		{ "sk-ab", 8, false, { "c" }, -EIO, "sk-ab" },
		{ "sk-ab", 3, false, { "a" }, -EIO, "sk-ab" },
		{ "sk-ab", 3, false, { "xy" }, -EIO, "sk-ab" },
		{ "sk-ab", 3, false, { "abc" }, -EIO, "sk-ab" },
		{ "sk-ab", 5, true, { "xy" }, -EIO, "sk-ab" },
		{ "sk-ab", 4, true, { "b" }, -EIO, "sk-ab" },
		{ NULL, 5, false, { "c" }, -EIO, NULL },
		{ NULL, 5, true, { "c" }, -EIO, NULL },
		/* A write had failed: nothing more comes of this open. */
		{ "sk-ab", BROKER_INPUT_LOST, false, { "c" }, -EIO, "sk-ab" },
		{ "sk-ab", BROKER_INPUT_LOST, true, { "c" }, -EIO, "sk-ab" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct resume *c = &cases[i];
		struct profile *p = fixture_profile(f, "rota");
		struct broker_input *in;
		int r = 0;

		if (c->stored)
			fixture_key(f, p, c->stored);
		else
			assert_int_equal(fixture_forget(f, p, LANE_NONE), 0);
		in = resumed(f, p, LANE_API_KEY, c->sent, c->unanswered);
		assert_int_equal(flush(f, in), 0);
		for (size_t k = 0; c->writes[k]; k++) {
			assert_int_equal(r, 0);
			r = write_part(f, in, c->writes[k], strlen(c->writes[k]));
		}
		if (r != c->r)
			fail_msg("case %zu: %d, not %d", i, r, c->r);
		if (r < 0) {
			assert_true(broker_input_sent(in) == BROKER_INPUT_LOST);
			assert_int_equal(write_part(f, in, "later", 5), r);
		}
		assert_int_equal(flush(f, in), r);
		release(f, in);
		assert_false(has_pending(f, "rota"));
		if (c->key)
			assert_key(f, p, c->key);
		else
			assert_no_key(f, p, PA_NO_KEY);
	}
}

/* Nothing more is written, as is the rule: then all is well, whatever was sent. */
static void a_resumed_input_is_closed(void **state)
{
	static const uint64_t sent[] = { 0, 3, 5, 6, 7, 8, 1000, BROKER_INPUT_LOST };
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_key(f, p, "sk-ab");
	uint64_t generation = p->facts.generation;

	for (size_t i = 0; i < 4 * sizeof(sent) / sizeof(*sent); i++) {
		struct broker_input *in =
			resumed(f, p, i % 2 ? LANE_OAUTH : LANE_API_KEY, sent[i / 4], i / 2 % 2);

		assert_int_equal(flush(f, in), 0);
		release(f, in);
		assert_key(f, p, "sk-ab");
		assert_true(p->facts.generation == generation);
	}
	/* ftruncate starts anew, also after what nobody knows. */
	struct broker_input *in = resumed(f, p, LANE_API_KEY, 1000, false);

	broker_input_reset(in);
	assert_true(broker_input_sent(in) == 0);
	assert_int_equal(write_part(f, in, "sk-new\n", 7), 0);
	assert_true(broker_input_sent(in) == 7);
	release(f, in);
	assert_key(f, p, "sk-new");
}

/* An entry is stored as what it says, not as it was written. */
static void a_login_is_not_continued_after_a_restart(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	char entry[256];
	int len = snprintf(entry, sizeof(entry),
		"{\"type\":\"oauth\",\"access\":\"" CANARY "-x\",\"expires\":%lld}",
		(long long)(WALL_0 + HOUR));
	struct broker_input *in;

	fixture_login(f, p, HOUR, NULL);
	in = resumed(f, p, LANE_OAUTH, 10, false);
	assert_int_equal(write_part(f, in, entry + 10, (size_t)len - 10), -EIO);
	assert_int_equal(flush(f, in), -EIO);
	release(f, in);
	assert_key(f, p, CANARY "-at-0");
	assert_false(has_pending(f, "rota"));

	/* Nothing of it was acknowledged, or all of it comes again: then it is as if nothing had been. */
	for (int unanswered = 0; unanswered < 2; unanswered++) {
		fixture_login(f, p, HOUR, NULL);
		in = resumed(f, p, LANE_OAUTH, unanswered ? (uint64_t)len : 0, unanswered);
		assert_int_equal(write_part(f, in, entry, (size_t)len), 0);
		assert_int_equal(write_part(f, in, "\n", 1), 0);
		assert_true(broker_input_sent(in) == (uint64_t)len + 1);
		release(f, in);
		assert_key(f, p, CANARY "-x");
	}
}

/* The whole way: a process that writes piece by piece, and dies after every one of them. */
static void a_key_survives_a_crash_after_every_piece(void **state)
{
	static const char key[] = "sk-1234567890\r\n";
	struct fixture *f = *state;

	fixture_close(f);
	for (size_t at = 0; at < sizeof(key) - 1; at++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			struct broker_input *in;

			fixture_open(f);
			in = resumed(f, fixture_profile(f, "rota"), LANE_API_KEY, at, false);
			if (write_part(f, in, key + at, 1) < 0 || broker_input_sent(in) != at + 1)
				_exit(1);
			_exit(42);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(WEXITSTATUS(status), 42);
	}
	fixture_open(f);
	struct profile *p = fixture_profile(f, "rota");

	release(f, resumed(f, p, LANE_API_KEY, sizeof(key) - 1, false));
	assert_key(f, p, "sk-1234567890");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(pieces_become_one_key),
		T(a_first_key_that_fails_leaves_nothing),
		T(the_length_is_limited),
		T(the_largest_record_opens_again),
		T(acknowledged_values_survive_a_crash),
		T(a_fragment_is_adopted_by_nobody),
		T(logins_come_in_pieces),
		T(bad_logins_are_refused),
		T(two_opens_do_not_mix),
		T(release_waits_for_what_is_under_way),
		T(truncation_starts_anew),
		T(a_logout_between_write_and_flush),
		T(a_logout_ends_the_links),
		T(many_writers_one_after_the_other),
		T(a_key_is_continued_after_a_restart),
		T(a_resumed_input_is_closed),
		T(a_login_is_not_continued_after_a_restart),
		T(a_key_survives_a_crash_after_every_piece),
	};

	fixture_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
