/* mount and umount: who is served, where, and the way into the background. */
#include "fs/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/cli.h"
#include "fs/log.h"

#define GONE_MS 10000 /* how long umount waits for the server to end */

struct mount_cli {
	struct mount_options options;
	struct cli_paths paths;
	struct legacy_owner legacy;
	bool foreground;
	int ready_fd;  /* -1: none */
	int parent_fd; /* -1: none; the other end waits in the parent */
	char *mountpoint;
	char *made[4]; /* paths that were made absolute */
};

/* Like cli_fail; but what the system or a person did wrong here is said by the detail alone. */
static int fail(const struct pa_err *err)
{
	if (err->code != PA_SYSTEM || !err->detail[0])
		return cli_fail(NULL, err);
	fprintf(stderr, "piauth: %s\n", err->detail);
	return CLI_FAILED;
}

static int parse_number(const char *text, long max, long *ret)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || end == text || *end || n < 0 || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int find_owner(const char *name, uid_t *ret_uid, gid_t *ret_gid, struct pa_err *err)
{
	struct passwd *pw = getpwnam(name);
	long uid;

	if (!pw && parse_number(name, UINT32_MAX - 1L, &uid) == 0) {
		pw = getpwuid((uid_t)uid);
		if (!pw) { /* a number without a name is fine: containers have many */
			*ret_uid = (uid_t)uid;
			*ret_gid = (gid_t)uid;
			return 0;
		}
	}
	if (!pw)
		return pa_fail(err, PA_SYSTEM, ENOENT, "there is no user %s", name);
	*ret_uid = pw->pw_uid;
	*ret_gid = pw->pw_gid;
	return 0;
}

int cli_owner(uid_t *ret_uid, gid_t *ret_gid, struct pa_err *err)
{
	const char *name = geteuid() == 0 ? secure_getenv("SUDO_UID") : NULL;

	if (name)
		return find_owner(name, ret_uid, ret_gid, err);
	*ret_uid = geteuid();
	*ret_gid = getegid();
	return 0;
}

static int set_owner(struct mount_options *o, const char *name, struct pa_err *err)
{
	int rc;

	if (!name)
		return cli_owner(&o->owner_uid, &o->owner_gid, err);
	if ((rc = find_owner(name, &o->owner_uid, &o->owner_gid, err)) < 0)
		return rc;
	if (geteuid() != 0 && o->owner_uid != geteuid())
		return pa_fail(err, PA_DENIED, EPERM,
			"only root mounts for another user (--owner %s)", name);
	return 0;
}

static int set_group(struct mount_options *o, const char *name, struct pa_err *err)
{
	struct group *gr;
	long gid;

	if (!name)
		return 0;
	gr = getgrnam(name);
	if (gr)
		o->group = gr->gr_gid;
	else if (parse_number(name, UINT32_MAX - 1L, &gid) == 0)
		o->group = (gid_t)gid;
	else
		return pa_fail(err, PA_SYSTEM, ENOENT, "there is no group %s", name);
	o->has_group = true;
	return 0;
}

static int make_absolute(const char **path, char **made, struct pa_err *err)
{
	char *cwd;
	int n;

	if (**path == '/')
		return 0;
	cwd = getcwd(NULL, 0);
	n = cwd ? asprintf(made, "%s/%s", cwd, *path) : -1;
	free(cwd);
	if (n < 0) {
		*made = NULL;
		return pa_fail(err, PA_SYSTEM, errno, "the current directory");
	}
	*path = *made;
	return 0;
}

/* Where other tools' files are: home as given on the command line, or NULL. */
static int set_legacy(struct mount_cli *c, const char *home, struct pa_err *err)
{
	struct mount_options *o = &c->options;
	int rc = legacy_owner_init(&c->legacy, o->owner_uid, o->owner_gid, err);

	o->legacy = &c->legacy;
	if (rc < 0 || !home)
		return rc;
	if ((rc = make_absolute(&home, &c->made[3], err)) < 0)
		return rc;
	free(c->legacy.home);
	if (!(c->legacy.home = strdup(home)))
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", home);
	return 0;
}

/* Says for whom it serves: files that another user cannot read are a surprise otherwise. */
static void say_whom(const struct mount_options *o)
{
	const struct passwd *pw = getpwuid(o->owner_uid);
	const char *name = pw ? pw->pw_name : "?";

	if (!mount_serves_others()) {
		log_info("%s serves %s (uid %u, gid %u) only, not even root; user_allow_other in "
			 "/etc/fuse.conf would change that",
			o->mountpoint, name, (unsigned)geteuid(), (unsigned)getegid());
		if (o->has_group || o->public_status)
			log_warning("--group and --public-status have no effect without "
				    "user_allow_other");
		return;
	}
	log_info("%s serves %s (uid %u)%s", o->mountpoint, name, (unsigned)o->owner_uid,
		o->owner_uid ? " and root" : "");
	if (o->has_group)
		log_info("members of group %u may read", (unsigned)o->group);
	if (o->public_status)
		log_info("everybody may read status files");
	if (!o->legacy->home)
		log_info("uid %u has no home directory: the files of other tools are left alone "
			 "(--legacy-home)",
			(unsigned)o->owner_uid);
}

