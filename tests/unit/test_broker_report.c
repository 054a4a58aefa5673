/* What the broker tells, and what it is told about tokens that do not work. */
#include "tests/unit/broker_fixture.h"

#include <stdio.h>
#include <stdlib.h>

/* Members of status, in the order of the documentation, and their types. */
static const struct member {
	const char *pointer;
	int types; /* of cJSON, or-ed */
} members[] = {
	{ "/profile", cJSON_String },
	{ "/provider", cJSON_String },
	{ "/type", cJSON_String },
	{ "/auth_state", cJSON_String },
	{ "/state", cJSON_String },
	{ "/expires", cJSON_String | cJSON_NULL },
	{ "/expires_ms", cJSON_Number },
	{ "/refreshed", cJSON_String | cJSON_NULL },
	{ "/generation", cJSON_Number },
	{ "/account", cJSON_String | cJSON_NULL },
	{ "/source", cJSON_String | cJSON_NULL },
	{ "/last_error", cJSON_Object | cJSON_NULL },
};

static const struct member error_members[] = {
	{ "/last_error/diagnostic_code", cJSON_String },
	{ "/last_error/summary", cJSON_String },
	{ "/last_error/hints", cJSON_Array },
	{ "/last_error/context", cJSON_Object },
	{ "/last_error/diagnostic_remediation", cJSON_String },
	{ "/last_error/redaction_policy", cJSON_String },
	{ "/last_error/http_status", cJSON_Number | cJSON_NULL },
	{ "/last_error/at", cJSON_String },
};

static void check_members(const cJSON *status, const struct member *m, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const cJSON *value = json_at(status, m[i].pointer);

		if (!value || !(value->type & m[i].types))
			fail_msg("%s", m[i].pointer);
	}
}

static void check_status(struct fixture *f, struct profile *p, bool error)
{
	cJSON *status = fixture_status(f, p); /* which looks for secrets */

	check_members(status, members, sizeof(members) / sizeof(*members));
	assert_int_equal(cJSON_IsObject(json_at(status, "/last_error")), error);
	if (error)
		check_members(
			status, error_members, sizeof(error_members) / sizeof(*error_members));
	assert_string_equal(json_str(status, "profile"), profile_name(p));
	cJSON_Delete(status);
}

static void status_has_every_field_and_no_secret(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	check_status(f, p, true);
	assert_status(f, p, "/state", "none");
	assert_status(f, p, "/auth_state", "none");
	assert_status(f, p, "/last_error/diagnostic_code", "auth.missing_api_key");
	assert_status(f, p, "/last_error/hints/0", "echo KEY > rota/api-key");
	assert_status(f, fixture_profile(f, "plain"), "/last_error/hints/1",
		"Keys are made at https://plain.example/keys");

	fixture_key(f, p, CANARY "-key");
	check_status(f, p, false);
	assert_status(f, p, "/auth_state", "api_key");
	assert_status(f, p, "/type", "api_key");
	assert_status(f, p, "/source", "store");
	assert_status(f, p, "/expires", NULL);

	fixture_login(f, p, HOUR, "\"accountId\":\"acc-1\",\"idToken\":\"" CANARY "-id\"");
	check_status(f, p, false);
	assert_status(f, p, "/auth_state", "oauth");
	assert_status(f, p, "/type", "oauth");
	assert_status(f, p, "/state", "valid");
	assert_status(f, p, "/account", "acc-1");
	assert_status(f, p, "/refreshed", "2023-11-14T22:13:20Z");
	assert_status(f, p, "/expires", "2023-11-14T23:13:20Z");
	cJSON *status = fixture_status(f, p);
	int64_t n = 0;

	assert_true(json_int(status, "expires_ms", &n) && n == WALL_0 + HOUR);
	assert_true(json_int(status, "generation", &n) && n == 2);
	cJSON_Delete(status);

	/* Each state, with the secrets of a running refresh about. */
	struct reader rd = { 0 };

	fixture_advance(f, HOUR);
	token_server_next(
		f->server, (struct token_reply){ .status = 503, .body = CANARY, .hold = true });
	reader_start(f, &rd, p, BROKER_KEY);
	fixture_requests(f, 1);
	assert_status(f, p, "/state", "refreshing");
	check_status(f, p, false);
	token_server_release(f->server);
	fixture_settle(f);
	assert_status(f, p, "/state", "retrying");
	check_status(f, p, true);
	cJSON *failed = fixture_status(f, p);

	assert_true(json_int(json_at(failed, "/last_error"), "http_status", &n) && n == 503);
	cJSON_Delete(failed);
	fixture_advance(f, MINUTE);
	token_server_next(f->server,
		(struct token_reply){ .status = 400,
			.body = "{\"error\":\"invalid_grant\",\"error_description\":\"" CANARY
				"\"}" });
	assert_no_key(f, p, PA_REFRESH_DEAD);
	assert_status(f, p, "/state", "dead");
	check_status(f, p, true);
}

