#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/json.h"
#include "store/secret.h"

static int parse(const char *text, cJSON **ret, bool *ret_incomplete, struct pa_err *err)
{
	return json_parse(text, strlen(text), PA_NET_ANSWER, ret, ret_incomplete, err);
}

static void takes_what_rfc_8259_allows(void **state)
{
	static const char *const texts[] = {
		"{}",
		"[]",
		"null",
		"true",
		"false",
		"0",
		"-0",
		"-1.5e+10",
		"1E200",
		"1e-400",
		"\"\"",
		" \t\r\n{ \"a\" : [ 1 , 2 ] } \n",
		"{\"a\":{\"a\":{\"a\":1}}}",
		"[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\udd11\"]",
		"\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91 \x7f\"",
		"{\"\":1,\" \":2}",
		"{\"a\":1,\"A\":2}",
		"[1,1,{\"x\":1},{\"x\":1}]",
		"9007199254740991",
		"123456789012345678901234567890123456789012345678901234567890123",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		JSON_AUTO cJSON *tree = NULL;
		struct pa_err err = { 0 };
		int rc = parse(texts[i], &tree, NULL, &err);
		if (rc < 0)
			print_error("%s: %s\n", texts[i], err.detail);
		assert_int_equal(rc, 0);
		assert_non_null(tree);
	}
}

