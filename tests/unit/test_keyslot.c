/*
 * keyslot, keyring and rekey: what opens a store and what does not, and that no step of making or rekeying a
 * store can lose it.
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

#define KEY_LINE "piauth-store-key-1 n4eJqEDUDxQPE1p919xbHLK7MSK2A34fCiI4Ng+MnnY="

static void assert_open_fails(enum pa_code code, const char *detail)
{
	struct vault *v = NULL;
	struct pa_err err;

	assert_true(teststore_try(true, &v, &err) < 0);
	assert_null(v);
	if (err.code != code || !strstr(err.detail, detail))
		fail_msg("want %s, %s; got %s, %s", pa_wire(code), detail, pa_wire(err.code),
			err.detail);
}

static void write_text(const char *path, mode_t mode, const char *text)
{
	scratch_write(path, mode, text, strlen(text));
}

static void key_file_is_one_line(void **state)
{
	char *first;
	char *text;

	vault_close(teststore_open());
	text = scratch_read("keys/store.key", NULL);
	assert_int_equal(strlen(text), 19 + 44 + 1);
	assert_memory_equal(text, "piauth-store-key-1 ", 19);
	assert_int_equal(text[63], '\n');
	first = text;
	scratch_remove("store");
	scratch_remove("keys");
	vault_close(teststore_open());
	text = scratch_read("keys/store.key", NULL);
	assert_string_not_equal(text, first);
	free(first);
	free(text);
}

static void key_file_that_is_there_is_used(void **state)
{
	char *text;

	assert_return_code(mkdir("keys", 0700), 0);
	write_text("keys/store.key", 0600, KEY_LINE "\n");
	vault_close(teststore_open());
	text = scratch_read("keys/store.key", NULL);
	assert_string_equal(text, KEY_LINE "\n");
	free(text);
	write_text("keys/store.key", 0600, KEY_LINE); /* an editor without a last newline */
	vault_close(teststore_open());
	assert_int_equal(scratch_count("keys", ""), 1);
}

static void what_is_no_key_file_opens_nothing(void **state)
{
	static const char *const bad[] = {
		"",
		"\n",
		"n4eJqEDUDxQPE1p919xbHLK7MSK2A34fCiI4Ng+MnnY=\n",
		"piauth-store-key-2 n4eJqEDUDxQPE1p919xbHLK7MSK2A34fCiI4Ng+MnnY=\n",
		"piauth-store-key-1 n4eJqEDUDxQPE1p919xbHLK7MSK2A34fCiI4Ng+MnnY\n",
		"piauth-store-key-1 n4eJqEDUDxQPE1p919xbHLK7MSK2A34fCiI4Ng+MnnZ=\n",
		"piauth-store-key-1  4eJqEDUDxQPE1p919xbHLK7MSK2A34fCiI4Ng+MnnY=\n",
		"piauth-store-key-1 n4eJqEDUDxQPE1p919xbHLK7MSK2A34fCiI4Ng-MnnY=\n",
		KEY_LINE "\n\n",
		KEY_LINE " x\n",
		KEY_LINE "\n" KEY_LINE "\n",
	};
	char big[KEYFILE_MAX + 1];

	vault_close(teststore_open());
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		write_text("keys/store.key", 0400, bad[i]);
		assert_open_fails(PA_STORE_LOCKED, "store.key is not a key file");
	}
	write_text("keys/store.key", 0400, KEY_LINE "\n");
	assert_open_fails(PA_STORE_LOCKED, "no key at hand fits this store");
	memset(big, 'x', sizeof(big));
	scratch_write("keys/store.key", 0400, big, sizeof(big));
	assert_open_fails(PA_STORE_CORRUPT, "store.key is too long");
}

static void set_credential(mode_t mode, const char *content)
{
	char path[4096];

	assert_non_null(getcwd(path, sizeof(path) - 16));
	strncat(path, "/credentials", 15);
	mkdir(path, 0700);
	setenv("CREDENTIALS_DIRECTORY", path, 1);
	if (content)
		write_text("credentials/" KEYSLOT_CREDENTIAL, mode, content);
}

