#include "client.h"

#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "offline.h"
#include "prompt.h"
#include "providers.h"
#include "store/secret.h"
#include "table.h"

#define SYSTEM_MOUNT "/run/piauth"
#define FILE_MAX     (16 * 1024 * 1024) /* the overview of 10,000 profiles is below */

static const struct option long_options[] = {
	{ "json", no_argument, NULL, CLIENT_JSON },
	{ "oauth", no_argument, NULL, CLIENT_OAUTH },
	{ "move", no_argument, NULL, CLIENT_MOVE },
	{ "replace", no_argument, NULL, CLIENT_REPLACE },
	{ "passphrase-stdin", no_argument, NULL, CLIENT_PASSPHRASE },
	{ "passphrase-file", required_argument, NULL, 'p' },
	{ "from", required_argument, NULL, 'f' },
	{ "dry-run", no_argument, NULL, CLIENT_DRY_RUN },
	{ "take-over", no_argument, NULL, CLIENT_TAKE_OVER },
	{ "give-back", no_argument, NULL, CLIENT_GIVE_BACK },
	{ "backup", no_argument, NULL, CLIENT_BACKUP },
	{ "store", required_argument, NULL, 's' },
	{ "key-file", required_argument, NULL, 'k' },
	{ "config", required_argument, NULL, 'c' },
	{ 0 },
};

static int name_path(char **path, const char *value, struct client *c)
{
	free(*path);
	*path = strdup(value);
	c->store_named = true;
	return *path ? 0 : -ENOMEM;
}

/* getopt_long takes any beginning of a name, so --key=sk-... would be --key-file. */
static bool is_spelt_out(char **argv, const struct option *o)
{
	const char *word = argv[optind - (optarg && optarg == argv[optind - 1] ? 2 : 1)];
	size_t len = strlen(o->name);
	return strncmp(word + 2, o->name, len) == 0 && (!word[2 + len] || word[2 + len] == '=');
}

/* An option nobody knows may be a key with a dash before it: it is not repeated in the message. */
static int read_options(struct client *c, int argc, char **argv, unsigned options)
{
	int opt, which = 0;
	opterr = 0;
	optind = 1;
	while ((opt = getopt_long(argc, argv, "", long_options, &which)) != -1) {
		int r = 0;
		if (opt != '?' && !is_spelt_out(argv, &long_options[which]))
			return -EINVAL;
		switch (opt) {
		case CLIENT_JSON:
			c->json = true;
			break;
		case CLIENT_OAUTH:
			c->oauth = true;
			break;
		case CLIENT_MOVE:
			c->move = true;
			break;
		case CLIENT_REPLACE:
			c->replace = true;
			break;
		case CLIENT_PASSPHRASE:
			c->passphrase_stdin = true;
			break;
		case 'p':
			c->passphrase_file = optarg;
			opt = CLIENT_PASSPHRASE;
			break;
		case 'f':
			c->from = optarg;
			opt = CLIENT_FROM;
			break;
		case 's':
			r = name_path(&c->paths.store, optarg, c);
			break;
		case 'k':
			r = name_path(&c->paths.key_file, optarg, c);
			break;
		case 'c':
			r = name_path(&c->paths.config, optarg, c);
			break;
		case '?':
			return -EINVAL;
		}
		if (r < 0)
			return r;
		if (opt == 's' || opt == 'k' || opt == 'c')
			continue;
		c->given |= (unsigned)opt;
	}
	if (c->given & ~options)
		return -EINVAL;
	c->operands = argc - optind;
	c->operand = argv + optind;
	return 0;
}

