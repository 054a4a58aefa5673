/*
 * What becomes of an entry that another tool's file has.
 *
 * What the store holds wins, always: an entry goes where nothing is, or where the login is dead, else it only
 * adds a link or a line to the report. A family of tokens has one profile: an entry whose refresh token
 * some profile of the provider has, or had, belongs there. Another family goes to the default profile, or
 * to "provider@tool" if that one is another tool's. The choice is made on what is published and decided on
 * the newest record, inside its commit.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "migrate_i.h"

/* Names that the root of the mount has, or will have, for itself. */
static bool is_reserved(const char *name)
{
	static const char *const names[] = { "status", "models", "agents", "views" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!strcmp(name, names[i]))
			return true;
	}
	return false;
}

/* ---- what an entry is ---- */

static int refuse(struct found *f, const char *why)
{
	f->decision = DECISION_REFUSED;
	snprintf(f->reason, sizeof(f->reason), "%s", why);
	return -EINVAL;
}

static int name_target(struct run *run, struct found *f)
{
	const char *part = f->part && *f->part && strcmp(f->part, "default") ? f->part : NULL;
	size_t len = f->provider ? strlen(f->provider) : 0;
	char id[PROVIDER_ID_MAX + 1];

	if (len == 0 || len > PROVIDER_ID_MAX)
		return refuse(f, "its provider has no name that a directory can have");
	f->known = provider_find(run->m->b->providers, f->provider, len);
	for (size_t i = 0; i <= len; i++)
		id[i] = (char)tolower((unsigned char)f->provider[i]);
	if (!f->known && is_reserved(id))
		return refuse(f, "the mount has a file of its own under this name");
	if (!f->known && !provider_id_is_valid(id, len))
		return refuse(f, "its provider has no name that a directory can have");
	if (part && !profile_name_is_valid(part, strlen(part)))
		return refuse(f, "its profile has no name that a directory can have");
	snprintf(f->target, sizeof(f->target), "%s%s%s", f->known ? f->known->id : id,
		part ? "@" : "", part ? part : "");
	return 0;
}

/* The tool's own profile: provider@tool, or provider@part.tool. */
static bool name_second(struct found *f)
{
	const char *at = strchr(f->target, '@');
	char name[2 * PROFILE_ID_MAX + LINK_TEXT_MAX];
	int n = snprintf(name, sizeof(name), "%s%c%s", f->target, at ? '.' : '@', f->tool);
	const char *part = strchr(name, '@') + 1;

	if (f->second || n > PROFILE_ID_MAX || !profile_name_is_valid(part, strlen(part)))
		return false;
	memcpy(f->target, name, (size_t)n + 1);
	f->second = true;
	return true;
}

/* Members of the file's entry that ours lacks are kept. */
static int keep_members(cJSON *entry, const cJSON *from, struct pa_err *err)
{
	const cJSON *member;

	cJSON_ArrayForEach (member, from) {
		cJSON *copy;
		int rc;

		if (!member->string || cJSON_GetObjectItemCaseSensitive(entry, member->string))
			continue;
		if (!(copy = cJSON_Duplicate(member, true)))
			return pa_fail(err, PA_NO_MEMORY, 0, "entry");
		if ((rc = json_set(entry, member->string, copy, err)) < 0)
			return rc;
	}
	return 0;
}

/* As if somebody had written it to api-key or oauth: the same checks. */
static int read_entry(struct run *run, struct found *f, struct pa_err *err)
{
	const cJSON *from = cJSON_GetObjectItemCaseSensitive(f->message, "entry");
	WIPE_AUTO char *text = from ? json_text(from) : NULL;
	int64_t now = now_wall(run->m->b), refreshed;
	bool incomplete;
	int rc;

	if (!text)
		return pa_fail(err, PA_BAD_INPUT, 0, "it is empty");
	rc = record_entry_from_text(
		LANE_OAUTH, text, strlen(text), now, &f->lane, &f->entry, &incomplete, err);
	if (rc < 0)
		return rc;
	if (f->lane == LANE_API_KEY)
		return keep_members(f->entry, from, err);
	if (!token_entry_is_valid(f->entry, err))
		return -err->errnum;
	if (json_int(f->entry, "refreshed", &refreshed) && refreshed <= now)
		return 0;
	return json_set_int(f->entry, "refreshed", now, err);
}

/* What two copies of one credential have in common; "" if nothing lasts. */
static const char *token_of(const cJSON *entry, enum lane lane)
{
	const char *token = json_str(entry, lane == LANE_OAUTH ? "refresh" : "key");

	return token ? token : "";
}

