#include "lock.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * How long to wait for a lock directory to go before looking again. Where its going is told (inotify) that is
 * for file systems that do not tell of other machines' changes, and for locks that become stale.
 */
#define LOOK_AGAIN_MS 500
#define LOOK_MIN_MS   10  /* where it is not told: between this, */
#define LOOK_MAX_MS   200 /* and this, by chance, so that two who wait do not meet again and again */

#define PATHS_MAX 2 /* of one file */

struct paths {
	char v[PATHS_MAX][PATH_MAX];
	size_t n;
};

static int64_t now_ms(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t mtime_ms(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000;
}

static enum lock_result unavailable(
	struct pa_err *err, int errnum, const char *path, const char *why)
{
	pa_fail(err, PA_FILE_UNUSABLE, errnum, "%s: %s", why, path);
	return LOCK_UNAVAILABLE;
}

/*
 * The file's path with everything but its last name resolved: two spellings of one directory must not look
 * like two locks, or we would wait for ourselves.
 */
static int canonical(const char *file, char ret[PATH_MAX], char ret_dir[PATH_MAX])
{
	char dir[PATH_MAX];
	const char *slash = strrchr(file, '/');
	const char *name = slash ? slash + 1 : file;
	int len = slash ? snprintf(dir, sizeof(dir), "%.*s", (int)(slash - file + 1), file)
			: snprintf(dir, sizeof(dir), ".");
	if (len >= (int)sizeof(dir))
		return -ENAMETOOLONG;
	if (!realpath(dir, ret_dir))
		return -errno;
	len = snprintf(ret, PATH_MAX, "%s/%s", ret_dir[1] ? ret_dir : "", name);
	return len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int add_path(struct paths *p, const char *first, const char *rest)
{
	int len = snprintf(p->v[p->n], PATH_MAX, "%s%s", first, rest);
	if (len >= PATH_MAX)
		return -ENAMETOOLONG;
	p->n++;
	return 0;
}

/* The lock directories of a file, in the order in which they are taken. 0 or -errno. */
static int find_paths(enum import_lock kind, const char *file, struct paths *ret)
{
	char link[PATH_MAX], dir[PATH_MAX], real[PATH_MAX];
	ret->n = 0;
	int rc = kind == IMPORT_LOCK_NONE ? 0 : canonical(file, link, dir);
	if (rc < 0)
		return rc;
	switch (kind) {
	case IMPORT_LOCK_NONE:
		return 0;
	case IMPORT_LOCK_PROPER:
		/* a file that is not there yet, or a link to nothing, has one name */
		if (!realpath(link, real) || strcmp(real, link) == 0)
			return add_path(ret, link, ".lock");
		rc = add_path(ret, strcmp(real, link) < 0 ? real : link, ".lock");
		return rc < 0 ? rc : add_path(ret, strcmp(real, link) < 0 ? link : real, ".lock");
	case IMPORT_LOCK_CLAUDE:
		/* in the tool's own order: in another one, each could wait for what the other holds */
		rc = add_path(ret, dir, "/.oauth_refresh.lock");
		return rc < 0 ? rc : add_path(ret, dir, ".lock");
	}
	return -EINVAL;
}

static int find_write_path(enum import_lock kind, const char *file, struct paths *ret)
{
	char link[PATH_MAX], dir[PATH_MAX];
	ret->n = 0;
	if (kind != IMPORT_LOCK_CLAUDE)
		return 0;
	int rc = canonical(file, link, dir);
	return rc < 0 ? rc : add_path(ret, dir, "/.storage-write.lock");
}

/* Sets mtime to now and reads back what the file system made of it; -1 with errno. */
static int touch(const char *path, int64_t *ret_mtime_ms)
{
	struct stat st;
	const struct timespec now[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_NOW } };
	if (utimensat(AT_FDCWD, path, now, AT_SYMLINK_NOFOLLOW) < 0 || lstat(path, &st) < 0)
		return -1;
	*ret_mtime_ms = mtime_ms(&st);
	return 0;
}

static bool is_ours(const struct lock *l)
{
	struct stat st;
	return l->path && lstat(l->path, &st) == 0 && S_ISDIR(st.st_mode) &&
	       mtime_ms(&st) == l->mtime_ms;
}

bool lock_touch(struct lock_set *s)
{
	bool all = true;
	for (size_t i = 0; i < s->n; i++) {
		struct lock *l = &s->v[i];
		if (!l->path)
			continue;
		if (is_ours(l)) {
			/* that it cannot be touched makes it stale in time, not lost now */
			touch(l->path, &l->mtime_ms);
			continue;
		}
		free(l->path);
		l->path = NULL;
		all = false;
	}
	return all;
}

void lock_drop(struct lock_set *s, size_t from)
{
	while (s->n > from) {
		struct lock *l = &s->v[--s->n];
		if (is_ours(l))
			rmdir(l->path);
		free(l->path);
		*l = (struct lock){ 0 };
	}
}

/* Tells when a name leaves its directory; -1: cannot be told. */
static int watch_name(const char *path)
{
	char dir[PATH_MAX];
	snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path + 1), path);
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (fd >= 0 && inotify_add_watch(fd, dir, IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Reads all events; whether the name left. */
static bool has_left(int fd, const char *name)
{
	union {
		struct inotify_event align;
		char bytes[4096];
	} events;
	bool left = false;
	ssize_t len;
	while ((len = read(fd, events.bytes, sizeof(events.bytes))) > 0) {
		for (char *p = events.bytes; p < events.bytes + len;) {
			struct inotify_event e;
			memcpy(&e, p, sizeof(e));
			const char *what = e.len ? p + sizeof(e) : "";
			left |= (e.mask & IN_Q_OVERFLOW) || strcmp(what, name) == 0;
			p += sizeof(e) + e.len;
		}
	}
	return left;
}

struct waiter {
	struct lock_set *set;
	const char *path;
	int events; /* -2: not yet asked for; -1: there are none */
	int64_t until_boot_ms, touched_boot_ms;
};

/* Until the lock may be free, or somewhat later; false at the deadline. */
static bool wait_for(struct waiter *w)
{
	const char *name = strrchr(w->path, '/') + 1;
	bool watched = w->events != -2;
	if (!watched)
		w->events = watch_name(w->path);
	if (!watched && w->events >= 0)
		return true; /* it may have gone before it was watched: look again first */
	unsigned char chance = 0;
	int64_t most = LOOK_AGAIN_MS;
	if (w->events < 0 && getrandom(&chance, 1, 0) == 1)
		most = LOOK_MIN_MS + chance * (LOOK_MAX_MS - LOOK_MIN_MS) / 255;
	int64_t start = now_ms(CLOCK_BOOTTIME);
	if (start - w->touched_boot_ms >= LOCK_TOUCH_MS) {
		lock_touch(w->set);
		w->touched_boot_ms = start;
	}
	int64_t end = start + most < w->until_boot_ms ? start + most : w->until_boot_ms;
	for (int64_t now = start; now < end; now = now_ms(CLOCK_BOOTTIME)) {
		struct pollfd p = { .fd = w->events, .events = POLLIN };
		if (poll(&p, 1, (int)(end - now)) > 0 && has_left(w->events, name))
			return true;
	}
	return end < w->until_boot_ms;
}

/* At a name that is taken. HELD: look again at once; BUSY: wait. */
static enum lock_result look_at(const char *path, struct pa_err *err)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? LOCK_HELD : unavailable(err, errno, path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return unavailable(err, ENOTDIR, path, "not a directory, blocks the tool for ever");
	if (now_ms(CLOCK_REALTIME) - mtime_ms(&st) <= LOCK_STALE_MS)
		return LOCK_BUSY;
	if (rmdir(path) == 0 || errno == ENOENT)
		return LOCK_HELD;
	if (errno == ENOTEMPTY || errno == EEXIST)
		return unavailable(err, ENOTEMPTY, path, "not empty, blocks the tool for ever");
	return unavailable(err, errno, path, strerror(errno));
}

static enum lock_result push(struct lock_set *s, const char *path, struct pa_err *err)
{
	int64_t mtime;
	char *copy = strdup(path);
	if (copy && touch(path, &mtime) == 0) {
		s->v[s->n++] = (struct lock){ .path = copy, .mtime_ms = mtime };
		return LOCK_HELD;
	}
	int errnum = copy ? errno : ENOMEM;
	free(copy);
	rmdir(path);
	return unavailable(err, errnum, path, strerror(errnum));
}

static enum lock_result take_path(
	struct lock_set *s, const char *path, int64_t until_boot_ms, struct pa_err *err)
{
	struct waiter w = { s, path, -2, until_boot_ms, 0 };
	enum lock_result r;
	for (size_t i = 0; i < s->n; i++) {
		if (s->v[i].path && strcmp(s->v[i].path, path) == 0)
			return LOCK_HELD;
	}
	if (s->n == LOCKS_MAX)
		return unavailable(err, E2BIG, path, "too many locks");
	for (;;) {
		if (mkdir(path, 0777) == 0) {
			r = push(s, path, err);
			break;
		}
		if (errno != EEXIST) {
			r = unavailable(err, errno, path, strerror(errno));
			break;
		}
		r = look_at(path, err);
		if (r == LOCK_UNAVAILABLE)
			break;
		if (r == LOCK_BUSY && !wait_for(&w)) {
			pa_fail(err, PA_FILE_LOCKED, 0, "%s", path);
			break;
		}
	}
	if (w.events >= 0)
		close(w.events);
	return r;
}

static enum lock_result take_paths(
	struct lock_set *s, const struct paths *p, int64_t until_boot_ms, struct pa_err *err)
{
	size_t before = s->n;
	for (size_t i = 0; i < p->n; i++) {
		enum lock_result r = take_path(s, p->v[i], until_boot_ms, err);
		if (r != LOCK_HELD) {
			lock_drop(s, before);
			return r;
		}
	}
	return LOCK_HELD;
}

enum lock_result lock_take(struct lock_set *s, enum import_lock kind, const char *file,
	int64_t until_boot_ms, struct pa_err *err)
{
	struct paths p;
	int rc = find_paths(kind, file, &p);
	if (rc < 0)
		return unavailable(err, -rc, file, strerror(-rc));
	return p.n ? take_paths(s, &p, until_boot_ms, err) : LOCK_NONE;
}

enum lock_result lock_take_write(struct lock_set *s, enum import_lock kind, const char *file,
	int64_t until_boot_ms, struct pa_err *err)
{
	struct paths p;
	int rc = find_write_path(kind, file, &p);
	if (rc < 0)
		return unavailable(err, -rc, file, strerror(-rc));
	return take_paths(s, &p, until_boot_ms, err);
}

static bool is_empty(const char *path)
{
	DIR *dir = opendir(path);
	bool empty = true;
	for (struct dirent *e; dir && empty && (e = readdir(dir));)
		empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	if (dir)
		closedir(dir);
	return empty;
}

/* From good to bad. */
enum look { LOOK_FREE, LOOK_HELD, LOOK_STALE, LOOK_FILE, LOOK_NOT_EMPTY };

static enum look look_one(const char *path, int64_t *ret_age_ms)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return LOOK_FREE;
	*ret_age_ms = now_ms(CLOCK_REALTIME) - mtime_ms(&st);
	if (!S_ISDIR(st.st_mode))
		return LOOK_FILE;
	if (!is_empty(path))
		return LOOK_NOT_EMPTY;
	return *ret_age_ms > LOCK_STALE_MS ? LOOK_STALE : LOOK_HELD;
}

static void look_all(
	const struct paths *p, enum look *worst, int64_t *age_ms, char worst_path[PATH_MAX])
{
	for (size_t i = 0; i < p->n; i++) {
		int64_t age = 0;
		enum look l = look_one(p->v[i], &age);
		if (l > *worst) {
			*worst = l;
			*age_ms = age;
			memcpy(worst_path, p->v[i], strlen(p->v[i]) + 1);
		}
	}
}

const char *lock_look(
	enum import_lock kind, const char *file, int64_t *ret_age_s, char ret_path[PATH_MAX])
{
	static const char *const names[] = {
		[LOOK_FREE] = "free",
		[LOOK_HELD] = "held",
		[LOOK_STALE] = "stale",
		[LOOK_FILE] = "file",
		[LOOK_NOT_EMPTY] = "not_empty",
	};
	enum look worst = LOOK_FREE;
	int64_t age_ms = 0;
	struct paths p;
	ret_path[0] = '\0';
	/* without a directory there is no lock in it */
	if (find_paths(kind, file, &p) == 0)
		look_all(&p, &worst, &age_ms, ret_path);
	if (find_write_path(kind, file, &p) == 0)
		look_all(&p, &worst, &age_ms, ret_path);
	*ret_age_s = age_ms > 0 ? age_ms / 1000 : 0;
	return names[worst];
}
