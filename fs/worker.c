#include "worker.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "device.h"
#include "harden.h"
#include "holder.h"
#include "log.h"
#include "loop.h"
#include "mount.h"
#include "ops.h"
#include "store/json.h"

#define DRAIN_MS 5000 /* for changes and exchanges under way when the server ends */

/* ---- what the server is made of ---- */

struct parts {
	struct config *config;
	struct provider_table *providers;
	struct vault *vault;
	struct broker *broker;
	struct audit *audit;
	struct server server;
	struct fuse_session *session;
	struct page *page;
	int lock_fd; /* of the store, if an earlier worker has taken it; 0: none has */
	bool heap;
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

/* The time of what never changed is that of the mount, whoever serves it. */
static struct timespec started(struct page *page)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (!page->started_ns)
		page->started_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
	return (struct timespec){ .tv_sec = page->started_ns / 1000000000,
		.tv_nsec = page->started_ns % 1000000000 };
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
	vault.lock_fd = x->lock_fd;
	vault.lock_pid = getppid();
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
	x->server.page = x->page;
	x->server.pid = getppid();
	x->server.providers = x->providers;
	x->server.audit = x->audit;
	x->server.policy = (struct policy){
		.owner_uid = o->owner_uid,
		.owner_gid = o->owner_gid,
		.has_group = o->has_group,
		.group = o->group,
		.public_status = o->public_status,
	};
	x->server.started = started(x->page);
	return 0;
}

static int open_session(struct parts *x, struct pa_err *err)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	bool failed = fuse_opt_add_arg(&args, "piauth") < 0, resent;
	int rc;

	if (!failed)
		x->session = fuse_session_new(&args, &ops_table, sizeof(ops_table), &x->server);
	fuse_opt_free_args(&args);
	if (!x->session)
		return pa_fail(err, PA_SYSTEM, failed ? ENOMEM : EIO, "the FUSE session");
	if ((rc = device_attach(x->session, WORKER_FUSE, x->page, err)) < 0)
		return rc;
	if (atomic_load(&x->page->init_len) && (rc = ops_restore(&x->server, err)) < 0)
		return rc;
	if ((rc = device_adopt(x->session, &resent, err)) < 0)
		return rc;
	if (!resent)
		log_warning("this kernel does not send requests again: those that were under way "
			    "at the restart hang until they are interrupted");
	return 0;
}

/* The last readers and writers get their answers before the mount goes. */
static void close_parts(struct parts *x, const char *mountpoint, bool undo)
{
	struct pa_err err;

	if (x->broker) {
		parked_end(&x->server.parked, ops_give_up);
		loop_drain(&x->server, DRAIN_MS);
		ops_close_all(&x->server);
	}
	/* Where somebody still works in it, it goes when they are through. */
	if (undo && mount_undo(mountpoint, false, &err) < 0 &&
		mount_undo(mountpoint, true, &err) < 0)
		log_err(LOG_LEVEL_ERROR, mountpoint, &err);
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
	page_unmap(x->page);
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

struct announcement {
	const struct worker_options *o;
	const struct config *config;
};

static void ready(void *arg)
{
	struct announcement *a = arg;
	struct pa_err err;

	if (hold_send(WORKER_CONTROL, HOLD_READY, (uint64_t)a->config->watchdog_s * 1000, -1,
		    &err) < 0)
		log_err(LOG_LEVEL_WARNING, NULL, &err);
	if (a->o->background)
		log_to_syslog();
}

/* Ends with its holder: nobody would replace it, and a second server could not know of it. */
static int follow_holder(int *ret_lock_fd, struct pa_err *err)
{
	pid_t holder = getppid(); /* one that was gone by now does not take our messages */

	/* Before anything is opened that could get this number. */
	*ret_lock_fd = fcntl(WORKER_LOCK, F_GETFD) >= 0 ? WORKER_LOCK : 0;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != holder)
		return pa_fail(err, PA_SYSTEM, ESRCH, "the holder is gone");
	for (int fd = WORKER_CONTROL; fd <= WORKER_ALARM; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC); /* the lock is not there at first */
	return 0;
}

int worker_serve(const struct worker_options *o)
{
	const struct mount_options *m = &o->mount;
	struct parts x = { .server.self.proc_fd = -1 };
	struct announcement a = { .o = o };
	bool undo = false, first;
	struct pa_err err;
	int rc;

	fuse_set_log_func(from_fuse);
	rc = follow_holder(&x.lock_fd, &err);
	if (rc == 0)
		rc = page_map(WORKER_PAGE, &x.page, &err);
	first = rc < 0 || !atomic_load(&x.page->init_len);
	if (!first && o->background)
		log_to_syslog();
	if (rc == 0 && (rc = loop_block_signals(&err)) == 0 && (rc = open_parts(&x, m, &err)) == 0)
		rc = hold_send(WORKER_CONTROL, HOLD_LOCK, 0, vault_lock(x.vault), &err);
	if (rc == 0 && (rc = open_session(&x, &err)) == 0 &&
		(geteuid() != 0 || (rc = harden_no_new_privs(&err)) == 0)) {
		a.config = x.config;
		rc = loop_run(x.session, &x.server, x.config->watchdog_s * INT64_C(1000000000),
			ready, &a, &undo, &err);
		if (x.page)
			hold_asleep(x.page); /* what it does at its end may take its time */
	}
	/* At the first start somebody waits for it at a terminal. */
	if (rc < 0 && first)
		cli_fail(NULL, &err);
	else if (rc < 0)
		log_err(LOG_LEVEL_ERROR, NULL, &err);
	close_parts(&x, m->mountpoint, rc == 0 && undo);
	if (rc == 0)
		return WORKER_OVER;
	return WORKER_FAILED;
}
