/*
 * A file of another tool: one character that chooses the tool ("a" is the first of the table), then the document,
 * as every format of that tool reads it. What a format reads it must be able to write, and find again.
 */
#include <string.h>

#include "store/import/import.h"

#include "fuzz_main.h"

#define KEPT 8

struct found {
	char *name, *lane;
	cJSON *entry;
};

struct finds {
	struct found v[KEPT];
	size_t n;
};

static void fuzz_set_up(void)
{
	json_init();
}

static char *copy(const char *text)
{
	char *ret = strdup(text);

	fuzz_check(ret);
	return ret;
}

static int keep(void *arg, struct import_entry *e, struct pa_err *err)
{
	struct finds *f = arg;

	(void)err;
	fuzz_check(e->name && strlen(e->name) <= 255);
	fuzz_check(!e->entry == !!e->refused);
	if (!e->entry)
		return 0;
	fuzz_check(e->provider && e->lane);
	fuzz_check(!strcmp(e->lane, "oauth") || !strcmp(e->lane, "api_key"));
	fuzz_check(cJSON_IsObject(e->entry) && !strcmp(json_str(e->entry, "type"), e->lane));
	if (!strcmp(e->lane, "api_key")) {
		const char *key = json_str(e->entry, "key");

		fuzz_check(key && *key);
	}
	if (f->n == KEPT) {
		cJSON_Delete(e->entry);
		return 0;
	}
	f->v[f->n++] = (struct found){ copy(e->name), copy(e->lane), e->entry };
	return 0;
}

static void finds_done(struct finds *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->v[i].name);
		free(f->v[i].lane);
		cJSON_Delete(f->v[i].entry);
	}
}

static int read_with(const struct import_format *format, const cJSON *root, const char *text,
	size_t len, struct finds *ret)
{
	const struct import_sink sink = { keep, ret };
	struct pa_err err = { 0 };
	int r = format->read(root, text, len, &sink, &err);

	fuzz_check((r < 0) == (err.code != PA_NONE));
	return r;
}

static const struct found *find(const struct finds *f, const struct found *like)
{
	for (size_t i = 0; i < f->n; i++) {
		if (!strcmp(f->v[i].name, like->name) && !strcmp(f->v[i].lane, like->lane))
			return &f->v[i];
	}
	return NULL;
}

/* Rotates one entry of the document, finds it again as it was written, and removes it. */
static void write_and_find(
	const struct import_format *format, const cJSON *root, const struct found *was)
{
	bool oauth = !strcmp(was->lane, "oauth");
	JSON_AUTO cJSON *changed = cJSON_Duplicate(root, true);
	JSON_AUTO cJSON *entry = cJSON_Duplicate(was->entry, true);
	struct finds again = { 0 }, gone = { 0 };
	const struct found *now;
	struct pa_err err;

	json_set_str(entry, oauth ? "access" : "key", "new-value", &err);
	if (oauth) { /* as a refresh leaves it */
		json_set_str(entry, "refresh", "new-refresh", &err);
		json_set_int(entry, "expires", INT64_C(1800000000000), &err);
	}
	if (format->write(changed, was->name, entry, &err) == 0) {
		fuzz_check(read_with(format, changed, NULL, 0, &again) == 0);
		now = find(&again, was);
		fuzz_check(now || again.n == KEPT);
		if (now && oauth)
			fuzz_check(!strcmp(json_str(now->entry, "refresh"), "new-refresh"));
		else if (now)
			fuzz_check(!strcmp(json_str(now->entry, "key"), "new-value"));
	}
	finds_done(&again);
	if (format->write(changed, was->name, NULL, &err) == 0) {
		(void)read_with(format, changed, NULL, 0, &gone);
		fuzz_check(!find(&gone, was));
	}
	finds_done(&gone);
}

static void try_format(const struct import_format *format, const char *text, size_t len)
{
	JSON_AUTO cJSON *root = NULL;
	struct finds f = { 0 };
	size_t n;

	if (!format->text && json_parse_lax(text, len, PA_FILE_UNUSABLE, &root, NULL) < 0)
		return;
	if (read_with(format, root, format->text ? text : NULL, format->text ? len : 0, &f) == 0 &&
		format->write) {
		n = f.n;
		for (size_t i = 0; i < n; i++)
			write_and_find(format, root, &f.v[i]);
	}
	finds_done(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t tools = 0;
	char *text;

	while (importers[tools])
		tools++;
	if (size < 1)
		return 0;
	text = malloc(size); /* with a NUL behind it, as files are read */
	fuzz_check(text);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	for (const struct import_name *n = importers[(uint8_t)(data[0] - 'a') % 32 % tools]->names;
		n->name; n++)
		try_format(n->format, text, size - 1);
	free(text);
	return 0;
}
