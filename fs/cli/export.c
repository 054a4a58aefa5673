#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "prompt.h"
#include "store.h"
#include "store/link.h"
#include "store/secret.h"
#include "table.h"

#define EXPORT_FORMAT  1
#define EXPORT_MAX     (256 * 1024 * 1024) /* bytes of an export file that is read */
#define PASSPHRASE_MAX 1024

/* ---- passphrase ---- */

static int passphrase_from(int fd, char **ret, size_t *ret_len, struct pa_err *err)
{
	size_t len;
	int r = client_read_all(fd, PASSPHRASE_MAX, ret, &len, err);
	if (r < 0)
		return r;
	*ret_len = strcspn(*ret, "\r\n"); /* the first line; NUL ends it too */
	return *ret_len ? 0 : pa_fail(err, PA_BAD_INPUT, 0, "the passphrase is empty");
}

/* twice: a slip in a new passphrase would make the export useless. */
static int ask_passphrase(bool twice, char **ret, size_t *ret_len, struct pa_err *err)
{
	WIPE_AUTO char *again = NULL;
	size_t again_len;
	if (!isatty(STDIN_FILENO))
		return pa_fail(err, PA_BAD_INPUT, 0,
			"no terminal to ask on; use --passphrase-stdin or --passphrase-file");
	int r = prompt_secret(STDIN_FILENO, "Passphrase (it is not shown): ", false, PASSPHRASE_MAX,
		ret, ret_len, err);
	if (r < 0 || !twice)
		return r;
	r = prompt_secret(
		STDIN_FILENO, "The same again: ", false, PASSPHRASE_MAX, &again, &again_len, err);
	if (r == 0 && (again_len != *ret_len || memcmp(again, *ret, again_len) != 0))
		r = pa_fail(err, PA_BAD_INPUT, 0, "the two passphrases differ");
	return r;
}

