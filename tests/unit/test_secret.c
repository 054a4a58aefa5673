#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <openssl/crypto.h>
#include <string.h>

#include "store/secret.h"

#define HEAP (256 * 1024)

/*
 * Stands before OpenSSL's own and sees that a block was overwritten, whole, while it was still
 * there (a wipe after the free is the address sanitizer's and valgrind's to find).
 */
static const void *watched;
static size_t watched_wiped;

void OPENSSL_cleanse(void *p, size_t len)
{
	volatile char *bytes = p;
	for (size_t i = 0; i < len; i++)
		bytes[i] = 0;
	if (p == watched && len > watched_wiped)
		watched_wiped = len;
}

static void watch(const void *p)
{
	watched = p;
	watched_wiped = 0;
}

/* The address sanitizer ends the program on such a request unless told otherwise. */
static volatile size_t too_much = PTRDIFF_MAX - 4096;
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static void nothing_without_the_heap(void **state)
{
	struct secret *s = NULL;
	struct pa_err err;
	assert_int_equal(secret_new("abc", 3, &s, &err), -ENOMEM);
	assert_int_equal(err.code, PA_NO_MEMORY);
	assert_null(s);
}

static void heap_is_set_up_once(void **state)
{
	struct pa_err err;
	bool locked = false;
	assert_int_equal(secret_heap_init(HEAP, &locked, &err), 0);
	assert_int_equal(secret_heap_used(), 0);
	assert_int_equal(secret_heap_init(HEAP, NULL, &err), -EALREADY);
	assert_int_equal(err.code, PA_SYSTEM);
}

static void holds_what_it_was_given(void **state)
{
	for (size_t len = 0; len <= 300; len += 1 + len / 3) {
		char bytes[301];
		struct secret *s = NULL;
		const char *held;
		size_t held_len;
		for (size_t i = 0; i < len; i++)
			bytes[i] = (char)(i * 7);
		assert_int_equal(secret_new(bytes, len, &s, NULL), 0);
		secret_read(s, &held, &held_len);
		assert_int_equal(held_len, len);
		assert_int_equal(secret_len(s), len);
		assert_memory_equal(held, bytes, len);
		assert_true(CRYPTO_secure_allocated(s));
		assert_true(CRYPTO_secure_allocated(held));
		secret_free(s);
	}
	assert_int_equal(secret_heap_used(), 0);
}

static void nothing_is_fine(void **state)
{
	const char *held;
	size_t len = 7;
	struct secret *s = NULL;
	secret_free(NULL);
	secret_freep(&s);
	assert_null(secret_ref(NULL));
	assert_int_equal(secret_len(NULL), 0);
	secret_read(NULL, &held, &len);
	assert_int_equal(len, 0);
	assert_non_null(held);
	assert_true(secret_eq(NULL, NULL));
	assert_false(secret_eq_bytes(NULL, "", 0));
	secret_wipe(NULL, 0);
	wipe_free(NULL);
}

static void lives_until_the_last_reference(void **state)
{
	struct secret *s;
	const char *held;
	size_t len;
	assert_int_equal(secret_new("shared", 6, &s, NULL), 0);
	assert_ptr_equal(secret_ref(s), s);
	secret_free(s);
	assert_true(secret_heap_used() > 0);
	secret_read(s, &held, &len);
	assert_memory_equal(held, "shared", 6);
	{
		SECRET_AUTO struct secret *last = s;
		assert_non_null(last);
	}
	assert_int_equal(secret_heap_used(), 0);
}

static void blank_is_filled_by_the_caller(void **state)
{
	struct secret *s;
	void *bytes;
	assert_int_equal(secret_new_blank(4, &s, &bytes, NULL), 0);
	memcpy(bytes, "fill", 4);
	assert_true(secret_eq_bytes(s, "fill", 4));
	secret_free(s);
}

static void compares_length_and_bytes(void **state)
{
	struct secret *a, *b, *c, *empty;
	secret_new("token-1", 7, &a, NULL);
	secret_new("token-1", 7, &b, NULL);
	secret_new("token-2", 7, &c, NULL);
	secret_new("", 0, &empty, NULL);
	assert_true(secret_eq(a, b));
	assert_true(secret_eq(a, a));
	assert_false(secret_eq(a, c));
	assert_false(secret_eq(a, empty));
	assert_false(secret_eq(a, NULL));
	assert_false(secret_eq(NULL, a));
	assert_true(secret_eq(empty, empty));
	assert_true(secret_eq_bytes(empty, "", 0));
	assert_true(secret_eq_bytes(a, "token-1", 7));
	assert_false(secret_eq_bytes(a, "token-1", 6));
	assert_false(secret_eq_bytes(a, "token-12", 8));
	secret_free(a);
	secret_free(b);
	secret_free(c);
	secret_free(empty);
}

static void too_long_is_refused(void **state)
{
	static char bytes[SECRET_MAX + 1];
	struct secret *s = NULL;
	struct pa_err err;
	assert_int_equal(secret_new(bytes, SECRET_MAX + 1, &s, &err), -EFBIG);
	assert_int_equal(err.code, PA_TOO_BIG);
	assert_null(s);
	assert_int_equal(secret_new(bytes, SECRET_MAX, &s, &err), 0);
	secret_free(s);
}

