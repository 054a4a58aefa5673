#include "redact.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "redact_names.h"
#include "secret.h"
#include "utf8.h"

#define STRINGS_MAX  8   /* JSON in JSON in JSON ...; a deeper quote is not looked at */
#define NAME_MAX_LEN 128 /* no longer text is taken for the name of a value */

#define PATH_SHOWN_MAX 512 /* redact_find cuts a longer path */

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* "X-Api_Key" -> "xapikey"; \u0041 counts as what it stands for. */
static void normalise(const char *name, size_t len, char out[NAME_MAX_LEN + 1])
{
	size_t n = 0;
	for (size_t i = 0; i < len && n < NAME_MAX_LEN; i++) {
		char c = name[i];
		if (len - i >= 6 && strncmp(name + i, "\\u00", 4) == 0) {
			char hex[3] = { name[i + 4], name[i + 5] };
			c = (char)strtoul(hex, NULL, 16);
			i += 5;
		}
		if (is_alnum(c))
			out[n++] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
	}
	out[n] = '\0';
}

static bool is_one_of(const char *const *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(list[i], name) == 0)
			return true;
	}
	return false;
}

/* Whether this occurrence of a part, with what follows it, holds a secret. */
static bool occurrence_is_secret(const char *name, const char *part, const char *tail)
{
	for (size_t i = 0; i < COUNT(harmless); i++) {
		if (strcmp(part, harmless[i].part) == 0 &&
			strncmp(tail, harmless[i].tail, strlen(harmless[i].tail)) == 0)
			return false;
	}
	if (strcmp(part, "token") != 0 || *tail != 's')
		return true;
	for (size_t i = 0; i < COUNT(token_plurals); i++) {
		if (strstr(name, token_plurals[i]))
			return true;
	}
	return false;
}

bool redact_name_is_secret(const char *name, size_t len)
{
	char plain[NAME_MAX_LEN + 1];
	/* of an endless name the end decides, as in some_prefix_token */
	size_t skip = len > NAME_MAX_LEN ? len - NAME_MAX_LEN : 0;
	normalise(name + skip, len - skip, plain);
	if (is_one_of(secret_names, COUNT(secret_names), plain))
		return true;
	for (size_t i = 0; i < COUNT(secret_parts); i++) {
		const char *at = strstr(plain, secret_parts[i]);
		for (; at; at = strstr(at + 1, secret_parts[i])) {
			if (occurrence_is_secret(
				    plain, secret_parts[i], at + strlen(secret_parts[i])))
				return true;
		}
	}
	return false;
}

/*
 * Text. One pass from left to right; every step either copies what is harmless or replaces a value
 * whole. Where a value has no clear end, too much is replaced rather than too little.
 */

struct scan {
	const char *in;
	size_t len;
	size_t at;
	/* the strings that `at` is in, outermost first: where each one's closing quote begins */
	struct {
		size_t end;
		size_t closing; /* the length of the quote, backslashes included */
	} strings[STRINGS_MAX];
	int depth;
	size_t limit; /* where the innermost ends; len outside of any */
	char *out;
	size_t out_len;
	size_t out_room;
	bool no_memory;
};

static void put(struct scan *s, const char *text, size_t len)
{
	if (s->no_memory)
		return;
	if (s->out_room - s->out_len <= len) {
		size_t room = (s->out_room + len) * 2 + 64;
		char *grown = wipe_realloc(s->out, room);
		if ((s->no_memory = !grown))
			return;
		s->out = grown;
		s->out_room = room;
	}
	memcpy(s->out + s->out_len, text, len);
	s->out_len += len;
}

/* Copies the input up to `to`. */
static void copy_to(struct scan *s, size_t to)
{
	put(s, s->in + s->at, to - s->at);
	s->at = to;
}

/* Replaces the input up to `to`. */
static void replace_to(struct scan *s, size_t to)
{
	put(s, REDACTED, strlen(REDACTED));
	s->at = to;
}

