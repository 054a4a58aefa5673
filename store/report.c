/* What the broker tells: status, overview, metrics, events. No secret in any of it. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "broker_i.h"
#include "redact.h"

static cJSON *add_time(cJSON *o, const char *name, int64_t ms)
{
	char text[40];
	time_t s = (time_t)(ms / 1000);
	struct tm tm;

	if (ms <= 0 || !gmtime_r(&s, &tm))
		return cJSON_AddNullToObject(o, name);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return cJSON_AddStringToObject(o, name, text);
}

void profile_error(struct profile *p, const struct pa_err *err)
{
	p->last_error = *err;
	p->last_error_ms = now_wall(p->b);
}

void broker_event(
	struct broker *b, const struct profile *p, const char *what, const struct pa_err *err)
{
	JSON_AUTO cJSON *o = cJSON_CreateObject();
	WIPE_AUTO char *text = NULL;

	if (!o)
		return;
	add_time(o, "at", now_wall(b));
	cJSON_AddStringToObject(o, "event", what);
	cJSON_AddStringToObject(o, "profile", p->name);
	cJSON_AddNumberToObject(o, "generation", (double)p->facts.generation);
	if (err && err->code)
		cJSON_AddStringToObject(o, "diagnostic_code", pa_wire(err->code));
	text = json_text(o);
	if (text)
		eventlog_add(&b->events, text, strlen(text));
}

const struct eventlog *broker_events(const struct broker *b)
{
	return &b->events;
}

/* Has expired, and nothing can be done about it but a new login (or the store's adoption). */
static bool is_at_its_end(const struct profile *p)
{
	const struct facts *f = &p->facts;

	return f->lane == LANE_OAUTH && f->expires_ms && f->expires_ms <= now_wall(p->b) &&
	       (!f->can_refresh || f->foreign || f->moved);
}

static const char *state_of(const struct profile *p)
{
	if (p->broken.code)
		return "locked";
	if (profile_serving(p) == LANE_NONE)
		return "none";
	if (p->facts.dead || is_at_its_end(p))
		return "dead";
	if (p->unsaved)
		return "unsaved";
	if (p->refresh)
		return "refreshing";
	if (p->failures || p->lost_answer)
		return "retrying";
	return "valid";
}

/* What a person does about a code here: the table's remedy, and where a key is stored. */
static cJSON *hints_of(const struct profile *p, enum pa_code code)
{
	cJSON *hints = cJSON_CreateArray();
	char text[256];

	if (!hints)
		return NULL;
	if (code == PA_NO_KEY || code == PA_BAD_KEY) {
		snprintf(text, sizeof(text), "echo KEY > %s/api-key", p->name);
		cJSON_AddItemToArray(hints, cJSON_CreateString(text));
		if (p->provider->key_url) {
			snprintf(text, sizeof(text), "Keys are made at %s", p->provider->key_url);
			cJSON_AddItemToArray(hints, cJSON_CreateString(text));
		}
	}
	if (code == PA_NO_KEY && p->provider->env && p->provider->env[0]) {
		snprintf(text, sizeof(text), "or set %s in the environment of the server",
			p->provider->env[0]);
		cJSON_AddItemToArray(hints, cJSON_CreateString(text));
	}
	return hints;
}

static void add_error(cJSON *o, const struct profile *p, const struct pa_err *err, int64_t at)
{
	WIPE_AUTO char *detail = NULL;
	cJSON *e, *context;

	if (!err->code) {
		cJSON_AddNullToObject(o, "last_error");
		return;
	}
	e = cJSON_AddObjectToObject(o, "last_error");
	cJSON_AddStringToObject(e, "diagnostic_code", pa_wire(err->code));
	cJSON_AddStringToObject(e, "summary", pa_summary(err->code));
	cJSON_AddItemToObject(e, "hints", hints_of(p, err->code));
	context = cJSON_AddObjectToObject(e, "context");
	cJSON_AddStringToObject(context, "provider", p->provider->id);
	detail = redact_text(err->detail, strlen(err->detail));
	if (detail && *detail)
		cJSON_AddStringToObject(context, "details", detail);
	cJSON_AddStringToObject(e, "diagnostic_remediation", pa_remedy(err->code));
	cJSON_AddStringToObject(e, "redaction_policy", "redact-secrets");
	if (err->http_status)
		cJSON_AddNumberToObject(e, "http_status", err->http_status);
	else
		cJSON_AddNullToObject(e, "http_status");
	add_time(e, "at", at);
}

