/*
 * keyring - the key-encryption keys at hand: what unlocks a store, and where it comes from.
 *
 * For keyslot only. Reads key files and the systemd credential, makes key files, and keeps what comes out of
 * them in the secure heap. Knows nothing of slots. Blocks: disk. Threads: one at a time.
 */
#ifndef PIAUTH_KEYRING_H
#define PIAUTH_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keyslot.h"

#define KEYRING_FILE       "key-file" /* types of slots */
#define KEYRING_CREDENTIAL "credential"
#define KEYRING_BASE64_MAX 140

/* What a slot wraps. */
struct material {
	uint8_t root[SEAL_KEY_LEN];
	uint8_t lasting[SEAL_KEY_LEN]; /* kept by a rekey */
};

/* Lives in the secure heap, with room for what its keys unlock. */
struct keyring {
	struct kek {
		const char *type;
		uint8_t key[SEAL_KEY_LEN];
	} keks[3];
	unsigned nkeks;
	bool file_missing; /* a key file is named and not there */
	struct material material;
};
void keyring_freep(struct keyring **ring);
#define KEYRING_AUTO __attribute__((cleanup(keyring_freep)))

/* Takes every source that is there; that none is there is no error. with_new: also key_file + ".new". */
int keyring_new(const struct keyslot_source *src, const char *store_id, bool with_new,
	struct keyring **ret, struct pa_err *err);
/* Adds one key file, by path. -ENOENT (STORE_IO) if it is not there. */
int keyring_add_file(struct keyring *ring, const char *store_id, const struct keyslot_source *src,
	const char *path, struct pa_err *err);

/* key_file + ".new"; malloc'ed. */
char *keyring_new_path(const struct keyslot_source *src, struct pa_err *err);
/* Writes a fresh key there (0400), durably, in place of one that an earlier attempt left. */
int keyring_write_new(const struct keyslot_source *src, const char *path, struct pa_err *err);
/* Makes the key file; it appears whole, and one that is there stays. */
int keyring_make_key_file(const struct keyslot_source *src, struct pa_err *err);

/* Removes the second name that a make_key_file which was cut short has left the key file. */
void keyring_drop_alias(const struct keyslot_source *src);

/* Zeroed memory of the secure heap, never plain memory, for OPENSSL_secure_clear_free. */
void *keyring_alloc(size_t size, struct pa_err *err);
/* Decodes base64 (RFC 4648) of exactly len bytes; only its one spelling is accepted. */
bool keyring_base64(const char *text, size_t text_len, uint8_t *ret, size_t len);

#endif
