/*
 * vault - a directory of sealed records, one file per profile, and the intent journal beside them.
 *
 * <store>/keyslots.json, <store>/records/<name>, <store>/journal, <store>/lock. A record is replaced by
 * temp file, write, fsync, rename, fsync of the directory: on failure the old one is there, whole. The
 * vault knows bytes and names, no JSON and no OAuth. One server per store: vault_open takes the lock.
 *
 * Blocking calls (vault_open, vault_scan, vault_read, *_now) are for start and for commands; the *_job
 * forms give the same work to a writer. Threads: the vault's tables are read-only after vault_open; jobs
 * touch only descriptors and their own bytes.
 */
#ifndef PIAUTH_VAULT_H
#define PIAUTH_VAULT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "keyslot.h"
#include "seal.h"
#include "writer.h"

struct vault;

struct vault_options {
	const char *dir;      /* path of the store; made 0700 with `create` (parents too) */
	const char *key_file; /* path; parents made 0700 with `create` */
	bool create;
	/* A descriptor of <store>/lock that is locked already, by whoever holds it for us; 0: take the lock. */
	int lock_fd;
	pid_t lock_pid; /* who holds the lock, as it is told to others; 0: this process */
	bool wait_lock; /* false: STORE_BUSY at once, with the holder's pid in the detail */
};

/* Without create, where there is no store: -ENOENT (STORE_IO). Needs secret_heap_init and json_init.
 * Refuses (STORE_UNSAFE) a store directory or file that is a symlink, foreign-owned or looser than
 * 0700/0600. Sweeps stray temp files. credentials come from $CREDENTIALS_DIRECTORY (secure_getenv). */
int vault_open(const struct vault_options *o, struct vault **ret, struct pa_err *err);
void vault_close(struct vault *v); /* gives the lock back; NULL is fine */
int vault_lock(
	const struct vault *v); /* the lock's descriptor: whoever has it open keeps the lock */
const char *vault_store_id(const struct vault *v);
const char *vault_machine_id(const struct vault *v); /* of this machine; "" where it has none */

/* A sealed record as it is on disk; malloc'ed bytes. */
struct sealed {
	uint8_t *bytes;
	size_t len;
};
void sealed_free(struct sealed *s); /* frees bytes, zeroes s; NULL is fine */

/* The file name of a profile under the current name key. */
int vault_name(const struct vault *v, const char *profile, char ret[static SEAL_NAME_LEN + 1],
	struct pa_err *err);
int vault_seal(const struct vault *v, const char *profile, uint64_t generation, const void *plain,
	size_t len, struct sealed *ret, struct pa_err *err);
/* Wiping memory; one NUL follows. */
int vault_unseal(const struct vault *v, const struct sealed *s, char **ret, size_t *ret_len,
	uint64_t *ret_generation, struct pa_err *err);

/*
 * Calls each(arg, name, sealed, r, err) for every record: r 0 and bytes that each may keep (zeroing
 * *sealed), or r < 0 for a file that cannot be read. The name is the one that vault_name gives, also for a
 * record that an unfinished rekey has left under its old name; a record that is there under both is shown
 * once, the newer one.
 */
int vault_scan(struct vault *v,
	void (*each)(
		void *arg, const char *name, struct sealed *s, int r, const struct pa_err *err),
	void *arg, struct pa_err *err);

int vault_put_now(struct vault *v, const char *profile, const struct sealed *s, struct pa_err *err);
/* That it is absent is success. */
int vault_delete_now(struct vault *v, const char *profile, struct pa_err *err);
/* By file name, for what a rekey left over. */
int vault_delete_name_now(struct vault *v, const char *name, struct pa_err *err);

/* A job for the writer. The caller embeds or allocates it; s moves in and can be taken back in done. */
struct vault_job {
	struct write_job job;
	struct vault *v;
	char name[SEAL_NAME_LEN + 1];
	char old_name[SEAL_NAME_LEN + 1]; /* of an unfinished rekey; else empty */
	struct sealed sealed;             /* empty: delete the record */
	void (*done)(struct vault_job *j, int r, const struct pa_err *err);
	void *arg;
};
int vault_job_put(struct vault_job *j, struct vault *v, const char *profile, struct sealed *s,
	struct pa_err *err);
int vault_job_delete(struct vault_job *j, struct vault *v, const char *profile, struct pa_err *err);

/* Re-seals every record under a fresh root (docs/FORMAT.md "Rekey"); can be repeated after a crash. */
int vault_rekey(struct vault *v, struct pa_err *err);

/*
 * The intent journal: fixed-size rows, the newest per record name counts. A row says that a refresh of
 * `generation` spending the token with this HMAC was about to be sent. It is obsolete once the record's
 * generation is higher. Written and fdatasync'ed by the writer before the request leaves.
 */
enum intent_kind { INTENT_REFRESH = 1, INTENT_REPEAT = 2, INTENT_ANSWERED = 3 };
struct intent {
	char name[SEAL_NAME_LEN + 1]; /* the record */
	uint64_t generation;
	uint8_t spent[32]; /* HMAC-SHA256(journal key, refresh token); a rekey does not change it */
	int64_t at_ms;     /* wall clock */
	enum intent_kind kind;
};
int vault_intent(const struct vault *v, const char *profile, uint64_t generation, const void *token,
	size_t token_len, int64_t now_ms, enum intent_kind kind, struct intent *ret,
	struct pa_err *err);
/* Stands for a token in a record: 16 hex digits of the same HMAC, the same for the life of the store. */
int vault_proof(const struct vault *v, const void *token, size_t token_len, char ret[static 17],
	struct pa_err *err);
struct intent_job {
	struct write_job job;
	struct vault *v;
	struct intent intent;
	size_t slot; /* where its row goes: the vault's own */
	uint64_t sequence;
	void (*done)(struct intent_job *j, int r, const struct pa_err *err);
	void *arg;
};
/* Call it in the order in which the jobs are added. -ENOMEM, or -EINVAL for a name that is none. */
int intent_job_init(struct intent_job *j, struct vault *v, const struct intent *i);
/* The newest row of each name, as vault_open found them (and as jobs added since). Valid until the next
 * intent_job_init. Names are those that vault_name gives, also while a rekey is unfinished. */
const struct intent *vault_intents(const struct vault *v, size_t *ret_count);

#endif
