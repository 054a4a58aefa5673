/*
 * legacy - starts the processes that touch other tools' files (store/legacy.h).
 *
 * Each is this program again (`piauth legacy-helper`), whatever has become of the file it was started from. It
 * gets its end of a socket as standard input, no other descriptor, HOME and the variables that say where
 * tools keep their files, and nothing else: no secret of the server's environment, and no key. It is in a
 * session of its own, so what ends the server (^C) lets it finish a write. Threads: one.
 */
#ifndef PIAUTH_FS_LEGACY_H
#define PIAUTH_FS_LEGACY_H

#include <sys/types.h>

#include "store/legacy.h"

struct legacy_owner {
	uid_t uid; /* whose files, and with whose rights */
	gid_t gid;
	char *home; /* absolute; owned. NULL: there is none, so no process is started */
};

/* Whose home a mount for uid looks into: $HOME for one's own, else what the user database says; home stays NULL
 * where neither names an absolute path. -errno: no memory. */
int legacy_owner_init(struct legacy_owner *o, uid_t uid, gid_t gid, struct pa_err *err);
void legacy_owner_done(struct legacy_owner *o);

/* Starts processes for o, which is borrowed for as long as anything may be started. */
struct legacy_spawn legacy_owner_spawn(struct legacy_owner *o);

#endif
