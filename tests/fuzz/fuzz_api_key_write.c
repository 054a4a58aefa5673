/*
 * What a user writes to `api-key` or `oauth`, in one write or in several: each write is judged together with
 * all that came before it, and a refusal is for good. The first three bytes say how:
 *	k or o, a digit, a line end     the file, and how many bytes a write has (0: all at once)
 */
#include <string.h>

#include "store/record.h"
#include "store/secret.h"
#include "store/seal.h"

#include "fuzz_main.h"

#define NOW        INT64_C(1700000000000)
#define HOW        3
#define WRITES_MAX 64

static void fuzz_set_up(void)
{
	json_init();
}

/* A line end is LF or CRLF, or CR as long as the LF may still come. */
static size_t line_len(const char *text, size_t len)
{
	if (len && text[len - 1] == '\n')
		len--;
	if (len && text[len - 1] == '\r')
		len--;
	return len;
}

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

static void check_key(const cJSON *entry, const char *text, size_t len)
{
	const char *key = json_str(entry, "key");
	const char *type = json_str(entry, "type");
	int64_t set;

	fuzz_check(key && *key && strlen(key) <= RECORD_KEY_MAX);
	for (const char *c = key; *c; c++)
		fuzz_check(!is_control(*c));
	fuzz_check(strlen(key) == line_len(text, len) && memcmp(key, text, strlen(key)) == 0);
	fuzz_check(type && strcmp(type, "api_key") == 0);
	fuzz_check(json_int(entry, "set", &set) && set == NOW);
}

/* A key of ASCII characters needs no library to be judged. */
static void check_refused_key(const char *text, size_t len)
{
	size_t n = line_len(text, len);
	bool bad = n == 0 || n > RECORD_KEY_MAX;

	for (size_t i = 0; i < n && !bad; i++)
		bad = is_control(text[i]) || (unsigned char)text[i] >= 0x80;
	fuzz_check(bad);
}

/* What was taken can be stored, and comes back. */
static void check_stored(enum lane lane, cJSON *entry)
{
	RECORD_AUTO struct record r = { 0 };
	RECORD_AUTO struct record again = { 0 };
	WIPE_AUTO char *before = json_text(entry);
	WIPE_AUTO char *text = NULL;
	size_t len;
	bool any = false;

	fuzz_check(record_new("groq@work", &r, NULL) == 0);
	fuzz_check(record_set_pending(&r, lane, entry, "machine", NULL) == 0);
	fuzz_check(record_adopt_pending(&r, NOW, &any, NULL) == 0 && any);
	fuzz_check(record_format(&r, &text, &len, NULL) == 0 && len < SEAL_PLAIN_MAX);
	fuzz_check(record_parse(text, len, "groq@work", &again, NULL) == 0);
	fuzz_check(record_last(&again) == lane);
	WIPE_AUTO char *after = json_text(record_lane(&again, lane));
	fuzz_check(before && after && strcmp(before, after) == 0);
}

enum verdict { TAKEN, INCOMPLETE, REFUSED };

static enum verdict judge(enum lane node, const char *bytes, size_t len)
{
	enum lane lane = LANE_NONE;
	cJSON *entry = NULL;
	bool incomplete = false;
	struct pa_err err = { 0 };
	/* exactly as long, so that a sanitizer sees the first byte read beyond it */
	char *text = malloc(len ? len : 1);

	fuzz_check(text);
	memcpy(text, bytes, len);
	int r = record_entry_from_text(node, text, len, NOW, &lane, &entry, &incomplete, &err);
	if (r < 0) {
		fuzz_check(!entry && lane == LANE_NONE);
		fuzz_check(err.code == PA_BAD_INPUT || err.code == PA_TOO_BIG);
		fuzz_check(!incomplete || node == LANE_OAUTH);
		if (node == LANE_API_KEY)
			check_refused_key(text, len);
		else
			fuzz_check(err.code != PA_TOO_BIG || len > RECORD_KEY_MAX);
		free(text);
		return incomplete ? INCOMPLETE : REFUSED;
	}
	fuzz_check(entry && !incomplete && (lane == LANE_OAUTH || lane == LANE_API_KEY));
	if (node == LANE_API_KEY) {
		fuzz_check(lane == LANE_API_KEY);
		check_key(entry, text, len);
	} else if (lane == LANE_API_KEY) {
		const char *key = json_str(entry, "key");
		fuzz_check(key && key[0] != '!' && key[0] != '$');
		check_key(entry, key, strlen(key));
	} else {
		fuzz_check(cJSON_IsObject(entry) && len <= RECORD_OAUTH_MAX);
		fuzz_check(json_str(entry, "type") && !strcmp(json_str(entry, "type"), "oauth"));
	}
	check_stored(lane, entry);
	free(text);
	return TAKEN;
}

/* A key may be cut anywhere but inside a character; JSON may be cut anywhere. */
static bool may_cut(enum lane node, const char *text, size_t at)
{
	return node == LANE_OAUTH || ((unsigned char)text[at] & 0xc0) != 0x80;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < HOW)
		return 0;
	const enum lane node = data[0] == 'o' ? LANE_OAUTH : LANE_API_KEY;
	const char *text = (const char *)data + HOW;
	const size_t len = size - HOW;
	size_t step = data[1] & 15;

	const enum verdict all = judge(node, text, len);
	if (!step)
		return 0;
	if (step < len / WRITES_MAX)
		step = len / WRITES_MAX;
	for (size_t at = step; at < len; at += step) {
		if (!may_cut(node, text, at))
			continue;
		enum verdict part = judge(node, text, at);
		/* What is taken at once is taken in parts: none of them may be refused. */
		fuzz_check(part != REFUSED || all != TAKEN);
		fuzz_check(part != TAKEN || all != INCOMPLETE);
		if (part == REFUSED)
			return 0;
	}
	return 0;
}
