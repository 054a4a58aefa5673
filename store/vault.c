#include "vault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"
#include "vault_i.h"

#define RECORDS_DIR    "records"
#define RECORD_MAX     (SEAL_PLAIN_MAX + 2 * SEAL_PAD) /* of a record file; seal_peek is exact */
#define MACHINE_LABEL  "piauth machine 1"
#define MACHINE_ID_LEN 32

/* Makes the directories above path, 0700, each durable. path is changed and changed back. */
static int make_parents(char *path, struct pa_err *err)
{
	int r = 0;

	for (char *p = strchr(path + 1, '/'); p && !r; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (!mkdir(path, 0700))
			r = disk_sync_parent(AT_FDCWD, path, err);
		else if (errno != EEXIST)
			r = disk_fail(err, errno, "make", path);
		*p = '/';
	}
	return r;
}

/* Opens a directory that must be ours alone. */
static int open_dir(int dir_fd, const char *name, bool create, int *ret, struct pa_err *err)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	DISK_AUTO int fd = -1;
	struct stat st;
	int r;

	fd = openat(dir_fd, name, flags);
	if (fd < 0 && errno == ENOENT && create) {
		if (mkdirat(dir_fd, name, 0700) && errno != EEXIST)
			return disk_fail(err, errno, "make", name);
		r = disk_sync_parent(dir_fd, name, err);
		if (r < 0)
			return r;
		fd = openat(dir_fd, name, flags);
	}
	if (fd < 0 && errno == ENOENT)
		return pa_fail(err, PA_STORE_IO, ENOENT, "%s does not exist", name);
	if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
		return pa_fail(
			err, PA_STORE_UNSAFE, 0, "%s is a symbolic link or no directory", name);
	if (fd < 0 || fstat(fd, &st))
		return disk_fail(err, errno, "open", name);
	if (st.st_uid != geteuid())
		return pa_fail(err, PA_STORE_UNSAFE, 0, "%s belongs to user %u", name,
			(unsigned)st.st_uid);
	if (st.st_mode & 0077)
		return pa_fail(
			err, PA_STORE_UNSAFE, 0, "%s has mode %04o", name, st.st_mode & 07777);
	*ret = fd;
	fd = -1;
	return 0;
}

int vault_lock(const struct vault *v)
{
	return v->lock_fd;
}

/* Where the keys come from. The key file's path is made absolute: the server changes its directory. */
static int find_sources(struct vault *v, const struct vault_options *o, struct pa_err *err)
{
	const char *dir = secure_getenv("CREDENTIALS_DIRECTORY");
	char *cwd = NULL;
	int n;

	if (dir) {
		v->source.credentials_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (v->source.credentials_fd < 0 && errno != ENOENT)
			return disk_fail(err, errno, "open", dir);
	}
	if (!o->key_file)
		return 0;
	if (*o->key_file != '/') {
		cwd = getcwd(NULL, 0);
		if (!cwd)
			return disk_fail(err, errno, "find", "the current directory");
	}
	n = asprintf(&v->key_file, "%s%s%s", cwd ? cwd : "", cwd ? "/" : "", o->key_file);
	free(cwd);
	if (n < 0) {
		v->key_file = NULL;
		return pa_fail(err, PA_NO_MEMORY, 0, "path");
	}
	v->source.key_file = v->key_file;
	return o->create ? make_parents(v->key_file, err) : 0;
}

static int open_store_dir(const struct vault_options *o, int *ret, struct pa_err *err)
{
	char *dir = strdup(o->dir);
	size_t len;
	int r = 0;

	if (!dir)
		return pa_fail(err, PA_NO_MEMORY, 0, "path");
	/* A slash at the end would follow a symbolic link. */
	for (len = strlen(dir); len > 1 && dir[len - 1] == '/'; len--)
		dir[len - 1] = '\0';
	if (o->create)
		r = make_parents(dir, err);
	if (!r)
		r = open_dir(AT_FDCWD, dir, o->create, ret, err);
	free(dir);
	return r;
}

/*
 * Tells machines apart without telling which they are: machine-id(5) asks that its value is not shown, and
 * used only through a keyed hash. No id, or one that is not final yet, is no error: "".
 */
static int find_machine_id(char ret[static SEAL_NAME_LEN + 1], struct pa_err *err)
{
	static const char *const paths[] = { "/etc/machine-id", "/var/lib/dbus/machine-id" };
	char id[MACHINE_ID_LEN];
	uint8_t mac[32];
	ssize_t n = 0;
	int r;

	ret[0] = '\0';
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths) && n != MACHINE_ID_LEN; i++) {
		DISK_AUTO int fd = open(paths[i], O_RDONLY | O_CLOEXEC | O_NOCTTY);

		n = fd < 0 ? 0 : read(fd, id, sizeof(id));
		if (n == MACHINE_ID_LEN && memchr(id, '\n', sizeof(id)))
			n = 0;
	}
	if (n != MACHINE_ID_LEN)
		return 0;
	r = seal_hmac(MACHINE_LABEL, sizeof(MACHINE_LABEL) - 1, id, sizeof(id), mac, err);
	if (r < 0)
		return r;
	seal_base32(mac, SEAL_NAME_LEN, ret);
	return 0;
}

