#include "config.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_i.h"
#include "secret.h"

#define DURATION_MAX_S 86400 /* longer than a day is a mistake of the unit */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

bool config_has_secret(const cJSON *value)
{
	const cJSON *member;
	cJSON_ArrayForEach (member, value) {
		if (member->string && strcmp(member->string, "client_secret") == 0 &&
			!cJSON_IsNull(member))
			return true;
		if (config_has_secret(member))
			return true;
	}
	return false;
}

/* The whole file, also where it grows while it is read. */
static int read_all(int fd, const char *name, char **ret_text, size_t *ret_len, struct pa_err *err)
{
	WIPE_AUTO char *text = NULL;
	size_t len = 0, room = 0;
	for (;;) {
		if (len == room) {
			room = room ? room * 4 : 4096;
			char *grown = wipe_realloc(text, room);
			if (!grown)
				return pa_fail(err, PA_NO_MEMORY, 0, "%s", name);
			text = grown;
		}
		ssize_t n = read(fd, text + len, room - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return pa_fail(err, PA_CONFIG, errno, "%s: cannot be read", name);
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > CONFIG_MAX)
			return pa_fail(err, PA_CONFIG, EFBIG, "%s: longer than %d bytes", name,
				CONFIG_MAX);
	}
	*ret_text = text;
	*ret_len = len;
	text = NULL;
	return 0;
}

int config_read_text(int dirfd, const char *name, char **ret_text, size_t *ret_len,
	bool *ret_exposed, struct pa_err *err)
{
	const char *base = base_name(name);
	struct stat st;
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return pa_fail(err, PA_CONFIG, errno, "%s: cannot be opened", base);
	int rc;
	if (fstat(fd, &st) < 0)
		rc = pa_fail(err, PA_CONFIG, errno, "%s: cannot be read", base);
	else if (!S_ISREG(st.st_mode))
		rc = pa_fail(err, PA_CONFIG, 0, "%s: not a regular file", base);
	else
		rc = read_all(fd, base, ret_text, ret_len, err);
	close(fd);
	if (rc == 0)
		*ret_exposed = (st.st_mode & (S_IRGRP | S_IROTH)) != 0;
	return rc;
}

int config_fail(const struct config_source *src, const char *pointer, struct pa_err *err,
	const char *fmt, ...)
{
	char reason[128];
	va_list args;
	va_start(args, fmt);
	vsnprintf(reason, sizeof(reason), fmt, args);
	va_end(args);
	int line = src->text ? json_line_of(src->text, src->len, pointer) : 0;
	if (!line)
		return pa_fail(err, PA_CONFIG, 0, "%s: %s", src->file, reason);
	return pa_fail(err, PA_CONFIG, 0, "%s line %d: %s", src->file, line, reason);
}

void config_pointer(char buf[CONFIG_POINTER_MAX], const char *base, const char *name)
{
	size_t at = strlen(base);
	if (buf != base)
		memcpy(buf, base, at + 1);
	if (at + 1 < CONFIG_POINTER_MAX)
		buf[at++] = '/';
	for (; *name && at + 2 < CONFIG_POINTER_MAX; name++) {
		if (*name == '~' || *name == '/') {
			buf[at++] = '~';
			buf[at++] = *name == '~' ? '0' : '1';
		} else {
			buf[at++] = *name;
		}
	}
	buf[at] = '\0';
}

int config_parse(const struct config_source *src, cJSON **ret, struct pa_err *err)
{
	struct pa_err why;
	int rc = json_parse_lax(src->text, src->len, PA_CONFIG, ret, &why);
	if (rc < 0)
		return pa_fail(err, why.code, why.errnum, "%s %s", src->file, why.detail);
	return 0;
}

static int read_seconds(const struct config_source *src, const cJSON *root, const char *name,
	int64_t *ret, struct pa_err *err)
{
	char pointer[CONFIG_POINTER_MAX];
	int64_t value;
	if (!cJSON_GetObjectItemCaseSensitive(root, name))
		return 0;
	if (json_int(root, name, &value) && value >= 1 && value <= DURATION_MAX_S) {
		*ret = value;
		return 0;
	}
	config_pointer(pointer, "", name);
	return config_fail(src, pointer, err, "\"%s\" must be a number of seconds from 1 to %d",
		name, DURATION_MAX_S);
}

static bool element_is(const cJSON *array, int index, const char *text)
{
	const char *value = cJSON_GetStringValue(cJSON_GetArrayItem(array, index));
	return value && strcmp(value, text) == 0;
}

static int read_order(
	const struct config_source *src, const cJSON *root, bool *ret_env, struct pa_err *err)
{
	const cJSON *order = cJSON_GetObjectItemCaseSensitive(root, "order");
	int n = cJSON_GetArraySize(order);
	if (!order)
		return 0;
	if (!cJSON_IsArray(order) || n < 1 || n > 2 || !element_is(order, 0, "store") ||
		(n == 2 && !element_is(order, 1, "env")))
		return config_fail(src, "/order", err,
			"\"order\" must be [\"store\", \"env\"] or [\"store\"]");
	*ret_env = n == 2;
	return 0;
}

