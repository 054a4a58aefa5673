/*
 * client - what the client commands share: options, the way in (mount or store), and why it failed.
 *
 * A client command works through the mount with plain file operations. Only when nothing is mounted does
 * it open the store itself (offline.h), under the store's lock. --store, --key-file and --config name a
 * store to work on without a mount. Threads: one.
 */
#ifndef PIAUTH_CLI_CLIENT_H
#define PIAUTH_CLI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "fs/cli.h"
#include "store/json.h"

/* Which of the options below a command takes; --store, --key-file and --config are taken by all. */
enum client_option {
	CLIENT_JSON = 1 << 0,       /* --json */
	CLIENT_OAUTH = 1 << 1,      /* --oauth */
	CLIENT_MOVE = 1 << 2,       /* --move */
	CLIENT_REPLACE = 1 << 3,    /* --replace */
	CLIENT_PASSPHRASE = 1 << 4, /* --passphrase-stdin, --passphrase-file F */
	CLIENT_FROM = 1 << 5,       /* --from PATH */
	CLIENT_DRY_RUN = 1 << 6,    /* --dry-run */
	CLIENT_TAKE_OVER = 1 << 7,  /* --take-over */
	CLIENT_GIVE_BACK = 1 << 8,  /* --give-back */
	CLIENT_BACKUP = 1 << 9,     /* --backup */
};

struct client {
	struct cli_paths paths;
	enum cli_mounted mounted; /* CLI_MOUNT_NONE where a store was named */
	bool store_named;         /* --store, --key-file or --config was given */
	unsigned given;           /* the options that were given, as bits of client_option */
	bool json, oauth, move, replace, passphrase_stdin;
	const char *passphrase_file; /* borrowed from argv */
	const char *from;            /* the same */
	int operands;                /* what argv holds behind the options */
	char **operand;
};

/*
 * Reads the options and finds mount and store. Returns -1 when the command may go on, else its exit code
 * (the message is printed). client_end in every case. Options are permuted to the front of argv.
 */
int client_begin(struct client *c, int argc, char **argv, unsigned options);
void client_end(struct client *c);
#define CLIENT_AUTO __attribute__((cleanup(client_end)))

/* Whether name can be a directory of the mount: nothing that leads elsewhere. */
bool client_name_is_valid(const char *name);

/*
 * Reads a file of the mount; profile NULL: of its root. *ret is in wiping memory, one NUL follows. Blocks
 * as long as the file does. The error is the one status tells, where it knows one.
 */
int client_read(const struct client *c, const char *profile, const char *node, char **ret,
	size_t *ret_len, struct pa_err *err);
/* Writes a command to a file of the mount's root, in one piece; blocks until it is obeyed. */
int client_command(
	const struct client *c, const char *node, const char *text, size_t len, struct pa_err *err);
/* One object of status, or (profile NULL) the overview, through the mount or from the store. */
int client_status(const struct client *c, const char *profile, char **ret, size_t *ret_len,
	struct pa_err *err);
/*
 * -1 when there is a mount or a store to work with; else the message is printed and it returns the exit code:
 * the mount is dead, or (`reads`: a command that makes no store) neither is there. A store that was named and
 * is not there is CLI_FAILED.
 */
int client_way_in(const struct client *c, bool reads);
/* cli_fail, and for an unknown provider the names that come close. */
int client_fail(const struct client *c, const char *profile, const struct pa_err *err);

/* Writes all of it; -errno. */
int client_write_all(int fd, const char *bytes, size_t len);
/* Text on standard output, with a newline at its end. */
int client_print(const char *text, size_t len, struct pa_err *err);
/* What fd gives until its end, at most max bytes (more is TOO_BIG); wiping memory, one NUL follows. */
int client_read_all(int fd, size_t max, char **ret, size_t *ret_len, struct pa_err *err);

#endif
