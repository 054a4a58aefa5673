/* legacy: conversations with processes that answer, fall silent, end, or do not die. */
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
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
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/import/message.h"
#include "store/legacy.h"

#define WAIT_MS 20000 /* for what takes a moment */
#define SOON_MS 60    /* for what must not take longer */

/* As in legacy.c: how long a process may take to end, and to die. */
#define GRACE_MS 10000
#define DEATH_MS 2000

/* ---- a clock that stands still, unless it is put forward ---- */

static struct timespec stands; /* zero: it goes */

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	if (id != CLOCK_BOOTTIME || !stands.tv_sec)
		return __real_clock_gettime(id, ts);
	*ts = stands;
	return 0;
}

/* ---- processes: what they do with their end of the conversation ---- */

enum { CHILD_SOCKET = 3, CHILD_REPORT, CHILD_GATE, CHILD_FDS };

static void say(const char *text)
{
	if (send(CHILD_SOCKET, text, strlen(text), 0) < 0)
		_exit(1);
}

static bool hear(char *ret, size_t size)
{
	ssize_t n = recv(CHILD_SOCKET, ret, size - 1, 0);

	if (n <= 0)
		return false;
	ret[n] = '\0';
	return true;
}

/* Something was said; it stays unread. */
static void notice(void)
{
	char c;

	if (recv(CHILD_SOCKET, &c, 1, MSG_PEEK) <= 0)
		_exit(1);
}

static void report(const char *text)
{
	if (write(CHILD_REPORT, text, strlen(text)) < 0)
		_exit(1);
}

static void wait_for_gate(void)
{
	char c;

	if (read(CHILD_GATE, &c, 1) != 1)
		_exit(1);
}

static void child_echo(void)
{
	char text[256];

	while (hear(text, sizeof(text)))
		say(text);
	report("end ");
}

static void child_obey(void)
{
	char text[256];

	wait_for_gate();
	while (hear(text, sizeof(text)))
		report(text);
	report("end ");
}

static void child_mute(void)
{
	say("{\"m\":\"here\"}");
	for (;;)
		pause();
}

static void child_silent(void)
{
	for (;;)
		pause();
}

static void child_quit(void)
{
	notice();
}

/* Leaves what it was told unread. */
static void child_last_words(void)
{
	notice();
	for (int i = 0; i < 40; i++)
		say("{\"m\":\"word\"}");
}

static void child_nonsense(void)
{
	say("{\"m\":\"fine\"}");
	say("not JSON");
	child_silent();
}

static void child_descriptor(void)
{
	cJSON *m = cJSON_CreateObject();
	struct pa_err err;

	if (message_send(CHILD_SOCKET, m, CHILD_REPORT, &err) < 0)
		_exit(1);
	cJSON_Delete(m);
	child_silent();
}

/* Tells when it has answered. */
static void child_prompt(void)
{
	char text[256];

	while (hear(text, sizeof(text))) {
		say(text);
		report("a");
	}
}

/* Somebody else has its end of the conversation. */
static void child_heir(void)
{
	pid_t pid;

	notice();
	pid = fork();
	if (pid == 0) {
		wait_for_gate();
		report("heir");
	}
	_exit(pid < 0);
}

static void child_traced(void)
{
	/* Where the system restricts that; EINVAL where it does not. */
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	child_mute();
}

/* ---- what a test has ---- */

