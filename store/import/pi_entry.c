/*
 * Entries in pi's auth.json format and in the spellings of its relatives, read and written.
 *
 * pi's versions do not agree on what a key may be (pi-coding-agent, core/resolve-config-value): before
 * 0.52 it is literal; up to 0.76 "!..." is a command and the name of an environment variable stands for
 * its value; since 0.77 it is a template with $NAME, ${NAME} and the escapes $$ and $!. pi_agent_rust has
 * $ENV:, $CMD: and $COMMAND:. A file does not say which of them wrote it, so a key that any of them would
 * take for something else is refused: to store the wrong text is worse than to ask for it. That goes for the
 * escapes, too: "pa$$word" is a password of one version and "pa$word" of another.
 */
#include "import.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../oauth/token.h"
#include "../secret.h"

#define NAME_LEN_MAX    255
#define KEY_LEN_MAX     (16 * 1024) /* of a key that the store takes */
#define ENTRY_LEN_MAX   (24 * 1024) /* of an entry as text; a record holds two */
#define ENTRY_DEPTH_MAX 16          /* a record nests it deeper */

static const char blanks[] = " \t\r\n";

/* ---- to the sink ---- */

/* Takes entry. */
static int hand_over(const char *name, const char *provider, const char *profile, const char *lane,
	cJSON *entry, const char *refused, const struct import_sink *sink, struct pa_err *err)
{
	struct import_entry e = { name, provider, profile, lane, entry, refused };
	char cut[NAME_LEN_MAX + 1] = { 0 };
	size_t len = NAME_LEN_MAX;

	if (strlen(name) > NAME_LEN_MAX) {
		cJSON_Delete(entry);
		while (len > 0 && ((unsigned char)name[len] & 0xc0) == 0x80)
			len--; /* a message is UTF-8 */
		memcpy(cut, name, len);
		e = (struct import_entry){ cut, cut, NULL, NULL, NULL, "its name is too long" };
	}
	return sink->entry(sink->arg, &e, err);
}

int import_refuse(const char *name, const char *provider, const char *profile, const char *reason,
	const struct import_sink *sink, struct pa_err *err)
{
	return hand_over(name, provider, profile, NULL, NULL, reason, sink, err);
}

static bool is_too_deep(const cJSON *value, int left)
{
	const cJSON *child;

	if (left == 0)
		return true;
	cJSON_ArrayForEach (child, value) {
		if (is_too_deep(child, left - 1))
			return true;
	}
	return false;
}

/* Takes entry, which is ready but for its size. */
static int hand_over_fitting(const char *name, const char *provider, const char *profile,
	const char *lane, cJSON *entry, const struct import_sink *sink, struct pa_err *err)
{
	const char *refused = NULL;
	WIPE_AUTO char *text = json_text(entry);

	if (!text) {
		cJSON_Delete(entry);
		return pa_fail(err, PA_NO_MEMORY, 0, "entry of a credential file");
	}
	if (strlen(text) > ENTRY_LEN_MAX)
		refused = "it is longer than the store takes";
	else if (is_too_deep(entry, ENTRY_DEPTH_MAX))
		refused = "it is nested too deeply";
	if (!refused)
		return hand_over(name, provider, profile, lane, entry, NULL, sink, err);
	cJSON_Delete(entry);
	return import_refuse(name, provider, profile, refused, sink, err);
}

/* ---- names that differ in letter case only ---- */

struct member {
	const cJSON *value;
	size_t at;
	bool lower;
};

/* The one that counts first. */
static int compare_members(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	int order = strcasecmp(x->value->string, y->value->string);

	if (order != 0)
		return order;
	if (x->lower != y->lower)
		return x->lower ? -1 : 1;
	return x->at < y->at ? -1 : 1;
}