int vault_open(const struct vault_options *o, struct vault **ret, struct pa_err *err)
{
	struct vault *v = calloc(1, sizeof(*v));
	bool made;
	int r;

	if (!v)
		return pa_fail(err, PA_NO_MEMORY, 0, "vault");
	v->dir_fd = v->records_fd = v->lock_fd = v->journal_fd = -1;
	v->source = (struct keyslot_source){ .dirfd = AT_FDCWD, .credentials_fd = -1 };

	r = open_store_dir(o, &v->dir_fd, err);
	if (!r)
		r = o->lock_fd ? vault_lock_inherit(v->dir_fd, o->lock_fd, &v->lock_fd, err)
			       : vault_lock_take(
					 v->dir_fd, o->wait_lock, o->lock_pid, &v->lock_fd, err);
	if (r < 0)
		goto out;
	/* A store whose records went away must not pass for an empty one. */
	made = !faccessat(v->dir_fd, "keyslots.json", F_OK, AT_SYMLINK_NOFOLLOW);
	r = open_dir(v->dir_fd, RECORDS_DIR, o->create && !made, &v->records_fd, err);
	if (r == -ENOENT && made)
		r = pa_fail(err, PA_STORE_CORRUPT, 0, RECORDS_DIR " is missing");
	if (!r)
		r = disk_sweep(v->dir_fd, err);
	if (!r)
		r = disk_sweep(v->records_fd, err);
	if (!r)
		r = find_sources(v, o, err);
	if (!r)
		r = keyslots_open(v->dir_fd, &v->source, o->create, &v->keys, err);
	if (!r)
		r = find_machine_id(v->machine_id, err);
	if (!r)
		r = journal_open(v, err);
out:
	if (r < 0) {
		vault_close(v);
		return r;
	}
	*ret = v;
	return 0;
}

void vault_close(struct vault *v)
{
	if (!v)
		return;
	journal_close(v);
	keyslots_free(v->keys);
	free(v->key_file);
	disk_closep(&v->source.credentials_fd);
	disk_closep(&v->records_fd);
	disk_closep(&v->dir_fd);
	disk_closep(&v->lock_fd); /* last: whoever waits for it may open the rest */
	free(v);
}

const char *vault_store_id(const struct vault *v)
{
	return v->keys->store_id;
}

const char *vault_machine_id(const struct vault *v)
{
	return v->machine_id;
}

void sealed_free(struct sealed *s)
{
	if (!s)
		return;
	free(s->bytes);
	*s = (struct sealed){ NULL, 0 };
}

int vault_name_under(const struct vault *v, unsigned which, const char *profile,
	char ret[static SEAL_NAME_LEN + 1], struct pa_err *err)
{
	uint8_t mac[32];
	int r;

	r = seal_hmac(
		v->keys->keys[which]->name_key, SEAL_KEY_LEN, profile, strlen(profile), mac, err);
	if (r < 0)
		return r;
	seal_base32(mac, SEAL_NAME_LEN, ret);
	return 0;
}

int vault_name(const struct vault *v, const char *profile, char ret[static SEAL_NAME_LEN + 1],
	struct pa_err *err)
{
	return vault_name_under(v, 0, profile, ret, err);
}

/*
 * What is sealed is the content, the profile, and one byte with the profile's length: a rekey needs the
 * profile for the new file name, and the content means nothing to the vault.
 */
int vault_seal(const struct vault *v, const char *profile, uint64_t generation, const void *plain,
	size_t len, struct sealed *ret, struct pa_err *err)
{
	const struct keyset *keys = v->keys->keys[0];
	const size_t profile_len = strlen(profile);
	struct seal_header header = { .generation = generation };
	WIPE_AUTO char *joined = NULL;
	uint8_t *bytes;
	size_t bytes_len;
	int r;

	if (!profile_len || profile_len > PROFILE_MAX)
		return pa_fail(err, PA_BAD_INPUT, 0, "a profile name of %zu bytes", profile_len);
	if (len > SEAL_PLAIN_MAX)
		return pa_fail(err, PA_TOO_BIG, 0, "a record of %zu bytes", len);
	r = vault_name(v, profile, header.name, err);
	if (r < 0)
		return r;
	memcpy(header.key_id, keys->key_id, sizeof(header.key_id));

	joined = wipe_malloc(len + profile_len + 1);
	if (!joined)
		return pa_fail(err, PA_NO_MEMORY, 0, "record");
	if (len)
		memcpy(joined, plain, len);
	memcpy(joined + len, profile, profile_len);
	joined[len + profile_len] = (char)profile_len;
	r = seal_record(
		keys->data_key, &header, joined, len + profile_len + 1, &bytes, &bytes_len, err);
	if (r < 0)
		return r;
	*ret = (struct sealed){ .bytes = bytes, .len = bytes_len };
	return 0;
}

