#include "token.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LIFETIME_DEFAULT_S 3600 /* what providers mean when they do not say (pi's default, too) */
#define LIFETIME_MAX_S     (100LL * 366 * 24 * 3600) /* keeps sums in range; nobody waits for it */
#define KEEP_MAX           4096 /* bytes of one kept member: a record must stay storable */
#define ACCOUNT_MAX        256

/* ---- what an entry must be ---- */

/* RFC 6749 appendix A.12, A.17: a token is visible ASCII or space; at most TOKEN_MAX. */
static bool token_is_valid(const char *token)
{
	size_t len = 0;
	for (; token[len]; len++) {
		if (token[len] < 0x20 || token[len] > 0x7e || len >= TOKEN_MAX)
			return false;
	}
	return len > 0;
}

static bool has_member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name) != NULL;
}

static bool has_text(const cJSON *object, const char *name)
{
	const char *text = json_str(object, name);
	return text && *text;
}

/* Absent, empty, or a token. */
static bool token_member_is_valid(const cJSON *entry, const char *name)
{
	const cJSON *m = cJSON_GetObjectItemCaseSensitive(entry, name);
	return !m || (cJSON_IsString(m) && (!*m->valuestring || token_is_valid(m->valuestring)));
}

bool token_entry_is_valid(const cJSON *entry, struct pa_err *err)
{
	static const char *const tokens[] = { "access", "refresh", "client_id", "client_secret" };
	const char *type = json_str(entry, "type");
	int64_t expires = 0;

	if (!cJSON_IsObject(entry) || !type || strcmp(type, "oauth") != 0) {
		pa_fail(err, PA_BAD_INPUT, 0, "not an object of type oauth");
		return false;
	}
	for (size_t i = 0; i < sizeof(tokens) / sizeof(*tokens); i++) {
		if (!token_member_is_valid(entry, tokens[i])) {
			pa_fail(err, PA_BAD_INPUT, 0, "\"%s\" is not a token", tokens[i]);
			return false;
		}
	}
	if (!has_text(entry, "access") && !has_text(entry, "refresh") &&
		!has_text(entry, "client_secret")) {
		pa_fail(err, PA_BAD_INPUT, 0, "neither \"access\" nor \"refresh\" is there");
		return false;
	}
	bool whole = json_int(entry, "expires", &expires) && expires >= 0;
	if (!whole && (has_member(entry, "expires") || has_text(entry, "access"))) {
		pa_fail(err, PA_BAD_INPUT, 0, "\"expires\" is not a time in milliseconds");
		return false;
	}
	return true;
}

/* ---- requests ---- */

/* RFC 6749 4.4 serves those without a refresh token; the id and secret may be the entry's own. */
static bool is_client_credentials(const struct oauth_desc *d, const cJSON *entry)
{
	return d->grant_client_credentials && d->token_request != TOKEN_BEARER &&
	       !has_text(entry, "refresh");
}

static const char *client_id_of(const struct oauth_desc *d, const cJSON *entry)
{
	const char *member = d->client_id_member;
	if (!member && is_client_credentials(d, entry))
		member = "client_id";
	return member && has_text(entry, member) ? json_str(entry, member) : d->client_id;
}

static const char *client_secret_of(const struct oauth_desc *d, const cJSON *entry)
{
	if (is_client_credentials(d, entry) && has_text(entry, "client_secret"))
		return json_str(entry, "client_secret");
	return d->client_secret;
}

bool token_can_refresh(const struct oauth_desc *d, const cJSON *entry)
{
	if (!d || !d->token_endpoint)
		return false;
	if (has_text(entry, "refresh"))
		return !d->token_endpoint_auth_method ||
		       strcmp(d->token_endpoint_auth_method, "client_secret_post") != 0 ||
		       client_secret_of(d, entry);
	return is_client_credentials(d, entry) && client_id_of(d, entry) &&
	       client_secret_of(d, entry);
}

/* The parameters in the order they are sent; token_params replace ours: none may come twice (RFC 6749
 * 3.2). A refresh never names a scope: it asks for what was granted. */
