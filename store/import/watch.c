#include "watch.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define HOPS_MAX 40 /* symbolic links on the way, as the kernel has it */

/*
 * Written in place: CLOSE_WRITE, not MODIFY, which comes before all is written. Renamed over, moved away,
 * deleted, made anew or linked there (CREATE: a link is not written to). Not ATTRIB: our own chmod and the
 * readers' atime are no news. What happens to the directory itself ends the watch.
 */
#define EVENTS                                                                                   \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_DELETE_SELF | \
		IN_MOVE_SELF)
/* For a directory that is missing. */
#define EVENTS_ABOVE (IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF)

struct watch {
	int fd;
	cJSON *rows;
	const char *file; /* of the request */
};

static int add_row(struct watch *w, int wd, const char *name, struct pa_err *err)
{
	cJSON *row = cJSON_CreateObject();
	int rc = row ? 0 : pa_fail(err, PA_NO_MEMORY, 0, "row of a watch");
	if (rc == 0)
		rc = json_set_int(row, "wd", wd, err);
	if (rc == 0)
		rc = json_set_str(row, "path", w->file, err);
	if (rc == 0)
		rc = json_set_str(row, "file", name, err);
	if (rc < 0)
		cJSON_Delete(row);
	else
		cJSON_AddItemToArray(w->rows, row);
	return rc;
}

/* Splits an absolute path into its directory and its last name. */
static void split(const char *path, char dir[PATH_MAX], char name[NAME_MAX + 1])
{
	const char *slash = strrchr(path, '/');
	snprintf(name, NAME_MAX + 1, "%s", slash + 1);
	snprintf(dir, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

/* One name on the way to the file. A directory that may not be watched has no row. */
static int watch_name(struct watch *w, const char *path, struct pa_err *err)
{
	char at[PATH_MAX], dir[PATH_MAX], name[NAME_MAX + 1];
	uint32_t events = EVENTS;
	snprintf(at, sizeof(at), "%s", path);
	for (;;) {
		split(at, dir, name);
		int wd = inotify_add_watch(w->fd, dir, events | IN_MASK_ADD | IN_ONLYDIR);
		if (wd >= 0)
			return add_row(w, wd, name, err);
		if (errno == ENOSPC || errno == ENOMEM)
			return pa_fail(err, PA_SYSTEM, errno, "no more inotify watches");
		if ((errno != ENOENT && errno != ENOTDIR) || strcmp(dir, "/") == 0)
			return 0;
		events = EVENTS_ABOVE;
		snprintf(at, sizeof(at), "%s", dir);
	}
}

/* The next name behind a symbolic link; false: it is none. */
static bool follow(const char *path, char ret[PATH_MAX])
{
	char target[PATH_MAX], dir[PATH_MAX], name[NAME_MAX + 1];
	ssize_t len = readlink(path, target, sizeof(target) - 1);
	if (len <= 0)
		return false;
	target[len] = '\0';
	split(path, dir, name);
	int made = *target == '/' ? snprintf(ret, PATH_MAX, "%s", target)
				  : snprintf(ret, PATH_MAX, "%s/%s", dir, target);
	return made < PATH_MAX;
}

static int watch_file(struct watch *w, struct pa_err *err)
{
	char path[PATH_MAX], next[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s", w->file) >= (int)sizeof(path))
		return pa_fail(err, PA_BAD_INPUT, 0, "a path that is too long");
	for (int hop = 0; hop <= HOPS_MAX; hop++) {
		int rc = watch_name(w, path, err);
		if (rc < 0 || !follow(path, next))
			return rc;
		memcpy(path, next, sizeof(path));
	}
	return 0;
}

int watch_files(const cJSON *files, cJSON **ret_rows, int *ret_fd, struct pa_err *err)
{
	struct watch w = { .fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC) };
	const cJSON *item;
	if (w.fd < 0)
		return pa_fail(err, PA_SYSTEM, errno, "inotify");
	w.rows = cJSON_CreateArray();
	int rc = w.rows ? 0 : pa_fail(err, PA_NO_MEMORY, 0, "rows of a watch");
	cJSON_ArrayForEach (item, files) {
		w.file = json_str(item, "path");
		if (rc == 0 && (!w.file || *w.file != '/'))
			rc = pa_fail(err, PA_BAD_INPUT, 0, "a file without an absolute path");
		if (rc == 0)
			rc = watch_file(&w, err);
	}
	if (rc < 0) {
		cJSON_Delete(w.rows);
		close(w.fd);
		return rc;
	}
	*ret_rows = w.rows;
	*ret_fd = w.fd;
	return 0;
}
