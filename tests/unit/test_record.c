#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/record.h"
#include "store/secret.h"

#define NOW INT64_C(1700000000000)

static int setup(void **state)
{
	json_init();
	return 0;
}

static void parse(const char *text, struct record *r)
{
	struct pa_err err;

	if (record_parse(text, strlen(text), NULL, r, &err) < 0)
		fail_msg("%s: %s", text, err.detail);
}

static void assert_text(const struct record *r, const char *text)
{
	struct pa_err err;
	char *got;
	size_t len;

	assert_int_equal(record_format(r, &got, &len, &err), 0);
	assert_string_equal(got, text);
	assert_int_equal(len, strlen(text));
	wipe_free(got);
}

static cJSON *json_of(const char *text)
{
	cJSON *j = NULL;

	assert_int_equal(json_parse(text, strlen(text), PA_BAD_INPUT, &j, NULL, NULL), 0);
	return j;
}

static void starts_with_nothing(void **state)
{
	RECORD_AUTO struct record r = { 0 };
	struct pa_err why;
	int64_t at;

	assert_int_equal(record_new("groq@work", &r, NULL), 0);
	assert_text(&r, "{\"format\":1,\"profile\":\"groq@work\"}");
	assert_string_equal(record_profile(&r), "groq@work");
	assert_int_equal(record_generation(&r), 0);
	assert_int_equal(record_mode(&r), MODE_AUTO);
	assert_int_equal(record_last(&r), LANE_NONE);
	assert_null(record_lane(&r, LANE_API_KEY));
	assert_null(record_lane(&r, LANE_OAUTH));
	assert_string_equal(record_machine(&r), "");
	assert_false(record_moved(&r));
	assert_int_equal(record_incarnation(&r), 0);
	assert_null(record_base_url(&r));
	assert_int_equal(record_changed_ms(&r), 0);
	assert_false(record_dead(&r, &why, &at));
	assert_null(record_pending(&r, LANE_OAUTH));
}

static void refuses_what_is_no_record(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"null",
		"[]",
		"\"x\"",
		"{}",
		"{\"profile\":\"groq\"}",
		"{\"format\":1}",
		"{\"format\":0,\"profile\":\"groq\"}",
		"{\"format\":2,\"profile\":\"groq\"}",
		"{\"format\":\"1\",\"profile\":\"groq\"}",
		"{\"format\":1.5,\"profile\":\"groq\"}",
		"{\"format\":1,\"profile\":\"xai\"}",
		"{\"format\":1,\"profile\":7}",
		"{\"format\":1,\"format\":1,\"profile\":\"groq\"}",
		"{\"format\":1,\"profile\":\"groq\"} x",
		"{\"format\":1,\"profile\":\"groq\",\"api_key\":\"sk\"}",
		"{\"format\":1,\"profile\":\"groq\",\"api_key\":{}}",
		"{\"format\":1,\"profile\":\"groq\",\"api_key\":{\"key\":1}}",
		"{\"format\":1,\"profile\":\"groq\",\"api_key\":null}",
		"{\"format\":1,\"profile\":\"groq\",\"oauth\":[]}",
		"{\"format\":1,\"profile\":\"groq\",\"pending\":[]}",
		"{\"format\":1,\"profile\":\"groq\",\"pending\":{\"api_key\":{}}}",
		"{\"format\":1,\"profile\":\"groq\",\"pending\":{\"oauth\":\"x\"}}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct record r = { 0 };
		struct pa_err err = { 0 };

		if (record_parse(bad[i], strlen(bad[i]), "groq", &r, &err) != -EBADMSG)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(err.code, PA_STORE_CORRUPT);
		assert_null(r.root);
	}
}

/* What a later version puts into a record survives everything that this one does to it. */
static void keeps_what_it_does_not_know(void **state)
{
	RECORD_AUTO struct record r = { 0 };

	parse("{\"format\":1,\"profile\":\"p\",\"new\":{\"a\":[1,2]},"
	      "\"oauth\":{\"type\":\"oauth\",\"access\":\"a\",\"x\":true}}",
		&r);
	assert_int_equal(record_set_generation(&r, 7, NULL), 0);
	assert_int_equal(record_set_mode(&r, MODE_OAUTH, NULL), 0);
	assert_int_equal(
		record_set_lane(&r, LANE_API_KEY, json_of("{\"key\":\"k\"}"), NOW, NULL), 0);
	record_drop_lane(&r, LANE_API_KEY);
	assert_text(&r, "{\"format\":1,\"profile\":\"p\",\"new\":{\"a\":[1,2]},"
			"\"oauth\":{\"type\":\"oauth\",\"access\":\"a\",\"x\":true},"
			"\"generation\":7,\"mode\":\"oauth\",\"last\":\"api_key\","
			"\"changed\":1700000000000}");
}

