#include "caller.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* /proc/TID/status: about 1.5 KiB, more with a long Groups line (65,536 groups at most, 11 bytes each). */
#define STATUS_SHORT 4096
#define STATUS_LONG  (800 * 1024)

int caller_self_init(struct caller_self *self, char **named, struct pa_err *err)
{
	struct stat user, pid;

	*self = (struct caller_self){ .proc_fd = -1, .named = named };
	self->proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (self->proc_fd < 0)
		return pa_fail(err, PA_SYSTEM, errno, "open /proc");
	if (fstatat(self->proc_fd, "self/ns/user", &user, 0) < 0 ||
		fstatat(self->proc_fd, "self/ns/pid", &pid, 0) < 0) {
		int rc = pa_fail(err, PA_SYSTEM, errno, "/proc/self/ns");

		caller_self_done(self);
		return rc;
	}
	self->user_dev = user.st_dev;
	self->user_ino = user.st_ino;
	self->pid_dev = pid.st_dev;
	self->pid_ino = pid.st_ino;
	return 0;
}

void caller_self_done(struct caller_self *self)
{
	if (self->proc_fd >= 0)
		close(self->proc_fd);
	self->proc_fd = -1;
}

/* Up to size - 1 bytes of /proc/TID/name, terminated; -1 if it cannot be read. */
static ssize_t read_proc(
	const struct caller_self *self, pid_t tid, const char *name, char *buf, size_t size)
{
	char path[48];
	ssize_t len;

	snprintf(path, sizeof(path), "%d/%s", (int)tid, name);
	int fd = openat(self->proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	/* These files are made whole for the first read; a second one would only say that it was. */
	len = read(fd, buf, size - 1);
	close(fd);
	buf[len > 0 ? len : 0] = '\0';
	return len > 0 ? len : -1;
}

/* The value behind "Name:" at the beginning of a line, or NULL. */
static const char *status_field(const char *text, const char *name)
{
	size_t len = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, len) == 0 && line[len] == ':')
			return line + len + 1;
	}
	return NULL;
}

static bool groups_have(const char *groups, gid_t group)
{
	while (groups && *groups && *groups != '\n') {
		char *end;
		unsigned long g = strtoul(groups, &end, 10);

		if (end == groups)
			break;
		if (g == group)
			return true;
		groups = end + strspn(end, " \t");
	}
	return false;
}

static void look_groups(const struct caller_self *self, struct caller *c, gid_t group)
{
	char small[STATUS_SHORT], *text = small, *big = NULL;
	ssize_t len = read_proc(self, c->tid, "status", small, sizeof(small));

	if (len == (ssize_t)sizeof(small) - 1 && (big = malloc(STATUS_LONG))) {
		len = read_proc(self, c->tid, "status", big, STATUS_LONG);
		text = big;
	}
	if (len > 0) {
		c->known = true;
		c->in_group = c->gid == group || groups_have(status_field(text, "Groups"), group);
	}
	free(big);
}

static void look_namespaces(const struct caller_self *self, struct caller *c)
{
	struct stat user, pid;
	char path[48], name[48];

	snprintf(path, sizeof(path), "%d/ns/user", (int)c->tid);
	if (fstatat(self->proc_fd, path, &user, 0) < 0)
		return;
	snprintf(path, sizeof(path), "%d/ns/pid", (int)c->tid);
	if (fstatat(self->proc_fd, path, &pid, 0) < 0)
		return;
	c->known = true;
	c->in_user_ns = user.st_dev == self->user_dev && user.st_ino == self->user_ino;
	c->in_pid_ns = pid.st_dev == self->pid_dev && pid.st_ino == self->pid_ino;
	snprintf(name, sizeof(name), "user:[%ju]", (uintmax_t)user.st_ino);
	for (char **n = self->named; n && *n; n++)
		c->is_named |= strcmp(*n, name) == 0;
}

