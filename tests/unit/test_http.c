/*
 * http against a server thread: what is sent, what comes back, what is refused, and that nothing stays.
 * Name resolution, TLS, proxies and time-outs are in test_http_net.c.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>

#include "http_client.h"
#include "http_server.h"

#define OK        "HTTP/1.1 200 OK\r\n"
#define COUNT(a)  (sizeof(a) / sizeof(*(a)))
#define HEAP_SIZE (256 * 1024)

static int64_t wall_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- what is sent ---- */

static void a_post_arrives_whole(void **state)
{
	struct fixture *f = *state;
	struct server *s = server_start(serve_reply, OK "Content-Length: 7\r\n\r\n{\"a\":1}");
	const char *const headers[] = { "Accept: application/json", "X-Api-Version: 1.0.0", NULL };
	SECRET_AUTO struct secret *body = secret_of("grant_type=refresh_token&refresh_token=r%261");
	SECRET_AUTO struct secret *bearer = secret_of("tok.en-1");
	struct http_request rq = post_to(url_of(s->port, "/oauth/token?x=1"));
	struct result res;
	char want[512];
	int64_t before = wall_ms();

	rq.content_type = "application/x-www-form-urlencoded";
	rq.body = body;
	rq.bearer = bearer;
	rq.headers = headers;
	run(f->h, &rq, &res);
	assert_int_equal(res.r, 0);
	assert_int_equal(res.err.code, PA_NONE);
	assert_int_equal(res.answer.status, 200);
	assert_string_equal(res.body, "{\"a\":1}");
	assert_int_equal(res.answer.body_len, 7);
	assert_int_equal(res.answer.retry_after_s, -1);
	assert_true(res.answer.maybe_sent);
	assert_true(res.answer.sent_wall_ms >= before && res.answer.sent_wall_ms <= wall_ms());
	snprintf(want, sizeof(want),
		"POST /oauth/token?x=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: piauth/%s\r\n"
		"Content-Type: application/x-www-form-urlencoded\r\nAccept: application/json\r\n"
		"X-Api-Version: 1.0.0\r\nAuthorization: Bearer tok.en-1\r\nContent-Length: "
		"44\r\n\r\n"
		"grant_type=refresh_token&refresh_token=r%%261",
		s->port, PIAUTH_VERSION);
	assert_string_equal(s->request, want);
	server_stop(s);
}

static void a_get_has_no_body(void **state)
{
	struct fixture *f = *state;
	struct server *s = server_start(serve_reply, OK "Content-Length: 0\r\n\r\n");
	const char *const headers[] = { "User-Agent: Editor/1", NULL };
	struct http_request rq = post_to(url_of(s->port, "/"));
	struct result res;

	rq.get = true;
	rq.headers = headers;
	run(f->h, &rq, &res);
	assert_int_equal(res.r, 0);
	assert_int_equal(res.answer.body_len, 0);
	assert_string_equal(res.body, "");
	assert_memory_equal(s->request, "GET / HTTP/1.1\r\n", 16);
	assert_null(strstr(s->request, "Content-"));
	assert_non_null(strstr(s->request, "\r\nUser-Agent: Editor/1\r\n"));
	assert_null(strstr(s->request, "piauth"));
	server_stop(s);
}

static void an_empty_post_has_no_type(void **state)
{
	struct fixture *f = *state;
	struct server *s = server_start(serve_reply, "HTTP/1.1 204 No Content\r\n\r\n");
	struct http_request rq = post_to(url_of(s->port, "/"));
	struct result res;

	rq.content_type = NULL;
	run(f->h, &rq, &res);
	assert_int_equal(res.r, 0);
	assert_int_equal(res.answer.status, 204);
	assert_non_null(strstr(s->request, "\r\nContent-Length: 0\r\n"));
	assert_null(strstr(s->request, "Content-Type"));
	server_stop(s);
}

static void a_large_body_arrives(void **state)
{
	struct fixture *f = *state;
	struct server *s = server_start(serve_reply, OK "Content-Length: 0\r\n\r\n");
	struct http_request rq = post_to(url_of(s->port, "/"));
	SECRET_AUTO struct secret *body = NULL;
	struct result res;
	void *bytes;

	assert_int_equal(secret_new_blank(SECRET_MAX, &body, &bytes, NULL), 0);
	memset(bytes, 'b', SECRET_MAX);
	rq.body = body;
	run(f->h, &rq, &res);
	assert_int_equal(res.r, 0);
	assert_null(strcasestr(s->request, "\r\nExpect:"));
	assert_true(s->request_len > SECRET_MAX);
	assert_memory_equal(s->request + s->request_len - SECRET_MAX, bytes, SECRET_MAX);
	server_stop(s);
}

