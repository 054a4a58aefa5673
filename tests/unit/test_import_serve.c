#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/import/import.h"
#include "store/import/message.h"
#include "store/import/serve.h"
#include "tests/lib/scratch.h"

#define AUTH ".pi/agent/auth.json"
#define OAUTH(access, refresh)                                                 \
	"{\"type\":\"oauth\",\"access\":\"" access "\",\"refresh\":\"" refresh \
	"\",\"expires\":1768000000000,\"extra\":{\"x\":1}}"
#define FILE_A \
	"{\"anthropic\":" OAUTH("a1", "r1") ",\"groq\":{\"type\":\"api_key\",\"key\":\"k1\"}}"

static char home[PATH_MAX];
static int sock = -1;
static pid_t child;

/* Ends the conversation and waits for the other side. */
static void hang_up(void)
{
	int status;
	if (sock < 0)
		return;
	close(sock);
	sock = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void start(void)
{
	int pair[2];
	assert_return_code(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), errno);
	child = fork();
	if (child == 0) {
		struct pa_err err = { 0 };
		close(pair[0]);
		int rc = import_serve(pair[1], home, &err);
		if (rc < 0)
			fprintf(stderr, "%s: %s\n", err.where, err.detail);
		_exit(rc < 0);
	}
	close(pair[1]);
	sock = pair[0];
}

static int setup(void **state)
{
	json_init();
	alarm(60);
	for (size_t i = 0; import_env_names[i]; i++)
		unsetenv(import_env_names[i]);
	snprintf(home, sizeof(home), "%s", scratch_new());
	assert_return_code(mkdir(".pi", 0700) | mkdir(".pi/agent", 0700), errno);
	start();
	return 0;
}

static int teardown(void **state)
{
	hang_up();
	scratch_free();
	return 0;
}

static void put_file(const char *path, const char *text)
{
	scratch_write(path, 0600, text, strlen(text));
}

/* Without layout, so that it can be compared. */
static void assert_holds(const char *path, const char *json)
{
	JSON_AUTO cJSON *is = NULL;
	JSON_AUTO cJSON *want = NULL;
	char *text = scratch_read(path, NULL);
	assert_int_equal(json_parse(text, strlen(text), PA_CONFIG, &is, NULL, NULL), 0);
	assert_int_equal(json_parse(json, strlen(json), PA_CONFIG, &want, NULL, NULL), 0);
	if (!cJSON_Compare(is, want, true))
		fail_msg("%s holds %s", path, text);
	free(text);
}

/* Sends JSON in which @ is the home. */
static void tell(const char *json)
{
	char text[16384];
	size_t n = 0;
	for (; *json; json++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%.*s",
			*json == '@' ? PATH_MAX : 1, *json == '@' ? home : json);
	assert_int_equal(send(sock, text, n, MSG_NOSIGNAL), n);
}

static cJSON *hear_fd(int *ret_fd)
{
	struct pa_err err = { 0 };
	cJSON *m = NULL;
	if (message_receive(sock, &m, ret_fd, &err) != 1)
		fail_msg("no answer: %s", err.detail);
	return m;
}

static cJSON *hear(void)
{
	int fd;
	cJSON *m = hear_fd(&fd);
	assert_int_equal(fd, -1);
	return m;
}

static const char *m_of(const cJSON *message)
{
	return json_str(message, "m");
}

/* The next answer, which has to hold these members: NAME, VALUE, ..., NULL. "@x" is below the home; a NULL
 * value: the member is not there. */
static void expect(const char *m, ...)
{
	JSON_AUTO cJSON *is = hear();
	char *text = json_text(is), want[PATH_MAX + 64];
	const char *name;
	va_list ap;
	va_start(ap, m);
	bool good = strcmp(m_of(is), m) == 0;
	while (good && (name = va_arg(ap, const char *))) {
		const char *value = va_arg(ap, const char *), *there = json_str(is, name);
		bool below = value && *value == '@';
		snprintf(want, sizeof(want), "%s%s", below ? home : "", value ? value + below : "");
		good = value ? there && strcmp(there, want) == 0
			     : !cJSON_GetObjectItemCaseSensitive(is, name);
		if (!good)
			print_error("%s is not %s\n", name, value ? want : "absent");
	}
	va_end(ap);
	if (!good)
		fail_msg("%s, not %s", text, m);
	free(text);
}

