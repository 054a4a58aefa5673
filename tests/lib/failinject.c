#include "failinject.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_uint left; /* calls until the one that fails; 0: not armed, or over */
static enum fail_mode fail_mode;
static int fail_errnum;

void failinject_arm(enum fail_mode mode, unsigned nth, int errnum)
{
	fail_mode = mode;
	fail_errnum = errnum;
	atomic_store(&left, nth);
}

bool failinject_disarm(void)
{
	return atomic_exchange(&left, 0) == 0;
}

const struct fail_way failinject_ways[] = {
	{ FAIL_ERRNO, EIO, "EIO" },
	{ FAIL_ERRNO, ENOSPC, "ENOSPC" },
	{ FAIL_SHORT, 0, "short write" },
	{ FAIL_EXIT, 0, "killed before" },
	{ FAIL_TORN, 0, "killed in the middle" },
};
const size_t failinject_nways = sizeof(failinject_ways) / sizeof(*failinject_ways);

bool failinject_run(enum fail_mode mode, unsigned nth, int errnum, int (*step)(void *arg),
	void *arg, int *ret_r)
{
	int status;
	pid_t pid;
	int r;

	if (mode == FAIL_ERRNO || mode == FAIL_SHORT) {
		failinject_arm(mode, nth, errnum);
		*ret_r = step(arg);
		return failinject_disarm();
	}
	pid = fork();
	if (pid == 0) {
		failinject_arm(mode, nth, errnum);
		r = step(arg);
		_exit(r ? 1 : 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		abort();
	*ret_r = WEXITSTATUS(status) == FAIL_STATUS ? -EINTR : -WEXITSTATUS(status);
	return WEXITSTATUS(status) == FAIL_STATUS;
}

static bool is_the_one(void)
{
	unsigned n = atomic_load(&left);

	while (n && !atomic_compare_exchange_weak(&left, &n, n - 1))
		;
	return n == 1;
}

/* For calls that do all or nothing. True: fail, with errno set. */
static bool fails(void)
{
	if (!is_the_one())
		return false;
	switch (fail_mode) {
	case FAIL_ERRNO:
		errno = fail_errnum;
		return true;
	case FAIL_SHORT:
		return false;
	case FAIL_EXIT:
	case FAIL_TORN:
		_exit(FAIL_STATUS);
	}
	return false;
}

/* For writes. Returns how much to write; 0: fail, with errno set. *ret_last: _exit after that. */
static size_t fails_after(size_t len, bool *ret_last)
{
	*ret_last = false;
	if (!is_the_one())
		return len;
	switch (fail_mode) {
	case FAIL_ERRNO:
		errno = fail_errnum;
		return 0;
	case FAIL_SHORT:
		return len > 1 ? len / 2 : len;
	case FAIL_EXIT:
		_exit(FAIL_STATUS);
	case FAIL_TORN:
		*ret_last = true;
		return len > 1 ? len / 2 : len;
	}
	return len;
}

#define WRAP(type, name, params, args)                    \
	type __real_##name params;                        \
	type __wrap_##name params;                        \
	type __wrap_##name params                         \
	{                                                 \
		return fails() ? -1 : __real_##name args; \
	}

WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
WRAP(int, linkat, (int a, const char *from, int b, const char *to, int flags),
	(a, from, b, to, flags))
WRAP(int, unlinkat, (int fd, const char *name, int flags), (fd, name, flags))
WRAP(int, mkdir, (const char *name, mode_t mode), (name, mode))
WRAP(int, mkdirat, (int fd, const char *name, mode_t mode), (fd, name, mode))
WRAP(int, ftruncate64, (int fd, off_t len), (fd, len))

#define WRAP_WRITE(name, params, fd, bytes, len, ...)                                 \
	ssize_t __real_##name params;                                                 \
	ssize_t __wrap_##name params;                                                 \
	ssize_t __wrap_##name params                                                  \
	{                                                                             \
		bool last;                                                            \
		size_t n = fails_after(len, &last);                                   \
		ssize_t r = n || !len ? __real_##name(fd, bytes, n __VA_ARGS__) : -1; \
                                                                                      \
		if (last)                                                             \
			_exit(FAIL_STATUS);                                           \
		return r;                                                             \
	}

#define COMMA ,
WRAP_WRITE(write, (int fd, const void *bytes, size_t len), fd, bytes, len, )
WRAP_WRITE(pwrite64, (int fd, const void *bytes, size_t len, off_t at), fd, bytes, len, COMMA at)

/* Only opens that may make a file: reading changes nothing. */
int __real_openat64(int fd, const char *name, int flags, ...);
int __wrap_openat64(int fd, const char *name, int flags, ...);
int __wrap_openat64(int fd, const char *name, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (!(flags & O_CREAT))
		return __real_openat64(fd, name, flags);
	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	return fails() ? -1 : __real_openat64(fd, name, flags, mode);
}
