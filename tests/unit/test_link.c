/* link: what a record remembers about files of other tools, and which of their logins it believes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "store/link.h"
#include "store/secret.h"

#define NOW   INT64_C(1700000000000)
#define PROOF "0123456789abcdef"
#define OTHER "fedcba9876543210"

static int setup(void **state)
{
	json_init();
	return 0;
}

static cJSON *json_of(const char *text)
{
	cJSON *j = NULL;
	struct pa_err err;

	if (json_parse(text, strlen(text), PA_BAD_INPUT, &j, NULL, &err) < 0)
		fail_msg("%s: %s", text, err.detail);
	return j;
}

static void parse(const char *members, struct record *r)
{
	char text[2048];
	struct pa_err err;

	snprintf(text, sizeof(text), "{\"format\":1,\"profile\":\"p\"%s}", members);
	if (record_parse(text, strlen(text), "p", r, &err) < 0)
		fail_msg("%s: %s", text, err.detail);
}

static void assert_text(const struct record *r, const char *members)
{
	char text[2048];
	struct pa_err err;
	char *got;
	size_t len;

	snprintf(text, sizeof(text), "{\"format\":1,\"profile\":\"p\"%s}", members);
	assert_int_equal(record_format(r, &got, &len, &err), 0);
	assert_string_equal(got, text);
	wipe_free(got);
}

static struct link link_to(const char *path, const char *name, enum lane lane)
{
	return (struct link){ "pi", path, name, lane, LINK_ON, "", "" };
}

static void set(struct record *r, const char *path, const char *name, enum lane lane)
{
	struct link l = link_to(path, name, lane);

	assert_int_equal(link_set(r, &l, NULL), 0);
}

/* ---- links ---- */

static void malformed_ones_are_no_record(void **state)
{
	static const char *const bad[] = {
		"\"links\":{}",
		"\"links\":null",
		"\"links\":\"x\"",
		"\"links\":[1]",
		"\"links\":[[]]",
		"\"links\":[{}]",
		"\"links\":[{\"path\":\"/a\",\"name\":\"n\",\"lane\":\"oauth\",\"state\":\"on\"}]",
		"\"links\":[{\"tool\":\"\",\"path\":\"/a\",\"name\":\"n\",\"lane\":\"oauth\","
		"\"state\":\"on\"}]",
		"\"links\":[{\"tool\":\"pi\",\"name\":\"n\",\"lane\":\"oauth\",\"state\":\"on\"}]",
		"\"links\":[{\"tool\":\"pi\",\"path\":\"a\",\"name\":\"n\",\"lane\":\"oauth\","
		"\"state\":\"on\"}]",
		"\"links\":[{\"tool\":\"pi\",\"path\":7,\"name\":\"n\",\"lane\":\"oauth\","
		"\"state\":\"on\"}]",
		"\"links\":[{\"tool\":\"pi\",\"path\":\"/a\",\"lane\":\"oauth\",\"state\":\"on\"}]",
		"\"links\":[{\"tool\":\"pi\",\"path\":\"/a\",\"name\":\"n\",\"state\":\"on\"}]",
		"\"links\":[{\"tool\":\"pi\",\"path\":\"/a\",\"name\":\"n\",\"lane\":\"external\","
		"\"state\":\"on\"}]",
		"\"links\":[{\"tool\":\"pi\",\"path\":\"/a\",\"name\":\"n\",\"lane\":\"oauth\"}]",
		"\"links\":[{\"tool\":\"pi\",\"path\":\"/a\",\"name\":\"n\",\"lane\":\"oauth\","
		"\"state\":\"ON\"}]",
		"\"links\":[{\"tool\":\"pi\",\"path\":\"/a\",\"name\":\"n\",\"lane\":\"oauth\","
		"\"state\":\"on\",\"note\":1}]",
		"\"links\":[{\"tool\":\"pi\",\"path\":\"/a\",\"name\":\"n\",\"lane\":\"oauth\","
		"\"state\":\"off\",\"proof\":\"0123\"}]",
		"\"links\":[{\"tool\":\"pi\",\"path\":\"/a\",\"name\":\"n\",\"lane\":\"oauth\","
		"\"state\":\"off\",\"proof\":\"0123456789ABCDEF\"}]",
		"\"known\":{}",
		"\"known\":\"" PROOF "\"",
		"\"known\":[1]",
		"\"known\":[\"\"]",
		"\"known\":[\"" PROOF "0\"]",
		"\"known\":[\"" PROOF "\",null]",
		"\"kept\":[]",
		"\"kept\":null",
		"\"kept\":\"x\"",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char text[512];
		struct record r = { 0 };
		struct pa_err err = { 0 };

		snprintf(text, sizeof(text), "{\"format\":1,\"profile\":\"p\",%s}", bad[i]);
		if (record_parse(text, strlen(text), "p", &r, &err) != -EBADMSG)
			fail_msg("taken: %s", text);
		assert_int_equal(err.code, PA_STORE_CORRUPT);
		assert_non_null(strstr(err.detail, "a link"));
	}
}

