/*
 * The plaintext of a sealed record. What is taken can be looked at, changed and written, and reads back as
 * what it was.
 */
#include <string.h>

#include "store/record.h"
#include "store/secret.h"

#include "fuzz_main.h"

#define NOW     INT64_C(1700000000000)
#define MACHINE "abcdefghijklmnopqrstuvwxyz"

static const enum lane lanes[] = { LANE_API_KEY, LANE_OAUTH };

static void fuzz_set_up(void)
{
	json_init();
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_json(const cJSON *a, const cJSON *b)
{
	WIPE_AUTO char *x = json_text(a);
	WIPE_AUTO char *y = json_text(b);

	return same_text(x, y);
}

/* Everything that can be asked of a record, of two that must not differ. */
static void check_same(const struct record *a, const struct record *b)
{
	struct pa_err why_a = { 0 };
	struct pa_err why_b = { 0 };
	int64_t at_a = 0;
	int64_t at_b = 0;

	fuzz_check(same_text(record_profile(a), record_profile(b)));
	fuzz_check(record_generation(a) == record_generation(b));
	fuzz_check(record_mode(a) == record_mode(b));
	fuzz_check(record_last(a) == record_last(b));
	fuzz_check(same_text(record_machine(a), record_machine(b)));
	fuzz_check(record_moved(a) == record_moved(b));
	fuzz_check(record_incarnation(a) == record_incarnation(b));
	fuzz_check(same_text(record_base_url(a), record_base_url(b)));
	fuzz_check(record_changed_ms(a) == record_changed_ms(b));
	fuzz_check(record_dead(a, &why_a, &at_a) == record_dead(b, &why_b, &at_b));
	fuzz_check(at_a == at_b && why_a.http_status == why_b.http_status);
	fuzz_check(strcmp(why_a.detail, why_b.detail) == 0);
	for (size_t i = 0; i < 2; i++) {
		fuzz_check(same_json(record_lane(a, lanes[i]), record_lane(b, lanes[i])));
		fuzz_check(same_json(record_pending(a, lanes[i]), record_pending(b, lanes[i])));
	}
	fuzz_check(same_json(a->root, b->root));
}

/* What the rest of the program takes for granted of a record that was parsed. */
static void check_facts(const struct record *r)
{
	enum lane last = record_last(r);

	fuzz_check(record_mode(r) >= MODE_AUTO && record_mode(r) <= MODE_ENV);
	fuzz_check(last == LANE_NONE || record_lane(r, last));
	for (size_t i = 0; i < 2; i++) {
		const cJSON *entry = record_lane(r, lanes[i]);
		const cJSON *pending = record_pending(r, lanes[i]);

		fuzz_check(!entry || (cJSON_IsObject(entry) && last != LANE_NONE));
		fuzz_check(!pending || cJSON_IsObject(pending));
		if (lanes[i] == LANE_API_KEY)
			fuzz_check((!entry || json_str(entry, "key")) &&
				   (!pending || json_str(pending, "key")));
	}
}

static void check_round_trip(const struct record *r)
{
	RECORD_AUTO struct record again = { 0 };
	WIPE_AUTO char *text = NULL;
	WIPE_AUTO char *second = NULL;
	struct pa_err err = { 0 };
	size_t len;
	size_t second_len;

	fuzz_check(record_format(r, &text, &len, &err) == 0 && len == strlen(text));
	fuzz_check(record_parse(text, len, record_profile(r), &again, &err) == 0);
	check_facts(&again);
	check_same(r, &again);
	fuzz_check(record_format(&again, &second, &second_len, &err) == 0 && second_len == len);
	fuzz_check(memcmp(text, second, len) == 0);
}

/* A server that stopped between write and close left pending values. */
static void check_adoption(struct record *r)
{
	JSON_AUTO cJSON *before = cJSON_Duplicate(r->root, true);
	const struct record old = { before };
	const cJSON *key = record_pending(&old, LANE_API_KEY);
	const cJSON *login = record_pending(&old, LANE_OAUTH);
	const char *machine =
		json_str(cJSON_GetObjectItemCaseSensitive(before, "pending"), "machine");
	struct pa_err err = { 0 };
	bool any = true;
	int64_t at;

	fuzz_check(record_adopt_pending(r, NOW, &any, &err) == 0);
	fuzz_check(any == (key || login));
	fuzz_check(!cJSON_GetObjectItemCaseSensitive(r->root, "pending"));
	fuzz_check(same_json(
		record_lane(r, LANE_API_KEY), key ? key : record_lane(&old, LANE_API_KEY)));
	fuzz_check(same_json(
		record_lane(r, LANE_OAUTH), login ? login : record_lane(&old, LANE_OAUTH)));
	fuzz_check(record_changed_ms(r) == (any ? NOW : record_changed_ms(&old)));
	if (login)
		fuzz_check(!record_moved(r) && !record_dead(r, &err, &at));
	fuzz_check(strcmp(record_machine(r), !login    ? record_machine(&old)
					     : machine ? machine
						       : "") == 0);
	fuzz_check(record_generation(r) == record_generation(&old));
	check_facts(r);
	check_round_trip(r);
	fuzz_check(record_adopt_pending(r, NOW + 1, &any, &err) == 0 && !any);
}

/* The setters, on a tree whose members may be of any type. */
static void check_changes(struct record *r)
{
	struct pa_err why = { 0 };
	struct pa_err back = { 0 };
	int64_t at = NOW;

	if (!record_dead(r, &why, &at))
		pa_fail(&why, PA_REFRESH_DEAD, 0, "HTTP 400, invalid_grant");
	fuzz_check(record_set_dead(r, &why, at, NULL) == 0 && record_dead(r, &back, &at));
	fuzz_check(strcmp(why.detail, back.detail) == 0 && why.http_status == back.http_status);
	fuzz_check(record_set_generation(r, 7, NULL) == 0 && record_generation(r) == 7);
	fuzz_check(record_set_incarnation(r, 7, NULL) == 0 && record_incarnation(r) == 7);
	fuzz_check(record_set_mode(r, MODE_OAUTH, NULL) == 0 && record_mode(r) == MODE_OAUTH);
	fuzz_check(record_set_moved(r, true, NULL) == 0 && record_moved(r));
	fuzz_check(record_set_base_url(r, "https://a.example", NULL) == 0 && record_base_url(r));
	for (size_t i = 0; i < 2; i++) {
		cJSON *entry = cJSON_Duplicate(record_lane(r, lanes[i]), true);

		if (!entry)
			continue;
		fuzz_check(record_set_pending(r, lanes[i], entry, MACHINE, NULL) == 0);
		fuzz_check(same_json(record_pending(r, lanes[i]), record_lane(r, lanes[i])));
		record_drop_lane(r, lanes[i]);
		fuzz_check(!record_lane(r, lanes[i]));
	}
	check_facts(r);
	check_round_trip(r);
	check_adoption(r);
	for (size_t i = 0; i < 2; i++) {
		record_drop_lane(r, lanes[i]);
		record_drop_pending(r, lanes[i]);
	}
	fuzz_check(record_last(r) == LANE_NONE);
	check_round_trip(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	RECORD_AUTO struct record r = { 0 };
	RECORD_AUTO struct record other = { 0 };
	RECORD_AUTO struct record changed = { 0 };
	WIPE_AUTO char *longer = NULL;
	struct pa_err err = { 0 };

	if (record_parse(text, size, NULL, &r, &err) < 0) {
		fuzz_check(!r.root && err.code == PA_STORE_CORRUPT && *err.detail);
		return 0;
	}
	size_t len = strlen(record_profile(&r));
	longer = wipe_malloc(len + 2);
	fuzz_check(longer);
	memcpy(longer, record_profile(&r), len);
	memcpy(longer + len, "x", 2);
	fuzz_check(record_parse(text, size, longer, &other, &err) < 0 && !other.root);
	fuzz_check(record_parse(text, size, record_profile(&r), &changed, &err) == 0);
	check_facts(&r);
	check_same(&r, &changed);
	check_round_trip(&r);
	check_adoption(&r);
	check_changes(&changed);
	return 0;
}
