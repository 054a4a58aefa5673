/*
 * caller - what /proc tells about the thread behind a request.
 *
 * Everything is read through one descriptor of /proc and by thread id: the kernel names the thread, not the
 * process. A thread whose request is unanswered cannot go away, so what is read then is about it. What
 * a process says about itself here (its program, say) may be forged; it is written down, and grants
 * nothing. Reads of /proc do not wait. Threads: one.
 */
#ifndef PIAUTH_CALLER_H
#define PIAUTH_CALLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "policy.h"
#include "store/err.h"

#define CALLER_TEXT 512 /* of a program's or cgroup's path; longer ones are cut */

/*
 * The cgroup of a thread and program that were asked for a moment ago: reading it is most of what a line of
 * the audit costs. Not longer than a number can come back as another process.
 */
#define CALLER_RECENT_MS 100
#define CALLER_RECENT    8
struct caller_recent {
	pid_t tid;
	int64_t until_ns; /* CLOCK_MONOTONIC */
	char exe[CALLER_TEXT];
	char cgroup[CALLER_TEXT];
};

struct caller_self {
	int proc_fd;
	dev_t user_dev, pid_dev; /* the server's own namespaces */
	ino_t user_ino, pid_ino;
	char **named; /* user namespaces that may change things; NULL terminated, borrowed, may be NULL */
	struct caller_recent recent[CALLER_RECENT];
};

int caller_self_init(struct caller_self *self, char **named, struct pa_err *err);
void caller_self_done(struct caller_self *self);

/* Fills what wants (enum policy_want) names; what cannot be read stays false. */
void caller_look(const struct caller_self *self, struct caller *c, unsigned wants, gid_t group);

/* Why a waiting caller was interrupted. */
enum caller_signal {
	CALLER_STAYS,  /* a signal it will return from: window size, child, stop, tracer */
	CALLER_LEAVES, /* killed, or a signal that asks a program to end is pending */
};
enum caller_signal caller_signal(const struct caller_self *self, pid_t tid);

/* For the audit log. Empty strings and tgid 0 where /proc says nothing. */
struct caller_story {
	pid_t tgid;
	char exe[CALLER_TEXT];
	char cgroup[CALLER_TEXT];
};
void caller_tell(struct caller_self *self, pid_t tid, struct caller_story *ret);

#endif
