#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "offline.h"
#include "table.h"
#include "store/secret.h"

/* The overview has every known provider; a row is for one with a credential or with something wrong. */
static bool is_worth_a_row(const cJSON *status)
{
	const char *auth = json_str(status, "auth_state");
	const char *code = json_str(json_at(status, "/last_error"), "diagnostic_code");
	return (auth && strcmp(auth, "none") != 0) ||
	       (code && strcmp(code, pa_wire(PA_NO_KEY)) != 0);
}

static enum table_tone tone_of(const char *state)
{
	if (strcmp(state, "valid") == 0)
		return TABLE_GOOD;
	if (strcmp(state, "refreshing") == 0 || strcmp(state, "none") == 0)
		return TABLE_PLAIN;
	return TABLE_BAD;
}

static void add_row(struct table *t, const cJSON *status, int64_t now_ms)
{
	const char *profile = json_str(status, "profile");
	const char *auth = json_str(status, "auth_state");
	const char *state = json_str(status, "state");
	const char *note = json_str(json_at(status, "/last_error"), "diagnostic_code");
	char expires[32] = "never";
	int64_t at_ms;

	bool stored = auth && strcmp(auth, "none") != 0;
	if (json_int(status, "expires_ms", &at_ms) && at_ms > 0)
		table_relative(at_ms, now_ms, expires);
	const char *const cells[] = { profile, auth, state, stored ? expires : "", note };
	table_add(t, tone_of(state ? state : ""), cells);
}

static int print_table(const cJSON *status, struct pa_err *err)
{
	static const char *const heading[] = { "PROFILE", "AUTH", "STATE", "EXPIRES",
		"LAST ERROR" };
	int64_t now_ms = table_now_ms();
	struct table t;
	const cJSON *item;

	table_init(&t, 5);
	table_add(&t, TABLE_DIM, heading);
	if (cJSON_IsArray(status)) {
		cJSON_ArrayForEach (item, status) {
			if (is_worth_a_row(item))
				add_row(&t, item, now_ms);
		}
	} else {
		add_row(&t, status, now_ms);
	}
	int r = 0;
	if (t.rows > 1 || t.failed)
		r = table_print(&t, stdout);
	else
		fprintf(stderr,
			"piauth: no credential is stored; see piauth set, piauth providers\n");
	table_done(&t);
	return r < 0 ? pa_fail(err, PA_SYSTEM, -r, "standard output: %s", strerror(-r)) : 0;
}

/* What stands behind the state, in sentences. */
static void print_last_error(const cJSON *status)
{
	const cJSON *last = json_at(status, "/last_error"), *hint;
	const char *summary = json_str(last, "summary");
	const char *details = json_str(json_at(last, "/context"), "details");
	const char *remedy = json_str(last, "diagnostic_remediation");
	const char *state = json_str(status, "state");
	/* That nothing is stored is so now, and says nothing about when. */
	const char *at = state && strcmp(state, "none") == 0 ? NULL : json_str(last, "at");
	int64_t http;
	if (!summary)
		return;
	printf("\n%s", summary);
	const char *profile = json_str(status, "profile");
	if (details && profile && strcmp(details, profile) != 0)
		printf(" %s", details);
	if (json_int(last, "http_status", &http) && http > 0)
		printf(" (HTTP %" PRId64 ")", http);
	printf("%s%s\n", at ? " Last seen " : "", at ? at : "");
	if (remedy)
		printf("%s\n", remedy);
	cJSON_ArrayForEach (hint, json_at(last, "/hints")) {
		if (cJSON_IsString(hint))
			printf("  %s\n", hint->valuestring);
	}
}

int cli_status(int argc, char **argv)
{
	CLIENT_AUTO struct client c;
	WIPE_AUTO char *text = NULL;
	JSON_AUTO cJSON *status = NULL;
	struct pa_err err;
	size_t len;

	int code = client_begin(&c, argc, argv, CLIENT_JSON);
	if (code >= 0)
		return code;
	if (c.operands > 1)
		return cli_usage(argv[0]);
	const char *profile = c.operands ? c.operand[0] : NULL;
	code = client_way_in(&c, true);
	if (code >= 0)
		return code;

	int r = client_status(&c, profile, &text, &len, &err);
	if (r == 0)
		r = json_parse(text, len, PA_NET_ANSWER, &status, NULL, &err);
	if (r < 0)
		return client_fail(&c, profile, &err);
	if (c.json) {
		r = client_print(text, len, &err);
	} else {
		r = print_table(status, &err);
		if (r == 0 && profile)
			print_last_error(status);
	}
	if (r < 0)
		return cli_fail(profile, &err);
	const char *state = profile ? json_str(status, "state") : NULL;
	return state && strcmp(state, "none") == 0 ? CLI_NOT_LOGGED_IN : CLI_DONE;
}
