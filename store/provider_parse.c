#include "provider_i.h"

#include <stdio.h>
#include <string.h>

#include "secret.h"

/* One table says what a provider's object may hold; checking, building and rendering follow it. */

enum kind {
	OWN_ID,  /* agrees with the key it stands under; checked by the caller */
	TEXT,    /* printable, not empty */
	SECRET,  /* the same, never rendered */
	URL,     /* endpoint_is_allowed */
	POINTER, /* RFC 6901 */
	BOOL,
	SECONDS,
	ENVELOPE,
	REQUEST,
	METHOD,          /* true: GET */
	NAMES,           /* lists: provider names, */
	VARIABLES,       /* environment variables, */
	TEMPLATES,       /* header lines with {key}, */
	TEMPLATES_OAUTH, /* with {account} too, */
	WORDS,           /* printable text */
	PAIRS,           /* object name -> text */
	HEADERS,         /* the same, fit for a header */
	ANSWER,          /* an object that fills members of the same struct */
	OAUTH,           /* an object with a struct of its own */
};

struct field {
	const char *name;
	enum kind kind;
	size_t offset;
};

/* struct oauth_desc and what only the rendered table shows. */
struct oauth_row {
	struct oauth_desc d;
	char **grant_types;
};

#define ROW(member)  offsetof(struct provider_row, member)
#define DESC(member) offsetof(struct oauth_row, d.member)

static const struct field provider_fields[] = {
	{ "id", OWN_ID, 0 },
	{ "name", TEXT, ROW(p.name) },
	{ "aliases", NAMES, ROW(p.aliases) },
	{ "env", VARIABLES, ROW(p.env) },
	{ "env_oauth", VARIABLES, ROW(p.env_oauth) },
	{ "env_set", VARIABLES, ROW(env_set) },
	{ "endpoint", URL, ROW(p.endpoint) },
	{ "endpoint_template", TEXT, ROW(endpoint_template) },
	{ "key_url", URL, ROW(p.key_url) },
	{ "header", TEMPLATES, ROW(p.header) },
	{ "header_oauth", TEMPLATES_OAUTH, ROW(p.header_oauth) },
	{ "error_envelope", ENVELOPE, ROW(p.envelope) },
	{ "keyless", BOOL, ROW(p.keyless) },
	{ "oauth", OAUTH, ROW(p.oauth) },
	{ NULL, 0, 0 },
};

static const struct field oauth_fields[] = {
	{ "issuer", URL, DESC(issuer) },
	{ "authorization_endpoint", URL, DESC(authorization_endpoint) },
	{ "token_endpoint", URL, DESC(token_endpoint) },
	{ "device_authorization_endpoint", URL, DESC(device_authorization_endpoint) },
	{ "revocation_endpoint", URL, DESC(revocation_endpoint) },
	{ "client_id", TEXT, DESC(client_id) },
	{ "client_secret", SECRET, DESC(client_secret) },
	{ "token_endpoint_auth_method", TEXT, DESC(token_endpoint_auth_method) },
	{ "client_id_member", TEXT, DESC(client_id_member) },
	{ "redirect_uri", TEXT, DESC(redirect_uri) },
	{ "scope", TEXT, DESC(scope) },
	{ "grant_types", WORDS, offsetof(struct oauth_row, grant_types) },
	{ "token_request", REQUEST, DESC(token_request) },
	{ "token_method", METHOD, DESC(token_get) },
	{ "rotates", BOOL, DESC(rotates) },
	{ "requires_rotation", BOOL, DESC(requires_rotation) },
	{ "expires_skew_s", SECONDS, DESC(expires_skew_s) },
	{ "default_lifetime_s", SECONDS, DESC(default_lifetime_s) },
	{ "authorize_params", PAIRS, DESC(authorize_params) },
	{ "token_params", PAIRS, DESC(token_params) },
	{ "headers", HEADERS, DESC(headers) },
	{ "keep", WORDS, DESC(keep) },
	{ "account_claim", POINTER, DESC(account_claim) },
	{ "account_member", TEXT, DESC(account_member) },
	{ "answer", ANSWER, 0 },
	{ NULL, 0, 0 },
};

static const struct field answer_fields[] = {
	{ "access", TEXT, DESC(answer_access) },
	{ "refresh", TEXT, DESC(answer_refresh) },
	{ "expires_in", TEXT, DESC(answer_expires_in) },
	{ "expires_at", TEXT, DESC(answer_expires_at) },
	{ NULL, 0, 0 },
};

/* In the order of their enums. */
static const char *const envelopes[] = { "unknown", "anthropic", "openai", "google", "aws",
	"simple", "azure", NULL };
