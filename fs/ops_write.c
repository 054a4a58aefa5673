/* Forgetting and commanding; operations that change names. What is stored goes through ops_input.c. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "ops.h"
#include "store/provider.h"

/* ---- changes that are answered when they are durable ---- */

enum change_kind { CHANGE_WRITE, CHANGE_REMOVE, CHANGE_MAKE };

struct change {
	struct request request;
	enum change_kind kind;
	size_t size;         /* CHANGE_WRITE: what is acknowledged */
	const char *forgets; /* CHANGE_REMOVE: written down under this name; NULL: not */
	char *audit;
	bool again; /* CHANGE_MAKE: it may have been made by a worker that died over it */
	char name[PROFILE_ID_MAX + 1];
};

static struct change *change_new(struct request *r, enum change_kind kind)
{
	struct change *c = calloc(1, sizeof(*c));

	if (!c) {
		fuse_reply_err(r->req, ENOMEM);
		return NULL;
	}
	c->request = *r;
	c->kind = kind;
	r->server->changes++;
	return c;
}

static void made(struct change *c)
{
	struct request *r = &c->request;
	struct profile *p;

	if (broker_resolve(r->server->broker, c->name, &p) == BROKER_NAME_PROFILE)
		request_reply_entry(r, node_profile, p);
	else
		fuse_reply_err(r->req, ENOENT);
}

static void change_done(void *arg, int rc, const struct pa_err *err)
{
	struct change *c = arg;
	struct request *r = &c->request;
	int errnum = rc < 0 ? err->errnum : 0;

	r->server->changes--;
	if (c->audit)
		audit_end(r->server->audit, c->audit, errnum);
	if (c->again && errnum == EEXIST)
		errnum = 0;
	if (errnum) {
		fuse_reply_err(r->req, errnum);
	} else {
		switch (c->kind) {
		case CHANGE_WRITE:
			fuse_reply_write(r->req, c->size);
			break;
		case CHANGE_REMOVE:
			fuse_reply_err(r->req, 0);
			break;
		case CHANGE_MAKE:
			made(c);
			break;
		}
	}
	free(c);
}

/* ---- commands that take their time: the writer may be interrupted, the command is not ---- */

struct command {
	struct server *server;
	struct parked *parked; /* NULL: nobody waits for the answer */
	bool is_over;
	int errnum;
};

static void command_answer(struct command *c)
{
	struct parked *k = c->parked;

	if (c->errnum)
		fuse_reply_err(k->req, c->errnum);
	else
		fuse_reply_write(k->req, k->size);
	parked_free(&c->server->parked, k);
	free(c);
}

static void command_done(void *arg, int rc, const struct pa_err *err)
{
	struct command *c = arg;

	c->is_over = true;
	c->errnum = rc < 0 ? err->errnum : 0;
	if (!c->parked) {
		free(c);
	} else if (c->parked->queue) {
		parked_leave(&c->server->parked, c->parked);
		command_answer(c);
	}
}

void command_give_up(struct parked *k)
{
	parked_leave(&k->server->parked, k);
	k->command->parked = NULL;
	fuse_reply_err(k->req, EINTR);
	parked_free(&k->server->parked, k);
}

static void migrate(struct request *r, const char *buf, size_t size)
{
	struct server *s = r->server;
	struct command *c = calloc(1, sizeof(*c));
	struct parked *k = c ? parked_new(&s->parked) : NULL;

	if (!k) {
		free(c);
		fuse_reply_err(r->req, ENOMEM);
		return;
	}
	k->server = s;
	k->req = r->req;
	k->kind = PARKED_COMMAND;
	k->caller = r->caller;
	k->node = r->node;
	k->size = size;
	k->command = c;
	*c = (struct command){ .server = s, .parked = k };
	broker_migrate(s->broker, buf, size, command_done, c);
	if (c->is_over)
		command_answer(c);
	else
		parked_wait(&s->parked, k);
}

