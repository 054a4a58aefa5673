/*
 * opencode: auth.json in its data directory, written in place and without a lock. Its entries are pi's, but for
 * the type of a key, "api". "wellknown" entries are tokens of an organisation's own server.
 */
#include "import.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/*
 * Copilot's entry has the GitHub token for a refresh token, and where it never expires (expires 0) the same one,
 * or none, for an access token: a session token, which is what an access token is to others, is not kept at all.
 */
static bool has_github_token_only(const char *name, const cJSON *entry)
{
	const char *access = json_str(entry, "access"), *refresh = json_str(entry, "refresh");
	int64_t expires;

	return (strcasecmp(name, "github-copilot") == 0 ||
		       strcasecmp(name, "github-copilot-enterprise") == 0) &&
	       refresh && json_int(entry, "expires", &expires) && expires == 0 &&
	       (!access || !*access || strcmp(access, refresh) == 0);
}

/* Its login at OpenAI is one for ChatGPT, made with the client of Codex; with a client of its own, which is
 * what "openai" is to pi, there would be a client id. */
static const char *provider_of(const char *name, const cJSON *entry)
{
	const char *type = json_str(entry, "type");

	return strcasecmp(name, "openai") == 0 && type && strcmp(type, "oauth") == 0 &&
			       !json_str(entry, "clientId")
		       ? "openai-codex"
		       : name;
}

static int read_entry(
	const char *name, const cJSON *value, const struct import_sink *sink, struct pa_err *err)
{
	JSON_AUTO cJSON *copy = cJSON_Duplicate(value, true);
	const char *type = json_str(value, "type");
	int rc = 0;

	if (!copy)
		return pa_fail(err, PA_NO_MEMORY, 0, "entry of a credential file");
	if (type && strcmp(type, "wellknown") == 0)
		return import_refuse(name, name, NULL,
			"a token of an organisation's own server: not stored by this version", sink,
			err);
	/* pi's name for it is none of opencode's */
	if (type && strcmp(type, "api") == 0)
		rc = json_set_str(copy, "type", "api_key", err);
	else if (type && strcmp(type, "api_key") == 0)
		rc = json_set_str(copy, "type", "", err);
	else if (has_github_token_only(name, value))
		rc = json_set_str(copy, "access", "", err);
	return rc < 0 ? rc : import_pi_entry(name, provider_of(name, value), NULL, copy, sink, err);
}

static int read_auth(const cJSON *root, const char *text, size_t len,
	const struct import_sink *sink, struct pa_err *err)
{
	if (!cJSON_IsObject(root))
		return pa_fail(err, PA_FILE_UNUSABLE, 0, "not an object");
	return import_each(root, read_entry, sink, err);
}

/* An entry that was not there, with what opencode has in its own and nothing else. */
static int add_entry(
	cJSON *root, const char *name, const cJSON *entry, bool key, struct pa_err *err)
{
	static const char *const members[] = { "key", "refresh", "access", "expires", "accountId",
		"enterpriseUrl" };
	JSON_AUTO cJSON *added = cJSON_CreateObject();
	cJSON *taken = added;
	int rc;

	if (!added)
		return pa_fail(err, PA_NO_MEMORY, 0, "entry of a credential file");
	rc = json_set_str(added, "type", key ? "api" : "oauth", err);
	for (size_t i = 0; rc == 0 && i < sizeof(members) / sizeof(*members); i++) {
		const cJSON *item = cJSON_GetObjectItemCaseSensitive(entry, members[i]);

		if (item)
			rc = json_set(added, members[i], cJSON_Duplicate(item, true), err);
	}
	if (rc < 0)
		return rc;
	added = NULL;
	return json_set(root, name, taken, err);
}

static int write_github_token(cJSON *old, const cJSON *entry, struct pa_err *err)
{
	const char *token = json_str(entry, "refresh"), *access = json_str(old, "access");
	int rc = token ? json_set_str(old, "refresh", token, err) : 0;

	if (rc == 0 && token && access && *access)
		rc = json_set_str(old, "access", token, err);
	return rc;
}

static int write_auth(cJSON *root, const char *name, const cJSON *entry, struct pa_err *err)
{
	cJSON *old = cJSON_GetObjectItemCaseSensitive(root, name);
	const char *type = json_str(entry, "type"), *is = json_str(old, "type");
	bool key = type && strcmp(type, "api_key") == 0;

	if (!cJSON_IsObject(root))
		return pa_fail(err, PA_FILE_UNUSABLE, 0, "not an object");
	if (!entry) {
		json_drop(root, name);
		return 0;
	}
	if (!key && (!type || strcmp(type, "oauth") != 0))
		return pa_fail(
			err, PA_UNSUPPORTED, 0, "to write: of a kind that opencode does not have");
	if (!old)
		return add_entry(root, name, entry, key, err);
	if (!is || strcmp(is, key ? "api" : "oauth") != 0)
		return pa_fail(err, PA_UNSUPPORTED, 0, "another kind of credential is there");
	if (has_github_token_only(name, old))
		return write_github_token(old, entry, err);
	return import_pi_merge(old, entry, err);
}

static const struct import_format auth = {
	.read = read_auth,
	.write = write_auth,
	.linkable = true,
	.lock = IMPORT_LOCK_NONE,
	.empty = "{}",
};

static int places(const char *home, struct import_places *ret, struct pa_err *err)
{
	char *dir = import_dir("XDG_DATA_HOME", home, ".local/share");
	int rc;

	if (!dir) /* the XDG specification has a relative one ignored */
		return import_place_add(
			ret, &auth, err, "%s/.local/share/opencode/auth.json", home);
	rc = import_place_add(ret, &auth, err, "%s/opencode/auth.json", dir);
	free(dir);
	return rc;
}

static const struct import_name names[] = {
	{ "auth.json", &auth },
	{ NULL, NULL },
};

const struct importer import_opencode = {
	.tool = "opencode",
	.title = "opencode",
	.places = places,
	.names = names,
	.hint = "put "
		"{\"provider\":{\"PROVIDER\":{\"options\":{\"apiKey\":\"{file:MOUNT/PROVIDER/"
		"key}\"}}}} into "
		"~/.config/opencode/opencode.json, which it reads when it starts",
};
