#include "mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "harden.h"
#include "holder.h"
#include "loop.h"

/* ---- mount point ---- */

static int refuse_full(const char *path, struct pa_err *err)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	bool full = false;

	if (!dir)
		return pa_fail(err, PA_SYSTEM, errno, "%s: %s", path, strerror(errno));
	while (!full && (e = readdir(dir)))
		full = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(dir);
	if (full)
		return pa_fail(err, PA_SYSTEM, ENOTEMPTY, "%s is not empty", path);
	return 0;
}

int mount_point(const char *path, char **ret, struct pa_err *err)
{
	char *absolute;
	int rc;

	switch (cli_is_mounted(path)) {
	case CLI_MOUNTED:
		return pa_fail(err, PA_SYSTEM, EBUSY,
			"%s is a mount of piauth already (piauth umount)", path);
	case CLI_MOUNT_DEAD:
		if ((rc = mount_undo(path, true, err)) < 0)
			return rc;
		break;
	case CLI_MOUNT_NONE:
		/* umask is 077; what is under the mount is of no interest. */
		if (mkdir(path, 0755) == 0)
			chmod(path, 0755);
		else if (errno != EEXIST)
			return pa_fail(
				err, PA_SYSTEM, errno, "mkdir %s: %s", path, strerror(errno));
		break;
	}
	absolute = realpath(path, NULL);
	if (!absolute)
		return pa_fail(err, PA_SYSTEM, errno, "%s: %s", path, strerror(errno));
	if ((rc = refuse_full(absolute, err)) < 0) {
		free(absolute);
		return rc;
	}
	*ret = absolute;
	return 0;
}

bool mount_serves_others(void)
{
	char line[256];
	bool found = false;
	FILE *f;

	if (geteuid() == 0)
		return true;
	if (!(f = fopen("/etc/fuse.conf", "re")))
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		char *word = line + strspn(line, " \t");

		word[strcspn(word, " \t\r\n#")] = '\0';
		found = strcmp(word, "user_allow_other") == 0;
	}
	fclose(f);
	return found;
}

static int fusermount_undo(const char *mountpoint, bool lazy, struct pa_err *err)
{
	const char *const argv[] = { "fusermount3", lazy ? "-uz" : "-u", "--", mountpoint, NULL };
	int status, rc;
	pid_t pid;

	/* The prototype is older than const; nothing is changed. */
	rc = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ);
	if (rc)
		return pa_fail(err, PA_SYSTEM, rc, "fusermount3: %s", strerror(rc));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return pa_fail(err, PA_SYSTEM, errno, "fusermount3");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return pa_fail(err, PA_SYSTEM, EBUSY, "fusermount3 -u %s failed", mountpoint);
	return 0;
}

int mount_undo(const char *mountpoint, bool lazy, struct pa_err *err)
{
	if (geteuid() != 0)
		return fusermount_undo(mountpoint, lazy, err);
	if (umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0)
		return pa_fail(err, PA_SYSTEM, errno, "umount %s: %s", mountpoint, strerror(errno));
	return 0;
}

/* ---- the mount itself ---- */

/* libfuse mounts, for a user through fusermount3; it serves nothing here. *ret_fd: /dev/fuse. */
static int make_mount(
	const char *mountpoint, struct fuse_session **ret, int *ret_fd, struct pa_err *err)
{
	static const struct fuse_lowlevel_ops nothing;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	bool failed =
		fuse_opt_add_arg(&args, "piauth") < 0 ||
		fuse_opt_add_arg(&args, "-onosuid,nodev,noexec,fsname=piauth,subtype=piauth") < 0 ||
		(mount_serves_others() && fuse_opt_add_arg(&args, "-oallow_other") < 0);
	struct fuse_session *se = NULL;

	if (!failed)
		se = fuse_session_new(&args, &nothing, sizeof(nothing), NULL);
	fuse_opt_free_args(&args);
	if (!se)
		return pa_fail(err, PA_SYSTEM, failed ? ENOMEM : EIO, "the FUSE session");
	/* libfuse has said why. */
	if (fuse_session_mount(se, mountpoint) < 0) {
		fuse_session_destroy(se);
		return pa_fail(err, PA_SYSTEM, EIO, "mounting on %s failed", mountpoint);
	}
	*ret = se;
	*ret_fd = fuse_session_fd(se);
	return 0;
}

int mount_hold(const char *mountpoint, char *const *worker, void (*ready)(void *arg), void *arg,
	struct pa_err *err)
{
	struct holder h = {
		.fuse_fd = -1, .page_fd = -1, .argv = worker, .ready = ready, .arg = arg
	};
	struct fuse_session *se = NULL;
	struct pa_err why;
	int rc;

	if ((rc = loop_block_signals(err)) == 0 && (rc = page_new(&h.page_fd, &h.page, err)) == 0 &&
		(rc = make_mount(mountpoint, &se, &h.fuse_fd, err)) == 0) {
		if (geteuid() != 0 || (rc = harden_no_new_privs(err)) == 0)
			rc = holder_run(&h, err);
		/* A clean end took the mount off. */
		if (rc < 0 && mount_undo(mountpoint, false, &why) < 0)
			(void)mount_undo(mountpoint, true, &why);
		if (rc == -EINTR) /* told to end while no worker could be had */
			rc = 0;
	}
	if (se) {
		fuse_session_unmount(
			se); /* finds that it is off, and forgets what it knows of it */
		fuse_session_destroy(se);
	}
	page_unmap(h.page);
	if (h.page_fd >= 0)
		close(h.page_fd);
	return rc;
}
