/*
 * wrap_worker - preloaded into a holder: its worker runs under the command that PROBE_WRAP names.
 *
 *	PROBE_WRAP='valgrind --quiet' PROBE_PROGRAM=/path/of/piauth LD_PRELOAD=wrap_worker.so piauth mount ...
 *
 * The holder starts its own program, whatever it runs under; and valgrind 3.19 does not know pidfd_open, which the
 * holder cannot do without.
 */
#define _GNU_SOURCE 1 /* built by itself, not by meson */

#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 64

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
	const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	static char wrap[1000];
	char *words[WORDS_MAX + 1] = { 0 }, *rest = wrap;
	const char *command = getenv("PROBE_WRAP");
	char *program = getenv("PROBE_PROGRAM");
	size_t n = 0;

	(void)path;
	(void)envp;
	if (!command || !program || strlen(command) >= sizeof(wrap))
		abort();
	memcpy(wrap, command, strlen(command) + 1);
	while (rest && n < WORDS_MAX)
		words[n++] = strsep(&rest, " ");
	if (n < WORDS_MAX)
		words[n++] = program;
	for (size_t i = 1; argv[i] && n < WORDS_MAX; i++)
		words[n++] = argv[i];
	unsetenv("LD_PRELOAD");
	return posix_spawnp(pid, words[0], actions, attr, words, environ);
}