/* ---- what comes back ---- */

static const struct {
	const char *reply;
	int status;
	const char *body;
	int retry_after_s;
} usable[] = {
	{ OK "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nRetry: 1\r\n\r\n",
		200, "abcde", -1 },
	{ "HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, "until the end", -1 },
	{ "HTTP/1.1 100 Continue\r\nRetry-After: 9\r\n\r\n" OK "Content-Length: 1\r\n\r\nx", 200,
		"x", -1 },
	{ "HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}", 400, "{}", -1 },
	{ "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n", 401, "", -1 },
	{ "HTTP/1.1 529 Overloaded\r\nContent-Length: 0\r\n\r\n", 529, "", -1 },
	{ "HTTP/1.1 429 Slow\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n", 429, "", 120 },
	{ "HTTP/1.1 503 Busy\r\nretry-after:0\r\nContent-Length: 0\r\n\r\n", 503, "", 0 },
	{ "HTTP/1.1 429 Slow\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n",
		429, "", 366 * 24 * 3600 },
	{ "HTTP/1.1 429 Slow\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: "
	  "0\r\n\r\n",
		429, "", 0 },
	{ "HTTP/1.1 429 Slow\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", 429, "", -1 },
	{ "HTTP/1.1 429 Slow\r\nRetry-After: Sometime\r\nContent-Length: 0\r\n\r\n", 429, "", -1 },
	{ "HTTP/1.1 429 Slow\r\nRetry-After: -5\r\nContent-Length: 0\r\n\r\n", 429, "", -1 },
	{ "HTTP/1.1 429 Slow\r\nRetry-After: 1.5\r\nContent-Length: 0\r\n\r\n", 429, "", -1 },
	{ "HTTP/1.1 429 Slow\r\nRetry-After:\r\nContent-Length: 0\r\n\r\n", 429, "", -1 },
};

static void any_status_is_an_answer(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT(usable); i++) {
		struct server *s = server_start(serve_reply, usable[i].reply);
		struct http_request rq = post_to(url_of(s->port, "/"));
		struct result res;

		run(f->h, &rq, &res);
		if (res.r != 0 || res.answer.status != usable[i].status ||
			res.answer.body_len != strlen(usable[i].body) ||
			strcmp(res.body, usable[i].body) != 0 || !res.answer.maybe_sent ||
			res.answer.retry_after_s != usable[i].retry_after_s)
			fail_msg("%s: %d, %d, \"%s\", %d", usable[i].reply, res.r,
				res.answer.status, res.body, (int)res.answer.retry_after_s);
		assert_int_equal(atomic_load(&s->connections), 1);
		server_stop(s);
	}
}

static void retry_after_may_be_a_date(void **state)
{
	struct fixture *f = *state;
	char reply[256];
	time_t at = time(NULL) + 3600;
	struct tm tm;
	size_t n;

	gmtime_r(&at, &tm);
	n = strftime(reply, sizeof(reply),
		"HTTP/1.1 429 Slow\r\nRetry-After: %a, %d %b %Y %H:%M:%S GMT\r\n"
		"Content-Length: 0\r\n\r\n",
		&tm);
	assert_true(n > 0);
	struct server *s = server_start(serve_reply, reply);
	struct http_request rq = post_to(url_of(s->port, "/"));
	struct result res;
	run(f->h, &rq, &res);
	assert_int_equal(res.answer.status, 429);
	assert_in_range(res.answer.retry_after_s, 3600 - PATIENCE_MS / 1000, 3600);
	server_stop(s);
}

static void a_slow_answer_is_put_together(void **state)
{
	struct fixture *f = *state;
	struct server *s =
		server_start(serve_slowly, OK "Retry-After: 7\r\nContent-Length: 5\r\n\r\nslow!");
	struct http_request rq = post_to(url_of(s->port, "/"));
	struct result res;

	start(f->h, &rq, &res);
	while (!res.calls) {
		sem_post(&s->gate);
		turn(f->h);
	}
	assert_int_equal(res.r, 0);
	assert_string_equal(res.body, "slow!");
	assert_int_equal(res.answer.retry_after_s, 7);
	server_stop(s);
}

