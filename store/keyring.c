#include "keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"

#define CREDENTIAL_MIN 16
#define KEYFILE_MAGIC  "piauth-store-key-1 "
#define KEY_BASE64     44 /* 32 bytes */

void *keyring_alloc(size_t size, struct pa_err *err)
{
	void *p = CRYPTO_secure_malloc_initialized() ? OPENSSL_secure_zalloc(size) : NULL;

	if (!p)
		pa_fail(err, PA_NO_MEMORY, 0, "the secure heap is full or not set up");
	return p;
}

void keyring_freep(struct keyring **ring)
{
	OPENSSL_secure_clear_free(*ring, sizeof(**ring));
	*ring = NULL;
}

/* Decodes base64 of exactly len bytes; nothing but its one spelling is accepted. */
bool keyring_base64(const char *text, size_t text_len, uint8_t *ret, size_t len)
{
	uint8_t bytes[KEYRING_BASE64_MAX];
	char again[KEYRING_BASE64_MAX + 1];
	bool ok;

	if (text_len != (len + 2) / 3 * 4 || text_len > KEYRING_BASE64_MAX)
		return false;
	ok = EVP_DecodeBlock(bytes, (const uint8_t *)text, (int)text_len) >= (int)len &&
	     EVP_EncodeBlock((uint8_t *)again, bytes, (int)len) == (int)text_len &&
	     !CRYPTO_memcmp(again, text, text_len);
	if (ok)
		memcpy(ret, bytes, len);
	secret_wipe(bytes, sizeof(bytes));
	secret_wipe(again, sizeof(again));
	return ok;
}

static int ring_add(struct keyring *ring, const char *type, const char *store_id,
	const void *secret, size_t len, struct pa_err *err)
{
	struct kek *kek = &ring->keks[ring->nkeks];
	char info[32];
	int r;

	snprintf(info, sizeof(info), "piauth wrap %s 1", type);
	r = seal_derive(secret, len, store_id, strlen(store_id), info, kek->key, err);
	if (r < 0)
		return r;
	kek->type = type;
	ring->nkeks++;
	return 0;
}

int keyring_add_file(struct keyring *ring, const char *store_id, const struct keyslot_source *src,
	const char *path, struct pa_err *err)
{
	const size_t magic_len = sizeof(KEYFILE_MAGIC) - 1;
	WIPE_AUTO char *text = NULL;
	uint8_t key[SEAL_KEY_LEN];
	size_t len;
	int r;

	r = disk_read(src->dirfd, path, DISK_KEY_FILE, KEYFILE_MAX, &text, &len, err);
	if (r < 0)
		return r;
	if (len && text[len - 1] == '\n')
		len--;
	if (len < magic_len || memcmp(text, KEYFILE_MAGIC, magic_len) ||
		!keyring_base64(text + magic_len, len - magic_len, key, sizeof(key)))
		return pa_fail(err, PA_STORE_LOCKED, 0, "%s is not a key file", path);
	r = ring_add(ring, KEYRING_FILE, store_id, key, sizeof(key), err);
	secret_wipe(key, sizeof(key));
	return r;
}

static int ring_add_credential(struct keyring *ring, const char *store_id,
	const struct keyslot_source *src, struct pa_err *err)
{
	WIPE_AUTO char *bytes = NULL;
	size_t len;
	int r;

	r = disk_read(src->credentials_fd, KEYSLOT_CREDENTIAL, DISK_CREDENTIAL, KEYFILE_MAX, &bytes,
		&len, err);
	if (r < 0)
		return r;
	if (len < CREDENTIAL_MIN)
		return pa_fail(err, PA_STORE_LOCKED, 0,
			"the credential " KEYSLOT_CREDENTIAL " is shorter than %d bytes",
			CREDENTIAL_MIN);
	return ring_add(ring, KEYRING_CREDENTIAL, store_id, bytes, len, err);
}

