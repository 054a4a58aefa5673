/*
 * http_client - what the tests of http share: one exchange, run until its end.
 */
#ifndef PIAUTH_TEST_HTTP_CLIENT_H
#define PIAUTH_TEST_HTTP_CLIENT_H

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/oauth/http.h"

#define PATIENCE_MS 20000 /* of the test itself: longer means that an event got lost */

struct result {
	int calls;
	int r;
	struct http_answer answer; /* body: NULL */
	char body[1024];           /* its beginning */
	struct pa_err err;
	struct exchange *x;
};

static inline void on_done(
	void *arg, int r, const struct http_answer *answer, const struct pa_err *err)
{
	struct result *res = arg;

	res->calls++;
	res->r = r;
	res->err = *err;
	res->answer = *answer;
	res->answer.body = NULL;
	snprintf(res->body, sizeof(res->body), "%s", answer->body);
}

static inline const char *url_of(int port, const char *path)
{
	static char url[256];

	snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", port, path);
	return url;
}

static inline struct http_request post_to(const char *url)
{
	return (struct http_request){ .url = url,
		.content_type = "application/json",
		.connect_timeout_ms = PATIENCE_MS,
		.total_timeout_ms = PATIENCE_MS };
}

static inline void start(struct http *h, const struct http_request *rq, struct result *res)
{
	struct pa_err err;

	*res = (struct result){ 0 };
	if (http_start(h, rq, on_done, res, &res->x, &err) != 0)
		fail_msg("%s: %s", rq->url, err.detail);
}

/* One round of the loop. */
static inline void turn(struct http *h)
{
	struct pollfd p = { .fd = http_fd(h), .events = POLLIN };

	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
	http_dispatch(h);
}

static inline void finish(struct http *h, struct result *res)
{
	while (!res->calls)
		turn(h);
	assert_int_equal(res->calls, 1);
}

static inline void run(struct http *h, const struct http_request *rq, struct result *res)
{
	start(h, rq, res);
	finish(h, res);
}

static inline void assert_fails(
	const struct result *res, enum pa_code code, int status, bool maybe_sent)
{
	if (res->r != -pa_errno(code) || res->err.code != code || res->answer.status != status ||
		res->err.http_status != status || res->answer.maybe_sent != maybe_sent)
		fail_msg("%d %s status %d %s: %s", res->r, pa_wire(res->err.code),
			res->answer.status, res->answer.maybe_sent ? "sent" : "not sent",
			res->err.detail);
}

static inline struct secret *secret_of(const char *text)
{
	struct secret *s;

	assert_int_equal(secret_new(text, strlen(text), &s, NULL), 0);
	return s;
}

static inline int count_entries(const char *dir)
{
	DIR *d = opendir(dir);
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

#define CANARY_LEN 40

/* Never in memory as such: the scan must find the copies of others only. */
static inline char canary_at(size_t i)
{
	static const char masked[] = "\x39\x3b\x34\x3b\x28\x23";
	return (char)((masked[i % 6] ^ 0x5a) ^ (char)(i / 6));
}

static inline void write_canary(char *to)
{
	for (size_t i = 0; i < CANARY_LEN; i++)
		to[i] = canary_at(i);
}

/* How often the canary lies in this process's writable memory. Huge areas are sanitizer tables. */
static inline int count_canaries(void)
{
	static char block[64 * 1024];
	FILE *maps = fopen("/proc/self/maps", "re");
	int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC), found = 0;
	unsigned long from, to;
	char line[512], mode[8];

	assert_non_null(maps);
	assert_true(mem >= 0);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 ||
			strcmp(mode, "rw-p") != 0 || to - from > 64UL * 1024 * 1024)
			continue;
		for (; from < to; from += sizeof(block) - CANARY_LEN) {
			size_t len = to - from < sizeof(block) ? to - from : sizeof(block);
			ssize_t n = pread(mem, block, len, (off_t)from);
			for (ssize_t i = 0; i + CANARY_LEN <= n; i++) {
				size_t k = 0;
				while (k < CANARY_LEN && block[i + (ssize_t)k] == canary_at(k))
					k++;
				found += k == CANARY_LEN;
			}
			memset(block, 0, sizeof(block)); /* it lies in such an area, too */
		}
	}
	fclose(maps);
	close(mem);
	return found;
}

/* Each test has its own struct http and leaves no descriptor, thread or secret behind. */
struct fixture {
	struct http *h;
	int fds;
	size_t secrets;
};

static inline int fixture_new(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->fds = count_entries("/proc/self/fd");
	f->secrets = secret_heap_used();
	*state = f;
	return http_new(&f->h, NULL);
}

static inline int fixture_free(void **state)
{
	struct fixture *f = *state;
	struct fixture before = *f;

	http_free(f->h);
	free(f);
	if (count_entries("/proc/self/fd") == before.fds && secret_heap_used() == before.secrets)
		return 0;
	print_error("descriptors: %d before, %d now; secrets: %zu bytes before, %zu now\n",
		before.fds, count_entries("/proc/self/fd"), before.secrets, secret_heap_used());
	return -1;
}

/* The environment must not decide what the tests see. */
static inline void forget_proxies(void)
{
	static const char *const names[] = { "http_proxy", "https_proxy", "HTTPS_PROXY",
		"all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "SSL_CERT_FILE" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unsetenv(names[i]);
}

#endif
