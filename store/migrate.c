/* Import of other tools' logins: commands, runs, and what is remembered of them. */
#include <stdlib.h>

#include "migrate_i.h"

/* ---- a run ---- */

static void wait_free(struct migrate_wait *w)
{
	sealed_free(&w->save.sealed);
	free(w);
}

struct migrate_wait *run_wait(struct run *run)
{
	struct migrate_wait *w = calloc(1, sizeof(*w));

	if (w) {
		w->m = run->m;
		run->m->wait = w;
	}
	return w;
}

struct run *run_waited(struct migrate_wait *w)
{
	struct migrate *m = w->m;

	if (m)
		m->wait = NULL;
	wait_free(w);
	return m ? m->run : NULL;
}

int run_call(struct run *run, const cJSON *request, int64_t silence_ms,
	const struct legacy_handler *handler, struct pa_err *err)
{
	return legacy_call_new(
		run->m->b->legacy, request, silence_ms, handler, run, &run->call, err);
}

void run_hang_up(struct run *run)
{
	legacy_call_end(run->call);
	run->call = NULL;
}

bool run_wants(const struct run *run, const char *profile)
{
	size_t base = strcspn(profile, "@");
	const cJSON *name;

	if (!run->names->child)
		return true;
	cJSON_ArrayForEach (name, run->names) {
		const char *wanted = name->valuestring;

		if (!strcmp(wanted, profile) ||
			(strlen(wanted) == base && !strncmp(wanted, profile, base)))
			return true;
	}
	return false;
}

void run_free(struct run *run)
{
	run_hang_up(run);
	decide_done(run);
	transfers_done(run);
	report_done(&run->report);
	cJSON_Delete(run->skip);
	cJSON_Delete(run->silent);
	cJSON_Delete(run->names);
	free(run->looking_tool);
	free(run->looking_path);
	free(run->from);
	free(run->command);
	free(run);
}

/* The end: whoever waits hears of it. */
static void run_end(struct run *run, int r, const struct pa_err *err)
{
	struct migrate *m = run->m;
	broker_done_fn done = run->done;
	void *arg = run->arg;

	m->run = NULL;
	m->importing = false;
	run_free(run);
	if (done)
		done(arg, r, err);
}

/* What stands in the report as the state once this run is over. */
static enum migrate_state state_after(const struct run *run)
{
	const struct migrate *m = run->m;
	const cJSON *file;

	if (run->dry || run->failed)
		return m->state;
	switch (run->verb) {
	case MIGRATE_SKIP:
		return MIGRATE_SKIPPED;
	case MIGRATE_TAKE_OVER:
	case MIGRATE_GIVE_BACK:
		return run->ntransfer ? MIGRATE_MIGRATED : m->state;
	case MIGRATE_NOW:
		break;
	}
	cJSON_ArrayForEach (file, run->report.files) {
		const char *state = json_str(file, "state");

		if (state && strcmp(state, "absent") != 0)
			return MIGRATE_MIGRATED;
	}
	if (run->report.entries->child || run->report.more)
		return MIGRATE_MIGRATED;
	return run->from ? m->state : MIGRATE_NOT_NEEDED;
}

static void saved(struct vault_job *j, int r, const struct pa_err *err)
{
	struct pa_err why = *err;
	struct run *run = run_waited(j->arg);

	if (!run)
		return;
	if (r < 0)
		(void)json_set_str(run->m->report, "error", why.detail, NULL);
	run_end(run, r, &why);
}

static int save(struct run *run, struct pa_err *err)
{
	struct migrate *m = run->m;
	WIPE_AUTO char *text = NULL;
	struct sealed sealed = { 0 };
	struct migrate_wait *w;
	size_t len;
	int rc;

	if ((rc = report_to_record(m->report, m->generation + 1, &text, &len, err)) < 0 ||
		(rc = vault_seal(m->b->vault, MIGRATE_RECORD, m->generation + 1, text, len, &sealed,
			 err)) < 0)
		return rc;
	if (!(w = run_wait(run))) {
		sealed_free(&sealed);
		return pa_fail(err, PA_NO_MEMORY, 0, "report");
	}
	if ((rc = vault_job_put(&w->save, m->b->vault, MIGRATE_RECORD, &sealed, err)) < 0) {
		sealed_free(&sealed);
		(void)run_waited(w);
		return rc;
	}
	m->generation++;
	w->save.done = saved;
	w->save.arg = w;
	writer_add(m->b->writer, &w->save.job);
	return 0;
}