static const struct {
	const char *text;
	const char *detail;
	bool incomplete;
} refused[] = {
	{ "", "line 1: the text ends too early", true },
	{ "  \n ", "line 2: the text ends too early", true },
	{ "{\"a\":1", "line 1: the text ends too early", true },
	{ "{\"a\":\n\"b", "line 2: the text ends too early", true },
	{ "\"\\", "line 1: the text ends too early", true },
	{ "\"\\u12", "line 1: the text ends too early", true },
	{ "\"\\ud83d\\u", "line 1: the text ends too early", true },
	{ "\"\xf0\x9f", "line 1: the text ends too early", true },
	{ "[-", "line 1: the text ends too early", true },
	{ "[1.", "line 1: the text ends too early", true },
	{ "[1e+", "line 1: the text ends too early", true },
	{ "[tru", "line 1: the text ends too early", true },
	{ "{\"a\"", "line 1: the text ends too early", true },
	{ "{} x", "line 1: something behind the value", false },
	{ "{}\n{}", "line 2: something behind the value", false },
	{ "12 13", "line 1: something behind the value", false },
	{ "{\"a\":1,}", "line 1: no member name where one must be", false },
	{ "{a:1}", "line 1: no member name where one must be", false },
	{ "{\"a\" 1}", "line 1: no colon behind a member name", false },
	{ "{\"a\":}", "line 1: no value where one must be", false },
	{ "[1,]", "line 1: no value where one must be", false },
	{ "[1 2]", "line 1: neither comma nor ] behind an element", false },
	{ "{\"a\":1 \"b\":2}", "line 1: neither comma nor } behind a member", false },
	{ "[1}", "line 1: neither comma nor ] behind an element", false },
	{ "]", "line 1: no value where one must be", false },
	{ "nul", "line 1: the text ends too early", true },
	{ "nulL", "line 1: no value where one must be", false },
	{ "True", "line 1: no value where one must be", false },
	{ "NaN", "line 1: no value where one must be", false },
	{ "'a'", "line 1: no value where one must be", false },
	{ "+1", "line 1: no value where one must be", false },
	{ ".5", "line 1: no value where one must be", false },
	{ "01", "line 1: something behind the value", false },
	{ "[01]", "line 1: neither comma nor ] behind an element", false },
	{ "1.x", "line 1: a bad number", false },
	{ "-x", "line 1: a bad number", false },
	{ "0x10", "line 1: something behind the value", false },
	{ "1e201", "line 1: a number out of range", false },
	{ "42e200", "line 1: a number out of range", false },
	{ "1e99999999999999999999", "line 1: a number out of range", false },
	{ "1234567890123456789012345678901234567890123456789012345678901234",
		"line 1: a number with too many digits", false },
	{ "\"a\nb\"", "line 1: a control character in a string", false },
	{ "\"a\x1f\"", "line 1: a control character in a string", false },
	{ "\"\\x\"", "line 1: a bad escape in a string", false },
	{ "\"\\u12g4\"", "line 1: a bad escape in a string", false },
	{ "\"\\ud83d\"", "line 1: a bad escape in a string", false },
	{ "\"\\u12\"", "line 1: a bad escape in a string", false },
	{ "\"\\ud83d\\n", "line 1: a bad escape in a string", false },
	{ "\"\\ud83d\\ux", "line 1: a bad escape in a string", false },
	{ "\"\\ud83d\\ud", "line 1: the text ends too early", true },
	{ "\"\\ud83d", "line 1: the text ends too early", true },
	{ "\"\\ud83d    \"", "line 1: a bad escape in a string", false },
	{ "\"\\ud83d\\ud83d\"", "line 1: a bad escape in a string", false },
	{ "\"\\udd11\"", "line 1: a bad escape in a string", false },
	{ "\"\\u0000\"", "line 1: a NUL character", false },
	{ "{\"a\\u0000b\":1}", "line 1: a NUL character", false },
	{ "\"\xff\"", "line 1: bytes that are not UTF-8", false },
	{ "\"\xc0\xaf\"", "line 1: bytes that are not UTF-8", false },
	{ "\"\xe0\x80\xaf\"", "line 1: bytes that are not UTF-8", false },
	{ "\"\xed\xa0\x80\"", "line 1: bytes that are not UTF-8", false },
	{ "\"\xf4\x90\x80\x80\"", "line 1: bytes that are not UTF-8", false },
	{ "\"\xf5\x80\x80\x80\"", "line 1: bytes that are not UTF-8", false },
	{ "\"\xe2\x82\"", "line 1: bytes that are not UTF-8", false },
	{ "{}\xe2\x82", "line 1: bytes that are not UTF-8", false },
	{ "{\xe2\x82", "line 1: bytes that are not UTF-8", false },
	{ "\xef\xbb\xbf{}", "line 1: no value where one must be", false },
	{ "{} // x", "line 1: something behind the value", false },
	{ "/* x */ {}", "line 1: no value where one must be", false },
	{ "{\"a\":1,\"a\":2}", "line 1: a member name that its object has twice", false },
	{ "{\"a\":1,\n\"b\":{\"c\":1,\n\"d\":2,\n\"c\":3}}",
		"line 4: a member name that its object has twice", false },
	{ "{\"a\":1,\"\\u0061\":2}", "line 1: a member name that its object has twice", false },
	{ "{\"/\":1,\"\\/\":2}", "line 1: a member name that its object has twice", false },
	{ "[[{\"\":1,\"\":2}]]", "line 1: a member name that its object has twice", false },
};

static void refuses_the_rest(void **state)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		cJSON *tree = NULL;
		bool incomplete = !refused[i].incomplete;
		struct pa_err err = { 0 };
		int rc = parse(refused[i].text, &tree, &incomplete, &err);
		if (rc == 0 || strcmp(err.detail, refused[i].detail) != 0 ||
			incomplete != refused[i].incomplete)
			print_error("%s: %s (%d)\n", refused[i].text, err.detail, incomplete);
		assert_int_equal(rc, -EBADMSG);
		assert_int_equal(err.code, PA_NET_ANSWER);
		assert_null(tree);
		assert_string_equal(err.detail, refused[i].detail);
		assert_int_equal(incomplete, refused[i].incomplete);
	}
}

static void a_nul_byte_is_no_end(void **state)
{
	cJSON *tree = NULL;
	struct pa_err err;
	assert_int_equal(json_parse("{}\0", 3, PA_NET_ANSWER, &tree, NULL, &err), -EBADMSG);
	assert_string_equal(err.detail, "line 1: a NUL character");
	assert_int_equal(json_parse("[\"a\0b\"]", 7, PA_NET_ANSWER, &tree, NULL, &err), -EBADMSG);
	assert_string_equal(err.detail, "line 1: a NUL character");
}

