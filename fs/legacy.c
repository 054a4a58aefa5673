#include "legacy.h"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/import/import.h"

#define ARGS_MAX 7

int legacy_owner_init(struct legacy_owner *o, uid_t uid, gid_t gid, struct pa_err *err)
{
	const char *home = uid == geteuid() ? secure_getenv("HOME") : NULL;

	*o = (struct legacy_owner){ .uid = uid, .gid = gid };
	if (!home || home[0] != '/') {
		const struct passwd *pw = getpwuid(uid);

		home = pw && pw->pw_dir[0] == '/' ? pw->pw_dir : NULL;
	}
	if (home && !(o->home = strdup(home)))
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", home);
	return 0;
}

void legacy_owner_done(struct legacy_owner *o)
{
	free(o->home);
	*o = (struct legacy_owner){ 0 };
}

/* ---- what the process gets ---- */

static void environment_free(char **env)
{
	if (!env)
		return;
	for (char **e = env; *e; e++)
		free(*e);
	free(env);
}

static char *assignment(const char *name, const char *value)
{
	char *text;

	return asprintf(&text, "%s=%s", name, value) < 0 ? NULL : text;
}

/* NULL on no memory. */
static char **environment_of(const struct legacy_owner *o)
{
	size_t n = 0, names = 0;
	char **env;

	while (import_env_names[names])
		names++;
	if (!(env = calloc(names + 2, sizeof(*env))))
		return NULL;
	if (!(env[n++] = assignment("HOME", o->home)))
		goto fail;
	for (size_t i = 0; i < names; i++) {
		const char *value = secure_getenv(import_env_names[i]);

		if (value && !(env[n++] = assignment(import_env_names[i], value)))
			goto fail;
	}
	return env;
fail:
	environment_free(env);
	return NULL;
}

/*
 * Signals as a new program expects them: the server blocks some and ignores others. The session is its own,
 * and so are its descriptors from 3 on: none, whatever the server forgot to close on exec.
 */
static int prepare(posix_spawnattr_t *attr, posix_spawn_file_actions_t *files, int socket)
{
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	sigdelset(&all, SIGKILL);
	sigdelset(&all, SIGSTOP);
	if ((rc = posix_spawnattr_setsigmask(attr, &none)) ||
		(rc = posix_spawnattr_setsigdefault(attr, &all)) ||
		(rc = posix_spawnattr_setflags(attr,
			 POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID)) ||
		(rc = posix_spawn_file_actions_adddup2(files, socket, STDIN_FILENO)) ||
		(rc = posix_spawn_file_actions_addopen(
			 files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)) ||
		(rc = posix_spawn_file_actions_adddup2(files, STDOUT_FILENO, STDERR_FILENO)))
		return rc;
	return posix_spawn_file_actions_addclosefrom_np(files, STDERR_FILENO + 1);
}

static int run(const struct legacy_owner *o, int socket, char **env, pid_t *ret_pid)
{
	char uid[24], gid[24];
	/* The prototype of posix_spawn is older than const; nothing is changed. */
	const char *argv[ARGS_MAX] = { "piauth", "legacy-helper" };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	size_t n = 2;
	int rc;

	if (geteuid() == 0 && (o->uid != 0 || o->gid != getegid())) {
		snprintf(uid, sizeof(uid), "%u", (unsigned)o->uid);
		snprintf(gid, sizeof(gid), "%u", (unsigned)o->gid);
		argv[n++] = "--uid";
		argv[n++] = uid;
		argv[n++] = "--gid";
		argv[n++] = gid;
	}
	if ((rc = posix_spawnattr_init(&attr)))
		return rc;
	if ((rc = posix_spawn_file_actions_init(&files))) {
		posix_spawnattr_destroy(&attr);
		return rc;
	}
	rc = prepare(&attr, &files, socket);
	if (rc == 0)
		rc = posix_spawn(
			ret_pid, "/proc/self/exe", &files, &attr, (char *const *)argv, env);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return rc;
}

static int start(void *arg, int *ret_fd, int *ret_pidfd, struct pa_err *err)
{
	const struct legacy_owner *o = arg;
	int fds[2], pidfd, rc;
	char **env;
	pid_t pid;

	if (!o->home)
		return pa_fail(err, PA_FILE_UNUSABLE, ENOENT, "uid %u has no home directory",
			(unsigned)o->uid);
	if (!(env = environment_of(o)))
		return pa_fail(err, PA_NO_MEMORY, 0, "legacy-helper");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
		rc = errno;
		environment_free(env);
		return pa_fail(err, PA_SYSTEM, rc, "legacy-helper: socket: %s", strerror(rc));
	}
	rc = fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? errno : run(o, fds[1], env, &pid);
	environment_free(env);
	close(fds[1]);
	if (rc) {
		close(fds[0]);
		return pa_fail(err, PA_SYSTEM, rc, "legacy-helper: %s", strerror(rc));
	}
	/* Nobody else waits for it, so its number stays its own until it is reaped. */
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0) {
		rc = errno;
		/* Nothing was asked of it yet. It dies at once: it has not touched a file. */
		close(fds[0]);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return pa_fail(err, PA_SYSTEM, rc, "legacy-helper: %s", strerror(rc));
	}
	*ret_fd = fds[0];
	*ret_pidfd = pidfd;
	return 0;
}

struct legacy_spawn legacy_owner_spawn(struct legacy_owner *o)
{
	return (struct legacy_spawn){ start, o };
}
