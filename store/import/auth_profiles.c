/*
 * auth-profiles.json: {"version":1,"profiles":{"provider:name":{"type","provider",...}}}, OpenClaw's and in its
 * shape aihub's. OpenClaw takes "mode" for "type" and "apiKey" for "key" (normalizeRawCredentialEntry),
 * because people copy them from its configuration; so does this.
 */
#include "import.h"

#include <stdio.h>
#include <string.h>

#define NAME_BEFORE_COLON_MAX 256 /* longer names are refused anyway */

/* What is behind the first colon; NULL for the default profile. */
static const char *profile_of(const char *name)
{
	const char *colon = strchr(name, ':');

	return !colon || !colon[1] || strcmp(colon + 1, "default") == 0 ? NULL : colon + 1;
}

/* The names that pi has for what OpenClaw takes for the same. */
static int spell_as_pi(cJSON *entry, struct pa_err *err)
{
	static const char *const others[][2] = { { "mode", "type" }, { "apiKey", "key" } };
	const char *type;
	cJSON *item;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(others) / sizeof(*others); i++) {
		item = cJSON_GetObjectItemCaseSensitive(entry, others[i][0]);
		if (cJSON_IsString(item) && !cJSON_GetObjectItemCaseSensitive(entry, others[i][1]))
			rc = json_set(
				entry, others[i][1], cJSON_DetachItemViaPointer(entry, item), err);
	}
	type = json_str(entry, "type");
	if (rc == 0 && type && strcmp(type, "apiKey") == 0)
		rc = json_set_str(entry, "type", "api_key", err);
	return rc;
}

static const char *refused_here(const cJSON *entry)
{
	const char *type = json_str(entry, "type");

	if (type && strcmp(type, "token") == 0)
		return "a bearer token: not stored by this version";
	if (type && strcmp(type, "api_key") == 0 && !json_str(entry, "key") &&
		cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(entry, "keyRef")))
		return "no key in it: it names one that is kept elsewhere";
	return NULL;
}

static int read_profile(
	const char *name, const cJSON *value, const struct import_sink *sink, struct pa_err *err)
{
	JSON_AUTO cJSON *copy = cJSON_Duplicate(value, true);
	const char *provider = json_str(value, "provider"), *refused;
	char before[NAME_BEFORE_COLON_MAX];
	int rc;

	if (!copy)
		return pa_fail(err, PA_NO_MEMORY, 0, "entry of a credential file");
	if (cJSON_IsObject(copy) && (rc = spell_as_pi(copy, err)) < 0)
		return rc;
	if (!provider || !*provider) {
		snprintf(before, sizeof(before), "%.*s", (int)strcspn(name, ":"), name);
		provider = before;
	}
	refused = refused_here(copy);
	if (refused)
		return import_refuse(name, provider, profile_of(name), refused, sink, err);
	return import_pi_entry(name, provider, profile_of(name), copy, sink, err);
}

int import_auth_profiles_read(const cJSON *root, const char *text, size_t len,
	const struct import_sink *sink, struct pa_err *err)
{
	const cJSON *profiles = cJSON_GetObjectItemCaseSensitive(root, "profiles");

	if (!cJSON_IsObject(root) || (profiles && !cJSON_IsObject(profiles)))
		return pa_fail(err, PA_FILE_UNUSABLE, 0, "%s is not an object",
			profiles ? "\"profiles\"" : "it");
	return profiles ? import_each(profiles, read_profile, sink, err) : 0;
}

/* A profile that was not there: who reads it wants its provider. */
static int add_profile(cJSON *profiles, const char *name, const cJSON *entry, struct pa_err *err)
{
	char before[NAME_BEFORE_COLON_MAX];
	int rc = import_pi_write(profiles, name, entry, err);

	if (rc < 0 || json_str(entry, "provider"))
		return rc;
	snprintf(before, sizeof(before), "%.*s", (int)strcspn(name, ":"), name);
	return json_set_str(
		cJSON_GetObjectItemCaseSensitive(profiles, name), "provider", before, err);
}

/* Into what is there, in its spelling. */
static int change_profile(cJSON *old, const cJSON *entry, struct pa_err *err)
{
	JSON_AUTO cJSON *copy = cJSON_Duplicate(old, true);
	const char *is, *wanted = json_str(entry, "type");
	int rc;

	if (!copy)
		return pa_fail(err, PA_NO_MEMORY, 0, "entry of a credential file");
	if (cJSON_IsObject(copy) && (rc = spell_as_pi(copy, err)) < 0)
		return rc;
	is = json_str(copy, "type");
	if (!is || !wanted || strcmp(is, wanted) != 0)
		return pa_fail(err, PA_UNSUPPORTED, 0, "another kind of credential is there");
	return import_pi_merge(old, entry, err);
}

int import_auth_profiles_write(
	cJSON *root, const char *name, const cJSON *entry, struct pa_err *err)
{
	cJSON *profiles = cJSON_GetObjectItemCaseSensitive(root, "profiles"), *old;
	int rc = 0;

	if (!cJSON_IsObject(root) || (profiles && !cJSON_IsObject(profiles)))
		return pa_fail(err, PA_FILE_UNUSABLE, 0, "%s is not an object",
			profiles ? "\"profiles\"" : "it");
	if (!profiles && !entry)
		return 0;
	if (!profiles) {
		if (!cJSON_GetObjectItemCaseSensitive(root, "version"))
			rc = json_set_int(root, "version", 1, err);
		if (rc < 0 || (rc = json_set(root, "profiles", cJSON_CreateObject(), err)) < 0)
			return rc;
		profiles = cJSON_GetObjectItemCaseSensitive(root, "profiles");
	}
	old = cJSON_GetObjectItemCaseSensitive(profiles, name);
	if (!entry)
		return import_pi_write(profiles, name, NULL, err);
	return old ? change_profile(old, entry, err) : add_profile(profiles, name, entry, err);
}
