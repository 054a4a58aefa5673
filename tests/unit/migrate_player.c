#include "tests/unit/migrate_player.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "store/import/message.h"

#define PATIENCE_MS 30000
#define MOVES_WAIT  30000 /* "wait_ms" by which a take-over or give-back is known */

static struct fixture *fixture;
static unsigned scripts;

static void path_to(const char *dir, const char *name, unsigned n, char ret[static 256])
{
	snprintf(ret, 256, "%s/%s-%u", dir, name, n);
}

/* ---- the played process ---- */

static cJSON *hear(FILE *log)
{
	cJSON *message;
	struct pa_err err;
	char *text;
	int fd;

	if (message_receive(0, &message, &fd, &err) <= 0)
		return NULL;
	text = json_text(message);
	if (log) {
		fprintf(log, "%s\n", text);
		fflush(log);
	}
	wipe_free(text);
	return message;
}

static void hear_out(FILE *log)
{
	cJSON *message;

	while ((message = hear(log)))
		cJSON_Delete(message);
}

static bool say(const char *line)
{
	cJSON *message = NULL;
	struct pa_err err;
	bool said = json_parse(line, strlen(line), PA_BAD_INPUT, &message, NULL, &err) == 0 &&
		    message_send(0, message, -1, &err) == 0;

	cJSON_Delete(message);
	return said;
}

static void obey(FILE *from, FILE *log)
{
	char *line = NULL;
	size_t room = 0;
	bool on = true;

	while (on && getline(&line, &room, from) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (!strcmp(line, "<")) {
			cJSON *message = hear(log);

			on = message != NULL;
			cJSON_Delete(message);
		} else if (!strcmp(line, "hang")) {
			break;
		} else {
			on = say(line); /* "die" is not JSON */
		}
	}
	free(line);
	if (on)
		hear_out(log);
}

/* Takes the first script that nobody has: its log is not there yet. */
static FILE *claim(const char *dir, FILE **ret_log)
{
	char path[256];

	for (unsigned n = 0;; n++) {
		int fd;

		path_to(dir, "log", n, path);
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 && errno == EEXIST)
			continue;
		if (fd < 0)
			return NULL;
		*ret_log = fdopen(fd, "w");
		path_to(dir, "script", n, path);
		return fopen(path, "re");
	}
}

static int play(const char *dir)
{
	JSON_AUTO cJSON *message = NULL;
	WIPE_AUTO char *text = NULL;
	FILE *from, *log = NULL;
	int64_t wait_ms = 0;
	const char *op;

	json_init();
	if (!(message = hear(NULL)) || !(op = json_str(message, "op")))
		return 1;
	json_int(message, "wait_ms", &wait_ms);
	if (strcmp(op, "scan") != 0 && wait_ms != MOVES_WAIT) {
		hear_out(NULL); /* about linked files: not in this play */
		return 0;
	}
	from = claim(dir, &log);
	text = json_text(message);
	if (!from || !log || !text)
		return 1;
	fprintf(log, "%s\n", text);
	fflush(log);
	obey(from, log);
	fclose(from);
	fclose(log);
	return 0;
}

bool player_is_it(int argc, char **argv, int *ret_code)
{
	if (argc != 3 || strcmp(argv[1], "--play") != 0)
		return false;
	*ret_code = play(argv[2]);
	return true;
}

/* ---- the test's side ---- */

