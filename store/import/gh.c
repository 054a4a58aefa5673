/*
 * gh, GitHub's command line tool, keeps ~/.config/gh/hosts.yml (cli/cli, docs/multiple-accounts.md):
 *
 *   github.com:
 *       git_protocol: https
 *       oauth_token: TOKEN        only with --insecure-storage, or where there is no keyring
 *       user: NAME                the active one, whose token that is
 *       users:
 *           NAME:
 *               oauth_token: TOKEN
 *
 * The format is YAML. Of it only what gh itself writes is read here: maps by indentation, one scalar to a line.
 * Anything else makes the file unusable, with the number of the line; a guess could cut a token.
 * A token of gh is a key for GitHub, not a login at Copilot: that was given to another OAuth client.
 */
#include "import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../secret.h"
#include "../utf8.h"

#define PROVIDER  "github"
#define HOST      "github.com"
#define DEPTH_MAX 4    /* host, users, name, oauth_token */
#define LINES_MAX 4096 /* a name is compared with all others of its map */

/* ---- the subset of YAML ---- */

static const char no_memory[] = "out of memory";

struct yaml {
	cJSON *map[DEPTH_MAX]; /* that is open, by depth; [0] is the document */
	size_t indent[DEPTH_MAX];
	int depth;   /* of the innermost */
	cJSON *open; /* the member of it that came last, where it has no value yet; else NULL */
	bool ended;  /* the document was {} */
};

/* A part of a line. */
struct span {
	const char *p;
	size_t len;
};

static struct span trimmed(struct span s)
{
	while (s.len && *s.p == ' ')
		s.p++, s.len--;
	while (s.len && s.p[s.len - 1] == ' ')
		s.len--;
	return s;
}