/* A login that nothing can refresh is dead when its token is, and says why. */
static void the_end_of_a_token_without_refresh(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	assert_int_equal(fixture_write(f, p, LANE_OAUTH,
				 "{\"type\":\"oauth\",\"access\":\"a\",\"expires\":1700003600000}"),
		0);
	assert_status(f, p, "/state", "valid");
	check_status(f, p, false);
	fixture_advance(f, HOUR - 1);
	assert_key(f, p, "a");
	fixture_advance(f, 1);
	assert_no_key(f, p, PA_EXPIRED);
	assert_int_equal(fixture_error()->errnum, EKEYEXPIRED);
	assert_status(f, p, "/state", "dead");
	assert_status(f, p, "/last_error/diagnostic_code", "auth.oauth.expired");
	check_status(f, p, true);
}

static void the_overview_has_everybody(void **state)
{
	struct fixture *f = *state;
	size_t n = provider_count(f->providers), stored = 0;
	struct pa_err err;
	cJSON *list = NULL;
	const cJSON *item;

	fixture_key(f, fixture_profile(f, "rota"), CANARY);
	fixture_key(f, fixture_profile(f, "rota@work"), CANARY);
	fixture_profile(f, "rota@looked-at-only");
	char *text = broker_overview(f->b);

	assert_non_null(text);
	assert_null(strstr(text, CANARY));
	assert_int_equal(json_parse(text, strlen(text), PA_BAD_INPUT, &list, NULL, &err), 0);
	assert_int_equal(cJSON_GetArraySize(list), n + 1);
	cJSON_ArrayForEach (item, list) {
		check_members(item, members, sizeof(members) / sizeof(*members));
		stored += !strcmp(json_str(item, "auth_state"), "api_key");
	}
	assert_int_equal(stored, 2);
	cJSON_Delete(list);
	wipe_free(text);
}

/* ---- metrics and events ---- */

static double metric(struct fixture *f, const char *name)
{
	char *text = broker_metrics(f->b), *save = NULL;
	double value = -1;

	assert_non_null(text);
	assert_int_equal(text[strlen(text) - 1], '\n');
	char last[64] = "";

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char of[64], type[16];
		int end = 0;
		double v;

		if (sscanf(line, "# HELP %63s %n", of, &end) == 1 && end) {
			assert_true(line[end] != '\0');
			memcpy(last, of, sizeof(last));
			continue;
		}
		if (sscanf(line, "# TYPE %63s %15s%n", of, type, &end) == 2) {
			assert_string_equal(of, last);
			assert_true(!strcmp(type, "gauge") || !strcmp(type, "counter"));
			assert_int_equal(!strcmp(type, "counter"),
				strlen(of) > 6 && !strcmp(of + strlen(of) - 6, "_total"));
			continue;
		}
		assert_int_equal(sscanf(line, "%63s %lf%n", of, &v, &end), 2);
		assert_string_equal(of, last);
		assert_int_equal(line[end], '\0');
		if (!strcmp(of, name))
			value = v;
	}
	wipe_free(text);
	if (value < 0)
		fail_msg("there is no %s", name);
	return value;
}