/* For each member whether it does not count; NULL: no memory. */
static bool *find_hidden(const cJSON *object)
{
	struct member *sorted;
	const cJSON *child;
	size_t n = 0;
	bool *hidden;

	cJSON_ArrayForEach (child, object)
		n++;
	sorted = calloc(n + 1, sizeof(*sorted));
	hidden = calloc(n + 1, sizeof(*hidden));
	if (!sorted || !hidden) {
		free(sorted);
		free(hidden);
		return NULL;
	}
	n = 0;
	cJSON_ArrayForEach (child, object) {
		bool upper = strpbrk(child->string, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != NULL;

		sorted[n] = (struct member){ child, n, !upper };
		n++;
	}
	qsort(sorted, n, sizeof(*sorted), compare_members);
	for (size_t i = 1; i < n; i++) {
		if (strcasecmp(sorted[i - 1].value->string, sorted[i].value->string) == 0)
			hidden[sorted[i].at] = true;
	}
	free(sorted);
	return hidden;
}

int import_each(const cJSON *object,
	int (*one)(const char *name, const cJSON *value, const struct import_sink *sink,
		struct pa_err *err),
	const struct import_sink *sink, struct pa_err *err)
{
	static const char reason[] = "another entry has this name in other letter case";
	bool *hidden = find_hidden(object);
	const cJSON *child;
	size_t i = 0;
	int rc = 0;

	if (!hidden)
		return pa_fail(err, PA_NO_MEMORY, 0, "entries of a credential file");
	cJSON_ArrayForEach (child, object) {
		rc = hidden[i++]
			     ? import_refuse(child->string, child->string, NULL, reason, sink, err)
			     : one(child->string, child, sink, err);
		if (rc < 0)
			break;
	}
	free(hidden);
	return rc;
}

/* ---- keys ---- */

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, size_t len, const char *with)
{
	size_t n = strlen(with);
	return len > n && memcmp(text + len - n, with, n) == 0;
}

/* GROQ_API_KEY and the like: pi before 0.77 looks it up. */
static bool is_variable_name(const char *key, size_t len)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

	return strspn(key, letters) >= len &&
	       (ends(key, len, "_KEY") || ends(key, len, "_TOKEN") || ends(key, len, "_SECRET"));
}

/* What begins a variable behind a "$", in any version. */
static bool begins_variable(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '{';
}

const char *import_key_refused(const char *key)
{
	size_t len;

	key += strspn(key, blanks);
	for (len = strlen(key); len > 0 && strchr(blanks, key[len - 1]); len--)
		;
	if (len == 0)
		return "empty";
	if (len > KEY_LEN_MAX)
		return "longer than a key can be";
	if (key[0] == '!' || begins(key, "$CMD:") || begins(key, "$COMMAND:"))
		return "a command, not a key: never executed";
	if ((key[0] == '$' && begins_variable(key[1])) || is_variable_name(key, len))
		return "a variable, not a key: never looked up";
	for (size_t i = 0; i < len; i++) {
		/* before anything else it is a "$" in every version */
		if (key[i] == '$' && (i == 0 || begins_variable(key[i + 1]) || key[i + 1] == '$' ||
					     key[i + 1] == '!'))
			return "a template, not a key: what $ means in it depends on who reads it";
		if ((unsigned char)key[i] < 0x20 || key[i] == 0x7f)
			return "not a key: it has control characters or a second line";
	}
	return NULL;
}

/* Takes entry, whose "key" is a string. */
static int hand_over_key(const char *name, const char *provider, const char *profile, cJSON *entry,
	const struct import_sink *sink, struct pa_err *err)
{
	const char *key = json_str(entry, "key");
	const char *refused = import_key_refused(key);
	size_t len;
	int rc;

	if (refused) {
		cJSON_Delete(entry);
		return import_refuse(name, provider, profile, refused, sink, err);
	}
	/* Blanks around it do not reach a provider: they are no part of a header's value. */
	key += strspn(key, blanks);
	for (len = strlen(key); strchr(blanks, key[len - 1]); len--)
		;
	WIPE_AUTO char *trimmed = wipe_strdup(key);
	if (!trimmed) {
		cJSON_Delete(entry);
		return pa_fail(err, PA_NO_MEMORY, 0, "key of a credential file");
	}
	rc = json_set_strn(entry, "key", trimmed, len, err);
	if (rc < 0) {
		cJSON_Delete(entry);
		return rc;
	}
	return hand_over_fitting(name, provider, profile, "api_key", entry, sink, err);
}