static void more_than_the_limits_are_no_record(void **state)
{
	RECORD_AUTO struct record r = { 0 };
	cJSON *many;

	assert_int_equal(record_new("p", &r, NULL), 0);
	assert_true(link_is_valid(r.root));
	many = json_of("[]");
	for (int i = 0; i <= LINK_KNOWN_MAX; i++) {
		assert_int_equal(link_is_valid(r.root), true);
		cJSON_AddItemToArray(many, cJSON_CreateString(PROOF));
		if (i == LINK_KNOWN_MAX)
			break;
		assert_int_equal(json_set(r.root, "known", cJSON_Duplicate(many, true), NULL), 0);
	}
	assert_int_equal(json_set(r.root, "known", many, NULL), 0);
	assert_false(link_is_valid(r.root));
	json_drop(r.root, "known");

	for (int i = 0; i < LINK_MAX; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/%d", i);
		set(&r, path, "n", LANE_OAUTH);
	}
	assert_true(link_is_valid(r.root));
	many = cJSON_GetObjectItemCaseSensitive(r.root, "links");
	cJSON_AddItemToArray(many, cJSON_Duplicate(many->child, true));
	assert_false(link_is_valid(r.root));
}

static void links_come_back(void **state)
{
	RECORD_AUTO struct record r = { 0 };
	struct link l;

	assert_int_equal(record_new("p", &r, NULL), 0);
	assert_false(link_at(&r, 0, &l));
	set(&r, "/a", "x", LANE_OAUTH);
	set(&r, "/a", "y", LANE_API_KEY);
	set(&r, "/b", "x", LANE_OAUTH);
	assert_true(link_at(&r, 1, &l));
	assert_string_equal(l.tool, "pi");
	assert_string_equal(l.path, "/a");
	assert_string_equal(l.name, "y");
	assert_int_equal(l.lane, LANE_API_KEY);
	assert_int_equal(l.state, LINK_ON);
	assert_string_equal(l.note, "");
	assert_string_equal(l.proof, "");
	assert_false(link_at(&r, 3, &l));
	assert_false(link_at(&r, SIZE_MAX, &l));

	/* One and the same entry of a file has one link; what was lent out can be put back changed. */
	assert_true(link_at(&r, 0, &l));
	l.state = LINK_OFF;
	l.note = "why";
	l.proof = PROOF;
	assert_int_equal(link_set(&r, &l, NULL), 0);
	assert_true(link_at(&r, 0, &l));
	l.lane = LANE_API_KEY;
	l.state = LINK_TAKEN;
	assert_int_equal(link_set(&r, &l, NULL), 0);
	assert_text(&r,
		",\"links\":[{\"tool\":\"pi\",\"path\":\"/a\",\"name\":\"x\","
		"\"lane\":\"api_key\",\"state\":\"taken\",\"note\":\"why\",\"proof\":\"" PROOF
		"\"},{\"tool\":\"pi\",\"path\":\"/a\",\"name\":\"y\",\"lane\":\"api_key\","
		"\"state\":\"on\"},{\"tool\":\"pi\",\"path\":\"/b\",\"name\":\"x\","
		"\"lane\":\"oauth\",\"state\":\"on\"}]");
	assert_true(link_at(&r, 0, &l));
	l.note = l.proof = "";
	l.state = LINK_ON;
	assert_int_equal(link_set(&r, &l, NULL), 0);
	assert_true(link_at(&r, 0, &l));
	assert_string_equal(l.note, "");
	assert_string_equal(l.proof, "");
	link_forget(&r);
	assert_text(&r, "");
}

