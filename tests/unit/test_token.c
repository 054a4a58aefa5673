/*
 * token: requests byte by byte for one small descriptor per kind of token endpoint, and what an answer
 * makes of an entry.
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

#define SENT_MS  1700000000000LL
#define COUNT(a) (sizeof(a) / sizeof(*(a)))

/* ---- descriptors, one per kind ---- */

static struct oauth_desc form = {
	.token_endpoint = (char *)"https://auth.example/token",
	.client_id = (char *)"app one/1",
	.rotates = true,
};

static struct name_value json_headers[] = { { (char *)"X-Api-Version", (char *)"1.0.0" }, { 0 } };
static struct oauth_desc json = {
	.token_endpoint = (char *)"https://auth.example/json",
	.client_id = (char *)"9d1c",
	.token_request = TOKEN_JSON,
	.headers = json_headers,
	.requires_rotation = true,
	.rotates = true,
};

static struct name_value issued_params[] = {
	{ (char *)"resource", (char *)"https://api.example/v1" }, { 0 }
};
static char *issued_keep[] = { (char *)"scope", (char *)"org", (char *)"access", (char *)"", NULL };
static struct oauth_desc issued = {
	.token_endpoint = (char *)"https://auth.example/issued",
	.client_id = (char *)"dynamic",
	.client_secret = (char *)"s3&cret",
	.client_id_member = (char *)"clientId",
	.token_params = issued_params,
	.keep = issued_keep,
	.default_lifetime_s = 600,
};

static struct name_value get_headers[] = { { (char *)"accept", (char *)"application/vnd.x+json" },
	{ (char *)"User-Agent", (char *)"Editor/1" }, { 0 } };
static struct oauth_desc bearer_get = {
	.token_endpoint = (char *)"https://api.example/token",
	.token_request = TOKEN_BEARER,
	.token_get = true,
	.headers = get_headers,
	.answer_access = (char *)"token",
	.answer_expires_at = (char *)"expires_at",
};

static struct oauth_desc bearer_post = {
	.token_endpoint = (char *)"https://api.example/key",
	.token_request = TOKEN_BEARER,
	.grant_client_credentials = true, /* has no meaning for this kind */
	.answer_access = (char *)"api_key",
	.default_lifetime_s = 86400,
};

static struct oauth_desc client = {
	.token_endpoint = (char *)"https://auth.example/cc",
	.client_id = (char *)"cid",
	.client_secret = (char *)"cs",
	.scope = (char *)"api read",
	.grant_client_credentials = true,
};

static struct oauth_desc codex = {
	.token_endpoint = (char *)"https://auth.example/codex",
	.client_id = (char *)"app_E",
	.rotates = true,
	.requires_rotation = true,
	.account_claim = (char *)"/https:~1~1api.example~1auth/account_id",
	.account_member = (char *)"accountId",
};

static cJSON *parse(const char *text)
{
	cJSON *value = NULL;
	assert_int_equal(json_parse(text, strlen(text), PA_CONFIG, &value, NULL, NULL), 0);
	return value;
}

static void assert_secret(const char *name, const struct secret *s, const char *want)
{
	if (want ? !secret_eq_bytes(s, want, strlen(want)) : s != NULL)
		fail_msg("%s: not %s", name, want ? want : "nothing");
}

static void assert_text(const char *name, const cJSON *value, const char *want)
{
	WIPE_AUTO char *text = json_text(value);
	if (strcmp(text, want) != 0)
		fail_msg("%s: %s", name, text);
}

/* ---- requests ---- */

#define ACCEPT_JSON "Accept: application/json"
#define FORM_TYPE   "application/x-www-form-urlencoded"
#define JSON_TYPE   "application/json"