struct bench {
	struct legacy *l;
	void (*child)(void);
	unsigned started;
	pid_t pid[LEGACY_STUCK_MAX + 1]; /* of the last ones */
	int report[2], gate[2];
	bool refuse;           /* the next start fails */
	struct timespec until; /* CLOCK_MONOTONIC: then the test has failed */
	unsigned fds;
};

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int start(void *arg, int *ret_fd, int *ret_pidfd, struct pa_err *err)
{
	struct bench *b = arg;
	int fds[2];
	pid_t pid;

	if (b->refuse)
		return pa_fail(err, PA_SYSTEM, ENFILE, "refused");
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* Away from where they are to be, then there. */
		int own[] = { fds[1], b->report[1], b->gate[0] };

		for (int i = 0; i < 3; i++)
			own[i] = fcntl(own[i], F_DUPFD, 100);
		for (int i = 0; i < 3; i++)
			if (dup2(own[i], CHILD_SOCKET + i) < 0)
				_exit(1);
		close_range(CHILD_FDS, ~0U, 0);
		/* A test that fails leaves nobody behind. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		b->child();
		_exit(0);
	}
	close(fds[1]);
	b->pid[b->started++ % (LEGACY_STUCK_MAX + 1)] = pid;
	*ret_fd = fds[0];
	*ret_pidfd = pidfd_open(pid, 0);
	assert_true(*ret_pidfd >= 0);
	return 0;
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct legacy_spawn spawn = { start, b };
	struct pa_err err;

	assert_non_null(b);
	assert_int_equal(__real_clock_gettime(CLOCK_BOOTTIME, &stands), 0);
	stands.tv_nsec = 0;
	clock_gettime(CLOCK_MONOTONIC, &b->until);
	b->until.tv_sec += WAIT_MS / 1000;
	b->child = child_echo;
	b->fds = count_fds();
	assert_int_equal(pipe2(b->report, O_CLOEXEC), 0);
	assert_int_equal(pipe2(b->gate, O_CLOEXEC), 0);
	assert_int_equal(legacy_new(&spawn, &b->l, &err), 0);
	*state = b;
	return 0;
}

static bool has_children(void)
{
	siginfo_t info;

	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
		return true;
	assert_int_equal(errno, ECHILD);
	return false;
}

/* One round of the loop. */
static void turn(struct bench *b)
{
	struct pollfd p = { .fd = legacy_fd(b->l), .events = POLLIN };
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	assert_true(now.tv_sec <= b->until.tv_sec);
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	legacy_dispatch(b->l);
}

/* Until every process is gone and reaped. */
static void settle(struct bench *b)
{
	while (has_children())
		turn(b);
}

/* The same for one. */
static void until_reaped(struct bench *b, pid_t pid)
{
	while (kill(pid, 0) == 0)
		turn(b);
	assert_int_equal(errno, ESRCH);
}

/* Nothing happens. */
static void assert_quiet(struct bench *b)
{
	struct pollfd p = { .fd = legacy_fd(b->l), .events = POLLIN };

	assert_int_equal(poll(&p, 1, SOON_MS), 0);
}

/* Puts the clock forward, and lets the deadlines be looked at. */
static void advance(struct bench *b, int64_t ms)
{
	stands.tv_sec += (stands.tv_nsec / 1000000 + ms) / 1000;
	stands.tv_nsec = (stands.tv_nsec / 1000000 + ms) % 1000 * 1000000;
	legacy_dispatch(b->l);
}

/* No timer of this process is set. */
static void assert_idle(void)
{
	DIR *dir = opendir("/proc/self/fdinfo");
	struct dirent *e;
	unsigned timers = 0;

	assert_non_null(dir);
	while ((e = readdir(dir))) {
		char path[300], line[128];
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", e->d_name);
		if (!(f = fopen(path, "re")))
			continue;
		while (fgets(line, sizeof(line), f)) {
			if (strncmp(line, "it_value:", 9) != 0)
				continue;
			timers++;
			assert_string_equal(line, "it_value: (0, 0)\n");
		}
		fclose(f);
	}
	closedir(dir);
	assert_true(timers > 0);
}

static int teardown(void **state)
{
	struct bench *b = *state;

	if (b->l) {
		settle(b);
		assert_idle();
		legacy_free(b->l);
	}
	assert_false(has_children());
	for (int i = 0; i < 2; i++) {
		close(b->report[i]);
		close(b->gate[i]);
	}
	assert_int_equal(count_fds(), b->fds);
	free(b);
	return 0;
}

/* What the processes reported, up to the last of them. */
static void assert_report(struct bench *b, const char *wanted)
{
	char got[256];
	size_t len = 0;
	ssize_t n;

	close(b->report[1]);
	b->report[1] = -1;
	while ((n = read(b->report[0], got + len, sizeof(got) - 1 - len)) > 0)
		len += (size_t)n;
	got[len] = '\0';
	assert_string_equal(got, wanted);
}

/* ---- one who talks ---- */

struct talker {
	struct bench *b;
	struct legacy_call *call;
	unsigned messages, gone;
	int fd; /* that came last */
	struct pa_err err;
	/* What its handlers do beside counting. */
	void (*then)(struct talker *t);
	struct talker *other;
};

static void on_message(void *arg, const cJSON *message, int fd)
{
	struct talker *t = arg;

	assert_non_null(t->call);
	assert_true(cJSON_IsObject(message));
	t->messages++;
	t->fd = fd;
	if (t->then)
		t->then(t);
}

static void on_gone(void *arg, const struct pa_err *err)
{
	struct talker *t = arg;

	assert_non_null(t->call);
	t->call = NULL;
	t->gone++;
	t->err = *err;
	if (t->then)
		t->then(t);
}

static const struct legacy_handler handler = { on_message, on_gone };

static cJSON *request_of(const char *op, size_t padding)
{
	cJSON *request = cJSON_CreateObject();
	char *text = calloc(1, padding + 1);

	assert_non_null(text);
	memset(text, 'x', padding);
	assert_non_null(cJSON_AddStringToObject(request, "op", op));
	if (padding)
		assert_non_null(cJSON_AddStringToObject(request, "padding", text));
	free(text);
	return request;
}

static int talk_err(struct talker *t, int64_t silence_ms, struct pa_err *err)
{
	cJSON *request = request_of("1", 0);
	int r = legacy_call_new(t->b->l, request, silence_ms, &handler, t, &t->call, err);

	cJSON_Delete(request);
	return r;
}

static void talk(struct talker *t, int64_t silence_ms)
{
	struct pa_err err = { 0 };

	if (talk_err(t, silence_ms, &err) < 0)
		fail_msg("%s", err.detail);
	assert_int_equal(t->messages + t->gone, 0);
}

static int more(struct talker *t, const char *op, size_t padding, int64_t silence_ms)
{
	cJSON *request = request_of(op, padding);
	struct pa_err err;
	int r = legacy_call_send(t->call, request, silence_ms, &err);

	cJSON_Delete(request);
	return r;
}

static void end(struct talker *t)
{
	legacy_call_end(t->call);
	t->call = NULL;
}

static void until_messages(struct talker *t, unsigned n)
{
	while (t->messages < n && !t->gone)
		turn(t->b);
	assert_int_equal(t->messages, n);
}

static void until_gone(struct talker *t)
{
	while (!t->gone)
		turn(t->b);
}

/* ---- tests ---- */

static void answers(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };

	talk(&t, WAIT_MS);
	until_messages(&t, 1);
	for (unsigned i = 2; i < 30; i++) {
		assert_int_equal(more(&t, "again", 100, WAIT_MS), 0);
		until_messages(&t, i);
	}
	legacy_call_rest(t.call);
	assert_idle();
	end(&t);
	settle(b);
	assert_int_equal(b->started, 1);
	assert_int_equal(t.gone, 0);
	assert_report(b, "end ");
}

