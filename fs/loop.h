/*
 * loop - one thread that serves the kernel, the broker and signals.
 *
 * Waking up costs more than most requests, so after an answer the loop looks at the kernel's queue again
 * for up to LOOP_SPIN_NS before it sleeps; only while such looks keep finding something, and never on a
 * machine with one CPU. An idle loop sleeps without a timer. Threads: one.
 */
#ifndef PIAUTH_LOOP_H
#define PIAUTH_LOOP_H

#include <fuse_lowlevel.h>

#include "server.h"

#define LOOP_SPIN_NS     50000
#define LOOP_SPIN_MISSES 16 /* looks in vain in a row after which it sleeps at once */
#define LOOP_BATCH       64 /* requests in a row before the broker gets its turn */
#define LOOP_IMPORT_NS   INT64_C(5000000000) /* how long a first import may delay "ready" */

/* Blocks SIGTERM, SIGINT and SIGHUP, which the loop takes as "end". Before any thread is made. */
int loop_block_signals(struct pa_err *err);

/*
 * Serves until the mount is gone or a signal ends it (both 0; *ret_signal tells which). ready is called once: when the first request
 * (the kernel's INIT) has been answered and no import of the start is under way, so that who waits for it
 * finds the logins; or LOOP_IMPORT_NS after that request, because somebody's home may hang. The holder kills a worker whose loop does
 * not come round for watchdog_ns.
 */
int loop_run(struct fuse_session *se, struct server *s, int64_t watchdog_ns,
	void (*ready)(void *arg), void *arg, bool *ret_signal, struct pa_err *err);
/* Waits until every change under way is answered, at most ms. */
void loop_drain(struct server *s, int ms);

#endif
