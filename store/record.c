#include "record.h"

#include <string.h>

#include "link.h"

#define RECORD_FORMAT 1

int record_new(const char *profile, struct record *ret, struct pa_err *err)
{
	struct record r = { .root = cJSON_CreateObject() };
	int rc;

	if (!r.root)
		return pa_fail(err, PA_NO_MEMORY, 0, "record");
	if ((rc = json_set_int(r.root, "format", RECORD_FORMAT, err)) < 0 ||
		(rc = json_set_str(r.root, "profile", profile, err)) < 0) {
		record_done(&r);
		return rc;
	}
	*ret = r;
	return 0;
}

static bool lane_entry_is_valid(const cJSON *entry, enum lane lane)
{
	if (!entry)
		return true;
	if (!cJSON_IsObject(entry))
		return false;
	return lane == LANE_API_KEY ? json_str(entry, "key") != NULL : true;
}

static bool lanes_are_valid(const cJSON *holder)
{
	static const enum lane lanes[] = { LANE_OAUTH, LANE_API_KEY };

	for (size_t i = 0; i < sizeof(lanes) / sizeof(*lanes); i++) {
		if (!lane_entry_is_valid(
			    cJSON_GetObjectItemCaseSensitive(holder, lane_name(lanes[i])),
			    lanes[i]))
			return false;
	}
	return true;
}

int record_parse(
	const char *text, size_t len, const char *profile, struct record *ret, struct pa_err *err)
{
	JSON_AUTO cJSON *root = NULL;
	const cJSON *pending;
	int64_t n;
	int rc;

	if ((rc = json_parse(text, len, PA_STORE_CORRUPT, &root, NULL, err)) < 0)
		return rc;
	if (!cJSON_IsObject(root) || !json_int(root, "format", &n))
		return pa_fail(err, PA_STORE_CORRUPT, 0, "not a record");
	if (n != RECORD_FORMAT)
		return pa_fail(err, PA_STORE_CORRUPT, 0, "format %lld is not known to this version",
			(long long)n);
	if (!json_str(root, "profile") || (profile && strcmp(json_str(root, "profile"), profile)))
		return pa_fail(err, PA_STORE_CORRUPT, 0, "another profile's record");
	pending = cJSON_GetObjectItemCaseSensitive(root, "pending");
	if (!lanes_are_valid(root) ||
		(pending && (!cJSON_IsObject(pending) || !lanes_are_valid(pending))))
		return pa_fail(err, PA_STORE_CORRUPT, 0, "a lane has the wrong type");
	if (!link_is_valid(root))
		return pa_fail(err, PA_STORE_CORRUPT, 0, "a link has the wrong type");
	ret->root = root;
	root = NULL;
	return 0;
}

void record_done(struct record *r)
{
	cJSON_Delete(r->root);
	r->root = NULL;
}

int record_format(const struct record *r, char **ret, size_t *ret_len, struct pa_err *err)
{
	char *text = json_text(r->root);

	if (!text)
		return pa_fail(err, PA_NO_MEMORY, 0, "record");
	*ret_len = strlen(text);
	*ret = text;
	return 0;
}

static const char *str_or_empty(const char *s)
{
	return s ? s : "";
}

const char *record_profile(const struct record *r)
{
	return str_or_empty(json_str(r->root, "profile"));
}

uint64_t record_generation(const struct record *r)
{
	int64_t n;

	return json_int(r->root, "generation", &n) && n > 0 ? (uint64_t)n : 0;
}

int record_set_generation(struct record *r, uint64_t generation, struct pa_err *err)
{
	return json_set_int(r->root, "generation", (int64_t)generation, err);
}

static const char *const mode_names[] = {
	[MODE_AUTO] = "auto",
	[MODE_OAUTH] = "oauth",
	[MODE_API_KEY] = "api_key",
	[MODE_ENV] = "env",
};

const char *mode_name(enum mode m)
{
	return mode_names[m];
}

