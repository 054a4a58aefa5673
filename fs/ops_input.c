/* One open of api-key or oauth for writing: its calls go to the broker one by one, and outlive a worker. */
#include <stdlib.h>
#include <string.h>

#include "ops.h"

/*
 * What the page keeps of an open: the count of bytes that it has had acknowledged, and while an answer is on its
 * way above that the number of the write which it is for. That write counts, but when the worker dies before the
 * page has the answer the kernel sends it again.
 */
#define SENT_BITS 16 /* more than the longest credential has */
#define SENT_MASK ((UINT64_C(1) << SENT_BITS) - 1)

_Static_assert(RECORD_OAUTH_MAX < SENT_MASK && RECORD_KEY_MAX + 2 < SENT_MASK, "it has to fit");

enum input_kind { INPUT_WRITE, INPUT_FLUSH, INPUT_RESET };

struct input_job {
	struct input_job *next;
	enum input_kind kind;
	fuse_req_t req;  /* NULL: nobody waits for the answer */
	uint64_t unique; /* its number; 0: the page does not have it */
	size_t len;
	char *bytes; /* wiping memory */
};

struct input {
	struct server *server;
	struct page *page; /* NULL: no server after this one needs to know of it */
	uint64_t fh, ino;
	struct broker_input *broker;
	struct input_job *first, **last; /* those that have not begun */
	struct input_job *current;       /* NULL: none is under way */
	bool has_data;                   /* written since the last flush */
	bool is_released;
	bool is_running; /* input_run is on the stack */
};

static void input_run(struct input *in);

static int input_new(struct server *s, struct profile *p, struct handle *h, struct pa_err *err)
{
	struct input *in = calloc(1, sizeof(*in));
	int rc;

	if (!in)
		return pa_fail(err, PA_NO_MEMORY, 0, "input");
	in->server = s;
	in->page = s->page;
	in->fh = h->fh;
	in->ino = h->ino;
	in->last = &in->first;
	rc = broker_input_new(s->broker, p, h->node->lane, &in->broker, err);
	if (rc < 0) {
		free(in);
		return rc;
	}
	h->input = in;
	return 0;
}

int input_open(struct request *r, struct handle *h, struct pa_err *err)
{
	int rc = input_new(r->server, r->profile, h, err);

	if (rc == 0)
		page_open_add(r->server->page, h->fh, h->ino);
	return rc;
}

/* The number of the request that has just arrived: it is the youngest in the page. */
static uint64_t arrived(const struct page *page)
{
	for (size_t i = 0; page && i < PAGE_ROWS; i++)
		if (page->rows[i].sequence == page->sequence)
			return page->rows[i].unique;
	return 0;
}

/* unique: of the write that is about to be answered; 0: none is. */
static void input_note(const struct input *in, uint64_t unique)
{
	uint64_t sent = broker_input_sent(in->broker);

	if (sent != BROKER_INPUT_LOST)
		sent |= unique << SENT_BITS;
	page_open_sent(in->page, in->fh, in->ino, sent);
}

static void input_answer(struct input *in, struct input_job *job, int errnum)
{
	if (job->kind == INPUT_WRITE)
		input_note(in, job->unique);
	if (job->req) {
		in->server->changes--;
		if (errnum)
			fuse_reply_err(job->req, errnum);
		else if (job->kind == INPUT_WRITE)
			fuse_reply_write(job->req, job->len);
		else
			fuse_reply_err(job->req, 0);
	}
	if (job->kind == INPUT_WRITE)
		input_note(in, 0);
	wipe_free(job->bytes);
	free(job);
}

static void input_done(void *arg, int rc, const struct pa_err *err)
{
	struct input *in = arg;
	struct input_job *job = in->current;

	in->current = NULL;
	input_answer(in, job, rc < 0 ? err->errnum : 0);
	input_run(in);
}

static void input_start(struct input *in, struct input_job *job)
{
	in->current = job;
	switch (job->kind) {
	case INPUT_WRITE:
		in->has_data = true;
		broker_input_write(in->broker, job->bytes, job->len, input_done, in);
		/* Refused, and what was acknowledged is being taken back: no later server may go on with it. */
		if (in->current && broker_input_sent(in->broker) == BROKER_INPUT_LOST)
			input_note(in, 0);
		break;
	case INPUT_FLUSH:
		/* bash closes a copy of the descriptor before it writes: nothing to publish yet. */
		if (!in->has_data) {
			input_done(in, 0, NULL);
			break;
		}
		in->has_data = false;
		broker_input_flush(in->broker, input_done, in);
		break;
	case INPUT_RESET:
		in->has_data = false;
		broker_input_reset(in->broker);
		input_note(in, 0);
		input_done(in, 0, NULL);
		break;
	}
}

