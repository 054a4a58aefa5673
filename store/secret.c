#include "secret.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Header and bytes share one allocation: a key of up to 56 bytes takes the smallest block. */
struct secret {
	uint32_t refs;
	uint32_t len;
	char bytes[];
};

#define HEAP_BLOCK_MIN 64 /* a power of two, for the buddy allocator behind the secure heap */

int secret_heap_init(size_t size, bool *ret_locked, struct pa_err *err)
{
	if (CRYPTO_secure_malloc_initialized())
		return pa_fail(err, PA_SYSTEM, EALREADY, "secure heap is set up already");
	int rc = CRYPTO_secure_malloc_init(size, HEAP_BLOCK_MIN);
	if (rc == 0)
		return pa_fail(err, PA_NO_MEMORY, 0, "secure heap of %zu bytes", size);
	if (ret_locked)
		*ret_locked = rc == 1; /* 2: memory is there, but not locked or not guarded */
	return 0;
}

void secret_heap_done(void)
{
	CRYPTO_secure_malloc_done();
}

size_t secret_heap_used(void)
{
	return CRYPTO_secure_used();
}

int secret_new_blank(size_t len, struct secret **ret, void **ret_bytes, struct pa_err *err)
{
	if (len > SECRET_MAX)
		return pa_fail(err, PA_TOO_BIG, 0, "%zu bytes, the limit is %d", len, SECRET_MAX);
	/* Without its heap OpenSSL would silently take plain memory. */
	if (!CRYPTO_secure_malloc_initialized())
		return pa_fail(err, PA_NO_MEMORY, 0, "no secure heap");
	struct secret *s = OPENSSL_secure_malloc(sizeof(*s) + len);
	if (!s)
		return pa_fail(err, PA_NO_MEMORY, 0, "secure heap is full (%zu bytes in use)",
			CRYPTO_secure_used());
	s->refs = 1;
	s->len = (uint32_t)len;
	*ret = s;
	*ret_bytes = s->bytes;
	return 0;
}

int secret_new(const void *bytes, size_t len, struct secret **ret, struct pa_err *err)
{
	struct secret *s;
	void *to;
	int rc = secret_new_blank(len, &s, &to, err);
	if (rc < 0)
		return rc;
	if (len)
		memcpy(to, bytes, len);
	*ret = s;
	return 0;
}

struct secret *secret_ref(struct secret *s)
{
	if (s)
		s->refs++;
	return s;
}

void secret_free(struct secret *s)
{
	if (!s || --s->refs)
		return;
	OPENSSL_secure_clear_free(s, sizeof(*s) + s->len);
}

void secret_read(const struct secret *s, const char **ret_bytes, size_t *ret_len)
{
	*ret_bytes = s ? s->bytes : "";
	*ret_len = s ? s->len : 0;
}

size_t secret_len(const struct secret *s)
{
	return s ? s->len : 0;
}

bool secret_eq(const struct secret *a, const struct secret *b)
{
	if (!a || !b)
		return a == b;
	return secret_eq_bytes(a, b->bytes, b->len);
}

bool secret_eq_bytes(const struct secret *a, const void *bytes, size_t len)
{
	/* The length is no secret: st_size shows it. */
	return a && a->len == len && (len == 0 || CRYPTO_memcmp(a->bytes, bytes, len) == 0);
}

void secret_freep(struct secret **s)
{
	secret_free(*s);
	*s = NULL;
}

void secret_wipe(void *bytes, size_t len)
{
	if (bytes && len)
		OPENSSL_cleanse(bytes, len);
}

void *wipe_malloc(size_t size)
{
	return malloc(size);
}

void *wipe_calloc(size_t n, size_t size)
{
	return calloc(n, size);
}

/* Never in place: realloc may move the block and leave the old bytes behind. */
void *wipe_realloc(void *p, size_t size)
{
	if (p && !size) {
		wipe_free(p);
		return NULL;
	}
	void *moved = malloc(size);
	if (!moved || !p)
		return moved;
	size_t had = malloc_usable_size(p);
	memcpy(moved, p, had < size ? had : size);
	wipe_free(p);
	return moved;
}

char *wipe_strdup(const char *s)
{
	size_t size = strlen(s) + 1;
	char *copy = malloc(size);
	if (copy)
		memcpy(copy, s, size);
	return copy;
}

void wipe_free(void *p)
{
	if (!p)
		return;
	OPENSSL_cleanse(p, malloc_usable_size(p));
	free(p);
}

void wipe_freep(void *p)
{
	void *held; /* p is the address of a pointer of any type: no void ** may alias it */
	memcpy(&held, p, sizeof(held));
	wipe_free(held);
	held = NULL;
	memcpy(p, &held, sizeof(held));
}