int import_api_key(const char *name, const char *provider, const char *profile, const char *key,
	const struct import_sink *sink, struct pa_err *err)
{
	JSON_AUTO cJSON *entry = cJSON_CreateObject();
	cJSON *taken;
	int rc;

	if (!entry)
		return pa_fail(err, PA_NO_MEMORY, 0, "key of a credential file");
	if ((rc = json_set_str(entry, "type", "api_key", err)) < 0 ||
		(rc = json_set_str(entry, "key", key, err)) < 0)
		return rc;
	taken = entry;
	entry = NULL;
	return hand_over_key(name, provider, profile, taken, sink, err);
}

/* ---- logins ---- */

static bool is_one_of(const char *name, const char *const *names)
{
	for (size_t i = 0; names[i]; i++) {
		if (strcasecmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

/* pi_agent_rust keeps the project of these inside the access token: {"token":"...","projectId":"..."}. */
static const char *const with_project[] = { "google-gemini-cli", "gemini-cli", "google-antigravity",
	"antigravity", NULL };

/* The object that is spelled out in a string, with a token in it; NULL: it is nothing like that. */
static cJSON *token_object(const char *access)
{
	cJSON *object = NULL;

	if (!access || *access != '{' ||
		json_parse(access, strlen(access), PA_FILE_UNUSABLE, &object, NULL, NULL) < 0)
		return NULL;
	if (json_str(object, "token"))
		return object;
	cJSON_Delete(object);
	return NULL;
}

static int unwrap_access(cJSON *entry, struct pa_err *err)
{
	JSON_AUTO cJSON *object = token_object(json_str(entry, "access"));
	const char *project = json_str(object, "projectId");
	int rc = object ? json_set_str(entry, "access", json_str(object, "token"), err) : 0;

	if (rc == 0 && project && !json_str(entry, "projectId"))
		rc = json_set_str(entry, "projectId", project, err);
	return rc;
}

static int rename_member(cJSON *object, const char *from, const char *to, struct pa_err *err)
{
	cJSON *item = cJSON_GetObjectItemCaseSensitive(object, from);

	if (!item || cJSON_GetObjectItemCaseSensitive(object, to))
		return 0;
	return json_set(object, to, cJSON_DetachItemViaPointer(object, item), err);
}

static const char *const copilot[] = { "github-copilot", "copilot", NULL };
static const char *const copilot_enterprise[] = { "github-copilot-enterprise", NULL };

/*
 * pi_agent_rust has GitHub's own token for an access token and no refresh token. To the others it is the
 * refresh token, with which Copilot's access tokens, of half an hour, are fetched.
 */
static int move_github_token(cJSON *entry, struct pa_err *err)
{
	static const char *const prefixes[] = { "gho_", "ghu_", "ghp_", "github_pat_" };
	const char *access = json_str(entry, "access"), *refresh = json_str(entry, "refresh");
	bool github = false;
	int rc;

	for (size_t i = 0; access && i < sizeof(prefixes) / sizeof(*prefixes); i++)
		github |= begins(access, prefixes[i]);
	if (!github || (refresh && *refresh))
		return 0;
	if ((rc = json_set_str(entry, "refresh", access, err)) < 0 ||
		(rc = json_set_str(entry, "access", "", err)) < 0)
		return rc;
	return json_set_int(entry, "expires", 0, err);
}

/* pi's names for the members, in an entry that may have pi_agent_rust's. */
static int spell_as_pi(cJSON *entry, const char *provider, struct pa_err *err)
{
	cJSON *item = entry->child, *next, *expires;
	int rc;

	for (; item; item = next) { /* what is null is not there: Option::None */
		next = item->next;
		if (cJSON_IsNull(item))
			cJSON_Delete(cJSON_DetachItemViaPointer(entry, item));
	}
	if ((rc = json_set_str(entry, "type", "oauth", err)) < 0 ||
		(rc = rename_member(entry, "access_token", "access", err)) < 0 ||
		(rc = rename_member(entry, "refresh_token", "refresh", err)) < 0)
		return rc;
	expires = cJSON_GetObjectItemCaseSensitive(entry, "expires");
	if (cJSON_IsNumber(expires))
		cJSON_SetNumberValue(expires, floor(expires->valuedouble));
	if (is_one_of(provider, copilot))
		return move_github_token(entry, err);
	return is_one_of(provider, with_project) ? unwrap_access(entry, err) : 0;
}

/*
 * A login at GitHub Enterprise would be refreshed where the table says, at github.com, and its token is none of
 * GitHub's business. Other providers' entries abuse the member for other things.
 */
static bool is_enterprise(const char *provider, const cJSON *entry)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(entry, "enterpriseUrl");
	const char *host = cJSON_GetStringValue(item);

	if (!is_one_of(provider, copilot) && !is_one_of(provider, copilot_enterprise))
		return false;
	if (!item || (host && !*host))
		return is_one_of(provider, copilot_enterprise);
	if (host && strncasecmp(host, "https://", 8) == 0)
		host += 8;
	return !host || strncasecmp(host, "github.com", 10) != 0 ||
	       strcmp(host + 10, host[10] == '/' ? "/" : "") != 0;
}

/* Takes entry. */
static int hand_over_login(const char *name, const char *provider, const char *profile,
	cJSON *entry, const struct import_sink *sink, struct pa_err *err)
{
	const char *refused = NULL;
	struct pa_err why;
	int rc = spell_as_pi(entry, provider, err);

	if (rc < 0) {
		cJSON_Delete(entry);
		return rc;
	}
	if (!token_entry_is_valid(entry, &why))
		refused = why.detail;
	else if (is_enterprise(provider, entry))
		refused = "an enterprise host: its token must not go to github.com";
	if (!refused)
		return hand_over_fitting(name, provider, profile, "oauth", entry, sink, err);
	cJSON_Delete(entry);
	return import_refuse(name, provider, profile, refused, sink, err);
}

/* ---- one entry ---- */

enum kind { KIND_OAUTH, KIND_API_KEY, KIND_REFUSED };

static enum kind kind_of(const cJSON *entry, const char **ret_refused)
{
	/*
	 * A bearer token is no key: the providers that matter take a key in one header and a token in
	 * another. Nor is it a login that can be refreshed, or that says how long it lasts.
	 */
	static const struct {
		const char *type;
		enum kind kind;
		const char *refused;
	} kinds[] = {
		{ "oauth", KIND_OAUTH, NULL },
		{ "o_auth", KIND_OAUTH, NULL },
		{ "api_key", KIND_API_KEY, NULL },
		{ "bearer_token", KIND_REFUSED, "a bearer token: not stored by this version" },
		{ "aws_credentials", KIND_REFUSED,
			"kind aws_credentials is not stored by this version" },
		{ "service_key", KIND_REFUSED, "kind service_key is not stored by this version" },
	};
	const char *type = json_str(entry, "type");

	*ret_refused = "of a kind that is not known";
	if (!cJSON_IsObject(entry))
		*ret_refused = "not an object";
	else if (!type)
		*ret_refused = "it does not say of what kind it is";
	for (size_t i = 0; type && i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strcmp(type, kinds[i].type) == 0) {
			*ret_refused = kinds[i].refused;
			return kinds[i].kind;
		}
	}
	return KIND_REFUSED;
}

int import_pi_entry(const char *name, const char *provider, const char *profile, const cJSON *entry,
	const struct import_sink *sink, struct pa_err *err)
{
	const cJSON *key = cJSON_GetObjectItemCaseSensitive(entry, "key");
	const char *refused = NULL;
	enum kind kind = kind_of(entry, &refused);
	cJSON *copy;

	if (kind == KIND_API_KEY && (!key || cJSON_IsNull(key)))
		refused = "no key in it: it uses the provider's own credential chain";
	else if (kind == KIND_API_KEY && !cJSON_IsString(key))
		refused = "\"key\" is not a text";
	if (refused)
		return import_refuse(name, provider, profile, refused, sink, err);
	copy = cJSON_Duplicate(entry, true);
	if (!copy)
		return pa_fail(err, PA_NO_MEMORY, 0, "entry of a credential file");
	return kind == KIND_API_KEY ? hand_over_key(name, provider, profile, copy, sink, err)
				    : hand_over_login(name, provider, profile, copy, sink, err);
}

/* ---- writing ---- */

int import_write_oauth(cJSON *object, const char *access, const char *refresh, const char *expires,
	const cJSON *entry, struct pa_err *err)
{
	const struct {
		const char *from, *to;
	} members[] = { { "access", access }, { "refresh", refresh }, { "expires", expires } };

	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
		const cJSON *item = cJSON_GetObjectItemCaseSensitive(entry, members[i].from);
		int rc = 0;

		if (item && members[i].to)
			rc = json_set(object, members[i].to, cJSON_Duplicate(item, true), err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Where the access token is inside a text of JSON it stays so. */
static int write_access(cJSON *old, const char *member, const char *access, struct pa_err *err)
{
	JSON_AUTO cJSON *object = token_object(json_str(old, member));
	int rc;

	if (!object)
		return json_set_str(old, member, access, err);
	if ((rc = json_set_str(object, "token", access, err)) < 0)
		return rc;
	WIPE_AUTO char *text = json_text(object);
	if (!text)
		return pa_fail(err, PA_NO_MEMORY, 0, "entry of a credential file");
	return json_set_str(old, member, text, err);
}

static bool has_member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name) != NULL;
}

static const char *spelling(const cJSON *old, const char *name, const char *other)
{
	return !has_member(old, name) && has_member(old, other) ? other : name;
}

/* As move_github_token found it: who reads the file wants that token and no other one. */
static bool holds_refresh_as_access(const cJSON *old, const cJSON *entry)
{
	const char *access = json_str(old, spelling(old, "access", "access_token"));
	const char *refresh = json_str(old, spelling(old, "refresh", "refresh_token"));
	const char *token = json_str(entry, "refresh");

	return access && token && *token && strcmp(access, token) == 0 && (!refresh || !*refresh);
}

int import_pi_merge(cJSON *old, const cJSON *entry, struct pa_err *err)
{
	static const char *const written[] = { "type", "access", "refresh", "expires", "key",
		NULL };
	const char *access = json_str(entry, "access"), *key = json_str(entry, "key");
	const cJSON *item;
	int rc = 0;

	if (!holds_refresh_as_access(old, entry)) {
		rc = import_write_oauth(old, NULL, spelling(old, "refresh", "refresh_token"),
			"expires", entry, err);
		if (rc == 0 && access)
			rc = write_access(
				old, spelling(old, "access", "access_token"), access, err);
	}
	if (rc == 0 && key)
		rc = json_set_str(old, spelling(old, "key", "apiKey"), key, err);
	cJSON_ArrayForEach (item, entry) {
		if (rc == 0 && !is_one_of(item->string, written) && has_member(old, item->string))
			rc = json_set(old, item->string, cJSON_Duplicate(item, true), err);
	}
	return rc;
}

/* Whether entry, in pi's format, may stand in a file of pi's. */
static int check_writable(const cJSON *entry, struct pa_err *err)
{
	const char *refused, *key = json_str(entry, "key");
	enum kind kind = kind_of(entry, &refused);

	if (kind == KIND_API_KEY)
		refused = key ? import_key_refused(key) : "\"key\" is missing";
	else if (kind == KIND_OAUTH && strcmp(json_str(entry, "type"), "oauth") != 0)
		refused = "not in pi's spelling";
	return refused ? pa_fail(err, PA_UNSUPPORTED, 0, "to write: %s", refused) : 0;
}

int import_pi_write(cJSON *root, const char *name, const cJSON *entry, struct pa_err *err)
{
	cJSON *old = cJSON_GetObjectItemCaseSensitive(root, name);
	const char *refused;
	enum kind kind;
	int rc;

	if (!cJSON_IsObject(root))
		return pa_fail(err, PA_FILE_UNUSABLE, 0, "not an object");
	if (!entry) {
		json_drop(root, name);
		return 0;
	}
	if ((rc = check_writable(entry, err)) < 0)
		return rc;
	if (!old)
		return json_set(root, name, cJSON_Duplicate(entry, true), err);
	kind = kind_of(old, &refused);
	if (cJSON_IsObject(old) && !has_member(old, "type"))
		kind = KIND_OAUTH; /* as oauth.json may have them */
	/* One credential per provider: somebody has put another one there meanwhile. */
	if (kind != kind_of(entry, &refused))
		return pa_fail(err, PA_UNSUPPORTED, 0, "another kind of credential is there");
	return import_pi_merge(old, entry, err);
}
