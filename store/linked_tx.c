/*
 * The transaction of one refresh: the linked files open and locked from before the request to the provider
 * until its answer is written into them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "linked_i.h"

struct linked_tx {
	struct linked_tx *next, **link; /* of all, for the end of the broker */
	struct broker *b;
	uint64_t profile; /* its id */
	struct linked_read read;
	struct legacy_call *call;
	int64_t until_boot_ms; /* for the locks */
	struct linked_findings findings;
	bool settling;
	void (*done)(void *arg, bool torn, const struct pa_err *err);
	void *arg;
	struct pa_err err; /* code set: the files could not be had */
	cJSON *entry;      /* what is being written */
	size_t at;         /* the row that is being written */
};

static void tx_free(struct linked_tx *tx)
{
	*tx->link = tx->next;
	if (tx->next)
		tx->next->link = tx->link;
	legacy_call_end(tx->call);
	if (tx->entry)
		tx->b->busy--;
	linked_read_done(&tx->read);
	cJSON_Delete(tx->entry);
	free(tx);
}

void linked_tx_free_all(struct linked *l)
{
	while (l->txs)
		tx_free(l->txs);
}

static void tx_tell(struct linked_tx *tx, const struct pa_err *err)
{
	void (*done)(void *arg, bool torn, const struct pa_err *err) = tx->done;
	bool torn = false;

	for (size_t i = 0; i < tx->read.n; i++)
		torn |= tx->read.row[i].torn;
	tx->done = NULL;
	if (done)
		done(tx->arg, torn, err);
}

static void tx_settled(struct linked_findings *f)
{
	struct linked_tx *tx = f->arg;
	struct pa_err err = tx->err; /* whoever is told may close tx */

	tx->settling = false;
	if (!tx->done)
		tx_free(tx); /* closed meanwhile, or the end of a write */
	else
		tx_tell(tx, err.code ? &err : NULL);
}

static void tx_settle(struct linked_tx *tx, bool wrote)
{
	struct profile *p = broker_by_id(tx->b, tx->profile);

	if (!p) {
		tx_free(tx);
		return;
	}
	tx->settling = true;
	tx->findings = (struct linked_findings){
		.lr = &tx->read, .p = p, .wrote = wrote, .done = tx_settled, .arg = tx
	};
	linked_settle(&tx->findings);
}

/* The files cannot be had: that is noted, then told. */
static void tx_fail(struct linked_tx *tx, const struct pa_err *why)
{
	linked_read_silent(&tx->read, why, &tx->err);
	tx_settle(tx, false);
}

static int tx_ask(struct linked_tx *tx, struct pa_err *err)
{
	JSON_AUTO cJSON *request = linked_read_request(&tx->read, true, LINKED_WAIT_MS);

	if (!request)
		return pa_fail(err, PA_NO_MEMORY, 0, "linked files");
	return legacy_call_send(tx->call, request, LINKED_WAIT_MS + LINKED_SILENCE_MS, err);
}

static void tx_next_write(struct linked_tx *tx);

static void tx_wrote(struct linked_tx *tx, const cJSON *m)
{
	struct linked_row *row = &tx->read.row[tx->at];
	const char *result = json_str(m, "result"), *reason = json_str(m, "reason");

	row->wrote = result && !strcmp(result, "written")     ? "written"
		     : result && !strcmp(result, "overtaken") ? "overtaken"
							      : "failed";
	if (!strcmp(row->wrote, "overtaken"))
		snprintf(row->reason, sizeof(row->reason),
			"another program changed it while it was being refreshed");
	else if (!strcmp(row->wrote, "failed"))
		snprintf(row->reason, sizeof(row->reason), "not written back: %.120s",
			reason ? reason : "no reason given");
	tx->at++;
	tx_next_write(tx);
}

static void tx_message(void *arg, const cJSON *m, int fd)
{
	struct linked_tx *tx = arg;
	const char *kind = json_str(m, "m");
	struct pa_err err = { 0 };

	(void)fd; /* none comes with these */
	if (!kind)
		return;
	if (tx->entry) {
		tx_wrote(tx, m);
	} else if (!strcmp(kind, "error")) {
		pa_fail(&err, PA_FILE_UNUSABLE, 0, "%s",
			json_str(m, "reason") ? json_str(m, "reason") : "");
		tx_fail(tx, &err);
	} else if (strcmp(kind, "opened")) {
		linked_read_message(&tx->read, m);
	} else if (tx->read.busy) {
		if (now_boot(tx->b) >= tx->until_boot_ms)
			pa_fail(&err, PA_FILE_LOCKED, 0, "locked");
		else
			tx_ask(tx, &err);
		if (err.code)
			tx_fail(tx, &err);
	} else {
		legacy_call_rest(tx->call);
		linked_read_complete(&tx->read);
		tx_settle(tx, false);
	}
}

static void tx_gone(void *arg, const struct pa_err *err)
{
	struct linked_tx *tx = arg;

	tx->call = NULL;
	if (tx->entry) {
		/* What became of the write nobody knows; the next look at the file tells. */
		for (; tx->at < tx->read.n; tx->at++)
			snprintf(tx->read.row[tx->at].reason, sizeof(tx->read.row[tx->at].reason),
				"not written back: %.100s", err->detail),
				tx->read.row[tx->at].wrote = "failed";
		tx_settle(tx, true);
	} else if (tx->done && !tx->settling) {
		tx_fail(tx, err);
	}
}