static void write_command(struct request *r, const char *buf, size_t size)
{
	struct broker *b = r->server->broker;
	struct change *c;
	struct pa_err err;

	if (r->node->write == NODE_WRITE_REFRESH) {
		if (broker_report_rejected(b, r->profile, buf, size, &err) < 0)
			fuse_reply_err(r->req, err.errnum);
		else
			fuse_reply_write(r->req, size);
		return;
	}
	if (r->node->write == NODE_WRITE_MIGRATE) {
		migrate(r, buf, size);
		return;
	}
	if (!(c = change_new(r, CHANGE_WRITE)))
		return;
	c->size = size;
	if (r->node->write == NODE_WRITE_MODE)
		broker_set_mode(b, r->profile, buf, size, change_done, c);
	else
		broker_set_base_url(b, r->profile, buf, size, change_done, c);
}

void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	struct request r;
	struct handle *h;
	int rc = request_begin(&r, req, ino);

	(void)off; /* truncating and appending both work: what is written is the value */
	if (rc < 0) {
		fuse_reply_err(req, -rc);
		return;
	}
	h = handle_find(&r.server->handles, fi->fh, ino);
	if (r.node->write == NODE_WRITE_INPUT) {
		if (h)
			input_write(h, req, buf, size);
		else
			fuse_reply_err(req, EBADF);
		return;
	}
	/* Opened at an earlier server, which let it be written: a command needs its place and a policy only. */
	if (r.node->write == NODE_WRITE_NONE)
		rc = -EBADF;
	else if (!h)
		rc = request_allow(&r, r.node, POLICY_WRITE);
	if (rc < 0)
		fuse_reply_err(req, -rc);
	else
		write_command(&r, buf, size);
}

/* Succeeds and changes nothing; but what an open has sent so far is forgotten by ftruncate(fd, 0). */
void ops_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct request r;
	struct handle *h;
	struct stat st;
	int rc = request_begin(&r, req, ino);

	if (rc == 0)
		rc = request_allow(&r, r.node, POLICY_ATTR);
	if (rc < 0) {
		fuse_reply_err(req, -rc);
		return;
	}
	h = fi ? handle_find(&r.server->handles, fi->fh, ino) : NULL;
	if (h && (to_set & FUSE_SET_ATTR_SIZE) && attr->st_size == 0)
		input_reset(h);
	request_stat(r.server, r.node, r.profile, &st);
	fuse_reply_attr(req, &st, 0);
}

/* ---- names ---- */

static bool api_key_is_stored(struct request *r)
{
	struct profile_facts facts;

	broker_facts(r->server->broker, r->profile, &facts);
	return facts.has_api_key;
}

void ops_create(
	fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	const struct node *n = NULL;
	struct fuse_entry_param e;
	struct handle *h = NULL;
	struct request r;
	struct pa_err err;
	int rc = request_begin(&r, req, parent);

	(void)mode;
	if (rc == 0) {
		n = node_find(r.node->is, name);
		if ((rc = request_allow(&r, r.node, POLICY_SEARCH)) == 0 &&
			(!n || !(n->flags & NODE_STORED)))
			rc = -EPERM;
	}
	if (rc < 0) {
		fuse_reply_err(req, -rc);
		return;
	}
	rc = (fi->flags & O_ACCMODE) == O_WRONLY ? request_allow(&r, n, POLICY_WRITE) : -EACCES;
	struct audit_what w = request_story(&r, "write", n);
	if (rc == 0 && (fi->flags & O_EXCL) && api_key_is_stored(&r))
		rc = -EEXIST;
	if (rc < 0)
		goto fail;
	r.node = n;
	r.ino = node_ino(n, profile_id(r.profile));
	if ((rc = handle_new(&r.server->handles, r.ino, n, NULL, &h, &err)) < 0 ||
		(rc = input_open(&r, h, &err)) < 0) {
		rc = -err.errnum;
		goto fail;
	}
	request_entry(r.server, n, r.profile, &e);
	fi->fh = h->fh;
	fi->direct_io = 1;
	rc = fuse_reply_create(req, &e, fi);
	if (rc < 0) {
		input_close(h);
		handle_free(&r.server->handles, h);
		request_forget(r.server, r.ino, 1);
	}
	audit_add(r.server->audit, &w, rc < 0 ? EINTR : 0);
	return;
fail:
	handle_free(&r.server->handles, h);
	audit_add(r.server->audit, &w, -rc);
	fuse_reply_err(req, -rc);
}

/*
 * Names stay, so unlink of most is a success without effect: then rm -rf of a profile logs out and goes on
 * to rmdir.
 */