static void credential_opens_the_store(void **state)
{
	char *slots;
	struct vault *v;

	set_credential(0440, "0123456789abcdef");
	v = teststore_open();
	teststore_put(v, "groq", 1, "x");
	vault_close(v);
	assert_int_equal(scratch_count("keys", ""), 0);
	slots = scratch_read("store/keyslots.json", NULL);
	assert_non_null(strstr(slots, "\"type\":\"credential\""));
	assert_null(strstr(slots, "key-file"));
	free(slots);

	v = teststore_open();
	assert_int_equal(teststore_get(v, "groq", NULL, 0), 1);
	vault_close(v);

	set_credential(0400, "0123456789abcdeg");
	assert_open_fails(PA_STORE_LOCKED, "key file");
	set_credential(0400, "0123456789abcde");
	assert_open_fails(PA_STORE_LOCKED, "shorter than 16 bytes");
	set_credential(0404, "0123456789abcdef");
	assert_open_fails(PA_STORE_UNSAFE, "mode 0404");
	assert_return_code(unlink("credentials/" KEYSLOT_CREDENTIAL), 0);
	assert_open_fails(PA_STORE_LOCKED, "store.key is missing");
	unsetenv("CREDENTIALS_DIRECTORY");
	assert_open_fails(PA_STORE_LOCKED, "store.key is missing");
	setenv("CREDENTIALS_DIRECTORY", "/nonexistent", 1);
	assert_open_fails(PA_STORE_LOCKED, "store.key is missing");
	assert_int_equal(scratch_count("keys", ""), 0);
	set_credential(0400, "0123456789abcdef");
	vault_close(teststore_open());
}

static void key_file_opens_beside_a_strange_credential(void **state)
{
	set_credential(0, NULL); /* a directory, for other credentials */
	vault_close(teststore_open());
	assert_int_equal(scratch_count("keys", ""), 1);
	set_credential(0400, "a credential that came later");
	vault_close(teststore_open());
}

static void no_key_file_named(void **state)
{
	const struct vault_options o = { .dir = "store", .create = true };
	struct vault *v;
	struct pa_err err;

	assert_int_equal(vault_open(&o, &v, &err), -ENOKEY);
	assert_int_equal(err.code, PA_STORE_LOCKED);
	assert_string_equal(err.detail, "no key file is named");
	assert_false(scratch_exists("store/keyslots.json"));
}

