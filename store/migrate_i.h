/*
 * migrate_i - what the files of the import share: migrate.c (runs, and what is remembered of them),
 * migrate_command.c (what was asked for), migrate_scan.c (the look at everything), migrate_decide.c (what
 * becomes of an entry), migrate_files.c (take-over, give-back), migrate_report.c (the report).
 *
 * One run at a time. It waits for one thing at a time: a message of the process at the files (run->call), or
 * a commit or job of ours (m->wait). Secrets of files are in the messages that were kept (wiping memory)
 * and go entry by entry, as they are decided. Threads: one.
 */
#ifndef PIAUTH_MIGRATE_I_H
#define PIAUTH_MIGRATE_I_H

#include "broker_i.h"
#include "link.h"

#define MIGRATE_SILENCE_MS 5000  /* of the process that looks at files */
#define MIGRATE_SILENT_MAX 8     /* files that do not answer; then the look is given up */
#define MIGRATE_WAIT_MS    30000 /* for the lock of a tool that is at work */
#define MIGRATE_WRITE_MS   20000 /* for a change of a file: some tools have another lock for that */
#define MIGRATE_FOUND_MAX  10000 /* entries of one look, and what they may take in memory */
#define MIGRATE_BYTES_MAX  (16 * 1024 * 1024)
#define MIGRATE_SLICE      16 /* entries in a row that need no disk; then readers get their turn */
#define COMMAND_MAX        (16 * 1024) /* bytes */

#define REPORT_ROWS_MAX 1000
#define REPORT_TEXT_MAX (96 * 1024) /* so that it fits into a sealed record */

enum migrate_state { MIGRATE_PENDING, MIGRATE_MIGRATED, MIGRATE_SKIPPED, MIGRATE_NOT_NEEDED };

enum decision {
	DECISION_IMPORTED,
	DECISION_ALREADY_THERE,
	DECISION_NEWER_HERE,
	DECISION_NEWER_THERE,
	DECISION_REFUSED,
	DECISION_TAKEN,
	DECISION_GIVEN_BACK,
	DECISION_FAILED,
};

/* ---- migrate_report.c ---- */

struct report {
	cJSON *files, *entries; /* owned */
	size_t len;             /* of their text, about */
	size_t n;               /* rows of both */
	uint64_t more;          /* that are not in it */
};
int report_new(struct report *rp, struct pa_err *err);
void report_done(struct report *rp);
/* Anything may be NULL but tool, path and state; offset < 0: none. What does not fit is counted. */
void report_file(struct report *rp, const char *tool, const char *path, const char *state,
	const char *reason, int64_t offset);
void report_entry(struct report *rp, const char *tool, const char *path, const char *name,
	const char *profile, const char *lane, enum decision decision, const char *reason);
const char *migrate_state_name(enum migrate_state s);
bool migrate_state_parse(const char *text, enum migrate_state *ret);
/* The whole; takes what is in rp. error: why the run did not come to its end; NULL or "": it did. */
int report_close(struct report *rp, const char *state, const char *command, bool dry_run,
	int64_t at_ms, const char *error, cJSON **ret, struct pa_err *err);
/* The record that remembers a report, and back; the caller's. */
int report_to_record(
	const cJSON *report, uint64_t generation, char **ret, size_t *ret_len, struct pa_err *err);
int report_from_record(
	const char *text, size_t len, cJSON **ret, uint64_t *ret_generation, struct pa_err *err);

/* ---- the run ---- */

enum migrate_verb { MIGRATE_NOW, MIGRATE_SKIP, MIGRATE_TAKE_OVER, MIGRATE_GIVE_BACK };

struct migrate;

/* What a run waits for here: the argument of a commit or job. Freed when that ends; m NULL: nobody waits. */
struct migrate_wait {
	struct migrate *m;
	struct write_job nap;
	struct vault_job save;
};