static void unknown_members_survive(void **state)
{
	RECORD_AUTO struct record r = { 0 };

	parse(",\"links\":[{\"tool\":\"pi\",\"path\":\"/a\",\"name\":\"x\",\"lane\":\"oauth\","
	      "\"state\":\"on\",\"new\":[1]}]",
		&r);
	assert_int_equal(link_off(&r, LANE_OAUTH, PROOF, NULL), 0);
	assert_text(&r,
		",\"links\":[{\"tool\":\"pi\",\"path\":\"/a\",\"name\":\"x\","
		"\"lane\":\"oauth\",\"state\":\"off\",\"new\":[1],\"proof\":\"" PROOF "\"}]");
}

static void links_have_limits(void **state)
{
	RECORD_AUTO struct record r = { 0 };
	char path[LINK_PATH_MAX + 2], name[LINK_TEXT_MAX + 2];
	struct pa_err err = { 0 };
	struct link l = link_to("/x", "n", LANE_OAUTH);

	assert_int_equal(record_new("p", &r, NULL), 0);
	for (int i = 0; i < LINK_MAX; i++) {
		memset(path, 'a' + i, sizeof(path) - 1);
		path[0] = '/';
		path[LINK_PATH_MAX] = '\0';
		memset(name, 'n', sizeof(name) - 1);
		name[LINK_TEXT_MAX] = '\0';
		l = (struct link){ name, path, name, LANE_OAUTH, LINK_OFF, name, PROOF };
		assert_int_equal(link_set(&r, &l, NULL), 0);
	}
	l = link_to("/one-more", "n", LANE_OAUTH);
	assert_int_equal(link_set(&r, &l, &err), -E2BIG);
	assert_int_equal(err.code, PA_TOO_BIG);
	assert_false(link_at(&r, LINK_MAX, &l));
	/* A known one still changes. */
	assert_true(link_at(&r, LINK_MAX - 1, &l));
	l.state = LINK_ON;
	assert_int_equal(link_set(&r, &l, NULL), 0);
	assert_true(link_is_valid(r.root));

	link_forget(&r);
	l = link_to(path, "n", LANE_OAUTH);
	path[LINK_PATH_MAX] = 'x';
	path[LINK_PATH_MAX + 1] = '\0';
	assert_int_equal(link_set(&r, &l, NULL), -E2BIG);
	name[LINK_TEXT_MAX] = 'n';
	name[LINK_TEXT_MAX + 1] = '\0';
	l = link_to("/a", name, LANE_OAUTH);
	assert_int_equal(link_set(&r, &l, NULL), -E2BIG);
	l.name = "n";
	l.note = name;
	assert_int_equal(link_set(&r, &l, NULL), -E2BIG);
	l.note = "";
	l.tool = name;
	assert_int_equal(link_set(&r, &l, NULL), -E2BIG);
	assert_false(link_at(&r, 0, &l));
}

static void what_is_no_link_is_refused(void **state)
{
	static const struct link bad[] = {
		{ "", "/a", "n", LANE_OAUTH, LINK_ON, "", "" },
		{ "pi", "a", "n", LANE_OAUTH, LINK_ON, "", "" },
		{ "pi", "", "n", LANE_OAUTH, LINK_ON, "", "" },
		{ "pi", "/a\xff", "n", LANE_OAUTH, LINK_ON, "", "" },
		{ "pi", "/a", "n", LANE_NONE, LINK_ON, "", "" },
		{ "pi", "/a", "n", LANE_ENV, LINK_ON, "", "" },
		{ "pi", "/a", "n", LANE_OAUTH, LINK_ON, "", "0123" },
		{ "pi", "/a", "n", LANE_OAUTH, LINK_ON, "", "0123456789abcdeg" },
	};
	RECORD_AUTO struct record r = { 0 };
	struct link l;

	assert_int_equal(record_new("p", &r, NULL), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct pa_err err = { 0 };

		assert_int_equal(link_set(&r, &bad[i], &err), -EINVAL);
		assert_int_equal(err.code, PA_BAD_INPUT);
		assert_false(link_at(&r, 0, &l));
		assert_true(link_is_valid(r.root));
	}
}