/* All messages up to "end", less "looking" and absent files. */
static cJSON *scan(const char *request)
{
	cJSON *all = cJSON_CreateArray();
	tell(request);
	for (;;) {
		cJSON *m = hear();
		const char *state = json_str(m, "state");
		if (strcmp(m_of(m), "end") == 0) {
			cJSON_Delete(m);
			return all;
		}
		if (strcmp(m_of(m), "error") == 0)
			fail_msg("%s", json_str(m, "reason"));
		if (strcmp(m_of(m), "looking") == 0 || (state && strcmp(state, "absent") == 0))
			cJSON_Delete(m);
		else
			cJSON_AddItemToArray(all, m);
	}
}

/* What the messages say, short: "m tool name result" each, one per line. */
static void assert_scan(const char *request, const char *expected)
{
	JSON_AUTO cJSON *all = scan(request);
	char is[16384] = "";
	const cJSON *m;
	size_t n = 0;
	cJSON_ArrayForEach (m, all) {
		const char *name = json_str(m, "name"), *state = json_str(m, "state");
		const char *refused = json_str(m, "refused"), *path = json_str(m, "path");
		assert_non_null(path);
		n += (size_t)snprintf(is + n, sizeof(is) - n, "%s %s %s %s\n", m_of(m),
			json_str(m, "tool"), name ? name : strrchr(path, '/') + 1,
			state     ? state
			: refused ? refused
				  : json_str(m, "lane"));
	}
	assert_string_equal(is, expected);
}

/* ---- scan ---- */

static void everything_there_is_is_told(void **state)
{
	put_file(AUTH, FILE_A);
	put_file(".pi/agent/settings.json", "{\"theme\":");
	assert_return_code(mkdir(".claude", 0700), errno);
	put_file(".claude/.credentials.json", "{\"claudeAiOauth\":{\"accessToken\":\"a\","
					      "\"refreshToken\":\"r\",\"expiresAt\":1}}");
	assert_scan("{\"op\":\"scan\"}", "file pi auth.json found\n"
					 "entry pi anthropic oauth\n"
					 "entry pi groq api_key\n"
					 "file pi settings.json corrupt\n"
					 "file claude-code .credentials.json found\n"
					 "entry claude-code claudeAiOauth oauth\n");
	assert_scan("{\"op\":\"scan\",\"skip\":[\"@/" AUTH "\",\"@/.pi/agent/settings.json\"]}",
		"file claude-code .credentials.json found\n"
		"entry claude-code claudeAiOauth oauth\n");
}

static void every_path_is_named_before_it_is_touched(void **state)
{
	char last[PATH_MAX] = "";
	int files = 0;
	put_file(AUTH, FILE_A);
	tell("{\"op\":\"scan\"}");
	for (bool end = false; !end;) {
		JSON_AUTO cJSON *m = hear();
		if (strcmp(m_of(m), "looking") == 0)
			snprintf(last, sizeof(last), "%s", json_str(m, "path"));
		else if (strcmp(m_of(m), "file") == 0)
			assert_string_equal(json_str(m, "path"), last);
		files += strcmp(m_of(m), "file") == 0;
		end = strcmp(m_of(m), "end") == 0;
	}
	assert_true(files > 10); /* absent ones are told too */
}

static void the_first_place_of_a_tool_counts(void **state)
{
	char expected[PATH_MAX + 256];
	put_file(AUTH, "{\"Groq\":{\"type\":\"api_key\",\"key\":\"k1\"}}");
	put_file(".pi/agent/settings.json", "{\"apiKeys\":{\"groq\":\"k2\",\"mistral\":\"k3\"}}");
	snprintf(expected, sizeof(expected),
		"file pi auth.json found\nentry pi Groq api_key\nfile pi settings.json found\n"
		"entry pi groq %s/" AUTH " has this one\nentry pi mistral api_key\n",
		home);
	assert_scan("{\"op\":\"scan\"}", expected);
}

