/*
 * handle - open files, and the snapshots that their reads are served from.
 *
 * A snapshot is what one inode read as at one moment: immutable, shared by all opens of the same
 * generation, gone with the last of them. The size that stat tells covers the largest one still open.
 *
 * The number the kernel holds for an open file is
 *     generation, low 32 bits | bytes of the snapshot, 15 bits | slot, 17 bits
 * so that a server which never saw the open can still answer for it. Threads: one.
 */
#ifndef PIAUTH_HANDLE_H
#define PIAUTH_HANDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node.h"
#include "store/secret.h"

#define HANDLE_SLOT_BITS 17
#define HANDLE_SIZE_BITS 15
#define HANDLE_MAX       (1u << HANDLE_SLOT_BITS) /* open files; more get ENFILE */
#define HANDLE_SIZE_MAX  ((1u << HANDLE_SIZE_BITS) - 1)

#define SNAPSHOT_BUCKETS 256

struct snapshot {
	struct snapshot *next, *prev;
	uint64_t ino;
	uint64_t generation;
	unsigned refs;
	size_t len;
	struct secret *secret; /* either this */
	char *text;            /* or this, from the wiping family */
};

struct listing; /* a directory's names, at opendir */
struct input;   /* a credential being written */

struct handle {
	struct handle *next; /* of handles.restored */
	uint64_t fh;
	uint64_t ino;
	const struct node *node;
	struct snapshot *snapshot; /* NULL: a log, or not open for reading */
	bool was_read;
	bool in_page; /* the page has a row for it: its number tells of another snapshot */
	struct listing *listing;
	struct input *input;
};

struct handles {
	struct handle **slots; /* NULL: free */
	uint32_t room;
	uint32_t *free_slots; /* a stack; room entries */
	uint32_t free_count;
	uint32_t count;
	struct handle *restored; /* those whose slot another one has here */
	struct snapshot *buckets[SNAPSHOT_BUCKETS];
};

/* Frees whatever is open; listings and inputs must be gone. */
void handles_done(struct handles *t);

/* A reference to the snapshot of these bytes; takes secret or text (the other is NULL), also on failure. */
int snapshot_get(struct handles *t, uint64_t ino, uint64_t generation, struct secret *secret,
	char *text, size_t len, struct snapshot **ret, struct pa_err *err);
void snapshot_put(struct handles *t, struct snapshot *s); /* NULL is fine */
const char *snapshot_bytes(const struct snapshot *s);
/* The longest snapshot of ino that is open; 0 if there is none. */
size_t snapshot_largest(const struct handles *t, uint64_t ino);

/* Takes the snapshot (may be NULL), also on failure. */
int handle_new(struct handles *t, uint64_t ino, const struct node *n, struct snapshot *s,
	struct handle **ret, struct pa_err *err);
/* One that an earlier server opened, under its number, without a snapshot. -EEXIST (SYSTEM): it is there. */
int handle_restore(struct handles *t, uint64_t fh, uint64_t ino, const struct node *n,
	struct handle **ret, struct pa_err *err);
void handle_free(struct handles *t, struct handle *h); /* NULL is fine */
/* NULL: this server did not open it. */
struct handle *handle_find(const struct handles *t, uint64_t fh, uint64_t ino);

/* Gives the memory of the table back when nothing is open. */
void handles_trim(struct handles *t);

uint64_t handle_number(uint64_t generation, size_t len, uint32_t slot);

/* What to do with a read of a handle that this server did not open. */
enum handle_lost {
	HANDLE_LOST_END,   /* at or behind the end of what was opened */
	HANDLE_LOST_ANEW,  /* from the start: the value as it is now */
	HANDLE_LOST_SAME,  /* the generation is still the current one: continue */
	HANDLE_LOST_STALE, /* the rest of a value that is gone */
};
enum handle_lost handle_lost(uint64_t fh, uint64_t offset, uint64_t generation);

#endif
