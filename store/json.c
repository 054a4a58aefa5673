#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "secret.h"
#include "utf8.h"

/*
 * One pass over the text decides whether it is JSON at all; cJSON, which takes more than RFC 8259
 * allows (leading zeros, raw control bytes, a \u0000 that cuts a string), then only builds the
 * tree. Values are numbered in the order of the text: so a node of the tree has a line in it.
 */

#define NUMBER_LEN_MAX 63    /* what cJSON 1.7.15 reads of a number before it cuts it */
#define NUMBER_LIMIT   1e201 /* finite, and json_format.c writes what is below it as below it */

static const char end_reached[] = "the text ends too early";

struct scan {
	const char *start, *p, *end;
	char *blank; /* the same text, writable: comments become spaces; or NULL */
	bool lax;
	bool in_string;
	int line;
	const char *reason; /* set when a step returned false */
	bool object[JSON_DEPTH_MAX];
	int depth;
	size_t values; /* seen so far */
	size_t want;   /* the number of the value whose line is asked for, from 1; 0: none */
	int wanted_line;
	size_t wanted_offset;
};

static bool bad(struct scan *s, const char *reason)
{
	s->reason = reason;
	return false;
}

/* Overwrites what was scanned since `from`; lines stay. */
static void blank_out(struct scan *s, const char *from)
{
	for (const char *c = from; s->blank && c < s->p; c++) {
		if (*c != '\n')
			s->blank[c - s->start] = ' ';
	}
}

/* At a slash; leaves s->p behind the comment. */
static bool skip_comment(struct scan *s)
{
	const char *from = s->p;
	bool block = s->end - s->p > 1 && s->p[1] == '*';
	if (!block && (s->end - s->p < 2 || s->p[1] != '/'))
		return bad(s, "a slash outside of a string");
	for (s->p += 2; s->p < s->end && (block || *s->p != '\n'); s->p++) {
		s->line += *s->p == '\n';
		if (block && s->end - s->p > 1 && s->p[0] == '*' && s->p[1] == '/') {
			s->p += 2;
			blank_out(s, from);
			return true;
		}
	}
	blank_out(s, from);
	return !block || bad(s, "a comment without its end");
}

/* To the next token; there must be one. */
static bool skip_space(struct scan *s)
{
	while (s->p < s->end) {
		if (*s->p == '/' && s->lax) {
			if (!skip_comment(s))
				return false;
			continue;
		}
		if (!strchr(" \t\r\n", *s->p))
			return true;
		s->line += *s->p++ == '\n';
	}
	return bad(s, end_reached);
}

/* Up to four hexadecimal digits at p; -1 if there is something else. */
static int hex(const char *p, size_t len)
{
	int n = 0;
	for (size_t i = 0; i < len && i < 4; i++) {
		int c = p[i] >= 'A' && p[i] <= 'F' ? p[i] - 'A' + 'a' : p[i];
		if ((c < '0' || c > '9') && (c < 'a' || c > 'f'))
			return -1;
		n = n * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
	}
	return n;
}

/* Behind "\u"; the first half of a surrogate pair takes the second one with it (RFC 8259 7). */
static bool scan_unicode_escape(struct scan *s)
{
	static const char what[] = "a bad escape in a string";
	size_t left = (size_t)(s->end - s->p);
	int unit = hex(s->p, left);
	if (unit < 0 || left < 4)
		return bad(s, unit < 0 ? what : end_reached);
	s->p += 4;
	left -= 4;
	if (unit == 0)
		return bad(s, "a NUL character");
	if (unit < 0xd800 || unit > 0xdfff)
		return true;
	if (unit > 0xdbff || memcmp(s->p, "\\u", left < 2 ? left : 2) != 0)
		return bad(s, what);
	int low = left > 2 ? hex(s->p + 2, left - 2) : 0;
	if (low < 0 || left < 6)
		return bad(s, low < 0 ? what : end_reached);
	s->p += 6;
	return (low >= 0xdc00 && low <= 0xdfff) || bad(s, what);
}

/* At the opening quote; leaves s->p behind the closing one. */
static bool scan_string(struct scan *s)
{
	s->in_string = true;
	s->p++;
	while (s->p < s->end) {
		char c = *s->p++;
		if (c == '"') {
			s->in_string = false;
			return true;
		}
		if ((unsigned char)c < 0x20) {
			s->p--;
			return bad(s, "a control character in a string");
		}
		if (c != '\\' || s->p == s->end)
			continue;
		c = *s->p++;
		if (c == 'u') {
			if (!scan_unicode_escape(s))
				return false;
		} else if (!strchr("\"\\/bfnrt", c)) {
			return bad(s, "a bad escape in a string");
		}
	}
	return bad(s, end_reached);
}

