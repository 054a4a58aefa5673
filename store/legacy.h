/*
 * legacy - the server's side of the processes that touch other tools' files (import/message.h).
 *
 * One process per piece of work. The server never opens such a path itself: a home that hangs stops that
 * process only. Silence beyond the deadline ends a call, and the process is killed; one that cannot be
 * killed (it waits in the kernel) is left alone and counted. One thread, no blocking.
 */
#ifndef PIAUTH_LEGACY_H
#define PIAUTH_LEGACY_H

#include <stdint.h>

#include "err.h"
#include "json.h"

#define LEGACY_STUCK_MAX \
	8 /* processes that did not die when killed: then no new ones are started */

struct legacy_spawn {
	/* Starts one: *ret_fd is our end of a SOCK_SEQPACKET pair (close-on-exec, non-blocking), *ret_pidfd its
	 * process. Both become the caller's. Must not wait for it. */
	int (*start)(void *arg, int *ret_fd, int *ret_pidfd, struct pa_err *err);
	void *arg;
};

struct legacy;
struct legacy_call;

struct legacy_handler {
	/* A message that came; borrowed for the call. fd: a descriptor that came along, then the handler's; or
	 * -1. May end the call, or send. */
	void (*message)(void *arg, const cJSON *message, int fd);
	/* The process ended or said nothing until the deadline (FILE_SILENT): the call is void. */
	void (*gone)(void *arg, const struct pa_err *err);
};

/* spawn is copied. */
int legacy_new(const struct legacy_spawn *spawn, struct legacy **ret, struct pa_err *err);
/* Calls must have been ended. Processes at work finish what they were told; nobody waits for them. */
void legacy_free(struct legacy *l); /* NULL is fine */
int legacy_fd(const struct legacy *l);
void legacy_dispatch(struct legacy *l);

/*
 * Starts a process and sends it its first request (borrowed). silence_ms: how long it may say nothing (its
 * every message starts that anew); 0: for ever. The handler is not called before this returns.
 */
int legacy_call_new(struct legacy *l, const cJSON *request, int64_t silence_ms,
	const struct legacy_handler *handler, void *arg, struct legacy_call **ret,
	struct pa_err *err);
/* The next request of the same conversation. silence_ms as above. */
int legacy_call_send(
	struct legacy_call *c, const cJSON *request, int64_t silence_ms, struct pa_err *err);
/* Nothing is awaited any more, until the next send: no deadline. */
void legacy_call_rest(struct legacy_call *c);
/* The end: requests sent before are still obeyed, locks given back. No handler is called any more. A
 * process that is not gone a while after is killed. NULL is fine. */
void legacy_call_end(struct legacy_call *c);

#endif
