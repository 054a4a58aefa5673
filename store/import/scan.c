#include "import.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../utf8.h"
#include "file.h"
#include "formats.h"
#include "lock.h"
#include "reply.h"

#define ENTRIES_MAX 1000 /* of one file that are reported; nobody has more, but a file may */
#define NAME_LEN    255  /* import.h */

struct scan {
	const char *home;
	const cJSON *skip;
	bool examine;
	const struct import_report *to;
	/* What earlier places of the tool hold, "provider profile lane" -> {"path","entry"}. NULL: each counts
	 * by itself. */
	cJSON *earlier;
};

/* A file that is being read. */
struct look {
	const struct scan *scan;
	const struct importer *importer;
	const struct import_format *format;
	const char *path;
	cJSON *mine;    /* as scan.earlier, of this file */
	cJSON *entries; /* the messages, an array: they come after the one about the file */
	size_t seen;
};

static bool is_utf8(const char *text)
{
	bool cut;
	size_t len = strlen(text);
	return utf8_bad_byte(text, len, &cut) == len;
}

static bool is_skipped(const struct scan *s, const char *path)
{
	const cJSON *item;
	cJSON_ArrayForEach (item, s->skip) {
		if (cJSON_IsString(item) && strcmp(item->valuestring, path) == 0)
			return true;
	}
	return false;
}

/* The token or key; that of an earlier file again is another copy of one credential, not another one. */
static bool is_same_secret(const cJSON *a, const cJSON *b, const char *lane)
{
	const char *member = strcmp(lane, "oauth") == 0 ? "refresh" : "key";
	const char *one = json_str(a, member), *other = json_str(b, member);
	return one && other && *one && strcmp(one, other) == 0;
}

static int remember(struct look *l, const char *slot, const cJSON *entry, struct pa_err *err)
{
	cJSON *seen = cJSON_CreateObject();
	int rc = seen ? json_set_str(seen, "path", l->path, err)
		      : pa_fail(err, PA_NO_MEMORY, 0, "entry of a file");
	if (rc == 0)
		rc = json_set(seen, "entry", cJSON_Duplicate(entry, true), err);
	if (rc < 0) {
		cJSON_Delete(seen);
		return rc;
	}
	return json_set(l->mine, slot, seen, err);
}