/* When the heap is full it says so; plain memory is never taken instead. */
static void full_heap_is_an_error(void **state)
{
	struct secret *held[HEAP / 1024 + 1];
	size_t n = 0;
	char bytes[1000];
	struct pa_err err = { 0 };
	memset(bytes, 'k', sizeof(bytes));
	while (n < HEAP / 1024 + 1 && secret_new(bytes, sizeof(bytes), &held[n], &err) == 0) {
		assert_true(CRYPTO_secure_allocated(held[n]));
		n++;
	}
	assert_true(n > 10 && n <= HEAP / 1024);
	assert_int_equal(err.code, PA_NO_MEMORY);
	for (size_t i = 0; i < n; i++)
		secret_free(held[i]);
	assert_int_equal(secret_heap_used(), 0);
	assert_int_equal(secret_new(bytes, sizeof(bytes), &held[0], &err), 0);
	secret_free(held[0]);
}

/* The block that comes next lies where the freed one was; nothing of that is in it. */
static void freed_bytes_are_gone(void **state)
{
	struct secret *s, *next;
	void *bytes;
	char marker[200];
	memset(marker, 0x5a, sizeof(marker));
	assert_int_equal(secret_new(marker, sizeof(marker), &s, NULL), 0);
	const void *was = s;
	secret_free(s);
	assert_int_equal(secret_new_blank(sizeof(marker), &next, &bytes, NULL), 0);
	assert_ptr_equal(next, was);
	assert_null(memchr(bytes, 0x5a, sizeof(marker)));
	secret_free(next);
}

static void wipe_overwrites(void **state)
{
	char bytes[8] = "secret!";
	secret_wipe(bytes, sizeof(bytes));
	assert_memory_equal(bytes, "\0\0\0\0\0\0\0", 8);
}

static void wipe_free_overwrites_the_block(void **state)
{
	for (size_t size = 1; size <= 5000; size = size * 3 + 1) {
		char *p = wipe_malloc(size);
		assert_non_null(p);
		memset(p, 'S', size);
		watch(p);
		wipe_free(p);
		assert_true(watched_wiped >= size);
	}
	watch(NULL);
}

static void wipe_realloc_leaves_no_copy(void **state)
{
	char *p = wipe_realloc(NULL, 10);
	size_t had = 10;
	memcpy(p, "secret456", 10);
	for (size_t size = 20; size <= 400000; size *= 3) {
		watch(p);
		char *moved = wipe_realloc(p, size);
		assert_non_null(moved);
		assert_ptr_not_equal(moved, p);
		assert_true(watched_wiped >= had);
		assert_string_equal(moved, "secret456");
		p = moved;
		had = size;
	}
	watch(p);
	p = wipe_realloc(p, 7); /* shrinks */
	assert_true(watched_wiped >= had);
	assert_memory_equal(p, "secret4", 7);
	watch(p);
	assert_null(wipe_realloc(p, 0));
	assert_true(watched_wiped >= 7);
	watch(NULL);
}

static void wipe_realloc_failure_keeps_the_block(void **state)
{
	char *p = wipe_strdup("still here");
	assert_null(wipe_realloc(p, too_much));
	assert_string_equal(p, "still here");
	wipe_free(p);
}

static void wipe_family_allocates(void **state)
{
	char *zeroed = wipe_calloc(10, 10);
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(zeroed[i], 0);
	wipe_free(zeroed);
	assert_null(wipe_calloc(too_much, 4));
	{
		WIPE_AUTO char *copy = wipe_strdup("copy");
		assert_string_equal(copy, "copy");
		watch(copy);
	}
	assert_true(watched_wiped >= sizeof("copy"));
	watch(NULL);
}

static void heap_can_be_taken_down(void **state)
{
	struct secret *s = NULL;
	secret_heap_done();
	assert_int_not_equal(secret_new("x", 1, &s, NULL), 0);
}

int main(void)
{
	/* in this order: the first one runs without a heap, the last one takes it down */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_without_the_heap),
		cmocka_unit_test(heap_is_set_up_once),
		cmocka_unit_test(holds_what_it_was_given),
		cmocka_unit_test(nothing_is_fine),
		cmocka_unit_test(lives_until_the_last_reference),
		cmocka_unit_test(blank_is_filled_by_the_caller),
		cmocka_unit_test(compares_length_and_bytes),
		cmocka_unit_test(too_long_is_refused),
		cmocka_unit_test(full_heap_is_an_error),
		cmocka_unit_test(freed_bytes_are_gone),
		cmocka_unit_test(wipe_overwrites),
		cmocka_unit_test(wipe_free_overwrites_the_block),
		cmocka_unit_test(wipe_realloc_leaves_no_copy),
		cmocka_unit_test(wipe_realloc_failure_keeps_the_block),
		cmocka_unit_test(wipe_family_allocates),
		cmocka_unit_test(heap_can_be_taken_down),
	};
	return cmocka_run_group_tests_name("secret", tests, NULL, NULL);
}
