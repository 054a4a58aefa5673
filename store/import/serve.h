/*
 * serve - the process that touches other tools' files: answers the requests of message.h until the end.
 *
 * Blocks on files and on the socket; wakes every LOCK_TOUCH_MS while it holds a lock. Everything it holds is
 * given back when it returns. Threads: one.
 */
#ifndef PIAUTH_IMPORT_SERVE_H
#define PIAUTH_IMPORT_SERVE_H

#include "../err.h"

/* 0 when the conversation ended; home as for import_scan. */
int import_serve(int socket, const char *home, struct pa_err *err);

#endif
