#define _GNU_SOURCE
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORDS_MAX 32
#define BLOCK_LEN 4096

extern char **environ;

void die(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (err)
		fprintf(stderr, ": %s", strerror(err));
	fputc('\n', stderr);
	/* Also called in forked workers, which must not flush their parent's output again. */
	_exit(1);
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t target_time_ns(struct target *t)
{
	uint64_t start = now_ns();

	t->once(t);
	return now_ns() - start;
}

static void read_path(const char *path)
{
	char buf[TARGET_BUF];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		die(errno, "open %s", path);
	n = read(fd, buf, sizeof(buf));
	if (n <= 0)
		die(n < 0 ? errno : 0, "read %s: no token", path);
	if (read(fd, buf, sizeof(buf)) != 0)
		die(0, "read %s: more after the token", path);
	close(fd);
}

static void file_once(struct target *t)
{
	read_path(t->what);
}

static void each_once(struct target *t)
{
	const char *mark = strchr(t->what, '%');
	char path[4096];

	snprintf(path, sizeof(path), "%.*s%u%s", (int)(mark - t->what), t->what, t->next, mark + 1);
	t->next = (t->next + 1) % t->count;
	read_path(path);
}

static int unix_connect(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die(errno, "connect %s", path);
	return fd;
}

static void ask(int fd, const char *what)
{
	static const char line[] = "key groq\n";
	char buf[TARGET_BUF];

	if (send(fd, line, sizeof(line) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(line) - 1)
		die(errno, "send to %s", what);
	if (read(fd, buf, sizeof(buf)) <= 0)
		die(errno, "no answer from %s", what);
}

static void sock_once(struct target *t)
{
	int fd = unix_connect(t->what);

	ask(fd, t->what);
	close(fd);
}

static void conn_once(struct target *t)
{
	if (t->fd < 0)
		t->fd = unix_connect(t->what);
	ask(t->fd, t->what);
}

static int tcp_connect(int port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die(errno, "connect to port %d", port);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/*
 * Reads one answer: headers, then as many bytes as Content-Length says (to the end of the stream
 * without one). Returns the bytes read, 0 if the server had already closed; *ret_close says whether
 * the connection is used up.
 */
static size_t http_answer(int fd, int *ret_close)
{
	char buf[TARGET_BUF];
	size_t have = 0, want = 0;

	*ret_close = 0;
	for (;;) {
		ssize_t n = read(fd, buf + have, sizeof(buf) - 1 - have);
		char *body, *field;

		if (n < 0 && errno != ECONNRESET)
			die(errno, "answer");
		if (n <= 0) {
			*ret_close = 1;
			if (want)
				die(0, "answer cut short");
			return have;
		}
		have += (size_t)n;
		buf[have] = '\0';
		body = strstr(buf, "\r\n\r\n");
		if (body && !want) {
			if (!strstr(buf, " 200 "))
				die(0, "answer is not 200: %.40s", buf);
			*ret_close = strcasestr(buf, "\r\nconnection: close") != NULL;
			field = strcasestr(buf, "\r\ncontent-length:");
			if (field)
				want = (size_t)(body + 4 - buf) + strtoul(field + 17, NULL, 10);
		}
		if (want && have >= want)
			return have;
		if (have == sizeof(buf) - 1)
			die(0, "answer too long");
	}
}

static void post_once(struct target *t)
{
	int used = t->fd >= 0;
	int closed;

	for (;;) {
		if (t->fd < 0)
			t->fd = tcp_connect(t->port);
		if (send(t->fd, t->request, t->request_len, MSG_NOSIGNAL) ==
				(ssize_t)t->request_len &&
			http_answer(t->fd, &closed) > 0)
			break;
		close(t->fd);
		t->fd = -1;
		/* A kept connection may have been closed meanwhile; a new one may not. */
		if (!used)
			die(errno, "no answer from port %d", t->port);
		used = 0;
	}
	if (closed) {
		close(t->fd);
		t->fd = -1;
	}
}

static void fsync_once(struct target *t)
{
	static const char block[BLOCK_LEN];
	int fd = open(t->what, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, block, sizeof(block)) != sizeof(block) || fsync(fd) < 0)
		die(errno, "%s", t->what);
	close(fd);
}

static void exec_once(struct target *t)
{
	posix_spawn_file_actions_t actions;
	int r, status;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	r = posix_spawnp(&pid, t->argv[0], &actions, NULL, t->argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r != 0)
		die(r, "%s", t->argv[0]);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die(0, "%s failed", t->argv[0]);
}

static void load_request(struct target *t, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= 0)
		die(errno, "%s", path);
	t->request_len = (size_t)st.st_size;
	t->request = malloc(t->request_len);
	if (!t->request || read(fd, t->request, t->request_len) != st.st_size)
		die(errno, "%s", path);
	close(fd);
}

static void split_words(struct target *t, char *text)
{
	size_t n = 0;

	t->argv = calloc(WORDS_MAX + 1, sizeof(*t->argv));
	if (!t->argv)
		die(ENOMEM, "%s", t->name);
	for (char *w = strtok(text, " "); w && n < WORDS_MAX; w = strtok(NULL, " "))
		t->argv[n++] = w;
	if (n == 0)
		die(0, "%s: no command", t->name);
}

/* Cuts NUMBER: off the front of *text. */
static int take_number(const char *name, char **text)
{
	char *colon = strchr(*text, ':');
	long n;

	if (!colon)
		die(0, "%s: NUMBER:WHAT expected", name);
	n = strtol(*text, NULL, 10);
	if (n < 1 || n > 1000000)
		die(0, "%s: bad number", name);
	*text = colon + 1;
	return (int)n;
}

void target_parse(char *text, struct target *ret_t)
{
	struct target t = { .name = text, .fd = -1 };
	char *equal = strchr(text, '=');
	char *kind = equal ? equal + 1 : NULL;
	char *what = kind ? strchr(kind, ':') : NULL;

	if (!what)
		die(0, "%s: NAME=KIND:WHAT expected", text);
	*equal = '\0';
	*what++ = '\0';
	if (strcmp(kind, "file") == 0) {
		t.once = file_once;
	} else if (strcmp(kind, "each") == 0) {
		t.count = (unsigned int)take_number(t.name, &what);
		if (!strchr(what, '%'))
			die(0, "%s: no %% in the path", t.name);
		t.once = each_once;
	} else if (strcmp(kind, "sock") == 0) {
		t.once = sock_once;
	} else if (strcmp(kind, "conn") == 0) {
		t.once = conn_once;
	} else if (strcmp(kind, "post") == 0) {
		t.port = take_number(t.name, &what);
		load_request(&t, what);
		t.once = post_once;
	} else if (strcmp(kind, "fsync") == 0) {
		t.once = fsync_once;
	} else if (strcmp(kind, "exec") == 0) {
		split_words(&t, what);
		t.once = exec_once;
	} else {
		die(0, "%s: no such kind of target", kind);
	}
	t.what = what;
	*ret_t = t;
}