/* Nothing is left to be done but to remember it. */
static void run_close(struct run *run)
{
	struct migrate *m = run->m;
	struct broker *b = m->b;
	enum migrate_state state = state_after(run);
	struct pa_err err = run->err;
	cJSON *report;
	int rc = run->failed ? -err.errnum : 0;

	run_hang_up(run);
	if (!run->dry && b->linked)
		linked_watch(b);
	if (report_close(&run->report, migrate_state_name(state), run->command, run->dry,
		    now_wall(b), run->failed ? err.detail : NULL, &report, &err) < 0) {
		run_end(run, -err.errnum, &err);
		return;
	}
	cJSON_Delete(m->report);
	m->report = report;
	m->state = state;
	/* A run that failed leaves it to the next start to decide. */
	if (rc == 0 && !run->dry) {
		m->lost = false;
		rc = save(run, &err);
		if (rc == 0)
			return;
	}
	run_end(run, rc, &err);
}

void run_fail(struct run *run, const struct pa_err *err)
{
	run->failed = true;
	run->err = *err;
	run_step(run->m);
}

static int nap_run(struct write_job *job, struct pa_err *err)
{
	(void)job;
	(void)err;
	return 0;
}

static void nap_over(struct write_job *job, int r, const struct pa_err *err)
{
	struct run *run = run_waited(
		(struct migrate_wait *)((char *)job - offsetof(struct migrate_wait, nap)));

	(void)r;
	(void)err;
	if (run)
		run_step(run->m);
}

/* Lets the loop do something else; the way round is through the writer. */
static bool nap(struct run *run)
{
	struct migrate_wait *w;

	if (++run->slice % MIGRATE_SLICE || !(w = run_wait(run)))
		return false;
	w->nap = (struct write_job){ .run = nap_run, .done = nap_over };
	writer_add(run->m->b->writer, &w->nap);
	return true;
}

static void moving_step(struct run *run)
{
	if (!transfers_next(run))
		run_close(run);
}

static void deciding_step(struct run *run)
{
	if (run->at == run->nfound)
		run_close(run);
	else if (!nap(run))
		decide_next(run);
}

/* Whether the process has to say something first. */
static bool is_hearing(const struct run *run)
{
	switch (run->verb) {
	case MIGRATE_SKIP:
		return false;
	case MIGRATE_NOW:
		return !run->looked;
	case MIGRATE_TAKE_OVER:
	case MIGRATE_GIVE_BACK:
		return transfers_wait(run);
	}
	return false;
}

static void step(struct run *run)
{
	if (!run->failed && run->m->b->stopping) {
		pa_fail(&run->err, PA_INTERRUPTED, 0, "the server is stopping");
		run->failed = true;
	}
	if (run->failed) {
		run_close(run);
		return;
	}
	switch (run->verb) {
	case MIGRATE_SKIP:
		run_close(run);
		break;
	case MIGRATE_NOW:
		deciding_step(run);
		break;
	case MIGRATE_TAKE_OVER:
	case MIGRATE_GIVE_BACK:
		moving_step(run);
		break;
	}
}

void run_step(struct migrate *m)
{
	if (m->stepping)
		return;
	m->stepping = true;
	while (m->run && !m->wait && (m->run->failed || !is_hearing(m->run)))
		step(m->run);
	m->stepping = false;
}

static void run_start(struct run *run)
{
	struct migrate *m = run->m;
	struct pa_err err = { 0 };
	int rc = 0;

	m->run = run;
	switch (run->verb) {
	case MIGRATE_SKIP:
		rc = report_new(&run->report, &err);
		break;
	case MIGRATE_NOW:
		scan_start(run);
		return;
	case MIGRATE_TAKE_OVER:
	case MIGRATE_GIVE_BACK:
		rc = transfers_collect(run, &err);
		break;
	}
	if (rc < 0)
		run_fail(run, &err);
	else
		run_step(m);
}

/* ---- the interface ---- */

