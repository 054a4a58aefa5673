#include "file.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "../secret.h"
#include "file_i.h"

#define TEMP_RANDOM 6
#define TEMP_TRIES  16
#define TEMP_OLD_S  60 /* a temp file that old is one that a crash has left */
#define ACL         "system.posix_acl_access"
#define ACL_MAX     4096

struct content {
	char *text; /* wiping memory */
	size_t len;
};

/* The directory of a path, and the name in it. */
struct spot {
	int dir; /* -1: not open */
	const char *name;
};

static int failed(struct pa_err *err, const char *what, int errnum)
{
	return pa_fail(err, PA_FILE_UNUSABLE, errnum, "%s: %s", what, strerror(errnum));
}

static int changed(struct pa_err *err)
{
	return pa_fail(err, PA_FILE_UNUSABLE, ESTALE, "it was changed by somebody else meanwhile");
}

static bool is_as_read(const struct stat *st, const struct file *f)
{
	return st->st_dev == f->st.st_dev && st->st_ino == f->st.st_ino &&
	       st->st_size == f->st.st_size && st->st_mtim.tv_sec == f->st.st_mtim.tv_sec &&
	       st->st_mtim.tv_nsec == f->st.st_mtim.tv_nsec;
}

static int format(const struct file *f, const cJSON *root, struct content *ret, struct pa_err *err)
{
	WIPE_AUTO char *json = f->compact ? json_text(root) : json_pretty(root);
	bool newline = f->len && f->text[f->len - 1] == '\n';
	size_t size = json ? strlen(json) + 8 : 0;
	char *text = json ? wipe_malloc(size) : NULL;
	if (!text)
		return pa_fail(err, PA_NO_MEMORY, 0, "text of a file");
	int len = snprintf(
		text, size, "%s%s%s", f->bom ? "\xef\xbb\xbf" : "", json, newline ? "\n" : "");
	if (len > FILE_MAX) {
		wipe_free(text);
		return pa_fail(err, PA_TOO_BIG, 0, "%d bytes for a file", len);
	}
	*ret = (struct content){ text, (size_t)len };
	return 0;
}

static void spot_open(const char *path, struct spot *ret)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	ret->name = slash ? slash + 1 : path;
	int len = slash ? snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path + 1), path)
			: snprintf(dir, sizeof(dir), ".");
	errno = ENAMETOOLONG;
	ret->dir = len < (int)sizeof(dir) ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

static void spot_close(struct spot *s)
{
	if (s->dir >= 0)
		close(s->dir);
}

