/*
 * One refresh per credential.
 *
 * Order: the files that the login is shared with are locked and read, and what is newer there is adopted;
 * the intent (generation and HMAC of the token about to be spent) becomes durable; the request goes out; the
 * answer becomes durable, here and in those files; the readers are answered. A crash or a lost answer between the second
 * and the third step leaves an intent without an answer. What follows from that:
 *
 *   - the old access token still lives: nothing is repeated, it is served until it dies;
 *   - it is dead: not repeating would lose the login for certain, repeating only perhaps. The request is
 *     repeated, journaled as a repeat. The first answer that comes decides; while none comes nothing more
 *     can be lost by asking again, so repeats go on with the usual back-off;
 *   - a provider known not to rotate spends nothing: repeats are free and need no journal.
 *
 * The refresh token is read from the truth inside the flight, never handed in from outside.
 */
#include <stdio.h>
#include <stdlib.h>

#include "broker_i.h"
#include "link.h"

static const struct oauth_desc *desc_of(const struct profile *p)
{
	return p->provider->oauth;
}

bool refresh_allowed(const struct profile *p, struct pa_err *why)
{
	const struct facts *f = &p->facts;
	struct broker *b = p->b;

	if (p->refresh)
		return true;
	if (f->dead)
		return pa_fail(why, PA_REFRESH_DEAD, 0, "%s: %s", p->name, f->dead_why.detail),
		       false;
	if (!f->can_refresh)
		return pa_fail(why, PA_EXPIRED, 0, "%s: nothing to refresh it with", p->name),
		       false;
	if (f->foreign)
		return pa_fail(why, PA_STORE_MOVED, 0, "%s", p->name), false;
	if (f->moved)
		return pa_fail(why, PA_STORE_MOVED, 0, "%s: exported with --move", p->name), false;
	if (b->stopping)
		return pa_fail(why, PA_EXPIRED, 0, "%s: the server is stopping", p->name), false;
	if (p->unsaved)
		return pa_fail(why, PA_EXPIRED, 0, "%s: the last answer is not on disk yet",
			       p->name),
		       false;
	if (p->lost_answer && f->value_len && now_wall(b) < f->expires_ms && f->expires_ms)
		return pa_fail(why, PA_EXPIRED, 0, "%s: the last refresh was not answered",
			       p->name),
		       false;
	if (p->retry_boot_ms > now_boot(b)) {
		if (why) {
			*why = p->last_error;
			if (!why->code)
				pa_fail(why, PA_EXPIRED, 0, "%s", p->name);
		}
		return false;
	}
	return true;
}

static void refresh_free(struct refresh *r)
{
	linked_close(r->files);
	secret_free(r->spent);
	free(r);
}

/* The end of a refresh, good (err NULL) or bad: everybody who waits hears of it. */
void refresh_end(struct refresh *r, const struct pa_err *err)
{
	struct profile *p = r->p;

	p->refresh = NULL;
	p->b->busy--;
	refresh_free(r);
	linked_resume(p->b);
	profile_answer(p, err);
	profile_step(p);
	profile_release(p);
}

void refresh_back_off(struct profile *p, int64_t retry_after_s)
{
	int64_t ms = BACKOFF_MIN_MS;
	uint16_t jitter = 0;

	for (unsigned i = 0; i < p->failures && ms < BACKOFF_MAX_MS; i++)
		ms *= 2;
	if (ms > BACKOFF_MAX_MS)
		ms = BACKOFF_MAX_MS;
	/* Up to a quarter more, so that many machines do not come back together. */
	(void)seal_random(&jitter, sizeof(jitter), NULL);
	ms += ms / 4 * jitter / UINT16_MAX;
	if (retry_after_s >= 0) {
		int64_t asked = retry_after_s < RETRY_AFTER_MAX_MS / 1000 ? retry_after_s * 1000
									  : RETRY_AFTER_MAX_MS;

		if (asked > ms)
			ms = asked;
	}
	p->failures++;
	p->retry_boot_ms = now_boot(p->b) + ms;
}

/* Whether the login that is being refreshed is the one in this record. */
bool refresh_still_there(const struct refresh *f, const struct record *r)
{
	const cJSON *entry = record_lane(r, LANE_OAUTH);
	const char *now = json_str(entry, "refresh");

	if (!entry)
		return false;
	if (!f->spent)
		return (!now || !*now) && record_generation(r) == f->generation;
	return now && secret_eq_bytes(f->spent, now, strlen(now));
}

/* A login or logout came meanwhile: what became of the old login is nobody's business any more. */
void refresh_dropped(struct refresh *r)
{
	struct profile *p = r->p;

	p->refresh = NULL;
	p->b->busy--;
	refresh_free(r);
	linked_resume(p->b);
	profile_wait_again(p);
	profile_step(p);
	profile_release(p);
}

