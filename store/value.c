/* What a reader gets: which lane serves, rendered as key, header or env, and the cache of that. */
#include <ctype.h>
#include <stdlib.h>

#include "broker_i.h"

static void lru_unlink(struct profile *p)
{
	struct broker *b = p->b;

	if (!p->cached)
		return;
	*(p->lru_prev ? &p->lru_prev->lru_next : &b->lru_first) = p->lru_next;
	*(p->lru_next ? &p->lru_next->lru_prev : &b->lru_last) = p->lru_prev;
	p->lru_prev = p->lru_next = NULL;
}

static void lru_front(struct profile *p)
{
	struct broker *b = p->b;

	p->lru_next = b->lru_first;
	if (b->lru_first)
		b->lru_first->lru_prev = p;
	b->lru_first = p;
	if (!b->lru_last)
		b->lru_last = p;
}

void profile_forget_values(struct profile *p)
{
	lru_unlink(p);
	p->b->cached -= p->cached;
	p->cached = 0;
	for (int i = 0; i < WHATS; i++) {
		secret_free(p->value[i]);
		p->value[i] = NULL;
	}
}

#define BLANKS " \t\r\n"

/* Without the blanks at the end. */
static size_t value_len(const char *s)
{
	size_t len = strlen(s);

	while (len && strchr(BLANKS, s[len - 1]))
		len--;
	return len;
}

static bool value_is_line(const char *s, size_t len)
{
	if (len == 0 || len > RECORD_KEY_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return false;
	}
	return true;
}

const char *profile_env(const struct profile *p, const char **ret_name)
{
	if (!p->permanent)
		return NULL;
	for (char **name = p->provider->env; name && *name; name++) {
		const char *value = secure_getenv(*name);

		if (!value)
			continue;
		value += strspn(value, BLANKS);
		/* Blanks only count as unset, and so does what could forge a header line. */
		if (!value_is_line(value, value_len(value)))
			continue;
		if (ret_name)
			*ret_name = *name;
		return value;
	}
	return NULL;
}

enum lane profile_serving(const struct profile *p)
{
	if (p->facts.lane != LANE_NONE)
		return p->facts.lane;
	if (p->facts.mode == MODE_ENV ||
		(p->facts.mode == MODE_AUTO && !p->facts.stored && p->b->config->env_fallback))
		return profile_env(p, NULL) ? LANE_ENV : LANE_NONE;
	return LANE_NONE;
}

/* Writes to out where it is not NULL; returns how much there is. */
static size_t put(char *out, size_t at, const char *text, size_t len)
{
	if (out)
		memcpy(out + at, text, len);
	return at + len;
}

static size_t render_template(const struct profile *p, const char *t, const char *key,
	size_t key_len, char *out, size_t at)
{
	while (*t) {
		size_t plain = strcspn(t, "{");

		at = put(out, at, t, plain);
		t += plain;
		if (!strncmp(t, "{key}", 5)) {
			at = put(out, at, key, key_len);
			t += 5;
		} else if (!strncmp(t, "{account}", 9)) {
			at = put(out, at, p->facts.account, strlen(p->facts.account));
			t += 9;
		} else if (*t) {
			at = put(out, at, t++, 1);
		}
	}
	return put(out, at, "\n", 1);
}

/* "x-ai" -> "X_AI_API_KEY": for providers that name no variable. */
static size_t render_env_name(const struct profile *p, bool oauth, char *out)
{
	const struct provider *provider = p->provider;
	const char *name = oauth && provider->env_oauth && provider->env_oauth[0]
				   ? provider->env_oauth[0]
			   : provider->env && provider->env[0] ? provider->env[0]
							       : NULL;
	size_t at = 0;

	if (name)
		return put(out, 0, name, strlen(name));
	for (const char *s = provider->id; *s; s++) {
		char c = isalnum((unsigned char)*s) ? (char)toupper((unsigned char)*s) : '_';

		at = put(out, at, &c, 1);
	}
	return put(out, at, "_API_KEY", 8);
}

static size_t render(
	const struct profile *p, enum broker_what what, const char *key, size_t key_len, char *out)
{
	bool oauth = p->facts.lane == LANE_OAUTH;
	char **lines = oauth ? p->provider->header_oauth : p->provider->header;
	size_t at = 0;

	switch (what) {
	case BROKER_KEY:
		return put(out, 0, key, key_len);
	case BROKER_HEADER:
		for (; lines && *lines; lines++) {
			if (!p->facts.account && strstr(*lines, "{account}"))
				continue;
			at = render_template(p, *lines, key, key_len, out, at);
		}
		return at;
	case BROKER_ENV:
		at = render_env_name(p, oauth, out);
		at = put(out, at, "=", 1);
		at = put(out, at, key, key_len);
		return put(out, at, "\n", 1);
	}
	return 0;
}

size_t broker_size(struct broker *b, struct profile *p, enum broker_what what)
{
	const char *env;

	switch (profile_serving(p)) {
	case LANE_NONE:
		return 0;
	case LANE_ENV:
		env = profile_env(p, NULL);
		return render(p, what, env, value_len(env), NULL);
	case LANE_API_KEY:
	case LANE_OAUTH:
		break;
	}
	return p->facts.value_len ? render(p, what, NULL, p->facts.value_len, NULL) : 0;
}

static int render_secret(const struct profile *p, enum broker_what what, const char *key,
	size_t key_len, struct secret **ret, struct pa_err *err)
{
	struct secret *s;
	void *bytes;
	int rc;

	if ((rc = secret_new_blank(render(p, what, key, key_len, NULL), &s, &bytes, err)) < 0)
		return rc;
	render(p, what, key, key_len, bytes);
	*ret = s;
	return 0;
}

static int make_value(
	struct profile *p, enum broker_what what, struct secret **ret, struct pa_err *err)
{
	RECORD_AUTO struct record r = { 0 };
	const char *value;
	int rc;

	if (profile_serving(p) == LANE_ENV) {
		value = profile_env(p, NULL);
		return render_secret(p, what, value, value_len(value), ret, err);
	}
	if ((rc = profile_open(p, &r, err)) < 0)
		return rc;
	value = json_str(
		record_lane(&r, p->facts.lane), p->facts.lane == LANE_OAUTH ? "access" : "key");
	if (!value)
		return pa_fail(err, PA_STORE_CORRUPT, 0, "%s", p->name);
	return render_secret(p, what, value, strlen(value), ret, err);
}

/* What it takes of the secure heap, which deals in powers of two; never 0. */
static size_t heap_cost(const struct secret *s)
{
	size_t need = secret_len(s) + 16, block = 64;

	while (block < need)
		block *= 2;
	return block;
}

int profile_value(struct profile *p, enum broker_what what, struct secret **ret, struct pa_err *err)
{
	struct broker *b = p->b;
	struct secret *s = p->value[what];
	int rc;

	if (s) {
		if (b->lru_first != p) {
			lru_unlink(p);
			lru_front(p);
		}
		*ret = secret_ref(s);
		return 0;
	}
	rc = make_value(p, what, &s, err);
	while (rc == -ENOMEM && b->lru_last) {
		profile_forget_values(b->lru_last);
		rc = make_value(p, what, &s, err);
	}
	if (rc < 0)
		return rc;
	lru_unlink(p);
	lru_front(p);
	p->cached += heap_cost(s);
	b->cached += heap_cost(s);
	p->value[what] = secret_ref(s);
	while (b->cached > CACHE_MAX && b->lru_last != p)
		profile_forget_values(b->lru_last);
	*ret = s;
	return 0;
}
