#include "message.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../secret.h"

#define FDS_MAX 4 /* that are received, so as to be closed; one is expected */

int message_send(int socket, const cJSON *message, int fd, struct pa_err *err)
{
	WIPE_AUTO char *text = json_text(message);
	if (!text)
		return pa_fail(err, PA_NO_MEMORY, 0, "message");
	size_t len = strlen(text);
	if (len > MESSAGE_MAX)
		return pa_fail(err, PA_TOO_BIG, 0, "a message of %zu bytes, the limit is %d", len,
			MESSAGE_MAX);
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = text, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	for (;;) {
		/* a packet goes whole or not at all */
		if (sendmsg(socket, &msg, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno == EINTR)
			continue;
		int errnum = errno == ECONNRESET || errno == ENOTCONN ? EPIPE : errno;
		return pa_fail(
			err, PA_SYSTEM, errnum, "a message was not sent: %s", strerror(errnum));
	}
}

/* Takes the descriptors out of a message: the first into *ret_fd, the others are closed. How many came. */
static size_t take_fds(struct msghdr *msg, int *ret_fd)
{
	size_t n = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < here; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (n++ == 0)
				*ret_fd = fd;
			else
				close(fd);
		}
	}
	return n;
}

int message_receive(int socket, cJSON **ret, int *ret_fd, struct pa_err *err)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	WIPE_AUTO char *text = wipe_malloc(MESSAGE_MAX + 1);
	if (!text)
		return pa_fail(err, PA_NO_MEMORY, 0, "message");
	struct iovec iov = { .iov_base = text, .iov_len = MESSAGE_MAX + 1 };
	struct msghdr msg;
	ssize_t len;
	do {
		msg = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 };
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		len = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
		/* ECONNRESET is told once, when the peer left without reading what we sent; what it sent before
		 * is still there to be read. */
	} while (len < 0 && (errno == EINTR || errno == ECONNRESET));
	if (len < 0)
		return pa_fail(err, PA_SYSTEM, errno, "no message was received");
	if (len == 0)
		return 0;
	int fd = -1;
	size_t fds = take_fds(&msg, &fd);
	cJSON *message = NULL;
	int rc = 0;
	if (len > MESSAGE_MAX || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || fds > 1)
		rc = pa_fail(err, PA_SYSTEM, EBADMSG, "a message that is too long");
	else
		rc = json_parse(text, (size_t)len, PA_SYSTEM, &message, NULL, err);
	if (rc == 0 && !cJSON_IsObject(message))
		rc = pa_fail(err, PA_SYSTEM, EBADMSG, "a message that is not an object");
	if (rc < 0) {
		cJSON_Delete(message);
		if (fd >= 0)
			close(fd);
		return rc;
	}
	*ret = message;
	*ret_fd = fd;
	return 1;
}