/* text with its first `from` replaced by `to`. */
static char *replaced(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);
	char *ret;

	assert_non_null(at);
	assert_true(asprintf(&ret, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
	return ret;
}

static void damaged_keyslots_are_refused(void **state)
{
	static const struct {
		const char *from;
		const char *to;
		enum pa_code code;
		const char *detail;
	} cases[] = {
		{ "}", "", PA_STORE_CORRUPT, "line 1" },
		{ "\"format\":1,", "", PA_STORE_CORRUPT, "no format" },
		{ "\"format\":1", "\"format\":\"1\"", PA_STORE_CORRUPT, "no format" },
		{ "\"format\":1", "\"format\":2", PA_STORE_LOCKED, "made by a newer piauth" },
		{ "\"store\":\"", "\"store\":\"A", PA_STORE_CORRUPT, "lacks store" },
		{ "\"roots\"", "\"toots\"", PA_STORE_CORRUPT, "lacks store or roots" },
		{ "[{", "[{},{},{", PA_STORE_CORRUPT, "lacks store or roots" },
		{ "[{", "[7,{", PA_STORE_CORRUPT, "bad root" },
		{ "\"key\":\"", "\"key\":\"0", PA_STORE_CORRUPT, "bad root" },
		{ "\"slots\":", "\"slots\":{},\"s\":", PA_STORE_CORRUPT, "bad root" },
		{ "\"type\":\"key-file\"", "\"type\":\"k\"", PA_STORE_LOCKED, "no key at hand" },
		{ "\"wrapped\":\"", "\"wrapped\":\"A", PA_STORE_LOCKED, "no key at hand" },
		{ "\"wrapped\"", "\"unwrapped\"", PA_STORE_LOCKED, "no key at hand" },
	};
	char *good;
	char *bad;
	char c;
	char *at;

	vault_close(teststore_open());
	good = scratch_read("store/keyslots.json", NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		bad = replaced(good, cases[i].from, cases[i].to);
		write_text("store/keyslots.json", 0600, bad);
		assert_open_fails(cases[i].code, cases[i].detail);
		free(bad);
	}
	/* What is wrapped is bound to store, root and kind of slot. */
	static const char *const bound[] = { "\"wrapped\":\"", "\"store\":\"", "\"key\":\"" };
	for (size_t i = 0; i < sizeof(bound) / sizeof(*bound); i++) {
		bad = strdup(good);
		at = strstr(bad, bound[i]) + strlen(bound[i]) + 9;
		c = *at;
		*at = c == 'a' ? 'b' : 'a';
		write_text("store/keyslots.json", 0600, bad);
		assert_open_fails(PA_STORE_LOCKED, "no key at hand");
		free(bad);
	}
	write_text("store/keyslots.json", 0600, "");
	assert_open_fails(PA_STORE_CORRUPT, "line 1");
	write_text("store/keyslots.json", 0600, good);
	vault_close(teststore_open());
	free(good);
}

static void unknown_members_and_slots_do_not_disturb(void **state)
{
	struct pa_err err;
	struct vault *v;
	char *slots;
	char *more;

	vault_close(teststore_open());
	slots = scratch_read("store/keyslots.json", NULL);
	more = replaced(slots, "\"format\":1", "\"format\":1,\"future\":{\"a\":[1]}");
	write_text("store/keyslots.json", 0600, more);
	v = teststore_open();
	assert_return_code(vault_rekey(v, &err), 0);
	vault_close(v);
	free(slots);
	slots = scratch_read("store/keyslots.json", NULL);
	assert_non_null(strstr(slots, "\"future\":{\"a\":[1]}"));
	free(more);

	/* A slot that this program cannot wrap anew would be lost: refused, and nothing has changed. */
	more = replaced(slots, "\"slots\":[", "\"slots\":[{\"type\":\"tpm2\",\"blob\":\"x\"},");
	write_text("store/keyslots.json", 0600, more);
	v = teststore_open();
	assert_int_equal(vault_rekey(v, &err), -EOPNOTSUPP);
	assert_string_equal(err.detail, "the key of slot tpm2 is not here");
	vault_close(v);
	free(slots);
	slots = scratch_read("store/keyslots.json", NULL);
	assert_string_equal(slots, more);
	free(slots);
	free(more);
}

static void export_needs_its_passphrase(void **state)
{
	const char text[] = "all of it";
	uint8_t *sealed;
	size_t sealed_len;
	struct pa_err err;
	char *plain;
	size_t len;

	assert_int_equal(keyslot_seal_export("", 0, text, 9, &sealed, &sealed_len, &err), -EINVAL);
	assert_return_code(
		keyslot_seal_export("hunter2", 7, text, 9, &sealed, &sealed_len, &err), 0);
	assert_int_equal(sealed_len, 56 + 4096 + 16);
	assert_null(memmem(sealed, sealed_len, text, 9));
	assert_return_code(
		keyslot_open_export("hunter2", 7, sealed, sealed_len, &plain, &len, &err), 0);
	assert_int_equal(len, 9);
	assert_string_equal(plain, text);
	wipe_free(plain);

	assert_int_equal(
		keyslot_open_export("hunter3", 7, sealed, sealed_len, &plain, &len, &err), -ENOKEY);
	assert_int_equal(err.code, PA_STORE_LOCKED);
	/* One damaged byte in each part: magic, version, parameters, reserved, salt, nonce, content, tag. */
	static const struct {
		size_t at;
		enum pa_code code;
	} parts[] = { { 0, PA_STORE_CORRUPT }, { 7, PA_STORE_CORRUPT }, { 8, PA_STORE_CORRUPT },
		{ 9, PA_STORE_CORRUPT }, { 10, PA_STORE_CORRUPT }, { 15, PA_STORE_CORRUPT },
		{ 16, PA_STORE_LOCKED }, { 40, PA_STORE_LOCKED }, { 60, PA_STORE_LOCKED },
		{ 56 + 4096, PA_STORE_LOCKED } };
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		sealed[parts[i].at] ^= 0x40;
		assert_true(keyslot_open_export(
				    "hunter2", 7, sealed, sealed_len, &plain, &len, &err) < 0);
		assert_int_equal(err.code, parts[i].code);
		sealed[parts[i].at] ^= 0x40;
	}
	for (size_t cut = 0; cut < 70; cut += 5)
		assert_true(keyslot_open_export("hunter2", 7, sealed, cut, &plain, &len, &err) < 0);
	assert_true(
		keyslot_open_export("hunter2", 7, sealed, sealed_len - 1, &plain, &len, &err) < 0);
	free(sealed);
}

