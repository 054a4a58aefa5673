/*
 * Editors with GitHub Copilot (VS Code, JetBrains, Neovim) share ~/.config/github-copilot/:
 *
 *   apps.json   {"github.com:APP":{"user","oauth_token","githubAppId"}}
 *   hosts.json  {"github.com":{"user","oauth_token"}}      what older versions write
 *
 * The token is GitHub's for the user. It does not expire, and Copilot's short-lived ones are fetched with it:
 * pi's refresh token. Fetching only reads it, so nothing has to be kept in step. The token of another host
 * than github.com must not be sent to github.com; it is refused.
 */
#include "import.h"

#include <stdlib.h>
#include <string.h>

#define PROVIDER "github-copilot"
#define HOST     "github.com"
#define KEPT     "copilot" /* the entry's member that holds what pi's format has no name for */

static bool is_github(const char *key)
{
	size_t len = strlen(HOST);
	return strncmp(key, HOST, len) == 0 && (key[len] == '\0' || key[len] == ':');
}

/* The first account gets the default profile, others are named; NULL for the first. */
static const char *profile_of(const char *user, const char *first)
{
	return !user || !first || strcmp(user, first) == 0 ? NULL : user;
}

static const char *refused_because(const cJSON *account)
{
	const char *token = json_str(account, "oauth_token");
	if (!is_github(account->string))
		return "a GitHub Enterprise account: its token must not be sent to github.com";
	if (!token || !*token)
		return "there is no token in it";
	return NULL;
}

static int read_account(const cJSON *account, const char *profile, const struct import_sink *sink,
	struct pa_err *err)
{
	JSON_AUTO cJSON *entry = cJSON_CreateObject();
	cJSON *rest = cJSON_Duplicate(account, true);
	int rc;

	json_drop(rest, "oauth_token");
	if (!entry) {
		cJSON_Delete(rest);
		return pa_fail(err, PA_NO_MEMORY, 0, "login of Copilot");
	}
	if ((rc = json_set(entry, KEPT, rest, err)) < 0 ||
		(rc = json_set_str(entry, "type", "oauth", err)) < 0 ||
		(rc = json_set_str(entry, "access", "", err)) < 0 ||
		(rc = json_set_str(entry, "refresh", json_str(account, "oauth_token"), err)) < 0 ||
		(rc = json_set_int(entry, "expires", 0, err)) < 0)
		return rc;
	return import_pi_entry(account->string, PROVIDER, profile, entry, sink, err);
}

static int read_accounts(const cJSON *root, const char *text, size_t len,
	const struct import_sink *sink, struct pa_err *err)
{
	const cJSON *account;
	const char *first = NULL;
	bool any = false;
	int rc = 0;

	if (!cJSON_IsObject(root))
		return pa_fail(err, PA_FILE_UNUSABLE, EBADMSG, "not a JSON object");
	cJSON_ArrayForEach (account, root) {
		const char *user = json_str(account, "user");
		const char *profile = any ? profile_of(user, first) : NULL;
		const char *why = refused_because(account);
		rc = why ? import_refuse(account->string, PROVIDER, NULL, why, sink, err)
			 : read_account(account, profile, sink, err);
		if (rc < 0)
			return rc;
		if (!why && !any) {
			any = true;
			first = user;
		}
	}
	return 0;
}

static int write_account(cJSON *root, const char *name, const cJSON *entry, struct pa_err *err)
{
	cJSON *account = cJSON_GetObjectItemCaseSensitive(root, name);
	const cJSON *kept = cJSON_GetObjectItemCaseSensitive(entry, KEPT);
	const char *token = json_str(entry, "refresh");
	int rc;

	if (!cJSON_IsObject(root) || !is_github(name))
		return pa_fail(err, PA_FILE_UNUSABLE, EBADMSG, "not a credential of Copilot");
	if (!entry) {
		json_drop(root, name);
		return 0;
	}
	if (!token || !*token)
		return pa_fail(err, PA_FILE_UNUSABLE, EINVAL, "the entry has no token of GitHub");
	if (!account) {
		if (!cJSON_IsObject(kept))
			return pa_fail(err, PA_FILE_UNUSABLE, ENODATA,
				"the login's user, whom Copilot needs, is not known");
		if ((rc = json_set(root, name, cJSON_Duplicate(kept, true), err)) < 0)
			return rc;
		account = cJSON_GetObjectItemCaseSensitive(root, name);
	}
	return json_set_str(account, "oauth_token", token, err);
}

static const struct import_format accounts = {
	.read = read_accounts,
	.write = write_account,
	.empty = "{}",
};

static int find_places(const char *home, struct import_places *ret, struct pa_err *err)
{
	char *dir = import_dir("XDG_CONFIG_HOME", home, ".config");
	int rc =
		dir ? import_place_add(ret, &accounts, err, "%s/github-copilot/apps.json", dir) : 0;
	if (dir && rc == 0)
		rc = import_place_add(ret, &accounts, err, "%s/github-copilot/hosts.json", dir);
	free(dir);
	return rc;
}

static const struct import_name names[] = { { "apps.json", &accounts }, { "hosts.json", &accounts },
	{ 0 } };

const struct importer import_copilot = {
	.tool = "copilot",
	.title = "GitHub Copilot in editors",
	.places = find_places,
	.names = names,
	.hint = NULL, /* the editors log in by themselves only */
};
