#include "json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "secret.h"

#define INDENT 2 /* spaces, as the tools whose files are rewritten use */

/*
 * cJSON writes 15 digits of a number when they come close, and so loses the end of 2^53 - 1, a date
 * that means "never". Such numbers are given 17 digits here. False: no memory.
 */
static bool spell_numbers_out(cJSON *value)
{
	char digits[32];
	cJSON *child;
	cJSON_ArrayForEach (child, value) {
		if (!spell_numbers_out(child))
			return false;
	}
	snprintf(digits, sizeof(digits), "%.15g", value->valuedouble);
	if (!cJSON_IsNumber(value) || isnan(value->valuedouble) ||
		strtod(digits, NULL) == value->valuedouble)
		return true;
	snprintf(digits, sizeof(digits), "%.17g", value->valuedouble);
	value->type = cJSON_Raw;
	value->valuestring = wipe_strdup(digits);
	return value->valuestring != NULL;
}

char *json_text(const cJSON *value)
{
	JSON_AUTO cJSON *copy = cJSON_Duplicate(value, true);
	return copy && spell_numbers_out(copy) ? cJSON_PrintUnformatted(copy) : NULL;
}

/* What is written, or with to == NULL only counted. */
struct out {
	char *to;
	size_t len;
};

static void put(struct out *o, char c)
{
	if (o->to)
		o->to[o->len] = c;
	o->len++;
}

static void put_line(struct out *o, size_t depth)
{
	put(o, '\n');
	for (size_t i = 0; i < depth * INDENT; i++)
		put(o, ' ');
}

/* Compact JSON as cJSON prints it, laid out: so numbers and escapes are the same in both. */
static void lay_out(struct out *o, const char *text)
{
	size_t depth = 0;
	bool in_string = false;
	for (const char *p = text; *p; p++) {
		bool closes = !in_string && (*p == '}' || *p == ']');
		if (closes) {
			depth--;
			if (p[-1] != '{' && p[-1] != '[') /* empty ones stay together */
				put_line(o, depth);
		}
		put(o, *p);
		if (in_string && *p == '\\')
			put(o, *++p);
		else if (*p == '"')
			in_string = !in_string;
		else if (in_string || closes)
			continue;
		else if (*p == ':')
			put(o, ' ');
		else if (*p == ',')
			put_line(o, depth);
		else if (*p == '{' || *p == '[') {
			depth++;
			if (p[1] != '}' && p[1] != ']')
				put_line(o, depth);
		}
	}
}

char *json_pretty(const cJSON *value)
{
	WIPE_AUTO char *text = json_text(value);
	struct out o = { 0 };
	if (!text)
		return NULL;
	lay_out(&o, text);
	o.to = wipe_malloc(o.len + 1);
	if (!o.to)
		return NULL;
	o.len = 0;
	lay_out(&o, text);
	o.to[o.len] = '\0';
	return o.to;
}