static void a_file_has_a_thousand_entries_at_most(void **state)
{
	char *text = malloc(1100 * 64);
	size_t n = 0;
	for (int i = 0; i < 1005; i++)
		n += (size_t)snprintf(text + n, 64,
			"%s\"p%d\":{\"type\":\"api_key\",\"key\":\"k\"}", i ? "," : "{", i);
	snprintf(text + n, 64, "}");
	put_file(AUTH, text);
	free(text);
	JSON_AUTO cJSON *all = scan("{\"op\":\"scan\"}");
	assert_int_equal(cJSON_GetArraySize(all), 1 + 1000 + 1);
	assert_string_equal(json_str(cJSON_GetArrayItem(all, 1001), "refused"),
		"5 more: only 1000 of a file are looked at");
}

static void a_place_that_makes_no_sense_is_reported(void **state)
{
	hang_up();
	setenv("PI_CODING_AGENT_DIR", "somewhere/else", 1);
	start();
	unsetenv("PI_CODING_AGENT_DIR");
	JSON_AUTO cJSON *all = scan("{\"op\":\"scan\"}");
	assert_int_equal(cJSON_GetArraySize(all), 1);
	const cJSON *m = cJSON_GetArrayItem(all, 0);
	assert_string_equal(json_str(m, "tool"), "pi");
	assert_string_equal(json_str(m, "state"), "unreadable");
	assert_non_null(strstr(json_str(m, "reason"), "no absolute path"));
}

static void examining_tells_modes_and_locks(void **state)
{
	struct stat st;
	put_file(AUTH, FILE_A);
	assert_return_code(chmod(AUTH, 0644), errno);
	put_file(AUTH ".lock", "");
	JSON_AUTO cJSON *all = scan("{\"op\":\"scan\",\"examine\":true}");
	const cJSON *file = cJSON_GetArrayItem(all, 0), *m;
	int64_t owner;
	assert_string_equal(json_str(file, "mode"), "0644");
	assert_return_code(stat(AUTH, &st), errno);
	assert_true(json_int(file, "owner", &owner) && owner == st.st_uid);
	int locks = 0;
	cJSON_ArrayForEach (m, all) {
		if (strcmp(m_of(m), "lock") == 0 &&
			strcmp(json_str(m, "path") + strlen(home), "/" AUTH) == 0) {
			assert_string_equal(json_str(m, "state"), "file");
			locks++;
		}
	}
	assert_int_equal(locks, 1);
}

static void a_named_file_is_read_as_what_it_is(void **state)
{
	put_file("auth.json", "{\"groq\":{\"type\":\"api\",\"key\":\"k1\"}}");
	assert_scan("{\"op\":\"scan\",\"from\":\"@/auth.json\"}",
		"file opencode auth.json found\nentry opencode groq api_key\n");
	put_file("saved-2026", FILE_A);
	assert_scan("{\"op\":\"scan\",\"from\":\"@/saved-2026\"}",
		"file pi saved-2026 found\nentry pi anthropic oauth\nentry pi groq api_key\n");
	put_file("auth.json", "[1]");
	assert_scan("{\"op\":\"scan\",\"from\":\"@/auth.json\"}", "file pi auth.json corrupt\n");
	assert_scan("{\"op\":\"scan\",\"from\":\"@/none\"}", "");
	tell("{\"op\":\"scan\",\"from\":\"auth.json\"}");
	expect("error", NULL);
}

static void a_named_directory_is_searched_by_name(void **state)
{
	put_file(AUTH, FILE_A);
	put_file(".pi/agent/other.json", FILE_A);
	put_file(".pi/agent/oauth.json", "{\"xai\":" OAUTH("a", "r") "}");
	assert_scan("{\"op\":\"scan\",\"from\":\"@/.pi/agent/\"}",
		"file pi auth.json found\nentry pi anthropic oauth\nentry pi groq api_key\n"
		"file pi oauth.json found\nentry pi xai oauth\n");
}

/* ---- transactions ---- */

#define OPEN(names)                                                                              \
	"{\"op\":\"open\",\"lock\":true,\"wait_ms\":50,\"files\":[{\"tool\":\"pi\",\"path\":\"@" \
	"/" AUTH "\",\"names\":[" names "]}]}"
#define CHANGE(op, name, expect, lane, more)                                          \
	"{\"op\":\"" op "\",\"tool\":\"pi\",\"path\":\"@/" AUTH "\",\"name\":\"" name \
	"\",\"expect\":\"" expect "\",\"lane\":\"" lane "\"," more "}"
#define PUT(name, expect, entry) CHANGE("put", name, expect, "oauth", "\"entry\":" entry)

