#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "migrate_table.h"
#include "offline.h"
#include "store/secret.h"

#define NODE ".piauth/migrate"

static bool is_sensible(const struct client *c)
{
	bool take = c->given & CLIENT_TAKE_OVER, give = c->given & CLIENT_GIVE_BACK;
	if (take && give)
		return false;
	if ((c->given & CLIENT_BACKUP) && !take)
		return false;
	if (take || give)
		return !(c->given & (CLIENT_FROM | CLIENT_DRY_RUN));
	return c->operands == 0 && (!c->from || *c->from);
}

static int absolute(const char *path, char **ret, struct pa_err *err)
{
	char *cwd = *path == '/' ? NULL : getcwd(NULL, 0);
	if (*path != '/' && !cwd)
		return pa_fail(err, PA_SYSTEM, errno, "the current directory: %s", strerror(errno));
	int n = cwd ? asprintf(ret, "%s/%s", cwd, path) : asprintf(ret, "%s", path);
	free(cwd);
	return n < 0 ? pa_fail(err, PA_NO_MEMORY, 0, "--from") : 0;
}

/* The command as .piauth/migrate takes it; malloc'ed. */
static int command_of(const struct client *c, char **ret, struct pa_err *err)
{
	char *path = NULL, *text = NULL;
	size_t size;
	int r = c->from ? absolute(c->from, &path, err) : 0;
	if (r < 0)
		return r;
	FILE *to = open_memstream(&text, &size);
	if (to) {
		if (c->given & CLIENT_DRY_RUN)
			fputs(path ? "dry-run " : "dry-run", to);
		if (path)
			fprintf(to, "from %s", path);
		else if (c->given & CLIENT_TAKE_OVER)
			fputs(c->given & CLIENT_BACKUP ? "take-over backup" : "take-over", to);
		else if (c->given & CLIENT_GIVE_BACK)
			fputs("give-back", to);
		else if (!(c->given & CLIENT_DRY_RUN))
			fputs("now", to);
		for (int i = 0; i < c->operands; i++)
			fprintf(to, " %s", c->operand[i]);
	}
	free(path);
	if (!to || fclose(to) != 0) {
		free(text);
		return pa_fail(err, PA_NO_MEMORY, 0, "command");
	}
	*ret = text;
	return 0;
}

/* ---- without a store there is nothing that a dry run could change: it gets one for the moment ---- */

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int run_offline(
	const struct cli_paths *paths, const char *command, char **ret, struct pa_err *err)
{
	OFFLINE_AUTO struct offline o = { 0 };
	int r = offline_open(&o, paths, true, err);
	return r < 0 ? r : offline_migrate(&o, command, ret, err);
}

static int run_without_store(
	const struct cli_paths *paths, const char *command, char **ret, struct pa_err *err)
{
	char dir[] = "/tmp/piauth-dry-run-XXXXXX", store[PATH_MAX], key[PATH_MAX];
	struct cli_paths here = *paths;
	if (!mkdtemp(dir))
		return pa_fail(err, PA_SYSTEM, errno, "%s: %s", dir, strerror(errno));
	snprintf(store, sizeof(store), "%s/store", dir);
	snprintf(key, sizeof(key), "%s/store.key", dir);
	here.store = store;
	here.key_file = key;
	int r = run_offline(&here, command, ret, err);
	if (nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) < 0 && r == 0)
		r = pa_fail(err, PA_SYSTEM, errno, "%s: %s", dir, strerror(errno));
	return r;
}

/* The report comes also where the command failed, if there is one. */
static int run(const struct client *c, const char *command, char **ret, struct pa_err *err)
{
	size_t len;
	if (c->mounted != CLI_MOUNTED) {
		if ((c->given & CLIENT_DRY_RUN) && !offline_store_exists(&c->paths))
			return run_without_store(&c->paths, command, ret, err);
		return run_offline(&c->paths, command, ret, err);
	}
	int r = client_command(c, NODE, command, strlen(command), err);
	if (r == -EBUSY)
		return pa_fail(err, PA_SYSTEM, EBUSY, "another import is under way");
	if (r == -EINVAL || r == -ENOENT || r == -EACCES)
		return r;
	struct pa_err why;
	int read = client_read(c, NULL, NODE, ret, &len, &why);
	if (r == 0 && read < 0)
		return pa_fail(err, why.code, -read, "%s", why.detail);
	return r;
}

static void print_remark(const struct client *c, const cJSON *report)
{
	bool none = cJSON_GetArraySize(json_at(report, "/entries")) == 0;
	if (none && (c->given & CLIENT_TAKE_OVER))
		fprintf(stderr, "piauth: no login is linked to a file of another tool\n");
	else if (none && (c->given & CLIENT_GIVE_BACK))
		fprintf(stderr, "piauth: no login was taken over from a file of another tool\n");
	else if (none)
		fprintf(stderr, "piauth: no file of another tool holds a login\n");
	else if (c->given & CLIENT_DRY_RUN)
		fprintf(stderr, "piauth: this was a dry run: nothing has changed\n");
}

/* What the command left, as JSON or as tables; the exit code. */
static int show(const struct client *c, const char *text, const cJSON *report)
{
	struct pa_err err;
	int r = c->json ? client_print(text, strlen(text), &err)
			: migrate_print(report, c->paths.mountpoint, &err);
	if (r < 0)
		return cli_fail(NULL, &err);
	if (!c->json)
		print_remark(c, report);
	return migrate_has_failed(report) ? CLI_FAILED : CLI_DONE;
}

int cli_migrate(int argc, char **argv)
{
	CLIENT_AUTO struct client c;
	WIPE_AUTO char *text = NULL;
	JSON_AUTO cJSON *report = NULL;
	char *command = NULL;
	struct pa_err err;

	int code = client_begin(&c, argc, argv,
		CLIENT_JSON | CLIENT_FROM | CLIENT_DRY_RUN | CLIENT_TAKE_OVER | CLIENT_GIVE_BACK |
			CLIENT_BACKUP);
	if (code >= 0)
		return code;
	if (!is_sensible(&c))
		return cli_usage(argv[0]);
	for (int i = 0; i < c.operands; i++) {
		if (!client_name_is_valid(c.operand[i]) || strpbrk(c.operand[i], " \t\n")) {
			pa_fail(&err, PA_NO_PROVIDER, 0, "not a profile name");
			return client_fail(&c, c.operand[i], &err);
		}
	}
	code = client_way_in(&c, (c.given & (CLIENT_TAKE_OVER | CLIENT_GIVE_BACK)) != 0);
	if (code >= 0)
		return code;

	int r = command_of(&c, &command, &err);
	if (r == 0)
		r = run(&c, command, &text, &err);
	free(command);
	if (r < 0) {
		code = cli_fail(NULL, &err);
		struct pa_err why;
		if (text &&
			json_parse(text, strlen(text), PA_NET_ANSWER, &report, NULL, &why) == 0 &&
			json_str(report, "error"))
			fprintf(stderr, "piauth: %s\n", json_str(report, "error"));
		return code;
	}
	if (json_parse(text, strlen(text), PA_NET_ANSWER, &report, NULL, &err) < 0)
		return cli_fail(NULL, &err);
	return show(&c, text, report);
}
