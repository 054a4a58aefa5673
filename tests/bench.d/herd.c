/*
 * herd - many readers that wait for one and the same answer.
 *
 *	herd [-n READERS] [-p PROCESSES] -w WAITING_FILE (-s PID | -c PORT:FILE) PATH
 *
 * Every reader is a thread of its own that opens PATH, reads it to its end and closes it. When all
 * opens have reached the file system (WAITING_FILE is the `waiting` file of its connection in
 * fusectl), the answer is triggered: by SIGUSR1 to PID, or by sending the HTTP request in FILE to
 * 127.0.0.1:PORT. Prints `READERS FAILED DISTINCT P50 P99 MAX`: how many readers failed, how many
 * different contents they got, and the nanoseconds from just before the trigger until a reader had
 * its token in hand.
 *
 * The readers are spread over processes because of RLIMIT_NOFILE.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "target.h"

#define STACK_LEN     (64 * 1024)
#define PROCESSES_MAX 256
/* Below the 60 s after which a waiting open ends by itself. */
#define GATHER_NS     (45 * 1000000000ull)
#define POLL_NS       (5 * 1000000)

struct reader {
	uint64_t done_ns;
	uint64_t content;
	int errnum;
};

static const char *path;
/* Shared by all processes. */
static struct reader *readers;
static atomic_uint *finished;

static uint64_t hash(const char *data, ssize_t len)
{
	uint64_t h = 14695981039346656037u; /* FNV-1a */

	for (ssize_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)data[i]) * 1099511628211u;
	return h;
}

static void *reader_run(void *arg)
{
	struct reader *r = arg;
	char buf[4096];
	ssize_t n = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		n = read(fd, buf, sizeof(buf));
	if (n <= 0)
		r->errnum = n < 0 ? errno : ENODATA;
	r->done_ns = now_ns();
	atomic_fetch_add(finished, 1);
	if (n > 0)
		r->content = hash(buf, n);
	if (fd >= 0) {
		if (n > 0 && read(fd, buf, sizeof(buf)) != 0)
			r->errnum = EIO;
		close(fd);
	}
	return NULL;
}

static void process_run(struct reader *first, unsigned int count)
{
	pthread_t *threads = calloc(count, sizeof(*threads));
	pthread_attr_t attr;

	if (!threads)
		die(ENOMEM, "threads");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_LEN);
	for (unsigned int i = 0; i < count; i++) {
		int r = pthread_create(&threads[i], &attr, reader_run, &first[i]);

		if (r != 0)
			die(r, "reader %u", i);
	}
	for (unsigned int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

static unsigned int waiting(const char *file)
{
	char text[32];
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;

	if (n <= 0)
		die(errno, "%s", file);
	close(fd);
	text[n] = '\0';
	return (unsigned int)strtoul(text, NULL, 10);
}

/* The connection is made beforehand, so that the trigger is one send(). */
static int trigger_connect(int port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die(errno, "connect to port %d", port);
	return fd;
}

static size_t load(const char *file, char *ret_data, size_t room)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, ret_data, room) : -1;

	if (n <= 0)
		die(errno, "%s", file);
	close(fd);
	return (size_t)n;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void report(unsigned int count, uint64_t start)
{
	uint64_t *ns = calloc(count, sizeof(*ns)), *content = calloc(count, sizeof(*content));
	unsigned int good = 0, distinct = 0;
	int errnum = 0;

	if (!ns || !content)
		die(ENOMEM, "report");
	for (unsigned int i = 0; i < count; i++) {
		if (readers[i].errnum) {
			errnum = readers[i].errnum;
			continue;
		}
		/* One that was through before the trigger had not waited: 0, and not a big number. */
		ns[good] = readers[i].done_ns > start ? readers[i].done_ns - start : 0;
		content[good++] = readers[i].content;
	}
	if (good == 0)
		die(errnum, "every reader failed");
	if (errnum)
		fprintf(stderr, "herd: %u readers failed: %s\n", count - good, strerror(errnum));
	qsort(ns, good, sizeof(*ns), compare_u64);
	qsort(content, good, sizeof(*content), compare_u64);
	for (unsigned int i = 0; i < good; i++)
		distinct += i == 0 || content[i] != content[i - 1];
	printf("%u %u %u %llu %llu %llu\n", count, count - good, distinct,
		(unsigned long long)ns[(good - 1) / 2],
		(unsigned long long)ns[(size_t)(good - 1) * 99 / 100],
		(unsigned long long)ns[good - 1]);
	free(ns);
	free(content);
}

int main(int argc, char **argv)
{
	unsigned int count = 10000, processes = 16, gathered = 0;
	const char *waiting_file = NULL, *trigger = NULL;
	const struct timespec poll_gap = { .tv_nsec = POLL_NS };
	char request[4096];
	size_t request_len = 0;
	uint64_t start, limit;
	pid_t pids[PROCESSES_MAX], server = 0;
	int opt, status, fd = -1;
	bool failed = false;

	while ((opt = getopt(argc, argv, "n:p:w:s:c:")) != -1) {
		if (opt == 'n')
			count = (unsigned int)strtoul(optarg, NULL, 10);
		else if (opt == 'p')
			processes = (unsigned int)strtoul(optarg, NULL, 10);
		else if (opt == 'w')
			waiting_file = optarg;
		else if (opt == 's')
			server = (pid_t)strtol(optarg, NULL, 10);
		else if (opt == 'c')
			trigger = optarg;
	}
	if (optind != argc - 1 || !waiting_file || (server <= 0) == !trigger || processes < 1 ||
		processes > PROCESSES_MAX || count < processes) {
		fprintf(stderr, "usage: herd [-n READERS] [-p PROCESSES] -w WAITING_FILE "
				"(-s PID | -c PORT:FILE) PATH\n");
		return 2;
	}
	path = argv[optind];
	if (trigger) {
		const char *file = strchr(trigger, ':');

		if (!file)
			die(0, "%s: PORT:FILE expected", trigger);
		request_len = load(file + 1, request, sizeof(request));
		fd = trigger_connect(atoi(trigger));
	}
	readers = mmap(NULL, count * sizeof(*readers) + sizeof(*finished), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (readers == MAP_FAILED)
		die(errno, "mmap");
	finished = (atomic_uint *)(readers + count);

	for (unsigned int i = 0; i < processes; i++) {
		unsigned int from = count * i / processes, to = count * (i + 1) / processes;

		pids[i] = fork();
		if (pids[i] < 0)
			die(errno, "fork");
		if (pids[i] == 0)
			process_run(readers + from, to - from);
	}
	limit = now_ns() + GATHER_NS;
	while ((gathered = waiting(waiting_file)) < count) {
		if (atomic_load(finished) > 0) {
			fprintf(stderr, "herd: a reader did not wait (%u had gathered)\n",
				gathered);
			failed = true;
			break;
		}
		if (now_ns() > limit) {
			fprintf(stderr, "herd: only %u gathered\n", gathered);
			failed = true;
			break;
		}
		nanosleep(&poll_gap, NULL); /* fusectl has no event to wait for */
	}
	start = now_ns();
	if (trigger ? send(fd, request, request_len, MSG_NOSIGNAL) != (ssize_t)request_len
		    : kill(server, SIGUSR1) < 0)
		die(errno, "trigger");
	for (unsigned int i = 0; i < processes; i++) {
		if (waitpid(pids[i], &status, 0) != pids[i] || status != 0)
			failed = true;
	}
	report(count, start);
	return failed;
}
