/*
 * eventlog - an append-only text log in memory, bounded: what .piauth/events and audit show.
 *
 * When it is full the older half is dropped and the text starts again at offset 0 with the younger half,
 * as a log that is rotated by copy and truncate; `tail -f` copes with that. Threads: one.
 */
#ifndef PIAUTH_EVENTLOG_H
#define PIAUTH_EVENTLOG_H

#include <stddef.h>
#include <stdint.h>

#define EVENTLOG_MAX (256 * 1024)

struct eventlog {
	char *text;
	size_t len;
	size_t room;
};

void eventlog_done(struct eventlog *l);
/* Appends one line and a newline; a line that memory or the limit does not allow is dropped. */
void eventlog_add(struct eventlog *l, const char *line, size_t len);
/* Up to size bytes from offset; 0 at or beyond the end. */
size_t eventlog_read(const struct eventlog *l, uint64_t offset, char *buf, size_t size);

#endif