static void only_those_that_are_on_go_off(void **state)
{
	static const struct {
		enum lane lane;
		enum link_state want[4];
	} cases[] = {
		{ LANE_OAUTH, { LINK_OFF, LINK_ON, LINK_TAKEN, LINK_OFF } },
		{ LANE_API_KEY, { LINK_ON, LINK_OFF, LINK_TAKEN, LINK_OFF } },
		{ LANE_NONE, { LINK_OFF, LINK_OFF, LINK_TAKEN, LINK_OFF } },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		RECORD_AUTO struct record r = { 0 };
		struct link l;

		parse(",\"links\":[{\"tool\":\"pi\",\"path\":\"/a\",\"name\":\"n\","
		      "\"lane\":\"oauth\",\"state\":\"on\",\"note\":\"x\"},"
		      "{\"tool\":\"pi\",\"path\":\"/b\",\"name\":\"n\",\"lane\":\"api_key\","
		      "\"state\":\"on\"},{\"tool\":\"pi\",\"path\":\"/c\",\"name\":\"n\","
		      "\"lane\":\"oauth\",\"state\":\"taken\"},{\"tool\":\"pi\",\"path\":\"/d\","
		      "\"name\":\"n\",\"lane\":\"oauth\",\"state\":\"off\",\"proof\":\"" OTHER
		      "\"}]",
			&r);
		assert_int_equal(link_off(&r, cases[i].lane, PROOF, NULL), 0);
		for (size_t k = 0; k < 4; k++) {
			assert_true(link_at(&r, k, &l));
			assert_string_equal(
				link_state_name(l.state), link_state_name(cases[i].want[k]));
			/* What was off before keeps what it is off for. */
			assert_string_equal(l.proof, k == 3                ? OTHER
						     : l.state == LINK_OFF ? PROOF
									   : "");
			if (l.state == LINK_OFF)
				assert_string_equal(l.note, "");
		}
	}
}

/* ---- known tokens ---- */

static void proof_of(int i, char ret[static LINK_PROOF_LEN + 1])
{
	snprintf(ret, LINK_PROOF_LEN + 1, "%016x", (unsigned)i);
}

static void the_oldest_token_is_forgotten(void **state)
{
	RECORD_AUTO struct record r = { 0 };
	char proof[LINK_PROOF_LEN + 1];
	struct pa_err err = { 0 };

	assert_int_equal(record_new("p", &r, NULL), 0);
	assert_false(link_knows(&r, PROOF));
	for (int i = 0; i < LINK_KNOWN_MAX; i++) {
		proof_of(i, proof);
		assert_int_equal(link_remember(&r, proof, NULL), 0);
	}
	/* Seen again, it is the newest: the next one goes instead. */
	proof_of(0, proof);
	assert_int_equal(link_remember(&r, proof, NULL), 0);
	assert_int_equal(link_remember(&r, PROOF, NULL), 0);
	assert_true(link_knows(&r, PROOF));
	for (int i = 0; i < LINK_KNOWN_MAX; i++) {
		proof_of(i, proof);
		assert_int_equal(link_knows(&r, proof), i != 1);
	}
	assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(r.root, "known")),
		LINK_KNOWN_MAX);
	assert_true(link_is_valid(r.root));
	assert_int_equal(link_remember(&r, "", &err), -EINVAL);
	assert_int_equal(link_remember(&r, PROOF "0", &err), -EINVAL);
	assert_true(link_is_valid(r.root));
}

/* ---- adoption ---- */

#define OURS "{\"type\":\"oauth\",\"access\":\"a\",\"refresh\":\"r1\",\"refreshed\":1}"

