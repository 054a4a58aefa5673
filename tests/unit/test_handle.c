#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "fs/handle.h"

#define KEY    0x102
#define HEADER 0x105
#define SLOTS  64 /* what a table begins with */

static struct handles table;

static int setup(void **state)
{
	table = (struct handles){ 0 };
	return 0;
}

static int teardown(void **state)
{
	handles_done(&table);
	/* Nothing of a secret stays behind. */
	return secret_heap_used() == 0 ? 0 : -1;
}

static struct snapshot *take(uint64_t ino, uint64_t generation, const char *text)
{
	struct secret *secret;
	struct snapshot *s;

	assert_int_equal(secret_new(text, strlen(text), &secret, NULL), 0);
	assert_int_equal(
		snapshot_get(&table, ino, generation, secret, NULL, strlen(text), &s, NULL), 0);
	return s;
}

static struct handle *open_file(uint64_t ino, struct snapshot *s)
{
	struct handle *h;

	assert_int_equal(handle_new(&table, ino, node_of(ino), s, &h, NULL), 0);
	return h;
}

static void test_snapshots_of_one_generation_are_shared(void **state)
{
	struct snapshot *a = take(KEY, 1, "first"), *again = take(KEY, 1, "first");
	struct snapshot *other[] = {
		take(HEADER, 1, "first"), take(KEY, 2, "first"),
		take(KEY, 1, "other"), /* the number alone is not believed */
	};

	assert_ptr_equal(a, again);
	assert_memory_equal(snapshot_bytes(a), "first", 5);
	for (size_t i = 0; i < 3; i++) {
		assert_ptr_not_equal(a, other[i]);
		snapshot_put(&table, other[i]);
	}
	snapshot_put(&table, a);
	assert_memory_equal(snapshot_bytes(again), "first", 5);
	snapshot_put(&table, again);
	assert_int_equal(snapshot_largest(&table, KEY), 0);
}

static void test_largest_is_the_longest_still_open(void **state)
{
	struct handle *a = open_file(KEY, take(KEY, 1, "a long first token"));
	struct handle *b = open_file(KEY, take(KEY, 2, "short"));
	struct handle *c = open_file(KEY, take(KEY, 1, "a long first token"));

	assert_int_equal(snapshot_largest(&table, KEY), 18);
	assert_int_equal(snapshot_largest(&table, HEADER), 0);
	handle_free(&table, a);
	assert_int_equal(snapshot_largest(&table, KEY), 18);
	handle_free(&table, c);
	assert_int_equal(snapshot_largest(&table, KEY), 5);
	handle_free(&table, b);
	assert_int_equal(snapshot_largest(&table, KEY), 0);
}

static void test_texts_share_by_bytes(void **state)
{
	struct snapshot *a, *b, *c;

	assert_int_equal(snapshot_get(&table, 2, 0, NULL, wipe_strdup("one\n"), 4, &a, NULL), 0);
	assert_int_equal(snapshot_get(&table, 2, 0, NULL, wipe_strdup("one\n"), 4, &b, NULL), 0);
	assert_int_equal(snapshot_get(&table, 2, 0, NULL, wipe_strdup("two\n"), 4, &c, NULL), 0);
	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	snapshot_put(&table, a);
	assert_memory_equal(snapshot_bytes(b), "one\n", 4);
	snapshot_put(&table, b);
	snapshot_put(&table, c);
}

static void test_find_knows_its_own(void **state)
{
	struct handle *a = open_file(KEY, take(KEY, 7, "token"));
	uint64_t fh = a->fh;

	assert_ptr_equal(handle_find(&table, fh, KEY), a);
	assert_null(handle_find(&table, fh, HEADER));
	assert_null(handle_find(&table, fh ^ (UINT64_C(1) << 32), KEY)); /* another generation */
	assert_null(handle_find(&table, fh ^ (1 << HANDLE_SLOT_BITS), KEY)); /* another size */
	assert_null(handle_find(&table, fh + 1, KEY));                       /* a slot nobody has */
	assert_null(handle_find(&table, UINT64_MAX, KEY));
	handle_free(&table, a);
	assert_null(handle_find(&table, fh, KEY));
}

static void test_slots_are_used_again(void **state)
{
	enum { MANY = 1000 };
	struct handle *open[MANY];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++) {
			open[i] = open_file(KEY, NULL);
			for (int k = 0; round == 0 && k < i; k++)
				assert_true(open[k]->fh != open[i]->fh);
		}
		assert_int_equal(table.count, MANY);
		assert_in_range(table.room, MANY, 2 * MANY);
		for (int i = 0; i < MANY; i++)
			handle_free(&table, open[i]);
		assert_int_equal(table.count, 0);
	}
}

