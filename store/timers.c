/* One timer per profile, kept in a binary heap behind one timerfd. */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "broker_i.h"

/* A timer on the wall clock that never fires but is cancelled when somebody sets the clock. */
static int jump_arm(struct broker *b, struct pa_err *err)
{
	struct itimerspec never = { .it_value.tv_sec = INT32_MAX };

	if (timerfd_settime(b->jump_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL))
		return pa_fail(err, PA_SYSTEM, errno, "timerfd_settime");
	return 0;
}

int timers_init(struct broker *b, struct pa_err *err)
{
	struct epoll_event ev = { .events = EPOLLIN };

	b->timer_boot_ms = NEVER;
	b->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	b->jump_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (b->timer_fd < 0 || b->jump_fd < 0)
		return pa_fail(err, PA_SYSTEM, errno, "timerfd_create");
	ev.data.fd = b->timer_fd;
	if (epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, b->timer_fd, &ev))
		return pa_fail(err, PA_SYSTEM, errno, "epoll_ctl");
	ev.data.fd = b->jump_fd;
	if (epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, b->jump_fd, &ev))
		return pa_fail(err, PA_SYSTEM, errno, "epoll_ctl");
	return jump_arm(b, err);
}

void timers_done(struct broker *b)
{
	if (b->timer_fd >= 0)
		close(b->timer_fd);
	if (b->jump_fd >= 0)
		close(b->jump_fd);
	free(b->heap);
}

static void heap_put(struct broker *b, size_t i, struct profile *p)
{
	b->heap[i] = p;
	p->heap_index = i;
}

static void heap_up(struct broker *b, size_t i)
{
	struct profile *p = b->heap[i];

	for (; i > 1 && b->heap[i / 2]->wake_boot_ms > p->wake_boot_ms; i /= 2)
		heap_put(b, i, b->heap[i / 2]);
	heap_put(b, i, p);
}

static void heap_down(struct broker *b, size_t i)
{
	struct profile *p = b->heap[i];

	for (;;) {
		size_t child = 2 * i;

		if (child < b->heap_n &&
			b->heap[child + 1]->wake_boot_ms < b->heap[child]->wake_boot_ms)
			child++;
		if (child > b->heap_n || b->heap[child]->wake_boot_ms >= p->wake_boot_ms)
			break;
		heap_put(b, i, b->heap[child]);
		i = child;
	}
	heap_put(b, i, p);
}

static void timers_arm(struct broker *b)
{
	int64_t at = b->heap_n ? b->heap[1]->wake_boot_ms : NEVER;
	struct itimerspec ts = { 0 };

	if (at == b->timer_boot_ms)
		return;
	if (at != NEVER) {
		int64_t ms = at > 0 ? at : 1;

		ts.it_value.tv_sec = ms / 1000;
		ts.it_value.tv_nsec = ms % 1000 * 1000000;
	}
	/* Cannot fail with a valid descriptor and a normalised time. */
	(void)timerfd_settime(b->timer_fd, TFD_TIMER_ABSTIME, &ts, NULL);
	b->timer_boot_ms = at;
}

static void heap_set(struct profile *p, int64_t boot_ms)
{
	struct broker *b = p->b;
	size_t i = p->heap_index;

	p->wake_boot_ms = boot_ms;
	if (boot_ms == NEVER) {
		struct profile *last;

		if (!i)
			return;
		last = b->heap[b->heap_n--];
		p->heap_index = 0;
		if (last == p)
			return;
		heap_put(b, i, last);
		heap_up(b, i);
		heap_down(b, last->heap_index);
		return;
	}
	if (!i) {
		/* profile_make reserved the room: setting a timer cannot fail. */
		i = ++b->heap_n;
		heap_put(b, i, p);
	}
	heap_up(b, i);
	heap_down(b, p->heap_index);
}

void timer_set(struct profile *p, int64_t boot_ms)
{
	heap_set(p, boot_ms);
	if (!p->b->timers_running)
		timers_arm(p->b);
}

void timers_run(struct broker *b)
{
	uint64_t ticks;
	int64_t now;

	if (read(b->timer_fd, &ticks, sizeof(ticks)) == sizeof(ticks))
		b->timer_boot_ms = NEVER;
	if (read(b->jump_fd, &ticks, sizeof(ticks)) < 0 && errno == ECANCELED) {
		(void)jump_arm(b, NULL);
		/* The wall clock was set: every time that was derived from it is wrong. */
		for (size_t i = 0; i < b->by_name.n; i++)
			profile_step(b->by_name.v[i]);
	}
	b->timers_running = true;
	now = now_boot(b);
	while (b->heap_n && b->heap[1]->wake_boot_ms <= now) {
		struct profile *p = b->heap[1];

		timer_set(p, NEVER);
		profile_step(p);
	}
	b->timers_running = false;
	timers_arm(b);
}
