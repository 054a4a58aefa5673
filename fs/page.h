/*
 * page - what outlives a worker: shared memory that the holder makes and every worker maps.
 *
 * It holds no secret: FUSE_INIT as the kernel sent it and as it was answered, the answers to changes that are
 * under way, and which files are open for writing. A worker may die at any instruction, so a row is
 * filled before its state says that it counts. One writer at a time: the worker of the moment; the holder only
 * reads the clock and the counters. Threads: one per process.
 */
#ifndef PIAUTH_PAGE_H
#define PIAUTH_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/err.h"

#define PAGE_VERSION  1
#define PAGE_INIT_MAX 512 /* bytes of FUSE_INIT and of its answer, headers included */
#define PAGE_ROWS     256 /* changes under way; more are not protected against being made twice */
#define PAGE_REPLY_MAX \
	240            /* bytes of an answer to a change, header included: create is the longest */
#define PAGE_OPENS 512 /* open files that need a row; more are served as their number says */

enum page_state { PAGE_FREE = 0, PAGE_BEGUN, PAGE_ANSWERED };

struct page_row {
	_Atomic uint32_t state; /* enum page_state */
	uint32_t len;           /* of reply */
	uint64_t unique;        /* of the request, without the bit that says it was sent again */
	uint64_t sequence;      /* the oldest row gives way */
	uint8_t reply[PAGE_REPLY_MAX];
};

enum page_kind { PAGE_NONE = 0, PAGE_INPUT, PAGE_REREAD };

/*
 * One open file of which its number does not tell enough. PAGE_INPUT: it stores what is written to it (enum
 * node_write NODE_WRITE_INPUT). PAGE_REREAD: it was read from its start again and goes on with another value than
 * the one it was opened with.
 */
struct page_open {
	_Atomic uint32_t kind; /* enum page_kind */
	uint32_t generation;   /* REREAD: low bits, as in a handle's number */
	uint64_t fh, ino;
	/* REREAD: of the value. INPUT: low 16 bits, bytes acknowledged since it was opened or truncated; above
	 * them, while the answer to a write is on its way, the request's number; all ones after a failure. */
	uint64_t len;
};

struct page {
	uint32_t version, size;    /* of this struct: a worker of another layout starts anew */
	_Atomic int64_t beat_ns;   /* CLOCK_MONOTONIC when the loop came round last */
	_Atomic int64_t alarm_ns;  /* when WORKER_ALARM was armed last; set to 0 as replies is */
	_Atomic uint32_t asleep;   /* the loop waits for something to happen */
	_Atomic uint32_t replies;  /* of this worker; set to 0 by the holder before it starts one */
	_Atomic uint64_t workers;  /* how many there were */
	_Atomic uint32_t init_len; /* 0: the kernel has not asked yet; set last */
	uint32_t init_reply_len;
	uint8_t init[PAGE_INIT_MAX];
	uint8_t init_reply[PAGE_INIT_MAX];
	uint64_t sequence;
	int64_t started_ns; /* CLOCK_REALTIME when the first worker began: files without a change of theirs */
	struct page_row rows[PAGE_ROWS];
	struct page_open opens[PAGE_OPENS];
};

/* Makes one: a sealed-size memfd (close-on-exec), zeroed, version and size set, mapped. */
int page_new(int *ret_fd, struct page **ret, struct pa_err *err);
/* Maps one that was inherited. -EPROTO (SYSTEM) when its layout is not ours. */
int page_map(int fd, struct page **ret, struct pa_err *err);
void page_unmap(struct page *p); /* NULL is fine */

/* A change was begun, by an earlier worker if it comes again, and has no answer: it may have been made. */
bool page_is_begun(struct page *p, uint64_t unique);
/* A change arrives. NULL: it is new (and has a row now, if there was room); else it was answered before. */
const struct page_row *page_begin(struct page *p, uint64_t unique);
/* Its answer, before the kernel gets it. Answers to what has no row, and too long ones, are ignored. */
void page_answer(struct page *p, uint64_t unique, const void *reply, size_t len);
void page_end(struct page *p, uint64_t unique); /* the kernel has it */

/* page NULL is fine in all of these: nothing is remembered (commands without a mount, tests). */
void page_open_add(struct page *p, uint64_t fh, uint64_t ino);
void page_open_sent(struct page *p, uint64_t fh, uint64_t ino, uint64_t sent);
void page_open_reread(struct page *p, uint64_t fh, uint64_t ino, uint32_t generation, uint64_t len);
/* Whether there is a row that says so. */
bool page_open_was_reread(
	struct page *p, uint64_t fh, uint64_t ino, uint32_t *ret_generation, uint64_t *ret_len);
void page_open_drop(struct page *p, uint64_t fh, uint64_t ino);

#endif
