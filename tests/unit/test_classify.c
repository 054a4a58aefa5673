/*
 * classify: what a failed token request means, row by row.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/oauth/token.h"

#define ANY ENVELOPE_UNKNOWN

static const struct class_case {
	enum error_envelope env;
	bool client;
	int status;
	const char *body;
	enum pa_code code;
	const char *detail;
} classes[] = {
	/* RFC 6749 5.2, whatever the envelope of the API */
	{ ANY, false, 400, "{\"error\":\"invalid_grant\"}", PA_REFRESH_DEAD,
		"HTTP 400, invalid_grant" },
	{ ENVELOPE_AWS, false, 400,
		"{\"error\":\"invalid_grant\",\"error_description\":\"Bad sk-1\"}", PA_REFRESH_DEAD,
		"HTTP 400, invalid_grant" },
	{ ENVELOPE_GOOGLE, true, 400, "{\"error\":\"invalid_grant\"}", PA_EXCHANGE,
		"HTTP 400, invalid_grant" },
	{ ANY, false, 401, "{\"error\":\"invalid_client\"}", PA_REFRESH_DEAD,
		"HTTP 401, invalid_client" },
	{ ANY, true, 401, "{\"error\":\"invalid_client\"}", PA_EXCHANGE,
		"HTTP 401, invalid_client" },
	{ ANY, false, 400, "{\"error\":\"unauthorized_client\"}", PA_REFRESH_DEAD,
		"HTTP 400, unauthorized_client" },
	{ ANY, false, 403, "{\"error\":\"access_denied\"}", PA_REFRESH_DEAD,
		"HTTP 403, access_denied" },
	{ ANY, false, 400, "{\"error\":\"invalid_request\"}", PA_EXCHANGE,
		"HTTP 400, invalid_request" },
	{ ANY, false, 400, "{\"error\":\"invalid_scope\"}", PA_EXCHANGE,
		"HTTP 400, invalid_scope" },
	{ ANY, false, 400, "{\"error\":\"unsupported_grant_type\"}", PA_EXCHANGE,
		"HTTP 400, unsupported_grant_type" },
	{ ANY, false, 400, "{\"error\":\"temporarily_unavailable\"}", PA_NET_SERVER,
		"HTTP 400, temporarily_unavailable" },
	{ ANY, false, 401, "{\"error\":\"invalid_token\"}", PA_REFRESH_DEAD,
		"HTTP 401, invalid_token" },
	/* the three of auth.openai.com, wherever they stand */
	{ ENVELOPE_OPENAI, false, 401, "{\"error\":\"refresh_token_reused\"}", PA_REFRESH_DEAD,
		"HTTP 401, refresh_token_reused" },
	{ ENVELOPE_OPENAI, false, 401,
		"{\"error\":{\"message\":\"Your refresh token "
		"...\",\"type\":\"invalid_request_error\","
		"\"param\":null,\"code\":\"refresh_token_expired\"}}",
		PA_REFRESH_DEAD, "HTTP 401, refresh_token_expired" },
	{ ENVELOPE_ANTHROPIC, false, 401, "{\"error\":{\"type\":\"refresh_token_invalidated\"}}",
		PA_REFRESH_DEAD, "HTTP 401, refresh_token_invalidated" },
	{ ANY, false, 401, "{\"error\":{\"message\":\"refresh_token_reused\"}}", PA_REFRESH_DEAD,
		"HTTP 401, refresh_token_reused" },
	{ ANY, false, 401, "{\"code\":\"refresh_token_reused\"}", PA_REFRESH_DEAD,
		"HTTP 401, refresh_token_reused" },
	{ ANY, true, 401, "{\"code\":\"refresh_token_reused\"}", PA_EXCHANGE,
		"HTTP 401, refresh_token_reused" },
	{ ANY, false, 200, "{\"error\":\"bad_refresh_token\"}", PA_REFRESH_DEAD,
		"HTTP 200, bad_refresh_token" },
	/* each envelope */
	{ ENVELOPE_ANTHROPIC, false, 401,
		"{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":"
		"\"x\"}}",
		PA_BAD_KEY, "HTTP 401, authentication_error" },
	{ ENVELOPE_ANTHROPIC, false, 400,
		"{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":"
		"\"x\"}}",
		PA_EXCHANGE, "HTTP 400, invalid_request_error" },
	{ ENVELOPE_ANTHROPIC, false, 402, "{\"error\":{\"type\":\"billing_error\"}}", PA_QUOTA,
		"HTTP 402, billing_error" },
	{ ENVELOPE_ANTHROPIC, false, 529, "{\"error\":{\"type\":\"overloaded_error\"}}",
		PA_NET_SERVER, "HTTP 529, overloaded_error" },
	{ ENVELOPE_OPENAI, false, 401, "{\"error\":{\"code\":\"invalid_api_key\"}}", PA_BAD_KEY,
		"HTTP 401, invalid_api_key" },
	{ ENVELOPE_OPENAI, false, 429, "{\"error\":{\"code\":\"insufficient_quota\"}}", PA_QUOTA,
		"HTTP 429, insufficient_quota" },
	{ ENVELOPE_OPENAI, false, 429, "{\"error\":{\"code\":\"rate_limit_exceeded\"}}", PA_RATE,
		"HTTP 429, rate_limit_exceeded" },
	{ ENVELOPE_GOOGLE, false, 401, "{\"error\":{\"code\":401,\"status\":\"UNAUTHENTICATED\"}}",
		PA_BAD_KEY, "HTTP 401, unauthenticated" },
	{ ENVELOPE_OPENAI, false, 401, "{\"error\":{\"code\":401,\"status\":\"UNAUTHENTICATED\"}}",
		PA_EXCHANGE, "HTTP 401" },
	{ ENVELOPE_GOOGLE, false, 429,
		"{\"error\":{\"code\":429,\"status\":\"RESOURCE_EXHAUSTED\"}}", PA_RATE,
		"HTTP 429, resource_exhausted" },
	{ ENVELOPE_AWS, false, 400,
		"{\"__type\":\"com.amazon.coral.service#UnrecognizedClientException\",\"message\":"
		"\"x\"}",
		PA_BAD_KEY, "HTTP 400, unrecognizedclientexception" },
	{ ENVELOPE_AWS, false, 400, "{\"__type\":\"ThrottlingException:http://x/\"}", PA_RATE,
		"HTTP 400, throttlingexception" },
	{ ENVELOPE_SIMPLE, false, 401, "{\"message\":\"invalid_grant\"}", PA_EXCHANGE, "HTTP 401" },
	{ ENVELOPE_AZURE, false, 401,
		"{\"error\":{\"code\":\"401\",\"message\":\"Access denied\"}}", PA_EXCHANGE,
		"HTTP 401" },
	{ ENVELOPE_AZURE, false, 404, "{\"error\":{\"code\":\"DeploymentNotFound\"}}",
		PA_NO_DEPLOYMENT, "HTTP 404, deploymentnotfound" },
	/* text decides nothing; an unnamed refusal kills no login */
	{ ANY, false, 400, "", PA_EXCHANGE, "HTTP 400" },
	{ ANY, false, 401, "<html>invalid_grant</html>", PA_EXCHANGE, "HTTP 401" },
	{ ANY, false, 403, "error=invalid_grant", PA_EXCHANGE, "HTTP 403" },
	{ ANY, false, 400, "\"invalid_grant\"", PA_EXCHANGE, "HTTP 400" },
	{ ANY, false, 400, "{\"error\":\"invalid_grant: 401\"}", PA_EXCHANGE, "HTTP 400" },
	{ ANY, false, 400, "{\"error\":\"invalid_grant\",\"error\":\"x\"}", PA_EXCHANGE,
		"HTTP 400" },
	{ ANY, false, 400, "{\"error\":{\"error\":\"invalid_grant\"}}", PA_EXCHANGE, "HTTP 400" },
	{ ANY, false, 400, "{\"error_description\":\"invalid_grant\"}", PA_EXCHANGE, "HTTP 400" },
	{ ANY, false, 400, "{\"error\":\"sk1secret\"}", PA_EXCHANGE, "HTTP 400" },
	{ ANY, false, 400, "{\"error\":{\"message\":\"some_text\"}}", PA_EXCHANGE, "HTTP 400" },
	{ ANY, false, 400, "{\"error\":\"unheard_of\"}", PA_EXCHANGE, "HTTP 400, unheard_of" },
	{ ANY, false, 400, "{\"error\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", PA_EXCHANGE,
		"HTTP 400" },
	{ ANY, false, 400, "{\"error\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", PA_EXCHANGE,
		"HTTP 400, aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
	/* the status alone; a server in trouble decides nothing */
	{ ANY, false, 500, "{\"error\":\"invalid_grant\"}", PA_NET_SERVER,
		"HTTP 500, invalid_grant" },
	{ ANY, false, 503, "", PA_NET_SERVER, "HTTP 503" },
	{ ANY, false, 529, "", PA_NET_SERVER, "HTTP 529" },
	{ ANY, false, 408, "{\"error\":\"invalid_grant\"}", PA_NET_TIMEOUT,
		"HTTP 408, invalid_grant" },
	{ ANY, false, 429, "{\"error\":\"invalid_grant\"}", PA_RATE, "HTTP 429, invalid_grant" },
	{ ANY, false, 402, "", PA_QUOTA, "HTTP 402" },
	{ ANY, false, 404, "", PA_NET_ANSWER, "HTTP 404" },
	{ ANY, false, 405, "", PA_NET_ANSWER, "HTTP 405" },
	{ ANY, false, 418, "", PA_UNKNOWN, "HTTP 418" },
	{ ANY, true, 403, "", PA_EXCHANGE, "HTTP 403" },
	{ ANY, false, 302, "{\"error\":\"invalid_grant\"}", PA_NET_ANSWER,
		"HTTP 302, invalid_grant" },
	{ ANY, false, 200, "{}", PA_NET_ANSWER, "HTTP 200" },
	{ ANY, false, 0, "", PA_NET_ANSWER, "HTTP 0" },
};

static void failures_are_classified(void **state)
{
	for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++) {
		const struct class_case *c = &classes[i];
		struct pa_err err = { 0 };
		int r = token_classify(
			c->env, c->client, c->status, c->body, strlen(c->body), &err);
		int again = token_classify(
			c->env, c->client, c->status, c->body, strlen(c->body), NULL);

		if (r != -pa_errno(c->code) || again != r || err.code != c->code ||
			err.http_status != c->status || strcmp(err.detail, c->detail) != 0)
			fail_msg("%d %s: %s, status %d, \"%s\"", c->status, c->body,
				pa_wire(err.code), err.http_status, err.detail);
	}
}

static int set_up(void **state)
{
	json_init();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failures_are_classified),
	};
	return cmocka_run_group_tests(tests, set_up, NULL);
}
