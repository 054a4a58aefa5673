/* The lock of a store: one process uses it, or several one after the other on behalf of one that holds it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"
#include "vault_i.h"

#define LOCK_FILE "lock"

int vault_lock_take(int dir_fd, bool wait, pid_t owner, int *ret, struct pa_err *err)
{
	DISK_AUTO int fd = -1;
	char pid[24] = "";
	off_t size;
	long holder;
	ssize_t n;
	int r;

	fd = openat(
		dir_fd, LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	if (fd < 0 && errno == ELOOP)
		return pa_fail(err, PA_STORE_UNSAFE, 0, LOCK_FILE " is a symbolic link");
	if (fd < 0)
		return disk_fail(err, errno, "open", LOCK_FILE);
	r = disk_check(fd, LOCK_FILE, DISK_STORE_FILE, &size, err);
	if (r < 0)
		return r;
	if (flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB))) {
		if (errno == EINTR)
			return pa_fail(err, PA_INTERRUPTED, 0, "while the store was locked");
		if (errno != EWOULDBLOCK)
			return disk_fail(err, errno, "lock", LOCK_FILE);
		n = pread(fd, pid, sizeof(pid) - 1, 0);
		holder = n > 0 ? strtol(pid, NULL, 10) : 0;
		if (holder <= 0) /* it has only just taken it */
			return pa_fail(err, PA_STORE_BUSY, 0, "held by another process");
		return pa_fail(err, PA_STORE_BUSY, 0, "held by pid %ld", holder);
	}
	n = snprintf(pid, sizeof(pid), "%d\n", (int)(owner ? owner : getpid()));
	if (ftruncate(fd, 0))
		return disk_fail(err, errno, "write", LOCK_FILE);
	r = disk_write_at(fd, pid, (size_t)n, 0);
	if (r < 0)
		return disk_fail(err, -r, "write", LOCK_FILE);
	*ret = fd;
	fd = -1;
	return 0;
}

/* The lock that somebody else holds for us, who outlives us. */
int vault_lock_inherit(int dir_fd, int lock_fd, int *ret, struct pa_err *err)
{
	struct stat ours, theirs;

	if (fstat(lock_fd, &ours) || fstatat(dir_fd, LOCK_FILE, &theirs, AT_SYMLINK_NOFOLLOW))
		return disk_fail(err, errno, "find", LOCK_FILE);
	if (ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino)
		return pa_fail(err, PA_STORE_BUSY, 0, LOCK_FILE " is another file now");
	if (flock(lock_fd, LOCK_EX | LOCK_NB))
		return disk_fail(err, errno, "lock", LOCK_FILE);
	*ret = fcntl(lock_fd, F_DUPFD_CLOEXEC, 0);
	return *ret < 0 ? disk_fail(err, errno, "open", LOCK_FILE) : 0;
}
