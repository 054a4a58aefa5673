/*
 * worker - the process that serves: store, broker, session and loop, on a /dev/fuse that the holder keeps.
 *
 * It may die at any moment; what its successor needs is in the page (page.h), in the store, and with the
 * holder. Threads: one, and the broker's.
 */
#ifndef PIAUTH_WORKER_H
#define PIAUTH_WORKER_H

#include "holder.h"
#include "mount.h"

struct worker_options {
	struct mount_options mount;
	bool background; /* stderr is somebody's terminal until the mount serves: then syslog */
};

/*
 * Serves on the descriptors of enum worker_fd until the mount is gone or SIGTERM comes, which takes the mount off.
 * The result is the exit code; what went wrong has been said.
 */
int worker_serve(const struct worker_options *o);

#endif
