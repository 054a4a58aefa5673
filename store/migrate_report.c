/* What was looked at and decided, as JSON, and as the record that remembers it. No secret in any of it. */
#include <stdio.h>

#include "migrate_i.h"

#define RECORD_FORMAT 1

static const char *const state_names[] = {
	[MIGRATE_PENDING] = "pending",
	[MIGRATE_MIGRATED] = "migrated",
	[MIGRATE_SKIPPED] = "skipped",
	[MIGRATE_NOT_NEEDED] = "not_needed",
};

static const char *const decision_names[] = {
	[DECISION_IMPORTED] = "imported",
	[DECISION_ALREADY_THERE] = "already_there",
	[DECISION_NEWER_HERE] = "newer_here",
	[DECISION_NEWER_THERE] = "newer_there",
	[DECISION_REFUSED] = "refused",
	[DECISION_TAKEN] = "taken",
	[DECISION_GIVEN_BACK] = "given_back",
	[DECISION_FAILED] = "failed",
};

const char *migrate_state_name(enum migrate_state s)
{
	return state_names[s];
}

bool migrate_state_parse(const char *text, enum migrate_state *ret)
{
	for (size_t i = 0; text && i < sizeof(state_names) / sizeof(*state_names); i++) {
		if (!strcmp(text, state_names[i])) {
			*ret = (enum migrate_state)i;
			return true;
		}
	}
	return false;
}

int report_new(struct report *rp, struct pa_err *err)
{
	*rp = (struct report){ .files = cJSON_CreateArray(), .entries = cJSON_CreateArray() };
	if (rp->files && rp->entries)
		return 0;
	report_done(rp);
	return pa_fail(err, PA_NO_MEMORY, 0, "report");
}

void report_done(struct report *rp)
{
	cJSON_Delete(rp->files);
	cJSON_Delete(rp->entries);
	*rp = (struct report){ 0 };
}

/* Adds row (taken, also where it does not fit) to the array. */
static void report_row(struct report *rp, cJSON *array, cJSON *row)
{
	WIPE_AUTO char *text = row ? json_text(row) : NULL;
	size_t len = text ? strlen(text) + 1 : 0;

	if (!text || rp->len + len > REPORT_TEXT_MAX || rp->n >= REPORT_ROWS_MAX) {
		cJSON_Delete(row);
		rp->more++;
		return;
	}
	rp->len += len;
	rp->n++;
	cJSON_AddItemToArray(array, row);
}

static void add_str(cJSON **row, const char *name, const char *value)
{
	if (*row && value && !cJSON_AddStringToObject(*row, name, value)) {
		cJSON_Delete(*row);
		*row = NULL;
	}
}

static const char *unless_empty(const char *text)
{
	return text && *text ? text : NULL;
}

void report_file(struct report *rp, const char *tool, const char *path, const char *state,
	const char *reason, int64_t offset)
{
	cJSON *row = cJSON_CreateObject();

	add_str(&row, "tool", tool);
	add_str(&row, "path", path);
	add_str(&row, "state", state);
	add_str(&row, "reason", unless_empty(reason));
	if (row && offset >= 0)
		cJSON_AddNumberToObject(row, "offset", (double)offset);
	report_row(rp, rp->files, row);
}

void report_entry(struct report *rp, const char *tool, const char *path, const char *name,
	const char *profile, const char *lane, enum decision decision, const char *reason)
{
	cJSON *row = cJSON_CreateObject();

	add_str(&row, "tool", tool);
	add_str(&row, "path", path);
	add_str(&row, "name", name);
	add_str(&row, "profile", unless_empty(profile));
	add_str(&row, "lane", unless_empty(lane));
	add_str(&row, "decision", decision_names[decision]);
	add_str(&row, "reason", unless_empty(reason));
	report_row(rp, rp->entries, row);
}

int report_close(struct report *rp, const char *state, const char *command, bool dry_run,
	int64_t at_ms, const char *error, cJSON **ret, struct pa_err *err)
{
	cJSON *o = cJSON_CreateObject();
	bool whole = o && cJSON_AddStringToObject(o, "state", state) &&
		     cJSON_AddNumberToObject(o, "at", (double)at_ms) &&
		     cJSON_AddStringToObject(o, "command", command) &&
		     cJSON_AddBoolToObject(o, "dry_run", dry_run) &&
		     (!error || !*error || cJSON_AddStringToObject(o, "error", error)) &&
		     rp->files && cJSON_AddItemToObject(o, "files", rp->files);

	if (whole) {
		rp->files = NULL;
		whole = rp->entries && cJSON_AddItemToObject(o, "entries", rp->entries);
	}
	if (whole) {
		rp->entries = NULL;
		whole = cJSON_AddNumberToObject(o, "more", (double)rp->more);
	}
	report_done(rp);
	if (!whole) {
		cJSON_Delete(o);
		return pa_fail(err, PA_NO_MEMORY, 0, "report");
	}
	*ret = o;
	return 0;
}

int report_to_record(
	const cJSON *report, uint64_t generation, char **ret, size_t *ret_len, struct pa_err *err)
{
	JSON_AUTO cJSON *root = cJSON_CreateObject();
	cJSON *copy;
	int rc;

	if (!root || !(copy = cJSON_Duplicate(report, true)))
		return pa_fail(err, PA_NO_MEMORY, 0, "report");
	if ((rc = json_set(root, "report", copy, err)) < 0 ||
		(rc = json_set_int(root, "format", RECORD_FORMAT, err)) < 0 ||
		(rc = json_set_str(root, "profile", MIGRATE_RECORD, err)) < 0 ||
		(rc = json_set_int(root, "generation", (int64_t)generation, err)) < 0)
		return rc;
	if (!(*ret = json_text(root)))
		return pa_fail(err, PA_NO_MEMORY, 0, "report");
	*ret_len = strlen(*ret);
	return 0;
}

int report_from_record(
	const char *text, size_t len, cJSON **ret, uint64_t *ret_generation, struct pa_err *err)
{
	JSON_AUTO cJSON *root = NULL;
	enum migrate_state state;
	const cJSON *report;
	int64_t generation;
	int rc;

	if ((rc = json_parse(text, len, PA_STORE_CORRUPT, &root, NULL, err)) < 0)
		return rc;
	report = json_at(root, "/report");
	if (!report || !cJSON_IsArray(json_at(report, "/files")) ||
		!cJSON_IsArray(json_at(report, "/entries")) ||
		!migrate_state_parse(json_str(report, "state"), &state) ||
		!json_int(root, "generation", &generation) || generation < 0)
		return pa_fail(err, PA_STORE_CORRUPT, 0, "not the record of an import");
	*ret = cJSON_DetachItemFromObjectCaseSensitive(root, "report");
	*ret_generation = (uint64_t)generation;
	return 0;
}
