/* A full disk, on a small file system of its own; skipped where none can be mounted. */
#include "tests/unit/broker_fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static char mounted[64]; /* where it is */

static void fill(void)
{
	char path[128], block[4096];
	size_t written = 0;
	ssize_t n;
	int fd;

	memset(block, 'f', sizeof(block));
	snprintf(path, sizeof(path), "%s/filler", mounted);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	while ((n = write(fd, block, sizeof(block))) > 0)
		written += (size_t)n;
	assert_int_equal(errno, ENOSPC);
	assert_true(written > 0);
	close(fd);
}

static void empty(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/filler", mounted);
	assert_return_code(unlink(path), 0);
}

static int setup(void **state)
{
	*state = fixture_new(mounted, NULL, true);
	return 0;
}

static void nothing_new_fits(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	fixture_key(f, p, "old");
	fill();
	assert_int_equal(fixture_write(f, p, LANE_API_KEY, "new"), -ENOSPC);
	assert_int_equal(fixture_error()->code, PA_STORE_FULL);
	assert_key(f, p, "old");
	assert_status(f, p, "/state", "valid");
	assert_status(f, p, "/last_error/diagnostic_code", "store.full");
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	assert_key(f, p, "old");
	empty();
	fixture_key(f, p, "new");
	assert_key(f, p, "new");
	assert_status(f, p, "/last_error", NULL);
}

/* Logging out must work then, too: a record that is not there says it as well. */
static void a_logout_fits_always(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota"), *work = fixture_profile(f, "rota@work");
	uint64_t generation, id = profile_id(work);

	fixture_key(f, p, "sk");
	fixture_key(f, p, "sk");
	fixture_key(f, work, "sk-work");
	generation = p->facts.generation;
	fill();
	/* One lane only is a change of the record, and there is no room for it. */
	assert_int_equal(fixture_forget(f, p, LANE_API_KEY), -ENOSPC);
	assert_key(f, p, "sk");
	assert_int_equal(fixture_forget(f, p, LANE_NONE), 0);
	assert_no_key(f, p, PA_NO_KEY);
	assert_int_equal(p->facts.generation, generation + 1);
	assert_null(fixture_record(f, "rota"));
	assert_int_equal(fixture_forget(f, work, LANE_NONE), 0);
	assert_no_key(f, work, PA_NO_KEY);
	assert_ptr_equal(broker_by_id(f->b, id), work); /* it was not removed, only logged out */
	empty();
	/* Generations go on from there. */
	fixture_key(f, p, "again");
	assert_int_equal(p->facts.generation, generation + 2);
	fixture_restart(f);
	assert_key(f, fixture_profile(f, "rota"), "again");
}

static void an_answer_waits_for_room(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct reader rd = { 0 };

	fixture_login(f, p, 0, NULL);
	token_server_next(f->server, (struct token_reply){ .hold = true });
	reader_start(f, &rd, p, BROKER_KEY);
	fixture_requests(f, 1);
	fill();
	token_server_release(f->server);
	assert_int_equal(reader_await(f, &rd), 0);
	assert_string_equal(rd.value, CANARY "-at-1");
	assert_status(f, p, "/state", "unsaved");
	assert_status(f, p, "/last_error/diagnostic_code", "store.full");
	/* The journal needs no room: it is written in place. But no token is spent before the last is safe. */
	fixture_advance(f, HOUR);
	assert_no_key(f, p, PA_EXPIRED);
	assert_int_equal(token_server_requests(f->server), 1);
	fixture_settle(f);
	empty();
	fixture_advance(f, 1000);
	fixture_settle(f);
	assert_key(f, p, CANARY "-at-2");
	assert_status(f, p, "/state", "valid");
	assert_status(f, p, "/last_error", NULL);
	fixture_restart(f);
	assert_key(f, fixture_profile(f, "rota"), CANARY "-at-2");
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* In a mount namespace of its own, so that nothing is left; without root also a user namespace. */
static bool mount_small(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	char map[64];

	if (unshare(CLONE_NEWNS) != 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
			return false;
		snprintf(map, sizeof(map), "0 %u 1", uid);
		if (!write_file("/proc/self/uid_map", map) ||
			!write_file("/proc/self/setgroups", "deny"))
			return false;
		snprintf(map, sizeof(map), "0 %u 1", gid);
		if (!write_file("/proc/self/gid_map", map))
			return false;
	}
	return mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", mounted, "tmpfs", MS_NOSUID | MS_NODEV, "size=512k,mode=0700") == 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_new_fits, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_logout_fits_always, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(an_answer_waits_for_room, setup, fixture_teardown),
	};
	int r;

	snprintf(mounted, sizeof(mounted), "/tmp/piauth-full-XXXXXX");
	if (!mkdtemp(mounted)) {
		perror(mounted);
		return 1;
	}
	if (!mount_small()) {
		rmdir(mounted);
		puts("1..0 # SKIP no file system can be mounted here");
		return 0;
	}
	fixture_init();
	r = cmocka_run_group_tests(tests, NULL, NULL);
	umount2(mounted, MNT_DETACH);
	rmdir(mounted);
	return r;
}
