#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "store/import/lock.h"
#include "tests/lib/scratch.h"

#define NOBODY 65534

static struct lock_set set;
static char base[PATH_MAX];

static int setup(void **state)
{
	alarm(60);
	snprintf(base, sizeof(base), "%s", scratch_new());
	assert_return_code(chmod(base, 0755), errno);
	set = (struct lock_set){ 0 };
	return 0;
}

static int teardown(void **state)
{
	lock_drop(&set, 0);
	scratch_free();
	return 0;
}

static int64_t ms(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static enum lock_result take(
	enum import_lock kind, const char *file, int64_t wait_ms, struct pa_err *err)
{
	return lock_take(&set, kind, file, ms(CLOCK_BOOTTIME) + wait_ms, err);
}

static void set_age(const char *path, int64_t age_s)
{
	struct timespec t[2] = { { .tv_sec = ms(CLOCK_REALTIME) / 1000 - age_s }, { 0 } };
	t[1] = t[0];
	assert_return_code(utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW), errno);
}

static int64_t mtime_of(const char *path)
{
	struct stat st;
	assert_return_code(lstat(path, &st), errno);
	return (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
}

static void assert_path(size_t i, const char *name)
{
	char path[PATH_MAX + 64];
	snprintf(path, sizeof(path), "%s/%s", base, name);
	assert_true(i < set.n);
	assert_string_equal(set.v[i].path, path);
}

static void make(const char *path)
{
	assert_return_code(mkdir(path, 0755), errno);
}

static void a_lock_is_an_empty_directory(void **state)
{
	scratch_write("f", 0600, "{}", 2);
	int64_t before = ms(CLOCK_REALTIME);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "f", 0, NULL), LOCK_HELD);
	assert_int_equal(set.n, 1);
	assert_path(0, "f.lock");
	assert_int_equal(scratch_count("f.lock", ""), 0);
	assert_int_equal(mtime_of("f.lock"), set.v[0].mtime_ms);
	assert_in_range(set.v[0].mtime_ms, before - 50, ms(CLOCK_REALTIME));
	assert_true(lock_touch(&set));
	lock_drop(&set, 0);
	assert_int_equal(set.n, 0);
	assert_false(scratch_exists("f.lock"));
	assert_int_equal(take(IMPORT_LOCK_NONE, "f", 0, NULL), LOCK_NONE);
	assert_int_equal(lock_take_write(&set, IMPORT_LOCK_PROPER, "f", 0, NULL), LOCK_HELD);
	assert_int_equal(set.n, 0);
	assert_int_equal(scratch_count(".", ""), 1);
}

static void a_symbolic_link_has_two_locks_in_byte_order(void **state)
{
	make("z");
	make("b");
	scratch_write("z/real", 0600, "{}", 2);
	scratch_write("b/real", 0600, "{}", 2);
	assert_return_code(symlink("z/real", "m") | symlink("b/real", "n"), errno);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "m", 0, NULL), LOCK_HELD);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "n", 0, NULL), LOCK_HELD);
	assert_int_equal(set.n, 4);
	assert_path(0, "m.lock");
	assert_path(1, "z/real.lock");
	assert_path(2, "b/real.lock");
	assert_path(3, "n.lock");
}

/* Two spellings of one lock: whoever took both would wait for himself. */
static void a_linked_directory_has_one_lock(void **state)
{
	make("real");
	scratch_write("real/f", 0600, "{}", 2);
	assert_return_code(symlink("real", "dir") | symlink("f", "real/link"), errno);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "dir/f", 0, NULL), LOCK_HELD);
	assert_int_equal(set.n, 1);
	assert_path(0, "real/f.lock");
	/* nor does another file of the same lock */
	assert_int_equal(take(IMPORT_LOCK_PROPER, "real/f", 0, NULL), LOCK_HELD);
	assert_int_equal(set.n, 1);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "dir/link", 0, NULL), LOCK_HELD);
	assert_int_equal(set.n, 2);
	assert_path(1, "real/link.lock");
}

static void a_file_that_is_not_there_can_be_locked(void **state)
{
	struct pa_err err = { 0 };
	assert_int_equal(take(IMPORT_LOCK_PROPER, "f", 0, NULL), LOCK_HELD);
	assert_path(0, "f.lock");
	assert_int_equal(take(IMPORT_LOCK_PROPER, "no-dir/f", 0, &err), LOCK_UNAVAILABLE);
	assert_int_equal(err.errnum, ENOENT);
	assert_int_equal(set.n, 1);
}

static void somebody_elses_lock_is_waited_for_until_the_deadline(void **state)
{
	struct pa_err err = { 0 };
	scratch_write("z", 0600, "{}", 2);
	assert_return_code(symlink("z", "f"), errno);
	make("z.lock");
	int64_t start = ms(CLOCK_BOOTTIME);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "f", 30, &err), LOCK_BUSY);
	assert_true(ms(CLOCK_BOOTTIME) - start >= 30);
	assert_int_equal(err.code, PA_FILE_LOCKED);
	assert_non_null(strstr(err.detail, "z.lock"));
	assert_int_equal(set.n, 0); /* the first of the two was given back */
	assert_false(scratch_exists("f.lock"));
	assert_true(scratch_exists("z.lock"));
}

