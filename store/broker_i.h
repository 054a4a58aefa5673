/*
 * broker_i - what the files of the broker share. Only broker.c, profile.c, facts.c, commit.c, read.c,
 * refresh*.c, input.c, report.c, linked*.c, migrate*.c and timers.c include it.
 *
 * A profile has one truth: the sealed record in p->sealed, and p->facts derived from it without a secret.
 * The truth changes only in commit.c, one commit at a time per profile, so a change is always made to
 * the newest record. Everything that depends on time is decided in profile_step (read.c), which every
 * event ends in and which sets the profile's one timer.
 */
#ifndef PIAUTH_BROKER_I_H
#define PIAUTH_BROKER_I_H

#include <string.h>

#include "broker.h"
#include "oauth/http.h"
#include "oauth/token.h"

#define JOIN_MS            3000 /* a reader whose token still lives waits this long at most */
#define BACKOFF_MIN_MS     1000 /* after the first failure; doubles */
#define BACKOFF_MAX_MS     (5 * 60000)
#define RETRY_AFTER_MAX_MS (60 * 60000) /* a Retry-After beyond this is not believed */
#define SAVE_RETRY_MS      1000         /* a record that could not be written is tried this often */
#define REPORT_AGE_MS      10000 /* unknown text in `refresh` counts for generations older than this */
#define MARGIN_MS          (10 * 60000)
#define HARD_MS            30000
#define CACHE_MAX \
	(SECRET_HEAP / 2) /* of the heap, for values that are kept; the rest is for readers */
#define NEVER INT64_MAX
#define WHATS 3 /* enum broker_what */

/* What follows from a record; no secret in it. */
struct facts {
	bool stored, has_api_key, has_oauth;
	enum mode mode;
	enum lane lane;   /* the stored lane that is served; LANE_NONE: none is */
	size_t value_len; /* of the served key or access token */
	uint64_t generation;
	int64_t expires_ms;   /* wall; 0: never (static key) */
	int64_t refreshed_ms; /* wall, when the token was issued; 0: unknown */
	int64_t changed_ms;
	bool can_refresh; /* the served lane is OAuth and has what a refresh needs */
	bool foreign;     /* rotating login of another machine's store */
	bool moved;
	bool adopted;   /* from a linked file, and not proved by a refresh yet */
	unsigned links; /* linked entries of files that are kept in step */
	bool dead;
	struct pa_err dead_why;
	int64_t dead_ms;
	uint32_t incarnation;
	char *account;
	char *base_url;
	char *links_text; /* for status; NULL: there never was one */
};

enum refresh_phase {
	REFRESH_IDLE,
	REFRESH_FILES,    /* the files it is shared with are being locked and read */
	REFRESH_JOURNAL,  /* the intent is being made durable */
	REFRESH_EXCHANGE, /* the request is out */
	REFRESH_SAVE,     /* the answer, or the refusal, is being made durable */
};

/* One refresh under way; freed when it ends. */
struct refresh {
	struct profile *p;
	enum refresh_phase phase;
	enum intent_kind kind;
	struct intent_job intent;
	struct secret *spent; /* the refresh token that is sent; NULL for client credentials */
	uint64_t generation;  /* of the record it was read from */
	int64_t sent_wall_ms;
	struct exchange *exchange;
	struct linked_tx *files; /* NULL: it is shared with none, or they cannot be had */
	bool looked_again;       /* after a refusal: nothing newer is in the files */
	bool dropped;            /* the answer came too late: another login is there */
	struct pa_err why;       /* of a refusal that is being made durable */
};

struct wait_list {
	struct broker_wait *head, *tail;
};

struct profile {
	struct broker *b;
	char *name;
	const struct provider *provider;
	struct provider *custom; /* owned, for providers made by mkdir */
	uint64_t id;
	uint64_t refs;
	bool permanent;
	bool listed; /* a record exists: stored, made, or settings only */
	bool indexed;

	struct sealed sealed; /* the published record; no bytes: none */
	struct facts facts;
	struct pa_err broken; /* code set: the record on disk did not open */

	struct secret *value[WHATS]; /* rendered for the current generation */
	struct profile *lru_prev, *lru_next;
	size_t cached;

	struct wait_list joiners, waiters;
	struct refresh *refresh;
	bool read_since;  /* the current generation has been read */
	bool rejected;    /* somebody reported the current token as rejected */
	bool lost_answer; /* a refresh may have been taken by the provider, the answer never came */
	bool unsaved;     /* a rotated login is in memory only */
	bool dirty;       /* the disk must be written again */
	unsigned failures;
	int64_t retry_boot_ms; /* no refresh before; 0: at once */
	int64_t save_boot_ms;
	struct pa_err last_error; /* code PA_NONE: none */
	int64_t last_error_ms;

