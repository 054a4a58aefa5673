#include "legacy.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "import/message.h"

#define NEVER INT64_MAX
#define GRACE_MS \
	10000 /* from the end of a call until its process is killed: a slow disk may need it */
#define DEATH_MS 2000 /* from the kill until a process counts as stuck */
#define LATE_MS  1000 /* a deadline noticed so late passed while this process did not run either */
#define EVENTS   16   /* per dispatch, and messages of one call in a row: readers want their turn */

#define ENDED "the process for other programs' files ended"

/* What became of the process. A call is its user's while it talks, and ours from then on. */
enum call_state {
	CALL_TALKING,
	CALL_LEAVING, /* its end of the socket is closed: it ends by itself */
	CALL_KILLED,
	CALL_STUCK, /* killed, and not gone */
	CALL_GONE,  /* reaped */
};

/* What an event belongs to; the timer has none. */
struct watch {
	struct legacy_call *call;
	bool process; /* its end; or else its socket */
};

struct legacy_call {
	struct legacy *l;
	struct legacy_call *next;
	enum call_state state;
	int fd;    /* -1 unless it talks */
	int pidfd; /* -1 once it is gone */
	struct watch socket, process;
	int64_t span_ms;     /* what the deadline was set to; 0: none */
	int64_t deadline_ms; /* CLOCK_BOOTTIME; NEVER: none */
	struct legacy_handler handler;
	void *arg;
};

struct legacy {
	struct legacy_spawn spawn;
	struct legacy_call *calls;
	unsigned stuck;
	int epoll_fd, timer_fd;
	int64_t timer_ms; /* what timer_fd is set to; NEVER: off */
	bool dispatching; /* one arming at the end is enough, and nothing is freed before */
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- deadlines ---- */

static void arm(struct legacy *l)
{
	struct itimerspec ts = { 0 };
	int64_t at = NEVER;

	if (l->dispatching)
		return;
	for (const struct legacy_call *c = l->calls; c; c = c->next)
		if (c->deadline_ms < at)
			at = c->deadline_ms;
	if (at == l->timer_ms)
		return;
	if (at != NEVER) {
		ts.it_value.tv_sec = at / 1000;
		ts.it_value.tv_nsec = at % 1000 * 1000000;
	}
	/* Cannot fail with a valid descriptor and a normalised time. */
	(void)timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &ts, NULL);
	l->timer_ms = at;
}

/* span_ms 0: no deadline. */
static void call_expect(struct legacy_call *c, int64_t span_ms)
{
	c->span_ms = span_ms;
	c->deadline_ms = span_ms > 0 ? now_ms() + span_ms : NEVER;
	arm(c->l);
}

/* ---- the end of a process ---- */

static void forget_fd(struct legacy *l, int *fd)
{
	if (*fd < 0)
		return;
	/* A close alone leaves the event where somebody else holds the descriptor open, if only for the
	 * moment between a fork and its exec. ENOENT: it could not be added. */
	(void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, *fd, NULL);
	close(*fd);
	*fd = -1;
}

/* Whether the process is gone. */
static bool call_reap(struct legacy_call *c)
{
	siginfo_t info = { 0 };

	if (c->state == CALL_GONE)
		return true;
	/* No child of ours (any more): where SIGCHLD is ignored the kernel reaps. */
	if (waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0)
		return false;
	if (c->state == CALL_STUCK)
		c->l->stuck--;
	c->state = CALL_GONE;
	forget_fd(c->l, &c->pidfd);
	call_expect(c, 0);
	return true;
}

static void call_kill(struct legacy_call *c)
{
	/* One that is gone is reaped, one that we may not kill is stuck: both show soon. */
	(void)pidfd_send_signal(c->pidfd, SIGKILL, NULL, 0);
	c->state = CALL_KILLED;
	call_expect(c, DEATH_MS);
}

/* The process obeys what is in the socket, then finds its end. */
static void call_leave(struct legacy_call *c)
{
	forget_fd(c->l, &c->fd);
	c->state = CALL_LEAVING;
	call_expect(c, GRACE_MS);
}

static void call_lost(struct legacy_call *c, bool kill_it, const struct pa_err *err)
{
	call_leave(c);
	if (kill_it)
		call_kill(c);
	c->handler.gone(c->arg, err);
}

/* ---- events ---- */

/* Hands over what has come. ended: the process is gone, so nothing comes after it. */
static void call_talk(struct legacy_call *c, bool ended)
{
	for (int i = 0; i < EVENTS && c->state == CALL_TALKING; i++) {
		struct pa_err why, err;
		cJSON *message;
		int fd;
		int r = message_receive(c->fd, &message, &fd, &why);

		if (r > 0) {
			call_expect(c, c->span_ms);
			c->handler.message(c->arg, message, fd);
			cJSON_Delete(message);
		} else if (r == 0 || (r == -EAGAIN && ended)) {
			pa_fail(&err, PA_FILE_UNUSABLE, 0, ENDED);
			call_lost(c, false, &err);
		} else if (r == -EAGAIN) {
			return;
		} else {
			pa_fail(&err, PA_FILE_UNUSABLE, 0,
				"the process for other programs' files: %s", why.detail);
			call_lost(c, true, &err);
		}
	}
}

