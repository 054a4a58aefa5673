/*
 * reply - the messages that go back (message.h), built without a check after every member.
 *
 * The first failure sticks and comes out of reply_send. Text that is not UTF-8 gets '?' for what is not.
 */
#ifndef PIAUTH_IMPORT_REPLY_H
#define PIAUTH_IMPORT_REPLY_H

#include "file.h"
#include "import.h"

struct reply {
	cJSON *message; /* NULL: no memory */
	int rc;
	struct pa_err err;
};

/* tool and path may be NULL. */
void reply_start(struct reply *r, const char *m, const char *tool, const char *path);
void reply_str(struct reply *r, const char *name, const char *value); /* NULL value: left out */
void reply_int(struct reply *r, const char *name, int64_t value);
void reply_bool(struct reply *r, const char *name, bool value);
void reply_json(struct reply *r, const char *name, cJSON *owned); /* takes owned; NULL: no memory */
/* state, reason and offset of a file; with mode and owner. */
void reply_file(struct reply *r, const struct file *f, bool mode);
/* Sends it, and frees it in any case. An entry that is too long for a message goes as a refused one. */
int reply_send(struct reply *r, const struct import_report *to, struct pa_err *err);
void reply_drop(struct reply *r);

#endif
