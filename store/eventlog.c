#include "eventlog.h"

#include <stdlib.h>
#include <string.h>

void eventlog_done(struct eventlog *l)
{
	free(l->text);
	*l = (struct eventlog){ 0 };
}

void eventlog_add(struct eventlog *l, const char *line, size_t len)
{
	if (len + 1 > EVENTLOG_MAX / 2)
		return;
	if (l->len + len + 1 > EVENTLOG_MAX) {
		char *half = memchr(l->text + l->len / 2, '\n', l->len - l->len / 2);
		size_t cut = half ? (size_t)(half - l->text) + 1 : l->len;

		memmove(l->text, l->text + cut, l->len - cut);
		l->len -= cut;
	}
	if (l->len + len + 1 > l->room) {
		size_t room = l->room ? l->room * 2 : 4096;
		char *text;

		while (room < l->len + len + 1)
			room *= 2;
		if (!(text = realloc(l->text, room)))
			return;
		l->text = text;
		l->room = room;
	}
	memcpy(l->text + l->len, line, len);
	l->len += len;
	l->text[l->len++] = '\n';
}

size_t eventlog_read(const struct eventlog *l, uint64_t offset, char *buf, size_t size)
{
	if (offset >= l->len)
		return 0;
	if (size > l->len - offset)
		size = l->len - (size_t)offset;
	memcpy(buf, l->text + offset, size);
	return size;
}