static const char *const requests[] = { "form", "json", "bearer", NULL };
static const char *const methods[] = { "POST", "GET", NULL };

_Static_assert(
	sizeof(enum error_envelope) == sizeof(int) && sizeof(enum token_request) == sizeof(int),
	"enums are stored through int pointers");

static int choice_of(const char *const *choices, const cJSON *value)
{
	const char *text = cJSON_GetStringValue(value);
	for (int i = 0; text && choices[i]; i++) {
		if (strcmp(choices[i], text) == 0)
			return i;
	}
	return -1;
}

static bool is_printable(const char *text)
{
	if (!text || !*text)
		return false;
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	}
	return true;
}

static bool only_has(const char *text, const char *allowed)
{
	return text && *text && text[strspn(text, allowed)] == '\0';
}

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* RFC 9110 5.6.2: token */
#define TOKEN_CHARS LOWER UPPER DIGITS "!#$%&'*+-.^_`|~"

/* ASCII without control characters: nothing that could begin another header line. */
static bool is_header_value(const char *text)
{
	for (; text && *text; text++) {
		if (*text < 0x20 || *text > 0x7e)
			return false;
	}
	return text != NULL;
}

static bool is_template(const char *text, bool account)
{
	size_t name = text ? strspn(text, TOKEN_CHARS) : 0;
	if (!name || text[name] != ':' || !is_header_value(text))
		return false;
	for (const char *c = text + name; *c; c++) {
		if (*c == '}')
			return false;
		if (*c != '{')
			continue;
		if (strncmp(c, "{key}", 5) != 0 && !(account && strncmp(c, "{account}", 9) == 0))
			return false;
		c = strchr(c, '}');
	}
	return true;
}

static bool is_pointer(const char *text)
{
	if (!is_printable(text) || *text != '/')
		return false;
	for (const char *c = strchr(text, '~'); c; c = strchr(c + 1, '~')) {
		if (c[1] != '0' && c[1] != '1')
			return false;
	}
	return true;
}

static bool element_is_right(enum kind kind, const char *name, const char *text)
{
	switch (kind) {
	case NAMES:
		return text && provider_id_is_valid(text, strlen(text));
	case VARIABLES: /* a first digit is wrong for shells, but one provider's name has it */
		return only_has(text, UPPER LOWER DIGITS "_");
	case TEMPLATES:
		return is_template(text, false);
	case TEMPLATES_OAUTH:
		return is_template(text, true);
	case PAIRS:
		return is_printable(name) && is_printable(text);
	case HEADERS:
		return only_has(name, TOKEN_CHARS) && is_header_value(text);
	case WORDS:
		return is_printable(text);
	case OWN_ID:
	case TEXT:
	case SECRET:
	case URL:
	case POINTER:
	case BOOL:
	case SECONDS:
	case ENVELOPE:
	case REQUEST:
	case METHOD:
	case ANSWER:
	case OAUTH:
		break;
	}
	return false;
}

/* NULL if every element is right, else what they must be. */
static const char *check_elements(enum kind kind, const cJSON *value, const char *must)
{
	const cJSON *element;
	bool object = kind == PAIRS || kind == HEADERS;
	if (object ? !cJSON_IsObject(value) : !cJSON_IsArray(value))
		return must;
	cJSON_ArrayForEach (element, value) {
		if (object && cJSON_IsNull(element)) /* removes */
			continue;
		if (!element_is_right(kind, element->string, cJSON_GetStringValue(element)))
			return must;
	}
	return NULL;
}

/* NULL if value is right, else what it must be. Objects with fields of their own come later. */
static const char *check_value(enum kind kind, const cJSON *value)
{
	const char *text = cJSON_GetStringValue(value);
	switch (kind) {
	case OWN_ID:
	case TEXT:
	case SECRET:
		return is_printable(text) ? NULL : "must be printable text";
	case URL:
		return text && endpoint_is_allowed(text)
			       ? NULL
			       : "must be an https:// address (http:// only on this machine)";
	case POINTER:
		return is_pointer(text) ? NULL : "must be a JSON pointer (RFC 6901)";
	case BOOL:
		return cJSON_IsBool(value) ? NULL : "must be true or false";
	case SECONDS:
		return cJSON_IsNumber(value) && value->valuedouble >= 0 &&
				       value->valuedouble <= INT32_MAX &&
				       value->valuedouble == (int)value->valuedouble
			       ? NULL
			       : "must be a number of seconds";
	case ENVELOPE:
		return choice_of(envelopes, value) >= 0
			       ? NULL
			       : "must be anthropic, openai, google, aws, simple, azure or unknown";
	case REQUEST:
		return choice_of(requests, value) >= 0 ? NULL : "must be form, json or bearer";
	case METHOD:
		return choice_of(methods, value) >= 0 ? NULL : "must be GET or POST";
	case NAMES:
		return check_elements(kind, value, "must be a list of names (a-z 0-9 . _ -)");
	case VARIABLES:
		return check_elements(kind, value, "must be a list of environment variables");
	case TEMPLATES:
		return check_elements(kind, value, "must be a list of \"Name: value\", with {key}");
	case TEMPLATES_OAUTH:
		return check_elements(
			kind, value, "must be a list of \"Name: value\", with {key} or {account}");
	case WORDS:
		return check_elements(kind, value, "must be a list of texts");
	case PAIRS:
	case HEADERS:
		return check_elements(kind, value, "must be an object of texts");
	case ANSWER:
	case OAUTH:
		break;
	}
	return NULL;
}

