/*
 * content - the text of the small files, and how long each file is now.
 *
 * Nothing secret passes here but lengths. Everything comes from memory. Threads: one.
 */
#ifndef PIAUTH_CONTENT_H
#define PIAUTH_CONTENT_H

#include "server.h"

/* The text of a NODE_READ_TEXT place, in wiping memory; p NULL for fixed places. */
int content_text(struct server *s, const struct node *n, struct profile *p, char **ret,
	size_t *ret_len, struct pa_err *err);
/* The log of a NODE_READ_LOG place. */
const struct eventlog *content_log(struct server *s, const struct node *n);
/* What a read from the start would get now, in bytes; 0 where it would fail. */
size_t content_size(struct server *s, const struct node *n, struct profile *p);

#endif
