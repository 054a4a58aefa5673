/*
 * harden - the process made safe for secrets, before options are parsed.
 *
 * Standard descriptors that are closed become /dev/null (a store file must not turn into stderr), files
 * are made for the owner only, nothing dumps core or can be traced by others, and a reader that goes
 * away is an error, not a signal.
 */
#ifndef PIAUTH_HARDEN_H
#define PIAUTH_HARDEN_H

#include "store/err.h"

int harden(struct pa_err *err);
/* No set-uid program gains anything from here on. Not for user mounts: ending one takes fusermount3. */
int harden_no_new_privs(struct pa_err *err);

#endif
