/*
 * probe_kill - clients of a mount whose worker is killed again and again.
 *
 *	probe_kill HOLDER SIGNAL KILLS QUIET_MS SEED VALUE CLIENT...
 *
 * A CLIENT is a process, or N of them: [N*]ROLE=PATH[,PATH]
 *	read	opens, reads to the end and closes each file in turn
 *	keep	opens a file once, and reads it in pieces: what it began to read, or ESTALE, never a mixture
 *	write	stores values of its own in the directory's api-key, as a shell does it, and reads them back
 *	change	makes and removes a provider of its own, and its key, in the directory: what is done twice fails
 *	walk	lists the directory and all below, and looks at every file
 *
 * What a read gives is checked by what it is: a value that one of the writers stores says itself what it must be;
 * of a token with "-at-" and a generation in it there is one text for each generation; in both the number never
 * goes back; all else is what it was at the start. VALUE is how the writers' values begin.
 *
 * First nobody is killed for QUIET_MS, then KILLS times the worker of HOLDER, 20 to 120 ms after every client has
 * got on; every fourth time the successor too, before it can have done much. Prints one JSON object. Exit
 * status 0 when it came to its end, whatever it has found.
 */
#define _GNU_SOURCE 1 /* built by itself, not by meson */

#include "probe_kill.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GET_ON_MS    30000 /* a client that takes longer for one operation is stuck */
#define GAP_MIN_US   20000
#define GAP_MAX_US   120000
#define EARLY_MAX_US 15000 /* after its start a successor may be killed */

struct shared *shared;
const char *value_prefix;
int got_on;
static size_t nclients;

static void add_clients(char *words)
{
	unsigned long count = 1;
	char *star = strchr(words, '*'), *paths = strchr(words, '=');
	enum role role = READ;

	if (star && paths && star < paths) {
		count = strtoul(words, NULL, 10);
		words = star + 1;
	}
	if (!paths || count < 1 || nclients + count > CLIENTS_MAX) {
		fprintf(stderr, "probe_kill: %s: not [N*]ROLE=PATH\n", words);
		exit(2);
	}
	*paths++ = '\0';
	while (role < ROLES && strcmp(words, role_names[role]) != 0)
		role++;
	if (role == ROLES) {
		fprintf(stderr, "probe_kill: no role %s\n", words);
		exit(2);
	}
	struct client model = { .role = role };
	char *rest = paths;

	while (rest && model.nfiles < FILES_MAX)
		model.files[model.nfiles++].path = strsep(&rest, ",");
	while (count--) {
		shared->clients[nclients] = model;
		shared->clients[nclients].number = (int)nclients;
		nclients++;
	}
}

/* ---- the worker ---- */

static bool is_worker(pid_t pid)
{
	char path[64], words[200];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return false;
	n = read(fd, words, sizeof(words) - 1);
	close(fd);
	if (n <= 0)
		return false;
	words[n] = '\0';
	size_t first = strlen(words) + 1;

	return first < (size_t)n && strcmp(words + first, "worker") == 0;
}

/* The worker of the moment; 0: none. */
static pid_t find_worker(pid_t holder)
{
	char path[64], text[400], *at = text;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)holder, (int)holder);
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	for (char *next;; at = next) {
		pid_t pid = (pid_t)strtol(at, &next, 10);

		if (next == at)
			return 0;
		if (is_worker(pid))
			return pid;
	}
}

/* Another worker than the last one: nothing announces it. */
static pid_t await_worker(pid_t holder, pid_t last)
{
	const struct timespec step = { .tv_nsec = 200000 };
	int64_t give_up = now_ns() + GET_ON_MS * INT64_C(1000000);
	pid_t pid;

	while ((pid = find_worker(holder)) == 0 || pid == last) {
		if (now_ns() > give_up)
			return 0;
		nanosleep(&step, NULL);
	}
	return pid;
}

static bool ends_within(int pidfd, int64_t us)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	struct timespec t = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };
	int n;

	while ((n = ppoll(&p, 1, &t, NULL)) < 0 && errno == EINTR)
		;
	if (n < 0)
		die("poll");
	return n > 0;
}

struct kills {
	pid_t holder, worker;
	int signal;
	int64_t sent_ns; /* when the last one got it */
	unsigned wanted, done, early;
	unsigned died; /* by themselves */
	unsigned stuck;
	uint64_t *recovered_us; /* one for each that was waited for */
	unsigned nrecovered;
};

