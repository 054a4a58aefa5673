#include "file.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "../secret.h"
#include "../utf8.h"
#include "file_i.h"

#define FRESH_S 2 /* a file that was changed longer ago is not being written */

static const char mark[] = "\xef\xbb\xbf";

const char *file_state_name(enum file_state s)
{
	switch (s) {
	case FILE_FOUND:
		return "found";
	case FILE_ABSENT:
		return "absent";
	case FILE_UNREADABLE:
		return "unreadable";
	case FILE_CORRUPT:
		return "corrupt";
	}
	return "";
}

PA_PRINTF(3, 4)
static void because(struct file *f, enum file_state state, const char *fmt, ...)
{
	va_list ap;
	f->state = state;
	va_start(ap, fmt);
	vsnprintf(f->reason, sizeof(f->reason), fmt, ap);
	va_end(ap);
}

/* Whether the file system with this number is a mount of piauth. Unknown counts as one. */
static bool is_own_mount(dev_t dev)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t size = 0;
	bool own = !mounts;
	while (!own && getline(&line, &size, mounts) > 0) {
		unsigned id, parent, major_nr, minor_nr;
		/* ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS (proc(5)) */
		if (sscanf(line, "%u %u %u:%u", &id, &parent, &major_nr, &minor_nr) != 4 ||
			makedev(major_nr, minor_nr) != dev)
			continue;
		const char *type = strstr(line, " - ");
		own = type && strncmp(type, " - fuse.piauth ", 15) == 0;
	}
	free(line);
	if (mounts)
		fclose(mounts);
	return own;
}

int file_reopen(int at, int flags)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", at);
	return open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* What lies on our own mount is known by what the kernel has in memory: asking for more, as fstat does, asks
 * the server. */
