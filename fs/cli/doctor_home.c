/* Whether tools and piauth look into the same directories, and into them before the environment. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "doctor.h"
#include "legacy_scan.h"
#include "store/import/import.h"
#include "store/secret.h"

#define NAMED_MAX 3 /* how many paths a finding names */

struct home {
	struct doctor *d;
	const struct legacy_owner *owner;
	const struct legacy_scan *scan;
};

/* ---- variables ---- */

/* The file that a tool would look into; NULL: it has none with a credential in it. */
static const char *used_file(const struct home *h, const char *tool)
{
	const cJSON *entry;
	cJSON_ArrayForEach (entry, h->scan->entries) {
		if (scan_is(entry, "tool", tool))
			return scan_str(entry, "path");
	}
	return NULL;
}

static void check_shadows(struct home *h)
{
	for (size_t i = 0; importers[i]; i++) {
		const char *path = used_file(h, importers[i]->tool);
		const char *const *name = import_shadows(importers[i]->tool);
		for (; path && *name; name++) {
			char remedy[128];
			if (!import_env(*name))
				continue;
			snprintf(remedy, sizeof(remedy),
				"unset %s, and remove it where the shell sets it.", *name);
			doctor_say(h->d, "environment", DOCTOR_PROBLEM, remedy,
				"%s is set: %s takes it instead of what is in %s", *name,
				importers[i]->title, path);
		}
	}
}

/* ---- the home directory ---- */

/* XDG's are for all programs and need not be there; the others name what one tool has made. */
static bool names_one_tool(const char *variable)
{
	return strncmp(variable, "XDG_", 4) != 0;
}

static void check_directories(struct home *h)
{
	for (size_t i = 0; import_env_names[i]; i++) {
		const char *name = import_env_names[i];
		struct stat st;
		if (!import_env(name) || !names_one_tool(name))
			continue;
		char *dir = import_dir(name, h->owner->home, "");
		if (!dir)
			doctor_say(h->d, "home", DOCTOR_PROBLEM,
				"Set it to an absolute path, or unset it.",
				"%s is relative: piauth does not know what to, and looks nowhere",
				name);
		else if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
			doctor_say(h->d, "home", DOCTOR_PROBLEM,
				"Correct it, or unset it: what it names is the only place looked "
				"at.",
				"%s names %s, where there is no directory", name, dir);
		free(dir);
	}
}

static bool is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);
	return strncmp(path, dir, len) == 0 && path[len] == '/';
}

static bool has_file_of(const cJSON *files, const char *tool)
{
	const cJSON *file;
	cJSON_ArrayForEach (file, files) {
		if (scan_is(file, "tool", tool) && !scan_is(file, "state", "absent"))
			return true;
	}
	return false;
}

/* What tools that have nothing in $HOME have in the other one. */
static void check_other_home(struct home *h, const char *home)
{
	struct legacy_owner other = *h->owner;
	LEGACY_SCAN_AUTO struct legacy_scan scan = { 0 };
	char names[300] = "";
	unsigned count = 0;
	const cJSON *file;
	struct pa_err err;
	other.home = strdup(home);
	int r = other.home ? legacy_scan(&other, &scan, &err)
			   : pa_fail(&err, PA_NO_MEMORY, 0, "%s", home);
	free(other.home);
	if (r < 0) {
		doctor_fail(h->d, "home", &err);
		return;
	}
	cJSON_ArrayForEach (file, scan.files) {
		if (scan_is(file, "state", "absent") || !is_below(scan_str(file, "path"), home) ||
			has_file_of(h->scan->files, scan_str(file, "tool")))
			continue;
		if (count++ < NAMED_MAX)
			snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s",
				*names ? ", " : "", scan_str(file, "path"));
	}
	if (count)
		doctor_say(h->d, "home", DOCTOR_NOTE,
			"Start piauth with the HOME that the tools have, or: piauth mount "
			"--legacy-home DIR",
			"HOME is %s; your files of other tools are elsewhere (%u): %s",
			h->owner->home, count, names);
	else
		doctor_say(h->d, "home", DOCTOR_NOTE,
			"If that is not meant: start piauth and the tools with the same HOME.",
			"HOME is %s; the user database says %s", h->owner->home, home);
}

static bool is_same_directory(const char *a, const char *b)
{
	struct stat x, y;
	if (strcmp(a, b) == 0)
		return true;
	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static void check_home(struct home *h)
{
	const struct passwd *pw = getpwuid(h->owner->uid);
	unsigned lines = h->d->lines;
	/* What hangs is not touched by this process. */
	if (cJSON_GetArraySize(h->scan->silent))
		return;
	check_directories(h);
	if (pw && pw->pw_dir[0] == '/' && !is_same_directory(pw->pw_dir, h->owner->home)) {
		WIPE_AUTO char *home = wipe_strdup(pw->pw_dir);
		if (home)
			check_other_home(h, home);
	}
	if (h->d->lines == lines)
		doctor_say(h->d, "home", DOCTOR_OK, "", "%s is where tools keep their files",
			h->owner->home);
}

void doctor_home(struct doctor *d, const struct legacy_owner *owner, const struct legacy_scan *scan)
{
	struct home h = { d, owner, scan };
	check_shadows(&h);
	check_home(&h);
}
