#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct error_row {
	const char *wire;
	int errnum;
	const char *summary;
	const char *remedy;
};

static const struct error_row rows[] = { [PA_NONE] = { "", 0, "", "" },
#define X(name, wire, errnum, summary, remedy) [PA_##name] = { wire, errnum, summary, remedy },
	PA_ERRORS(X)
#undef X
};

const size_t pa_code_count = sizeof(rows) / sizeof(rows[0]);

/* A code may come from a file that a later version wrote. */
static const struct error_row *row_of(enum pa_code code)
{
	return &rows[(size_t)code < pa_code_count ? (size_t)code : PA_NONE];
}

const char *pa_wire(enum pa_code code)
{
	return row_of(code)->wire;
}

const char *pa_summary(enum pa_code code)
{
	return row_of(code)->summary;
}

const char *pa_remedy(enum pa_code code)
{
	return row_of(code)->remedy;
}

int pa_errno(enum pa_code code)
{
	return row_of(code)->errnum;
}

/* Drops a UTF-8 sequence that the cut left without its end: the text goes into JSON. */
static void trim_cut_sequence(char *text, size_t len)
{
	size_t back = 0;
	while (back < 3 && back < len && ((unsigned char)text[len - 1 - back] & 0xc0) == 0x80)
		back++;
	if (back == len)
		return;
	unsigned char lead = (unsigned char)text[len - 1 - back];
	size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
	if (need > back + 1)
		text[len - 1 - back] = '\0';
}

int pa_fail_at(
	struct pa_err *err, const char *where, enum pa_code code, int errnum, const char *fmt, ...)
{
	if (errnum == 0)
		errnum = pa_errno(code);
	if (errnum <= 0) /* a failure must not read as success */
		errnum = EIO;
	if (!err)
		return -errnum;

	/* The arguments may point into err itself, when a caller adds context to a detail. */
	struct pa_err made = { .code = code, .errnum = errnum };
	snprintf(made.where, sizeof(made.where), "%s", where);
	va_list args;
	va_start(args, fmt);
	int len = vsnprintf(made.detail, sizeof(made.detail), fmt, args);
	va_end(args);
	if (len >= (int)sizeof(made.detail))
		trim_cut_sequence(made.detail, strlen(made.detail));
	for (char *c = made.detail; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	}
	*err = made;
	return -errnum;
}

void pa_err_format(const struct pa_err *err, char *buf, size_t size)
{
	const struct error_row *row = row_of(err->code);
	size_t len = strlen(row->summary);
	if (!size)
		return;
	if (err->detail[0] && len) /* the detail goes in before the summary's full stop */
		snprintf(buf, size, "%.*s: %s. %s", (int)len - 1, row->summary, err->detail,
			row->remedy);
	else
		snprintf(buf, size, "%s%s%s%s", row->summary, err->detail, len ? " " : "",
			row->remedy);
	if (strlen(buf) == size - 1)
		trim_cut_sequence(buf, size - 1);
}