/* A user without a mount of his own may be the one whom the system's mount serves. */
static int use_system_mount(struct client *c)
{
	if (geteuid() == 0 || secure_getenv("PIAUTH_MOUNT"))
		return 0;
	if (cli_is_mounted(SYSTEM_MOUNT) != CLI_MOUNTED)
		return 0;
	int fd = open(SYSTEM_MOUNT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return 0; /* it serves somebody else */
	close(fd);
	char *path = strdup(SYSTEM_MOUNT);
	if (!path)
		return -ENOMEM;
	free(c->paths.mountpoint);
	c->paths.mountpoint = path;
	c->mounted = CLI_MOUNTED;
	return 0;
}

int client_begin(struct client *c, int argc, char **argv, unsigned options)
{
	struct pa_err err;
	*c = (struct client){ .mounted = CLI_MOUNT_NONE };
	json_init();
	if (cli_paths(&c->paths, &err) < 0)
		return cli_fail(NULL, &err);

	int r = read_options(c, argc, argv, options);
	if (r == -EINVAL)
		return cli_usage(argv[0]);
	if (r == 0 && !c->store_named) {
		c->mounted = cli_is_mounted(c->paths.mountpoint);
		if (c->mounted == CLI_MOUNT_NONE)
			r = use_system_mount(c);
	}
	if (r < 0) {
		pa_fail(&err, PA_NO_MEMORY, 0, "options");
		return cli_fail(NULL, &err);
	}
	return -1;
}

void client_end(struct client *c)
{
	cli_paths_done(&c->paths);
}

bool client_name_is_valid(const char *name)
{
	size_t len = strlen(name);
	return len > 0 && len <= PROFILE_ID_MAX && name[0] != '.' && !strchr(name, '/');
}

int client_write_all(int fd, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = write(fd, bytes, len);
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

int client_print(const char *text, size_t len, struct pa_err *err)
{
	int r = client_write_all(STDOUT_FILENO, text, len);
	if (r == 0 && (!len || text[len - 1] != '\n'))
		r = client_write_all(STDOUT_FILENO, "\n", 1);
	return r < 0 ? pa_fail(err, PA_SYSTEM, -r, "standard output: %s", strerror(-r)) : 0;
}

int client_read_all(int fd, size_t max, char **ret, size_t *ret_len, struct pa_err *err)
{
	size_t room = 4096, len = 0;
	WIPE_AUTO char *buf = wipe_malloc(room);
	if (!buf)
		return pa_fail(err, PA_NO_MEMORY, 0, "%zu bytes", room);
	for (;;) {
		if (len + 1 == room) {
			char *more = wipe_realloc(buf, room * 2);
			if (!more)
				return pa_fail(err, PA_NO_MEMORY, 0, "%zu bytes", room * 2);
			buf = more;
			room *= 2;
		}
		ssize_t n = read(fd, buf + len, room - len - 1);
		if (n < 0)
			return pa_fail(err, PA_SYSTEM, errno, "read: %s", strerror(errno));
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return pa_fail(err, PA_TOO_BIG, 0, "more than %zu bytes", max);
	}
	buf[len] = '\0';
	*ret = buf;
	*ret_len = len;
	buf = NULL;
	return 0;
}

/* ---- through the mount ---- */

static int node_path(const struct client *c, const char *profile, const char *node,
	char ret[static PATH_MAX], struct pa_err *err)
{
	int n;
	if (profile && !client_name_is_valid(profile))
		return pa_fail(err, PA_NO_PROVIDER, 0, "not a profile name");
	if (profile)
		n = snprintf(ret, PATH_MAX, "%s/%s/%s", c->paths.mountpoint, profile, node);
	else
		n = snprintf(ret, PATH_MAX, "%s/%s", c->paths.mountpoint, node);
	if (n >= PATH_MAX)
		return pa_fail(err, PA_SYSTEM, ENAMETOOLONG, "path of %s", node);
	return 0;
}

/* What an errno of the mount means where status does not say more. */
static enum pa_code code_of(int errnum)
{
	switch (errnum) {
	case ENOKEY:
		return PA_NO_KEY;
	case EKEYREJECTED:
		return PA_BAD_KEY;
	case EKEYREVOKED:
		return PA_REFRESH_DEAD;
	case EKEYEXPIRED:
		return PA_EXPIRED;
	case EDQUOT:
		return PA_QUOTA;
	case EBUSY:
		return PA_RATE;
	case ETIMEDOUT:
		return PA_NET_TIMEOUT;
	case EHOSTUNREACH:
		return PA_NET_UNREACHABLE;
	case EPROTO:
		return PA_NET_TLS;
	case EBADMSG:
		return PA_NET_ANSWER;
	case EREMOTEIO:
		return PA_NET_SERVER;
	case ENOSPC:
		return PA_STORE_FULL;
	case EACCES:
	case EPERM:
		return PA_DENIED;
	case EINVAL:
		return PA_BAD_INPUT;
	case EFBIG:
		return PA_TOO_BIG;
	case ENOENT:
	case ENOTDIR:
		return PA_NO_PROVIDER;
	case EAGAIN:
		return PA_NOT_READY;
	case EINTR:
		return PA_INTERRUPTED;
	case EOPNOTSUPP:
		return PA_UNSUPPORTED;
	default:
		return PA_SYSTEM;
	}
}

static enum pa_code code_of_wire(const char *wire)
{
	for (size_t i = 1; i < pa_code_count; i++) {
		if (strcmp(pa_wire((enum pa_code)i), wire) == 0)
			return (enum pa_code)i;
	}
	return PA_NONE;
}

static int read_node(const struct client *c, const char *profile, const char *node, char **ret,
	size_t *ret_len, struct pa_err *err)
{
	char path[PATH_MAX];
	int r = node_path(c, profile, node, path, err);
	if (r < 0)
		return r;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return pa_fail(err, code_of(errno), errno, "%s", "");
	struct pa_err why;
	r = client_read_all(fd, FILE_MAX, ret, ret_len, &why);
	close(fd);
	if (r < 0)
		return pa_fail(err, code_of(-r), -r, "%s", "");
	return 0;
}

/* Many causes share an errno; status tells the one that stands behind it. */
static int explain(const struct client *c, const char *profile, int errnum, struct pa_err *err)
{
	WIPE_AUTO char *text = NULL;
	JSON_AUTO cJSON *status = NULL;
	size_t len;
	enum pa_code code = code_of(errnum);

	if (code != PA_NO_PROVIDER && read_node(c, profile, "status", &text, &len, NULL) == 0 &&
		json_parse(text, len, PA_NET_ANSWER, &status, NULL, NULL) == 0) {
		const cJSON *last = json_at(status, "/last_error");
		const char *wire = json_str(last, "diagnostic_code");
		enum pa_code told = wire ? code_of_wire(wire) : PA_NONE;
		int64_t http;
		if (told != PA_NONE && pa_errno(told) == errnum) {
			const char *details =
				cJSON_GetStringValue(json_at(last, "/context/details"));
			pa_fail(err, told, errnum, "%s", details ? details : "");
			if (err && json_int(last, "http_status", &http) && http > 0 && http < 1000)
				err->http_status = (int)http;
			return -errnum;
		}
	}
	return pa_fail(err, code, errnum, "%s", code == PA_SYSTEM ? strerror(errnum) : "");
}

int client_read(const struct client *c, const char *profile, const char *node, char **ret,
	size_t *ret_len, struct pa_err *err)
{
	struct pa_err plain;
	int r = read_node(c, profile, node, ret, ret_len, &plain);
	if (r < 0 && profile && client_name_is_valid(profile))
		return explain(c, profile, -r, err);
	if (r < 0)
		return pa_fail(err, plain.code, -r, "%s", plain.detail);
	return 0;
}

/*
 * What changes something needs the server's namespaces, and a server that is not root may look at those of a
 * dumpable process only. So this one is dumpable for the moment of the call; its core limit stays 0.
 */
static void be_visible(bool visible)
{
	if (geteuid() != 0)
		prctl(PR_SET_DUMPABLE, visible);
}

static int write_node(const struct client *c, const char *profile, const char *node,
	const char *bytes, size_t len, struct pa_err *err)
{
	char path[PATH_MAX];
	int r = node_path(c, profile, node, path, err);
	if (r < 0)
		return r;
	be_visible(true);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0200);
	int errnum = errno;
	be_visible(false);
	if (fd < 0)
		return explain(c, profile, errnum, err);
	/* Durable when write returns, published by the close. */
	r = client_write_all(fd, bytes, len);
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r < 0 ? explain(c, profile, -r, err) : 0;
}

int client_command(
	const struct client *c, const char *node, const char *text, size_t len, struct pa_err *err)
{
	return write_node(c, NULL, node, text, len, err);
}

/* The mount can only say EINVAL; what is wrong with the value can be seen here as well. */
static void explain_value(enum lane lane, const char *bytes, size_t len, struct pa_err *err)
{
	struct pa_err why;
	JSON_AUTO cJSON *entry = NULL;
	bool incomplete;
	enum lane to;
	if (err->code != PA_BAD_INPUT)
		return;
	if (record_entry_from_text(
		    lane, bytes, len, table_now_ms(), &to, &entry, &incomplete, &why) < 0)
		*err = why;
}

static int logout_node(const struct client *c, const char *profile, struct pa_err *err)
{
	char path[PATH_MAX];
	int r = node_path(c, profile, "key", path, err);
	if (r < 0)
		return r;
	be_visible(true);
	r = unlink(path);
	int errnum = errno;
	be_visible(false);
	return r < 0 ? explain(c, profile, errnum, err) : 0;
}

/* ---- both ways ---- */

int client_way_in(const struct client *c, bool reads)
{
	switch (c->mounted) {
	case CLI_MOUNTED:
		return -1;
	case CLI_MOUNT_DEAD:
		fprintf(stderr,
			"piauth: the mount at %s is dead: its server is gone. "
			"Remove it and start again: piauth umount && piauth mount\n",
			c->paths.mountpoint);
		return CLI_NOT_MOUNTED;
	case CLI_MOUNT_NONE:
		break;
	}
	if (!reads || offline_store_exists(&c->paths))
		return -1;
	if (c->store_named) {
		fprintf(stderr, "piauth: there is no store at %s.\n", c->paths.store);
		return CLI_FAILED;
	}
	fprintf(stderr,
		"piauth: nothing is mounted at %s, and there is no store at %s. "
		"Start one: piauth mount\n",
		c->paths.mountpoint, c->paths.store);
	return CLI_NOT_MOUNTED;
}

int client_fail(const struct client *c, const char *profile, const struct pa_err *err)
{
	int code = cli_fail(profile, err);
	JSON_AUTO cJSON *table = NULL;
	const char *names[PROVIDERS_CLOSE];
	if (err->code != PA_NO_PROVIDER || !profile || providers_load(c, &table, NULL) < 0)
		return code;
	unsigned n = providers_close(table, profile, names);
	for (unsigned i = 0; i < n; i++)
		fprintf(stderr, "%s%s%s", i ? ", " : "piauth: did you mean ", names[i],
			i + 1 == n ? "?\n" : "");
	return code;
}

int client_status(const struct client *c, const char *profile, char **ret, size_t *ret_len,
	struct pa_err *err)
{
	if (c->mounted == CLI_MOUNTED)
		return client_read(c, profile, "status", ret, ret_len, err);
	OFFLINE_AUTO struct offline o;
	int r = offline_open(&o, &c->paths, false, err);
	if (r == 0)
		r = offline_status(&o, profile, ret, err);
	if (r == 0)
		*ret_len = strlen(*ret);
	return r;
}

/* Options, one operand PROFILE and a way in: -1 to go on. */
static int begin_profile(struct client *c, int argc, char **argv, unsigned options)
{
	int code = client_begin(c, argc, argv, options);
	if (code >= 0)
		return code;
	if (c->operands != 1)
		return cli_usage(argv[0]);
	return client_way_in(c, true);
}

int cli_get(int argc, char **argv)
{
	CLIENT_AUTO struct client c;
	int code = begin_profile(&c, argc, argv, 0);
	if (code >= 0)
		return code;

	WIPE_AUTO char *text = NULL;
	SECRET_AUTO struct secret *key = NULL;
	const char *bytes;
	size_t len;
	struct pa_err err;
	int r;
	if (c.mounted == CLI_MOUNTED) {
		r = client_read(&c, c.operand[0], "key", &text, &len, &err);
		bytes = text;
	} else {
		OFFLINE_AUTO struct offline o;
		r = offline_open(&o, &c.paths, false, &err);
		if (r == 0)
			r = offline_get(&o, c.operand[0], &key, &err);
		secret_read(key, &bytes, &len);
	}
	if (r < 0)
		return client_fail(&c, c.operand[0], &err);

	r = client_write_all(STDOUT_FILENO, bytes, len);
	if (r == 0 && isatty(STDOUT_FILENO)) /* the newline is for people, not part of the key */
		r = client_write_all(STDOUT_FILENO, "\n", 1);
	if (r < 0) {
		pa_fail(&err, PA_SYSTEM, -r, "standard output: %s", strerror(-r));
		return cli_fail(c.operand[0], &err);
	}
	return CLI_DONE;
}

static int ask_value(const struct client *c, const char *profile, char **ret, size_t *ret_len,
	struct pa_err *err)
{
	size_t max = c->oauth ? RECORD_OAUTH_MAX : RECORD_KEY_MAX;
	char question[PROFILE_ID_MAX + 80];
	if (!isatty(STDIN_FILENO))
		return client_read_all(STDIN_FILENO, max + 2, ret, ret_len, err); /* + CR LF */
	if (c->oauth)
		snprintf(question, sizeof(question),
			"Login for %s as JSON (it is not shown; Ctrl-D ends it): ", profile);
	else
		snprintf(question, sizeof(question), "Key for %s (it is not shown): ", profile);
	return prompt_secret(STDIN_FILENO, question, c->oauth, max, ret, ret_len, err);
}

int cli_set(int argc, char **argv)
{
	CLIENT_AUTO struct client c;
	int code = client_begin(&c, argc, argv, CLIENT_OAUTH);
	if (code >= 0)
		return code;
	if (c.operands > 1) {
		fprintf(stderr,
			"piauth: a key is not taken from the command line: ps and the shell's "
			"history "
			"show it to others.\n"
			"piauth: if that was a real key, replace it at the provider. Then:\n"
			"  piauth set PROFILE            and type or paste it\n"
			"  piauth set PROFILE < FILE\n");
		return CLI_USAGE;
	}
	if (c.operands != 1)
		return cli_usage(argv[0]);
	code = client_way_in(&c, false);
	if (code >= 0)
		return code;

	const char *profile = c.operand[0];
	WIPE_AUTO char *value = NULL;
	size_t len;
	struct pa_err err;
	if (!client_name_is_valid(profile)) {
		pa_fail(&err, PA_NO_PROVIDER, 0, "not a profile name");
		return client_fail(&c, profile, &err);
	}
	int r = ask_value(&c, profile, &value, &len, &err);
	if (r == 0 && len == 0)
		r = pa_fail(&err, PA_BAD_INPUT, 0, "standard input is empty");
	if (r == 0 && c.mounted == CLI_MOUNTED) {
		r = write_node(&c, profile, c.oauth ? "oauth" : "api-key", value, len, &err);
		if (r < 0)
			explain_value(c.oauth ? LANE_OAUTH : LANE_API_KEY, value, len, &err);
	} else if (r == 0) {
		OFFLINE_AUTO struct offline o;
		r = offline_open(&o, &c.paths, true, &err);
		if (r == 0)
			r = offline_set(
				&o, profile, c.oauth ? LANE_OAUTH : LANE_API_KEY, value, len, &err);
	}
	return r < 0 ? client_fail(&c, profile, &err) : CLI_DONE;
}

int cli_logout(int argc, char **argv)
{
	CLIENT_AUTO struct client c;
	int code = begin_profile(&c, argc, argv, 0);
	if (code >= 0)
		return code;

	struct pa_err err;
	int r;
	if (c.mounted == CLI_MOUNTED) {
		r = logout_node(&c, c.operand[0], &err);
	} else {
		OFFLINE_AUTO struct offline o;
		r = offline_open(&o, &c.paths, false, &err);
		if (r == 0)
			r = offline_logout(&o, c.operand[0], &err);
	}
	return r < 0 ? client_fail(&c, c.operand[0], &err) : CLI_DONE;
}