static bool scan_digits(struct scan *s)
{
	const char *from = s->p;
	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return s->p > from || bad(s, s->p == s->end ? end_reached : "a bad number");
}

static bool scan_number(struct scan *s)
{
	const char *from = s->p;
	s->p += *s->p == '-';
	if (s->p < s->end && *s->p == '0')
		s->p++;
	else if (!scan_digits(s))
		return false;
	if (s->p < s->end && *s->p == '.') {
		s->p++;
		if (!scan_digits(s))
			return false;
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		s->p += s->p < s->end && (*s->p == '-' || *s->p == '+');
		if (!scan_digits(s))
			return false;
	}
	size_t len = (size_t)(s->p - from);
	if (len > NUMBER_LEN_MAX)
		return bad(s, "a number with too many digits");
	char digits[NUMBER_LEN_MAX + 1] = { 0 };
	memcpy(digits, from, len);
	/* The value counts, not its spelling: 42e200 would be written as 4.2e+201. */
	double value = strtod(digits, NULL);
	return (value > -NUMBER_LIMIT && value < NUMBER_LIMIT) || bad(s, "a number out of range");
}

static bool scan_scalar(struct scan *s)
{
	static const char *const words[] = { "true", "false", "null" };
	if (*s->p == '"')
		return scan_string(s);
	if (*s->p == '-' || (*s->p >= '0' && *s->p <= '9'))
		return scan_number(s);
	size_t left = (size_t)(s->end - s->p);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t len = strlen(words[i]);
		if (strncmp(s->p, words[i], len < left ? len : left) != 0)
			continue;
		s->p += len < left ? len : left;
		return left >= len || bad(s, end_reached);
	}
	return bad(s, "no value where one must be");
}

static bool scan_name(struct scan *s)
{
	if (!skip_space(s))
		return false;
	if (*s->p != '"')
		return bad(s, "no member name where one must be");
	if (!scan_string(s) || !skip_space(s))
		return false;
	if (*s->p != ':')
		return bad(s, "no colon behind a member name");
	s->p++;
	return true;
}

/* At a bracket. *ret_empty: it closed at once, the value is complete. */
static bool open_container(struct scan *s, bool *ret_empty)
{
	if (s->depth == JSON_DEPTH_MAX)
		return bad(s, "nested too deeply");
	bool object = *s->p++ == '{';
	s->object[s->depth++] = object;
	if (!skip_space(s))
		return false;
	*ret_empty = *s->p == (object ? '}' : ']');
	if (*ret_empty) {
		s->p++;
		s->depth--;
		return true;
	}
	return !object || scan_name(s);
}

/* Behind a value: closes what ends here, up to the next value or the end of the document. */
static bool finish_value(struct scan *s, bool *ret_done)
{
	while (s->depth) {
		bool object = s->object[s->depth - 1];
		if (!skip_space(s))
			return false;
		if (*s->p == ',') {
			s->p++;
			return !object || scan_name(s);
		}
		if (*s->p != (object ? '}' : ']'))
			return bad(s, object ? "neither comma nor } behind a member"
					     : "neither comma nor ] behind an element");
		s->p++;
		s->depth--;
	}
	/* Here, and only here, the end is what must come. */
	if (skip_space(s))
		return bad(s, "something behind the value");
	return *ret_done = s->reason == end_reached;
}

static bool scan_document(struct scan *s)
{
	bool done = false;
	if (s->lax && s->end - s->p >= 3 && memcmp(s->p, "\xef\xbb\xbf", 3) == 0) {
		s->p += 3;
		blank_out(s, s->start);
	}
	while (!done) {
		bool complete = true;
		if (!skip_space(s))
			return false;
		if (++s->values == s->want) {
			s->wanted_line = s->line;
			s->wanted_offset = (size_t)(s->p - s->start);
		}
		if (*s->p == '{' || *s->p == '[') {
			if (!open_container(s, &complete))
				return false;
		} else if (!scan_scalar(s)) {
			return false;
		}
		if (complete && !finish_value(s, &done))
			return false;
	}
	return true;
}

/* Counts the nodes up to and with `node`, in the order of the text; false if it is not there. */
static bool count_to(const cJSON *root, const cJSON *node, size_t *count)
{
	const cJSON *child;
	++*count;
	if (root == node)
		return true;
	cJSON_ArrayForEach (child, root) {
		if (count_to(child, node, count))
			return true;
	}
	return false;
}

/* ret_offset may be NULL. 0: it is not there. */
static int line_of_node(
	const char *text, size_t len, const cJSON *root, const cJSON *node, size_t *ret_offset)
{
	struct scan s = { .start = text, .p = text, .end = text + len, .line = 1, .lax = true };
	if (!count_to(root, node, &s.want))
		return 0;
	scan_document(&s); /* it parsed before */
	if (ret_offset)
		*ret_offset = s.wanted_offset;
	return s.wanted_line;
}

