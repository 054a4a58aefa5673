/* Names and what is behind them: resolution, made and removed profiles, lanes, modes, the environment. */
#include "tests/unit/broker_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static void names_resolve(void **state)
{
	static const struct {
		const char *name;
		enum broker_name kind;
		const char *profile;
	} cases[] = {
		{ "rota", BROKER_NAME_PROFILE, "rota" },
		{ "Rota", BROKER_NAME_ALIAS, "rota" },
		{ "ROTA", BROKER_NAME_ALIAS, "rota" },
		{ "rotary", BROKER_NAME_ALIAS, "rota" },
		{ "RoTaRy", BROKER_NAME_ALIAS, "rota" },
		{ "xai", BROKER_NAME_PROFILE, "xai" },
		{ "grok", BROKER_NAME_ALIAS, "xai" },
		{ "XAI", BROKER_NAME_ALIAS, "xai" },
		{ "rota@work", BROKER_NAME_PROFILE, "rota@work" },
		{ "rota:work", BROKER_NAME_ALIAS, "rota@work" },
		{ "rotary@work", BROKER_NAME_ALIAS, "rota@work" },
		{ "ROTA:work", BROKER_NAME_ALIAS, "rota@work" },
		{ "rota@Work", BROKER_NAME_PROFILE, "rota@Work" }, /* the part keeps its case */
		{ "rota@a@b", BROKER_NAME_PROFILE, "rota@a@b" },
		{ "rota@default", BROKER_NAME_ALIAS, "rota" },
		{ "rota:default", BROKER_NAME_ALIAS, "rota" },
		{ "", BROKER_NAME_NONE, NULL },
		{ "nobody", BROKER_NAME_NONE, NULL },
		{ "nobody@work", BROKER_NAME_NONE, NULL },
		{ "@work", BROKER_NAME_NONE, NULL },
		{ "rota@", BROKER_NAME_NONE, NULL },
		{ "rota@-x", BROKER_NAME_NONE, NULL },
		{ "rota@a b", BROKER_NAME_NONE, NULL },
		{ "rota@a/b", BROKER_NAME_NONE, NULL },
		{ "rota@a\n", BROKER_NAME_NONE, NULL },
		{ ".piauth", BROKER_NAME_NONE, NULL },
		{ "rota@" /* 65 */
		  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
			BROKER_NAME_NONE, NULL },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		  "aa",
			BROKER_NAME_NONE, NULL },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct profile *p = NULL;

		if (broker_resolve(f->b, cases[i].name, &p) != cases[i].kind)
			fail_msg("%s", cases[i].name);
		if (!cases[i].profile) {
			assert_null(p);
			continue;
		}
		assert_string_equal(profile_name(p), cases[i].profile);
		assert_int_equal(profile_is_permanent(p), !strchr(cases[i].profile, '@'));
		profile_hold(p, 1);
		assert_ptr_equal(broker_by_id(f->b, profile_id(p)), p);
		profile_drop(p, 1);
	}
	/* Every provider is there, with an id of its own; none of it is a credential. */
	for (size_t i = 0; i < provider_count(f->providers); i++) {
		struct profile *p = fixture_profile(f, provider_at(f->providers, i)->id);

		assert_ptr_equal(broker_by_id(f->b, profile_id(p)), p);
		assert_ptr_equal(profile_provider(p), provider_at(f->providers, i));
	}
	assert_null(broker_next(f->b, NULL));
	assert_null(broker_by_id(f->b, 0));
	assert_null(broker_by_id(f->b, UINT64_C(1) << 55));
}

/* known@name is there as long as somebody looks, and for good once something is stored. */
static void named_profiles_go_with_their_last_reference(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota@work");
	uint64_t id = profile_id(p);

	profile_hold(p, 2);
	assert_ptr_equal(fixture_profile(f, "rota:work"), p);
	profile_drop(p, 3);
	assert_ptr_equal(broker_by_id(f->b, id), p);
	assert_null(broker_next(f->b, NULL));
	profile_drop(p, 1);
	assert_null(broker_by_id(f->b, id));

	p = fixture_profile(f, "rota@work");
	assert_int_not_equal(profile_id(p), id);
	id = profile_id(p);
	fixture_key(f, p, "sk-work");
	assert_int_equal(profile_id(p), id);
	profile_drop(p, UINT64_MAX);
	assert_ptr_equal(broker_by_id(f->b, id), p);
	assert_ptr_equal(broker_next(f->b, NULL), p);
	assert_key(f, p, "sk-work");
	assert_no_key(f, fixture_profile(f, "rota"), PA_NO_KEY);
}