static void metrics_count(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader rd = { 0 };

	assert_true(metric(f, "piauth_profiles") == 0);
	assert_no_key(f, p, PA_NO_KEY);
	fixture_login(f, p, 0, NULL);
	assert_true(metric(f, "piauth_profiles") == 1);
	assert_true(metric(f, "piauth_saves_total") == 2); /* pending, and published */
	token_server_next(f->server, (struct token_reply){ .status = 503 });
	assert_no_key(f, p, PA_NET_SERVER);
	fixture_advance(f, MINUTE);
	token_server_next(f->server, (struct token_reply){ .hold = true });
	reader_start(f, &rd, p, BROKER_KEY);
	assert_true(metric(f, "piauth_readers_waiting") == 1);
	token_server_release(f->server);
	reader_await(f, &rd);
	assert_true(metric(f, "piauth_readers_waiting") == 0);
	assert_true(metric(f, "piauth_reads_total") == 3);
	assert_true(metric(f, "piauth_reads_waited_total") == 2);
	assert_true(metric(f, "piauth_reads_failed_total") == 2);
	assert_true(metric(f, "piauth_refreshes_total") == 1);
	assert_true(metric(f, "piauth_refreshes_failed_total") == 1);
	assert_true(metric(f, "piauth_refresh_repeats_total") == 0);
	assert_true(metric(f, "piauth_profiles_dead") == 0);
	assert_true(metric(f, "piauth_profiles_unsaved") == 0);
	assert_true(metric(f, "piauth_saves_failed_total") == 0);
	assert_true(metric(f, "piauth_records_broken") == 0);
}

static void events_tell_the_story(void **state)
{
	static const struct {
		const char *event;
		int generation;
		const char *code;
	} story[] = {
		{ "key_stored", 1, NULL },
		{ "login", 2, NULL },
		{ "refreshed", 3, NULL },
		{ "refresh_failed", 3, "net.server_error" },
		{ "rejected", 3, NULL },
		{ "dead", 3, "auth.oauth.token_refresh_failed" },
		{ "logout", 4, NULL },
	};
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct pa_err err;

	fixture_key(f, p, CANARY "-key");
	fixture_login(f, p, 0, NULL);
	assert_key(f, p, CANARY "-at-1");
	fixture_advance(f, HOUR);
	token_server_next(f->server, (struct token_reply){ .status = 500 });
	assert_no_key(f, p, PA_NET_SERVER);
	fixture_advance(f, MINUTE);
	token_server_next(f->server,
		(struct token_reply){ .status = 400, .body = "{\"error\":\"invalid_grant\"}" });
	assert_int_equal(broker_report_rejected(f->b, p, "3\n", 2, &err), 0);
	fixture_settle(f);
	assert_int_equal(fixture_forget(f, p, LANE_NONE), 0);

	const struct eventlog *l = broker_events(f->b);
	const char *at = l->text;

	assert_null(memmem(l->text, l->len, CANARY, strlen(CANARY)));
	for (size_t i = 0; i < sizeof(story) / sizeof(*story); i++) {
		const char *end = memchr(at, '\n', l->len - (size_t)(at - l->text));
		cJSON *e = NULL;
		int64_t n = -1;

		assert_non_null(end);
		assert_int_equal(
			json_parse(at, (size_t)(end - at), PA_BAD_INPUT, &e, NULL, NULL), 0);
		assert_string_equal(json_str(e, "event"), story[i].event);
		assert_string_equal(json_str(e, "profile"), "rota");
		assert_non_null(json_str(e, "at"));
		assert_true(json_int(e, "generation", &n));
		assert_int_equal(n, story[i].generation);
		if (story[i].code)
			assert_string_equal(json_str(e, "diagnostic_code"), story[i].code);
		else
			assert_null(json_str(e, "diagnostic_code"));
		cJSON_Delete(e);
		at = end + 1;
	}
	assert_int_equal(at - l->text, l->len);
}

/* ---- the refresh node ---- */

static int report(struct fixture *f, struct profile *p, const char *text, struct pa_err *err)
{
	*err = (struct pa_err){ 0 };
	return broker_report_rejected(f->b, p, text, strlen(text), err);
}

