/*
 * Changes of a profile's record, one at a time per profile and in order, so that each is made to the
 * newest record: what rotation, writes and logout share.
 */
#include <stdlib.h>

#include "broker_i.h"

static void commit_run(struct commit *c);

struct commit *commit_new(struct profile *p, enum commit_kind kind,
	int (*apply)(struct commit *c, struct record *r, struct pa_err *err), broker_done_fn done,
	void *arg)
{
	struct commit *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->p = p;
	c->kind = kind;
	c->apply = apply;
	c->user_done = done;
	c->user_arg = arg;
	return c;
}

static void commit_free(struct commit *c)
{
	facts_done(&c->facts);
	sealed_free(&c->sealed);
	cJSON_Delete(c->entry);
	wipe_free(c->text);
	free(c);
}

static void commit_tell(struct commit *c, int r, const struct pa_err *err)
{
	broker_done_fn done = c->user_done;

	c->user_done = NULL;
	if (c->done)
		c->done(c, r, err);
	c->done = NULL;
	if (done)
		done(c->user_arg, r, err);
}

static void commit_finish(struct commit *c, int r, const struct pa_err *err)
{
	struct profile *p = c->p;

	commit_tell(c, r, err);
	p->commits = c->next;
	if (!p->commits)
		p->commits_tail = &p->commits;
	p->b->busy--;
	commit_free(c);
	if (p->commits) {
		commit_run(p->commits);
		return;
	}
	profile_step(p);
	profile_release(p);
}

void commit_start(struct commit *c)
{
	struct profile *p = c->p;

	c->next = NULL;
	*p->commits_tail = c;
	p->commits_tail = &c->next;
	p->b->busy++;
	if (p->commits == c)
		commit_run(c);
}

static void commit_publish(struct commit *c, struct sealed *s)
{
	struct profile *p = c->p;

	c->published = true;
	if (c->deletes) {
		/* Nobody can reach it by name or id any more; the kernel's references are void, and what
		 * a refresh would bring is nobody's. */
		refresh_abandon(p);
		profile_unindex(p);
		profile_forget_values(p);
		sealed_free(&p->sealed);
		p->listed = false;
		p->refs = 0;
		return;
	}
	profile_publish(p, s, &c->facts);
}

static void save_done(struct commit *c, int r, const struct pa_err *err)
{
	struct profile *p = c->p;
	struct broker *b = p->b;

	if (r >= 0) {
		b->count.saves++;
		if (p->unsaved)
			broker_event(b, p, "saved", NULL);
		p->dirty = p->unsaved = false;
		/* The disk works again: what it refused is no longer the last word. */
		if (p->last_error.code == PA_STORE_FULL || p->last_error.code == PA_STORE_IO) {
			p->last_error = p->facts.dead ? p->facts.dead_why : (struct pa_err){ 0 };
			p->last_error_ms = p->facts.dead_ms;
		}
		return;
	}
	b->count.saves_failed++;
	profile_error(p, err);
	if (!c->published)
		return;
	p->dirty = true;
	if (c->kind == COMMIT_KEEP && c->bump && !p->unsaved) {
		p->unsaved = true;
		broker_event(b, p, "unsaved", err);
	}
	p->save_boot_ms = now_boot(b) + SAVE_RETRY_MS;
}

static void job_done(struct vault_job *j, int r, const struct pa_err *err)
{
	struct commit *c = j->arg;
	struct profile *p = c->p;
	struct sealed s = j->sealed;

	j->sealed = (struct sealed){ 0 };
	if (r < 0 && c->forgets && !c->deleting && err->code == PA_STORE_FULL) {
		struct pa_err again = { 0 };

		/* There is no room for a record that says "logged out": no record says it too. */
		sealed_free(&s);
		c->deleting = true;
		r = vault_job_delete(j, p->b->vault, p->name, &again);
		if (r >= 0) {
			j->done = job_done;
			j->arg = c;
			writer_add(p->b->writer, &j->job);
			return;
		}
		commit_finish(c, r, &again);
		return;
	}
	if (!c->published && (r >= 0 || c->kind == COMMIT_KEEP)) {
		bool listed = p->listed;

		commit_publish(c, &s);
		/* A custom provider stays in the list though its record had to go. */
		if (c->deleting && !c->deletes)
			p->listed = listed && !p->permanent;
	}
	sealed_free(&s);
	save_done(c, r, err);
	commit_finish(c, r, err);
}

static int seal_commit(struct commit *c, struct pa_err *err)
{
	struct profile *p = c->p;
	RECORD_AUTO struct record r = { 0 };
	WIPE_AUTO char *text = NULL;
	uint64_t generation;
	size_t len;
	int rc;

	if ((rc = profile_open(p, &r, err)) < 0)
		return rc;
	if (c->apply && (rc = c->apply(c, &r, err)) < 0)
		return rc;
	/* The newest generation may be known to memory only, when the record had to be deleted. */
	generation = p->facts.generation + c->bump;
	if (generation != record_generation(&r) &&
		(rc = record_set_generation(&r, generation, err)) < 0)
		return rc;
	if (!p->permanent && (rc = record_set_incarnation(&r, p->facts.incarnation, err)) < 0)
		return rc;
	if ((rc = facts_of(p, &r, &c->facts, err)) < 0)
		return rc;
	if ((rc = record_format(&r, &text, &len, err)) < 0)
		return rc;
	return vault_seal(p->b->vault, p->name, record_generation(&r), text, len, &c->sealed, err);
}

static int sealed_copy(const struct sealed *s, struct sealed *ret, struct pa_err *err)
{
	uint8_t *bytes = malloc(s->len);

	if (!bytes)
		return pa_fail(err, PA_NO_MEMORY, 0, "record");
	memcpy(bytes, s->bytes, s->len);
	*ret = (struct sealed){ .bytes = bytes, .len = s->len };
	return 0;
}

static int commit_prepare(struct commit *c, struct pa_err *err)
{
	struct profile *p = c->p;
	struct sealed copy;
	int rc;

	/* A damaged record gives way to a new credential or to a logout, to nothing less. */
	if (p->broken.code && !c->replaces)
		return pa_fail(err, p->broken.code, p->broken.errnum, "%s", p->broken.detail);
	if (c->deletes) {
		c->deleting = true;
		return vault_job_delete(&c->job, p->b->vault, p->name, err);
	}
	if ((rc = seal_commit(c, err)) < 0)
		return rc;
	if (c->kind == COMMIT_PUBLISH) {
		if ((rc = sealed_copy(&c->sealed, &copy, err)) < 0)
			return rc;
		commit_publish(c, &copy);
	}
	return vault_job_put(&c->job, p->b->vault, p->name, &c->sealed, err);
}

static void commit_run(struct commit *c)
{
	struct pa_err err = { 0 };
	int rc = commit_prepare(c, &err);

	if (rc < 0) {
		if (c->published)
			save_done(c, rc, &err);
		commit_finish(c, rc == -ECANCELED ? 0 : rc, &err);
		return;
	}
	c->job.done = job_done;
	c->job.arg = c;
	writer_add(c->p->b->writer, &c->job.job);
	if (c->published) {
		commit_tell(c, 0, NULL);
		profile_step(c->p);
	}
}

void profile_save_again(struct profile *p)
{
	struct commit *c;

	if (p->commits)
		return;
	p->save_boot_ms = now_boot(p->b) + SAVE_RETRY_MS;
	c = commit_new(p, COMMIT_KEEP, NULL, NULL, NULL);
	if (c)
		commit_start(c);
}