static void members_of_a_wrong_type_are_absent(void **state)
{
	RECORD_AUTO struct record r = { 0 };
	struct pa_err why;
	int64_t at;

	parse("{\"format\":1,\"profile\":\"p\",\"generation\":\"7\",\"machine\":1,\"mode\":\"x\","
	      "\"moved\":\"yes\",\"incarnation\":-1,\"base_url\":[],\"changed\":true,\"dead\":1,"
	      "\"last\":{}}",
		&r);
	assert_int_equal(record_generation(&r), 0);
	assert_string_equal(record_machine(&r), "");
	assert_int_equal(record_mode(&r), MODE_AUTO);
	assert_false(record_moved(&r));
	assert_int_equal(record_incarnation(&r), 0);
	assert_null(record_base_url(&r));
	assert_int_equal(record_changed_ms(&r), 0);
	assert_false(record_dead(&r, &why, &at));
	assert_int_equal(record_last(&r), LANE_NONE);
}

static void settings_come_back(void **state)
{
	RECORD_AUTO struct record r = { 0 };

	assert_int_equal(record_new("p", &r, NULL), 0);
	assert_int_equal(record_set_generation(&r, (UINT64_C(1) << 53) - 1, NULL), 0);
	assert_int_equal(record_set_incarnation(&r, UINT32_MAX, NULL), 0);
	assert_int_equal(record_set_machine(&r, "mmm", NULL), 0);
	assert_int_equal(record_set_moved(&r, true, NULL), 0);
	assert_int_equal(record_set_base_url(&r, "https://x.example", NULL), 0);
	assert_int_equal(record_set_changed_ms(&r, NOW, NULL), 0);
	assert_true(record_generation(&r) == (UINT64_C(1) << 53) - 1);
	assert_int_equal(record_incarnation(&r), UINT32_MAX);
	assert_string_equal(record_machine(&r), "mmm");
	assert_true(record_moved(&r));
	assert_string_equal(record_base_url(&r), "https://x.example");
	assert_true(record_changed_ms(&r) == NOW);
	assert_int_equal(record_set_moved(&r, false, NULL), 0);
	assert_false(record_moved(&r));
	for (enum mode m = MODE_AUTO; m <= MODE_ENV; m++) {
		enum mode back = MODE_AUTO;

		assert_int_equal(record_set_mode(&r, m, NULL), 0);
		assert_int_equal(record_mode(&r), m);
		assert_true(mode_parse(mode_name(m), strlen(mode_name(m)), &back));
		assert_int_equal(back, m);
	}
	enum mode m;

	assert_false(mode_parse("", 0, &m));
	assert_false(mode_parse("oauthx", 6, &m));
	assert_false(mode_parse("OAUTH", 5, &m));
}

static void the_lane_set_last_is_the_last(void **state)
{
	RECORD_AUTO struct record r = { 0 };

	assert_int_equal(record_new("p", &r, NULL), 0);
	assert_int_equal(record_set_lane(&r, LANE_API_KEY, json_of("{\"key\":\"k\"}"), 1, NULL), 0);
	assert_int_equal(record_last(&r), LANE_API_KEY);
	assert_int_equal(
		record_set_lane(&r, LANE_OAUTH, json_of("{\"access\":\"a\"}"), 2, NULL), 0);
	assert_int_equal(record_last(&r), LANE_OAUTH);
	/* A refresh of the other lane changes nothing about it. */
	assert_int_equal(record_set_lane(&r, LANE_API_KEY, json_of("{\"key\":\"l\"}"), 3, NULL), 0);
	assert_int_equal(
		record_replace_lane(&r, LANE_OAUTH, json_of("{\"access\":\"b\"}"), NULL), 0);
	assert_int_equal(record_last(&r), LANE_API_KEY);
	assert_true(record_changed_ms(&r) == 3);
	record_drop_lane(&r, LANE_API_KEY);
	assert_int_equal(record_last(&r), LANE_OAUTH);
	record_drop_lane(&r, LANE_OAUTH);
	assert_int_equal(record_last(&r), LANE_NONE);
	record_drop_lane(&r, LANE_OAUTH);
}

