/*
 * Take-over and give-back: the secrets go out of the files of other tools, or into them again, file by file
 * under the tool's lock.
 *
 * An entry that vanishes from a linked file is a logout. So the record says "taken" before the entry goes,
 * and "on" only after it is back: whatever ends this in between, no login is lost.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "migrate_i.h"

/* ---- what is to be moved ---- */

static void transfer_done(struct transfer *t)
{
	free(t->profile);
	free(t->tool);
	free(t->path);
	free(t->name);
	wipe_free(t->expect);
	cJSON_Delete(t->entry);
	*t = (struct transfer){ 0 };
}

void transfers_done(struct run *run)
{
	for (size_t i = 0; i < run->ntransfer; i++)
		transfer_done(&run->transfer[i]);
	free(run->transfer);
}

static int transfer_add(
	struct run *run, const char *profile, const struct link *l, struct pa_err *err)
{
	struct transfer *more = reallocarray(run->transfer, run->ntransfer + 1, sizeof(*more));
	struct transfer *t;

	if (!more)
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", profile);
	run->transfer = more;
	t = &more[run->ntransfer++];
	*t = (struct transfer){
		.profile = strdup(profile),
		.tool = strdup(l->tool),
		.path = strdup(l->path),
		.name = strdup(l->name),
		.lane = l->lane,
	};
	if (!t->profile || !t->tool || !t->path || !t->name)
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", profile);
	return 0;
}

static int collect_profile(struct run *run, const struct profile *p, struct pa_err *err)
{
	enum link_state wanted = run->verb == MIGRATE_TAKE_OVER ? LINK_ON : LINK_TAKEN;
	RECORD_AUTO struct record r = { 0 };
	struct link l;
	int rc = profile_open(p, &r, err);

	for (size_t i = 0; rc == 0 && link_at(&r, i, &l); i++) {
		if (l.state == wanted && record_lane(&r, l.lane))
			rc = transfer_add(run, p->name, &l, err);
	}
	return rc;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct transfer *)a)->path, ((const struct transfer *)b)->path);
}

int transfers_collect(struct run *run, struct pa_err *err)
{
	struct broker *b = run->m->b;
	int rc = report_new(&run->report, err);

	for (size_t i = 0; rc == 0 && i < b->by_name.n; i++) {
		const struct profile *p = b->by_name.v[i];

		if (p->facts.links_text && run_wants(run, p->name))
			rc = collect_profile(run, p, err);
	}
	if (rc == 0 && run->ntransfer)
		qsort(run->transfer, run->ntransfer, sizeof(*run->transfer), by_path);
	return rc;
}

/* ---- one entry ---- */

static void settle(struct run *run, struct transfer *t, enum decision decision)
{
	t->over = true;
	report_entry(&run->report, t->tool, t->path, t->name, t->profile, lane_name(t->lane),
		decision, t->reason);
}

static void fail(struct run *run, struct transfer *t, const char *why)
{
	if (!*t->reason)
		snprintf(t->reason, sizeof(t->reason), "%s",
			*why ? why : "the file could not be changed");
	settle(run, t, DECISION_FAILED);
}

static const char *token_of(const cJSON *entry, enum lane lane)
{
	const char *token = json_str(entry, lane == LANE_OAUTH ? "refresh" : "key");

	return token ? token : "";
}

static int link_of(
	const struct record *r, const struct transfer *t, struct link *ret, struct pa_err *err)
{
	for (size_t i = 0; link_at(r, i, ret); i++) {
		if (ret->lane == t->lane && !strcmp(ret->path, t->path) &&
			!strcmp(ret->name, t->name))
			return 0;
	}
	return pa_fail(err, PA_BUSY, 0, "it has changed meanwhile");
}

/* What the file has may go if it is ours: the current token, or an older one of the family. */
static int expect(
	const struct commit *c, struct transfer *t, const struct record *r, struct pa_err *err)
{
	const char *ours = token_of(record_lane(r, t->lane), t->lane);
	const char *theirs = token_of(t->entry, t->lane);
	char proof[LINK_PROOF_LEN + 1];
	int rc;

	if (!*theirs || strcmp(ours, theirs)) {
		rc = vault_proof(c->p->b->vault, theirs, strlen(theirs), proof, err);
		if (rc < 0)
			return rc;
		if (!*theirs || t->lane != LANE_OAUTH || !link_knows(r, proof))
			return pa_fail(err, PA_BUSY, 0, "the file holds another credential");
	}
	wipe_free(t->expect);
	if (!(t->expect = wipe_strdup(theirs)))
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", t->profile);
	return 0;
}

