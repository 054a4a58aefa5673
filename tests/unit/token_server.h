/*
 * token_server - an OAuth token endpoint on 127.0.0.1, in a thread of the test.
 *
 * By itself it behaves as a provider with reuse detection: it takes the refresh token it gave last, rotates
 * it, and answers a used one with invalid_grant, for good. Tests put other replies in front, one per
 * request. Tokens are "<prefix>-at-N" and "<prefix>-rt-N"; N counts what was issued, 0 is the login.
 * The thread never asserts. One request at a time.
 */
#ifndef PIAUTH_TEST_TOKEN_SERVER_H
#define PIAUTH_TEST_TOKEN_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct token_reply {
	int status; /* 0: as the provider it is; else this, and nothing is taken unless `take` */
	const char
		*headers; /* more header lines, each with CRLF; NULL: none. Borrowed, as body is */
	const char *body; /* NULL: empty */
	bool take;        /* rotates before it replies */
	bool lose;        /* closes the connection instead of replying */
	bool hold;        /* replies when token_server_release is called */
};

struct token_server;

/* rotates: each refresh consumes the token; else the first one is good for ever. */
struct token_server *token_server_start(const char *prefix, bool rotates);
void token_server_stop(struct token_server *s);
int token_server_port(const struct token_server *s);
/* Readable when a request has come since the last token_server_requests. */
int token_server_fd(const struct token_server *s);
unsigned token_server_requests(struct token_server *s); /* how many came, refused ones included */
unsigned token_server_issued(struct token_server *s);   /* N of the newest tokens */
bool token_server_is_revoked(struct token_server *s);   /* a used token has come back */
/* The head and body of the newest request; valid until the next one. */
const char *token_server_last(struct token_server *s);

void token_server_next(struct token_server *s, struct token_reply reply); /* queues; at most 16 */
void token_server_release(struct token_server *s); /* lets one reply go that is or will be held */

void token_server_life(struct token_server *s, int64_t seconds); /* expires_in; 3600 */
/* More members of an answer, as JSON: "\"scope\":\"x\""; NULL: none. Borrowed. */
void token_server_extra(struct token_server *s, const char *members);
/* The access token to issue; NULL: "<prefix>-at-N". Borrowed. */
void token_server_access(struct token_server *s, const char *access);

#endif