static const struct field *field_of(const struct field *table, const char *name)
{
	for (; table->name; table++) {
		if (strcmp(table->name, name) == 0)
			return table;
	}
	return NULL;
}

static int check_fields(const struct field *table, const struct config_source *src,
	const char *pointer, const cJSON *object, struct pa_err *err)
{
	const cJSON *member;
	char at[CONFIG_POINTER_MAX];
	if (!cJSON_IsObject(object))
		return config_fail(src, pointer, err, "must be an object");
	cJSON_ArrayForEach (member, object) {
		const struct field *f = field_of(table, member->string);
		const char *must = NULL;
		int rc = 0;
		if (f && cJSON_IsNull(member)) /* removes */
			continue;
		config_pointer(at, pointer, member->string);
		if (!f)
			return config_fail(src, at, err, "unknown field \"%.40s\"", member->string);
		if (f->kind == OAUTH)
			rc = check_fields(oauth_fields, src, at, member, err);
		else if (f->kind == ANSWER)
			rc = check_fields(answer_fields, src, at, member, err);
		else
			must = check_value(f->kind, member);
		if (must)
			rc = config_fail(src, at, err, "\"%s\" %s", f->name, must);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int provider_check(const struct config_source *src, const char *pointer, const cJSON *fields,
	struct pa_err *err)
{
	return check_fields(provider_fields, src, pointer, fields, err);
}

static char **build_list(struct arena *a, const cJSON *array)
{
	const cJSON *element;
	char **list = arena_take(a, ((size_t)cJSON_GetArraySize(array) + 1) * sizeof(*list));
	size_t n = 0;
	cJSON_ArrayForEach (element, array) {
		if (list)
			list[n] = arena_string(a, element->valuestring);
		if (!list || !list[n++])
			return NULL;
	}
	return list;
}

static struct name_value *build_pairs(struct arena *a, const cJSON *object)
{
	const cJSON *member;
	struct name_value *pairs =
		arena_take(a, ((size_t)cJSON_GetArraySize(object) + 1) * sizeof(*pairs));
	size_t n = 0;
	cJSON_ArrayForEach (member, object) {
		if (!pairs)
			return NULL;
		pairs[n].name = arena_string(a, member->string);
		pairs[n].value = arena_string(a, member->valuestring);
		if (!pairs[n].name || !pairs[n].value)
			return NULL;
		n++;
	}
	return pairs;
}

static bool build_oauth(struct arena *a, const cJSON *object, struct oauth_desc **ret);

/* False: no memory. */
static bool build_fields(
	const struct field *table, struct arena *a, const cJSON *object, char *base)
{
	const cJSON *member;
	cJSON_ArrayForEach (member, object) {
		const struct field *f = field_of(table, member->string);
		void *to = base + f->offset;
		bool made = true;
		switch (f->kind) {
		case OWN_ID:
			break;
		case TEXT:
		case SECRET:
		case URL:
		case POINTER:
			made = (*(char **)to = arena_string(a, member->valuestring)) != NULL;
			break;
		case BOOL:
			*(bool *)to = cJSON_IsTrue(member);
			break;
		case SECONDS:
			*(int64_t *)to = (int64_t)member->valuedouble;
			break;
		case ENVELOPE:
			*(enum error_envelope *)to = (unsigned)choice_of(envelopes, member);
			break;
		case REQUEST:
			*(enum token_request *)to = (unsigned)choice_of(requests, member);
			break;
		case METHOD:
			*(bool *)to = choice_of(methods, member) == 1;
			break;
		case NAMES:
		case VARIABLES:
		case TEMPLATES:
		case TEMPLATES_OAUTH:
		case WORDS:
			made = (*(char ***)to = build_list(a, member)) != NULL;
			break;
		case PAIRS:
		case HEADERS:
			made = (*(struct name_value **)to = build_pairs(a, member)) != NULL;
			break;
		case ANSWER:
			made = build_fields(answer_fields, a, member, base);
			break;
		case OAUTH:
			made = build_oauth(a, member, to);
			break;
		}
		if (!made)
			return false;
	}
	return true;
}

static bool build_oauth(struct arena *a, const cJSON *object, struct oauth_desc **ret)
{
	struct oauth_row *row = arena_take(a, sizeof(*row));
	if (!row)
		return false;
	row->d.rotates = true; /* the safe assumption: it forbids careless repeats */
	if (!build_fields(oauth_fields, a, object, (char *)row))
		return false;
	for (char **type = row->grant_types; type && *type; type++) {
		if (strcmp(*type, "client_credentials") == 0)
			row->d.grant_client_credentials = true;
	}
	*ret = &row->d;
	return true;
}

/* Shared by all that do not say otherwise; nobody writes to them. */
static char bearer[] = "Authorization: Bearer {key}"; /* RFC 6750 2.1 */
char *provider_bearer[] = { bearer, NULL };
char *provider_none[] = { NULL };

int provider_build(const char *id, const cJSON *fields, struct arena *a, struct provider_row *row,
	struct pa_err *err)
{
	struct provider *p = &row->p;
	p->aliases = p->env = p->env_oauth = row->env_set = provider_none;
	p->header = p->header_oauth = provider_bearer;
	p->id = p->name = arena_string(a, id);
	if (!p->id || !build_fields(provider_fields, a, fields, (char *)row))
		return pa_fail(err, PA_NO_MEMORY, 0, "provider table");
	return 0;
}

static cJSON *render_list(char *const *list)
{
	cJSON *array = cJSON_CreateArray();
	for (; array && list && *list; list++) {
		if (!cJSON_AddItemToArray(array, cJSON_CreateString(*list))) {
			cJSON_Delete(array);
			return NULL;
		}
	}
	return array;
}

static cJSON *render_pairs(const struct name_value *pair)
{
	cJSON *object = cJSON_CreateObject();
	for (; object && pair && pair->name; pair++) {
		if (!cJSON_AddStringToObject(object, pair->name, pair->value)) {
			cJSON_Delete(object);
			return NULL;
		}
	}
	return object;
}

static cJSON *render_fields(const struct field *table, const char *base);

/* *ret_skip: there is nothing to say about this field. NULL without it: no memory. */
static cJSON *render_value(const struct field *f, const char *base, bool *ret_skip)
{
	const void *from = base + f->offset;
	const char *text = NULL;
	*ret_skip = false;
	switch (f->kind) {
	case BOOL:
		return cJSON_CreateBool(*(const bool *)from);
	case SECONDS:
		return cJSON_CreateNumber((double)*(const int64_t *)from);
	case ENVELOPE:
		return cJSON_CreateString(envelopes[*(const enum error_envelope *)from]);
	case REQUEST:
		return cJSON_CreateString(requests[*(const enum token_request *)from]);
	case METHOD:
		return cJSON_CreateString(methods[*(const bool *)from]);
	case ANSWER:
		return render_fields(answer_fields, base);
	case TEXT:
	case URL:
	case POINTER:
		text = *(char *const *)from;
		if (text)
			return cJSON_CreateString(text);
		break;
	case NAMES:
	case VARIABLES:
	case TEMPLATES:
	case TEMPLATES_OAUTH:
	case WORDS:
		if (*(char **const *)from)
			return render_list(*(char **const *)from);
		break;
	case PAIRS:
	case HEADERS:
		if (*(struct name_value *const *)from)
			return render_pairs(*(struct name_value *const *)from);
		break;
	case OAUTH:
		if (*(struct oauth_desc *const *)from)
			return render_fields(
				oauth_fields, (const char *)*(struct oauth_desc *const *)from);
		break;
	case OWN_ID:
	case SECRET:
		break;
	}
	*ret_skip = true;
	return NULL;
}

static cJSON *render_fields(const struct field *table, const char *base)
{
	cJSON *object = cJSON_CreateObject();
	for (; object && table->name; table++) {
		bool skip;
		cJSON *value = render_value(table, base, &skip);
		if (skip)
			continue;
		if (json_set(object, table->name, value, NULL) < 0) {
			cJSON_Delete(object);
			return NULL;
		}
	}
	return object;
}

cJSON *provider_render(const struct provider_row *row)
{
	return render_fields(provider_fields, (const char *)row);
}
