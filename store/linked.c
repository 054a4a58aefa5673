/*
 * The files that logins are shared with, watched: what another program writes there is noticed.
 *
 * Each file is looked at when the server starts, when it is linked, and when its directory says that it changed.
 * A look reads without a lock; half of a change does not parse, and its other half is another event. Only
 * that an entry has vanished is asked again under the tool's lock, because it is a logout.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "linked_i.h"

struct watch_row {
	int wd;
	char *file;
};

struct linked_file {
	struct linked_file *next;
	struct linked *l;
	char *tool, *path;
	bool wanted;
	int fd; /* inotify; -1: not watched */
	struct watch_row *watch;
	size_t nwatch;
	struct legacy_call *call;
	bool watching; /* the call under way is for a watch */
	bool again;    /* it changed while it was looked at */
	bool put_off;  /* a login of it was being refreshed */
	struct linked_read read;
	struct linked_findings *findings; /* one per profile, being settled */
	size_t settling;
};

static void file_look(struct linked_file *f);
static void file_watch(struct linked_file *f);

static void unwatch(struct linked_file *f)
{
	if (f->fd >= 0)
		close(f->fd); /* leaves the epoll set with it */
	f->fd = -1;
	for (size_t i = 0; i < f->nwatch; i++)
		free(f->watch[i].file);
	free(f->watch);
	f->watch = NULL;
	f->nwatch = 0;
}

static void file_free(struct linked_file *f)
{
	legacy_call_end(f->call);
	unwatch(f);
	linked_read_done(&f->read);
	free(f->findings);
	free(f->tool);
	free(f->path);
	free(f);
}

/* ---- a look ---- */

static void look_end(struct linked_file *f)
{
	bool again = f->again && f->wanted;

	legacy_call_end(f->call);
	f->call = NULL;
	linked_read_done(&f->read);
	free(f->findings);
	f->findings = NULL;
	f->again = false;
	if (again && f->fd < 0)
		file_watch(f);
	else if (again)
		file_look(f);
}

static void look_settled(struct linked_findings *done)
{
	struct linked_file *f = done->arg;

	if (done->heal)
		linked_heal(done->p);
	if (--f->settling == 0)
		look_end(f);
}

static bool is_first_row(const struct linked_read *lr, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		if (lr->row[k].profile == lr->row[i].profile)
			return false;
	}
	return true;
}

static void look_settle(struct linked_file *f)
{
	struct linked_read *lr = &f->read;

	f->findings = calloc(lr->n ? lr->n : 1, sizeof(*f->findings));
	f->settling = 1; /* this function */
	for (size_t i = 0; f->findings && i < lr->n; i++) {
		struct profile *p = broker_by_id(f->l->b, lr->row[i].profile);

		if (!p || !is_first_row(lr, i))
			continue;
		if (p->refresh) {
			/* It holds the lock and reads the file itself, or its answer decides. */
			f->put_off = true;
			continue;
		}
		f->findings[i] = (struct linked_findings){
			.lr = lr, .p = p, .done = look_settled, .arg = f
		};
		f->settling++;
		linked_settle(&f->findings[i]);
	}
	if (--f->settling == 0)
		look_end(f);
}

static int ask(struct linked_file *f, bool lock, struct pa_err *err);
static int collect(struct linked_file *f, struct pa_err *err);

static void watch_rows(struct linked_file *f, const cJSON *rows)
{
	const cJSON *row;

	cJSON_ArrayForEach (row, rows) {
		struct watch_row *v = reallocarray(f->watch, f->nwatch + 1, sizeof(*v));
		const char *name = json_str(row, "file");
		int64_t wd;

		if (v)
			f->watch = v;
		if (!v || !name || !json_int(row, "wd", &wd))
			continue;
		v[f->nwatch].wd = (int)wd;
		v[f->nwatch].file = strdup(name);
		if (v[f->nwatch].file)
			f->nwatch++;
	}
}

