/* The table of profiles: names, ids, loading, rendered values. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "broker_i.h"

/* ---- index: a sorted array of pointers; 10,000 profiles are 80 KB to move at worst ---- */

static int by_name_cmp(const struct profile *p, const void *key)
{
	return strcmp(p->name, key);
}

static int by_id_cmp(const struct profile *p, const void *key)
{
	uint64_t id = *(const uint64_t *)key;

	return p->id < id ? -1 : p->id > id;
}

static size_t index_find(const struct profile_index *ix,
	int (*cmp)(const struct profile *p, const void *key), const void *key, bool *ret_found)
{
	size_t lo = 0, hi = ix->n;

	*ret_found = false;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = cmp(ix->v[mid], key);

		if (c == 0)
			*ret_found = true;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int index_reserve(struct profile_index *ix, struct pa_err *err)
{
	if (ix->n == ix->room) {
		size_t room = ix->room ? ix->room * 2 : 128;
		struct profile **v = reallocarray(ix->v, room, sizeof(*v));

		if (!v)
			return pa_fail(err, PA_NO_MEMORY, 0, "profiles");
		ix->v = v;
		ix->room = room;
	}
	return 0;
}

static void index_insert(struct profile_index *ix, size_t at, struct profile *p)
{
	memmove(ix->v + at + 1, ix->v + at, (ix->n - at) * sizeof(*ix->v));
	ix->v[at] = p;
	ix->n++;
}

static void index_remove(struct profile_index *ix, size_t at)
{
	ix->n--;
	memmove(ix->v + at, ix->v + at + 1, (ix->n - at) * sizeof(*ix->v));
}

struct profile *profile_by_name(struct broker *b, const char *name)
{
	bool found;
	size_t i = index_find(&b->by_name, by_name_cmp, name, &found);

	return found ? b->by_name.v[i] : NULL;
}

struct profile *broker_by_id(struct broker *b, uint64_t id)
{
	bool found;
	size_t i = index_find(&b->by_id, by_id_cmp, &id, &found);

	return found ? b->by_id.v[i] : NULL;
}

/* FNV-1a over the name and which making of it this is, in the 55 bits that inode numbers have room for. */
static uint64_t make_id(const char *name, uint32_t incarnation)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (const char *s = name; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3u;
	for (int i = 0; i < 4; i++)
		h = (h ^ ((incarnation >> (8 * i)) & 0xff)) * 0x100000001b3u;
	h = (h >> 9) ^ (h & 0x1ff);
	return h ? h : 1;
}

int profile_make(struct broker *b, const char *name, const struct provider *provider,
	uint32_t incarnation, struct profile **ret, struct pa_err *err)
{
	struct profile *p = calloc(1, sizeof(*p));
	bool found;
	size_t at;
	int rc;

	if (!p || !(p->name = strdup(name))) {
		free(p);
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", name);
	}
	p->b = b;
	p->provider = provider;
	p->commits_tail = &p->commits;
	p->wake_boot_ms = NEVER;
	p->facts.incarnation = incarnation;
	p->id = make_id(name, incarnation);
	if (!provider) {
		char id[PROVIDER_ID_MAX + 1] = "";

		strncat(id, name,
			strcspn(name, "@") < PROVIDER_ID_MAX ? strcspn(name, "@")
							     : PROVIDER_ID_MAX);
		if ((rc = provider_new_custom(id, &p->custom, err)) < 0)
			goto fail;
		p->provider = p->custom;
	}
	if ((rc = index_reserve(&b->by_name, err)) < 0 || (rc = index_reserve(&b->by_id, err)) < 0)
		goto fail;
	if (b->by_name.room >= b->heap_room) {
		struct profile **heap =
			reallocarray(b->heap, b->by_name.room + 1, sizeof(*b->heap));

		if (!heap) {
			rc = pa_fail(err, PA_NO_MEMORY, 0, "%s", name);
			goto fail;
		}
		b->heap = heap;
		b->heap_room = b->by_name.room + 1;
	}
	at = index_find(&b->by_id, by_id_cmp, &p->id, &found);
	if (found) {
		rc = pa_fail(err, PA_SYSTEM, EEXIST, "the inode number of %s is taken", name);
		goto fail;
	}
	index_insert(&b->by_id, at, p);
	at = index_find(&b->by_name, by_name_cmp, name, &found);
	index_insert(&b->by_name, at, p);
	p->indexed = true;
	*ret = p;
	return 0;
fail:
	provider_free_custom(p->custom);
	free(p->name);
	free(p);
	return rc;
}

void profile_unindex(struct profile *p)
{
	bool found;
	size_t at;

	if (!p->indexed)
		return;
	p->indexed = false;
	at = index_find(&p->b->by_name, by_name_cmp, p->name, &found);
	if (found)
		index_remove(&p->b->by_name, at);
	at = index_find(&p->b->by_id, by_id_cmp, &p->id, &found);
	if (found)
		index_remove(&p->b->by_id, at);
	timer_set(p, NEVER);
}

static void profile_free(struct profile *p)
{
	profile_unindex(p);
	profile_forget_values(p);
	sealed_free(&p->sealed);
	facts_done(&p->facts);
	provider_free_custom(p->custom);
	free(p->name);
	free(p);
}

void profile_release(struct profile *p)
{
	if (p->permanent || p->refs || p->commits || p->refresh || p->inputs || p->joiners.head ||
		p->waiters.head)
		return;
	if (p->listed && p->indexed)
		return;
	profile_free(p);
}

uint64_t profile_id(const struct profile *p)
{
	return p->id;
}

const char *profile_name(const struct profile *p)
{
	return p->name;
}

const struct provider *profile_provider(const struct profile *p)
{
	return p->provider;
}

bool profile_is_permanent(const struct profile *p)
{
	return p->permanent;
}

void profile_hold(struct profile *p, uint64_t n)
{
	p->refs += n;
}

void profile_drop(struct profile *p, uint64_t n)
{
	p->refs -= n < p->refs ? n : p->refs;
	profile_release(p);
}

struct profile *broker_next(struct broker *b, const char *after)
{
	bool found;
	size_t i = after ? index_find(&b->by_name, by_name_cmp, after, &found) : 0;

	for (; i < b->by_name.n; i++) {
		struct profile *p = b->by_name.v[i];

		if (after && !strcmp(p->name, after))
			continue;
		if (p->permanent ? profile_serving(p) != LANE_NONE || p->facts.stored ||
					   p->broken.code
				 : p->listed)
			return p;
	}
	return NULL;
}

/* ---- names ---- */

/* "provider", "provider@name", "provider:name" in any letter case -> the canonical name. */
static bool canonical_name(
	struct broker *b, const char *name, char *ret, const struct provider **ret_provider)
{
	size_t base = strcspn(name, "@:"), len = strlen(name);
	const char *part = base < len ? name + base + 1 : NULL;
	const struct provider *provider;
	char id[PROVIDER_ID_MAX + 1];

	if (base == 0 || base > PROVIDER_ID_MAX)
		return false;
	if (part && !profile_name_is_valid(part, strlen(part)))
		return false;
	if (part && !strcmp(part, "default"))
		part = NULL;
	provider = provider_find(b->providers, name, base);
	if (provider) {
		memcpy(id, provider->id, strlen(provider->id) + 1);
	} else {
		for (size_t i = 0; i < base; i++)
			id[i] = (char)tolower((unsigned char)name[i]);
		id[base] = '\0';
		if (!provider_id_is_valid(id, base))
			return false;
	}
	/* Both parts are within their limits, so the sum fits. */
	snprintf(ret, PROFILE_ID_MAX + 1, "%s%s%s", id, part ? "@" : "", part ? part : "");
	*ret_provider = provider;
	return true;
}

/* Never 0: that is the incarnation of permanent profiles. */
uint32_t profile_incarnation(void)
{
	uint32_t n = 0;

	if (seal_random(&n, sizeof(n), NULL) < 0)
		n = (uint32_t)time(NULL);
	return n ? n : 1;
}

enum broker_name broker_resolve(struct broker *b, const char *name, struct profile **ret_profile)
{
	const struct provider *provider;
	char canonical[PROFILE_ID_MAX + 1];
	struct profile *p;

	if (!canonical_name(b, name, canonical, &provider))
		return BROKER_NAME_NONE;
	p = profile_by_name(b, canonical);
	if (!p) {
		char id[PROVIDER_ID_MAX + 1] = "";

		/* A named profile of a provider that exists; a custom provider exists once it was made. */
		strncat(id, canonical, strcspn(canonical, "@"));
		if (!strchr(canonical, '@') || (!provider && !profile_by_name(b, id)))
			return BROKER_NAME_NONE;
		if (profile_make(b, canonical, provider, profile_incarnation(), &p, NULL) < 0)
			return BROKER_NAME_NONE;
	}
	*ret_profile = p;
	return strcmp(name, canonical) ? BROKER_NAME_ALIAS : BROKER_NAME_PROFILE;
}

static int apply_make(struct commit *c, struct record *r, struct pa_err *err)
{
	int rc;

	if ((rc = record_set_incarnation(r, c->p->facts.incarnation, err)) < 0)
		return rc;
	return record_set_changed_ms(r, now_wall(c->p->b), err);
}

void broker_make(struct broker *b, const char *name, broker_done_fn done, void *arg)
{
	const struct provider *provider;
	char canonical[PROFILE_ID_MAX + 1];
	struct pa_err err = { 0 };
	struct profile *p;
	struct commit *c;
	int rc;

	if (!canonical_name(b, name, canonical, &provider)) {
		rc = pa_fail(&err, PA_BAD_INPUT, EPERM, "%s is not a provider name", name);
		goto fail;
	}
	p = profile_by_name(b, canonical);
	if (p && (p->permanent || p->listed || p->commits)) {
		rc = pa_fail(&err, PA_BUSY, EEXIST, "%s exists", canonical);
		goto fail;
	}
	if (!p && (rc = profile_make(b, canonical, provider, profile_incarnation(), &p, &err)) < 0)
		goto fail;
	if (!(c = commit_new(p, COMMIT_SAVE, apply_make, done, arg))) {
		rc = pa_fail(&err, PA_NO_MEMORY, 0, "%s", canonical);
		profile_release(p);
		goto fail;
	}
	commit_start(c);
	return;
fail:
	done(arg, rc, &err);
}

void broker_remove(struct broker *b, struct profile *p, broker_done_fn done, void *arg)
{
	struct pa_err err = { 0 };
	struct commit *c;

	if (p->permanent) {
		pa_fail(&err, PA_BUSY, EBUSY, "%s is permanent", p->name);
	} else if (p->facts.stored || p->inputs || p->commits || p->broken.code) {
		pa_fail(&err, PA_BUSY, ENOTEMPTY, "%s holds a credential", p->name);
	} else if (!(c = commit_new(p, COMMIT_SAVE, NULL, done, arg))) {
		pa_fail(&err, PA_NO_MEMORY, 0, "%s", p->name);
	} else {
		c->deletes = true;
		commit_start(c);
		return;
	}
	done(arg, -err.errnum, &err);
}

void profile_publish(struct profile *p, struct sealed *s, struct facts *f)
{
	if (f->links != p->facts.links)
		linked_watch(p->b);
	if (f->generation != p->facts.generation) {
		p->read_since = false;
		p->rejected = false;
	}
	profile_forget_values(p);
	sealed_free(&p->sealed);
	facts_done(&p->facts);
	p->sealed = *s;
	p->facts = *f;
	*s = (struct sealed){ 0 };
	*f = (struct facts){ 0 };
	p->listed = p->sealed.bytes != NULL;
	p->broken = (struct pa_err){ 0 };
}

void profiles_free(struct broker *b)
{
	while (b->by_name.n)
		profile_free(b->by_name.v[b->by_name.n - 1]);
	free(b->by_name.v);
	free(b->by_id.v);
	b->by_name = b->by_id = (struct profile_index){ 0 };
}
