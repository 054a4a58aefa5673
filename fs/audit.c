#include "audit.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define FILE_NAME  "audit.log"
#define FILE_OLDER "audit.log.1"
/* Two paths and two names (255 bytes each), every byte of them a six byte escape, and the rest. */
#define LINE_ROOM  (6 * (2 * CALLER_TEXT + 2 * 255) + 512)

struct audit {
	struct caller_self *self;
	struct eventlog log;
	int dirfd;
	int file_fd;
	uint64_t file_size;
	bool failing; /* said once per series of failures */

	pthread_t writer;
	int wake_fd;
	pthread_mutex_t lock; /* of what follows */
	char *queue;
	size_t queue_len, queue_room;
	uint64_t lost;
	bool stop;
	bool queued; /* loop only: the writer was not told yet */
};

struct line {
	char text[LINE_ROOM];
	size_t len;
};

static void PA_PRINTF(2, 3) line_add(struct line *l, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(l->text + l->len, sizeof(l->text) - l->len, fmt, args);
	va_end(args);
	if (n > 0 && (size_t)n < sizeof(l->text) - l->len)
		l->len += (size_t)n;
}

static void line_put(struct line *l, const void *bytes, size_t len)
{
	if (len >= sizeof(l->text) - l->len)
		return;
	memcpy(l->text + l->len, bytes, len);
	l->len += len;
}