static bool span_is(struct span s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

/* What is between the quotes that s begins with, or NULL why not; *ret_rest: behind them. */
static const char *unquote(struct span s, struct span *ret, struct span *ret_rest)
{
	const char *end = memchr(s.p + 1, *s.p, s.len - 1);
	if (!end)
		return "a quote without its end";
	*ret = (struct span){ s.p + 1, (size_t)(end - s.p - 1) };
	*ret_rest = (struct span){ end + 1, s.len - ret->len - 2 };
	if (memchr(ret->p, '\\', ret->len) || (ret_rest->len && *end == *ret_rest->p))
		return "an escape in quotes";
	return NULL;
}

/* A name and its colon. */
static const char *take_name(struct span line, struct span *ret, struct span *ret_rest)
{
	static const char first[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
	struct span rest = line;
	const char *why;

	if (*line.p == '"' || *line.p == '\'') {
		if ((why = unquote(line, ret, &rest)))
			return why;
	} else {
		if (!strchr(first, *line.p))
			return "neither a name nor a comment";
		while (rest.len && (strchr(first, *rest.p) || strchr("-.@+", *rest.p) ||
					   (*rest.p == ':' && rest.len > 1 && rest.p[1] != ' ')))
			rest.p++, rest.len--;
		*ret = (struct span){ line.p, line.len - rest.len };
	}
	if (!ret->len || !rest.len || *rest.p != ':' || (rest.len > 1 && rest.p[1] != ' '))
		return "no name with a colon behind it";
	*ret_rest = (struct span){ rest.p + 1, rest.len - 1 };
	return NULL;
}

/* Sets the member called name, a null so far, to the scalar. */
static const char *take_value(struct span value, cJSON *map, const char *name, struct pa_err *err)
{
	static const char *const nulls[] = { "~", "null", "Null", "NULL" };
	struct span rest = { "", 0 };
	const char *why;

	if (*value.p == '"' || *value.p == '\'') {
		if ((why = unquote(value, &value, &rest)))
			return why;
		if (trimmed(rest).len)
			return "something behind a quoted value";
	} else {
		if (strchr("-?:,[]{}#&*!|>%@`", *value.p))
			return "a kind of value that gh does not write";
		if (value.p[value.len - 1] == ':' || memmem(value.p, value.len, ": ", 2) ||
			memmem(value.p, value.len, " #", 2))
			return "more than one value in a line";
		for (size_t i = 0; i < sizeof(nulls) / sizeof(*nulls); i++) {
			if (span_is(value, nulls[i]))
				return NULL;
		}
	}
	if (json_set_strn(map, name, value.p, value.len, err) < 0)
		return no_memory;
	return NULL;
}

/* Makes the map current that a line with this indentation belongs to. */
static const char *find_map(struct yaml *y, size_t indent)
{
	if (indent > y->indent[y->depth]) {
		if (!y->open)
			return "indented, but not below a name";
		if (y->depth + 1 == DEPTH_MAX)
			return "nested too deeply";
		y->open->type = cJSON_Object;
		y->map[++y->depth] = y->open;
		y->indent[y->depth] = indent;
	}
	y->open = NULL;
	while (y->depth && indent < y->indent[y->depth])
		y->depth--;
	return indent == y->indent[y->depth] ? NULL : "indented like nothing above it";
}

/* NULL, or what is wrong with the line. */
static const char *read_line(struct yaml *y, struct span line, struct pa_err *err)
{
	struct span name, value;
	const char *why;

	if (line.len && line.p[line.len - 1] == '\r')
		line.len--;
	for (size_t i = 0; i < line.len; i++) {
		if ((unsigned char)line.p[i] < 0x20 || line.p[i] == 0x7f)
			return "a tab or another control character";
	}
	struct span text = trimmed(line);
	if (!text.len || *text.p == '#')
		return NULL;
	if (y->ended)
		return "something behind the document";
	if (span_is(line, "{}") && !y->map[0]->child) {
		y->ended = true;
		return NULL;
	}
	if ((why = find_map(y, (size_t)(text.p - line.p))))
		return why;
	if ((why = take_name(text, &name, &value)))
		return why;
	WIPE_AUTO char *copy = wipe_malloc(name.len + 1);
	if (!copy)
		return no_memory;
	memcpy(copy, name.p, name.len);
	copy[name.len] = '\0';
	cJSON *map = y->map[y->depth];
	if (cJSON_GetObjectItemCaseSensitive(map, copy))
		return "a name that is there twice";
	value = trimmed(value);
	if (json_set(map, copy, span_is(value, "{}") ? cJSON_CreateObject() : cJSON_CreateNull(),
		    err) < 0)
		return no_memory;
	if (!value.len)
		y->open = cJSON_GetObjectItemCaseSensitive(map, copy);
	return !value.len || span_is(value, "{}") ? NULL : take_value(value, map, copy, err);
}

static int parse(const char *text, size_t len, cJSON **ret, struct pa_err *err)
{
	JSON_AUTO cJSON *root = cJSON_CreateObject();
	struct yaml y = { .map = { root } };
	const char *why = NULL, *end = text + len;
	bool cut;
	int line = 0;

	if (!root)
		return pa_fail(err, PA_NO_MEMORY, 0, "hosts of gh");
	if (utf8_bad_byte(text, len, &cut) < len)
		return pa_fail(err, PA_FILE_UNUSABLE, EBADMSG, "not UTF-8 text");
	for (const char *next; text < end && !why; text = next) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));
		next = stop ? stop + 1 : end;
		struct span s = { text, (size_t)((stop ? stop : end) - text) };
		why = ++line > LINES_MAX ? "more lines than gh writes" : read_line(&y, s, err);
	}
	if (why == no_memory)
		return pa_fail(err, PA_NO_MEMORY, 0, "hosts of gh");
	if (why)
		return pa_fail(err, PA_FILE_UNUSABLE, EBADMSG, "line %d: %s", line, why);
	*ret = root;
	root = NULL;
	return 0;
}

/* ---- what it says ---- */

static const char in_keyring[] = "gh keeps it in the system's keyring (gh auth token)";

/* The token of a host or user, NULL if it is something else than text; false where none is there. */
static bool token_of(const cJSON *map, const char **ret)
{
	const cJSON *token = cJSON_GetObjectItemCaseSensitive(map, "oauth_token");
	if (!token || cJSON_IsNull(token) || (cJSON_IsString(token) && !*token->valuestring))
		return false;
	*ret = cJSON_IsString(token) ? token->valuestring : NULL;
	return true;
}