static void message(void *arg, const cJSON *m, int fd)
{
	struct linked_file *f = arg;
	const char *kind = json_str(m, "m");
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = f };

	if (kind && f->watching && !strcmp(kind, "watching") && fd >= 0) {
		f->fd = fd;
		fd = -1;
		watch_rows(f, cJSON_GetObjectItemCaseSensitive(m, "watches"));
		/* Without it the file is only read before a refresh. */
		if (epoll_ctl(f->l->epoll_fd, EPOLL_CTL_ADD, f->fd, &ev))
			unwatch(f);
	}
	if (fd >= 0)
		close(fd);
	if (!kind)
		return;
	if (f->watching) {
		/* Watched or not: what changed before is to be seen. */
		f->watching = false;
		if (ask(f, false, NULL) < 0)
			look_end(f);
	} else if (!strcmp(kind, "opened")) {
		linked_read_complete(&f->read);
		legacy_call_rest(f->call);
		if (f->read.locked || !linked_read_is_doubtful(&f->read) || ask(f, true, NULL) < 0)
			look_settle(f);
	} else if (!strcmp(kind, "error")) {
		look_end(f);
	} else {
		linked_read_message(&f->read, m);
	}
}

static void gone(void *arg, const struct pa_err *err)
{
	struct linked_file *f = arg;

	f->call = NULL;
	if (f->settling)
		return;
	if (f->watching && collect(f, NULL) < 0)
		linked_read_done(&f->read);
	f->watching = false;
	/* Before a refresh it is asked again, and then it matters; here it is only told. */
	linked_read_silent(&f->read, err, NULL);
	look_settle(f);
}

static const struct legacy_handler handler = { message, gone };

static int send_request(struct linked_file *f, const cJSON *request, int64_t ms, struct pa_err *err)
{
	if (!request)
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", f->path);
	if (f->call)
		return legacy_call_send(f->call, request, ms, err);
	return legacy_call_new(f->l->b->legacy, request, ms, &handler, f, &f->call, err);
}

/* All logins of this file, but for those that are being refreshed. */
static int collect(struct linked_file *f, struct pa_err *err)
{
	struct broker *b = f->l->b;
	int rc;

	linked_read_done(&f->read);
	f->read.b = b;
	for (size_t i = 0; i < b->by_name.n; i++) {
		struct profile *p = b->by_name.v[i];

		if (!p->facts.links)
			continue;
		if (p->refresh)
			f->put_off = true;
		else if ((rc = linked_read_add(&f->read, p, f->path, err)) < 0)
			return rc;
	}
	return f->read.n ? 0 : pa_fail(err, PA_NO_KEY, 0, "%s", f->path);
}

static int ask(struct linked_file *f, bool lock, struct pa_err *err)
{
	JSON_AUTO cJSON *request = NULL;
	int rc;

	if (!lock && (rc = collect(f, err)) < 0)
		return rc;
	request = linked_read_request(&f->read, lock, lock ? LINKED_WAIT_MS : 0);
	return send_request(f, request, LINKED_WAIT_MS + LINKED_SILENCE_MS, err);
}

static void file_look(struct linked_file *f)
{
	if (f->call || f->settling) {
		f->again = true;
		return;
	}
	if (ask(f, false, NULL) < 0)
		look_end(f);
}

static void file_watch(struct linked_file *f)
{
	JSON_AUTO cJSON *request = cJSON_CreateObject();
	cJSON *files, *file = cJSON_CreateObject();

	if (f->call || f->settling) {
		f->again = true;
		cJSON_Delete(file);
		return;
	}
	unwatch(f);
	files = cJSON_AddArrayToObject(request, "files");
	if (!files || !cJSON_AddItemToArray(files, file)) {
		cJSON_Delete(file);
		return;
	}
	if (!cJSON_AddStringToObject(request, "op", "watch") ||
		!cJSON_AddStringToObject(file, "tool", f->tool) ||
		!cJSON_AddStringToObject(file, "path", f->path))
		return;
	f->watching = send_request(f, request, LINKED_SILENCE_MS, NULL) == 0;
}

/* ---- events ---- */

static bool concerns(const struct linked_file *f, const struct inotify_event *e)
{
	if (e->mask & IN_Q_OVERFLOW)
		return true;
	for (size_t i = 0; i < f->nwatch; i++) {
		if (f->watch[i].wd == e->wd && e->len && !strcmp(f->watch[i].file, e->name))
			return true;
	}
	return false;
}

