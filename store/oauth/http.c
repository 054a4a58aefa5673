#include "http.h"

#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "../provider.h"

/* CURLOPT_QUICK_EXIT: without it a time-out or an abort waits for a getaddrinfo that hangs. */
#if LIBCURL_VERSION_NUM < 0x075700
#error "libcurl 7.87 or newer is needed"
#endif

#define EVENTS_MAX        16
#define HOST_MAX          128                 /* of a host:port in messages; the rest is cut */
#define ROOM_MIN          4096                /* first allocation for a body */
#define RETRY_AFTER_MAX_S (366 * 24 * 3600LL) /* more than a year is a mistake of the server */

struct http {
	CURLM *multi;
	int epfd;    /* curl's sockets and the timer: the one descriptor of this module */
	int timerfd; /* curl's next time-out */
	struct exchange *first;
};

struct exchange {
	struct http *h;
	struct exchange *next, *prev;
	CURL *easy;
	struct curl_slist *headers; /* curl copies lines with the wiping allocator */
	struct secret *body;
	http_done_fn done;
	void *arg;
	char *answer; /* wiping memory */
	size_t answer_len;
	size_t answer_room;
	size_t header_len;
	int64_t retry_after_s;
	int64_t sent_wall_ms;
	bool maybe_sent;
	bool doomed;         /* the multi handle failed: ends without more network */
	enum pa_code refuse; /* why a callback stopped the transfer; PA_NONE: it did not */
	const char *reason;
	char host[HOST_MAX];
};

