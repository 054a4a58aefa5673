#include "writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct job_list {
	struct write_job *first;
	struct write_job *last;
};

struct writer {
	pthread_t thread;
	pthread_mutex_t lock; /* for all below */
	pthread_cond_t wake;  /* of the thread: there is work, or the end */
	pthread_cond_t idle;  /* of writer_drain: nothing is left to run */
	struct job_list todo;
	struct job_list finished;
	bool running;
	bool stop;
	int event_fd; /* readable while finished has jobs that nobody was told of */
};

static void list_append(struct job_list *list, struct write_job *job)
{
	job->next = NULL;
	if (list->last)
		list->last->next = job;
	else
		list->first = job;
	list->last = job;
}

static struct write_job *list_take(struct job_list *list)
{
	struct write_job *job = list->first;

	if (job) {
		list->first = job->next;
		if (!list->first)
			list->last = NULL;
		job->next = NULL;
	}
	return job;
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;
	struct write_job *job;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		while (!w->todo.first && !w->stop)
			pthread_cond_wait(&w->wake, &w->lock);
		job = list_take(&w->todo);
		if (!job)
			break;
		w->running = true;
		pthread_mutex_unlock(&w->lock);

		job->result = job->run(job, &job->err);

		pthread_mutex_lock(&w->lock);
		w->running = false;
		/* One event tells of all that finish until the loop comes. The counter cannot
		 * overflow, so the write cannot fail. */
		if (!w->finished.first)
			(void)eventfd_write(w->event_fd, 1);
		list_append(&w->finished, job);
		if (!w->todo.first)
			pthread_cond_signal(&w->idle);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

int writer_new(struct writer **ret, struct pa_err *err)
{
	struct writer *w = calloc(1, sizeof(*w));
	sigset_t all;
	sigset_t old;
	int r;

	if (!w)
		return pa_fail(err, PA_NO_MEMORY, 0, "writer");
	w->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->event_fd < 0) {
		r = errno;
		free(w);
		return pa_fail(err, PA_SYSTEM, r, "eventfd: %s", strerror(r));
	}
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wake, NULL);
	pthread_cond_init(&w->idle, NULL);

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&w->thread, NULL, writer_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r) {
		close(w->event_fd);
		free(w);
		return pa_fail(err, PA_SYSTEM, r, "thread: %s", strerror(r));
	}
	*ret = w;
	return 0;
}

void writer_free(struct writer *w)
{
	if (!w)
		return;
	writer_drain(w);
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->idle);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	close(w->event_fd);
	free(w);
}

int writer_fd(const struct writer *w)
{
	return w->event_fd;
}

void writer_dispatch(struct writer *w)
{
	struct job_list finished;
	struct write_job *job;
	eventfd_t count;

	/* First the event, then the list: what finishes in between is taken now and announced again,
	 * never forgotten. EAGAIN only says that it was announced before. */
	(void)eventfd_read(w->event_fd, &count);
	pthread_mutex_lock(&w->lock);
	finished = w->finished;
	w->finished = (struct job_list){ NULL, NULL };
	pthread_mutex_unlock(&w->lock);

	while ((job = list_take(&finished)))
		job->done(job, job->result, &job->err);
}

void writer_add(struct writer *w, struct write_job *job)
{
	job->err = (struct pa_err){ .code = PA_NONE };
	job->result = 0;
	pthread_mutex_lock(&w->lock);
	list_append(&w->todo, job);
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

void writer_drain(struct writer *w)
{
	bool more;

	do {
		pthread_mutex_lock(&w->lock);
		while (w->running || w->todo.first)
			pthread_cond_wait(&w->idle, &w->lock);
		more = w->finished.first;
		pthread_mutex_unlock(&w->lock);
		if (more)
			writer_dispatch(w); /* whose done may add jobs */
	} while (more);
}