static void descriptors(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };
	char c;

	b->child = child_descriptor;
	talk(&t, 0);
	until_messages(&t, 1);
	assert_true(t.fd >= 0);
	assert_true(fcntl(t.fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(write(t.fd, "x", 1), 1);
	close(t.fd);
	assert_int_equal(read(b->report[0], &c, 1), 1);
	assert_int_equal(c, 'x');
	assert_int_equal(kill(b->pid[0], SIGKILL), 0);
	until_gone(&t);
}

static void end_is_obeyed_first(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };

	b->child = child_obey;
	talk(&t, WAIT_MS);
	assert_int_equal(more(&t, "2", 0, WAIT_MS), 0);
	assert_int_equal(more(&t, "3", 0, WAIT_MS), 0);
	end(&t);
	assert_int_equal(write(b->gate[1], "g", 1), 1);
	settle(b);
	assert_report(b, "{\"op\":\"1\"}{\"op\":\"2\"}{\"op\":\"3\"}end ");
	assert_int_equal(t.messages + t.gone, 0);
}

/* The server goes, the processes finish. */
static void free_leaves_them(void **state)
{
	struct bench *b = *state;
	struct talker t = { b }, u = { b };
	int status;

	b->child = child_obey;
	talk(&t, WAIT_MS);
	assert_int_equal(more(&t, "2", 0, WAIT_MS), 0);
	end(&t);
	talk(&u, WAIT_MS);
	legacy_free(b->l); /* u has not been ended */
	b->l = NULL;
	assert_true(has_children());
	assert_int_equal(write(b->gate[1], "g", 1), 1);
	assert_int_equal(
		waitpid(-1, &status, 0) > 0 && WIFEXITED(status) && !WEXITSTATUS(status), 1);
	assert_int_equal(write(b->gate[1], "g", 1), 1);
	assert_int_equal(
		waitpid(-1, &status, 0) > 0 && WIFEXITED(status) && !WEXITSTATUS(status), 1);
	close(b->report[1]);
	b->report[1] = -1;
	char got[256];
	ssize_t n = read(b->report[0], got, sizeof(got) - 1);

	assert_true(n > 0);
	got[n] = '\0';
	assert_non_null(strstr(got, "{\"op\":\"2\"}"));
	assert_int_equal(n, strlen("{\"op\":\"1\"}{\"op\":\"2\"}end {\"op\":\"1\"}end "));
	assert_int_equal(t.messages + t.gone + u.messages + u.gone, 0);
}

