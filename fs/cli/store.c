#include "store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/secret.h"
#include "table.h"

static void list_add(void *arg, const char *name, struct sealed *s, int r, const struct pa_err *err)
{
	struct store_list *l = arg;
	if (l->count == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct store_item *item = reallocarray(l->item, room, sizeof(*item));
		if (!item) {
			l->failed = true;
			return;
		}
		l->item = item;
		l->room = room;
	}
	struct store_item *item = &l->item[l->count++];
	*item = (struct store_item){ .r = r };
	snprintf(item->name, sizeof(item->name), "%s", name);
	if (r < 0) {
		item->err = *err;
		return;
	}
	item->sealed = *s;
	*s = (struct sealed){ 0 };
}

int store_list_read(struct store_list *l, struct vault *v, struct pa_err *err)
{
	*l = (struct store_list){ 0 };
	int r = vault_scan(v, list_add, l, err);
	if (r == 0 && l->failed)
		r = pa_fail(err, PA_NO_MEMORY, 0, "%zu records", l->count);
	return r;
}

void store_list_done(struct store_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		sealed_free(&l->item[i].sealed);
	free(l->item);
	*l = (struct store_list){ 0 };
}

int store_item_open(
	const struct store_item *item, struct vault *v, struct record *ret, struct pa_err *err)
{
	WIPE_AUTO char *text = NULL;
	char name[SEAL_NAME_LEN + 1];
	uint64_t generation;
	size_t len;

	if (item->r < 0) {
		if (err)
			*err = item->err;
		return item->r;
	}
	int r = vault_unseal(v, &item->sealed, &text, &len, &generation, err);
	if (r < 0)
		return r;
	RECORD_AUTO struct record record = { 0 };
	r = record_parse(text, len, NULL, &record, err);
	if (r == 0)
		r = vault_name(v, record_profile(&record), name, err);
	if (r < 0)
		return r;
	if (strcmp(name, item->name) != 0)
		return pa_fail(err, PA_STORE_CORRUPT, 0,
			"%s: not the file this record belongs in; a rekey may not have finished",
			record_profile(&record));
	*ret = record;
	record.root = NULL;
	return 0;
}

int store_put(struct vault *v, const struct record *r, struct pa_err *err)
{
	WIPE_AUTO char *text = NULL;
	struct sealed sealed = { 0 };
	size_t len;
	const char *profile = record_profile(r);

	int rc = record_format(r, &text, &len, err);
	if (rc == 0)
		rc = vault_seal(v, profile, record_generation(r), text, len, &sealed, err);
	if (rc == 0)
		rc = vault_put_now(v, profile, &sealed, err);
	sealed_free(&sealed);
	return rc;
}

bool store_is_foreign(const struct vault *v, const struct record *r)
{
	const char *machine = record_machine(r);
	return machine[0] && strcmp(machine, vault_machine_id(v)) != 0;
}

/* ---- check ---- */

struct report {
	struct vault *vault;
	struct table table;
	cJSON *array; /* the same for --json */
	unsigned damaged;
};

static void lanes_of(const struct record *r, char ret[static 32])
{
	snprintf(ret, 32, "%s%s%s", record_lane(r, LANE_API_KEY) ? "api_key" : "",
		record_lane(r, LANE_API_KEY) && record_lane(r, LANE_OAUTH) ? "," : "",
		record_lane(r, LANE_OAUTH) ? "oauth" : "");
}

static const char *machine_of(const struct vault *v, const struct record *r)
{
	if (!record_machine(r)[0])
		return "none";
	return store_is_foreign(v, r) ? "other" : "this";
}

static int report_damaged(
	struct report *report, const struct store_item *item, const struct pa_err *why)
{
	char detail[512];
	pa_err_format(why, detail, sizeof(detail));
	report->damaged++;
	const char *const cells[] = { item->name, "", "", "", "damaged", why->detail };
	table_add(&report->table, TABLE_BAD, cells);