char *keyring_new_path(const struct keyslot_source *src, struct pa_err *err)
{
	char *path = NULL;

	if (asprintf(&path, "%s.new", src->key_file) < 0) {
		pa_fail(err, PA_NO_MEMORY, 0, "path");
		return NULL;
	}
	return path;
}

/* Takes every source that is there. with_new: also the key file of an unfinished rekey. */
int keyring_new(const struct keyslot_source *src, const char *store_id, bool with_new,
	struct keyring **ret, struct pa_err *err)
{
	KEYRING_AUTO struct keyring *ring = keyring_alloc(sizeof(*ring), err);
	char *path;
	int r;

	if (!ring)
		return -ENOMEM;
	if (src->credentials_fd >= 0) {
		r = ring_add_credential(ring, store_id, src, err);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	if (src->key_file) {
		r = keyring_add_file(ring, store_id, src, src->key_file, err);
		if (r < 0 && r != -ENOENT)
			return r;
		ring->file_missing = r < 0;
	}
	if (src->key_file && with_new) {
		path = keyring_new_path(src, err);
		if (!path)
			return -ENOMEM;
		r = keyring_add_file(ring, store_id, src, path, err);
		free(path);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	*ret = ring;
	ring = NULL;
	return 0;
}

/* Writes a fresh key to key_file + ".new", durably. */
int keyring_write_new(const struct keyslot_source *src, const char *path, struct pa_err *err)
{
	char line[sizeof(KEYFILE_MAGIC) + KEY_BASE64 + 1] = KEYFILE_MAGIC;
	const size_t magic_len = sizeof(KEYFILE_MAGIC) - 1;
	uint8_t key[SEAL_KEY_LEN];
	int r;

	/* Left over from an attempt that got no further: nothing is wrapped under it. */
	if (unlinkat(src->dirfd, path, 0) && errno != ENOENT)
		return disk_fail(err, errno, "remove", path);
	r = seal_random(key, sizeof(key), err);
	if (r < 0)
		return r;
	EVP_EncodeBlock((uint8_t *)line + magic_len, key, sizeof(key));
	line[magic_len + KEY_BASE64] = '\n';
	r = disk_create(src->dirfd, path, 0400, line, magic_len + KEY_BASE64 + 1, err);
	secret_wipe(key, sizeof(key));
	secret_wipe(line, sizeof(line));
	if (r < 0)
		return r;
	return disk_sync_parent(src->dirfd, path, err);
}

/*
 * The key file appears whole and never over another one: two stores may be made at once with the same
 * key file in mind, so link, which refuses an existing name, and not rename.
 */
int keyring_make_key_file(const struct keyslot_source *src, struct pa_err *err)
{
	char *path = keyring_new_path(src, err);
	int e;
	int r;

	if (!path)
		return -ENOMEM;
	r = keyring_write_new(src, path, err);
	if (!r) {
		e = linkat(src->dirfd, path, src->dirfd, src->key_file, 0) ? errno : 0;
		if (e && e != EEXIST)
			r = disk_fail(err, e, "make", src->key_file);
		if (unlinkat(src->dirfd, path, 0) && !r)
			r = disk_fail(err, errno, "remove", path);
		if (!r)
			r = disk_sync_parent(src->dirfd, src->key_file, err);
	}
	free(path);
	return r;
}

void keyring_drop_alias(const struct keyslot_source *src)
{
	char *path = keyring_new_path(src, NULL);
	struct stat key;
	struct stat alias;

	/* Without success nothing is lost: it is the same file, and the next rekey replaces it. */
	if (path && !fstatat(src->dirfd, src->key_file, &key, AT_SYMLINK_NOFOLLOW) &&
		!fstatat(src->dirfd, path, &alias, AT_SYMLINK_NOFOLLOW) &&
		key.st_dev == alias.st_dev && key.st_ino == alias.st_ino)
		(void)unlinkat(src->dirfd, path, 0);
	free(path);
}