	struct commit *commits; /* queue; the head is under way */
	struct commit **commits_tail;
	struct broker_input *inputs; /* open for writing */

	int64_t wake_boot_ms; /* NEVER: no timer */
	size_t heap_index;    /* in the timer heap, from 1; 0: not in it */
};

enum commit_kind {
	COMMIT_SAVE,    /* durable, then published; on failure nothing has changed */
	COMMIT_PUBLISH, /* published at once (it is durable as pending), then tidied on disk */
	COMMIT_KEEP,    /* published even if it cannot be made durable: what a refresh brought */
};

struct commit {
	struct commit *next;
	struct profile *p;
	enum commit_kind kind;
	bool bump;     /* a new generation */
	bool deletes;  /* the record goes away altogether, and the profile with it */
	bool forgets;  /* when the disk is full, deleting the record does as well */
	bool replaces; /* may take the place of a record that did not open */
	/* Changes the record; -ECANCELED: nothing to do, which is success. */
	int (*apply)(struct commit *c, struct record *r, struct pa_err *err);
	void (*done)(struct commit *c, int r, const struct pa_err *err); /* before it is freed */
	void *arg;
	cJSON *entry; /* owned */
	enum lane lane;
	enum mode mode;
	char *text; /* owned */
	broker_done_fn user_done;
	void *user_arg;
	/* commit.c's own */
	struct facts facts;
	struct sealed sealed;
	struct vault_job job;
	bool published;
	bool deleting; /* the job under way is a deletion */
};

struct profile_index {
	struct profile **v;
	size_t n, room;
};

struct counters {
	uint64_t reads, reads_waited, reads_failed;
	uint64_t refreshes, refreshes_failed, repeats;
	uint64_t saves, saves_failed;
	uint64_t waiting; /* now */
	uint64_t broken_records;
};

struct broker {
	struct vault *vault;
	const struct provider_table *providers;
	const struct config *config;
	struct broker_clock clock;
	struct writer *writer;
	struct http *http;
	struct legacy *legacy;   /* NULL: other tools' files are left alone */
	struct linked *linked;   /* linked.c; NULL with legacy */
	struct migrate *migrate; /* migrate.c */
	int epoll_fd, timer_fd, jump_fd;
	int64_t timer_boot_ms; /* what timer_fd is set to; NEVER: off */
	bool timers_running;   /* one arming at the end is enough */
	struct profile_index by_name, by_id;
	struct profile **heap; /* heap[1..heap_n], by wake_boot_ms */
	size_t heap_n, heap_room;
	struct profile *lru_first, *lru_last; /* most recently used first */
	size_t cached;
	struct eventlog events;
	struct counters count;
	size_t busy; /* commits and refreshes under way */
	bool stopping;
};

static inline int64_t now_wall(const struct broker *b)
{
	return b->clock.wall_ms(b->clock.arg);
}
static inline int64_t now_boot(const struct broker *b)
{
	return b->clock.boot_ms(b->clock.arg);
}

/* facts.c */
void facts_done(struct facts *f);
int facts_of(
	const struct profile *p, const struct record *r, struct facts *ret, struct pa_err *err);
/* The account an OAuth entry says it belongs to; NULL: it does not say. malloc'ed. _as: said in this way. */
enum account_kind { ACCOUNT_MEMBER, ACCOUNT_CLAIM, ACCOUNT_EMAIL };
#define ACCOUNT_KINDS 3
char *account_as(enum account_kind kind, const struct provider *provider, const cJSON *entry);
char *account_of(const struct provider *provider, const cJSON *entry);
/* Opens the truth; a new record where there is none. */
int profile_open(const struct profile *p, struct record *ret, struct pa_err *err);

/* profile.c */
int profile_make(struct broker *b, const char *name, const struct provider *provider,
	uint32_t incarnation, struct profile **ret, struct pa_err *err);
struct profile *profile_by_name(struct broker *b, const char *name);
/* For another making of a custom or named profile; never 0. */
uint32_t profile_incarnation(void);
void profile_unindex(struct profile *p);
void profile_release(struct profile *p); /* frees it if nothing needs it any more */
void profiles_free(struct broker *b);
/* Replaces truth and facts; forgets rendered values. Takes both. */
void profile_publish(struct profile *p, struct sealed *s, struct facts *f);

/* load.c */
int profiles_load(struct broker *b, struct pa_err *err);

