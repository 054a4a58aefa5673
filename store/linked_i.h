/*
 * linked_i - what linked.c (files that are watched) and linked_tx.c (files opened for a refresh) share: one
 * reading of linked files, and what it does to the records (linked_read.c).
 */
#ifndef PIAUTH_LINKED_I_H
#define PIAUTH_LINKED_I_H

#include "broker_i.h"
#include "link.h"

#define LINKED_SILENCE_MS 5000  /* beyond a lock's wait: a file system that takes longer hangs */
#define LINKED_WAIT_MS    2000  /* one wait for a lock; more are asked for one after the other */
#define LINKED_LOCK_MS    45000 /* in all: longer than a dead holder's lock stays fresh */

enum linked_find {
	LINKED_UNKNOWN,        /* nothing was said about it */
	LINKED_ENTRY,          /* it is in the file */
	LINKED_GONE,           /* the file is whole and has no such entry */
	LINKED_NO_FILE,        /* absent, unreadable, corrupt */
	LINKED_UNUSABLE_ENTRY, /* something else stands under this name */
};

/* One linked entry of one profile, and what the file says about it. */
struct linked_row {
	uint64_t profile; /* its id: profiles come and go while a file is looked at */
	char *tool, *path, *name;
	enum linked_find find;
	bool sure; /* what was read is not half of a change: under the lock, if the tool has one */
	bool torn; /* the file is not JSON now; maybe somebody is writing it */
	char reason[160];  /* of NO_FILE and UNUSABLE_ENTRY, and of a failed write */
	cJSON *entry;      /* of ENTRY; owned */
	bool mine;         /* the link is on and the entry is not somebody else's: may be written */
	const char *wrote; /* the result of a write: "written", ...; NULL: none was tried */
};

struct linked_read {
	struct broker *b;
	struct linked_row *row;
	size_t n;
	bool locked; /* locks were asked for */
	bool busy;   /* one could not be had */
};

/* Adds the links of p that are ON, of its OAuth lane; path NULL: all, else those into this file. */
int linked_read_add(
	struct linked_read *lr, struct profile *p, const char *path, struct pa_err *err);
void linked_read_done(struct linked_read *lr);
/* The "open" request for all rows; forgets what was found before. */
cJSON *linked_read_request(struct linked_read *lr, bool lock, int64_t wait_ms);
/* Takes in a "file" or "entry" message. */
void linked_read_message(struct linked_read *lr, const cJSON *message);
/* The last one, "opened", has come. */
void linked_read_complete(struct linked_read *lr);
/* Notes for whatever was not told of why it could not be had; *ret_err (may be NULL): the same, with a path. */
void linked_read_silent(struct linked_read *lr, const struct pa_err *why, struct pa_err *ret_err);
/* Some entry has vanished from its file, but the reading was not sure enough for a logout. */
bool linked_read_is_doubtful(const struct linked_read *lr);

enum linked_outcome { LINKED_AS_BEFORE, LINKED_ADOPTED, LINKED_LOGGED_OUT };

/*
 * Makes the findings about p part of its record: adopts a newer pair, forgets a login that vanished from its
 * last file, switches links off, keeps notes. lr stays the caller's until done was called.
 */
struct linked_findings {
	struct linked_read *lr;
	struct profile *p;
	bool wrote; /* only the results of writing are to be noted */
	enum linked_outcome outcome;
	bool heal; /* a file holds an older pair of ours, which its tool must not spend */
	void (*done)(struct linked_findings *f); /* on the loop, maybe at once */
	void *arg;
};
void linked_settle(struct linked_findings *f);

struct linked_file; /* linked.c */
struct linked_tx;   /* linked_tx.c */

struct linked {
	struct broker *b;
	int epoll_fd;
	int wake_fd; /* readable: the set of files may have changed */
	struct linked_file *files;
	struct linked_tx *txs;
};

/* Writes the login as it is now into its files: one of them has an older pair. In the background. */
void linked_heal(struct profile *p);

/* For unfinished transactions, when the broker ends. */
void linked_tx_free_all(struct linked *l);

#endif
