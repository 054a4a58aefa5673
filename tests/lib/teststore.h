/*
 * teststore - a store in the scratch directory (store/, keys/store.key), and short words for what tests do
 * with one. Functions without a result fail the test themselves.
 */
#ifndef TESTS_TESTSTORE_H
#define TESTS_TESTSTORE_H

#include "store/vault.h"

int teststore_setup(void **state);    /* of a test: secure heap, JSON, scratch directory */
int teststore_teardown(void **state); /* removes it */

int teststore_try(bool create, struct vault **ret, struct pa_err *err);
struct vault *teststore_open(void); /* makes it where there is none */
void teststore_put(struct vault *v, const char *profile, uint64_t generation, const char *content);
/* The generation of the record that belongs to profile; 0 if there is none. content may be NULL. Fails on a
 * record that does not open, on a second record of the profile, and on temp files. */
uint64_t teststore_get(struct vault *v, const char *profile, char *ret_content, size_t size);
/* How many records open, and how many do not. */
void teststore_count(
	struct vault *v, unsigned *ret_good, unsigned *ret_bad, struct pa_err *ret_bad_err);
void teststore_assert_no_temp(void);

/* Keeps store/ and keys/ aside, and puts them back as they were. */
void teststore_save(void);
void teststore_restore(void);

#endif
