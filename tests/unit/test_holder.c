/* holder: workers that die, hang, stop, end; this program is them, too. The kernel is a socket pair. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/holder.h"

#define WAIT_MS 20000 /* for what takes a moment */
#define LONG_MS 60000 /* a watchdog that does not matter */
#define DOG_MS  300   /* one that does */
#define MS      INT64_C(1000000)

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* ---- workers ---- */

/* What is asked of one, as opcodes. */
enum {
	SERVE = 5000,
	DIE,
	HANG,
	BUSY,
	OVER,
	FAIL,
	GIVE_LOCK,
	GIVE_JUNK,
	FALL_SILENT,
};

struct answer {
	struct fuse_out_header header;
	pid_t pid;
	uint64_t workers;
	uint32_t fds;     /* a bit for each that is open; the highest for all that should not be */
	uint32_t signals; /* blocked, or ignored */
	ino_t lock;       /* what WORKER_LOCK is */
	char environment[32];
};

static _Noreturn void worker_end(int signal)
{
	_exit(WORKER_OVER);
}

static _Noreturn void worker_refuse_to_end(int signal)
{
	_exit(3);
}

static void worker_describe(struct answer *a, const struct page *page)
{
	DIR *dir = opendir("/proc/self/fd");
	const char *value = getenv("HOLDER_TEST");
	struct dirent *e;
	struct stat st;
	sigset_t set;

	while (dir && (e = readdir(dir))) {
		int fd = atoi(e->d_name);

		if (e->d_name[0] != '.' && fd != dirfd(dir))
			a->fds |= 1U << (fd < 31 ? fd : 31);
	}
	if (dir)
		closedir(dir);
	sigprocmask(SIG_BLOCK, NULL, &set);
	for (int i = 1; i < 32; i++) {
		struct sigaction sa;

		if (sigismember(&set, i) ||
			(sigaction(i, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN))
			a->signals |= 1U << i;
	}
	a->pid = getpid();
	a->workers = atomic_load(&page->workers);
	a->lock = fstat(WORKER_LOCK, &st) == 0 ? st.st_ino : 0;
	snprintf(a->environment, sizeof(a->environment), "%s", value ? value : "");
}

static void send_raw(const void *bytes, size_t len, int fd, int count)
{
	struct iovec part = { (void *)(uintptr_t)bytes, len };
	union {
		struct cmsghdr header;
		uint8_t room[CMSG_SPACE(8 * sizeof(int))];
	} extra = { 0 };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &extra };

	msg.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
	extra.header.cmsg_level = SOL_SOCKET;
	extra.header.cmsg_type = SCM_RIGHTS;
	extra.header.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
	for (int i = 0; i < count; i++)
		memcpy(CMSG_DATA(&extra.header) + (size_t)i * sizeof(int), &fd, sizeof(int));
	if (sendmsg(WORKER_CONTROL, &msg, 0) < 0)
		_exit(90);
}

/* Every one with descriptors that must not stay open in the holder. */
static void worker_talk_nonsense(void)
{
	struct hold_message m = { .kind = 77 };
	char longer[sizeof(m) + 1] = { HOLD_LOCK };

	send_raw(&m, sizeof(m), 0, 1);
	m.kind = HOLD_LOCK;
	send_raw(&m, sizeof(m), 0, 2);
	send_raw(&m, sizeof(m), 0, 8);
	send_raw(&m, sizeof(m) - 1, 0, 1);
	send_raw(longer, sizeof(longer), 0, 1);
	m = (struct hold_message){ .kind = HOLD_READY, .value = LONG_MS };
	send_raw(&m, sizeof(m), 0, 1);
	m = (struct hold_message){ .kind = HOLD_LOCK };
	if (send(WORKER_CONTROL, &m, sizeof(m), 0) < 0)
		_exit(91);
}