static void journal_done(struct intent_job *j, int r, const struct pa_err *err)
{
	struct broker *b = j->arg;

	(void)err;
	/* The intent stands then, which is only the more careful reading. */
	if (r < 0)
		b->count.saves_failed++;
	b->busy--;
	free(j);
}

/* The provider has taken nothing: the intent is settled. */
static void journal_answered(struct refresh *r)
{
	struct broker *b = r->p->b;
	struct intent i = r->intent.intent;
	struct intent_job *j;

	if (!desc_of(r->p)->rotates || !i.kind)
		return;
	i.kind = INTENT_ANSWERED;
	j = calloc(1, sizeof(*j));
	if (!j || intent_job_init(j, b->vault, &i) < 0) {
		free(j);
		return;
	}
	j->done = journal_done;
	j->arg = b;
	b->busy++;
	writer_add(b->writer, &j->job);
}

/*
 * Whether the provider may have taken the token although no usable answer came: none at all, a success that
 * cannot be read, or a gateway that lost the answer of the server behind it.
 */
static bool may_be_spent(const struct http_answer *a)
{
	return a->maybe_sent &&
	       (a->status == 0 || a->status / 100 == 2 || a->status == 502 || a->status == 504);
}

/* lost: the provider may have taken the token all the same. */
static void refresh_failed(
	struct refresh *r, bool lost, int64_t retry_after_s, const struct pa_err *err)
{
	struct profile *p = r->p;
	RECORD_AUTO struct record rec = { 0 };
	struct pa_err why = *err;

	p->b->count.refreshes_failed++;
	/* No generation: it failed before it had read the login. */
	if (r->generation && profile_open(p, &rec, NULL) == 0 && !refresh_still_there(r, &rec)) {
		refresh_dropped(r);
		return;
	}
	if (lost && r->spent && desc_of(p)->rotates) {
		p->lost_answer = true;
	} else if (r->kind == INTENT_REPEAT) {
		/* Only a refusal says what became of the earlier request; else that is open as before. */
		if (why.code == PA_REFRESH_DEAD)
			pa_fail(&r->why, why.code, why.errnum,
				"the answer of an earlier refresh was lost; the repeat was "
				"refused: %s",
				why.detail);
	} else {
		p->lost_answer = false;
		journal_answered(r);
	}
	if (why.code == PA_REFRESH_DEAD) {
		if (!r->why.code)
			r->why = why;
		r->why.http_status = why.http_status;
		refresh_dead(r);
		return;
	}
	profile_error(p, &why);
	refresh_back_off(p, retry_after_s);
	broker_event(p->b, p, "refresh_failed", &why);
	refresh_end(r, &why);
}

/* A file that has one of these one day is known to hold an old pair, once there is a newer. */
static int remember_token(const struct profile *p, struct record *r, const char *token, size_t len,
	struct pa_err *err)
{
	char proof[LINK_PROOF_LEN + 1];
	struct link l;
	int rc;

	if (!len || !link_at(r, 0, &l))
		return 0;
	if ((rc = vault_proof(p->b->vault, token, len, proof, err)) < 0)
		return rc;
	return link_remember(r, proof, err);
}

static int remember_both(
	const struct refresh *f, const struct profile *p, struct record *r, struct pa_err *err)
{
	const char *now = json_str(record_lane(r, LANE_OAUTH), "refresh"), *spent = "";
	size_t len = 0;
	int rc;

	if (f->spent)
		secret_read(f->spent, &spent, &len);
	if ((rc = remember_token(p, r, spent, len, err)) < 0)
		return rc;
	return remember_token(p, r, now ? now : "", now ? strlen(now) : 0, err);
}

static int apply_answer(struct commit *c, struct record *r, struct pa_err *err)
{
	struct refresh *f = c->arg;
	cJSON *entry = c->entry;
	int rc;

	if (!refresh_still_there(f, r)) {
		f->dropped = true;
		return -ECANCELED;
	}
	c->entry = NULL;
	if ((rc = record_replace_lane(r, LANE_OAUTH, entry, err)) < 0)
		return rc;
	if ((rc = record_set_changed_ms(r, now_wall(c->p->b), err)) < 0 ||
		(rc = remember_both(f, c->p, r, err)) < 0)
		return rc;
	link_drop_kept(r);
	return record_set_machine(r, vault_machine_id(c->p->b->vault), err);
}

