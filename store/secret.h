/*
 * secret - bytes that must not leak: locked, undumpable, wiped, immutable, shared by reference.
 *
 * A struct secret lives in OpenSSL's secure heap (mlock'ed, left out of core dumps, guard pages) and
 * is cleansed when its last reference goes. It has no printf form; its bytes are reachable only
 * through secret_read. When the secure heap is full secret_new fails; it never falls back to plain
 * memory. Threads: one owner thread at a time (the count is not atomic).
 *
 * The wipe_* functions are a malloc family for libraries that handle secrets in plain heap memory
 * (cJSON, curl): what they free is overwritten first.
 */
#ifndef PIAUTH_SECRET_H
#define PIAUTH_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

#define SECRET_MAX  (64 * 1024)       /* one secret: the largest record is far below */
#define SECRET_HEAP (1 * 1024 * 1024) /* the default heap: 8 MiB is the usual RLIMIT_MEMLOCK */

struct secret;

/*
 * Sets the secure heap up; call once, before any thread. size is a power of two. Where memory cannot
 * be locked (RLIMIT_MEMLOCK) it returns 0 with *ret_locked false: the program goes on and says so.
 */
int secret_heap_init(size_t size, bool *ret_locked, struct pa_err *err);
void secret_heap_done(void);
size_t secret_heap_used(void);

/* Copies len bytes (0 is allowed). The caller's copy stays the caller's to wipe. */
int secret_new(const void *bytes, size_t len, struct secret **ret, struct pa_err *err);
/* An uninitialised secret of len bytes, to be filled once through *ret_bytes before it is shared. */
int secret_new_blank(size_t len, struct secret **ret, void **ret_bytes, struct pa_err *err);
struct secret *secret_ref(struct secret *s); /* returns s; NULL is fine */
void secret_free(struct secret *s);          /* drops one reference; NULL is fine */

/* The bytes stay valid as long as the caller holds its reference; there is no terminating NUL. */
void secret_read(const struct secret *s, const char **ret_bytes, size_t *ret_len);
size_t secret_len(const struct secret *s);                                   /* 0 for NULL */
bool secret_eq(const struct secret *a, const struct secret *b);              /* constant time */
bool secret_eq_bytes(const struct secret *a, const void *bytes, size_t len); /* constant time */

void secret_freep(struct secret **s);
#define SECRET_AUTO __attribute__((cleanup(secret_freep)))

void secret_wipe(void *bytes, size_t len); /* never optimised away */

void *wipe_malloc(size_t size);
void *wipe_calloc(size_t n, size_t size);
void *wipe_realloc(void *p, size_t size);
char *wipe_strdup(const char *s);
void wipe_free(void *p); /* overwrites the whole allocation, then frees it; NULL is fine */
void wipe_freep(void *p);
#define WIPE_AUTO __attribute__((cleanup(wipe_freep)))

#endif