static void worker_request(struct page *page, unsigned op, int64_t dog_ns)
{
	struct pa_err err;
	int fd;

	switch (op) {
	case DIE:
		kill(getpid(), SIGKILL);
		break;
	case HANG:
		for (;;)
			pause();
	case BUSY:
		for (int64_t end = now_ns() + 3 * dog_ns; now_ns() < end; poll(NULL, 0, 1))
			hold_awake(page, WORKER_ALARM, now_ns(), dog_ns);
		break;
	case OVER:
		_exit(WORKER_OVER);
	case FAIL:
		_exit(WORKER_FAILED);
	case GIVE_LOCK:
		fd = memfd_create("lock", MFD_CLOEXEC);
		if (fd < 0 || hold_send(WORKER_CONTROL, HOLD_LOCK, 0, fd, &err) < 0)
			_exit(92);
		close(fd);
		break;
	case GIVE_JUNK:
		worker_talk_nonsense();
		break;
	case FALL_SILENT:
		close(WORKER_CONTROL);
		break;
	case SERVE:
		break;
	default:
		_exit(93);
	}
}

/*
 * argv: PROGRAM worker WATCHDOG_MS FIRST LAST [HOW]: those from the FIRST to the LAST (1: the first of all) end
 * before they are ready, with that exit code.
 */
static int worker_main(char **argv)
{
	int64_t dog_ms = atoi(argv[2]);
	struct pollfd p = { .fd = WORKER_FUSE, .events = POLLIN };
	struct fuse_in_header in;
	struct page *page;
	struct pa_err err;
	uint64_t mine;
	ssize_t n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, WORKER_PAGE, 0);
	if (page == MAP_FAILED)
		return 94;
	mine = atomic_load(&page->workers);
	if (mine >= (uint64_t)atoi(argv[3]) && mine <= (uint64_t)atoi(argv[4])) {
		if (strcmp(argv[5], "signal") == 0)
			kill(getpid(), SIGABRT);
		_exit(atoi(argv[5]));
	}
	signal(SIGTERM, strcmp(argv[5], "refuse") == 0 ? worker_refuse_to_end : worker_end);
	if (hold_send(WORKER_CONTROL, HOLD_READY, (uint64_t)dog_ms, -1, &err) < 0)
		return 95;
	for (;;) {
		struct answer a = { .header.len = sizeof(a) };

		hold_asleep(page);
		poll(&p, 1, -1);
		hold_awake(page, WORKER_ALARM, now_ns(), dog_ms * MS);
		n = read(WORKER_FUSE, &in, sizeof(in));
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n != sizeof(in))
			return 96;
		worker_request(page, in.opcode, dog_ms * MS);
		worker_describe(&a, page);
		a.header.unique = in.unique;
		atomic_fetch_add(&page->replies, 1);
		if (write(WORKER_FUSE, &a, sizeof(a)) != sizeof(a))
			return 97;
	}
}

/* ---- a holder, in a process of its own ---- */

struct test {
	struct page *page;
	int page_fd;
	int kernel; /* the other end of its /dev/fuse */
	int says;   /* "r" when the first worker is ready; then why it ended */
	int log;
	pid_t pid;
	uint64_t unique;
	unsigned resends;
	bool passed;
};

static void tell_ready(void *arg)
{
	if (write(*(int *)arg, "r", 1) != 1)
		_exit(98);
}