static bool may_look(int at, struct file *f)
{
	struct statx st;
	if (statx(at, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
		because(f, FILE_UNREADABLE, "%s", strerror(errno));
	else if (is_own_mount(makedev(st.stx_dev_major, st.stx_dev_minor)))
		because(f, FILE_UNREADABLE, "it lies on a mount of piauth");
	else if (fstat(at, &f->st) < 0)
		because(f, FILE_UNREADABLE, "%s", strerror(errno));
	else
		return true;
	return false;
}

/* False: it is not one of those that are opened; state and reason say why. */
static bool may_open(struct file *f)
{
	if (S_ISDIR(f->st.st_mode))
		because(f, FILE_UNREADABLE, "a directory");
	else if (!S_ISREG(f->st.st_mode))
		because(f, FILE_UNREADABLE, "not a regular file");
	else if (geteuid() == 0 && f->st.st_uid != 0)
		/* Root in somebody else's home would read and write wherever the links there lead. */
		because(f, FILE_UNREADABLE,
			"it is uid %u's and looked at as root: serve that user (--owner)",
			(unsigned)f->st.st_uid);
	else if (f->st.st_size > FILE_MAX)
		because(f, FILE_UNREADABLE, "larger than %d MiB", FILE_MAX / 1024 / 1024);
	else
		return true;
	return false;
}

/* All bytes of fd, one more than FILE_MAX at most. */
static bool read_all(int fd, struct file *f)
{
	/* One byte more than it should have tells a file that ends from one that grows. */
	size_t size = (size_t)f->st.st_size + 2;
	f->text = wipe_malloc(size);
	while (f->text && f->len <= FILE_MAX) {
		if (f->len + 1 == size) {
			char *more = wipe_realloc(f->text, size *= 2);
			if (!more)
				wipe_free(f->text);
			f->text = more;
			continue;
		}
		ssize_t n = read(fd, f->text + f->len, size - 1 - f->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			because(f, FILE_UNREADABLE, "%s", strerror(errno));
		if (n <= 0) {
			f->text[f->len] = '\0';
			return n == 0;
		}
		f->len += (size_t)n;
	}
	if (f->text)
		because(f, FILE_UNREADABLE, "larger than %d MiB", FILE_MAX / 1024 / 1024);
	else
		because(f, FILE_UNREADABLE, "%s", strerror(ENOMEM));
	return false;
}

static void check_text(struct file *f)
{
	bool cut;
	f->offset = utf8_bad_byte(f->text, f->len, &cut);
	if (f->offset < f->len)
		because(f, FILE_CORRUPT, "bytes that are not text");
	else
		f->offset = 0;
}

static void parse(struct file *f)
{
	struct pa_err err;
	size_t skip = f->bom ? strlen(mark) : 0;
	int rc = json_parse_at(
		f->text + skip, f->len - skip, PA_FILE_UNUSABLE, &f->root, &f->offset, &err);
	if (rc < 0) {
		f->offset += err.code == PA_FILE_UNUSABLE ? skip : 0;
		because(f, err.code == PA_FILE_UNUSABLE ? FILE_CORRUPT : FILE_UNREADABLE, "%s",
			err.detail);
		return;
	}
	size_t end = f->len;
	while (end && strchr(" \t\r\n", f->text[end - 1]))
		end--;
	/* "{}" says nothing about how its tool writes */
	f->compact = f->root->child && !memchr(f->text, '\n', end);
}

static void read_opened(int fd, bool as_text, struct file *f)
{
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0) {
		because(f, FILE_UNREADABLE, "%s", strerror(errno));
		return;
	}
	if (st.st_dev != f->st.st_dev || st.st_ino != f->st.st_ino || !S_ISREG(st.st_mode)) {
		because(f, FILE_UNREADABLE, "it changed while it was opened");
		return;
	}
	f->st = st; /* before its bytes are read: a later write has another time */
	if (!read_all(fd, f))
		return;
	f->bom = f->len >= strlen(mark) && memcmp(f->text, mark, strlen(mark)) == 0;
	if (f->len == 0)
		because(f, FILE_CORRUPT, "empty");
	else if (as_text)
		check_text(f);
	else
		parse(f);
}

void file_read(const char *path, bool as_text, struct file *ret)
{
	*ret = (struct file){ .state = FILE_FOUND };
	/* O_PATH opens nothing: no device is started, no FIFO waited for, no FUSE server asked to open. */
	int at = open(path, O_PATH | O_CLOEXEC);
	if (at < 0 && (errno == ENOENT || errno == ENOTDIR)) {
		struct stat link;
		because(ret, FILE_ABSENT, "%s",
			lstat(path, &link) == 0 ? "a symbolic link to nothing" : "");
	} else if (at < 0) {
		because(ret, FILE_UNREADABLE, "%s", strerror(errno));
	} else if (may_look(at, ret) && may_open(ret)) {
		int fd = file_reopen(at, O_RDONLY);
		read_opened(fd, as_text, ret);
		if (fd >= 0)
			close(fd);
	}
	if (at >= 0)
		close(at);
	if (ret->state != FILE_FOUND && ret->state != FILE_CORRUPT) {
		wipe_free(ret->text);
		ret->text = NULL;
		ret->len = 0;
	}
}

void file_read_settled(const char *path, bool as_text, struct file *ret)
{
	struct timespec now;
	file_read(path, as_text, ret);
	clock_gettime(CLOCK_REALTIME, &now);
	if (ret->state != FILE_CORRUPT || now.tv_sec - ret->st.st_mtim.tv_sec > FRESH_S)
		return;
	int events = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (events < 0)
		return;
	if (inotify_add_watch(events, path, IN_CLOSE_WRITE) >= 0) {
		/* again at once: it may have been closed before it was watched */
		file_done(ret);
		file_read(path, as_text, ret);
		struct pollfd wait = { .fd = events, .events = POLLIN };
		if (ret->state == FILE_CORRUPT && poll(&wait, 1, FILE_SETTLE_MS) > 0) {
			file_done(ret);
			file_read(path, as_text, ret);
		}
	}
	close(events);
}

void file_done(struct file *f)
{
	wipe_free(f->text);
	cJSON_Delete(f->root);
	*f = (struct file){ .state = FILE_ABSENT };
}