/* A server lives long: it must not hold open what it happened to inherit. */
static void close_inherited(int except)
{
	unsigned from = STDERR_FILENO + 1;

	if (except >= (int)from) {
		if (except > (int)from)
			close_range(from, (unsigned)except - 1, 0);
		from = (unsigned)except + 1;
	}
	close_range(from, ~0U, 0);
}

/* 0, or an exit code + 1. */
static int parse(struct mount_cli *c, int argc, char **argv)
{
	enum { STORE = 256, KEY_FILE, CONFIG, OWNER, GROUP, PUBLIC, LEGACY, NO_MIGRATE, READY };
	static const struct option longs[] = {
		{ "store", required_argument, NULL, STORE },
		{ "key-file", required_argument, NULL, KEY_FILE },
		{ "config", required_argument, NULL, CONFIG },
		{ "owner", required_argument, NULL, OWNER },
		{ "group", required_argument, NULL, GROUP },
		{ "public-status", no_argument, NULL, PUBLIC },
		{ "legacy-home", required_argument, NULL, LEGACY },
		{ "no-migrate", no_argument, NULL, NO_MIGRATE },
		{ "ready-fd", required_argument, NULL, READY },
		{ NULL, 0, NULL, 0 },
	};
	struct mount_options *o = &c->options;
	const char *owner = NULL, *group = NULL, *home = NULL;
	struct pa_err err;
	long n;
	int opt;

	if (cli_paths(&c->paths, &err) < 0)
		return fail(&err) + 1;
	o->store = c->paths.store;
	o->key_file = c->paths.key_file;
	o->config = c->paths.config;
	o->import = true;
	optind = 0;
	while ((opt = getopt_long(argc, argv, "f", longs, NULL)) != -1) {
		switch (opt) {
		case 'f':
			c->foreground = true;
			break;
		case STORE:
			o->store = optarg;
			break;
		case KEY_FILE:
			o->key_file = optarg;
			break;
		case CONFIG:
			o->config = optarg;
			break;
		case OWNER:
			owner = optarg;
			break;
		case GROUP:
			group = optarg;
			break;
		case PUBLIC:
			o->public_status = true;
			break;
		case LEGACY:
			home = optarg;
			break;
		case NO_MIGRATE:
			o->import = false;
			break;
		case READY:
			if (parse_number(optarg, INT32_MAX, &n) < 0 || fcntl((int)n, F_GETFD) < 0) {
				fprintf(stderr, "piauth: --ready-fd %s: not an open descriptor\n",
					optarg);
				return CLI_USAGE + 1;
			}
			c->ready_fd = (int)n;
			fcntl(c->ready_fd, F_SETFD, FD_CLOEXEC);
			break;
		default:
			return cli_usage("mount") + 1;
		}
	}
	if (argc - optind > 1)
		return cli_usage("mount") + 1;
	if (argc > optind) {
		free(c->paths.mountpoint);
		if (!(c->paths.mountpoint = strdup(argv[optind]))) {
			pa_fail(&err, PA_NO_MEMORY, 0, "mount");
			return fail(&err) + 1;
		}
	}
	if (set_owner(o, owner, &err) < 0 || set_group(o, group, &err) < 0 ||
		set_legacy(c, home, &err) < 0 || make_absolute(&o->store, &c->made[0], &err) < 0 ||
		make_absolute(&o->key_file, &c->made[1], &err) < 0 ||
		make_absolute(&o->config, &c->made[2], &err) < 0 ||
		mount_point(c->paths.mountpoint, &c->mountpoint, &err) < 0)
		return fail(&err) + 1;
	o->mountpoint = c->mountpoint;
	return 0;
}

static void tell(int *fd)
{
	if (*fd < 0)
		return;
	if (write(*fd, "\n", 1) != 1)
		log_warning("nobody waits for the mount to be ready");
	close(*fd);
	*fd = -1;
}

/* The mount serves. In the background stderr belongs to somebody's terminal: syslog from here on. */
static void ready(void *arg)
{
	struct mount_cli *c = arg;

	say_whom(&c->options);
	if (!c->foreground)
		log_to_syslog();
	tell(&c->ready_fd);
	tell(&c->parent_fd);
}

/* The command line of a worker: nothing in it is secret. */
struct command_line {
	char *words[24];
	char owner[16], owner_gid[16], group[16];
	size_t n;
};

static void say(struct command_line *l, const char *option, const char *value)
{
	/* argv's type is older than const; nobody writes to it. */
	l->words[l->n++] = (char *)option;
	if (value)
		l->words[l->n++] = (char *)value;
}