int vault_unseal_profile(const struct vault *v, const struct sealed *s, char **ret, size_t *ret_len,
	struct seal_header *ret_header, char *ret_profile, struct pa_err *err)
{
	const struct keyset *keys = NULL;
	WIPE_AUTO char *plain = NULL;
	size_t profile_len;
	size_t len;
	int r;

	r = seal_peek(s->bytes, s->len, ret_header, err);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < v->keys->nkeys && !keys; i++)
		if (!memcmp(v->keys->keys[i]->key_id, ret_header->key_id,
			    sizeof(ret_header->key_id)))
			keys = v->keys->keys[i];
	if (!keys)
		return pa_fail(err, PA_STORE_CORRUPT, 0,
			"record %s is sealed with a key that is not this store's",
			ret_header->name);
	r = seal_open(keys->data_key, s->bytes, s->len, NULL, &plain, &len, err);
	if (r < 0)
		return r;
	profile_len = len ? (uint8_t)plain[len - 1] : 0;
	if (!profile_len || profile_len >= len)
		return pa_fail(
			err, PA_STORE_CORRUPT, 0, "record %s has no profile", ret_header->name);
	len -= profile_len + 1;
	if (ret_profile) {
		memcpy(ret_profile, plain + len, profile_len);
		ret_profile[profile_len] = '\0';
	}
	plain[len] = '\0';
	*ret = plain;
	*ret_len = len;
	plain = NULL;
	return 0;
}

int vault_unseal(const struct vault *v, const struct sealed *s, char **ret, size_t *ret_len,
	uint64_t *ret_generation, struct pa_err *err)
{
	struct seal_header header;
	int r;

	r = vault_unseal_profile(v, s, ret, ret_len, &header, NULL, err);
	if (!r && ret_generation)
		*ret_generation = header.generation;
	return r;
}

int vault_read_record(
	const struct vault *v, const char *name, struct sealed *ret, struct pa_err *err)
{
	struct seal_header header;
	struct sealed s;
	char *bytes;
	int r;

	r = disk_read(v->records_fd, name, DISK_STORE_FILE, RECORD_MAX, &bytes, &s.len, err);
	if (r < 0)
		return r;
	s.bytes = (uint8_t *)bytes;
	r = seal_peek(s.bytes, s.len, &header, err);
	if (!r && strcmp(header.name, name))
		r = pa_fail(
			err, PA_STORE_CORRUPT, 0, "record %s is in the file %s", header.name, name);
	if (r < 0) {
		sealed_free(&s);
		return r;
	}
	*ret = s;
	return 0;
}

bool vault_has_newer(const struct vault *v, const char *name, uint64_t generation)
{
	WIPE_AUTO char *plain = NULL;
	uint64_t found;
	struct sealed s;
	size_t len;
	bool newer;

	if (vault_read_record(v, name, &s, NULL) < 0)
		return false;
	newer = !vault_unseal(v, &s, &plain, &len, &found, NULL) && found >= generation;
	sealed_free(&s);
	return newer;
}

/*
 * With two roots, a record under the old one: finds the name that it is to have. *ret_stale says that the
 * record is there under that name too and not older; then this one is only waiting to be removed.
 */
static int scan_old(const struct vault *v, const struct sealed *s,
	char ret_name[static SEAL_NAME_LEN + 1], bool *ret_stale, struct pa_err *err)
{
	char profile[PROFILE_MAX + 1];
	WIPE_AUTO char *plain = NULL;
	struct seal_header header;
	size_t len;
	int r;

	r = vault_unseal_profile(v, s, &plain, &len, &header, profile, err);
	if (r < 0 || !memcmp(header.key_id, v->keys->keys[0]->key_id, sizeof(header.key_id)))
		return r;
	r = vault_name(v, profile, ret_name, err);
	if (!r)
		*ret_stale = vault_has_newer(v, ret_name, header.generation);
	return r;
}