static void a_login_forgets_dead_and_moved(void **state)
{
	RECORD_AUTO struct record r = { 0 };
	struct pa_err why = { .http_status = 0 }, back;
	int64_t at = 0;

	assert_int_equal(record_new("p", &r, NULL), 0);
	assert_int_equal(
		record_set_lane(&r, LANE_OAUTH, json_of("{\"access\":\"a\"}"), 1, NULL), 0);
	pa_fail(&why, PA_REFRESH_DEAD, 0, "HTTP 400, invalid_grant");
	why.http_status = 400;
	assert_int_equal(record_set_dead(&r, &why, NOW, NULL), 0);
	assert_int_equal(record_set_moved(&r, true, NULL), 0);
	assert_true(record_dead(&r, &back, &at));
	assert_int_equal(back.code, PA_REFRESH_DEAD);
	assert_int_equal(back.errnum, EKEYREVOKED);
	assert_int_equal(back.http_status, 400);
	assert_string_equal(back.detail, "HTTP 400, invalid_grant");
	assert_true(at == NOW);
	/* A key is no login. */
	assert_int_equal(record_set_lane(&r, LANE_API_KEY, json_of("{\"key\":\"k\"}"), 2, NULL), 0);
	assert_true(record_dead(&r, &back, &at));
	assert_int_equal(
		record_replace_lane(&r, LANE_OAUTH, json_of("{\"access\":\"b\"}"), NULL), 0);
	assert_true(record_dead(&r, &back, &at) && record_moved(&r));
	assert_int_equal(
		record_set_lane(&r, LANE_OAUTH, json_of("{\"access\":\"c\"}"), 3, NULL), 0);
	assert_false(record_dead(&r, &back, &at) || record_moved(&r));
	assert_int_equal(record_set_dead(&r, &why, NOW, NULL), 0);
	record_drop_lane(&r, LANE_OAUTH);
	assert_false(record_dead(&r, &back, &at));
}

static void pending_values_are_adopted(void **state)
{
	RECORD_AUTO struct record r = { 0 };
	bool any = true;

	assert_int_equal(record_new("p", &r, NULL), 0);
	assert_int_equal(record_adopt_pending(&r, NOW, &any, NULL), 0);
	assert_false(any);
	assert_text(&r, "{\"format\":1,\"profile\":\"p\"}");

	assert_int_equal(
		record_set_pending(&r, LANE_API_KEY, json_of("{\"key\":\"k\"}"), "m1", NULL), 0);
	assert_int_equal(
		record_set_pending(&r, LANE_OAUTH, json_of("{\"access\":\"a\"}"), "m1", NULL), 0);
	assert_int_equal(
		record_set_pending(&r, LANE_OAUTH, json_of("{\"access\":\"b\"}"), "m2", NULL), 0);
	assert_int_equal(record_last(&r), LANE_NONE);
	assert_string_equal(json_str(record_pending(&r, LANE_OAUTH), "access"), "b");
	assert_string_equal(record_machine(&r), "");
	assert_int_equal(record_adopt_pending(&r, NOW, &any, NULL), 0);
	assert_true(any);
	/* A login is bound to the machine that it came in on. */
	assert_text(&r, "{\"format\":1,\"profile\":\"p\",\"oauth\":{\"access\":\"b\"},"
			"\"last\":\"api_key\",\"changed\":1700000000000,\"machine\":\"m2\","
			"\"api_key\":{\"key\":\"k\"}}");

	assert_int_equal(
		record_set_pending(&r, LANE_OAUTH, json_of("{\"access\":\"c\"}"), "m3", NULL), 0);
	record_drop_pending(&r, LANE_API_KEY);
	assert_non_null(record_pending(&r, LANE_OAUTH));
	record_drop_pending(&r, LANE_OAUTH);
	assert_null(cJSON_GetObjectItemCaseSensitive(r.root, "pending"));
	record_drop_pending(&r, LANE_OAUTH);
	/* A pending key binds nothing. */
	assert_int_equal(
		record_set_pending(&r, LANE_API_KEY, json_of("{\"key\":\"l\"}"), "m4", NULL), 0);
	assert_int_equal(record_adopt_pending(&r, NOW, &any, NULL), 0);
	assert_string_equal(record_machine(&r), "m2");
}

