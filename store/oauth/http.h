/*
 * http - one HTTPS exchange: send a request, get status and body.
 *
 * TLS 1.2 or newer with verification, no redirects, no cookies, a body cap, http:// on loopback hosts
 * only. No connection is used twice: curl would repeat a POST by itself on a connection that died, and a
 * repeated refresh can revoke a login. CA certificates are the system's, or those of $SSL_CERT_FILE.
 *
 * Proxies come from the environment as curl has it: https_proxy, http_proxy (lower case only), all_proxy,
 * no_proxy. They hold for loopback hosts, too, unless no_proxy names them.
 *
 * All exchanges share one descriptor: when http_fd() is readable call http_dispatch(), which calls done
 * on the same thread. The only file that includes curl. Threads: one (the loop's); curl asks the name
 * servers from threads of its own. http_new makes the process ignore SIGPIPE if nothing handles it.
 */
#ifndef PIAUTH_HTTP_H
#define PIAUTH_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "../err.h"
#include "../secret.h"

#define HTTP_BODY_MAX   (256 * 1024) /* a token answer is a few KiB; more is not one */
#define HTTP_HEADER_MAX (64 * 1024)

struct http;
struct exchange; /* one running request */

struct http_request {
	const char *url;
	bool get;                    /* else POST with body */
	const struct secret *body;   /* NULL: empty. A reference is kept until done */
	const char *content_type;    /* NULL: none */
	const struct secret *bearer; /* NULL, or the value of Authorization: Bearer */
	const char *const *headers;  /* further "Name: value" lines, NULL terminated; or NULL */
	int64_t connect_timeout_ms;  /* name, connection, proxy and TLS; > 0 */
	int64_t total_timeout_ms;    /* > 0 */
};

struct http_answer {
	int status;       /* HTTP status; 0 if none came */
	const char *body; /* valid during done; NUL terminated, wiped afterwards */
	size_t body_len;
	int64_t retry_after_s; /* Retry-After as delta seconds or date; -1 if absent */
	int64_t sent_wall_ms;  /* wall clock when the request was handed to curl */
	bool maybe_sent;       /* bytes of the request may have reached the server */
};

/*
 * r 0: an answer came, whatever its status (but for redirects); err->code is PA_NONE. r < 0: none came, or
 * it is not usable (too big, cut, a redirect: NET_ANSWER); answer->maybe_sent and status still hold.
 * maybe_sent is false only if it is certain that the connection never stood (no name, no connection, no
 * TLS, no tunnel through the proxy). err names host and port, never path, query, header or body.
 * The exchange has ended when done is called. done may call http_start, and http_abort for others; not
 * http_free nor http_dispatch.
 */
typedef void (*http_done_fn)(
	void *arg, int r, const struct http_answer *answer, const struct pa_err *err);

/* Also sets curl up with the wiping allocators; needs no other curl user in the process. */
int http_new(struct http **ret, struct pa_err *err);
void http_free(struct http *h); /* aborts what runs, without done; NULL is fine */
int http_fd(const struct http *h);
void http_dispatch(struct http *h);
/* *ret (which may be NULL) is valid until done or http_abort. done is never called before this returns. */
int http_start(struct http *h, const struct http_request *rq, http_done_fn done, void *arg,
	struct exchange **ret, struct pa_err *err);
void http_abort(struct exchange *x); /* done is not called */

#endif
