#include "transaction.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../secret.h"
#include "file.h"
#include "formats.h"
#include "reply.h"

#define FILES_MAX   64
#define PUT_WAIT_MS 5000 /* for the lock around a write, and for one that was lost */
#define PUT_TRIES   5    /* against somebody who writes without a lock */

struct opened {
	const char *tool; /* the table's, or "" */
	char *path;
	const struct import_format *format; /* NULL: no such tool */
	enum lock_result lock;
	char lock_reason[160];
	bool backed_up; /* in this transaction: a second removal needs no second backup */
};

static int64_t boot_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static const char *lock_result_name(enum lock_result r)
{
	switch (r) {
	case LOCK_HELD:
		return "held";
	case LOCK_NONE:
		return "none";
	case LOCK_BUSY:
		return "busy";
	case LOCK_UNAVAILABLE:
		return "unavailable";
	}
	return "";
}

static const char *reason_of(const struct pa_err *err)
{
	return *err->detail ? err->detail : pa_summary(err->code);
}

void transaction_done(struct transaction *t)
{
	lock_drop(&t->locks, 0);
	for (size_t i = 0; i < t->n; i++)
		free(t->files[i].path);
	free(t->files);
	t->files = NULL;
	t->n = 0;
}

static int open_file(struct transaction *t, const cJSON *item, struct pa_err *err)
{
	const char *tool = json_str(item, "tool"), *path = json_str(item, "path");
	if (!tool || !path || *path != '/')
		return pa_fail(err, PA_BAD_INPUT, 0, "a file without tool or absolute path");
	const struct importer *importer = importer_find(tool);
	struct opened *f = &t->files[t->n];
	*f = (struct opened){
		.tool = importer ? importer->tool : "",
		.path = strdup(path),
		.format = importer ? formats_find(importer, t->home, path) : NULL,
		.lock = LOCK_NONE,
	};
	if (!f->path)
		return pa_fail(err, PA_NO_MEMORY, 0, "path of a file");
	t->n++;
	return 0;
}

static int compare_paths(const void *a, const void *b)
{
	const struct opened *const *x = a, *const *y = b;
	return strcmp((*x)->path, (*y)->path);
}

/* All locks or, where one is busy, none: in one order everywhere, so that nobody waits in a circle. */
static int take_locks(struct transaction *t, int64_t until_boot_ms, struct pa_err *err)
{
	struct opened **sorted = reallocarray(NULL, t->n + 1, sizeof(struct opened *));
	if (!sorted)
		return pa_fail(err, PA_NO_MEMORY, 0, "locks");
	for (size_t i = 0; i < t->n; i++)
		sorted[i] = &t->files[i];
	qsort(sorted, t->n, sizeof(*sorted), compare_paths);
	bool busy = false;
	for (size_t i = 0; i < t->n && !busy; i++) {
		struct opened *f = sorted[i];
		struct pa_err why = { 0 };
		if (!f->format)
			continue;
		f->lock = lock_take(&t->locks, f->format->lock, f->path, until_boot_ms, &why);
		busy = f->lock == LOCK_BUSY;
		if (f->lock == LOCK_UNAVAILABLE)
			snprintf(f->lock_reason, sizeof(f->lock_reason), "%s", reason_of(&why));
	}
	for (size_t i = 0; i < t->n && busy; i++) {
		if (t->files[i].lock == LOCK_HELD)
			t->files[i].lock = LOCK_NONE;
	}
	if (busy)
		lock_drop(&t->locks, 0);
	free(sorted);
	return 0;
}

static void read_opened(const struct opened *o, struct file *ret)
{
	if (!o->format) {
		*ret = (struct file){ .state = FILE_UNREADABLE, .reason = "no such tool" };
		return;
	}
	if (o->lock == LOCK_HELD)
		file_read(o->path, o->format->text, ret);
	else
		file_read_settled(o->path, o->format->text, ret);
}

/* Negative: no memory. A file of the wrong shape becomes a corrupt one. */
static int entry_of(const struct opened *o, struct file *f, const char *name,
	struct format_entry *ret, struct pa_err *err)
{
	struct pa_err why;
	*ret = (struct format_entry){ 0 };
	if (f->state != FILE_FOUND || formats_entry(o->format, f, name, ret, &why) == 0)
		return 0;
	format_entry_done(ret);
	*ret = (struct format_entry){ 0 };
	if (why.code == PA_NO_MEMORY)
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", why.detail);
	f->state = FILE_CORRUPT;
	f->offset = FILE_NO_OFFSET;
	snprintf(f->reason, sizeof(f->reason), "%s", reason_of(&why));
	return 0;
}

