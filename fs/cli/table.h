/*
 * table - columns on a terminal or in a pipe, and times as people say them.
 *
 * Cells are copied. Widths count UTF-8 characters; control bytes are printed as '?'. Colour only where the
 * stream is a terminal and NO_COLOR is not set.
 */
#ifndef PIAUTH_CLI_TABLE_H
#define PIAUTH_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TABLE_COLUMNS 8

enum table_tone { TABLE_PLAIN, TABLE_GOOD, TABLE_BAD, TABLE_DIM };

struct table {
	unsigned columns;
	size_t rows, room;
	struct table_row {
		char *cell[TABLE_COLUMNS];
		enum table_tone tone; /* of the whole row */
	} * row;
	bool failed; /* out of memory: table_print says so */
};

void table_init(struct table *t, unsigned columns);
/* cells: one string per column, NULL for an empty one. The first row is the heading. */
void table_add(struct table *t, enum table_tone tone, const char *const *cells);
/* Returns 0, or -ENOMEM or the stream's error as -errno. */
int table_print(const struct table *t, FILE *to);
void table_done(struct table *t);

bool table_colour(FILE *to);
/* Opens and closes a colour where the stream takes one; writes nothing elsewhere. */
void table_tone_on(FILE *to, enum table_tone tone);
void table_tone_off(FILE *to, enum table_tone tone);

/* "in 52 min", "3 d ago", "now"; both times in ms since the epoch. */
void table_relative(int64_t at_ms, int64_t now_ms, char ret[static 32]);
int64_t table_now_ms(void); /* the wall clock */

#endif
