/* Opening, reading and closing files; readers that wait. */
#include <fcntl.h>
#include <string.h>

#include "content.h"
#include "ops.h"

/* Answers with an error; for a secret it is written down. */
static void refuse(struct request *r, const char *op, int errnum)
{
	if (r->node && (r->node->flags & NODE_SECRET)) {
		struct audit_what w = request_story(r, op, r->node);

		audit_add(r->server->audit, &w, errnum);
	}
	fuse_reply_err(r->req, errnum);
}

static void reply_slice(fuse_req_t req, const char *bytes, size_t len, off_t off, size_t size)
{
	size_t left = (size_t)off < len ? len - (size_t)off : 0;

	fuse_reply_buf(req, left ? bytes + off : NULL, size < left ? size : left);
}

static const char *kind_op(enum parked_kind kind)
{
	return kind == PARKED_OPEN ? "open" : "read";
}

/* ---- values: they may wait ---- */

/* The line for this reader; begun already if it had to wait. */
static void value_audit(struct parked *k, int errnum)
{
	struct audit_what w = {
		.op = kind_op(k->kind),
		.profile = profile_name(k->profile),
		.node = k->node->name,
		.uid = k->caller.uid,
		.gid = k->caller.gid,
		.tid = k->caller.tid,
	};

	if (k->audit)
		audit_end(k->server->audit, k->audit, errnum);
	else
		audit_add(k->server->audit, &w, errnum);
	k->audit = NULL;
}

static void value_fail(struct parked *k, int errnum)
{
	struct server *s = k->server;

	value_audit(k, errnum);
	fuse_reply_err(k->req, errnum);
	parked_free(&s->parked, k);
}

static int value_opened(struct parked *k, struct snapshot *snap, struct pa_err *err)
{
	struct handles *t = &k->server->handles;
	struct handle *h;
	int rc = handle_new(t, k->ino, k->node, snap, &h, err);

	if (rc < 0)
		return rc;
	k->fi.fh = h->fh;
	rc = fuse_reply_open(k->req, &k->fi);
	if (rc < 0) /* the caller is gone: there will be no release */
		handle_free(t, h);
	value_audit(k, rc < 0 ? EINTR : 0);
	return 0;
}

/* The number of an open file, or what it would be if it had been opened when it was read from its start last. */
static uint64_t number_now(struct page *page, uint64_t fh, uint64_t ino)
{
	uint32_t generation;
	uint64_t len;

	if (!page_open_was_reread(page, fh, ino, &generation, &len))
		return fh;
	return handle_number(generation, len, 0);
}

/* Before anybody sees the first bytes: a later server has to know how the rest goes on. */
static void remember_reread(struct page *page, struct handle *h, const struct snapshot *snap)
{
	page_open_reread(page, h->fh, h->ino, (uint32_t)snap->generation, snap->len);
	h->in_page = page;
}

static int value_reread(struct parked *k, struct snapshot *snap, struct pa_err *err)
{
	struct handles *t = &k->server->handles;
	struct handle *h = handle_find(t, k->fi.fh, k->ino);
	bool is_new = !h || snap != h->snapshot;
	struct page *page = k->server->page;

	if (!h && k->off &&
		(uint32_t)snap->generation != number_now(page, k->fi.fh, k->ino) >> 32) {
		snapshot_put(t, snap);
		return pa_fail(err, PA_EXPIRED, ESTALE, "%s", profile_name(k->profile));
	}
	/* From its start, at a later server: what comes next is the rest of this, not of what was opened. */
	if (!h && !k->off && handle_restore(t, k->fi.fh, k->ino, k->node, &h, NULL) == 0)
		h->was_read = true;
	if (h && is_new)
		remember_reread(page, h, snap);
	reply_slice(k->req, snapshot_bytes(snap), snap->len, k->off, k->size);
	if (h) {
		struct snapshot *old = h->snapshot;

		h->snapshot = snap;
		snap = old;
	}
	snapshot_put(t, snap);
	if (is_new || k->audit)
		value_audit(k, 0);
	return 0;
}

/* v NULL: err says why. Frees k. */
static void value_done(struct parked *k, struct broker_value *v, const struct pa_err *why)
{
	struct server *s = k->server;
	struct snapshot *snap;
	struct pa_err err = { 0 };
	int rc;

	if (!v) {
		value_fail(k, why->errnum);
		return;
	}
	rc = snapshot_get(&s->handles, k->ino, v->generation, v->bytes, NULL, secret_len(v->bytes),
		&snap, &err);
	if (rc == 0)
		rc = k->kind == PARKED_OPEN ? value_opened(k, snap, &err)
					    : value_reread(k, snap, &err);
	if (rc < 0) {
		value_fail(k, err.errnum);
		return;
	}
	parked_free(&s->parked, k);
}

