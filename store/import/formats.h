/*
 * formats - which format a file has, and what is in it.
 *
 * What scan.c and transaction.c share between the table of tools and a file that was read. No state.
 */
#ifndef PIAUTH_IMPORT_FORMATS_H
#define PIAUTH_IMPORT_FORMATS_H

#include "file.h"
#include "import.h"

#define FORMATS_MAX 64 /* of all tools together */

struct format_of {
	const struct importer *importer;
	const struct import_format *format;
};

/* The formats that a file may have by its last name; all there are where no tool knows the name. only: of
 * this tool, NULL: of every one. In the order of the table, each once. */
size_t formats_by_name(
	const char *path, const struct importer *only, struct format_of ret[FORMATS_MAX]);
/* The format a tool's file has: by its place, else by its last name and content. NULL: none. */
const struct import_format *formats_find(
	const struct importer *importer, const char *home, const char *path);

/* Hands what is in the file, which is FOUND, to the sink. */
int formats_read(const struct import_format *format, const struct file *f,
	const struct import_sink *sink, struct pa_err *err);

/* How much of a file a format understands. */
struct format_match {
	size_t usable, refused; /* entries */
};
/* FILE_UNUSABLE: it has another shape. */
int formats_match(const struct import_format *format, const struct file *f,
	struct format_match *ret, struct pa_err *err);
/* Of formats[0..n), the one that understands most; -1: none does, err says why the first does not. */
int formats_best(const struct format_of *formats, size_t n, const char *path, struct pa_err *err);

struct format_entry {
	bool there;
	cJSON *entry; /* NULL: refused, or not there */
	char lane[16];
	char refused[160]; /* "": it is not */
};
/* The entry of this name. Done with format_entry_done, also after a failure. */
int formats_entry(const struct import_format *format, const struct file *f, const char *name,
	struct format_entry *ret, struct pa_err *err);
void format_entry_done(struct format_entry *e);

#endif
