#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "store/err.h"

/* Scripts compare these: no row may ever change. */
static const struct {
	enum pa_code code;
	const char *wire;
	int errnum;
} frozen[] = {
	{ PA_NO_KEY, "auth.missing_api_key", ENOKEY },
	{ PA_BAD_KEY, "auth.invalid_api_key", EKEYREJECTED },
	{ PA_QUOTA, "auth.quota_exceeded", EDQUOT },
	{ PA_NO_CODE, "auth.oauth.missing_authorization_code", EINVAL },
	{ PA_EXCHANGE, "auth.oauth.token_exchange_failed", EKEYREJECTED },
	{ PA_REFRESH_DEAD, "auth.oauth.token_refresh_failed", EKEYREVOKED },
	{ PA_NO_DEPLOYMENT, "config.azure.missing_deployment", ENODATA },
	{ PA_NO_REGION, "config.auth.missing_region", ENODATA },
	{ PA_NO_PROJECT, "config.auth.missing_project", ENODATA },
	{ PA_NO_PROFILE, "config.auth.missing_profile", ENOENT },
	{ PA_NO_ENDPOINT, "config.auth.missing_endpoint", EDESTADDRREQ },
	{ PA_NO_CHAIN, "auth.credential_chain.missing", ENOKEY },
	{ PA_UNKNOWN, "auth.unknown_failure", EIO },
	{ PA_EXPIRED, "auth.oauth.expired", EKEYEXPIRED },
	{ PA_RATE, "net.rate_limited", EBUSY },
	{ PA_NET_TIMEOUT, "net.timeout", ETIMEDOUT },
	{ PA_NET_UNREACHABLE, "net.unreachable", EHOSTUNREACH },
	{ PA_NET_TLS, "net.tls", EPROTO },
	{ PA_NET_ANSWER, "net.bad_answer", EBADMSG },
	{ PA_STORE_LOCKED, "store.locked", ENOKEY },
	{ PA_STORE_CORRUPT, "store.corrupt", EBADMSG },
	{ PA_STORE_FULL, "store.full", ENOSPC },
	{ PA_DENIED, "fs.denied", EACCES },
	{ PA_BAD_INPUT, "fs.bad_input", EINVAL },
	{ PA_NO_PROVIDER, "fs.unknown_provider", ENOENT },
};

static void wire_strings_are_frozen(void **state)
{
	for (size_t i = 0; i < sizeof(frozen) / sizeof(frozen[0]); i++) {
		assert_string_equal(pa_wire(frozen[i].code), frozen[i].wire);
		assert_int_equal(pa_errno(frozen[i].code), frozen[i].errnum);
	}
}

static bool ends_sentence(const char *text)
{
	size_t len = strlen(text);
	return len > 1 && text[len - 1] == '.' && text[0] >= 'A' && text[0] <= 'Z';
}

static void every_code_is_whole(void **state)
{
	assert_true(pa_code_count > 30);
	for (size_t i = 1; i < pa_code_count; i++) {
		enum pa_code code = (enum pa_code)i;
		assert_true(pa_errno(code) > 0);
		assert_true(ends_sentence(pa_summary(code)));
		size_t len = strlen(pa_remedy(code));
		assert_true(len > 1 && pa_remedy(code)[len - 1] == '.');
		assert_non_null(strchr(pa_wire(code), '.'));
		for (size_t k = 1; k < i; k++)
			assert_string_not_equal(pa_wire(code), pa_wire((enum pa_code)k));
	}
}

static void no_code_is_empty(void **state)
{
	enum pa_code codes[] = { PA_NONE, (enum pa_code)pa_code_count, (enum pa_code) - 1 };
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(pa_wire(codes[i]), "");
		assert_string_equal(pa_summary(codes[i]), "");
		assert_string_equal(pa_remedy(codes[i]), "");
		assert_int_equal(pa_errno(codes[i]), 0);
	}
}

static void fail_fills_everything(void **state)
{
	struct pa_err err;
	memset(&err, 0xff, sizeof(err));
	assert_int_equal(pa_fail(&err, PA_BAD_KEY, 0, "HTTP %d", 401), -EKEYREJECTED);
	assert_int_equal(err.code, PA_BAD_KEY);
	assert_int_equal(err.errnum, EKEYREJECTED);
	assert_int_equal(err.http_status, 0);
	assert_string_equal(err.where, __func__);
	assert_string_equal(err.detail, "HTTP 401");

	assert_int_equal(pa_fail(&err, PA_CONFIG, ENOENT, "%s", ""), -ENOENT);
	assert_int_equal(err.errnum, ENOENT);
	assert_string_equal(err.detail, "");
	assert_int_equal(pa_fail(NULL, PA_NO_KEY, 0, "nobody looks"), -ENOKEY);
}