static const struct {
	void (*serve)(struct server *s, int fd);
	const char *reply;
	int status;
	enum pa_code code;
} unusable[] = {
	{ serve_reply, OK "Content-Length: 100\r\n\r\n{\"access", 200, PA_NET_ANSWER },
	{ serve_reply, OK "Transfer-Encoding: chunked\r\n\r\n9\r\n{\"acc", 200, PA_NET_ANSWER },
	{ serve_reply, OK "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 200, PA_NET_ANSWER },
	{ serve_reset, OK "Content-Length: 100\r\n\r\n{\"access", 200, PA_NET_ANSWER },
	{ serve_reset, "", 0, PA_NET_UNREACHABLE },
	{ serve_reply, "", 0, PA_NET_UNREACHABLE },
	{ serve_reply, "SSH-2.0-OpenSSH_9.2\r\n", 0, PA_NET_ANSWER },
	{ serve_reply, "{\"access_token\":\"a\"}", 0, PA_NET_ANSWER },
	{ serve_reply, "HTTP/1.1 100 Continue\r\n\r\n", 0, PA_NET_UNREACHABLE },
	{ serve_reply, "HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", 999, PA_NET_ANSWER },
	{ serve_reply, "HTTP/1.1 304 Not Modified\r\n\r\n", 304, PA_NET_ANSWER },
	{ serve_flood, OK "\r\n", 200, PA_NET_ANSWER },
	{ serve_flood, OK "Content-Length: 10485760\r\n\r\n", 200, PA_NET_ANSWER },
	{ serve_flood, OK "X: ", 200, PA_NET_ANSWER },
};

static void an_unusable_answer_is_refused(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT(unusable); i++) {
		struct server *s = server_start(unusable[i].serve, unusable[i].reply);
		struct http_request rq = post_to(url_of(s->port, "/secret-path?secret=query"));
		struct result res;

		print_message("# %s\n",
			unusable[i].reply[0] ? strtok(strdupa(unusable[i].reply), "\r") : "");
		run(f->h, &rq, &res);
		assert_fails(&res, unusable[i].code, unusable[i].status, true);
		assert_non_null(strstr(res.err.detail, "127.0.0.1:"));
		assert_null(strstr(res.err.detail, "secret"));
		assert_int_equal(atomic_load(&s->connections), 1); /* never sent twice */
		server_stop(s);
	}
}

static void many_header_lines_are_refused(void **state)
{
	struct fixture *f = *state;
	const size_t line_len = 1024;
	size_t len = HTTP_HEADER_MAX + 4 * line_len;
	char *reply = malloc(len + 1);

	memset(reply, 'y', len);
	memcpy(reply, OK, strlen(OK));
	for (size_t i = strlen(OK); i + line_len < len; i += line_len) {
		memcpy(reply + i, "X: ", 3);
		memcpy(reply + i + line_len - 2, "\r\n", 2);
	}
	reply[len] = '\0';
	struct server *s = server_start(serve_reply, reply);
	struct http_request rq = post_to(url_of(s->port, "/"));
	struct result res;
	run(f->h, &rq, &res);
	assert_fails(&res, PA_NET_ANSWER, 200, true);
	assert_non_null(strstr(res.err.detail, "header is too big"));
	server_stop(s);
	free(reply);
}

static void the_body_limit_is_exact(void **state)
{
	struct fixture *f = *state;
	char head[64];

	for (size_t over = 0; over < 2; over++) {
		size_t len = HTTP_BODY_MAX + over;
		size_t head_len =
			(size_t)snprintf(head, sizeof(head), OK "Content-Length: %zu\r\n\r\n", len);
		char *reply = malloc(head_len + len);
		struct result res;

		memcpy(reply, head, head_len);
		memset(reply + head_len, 'z', len);
		struct server *s = server_start(serve_reply, reply);
		s->reply_len = head_len + len;
		struct http_request rq = post_to(url_of(s->port, "/"));
		run(f->h, &rq, &res);
		if (over) {
			assert_fails(&res, PA_NET_ANSWER, 200, true);
		} else {
			assert_int_equal(res.r, 0);
			assert_int_equal(res.answer.body_len, HTTP_BODY_MAX);
		}
		server_stop(s);
		free(reply);
	}
}