/* Who has not got on since the kill. */
static void tell_stuck(void)
{
	uint32_t epoch = atomic_load(&shared->epoch);

	for (size_t i = 0; i < nclients; i++)
		if (atomic_load(&shared->clients[i].epoch) != epoch)
			complain(&shared->clients[i], "stuck at %s",
				shared->clients[i].files[0].path);
}

/* Until every client has done something since the kill. *ret_us: the first of them. */
static bool all_get_on(int64_t since_ns, uint64_t *ret_us)
{
	struct pollfd p = { .fd = got_on, .events = POLLIN };
	uint64_t sum = 0, n;

	while (sum < nclients) {
		int rc = poll(&p, 1, GET_ON_MS);

		if (rc < 0 && errno == EINTR)
			continue;
		if (rc <= 0 || read(got_on, &n, sizeof(n)) != sizeof(n))
			return false;
		if (sum == 0)
			*ret_us = (uint64_t)(now_ns() - since_ns) / 1000;
		sum += n;
	}
	return true;
}

/* One more epoch; it begins when nobody can be answered by the worker before. */
static void new_epoch(void)
{
	uint64_t n;

	/* What came too late for the last one. */
	if (read(got_on, &n, sizeof(n)) < 0 && errno != EAGAIN)
		die("eventfd");
	atomic_fetch_add(&shared->epoch, 1);
}

/* Ends one worker us from now. false: it is over, one way or another. */
static bool kill_one(struct kills *k, int64_t us)
{
	int pidfd = pidfd_open(k->worker, 0);
	bool by_itself = pidfd < 0 || ends_within(pidfd, us);

	if (by_itself) {
		k->died++;
		dprintf(STDERR_FILENO, "worker %d died by itself\n", (int)k->worker);
	} else {
		k->sent_ns = now_ns();
		if (kill(k->worker, k->signal) < 0 || !ends_within(pidfd, 30 * 1000000)) {
			dprintf(STDERR_FILENO, "worker %d survives signal %d\n", (int)k->worker,
				k->signal);
			return false;
		}
		k->done++;
	}
	if (pidfd >= 0)
		close(pidfd);
	return true;
}

static void kill_all(struct kills *k)
{
	while (k->done < k->wanted && k->died < 20) {
		int64_t at;
		pid_t last;

		if (!kill_one(k, GAP_MIN_US + random() % (GAP_MAX_US - GAP_MIN_US)))
			break;
		at = k->sent_ns;
		last = k->worker;
		if (k->done % 4 == 0 && k->done < k->wanted) {
			if ((k->worker = await_worker(k->holder, last)) == 0 ||
				!kill_one(k, random() % EARLY_MAX_US))
				break;
			last = k->worker;
			k->early++;
		}
		new_epoch();
		if (!all_get_on(at, &k->recovered_us[k->nrecovered])) {
			tell_stuck();
			k->stuck++;
			break;
		}
		k->nrecovered++;
		if ((k->worker = await_worker(k->holder, last)) == 0)
			break;
	}
	if (k->done < k->wanted)
		dprintf(STDERR_FILENO, "broke off after %u kills; worker %d\n", k->done,
			(int)k->worker);
}

/* Ends the clients; how many could not be ended by being told to. */
static unsigned end_clients(void)
{
	unsigned stuck = 0;

	atomic_store(&shared->stop, true);
	for (size_t i = 0; i < nclients; i++) {
		struct client *c = &shared->clients[i];
		int status, pidfd = pidfd_open(c->pid, 0);

		if (pidfd < 0)
			die("pidfd of a client");
		if (!ends_within(pidfd, GET_ON_MS * 1000)) {
			complain(c, "does not end");
			stuck++;
			kill(c->pid, SIGKILL);
			if (!ends_within(pidfd, 1000000))
				complain(c, "does not end even now");
		} else if (waitpid(c->pid, &status, 0) != c->pid || status != 0) {
			dprintf(STDERR_FILENO, "client %zu broke off: status %x\n", i, status);
			exit(2);
		}
		close(pidfd);
	}
	return stuck;
}

/* ---- the report ---- */