static void code_decides_the_errno(void **state)
{
	cJSON *tree = NULL;
	struct pa_err err;
	assert_int_equal(json_parse("{", 1, PA_BAD_INPUT, &tree, NULL, &err), -EINVAL);
	assert_int_equal(json_parse("{", 1, PA_CONFIG, &tree, NULL, &err), -EINVAL);
	assert_int_equal(json_parse("{", 1, PA_STORE_CORRUPT, &tree, NULL, &err), -EBADMSG);
	assert_int_equal(json_parse("{", 1, PA_REFRESH_DEAD, &tree, NULL, &err), -EBADMSG);
	assert_int_equal(err.code, PA_REFRESH_DEAD);
	assert_int_equal(json_parse("{", 1, PA_CONFIG, &tree, NULL, NULL), -EINVAL);
}

/* Only the given bytes count, whatever lies behind them. */
static void length_is_the_bound(void **state)
{
	JSON_AUTO cJSON *tree = NULL;
	char *exact = malloc(7);
	memcpy(exact, "{\"a\":1}", 7);
	assert_int_equal(json_parse(exact, 7, PA_CONFIG, &tree, NULL, NULL), 0);
	free(exact);
	cJSON *cut = NULL;
	assert_true(json_parse("{\"a\":1}", 6, PA_CONFIG, &cut, NULL, NULL) < 0);
}

/* What a writer sends in pieces is incomplete after each piece but the last. */
static void every_prefix_is_incomplete(void **state)
{
	static const char text[] = "{\"type\":\"oauth\",\"n\":[-1.5e-3,true,false,null,{}],"
				   "\"s\":\"\\u00e9\\ud83d\\udd11\xf0\x9f\x94\x91\\n\"}";
	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		bool incomplete = false;
		cJSON *tree = NULL;
		assert_true(json_parse(text, len, PA_CONFIG, &tree, &incomplete, NULL) < 0);
		if (!incomplete)
			print_error("prefix of %zu bytes\n", len);
		assert_true(incomplete);
	}
}

static void depth_is_bounded(void **state)
{
	for (int depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
		char text[600];
		size_t len = 0;
		for (int i = 0; i < depth; i++)
			len += (size_t)snprintf(text + len, 8, "%s", i % 2 ? "[" : "{\"a\":");
		text[len++] = '1';
		for (int i = depth - 1; i >= 0; i--)
			text[len++] = i % 2 ? ']' : '}';
		text[len] = '\0';
		cJSON *tree = NULL;
		struct pa_err err;
		bool incomplete = true;
		int rc = parse(text, &tree, &incomplete, &err);
		if (depth == JSON_DEPTH_MAX) {
			assert_int_equal(rc, 0);
			cJSON_Delete(tree);
		} else {
			assert_true(rc < 0);
			assert_string_equal(err.detail, "line 1: nested too deeply");
			assert_false(incomplete);
		}
	}
	char *deep = malloc(1000001);
	memset(deep, '[', 1000000);
	deep[1000000] = '\0';
	cJSON *tree = NULL;
	assert_true(parse(deep, &tree, NULL, NULL) < 0);
	free(deep);
}

/* With pairwise comparison this takes hours. */
static void many_members_are_no_problem(void **state)
{
	const size_t n = 300000, room = n * 16 + 64;
	char *text = malloc(room);
	size_t len = 0;
	for (size_t i = 0; i < n; i++)
		len += (size_t)snprintf(text + len, room - len, "%c\"k%zu\":0", i ? ',' : '{', i);
	cJSON *tree = NULL;
	struct pa_err err;
	size_t whole = len + (size_t)snprintf(text + len, room - len, "}");
	assert_int_equal(json_parse(text, whole, PA_CONFIG, &tree, NULL, &err), 0);
	cJSON_Delete(tree);
	whole = len + (size_t)snprintf(text + len, room - len, ",\n\"k7\":1}");
	assert_true(json_parse(text, whole, PA_CONFIG, &tree, NULL, &err) < 0);
	assert_non_null(strstr(err.detail, "line 2"));
	assert_non_null(strstr(err.detail, "twice"));
	free(text);
}

