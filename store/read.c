/*
 * Reading: the rule "When to refresh", those who wait, and the one place that looks at the clock for a
 * profile (profile_step).
 *
 *   remaining life      what a reader gets
 *   > 1.5 margin        the value
 *   > margin            the value; a refresh starts in the background
 *   > hard              the value, after joining the refresh for JOIN_MS at most
 *   else                the refreshed value, or an error, by the deadline
 *
 * margin is 10 minutes or a fifth of a short token's life, hard is 30 s or a twentieth.
 */
#include "broker_i.h"

enum freshness { FRESH, SOON, DUE, EXPIRED };

static int64_t life_ms(const struct facts *f)
{
	return f->refreshed_ms > 0 && f->refreshed_ms < f->expires_ms
		       ? f->expires_ms - f->refreshed_ms
		       : INT64_MAX / 4;
}

static int64_t margin_ms(const struct facts *f)
{
	int64_t fifth = life_ms(f) / 5;

	return fifth < MARGIN_MS ? fifth : MARGIN_MS;
}

static int64_t hard_ms(const struct facts *f)
{
	int64_t twentieth = life_ms(f) / 20;

	return twentieth < HARD_MS ? twentieth : HARD_MS;
}

static bool never_expires(const struct profile *p)
{
	return p->facts.lane != LANE_OAUTH || p->facts.expires_ms == 0;
}

static enum freshness freshness(const struct profile *p, int64_t wall)
{
	const struct facts *f = &p->facts;
	int64_t remaining = f->expires_ms - wall;

	if (never_expires(p))
		return p->rejected || f->adopted ? DUE : FRESH;
	if (remaining <= hard_ms(f))
		return EXPIRED;
	/* A clock before the token's birth is wrong, so nothing it says about expiry can be trusted; nor can
	 * what came from another program's file, before a refresh has proved it. */
	if (p->rejected || f->adopted || wall < f->refreshed_ms || remaining <= margin_ms(f))
		return DUE;
	return remaining <= margin_ms(f) * 3 / 2 ? SOON : FRESH;
}

/* Valid at this moment, whatever margin is left. */
static bool is_alive(const struct profile *p, int64_t wall)
{
	return p->facts.value_len > 0 && (never_expires(p) || wall < p->facts.expires_ms);
}

/* ---- those who wait ---- */

/* Keeps the list in the order of the deadlines; nearly always that is the end. */
static void wait_add(struct wait_list *l, struct broker_wait *w)
{
	struct broker_wait *before = l->tail;

	while (before && before->until_boot_ms > w->until_boot_ms)
		before = before->prev;
	w->prev = before;
	w->next = before ? before->next : l->head;
	*(before ? &before->next : &l->head) = w;
	*(w->next ? &w->next->prev : &l->tail) = w;
}

static void wait_remove(struct broker_wait *w)
{
	struct profile *p = w->profile;
	struct wait_list *l = w->join ? &p->joiners : &p->waiters;

	*(w->prev ? &w->prev->next : &l->head) = w->next;
	*(w->next ? &w->next->prev : &l->tail) = w->prev;
	w->next = w->prev = NULL;
	p->b->count.waiting--;
}

static int take_value(
	struct profile *p, enum broker_what what, struct broker_value *ret, struct pa_err *err)
{
	int rc = profile_value(p, what, &ret->bytes, err);

	if (rc < 0)
		return rc;
	ret->generation = p->facts.generation;
	p->read_since = true;
	return 0;
}

/* Ends one wait: with the value where there is one that may be given, else with why. */
static void wait_end(struct broker_wait *w, bool give, const struct pa_err *why)
{
	struct profile *p = w->profile;
	struct broker_value v = { 0 };
	struct pa_err err = { 0 };

	wait_remove(w);
	if (give && take_value(p, w->what, &v, &err) == 0) {
		w->done(w, &v, NULL);
		return;
	}
	p->b->count.reads_failed++;
	w->done(w, NULL, give ? &err : why);
}

static const struct pa_err *why_not(const struct profile *p, struct pa_err *room)
{
	if (refresh_allowed(p, room))
		pa_fail(room, PA_EXPIRED, 0, "%s", p->name);
	return room;
}

void profile_answer(struct profile *p, const struct pa_err *err)
{
	int64_t wall = now_wall(p->b);
	bool serves = profile_serving(p) != LANE_NONE;
	bool give = serves && is_alive(p, wall);
	struct pa_err none;

	if (!serves) {
		pa_fail(&none, PA_NO_KEY, 0, "%s", p->name);
		err = &none;
	} else if (!give && !err) {
		err = why_not(p, &none);
	}
	while (p->joiners.head)
		wait_end(p->joiners.head, give, err);
	while (p->waiters.head)
		wait_end(p->waiters.head, give, err);
}

void profile_wait_again(struct profile *p)
{
	if ((p->joiners.head || p->waiters.head) && p->facts.lane == LANE_OAUTH &&
		freshness(p, now_wall(p->b)) >= DUE)
		refresh_start(p);
}

void profile_abort_waits(struct profile *p, const struct pa_err *err)
{
	while (p->joiners.head)
		wait_end(p->joiners.head, false, err);
	while (p->waiters.head)
		wait_end(p->waiters.head, false, err);
}