static const struct request_case {
	const char *name;
	struct oauth_desc *d;
	const char *entry;
	const char *body; /* NULL: none */
	const char *type;
	const char *bearer;
	bool get;
	const char *headers[3];
} requests[] = {
	{ "form", &form, "{\"type\":\"oauth\",\"refresh\":\"r 1+/=~%\"}",
		"grant_type=refresh_token&refresh_token=r+1%2B%2F%3D%7E%25&client_id=app+one%2F1",
		FORM_TYPE, NULL, false, { ACCEPT_JSON } },
	{ "form, the example of RFC 6749 appendix B", &form,
		"{\"refresh\":\" %&+\xc2\xa3\xe2\x82\xac\"}",
		"grant_type=refresh_token&refresh_token=+%25%26%2B%C2%A3%E2%82%AC&client_id=app+"
		"one%2F1",
		FORM_TYPE, NULL, false, { ACCEPT_JSON } },
	{ "json", &json, "{\"type\":\"oauth\",\"refresh\":\"r\\\"1\\\\\",\"scope\":\"a b\"}",
		"{\"grant_type\":\"refresh_token\",\"refresh_token\":\"r\\\"1\\\\\",\"client_id\":"
		"\"9d1c\"}",
		JSON_TYPE, NULL, false, { ACCEPT_JSON, "X-Api-Version: 1.0.0" } },
	{ "issued client id, secret, parameter", &issued,
		"{\"refresh\":\"r1\",\"clientId\":\"c-77\"}",
		"grant_type=refresh_token&refresh_token=r1&client_id=c-77&client_secret=s3%26cret"
		"&resource=https%3A%2F%2Fapi.example%2Fv1",
		FORM_TYPE, NULL, false, { ACCEPT_JSON } },
	{ "no issued client id yet", &issued, "{\"refresh\":\"r1\",\"clientId\":\"\"}",
		"grant_type=refresh_token&refresh_token=r1&client_id=dynamic&client_secret=s3%"
		"26cret"
		"&resource=https%3A%2F%2Fapi.example%2Fv1",
		FORM_TYPE, NULL, false, { ACCEPT_JSON } },
	{ "bearer get", &bearer_get, "{\"refresh\":\"ghu_1\"}", NULL, NULL, "ghu_1", true,
		{ "accept: application/vnd.x+json", "User-Agent: Editor/1" } },
	{ "bearer post", &bearer_post, "{\"refresh\":\"id.tok.en\"}", "{}", JSON_TYPE, "id.tok.en",
		false, { ACCEPT_JSON } },
	{ "client credentials of the configuration", &client, "{\"type\":\"oauth\"}",
		"grant_type=client_credentials&client_id=cid&client_secret=cs&scope=api+read",
		FORM_TYPE, NULL, false, { ACCEPT_JSON } },
	{ "client credentials of the entry", &client,
		"{\"client_id\":\"ci2\",\"client_secret\":\"cs2\"}",
		"grant_type=client_credentials&client_id=ci2&client_secret=cs2&scope=api+read",
		FORM_TYPE, NULL, false, { ACCEPT_JSON } },
	{ "a refresh token goes before client credentials and names no scope", &client,
		"{\"refresh\":\"r\",\"client_id\":\"ci2\",\"client_secret\":\"cs2\"}",
		"grant_type=refresh_token&refresh_token=r&client_id=cid&client_secret=cs",
		FORM_TYPE, NULL, false, { ACCEPT_JSON } },
};

static void requests_are_right(void **state)
{
	for (size_t i = 0; i < COUNT(requests); i++) {
		const struct request_case *c = &requests[i];
		JSON_AUTO cJSON *entry = parse(c->entry);
		struct token_request_parts p;
		struct pa_err err;
		size_t n = 0;

		if (!token_can_refresh(c->d, entry) ||
			token_refresh_request(c->d, entry, &p, &err) != 0)
			fail_msg("%s", c->name);
		assert_ptr_equal(p.url, c->d->token_endpoint);
		assert_int_equal(p.get, c->get);
		assert_secret(c->name, p.body, c->body);
		assert_secret(c->name, p.bearer, c->bearer);
		if (c->type)
			assert_string_equal(p.content_type, c->type);
		else
			assert_null(p.content_type);
		for (; c->headers[n]; n++)
			assert_string_equal(p.headers[n], c->headers[n]);
		assert_null(p.headers[n]);
		token_request_done(&p);
		assert_null(p.body);
	}
	assert_int_equal(secret_heap_used(), 0);
}

static void a_parameter_is_sent_once(void **state)
{
	struct name_value params[] = { { (char *)"client_id", (char *)"other" },
		{ (char *)"audience", (char *)"" }, { 0 } };
	struct oauth_desc d = form;
	struct token_request_parts p;
	JSON_AUTO cJSON *entry = parse("{\"refresh\":\"r\"}");

	d.token_params = params;
	assert_int_equal(token_refresh_request(&d, entry, &p, NULL), 0);
	assert_secret("parameter", p.body,
		"grant_type=refresh_token&refresh_token=r&client_id=other&audience=");
	token_request_done(&p);
}

