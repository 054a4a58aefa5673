#include "holder.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "store/secret.h"

#define NEVER INT64_MAX
#define MS    INT64_C(1000000)
#define START_NS \
	(10000 * MS) /* for a worker that is not ready: thousands of records, a cold disk */
#define END_NS    (30000 * MS)
#define LATE_NS   (1000 * MS) /* a look so late means that this process did not run either */
#define SILENT_NS (HOLDER_NO_REPLY * MS)
#define FD_FLOOR  10 /* above enum worker_fd: no source of a dup2 may be one of them */
#define BURST     64 /* messages in a row */

/* The kernel refuses a read into less than max_write (128 KiB, ops.c) and the headers. */
#define REQUEST_MAX (136 * 1024)

/* Linux 6.9: the header of an older one does not have it. */
#define NOTIFY_RESEND 7

/* First those of enum worker_fd, in its order, at numbers that the file actions name. */
enum hold_fd { CHILD, FUSE, PAGE, LOCK, ALARM, SIGNALS, CONTROL, PROCESS, FDS };

enum hold_time { START, LOOK, STOPPED, END, TIMES };

struct hold {
	const struct holder *h;
	int fds[FDS];         /* -1: none. PROCESS: the worker's pidfd */
	int64_t times[TIMES]; /* what to do when, CLOCK_MONOTONIC; NEVER */
	posix_spawnattr_t attr;
	posix_spawn_file_actions_t files[2]; /* without and with WORKER_LOCK */
	bool has_lock;

	/* Of the worker. */
	bool ready, killed;
	int64_t started_ns;
	int64_t limit_ns; /* how long it may be awake without a beat, or stopped */
	int64_t grace_ns; /* before this no beat was to be expected */

	bool served;       /* one was ready */
	bool stopping;     /* a signal said so: there is no successor */
	bool answering;    /* the kernel, while there is no worker */
	unsigned deaths;   /* in a row before a first reply */
	int64_t silent_ns; /* since when nothing told that all is well */
	int64_t wait_ns;   /* the next wait */
};

static uint8_t request[REQUEST_MAX];

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- what a worker gets ---- */

static int prepare_files(const struct hold *x, posix_spawn_file_actions_t *files, bool lock)
{
	int rc = posix_spawn_file_actions_init(files);

	for (int i = CHILD; rc == 0 && i <= ALARM; i++) {
		int number = WORKER_CONTROL + i;

		if (i == LOCK && !lock)
			rc = posix_spawn_file_actions_addclose(files, number);
		else
			rc = posix_spawn_file_actions_adddup2(files, x->fds[i], number);
	}
	return rc ? rc : posix_spawn_file_actions_addclosefrom_np(files, WORKER_ALARM + 1);
}

/* All that allocates. Signals as a new program expects them. */
static int prepare_spawn(struct hold *x)
{
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	sigdelset(&all, SIGKILL);
	sigdelset(&all, SIGSTOP);
	if ((rc = posix_spawnattr_init(&x->attr)) ||
		(rc = posix_spawnattr_setsigmask(&x->attr, &none)) ||
		(rc = posix_spawnattr_setsigdefault(&x->attr, &all)) ||
		(rc = posix_spawnattr_setflags(
			 &x->attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)) ||
		(rc = prepare_files(x, &x->files[0], false)))
		return rc;
	return prepare_files(x, &x->files[1], true);
}