	cJSON *o = cJSON_CreateObject();
	bool fits = o && cJSON_AddStringToObject(o, "file", item->name) &&
		    cJSON_AddStringToObject(o, "state", "damaged") &&
		    cJSON_AddStringToObject(o, "diagnostic_code", pa_wire(why->code)) &&
		    cJSON_AddStringToObject(o, "detail", detail);
	if (fits && cJSON_AddItemToArray(report->array, o))
		return 0;
	cJSON_Delete(o);
	return -ENOMEM;
}

static int report_record(
	struct report *report, const struct store_item *item, const struct record *r)
{
	char generation[24], lanes[32];
	const char *state = record_moved(r) ? "moved" : "ok";
	const char *machine = machine_of(report->vault, r);
	lanes_of(r, lanes);
	snprintf(generation, sizeof(generation), "%" PRIu64, record_generation(r));
	const char *const cells[] = { record_profile(r), generation, lanes, machine, state, "" };
	table_add(&report->table, TABLE_PLAIN, cells);

	cJSON *o = cJSON_CreateObject();
	bool fits = o && cJSON_AddStringToObject(o, "file", item->name) &&
		    cJSON_AddStringToObject(o, "profile", record_profile(r)) &&
		    cJSON_AddNumberToObject(o, "generation", (double)record_generation(r)) &&
		    cJSON_AddStringToObject(o, "lanes", lanes) &&
		    cJSON_AddStringToObject(o, "machine", machine) &&
		    cJSON_AddStringToObject(o, "state", state);
	if (fits && cJSON_AddItemToArray(report->array, o))
		return 0;
	cJSON_Delete(o);
	return -ENOMEM;
}

static int report_all(struct report *report, const struct store_list *list, struct pa_err *err)
{
	for (size_t i = 0; i < list->count; i++) {
		RECORD_AUTO struct record record = { 0 };
		struct pa_err why;
		int r = store_item_open(&list->item[i], report->vault, &record, &why);
		r = r < 0 ? report_damaged(report, &list->item[i], &why)
			  : report_record(report, &list->item[i], &record);
		if (r < 0)
			return pa_fail(err, PA_NO_MEMORY, 0, "report");
	}
	return 0;
}

static int print_report(const struct report *report, bool json, struct pa_err *err)
{
	if (json) {
		WIPE_AUTO char *text = json_text(report->array);
		if (!text)
			return pa_fail(err, PA_NO_MEMORY, 0, "report");
		return client_print(text, strlen(text), err);
	}
	if (report->table.rows <= 1) {
		fprintf(stderr, "piauth: the store holds no record\n");
		return 0;
	}
	int r = table_print(&report->table, stdout);
	return r < 0 ? pa_fail(err, PA_SYSTEM, -r, "standard output: %s", strerror(-r)) : 0;
}

static int store_check(const struct client *c)
{
	static const char *const heading[] = { "PROFILE", "GENERATION", "LANES", "MACHINE", "STATE",
		"" };
	OFFLINE_AUTO struct offline o;
	STORE_LIST_AUTO struct store_list list = { 0 };
	struct pa_err err;

	int r = offline_vault(&o, &c->paths, false, &err);
	if (r == 0)
		r = store_list_read(&list, o.vault, &err);
	if (r < 0)
		return cli_fail(c->paths.store, &err);

	struct report report = { .vault = o.vault, .array = cJSON_CreateArray() };
	table_init(&report.table, 6);
	table_add(&report.table, TABLE_DIM, heading);
	r = report.array ? report_all(&report, &list, &err)
			 : pa_fail(&err, PA_NO_MEMORY, 0, "report");
	if (r == 0)
		r = print_report(&report, c->json, &err);
	table_done(&report.table);
	cJSON_Delete(report.array);
	if (r < 0)
		return cli_fail(c->paths.store, &err);
	if (!report.damaged)
		return CLI_DONE;
	fprintf(stderr,
		"piauth: damaged records: %u of %zu. Restore their files from a backup of %s, "
		"or remove them and log in again.\n",
		report.damaged, list.count, c->paths.store);
	return CLI_FAILED;
}

/* ---- rekey, adopt ---- */