static void open_auth(void)
{
	tell(OPEN(""));
	expect("file", "tool", "pi", "path", "@/" AUTH, "lock", "held", NULL);
	expect("opened", NULL);
	assert_true(scratch_exists(AUTH ".lock"));
}

static void opening_tells_what_is_in_the_file(void **state)
{
	put_file(AUTH, FILE_A);
	tell(OPEN("\"anthropic\",\"none\",\"groq\""));
	expect("file", "tool", "pi", "path", "@/" AUTH, "state", "found", "lock", "held", NULL);
	JSON_AUTO cJSON *m = hear();
	const cJSON *entry = cJSON_GetObjectItemCaseSensitive(m, "entry");
	assert_string_equal(json_str(m, "name"), "anthropic");
	assert_string_equal(json_str(m, "lane"), "oauth");
	assert_string_equal(json_str(entry, "refresh"), "r1");
	expect("entry", "name", "none", "entry", NULL, "refused", NULL, NULL);
	expect("entry", "name", "groq", "lane", "api_key", NULL);
	expect("opened", NULL);
	assert_true(scratch_exists(AUTH ".lock"));
	hang_up();
	assert_false(scratch_exists(AUTH ".lock"));
	assert_holds(AUTH, FILE_A);
}

/* What cannot be read must not look as if its owner had logged out. */
static void corrupt_is_not_gone(void **state)
{
	put_file(AUTH, "{\"anthropic\":{\"type\":");
	tell(OPEN("\"anthropic\""));
	expect("file", "state", "corrupt", NULL);
	expect("entry", "entry", NULL, "refused", "line 1: the text ends too early", NULL);
	expect("opened", NULL);
	put_file(AUTH, "[]");
	tell(OPEN("\"anthropic\""));
	expect("file", "state", "corrupt", "offset", NULL, NULL);
	expect("entry", "entry", NULL, "refused", "not an object", NULL);
	expect("opened", NULL);
	put_file(AUTH, "{\"anthropic\":{\"type\":\"what\"}}");
	tell(OPEN("\"anthropic\""));
	expect("file", "state", "found", NULL);
	JSON_AUTO cJSON *m = hear();
	assert_non_null(json_str(m, "refused"));
	expect("opened", NULL);
	unlink(AUTH);
	tell(OPEN("\"anthropic\""));
	expect("file", "state", "absent", NULL);
	expect("entry", "entry", NULL, "refused", NULL, NULL);
	expect("opened", NULL);
}

#define OPEN_TWO                                                                               \
	"{\"op\":\"open\",\"lock\":true,\"wait_ms\":20,\"files\":["                            \
	"{\"tool\":\"taskfactory\",\"path\":\"@/.taskfactory/agent/auth.json\",\"names\":[]}," \
	"{\"tool\":\"pi\",\"path\":\"@/" AUTH "\",\"names\":[\"groq\"]}]}"

static void a_busy_lock_leaves_none(void **state)
{
	put_file(AUTH, FILE_A);
	assert_return_code(mkdir(".taskfactory", 0700) | mkdir(".taskfactory/agent", 0700), errno);
	assert_return_code(mkdir(".taskfactory/agent/auth.json.lock", 0700), errno);
	tell(OPEN_TWO);
	expect("file", "tool", "taskfactory", "lock", "busy", NULL);
	expect("file", "tool", "pi", "state", "found", "lock", "none", NULL);
	expect("entry", "name", "groq", NULL);
	expect("opened", NULL);
	assert_false(scratch_exists(AUTH ".lock"));
	assert_return_code(rmdir(".taskfactory/agent/auth.json.lock"), errno);
	put_file(".taskfactory/agent/auth.json.lock", "");
	tell(OPEN_TWO); /* blocked for ever: nobody can lock it, but the others are */
	expect("file", "tool", "taskfactory", "lock", "unavailable", NULL);
	expect("file", "tool", "pi", "lock", "held", NULL);
	expect("entry", "name", "groq", NULL);
	expect("opened", NULL);
	assert_true(scratch_exists(AUTH ".lock"));
}

