#include "doctor.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/secret.h"
#include "table.h"

void doctor_say(struct doctor *d, const char *check, enum doctor_level level, const char *remedy,
	const char *fmt, ...)
{
	va_list args;
	if (level == DOCTOR_PROBLEM)
		d->problems++;
	if (d->lines == DOCTOR_LINES)
		return;
	struct doctor_line *line = &d->line[d->lines++];
	line->check = check;
	line->level = level;
	snprintf(line->remedy, sizeof(line->remedy), "%s", remedy);
	va_start(args, fmt);
	vsnprintf(line->finding, sizeof(line->finding), fmt, args);
	va_end(args);
}

void doctor_fail(struct doctor *d, const char *check, const struct pa_err *err)
{
	doctor_say(d, check, DOCTOR_PROBLEM, pa_remedy(err->code), "%s %s", pa_summary(err->code),
		err->detail);
}

static void check_version(struct doctor *d)
{
	WIPE_AUTO char *text = NULL;
	size_t len;
	struct pa_err err;
	if (client_read(d->client, NULL, ".piauth/version", &text, &len, &err) < 0) {
		doctor_fail(d, "version", &err);
		return;
	}
	text[strcspn(text, "\n")] = '\0';
	if (strcmp(text, PIAUTH_VERSION) == 0)
		doctor_say(d, "version", DOCTOR_OK, "", "mount and command are version %s", text);
	else
		doctor_say(d, "version", DOCTOR_NOTE, "Start the mount again with the new program.",
			"the mount is served by version %s, this command is %s", text,
			PIAUTH_VERSION);
}

static void check_mount(struct doctor *d)
{
	const char *at = d->client->paths.mountpoint;
	switch (cli_is_mounted(at)) {
	case CLI_MOUNT_NONE:
		doctor_say(d, "mount", DOCTOR_PROBLEM, "Start it: piauth mount",
			"nothing is mounted at %s", at);
		return;
	case CLI_MOUNT_DEAD:
		doctor_say(d, "mount", DOCTOR_PROBLEM, "piauth umount, then piauth mount",
			"the mount at %s is dead: its server is gone", at);
		return;
	case CLI_MOUNTED:
		break;
	}
	int fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		doctor_say(d, "mount", DOCTOR_PROBLEM,
			"Ask the person whom it serves, or start your own: piauth mount",
			"the mount at %s does not let you in: %s", at, strerror(errno));
		return;
	}
	close(fd);
	doctor_say(d, "mount", DOCTOR_OK, "", "%s is served", at);
	check_version(d);
}

static void check_fuse_device(struct doctor *d)
{
	struct stat st;
	if (stat("/dev/fuse", &st) < 0 || !S_ISCHR(st.st_mode)) {
		doctor_say(d, "fuse-device", DOCTOR_PROBLEM,
			"Load the module: modprobe fuse. In a container: give it --device "
			"/dev/fuse.",
			"/dev/fuse is not there");
		return;
	}
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		doctor_say(d, "fuse-device", DOCTOR_PROBLEM,
			"Debian has it 0666 (udev). In a container: give it --device /dev/fuse.",
			"/dev/fuse cannot be opened: %s", strerror(errno));
		return;
	}
	close(fd);
	doctor_say(d, "fuse-device", DOCTOR_OK, "", "/dev/fuse can be opened");
}

/* Whether some directory of PATH has it with the set-user-ID bit; *ret_found: whether it is there. */
static bool find_fusermount(bool *ret_found)
{
	const char *path = secure_getenv("PATH");
	char *copy = strdup(path ? path : "/usr/bin:/bin"), *save;
	bool setuid = false;
	*ret_found = false;
	for (char *dir = copy ? strtok_r(copy, ":", &save) : NULL; dir && !*ret_found;
		dir = strtok_r(NULL, ":", &save)) {
		char *file;
		struct stat st;
		if (asprintf(&file, "%s/fusermount3", dir) < 0)
			break;
		if (stat(file, &st) == 0 && access(file, X_OK) == 0) {
			*ret_found = true;
			setuid = st.st_uid == 0 && (st.st_mode & S_ISUID);
		}
		free(file);
	}
	free(copy);
	return setuid;
}

static void check_fusermount(struct doctor *d)
{
	bool found;
	bool setuid = find_fusermount(&found);
	if (geteuid() == 0)
		return; /* root mounts by itself */
	if (!found)
		doctor_say(d, "fusermount", DOCTOR_PROBLEM, "Install it: apt-get install fuse3",
			"fusermount3 is not in PATH; without it only root can mount");
	else if (!setuid)
		doctor_say(d, "fusermount", DOCTOR_PROBLEM, "chmod u+s it, or install fuse3 again.",
			"fusermount3 is not set-user-ID root");
	else
		doctor_say(d, "fusermount", DOCTOR_OK, "", "fusermount3 can mount for you");
}

static void check_allow_other(struct doctor *d)
{
	char line[256];
	bool on = false;
	if (geteuid() == 0)
		return;
	FILE *conf = fopen("/etc/fuse.conf", "re");
	while (conf && fgets(line, sizeof(line), conf)) {
		size_t start = strspn(line, " \t"), len = strcspn(line + start, " \t\r\n#");
		if (len == strlen("user_allow_other") &&
			strncmp(line + start, "user_allow_other", len) == 0)
			on = true;
	}
	if (conf)
		fclose(conf);
	if (on)
		doctor_say(d, "user-allow-other", DOCTOR_OK, "", "user_allow_other is set");
	else
		doctor_say(d, "user-allow-other", DOCTOR_NOTE,
			"If other uids (containers) shall read: add user_allow_other to "
			"/etc/fuse.conf.",
			"a mount of yours serves exactly your uid and gid");
}

