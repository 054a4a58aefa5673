/*
 * cli - what the subcommands share: the table row, exit codes, options common to all.
 *
 * main hardens the process first, then picks the row by name. A subcommand prints results on stdout,
 * messages on stderr ("piauth: PROFILE: summary detail remedy"), and returns an exit code of enum cli_exit.
 * A secret is never taken from argv.
 */
#ifndef PIAUTH_CLI_H
#define PIAUTH_CLI_H

#include <stdbool.h>
#include <sys/types.h>

#include "store/err.h"

enum cli_exit {
	CLI_DONE = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
	CLI_NOT_LOGGED_IN = 3,
	CLI_NOT_MOUNTED = 4,
};

struct cli_command {
	const char *name;
	int (*run)(int argc, char **argv); /* argv[0] is the command's name */
	const char *synopsis;              /* "[--json] [PROFILE]" */
	const char *help;                  /* one line; NULL: not for people */
};
extern const struct cli_command cli_commands[]; /* ends with a NULL name; in main.c */

int cli_mount(int argc, char **argv);
int cli_umount(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_set(int argc, char **argv);
int cli_get(int argc, char **argv);
int cli_logout(int argc, char **argv);
int cli_providers(int argc, char **argv);
int cli_doctor(int argc, char **argv);
int cli_store(int argc, char **argv);
int cli_migrate(int argc, char **argv);
int cli_version(int argc, char **argv);
int cli_worker(int argc, char **argv); /* hidden, as the next one */
int cli_legacy(int argc, char **argv);

/* Prints the usage line of the command on stderr and returns CLI_USAGE. */
int cli_usage(const char *command);
/* Prints err on stderr and returns the exit code that fits it. subject may be NULL. */
int cli_fail(const char *subject, const struct pa_err *err);

/* Whom a mount of the calling user serves: the user who runs sudo, else the user itself. */
int cli_owner(uid_t *ret_uid, gid_t *ret_gid, struct pa_err *err);

/* Where things are for the calling user (piauth(1), FILES); malloc'ed strings owned by the struct. */
struct cli_paths {
	char *mountpoint; /* PIAUTH_MOUNT, else /run/piauth or $XDG_RUNTIME_DIR/piauth */
	char *store;
	char *key_file;
	char *config;
};
int cli_paths(struct cli_paths *ret, struct pa_err *err);
void cli_paths_done(struct cli_paths *p);
/* Whether mountpoint is a live piauth mount; a dead one ("Transport endpoint is not connected") is told. */
enum cli_mounted { CLI_MOUNTED, CLI_MOUNT_DEAD, CLI_MOUNT_NONE };
enum cli_mounted cli_is_mounted(const char *mountpoint);

#endif