static struct transfer *transfer_of(const struct commit *c)
{
	const struct migrate_wait *w = c->arg;

	return w->m && w->m->run ? &w->m->run->transfer[w->m->run->at] : NULL;
}

static int set_state(struct record *r, struct link *l, enum link_state s, struct pa_err *err)
{
	l->state = s;
	l->note = l->proof = "";
	return link_set(r, l, err);
}

static int apply_taken(struct commit *c, struct record *r, struct pa_err *err)
{
	struct transfer *t = transfer_of(c);
	struct link l;
	int rc;

	if (!t)
		return -ECANCELED;
	if ((rc = link_of(r, t, &l, err)) < 0)
		return rc;
	if (l.state != LINK_ON || !record_lane(r, t->lane))
		return pa_fail(err, PA_BUSY, 0, "it has changed meanwhile");
	if (t->entry && (rc = expect(c, t, r, err)) < 0)
		return rc;
	return set_state(r, &l, LINK_TAKEN, err);
}

static int apply_on(struct commit *c, struct record *r, struct pa_err *err)
{
	struct transfer *t = transfer_of(c);
	struct link l;
	int rc;

	if (!t)
		return -ECANCELED;
	if ((rc = link_of(r, t, &l, err)) < 0)
		return rc;
	if (l.state != LINK_TAKEN || !record_lane(r, t->lane))
		return pa_fail(err, PA_BUSY, 0, "it has changed meanwhile");
	return set_state(r, &l, LINK_ON, err);
}

/* Starts a commit on t's record; false: it could not be, and t is over. */
static bool start(struct run *run, struct transfer *t,
	int (*apply)(struct commit *c, struct record *r, struct pa_err *err),
	void (*done)(struct commit *c, int r, const struct pa_err *err))
{
	struct profile *p = profile_by_name(run->m->b, t->profile);
	struct commit *c = p ? commit_new(p, COMMIT_SAVE, apply, NULL, NULL) : NULL;

	if (!c || !(c->arg = run_wait(run))) {
		free(c);
		fail(run, t, p ? pa_summary(PA_NO_MEMORY) : "the profile is gone");
		return false;
	}
	c->done = done;
	commit_start(c);
	return true;
}

/* The file is as we want it, and now the record says so. */
static void on_again(struct commit *c, int r, const struct pa_err *err)
{
	struct broker *b = c->p->b;
	const struct profile *p = c->p;
	struct run *run = run_waited(c->arg);
	struct transfer *t;

	if (!run)
		return;
	t = &run->transfer[run->at];
	if (r < 0) {
		fail(run, t, err->detail);
	} else if (run->verb == MIGRATE_GIVE_BACK) {
		broker_event(b, p, "given_back", NULL);
		settle(run, t, DECISION_GIVEN_BACK);
	} else {
		fail(run, t, "");
	}
	run_step(run->m);
}

static void taken(struct run *run, struct transfer *t, const char *note)
{
	const struct profile *p = profile_by_name(run->m->b, t->profile);

	snprintf(t->reason, sizeof(t->reason), "%s", note);
	settle(run, t, DECISION_TAKEN);
	if (p)
		broker_event(run->m->b, p, "taken_over", NULL);
}

/* A request about one entry. entry: NULL for a removal; taken. */
static int send_about(struct run *run, const struct transfer *t, const char *op,
	const char *expected, cJSON *entry, struct pa_err *err)
{
	JSON_AUTO cJSON *o = cJSON_CreateObject();
	bool whole = o && cJSON_AddStringToObject(o, "op", op) &&
		     cJSON_AddStringToObject(o, "tool", t->tool) &&
		     cJSON_AddStringToObject(o, "path", t->path) &&
		     cJSON_AddStringToObject(o, "name", t->name) &&
		     cJSON_AddStringToObject(o, "lane", lane_name(t->lane)) &&
		     cJSON_AddStringToObject(o, "expect", expected);

	if (whole && entry) {
		whole = cJSON_AddItemToObject(o, "entry", entry);
		entry = whole ? NULL : entry;
	} else if (whole) {
		whole = cJSON_AddBoolToObject(o, "backup", run->backup);
	}
	cJSON_Delete(entry);
	if (!whole)
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", t->profile);
	return legacy_call_send(run->call, o, MIGRATE_WRITE_MS, err);
}