static int add_parameters(
	const struct oauth_desc *d, const cJSON *entry, cJSON *to, struct pa_err *err)
{
	bool client = is_client_credentials(d, entry);
	const char *id = client_id_of(d, entry), *secret = client_secret_of(d, entry);
	int r = 0;

	if (d->token_request != TOKEN_BEARER) {
		r = json_set_str(
			to, "grant_type", client ? "client_credentials" : "refresh_token", err);
		if (r == 0 && !client)
			r = json_set_str(to, "refresh_token", json_str(entry, "refresh"), err);
		if (r == 0 && id)
			r = json_set_str(to, "client_id", id, err);
		if (r == 0 && secret)
			r = json_set_str(to, "client_secret", secret, err);
		if (r == 0 && client && d->scope)
			r = json_set_str(to, "scope", d->scope, err);
	}
	for (const struct name_value *p = d->token_params; r == 0 && p && p->name; p++)
		r = json_set_str(to, p->name, p->value, err);
	return r;
}

/* Counts while bytes is NULL, then writes. */
struct sink {
	char *bytes;
	size_t len;
};

static void put(struct sink *to, char c)
{
	if (to->bytes)
		to->bytes[to->len] = c;
	to->len++;
}

/* application/x-www-form-urlencoded as RFC 6749 appendix B has it: UTF-8, space as "+". */
static void put_encoded(struct sink *to, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._*";

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (strchr(plain, c)) {
			put(to, *text);
		} else if (c == ' ') {
			put(to, '+');
		} else {
			put(to, '%');
			put(to, hex[c >> 4]);
			put(to, hex[c & 15]);
		}
	}
}

static void put_form(struct sink *to, const cJSON *parameters)
{
	const cJSON *p;
	cJSON_ArrayForEach (p, parameters) {
		if (to->len)
			put(to, '&');
		put_encoded(to, p->string);
		put(to, '=');
		put_encoded(to, p->valuestring);
	}
}

static int form_body(const cJSON *parameters, struct secret **ret, struct pa_err *err)
{
	struct sink to = { 0 };
	void *bytes;

	put_form(&to, parameters);
	int r = secret_new_blank(to.len, ret, &bytes, err);
	if (r < 0)
		return r;
	to = (struct sink){ .bytes = bytes };
	put_form(&to, parameters);
	return 0;
}

static int json_body(const cJSON *parameters, struct secret **ret, struct pa_err *err)
{
	WIPE_AUTO char *text = json_text(parameters);
	if (!text)
		return pa_fail(err, PA_NO_MEMORY, 0, "token request");
	return secret_new(text, strlen(text), ret, err);
}

static int copy_headers(const struct oauth_desc *d, char ***ret, struct pa_err *err)
{
	bool accept = false;
	size_t n = 0;
	for (const struct name_value *h = d->headers; h && h->name; h++, n++)
		accept = accept || strcasecmp(h->name, "Accept") == 0;
	char **lines = wipe_calloc(n + 2, sizeof(*lines));
	*ret = lines;
	if (!lines)
		return pa_fail(err, PA_NO_MEMORY, 0, "token request");
	if (!accept) { /* GitHub answers with a form unless it is asked for JSON */
		*lines = wipe_strdup("Accept: application/json");
		if (!*lines++)
			return pa_fail(err, PA_NO_MEMORY, 0, "token request");
	}
	for (const struct name_value *h = d->headers; h && h->name; h++) {
		size_t name_len = strlen(h->name), value_len = strlen(h->value);
		char *line = wipe_malloc(name_len + 2 + value_len + 1);
		if (!line)
			return pa_fail(err, PA_NO_MEMORY, 0, "token request");
		memcpy(line, h->name, name_len);
		memcpy(line + name_len, ": ", 2);
		memcpy(line + name_len + 2, h->value, value_len + 1);
		*lines++ = line;
	}
	return 0;
}

static int build(const struct oauth_desc *d, const cJSON *entry, struct token_request_parts *p,
	struct pa_err *err)
{
	JSON_AUTO cJSON *parameters = cJSON_CreateObject();
	if (!parameters)
		return pa_fail(err, PA_NO_MEMORY, 0, "token request");
	int r = add_parameters(d, entry, parameters, err);
	if (r == 0)
		r = copy_headers(d, &p->headers, err);
	if (r < 0)
		return r;
	switch (d->token_request) {
	case TOKEN_FORM:
		p->content_type = "application/x-www-form-urlencoded";
		return form_body(parameters, &p->body, err);
	case TOKEN_BEARER:
		r = secret_new(json_str(entry, "refresh"), strlen(json_str(entry, "refresh")),
			&p->bearer, err);
		p->get = d->token_get;
		if (r < 0 || p->get)
			return r;
		break;
	case TOKEN_JSON:
		break;
	}
	p->content_type = "application/json";
	return json_body(parameters, &p->body, err);
}