static bool starts(const struct scan *s, size_t at, const char *text)
{
	size_t len = strlen(text);
	return s->len - at >= len && strncasecmp(s->in + at, text, len) == 0;
}

static bool is_word(char c)
{
	return is_alnum(c) || c == '_' || c == '-' || c == '.' || c == '$';
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

static size_t skip_spaces(const struct scan *s, size_t at, bool newlines)
{
	while (at < s->limit && is_space(s->in[at]) && (newlines || s->in[at] != '\n'))
		at++;
	return at;
}

/* Where the first of these characters stands; the limit if there is none. */
static size_t find_any(const struct scan *s, size_t at, const char *stops)
{
	while (at < s->limit && !strchr(stops, s->in[at]))
		at++;
	return at;
}

/* How deep a quote with this many backslashes before it is nested: 0, 1, 3, 7 ... of them. */
static size_t quote_level(size_t backslashes)
{
	return (backslashes ^ (backslashes + 1)) >> 1;
}

/* A quote with its backslashes at `at`? *ret_level, and *ret_in: where the text in it begins. */
static bool quote_at(const struct scan *s, size_t at, size_t *ret_level, size_t *ret_in)
{
	size_t quote = at;
	while (quote < s->len && s->in[quote] == '\\')
		quote++;
	if (quote == s->len || (s->in[quote] != '"' && s->in[quote] != '\''))
		return false;
	*ret_level = quote_level(quote - at);
	*ret_in = quote + 1;
	return true;
}

/* Where the string that begins at `in` ends: before its closing quote's backslashes, or limit. */
static size_t string_end(const struct scan *s, size_t in, size_t level, size_t limit)
{
	char quote = s->in[in - 1];
	size_t backslashes = 0;
	for (size_t i = in; i < limit; i++) {
		if (s->in[i] == '\\') {
			backslashes++;
			continue;
		}
		if (s->in[i] == quote && quote_level(backslashes) == level)
			return i - level;
		backslashes = 0;
	}
	return limit;
}

/* Behind the object or array at `at`; the limit if it is not closed. */
static size_t container_end(const struct scan *s, size_t at)
{
	size_t depth = 0;
	while (at < s->limit) {
		size_t level, in;
		char c = s->in[at];
		if (quote_at(s, at, &level, &in)) {
			size_t end = string_end(s, in, level, s->limit);
			at = end < s->limit ? end + level + 1 : s->limit;
			continue;
		}
		at++;
		if (c == '{' || c == '[')
			depth++;
		if ((c == '}' || c == ']') && --depth == 0)
			return at;
	}
	return s->limit;
}

/* A delimiter of a query that stands encoded in another query. */
static bool is_encoded(const struct scan *s, size_t at, const char *code)
{
	return s->in[at] == '%' && starts(s, at, code);
}

/* & ends a value only where a next one begins: passwords may hold it. */
static bool is_next_parameter(const struct scan *s, size_t at)
{
	if (is_encoded(s, at, "%26"))
		return true;
	if (s->in[at++] != '&')
		return false;
	size_t name = at;
	while (at < s->limit && is_word(s->in[at]))
		at++;
	return at > name && at < s->limit && s->in[at] == '=';
}

/* The end of a value that no quotes enclose. */
static size_t value_end(const struct scan *s, size_t at)
{
	while (at < s->limit && !is_space(s->in[at]) && !is_next_parameter(s, at))
		at++;
	return at;
}

/* NAME=value: the value is a word, or an authentication scheme and a word. */
static size_t assigned_end(const struct scan *s, size_t at)
{
	static const char *const schemes[] = { "apikey", "basic", "bearer", "digest", "negotiate",
		"token" };
	char plain[NAME_MAX_LEN + 1];
	size_t end = value_end(s, at);
	normalise(s->in + at, end - at, plain);
	return is_one_of(schemes, COUNT(schemes), plain) ? value_end(s, skip_spaces(s, end, false))
							 : end;
}

/* A name and where its value begins. */
struct pair {
	size_t name;
	size_t name_len;
	size_t quote;     /* where the quotes around the name begin */
	size_t quote_len; /* their backslashes included; 0: none */
	size_t value;
	bool colon;
};

/* Looks for : or = behind a name. */
static bool find_value(const struct scan *s, size_t behind, struct pair *pair)
{
	size_t at = skip_spaces(s, behind, pair->quote_len > 0);
	if (at >= s->limit)
		return false;
	pair->colon = s->in[at] == ':';
	if (is_encoded(s, at, "%3d"))
		at += 3;
	else if ((!pair->colon && s->in[at] != '=') || starts(s, at, "://"))
		return false;
	else
		at += starts(s, at, "=>") || starts(s, at, ":=") || starts(s, at, "==") ? 2 : 1;
	pair->value = skip_spaces(s, at, pair->quote_len > 0);
	return true;
}

/* code=... and state=... are secrets in a query only: exit code=1 is none. */
static bool is_query_secret(const struct scan *s, const struct pair *pair)
{
	char plain[NAME_MAX_LEN + 1];
	normalise(s->in + pair->name, pair->name_len, plain);
	if (pair->colon || !is_one_of(query_names, COUNT(query_names), plain))
		return false;
	if (pair->name > 0 && strchr("?&#", s->in[pair->name - 1]))
		return true;
	size_t before = pair->name > 2 ? pair->name - 3 : 0;
	if (is_encoded(s, before, "%26") || is_encoded(s, before, "%3f"))
		return true;
	size_t end = value_end(s, pair->value);
	return end < s->limit && !is_space(s->in[end]);
}

static void replace_value(struct scan *s, const struct pair *pair)
{
	size_t level, in;
	copy_to(s, pair->value);
	if (s->at >= s->limit)
		return;
	if (quote_at(s, s->at, &level, &in)) {
		size_t end = string_end(s, in, level, s->limit);
		copy_to(s, in);
		replace_to(s, end);
		if (end < s->limit)
			copy_to(s, end + level + 1);
		return;
	}
	size_t end = pair->quote_len ? find_any(s, s->at, ",}] \t\n")
		     : pair->colon   ? find_any(s, s->at, "\n")
				     : assigned_end(s, s->at);
	if (s->in[s->at] == '{' || s->in[s->at] == '[') {
		size_t behind = container_end(s, s->at);
		end = end > behind ? end : behind;
	}
	if (end == s->at)
		return;
	put(s, s->in + pair->quote, pair->quote_len);
	replace_to(s, end);
	put(s, s->in + pair->quote, pair->quote_len);
}

/* A name with a value at s->at? If it holds a secret, this is dealt with. */
static bool step_pair(struct scan *s, struct pair *pair, size_t behind)
{
	if (!pair->name_len || !find_value(s, behind, pair))
		return false;
	bool secret = redact_name_is_secret(s->in + pair->name, pair->name_len) ||
		      is_query_secret(s, pair);
	if (secret)
		replace_value(s, pair);
	return secret;
}

/* A single quote encloses something only in code: {'name': 'value'}. */
static bool is_apostrophe(const struct scan *s, size_t at, size_t behind)
{
	while (at > 0 && is_space(s->in[at - 1]))
		at--;
	return (at > 0 && !strchr("{[(,:=", s->in[at - 1])) ||
	       (behind < s->limit && is_alnum(s->in[behind]));
}

/* At a quote: the name of a member, or a text that is gone into. */
static bool step_quote(struct scan *s)
{
	size_t level, in;
	if (!quote_at(s, s->at, &level, &in))
		return false;
	size_t end = string_end(s, in, level, s->limit);
	if (s->in[in - 1] == '\'' && is_apostrophe(s, s->at, end + level + 1))
		return false;
	struct pair pair = { in, end - in, .quote = s->at, .quote_len = in - s->at };
	if (end < s->limit && end - in <= NAME_MAX_LEN && step_pair(s, &pair, end + level + 1))
		return true;
	copy_to(s, in);
	if (end < s->limit && s->depth < STRINGS_MAX) {
		s->strings[s->depth].end = end;
		s->strings[s->depth++].closing = level + 1;
	}
	return true;
}

/* Past the quotes of strings that end here; a replaced value may have taken them with it. */
static void leave_strings(struct scan *s)
{
	while (s->depth && s->strings[s->depth - 1].end <= s->at) {
		s->depth--;
		if (s->strings[s->depth].end == s->at)
			copy_to(s, s->at + s->strings[s->depth].closing);
	}
	s->limit = s->depth ? s->strings[s->depth - 1].end : s->len;
}

/* -----BEGIN ... PRIVATE KEY----- to the END line of it (RFC 7468). */
static bool step_pem(struct scan *s)
{
	static const char begin[] = "-----BEGIN ", private[] = "PRIVATE KEY", end[] = "-----END ";
	if (!starts(s, s->at, begin))
		return false;
	size_t label = s->at + strlen(begin);
	size_t label_len = find_any(s, label, "-\n") - label;
	if (label >= s->limit || !memmem(s->in + label, label_len, private, strlen(private)))
		return false;
	const char *closing = memmem(s->in + label, s->len - label, end, strlen(end));
	size_t to = s->len;
	if (closing) {
		to = (size_t)(closing - s->in) + strlen(end);
		const char *dashes = memmem(s->in + to, s->len - to, "-----", 5);
		to = dashes ? (size_t)(dashes - s->in) + 5 : s->len;
	}
	replace_to(s, to);
	return true;
}

/* scheme://user:password@host */
static bool step_userinfo(struct scan *s, size_t behind)
{
	if (!starts(s, behind, "://"))
		return false;
	size_t from = behind + 3;
	size_t end = find_any(s, from, " \t\n/?#\"'@");
	if (end == s->limit || s->in[end] != '@')
		return false;
	copy_to(s, from);
	replace_to(s, end);
	return true;
}

static bool is_base64(char c)
{
	return is_alnum(c) || (c && strchr("+/=._~-", c));
}

/* Bearer and Basic credentials wherever they stand (RFC 6750 2.1, RFC 7617 2). */
static bool step_credential(struct scan *s, size_t behind)
{
	size_t len = behind - s->at;
	bool bearer = len == 6 && starts(s, s->at, "bearer");
	bool basic = len == 5 && starts(s, s->at, "basic");
	size_t from = skip_spaces(s, behind, false);
	size_t end = from;
	while (end < s->limit && is_base64(s->in[end]))
		end++;
	if ((!bearer && !basic) || from == behind || end == from)
		return false;
	/* not a challenge (realm="..."), nor English: base64 is padded */
	if ((s->in[end - 1] == '=' && end < s->len && s->in[end] == '"') ||
		(basic && ((end - from) % 4 != 0 || end - from < 8)))
		return false;
	copy_to(s, from);
	replace_to(s, end);
	return true;
}

/* header.payload.signature, the header a JSON object (RFC 7519). */
static bool is_jwt(const char *word, size_t len)
{
	const char *dot = len > 16 && strncmp(word, "eyJ", 3) == 0 ? memchr(word, '.', len) : NULL;
	return dot && memchr(dot + 1, '.', len - (size_t)(dot + 1 - word)) != NULL;
}

/* Where in a word a key of a known kind begins, or SIZE_MAX. The key may end behind the word. */
static size_t find_key(const struct scan *s, size_t word, size_t word_end, size_t key_end)
{
	for (size_t i = word; i < word_end; i++) {
		if (i > word && is_alnum(s->in[i - 1]))
			continue;
		if (is_jwt(s->in + i, word_end - i))
			return i;
		for (size_t k = 0; k < COUNT(key_prefixes); k++) {
			size_t prefix = strlen(key_prefixes[k]);
			if (key_end - i >= prefix + KEY_TAIL_MIN &&
				memcmp(s->in + i, key_prefixes[k], prefix) == 0)
				return i;
		}
	}
	return SIZE_MAX;
}

static void step_word(struct scan *s)
{
	size_t end = s->at + 1;
	while (end < s->limit && is_word(s->in[end]) && !starts(s, end, "-----"))
		end++;
	if (step_userinfo(s, end) || step_credential(s, end))
		return;
	struct pair pair = { .name = s->at, .name_len = end - s->at };
	if (step_pair(s, &pair, end))
		return;
	size_t key_end = end;
	while (key_end < s->limit && is_base64(s->in[key_end]))
		key_end++;
	size_t key = find_key(s, s->at, end, key_end);
	if (key != SIZE_MAX) {
		copy_to(s, key);
		replace_to(s, key_end);
	} else {
		copy_to(s, end);
	}
}

static void redact(struct scan *s)
{
	while (s->at < s->len) {
		leave_strings(s);
		if (s->at == s->len)
			break;
		char c = s->in[s->at];
		if (c == '-' && step_pem(s))
			continue;
		if ((c == '"' || c == '\'' || c == '\\') && step_quote(s))
			continue;
		if (is_word(c))
			step_word(s);
		else
			copy_to(s, s->at + (c == '\\' ? strspn(s->in + s->at, "\\") : 1));
	}
}

/* A copy that can be printed: no control bytes but newline and tab, nothing that is not UTF-8. */
static char *printable_copy(const char *text, size_t len)
{
	char *copy = wipe_malloc(len + 1);
	if (!copy)
		return NULL;
	const unsigned char *from = (const unsigned char *)text;
	for (size_t i = 0; i < len;) {
		int n = utf8_len(from + i, len - i);
		bool control = from[i] == 0x7f || (from[i] < 0x20 && !is_space(text[i])) ||
			       (n == 2 && from[i] == 0xc2 && from[i + 1] < 0xa0); /* C1 */
		size_t width = n < 1 ? 1 : (size_t)n;
		if (n < 1 || control)
			memset(copy + i, '?', width);
		else
			memcpy(copy + i, from + i, width);
		i += width;
	}
	copy[len] = '\0';
	return copy;
}

char *redact_text(const char *text, size_t len)
{
	bool cut = len > REDACT_MAX;
	len = cut ? REDACT_MAX : len;
	WIPE_AUTO char *in = printable_copy(text, len);
	if (!in)
		return NULL;
	struct scan s = { .in = in, .len = len, .limit = len };
	redact(&s);
	if (cut)
		put(&s, " [cut]", 6);
	put(&s, "", 1);
	if (s.no_memory) {
		wipe_free(s.out);
		return NULL;
	}
	return s.out;
}

static bool member_is_secret(const cJSON *member)
{
	return member->string && redact_name_is_secret(member->string, strlen(member->string));
}

int redact_json(cJSON *value, struct pa_err *err)
{
	cJSON *member, *next;
	int rc = 0;
	for (member = value ? value->child : NULL; rc == 0 && member; member = next) {
		next = member->next;
		if (member_is_secret(member))
			rc = json_set(value, member->string, cJSON_CreateString(REDACTED), err);
		else
			rc = redact_json(member, err);
	}
	return rc;
}

/* Appends the way to the first open secret under value to path; false if there is none. */
static bool find_open(const cJSON *value, char *path, size_t room)
{
	const cJSON *child;
	size_t index = 0;
	cJSON_ArrayForEach (child, value) {
		int len = cJSON_IsArray(value) ? snprintf(path, room, "[%zu]", index++)
					       : snprintf(path, room, ".%s", child->string);
		size_t used = (size_t)len < room ? (size_t)len : room - 1;
		if (member_is_secret(child)) {
			const char *text = cJSON_GetStringValue(child);
			if (!text || strcmp(text, REDACTED) != 0)
				return true;
		} else if (find_open(child, path + used, room - used)) {
			return true;
		}
	}
	return false;
}

char *redact_find(const cJSON *value)
{
	char path[PATH_SHOWN_MAX];
	if (!find_open(value, path, sizeof(path)))
		return NULL;
	return wipe_strdup(path + (path[0] == '.'));
}
