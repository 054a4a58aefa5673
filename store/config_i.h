/*
 * config_i - reading a file of the configuration and saying what is wrong with it; for config and
 * provider.
 */
#ifndef PIAUTH_CONFIG_I_H
#define PIAUTH_CONFIG_I_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"
#include "json.h"

/*
 * Reads the regular file `name` relative to dirfd, at most CONFIG_MAX bytes, into wiping memory of
 * the caller. -ENOENT (code CONFIG) when there is none. *ret_exposed: group or others may read it.
 * Blocks: disk; never on a FIFO or device.
 */
int config_read_text(int dirfd, const char *name, char **ret_text, size_t *ret_len,
	bool *ret_exposed, struct pa_err *err);

/* Whether there is a client secret anywhere in value. */
bool config_has_secret(const cJSON *value);

#define CONFIG_POINTER_MAX 512 /* a longer pointer is cut; the message then has no line */

/* Where a message points: a file's name, and the text its lines are counted in (may be NULL). */
struct config_source {
	const char *file;
	const char *text;
	size_t len;
};

/* Fails as CONFIG with "FILE line N: reason"; N is the line of the member that pointer names;
 * without it ("FILE: reason") where that is not known. */
int config_fail(const struct config_source *src, const char *pointer, struct pa_err *err,
	const char *fmt, ...) PA_PRINTF(4, 5);
/* Appends member `name` to pointer `base` (RFC 6901); buf may be base. */
void config_pointer(char buf[CONFIG_POINTER_MAX], const char *base, const char *name);
/* json_parse_lax with the file's name in the message. */
int config_parse(const struct config_source *src, cJSON **ret, struct pa_err *err);

#endif