static void worker_command(const struct mount_cli *c, struct command_line *l)
{
	const struct mount_options *o = &c->options;

	*l = (struct command_line){ 0 };
	snprintf(l->owner, sizeof(l->owner), "%u", (unsigned)o->owner_uid);
	snprintf(l->owner_gid, sizeof(l->owner_gid), "%u", (unsigned)o->owner_gid);
	snprintf(l->group, sizeof(l->group), "%u", (unsigned)o->group);
	say(l, "piauth", "worker");
	say(l, "--store", o->store);
	say(l, "--key-file", o->key_file);
	say(l, "--config", o->config);
	say(l, "--owner", l->owner);
	say(l, "--owner-gid", l->owner_gid);
	if (o->has_group)
		say(l, "--group", l->group);
	if (o->public_status)
		say(l, "--public-status", NULL);
	if (o->legacy->home)
		say(l, "--legacy-home", o->legacy->home);
	if (o->import)
		say(l, "--import", NULL);
	if (!c->foreground)
		say(l, "--background", NULL);
	say(l, "--", o->mountpoint);
}

static int serve(struct mount_cli *c)
{
	struct command_line worker;
	struct pa_err err;

	if (chdir("/") < 0) {
		perror("piauth: /");
		return CLI_FAILED;
	}
	worker_command(c, &worker);
	if (mount_hold(c->options.mountpoint, worker.words, ready, c, &err) == 0)
		return CLI_DONE;
	if (err.errnum == ECHILD) /* the worker has said why */
		return CLI_FAILED;
	if (!c->foreground && c->parent_fd < 0) { /* ready() was here: stderr is gone */
		log_err(LOG_LEVEL_ERROR, NULL, &err);
		return CLI_FAILED;
	}
	return fail(&err);
}

/* Returns in the child with parent_fd set, or in the parent (false) with the exit code. */
static bool detach(struct mount_cli *c, int *ret_code)
{
	int fds[2], status;
	ssize_t n;
	char byte;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		perror("piauth: the background");
		*ret_code = CLI_FAILED;
		return false;
	}
	if (pid == 0) {
		close(fds[0]);
		c->parent_fd = fds[1];
		setsid();
		return true;
	}
	close(fds[1]);
	do {
		n = read(fds[0], &byte, 1);
	} while (n < 0 && errno == EINTR);
	close(fds[0]);
	*ret_code = CLI_DONE;
	if (n != 1) { /* it ends, and has said why */
		*ret_code = CLI_FAILED;
		if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status))
			*ret_code = WEXITSTATUS(status);
	}
	return false;
}

int cli_mount(int argc, char **argv)
{
	struct mount_cli c = { .ready_fd = -1, .parent_fd = -1 };
	int code = parse(&c, argc, argv);

	if (code == 0)
		close_inherited(c.ready_fd);
	if (code)
		code--;
	else if (c.foreground || detach(&c, &code))
		code = serve(&c);
	free(c.mountpoint);
	for (size_t i = 0; i < sizeof(c.made) / sizeof(c.made[0]); i++)
		free(c.made[i]);
	legacy_owner_done(&c.legacy);
	cli_paths_done(&c.paths);
	return code;
}

/* The server of a mount, as a descriptor that becomes readable when it ends; -1 if it cannot be told. */
static int server_of(const char *mountpoint)
{
	char path[4096], line[256];
	int pid = 0;
	FILE *f;

	if (snprintf(path, sizeof(path), "%s/.piauth/metrics", mountpoint) >= (int)sizeof(path))
		return -1;
	if (!(f = fopen(path, "re")))
		return -1;
	while (pid == 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "piauth_server_info{pid=\"%d\"", &pid) != 1)
			pid = 0;
	fclose(f);
	return pid > 0 ? pidfd_open(pid, 0) : -1;
}

int cli_umount(int argc, char **argv)
{
	struct cli_paths paths;
	struct pa_err err;
	const char *mountpoint;
	int fd = -1, code = CLI_DONE;

	if (argc > 2 || (argc == 2 && argv[1][0] == '-'))
		return cli_usage(argv[0]);
	if (cli_paths(&paths, &err) < 0)
		return fail(&err);
	mountpoint = argc == 2 ? argv[1] : paths.mountpoint;
	switch (cli_is_mounted(mountpoint)) {
	case CLI_MOUNT_NONE:
		fprintf(stderr, "piauth: nothing is mounted at %s\n", mountpoint);
		code = CLI_NOT_MOUNTED;
		break;
	case CLI_MOUNT_DEAD:
		if (mount_undo(mountpoint, true, &err) < 0)
			code = fail(&err);
		break;
	case CLI_MOUNTED:
		fd = server_of(mountpoint);
		if (mount_undo(mountpoint, false, &err) < 0) {
			code = fail(&err);
		} else if (fd >= 0) {
			/* The store is free again when its server is gone. */
			struct pollfd p = { .fd = fd, .events = POLLIN };

			if (poll(&p, 1, GONE_MS) == 0)
				fprintf(stderr,
					"piauth: unmounted; the server runs on, because its "
					"files are mounted elsewhere too (containers)\n");
		}
		break;
	}
	if (fd >= 0)
		close(fd);
	cli_paths_done(&paths);
	return code;
}
