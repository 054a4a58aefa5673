/*
 * pi (pi-coding-agent) and what shares its files, pi_agent_rust among others.
 *
 * auth.json is the file of every version since 0.28, under the lock directory auth.json.lock. oauth.json and
 * "apiKeys" of settings.json are those of the versions before; 0.28 and later move them over once, to
 * oauth.json.migrated, but only where there is no auth.json yet (dist/migrations.js), so logins are found
 * stranded in all of them.
 */
#include "import.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int read_entry(
	const char *name, const cJSON *value, const struct import_sink *sink, struct pa_err *err)
{
	return import_pi_entry(name, name, NULL, value, sink, err);
}

static int read_auth(const cJSON *root, const char *text, size_t len,
	const struct import_sink *sink, struct pa_err *err)
{
	if (!cJSON_IsObject(root))
		return pa_fail(err, PA_FILE_UNUSABLE, 0, "not an object");
	return import_each(root, read_entry, sink, err);
}

/* All there is in oauth.json are logins. */
static int read_login(
	const char *name, const cJSON *value, const struct import_sink *sink, struct pa_err *err)
{
	JSON_AUTO cJSON *copy = NULL;
	int rc;

	if (!cJSON_IsObject(value) || cJSON_GetObjectItemCaseSensitive(value, "type"))
		return read_entry(name, value, sink, err);
	copy = cJSON_Duplicate(value, true);
	if (!copy)
		return pa_fail(err, PA_NO_MEMORY, 0, "entry of a credential file");
	rc = json_set_str(copy, "type", "oauth", err);
	return rc < 0 ? rc : read_entry(name, copy, sink, err);
}

static int read_oauth(const cJSON *root, const char *text, size_t len,
	const struct import_sink *sink, struct pa_err *err)
{
	if (!cJSON_IsObject(root))
		return pa_fail(err, PA_FILE_UNUSABLE, 0, "not an object");
	return import_each(root, read_login, sink, err);
}

static int read_key(
	const char *name, const cJSON *value, const struct import_sink *sink, struct pa_err *err)
{
	if (!cJSON_IsString(value))
		return import_refuse(name, name, NULL, "not a text", sink, err);
	return import_api_key(name, name, NULL, value->valuestring, sink, err);
}

static int read_settings(const cJSON *root, const char *text, size_t len,
	const struct import_sink *sink, struct pa_err *err)
{
	const cJSON *keys = cJSON_GetObjectItemCaseSensitive(root, "apiKeys");

	if (!cJSON_IsObject(root) || (keys && !cJSON_IsObject(keys)))
		return pa_fail(err, PA_FILE_UNUSABLE, 0, "%s is not an object",
			keys ? "\"apiKeys\"" : "it");
	return keys ? import_each(keys, read_key, sink, err) : 0;
}

static int write_oauth(cJSON *root, const char *name, const cJSON *entry, struct pa_err *err)
{
	if (entry && json_str(entry, "key"))
		return pa_fail(err, PA_UNSUPPORTED, 0, "oauth.json holds logins only");
	return import_pi_write(root, name, entry, err);
}

/* Files that pi left behind: secrets can be taken out, never put in. */
static int remove_login(cJSON *root, const char *name, const cJSON *entry, struct pa_err *err)
{
	if (entry)
		return pa_fail(err, PA_UNSUPPORTED, 0, "pi does not read this file any more");
	return import_pi_write(root, name, NULL, err);
}

static int remove_key(cJSON *root, const char *name, const cJSON *entry, struct pa_err *err)
{
	cJSON *keys = cJSON_GetObjectItemCaseSensitive(root, "apiKeys");

	if (keys)
		return remove_login(keys, name, entry, err);
	return entry ? pa_fail(err, PA_UNSUPPORTED, 0, "pi does not read \"apiKeys\" any more") : 0;
}

const struct import_format import_pi_auth = {
	.read = read_auth,
	.write = import_pi_write,
	.linkable = true,
	.lock = IMPORT_LOCK_PROPER,
	.empty = "{}",
};

/* What writes it, pi before 0.28, does so without a lock. */
const struct import_format import_pi_oauth = {
	.read = read_oauth,
	.write = write_oauth,
	.linkable = true,
	.lock = IMPORT_LOCK_NONE,
};

const struct import_format import_pi_source = {
	.read = read_auth,
	.lock = IMPORT_LOCK_NONE,
};

static const struct import_format oauth_left_behind = {
	.read = read_oauth,
	.write = remove_login,
	.lock = IMPORT_LOCK_NONE,
};

static const struct import_format settings = {
	.read = read_settings,
	.write = remove_key,
	.lock = IMPORT_LOCK_PROPER,
};

/* Whether pi before 0.28 may still be in use: any later one has made an auth.json. Where that cannot be
 * told there may be one. A link is not followed: what hangs behind it is looked at under its own name. */
static int is_old(const char *dir, bool *ret, struct pa_err *err)
{
	char *path;

	if (asprintf(&path, "%s/auth.json", dir) < 0)
		return pa_fail(err, PA_NO_MEMORY, 0, "path of a file");
	*ret = faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
	free(path);
	return 0;
}

static int places(const char *home, struct import_places *ret, struct pa_err *err)
{
	char *dir = import_dir("PI_CODING_AGENT_DIR", home, ".pi/agent");
	bool old = false;
	int rc;

	if (!dir) /* relative to the directory in which pi is started: nobody here knows which */
		return 0;
	if ((rc = is_old(dir, &old, err)) == 0 &&
		(rc = import_place_add(ret, &import_pi_auth, err, "%s/auth.json", dir)) == 0 &&
		(rc = import_place_add(ret, old ? &import_pi_oauth : &oauth_left_behind, err,
			 "%s/oauth.json", dir)) == 0 &&
		(rc = import_place_add(
			 ret, &oauth_left_behind, err, "%s/oauth.json.migrated", dir)) == 0)
		rc = import_place_add(ret, &settings, err, "%s/settings.json", dir);
	free(dir);
	return rc;
}

static const struct import_name names[] = {
	{ "auth.json", &import_pi_auth },
	{ "oauth.json", &import_pi_oauth },
	{ "oauth.json.migrated", &oauth_left_behind },
	{ "settings.json", &settings },
	{ NULL, NULL },
};

const struct importer import_pi = {
	.tool = "pi",
	.title = "pi",
	.places = places,
	.names = names,
	.hint = "put {\"providers\":{\"PROVIDER\":{\"apiKey\":\"!cat MOUNT/PROVIDER/key\"}}} into "
		"models.json "
		"beside its auth.json (~/.pi/agent/models.json)",
};
