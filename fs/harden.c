#include "harden.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int harden(struct pa_err *err)
{
	const struct rlimit none = { 0, 0 };
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return pa_fail(err, PA_SYSTEM, errno, "/dev/null");
	close(fd);
	umask(077);
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return pa_fail(err, PA_SYSTEM, errno, "PR_SET_DUMPABLE");
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return pa_fail(err, PA_SYSTEM, errno, "RLIMIT_CORE");
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return pa_fail(err, PA_SYSTEM, errno, "SIGPIPE");
	/* The threads are few and allocate little: one heap instead of one each. */
	mallopt(M_ARENA_MAX, 1);
	return 0;
}

int harden_no_new_privs(struct pa_err *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return pa_fail(err, PA_SYSTEM, errno, "PR_SET_NO_NEW_PRIVS");
	return 0;
}
