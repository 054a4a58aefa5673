#include "teststore.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "scratch.h"
#include "store/json.h"

static size_t heap_used;

int teststore_setup(void **state)
{
	static bool ready;
	struct pa_err err;
	char warm[16];
	bool locked;

	unsetenv("CREDENTIALS_DIRECTORY");
	if (!ready && secret_heap_init(SECRET_HEAP, &locked, &err) < 0)
		fail_msg("%s", err.detail);
	ready = true;
	json_init();
	/* OpenSSL keeps its generator's state in the same heap from its first use on. */
	assert_return_code(seal_random(warm, sizeof(warm), &err), 0);
	heap_used = secret_heap_used();
	scratch_new();
	return 0;
}

int teststore_teardown(void **state)
{
	assert_int_equal(secret_heap_used(), heap_used); /* no key is left behind */
	scratch_free();
	return 0;
}

int teststore_try(bool create, struct vault **ret, struct pa_err *err)
{
	const struct vault_options o = {
		.dir = "store",
		.key_file = "keys/store.key",
		.create = create,
	};

	memset(err, 0, sizeof(*err));
	return vault_open(&o, ret, err);
}

struct vault *teststore_open(void)
{
	struct vault *v;
	struct pa_err err;

	if (teststore_try(true, &v, &err) < 0)
		fail_msg("%s: %s", err.where, err.detail);
	return v;
}

void teststore_put(struct vault *v, const char *profile, uint64_t generation, const char *content)
{
	struct sealed s;
	struct pa_err err;

	assert_return_code(
		vault_seal(v, profile, generation, content, strlen(content), &s, &err), 0);
	if (vault_put_now(v, profile, &s, &err) < 0)
		fail_msg("%s: %s", err.where, err.detail);
	sealed_free(&s);
}

struct looking {
	struct vault *v;
	char name[SEAL_NAME_LEN + 1];
	uint64_t generation;
	char *content;
	size_t size;
	unsigned good;
	unsigned bad;
	struct pa_err bad_err;
};

static void look(void *arg, const char *name, struct sealed *s, int r, const struct pa_err *err)
{
	struct looking *l = arg;
	struct pa_err why;
	uint64_t generation;
	char *plain;
	size_t len;

	if (r >= 0) {
		assert_null(err);
		r = vault_unseal(l->v, s, &plain, &len, &generation, &why);
		err = &why;
	}
	if (r < 0) {
		assert_int_not_equal(err->code, PA_NONE);
		l->bad++;
		l->bad_err = *err;
		return;
	}
	assert_int_equal(strlen(plain), len);
	l->good++;
	if (!strcmp(name, l->name)) {
		assert_int_equal(l->generation, 0);
		l->generation = generation;
		if (l->content)
			snprintf(l->content, l->size, "%s", plain);
	}
	wipe_free(plain);
}

uint64_t teststore_get(struct vault *v, const char *profile, char *ret_content, size_t size)
{
	struct looking l = { .v = v, .content = ret_content, .size = size };
	struct pa_err err;

	assert_return_code(vault_name(v, profile, l.name, &err), 0);
	assert_return_code(vault_scan(v, look, &l, &err), 0);
	if (l.bad)
		fail_msg("a record does not open: %s", l.bad_err.detail);
	teststore_assert_no_temp();
	return l.generation;
}

void teststore_count(
	struct vault *v, unsigned *ret_good, unsigned *ret_bad, struct pa_err *ret_bad_err)
{
	struct looking l = { .v = v };
	struct pa_err err;

	assert_return_code(vault_scan(v, look, &l, &err), 0);
	*ret_good = l.good;
	*ret_bad = l.bad;
	*ret_bad_err = l.bad_err;
}

void teststore_assert_no_temp(void)
{
	assert_int_equal(scratch_count("store", ".tmp-"), 0);
	assert_int_equal(scratch_count("store/records", ".tmp-"), 0);
	assert_int_equal(scratch_count("keys", ".tmp-"), 0);
}

void teststore_save(void)
{
	scratch_remove("saved");
	assert_return_code(mkdir("saved", 0700), 0);
	scratch_copy("store", "saved/store");
	scratch_copy("keys", "saved/keys");
}

void teststore_restore(void)
{
	scratch_remove("store");
	scratch_remove("keys");
	scratch_copy("saved/store", "store");
	scratch_copy("saved/keys", "keys");
}