static cJSON *status_of(struct broker *b, struct profile *p)
{
	cJSON *o = cJSON_CreateObject();
	enum lane lane = profile_serving(p);
	const struct facts *f = &p->facts;
	struct pa_err err = p->last_error;
	int64_t at = p->last_error_ms;
	const char *env = NULL;

	if (!o)
		return NULL;
	if (!err.code && lane == LANE_NONE) {
		pa_fail(&err, PA_NO_KEY, 0, "%s", p->name);
		at = now_wall(b);
	} else if (!err.code && (f->foreign || f->moved || is_at_its_end(p))) {
		(void)refresh_allowed(p, &err);
		at = now_wall(b);
	}
	cJSON_AddStringToObject(o, "profile", p->name);
	cJSON_AddStringToObject(o, "provider", p->provider->id);
	cJSON_AddStringToObject(o, "name", p->provider->name);
	cJSON_AddStringToObject(o, "type", lane == LANE_ENV ? "api_key" : lane_name(lane));
	cJSON_AddStringToObject(o, "auth_state", lane_name(lane));
	cJSON_AddStringToObject(o, "state", state_of(p));
	cJSON_AddStringToObject(o, "mode", mode_name(f->mode));
	cJSON_AddBoolToObject(o, "has_api_key", f->has_api_key);
	cJSON_AddBoolToObject(o, "has_oauth", f->has_oauth);
	cJSON_AddBoolToObject(o, "supports_oauth", p->provider->oauth != NULL);
	cJSON_AddBoolToObject(o, "keyless", p->provider->keyless);
	add_time(o, "expires", f->expires_ms > 1 ? f->expires_ms : 0);
	cJSON_AddNumberToObject(o, "expires_ms", f->expires_ms > 1 ? (double)f->expires_ms : 0);
	add_time(o, "refreshed", f->refreshed_ms);
	add_time(o, "changed", f->changed_ms);
	cJSON_AddNumberToObject(o, "generation", (double)f->generation);
	if (f->account)
		cJSON_AddStringToObject(o, "account", f->account);
	else
		cJSON_AddNullToObject(o, "account");
	cJSON_AddItemToObject(
		o, "links", f->links_text ? cJSON_CreateRaw(f->links_text) : cJSON_CreateArray());
	if (lane == LANE_ENV && profile_env(p, &env))
		cJSON_AddStringToObject(o, "source", env);
	else if (lane != LANE_NONE)
		cJSON_AddStringToObject(o, "source", "store");
	else
		cJSON_AddNullToObject(o, "source");
	add_error(o, p, &err, at);
	return o;
}

/* A newline at the end, as every text file has one. */
static char *text_of(cJSON *o)
{
	char *text = o ? json_text(o) : NULL, *line = NULL;
	size_t len;

	if (text) {
		len = strlen(text);
		if ((line = wipe_malloc(len + 2))) {
			memcpy(line, text, len);
			memcpy(line + len, "\n", 2);
		}
	}
	wipe_free(text);
	cJSON_Delete(o);
	return line;
}

char *broker_status(struct broker *b, struct profile *p)
{
	return text_of(status_of(b, p));
}

/* Every profile that holds something, then what else can be logged in to. */
char *broker_overview(struct broker *b)
{
	cJSON *list = cJSON_CreateArray(), *o;

	for (size_t i = 0; list && i < b->by_name.n; i++) {
		struct profile *p = b->by_name.v[i];
		bool there = profile_serving(p) != LANE_NONE || p->facts.stored || p->broken.code;

		if (!there && !p->permanent && !p->listed)
			continue;
		if ((o = status_of(b, p)))
			cJSON_AddItemToArray(list, o);
	}
	return text_of(list);
}

void broker_facts(struct broker *b, struct profile *p, struct profile_facts *ret)
{
	const struct facts *f = &p->facts;

	(void)b;
	*ret = (struct profile_facts){
		.stored = f->stored,
		.has_api_key = f->has_api_key,
		.has_oauth = f->has_oauth,
		.serving = profile_serving(p),
		.mode = f->mode,
		.generation = f->generation,
		.expires_wall_ms = f->expires_ms > 1 ? f->expires_ms : 0,
		.changed_wall_ms = f->changed_ms,
		.account = f->account,
		.base_url = f->base_url ? f->base_url : p->provider->endpoint,
		.base_url_writable = !p->provider->endpoint,
	};
}

char *broker_metrics(struct broker *b)
{
	const struct counters *c = &b->count;
	size_t size = 4096, stored = 0, dead = 0, unsaved = 0;
	char *text = wipe_malloc(size);

	if (!text)
		return NULL;
	for (size_t i = 0; i < b->by_name.n; i++) {
		stored += b->by_name.v[i]->facts.stored;
		dead += b->by_name.v[i]->facts.dead;
		unsaved += b->by_name.v[i]->unsaved;
	}
	const struct {
		const char *name, *type, *help;
		uint64_t value;
	} rows[] = {
		{ "piauth_profiles", "gauge", "Profiles that hold a credential.", stored },
		{ "piauth_profiles_dead", "gauge", "Logins whose refresh token was refused.",
			dead },
		{ "piauth_profiles_unsaved", "gauge", "Rotated logins that are not on disk.",
			unsaved },
		{ "piauth_records_broken", "gauge", "Records that did not open.",
			c->broken_records },
		{ "piauth_reads_total", "counter", "Values asked for.", c->reads },
		{ "piauth_reads_waited_total", "counter", "Reads that waited for a refresh.",
			c->reads_waited },
		{ "piauth_reads_failed_total", "counter", "Reads that got an error.",
			c->reads_failed },
		{ "piauth_readers_waiting", "gauge", "Reads that wait now.", c->waiting },
		{ "piauth_refreshes_total", "counter", "Refreshes that brought a token.",
			c->refreshes },
		{ "piauth_refreshes_failed_total", "counter", "Refreshes that did not.",
			c->refreshes_failed },
		{ "piauth_refresh_repeats_total", "counter",
			"Refreshes repeated after a lost answer.", c->repeats },
		{ "piauth_saves_total", "counter", "Records written.", c->saves },
		{ "piauth_saves_failed_total", "counter", "Records that could not be written.",
			c->saves_failed },
	};
	size_t at = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		at += (size_t)snprintf(text + at, size - at,
			"# HELP %s %s\n# TYPE %s %s\n%s %llu\n", rows[i].name, rows[i].help,
			rows[i].name, rows[i].type, rows[i].name,
			(unsigned long long)rows[i].value);
	return text;
}