static const struct legacy_handler tx_handler = { tx_message, tx_gone };

int linked_open(struct profile *p, void (*done)(void *arg, bool torn, const struct pa_err *err),
	void *arg, struct linked_tx **ret, struct pa_err *err)
{
	struct linked_tx *tx = calloc(1, sizeof(*tx));
	struct linked *l = p->b->linked;
	JSON_AUTO cJSON *request = NULL;
	int rc;

	if (!tx)
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", p->name);
	tx->b = tx->read.b = p->b;
	tx->profile = p->id;
	tx->until_boot_ms = now_boot(p->b) + LINKED_LOCK_MS;
	tx->done = done;
	tx->arg = arg;
	tx->next = l->txs;
	tx->link = &l->txs;
	if (l->txs)
		l->txs->link = &tx->next;
	l->txs = tx;
	if ((rc = linked_read_add(&tx->read, p, NULL, err)) < 0)
		goto fail;
	if (!(request = linked_read_request(&tx->read, true, LINKED_WAIT_MS))) {
		rc = pa_fail(err, PA_NO_MEMORY, 0, "%s", p->name);
		goto fail;
	}
	rc = legacy_call_new(p->b->legacy, request, LINKED_WAIT_MS + LINKED_SILENCE_MS, &tx_handler,
		tx, &tx->call, err);
	if (rc < 0)
		goto fail;
	*ret = tx;
	return 0;
fail:
	tx_free(tx);
	return rc;
}

void linked_close(struct linked_tx *tx)
{
	if (!tx)
		return;
	tx->done = NULL;
	legacy_call_end(tx->call);
	tx->call = NULL;
	if (!tx->settling)
		tx_free(tx);
}

/* Sends the next row that may be written; at the end the results are noted. */
static void tx_next_write(struct linked_tx *tx)
{
	for (; tx->at < tx->read.n; tx->at++) {
		struct linked_row *row = &tx->read.row[tx->at];
		const char *expect = json_str(row->entry, "refresh");
		JSON_AUTO cJSON *request = NULL;
		cJSON *entry = NULL;
		struct pa_err err = { 0 };

		if (!row->mine || row->find != LINKED_ENTRY)
			continue;
		request = cJSON_CreateObject();
		entry = cJSON_Duplicate(tx->entry, true);
		if (!entry || !cJSON_AddItemToObject(request, "entry", entry)) {
			cJSON_Delete(entry);
			pa_fail(&err, PA_NO_MEMORY, 0, "no memory");
		} else if (!cJSON_AddStringToObject(request, "op", "put") ||
			   !cJSON_AddStringToObject(request, "tool", row->tool) ||
			   !cJSON_AddStringToObject(request, "path", row->path) ||
			   !cJSON_AddStringToObject(request, "name", row->name) ||
			   !cJSON_AddStringToObject(request, "lane", "oauth") ||
			   !cJSON_AddStringToObject(request, "expect", expect ? expect : "")) {
			pa_fail(&err, PA_NO_MEMORY, 0, "no memory");
		} else if (!tx->call) {
			pa_fail(&err, PA_FILE_UNUSABLE, 0, "the process ended");
		} else if (legacy_call_send(tx->call, request, LINKED_WAIT_MS + LINKED_SILENCE_MS,
				   &err) == 0) {
			return;
		}
		row->wrote = "failed";
		snprintf(row->reason, sizeof(row->reason), "not written back: %.120s", err.detail);
	}
	tx_settle(tx, true);
}

void linked_write(struct linked_tx *tx, const cJSON *entry)
{
	struct profile *p = broker_by_id(tx->b, tx->profile);

	tx->done = NULL;
	if (!p || !(tx->entry = linked_file_entry(p, entry, NULL))) {
		tx_free(tx);
		return;
	}
	tx->b->busy++; /* until it is written: tx_free */
	tx_next_write(tx);
}

/* ---- a file with an older pair ---- */

static void heal_opened(void *arg, bool torn, const struct pa_err *err)
{
	struct linked_tx *tx = arg;
	struct profile *p = broker_by_id(tx->b, tx->profile);
	RECORD_AUTO struct record rec = { 0 };

	(void)torn;
	/* A refresh that waits for the files will write them itself; an adopted login is not ours to give yet. */
	if (err || !p || p->refresh || p->facts.adopted || p->facts.dead || !p->facts.has_oauth ||
		profile_open(p, &rec, NULL) < 0)
		linked_close(tx);
	else
		linked_write(tx, record_lane(&rec, LANE_OAUTH));
}

void linked_heal(struct profile *p)
{
	struct linked_tx *tx;

	if (p->refresh || p->facts.adopted || p->facts.dead || p->facts.foreign || p->facts.moved)
		return;
	/* What cannot be started now is started by the next look. */
	if (linked_open(p, heal_opened, NULL, &tx, NULL) == 0)
		tx->arg = tx;
}
