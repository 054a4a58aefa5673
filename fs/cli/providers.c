#include "providers.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "offline.h"
#include "store/secret.h"
#include "table.h"

#define DEFAULT_HEADER "Authorization: Bearer {key}"

/* The JSON text of the table, in wiping memory. */
static int load_text(const struct client *c, char **ret, size_t *ret_len, struct pa_err *err)
{
	if (c->mounted == CLI_MOUNTED)
		return client_read(c, NULL, ".piauth/providers.json", ret, ret_len, err);
	OFFLINE_AUTO struct offline o;
	int r = offline_tables(&o, &c->paths, err);
	if (r < 0)
		return r;
	char *text = provider_table_json(o.providers);
	if (!text)
		return pa_fail(err, PA_NO_MEMORY, 0, "provider table");
	*ret = text;
	*ret_len = strlen(text);
	return 0;
}

int providers_load(const struct client *c, cJSON **ret, struct pa_err *err)
{
	WIPE_AUTO char *text = NULL;
	size_t len;
	int r = load_text(c, &text, &len, err);
	return r < 0 ? r : json_parse(text, len, PA_NET_ANSWER, ret, NULL, err);
}

const cJSON *providers_by_profile(const cJSON *table, const char *profile)
{
	size_t len = strcspn(profile, "@");
	const cJSON *item;
	cJSON_ArrayForEach (item, table) {
		if (strncmp(item->string, profile, len) == 0 && !item->string[len])
			return item;
	}
	return NULL;
}

/* ---- names that come close ---- */

/* Insertions, deletions, replacements and swaps of neighbours (optimal string alignment), without regard to
 * case. b is at most PROFILE_ID_MAX long. */
static unsigned edits_between(const char *a, const char *b)
{
	unsigned rows[3][PROFILE_ID_MAX + 1];
	unsigned *before = rows[0], *last = rows[1], *row = rows[2];
	size_t n = strlen(b);
	for (size_t j = 0; j <= n; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; a[i - 1]; i++) {
		int ca = tolower((unsigned char)a[i - 1]);
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= n; j++) {
			int cb = tolower((unsigned char)b[j - 1]);
			unsigned best = last[j - 1] + (ca != cb);
			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
				cb == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
		unsigned *oldest = before;
		before = last;
		last = row;
		row = oldest;
	}
	return last[n];
}

/* Lower is closer; 0: not close. */
static unsigned distance(const char *wanted, const char *candidate)
{
	size_t len = strlen(wanted);
	if (strlen(candidate) > PROFILE_ID_MAX)
		return 0;
	unsigned edits = edits_between(wanted, candidate);
	if (strncasecmp(wanted, candidate, len) == 0)
		return 1 + edits;
	if (len >= 3 && strcasestr(candidate, wanted))
		return 1000 + edits;
	/* One slip in a short name, two in a longer one. */
	if (len >= 3 && edits <= (len < 6 ? 1 : 2))
		return 2000 + edits;
	return 0;
}

unsigned providers_close(
	const cJSON *table, const char *name, const char *ret[static PROVIDERS_CLOSE])
{
	unsigned score[PROVIDERS_CLOSE], n = 0;
	char wanted[PROFILE_ID_MAX + 1];
	const cJSON *item, *alias;
	snprintf(wanted, sizeof(wanted), "%.*s", (int)strcspn(name, "@:"), name);
	if (!wanted[0])
		return 0;

	cJSON_ArrayForEach (item, table) {
		const char *best_name = item->string;
		unsigned best = distance(wanted, item->string);
		cJSON_ArrayForEach (alias, json_at(item, "/aliases")) {
			unsigned d =
				cJSON_IsString(alias) ? distance(wanted, alias->valuestring) : 0;
			if (d && (!best || d < best)) {
				best = d;
				best_name = alias->valuestring;
			}
		}
		if (!best)
			continue;
		unsigned at = n; /* one name per provider, kept in order; the last one falls out */
		while (at > 0 && score[at - 1] > best)
			at--;
		if (at == PROVIDERS_CLOSE)
			continue;
		unsigned last = n < PROVIDERS_CLOSE ? n++ : PROVIDERS_CLOSE - 1;
		for (unsigned i = last; i > at; i--) {
			score[i] = score[i - 1];
			ret[i] = ret[i - 1];
		}
		score[at] = best;
		ret[at] = best_name;
	}
	return n;
}

/* ---- the command ---- */

/* Strings of an array, joined by ", "; malloc'ed. */
static char *joined(const cJSON *array)
{
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);
	const cJSON *item;
	if (!to)
		return NULL;
	cJSON_ArrayForEach (item, array) {
		if (cJSON_IsString(item))
			fprintf(to, "%s%s", item == array->child ? "" : ", ", item->valuestring);
	}
	if (fclose(to) == 0)
		return text;
	free(text);
	return NULL;
}

/* "x-api-key: {key}" is style x-api-key, "Authorization: Bearer {key}" is Authorization: Bearer. */
static char *header_style(const cJSON *provider)
{
	const char *header = cJSON_GetStringValue(json_at(provider, "/header/0"));
	if (!header)
		header = DEFAULT_HEADER;
	const char *key = strchr(header, '{');
	size_t len = key ? (size_t)(key - header) : strlen(header);
	while (len && (header[len - 1] == ' ' || header[len - 1] == ':'))
		len--;
	return strndup(header, len);
}

static int print_table(const cJSON *table, struct pa_err *err)
{
	static const char *const heading[] = { "PROVIDER", "ENVIRONMENT", "HEADER", "KEY PAGE" };
	const cJSON *item;
	struct table t;

	table_init(&t, 4);
	table_add(&t, TABLE_DIM, heading);
	cJSON_ArrayForEach (item, table) {
		char *env = joined(json_at(item, "/env"));
		char *header = header_style(item);
		const char *const cells[] = { item->string, env, header,
			json_str(item, "key_url") };
		if (!env || !header)
			t.failed = true;
		table_add(&t, TABLE_PLAIN, cells);
		free(env);
		free(header);
	}
	int r = table_print(&t, stdout);
	table_done(&t);
	return r < 0 ? pa_fail(err, PA_SYSTEM, -r, "standard output: %s", strerror(-r)) : 0;
}

int cli_providers(int argc, char **argv)
{
	CLIENT_AUTO struct client c;
	WIPE_AUTO char *text = NULL;
	JSON_AUTO cJSON *table = NULL;
	struct pa_err err;
	size_t len;

	int code = client_begin(&c, argc, argv, CLIENT_JSON);
	if (code >= 0)
		return code;
	if (c.operands)
		return cli_usage(argv[0]);
	int r = load_text(&c, &text, &len, &err);
	if (r == 0 && c.json) {
		r = client_print(text, len, &err);
	} else if (r == 0) {
		r = json_parse(text, len, PA_NET_ANSWER, &table, NULL, &err);
		if (r == 0)
			r = print_table(table, &err);
	}
	return r < 0 ? cli_fail(NULL, &err) : CLI_DONE;
}
