#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/page.h"

static struct page *page;
static int page_fd;

static int setup(void **state)
{
	return page_new(&page_fd, &page, NULL);
}

static int teardown(void **state)
{
	page_unmap(page);
	close(page_fd);
	return 0;
}

static size_t rows_in(enum page_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGE_ROWS; i++)
		n += atomic_load(&page->rows[i].state) == state;
	return n;
}

static void begin_and_answer(uint64_t unique)
{
	assert_null(page_begin(page, unique));
	page_answer(page, unique, &unique, sizeof(unique));
}

static void assert_answered(uint64_t unique)
{
	const struct page_row *row = page_begin(page, unique);

	assert_non_null(row);
	assert_int_equal(row->len, sizeof(unique));
	assert_memory_equal(row->reply, &unique, sizeof(unique));
}

/* ---- the memory ---- */

static void test_new_is_empty_and_of_fixed_size(void **state)
{
	assert_int_equal(page->version, PAGE_VERSION);
	assert_int_equal(page->size, sizeof(*page));
	assert_int_equal(atomic_load(&page->init_len), 0);
	assert_int_equal(rows_in(PAGE_FREE), PAGE_ROWS);
	assert_true(fcntl(page_fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(ftruncate(page_fd, 0), -1);
	assert_int_equal(ftruncate(page_fd, sizeof(*page) + 4096), -1);
}

static void test_another_process_sees_it(void **state)
{
	struct page *other;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (page_map(page_fd, &other, NULL) < 0 || page_begin(other, 8))
			_exit(1);
		page_answer(other, 8, "answered", 8);
		page_open_add(other, 5, 6);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_memory_equal(page_begin(page, 8)->reply, "answered", 8);
	assert_int_equal(page->opens[0].fh, 5);
	assert_int_equal(page_map(page_fd, &other, NULL), 0);
	assert_memory_equal(page_begin(other, 8)->reply, "answered", 8);
	page_unmap(other);
}

static void test_another_layout_is_refused(void **state)
{
	struct page *other = NULL;
	struct pa_err err = { 0 };
	int fd = memfd_create("short", MFD_CLOEXEC);

	assert_int_equal(page_map(fd, &other, &err), -EPROTO);
	assert_int_equal(err.code, PA_SYSTEM);
	assert_int_equal(ftruncate(fd, sizeof(*page)), 0);
	assert_int_equal(page_map(fd, &other, &err), -EPROTO); /* version 0 */
	close(fd);
	assert_int_equal(page_map(fd, &other, &err), -EBADF);
	page->version++;
	assert_int_equal(page_map(page_fd, &other, &err), -EPROTO);
	page->version--;
	page->size++;
	assert_int_equal(page_map(page_fd, &other, &err), -EPROTO);
	assert_null(other);
	page_unmap(NULL);
}

/* ---- changes ---- */

static void test_answer_is_kept_until_the_end(void **state)
{
	assert_null(page_begin(page, 2));
	assert_int_equal(rows_in(PAGE_BEGUN), 1);
	assert_null(
		page_begin(page, 2)); /* it comes again: not answered yet, and one row is enough */
	assert_int_equal(rows_in(PAGE_BEGUN), 1);
	page_answer(page, 2, "yes", 3);
	assert_int_equal(page_begin(page, 2)->len, 3);
	assert_memory_equal(page_begin(page, 2)->reply, "yes", 3);
	assert_int_equal(rows_in(PAGE_ANSWERED), 1);
	page_answer(page, 2, "no", 2); /* the first one counts */
	assert_memory_equal(page_begin(page, 2)->reply, "yes", 3);
	page_end(page, 2);
	assert_int_equal(rows_in(PAGE_FREE), PAGE_ROWS);
	assert_null(page_begin(page, 2)); /* and nothing of it is left */
	assert_int_equal(page->rows[0].len, 0);
}

static void test_what_has_no_row_is_ignored(void **state)
{
	page_answer(page, 4, "x", 1);
	page_end(page, 4);
	assert_int_equal(rows_in(PAGE_FREE), PAGE_ROWS);
	assert_null(page_begin(page, 4));
	page_end(page, 4);
	page_answer(page, 4, "x", 1);
	assert_null(page_begin(page, 4));
}

static void test_length_of_an_answer(void **state)
{
	char longest[PAGE_REPLY_MAX + 1];

	memset(longest, 'x', sizeof(longest));
	assert_null(page_begin(page, 2));
	page_answer(page, 2, longest, sizeof(longest));
	assert_null(page_begin(page, 2)); /* made again rather than answered by half */
	page_answer(page, 2, longest, PAGE_REPLY_MAX);
	assert_int_equal(page_begin(page, 2)->len, PAGE_REPLY_MAX);
	assert_memory_equal(page_begin(page, 2)->reply, longest, PAGE_REPLY_MAX);
}

static void test_rows_in_any_order(void **state)
{
	for (uint64_t u = 1; u <= PAGE_ROWS; u++)
		begin_and_answer(u);
	for (uint64_t u = 2; u <= PAGE_ROWS; u += 2)
		page_end(page, u);
	assert_int_equal(rows_in(PAGE_FREE), PAGE_ROWS / 2);
	for (uint64_t u = 1; u <= PAGE_ROWS; u += 2)
		assert_answered(u);
	for (uint64_t u = 2; u <= PAGE_ROWS; u += 2)
		begin_and_answer(u + 1000);
	for (uint64_t u = 2; u <= PAGE_ROWS; u += 2)
		assert_answered(u + 1000);
}

static void test_the_oldest_answered_gives_way_first(void **state)
{
	/* Two that dead workers left, behind one that is still under way. */
	assert_null(page_begin(page, 1));
	begin_and_answer(2);
	begin_and_answer(3);
	for (uint64_t u = 4; u <= PAGE_ROWS; u++)
		assert_null(page_begin(page, u));
	assert_int_equal(rows_in(PAGE_FREE), 0);
	begin_and_answer(1000);
	page_end(page, 1000);
	assert_null(page_begin(page, 1001)); /* takes the row of 1000, which is free */
	assert_answered(3);
	assert_null(page_begin(page, 1002)); /* that of 3 */
	assert_int_equal(rows_in(PAGE_ANSWERED), 0);
	page_answer(page, 1, "1", 1);
	assert_non_null(page_begin(page, 1));
}

static void test_then_the_oldest_begun(void **state)
{
	for (uint64_t u = 1; u <= PAGE_ROWS; u++)
		assert_null(page_begin(page, u));
	assert_null(
		page_begin(page, 1)); /* it came again, to a successor: it is the youngest now */
	assert_null(page_begin(page, 1000));
	page_answer(page, 1, "1", 1);
	assert_non_null(page_begin(page, 1));
	page_answer(page, 2, "2", 1);
	assert_int_equal(rows_in(PAGE_ANSWERED), 1); /* 2 has no row any more */
	page_answer(page, 3, "3", 1);
	page_answer(page, 1000, "x", 1);
	assert_int_equal(rows_in(PAGE_ANSWERED), 3);
}

static void test_leftovers_never_fill_the_table(void **state)
{
	for (uint64_t u = 1; u <= 10 * PAGE_ROWS; u++) {
		begin_and_answer(u);
		assert_answered(u);
	}
	assert_int_equal(rows_in(PAGE_ANSWERED), PAGE_ROWS);
	assert_answered(9 * PAGE_ROWS + 1);
}

/* A worker that was killed between any two stores: what is not said to count must not. */
static void test_torn_row(void **state)
{
	struct page_row *row = &page->rows[0];

	begin_and_answer(6);
	atomic_store(&row->state, PAGE_FREE); /* taken for 8, and then nothing more */
	row->unique = 8;
	assert_null(page_begin(page, 6));
	assert_null(page_begin(page, 8));
	atomic_store(&row->state, 77); /* no state at all: a row like a free one */
	assert_null(page_begin(page, 10));
}

/* ---- open files ---- */

static const struct page_open *open_of(uint64_t fh, uint64_t ino)
{
	for (size_t i = 0; i < PAGE_OPENS; i++)
		if (atomic_load(&page->opens[i].kind) && page->opens[i].fh == fh &&
			page->opens[i].ino == ino)
			return &page->opens[i];
	return NULL;
}

static void test_opens(void **state)
{
	page_open_add(page, 7, 100);
	page_open_add(page, 7, 200);
	page_open_sent(page, 7, 100, 5);
	page_open_sent(page, 8, 100, 6); /* nobody */
	assert_int_equal(open_of(7, 100)->len, 5);
	assert_int_equal(open_of(7, 200)->len, 0);
	page_open_drop(page, 7, 100);
	page_open_drop(page, 7, 100);
	assert_null(open_of(7, 100));
	assert_non_null(open_of(7, 200));
	page_open_add(page, 7, 100); /* the same number again: nothing of the old one */
	assert_int_equal(open_of(7, 100)->len, 0);
	page_open_add(NULL, 1, 2);
	page_open_sent(NULL, 1, 2, 3);
	page_open_drop(NULL, 1, 2);
}

static void test_too_many_opens(void **state)
{
	for (uint64_t i = 0; i <= PAGE_OPENS; i++)
		page_open_add(page, i, 1);
	assert_non_null(open_of(PAGE_OPENS - 1, 1));
	assert_null(open_of(PAGE_OPENS, 1));
	page_open_sent(page, PAGE_OPENS, 1, 9);
	page_open_drop(page, PAGE_OPENS, 1);
	page_open_drop(page, 3, 1);
	page_open_add(page, PAGE_OPENS, 1);
	assert_non_null(open_of(PAGE_OPENS, 1));
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_new_is_empty_and_of_fixed_size),
		CASE(test_another_process_sees_it),
		CASE(test_another_layout_is_refused),
		CASE(test_answer_is_kept_until_the_end),
		CASE(test_what_has_no_row_is_ignored),
		CASE(test_length_of_an_answer),
		CASE(test_rows_in_any_order),
		CASE(test_the_oldest_answered_gives_way_first),
		CASE(test_then_the_oldest_begun),
		CASE(test_leftovers_never_fill_the_table),
		CASE(test_torn_row),
		CASE(test_opens),
		CASE(test_too_many_opens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
