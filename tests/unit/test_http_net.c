/*
 * http and the network: names, time-outs, TLS (against openssl s_server), proxies. No packet leaves this
 * machine: getaddrinfo is the test's own, and all addresses are 127.0.0.1.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/rand.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "http_client.h"
#include "http_server.h"

#define OK      "HTTP/1.1 200 OK\r\n"
#define SOON_MS 200 /* time-outs that the tests wait for */

extern char **environ;

/* ---- names ---- */

static int hanging_dns[2] = { -1, -1 }; /* a name server that answers when this pipe is closed */
static atomic_int dns_asked;

int getaddrinfo(
	const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	char byte;

	atomic_fetch_add(&dns_asked, 1);
	if (node && strcmp(node, "hangs.example") == 0)
		(void)!read(hanging_dns[0], &byte, 1);
	return EAI_NONAME;
}

static void an_unknown_name_is_unreachable(void **state)
{
	struct fixture *f = *state;
	struct http_request rq = post_to("https://nowhere.example/token?secret=1");
	struct result res;

	run(f->h, &rq, &res);
	assert_fails(&res, PA_NET_UNREACHABLE, 0, false);
	assert_non_null(strstr(res.err.detail, "nowhere.example"));
	assert_null(strstr(res.err.detail, "secret"));
	assert_true(atomic_load(&dns_asked) > 0);
}

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* getaddrinfo cannot be cancelled; the loop must not wait for it all the same. */
static void a_hanging_name_server_holds_nobody_up(void **state)
{
	struct fixture *f = *state;
	struct http_request rq = post_to("https://hangs.example/");
	struct result timed_out, aborted;
	int asked = atomic_load(&dns_asked);
	int64_t begin = now_ms();

	assert_int_equal(pipe2(hanging_dns, O_CLOEXEC), 0);
	start(f->h, &rq, &aborted);
	while (atomic_load(&dns_asked) == asked)
		turn(f->h);
	http_abort(aborted.x);
	rq.connect_timeout_ms = SOON_MS;
	run(f->h, &rq, &timed_out);
	assert_fails(&timed_out, PA_NET_TIMEOUT, 0, false);
	assert_true(now_ms() - begin < PATIENCE_MS);
	close(hanging_dns[1]);
	while (count_entries("/proc/self/task") > 3) /* ., .. and this thread */
		sched_yield();
	close(hanging_dns[0]);
}

/* ---- time-outs ---- */

static void a_refused_connection_is_unreachable(void **state)
{
	struct fixture *f = *state;
	int port, fd = listen_anywhere(&port);
	struct http_request rq = post_to(url_of(port, "/p?secret=1"));
	struct result res;

	close(fd); /* nobody listens there any more */
	run(f->h, &rq, &res);
	assert_fails(&res, PA_NET_UNREACHABLE, 0, false);
	assert_non_null(strstr(res.err.detail, "Connection refused"));
	assert_null(strstr(res.err.detail, "secret"));
}

static void a_timeout_before_the_request(void **state)
{
	struct fixture *f = *state;
	struct server *s = server_start(serve_hello, NULL);
	struct http_request rq = post_to(NULL);
	struct result res;
	char url[64];

	snprintf(url, sizeof(url), "https://127.0.0.1:%d/", s->port);
	rq.url = url;
	rq.connect_timeout_ms = SOON_MS;
	run(f->h, &rq, &res);
	assert_fails(&res, PA_NET_TIMEOUT, 0, false);
	server_stop(s);
}

static void a_timeout_after_the_request(void **state)
{
	struct fixture *f = *state;
	struct server *s = server_start(serve_silence, NULL);
	struct http_request rq = post_to(url_of(s->port, "/"));
	struct result res;

	rq.total_timeout_ms = 5 * SOON_MS; /* a busy machine sends within that */
	run(f->h, &rq, &res);
	assert_fails(&res, PA_NET_TIMEOUT, 0, true);
	server_stop(s);
	s = server_start(serve_slowly, OK "Content-Length: 1\r\n\r\nx");
	rq.url = url_of(s->port, "/");
	for (size_t i = 0; i < strlen(s->reply) - 1; i++)
		sem_post(&s->gate);
	run(f->h, &rq, &res);
	assert_fails(&res, PA_NET_TIMEOUT, 200, true);
	sem_post(&s->gate);
	server_stop(s);
}

/* ---- TLS ---- */

static char dir[] = "/tmp/test_http_net.XXXXXX";
static char cert[64], key[64], other_cert[64], other_key[64], conf[64];