static void lax_takes_comments_and_a_bom(void **state)
{
	static const char text[] = "\xef\xbb\xbf// first\n"
				   "/* a \"string\" // in\n two lines **/ { // object\n"
				   "  \"url\": \"https://x/*y*/\", /* \xc3\xa9 */ \"b\": /**/ 2\n"
				   "} // end";
	JSON_AUTO cJSON *tree = NULL;
	struct pa_err err = { 0 };
	assert_int_equal(json_parse_lax(text, sizeof(text) - 1, PA_CONFIG, &tree, &err), 0);
	assert_string_equal(json_str(tree, "url"), "https://x/*y*/");
	assert_int_equal(json_line_of(text, sizeof(text) - 1, "/url"), 4);
	assert_int_equal(json_line_of(text, sizeof(text) - 1, ""), 3);
}

static void lax_is_strict_otherwise(void **state)
{
	static const struct {
		const char *text;
		const char *detail;
	} cases[] = {
		{ "{\n/* x", "line 2: a comment without its end" },
		{ "{} /", "line 1: a slash outside of a string" },
		{ "{} / /", "line 1: a slash outside of a string" },
		{ "{\"a\":1,} // x", "line 1: no member name where one must be" },
		{ "# x\n{}", "line 1: no value where one must be" },
		{ "// only", "line 1: the text ends too early" },
		{ "/*\n\n*/ {\"a\":1,\"a\":2}", "line 3: a member name that its object has twice" },
		{ "{} // \xff", "line 1: bytes that are not UTF-8" },
		{ " \xef\xbb\xbf{}", "line 1: no value where one must be" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cJSON *tree = NULL;
		struct pa_err err = { 0 };
		int rc = json_parse_lax(
			cases[i].text, strlen(cases[i].text), PA_CONFIG, &tree, &err);
		assert_int_equal(rc, -EINVAL);
		assert_string_equal(err.detail, cases[i].detail);
	}
}

static void finds_lines(void **state)
{
	static const char text[] = "{\n"                        /* 1 */
				   " \"a\": [\n"                /* 2 */
				   "  10,\n"                    /* 3 */
				   "  {\"x\": 1,\n"             /* 4 */
				   "   \"y/z\": {\"~\": [\n"    /* 5 */
				   "     []]}}],\n"             /* 6 */
				   " \"\\u0062\": \"\\\"}\",\n" /* 7 */
				   " \"\": {\"a\": // c\n"      /* 8 */
				   "  null}}";                  /* 9 */
	static const struct {
		const char *pointer;
		int line;
	} cases[] = {
		{ "", 1 },
		{ "/a", 2 },
		{ "/a/0", 3 },
		{ "/a/1", 4 },
		{ "/a/1/x", 4 },
		{ "/a/1/y~1z", 5 },
		{ "/a/1/y~1z/~0", 5 },
		{ "/a/1/y~1z/~0/0", 6 },
		{ "/b", 7 },
		{ "/", 8 },
		{ "//a", 9 },
		{ "/c", 0 },
		{ "/a/2", 0 },
		{ "/a/00", 0 },
		{ "/a/-", 0 },
		{ "/a/1/y", 0 },
		{ "/a/1/y/z", 0 },
		{ "a", 0 },
		{ "/b/0", 0 },
		{ "/a/1/x/", 0 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int line = json_line_of(text, sizeof(text) - 1, cases[i].pointer);
		if (line != cases[i].line)
			print_error("%s: line %d\n", cases[i].pointer, line);
		assert_int_equal(line, cases[i].line);
	}
	assert_int_equal(json_line_of("{", 1, ""), 0);
}

static void pointers_lead_to_values(void **state)
{
	/* the document of RFC 6901 section 5 */
	static const char text[] =
		"{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"e^f\":3,\"g|h\":4,"
		"\"i\\\\j\":5,\"k\\\"l\":6,\" \":7,\"m~n\":8}";
	static const struct {
		const char *pointer;
		int value;
	} cases[] = { { "/", 0 }, { "/a~1b", 1 }, { "/c%d", 2 }, { "/e^f", 3 }, { "/g|h", 4 },
		{ "/i\\j", 5 }, { "/k\"l", 6 }, { "/ ", 7 }, { "/m~0n", 8 } };
	JSON_AUTO cJSON *tree = NULL;
	assert_int_equal(parse(text, &tree, NULL, NULL), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(json_at(tree, cases[i].pointer)->valueint, cases[i].value);
	assert_ptr_equal(json_at(tree, ""), tree);
	assert_string_equal(json_at(tree, "/foo/0")->valuestring, "bar");
	assert_string_equal(json_at(tree, "/foo/1")->valuestring, "baz");
	static const char *const nowhere[] = { "foo", "/foo/2", "/foo/01", "/foo/", "/Foo", "/f",
		"/foo/0/x", "/a/b", "/m~n/x" };
	for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++)
		assert_null(json_at(tree, nowhere[i]));
	assert_null(json_at(NULL, "/x"));
}

static void typed_members(void **state)
{
	JSON_AUTO cJSON *tree = NULL;
	int64_t n = 77;
	assert_int_equal(
		parse("{\"s\":\"x\",\"S\":\"y\",\"i\":9007199254740991,\"j\":-9007199254740991,"
		      "\"big\":9007199254740993,\"f\":1.5,\"e\":1e3,\"huge\":1e100,\"t\":true,"
		      "\"n\":null,\"str\":\"12\"}",
			&tree, NULL, NULL),
		0);
	assert_string_equal(json_str(tree, "s"), "x");
	assert_string_equal(json_str(tree, "S"), "y");
	assert_null(json_str(tree, "i"));
	assert_null(json_str(tree, "absent"));
	assert_null(json_str(NULL, "s"));
	assert_true(json_int(tree, "i", &n));
	assert_true(n == 9007199254740991);
	assert_true(json_int(tree, "j", &n));
	assert_true(n == -9007199254740991);
	assert_true(json_int(tree, "e", &n));
	assert_true(n == 1000);
	n = 77;
	assert_false(json_int(tree, "big", &n));
	assert_false(json_int(tree, "f", &n));
	assert_false(json_int(tree, "huge", &n));
	assert_false(json_int(tree, "str", &n));
	assert_false(json_int(tree, "absent", &n));
	assert_true(n == 77);
	assert_true(json_bool(tree, "t", false));
	assert_true(json_bool(tree, "n", true));
	assert_false(json_bool(tree, "absent", false));
}

static void setters_replace(void **state)
{
	JSON_AUTO cJSON *tree = NULL;
	assert_int_equal(parse("{\"a\":{\"deep\":1},\"b\":2,\"c\":3}", &tree, NULL, NULL), 0);
	assert_int_equal(json_set_str(tree, "a", "text", NULL), 0);
	assert_int_equal(json_set_strn(tree, "b", "longer text", 6, NULL), 0);
	assert_int_equal(json_set_int(tree, "c", 9007199254740991, NULL), 0);
	assert_int_equal(json_set_int(tree, "d", -5, NULL), 0);
	assert_int_equal(json_set_strn(tree, "e", "", 0, NULL), 0);
	assert_int_equal(json_set(tree, "A", cJSON_CreateTrue(), NULL), 0);
	WIPE_AUTO char *text = json_text(tree);
	assert_string_equal(text, "{\"a\":\"text\",\"b\":\"longer\",\"c\":9007199254740991,"
				  "\"d\":-5,\"e\":\"\",\"A\":true}");
	json_drop(tree, "b");
	json_drop(tree, "nothing");
	WIPE_AUTO char *after = json_text(tree);
	assert_string_equal(after, "{\"a\":\"text\",\"c\":9007199254740991,\"d\":-5,\"e\":\"\","
				   "\"A\":true}");
}

/* What is put in must come back when the text is read again. */
static void setters_refuse_what_could_not_be_read(void **state)
{
	JSON_AUTO cJSON *tree = cJSON_CreateObject();
	struct pa_err err;
	assert_int_equal(json_set_str(tree, "a", "\xff", &err), -EINVAL);
	assert_int_equal(err.code, PA_BAD_INPUT);
	assert_int_equal(json_set_strn(tree, "a", "x\0y", 3, &err), -EINVAL);
	assert_int_equal(json_set_int(tree, "a", INT64_MAX, &err), -EINVAL);
	assert_int_equal(json_set_int(tree, "a", INT64_MIN, &err), -EINVAL);
	assert_int_equal(json_set(tree, "a", NULL, &err), -ENOMEM);
	assert_int_equal(json_set(NULL, "a", cJSON_CreateTrue(), &err), -EINVAL);
	assert_null(tree->child);
}

static void times_in_ms_survive(void **state)
{
	static const int64_t values[] = { 0, 1, -1, 1700000000000, 1763654400123, 4102444800000,
		INT32_MAX, (int64_t)INT32_MAX + 1, INT32_MIN, 999999999999999, 1000000000000000,
		9007199254740991 };
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		JSON_AUTO cJSON *tree = cJSON_CreateObject();
		JSON_AUTO cJSON *again = NULL;
		int64_t n;
		assert_int_equal(json_set_int(tree, "t", values[i], NULL), 0);
		WIPE_AUTO char *text = json_text(tree);
		assert_int_equal(parse(text, &again, NULL, NULL), 0);
		assert_true(json_int(again, "t", &n));
		assert_true(n == values[i]);
	}
}

/* What a foreign file holds comes back as it was, as far as a double can hold it. */
static void numbers_survive(void **state)
{
	static const char *const numbers[] = { "9007199254740991", "-9007199254740991",
		"9007199254740990", "1234567890123456", "0.1", "0.30000000000000004", "3.14",
		"-0.5", "1e+100", "1.7976931348623157e+200", "5e-324", "12345678.000001" };
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		char in[80];
		JSON_AUTO cJSON *tree = NULL;
		JSON_AUTO cJSON *again = NULL;
		snprintf(in, sizeof(in), "{\"a\":[%s]}", numbers[i]);
		assert_int_equal(parse(in, &tree, NULL, NULL), 0);
		WIPE_AUTO char *out = json_text(tree);
		assert_int_equal(parse(out, &again, NULL, NULL), 0);
		assert_true(json_at(again, "/a/0")->valuedouble == strtod(numbers[i], NULL));
		assert_true(cJSON_IsNumber(json_at(tree, "/a/0")));
	}
}