static int make_store(void *arg)
{
	struct pa_err *err = arg;
	struct vault *v;
	int r = teststore_try(true, &v, err);

	if (!r)
		vault_close(v);
	return r;
}

static void making_a_store_survives_every_failure(void **state)
{
	unsigned steps = 0;

	for (size_t i = 0; i < failinject_nways; i++) {
		const struct fail_way *way = &failinject_ways[i];
		bool hit = true;

		for (unsigned n = 1; hit; n++) {
			struct pa_err err = { .code = PA_NONE };
			struct vault *v;
			int r;

			scratch_remove("store");
			scratch_remove("keys");
			hit = failinject_run(way->mode, n, way->errnum, make_store, &err, &r);
			if (!hit || way->mode == FAIL_SHORT)
				assert_return_code(r, 0);
			if (way->mode == FAIL_ERRNO && r < 0)
				assert_int_equal(err.code,
					way->errnum == ENOSPC ? PA_STORE_FULL : PA_STORE_IO);
			v = teststore_open();
			teststore_put(v, "groq", 1, "x");
			vault_close(v);
			v = teststore_open();
			assert_int_equal(teststore_get(v, "groq", NULL, 0), 1);
			vault_close(v);
			assert_int_equal(scratch_count("keys", ""), 1);
			steps++;
		}
	}
	assert_true(steps > failinject_nways * 20);
}

#define TOKEN     "rt-1"
#define TOKEN_LEN (sizeof(TOKEN) - 1)

static void intent_done(struct intent_job *j, int r, const struct pa_err *err)
{
	*(int *)j->arg = r;
}

static void add_intent(struct vault *v, const char *profile, uint64_t generation)
{
	int r = -1;
	struct intent_job j = { .done = intent_done, .arg = &r };
	struct intent intent;
	struct pa_err err;

	assert_return_code(vault_intent(v, profile, generation, TOKEN, TOKEN_LEN, 1000,
				   INTENT_REFRESH, &intent, &err),
		0);
	assert_return_code(intent_job_init(&j, v, &intent), 0);
	j.job.done(&j.job, j.job.run(&j.job, &err), &err);
	assert_int_equal(r, 0);
}

/* The intent of this profile, found as a broker finds it; NULL if there is none. */
static const struct intent *find_intent(struct vault *v, const char *profile)
{
	const struct intent *found = NULL;
	const struct intent *all;
	struct intent same;
	struct pa_err err;
	size_t n;

	assert_return_code(
		vault_intent(v, profile, 0, TOKEN, TOKEN_LEN, 0, INTENT_REFRESH, &same, &err), 0);
	all = vault_intents(v, &n);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(all[i].name, same.name))
			continue;
		assert_null(found);
		found = &all[i];
		assert_memory_equal(found->spent, same.spent, sizeof(same.spent));
	}
	return found;
}

static void fill_store(void)
{
	struct vault *v = teststore_open();

	teststore_put(v, "groq", 1, "one");
	teststore_put(v, "xai", 2, "two");
	teststore_put(v, "zai@work", 3, "three");
	add_intent(v, "xai", 2);
	vault_close(v);
	teststore_save();
}

static void assert_filled(struct vault *v)
{
	char content[16];

	assert_int_equal(teststore_get(v, "groq", content, sizeof(content)), 1);
	assert_string_equal(content, "one");
	assert_int_equal(teststore_get(v, "xai", content, sizeof(content)), 2);
	assert_string_equal(content, "two");
	assert_int_equal(teststore_get(v, "zai@work", content, sizeof(content)), 3);
	assert_string_equal(content, "three");
	assert_non_null(find_intent(v, "xai"));
	assert_int_equal(find_intent(v, "xai")->generation, 2);
	assert_null(find_intent(v, "groq"));
}

static void assert_old_key_is_worthless(void)
{
	char *old = scratch_read("saved/keys/store.key", NULL);
	char *new = scratch_read("keys/store.key", NULL);

	assert_string_not_equal(old, new);
	write_text("keys/store.key", 0400, old);
	assert_open_fails(PA_STORE_LOCKED, "no key at hand fits");
	write_text("keys/store.key", 0400, new);
	free(old);
	free(new);
}

