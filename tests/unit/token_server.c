#include "tests/unit/token_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX 65536
#define ANSWER_MAX  65536
#define REPLIES_MAX 16

struct token_server {
	char prefix[64];
	bool rotates;
	int port, listener, event_fd;
	int gate;    /* a semaphore: one per reply that may go */
	int stop[2]; /* the thread ends when this pipe is closed */
	pthread_t thread;
	pthread_mutex_t lock; /* for what follows */
	struct token_reply replies[REPLIES_MAX];
	unsigned first, queued;
	unsigned requests, issued;
	bool revoked;
	int64_t life_s;
	const char *extra, *access;
	size_t request_len;
	char request[REQUEST_MAX];
	char answer[ANSWER_MAX]; /* the thread's own */
};

static bool read_request(struct token_server *s, int fd, char *buf, size_t *ret_len)
{
	size_t len = 0;

	for (;;) {
		struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = s->stop[0] } };
		ssize_t n;

		if (poll(p, 2, -1) < 0 || p[1].revents)
			return false;
		n = recv(fd, buf + len, REQUEST_MAX - 1 - len, 0);
		if (n <= 0)
			return false;
		len += (size_t)n;
		buf[len] = '\0';
		const char *end = strstr(buf, "\r\n\r\n");
		const char *length = strcasestr(buf, "\r\nContent-Length:");
		size_t body = length ? strtoul(length + 17, NULL, 10) : 0;

		if (end && len >= (size_t)(end + 4 - buf) + body) {
			*ret_len = len;
			return true;
		}
	}
}

/* The value that follows `name` up to a character of `end`, compared with text. */
static bool has_value(const char *request, const char *name, const char *end, const char *text)
{
	const char *at = strstr(request, name);

	if (!at)
		return false;
	at += strlen(name);
	return strcspn(at, end) == strlen(text) && !strncmp(at, text, strlen(text));
}

static bool presents(const struct token_server *s, const char *text)
{
	return has_value(s->request, "refresh_token=", "& \r\n", text) ||
	       has_value(s->request, "\"refresh_token\":\"", "\"", text) ||
	       has_value(s->request, "Authorization: Bearer ", " \r\n", text);
}

/* Takes the token and writes the answer; what it refuses revokes the family. */
static int provider_answer(struct token_server *s, char *body, size_t size)
{
	bool client = strstr(s->request, "client_credentials") != NULL;
	char name[128];

	snprintf(name, sizeof(name), "%s-rt-%u", s->prefix, s->rotates ? s->issued : 0);
	if (s->revoked || (!client && !presents(s, name))) {
		s->revoked = s->revoked || s->rotates;
		snprintf(body, size, "{\"error\":\"invalid_grant\"}");
		return 400;
	}
	s->issued++;
	int at = snprintf(body, size, "{\"access_token\":\"");
	if (s->access)
		at += snprintf(body + at, size - (size_t)at, "%s", s->access);
	else
		at += snprintf(body + at, size - (size_t)at, "%s-at-%u", s->prefix, s->issued);
	at += snprintf(
		body + at, size - (size_t)at, "\",\"expires_in\":%lld", (long long)s->life_s);
	if (s->rotates && !client)
		at += snprintf(body + at, size - (size_t)at, ",\"refresh_token\":\"%s-rt-%u\"",
			s->prefix, s->issued);
	if (s->extra)
		at += snprintf(body + at, size - (size_t)at, ",%s", s->extra);
	snprintf(body + at, size - (size_t)at, "}");
	return 200;
}

