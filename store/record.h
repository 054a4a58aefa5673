/*
 * record - one profile's stored credentials and what must be remembered with them.
 *
 * The plaintext of a sealed record is one JSON object; this module gives it types and keeps members it
 * does not know. The tree is in wiping memory and lives only while a record is changed or looked at.
 *
 *   {"format":1,"profile":"anthropic@work","generation":7,"machine":"...","incarnation":0,
 *    "mode":"auto","base_url":"...","last":"oauth","changed":MS,
 *    "api_key":{"type":"api_key","key":"...","set":MS},
 *    "oauth":{"type":"oauth","access":"...","refresh":"...","expires":MS,...,"refreshed":MS},
 *    "pending":{"api_key":{...},"oauth":{...},"machine":"..."},
 *    "dead":{"detail":"...","http_status":400,"at":MS},"moved":true,
 *    "links":[...],"known":[...],"kept":{...}}                                         (link.h)
 *
 * Times are ms since the epoch. Threads: any, no shared state.
 */
#ifndef PIAUTH_RECORD_H
#define PIAUTH_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "json.h"
#include "provider.h"

#define RECORD_KEY_MAX (16 * 1024) /* bytes of a key that can be stored */
#define RECORD_OAUTH_MAX \
	(24 * 1024) /* bytes of a JSON entry; a record can hold two (one pending) */

enum lane { LANE_NONE, LANE_API_KEY, LANE_OAUTH, LANE_ENV };
enum mode { MODE_AUTO, MODE_OAUTH, MODE_API_KEY, MODE_ENV };

struct record {
	cJSON *root;
};

int record_new(const char *profile, struct record *ret, struct pa_err *err);
/* STORE_CORRUPT for what is not a record or not of this profile (profile may be NULL). */
int record_parse(
	const char *text, size_t len, const char *profile, struct record *ret, struct pa_err *err);
void record_done(struct record *r);
#define RECORD_AUTO __attribute__((cleanup(record_done)))
/* Text in wiping memory. */
int record_format(const struct record *r, char **ret, size_t *ret_len, struct pa_err *err);

const char *record_profile(const struct record *r);
uint64_t record_generation(const struct record *r);
int record_set_generation(struct record *r, uint64_t generation, struct pa_err *err);
enum mode record_mode(const struct record *r);
int record_set_mode(struct record *r, enum mode mode, struct pa_err *err);

/* LANE_API_KEY or LANE_OAUTH: the entry in pi's auth.json format, or NULL. Borrowed. */
const cJSON *record_lane(const struct record *r, enum lane lane);
/* The lane that was set last of those that are there; LANE_NONE if none is. */
enum lane record_last(const struct record *r);
/* Takes entry (also on failure); makes the lane the last one. A login is a new family of tokens: dead, moved
 * and kept are forgotten, its lane's links (link.h) are off. */
int record_set_lane(
	struct record *r, enum lane lane, cJSON *entry, int64_t now_ms, struct pa_err *err);
/* The same without making it the last one: what a refresh does. Takes entry. */
int record_replace_lane(struct record *r, enum lane lane, cJSON *entry, struct pa_err *err);
/* Its links stay as they are (link_off). */
void record_drop_lane(struct record *r, enum lane lane);

/* Which machine's store the login belongs to; "" if it is bound to none. */
const char *record_machine(const struct record *r);
int record_set_machine(struct record *r, const char *machine, struct pa_err *err);
/* Exported with --move: another store refreshes this login now. */
bool record_moved(const struct record *r);
int record_set_moved(struct record *r, bool moved, struct pa_err *err);
/* Which making of a custom provider or named profile this is; 0 for permanent ones. */
uint32_t record_incarnation(const struct record *r);
int record_set_incarnation(struct record *r, uint32_t incarnation, struct pa_err *err);
const char *record_base_url(const struct record *r); /* NULL: not set */
int record_set_base_url(struct record *r, const char *url, struct pa_err *err);
int64_t record_changed_ms(const struct record *r);
int record_set_changed_ms(struct record *r, int64_t wall_ms, struct pa_err *err);
/* The provider refused the refresh token for good; of why, detail and http_status are kept. */
int record_set_dead(
	struct record *r, const struct pa_err *why, int64_t wall_ms, struct pa_err *err);
bool record_dead(const struct record *r, struct pa_err *ret_why, int64_t *ret_wall_ms);

/* A value that was acknowledged but not yet published: a write(2) before its flush. */
const cJSON *record_pending(const struct record *r, enum lane lane);
/* Takes entry (also on failure). machine: which one a login becomes bound to, as record_set_machine. */
int record_set_pending(
	struct record *r, enum lane lane, cJSON *entry, const char *machine, struct pa_err *err);
void record_drop_pending(struct record *r, enum lane lane);
/* Makes pending values the lanes; true if there was one. */
int record_adopt_pending(struct record *r, int64_t now_ms, bool *ret_any, struct pa_err *err);

const char *mode_name(enum mode m);
bool mode_parse(const char *text, size_t len, enum mode *ret);
const char *lane_name(enum lane lane); /* "none", "api_key", "oauth", "external" */

/*
 * What a user wrote, as an entry: a key (one line; trailing newline dropped; LANE_API_KEY) or a JSON entry
 * in pi's format (LANE_OAUTH input; its type decides *ret_lane). BAD_INPUT / TOO_BIG otherwise;
 * *ret_incomplete: the text may still become valid when more is written.
 */
int record_entry_from_text(enum lane lane, const char *text, size_t len, int64_t now_ms,
	enum lane *ret_lane, cJSON **ret, bool *ret_incomplete, struct pa_err *err);

#endif