static void what_cannot_be_refreshed(void **state)
{
	static const char *const empty[] = { "{}", "{\"refresh\":\"\"}", "{\"refresh\":7}",
		"{\"client_id\":\"a\",\"client_secret\":\"b\"}" };
	struct oauth_desc no_endpoint = form, no_secret = client;
	struct token_request_parts p;
	struct pa_err err;

	for (size_t i = 0; i < COUNT(empty); i++) {
		JSON_AUTO cJSON *entry = parse(empty[i]);
		assert_false(token_can_refresh(&form, entry));
		assert_false(token_can_refresh(&bearer_post, entry));
		assert_int_equal(token_refresh_request(&form, entry, &p, &err), -EKEYEXPIRED);
		assert_int_equal(err.code, PA_EXPIRED);
	}
	JSON_AUTO cJSON *entry = parse("{\"refresh\":\"r\"}");
	no_endpoint.token_endpoint = NULL;
	assert_false(token_can_refresh(&no_endpoint, entry));
	assert_int_equal(token_refresh_request(&no_endpoint, entry, &p, &err), -EDESTADDRREQ);
	assert_false(token_can_refresh(NULL, entry));
	assert_int_equal(token_refresh_request(NULL, entry, &p, &err), -EDESTADDRREQ);
	json_drop(entry, "refresh");
	no_secret.client_secret = NULL;
	assert_false(token_can_refresh(&no_secret, entry));
	assert_true(token_can_refresh(&client, entry));
	assert_int_equal(secret_heap_used(), 0);
}

/* ---- entries ---- */

static void entries(void **state)
{
	static const char *const good[] = {
		"{\"type\":\"oauth\",\"access\":\"a\",\"refresh\":\"r\",\"expires\":1700000000000}",
		"{\"type\":\"oauth\",\"access\":\"a\",\"expires\":9007199254740991}",
		"{\"type\":\"oauth\",\"refresh\":\"r\"}",
		"{\"type\":\"oauth\",\"access\":\"\",\"refresh\":\"r\",\"expires\":0,\"x\":[1]}",
		"{\"type\":\"oauth\",\"client_id\":\"i\",\"client_secret\":\"s\"}",
	};
	static const char *const wrong[] = {
		"[]",
		"{}",
		"\"oauth\"",
		"{\"type\":\"api_key\",\"key\":\"k\"}",
		"{\"type\":\"oauth\"}",
		"{\"type\":\"oauth\",\"access\":\"\",\"refresh\":\"\"}",
		"{\"type\":\"oauth\",\"access\":\"a\",\"refresh\":\"r\"}",
		"{\"type\":\"oauth\",\"access\":\"a\",\"refresh\":\"r\",\"expires\":\"1\"}",
		"{\"type\":\"oauth\",\"refresh\":\"r\",\"expires\":-1}",
		"{\"type\":\"oauth\",\"refresh\":\"r\",\"expires\":1.5}",
		"{\"type\":\"oauth\",\"access\":1,\"refresh\":\"r\",\"expires\":1}",
		"{\"type\":\"oauth\",\"access\":\"a\",\"refresh\":null,\"expires\":1}",
		"{\"type\":\"oauth\",\"access\":\"a\\nb\",\"refresh\":\"r\",\"expires\":1}",
		"{\"type\":\"oauth\",\"access\":\"a\",\"refresh\":\"\xc3\xa9\",\"expires\":1}",
	};
	struct pa_err err;

	for (size_t i = 0; i < COUNT(good); i++) {
		JSON_AUTO cJSON *entry = parse(good[i]);
		assert_true(token_entry_is_valid(entry, &err));
	}
	for (size_t i = 0; i < COUNT(wrong); i++) {
		JSON_AUTO cJSON *entry = parse(wrong[i]);
		err = (struct pa_err){ 0 };
		assert_false(token_entry_is_valid(entry, &err));
		assert_int_equal(err.code, PA_BAD_INPUT);
		assert_false(token_entry_is_valid(entry, NULL));
	}
	assert_false(token_entry_is_valid(NULL, NULL));
}

