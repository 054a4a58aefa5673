#include "formats.h"

#include <stdio.h>
#include <string.h>

static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* Adds the formats of one tool; name NULL: all of them. */
static size_t add(
	const struct importer *i, const char *name, struct format_of ret[FORMATS_MAX], size_t n)
{
	for (const struct import_name *row = i->names; row->name; row++) {
		bool known = name && strcmp(row->name, name) != 0;
		for (size_t k = 0; k < n; k++)
			known |= ret[k].importer == i && ret[k].format == row->format;
		if (!known && n < FORMATS_MAX)
			ret[n++] = (struct format_of){ i, row->format };
	}
	return n;
}

size_t formats_by_name(
	const char *path, const struct importer *only, struct format_of ret[FORMATS_MAX])
{
	const char *wanted[] = { last_name(path), NULL };
	size_t n = 0;
	for (size_t w = 0; w < 2 && n == 0; w++) {
		for (size_t i = 0; importers[i]; i++) {
			if (!only || importers[i] == only)
				n = add(importers[i], wanted[w], ret, n);
		}
	}
	return n;
}

const struct import_format *formats_find(
	const struct importer *importer, const char *home, const char *path)
{
	const struct import_format *format = NULL;
	struct import_places places = { 0 };
	struct format_of formats[FORMATS_MAX];
	if (importer->places(home, &places, NULL) == 0) {
		for (size_t i = 0; i < places.n && !format; i++) {
			if (strcmp(places.v[i].path, path) == 0)
				format = places.v[i].format;
		}
	}
	import_places_done(&places);
	if (format)
		return format;
	size_t n = formats_by_name(path, importer, formats);
	int best = n > 1 ? formats_best(formats, n, path, NULL) : 0;
	/* a file that is gone, or of no known shape: its name is all there is to go by */
	return n ? formats[best < 0 ? 0 : best].format : NULL;
}

int formats_read(const struct import_format *format, const struct file *f,
	const struct import_sink *sink, struct pa_err *err)
{
	size_t skip = f->bom ? 3 : 0;
	return format->read(
		format->text ? NULL : f->root, f->text + skip, f->len - skip, sink, err);
}

static int count_entry(void *arg, struct import_entry *e, struct pa_err *err)
{
	struct format_match *m = arg;
	if (e->entry)
		m->usable++;
	else
		m->refused++;
	cJSON_Delete(e->entry);
	return 0;
}

int formats_match(const struct import_format *format, const struct file *f,
	struct format_match *ret, struct pa_err *err)
{
	const struct import_sink sink = { count_entry, ret };
	*ret = (struct format_match){ 0 };
	return formats_read(format, f, &sink, err);
}

int formats_best(const struct format_of *formats, size_t n, const char *path, struct pa_err *err)
{
	struct format_match most = { 0 };
	int best = -1;
	for (size_t i = 0; i < n; i++) {
		struct format_match m = { 0 };
		struct pa_err why;
		struct file f;
		file_read_settled(path, formats[i].format->text, &f);
		int rc = f.state != FILE_FOUND ? pa_fail(&why, PA_FILE_UNUSABLE, 0, "%s", f.reason)
					       : formats_match(formats[i].format, &f, &m, &why);
		file_done(&f);
		if (rc < 0 && err && i == 0)
			*err = why;
		if (rc < 0)
			continue;
		if (best < 0 || m.usable > most.usable ||
			(m.usable == most.usable && m.usable && m.refused < most.refused)) {
			most = m;
			best = (int)i;
		}
	}
	return best;
}

struct wanted {
	const char *name;
	struct format_entry *ret;
};

static int find_entry(void *arg, struct import_entry *e, struct pa_err *err)
{
	const struct wanted *w = arg;
	if (w->ret->there || strcmp(e->name, w->name) != 0) {
		cJSON_Delete(e->entry);
		return 0;
	}
	w->ret->there = true;
	w->ret->entry = e->entry;
	snprintf(w->ret->lane, sizeof(w->ret->lane), "%s", e->lane ? e->lane : "");
	if (!e->entry)
		snprintf(w->ret->refused, sizeof(w->ret->refused), "%s",
			e->refused ? e->refused : "it cannot be read");
	return 0;
}

int formats_entry(const struct import_format *format, const struct file *f, const char *name,
	struct format_entry *ret, struct pa_err *err)
{
	struct wanted w = { name, ret };
	const struct import_sink sink = { find_entry, &w };
	*ret = (struct format_entry){ 0 };
	return formats_read(format, f, &sink, err);
}

void format_entry_done(struct format_entry *e)
{
	cJSON_Delete(e->entry);
	e->entry = NULL;
}