/* One that is dead already leaves no zombie. */
static void free_reaps(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };
	siginfo_t info;

	b->child = child_quit;
	talk(&t, WAIT_MS);
	assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
	legacy_free(b->l);
	b->l = NULL;
	assert_false(has_children());
}

static void silence(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };

	b->child = child_silent;
	stands = (struct timespec){ 0 };
	talk(&t, 30); /* by the real timer */
	until_gone(&t);
	assert_int_equal(t.err.code, PA_FILE_SILENT);
	assert_int_equal(t.err.errnum, ETIMEDOUT);
	assert_int_equal(t.messages, 0);
	settle(b);
	assert_int_equal(t.gone, 1);
}

static void each_message_restarts_silence(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };
	struct pollfd p = { .fd = legacy_fd(b->l), .events = POLLIN };

	talk(&t, 5000);
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	advance(b, 4500); /* the answer counts from here */
	assert_int_equal(t.messages, 1);
	advance(b, 900);
	assert_int_equal(t.gone, 0);
	advance(b, 4200);
	assert_int_equal(t.gone, 1);
	assert_int_equal(t.err.code, PA_FILE_SILENT);
}

/* An answer that has come before its deadline is looked at is an answer. */
static void answer_at_the_deadline(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };
	struct pollfd p = { .fd = legacy_fd(b->l), .events = POLLIN };

	talk(&t, 5000);
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	advance(b, 5100);
	assert_int_equal(t.messages, 1);
	assert_int_equal(t.gone, 0);
	end(&t);
}

/* However many of them there are. */
static void answers_at_the_deadline(void **state)
{
	struct bench *b = *state;
	struct talker t[40];
	char c;

	b->child = child_prompt;
	for (size_t i = 0; i < 40; i++) {
		t[i] = (struct talker){ b };
		talk(&t[i], 5000);
	}
	for (size_t i = 0; i < 40; i++)
		assert_int_equal(read(b->report[0], &c, 1), 1);
	advance(b, 5100);
	for (size_t i = 0; i < 40; i++) {
		assert_int_equal(t[i].messages, 1);
		assert_int_equal(t[i].gone, 0);
		end(&t[i]);
	}
}

static void rest_has_no_deadline(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };

	talk(&t, 5000);
	until_messages(&t, 1);
	legacy_call_rest(t.call);
	assert_idle();
	advance(b, 5500);
	assert_int_equal(t.gone, 0);
	assert_int_equal(more(&t, "2", 0, 5000), 0);
	until_messages(&t, 2);
	advance(b, 5500);
	assert_int_equal(t.gone, 1);
}

/* Who slept itself blames nobody: the time begins anew. */
static void sleep_of_the_machine(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };

	b->child = child_silent;
	talk(&t, 5000);
	advance(b, 3600 * 1000);
	assert_int_equal(t.gone, 0);
	advance(b, 4500);
	assert_int_equal(t.gone, 0);
	advance(b, 600);
	assert_int_equal(t.gone, 1);
}

static void ends_before_it_answers(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };

	b->child = child_quit;
	talk(&t, WAIT_MS);
	until_gone(&t);
	assert_int_equal(t.err.code, PA_FILE_UNUSABLE);
	assert_non_null(strstr(t.err.detail, "ended"));
	settle(b);
	assert_int_equal(t.gone, 1);
}

/* The end of the process is the end, whoever holds the socket. */
static void leaves_an_heir(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };

	b->child = child_heir;
	talk(&t, 0);
	until_gone(&t);
	assert_int_equal(t.err.code, PA_FILE_UNUSABLE);
	settle(b);
	assert_int_equal(write(b->gate[1], "g", 1), 1);
	assert_report(b, "heir");
}

