/*
 * file_i - what reading (file.c) and replacing (file_replace.c) a file share. Internal to these.
 */
#ifndef PIAUTH_IMPORT_FILE_I_H
#define PIAUTH_IMPORT_FILE_I_H

#include "file.h"

/* Opens what an O_PATH descriptor stands for, never another file; -1 with errno. */
int file_reopen(int at, int flags);

#endif