static void reading_needs_no_lock(void **state)
{
	put_file(AUTH, FILE_A);
	assert_return_code(mkdir(AUTH ".lock", 0700), errno);
	tell("{\"op\":\"open\",\"lock\":false,\"wait_ms\":0,\"files\":[{\"tool\":\"pi\",\"path\":"
	     "\"@/" AUTH
	     "\",\"names\":[\"groq\"]},{\"tool\":\"nosuch\",\"path\":\"/x\",\"names\":[]}]}");
	expect("file", "state", "found", "lock", "none", NULL);
	expect("entry", "name", "groq", NULL);
	expect("file", "state", "unreadable", "reason", "no such tool", NULL);
	expect("opened", NULL);
}

static void a_pair_is_written_and_the_rest_stays(void **state)
{
	put_file(AUTH, FILE_A);
	open_auth();
	tell(PUT("anthropic", "r1", OAUTH("a2", "r2")));
	expect("put", "tool", "pi", "path", "@/" AUTH, "name", "anthropic", "result", "written",
		"reason", NULL, NULL);
	assert_holds(AUTH, "{\"anthropic\":" OAUTH(
				   "a2", "r2") ",\"groq\":{\"type\":\"api_key\",\"key\":\"k1\"}}");
	assert_true(scratch_exists(AUTH ".lock")); /* until the end */
	tell(PUT("anthropic", "r1", OAUTH("a2", "r2")));
	expect("put", "result", "written", NULL); /* a repeated one */
	tell(PUT("xai", "", OAUTH("a3", "r3")));
	expect("put", "result", "written", NULL);
	assert_holds(AUTH, "{\"anthropic\":" OAUTH(
				   "a2", "r2") ",\"groq\":{\"type\":\"api_key\",\"key\":\"k1\"},"
					       "\"xai\":" OAUTH("a3", "r3") "}");
}

static void what_was_overtaken_stays(void **state)
{
	put_file(AUTH, FILE_A);
	open_auth();
	tell(PUT("anthropic", "r0", OAUTH("a2", "r2")));
	expect("put", "result", "overtaken", NULL);
	tell(PUT("anthropic", "", OAUTH("a2", "r2")));
	expect("put", "result", "overtaken", NULL);
	tell(PUT("xai", "r1", OAUTH("a2", "r2")));
	expect("put", "result", "overtaken", "reason", "it is gone", NULL);
	tell(PUT("groq", "k1", OAUTH("a2", "r2")));
	expect("put", "result", "overtaken", NULL);
	tell(CHANGE("drop", "anthropic", "r0", "oauth", "\"backup\":true"));
	expect("put", "result", "overtaken", NULL);
	assert_holds(AUTH, FILE_A);
	/* it is what is in the file now that counts, not what was read at open */
	put_file(AUTH, "{\"anthropic\":" OAUTH("b1", "s1") "}");
	tell(PUT("anthropic", "r1", OAUTH("a2", "r2")));
	expect("put", "result", "overtaken", NULL);
	tell(PUT("anthropic", "s1", OAUTH("a2", "r2")));
	expect("put", "result", "written", NULL);
	assert_int_equal(scratch_count(".pi/agent", ""), 2);
}

static void what_cannot_be_changed_says_why(void **state)
{
	put_file(AUTH, "");
	open_auth();
	tell(PUT("anthropic", "r1", OAUTH("a2", "r2")));
	expect("put", "result", "failed", "reason", "empty", NULL);
	tell("{\"op\":\"put\",\"tool\":\"pi\",\"path\":\"@/other\",\"name\":\"x\",\"expect\":\"\","
	     "\"lane\":\"oauth\",\"entry\":{}}");
	expect("put", "result", "failed", "reason", "this file was not opened", NULL);
	tell("{\"op\":\"put\",\"tool\":\"pi\",\"path\":\"@/" AUTH "\"}");
	expect("error", NULL);
	char *text = scratch_read(AUTH, NULL);
	assert_string_equal(text, "");
	free(text);
	assert_return_code(mkdir(".config", 0700) | mkdir(".config/gh", 0700), errno);
	put_file(".config/gh/hosts.yml", "github.com:\n    oauth_token: ghu_fake\n");
	tell("{\"op\":\"open\",\"lock\":true,\"wait_ms\":0,\"files\":[{\"tool\":\"gh\",\"path\":"
	     "\"@/.config/gh/hosts.yml\",\"names\":[]}]}");
	expect("file", "state", "found", "lock", "none", NULL);
	expect("opened", NULL);
	tell("{\"op\":\"drop\",\"tool\":\"gh\",\"path\":\"@/.config/gh/hosts.yml\",\"name\":\"x\","
	     "\"expect\":\"ghu_fake\",\"lane\":\"oauth\"}");
	expect("put", "result", "failed", "reason", "this file is never written", NULL);
}

