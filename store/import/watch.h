/*
 * watch - "watch" of message.h: an inotify descriptor for what may change a file's content.
 *
 * That is its directory, and for a symbolic link also the directory of each file on the way. Where a directory
 * is missing, the nearest one above it is watched for the name that is missing; whoever sees that name come
 * has to ask anew. Threads: one.
 */
#ifndef PIAUTH_IMPORT_WATCH_H
#define PIAUTH_IMPORT_WATCH_H

#include "../err.h"
#include "../json.h"

/* files: as in the request. *ret_rows, an array, and *ret_fd (non-blocking) are the caller's. */
int watch_files(const cJSON *files, cJSON **ret_rows, int *ret_fd, struct pa_err *err);

#endif