static void a_redirect_is_not_followed(void **state)
{
	struct fixture *f = *state;
	struct server *target = server_start(serve_reply, OK "Content-Length: 0\r\n\r\n");
	char reply[256];

	snprintf(reply, sizeof(reply),
		"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n",
		target->port);
	struct server *s = server_start(serve_reply, reply);
	struct http_request rq = post_to(url_of(s->port, "/"));
	struct result res;
	run(f->h, &rq, &res);
	assert_fails(&res, PA_NET_ANSWER, 307, true);
	assert_int_equal(atomic_load(&target->connections), 0);
	server_stop(s);
	server_stop(target);
}

/* A connection that is used again may die while it carries a POST, which curl then repeats. */
static void no_connection_is_used_twice(void **state)
{
	struct fixture *f = *state;
	struct server *s = server_start(serve_all, OK "Content-Length: 1\r\n\r\nx");
	struct http_request rq = post_to(url_of(s->port, "/"));
	struct result res;

	for (int i = 1; i <= 3; i++) {
		run(f->h, &rq, &res);
		assert_string_equal(res.body, "x");
		assert_int_equal(atomic_load(&s->connections), i);
	}
	server_stop(s);
}

/* ---- several at once ---- */

static void exchanges_do_not_wait_for_each_other(void **state)
{
	struct fixture *f = *state;
	struct server *slow = server_start(serve_slowly, OK "Content-Length: 1\r\n\r\ns");
	struct server *quick = server_start(serve_reply, OK "Content-Length: 1\r\n\r\nq");
	struct http_request to_slow = post_to(url_of(slow->port, "/"));
	struct result a, b;

	start(f->h, &to_slow, &a);
	struct http_request to_quick = post_to(url_of(quick->port, "/"));
	run(f->h, &to_quick, &b);
	assert_string_equal(b.body, "q");
	assert_int_equal(a.calls, 0);
	for (size_t i = 0; i < strlen(slow->reply); i++)
		sem_post(&slow->gate);
	finish(f->h, &a);
	assert_string_equal(a.body, "s");
	server_stop(slow);
	server_stop(quick);
}

static void an_aborted_exchange_is_silent(void **state)
{
	struct fixture *f = *state;
	struct server *s = server_start(serve_silence, NULL);
	SECRET_AUTO struct secret *body = secret_of("b");
	struct http_request rq = post_to(url_of(s->port, "/"));
	struct result before, during, last;

	rq.body = body;
	start(f->h, &rq, &before);
	http_abort(before.x); /* before it did anything */
	start(f->h, &rq, &during);
	while (!atomic_load(&s->connections))
		turn(f->h);
	http_abort(during.x);
	start(f->h, &rq, &last); /* left to http_free */
	while (atomic_load(&s->connections) < 2)
		turn(f->h);
	http_free(f->h);
	assert_int_equal(before.calls + during.calls + last.calls, 0);
	assert_int_equal(http_new(&f->h, NULL), 0);
	server_stop(s);
}

struct chain {
	struct http *h;
	struct result *victim;
	const char *url;
	struct result own, next;
};

static void abort_and_start(
	void *arg, int r, const struct http_answer *answer, const struct pa_err *err)
{
	struct chain *c = arg;
	struct http_request rq = post_to(c->url);

	on_done(&c->own, r, answer, err);
	http_abort(c->victim->x);
	start(c->h, &rq, &c->next);
}

static void done_may_abort_and_start_others(void **state)
{
	struct fixture *f = *state;
	struct server *silent = server_start(serve_silence, NULL);
	struct server *s = server_start(serve_reply, OK "Content-Length: 1\r\n\r\nx");
	struct http_request to_silent = post_to(url_of(silent->port, "/"));
	struct result victim;
	char url[256];
	struct chain c = { .h = f->h, .victim = &victim, .url = url };

	start(f->h, &to_silent, &victim);
	snprintf(url, sizeof(url), "%s", url_of(s->port, "/"));
	struct http_request rq = post_to(url);
	assert_int_equal(http_start(f->h, &rq, abort_and_start, &c, NULL, NULL), 0);
	while (!c.next.calls)
		turn(f->h);
	assert_int_equal(c.own.r, 0);
	assert_int_equal(c.next.r, 0);
	assert_int_equal(victim.calls, 0);
	server_stop(silent);
	server_stop(s);
}

/* ---- what is not sent ---- */

