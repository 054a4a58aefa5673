/*
 * writer - the one thread that may wait for a disk.
 *
 * Jobs run in the order they were given (so the last write of a file wins) and come back on the loop:
 * when writer_fd() is readable call writer_dispatch(), which calls every finished job's done. A job and
 * its bytes belong to the writer from writer_add until done is called. The thread blocks all signals.
 */
#ifndef PIAUTH_WRITER_H
#define PIAUTH_WRITER_H

#include "err.h"

struct writer;

struct write_job {
	/* On the writer thread. */
	int (*run)(struct write_job *job, struct pa_err *err);
	/* On the loop; may free job. */
	void (*done)(struct write_job *job, int r, const struct pa_err *err);
	struct write_job *next; /* the writer's own from here */
	struct pa_err err;
	int result;
};

int writer_new(struct writer **ret, struct pa_err *err);
void writer_free(struct writer *w); /* runs what was given, calls every done; NULL is fine */
int writer_fd(const struct writer *w);
void writer_dispatch(struct writer *w);
/* Loop thread only; never blocks, never fails. */
void writer_add(struct writer *w, struct write_job *job);
/* Waits until all that was given has run and calls every done: for commands and shutdown. */
void writer_drain(struct writer *w);

#endif