static void value_arrived(struct broker_wait *w, struct broker_value *v, const struct pa_err *err)
{
	struct parked *k = (struct parked *)((char *)w - offsetof(struct parked, wait));

	parked_leave(&k->server->parked, k);
	value_done(k, v, err);
}

void ops_give_up(struct parked *k)
{
	if (k->kind == PARKED_COMMAND) {
		command_give_up(k);
		return;
	}
	parked_leave(&k->server->parked, k);
	broker_cancel(k->server->broker, &k->wait);
	value_fail(k, EINTR);
}

static void value_start(struct request *r, enum parked_kind kind, size_t size, off_t off,
	const struct fuse_file_info *fi)
{
	struct server *s = r->server;
	struct parked *k = parked_new(&s->parked);
	struct broker_value v;
	struct pa_err err;
	int rc;

	if (!k) {
		refuse(r, kind_op(kind), ENOMEM);
		return;
	}
	k->server = s;
	k->req = r->req;
	k->kind = kind;
	k->caller = r->caller;
	k->ino = r->ino;
	k->node = r->node;
	k->profile = r->profile;
	k->fi = *fi;
	k->size = size;
	k->off = off;
	k->wait.done = value_arrived;
	rc = broker_read(s->broker, r->profile, r->node->what, &k->wait, &v, &err);
	if (rc == 1) {
		struct audit_what w = request_story(r, kind_op(kind), r->node);

		k->audit = audit_begin(s->audit, &w);
		parked_wait(&s->parked, k);
	} else {
		value_done(k, rc == 0 ? &v : NULL, &err);
	}
}

/* ---- open ---- */

static int open_allow(struct request *r, int flags)
{
	int how = flags & O_ACCMODE;
	struct profile_facts facts;
	int rc;

	if (r->node->is != NODE_IN_NONE)
		return -EISDIR;
	if (how != O_WRONLY && (rc = request_allow(r, r->node, POLICY_READ)) < 0)
		return rc;
	if (how == O_RDONLY)
		return 0;
	if ((rc = request_allow(r, r->node, POLICY_WRITE)) < 0)
		return rc;
	if (r->node->write == NODE_WRITE_BASE_URL) {
		broker_facts(r->server->broker, r->profile, &facts);
		if (!facts.base_url_writable)
			return -EACCES;
	}
	return 0;
}

/*
 * Stands for the generation of a text that has none (FNV-1a): a later server, which never saw what was opened, can
 * tell by the number of the open file whether its own text is the same.
 */
static uint32_t text_generation(const char *text, size_t len)
{
	uint32_t h = 0x811c9dc5u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)text[i]) * 0x01000193u;
	return h;
}

static int open_snapshot(struct request *r, struct snapshot **ret, struct pa_err *err)
{
	size_t len;
	char *text;
	int rc = content_text(r->server, r->node, r->profile, &text, &len, err);

	if (rc < 0)
		return rc;
	return snapshot_get(
		&r->server->handles, r->ino, text_generation(text, len), NULL, text, len, ret, err);
}

/* Everything but values: answered at once. */
static void open_plain(struct request *r, struct fuse_file_info *fi)
{
	struct handles *t = &r->server->handles;
	int how = fi->flags & O_ACCMODE;
	struct snapshot *snap = NULL;
	struct handle *h = NULL;
	struct pa_err err;
	int rc = 0;

	if (how != O_WRONLY && r->node->read == NODE_READ_TEXT)
		rc = open_snapshot(r, &snap, &err);
	if (rc == 0)
		rc = handle_new(t, r->ino, r->node, snap, &h, &err);
	if (rc == 0 && how != O_RDONLY && r->node->write == NODE_WRITE_INPUT)
		rc = input_open(r, h, &err);
	if (rc < 0) {
		handle_free(t, h);
		refuse(r, "write", err.errnum);
		return;
	}
	fi->fh = h->fh;
	rc = fuse_reply_open(r->req, fi);
	if (rc < 0) {
		input_close(h);
		handle_free(t, h);
	}
	if (r->node->flags & NODE_SECRET) {
		struct audit_what w = request_story(r, "write", r->node);

		audit_add(r->server->audit, &w, rc < 0 ? EINTR : 0);
	}
}

void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;
	struct request r;
	int rc = request_begin(&r, req, ino);

	if (rc == 0)
		rc = open_allow(&r, fi->flags);
	if (rc < 0) {
		refuse(&r, writes ? "write" : "open", -rc);
		return;
	}
	fi->direct_io = 1;
	fi->noflush = !writes || r.node->write != NODE_WRITE_INPUT;
	if (r.node->read == NODE_READ_VALUE)
		value_start(&r, PARKED_OPEN, 0, 0, fi);
	else
		open_plain(&r, fi);
}

