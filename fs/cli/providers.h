/*
 * providers - the effective provider table as the commands see it: from the mount, else built here.
 */
#ifndef PIAUTH_CLI_PROVIDERS_H
#define PIAUTH_CLI_PROVIDERS_H

#include "client.h"

#define PROVIDERS_CLOSE 3 /* how many names are suggested at most */

/* An array of objects as .piauth/providers.json holds it; the caller frees the tree. */
int providers_load(const struct client *c, cJSON **ret, struct pa_err *err);

/*
 * The ids and aliases that come close to name, best first: same beginning, then contained, then few edits
 * apart. Fills ret with borrowed strings, returns how many.
 */
unsigned providers_close(
	const cJSON *table, const char *name, const char *ret[static PROVIDERS_CLOSE]);

/* The object of a provider by id; profile names ("id@name") are cut at the first @. NULL if unknown. */
const cJSON *providers_by_profile(const cJSON *table, const char *profile);

#endif
