/*
 * token - build token requests and read token answers (RFC 6749 4.4, 5, 6; and what providers made of
 * them, as described by struct oauth_desc). Pure: no I/O, no clock, no state.
 */
#ifndef PIAUTH_TOKEN_H
#define PIAUTH_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "../err.h"
#include "../json.h"
#include "../provider.h"
#include "../secret.h"

#define TOKEN_MAX (16 * 1024) /* bytes of one token */

/* A request ready for http_start: body, bearer and headers are owned. */
struct token_request_parts {
	const char *url; /* borrowed from the descriptor */
	bool get;
	struct secret *body;
	const char *content_type;
	struct secret *bearer;
	char **headers; /* NULL terminated */
};
void token_request_done(struct token_request_parts *p);

/*
 * The members of an OAuth entry (pi's auth.json format) that matter here: type "oauth"; access, refresh,
 * client_id, client_secret absent, empty or tokens (RFC 6749 appendix A, at most TOKEN_MAX), one of access,
 * refresh and client_secret not empty; expires a whole number >= 0, which access may not lack.
 */
bool token_entry_is_valid(const cJSON *entry, struct pa_err *err);
/* Whether this entry can be refreshed with this descriptor: a refresh token, or client credentials; and the
 * client secret where the descriptor asks for one. */
bool token_can_refresh(const struct oauth_desc *d, const cJSON *entry);

int token_refresh_request(const struct oauth_desc *d, const cJSON *entry,
	struct token_request_parts *ret, struct pa_err *err);

/*
 * Merges the answer of a refresh into a copy of the entry: access, refresh (kept when the answer has none
 * and the provider need not rotate), expires (sent_ms + expires_in, exact, ms), the fields of keep, the
 * account from the JWT. Members the answer does not speak of survive. *ret is the caller's.
 * status and body are what came; a status that is not 2xx or a body that makes no sense fails as
 * token_classify says (exchange failures of client credentials as EXCHANGE).
 */
int token_read_answer(const struct oauth_desc *d, enum error_envelope env, const cJSON *entry,
	int status, const char *body, size_t len, int64_t sent_ms, cJSON **ret, struct pa_err *err);

/*
 * What a failed token request means, from the status and the parsed body, never from its text:
 * REFRESH_DEAD (invalid_grant, refresh_token_reused/expired/invalidated, unauthorized_client,
 * access_denied, invalid_client), RATE (429), NET_SERVER (5xx, 408 as NET_TIMEOUT), QUOTA, BAD_KEY ...
 * Fills err and returns its negative errno. The detail holds the status and the error token
 * ([a-z_]{1,40}) only.
 */
int token_classify(enum error_envelope env, bool client_credentials, int status, const char *body,
	size_t len, struct pa_err *err);

/* Payload of a JWT (RFC 7519), unverified: base64url without padding. NULL if it is not one. */
cJSON *token_jwt_payload(const char *jwt, size_t len);

#endif