static int64_t wall_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- the one descriptor ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct http *h = arg;
	struct epoll_event ev = { .data.fd = fd };

	if (what == CURL_POLL_REMOVE) {
		/* Fails only for a descriptor that is closed already, which took itself out. */
		(void)epoll_ctl(h->epfd, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	if (what & CURL_POLL_IN)
		ev.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		ev.events |= EPOLLOUT;
	if (epoll_ctl(h->epfd, EPOLL_CTL_MOD, fd, &ev) == 0)
		return 0;
	if (errno == ENOENT && epoll_ctl(h->epfd, EPOLL_CTL_ADD, fd, &ev) == 0)
		return 0;
	return -1; /* curl then fails what runs */
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct http *h = arg;
	struct itimerspec at = { 0 }; /* all zero disarms */

	if (timeout_ms > 0) {
		at.it_value.tv_sec = timeout_ms / 1000;
		at.it_value.tv_nsec = timeout_ms % 1000 * 1000000;
	} else if (timeout_ms == 0) {
		at.it_value.tv_nsec = 1; /* at once, but not inside this callback */
	}
	return timerfd_settime(h->timerfd, 0, &at, NULL) == 0 ? 0 : -1;
}

/* ---- one transfer ---- */

/* The connection stands, TLS and proxy tunnel included: from here on bytes may get through. */
static int on_ready(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	struct exchange *x = arg;
	x->maybe_sent = true;
	return CURL_PREREQFUNC_OK;
}

static size_t stop(struct exchange *x, enum pa_code code, const char *reason)
{
	x->refuse = code;
	x->reason = reason;
	return 0; /* fewer bytes than given: curl ends the transfer with CURLE_WRITE_ERROR */
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
	struct exchange *x = arg;
	size_t len = size * n;

	if (len > HTTP_BODY_MAX - x->answer_len)
		return stop(x, PA_NET_ANSWER, "the answer is too big");
	if (x->answer_room <= x->answer_len + len) {
		size_t room = x->answer_room ? x->answer_room : ROOM_MIN;
		while (room <= x->answer_len + len)
			room *= 2;
		char *grown = wipe_realloc(x->answer, room);
		if (!grown)
			return stop(x, PA_NO_MEMORY, "the answer");
		x->answer = grown;
		x->answer_room = room;
	}
	memcpy(x->answer + x->answer_len, bytes, len);
	x->answer_len += len;
	x->answer[x->answer_len] = '\0';
	return len;
}

/* RFC 9110 10.2.3: delay-seconds or HTTP-date; -1 for anything else. */
static int64_t parse_retry_after(const char *text, int64_t now_s)
{
	int64_t s = 0;
	if (strspn(text, "0123456789") == strlen(text) && *text) {
		for (; *text; text++)
			s = s > RETRY_AFTER_MAX_S ? s : s * 10 + (*text - '0');
	} else if (strchr("MTWFS", *text) && *text) { /* an HTTP-date starts with a weekday */
		time_t at = curl_getdate(text, NULL);
		if (at < 0)
			return -1;
		s = at > now_s ? at - now_s : 0;
	} else {
		return -1;
	}
	return s < RETRY_AFTER_MAX_S ? s : RETRY_AFTER_MAX_S;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	static const char name[] = "retry-after:";
	struct exchange *x = arg;
	size_t len = size * n;
	char value[64];

	x->header_len += len;
	if (x->header_len > HTTP_HEADER_MAX)
		return stop(x, PA_NET_ANSWER, "the answer's header is too big");
	if (len >= 5 && strncmp(line, "HTTP/", 5) == 0)
		x->retry_after_s = -1; /* the head of another answer: 1xx came before */
	if (len < sizeof(name) || strncasecmp(line, name, sizeof(name) - 1) != 0)
		return len;
	const char *from = line + sizeof(name) - 1, *to = line + len;
	while (from < to && strchr(" \t", *from))
		from++;
	while (to > from && strchr(" \t\r\n", to[-1]))
		to--;
	if ((size_t)(to - from) < sizeof(value)) {
		memcpy(value, from, (size_t)(to - from));
		value[to - from] = '\0';
		x->retry_after_s = parse_retry_after(value, wall_ms() / 1000);
	}
	return len;
}

/* ---- what a failure means: by code only, texts differ between versions and TLS libraries ---- */

static enum pa_code code_of(const struct exchange *x, CURLcode code, int status)
{
	if (x->refuse != PA_NONE)
		return x->refuse;
	switch ((int)code) {
	case CURLE_OPERATION_TIMEDOUT:
		return PA_NET_TIMEOUT;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_PROXY:
	case CURLE_NO_CONNECTION_AVAILABLE:
		return PA_NET_UNREACHABLE;
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
		return status ? PA_NET_ANSWER : PA_NET_UNREACHABLE;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_SHUTDOWN_FAILED:
		return PA_NET_TLS;
	case CURLE_PARTIAL_FILE:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_BAD_CONTENT_ENCODING:
	case CURLE_WRITE_ERROR:
		return PA_NET_ANSWER;
	case CURLE_UNSUPPORTED_PROTOCOL: /* also: not HTTP at all, or HTTP/0.9 */
	case CURLE_URL_MALFORMAT:
	case CURLE_LOGIN_DENIED:
		return x->maybe_sent ? PA_NET_ANSWER : PA_CONFIG;
	case CURLE_OUT_OF_MEMORY:
		/* curl 7.88 also says this for a header line above its limit of 100 KiB. */
		return x->maybe_sent && !x->answer_len ? PA_NET_ANSWER : PA_NO_MEMORY;
	}
	return PA_SYSTEM;
}

static int explain(const struct exchange *x, CURLcode code, int status, struct pa_err *err)
{
	enum pa_code what = code_of(x, code, status);
	long os_errno = 0, proxy_status = 0, verify = 0;

	curl_easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &os_errno);
	curl_easy_getinfo(x->easy, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
	curl_easy_getinfo(x->easy, CURLINFO_SSL_VERIFYRESULT, &verify);
	if (x->refuse != PA_NONE)
		pa_fail(err, what, 0, "%s: %s", x->host, x->reason);
	else if (code == CURLE_OK)
		pa_fail(err, PA_NET_ANSWER, 0, "%s: HTTP status %d%s", x->host, status,
			status >= 300 && status < 400 ? ", a redirect" : "");
	else if (!x->maybe_sent && proxy_status && proxy_status / 100 != 2)
		pa_fail(err, PA_NET_UNREACHABLE, 0, "%s: the proxy answers %ld", x->host,
			proxy_status);
	else if (what == PA_NET_TLS && verify)
		pa_fail(err, what, 0, "%s: %s (certificate check %ld)", x->host,
			curl_easy_strerror(code), verify);
	else if (code == CURLE_COULDNT_CONNECT && os_errno)
		pa_fail(err, what, 0, "%s: %s (%s)", x->host, curl_easy_strerror(code),
			strerrordesc_np((int)os_errno) ?: "unknown");
	else
		pa_fail(err, what, 0, "%s: %s", x->host, curl_easy_strerror(code));
	return err->errnum;
}

static void exchange_free(struct exchange *x)
{
	curl_easy_cleanup(x->easy); /* before what it points to */
	curl_slist_free_all(x->headers);
	secret_free(x->body);
	wipe_free(x->answer);
	wipe_free(x);
}

static void unlink_exchange(struct exchange *x)
{
	curl_multi_remove_handle(x->h->multi, x->easy); /* takes its message along, too */
	if (x->prev)
		x->prev->next = x->next;
	else
		x->h->first = x->next;
	if (x->next)
		x->next->prev = x->prev;
}

static void finish(struct exchange *x, CURLcode code)
{
	struct pa_err err = { 0 };
	long status = 0;
	int r = 0;
	curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200) /* 1xx is not an answer yet */
		status = 0;
	if (code != CURLE_OK || status < 200 || status / 100 == 3 || status > 599)
		r = -explain(x, code, (int)status, &err);
	err.http_status = (int)status;
	unlink_exchange(x);
	const struct http_answer answer = {
		.status = (int)status,
		.body = x->answer ? x->answer : "",
		.body_len = x->answer_len,
		.retry_after_s = x->retry_after_s,
		.sent_wall_ms = x->sent_wall_ms,
		.maybe_sent = x->maybe_sent,
	};
	x->done(x->arg, r, &answer, &err);
	exchange_free(x);
}

