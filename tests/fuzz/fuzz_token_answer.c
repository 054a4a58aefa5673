/*
 * An answer of a token endpoint, and the entry it is for. Three parts, so that a seed can be read:
 *	DESCRIPTOR ENVELOPE STATUS      one digit, one digit, a number; e.g. "0 1 200"
 *	the entry                       JSON in one line
 *	the body                        the rest
 */
#include <string.h>

#include "store/oauth/token.h"

#include "fuzz_main.h"

#define SENT_MS 1700000000000LL

static char *keep[] = { (char *)"scope", (char *)"org", (char *)"expires", NULL };
static struct name_value params[] = { { (char *)"resource", (char *)"https://api.example/v1" },
	{ 0 } };

static const struct oauth_desc descriptors[] = {
	{ .token_endpoint = (char *)"https://a.example/", .client_id = (char *)"id", .keep = keep },
	{ .token_endpoint = (char *)"https://a.example/",
		.token_request = TOKEN_JSON,
		.requires_rotation = true,
		.account_claim = (char *)"/auth/id",
		.account_member = (char *)"accountId" },
	{ .token_endpoint = (char *)"https://a.example/",
		.token_request = TOKEN_BEARER,
		.token_get = true,
		.answer_access = (char *)"token",
		.answer_expires_at = (char *)"expires_at" },
	{ .token_endpoint = (char *)"https://a.example/",
		.client_secret = (char *)"s",
		.client_id_member = (char *)"clientId",
		.scope = (char *)"a b",
		.grant_client_credentials = true,
		.token_params = params,
		.default_lifetime_s = 60 },
};

static void fuzz_set_up(void)
{
	json_init();
	fuzz_check(secret_heap_init(SECRET_HEAP, NULL, NULL) == 0);
}

/* A form holds nothing but what RFC 6749 appendix B leaves over; JSON parses. */
static void check_request(const struct oauth_desc *d, const cJSON *entry)
{
	static const char form[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._*+%&=";
	struct token_request_parts p;
	struct pa_err err = { 0 };
	const char *bytes;
	size_t len;

	if (token_refresh_request(d, entry, &p, &err) < 0) {
		fuzz_check(!token_can_refresh(d, entry) || err.code == PA_TOO_BIG);
		return;
	}
	secret_read(p.body, &bytes, &len);
	if (d->token_request == TOKEN_FORM) {
		for (size_t i = 0; i < len; i++)
			fuzz_check(bytes[i] && strchr(form, bytes[i]));
	} else if (p.body) {
		JSON_AUTO cJSON *parsed = NULL;
		fuzz_check(json_parse(bytes, len, PA_CONFIG, &parsed, NULL, NULL) == 0);
	}
	token_request_done(&p);
	fuzz_check(secret_heap_used() == 0);
}

static void check_merged(const cJSON *merged)
{
	const char *access = json_str(merged, "access");
	int64_t expires;

	fuzz_check(access && *access && strlen(access) <= TOKEN_MAX);
	for (; *access; access++)
		fuzz_check(*access >= 0x20 && *access < 0x7f);
	fuzz_check(json_int(merged, "expires", &expires) && expires >= 0);
	WIPE_AUTO char *text = json_text(merged);
	JSON_AUTO cJSON *again = NULL;
	fuzz_check(json_parse(text, strlen(text), PA_CONFIG, &again, NULL, NULL) == 0);
}

static void check_failure(const struct pa_err *err, int status)
{
	fuzz_check(err->code != PA_NONE && err->http_status == status);
	fuzz_check(strncmp(err->detail, "HTTP ", 5) == 0);
	fuzz_check(err->code != PA_REFRESH_DEAD || status / 100 == 4 || status / 100 == 2);
	fuzz_check(err->code != PA_REFRESH_DEAD || (status != 429 && status != 408));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	const char *line = memchr(text, '\n', size);
	const char *body = line ? memchr(line + 1, '\n', size - (size_t)(line + 1 - text)) : NULL;
	JSON_AUTO cJSON *entry = NULL;
	JSON_AUTO cJSON *merged = NULL;
	struct pa_err err = { 0 };
	int status = 0;

	if (!body || line - text < 7 ||
		json_parse(line + 1, (size_t)(body - line - 1), PA_CONFIG, &entry, NULL, NULL) <
			0 ||
		!cJSON_IsObject(entry)) /* as token_entry_is_valid demands */
		return 0;
	for (int i = 4; i < 7; i++)
		status = status * 10 + (text[i] & 15) % 10;
	const struct oauth_desc *d = &descriptors[text[0] & 3];
	enum error_envelope env = (enum error_envelope)((text[2] & 15) % (ENVELOPE_AZURE + 1));
	token_entry_is_valid(entry, NULL);
	check_request(d, entry);
	body++;
	WIPE_AUTO char *before = json_text(entry);
	int r = token_read_answer(
		d, env, entry, status, body, size - (size_t)(body - text), SENT_MS, &merged, &err);
	WIPE_AUTO char *after = json_text(entry);
	fuzz_check(strcmp(before, after) == 0);
	fuzz_check((r < 0) == !merged);
	if (r < 0)
		check_failure(&err, status);
	else
		check_merged(merged);
	return 0;
}