void caller_look(const struct caller_self *self, struct caller *c, unsigned wants, gid_t group)
{
	if (c->tid == 0)
		return;
	if (wants & POLICY_WANTS_GROUPS)
		look_groups(self, c, group);
	if (wants & POLICY_WANTS_NAMESPACES)
		look_namespaces(self, c);
}

static uint64_t signal_set(const char *text, const char *name)
{
	const char *at = status_field(text, name);

	return at ? strtoull(at, NULL, 16) : 0;
}

static uint64_t signal_bit(int sig)
{
	return UINT64_C(1) << (sig - 1);
}

enum caller_signal caller_signal(const struct caller_self *self, pid_t tid)
{
	char text[STATUS_SHORT];

	if (tid == 0 || read_proc(self, tid, "status", text, sizeof(text)) < 0)
		return CALLER_LEAVES;
	/* The groups come before the signals; with very many of them the signals do not fit. */
	if (!status_field(text, "SigBlk"))
		return CALLER_LEAVES;
	uint64_t pending = signal_set(text, "SigPnd") | signal_set(text, "ShdPnd");
	uint64_t ends = signal_bit(SIGINT) | signal_bit(SIGTERM) | signal_bit(SIGHUP) |
			signal_bit(SIGQUIT) | signal_bit(SIGALRM);

	if (pending & signal_bit(SIGKILL))
		return CALLER_LEAVES;
	if (pending & ends & ~signal_set(text, "SigBlk"))
		return CALLER_LEAVES;
	return CALLER_STAYS;
}

/* The process of a thread. Most are their process's first: one call tells, where status costs 10 us. */
static pid_t process_of(const struct caller_self *self, pid_t tid)
{
	char text[STATUS_SHORT];
	const char *at;

	if (tgkill(tid, tid, 0) == 0 || errno == EPERM)
		return tid;
	if (read_proc(self, tid, "status", text, sizeof(text)) < 0 ||
		!(at = status_field(text, "Tgid")))
		return 0;
	return (pid_t)strtol(at, NULL, 10);
}

static void read_cgroup(const struct caller_self *self, pid_t tid, char ret[static CALLER_TEXT])
{
	char text[STATUS_SHORT];
	const char *at;

	ret[0] = '\0';
	if (read_proc(self, tid, "cgroup", text, sizeof(text)) < 0)
		return;
	/* Version 2 is the line with hierarchy 0; where it is missing, the first one. */
	at = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	at = at ? strchr(at, ':') : strchr(text, ':');
	at = at ? strchr(at + 1, ':') : NULL;
	if (at)
		snprintf(ret, CALLER_TEXT, "%.*s", (int)strcspn(at + 1, "\n"), at + 1);
}

void caller_tell(struct caller_self *self, pid_t tid, struct caller_story *ret)
{
	struct caller_recent *recent = &self->recent[(unsigned)tid % CALLER_RECENT];
	struct timespec now;
	int64_t now_ns;
	char path[48];
	ssize_t n;

	ret->tgid = 0;
	ret->exe[0] = ret->cgroup[0] = '\0';
	if (tid == 0)
		return;
	snprintf(path, sizeof(path), "%d/exe", (int)tid);
	n = readlinkat(self->proc_fd, path, ret->exe, sizeof(ret->exe) - 1);
	ret->exe[n > 0 ? n : 0] = '\0';
	ret->tgid = process_of(self, tid);
	clock_gettime(CLOCK_MONOTONIC, &now);
	now_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
	if (recent->tid != tid || now_ns > recent->until_ns || strcmp(recent->exe, ret->exe) != 0) {
		read_cgroup(self, tid, recent->cgroup);
		memcpy(recent->exe, ret->exe, sizeof(recent->exe));
		recent->tid = tid;
		recent->until_ns = now_ns + CALLER_RECENT_MS * INT64_C(1000000);
	}
	memcpy(ret->cgroup, recent->cgroup, sizeof(ret->cgroup));
}
