/* Writing: credentials that come in by write(2), forgetting, and the small settings. */
#include <stdlib.h>

#include "broker_i.h"
#include "link.h"

struct broker_input {
	struct broker_input *next; /* p->inputs */
	struct profile *p;
	enum lane node_lane; /* of the node that was opened */
	enum lane lane;      /* where the value goes; an `oauth` entry may be an api_key */
	char *text;          /* all that this open has sent; wiping memory */
	size_t len, room;
	bool restart;      /* what is written next starts anew */
	bool incomplete;   /* an entry whose end has not come */
	bool acknowledged; /* a value is durable as pending and not yet published */
	bool released;
	/* Of an open that an earlier process had (broker_input_resume), until it writes again: */
	bool lost;            /* what it had sent is not known */
	size_t rest;          /* bytes behind text + len that a write brings which comes again */
	uint64_t unanswered;  /* all it had sent, when the last write may come again; else 0 */
	unsigned busy;        /* commits under way */
	struct pa_err failed; /* code set: publishes nothing any more */
};

/* What a commit on behalf of an input needs when it ends. */
struct input_commit {
	struct broker_input *in;
	broker_done_fn done;
	void *arg;
	bool writes;       /* makes a pending value durable */
	bool publishes;    /* makes it the one that is served */
	bool after;        /* a value of this open was durable before */
	struct pa_err err; /* the failure that is being cleaned up after */
};

int broker_input_new(struct broker *b, struct profile *p, enum lane lane, struct broker_input **ret,
	struct pa_err *err)
{
	struct broker_input *in = calloc(1, sizeof(*in));

	if (!in)
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", p->name);
	(void)b;
	in->p = p;
	in->node_lane = in->lane = lane;
	in->next = p->inputs;
	p->inputs = in;
	*ret = in;
	return 0;
}

static void input_release(struct broker_input *in)
{
	struct profile *p = in->p;
	struct broker_input **link = &p->inputs;

	if (!in->released || in->busy)
		return;
	while (*link != in)
		link = &(*link)->next;
	*link = in->next;
	wipe_free(in->text);
	free(in);
	profile_release(p);
}

static int input_entry(struct broker_input *in, cJSON **ret, struct pa_err *err)
{
	int64_t now = now_wall(in->p->b), refreshed;
	cJSON *entry = NULL;
	int rc;

	in->incomplete = false;
	rc = record_entry_from_text(
		in->node_lane, in->text, in->len, now, &in->lane, &entry, &in->incomplete, err);
	if (rc < 0)
		return rc;
	if (in->lane == LANE_OAUTH) {
		rc = token_entry_is_valid(entry, err) ? 0 : -err->errnum;
		/* Without it the token's life is unknown and the margin would be the long one. */
		if (rc == 0 && (!json_int(entry, "refreshed", &refreshed) || refreshed > now))
			rc = json_set_int(entry, "refreshed", now, err);
		if (rc < 0) {
			cJSON_Delete(entry);
			return rc;
		}
	}
	*ret = entry;
	return 0;
}

static int input_append(struct broker_input *in, const char *bytes, size_t len, struct pa_err *err)
{
	size_t max = in->node_lane == LANE_API_KEY ? RECORD_KEY_MAX + 2 : RECORD_OAUTH_MAX;

	if (in->restart) {
		secret_wipe(in->text, in->len);
		in->len = 0;
		in->restart = false;
	}
	if (len > max || in->len + len > max)
		return pa_fail(err, PA_TOO_BIG, 0, "the limit is %d bytes",
			in->node_lane == LANE_API_KEY ? RECORD_KEY_MAX : RECORD_OAUTH_MAX);
	if (in->len + len + 1 > in->room) {
		size_t room = in->len + len + 256;
		char *text = wipe_realloc(in->text, room);

		if (!text)
			return pa_fail(err, PA_NO_MEMORY, 0, "%s", in->p->name);
		in->text = text;
		in->room = room;
	}
	memcpy(in->text + in->len, bytes, len);
	in->len += len;
	in->text[in->len] = '\0';
	return 0;
}

static void input_fail(struct broker_input *in, bool durable, const struct pa_err *err,
	broker_done_fn done, void *arg);