/* Ends the waits whose time is over; returns when the next one's is. */
static int64_t waits_expire(struct profile *p, int64_t boot, int64_t wall)
{
	struct pa_err err = { 0 };

	while (p->joiners.head && p->joiners.head->until_boot_ms <= boot) {
		struct broker_wait *w = p->joiners.head;

		if (is_alive(p, wall)) {
			wait_end(w, true, NULL);
			continue;
		}
		/* It died while the reader was waiting: now the reader needs the new one. */
		wait_remove(w);
		w->join = false;
		w->until_boot_ms = boot + p->b->config->deadline_s * 1000 - JOIN_MS;
		wait_add(&p->waiters, w);
		p->b->count.waiting++;
	}
	if (p->waiters.head && p->waiters.head->until_boot_ms <= boot)
		pa_fail(&err, PA_NET_TIMEOUT, 0, "%s: no answer within %lld s", p->name,
			(long long)p->b->config->deadline_s);
	while (p->waiters.head && p->waiters.head->until_boot_ms <= boot)
		wait_end(p->waiters.head, is_alive(p, wall), &err);
	int64_t next = p->joiners.head ? p->joiners.head->until_boot_ms : NEVER;

	if (p->waiters.head && p->waiters.head->until_boot_ms < next)
		next = p->waiters.head->until_boot_ms;
	return next;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When a token that is in use is to be refreshed without anybody waiting; NEVER for idle ones. */
static int64_t next_refresh(struct profile *p, int64_t boot, int64_t wall)
{
	const struct facts *f = &p->facts;
	int64_t at;

	if (never_expires(p) || !f->can_refresh || !p->read_since || p->refresh || f->dead ||
		f->foreign || f->moved || p->unsaved || p->b->stopping)
		return NEVER;
	/* What has expired waits for a reader; so does a token whose refresh may have been sent. */
	if (wall >= f->expires_ms || p->lost_answer)
		return NEVER;
	at = boot + (f->expires_ms - margin_ms(f) * 3 / 2 - wall);
	return p->retry_boot_ms > at ? p->retry_boot_ms : at;
}

void profile_step(struct profile *p)
{
	int64_t boot = now_boot(p->b), wall = now_wall(p->b), wake, at;

	if (!p->indexed)
		return;
	/* A login, a logout or another mode ends the waits without a refresh. */
	if ((p->joiners.head || p->waiters.head) &&
		(profile_serving(p) == LANE_NONE || freshness(p, wall) == FRESH || !p->refresh))
		profile_answer(p, NULL);
	at = next_refresh(p, boot, wall);
	if (at <= boot) {
		refresh_start(p);
		at = next_refresh(p, boot, wall);
	}
	wake = earlier(at, waits_expire(p, boot, wall));
	if (p->dirty && !p->commits && !p->b->stopping) {
		if (p->save_boot_ms <= boot)
			profile_save_again(p);
		wake = earlier(wake, p->save_boot_ms);
	}
	timer_set(p, wake == NEVER || wake > boot ? wake : boot + 1);
}

/* ---- the call ---- */

static int read_now(struct broker *b, struct profile *p, enum broker_what what,
	struct broker_value *ret, struct pa_err *err)
{
	bool first = !p->read_since;
	int rc = take_value(p, what, ret, err);

	if (rc < 0)
		return rc;
	/* From the first read of a generation on its refresh is planned; before, it is nobody's. */
	if (first && p->facts.lane == LANE_OAUTH)
		profile_step(p);
	return 0;
}

static int park(struct profile *p, enum broker_what what, bool join, struct broker_wait *w)
{
	struct broker *b = p->b;
	int64_t deadline = b->config->deadline_s * 1000;

	w->profile = p;
	w->what = what;
	w->join = join;
	w->until_boot_ms = now_boot(b) + (join && JOIN_MS < deadline ? JOIN_MS : deadline);
	wait_add(join ? &p->joiners : &p->waiters, w);
	b->count.waiting++;
	b->count.reads_waited++;
	if (!p->heap_index || p->wake_boot_ms > w->until_boot_ms)
		timer_set(p, w->until_boot_ms);
	return 1;
}

static int fail_read(struct broker *b, int rc)
{
	b->count.reads_failed++;
	return rc;
}

int broker_read(struct broker *b, struct profile *p, enum broker_what what, struct broker_wait *w,
	struct broker_value *ret, struct pa_err *err)
{
	int64_t wall = now_wall(b);
	enum freshness fresh;
	bool alive;

	b->count.reads++;
	if (p->broken.code) {
		*err = p->broken;
		return fail_read(b, -err->errnum);
	}
	switch (profile_serving(p)) {
	case LANE_NONE:
		return fail_read(b, pa_fail(err, PA_NO_KEY, 0, "%s", p->name));
	case LANE_API_KEY:
	case LANE_ENV:
		return read_now(b, p, what, ret, err);
	case LANE_OAUTH:
		break;
	}
	fresh = freshness(p, wall);
	alive = is_alive(p, wall);
	if (fresh == FRESH)
		return read_now(b, p, what, ret, err);
	if (fresh == SOON || what == BROKER_ENV) {
		/* The value first: starting a refresh may publish a new one at once. */
		int rc = alive ? read_now(b, p, what, ret, err) : 0;

		if (refresh_allowed(p, alive ? NULL : err))
			refresh_start(p);
		else if (!alive)
			return fail_read(b, -err->errnum);
		return alive ? rc : fail_read(b, pa_fail(err, PA_NOT_READY, 0, "%s", p->name));
	}
	if (!p->refresh) {
		if (!refresh_allowed(p, err))
			return alive ? read_now(b, p, what, ret, err) : fail_read(b, -err->errnum);
		refresh_start(p);
		/* It may have ended already, well or not. */
		if (!p->refresh) {
			if (is_alive(p, wall))
				return read_now(b, p, what, ret, err);
			*err = p->last_error;
			return fail_read(b, err->code ? -err->errnum
						      : pa_fail(err, PA_EXPIRED, 0, "%s", p->name));
		}
	}
	return park(p, what, fresh == DUE, w);
}

void broker_cancel(struct broker *b, struct broker_wait *w)
{
	struct profile *p = w->profile;

	(void)b;
	wait_remove(w);
	profile_release(p);
}