static void the_first_one_is_kept(void **state)
{
	RECORD_AUTO struct record r = { 0 };
	struct pa_err why = { 0 }, err = { 0 };
	int64_t at;

	parse(",\"oauth\":" OURS, &r);
	assert_null(link_kept(&r));
	assert_int_equal(link_restore_kept(&r, &err), -ENOKEY);
	assert_int_equal(err.code, PA_NO_KEY);
	set(&r, "/a", "n", LANE_OAUTH);
	pa_fail(&why, PA_REFRESH_DEAD, 0, "HTTP 400");
	assert_int_equal(record_set_dead(&r, &why, NOW, NULL), 0);
	assert_int_equal(link_adopt(&r,
				 json_of("{\"type\":\"oauth\",\"refresh\":\"r2\","
					 "\"refreshed\":5}"),
				 NOW, NULL),
		0);
	assert_false(record_dead(&r, &why, &at));
	assert_string_equal(json_str(link_kept(&r), "refresh"), "r1");
	/* Not dated, or by a clock that is ahead: it counts as issued now. */
	assert_int_equal(
		link_adopt(&r, json_of("{\"type\":\"oauth\",\"refresh\":\"r3\"}"), NOW + 1, NULL),
		0);
	assert_true(json_int(record_lane(&r, LANE_OAUTH), "refreshed", &at) && at == NOW + 1);
	assert_int_equal(link_adopt(&r,
				 json_of("{\"type\":\"oauth\",\"refresh\":\"r4\","
					 "\"refreshed\":4102444800000}"),
				 NOW + 2, NULL),
		0);
	assert_text(&r, ",\"oauth\":{\"type\":\"oauth\",\"refresh\":\"r4\",\"refreshed\":"
			"1700000000002},\"links\":[{\"tool\":\"pi\",\"path\":\"/a\",\"name\":\"n\","
			"\"lane\":\"oauth\",\"state\":\"on\"}],\"kept\":" OURS
			",\"changed\":1700000000002");

	assert_int_equal(record_set_dead(&r, &why, NOW, NULL), 0);
	assert_int_equal(link_restore_kept(&r, NULL), 0);
	assert_null(link_kept(&r));
	assert_false(record_dead(&r, &why, &at));
	assert_string_equal(json_str(record_lane(&r, LANE_OAUTH), "refresh"), "r1");
}

static void a_proved_one_stays(void **state)
{
	RECORD_AUTO struct record r = { 0 };
	int64_t at;

	parse(",\"oauth\":" OURS, &r);
	assert_int_equal(
		link_adopt(&r, json_of("{\"refresh\":\"r2\",\"refreshed\":5}"), NOW, NULL), 0);
	assert_true(json_int(record_lane(&r, LANE_OAUTH), "refreshed", &at) && at == 5);
	link_drop_kept(&r);
	assert_null(link_kept(&r));
	assert_string_equal(json_str(record_lane(&r, LANE_OAUTH), "refresh"), "r2");
}

static void with_nothing_there_nothing_is_kept(void **state)
{
	RECORD_AUTO struct record r = { 0 };

	parse("", &r);
	assert_int_equal(link_adopt(&r, json_of("[]"), NOW, NULL), -EINVAL);
	assert_int_equal(link_adopt(&r, NULL, NOW, NULL), -EINVAL);
	assert_text(&r, "");
	assert_int_equal(link_adopt(&r, json_of("{\"refresh\":\"r\"}"), NOW, NULL), 0);
	assert_null(link_kept(&r));
	assert_non_null(record_lane(&r, LANE_OAUTH));
}