static void input_commit_done(struct commit *c, int r, const struct pa_err *err)
{
	struct input_commit *ic = c->arg;
	struct broker_input *in = ic->in;

	if (ic->err.code) {
		/* The clean-up after a bad write; where the disk refuses it the next save does it. */
		ic->done(ic->arg, -ic->err.errnum, &ic->err);
	} else if (r < 0 && ic->writes) {
		/* A full disk fails before the record is replaced; after other failures it may be. */
		input_fail(in, ic->after || err->code != PA_STORE_FULL, err, ic->done, ic->arg);
	} else {
		if (ic->publishes && c->published)
			broker_event(c->p->b, c->p, in->lane == LANE_OAUTH ? "login" : "key_stored",
				NULL);
		ic->done(ic->arg, r, err);
	}
	free(ic);
	in->busy--;
	input_release(in);
}

static int apply_pending(struct commit *c, struct record *r, struct pa_err *err);
static int apply_publish(struct commit *c, struct record *r, struct pa_err *err);

/* Starts a commit for in; without memory done is called with the error. */
static void input_commit(struct broker_input *in, enum commit_kind kind,
	int (*apply)(struct commit *c, struct record *r, struct pa_err *err), bool bump,
	const struct pa_err *cause, broker_done_fn done, void *arg)
{
	struct commit *c = commit_new(in->p, kind, apply, NULL, NULL);
	struct input_commit *ic = calloc(1, sizeof(*ic));
	struct pa_err err = { 0 };

	if (!c || !ic) {
		free(c);
		free(ic);
		pa_fail(&err, PA_NO_MEMORY, 0, "%s", in->p->name);
		in->failed = err;
		done(arg, -err.errnum, &err);
		return;
	}
	*ic = (struct input_commit){ .in = in, .done = done, .arg = arg };
	ic->writes = apply == apply_pending;
	ic->publishes = apply == apply_publish;
	ic->after = in->acknowledged;
	if (cause)
		ic->err = *cause;
	c->arg = ic;
	c->done = input_commit_done;
	c->bump = bump;
	c->replaces = true;
	in->busy++;
	commit_start(c);
}

static int apply_pending(struct commit *c, struct record *r, struct pa_err *err)
{
	struct broker_input *in = ((struct input_commit *)c->arg)->in;
	cJSON *entry;
	int rc;

	if (in->failed.code)
		return *err = in->failed, -err->errnum;
	if ((rc = input_entry(in, &entry, err)) < 0)
		return rc;
	rc = record_set_pending(r, in->lane, entry, vault_machine_id(c->p->b->vault), err);
	if (rc < 0)
		return rc;
	in->acknowledged = true;
	return 0;
}

/* Takes this open's value back; what another open has had acknowledged stays. */
static int apply_unpend(struct commit *c, struct record *r, struct pa_err *err)
{
	struct broker_input *in = ((struct input_commit *)c->arg)->in;
	cJSON *entry;

	record_drop_pending(r, in->lane);
	for (struct broker_input *other = in->p->inputs; other; other = other->next) {
		if (other == in || !other->acknowledged || other->failed.code ||
			other->lane != in->lane || input_entry(other, &entry, err) < 0)
			continue;
		return record_set_pending(
			r, other->lane, entry, vault_machine_id(c->p->b->vault), err);
	}
	return 0;
}

/* durable: a value of this open may be on disk and has to go before the error is told. */
static void input_fail(struct broker_input *in, bool durable, const struct pa_err *err,
	broker_done_fn done, void *arg)
{
	in->failed = *err;
	in->acknowledged = false;
	if (durable)
		input_commit(in, COMMIT_KEEP, apply_unpend, false, err, done, arg);
	else
		done(arg, -err->errnum, err);
}

static bool is_line_end(const char *bytes, size_t len)
{
	return len == 0 || (len == 1 && (*bytes == '\n' || *bytes == '\r')) ||
	       (len == 2 && memcmp(bytes, "\r\n", 2) == 0);
}