static void rekey_changes_every_name_and_key(void **state)
{
	char before[SEAL_NAME_LEN + 1];
	char after[SEAL_NAME_LEN + 1];
	char id[SEAL_NAME_LEN + 1];
	char path[64];
	struct pa_err err;
	struct vault *v;

	fill_store();
	v = teststore_open();
	snprintf(id, sizeof(id), "%s", vault_store_id(v));
	assert_return_code(vault_name(v, "groq", before, &err), 0);
	assert_return_code(vault_rekey(v, &err), 0);
	assert_return_code(vault_name(v, "groq", after, &err), 0);
	assert_string_not_equal(before, after);
	snprintf(path, sizeof(path), "store/records/%s", before);
	assert_false(scratch_exists(path));
	assert_int_equal(scratch_count("store/records", ""), 3);
	assert_filled(v); /* the open vault goes on */
	teststore_put(v, "new", 1, "new");
	vault_close(v);

	v = teststore_open();
	assert_string_equal(vault_store_id(v), id);
	assert_filled(v);
	assert_int_equal(teststore_get(v, "new", NULL, 0), 1);
	vault_close(v);
	assert_int_equal(scratch_count("keys", ""), 1);
	assert_old_key_is_worthless();
}

static int rekey(void *arg)
{
	struct pa_err err;

	return vault_rekey(arg, &err);
}

static void assert_rekeyed(void)
{
	char *slots = scratch_read("store/keyslots.json", NULL);

	assert_null(strstr(slots, "},{")); /* one root with one slot */
	free(slots);
	assert_int_equal(scratch_count("keys", ""), 1);
	assert_old_key_is_worthless();
}

/*
 * Every step of a rekey fails in every way. Then the store opens with all it held, each record once; and the
 * rekey can be finished, at once or after the store was used: what was changed in between must win over what
 * the rekey had left.
 */
static void rekey_survives_every_failure(void **state)
{
	unsigned steps = 0;

	fill_store();
	for (size_t i = 0; i < 2 * failinject_nways; i++) {
		const struct fail_way *way = &failinject_ways[i / 2];
		bool used = i % 2;
		bool hit = true;

		for (unsigned n = 1; hit; n++) {
			struct pa_err err;
			struct vault *v;
			int r;

			teststore_restore();
			v = teststore_open();
			hit = failinject_run(way->mode, n, way->errnum, rekey, v, &r);
			if (!hit || way->mode == FAIL_SHORT)
				assert_return_code(r, 0);
			if (way->mode == FAIL_ERRNO && hit)
				assert_true(r < 0);
			/* In the process that saw it fail it goes on, too, and can be tried again. */
			if (way->mode == FAIL_ERRNO || way->mode == FAIL_SHORT)
				assert_filled(v);
			if (way->mode == FAIL_ERRNO && !used) {
				assert_return_code(vault_rekey(v, &err), 0);
				assert_filled(v);
			}
			vault_close(v);

			v = teststore_open();
			assert_filled(v);
			if (used) {
				teststore_put(v, "groq", 11, "eleven");
				teststore_put(v, "xai", 1, "put back");
				assert_return_code(vault_delete_now(v, "zai@work", &err), 0);
				add_intent(v, "groq", 11);
				add_intent(v, "xai", 3);
				vault_close(v);
				v = teststore_open();
			}
			assert_return_code(vault_rekey(v, &err), 0);
			vault_close(v);
			v = teststore_open();
			if (used) {
				assert_int_equal(teststore_get(v, "groq", NULL, 0), 11);
				assert_int_equal(teststore_get(v, "xai", NULL, 0), 1);
				assert_int_equal(teststore_get(v, "zai@work", NULL, 0), 0);
				assert_int_equal(scratch_count("store/records", ""), 2);
				assert_non_null(find_intent(v, "groq"));
				assert_int_equal(find_intent(v, "xai")->generation, 3);
			} else {
				assert_filled(v);
				assert_int_equal(scratch_count("store/records", ""), 3);
			}
			vault_close(v);
			assert_rekeyed();
			steps++;
		}
	}
	assert_true(steps > 2 * failinject_nways * 30);
}

