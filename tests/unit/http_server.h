/*
 * http_server - a server thread for the tests of http: one scripted answer, on 127.0.0.1.
 *
 * What a connection gets is the function serve; it runs on the server's thread, which does not assert. The
 * request's bytes lie in request; read them after server_stop or after the answer came.
 */
#ifndef PIAUTH_TEST_HTTP_SERVER_H
#define PIAUTH_TEST_HTTP_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX (80 * 1024)

struct server {
	void (*serve)(struct server *s, int fd);
	const char *reply;
	size_t reply_len; /* 0: strlen(reply) */
	int port;
	atomic_int connections;
	sem_t gate; /* for scripts that wait for the test */
	int listener;
	int stop[2]; /* the thread ends when this pipe is closed */
	pthread_t thread;
	size_t request_len;
	char request[REQUEST_MAX];
};

static inline void server_send(int fd, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		bytes += n;
		len -= (size_t)n;
	}
}

/* One whole request: header and as much body as it names. */
static inline bool server_read(struct server *s, int fd)
{
	s->request_len = 0;
	for (;;) {
		ssize_t n =
			recv(fd, s->request + s->request_len, REQUEST_MAX - 1 - s->request_len, 0);
		if (n <= 0)
			return false;
		s->request_len += (size_t)n;
		s->request[s->request_len] = '\0';
		const char *end = strstr(s->request, "\r\n\r\n");
		const char *length = strcasestr(s->request, "\r\nContent-Length:");
		size_t body = length ? strtoul(length + 17, NULL, 10) : 0;
		if (end && s->request_len >= (size_t)(end + 4 - s->request) + body)
			return true;
	}
}

/* Until the client closes or the test stops the server. */
static inline void server_wait_gone(struct server *s, int fd)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = s->stop[0] } };
	char byte[512];

	while (poll(p, 2, -1) > 0 && !p[1].revents && recv(fd, byte, sizeof(byte), 0) > 0)
		continue;
}

static inline void serve_reply(struct server *s, int fd)
{
	if (server_read(s, fd))
		server_send(fd, s->reply, s->reply_len ? s->reply_len : strlen(s->reply));
}

/* Keeps the connection for further requests. */
static inline void serve_all(struct server *s, int fd)
{
	while (server_read(s, fd))
		server_send(fd, s->reply, strlen(s->reply));
}

/* As serve_reply, but as if the network broke: RST instead of FIN. */
static inline void serve_reset(struct server *s, int fd)
{
	struct linger at_once = { .l_onoff = 1 };

	serve_reply(s, fd);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

/* Byte by byte, each when the test opens the gate. */
static inline void serve_slowly(struct server *s, int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!server_read(s, fd))
		return;
	for (const char *c = s->reply; *c; c++) {
		sem_wait(&s->gate);
		server_send(fd, c, 1);
	}
}

/* Reads and says nothing. */
static inline void serve_silence(struct server *s, int fd)
{
	if (server_read(s, fd))
		server_wait_gone(s, fd);
}

/* Takes what comes first and says nothing: for TLS, which then hangs in its handshake. */
static inline void serve_hello(struct server *s, int fd)
{
	ssize_t n = recv(fd, s->request, REQUEST_MAX, 0);
	s->request_len = n > 0 ? (size_t)n : 0;
	server_wait_gone(s, fd);
}

/* reply, and then 10 MB of x. */
static inline void serve_flood(struct server *s, int fd)
{
	char block[4096];

	memset(block, 'x', sizeof(block));
	serve_reply(s, fd);
	for (int i = 0; i < 2560; i++)
		server_send(fd, block, sizeof(block));
}

static inline void *server_run(void *arg)
{
	struct server *s = arg;
	struct pollfd p[2] = { { .fd = s->listener, .events = POLLIN }, { .fd = s->stop[0] } };

	while (poll(p, 2, -1) > 0 && !p[1].revents) {
		int fd = accept(s->listener, NULL, NULL);
		if (fd < 0)
			continue;
		atomic_fetch_add(&s->connections, 1);
		s->serve(s, fd);
		close(fd);
	}
	return NULL;
}

static inline int listen_anywhere(int *ret_port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	*ret_port = ntohs(at.sin_port);
	return fd;
}

static inline struct server *server_start(
	void (*serve)(struct server *s, int fd), const char *reply)
{
	struct server *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->serve = serve;
	s->reply = reply;
	sem_init(&s->gate, 0, 0);
	s->listener = listen_anywhere(&s->port);
	assert_int_equal(pipe2(s->stop, O_CLOEXEC), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, server_run, s), 0);
	return s;
}

static inline void server_stop(struct server *s)
{
	close(s->stop[1]);
	pthread_join(s->thread, NULL);
	close(s->stop[0]);
	close(s->listener);
	sem_destroy(&s->gate);
	explicit_bzero(s->request, sizeof(s->request));
	free(s);
}

#endif
