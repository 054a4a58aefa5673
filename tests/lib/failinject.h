/*
 * failinject - lets the n-th call that changes the disk fail, be cut short, or be the last of the process.
 *
 * The program is linked with -Wl,--wrap=NAME for every __wrap_NAME of failinject.c. Counting runs between arm
 * and disarm, over all threads. Calls made inside libc are not seen.
 */
#ifndef TESTS_FAILINJECT_H
#define TESTS_FAILINJECT_H

#include <stdbool.h>
#include <stddef.h>

enum fail_mode {
	FAIL_ERRNO, /* the call does nothing and fails */
	FAIL_SHORT, /* a write writes half of its bytes and says so; other calls work */
	FAIL_EXIT,  /* _exit(FAIL_STATUS) instead of the call */
	FAIL_TORN,  /* a write writes half of its bytes, then _exit; as FAIL_EXIT for other calls */
};
#define FAIL_STATUS 42

void failinject_arm(enum fail_mode mode, unsigned nth, int errnum); /* nth counts from 1 */
/* Whether the n-th call was reached. Later calls work as ever. */
bool failinject_disarm(void);

/*
 * Runs step(arg) with its n-th call failing so; in a child where that ends the process. True if the n-th call
 * was reached. *ret_r is what step returned, or -EINTR if it was killed.
 */
bool failinject_run(enum fail_mode mode, unsigned nth, int errnum, int (*step)(void *arg),
	void *arg, int *ret_r);

/* Every way to fail: for (size_t i = 0; i < failinject_nways; i++) ... failinject_ways[i] */
struct fail_way {
	enum fail_mode mode;
	int errnum;
	const char *name;
};
extern const struct fail_way failinject_ways[];
extern const size_t failinject_nways;

#endif