static void answer_saved(struct commit *c, int r, const struct pa_err *err)
{
	struct refresh *f = c->arg;
	struct profile *p = c->p;
	struct pa_err why = err ? *err : (struct pa_err){ 0 };

	if (f->dropped) {
		refresh_dropped(f);
		return;
	}
	if (!c->published) {
		/* No memory for it, or too big to be stored: as good as lost. */
		p->lost_answer = true;
		profile_error(p, &why);
		refresh_back_off(p, -1);
		broker_event(p->b, p, "refresh_failed", &why);
		refresh_end(f, &why);
		return;
	}
	p->lost_answer = false;
	broker_event(p->b, p, "refreshed", NULL);
	if (p->facts.expires_ms && p->facts.expires_ms <= now_wall(p->b)) {
		/* Dead on arrival: readers that insist must not make a storm of requests. */
		pa_fail(&why, PA_EXPIRED, 0, "%s: the token came expired", p->name);
		profile_error(p, &why);
		refresh_back_off(p, -1);
		refresh_end(f, &why);
		return;
	}
	p->failures = 0;
	p->retry_boot_ms = 0;
	if (r >= 0)
		p->last_error = (struct pa_err){ 0 };
	refresh_end(f, NULL);
}

static void exchange_done(void *arg, int rc, const struct http_answer *a, const struct pa_err *err)
{
	struct refresh *r = arg;
	struct profile *p = r->p;
	RECORD_AUTO struct record rec = { 0 };
	struct pa_err why = { 0 };
	cJSON *entry = NULL;
	struct commit *c;

	r->exchange = NULL;
	if (rc < 0) {
		refresh_failed(r, may_be_spent(a), a->retry_after_s, err);
		return;
	}
	if ((rc = profile_open(p, &rec, &why)) < 0) {
		refresh_failed(r, may_be_spent(a), a->retry_after_s, &why);
		return;
	}
	if (!refresh_still_there(r, &rec)) {
		refresh_dropped(r);
		return;
	}
	rc = token_read_answer(desc_of(p), p->provider->envelope, record_lane(&rec, LANE_OAUTH),
		a->status, a->body, a->body_len, r->sent_wall_ms, &entry, &why);
	if (rc < 0) {
		/* Some say no with a 200; then nothing was taken. */
		bool refused = a->status / 100 == 2 && why.code != PA_NET_ANSWER &&
			       why.code != PA_NO_MEMORY;

		refresh_failed(r, may_be_spent(a) && !refused, a->retry_after_s, &why);
		return;
	}
	c = commit_new(p, COMMIT_KEEP, apply_answer, NULL, NULL);
	if (!c || json_set_int(entry, "refreshed", r->sent_wall_ms, &why) < 0) {
		free(c);
		cJSON_Delete(entry);
		pa_fail(&why, PA_NO_MEMORY, 0, "%s", p->name);
		refresh_failed(r, true, -1, &why);
		return;
	}
	r->phase = REFRESH_SAVE;
	p->b->count.refreshes++;
	c->entry = entry;
	c->bump = true;
	c->arg = r;
	c->done = answer_saved;
	/* The file need not wait for our disk: the more places have the new pair, the better. */
	if (r->files) {
		linked_write(r->files, entry);
		r->files = NULL;
	}
	commit_start(c);
}

/* The request is built from the truth as it is now; -ECANCELED: a login or logout came meanwhile. */
static int refresh_send(struct refresh *r, struct pa_err *err)
{
	struct profile *p = r->p;
	const struct config *config = p->b->config;
	struct token_request_parts parts = { 0 };
	RECORD_AUTO struct record rec = { 0 };
	int rc;

	if ((rc = profile_open(p, &rec, err)) < 0)
		return rc;
	if (!refresh_still_there(r, &rec))
		return -ECANCELED;
	rc = token_refresh_request(desc_of(p), record_lane(&rec, LANE_OAUTH), &parts, err);
	if (rc < 0)
		return rc;
	struct http_request rq = {
		.url = parts.url,
		.get = parts.get,
		.body = parts.body,
		.content_type = parts.content_type,
		.bearer = parts.bearer,
		.headers = (const char *const *)parts.headers,
		.connect_timeout_ms = config->connect_timeout_s * 1000,
		.total_timeout_ms = config->exchange_deadline_s * 1000,
	};

	r->phase = REFRESH_EXCHANGE;
	r->sent_wall_ms = now_wall(p->b);
	if (r->kind == INTENT_REPEAT)
		p->b->count.repeats++;
	rc = http_start(p->b->http, &rq, exchange_done, r, &r->exchange, err);
	token_request_done(&parts);
	return rc;
}

