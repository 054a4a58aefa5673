/*
 * probe_herd - many readers that open one file at the same moment.
 *
 *	probe_herd PROCESSES THREADS PATH
 *
 * Each of the PROCESSES x THREADS readers opens PATH, reads it to its end and closes it; a barrier lets
 * them go together. Prints `READERS FAILED DISTINCT ERRNO MS`: how many failed, how many different
 * contents the others got, one errno of the failed ones (0: none failed) and the time until the last one
 * was through. The next line is the content that the first good reader got.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STACK_LEN   (64 * 1024)
#define CONTENT_MAX 1000

struct reader {
	int errnum;
	int len;
	char content[CONTENT_MAX];
};

struct shared {
	pthread_barrier_t barrier;
	struct reader readers[];
};

static const char *path;
static struct shared *shared;

static void die(int errnum, const char *what)
{
	fprintf(stderr, "probe_herd: %s: %s\n", what, strerror(errnum));
	exit(2);
}

static void *reader_run(void *arg)
{
	struct reader *r = arg;
	ssize_t n;
	int fd;

	pthread_barrier_wait(&shared->barrier);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		r->errnum = errno;
		return NULL;
	}
	do {
		n = read(fd, r->content + r->len, (size_t)(CONTENT_MAX - r->len));
		r->len += n > 0 ? (int)n : 0;
	} while (n > 0 && r->len < CONTENT_MAX);
	if (n != 0)
		r->errnum = n < 0 ? errno : EFBIG;
	else if (r->len == 0)
		r->errnum = ENODATA;
	close(fd);
	return NULL;
}

static void process_run(struct reader *first, size_t count)
{
	pthread_t *threads = calloc(count, sizeof(*threads));
	pthread_attr_t attr;
	int r;

	if (!threads)
		die(ENOMEM, "threads");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_LEN);
	for (size_t i = 0; i < count; i++) {
		r = pthread_create(&threads[i], &attr, reader_run, &first[i]);
		if (r != 0)
			die(r, "pthread_create");
	}
	for (size_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static int compare(const void *a, const void *b)
{
	const struct reader *x = *(struct reader *const *)a, *y = *(struct reader *const *)b;

	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return memcmp(x->content, y->content, (size_t)x->len);
}

static void report(size_t count, long long ms)
{
	struct reader **good = calloc(count, sizeof(*good)), *first = NULL;
	size_t ngood = 0, distinct = 0;
	int errnum = 0;

	if (!good)
		die(ENOMEM, "report");
	for (size_t i = 0; i < count; i++) {
		if (shared->readers[i].errnum)
			errnum = shared->readers[i].errnum;
		else
			good[ngood++] = &shared->readers[i];
	}
	first = ngood ? good[0] : NULL;
	qsort(good, ngood, sizeof(*good), compare);
	for (size_t i = 0; i < ngood; i++)
		distinct += i == 0 || compare(&good[i], &good[i - 1]) != 0;
	printf("%zu %zu %zu %d %lld\n", count, count - ngood, distinct, errnum, ms);
	if (first)
		printf("%.*s\n", first->len, first->content);
	free(good);
}

int main(int argc, char **argv)
{
	size_t processes = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
	size_t threads = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
	pthread_barrierattr_t attr;
	long long start;
	int status;

	if (processes < 1 || threads < 1) {
		fprintf(stderr, "usage: probe_herd PROCESSES THREADS PATH\n");
		return 2;
	}
	path = argv[3];
	shared = mmap(NULL, sizeof(*shared) + processes * threads * sizeof(struct reader),
		PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die(errno, "mmap");
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &attr, (unsigned)(processes * threads + 1));
	for (size_t i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die(errno, "fork");
		if (pid == 0)
			process_run(shared->readers + i * threads, threads);
	}
	pthread_barrier_wait(&shared->barrier);
	start = now_ms();
	for (size_t i = 0; i < processes; i++) {
		if (wait(&status) < 0 || status != 0)
			die(ECHILD, "a process of readers broke off");
	}
	report(processes * threads, now_ms() - start);
	return 0;
}