static void an_absent_file_is_made_where_its_tool_would(void **state)
{
	open_auth();
	tell(PUT("xai", "r1", OAUTH("a2", "r2")));
	expect("put", "result", "overtaken", NULL);
	assert_false(scratch_exists(AUTH));
	tell(CHANGE("drop", "xai", "", "oauth", "\"backup\":false"));
	expect("put", "result", "written", NULL); /* nothing to do */
	assert_false(scratch_exists(AUTH));
	tell(PUT("xai", "", OAUTH("a2", "r2")));
	expect("put", "result", "written", NULL);
	assert_holds(AUTH, "{\"xai\":" OAUTH("a2", "r2") "}");
}

static void a_secret_is_taken_out_with_one_backup(void **state)
{
	put_file(AUTH, FILE_A);
	open_auth();
	tell(CHANGE("drop", "anthropic", "r1", "oauth", "\"backup\":true"));
	expect("put", "result", "written", NULL);
	assert_holds(AUTH, "{\"groq\":{\"type\":\"api_key\",\"key\":\"k1\"}}");
	tell(CHANGE("drop", "groq", "k1", "api_key", "\"backup\":true"));
	expect("put", "result", "written", NULL);
	assert_holds(AUTH, "{}");
	assert_holds(AUTH ".piauth-backup", FILE_A);
	hang_up();
	start();
	put_file(AUTH, FILE_A);
	open_auth();
	tell(CHANGE("drop", "groq", "k1", "api_key", "\"backup\":true"));
	expect("put", "result", "failed", NULL);
	assert_holds(AUTH, FILE_A);
	tell(CHANGE("drop", "groq", "k1", "api_key", "\"backup\":false"));
	expect("put", "result", "written", NULL);
}

static void a_lost_lock_is_taken_again_to_write(void **state)
{
	put_file(AUTH, FILE_A);
	open_auth();
	assert_return_code(
		rmdir(AUTH ".lock"), errno); /* somebody took it for stale, and is done */
	tell(PUT("anthropic", "r1", OAUTH("a2", "r2")));
	expect("put", "result", "written", NULL);
	assert_false(scratch_exists(AUTH ".lock"));
	assert_return_code(mkdir(AUTH ".lock", 0700), errno); /* and again, and is not done */
	hang_up();
	assert_true(scratch_exists(AUTH ".lock"));
}

static void a_file_opened_without_lock_is_written_under_it(void **state)
{
	char events[4096];
	put_file(AUTH, FILE_A);
	tell("{\"op\":\"open\",\"lock\":false,\"wait_ms\":0,\"files\":[{\"tool\":\"pi\",\"path\":"
	     "\"@/" AUTH "\",\"names\":[]}]}");
	expect("file", "lock", "none", NULL);
	expect("opened", NULL);
	int seen = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	assert_return_code(inotify_add_watch(seen, ".pi/agent", IN_CREATE | IN_DELETE), errno);
	tell(PUT("anthropic", "r1", OAUTH("a2", "r2")));
	expect("put", "result", "written", NULL);
	ssize_t len = read(seen, events, sizeof(events));
	int made = 0, gone = 0;
	for (ssize_t at = 0; at < len;) {
		struct inotify_event e;
		memcpy(&e, events + at, sizeof(e));
		if (strcmp(events + at + sizeof(e), "auth.json.lock") == 0) {
			made += (e.mask & IN_CREATE) != 0;
			gone += (e.mask & IN_DELETE) != 0;
		}
		at += (ssize_t)sizeof(e) + e.len;
	}
	assert_true(made == 1 && gone == 1);
	close(seen);
}

static void locks_are_kept_fresh(void **state)
{
	put_file(AUTH, FILE_A);
	open_auth();
	struct pollfd touched = { .fd = inotify_init1(IN_CLOEXEC), .events = POLLIN };
	assert_return_code(inotify_add_watch(touched.fd, AUTH ".lock", IN_ATTRIB), errno);
	assert_int_equal(poll(&touched, 1, 8000), 1); /* before anybody takes it for stale */
	close(touched.fd);
}

