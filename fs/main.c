/* The command table, and what is common to all commands: hardening, help, usage. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "harden.h"

const struct cli_command cli_commands[] = {
	{ "mount", cli_mount,
		"[-f] [--store DIR] [--key-file F] [--config F] [--owner USER] [--group GROUP]\n"
		"             [--public-status] [--legacy-home DIR] [--no-migrate] [--ready-fd N]\n"
		"             [MOUNTPOINT]",
		"serve the credentials as files" },
	{ "umount", cli_umount, "[MOUNTPOINT]", "stop serving" },
	{ "status", cli_status, "[--json] [PROFILE]", "what is stored, and how it is" },
	{ "set", cli_set, "[--oauth] PROFILE < VALUE", "store a key, or a login with --oauth" },
	{ "get", cli_get, "PROFILE", "print a key or token that is valid now" },
	{ "logout", cli_logout, "PROFILE", "forget what is stored" },
	{ "providers", cli_providers, "[--json]", "the providers that are known" },
	{ "migrate", cli_migrate,
		"[--from PATH] [--dry-run] [--json]\n"
		"             [--take-over|--give-back] [--backup] [PROFILE...]",
		"start from the logins that other tools have" },
	{ "doctor", cli_doctor, "[--json]", "find out what is wrong" },
	{ "store", cli_store,
		"check [--json] | rekey | adopt [PROFILE...]\n"
		"             | export [--move] [--passphrase-stdin|--passphrase-file F] FILE\n"
		"             | import [--replace] [--passphrase-stdin|--passphrase-file F] FILE",
		"look after the encrypted store" },
	{ "version", cli_version, "", "print the version" },
	{ "worker", cli_worker, "OPTIONS", NULL },
	{ "legacy-helper", cli_legacy, "[--uid UID --gid GID]", NULL },
	{ NULL, NULL, NULL, NULL },
};

/* Commands people will look for. */
static const char *const later[] = { "login", "exec", "env", "reload" };

static const struct cli_command *command_find(const char *name)
{
	for (const struct cli_command *c = cli_commands; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

static void print_help(FILE *to)
{
	fprintf(to, "usage: piauth COMMAND [ARGUMENTS]\n\n");
	for (const struct cli_command *c = cli_commands; c->name; c++)
		if (c->help)
			fprintf(to, "  %-10s %s\n", c->name, c->help);
	fprintf(to, "\npiauth help COMMAND tells more; piauth(1) tells all.\n");
}

int cli_usage(const char *command)
{
	const struct cli_command *c = command_find(command);

	fprintf(stderr, "usage: piauth %s %s\n", command, c ? c->synopsis : "");
	return CLI_USAGE;
}

int cli_version(int argc, char **argv)
{
	if (argc > 1)
		return cli_usage(argv[0]);
	puts("piauth " PIAUTH_VERSION);
	return CLI_DONE;
}

static int help(const struct cli_command *c)
{
	if (c)
		printf("usage: piauth %s %s\n\n%s\n", c->name, c->synopsis, c->help);
	else
		print_help(stdout);
	return CLI_DONE;
}

static int unknown(const char *name)
{
	for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
		if (strcmp(later[i], name) == 0) {
			fprintf(stderr, "piauth: %s comes with a later version\n", name);
			return CLI_USAGE;
		}
	}
	fprintf(stderr, "piauth: there is no command %s (piauth help)\n", name);
	return CLI_USAGE;
}

/* A message that could not be printed is a failure: a full disk behind > file, say. */
static int finish(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	fprintf(stderr, "piauth: standard output cannot be written\n");
	return code == CLI_DONE ? CLI_FAILED : code;
}

int main(int argc, char **argv)
{
	const struct cli_command *c;
	struct pa_err err;

	if (harden(&err) < 0)
		return cli_fail(NULL, &err);
	if (argc < 2) {
		print_help(stderr);
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
		(strcmp(argv[1], "help") == 0 && argc == 2))
		return finish(help(NULL));
	if (strcmp(argv[1], "help") == 0) {
		c = command_find(argv[2]);
		return c && c->help ? finish(help(c)) : unknown(argv[2]);
	}
	c = command_find(strcmp(argv[1], "--version") == 0 ? "version" : argv[1]);
	if (!c)
		return unknown(argv[1]);
	for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (c->help && strcmp(argv[i], "--help") == 0)
			return finish(help(c));
	return finish(c->run(argc - 1, argv + 1));
}