/* The kernel gives back more references than this process knows of: it had them from an earlier one. */
static void references_of_an_earlier_server(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota@work");
	uint64_t stored, gone;

	fixture_key(f, p, "sk-work");
	stored = profile_id(p);
	gone = profile_id(fixture_profile(f, "rota@none"));
	profile_hold(p, 100);
	fixture_restart(f);
	/* Where nothing is stored there is nobody to ask any more. */
	assert_null(broker_by_id(f->b, gone));
	p = broker_by_id(f->b, stored);
	assert_non_null(p);
	profile_drop(p, 101);
	assert_ptr_equal(broker_by_id(f->b, stored), p);
	assert_key(f, p, "sk-work");
	/* None are owed: after the logout it goes with the references of this one. */
	p = fixture_profile(f, "rota@work");
	assert_int_equal(fixture_forget(f, p, LANE_NONE), 0);
	assert_int_equal(p->refs, 1);
	profile_drop(p, 101);
	p = broker_by_id(f->b, stored);
	assert_true(!p || (p->listed && p->refs == 0));
}

static int make(struct fixture *f, const char *name)
{
	struct outcome o = { 0 };

	broker_make(f->b, name, outcome_done, &o);
	return outcome_await(f, &o);
}

static int removed(struct fixture *f, struct profile *p)
{
	struct outcome o = { 0 };

	broker_remove(f->b, p, outcome_done, &o);
	return outcome_await(f, &o);
}

static void custom_providers_are_made_and_removed(void **state)
{
	struct fixture *f = *state;
	struct profile *p, *q;
	uint64_t id;

	assert_int_equal(make(f, "Mine"), 0);
	assert_int_equal(make(f, "mine"), -EEXIST);
	assert_int_equal(make(f, "rota"), -EEXIST);
	assert_int_equal(make(f, "grok"), -EEXIST);
	assert_int_equal(make(f, ".x"), -EPERM);
	assert_int_equal(make(f, "a b"), -EPERM);
	assert_int_equal(make(f, "rota@-"), -EPERM);
	p = fixture_profile(f, "mine");
	id = profile_id(p);
	assert_true(profile_provider(p)->custom);
	assert_string_equal(profile_provider(p)->id, "mine");
	assert_ptr_equal(broker_next(f->b, NULL), p);
	fixture_restart(f);
	p = fixture_profile(f, "MINE");
	assert_int_equal(profile_id(p), id);
	fixture_key(f, p, "sk-mine");
	assert_key(f, p, "sk-mine");
	assert_read(f, p, BROKER_HEADER, "Authorization: Bearer sk-mine\n");
	assert_read(f, p, BROKER_ENV, "MINE_API_KEY=sk-mine\n");
	assert_int_equal(removed(f, p), -ENOTEMPTY);
	assert_int_equal(fixture_forget(f, p, LANE_NONE), 0);
	/* Still there, empty; until it is removed, for good. */
	fixture_restart(f);
	p = fixture_profile(f, "mine");
	assert_int_equal(profile_id(p), id);
	q = fixture_profile(f, "mine@two");
	profile_drop(q, 1);
	assert_int_equal(removed(f, p), 0);
	assert_null(broker_by_id(f->b, id));
	assert_int_equal(broker_resolve(f->b, "mine", &p), BROKER_NAME_NONE);
	assert_int_equal(broker_resolve(f->b, "mine@two", &p), BROKER_NAME_NONE);
	fixture_restart(f);
	assert_int_equal(broker_resolve(f->b, "mine", &p), BROKER_NAME_NONE);
	/* Another making is another directory. */
	assert_int_equal(make(f, "mine"), 0);
	assert_int_not_equal(profile_id(fixture_profile(f, "mine")), id);

	assert_int_equal(removed(f, fixture_profile(f, "rota")), -EBUSY);
	assert_int_equal(make(f, "rota@empty"), 0);
	fixture_restart(f);
	p = fixture_profile(f, "rota@empty");
	assert_ptr_equal(broker_next(f->b, "mine"), p);
	assert_int_equal(removed(f, p), 0);
	assert_null(broker_next(f->b, "mine"));
}