void broker_input_resume(struct broker_input *in, uint64_t sent, bool unanswered)
{
	RECORD_AUTO struct record r = { 0 };
	const char *key;
	size_t len;

	if (sent == 0)
		return;
	in->lost = true;
	if (sent > RECORD_OAUTH_MAX)
		return;
	in->unanswered = unanswered ? sent : 0;
	if (in->node_lane != LANE_API_KEY || in->p->broken.code ||
		profile_open(in->p, &r, NULL) < 0 ||
		!(key = json_str(record_lane(&r, LANE_API_KEY), "key")))
		return;
	len = strlen(key);
	if (len == 0 || sent > len + 2 || !(in->text = wipe_malloc(len + 3)))
		return;
	in->room = len + 3;
	memcpy(in->text, key, len);
	/* One byte more is either half of a line end. A CR lets the other half follow, as it may have to. */
	memcpy(in->text + len, "\r\n", 3);
	in->len = (size_t)sent;
	in->rest = in->len < len ? len - in->len : 0;
	in->lost = false;
}

uint64_t broker_input_sent(const struct broker_input *in)
{
	if (in->failed.code || in->lost)
		return BROKER_INPUT_LOST;
	return in->restart ? 0 : in->len;
}

/* Whether these bytes are the end of what was sent. Its very last may be written as CR, see above. */
static bool input_ends_with(const struct broker_input *in, const char *bytes, size_t len)
{
	const char *end = in->text + in->len;

	return len > 0 && len <= in->len && memcmp(end - len, bytes, len - 1) == 0 &&
	       (end[-1] == bytes[len - 1] || (end[-1] == '\r' && bytes[len - 1] == '\n'));
}

/* The first write after a restart: may what was sent before be continued with it? 1: it is part of that. */
static int input_continue(
	struct broker_input *in, const char *bytes, size_t len, struct pa_err *err)
{
	uint64_t unanswered = in->unanswered;
	size_t rest = in->rest;

	in->unanswered = in->rest = 0;
	if (unanswered && !in->lost && !rest && input_ends_with(in, bytes, len)) {
		in->text[in->len - 1] = bytes[len - 1];
		return 1;
	}
	if (unanswered && len == unanswered) {
		/* All that was ever sent. */
		in->restart = true;
		in->lost = false;
		return 0;
	}
	if (unanswered)
		in->lost = true;
	/* More is stored than was acknowledged: by this write, or by somebody else. */
	if (rest && (len < rest || memcmp(in->text + in->len, bytes, rest) != 0 ||
			    !is_line_end(bytes + rest, len - rest)))
		in->lost = true;
	if (in->lost)
		return pa_fail(
			err, PA_STORE_IO, EIO, "%s: written to across a restart", in->p->name);
	return 0;
}

void broker_input_write(
	struct broker_input *in, const char *bytes, size_t len, broker_done_fn done, void *arg)
{
	struct pa_err err = { 0 };
	cJSON *entry = NULL;
	int rc = 0;

	if (in->failed.code) {
		done(arg, -in->failed.errnum, &in->failed);
		return;
	}
	if (in->lost || in->rest || in->unanswered)
		rc = input_continue(in, bytes, len, &err);
	if (rc > 0) {
		done(arg, 0, NULL);
		return;
	}
	if (rc < 0) {
		input_fail(in, false, &err, done, arg);
		return;
	}
	if (input_append(in, bytes, len, &err) < 0) {
		input_fail(in, in->acknowledged, &err, done, arg);
		return;
	}
	if (input_entry(in, &entry, &err) < 0) {
		if (in->incomplete)
			done(arg, 0, NULL);
		else
			input_fail(in, in->acknowledged, &err, done, arg);
		return;
	}
	cJSON_Delete(entry);
	input_commit(in, COMMIT_SAVE, apply_pending, false, NULL, done, arg);
}

void profile_clean_slate(struct profile *p)
{
	p->rejected = p->lost_answer = false;
	p->failures = 0;
	p->retry_boot_ms = 0;
	p->last_error = (struct pa_err){ 0 };
}

static int apply_publish(struct commit *c, struct record *r, struct pa_err *err)
{
	struct broker_input *in = ((struct input_commit *)c->arg)->in;
	struct broker *b = c->p->b;
	cJSON *entry;
	int rc;

	if (in->failed.code)
		return *err = in->failed, -err->errnum;
	if (!in->acknowledged)
		return -ECANCELED;
	if ((rc = input_entry(in, &entry, err)) < 0)
		return rc;
	if (in->lane == LANE_OAUTH &&
		(rc = record_set_machine(r, vault_machine_id(b->vault), err)) < 0) {
		cJSON_Delete(entry);
		return rc;
	}
	if ((rc = record_set_lane(r, in->lane, entry, now_wall(b), err)) < 0)
		return rc;
	record_drop_pending(r, in->lane);
	in->acknowledged = false;
	profile_clean_slate(c->p);
	return 0;
}

