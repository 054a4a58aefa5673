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
#include "log.h"
#include "loop.h"
#include "ops.h"
#include "store/json.h"

#define DRAIN_MS 5000 /* for changes and exchanges under way when the server ends */

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

/* ---- what the server is made of ---- */

struct parts {
	struct config *config;
	struct provider_table *providers;
	struct vault *vault;
	struct broker *broker;
	struct audit *audit;
	struct server server;
	struct fuse_session *session;
	bool heap;
	bool mounted;
};

static int open_tables(struct parts *x, const char *path, struct pa_err *err)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	int dirfd = -1, providers_fd = -1, rc;

	if (!dir)
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", path);
	dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0 && errno != ENOENT)
		rc = pa_fail(err, PA_CONFIG, errno, "%s: %s", dir, strerror(errno));
	else
		/* Without its directory there is no file either: the path says so. */
		rc = config_read(dirfd >= 0 ? dirfd : AT_FDCWD,
			dirfd >= 0 && slash ? slash + 1 : path, &x->config, err);
	free(dir);
	if (rc == 0 && dirfd >= 0) {
		providers_fd = openat(dirfd, "providers.d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (providers_fd < 0 && errno != ENOENT)
			rc = pa_fail(err, PA_CONFIG, errno, "providers.d: %s", strerror(errno));
	}
	if (rc == 0)
		rc = provider_table_new(providers_fd, x->config->providers, x->config->text,
			x->config->text_len, &x->providers, err);
	if (providers_fd >= 0)
		close(providers_fd);
	if (dirfd >= 0)
		close(dirfd);
	return rc;
}

static int open_audit(struct parts *x, const char *store, struct pa_err *err)
{
	int fd = open(store, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), rc;

	if (fd < 0)
		return pa_fail(err, PA_STORE_IO, errno, "%s: %s", store, strerror(errno));
	rc = audit_new(fd, &x->server.self, &x->audit, err);
	close(fd);
	return rc;
}

static int open_parts(struct parts *x, const struct mount_options *o, struct pa_err *err)
{
	struct vault_options vault = {
		.dir = o->store, .key_file = o->key_file, .create = true, .wait_lock = false
	};
	const struct legacy_spawn legacy = legacy_owner_spawn(o->legacy);
	struct broker_options broker = { 0 };
	bool locked;
	int rc;

	if ((rc = secret_heap_init(SECRET_HEAP, &locked, err)) < 0)
		return rc;
	x->heap = true;
	if (!locked)
		log_warning("memory cannot be locked (RLIMIT_MEMLOCK): secrets may be swapped out");
	json_init();
	if ((rc = open_tables(x, o->config, err)) < 0)
		return rc;
	if ((rc = caller_self_init(&x->server.self, x->config->mutators, err)) < 0)
		return rc;
	if ((rc = vault_open(&vault, &x->vault, err)) < 0)
		return rc;
	if ((rc = open_audit(x, o->store, err)) < 0)
		return rc;
	broker.vault = x->vault;
	broker.providers = x->providers;
	broker.config = x->config;
	broker.legacy = o->legacy->home ? &legacy : NULL;
	broker.import = o->import;
	if ((rc = broker_new(&broker, &x->broker, err)) < 0)
		return rc;
	x->server.broker = x->broker;
	x->server.providers = x->providers;
	x->server.audit = x->audit;
	x->server.policy = (struct policy){
		.owner_uid = o->owner_uid,
		.owner_gid = o->owner_gid,
		.has_group = o->has_group,
		.group = o->group,
		.public_status = o->public_status,
	};
	clock_gettime(CLOCK_REALTIME, &x->server.started);
	return 0;
}

static int open_session(struct parts *x, const char *mountpoint, struct pa_err *err)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	bool failed =
		fuse_opt_add_arg(&args, "piauth") < 0 ||
		fuse_opt_add_arg(&args, "-onosuid,nodev,noexec,fsname=piauth,subtype=piauth") < 0 ||
		(mount_serves_others() && fuse_opt_add_arg(&args, "-oallow_other") < 0);

	if (!failed)
		x->session = fuse_session_new(&args, &ops_table, sizeof(ops_table), &x->server);
	fuse_opt_free_args(&args);
	if (!x->session)
		return pa_fail(err, PA_SYSTEM, failed ? ENOMEM : EIO, "the FUSE session");
	/* libfuse has said why. */
	if (fuse_session_mount(x->session, mountpoint) < 0)
		return pa_fail(err, PA_SYSTEM, EIO, "mounting on %s failed", mountpoint);
	x->mounted = true;
	return 0;
}

/* The last readers and writers get their answers before the mount goes. */
static void close_parts(struct parts *x)
{
	if (x->broker) {
		parked_end(&x->server.parked, ops_give_up);
		loop_drain(&x->server, DRAIN_MS);
		ops_close_all(&x->server);
	}
	if (x->mounted)
		fuse_session_unmount(x->session);
	if (x->broker)
		broker_free(x->broker, DRAIN_MS);
	parked_done(&x->server.parked);
	if (x->session)
		fuse_session_destroy(x->session);
	audit_free(x->audit);
	vault_close(x->vault);
	caller_self_done(&x->server.self);
	if (x->providers)
		provider_table_free(x->providers);
	if (x->config)
		config_free(x->config);
	if (x->heap)
		secret_heap_done();
}

/* libfuse's own messages go the way of ours. */
static void PA_PRINTF(2, 0) from_fuse(enum fuse_log_level level, const char *fmt, va_list args)
{
	if (level <= FUSE_LOG_ERR)
		log_vline(LOG_LEVEL_ERROR, fmt, args);
	else if (level <= FUSE_LOG_WARNING)
		log_vline(LOG_LEVEL_WARNING, fmt, args);
}

int mount_serve(
	const struct mount_options *o, void (*ready)(void *arg), void *arg, struct pa_err *err)
{
	struct parts x = { .server.self.proc_fd = -1 };
	int rc;

	fuse_set_log_func(from_fuse);
	if ((rc = loop_block_signals(err)) == 0 && (rc = open_parts(&x, o, err)) == 0 &&
		(rc = open_session(&x, o->mountpoint, err)) == 0 &&
		(geteuid() != 0 || (rc = harden_no_new_privs(err)) == 0))
		rc = loop_run(x.session, &x.server, ready, arg, err);
	close_parts(&x);
	return rc;
}