static void bad_requests_do_not_start(void **state)
{
	static const char *const urls[] = { "http://auth.example/token", "ftp://127.0.0.1/",
		"file:///etc/passwd", "127.0.0.1:1/token", "", "http://127.0.0.1.auth.example/",
		"https://user:password@auth.example/" };
	static const char *const lines[] = { "X: a\r\nY: b", "X: a\nY", "nothing", ": x",
		"X y: z" };
	struct fixture *f = *state;
	struct server *s = server_start(serve_reply, OK "Content-Length: 0\r\n\r\n");
	struct http_request rq = post_to(NULL);
	struct pa_err err;

	for (size_t i = 0; i < COUNT(urls); i++) {
		rq.url = urls[i];
		assert_int_equal(http_start(f->h, &rq, on_done, NULL, NULL, &err), -EINVAL);
		assert_int_equal(err.code, PA_CONFIG);
	}
	rq.url = url_of(s->port, "/");
	for (size_t i = 0; i < COUNT(lines); i++) {
		const char *const headers[] = { "Accept: x", lines[i], NULL };
		rq.headers = headers;
		assert_int_equal(http_start(f->h, &rq, on_done, NULL, NULL, &err), -EINVAL);
		assert_int_equal(err.code, PA_CONFIG);
	}
	rq.headers = NULL;
	SECRET_AUTO struct secret *bearer = secret_of("a\r\nX: y");
	rq.bearer = bearer;
	assert_int_equal(http_start(f->h, &rq, on_done, NULL, NULL, &err), -EINVAL);
	assert_int_equal(err.code, PA_BAD_INPUT);
	rq.bearer = NULL;
	rq.total_timeout_ms = 0;
	assert_int_equal(http_start(f->h, &rq, on_done, NULL, NULL, &err), -ETIMEDOUT);
	assert_int_equal(atomic_load(&s->connections), 0);
	server_stop(s);
}

/* ---- what stays ---- */

static void a_lost_peer_kills_nobody(void **state)
{
	struct sigaction now;

	assert_int_equal(sigaction(SIGPIPE, NULL, &now), 0);
	assert_true(now.sa_handler == SIG_IGN);
}

static void count_body(void *arg, int r, const struct http_answer *answer, const struct pa_err *err)
{
	struct result *res = arg;
	res->calls++;
	res->r = r;
	res->answer.body_len = answer->body_len;
}

static void nothing_secret_stays_in_memory(void **state)
{
	struct fixture *f = *state;
	/* not in the first bytes, which free() overwrites by itself */
	char reply[160] = OK "Content-Length: 80\r\n\r\n........................................";
	size_t head_len = strlen(reply);
	struct result res = { 0 };
	void *bytes;
	struct secret *body, *bearer;

	assert_int_equal(secret_new_blank(CANARY_LEN, &body, &bytes, NULL), 0);
	write_canary(bytes);
	assert_int_equal(secret_new_blank(CANARY_LEN, &bearer, &bytes, NULL), 0);
	write_canary(bytes);
	write_canary(reply + head_len);
	assert_in_range(count_canaries(), 3, 1000); /* the scan finds what is there */
	struct server *s = server_start(serve_reply, reply);
	s->reply_len = head_len + CANARY_LEN;
	struct http_request rq = post_to(url_of(s->port, "/"));
	rq.body = body;
	rq.bearer = bearer;
	assert_int_equal(http_start(f->h, &rq, count_body, &res, NULL, NULL), 0);
	secret_free(body);
	secret_free(bearer);
	finish(f->h, &res);
	assert_int_equal(res.r, 0);
	assert_int_equal(res.answer.body_len, 2 * CANARY_LEN);
	server_stop(s);
	secret_wipe(reply, sizeof(reply));
	assert_int_equal(count_canaries(), 0);
}

static int set_up(void **state)
{
	forget_proxies();
	return secret_heap_init(HEAP_SIZE, NULL, NULL);
}

static int tear_down(void **state)
{
	secret_heap_done();
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_new, fixture_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_post_arrives_whole),
		TEST(a_get_has_no_body),
		TEST(an_empty_post_has_no_type),
		TEST(a_large_body_arrives),
		TEST(any_status_is_an_answer),
		TEST(retry_after_may_be_a_date),
		TEST(a_slow_answer_is_put_together),
		TEST(an_unusable_answer_is_refused),
		TEST(many_header_lines_are_refused),
		TEST(the_body_limit_is_exact),
		TEST(a_redirect_is_not_followed),
		TEST(no_connection_is_used_twice),
		TEST(exchanges_do_not_wait_for_each_other),
		TEST(an_aborted_exchange_is_silent),
		TEST(done_may_abort_and_start_others),
		TEST(bad_requests_do_not_start),
		TEST(a_lost_peer_kills_nobody),
		TEST(nothing_secret_stays_in_memory),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