static int prepare(struct run *run, struct found *f)
{
	const char *token;
	struct pa_err err;
	int rc;

	rc = name_target(run, f);
	if (f->refused)
		return refuse(f, f->refused);
	if (rc < 0)
		return rc;
	if (read_entry(run, f, &err) < 0)
		return refuse(f, err.detail);
	token = token_of(f->entry, f->lane);
	if (!*token)
		return 0;
	rc = vault_proof(run->m->b->vault, token, strlen(token), f->proof, &err);
	if (rc < 0) {
		f->decision = DECISION_FAILED;
		snprintf(f->reason, sizeof(f->reason), "%s", err.detail);
	}
	return rc;
}

/* ---- how it stands to a record ---- */

enum standing {
	STANDS_FREE,  /* nothing is there */
	STANDS_SAME,  /* the same credential is */
	STANDS_OLDER, /* the file has an older token of the login that is */
	STANDS_GONE,  /* it was here and was forgotten on purpose */
	STANDS_OTHER, /* another credential is there */
};

static bool is_same(const cJSON *ours, const struct found *f)
{
	const char *token = token_of(f->entry, f->lane);
	const char *here, *there;

	if (*token)
		return !strcmp(token_of(ours, f->lane), token);
	here = json_str(ours, "access");
	there = json_str(f->entry, "access");
	return !*token_of(ours, f->lane) && here && there && !strcmp(here, there);
}

static bool was_forgotten(const struct record *r, const struct found *f)
{
	struct link l;

	for (size_t i = 0; *f->proof && link_at(r, i, &l); i++) {
		if (l.state == LINK_OFF && l.lane == f->lane && !strcmp(l.proof, f->proof))
			return true;
	}
	return *f->proof && f->lane == LANE_OAUTH && link_knows(r, f->proof);
}

static enum standing stands(const struct record *r, const struct found *f)
{
	const cJSON *ours = record_lane(r, f->lane);
	struct pa_err why;
	int64_t at;

	if (!ours)
		return was_forgotten(r, f) ? STANDS_GONE : STANDS_FREE;
	if (is_same(ours, f))
		return STANDS_SAME;
	if (f->lane == LANE_OAUTH && *f->proof && link_knows(r, f->proof))
		return STANDS_OLDER;
	return f->lane == LANE_OAUTH && record_dead(r, &why, &at) ? STANDS_FREE : STANDS_OTHER;
}

static const char *brought_by(const struct run *run, const char *profile, enum lane lane)
{
	const cJSON *lanes = cJSON_GetObjectItemCaseSensitive(run->brought, profile);

	return json_str(lanes, lane_name(lane));
}

/* Is the credential another tool's, and not this one's as well? */
static bool is_others(const struct run *run, const struct record *r, const struct found *f)
{
	const char *by = brought_by(run, f->target, f->lane);
	bool own = by && !strcmp(by, f->tool), other = by && !own;
	struct link l;

	for (size_t i = 0; link_at(r, i, &l); i++) {
		if (l.state == LINK_OFF || l.lane != f->lane)
			continue;
		own |= !strcmp(l.tool, f->tool);
		other |= strcmp(l.tool, f->tool) != 0;
	}
	return other && !own;
}

/* Adds the file to the links unless it is one already, or must not be. 1: the record has changed. */
static int add_link(struct record *r, struct found *f, struct pa_err *err)
{
	struct link l, new = { f->tool, f->path, f->name, f->lane, LINK_ON, "", "" };
	int rc;

	if (!f->linkable || !*f->proof)
		return 0;
	for (size_t i = 0; link_at(r, i, &l); i++) {
		if (strcmp(l.path, f->path) || strcmp(l.name, f->name))
			continue;
		if (l.lane == f->lane && (l.state == LINK_ON || !strcmp(l.proof, f->proof)))
			return 0;
	}
	rc = link_set(r, &new, err);
	if (rc == -E2BIG) {
		/* The credential is worth more than the link: it is there, on its own. */
		snprintf(f->reason, sizeof(f->reason), "not linked: %.140s", err->detail);
		return 0;
	}
	return rc < 0 ? rc : 1;
}

static int bring(struct run *run, struct record *r, struct found *f, struct pa_err *err)
{
	struct broker *b = run->m->b;
	cJSON *entry = cJSON_Duplicate(f->entry, true);
	int64_t now = now_wall(b);
	int rc;

	if (!entry)
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", f->target);
	/* What is served already goes on being served, in `auto`. */
	if (record_last(r) == LANE_NONE || record_last(r) == f->lane)
		rc = record_set_lane(r, f->lane, entry, now, err);
	else if ((rc = record_replace_lane(r, f->lane, entry, err)) == 0)
		rc = record_set_changed_ms(r, now, err);
	if (rc == 0 && f->lane == LANE_OAUTH) {
		link_drop_kept(r);
		rc = record_set_machine(r, vault_machine_id(b->vault), err);
		if (rc == 0 && *f->proof)
			rc = link_remember(r, f->proof, err);
	}
	if (rc == 0)
		rc = add_link(r, f, err);
	return rc < 0 ? rc : 0;
}