void broker_input_flush(struct broker_input *in, broker_done_fn done, void *arg)
{
	struct pa_err err = { 0 };

	if (in->failed.code) {
		done(arg, -in->failed.errnum, &in->failed);
	} else if (in->acknowledged || in->busy) {
		input_commit(in, COMMIT_PUBLISH, apply_publish, true, NULL, done, arg);
	} else if (in->incomplete) {
		pa_fail(&err, PA_BAD_INPUT, 0, "the JSON text has no end");
		done(arg, -err.errnum, &err);
	} else {
		done(arg, 0, NULL);
	}
}

void broker_input_reset(struct broker_input *in)
{
	/* What is durable stays as it is: ftruncate alone changes nothing. */
	in->restart = true;
	in->lost = false;
	in->unanswered = in->rest = 0;
}

static void nobody_waits(void *arg, int r, const struct pa_err *err)
{
	(void)arg;
	(void)r;
	(void)err;
}

void broker_input_free(struct broker_input *in)
{
	in->released = true;
	/* A write may be under way still: its reader was interrupted, its value is as good as any. */
	in->busy++; /* until this function is through with it */
	if ((in->acknowledged || in->busy > 1) && !in->failed.code)
		broker_input_flush(in, nobody_waits, NULL);
	in->busy--;
	input_release(in);
}

/* ---- forgetting and settings ---- */

/* The lane and what was to become it. Files that it is linked with stay as they are, and so must remember
 * that this credential is not wanted any more. */
static int forget_lane(struct commit *c, struct record *r, enum lane lane, struct pa_err *err)
{
	const cJSON *entry = record_lane(r, lane);
	const char *secret = json_str(entry, lane == LANE_OAUTH ? "refresh" : "key");
	char proof[LINK_PROOF_LEN + 1] = "";
	int rc;

	if (secret && *secret &&
		(rc = vault_proof(c->p->b->vault, secret, strlen(secret), proof, err)) < 0)
		return rc;
	if ((rc = link_off(r, lane, proof, err)) < 0)
		return rc;
	record_drop_lane(r, lane);
	record_drop_pending(r, lane);
	return 0;
}

static int apply_forget(struct commit *c, struct record *r, struct pa_err *err)
{
	int rc = 0;

	if (c->lane != LANE_API_KEY)
		rc = forget_lane(c, r, LANE_OAUTH, err);
	if (rc == 0 && c->lane != LANE_OAUTH)
		rc = forget_lane(c, r, LANE_API_KEY, err);
	return rc < 0 ? rc : record_set_changed_ms(r, now_wall(c->p->b), err);
}

static void forget_done(struct commit *c, int r, const struct pa_err *err)
{
	(void)err;
	if (r < 0)
		return;
	if (!c->p->facts.has_oauth)
		profile_clean_slate(c->p);
	broker_event(c->p->b, c->p, "logout", NULL);
}

void broker_forget(
	struct broker *b, struct profile *p, enum lane lane, broker_done_fn done, void *arg)
{
	struct pa_err err = { 0 };
	struct commit *c;
	bool there = lane == LANE_API_KEY ? p->facts.has_api_key
		     : lane == LANE_OAUTH ? p->facts.has_oauth
					  : p->facts.stored;

	(void)b;
	if (!there && !p->commits && !p->broken.code) {
		done(arg, 0, NULL);
		return;
	}
	c = commit_new(p, COMMIT_SAVE, apply_forget, done, arg);
	if (!c) {
		done(arg, pa_fail(&err, PA_NO_MEMORY, 0, "%s", p->name), &err);
		return;
	}
	c->lane = lane;
	c->bump = true;
	c->forgets = lane == LANE_NONE;
	c->replaces = true;
	c->done = forget_done;
	commit_start(c);
}