/* value.c */
/* The rendered value, from the cache or made now; a reference for the caller. */
int profile_value(
	struct profile *p, enum broker_what what, struct secret **ret, struct pa_err *err);
void profile_forget_values(struct profile *p);
/* The daemon's environment variable that serves when nothing is stored; NULL: none. Borrowed. */
const char *profile_env(const struct profile *p, const char **ret_name);
enum lane profile_serving(const struct profile *p);

/* commit.c */
struct commit *commit_new(struct profile *p, enum commit_kind kind,
	int (*apply)(struct commit *c, struct record *r, struct pa_err *err), broker_done_fn done,
	void *arg);
void commit_start(struct commit *c); /* takes c */
void profile_save_again(struct profile *p);

/* input.c */
void profile_clean_slate(struct profile *p); /* a login starts with one; so does a logout */

/* read.c */
void profile_step(struct profile *p);
void profile_answer(struct profile *p, const struct pa_err *err); /* wakes everybody who waits */
/* What they waited for was another login's: the login that is there now is refreshed if need be. */
void profile_wait_again(struct profile *p);
/* Ends every wait with err, whatever there is to give. */
void profile_abort_waits(struct profile *p, const struct pa_err *err);

/* refresh.c */
bool refresh_allowed(const struct profile *p, struct pa_err *why);
void refresh_start(struct profile *p);
void refresh_abandon(struct profile *p); /* ends an exchange without anybody hearing of it */
/* for refresh_dead.c: */
/* The end, good (err NULL) or bad: everybody who waits hears of it. r is freed, here and in _dropped. */
void refresh_end(struct refresh *r, const struct pa_err *err);
/* A login or logout came meanwhile: what became of the old login is nobody's business any more. */
void refresh_dropped(struct refresh *r);
void refresh_back_off(
	struct profile *p, int64_t retry_after_s); /* -1: the provider named no time */
/* Whether the login that is being refreshed is the one in this record. */
bool refresh_still_there(const struct refresh *f, const struct record *r);
/* refresh_dead.c */
void refresh_dead(struct refresh *r); /* r->why says why */

/* linked.c: the files that logins are shared with */
int linked_new(struct broker *b, struct pa_err *err);
void linked_free(struct broker *b);
int linked_fd(const struct broker *b);
void linked_dispatch(struct broker *b);
/* The set of linked files may have changed: the new ones are looked at and watched, soon. */
void linked_watch(struct broker *b);
/* A refresh has ended: looks that were put off are made. */
void linked_resume(struct broker *b);

/* linked_tx.c: the files of one login, open while it is refreshed */
struct linked_tx;
/*
 * Opens the files that p's login is shared with, under their tools' locks, and settles what they say. done
 * comes later: err NULL, then the truth is as new as the files; or FILE_LOCKED, FILE_SILENT, FILE_UNUSABLE
 * (*torn: a file that may be half written was seen), and the transaction is open no more.
 */
int linked_open(struct profile *p, void (*done)(void *arg, bool torn, const struct pa_err *err),
	void *arg, struct linked_tx **ret, struct pa_err *err);
/* Writes the new login into the files and closes them; takes tx. entry is borrowed. */
void linked_write(struct linked_tx *tx, const cJSON *entry);
void linked_close(struct linked_tx *tx); /* gives the locks back; NULL is fine */
/* A login as other tools shall see it: `expires` by the provider's rule for files, never before half of
 * the token's life; without members of ours. The caller's. */
cJSON *linked_file_entry(const struct profile *p, const cJSON *entry, struct pa_err *err);

/* migrate.c: import, take-over, give-back, and what was decided */
int migrate_new(struct broker *b, bool import, struct pa_err *err);
void migrate_free(struct broker *b);
/* A record of ours that is no profile's, found when the store was loaded; takes text's meaning, not text. */
int migrate_load(struct broker *b, const char *text, size_t len, struct pa_err *err);
/* It was there and does not open: nothing is imported before somebody decides again. */
int migrate_lost(struct broker *b, struct pa_err *err);
#define MIGRATE_RECORD ".migrate" /* its name in the vault: no profile's name starts with a dot */

/* timers.c */
int timers_init(struct broker *b, struct pa_err *err);
void timers_done(struct broker *b);
void timer_set(struct profile *p, int64_t boot_ms); /* NEVER: off */
void timers_run(struct broker *b);

/* report.c */
void broker_event(
	struct broker *b, const struct profile *p, const char *what, const struct pa_err *err);
void profile_error(struct profile *p, const struct pa_err *err);

#endif
