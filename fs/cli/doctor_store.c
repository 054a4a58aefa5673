#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"
#include "providers.h"
#include "store.h"
#include "store/secret.h"
#include "table.h"

#define CLOCK_SLACK_S 120          /* a file server's clock may be a little ahead of ours */
#define NAMED_MAX     3            /* how many files or profiles a finding names */
#define EPOCH_MIN_S   1735689600LL /* 2025-01-01: before it this program did not exist */

/* Names for a finding: the first few, then how many more. */
struct names {
	char text[200];
	unsigned count;
};

static void names_add(struct names *n, const char *name)
{
	size_t len = strlen(n->text);
	if (n->count < NAMED_MAX)
		snprintf(n->text + len, sizeof(n->text) - len, "%s%s", n->count ? ", " : "", name);
	else if (n->count == NAMED_MAX)
		snprintf(n->text + len, sizeof(n->text) - len, " ...");
	n->count++;
}

/* ---- the directory ---- */

struct tree {
	struct names unsafe;
	time_t newest;
};

static bool is_safe(const struct stat *st)
{
	return !S_ISLNK(st->st_mode) && st->st_uid == geteuid() && !(st->st_mode & 077);
}

/* Looks at dir_fd (which it closes) and one level below. */
static void look_at(struct tree *t, int dir_fd, bool below)
{
	DIR *dir = fdopendir(dir_fd);
	struct dirent *entry;
	if (!dir) {
		close(dir_fd);
		return;
	}
	while ((entry = readdir(dir))) {
		struct stat st;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue; /* replaced this moment: the server is at work */
		if (!is_safe(&st))
			names_add(&t->unsafe, entry->d_name);
		if (S_ISREG(st.st_mode) && st.st_mtime > t->newest)
			t->newest = st.st_mtime;
		if (!S_ISDIR(st.st_mode) || below)
			continue;
		int fd = openat(
			dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0)
			look_at(t, fd, true);
	}
	closedir(dir);
}

static void check_clock(struct doctor *d, time_t newest)
{
	int64_t now_s = table_now_ms() / 1000;
	char when[32];
	if (now_s < EPOCH_MIN_S) {
		doctor_say(d, "clock", DOCTOR_PROBLEM, "Set the clock (systemd-timesyncd, chrony).",
			"the clock stands before 2025");
	} else if (newest > now_s + CLOCK_SLACK_S) {
		table_relative((int64_t)newest * 1000, now_s * 1000, when);
		doctor_say(d, "clock", DOCTOR_PROBLEM, "Set the clock (systemd-timesyncd, chrony).",
			"the newest file of the store was written %s: the clock is behind", when);
	} else {
		doctor_say(d, "clock", DOCTOR_OK, "", "not before the newest file of the store");
	}
}