static int compare_us(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int compare_long(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void report_phase(const char *name, enum phase phase)
{
	size_t n = atomic_load(&shared->count[phase]);
	uint32_t *us = shared->us[phase];

	if (n > SAMPLES_MAX)
		n = SAMPLES_MAX;
	qsort(us, n, sizeof(*us), compare_us);
	printf("\"%s\": {\"reads\": %zu, \"p50\": %u, \"p999\": %u, \"max\": %u}, ", name, n,
		n ? us[n / 2] : 0, n ? us[n * 999 / 1000] : 0, n ? us[n - 1] : 0);
}

static void report(struct kills *k)
{
	uint64_t failed = 0, excepted = 0, torn = 0, lost = 0, stale = 0, done[ROLES] = { 0 };
	const char *comma = "";

	for (size_t i = 0; i < nclients; i++) {
		const struct client *c = &shared->clients[i];

		done[c->role] += c->done;
		failed += c->failed;
		excepted += c->excepted;
		torn += c->torn;
		lost += c->lost;
		stale += c->stale;
	}
	qsort(k->recovered_us, k->nrecovered, sizeof(*k->recovered_us), compare_long);
	printf("{\"kills\": %u, \"early\": %u, \"died\": %u, \"stuck\": %u, ", k->done, k->early,
		k->died, k->stuck);
	printf("\"failed\": %llu, \"excepted\": %llu, \"torn\": %llu, \"lost\": %llu, \"stale\": "
	       "%llu, ",
		(unsigned long long)failed, (unsigned long long)excepted, (unsigned long long)torn,
		(unsigned long long)lost, (unsigned long long)stale);
	report_phase("quiet", QUIET);
	report_phase("killing", KILLING);
	printf("\"recovered\": {\"p50\": %llu, \"max\": %llu}, \"done\": {",
		k->nrecovered ? (unsigned long long)k->recovered_us[k->nrecovered / 2] : 0,
		k->nrecovered ? (unsigned long long)k->recovered_us[k->nrecovered - 1] : 0);
	for (int role = 0; role < ROLES; role++)
		printf("%s\"%s\": %llu", role ? ", " : "", role_names[role],
			(unsigned long long)done[role]);
	printf("}, \"written\": [");
	for (size_t i = 0; i < nclients; i++) {
		if (shared->clients[i].role != WRITE)
			continue;
		printf("%s{\"profile\": \"%s\", \"value\": \"%s\"}", comma,
			shared->clients[i].files[0].path, shared->clients[i].value);
		comma = ", ";
	}
	printf("]}\n");
}

int main(int argc, char **argv)
{
	struct kills k = { 0 };
	int64_t quiet_us;
	int pidfd;

	if (argc < 8) {
		fprintf(stderr,
			"usage: probe_kill HOLDER SIGNAL KILLS QUIET_MS SEED VALUE CLIENT...\n");
		return 2;
	}
	k.holder = (pid_t)strtol(argv[1], NULL, 10);
	k.signal = (int)strtol(argv[2], NULL, 10);
	k.wanted = (unsigned)strtoul(argv[3], NULL, 10);
	quiet_us = strtoll(argv[4], NULL, 10) * 1000;
	srandom((unsigned)strtoul(argv[5], NULL, 10));
	value_prefix = argv[6];
	k.recovered_us = calloc(k.wanted + 1, sizeof(*k.recovered_us));
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	got_on = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!k.recovered_us || shared == MAP_FAILED || got_on < 0)
		die("memory");
	for (int i = 7; i < argc; i++)
		add_clients(argv[i]);
	if ((k.worker = find_worker(k.holder)) == 0) {
		fprintf(stderr, "probe_kill: %d has no worker\n", (int)k.holder);
		return 2;
	}
	for (size_t i = 0; i < nclients; i++)
		client_prepare(&shared->clients[i]);
	for (size_t i = 0; i < nclients; i++)
		client_look(&shared->clients[i]);
	atomic_store(&shared->epoch, 1);
	for (size_t i = 0; i < nclients; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0)
			client_run(&shared->clients[i]);
		shared->clients[i].pid = pid;
	}
	if (!all_get_on(now_ns(), &k.recovered_us[0])) {
		tell_stuck();
		k.stuck++;
	}
	if ((pidfd = pidfd_open(k.worker, 0)) < 0 || ends_within(pidfd, quiet_us)) {
		dprintf(STDERR_FILENO, "worker %d died before the first kill\n", (int)k.worker);
		k.died++;
		k.worker = await_worker(k.holder, k.worker);
	}
	if (pidfd >= 0)
		close(pidfd);
	atomic_store(&shared->phase, KILLING);
	if (k.stuck == 0 && k.worker)
		kill_all(&k);
	k.stuck += end_clients();
	report(&k);
	return 0;
}
