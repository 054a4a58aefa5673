/* Findings about the files of other tools: what docs/TAKEOVER.md says can go wrong with them. */
#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"
#include "legacy_scan.h"
#include "offline.h"
#include "store/import/import.h"
#include "store/secret.h"

struct files {
	struct doctor *d;
	struct legacy_owner owner;
	struct legacy_scan scan;
	cJSON *overview; /* status of every profile; NULL: not to be had */
	cJSON *report;   /* of the last migration; NULL likewise */
	struct offline tables;
};

/* One line of the report about one thing, put together from several findings. */
struct line {
	enum doctor_level level;
	char finding[400], remedy[400];
};

PA_PRINTF(3, 4)
static void append(char *text, size_t size, const char *fmt, ...)
{
	size_t len = strlen(text);
	va_list args;
	if (len && len < size - 1)
		len += (size_t)snprintf(text + len, size - len, "; ");
	if (len >= size)
		return;
	va_start(args, fmt);
	vsnprintf(text + len, size - len, fmt, args);
	va_end(args);
}

static void raise_to(struct line *l, enum doctor_level level)
{
	if (l->level < level)
		l->level = level;
}

#define finds(l, ...) append((l)->finding, sizeof((l)->finding), __VA_ARGS__)
#define asks(l, ...)  append((l)->remedy, sizeof((l)->remedy), __VA_ARGS__)

static void say(struct files *f, const char *check, const struct line *l)
{
	doctor_say(f->d, check, l->level, l->remedy, "%s", l->finding);
}

static const char *title_of(const cJSON *message)
{
	const struct importer *i = importer_find(scan_str(message, "tool"));
	return i ? i->title : scan_str(message, "tool");
}

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* ---- what piauth has to do with an entry ---- */

/* The link to it, and whose it is; NULL: no profile has one. */
static const cJSON *link_of(const struct files *f, const cJSON *entry, const char **ret_profile)
{
	const cJSON *status, *link;
	cJSON_ArrayForEach (status, f->overview) {
		cJSON_ArrayForEach (link, json_at(status, "/links")) {
			if (!scan_is(link, "path", scan_str(entry, "path")) ||
				!scan_is(link, "name", scan_str(entry, "name")))
				continue;
			if (ret_profile)
				*ret_profile = scan_str(status, "profile");
			return link;
		}
	}
	return NULL;
}

static bool is_linked(const struct files *f, const cJSON *entry)
{
	const cJSON *link = link_of(f, entry, NULL);
	return link && scan_is(link, "state", "on");
}

/* A token that may be spent only once: two programs must not both have it. What is not known may be one. */
static bool rotates(const struct files *f, const cJSON *entry)
{
	const char *id = scan_str(entry, "provider");
	const struct provider *p =
		f->tables.providers ? provider_find(f->tables.providers, id, strlen(id)) : NULL;
	return !p || !p->oauth || p->oauth->rotates;
}

static const char *refresh_of(const cJSON *entry)
{
	if (!scan_is(entry, "lane", "oauth"))
		return "";
	return scan_str(cJSON_GetObjectItemCaseSensitive(entry, "entry"), "refresh");
}

/* ---- each file ---- */

static bool is_beside(const char *a, const char *b)
{
	size_t len = (size_t)(base_of(a) - a);
	return len == (size_t)(base_of(b) - b) && strncmp(a, b, len) == 0;
}

/*
 * pi took the logins of oauth.json over when it had no auth.json yet; with one it never looks there again. The
 * importers read such files, and what else keeps one does not have an auth.json beside it.
 */
static bool is_left_over(const struct files *f, const char *path)
{
	const cJSON *file;
	if (strncmp(base_of(path), "oauth.json", 10) != 0)
		return false;
	cJSON_ArrayForEach (file, f->scan.files) {
		if (is_beside(scan_str(file, "path"), path) && !scan_is(file, "state", "absent") &&
			strcmp(base_of(scan_str(file, "path")), "auth.json") == 0)
			return true;
	}
	return false;
}

struct tally {
	unsigned entries, served;
	const char *profile; /* one that is served */
};

