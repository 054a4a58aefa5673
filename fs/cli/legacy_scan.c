#include "legacy_scan.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/import/message.h"

#define DEATH_MS \
	1000 /* that a process may take to end; one that waits in the kernel is left alone */

void legacy_scan_done(struct legacy_scan *s)
{
	cJSON_Delete(s->files);
	cJSON_Delete(s->entries);
	cJSON_Delete(s->locks);
	cJSON_Delete(s->silent);
	*s = (struct legacy_scan){ 0 };
}

const char *scan_str(const cJSON *message, const char *name)
{
	const char *s = json_str(message, name);
	return s ? s : "";
}

bool scan_is(const cJSON *message, const char *name, const char *value)
{
	return strcmp(scan_str(message, name), value) == 0;
}

static int start_over(struct legacy_scan *s, struct pa_err *err)
{
	cJSON_Delete(s->files);
	cJSON_Delete(s->entries);
	cJSON_Delete(s->locks);
	s->files = cJSON_CreateArray();
	s->entries = cJSON_CreateArray();
	s->locks = cJSON_CreateArray();
	if (!s->silent)
		s->silent = cJSON_CreateArray();
	return s->files && s->entries && s->locks && s->silent
		       ? 0
		       : pa_fail(err, PA_NO_MEMORY, 0, "files of other tools");
}

static int send_request(int fd, const struct legacy_scan *s, struct pa_err *err)
{
	JSON_AUTO cJSON *request = cJSON_CreateObject();
	const cJSON *silent;
	cJSON *skip;
	bool fits = request && cJSON_AddStringToObject(request, "op", "scan") &&
		    cJSON_AddTrueToObject(request, "examine") &&
		    (skip = cJSON_AddArrayToObject(request, "skip"));
	cJSON_ArrayForEach (silent, s->silent)
		fits = fits &&
		       cJSON_AddItemToArray(skip, cJSON_CreateString(json_str(silent, "path")));
	if (!fits)
		return pa_fail(err, PA_NO_MEMORY, 0, "files of other tools");
	return message_send(fd, request, -1, err);
}

/* Takes message; 1 at the last one. */
static int take(struct legacy_scan *s, cJSON *message, cJSON **looking, struct pa_err *err)
{
	JSON_AUTO cJSON *m = message;
	const char *what = json_str(m, "m");
	cJSON *to = NULL;

	if (!what)
		return pa_fail(err, PA_SYSTEM, EBADMSG, "legacy-helper: a message of no kind");
	if (strcmp(what, "end") == 0)
		return 1;
	if (strcmp(what, "error") == 0) {
		const char *reason = json_str(m, "reason");
		return pa_fail(err, PA_FILE_UNUSABLE, 0, "%s", reason ? reason : "");
	}
	if (!json_str(m, "path"))
		return pa_fail(err, PA_SYSTEM, EBADMSG, "legacy-helper: a message without a path");
	if (strcmp(what, "looking") == 0) {
		cJSON_Delete(*looking);
		*looking = m;
		m = NULL;
		return 0;
	}
	if (strcmp(what, "file") == 0)
		to = s->files;
	else if (strcmp(what, "entry") == 0)
		to = s->entries;
	else if (strcmp(what, "lock") == 0)
		to = s->locks;
	if (to && cJSON_AddItemToArray(to, m))
		m = NULL;
	return 0;
}

/* Until the last message. -ETIMEDOUT (FILE_SILENT): none came for too long. */
static int listen_to(int fd, struct legacy_scan *s, cJSON **looking, struct pa_err *err)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		cJSON *message;
		int came, n = poll(&p, 1, SCAN_SILENCE_MS);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return pa_fail(err, PA_SYSTEM, errno, "poll: %s", strerror(errno));
		if (n == 0) {
			const char *path = *looking ? json_str(*looking, "path") : "";
			return pa_fail(err, PA_FILE_SILENT, 0, "%s", path);
		}
		int r = message_receive(fd, &message, &came, err);
		if (r == -EAGAIN)
			continue;
		if (r == 0)
			return pa_fail(err, PA_SYSTEM, EPIPE, "legacy-helper ended too early");
		if (r < 0)
			return r;
		if (came >= 0)
			close(came); /* a scan sends none */
		r = take(s, message, looking, err);
		if (r != 0)
			return r < 0 ? r : 0;
	}
}

static void end_process(int pidfd, bool silent)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	if (silent)
		pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	if (poll(&p, 1, DEATH_MS) == 0) {
		pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
		poll(&p, 1, DEATH_MS);
	}
	waitid(P_PIDFD, (id_t)pidfd, NULL, WEXITED | WNOHANG);
	close(pidfd);
}

static int look_once(
	struct legacy_owner *o, struct legacy_scan *s, cJSON **looking, struct pa_err *err)
{
	struct legacy_spawn spawn = legacy_owner_spawn(o);
	int fd, pidfd, r = start_over(s, err);
	if (r == 0)
		r = spawn.start(spawn.arg, &fd, &pidfd, err);
	if (r < 0)
		return r;
	r = send_request(fd, s, err);
	if (r == 0)
		r = listen_to(fd, s, looking, err);
	close(fd); /* the end of the conversation, and so of the process */
	end_process(pidfd, r == -ETIMEDOUT);
	return r;
}

static bool is_known_silent(const struct legacy_scan *s, const char *path)
{
	const cJSON *silent;
	cJSON_ArrayForEach (silent, s->silent) {
		if (scan_is(silent, "path", path))
			return true;
	}
	return false;
}

int legacy_scan(struct legacy_owner *o, struct legacy_scan *ret, struct pa_err *err)
{
	*ret = (struct legacy_scan){ 0 };
	for (;;) {
		struct pa_err why;
		cJSON *looking = NULL;
		int r = look_once(o, ret, &looking, &why);
		bool silent = r == -ETIMEDOUT && why.code == PA_FILE_SILENT && looking;
		/* What is silent again cannot be passed over: the home directory itself, say. */
		bool again = silent && is_known_silent(ret, scan_str(looking, "path"));
		if (silent && !again && cJSON_AddItemToArray(ret->silent, looking))
			looking = NULL;
		cJSON_Delete(looking);
		if (silent && !again && cJSON_GetArraySize(ret->silent) < SCAN_SILENT_MAX)
			continue;
		if (r == 0 || silent) {
			ret->cut = silent;
			return 0;
		}
		legacy_scan_done(ret);
		return pa_fail(err, why.code, why.errnum, "%s", why.detail);
	}
}
