/*
 * vault_i - what the files of the vault share among themselves; nobody else includes it
 * (but a fuzz target that needs a vault without a disk).
 *
 * The journal_* functions keep the file behind vault_intents. Blocks: disk.
 */
#ifndef PIAUTH_VAULT_I_H
#define PIAUTH_VAULT_I_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vault.h"

/* Whether s is SEAL_NAME_LEN characters of base32: the name of a record file or of a store. */
bool keyslot_is_name(const char *s);

struct journal_slot;

struct vault {
	int dir_fd;
	int records_fd;
	int lock_fd;
	struct keyslots *keys;
	struct keyslot_source source;
	char *key_file; /* absolute; source points to it */
	char machine_id[SEAL_NAME_LEN + 1];

	int journal_fd;
	off_t journal_size; /* of the file; after vault_open only the jobs touch it */
	struct journal_slot *slots;
	struct intent *intents; /* what vault_intents shows; room for as many as there are slots */
	size_t nslots;
	size_t slots_room;
	size_t nintents;
};

/* The file name of a profile under keys[which]. */
int vault_name_under(const struct vault *v, unsigned which, const char *profile,
	char ret[static SEAL_NAME_LEN + 1], struct pa_err *err);
/* As vault_unseal; ret_profile (PROFILE_MAX + 1 bytes) says whose record it is. */
int vault_unseal_profile(const struct vault *v, const struct sealed *s, char **ret, size_t *ret_len,
	struct seal_header *ret_header, char *ret_profile, struct pa_err *err);
/* Reads one record file. -ENOENT (STORE_IO) if there is none. */
int vault_read_record(
	const struct vault *v, const char *name, struct sealed *ret, struct pa_err *err);

/* Whether the record file called name opens and is of this generation or a later one. */
bool vault_has_newer(const struct vault *v, const char *name, uint64_t generation);

#define PROFILE_MAX 255 /* its length is one byte of the sealed record */

/* Opens, and makes if need be, the journal and reads its rows. */
int journal_open(struct vault *v, struct pa_err *err);
void journal_close(struct vault *v);
/*
 * While there are two roots: gives the rows of records that are still sealed under the old one the names
 * that these records will have. In memory; journal_rewrite makes it durable.
 */
int journal_relabel(struct vault *v, struct pa_err *err);
int journal_rewrite(struct vault *v, struct pa_err *err);

/* vault_lock.c: takes the lock in the name of owner (0: this process); or uses one that is held already. *ret is
 * the caller's to close. */
int vault_lock_take(int dir_fd, bool wait, pid_t owner, int *ret, struct pa_err *err);
int vault_lock_inherit(int dir_fd, int lock_fd, int *ret, struct pa_err *err);

#endif