static struct tally count_entries(const struct files *f, const char *path)
{
	struct tally t = { 0 };
	const cJSON *entry;
	cJSON_ArrayForEach (entry, f->scan.entries) {
		if (!scan_is(entry, "path", path))
			continue;
		t.entries++;
		if (is_linked(f, entry)) {
			t.served++;
			link_of(f, entry, &t.profile);
		}
	}
	return t;
}

static void check_rights(const struct files *f, const cJSON *file, struct line *l)
{
	const char *path = scan_str(file, "path");
	unsigned long mode = strtoul(scan_str(file, "mode"), NULL, 8);
	const struct passwd *pw;
	int64_t owner;
	if (json_int(file, "owner", &owner) && (uid_t)owner != f->owner.uid) {
		raise_to(l, DOCTOR_PROBLEM);
		finds(l, "it belongs to uid %lld", (long long)owner);
		pw = getpwuid(f->owner.uid);
		if (pw)
			asks(l, "chown %s %s", pw->pw_name, path);
		else
			asks(l, "chown %u %s", (unsigned)f->owner.uid, path);
	}
	if (mode & 077) {
		raise_to(l, DOCTOR_PROBLEM);
		finds(l, "others may read or write it (mode %04lo)", mode);
		asks(l, "chmod 600 %s", path);
	}
}

static void check_unreadable(const struct files *f, const cJSON *file, struct line *l)
{
	const char *path = scan_str(file, "path"), *reason = scan_str(file, "reason");
	if (strstr(reason, "mount of piauth")) {
		l->level = DOCTOR_NOTE;
		finds(l, "%s: %s, and is not imported from there", path, reason);
		asks(l, "Nothing, if the link to it was made on purpose");
		return;
	}
	l->level = DOCTOR_PROBLEM;
	if (strstr(reason, "looked at as root")) {
		finds(l, "%s", path);
		check_rights(f, file, l);
		return;
	}
	if (!*path) { /* where its files are cannot be told */
		finds(l, "%s: %s", title_of(file), reason);
		asks(l, "Set the variable to an absolute path, or unset it");
		return;
	}
	finds(l, "%s cannot be read: %s", path, reason);
	if (strcmp(reason, strerror(EACCES)) == 0)
		asks(l, "chmod u+r %s, and chmod u+rx for its directories", path);
	else
		asks(l, "%s did not write this: look what it is, then mv %s %s.away",
			title_of(file), path, path);
}

static void check_corrupt(const struct files *f, const cJSON *file, struct line *l)
{
	const char *path = scan_str(file, "path");
	int64_t offset = 0;
	l->level = DOCTOR_PROBLEM;
	if (scan_is(file, "reason", "empty")) {
		finds(l, "%s is empty: a write was cut short", path);
		asks(l, "Bring it back from a backup, or rm %s and log in again with %s", path,
			title_of(file));
		return;
	}
	if (json_int(file, "offset", &offset))
		finds(l, "%s is corrupt at byte %lld: %s", path, (long long)offset,
			scan_str(file, "reason"));
	else
		finds(l, "%s is not what %s writes: %s", path, title_of(file),
			scan_str(file, "reason"));
	asks(l, "Correct it there, or mv %s %s.corrupt and log in again with %s", path, path,
		title_of(file));
	check_rights(f, file, l);
}

static void check_found(const struct files *f, const cJSON *file, struct line *l)
{
	const char *path = scan_str(file, "path");
	struct tally t = count_entries(f, path);
	finds(l, "%s (%s): %u credentials", path, title_of(file), t.entries);
	if (t.entries == 0)
		return;
	if (is_left_over(f, path)) {
		/* One that was renamed is what a tool leaves on purpose. */
		raise_to(l, strcmp(base_of(path), "oauth.json") ? DOCTOR_NOTE : DOCTOR_PROBLEM);
		finds(l, "%s does not read it any more, because there is an auth.json beside it",
			title_of(file));
		asks(l, "When piauth has them (piauth migrate tells): rm %s", path);
	} else if (t.served) {
		raise_to(l, DOCTOR_NOTE);
		finds(l, "%u of them in piauth and, in plain text, here", t.served);
		asks(l, "When %s reads them from piauth: piauth migrate --take-over%s%s",
			title_of(file), t.served == 1 ? " " : "", t.served == 1 ? t.profile : "");
	}
	check_rights(f, file, l);
}