/* Whether an earlier file of the tool has another one: *ret_path is which, or NULL. Ids know no case. */
static int find_earlier(
	struct look *l, const struct import_entry *e, const char **ret_path, struct pa_err *err)
{
	const cJSON *before;
	char *slot;
	if (asprintf(&slot, "%s %s %s", e->provider, e->profile ? e->profile : "", e->lane) < 0)
		return pa_fail(err, PA_NO_MEMORY, 0, "entry of a file");
	for (char *p = slot; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	before = cJSON_GetObjectItemCaseSensitive(l->scan->earlier, slot);
	*ret_path = NULL;
	if (before && !is_same_secret(
			      cJSON_GetObjectItemCaseSensitive(before, "entry"), e->entry, e->lane))
		*ret_path = json_str(before, "path");
	int rc = before ? 0 : remember(l, slot, e->entry, err);
	free(slot);
	return rc;
}

static bool is_too_long(const char *name)
{
	return name && strlen(name) > NAME_LEN;
}

/* Makes the message for an entry; takes e->entry. */
static int keep(struct look *l, struct import_entry *e, struct pa_err *err)
{
	char name[NAME_LEN + 1], there[PATH_MAX + 32];
	const char *refused = e->entry ? NULL : e->refused ? e->refused : "it cannot be read";
	const char *earlier = NULL;
	struct reply r;
	int rc = 0;
	if (is_too_long(e->name) || is_too_long(e->provider) || is_too_long(e->profile))
		refused = "its name is too long";
	else if (!refused)
		rc = find_earlier(l, e, &earlier, err);
	if (earlier) {
		snprintf(there, sizeof(there), "%s has this one", earlier);
		refused = there;
	}
	if (rc < 0 || refused) {
		cJSON_Delete(e->entry);
		e->entry = NULL;
	}
	if (rc < 0)
		return rc;
	reply_start(&r, "entry", l->importer->tool, l->path);
	snprintf(name, sizeof(name), "%s", e->name); /* cut only where it is refused */
	reply_str(&r, "name", name);
	reply_str(&r, "provider", is_too_long(e->provider) ? NULL : e->provider);
	if (refused) {
		reply_str(&r, "refused", refused);
	} else {
		reply_str(&r, "profile", e->profile);
		reply_str(&r, "lane", e->lane);
		reply_json(&r, "entry", e->entry);
		reply_bool(&r, "linkable", l->format->linkable);
	}
	if (r.rc < 0) {
		reply_drop(&r);
		return pa_fail(err, r.err.code, r.err.errnum, "%s", r.err.detail);
	}
	cJSON_AddItemToArray(l->entries, r.message);
	return 0;
}

static int keep_entry(void *arg, struct import_entry *e, struct pa_err *err)
{
	struct look *l = arg;
	if (l->seen++ < ENTRIES_MAX)
		return keep(l, e, err);
	cJSON_Delete(e->entry);
	return 0;
}

/* Negative: no memory. What is wrong with the file itself is said in f. */
static int read_entries(struct look *l, struct file *f, struct pa_err *err)
{
	const struct import_sink sink = { keep_entry, l };
	char rest[64];
	struct pa_err why;
	l->mine = cJSON_CreateObject();
	l->entries = cJSON_CreateArray();
	if (!l->mine || !l->entries)
		return pa_fail(err, PA_NO_MEMORY, 0, "entries of a file");
	if (f->state != FILE_FOUND)
		return 0;
	int rc = formats_read(l->format, f, &sink, &why);
	if (rc == 0 && l->seen > ENTRIES_MAX) {
		snprintf(rest, sizeof(rest), "%zu more: only %d of a file are looked at",
			l->seen - ENTRIES_MAX, ENTRIES_MAX);
		return keep(l, &(struct import_entry){ .name = "", .refused = rest }, err);
	}
	if (rc == 0)
		return 0;
	if (why.code == PA_NO_MEMORY)
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", why.detail);
	/* the wrong shape: then nothing in it is believed */
	f->state = FILE_CORRUPT;
	f->offset = FILE_NO_OFFSET;
	snprintf(f->reason, sizeof(f->reason), "%s",
		*why.detail ? why.detail : pa_summary(why.code));
	cJSON_Delete(l->mine);
	cJSON_Delete(l->entries);
	l->mine = cJSON_CreateObject();
	l->entries = cJSON_CreateArray();
	return 0;
}

/* The entries that were kept; what they hold now counts against later places. */
static int send_entries(struct scan *s, struct look *l, struct pa_err *err)
{
	cJSON *item;
	while ((item = cJSON_DetachItemFromArray(l->entries, 0))) {
		struct reply r = { .message = item };
		int rc = reply_send(&r, s->to, err);
		if (rc < 0)
			return rc;
	}
	return s->earlier ? json_merge(s->earlier, l->mine, err) : 0;
}

static int send_lock(const struct scan *s, const struct look *l, struct pa_err *err)
{
	struct reply r;
	int64_t age_s;
	char lock[PATH_MAX];
	if (l->format->lock == IMPORT_LOCK_NONE)
		return 0;
	const char *state = lock_look(l->format->lock, l->path, &age_s, lock);
	reply_start(&r, "lock", l->importer->tool, l->path);
	reply_str(&r, "state", state);
	if (strcmp(state, "free") != 0) {
		reply_str(&r, "lock", lock);
		reply_int(&r, "age_s", age_s);
	}
	return reply_send(&r, s->to, err);
}

/* A read that hangs is known by the last path that was sent. */
static int send_looking(
	const struct scan *s, const struct importer *i, const char *path, struct pa_err *err)
{
	struct reply r;
	reply_start(&r, "looking", i ? i->tool : "", path);
	return reply_send(&r, s->to, err);
}

static int look_at(struct scan *s, const struct importer *importer,
	const struct import_format *format, const char *path, struct pa_err *err)
{
	struct look l = { .scan = s, .importer = importer, .format = format, .path = path };
	struct reply r;
	struct file f = { .state = FILE_UNREADABLE, .reason = "its path is not UTF-8" };
	int rc = send_looking(s, importer, path, err);
	if (rc < 0)
		return rc;
	if (is_utf8(path))
		file_read_settled(path, format->text, &f);
	rc = read_entries(&l, &f, err);
	if (rc == 0) {
		reply_start(&r, "file", importer->tool, path);
		reply_file(&r, &f, s->examine);
		rc = reply_send(&r, s->to, err);
	}
	file_done(&f);
	if (rc == 0)
		rc = send_entries(s, &l, err);
	if (rc == 0 && s->examine)
		rc = send_lock(s, &l, err);
	cJSON_Delete(l.mine);
	cJSON_Delete(l.entries);
	return rc;
}

/* A tool whose places cannot be told: its variable makes no sense, say. */
static int send_nowhere(const struct scan *s, const struct importer *i, const struct pa_err *why,
	struct pa_err *err)
{
	struct reply r;
	reply_start(&r, "file", i->tool, "");
	reply_str(&r, "state", file_state_name(FILE_UNREADABLE));
	reply_str(&r, "reason", *why->detail ? why->detail : pa_summary(why->code));
	return reply_send(&r, s->to, err);
}

static int scan_tool(struct scan *s, const struct importer *i, struct pa_err *err)
{
	struct import_places places = { 0 };
	struct pa_err why;
	/* to tell the places it may look at the home directory */
	int rc = send_looking(s, i, s->home, err);
	int found = i->places(s->home, &places, &why);
	if (found == 0 && places.n == 0) /* without variables every tool has one */
		found = pa_fail(&why, PA_FILE_UNUSABLE, 0,
			"the variable that names its directory holds no absolute path");
	if (rc == 0 && found < 0)
		rc = send_nowhere(s, i, &why, err);
	s->earlier = cJSON_CreateObject();
	if (rc == 0 && !s->earlier)
		rc = pa_fail(err, PA_NO_MEMORY, 0, "places of a tool");
	for (size_t p = 0; p < places.n && rc == 0; p++) {
		bool twice = false;
		for (size_t before = 0; before < p; before++)
			twice |= strcmp(places.v[before].path, places.v[p].path) == 0;
		if (!twice && !is_skipped(s, places.v[p].path))
			rc = look_at(s, i, places.v[p].format, places.v[p].path, err);
	}
	import_places_done(&places);
	cJSON_Delete(s->earlier);
	s->earlier = NULL;
	return rc;
}

/* A file that was named: in the format, of those its name may mean, that understands most of it. */
static int scan_file(struct scan *s, const char *path, struct pa_err *err)
{
	struct format_of formats[FORMATS_MAX];
	size_t n = formats_by_name(path, NULL, formats);
	if (n == 0)
		return pa_fail(err, PA_UNSUPPORTED, 0, "no tool is known");
	int rc = send_looking(s, formats[0].importer, path, err);
	if (rc < 0)
		return rc;
	int best = formats_best(formats, n, path, NULL);
	const struct format_of *f = &formats[best < 0 ? 0 : best];
	return look_at(s, f->importer, f->format, path, err);
}

/* Every name that a tool's file can have, once. */
static int scan_directory(struct scan *s, const char *dir, struct pa_err *err)
{
	int rc = 0;
	cJSON *done = cJSON_CreateObject();
	if (!done)
		return pa_fail(err, PA_NO_MEMORY, 0, "names of files");
	for (size_t i = 0; importers[i] && rc == 0; i++) {
		for (const struct import_name *n = importers[i]->names; n->name && rc == 0; n++) {
			char path[PATH_MAX];
			int len = snprintf(path, sizeof(path), "%s%s%s", dir,
				dir[strlen(dir) - 1] == '/' ? "" : "/", n->name);
			if (json_str(done, n->name) || len >= (int)sizeof(path) ||
				is_skipped(s, path))
				continue;
			rc = json_set_str(done, n->name, "", err);
			if (rc == 0)
				rc = scan_file(s, path, err);
		}
	}
	cJSON_Delete(done);
	return rc;
}

static int scan_from(struct scan *s, const char *from, struct pa_err *err)
{
	struct stat st;
	if (*from != '/')
		return pa_fail(err, PA_BAD_INPUT, 0, "the path is not absolute");
	int rc = send_looking(s, NULL, from, err);
	if (rc < 0)
		return rc;
	return stat(from, &st) == 0 && S_ISDIR(st.st_mode) ? scan_directory(s, from, err)
							   : scan_file(s, from, err);
}

int import_scan(
	const char *home, const cJSON *request, const struct import_report *to, struct pa_err *err)
{
	struct scan s = {
		.home = home,
		.skip = cJSON_GetObjectItemCaseSensitive(request, "skip"),
		.examine = json_bool(request, "examine", false),
		.to = to,
	};
	const char *from = json_str(request, "from");
	if (from)
		return scan_from(&s, from, err);
	for (size_t i = 0; importers[i]; i++) {
		int rc = scan_tool(&s, importers[i], err);
		if (rc < 0)
			return rc;
	}
	return 0;
}
