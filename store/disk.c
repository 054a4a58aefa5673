#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "seal.h"
#include "secret.h"

void disk_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int disk_fail_at(
	struct pa_err *err, const char *where, int errnum, const char *what, const char *name)
{
	bool full = errnum == ENOSPC || errnum == EDQUOT;

	/* The code's own errno, so that a shell prints one sentence for each kind of failure. */
	return pa_fail_at(err, where, full ? PA_STORE_FULL : PA_STORE_IO, 0, "%s %s: %s", what,
		name, strerror(errnum));
}

static int write_some(int fd, const void *bytes, size_t len, off_t offset)
{
	const char *p = bytes;
	ssize_t n;

	while (len) {
		n = offset < 0 ? write(fd, p, len) : pwrite(fd, p, len, offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) /* no file system says so, and it must not turn into a loop */
			return -EIO;
		p += n;
		len -= (size_t)n;
		if (offset >= 0)
			offset += n;
	}
	return 0;
}

int disk_write(int fd, const void *bytes, size_t len)
{
	return write_some(fd, bytes, len, -1);
}

int disk_write_at(int fd, const void *bytes, size_t len, off_t offset)
{
	return write_some(fd, bytes, len, offset);
}

int disk_create(int dir_fd, const char *name, mode_t mode, const void *bytes, size_t len,
	struct pa_err *err)
{
	const char *what = "create";
	DISK_AUTO int fd = -1;
	int e = 0;

	fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return disk_fail(err, errno, what, name);

	what = "write";
	e = -disk_write(fd, bytes, len);
	if (!e) {
		what = "fsync";
		e = fsync(fd) ? errno : 0;
	}
	if (e) {
		unlinkat(dir_fd, name, 0); /* if this fails too, a sweep finds it */
		return disk_fail(err, e, what, name);
	}
	return 0;
}

int disk_replace(int dir_fd, const char *name, const void *bytes, size_t len, struct pa_err *err)
{
	char temp[sizeof(DISK_TEMP) + 16];
	uint8_t random[10];
	int e;
	int r;

	r = seal_random(random, sizeof(random), err);
	if (r < 0)
		return r;
	memcpy(temp, DISK_TEMP, sizeof(DISK_TEMP));
	seal_base32(random, 16, temp + sizeof(DISK_TEMP) - 1);
	r = disk_create(dir_fd, temp, 0600, bytes, len, err);
	if (r < 0)
		return r;
	if (renameat(dir_fd, temp, dir_fd, name)) {
		e = errno;
		unlinkat(dir_fd, temp, 0);
		return disk_fail(err, e, "replace", name);
	}
	if (fsync(dir_fd))
		return disk_fail(err, errno, "fsync the directory of", name);
	return 0;
}

int disk_remove(int dir_fd, const char *name, struct pa_err *err)
{
	if (unlinkat(dir_fd, name, 0) && errno != ENOENT)
		return disk_fail(err, errno, "remove", name);
	/* Also when it was gone: an earlier attempt may have failed right here. */
	if (fsync(dir_fd))
		return disk_fail(err, errno, "fsync the directory of", name);
	return 0;
}

int disk_sync_parent(int dir_fd, const char *path, struct pa_err *err)
{
	const char *slash = strrchr(path, '/');
	DISK_AUTO int fd = -1;
	char *dir = NULL;

	if (slash)
		dir = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	if (slash && !dir)
		return pa_fail(err, PA_NO_MEMORY, 0, "path");
	fd = openat(dir_fd, dir ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(dir);
	if (fd < 0 || fsync(fd))
		return disk_fail(err, errno, "fsync the directory of", path);
	return 0;
}

int disk_list(int dir_fd, const char *what_dir, DIR **ret, struct pa_err *err)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	int e = errno;

	if (!dir) {
		disk_closep(&fd);
		return disk_fail(err, e, "list", what_dir);
	}
	*ret = dir;
	return 0;
}

int disk_sweep(int dir_fd, struct pa_err *err)
{
	struct dirent *entry;
	DIR *dir;
	int e;
	int r = disk_list(dir_fd, "the store", &dir, err);

	if (r < 0)
		return r;
	while (errno = 0, (entry = readdir(dir))) {
		if (strncmp(entry->d_name, DISK_TEMP, sizeof(DISK_TEMP) - 1))
			continue;
		if (unlinkat(dir_fd, entry->d_name, 0))
			break;
	}
	e = errno;
	closedir(dir);
	return e ? disk_fail(err, e, "sweep", "the store") : 0;
}

int disk_check(int fd, const char *name, enum disk_trust trust, off_t *ret_size, struct pa_err *err)
{
	mode_t refused = trust == DISK_CREDENTIAL ? 0007 : 0077;
	struct stat st;

	if (fstat(fd, &st))
		return disk_fail(err, errno, "look at", name);
	if (!S_ISREG(st.st_mode))
		return pa_fail(err, PA_STORE_UNSAFE, 0, "%s is not a regular file", name);
	if (st.st_uid != geteuid() && !(trust == DISK_CREDENTIAL && st.st_uid == 0))
		return pa_fail(err, PA_STORE_UNSAFE, 0, "%s belongs to user %u", name,
			(unsigned)st.st_uid);
	if (st.st_mode & refused)
		return pa_fail(
			err, PA_STORE_UNSAFE, 0, "%s has mode %04o", name, st.st_mode & 07777);
	if (trust == DISK_STORE_FILE && st.st_nlink != 1)
		return pa_fail(err, PA_STORE_UNSAFE, 0, "%s has %lu names (hard links)", name,
			(unsigned long)st.st_nlink);
	*ret_size = st.st_size;
	return 0;
}

int disk_read(int dir_fd, const char *name, enum disk_trust trust, size_t max, char **ret,
	size_t *ret_len, struct pa_err *err)
{
	WIPE_AUTO char *buf = NULL;
	DISK_AUTO int fd = -1;
	size_t len = 0;
	off_t size;
	ssize_t n;
	int r;

	fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return pa_fail(err, PA_STORE_IO, ENOENT, "%s does not exist", name);
	if (fd < 0 && errno == ELOOP)
		return pa_fail(err, PA_STORE_UNSAFE, 0, "%s is a symbolic link", name);
	if (fd < 0)
		return disk_fail(err, errno, "open", name);
	r = disk_check(fd, name, trust, &size, err);
	if (r < 0)
		return r;
	if (size > (off_t)max)
		return pa_fail(err, PA_STORE_CORRUPT, 0, "%s is too long", name);
	buf = malloc((size_t)size + 1);
	if (!buf)
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", name);
	/* Exactly what fstat said: a file that changes now is not one of ours. */
	while (len < (size_t)size) {
		n = read(fd, buf + len, (size_t)size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return disk_fail(err, errno, "read", name);
		if (n == 0)
			return pa_fail(err, PA_STORE_CORRUPT, 0, "%s was cut while read", name);
		len += (size_t)n;
	}
	*ret = buf;
	*ret_len = len;
	buf = NULL;
	return 0;
}
