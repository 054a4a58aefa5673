/* legacy-helper: the process that touches other tools' files, as it starts (fs/legacy.h). Not for people. */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/cli.h"
#include "fs/harden.h"
#include "store/import/serve.h"
#include "store/json.h"

#define NOBODY UINT32_MAX /* no uid and no gid: -1 means "unchanged" to the kernel */

static bool is_conversation(int fd)
{
	int type = 0, domain = 0;
	socklen_t len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return false;
	len = sizeof(domain);
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
	       type == SOCK_SEQPACKET;
}

static bool parse_id(const char *text, uint32_t *ret)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || text[0] < '0' || text[0] > '9' || *end || n >= NOBODY)
		return false;
	*ret = (uint32_t)n;
	return true;
}

/* The groups that the owner has at a login; a uid without a name has none but its own. */
static int take_groups(uid_t uid, gid_t gid, struct pa_err *err)
{
	const struct passwd *pw = getpwuid(uid);
	int rc = pw ? initgroups(pw->pw_name, gid) : setgroups(0, NULL);

	if (rc < 0)
		return pa_fail(err, PA_SYSTEM, errno, "groups of uid %u: %s", (unsigned)uid,
			strerror(errno));
	return 0;
}

/* For good: the saved ids change as well, and what made the change possible goes with them. */
static int become(uid_t uid, gid_t gid, struct pa_err *err)
{
	uid_t u[3];
	gid_t g[3];
	int rc;

	if ((rc = take_groups(uid, gid, err)) < 0)
		return rc;
	if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return pa_fail(err, PA_SYSTEM, errno, "uid %u, gid %u: %s", (unsigned)uid,
			(unsigned)gid, strerror(errno));
	if (getresuid(&u[0], &u[1], &u[2]) < 0 || getresgid(&g[0], &g[1], &g[2]) < 0)
		return pa_fail(err, PA_SYSTEM, errno, "ids");
	for (int i = 0; i < 3; i++)
		if (u[i] != uid || g[i] != gid)
			return pa_fail(err, PA_SYSTEM, EPERM, "not uid %u, gid %u", (unsigned)uid,
				(unsigned)gid);
	if (uid != 0 && setresuid((uid_t)-1, 0, (uid_t)-1) == 0)
		return pa_fail(err, PA_SYSTEM, EPERM, "uid %u can become root", (unsigned)uid);
	/* Another uid made the process traceable and dumpable again, if the system is set up so. */
	return harden(err);
}

/*
 * It ends when its conversation does, and finishes what it was told before: what ends the server must not cut a
 * write short. What is hung is killed.
 */
static int outlive_the_server(struct pa_err *err)
{
	const int ignored[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		if (signal(ignored[i], SIG_IGN) == SIG_ERR)
			return pa_fail(err, PA_SYSTEM, errno, "signal %d", ignored[i]);
	return 0;
}

int cli_legacy(int argc, char **argv)
{
	enum { UID = 256, GID };
	static const struct option longs[] = {
		{ "uid", required_argument, NULL, UID },
		{ "gid", required_argument, NULL, GID },
		{ NULL, 0, NULL, 0 },
	};
	uint32_t uid = NOBODY, gid = NOBODY;
	const char *home;
	struct pa_err err;
	int opt;

	optind = 0;
	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (!(opt == UID && parse_id(optarg, &uid)) &&
			!(opt == GID && parse_id(optarg, &gid)))
			return cli_usage(argv[0]);
	if (optind != argc || (uid == NOBODY) != (gid == NOBODY))
		return cli_usage(argv[0]);
	if (!is_conversation(STDIN_FILENO)) {
		fprintf(stderr, "piauth: %s is started by the server, not by people\n", argv[0]);
		return CLI_USAGE;
	}
	home = secure_getenv("HOME");
	if (!home || home[0] != '/') {
		fprintf(stderr, "piauth: %s: HOME is no absolute path\n", argv[0]);
		return CLI_USAGE;
	}
	/* Started through /proc/self/exe it would be listed as "exe". */
	prctl(PR_SET_NAME, "piauth-legacy");
	if (chdir("/") < 0) {
		perror("piauth: /");
		return CLI_FAILED;
	}
	if (outlive_the_server(&err) < 0 || (uid != NOBODY && become(uid, gid, &err) < 0) ||
		harden_no_new_privs(&err) < 0)
		return cli_fail(argv[0], &err);
	json_init();
	return import_serve(STDIN_FILENO, home, &err) < 0 ? cli_fail(argv[0], &err) : CLI_DONE;
}
