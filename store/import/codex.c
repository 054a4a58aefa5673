/*
 * OpenAI Codex CLI keeps a login, an API key, or both in ~/.codex/auth.json (codex-rs/login/src/auth):
 *
 *   {"auth_mode"?,"OPENAI_API_KEY":KEY|null,"tokens":{"id_token":JWT,"access_token":JWT,"refresh_token",
 *    "account_id"?},"last_refresh":RFC 3339,"agent_identity"?,"personal_access_token"?}
 *
 * The login has no time of expiry but the one in its access token. Codex takes no lock; it reads the file
 * again before it refreshes, and after that leaves it alone when the account in it is another one.
 */
#include "import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../oauth/token.h"

#define LOGIN   "tokens"
#define API_KEY "OPENAI_API_KEY"
#define ACCOUNT "/https:~1~1api.openai.com~1auth/chatgpt_account_id"

static int refuse(
	const char *name, const char *why, const struct import_sink *sink, struct pa_err *err)
{
	const char *provider = strcmp(name, LOGIN) == 0 ? "openai-codex" : "openai";
	return import_refuse(name, provider, NULL, why, sink, err);
}

static bool is_there(const cJSON *root, const char *name)
{
	const cJSON *m = cJSON_GetObjectItemCaseSensitive(root, name);
	return m && !cJSON_IsNull(m);
}

/* What the tokens say: the account, unless the file names it, and when the login expires. */
static int set_claims(const cJSON *tokens, const char *access, const char *id_token, cJSON *entry,
	struct pa_err *err)
{
	JSON_AUTO cJSON *claims = token_jwt_payload(access, strlen(access));
	JSON_AUTO cJSON *id_claims = token_jwt_payload(id_token, strlen(id_token));
	const char *account = json_str(tokens, "account_id");
	int64_t exp;
	int rc;

	if (!claims || !json_int(claims, "exp", &exp) || exp < 0 ||
		exp > (int64_t)JSON_INT_MAX / 1000)
		exp = 0; /* unknown is taken for past: the next read refreshes */
	if ((rc = json_set_int(entry, "expires", exp * 1000, err)) < 0)
		return rc;
	if (!account && claims)
		account = cJSON_GetStringValue(json_at(claims, ACCOUNT));
	if (!account && id_claims)
		account = cJSON_GetStringValue(json_at(id_claims, ACCOUNT));
	return account ? json_set_str(entry, "accountId", account, err) : 0;
}

static int read_login(const cJSON *tokens, const struct import_sink *sink, struct pa_err *err)
{
	const char *access = json_str(tokens, "access_token"),
		   *refresh = json_str(tokens, "refresh_token");
	const char *id_token = json_str(tokens, "id_token");
	JSON_AUTO cJSON *entry = cJSON_CreateObject();
	int rc;

	if (!cJSON_IsObject(tokens))
		return refuse(LOGIN, "not a JSON object", sink, err);
	if (!access && !refresh)
		return refuse(LOGIN, "there is no token in it", sink, err);
	if (!entry)
		return pa_fail(err, PA_NO_MEMORY, 0, "login of Codex");
	if ((rc = json_set_str(entry, "type", "oauth", err)) < 0 ||
		(rc = json_set_str(entry, "access", access ? access : "", err)) < 0 ||
		(rc = json_set_str(entry, "refresh", refresh ? refresh : "", err)) < 0 ||
		(rc = set_claims(
			 tokens, access ? access : "", id_token ? id_token : "", entry, err)) < 0)
		return rc;
	if (id_token && (rc = json_set_str(entry, "id_token", id_token, err)) < 0)
		return rc;
	return import_pi_entry(LOGIN, "openai-codex", NULL, entry, sink, err);
}

