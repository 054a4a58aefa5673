/*
 * journal: an intent that was acknowledged is found again, and a torn, foreign or outdated row is not.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/vault.h"
#include "tests/lib/failinject.h"
#include "tests/lib/scratch.h"
#include "tests/lib/teststore.h"

#define CHUNK (16 * 1024)
#define SLOT  256
#define ROW   128

struct result {
	int calls;
	int r;
	struct pa_err err;
};

static void done(struct intent_job *j, int r, const struct pa_err *err)
{
	struct result *result = j->arg;

	result->calls++;
	result->r = r;
	result->err = *err;
}

static struct intent intent_of(
	const struct vault *v, const char *profile, uint64_t generation, enum intent_kind kind)
{
	struct intent i;
	struct pa_err err;

	assert_return_code(
		vault_intent(v, profile, generation, "token", 5, 1700000000123, kind, &i, &err), 0);
	return i;
}

/* Runs a job here instead of on a writer. */
static int run_job(struct intent_job *j, struct pa_err *err)
{
	int r = j->job.run(&j->job, err);

	j->job.done(&j->job, r, err);
	return r;
}

static void note(struct vault *v, const char *profile, uint64_t generation, enum intent_kind kind)
{
	struct result result = { 0 };
	struct intent_job j = { .done = done, .arg = &result };
	struct intent i = intent_of(v, profile, generation, kind);
	struct pa_err err = { .code = PA_NONE };

	assert_return_code(intent_job_init(&j, v, &i), 0);
	if (run_job(&j, &err) < 0)
		fail_msg("%s", err.detail);
	assert_int_equal(result.calls, 1);
}

static const struct intent *find(const struct vault *v, const char *profile)
{
	const struct intent *found = NULL;
	const struct intent *all;
	char name[SEAL_NAME_LEN + 1];
	struct pa_err err;
	size_t n;

	assert_return_code(vault_name(v, profile, name, &err), 0);
	all = vault_intents(v, &n);
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(all[i].name, name)) {
			assert_null(found); /* one per name */
			found = &all[i];
		}
	}
	return found;
}

static size_t count(const struct vault *v)
{
	size_t n;

	vault_intents(v, &n);
	return n;
}

static struct vault *reopen(struct vault *v)
{
	vault_close(v);
	return teststore_open();
}

static size_t journal_size(void)
{
	struct stat st;

	assert_return_code(stat("store/journal", &st), 0);
	return (size_t)st.st_size;
}

static void newest_row_of_each_name_counts(void **state)
{
	struct vault *v = teststore_open();
	struct intent expect;

	teststore_put(v, "groq", 1, "x");
	teststore_put(v, "xai", 1, "x");
	assert_int_equal(count(v), 0);
	assert_int_equal(journal_size(), 0);
	note(v, "groq", 1, INTENT_REFRESH);
	assert_int_equal(count(v), 1);
	note(v, "xai", 5, INTENT_REFRESH);
	note(v, "groq", 1, INTENT_REPEAT);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(count(v), 2);
		expect = intent_of(v, "groq", 1, INTENT_REPEAT);
		assert_memory_equal(find(v, "groq")->spent, expect.spent, 32);
		assert_int_equal(find(v, "groq")->kind, INTENT_REPEAT);
		assert_int_equal(find(v, "groq")->generation, 1);
		assert_true(find(v, "groq")->at_ms == 1700000000123);
		assert_int_equal(find(v, "xai")->generation, 5);
		v = reopen(v);
	}
	note(v, "groq", 1, INTENT_ANSWERED);
	v = reopen(v);
	assert_int_equal(find(v, "groq")->kind, INTENT_ANSWERED);
	vault_close(v);
}