/* Begins what can begin. The broker may call input_done before its call returns: hence the loop. */
static void input_run(struct input *in)
{
	if (in->is_running)
		return;
	in->is_running = true;
	while (!in->current && in->first) {
		struct input_job *job = in->first;

		in->first = job->next;
		if (!in->first)
			in->last = &in->first;
		input_start(in, job);
	}
	in->is_running = false;
	if (in->is_released && !in->current) {
		broker_input_free(in->broker);
		free(in);
	}
}

static void input_add(
	struct input *in, enum input_kind kind, fuse_req_t req, const char *bytes, size_t len)
{
	struct input_job *job = calloc(1, sizeof(*job));

	if (job && bytes && !(job->bytes = wipe_malloc(len ? len : 1))) {
		free(job);
		job = NULL;
	}
	if (!job) {
		if (req)
			fuse_reply_err(req, ENOMEM);
		return;
	}
	if (bytes)
		memcpy(job->bytes, bytes, len);
	job->kind = kind;
	job->req = req;
	job->unique = arrived(in->page);
	job->len = len;
	if (req)
		in->server->changes++;
	*in->last = job;
	in->last = &job->next;
	input_run(in);
}

void input_release(struct handle *h)
{
	struct input *in = h->input;

	if (!in)
		return;
	h->input = NULL;
	in->is_released = true;
	input_run(in);
}

void input_close(struct handle *h)
{
	struct input *in = h->input;

	if (!in)
		return;
	page_open_drop(in->page, in->fh, in->ino);
	in->page = NULL;
	input_release(h);
}

void input_write(struct handle *h, fuse_req_t req, const char *bytes, size_t len)
{
	if (h->input)
		input_add(h->input, INPUT_WRITE, req, bytes, len);
	else
		fuse_reply_err(req, EBADF);
}

void input_reset(struct handle *h)
{
	if (h->input)
		input_add(h->input, INPUT_RESET, NULL, NULL, 0);
}

/* What an earlier server had acknowledged is published already: for a handle that is unknown, all is well. */
void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct server *s = fuse_req_userdata(req);
	struct handle *h = handle_find(&s->handles, fi->fh, ino);

	if (h && h->input)
		input_add(h->input, INPUT_FLUSH, req, NULL, 0);
	else
		fuse_reply_err(req, 0);
}

/* ---- after the death of a server ---- */

/* Whether the kernel will send this write again: it was begun, and the page has no answer to it. */
static bool comes_again(const struct page *page, uint64_t unique)
{
	for (size_t i = 0; unique && i < PAGE_ROWS; i++)
		if (atomic_load(&page->rows[i].state) == PAGE_BEGUN &&
			page->rows[i].unique << SENT_BITS >> SENT_BITS == unique)
			return true;
	return false;
}

/* One file that was open. A place that is not there any more is no failure: its writers get ESTALE. */
static int input_restore(struct server *s, const struct page_open *o, struct pa_err *err)
{
	uint64_t sent = o->len, fh = o->fh, ino = o->ino, id = node_profile_id(ino);
	const struct node *n = node_of(ino);
	struct profile *p = id ? broker_by_id(s->broker, id) : NULL;
	bool unanswered = false;
	struct handle *h;
	int rc;

	if (!p || !n || n->write != NODE_WRITE_INPUT) {
		page_open_drop(s->page, fh, ino);
		return 0;
	}
	rc = handle_restore(&s->handles, fh, ino, n, &h, err);
	if (rc == -EEXIST) {
		/* Two rows of one number: a worker died between closing one file and opening the next. */
		page_open_drop(s->page, fh, ino);
		return 0;
	}
	if (rc < 0)
		return rc;
	if ((rc = input_new(s, p, h, err)) < 0) {
		handle_free(&s->handles, h);
		return rc;
	}
	if (sent != BROKER_INPUT_LOST) {
		unanswered = comes_again(s->page, sent >> SENT_BITS);
		sent &= SENT_MASK;
	}
	broker_input_resume(h->input->broker, sent, unanswered);
	return 0;
}

int ops_restore(struct server *s, struct pa_err *err)
{
	int rc = 0;

	for (size_t i = 0; s->page && i < PAGE_OPENS && rc == 0; i++)
		if (atomic_load(&s->page->opens[i].kind) == PAGE_INPUT)
			rc = input_restore(s, &s->page->opens[i], err);
	return rc;
}