/* A login by a user is another family than the one in the files. */
static void a_new_login_ends_the_links(void **state)
{
	for (int pending = 0; pending < 2; pending++) {
		RECORD_AUTO struct record r = { 0 };
		struct link l;
		bool any;

		parse(",\"oauth\":" OURS ",\"kept\":{\"refresh\":\"r0\"},\"known\":[\"" PROOF "\"]",
			&r);
		set(&r, "/a", "n", LANE_OAUTH);
		set(&r, "/b", "n", LANE_API_KEY);
		assert_int_equal(
			record_set_lane(&r, LANE_API_KEY, json_of("{\"key\":\"k\"}"), NOW, NULL),
			0);
		assert_non_null(link_kept(&r));
		assert_true(link_at(&r, 0, &l) && l.state == LINK_ON);
		if (pending) {
			assert_int_equal(record_set_pending(&r, LANE_OAUTH,
						 json_of("{\"refresh\":\"s1\"}"), "", NULL),
				0);
			assert_int_equal(record_adopt_pending(&r, NOW, &any, NULL), 0);
		} else {
			assert_int_equal(record_set_lane(&r, LANE_OAUTH,
						 json_of("{\"refresh\":\"s1\"}"), NOW, NULL),
				0);
		}
		assert_null(link_kept(&r));
		assert_true(link_knows(&r, PROOF));
		assert_true(link_at(&r, 0, &l));
		assert_int_equal(l.state, LINK_OFF);
		assert_string_equal(l.proof, "");
		assert_true(link_at(&r, 1, &l));
		assert_int_equal(l.state, LINK_ON);
	}
}

static void a_logout_forgets_the_kept_one(void **state)
{
	RECORD_AUTO struct record r = { 0 };
	struct link l;

	parse(",\"oauth\":" OURS ",\"kept\":{\"refresh\":\"r0\"},\"known\":[\"" PROOF
	      "\"],\"api_key\":{\"key\":\"k\"}",
		&r);
	set(&r, "/a", "n", LANE_OAUTH);
	record_drop_lane(&r, LANE_API_KEY);
	assert_non_null(link_kept(&r));
	record_drop_lane(&r, LANE_OAUTH);
	assert_null(link_kept(&r));
	assert_true(link_knows(&r, PROOF));
	assert_true(link_at(&r, 0, &l));
}

/* ---- the rules ---- */