/* Removed while its request is out: the answer finds nobody. */
static void removal_during_an_exchange(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota@work");
	struct reader rd = { 0 };

	fixture_login(f, p, 0, NULL);
	token_server_next(f->server, (struct token_reply){ .hold = true });
	reader_start(f, &rd, p, BROKER_KEY);
	fixture_requests(f, 1);
	assert_int_equal(removed(f, p), -ENOTEMPTY);
	struct outcome o = { 0 };

	broker_forget(f->b, p, LANE_NONE, outcome_done, &o);
	assert_int_equal(outcome_await(f, &o), 0);
	assert_int_equal(rd.r, -ENOKEY);
	assert_int_equal(removed(f, p), 0);
	fixture_settle(f);
	token_server_release(f->server);
	assert_null(broker_next(f->b, NULL));
}

/* ---- lanes and modes ---- */

static void auto_serves_what_was_set_last(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");
	struct profile_facts facts;

	fixture_key(f, p, "sk-1");
	fixture_login(f, p, HOUR, NULL);
	assert_key(f, p, CANARY "-at-0");
	broker_facts(f->b, p, &facts);
	assert_int_equal(facts.serving, LANE_OAUTH);
	assert_true(facts.has_api_key && facts.has_oauth);
	/* A rotation makes it no newer. */
	fixture_key(f, p, "sk-2");
	assert_key(f, p, "sk-2");
	assert_int_equal(fixture_mode(f, p, "oauth\n"), 0);
	fixture_advance(f, HOUR);
	assert_key(f, p, CANARY "-at-1");
	assert_int_equal(fixture_mode(f, p, "auto"), 0);
	assert_key(f, p, "sk-2");
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	assert_key(f, p, "sk-2");
	/* Forgetting one leaves the other. */
	assert_int_equal(fixture_forget(f, p, LANE_API_KEY), 0);
	assert_key(f, p, CANARY "-at-1");
	assert_int_equal(fixture_forget(f, p, LANE_API_KEY), 0);
	assert_int_equal(fixture_forget(f, p, LANE_OAUTH), 0);
	assert_no_key(f, p, PA_NO_KEY);
	assert_int_equal(fixture_forget(f, p, LANE_NONE), 0);
	assert_int_equal(fixture_events(f, "logout"), 2);
}

static void a_fixed_mode_never_falls_back(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota");

	setenv("ROTA_API_KEY", "sk-env", 1);
	fixture_key(f, p, "sk-1");
	assert_int_equal(fixture_mode(f, p, "oauth"), 0);
	assert_no_key(f, p, PA_NO_KEY);
	assert_int_equal(broker_size(f->b, p, BROKER_KEY), 0);
	assert_int_equal(fixture_mode(f, p, "env\n"), 0);
	assert_key(f, p, "sk-env");
	assert_int_equal(fixture_mode(f, p, "api_key\r\n"), 0);
	assert_key(f, p, "sk-1");
	assert_int_equal(fixture_forget(f, p, LANE_NONE), 0);
	assert_no_key(f, p, PA_NO_KEY);
	unsetenv("ROTA_API_KEY");
	assert_int_equal(fixture_mode(f, p, "env"), 0);
	assert_no_key(f, p, PA_NO_KEY);
	static const char *const bad[] = { "", "\n", "x", "AUTO", "auto auto", "autox", " auto" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(fixture_mode(f, p, bad[i]), -EINVAL);
		assert_int_equal(p->facts.mode, MODE_ENV);
	}
}