static void marked_taken(struct commit *c, int r, const struct pa_err *err)
{
	struct run *run = run_waited(c->arg);
	struct transfer *t;
	struct pa_err why;

	if (!run)
		return;
	t = &run->transfer[run->at];
	if (r < 0) {
		fail(run, t, err->detail);
	} else if (!t->entry) {
		taken(run, t, "it was not there any more");
	} else if (!run->call) {
		/* The process went meanwhile: nothing was removed. */
		snprintf(t->reason, sizeof(t->reason), "the file does not answer");
		if (start(run, t, apply_on, on_again))
			return;
	} else if (send_about(run, t, "drop", t->expect, NULL, &why) < 0) {
		snprintf(t->reason, sizeof(t->reason), "%s", why.detail);
		if (start(run, t, apply_on, on_again))
			return;
	} else {
		t->asked = true;
	}
	run_step(run->m);
}

/* As other tools know it: without what is ours alone. */
static cJSON *entry_for_file(
	const struct profile *p, enum lane lane, const cJSON *entry, struct pa_err *err)
{
	cJSON *copy;

	if (lane == LANE_OAUTH)
		return linked_file_entry(p, entry, err);
	if (!(copy = cJSON_Duplicate(entry, true)))
		pa_fail(err, PA_NO_MEMORY, 0, "%s", p->name);
	else
		json_drop(copy, "set");
	return copy;
}

static int give(struct run *run, struct transfer *t, struct pa_err *err)
{
	const struct profile *p = profile_by_name(run->m->b, t->profile);
	RECORD_AUTO struct record r = { 0 };
	const cJSON *ours;
	cJSON *entry;
	int rc;

	if (!p)
		return pa_fail(err, PA_BUSY, 0, "the profile is gone");
	if ((rc = profile_open(p, &r, err)) < 0)
		return rc;
	if (!(ours = record_lane(&r, t->lane)))
		return pa_fail(err, PA_NO_KEY, 0, "logged out here");
	if (t->entry && !strcmp(token_of(ours, t->lane), token_of(t->entry, t->lane))) {
		(void)start(run, t, apply_on, on_again);
		return 0;
	}
	if (t->entry)
		return pa_fail(err, PA_BUSY, 0, "the file holds another credential");
	if (!(entry = entry_for_file(p, t->lane, ours, err)))
		return -err->errnum;
	if ((rc = send_about(run, t, "put", "", entry, err)) == 0)
		t->asked = true;
	return rc;
}

static bool is_unsaved(const struct run *run, const struct transfer *t)
{
	const struct profile *p = profile_by_name(run->m->b, t->profile);

	return p && p->unsaved;
}

static void begin(struct run *run, struct transfer *t)
{
	struct pa_err err = { 0 };

	if (is_unsaved(run, t))
		fail(run, t, "the login is in memory only: it could not be written to the store");
	else if (run->verb == MIGRATE_TAKE_OVER)
		(void)start(run, t, apply_taken, marked_taken);
	else if (give(run, t, &err) < 0)
		fail(run, t, err.detail);
}

/* ---- one file ---- */

static void take_file(struct run *run, const cJSON *message)
{
	const struct transfer *t = &run->transfer[run->group];
	const char *state = json_str(message, "state"), *lock = json_str(message, "lock");
	const char *reason = json_str(message, "reason");

	state = state ? state : "unreadable";
	report_file(&run->report, t->tool, t->path, state, reason, -1);
	if (lock && !strcmp(lock, "busy"))
		snprintf(run->refusal, sizeof(run->refusal), "another program holds its lock");
	else if (strcmp(state, "found") && strcmp(state, "absent"))
		snprintf(run->refusal, sizeof(run->refusal), "the file is %s: %s", state,
			reason ? reason : "");
}

static void take_entry(struct run *run, const cJSON *message)
{
	const char *name = json_str(message, "name");
	const cJSON *entry = cJSON_GetObjectItemCaseSensitive(message, "entry");

	for (size_t i = run->group; name && entry && i < run->group_end; i++) {
		struct transfer *t = &run->transfer[i];
		const char *type = json_str(entry, "type");

		if (strcmp(t->name, name) || t->entry || !type || strcmp(type, lane_name(t->lane)))
			continue;
		if (!(t->entry = cJSON_Duplicate(entry, true)))
			snprintf(
				run->refusal, sizeof(run->refusal), "%s", pa_summary(PA_NO_MEMORY));
	}
}

