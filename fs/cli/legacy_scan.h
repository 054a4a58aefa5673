/*
 * legacy_scan - one look at the files of other tools, for a command that waits for it.
 *
 * The process of fs/legacy.h does the looking. Where it says nothing for SCAN_SILENCE_MS it is killed, the
 * path that it was at is noted, and another one looks at the rest. Blocks for that long at most, a few times.
 * Threads: one.
 */
#ifndef PIAUTH_CLI_LEGACY_SCAN_H
#define PIAUTH_CLI_LEGACY_SCAN_H

#include <stdbool.h>

#include "fs/legacy.h"

#define SCAN_SILENCE_MS 5000
#define SCAN_SILENT_MAX 4 /* paths that may be silent; then the look ends with what there is */

/* Arrays of messages as they came (store/import/message.h). Entries hold secrets. */
struct legacy_scan {
	cJSON *files, *entries, *locks;
	cJSON *silent; /* "looking" messages about what did not answer */
	bool cut;      /* too much was silent: what is behind was not looked at */
};

/* What a scan with `examine` says. FILE_UNUSABLE where the owner has no home. */
int legacy_scan(struct legacy_owner *o, struct legacy_scan *ret, struct pa_err *err);
void legacy_scan_done(struct legacy_scan *s);
/* Members of messages; "" where there is none. */
const char *scan_str(const cJSON *message, const char *name);
bool scan_is(const cJSON *message, const char *name, const char *value);
#define LEGACY_SCAN_AUTO __attribute__((cleanup(legacy_scan_done)))

#endif