static size_t line_len(const char *text, size_t len)
{
	while (len && strchr("\r\n", text[len - 1]))
		len--;
	return len;
}

static int apply_mode(struct commit *c, struct record *r, struct pa_err *err)
{
	return record_set_mode(r, c->mode, err);
}

void broker_set_mode(struct broker *b, struct profile *p, const char *text, size_t len,
	broker_done_fn done, void *arg)
{
	struct pa_err err = { 0 };
	struct commit *c;
	enum mode mode;

	(void)b;
	if (!mode_parse(text, line_len(text, len), &mode)) {
		pa_fail(&err, PA_BAD_INPUT, 0, "mode is auto, oauth, api_key or env");
		done(arg, -err.errnum, &err);
		return;
	}
	if (!(c = commit_new(p, COMMIT_SAVE, apply_mode, done, arg))) {
		done(arg, pa_fail(&err, PA_NO_MEMORY, 0, "%s", p->name), &err);
		return;
	}
	c->mode = mode;
	c->bump = true;
	commit_start(c);
}

static int apply_base_url(struct commit *c, struct record *r, struct pa_err *err)
{
	if (c->p->facts.stored)
		return pa_fail(err, PA_BUSY, 0, "%s", c->p->name);
	return record_set_base_url(r, c->text, err);
}

void broker_set_base_url(struct broker *b, struct profile *p, const char *text, size_t len,
	broker_done_fn done, void *arg)
{
	struct pa_err err = { 0 };
	struct commit *c = NULL;
	char *url = NULL;

	(void)b;
	len = line_len(text, len);
	if (p->provider->endpoint)
		pa_fail(&err, PA_UNSUPPORTED, EPERM, "%s has a fixed endpoint", p->name);
	else if (p->facts.stored)
		pa_fail(&err, PA_BUSY, 0, "%s", p->name);
	else if (memchr(text, '\0', len) || !(url = wipe_calloc(1, len + 1)))
		pa_fail(&err, PA_BAD_INPUT, 0, "not an address");
	else if (memcpy(url, text, len), !endpoint_is_allowed(url))
		pa_fail(&err, PA_BAD_INPUT, 0, "an https address is expected");
	else if (!(c = commit_new(p, COMMIT_SAVE, apply_base_url, done, arg)))
		pa_fail(&err, PA_NO_MEMORY, 0, "%s", p->name);
	if (!c) {
		wipe_free(url);
		done(arg, -err.errnum, &err);
		return;
	}
	c->text = url;
	commit_start(c);
}

int broker_report_rejected(
	struct broker *b, struct profile *p, const char *text, size_t len, struct pa_err *err)
{
	SECRET_AUTO struct secret *token = NULL;
	uint64_t generation = 0;
	bool number = true, current;
	int rc;

	len = line_len(text, len);
	if (len == 0)
		return pa_fail(err, PA_BAD_INPUT, 0, "a token or a generation is expected");
	if (p->facts.lane != LANE_OAUTH)
		return profile_serving(p) != LANE_NONE
			       ? pa_fail(err, PA_UNSUPPORTED, 0, "%s: a key cannot be refreshed",
					 p->name)
			       : pa_fail(err, PA_NO_KEY, 0, "%s", p->name);
	for (size_t i = 0; i < len && number; i++) {
		number = text[i] >= '0' && text[i] <= '9' && len <= 18;
		generation = generation * 10 + (uint64_t)(text[i] - '0');
	}
	if (number) {
		if (generation > p->facts.generation)
			return pa_fail(err, PA_BAD_INPUT, 0, "generation %llu is still to come",
				(unsigned long long)generation);
		current = generation == p->facts.generation;
	} else {
		if (p->facts.value_len && (rc = profile_value(p, BROKER_KEY, &token, err)) < 0)
			return rc;
		/* Unknown text may be any older token, or this one with something around it. */
		current = (token && secret_eq_bytes(token, text, len)) ||
			  now_wall(b) - p->facts.refreshed_ms > REPORT_AGE_MS;
	}
	if (!current || p->refresh || p->rejected)
		return 0;
	if (!refresh_allowed(p, err))
		return -err->errnum;
	p->rejected = true;
	broker_event(b, p, "rejected", NULL);
	refresh_start(p);
	return 0;
}
