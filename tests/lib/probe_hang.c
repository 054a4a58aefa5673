/*
 * probe_hang - a file system that does not answer any more, as a home on a dead NFS server.
 *
 *     probe_hang MOUNTPOINT
 *
 * Mounts itself, prints `ready`, and serves three files in its root until it is killed: "opens-never"
 * (open hangs), "reads-never" (open succeeds, read hangs), and "looks-never" (lookup hangs, as does every
 * other name that begins with it). Requests for them are taken and dropped: who made one waits in the kernel,
 * where not even SIGKILL ends it, until this process dies.
 */
#define FUSE_USE_VERSION 34

#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { ROOT = FUSE_ROOT_ID, OPENS_NEVER, READS_NEVER };

static int attributes(fuse_ino_t ino, struct stat *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->st_ino = ino;
	ret->st_mode = ino == ROOT ? S_IFDIR | 0777 : S_IFREG | 0666;
	ret->st_nlink = 1;
	ret->st_size = ino == ROOT ? 0 : 100;
	return ino > READS_NEVER ? -1 : 0;
}

static void hang_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { 0 };

	(void)parent;
	if (strncmp(name, "looks-never", strlen("looks-never")) == 0)
		return; /* no answer */
	if (strcmp(name, "opens-never") == 0) {
		e.ino = OPENS_NEVER;
	} else if (strcmp(name, "reads-never") == 0) {
		e.ino = READS_NEVER;
	} else {
		fuse_reply_err(req, ENOENT);
		return;
	}
	attributes(e.ino, &e.attr);
	fuse_reply_entry(req, &e);
}

static void hang_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	if (attributes(ino, &st) < 0)
		fuse_reply_err(req, ENOENT);
	else
		fuse_reply_attr(req, &st, 0);
}

static void hang_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (ino == READS_NEVER) {
		fi->direct_io = 1;
		fuse_reply_open(req, fi);
	}
}

static void hang_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)req;
	(void)ino;
	(void)size;
	(void)off;
	(void)fi;
}

static const struct fuse_lowlevel_ops operations = {
	.lookup = hang_lookup,
	.getattr = hang_getattr,
	.open = hang_open,
	.read = hang_read,
};

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *session;

	if (argc != 2) {
		fprintf(stderr, "usage: probe_hang MOUNTPOINT\n");
		return 2;
	}
	if (fuse_opt_add_arg(&args, argv[0]) < 0 ||
		fuse_opt_add_arg(&args, "-oallow_other,fsname=probe_hang") < 0)
		return 1;
	session = fuse_session_new(&args, &operations, sizeof(operations), NULL);
	if (!session || fuse_session_mount(session, argv[1]) < 0)
		return 1;
	printf("ready\n");
	fflush(stdout);
	return fuse_session_loop(session) < 0;
}