/* ---- read ---- */

static void read_value(struct request *r, size_t size, off_t off, const struct fuse_file_info *fi)
{
	int rc = request_allow(r, r->node, POLICY_READ);

	if (rc < 0)
		refuse(r, "read", -rc);
	else
		value_start(r, PARKED_READ, size, off, fi);
}

/* A small text as it is now; false: the caller has been told why not. */
static bool text_now(struct request *r, struct snapshot **ret)
{
	struct pa_err err;
	int rc = request_allow(r, r->node, POLICY_READ);

	if (rc == 0 && (rc = open_snapshot(r, ret, &err)) < 0)
		rc = -err.errnum;
	if (rc < 0)
		fuse_reply_err(r->req, -rc);
	return rc == 0;
}

/* A small text from its start: as it is now. */
static void read_text(struct request *r, struct handle *h, size_t size, off_t off)
{
	struct snapshot *snap, *old = h->snapshot;

	if (!text_now(r, &snap))
		return;
	if (snap != old)
		remember_reread(r->server->page, h, snap);
	reply_slice(r->req, snapshot_bytes(snap), snap->len, off, size);
	h->snapshot = snap;
	snapshot_put(&r->server->handles, old);
}

/* Which of its bytes a file gets that was opened at an earlier server, of which only the number is known. */
static void read_lost_text(
	struct request *r, size_t size, off_t off, const struct fuse_file_info *fi)
{
	struct handles *t = &r->server->handles;
	struct snapshot *snap;
	struct handle *h;

	if (!text_now(r, &snap))
		return;
	switch (handle_lost(
		number_now(r->server->page, fi->fh, r->ino), (uint64_t)off, snap->generation)) {
	case HANDLE_LOST_END:
		fuse_reply_buf(r->req, NULL, 0);
		break;
	case HANDLE_LOST_STALE:
		fuse_reply_err(r->req, ESTALE);
		break;
	case HANDLE_LOST_ANEW:
	case HANDLE_LOST_SAME:
		/* As for values: the rest is of this one. */
		if (!off && handle_restore(t, fi->fh, r->ino, r->node, &h, NULL) == 0) {
			h->was_read = true;
			remember_reread(r->server->page, h, snap);
			reply_slice(r->req, snapshot_bytes(snap), snap->len, off, size);
			h->snapshot = snap;
			return;
		}
		reply_slice(r->req, snapshot_bytes(snap), snap->len, off, size);
		break;
	}
	snapshot_put(t, snap);
}

static void read_lost_value(
	struct request *r, size_t size, off_t off, const struct fuse_file_info *fi)
{
	struct profile_facts facts = { 0 };

	broker_facts(r->server->broker, r->profile, &facts);
	switch (handle_lost(
		number_now(r->server->page, fi->fh, r->ino), (uint64_t)off, facts.generation)) {
	case HANDLE_LOST_END:
		fuse_reply_buf(r->req, NULL, 0);
		return;
	case HANDLE_LOST_STALE:
		fuse_reply_err(r->req, ESTALE);
		return;
	case HANDLE_LOST_ANEW:
	case HANDLE_LOST_SAME:
		read_value(r, size, off, fi);
	}
}

void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct request r;
	struct handle *h;
	int rc = request_begin(&r, req, ino);

	if (rc < 0) {
		fuse_reply_err(req, -rc);
		return;
	}
	h = handle_find(&r.server->handles, fi->fh, ino);
	if (r.node->read == NODE_READ_LOG) {
		const struct eventlog *log = content_log(r.server, r.node);

		reply_slice(req, log->text, log->len, off, size);
	} else if (!h && r.node->read == NODE_READ_VALUE) {
		read_lost_value(&r, size, off, fi);
	} else if (!h && r.node->read == NODE_READ_TEXT) {
		read_lost_text(&r, size, off, fi);
	} else if (!h || !h->snapshot) {
		fuse_reply_err(req, EBADF);
	} else if (off == 0 && h->was_read && r.node->read == NODE_READ_VALUE) {
		read_value(&r, size, off, fi);
	} else if (off == 0 && h->was_read) {
		read_text(&r, h, size, off);
	} else {
		h->was_read = true;
		reply_slice(req, snapshot_bytes(h->snapshot), h->snapshot->len, off, size);
	}
}

void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct server *s = fuse_req_userdata(req);
	struct handle *h = handle_find(&s->handles, fi->fh, ino);

	/* A file that an earlier server opened may have a row that this one never needed. */
	if (h ? h->in_page : s->page && atomic_load(&s->page->workers) > 1)
		page_open_drop(s->page, fi->fh, ino);
	if (h) {
		input_close(h);
		handle_free(&s->handles, h);
	}
	fuse_reply_err(req, 0);
}