static void serve(struct token_server *s, int fd)
{
	static const char head[] = "HTTP/1.1 %d X\r\nContent-Type: application/json\r\n"
				   "Content-Length: %zu\r\nConnection: close\r\n%s\r\n";
	struct token_reply reply = { 0 };
	char *buf = malloc(REQUEST_MAX), line[1024];
	size_t len;
	int status = 0;

	if (!buf || !read_request(s, fd, buf, &len)) {
		free(buf);
		return;
	}
	pthread_mutex_lock(&s->lock);
	memcpy(s->request, buf, len + 1);
	s->request_len = len;
	s->requests++;
	if (s->queued) {
		reply = s->replies[s->first];
		s->first = (s->first + 1) % REPLIES_MAX;
		s->queued--;
	}
	if (!reply.status || reply.take)
		status = provider_answer(s, s->answer, sizeof(s->answer));
	if (reply.status) {
		status = reply.status;
		snprintf(s->answer, sizeof(s->answer), "%s", reply.body ? reply.body : "");
	}
	pthread_mutex_unlock(&s->lock);
	free(buf);
	eventfd_write(s->event_fd, 1);
	if (reply.hold) {
		struct pollfd p[2] = { { .fd = s->gate, .events = POLLIN }, { .fd = s->stop[0] } };
		eventfd_t one;

		if (poll(p, 2, -1) < 0 || p[1].revents)
			return;
		eventfd_read(s->gate, &one);
	}
	if (reply.lose)
		return;
	len = strlen(s->answer);
	int n = snprintf(line, sizeof(line), head, status, len, reply.headers ? reply.headers : "");
	if (send(fd, line, (size_t)n, MSG_NOSIGNAL) == n)
		for (size_t at = 0; at < len;) {
			ssize_t sent = send(fd, s->answer + at, len - at, MSG_NOSIGNAL);

			if (sent <= 0)
				break;
			at += (size_t)sent;
		}
}

static void *run(void *arg)
{
	struct token_server *s = arg;
	struct pollfd p[2] = { { .fd = s->listener, .events = POLLIN }, { .fd = s->stop[0] } };

	while (poll(p, 2, -1) > 0 && !p[1].revents) {
		int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		serve(s, fd);
		close(fd);
	}
	return NULL;
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	abort();
}

struct token_server *token_server_start(const char *prefix, bool rotates)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	struct token_server *s = calloc(1, sizeof(*s));

	must(s != NULL, "token server");
	snprintf(s->prefix, sizeof(s->prefix), "%s", prefix);
	s->rotates = rotates;
	s->life_s = 3600;
	pthread_mutex_init(&s->lock, NULL);
	s->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	s->gate = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(s->event_fd >= 0 && s->gate >= 0 && s->listener >= 0, "descriptors");
	must(!bind(s->listener, (struct sockaddr *)&at, len) && !listen(s->listener, 16), "listen");
	must(!getsockname(s->listener, (struct sockaddr *)&at, &len), "getsockname");
	s->port = ntohs(at.sin_port);
	must(!pipe2(s->stop, O_CLOEXEC), "pipe");
	must(!pthread_create(&s->thread, NULL, run, s), "thread");
	return s;
}

void token_server_stop(struct token_server *s)
{
	close(s->stop[1]);
	pthread_join(s->thread, NULL);
	close(s->stop[0]);
	close(s->listener);
	close(s->event_fd);
	close(s->gate);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

int token_server_port(const struct token_server *s)
{
	return s->port;
}

int token_server_fd(const struct token_server *s)
{
	return s->event_fd;
}

unsigned token_server_requests(struct token_server *s)
{
	eventfd_t count;
	unsigned n;

	eventfd_read(s->event_fd, &count); /* EAGAIN: none since */
	pthread_mutex_lock(&s->lock);
	n = s->requests;
	pthread_mutex_unlock(&s->lock);
	return n;
}

unsigned token_server_issued(struct token_server *s)
{
	unsigned n;

	pthread_mutex_lock(&s->lock);
	n = s->issued;
	pthread_mutex_unlock(&s->lock);
	return n;
}

bool token_server_is_revoked(struct token_server *s)
{
	bool revoked;

	pthread_mutex_lock(&s->lock);
	revoked = s->revoked;
	pthread_mutex_unlock(&s->lock);
	return revoked;
}

const char *token_server_last(struct token_server *s)
{
	return s->request;
}

void token_server_next(struct token_server *s, struct token_reply reply)
{
	pthread_mutex_lock(&s->lock);
	must(s->queued < REPLIES_MAX, "too many replies");
	s->replies[(s->first + s->queued++) % REPLIES_MAX] = reply;
	pthread_mutex_unlock(&s->lock);
}

void token_server_release(struct token_server *s)
{
	eventfd_write(s->gate, 1);
}

void token_server_life(struct token_server *s, int64_t seconds)
{
	pthread_mutex_lock(&s->lock);
	s->life_s = seconds;
	pthread_mutex_unlock(&s->lock);
}

void token_server_extra(struct token_server *s, const char *members)
{
	pthread_mutex_lock(&s->lock);
	s->extra = members;
	pthread_mutex_unlock(&s->lock);
}

void token_server_access(struct token_server *s, const char *access)
{
	pthread_mutex_lock(&s->lock);
	s->access = access;
	pthread_mutex_unlock(&s->lock);
}