static int read_passphrase(
	const struct client *c, bool twice, char **ret, size_t *ret_len, struct pa_err *err)
{
	if (c->passphrase_file) {
		int fd = open(c->passphrase_file, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return pa_fail(err, PA_SYSTEM, errno, "%s: %s", c->passphrase_file,
				strerror(errno));
		int r = passphrase_from(fd, ret, ret_len, err);
		close(fd);
		return r;
	}
	if (c->passphrase_stdin)
		return passphrase_from(STDIN_FILENO, ret, ret_len, err);
	return ask_passphrase(twice, ret, ret_len, err);
}

/* ---- export ---- */

/* An OAuth login leaves only with --move, and only if it is this store's to give away: one token family
 * refreshed from two stores ends for both. */
static bool may_leave(const struct client *c, const struct vault *v, const struct record *r)
{
	return c->move && !record_moved(r) && !store_is_foreign(v, r);
}

/* Adds the record to the array unless it would say nothing; *ret_left_out: it had a login that stays here. */
static int export_record(const struct client *c, const struct vault *v, struct record *r,
	cJSON *array, bool *ret_left_out, struct pa_err *err)
{
	*ret_left_out = record_lane(r, LANE_OAUTH) && !may_leave(c, v, r);
	if (*ret_left_out) {
		record_drop_lane(r, LANE_OAUTH);
		json_drop(r->root, "dead");
	}
	link_forget(r); /* paths of this machine */
	/* What was made with mkdir counts while it is empty. */
	if (record_last(r) == LANE_NONE && !record_base_url(r) && !record_incarnation(r))
		return 0;
	if (!cJSON_AddItemToArray(array, r->root))
		return pa_fail(err, PA_NO_MEMORY, 0, "export");
	r->root = NULL; /* the array's now */
	return 0;
}

/* A damaged record does not keep the others from being exported; *ret_damaged counts them. */
static int export_all(const struct client *c, struct vault *v, const struct store_list *list,
	cJSON *array, unsigned *ret_damaged, struct pa_err *err)
{
	unsigned damaged = 0;
	for (size_t i = 0; i < list->count; i++) {
		RECORD_AUTO struct record record = { 0 };
		char profile[PROFILE_ID_MAX + 1];
		bool pending, left_out = false;
		struct pa_err why;
		if (store_item_open(&list->item[i], v, &record, &why) < 0) {
			cli_fail(list->item[i].name, &why);
			damaged++;
			continue;
		}
		snprintf(profile, sizeof(profile), "%s", record_profile(&record));
		/* An acknowledged value counts, as it does at the next start of a server. */
		int r = record_adopt_pending(&record, table_now_ms(), &pending, err);
		if (r == 0)
			r = export_record(c, v, &record, array, &left_out, err);
		if (r < 0)
			return r;
		if (left_out && c->move)
			fprintf(stderr,
				"piauth: %s: the login stays out: another store refreshes it. "
				"piauth store adopt %s takes it over first.\n",
				profile, profile);
	}
	*ret_damaged = damaged;
	return 0;
}

static int export_text(const struct client *c, struct vault *v, const struct store_list *list,
	char **ret, unsigned *ret_damaged, struct pa_err *err)
{
	JSON_AUTO cJSON *root = cJSON_CreateObject();
	cJSON *array = root ? cJSON_AddArrayToObject(root, "records") : NULL;
	if (!array || json_set_str(root, "type", "piauth-export", err) < 0 ||
		json_set_int(root, "format", EXPORT_FORMAT, err) < 0 ||
		json_set_str(root, "store", vault_store_id(v), err) < 0 ||
		json_set_int(root, "exported", table_now_ms(), err) < 0)
		return pa_fail(err, PA_NO_MEMORY, 0, "export");
	int r = export_all(c, v, list, array, ret_damaged, err);
	if (r < 0)
		return r;
	*ret = json_text(root);
	return *ret ? 0 : pa_fail(err, PA_NO_MEMORY, 0, "export");
}

static int sync_directory_of(const char *file)
{
	char *copy = strdup(file);
	if (!copy)
		return -ENOMEM;
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 || fsync(fd) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	free(copy);
	return r;
}

/* Durable on return. A file that is there is never touched. */
static int write_file(const char *file, const uint8_t *bytes, size_t len, struct pa_err *err)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return pa_fail(err, PA_SYSTEM, errno, "%s: %s", file, strerror(errno));
	int r = client_write_all(fd, (const char *)bytes, len);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0)
		r = sync_directory_of(file);
	if (r < 0)
		unlink(file);
	return r < 0 ? pa_fail(err, PA_SYSTEM, -r, "%s: %s", file, strerror(-r)) : 0;
}

/* After the export is durable: from now on the other store refreshes these logins. */
static int mark_moved(struct vault *v, const struct store_list *list)
{
	int failed = 0;
	for (size_t i = 0; i < list->count; i++) {
		RECORD_AUTO struct record record = { 0 };
		struct pa_err err;
		/* A damaged one is not in the export. */
		if (store_item_open(&list->item[i], v, &record, &err) < 0)
			continue;
		if (!record_lane(&record, LANE_OAUTH) || record_moved(&record) ||
			store_is_foreign(v, &record))
			continue;
		int r = record_set_moved(&record, true, &err);
		if (r == 0)
			r = store_put(v, &record, &err);
		if (r == 0)
			continue;
		failed++;
		cli_fail(record_profile(&record), &err);
		fprintf(stderr, "piauth: this login is in the export and is still refreshed here. "
				"Log out here before it is used there.\n");
	}
	return failed ? -1 : 0;
}