/* 0 or an errno. */
static int spawn(struct hold *x)
{
	int fds[2], rc;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return errno;
	x->fds[CONTROL] = fds[0];
	rc = dup3(fds[1], x->fds[CHILD], O_CLOEXEC) < 0 ? errno : 0;
	close(fds[1]);
	if (rc || (rc = posix_spawn(&pid, "/proc/self/exe", &x->files[x->has_lock], &x->attr,
			   x->h->argv, environ)))
		return rc;
	/* Nobody else reaps: its number is its own until then. */
	if ((x->fds[PROCESS] = pidfd_open(pid, 0)) < 0) {
		rc = errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return rc;
}

/* ---- while it runs ---- */

static void kill_worker(struct hold *x, const char *why)
{
	log_error("the server %s: it is killed", why);
	/* One that is gone is reaped next. */
	(void)pidfd_send_signal(x->fds[PROCESS], SIGKILL, NULL, 0);
	x->killed = true;
	x->times[LOOK] = x->times[STOPPED] = x->times[END] = NEVER;
}

/* Is it awake, and for how long without a beat? due: when this look was to be. */
static void look(struct hold *x, int64_t due, int64_t now)
{
	const struct page *p = x->h->page;
	int64_t beat;

	x->times[LOOK] = NEVER;
	/* Its end has a time of its own; when it wakes up it arms the alarm. */
	if (x->fds[PROCESS] < 0 || x->killed || x->stopping ||
		atomic_load_explicit(&p->asleep, memory_order_acquire))
		return;
	if (now - due > LATE_NS)
		x->grace_ns = now;
	beat = atomic_load_explicit(&p->beat_ns, memory_order_relaxed);
	if (beat < x->grace_ns)
		beat = x->grace_ns;
	if (beat > now)
		beat = now;
	if (now - beat >= x->limit_ns)
		kill_worker(x, "hangs");
	else
		x->times[LOOK] = beat + x->limit_ns;
}

static void take_alarm(struct hold *x, int64_t now)
{
	int64_t armed = atomic_load_explicit(&x->h->page->alarm_ns, memory_order_relaxed);
	uint64_t ticks;

	/* Nothing to read: it was armed anew meanwhile. */
	if (read(x->fds[ALARM], &ticks, sizeof(ticks)) == sizeof(ticks))
		look(x, armed > 0 && armed <= now ? armed + x->limit_ns : now, now);
}

/* It was stopped, or goes on; what is told last holds. */
static void take_change(struct hold *x, int64_t now)
{
	for (;;) {
		siginfo_t info = { 0 };

		if (x->fds[PROCESS] < 0 || x->killed ||
			waitid(P_PIDFD, (id_t)x->fds[PROCESS], &info,
				WSTOPPED | WCONTINUED | WNOHANG) < 0 ||
			info.si_pid == 0)
			return;
		x->times[STOPPED] = info.si_code == CLD_CONTINUED ? NEVER : now + x->limit_ns;
		if (info.si_code == CLD_CONTINUED)
			x->grace_ns = now;
	}
}

static void pass_end(const struct hold *x)
{
	/* ESRCH: it ended by itself, and is reaped next. */
	if (pidfd_send_signal(x->fds[PROCESS], SIGTERM, NULL, 0) < 0 && errno != ESRCH)
		log_error("ending the server: %s", strerror(errno));
}

/* 1, or as reap. */
static int take_signals(struct hold *x, int64_t now, struct pa_err *err)
{
	struct signalfd_siginfo s;

	while (read(x->fds[SIGNALS], &s, sizeof(s)) == sizeof(s)) {
		if (s.ssi_signo == SIGCHLD) {
			take_change(x, now);
			continue;
		}
		if (x->fds[PROCESS] < 0)
			return pa_fail(err, PA_SYSTEM, EINTR, "ended while no server ran");
		if (!x->stopping && !x->killed)
			x->times[END] = now + END_NS;
		x->stopping = true;
		/* A successor that is not ready would die of it and leave the mount: it gets it then. */
		if (x->ready || !x->served)
			pass_end(x);
	}
	return 1;
}

static void take_ready(struct hold *x, uint64_t watchdog_ms)
{
	int64_t now = now_ns();

	if (watchdog_ms > 0 && watchdog_ms <= UINT32_MAX)
		x->limit_ns = (int64_t)watchdog_ms * MS;
	x->grace_ns = now;
	if (!x->killed)
		x->times[LOOK] = now + x->limit_ns;
	x->ready = true;
	if (x->stopping && x->fds[PROCESS] >= 0)
		pass_end(x);
	if (!x->served)
		x->h->ready(x->h->arg);
	x->served = true;
}

static void take_messages(struct hold *x)
{
	struct hold_message m;
	int fd = -1, rc = 0;

	for (int i = 0; i < BURST && x->fds[CONTROL] >= 0; i++, close_fd(&fd)) {
		if ((rc = hold_receive(x->fds[CONTROL], &m, &fd)) == -EAGAIN)
			return;
		if (rc < 0) /* it says no more, whatever else it does */
			close_fd(&x->fds[CONTROL]);
		else if (m.kind == HOLD_READY)
			take_ready(x, m.value);
		else if (m.kind != HOLD_LOCK || fd < 0)
			log_error("the server told its holder what makes no sense");
		else if (dup3(fd, x->fds[LOCK], O_CLOEXEC) < 0)
			log_error("the lock of the store: %s", strerror(errno));
		else
			x->has_lock = true;
	}
}

/* ---- when there is none ---- */

/* Answers one of the kernel; false: the mount is gone. */
static bool refuse_request(struct hold *x)
{
	const struct fuse_in_header *in = (const void *)request;
	struct fuse_out_header out = { .len = sizeof(out), .error = -EIO };
	ssize_t n = read(x->fds[FUSE], request, sizeof(request));

	if (n == 0 || (n < 0 && errno == ENODEV))
		return false;
	/* ENOENT: its caller gave up. */
	if (n < 0 && (errno == ENOENT || errno == EAGAIN || errno == EINTR))
		return true;
	if (n < (ssize_t)sizeof(*in)) {
		log_error("reading from /dev/fuse: %s", n < 0 ? strerror(errno) : "too little");
		x->answering = false; /* else the same comes again, at once */
		return true;
	}
	out.unique = in->unique;
	if (in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET &&
		in->opcode != FUSE_INTERRUPT && write(x->fds[FUSE], &out, sizeof(out)) < 0 &&
		errno != ENOENT)
		log_error("answering the kernel: %s", strerror(errno));
	secret_wipe(request, (size_t)n); /* it may be a write of a key */
	return true;
}

/* Was it a death before any reply to those who asked, and one too many? */
static bool must_wait(struct hold *x, int64_t now)
{
	const struct page *p = x->h->page;
	bool idle = x->ready && atomic_load(&p->asleep);

	if (atomic_load(&p->replies) > 0 || (idle && now - x->started_ns >= SILENT_NS)) {
		x->deaths = 0;
		x->wait_ns = HOLDER_WAIT_MIN * MS;
		x->silent_ns = now;
		return false;
	}
	x->deaths++;
	if (idle) /* nobody asked */
		x->silent_ns = now;
	return x->deaths >= HOLDER_TRIES || now - x->silent_ns >= SILENT_NS;
}

static void plan_start(struct hold *x, const char *how, int64_t now)
{
	const struct fuse_out_header resend = { .len = sizeof(resend), .error = NOTIFY_RESEND };

	x->times[START] = now;
	if (!must_wait(x, now)) {
		log_error("the server ended (%s): another one starts", how);
		return;
	}
	log_error("the server ended (%s), %u in a row without an answer: requests fail with EIO; "
		  "another one starts in %d ms",
		how, x->deaths, (int)(x->wait_ns / MS));
	x->times[START] += x->wait_ns;
	x->wait_ns = x->wait_ns * 2 < HOLDER_WAIT_MAX * MS ? x->wait_ns * 2 : HOLDER_WAIT_MAX * MS;
	x->answering = true;
	/*
	 * Those that it had read must not wait either, least of all if one of them is the reason. Linux
	 * before 6.9 refuses this: there they wait until they are interrupted.
	 */
	if (write(x->fds[FUSE], &resend, sizeof(resend)) < 0 && errno != EINVAL)
		log_error("asking the kernel to send again: %s", strerror(errno));
}

/* 1: it goes on; 0: over; or -errno. */
static int reap(struct hold *x, int64_t now, struct pa_err *err)
{
	siginfo_t info = { 0 };
	char how[48];

	if (waitid(P_PIDFD, (id_t)x->fds[PROCESS], &info, WEXITED | WNOHANG) < 0)
		return pa_fail(err, PA_SYSTEM, errno, "waiting for the server");
	if (info.si_pid == 0)
		return 1;
	close_fd(&x->fds[PROCESS]);
	take_messages(x); /* its last words: the lock */
	close_fd(&x->fds[CONTROL]);
	x->times[LOOK] = x->times[STOPPED] = x->times[END] = NEVER;
	if (info.si_code == CLD_EXITED && info.si_status == WORKER_OVER)
		return 0;
	snprintf(how, sizeof(how), info.si_code == CLD_EXITED ? "exit code %d" : "signal %d",
		info.si_status);
	if (x->stopping)
		return pa_fail(err, PA_SYSTEM, ECHILD, "the server did not end cleanly: %s", how);
	if (!x->served)
		return pa_fail(err, PA_SYSTEM, ECHILD, "the server did not start: %s", how);
	plan_start(x, how, now);
	return 1;
}

/* As reap. */
static int start(struct hold *x, int64_t now, struct pa_err *err)
{
	const struct itimerspec off = { 0 };
	struct page *p = x->h->page;
	int rc;

	atomic_store(&p->replies, 0);
	atomic_store(&p->asleep, 0);
	atomic_store(&p->beat_ns, now);
	atomic_store(&p->alarm_ns, 0);
	atomic_fetch_add(&p->workers, 1);
	(void)timerfd_settime(x->fds[ALARM], 0, &off, NULL);
	x->ready = x->killed = x->answering = false;
	x->limit_ns = START_NS;
	x->started_ns = x->grace_ns = now;
	x->times[START] = NEVER;
	rc = spawn(x);
	/* The worker's end is the worker's alone, and the number stays taken. */
	if (dup3(x->fds[PAGE], x->fds[CHILD], O_CLOEXEC) < 0)
		log_error("the server's socket: %s", strerror(errno));
	if (rc == 0) {
		x->times[LOOK] = now + START_NS;
		return 1;
	}
	close_fd(&x->fds[CONTROL]);
	if (!x->served)
		return pa_fail(err, PA_SYSTEM, rc, "the server did not start: %s", strerror(rc));
	plan_start(x, strerror(rc), now);
	return 1;
}

/* ---- the loop ---- */

static int init(struct hold *x, const sigset_t *signals, struct pa_err *err)
{
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), rc = 0;
	/* What is not there yet has the number of a copy of something else. */
	const int source[] = { [CHILD] = timer, x->h->fuse_fd, x->h->page_fd, timer, timer };
	int flags = fcntl(x->h->fuse_fd, F_GETFL);

	for (int i = CHILD; rc == 0 && i <= ALARM; i++)
		if ((x->fds[i] = fcntl(source[i], F_DUPFD_CLOEXEC, FD_FLOOR)) < 0)
			rc = errno;
	close_fd(&timer);
	/* Where SIGCHLD is ignored nobody learns how a worker ended. */
	if (rc == 0 &&
		(flags < 0 || fcntl(x->h->fuse_fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
			signal(SIGCHLD, SIG_DFL) == SIG_ERR ||
			(x->fds[SIGNALS] = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK)) < 0))
		rc = errno;
	if (rc || (rc = prepare_spawn(x)))
		return pa_fail(err, PA_SYSTEM, rc, "the holder: %s", strerror(rc));
	x->times[START] = x->silent_ns = now_ns();
	return 0;
}