static void spent_tells_tokens_apart_and_nothing_else(void **state)
{
	struct vault *v = teststore_open();
	struct intent a = intent_of(v, "groq", 1, INTENT_REFRESH);
	struct intent b = intent_of(v, "xai", 2, INTENT_REPEAT);
	struct intent c;
	struct pa_err err;
	uint8_t plain[32];

	assert_memory_equal(a.spent, b.spent, 32);
	assert_string_not_equal(a.name, b.name);
	assert_return_code(vault_intent(v, "groq", 1, "other", 5, 0, INTENT_REFRESH, &c, &err), 0);
	assert_memory_not_equal(a.spent, c.spent, 32);
	assert_return_code(seal_hmac(vault_store_id(v), SEAL_NAME_LEN, "token", 5, plain, &err), 0);
	assert_memory_not_equal(a.spent, plain, 32);
	vault_close(v);
}

/* What a record says of a token is what the journal says of it, cut; and it stays so. */
static void a_proof_is_for_ever(void **state)
{
	struct vault *v = teststore_open();
	struct intent i = intent_of(v, "groq", 1, INTENT_REFRESH);
	char proof[17], again[17], other[17], hex[3];
	struct pa_err err;

	memset(proof, 'x', sizeof(proof));
	assert_return_code(vault_proof(v, "token", 5, proof, &err), 0);
	assert_int_equal(strlen(proof), 16);
	for (size_t k = 0; k < 8; k++) {
		snprintf(hex, sizeof(hex), "%02x", i.spent[k]);
		assert_memory_equal(proof + 2 * k, hex, 2);
	}
	assert_return_code(vault_proof(v, "token ", 6, other, &err), 0);
	assert_string_not_equal(proof, other);
	assert_return_code(vault_rekey(v, &err), 0);
	assert_return_code(vault_proof(v, "token", 5, again, &err), 0);
	assert_string_equal(proof, again);
	v = reopen(v);
	assert_return_code(vault_proof(v, "token", 5, again, &err), 0);
	assert_string_equal(proof, again);
	vault_close(v);
}

static void rows_are_overwritten_in_place(void **state)
{
	struct vault *v = teststore_open();
	char profile[16];

	teststore_put(v, "groq", 1, "x");
	for (uint64_t g = 1; g <= 200; g++)
		note(v, "groq", g, INTENT_REFRESH);
	assert_int_equal(journal_size(), CHUNK);
	assert_int_equal(find(v, "groq")->generation, 200);
	for (int i = 0; i < 150; i++) {
		snprintf(profile, sizeof(profile), "p%d", i);
		teststore_put(v, profile, 1, "x");
		note(v, profile, (uint64_t)i + 1, INTENT_REFRESH);
	}
	assert_int_equal(journal_size(), 3 * CHUNK); /* 151 slots, 64 in a chunk */
	v = reopen(v);
	assert_int_equal(count(v), 151);
	for (int i = 0; i < 150; i++) {
		snprintf(profile, sizeof(profile), "p%d", i);
		assert_int_equal(find(v, profile)->generation, i + 1);
	}
	vault_close(v);
}

static void slot_of_a_deleted_record_is_used_again(void **state)
{
	struct vault *v = teststore_open();
	struct pa_err err;

	teststore_put(v, "groq", 1, "x");
	teststore_put(v, "xai", 1, "x");
	for (int i = 0; i < 5; i++)
		note(v, "groq", 1, INTENT_REFRESH);
	note(v, "xai", 2, INTENT_REFRESH);
	assert_return_code(vault_delete_now(v, "groq", &err), 0);
	v = reopen(v);
	assert_int_equal(count(v), 1);
	teststore_put(v, "zai", 1, "x");
	note(v, "zai", 3, INTENT_REFRESH);
	v = reopen(v);
	assert_int_equal(count(v), 2);
	assert_int_equal(find(v, "zai")->generation, 3);
	assert_int_equal(find(v, "xai")->generation, 2);
	vault_close(v);
	/* One chunk has 64 slots; two of them are in use, so nothing lies behind them. */
	char *bytes = scratch_read("store/journal", NULL);
	for (size_t i = 2 * SLOT; i < CHUNK; i++)
		assert_int_equal(bytes[i], 0);
	free(bytes);
}

