/*
 * writer: order, where callbacks run, and that nothing given is forgotten.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/writer.h"

struct test_job {
	struct write_job job; /* first: a write_job is a test_job */
	int id;
	struct log *log;
	int gate; /* run waits for a byte here; -1: it does not wait */
	struct test_job *after;
	struct writer *w;
	bool heap;
};

struct log {
	pthread_t loop;
	int ran[64];
	int done[64];
	int nran;
	int ndone;
	sigset_t blocked;
};

static int job_run(struct write_job *job, struct pa_err *err)
{
	struct test_job *j = (struct test_job *)job;
	char c;

	if (j->gate >= 0 && read(j->gate, &c, 1) != 1)
		return pa_fail(err, PA_SYSTEM, errno, "gate");
	pthread_sigmask(SIG_SETMASK, NULL, &j->log->blocked);
	j->log->ran[j->log->nran++] = j->id;
	if (pthread_equal(pthread_self(), j->log->loop))
		return pa_fail(err, PA_SYSTEM, 0, "on the wrong thread");
	return j->id % 10 == 9 ? pa_fail(err, PA_STORE_FULL, 0, "job %d", j->id) : j->id;
}

static void job_done(struct write_job *job, int r, const struct pa_err *err)
{
	struct test_job *j = (struct test_job *)job;

	assert_true(pthread_equal(pthread_self(), j->log->loop));
	j->log->done[j->log->ndone++] = j->id;
	if (j->id % 10 == 9) {
		assert_int_equal(r, -ENOSPC);
		assert_int_equal(err->code, PA_STORE_FULL);
	} else {
		assert_int_equal(r, j->id);
		assert_int_equal(err->code, PA_NONE);
	}
	if (j->after)
		writer_add(j->w, &j->after->job);
	if (j->heap) {
		memset(j, 0xff, sizeof(*j)); /* the writer must not look at it again */
		free(j);
	}
}

static struct test_job new_job(struct log *log, int id)
{
	return (struct test_job){
		.job = { .run = job_run, .done = job_done },
		.id = id,
		.log = log,
		.gate = -1,
	};
}

static bool is_readable(const struct writer *w, int timeout_ms)
{
	struct pollfd p = { .fd = writer_fd(w), .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1;
}

static void jobs_run_and_return_in_order(void **state)
{
	struct log log = { .loop = pthread_self() };
	struct test_job jobs[50];
	struct pa_err err;
	struct writer *w;

	assert_return_code(writer_new(&w, &err), 0);
	assert_false(is_readable(w, 0));
	for (int i = 0; i < 50; i++) {
		jobs[i] = new_job(&log, i);
		writer_add(w, &jobs[i].job);
	}
	while (log.ndone < 50) {
		assert_true(is_readable(w, 10000));
		writer_dispatch(w);
	}
	for (int i = 0; i < 50; i++) {
		assert_int_equal(log.ran[i], i);
		assert_int_equal(log.done[i], i);
	}
	assert_false(is_readable(w, 0));
	writer_dispatch(w); /* nothing to do is no error */
	writer_free(w);
	assert_int_equal(log.ndone, 50);
}

static void adding_never_waits_for_a_slow_disk(void **state)
{
	struct log log = { .loop = pthread_self() };
	struct test_job slow = new_job(&log, 1);
	struct test_job next = new_job(&log, 2);
	struct pa_err err;
	struct writer *w;
	int gate[2];

	assert_return_code(pipe(gate), 0);
	assert_return_code(writer_new(&w, &err), 0);
	slow.gate = gate[0];
	writer_add(w, &slow.job);
	writer_add(w, &next.job);
	/* The writer cannot be past the gate, and we are here. */
	writer_dispatch(w);
	assert_int_equal(log.ndone, 0);
	assert_int_equal(write(gate[1], "x", 1), 1);
	writer_drain(w);
	assert_int_equal(log.ndone, 2);
	assert_int_equal(log.done[0], 1);
	writer_free(w);
	close(gate[0]);
	close(gate[1]);
}

static void drain_runs_what_done_adds(void **state)
{
	struct log log = { .loop = pthread_self() };
	struct test_job first = new_job(&log, 1);
	struct test_job second = new_job(&log, 2);
	struct test_job third = new_job(&log, 3);
	struct pa_err err;
	struct writer *w;

	assert_return_code(writer_new(&w, &err), 0);
	first.w = second.w = w;
	first.after = &second;
	second.after = &third;
	writer_add(w, &first.job);
	writer_drain(w);
	assert_int_equal(log.ndone, 3);
	assert_int_equal(log.done[2], 3);
	writer_drain(w); /* of nothing */
	writer_free(w);
}

static void drain_waits_for_the_job_that_runs(void **state)
{
	struct log log = { .loop = pthread_self() };
	struct test_job job = new_job(&log, 1);
	struct pa_err err;
	struct writer *w;

	assert_return_code(writer_new(&w, &err), 0);
	/* Often enough to come at every moment of the thread. */
	for (int i = 0; i < 3000; i++) {
		log.nran = log.ndone = 0;
		writer_add(w, &job.job);
		writer_drain(w);
		assert_int_equal(log.ndone, 1);
	}
	writer_free(w);
}

static void free_finishes_everything(void **state)
{
	struct log log = { .loop = pthread_self() };
	struct pa_err err;
	struct writer *w;

	assert_return_code(writer_new(&w, &err), 0);
	for (int i = 0; i < 20; i++) {
		struct test_job *j = malloc(sizeof(*j));

		assert_non_null(j);
		*j = new_job(&log, i);
		j->heap = true;
		writer_add(w, &j->job);
	}
	writer_free(w);
	assert_int_equal(log.ndone, 20);
	writer_free(NULL);
}

static void thread_takes_no_signals(void **state)
{
	struct log log = { .loop = pthread_self() };
	struct test_job job = new_job(&log, 1);
	struct pa_err err;
	struct writer *w;
	sigset_t ours;

	assert_return_code(writer_new(&w, &err), 0);
	writer_add(w, &job.job);
	writer_drain(w);
	assert_int_equal(sigismember(&log.blocked, SIGTERM), 1);
	assert_int_equal(sigismember(&log.blocked, SIGINT), 1);
	assert_int_equal(sigismember(&log.blocked, SIGCHLD), 1);
	pthread_sigmask(SIG_SETMASK, NULL, &ours);
	assert_int_equal(sigismember(&ours, SIGTERM), 0);
	writer_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jobs_run_and_return_in_order),
		cmocka_unit_test(adding_never_waits_for_a_slow_disk),
		cmocka_unit_test(drain_runs_what_done_adds),
		cmocka_unit_test(drain_waits_for_the_job_that_runs),
		cmocka_unit_test(free_finishes_everything),
		cmocka_unit_test(thread_takes_no_signals),
	};

	return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
