#include "tests/unit/broker_fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 30000 /* of real time, for what must happen */

static struct pa_err last_error;
static size_t heap_before; /* what OpenSSL's random generator has of the secure heap */

void fixture_init(void)
{
	struct pa_err err;
	uint8_t byte;

	json_init();
	if (secret_heap_init(SECRET_HEAP, NULL, &err) < 0 || seal_random(&byte, 1, &err) < 0)
		abort();
	heap_before = secret_heap_used();
	unsetenv("CREDENTIALS_DIRECTORY");
}

static const char config_text[] =
	"{%s\"providers\":{"
	"\"rota\":{\"name\":\"Rota\",\"aliases\":[\"rotary\"],"
	"\"env\":[\"ROTA_API_KEY\",\"ROTA_TOKEN\"],\"endpoint\":\"https://rota.example/v1\","
	"\"header\":[\"x-api-key: {key}\"],"
	"\"header_oauth\":[\"Authorization: Bearer {key}\",\"x-account: {account}\"],"
	"\"oauth\":{\"token_endpoint\":\"http://127.0.0.1:%d/token\",\"client_id\":\"rota-client\","
	"\"token_request\":\"form\",\"rotates\":true,\"account_member\":\"accountId\","
	"\"keep\":[\"scope\"]}},"
	"\"free\":{\"name\":\"Free\",\"oauth\":{\"token_endpoint\":\"http://127.0.0.1:%d/token\","
	"\"client_id\":\"free-client\",\"token_request\":\"form\",\"rotates\":false}},"
	"\"robot\":{\"name\":\"Robot\",\"oauth\":{\"token_endpoint\":\"http://127.0.0.1:%d/token\","
	"\"grant_types\":[\"client_credentials\"],\"token_request\":\"form\"}},"
	"\"plain\":{\"name\":\"Plain\",\"key_url\":\"https://plain.example/keys\"},"
	"\"anthropic\":{\"oauth\":{\"token_endpoint\":\"http://127.0.0.1:%d/token\"}},"
	"\"openai-codex\":{\"oauth\":{\"token_endpoint\":\"http://127.0.0.1:%d/token\"}}}}";

void must(int r, const struct pa_err *err, const char *what)
{
	if (r < 0)
		fail_msg("%s: %s %s (%s)", what, pa_wire(err->code), err->detail, err->where);
}

static void read_config(struct fixture *f, const char *more)
{
	struct pa_err err;
	char path[256];
	int port = token_server_port(f->server), dir;
	FILE *file;

	snprintf(path, sizeof(path), "%s/config.json", f->dir);
	file = fopen(path, "we");
	assert_non_null(file);
	fprintf(file, config_text, more ? more : "", port, port, port, port, port);
	assert_int_equal(fclose(file), 0);
	dir = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(config_read(dir, "config.json", &f->config, &err), &err, "config");
	close(dir);
	must(provider_table_new(-1, f->config->providers, f->config->text, f->config->text_len,
		     &f->providers, &err),
		&err, "providers");
}

struct fixture *fixture_new(const char *parent, const char *config, bool rotates)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	if (!parent)
		parent = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	snprintf(f->dir, sizeof(f->dir), "%s/piauth-test-XXXXXX", parent);
	assert_non_null(mkdtemp(f->dir));
	f->wall_ms = WALL_0;
	/* Far ahead of the real clock, so that the timer behind the broker never fires by itself. */
	f->boot_ms = INT64_C(100) * 365 * 24 * HOUR;
	f->server = token_server_start(CANARY, rotates);
	read_config(f, config);
	fixture_open(f);
	return f;
}

static int64_t wall_ms(void *arg)
{
	return ((struct fixture *)arg)->wall_ms;
}

static int64_t boot_ms(void *arg)
{
	return ((struct fixture *)arg)->boot_ms;
}

struct vault *fixture_vault(struct fixture *f)
{
	char dir[256], key[256];
	const struct vault_options o = { .dir = dir, .key_file = key, .create = true };
	struct vault *v = NULL;
	struct pa_err err;
	int rc;

	snprintf(dir, sizeof(dir), "%s/store", f->dir);
	snprintf(key, sizeof(key), "%s/store.key", f->dir);
	/* A process that is being started has the lock's descriptor until its exec is through, which nothing
	 * tells: a moment later it has not. */
	for (int tries = 200; (rc = vault_open(&o, &v, &err)) == -EBUSY && tries > 0; tries--)
		poll(NULL, 0, 10);
	must(rc, &err, "vault");
	return v;
}

void fixture_open(struct fixture *f)
{
	const struct broker_clock clock = { wall_ms, boot_ms, f };
	struct broker_options o = { .providers = f->providers, .config = f->config };
	struct pa_err err;

	f->vault = fixture_vault(f);
	o.vault = f->vault;
	o.clock = &clock;
	o.legacy = f->legacy;
	o.import = f->import;
	must(broker_new(&o, &f->b, &err), &err, "broker");
}

void fixture_close(struct fixture *f)
{
	broker_free(f->b, 0);
	vault_close(f->vault);
	f->b = NULL;
	f->vault = NULL;
}