/* ---- what people write ---- */

struct text_case {
	const char *text;
	size_t len;      /* 0: strlen */
	const char *key; /* NULL: refused */
	enum pa_code code;
};

static void keys_are_one_line(void **state)
{
	static const struct text_case cases[] = {
		{ "sk-x", 0, "sk-x", 0 },
		{ "sk-x\n", 0, "sk-x", 0 },
		{ "sk-x\r\n", 0, "sk-x", 0 },
		{ "sk-x\r", 0, "sk-x", 0 },
		{ " a b ", 0, " a b ", 0 },
		{ "k\xc3\xa9y\n", 0, "k\xc3\xa9y", 0 },
		{ "!date", 0, "!date", 0 },
		{ "\"\\\x7e", 0, "\"\\~", 0 },
		{ "", 0, NULL, PA_BAD_INPUT },
		{ "\n", 0, NULL, PA_BAD_INPUT },
		{ "\r\n", 0, NULL, PA_BAD_INPUT },
		{ "\r", 0, NULL, PA_BAD_INPUT },
		{ "a\nb", 0, NULL, PA_BAD_INPUT },
		{ "a\nb\n", 0, NULL, PA_BAD_INPUT },
		{ "a\n\n", 0, NULL, PA_BAD_INPUT },
		{ "a\r\r\n", 0, NULL, PA_BAD_INPUT },
		{ "a\rb", 0, NULL, PA_BAD_INPUT },
		{ "\na", 0, NULL, PA_BAD_INPUT },
		{ "a\tb", 0, NULL, PA_BAD_INPUT },
		{ "a\0b", 3, NULL, PA_BAD_INPUT },
		{ "a\0", 2, NULL, PA_BAD_INPUT },
		{ "\0", 1, NULL, PA_BAD_INPUT },
		{ "a\x1b[0m", 0, NULL, PA_BAD_INPUT },
		{ "a\x7f", 0, NULL, PA_BAD_INPUT },
		/* A record must open again: what JSON cannot hold is not stored. */
		{ "a\xff", 0, NULL, PA_BAD_INPUT },
		{ "a\xc3", 0, NULL, PA_BAD_INPUT },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct text_case *c = &cases[i];
		enum lane lane = LANE_NONE;
		struct pa_err err = { 0 };
		bool incomplete = true;
		cJSON *entry = NULL;
		int r = record_entry_from_text(LANE_API_KEY, c->text,
			c->len ? c->len : strlen(c->text), NOW, &lane, &entry, &incomplete, &err);

		assert_false(incomplete);
		assert_int_equal(err.code, c->code);
		assert_int_equal(r, -err.errnum);
		if (!c->key)
			continue;
		assert_int_equal(lane, LANE_API_KEY);
		assert_string_equal(json_str(entry, "key"), c->key);
		assert_string_equal(json_str(entry, "type"), "api_key");
		cJSON_Delete(entry);
	}
}

static void keys_have_a_limit(void **state)
{
	static const struct {
		size_t len;
		const char *end;
		bool fits;
	} cases[] = {
		{ RECORD_KEY_MAX, "", true },
		{ RECORD_KEY_MAX, "\n", true },
		{ RECORD_KEY_MAX, "\r\n", true },
		{ RECORD_KEY_MAX, "\r", true },
		{ RECORD_KEY_MAX + 1, "", false },
		{ RECORD_KEY_MAX + 1, "\n", false },
		{ RECORD_KEY_MAX + 1, "\r\n", false },
		{ RECORD_KEY_MAX + 1, "\r", false },
		{ RECORD_KEY_MAX * 4, "", false },
	};
	char *text = malloc(RECORD_KEY_MAX * 4 + 3);

	assert_non_null(text);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		enum lane lane;
		struct pa_err err = { 0 };
		bool incomplete;
		cJSON *entry = NULL;
		int r;

		memset(text, 'k', cases[i].len);
		memcpy(text + cases[i].len, cases[i].end, strlen(cases[i].end) + 1);
		r = record_entry_from_text(
			LANE_API_KEY, text, strlen(text), NOW, &lane, &entry, &incomplete, &err);
		assert_int_equal(r, cases[i].fits ? 0 : -EFBIG);
		if (cases[i].fits)
			assert_int_equal(strlen(json_str(entry, "key")), RECORD_KEY_MAX);
		else
			assert_int_equal(err.code, PA_TOO_BIG);
		cJSON_Delete(entry);
	}
	free(text);
}