static void what_was_asked_before_the_end_is_done(void **state)
{
	put_file(AUTH, FILE_A);
	tell(OPEN("\"anthropic\"")); /* the answers stay unread */
	tell(PUT("anthropic", "r1", OAUTH("a2", "r2")));
	tell(CHANGE("drop", "groq", "k1", "api_key", "\"backup\":false"));
	hang_up();
	assert_holds(AUTH, "{\"anthropic\":" OAUTH("a2", "r2") "}");
	assert_false(scratch_exists(AUTH ".lock"));
}

static void claude_codes_file_is_written_under_both_locks(void **state)
{
	assert_return_code(mkdir(".claude", 0700), errno);
	put_file(".claude/.credentials.json",
		"{\"claudeAiOauth\":{\"accessToken\":\"a1\","
		"\"refreshToken\":\"r1\",\"expiresAt\":1,"
		"\"scopes\":[\"user:inference\"]},\"mcpOAuth\":{\"y\":1}}");
	tell("{\"op\":\"open\",\"lock\":true,\"wait_ms\":50,\"files\":[{\"tool\":\"claude-code\","
	     "\"path\":\"@/.claude/.credentials.json\",\"names\":[]}]}");
	expect("file", "lock", "held", NULL);
	expect("opened", NULL);
	assert_true(
		scratch_exists(".claude/.oauth_refresh.lock") && scratch_exists(".claude.lock"));
	tell("{\"op\":\"put\",\"tool\":\"claude-code\",\"path\":\"@/.claude/.credentials.json\","
	     "\"name\":\"claudeAiOauth\",\"expect\":\"r1\",\"lane\":\"oauth\",\"entry\":" OAUTH(
		     "a2", "r2") "}");
	expect("put", "result", "written", NULL);
	char *text = scratch_read(".claude/.credentials.json", NULL);
	assert_non_null(strstr(text, "\"scopes\":[\"user:inference\"]"));
	assert_non_null(strstr(text, "\"refreshToken\":\"r2\""));
	assert_non_null(strstr(text, "\"mcpOAuth\":{\"y\":1}"));
	assert_null(strchr(text, '\n'));
	free(text);
	assert_false(scratch_exists(".claude/.storage-write.lock"));
	hang_up();
	assert_int_equal(scratch_count(".claude", ""), 1);
	assert_false(scratch_exists(".claude.lock"));
}

/* ---- watch ---- */

/* Whether the descriptor tells of this name in the directory of the row. */
static bool told(int fd, const cJSON *row)
{
	char events[4096];
	int64_t wd;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	assert_true(json_int(row, "wd", &wd));
	if (poll(&p, 1, 0) <= 0)
		return false;
	ssize_t len = read(fd, events, sizeof(events));
	bool yes = false;
	for (ssize_t at = 0; at < len;) {
		struct inotify_event e;
		memcpy(&e, events + at, sizeof(e));
		yes |= e.wd == wd && e.len &&
		       strcmp(events + at + sizeof(e), json_str(row, "file")) == 0;
		at += (ssize_t)sizeof(e) + e.len;
	}
	return yes;
}

static cJSON *watch(const char *request, int *ret_fd)
{
	tell(request);
	cJSON *m = hear_fd(ret_fd);
	assert_string_equal(m_of(m), "watching");
	assert_return_code(*ret_fd, errno);
	assert_true(fcntl(*ret_fd, F_GETFL) & O_NONBLOCK);
	return m;
}

static void append(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, " ", 1), 1);
	close(fd);
}

static void every_way_to_change_a_file_is_told(void **state)
{
	int fd;
	put_file(AUTH, FILE_A);
	JSON_AUTO cJSON *m = watch(
		"{\"op\":\"watch\",\"files\":[{\"tool\":\"pi\",\"path\":\"@/" AUTH "\"}]}", &fd);
	const cJSON *row = json_at(m, "/watches/0");
	assert_null(json_at(m, "/watches/1"));
	assert_string_equal(json_str(row, "file"), "auth.json");
	assert_string_equal(json_str(row, "path") + strlen(home), "/" AUTH);
	hang_up(); /* the descriptor outlives who made it */
	char *text = scratch_read(AUTH, NULL);
	free(text);
	assert_false(told(fd, row)); /* reading is no change */
	append(AUTH);
	assert_true(told(fd, row));
	put_file(".pi/agent/new", FILE_A);
	assert_false(told(fd, row));
	assert_return_code(rename(".pi/agent/new", AUTH), errno);
	assert_true(told(fd, row));
	append(AUTH); /* the new one */
	assert_true(told(fd, row));
	unlink(AUTH);
	assert_true(told(fd, row));
	assert_return_code(symlink("elsewhere", AUTH), errno);
	assert_true(told(fd, row));
	close(fd);
}