/* Its descriptors have the very numbers that a worker's will have, and it has inherited others. */
static _Noreturn void hold(const struct test *t, int fuse, int says, char *const *argv)
{
	struct holder h = { .fuse_fd = 5, .page_fd = 4, .page = t->page, .argv = argv };
	int page = fcntl(t->page_fd, F_DUPFD, 20), null = open("/dev/null", O_RDWR), rc;
	struct pa_err err = { 0 };

	says = fcntl(says, F_DUPFD_CLOEXEC, 20);
	fuse = fcntl(fuse, F_DUPFD, 20);
	dup2(null, 0);
	dup2(null, 1);
	dup2(t->log, 2);
	dup2(page, 4);
	dup2(fuse, 5);
	dup2(null, 3);
	dup2(null, 6);
	dup2(null, 7);
	close_range(8, 19, 0);
	dup2(null, 8);
	h.ready = tell_ready;
	h.arg = &says;
	signal(SIGUSR1, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	rc = holder_run(&h, &err);
	if (rc < 0 && write(says, err.detail, strlen(err.detail)) < 0)
		_exit(98);
	_exit(rc == 0 ? 0 : rc < 0 ? 1 : 2);
}

static void run(struct test *t, int dog_ms, int first, int last, const char *how)
{
	char dog[16], a[16], b[16];
	char program[] = "piauth", role[] = "worker", *ending = strdup(how);
	char *argv[] = { program, role, dog, a, b, ending, NULL };
	int fuse[2], says[2];

	assert_non_null(ending);
	snprintf(dog, sizeof(dog), "%d", dog_ms);
	snprintf(a, sizeof(a), "%d", first);
	snprintf(b, sizeof(b), "%d", last);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fuse), 0);
	assert_int_equal(pipe2(says, O_CLOEXEC), 0);
	t->pid = fork();
	assert_true(t->pid >= 0);
	if (t->pid == 0) {
		close(fuse[0]);
		close(says[0]);
		hold(t, fuse[1], says[1], argv);
	}
	free(ending);
	close(fuse[1]);
	close(says[1]);
	t->kernel = fuse[0];
	t->says = says[0];
}

static void await(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
}

static void run_until_ready(struct test *t, int dog_ms, int first, int last, const char *how)
{
	char c;

	run(t, dog_ms, first, last, how);
	await(t->says);
	assert_int_equal(read(t->says, &c, 1), 1);
	assert_int_equal(c, 'r');
}

/* How it ended: its exit code, and the reason that it gave. */
static int ended(struct test *t, char *ret_why, size_t size)
{
	int status, fd = pidfd_open(t->pid, 0);
	ssize_t n;

	assert_true(fd >= 0);
	await(fd);
	close(fd);
	assert_int_equal(waitpid(t->pid, &status, 0), t->pid);
	t->pid = 0;
	n = read(t->says, ret_why, size - 1);
	assert_true(n >= 0);
	ret_why[n] = '\0';
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void post(struct test *t, unsigned op)
{
	struct fuse_in_header in = { .len = sizeof(in), .opcode = op, .unique = ++t->unique };

	assert_int_equal(send(t->kernel, &in, sizeof(in), 0), sizeof(in));
}

/* The answer to what was posted last; nothing else may be answered. */
static int answer_to(struct test *t, struct answer *ret)
{
	for (;;) {
		struct answer a = { 0 };
		ssize_t n;

		await(t->kernel);
		n = recv(t->kernel, &a, sizeof(a), 0);
		assert_true(n >= (ssize_t)sizeof(a.header));
		assert_int_equal(a.header.len, n);
		if (a.header.unique == 0) {
			assert_int_equal(a.header.error, 7); /* FUSE_NOTIFY_RESEND */
			t->resends++;
			continue;
		}
		assert_int_equal(a.header.unique, t->unique);
		if (a.header.error == 0)
			*ret = a;
		return a.header.error;
	}
}

static int ask(struct test *t, unsigned op, struct answer *ret)
{
	post(t, op);
	return answer_to(t, ret);
}

static pid_t served_by(struct test *t)
{
	struct answer a;

	assert_int_equal(ask(t, SERVE, &a), 0);
	return a.pid;
}

static void await_state(pid_t pid, char wanted)
{
	char path[64], text[512], *c;
	int64_t end = now_ns() + WAIT_MS * MS;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	for (;;) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = read(fd, text, sizeof(text) - 1);

		close(fd);
		assert_true(n > 0);
		text[n] = '\0';
		c = strrchr(text, ')');
		assert_non_null(c);
		if (c[2] == wanted)
			return;
		assert_true(now_ns() < end);
		poll(NULL, 0, 1);
	}
}

