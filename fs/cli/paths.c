#include "fs/cli.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SYSTEM_MOUNT  "/run/piauth"
#define SYSTEM_STORE  "/var/lib/piauth"
#define SYSTEM_CONFIG "/etc/piauth"

/* A directory the environment names. The XDG base directory rules: relative ones do not count. */
static const char *env_dir(const char *name)
{
	const char *dir = secure_getenv(name);
	return dir && dir[0] == '/' ? dir : NULL;
}

static const char *home_dir(void)
{
	const char *home = env_dir("HOME");
	if (home)
		return home;
	const struct passwd *pw = getpwuid(geteuid());
	return pw && pw->pw_dir[0] == '/' ? pw->pw_dir : NULL;
}

static char *join(const char *dir, const char *rest)
{
	char *path;
	return asprintf(&path, "%s%s", dir, rest) < 0 ? NULL : path;
}

static char *user_mountpoint(void)
{
	const char *runtime = env_dir("XDG_RUNTIME_DIR");
	if (runtime)
		return join(runtime, "/piauth");
	/* What logind would have set; a login through su or cron lacks the variable. */
	char *path;
	return asprintf(&path, "/run/user/%u/piauth", (unsigned)geteuid()) < 0 ? NULL : path;
}

static char *user_dir(const char *variable, const char *below_home, const char *rest)
{
	const char *dir = env_dir(variable);
	if (dir)
		return join(dir, rest);
	char *base = join(home_dir(), below_home);
	char *path = base ? join(base, rest) : NULL;
	free(base);
	return path;
}

int cli_paths(struct cli_paths *ret, struct pa_err *err)
{
	struct cli_paths p = { 0 };
	const char *mountpoint = secure_getenv("PIAUTH_MOUNT");
	bool root = geteuid() == 0;

	if (!root && !home_dir())
		return pa_fail(err, PA_SYSTEM, ENOENT, "uid %u has no home directory; set HOME",
			(unsigned)geteuid());
	if (mountpoint && *mountpoint)
		p.mountpoint = strdup(mountpoint);
	else
		p.mountpoint = root ? strdup(SYSTEM_MOUNT) : user_mountpoint();
	if (root) {
		p.store = strdup(SYSTEM_STORE);
		p.key_file = strdup(SYSTEM_CONFIG "/store.key");
		p.config = strdup(SYSTEM_CONFIG "/config.json");
	} else {
		p.store = user_dir("XDG_DATA_HOME", "/.local/share", "/piauth");
		p.key_file = user_dir("XDG_CONFIG_HOME", "/.config", "/piauth/store.key");
		p.config = user_dir("XDG_CONFIG_HOME", "/.config", "/piauth/config.json");
	}
	if (!p.mountpoint || !p.store || !p.key_file || !p.config) {
		cli_paths_done(&p);
		return pa_fail(err, PA_NO_MEMORY, 0, "paths");
	}
	*ret = p;
	return 0;
}

void cli_paths_done(struct cli_paths *p)
{
	free(p->mountpoint);
	free(p->store);
	free(p->key_file);
	free(p->config);
	*p = (struct cli_paths){ 0 };
}

/* In place: /proc/self/mountinfo writes blank, tab, newline and backslash as \ooo. */
static void unescape(char *text)
{
	char *to = text;
	for (const char *c = text; *c; c++) {
		if (c[0] == '\\' && c[1] >= '0' && c[1] <= '3' && c[2] && c[3]) {
			*to++ = (char)((c[1] - '0') * 64 + (c[2] - '0') * 8 + (c[3] - '0'));
			c += 3;
		} else {
			*to++ = *c;
		}
	}
	*to = '\0';
}

/* Whether what is mounted on path (a real path) is of our type; proc(5): the last mount there counts. */
static bool is_our_type(const char *path)
{
	FILE *info = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;
	bool ours = false;

	if (!info)
		return false;
	while (getline(&line, &room, info) > 0) {
		char *save, *point = strtok_r(line, " ", &save);
		for (int field = 1; point && field < 5; field++)
			point = strtok_r(NULL, " ", &save);
		if (!point)
			continue;
		unescape(point);
		if (strcmp(point, path) != 0)
			continue;
		/* After any number of optional fields " - " and the type; blanks are escaped elsewhere. */
		char *type = strstr(save, " - ");
		ours = type && strncmp(type + 3, "fuse.piauth ", 12) == 0;
	}
	free(line);
	fclose(info);
	return ours;
}

/* The real path of a mount point, whose own last component may be a dead mount that cannot be looked at. */
static bool real_path(const char *path, char ret[static PATH_MAX])
{
	char dir[PATH_MAX], real[PATH_MAX];
	size_t len = strlen(path);
	while (len > 1 && path[len - 1] == '/')
		len--;
	if (len >= sizeof(dir))
		return false;
	memcpy(dir, path, len);
	dir[len] = '\0';
	if (realpath(dir, ret))
		return true;
	char *slash = strrchr(dir, '/');
	const char *name = slash ? slash + 1 : dir;
	const char *parent = slash == dir ? "/" : slash ? dir : ".";
	if (slash && slash != dir)
		*slash = '\0';
	if (!realpath(parent, real))
		return false;
	int n = snprintf(ret, PATH_MAX, "%s/%s", strcmp(real, "/") == 0 ? "" : real, name);
	return n < PATH_MAX;
}

enum cli_mounted cli_is_mounted(const char *mountpoint)
{
	char real[PATH_MAX];
	struct statfs fs;
	bool dead = false;
	if (statfs(mountpoint, &fs) < 0) {
		/* The first is a mount whose server is gone; the second one that was aborted. */
		dead = errno == ENOTCONN || errno == ECONNABORTED;
		if (!dead)
			return CLI_MOUNT_NONE;
	} else if (fs.f_type != FUSE_SUPER_MAGIC) {
		return CLI_MOUNT_NONE;
	}
	if (!real_path(mountpoint, real) || !is_our_type(real))
		return CLI_MOUNT_NONE;
	return dead ? CLI_MOUNT_DEAD : CLI_MOUNTED;
}

int cli_fail(const char *subject, const struct pa_err *err)
{
	char text[512];
	pa_err_format(err, text, sizeof(text));
	fprintf(stderr, "piauth: %s%s%s (%s)\n", subject ? subject : "", subject ? ": " : "", text,
		pa_wire(err->code));
	/* Nothing is stored: a script may want to log in then. The rest needs a person. */
	return err->code == PA_NO_KEY || err->code == PA_NO_CHAIN ? CLI_NOT_LOGGED_IN : CLI_FAILED;
}
