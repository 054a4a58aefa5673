#include "policy.h"

#include <errno.h>
#include <sys/stat.h>

static bool is_privileged(const struct policy *p, const struct caller *c)
{
	return c->uid == 0 || c->uid == p->owner_uid;
}

static bool is_mutation(const struct node *n, enum policy_op op)
{
	return op == POLICY_CHANGE || (op == POLICY_WRITE && !(n->flags & NODE_REPORTS));
}

unsigned policy_wants(
	const struct policy *p, const struct caller *c, const struct node *n, enum policy_op op)
{
	if (!is_privileged(p, c))
		return p->has_group ? POLICY_WANTS_GROUPS : 0;
	return is_mutation(n, op) ? POLICY_WANTS_NAMESPACES : 0;
}

static bool is_member(const struct policy *p, const struct caller *c)
{
	return p->has_group && c->tid != 0 && c->known && c->in_group;
}

static bool may_change(const struct policy *p, const struct caller *c)
{
	return is_privileged(p, c) && c->tid != 0 && c->known &&
	       ((c->in_user_ns && c->in_pid_ns) || c->is_named);
}

static bool may_see(const struct policy *p, const struct caller *c, const struct node *n)
{
	if (is_privileged(p, c))
		return true;
	if (is_member(p, c) && !(n->flags & NODE_OWNER_ONLY))
		return true;
	return p->public_status && (!S_ISREG(n->mode) || (n->mode & S_IROTH));
}

int policy_check(
	const struct policy *p, const struct caller *c, const struct node *n, enum policy_op op)
{
	bool ok = false;

	switch (op) {
	case POLICY_SEARCH:
		ok = may_see(p, c, n);
		break;
	case POLICY_STAT:
		/* The mount point itself: df, mountpoint and ls of its parent want to look at it. */
		ok = n->is == NODE_IN_ROOT || may_see(p, c, n);
		break;
	case POLICY_READ:
		ok = (n->mode & (S_IRUSR | S_IRGRP | S_IROTH)) && may_see(p, c, n);
		break;
	case POLICY_WRITE:
		if (n->write == NODE_WRITE_NONE)
			break;
		if (n->flags & NODE_REPORTS)
			ok = is_privileged(p, c) || is_member(p, c);
		else
			ok = may_change(p, c);
		break;
	case POLICY_CHANGE:
		ok = may_change(p, c);
		break;
	case POLICY_ATTR:
		return is_privileged(p, c) ? 0 : -EPERM;
	}
	return ok ? 0 : -EACCES;
}

mode_t policy_mode(const struct policy *p, const struct node *n)
{
	mode_t mode = n->mode;

	if (S_ISLNK(mode))
		return mode;
	if (p->has_group && !(n->flags & NODE_OWNER_ONLY)) {
		mode |= (mode & (S_ISDIR(mode) ? 0500 : 0400)) >> 3;
		if (n->flags & NODE_REPORTS)
			mode |= (mode & 0200) >> 3;
	}
	if (p->public_status && S_ISDIR(mode))
		mode |= 0055;
	return mode;
}
