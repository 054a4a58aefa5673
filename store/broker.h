/*
 * broker - THE interface between the file system and the credentials.
 *
 * It resolves names to profiles, hands out values that are fresh, lets readers wait while one refresh
 * per credential runs, takes new credentials durably, forgets them, and reports. fs calls the broker,
 * never the reverse (but for the completion callbacks given with each call), and never past it.
 *
 * One thread, no blocking: everything that waits for network, disk or time runs behind broker_fd();
 * when that descriptor is readable call broker_dispatch(). Times: *_ms with "wall" are ms since the epoch,
 * with "boot" CLOCK_BOOTTIME ms.
 */
#ifndef PIAUTH_BROKER_H
#define PIAUTH_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "err.h"
#include "eventlog.h"
#include "legacy.h"
#include "provider.h"
#include "record.h"
#include "secret.h"
#include "vault.h"

struct broker;
struct profile; /* a directory of the mount: provider, or provider@name */

struct broker_clock { /* tests put their own in */
	int64_t (*wall_ms)(void *arg);
	int64_t (*boot_ms)(void *arg);
	void *arg;
};

struct broker_options {
	struct vault *vault;                    /* borrowed */
	const struct provider_table *providers; /* borrowed */
	const struct config *config;            /* borrowed */
	const struct broker_clock *clock;       /* NULL: the system's */
	const struct legacy_spawn *legacy; /* copied; NULL: other tools' files are left alone */
	bool import; /* nobody has decided about other tools' logins yet: import them at the start */
};

/* Reads every record (blocks: disk); a record that does not open is reported in status and kept. */
int broker_new(const struct broker_options *o, struct broker **ret, struct pa_err *err);
/* Waits for the disk jobs under way; exchanges under way get up to drain_ms, then are given up (their
 * intent stays in the journal). Readers still parked get INTERRUPTED. */
void broker_free(struct broker *b, int64_t drain_ms);
int broker_fd(const struct broker *b);
void broker_dispatch(struct broker *b);
int64_t broker_wall_ms(const struct broker *b);

/* ---- names ---- */

enum broker_name {
	BROKER_NAME_NONE,    /* no such thing */
	BROKER_NAME_PROFILE, /* the canonical spelling: *ret_profile */
	BROKER_NAME_ALIAS,   /* another spelling of *ret_profile: alias, letter case, ":" for "@" */
};
/* Resolving known@name makes a profile in memory that goes away with its last reference, unless
 * something is stored. Never touches network or disk. */
enum broker_name broker_resolve(struct broker *b, const char *name, struct profile **ret_profile);
/* Profiles carry an id that inode numbers are made of: 1..2^55-1, the same for the same name in every
 * run; custom providers and named profiles get another one when they are made again. */
struct profile *broker_by_id(struct broker *b, uint64_t id); /* NULL if there is none (any more) */
uint64_t profile_id(const struct profile *p);
const char *profile_name(const struct profile *p);
const struct provider *profile_provider(const struct profile *p);
bool profile_is_permanent(const struct profile *p); /* a known provider's default profile */
void profile_hold(struct profile *p, uint64_t n);
void profile_drop(struct profile *p, uint64_t n); /* may free p */

/* Profiles that hold a credential or were made by mkdir, in byte order of their names: the next one
 * after `after` (NULL: the first); NULL at the end. */
struct profile *broker_next(struct broker *b, const char *after);

typedef void (*broker_done_fn)(void *arg, int r, const struct pa_err *err);
/* mkdir of a custom provider or named profile; done when durable. The profile is not held. */
void broker_make(struct broker *b, const char *name, broker_done_fn done, void *arg);
/* rmdir: EBUSY for permanent ones (r -EBUSY), -ENOTEMPTY while a credential is stored.
 * When it is done every reference to the profile is void and broker_by_id does not find it any more. */
void broker_remove(struct broker *b, struct profile *p, broker_done_fn done, void *arg);

/* ---- reading ---- */

enum broker_what { BROKER_KEY, BROKER_HEADER, BROKER_ENV };

struct broker_value {
	struct secret *bytes; /* the receiver's reference */
	uint64_t generation;
};

/* A reader that waits. Embedded in the caller's request; untouched by the caller while it waits. */
struct broker_wait {
	struct broker_wait *next, *prev;
	struct profile *profile;
	enum broker_what what;
	bool join; /* in the list of those who wait a little and then take the old token */
	int64_t until_boot_ms;
	/* Called once, on the loop, unless cancelled. v NULL: err says why. It must not read this
	 * profile again before it returns. */
	void (*done)(struct broker_wait *w, struct broker_value *v, const struct pa_err *err);
};

/*
 * A value that is fresh by the rule "When to refresh" (the head of read.c).
 * Returns 0 with *ret filled; 1 when the reader must wait (w is then the broker's until done or
 * broker_cancel; BROKER_ENV never waits); or -errno with *err.
 */
