/* Reading linked files, and settling what they say. */
#include <stdio.h>
#include <stdlib.h>

#include "linked_i.h"

/* ---- one reading ---- */

void linked_read_done(struct linked_read *lr)
{
	for (size_t i = 0; i < lr->n; i++) {
		free(lr->row[i].tool);
		free(lr->row[i].path);
		free(lr->row[i].name);
		cJSON_Delete(lr->row[i].entry);
	}
	free(lr->row);
	*lr = (struct linked_read){ 0 };
}

int linked_read_add(struct linked_read *lr, struct profile *p, const char *path, struct pa_err *err)
{
	RECORD_AUTO struct record rec = { 0 };
	struct link l;
	int rc;

	if ((rc = profile_open(p, &rec, err)) < 0)
		return rc;
	for (size_t i = 0; link_at(&rec, i, &l); i++) {
		struct linked_row *row;

		if (l.lane != LANE_OAUTH || l.state != LINK_ON || (path && strcmp(path, l.path)))
			continue;
		row = reallocarray(lr->row, lr->n + 1, sizeof(*row));
		if (!row)
			return pa_fail(err, PA_NO_MEMORY, 0, "%s", p->name);
		lr->row = row;
		row += lr->n++;
		*row = (struct linked_row){ .profile = p->id };
		if (!(row->tool = strdup(l.tool)) || !(row->path = strdup(l.path)) ||
			!(row->name = strdup(l.name)))
			return pa_fail(err, PA_NO_MEMORY, 0, "%s", p->name);
	}
	return 0;
}

/* The object of a file in "files"; made where there is none yet. */
static cJSON *file_of(cJSON *files, const struct linked_row *row)
{
	cJSON *f;

	cJSON_ArrayForEach (f, files) {
		if (!strcmp(json_str(f, "path"), row->path))
			return f;
	}
	f = cJSON_CreateObject();
	if (!cJSON_AddStringToObject(f, "tool", row->tool) ||
		!cJSON_AddStringToObject(f, "path", row->path) ||
		!cJSON_AddArrayToObject(f, "names")) {
		cJSON_Delete(f);
		return NULL;
	}
	cJSON_AddItemToArray(files, f);
	return f;
}

cJSON *linked_read_request(struct linked_read *lr, bool lock, int64_t wait_ms)
{
	cJSON *request = cJSON_CreateObject(), *files = cJSON_AddArrayToObject(request, "files");

	lr->locked = lock;
	lr->busy = false;
	for (size_t i = 0; i < lr->n; i++) {
		struct linked_row *row = &lr->row[i];
		cJSON *file = files ? file_of(files, row) : NULL, *name = NULL;

		cJSON_Delete(row->entry);
		row->entry = NULL;
		row->find = LINKED_UNKNOWN;
		row->sure = row->torn = false;
		row->reason[0] = '\0';
		name = file ? cJSON_CreateString(row->name) : NULL;
		if (!name) {
			cJSON_Delete(request);
			return NULL;
		}
		cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(file, "names"), name);
	}
	if (!files || !cJSON_AddStringToObject(request, "op", "open") ||
		!cJSON_AddBoolToObject(request, "lock", lock) ||
		!cJSON_AddNumberToObject(request, "wait_ms", (double)wait_ms)) {
		cJSON_Delete(request);
		return NULL;
	}
	return request;
}

static void read_file_message(struct linked_read *lr, struct linked_row *row, const cJSON *m)
{
	const char *state = json_str(m, "state"), *lock = json_str(m, "lock");
	const char *reason = json_str(m, "reason");

	lr->busy |= lock && !strcmp(lock, "busy");
	/* Where no lock can be made the tool itself cannot change the file either. */
	row->sure = lr->locked && lock && strcmp(lock, "busy") != 0;
	if (!state || !strcmp(state, "found"))
		return;
	row->find = LINKED_NO_FILE;
	row->torn = !strcmp(state, "corrupt");
	snprintf(row->reason, sizeof(row->reason), "the file is %.15s%s%.120s", state,
		reason ? ": " : "", reason ? reason : "");
}