static void rekey_of_a_damaged_store_changes_nothing(void **state)
{
	char name[SEAL_NAME_LEN + 1];
	char path[64];
	char *before;
	char *after;
	char *bytes;
	size_t len;
	struct pa_err err;
	struct vault *v;

	fill_store();
	before = scratch_read("store/keyslots.json", NULL);
	v = teststore_open();
	assert_return_code(vault_name(v, "xai", name, &err), 0);
	snprintf(path, sizeof(path), "store/records/%s", name);
	bytes = scratch_read(path, &len);
	bytes[100] ^= 1;
	scratch_write(path, 0600, bytes, len);
	assert_int_equal(vault_rekey(v, &err), -EBADMSG);
	assert_non_null(strstr(err.detail, name)); /* which one it is */
	after = scratch_read("store/keyslots.json", NULL);
	assert_string_equal(before, after);
	assert_int_equal(scratch_count("keys", ""), 1);
	vault_close(v);
	free(before);
	free(after);
	free(bytes);
}

static void rekey_with_a_credential_keeps_the_credential(void **state)
{
	struct pa_err err;
	struct vault *v;
	bool hit = true;
	char *before;
	char *after;
	int r;

	set_credential(0400, "0123456789abcdef0123456789abcdef");
	fill_store();
	before = scratch_read("store/keyslots.json", NULL);
	/* Also where there is no directory for a key file, and in two attempts. */
	assert_return_code(rmdir("keys"), 0);
	for (unsigned n = 1; hit; n++) {
		assert_return_code(teststore_try(false, &v, &err), 0);
		hit = failinject_run(FAIL_ERRNO, n, EIO, rekey, v, &r);
		assert_int_equal(!r, !hit);
		vault_close(v);
		assert_return_code(teststore_try(false, &v, &err), 0);
		assert_return_code(vault_rekey(v, &err), 0);
		vault_close(v);
	}
	after = scratch_read("store/keyslots.json", NULL);
	assert_string_not_equal(before, after);
	assert_false(scratch_exists("keys"));
	v = teststore_open();
	assert_filled(v);
	vault_close(v);
	free(before);
	free(after);
}

/* Without the new key file of a rekey that was cut short, records are sealed that nobody can open: refused. */
static void unfinished_rekey_needs_both_key_files(void **state)
{
	struct vault *v;
	unsigned n = 0;
	int r;

	fill_store();
	do {
		teststore_restore();
		v = teststore_open();
		assert_true(failinject_run(FAIL_EXIT, ++n, 0, rekey, v, &r));
		vault_close(v);
	} while (scratch_count("store/records", "") !=
		 4); /* one has been moved, its old file not removed */
	assert_int_equal(scratch_count("keys", ""), 2);
	v = teststore_open();
	assert_filled(v);
	vault_close(v);
	assert_return_code(rename("keys/store.key.new", "new"), 0);
	assert_open_fails(PA_STORE_LOCKED, "no key at hand fits");
	assert_return_code(rename("new", "keys/store.key.new"), 0);
	assert_return_code(rename("keys/store.key", "old"), 0); /* as if a person had renamed it */
	assert_return_code(rename("keys/store.key.new", "keys/store.key"), 0);
	v = teststore_open();
	assert_filled(v);
	vault_close(v);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, teststore_setup, teststore_teardown)
	const struct CMUnitTest tests[] = {
		TEST(key_file_is_one_line),
		TEST(key_file_that_is_there_is_used),
		TEST(what_is_no_key_file_opens_nothing),
		TEST(credential_opens_the_store),
		TEST(key_file_opens_beside_a_strange_credential),
		TEST(no_key_file_named),
		TEST(damaged_keyslots_are_refused),
		TEST(unknown_members_and_slots_do_not_disturb),
		TEST(export_needs_its_passphrase),
		TEST(making_a_store_survives_every_failure),
		TEST(rekey_changes_every_name_and_key),
		TEST(rekey_survives_every_failure),
		TEST(rekey_of_a_damaged_store_changes_nothing),
		TEST(rekey_with_a_credential_keeps_the_credential),
		TEST(unfinished_rekey_needs_both_key_files),
	};

	return cmocka_run_group_tests_name("keyslot", tests, NULL, NULL);
}
