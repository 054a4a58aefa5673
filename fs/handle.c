#include "handle.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 64

static uint32_t bucket_of(uint64_t ino)
{
	/* Profile and part both differ; Fibonacci hashing mixes them into the top byte. */
	return (uint32_t)(ino * UINT64_C(0x9e3779b97f4a7c15) >> 56);
}

const char *snapshot_bytes(const struct snapshot *s)
{
	const char *bytes;
	size_t len;

	if (!s->secret)
		return s->text;
	secret_read(s->secret, &bytes, &len);
	return bytes;
}

static bool snapshot_is(const struct snapshot *s, uint64_t ino, uint64_t generation,
	const struct secret *secret, const char *text, size_t len)
{
	if (s->ino != ino || s->generation != generation || s->len != len)
		return false;
	if (secret)
		return s->secret == secret || (s->secret && secret_eq(s->secret, secret));
	return s->text && memcmp(s->text, text, len) == 0;
}

int snapshot_get(struct handles *t, uint64_t ino, uint64_t generation, struct secret *secret,
	char *text, size_t len, struct snapshot **ret, struct pa_err *err)
{
	struct snapshot **bucket = &t->buckets[bucket_of(ino)], *s;

	for (s = *bucket; s; s = s->next) {
		if (snapshot_is(s, ino, generation, secret, text, len)) {
			secret_free(secret);
			wipe_free(text);
			s->refs++;
			*ret = s;
			return 0;
		}
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		secret_free(secret);
		wipe_free(text);
		return pa_fail(err, PA_NO_MEMORY, 0, "snapshot");
	}
	*s = (struct snapshot){ .next = *bucket,
		.ino = ino,
		.generation = generation,
		.refs = 1,
		.len = len,
		.secret = secret,
		.text = text };
	if (s->next)
		s->next->prev = s;
	*bucket = s;
	*ret = s;
	return 0;
}

void snapshot_put(struct handles *t, struct snapshot *s)
{
	if (!s || --s->refs)
		return;
	if (s->next)
		s->next->prev = s->prev;
	if (s->prev)
		s->prev->next = s->next;
	else
		t->buckets[bucket_of(s->ino)] = s->next;
	secret_free(s->secret);
	wipe_free(s->text);
	free(s);
}

size_t snapshot_largest(const struct handles *t, uint64_t ino)
{
	size_t largest = 0;

	for (const struct snapshot *s = t->buckets[bucket_of(ino)]; s; s = s->next)
		if (s->ino == ino && s->len > largest)
			largest = s->len;
	return largest;
}

uint64_t handle_number(uint64_t generation, size_t len, uint32_t slot)
{
	uint64_t size = len > HANDLE_SIZE_MAX ? HANDLE_SIZE_MAX : len;

	return (generation & UINT32_MAX) << 32 | size << HANDLE_SLOT_BITS |
	       (slot & (HANDLE_MAX - 1));
}

static int handles_grow(struct handles *t, struct pa_err *err)
{
	uint32_t room = t->room ? t->room * 2 : SLOTS_MIN;
	struct handle **slots;
	uint32_t *stack;

	if (room > HANDLE_MAX)
		return pa_fail(err, PA_SYSTEM, ENFILE, "%u files are open", t->count);
	slots = reallocarray(t->slots, room, sizeof(*slots));
	if (slots)
		t->slots = slots;
	stack = reallocarray(t->free_slots, room, sizeof(*stack));
	if (stack)
		t->free_slots = stack;
	if (!slots || !stack)
		return pa_fail(err, PA_NO_MEMORY, 0, "open files");
	for (uint32_t i = room; i-- > t->room;) {
		slots[i] = NULL;
		stack[t->free_count++] = i;
	}
	t->room = room;
	return 0;
}

int handle_new(struct handles *t, uint64_t ino, const struct node *n, struct snapshot *s,
	struct handle **ret, struct pa_err *err)
{
	struct handle *h;
	uint32_t slot;
	int rc;