static void read_entry_message(struct linked_row *row, const cJSON *m)
{
	const cJSON *entry = cJSON_GetObjectItemCaseSensitive(m, "entry");
	const char *refused = json_str(m, "refused");

	if (entry) {
		cJSON_Delete(row->entry);
		row->entry = cJSON_Duplicate(entry, true);
		/* Without memory for it nothing is known about it. */
		row->find = row->entry ? LINKED_ENTRY : LINKED_UNKNOWN;
	} else if (refused && row->find == LINKED_UNKNOWN) {
		/* Something is there under this name, but no login that we could use. */
		row->find = LINKED_UNUSABLE_ENTRY;
		snprintf(row->reason, sizeof(row->reason), "%.120s", refused);
	} else if (row->find == LINKED_UNKNOWN) {
		row->find = LINKED_GONE;
	}
}

void linked_read_message(struct linked_read *lr, const cJSON *m)
{
	const char *kind = json_str(m, "m"), *path = json_str(m, "path"),
		   *name = json_str(m, "name");

	for (size_t i = 0; kind && path && i < lr->n; i++) {
		struct linked_row *row = &lr->row[i];

		if (strcmp(row->path, path))
			continue;
		if (!strcmp(kind, "file"))
			read_file_message(lr, row, m);
		else if (!strcmp(kind, "entry") && name && !strcmp(row->name, name))
			read_entry_message(row, m);
	}
}

void linked_read_complete(struct linked_read *lr)
{
	for (size_t i = 0; i < lr->n; i++) {
		struct linked_row *row = &lr->row[i];

		if (row->find == LINKED_ENTRY || row->find == LINKED_GONE)
			row->torn = false;
	}
}

void linked_read_silent(struct linked_read *lr, const struct pa_err *why, struct pa_err *ret_err)
{
	const char *what =
		why->code == PA_FILE_LOCKED ? "another program holds its lock" : why->detail;
	const char *path = NULL;

	for (size_t i = 0; i < lr->n; i++) {
		struct linked_row *row = &lr->row[i];

		if (row->find != LINKED_UNKNOWN)
			continue;
		path = path ? path : row->path;
		row->find = LINKED_NO_FILE;
		snprintf(row->reason, sizeof(row->reason), "%.140s", what);
	}
	if (ret_err)
		pa_fail(ret_err, why->code, why->errnum, "%s%s%s", path ? path : "",
			path ? ": " : "", what);
}

bool linked_read_is_doubtful(const struct linked_read *lr)
{
	for (size_t i = 0; i < lr->n; i++) {
		if (lr->row[i].find == LINKED_GONE && !lr->row[i].sure)
			return true;
	}
	return false;
}

/* ---- what it does to the record ---- */

cJSON *linked_file_entry(const struct profile *p, const cJSON *entry, struct pa_err *err)
{
	JSON_AUTO cJSON *copy = cJSON_Duplicate(entry, true);
	const struct oauth_desc *d = p->provider->oauth;
	int64_t expires = 0, refreshed = 0, early;
	cJSON *ret = copy;

	if (!copy) {
		pa_fail(err, PA_NO_MEMORY, 0, "%s", p->name);
		return NULL;
	}
	json_drop(copy, "refreshed");
	if (d && d->expires_skew_s && json_int(entry, "refreshed", &refreshed) &&
		json_int(entry, "expires", &expires) && refreshed > 0 && expires > refreshed &&
		(double)expires < JSON_INT_MAX) {
		early = expires - d->expires_skew_s * 1000;
		if (early < refreshed + (expires - refreshed) / 2)
			early = refreshed + (expires - refreshed) / 2;
		if (json_set_int(copy, "expires", early, err) < 0)
			return NULL;
	}
	copy = NULL;
	return ret;
}

static int token_proof(const struct broker *b, const cJSON *entry, char ret[LINK_PROOF_LEN + 1],
	struct pa_err *err)
{
	const char *refresh = json_str(entry, "refresh");

	if (!refresh)
		refresh = "";
	return vault_proof(b->vault, refresh, strlen(refresh), ret, err);
}

/* Our login with what the file has newer; members that only we know stay. */
static cJSON *merged(const cJSON *ours, const cJSON *theirs, int64_t now, struct pa_err *err)
{
	JSON_AUTO cJSON *entry = cJSON_Duplicate(ours, true);
	cJSON *ret = entry;

	if (!entry) {
		pa_fail(err, PA_NO_MEMORY, 0, "login");
		return NULL;
	}
	if (json_merge(entry, theirs, err) < 0 || json_set_int(entry, "refreshed", now, err) < 0)
		return NULL;
	entry = NULL;
	return ret;
}