static void scan_file(struct vault *v, const char *file,
	void (*each)(
		void *arg, const char *name, struct sealed *s, int r, const struct pa_err *err),
	void *arg)
{
	char name[SEAL_NAME_LEN + 1];
	struct pa_err err = { .code = PA_NONE };
	struct sealed s = { NULL, 0 };
	bool stale = false;
	int r;

	if (!keyslot_is_name(file)) {
		r = pa_fail(&err, PA_STORE_CORRUPT, 0, "%s is not the name of a record", file);
		each(arg, file, &s, r, &err);
		return;
	}
	memcpy(name, file, sizeof(name));
	r = vault_read_record(v, file, &s, &err);
	if (r == -ENOENT)
		return; /* removed since the directory was read */
	if (!r && v->keys->nkeys > 1)
		r = scan_old(v, &s, name, &stale, &err);
	if (!stale)
		each(arg, name, &s, r, r < 0 ? &err : NULL);
	sealed_free(&s);
}

int vault_scan(struct vault *v,
	void (*each)(
		void *arg, const char *name, struct sealed *s, int r, const struct pa_err *err),
	void *arg, struct pa_err *err)
{
	struct dirent *entry;
	DIR *dir;
	int e;
	int r = disk_list(v->records_fd, RECORDS_DIR, &dir, err);

	if (r < 0)
		return r;
	while (errno = 0, (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
			strncmp(entry->d_name, DISK_TEMP, sizeof(DISK_TEMP) - 1))
			scan_file(v, entry->d_name, each, arg);
	}
	e = errno;
	closedir(dir);
	return e ? disk_fail(err, e, "list", RECORDS_DIR) : 0;
}

static int record_put(const struct vault *v, const char *name, const char *old_name,
	const struct sealed *s, struct pa_err *err)
{
	int r;

	r = disk_replace(v->records_fd, name, s->bytes, s->len, err);
	/* Of two the newer counts, so the order is: first the new one, then without the old one. */
	if (!r && *old_name)
		r = disk_remove(v->records_fd, old_name, err);
	return r;
}

/* The other order: a removal that is cut short must not let the older one come back. */
static int record_delete(
	const struct vault *v, const char *name, const char *old_name, struct pa_err *err)
{
	int r = 0;

	if (*old_name)
		r = disk_remove(v->records_fd, old_name, err);
	return r < 0 ? r : disk_remove(v->records_fd, name, err);
}

static int job_names(struct vault_job *j, const char *profile, struct pa_err *err)
{
	int r;

	j->old_name[0] = '\0';
	r = vault_name(j->v, profile, j->name, err);
	if (!r && j->v->keys->nkeys > 1)
		r = vault_name_under(j->v, 1, profile, j->old_name, err);
	return r;
}

static int vault_job_run(struct write_job *job, struct pa_err *err)
{
	struct vault_job *j = (struct vault_job *)((char *)job - offsetof(struct vault_job, job));

	if (j->sealed.bytes)
		return record_put(j->v, j->name, j->old_name, &j->sealed, err);
	return record_delete(j->v, j->name, j->old_name, err);
}

static void vault_job_done(struct write_job *job, int r, const struct pa_err *err)
{
	struct vault_job *j = (struct vault_job *)((char *)job - offsetof(struct vault_job, job));

	j->done(j, r, err);
}

static int job_init(struct vault_job *j, struct vault *v, const char *profile, struct pa_err *err)
{
	j->v = v;
	j->sealed = (struct sealed){ NULL, 0 };
	j->job = (struct write_job){ .run = vault_job_run, .done = vault_job_done };
	return job_names(j, profile, err);
}

int vault_job_put(struct vault_job *j, struct vault *v, const char *profile, struct sealed *s,
	struct pa_err *err)
{
	struct seal_header header;
	int r;

	r = job_init(j, v, profile, err);
	if (!r)
		r = seal_peek(s->bytes, s->len, &header, err);
	if (!r && strcmp(header.name, j->name))
		r = pa_fail(err, PA_SYSTEM, EINVAL, "a record that was sealed for another profile");
	if (r < 0)
		return r;
	j->sealed = *s;
	*s = (struct sealed){ NULL, 0 };
	return 0;
}

int vault_job_delete(struct vault_job *j, struct vault *v, const char *profile, struct pa_err *err)
{
	return job_init(j, v, profile, err);
}

int vault_put_now(struct vault *v, const char *profile, const struct sealed *s, struct pa_err *err)
{
	struct sealed borrowed = *s;
	struct vault_job j;
	int r;

	r = vault_job_put(&j, v, profile, &borrowed, err);
	return r < 0 ? r : vault_job_run(&j.job, err);
}

int vault_delete_now(struct vault *v, const char *profile, struct pa_err *err)
{
	struct vault_job j;
	int r;

	r = vault_job_delete(&j, v, profile, err);
	return r < 0 ? r : vault_job_run(&j.job, err);
}

int vault_delete_name_now(struct vault *v, const char *name, struct pa_err *err)
{
	if (!keyslot_is_name(name))
		return pa_fail(err, PA_BAD_INPUT, 0, "%s is not the name of a record", name);
	return disk_remove(v->records_fd, name, err);
}
