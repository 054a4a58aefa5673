/* The disk side of the fixture: records and journal rows, looked at and changed behind the broker's back. */
#include "tests/unit/broker_fixture.h"

#include <stdio.h>

struct wanted {
	struct vault *v;
	const char *profile;
	struct sealed sealed;
};

static void keep_wanted(
	void *arg, const char *name, struct sealed *s, int r, const struct pa_err *err)
{
	struct wanted *w = arg;
	char mine[SEAL_NAME_LEN + 1];

	if (r < 0 || vault_name(w->v, w->profile, mine, NULL) < 0 || strcmp(mine, name))
		return;
	w->sealed = *s;
	*s = (struct sealed){ 0 };
}

static cJSON *read_record(
	struct fixture *f, struct vault *v, const char *profile, uint64_t *ret_gen)
{
	struct wanted w = { .v = v, .profile = profile };
	cJSON *root = NULL;
	struct pa_err err;
	char *text;
	size_t len;

	must(vault_scan(v, keep_wanted, &w, &err), &err, "scan");
	if (!w.sealed.bytes)
		return NULL;
	must(vault_unseal(v, &w.sealed, &text, &len, ret_gen, &err), &err, "unseal");
	must(json_parse(text, len, PA_STORE_CORRUPT, &root, NULL, &err), &err, "record");
	wipe_free(text);
	sealed_free(&w.sealed);
	return root;
}

cJSON *fixture_record(struct fixture *f, const char *profile)
{
	struct vault *v = f->vault ? f->vault : fixture_vault(f);
	uint64_t generation;
	cJSON *root = read_record(f, v, profile, &generation);

	if (v != f->vault)
		vault_close(v);
	return root;
}

/* pointer is "member" or "object/member". */
void fixture_edit(struct fixture *f, const char *profile, const char *pointer, const char *json)
{
	struct vault *v = fixture_vault(f);
	const char *slash = strchr(pointer, '/');
	struct sealed s = { 0 };
	uint64_t generation;
	cJSON *root, *at, *value = NULL;
	struct pa_err err;
	char name[64], *text;

	root = at = read_record(f, v, profile, &generation);
	assert_non_null(root);
	if (slash) {
		snprintf(name, sizeof(name), "%.*s", (int)(slash - pointer), pointer);
		at = cJSON_GetObjectItemCaseSensitive(root, name);
		assert_non_null(at);
		pointer = slash + 1;
	}
	json_drop(at, pointer);
	if (json) {
		must(json_parse(json, strlen(json), PA_BAD_INPUT, &value, NULL, &err), &err, json);
		must(json_set(at, pointer, value, &err), &err, pointer);
	}
	text = json_text(root);
	assert_non_null(text);
	must(vault_seal(v, profile, generation, text, strlen(text), &s, &err), &err, "seal");
	must(vault_put_now(v, profile, &s, &err), &err, "put");
	sealed_free(&s);
	wipe_free(text);
	cJSON_Delete(root);
	vault_close(v);
}

enum intent_kind fixture_intent(struct fixture *f, const char *profile)
{
	struct vault *v = f->vault ? f->vault : fixture_vault(f);
	char name[SEAL_NAME_LEN + 1];
	enum intent_kind kind = 0;
	const struct intent *rows;
	struct pa_err err;
	size_t n;

	must(vault_name(v, profile, name, &err), &err, "name");
	rows = vault_intents(v, &n);
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(rows[i].name, name))
			kind = rows[i].kind;
	}
	if (v != f->vault)
		vault_close(v);
	return kind;
}