/* As readlink of /proc/PID/ns/user prints it. */
static bool is_user_namespace(const char *text)
{
	if (!text || strncmp(text, "user:[", 6) != 0)
		return false;
	size_t digits = strspn(text + 6, "0123456789");
	return digits > 0 && digits <= 20 && strcmp(text + 6 + digits, "]") == 0;
}

static int read_mutators(
	const struct config_source *src, const cJSON *root, char ***ret, struct pa_err *err)
{
	const cJSON *names = cJSON_GetObjectItemCaseSensitive(root, "allow_mutations_from");
	const cJSON *name;
	size_t n = 0;
	if (names && !cJSON_IsArray(names))
		return config_fail(src, "/allow_mutations_from", err,
			"\"allow_mutations_from\" must be a list of user namespaces");
	*ret = wipe_calloc((size_t)cJSON_GetArraySize(names) + 1, sizeof(**ret));
	if (!*ret)
		return pa_fail(err, PA_NO_MEMORY, 0, "configuration");
	cJSON_ArrayForEach (name, names) {
		char pointer[64];
		snprintf(pointer, sizeof(pointer), "/allow_mutations_from/%zu", n);
		if (!is_user_namespace(cJSON_GetStringValue(name)))
			return config_fail(src, pointer, err,
				"not the name of a user namespace (\"user:[NUMBER]\")");
		(*ret)[n] = wipe_strdup(name->valuestring);
		if (!(*ret)[n])
			return pa_fail(err, PA_NO_MEMORY, 0, "configuration");
		n++;
	}
	return 0;
}

static int check_keys(const struct config_source *src, const cJSON *root, struct pa_err *err)
{
	static const char *const known[] = { "deadline_s", "exchange_deadline_s",
		"connect_timeout_s", "watchdog_s", "order", "allow_mutations_from", "providers" };
	const cJSON *member;
	if (!cJSON_IsObject(root))
		return config_fail(src, "", err, "not an object");
	cJSON_ArrayForEach (member, root) {
		size_t i = 0, n = sizeof(known) / sizeof(known[0]);
		while (i < n && strcmp(known[i], member->string) != 0)
			i++;
		if (i < n)
			continue;
		char pointer[CONFIG_POINTER_MAX];
		config_pointer(pointer, "", member->string);
		return config_fail(src, pointer, err, "unknown key \"%.60s\"", member->string);
	}
	return 0;
}

static int read_keys(
	const struct config_source *src, cJSON *root, struct config *c, struct pa_err *err)
{
	int rc = check_keys(src, root, err);
	if (rc == 0)
		rc = read_seconds(src, root, "deadline_s", &c->deadline_s, err);
	if (rc == 0)
		rc = read_seconds(src, root, "exchange_deadline_s", &c->exchange_deadline_s, err);
	if (rc == 0)
		rc = read_seconds(src, root, "connect_timeout_s", &c->connect_timeout_s, err);
	if (rc == 0)
		rc = read_seconds(src, root, "watchdog_s", &c->watchdog_s, err);
	if (rc == 0)
		rc = read_order(src, root, &c->env_fallback, err);
	if (rc == 0)
		rc = read_mutators(src, root, &c->mutators, err);
	if (rc < 0)
		return rc;
	c->providers = cJSON_DetachItemFromObjectCaseSensitive(root, "providers");
	if (c->providers && !cJSON_IsObject(c->providers))
		return config_fail(src, "/providers", err, "\"providers\" must be an object");
	return 0;
}

static int read_file(int dirfd, const char *name, struct config *c, struct pa_err *err)
{
	JSON_AUTO cJSON *root = NULL;
	bool exposed;
	int rc = config_read_text(dirfd, name, &c->text, &c->text_len, &exposed, err);
	if (rc < 0)
		return rc;
	struct config_source src = { base_name(name), c->text, c->text_len };
	rc = config_parse(&src, &root, err);
	if (rc < 0)
		return rc;
	if (exposed && config_has_secret(root))
		return pa_fail(err, PA_STORE_UNSAFE, 0,
			"%s holds a client secret and others may read it (chmod 0600)", src.file);
	return read_keys(&src, root, c, err);
}

int config_read(int dirfd, const char *name, struct config **ret, struct pa_err *err)
{
	struct config *c = wipe_calloc(1, sizeof(*c));
	if (!c)
		return pa_fail(err, PA_NO_MEMORY, 0, "configuration");
	c->deadline_s = 60;
	c->exchange_deadline_s = 300;
	c->connect_timeout_s = 15;
	c->watchdog_s = 10;
	c->env_fallback = true;

	struct pa_err why;
	int rc = read_file(dirfd, name, c, &why);
	if (rc == -ENOENT && !c->text) { /* no file: as an empty one */
		c->mutators = wipe_calloc(1, sizeof(*c->mutators));
		rc = c->mutators ? 0 : pa_fail(&why, PA_NO_MEMORY, 0, "configuration");
	}
	if (rc < 0) {
		config_free(c);
		return pa_fail(err, why.code, why.errnum, "%s", why.detail);
	}
	*ret = c;
	return 0;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (char **name = c->mutators; name && *name; name++)
		wipe_free(*name);
	wipe_free(c->mutators);
	cJSON_Delete(c->providers);
	wipe_free(c->text);
	wipe_free(c);
}
