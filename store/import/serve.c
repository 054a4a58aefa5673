#include "serve.h"

#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "message.h"
#include "reply.h"
#include "transaction.h"
#include "watch.h"

struct serve {
	int socket;
	const char *home;
	struct transaction transaction;
	int64_t touched_boot_ms;
};

static int64_t boot_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int send_message(void *arg, const cJSON *message, struct pa_err *err)
{
	const struct serve *s = arg;
	return message_send(s->socket, message, -1, err);
}

/* Nobody may be there any more to hear how it went; what was asked for is done all the same. */
static int send_if_heard(void *arg, const cJSON *message, struct pa_err *err)
{
	int rc = send_message(arg, message, err);
	return rc == -EPIPE ? 0 : rc;
}

static int answer_scan(struct serve *s, const cJSON *request, struct pa_err *err)
{
	const struct import_report to = { send_message, s };
	struct reply r;
	int rc = import_scan(s->home, request, &to, err);
	if (rc < 0)
		return rc;
	reply_start(&r, "end", NULL, NULL);
	return reply_send(&r, &to, err);
}

static int answer_watch(struct serve *s, const cJSON *request, struct pa_err *err)
{
	struct reply r;
	cJSON *rows;
	int fd;
	int rc = watch_files(cJSON_GetObjectItemCaseSensitive(request, "files"), &rows, &fd, err);
	if (rc < 0)
		return rc;
	reply_start(&r, "watching", NULL, NULL);
	reply_json(&r, "watches", rows);
	if (r.rc < 0 && err)
		*err = r.err;
	rc = r.rc < 0 ? r.rc : message_send(s->socket, r.message, fd, err);
	reply_drop(&r);
	close(fd);
	return rc;
}

static int answer(struct serve *s, const cJSON *request, struct pa_err *err)
{
	const struct import_report to = { send_if_heard, s };
	const char *op = json_str(request, "op");
	if (!op)
		return pa_fail(err, PA_BAD_INPUT, 0, "a request without op");
	if (strcmp(op, "scan") == 0)
		return answer_scan(s, request, err);
	if (strcmp(op, "watch") == 0)
		return answer_watch(s, request, err);
	if (strcmp(op, "put") == 0 || strcmp(op, "drop") == 0)
		return transaction_put(&s->transaction, request, *op == 'd', &to, err);
	if (strcmp(op, "open") != 0)
		return pa_fail(err, PA_UNSUPPORTED, 0, "an unknown request");
	int rc = transaction_open(&s->transaction, request, &to, err);
	s->touched_boot_ms = boot_ms();
	return rc;
}

/* Until there is something to read, keeping the locks fresh. */
static int wait_for_request(struct serve *s, struct pa_err *err)
{
	for (;;) {
		struct pollfd p = { .fd = s->socket, .events = POLLIN };
		int64_t left = s->touched_boot_ms + LOCK_TOUCH_MS - boot_ms();
		int timeout = s->transaction.locks.n ? (int)(left > 0 ? left : 0) : -1;
		int n = poll(&p, 1, timeout);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return pa_fail(err, PA_SYSTEM, errno, "poll");
		if (s->transaction.locks.n && boot_ms() - s->touched_boot_ms >= LOCK_TOUCH_MS) {
			/* a lost one is taken again when something is to be written */
			lock_touch(&s->transaction.locks);
			s->touched_boot_ms = boot_ms();
		}
	}
}

/* One request; 1: go on, 0: the end. */
static int serve_one(struct serve *s, struct pa_err *err)
{
	const struct import_report to = { send_if_heard, s };
	JSON_AUTO cJSON *request = NULL;
	struct pa_err why = { 0 };
	struct reply r;
	int fd = -1;
	int rc = wait_for_request(s, err);
	if (rc < 0)
		return rc;
	rc = message_receive(s->socket, &request, &fd, &why);
	if (rc == 0)
		return 0;
	if (rc == -EAGAIN)
		return 1;
	if (rc > 0) {
		if (fd >= 0)
			close(fd); /* no request has one */
		rc = answer(s, request, &why);
	} else if (rc != -EBADMSG) {
		if (err)
			*err = why;
		return rc;
	}
	if (rc >= 0 || rc == -EPIPE)
		return 1;
	reply_start(&r, "error", NULL, NULL);
	reply_str(&r, "reason", *why.detail ? why.detail : pa_summary(why.code));
	rc = reply_send(&r, &to, err);
	return rc < 0 ? rc : 1;
}

int import_serve(int socket, const char *home, struct pa_err *err)
{
	struct serve s = { .socket = socket, .home = home, .transaction = { .home = home } };
	int rc;
	do {
		rc = serve_one(&s, err);
	} while (rc > 0);
	transaction_done(&s.transaction);
	return rc;
}
