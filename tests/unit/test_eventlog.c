#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/eventlog.h"

static void reads_what_was_added(void **state)
{
	struct eventlog l = { 0 };
	char buf[64];

	assert_int_equal(eventlog_read(&l, 0, buf, sizeof(buf)), 0);
	eventlog_add(&l, "first", 5);
	eventlog_add(&l, "", 0);
	eventlog_add(&l, "third, not its end", 5);
	assert_int_equal(eventlog_read(&l, 0, buf, sizeof(buf)), 13);
	assert_memory_equal(buf, "first\n\nthird\n", 13);
	assert_int_equal(eventlog_read(&l, 7, buf, 5), 5);
	assert_memory_equal(buf, "third", 5);
	assert_int_equal(eventlog_read(&l, 13, buf, sizeof(buf)), 0);
	assert_int_equal(eventlog_read(&l, UINT64_MAX, buf, sizeof(buf)), 0);
	eventlog_done(&l);
	assert_int_equal(eventlog_read(&l, 0, buf, sizeof(buf)), 0);
}

/* However much is added: bounded, whole lines, in order, the newest is there. */
static void forgets_the_older_half(void **state)
{
	struct eventlog l = { 0 };
	char line[128];

	for (unsigned i = 0; i < 20000; i++) {
		size_t had = l.len;
		int len = snprintf(line, sizeof(line), "line %u %.*s", i, (int)(i % 97),
			"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
			"xx"
			"xxxxxxxxxxxxxxxxxxxxxxx");

		eventlog_add(&l, line, (size_t)len);
		assert_true(l.len <= EVENTLOG_MAX);
		/* A reader who finds the log shorter than it was knows that it starts again. */
		if (l.len < had)
			assert_in_range(l.len, EVENTLOG_MAX / 4, EVENTLOG_MAX / 2 + 256);
		assert_memory_equal(l.text + l.len - 1 - len, line, len);
	}
	unsigned first = 0, next;

	eventlog_add(&l, "", 1); /* a NUL, for sscanf */
	assert_int_equal(sscanf(l.text, "line %u ", &first), 1);
	assert_true(first > 0);
	next = first;
	for (char *at = l.text; at < l.text + l.len; at = memchr(at, '\n', EVENTLOG_MAX), at++) {
		unsigned n;

		assert_int_equal(sscanf(at, "line %u ", &n), 1);
		assert_int_equal(n, next++);
		if (n == 19999)
			break;
	}
	assert_int_equal(next, 20000);
	eventlog_done(&l);
}

static void drops_what_is_too_long(void **state)
{
	struct eventlog l = { 0 };
	char *big = malloc(EVENTLOG_MAX);

	assert_non_null(big);
	memset(big, 'y', EVENTLOG_MAX);
	eventlog_add(&l, "small", 5);
	eventlog_add(&l, big, EVENTLOG_MAX);
	eventlog_add(&l, big, EVENTLOG_MAX / 2);
	assert_int_equal(l.len, 6);
	/* Lines of the longest length: each that comes pushes out one that was there. */
	for (int i = 0; i < 6; i++) {
		eventlog_add(&l, big, EVENTLOG_MAX / 2 - 1);
		assert_true(l.len >= EVENTLOG_MAX / 2 && l.len <= EVENTLOG_MAX);
		assert_int_equal(l.text[l.len - 1], '\n');
	}
	eventlog_done(&l);
	free(big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_was_added),
		cmocka_unit_test(forgets_the_older_half),
		cmocka_unit_test(drops_what_is_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
