/*
 * keyslot - keyslots.json: the data key, wrapped once for every way to unlock the store.
 *
 * The data key (DEK) and the name key are derived from one random 256-bit root; the journal key from a
 * second secret that a rekey keeps. A slot wraps both under a key-encryption key that comes from a key
 * file or from a systemd credential ($CREDENTIALS_DIRECTORY/piauth.store-key). An export is sealed under
 * a passphrase (scrypt). During a rekey the file holds two roots, the current one first: any point of
 * the rekey opens. Unknown slots and members are kept; a rekey that cannot keep a slot is refused.
 * Blocks: disk. Threads: one at a time.
 */
#ifndef PIAUTH_KEYSLOT_H
#define PIAUTH_KEYSLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "seal.h"

#define KEYFILE_MAX        4096
#define KEYSLOT_CREDENTIAL "piauth.store-key"
#define KEYSLOT_ROOTS      2

/* The keys of one root; lives in the secure heap. */
struct keyset {
	uint8_t data_key[SEAL_KEY_LEN];
	uint8_t name_key[SEAL_KEY_LEN];
	uint8_t journal_key[SEAL_KEY_LEN]; /* the same under both roots */
	uint8_t key_id[8];
};

struct keyslots {
	char store_id[SEAL_NAME_LEN + 1];
	unsigned nkeys;                     /* 1, or 2 while a rekey is unfinished */
	struct keyset *keys[KEYSLOT_ROOTS]; /* [0] is the current one */
};

struct keyslot_source {
	int dirfd;            /* AT_FDCWD or where key_file is relative to */
	const char *key_file; /* path; NULL: none */
	int credentials_fd;   /* $CREDENTIALS_DIRECTORY opened, or -1 */
};

/*
 * Opens <store>/keyslots.json with the first source that fits; with `create`, where neither
 * keyslots.json nor any record exists, makes root, slot and (unless the systemd credential is there) the
 * key file, 0400, O_EXCL, fsync'ed before keyslots.json. A store that has slots but no key is
 * STORE_LOCKED, never a new key; records without keyslots.json are STORE_CORRUPT; without `create` an
 * empty directory is -ENOENT (STORE_IO). A key file that is there before the store is used. Key files
 * that are symlinks, not regular, foreign-owned or accessible by group/others: STORE_UNSAFE.
 */
int keyslots_open(int store_fd, const struct keyslot_source *src, bool create,
	struct keyslots **ret, struct pa_err *err);
void keyslots_free(struct keyslots *k); /* wipes; NULL is fine */

/* First half of a rekey: writes a new key file content (key_file + ".new") and a keyslots.json with both
 * roots, new one first. Second half, after every record is sealed under the new root: drops the old one
 * and renames the key file. Both are durable on return and can be repeated. With only a systemd
 * credential slot the wrapping key stays and only the root changes. */
int keyslots_rekey_begin(
	int store_fd, const struct keyslot_source *src, struct keyslots *k, struct pa_err *err);
int keyslots_rekey_end(
	int store_fd, const struct keyslot_source *src, struct keyslots *k, struct pa_err *err);

/* An export: plain sealed under a passphrase (scrypt N=2^16 r=8 p=1, header authenticated). malloc'ed. */
int keyslot_seal_export(const char *pass, size_t pass_len, const void *plain, size_t len,
	uint8_t **ret, size_t *ret_len, struct pa_err *err);
int keyslot_open_export(const char *pass, size_t pass_len, const uint8_t *sealed, size_t len,
	char **ret, size_t *ret_len, struct pa_err *err); /* wiping memory, NUL follows */

#endif
