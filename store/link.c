#include "link.h"

#include <string.h>

#include "secret.h"

static const char *const state_names[] = {
	[LINK_ON] = "on",
	[LINK_OFF] = "off",
	[LINK_TAKEN] = "taken",
};
#define STATES (sizeof(state_names) / sizeof(*state_names))

const char *link_state_name(enum link_state s)
{
	return state_names[s];
}

static bool state_parse(const char *text, enum link_state *ret)
{
	for (size_t i = 0; text && i < STATES; i++) {
		if (!strcmp(text, state_names[i])) {
			*ret = (enum link_state)i;
			return true;
		}
	}
	return false;
}

static bool lane_parse(const char *text, enum lane *ret)
{
	if (text && !strcmp(text, lane_name(LANE_OAUTH)))
		*ret = LANE_OAUTH;
	else if (text && !strcmp(text, lane_name(LANE_API_KEY)))
		*ret = LANE_API_KEY;
	else
		return false;
	return true;
}

static bool is_proof(const char *text)
{
	return text && strlen(text) == LINK_PROOF_LEN &&
	       strspn(text, "0123456789abcdef") == LINK_PROOF_LEN;
}

/* ---- the list of links ---- */

/* A member that may be absent; NULL if it has another type. */
static const char *str_or_empty(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name) ? json_str(object, name) : "";
}

static bool link_read(const cJSON *item, struct link *ret)
{
	struct link l = {
		.tool = json_str(item, "tool"),
		.path = json_str(item, "path"),
		.name = json_str(item, "name"),
		.note = str_or_empty(item, "note"),
		.proof = str_or_empty(item, "proof"),
	};

	if (!cJSON_IsObject(item) || !l.tool || !*l.tool || !l.path || *l.path != '/' || !l.name ||
		!l.note || !l.proof || (*l.proof && !is_proof(l.proof)) ||
		!lane_parse(json_str(item, "lane"), &l.lane) ||
		!state_parse(json_str(item, "state"), &l.state))
		return false;
	*ret = l;
	return true;
}

static cJSON *links_of(const struct record *r)
{
	return cJSON_GetObjectItemCaseSensitive(r->root, "links");
}

bool link_at(const struct record *r, size_t i, struct link *ret)
{
	const cJSON *item = i < LINK_MAX ? cJSON_GetArrayItem(links_of(r), (int)i) : NULL;

	return item && link_read(item, ret);
}

bool link_is_valid(const cJSON *record_root)
{
	const cJSON *links = cJSON_GetObjectItemCaseSensitive(record_root, "links");
	const cJSON *known = cJSON_GetObjectItemCaseSensitive(record_root, "known");
	const cJSON *kept = cJSON_GetObjectItemCaseSensitive(record_root, "kept");
	const cJSON *item;
	struct link l;

	if ((links && !cJSON_IsArray(links)) || cJSON_GetArraySize(links) > LINK_MAX ||
		(known && !cJSON_IsArray(known)) || cJSON_GetArraySize(known) > LINK_KNOWN_MAX ||
		(kept && !cJSON_IsObject(kept)))
		return false;
	cJSON_ArrayForEach (item, links) {
		if (!link_read(item, &l))
			return false;
	}
	cJSON_ArrayForEach (item, known) {
		if (!cJSON_IsString(item) || !is_proof(item->valuestring))
			return false;
	}
	return true;
}

/* The array called name, made if it is not there. */
static int array_of(struct record *r, const char *name, cJSON **ret, struct pa_err *err)
{
	int rc = 0;

	*ret = cJSON_GetObjectItemCaseSensitive(r->root, name);
	if (!*ret) {
		rc = json_set(r->root, name, cJSON_CreateArray(), err);
		*ret = cJSON_GetObjectItemCaseSensitive(r->root, name);
	}
	return rc;
}

static cJSON *link_find(const cJSON *links, const char *path, const char *name)
{
	cJSON *item;

	cJSON_ArrayForEach (item, links) {
		if (!strcmp(json_str(item, "path"), path) && !strcmp(json_str(item, "name"), name))
			return item;
	}
	return NULL;
}