static void file_event(struct linked_file *f)
{
	_Alignas(struct inotify_event) char buf[8192];
	bool changed = false, lost = false;
	ssize_t n;

	while ((n = read(f->fd, buf, sizeof(buf))) > 0) {
		for (char *at = buf; at < buf + n;) {
			const struct inotify_event *e = (const struct inotify_event *)at;

			changed |= concerns(f, e);
			/* The directory itself went, or a link on the way leads elsewhere now. */
			lost |= (e->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) != 0;
			at += sizeof(*e) + e->len;
		}
	}
	if (lost) {
		unwatch(f);
		file_watch(f);
	} else if (changed) {
		file_look(f);
	}
}

/* ---- the set of files ---- */

static struct linked_file *file_find(struct linked *l, const char *path)
{
	for (struct linked_file *f = l->files; f; f = f->next) {
		if (!strcmp(f->path, path))
			return f;
	}
	return NULL;
}

static void want(struct linked *l, const struct link *k)
{
	struct linked_file *f = file_find(l, k->path);

	if (!f) {
		if (!(f = calloc(1, sizeof(*f))))
			return;
		f->l = l;
		f->fd = -1;
		f->tool = strdup(k->tool);
		f->path = strdup(k->path);
		if (!f->tool || !f->path) {
			file_free(f);
			return;
		}
		f->next = l->files;
		l->files = f;
	}
	f->wanted = true;
}

static void sync_files(struct linked *l)
{
	struct linked_file **at = &l->files;

	for (struct linked_file *f = l->files; f; f = f->next)
		f->wanted = false;
	for (size_t i = 0; i < l->b->by_name.n; i++) {
		struct profile *p = l->b->by_name.v[i];
		RECORD_AUTO struct record rec = { 0 };
		struct link k;

		if (!p->facts.links || profile_open(p, &rec, NULL) < 0)
			continue;
		for (size_t n = 0; link_at(&rec, n, &k); n++) {
			if (k.lane == LANE_OAUTH && k.state == LINK_ON)
				want(l, &k);
		}
	}
	while (*at) {
		struct linked_file *f = *at;

		if (!f->wanted && !f->settling) {
			*at = f->next;
			file_free(f);
			continue;
		}
		if (f->wanted && f->fd < 0)
			file_watch(f);
		at = &f->next;
	}
}

void linked_watch(struct broker *b)
{
	/* Cannot fail: the counter is far from its end. */
	if (b->linked)
		(void)eventfd_write(b->linked->wake_fd, 1);
}

void linked_resume(struct broker *b)
{
	for (struct linked_file *f = b->linked ? b->linked->files : NULL; f; f = f->next) {
		if (f->fd < 0) {
			file_watch(f);
		} else if (f->put_off) {
			f->put_off = false;
			file_look(f);
		}
	}
}

int linked_fd(const struct broker *b)
{
	return b->linked->epoll_fd;
}

void linked_dispatch(struct broker *b)
{
	struct epoll_event ev[8];
	eventfd_t n;
	int got = epoll_wait(b->linked->epoll_fd, ev, 8, 0);

	/* Files are freed in sync_files only: it comes last. */
	for (int i = 0; i < got; i++) {
		if (ev[i].data.ptr)
			file_event(ev[i].data.ptr);
	}
	if (eventfd_read(b->linked->wake_fd, &n) == 0)
		sync_files(b->linked);
}

int linked_new(struct broker *b, struct pa_err *err)
{
	struct linked *l = calloc(1, sizeof(*l));
	struct epoll_event ev = { .events = EPOLLIN };

	if (!l)
		return pa_fail(err, PA_NO_MEMORY, 0, "linked files");
	l->b = b;
	b->linked = l;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->epoll_fd < 0 || l->wake_fd < 0 ||
		epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &ev))
		return pa_fail(err, PA_SYSTEM, errno, "linked files");
	return 0;
}

void linked_free(struct broker *b)
{
	struct linked *l = b->linked;

	if (!l)
		return;
	linked_tx_free_all(l);
	while (l->files) {
		struct linked_file *f = l->files;

		l->files = f->next;
		file_free(f);
	}
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	free(l);
	b->linked = NULL;
}