static void entries_are_in_pis_format(void **state)
{
	static const struct {
		const char *text;
		enum lane lane; /* LANE_NONE: refused */
		bool incomplete;
	} cases[] = {
		{ "{\"type\":\"oauth\",\"access\":\"a\",\"refresh\":\"r\",\"expires\":1}\n",
			LANE_OAUTH, false },
		{ " {\"type\":\"oauth\"} ", LANE_OAUTH, false },
		{ "{\"type\":\"api_key\",\"key\":\"sk\"}", LANE_API_KEY, false },
		{ "{\"type\":\"oauth\",\"acc", LANE_NONE, true },
		{ "{\"type\":\"oauth\"", LANE_NONE, true },
		{ "{", LANE_NONE, true },
		{ "", LANE_NONE, true },
		{ "\n", LANE_NONE, true },
		{ "{\"type\":\"oauth\"} x", LANE_NONE, false },
		{ "{\"type\":\"oauth\"}{", LANE_NONE, false },
		{ "{x", LANE_NONE, false },
		{ "sk-x\n", LANE_NONE, false },
		{ "[]", LANE_NONE, false },
		{ "{}", LANE_NONE, false },
		{ "{\"type\":\"o_auth\"}", LANE_NONE, false },
		{ "{\"type\":7}", LANE_NONE, false },
		{ "{\"type\":\"api_key\"}", LANE_NONE, false },
		{ "{\"type\":\"api_key\",\"key\":\"\"}", LANE_NONE, false },
		{ "{\"type\":\"api_key\",\"key\":\"a\\nb\"}", LANE_NONE, false },
		{ "{\"type\":\"api_key\",\"key\":\"!pass show x\"}", LANE_NONE, false },
		{ "{\"type\":\"api_key\",\"key\":\"$KEY\"}", LANE_NONE, false },
		{ "{\"type\":\"oauth\",\"type\":\"oauth\"}", LANE_NONE, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		enum lane lane = LANE_NONE;
		struct pa_err err = { 0 };
		bool incomplete = !cases[i].incomplete;
		cJSON *entry = NULL;
		int r = record_entry_from_text(LANE_OAUTH, cases[i].text, strlen(cases[i].text),
			NOW, &lane, &entry, &incomplete, &err);

		if ((r == 0) != (cases[i].lane != LANE_NONE) || incomplete != cases[i].incomplete)
			fail_msg("%s: %d %s", cases[i].text, r, err.detail);
		assert_int_equal(lane, cases[i].lane);
		if (r < 0)
			assert_int_equal(err.code, PA_BAD_INPUT);
		cJSON_Delete(entry);
	}
}

static void entries_have_a_limit(void **state)
{
	char *text = malloc(RECORD_OAUTH_MAX + 2);
	enum lane lane;
	struct pa_err err = { 0 };
	bool incomplete = true;
	cJSON *entry = NULL;

	assert_non_null(text);
	memset(text, ' ', RECORD_OAUTH_MAX + 1);
	text[RECORD_OAUTH_MAX + 1] = '\0';
	assert_int_equal(record_entry_from_text(LANE_OAUTH, text, RECORD_OAUTH_MAX + 1, NOW, &lane,
				 &entry, &incomplete, &err),
		-EFBIG);
	assert_false(incomplete);
	assert_int_equal(record_entry_from_text(LANE_OAUTH, text, RECORD_OAUTH_MAX, NOW, &lane,
				 &entry, &incomplete, &err),
		-EINVAL);
	assert_true(incomplete);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts_with_nothing),
		cmocka_unit_test(refuses_what_is_no_record),
		cmocka_unit_test(keeps_what_it_does_not_know),
		cmocka_unit_test(members_of_a_wrong_type_are_absent),
		cmocka_unit_test(settings_come_back),
		cmocka_unit_test(the_lane_set_last_is_the_last),
		cmocka_unit_test(a_login_forgets_dead_and_moved),
		cmocka_unit_test(pending_values_are_adopted),
		cmocka_unit_test(keys_are_one_line),
		cmocka_unit_test(keys_have_a_limit),
		cmocka_unit_test(entries_are_in_pis_format),
		cmocka_unit_test(entries_have_a_limit),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