/* Absent says the same as empty, and is shorter. */
static int set_or_drop(cJSON *object, const char *name, const char *value, struct pa_err *err)
{
	if (*value)
		return json_set_str(object, name, value, err);
	json_drop(object, name);
	return 0;
}

static int link_check(const struct link *l, struct pa_err *err)
{
	if (!*l->tool || *l->path != '/' || (l->lane != LANE_OAUTH && l->lane != LANE_API_KEY) ||
		(*l->proof && !is_proof(l->proof)))
		return pa_fail(err, PA_BAD_INPUT, 0, "not a link to a file");
	if (strlen(l->path) > LINK_PATH_MAX || strlen(l->tool) > LINK_TEXT_MAX ||
		strlen(l->name) > LINK_TEXT_MAX || strlen(l->note) > LINK_TEXT_MAX)
		return pa_fail(err, PA_TOO_BIG, E2BIG, "a link with so long a path or name");
	return 0;
}

int link_set(struct record *r, const struct link *l, struct pa_err *err)
{
	JSON_AUTO cJSON *item = NULL;
	cJSON *links, *old;
	int rc;

	if ((rc = link_check(l, err)) < 0 || (rc = array_of(r, "links", &links, err)) < 0)
		return rc;
	old = link_find(links, l->path, l->name);
	if (!old && cJSON_GetArraySize(links) >= LINK_MAX)
		return pa_fail(err, PA_TOO_BIG, E2BIG, "more than %d linked files", LINK_MAX);
	/* A copy is changed: l may borrow from the old one, and a failure leaves that as it was. */
	item = old ? cJSON_Duplicate(old, true) : cJSON_CreateObject();
	if (!item)
		return pa_fail(err, PA_NO_MEMORY, 0, "link");
	if ((rc = json_set_str(item, "tool", l->tool, err)) < 0 ||
		(rc = json_set_str(item, "path", l->path, err)) < 0 ||
		(rc = json_set_str(item, "name", l->name, err)) < 0 ||
		(rc = json_set_str(item, "lane", lane_name(l->lane), err)) < 0 ||
		(rc = json_set_str(item, "state", link_state_name(l->state), err)) < 0 ||
		(rc = set_or_drop(item, "note", l->note, err)) < 0 ||
		(rc = set_or_drop(item, "proof", l->proof, err)) < 0)
		return rc;
	if (!(old ? cJSON_ReplaceItemViaPointer(links, old, item)
		  : cJSON_AddItemToArray(links, item)))
		return pa_fail(err, PA_NO_MEMORY, 0, "link");
	item = NULL;
	return 0;
}

int link_off(struct record *r, enum lane lane, const char *proof, struct pa_err *err)
{
	struct link l;
	int rc;

	for (size_t i = 0; link_at(r, i, &l); i++) {
		if (l.state != LINK_ON || (lane != LANE_NONE && l.lane != lane))
			continue;
		l.state = LINK_OFF;
		l.proof = proof;
		l.note = "";
		if ((rc = link_set(r, &l, err)) < 0)
			return rc;
	}
	return 0;
}

void link_forget(struct record *r)
{
	json_drop(r->root, "links");
	json_drop(r->root, "known");
}

/* ---- the tokens of the family ---- */

static cJSON *known_find(const struct record *r, const char *proof)
{
	cJSON *item;

	cJSON_ArrayForEach (item, cJSON_GetObjectItemCaseSensitive(r->root, "known")) {
		if (!strcmp(item->valuestring, proof))
			return item;
	}
	return NULL;
}

bool link_knows(const struct record *r, const char *proof)
{
	return known_find(r, proof) != NULL;
}

