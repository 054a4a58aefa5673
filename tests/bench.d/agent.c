/*
 * agent - the least that a credential agent on a unix socket can do.
 *
 * A baseline of tests/bench: a client sends one line and gets a token of 100 bytes. A connection
 * may ask again; the agent serves one connection at a time, so that neither poll() nor a thread
 * stands between the request and its answer.
 *
 *	agent SOCKET READY_FD
 *
 * One byte is written to READY_FD when connect() works. Ends by a signal.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TOKEN_LEN 100

/* Answers one line after the other until the client closes. */
static void serve(int fd, const char *token)
{
	char line[256];
	ssize_t n;

	while ((n = read(fd, line, sizeof(line))) > 0) {
		if (line[n - 1] != '\n')
			return;
		if (send(fd, token, TOKEN_LEN, MSG_NOSIGNAL) != TOKEN_LEN)
			return;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char token[TOKEN_LEN];
	int listener;

	if (argc != 3 || strlen(argv[1]) >= sizeof(addr.sun_path)) {
		fprintf(stderr, "usage: agent SOCKET READY_FD\n");
		return 2;
	}
	memset(token, 'a', sizeof(token));
	memcpy(addr.sun_path, argv[1], strlen(argv[1]));

	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
		listen(listener, 64) < 0) {
		perror(argv[1]);
		return 1;
	}
	if (write(atoi(argv[2]), "r", 1) != 1) {
		perror("agent: READY_FD");
		return 1;
	}
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0) {
			serve(fd, token);
			close(fd);
		} else if (errno != EINTR && errno != ECONNABORTED) {
			perror("accept");
			return 1;
		}
	}
}