static void each_link_on_the_way_is_watched(void **state)
{
	int fd;
	assert_return_code(mkdir("a", 0700) | mkdir("b", 0700), errno);
	put_file("b/real", FILE_A);
	assert_return_code(symlink("../b/real", "a/middle"), errno);
	char target[PATH_MAX + 16];
	snprintf(target, sizeof(target), "%s/a/middle", home);
	assert_return_code(symlink(target, AUTH), errno);
	JSON_AUTO cJSON *m = watch(
		"{\"op\":\"watch\",\"files\":[{\"tool\":\"pi\",\"path\":\"@/" AUTH "\"}]}", &fd);
	assert_int_equal(cJSON_GetArraySize(json_at(m, "/watches")), 3);
	append("b/real");
	assert_true(told(fd, json_at(m, "/watches/2")));
	assert_return_code(unlink("a/middle"), errno);
	assert_true(told(fd, json_at(m, "/watches/1")));
	assert_return_code(unlink(AUTH), errno);
	assert_true(told(fd, json_at(m, "/watches/0")));
	close(fd);
}

static void a_missing_directory_is_awaited(void **state)
{
	int fd;
	JSON_AUTO cJSON *m = watch("{\"op\":\"watch\",\"files\":[{\"tool\":\"codex\",\"path\":"
				   "\"@/.codex/sub/auth.json\"}]}",
		&fd);
	const cJSON *row = json_at(m, "/watches/0");
	assert_string_equal(json_str(row, "file"), ".codex");
	assert_return_code(mkdir("other", 0700), errno);
	assert_false(told(fd, row));
	assert_return_code(mkdir(".codex", 0700), errno);
	assert_true(told(fd, row));
	close(fd);
}

/* ---- the conversation ---- */

static void nonsense_is_answered_and_the_conversation_goes_on(void **state)
{
	static const char *const bad[] = { "{}", "{\"op\":\"what\"}", "[]", "no json",
		"{\"op\":\"open\"}", "{\"op\":\"open\",\"files\":[{}]}",
		"{\"op\":\"open\",\"files\":[{\"tool\":\"pi\",\"path\":\"relative\"}]}",
		"{\"op\":\"watch\",\"files\":[{\"path\":\"relative\"}]}",
		"{\"op\":\"put\",\"entry\":1}" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		tell(bad[i]);
		expect("error", NULL);
	}
	open_auth();
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(everything_there_is_is_told),
		T(every_path_is_named_before_it_is_touched),
		T(the_first_place_of_a_tool_counts),
		T(a_file_has_a_thousand_entries_at_most),
		T(a_place_that_makes_no_sense_is_reported),
		T(examining_tells_modes_and_locks),
		T(a_named_file_is_read_as_what_it_is),
		T(a_named_directory_is_searched_by_name),
		T(opening_tells_what_is_in_the_file),
		T(corrupt_is_not_gone),
		T(a_busy_lock_leaves_none),
		T(reading_needs_no_lock),
		T(a_pair_is_written_and_the_rest_stays),
		T(what_was_overtaken_stays),
		T(what_cannot_be_changed_says_why),
		T(an_absent_file_is_made_where_its_tool_would),
		T(a_secret_is_taken_out_with_one_backup),
		T(a_lost_lock_is_taken_again_to_write),
		T(a_file_opened_without_lock_is_written_under_it),
		T(locks_are_kept_fresh),
		T(what_was_asked_before_the_end_is_done),
		T(claude_codes_file_is_written_under_both_locks),
		T(every_way_to_change_a_file_is_told),
		T(each_link_on_the_way_is_watched),
		T(a_missing_directory_is_awaited),
		T(nonsense_is_answered_and_the_conversation_goes_on),
	};
	return cmocka_run_group_tests_name("import_serve", tests, NULL, NULL);
}