static int hand_over(const char *name, const char *profile, const char *token,
	const struct import_sink *sink, struct pa_err *err)
{
	if (!token)
		return import_refuse(
			name, PROVIDER, NULL, "its oauth_token is not a string", sink, err);
	return import_api_key(name, PROVIDER, profile, token, sink, err);
}

static int read_user(
	const cJSON *host, const cJSON *user, const struct import_sink *sink, struct pa_err *err)
{
	const char *active = json_str(host, "user"), *token = NULL, *active_token = NULL;
	bool is_active = active && strcmp(active, user->string) == 0;
	bool at_home = strcmp(host->string, HOST) == 0;
	char *name = NULL, *profile = NULL;
	int rc;

	token_of(host, &active_token);
	bool has_token = token_of(user, &token);
	/* The active user's token is the host's, where it was seen already. */
	if (is_active && (!has_token || (token && active_token && !strcmp(token, active_token))))
		return 0;
	if (asprintf(&name, "%s/%s", host->string, user->string) < 0)
		return pa_fail(err, PA_NO_MEMORY, 0, "hosts of gh");
	if (asprintf(&profile, "%s%s%s", user->string, at_home ? "" : "@",
		    at_home ? "" : host->string) < 0) {
		free(name);
		return pa_fail(err, PA_NO_MEMORY, 0, "hosts of gh");
	}
	if (!cJSON_IsNull(user) && !cJSON_IsObject(user))
		rc = import_refuse(name, PROVIDER, NULL, "not a map", sink, err);
	else if (!has_token)
		rc = import_refuse(name, PROVIDER, NULL, in_keyring, sink, err);
	else
		rc = hand_over(name, profile, token, sink, err);
	free(name);
	free(profile);
	return rc;
}

static int read_host(const cJSON *host, const struct import_sink *sink, struct pa_err *err)
{
	const cJSON *users = cJSON_GetObjectItemCaseSensitive(host, "users"), *user;
	const char *profile = strcmp(host->string, HOST) == 0 ? NULL : host->string, *token;
	int rc = 0;

	if (cJSON_IsNull(host))
		return 0;
	if (!cJSON_IsObject(host))
		return import_refuse(host->string, PROVIDER, NULL, "not a map", sink, err);
	if (token_of(host, &token))
		rc = hand_over(host->string, profile, token, sink, err);
	else if (json_str(host, "user") || (users && users->child))
		rc = import_refuse(host->string, PROVIDER, NULL, in_keyring, sink, err);
	cJSON_ArrayForEach (user, users) {
		if (rc == 0)
			rc = read_user(host, user, sink, err);
	}
	return rc;
}

static int read_hosts(const cJSON *root, const char *text, size_t len,
	const struct import_sink *sink, struct pa_err *err)
{
	JSON_AUTO cJSON *hosts = NULL;
	const cJSON *host;
	int rc = parse(text, len, &hosts, err);

	cJSON_ArrayForEach (host, hosts) {
		if (rc == 0)
			rc = read_host(host, sink, err);
	}
	return rc;
}

static const struct import_format hosts_yml = { .read = read_hosts, .text = true };

static int find_places(const char *home, struct import_places *ret, struct pa_err *err)
{
	bool own = import_env("GH_CONFIG_DIR") != NULL;
	char *dir = own ? import_dir("GH_CONFIG_DIR", home, "")
			: import_dir("XDG_CONFIG_HOME", home, ".config");
	int rc = dir ? import_place_add(
			       ret, &hosts_yml, err, "%s%s/hosts.yml", dir, own ? "" : "/gh")
		     : 0;
	free(dir);
	return rc;
}

static const struct import_name names[] = { { "hosts.yml", &hosts_yml }, { 0 } };

const struct importer import_gh = {
	.tool = "gh",
	.title = "GitHub's gh",
	.places = find_places,
	.names = names,
	.hint = "GH_TOKEN=$(cat MOUNT/PROVIDER/key) gh",
};