int store_export(const struct client *c, const char *file)
{
	OFFLINE_AUTO struct offline o = { 0 };
	STORE_LIST_AUTO struct store_list list = { 0 };
	WIPE_AUTO char *text = NULL, *pass = NULL;
	uint8_t *sealed = NULL;
	size_t sealed_len, pass_len;
	unsigned damaged = 0;
	struct pa_err err;

	if (access(file, F_OK) == 0) {
		fprintf(stderr, "piauth: %s is there already; an export replaces no file.\n", file);
		return CLI_FAILED;
	}
	int r = offline_vault(&o, &c->paths, false, &err);
	if (r == 0)
		r = store_list_read(&list, o.vault, &err);
	if (r == 0)
		r = export_text(c, o.vault, &list, &text, &damaged, &err);
	if (r == 0)
		r = read_passphrase(c, true, &pass, &pass_len, &err);
	if (r == 0)
		r = keyslot_seal_export(
			pass, pass_len, text, strlen(text), &sealed, &sealed_len, &err);
	if (r == 0)
		r = write_file(file, sealed, sealed_len, &err);
	free(sealed);
	if (r < 0)
		return cli_fail(c->paths.store, &err);
	fprintf(stderr, "piauth: %s is written%s\n", file,
		c->move ? "." : ", without OAuth logins (--move takes them along).");
	if (damaged)
		fprintf(stderr, "piauth: damaged records that are not in it: %u\n", damaged);
	if (c->move && mark_moved(o.vault, &list) < 0)
		return CLI_FAILED;
	return damaged ? CLI_FAILED : CLI_DONE;
}

/* ---- import ---- */

struct import {
	const struct client *client;
	struct vault *vault;
	const struct store_list *list; /* what the store holds */
	unsigned taken, kept, failed;  /* credentials, but failed: records */
};

static const struct store_item *find_item(const struct import *in, const char *name)
{
	for (size_t i = 0; i < in->list->count; i++) {
		if (strcmp(in->list->item[i].name, name) == 0)
			return &in->list->item[i];
	}
	return NULL;
}

/* Copies a lane of `from` unless `to` has its own and that one wins; *ret_taken: it was copied. */
static int import_lane(struct import *in, struct record *to, const struct record *from,
	enum lane lane, bool *ret_taken, struct pa_err *err)
{
	const cJSON *entry = record_lane(from, lane);
	*ret_taken = false;
	if (!entry)
		return 0;
	if (record_lane(to, lane) && !in->client->replace) {
		in->kept++;
		return 0;
	}
	cJSON *copy = cJSON_Duplicate(entry, true);
	if (!copy)
		return pa_fail(err, PA_NO_MEMORY, 0, "import");
	*ret_taken = true;
	in->taken++;
	return record_set_lane(to, lane, copy, table_now_ms(), err);
}

/* Puts what `from` brings into the record that is there. */
static int merge_record(
	struct import *in, struct record *to, const struct record *from, struct pa_err *err)
{
	bool had_none = record_last(to) == LANE_NONE, one = false, other = false;
	const char *base_url = record_base_url(from);
	enum lane last = record_last(from);
	/* The lane that was last there is set last here. */
	enum lane first = last == LANE_API_KEY ? LANE_OAUTH : LANE_API_KEY;
	enum lane second = last == LANE_API_KEY ? LANE_API_KEY : LANE_OAUTH;

	int r = import_lane(in, to, from, first, &one, err);
	if (r == 0)
		r = import_lane(in, to, from, second, &other, err);
	if (r < 0 || (!one && !other))
		return r;
	/* An address may not come to a key that stays: it could be used to send that key elsewhere. */
	if (base_url && (had_none || in->client->replace))
		r = record_set_base_url(to, base_url, err);
	if (r == 0 && (first == LANE_OAUTH ? one : other))
		r = record_set_machine(to, vault_machine_id(in->vault), err);
	if (r == 0)
		r = record_set_generation(to, record_generation(to) + 1, err);
	if (r == 0)
		r = record_set_changed_ms(to, table_now_ms(), err);
	return r < 0 ? r : store_put(in->vault, to, err);
}

static int new_record(struct import *in, struct record *from, struct pa_err *err)
{
	bool login = record_lane(from, LANE_OAUTH); /* keys belong to no machine */
	int r = record_set_machine(from, login ? vault_machine_id(in->vault) : "", err);
	if (r == 0)
		r = record_set_moved(from, false, err);
	if (r == 0 && record_generation(from) == 0)
		r = record_set_generation(from, 1, err);
	if (r == 0)
		r = store_put(in->vault, from, err);
	if (r == 0)
		in->taken += !!record_lane(from, LANE_API_KEY) + !!record_lane(from, LANE_OAUTH);
	return r;
}

