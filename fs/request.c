#include "request.h"

#include <string.h>

#include "content.h"

/* Names that stay: a day. The others are asked for every time. */
#define ENTRY_TIMEOUT_S 86400.0

int request_begin(struct request *r, fuse_req_t req, fuse_ino_t ino)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	*r = (struct request){
		.server = fuse_req_userdata(req),
		.req = req,
		.caller = { .uid = ctx->uid, .gid = ctx->gid, .tid = ctx->pid },
		.ino = ino,
		.node = node_of(ino),
	};
	if (!r->node)
		return -ESTALE;
	if (node_profile_id(ino) &&
		!(r->profile = broker_by_id(r->server->broker, node_profile_id(ino))))
		return -ESTALE;
	return 0;
}

int request_allow(struct request *r, const struct node *n, enum policy_op op)
{
	const struct policy *policy = &r->server->policy;
	unsigned wants = policy_wants(policy, &r->caller, n, op);

	if (wants)
		caller_look(&r->server->self, &r->caller, wants, policy->group);
	return policy_check(policy, &r->caller, n, op);
}

struct audit_what request_story(const struct request *r, const char *op, const struct node *n)
{
	return (struct audit_what){
		.op = op,
		.profile = r->profile ? profile_name(r->profile) : NULL,
		.node = n->name,
		.uid = r->caller.uid,
		.gid = r->caller.gid,
		.tid = r->caller.tid,
	};
}

void request_stat(struct server *s, const struct node *n, struct profile *p, struct stat *ret)
{
	struct profile_facts facts;

	*ret = (struct stat){
		.st_ino = node_ino(n, p ? profile_id(p) : 0),
		.st_mode = policy_mode(&s->policy, n),
		.st_nlink = n->is == NODE_IN_NONE ? 1 : 2,
		.st_uid = s->policy.owner_uid,
		.st_gid = s->policy.has_group ? s->policy.group : s->policy.owner_gid,
		.st_blksize = 4096,
		.st_mtim = s->started,
	};
	if (p) {
		broker_facts(s->broker, p, &facts);
		if (facts.changed_wall_ms > 0) {
			ret->st_mtim.tv_sec = facts.changed_wall_ms / 1000;
			ret->st_mtim.tv_nsec = facts.changed_wall_ms % 1000 * 1000000;
		}
		if (n->write == NODE_WRITE_BASE_URL && !facts.base_url_writable)
			ret->st_mode &= ~(mode_t)0222;
	}
	ret->st_atim = ret->st_ctim = ret->st_mtim;
	if (n == node_link) {
		ret->st_size = (off_t)strlen(profile_name(p));
	} else if (n->is == NODE_IN_NONE) {
		size_t now = content_size(s, n, p);
		size_t open = snapshot_largest(&s->handles, ret->st_ino);

		ret->st_size = (off_t)(now > open ? now : open);
		ret->st_blocks = (ret->st_size + 511) / 512;
	}
}

void request_entry(
	struct server *s, const struct node *n, struct profile *p, struct fuse_entry_param *e)
{
	bool permanent = !p || profile_is_permanent(p);
	bool stays = permanent && !(n->flags & NODE_STORED);

	if (!permanent)
		profile_hold(p, 1);
	*e = (struct fuse_entry_param){ .entry_timeout = stays ? ENTRY_TIMEOUT_S : 0 };
	request_stat(s, n, p, &e->attr);
	e->ino = e->attr.st_ino;
}

void request_forget(struct server *s, uint64_t ino, uint64_t count)
{
	uint64_t id = node_profile_id(ino);
	struct profile *p = id ? broker_by_id(s->broker, id) : NULL;

	if (p && !profile_is_permanent(p))
		profile_drop(p, count);
}

void request_reply_entry(struct request *r, const struct node *n, struct profile *p)
{
	struct fuse_entry_param e;

	request_entry(r->server, n, p, &e);
	if (fuse_reply_entry(r->req, &e) < 0)
		request_forget(r->server, e.ino, 1);
}
