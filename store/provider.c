#include "provider.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "provider_i.h"
#include "secret.h"

#define URL_MAX          2048
#define ARENA_CHUNK      (8 * 1024)
#define FILE_SUFFIX      ".json"
#define EMBEDDED_NAME    "providers.json"
#define CONFIG_SHOWN     "configuration"
#define PROVIDERS_D_NAME "providers.d/"

struct arena_chunk {
	struct arena_chunk *next;
	size_t size;
	_Alignas(max_align_t) char bytes[];
};

static void *take(struct arena *a, size_t size, size_t align)
{
	size_t at = (a->used + align - 1) / align * align;
	if (!a->chunks || at > a->chunks->size || a->chunks->size - at < size) {
		size_t room = size > ARENA_CHUNK ? size : ARENA_CHUNK;
		struct arena_chunk *chunk = wipe_calloc(1, sizeof(*chunk) + room);
		if (!chunk)
			return NULL;
		chunk->size = room;
		chunk->next = a->chunks;
		a->chunks = chunk;
		at = 0;
	}
	a->used = at + size;
	return a->chunks->bytes + at;
}

void *arena_take(struct arena *a, size_t size)
{
	return take(a, size, _Alignof(max_align_t));
}

char *arena_string(struct arena *a, const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = take(a, size, 1);
	if (copy)
		memcpy(copy, text, size);
	return copy;
}

void arena_done(struct arena *a)
{
	while (a->chunks) {
		struct arena_chunk *next = a->chunks->next;
		wipe_free(a->chunks);
		a->chunks = next;
	}
}

static bool is_lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool provider_id_is_valid(const char *id, size_t len)
{
	if (len < 1 || len > PROVIDER_ID_MAX || !is_lower_or_digit(id[0]))
		return false;
	for (size_t i = 1; i < len; i++) {
		if (!is_lower_or_digit(id[i]) && id[i] != '.' && id[i] != '_' && id[i] != '-')
			return false;
	}
	return true;
}

bool profile_name_is_valid(const char *name, size_t len)
{
	if (len < 1 || len > PROFILE_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = name[i] >= 'A' && name[i] <= 'Z' ? 'a' : name[i];
		bool plain = is_lower_or_digit(c);
		if (!plain && (i == 0 || !c || !strchr("._@+-", c)))
			return false;
	}
	return true;
}

/*
 * A dotted quad in 127.0.0.0/8, [::1] or localhost. Forms that only some libraries take for
 * loopback (127.1, 0x7f000001, 2130706433) are not accepted.
 */
