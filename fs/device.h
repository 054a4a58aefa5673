/*
 * device - /dev/fuse under a libfuse session, so that a worker can take it over from one that died.
 *
 * libfuse reads and writes through it (fuse_session_custom_io). It notes FUSE_INIT and its answer, keeps
 * answers to changes in the page until the kernel has them, and gives a change that the kernel sends again the
 * answer it had. Requests that were under way when a worker died come again (FUSE_NOTIFY_RESEND, Linux 6.9)
 * with FUSE_UNIQUE_RESEND in their number, which the answer repeats. Threads: one.
 */
#ifndef PIAUTH_DEVICE_H
#define PIAUTH_DEVICE_H

#include <fuse_lowlevel.h>

#include "page.h"

/* Only one session per process: libfuse hands its callbacks no context of ours before INIT. */
/* Gives se the descriptor (which fuse_session_destroy closes) and this page (borrowed). */
int device_attach(struct fuse_session *se, int fd, struct page *page, struct pa_err *err);

/*
 * Takes over from an earlier worker, if there was one (page->init_len): feeds FUSE_INIT to libfuse, whose answer
 * must be the one that was given (else -EPROTO: this version would mean other things by the same requests; nothing
 * was sent), then asks the kernel to send again what was not answered. *ret_resent false where the kernel cannot.
 */
int device_adopt(struct fuse_session *se, bool *ret_resent, struct pa_err *err);

/*
 * Before fuse_session_process_buf: notes what has to be noted of a request. true: it was answered here, from the
 * page; libfuse must not see it.
 */
bool device_take(const void *request, size_t len);
/*
 * The request that libfuse processes now comes again from a worker that died over it: it may have been made. What
 * it would remove is then not missing, what it would make not in the way.
 */
bool device_is_again(void);

#endif
