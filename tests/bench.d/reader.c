/*
 * reader - measures targets (target.h) side by side.
 *
 *	reader pair [-b BLOCKS] [-n TIMES] NAME=TARGET...
 *		Alternates blocks of TIMES measurements over all targets, so that whatever else the
 *		machine does hits every target alike and ratios hold where absolute figures do not.
 *		Prints for each: NAME COUNT P50 P99 MAX, in nanoseconds.
 *	reader rate [-b BLOCKS] [-t MS] [-p PROCESSES] NAME=TARGET...
 *		The same alternation; in each block PROCESSES processes repeat one target for MS
 *		milliseconds. Prints for each: NAME RATE, the median of its blocks, per second.
 *	reader watch [-t MS] [-g GAP_US] NAME=TARGET...
 *		Repeats the targets in turn for MS milliseconds with a pause of GAP_US after each;
 *		the line `started` comes before the first. Prints what pair prints.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "target.h"

#define TARGETS_MAX   16
#define PROCESSES_MAX 64

struct samples {
	uint64_t *ns;
	size_t count;
	size_t room;
};

struct plan {
	unsigned int blocks;
	unsigned int times;
	unsigned int ms;
	unsigned int gap_us;
	unsigned int processes;
	struct target targets[TARGETS_MAX];
	struct samples samples[TARGETS_MAX];
	unsigned int order[TARGETS_MAX];
	unsigned int count;
};

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void samples_add(struct samples *s, uint64_t ns)
{
	if (s->count == s->room) {
		s->room = s->room ? s->room * 2 : 1024;
		s->ns = realloc(s->ns, s->room * sizeof(*s->ns));
		if (!s->ns)
			die(ENOMEM, "samples");
	}
	s->ns[s->count++] = ns;
}

/* permille of the sorted samples lie at or below the answer. */
static uint64_t samples_at(const struct samples *s, unsigned int permille)
{
	return s->ns[(s->count - 1) * permille / 1000];
}

static void print_samples(struct plan *p)
{
	for (unsigned int i = 0; i < p->count; i++) {
		struct samples *s = &p->samples[i];

		if (s->count == 0)
			die(0, "%s: never measured", p->targets[i].name);
		qsort(s->ns, s->count, sizeof(*s->ns), compare_u64);
		printf("%s %zu %llu %llu %llu\n", p->targets[i].name, s->count,
			(unsigned long long)samples_at(s, 500),
			(unsigned long long)samples_at(s, 990),
			(unsigned long long)samples_at(s, 1000));
	}
}

/*
 * A new order for each block. With a fixed one, each target inherits what the scheduler made of its
 * neighbour: after one that never sleeps, the same server answered four times slower than after one
 * that does. random() is not seeded: every run takes the same orders.
 */
static void shuffle(struct plan *p)
{
	for (unsigned int i = 0; i < p->count; i++) {
		unsigned int j = (unsigned int)random() % (i + 1);

		p->order[i] = p->order[j];
		p->order[j] = i;
	}
}

static void run_pair(struct plan *p)
{
	for (unsigned int block = 0; block < p->blocks; block++) {
		shuffle(p);
		for (unsigned int k = 0; k < p->count; k++) {
			unsigned int i = p->order[k];

			for (unsigned int n = 0; n < p->times; n++)
				samples_add(&p->samples[i], target_time_ns(&p->targets[i]));
		}
	}
	print_samples(p);
}

static void run_watch(struct plan *p)
{
	uint64_t end = now_ns() + (uint64_t)p->ms * 1000000u;
	struct timespec gap = { .tv_sec = p->gap_us / 1000000,
		.tv_nsec = (long)(p->gap_us % 1000000) * 1000 };

	puts("started");
	fflush(stdout);
	for (unsigned int i = 0; now_ns() < end; i = (i + 1) % p->count) {
		samples_add(&p->samples[i], target_time_ns(&p->targets[i]));
		if (p->gap_us)
			nanosleep(&gap, NULL);
	}
	print_samples(p);
}

/* One block: how many times a second all processes together get through t. */
static uint64_t rate_block(struct plan *p, struct target *t, uint64_t *counts)
{
	uint64_t start = now_ns(), end = start + (uint64_t)p->ms * 1000000u, sum = 0;
	pid_t pids[PROCESSES_MAX];

	for (unsigned int i = 0; i < p->processes; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			die(errno, "fork");
		if (pids[i] == 0) {
			uint64_t n = 0;

			t->fd = -1;
			for (; now_ns() < end; n++)
				t->once(t);
			counts[i] = n;
			_exit(0);
		}
	}
	for (unsigned int i = 0; i < p->processes; i++) {
		int status;

		if (waitpid(pids[i], &status, 0) != pids[i] || status != 0)
			die(0, "%s: a process failed", t->name);
		sum += counts[i];
	}
	return sum * 1000000000u / (now_ns() - start);
}

static void run_rate(struct plan *p)
{
	uint64_t *counts = mmap(NULL, PROCESSES_MAX * sizeof(*counts), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (counts == MAP_FAILED)
		die(errno, "mmap");
	for (unsigned int block = 0; block < p->blocks; block++) {
		shuffle(p);
		for (unsigned int k = 0; k < p->count; k++) {
			unsigned int i = p->order[k];

			samples_add(&p->samples[i], rate_block(p, &p->targets[i], counts));
		}
	}
	for (unsigned int i = 0; i < p->count; i++) {
		struct samples *s = &p->samples[i];

		qsort(s->ns, s->count, sizeof(*s->ns), compare_u64);
		printf("%s %llu\n", p->targets[i].name, (unsigned long long)samples_at(s, 500));
	}
}

static unsigned int number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text == '\0' || *end != '\0' || n > 10000000)
		die(0, "%s: not a number", text);
	return (unsigned int)n;
}

int main(int argc, char **argv)
{
	static struct plan p = { .blocks = 40, .times = 500, .ms = 500, .processes = 4 };
	const char *mode = argc > 1 ? argv[1] : "";
	int opt;

	optind = 2;
	while ((opt = getopt(argc, argv, "b:n:t:g:p:")) != -1) {
		if (opt == 'b')
			p.blocks = number(optarg);
		else if (opt == 'n')
			p.times = number(optarg);
		else if (opt == 't')
			p.ms = number(optarg);
		else if (opt == 'g')
			p.gap_us = number(optarg);
		else if (opt == 'p')
			p.processes = number(optarg);
		else
			return 2;
	}
	if (optind >= argc || argc - optind > TARGETS_MAX || p.processes < 1 || p.blocks < 1 ||
		p.processes > PROCESSES_MAX) {
		fprintf(stderr, "usage: reader pair|rate|watch [OPTIONS] NAME=KIND:WHAT...\n");
		return 2;
	}
	for (; optind < argc; optind++)
		target_parse(argv[optind], &p.targets[p.count++]);
	if (strcmp(mode, "pair") == 0)
		run_pair(&p);
	else if (strcmp(mode, "rate") == 0)
		run_rate(&p);
	else if (strcmp(mode, "watch") == 0)
		run_watch(&p);
	else
		die(0, "%s: pair, rate or watch expected", mode);
	return 0;
}