static void finish_all_done(struct http *h)
{
	CURLMsg *m;
	int left;
	while ((m = curl_multi_info_read(h->multi, &left))) {
		struct exchange *x = NULL;
		CURLcode code = m->data.result;
		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x);
		finish(x, code); /* m is gone now */
	}
}

/* done may start exchanges, so the list is walked anew each time and only those of before end. */
static void fail_doomed(struct http *h)
{
	struct exchange *x;
	for (x = h->first; x; x = x->next)
		x->doomed = true;
	do {
		for (x = h->first; x && !x->doomed; x = x->next)
			continue;
		if (x)
			finish(x, CURLE_ABORTED_BY_CALLBACK);
	} while (x);
}

/* ---- the interface ---- */

/* CURLOPT_NOSIGNAL leaves it to the program that a write to a closed TLS connection does not kill it. */
static void ignore_sigpipe(void)
{
	struct sigaction now;
	if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
}

int http_new(struct http **ret, struct pa_err *err)
{
	CURLcode rc = curl_global_init_mem(CURL_GLOBAL_DEFAULT, wipe_malloc, wipe_free,
		wipe_realloc, wipe_strdup, wipe_calloc);

	if (rc != CURLE_OK)
		return pa_fail(err, PA_SYSTEM, 0, "curl: %s", curl_easy_strerror(rc));
	ignore_sigpipe();
	struct http *h = wipe_calloc(1, sizeof(*h));
	if (!h) {
		curl_global_cleanup();
		return pa_fail(err, PA_NO_MEMORY, 0, "http");
	}
	h->epfd = epoll_create1(EPOLL_CLOEXEC);
	h->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	h->multi = curl_multi_init();
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = h->timerfd };
	if (h->epfd < 0 || h->timerfd < 0 || !h->multi ||
		epoll_ctl(h->epfd, EPOLL_CTL_ADD, h->timerfd, &ev) < 0) {
		int r = pa_fail(err, h->multi ? PA_SYSTEM : PA_NO_MEMORY, h->multi ? errno : 0,
			"cannot make an event loop for curl");
		http_free(h);
		return r;
	}
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	*ret = h;
	return 0;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	while (h->first)
		http_abort(h->first);
	curl_multi_cleanup(h->multi);
	if (h->timerfd >= 0)
		close(h->timerfd);
	if (h->epfd >= 0)
		close(h->epfd);
	wipe_free(h);
	curl_global_cleanup();
}

