/*
 * migrate_table - the report of an import (docs/NAMESPACE.md, .piauth/migrate) for people.
 *
 * Threads: one.
 */
#ifndef PIAUTH_CLI_MIGRATE_TABLE_H
#define PIAUTH_CLI_MIGRATE_TABLE_H

#include "store/json.h"

/* Files, entries, and after a take-over how each tool is pointed at piauth under mountpoint. */
int migrate_print(const cJSON *report, const char *mountpoint, struct pa_err *err);
/* Whether a file could not be read or an entry not be dealt with. */
bool migrate_has_failed(const cJSON *report);

#endif
