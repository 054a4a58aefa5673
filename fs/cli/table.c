#include "table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool table_colour(FILE *to)
{
	const char *off = secure_getenv("NO_COLOR"); /* no-color.org: set and not empty */
	const char *term = secure_getenv("TERM");
	return !(off && *off) && term && strcmp(term, "dumb") != 0 && isatty(fileno(to));
}

static const char *tone_code(enum table_tone tone)
{
	switch (tone) {
	case TABLE_PLAIN:
		return NULL;
	case TABLE_GOOD:
		return "\033[32m";
	case TABLE_BAD:
		return "\033[31m";
	case TABLE_DIM:
		return "\033[2m";
	}
	return NULL;
}

void table_tone_on(FILE *to, enum table_tone tone)
{
	const char *code = tone_code(tone);
	if (code && table_colour(to))
		fputs(code, to);
}

void table_tone_off(FILE *to, enum table_tone tone)
{
	if (tone_code(tone) && table_colour(to))
		fputs("\033[0m", to);
}

void table_init(struct table *t, unsigned columns)
{
	*t = (struct table){ .columns = columns <= TABLE_COLUMNS ? columns : TABLE_COLUMNS };
}

/* A cell may come from a file or a server: nothing in it may steer the terminal. */
static char *printable(const char *text)
{
	char *copy = strdup(text ? text : "");
	for (char *c = copy; c && *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	}
	return copy;
}

void table_add(struct table *t, enum table_tone tone, const char *const *cells)
{
	if (t->rows == t->room) {
		size_t room = t->room ? t->room * 2 : 32;
		struct table_row *row = reallocarray(t->row, room, sizeof(*row));
		if (!row) {
			t->failed = true;
			return;
		}
		t->row = row;
		t->room = room;
	}
	struct table_row *row = &t->row[t->rows++];
	*row = (struct table_row){ .tone = tone };
	for (unsigned i = 0; i < t->columns; i++) {
		row->cell[i] = printable(cells[i]);
		if (!row->cell[i])
			t->failed = true;
	}
}

/* Characters, not bytes: UTF-8 continuation bytes take no room. */
static int width_of(const char *text)
{
	int width = 0;
	for (const char *c = text; c && *c; c++)
		width += ((unsigned char)*c & 0xc0) != 0x80;
	return width;
}

int table_print(const struct table *t, FILE *to)
{
	int width[TABLE_COLUMNS] = { 0 };
	if (t->failed)
		return -ENOMEM;
	for (size_t r = 0; r < t->rows; r++) {
		for (unsigned i = 0; i < t->columns; i++) {
			int w = width_of(t->row[r].cell[i]);
			if (w > width[i])
				width[i] = w;
		}
	}
	for (size_t r = 0; r < t->rows; r++) {
		const struct table_row *row = &t->row[r];
		unsigned last = t->columns; /* no trailing blanks */
		while (last > 0 && !row->cell[last - 1][0])
			last--;
		table_tone_on(to, row->tone);
		for (unsigned i = 0; i < last; i++) {
			int pad = i + 1 < last ? width[i] - width_of(row->cell[i]) + 2 : 0;
			fprintf(to, "%s%*s", row->cell[i], pad, "");
		}
		table_tone_off(to, row->tone);
		fputc('\n', to);
	}
	if (fflush(to) != 0)
		return errno ? -errno : -EIO;
	return 0;
}

void table_done(struct table *t)
{
	for (size_t r = 0; r < t->rows; r++) {
		for (unsigned i = 0; i < t->columns; i++)
			free(t->row[r].cell[i]);
	}
	free(t->row);
	*t = (struct table){ 0 };
}

int64_t table_now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void table_relative(int64_t at_ms, int64_t now_ms, char ret[static 32])
{
	static const struct {
		int64_t seconds;
		const char *unit;
	} units[] = {
		{ 365 * 86400LL, "years" },
		{ 86400, "d" },
		{ 3600, "h" },
		{ 60, "min" },
		{ 1, "s" },
	};
	bool past = at_ms < now_ms;
	/* Both are wall clocks from outside; the difference of the extremes must not overflow. */
	double span = past ? (double)now_ms - (double)at_ms : (double)at_ms - (double)now_ms;
	int64_t seconds = span >= 9e15 ? (int64_t)9e12 : (int64_t)(span / 1000);

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		/* Two of a unit before it is used: "90 min" tells more than "1 h". */
		int64_t least = units[i].seconds == 1 ? 1 : 2 * units[i].seconds;
		if (seconds < least)
			continue;
		snprintf(ret, 32, "%s%" PRId64 " %s%s", past ? "" : "in ",
			seconds / units[i].seconds, units[i].unit, past ? " ago" : "");
		return;
	}
	snprintf(ret, 32, "now");
}
