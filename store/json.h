/*
 * json - strict reading of untrusted JSON on top of cJSON.
 *
 * Input is bounded in bytes, depth and duplicate keys before anybody looks at a value. All cJSON
 * memory comes from the wiping allocator, so parsed tokens die with their tree. Only this module
 * calls cJSON_Parse. Threads: json_init once at start, then any (no state).
 */
#ifndef PIAUTH_JSON_H
#define PIAUTH_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define JSON_DEPTH_MAX 32
#define JSON_INT_MAX   9007199254740991.0 /* 2^53 - 1: beyond it a double is not exact */

void json_init(void); /* cJSON's allocator hooks; before any other call and any thread */

/*
 * Parses exactly len bytes. Refuses: bytes that are not UTF-8, NUL, anything after the value, nesting
 * deeper than JSON_DEPTH_MAX, duplicate member names in one object. The error is code with EBADMSG
 * (or EINVAL's own code) and a detail "line N: reason"; it never quotes the text.
 * json_parse_lax does the same and additionally allows comments (slash-star, slash-slash) and a
 * leading byte order mark: for files that people write.
 * On failure *ret_incomplete (may be NULL) tells whether the text only lacks its end.
 */
int json_parse(const char *text, size_t len, enum pa_code code, cJSON **ret, bool *ret_incomplete,
	struct pa_err *err);
/* On failure *ret_offset is where in the text it is wrong: up to there it can be read, in bytes from 0. */
int json_parse_at(const char *text, size_t len, enum pa_code code, cJSON **ret, size_t *ret_offset,
	struct pa_err *err);
int json_parse_lax(
	const char *text, size_t len, enum pa_code code, cJSON **ret, struct pa_err *err);

/*
 * The 1-based line of member `pointer` (RFC 6901, e.g. "/providers/groq/oauth") in text as
 * json_parse_lax takes it, or 0 if it is not there: for messages about a value that is wrong.
 */
int json_line_of(const char *text, size_t len, const char *pointer);

/* Typed members of an object: NULL / fallback where absent or of another type. */
const char *json_str(const cJSON *object, const char *name);
bool json_int(const cJSON *object, const char *name, int64_t *ret); /* whole, |n| < 2^53 */
bool json_bool(const cJSON *object, const char *name, bool fallback);
const cJSON *json_at(const cJSON *root, const char *pointer); /* RFC 6901; NULL if not there */

/* Setters replace what is there; 0 or -ENOMEM (err set). */
int json_set_str(cJSON *object, const char *name, const char *value, struct pa_err *err);
int json_set_strn(
	cJSON *object, const char *name, const char *value, size_t len, struct pa_err *err);
int json_set_int(cJSON *object, const char *name, int64_t value, struct pa_err *err);
int json_set(cJSON *object, const char *name, cJSON *owned,
	struct pa_err *err); /* takes owned, also on failure */
void json_drop(cJSON *object, const char *name);

/* Merges over into base field by field: objects recursively, the rest replaced; null removes
 * (RFC 7396). over stays the caller's. */
int json_merge(cJSON *base, const cJSON *over, struct pa_err *err);

/* json_format.c: unformatted text in wiping memory, for wipe_free; NULL on no memory. */
char *json_text(const cJSON *value);
/* The same as JSON.stringify(value, null, 2) lays it out: two spaces, no newline at the end. */
char *json_pretty(const cJSON *value);

void json_freep(cJSON **j);
#define JSON_AUTO __attribute__((cleanup(json_freep)))

#endif