void fixture_restart(struct fixture *f)
{
	fixture_close(f);
	fixture_open(f);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

void fixture_free(struct fixture *f)
{
	if (f->b)
		fixture_close(f);
	assert_int_equal(secret_heap_used(), heap_before);
	provider_table_free(f->providers);
	config_free(f->config);
	token_server_stop(f->server);
	assert_int_equal(nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	free(f);
}

int fixture_setup(void **state)
{
	*state = fixture_new(NULL, NULL, true);
	return 0;
}

int fixture_teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

/* ---- time and events ---- */

static int64_t real_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void until(struct fixture *f, bool (*happened)(struct fixture *f, void *arg), void *arg,
	const char *what)
{
	int64_t end = real_ms() + PATIENCE_MS;

	broker_dispatch(f->b);
	while (!happened(f, arg)) {
		struct pollfd p[2] = { { .fd = broker_fd(f->b), .events = POLLIN },
			{ .fd = token_server_fd(f->server), .events = POLLIN } };
		int64_t left = end - real_ms();

		if (left <= 0 || poll(p, 2, (int)left) <= 0)
			fail_msg("%s did not happen", what);
		if (p[1].revents)
			token_server_requests(f->server);
		broker_dispatch(f->b);
	}
}

static bool is_idle(struct fixture *f, void *arg)
{
	return !f->b->busy;
}

void fixture_settle(struct fixture *f)
{
	until(f, is_idle, NULL, "rest");
}

void fixture_advance(struct fixture *f, int64_t ms)
{
	f->wall_ms += ms;
	f->boot_ms += ms;
	broker_dispatch(f->b);
}

void fixture_set_wall(struct fixture *f, int64_t ms)
{
	f->wall_ms = ms;
	/* What the timer that is cancelled by a set clock does; setting the machine's is not for a test. */
	for (size_t i = 0; i < f->b->by_name.n; i++)
		profile_step(f->b->by_name.v[i]);
}

struct phase_of {
	struct profile *p;
	enum refresh_phase phase;
};

static bool has_phase(struct fixture *f, void *arg)
{
	struct phase_of *o = arg;

	return o->p->refresh ? o->p->refresh->phase == o->phase : o->phase == REFRESH_IDLE;
}

void fixture_phase(struct fixture *f, struct profile *p, enum refresh_phase phase)
{
	until(f, has_phase, &(struct phase_of){ p, phase }, "the phase of the refresh");
}

static bool has_requests(struct fixture *f, void *arg)
{
	return token_server_requests(f->server) >= *(unsigned *)arg;
}

void fixture_requests(struct fixture *f, unsigned n)
{
	until(f, has_requests, &n, "a request");
}

struct slow_disk {
	struct write_job job;
	struct fixture *f;
	sem_t go;
	bool ended;
};

static int slow_run(struct write_job *job, struct pa_err *err)
{
	while (sem_wait(&((struct slow_disk *)job)->go))
		continue;
	return 0;
}

static void slow_done(struct write_job *job, int r, const struct pa_err *err)
{
	((struct slow_disk *)job)->ended = true;
}

struct slow_disk *slow_disk_start(struct fixture *f)
{
	struct slow_disk *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	d->f = f;
	sem_init(&d->go, 0, 0);
	d->job = (struct write_job){ .run = slow_run, .done = slow_done };
	writer_add(f->b->writer, &d->job);
	return d;
}

static bool disk_has_ended(struct fixture *f, void *arg)
{
	return ((struct slow_disk *)arg)->ended;
}

void slow_disk_end(struct slow_disk *d)
{
	sem_post(&d->go);
	until(d->f, disk_has_ended, d, "the slow write");
	sem_destroy(&d->go);
	free(d);
}

/* ---- calls and their ends ---- */

void outcome_done(void *arg, int r, const struct pa_err *err)
{
	struct outcome *o = arg;

	assert_false(o->ended);
	o->ended = true;
	o->r = r;
	if (r < 0)
		o->err = *err;
}

static bool outcome_has_ended(struct fixture *f, void *arg)
{
	return ((struct outcome *)arg)->ended;
}

int outcome_await(struct fixture *f, struct outcome *o)
{
	until(f, outcome_has_ended, o, "the end of a call");
	return o->r;
}

static void reader_end(struct reader *rd, struct broker_value *v, int r)
{
	const char *bytes;

	assert_false(rd->ended);
	rd->ended = true;
	rd->r = r;
	if (rd->count)
		++*rd->count;
	if (!v)
		return;
	rd->generation = v->generation;
	secret_read(v->bytes, &bytes, &rd->len);
	snprintf(rd->value, sizeof(rd->value), "%.*s", (int)rd->len, bytes);
	secret_free(v->bytes);
}

static void reader_done(struct broker_wait *w, struct broker_value *v, const struct pa_err *err)
{
	struct reader *rd = (struct reader *)w;

	if (!v)
		rd->err = *err;
	reader_end(rd, v, v ? 0 : -err->errnum);
}

bool reader_start(struct fixture *f, struct reader *rd, struct profile *p, enum broker_what what)
{
	unsigned *count = rd->count;
	struct broker_value v = { 0 };
	int r;

	*rd = (struct reader){ .f = f, .w.done = reader_done, .count = count };
	r = broker_read(f->b, p, what, &rd->w, &v, &rd->err);
	if (r <= 0)
		reader_end(rd, r == 0 ? &v : NULL, r);
	return rd->ended;
}

static bool reader_has_ended(struct fixture *f, void *arg)
{
	return ((struct reader *)arg)->ended;
}

int reader_await(struct fixture *f, struct reader *rd)
{
	until(f, reader_has_ended, rd, "the end of a read");
	return rd->r;
}

const char *fixture_read(struct fixture *f, struct profile *p, enum broker_what what)
{
	static struct reader rd;

	rd.count = NULL;
	reader_start(f, &rd, p, what);
	if (reader_await(f, &rd) == 0)
		return rd.value;
	last_error = rd.err;
	assert_int_equal(rd.r, -rd.err.errnum);
	return NULL;
}

void assert_value_at(struct fixture *f, struct profile *p, enum broker_what what, const char *text,
	const char *file, int line)
{
	const char *value = fixture_read(f, p, what);

	if (!value) {
		print_error("%s: %s %s\n", profile_name(p), pa_wire(last_error.code),
			last_error.detail);
		_fail(file, line);
		return;
	}
	_assert_string_equal(value, text, file, line);
}

const struct pa_err *fixture_error(void)
{
	return &last_error;
}

struct profile *fixture_profile(struct fixture *f, const char *name)
{
	struct profile *p = NULL;

	if (broker_resolve(f->b, name, &p) == BROKER_NAME_NONE)
		fail_msg("%s does not resolve", name);
	profile_hold(p, 1);
	return p;
}

int fixture_write(struct fixture *f, struct profile *p, enum lane lane, const char *text)
{
	struct outcome write = { 0 }, flush = { 0 };
	struct broker_input *in;
	struct pa_err err;

	must(broker_input_new(f->b, p, lane, &in, &err), &err, "input");
	broker_input_write(in, text, strlen(text), outcome_done, &write);
	outcome_await(f, &write);
	broker_input_flush(in, outcome_done, &flush);
	outcome_await(f, &flush);
	broker_input_free(in);
	fixture_settle(f);
	last_error = write.err;
	assert_int_equal(write.r, flush.r);
	return write.r;
}

void fixture_key(struct fixture *f, struct profile *p, const char *key)
{
	int r = fixture_write(f, p, LANE_API_KEY, key);

	must(r, &last_error, "key");
}

void fixture_login(struct fixture *f, struct profile *p, int64_t life_ms, const char *more)
{
	unsigned n = token_server_issued(f->server);
	char entry[1024];

	snprintf(entry, sizeof(entry),
		"{\"type\":\"oauth\",\"access\":\"" CANARY "-at-%u\",\"refresh\":\"" CANARY
		"-rt-%u\",\"expires\":%lld%s%s}",
		n, n, (long long)(f->wall_ms + life_ms), more ? "," : "", more ? more : "");
	must(fixture_write(f, p, LANE_OAUTH, entry), &last_error, "login");
}

int fixture_forget(struct fixture *f, struct profile *p, enum lane lane)
{
	struct outcome o = { 0 };

	broker_forget(f->b, p, lane, outcome_done, &o);
	outcome_await(f, &o);
	fixture_settle(f);
	last_error = o.err;
	return o.r;
}

int fixture_mode(struct fixture *f, struct profile *p, const char *mode)
{
	struct outcome o = { 0 };

	broker_set_mode(f->b, p, mode, strlen(mode), outcome_done, &o);
	outcome_await(f, &o);
	fixture_settle(f);
	last_error = o.err;
	return o.r;
}

cJSON *fixture_status(struct fixture *f, struct profile *p)
{
	char *text = broker_status(f->b, p);
	cJSON *status = NULL;
	struct pa_err err;
	size_t len;

	assert_non_null(text);
	assert_null(strstr(text, CANARY));
	len = strlen(text);
	assert_int_equal(text[len - 1], '\n');
	must(json_parse(text, len, PA_BAD_INPUT, &status, NULL, &err), &err, "status");
	wipe_free(text);
	return status;
}

void assert_status(struct fixture *f, struct profile *p, const char *pointer, const char *value)
{
	cJSON *status = fixture_status(f, p);
	const cJSON *at = json_at(status, pointer);

	if (!value) {
		assert_true(cJSON_IsNull(at));
	} else {
		assert_true(cJSON_IsString(at));
		assert_string_equal(at->valuestring, value);
	}
	cJSON_Delete(status);
}

unsigned fixture_events(struct fixture *f, const char *event)
{
	const struct eventlog *l = broker_events(f->b);
	char needle[64], *text = strndup(l->text ? l->text : "", l->len);
	unsigned n = 0;

	assert_non_null(text);
	assert_null(strstr(text, CANARY));
	snprintf(needle, sizeof(needle), "\"event\":\"%s\"", event);
	for (const char *at = text; (at = strstr(at, needle)); at++)
		n++;
	free(text);
	return n;
}