static void a_lock_that_is_released_is_taken(void **state)
{
	int status;
	make("f.lock");
	pid_t pid = fork();
	if (pid == 0) {
		poll(NULL, 0,
			20); /* most likely the other one waits by then; either way is right */
		_exit(rmdir("f.lock") < 0);
	}
	assert_int_equal(take(IMPORT_LOCK_PROPER, "f", 20000, NULL), LOCK_HELD);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void locks_that_are_held_stay_fresh_while_another_is_awaited(void **state)
{
	assert_int_equal(take(IMPORT_LOCK_PROPER, "a", 0, NULL), LOCK_HELD);
	set_age("a.lock", 9);
	set.v[0].mtime_ms = mtime_of("a.lock");
	make("b.lock");
	assert_int_equal(take(IMPORT_LOCK_PROPER, "b", 20, NULL), LOCK_BUSY);
	assert_true(ms(CLOCK_REALTIME) - mtime_of("a.lock") < 5000);
	assert_true(lock_touch(&set));
}

static void only_what_is_stale_is_stolen(void **state)
{
	make("f.lock");
	set_age("f.lock", LOCK_STALE_MS / 1000 - 3);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "f", 1, NULL), LOCK_BUSY);
	set_age("f.lock", LOCK_STALE_MS / 1000 + 2);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "f", 1, NULL), LOCK_HELD);
	assert_true(ms(CLOCK_REALTIME) - mtime_of("f.lock") < 5000);
	lock_drop(&set, 0);
	make("f.lock");
	set_age("f.lock", -1); /* as proper-lockfile leaves its first one */
	assert_int_equal(take(IMPORT_LOCK_PROPER, "f", 1, NULL), LOCK_BUSY);
}

static void what_blocks_for_ever_is_reported_and_left_alone(void **state)
{
	struct pa_err err = { 0 };
	scratch_write("f.lock", 0600, "x", 1);
	set_age("f.lock", 1000);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "f", 10000, &err), LOCK_UNAVAILABLE);
	assert_int_equal(err.errnum, ENOTDIR);
	assert_true(scratch_exists("f.lock"));
	assert_return_code(symlink("nowhere", "l.lock"), errno);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "l", 10000, &err), LOCK_UNAVAILABLE);
	assert_true(scratch_exists("l.lock"));
	make("g.lock");
	scratch_write("g.lock/pid", 0600, "1", 1);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "g", 1, &err), LOCK_BUSY); /* not yet stale */
	set_age("g.lock", 1000);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "g", 10000, &err), LOCK_UNAVAILABLE);
	assert_int_equal(err.errnum, ENOTEMPTY);
	assert_true(scratch_exists("g.lock/pid"));
	assert_int_equal(set.n, 0);
}

static void a_stolen_lock_is_noticed_and_not_given_back(void **state)
{
	assert_int_equal(take(IMPORT_LOCK_PROPER, "stolen", 0, NULL), LOCK_HELD);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "gone", 0, NULL), LOCK_HELD);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "kept", 0, NULL), LOCK_HELD);
	assert_return_code(rmdir("stolen.lock"), errno);
	make("stolen.lock");
	set_age("stolen.lock", -1);
	assert_return_code(rmdir("gone.lock"), errno);
	assert_false(lock_touch(&set));
	assert_null(set.v[0].path);
	assert_null(set.v[1].path);
	assert_path(2, "kept.lock");
	assert_true(lock_touch(&set)); /* it is said once */
	int64_t theirs = mtime_of("stolen.lock");
	lock_drop(&set, 0);
	assert_int_equal(mtime_of("stolen.lock"), theirs);
	assert_false(scratch_exists("kept.lock"));
	/* also when it was stolen since the last touch */
	assert_int_equal(take(IMPORT_LOCK_PROPER, "late", 0, NULL), LOCK_HELD);
	set_age("late.lock", 1);
	lock_drop(&set, 0);
	assert_true(scratch_exists("late.lock"));
}

static void touching_makes_it_new(void **state)
{
	assert_int_equal(take(IMPORT_LOCK_PROPER, "f", 0, NULL), LOCK_HELD);
	set_age("f.lock", 9);
	set.v[0].mtime_ms = mtime_of("f.lock");
	assert_true(lock_touch(&set));
	assert_true(ms(CLOCK_REALTIME) - mtime_of("f.lock") < 5000);
	assert_int_equal(set.v[0].mtime_ms, mtime_of("f.lock"));
}

static void locks_are_dropped_from_the_end(void **state)
{
	assert_int_equal(take(IMPORT_LOCK_PROPER, "a", 0, NULL), LOCK_HELD);
	assert_int_equal(take(IMPORT_LOCK_PROPER, "b", 0, NULL), LOCK_HELD);
	lock_drop(&set, 1);
	assert_true(scratch_exists("a.lock"));
	assert_false(scratch_exists("b.lock"));
	assert_int_equal(set.n, 1);
}

