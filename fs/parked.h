/*
 * parked - requests that wait for the broker, and what a signal to the waiting thread means.
 *
 * The kernel sends one FUSE_INTERRUPT for any signal: a window that changed its size as well as kill -9, and
 * no second one for a kill that comes later. So an interrupted request is looked at (caller_signal): it
 * ends where the thread is about to, and otherwise stays and is looked at again every PARKED_LOOK_MS. While
 * nothing is interrupted there is nothing to do here. Threads: one.
 */
#ifndef PIAUTH_PARKED_H
#define PIAUTH_PARKED_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

#include "caller.h"
#include "node.h"

#define PARKED_LOOK_MS  100
#define PARKED_LOOK_MAX 64 /* looks in a row: about 1 ms, then others get their turn */

struct server;
struct parked_list;

enum parked_kind { PARKED_OPEN, PARKED_READ, PARKED_COMMAND };

struct parked {
	struct parked *next, *prev;
	struct parked_queue *queue; /* the one it is in */
	struct parked_list *list;
	int64_t look_ns; /* CLOCK_MONOTONIC */
	struct server *server;
	fuse_req_t req;
	enum parked_kind kind;
	struct caller caller;
	uint64_t ino;
	const struct node *node;
	struct profile *profile;
	struct fuse_file_info fi;
	size_t size; /* of a read, and where */
	off_t off;
	char *audit; /* the begun line (audit_begin) once it waits */
	struct broker_wait wait;
	struct command *command; /* of PARKED_COMMAND: ops_write.c */
};

struct parked_queue {
	struct parked *head, *tail;
};

struct parked_list {
	struct parked_queue quiet; /* not interrupted */
	struct parked_queue fresh; /* interrupted, not looked at yet */
	struct parked_queue again; /* by look_ns */
	struct parked *spare;
	size_t count, peak;
};

/* A zeroed request; NULL on no memory. Most never wait: one is kept for the next. */
struct parked *parked_new(struct parked_list *l);
void parked_free(struct parked_list *l, struct parked *k);

/* From now on it waits and interrupts are watched; parked_leave when the broker is done with it. */
void parked_wait(struct parked_list *l, struct parked *k);
void parked_leave(struct parked_list *l, struct parked *k);

/* Calls give_up (which leaves and frees) for requests whose threads end. Returns the ms until the next
 * look: 0 at once, -1 never. */
int parked_look(
	struct parked_list *l, const struct caller_self *self, void (*give_up)(struct parked *k));
/* give_up for all. */
void parked_end(struct parked_list *l, void (*give_up)(struct parked *k));
/* Whether a herd was here and is gone, so that its memory should go back to the system; true once. open: how
 * many files are open. */
bool parked_herd_is_gone(struct parked_list *l, size_t open);
void parked_done(struct parked_list *l);

#endif
