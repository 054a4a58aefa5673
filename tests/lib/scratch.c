#include "scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char scratch[PATH_MAX];

const char *scratch_new(void)
{
	const char *dir = getenv("TMPDIR");

	/* Memory, where there is some: tests of fsync order do thousands of them. */
	if (!dir || !*dir)
		dir = access("/dev/shm", W_OK | X_OK) ? "/tmp" : "/dev/shm";
	snprintf(scratch, sizeof(scratch), "%s/piauth-test-XXXXXX", dir);
	assert_non_null(mkdtemp(scratch));
	assert_return_code(chdir(scratch), 0);
	return scratch;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

void scratch_remove(const char *path)
{
	if (scratch_exists(path))
		assert_return_code(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void scratch_free(void)
{
	assert_return_code(chdir("/"), 0);
	scratch_remove(scratch);
}

bool scratch_exists(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

void scratch_write(const char *path, mode_t mode, const void *bytes, size_t len)
{
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_return_code(fd, 0);
	assert_int_equal(write(fd, bytes, len), len);
	assert_return_code(fchmod(fd, mode), 0);
	close(fd);
}

char *scratch_read(const char *path, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *bytes;

	if (fd < 0)
		fail_msg("cannot open %s", path);
	assert_return_code(fstat(fd, &st), 0);
	bytes = malloc((size_t)st.st_size + 1);
	assert_non_null(bytes);
	assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
	bytes[st.st_size] = '\0';
	close(fd);
	if (ret_len)
		*ret_len = (size_t)st.st_size;
	return bytes;
}

void scratch_copy(const char *from, const char *to)
{
	char source[PATH_MAX];
	char target[PATH_MAX];
	struct dirent *entry;
	struct stat st;
	size_t len;
	char *bytes;
	DIR *dir;

	assert_return_code(stat(from, &st), 0);
	if (!S_ISDIR(st.st_mode)) {
		const char *slash = strrchr(to, '/');

		bytes = scratch_read(from, &len);
		scratch_write(
			to, strcmp(slash ? slash + 1 : to, "store.key") ? 0600 : 0400, bytes, len);
		free(bytes);
		return;
	}
	assert_return_code(mkdir(to, 0700), 0);
	dir = opendir(from);
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		assert_in_range(snprintf(source, sizeof(source), "%s/%s", from, entry->d_name), 1,
			sizeof(source) - 1);
		assert_in_range(snprintf(target, sizeof(target), "%s/%s", to, entry->d_name), 1,
			sizeof(target) - 1);
		scratch_copy(source, target);
	}
	closedir(dir);
}

unsigned scratch_count(const char *path, const char *prefix)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
			!strncmp(entry->d_name, prefix, strlen(prefix)))
			n++;
	closedir(dir);
	return n;
}

char *scratch_vector(const char *file, const char *name)
{
	char *text = scratch_read(file, NULL);
	const size_t len = strlen(name);
	char *value = NULL;

	for (char *line = text; line && !value; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, name, len) && !strncmp(line + len, ": ", 2))
			value = strndup(line + len + 2, strcspn(line + len + 2, "\n"));
	}
	if (!value)
		fail_msg("%s has no %s", file, name);
	free(text);
	return value;
}

unsigned char *scratch_vector_hex(const char *file, const char *name, size_t *ret_len)
{
	char *text = scratch_vector(file, name);
	size_t len = strlen(text) / 2;
	unsigned char *bytes = malloc(len + 1);

	assert_non_null(bytes);
	assert_int_equal(strlen(text), 2 * len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(sscanf(text + 2 * i, "%2hhx", &bytes[i]), 1);
	free(text);
	*ret_len = len;
	return bytes;
}