static void refresh_send_or_fail(struct refresh *r)
{
	struct pa_err err = { 0 };
	int rc;

	if (r->p->b->stopping) {
		if (r->kind != INTENT_REPEAT)
			journal_answered(r);
		refresh_end(r, NULL);
		return;
	}
	rc = refresh_send(r, &err);
	if (rc == -ECANCELED)
		refresh_dropped(r);
	else if (rc < 0)
		refresh_failed(r, false, -1, &err);
}

static void intent_done(struct intent_job *j, int rc, const struct pa_err *err)
{
	struct refresh *r = j->arg;

	if (rc < 0) {
		/* Sending without the intent could spend the token twice after a crash. */
		r->intent.intent.kind = 0;
		refresh_failed(r, false, -1, err);
		return;
	}
	refresh_send_or_fail(r);
}

/* Notes the token that is about to be spent. */
static int intent_prepare(struct refresh *r, struct pa_err *err)
{
	struct profile *p = r->p;
	RECORD_AUTO struct record rec = { 0 };
	struct intent intent;
	const char *refresh;
	int rc;

	if ((rc = profile_open(p, &rec, err)) < 0)
		return rc;
	r->generation = record_generation(&rec);
	refresh = json_str(record_lane(&rec, LANE_OAUTH), "refresh");
	if (!refresh || !*refresh)
		return 0;
	if ((rc = secret_new(refresh, strlen(refresh), &r->spent, err)) < 0)
		return rc;
	if (!desc_of(p)->rotates)
		return 0;
	r->kind = p->lost_answer ? INTENT_REPEAT : INTENT_REFRESH;
	rc = vault_intent(p->b->vault, p->name, p->facts.generation, refresh, strlen(refresh),
		now_wall(p->b), r->kind, &intent, err);
	if (rc < 0)
		return rc;
	return intent_job_init(&r->intent, p->b->vault, &intent);
}

static void refresh_intend(struct refresh *r)
{
	struct pa_err err = { 0 };

	if (intent_prepare(r, &err) < 0) {
		r->intent.intent.kind = 0;
		refresh_failed(r, false, -1, &err);
		return;
	}
	if (!r->intent.intent.kind) {
		refresh_send_or_fail(r);
		return;
	}
	r->phase = REFRESH_JOURNAL;
	r->intent.done = intent_done;
	r->intent.arg = r;
	writer_add(r->p->b->writer, &r->intent.job);
}

/* The truth is as new as the files, or they cannot be had. */
static void files_opened(void *arg, bool torn, const struct pa_err *err)
{
	struct refresh *r = arg;
	struct profile *p = r->p;
	struct pa_err why;
	bool alive = p->facts.value_len &&
		     (!p->facts.expires_ms || now_wall(p->b) < p->facts.expires_ms);

	if (err) {
		linked_close(r->files);
		r->files = NULL;
	}
	/*
	 * Another program may be rotating the login this moment, or have rotated it where we cannot see it:
	 * spending our token then could end the login for both. While there is a live token nothing presses;
	 * once it is dead the login is as good as lost without a try, unless somebody is at it right now.
	 */
	if (err && (alive || err->code == PA_FILE_LOCKED)) {
		refresh_failed(r, false, -1, err);
	} else if (!err && torn && alive && !p->failures) {
		pa_fail(&why, PA_FILE_UNUSABLE, 0, "%s: a linked file is not whole", p->name);
		refresh_failed(r, false, -1, &why);
	} else if (!p->facts.can_refresh || p->facts.lane != LANE_OAUTH) {
		refresh_dropped(r); /* logged out there */
	} else if (p->b->stopping) {
		refresh_end(r, NULL);
	} else {
		refresh_intend(r);
	}
}

void refresh_start(struct profile *p)
{
	struct pa_err err = { 0 };
	struct refresh *r;

	if (p->refresh || !refresh_allowed(p, NULL))
		return;
	if (!(r = calloc(1, sizeof(*r))))
		return;
	r->p = p;
	r->kind = p->lost_answer ? INTENT_REPEAT : INTENT_REFRESH;
	p->refresh = r;
	p->b->busy++;
	if (!p->b->legacy || !p->facts.links) {
		refresh_intend(r);
		return;
	}
	r->phase = REFRESH_FILES;
	if (linked_open(p, files_opened, r, &r->files, &err) < 0)
		files_opened(r, false, &err);
}

void refresh_abandon(struct profile *p)
{
	struct refresh *r = p->refresh;

	/* The intent stays in the journal: the next server takes the answer for lost. */
	if (!r || (r->phase != REFRESH_FILES && (r->phase != REFRESH_EXCHANGE || !r->exchange)))
		return;
	if (r->exchange)
		http_abort(r->exchange);
	r->exchange = NULL;
	p->refresh = NULL;
	p->b->busy--;
	refresh_free(r);
}
