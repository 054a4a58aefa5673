/* worker: the process that serves, as its holder starts it (fs/holder.h). Not for people. */
#include "fs/worker.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "fs/cli.h"

enum { STORE = 256, KEY_FILE, CONFIG, OWNER, OWNER_GID, GROUP, PUBLIC, HOME, IMPORT, BACKGROUND };

static const struct option longs[] = {
	{ "store", required_argument, NULL, STORE },
	{ "key-file", required_argument, NULL, KEY_FILE },
	{ "config", required_argument, NULL, CONFIG },
	{ "owner", required_argument, NULL, OWNER },
	{ "owner-gid", required_argument, NULL, OWNER_GID },
	{ "group", required_argument, NULL, GROUP },
	{ "public-status", no_argument, NULL, PUBLIC },
	{ "legacy-home", required_argument, NULL, HOME },
	{ "import", no_argument, NULL, IMPORT },
	{ "background", no_argument, NULL, BACKGROUND },
	{ NULL, 0, NULL, 0 },
};

/* What the holder wrote, it wrote as a number. */
static unsigned number(const char *text)
{
	return (unsigned)strtoul(text, NULL, 10);
}

static int parse(struct worker_options *o, struct legacy_owner *legacy, int argc, char **argv)
{
	struct mount_options *m = &o->mount;
	int opt;

	m->legacy = legacy;
	optind = 0;
	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case STORE:
			m->store = optarg;
			break;
		case KEY_FILE:
			m->key_file = optarg;
			break;
		case CONFIG:
			m->config = optarg;
			break;
		case OWNER:
			m->owner_uid = legacy->uid = number(optarg);
			break;
		case OWNER_GID:
			m->owner_gid = legacy->gid = number(optarg);
			break;
		case GROUP:
			m->group = number(optarg);
			m->has_group = true;
			break;
		case PUBLIC:
			m->public_status = true;
			break;
		case HOME:
			legacy->home = optarg; /* argv's: nothing is freed in here */
			break;
		case IMPORT:
			m->import = true;
			break;
		case BACKGROUND:
			o->background = true;
			break;
		default:
			return -EINVAL;
		}
	}
	if (argc - optind != 1 || !m->store || !m->key_file || !m->config)
		return -EINVAL;
	m->mountpoint = argv[optind];
	return 0;
}

int cli_worker(int argc, char **argv)
{
	struct legacy_owner legacy = { 0 };
	struct worker_options o = { 0 };

	if (parse(&o, &legacy, argc, argv) < 0) {
		fprintf(stderr, "piauth: %s is started by piauth mount, not by people\n", argv[0]);
		return CLI_USAGE;
	}
	/* Started through /proc/self/exe it would be listed as "exe". */
	prctl(PR_SET_NAME, "piauth-worker");
	return worker_serve(&o);
}