static void decide(struct found *f, enum decision decision, const char *reason)
{
	f->decision = decision;
	if (*reason)
		snprintf(f->reason, sizeof(f->reason), "%s", reason);
}

static void decide_other(struct found *f, const cJSON *ours)
{
	int64_t here = 0, there = 0;

	if (f->lane == LANE_API_KEY) {
		decide(f, DECISION_NEWER_HERE, "another key is stored here");
		return;
	}
	(void)json_int(ours, "expires", &here);
	(void)json_int(f->entry, "expires", &there);
	decide(f, there > here ? DECISION_NEWER_THERE : DECISION_NEWER_HERE,
		"another login is stored here");
}

/*
 * Decides f on this record, and changes it. -ECANCELED: it stays as it is. *ret_brought: it has a new
 * credential; a link alone is no new generation.
 */
static int settle(
	struct run *run, struct record *r, struct found *f, bool *ret_brought, struct pa_err *err)
{
	int rc;

	*ret_brought = false;
	f->others = false;
	f->reason[0] = '\0';
	switch (stands(r, f)) {
	case STANDS_FREE:
		decide(f, DECISION_IMPORTED, "");
		*ret_brought = true;
		return bring(run, r, f, err);
	case STANDS_SAME:
		decide(f, DECISION_ALREADY_THERE, "");
		rc = add_link(r, f, err);
		return rc > 0 ? 0 : rc < 0 ? rc : -ECANCELED;
	case STANDS_OLDER:
		decide(f, DECISION_NEWER_HERE, "an older token of this login");
		rc = add_link(r, f, err);
		return rc > 0 ? 0 : rc < 0 ? rc : -ECANCELED;
	case STANDS_GONE:
		decide(f, DECISION_ALREADY_THERE, "logged out here");
		return -ECANCELED;
	case STANDS_OTHER:
		f->others = is_others(run, r, f);
		decide_other(f, record_lane(r, f->lane));
		return -ECANCELED;
	}
	return -ECANCELED;
}

/* ---- records as this run sees them ---- */

static struct imagined *imagined_find(const struct run *run, const char *profile)
{
	for (size_t i = 0; i < run->nimagined; i++) {
		if (!strcmp(run->imagined[i].profile, profile))
			return &run->imagined[i];
	}
	return NULL;
}

/* Takes r. */
static int imagine(struct run *run, const char *profile, struct record *r, struct pa_err *err)
{
	struct imagined *i = imagined_find(run, profile);

	if (!i) {
		struct imagined *more =
			reallocarray(run->imagined, run->nimagined + 1, sizeof(*more));
		char *name = strdup(profile);

		if (more)
			run->imagined = more;
		if (!more || !name) {
			free(name);
			return pa_fail(err, PA_NO_MEMORY, 0, "%s", profile);
		}
		i = &more[run->nimagined++];
		*i = (struct imagined){ .profile = name };
	}
	record_done(&i->record);
	i->record = *r;
	r->root = NULL;
	return 0;
}

/* A copy of the record; a new one where there is none. */
static int look_up(
	const struct run *run, const char *profile, struct record *ret, struct pa_err *err)
{
	const struct imagined *i = imagined_find(run, profile);
	const struct profile *p = profile_by_name(run->m->b, profile);

	if (i) {
		ret->root = cJSON_Duplicate(i->record.root, true);
		return ret->root ? 0 : pa_fail(err, PA_NO_MEMORY, 0, "%s", profile);
	}
	if (p && p->broken.code)
		return pa_fail(err, p->broken.code, p->broken.errnum, "%s", p->broken.detail);
	return p ? profile_open(p, ret, err) : record_new(profile, ret, err);
}

static enum standing stands_at(const struct run *run, const char *profile, const struct found *f)
{
	RECORD_AUTO struct record r = { 0 };

	/* What cannot be read is no family's; if it is the target the commit says why. */
	return look_up(run, profile, &r, NULL) < 0 ? STANDS_FREE : stands(&r, f);
}

static bool is_of_provider(const char *profile, const char *target)
{
	size_t len = strcspn(target, "@");

	return !strncmp(profile, target, len) && (!profile[len] || profile[len] == '@');
}

/* The profile that has this family of tokens, current ones first; NULL: none. */
static const char *find_family(const struct run *run, const struct found *f)
{
	const struct broker *b = run->m->b;
	const char *older = NULL;

	for (size_t i = 0; i < b->by_name.n + run->nimagined; i++) {
		bool real = i < b->by_name.n;
		const char *name =
			real ? b->by_name.v[i]->name : run->imagined[i - b->by_name.n].profile;

		if (!is_of_provider(name, f->target) ||
			(real && !b->by_name.v[i]->sealed.bytes && !imagined_find(run, name)))
			continue;
		switch (stands_at(run, name, f)) {
		case STANDS_SAME:
			return name;
		case STANDS_OLDER:
		case STANDS_GONE:
			older = older ? older : name;
			break;
		case STANDS_FREE:
		case STANDS_OTHER:
			break;
		}
	}
	return older;
}