static int start(void *arg, int *ret_fd, int *ret_pidfd, struct pa_err *err)
{
	char *const argv[] = { (char *)"test", (char *)"--play", fixture->dir, NULL };
	posix_spawn_file_actions_t actions;
	int fds[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
	assert_int_equal(posix_spawn_file_actions_adddup2(&actions, fds[1], 0), 0);
	assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	*ret_fd = fds[0];
	*ret_pidfd = pidfd_open(pid, 0);
	return *ret_pidfd < 0 ? pa_fail(err, PA_SYSTEM, errno, "pidfd_open") : 0;
}

int player_setup(void **state)
{
	static const struct legacy_spawn spawn = { start, NULL };

	fixture_setup(state);
	fixture = *state;
	scripts = 0;
	fixture->legacy = &spawn;
	fixture_restart(fixture);
	return 0;
}

void script_of(const char *const *lines)
{
	char path[256];
	FILE *to;

	path_to(fixture->dir, "script", scripts++, path);
	to = fopen(path, "we");
	assert_non_null(to);
	for (; *lines; lines++)
		assert_true(fputs(*lines, to) >= 0);
	assert_int_equal(fclose(to), 0);
}

unsigned player_started(void)
{
	char path[256];

	for (unsigned n = 0;; n++) {
		path_to(fixture->dir, "log", n, path);
		if (access(path, F_OK) < 0)
			return n;
	}
}

cJSON *player_asked(unsigned n, unsigned request)
{
	char path[256], *line = NULL;
	cJSON *message = NULL;
	struct pa_err err;
	size_t room = 0;
	FILE *log;

	path_to(fixture->dir, "log", n, path);
	log = fopen(path, "re");
	assert_non_null(log);
	for (unsigned i = 0; i <= request; i++)
		assert_true(getline(&line, &room, log) > 0);
	fclose(log);
	must(json_parse(line, strlen(line), PA_BAD_INPUT, &message, NULL, &err), &err, "log");
	free(line);
	return message;
}

int migrate(struct fixture *f, const char *command)
{
	struct outcome o = { 0 };

	broker_migrate(f->b, command, strlen(command), outcome_done, &o);
	outcome_await(f, &o);
	fixture_settle(f);
	return o.r;
}

void await_import(struct fixture *f)
{
	while (broker_is_importing(f->b)) {
		struct pollfd pfd = { .fd = broker_fd(f->b), .events = POLLIN };

		assert_true(poll(&pfd, 1, PATIENCE_MS) > 0);
		broker_dispatch(f->b);
	}
}

cJSON *report(struct fixture *f)
{
	char *text = broker_migrate_report(f->b);
	cJSON *root = NULL;
	struct pa_err err;

	assert_non_null(text);
	assert_null(strstr(text, CANARY));
	must(json_parse(text, strlen(text), PA_BAD_INPUT, &root, NULL, &err), &err, "report");
	wipe_free(text);
	return root;
}

void assert_report(struct fixture *f, const char *pointer, const char *wanted)
{
	cJSON *root = report(f);
	const cJSON *at = json_at(root, pointer);
	const char *got = cJSON_IsString(at) ? at->valuestring : NULL;

	if (wanted ? !got || strcmp(got, wanted) != 0 : at != NULL)
		fail_msg("%s: %s instead of %s", pointer, got ? got : "nothing",
			wanted ? wanted : "nothing");
	cJSON_Delete(root);
}

void assert_entry(struct fixture *f, unsigned i, const char *wanted, const char *reason)
{
	cJSON *root = report(f);
	const cJSON *row = cJSON_GetArrayItem(json_at(root, "/entries"), (int)i);
	const char *profile = json_str(row, "profile"), *why = json_str(row, "reason");
	char got[256];

	assert_non_null(row);
	snprintf(got, sizeof(got), "%s %s", profile ? profile : "-", json_str(row, "decision"));
	assert_string_equal(got, wanted);
	assert_string_equal(why ? why : "", reason);
	cJSON_Delete(root);
}

void assert_link(struct fixture *f, const char *profile, unsigned i, const char *path,
	const char *link_state)
{
	struct profile *p = fixture_profile(f, profile);
	char pointer[32];

	snprintf(pointer, sizeof(pointer), "/links/%u/path", i);
	assert_status(f, p, pointer, path);
	snprintf(pointer, sizeof(pointer), "/links/%u/state", i);
	assert_status(f, p, pointer, link_state);
	profile_drop(p, 1);
}

void assert_profile_key(struct fixture *f, const char *profile, const char *key)
{
	struct profile *p = fixture_profile(f, profile);

	assert_key(f, p, key);
	profile_drop(p, 1);
}

uint64_t generation_of(struct fixture *f, const char *profile)
{
	struct profile *p = fixture_profile(f, profile);
	struct profile_facts facts;

	broker_facts(f->b, p, &facts);
	profile_drop(p, 1);
	return facts.generation;
}
