/*
 * What a failed token request means. Two inputs only: the HTTP status and members of the parsed body
 * that are compared as a whole (ASCII letter case aside) with the names below. Free text is never
 * searched: a message may quote anything.
 *
 * Where the names come from:
 *   [O]  RFC 6749 5.2 (token endpoint), 4.1.2.1; RFC 6750 3.1 (bearer); RFC 8628 3.5 (device flow);
 *        RFC 8707 2 (invalid_target); OpenID Connect Core 3.1.2.6 (..._required)
 *   [C]  auth.openai.com, as Codex and pi know it (pi-ai, dist/auth/oauth/openai-codex.js):
 *        refresh_token_reused, _expired, _invalidated, as error, error.code or code
 *   [H]  GitHub, "Troubleshooting OAuth access token requests" and "Refreshing user access tokens":
 *        bad_refresh_token, incorrect_client_credentials; both with status 200
 *   [P]  error references of the APIs whose envelope the provider has: OpenAI "Error codes",
 *        Anthropic "Errors", google.rpc.Code, AWS "Common errors"; Azure uses OpenAI's names
 *
 * The order of judgement:
 *   1. 408 NET_TIMEOUT; 5xx NET_SERVER: a server in trouble does not decide about a login.
 *   2. 429: QUOTA if that is what the name says, else RATE.
 *   3. A name of the table.
 *   4. No known name: 402 QUOTA; 400, 401, 403 EXCHANGE; 404, 405, 410 NET_ANSWER (not a token
 *      endpoint); other 4xx UNKNOWN; all the rest NET_ANSWER.
 * REFRESH_DEAD, after which nobody tries again, needs a name: firewalls, proxies and gateways answer
 * 400, 401 and 403 with bodies of their own, and a login must survive them.
 */
#include <string.h>

#include "token.h"

#define TOKEN_NAME_MAX 40 /* of an error token in a message */

struct meaning {
	const char *name;
	enum pa_code refresh; /* of a refresh token */
	enum pa_code
		client; /* of client credentials: there is no refresh token that could be dead */
};

static const struct meaning meanings[] = {
	/* [O] */
	{ "invalid_grant", PA_REFRESH_DEAD, PA_EXCHANGE },
	{ "invalid_client", PA_REFRESH_DEAD, PA_EXCHANGE },
	{ "unauthorized_client", PA_REFRESH_DEAD, PA_EXCHANGE },
	{ "access_denied", PA_REFRESH_DEAD, PA_EXCHANGE },
	{ "invalid_token", PA_REFRESH_DEAD, PA_EXCHANGE },
	{ "expired_token", PA_REFRESH_DEAD, PA_EXCHANGE },
	{ "login_required", PA_REFRESH_DEAD, PA_EXCHANGE },
	{ "interaction_required", PA_REFRESH_DEAD, PA_EXCHANGE },
	{ "consent_required", PA_REFRESH_DEAD, PA_EXCHANGE },
	{ "invalid_request", PA_EXCHANGE, PA_EXCHANGE },
	{ "unsupported_grant_type", PA_EXCHANGE, PA_EXCHANGE },
	{ "invalid_scope", PA_EXCHANGE, PA_EXCHANGE },
	{ "invalid_target", PA_EXCHANGE, PA_EXCHANGE },
	{ "insufficient_scope", PA_EXCHANGE, PA_EXCHANGE },
	{ "slow_down", PA_RATE, PA_RATE },
	{ "server_error", PA_NET_SERVER, PA_NET_SERVER },
	{ "temporarily_unavailable", PA_NET_SERVER, PA_NET_SERVER },
	/* [C] */
	{ "refresh_token_reused", PA_REFRESH_DEAD, PA_EXCHANGE },
	{ "refresh_token_expired", PA_REFRESH_DEAD, PA_EXCHANGE },
	{ "refresh_token_invalidated", PA_REFRESH_DEAD, PA_EXCHANGE },
	/* [H] */
	{ "bad_refresh_token", PA_REFRESH_DEAD, PA_EXCHANGE },
	{ "incorrect_client_credentials", PA_REFRESH_DEAD, PA_EXCHANGE },
	/* [P] OpenAI, Azure */
	{ "invalid_api_key", PA_BAD_KEY, PA_BAD_KEY },
	{ "insufficient_quota", PA_QUOTA, PA_QUOTA },
	{ "billing_not_active", PA_QUOTA, PA_QUOTA },
	{ "billing_hard_limit_reached", PA_QUOTA, PA_QUOTA },
	{ "rate_limit_exceeded", PA_RATE, PA_RATE },
	{ "deploymentnotfound", PA_NO_DEPLOYMENT, PA_NO_DEPLOYMENT },
	/* [P] Anthropic */
	{ "authentication_error", PA_BAD_KEY, PA_BAD_KEY },
	{ "permission_error", PA_BAD_KEY, PA_BAD_KEY },
	{ "billing_error", PA_QUOTA, PA_QUOTA },
	{ "rate_limit_error", PA_RATE, PA_RATE },
	{ "overloaded_error", PA_NET_SERVER, PA_NET_SERVER },
	{ "api_error", PA_NET_SERVER, PA_NET_SERVER },
	{ "timeout_error", PA_NET_TIMEOUT, PA_NET_TIMEOUT },
	/* [P] Google; 429 with it is a rate limit, not a bill */
	{ "unauthenticated", PA_BAD_KEY, PA_BAD_KEY },
	{ "permission_denied", PA_BAD_KEY, PA_BAD_KEY },
	{ "resource_exhausted", PA_RATE, PA_RATE },
	{ "unavailable", PA_NET_SERVER, PA_NET_SERVER },
	{ "deadline_exceeded", PA_NET_TIMEOUT, PA_NET_TIMEOUT },
	/* [P] AWS */
	{ "unrecognizedclientexception", PA_BAD_KEY, PA_BAD_KEY },
	{ "accessdeniedexception", PA_BAD_KEY, PA_BAD_KEY },
	{ "expiredtokenexception", PA_BAD_KEY, PA_BAD_KEY },
	{ "invalidsignatureexception", PA_BAD_KEY, PA_BAD_KEY },
	{ "servicequotaexceededexception", PA_QUOTA, PA_QUOTA },
	{ "throttlingexception", PA_RATE, PA_RATE },
	{ "serviceunavailableexception", PA_NET_SERVER, PA_NET_SERVER },
	{ "internalserverexception", PA_NET_SERVER, PA_NET_SERVER },
};