int broker_read(struct broker *b, struct profile *p, enum broker_what what, struct broker_wait *w,
	struct broker_value *ret, struct pa_err *err);
void broker_cancel(struct broker *b, struct broker_wait *w); /* the refresh goes on */
/* Length of the value now, without reading it: st_size. 0 when there is none. */
size_t broker_size(struct broker *b, struct profile *p, enum broker_what what);

/* ---- small facts; all from memory ---- */

struct profile_facts {
	bool stored; /* a credential is stored */
	bool has_api_key;
	bool has_oauth;
	enum lane serving; /* what key serves; LANE_NONE: nothing */
	enum mode mode;
	uint64_t generation;     /* 0: never had a credential */
	int64_t expires_wall_ms; /* 0: does not expire or nothing there */
	int64_t changed_wall_ms; /* for mtime */
	const char *account;     /* borrowed until the next call into the broker; NULL: unknown */
	const char *base_url;    /* the same; NULL: none */
	bool base_url_writable;
};
void broker_facts(struct broker *b, struct profile *p, struct profile_facts *ret);
/* JSON text for wipe_free; NULL on no memory. No secret in any of them. */
char *broker_status(struct broker *b, struct profile *p);
char *broker_overview(struct broker *b);
char *broker_metrics(struct broker *b); /* Prometheus text exposition format */
const struct eventlog *broker_events(const struct broker *b);

/* ---- writing ---- */

struct broker_input; /* one open of api-key or oauth for writing */

int broker_input_new(struct broker *b, struct profile *p, enum lane lane, struct broker_input **ret,
	struct pa_err *err);
/* One write(2): validates all that this open has sent, makes it durable as pending, then calls done (maybe
 * before it returns). At most one call under way per input (the kernel serialises; the caller queues). After
 * a failed write the open publishes nothing any more. bytes are copied before it returns. */
void broker_input_write(
	struct broker_input *in, const char *bytes, size_t len, broker_done_fn done, void *arg);
/* FLUSH: what is pending becomes what is served. Incomplete input: BAD_INPUT. */
void broker_input_flush(struct broker_input *in, broker_done_fn done, void *arg);
/*
 * An open that an earlier process had: `sent` is what broker_input_sent said there. What was acknowledged
 * then was published when the store was loaded; a write that goes on with it works for a key that is still
 * the stored one. Where that cannot be told, and for logins, further writes fail (STORE_IO, EIO) and publish
 * nothing; flush and release succeed. A write that was stored and not acknowledged may come again; with
 * `unanswered`, the last one that is part of `sent` comes again.
 */
void broker_input_resume(struct broker_input *in, uint64_t sent, bool unanswered);
#define BROKER_INPUT_LOST UINT64_MAX
/* Bytes acknowledged since the open or the reset; BROKER_INPUT_LOST when nothing more can come of it. */
uint64_t broker_input_sent(const struct broker_input *in);
/* ftruncate(fd, 0): what is written next starts anew; what was acknowledged stays until then. */
void broker_input_reset(struct broker_input *in);
void broker_input_free(
	struct broker_input *in); /* RELEASE: flushes first; may outlive the call inside */

/* rm: LANE_NONE forgets every lane. Done when durable; forgetting nothing is success. */
void broker_forget(
	struct broker *b, struct profile *p, enum lane lane, broker_done_fn done, void *arg);
void broker_set_mode(struct broker *b, struct profile *p, const char *text, size_t len,
	broker_done_fn done, void *arg);
void broker_set_base_url(struct broker *b, struct profile *p, const char *text, size_t len,
	broker_done_fn done, void *arg);
/* The refresh node: a rejected token, or its generation number. Returns at once: 0 or -errno; readers
 * that come after it wait for the new token. */
int broker_report_rejected(
	struct broker *b, struct profile *p, const char *text, size_t len, struct pa_err *err);

/* ---- the files of other tools ---- */

/*
 * One command, with what follows it separated by blanks:
 *   now                         look at everything, import what is new
 *   dry-run                     the same, changes nothing
 *   from PATH                   now, from this file or directory only; "dry-run from PATH"
 *   skip                        decide against importing (it can be done later all the same)
 *   take-over [backup] [NAME..] remove the secrets from the files they were imported from
 *   give-back [NAME..]          write them there again
 * NAME: a profile, or a provider (all its profiles). Done when all of it is; then the report tells. BUSY
 * while another one runs; BAD_INPUT for what is none of these.
 */
void broker_migrate(struct broker *b, const char *text, size_t len, broker_done_fn done, void *arg);
/* The last report as JSON text (docs/NAMESPACE.md, .piauth/migrate); for wipe_free, NULL on no memory. */
char *broker_migrate_report(struct broker *b);
/* The import of the start is under way: whoever waits for the logins to be there should wait. */
bool broker_is_importing(const struct broker *b);

#endif
