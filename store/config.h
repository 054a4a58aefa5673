/*
 * config - the configuration file: one JSON object, comments allowed.
 *
 * Unknown keys and wrong types are errors with a line number; an absent file is an empty one. The
 * result is constant after config_read. Reference: docs/HACKING.md, piauth(1).
 */
#ifndef PIAUTH_CONFIG_H
#define PIAUTH_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "json.h"

#define CONFIG_MAX (1024 * 1024) /* bytes of one configuration file */

struct config {
	int64_t deadline_s;          /* "deadline_s": a reader's longest wait; 60 */
	int64_t exchange_deadline_s; /* "exchange_deadline_s": an exchange whose bytes were sent; 300 */
	int64_t connect_timeout_s; /* "connect_timeout_s": until the connection stands; 15 */
	int64_t watchdog_s;        /* "watchdog_s": silence of the loop that counts as a hang; 10 */
	bool env_fallback;         /* "order": ["store","env"] (default true); ["store"]: false */
	char **mutators; /* "allow_mutations_from": names of user namespaces, "user:[4026531837]" */
	cJSON *providers; /* "providers": overrides by id; may be NULL; borrowed by the table */
	char *text;       /* the file's text, for line numbers; wiping memory */
	size_t text_len;
};

/* Reads `name` relative to dirfd (AT_FDCWD is fine); ENOENT gives the defaults. Blocks: disk. The file
 * may hold client secrets: it is refused (STORE_UNSAFE) when it has one and group or others may read it. */
int config_read(int dirfd, const char *name, struct config **ret, struct pa_err *err);
void config_free(struct config *c);

#endif