static bool host_is_loopback(const char *host, size_t len)
{
	char text[64];
	struct in_addr four;
	struct in6_addr six;
	if (len == 9 && strncasecmp(host, "localhost", 9) == 0)
		return true;
	if (len >= sizeof(text))
		return false;
	memcpy(text, host, len);
	text[len] = '\0';
	if (text[0] == '[' && text[len - 1] == ']') {
		text[len - 1] = '\0';
		return inet_pton(AF_INET6, text + 1, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
	}
	return inet_pton(AF_INET, text, &four) == 1 && (ntohl(four.s_addr) >> 24) == 127;
}

/* A name of letters, digits, dots, hyphens and underscores, or a bracketed IPv6 address. */
static bool host_is_valid(const char *host, size_t len)
{
	char text[64];
	struct in6_addr six;
	if (len == 0 || len > 253) /* RFC 1035 2.3.4 */
		return false;
	if (host[0] == '[') {
		if (len < 4 || len >= sizeof(text) || host[len - 1] != ']')
			return false;
		memcpy(text, host + 1, len - 2);
		text[len - 2] = '\0';
		return inet_pton(AF_INET6, text, &six) == 1;
	}
	for (size_t i = 0; i < len; i++) {
		char c = host[i] >= 'A' && host[i] <= 'Z' ? 'a' : host[i];
		if (!is_lower_or_digit(c) && (c == '\0' || !strchr("-._", c)))
			return false;
	}
	return host[0] != '.';
}

static bool port_is_valid(const char *port, size_t len)
{
	unsigned long n = 0;
	for (size_t i = 0; i < len; i++) {
		if (port[i] < '0' || port[i] > '9')
			return false;
		n = n * 10 + (unsigned long)(port[i] - '0');
	}
	return len >= 1 && len <= 5 && n >= 1 && n <= 65535;
}

/*
 * Parses on its own and takes less than RFC 3986 allows, so that curl, which parses again, cannot
 * see another host: no user name (http://127.0.0.1@evil/), no backslash, no space, no control or
 * non-ASCII byte, no percent sign in the host, no fragment (RFC 6749 3.1, 3.2).
 */
bool endpoint_is_allowed(const char *url)
{
	bool https = strncasecmp(url, "https://", 8) == 0;
	if (!https && strncasecmp(url, "http://", 7) != 0)
		return false;
	size_t len = strnlen(url, URL_MAX + 1);
	if (len > URL_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (url[i] <= ' ' || url[i] > '~' || strchr("\\\"<>^`{|}#", url[i]))
			return false;
	}
	const char *authority = url + (https ? 8 : 7);
	size_t end = strcspn(authority, "/?");
	size_t host = authority[0] == '[' ? strcspn(authority, "]") + 1 : strcspn(authority, ":/?");
	if (host > end || !host_is_valid(authority, host))
		return false;
	if (host < end &&
		(authority[host] != ':' || !port_is_valid(authority + host + 1, end - host - 1)))
		return false;
	return https || host_is_loopback(authority, host);
}

struct name_ref {
	const char *name;
	uint32_t row;
};

struct provider_table {
	struct arena arena;
	struct provider_row *rows; /* sorted by id */
	size_t count;
	struct name_ref *names; /* ids and aliases, sorted */
	size_t name_count;
};

/* Who has this name as an alias, or NULL. */
static const char *owner_of_alias(const cJSON *root, const char *name)
{
	const cJSON *fields, *alias;
	cJSON_ArrayForEach (fields, root) {
		cJSON_ArrayForEach (alias, cJSON_GetObjectItemCaseSensitive(fields, "aliases")) {
			if (strcmp(alias->valuestring, name) == 0)
				return fields->string;
		}
	}
	return NULL;
}

/* Merges one source's fields of one provider; pointer is where they stand in src. */
static int merge_provider(const struct config_source *src, const char *pointer, cJSON *root,
	const char *id, const cJSON *fields, struct pa_err *err)
{
	if (!provider_id_is_valid(id, strlen(id)))
		return config_fail(src, pointer, err,
			"\"%.40s\" cannot be a provider's name (a-z 0-9 . _ -)", id);
	if (cJSON_IsNull(fields)) {
		json_drop(root, id);
		return 0;
	}
	int rc = provider_check(src, pointer, fields, err);
	if (rc < 0)
		return rc;
	const char *own = json_str(fields, "id");
	if (own && strcmp(own, id) != 0)
		return config_fail(src, pointer, err, "\"id\" must be \"%s\" or absent", id);
	cJSON *there = cJSON_GetObjectItemCaseSensitive(root, id);
	if (!there) {
		const char *owner = owner_of_alias(root, id);
		if (owner)
			return config_fail(src, pointer, err,
				"\"%s\" is another name of \"%s\": configure that", id, owner);
		rc = json_set(root, id, cJSON_CreateObject(), err);
		if (rc < 0)
			return rc;
		there = cJSON_GetObjectItemCaseSensitive(root, id);
	}
	return json_merge(there, fields, err);
}

static int merge_all(const struct config_source *src, const char *prefix, cJSON *root,
	const cJSON *providers, struct pa_err *err)
{
	const cJSON *fields;
	char pointer[CONFIG_POINTER_MAX];
	if (!cJSON_IsObject(providers))
		return config_fail(src, prefix, err, "must be an object of providers");
	cJSON_ArrayForEach (fields, providers) {
		config_pointer(pointer, prefix, fields->string);
		int rc = merge_provider(src, pointer, root, fields->string, fields, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int merge_file(int dirfd, const char *file, cJSON *root, struct pa_err *err)
{
	WIPE_AUTO char *text = NULL;
	JSON_AUTO cJSON *fields = NULL;
	char shown[NAME_MAX + sizeof(PROVIDERS_D_NAME)];
	char id[NAME_MAX + 1];
	size_t len = 0;
	bool exposed;
	snprintf(shown, sizeof(shown), PROVIDERS_D_NAME "%s", file);
	snprintf(id, sizeof(id), "%.*s", (int)(strlen(file) - strlen(FILE_SUFFIX)), file);

	struct pa_err why;
	int rc = config_read_text(dirfd, file, &text, &len, &exposed, &why);
	if (rc < 0)
		return pa_fail(err, why.code, why.errnum, PROVIDERS_D_NAME "%s", why.detail);
	struct config_source src = { shown, text, len };
	rc = config_parse(&src, &fields, err);
	if (rc < 0)
		return rc;
	if (exposed && config_has_secret(fields))
		return pa_fail(err, PA_STORE_UNSAFE, 0,
			"%s holds a client secret and others may read it (chmod 0600)", shown);
	return merge_provider(&src, "", root, id, fields, err);
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_provider_file(const char *name)
{
	size_t len = strlen(name), suffix = strlen(FILE_SUFFIX);
	return name[0] != '.' && len > suffix && strcmp(name + len - suffix, FILE_SUFFIX) == 0;
}

/* The names of the files to read, in byte order; *ret is an array of strings for free. */
static int list_files(int dirfd, char ***ret, size_t *ret_count, struct pa_err *err)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int saved = errno;
		if (fd >= 0)
			close(fd);
		return pa_fail(err, PA_CONFIG, saved, PROVIDERS_D_NAME ": cannot be read");
	}
	int rc = 0;
	for (;;) {
		errno = 0;
		const struct dirent *entry = readdir(dir);
		if (!entry) {
			if (errno)
				rc = pa_fail(
					err, PA_CONFIG, errno, PROVIDERS_D_NAME ": cannot be read");
			break;
		}
		if (!is_provider_file(entry->d_name))
			continue;
		char **grown = reallocarray(*ret, *ret_count + 1, sizeof(*grown));
		if (grown)
			*ret = grown;
		char *name = grown ? strdup(entry->d_name) : NULL;
		if (!name) {
			rc = pa_fail(err, PA_NO_MEMORY, 0, "provider table");
			break;
		}
		(*ret)[(*ret_count)++] = name;
	}
	closedir(dir);
	if (rc == 0 && *ret_count)
		qsort(*ret, *ret_count, sizeof(**ret), compare_strings);
	return rc;
}

static int merge_directory(int dirfd, cJSON *root, struct pa_err *err)
{
	char **files = NULL;
	size_t count = 0;
	int rc = list_files(dirfd, &files, &count, err);
	for (size_t i = 0; i < count; i++) {
		if (rc == 0)
			rc = merge_file(dirfd, files[i], root, err);
		free(files[i]);
	}
	free(files);
	return rc;
}

static int compare_rows(const void *a, const void *b)
{
	const struct provider_row *x = a, *y = b;
	return strcmp(x->p.id, y->p.id);
}

static int compare_refs(const void *a, const void *b)
{
	const struct name_ref *x = a, *y = b;
	return strcmp(x->name, y->name);
}

static int build_names(struct provider_table *t, struct pa_err *err)
{
	size_t room = t->count;
	for (size_t i = 0; i < t->count; i++) {
		for (char **alias = t->rows[i].p.aliases; *alias; alias++)
			room++;
	}
	t->names = arena_take(&t->arena, room * sizeof(*t->names));
	if (!t->names)
		return pa_fail(err, PA_NO_MEMORY, 0, "provider table");
	for (size_t i = 0; i < t->count; i++) {
		t->names[t->name_count++] = (struct name_ref){ t->rows[i].p.id, (uint32_t)i };
		for (char **alias = t->rows[i].p.aliases; *alias; alias++)
			t->names[t->name_count++] = (struct name_ref){ *alias, (uint32_t)i };
	}
	qsort(t->names, t->name_count, sizeof(*t->names), compare_refs);
	for (size_t i = 1; i < t->name_count; i++) {
		const struct name_ref *a = &t->names[i - 1], *b = &t->names[i];
		if (strcmp(a->name, b->name) == 0)
			return pa_fail(err, PA_CONFIG, 0, "\"%s\" names both \"%s\" and \"%s\"",
				a->name, t->rows[a->row].p.id, t->rows[b->row].p.id);
	}
	return 0;
}

static int build_table(struct provider_table *t, const cJSON *root, struct pa_err *err)
{
	const cJSON *fields;
	t->rows = arena_take(&t->arena, (size_t)cJSON_GetArraySize(root) * sizeof(*t->rows));
	if (!t->rows)
		return pa_fail(err, PA_NO_MEMORY, 0, "provider table");
	cJSON_ArrayForEach (fields, root) {
		int rc = provider_build(
			fields->string, fields, &t->arena, &t->rows[t->count++], err);
		if (rc < 0)
			return rc;
	}
	qsort(t->rows, t->count, sizeof(*t->rows), compare_rows);
	return build_names(t, err);
}

int provider_table_new(int dirfd_providers_d, const cJSON *overrides, const char *overrides_text,
	size_t overrides_len, struct provider_table **ret, struct pa_err *err)
{
	struct config_source embedded = { EMBEDDED_NAME, providers_json, providers_json_len };
	struct config_source config = { CONFIG_SHOWN, overrides_text, overrides_len };
	JSON_AUTO cJSON *root = NULL;
	const cJSON *fields;
	int rc = config_parse(&embedded, &root, err);
	for (fields = root ? root->child : NULL; rc == 0 && fields; fields = fields->next)
		rc = provider_check(&embedded, "", fields, err);
	if (rc == 0 && dirfd_providers_d >= 0)
		rc = merge_directory(dirfd_providers_d, root, err);
	if (rc == 0 && overrides)
		rc = merge_all(&config, "/providers", root, overrides, err);
	if (rc < 0)
		return rc;

	struct provider_table *t = wipe_calloc(1, sizeof(*t));
	rc = t ? build_table(t, root, err) : pa_fail(err, PA_NO_MEMORY, 0, "provider table");
	if (rc < 0)
		provider_table_free(t);
	else
		*ret = t;
	return rc;
}

void provider_table_free(struct provider_table *t)
{
	if (!t)
		return;
	arena_done(&t->arena);
	wipe_free(t);
}

size_t provider_count(const struct provider_table *t)
{
	return t->count;
}

const struct provider *provider_at(const struct provider_table *t, size_t i)
{
	return i < t->count ? &t->rows[i].p : NULL;
}

const struct provider *provider_find(const struct provider_table *t, const char *name, size_t len)
{
	char lower[PROVIDER_ID_MAX + 1];
	if (len < 1 || len > PROVIDER_ID_MAX)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		lower[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
		if (!lower[i])
			return NULL;
	}
	lower[len] = '\0';
	struct name_ref key = { .name = lower };
	const struct name_ref *found =
		bsearch(&key, t->names, t->name_count, sizeof(*t->names), compare_refs);
	return found ? &t->rows[found->row].p : NULL;
}

char *provider_table_json(const struct provider_table *t)
{
	JSON_AUTO cJSON *root = cJSON_CreateObject();
	for (size_t i = 0; root && i < t->count; i++) {
		if (json_set(root, t->rows[i].p.id, provider_render(&t->rows[i]), NULL) < 0)
			return NULL;
	}
	return root ? json_text(root) : NULL;
}

int provider_new_custom(const char *id, struct provider **ret, struct pa_err *err)
{
	size_t len = strlen(id);
	if (!provider_id_is_valid(id, len))
		return pa_fail(err, PA_BAD_INPUT, 0, "not a provider's name (a-z 0-9 . _ -)");
	struct provider *p = wipe_calloc(1, sizeof(*p) + len + 1);
	if (!p)
		return pa_fail(err, PA_NO_MEMORY, 0, "provider");
	p->id = p->name = memcpy(p + 1, id, len + 1); /* one allocation holds both */
	p->aliases = p->env = p->env_oauth = provider_none;
	p->header = p->header_oauth = provider_bearer;
	p->custom = true;
	*ret = p;
	return 0;
}

void provider_free_custom(struct provider *p)
{
	wipe_free(p);
}
