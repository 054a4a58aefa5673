/* What passes between a worker and its holder: messages, and signs of life. */
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "holder.h"

#define ALARM_NS INT64_C(1000000000)
#define FDS_MAX  4 /* per message; the kernel closes what is beyond */

int hold_send(int control, enum hold_kind kind, uint64_t value, int fd, struct pa_err *err)
{
	struct hold_message m = { .kind = kind, .value = value };
	struct iovec part = { &m, sizeof(m) };
	union {
		struct cmsghdr header;
		uint8_t room[CMSG_SPACE(sizeof(int))];
	} extra = { 0 };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t n;

	if (fd >= 0) {
		msg.msg_control = &extra;
		msg.msg_controllen = sizeof(extra);
		extra.header.cmsg_level = SOL_SOCKET;
		extra.header.cmsg_type = SCM_RIGHTS;
		extra.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&extra.header), &fd, sizeof(int));
	}
	do {
		n = sendmsg(control, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return pa_fail(err, PA_SYSTEM, errno, "telling the holder: %s", strerror(errno));
	return 0;
}

/* The only descriptor of a message, or -1; if there are several they are closed. */
static int take_fd(struct msghdr *msg)
{
	int fds[FDS_MAX], n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), (size_t)n * sizeof(int));
	}
	if (n == 1)
		return fds[0];
	while (n > 0)
		close(fds[--n]);
	return -1;
}

int hold_receive(int control, struct hold_message *ret, int *ret_fd)
{
	struct hold_message m = { 0 };
	struct iovec part = { &m, sizeof(m) };
	union {
		struct cmsghdr header;
		uint8_t room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} extra;
	struct msghdr msg = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &extra,
		.msg_controllen = sizeof(extra) };
	ssize_t n;
	int fd;

	do {
		n = recvmsg(control, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	fd = take_fd(&msg);
	if (n == 0) {
		if (fd >= 0)
			close(fd);
		return -EPIPE;
	}
	if (n != sizeof(m) || (msg.msg_flags & MSG_TRUNC))
		m.kind = 0;
	*ret = m;
	*ret_fd = fd;
	return 0;
}

void hold_awake(struct page *page, int alarm_fd, int64_t now_ns, int64_t watchdog_ns)
{
	int64_t age = now_ns - atomic_load_explicit(&page->alarm_ns, memory_order_relaxed);
	struct itimerspec ts = { .it_value = {
					 watchdog_ns / 1000000000, watchdog_ns % 1000000000 } };

	/* A holder that sees it awake must see this beat, not one from before it slept. */
	atomic_store_explicit(&page->beat_ns, now_ns, memory_order_relaxed);
	atomic_store_explicit(&page->asleep, 0, memory_order_release);
	/* One that was armed less than half its time ago is still to come. */
	if (age < ALARM_NS && age < watchdog_ns / 2)
		return;
	atomic_store_explicit(&page->alarm_ns, now_ns, memory_order_relaxed);
	/* Cannot fail with a valid descriptor and a normalised time. */
	(void)timerfd_settime(alarm_fd, 0, &ts, NULL);
}

void hold_asleep(struct page *page)
{
	atomic_store_explicit(&page->asleep, 1, memory_order_relaxed);
}