void broker_migrate(struct broker *b, const char *text, size_t len, broker_done_fn done, void *arg)
{
	struct migrate *m = b->migrate;
	struct pa_err err = { 0 };
	struct run *run;
	int rc;

	if (m->run)
		rc = pa_fail(&err, PA_BUSY, 0, "another import is under way");
	else
		rc = run_new(m, text, len, &run, &err);
	if (rc < 0) {
		done(arg, rc, &err);
		return;
	}
	run->done = done;
	run->arg = arg;
	run_start(run);
}

/* ---- what is remembered ---- */

static int empty_report(const struct migrate *m, cJSON **ret, struct pa_err *err)
{
	struct report rp;
	int rc = report_new(&rp, err);

	return rc < 0 ? rc
		      : report_close(&rp, migrate_state_name(m->state), "", false, 0,
				m->lost ? "what was decided cannot be read: it is damaged" : NULL,
				ret, err);
}

/* What the run under way has found and done so far. */
static int running_report(const struct run *run, cJSON **ret, struct pa_err *err)
{
	struct report rp = {
		.files = cJSON_Duplicate(run->report.files, true),
		.entries = cJSON_Duplicate(run->report.entries, true),
		.more = run->report.more,
	};

	return report_close(
		&rp, "running", run->command, run->dry, now_wall(run->m->b), NULL, ret, err);
}

char *broker_migrate_report(struct broker *b)
{
	const struct migrate *m = b->migrate;
	JSON_AUTO cJSON *made = NULL;
	const cJSON *report = m->report;
	char *text, *line;
	size_t len;

	if (m->run && m->run->report.files && running_report(m->run, &made, NULL) < 0)
		return NULL;
	if (!made && !report && empty_report(m, &made, NULL) < 0)
		return NULL;
	if (!(text = json_text(made ? made : report)))
		return NULL;
	len = strlen(text);
	if (!(line = wipe_realloc(text, len + 2))) {
		wipe_free(text);
		return NULL;
	}
	memcpy(line + len, "\n", 2);
	return line;
}

bool broker_is_importing(const struct broker *b)
{
	return b->migrate && b->migrate->importing;
}

static int migrate_make(struct broker *b, struct pa_err *err)
{
	if (b->migrate)
		return 0;
	if (!(b->migrate = calloc(1, sizeof(*b->migrate))))
		return pa_fail(err, PA_NO_MEMORY, 0, "import");
	b->migrate->b = b;
	return 0;
}

int migrate_load(struct broker *b, const char *text, size_t len, struct pa_err *err)
{
	struct migrate *m;
	uint64_t generation;
	cJSON *report;
	int rc;

	if ((rc = migrate_make(b, err)) < 0 ||
		(rc = report_from_record(text, len, &report, &generation, err)) < 0)
		return rc;
	m = b->migrate;
	/* A rekey that was cut short leaves two of them. */
	if (m->report && m->generation >= generation) {
		cJSON_Delete(report);
		return 0;
	}
	cJSON_Delete(m->report);
	m->report = report;
	m->generation = generation;
	(void)migrate_state_parse(json_str(report, "state"), &m->state);
	return 0;
}

int migrate_lost(struct broker *b, struct pa_err *err)
{
	int rc = migrate_make(b, err);

	if (rc == 0)
		b->migrate->lost = true;
	return rc;
}

int migrate_new(struct broker *b, bool import, struct pa_err *err)
{
	struct migrate *m;
	struct run *run;
	int rc = migrate_make(b, err);

	if (rc < 0)
		return rc;
	m = b->migrate;
	/* Where the decision is lost it may have been "skip": a person decides again. */
	if (!import || !b->legacy || m->state != MIGRATE_PENDING || m->lost)
		return 0;
	if ((rc = run_new(m, "now", 3, &run, err)) < 0)
		return rc;
	m->importing = true;
	run_start(run);
	return 0;
}

void migrate_free(struct broker *b)
{
	struct migrate *m = b->migrate;
	struct pa_err err;

	if (!m)
		return;
	if (m->wait)
		m->wait->m = NULL;
	if (m->run) {
		pa_fail(&err, PA_INTERRUPTED, 0, "the server is stopping");
		run_end(m->run, -err.errnum, &err);
	}
	cJSON_Delete(m->report);
	free(m);
	b->migrate = NULL;
}