/* Once it waits: while it starts a worker it has others. */
static int count_fds(pid_t pid)
{
	char path[64];
	int n = 0;
	DIR *dir;

	await_state(pid, 'S');
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int count_children(pid_t pid)
{
	char path[64], line[4096];
	int n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		for (const char *c = line; (c = strchr(c, ' ')); c++)
			n++;
	fclose(f);
	return n;
}

static bool logged(const struct test *t, const char *text)
{
	static char log[65536];
	ssize_t n = pread(t->log, log, sizeof(log) - 1, 0);

	assert_true(n >= 0);
	log[n] = '\0';
	return strstr(log, text) != NULL;
}

/* Whether nothing happens to that worker for a while. */
static bool stays(pid_t pid, int ms)
{
	struct pollfd p = { .fd = pidfd_open(pid, 0), .events = POLLIN };
	int n;

	assert_true(p.fd >= 0);
	n = poll(&p, 1, ms);
	close(p.fd);
	return n == 0;
}

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	if (!t)
		return -1;
	*t = (struct test){ .kernel = -1, .says = -1 };
	t->page_fd = memfd_create("page", 0);
	t->log = memfd_create("log", MFD_CLOEXEC);
	if (t->page_fd < 0 || t->log < 0 || ftruncate(t->page_fd, sizeof(*t->page)) < 0)
		return -1;
	t->page = mmap(NULL, sizeof(*t->page), PROT_READ | PROT_WRITE, MAP_SHARED, t->page_fd, 0);
	*state = t;
	return t->page == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
	struct test *t = *state;
	char line[4096];
	ssize_t n;

	if (t->pid > 0) {
		kill(t->pid, SIGKILL);
		waitpid(t->pid, NULL, 0);
	}
	for (off_t at = 0; !t->passed && (n = pread(t->log, line, sizeof(line), at)) > 0; at += n)
		fwrite(line, 1, (size_t)n, stderr);
	munmap(t->page, sizeof(*t->page));
	close(t->page_fd);
	close(t->log);
	if (t->kernel >= 0)
		close(t->kernel);
	if (t->says >= 0)
		close(t->says);
	free(t);
	return 0;
}

/* ---- tests ---- */

static void test_gives_what_a_worker_needs(void **state)
{
	const uint32_t std = 7, given = 1U << WORKER_CONTROL | 1U << WORKER_FUSE |
					1U << WORKER_PAGE | 1U << WORKER_ALARM;
	struct test *t = *state;
	struct answer a;

	setenv("HOLDER_TEST", "as it is", 1);
	run_until_ready(t, LONG_MS, 0, 0, "");
	assert_int_equal(ask(t, SERVE, &a), 0);
	assert_int_equal(a.fds, std | given);
	assert_int_equal(a.signals, 0);
	assert_int_equal(a.workers, 1);
	assert_int_equal(a.lock, 0);
	assert_string_equal(a.environment, "as it is");
	t->passed = true;
}

static void test_replaces_at_once(void **state)
{
	struct test *t = *state;
	pid_t before, after;
	int64_t since;

	run_until_ready(t, LONG_MS, 0, 0, "");
	before = served_by(t);
	since = now_ns();
	post(t, DIE);
	after = served_by(t);
	assert_int_not_equal(before, after);
	assert_int_equal(atomic_load(&t->page->workers), 2);
	assert_int_equal(t->resends, 0);
	print_message("# replaced after %.1f ms\n", (double)(now_ns() - since) / 1e6);
	/* A worker that fails is one that died, once there was a mount. */
	post(t, FAIL);
	assert_int_not_equal(served_by(t), after);
	assert_int_equal(atomic_load(&t->page->workers), 3);
	t->passed = true;
}

