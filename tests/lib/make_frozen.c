/*
 * make_frozen DIR - makes a small store of the current format, with its key file and what it must hold, for
 * tests/frozen. Run it once per released format; it is not part of the build:
 *   cc -D_GNU_SOURCE -I. -o make_frozen tests/lib/make_frozen.c BUILD/store/libvault.a BUILD/store/libbase.a \
 *      -lcjson -lcrypto -lpthread
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/json.h"
#include "store/vault.h"

static const struct {
	const char *profile;
	uint64_t generation;
	const char *content;
} records[] = {
	{ "groq", 1,
		"{\"format\":1,\"profile\":\"groq\",\"generation\":1,\"mode\":\"auto\",\"last\":"
		"\"api_key\",\"api_key\":{\"type\":\"api_key\",\"key\":\"gsk-frozen-v1\",\"set\":"
		"1700000000000}}" },
	{ "anthropic@work", 7,
		"{\"format\":1,\"profile\":\"anthropic@work\",\"generation\":7,\"machine\":\"\","
		"\"mode\":\"auto\",\"last\":\"oauth\",\"oauth\":{\"type\":\"oauth\",\"access\":"
		"\"at-frozen-v1\",\"refresh\":\"rt-frozen-v1\",\"expires\":1700000000000,"
		"\"refreshed\":1699996400000,\"unknownField\":[1,2,3]}}" },
	{ "xai", 3,
		"{\"format\":1,\"profile\":\"xai\",\"generation\":3,\"note\":\"logged "
		"out\"}" },
};

static struct pa_err err;

static void need(int r)
{
	char text[512];

	if (r >= 0)
		return;
	pa_err_format(&err, text, sizeof(text));
	fprintf(stderr, "%s (%s)\n", text, err.where);
	exit(1);
}

static void no_done(struct intent_job *j, int r, const struct pa_err *e)
{
	if (r < 0)
		err = *e;
	need(r);
}

int main(int argc, char **argv)
{
	struct vault_options o = { .dir = "store", .key_file = "store.key", .create = true };
	struct intent_job job = { .done = no_done };
	struct intent intent;
	struct writer *w;
	struct vault *v;
	bool locked;
	FILE *expect;

	if (argc != 2 || chdir(argv[1]))
		return 2;
	need(secret_heap_init(SECRET_HEAP, &locked, &err));
	json_init();
	need(vault_open(&o, &v, &err));
	expect = fopen("expected", "w");
	if (!expect)
		return 1;
	for (size_t i = 0; i < sizeof(records) / sizeof(*records); i++) {
		struct sealed s;

		need(vault_seal(v, records[i].profile, records[i].generation, records[i].content,
			strlen(records[i].content), &s, &err));
		need(vault_put_now(v, records[i].profile, &s, &err));
		sealed_free(&s);
		fprintf(expect, "%s %llu %s\n", records[i].profile,
			(unsigned long long)records[i].generation, records[i].content);
	}
	if (fclose(expect))
		return 1;
	need(writer_new(&w, &err));
	need(vault_intent(v, "anthropic@work", 7, "rt-frozen-v1", 12, 1700000001000, INTENT_REFRESH,
		&intent, &err));
	need(intent_job_init(&job, v, &intent));
	writer_add(w, &job.job);
	writer_free(w);
	vault_close(v);
	return unlink("store/lock");
}