static void the_environment_serves_when_nothing_is_stored(void **state)
{
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "rota"), *work;
	struct profile_facts facts;

	assert_no_key(f, p, PA_NO_KEY);
	setenv("ROTA_TOKEN", "sk-second", 1);
	assert_key(f, p, "sk-second");
	setenv("ROTA_API_KEY", " \t ", 1); /* blank is unset */
	assert_key(f, p, "sk-second");
	assert_status(f, p, "/source", "ROTA_TOKEN");
	setenv("ROTA_API_KEY", "", 1);
	assert_int_equal(broker_size(f->b, p, BROKER_KEY), strlen("sk-second"));
	fixture_restart(f);
	p = fixture_profile(f, "rota");
	setenv("ROTA_API_KEY", " sk-first \n", 1);
	assert_key(f, p, "sk-first");
	assert_int_equal(broker_size(f->b, p, BROKER_KEY), strlen("sk-first"));
	assert_status(f, p, "/source", "ROTA_API_KEY");
	assert_status(f, p, "/auth_state", "external");
	assert_read(f, p, BROKER_HEADER, "x-api-key: sk-first\n");
	assert_read(f, p, BROKER_ENV, "ROTA_API_KEY=sk-first\n");
	broker_facts(f->b, p, &facts);
	assert_int_equal(facts.serving, LANE_ENV);
	assert_false(facts.stored);
	assert_ptr_equal(broker_next(f->b, NULL), p);
	/* It is the default profile's. */
	work = fixture_profile(f, "rota@work");
	assert_no_key(f, work, PA_NO_KEY);
	assert_null(broker_next(f->b, "rota"));
	fixture_key(f, p, "sk-stored");
	assert_key(f, p, "sk-stored");
	assert_int_equal(fixture_forget(f, p, LANE_NONE), 0);
	assert_key(f, p, "sk-first");
	unsetenv("ROTA_API_KEY");
	unsetenv("ROTA_TOKEN");
}

static void the_environment_can_be_left_out(void **state)
{
	struct fixture *f = fixture_new(NULL, "\"order\":[\"store\"],", true);
	struct profile *p = fixture_profile(f, "rota");

	setenv("ROTA_API_KEY", "sk-env", 1);
	assert_no_key(f, p, PA_NO_KEY);
	/* Unless it is asked for. */
	assert_int_equal(fixture_mode(f, p, "env"), 0);
	assert_key(f, p, "sk-env");
	unsetenv("ROTA_API_KEY");
	fixture_free(f);
}

/* ---- values ---- */

static void values_are_rendered(void **state)
{
	static const struct {
		const char *profile, *key, *header, *env;
	} cases[] = {
		{ "rota", "sk-1", "x-api-key: sk-1\n", "ROTA_API_KEY=sk-1\n" },
		{ "plain", "sk-2", "Authorization: Bearer sk-2\n", "PLAIN_API_KEY=sk-2\n" },
		{ "anthropic", "sk-3", "x-api-key: sk-3\n", "ANTHROPIC_API_KEY=sk-3\n" },
		{ "groq", "sk-4", "Authorization: Bearer sk-4\n", "GROQ_API_KEY=sk-4\n" },
		{ "rota@w", "{key}", "x-api-key: {key}\n", "ROTA_API_KEY={key}\n" },
	};
	struct fixture *f = *state;
	struct profile *p;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		p = fixture_profile(f, cases[i].profile);
		fixture_key(f, p, cases[i].key);
		for (int round = 0; round < 2; round++) { /* made, then from the cache */
			assert_key(f, p, cases[i].key);
			assert_read(f, p, BROKER_HEADER, cases[i].header);
			assert_read(f, p, BROKER_ENV, cases[i].env);
		}
		assert_int_equal(broker_size(f->b, p, BROKER_KEY), strlen(cases[i].key));
		assert_int_equal(broker_size(f->b, p, BROKER_HEADER), strlen(cases[i].header));
		assert_int_equal(broker_size(f->b, p, BROKER_ENV), strlen(cases[i].env));
	}
	/* A login has other headers; a line whose account is not known is left out. */
	p = fixture_profile(f, "rota");
	fixture_login(f, p, HOUR, NULL);
	assert_read(f, p, BROKER_HEADER, "Authorization: Bearer " CANARY "-at-0\n");
	fixture_login(f, p, HOUR, "\"accountId\":\"acc\"");
	static const char both[] = "Authorization: Bearer " CANARY "-at-0\nx-account: acc\n";

	assert_read(f, p, BROKER_HEADER, both);
	assert_int_equal(broker_size(f->b, p, BROKER_HEADER), strlen(both));
	p = fixture_profile(f, "anthropic");
	fixture_login(f, p, HOUR, NULL);
	assert_read(f, p, BROKER_HEADER,
		"Authorization: Bearer " CANARY "-at-0\nanthropic-beta: oauth-2025-04-20\n");
	assert_read(f, p, BROKER_ENV, "ANTHROPIC_OAUTH_TOKEN=" CANARY "-at-0\n");
}