static void test_leaves_nothing_behind(void **state)
{
	struct test *t = *state;
	struct answer a;
	int fds;

	run_until_ready(t, LONG_MS, 0, 0, "");
	/* The first lock takes the place of nothing, so it changes no number either. */
	fds = count_fds(t->pid);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(ask(t, i % 10 ? SERVE : GIVE_LOCK, &a), 0);
		post(t, DIE);
	}
	assert_int_equal(ask(t, SERVE, &a), 0);
	assert_int_equal(a.workers, 101);
	assert_int_equal(t->resends, 0);
	assert_int_equal(count_fds(t->pid), fds);
	assert_int_equal(count_children(t->pid), 1);
	t->passed = true;
}

/* 15 that die before they are ready are fewer than 16. */
static void test_tries_many_times(void **state)
{
	struct test *t = *state;
	struct answer a;

	run_until_ready(t, LONG_MS, 2, HOLDER_TRIES, "1");
	served_by(t);
	post(t, DIE);
	assert_int_equal(ask(t, SERVE, &a), 0);
	assert_int_equal(a.workers, HOLDER_TRIES + 1);
	assert_int_equal(t->resends, 0);
	assert_false(logged(t, "EIO"));
	t->passed = true;
}

static void test_waits_and_recovers(void **state)
{
	struct test *t = *state;
	unsigned refused = 0;
	struct answer a;
	int64_t since;
	int rc;

	run_until_ready(t, LONG_MS, 2, HOLDER_TRIES + 2, "1");
	served_by(t);
	post(t, DIE);
	since = now_ns();
	while ((rc = ask(t, SERVE, &a)) == -EIO)
		refused++;
	assert_int_equal(rc, 0);
	assert_true(refused > 0);
	assert_int_equal(a.workers, HOLDER_TRIES + 3);
	assert_int_equal(t->resends, 2);
	assert_true(now_ns() - since >= 3 * HOLDER_WAIT_MIN * MS);
	assert_true(logged(t, "fail with EIO; another one starts in 100 ms"));
	assert_true(logged(t, "another one starts in 200 ms"));
	/* The reply was the end of it: these are the first ones again. */
	for (int i = 0; i < 3; i++)
		post(t, DIE);
	assert_int_equal(ask(t, SERVE, &a), 0);
	assert_int_equal(a.workers, HOLDER_TRIES + 6);
	assert_int_equal(t->resends, 2);
	t->passed = true;
}

