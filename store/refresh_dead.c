/*
 * The provider refuses the refresh token. Before the login is called dead everything that may know better is
 * asked: the login that was there before one was adopted from a file, and the files it is shared with.
 */
#include <stdlib.h>

#include "broker_i.h"
#include "link.h"

static int apply_dead(struct commit *c, struct record *r, struct pa_err *err)
{
	struct refresh *f = c->arg;

	if (!refresh_still_there(f, r)) {
		f->dropped = true;
		return -ECANCELED;
	}
	return record_set_dead(r, &f->why, now_wall(c->p->b), err);
}

static void dead_saved(struct commit *c, int r, const struct pa_err *err)
{
	struct refresh *f = c->arg;
	struct profile *p = c->p;
	struct pa_err why = f->why;

	(void)r;
	(void)err;
	if (f->dropped) {
		refresh_dropped(f);
		return;
	}
	if (!c->published) {
		/* No memory for the record; what it would say holds all the same. */
		p->facts.dead = true;
		p->facts.dead_why = why;
		p->facts.dead_ms = now_wall(p->b);
	}
	p->lost_answer = false;
	broker_event(p->b, p, "dead", &why);
	refresh_end(f, &why);
}

static void looked_again(void *arg, bool torn, const struct pa_err *err)
{
	struct refresh *r = arg;
	RECORD_AUTO struct record rec = { 0 };

	(void)torn;
	if (err) {
		linked_close(r->files);
		r->files = NULL;
	}
	if (profile_open(r->p, &rec, NULL) == 0 && !refresh_still_there(r, &rec))
		refresh_dropped(r);
	else
		refresh_dead(r);
}

/*
 * Some tools lock nothing: one may have spent the token in the very moment. Then its file has a newer
 * pair, or will have in a moment, and the noticing finds it.
 */
static bool refresh_looks_again(struct refresh *r)
{
	if (!r->files || r->looked_again)
		return false;
	r->looked_again = true;
	linked_close(r->files);
	r->files = NULL;
	r->phase = REFRESH_FILES;
	return linked_open(r->p, looked_again, r, &r->files, NULL) == 0;
}

static int apply_kept(struct commit *c, struct record *r, struct pa_err *err)
{
	struct refresh *f = c->arg;

	if (!refresh_still_there(f, r) || !link_kept(r))
		return -ECANCELED;
	return link_restore_kept(r, err);
}

static void kept_saved(struct commit *c, int r, const struct pa_err *err)
{
	struct refresh *f = c->arg;

	(void)r;
	(void)err;
	if (c->published) {
		profile_clean_slate(c->p);
		broker_event(c->p->b, c->p, "adoption_refused", &f->why);
	}
	refresh_dropped(f);
}

/* What was adopted from a file is worth nothing; the login that was there before may be. */
static bool refresh_with_kept(struct refresh *r)
{
	struct commit *c;

	if (!r->p->facts.adopted || !(c = commit_new(r->p, COMMIT_KEEP, apply_kept, NULL, NULL)))
		return false;
	r->phase = REFRESH_SAVE;
	c->bump = true;
	c->arg = r;
	c->done = kept_saved;
	commit_start(c);
	return true;
}

/* The readers hear of it when it is durable, so that a restart does not ask again. */
void refresh_dead(struct refresh *r)
{
	struct profile *p = r->p;
	struct commit *c;

	if (refresh_with_kept(r) || refresh_looks_again(r))
		return;
	c = commit_new(p, COMMIT_KEEP, apply_dead, NULL, NULL);
	profile_error(p, &r->why);
	if (!c) {
		refresh_back_off(p, -1);
		refresh_end(r, &r->why);
		return;
	}
	r->phase = REFRESH_SAVE;
	c->arg = r;
	c->done = dead_saved;
	commit_start(c);
}
