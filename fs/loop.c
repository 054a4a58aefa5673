#include "loop.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "device.h"
#include "holder.h"
#include "log.h"
#include "ops.h"

struct loop {
	struct fuse_session *se;
	struct server *server;
	int epoll_fd;
	int signal_fd;
	int fuse_fd; /* the session's */
	struct fuse_buf buf;
	bool may_spin;
	unsigned misses;
	bool answered; /* since it last slept */
	bool stop;
	bool signal; /* that is why */
	int64_t watchdog_ns;
	int failed;               /* -errno of the fuse descriptor */
	void (*ready)(void *arg); /* NULL once it was called */
	void *ready_arg;
	int64_t serves_ns; /* since when it serves; 0: not yet */
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void signals_of_end(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGTERM);
	sigaddset(ret, SIGINT);
	sigaddset(ret, SIGHUP);
}

int loop_block_signals(struct pa_err *err)
{
	sigset_t set;

	signals_of_end(&set);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return pa_fail(err, PA_SYSTEM, errno, "signal mask");
	return 0;
}

static bool has_several_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 1;
}

/* One request: 1 served, 0 there is none, -1 the loop ends. */
static int serve_one(struct loop *l)
{
	int n = fuse_session_receive_buf(l->se, &l->buf);

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n <= 0) {
		/* 0: unmounted. */
		l->failed = n;
		return -1;
	}
	if (!device_take(l->buf.mem, (size_t)n))
		fuse_session_process_buf(l->se, &l->buf);
	/* What was written to api-key or oauth stays in no buffer of ours. */
	if (((const struct fuse_in_header *)l->buf.mem)->opcode == FUSE_WRITE)
		secret_wipe(l->buf.mem, (size_t)n);
	if (!l->serves_ns)
		l->serves_ns = now_ns();
	l->answered = true;
	return 1;
}

/*
 * Serves what is there, and spins for more. Returns when the loop may sleep, or after LOOP_BATCH requests
 * (true: there may be more). A non-blocking read is the look: it costs what poll would.
 */
static bool serve(struct loop *l)
{
	int64_t since = 0;

	for (int served = 0; served < LOOP_BATCH;) {
		int n = serve_one(l);

		if (n < 0) {
			l->stop = true;
			return false;
		}
		if (n > 0) {
			if (since)
				l->misses = 0;
			since = 0;
			served++;
			continue;
		}
		if (!l->may_spin || !l->answered || l->misses >= LOOP_SPIN_MISSES)
			return false;
		if (!since) {
			since = now_ns();
		} else if (now_ns() - since > LOOP_SPIN_NS) {
			l->misses++;
			return false;
		}
	}
	return true;
}

/* Calls ready when it is time; else returns after how many ms to look again. -1: not to be looked for. */
static int announce(struct loop *l)
{
	int64_t left;

	if (!l->ready || !l->serves_ns)
		return -1;
	left = l->serves_ns + LOOP_IMPORT_NS - now_ns();
	if (left > 0 && broker_is_importing(l->server->broker))
		return (int)(left / 1000000) + 1;
	l->ready(l->ready_arg);
	l->ready = NULL;
	return -1;
}

/* The shorter of two epoll timeouts. */
static int earlier(int a, int b)
{
	return b < 0 || (a >= 0 && a < b) ? a : b;
}

static void wait_events(struct loop *l, int timeout_ms)
{
	struct epoll_event events[3];
	int64_t since = now_ns();
	int n;

	if (timeout_ms) {
		audit_flush(l->server->audit);
		if (parked_herd_is_gone(&l->server->parked, l->server->handles.count)) {
			handles_trim(&l->server->handles);
			malloc_trim(0);
		}
		l->answered = false;
	}
	if (timeout_ms && l->server->page)
		hold_asleep(l->server->page);
	n = epoll_wait(l->epoll_fd, events, 3, timeout_ms);
	if (l->server->page)
		hold_awake(l->server->page, WORKER_ALARM, timeout_ms ? now_ns() : since,
			l->watchdog_ns);
	for (int i = 0; i < n; i++) {
		if (events[i].data.fd == l->signal_fd) {
			l->stop = l->signal = true;
		} else if (events[i].data.fd == l->fuse_fd) {
			/* A look would have found it: looking is worth its while again. */
			if (now_ns() - since < LOOP_SPIN_NS)
				l->misses = 0;
		} else {
			broker_dispatch(l->server->broker);
			l->answered = true;
		}
	}
}

static int add_fd(struct loop *l, int fd, struct pa_err *err)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
		return pa_fail(err, PA_SYSTEM, errno, "epoll");
	return 0;
}

static int loop_init(struct loop *l, struct pa_err *err)
{
	sigset_t set;
	int flags, rc;

	signals_of_end(&set);
	l->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->signal_fd < 0 || l->epoll_fd < 0)
		return pa_fail(err, PA_SYSTEM, errno, "event loop");
	l->fuse_fd = fuse_session_fd(l->se);
	flags = fcntl(l->fuse_fd, F_GETFL);
	if (flags < 0 || fcntl(l->fuse_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return pa_fail(err, PA_SYSTEM, errno, "/dev/fuse");
	if ((rc = add_fd(l, l->fuse_fd, err)) < 0 || (rc = add_fd(l, l->signal_fd, err)) < 0)
		return rc;
	return add_fd(l, broker_fd(l->server->broker), err);
}

int loop_run(struct fuse_session *se, struct server *s, int64_t watchdog_ns,
	void (*ready)(void *arg), void *arg, bool *ret_signal, struct pa_err *err)
{
	struct loop l = {
		.se = se,
		.server = s,
		.epoll_fd = -1,
		.signal_fd = -1,
		.may_spin = has_several_cpus(),
		.watchdog_ns = watchdog_ns,
		.ready = ready,
		.ready_arg = arg,
	};
	int rc = loop_init(&l, err);

	/* A successor serves from the start: the kernel has asked its question long ago. */
	if (rc == 0 && s->page && atomic_load(&s->page->init_len))
		l.serves_ns = now_ns();
	while (rc == 0 && !l.stop) {
		bool more = serve(&l);
		int timeout_ms = parked_look(&s->parked, &s->self, ops_give_up);

		if (!l.stop)
			timeout_ms = earlier(timeout_ms, announce(&l));
		if (!l.stop)
			wait_events(&l, more ? 0 : timeout_ms);
	}
	if (rc == 0 && l.failed < 0)
		rc = pa_fail(err, PA_SYSTEM, -l.failed, "reading from /dev/fuse: %s",
			strerror(-l.failed));
	*ret_signal = l.signal;
	if (l.epoll_fd >= 0)
		close(l.epoll_fd);
	if (l.signal_fd >= 0)
		close(l.signal_fd);
	free(l.buf.mem);
	return rc;
}

void loop_drain(struct server *s, int ms)
{
	int64_t end = now_ns() + ms * INT64_C(1000000);
	struct pollfd p = { .fd = broker_fd(s->broker), .events = POLLIN };

	while (s->changes) {
		int64_t left = (end - now_ns()) / 1000000;

		if (left <= 0 || (poll(&p, 1, (int)left) < 0 && errno != EINTR))
			break;
		broker_dispatch(s->broker);
	}
	if (s->changes)
		log_warning("%zu changes were not durable in time", s->changes);
}