int link_remember(struct record *r, const char *proof, struct pa_err *err)
{
	cJSON *known, *item;
	int rc;

	if (!is_proof(proof))
		return pa_fail(err, PA_BAD_INPUT, 0, "not the proof of a token");
	if ((rc = array_of(r, "known", &known, err)) < 0)
		return rc;
	item = known_find(r, proof);
	if (item) {
		cJSON_DetachItemViaPointer(known, item);
	} else {
		JSON_AUTO cJSON *fresh = cJSON_CreateString(proof);

		if (!fresh)
			return pa_fail(err, PA_NO_MEMORY, 0, "link");
		while (cJSON_GetArraySize(known) >= LINK_KNOWN_MAX)
			cJSON_DeleteItemFromArray(known, 0);
		item = fresh;
		fresh = NULL;
	}
	cJSON_AddItemToArray(known, item);
	return 0;
}

/* ---- adoption ---- */

const cJSON *link_kept(const struct record *r)
{
	return cJSON_GetObjectItemCaseSensitive(r->root, "kept");
}

/* A file's entry seldom says when it was issued; without a time its life would be unknown. */
static int date_entry(cJSON *entry, int64_t now_ms, struct pa_err *err)
{
	int64_t at;

	if (json_int(entry, "refreshed", &at) && at > 0 && at <= now_ms)
		return 0;
	return json_set_int(entry, "refreshed", now_ms, err);
}

int link_adopt(struct record *r, cJSON *entry, int64_t now_ms, struct pa_err *err)
{
	JSON_AUTO cJSON *adopted = entry;
	JSON_AUTO cJSON *kept = NULL;
	const cJSON *ours = record_lane(r, LANE_OAUTH);
	int rc;

	if (!cJSON_IsObject(entry))
		return pa_fail(err, PA_BAD_INPUT, 0, "not a login");
	if ((rc = date_entry(entry, now_ms, err)) < 0)
		return rc;
	if (ours && !link_kept(r)) {
		if (!(kept = cJSON_Duplicate(ours, true)))
			return pa_fail(err, PA_NO_MEMORY, 0, "link");
		rc = json_set(r->root, "kept", kept, err);
		kept = NULL;
		if (rc < 0)
			return rc;
	}
	adopted = NULL;
	if ((rc = record_replace_lane(r, LANE_OAUTH, entry, err)) < 0)
		return rc;
	/* It was the other one that the provider refused. */
	json_drop(r->root, "dead");
	return record_set_changed_ms(r, now_ms, err);
}

void link_drop_kept(struct record *r)
{
	json_drop(r->root, "kept");
}

int link_restore_kept(struct record *r, struct pa_err *err)
{
	cJSON *kept = cJSON_DetachItemFromObjectCaseSensitive(r->root, "kept");

	if (!kept)
		return pa_fail(err, PA_NO_KEY, 0, "no login was kept");
	json_drop(r->root, "dead");
	return record_replace_lane(r, LANE_OAUTH, kept, err);
}

static bool is_other(const char *here, const char *there)
{
	return here && there && *here && *there && strcmp(here, there);
}

enum link_verdict link_judge(const struct record *r, const cJSON *entry, const char *proof,
	const char *account_here, const char *account_there, int64_t skew_ms)
{
	const cJSON *ours = record_lane(r, LANE_OAUTH);
	const char *type = json_str(entry, "type");
	const char *theirs = json_str(entry, "refresh");
	const char *mine = json_str(ours, "refresh");
	int64_t expires, refreshed;

	if (!type || strcmp(type, "oauth") || !theirs || !*theirs)
		return LINK_UNUSABLE;
	if (mine && !strcmp(mine, theirs))
		return LINK_SAME;
	if (is_other(account_here, account_there))
		return LINK_OTHER_ACCOUNT;
	if (link_knows(r, proof))
		return LINK_OLD;
	if (json_int(entry, "expires", &expires) && expires > 0 &&
		json_int(ours, "refreshed", &refreshed) && expires + skew_ms <= refreshed)
		return LINK_OLD;
	return LINK_NEWER;
}

const char *link_verdict_note(enum link_verdict v)
{
	switch (v) {
	case LINK_SAME:
	case LINK_NEWER:
		return "";
	case LINK_OLD:
		return "it holds a login that has been replaced since; is it a backup?";
	case LINK_OTHER_ACCOUNT:
		return "it holds the login of another account";
	case LINK_UNUSABLE:
		return "it holds no login with a refresh token";
	}
	return "";
}