int token_refresh_request(const struct oauth_desc *d, const cJSON *entry,
	struct token_request_parts *ret, struct pa_err *err)
{
	struct token_request_parts p = { 0 };

	if (!d || !d->token_endpoint)
		return pa_fail(err, PA_NO_ENDPOINT, 0, "token_endpoint");
	if (!token_can_refresh(d, entry))
		return pa_fail(err, PA_EXPIRED, 0, "no refresh token is stored");
	p.url = d->token_endpoint;
	int r = build(d, entry, &p, err);
	if (r < 0) {
		token_request_done(&p);
		return r;
	}
	*ret = p;
	return 0;
}

void token_request_done(struct token_request_parts *p)
{
	secret_free(p->body);
	secret_free(p->bearer);
	for (char **line = p->headers; line && *line; line++)
		wipe_free(*line);
	wipe_free(p->headers);
	*p = (struct token_request_parts){ 0 };
}

/* ---- answers ---- */

/* Seconds from a JSON number or a string of digits, whole and within 0..LIFETIME_MAX_S: what lies
 * outside is taken as the nearer end, so that odd numbers cost no rotated token. */
static bool read_seconds(const cJSON *answer, const char *name, int64_t max, int64_t *ret)
{
	const cJSON *m = cJSON_GetObjectItemCaseSensitive(answer, name);
	double n;

	if (cJSON_IsNumber(m)) {
		n = m->valuedouble;
	} else if (cJSON_IsString(m) && *m->valuestring &&
		   strspn(m->valuestring, "0123456789") == strlen(m->valuestring)) {
		n = strtod(m->valuestring, NULL);
	} else {
		return false;
	}
	*ret = n <= 0 ? 0 : n >= (double)max ? max : (int64_t)n;
	return true;
}

/* The moment of expiry in ms. Without a usable statement the default lifetime holds. */
static int64_t read_expires(const struct oauth_desc *d, const cJSON *answer, int64_t sent_ms)
{
	int64_t s = d->default_lifetime_s > 0 ? d->default_lifetime_s : LIFETIME_DEFAULT_S;
	int64_t at;

	if (d->answer_expires_at &&
		read_seconds(answer, d->answer_expires_at, (int64_t)(JSON_INT_MAX / 1000), &at))
		return at * 1000;
	read_seconds(answer, d->answer_expires_in ? d->answer_expires_in : "expires_in",
		LIFETIME_MAX_S, &s);
	return sent_ms + s * 1000;
}

/* Members that this module alone writes. */
static bool is_ours(const char *name)
{
	static const char *const ours[] = { "type", "access", "refresh", "expires" };
	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++) {
		if (strcmp(ours[i], name) == 0)
			return true;
	}
	return false;
}

static int set_kept(
	const struct oauth_desc *d, const cJSON *answer, cJSON *entry, struct pa_err *err)
{
	int r = 0;

	for (char **name = d->keep; r == 0 && name && *name; name++) {
		const cJSON *m = cJSON_GetObjectItemCaseSensitive(answer, *name);
		if (!m || cJSON_IsNull(m) || is_ours(*name))
			continue;
		WIPE_AUTO char *text = json_text(m);
		cJSON *copy = text ? cJSON_Duplicate(m, true) : NULL;
		if (!copy)
			return pa_fail(err, PA_NO_MEMORY, 0, "token answer");
		if (strlen(text) > KEEP_MAX)
			cJSON_Delete(copy);
		else
			r = json_set(entry, *name, copy, err);
	}
	return r;
}

static int set_account(
	const struct oauth_desc *d, cJSON *entry, const char *access, struct pa_err *err)
{
	if (!d->account_claim || !d->account_member)
		return 0;
	JSON_AUTO cJSON *payload = token_jwt_payload(access, strlen(access));
	const cJSON *claim = payload ? json_at(payload, d->account_claim) : NULL;
	if (!cJSON_IsString(claim) || !token_is_valid(claim->valuestring) ||
		strlen(claim->valuestring) > ACCOUNT_MAX)
		return 0; /* what is known stays */
	return json_set_str(entry, d->account_member, claim->valuestring, err);
}

