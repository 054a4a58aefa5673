#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/redact.h"
#include "store/secret.h"

static cJSON *vectors;

static int setup(void **state)
{
	static char text[256 * 1024];
	json_init();
	FILE *file = fopen(TEST_SOURCE_DIR "/vectors/redact.json", "re");
	if (!file)
		return -1;
	size_t len = fread(text, 1, sizeof(text), file);
	fclose(file);
	return json_parse(text, len, PA_CONFIG, &vectors, NULL, NULL);
}

static int teardown(void **state)
{
	cJSON_Delete(vectors);
	return 0;
}

static void vectors_hold(void **state)
{
	const cJSON *vector;
	int failed = 0;
	assert_true(cJSON_GetArraySize(vectors) > 100);
	cJSON_ArrayForEach (vector, vectors) {
		const char *in = json_str(vector, "in"), *want = json_str(vector, "out");
		WIPE_AUTO char *out = redact_text(in, strlen(in));
		assert_non_null(out);
		if (strcmp(out, want) == 0)
			continue;
		print_error("%s\n  in   %s\n  out  %s\n  want %s\n", json_str(vector, "group"), in,
			out, want);
		failed++;
	}
	assert_int_equal(failed, 0);
}

/* What was redacted once is not changed again. */
static void twice_is_once(void **state)
{
	const cJSON *vector;
	cJSON_ArrayForEach (vector, vectors) {
		const char *once = json_str(vector, "out");
		WIPE_AUTO char *again = redact_text(once, strlen(once));
		if (strcmp(again, once) != 0)
			print_error("%s\n", once);
		assert_string_equal(again, once);
	}
}

/* Cut anywhere, as a read of a socket is: no crash, and nothing of the secret shows. */
static void cut_text_leaks_nothing(void **state)
{
	const cJSON *vector;
	cJSON_ArrayForEach (vector, vectors) {
		const char *in = json_str(vector, "in");
		if (strcmp(json_str(vector, "group"), "prefix") == 0) /* known by its length */
			continue;
		for (size_t len = 0; len <= strlen(in); len++) {
			char *exact = malloc(len ? len : 1);
			memcpy(exact, in, len);
			WIPE_AUTO char *out = redact_text(exact, len);
			free(exact);
			assert_non_null(out);
			if (strstr(out, "FAKEFAKE"))
				print_error("%.*s\n  -> %s\n", (int)len, in, out);
			assert_null(strstr(out, "FAKEFAKE"));
		}
	}
}

static void names(void **state)
{
	static const char *const secret[] = { "key", "KEY", "access", "refresh", "token", "api_key",
		"apikey", "API-Key", "x-api-key", "x-api-key-header", "Authorization",
		"proxy-authorization", "bearer", "Set-Cookie", "credential", "password", "Passwd",
		"passphrase", "private_key", "client_secret", "access_token", "accessToken",
		"refresh_tokens", "idTokens", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY",
		"AWS_SESSION_TOKEN", "x-amz-security-token", "AICORE_SERVICE_KEY", "code_verifier",
		"device_code", "user_code", "client_assertion", "X-Amz-Signature", "jwt", "auth",
		"access\\u005ftoken", "authorization_code", "token_expires_token", "db.password" };
	static const char *const open[] = { "", "max_tokens", "tokens", "prompt_tokens",
		"completion_tokens_details", "token_type", "token_endpoint", "tokenizer",
		"token_count", "TOKEN_URL", "token_expires_at", "authorization_endpoint",
		"access_key_id", "keyboard", "monkey", "accessible", "refreshed", "code", "state",
		"status", "error", "expires", "provider", "author", "public", "keyless" };
	for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++) {
		if (!redact_name_is_secret(secret[i], strlen(secret[i])))
			print_error("open: %s\n", secret[i]);
		assert_true(redact_name_is_secret(secret[i], strlen(secret[i])));
	}
	for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
		if (redact_name_is_secret(open[i], strlen(open[i])))
			print_error("secret: %s\n", open[i]);
		assert_false(redact_name_is_secret(open[i], strlen(open[i])));
	}
	assert_false(redact_name_is_secret("keyx", 3 + 1));
	assert_true(redact_name_is_secret("keyx", 3));
}

static void a_name_has_no_length_to_hide_in(void **state)
{
	char name[400];
	memset(name, 'x', sizeof(name));
	memcpy(name + sizeof(name) - 13, "_access_token", 13);
	assert_true(redact_name_is_secret(name, sizeof(name)));
}

static void bad_bytes_become_question_marks(void **state)
{
	static const char in[] = "a\0b\xff\xc3+\xed\xa0\x80\xf0\x9f";
	WIPE_AUTO char *out = redact_text(in, sizeof(in) - 1);
	assert_string_equal(out, "a?b??+?????");
}

