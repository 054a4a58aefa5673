#include "parked.h"

#include <stdlib.h>
#include <time.h>

/* From this many on, the memory of a herd that went is given back to the system. */
#define HERD      1024
#define HERD_LEFT 64 /* files that stay open do not count */

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void queue_put(struct parked_queue *q, struct parked *k)
{
	k->queue = q;
	k->next = NULL;
	k->prev = q->tail;
	if (q->tail)
		q->tail->next = k;
	else
		q->head = k;
	q->tail = k;
}

static void queue_take(struct parked *k)
{
	struct parked_queue *q = k->queue;

	if (k->prev)
		k->prev->next = k->next;
	else
		q->head = k->next;
	if (k->next)
		k->next->prev = k->prev;
	else
		q->tail = k->prev;
	k->queue = NULL;
}

struct parked *parked_new(struct parked_list *l)
{
	struct parked *k = l->spare;

	if (!k)
		return calloc(1, sizeof(*k));
	l->spare = NULL;
	*k = (struct parked){ 0 };
	return k;
}

void parked_free(struct parked_list *l, struct parked *k)
{
	if (l->spare)
		free(k);
	else
		l->spare = k;
}

/*
 * Called by libfuse while it handles FUSE_INTERRUPT, or at registration when that came first. The request
 * must not be answered in here: libfuse still holds its lock.
 */
static void interrupted(fuse_req_t req, void *data)
{
	struct parked *k = data;

	(void)req;
	if (k->queue != &k->list->quiet)
		return;
	queue_take(k);
	queue_put(&k->list->fresh, k);
}

void parked_wait(struct parked_list *l, struct parked *k)
{
	k->list = l;
	queue_put(&l->quiet, k);
	if (++l->count > l->peak)
		l->peak = l->count;
	fuse_req_interrupt_func(k->req, interrupted, k);
}

void parked_leave(struct parked_list *l, struct parked *k)
{
	fuse_req_interrupt_func(k->req, NULL, NULL);
	queue_take(k);
	l->count--;
}

bool parked_herd_is_gone(struct parked_list *l, size_t open)
{
	if (l->peak < HERD || l->count || open > HERD_LEFT)
		return false;
	l->peak = 0;
	return true;
}

static void look(struct parked_list *l, struct parked *k, int64_t now,
	const struct caller_self *self, void (*give_up)(struct parked *k))
{
	if (caller_signal(self, k->caller.tid) == CALLER_LEAVES) {
		give_up(k);
		return;
	}
	queue_take(k);
	k->look_ns = now + PARKED_LOOK_MS * INT64_C(1000000);
	queue_put(&l->again, k);
}

int parked_look(
	struct parked_list *l, const struct caller_self *self, void (*give_up)(struct parked *k))
{
	int64_t now;

	if (!l->fresh.head && !l->again.head)
		return -1;
	now = now_ns();
	for (int i = 0; i < PARKED_LOOK_MAX && l->fresh.head; i++)
		look(l, l->fresh.head, now, self, give_up);
	for (int i = 0; i < PARKED_LOOK_MAX && l->again.head && l->again.head->look_ns <= now; i++)
		look(l, l->again.head, now, self, give_up);
	if (l->fresh.head)
		return 0;
	if (!l->again.head)
		return -1;
	now = l->again.head->look_ns - now;
	return now <= 0 ? 0 : (int)((now + 999999) / 1000000);
}

static void end_queue(struct parked_queue *q, void (*give_up)(struct parked *k))
{
	while (q->head)
		give_up(q->head);
}

void parked_end(struct parked_list *l, void (*give_up)(struct parked *k))
{
	end_queue(&l->quiet, give_up);
	end_queue(&l->fresh, give_up);
	end_queue(&l->again, give_up);
}

void parked_done(struct parked_list *l)
{
	free(l->spare);
	l->spare = NULL;
}
