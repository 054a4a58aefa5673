/*
 * link - which entries of other tools' files a record is one family of tokens with, and the rules for
 * believing such a file.
 *
 * Pure: works on records, no I/O, no clock. What a record remembers for it:
 *
 *   "links":[{"tool":"pi","path":"/home/a/.pi/agent/auth.json","name":"anthropic","lane":"oauth",
 *             "state":"on|off|taken","note":"...","proof":HEX}]
 *   "known":HEX...   of the refresh tokens this family has had, newest last, LINK_KNOWN_MAX at most
 *   "kept":{...}     the login as it was before one was adopted from a file; there until the adopted one has
 *                    refreshed once ("adopted" = kept is there)
 *
 * A proof stands for a token: the first 8 bytes of its HMAC (vault_proof), as 16 hex digits.
 */
#ifndef PIAUTH_LINK_H
#define PIAUTH_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "provider.h"
#include "record.h"

#define LINK_MAX       16 /* per record */
#define LINK_KNOWN_MAX 64
#define LINK_PROOF_LEN 16   /* hex digits */
#define LINK_PATH_MAX  1024 /* bytes: a record has to hold LINK_MAX of them beside its credentials */
#define LINK_TEXT_MAX  255  /* of a tool, a name, a note */

enum link_state {
	LINK_ON,    /* oauth: kept in step; api_key: where it was imported from */
	LINK_OFF,   /* not any more: logged out here, or the file holds somebody else's login */
	LINK_TAKEN, /* piauth removed the secret from the file (take-over) */
};
const char *link_state_name(enum link_state s); /* "on", "off", "taken" */

struct link { /* strings are the record's */
	const char *tool, *path, *name;
	enum lane lane;
	enum link_state state;
	const char *note;  /* "" or one line about what is wrong with it */
	const char *proof; /* OFF: of the credential that is not wanted any more; "" else */
};

/* The i-th link; false behind the last. Malformed ones are skipped by none: record_parse has checked them. */
bool link_at(const struct record *r, size_t i, struct link *ret);
/* Whether "links", "known" and "kept" have the right types; for record_parse. */
bool link_is_valid(const cJSON *record_root);
/* Adds one, or changes the one with the same path and name (*l may be what link_at gave). -E2BIG (TOO_BIG)
 * beyond the limits, BAD_INPUT for what is no link; then nothing has changed. */
int link_set(struct record *r, const struct link *l, struct pa_err *err);
/* All links of the lane (LANE_NONE: of all) that are ON become OFF, with this proof: what logout does. */
int link_off(struct record *r, enum lane lane, const char *proof, struct pa_err *err);
/* Forgets links and known: they mean nothing on another machine or in another store. */
void link_forget(struct record *r);

/* Outlives the login: a token of an earlier family is a spent one, whoever brings it back. */
bool link_knows(const struct record *r, const char *proof);
/* Makes it the newest; the oldest beyond LINK_KNOWN_MAX go. */
int link_remember(struct record *r, const char *proof, struct pa_err *err);

/* The kept login, or NULL: nothing was adopted. */
const cJSON *link_kept(const struct record *r);
/*
 * Makes entry (taken, also on failure) the oauth lane; what was there becomes the kept one unless one is. Its
 * token counts as issued now_ms where it does not say when ("refreshed"). Links stay; dead is forgotten;
 * the caller remembers the proof.
 */
int link_adopt(struct record *r, cJSON *entry, int64_t now_ms, struct pa_err *err);
/* The adopted login is proved. */
void link_drop_kept(struct record *r);
/* The adopted login is refused: the kept one is the lane again. NO_KEY if none is kept. */
int link_restore_kept(struct record *r, struct pa_err *err);

enum link_verdict {
	LINK_SAME,  /* the pair that we have */
	LINK_NEWER, /* to be adopted */
	LINK_OLD,   /* a pair we had before, or one that expired before ours was issued: a backup */
	LINK_OTHER_ACCOUNT, /* somebody else's login */
	LINK_UNUSABLE,      /* no refresh token, or not an OAuth entry */
};
/*
 * What to make of the entry in the file. proof: of its refresh token. skew_ms: by how much the tool's
 * "expires" is earlier than the token's. account_here and account_there: NULL
 * where unknown. Its "expires" can make a pair old, never newer; it has to be exact: where a tool subtracts
 * something (expires_skew_s), that has been added again.
 */
enum link_verdict link_judge(const struct record *r, const cJSON *entry, const char *proof,
	const char *account_here, const char *account_there, int64_t skew_ms);
const char *link_verdict_note(enum link_verdict v); /* "" for SAME and NEWER; else one line */

#endif
