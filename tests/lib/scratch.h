/*
 * scratch - a directory for one test, and what tests of files do in it. Every function fails the test itself.
 */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Makes an empty directory (0700) under $TMPDIR, /dev/shm or /tmp the current one; returns its path. */
const char *scratch_new(void);
void scratch_free(void); /* removes it and all in it */

void scratch_write(const char *path, mode_t mode, const void *bytes, size_t len);
/* The bytes of a file, malloc'ed, a NUL after them. ret_len may be NULL. */
char *scratch_read(const char *path, size_t *ret_len);
/* Copies files and directories, with modes 0700, 0600 and, for store.key, 0400. */
void scratch_copy(const char *from, const char *to);
void scratch_remove(const char *path); /* recursively; absent is fine */
/* How many names in a directory begin with prefix; . and .. are not counted. */
unsigned scratch_count(const char *dir, const char *prefix);
bool scratch_exists(const char *path);

/* The value of "name: value" in a file of tests/vectors; malloc'ed. */
char *scratch_vector(const char *file, const char *name);
/* The same, from hexadecimal; malloc'ed. */
unsigned char *scratch_vector_hex(const char *file, const char *name, size_t *ret_len);

#endif
