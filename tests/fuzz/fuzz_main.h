/*
 * fuzz_main - what makes fuzz_<what>.c both a libFuzzer target (clang -fsanitize=fuzzer) and, with
 * -DFUZZ_REPLAY, a program that runs the files and directories of files given to it, once each: the corpus
 * as an ordinary test under any compiler. Replaying nothing is a failure.
 *
 * A new target: define fuzz_set_up and LLVMFuzzerTestOneInput, include this file last, add the name to
 * meson.build here and at least one file to corpus/<what>/. What must hold is said with fuzz_check, also in
 * builds without assertions.
 */
#ifndef PIAUTH_FUZZ_MAIN_H
#define PIAUTH_FUZZ_MAIN_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define fuzz_check(what) ((what) ? (void)0 : fuzz_broken(#what, __FILE__, __LINE__))

static inline void fuzz_broken(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

/* Once, before the first input. */
static void fuzz_set_up(void);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	fuzz_set_up();
	return 0;
}

#ifdef FUZZ_REPLAY
/* The buffer is as long as the input, so that a sanitizer sees the first byte read beyond it. */
static void fuzz_replay_file(const char *path, size_t size)
{
	FILE *file = fopen(path, "rbe");
	uint8_t *data = malloc(size ? size : 1);

	if (!file || !data || fread(data, 1, size, file) != size) {
		perror(path);
		exit(1);
	}
	fclose(file);
	fprintf(stderr, "%s\n", path); /* the last line names the input that broke it */
	LLVMFuzzerTestOneInput(data, size);
	free(data);
}

static int fuzz_replay(const char *path)
{
	struct stat st;
	struct dirent *entry;
	char inner[4096];
	int count = 0;

	if (stat(path, &st) < 0) {
		perror(path);
		exit(1);
	}
	if (!S_ISDIR(st.st_mode)) {
		fuzz_replay_file(path, (size_t)st.st_size);
		return 1;
	}
	DIR *dir = opendir(path);
	if (!dir) {
		perror(path);
		exit(1);
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name);
		count += fuzz_replay(inner);
	}
	closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	int count = 0;

	fuzz_set_up();
	for (int i = 1; i < argc; i++)
		count += fuzz_replay(argv[i]);
	printf("%d inputs\n", count);
	return count ? 0 : 1;
}
#endif

#endif