static int import_record(struct import *in, const cJSON *item, struct pa_err *err)
{
	WIPE_AUTO char *text = json_text(item);
	RECORD_AUTO struct record from = { 0 }, to = { 0 };
	char name[SEAL_NAME_LEN + 1];
	if (!text)
		return pa_fail(err, PA_NO_MEMORY, 0, "import");
	/* As strict with it as with a record of our own. */
	int r = record_parse(text, strlen(text), NULL, &from, err);
	if (r == 0)
		r = vault_name(in->vault, record_profile(&from), name, err);
	if (r < 0)
		return r;
	const struct store_item *have = find_item(in, name);
	if (!have)
		return new_record(in, &from, err);
	r = store_item_open(have, in->vault, &to, err);
	if (r < 0 && in->client->replace)
		return new_record(in, &from, err);
	return r < 0 ? r : merge_record(in, &to, &from, err);
}

static int read_export(const struct client *c, const char *file, cJSON **ret, struct pa_err *err)
{
	WIPE_AUTO char *sealed = NULL, *pass = NULL, *text = NULL;
	size_t sealed_len, pass_len, len;
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return pa_fail(err, PA_SYSTEM, errno, "%s: %s", file, strerror(errno));
	int r = client_read_all(fd, EXPORT_MAX, &sealed, &sealed_len, err);
	close(fd);
	if (r == 0)
		r = read_passphrase(c, false, &pass, &pass_len, err);
	if (r == 0)
		r = keyslot_open_export(
			pass, pass_len, (const uint8_t *)sealed, sealed_len, &text, &len, err);
	JSON_AUTO cJSON *root = NULL;
	if (r == 0)
		r = json_parse(text, len, PA_STORE_CORRUPT, &root, NULL, err);
	if (r < 0)
		return r;
	int64_t format;
	const char *type = json_str(root, "type");
	if (!type || strcmp(type, "piauth-export") != 0 || !json_int(root, "format", &format) ||
		!cJSON_IsArray(json_at(root, "/records")))
		return pa_fail(err, PA_STORE_CORRUPT, 0, "%s: not an export", file);
	if (format != EXPORT_FORMAT)
		return pa_fail(err, PA_UNSUPPORTED, 0, "%s: made by a newer piauth (format %d)",
			file, (int)format);
	*ret = root;
	root = NULL;
	return 0;
}

int store_import(const struct client *c, const char *file)
{
	OFFLINE_AUTO struct offline o = { 0 };
	STORE_LIST_AUTO struct store_list list = { 0 };
	JSON_AUTO cJSON *root = NULL;
	struct pa_err err;

	/* First the file: a wrong passphrase must not make a store. */
	int r = read_export(c, file, &root, &err);
	if (r < 0 && err.code == PA_STORE_LOCKED) {
		fprintf(stderr,
			"piauth: %s: the passphrase does not fit, or the file is damaged.\n", file);
		return CLI_FAILED;
	}
	if (r < 0)
		return cli_fail(file, &err);
	r = offline_vault(&o, &c->paths, true, &err);
	if (r == 0)
		r = store_list_read(&list, o.vault, &err);
	if (r < 0)
		return cli_fail(c->paths.store, &err);

	struct import in = { .client = c, .vault = o.vault, .list = &list };
	const cJSON *item;
	cJSON_ArrayForEach (item, json_at(root, "/records")) {
		if (import_record(&in, item, &err) == 0)
			continue;
		const char *profile = json_str(item, "profile");
		cli_fail(profile ? profile : file, &err);
		in.failed++;
	}
	fprintf(stderr, "piauth: %u credentials imported, %u kept as they were%s\n", in.taken,
		in.kept, in.kept ? " (--replace takes those of the file)." : ".");
	return in.failed ? CLI_FAILED : CLI_DONE;
}