static void a_token_has_a_limit(void **state)
{
	char *token = malloc(TOKEN_MAX + 2);
	JSON_AUTO cJSON *entry = parse("{\"type\":\"oauth\"}");

	memset(token, 'x', TOKEN_MAX + 1);
	token[TOKEN_MAX + 1] = '\0';
	assert_int_equal(json_set_str(entry, "refresh", token, NULL), 0);
	assert_false(token_entry_is_valid(entry, NULL));
	token[TOKEN_MAX] = '\0';
	assert_int_equal(json_set_str(entry, "refresh", token, NULL), 0);
	assert_true(token_entry_is_valid(entry, NULL));
	free(token);
}

/* ---- answers ---- */

/* {"https://api.example/auth":{"account_id":"a?aa>"},"exp":1} : has both - and _ in base64url */
#define JWT                                                                                    \
	"e30.eyJodHRwczovL2FwaS5leGFtcGxlL2F1dGgiOnsiYWNjb3VudF9pZCI6ImE_YWE-In0sImV4cCI6MX0." \
	"c2ln"

static const struct answer_case {
	const char *name;
	struct oauth_desc *d;
	const char *entry;
	const char *body;
	const char *want;
} answers[] = {
	{ "rotation; what the answer does not speak of stays", &form,
		"{\"type\":\"oauth\",\"access\":\"a\",\"refresh\":\"r\",\"expires\":5,\"email\":"
		"\"e@x\"}",
		"{\"access_token\":\"a2\",\"refresh_token\":\"r2\",\"expires_in\":3600,\"scope\":"
		"\"x\","
		"\"token_type\":\"Bearer\"}",
		"{\"type\":\"oauth\",\"access\":\"a2\",\"refresh\":\"r2\",\"expires\":"
		"1700003600000,"
		"\"email\":\"e@x\"}" },
	{ "no refresh token: the old one stays", &form, "{\"refresh\":\"r\"}",
		"{\"access_token\":\"a2\",\"expires_in\":2}",
		"{\"refresh\":\"r\",\"access\":\"a2\",\"expires\":1700000002000}" },
	{ "null and empty refresh tokens are none", &form, "{\"refresh\":\"r\"}",
		"{\"access_token\":\"a2\",\"refresh_token\":\"\",\"expires_in\":0}",
		"{\"refresh\":\"r\",\"access\":\"a2\",\"expires\":1700000000000}" },
	{ "null refresh token", &form, "{\"refresh\":\"r\"}",
		"{\"access_token\":\"a2\",\"refresh_token\":null,\"expires_in\":\"7200\"}",
		"{\"refresh\":\"r\",\"access\":\"a2\",\"expires\":1700007200000}" },
	{ "no lifetime: an hour", &form, "{\"refresh\":\"r\"}", "{\"access_token\":\"a2\"}",
		"{\"refresh\":\"r\",\"access\":\"a2\",\"expires\":1700003600000}" },
	{ "no usable lifetime: the descriptor's; kept members", &issued,
		"{\"refresh\":\"r\",\"scope\":\"old\"}",
		"{\"access_token\":\"a2\",\"expires_in\":\"soon\",\"scope\":\"s\",\"org\":{\"id\":["
		"1]},"
		"\"access\":\"no\",\"\":1}",
		"{\"refresh\":\"r\",\"scope\":\"s\",\"access\":\"a2\",\"expires\":1700000600000,"
		"\"org\":{\"id\":[1]},\"\":1}" },
	{ "a kept member that is null stays as it was", &issued,
		"{\"refresh\":\"r\",\"scope\":\"old\"}",
		"{\"access_token\":\"a2\",\"expires_in\":-5,\"scope\":null}",
		"{\"refresh\":\"r\",\"scope\":\"old\",\"access\":\"a2\",\"expires\":"
		"1700000000000}" },
	{ "a century", &form, "{\"refresh\":\"r\"}",
		"{\"access_token\":\"a2\",\"expires_in\":1e199}",
		"{\"refresh\":\"r\",\"access\":\"a2\",\"expires\":4862240000000}" },
	{ "fraction", &form, "{\"refresh\":\"r\"}",
		"{\"access_token\":\"a2\",\"expires_in\":3599.9}",
		"{\"refresh\":\"r\",\"access\":\"a2\",\"expires\":1700003599000}" },
	{ "expires_at and other names", &bearer_get, "{\"refresh\":\"ghu\",\"expires\":1}",
		"{\"token\":\"tid=1;exp=2\",\"expires_at\":1700000123,\"access_token\":\"no\"}",
		"{\"refresh\":\"ghu\",\"expires\":1700000123000,\"access\":\"tid=1;exp=2\"}" },
	{ "expires_at missing", &bearer_get, "{\"refresh\":\"ghu\"}",
		"{\"token\":\"t\",\"expires_in\":60}",
		"{\"refresh\":\"ghu\",\"access\":\"t\",\"expires\":1700000060000}" },
	{ "flat lifetime", &bearer_post, "{\"refresh\":\"id\"}", "{\"api_key\":\"k\"}",
		"{\"refresh\":\"id\",\"access\":\"k\",\"expires\":1700086400000}" },
	{ "client credentials take no refresh token", &client, "{\"type\":\"oauth\"}",
		"{\"access_token\":\"a\",\"refresh_token\":\"r\",\"expires_in\":1}",
		"{\"type\":\"oauth\",\"access\":\"a\",\"expires\":1700000001000}" },
	{ "account from the token", &codex, "{\"refresh\":\"r\",\"accountId\":\"old\"}",
		"{\"access_token\":\"" JWT "\",\"refresh_token\":\"r2\",\"expires_in\":1}",
		"{\"refresh\":\"r2\",\"accountId\":\"a?aa>\",\"access\":\"" JWT
		"\",\"expires\":1700000001000}" },
	{ "no account in the token: what is known stays", &codex,
		"{\"refresh\":\"r\",\"accountId\":\"old\"}",
		"{\"access_token\":\"opaque\",\"refresh_token\":\"r2\",\"expires_in\":1}",
		"{\"refresh\":\"r2\",\"accountId\":\"old\",\"access\":\"opaque\","
		"\"expires\":1700000001000}" },
};