/* Returns the store's directory, or -1 when there is nothing to look at. */
static int check_directory(struct doctor *d)
{
	const char *store = d->client->paths.store;
	struct tree tree = { 0 };
	struct stat st;

	if (lstat(store, &st) < 0) {
		if (errno == ENOENT)
			doctor_say(d, "store", DOCTOR_NOTE, "", "no store at %s yet", store);
		else
			doctor_say(d, "store", DOCTOR_NOTE,
				"Run piauth doctor as the store's owner.", "%s: %s", store,
				strerror(errno));
		return -1;
	}
	if (S_ISDIR(st.st_mode) && st.st_uid != geteuid()) {
		doctor_say(d, "store", DOCTOR_PROBLEM, pa_remedy(PA_STORE_UNSAFE),
			"%s belongs to uid %u", store, (unsigned)st.st_uid);
		return -1;
	}
	if (!S_ISDIR(st.st_mode) || !is_safe(&st)) {
		doctor_say(d, "store", DOCTOR_PROBLEM, pa_remedy(PA_STORE_UNSAFE),
			S_ISLNK(st.st_mode)   ? "%s is a symbolic link"
			: S_ISDIR(st.st_mode) ? "%s is open to others"
					      : "%s is not a directory",
			store);
		return -1;
	}
	int fd = open(store, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0) {
		doctor_say(d, "store", DOCTOR_PROBLEM, "See the detail.", "%s: %s", store,
			strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	look_at(&tree, copy, false);
	if (tree.unsafe.count)
		doctor_say(d, "store", DOCTOR_PROBLEM, pa_remedy(PA_STORE_UNSAFE),
			"%s: open to others, foreign or a link: %s", store, tree.unsafe.text);
	else
		doctor_say(d, "store", DOCTOR_OK, "", "%s is yours alone", store);
	check_clock(d, tree.newest);
	return fd;
}

/* ---- the key ---- */

/* Whether there is a key file to open the store with. */
static void check_key_file(struct doctor *d, bool credential)
{
	const char *file = d->client->paths.key_file;
	struct stat st;
	if (lstat(file, &st) < 0) {
		if (credential && errno == ENOENT)
			doctor_say(d, "key-file", DOCTOR_OK, "",
				"none; the systemd credential " KEYSLOT_CREDENTIAL
				" takes its place");
		else
			doctor_say(d, "key-file", DOCTOR_PROBLEM,
				"Bring it back from a backup: without it the records cannot be "
				"read.",
				"%s: %s", file, strerror(errno));
	} else if (!S_ISREG(st.st_mode) || !is_safe(&st)) {
		doctor_say(d, "key-file", DOCTOR_PROBLEM, "Make it yours alone: chmod 0400.",
			"%s is a link, foreign or open to others", file);
	} else {
		doctor_say(d, "key-file", DOCTOR_OK, "", "%s is yours alone", file);
	}
}

static void check_keys(struct doctor *d, int store_fd)
{
	const char *credentials = secure_getenv("CREDENTIALS_DIRECTORY");
	struct keyslot_source source = {
		.dirfd = AT_FDCWD,
		.key_file = d->client->paths.key_file,
		.credentials_fd = -1,
	};
	struct keyslots *keys;
	struct pa_err err;

	if (faccessat(store_fd, "keyslots.json", F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
		doctor_say(d, "keyslots", DOCTOR_NOTE, "", "the store is empty: no key slots yet");
		return;
	}
	if (credentials)
		source.credentials_fd = open(credentials, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	check_key_file(d, source.credentials_fd >= 0 && faccessat(source.credentials_fd,
								KEYSLOT_CREDENTIAL, R_OK, 0) == 0);
	if (offline_heap(&err) < 0 || keyslots_open(store_fd, &source, false, &keys, &err) < 0) {
		doctor_fail(d, "keyslots", &err);
	} else {
		if (keys->nkeys > 1)
			doctor_say(d, "keyslots", DOCTOR_PROBLEM,
				"Stop the mount and run it again: piauth store rekey",
				"the key fits, but a rekey did not finish");
		else
			doctor_say(d, "keyslots", DOCTOR_OK, "", "the key fits");
		keyslots_free(keys);
	}
	if (source.credentials_fd >= 0)
		close(source.credentials_fd);
}

/* ---- the records ---- */

static void check_records(struct doctor *d)
{
	OFFLINE_AUTO struct offline o = { 0 };
	STORE_LIST_AUTO struct store_list list = { 0 };
	struct names damaged = { 0 }, foreign = { 0 }, moved = { 0 };
	struct pa_err err;

	int r = offline_vault(&o, &d->client->paths, false, &err);
	if (r == 0)
		r = store_list_read(&list, o.vault, &err);
	if (r < 0 && err.code == PA_STORE_BUSY) {
		doctor_say(d, "records", DOCTOR_NOTE, "",
			"a server has the store open and reports damage in status");
		return;
	}
	if (r < 0) {
		doctor_fail(d, "records", &err);
		return;
	}
	for (size_t i = 0; i < list.count; i++) {
		RECORD_AUTO struct record record = { 0 };
		if (store_item_open(&list.item[i], o.vault, &record, NULL) < 0)
			names_add(&damaged, list.item[i].name);
		else if (store_is_foreign(o.vault, &record))
			names_add(&foreign, record_profile(&record));
		else if (record_moved(&record))
			names_add(&moved, record_profile(&record));
	}
	if (damaged.count)
		doctor_say(d, "records", DOCTOR_PROBLEM, pa_remedy(PA_STORE_CORRUPT),
			"%u of %zu are damaged: %s", damaged.count, list.count, damaged.text);
	else
		doctor_say(d, "records", DOCTOR_OK, "", "all %zu open", list.count);
	if (foreign.count)
		doctor_say(d, "machine", DOCTOR_PROBLEM, pa_remedy(PA_STORE_MOVED),
			"%u belong to another machine: %s", foreign.count, foreign.text);
	else
		doctor_say(d, "machine", DOCTOR_OK, "", "no record belongs to another machine");
	if (moved.count)
		doctor_say(d, "machine", DOCTOR_NOTE, "", "%u were moved to another store: %s",
			moved.count, moved.text);
}

void doctor_store(struct doctor *d)
{
	int fd = check_directory(d);
	if (fd < 0)
		return;
	check_keys(d, fd);
	if (faccessat(fd, "keyslots.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		check_records(d);
	close(fd);
}

/* ---- configuration, logins, environment ---- */

static bool check_tables(struct doctor *d)
{
	struct client here = *d->client; /* this user's files, not what a mount was started with */
	OFFLINE_AUTO struct offline o;
	struct pa_err err;
	int r = offline_tables(&o, &here.paths, &err);
	if (r < 0 && !o.config) {
		doctor_fail(d, "config", &err);
		return false;
	}
	doctor_say(d, "config", DOCTOR_OK, "",
		access(here.paths.config, F_OK) == 0 ? "%s is valid" : "no %s: defaults",
		here.paths.config);
	if (r < 0) {
		doctor_fail(d, "providers", &err);
		return false;
	}
	doctor_say(d, "providers", DOCTOR_OK, "", "%zu are known", provider_count(o.providers));
	return true;
}

static void check_login(struct doctor *d, const cJSON *status, int64_t now_ms)
{
	const char *profile = json_str(status, "profile");
	const char *state = json_str(status, "state");
	const cJSON *last = json_at(status, "/last_error");
	const char *summary = json_str(last, "summary");
	const char *remedy = json_str(last, "diagnostic_remediation");
	int64_t expires_ms;
	char when[32];

	if (!profile || !state)
		return;
	bool expired = json_int(status, "expires_ms", &expires_ms) && expires_ms > 0 &&
		       expires_ms <= now_ms;
	if (strcmp(state, "dead") == 0 || strcmp(state, "unsaved") == 0 ||
		strcmp(state, "locked") == 0)
		doctor_say(d, "logins", DOCTOR_PROBLEM, remedy ? remedy : pa_remedy(PA_EXPIRED),
			"%s: %s. %s", profile, state, summary ? summary : "");
	else if (expired && strcmp(state, "valid") != 0) {
		table_relative(expires_ms, now_ms, when);
		doctor_say(d, "logins", DOCTOR_PROBLEM, remedy ? remedy : pa_remedy(PA_EXPIRED),
			"%s: expired %s, %s. %s", profile, when, state, summary ? summary : "");
	}
}

/* Tools look into their environment before they look at files. */
static void check_environment_of(struct doctor *d, const cJSON *status, const cJSON *table)
{
	const char *profile = json_str(status, "profile");
	const char *auth = json_str(status, "auth_state");
	const cJSON *provider, *variable;
	if (!profile || !auth || strcmp(auth, "none") == 0 || strcmp(auth, "external") == 0)
		return;
	provider = providers_by_profile(table, profile);
	for (int i = 0; i < 2; i++) {
		cJSON_ArrayForEach (variable, json_at(provider, i ? "/env_oauth" : "/env")) {
			const char *name = cJSON_GetStringValue(variable);
			const char *value = name ? secure_getenv(name) : NULL;
			char remedy[128];
			if (!value || !*value)
				continue;
			snprintf(remedy, sizeof(remedy),
				"unset %s, and remove it where the shell sets it.", name);
			doctor_say(d, "environment", DOCTOR_PROBLEM, remedy,
				"%s is set: tools take it instead of what is stored for %s", name,
				profile);
		}
	}
}

void doctor_logins(struct doctor *d)
{
	WIPE_AUTO char *text = NULL;
	JSON_AUTO cJSON *overview = NULL, *table = NULL;
	const cJSON *status;
	struct pa_err err;
	size_t len;
	int64_t now_ms = table_now_ms();

	if (!check_tables(d) || d->client->mounted == CLI_MOUNT_DEAD)
		return;
	if (d->client->mounted == CLI_MOUNT_NONE && !offline_store_exists(&d->client->paths))
		return;
	int r = client_status(d->client, NULL, &text, &len, &err);
	if (r == 0)
		r = json_parse(text, len, PA_NET_ANSWER, &overview, NULL, &err);
	if (r == 0)
		r = providers_load(d->client, &table, &err);
	if (r < 0) {
		/* What keeps the store from opening was found above. */
		bool told = d->client->mounted == CLI_MOUNT_NONE &&
			    strncmp(pa_wire(err.code), "store.", 6) == 0;
		if (!told)
			doctor_fail(d, "logins", &err);
		return;
	}
	unsigned before = d->problems;
	cJSON_ArrayForEach (status, overview)
		check_login(d, status, now_ms);
	if (d->problems == before)
		doctor_say(d, "logins", DOCTOR_OK, "", "none is dead or expired");
	before = d->problems;
	cJSON_ArrayForEach (status, overview)
		check_environment_of(d, status, table);
	if (d->problems == before)
		doctor_say(d, "environment", DOCTOR_OK, "",
			"no variable stands before a stored credential");
}
