/*
 * Claude Code keeps its login in ~/.claude/.credentials.json, beside those of MCP servers, which are none of
 * ours. Read from its 2.1.329 binary:
 *
 *   {"claudeAiOauth":{"accessToken","refreshToken","expiresAt":MS,"refreshTokenExpiresAt"?:MS,"scopes":[...],
 *    "subscriptionType","rateLimitTier","clientId"?,"accountUuid"?,"organizationUuid"?,...},"mcpOAuth":{...}}
 *
 * An empty refreshToken is its mark for a login that the server refused. refreshTokenExpiresAt is the end of
 * the whole family: its own refreshes never move it further away, so it stays what it is here, too.
 * A login without its scopes breaks the tool: none is written without them.
 */
#include "import.h"

#include <stdlib.h>
#include <string.h>

#define NAME      "claudeAiOauth"
#define PROVIDER  "anthropic"
#define KEPT      "claude-code" /* the entry's member that holds what pi's format has no name for */
/* The client that Claude Code and pi share; what another one was given only that one can refresh. */
#define CLIENT_ID "9d1c250a-e61b-44d9-88ed-5944d1962f5e"

static bool has_scope(const cJSON *scopes, const char *name)
{
	const cJSON *scope;
	cJSON_ArrayForEach (scope, scopes) {
		if (cJSON_IsString(scope) && strcmp(scope->valuestring, name) == 0)
			return true;
	}
	return false;
}

static const char *refused_because(const cJSON *login)
{
	if (!cJSON_IsObject(login))
		return "not a JSON object";
	const cJSON *scopes = cJSON_GetObjectItemCaseSensitive(login, "scopes");
	const char *refresh = json_str(login, "refreshToken"),
		   *client = json_str(login, "clientId");
	int64_t expires;
	if (refresh && !*refresh)
		return "the server refused this login, Claude Code has given it up";
	if (client && *client && strcmp(client, CLIENT_ID) != 0)
		return "another OAuth client's login: only that client can refresh it";
	if (cJSON_IsArray(scopes) && !has_scope(scopes, "user:inference"))
		return "without the scope user:inference it is no login for the API";
	if (!refresh && !json_str(login, "accessToken"))
		return "there is no token in it";
	if (!refresh && !json_int(login, "expiresAt", &expires))
		return "neither a refresh token nor a time of expiry is there";
	return NULL;
}

/* Everything but the three members that have names in pi's format. */
static int keep_rest(const cJSON *login, cJSON *entry, struct pa_err *err)
{
	cJSON *rest = cJSON_Duplicate(login, true);
	const char *account = json_str(login, "accountUuid");
	int rc;
	json_drop(rest, "accessToken");
	json_drop(rest, "refreshToken");
	json_drop(rest, "expiresAt");
	if ((rc = json_set(entry, KEPT, rest, err)) < 0 || !account)
		return rc;
	return json_set_str(entry, "accountUuid", account, err);
}

static int read_credentials(const cJSON *root, const char *text, size_t len,
	const struct import_sink *sink, struct pa_err *err)
{
	const cJSON *login = cJSON_GetObjectItemCaseSensitive(root, NAME);
	JSON_AUTO cJSON *entry = NULL;
	int64_t expires = 0;
	int rc;

	if (!cJSON_IsObject(root))
		return pa_fail(err, PA_FILE_UNUSABLE, EBADMSG, "not a JSON object");
	if (!login || cJSON_IsNull(login))
		return 0;
	const char *why = refused_because(login);
	if (why)
		return import_refuse(NAME, PROVIDER, NULL, why, sink, err);
	const char *access = json_str(login, "accessToken"),
		   *refresh = json_str(login, "refreshToken");
	json_int(login, "expiresAt", &expires);
	if (!(entry = cJSON_CreateObject()))
		return pa_fail(err, PA_NO_MEMORY, 0, "login of Claude Code");
	if ((rc = json_set_str(entry, "type", "oauth", err)) < 0 ||
		(rc = json_set_str(entry, "access", access ? access : "", err)) < 0 ||
		(rc = json_set_str(entry, "refresh", refresh ? refresh : "", err)) < 0 ||
		(rc = json_set_int(entry, "expires", expires, err)) < 0 ||
		(rc = keep_rest(login, entry, err)) < 0)
		return rc;
	return import_pi_entry(NAME, PROVIDER, NULL, entry, sink, err);
}

static int write_credentials(cJSON *root, const char *name, const cJSON *entry, struct pa_err *err)
{
	cJSON *login = cJSON_GetObjectItemCaseSensitive(root, NAME);
	const cJSON *kept = cJSON_GetObjectItemCaseSensitive(entry, KEPT);
	int rc;

	if (!cJSON_IsObject(root) || strcmp(name, NAME) != 0)
		return pa_fail(err, PA_FILE_UNUSABLE, EBADMSG, "not a credential of Claude Code");
	if (!entry) {
		json_drop(root, NAME);
		return 0;
	}
	if (!login || cJSON_IsNull(login)) {
		if (!cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(kept, "scopes")))
			return pa_fail(err, PA_FILE_UNUSABLE, ENODATA,
				"the login's scopes, which Claude Code needs, are not known");
		if ((rc = json_set(root, NAME, cJSON_Duplicate(kept, true), err)) < 0)
			return rc;
		login = cJSON_GetObjectItemCaseSensitive(root, NAME);
	}
	if (!cJSON_IsObject(login))
		return pa_fail(err, PA_FILE_UNUSABLE, EBADMSG, NAME " is not a JSON object");
	return import_write_oauth(login, "accessToken", "refreshToken", "expiresAt", entry, err);
}

static const struct import_format credentials = {
	.read = read_credentials,
	.write = write_credentials,
	.linkable = true,
	.lock = IMPORT_LOCK_CLAUDE,
	.empty = "{}",
};

static int find_places(const char *home, struct import_places *ret, struct pa_err *err)
{
	/* That variable counts when it is empty, too: for ~/.claude, whatever the other one says. */
	const char *own = secure_getenv("CLAUDE_SECURESTORAGE_CONFIG_DIR");
	char *dir = import_dir(
		own ? "CLAUDE_SECURESTORAGE_CONFIG_DIR" : "CLAUDE_CONFIG_DIR", home, ".claude");
	int rc = 0;
	if (dir)
		rc = import_place_add(ret, &credentials, err, "%s/.credentials.json", dir);
	free(dir);
	return rc;
}

static const struct import_name names[] = { { ".credentials.json", &credentials }, { 0 } };

const struct importer import_claude_code = {
	.tool = "claude-code",
	.title = "Claude Code",
	.places = find_places,
	.names = names,
	/* Not apiKeyHelper: what that says is sent as an API key, and an OAuth token is none. */
	.hint = "CLAUDE_CODE_OAUTH_TOKEN=$(cat MOUNT/PROVIDER/key) claude",
};