static int send_entry(const struct opened *o, struct file *f, const char *name,
	const struct import_report *to, struct pa_err *err)
{
	struct format_entry e;
	struct reply r;
	int rc = entry_of(o, f, name, &e, err);
	if (rc < 0)
		return rc;
	reply_start(&r, "entry", o->tool, o->path);
	reply_str(&r, "name", name);
	if (e.entry) {
		reply_str(&r, "lane", e.lane);
		reply_json(&r, "entry", e.entry);
		e.entry = NULL;
	} else if (e.there) {
		reply_str(&r, "refused", e.refused);
	} else if (f->state == FILE_UNREADABLE || f->state == FILE_CORRUPT) {
		reply_str(&r, "refused", f->reason); /* not to be taken for gone */
	}
	return reply_send(&r, to, err);
}

static int send_opened(const struct opened *o, const cJSON *names, const struct import_report *to,
	struct pa_err *err)
{
	struct format_entry ignored;
	const cJSON *item;
	struct reply r;
	struct file f;
	read_opened(o, &f);
	int rc = entry_of(o, &f, "", &ignored, err); /* is its shape right? */
	format_entry_done(&ignored);
	if (rc == 0) {
		reply_start(&r, "file", o->tool, o->path);
		reply_file(&r, &f, false);
		if (f.state == FILE_FOUND && *o->lock_reason)
			reply_str(&r, "reason", o->lock_reason);
		reply_str(&r, "lock", lock_result_name(o->lock));
		rc = reply_send(&r, to, err);
	}
	cJSON_ArrayForEach (item, names) {
		if (rc == 0 && cJSON_IsString(item))
			rc = send_entry(o, &f, item->valuestring, to, err);
	}
	file_done(&f);
	return rc;
}

int transaction_open(struct transaction *t, const cJSON *request, const struct import_report *to,
	struct pa_err *err)
{
	const cJSON *files = cJSON_GetObjectItemCaseSensitive(request, "files"), *item;
	struct reply r;
	int64_t wait_ms = 0;
	size_t i = 0;
	int rc = 0;
	transaction_done(t);
	int n = cJSON_GetArraySize(files);
	if (!cJSON_IsArray(files) || n > FILES_MAX)
		return pa_fail(err, PA_BAD_INPUT, 0, "no files, or too many");
	t->files = calloc((size_t)n + 1, sizeof(*t->files));
	if (!t->files)
		return pa_fail(err, PA_NO_MEMORY, 0, "files");
	cJSON_ArrayForEach (item, files) {
		if (rc == 0)
			rc = open_file(t, item, err);
	}
	json_int(request, "wait_ms", &wait_ms);
	if (rc == 0 && json_bool(request, "lock", false))
		rc = take_locks(t, boot_ms() + wait_ms, err);
	cJSON_ArrayForEach (item, files) {
		if (rc == 0)
			rc = send_opened(&t->files[i++],
				cJSON_GetObjectItemCaseSensitive(item, "names"), to, err);
	}
	if (rc < 0)
		return rc;
	reply_start(&r, "opened", NULL, NULL);
	return reply_send(&r, to, err);
}

/* ---- put and drop ---- */

struct change {
	struct opened *file;
	const char *name, *expect, *lane;
	const cJSON *entry; /* NULL: to be removed */
	bool backup;
};

enum outcome { WRITTEN, OVERTAKEN, FAILED };

static enum outcome outcome(enum outcome o, struct pa_err *why, const char *text)
{
	pa_fail(why, PA_FILE_UNUSABLE, 0, "%s", text);
	return o;
}

/* What identifies a credential; "" where there is none. */
static const char *token_of(const cJSON *entry, const char *lane)
{
	const char *token = json_str(entry, strcmp(lane, "api_key") == 0 ? "key" : "refresh");
	return token ? token : "";
}

/* Whether what is in the file may be replaced. */
static enum outcome judge(const struct change *c, const struct format_entry *e, struct pa_err *why)
{
	if (e->there && !e->entry)
		return outcome(OVERTAKEN, why, e->refused);
	if (e->there && strcmp(e->lane, c->lane) != 0)
		return outcome(OVERTAKEN, why, "another kind of credential is there now");
	const char *token = e->there ? token_of(e->entry, c->lane) : "";
	/* what was to be written may be there already: a put that was repeated */
	if (strcmp(token, c->expect) == 0 ||
		(c->entry && *token && strcmp(token, token_of(c->entry, c->lane)) == 0))
		return WRITTEN;
	return outcome(OVERTAKEN, why, e->there ? "another credential is there now" : "it is gone");
}

/* That a tool will find in the document what it is to find, before anything is written. */
static enum outcome verify(const struct change *c, const struct file *f, struct pa_err *why)
{
	struct format_entry e = { 0 };
	enum outcome o = WRITTEN;
	if (formats_entry(c->file->format, f, c->name, &e, why) < 0)
		o = FAILED;
	else if (c->entry &&
		 (!e.entry || strcmp(token_of(e.entry, c->lane), token_of(c->entry, c->lane)) != 0))
		o = outcome(FAILED, why, "the file does not take it");
	else if (!c->entry && e.there && *c->expect &&
		 strcmp(token_of(e.entry, c->lane), c->expect) == 0)
		o = outcome(FAILED, why, "the file does not let it go");
	format_entry_done(&e);
	return o;
}

