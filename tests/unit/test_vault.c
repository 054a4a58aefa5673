/*
 * vault: records survive every failed step whole, and nothing is trusted that others could have touched.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/vault.h"
#include "tests/lib/failinject.h"
#include "tests/lib/scratch.h"
#include "tests/lib/teststore.h"

#define FROZEN TEST_SOURCE_DIR "/frozen/store-v1"

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

static mode_t mode_of(const char *path)
{
	struct stat st;

	assert_return_code(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static void record_path(const struct vault *v, const char *profile, char path[static 64])
{
	char name[SEAL_NAME_LEN + 1];
	struct pa_err err;

	assert_return_code(vault_name(v, profile, name, &err), 0);
	snprintf(path, 64, "store/records/%s", name);
}

static void fresh_store_is_private_and_stays_the_same(void **state)
{
	char name[SEAL_NAME_LEN + 1];
	char again[SEAL_NAME_LEN + 1];
	char id[SEAL_NAME_LEN + 1];
	struct pa_err err;
	struct vault *v;

	umask(0);
	v = teststore_open();
	assert_int_equal(mode_of("store"), 0700);
	assert_int_equal(mode_of("keys"), 0700);
	assert_int_equal(mode_of("store/records"), 0700);
	assert_int_equal(mode_of("store/keyslots.json"), 0600);
	assert_int_equal(mode_of("store/journal"), 0600);
	assert_int_equal(mode_of("store/lock"), 0600);
	assert_int_equal(mode_of("keys/store.key"), 0400);
	assert_int_equal(scratch_count("keys", ""), 1);
	assert_int_equal(strlen(vault_store_id(v)), SEAL_NAME_LEN);
	snprintf(id, sizeof(id), "%s", vault_store_id(v));
	assert_return_code(vault_name(v, "groq", name, &err), 0);
	teststore_put(v, "groq", 1, "{}");
	assert_int_equal(mode_of("store/records"), 0700);
	vault_close(v);
	umask(077);

	v = teststore_open();
	assert_string_equal(vault_store_id(v), id);
	assert_return_code(vault_name(v, "groq", again, &err), 0);
	assert_string_equal(again, name);
	vault_close(v);
	vault_close(NULL);
}

static void machine_id_is_derived(void **state)
{
	struct vault *v = teststore_open();
	const char *id = vault_machine_id(v);
	char raw[64] = "";
	char expect[SEAL_NAME_LEN + 1];
	struct pa_err err;
	uint8_t mac[32];
	FILE *f = fopen("/etc/machine-id", "r");

	if (!f || !fgets(raw, sizeof(raw), f) || strspn(raw, "0123456789abcdef") != 32) {
		assert_true(strlen(id) == 0 || strlen(id) == SEAL_NAME_LEN);
	} else {
		assert_return_code(seal_hmac("piauth machine 1", 16, raw, 32, mac, &err), 0);
		seal_base32(mac, SEAL_NAME_LEN, expect);
		assert_string_equal(id, expect);
	}
	if (f)
		fclose(f);
	vault_close(v);
}

static void put_get_replace_delete(void **state)
{
	struct vault *v = teststore_open();
	char content[64];
	struct pa_err err;

	assert_int_equal(teststore_get(v, "groq", NULL, 0), 0);
	assert_return_code(vault_delete_now(v, "groq", &err), 0);
	teststore_put(v, "groq", 1, "one");
	teststore_put(v, "xai@work", 9, "");
	teststore_put(v, "groq", 2, "two");
	assert_int_equal(teststore_get(v, "groq", content, sizeof(content)), 2);
	assert_string_equal(content, "two");
	assert_int_equal(teststore_get(v, "xai@work", content, sizeof(content)), 9);
	assert_string_equal(content, "");
	assert_int_equal(scratch_count("store/records", ""), 2);
	vault_close(v);

	v = teststore_open();
	assert_int_equal(teststore_get(v, "groq", content, sizeof(content)), 2);
	assert_return_code(vault_delete_now(v, "groq", &err), 0);
	assert_int_equal(teststore_get(v, "groq", NULL, 0), 0);
	assert_int_equal(scratch_count("store/records", ""), 1);
	vault_close(v);
}

static void files_tell_nothing(void **state)
{
	struct vault *v = teststore_open();
	char long_content[3000];
	char path[64];
	char *bytes;
	size_t short_len;
	size_t len;

	memset(long_content, 'k', sizeof(long_content) - 1);
	long_content[sizeof(long_content) - 1] = '\0';
	teststore_put(v, "groq", 1, "sk-canary");
	teststore_put(v, "xai", 1, long_content);
	record_path(v, "xai", path);
	free(scratch_read(path, &len));
	record_path(v, "groq", path);
	assert_int_equal(mode_of(path), 0600);
	bytes = scratch_read(path, &short_len);
	assert_int_equal(short_len, len);
	assert_null(memmem(bytes, short_len, "groq", 4));
	assert_null(memmem(bytes, short_len, "canary", 6));
	free(bytes);
	vault_close(v);
}

static void limits(void **state)
{
	struct vault *v = teststore_open();
	char *big = calloc(1, SEAL_PLAIN_MAX + 1);
	char profile[300];
	struct sealed s = { NULL, 0 };
	struct pa_err err;
	size_t len;
	char *plain;

	memset(profile, 'p', sizeof(profile));
	profile[255] = '\0';
	assert_return_code(vault_seal(v, profile, 1, big, SEAL_PLAIN_MAX - 256, &s, &err), 0);
	assert_return_code(vault_put_now(v, profile, &s, &err), 0);
	assert_return_code(vault_unseal(v, &s, &plain, &len, NULL, &err), 0);
	assert_int_equal(len, SEAL_PLAIN_MAX - 256);
	wipe_free(plain);
	sealed_free(&s);
	assert_int_equal(vault_seal(v, profile, 1, big, SEAL_PLAIN_MAX - 255, &s, &err), -EFBIG);
	assert_int_equal(vault_seal(v, "groq", 1, big, SEAL_PLAIN_MAX + 1, &s, &err), -EFBIG);
	profile[255] = 'p';
	profile[256] = '\0';
	assert_int_equal(vault_seal(v, profile, 1, big, 1, &s, &err), -EINVAL);
	assert_int_equal(vault_seal(v, "", 1, big, 1, &s, &err), -EINVAL);
	sealed_free(&s);
	sealed_free(NULL);
	assert_int_equal(vault_delete_name_now(v, "../keyslots.json", &err), -EINVAL);
	vault_close(v);
	free(big);
}

static void without_create_nothing_is_made(void **state)
{
	struct vault *v;
	struct pa_err err;

	assert_int_equal(teststore_try(false, &v, &err), -ENOENT);
	assert_int_equal(err.code, PA_STORE_IO);
	assert_false(scratch_exists("store"));
	assert_return_code(mkdir("store", 0700), 0);
	assert_int_equal(teststore_try(false, &v, &err), -ENOENT);
	assert_false(scratch_exists("store/keyslots.json"));
	assert_false(scratch_exists("keys"));
}

/* A second open says who is there; one that waits gets the store when the first has gone. */
static void one_server_per_store(void **state)
{
	struct vault_options o = {
		.dir = "store", .key_file = "keys/store.key", .wait_lock = true
	};
	int ready[2];
	int go[2];
	struct pa_err err;
	struct vault *v;
	char who[32];
	int status;
	pid_t pid;
	char c = 0;

	vault_close(teststore_open());
	assert_return_code(pipe(ready), 0);
	assert_return_code(pipe(go), 0);
	pid = fork();
	if (pid == 0) {
		int r = teststore_try(false, &v, &err);

		if (write(ready[1], r ? "n" : "y", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	snprintf(who, sizeof(who), "held by pid %d", (int)pid);
	assert_open_fails(PA_STORE_BUSY, who);
	assert_int_equal(write(go[1], "x", 1), 1);
	assert_return_code(vault_open(&o, &v, &err), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_open_fails(PA_STORE_BUSY, "held by pid");
	vault_close(v);
	vault_close(teststore_open());
	close(ready[0]);
	close(ready[1]);
	close(go[0]);
	close(go[1]);
}

static void make_symlink(const char *path)
{
	assert_return_code(rename(path, "aside"), 0);
	assert_return_code(symlink("../aside", path), 0);
}

static void loose_modes_are_refused(void **state)
{
	static const struct {
		const char *path;
		mode_t mode;
		const char *detail;
	} cases[] = {
		{ "store", 0750, "store has mode 0750" },
		{ "store", 0701, "store has mode 0701" },
		{ "store/records", 0755, "records has mode 0755" },
		{ "store/keyslots.json", 0640, "keyslots.json has mode 0640" },
		{ "store/journal", 0604, "journal has mode 0604" },
		{ "store/lock", 0666, "lock has mode 0666" },
		{ "keys/store.key", 0440, "store.key has mode 0440" },
		{ "keys/store.key", 0404, "store.key has mode 0404" },
	};

	vault_close(teststore_open());
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		mode_t before = mode_of(cases[i].path);

		assert_return_code(chmod(cases[i].path, cases[i].mode), 0);
		assert_open_fails(PA_STORE_UNSAFE, cases[i].detail);
		assert_return_code(chmod(cases[i].path, before), 0);
		vault_close(teststore_open());
	}
}

static void links_and_foreign_files_are_refused(void **state)
{
	static const struct {
		const char *path;
		const char *detail;
	} cases[] = {
		{ "store/records", "records is a symbolic link" },
		{ "store/keyslots.json", "keyslots.json is a symbolic link" },
		{ "store/journal", "journal is a symbolic link" },
		{ "store/lock", "lock is a symbolic link" },
		{ "keys/store.key", "store.key is a symbolic link" },
	};
	struct vault_options o = { .dir = "link/", .key_file = "keys/store.key" };
	struct pa_err err;
	struct vault *v;

	vault_close(teststore_open());
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		make_symlink(cases[i].path);
		assert_open_fails(PA_STORE_UNSAFE, cases[i].detail);
		assert_return_code(unlink(cases[i].path), 0);
		assert_return_code(rename("aside", cases[i].path), 0);
		if (geteuid() == 0) {
			assert_return_code(chown(cases[i].path, 1, 1), 0);
			assert_open_fails(PA_STORE_UNSAFE, "belongs to user 1");
			assert_return_code(chown(cases[i].path, 0, 0), 0);
		}
	}
	assert_return_code(symlink("store", "link"), 0);
	assert_int_equal(vault_open(&o, &v, &err), -EACCES);
	assert_int_equal(err.code, PA_STORE_UNSAFE);
	if (geteuid() == 0) {
		assert_return_code(chown("store", 1, 1), 0);
		assert_open_fails(PA_STORE_UNSAFE, "store belongs to user 1");
		assert_return_code(chown("store", 0, 0), 0);
	}
	/* A hard link is another door to the file; a fifo must not make the opener wait. */
	assert_return_code(link("store/keyslots.json", "door"), 0);
	assert_open_fails(PA_STORE_UNSAFE, "keyslots.json has 2 names");
	assert_return_code(unlink("door"), 0);
	assert_return_code(rename("store/keyslots.json", "aside"), 0);
	assert_return_code(mkfifo("store/keyslots.json", 0600), 0);
	assert_open_fails(PA_STORE_UNSAFE, "keyslots.json is not a regular file");
	assert_return_code(unlink("store/keyslots.json"), 0);
	assert_return_code(rename("aside", "store/keyslots.json"), 0);
	vault_close(teststore_open());
}

static void assert_one_bad(struct vault *v, enum pa_code code, const char *detail)
{
	unsigned good;
	unsigned bad;
	struct pa_err err;

	teststore_count(v, &good, &bad, &err);
	if (good != 1 || bad != 1 || err.code != code || !strstr(err.detail, detail))
		fail_msg("%u good, %u bad: %s, %s", good, bad, pa_wire(err.code), err.detail);
}

static void one_bad_record_does_not_hide_the_others(void **state)
{
	struct vault *v = teststore_open();
	char path[64];
	char *bytes;
	size_t len;

	teststore_put(v, "groq", 1, "good");
	teststore_put(v, "xai", 1, "to be damaged");
	record_path(v, "xai", path);
	bytes = scratch_read(path, &len);

	bytes[200] ^= 1;
	scratch_write(path, 0600, bytes, len);
	assert_one_bad(v, PA_STORE_CORRUPT, "seal is broken");
	bytes[200] ^= 1;
	scratch_write(path, 0600, bytes, len - 1);
	assert_one_bad(v, PA_STORE_CORRUPT, "no record");
	scratch_write(path, 0600, "", 0);
	assert_one_bad(v, PA_STORE_CORRUPT, "no record");
	scratch_write(path, 0644, bytes, len);
	assert_one_bad(v, PA_STORE_UNSAFE, "mode 0644");
	scratch_write(path, 0600, bytes, len);
	assert_return_code(link(path, "door"), 0);
	assert_one_bad(v, PA_STORE_UNSAFE, "2 names");
	assert_return_code(unlink("door"), 0);
	assert_return_code(rename(path, "aside"), 0);
	assert_return_code(symlink("../../aside", path), 0);
	assert_one_bad(v, PA_STORE_UNSAFE, "symbolic link");
	assert_return_code(unlink(path), 0);
	assert_return_code(mkfifo(path, 0600), 0);
	assert_one_bad(v, PA_STORE_UNSAFE, "regular");
	assert_return_code(unlink(path), 0);
	scratch_write("store/records/notes.txt", 0600, "x", 1);
	assert_one_bad(v, PA_STORE_CORRUPT, "notes.txt is not the name of a record");
	assert_return_code(unlink("store/records/notes.txt"), 0);
	scratch_write("store/records/aaaaaaaaaaaaaaaaaaaaaaaaaa", 0600, bytes, len);
	assert_one_bad(v, PA_STORE_CORRUPT, "is in the file");
	assert_return_code(unlink("store/records/aaaaaaaaaaaaaaaaaaaaaaaaaa"), 0);
	scratch_write(path, 0600, bytes, len);
	assert_int_equal(teststore_get(v, "xai", NULL, 0), 1);
	free(bytes);
	vault_close(v);
}

static void record_of_another_store_does_not_open(void **state)
{
	struct vault *v = teststore_open();
	struct pa_err err;
	struct sealed s;
	size_t len;
	char *plain;

	assert_return_code(vault_seal(v, "groq", 1, "x", 1, &s, &err), 0);
	vault_close(v);
	scratch_remove("store");
	v = teststore_open(); /* under the same key file */
	assert_int_equal(vault_unseal(v, &s, &plain, &len, NULL, &err), -EBADMSG);
	assert_int_equal(err.code, PA_STORE_CORRUPT);
	assert_int_equal(vault_put_now(v, "groq", &s, &err), -EINVAL);
	sealed_free(&s);
	vault_close(v);
}

static void lost_parts_are_never_made_anew(void **state)
{
	struct vault *v = teststore_open();

	teststore_put(v, "groq", 1, "x");
	vault_close(v);

	assert_return_code(rename("keys/store.key", "key"), 0);
	assert_open_fails(PA_STORE_LOCKED, "store.key is missing");
	assert_false(scratch_exists("keys/store.key"));
	assert_return_code(rename("key", "keys/store.key"), 0);

	assert_return_code(rename("store/keyslots.json", "slots"), 0);
	assert_open_fails(PA_STORE_CORRUPT, "keyslots.json is missing");
	assert_false(scratch_exists("store/keyslots.json"));
	assert_return_code(rename("slots", "store/keyslots.json"), 0);

	assert_return_code(rename("store/records", "records"), 0);
	assert_open_fails(PA_STORE_CORRUPT, "records is missing");
	assert_return_code(rename("records", "store/records"), 0);

	v = teststore_open();
	assert_int_equal(teststore_get(v, "groq", NULL, 0), 1);
	vault_close(v);
}

static void stray_temp_files_are_swept(void **state)
{
	struct vault *v;

	vault_close(teststore_open());
	scratch_write("store/.tmp-abcdefgh", 0600, "x", 1);
	scratch_write("store/records/.tmp-abcdefgh", 0600, "x", 1);
	v = teststore_open();
	teststore_assert_no_temp();
	vault_close(v);
}

struct change {
	struct vault *v;
	struct sealed sealed; /* empty: delete */
	struct pa_err err;
};

static int change_record(void *arg)
{
	struct change *c = arg;

	if (c->sealed.bytes)
		return vault_put_now(c->v, "groq", &c->sealed, &c->err);
	return vault_delete_now(c->v, "groq", &c->err);
}

/* Fails step 1, 2, 3 ... of a change in every way: the old or the new state is there, never neither. */
static void fail_every_step(bool delete)
{
	struct vault *v = teststore_open();
	unsigned steps = 0;

	teststore_put(v, "groq", 1, "old");
	teststore_put(v, "xai", 5, "other");
	vault_close(v);
	teststore_save();
	for (size_t i = 0; i < failinject_nways; i++) {
		const struct fail_way *way = &failinject_ways[i];
		bool hit = true;

		for (unsigned n = 1; hit; n++) {
			struct change c = { NULL };
			char content[16] = "";
			uint64_t generation;
			struct pa_err err;
			int r;

			teststore_restore();
			c.v = teststore_open();
			if (!delete)
				assert_return_code(
					vault_seal(c.v, "groq", 2, "new", 3, &c.sealed, &err), 0);
			hit = failinject_run(way->mode, n, way->errnum, change_record, &c, &r);
			vault_close(c.v);
			if (way->mode == FAIL_ERRNO && hit) {
				assert_int_equal(c.err.code,
					way->errnum == ENOSPC ? PA_STORE_FULL : PA_STORE_IO);
				assert_int_equal(r, way->errnum == ENOSPC ? -ENOSPC : -EIO);
				teststore_assert_no_temp(); /* at once, not only after a sweep */
			}
			if (!hit || way->mode == FAIL_SHORT)
				assert_return_code(r, 0);

			v = teststore_open();
			generation = teststore_get(v, "groq", content, sizeof(content));
			if (r == 0)
				assert_int_equal(generation, delete ? 0 : 2);
			if (generation)
				assert_string_equal(content, generation == 1 ? "old" : "new");
			else
				assert_true(delete);
			assert_int_equal(teststore_get(v, "xai", content, sizeof(content)), 5);
			teststore_assert_no_temp();
			sealed_free(&c.sealed);
			vault_close(v);
			steps++;
		}
	}
	assert_true(
		steps > failinject_nways * (delete ? 2 : 4)); /* that there was something to fail */
}

static void put_survives_every_failure(void **state)
{
	fail_every_step(false);
}

static void delete_survives_every_failure(void **state)
{
	fail_every_step(true);
}

struct job_result {
	int calls;
	int r;
	struct sealed sealed;
};

static void job_done(struct vault_job *j, int r, const struct pa_err *err)
{
	struct job_result *result = j->arg;

	result->calls++;
	result->r = r;
	result->sealed = j->sealed;
	j->sealed = (struct sealed){ NULL, 0 };
}

static void jobs_put_and_delete(void **state)
{
	struct vault *v = teststore_open();
	struct job_result result = { 0 };
	struct vault_job j = { .done = job_done, .arg = &result };
	struct pa_err err;
	struct sealed s;
	struct writer *w;

	assert_return_code(writer_new(&w, &err), 0);
	assert_return_code(vault_seal(v, "groq", 3, "x", 1, &s, &err), 0);
	assert_int_equal(vault_job_put(&j, v, "xai", &s, &err), -EINVAL); /* not its record */
	assert_non_null(s.bytes);
	assert_return_code(vault_job_put(&j, v, "groq", &s, &err), 0);
	assert_null(s.bytes);
	writer_add(w, &j.job);
	writer_drain(w);
	assert_int_equal(result.calls, 1);
	assert_int_equal(result.r, 0);
	assert_non_null(result.sealed.bytes); /* what was put can be kept */
	sealed_free(&result.sealed);
	assert_int_equal(teststore_get(v, "groq", NULL, 0), 3);

	assert_return_code(vault_job_delete(&j, v, "groq", &err), 0);
	writer_add(w, &j.job);
	writer_drain(w);
	assert_int_equal(result.calls, 2);
	assert_int_equal(result.r, 0);
	assert_int_equal(teststore_get(v, "groq", NULL, 0), 0);
	writer_free(w);
	vault_close(v);
}

/* A store that the first release wrote opens, for ever. */
static void frozen_store_v1_opens(void **state)
{
	char *expected = scratch_read(FROZEN "/expected", NULL);
	char got[1024];
	const struct intent *intents;
	struct intent same;
	struct pa_err err;
	struct vault *v;
	unsigned n = 0;
	size_t count;

	scratch_copy(FROZEN "/store", "store");
	assert_return_code(mkdir("keys", 0700), 0);
	scratch_copy(FROZEN "/store.key", "keys/store.key");
	for (int round = 0; round < 2; round++) {
		assert_return_code(teststore_try(false, &v, &err), 0);
		for (char *line = expected; *line; line = strchr(line, '\n') + 1) {
			char profile[64];
			char content[1024];
			unsigned long long generation;

			assert_int_equal(
				sscanf(line, "%63s %llu %1023[^\n]", profile, &generation, content),
				3);
			assert_int_equal(teststore_get(v, profile, got, sizeof(got)), generation);
			assert_string_equal(got, content);
			n++;
		}
		intents = vault_intents(v, &count);
		assert_int_equal(count, 1);
		assert_int_equal(intents->kind, INTENT_REFRESH);
		assert_int_equal(intents->generation, 7);
		assert_int_equal(intents->at_ms, 1700000001000);
		assert_return_code(vault_intent(v, "anthropic@work", 7, "rt-frozen-v1", 12, 0,
					   INTENT_REFRESH, &same, &err),
			0);
		assert_string_equal(same.name, intents->name);
		assert_memory_equal(same.spent, intents->spent, sizeof(same.spent));
		if (round == 0) /* and can be brought under new keys */
			assert_return_code(vault_rekey(v, &err), 0);
		vault_close(v);
	}
	assert_int_equal(n, 6);
	free(expected);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, teststore_setup, teststore_teardown)
	const struct CMUnitTest tests[] = {
		TEST(fresh_store_is_private_and_stays_the_same),
		TEST(machine_id_is_derived),
		TEST(put_get_replace_delete),
		TEST(files_tell_nothing),
		TEST(limits),
		TEST(without_create_nothing_is_made),
		TEST(one_server_per_store),
		TEST(loose_modes_are_refused),
		TEST(links_and_foreign_files_are_refused),
		TEST(one_bad_record_does_not_hide_the_others),
		TEST(record_of_another_store_does_not_open),
		TEST(lost_parts_are_never_made_anew),
		TEST(stray_temp_files_are_swept),
		TEST(put_survives_every_failure),
		TEST(delete_survives_every_failure),
		TEST(jobs_put_and_delete),
		TEST(frozen_store_v1_opens),
	};

	return cmocka_run_group_tests_name("vault", tests, NULL, NULL);
}