static void test_answers_while_it_waits(void **state)
{
	static const unsigned mute[] = { FUSE_FORGET, FUSE_BATCH_FORGET, FUSE_INTERRUPT };
	struct test *t = *state;
	struct answer a;
	char why[256];
	int fds;

	run_until_ready(t, LONG_MS, 2, 1000000, "1");
	fds = count_fds(t->pid);
	post(t, DIE);
	for (size_t i = 0; i < sizeof(mute) / sizeof(mute[0]); i++) {
		post(t, mute[i]);
		assert_int_equal(ask(t, FUSE_READ, &a), -EIO);
	}
	assert_int_equal(ask(t, FUSE_DESTROY, &a), -EIO);
	assert_true(count_fds(t->pid) <= fds);
	/* A write is the longest that comes. */
	{
		static struct {
			struct fuse_in_header header;
			uint8_t bytes[128 * 1024 + sizeof(struct fuse_write_in)];
		} in;
		int size = sizeof(in) * 2;

		setsockopt(t->kernel, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
		in.header = (struct fuse_in_header){
			.len = sizeof(in), .opcode = FUSE_WRITE, .unique = ++t->unique
		};
		if (send(t->kernel, &in, sizeof(in), 0) == sizeof(in))
			assert_int_equal(answer_to(t, &a), -EIO);
		else
			assert_int_equal(errno, EMSGSIZE); /* the socket's limit, without rights */
	}
	kill(t->pid, SIGTERM);
	assert_int_equal(ended(t, why, sizeof(why)), 1);
	t->passed = true;
}

/* The kernel's end is closed: a read is 0, as it is ENODEV after an unmount. */
static void test_ends_with_the_mount(void **state)
{
	struct test *t = *state;
	struct answer a;
	char why[256];

	run_until_ready(t, LONG_MS, 2, 1000000, "1");
	post(t, DIE);
	assert_int_equal(ask(t, SERVE, &a), -EIO);
	close(t->kernel);
	t->kernel = -1;
	assert_int_equal(ended(t, why, sizeof(why)), 0);
	t->passed = true;
}

static void test_kills_what_hangs(void **state)
{
	struct test *t = *state;
	pid_t before, after;
	int64_t since;

	run_until_ready(t, DOG_MS, 0, 0, "");
	for (int i = 0; i < 3; i++) {
		before = served_by(t);
		since = now_ns();
		post(t, HANG);
		after = served_by(t);
		assert_int_not_equal(before, after);
		assert_true(now_ns() - since >= DOG_MS * MS);
		assert_true(now_ns() - since < WAIT_MS * MS / 4);
	}
	assert_true(logged(t, "hangs"));
	assert_int_equal(t->resends, 0);
	t->passed = true;
}

static void test_spares_what_sleeps_or_works(void **state)
{
	struct test *t = *state;
	struct answer a;
	pid_t pid;

	run_until_ready(t, DOG_MS, 0, 0, "");
	pid = served_by(t);
	assert_true(stays(pid, 3 * DOG_MS));
	assert_int_equal(ask(t, BUSY, &a), 0);
	assert_int_equal(a.pid, pid);
	assert_int_equal(atomic_load(&t->page->workers), 1);
	t->passed = true;
}

/* The longest sleep, then a hang: the alarm of before has rung long ago. */
static void test_kills_what_hangs_after_sleep(void **state)
{
	struct test *t = *state;
	pid_t pid;

	run_until_ready(t, DOG_MS, 0, 0, "");
	pid = served_by(t);
	assert_true(stays(pid, 2 * DOG_MS));
	post(t, HANG);
	assert_int_not_equal(served_by(t), pid);
	t->passed = true;
}

static void test_kills_what_is_stopped(void **state)
{
	struct test *t = *state;
	int64_t since;
	pid_t pid;

	run_until_ready(t, DOG_MS, 0, 0, "");
	pid = served_by(t);
	assert_true(stays(pid, 2 * DOG_MS)); /* no alarm is left */
	since = now_ns();
	kill(pid, SIGSTOP);
	assert_int_not_equal(served_by(t), pid);
	assert_true(now_ns() - since >= DOG_MS * MS);
	assert_true(logged(t, "was stopped"));
	t->passed = true;
}

static void test_spares_what_goes_on(void **state)
{
	struct test *t = *state;
	pid_t pid;

	run_until_ready(t, 4 * DOG_MS, 0, 0, "");
	pid = served_by(t);
	for (int i = 0; i < 5; i++) {
		kill(pid, SIGSTOP);
		await_state(pid, 'T');
		kill(pid, SIGCONT);
		await_state(pid, 'S');
	}
	assert_true(stays(pid, 6 * DOG_MS));
	assert_int_equal(served_by(t), pid);
	t->passed = true;
}

static void test_passes_signals_on(void **state)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	struct test *t = *state;
	char why[256];

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		if (t->kernel >= 0)
			close(t->kernel);
		if (t->says >= 0)
			close(t->says);
		atomic_store(&t->page->workers, 0);
		run_until_ready(t, LONG_MS, 0, 0, "");
		served_by(t);
		kill(t->pid, signals[i]);
		assert_int_equal(ended(t, why, sizeof(why)), 0);
		assert_int_equal(atomic_load(&t->page->workers), 1);
	}
	t->passed = true;
}

