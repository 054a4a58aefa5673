/*
 * doctor - findings, each with what to do about it.
 *
 * A check looks and says; it changes no credential and asks nobody outside this machine. Threads: one.
 */
#ifndef PIAUTH_CLI_DOCTOR_H
#define PIAUTH_CLI_DOCTOR_H

#include "client.h"

enum doctor_level {
	DOCTOR_OK,
	DOCTOR_NOTE,    /* worth knowing, nothing to repair */
	DOCTOR_PROBLEM, /* makes the exit code 1 */
};

#define DOCTOR_LINES 128 /* findings kept; what is beyond is counted */

struct doctor {
	const struct client *client;
	struct doctor_line {
		const char *check; /* a stable word */
		enum doctor_level level;
		char finding[400];
		char remedy[400]; /* empty where there is nothing to do */
	} line[DOCTOR_LINES];
	unsigned lines, problems;
};

void doctor_say(struct doctor *d, const char *check, enum doctor_level level, const char *remedy,
	const char *fmt, ...) PA_PRINTF(5, 6);
/* The same for an error: its summary and detail, and its own remedy. */
void doctor_fail(struct doctor *d, const char *check, const struct pa_err *err);

/* store, key-file, keyslots, records, machine, clock. */
void doctor_store(struct doctor *d);
/* files, locks, links, families: what is wrong with the files of other tools; then doctor_home. */
void doctor_files(struct doctor *d);
struct legacy_owner;
struct legacy_scan;
/* environment and home: whether tools look where piauth does. */
void doctor_home(
	struct doctor *d, const struct legacy_owner *owner, const struct legacy_scan *scan);
/* config, providers; then logins and environment, which need the table. */
void doctor_logins(struct doctor *d);

#endif