static int write_all(int fd, const struct content *c)
{
	for (size_t done = 0; done < c->len;) {
		ssize_t n = pwrite(fd, c->text + done, c->len - done, (off_t)done);
		if (n < 0 && errno != EINTR)
			return -1;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Makes a file for us alone. name: NAME_MAX + 1 bytes. -1 with errno. */
static int temp_new(const struct spot *s, char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz012345";
	for (int i = 0; i < TEMP_TRIES; i++) {
		unsigned char bytes[TEMP_RANDOM];
		char random[TEMP_RANDOM + 1] = { 0 };
		if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
			return -1;
		for (size_t b = 0; b < sizeof(bytes); b++)
			random[b] = letters[bytes[b] % (sizeof(letters) - 1)];
		if (snprintf(name, NAME_MAX + 1, ".%s.piauth-%s", s->name, random) > NAME_MAX) {
			errno = ENAMETOOLONG;
			return -1;
		}
		int fd = openat(
			s->dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd >= 0 || errno != EEXIST)
			return fd;
	}
	return -1;
}

/* Removes what a process that was killed between making and renaming has left: there are secrets in it. */
static void sweep(const struct spot *s)
{
	char prefix[NAME_MAX + 1];
	struct timespec now;
	struct stat st;
	int len = snprintf(prefix, sizeof(prefix), ".%s.piauth-", s->name);
	int fd = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	for (struct dirent *e; (e = readdir(dir));) {
		if (strncmp(e->d_name, prefix, (size_t)len) == 0 &&
			strlen(e->d_name) == (size_t)len + TEMP_RANDOM &&
			fstatat(s->dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
			now.tv_sec - st.st_mtim.tv_sec > TEMP_OLD_S)
			unlinkat(s->dir, e->d_name, 0);
	}
	closedir(dir);
}

/* Gives the temp file owner, access list and mode of the file it will be. -1 with errno. */
static int dress(int fd, const struct spot *s, const struct file *f)
{
	char acl[ACL_MAX], path[64];
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -1;
	if ((st.st_uid != f->st.st_uid || st.st_gid != f->st.st_gid) &&
		fchown(fd, f->st.st_uid, f->st.st_gid) < 0)
		return -1;
	int old = openat(s->dir, s->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (old < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", old);
	ssize_t len = getxattr(path, ACL, acl, sizeof(acl));
	if (len < 0 && errno == ERANGE) {
		close(old);
		errno = EPERM; /* too long to be carried over: it stays where it is */
		return -1;
	}
	/* Without one there it must have none either: it may have inherited one from the directory, and the
	 * mode of the file would open it. File systems without such lists refuse both, which is well. */
	int rc = len > 0 ? fsetxattr(fd, ACL, acl, (size_t)len, 0) : fremovexattr(fd, ACL);
	close(old);
	if (rc < 0 && errno != ENODATA && errno != EOPNOTSUPP)
		return -1;
	return fchmod(fd, f->st.st_mode & 07777);
}

/* Whether a new file under this name would be refused, or would cut somebody off from the one that is there. */
static bool must_stay(const struct spot *s, const struct file *f)
{
	struct stat st;
	struct statx file, dir;
	if (s->dir < 0 || fstatat(s->dir, s->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return true;
	if (!S_ISREG(st.st_mode) || st.st_nlink > 1)
		return true;
	/* A file that is mounted over has its own mount. An old kernel that does not know says so when it
	 * refuses to rename (EBUSY). */
	if (statx(s->dir, s->name, AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &file) < 0 ||
		statx(s->dir, "", AT_EMPTY_PATH, STATX_MNT_ID, &dir) < 0)
		return true;
	return (file.stx_mask & dir.stx_mask & STATX_MNT_ID) && file.stx_mnt_id != dir.stx_mnt_id;
}

/* What a directory, a sticky bit or an owner that is not us forbid; writing into the file may still work. */
static bool is_about_the_directory(int errnum)
{
	return errnum == EACCES || errnum == EPERM || errnum == EROFS || errnum == EBUSY;
}

/* 1: done; 0: not possible this way, nothing has changed. */
static int replace_by_rename(
	const struct spot *s, const struct file *f, const struct content *c, struct pa_err *err)
{
	char name[NAME_MAX + 1];
	struct stat st;
	sweep(s);
	int fd = temp_new(s, name);
	if (fd < 0)
		return is_about_the_directory(errno) ? 0 : failed(err, "no temp file", errno);
	int rc = 1;
	if (dress(fd, s, f) < 0)
		rc = is_about_the_directory(errno) ? 0 : failed(err, "mode and owner", errno);
	else if (write_all(fd, c) < 0 || fsync(fd) < 0)
		rc = failed(err, "cannot be written", errno);
	else if (fstatat(s->dir, s->name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !is_as_read(&st, f))
		rc = changed(err);
	else if (renameat(s->dir, name, s->dir, s->name) < 0)
		rc = is_about_the_directory(errno) ? 0 : failed(err, "cannot be replaced", errno);
	if (rc <= 0)
		unlinkat(s->dir, name, 0);
	else if (fsync(s->dir) < 0)
		rc = failed(err, "replaced, but perhaps not for good", errno);
	close(fd);
	return rc;
}

/*
 * The order is for who reads without the lock, and for a crash. Not truncated first: nobody ever finds the file
 * empty, which some tools take for "nothing stored" and write back so. All bytes in one write: a reader sees
 * them all or, across pages, old ones behind new ones. Cut last: until then a shorter text has the end of the
 * old one behind it, which is no JSON, so nobody takes it for whole. Space is taken before, because a
 * full disk in the middle would leave neither the old pair nor the new one.
 */
static int write_in_place(int fd, const struct file *f, const struct content *c, struct pa_err *err)
{
	const struct content old = { f->text, f->len };
	if (c->len > f->len && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)c->len) < 0 &&
		(errno == ENOSPC || errno == EDQUOT))
		return failed(err, "no space", errno);
	if (write_all(fd, c) < 0 || (c->len < f->len && ftruncate(fd, (off_t)c->len) < 0)) {
		int errnum = errno;
		/* its old blocks are still its own: this needs no space */
		if (write_all(fd, &old) < 0 || ftruncate(fd, (off_t)old.len) < 0)
			return failed(err, "torn: cannot be written, nor restored", errnum);
		return failed(err, "cannot be written", errnum);
	}
	if (fsync(fd) < 0)
		return failed(err, "written, but perhaps not for good", errno);
	return 0;
}

static int replace_in_place(
	const char *path, const struct file *f, const struct content *c, struct pa_err *err)
{
	struct stat st;
	int rc;
	int at = open(path, O_PATH | O_CLOEXEC);
	if (at < 0)
		return changed(err);
	int fd = fstat(at, &st) == 0 && is_as_read(&st, f) ? file_reopen(at, O_WRONLY) : -2;
	if (fd == -2)
		rc = changed(err);
	else if (fd < 0)
		rc = failed(err, "cannot be written", errno);
	else
		rc = write_in_place(fd, f, c, err);
	if (fd >= 0)
		close(fd);
	close(at);
	return rc;
}

/* A file where there is none: never over one that has come meanwhile. */
static int make(const struct spot *s, const struct content *c, struct pa_err *err)
{
	char temp[NAME_MAX + 1];
	if (s->dir < 0)
		return failed(err, "its directory", errno);
	int fd = temp_new(s, temp);
	if (fd < 0)
		return failed(err, "no temp file", errno);
	int rc = 0;
	if (fchmod(fd, 0600) < 0 || write_all(fd, c) < 0 || fsync(fd) < 0)
		rc = failed(err, "cannot be written", errno);
	else if (linkat(s->dir, temp, s->dir, s->name, 0) < 0)
		rc = failed(err, "cannot be made", errno);
	unlinkat(s->dir, temp, 0);
	if (rc == 0 && fsync(s->dir) < 0)
		rc = failed(err, "made, but perhaps not for good", errno);
	close(fd);
	return rc;
}

int file_replace(const char *path, const struct file *f, const cJSON *root, struct pa_err *err)
{
	struct content c;
	struct spot s;
	struct stat st;
	if (f->state != FILE_FOUND && f->state != FILE_ABSENT)
		return pa_fail(err, PA_FILE_UNUSABLE, EINVAL, "%s", f->reason);
	int rc = format(f, root, &c, err);
	if (rc < 0)
		return rc;
	spot_open(path, &s);
	if (f->state == FILE_ABSENT) {
		rc = make(&s, &c, err);
		if (rc == -EEXIST && lstat(path, &st) == 0 && !S_ISLNK(st.st_mode))
			rc = changed(err);
	} else if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0) {
		/* Its directory may allow to replace it, but its owner has said that it is not to change. */
		rc = errno == ENOENT ? changed(err) : failed(err, "cannot be written", errno);
	} else {
		rc = must_stay(&s, f) ? 0 : replace_by_rename(&s, f, &c, err);
		if (rc == 0)
			rc = replace_in_place(path, f, &c, err);
		rc = rc > 0 ? 0 : rc;
	}
	spot_close(&s);
	wipe_free(c.text);
	return rc;
}

int file_backup(const char *path, const struct file *f, struct pa_err *err)
{
	const struct content c = { f->text, f->len };
	char name[NAME_MAX + 1];
	struct spot s;
	if (f->state != FILE_FOUND)
		return pa_fail(err, PA_FILE_UNUSABLE, EINVAL, "nothing to back up");
	spot_open(path, &s);
	if (s.dir < 0)
		return failed(err, "no backup", errno);
	int rc = 0;
	if (snprintf(name, sizeof(name), "%s.piauth-backup", s.name) >= (int)sizeof(name)) {
		rc = failed(err, "no backup", ENAMETOOLONG);
	} else {
		int fd = openat(
			s.dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0) {
			rc = failed(err, "no backup", errno);
		} else {
			if (fchmod(fd, 0600) < 0 || write_all(fd, &c) < 0 || fsync(fd) < 0 ||
				fsync(s.dir) < 0) {
				rc = failed(err, "no backup", errno);
				unlinkat(s.dir, name, 0);
			}
			close(fd);
		}
	}
	spot_close(&s);
	return rc;
}