static int read_auth(const cJSON *root, const char *text, size_t len,
	const struct import_sink *sink, struct pa_err *err)
{
	static const char *const others[] = { "agent_identity", "personal_access_token" };
	int rc = 0;

	if (!cJSON_IsObject(root))
		return pa_fail(err, PA_FILE_UNUSABLE, EBADMSG, "not a JSON object");
	if (is_there(root, LOGIN))
		rc = read_login(cJSON_GetObjectItemCaseSensitive(root, LOGIN), sink, err);
	if (rc == 0 && is_there(root, API_KEY)) {
		const char *key = json_str(root, API_KEY);
		rc = key ? import_api_key(API_KEY, "openai", NULL, key, sink, err)
			 : refuse(API_KEY, "not a string", sink, err);
	}
	for (size_t i = 0; rc == 0 && i < sizeof(others) / sizeof(*others); i++) {
		if (is_there(root, others[i]))
			rc = refuse(others[i], "a kind of credential that piauth does not keep",
				sink, err);
	}
	return rc;
}

/* As chrono, which Codex uses, writes a time in UTC. */
static int set_now(cJSON *root, const char *name, struct pa_err *err)
{
	struct timespec now;
	struct tm utc;
	char day[32], text[64];

	clock_gettime(CLOCK_REALTIME, &now);
	if (!gmtime_r(&now.tv_sec, &utc) || !strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &utc))
		return pa_fail(err, PA_SYSTEM, EOVERFLOW, "the clock");
	snprintf(text, sizeof(text), "%s.%09ldZ", day, now.tv_nsec);
	return json_set_str(root, name, text, err);
}

static int write_login(cJSON *root, const cJSON *entry, struct pa_err *err)
{
	const char *id_token = json_str(entry, "id_token"), *account = json_str(entry, "accountId");
	cJSON *tokens = cJSON_GetObjectItemCaseSensitive(root, LOGIN);
	int rc;

	if (!is_there(root, LOGIN)) {
		if (!id_token)
			return pa_fail(err, PA_FILE_UNUSABLE, ENODATA,
				"the login's ID token, which Codex needs, is not known");
		if ((rc = json_set(root, LOGIN, cJSON_CreateObject(), err)) < 0)
			return rc;
		tokens = cJSON_GetObjectItemCaseSensitive(root, LOGIN);
		if (account && (rc = json_set_str(tokens, "account_id", account, err)) < 0)
			return rc;
	}
	if (!cJSON_IsObject(tokens))
		return pa_fail(err, PA_FILE_UNUSABLE, EBADMSG, LOGIN " is not a JSON object");
	if (id_token && (rc = json_set_str(tokens, "id_token", id_token, err)) < 0)
		return rc;
	rc = import_write_oauth(tokens, "access_token", "refresh_token", NULL, entry, err);
	return rc < 0 ? rc : set_now(root, "last_refresh", err);
}

static int write_auth(cJSON *root, const char *name, const cJSON *entry, struct pa_err *err)
{
	bool login = strcmp(name, LOGIN) == 0;
	const char *key = json_str(entry, "key");

	if (!cJSON_IsObject(root) || (!login && strcmp(name, API_KEY) != 0))
		return pa_fail(err, PA_FILE_UNUSABLE, EBADMSG, "not a credential of Codex");
	if (login && entry)
		return write_login(root, entry, err);
	if (login) {
		json_drop(root, LOGIN);
		json_drop(root, "last_refresh");
		return 0;
	}
	if (!entry) /* as Codex says that there is none */
		return is_there(root, API_KEY) ? json_set(root, API_KEY, cJSON_CreateNull(), err)
					       : 0;
	if (!key)
		return pa_fail(err, PA_FILE_UNUSABLE, EINVAL, "the entry has no key");
	return json_set_str(root, API_KEY, key, err);
}

static const struct import_format auth = {
	.read = read_auth,
	.write = write_auth,
	.linkable = true,
	.empty = "{}",
};

static int find_places(const char *home, struct import_places *ret, struct pa_err *err)
{
	char *dir = import_dir("CODEX_HOME", home, ".codex");
	int rc = dir ? import_place_add(ret, &auth, err, "%s/auth.json", dir) : 0;
	free(dir);
	return rc;
}

static const struct import_name names[] = { { "auth.json", &auth }, { 0 } };

const struct importer import_codex = {
	.tool = "codex",
	.title = "OpenAI Codex CLI",
	.places = find_places,
	.names = names,
	.hint = NULL, /* it takes a ChatGPT login from nowhere else */
};
