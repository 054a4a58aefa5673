/*
 * store - what piauth store needs of records: all of them, one opened, one written back.
 *
 * The caller holds the store's lock (offline_vault). Blocks: disk. Threads: one.
 */
#ifndef PIAUTH_CLI_STORE_H
#define PIAUTH_CLI_STORE_H

#include "client.h"
#include "offline.h"

struct store_item {
	char name[SEAL_NAME_LEN + 1]; /* of the file */
	struct sealed sealed;
	int r; /* < 0: the file cannot be read, err says why */
	struct pa_err err;
};

struct store_list {
	struct store_item *item;
	size_t count, room;
	bool failed; /* out of memory while it was filled */
};

/* Sealed records only: all of the store may be larger than the memory that plain ones should take. */
int store_list_read(struct store_list *l, struct vault *v, struct pa_err *err);
void store_list_done(struct store_list *l);
#define STORE_LIST_AUTO __attribute__((cleanup(store_list_done)))

/* STORE_CORRUPT also for a record whose file has the name of another one. */
int store_item_open(
	const struct store_item *item, struct vault *v, struct record *ret, struct pa_err *err);
/* Seals the record under its profile and generation and makes it durable. */
int store_put(struct vault *v, const struct record *r, struct pa_err *err);
/* The login belongs to the store of another machine. */
bool store_is_foreign(const struct vault *v, const struct record *r);

/* c has its options; the vault is opened inside. They return exit codes. */
int store_export(const struct client *c, const char *file);
int store_import(const struct client *c, const char *file);

#endif
