#include "ops.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "content.h"

/* One write(2) of the longest credential and more, so that "too long" can be said. */
#define WRITE_MAX (128 * 1024)

static void ops_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_write = WRITE_MAX;
	conn->max_readahead = 0; /* nothing is cached: reads are direct */
	/* Small answers from memory: a pipe would only cost calls and leave secrets in it. */
	conn->want &=
		~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	conn->want |= conn->capable & (FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS);
}

/* ---- names ---- */

static void lookup_root(struct request *r, const char *name)
{
	const struct node *n = node_find(NODE_IN_ROOT, name);
	struct profile *p;

	if (n) {
		request_reply_entry(r, n, NULL);
		return;
	}
	switch (broker_resolve(r->server->broker, name, &p)) {
	case BROKER_NAME_NONE:
		fuse_reply_err(r->req, ENOENT);
		break;
	case BROKER_NAME_PROFILE:
		request_reply_entry(r, node_profile, p);
		break;
	case BROKER_NAME_ALIAS:
		request_reply_entry(r, node_link, p);
		break;
	}
}

static void lookup_file(struct request *r, const char *name)
{
	const struct node *n = node_find(r->node->is, name);
	struct profile_facts facts;
	int rc = n ? request_allow(r, n, POLICY_STAT) : -ENOENT;

	if (rc == 0 && (n->flags & NODE_STORED)) {
		broker_facts(r->server->broker, r->profile, &facts);
		rc = facts.has_api_key ? 0 : -ENOENT;
	}
	if (rc < 0)
		fuse_reply_err(r->req, -rc);
	else
		request_reply_entry(r, n, r->profile);
}

static void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct request r;
	int rc = request_begin(&r, req, parent);

	if (rc == 0 && r.node->is == NODE_IN_NONE)
		rc = -ENOTDIR;
	if (rc == 0 && (rc = request_allow(&r, r.node, POLICY_SEARCH)) < 0) {
		/* Somebody who is kept out at the door never gets as far as an open. */
		struct audit_what w = request_story(&r, "lookup", r.node);

		w.node = name;
		audit_add(r.server->audit, &w, -rc);
	}
	if (rc < 0)
		fuse_reply_err(req, -rc);
	else if (r.node->is == NODE_IN_ROOT)
		lookup_root(&r, name);
	else
		lookup_file(&r, name);
}

static void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	struct server *s = fuse_req_userdata(req);

	request_forget(s, ino, count);
	fuse_reply_none(req);
}

static void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct server *s = fuse_req_userdata(req);

	for (size_t i = 0; i < count; i++)
		request_forget(s, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request r;
	struct stat st;
	int rc = request_begin(&r, req, ino);

	(void)fi;
	if (rc == 0)
		rc = request_allow(&r, r.node, POLICY_STAT);
	if (rc < 0) {
		fuse_reply_err(req, -rc);
		return;
	}
	request_stat(r.server, r.node, r.profile, &st);
	/* Never cached: sizes change with every rotation, and who may see them with every caller. */
	fuse_reply_attr(req, &st, 0);
}

static void ops_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct request r;
	int rc = request_begin(&r, req, ino);

	if (rc == 0 && r.node != node_link)
		rc = -EINVAL;
	if (rc == 0)
		rc = request_allow(&r, r.node, POLICY_STAT);
	if (rc < 0)
		fuse_reply_err(req, -rc);
	else
		fuse_reply_readlink(req, profile_name(r.profile));
}

static void ops_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct request r;
	int rc = request_begin(&r, req, ino);

	if (rc == 0)
		rc = request_allow(&r, r.node, POLICY_STAT);
	if (rc == 0 && r.node->is != NODE_IN_NONE) {
		rc = request_allow(&r, r.node, POLICY_SEARCH);
		if (rc == 0 && (mask & W_OK))
			rc = request_allow(&r, r.node, POLICY_CHANGE);
	} else if (rc == 0) {
		if (mask & X_OK)
			rc = -EACCES;
		if (rc == 0 && (mask & R_OK))
			rc = request_allow(&r, r.node, POLICY_READ);
		/* rm asks this before it removes: for what unlink forgets, "may it be removed?" */
		if (rc == 0 && (mask & W_OK))
			rc = request_allow(&r, r.node,
				r.node->flags & NODE_FORGETS ? POLICY_CHANGE : POLICY_WRITE);
	}
	fuse_reply_err(req, -rc);
}

