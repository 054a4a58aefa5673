/*
 * disk - files that are there whole or not at all, and that nobody else could have read or written.
 *
 * For the vault library only. What changes the disk is durable when it returns 0 and has left the old state
 * when it fails (a failed fsync of the directory excepted: then either may be found after a crash).
 * Errors: STORE_FULL for a full disk or quota, else STORE_IO; STORE_UNSAFE for what cannot be trusted. Short
 * writes and EINTR are dealt with here. Blocks: disk. Threads: any, no state.
 */
#ifndef PIAUTH_DISK_H
#define PIAUTH_DISK_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "err.h"

#define DISK_TEMP ".tmp-" /* how the name of a file begins that is not there yet */

void disk_closep(int *fd);
#define DISK_AUTO __attribute__((cleanup(disk_closep)))

/* Fills err from an errno: what failed, on which file. */
int disk_fail_at(
	struct pa_err *err, const char *where, int errnum, const char *what, const char *name);
#define disk_fail(err, errnum, what, name) disk_fail_at(err, __func__, errnum, what, name)

/* All of it, at the descriptor's position or at offset; 0 or -errno. Not durable by itself. */
int disk_write(int fd, const void *bytes, size_t len);
int disk_write_at(int fd, const void *bytes, size_t len, off_t offset);
/* Makes a file that was not there. Its bytes are durable, its name only after a sync of the directory. */
int disk_create(int dir_fd, const char *name, mode_t mode, const void *bytes, size_t len,
	struct pa_err *err);
/* Replaces a file (0600) as a whole: temp file, fsync, rename, fsync of the directory. */
int disk_replace(int dir_fd, const char *name, const void *bytes, size_t len, struct pa_err *err);
/* Removes a file; one that is not there is removed. */
int disk_remove(int dir_fd, const char *name, struct pa_err *err);
/* fsyncs the directory that holds path. */
int disk_sync_parent(int dir_fd, const char *path, struct pa_err *err);
/* A stream of its own over the directory, for closedir. what_dir names it in the error. */
int disk_list(int dir_fd, const char *what_dir, DIR **ret, struct pa_err *err);
/* Removes what interrupted replacements left in this directory. */
int disk_sweep(int dir_fd, struct pa_err *err);

/* What a file must be; a symbolic link is always refused. */
enum disk_trust {
	DISK_STORE_FILE, /* regular, ours, 0600 or stricter, one name */
	DISK_KEY_FILE,   /* regular, ours, 0600 or stricter */
	DISK_CREDENTIAL, /* regular, not for everybody: systemd gives it to root or to us */
};
int disk_check(
	int fd, const char *name, enum disk_trust trust, off_t *ret_size, struct pa_err *err);
/* A whole file of at most max bytes, malloc'ed: wipe_free it if it is secret. If there is none it says
 * -ENOENT (STORE_IO). */
int disk_read(int dir_fd, const char *name, enum disk_trust trust, size_t max, char **ret,
	size_t *ret_len, struct pa_err *err);

#endif
