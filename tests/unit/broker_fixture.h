/*
 * broker_fixture - a broker on real parts for a test: a vault in a directory of its own with a real writer
 * thread, the real provider table with the test's providers in the configuration, a token endpoint in a
 * thread, and clocks that stand still until the test moves them. Every function fails the test itself.
 *
 * The providers (PREFIX of the tokens is CANARY, so that any secret that leaks can be found):
 *   rota    rotates; form; alias "Rotary"; env ROTA_API_KEY, ROTA_TOKEN; x-api-key; x-account header
 *   free    the refresh token is never consumed
 *   robot   client credentials
 *   plain   no OAuth, no fixed endpoint
 *   anthropic, openai-codex  as in the table, but for the endpoint
 * Requests of all of them go to one endpoint, f->server.
 */
#ifndef PIAUTH_TEST_BROKER_FIXTURE_H
#define PIAUTH_TEST_BROKER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/broker_i.h"
#include "tests/unit/token_server.h"

#define CANARY "canary"
#define WALL_0 INT64_C(1700000000000) /* when every test begins */
#define HOUR   INT64_C(3600000)
#define MINUTE INT64_C(60000)
#define SECOND INT64_C(1000)

struct fixture {
	char dir[128];
	int64_t wall_ms, boot_ms;
	struct vault *vault;
	struct config *config;
	struct provider_table *providers;
	struct broker *b; /* NULL: closed */
	struct token_server *server;
	const struct legacy_spawn
		*legacy; /* set before fixture_restart; NULL: other tools' files are left alone */
	bool import;     /* as in struct broker_options */
};

/* For main: heaps and hooks, once. */
void fixture_init(void);
/* cmocka's setup and teardown: *state is a struct fixture that is open. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
/* The same with more members at the top of the configuration ("\"deadline_s\":5,") and a server that
 * rotates or not. parent NULL: $TMPDIR. */
struct fixture *fixture_new(const char *parent, const char *config, bool rotates);
void fixture_free(struct fixture *f);

void fixture_open(struct fixture *f);  /* vault and broker */
void fixture_close(struct fixture *f); /* both, in good order */
void fixture_restart(struct fixture *f);
struct vault *fixture_vault(struct fixture *f); /* a second opening, while f is closed */
void must(int r, const struct pa_err *err, const char *what); /* fails the test when r < 0 */

/* ---- time and events ---- */

void fixture_settle(struct fixture *f); /* until no refresh and no commit is under way */
void fixture_advance(struct fixture *f, int64_t ms);  /* both clocks, then what is due happens */
void fixture_set_wall(struct fixture *f, int64_t ms); /* as if somebody set the clock */
/* Until the broker has come to this phase of a refresh. */
void fixture_phase(struct fixture *f, struct profile *p, enum refresh_phase phase);
void fixture_requests(struct fixture *f, unsigned n); /* until the server has got n in all */

/* Keeps the writer thread busy, as a disk does that hangs. */
struct slow_disk;
struct slow_disk *slow_disk_start(struct fixture *f);
void slow_disk_end(struct slow_disk *d);

/* ---- calls and their ends ---- */

struct outcome {
	bool ended;
	int r;
	struct pa_err err;
};
void outcome_done(void *arg, int r, const struct pa_err *err); /* a broker_done_fn */
int outcome_await(struct fixture *f, struct outcome *o);       /* r */

struct reader {
	struct broker_wait w; /* first: done finds the reader by it */
	struct fixture *f;
	bool ended;
	int r; /* 0 or -errno */
	uint64_t generation;
	struct pa_err err;
	char value[256]; /* what was read, cut */
	size_t len;
	unsigned *count; /* may be NULL: how many have ended */
};
/* Returns true when it ended at once. */
bool reader_start(struct fixture *f, struct reader *rd, struct profile *p, enum broker_what what);
int reader_await(struct fixture *f, struct reader *rd); /* r */

/* Starts and awaits; the value, static, or NULL with *fixture_error() filled. */
const char *fixture_read(struct fixture *f, struct profile *p, enum broker_what what);
const struct pa_err *fixture_error(void);
void assert_value_at(struct fixture *f, struct profile *p, enum broker_what what, const char *text,
	const char *file, int line);
#define assert_key(f, p, text)        assert_value_at(f, p, BROKER_KEY, text, __FILE__, __LINE__)
#define assert_read(f, p, what, text) assert_value_at(f, p, what, text, __FILE__, __LINE__)
#define assert_no_key(f, p, what)                                                   \
	do {                                                                        \
		assert_null(fixture_read(f, p, BROKER_KEY));                        \
		assert_string_equal(pa_wire(fixture_error()->code), pa_wire(what)); \
	} while (0)

struct profile *fixture_profile(struct fixture *f, const char *name); /* by any spelling; held */
int fixture_write(struct fixture *f, struct profile *p, enum lane lane, const char *text);
void fixture_key(struct fixture *f, struct profile *p, const char *key);
/* Stores CANARY-at-N, CANARY-rt-N, N what the server issued last; more are members ("\"a\":1") or NULL. */
void fixture_login(struct fixture *f, struct profile *p, int64_t life_ms, const char *more);
int fixture_forget(struct fixture *f, struct profile *p, enum lane lane);
int fixture_mode(struct fixture *f, struct profile *p, const char *mode);

cJSON *fixture_status(struct fixture *f, struct profile *p); /* for cJSON_Delete */
void assert_status(struct fixture *f, struct profile *p, const char *pointer, const char *value);
/* How often an event of this kind was logged. */
unsigned fixture_events(struct fixture *f, const char *event);
/* The record as it is on disk, for cJSON_Delete; NULL: there is none. */
cJSON *fixture_record(struct fixture *f, const char *profile);
/* Changes the record of a closed fixture: each sets or (NULL) drops a member, given as JSON text. */
void fixture_edit(struct fixture *f, const char *profile, const char *pointer, const char *json);
/* The newest journal row of a profile; 0: none. */
enum intent_kind fixture_intent(struct fixture *f, const char *profile);

#endif