	if (!t->free_count && (rc = handles_grow(t, err)) < 0) {
		snapshot_put(t, s);
		return rc;
	}
	if (!(h = calloc(1, sizeof(*h)))) {
		snapshot_put(t, s);
		return pa_fail(err, PA_NO_MEMORY, 0, "open file");
	}
	slot = t->free_slots[--t->free_count];
	h->fh = handle_number(s ? s->generation : 0, s ? s->len : 0, slot);
	h->ino = ino;
	h->node = n;
	h->snapshot = s;
	t->slots[slot] = h;
	t->count++;
	*ret = h;
	return 0;
}

static void slot_take(struct handles *t, uint32_t slot)
{
	for (uint32_t i = 0; i < t->free_count; i++) {
		if (t->free_slots[i] == slot) {
			t->free_slots[i] = t->free_slots[--t->free_count];
			return;
		}
	}
}

int handle_restore(struct handles *t, uint64_t fh, uint64_t ino, const struct node *n,
	struct handle **ret, struct pa_err *err)
{
	uint32_t slot = fh & (HANDLE_MAX - 1);
	struct handle *h;
	int rc;

	if (handle_find(t, fh, ino))
		return pa_fail(err, PA_SYSTEM, EEXIST, "open file %u is there twice", slot);
	while (slot >= t->room)
		if ((rc = handles_grow(t, err)) < 0)
			return rc;
	if (!(h = calloc(1, sizeof(*h))))
		return pa_fail(err, PA_NO_MEMORY, 0, "open file");
	*h = (struct handle){ .fh = fh, .ino = ino, .node = n };
	if (t->slots[slot]) {
		h->next = t->restored;
		t->restored = h;
	} else {
		slot_take(t, slot);
		t->slots[slot] = h;
	}
	t->count++;
	*ret = h;
	return 0;
}

void handle_free(struct handles *t, struct handle *h)
{
	struct handle **at = &t->restored;
	uint32_t slot;

	if (!h)
		return;
	slot = h->fh & (HANDLE_MAX - 1);
	snapshot_put(t, h->snapshot);
	t->count--;
	while (*at && *at != h)
		at = &(*at)->next;
	if (*at) {
		*at = h->next;
	} else {
		t->slots[slot] = NULL;
		t->free_slots[t->free_count++] = slot;
	}
	free(h);
}

static bool is_it(const struct handle *h, uint64_t fh, uint64_t ino)
{
	return h->fh == fh && h->ino == ino;
}

struct handle *handle_find(const struct handles *t, uint64_t fh, uint64_t ino)
{
	uint32_t slot = fh & (HANDLE_MAX - 1);
	struct handle *h = slot < t->room ? t->slots[slot] : NULL;

	if (h && is_it(h, fh, ino))
		return h;
	for (h = t->restored; h && !is_it(h, fh, ino); h = h->next)
		continue;
	return h;
}

void handles_trim(struct handles *t)
{
	if (t->count)
		return;
	free(t->slots);
	free(t->free_slots);
	t->slots = NULL;
	t->free_slots = NULL;
	t->room = t->free_count = 0;
}

void handles_done(struct handles *t)
{
	while (t->restored)
		handle_free(t, t->restored);
	for (uint32_t i = 0; i < t->room; i++)
		handle_free(t, t->slots[i]);
	handles_trim(t);
}

enum handle_lost handle_lost(uint64_t fh, uint64_t offset, uint64_t generation)
{
	uint64_t size = fh >> HANDLE_SLOT_BITS & HANDLE_SIZE_MAX;

	if (offset == 0)
		return HANDLE_LOST_ANEW;
	if (offset >= size && size < HANDLE_SIZE_MAX)
		return HANDLE_LOST_END;
	if ((fh >> 32) == (generation & UINT32_MAX))
		return HANDLE_LOST_SAME;
	return HANDLE_LOST_STALE;
}
