#include "migrate_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/import/import.h"
#include "table.h"

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

static bool is(const cJSON *row, const char *member, const char *value)
{
	return strcmp(or_empty(json_str(row, member)), value) == 0;
}

bool migrate_has_failed(const cJSON *report)
{
	const cJSON *row;
	cJSON_ArrayForEach (row, json_at(report, "/files")) {
		if (is(row, "state", "unreadable") || is(row, "state", "corrupt"))
			return true;
	}
	cJSON_ArrayForEach (row, json_at(report, "/entries")) {
		if (is(row, "decision", "failed"))
			return true;
	}
	return false;
}

/* ---- files ---- */

static enum table_tone tone_of_file(const cJSON *file)
{
	if (is(file, "state", "found"))
		return TABLE_PLAIN;
	return is(file, "state", "absent") ? TABLE_DIM : TABLE_BAD;
}

static void add_file(struct table *t, const cJSON *file)
{
	char reason[256];
	int64_t offset;

	snprintf(reason, sizeof(reason), "%s", or_empty(json_str(file, "reason")));
	if (json_int(file, "offset", &offset)) {
		size_t len = strlen(reason);
		snprintf(reason + len, sizeof(reason) - len, "%sbyte %" PRId64, len ? ", " : "",
			offset);
	}
	const char *const cells[] = { json_str(file, "tool"), json_str(file, "path"),
		json_str(file, "state"), reason };
	table_add(t, tone_of_file(file), cells);
}

static int print_files(const cJSON *report)
{
	static const char *const heading[] = { "TOOL", "FILE", "STATE", "REASON" };
	const cJSON *files = json_at(report, "/files"), *file;
	struct table t;
	if (!cJSON_GetArraySize(files))
		return 0;
	table_init(&t, 4);
	table_add(&t, TABLE_DIM, heading);
	cJSON_ArrayForEach (file, files)
		add_file(&t, file);
	int r = table_print(&t, stdout);
	table_done(&t);
	return r;
}

/* ---- entries ---- */

static enum table_tone tone_of_entry(const cJSON *entry)
{
	if (is(entry, "decision", "failed"))
		return TABLE_BAD;
	if (is(entry, "decision", "imported") || is(entry, "decision", "taken") ||
		is(entry, "decision", "given_back"))
		return TABLE_GOOD;
	return is(entry, "decision", "already_there") ? TABLE_DIM : TABLE_PLAIN;
}

static void add_entry(struct table *t, const cJSON *entry)
{
	char decision[32];

	snprintf(decision, sizeof(decision), "%s", or_empty(json_str(entry, "decision")));
	for (char *c = decision; *c; c++)
		if (*c == '_')
			*c = ' ';
	const char *const cells[] = { json_str(entry, "tool"), json_str(entry, "name"),
		json_str(entry, "profile"), json_str(entry, "lane"), decision,
		json_str(entry, "path"), json_str(entry, "reason") };
	table_add(t, tone_of_entry(entry), cells);
}

static int print_entries(const cJSON *report)
{
	static const char *const heading[] = { "TOOL", "ENTRY", "PROFILE", "TYPE", "DECISION",
		"FILE", "REASON" };
	const cJSON *entries = json_at(report, "/entries"), *entry;
	struct table t;
	if (!cJSON_GetArraySize(entries))
		return 0;
	if (cJSON_GetArraySize(json_at(report, "/files")))
		putchar('\n');
	table_init(&t, 7);
	table_add(&t, TABLE_DIM, heading);
	cJSON_ArrayForEach (entry, entries)
		add_entry(&t, entry);
	int r = table_print(&t, stdout);
	table_done(&t);
	return r;
}

/* ---- what to do after a take-over ---- */

/* The tool's own name for the provider is the entry's, where that is a plain name. */
static bool is_plain(const char *name)
{
	return *name && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "0123456789._-") == strlen(name);
}

static void print_name(const cJSON *entry)
{
	const char *name = or_empty(json_str(entry, "name"));
	const char *profile = or_empty(json_str(entry, "profile"));
	if (is_plain(name))
		fputs(name, stdout);
	else
		printf("%.*s", (int)strcspn(profile, "@"), profile);
}

/* MOUNT/PROVIDER in a hint is the profile's directory, PROVIDER alone what the tool calls the provider. */
static void print_hint(const cJSON *entry, const char *hint, const char *mountpoint)
{
	static const char directory[] = "MOUNT/PROVIDER", provider[] = "PROVIDER";
	printf("  ");
	while (*hint) {
		if (strncmp(hint, directory, sizeof(directory) - 1) == 0) {
			printf("%s/%s", mountpoint, or_empty(json_str(entry, "profile")));
			hint += sizeof(directory) - 1;
		} else if (strncmp(hint, provider, sizeof(provider) - 1) == 0) {
			print_name(entry);
			hint += sizeof(provider) - 1;
		} else {
			putchar(*hint++);
		}
	}
	putchar('\n');
}

static void print_hints(const cJSON *report, const char *mountpoint)
{
	const cJSON *entry;
	bool any = false;
	cJSON_ArrayForEach (entry, json_at(report, "/entries")) {
		const struct importer *importer = importer_find(or_empty(json_str(entry, "tool")));
		if (!importer || !is(entry, "decision", "taken"))
			continue;
		if (!any)
			printf("\nWhat was taken over is served from %s. To point the tools "
			       "there:\n",
				mountpoint);
		any = true;
		printf("\n%s, %s:\n", importer->title, or_empty(json_str(entry, "profile")));
		if (importer->hint)
			print_hint(entry, importer->hint, mountpoint);
		else
			printf("  there is no way; piauth migrate --give-back %s undoes it\n",
				or_empty(json_str(entry, "profile")));
	}
}

int migrate_print(const cJSON *report, const char *mountpoint, struct pa_err *err)
{
	int64_t more = 0;
	int r = print_files(report);
	if (r == 0)
		r = print_entries(report);
	if (r < 0)
		return pa_fail(err, PA_SYSTEM, -r, "standard output: %s", strerror(-r));
	if (json_int(report, "more", &more) && more > 0)
		printf("\n%" PRId64 " more are not shown.\n", more);
	print_hints(report, mountpoint);
	return 0;
}