static void a_failure_never_reads_as_success(void **state)
{
	struct pa_err err;
	assert_true(pa_fail(&err, PA_NONE, 0, "odd") < 0);
	assert_true(err.errnum > 0);
	assert_true(pa_fail(NULL, (enum pa_code)9999, -5, "odd") < 0);
}

static void detail_is_one_bounded_line(void **state)
{
	struct pa_err err;
	char text[400];
	pa_fail(&err, PA_CONFIG, 0, "%s", "a\nb\tc\x1b[31m\x7f");
	assert_string_equal(err.detail, "a?b?c?[31m?");

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	pa_fail(&err, PA_CONFIG, 0, "%s", text);
	assert_int_equal(strlen(err.detail), sizeof(err.detail) - 1);
	pa_fail_at(&err, text, PA_CONFIG, 0, "x");
	assert_int_equal(strlen(err.where), sizeof(err.where) - 1);
}

/* The cut must not leave half a character: the detail goes into JSON. */
static void cut_respects_utf8(void **state)
{
	static const char *const characters[] = { "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x94\x91" };
	struct pa_err err;
	for (size_t c = 0; c < 3; c++) {
		for (int shift = 0; shift < 4; shift++) {
			char text[400] = "xxx";
			size_t width = strlen(characters[c]), at = (size_t)shift;
			for (; at < 300; at += width)
				memcpy(text + at, characters[c], width + 1);
			pa_fail(&err, PA_CONFIG, 0, "%s", text);
			size_t len = strlen(err.detail);
			assert_int_equal((len - (size_t)shift) % width, 0);
			assert_true(len > sizeof(err.detail) - 1 - width);
		}
	}
}

static void context_can_be_added_to_itself(void **state)
{
	struct pa_err err;
	pa_fail(&err, PA_CONFIG, 0, "line 3: odd");
	pa_fail(&err, err.code, err.errnum, "%s %s", "a.json", err.detail);
	assert_string_equal(err.detail, "a.json line 3: odd");
}

static void format_is_for_people(void **state)
{
	struct pa_err err;
	char buf[400];
	pa_fail(&err, PA_REFRESH_DEAD, 0, "anthropic: invalid_grant");
	pa_err_format(&err, buf, sizeof(buf));
	assert_string_equal(buf,
		"The refresh token is no longer accepted: anthropic: invalid_grant. "
		"Log in again.");
	pa_fail(&err, PA_NO_PROFILE, 0, "%s", "");
	pa_err_format(&err, buf, sizeof(buf));
	assert_string_equal(buf, "There is no such profile. List the profiles with ls, or store a "
				 "credential under this name.");
	struct pa_err none = { 0 };
	pa_err_format(&none, buf, sizeof(buf));
	assert_string_equal(buf, "");
}

static void format_fits(void **state)
{
	struct pa_err err;
	char whole[400], buf[400];
	pa_fail(&err, PA_STORE_CORRUPT, 0, "record \xe2\x82\xac");
	pa_err_format(&err, whole, sizeof(whole));
	for (size_t size = 0; size <= strlen(whole) + 1; size++) {
		memset(buf, 'Z', sizeof(buf));
		pa_err_format(&err, buf, size);
		assert_int_equal(buf[size], 'Z');
		if (size) {
			assert_true(strlen(buf) < size);
			assert_int_equal(strncmp(buf, whole, strlen(buf)), 0);
		}
	}
	assert_string_equal(buf, whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wire_strings_are_frozen),
		cmocka_unit_test(every_code_is_whole),
		cmocka_unit_test(no_code_is_empty),
		cmocka_unit_test(fail_fills_everything),
		cmocka_unit_test(a_failure_never_reads_as_success),
		cmocka_unit_test(detail_is_one_bounded_line),
		cmocka_unit_test(cut_respects_utf8),
		cmocka_unit_test(context_can_be_added_to_itself),
		cmocka_unit_test(format_is_for_people),
		cmocka_unit_test(format_fits),
	};
	return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