/* The newest row is the one with the higher sequence, of the two at the slot. */
static size_t newest_row(const char *bytes)
{
	return memcmp(bytes + 8, bytes + ROW + 8, 8) > 0 ? 0 : ROW;
}

static void torn_row_leaves_the_one_before(void **state)
{
	struct vault *v = teststore_open();
	char *bytes;
	size_t len;
	size_t at;

	teststore_put(v, "groq", 1, "x");
	note(v, "groq", 6, INTENT_ANSWERED);
	note(v, "groq", 7, INTENT_REFRESH);
	note(v, "groq", 7, INTENT_REPEAT);
	vault_close(v);
	bytes = scratch_read("store/journal", &len);
	at = newest_row(bytes);
	for (size_t i = 0; i < ROW; i++) {
		bytes[at + i] ^= 4;
		scratch_write("store/journal", 0600, bytes, len);
		v = teststore_open();
		assert_int_equal(count(v), 1);
		assert_int_equal(find(v, "groq")->generation, 7);
		assert_int_equal(find(v, "groq")->kind, INTENT_REFRESH);
		vault_close(v);
		bytes[at + i] ^= 4;
	}
	bytes[10] ^= 1;
	bytes[ROW + 10] ^= 1;
	scratch_write("store/journal", 0600, bytes, len);
	v = teststore_open();
	assert_int_equal(count(v), 0);
	note(v, "groq", 8, INTENT_REFRESH); /* and the slot is as good as new */
	v = reopen(v);
	assert_int_equal(find(v, "groq")->generation, 8);
	vault_close(v);
	free(bytes);
}

static void journal_of_another_store_says_nothing(void **state)
{
	struct vault *v = teststore_open();
	char *bytes;
	size_t len;

	teststore_put(v, "groq", 1, "x");
	note(v, "groq", 1, INTENT_REFRESH);
	vault_close(v);
	bytes = scratch_read("store/journal", &len);
	scratch_remove("store"); /* the next one has the same key file */
	v = teststore_open();
	teststore_put(v, "groq", 1, "x");
	vault_close(v);
	scratch_write("store/journal", 0600, bytes, len);
	v = teststore_open();
	assert_int_equal(count(v), 0);
	vault_close(v);
	free(bytes);
}

static void cut_journal_opens(void **state)
{
	static const size_t sizes[] = { 0, 1, ROW, SLOT - 1, SLOT, SLOT + 1, CHUNK - 1, CHUNK + 1 };
	char *bytes;
	struct vault *v = teststore_open();
	size_t len;

	teststore_put(v, "groq", 1, "x");
	note(v, "groq", 1, INTENT_REFRESH);
	vault_close(v);
	bytes = scratch_read("store/journal", &len); /* and a NUL after it */
	assert_int_equal(len, CHUNK);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		scratch_write("store/journal", 0600, bytes, sizes[i]);
		v = teststore_open();
		assert_int_equal(count(v), sizes[i] >= SLOT);
		note(v, "groq", 2, INTENT_REFRESH);
		v = reopen(v);
		assert_int_equal(find(v, "groq")->generation, 2);
		vault_close(v);
	}
	free(bytes);
}

struct noting {
	struct vault *v;
	const char *profile;
	struct pa_err err;
};

static int note_next(void *arg)
{
	struct noting *n = arg;
	struct result result = { 0 };
	struct intent_job j = { .done = done, .arg = &result };
	struct intent i;

	if (vault_intent(n->v, n->profile, 8, "token", 5, 2, INTENT_REFRESH, &i, &n->err) < 0 ||
		intent_job_init(&j, n->v, &i))
		return -EINVAL;
	return run_job(&j, &n->err);
}