static int store_rekey(const struct client *c)
{
	OFFLINE_AUTO struct offline o;
	struct pa_err err;
	int r = offline_vault(&o, &c->paths, false, &err);
	if (r == 0)
		r = vault_rekey(o.vault, &err);
	if (r < 0)
		return cli_fail(c->paths.store, &err);
	fprintf(stderr, "piauth: every record is sealed under a new key. "
			"Backups of the store need the old key file.\n");
	return CLI_DONE;
}

/* Without names: what another machine's store brought along. A login that was moved away from here is
 * taken back only when it is named: somebody else refreshes it now. */
static bool is_to_adopt(const struct client *c, const struct vault *v, const struct record *r)
{
	for (int i = 1; i < c->operands; i++) {
		if (strcmp(c->operand[i], record_profile(r)) == 0)
			return store_is_foreign(v, r) || record_moved(r);
	}
	return c->operands == 1 && store_is_foreign(v, r);
}

static int store_adopt(const struct client *c)
{
	OFFLINE_AUTO struct offline o;
	STORE_LIST_AUTO struct store_list list = { 0 };
	struct pa_err err;
	unsigned adopted = 0, failed = 0;

	int r = offline_vault(&o, &c->paths, false, &err);
	if (r == 0)
		r = store_list_read(&list, o.vault, &err);
	if (r < 0)
		return cli_fail(c->paths.store, &err);
	for (size_t i = 0; i < list.count; i++) {
		RECORD_AUTO struct record record = { 0 };
		r = store_item_open(&list.item[i], o.vault, &record, &err);
		if (r == 0 && !is_to_adopt(c, o.vault, &record))
			continue;
		if (r == 0)
			r = record_set_machine(&record, vault_machine_id(o.vault), &err);
		if (r == 0)
			r = record_set_moved(&record, false, &err);
		if (r == 0)
			r = store_put(o.vault, &record, &err);
		if (r < 0) {
			cli_fail(record.root ? record_profile(&record) : list.item[i].name, &err);
			failed++;
			continue;
		}
		printf("%s\n", record_profile(&record));
		adopted++;
	}
	if (fflush(stdout) != 0)
		failed++;
	fprintf(stderr, "piauth: logins that belong to this machine now: %u.%s\n", adopted,
		adopted ? " Log out of them elsewhere: two stores that refresh one login end it."
			: "");
	return failed ? CLI_FAILED : CLI_DONE;
}

/* ---- the command ---- */

static const struct {
	const char *name;
	int least, most; /* operands behind the name */
	unsigned options;
} verbs[] = {
	{ "check", 0, 0, CLIENT_JSON },
	{ "rekey", 0, 0, 0 },
	{ "export", 1, 1, CLIENT_MOVE | CLIENT_PASSPHRASE },
	{ "import", 1, 1, CLIENT_REPLACE | CLIENT_PASSPHRASE },
	{ "adopt", 0, 10000, 0 },
};

int cli_store(int argc, char **argv)
{
	CLIENT_AUTO struct client c;
	size_t verb = 0;
	int code = client_begin(
		&c, argc, argv, CLIENT_JSON | CLIENT_MOVE | CLIENT_REPLACE | CLIENT_PASSPHRASE);
	if (code >= 0)
		return code;
	while (c.operands && verb < sizeof(verbs) / sizeof(verbs[0]) &&
		strcmp(c.operand[0], verbs[verb].name) != 0)
		verb++;
	if (!c.operands || verb == sizeof(verbs) / sizeof(verbs[0]))
		return cli_usage(argv[0]);
	int operands = c.operands - 1;
	if (operands < verbs[verb].least || operands > verbs[verb].most ||
		(c.given & ~verbs[verb].options))
		return cli_usage(argv[0]);

	if (strcmp(verbs[verb].name, "import") == 0)
		return store_import(&c, c.operand[1]);
	if (!offline_store_exists(&c.paths)) {
		fprintf(stderr, "piauth: there is no store at %s. --store names another one.\n",
			c.paths.store);
		return CLI_FAILED;
	}
	if (strcmp(verbs[verb].name, "check") == 0)
		return store_check(&c);
	if (strcmp(verbs[verb].name, "rekey") == 0)
		return store_rekey(&c);
	if (strcmp(verbs[verb].name, "export") == 0)
		return store_export(&c, c.operand[1]);
	return store_adopt(&c);
}