static void answers_are_merged(void **state)
{
	for (size_t i = 0; i < COUNT(answers); i++) {
		const struct answer_case *c = &answers[i];
		JSON_AUTO cJSON *entry = parse(c->entry);
		JSON_AUTO cJSON *merged = NULL;
		struct pa_err err = { 0 };

		if (token_read_answer(c->d, ENVELOPE_UNKNOWN, entry, 200, c->body, strlen(c->body),
			    SENT_MS, &merged, &err) != 0)
			fail_msg("%s: %s", c->name, err.detail);
		assert_text(c->name, merged, c->want);
		assert_text(c->name, entry, c->entry); /* the old one is untouched */
	}
}

static const struct {
	struct oauth_desc *d;
	int status;
	const char *body;
	enum pa_code code;
} bad_answers[] = {
	{ &form, 200, "", PA_NET_ANSWER },
	{ &form, 204, "", PA_NET_ANSWER },
	{ &form, 200, "null", PA_NET_ANSWER },
	{ &form, 200, "[]", PA_NET_ANSWER },
	{ &form, 200, "<html>invalid_grant</html>", PA_NET_ANSWER },
	{ &form, 200, "{\"access_token\":\"a\"", PA_NET_ANSWER },
	{ &form, 200, "{\"access_token\":\"a\"}{}", PA_NET_ANSWER },
	{ &form, 200, "{\"access_token\":\"\"}", PA_NET_ANSWER },
	{ &form, 200, "{\"access_token\":5}", PA_NET_ANSWER },
	{ &form, 200, "{\"Access_Token\":\"a\"}", PA_NET_ANSWER },
	{ &form, 200, "{\"access_token\":\"a\\r\\nX: y\"}", PA_NET_ANSWER },
	{ &form, 200, "{\"access_token\":\"a\\u007f\"}", PA_NET_ANSWER },
	{ &form, 200, "{\"access_token\":\"\\u00e9\"}", PA_NET_ANSWER },
	{ &form, 200, "{\"access_token\":\"a\",\"access_token\":\"b\"}", PA_NET_ANSWER },
	{ &form, 200, "{\"access_token\":\"a\",\"refresh_token\":5}", PA_NET_ANSWER },
	{ &form, 200, "{\"access_token\":\"a\",\"refresh_token\":\"\\n\"}", PA_NET_ANSWER },
	{ &json, 200, "{\"access_token\":\"a\",\"expires_in\":5}", PA_NET_ANSWER },
	{ &json, 200, "{\"access_token\":\"a\",\"refresh_token\":\"\"}", PA_NET_ANSWER },
	{ &form, 200, "{\"error\":\"bad_refresh_token\"}", PA_REFRESH_DEAD },
	{ &form, 200, "{\"error\":\"teapot\"}", PA_NET_ANSWER },
	{ &form, 400, "{\"error\":\"invalid_grant\",\"access_token\":\"a\"}", PA_REFRESH_DEAD },
	{ &client, 400, "{\"error\":\"invalid_grant\"}", PA_EXCHANGE },
	{ &form, 302, "{\"access_token\":\"a\"}", PA_NET_ANSWER },
};