int http_fd(const struct http *h)
{
	return h->epfd;
}

void http_dispatch(struct http *h)
{
	struct epoll_event events[EVENTS_MAX];
	CURLMcode rc = CURLM_OK;
	int n = epoll_wait(h->epfd, events, EVENTS_MAX, 0), running;

	for (int i = 0; i < n; i++) {
		int fd = events[i].data.fd, bits = 0;
		uint64_t ticks;
		if (fd == h->timerfd) {
			if (read(fd, &ticks, sizeof(ticks)) < 0)
				continue; /* re-armed since: it will be readable again */
			fd = CURL_SOCKET_TIMEOUT;
		} else {
			bits |= events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0;
			bits |= events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0;
			bits |= events[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0;
		}
		/* A descriptor that an earlier event closed is unknown to curl and ignored. */
		CURLMcode got = curl_multi_socket_action(h->multi, fd, bits, &running);
		rc = rc == CURLM_OK ? got : rc;
	}
	finish_all_done(h);
	if (rc != CURLM_OK)
		fail_doomed(h);
}

/* A header line that is printable and has a name; anything else could smuggle a second line in. */
static bool line_is_valid(const char *line)
{
	const char *colon = strchr(line, ':');
	if (!colon || colon == line)
		return false;
	for (const char *c = line; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f || (c < colon && *c == ' '))
			return false;
	}
	return true;
}

static int add_line(struct exchange *x, const char *line, struct pa_err *err)
{
	if (!line_is_valid(line))
		return pa_fail(err, PA_CONFIG, 0, "%s: a request header is not valid", x->host);
	struct curl_slist *longer = curl_slist_append(x->headers, line);
	if (!longer)
		return pa_fail(err, PA_NO_MEMORY, 0, "request headers");
	x->headers = longer;
	return 0;
}

static int add_bearer(struct exchange *x, const struct secret *bearer, struct pa_err *err)
{
	static const char prefix[] = "Authorization: Bearer ";
	SECRET_AUTO struct secret *line = NULL;
	const char *value;
	size_t len;
	void *to;

	secret_read(bearer, &value, &len);
	for (size_t i = 0; i < len; i++) { /* RFC 6750 2.1: a subset of visible ASCII */
		if (value[i] <= 0x20 || value[i] >= 0x7f)
			return pa_fail(
				err, PA_BAD_INPUT, 0, "%s: no header can carry the token", x->host);
	}
	int r = secret_new_blank(sizeof(prefix) + len, &line, &to, err);
	if (r < 0)
		return r;
	memcpy(to, prefix, sizeof(prefix) - 1);
	memcpy((char *)to + sizeof(prefix) - 1, value, len);
	((char *)to)[sizeof(prefix) - 1 + len] = '\0';
	return add_line(x, to, err);
}

static int add_headers(struct exchange *x, const struct http_request *rq, struct pa_err *err)
{
	/* An empty value takes out the form type that curl would put in by itself. */
	char type[128] = "Content-Type:";
	int r = 0;
	if (rq->content_type)
		snprintf(type, sizeof(type), "Content-Type: %s", rq->content_type);
	if (!rq->get)
		r = add_line(x, type, err);
	for (const char *const *line = rq->headers; r == 0 && line && *line; line++)
		r = add_line(x, *line, err);
	if (r == 0 && rq->bearer)
		r = add_bearer(x, rq->bearer, err);
	return r;
}

/* host:port of the URL, for messages: never path, query or user information. */
static void name_host(struct exchange *x, const char *url)
{
	CURLU *u = curl_url();
	char *host = NULL, *port = NULL;
	if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
		curl_url_get(u, CURLUPART_PORT, &port, 0);
		snprintf(x->host, sizeof(x->host), "%s%s%s", host, port ? ":" : "",
			port ? port : "");
	}
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(u);
	if (!*x->host)
		snprintf(x->host, sizeof(x->host), "token endpoint");
}

