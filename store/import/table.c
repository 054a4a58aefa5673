#include "import.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct importer *const importers[] = {
	&import_pi,
	&import_aihub,
	&import_taskfactory,
	&import_claude_code,
	&import_codex,
	&import_opencode,
	&import_gemini_cli,
	&import_copilot,
	&import_openclaw,
	&import_gh,
	NULL,
};

const char *const import_env_names[] = {
	"PI_CODING_AGENT_DIR",
	"AIHUB_HOME",
	"CLAUDE_SECURESTORAGE_CONFIG_DIR",
	"CLAUDE_CONFIG_DIR",
	"CODEX_HOME",
	"XDG_DATA_HOME",
	"XDG_CONFIG_HOME",
	"GEMINI_CLI_HOME",
	"GH_CONFIG_DIR",
	"OPENCLAW_STATE_DIR",
	NULL,
};

const char *const *import_shadows(const char *tool)
{
	/* gh environment (cli/cli); Claude Code and opencode: as their programs read them. pi and its relatives
	 * look into their files first. */
	static const struct {
		const char *tool, *names[4];
	} shadows[] = {
		{ "claude-code", { "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN",
					 "ANTHROPIC_API_KEY" } },
		{ "opencode", { "OPENCODE_AUTH_CONTENT" } },
		{ "gh", { "GH_TOKEN", "GITHUB_TOKEN" } },
	};
	static const char *const none[] = { NULL };
	for (size_t i = 0; i < sizeof(shadows) / sizeof(*shadows); i++) {
		if (strcmp(shadows[i].tool, tool) == 0)
			return shadows[i].names;
	}
	return none;
}

const struct importer *importer_find(const char *tool)
{
	for (size_t i = 0; importers[i]; i++) {
		if (strcmp(importers[i]->tool, tool) == 0)
			return importers[i];
	}
	return NULL;
}

const char *import_env(const char *name)
{
	const char *value = secure_getenv(name);
	return value && *value ? value : NULL;
}

char *import_dir(const char *variable, const char *home, const char *fallback)
{
	const char *value = import_env(variable), *first = home, *rest = fallback;
	char *path;
	if (value && *value == '~' && (value[1] == '/' || value[1] == '\0')) {
		rest = value + 1;
	} else if (value) {
		if (*value != '/')
			return NULL;
		first = value;
		rest = "";
	}
	rest += strspn(rest, "/");
	if (asprintf(&path, "%s%s%s", first, *rest ? "/" : "", rest) < 0)
		return NULL;
	for (size_t len = strlen(path); len > 1 && path[len - 1] == '/'; len--)
		path[len - 1] = '\0';
	return path;
}

int import_place_add(struct import_places *p, const struct import_format *format,
	struct pa_err *err, const char *fmt, ...)
{
	struct import_place *grown = reallocarray(p->v, p->n + 1, sizeof(*grown));
	char *path = NULL;
	va_list ap;
	if (grown) {
		p->v = grown;
		va_start(ap, fmt);
		if (vasprintf(&path, fmt, ap) < 0)
			path = NULL;
		va_end(ap);
	}
	if (!path)
		return pa_fail(err, PA_NO_MEMORY, 0, "path of a file");
	p->v[p->n++] = (struct import_place){ .path = path, .format = format };
	return 0;
}

void import_places_done(struct import_places *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->v[i].path);
	free(p->v);
	*p = (struct import_places){ 0 };
}