static void files_are_judged(void **state)
{
	static const struct {
		const char *members, *entry, *proof, *here, *there;
		enum link_verdict want;
	} cases[] = {
#define RECORD      ",\"oauth\":{\"refresh\":\"r1\",\"refreshed\":1000},\"known\":[\"" PROOF "\"]"
#define ENTRY(more) "{\"type\":\"oauth\",\"access\":\"a\",\"refresh\":\"r2\"" more "}"
		{ RECORD, ENTRY(""), OTHER, NULL, NULL, LINK_NEWER },
		/* no login at all */
		{ RECORD, "{\"type\":\"oauth\",\"access\":\"a\"}", OTHER, NULL, NULL,
			LINK_UNUSABLE },
		{ RECORD, "{\"type\":\"oauth\",\"refresh\":\"\"}", OTHER, NULL, NULL,
			LINK_UNUSABLE },
		{ RECORD, "{\"type\":\"oauth\",\"refresh\":1}", OTHER, NULL, NULL, LINK_UNUSABLE },
		{ RECORD, "{\"type\":\"api_key\",\"key\":\"k\",\"refresh\":\"r2\"}", OTHER, NULL,
			NULL, LINK_UNUSABLE },
		{ RECORD, "{\"refresh\":\"r2\"}", OTHER, NULL, NULL, LINK_UNUSABLE },
		{ RECORD, "[]", OTHER, NULL, NULL, LINK_UNUSABLE },
		/* ours: whatever else it says */
		{ RECORD, "{\"type\":\"oauth\",\"refresh\":\"r1\",\"expires\":1}", PROOF, "me",
			"you", LINK_SAME },
		/* somebody else's, even if it was ours once */
		{ RECORD, ENTRY(""), OTHER, "me", "you", LINK_OTHER_ACCOUNT },
		{ RECORD, ENTRY(""), PROOF, "me", "you", LINK_OTHER_ACCOUNT },
		{ RECORD, ENTRY(",\"expires\":1"), OTHER, "me", "Me", LINK_OTHER_ACCOUNT },
		{ RECORD, ENTRY(""), OTHER, "me", "me", LINK_NEWER },
		{ RECORD, ENTRY(""), OTHER, "me", NULL, LINK_NEWER },
		{ RECORD, ENTRY(""), OTHER, NULL, "you", LINK_NEWER },
		{ RECORD, ENTRY(""), OTHER, "me", "", LINK_NEWER },
		{ RECORD, ENTRY(""), OTHER, "", "you", LINK_NEWER },
		/* a pair that we had: a date in the far future does not help it */
		{ RECORD, ENTRY(",\"expires\":4102444800000"), PROOF, NULL, NULL, LINK_OLD },
		{ RECORD, ENTRY(",\"expires\":4102444800000"), PROOF, "me", "me", LINK_OLD },
		/* one that was over when ours was issued */
		{ RECORD, ENTRY(",\"expires\":1000"), OTHER, NULL, NULL, LINK_OLD },
		{ RECORD, ENTRY(",\"expires\":1"), OTHER, NULL, NULL, LINK_OLD },
		{ RECORD, ENTRY(",\"expires\":1001"), OTHER, NULL, NULL, LINK_NEWER },
		{ RECORD, ENTRY(",\"expires\":0"), OTHER, NULL, NULL, LINK_NEWER },
		{ RECORD, ENTRY(",\"expires\":-1"), OTHER, NULL, NULL, LINK_NEWER },
		{ RECORD, ENTRY(",\"expires\":\"1\""), OTHER, NULL, NULL, LINK_NEWER },
		{ ",\"oauth\":{\"refresh\":\"r1\"}", ENTRY(",\"expires\":1"), OTHER, NULL, NULL,
			LINK_NEWER },
		/* ours has no refresh token, or there is no login: what was known is old all the same */
		{ ",\"oauth\":{\"access\":\"a\"}", ENTRY(""), OTHER, NULL, NULL, LINK_NEWER },
		{ "", ENTRY(",\"expires\":1"), OTHER, NULL, NULL, LINK_NEWER },
		{ ",\"known\":[\"" PROOF "\"]", ENTRY(""), PROOF, NULL, NULL, LINK_OLD },
		/* an adopted one is there: the kept one is old */
		{ ",\"oauth\":{\"refresh\":\"r1\"},\"kept\":{\"refresh\":\"r2\"},\"known\":["
		  "\"" PROOF "\"]",
			ENTRY(""), PROOF, NULL, NULL, LINK_OLD },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		RECORD_AUTO struct record r = { 0 };
		JSON_AUTO cJSON *entry = json_of(cases[i].entry);
		enum link_verdict got;

		parse(cases[i].members, &r);
		got = link_judge(&r, entry, cases[i].proof, cases[i].here, cases[i].there, 0);
		if (got != cases[i].want)
			fail_msg("case %zu, %s: %d instead of %d", i, cases[i].entry, (int)got,
				(int)cases[i].want);
	}
}

static void bad_verdicts_say_why(void **state)
{
	assert_string_equal(link_verdict_note(LINK_SAME), "");
	assert_string_equal(link_verdict_note(LINK_NEWER), "");
	for (enum link_verdict v = LINK_OLD; v <= LINK_UNUSABLE; v++) {
		assert_true(strlen(link_verdict_note(v)) > 10);
		assert_true(strlen(link_verdict_note(v)) <= LINK_TEXT_MAX);
		assert_null(strchr(link_verdict_note(v), '\n'));
		for (enum link_verdict w = LINK_OLD; w < v; w++)
			assert_string_not_equal(link_verdict_note(v), link_verdict_note(w));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(malformed_ones_are_no_record),
		cmocka_unit_test(more_than_the_limits_are_no_record),
		cmocka_unit_test(links_come_back),
		cmocka_unit_test(unknown_members_survive),
		cmocka_unit_test(links_have_limits),
		cmocka_unit_test(what_is_no_link_is_refused),
		cmocka_unit_test(only_those_that_are_on_go_off),
		cmocka_unit_test(the_oldest_token_is_forgotten),
		cmocka_unit_test(the_first_one_is_kept),
		cmocka_unit_test(a_proved_one_stays),
		cmocka_unit_test(with_nothing_there_nothing_is_kept),
		cmocka_unit_test(a_new_login_ends_the_links),
		cmocka_unit_test(a_logout_forgets_the_kept_one),
		cmocka_unit_test(files_are_judged),
		cmocka_unit_test(bad_verdicts_say_why),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