/* Nothing it said before its end is lost, however much it was; and nobody else has to wait for all of it. */
static void last_words(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };
	siginfo_t info;

	b->child = child_last_words;
	talk(&t, WAIT_MS);
	assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
	turn(b);
	assert_in_range(t.messages, 1, 39);
	assert_int_equal(t.gone, 0);
	until_gone(&t);
	assert_int_equal(t.messages, 40);
	assert_int_equal(t.err.code, PA_FILE_UNUSABLE);
}

static void nonsense(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };

	b->child = child_nonsense;
	talk(&t, WAIT_MS);
	until_gone(&t);
	assert_int_equal(t.messages, 1);
	assert_int_equal(t.err.code, PA_FILE_UNUSABLE);
	settle(b); /* it was killed: it does not end by itself */
}

static void lingers_after_the_end(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };

	b->child = child_mute;
	talk(&t, WAIT_MS);
	until_messages(&t, 1);
	end(&t);
	advance(b, GRACE_MS - 500);
	assert_quiet(b);
	assert_int_equal(kill(b->pid[0], 0), 0);
	advance(b, 600);
	settle(b);
	assert_int_equal(t.messages, 1);
	assert_int_equal(t.gone, 0);
}

static void full_socket(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };
	int r = 0;

	b->child = child_mute;
	talk(&t, 0);
	for (int i = 0; i < 100 && r == 0; i++)
		r = more(&t, "2", 100000, 0);
	assert_int_equal(r, -EAGAIN);
	until_messages(&t, 1); /* it is a conversation still */
	assert_int_equal(t.gone, 0);
	end(&t);
	advance(b, GRACE_MS + 100);
}

static void no_process(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };
	struct pa_err err;

	b->refuse = true;
	assert_int_equal(talk_err(&t, 0, &err), -ENFILE);
	assert_int_equal(err.code, PA_SYSTEM);
	assert_null(t.call);
	legacy_call_end(NULL);
}

/* A request that cannot be sent: the process is ended as any other. */
static void too_big_a_request(void **state)
{
	struct bench *b = *state;
	struct talker t = { b };
	cJSON *request = request_of("1", MESSAGE_MAX);
	struct pa_err err;

	assert_true(legacy_call_new(b->l, request, 0, &handler, &t, &t.call, &err) < 0);
	cJSON_Delete(request);
	assert_null(t.call);
	assert_int_equal(b->started, 1);
	settle(b);
	assert_report(b, "end ");
}

static void end_both(struct talker *t)
{
	end(t);
	end(t->other);
}

/* Both have something to say; who is heard first ends both. */
static void handler_ends_others(void **state)
{
	struct bench *b = *state;
	struct talker t = { b, .then = end_both }, u = { b, .then = end_both };

	t.other = &u;
	u.other = &t;
	b->child = child_last_words;
	talk(&t, WAIT_MS);
	talk(&u, WAIT_MS);
	for (int i = 0; i < 2; i++) {
		siginfo_t info;

		assert_int_equal(waitid(P_PID, (id_t)b->pid[i], &info, WEXITED | WNOWAIT), 0);
	}
	settle(b);
	assert_int_equal(t.messages + u.messages, 1);
	assert_int_equal(t.gone + u.gone, 0);
}

static void start_other(struct talker *t)
{
	if (t->gone)
		talk(t->other, WAIT_MS);
}

static void handler_starts_others(void **state)
{
	struct bench *b = *state;
	struct talker u = { b }, t = { b, .then = start_other, .other = &u };

	b->child = child_last_words;
	talk(&t, WAIT_MS);
	until_gone(&t);
	until_gone(&u);
	assert_int_equal(u.messages, 40);
	settle(b);
}

static void many_at_once(void **state)
{
	struct bench *b = *state;
	struct talker t[40];

	for (size_t i = 0; i < 40; i++) {
		t[i] = (struct talker){ b };
		talk(&t[i], WAIT_MS);
	}
	for (size_t i = 0; i < 40; i++)
		until_messages(&t[i], 1);
	for (size_t i = 0; i < 40; i++)
		end(&t[i]);
	settle(b);
}

/* ---- those that do not die ---- */

/*
 * Holds n processes in the last moment of their lives, where the kernel tells a tracer of it: the nearest to
 * one that waits for a server that does not answer. Says T when it has them, S when all were killed and
 * stopped, F when that is not possible here. They go when it goes.
 */