bool mode_parse(const char *text, size_t len, enum mode *ret)
{
	for (size_t i = 0; i < sizeof(mode_names) / sizeof(*mode_names); i++) {
		if (strlen(mode_names[i]) == len && !memcmp(mode_names[i], text, len)) {
			*ret = (enum mode)i;
			return true;
		}
	}
	return false;
}

const char *lane_name(enum lane lane)
{
	switch (lane) {
	case LANE_NONE:
		return "none";
	case LANE_API_KEY:
		return "api_key";
	case LANE_OAUTH:
		return "oauth";
	case LANE_ENV:
		return "external";
	}
	return "none";
}

enum mode record_mode(const struct record *r)
{
	const char *s = str_or_empty(json_str(r->root, "mode"));
	enum mode m;

	return mode_parse(s, strlen(s), &m) ? m : MODE_AUTO;
}

int record_set_mode(struct record *r, enum mode mode, struct pa_err *err)
{
	return json_set_str(r->root, "mode", mode_name(mode), err);
}

const cJSON *record_lane(const struct record *r, enum lane lane)
{
	return cJSON_GetObjectItemCaseSensitive(r->root, lane_name(lane));
}

enum lane record_last(const struct record *r)
{
	bool key = record_lane(r, LANE_API_KEY) != NULL;
	bool oauth = record_lane(r, LANE_OAUTH) != NULL;

	if (key && oauth)
		return strcmp(str_or_empty(json_str(r->root, "last")), "oauth") == 0 ? LANE_OAUTH
										     : LANE_API_KEY;
	return key ? LANE_API_KEY : oauth ? LANE_OAUTH : LANE_NONE;
}

int record_replace_lane(struct record *r, enum lane lane, cJSON *entry, struct pa_err *err)
{
	return json_set(r->root, lane_name(lane), entry, err);
}

/* What was remembered about a login that is not there any more. The tokens that its family has had stay
 * known: whoever finds one of them in an old file must not bring it back. */
static void forget_login(struct record *r)
{
	json_drop(r->root, "dead");
	json_drop(r->root, "moved");
	link_drop_kept(r);
}

int record_set_lane(
	struct record *r, enum lane lane, cJSON *entry, int64_t now_ms, struct pa_err *err)
{
	int rc;

	if ((rc = record_replace_lane(r, lane, entry, err)) < 0)
		return rc;
	if ((rc = json_set_str(r->root, "last", lane_name(lane), err)) < 0)
		return rc;
	if (lane == LANE_OAUTH) {
		forget_login(r);
		/* The files hold another family. Without a proof nothing in them is unwanted: an import
		 * that finds the new login there links them again. */
		if ((rc = link_off(r, LANE_OAUTH, "", err)) < 0)
			return rc;
	}
	return record_set_changed_ms(r, now_ms, err);
}

void record_drop_lane(struct record *r, enum lane lane)
{
	json_drop(r->root, lane_name(lane));
	if (lane == LANE_OAUTH)
		forget_login(r);
}

const char *record_machine(const struct record *r)
{
	return str_or_empty(json_str(r->root, "machine"));
}

int record_set_machine(struct record *r, const char *machine, struct pa_err *err)
{
	return json_set_str(r->root, "machine", machine, err);
}

bool record_moved(const struct record *r)
{
	return json_bool(r->root, "moved", false);
}

int record_set_moved(struct record *r, bool moved, struct pa_err *err)
{
	if (!moved) {
		json_drop(r->root, "moved");
		return 0;
	}
	return json_set(r->root, "moved", cJSON_CreateTrue(), err);
}

uint32_t record_incarnation(const struct record *r)
{
	int64_t n;

	return json_int(r->root, "incarnation", &n) && n > 0 && n <= UINT32_MAX ? (uint32_t)n : 0;
}

int record_set_incarnation(struct record *r, uint32_t incarnation, struct pa_err *err)
{
	return json_set_int(r->root, "incarnation", incarnation, err);
}

const char *record_base_url(const struct record *r)
{
	return json_str(r->root, "base_url");
}

int record_set_base_url(struct record *r, const char *url, struct pa_err *err)
{
	return json_set_str(r->root, "base_url", url, err);
}

