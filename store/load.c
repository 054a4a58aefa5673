/* Start: from the records on disk and the journal to profiles. */
#include <stdio.h>
#include <stdlib.h>

#include "broker_i.h"

struct loading {
	struct broker *b;
	const struct intent **intents; /* unanswered ones, by record name */
	size_t nintents;
	size_t broken;
	char (*broken_names)[SEAL_NAME_LEN + 1];
	struct pa_err broken_err;
	int rc;
	struct pa_err err;
};

static int intent_cmp(const void *a, const void *b)
{
	return strcmp(
		(*(const struct intent *const *)a)->name, (*(const struct intent *const *)b)->name);
}

static int sort_intents(struct loading *l, struct pa_err *err)
{
	size_t n;
	const struct intent *rows = vault_intents(l->b->vault, &n);

	l->intents = calloc(n ? n : 1, sizeof(*l->intents));
	if (!l->intents)
		return pa_fail(err, PA_NO_MEMORY, 0, "journal");
	for (size_t i = 0; i < n; i++) {
		if (rows[i].kind != INTENT_ANSWERED)
			l->intents[l->nintents++] = &rows[i];
	}
	qsort(l->intents, l->nintents, sizeof(*l->intents), intent_cmp);
	return 0;
}

/* Was a refresh of exactly this token sent, and its answer never stored? */
static bool answer_is_lost(struct loading *l, const char *name, const struct record *r)
{
	struct intent key, *k = &key, computed;
	const char *refresh = json_str(record_lane(r, LANE_OAUTH), "refresh");
	const struct intent **found;

	if (!refresh || !l->nintents)
		return false;
	memcpy(key.name, name, sizeof(key.name));
	found = bsearch(&k, l->intents, l->nintents, sizeof(*l->intents), intent_cmp);
	if (!found)
		return false;
	if (vault_intent(l->b->vault, record_profile(r), (*found)->generation, refresh,
		    strlen(refresh), 0, INTENT_REFRESH, &computed, NULL) < 0)
		return false;
	return !memcmp(computed.spent, (*found)->spent, sizeof(computed.spent));
}

static int load_record(struct loading *l, const char *name, struct sealed *s, struct pa_err *err)
{
	struct broker *b = l->b;
	RECORD_AUTO struct record r = { 0 };
	WIPE_AUTO char *text = NULL;
	char base[PROVIDER_ID_MAX + 1] = "";
	struct facts facts;
	struct profile *p;
	bool adopted = false;
	uint64_t generation;
	size_t len;
	int rc;

	if ((rc = vault_unseal(b->vault, s, &text, &len, &generation, err)) < 0)
		return rc;
	if ((rc = record_parse(text, len, NULL, &r, err)) < 0)
		return rc;
	/* A name that starts with a dot is no profile's; others than this one are a later version's. */
	if (!strcmp(record_profile(&r), MIGRATE_RECORD))
		return migrate_load(b, text, len, err);
	if (record_profile(&r)[0] == '.')
		return 0;
	len = strcspn(record_profile(&r), "@");
	if (len == 0 || len > PROVIDER_ID_MAX || !provider_id_is_valid(record_profile(&r), len))
		return pa_fail(err, PA_STORE_CORRUPT, 0, "a record without a profile name");
	memcpy(base, record_profile(&r), len);
	p = profile_by_name(b, record_profile(&r));
	/* A rekey that was cut short leaves a record under its old and its new name. */
	if (p && p->sealed.bytes && p->facts.generation >= generation)
		return 0;
	if (!p && (rc = profile_make(b, record_profile(&r),
			   provider_find(b->providers, base, strlen(base)), record_incarnation(&r),
			   &p, err)) < 0)
		return rc;
	if ((rc = record_adopt_pending(&r, now_wall(b), &adopted, err)) < 0)
		return rc;
	if (adopted) {
		WIPE_AUTO char *again = NULL;

		if ((rc = record_set_generation(&r, record_generation(&r) + 1, err)) < 0 ||
			(rc = record_format(&r, &again, &len, err)) < 0)
			return rc;
		sealed_free(s);
		if ((rc = vault_seal(
			     b->vault, p->name, record_generation(&r), again, len, s, err)) < 0)
			return rc;
		p->dirty = true;
	}
	if ((rc = facts_of(p, &r, &facts, err)) < 0)
		return rc;
	p->lost_answer = answer_is_lost(l, name, &r);
	profile_publish(p, s, &facts);
	if (p->facts.dead) {
		p->last_error = p->facts.dead_why;
		p->last_error_ms = p->facts.dead_ms;
	}
	return 0;
}

static void load_each(
	void *arg, const char *name, struct sealed *s, int r, const struct pa_err *err)
{
	struct loading *l = arg;
	struct pa_err why = err ? *err : (struct pa_err){ 0 };

	if (r >= 0)
		r = load_record(l, name, s, &why);
	if (r >= 0)
		return;
	if (r == -ENOMEM) {
		l->rc = r;
		l->err = why;
		return;
	}
	char(*names)[SEAL_NAME_LEN + 1] =
		reallocarray(l->broken_names, l->broken + 1, sizeof(*names));

	if (!names) {
		l->rc = pa_fail(&l->err, PA_NO_MEMORY, 0, "records");
		return;
	}
	l->broken_names = names;
	snprintf(names[l->broken++], sizeof(*names), "%s", name);
	l->broken_err = why;
}

static bool is_broken(const struct loading *l, const char *name)
{
	for (size_t k = 0; k < l->broken; k++) {
		if (!strcmp(l->broken_names[k], name))
			return true;
	}
	return false;
}

/* A damaged record does not say whose it is, but its file name does, for every name we can guess. */
static int blame_broken(struct loading *l, struct pa_err *err)
{
	struct broker *b = l->b;
	char name[SEAL_NAME_LEN + 1];

	if (!l->broken)
		return 0;
	for (size_t i = 0; i < b->by_name.n; i++) {
		struct profile *p = b->by_name.v[i];

		if (p->sealed.bytes || vault_name(b->vault, p->name, name, NULL) < 0)
			continue;
		if (is_broken(l, name)) {
			p->broken = l->broken_err;
			profile_error(p, &l->broken_err);
		}
	}
	b->count.broken_records = l->broken;
	if (vault_name(b->vault, MIGRATE_RECORD, name, NULL) == 0 && is_broken(l, name))
		return migrate_lost(b, err);
	return 0;
}

int profiles_load(struct broker *b, struct pa_err *err)
{
	struct loading l = { .b = b };
	int rc = 0;

	for (size_t i = 0; i < provider_count(b->providers) && rc == 0; i++) {
		const struct provider *provider = provider_at(b->providers, i);
		struct profile *p;

		rc = profile_make(b, provider->id, provider, 0, &p, err);
		if (rc == 0)
			p->permanent = true;
	}
	if (rc == 0)
		rc = sort_intents(&l, err);
	if (rc == 0)
		rc = vault_scan(b->vault, load_each, &l, err);
	if (rc == 0 && l.rc < 0) {
		rc = l.rc;
		*err = l.err;
	}
	if (rc == 0)
		rc = blame_broken(&l, err);
	free(l.intents);
	free(l.broken_names);
	return rc;
}