static int compare_names(const void *a, const void *b)
{
	const cJSON *const *x = a, *const *y = b;
	return strcmp((*x)->string, (*y)->string);
}

/*
 * A member whose name its object has twice, in *ret_twice; -ENOMEM. Sorts, because the text decides
 * how many names there are, and comparing every pair is quadratic.
 */
static int find_duplicate(const cJSON *value, const cJSON **ret_twice)
{
	const cJSON *child;
	size_t n = 0;
	cJSON_ArrayForEach (child, value) {
		if (child->child && find_duplicate(child, ret_twice) < 0)
			return -ENOMEM;
		n++;
	}
	if (*ret_twice || n < 2 || !cJSON_IsObject(value))
		return 0;
	const cJSON **sorted = reallocarray(NULL, n, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	n = 0;
	for (child = value->child; child; child = child->next)
		sorted[n++] = child;
	qsort(sorted, n, sizeof(*sorted), compare_names);
	for (size_t i = 1; i < n; i++) {
		if (strcmp(sorted[i - 1]->string, sorted[i]->string) == 0)
			*ret_twice = sorted[i];
	}
	free(sorted);
	return 0;
}

/* blank is text itself where comments are allowed, else NULL. */
static int parse(const char *text, size_t len, char *blank, enum pa_code code, cJSON **ret,
	bool *ret_incomplete, size_t *ret_offset, struct pa_err *err)
{
	bool cut;
	size_t good = utf8_bad_byte(text, len, &cut);
	struct scan s = { text, text, text + good, blank, .lax = blank != NULL, .line = 1 };
	bool valid = scan_document(&s);
	bool incomplete = !valid && s.reason == end_reached;
	size_t offset = (size_t)(s.p - text);

	/* Input that ends inside a sequence only lacks its end; any other bad byte stays bad. */
	if (good < len && (valid || incomplete)) {
		incomplete = incomplete && cut && s.in_string;
		valid = false;
		offset = good;
		if (!incomplete)
			s.reason = text[good] ? "bytes that are not UTF-8" : "a NUL character";
	}
	if (valid) {
		JSON_AUTO cJSON *tree = cJSON_ParseWithLengthOpts(text, len, NULL, 0);
		const cJSON *twice = NULL;
		if (!tree || find_duplicate(tree, &twice) < 0)
			return pa_fail(err, PA_NO_MEMORY, 0, "JSON of %zu bytes", len);
		if (!twice) {
			*ret = tree;
			tree = NULL;
			return 0;
		}
		s.reason = "a member name that its object has twice";
		s.line = line_of_node(text, len, tree, twice, &offset);
	}
	if (ret_incomplete)
		*ret_incomplete = incomplete;
	if (ret_offset)
		*ret_offset = offset;
	return pa_fail(err, code, pa_errno(code) == EINVAL ? EINVAL : EBADMSG, "line %d: %s",
		s.line, s.reason);
}

int json_parse(const char *text, size_t len, enum pa_code code, cJSON **ret, bool *ret_incomplete,
	struct pa_err *err)
{
	return parse(text, len, NULL, code, ret, ret_incomplete, NULL, err);
}

int json_parse_at(const char *text, size_t len, enum pa_code code, cJSON **ret, size_t *ret_offset,
	struct pa_err *err)
{
	return parse(text, len, NULL, code, ret, NULL, ret_offset, err);
}

int json_parse_lax(const char *text, size_t len, enum pa_code code, cJSON **ret, struct pa_err *err)
{
	WIPE_AUTO char *copy = wipe_malloc(len + 1);
	if (!copy)
		return pa_fail(err, PA_NO_MEMORY, 0, "JSON of %zu bytes", len);
	if (len)
		memcpy(copy, text, len);
	return parse(copy, len, copy, code, ret, NULL, NULL, err);
}

int json_line_of(const char *text, size_t len, const char *pointer)
{
	JSON_AUTO cJSON *tree = NULL;
	if (json_parse_lax(text, len, PA_CONFIG, &tree, NULL) < 0)
		return 0;
	return line_of_node(text, len, tree, json_at(tree, pointer), NULL);
}

void json_init(void)
{
	cJSON_Hooks hooks = { .malloc_fn = wipe_malloc, .free_fn = wipe_free };
	cJSON_InitHooks(&hooks);
}

const char *json_str(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

bool json_int(const cJSON *object, const char *name, int64_t *ret)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
	if (!cJSON_IsNumber(item))
		return false;
	double value = item->valuedouble;
	if (!(value >= -JSON_INT_MAX && value <= JSON_INT_MAX) || (double)(int64_t)value != value)
		return false;
	*ret = (int64_t)value;
	return true;
}

bool json_bool(const cJSON *object, const char *name, bool fallback)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
	return cJSON_IsBool(item) ? cJSON_IsTrue(item) : fallback;
}

