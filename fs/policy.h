/*
 * policy - who may do what: one pure function.
 *
 * Owner and root may do everything; members of the group read, and write what only reports; everybody else
 * gets EACCES, but for public facts with --public-status. What changes something also needs the server's
 * own user and pid namespace, or a user namespace that the configuration names. The kernel caches names,
 * so the answer must be asked at open, read and getattr alike, not only at lookup.
 * Facts about the caller that cost a look into /proc are fetched before, and only those that
 * policy_wants names. Threads: no state, any.
 */
#ifndef PIAUTH_POLICY_H
#define PIAUTH_POLICY_H

#include <stdbool.h>
#include <sys/types.h>

#include "node.h"

struct policy {
	uid_t owner_uid;
	gid_t owner_gid;
	bool has_group;
	gid_t group;
	bool public_status;
};

struct caller {
	uid_t uid;
	gid_t gid;
	pid_t tid; /* a thread id; 0: in a pid namespace that the server cannot see */
	/* From /proc, false until looked up: */
	bool known;      /* /proc/TID could be read */
	bool in_group;   /* of the policy's group */
	bool in_user_ns; /* the server's own */
	bool in_pid_ns;
	bool is_named; /* its user namespace is one that the configuration names */
};

enum policy_op {
	POLICY_SEARCH, /* lookup in a directory, list it */
	POLICY_STAT,
	POLICY_READ,
	POLICY_WRITE,  /* open a file for writing */
	POLICY_CHANGE, /* create, remove: names, credentials */
	POLICY_ATTR,   /* chmod, chown, utime, truncate: they change nothing */
};

enum policy_want {
	POLICY_WANTS_GROUPS = 1 << 0,
	POLICY_WANTS_NAMESPACES = 1 << 1,
};

/* What of the caller policy_check will look at (bits of enum policy_want). */
unsigned policy_wants(
	const struct policy *p, const struct caller *c, const struct node *n, enum policy_op op);
/* 0, -EACCES or -EPERM. */
int policy_check(
	const struct policy *p, const struct caller *c, const struct node *n, enum policy_op op);
/* The permission bits that stat shows for n: what the policy does, put as a mode. */
mode_t policy_mode(const struct policy *p, const struct node *n);

#endif
