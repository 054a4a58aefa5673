/*
 * audit - one line for every open of a secret, granted or not.
 *
 * {"at":"2025-01-31T12:00:00.000Z","op":"open","node":"groq/key","uid":1000,"gid":1000,"pid":71,"tid":71,
 *  "exe":"/usr/bin/cat","cgroup":"/user.slice","result":"ok"}     result: "ok" or an errno's name.
 *
 * The newest lines are in memory (.piauth/audit), all of them go to <store>/audit.log (0600), which is
 * moved to audit.log.1 at AUDIT_FILE_MAX. A thread of its own writes the file: the loop never waits for
 * the disk. Lines are lost only when more than AUDIT_QUEUE_MAX waits for a disk that hangs, or in a
 * crash; the first is written down. Threads: one, but for the writer inside.
 */
#ifndef PIAUTH_AUDIT_H
#define PIAUTH_AUDIT_H

#include "caller.h"
#include "store/eventlog.h"

#define AUDIT_FILE_MAX  (8 * 1024 * 1024)
#define AUDIT_QUEUE_MAX (1024 * 1024)
#define AUDIT_BATCH     (32 * 1024) /* the writer is woken at once when this much waits */

struct audit;

struct audit_what {
	const char *op;      /* "open", "read", "write", "lookup", "unlink" */
	const char *profile; /* NULL: none, node is in the root */
	const char *node;    /* NULL: none */
	uid_t uid;
	gid_t gid;
	pid_t tid;
};

/* dirfd: the store's directory; the audit takes its own copy. */
int audit_new(int dirfd, struct caller_self *self, struct audit **ret, struct pa_err *err);
void audit_free(struct audit *a); /* writes what waits; NULL is fine */
const struct eventlog *audit_log(const struct audit *a);

/*
 * The line but for its result, while the caller is sure to be there; for audit_end, or free(). NULL on no
 * memory, which audit_end takes as a line that cannot be written.
 */
char *audit_begin(struct audit *a, const struct audit_what *w);
void audit_end(struct audit *a, char *begun, int errnum); /* frees begun; errnum 0: granted */
/* Both at once. */
void audit_add(struct audit *a, const struct audit_what *w, int errnum);
/* Call before the loop sleeps: lets the writer have what waits. */
void audit_flush(struct audit *a);

#endif