static void long_text_is_cut_and_says_so(void **state)
{
	size_t len = REDACT_MAX + 100;
	WIPE_AUTO char *in = wipe_malloc(len);
	memset(in, 'a', len);
	WIPE_AUTO char *whole = redact_text(in, REDACT_MAX);
	assert_int_equal(strlen(whole), REDACT_MAX);
	WIPE_AUTO char *cut = redact_text(in, len);
	assert_int_equal(strlen(cut), REDACT_MAX + strlen(" [cut]"));
	assert_string_equal(cut + REDACT_MAX, " [cut]");
}

/* Text made to be slow: each of these is linear, or the test run ends by its time-out. */
static void hostile_text_is_no_problem(void **state)
{
	static const char *const pieces[] = { "\"", "\\", "\\\"", "'", "{", "[", "\":\"",
		"key=", "key:[", "eyJ-", "eyJ.", "a://", "-----BEGIN ",
		"-----BEGIN PRIVATE KEY-----", "&a", "%26", "= ", " '", "{\"token\":[\"", "Bearer ",
		"sk-", "\\\\\\\"" };
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		size_t piece = strlen(pieces[i]), len = 0;
		WIPE_AUTO char *in = wipe_malloc(REDACT_MAX);
		for (; len + piece <= REDACT_MAX; len += piece)
			memcpy(in + len, pieces[i], piece);
		WIPE_AUTO char *out = redact_text(in, len);
		assert_non_null(out);
	}
}

static void json_is_redacted_in_place(void **state)
{
	static const char in[] =
		"{\"type\":\"oauth\",\"access\":\"a\",\"refresh\":\"b\",\"expires\":1,"
		"\"list\":[{\"apiKey\":\"c\"},[{\"password\":5}],\"token\"],"
		"\"secret\":{\"deep\":{\"x\":1}},\"max_tokens\":9,\"authorization\":null}";
	JSON_AUTO cJSON *tree = NULL;
	assert_int_equal(json_parse(in, sizeof(in) - 1, PA_CONFIG, &tree, NULL, NULL), 0);
	assert_int_equal(redact_json(tree, NULL), 0);
	WIPE_AUTO char *out = json_text(tree);
	assert_string_equal(out,
		"{\"type\":\"oauth\",\"access\":\"[REDACTED]\",\"refresh\":\"[REDACTED]\","
		"\"expires\":1,"
		"\"list\":[{\"apiKey\":\"[REDACTED]\"},[{\"password\":\"[REDACTED]\"}],\"token\"],"
		"\"secret\":\"[REDACTED]\",\"max_tokens\":9,\"authorization\":\"[REDACTED]\"}");
	assert_null(redact_find(tree));
	assert_int_equal(redact_json(NULL, NULL), 0);
}

static void open_secrets_are_found(void **state)
{
	static const struct {
		const char *in;
		const char *path;
	} cases[] = {
		{ "{\"a\":{\"b\":[{\"c\":1},{\"api_key\":\"x\"}]}}", "a.b[1].api_key" },
		{ "{\"token\":\"[REDACTED]\",\"password\":\"x\"}", "password" },
		{ "{\"secret\":7}", "secret" },
		{ "[[{\"cookie\":null}]]", "[0][0].cookie" },
		{ "{\"key\":{\"x\":\"[REDACTED]\"}}", "key" },
		{ "{\"token\":\"[REDACTED]\",\"max_tokens\":5,\"a\":[1,2]}", NULL },
		{ "\"token\"", NULL },
		{ "5", NULL },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		JSON_AUTO cJSON *tree = NULL;
		assert_int_equal(
			json_parse(cases[i].in, strlen(cases[i].in), PA_CONFIG, &tree, NULL, NULL),
			0);
		WIPE_AUTO char *path = redact_find(tree);
		if (cases[i].path)
			assert_string_equal(path, cases[i].path);
		else
			assert_null(path);
	}
	assert_null(redact_find(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_hold),
		cmocka_unit_test(twice_is_once),
		cmocka_unit_test(cut_text_leaks_nothing),
		cmocka_unit_test(names),
		cmocka_unit_test(a_name_has_no_length_to_hide_in),
		cmocka_unit_test(bad_bytes_become_question_marks),
		cmocka_unit_test(long_text_is_cut_and_says_so),
		cmocka_unit_test(hostile_text_is_no_problem),
		cmocka_unit_test(json_is_redacted_in_place),
		cmocka_unit_test(open_secrets_are_found),
	};
	return cmocka_run_group_tests_name("redact", tests, setup, teardown);
}