static void check_file(struct files *f, const cJSON *file)
{
	struct line l = { DOCTOR_OK };
	if (scan_is(file, "state", "absent"))
		return;
	if (scan_is(file, "state", "unreadable"))
		check_unreadable(f, file, &l);
	else if (scan_is(file, "state", "corrupt"))
		check_corrupt(f, file, &l);
	else
		check_found(f, file, &l);
	say(f, "files", &l);
}

static void check_silent(struct files *f)
{
	const cJSON *silent;
	cJSON_ArrayForEach (silent, f->scan.silent)
		doctor_say(f->d, "files", DOCTOR_PROBLEM, pa_remedy(PA_FILE_SILENT),
			"%s does not answer: the disk, or the server of a FUSE file system, hangs",
			scan_str(silent, "path"));
	if (f->scan.cut)
		doctor_say(f->d, "files", DOCTOR_PROBLEM, pa_remedy(PA_FILE_SILENT),
			"too much does not answer: the other files were not looked at");
}

/* ---- locks ---- */

static void check_lock(struct files *f, const cJSON *lock)
{
	const char *path = scan_str(lock, "lock"), *title = title_of(lock);
	struct line l = { DOCTOR_PROBLEM };
	int64_t age_s = 0;
	(void)json_int(lock, "age_s", &age_s);
	if (scan_is(lock, "state", "stale")) {
		finds(&l, "%s was left behind %lld s ago: %s waits for it", path, (long long)age_s,
			title);
		asks(&l, "rmdir %s", path);
	} else if (scan_is(lock, "state", "file")) {
		finds(&l, "%s is a file: %s takes it for a lock and waits for ever", path, title);
		asks(&l, "rm %s", path);
	} else if (scan_is(lock, "state", "not_empty")) {
		finds(&l, "%s is not empty: %s cannot remove this lock and waits for ever", path,
			title);
		asks(&l, "Look what is in it, then rm -r %s", path);
	} else {
		return; /* free, or held by somebody who is at work */
	}
	say(f, "locks", &l);
}

/* ---- families of tokens ---- */

static void check_pair(struct files *f, const cJSON *a, const cJSON *b)
{
	struct line l = { DOCTOR_PROBLEM };
	finds(&l, "%s and %s hold the same login (%s): whoever refreshes it ends it for the other",
		scan_str(a, "path"), scan_str(b, "path"), scan_str(b, "name"));
	asks(&l, "piauth migrate, which keeps both in step; or log in again with %s", title_of(b));
	say(f, "families", &l);
}

/* Whether another file has its refresh token too, and piauth does not keep both in step. */
static void check_twins(struct files *f, const cJSON *entry)
{
	const char *refresh = refresh_of(entry);
	if (!*refresh || !rotates(f, entry) || is_left_over(f, scan_str(entry, "path")))
		return;
	for (const cJSON *other = entry->next; other; other = other->next) {
		if (strcmp(refresh_of(other), refresh) != 0 ||
			scan_is(other, "path", scan_str(entry, "path")) ||
			is_left_over(f, scan_str(other, "path")) ||
			(is_linked(f, entry) && is_linked(f, other)))
			continue;
		check_pair(f, entry, other);
		return;
	}
}

/* The line of the last report about an entry that piauth has too. */
static const cJSON *taken_in(const struct files *f, const cJSON *entry)
{
	const cJSON *row;
	cJSON_ArrayForEach (row, json_at(f->report, "/entries")) {
		if (scan_is(row, "path", scan_str(entry, "path")) &&
			scan_is(row, "name", scan_str(entry, "name")) &&
			(scan_is(row, "decision", "imported") ||
				scan_is(row, "decision", "already_there")) &&
			!*scan_str(row, "reason"))
			return row;
	}
	return NULL;
}

static bool has_login(const struct files *f, const char *profile)
{
	const cJSON *status;
	cJSON_ArrayForEach (status, f->overview) {
		if (scan_is(status, "profile", profile))
			return cJSON_IsTrue(json_at(status, "/has_oauth"));
	}
	return false;
}

