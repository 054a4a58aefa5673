/*
 * OpenClaw has pi's logins as profiles, one file for each agent, and names the profiles "provider:default" or
 * "provider:e-mail" (docs.openclaw.ai, concepts/oauth and concepts/model-failover):
 *
 *   ~/.openclaw/agents/AGENT/agent/auth-profiles.json   under proper-lockfile
 *   ~/.openclaw/agent/auth-profiles.json                before there were agents
 *   ~/.openclaw/credentials/oauth.json                  before there were profiles, in pi's format
 *
 * Agents have copies of each other's logins; main's count first.
 */
#include "import.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAIN         "main"
#define AGENT_ID_MAX 64

/*
 * Newer versions keep a ChatGPT login, made with the client of Codex, as one of "openai". A login that pi
 * calls "openai" is made with a client of its own and carries that one's id: what has none is Codex's.
 */
static int entry_as_ours(void *arg, struct import_entry *e, struct pa_err *err)
{
	const struct import_sink *sink = arg;
	if (e->entry && strcmp(e->provider, "openai") == 0 && strcmp(e->lane, "oauth") == 0 &&
		!json_str(e->entry, "clientId"))
		e->provider = "openai-codex";
	return sink->entry(sink->arg, e, err);
}

static int read_profiles(const cJSON *root, const char *text, size_t len,
	const struct import_sink *sink, struct pa_err *err)
{
	struct import_sink to = { .entry = entry_as_ours, .arg = (void *)(uintptr_t)sink };
	return import_auth_profiles_read(root, text, len, &to, err);
}

static const struct import_format profiles = {
	.read = read_profiles,
	.write = import_auth_profiles_write,
	.linkable = true,
	.lock = IMPORT_LOCK_PROPER,
	.empty = "{\"version\":1,\"profiles\":{}}",
};

/* A source only: what OpenClaw found there it has taken over, and it does not look again. */
static int read_legacy(const cJSON *root, const char *text, size_t len,
	const struct import_sink *sink, struct pa_err *err)
{
	return import_pi_oauth.read(root, text, len, sink, err);
}

static int remove_legacy(cJSON *root, const char *name, const cJSON *entry, struct pa_err *err)
{
	if (entry)
		return pa_fail(err, PA_UNSUPPORTED, 0, "OpenClaw does not read this file any more");
	return import_pi_oauth.write(root, name, NULL, err);
}

static const struct import_format legacy = { .read = read_legacy, .write = remove_legacy };

static bool agent_id_is_valid(const char *id)
{
	static const char alphabet[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
	size_t len = strlen(id);
	return len > 0 && len <= AGENT_ID_MAX && strspn(id, alphabet) == len;
}

static int is_other_agent(const struct dirent *d)
{
	return agent_id_is_valid(d->d_name) && strcmp(d->d_name, MAIN) != 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_agent(const char *dir, const char *id, struct import_places *ret, struct pa_err *err)
{
	return import_place_add(
		ret, &profiles, err, "%s/agents/%s/agent/auth-profiles.json", dir, id);
}

static int add_agents(const char *dir, struct import_places *ret, struct pa_err *err)
{
	struct dirent **list = NULL;
	char *agents;
	int n, rc;

	/* main's is named even where nobody can be listed: looking at it tells why. */
	if ((rc = add_agent(dir, MAIN, ret, err)) < 0)
		return rc;
	if (asprintf(&agents, "%s/agents", dir) < 0)
		return pa_fail(err, PA_NO_MEMORY, 0, "agents of OpenClaw");
	n = scandir(agents, &list, is_other_agent, by_bytes);
	free(agents);
	if (n < 0 && errno == ENOMEM)
		return pa_fail(err, PA_NO_MEMORY, 0, "agents of OpenClaw");
	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = add_agent(dir, list[i]->d_name, ret, err);
		free(list[i]);
	}
	free(list);
	return rc;
}

static int find_places(const char *home, struct import_places *ret, struct pa_err *err)
{
	char *dir = import_dir("OPENCLAW_STATE_DIR", home, ".openclaw");
	int rc = dir ? add_agents(dir, ret, err) : 0;
	if (dir && rc == 0)
		rc = import_place_add(ret, &profiles, err, "%s/agent/auth-profiles.json", dir);
	if (dir && rc == 0)
		rc = import_place_add(ret, &legacy, err, "%s/credentials/oauth.json", dir);
	free(dir);
	return rc;
}

static const struct import_name names[] = { { "auth-profiles.json", &profiles },
	{ "oauth.json", &legacy }, { 0 } };

const struct importer import_openclaw = {
	.tool = "openclaw",
	.title = "OpenClaw",
	.places = find_places,
	.names = names,
	.hint = NULL, /* it reads its own profiles only */
};