int64_t record_changed_ms(const struct record *r)
{
	int64_t n;

	return json_int(r->root, "changed", &n) ? n : 0;
}

int record_set_changed_ms(struct record *r, int64_t wall_ms, struct pa_err *err)
{
	return json_set_int(r->root, "changed", wall_ms, err);
}

int record_set_dead(struct record *r, const struct pa_err *why, int64_t wall_ms, struct pa_err *err)
{
	cJSON *dead = cJSON_CreateObject();
	int rc;

	if (!dead)
		return pa_fail(err, PA_NO_MEMORY, 0, "record");
	if ((rc = json_set_str(dead, "detail", why->detail, err)) < 0 ||
		(rc = json_set_int(dead, "http_status", why->http_status, err)) < 0 ||
		(rc = json_set_int(dead, "at", wall_ms, err)) < 0) {
		cJSON_Delete(dead);
		return rc;
	}
	return json_set(r->root, "dead", dead, err);
}

bool record_dead(const struct record *r, struct pa_err *ret_why, int64_t *ret_wall_ms)
{
	const cJSON *dead = cJSON_GetObjectItemCaseSensitive(r->root, "dead");
	int64_t n = 0;

	if (!cJSON_IsObject(dead))
		return false;
	pa_fail(ret_why, PA_REFRESH_DEAD, 0, "%s", str_or_empty(json_str(dead, "detail")));
	if (json_int(dead, "http_status", &n))
		ret_why->http_status = (int)n;
	*ret_wall_ms = json_int(dead, "at", &n) ? n : 0;
	return true;
}

const cJSON *record_pending(const struct record *r, enum lane lane)
{
	return cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(r->root, "pending"), lane_name(lane));
}

int record_set_pending(
	struct record *r, enum lane lane, cJSON *entry, const char *machine, struct pa_err *err)
{
	cJSON *pending = cJSON_GetObjectItemCaseSensitive(r->root, "pending");
	int rc;

	if (!pending) {
		pending = cJSON_CreateObject();
		if (!pending) {
			cJSON_Delete(entry);
			return pa_fail(err, PA_NO_MEMORY, 0, "record");
		}
		if ((rc = json_set(r->root, "pending", pending, err)) < 0) {
			cJSON_Delete(entry);
			return rc;
		}
	}
	if (lane == LANE_OAUTH && (rc = json_set_str(pending, "machine", machine, err)) < 0) {
		cJSON_Delete(entry);
		return rc;
	}
	return json_set(pending, lane_name(lane), entry, err);
}

void record_drop_pending(struct record *r, enum lane lane)
{
	cJSON *pending = cJSON_GetObjectItemCaseSensitive(r->root, "pending");

	if (!pending)
		return;
	json_drop(pending, lane_name(lane));
	if (lane == LANE_OAUTH)
		json_drop(pending, "machine");
	if (!pending->child)
		json_drop(r->root, "pending");
}

int record_adopt_pending(struct record *r, int64_t now_ms, bool *ret_any, struct pa_err *err)
{
	static const enum lane lanes[] = { LANE_OAUTH, LANE_API_KEY };
	bool any = false;
	int rc;

	for (size_t i = 0; i < sizeof(lanes) / sizeof(*lanes); i++) {
		cJSON *pending = cJSON_GetObjectItemCaseSensitive(r->root, "pending");
		cJSON *entry = pending ? cJSON_DetachItemFromObjectCaseSensitive(
						 pending, lane_name(lanes[i]))
				       : NULL;

		if (!entry)
			continue;
		any = true;
		if ((rc = record_set_lane(r, lanes[i], entry, now_ms, err)) < 0)
			return rc;
		if (lanes[i] == LANE_OAUTH &&
			(rc = record_set_machine(
				 r, str_or_empty(json_str(pending, "machine")), err)) < 0)
			return rc;
	}
	json_drop(r->root, "pending");
	*ret_any = any;
	return 0;
}

