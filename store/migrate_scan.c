/*
 * The look at all files of other tools: one call of the process that has the owner's rights. A file that
 * does not answer ends the call; the next one leaves it out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "migrate_i.h"

void found_done(struct found *f)
{
	cJSON_Delete(f->message);
	cJSON_Delete(f->entry);
	*f = (struct found){ 0 };
}

static void forget_found(struct run *run)
{
	while (run->nfound)
		found_done(&run->found[--run->nfound]);
	run->found_bytes = 0;
	run->lost = 0;
}

/* About what a value takes in memory. */
static size_t weight(const cJSON *value)
{
	size_t sum = sizeof(*value) + (value->string ? strlen(value->string) : 0) +
		     (value->valuestring ? strlen(value->valuestring) : 0);

	for (const cJSON *child = value->child; child; child = child->next)
		sum += weight(child);
	return sum;
}

static bool is_text(const char *text, size_t max)
{
	return text && strlen(text) <= max;
}

static int keep(struct run *run, const cJSON *message, struct pa_err *err)
{
	size_t bytes = weight(message);
	struct found *f;

	if (run->nfound >= MIGRATE_FOUND_MAX || run->found_bytes + bytes > MIGRATE_BYTES_MAX) {
		run->lost++;
		return 0;
	}
	if (run->nfound == run->found_room) {
		size_t room = run->found_room ? run->found_room * 2 : 64;
		struct found *more = reallocarray(run->found, room, sizeof(*more));

		if (!more)
			return pa_fail(err, PA_NO_MEMORY, 0, "entries of files");
		run->found = more;
		run->found_room = room;
	}
	f = &run->found[run->nfound];
	*f = (struct found){ .message = cJSON_Duplicate(message, true) };
	if (!f->message)
		return pa_fail(err, PA_NO_MEMORY, 0, "entries of files");
	f->tool = json_str(f->message, "tool");
	f->path = json_str(f->message, "path");
	f->name = json_str(f->message, "name");
	f->provider = json_str(f->message, "provider");
	f->part = json_str(f->message, "profile");
	f->refused = json_str(f->message, "refused");
	f->linkable = json_bool(f->message, "linkable", false);
	if (!is_text(f->tool, LINK_TEXT_MAX) || !is_text(f->path, 4096) ||
		!is_text(f->name, LINK_TEXT_MAX)) {
		found_done(f);
		return pa_fail(err, PA_FILE_UNUSABLE, 0, "an entry without file and name");
	}
	run->nfound++;
	run->found_bytes += bytes;
	return 0;
}

static int look_at(struct run *run, const cJSON *message, struct pa_err *err)
{
	const char *tool = json_str(message, "tool"), *path = json_str(message, "path");

	free(run->looking_tool);
	free(run->looking_path);
	run->looking_tool = tool ? strdup(tool) : NULL;
	run->looking_path = path ? strdup(path) : NULL;
	if (!run->looking_tool || !run->looking_path)
		return pa_fail(err, PA_FILE_UNUSABLE, 0, "a look at no file");
	return 0;
}

static int take_file(struct run *run, const cJSON *message, struct pa_err *err)
{
	const char *tool = json_str(message, "tool"), *path = json_str(message, "path");
	const char *state = json_str(message, "state");
	int64_t offset = -1;

	if (!tool || !path || !state)
		return pa_fail(err, PA_FILE_UNUSABLE, 0, "a file without a name");
	if (json_int(message, "offset", &offset) && offset < 0)
		offset = -1;
	report_file(&run->report, tool, path, state, json_str(message, "reason"), offset);
	return 0;
}

static void scan_message(void *arg, const cJSON *message, int fd)
{
	struct run *run = arg;
	const char *m = json_str(message, "m");
	struct pa_err err;
	int rc = 0;

	if (fd >= 0)
		close(fd);
	if (!m) {
		rc = pa_fail(&err, PA_FILE_UNUSABLE, 0, "an answer without a kind");
	} else if (!strcmp(m, "looking")) {
		rc = look_at(run, message, &err);
	} else if (!strcmp(m, "file")) {
		rc = take_file(run, message, &err);
	} else if (!strcmp(m, "entry")) {
		rc = keep(run, message, &err);
	} else if (!strcmp(m, "error")) {
		const char *reason = json_str(message, "reason");

		rc = pa_fail(&err, PA_FILE_UNUSABLE, 0, "%s", reason ? reason : "");
	} else if (!strcmp(m, "end")) {
		run_hang_up(run);
		run->looked = true;
		run->report.more += run->lost;
		run_step(run->m);
		return;
	}
	if (rc < 0)
		run_fail(run, &err);
}

/* Whatever ended the process was the file it looked at; the others are looked at again without it. */
static int leave_out(struct run *run, const struct pa_err *why, struct pa_err *err)
{
	cJSON *path = cJSON_CreateString(run->looking_path), *row = cJSON_CreateObject();
	char reason[160];

	snprintf(reason, sizeof(reason), "%s",
		why->code == PA_FILE_SILENT ? "no answer within 5 s"
					    : "the process that read it ended");
	if (!path || !row || !cJSON_AddStringToObject(row, "tool", run->looking_tool) ||
		!cJSON_AddStringToObject(row, "path", run->looking_path) ||
		!cJSON_AddStringToObject(row, "reason", reason)) {
		cJSON_Delete(path);
		cJSON_Delete(row);
		return pa_fail(err, PA_NO_MEMORY, 0, "report");
	}
	cJSON_AddItemToArray(run->skip, path);
	cJSON_AddItemToArray(run->silent, row);
	return 0;
}

static void scan_gone(void *arg, const struct pa_err *why)
{
	struct run *run = arg;
	struct pa_err err;

	run->call = NULL;
	if (!run->looking_path || cJSON_GetArraySize(run->skip) >= MIGRATE_SILENT_MAX) {
		run_fail(run, why);
		return;
	}
	if (leave_out(run, why, &err) < 0)
		run_fail(run, &err);
	else
		scan_start(run);
}

static cJSON *scan_request(const struct run *run)
{
	cJSON *o = cJSON_CreateObject(), *skip = cJSON_Duplicate(run->skip, true);
	bool whole = o && cJSON_AddStringToObject(o, "op", "scan") &&
		     (!run->from || cJSON_AddStringToObject(o, "from", run->from));

	if (whole && skip && cJSON_AddItemToObject(o, "skip", skip))
		return o;
	cJSON_Delete(o);
	cJSON_Delete(skip);
	return NULL;
}

void scan_start(struct run *run)
{
	static const struct legacy_handler handler = { scan_message, scan_gone };
	JSON_AUTO cJSON *request = NULL;
	struct pa_err err = { 0 };
	const cJSON *row;
	int rc;

	forget_found(run);
	report_done(&run->report);
	if ((rc = report_new(&run->report, &err)) == 0 && !run->skip) {
		run->skip = cJSON_CreateArray();
		run->silent = cJSON_CreateArray();
	}
	if (rc == 0 && (!run->skip || !run->silent || !(request = scan_request(run))))
		rc = pa_fail(&err, PA_NO_MEMORY, 0, "files of other programs");
	if (rc == 0) {
		cJSON_ArrayForEach (row, run->silent)
			report_file(&run->report, json_str(row, "tool"), json_str(row, "path"),
				"unreadable", json_str(row, "reason"), -1);
		free(run->looking_tool);
		free(run->looking_path);
		run->looking_tool = run->looking_path = NULL;
		rc = run_call(run, request, MIGRATE_SILENCE_MS, &handler, &err);
	}
	if (rc < 0)
		run_fail(run, &err);
}
