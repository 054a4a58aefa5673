/*
 * transaction - "open", "put" and "drop" of message.h: files of other tools, changed under their locks.
 *
 * Every change compares what is in the file at that moment with what it is to replace, whatever was read
 * before and whoever held the lock meanwhile. Blocks on files and for locks. Threads: one.
 */
#ifndef PIAUTH_IMPORT_TRANSACTION_H
#define PIAUTH_IMPORT_TRANSACTION_H

#include "import.h"
#include "lock.h"

struct transaction {
	const char *home; /* borrowed */
	struct opened *files;
	size_t n;
	struct lock_set locks; /* to be kept fresh by the caller */
};

/* Ends the one before. What it answers goes to `to`. */
int transaction_open(struct transaction *t, const cJSON *request, const struct import_report *to,
	struct pa_err *err);
/* Writes an entry, or with drop removes one. */
int transaction_put(struct transaction *t, const cJSON *request, bool drop,
	const struct import_report *to, struct pa_err *err);
/* Releases all locks. */
void transaction_done(struct transaction *t);

#endif