/* A place that piauth only reads: when it refreshes, the token that lies there is spent. */
static void check_read_only(struct files *f, const cJSON *entry)
{
	const cJSON *row = *refresh_of(entry) ? taken_in(f, entry) : NULL;
	const char *path = scan_str(entry, "path");
	if (!row || cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(entry, "linkable")) ||
		!rotates(f, entry) || is_left_over(f, path) ||
		!has_login(f, scan_str(row, "profile")))
		return;
	struct line l = { DOCTOR_NOTE };
	finds(&l, "%s is not kept in step: its login (%s) ends when piauth refreshes %s", path,
		scan_str(entry, "name"), scan_str(row, "profile"));
	asks(&l, "If no program uses it any more: rm %s", path);
	say(f, "families", &l);
}

/* What piauth itself has found wrong with a file that it keeps in step. */
static void check_notes(struct files *f)
{
	const cJSON *status, *link;
	cJSON_ArrayForEach (status, f->overview) {
		cJSON_ArrayForEach (link, json_at(status, "/links")) {
			if (!*scan_str(link, "note"))
				continue;
			doctor_say(f->d, "links",
				scan_is(link, "state", "on") ? DOCTOR_PROBLEM : DOCTOR_NOTE,
				"Log in again with that tool, or piauth migrate --take-over.",
				"%s and %s: %s", scan_str(status, "profile"),
				scan_str(link, "path"), scan_str(link, "note"));
		}
	}
}

static void check_families(struct files *f)
{
	unsigned before = f->d->problems;
	const cJSON *entry;
	cJSON_ArrayForEach (entry, f->scan.entries) {
		check_twins(f, entry);
		check_read_only(f, entry);
	}
	check_notes(f);
	if (f->d->problems == before)
		doctor_say(f->d, "families", DOCTOR_OK, "", "no login has two owners");
}

/* ---- all of it ---- */

/* What cannot be read here is told by other checks. */
static void read_own(struct files *f)
{
	WIPE_AUTO char *status = NULL, *report = NULL;
	const struct client *c = f->d->client;
	size_t len;
	if (c->mounted == CLI_MOUNT_DEAD ||
		(c->mounted == CLI_MOUNT_NONE && !offline_store_exists(&c->paths)))
		return;
	if (client_status(c, NULL, &status, &len, NULL) == 0)
		(void)json_parse(status, len, PA_NET_ANSWER, &f->overview, NULL, NULL);
	if (c->mounted == CLI_MOUNTED &&
		client_read(c, NULL, ".piauth/migrate", &report, &len, NULL) == 0)
		(void)json_parse(report, len, PA_NET_ANSWER, &f->report, NULL, NULL);
}

static void check_all(struct files *f)
{
	unsigned lines = f->d->lines;
	const cJSON *item;
	check_silent(f);
	cJSON_ArrayForEach (item, f->scan.files)
		check_file(f, item);
	if (f->d->lines == lines)
		doctor_say(f->d, "files", DOCTOR_OK, "", "no other tool keeps a login under %s",
			f->owner.home);
	lines = f->d->lines;
	cJSON_ArrayForEach (item, f->scan.locks)
		check_lock(f, item);
	if (f->d->lines == lines)
		doctor_say(f->d, "locks", DOCTOR_OK, "", "none was left behind");
	check_families(f);
	doctor_home(f->d, &f->owner, &f->scan);
}

void doctor_files(struct doctor *d)
{
	struct files f = { .d = d };
	struct pa_err err;
	uid_t uid;
	gid_t gid;

	int r = cli_owner(&uid, &gid, &err);
	if (r == 0)
		r = legacy_owner_init(&f.owner, uid, gid, &err);
	if (r == 0 && !f.owner.home) {
		doctor_say(d, "home", DOCTOR_PROBLEM, "Set HOME to the home directory.",
			"uid %u has no home directory: the files of other tools are not found",
			(unsigned)uid);
		return;
	}
	if (r == 0)
		r = legacy_scan(&f.owner, &f.scan, &err);
	if (r < 0) {
		doctor_fail(d, "files", &err);
	} else {
		/* Without the table every login counts as one that rotates. */
		(void)offline_tables(&f.tables, &d->client->paths, NULL);
		read_own(&f);
		check_all(&f);
		offline_done(&f.tables);
	}
	cJSON_Delete(f.overview);
	cJSON_Delete(f.report);
	legacy_scan_done(&f.scan);
	legacy_owner_done(&f.owner);
}