static void call_due(struct legacy_call *c, int64_t now)
{
	struct pa_err err;

	if (now - c->deadline_ms > LATE_MS) {
		/* The machine slept, or this process was stopped: no process could have met it. */
		call_expect(c, c->span_ms);
		return;
	}
	switch (c->state) {
	case CALL_TALKING:
		call_talk(c, false);
		if (c->state != CALL_TALKING || c->deadline_ms > now)
			break;
		pa_fail(&err, PA_FILE_SILENT, 0, "no answer for %lld ms", (long long)c->span_ms);
		call_lost(c, true, &err);
		break;
	case CALL_LEAVING:
		if (!call_reap(c))
			call_kill(c);
		break;
	case CALL_KILLED:
		if (call_reap(c))
			break;
		c->state = CALL_STUCK;
		c->l->stuck++;
		call_expect(c, 0);
		break;
	case CALL_STUCK:
	case CALL_GONE:
		break; /* have no deadline */
	}
}

static void watch_event(const struct watch *w)
{
	struct legacy_call *c = w->call;

	call_talk(c, w->process);
	/* While it talks there is more to read: its end is seen again. */
	if (w->process && c->state != CALL_TALKING)
		call_reap(c);
}

static void sweep(struct legacy *l)
{
	for (struct legacy_call **link = &l->calls, *c; (c = *link);) {
		if (c->state == CALL_GONE) {
			*link = c->next;
			free(c);
		} else {
			link = &c->next;
		}
	}
}

void legacy_dispatch(struct legacy *l)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(l->epoll_fd, events, EVENTS, 0);
	uint64_t ticks;
	int64_t now;

	l->dispatching = true;
	for (int i = 0; i < n; i++) {
		if (events[i].data.ptr)
			watch_event(events[i].data.ptr);
		else if (read(l->timer_fd, &ticks, sizeof(ticks)) == sizeof(ticks))
			l->timer_ms = NEVER;
	}
	now = now_ms();
	for (struct legacy_call *c = l->calls; c; c = c->next)
		if (c->deadline_ms <= now)
			call_due(c, now);
	l->dispatching = false;
	sweep(l);
	arm(l);
}

/* ---- calls ---- */

static int watch_add(struct legacy *l, int fd, struct watch *w, struct pa_err *err)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = w };

	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev))
		return pa_fail(err, PA_SYSTEM, errno, "epoll_ctl");
	return 0;
}

int legacy_call_new(struct legacy *l, const cJSON *request, int64_t silence_ms,
	const struct legacy_handler *handler, void *arg, struct legacy_call **ret,
	struct pa_err *err)
{
	struct legacy_call *c;
	int rc;

	if (l->stuck >= LEGACY_STUCK_MAX)
		return pa_fail(err, PA_FILE_SILENT, 0, "%u processes hang there already", l->stuck);
	if (!(c = calloc(1, sizeof(*c))))
		return pa_fail(err, PA_NO_MEMORY, 0, "other programs' files");
	if ((rc = l->spawn.start(l->spawn.arg, &c->fd, &c->pidfd, err)) < 0) {
		free(c);
		return rc;
	}
	c->l = l;
	c->socket = (struct watch){ .call = c };
	c->process = (struct watch){ .call = c, .process = true };
	c->deadline_ms = NEVER;
	c->handler = *handler;
	c->arg = arg;
	c->next = l->calls;
	l->calls = c;
	/* A process whose end cannot be watched is found gone, or killed, after its grace. */
	if ((rc = watch_add(l, c->pidfd, &c->process, err)) < 0 ||
		(rc = watch_add(l, c->fd, &c->socket, err)) < 0 ||
		(rc = legacy_call_send(c, request, silence_ms, err)) < 0) {
		legacy_call_end(c);
		return rc;
	}
	*ret = c;
	return 0;
}

int legacy_call_send(
	struct legacy_call *c, const cJSON *request, int64_t silence_ms, struct pa_err *err)
{
	int rc;

	if (c->state != CALL_TALKING)
		return pa_fail(err, PA_FILE_UNUSABLE, 0, ENDED);
	rc = message_send(c->fd, request, -1, err);
	if (rc == -EPIPE)
		return pa_fail(err, PA_FILE_UNUSABLE, 0, ENDED);
	if (rc < 0)
		return rc;
	call_expect(c, silence_ms);
	return 0;
}

void legacy_call_rest(struct legacy_call *c)
{
	if (c->state == CALL_TALKING)
		call_expect(c, 0);
}

void legacy_call_end(struct legacy_call *c)
{
	if (c && c->state == CALL_TALKING)
		call_leave(c);
}

/* ---- the whole ---- */

int legacy_new(const struct legacy_spawn *spawn, struct legacy **ret, struct pa_err *err)
{
	struct legacy *l = calloc(1, sizeof(*l));
	int rc = 0;

	if (!l)
		return pa_fail(err, PA_NO_MEMORY, 0, "other programs' files");
	l->spawn = *spawn;
	l->timer_ms = NEVER;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (l->epoll_fd < 0 || l->timer_fd < 0)
		rc = pa_fail(err, PA_SYSTEM, errno, "other programs' files: descriptors");
	else
		rc = watch_add(l, l->timer_fd, NULL, err);
	if (rc < 0) {
		legacy_free(l);
		return rc;
	}
	*ret = l;
	return 0;
}

void legacy_free(struct legacy *l)
{
	if (!l)
		return;
	l->dispatching = true; /* the timer is of no use any more */
	for (struct legacy_call *c = l->calls; c; c = c->next) {
		forget_fd(l, &c->fd);
		/* What is gone leaves no zombie; the others are init's children soon. */
		if (!call_reap(c))
			forget_fd(l, &c->pidfd);
		c->state = CALL_GONE;
	}
	sweep(l);
	if (l->timer_fd >= 0)
		close(l->timer_fd);
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	free(l);
}

int legacy_fd(const struct legacy *l)
{
	return l->epoll_fd;
}
