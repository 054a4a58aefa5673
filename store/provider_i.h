/*
 * provider_i - what provider and provider_parse share: a provider's fields as data.
 */
#ifndef PIAUTH_PROVIDER_I_H
#define PIAUTH_PROVIDER_I_H

#include "config_i.h"
#include "provider.h"

/* The embedded table, an object id -> fields; made by embed.py. */
extern const char providers_json[];
extern const size_t providers_json_len;

struct provider_row {
	struct provider p;
	char *endpoint_template; /* for people: what a per-instance endpoint looks like */
	char **env_set;          /* variables that only together are a credential */
};

/* Memory that is freed at once, and wiped: a descriptor can hold a client secret. */
struct arena {
	struct arena_chunk *chunks;
	size_t used; /* of the first chunk */
};

void *arena_take(struct arena *a, size_t size); /* zeroed; NULL on no memory */
char *arena_string(struct arena *a, const char *text);
void arena_done(struct arena *a);

/* The lists of a provider that does not say otherwise. */
extern char *provider_bearer[];
extern char *provider_none[];

/*
 * Whether fields (the object of one provider, a part of one, or one with nulls that remove) can be
 * merged: every name is known, every value has its type. pointer is where fields stands in src.
 */
int provider_check(const struct config_source *src, const char *pointer, const cJSON *fields,
	struct pa_err *err);
/* Fills a zeroed row from checked fields, defaults included. */
int provider_build(const char *id, const cJSON *fields, struct arena *a, struct provider_row *row,
	struct pa_err *err);
/* The fields of a row, defaults included, client secrets not; NULL on no memory. */
cJSON *provider_render(const struct provider_row *row);

#endif
