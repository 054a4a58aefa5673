/*
 * mount - the life of one mount: mount point, mounting, unmounting. holder.h keeps it, worker.h serves it.
 *
 * Threads: one.
 */
#ifndef PIAUTH_MOUNT_H
#define PIAUTH_MOUNT_H

#include <stdbool.h>
#include <sys/types.h>

#include "legacy.h"
#include "store/err.h"

struct mount_options {
	const char *mountpoint; /* absolute; from mount_point */
	const char *store;      /* paths; absolute, because the server changes to / */
	const char *key_file;
	const char *config;
	uid_t owner_uid;
	gid_t owner_gid;
	bool has_group;
	gid_t group;
	bool public_status;
	struct legacy_owner
		*legacy; /* borrowed: how other tools' files are reached (home NULL: not) */
	bool import;     /* logins of other tools, unless that was decided before */
};

/*
 * Makes path fit to be mounted on: makes the directory (0755) where it is missing, takes a dead mount off it,
 * refuses a live one and a directory with something in it. *ret: the absolute path, malloc'ed.
 */
int mount_point(const char *path, char **ret, struct pa_err *err);
/* Whether others than the mounting user can be served at all: root, or user_allow_other in fuse.conf. */
bool mount_serves_others(void);

/*
 * Mounts, and holds the mount (holder.h) until it is over or a signal ends it: workers, started with these
 * arguments, do the rest. Blocks that long. ready is called once when the mount serves and the logins of other
 * tools are there (loop.h). No thread may exist before; after a fork only.
 */
int mount_hold(const char *mountpoint, char *const *worker, void (*ready)(void *arg), void *arg,
	struct pa_err *err);

/* Takes the mount off. lazy: even where it is in use. */
int mount_undo(const char *mountpoint, bool lazy, struct pa_err *err);

#endif