/* The answer to what the current entry asked for. */
static void take_result(struct run *run, const cJSON *message)
{
	struct transfer *t = &run->transfer[run->at];
	const char *result = json_str(message, "result"), *reason = json_str(message, "reason");

	if (!t->asked || t->over)
		return;
	t->asked = false;
	legacy_call_rest(run->call);
	if (result && !strcmp(result, "written")) {
		if (run->verb == MIGRATE_TAKE_OVER)
			taken(run, t, "");
		else
			(void)start(run, t, apply_on, on_again);
	} else {
		snprintf(t->reason, sizeof(t->reason), "%s",
			result && !strcmp(result, "overtaken") ? "the file holds another credential"
			: reason && *reason                    ? reason
							       : "");
		if (run->verb == MIGRATE_TAKE_OVER)
			(void)start(run, t, apply_on, on_again);
		else
			fail(run, t, t->reason);
	}
	run_step(run->m);
}

static void files_message(void *arg, const cJSON *message, int fd)
{
	struct run *run = arg;
	const char *m = json_str(message, "m"), *reason = json_str(message, "reason");

	if (fd >= 0)
		close(fd);
	if (!m) {
		return;
	} else if (!strcmp(m, "file")) {
		take_file(run, message);
	} else if (!strcmp(m, "entry")) {
		take_entry(run, message);
	} else if (!strcmp(m, "put")) {
		take_result(run, message);
	} else if (!strcmp(m, "opened") || !strcmp(m, "error")) {
		if (!strcmp(m, "error"))
			snprintf(run->refusal, sizeof(run->refusal), "%s",
				reason ? reason : "error");
		legacy_call_rest(run->call);
		run->opened = true;
		run_step(run->m);
	}
}

static void files_gone(void *arg, const struct pa_err *err)
{
	struct run *run = arg;
	struct transfer *t = &run->transfer[run->at];

	run->call = NULL;
	run->opened = true;
	snprintf(run->refusal, sizeof(run->refusal), "%s",
		err->code == PA_FILE_SILENT ? "no answer from the file" : err->detail);
	if (t->asked) {
		/* Nobody knows whether it was done. "Taken" is the word that loses nothing: what still is in
		 * the file is linked again by the next look at it. */
		t->asked = false;
		fail(run, t, run->refusal);
	}
	run_step(run->m);
}

static cJSON *open_request(const struct run *run)
{
	const struct transfer *t = &run->transfer[run->group];
	cJSON *o = cJSON_CreateObject(), *files, *file, *names = NULL;
	bool whole = o && cJSON_AddStringToObject(o, "op", "open") &&
		     cJSON_AddTrueToObject(o, "lock") &&
		     cJSON_AddNumberToObject(o, "wait_ms", MIGRATE_WAIT_MS) &&
		     (files = cJSON_AddArrayToObject(o, "files")) &&
		     (file = cJSON_CreateObject()) && cJSON_AddItemToArray(files, file) &&
		     cJSON_AddStringToObject(file, "tool", t->tool) &&
		     cJSON_AddStringToObject(file, "path", t->path) &&
		     (names = cJSON_AddArrayToObject(file, "names"));

	for (size_t i = run->group; whole && i < run->group_end; i++) {
		cJSON *name = cJSON_CreateString(run->transfer[i].name);

		whole = name && cJSON_AddItemToArray(names, name);
	}
	if (whole)
		return o;
	cJSON_Delete(o);
	return NULL;
}

static void open_file(struct run *run)
{
	static const struct legacy_handler handler = { files_message, files_gone };
	JSON_AUTO cJSON *request = NULL;
	struct pa_err err = { 0 };
	int rc = 0;

	run->group = run->group_end;
	while (run->group_end < run->ntransfer &&
		!by_path(&run->transfer[run->group], &run->transfer[run->group_end]))
		run->group_end++;
	run->at = run->group;
	run->opened = false;
	run->refusal[0] = '\0';
	if (!(request = open_request(run)))
		rc = pa_fail(&err, PA_NO_MEMORY, 0, "files of other programs");
	if (rc == 0)
		rc = run_call(run, request, MIGRATE_WAIT_MS + MIGRATE_SILENCE_MS, &handler, &err);
	if (rc < 0) {
		snprintf(run->refusal, sizeof(run->refusal), "%s", err.detail);
		run->opened = true;
	}
}

bool transfers_wait(const struct run *run)
{
	return run->at < run->group_end && (!run->opened || run->transfer[run->at].asked);
}

bool transfers_next(struct run *run)
{
	if (run->at < run->group_end) {
		struct transfer *t = &run->transfer[run->at];

		if (t->over)
			run->at++;
		else if (*run->refusal)
			fail(run, t, run->refusal);
		else
			begin(run, t);
		return true;
	}
	run_hang_up(run);
	if (run->group_end == run->ntransfer)
		return false;
	open_file(run);
	return true;
}