static void test_too_many_files(void **state)
{
	struct pa_err err = { 0 };
	struct handle *h;

	for (uint32_t i = 0; i < HANDLE_MAX; i++)
		open_file(KEY, NULL);
	assert_int_equal(
		handle_new(&table, KEY, node_of(KEY), take(KEY, 1, "x"), &h, &err), -ENFILE);
	/* The snapshot went with the failure. */
	assert_int_equal(snapshot_largest(&table, KEY), 0);
}

static void test_number_layout(void **state)
{
	/* 32 bits generation, 15 bits size, 17 bits slot: what a later server takes apart. */
	assert_int_equal(
		handle_number(0x12345678, 100, 3), UINT64_C(0x12345678) << 32 | 100 << 17 | 3);
	assert_int_equal(handle_number(UINT64_C(0x900000001), 0, 0), UINT64_C(1) << 32);
	assert_int_equal(handle_number(0, 40000, 0), UINT64_C(0x7fff) << 17);
}

static void test_lost_handles(void **state)
{
	uint64_t fh = handle_number(UINT64_C(0x100000005), 100, 9);

	assert_int_equal(handle_lost(fh, 0, 5), HANDLE_LOST_ANEW);
	assert_int_equal(handle_lost(fh, 0, 6), HANDLE_LOST_ANEW);
	assert_int_equal(handle_lost(fh, 99, UINT64_C(0x100000005)), HANDLE_LOST_SAME);
	assert_int_equal(handle_lost(fh, 99, UINT64_C(0x100000006)), HANDLE_LOST_STALE);
	assert_int_equal(handle_lost(fh, 100, UINT64_C(0x100000006)), HANDLE_LOST_END);
	assert_int_equal(handle_lost(fh, 5000, UINT64_C(0x100000005)), HANDLE_LOST_END);
	/* A size that did not fit is not taken for the end. */
	fh = handle_number(5, HANDLE_SIZE_MAX + 10, 9);
	assert_int_equal(handle_lost(fh, HANDLE_SIZE_MAX + 1, 5), HANDLE_LOST_SAME);
	assert_int_equal(handle_lost(fh, HANDLE_SIZE_MAX + 1, 6), HANDLE_LOST_STALE);
}

/* A successor has to give the kernel the same file under the same number. */
static void test_a_handle_is_restored(void **state)
{
	static const uint32_t slots[] = { 5, 0, SLOTS * 3 + 1, HANDLE_MAX - 1 };
	struct handle *h[4], *other;
	struct pa_err err;

	for (size_t i = 0; i < 4; i++) {
		uint64_t fh = handle_number(i, 0, slots[i]);

		assert_int_equal(handle_restore(&table, fh, KEY, node_of(KEY), &h[i], &err), 0);
		assert_int_equal(h[i]->fh, fh);
		assert_ptr_equal(h[i]->node, node_of(KEY));
		assert_null(h[i]->snapshot);
		assert_ptr_equal(handle_find(&table, fh, KEY), h[i]);
		assert_in_range(table.room, slots[i] + 1, HANDLE_MAX);
	}
	assert_int_equal(table.count, 4);
	assert_int_equal(
		handle_restore(&table, h[0]->fh, KEY, node_of(KEY), &other, &err), -EEXIST);
	/* Where another one has its slot it is known all the same. */
	assert_int_equal(handle_restore(&table, handle_number(9, 9, 5), HEADER, node_of(HEADER),
				 &other, &err),
		0);
	assert_ptr_equal(handle_find(&table, handle_number(9, 9, 5), HEADER), other);
	assert_ptr_equal(handle_find(&table, h[0]->fh, KEY), h[0]);
	handle_free(&table, other);
	assert_null(handle_find(&table, handle_number(9, 9, 5), HEADER));
	assert_int_equal(table.count, 4);
	/* Nobody else gets it, and when it is closed it is there once. */
	for (uint32_t i = 4; i < HANDLE_MAX; i++) {
		other = open_file(KEY, NULL);
		for (size_t k = 0; k < 4; k++)
			assert_true((other->fh & (HANDLE_MAX - 1)) != slots[k]);
	}
	assert_int_equal(handle_new(&table, KEY, node_of(KEY), NULL, &other, &err), -ENFILE);
	handle_free(&table, h[0]);
	assert_int_equal(open_file(KEY, NULL)->fh, 5);
	assert_int_equal(handle_new(&table, KEY, node_of(KEY), NULL, &other, &err), -ENFILE);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_snapshots_of_one_generation_are_shared),
		CASE(test_largest_is_the_longest_still_open),
		CASE(test_texts_share_by_bytes),
		CASE(test_find_knows_its_own),
		CASE(test_slots_are_used_again),
		CASE(test_too_many_files),
		CASE(test_number_layout),
		CASE(test_lost_handles),
		CASE(test_a_handle_is_restored),
	};
	struct pa_err err;

	if (secret_heap_init(64 * 1024, NULL, &err) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
