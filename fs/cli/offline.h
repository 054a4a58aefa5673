/*
 * offline - the broker inside a command, for when nothing is mounted.
 *
 * It holds the store's lock while it is open: a mount started meanwhile says STORE_BUSY, and so does
 * offline_open while somebody else serves the store. Calls block until the broker is done: disk, and for
 * offline_get the network. Logins that are linked to files of other tools stay so: these are read, locked and
 * written as a mount of the same user would. Nothing is imported by itself. Threads: one.
 */
#ifndef PIAUTH_CLI_OFFLINE_H
#define PIAUTH_CLI_OFFLINE_H

#include <stdbool.h>
#include <stddef.h>

#include "fs/cli.h"
#include "fs/legacy.h"
#include "store/broker.h"

struct offline {
	struct config *config;
	struct provider_table *providers;
	struct vault *vault;
	struct broker *broker;
	struct legacy_owner legacy; /* whose files of other tools the broker keeps up to date */
};

/* Configuration and provider table only; o is zeroed first. offline_done in every case. */
int offline_tables(struct offline *o, const struct cli_paths *paths, struct pa_err *err);
/* The tables and the vault, without a broker. create: makes a store that is not there. */
int offline_vault(
	struct offline *o, const struct cli_paths *paths, bool create, struct pa_err *err);
int offline_open(struct offline *o, const struct cli_paths *paths, bool create, struct pa_err *err);
void offline_done(struct offline *o);
#define OFFLINE_AUTO __attribute__((cleanup(offline_done)))

/* Sets the secure heap up; once more is fine. Keys and secrets need it. */
int offline_heap(struct pa_err *err);

/* There are key slots, whatever state they are in; an empty directory is no store. */
bool offline_store_exists(const struct cli_paths *paths);

int offline_get(struct offline *o, const char *name, struct secret **ret, struct pa_err *err);
int offline_set(struct offline *o, const char *name, enum lane lane, const char *bytes, size_t len,
	struct pa_err *err);
int offline_logout(struct offline *o, const char *name, struct pa_err *err);
/* broker_migrate, and the report it leaves (NULL: none), also where it failed. JSON text in wiping memory. */
int offline_migrate(struct offline *o, const char *command, char **ret, struct pa_err *err);
/* name NULL: the overview. JSON text in wiping memory. */
int offline_status(struct offline *o, const char *name, char **ret, struct pa_err *err);

#endif
