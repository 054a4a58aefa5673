#include "keyslot.h"

#include <dirent.h>
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
#include "json.h"
#include "keyring.h"
#include "vault_i.h"

#define SLOTS_FILE   "keyslots.json"
#define SLOTS_MAX    (64 * 1024)
#define SLOTS_FORMAT 1

#define WRAPPED_LEN    (SEAL_NONCE_LEN + sizeof(struct material) + SEAL_TAG_LEN)
#define WRAPPED_BASE64 140
_Static_assert((WRAPPED_LEN + 2) / 3 * 4 == WRAPPED_BASE64, "base64 of a wrapped root");

bool keyslot_is_name(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz234567");

	return n == SEAL_NAME_LEN && !s[n];
}

/* A wrapped root belongs to one store, one kind of slot and one root. */
static void slot_aad(
	char aad[static 96], const char *store_id, const char *type, const char *key_id)
{
	snprintf(aad, 96, "piauth slot 1 %s %s %s", store_id, type, key_id);
}

static int slot_add(cJSON *slots, const struct kek *kek, const char *store_id, const char *key_id,
	const struct material *m, struct pa_err *err)
{
	uint8_t wrapped[WRAPPED_LEN];
	char text[WRAPPED_BASE64 + 1];
	char aad[96];
	cJSON *slot;
	int r;

	slot_aad(aad, store_id, kek->type, key_id);
	r = seal_random(wrapped, SEAL_NONCE_LEN, err);
	if (r < 0)
		return r;
	r = xaes_encrypt(
		kek->key, wrapped, aad, strlen(aad), m, sizeof(*m), wrapped + SEAL_NONCE_LEN, err);
	if (r < 0)
		return r;
	EVP_EncodeBlock((uint8_t *)text, wrapped, sizeof(wrapped));

	slot = cJSON_CreateObject();
	if (!cJSON_AddItemToArray(slots, slot)) {
		cJSON_Delete(slot);
		return pa_fail(err, PA_NO_MEMORY, 0, "slot");
	}
	r = json_set_str(slot, "type", kek->type, err);
	if (r < 0)
		return r;
	return json_set_str(slot, "wrapped", text, err);
}

/* Opens a root with whatever fits into ring->material; false if nothing does. */
static bool root_unwrap(const cJSON *root, const char *store_id, struct keyring *ring)
{
	const char *key_id = json_str(root, "key");
	uint8_t wrapped[WRAPPED_LEN];
	const cJSON *slot;
	char aad[96];

	cJSON_ArrayForEach (slot, json_at(root, "/slots")) {
		const char *type = json_str(slot, "type");
		const char *text = json_str(slot, "wrapped");

		if (!type || !text || !keyring_base64(text, strlen(text), wrapped, sizeof(wrapped)))
			continue;
		for (unsigned i = 0; i < ring->nkeks; i++) {
			if (strcmp(type, ring->keks[i].type))
				continue;
			slot_aad(aad, store_id, type, key_id);
			if (!xaes_decrypt(ring->keks[i].key, wrapped, aad, strlen(aad),
				    wrapped + SEAL_NONCE_LEN, sizeof(wrapped) - SEAL_NONCE_LEN,
				    &ring->material, NULL))
				return true;
		}
	}
	return false;
}

static int keyset_new(
	const struct material *m, const char *store_id, struct keyset **ret, struct pa_err *err)
{
	const size_t id_len = strlen(store_id);
	struct keyset *k = keyring_alloc(sizeof(*k), err);
	uint8_t mac[32];
	int r;

	if (!k)
		return -ENOMEM;
	r = seal_derive(
		m->root, sizeof(m->root), store_id, id_len, "piauth data key 1", k->data_key, err);
	if (!r)
		r = seal_derive(m->root, sizeof(m->root), store_id, id_len, "piauth name key 1",
			k->name_key, err);
	if (!r)
		r = seal_derive(m->lasting, sizeof(m->lasting), store_id, id_len,
			"piauth journal key 1", k->journal_key, err);
	if (!r)
		r = seal_hmac(k->data_key, sizeof(k->data_key), "piauth key id 1", 15, mac, err);
	if (r < 0) {
		OPENSSL_secure_clear_free(k, sizeof(*k));
		return r;
	}
	memcpy(k->key_id, mac, sizeof(k->key_id));
	*ret = k;
	return 0;
}