static void done(struct hold *x)
{
	siginfo_t info;

	if (x->fds[PROCESS] >= 0) { /* an error of ours */
		(void)pidfd_send_signal(x->fds[PROCESS], SIGKILL, NULL, 0);
		(void)waitid(P_PIDFD, (id_t)x->fds[PROCESS], &info, WEXITED);
	}
	for (int i = 0; i < FDS; i++)
		close_fd(&x->fds[i]);
	/* In glibc, which addclosefrom_np is of, these are fine with what is all zero. */
	posix_spawn_file_actions_destroy(&x->files[0]);
	posix_spawn_file_actions_destroy(&x->files[1]);
	posix_spawnattr_destroy(&x->attr);
}

/* Waits, and acts. As reap. */
static int turn(struct hold *x, struct pa_err *err)
{
	struct pollfd p[] = { { x->fds[CONTROL], POLLIN, 0 }, { x->fds[SIGNALS], POLLIN, 0 },
		{ x->fds[PROCESS], POLLIN, 0 }, { x->fds[ALARM], POLLIN, 0 },
		{ x->answering ? x->fds[FUSE] : -1, POLLIN, 0 } };
	int64_t at = NEVER, now = now_ns(), left;
	struct timespec ts;
	int rc = 1;

	for (int i = 0; i < TIMES; i++)
		at = x->times[i] < at ? x->times[i] : at;
	left = at > now ? at - now : 0;
	ts = (struct timespec){ left / (1000 * MS), left % (1000 * MS) };
	if (ppoll(p, sizeof(p) / sizeof(p[0]), at == NEVER ? NULL : &ts, NULL) < 0)
		return errno == EINTR ? 1 : pa_fail(err, PA_SYSTEM, errno, "poll");
	now = now_ns();
	if (p[0].revents)
		take_messages(x);
	if (p[1].revents)
		rc = take_signals(x, now, err);
	if (rc > 0 && p[2].revents)
		rc = reap(x, now, err);
	if (rc > 0 && p[3].revents)
		take_alarm(x, now);
	if (rc > 0 && p[4].revents && !refuse_request(x))
		rc = 0;
	if (rc > 0 && now >= x->times[LOOK])
		look(x, x->times[LOOK], now);
	if (rc > 0 && now >= x->times[STOPPED])
		kill_worker(x, "was stopped and does not go on");
	if (rc > 0 && now >= x->times[END])
		kill_worker(x, "does not end");
	return rc > 0 && now >= x->times[START] ? start(x, now, err) : rc;
}

int holder_run(const struct holder *h, struct pa_err *err)
{
	struct hold x = { .h = h,
		.fds = { [0 ... FDS - 1] = -1 },
		.times = { [0 ... TIMES - 1] = NEVER },
		.wait_ns = HOLDER_WAIT_MIN * MS };
	sigset_t signals;
	int rc;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return pa_fail(err, PA_SYSTEM, errno, "signal mask");
	rc = init(&x, &signals, err);
	if (rc == 0)
		do {
			rc = turn(&x, err);
		} while (rc > 0);
	done(&x);
	return rc;
}
