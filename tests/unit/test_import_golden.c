/*
 * One directory of tests/import per tool and version: home/ is what its owner's home looks like, env (may be
 * missing) holds VAR=value lines in which @HOME@ is that home, expected.json what the scan has to report:
 * {"files":[...],"entries":[...]}, messages as they are sent, less those about files that are absent.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/import/import.h"
#include "store/secret.h"
#include "tests/lib/scratch.h"

#define CASES TEST_SOURCE_DIR "/import"

static char home[PATH_MAX];

/* The text with every `from` replaced; malloc'ed. */
static char *replace_all(const char *text, const char *from, const char *to)
{
	size_t size = 1, used = 0;
	for (const char *p = text; *p; p++)
		size += 1 + (strncmp(p, from, strlen(from)) == 0 ? strlen(to) : 0);
	char *out = malloc(size);
	assert_non_null(out);
	while (*text) {
		bool here = strncmp(text, from, strlen(from)) == 0;
		const char *piece = here ? to : text;
		size_t len = here ? strlen(to) : 1;
		memcpy(out + used, piece, len);
		used += len;
		text += here ? strlen(from) : 1;
	}
	out[used] = '\0';
	return out;
}

/* arg: the report. */
static int collect(void *arg, const cJSON *message, struct pa_err *err)
{
	const char *m = json_str(message, "m"), *state = json_str(message, "state");
	const char *list = strcmp(m, "file") == 0 ? "files" : "entries";
	if (strcmp(m, "looking") == 0 || (state && strcmp(state, "absent") == 0))
		return 0;
	cJSON *copy = cJSON_Duplicate(message, true);
	cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(arg, list), copy);
	return 0;
}

/* In a process of its own, because of the environment. */
static void scan_to(const char *dir, const char *to)
{
	char path[PATH_MAX + 256];
	snprintf(path, sizeof(path), "%s/env", dir);
	char *env = scratch_exists(path) ? scratch_read(path, NULL) : strdup("");
	char *with_home = replace_all(env, "@HOME@", home);
	clearenv();
	setenv("HOME", home, 1);
	char *rest;
	for (char *line = strtok_r(with_home, "\n", &rest); line;
		line = strtok_r(NULL, "\n", &rest)) {
		char *equals = strchr(line, '=');
		assert_non_null(equals);
		*equals = '\0';
		setenv(line, equals + 1, 1);
	}
	cJSON *report = cJSON_CreateObject();
	cJSON_AddArrayToObject(report, "files");
	cJSON_AddArrayToObject(report, "entries");
	cJSON *request = cJSON_CreateObject();
	const struct import_report sink = { collect, report };
	struct pa_err err = { 0 };
	if (import_scan(home, request, &sink, &err) < 0)
		fail_msg("%s: %s", err.where, err.detail);
	char *text = json_pretty(report);
	char *shown = replace_all(text, home, "@HOME@");
	scratch_write(to, 0600, shown, strlen(shown));
	wipe_free(text);
	free(shown);
	free(with_home);
	free(env);
	cJSON_Delete(report);
	cJSON_Delete(request);
}

static void one_case(void **state)
{
	char path[PATH_MAX + 256];
	int status;
	const char *dir = *state;
	snprintf(home, sizeof(home), "%s/home", scratch_new());
	snprintf(path, sizeof(path), "%s/home", dir);
	scratch_copy(path, home);
	pid_t pid = fork();
	if (pid == 0) {
		scan_to(dir, "report");
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	char *report = scratch_read("report", NULL);
	snprintf(path, sizeof(path), "%s/expected.json", dir);
	char *expected = scratch_exists(path) ? scratch_read(path, NULL) : strdup("{}");
	JSON_AUTO cJSON *is = NULL;
	JSON_AUTO cJSON *want = NULL;
	struct pa_err err = { 0 };
	if (json_parse(expected, strlen(expected), PA_CONFIG, &want, NULL, &err) < 0)
		fail_msg("%s: %s", path, err.detail);
	assert_int_equal(json_parse(report, strlen(report), PA_CONFIG, &is, NULL, NULL), 0);
	char *is_text = json_pretty(is), *want_text = json_pretty(want);
	bool same = cJSON_Compare(is, want, true);
	if (!same)
		fprintf(stderr, "%s\n--- expected\n%s\n--- is\n%s\n", path, want_text, is_text);
	wipe_free(is_text);
	wipe_free(want_text);
	free(report);
	free(expected);
	scratch_free();
	assert_true(same);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *d)
{
	return d->d_name[0] != '.' && d->d_type == DT_DIR;
}

int main(void)
{
	struct dirent **names;
	json_init();
	int n = scandir(CASES, &names, visible, by_name);
	if (n <= 0) {
		fprintf(stderr, "no cases in %s\n", CASES);
		return 1;
	}
	struct CMUnitTest *tests = calloc((size_t)n, sizeof(*tests));
	for (int i = 0; i < n; i++) {
		char *path;
		if (asprintf(&path, "%s/%s", CASES, names[i]->d_name) < 0)
			return 1;
		tests[i] = (struct CMUnitTest){
			.name = names[i]->d_name, .test_func = one_case, .initial_state = path
		};
	}
	int failed = _cmocka_run_group_tests("import_golden", tests, (size_t)n, NULL, NULL);
	for (int i = 0; i < n; i++) {
		free(tests[i].initial_state);
		free(names[i]);
	}
	free(tests);
	free(names);
	return failed;
}