/* Bytes of the valid UTF-8 sequence that begins at s, 0 if it is none (RFC 3629). */
static size_t utf8_len(const unsigned char *s)
{
	size_t n = 0;

	if (s[0] < 0x80)
		n = 1;
	else if (s[0] >= 0xc2 && s[0] < 0xe0)
		n = 2;
	else if (s[0] >= 0xe0 && s[0] < 0xf0)
		n = 3;
	else if (s[0] >= 0xf0 && s[0] < 0xf5)
		n = 4;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
		(s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

/* A JSON string without its quotes; what no terminal should see becomes an escape. */
static void line_add_text(struct line *l, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	while (*s) {
		size_t n = utf8_len(s);

		if (n == 0)
			line_add(l, "\\ufffd");
		else if (*s == '"' || *s == '\\')
			line_add(l, "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f || (*s == 0xc2 && s[1] < 0xa0))
			line_add(l, "\\u%04x", n == 2 ? s[1] : s[0]);
		else
			line_put(l, s, n);
		s += n ? n : 1;
	}
}

static void line_add_member(struct line *l, const char *name, const char *value)
{
	line_add(l, ",\"%s\":", name);
	if (*value) {
		line_add(l, "\"");
		line_add_text(l, value);
		line_add(l, "\"");
	} else {
		line_add(l, "null");
	}
}

static void line_begin(struct line *l, const struct audit *a, const struct audit_what *w)
{
	struct caller_story story;
	struct timespec now;
	struct tm tm;

	caller_tell(a->self, w->tid, &story);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	l->len = 0;
	line_add(l, "{\"at\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\",\"op\":\"%s\",\"node\":\"",
		tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		(int)(now.tv_nsec / 1000000), w->op);
	line_add_text(l, w->profile ? w->profile : "");
	line_add(l, "%s", w->profile && w->node ? "/" : "");
	line_add_text(l, w->node ? w->node : "");
	line_add(l, "\",\"uid\":%ju,\"gid\":%ju,\"pid\":%d,\"tid\":%d", (uintmax_t)w->uid,
		(uintmax_t)w->gid, (int)story.tgid, (int)w->tid);
	line_add_member(l, "exe", story.exe);
	line_add_member(l, "cgroup", story.cgroup);
}

static void queue_add(struct audit *a, const char *text, size_t len)
{
	bool wake;

	pthread_mutex_lock(&a->lock);
	if (a->queue_len + len + 1 > a->queue_room) {
		size_t room = a->queue_room ? a->queue_room * 2 : 4096;
		char *queue = NULL;

		while (room < a->queue_len + len + 1)
			room *= 2;
		if (room <= AUDIT_QUEUE_MAX)
			queue = realloc(a->queue, room);
		if (!queue) {
			a->lost++;
			pthread_mutex_unlock(&a->lock);
			return;
		}
		a->queue = queue;
		a->queue_room = room;
	}
	memcpy(a->queue + a->queue_len, text, len);
	a->queue_len += len;
	a->queue[a->queue_len++] = '\n';
	wake = a->queue_len >= AUDIT_BATCH;
	pthread_mutex_unlock(&a->lock);
	a->queued = true;
	if (wake)
		audit_flush(a);
}

static void line_end(struct audit *a, struct line *l, int errnum)
{
	const char *name = errnum ? strerrorname_np(errnum) : "ok";

	line_add(l, ",\"result\":\"%s\"}", name ? name : "error");
	eventlog_add(&a->log, l->text, l->len);
	queue_add(a, l->text, l->len);
}

void audit_add(struct audit *a, const struct audit_what *w, int errnum)
{
	struct line l;

	line_begin(&l, a, w);
	line_end(a, &l, errnum);
}

char *audit_begin(struct audit *a, const struct audit_what *w)
{
	struct line l;

	line_begin(&l, a, w);
	return strndup(l.text, l.len);
}

void audit_end(struct audit *a, char *begun, int errnum)
{
	struct line l;

	if (!begun) {
		pthread_mutex_lock(&a->lock);
		a->lost++;
		pthread_mutex_unlock(&a->lock);
		return;
	}
	l.len = strlen(begun);
	memcpy(l.text, begun, l.len);
	free(begun);
	line_end(a, &l, errnum);
}

void audit_flush(struct audit *a)
{
	if (!a->queued)
		return;
	a->queued = false;
	eventfd_write(a->wake_fd, 1);
}

const struct eventlog *audit_log(const struct audit *a)
{
	return &a->log;
}

/* ---- the writer's side ---- */

static int file_open(struct audit *a)
{
	struct stat st;

	a->file_fd = openat(a->dirfd, FILE_NAME,
		O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	if (a->file_fd < 0)
		return -errno;
	if (fstat(a->file_fd, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & 077)) {
		close(a->file_fd);
		a->file_fd = -1;
		return -EACCES;
	}
	a->file_size = (uint64_t)st.st_size;
	return 0;
}

static int file_write(struct audit *a, const char *text, size_t len)
{
	int rc;

	if (a->file_fd >= 0 && a->file_size + len > AUDIT_FILE_MAX) {
		close(a->file_fd);
		a->file_fd = -1;
		if (renameat(a->dirfd, FILE_NAME, a->dirfd, FILE_OLDER) < 0)
			return -errno;
	}
	if (a->file_fd < 0 && (rc = file_open(a)) < 0)
		return rc;
	while (len) {
		ssize_t n = write(a->file_fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		a->file_size += (uint64_t)n;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Takes what is queued; true if the writer shall stop after it. */
static bool queue_take(struct audit *a, char **ret, size_t *ret_len, uint64_t *ret_lost)
{
	pthread_mutex_lock(&a->lock);
	*ret = a->queue;
	*ret_len = a->queue_len;
	*ret_lost = a->lost;
	a->queue = NULL;
	a->queue_len = a->queue_room = 0;
	a->lost = 0;
	bool stop = a->stop;
	pthread_mutex_unlock(&a->lock);
	return stop;
}

static void write_batch(struct audit *a, const char *text, size_t len, uint64_t lost)
{
	char note[64];
	int rc = 0;

	if (len)
		rc = file_write(a, text, len);
	if (lost && rc == 0) {
		snprintf(note, sizeof(note), "{\"op\":\"lost\",\"lines\":%" PRIu64 "}\n", lost);
		rc = file_write(a, note, strlen(note));
	}
	if (rc < 0 && !a->failing)
		log_warning(
			"audit.log cannot be written: %s; the newest lines are in .piauth/audit",
			strerror(-rc));
	a->failing = rc < 0;
}

static void *writer_main(void *arg)
{
	struct audit *a = arg;
	bool stop = false;

	while (!stop) {
		eventfd_t n;
		uint64_t lost;
		size_t len;
		char *text;

		if (eventfd_read(a->wake_fd, &n) < 0 && errno != EINTR)
			break;
		stop = queue_take(a, &text, &len, &lost);
		write_batch(a, text, len, lost);
		free(text);
	}
	return NULL;
}

int audit_new(int dirfd, struct caller_self *self, struct audit **ret, struct pa_err *err)
{
	struct audit *a = calloc(1, sizeof(*a));
	int rc;

	if (!a)
		return pa_fail(err, PA_NO_MEMORY, 0, "audit");
	a->self = self;
	a->file_fd = a->wake_fd = -1;
	pthread_mutex_init(&a->lock, NULL);
	a->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
	if (a->dirfd < 0 || (a->wake_fd = eventfd(0, EFD_CLOEXEC)) < 0) {
		rc = pa_fail(err, PA_SYSTEM, errno, "audit");
		goto fail;
	}
	if ((rc = file_open(a)) < 0) {
		rc = pa_fail(err, PA_STORE_IO, -rc, FILE_NAME);
		goto fail;
	}
	if ((rc = pthread_create(&a->writer, NULL, writer_main, a)) != 0) {
		rc = pa_fail(err, PA_SYSTEM, rc, "audit thread");
		goto fail;
	}
	*ret = a;
	return 0;
fail:
	if (a->file_fd >= 0)
		close(a->file_fd);
	if (a->wake_fd >= 0)
		close(a->wake_fd);
	if (a->dirfd >= 0)
		close(a->dirfd);
	pthread_mutex_destroy(&a->lock);
	free(a);
	return rc;
}

void audit_free(struct audit *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->stop = true;
	pthread_mutex_unlock(&a->lock);
	eventfd_write(a->wake_fd, 1);
	pthread_join(a->writer, NULL);
	if (a->file_fd >= 0)
		close(a->file_fd);
	close(a->wake_fd);
	close(a->dirfd);
	pthread_mutex_destroy(&a->lock);
	eventlog_done(&a->log);
	free(a->queue);
	free(a);
}