static void bad_answers_change_nothing(void **state)
{
	for (size_t i = 0; i < COUNT(bad_answers); i++) {
		const char *before =
			bad_answers[i].d == &client ? "{\"x\":1}" : "{\"refresh\":\"r\",\"x\":1}";
		JSON_AUTO cJSON *entry = parse(before);
		cJSON *merged = NULL;
		struct pa_err err = { 0 };

		int r = token_read_answer(bad_answers[i].d, ENVELOPE_UNKNOWN, entry,
			bad_answers[i].status, bad_answers[i].body, strlen(bad_answers[i].body),
			SENT_MS, &merged, &err);
		if (r != -pa_errno(bad_answers[i].code) || err.code != bad_answers[i].code ||
			err.http_status != bad_answers[i].status)
			fail_msg("%d %s: %s", bad_answers[i].status, bad_answers[i].body,
				pa_wire(err.code));
		assert_null(merged);
		assert_text(bad_answers[i].body, entry, before);
	}
}

static void an_answer_has_limits(void **state)
{
	JSON_AUTO cJSON *entry = parse("{\"refresh\":\"r\"}");
	JSON_AUTO cJSON *answer = parse("{\"access_token\":\"a\"}");
	JSON_AUTO cJSON *merged = NULL;
	char *big = malloc(TOKEN_MAX + 2);

	memset(big, 'x', TOKEN_MAX + 1);
	big[TOKEN_MAX + 1] = '\0';
	assert_int_equal(
		json_set_str(answer, "scope", big, NULL), 0); /* kept, but too big for it */
	WIPE_AUTO char *text = json_text(answer);
	assert_int_equal(token_read_answer(&issued, ENVELOPE_OPENAI, entry, 200, text, strlen(text),
				 SENT_MS, &merged, NULL),
		0);
	assert_text(
		"limits", merged, "{\"refresh\":\"r\",\"access\":\"a\",\"expires\":1700000600000}");
	assert_int_equal(json_set_str(answer, "access_token", big, NULL), 0);
	WIPE_AUTO char *longer = json_text(answer);
	assert_int_equal(token_read_answer(&issued, ENVELOPE_OPENAI, entry, 200, longer,
				 strlen(longer), SENT_MS, &merged, NULL),
		-EBADMSG);
	free(big);
}

/* ---- JWT ---- */

static void jwt(void **state)
{
	static const char *const wrong[] = { "", ".", "..", "a.b", "e30.e30", "e30..e30",
		"e30.e30.e30.e30", "e30.e30.e30.e30.e30", "e30.e30=.x", "e30.e3 0.x", "e30.e.x",
		"e30.W10.x" /* [] */, "e30.eyJh.x" /* {"a */, "e30.e+0.x", "e30.MQ.x" /* 1 */ };
	JSON_AUTO cJSON *payload = token_jwt_payload(JWT, strlen(JWT));

	assert_non_null(payload);
	assert_string_equal(
		json_at(payload, "/https:~1~1api.example~1auth/account_id")->valuestring, "a?aa>");
	JSON_AUTO cJSON *empty = token_jwt_payload("x.e30.", 6); /* alg none has no signature */
	assert_true(cJSON_IsObject(empty));
	for (size_t i = 0; i < COUNT(wrong); i++)
		assert_null(token_jwt_payload(wrong[i], strlen(wrong[i])));
	assert_null(token_jwt_payload(JWT, strlen(JWT) - 5)); /* no second dot in these bytes */
}

static int set_up(void **state)
{
	json_init();
	return secret_heap_init(SECRET_HEAP, NULL, NULL);
}

static int tear_down(void **state)
{
	bool clean = secret_heap_used() == 0;
	secret_heap_done();
	return clean ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_right),
		cmocka_unit_test(a_parameter_is_sent_once),
		cmocka_unit_test(what_cannot_be_refreshed),
		cmocka_unit_test(entries),
		cmocka_unit_test(a_token_has_a_limit),
		cmocka_unit_test(answers_are_merged),
		cmocka_unit_test(bad_answers_change_nothing),
		cmocka_unit_test(an_answer_has_limits),
		cmocka_unit_test(jwt),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