static enum outcome change_document(const struct change *c, struct file *f, struct pa_err *why)
{
	const struct import_format *format = c->file->format;
	if (format->write(f->root, c->name, c->entry, why) < 0)
		return FAILED;
	enum outcome o = verify(c, f, why);
	if (o == WRITTEN && c->backup && !c->file->backed_up && f->state == FILE_FOUND) {
		if (file_backup(c->file->path, f, why) < 0)
			return FAILED;
		c->file->backed_up = true;
	}
	return o;
}

/* *ret_again: somebody else wrote between reading and writing. */
static enum outcome change_file(const struct change *c, bool *ret_again, struct pa_err *why)
{
	const struct import_format *format = c->file->format;
	struct format_entry e = { 0 };
	struct file f;
	enum outcome o = WRITTEN;
	*ret_again = false;
	file_read_settled(c->file->path, false, &f);
	if (f.state == FILE_UNREADABLE || f.state == FILE_CORRUPT)
		o = outcome(FAILED, why, f.reason);
	else if (f.state == FILE_FOUND && formats_entry(format, &f, c->name, &e, why) < 0)
		o = FAILED;
	else
		o = judge(c, &e, why);
	format_entry_done(&e);
	bool nothing = !c->entry && !e.there;
	if (o == WRITTEN && !nothing && f.state == FILE_ABSENT) {
		if (!format->empty)
			o = outcome(FAILED, why, "there is no such file");
		else if (json_parse(format->empty, strlen(format->empty), PA_FILE_UNUSABLE, &f.root,
				 NULL, why) < 0)
			o = FAILED;
	}
	if (o == WRITTEN && !nothing)
		o = change_document(c, &f, why);
	if (o == WRITTEN && !nothing) {
		int rc = file_replace(c->file->path, &f, f.root, why);
		*ret_again = rc == -ESTALE;
		o = rc < 0 ? FAILED : WRITTEN;
	}
	file_done(&f);
	return o;
}

/* Under the locks that this takes beyond those that are held: the tool's own around a write, and what the
 * transaction has lost, never got, or was not opened with. */
static enum outcome change_locked(struct transaction *t, const struct change *c, struct pa_err *why)
{
	enum import_lock kind = c->file->format->lock;
	int64_t until = boot_ms() + PUT_WAIT_MS;
	enum outcome o = FAILED;
	bool again = true;
	lock_touch(&t->locks);
	size_t before = t->locks.n;
	enum lock_result r = lock_take(&t->locks, kind, c->file->path, until, why);
	if (r != LOCK_BUSY)
		r = lock_take_write(&t->locks, kind, c->file->path, until, why);
	/* Where no lock can be made, the tool cannot make one either; comparing has to do. */
	for (int i = 0; i < PUT_TRIES && again && r != LOCK_BUSY; i++)
		o = change_file(c, &again, why);
	lock_drop(&t->locks, before);
	return o;
}

static struct opened *find_opened(const struct transaction *t, const char *tool, const char *path)
{
	for (size_t i = 0; tool && path && i < t->n; i++) {
		if (strcmp(t->files[i].path, path) == 0 && strcmp(t->files[i].tool, tool) == 0)
			return &t->files[i];
	}
	return NULL;
}

int transaction_put(struct transaction *t, const cJSON *request, bool drop,
	const struct import_report *to, struct pa_err *err)
{
	static const char *const names[] = {
		[WRITTEN] = "written",
		[OVERTAKEN] = "overtaken",
		[FAILED] = "failed",
	};
	const char *tool = json_str(request, "tool"), *path = json_str(request, "path");
	const struct change c = {
		.file = find_opened(t, tool, path),
		.name = json_str(request, "name"),
		.expect = json_str(request, "expect"),
		.lane = json_str(request, "lane"),
		.entry = drop ? NULL : cJSON_GetObjectItemCaseSensitive(request, "entry"),
		.backup = json_bool(request, "backup", false),
	};
	struct pa_err why = { 0 };
	struct reply r;
	enum outcome o;
	if (!c.name || !c.expect || !c.lane || (!drop && !cJSON_IsObject(c.entry)))
		return pa_fail(err, PA_BAD_INPUT, 0, "a change without name, lane or entry");
	if (!c.file || !c.file->format)
		o = outcome(FAILED, &why, "this file was not opened");
	else if (!c.file->format->write)
		o = outcome(FAILED, &why, "this file is never written");
	else
		o = change_locked(t, &c, &why);
	reply_start(&r, "put", tool, path);
	reply_str(&r, "name", c.name);
	reply_str(&r, "result", names[o]);
	if (o != WRITTEN)
		reply_str(&r, "reason", reason_of(&why));
	return reply_send(&r, to, err);
}