/* RFC 7396 appendix A, the cases where both sides are objects. */
static void merges_as_rfc_7396(void **state)
{
	static const char *const cases[][3] = {
		{ "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
		{ "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
		{ "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
		{ "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
		{ "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
		{ "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}" },
		{ "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}",
			"{\"a\":{\"b\":\"d\"}}" },
		{ "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
		{ "{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}" },
		{ "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
		{ "{\"a\":\"foo\"}", "{\"a\":{\"b\":1,\"c\":null}}", "{\"a\":{\"b\":1}}" },
		{ "{\"a\":1,\"A\":2}", "{\"A\":null}", "{\"a\":1}" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		JSON_AUTO cJSON *base = NULL;
		JSON_AUTO cJSON *over = NULL;
		assert_int_equal(parse(cases[i][0], &base, NULL, NULL), 0);
		assert_int_equal(parse(cases[i][1], &over, NULL, NULL), 0);
		assert_int_equal(json_merge(base, over, NULL), 0);
		WIPE_AUTO char *text = json_text(base);
		assert_string_equal(text, cases[i][2]);
		WIPE_AUTO char *same = json_text(over);
		assert_string_equal(same, cases[i][1]);
	}
	JSON_AUTO cJSON *base = cJSON_CreateObject();
	JSON_AUTO cJSON *list = cJSON_CreateArray();
	struct pa_err err;
	assert_int_equal(json_merge(base, list, &err), -EINVAL);
	assert_int_equal(json_merge(list, base, &err), -EINVAL);
}

static int setup(void **state)
{
	json_init();
	return 0;
}

static void the_offset_is_where_the_fault_is(void **state)
{
	static const struct {
		const char *text;
		size_t offset;
	} bad[] = {
		{ "", 0 },
		{ "{\"a\":", 5 },
		{ "{\"a\":tru", 8 },
		{ "[1,\n 2,,3]", 7 },
		{ "{\"a\":1,\"b\":2,\"a\":3}", 17 },
		{ "[\"a\tb\"]", 3 },
		{ "{\"a\"=1}", 4 },
		{ "[1] ,", 4 },
		{ "[\"\xff\"]", 2 },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cJSON *tree = NULL;
		size_t offset = 999;
		struct pa_err err = { 0 };
		assert_int_equal(json_parse_at(bad[i].text, strlen(bad[i].text), PA_FILE_UNUSABLE,
					 &tree, &offset, &err),
			-EBADMSG);
		if (offset != bad[i].offset)
			fail_msg("%s: %zu", bad[i].text, offset);
	}
}

/* What JSON.stringify(JSON.parse(text), null, 2) gives. */
static void pretty_text_is_laid_out_as_javascript_does(void **state)
{
	static const struct {
		const char *text, *pretty;
	} cases[] = {
		{ "{}", "{}" },
		{ "[[],{}]", "[\n  [],\n  {}\n]" },
		{ "{\"b\":1.5,\"a\":{\"x\":[1,null]}}", "{\n  \"b\": 1.5,\n  \"a\": {\n    \"x\": "
							"[\n      1,\n      null\n    ]\n  }\n}" },
		{ "{\"a,:{\":\"}]\\\"\\\\\"}", "{\n  \"a,:{\": \"}]\\\"\\\\\"\n}" },
		{ "9007199254740991", "9007199254740991" },
		{ "\"\\u001f\xc3\xa9\"", "\"\\u001f\xc3\xa9\"" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		JSON_AUTO cJSON *tree = NULL;
		assert_int_equal(parse(cases[i].text, &tree, NULL, NULL), 0);
		WIPE_AUTO char *pretty = json_pretty(tree);
		assert_string_equal(pretty, cases[i].pretty);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_what_rfc_8259_allows),
		cmocka_unit_test(refuses_the_rest),
		cmocka_unit_test(a_nul_byte_is_no_end),
		cmocka_unit_test(code_decides_the_errno),
		cmocka_unit_test(length_is_the_bound),
		cmocka_unit_test(every_prefix_is_incomplete),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(many_members_are_no_problem),
		cmocka_unit_test(lax_takes_comments_and_a_bom),
		cmocka_unit_test(lax_is_strict_otherwise),
		cmocka_unit_test(finds_lines),
		cmocka_unit_test(pointers_lead_to_values),
		cmocka_unit_test(typed_members),
		cmocka_unit_test(setters_replace),
		cmocka_unit_test(setters_refuse_what_could_not_be_read),
		cmocka_unit_test(times_in_ms_survive),
		cmocka_unit_test(numbers_survive),
		cmocka_unit_test(merges_as_rfc_7396),
		cmocka_unit_test(the_offset_is_where_the_fault_is),
		cmocka_unit_test(pretty_text_is_laid_out_as_javascript_does),
	};
	return cmocka_run_group_tests_name("json", tests, setup, NULL);
}
