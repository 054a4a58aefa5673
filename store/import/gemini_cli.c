/*
 * Gemini CLI keeps google-auth-library's credentials in ~/.gemini/oauth_creds.json: access_token,
 * refresh_token, expiry_date (ms), scope, token_type, id_token. Google does not rotate refresh tokens, and
 * the tool takes no lock. With GEMINI_FORCE_ENCRYPTED_FILE_STORAGE the same lies in a file of its own,
 * "iv:tag:data" in hexadecimal digits: that is the tool's business, it is only reported.
 */
#include "import.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "../oauth/token.h"

#define NAME     "oauth_creds"
#define PROVIDER "google-gemini-cli"

/* Members with one name here and there; the tool needs the first two beside the tokens. */
static const char *const same[] = { "scope", "token_type", "id_token" };
#define SAME (sizeof(same) / sizeof(*same))

static int copy_same(const cJSON *from, cJSON *to, bool only_absent, struct pa_err *err)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < SAME; i++) {
		const char *value = json_str(from, same[i]);
		if (value && !(only_absent && cJSON_GetObjectItemCaseSensitive(to, same[i])))
			rc = json_set_str(to, same[i], value, err);
	}
	return rc;
}

static int set_email(const cJSON *root, cJSON *entry, struct pa_err *err)
{
	const char *id_token = json_str(root, "id_token");
	JSON_AUTO cJSON *claims = id_token ? token_jwt_payload(id_token, strlen(id_token)) : NULL;
	const char *email = claims ? json_str(claims, "email") : NULL;
	return email ? json_set_str(entry, "email", email, err) : 0;
}

static int read_creds(const cJSON *root, const char *text, size_t len,
	const struct import_sink *sink, struct pa_err *err)
{
	const char *access = json_str(root, "access_token"),
		   *refresh = json_str(root, "refresh_token");
	JSON_AUTO cJSON *entry = cJSON_CreateObject();
	int64_t expires = 0;
	int rc;

	if (!cJSON_IsObject(root))
		return pa_fail(err, PA_FILE_UNUSABLE, EBADMSG, "not a JSON object");
	if (!access && !refresh)
		return 0;
	if (!entry)
		return pa_fail(err, PA_NO_MEMORY, 0, "login of Gemini CLI");
	json_int(root, "expiry_date", &expires);
	if ((rc = json_set_str(entry, "type", "oauth", err)) < 0 ||
		(rc = json_set_str(entry, "access", access ? access : "", err)) < 0 ||
		(rc = json_set_str(entry, "refresh", refresh ? refresh : "", err)) < 0 ||
		(rc = json_set_int(entry, "expires", expires, err)) < 0 ||
		(rc = copy_same(root, entry, false, err)) < 0 ||
		(rc = set_email(root, entry, err)) < 0)
		return rc;
	return import_pi_entry(NAME, PROVIDER, NULL, entry, sink, err);
}

static int write_creds(cJSON *root, const char *name, const cJSON *entry, struct pa_err *err)
{
	if (!cJSON_IsObject(root) || strcmp(name, NAME) != 0)
		return pa_fail(err, PA_FILE_UNUSABLE, EBADMSG, "not a credential of Gemini CLI");
	if (!entry) {
		json_drop(root, "access_token");
		json_drop(root, "refresh_token");
		json_drop(root, "id_token");
		json_drop(root, "expiry_date");
		return 0;
	}
	int rc = copy_same(entry, root, true, err);
	return rc < 0 ? rc
		      : import_write_oauth(
				root, "access_token", "refresh_token", "expiry_date", entry, err);
}

static int read_encrypted(const cJSON *root, const char *text, size_t len,
	const struct import_sink *sink, struct pa_err *err)
{
	size_t colons = 0;

	while (len && isspace((unsigned char)text[len - 1]))
		len--;
	for (size_t i = 0; i < len; i++) {
		colons += text[i] == ':';
		if (text[i] != ':' && !isxdigit((unsigned char)text[i]))
			return pa_fail(
				err, PA_FILE_UNUSABLE, EBADMSG, "not iv:tag:data in hexadecimal");
	}
	if (colons != 2)
		return pa_fail(err, PA_FILE_UNUSABLE, EBADMSG, "not iv:tag:data in hexadecimal");
	return import_refuse(NAME, PROVIDER, NULL, "encrypted by Gemini CLI", sink, err);
}

static const struct import_format creds = {
	.read = read_creds,
	.write = write_creds,
	.linkable = true,
	.empty = "{}",
};
static const struct import_format encrypted = { .read = read_encrypted, .text = true };

static int find_places(const char *home, struct import_places *ret, struct pa_err *err)
{
	char *dir = import_dir("GEMINI_CLI_HOME", home, "");
	int rc = dir ? import_place_add(ret, &creds, err, "%s/.gemini/oauth_creds.json", dir) : 0;
	if (dir && rc == 0)
		rc = import_place_add(
			ret, &encrypted, err, "%s/.gemini/gemini-credentials.json", dir);
	free(dir);
	return rc;
}

static const struct import_name names[] = { { "oauth_creds.json", &creds },
	{ "gemini-credentials.json", &encrypted }, { 0 } };

const struct importer import_gemini_cli = {
	.tool = "gemini-cli",
	.title = "Gemini CLI",
	.places = find_places,
	.names = names,
	.hint = NULL, /* it takes this login from nowhere else */
};
