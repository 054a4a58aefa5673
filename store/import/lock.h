/*
 * lock - the lock directories that tools make beside their files, as npm's proper-lockfile 4.1.2 does.
 *
 * To lock is mkdir(FILE.lock), to release is rmdir; a directory whose mtime is old is stale and may be
 * removed. A holder sets mtime to now every few seconds and compares what it set before: another value, or no
 * directory, means that somebody took the lock for stale. Nothing is ever put into the directory and no
 * file is made under that name: either blocks the tool for ever. Threads: one. Blocks while it waits.
 */
#ifndef PIAUTH_IMPORT_LOCK_H
#define PIAUTH_IMPORT_LOCK_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "../err.h"
#include "import.h"

#define LOCK_TOUCH_MS 2500  /* tools steal after 10 s; this leaves room for a slow disk */
#define LOCK_STALE_MS 35000 /* theirs: 10 to 60 s, by version and lock; the careful reading */
#define LOCKS_MAX     64    /* a record's links, two names each where they are symbolic links */

enum lock_result {
	LOCK_HELD,
	LOCK_NONE, /* the tool has no lock */
	LOCK_BUSY, /* somebody else held it until the deadline */
	LOCK_UNAVAILABLE, /* it cannot be made here: read-only, no permission, blocked for ever; err says */
};

struct lock_set {
	struct lock {
		char *path;       /* of the lock directory; NULL: lost, given up */
		int64_t mtime_ms; /* that we set */
	} v[LOCKS_MAX];
	size_t n;
};

/*
 * Takes what `kind` asks for on the file, waiting until until_boot_ms (CLOCK_BOOTTIME): for PROPER both
 * REALPATH.lock and PATH.lock where these differ, in byte order; what the set holds already is not taken
 * twice. On anything but HELD nothing new is held. Those held before are kept fresh while it waits, and may be
 * lost.
 */
enum lock_result lock_take(struct lock_set *s, enum import_lock kind, const char *file,
	int64_t until_boot_ms, struct pa_err *err);
/* The lock around a write, where the tool has another one for that; HELD also where it has none. */
enum lock_result lock_take_write(struct lock_set *s, enum import_lock kind, const char *file,
	int64_t until_boot_ms, struct pa_err *err);
/* Refreshes all; false: one is not ours any more (it is given up, the others stay). */
bool lock_touch(struct lock_set *s);
/* Releases the locks from the n-th on; only those that still are ours. */
void lock_drop(struct lock_set *s, size_t from);

/* For the doctor: how the locks of a file stand, the worst of them: "free", "held", "stale", "file" (or anything
 * else that is no directory), "not_empty". *ret_age_s: how long ago it was touched; 0 if free. ret_path: of
 * that lock; "" if free. */
const char *lock_look(
	enum import_lock kind, const char *file, int64_t *ret_age_s, char ret_path[PATH_MAX]);

#endif