void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct node *n = NULL;
	struct request r;
	struct change *c;
	int rc = request_begin(&r, req, parent);

	if (rc == 0)
		rc = request_allow(&r, r.node, POLICY_SEARCH);
	if (rc == 0 && r.node->is != NODE_IN_PROFILE)
		rc = -EPERM;
	if (rc == 0 &&
		(!(n = node_find(NODE_IN_PROFILE, name)) ||
			((n->flags & NODE_STORED) && !api_key_is_stored(&r) && !device_is_again())))
		rc = -ENOENT;
	if (rc == 0)
		rc = request_allow(&r, n, POLICY_CHANGE);
	if (rc < 0 || !(n->flags & NODE_FORGETS)) {
		if (n && (n->flags & NODE_FORGETS)) {
			struct audit_what w = request_story(&r, "unlink", n);

			audit_add(r.server->audit, &w, -rc);
		}
		fuse_reply_err(req, -rc);
		return;
	}
	if (!(c = change_new(&r, CHANGE_REMOVE)))
		return;
	struct audit_what w = request_story(&r, "unlink", n);
	c->audit = audit_begin(r.server->audit, &w);
	broker_forget(r.server->broker, r.profile, n->lane, change_done, c);
}

/* Names of the root that belong to later versions. */
static bool name_is_reserved(const char *name)
{
	static const char *const names[] = { "models", "agents", "views" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return name[0] == '.';
}

static bool name_is_valid(const char *name)
{
	size_t base = strcspn(name, "@");

	if (name_is_reserved(name) || !provider_id_is_valid(name, base))
		return false;
	return !name[base] || profile_name_is_valid(name + base + 1, strlen(name + base + 1));
}

void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct request r;
	struct change *c;
	int rc = request_begin(&r, req, parent);

	(void)mode;
	if (rc == 0)
		rc = request_allow(&r, r.node, POLICY_CHANGE);
	if (rc == 0 && r.node->is == NODE_IN_ROOT && node_find(NODE_IN_ROOT, name))
		rc = -EEXIST;
	if (rc == 0 && (r.node->is != NODE_IN_ROOT || !name_is_valid(name)))
		rc = -EPERM;
	if (rc < 0) {
		fuse_reply_err(req, -rc);
		return;
	}
	if (!(c = change_new(&r, CHANGE_MAKE)))
		return;
	c->again = device_is_again();
	/* A valid name fits. */
	strncat(c->name, name, sizeof(c->name) - 1);
	broker_make(r.server->broker, name, change_done, c);
}

void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct profile *p = NULL;
	uint64_t ino = 0;
	struct request r;
	struct change *c;
	int rc = request_begin(&r, req, parent);

	if (rc == 0)
		rc = request_allow(&r, r.node, POLICY_CHANGE);
	if (rc == 0 && (r.node->is != NODE_IN_ROOT || node_find(NODE_IN_ROOT, name)))
		rc = -EPERM;
	if (rc == 0 && broker_resolve(r.server->broker, name, &p) != BROKER_NAME_PROFILE)
		rc = p ? -ENOTDIR : -ENOENT;
	if (rc == -ENOENT && device_is_again()) {
		fuse_reply_err(req, 0);
		return;
	}
	if (p) {
		/* Resolving may have made it: it must not outlive this call without a reference. */
		ino = node_ino(node_profile, profile_id(p));
		if (!profile_is_permanent(p))
			profile_hold(p, 1);
	}
	if (rc < 0)
		fuse_reply_err(req, -rc);
	else if ((c = change_new(&r, CHANGE_REMOVE)))
		broker_remove(r.server->broker, p, change_done, c);
	request_forget(r.server, ino, 1);
}

/* Nothing else is made here: there is a place for everything already. */
void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	(void)parent;
	(void)name;
	(void)mode;
	(void)rdev;
	fuse_reply_err(req, EPERM);
}

void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	(void)target;
	(void)parent;
	(void)name;
	fuse_reply_err(req, EPERM);
}

void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	const char *newname, unsigned int flags)
{
	(void)parent;
	(void)name;
	(void)newparent;
	(void)newname;
	(void)flags;
	fuse_reply_err(req, EPERM);
}

void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	(void)ino;
	(void)newparent;
	(void)newname;
	fuse_reply_err(req, EPERM);
}