/* A new row in an old slot, and one for which the file has to grow. */
static void row_survives_every_failure(void **state)
{
	static const char *const profiles[] = { "groq", "grows" };
	struct vault *v = teststore_open();
	unsigned steps = 0;
	char profile[16];

	teststore_put(v, "groq", 7, "x");
	note(v, "groq", 7, INTENT_REPEAT);
	for (int i = 1; i < CHUNK / SLOT; i++) {
		snprintf(profile, sizeof(profile), "p%d", i);
		teststore_put(v, profile, 1, "x");
		note(v, profile, 1, INTENT_ANSWERED);
	}
	teststore_put(v, "grows", 7, "x");
	vault_close(v);
	teststore_save();
	for (size_t i = 0; i < 2 * failinject_nways; i++) {
		const struct fail_way *way = &failinject_ways[i / 2];
		struct noting n = { .profile = profiles[i % 2] };
		bool hit = true;

		for (unsigned step = 1; hit; step++) {
			int r;

			teststore_restore();
			n.v = teststore_open();
			hit = failinject_run(way->mode, step, way->errnum, note_next, &n, &r);
			if (way->mode == FAIL_ERRNO && hit) {
				assert_int_equal(n.err.code,
					way->errnum == ENOSPC ? PA_STORE_FULL : PA_STORE_IO);
				/* In memory a row that is not durable does not count. */
				assert_true(!find(n.v, n.profile) ||
					    find(n.v, n.profile)->generation == 7);
			}
			if (!hit || way->mode == FAIL_SHORT)
				assert_return_code(r, 0);
			v = reopen(n.v);
			assert_int_equal(teststore_get(v, "groq", NULL, 0), 7);
			if (r == 0)
				assert_int_equal(find(v, n.profile)->generation, 8);
			else if (n.profile == profiles[0])
				assert_true(find(v, "groq")->generation == 8 ||
					    (find(v, "groq")->generation == 7 &&
						    find(v, "groq")->kind == INTENT_REPEAT));
			assert_true(count(v) >= CHUNK / SLOT);
			/* The next attempt succeeds. */
			n.v = v;
			assert_return_code(note_next(&n), 0);
			v = reopen(v);
			assert_int_equal(find(v, n.profile)->generation, 8);
			vault_close(v);
			steps++;
		}
	}
	assert_true(steps > failinject_nways * 5);
}

static void jobs_of_one_name_keep_their_order(void **state)
{
	struct vault *v = teststore_open();
	struct result result = { 0 };
	struct intent_job jobs[3];
	struct writer *w;
	struct pa_err err;

	teststore_put(v, "groq", 1, "x");
	assert_return_code(writer_new(&w, &err), 0);
	for (int k = 0; k < 3; k++) {
		struct intent i = intent_of(v, "groq", (uint64_t)k + 1, INTENT_REFRESH);

		assert_return_code(intent_job_init(&jobs[k], v, &i), 0);
		jobs[k].done = done;
		jobs[k].arg = &result;
		writer_add(w, &jobs[k].job);
	}
	writer_drain(w);
	assert_int_equal(result.calls, 3);
	assert_int_equal(count(v), 1);
	assert_int_equal(find(v, "groq")->generation, 3);
	writer_free(w);
	v = reopen(v);
	assert_int_equal(find(v, "groq")->generation, 3);
	vault_close(v);
}

static void name_must_be_one(void **state)
{
	struct vault *v = teststore_open();
	struct intent_job j;
	struct intent i = intent_of(v, "groq", 1, INTENT_REFRESH);

	i.name[3] = '/';
	assert_int_equal(intent_job_init(&j, v, &i), -EINVAL);
	i.name[0] = '\0';
	assert_int_equal(intent_job_init(&j, v, &i), -EINVAL);
	vault_close(v);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, teststore_setup, teststore_teardown)
	const struct CMUnitTest tests[] = {
		TEST(newest_row_of_each_name_counts),
		TEST(spent_tells_tokens_apart_and_nothing_else),
		TEST(a_proof_is_for_ever),
		TEST(rows_are_overwritten_in_place),
		TEST(slot_of_a_deleted_record_is_used_again),
		TEST(torn_row_leaves_the_one_before),
		TEST(journal_of_another_store_says_nothing),
		TEST(cut_journal_opens),
		TEST(row_survives_every_failure),
		TEST(jobs_of_one_name_keep_their_order),
		TEST(name_must_be_one),
	};

	return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