/* Its lifetime is not what the provider said: somebody edited it. */
static bool expires_is_odd(const cJSON *ours, const cJSON *theirs)
{
	int64_t here, there;

	return json_int(ours, "expires", &here) && json_int(theirs, "expires", &there) &&
	       here > 0 && there > here + 60000;
}

static enum link_verdict judge(const struct linked_findings *f, const struct record *r,
	const cJSON *theirs, const char *proof)
{
	const struct provider *provider = f->p->provider;
	const cJSON *ours = record_lane(r, LANE_OAUTH);
	int64_t skew_ms = provider->oauth ? provider->oauth->expires_skew_s * 1000 : 0;
	char *here = NULL, *there = NULL;
	enum link_verdict v;

	/* Like with like: one file may know an e-mail address where another knows a number. */
	for (int kind = 0; (!here || !there) && kind < ACCOUNT_KINDS; kind++) {
		free(here);
		free(there);
		here = account_as((enum account_kind)kind, provider, ours);
		there = account_as((enum account_kind)kind, provider, theirs);
	}
	v = link_judge(r, theirs, proof, here, there, skew_ms);
	free(here);
	free(there);
	/* What is not a usable login by our own rules is not adopted either. */
	return v == LINK_NEWER && !token_entry_is_valid(theirs, NULL) ? LINK_UNUSABLE : v;
}

/* Makes theirs the login. proof: of a refresh token that is new; NULL: it is the one that we have. */
static int adopt(struct linked_findings *f, struct record *r, const cJSON *theirs,
	const char *proof, struct pa_err *err)
{
	struct broker *b = f->p->b;
	int64_t now = now_wall(b);
	cJSON *entry = merged(record_lane(r, LANE_OAUTH), theirs, now, err);
	int rc;

	if (!entry)
		return -ENOMEM;
	rc = proof ? link_adopt(r, entry, now, err)
		   : record_replace_lane(r, LANE_OAUTH, entry, err);
	if (rc < 0 || (proof && (rc = link_remember(r, proof, err)) < 0) ||
		(rc = record_set_machine(r, vault_machine_id(b->vault), err)) < 0)
		return rc;
	f->outcome = LINKED_ADOPTED;
	return 0;
}

/* Only the tool can refresh this login (it has the client's secret, we do not), and it has. */
static bool is_refreshed_there(
	const struct linked_findings *f, const cJSON *ours, const cJSON *theirs)
{
	const char *here = json_str(ours, "access"), *there = json_str(theirs, "access");
	int64_t old = 0, new = 0;

	return !token_can_refresh(f->p->provider->oauth, ours) && here && there &&
	       strcmp(here, there) != 0 && token_entry_is_valid(theirs, NULL) &&
	       json_int(ours, "expires", &old) && json_int(theirs, "expires", &new) && new > old;
}

/* What the entry in one file means; a note for the link, "" where all is well. */
static int settle_entry(struct linked_findings *f, struct record *r, struct linked_row *row,
	struct link *l, bool *ret_changed, struct pa_err *err)
{
	const cJSON *ours = record_lane(r, LANE_OAUTH);
	char proof[LINK_PROOF_LEN + 1];
	enum link_verdict v;
	int rc;

	if ((rc = token_proof(f->p->b, row->entry, proof, err)) < 0)
		return rc;
	v = judge(f, r, row->entry, proof);
	l->note = link_verdict_note(v);
	switch (v) {
	case LINK_SAME:
		row->mine = true;
		if (is_refreshed_there(f, ours, row->entry)) {
			*ret_changed = true;
			return adopt(f, r, row->entry, NULL, err);
		}
		if (expires_is_odd(ours, row->entry))
			l->note = "its expires is later than the provider said: not believed";
		return 0;
	case LINK_NEWER:
		row->mine = *ret_changed = true;
		return adopt(f, r, row->entry, proof, err);
	case LINK_OLD:
		row->mine = true;
		f->heal = true;
		return 0;
	case LINK_OTHER_ACCOUNT:
		l->state = LINK_OFF;
		return 0;
	case LINK_UNUSABLE:
		return 0;
	}
	return 0;
}

