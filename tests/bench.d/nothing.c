/*
 * nothing - a FUSE mount that does nothing but answer.
 *
 * The baseline of tests/bench: the same requests, flags and time-outs as a read of piauth's `key`
 * (direct_io, noflush, long entry time-out, attribute time-out 0), but no policy, no audit, no
 * store, no clock. What it costs is what FUSE costs; what piauth costs beyond it is piauth's own.
 *
 * The tree is MOUNTPOINT/p/key, so that a path walk has the same number of steps as in piauth.
 * With `herd`, opens are kept unanswered until SIGUSR1 and then all answered from one thread, as a
 * server does that waited for something on behalf of everybody.
 *
 *	nothing single|mt|clone MOUNTPOINT READY_FD [herd]
 *
 * The loops are libfuse's own: one thread; ten threads on one descriptor; ten threads with one
 * cloned descriptor each. One byte is written to READY_FD when the mount is there.
 */
#define FUSE_USE_VERSION 312

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_LEN       100
#define ENTRY_TIMEOUT_S 86400.0
#define LOOP_THREADS    10
/* More than any herd the benchmark sends. */
#define PARKED_MAX      65536

enum node { NODE_ROOT = FUSE_ROOT_ID, NODE_DIR, NODE_KEY };

static char token[TOKEN_LEN];
static bool herd;

static pthread_mutex_t parked_lock = PTHREAD_MUTEX_INITIALIZER;
static struct parked {
	fuse_req_t req;
	struct fuse_file_info fi;
} parked[PARKED_MAX];
static unsigned int parked_count;
static bool parked_open;

static int node_stat(fuse_ino_t ino, struct stat *ret_st)
{
	memset(ret_st, 0, sizeof(*ret_st));
	ret_st->st_ino = ino;
	if (ino == NODE_ROOT || ino == NODE_DIR) {
		ret_st->st_mode = S_IFDIR | 0500;
		ret_st->st_nlink = 2;
		return 0;
	}
	if (ino == NODE_KEY) {
		ret_st->st_mode = S_IFREG | 0400;
		ret_st->st_nlink = 1;
		ret_st->st_size = TOKEN_LEN;
		return 0;
	}
	return -ENOENT;
}

static void nothing_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry = { .entry_timeout = ENTRY_TIMEOUT_S, .attr_timeout = 0 };

	if (parent == NODE_ROOT && strcmp(name, "p") == 0)
		entry.ino = NODE_DIR;
	else if (parent == NODE_DIR && strcmp(name, "key") == 0)
		entry.ino = NODE_KEY;
	if (node_stat(entry.ino, &entry.attr) < 0)
		fuse_reply_err(req, ENOENT);
	else
		fuse_reply_entry(req, &entry);
}

static void nothing_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	if (node_stat(ino, &st) < 0)
		fuse_reply_err(req, ENOENT);
	else
		fuse_reply_attr(req, &st, 0);
}

static void nothing_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	bool keep = false;

	if (ino != NODE_KEY) {
		fuse_reply_err(req, EISDIR);
		return;
	}
	fi->direct_io = 1;
	fi->noflush = 1;
	if (herd) {
		pthread_mutex_lock(&parked_lock);
		keep = !parked_open && parked_count < PARKED_MAX;
		if (keep)
			parked[parked_count++] = (struct parked){ .req = req, .fi = *fi };
		pthread_mutex_unlock(&parked_lock);
	}
	if (!keep)
		fuse_reply_open(req, fi);
}

static void nothing_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	size_t left = off < TOKEN_LEN ? TOKEN_LEN - (size_t)off : 0;

	(void)ino;
	(void)fi;
	fuse_reply_buf(req, left ? token + off : NULL, size < left ? size : left);
}

static void nothing_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops nothing_ops = {
	.lookup = nothing_lookup,
	.getattr = nothing_getattr,
	.open = nothing_open,
	.read = nothing_read,
	.release = nothing_release,
};

/* Waits for SIGUSR1 and lets the herd go: the only thread that takes this signal. */
static void *herd_release(void *arg)
{
	const sigset_t *set = arg;
	int sig;

	if (sigwait(set, &sig) != 0)
		return NULL;
	pthread_mutex_lock(&parked_lock);
	parked_open = true;
	for (unsigned int i = 0; i < parked_count; i++)
		fuse_reply_open(parked[i].req, &parked[i].fi);
	pthread_mutex_unlock(&parked_lock);
	return NULL;
}

static int loop_run(struct fuse_session *se, const char *kind)
{
	struct fuse_loop_config *cfg;
	int r;

	if (strcmp(kind, "single") == 0)
		return fuse_session_loop(se);
	cfg = fuse_loop_cfg_create();
	if (!cfg)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(cfg, strcmp(kind, "clone") == 0);
	fuse_loop_cfg_set_max_threads(cfg, LOOP_THREADS);
	fuse_loop_cfg_set_idle_threads(cfg, LOOP_THREADS);
	r = fuse_session_loop_mt(se, cfg);
	fuse_loop_cfg_destroy(cfg);
	return r;
}

static bool loop_known(const char *kind)
{
	return strcmp(kind, "single") == 0 || strcmp(kind, "mt") == 0 || strcmp(kind, "clone") == 0;
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *se;
	static sigset_t usr1;
	pthread_t releaser;
	int r;

	if (argc < 4 || argc > 5 || !loop_known(argv[1]) ||
		(argc == 5 && strcmp(argv[4], "herd") != 0)) {
		fprintf(stderr, "usage: nothing single|mt|clone MOUNTPOINT READY_FD [herd]\n");
		return 2;
	}
	herd = argc == 5;
	memset(token, 'n', sizeof(token));

	/* Blocked before any thread exists, so that only sigwait() ever sees it. */
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	if (pthread_sigmask(SIG_BLOCK, &usr1, NULL) != 0 ||
		(herd && pthread_create(&releaser, NULL, herd_release, &usr1) != 0)) {
		fprintf(stderr, "nothing: cannot prepare for SIGUSR1\n");
		return 1;
	}

	if (fuse_opt_add_arg(&args, "nothing") < 0 ||
		fuse_opt_add_arg(&args, "-onosuid,nodev,noexec,allow_other,fsname=nothing") < 0)
		return 1;
	se = fuse_session_new(&args, &nothing_ops, sizeof(nothing_ops), NULL);
	fuse_opt_free_args(&args);
	if (!se)
		return 1;
	if (fuse_set_signal_handlers(se) < 0 || fuse_session_mount(se, argv[2]) < 0) {
		fuse_session_destroy(se);
		return 1;
	}
	if (write(atoi(argv[3]), "r", 1) != 1) {
		perror("nothing: READY_FD");
		r = -EIO;
	} else {
		r = loop_run(se, argv[1]);
	}
	fuse_session_unmount(se);
	fuse_remove_signal_handlers(se);
	fuse_session_destroy(se);
	return r < 0;
}