static void claude_code_has_locks_of_its_own(void **state)
{
	make("config");
	assert_return_code(symlink("config", ".claude"), errno);
	assert_int_equal(take(IMPORT_LOCK_CLAUDE, ".claude/.credentials.json", 0, NULL), LOCK_HELD);
	assert_int_equal(set.n, 2);
	assert_path(0, "config/.oauth_refresh.lock");
	assert_path(1, "config.lock");
	assert_int_equal(
		lock_take_write(&set, IMPORT_LOCK_CLAUDE, ".claude/.credentials.json", 0, NULL),
		LOCK_HELD);
	assert_path(2, "config/.storage-write.lock");
	lock_drop(&set, 2);
	assert_false(scratch_exists("config/.storage-write.lock"));
	assert_true(scratch_exists("config/.oauth_refresh.lock"));
	lock_drop(&set, 0);
	assert_int_equal(scratch_count("config", ""), 0);
	assert_false(scratch_exists("config.lock"));
	make("config.lock");
	assert_int_equal(take(IMPORT_LOCK_CLAUDE, ".claude/.credentials.json", 1, NULL), LOCK_BUSY);
	assert_false(scratch_exists("config/.oauth_refresh.lock"));
}

static void no_permission_is_unavailable(void **state)
{
	struct pa_err err = { 0 };
	if (geteuid() != 0)
		skip();
	assert_return_code(seteuid(NOBODY), errno);
	enum lock_result r = take(IMPORT_LOCK_PROPER, "f", 10000, &err);
	assert_return_code(seteuid(0), errno);
	assert_int_equal(r, LOCK_UNAVAILABLE);
	assert_int_equal(err.errnum, EACCES);
}

static void a_read_only_directory_is_unavailable(void **state)
{
	int status;
	make("ro");
	pid_t pid = fork();
	if (pid == 0) {
		struct pa_err err = { 0 };
		if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
			mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
			mount("ro", "ro", "none", MS_BIND, NULL) < 0 ||
			mount("none", "ro", "none", MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
			_exit(77);
		_exit(take(IMPORT_LOCK_PROPER, "ro/f", 10000, &err) != LOCK_UNAVAILABLE ||
			err.errnum != EROFS);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void assert_looks(enum import_lock kind, const char *file, const char *state, int64_t age_s)
{
	char path[PATH_MAX];
	int64_t age = -1;
	assert_string_equal(lock_look(kind, file, &age, path), state);
	assert_in_range(age, age_s, age_s + 5);
	assert_true((*path == '\0') == (strcmp(state, "free") == 0));
	assert_true(*path == '\0' || scratch_exists(path));
}

static void looking_changes_nothing(void **state)
{
	assert_looks(IMPORT_LOCK_PROPER, "f", "free", 0);
	assert_looks(IMPORT_LOCK_PROPER, "no-dir/f", "free", 0);
	assert_looks(IMPORT_LOCK_NONE, "f", "free", 0);
	make("f.lock");
	assert_looks(IMPORT_LOCK_PROPER, "f", "held", 0);
	assert_looks(IMPORT_LOCK_NONE, "f", "free", 0);
	set_age("f.lock", 100);
	assert_looks(IMPORT_LOCK_PROPER, "f", "stale", 100);
	scratch_write("f.lock/x", 0600, "", 0);
	assert_looks(IMPORT_LOCK_PROPER, "f", "not_empty", 0);
	scratch_write("z.lock", 0600, "", 0);
	assert_looks(IMPORT_LOCK_PROPER, "z", "file", 0);
	/* the worse of two */
	scratch_write("z", 0600, "{}", 2);
	assert_return_code(symlink("z", "a"), errno);
	make("a.lock");
	assert_looks(IMPORT_LOCK_PROPER, "a", "file", 0);
	make("c");
	make("c/.storage-write.lock");
	assert_looks(IMPORT_LOCK_CLAUDE, "c/x", "held", 0);
	assert_int_equal(scratch_count(".", ""), 6);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_lock_is_an_empty_directory),
		T(a_symbolic_link_has_two_locks_in_byte_order),
		T(a_linked_directory_has_one_lock),
		T(a_file_that_is_not_there_can_be_locked),
		T(somebody_elses_lock_is_waited_for_until_the_deadline),
		T(a_lock_that_is_released_is_taken),
		T(locks_that_are_held_stay_fresh_while_another_is_awaited),
		T(only_what_is_stale_is_stolen),
		T(what_blocks_for_ever_is_reported_and_left_alone),
		T(a_stolen_lock_is_noticed_and_not_given_back),
		T(touching_makes_it_new),
		T(locks_are_dropped_from_the_end),
		T(claude_code_has_locks_of_its_own),
		T(no_permission_is_unavailable),
		T(a_read_only_directory_is_unavailable),
		T(looking_changes_nothing),
	};
	return cmocka_run_group_tests_name("import_lock", tests, NULL, NULL);
}