/* Drops one line end (LF or CRLF) and says whether the rest is one line of printable text. */
static int key_check(const char **text, size_t *len, struct pa_err *err)
{
	const char *s = *text;
	size_t n = *len, cr;

	if (n > 0 && s[n - 1] == '\n')
		n--;
	if (n > 0 && n < *len && s[n - 1] == '\r')
		n--;
	if (n == 0)
		return pa_fail(err, PA_BAD_INPUT, 0, "the value is empty");
	/* A CR at the end may be the first half of a CRLF that a second write completes. */
	cr = n == *len && s[n - 1] == '\r';
	if (n - cr > RECORD_KEY_MAX)
		return pa_fail(err, PA_TOO_BIG, 0, "the limit is %d bytes", RECORD_KEY_MAX);
	for (size_t i = 0; i < n - cr; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 0x20 || c == 0x7f)
			return pa_fail(err, PA_BAD_INPUT, 0,
				"byte %zu is a control character or a second line", i + 1);
	}
	n -= cr;
	*len = n;
	return n ? 0 : pa_fail(err, PA_BAD_INPUT, 0, "the value is empty");
}

static int key_entry(const char *text, size_t len, int64_t now_ms, cJSON **ret, struct pa_err *err)
{
	JSON_AUTO cJSON *entry = NULL;
	int rc;

	if ((rc = key_check(&text, &len, err)) < 0)
		return rc;
	if (!(entry = cJSON_CreateObject()))
		return pa_fail(err, PA_NO_MEMORY, 0, "record");
	if ((rc = json_set_str(entry, "type", "api_key", err)) < 0 ||
		(rc = json_set_strn(entry, "key", text, len, err)) < 0 ||
		(rc = json_set_int(entry, "set", now_ms, err)) < 0)
		return rc;
	*ret = entry;
	entry = NULL;
	return 0;
}

/* pi's auth.json entry: {"type":"oauth","access","refresh","expires"} or {"type":"api_key","key"}. */
static int pi_entry(const char *text, size_t len, int64_t now_ms, enum lane *ret_lane, cJSON **ret,
	bool *ret_incomplete, struct pa_err *err)
{
	JSON_AUTO cJSON *entry = NULL;
	const char *type, *key;
	int rc;

	if ((rc = json_parse(text, len, PA_BAD_INPUT, &entry, ret_incomplete, err)) < 0)
		return rc;
	type = json_str(entry, "type");
	if (!type)
		return pa_fail(err, PA_BAD_INPUT, 0, "an object with a \"type\" is expected");
	if (!strcmp(type, "api_key")) {
		key = json_str(entry, "key");
		if (!key)
			return pa_fail(err, PA_BAD_INPUT, 0, "\"key\" is missing");
		/* pi runs or expands such values; a stored credential is a value, not a program. */
		if (key[0] == '!' || key[0] == '$')
			return pa_fail(err, PA_BAD_INPUT, 0,
				"\"key\" is a command or variable, not a key");
		if ((rc = key_entry(key, strlen(key), now_ms, ret, err)) == 0)
			*ret_lane = LANE_API_KEY;
		return rc;
	}
	if (strcmp(type, "oauth"))
		return pa_fail(err, PA_BAD_INPUT, 0, "\"type\" must be oauth or api_key");
	*ret_lane = LANE_OAUTH;
	*ret = entry;
	entry = NULL;
	return 0;
}

int record_entry_from_text(enum lane lane, const char *text, size_t len, int64_t now_ms,
	enum lane *ret_lane, cJSON **ret, bool *ret_incomplete, struct pa_err *err)
{
	bool incomplete = false;
	int rc;

	if (lane == LANE_API_KEY) {
		*ret_incomplete = false;
		if ((rc = key_entry(text, len, now_ms, ret, err)) == 0)
			*ret_lane = LANE_API_KEY;
		return rc;
	}
	if (len > RECORD_OAUTH_MAX) {
		*ret_incomplete = false;
		return pa_fail(err, PA_TOO_BIG, 0, "the limit is %d bytes", RECORD_OAUTH_MAX);
	}
	rc = pi_entry(text, len, now_ms, ret_lane, ret, &incomplete, err);
	*ret_incomplete = incomplete;
	return rc;
}
