#include "broker_i.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static int64_t clock_ms(clockid_t id)
{
	struct timespec ts;

	/* Cannot fail: both clocks exist on every kernel that has FUSE. */
	(void)clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t system_wall_ms(void *arg)
{
	(void)arg;
	return clock_ms(CLOCK_REALTIME);
}

static int64_t system_boot_ms(void *arg)
{
	(void)arg;
	return clock_ms(CLOCK_BOOTTIME);
}

static const struct broker_clock system_clock = { system_wall_ms, system_boot_ms, NULL };

static int epoll_add(struct broker *b, int fd, struct pa_err *err)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, fd, &ev))
		return pa_fail(err, PA_SYSTEM, errno, "epoll_ctl");
	return 0;
}

static void broker_destroy(struct broker *b)
{
	migrate_free(b);
	linked_free(b);
	legacy_free(b->legacy);
	http_free(b->http);
	writer_free(b->writer);
	profiles_free(b);
	timers_done(b);
	eventlog_done(&b->events);
	if (b->epoll_fd >= 0)
		close(b->epoll_fd);
	free(b);
}

/* What the files of other tools need. */
static int files_new(struct broker *b, const struct legacy_spawn *spawn, struct pa_err *err)
{
	int rc;

	if (!spawn)
		return 0;
	if ((rc = legacy_new(spawn, &b->legacy, err)) < 0 || (rc = linked_new(b, err)) < 0 ||
		(rc = epoll_add(b, legacy_fd(b->legacy), err)) < 0)
		return rc;
	return epoll_add(b, linked_fd(b), err);
}

int broker_new(const struct broker_options *o, struct broker **ret, struct pa_err *err)
{
	struct broker *b = calloc(1, sizeof(*b));
	int rc;

	if (!b)
		return pa_fail(err, PA_NO_MEMORY, 0, "broker");
	b->vault = o->vault;
	b->providers = o->providers;
	b->config = o->config;
	b->clock = o->clock ? *o->clock : system_clock;
	b->timer_fd = b->jump_fd = -1;
	b->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (b->epoll_fd < 0) {
		rc = pa_fail(err, PA_SYSTEM, errno, "epoll_create1");
		goto fail;
	}
	if ((rc = timers_init(b, err)) < 0 || (rc = writer_new(&b->writer, err)) < 0 ||
		(rc = http_new(&b->http, err)) < 0 ||
		(rc = epoll_add(b, writer_fd(b->writer), err)) < 0 ||
		(rc = epoll_add(b, http_fd(b->http), err)) < 0 ||
		(rc = files_new(b, o->legacy, err)) < 0 || (rc = profiles_load(b, err)) < 0 ||
		(rc = migrate_new(b, o->import, err)) < 0)
		goto fail;
	/* Values that were acknowledged and not published before the last server ended. */
	for (size_t i = 0; i < b->by_name.n; i++) {
		if (b->by_name.v[i]->dirty)
			profile_save_again(b->by_name.v[i]);
	}
	*ret = b;
	return 0;
fail:
	broker_destroy(b);
	return rc;
}

int broker_fd(const struct broker *b)
{
	return b->epoll_fd;
}

int64_t broker_wall_ms(const struct broker *b)
{
	return now_wall(b);
}

/* One round over what is ready; wait_ms as for poll. */
static void dispatch(struct broker *b, int wait_ms)
{
	struct epoll_event ev[6];
	int n = epoll_wait(b->epoll_fd, ev, 6, wait_ms);

	for (int i = 0; i < n; i++) {
		if (ev[i].data.fd == writer_fd(b->writer))
			writer_dispatch(b->writer);
		else if (ev[i].data.fd == http_fd(b->http))
			http_dispatch(b->http);
		else if (b->legacy && ev[i].data.fd == legacy_fd(b->legacy))
			legacy_dispatch(b->legacy);
		else if (b->legacy && ev[i].data.fd == linked_fd(b))
			linked_dispatch(b);
	}
	/* After the answers: what they settled needs no timer any more. */
	timers_run(b);
}

void broker_dispatch(struct broker *b)
{
	dispatch(b, 0);
}

void broker_free(struct broker *b, int64_t drain_ms)
{
	int64_t until;
	struct pa_err err;

	if (!b)
		return;
	b->stopping = true;
	until = now_boot(b) + drain_ms;
	pa_fail(&err, PA_INTERRUPTED, 0, "the server is stopping");
	while (b->busy && now_boot(b) < until)
		dispatch(b, (int)(until - now_boot(b)) + 1);
	for (size_t i = 0; i < b->by_name.n; i++)
		refresh_abandon(b->by_name.v[i]);
	writer_drain(b->writer);
	for (size_t i = 0; i < b->by_name.n; i++) {
		struct profile *p = b->by_name.v[i];

		/* One last try for what is not on disk. */
		if (p->dirty && !p->commits)
			profile_save_again(p);
	}
	writer_drain(b->writer);
	for (size_t i = b->by_name.n; i-- > 0;) {
		struct profile *p = b->by_name.v[i];

		profile_hold(p, 1);
		profile_abort_waits(p, &err);
	}
	broker_destroy(b);
}