static void test_says_when_the_end_is_not_clean(void **state)
{
	struct test *t = *state;
	char why[256];

	run_until_ready(t, LONG_MS, 0, 0, "refuse");
	served_by(t);
	kill(t->pid, SIGTERM);
	assert_int_equal(ended(t, why, sizeof(why)), 1);
	assert_string_equal(why, "the server did not end cleanly: exit code 3");
	assert_int_equal(atomic_load(&t->page->workers), 1);
	t->passed = true;
}

static void test_ends_when_it_is_over(void **state)
{
	struct test *t = *state;
	char why[256];

	run_until_ready(t, LONG_MS, 0, 0, "");
	post(t, OVER);
	assert_int_equal(ended(t, why, sizeof(why)), 0);
	assert_int_equal(atomic_load(&t->page->workers), 1);
	t->passed = true;
}

static void fails_to_start(struct test *t, const char *how, const char *expected)
{
	char why[256];

	run(t, LONG_MS, 1, 1, how);
	assert_int_equal(ended(t, why, sizeof(why)), 1);
	assert_string_equal(why, expected);
	assert_int_equal(atomic_load(&t->page->workers), 1);
	t->passed = true;
}

static void test_first_one_fails(void **state)
{
	fails_to_start(*state, "80", "the server did not start: exit code 80");
}

static void test_first_one_dies(void **state)
{
	fails_to_start(*state, "signal", "the server did not start: signal 6");
}

static void test_keeps_the_lock(void **state)
{
	struct test *t = *state;
	struct answer a;
	ino_t lock;

	run_until_ready(t, LONG_MS, 0, 0, "");
	assert_int_equal(ask(t, GIVE_LOCK, &a), 0);
	assert_int_equal(a.lock, 0);
	post(t, DIE);
	assert_int_equal(ask(t, SERVE, &a), 0);
	lock = a.lock;
	assert_true(lock != 0);
	assert_int_equal(a.fds, 0xff);
	post(t, DIE);
	assert_int_equal(ask(t, SERVE, &a), 0);
	assert_int_equal(a.lock, lock);
	/* Another one takes its place, even if it is a worker's last word. */
	assert_int_equal(ask(t, GIVE_LOCK, &a), 0);
	post(t, DIE);
	assert_int_equal(ask(t, SERVE, &a), 0);
	assert_true(a.lock != 0 && a.lock != lock);
	t->passed = true;
}

static void test_takes_no_nonsense(void **state)
{
	struct test *t = *state;
	struct answer a;
	pid_t pid;
	int fds;

	run_until_ready(t, LONG_MS, 0, 0, "");
	pid = served_by(t);
	fds = count_fds(t->pid);
	assert_int_equal(ask(t, GIVE_JUNK, &a), 0);
	assert_int_equal(ask(t, FALL_SILENT, &a), 0);
	assert_int_equal(a.pid, pid);
	post(t, DIE);
	assert_int_equal(ask(t, SERVE, &a), 0);
	assert_int_equal(a.lock, 0);
	assert_int_equal(count_fds(t->pid), fds);
	assert_true(logged(t, "what makes no sense"));
	t->passed = true;
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(gives_what_a_worker_needs),
		TEST(replaces_at_once),
		TEST(leaves_nothing_behind),
		TEST(tries_many_times),
		TEST(waits_and_recovers),
		TEST(answers_while_it_waits),
		TEST(ends_with_the_mount),
		TEST(kills_what_hangs),
		TEST(spares_what_sleeps_or_works),
		TEST(kills_what_hangs_after_sleep),
		TEST(kills_what_is_stopped),
		TEST(spares_what_goes_on),
		TEST(passes_signals_on),
		TEST(says_when_the_end_is_not_clean),
		TEST(ends_when_it_is_over),
		TEST(first_one_fails),
		TEST(first_one_dies),
		TEST(keeps_the_lock),
		TEST(takes_no_nonsense),
	};

	if (argc > 5 && strcmp(argv[1], "worker") == 0)
		return worker_main(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