static void tracer(const pid_t *pid, size_t n, int to)
{
	size_t stopped = 0;
	int status;

	for (size_t i = 0; i < n; i++)
		if (ptrace(PTRACE_SEIZE, pid[i], NULL, (void *)PTRACE_O_TRACEEXIT) < 0)
			goto cannot;
	if (write(to, "T", 1) != 1)
		_exit(1);
	while (stopped < n && waitpid(-1, &status, __WALL) > 0) {
		if (!WIFSTOPPED(status))
			goto cannot;
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8))
			stopped++;
	}
	if (stopped == n && write(to, "S", 1) == 1)
		for (;;)
			pause();
cannot:
	_exit(write(to, "F", 1) != 1);
}

static pid_t trace(struct bench *b, size_t n, int *ret_from)
{
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int to = dup2(fds[1], CHILD_SOCKET);

		close_range(CHILD_SOCKET + 1, ~0U, 0);
		tracer(b->pid, n, to);
	}
	close(fds[1]);
	*ret_from = fds[0];
	return pid;
}

static char tracer_says(int from)
{
	char c = 'F';

	return read(from, &c, 1) == 1 ? c : 'F';
}

static void stuck(void **state)
{
	struct bench *b = *state;
	struct talker t[LEGACY_STUCK_MAX + 1];
	unsigned started;
	bool can = false;
	int from, status;
	pid_t pid;
	struct pa_err err;

	b->child = child_traced;
	for (size_t i = 0; i < LEGACY_STUCK_MAX; i++) {
		t[i] = (struct talker){ b };
		talk(&t[i], 5000);
	}
	for (size_t i = 0; i < LEGACY_STUCK_MAX; i++) {
		until_messages(&t[i], 1);
		legacy_call_rest(t[i].call);
	}
	pid = trace(b, LEGACY_STUCK_MAX, &from);
	if (tracer_says(from) != 'T')
		goto out;
	/* All but one fall silent; that one is ended, and does not listen. */
	for (size_t i = 1; i < LEGACY_STUCK_MAX; i++)
		assert_int_equal(more(&t[i], "2", 0, 5000), 0);
	advance(b, 5100);
	for (size_t i = 1; i < LEGACY_STUCK_MAX; i++)
		assert_int_equal(t[i].gone, 1);
	end(&t[0]);
	advance(b, DEATH_MS + 100);
	/* Seven are stuck: an eighth is started yet. */
	t[LEGACY_STUCK_MAX] = (struct talker){ b };
	b->child = child_echo;
	talk(&t[LEGACY_STUCK_MAX], WAIT_MS);
	until_messages(&t[LEGACY_STUCK_MAX], 1);
	end(&t[LEGACY_STUCK_MAX]);
	until_reaped(b, b->pid[LEGACY_STUCK_MAX]);
	advance(b, GRACE_MS - DEATH_MS);
	can = tracer_says(from) == 'S';
	if (!can)
		goto out;
	advance(b, DEATH_MS + 100);
	started = b->started;
	assert_int_equal(talk_err(&t[LEGACY_STUCK_MAX], 0, &err), -ETIMEDOUT);
	assert_int_equal(err.code, PA_FILE_SILENT);
	assert_int_equal(b->started, started);
	assert_idle();
	assert_quiet(b);
out:
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(from);
	if (!can) {
		for (size_t i = 0; i < LEGACY_STUCK_MAX; i++)
			if (!t[i].gone)
				end(&t[i]);
		advance(b, GRACE_MS + 100);
		settle(b);
		skip();
	}
	/* They are gone at last, and that is noticed. */
	settle(b);
	t[0] = (struct talker){ b };
	talk(&t[0], WAIT_MS);
	until_messages(&t[0], 1);
	end(&t[0]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(answers),
		T(descriptors),
		T(end_is_obeyed_first),
		T(free_leaves_them),
		T(free_reaps),
		T(silence),
		T(each_message_restarts_silence),
		T(answer_at_the_deadline),
		T(answers_at_the_deadline),
		T(rest_has_no_deadline),
		T(sleep_of_the_machine),
		T(ends_before_it_answers),
		T(leaves_an_heir),
		T(last_words),
		T(nonsense),
		T(lingers_after_the_end),
		T(full_socket),
		T(no_process),
		T(too_big_a_request),
		T(handler_ends_others),
		T(handler_starts_others),
		T(many_at_once),
		T(stuck),
	};
#undef T

	json_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