/* An entry that was found; strings are the message's. */
struct found {
	cJSON *message; /* owned; the secret is in it */
	const char *tool, *path, *name, *provider, *part, *refused;
	bool linkable;
	/* migrate_decide.c */
	const struct provider *known; /* NULL: a custom provider */
	enum lane lane;
	cJSON *entry; /* as it would be stored; owned */
	char proof[LINK_PROOF_LEN + 1];
	char target[PROFILE_ID_MAX + 1]; /* the profile that is tried */
	bool second;                     /* it is the tool's own one */
	bool others;                     /* the target's login is another tool's */
	enum decision decision;
	char reason[160];
};

/* A record as a dry run has changed it. */
struct imagined {
	char *profile;
	struct record record;
};

/* A linked credential that is to be taken from its file, or given back. */
struct transfer {
	char *profile, *tool, *path, *name;
	enum lane lane;
	cJSON *entry; /* that the file has; owned */
	bool asked;   /* the process is at it */
	bool over;    /* it is decided */
	char *expect; /* the token that is in the file and may go; wiping memory */
	char reason[160];
};

struct run {
	struct migrate *m;
	enum migrate_verb verb;
	bool dry;
	bool backup;
	char *from;          /* NULL: everywhere */
	cJSON *names;        /* array of canonical names; empty: all */
	char *command;       /* as the report says it */
	broker_done_fn done; /* NULL: nobody waits */
	void *arg;

	struct report report;
	struct legacy_call *call;
	bool failed;
	struct pa_err err;

	/* looking */
	bool looked; /* the look came to its end */
	char *looking_tool, *looking_path;
	cJSON *skip;   /* paths that do not answer */
	cJSON *silent; /* what is reported of them: array of {tool,path,reason} */
	uint64_t lost; /* entries that were too many */

	/* deciding */
	struct found *found;
	size_t nfound, found_room, found_bytes;
	size_t at; /* the one that is decided */
	unsigned slice;
	cJSON *brought; /* profile -> {lane: tool} that this run has imported */
	struct imagined *imagined;
	size_t nimagined;

	/* moving */
	struct transfer *transfer;
	size_t ntransfer, group, group_end; /* those of one file; at: the one under way */
	bool opened;
	char refusal[160]; /* why nothing can be done with this file; "": it can */
};

struct migrate {
	struct broker *b;
	enum migrate_state state;
	cJSON *report; /* the last one; NULL: there is none */
	uint64_t generation;
	bool lost;      /* what was decided could not be read */
	bool importing; /* the run is the start's */
	bool stepping;  /* run_step is on the stack */
	struct run *run;
	struct migrate_wait *wait;
};

/* migrate.c */
void run_free(struct run *run);
/* Goes on with the run as long as nothing has to be waited for. */
void run_step(struct migrate *m);
void run_fail(struct run *run, const struct pa_err *err);
/* The argument for a commit: run_waited gives it back when that ends, NULL if nobody waits any more. */
struct migrate_wait *run_wait(struct run *run);
struct run *run_waited(struct migrate_wait *w);
/* Takes a message from the run's process, or its end. */
int run_call(struct run *run, const cJSON *request, int64_t silence_ms,
	const struct legacy_handler *handler, struct pa_err *err);
void run_hang_up(struct run *run);
/* The names of the command as the run matches them: a profile, or all of a provider. */
bool run_wants(const struct run *run, const char *profile);

/* migrate_command.c */
/* broker_migrate's text; the run has not begun. */
int run_new(struct migrate *m, const char *text, size_t len, struct run **ret, struct pa_err *err);

/* migrate_scan.c */
void scan_start(struct run *run);
void found_done(struct found *f);

/* migrate_decide.c */
/* Begins to decide the entry at run->at; when it is decided run->at is the next one. */
void decide_next(struct run *run);
void decide_done(struct run *run);

/* migrate_files.c */
int transfers_collect(struct run *run, struct pa_err *err);
/* Whether the run has to wait for the process. */
bool transfers_wait(const struct run *run);
/* Goes on with the files; false: all are done. */
bool transfers_next(struct run *run);
void transfers_done(struct run *run);

#endif