static CURLcode set_options(struct exchange *x, const struct http_request *rq)
{
	const char *body = "";
	size_t len = 0;
	CURLcode rc = CURLE_OK;
	bool tls = strncasecmp(rq->url, "https:", 6) == 0;
	const char *ca_bundle = curl_version_info(CURLVERSION_NOW)->cainfo;
	const char *ca_wanted = secure_getenv("SSL_CERT_FILE"); /* as OpenSSL and curl(1) have it */

#define SET(option, value) rc = rc == CURLE_OK ? curl_easy_setopt(x->easy, option, value) : rc
	SET(CURLOPT_URL, rq->url);
	SET(CURLOPT_PRIVATE, x);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_PROTOCOLS_STR, tls ? "https" : "http");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	/* HTTP/2 lets curl repeat a refused stream, and its sessions want to be shared. */
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	/* On a kept connection that has died curl sends a POST a second time by itself. */
	SET(CURLOPT_FRESH_CONNECT, 1L);
	SET(CURLOPT_FORBID_REUSE, 1L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSL_SESSIONID_CACHE, 0L); /* tickets are secrets, too */
	/* curl reads the CA bundle once a day, not at every exchange, if there is no CA directory. */
	if (ca_wanted && *ca_wanted)
		ca_bundle = ca_wanted;
	if (ca_bundle && *ca_bundle) {
		SET(CURLOPT_CAPATH, NULL);
		SET(CURLOPT_CAINFO, ca_bundle);
	}
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)rq->connect_timeout_ms);
	SET(CURLOPT_TIMEOUT_MS, (long)rq->total_timeout_ms);
	SET(CURLOPT_USERAGENT, "piauth/" PIAUTH_VERSION);
	SET(CURLOPT_HTTPHEADER, x->headers);
	SET(CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE); /* the bearer is not for the proxy */
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	SET(CURLOPT_PREREQFUNCTION, on_ready);
	SET(CURLOPT_PREREQDATA, x);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, x);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, x);
	if (rq->get) {
		SET(CURLOPT_HTTPGET, 1L);
	} else {
		if (x->body)
			secret_read(x->body, &body, &len);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
		SET(CURLOPT_POSTFIELDS, body); /* not copied: x holds the reference */
	}
#undef SET
	return rc;
}

int http_start(struct http *h, const struct http_request *rq, http_done_fn done, void *arg,
	struct exchange **ret, struct pa_err *err)
{
	if (rq->connect_timeout_ms <= 0 || rq->total_timeout_ms <= 0) /* for curl 0 is: no limit */
		return pa_fail(err, PA_NET_TIMEOUT, 0, "no time is left for an exchange");
	struct exchange *x = wipe_calloc(1, sizeof(*x));
	if (!x)
		return pa_fail(err, PA_NO_MEMORY, 0, "exchange");
	*x = (struct exchange){ .h = h, .done = done, .arg = arg, .retry_after_s = -1 };
	name_host(x, rq->url);
	int r = 0;
	if (!endpoint_is_allowed(rq->url))
		r = pa_fail(err, PA_CONFIG, 0, "%s: not https, nor http on this host", x->host);
	if (r == 0)
		r = add_headers(x, rq, err);
	x->easy = r == 0 ? curl_easy_init() : NULL;
	if (r == 0 && !x->easy)
		r = pa_fail(err, PA_NO_MEMORY, 0, "curl handle");
	if (r == 0) {
		x->body = secret_ref((struct secret *)rq->body);
		CURLcode rc = set_options(x, rq);
		if (rc != CURLE_OK)
			r = pa_fail(err, rc == CURLE_OUT_OF_MEMORY ? PA_NO_MEMORY : PA_SYSTEM, 0,
				"%s: %s", x->host, curl_easy_strerror(rc));
	}
	x->sent_wall_ms = wall_ms();
	if (r == 0) {
		CURLMcode rc = curl_multi_add_handle(h->multi, x->easy);
		if (rc != CURLM_OK)
			r = pa_fail(err, PA_SYSTEM, 0, "%s: %s", x->host, curl_multi_strerror(rc));
	}
	if (r < 0) {
		exchange_free(x);
		return r;
	}
	x->next = h->first;
	if (h->first)
		h->first->prev = x;
	h->first = x;
	if (ret)
		*ret = x;
	return 0;
}

void http_abort(struct exchange *x)
{
	unlink_exchange(x);
	exchange_free(x);
}