/* More values than the cache may hold: the secure heap stays within its bound, every read is right. */
static void the_cache_is_bounded(void **state)
{
	enum { PROFILES = 60 };
	struct fixture *f = *state;
	struct profile *p[PROFILES];
	char *key = malloc(RECORD_KEY_MAX + 1);
	struct reader rd = { 0 };

	assert_non_null(key);
	memset(key, 'k', RECORD_KEY_MAX);
	key[RECORD_KEY_MAX] = '\0';
	for (int i = 0; i < PROFILES; i++) {
		char name[32];
		int n = snprintf(name, sizeof(name), "rota@%d", i);

		memcpy(key, name, (size_t)n);
		p[i] = fixture_profile(f, name);
		fixture_key(f, p[i], key);
	}
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < PROFILES; i++) {
			int k = round == 1 ? PROFILES - 1 - i : i;

			assert_true(reader_start(f, &rd, p[k], BROKER_KEY));
			assert_int_equal(rd.r, 0);
			assert_int_equal(rd.len, RECORD_KEY_MAX);
			assert_memory_equal(
				rd.value, profile_name(p[k]), strlen(profile_name(p[k])));
			assert_true(f->b->cached <= CACHE_MAX);
			assert_true(secret_heap_used() < SECRET_HEAP * 3 / 4);
		}
	}
	free(key);
}

static void base_url_is_for_instances(void **state)
{
	static const struct {
		const char *text;
		int r;
	} cases[] = {
		{ "https://mine.example/v1\n", 0 },
		{ "http://127.0.0.1:8080\n", 0 },
		{ "http://mine.example/\n", -EINVAL },
		{ "ftp://mine.example/\n", -EINVAL },
		{ "https://a.example/\nx\n", -EINVAL },
		{ "https://a b/\n", -EINVAL },
		{ "\n", -EINVAL },
		{ "", -EINVAL },
	};
	struct fixture *f = *state;
	struct profile *p = fixture_profile(f, "plain");
	struct profile_facts facts;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct outcome o = { 0 };

		broker_set_base_url(
			f->b, p, cases[i].text, strlen(cases[i].text), outcome_done, &o);
		assert_int_equal(outcome_await(f, &o), cases[i].r);
	}
	broker_facts(f->b, p, &facts);
	assert_string_equal(facts.base_url, "http://127.0.0.1:8080");
	assert_true(facts.base_url_writable);
	/* With a key in it, it could be used to send the key elsewhere. */
	fixture_key(f, p, "sk");
	struct outcome o = { 0 };

	broker_set_base_url(f->b, p, "https://evil.example", 20, outcome_done, &o);
	assert_int_equal(outcome_await(f, &o), -EBUSY);
	o = (struct outcome){ 0 };
	p = fixture_profile(f, "rota");
	broker_set_base_url(f->b, p, "https://evil.example", 20, outcome_done, &o);
	assert_int_equal(outcome_await(f, &o), -EPERM);
	broker_facts(f->b, p, &facts);
	assert_string_equal(facts.base_url, "https://rota.example/v1");
	assert_false(facts.base_url_writable);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(names_resolve),
		T(named_profiles_go_with_their_last_reference),
		T(references_of_an_earlier_server),
		T(custom_providers_are_made_and_removed),
		T(removal_during_an_exchange),
		T(auto_serves_what_was_set_last),
		T(a_fixed_mode_never_falls_back),
		T(the_environment_serves_when_nothing_is_stored),
		cmocka_unit_test(the_environment_can_be_left_out),
		T(values_are_rendered),
		T(the_cache_is_bounded),
		T(base_url_is_for_instances),
	};

	fixture_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