static bool any_link_on(const struct record *r)
{
	struct link l;

	for (size_t i = 0; link_at(r, i, &l); i++) {
		if (l.lane == LANE_OAUTH && l.state == LINK_ON)
			return true;
	}
	return false;
}

static struct linked_row *row_of(struct linked_findings *f, const struct link *l)
{
	for (size_t i = 0; i < f->lr->n; i++) {
		struct linked_row *row = &f->lr->row[i];

		if (row->profile == f->p->id && !strcmp(row->path, l->path) &&
			!strcmp(row->name, l->name))
			return row;
	}
	return NULL;
}

static int settle_row(struct linked_findings *f, struct record *r, struct linked_row *row,
	const struct link *old, bool *ret_gone, bool *ret_changed, struct pa_err *err)
{
	/* The record's strings go when the link is set: what is kept of them is copied first. */
	char *tool = strdup(old->tool), *note = strdup(old->note);
	struct link l = { tool, row->path, row->name, LANE_OAUTH, old->state, old->note, "" };
	int rc = tool && note ? 0 : pa_fail(err, PA_NO_MEMORY, 0, "%s", f->p->name);

	if (rc == 0 && f->wrote) {
		l.note = !row->wrote ? note : !strcmp(row->wrote, "written") ? "" : row->reason;
	} else if (rc == 0) {
		switch (row->find) {
		case LINKED_UNKNOWN:
			l.note = note;
			break;
		case LINKED_NO_FILE:
		case LINKED_UNUSABLE_ENTRY:
			l.note = row->reason;
			break;
		case LINKED_GONE:
			l.note = note;
			if (row->sure) {
				*ret_gone = true;
				l.state = LINK_OFF;
				l.note = "no longer in the file";
			}
			break;
		case LINKED_ENTRY:
			rc = settle_entry(f, r, row, &l, ret_changed, err);
			break;
		}
	}
	if (rc == 0 && (l.state != LINK_ON || strcmp(l.note, note))) {
		*ret_changed = true;
		rc = link_set(r, &l, err);
	}
	free(tool);
	free(note);
	return rc;
}

static int apply_findings(struct commit *c, struct record *r, struct pa_err *err)
{
	struct linked_findings *f = c->arg;
	bool gone = false, changed = false;
	struct link l;
	int rc;

	f->outcome = LINKED_AS_BEFORE;
	f->heal = false;
	if (!record_lane(r, LANE_OAUTH))
		return -ECANCELED;
	for (size_t i = 0; link_at(r, i, &l); i++) {
		struct linked_row *row = row_of(f, &l);

		if (!row || l.lane != LANE_OAUTH || l.state != LINK_ON)
			continue;
		if ((rc = settle_row(f, r, row, &l, &gone, &changed, err)) < 0)
			return rc;
	}
	if (gone && !any_link_on(r)) {
		/* Logged out there is logged out here. */
		record_drop_lane(r, LANE_OAUTH);
		record_drop_pending(r, LANE_OAUTH);
		f->outcome = LINKED_LOGGED_OUT;
	}
	if (!changed)
		return -ECANCELED;
	c->bump = f->outcome != LINKED_AS_BEFORE;
	return c->bump ? record_set_changed_ms(r, now_wall(c->p->b), err) : 0;
}

static void findings_done(struct commit *c, int r, const struct pa_err *err)
{
	struct linked_findings *f = c->arg;
	struct profile *p = c->p;

	(void)err;
	if (r < 0 && !c->published)
		f->outcome = LINKED_AS_BEFORE;
	if (f->heal)
		broker_event(p->b, p, "old_pair_in_file", NULL);
	switch (f->outcome) {
	case LINKED_AS_BEFORE:
		break;
	case LINKED_ADOPTED:
		profile_clean_slate(p);
		broker_event(p->b, p, "adopted", NULL);
		break;
	case LINKED_LOGGED_OUT:
		profile_clean_slate(p);
		broker_event(p->b, p, "logout", NULL);
		break;
	}
	f->done(f);
}

void linked_settle(struct linked_findings *f)
{
	/* What another program rotated is in its file: our disk need not take it to make it true. */
	struct commit *c = commit_new(f->p, COMMIT_KEEP, apply_findings, NULL, NULL);

	f->outcome = LINKED_AS_BEFORE;
	if (!c) {
		f->done(f);
		return;
	}
	c->arg = f;
	c->done = findings_done;
	commit_start(c);
}