/* ---- one entry after the other ---- */

static void note_brought(struct run *run, const struct found *f)
{
	cJSON *lanes;

	if (!run->brought && !(run->brought = cJSON_CreateObject()))
		return;
	lanes = cJSON_GetObjectItemCaseSensitive(run->brought, f->target);
	if (!lanes)
		lanes = cJSON_AddObjectToObject(run->brought, f->target);
	if (lanes)
		(void)json_set_str(lanes, lane_name(f->lane), f->tool, NULL);
}

static void fail(struct found *f, const struct pa_err *err)
{
	f->decision = DECISION_FAILED;
	snprintf(f->reason, sizeof(f->reason), "%.90s%s%.60s", pa_summary(err->code),
		*err->detail ? " " : "", err->detail);
}

static void finish(struct run *run, struct found *f)
{
	report_entry(&run->report, f->tool, f->path, f->name, f->target,
		f->entry ? lane_name(f->lane) : NULL, f->decision, f->reason);
	if (f->decision == DECISION_IMPORTED)
		note_brought(run, f);
	found_done(f);
	run->at++;
}

static void try_target(struct run *run, struct found *f);

/* The record has been asked; r as of settle. */
static void settled(struct run *run, struct found *f, int r, const struct pa_err *err)
{
	if (r < 0 && r != -ECANCELED)
		fail(f, err);
	else if (f->others && name_second(f))
		return try_target(run, f);
	finish(run, f);
}

static void try_imagined(struct run *run, struct found *f)
{
	RECORD_AUTO struct record r = { 0 };
	struct pa_err err = { 0 };
	bool brought;
	int rc = look_up(run, f->target, &r, &err);

	if (rc == 0)
		rc = settle(run, &r, f, &brought, &err);
	if (rc == 0)
		rc = imagine(run, f->target, &r, &err);
	settled(run, f, rc, &err);
}

static int apply_found(struct commit *c, struct record *r, struct pa_err *err)
{
	struct migrate_wait *w = c->arg;
	struct run *run = w->m ? w->m->run : NULL;

	if (!run)
		return -ECANCELED;
	return settle(run, r, &run->found[run->at], &c->bump, err);
}

static void found_committed(struct commit *c, int r, const struct pa_err *err)
{
	struct run *run = run_waited(c->arg);
	struct found *f;

	if (r >= 0 && c->bump && c->published)
		profile_clean_slate(c->p);
	if (!run)
		return;
	f = &run->found[run->at];
	if (r >= 0 && c->bump && c->published &&
		!cJSON_GetObjectItemCaseSensitive(run->brought, f->target))
		broker_event(c->p->b, c->p, "imported", NULL);
	settled(run, f, r, err);
	run_step(run->m);
}

static void try_stored(struct run *run, struct found *f)
{
	struct broker *b = run->m->b;
	struct profile *p = profile_by_name(b, f->target);
	struct commit *c = NULL;
	struct pa_err err = { 0 };
	int rc = 0;

	if (!p)
		rc = profile_make(b, f->target, f->known, profile_incarnation(), &p, &err);
	if (rc == 0) {
		c = commit_new(p, COMMIT_SAVE, apply_found, NULL, NULL);
		if (c)
			c->arg = run_wait(run);
		if (!c || !c->arg) {
			free(c);
			rc = pa_fail(&err, PA_NO_MEMORY, 0, "%s", f->target);
			profile_release(p);
		}
	}
	if (rc < 0) {
		settled(run, f, rc, &err);
		return;
	}
	c->done = found_committed;
	commit_start(c);
}

static void try_target(struct run *run, struct found *f)
{
	if (run->dry)
		try_imagined(run, f);
	else
		try_stored(run, f);
}

void decide_next(struct run *run)
{
	struct found *f = &run->found[run->at];
	const char *family;

	if (prepare(run, f) < 0) {
		finish(run, f);
		return;
	}
	family = f->lane == LANE_OAUTH && *f->proof ? find_family(run, f) : NULL;
	if (family) {
		snprintf(f->target, sizeof(f->target), "%s", family);
		f->second = true; /* wherever it is, it stays */
	}
	try_target(run, f);
}

void decide_done(struct run *run)
{
	for (size_t i = run->at; i < run->nfound; i++)
		found_done(&run->found[i]);
	for (size_t i = 0; i < run->nimagined; i++) {
		record_done(&run->imagined[i].record);
		free(run->imagined[i].profile);
	}
	free(run->found);
	free(run->imagined);
	cJSON_Delete(run->brought);
}