static void rejected_tokens_are_refreshed_once(void **state)
{
	static const struct {
		const char *text;
		int64_t age;
		bool refreshes;
	} cases[] = {
		{ CANARY "-at-%u", 0, true },
		{ CANARY "-at-%u\n", 0, true },
		{ "%u", 0, true }, /* the generation */
		{ "%u\r\n", 0, true },
		{ "something else", 0, false }, /* an older token: it has been replaced just now */
		{ "something else", 10000, false },
		{ "something else", 10001, true },
		{ "1", 10001, false }, /* an older generation */
		{ "0\n", 10001, false },
	};
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct pa_err err;

	fixture_login(f, p, 0, NULL);
	assert_key(f, p, CANARY "-at-1");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		unsigned requests = token_server_requests(f->server);
		unsigned n = token_server_issued(f->server);
		char text[64], *at = strstr(cases[i].text, "%u");
		struct reader rd[2] = { 0 };

		if (at)
			snprintf(text, sizeof(text), "%.*s%u%s", (int)(at - cases[i].text),
				cases[i].text,
				at == cases[i].text ? (unsigned)p->facts.generation : n, at + 2);
		else
			snprintf(text, sizeof(text), "%s", cases[i].text);
		fixture_advance(f, cases[i].age);
		assert_int_equal(report(f, p, text, &err), 0);
		assert_int_equal(p->refresh != NULL, cases[i].refreshes);
		assert_int_equal(report(f, p, text, &err), 0); /* ten clients get the same 401 */
		/* Who reads now waits for the new one. */
		assert_int_equal(reader_start(f, &rd[0], p, BROKER_KEY), !cases[i].refreshes);
		reader_start(f, &rd[1], p, BROKER_KEY);
		snprintf(text, sizeof(text), CANARY "-at-%u", n + cases[i].refreshes);
		for (int k = 0; k < 2; k++) {
			assert_int_equal(reader_await(f, &rd[k]), 0);
			assert_string_equal(rd[k].value, text);
		}
		fixture_settle(f);
		assert_int_equal(token_server_requests(f->server), requests + cases[i].refreshes);
	}
}

static void some_reports_are_refused(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct pa_err err;

	assert_int_equal(report(f, p, "x", &err), -ENOKEY);
	fixture_key(f, p, "sk");
	assert_int_equal(report(f, p, "sk", &err), -EOPNOTSUPP);
	fixture_login(f, p, HOUR, NULL);
	assert_int_equal(report(f, p, "", &err), -EINVAL);
	assert_int_equal(report(f, p, "\n", &err), -EINVAL);
	assert_int_equal(report(f, p, "99", &err), -EINVAL);
	assert_int_equal(token_server_requests(f->server), 0);
	/* A provider that fails: once, then the back-off holds for reports, too. */
	token_server_next(f->server, (struct token_reply){ .status = 503 });
	assert_int_equal(report(f, p, CANARY "-at-0", &err), 0);
	fixture_settle(f);
	assert_int_equal(report(f, p, CANARY "-at-0", &err), 0);
	assert_int_equal(token_server_requests(f->server), 1);
	/* It is served meanwhile, it may be all there is; and due. */
	assert_key(f, p, CANARY "-at-0");
	fixture_advance(f, MINUTE);
	assert_key(f, p, CANARY "-at-1");
	assert_int_equal(token_server_requests(f->server), 2);
	fixture_settle(f);

	token_server_next(f->server,
		(struct token_reply){ .status = 400, .body = "{\"error\":\"invalid_grant\"}" });
	assert_int_equal(report(f, p, CANARY "-at-1", &err), 0);
	fixture_settle(f);
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	assert_int_equal(report(f, p, CANARY "-at-1", &err), -EKEYREVOKED);
	assert_int_equal(token_server_requests(f->server), 3);
	/* An entry that holds a refresh token only. */
	assert_int_equal(fixture_write(f, p, LANE_OAUTH,
				 "{\"type\":\"oauth\",\"refresh\":\"" CANARY "-rt-1\"}"),
		0);
	fixture_advance(f, MINUTE);
	assert_int_equal(report(f, p, "x", &err), 0);
	fixture_settle(f);
	assert_key(f, p, CANARY "-at-2");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(status_has_every_field_and_no_secret),
		T(the_end_of_a_token_without_refresh),
		T(the_overview_has_everybody),
		T(metrics_count),
		T(events_tell_the_story),
		T(rejected_tokens_are_refreshed_once),
		T(some_reports_are_refused),
	};

	fixture_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