/* RFC 6901: the byte at *p of a token, ~0 and ~1 resolved; -1 at the token's end. */
static int token_byte(const char **p)
{
	if (**p == '\0' || **p == '/')
		return -1;
	if (**p == '~' && ((*p)[1] == '0' || (*p)[1] == '1')) {
		*p += 2;
		return (*p)[-1] == '0' ? '~' : '/';
	}
	return (unsigned char)*(*p)++;
}

/* Whether the token at p is name; *ret_rest: what follows it. */
static bool token_is(const char *p, const char *name, const char **ret_rest)
{
	int byte;
	while ((byte = token_byte(&p)) >= 0) {
		if (byte != (unsigned char)*name++)
			return false;
	}
	if (*name == '\0')
		*ret_rest = p;
	return *name == '\0';
}

const cJSON *json_at(const cJSON *root, const char *pointer)
{
	while (root && *pointer) {
		const cJSON *child;
		size_t index = 0;
		char digits[24];
		if (*pointer++ != '/')
			return NULL;
		cJSON_ArrayForEach (child, root) {
			snprintf(digits, sizeof(digits), "%zu", index++);
			if (token_is(pointer, cJSON_IsObject(root) ? child->string : digits,
				    &pointer))
				break;
		}
		root = child;
	}
	return root;
}

int json_set(cJSON *object, const char *name, cJSON *owned, struct pa_err *err)
{
	char *copy = owned ? wipe_strdup(name) : NULL;
	if (!copy) {
		cJSON_Delete(owned);
		return pa_fail(err, PA_NO_MEMORY, 0, "JSON member");
	}
	/* the name is put in by hand: cJSON's own ways may fail half done */
	if (owned->string && !(owned->type & cJSON_StringIsConst))
		cJSON_free(owned->string);
	owned->string = copy;
	owned->type &= ~cJSON_StringIsConst;
	cJSON *old = cJSON_GetObjectItemCaseSensitive(object, name);
	if (!(old ? cJSON_ReplaceItemViaPointer(object, old, owned)
		  : cJSON_AddItemToArray(object, owned))) {
		cJSON_Delete(owned);
		return pa_fail(err, PA_BAD_INPUT, 0, "not a JSON object");
	}
	return 0;
}

int json_set_strn(
	cJSON *object, const char *name, const char *value, size_t len, struct pa_err *err)
{
	bool cut;
	/* what is stored must be readable again */
	if (utf8_bad_byte(value, len, &cut) < len)
		return pa_fail(err, PA_BAD_INPUT, 0, "not UTF-8 text");
	cJSON *item = cJSON_CreateNull();
	char *copy = wipe_malloc(len + 1);
	if (!item || !copy) {
		cJSON_Delete(item);
		wipe_free(copy);
		return pa_fail(err, PA_NO_MEMORY, 0, "JSON string");
	}
	memcpy(copy, value, len);
	copy[len] = '\0';
	item->type = cJSON_String;
	item->valuestring = copy;
	return json_set(object, name, item, err);
}

int json_set_str(cJSON *object, const char *name, const char *value, struct pa_err *err)
{
	return json_set_strn(object, name, value, strlen(value), err);
}

int json_set_int(cJSON *object, const char *name, int64_t value, struct pa_err *err)
{
	if (value > (int64_t)JSON_INT_MAX || value < -(int64_t)JSON_INT_MAX)
		return pa_fail(err, PA_BAD_INPUT, 0, "a number out of range");
	return json_set(object, name, cJSON_CreateNumber((double)value), err);
}

void json_drop(cJSON *object, const char *name)
{
	cJSON_DeleteItemFromObjectCaseSensitive(object, name);
}

int json_merge(cJSON *base, const cJSON *over, struct pa_err *err)
{
	const cJSON *item;
	if (!cJSON_IsObject(base) || !cJSON_IsObject(over))
		return pa_fail(err, PA_BAD_INPUT, 0, "not a JSON object");
	cJSON_ArrayForEach (item, over) {
		cJSON *old = cJSON_GetObjectItemCaseSensitive(base, item->string);
		int rc = 0;
		if (cJSON_IsNull(item)) {
			json_drop(base, item->string);
		} else if (cJSON_IsObject(item)) {
			if (!cJSON_IsObject(old)) {
				rc = json_set(base, item->string, cJSON_CreateObject(), err);
				old = cJSON_GetObjectItemCaseSensitive(base, item->string);
			}
			if (rc == 0) /* also into a new one: nulls inside must not stay */
				rc = json_merge(old, item, err);
		} else {
			rc = json_set(base, item->string, cJSON_Duplicate(item, true), err);
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

void json_freep(cJSON **j)
{
	cJSON_Delete(*j);
	*j = NULL;
}