/* ---- directories ---- */

struct entry {
	uint64_t ino;
	char *name;
};

/* The profiles as they were when the directory was read from its start: offsets stay valid. */
struct listing {
	bool is_filled;
	size_t count, room;
	struct entry *entries;
};

static void listing_clear(struct listing *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->entries[i].name);
	l->count = 0;
}

static void listing_free(struct listing *l)
{
	if (!l)
		return;
	listing_clear(l);
	free(l->entries);
	free(l);
}

static int listing_fill(struct listing *l, struct broker *b)
{
	struct profile *p;

	listing_clear(l);
	l->is_filled = true;
	for (p = broker_next(b, NULL); p; p = broker_next(b, profile_name(p))) {
		if (l->count == l->room) {
			size_t room = l->room ? l->room * 2 : 64;
			struct entry *entries = reallocarray(l->entries, room, sizeof(*entries));

			if (!entries)
				return -ENOMEM;
			l->entries = entries;
			l->room = room;
		}
		struct entry *e = &l->entries[l->count];
		e->ino = node_ino(node_profile, profile_id(p));
		if (!(e->name = strdup(profile_name(p))))
			return -ENOMEM;
		l->count++;
	}
	return 0;
}

static void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *h = NULL;
	struct request r;
	struct pa_err err;
	int rc = request_begin(&r, req, ino);

	if (rc == 0)
		rc = request_allow(&r, r.node, POLICY_SEARCH);
	if (rc == 0 && handle_new(&r.server->handles, ino, r.node, NULL, &h, &err) < 0)
		rc = -err.errnum;
	if (rc == 0 && !(h->listing = calloc(1, sizeof(*h->listing)))) {
		handle_free(&r.server->handles, h);
		rc = -ENOMEM;
	}
	if (rc < 0) {
		fuse_reply_err(req, -rc);
		return;
	}
	fi->fh = h->fh;
	if (fuse_reply_open(req, fi) < 0) {
		listing_free(h->listing);
		handle_free(&r.server->handles, h);
	}
}

/*
 * The i-th entry of a directory: ".", "..", the fixed names, then the profiles. false behind the last;
 * *ret_name NULL for one that is not there at the moment.
 */
static bool entry_at(struct request *r, const struct listing *l, size_t i, const char **ret_name,
	struct stat *ret)
{
	uint64_t id = node_profile_id(r->ino);
	const struct node *n;

	*ret = (struct stat){ .st_ino = r->ino, .st_mode = S_IFDIR };
	*ret_name = i == 0 ? "." : "..";
	if (i == 1 && r->node->is != NODE_IN_ROOT)
		ret->st_ino = NODE_ROOT;
	if (i < 2)
		return true;
	i -= 2;
	if ((n = node_at(r->node->is, i))) {
		struct profile_facts facts = { 0 };

		if (n->flags & NODE_STORED)
			broker_facts(r->server->broker, r->profile, &facts);
		*ret_name = (n->flags & NODE_STORED) && !facts.has_api_key ? NULL : n->name;
		ret->st_ino = node_ino(n, id);
		ret->st_mode = n->mode;
		return true;
	}
	if (r->node->is != NODE_IN_ROOT)
		return false;
	for (size_t fixed = 0; node_at(NODE_IN_ROOT, fixed); fixed++)
		i--;
	if (i >= l->count)
		return false;
	*ret_name = l->entries[i].name;
	ret->st_ino = l->entries[i].ino;
	return true;
}

/* Where a reader goes on after this entry: fixed ones are counted, profiles are known by their id. */
#define AFTER_PROFILE ((1 << NODE_BITS) - 1)

