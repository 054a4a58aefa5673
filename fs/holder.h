/*
 * holder - the process that owns /dev/fuse and the store's lock, and outlives the one that serves.
 *
 * It starts the worker, waits, and starts another when one died, hangs or is stopped. It knows no credential,
 * parses nothing but fixed-size messages of its own worker, opens no file and allocates nothing once it runs.
 * While workers die one after the other it answers the kernel itself, with EIO. Threads: one.
 */
#ifndef PIAUTH_HOLDER_H
#define PIAUTH_HOLDER_H

#include "page.h"

/* Descriptors of a worker, by number. */
enum worker_fd {
	WORKER_CONTROL = 3, /* SOCK_SEQPACKET to the holder */
	WORKER_FUSE = 4,
	WORKER_PAGE = 5,
	WORKER_LOCK = 6,  /* of the store; not there in the first worker */
	WORKER_ALARM = 7, /* timerfd of the watchdog: hold_awake arms it, the holder waits for it */
};

/* Exit codes of a worker. Everything else, and signals, is a death. */
enum worker_exit {
	WORKER_OVER = 0,    /* unmounted: the holder ends, too */
	WORKER_FAILED = 80, /* it cannot serve, and has said why */
};

enum hold_kind {
	HOLD_READY = 1, /* worker: it serves; value: the watchdog's milliseconds */
	HOLD_LOCK,      /* worker: with the descriptor of the store's lock */
};

struct hold_message {
	uint32_t kind;
	uint32_t unused;
	uint64_t value;
};

#define HOLDER_TRIES    16   /* deaths in a row before a first reply, then it waits */
#define HOLDER_NO_REPLY 5000 /* ms without an answer after which one such death is enough */
#define HOLDER_WAIT_MIN 100  /* ms; doubles to */
#define HOLDER_WAIT_MAX 5000

struct holder {
	int fuse_fd;
	int page_fd;
	struct page *page;
	char *const *argv;        /* of a worker, argv[0] included; the program is /proc/self/exe */
	void (*ready)(void *arg); /* the first worker serves */
	void *arg;
};

/*
 * Starts workers until one says that it is over, or a signal (TERM, INT, HUP: passed on as TERM, and it waits for
 * the worker's clean end, at most 30 s) ends it, or the first one ends, however, before it is ready: what happens
 * to a worker later is a death. 0, or -errno with err. Blocks these signals and SIGCHLD; the worker starts with
 * none blocked. page and descriptors stay the caller's; the kernel's is non-blocking from then on.
 */
int holder_run(const struct holder *h, struct pa_err *err);

/* The worker's side. fd -1: none; it stays the caller's. */
int hold_send(int control, enum hold_kind kind, uint64_t value, int fd, struct pa_err *err);

/*
 * The holder's. *ret_fd: what came with it, close-on-exec, the caller's; or -1. Kind 0: it makes no sense.
 * -EAGAIN: there is none, -EPIPE: the other end is closed.
 */
int hold_receive(int control, struct hold_message *ret, int *ret_fd);

/*
 * The loop came round, at now_ns (CLOCK_MONOTONIC). A worker that is awake for watchdog_ns without saying so again
 * is killed; one that is asleep is not looked at. Cheap: a system call at most once a second, and none while idle.
 */
void hold_awake(struct page *page, int alarm_fd, int64_t now_ns, int64_t watchdog_ns);
/* Before it waits for events, or for what may be slow at its end. */
void hold_asleep(struct page *page);

#endif