/*
 * Where a body may hold such a name, the more telling one first. A token endpoint speaks RFC 6749 or [C]
 * whatever the envelope of the API beside it; those places come first everywhere.
 */
#define COMMON_PLACES "/error", "/error/code", "/error/type", "/error/message", "/code"

static const char *const places_common[] = { COMMON_PLACES, NULL };
static const char *const places_google[] = { COMMON_PLACES, "/error/status", NULL };
static const char *const places_aws[] = { COMMON_PLACES, "/__type", NULL };
static const char *const places_unknown[] = { COMMON_PLACES, "/error/status", "/__type", NULL };

static const char *const *places_of(enum error_envelope env)
{
	switch (env) {
	case ENVELOPE_ANTHROPIC:
	case ENVELOPE_OPENAI:
	case ENVELOPE_SIMPLE:
	case ENVELOPE_AZURE:
		return places_common;
	case ENVELOPE_GOOGLE:
		return places_google;
	case ENVELOPE_AWS:
		return places_aws;
	case ENVELOPE_UNKNOWN:
		break;
	}
	return places_unknown;
}

/*
 * The value in lower case. AWS wraps its names: "com.amazon.coral#NameException:http://...". False for
 * what is too long to be a name.
 */
static bool copy_name(const char *value, bool aws, char *ret, size_t size)
{
	const char *hash = aws ? strchr(value, '#') : NULL;
	if (hash)
		value = hash + 1;
	size_t len = aws ? strcspn(value, ":") : strlen(value);
	if (len == 0 || len >= size)
		return false;
	for (size_t i = 0; i < len; i++)
		ret[i] = value[i] >= 'A' && value[i] <= 'Z' ? (char)(value[i] | 0x20) : value[i];
	ret[len] = '\0';
	return true;
}

static const struct meaning *find_meaning(const char *name)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(*meanings); i++) {
		if (strcmp(meanings[i].name, name) == 0)
			return &meanings[i];
	}
	return NULL;
}

/* What the body says, if it says anything known. ret_name: the error token for the message, or "". */
static const struct meaning *read_meaning(
	enum error_envelope env, const char *body, size_t len, char *ret_name, size_t size)
{
	JSON_AUTO cJSON *root = NULL;
	char name[TOKEN_NAME_MAX + 1];

	*ret_name = '\0';
	if (json_parse(body, len, PA_NET_ANSWER, &root, NULL, NULL) < 0)
		return NULL;
	for (const char *const *place = places_of(env); *place; place++) {
		const cJSON *value = json_at(root, *place);
		if (!cJSON_IsString(value) ||
			!copy_name(value->valuestring, strcmp(*place, "/__type") == 0, name,
				sizeof(name)))
			continue;
		const struct meaning *m = find_meaning(name);
		if (m || (!*ret_name && strcmp(*place, "/error/message") != 0))
			memcpy(ret_name, name, sizeof(name) < size ? sizeof(name) : size);
		if (m)
			return m;
	}
	return NULL;
}

static enum pa_code meaning_of_status(int status)
{
	switch (status) {
	case 400:
	case 401:
	case 403:
		return PA_EXCHANGE;
	case 402:
		return PA_QUOTA;
	case 404:
	case 405:
	case 410:
		return PA_NET_ANSWER;
	default: /* a number, not one of our enums */
		return status / 100 == 4 ? PA_UNKNOWN : PA_NET_ANSWER;
	}
}

int token_classify(enum error_envelope env, bool client_credentials, int status, const char *body,
	size_t len, struct pa_err *err)
{
	char name[TOKEN_NAME_MAX + 1];
	const struct meaning *m = read_meaning(env, body, len, name, sizeof(name));
	enum pa_code named = !m ? PA_NONE : client_credentials ? m->client : m->refresh;
	enum pa_code code;

	if (status == 408)
		code = PA_NET_TIMEOUT;
	else if (status / 100 == 5)
		code = PA_NET_SERVER;
	else if (status == 429)
		code = named == PA_QUOTA ? PA_QUOTA : PA_RATE;
	else if (status / 100 != 4 && status / 100 != 2)
		code = PA_NET_ANSWER;
	else
		code = named != PA_NONE ? named : meaning_of_status(status);

	/* A name may be shown if it can be nothing else: no digits, so no token hides in it. */
	bool shown = *name && strspn(name, "abcdefghijklmnopqrstuvwxyz_") == strlen(name);
	int r = pa_fail(err, code, 0, "HTTP %d%s%s", status, shown ? ", " : "", shown ? name : "");
	if (err)
		err->http_status = status;
	return r;
}
