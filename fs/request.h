/*
 * request - what every operation begins with: who asks, about which place, and may he.
 *
 * And how places are described to the kernel. Nothing here waits for network or disk. Threads: one.
 */
#ifndef PIAUTH_REQUEST_H
#define PIAUTH_REQUEST_H

#include <fuse_lowlevel.h>
#include <sys/stat.h>

#include "server.h"

struct request {
	struct server *server;
	fuse_req_t req;
	struct caller caller;
	uint64_t ino;
	const struct node *node;
	struct profile *profile; /* NULL: a fixed place */
};

/* 0, or -ESTALE for a number that means nothing (any more): the kernel then looks the name up again. */
int request_begin(struct request *r, fuse_req_t req, fuse_ino_t ino);
/* Asks the policy about a place: the request's own or one below it. */
int request_allow(struct request *r, const struct node *n, enum policy_op op);
/* What the audit writes of it; n: the place, which may be below the request's. */
struct audit_what request_story(const struct request *r, const char *op, const struct node *n);

/* Attributes of a place of this profile (NULL: fixed). */
void request_stat(struct server *s, const struct node *n, struct profile *p, struct stat *ret);
/*
 * The answer to lookup, mkdir, create: fills e and takes the reference on the profile that the kernel's FORGET
 * gives back, or request_forget when the kernel did not get the answer.
 */
void request_entry(
	struct server *s, const struct node *n, struct profile *p, struct fuse_entry_param *e);
/* The kernel gives back count references on an inode. After a removal there is nothing to give back. */
void request_forget(struct server *s, uint64_t ino, uint64_t count);
void request_reply_entry(struct request *r, const struct node *n, struct profile *p);

#endif