static void check_memory_lock(struct doctor *d)
{
	struct rlimit limit;
	bool enough = getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur >= SECRET_HEAP;
	if (!enough) {
		/* CAP_IPC_LOCK goes beyond the limit: only trying tells. */
		void *p = mmap(NULL, SECRET_HEAP, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		enough = p != MAP_FAILED && mlock(p, SECRET_HEAP) == 0;
		if (p != MAP_FAILED)
			munmap(p, SECRET_HEAP);
	}
	if (enough)
		doctor_say(d, "memory-lock", DOCTOR_OK, "", "%d KiB can be locked against swap",
			SECRET_HEAP / 1024);
	else
		doctor_say(d, "memory-lock", DOCTOR_PROBLEM,
			"Raise the limit (ulimit -l, LimitMEMLOCK= of a unit), or encrypt the "
			"swap.",
			"%d KiB cannot be locked: secrets may reach the swap", SECRET_HEAP / 1024);
}

static void check_ca(struct doctor *d)
{
	static const char *const bundles[] = {
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem",
		"/etc/ssl/cert.pem",
	};
	struct stat st;
	for (size_t i = 0; i < sizeof(bundles) / sizeof(bundles[0]); i++) {
		if (access(bundles[i], R_OK) < 0 || stat(bundles[i], &st) < 0 || st.st_size == 0)
			continue;
		doctor_say(d, "ca-certificates", DOCTOR_OK, "", "%s", bundles[i]);
		return;
	}
	doctor_say(d, "ca-certificates", DOCTOR_PROBLEM,
		"Install them: apt-get install ca-certificates",
		"no CA certificates: no provider can be reached over TLS");
}

/* ---- the command ---- */

static const char *level_name(enum doctor_level level)
{
	switch (level) {
	case DOCTOR_OK:
		return "ok";
	case DOCTOR_NOTE:
		return "note";
	case DOCTOR_PROBLEM:
		return "problem";
	}
	return "";
}

static enum table_tone level_tone(enum doctor_level level)
{
	switch (level) {
	case DOCTOR_OK:
		return TABLE_GOOD;
	case DOCTOR_NOTE:
		return TABLE_PLAIN;
	case DOCTOR_PROBLEM:
		return TABLE_BAD;
	}
	return TABLE_PLAIN;
}

static int print_lines(const struct doctor *d, struct pa_err *err)
{
	for (unsigned i = 0; i < d->lines; i++) {
		const struct doctor_line *line = &d->line[i];
		table_tone_on(stdout, level_tone(line->level));
		printf("%-7s", level_name(line->level));
		table_tone_off(stdout, level_tone(line->level));
		printf("  %-16s  %s\n", line->check, line->finding);
		if (line->remedy[0])
			printf("%27s%s\n", "", line->remedy);
	}
	if (fflush(stdout) != 0)
		return pa_fail(err, PA_SYSTEM, errno, "standard output: %s", strerror(errno));
	return 0;
}

static int print_json(const struct doctor *d, struct pa_err *err)
{
	JSON_AUTO cJSON *array = cJSON_CreateArray();
	bool fits = array;
	for (unsigned i = 0; fits && i < d->lines; i++) {
		const struct doctor_line *line = &d->line[i];
		cJSON *o = cJSON_CreateObject();
		fits = o && cJSON_AddStringToObject(o, "check", line->check) &&
		       cJSON_AddStringToObject(o, "level", level_name(line->level)) &&
		       cJSON_AddStringToObject(o, "finding", line->finding) &&
		       cJSON_AddStringToObject(o, "remedy", line->remedy) &&
		       cJSON_AddItemToArray(array, o);
		if (!fits)
			cJSON_Delete(o);
	}
	WIPE_AUTO char *text = fits ? json_text(array) : NULL;
	if (!text)
		return pa_fail(err, PA_NO_MEMORY, 0, "report");
	return client_print(text, strlen(text), err);
}

int cli_doctor(int argc, char **argv)
{
	CLIENT_AUTO struct client c;
	struct pa_err err;
	int code = client_begin(&c, argc, argv, CLIENT_JSON);
	if (code >= 0)
		return code;
	if (c.operands)
		return cli_usage(argv[0]);
	struct doctor *d = calloc(1, sizeof(*d));
	if (!d) {
		pa_fail(&err, PA_NO_MEMORY, 0, "report");
		return cli_fail(NULL, &err);
	}
	/* A store that was named is looked at; the mount still tells about the logins. */
	if (c.store_named)
		c.mounted = cli_is_mounted(c.paths.mountpoint);
	d->client = &c;
	check_mount(d);
	check_fuse_device(d);
	check_fusermount(d);
	check_allow_other(d);
	check_memory_lock(d);
	check_ca(d);
	doctor_store(d);
	doctor_logins(d);
	doctor_files(d);

	int r = c.json ? print_json(d, &err) : print_lines(d, &err);
	unsigned problems = d->problems;
	free(d);
	if (r < 0)
		return cli_fail(NULL, &err);
	return problems ? CLI_FAILED : CLI_DONE;
}