/* stdout of the child, or -1; argv[0] is looked up in PATH. */
static pid_t spawn(char *const argv[], int *ret_out)
{
	posix_spawn_file_actions_t actions;
	int out[2];
	pid_t pid;

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	assert_int_equal(posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	*ret_out = out[0];
	return pid;
}

#define ARG(text) ((char *)(text))

static void make_certificate(const char *cert_path, const char *key_path, const char *name)
{
	char *argv[] = { ARG("openssl"), ARG("req"), ARG("-x509"), ARG("-newkey"), ARG("ec"),
		ARG("-pkeyopt"), ARG("ec_paramgen_curve:prime256v1"), ARG("-nodes"), ARG("-days"),
		ARG("2"), ARG("-subj"), ARG("/CN=test"), ARG("-addext"), ARG(name), ARG("-keyout"),
		ARG(key_path), ARG("-out"), ARG(cert_path), NULL };
	int out, status;
	pid_t pid = spawn(argv, &out);

	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(out);
	if (status)
		fail_msg("openssl req: status %d", status);
}

struct tls_server {
	pid_t pid;
	int out;
	char url[64];
};

/* An HTTPS server that answers GET with 200; version and ciphers as options of s_server. */
static void tls_start(
	struct tls_server *s, const char *cert_path, const char *key_path, const char *version)
{
	char *argv[] = { ARG("openssl"), ARG("s_server"), ARG("-accept"), ARG("127.0.0.1:0"),
		ARG("-cert"), ARG(cert_path), ARG("-key"), ARG(key_path), ARG("-www"),
		ARG("-cipher"), ARG("DEFAULT@SECLEVEL=0"), ARG(version), NULL };
	char text[1024] = "", *at;
	size_t len = 0;
	int port;

	s->pid = spawn(argv, &s->out);
	while (!(at = strstr(text, "ACCEPT 127.0.0.1:")) || !strchr(at, '\n')) {
		ssize_t n = read(s->out, text + len, sizeof(text) - 1 - len);
		if (n <= 0)
			fail_msg("openssl s_server does not start");
		len += (size_t)n;
		text[len] = '\0';
	}
	assert_int_equal(sscanf(at, "ACCEPT 127.0.0.1:%d", &port), 1);
	snprintf(s->url, sizeof(s->url), "https://127.0.0.1:%d/", port);
}

static void tls_stop(struct tls_server *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	close(s->out);
}

static void tls_get(struct http *h, const struct tls_server *s, struct result *res)
{
	struct http_request rq = post_to(s->url);

	rq.get = true;
	run(h, &rq, res);
}

static void a_trusted_certificate_is_needed(void **state)
{
	struct fixture *f = *state;
	struct tls_server s;
	struct result res;

	tls_start(&s, cert, key, NULL);
	tls_get(f->h, &s, &res);
	assert_fails(&res, PA_NET_TLS, 0, false);
	assert_non_null(strstr(res.err.detail, "certificate check 18")); /* self-signed */
	setenv("SSL_CERT_FILE", cert, 1);
	tls_get(f->h, &s, &res);
	unsetenv("SSL_CERT_FILE");
	assert_int_equal(res.r, 0);
	assert_int_equal(res.answer.status, 200);
	assert_true(res.answer.maybe_sent);
	tls_stop(&s);
}

static void the_certificate_must_name_the_host(void **state)
{
	struct fixture *f = *state;
	struct tls_server s;
	struct result res;

	tls_start(&s, other_cert, other_key, NULL);
	setenv("SSL_CERT_FILE", other_cert, 1);
	tls_get(f->h, &s, &res);
	unsetenv("SSL_CERT_FILE");
	assert_fails(&res, PA_NET_TLS, 0, false);
	tls_stop(&s);
}

/* The OpenSSL of this process is set up to allow TLS 1.0, so the refusal is http's own. */
static void tls_is_1_2_or_newer(void **state)
{
	static const struct {
		const char *option;
		bool accepted;
	} versions[] = { { "-tls1_1", false }, { "-tls1_2", true }, { "-tls1_3", true } };
	struct fixture *f = *state;
	struct tls_server s;
	struct result res;

	for (size_t i = 0; i < sizeof(versions) / sizeof(*versions); i++) {
		tls_start(&s, cert, key, versions[i].option);
		setenv("SSL_CERT_FILE", cert, 1);
		tls_get(f->h, &s, &res);
		unsetenv("SSL_CERT_FILE");
		if (versions[i].accepted)
			assert_int_equal(res.r, 0);
		else
			assert_fails(&res, PA_NET_TLS, 0, false);
		tls_stop(&s);
	}
}

/* Answers the first bytes, whatever they are. */
static void serve_plain(struct server *s, int fd)
{
	if (recv(fd, s->request, REQUEST_MAX, 0) > 0)
		server_send(fd, s->reply, strlen(s->reply));
	server_wait_gone(s, fd);
}

static void a_server_without_tls_is_no_tls_server(void **state)
{
	struct fixture *f = *state;
	struct server *s = server_start(serve_plain, "HTTP/1.1 400 Bad Request\r\n\r\n");
	struct http_request rq = post_to(NULL);
	struct result res;
	char url[64];

	snprintf(url, sizeof(url), "https://127.0.0.1:%d/", s->port);
	rq.url = url;
	run(f->h, &rq, &res);
	assert_fails(&res, PA_NET_TLS, 0, false);
	server_stop(s);
}

/* ---- proxies ---- */

static void use_proxy(const char *variable, const struct server *s)
{
	char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%d", s->port);
	setenv(variable, url, 1);
}

static void a_proxy_tunnels_https(void **state)
{
	static const char *const refusals[] = { "HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 502 Bad\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n" };
	struct fixture *f = *state;
	SECRET_AUTO struct secret *bearer = secret_of("bearer-1");
	struct http_request rq = post_to("https://auth.example/token");
	struct result res;

	rq.bearer = bearer;
	for (size_t i = 0; i < 2; i++) {
		struct server *s = server_start(serve_reply, refusals[i]);
		use_proxy("https_proxy", s);
		run(f->h, &rq, &res);
		unsetenv("https_proxy");
		assert_fails(&res, PA_NET_UNREACHABLE, 0, false);
		assert_non_null(strstr(res.err.detail, i ? "502" : "407"));
		assert_int_equal(res.answer.retry_after_s, -1);
		assert_memory_equal(s->request, "CONNECT auth.example:443 HTTP/1.1\r\n", 35);
		assert_null(strstr(s->request, "bearer-1"));
		server_stop(s);
	}
}

static void a_tunnel_ends_at_the_provider(void **state)
{
	struct fixture *f = *state;
	struct server *s = server_start(serve_reply, "HTTP/1.1 200 Connection established\r\n\r\n");
	struct http_request rq = post_to("https://auth.example/token");
	struct result res;

	use_proxy("HTTPS_PROXY", s);
	run(f->h, &rq, &res);
	unsetenv("HTTPS_PROXY");
	assert_true(res.err.code == PA_NET_TLS); /* the proxy closed it: no TLS, nothing sent */
	assert_false(res.answer.maybe_sent);
	server_stop(s);
}

static void a_proxy_forwards_http(void **state)
{
	struct fixture *f = *state;
	struct server *s = server_start(serve_reply, OK "Content-Length: 1\r\n\r\np");
	struct server *direct = server_start(serve_reply, OK "Content-Length: 1\r\n\r\nd");
	struct http_request rq = post_to(url_of(direct->port, "/token"));
	struct result res;
	char want[64];

	use_proxy("http_proxy", s);
	run(f->h, &rq, &res);
	assert_string_equal(res.body, "p");
	snprintf(want, sizeof(want), "POST http://127.0.0.1:%d/token HTTP/1.1\r\n", direct->port);
	assert_memory_equal(s->request, want, strlen(want));
	setenv("no_proxy", "127.0.0.1", 1);
	run(f->h, &rq, &res);
	assert_string_equal(res.body, "d");
	forget_proxies();
	server_stop(s);
	server_stop(direct);
}

static void a_missing_proxy_is_unreachable(void **state)
{
	struct fixture *f = *state;
	struct http_request rq = post_to("https://auth.example/token");
	struct result res;

	setenv("https_proxy", "http://proxy.example:3128", 1);
	run(f->h, &rq, &res);
	forget_proxies();
	assert_fails(&res, PA_NET_UNREACHABLE, 0, false);
}

static int set_up(void **state)
{
	FILE *out;

	forget_proxies();
	if (!mkdtemp(dir))
		return -1;
	snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
	snprintf(key, sizeof(key), "%s/key.pem", dir);
	snprintf(other_cert, sizeof(other_cert), "%s/other.pem", dir);
	snprintf(other_key, sizeof(other_key), "%s/other-key.pem", dir);
	snprintf(conf, sizeof(conf), "%s/openssl.cnf", dir);
	make_certificate(cert, key, "subjectAltName=IP:127.0.0.1");
	make_certificate(other_cert, other_key, "subjectAltName=DNS:other.example");
	out = fopen(conf, "we");
	if (!out)
		return -1;
	fputs("openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = all\n"
	      "[all]\nMinProtocol = TLSv1\nCipherString = DEFAULT@SECLEVEL=0\n",
		out);
	fclose(out);
	setenv("OPENSSL_CONF", conf, 1); /* before this process uses OpenSSL at all */
	if (secret_heap_init(SECRET_HEAP, NULL, NULL) < 0)
		return -1;
	/* OpenSSL keeps its generators in that heap, too: now they are no part of any test. */
	unsigned char byte;
	return RAND_bytes(&byte, 1) == 1 && RAND_priv_bytes(&byte, 1) == 1 ? 0 : -1;
}

static int tear_down(void **state)
{
	static char *const files[] = { cert, key, other_cert, other_key, conf };

	secret_heap_done();
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		unlink(files[i]);
	return rmdir(dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_new, fixture_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_unknown_name_is_unreachable),
		TEST(a_hanging_name_server_holds_nobody_up),
		TEST(a_refused_connection_is_unreachable),
		TEST(a_timeout_before_the_request),
		TEST(a_timeout_after_the_request),
		TEST(a_trusted_certificate_is_needed),
		TEST(the_certificate_must_name_the_host),
		TEST(tls_is_1_2_or_newer),
		TEST(a_server_without_tls_is_no_tls_server),
		TEST(a_proxy_tunnels_https),
		TEST(a_tunnel_ends_at_the_provider),
		TEST(a_proxy_forwards_http),
		TEST(a_missing_proxy_is_unreachable),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
