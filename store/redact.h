/*
 * redact - text from outside, made fit for a log or a status file.
 *
 * Replaces by "[REDACTED]": values of JSON members and of NAME=value / "Name: value" pairs whose name
 * says secret (docs/THREAT-MODEL.md lists the names; counters such as max_tokens are spared), secrets in
 * URL queries (key, code, code_verifier, device_code, user_code ...), Bearer and Basic credentials, JWTs,
 * PEM private keys, and known key prefixes. Structured values are judged by name, nothing by chance.
 * Threads: any, no state.
 */
#ifndef PIAUTH_REDACT_H
#define PIAUTH_REDACT_H

#include <stdbool.h>
#include <stddef.h>

#include "json.h"

#define REDACT_MAX (64 * 1024) /* longer input is cut, and says so */
#define REDACTED   "[REDACTED]"

/* The redacted text, in wiping memory (wipe_free); NULL on no memory. Control bytes but newline and tab
 * become '?'. */
char *redact_text(const char *text, size_t len);
/* In place, recursively: members with a secret name become the string "[REDACTED]". */
int redact_json(cJSON *value, struct pa_err *err);
/* Whether a member, header, variable or query parameter of this name holds a secret. */
bool redact_name_is_secret(const char *name, size_t len);
/* The path ("a.b[0].c") of the first secret member that is not redacted, or NULL; wipe_free it. */
char *redact_find(const cJSON *value);

#endif