static void key_id_text(const struct keyset *k, char ret[static 17])
{
	for (size_t i = 0; i < sizeof(k->key_id); i++)
		snprintf(ret + 2 * i, 3, "%02x", k->key_id[i]);
}

void keyslots_free(struct keyslots *k)
{
	if (!k)
		return;
	for (unsigned i = 0; i < k->nkeys; i++)
		OPENSSL_secure_clear_free(k->keys[i], sizeof(*k->keys[i]));
	free(k);
}

/* Reads keyslots.json and checks its frame: what is read of it later is there and of the right type. */
static int slots_read(int store_fd, cJSON **ret, struct pa_err *err)
{
	JSON_AUTO cJSON *json = NULL;
	WIPE_AUTO char *text = NULL;
	struct pa_err why = { 0 };
	const cJSON *roots;
	const cJSON *root;
	const char *id;
	int64_t format;
	size_t len;
	int r;

	r = disk_read(store_fd, SLOTS_FILE, DISK_STORE_FILE, SLOTS_MAX, &text, &len, err);
	if (r < 0)
		return r;
	if (json_parse(text, len, PA_STORE_CORRUPT, &json, NULL, &why) < 0)
		return pa_fail(err, why.code, 0, SLOTS_FILE " %s", why.detail);
	if (!json_int(json, "format", &format) || format < 1)
		return pa_fail(err, PA_STORE_CORRUPT, 0, SLOTS_FILE " has no format");
	if (format != SLOTS_FORMAT)
		return pa_fail(err, PA_STORE_LOCKED, 0,
			SLOTS_FILE " has format %lld, made by a newer piauth", (long long)format);
	id = json_str(json, "store");
	roots = json_at(json, "/roots");
	if (!id || !keyslot_is_name(id) || !cJSON_IsArray(roots) || !cJSON_GetArraySize(roots) ||
		cJSON_GetArraySize(roots) > KEYSLOT_ROOTS)
		return pa_fail(err, PA_STORE_CORRUPT, 0, SLOTS_FILE " lacks store or roots");
	cJSON_ArrayForEach (root, roots) {
		id = json_str(root, "key");
		if (!id || strlen(id) != 16 || !cJSON_IsArray(json_at(root, "/slots")))
			return pa_fail(err, PA_STORE_CORRUPT, 0, SLOTS_FILE " has a bad root");
	}
	*ret = json;
	json = NULL;
	return 0;
}

static int slots_write(int store_fd, const cJSON *json, struct pa_err *err)
{
	WIPE_AUTO char *text = json_text(json);
	size_t len;

	if (!text)
		return pa_fail(err, PA_NO_MEMORY, 0, SLOTS_FILE);
	len = strlen(text);
	text[len] = '\n'; /* in place of the NUL: the length goes along */
	return disk_replace(store_fd, SLOTS_FILE, text, len + 1, err);
}

static int fail_locked(const struct keyslot_source *src, struct pa_err *err)
{
	return pa_fail(err, PA_STORE_LOCKED, 0, "no key at hand fits this store%s%s",
		src->key_file ? "; the key file is " : "", src->key_file ? src->key_file : "");
}

/* Unlocks every root of a parsed keyslots.json. */
static int slots_unlock(const cJSON *json, const struct keyslot_source *src, struct keyslots **ret,
	struct pa_err *err)
{
	const char *store_id = json_str(json, "store");
	const cJSON *roots = json_at(json, "/roots");
	KEYRING_AUTO struct keyring *ring = NULL;
	struct keyslots *k;
	const cJSON *root;
	int r;

	r = keyring_new(src, store_id, cJSON_GetArraySize(roots) > 1, &ring, err);
	if (r < 0)
		return r;
	k = calloc(1, sizeof(*k));
	if (!k)
		return pa_fail(err, PA_NO_MEMORY, 0, SLOTS_FILE);
	memcpy(k->store_id, store_id, SEAL_NAME_LEN);
	cJSON_ArrayForEach (root, roots) {
		if (root_unwrap(root, store_id, ring))
			r = keyset_new(&ring->material, store_id, &k->keys[k->nkeys], err);
		else if (ring->file_missing)
			r = pa_fail(
				err, PA_STORE_LOCKED, 0, "key file %s is missing", src->key_file);
		else
			r = fail_locked(src, err);
		if (r < 0) {
			keyslots_free(k);
			return r;
		}
		k->nkeys++;
	}
	*ret = k;
	return 0;
}