static off_t offset_of(const struct request *r, const struct stat *st, size_t i)
{
	bool is_profile = r->node->is == NODE_IN_ROOT && node_profile_id(st->st_ino);

	return is_profile ? (off_t)(st->st_ino | AFTER_PROFILE) : (off_t)i + 1;
}

static size_t index_of(const struct request *r, const struct listing *l, off_t off)
{
	size_t fixed = 2;

	while (node_at(r->node->is, fixed - 2))
		fixed++;
	if ((uint64_t)off <= fixed)
		return (size_t)off;
	for (size_t i = 0; i < l->count; i++)
		if ((l->entries[i].ino | AFTER_PROFILE) == (uint64_t)off)
			return fixed + i + 1;
	return fixed + l->count;
}

/*
 * A directory that was opened at an earlier server is listed anew for every call. Whatever came or went
 * meanwhile, a reader goes on behind the profile that it saw last; if that one went, it is at the end.
 */
static void ops_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct listing lost = { 0 }, *l = NULL;
	struct handle *h;
	struct request r;
	const char *name;
	struct stat st;
	size_t len = 0;
	char *buf = NULL;
	int rc = request_begin(&r, req, ino);

	if (rc == 0 && r.node->is == NODE_IN_NONE)
		rc = -ENOTDIR;
	if (rc == 0) {
		h = handle_find(&r.server->handles, fi->fh, ino);
		l = h ? h->listing : &lost;
		if (!h)
			rc = request_allow(&r, r.node, POLICY_SEARCH);
	}
	if (rc == 0 && (off == 0 || !l->is_filled) && r.node->is == NODE_IN_ROOT)
		rc = listing_fill(l, r.server->broker);
	if (rc == 0 && !(buf = malloc(size)))
		rc = -ENOMEM;
	for (size_t i = rc == 0 ? index_of(&r, l, off) : 0;
		rc == 0 && entry_at(&r, l, i, &name, &st); i++) {
		size_t n;

		if (!name)
			continue;
		n = fuse_add_direntry(req, buf + len, size - len, name, &st, offset_of(&r, &st, i));
		if (n > size - len)
			break;
		len += n;
	}
	if (rc < 0)
		fuse_reply_err(req, -rc);
	else
		fuse_reply_buf(req, buf, len);
	free(buf);
	listing_clear(&lost);
	free(lost.entries);
}

static void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct server *s = fuse_req_userdata(req);
	struct handle *h = handle_find(&s->handles, fi->fh, ino);

	if (h) {
		listing_free(h->listing);
		handle_free(&s->handles, h);
	}
	fuse_reply_err(req, 0);
}

static void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st = { .f_bsize = 4096, .f_frsize = 4096, .f_namemax = 255 };

	(void)ino;
	fuse_reply_statfs(req, &st);
}

void ops_close_all(struct server *s)
{
	while (s->handles.restored) {
		struct handle *h = s->handles.restored;

		listing_free(h->listing);
		input_release(h);
		handle_free(&s->handles, h);
	}
	for (uint32_t i = 0; i < s->handles.room; i++) {
		struct handle *h = s->handles.slots[i];

		if (!h)
			continue;
		listing_free(h->listing);
		input_release(h);
		handle_free(&s->handles, h);
	}
	handles_done(&s->handles);
}

const struct fuse_lowlevel_ops ops_table = {
	.init = ops_init,
	.lookup = ops_lookup,
	.forget = ops_forget,
	.forget_multi = ops_forget_multi,
	.getattr = ops_getattr,
	.setattr = ops_setattr,
	.readlink = ops_readlink,
	.access = ops_access,
	.opendir = ops_opendir,
	.readdir = ops_readdir,
	.releasedir = ops_releasedir,
	.statfs = ops_statfs,
	.open = ops_open,
	.create = ops_create,
	.read = ops_read,
	.write = ops_write,
	.flush = ops_flush,
	.release = ops_release,
	.unlink = ops_unlink,
	.mkdir = ops_mkdir,
	.rmdir = ops_rmdir,
	.mknod = ops_mknod,
	.symlink = ops_symlink,
	.rename = ops_rename,
	.link = ops_link,
};