static int bad_answer(struct pa_err *err, int status, const char *why)
{
	int r = pa_fail(err, PA_NET_ANSWER, 0, "HTTP %d, %s", status, why);
	if (err)
		err->http_status = status;
	return r;
}

/* token_type is not looked at: services say what they like there, and a refusal would cost the
 * rotated token. */
int token_read_answer(const struct oauth_desc *d, enum error_envelope env, const cJSON *entry,
	int status, const char *body, size_t len, int64_t sent_ms, cJSON **ret, struct pa_err *err)
{
	JSON_AUTO cJSON *answer = NULL;
	JSON_AUTO cJSON *merged = NULL;
	const char *refresh_name = d->answer_refresh ? d->answer_refresh : "refresh_token";
	bool client = is_client_credentials(d, entry);

	if (status / 100 != 2)
		return token_classify(env, client, status, body, len, err);
	if (json_parse(body, len, PA_NET_ANSWER, &answer, NULL, NULL) < 0)
		return bad_answer(err, status, "the answer is not JSON");
	const char *access = json_str(answer, d->answer_access ? d->answer_access : "access_token");
	if (!access && has_member(answer, "error"))
		return token_classify(
			env, client, status, body, len, err); /* GitHub fails with 200 */
	if (!access || !token_is_valid(access))
		return bad_answer(err, status, "the answer has no access token");
	const cJSON *refresh = cJSON_GetObjectItemCaseSensitive(answer, refresh_name);
	if (cJSON_IsNull(refresh) || client) /* RFC 6749 4.4.3: none is due to client credentials */
		refresh = NULL;
	if (cJSON_IsString(refresh) && !*refresh->valuestring)
		refresh = NULL;
	if (refresh && (!cJSON_IsString(refresh) || !token_is_valid(refresh->valuestring)))
		return bad_answer(err, status, "the refresh token of the answer is not usable");
	if (!refresh && d->requires_rotation && !client)
		return bad_answer(err, status, "the answer has no refresh token");

	merged = cJSON_Duplicate(entry, true);
	if (!merged)
		return pa_fail(err, PA_NO_MEMORY, 0, "token answer");
	int r = json_set_str(merged, "access", access, err);
	if (r == 0 && refresh)
		r = json_set_str(merged, "refresh", refresh->valuestring, err);
	if (r == 0)
		r = json_set_int(merged, "expires", read_expires(d, answer, sent_ms), err);
	if (r == 0)
		r = set_kept(d, answer, merged, err);
	if (r == 0)
		r = set_account(d, merged, access, err);
	if (r < 0)
		return r;
	*ret = merged;
	merged = NULL;
	return 0;
}

/* ---- JWT ---- */

static int base64url_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* RFC 4648 5 without padding. ret has room for len bytes. */
static bool base64url_decode(const char *text, size_t len, char *ret, size_t *ret_len)
{
	unsigned int bits = 0, have = 0;
	size_t n = 0;

	if (len % 4 == 1)
		return false;
	for (size_t i = 0; i < len; i++) {
		int value = base64url_value(text[i]);
		if (value < 0)
			return false;
		bits = (bits << 6 | (unsigned int)value) & 0xffff;
		have += 6;
		if (have >= 8) {
			have -= 8;
			ret[n++] = (char)(bits >> have & 0xff);
		}
	}
	*ret_len = n;
	return true;
}

cJSON *token_jwt_payload(const char *jwt, size_t len)
{
	const char *end = jwt + len;
	const char *from = len <= TOKEN_MAX ? memchr(jwt, '.', len) : NULL;
	const char *to = from ? memchr(from + 1, '.', (size_t)(end - from - 1)) : NULL;

	/* three parts: RFC 7515 3.1; five parts would be encrypted */
	if (!to || memchr(to + 1, '.', (size_t)(end - to - 1)) || to == from + 1)
		return NULL;
	size_t text_len = (size_t)(to - from - 1), payload_len;
	WIPE_AUTO char *payload = wipe_malloc(text_len);
	cJSON *root = NULL;
	if (!payload || !base64url_decode(from + 1, text_len, payload, &payload_len) ||
		json_parse(payload, payload_len, PA_NET_ANSWER, &root, NULL, NULL) < 0)
		return NULL;
	if (!cJSON_IsObject(root))
		json_freep(&root);
	return root;
}