/* 1 if there is a record, 0 if there is none, or an error: not to know must not lead to a new key. */
static int has_record(int store_fd, struct pa_err *err)
{
	int fd = openat(store_fd, "records", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	bool found = false;
	int e;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (!dir) {
		e = errno;
		disk_closep(&fd);
		return disk_fail(err, e, "list", "records");
	}
	while (errno = 0, !found && (entry = readdir(dir)))
		found = keyslot_is_name(entry->d_name);
	e = errno;
	closedir(dir);
	return !found && e ? disk_fail(err, e, "list", "records") : found;
}

/* One entry of "roots", wrapped under every key of the ring; added to roots at index. */
static int root_add(cJSON *roots, int index, const struct keyset *keys, const char *store_id,
	const struct keyring *ring, struct pa_err *err)
{
	JSON_AUTO cJSON *root = cJSON_CreateObject();
	cJSON *slots = NULL;
	char id[17];
	int r;

	key_id_text(keys, id);
	if (root && cJSON_AddStringToObject(root, "key", id))
		slots = cJSON_AddArrayToObject(root, "slots");
	r = slots ? 0 : pa_fail(err, PA_NO_MEMORY, 0, "root");
	for (unsigned i = 0; !r && i < ring->nkeks; i++)
		r = slot_add(slots, &ring->keks[i], store_id, id, &ring->material, err);
	if (r < 0)
		return r;
	if (!cJSON_InsertItemInArray(roots, index, root))
		return pa_fail(err, PA_NO_MEMORY, 0, "root");
	root = NULL;
	return 0;
}

static int slots_create(
	int store_fd, const struct keyslot_source *src, struct keyslots **ret, struct pa_err *err)
{
	KEYRING_AUTO struct keyring *ring = NULL;
	JSON_AUTO cJSON *json = cJSON_CreateObject();
	cJSON *roots = NULL;
	uint8_t random[(SEAL_NAME_LEN * 5 + 7) / 8];
	struct keyslots *k = NULL;
	int r;

	k = calloc(1, sizeof(*k));
	if (!k)
		return pa_fail(err, PA_NO_MEMORY, 0, SLOTS_FILE);
	r = seal_random(random, sizeof(random), err);
	if (r < 0)
		goto out;
	seal_base32(random, SEAL_NAME_LEN, k->store_id);
	if (json && cJSON_AddNumberToObject(json, "format", SLOTS_FORMAT) &&
		cJSON_AddStringToObject(json, "store", k->store_id))
		roots = cJSON_AddArrayToObject(json, "roots");
	if (!roots) {
		r = pa_fail(err, PA_NO_MEMORY, 0, SLOTS_FILE);
		goto out;
	}

	r = keyring_new(src, k->store_id, false, &ring, err);
	if (!r && !ring->nkeks && !src->key_file)
		r = pa_fail(err, PA_STORE_LOCKED, 0, "no key file is named");
	if (!r && !ring->nkeks)
		r = keyring_make_key_file(src, err);
	if (!r && !ring->nkeks)
		r = keyring_add_file(ring, k->store_id, src, src->key_file, err);
	if (r < 0)
		goto out;
	ring->nkeks = 1; /* the first that fits, here as later */

	r = seal_random(&ring->material, sizeof(ring->material), err);
	if (!r)
		r = keyset_new(&ring->material, k->store_id, &k->keys[0], err);
	if (r < 0)
		goto out;
	k->nkeys = 1;
	r = root_add(roots, 0, k->keys[0], k->store_id, ring, err);
	if (!r)
		r = slots_write(store_fd, json, err);
out:
	if (r < 0) {
		keyslots_free(k);
		return r;
	}
	*ret = k;
	return 0;
}

int keyslots_open(int store_fd, const struct keyslot_source *src, bool create,
	struct keyslots **ret, struct pa_err *err)
{
	JSON_AUTO cJSON *json = NULL;
	int missing;
	int r;

	if (src->key_file)
		keyring_drop_alias(src);
	r = slots_read(store_fd, &json, err);
	if (!r)
		return slots_unlock(json, src, ret, err);
	if (r != -ENOENT)
		return r;
	missing = r;
	r = has_record(store_fd, err);
	if (r > 0)
		return pa_fail(
			err, PA_STORE_CORRUPT, 0, SLOTS_FILE " is missing, and there are records");
	if (r < 0)
		return r;
	return create ? slots_create(store_fd, src, ret, err) : missing;
}

/* Every slot of a root must have a key at hand, or the rekey would lose a way to unlock the store. */
static int check_slots_fit(const cJSON *root, const struct keyring *ring, struct pa_err *err)
{
	const cJSON *slot;

	cJSON_ArrayForEach (slot, json_at(root, "/slots")) {
		const char *type = json_str(slot, "type");
		bool fits = false;

		for (unsigned i = 0; type && i < ring->nkeks; i++)
			fits |= !strcmp(ring->keks[i].type, type);
		if (!fits)
			return pa_fail(err, PA_UNSUPPORTED, 0, "the key of slot %.32s is not here",
				type ? type : "?");
	}
	return 0;
}

static bool has_slot(const cJSON *root, const char *type)
{
	const cJSON *slot;

	cJSON_ArrayForEach (slot, json_at(root, "/slots")) {
		const char *is = json_str(slot, "type");

		if (is && !strcmp(is, type))
			return true;
	}
	return false;
}

/*
 * Makes the key of every slot of the old root ready for the new one: a credential stays (it is not ours to
 * change), a key file is written anew. *fresh gets the keys for the new root.
 */
static int rekey_ring(const cJSON *old, const char *store_id, const struct keyslot_source *src,
	const struct keyring *ring, struct keyring **ret_fresh, struct pa_err *err)
{
	KEYRING_AUTO struct keyring *fresh = keyring_alloc(sizeof(*fresh), err);
	char *path;
	int r;

	if (!fresh)
		return -ENOMEM;
	for (unsigned i = 0; i < ring->nkeks; i++)
		if (!strcmp(ring->keks[i].type, KEYRING_CREDENTIAL) &&
			has_slot(old, KEYRING_CREDENTIAL))
			fresh->keks[fresh->nkeks++] = ring->keks[i];
	if (has_slot(old, KEYRING_FILE)) {
		path = keyring_new_path(src, err);
		if (!path)
			return -ENOMEM;
		r = keyring_write_new(src, path, err);
		if (!r)
			r = keyring_add_file(fresh, store_id, src, path, err);
		free(path);
		if (r < 0)
			return r;
	}
	*ret_fresh = fresh;
	fresh = NULL;
	return 0;
}

/* Makes sure that what is read now is also what a crash would leave. */
static int rekey_sync(
	int store_fd, const cJSON *root, const struct keyslot_source *src, struct pa_err *err)
{
	if (fsync(store_fd))
		return disk_fail(err, errno, "fsync the directory of", SLOTS_FILE);
	return has_slot(root, KEYRING_FILE) ? disk_sync_parent(src->dirfd, src->key_file, err) : 0;
}

static void drop_old(struct keyslots *k)
{
	if (k->nkeys < 2)
		return;
	OPENSSL_secure_clear_free(k->keys[1], sizeof(*k->keys[1]));
	k->keys[1] = NULL;
	k->nkeys = 1;
}

int keyslots_rekey_begin(
	int store_fd, const struct keyslot_source *src, struct keyslots *k, struct pa_err *err)
{
	KEYRING_AUTO struct keyring *ring = NULL;
	KEYRING_AUTO struct keyring *fresh = NULL;
	JSON_AUTO cJSON *json = NULL;
	struct keyslots *now;
	struct keyslots before;
	struct keyset *keys;
	cJSON *roots;
	cJSON *old;
	int r;

	/* The file decides, not the memory: an earlier attempt may have failed after its rename. */
	r = slots_read(store_fd, &json, err);
	if (r < 0)
		return r;
	roots = cJSON_GetObjectItemCaseSensitive(json, "roots");
	if (cJSON_GetArraySize(roots) > 1) {
		r = slots_unlock(json, src, &now, err);
		if (r < 0)
			return r;
		before = *k;
		*k = *now;
		*now = before;
		keyslots_free(now);
		return rekey_sync(store_fd, cJSON_GetArrayItem(roots, 0), src, err);
	}

	old = cJSON_GetArrayItem(roots, 0);
	r = keyring_new(src, k->store_id, false, &ring, err);
	if (!r)
		r = check_slots_fit(old, ring, err);
	if (r < 0)
		return r;
	if (!root_unwrap(old, k->store_id, ring))
		return fail_locked(src, err);
	r = rekey_ring(old, k->store_id, src, ring, &fresh, err);
	if (r < 0)
		return r;

	/* The old root opens under the new key too: once that has become the key file, the old key is
	 * gone, and records may still be sealed under the old root if we are killed right there. */
	for (unsigned i = 0; !r && i < fresh->nkeks; i++)
		if (!strcmp(fresh->keks[i].type, KEYRING_FILE))
			r = slot_add(cJSON_GetObjectItemCaseSensitive(old, "slots"),
				&fresh->keks[i], k->store_id, json_str(old, "key"), &ring->material,
				err);
	if (!r)
		r = seal_random(fresh->material.root, sizeof(fresh->material.root), err);
	if (r < 0)
		return r;
	memcpy(fresh->material.lasting, ring->material.lasting, sizeof(fresh->material.lasting));
	r = keyset_new(&fresh->material, k->store_id, &keys, err);
	if (r < 0)
		return r;
	r = root_add(roots, 0, keys, k->store_id, fresh, err);
	if (!r)
		r = slots_write(store_fd, json, err);
	if (r < 0) {
		OPENSSL_secure_clear_free(keys, sizeof(*keys));
		return r;
	}
	drop_old(k); /* if an earlier end has failed after its rename */
	k->keys[1] = k->keys[0];
	k->keys[0] = keys;
	k->nkeys = 2;
	return 0;
}

/* Puts the new key file in the place of the old one, after a look that it opens the current root. */
static int rekey_key_file(const cJSON *root, const char *store_id, const struct keyslot_source *src,
	struct pa_err *err)
{
	KEYRING_AUTO struct keyring *ring = keyring_alloc(sizeof(*ring), err);
	char *path = ring ? keyring_new_path(src, err) : NULL;
	int r;

	if (!path)
		return -ENOMEM;
	r = keyring_add_file(ring, store_id, src, path, err);
	if (r == -ENOENT)
		r = 0; /* an earlier attempt got this far: the key file is the new one */
	else if (!r && !root_unwrap(root, store_id, ring))
		r = pa_fail(err, PA_STORE_LOCKED, 0, "%s does not fit this store", path);
	else if (!r && renameat(src->dirfd, path, src->dirfd, src->key_file))
		r = disk_fail(err, errno, "replace", src->key_file);
	free(path);
	return r;
}

int keyslots_rekey_end(
	int store_fd, const struct keyslot_source *src, struct keyslots *k, struct pa_err *err)
{
	JSON_AUTO cJSON *json = NULL;
	const cJSON *root;
	cJSON *roots;
	int r;

	r = slots_read(store_fd, &json, err);
	if (r < 0)
		return r;
	roots = cJSON_GetObjectItemCaseSensitive(json, "roots");
	root = cJSON_GetArrayItem(roots, 0);
	/* First the key file, which opens both roots, then the slots: the other way round there is an
	 * instant at which the key file opens nothing. */
	if (cJSON_GetArraySize(roots) > 1 && has_slot(root, KEYRING_FILE)) {
		r = rekey_key_file(root, k->store_id, src, err);
		if (!r)
			r = disk_sync_parent(src->dirfd, src->key_file, err);
	}
	if (!r && cJSON_GetArraySize(roots) > 1) {
		cJSON_DeleteItemFromArray(roots, 1);
		r = slots_write(store_fd, json, err);
	} else if (!r) {
		r = rekey_sync(store_fd, root, src, err);
	}
	if (r < 0)
		return r;
	drop_old(k);
	return 0;
}
