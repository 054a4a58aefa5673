/*
 * provider - what is known about each provider, as data.
 *
 * The table is providers.json, embedded at build, merged (RFC 7396, field by field) with
 * providers.d/<id>.json beside the configuration and with "providers" in the configuration. C code
 * knows no provider by name. The table is built once and then constant; everything borrowed from it
 * lives as long as the table. Threads: any, after it is built.
 */
#ifndef PIAUTH_PROVIDER_H
#define PIAUTH_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "json.h"

#define PROVIDER_ID_MAX  64 /* [a-z0-9][a-z0-9._-]{0,63} */
#define PROFILE_NAME_MAX 64 /* [A-Za-z0-9][A-Za-z0-9._@+-]{0,63}, the part after the first @ */
#define PROFILE_ID_MAX   (PROVIDER_ID_MAX + 1 + PROFILE_NAME_MAX)

enum error_envelope {
	ENVELOPE_UNKNOWN,
	ENVELOPE_ANTHROPIC, /* {type:"error",error:{type,message}} */
	ENVELOPE_OPENAI,    /* {error:{code,message,param,type}} */
	ENVELOPE_GOOGLE,    /* {error:{code:N,message,status}} */
	ENVELOPE_AWS,       /* {__type,message} */
	ENVELOPE_SIMPLE,    /* {message} */
	ENVELOPE_AZURE,     /* {error:{code,message}} */
};

/* How a token request carries its parameters. */
enum token_request {
	TOKEN_FORM,   /* application/x-www-form-urlencoded (RFC 6749) */
	TOKEN_JSON,   /* the same parameters as one JSON object */
	TOKEN_BEARER, /* not RFC 6749: the refresh value travels as Authorization: Bearer */
};

struct name_value {
	char *name;
	char *value;
};

/*
 * An OAuth client at one provider. Field names follow RFC 8414 and RFC 7591; ours: token_request ...
 * answer. Strings may be NULL where optional.
 */
struct oauth_desc {
	char *issuer;
	char *authorization_endpoint;
	char *token_endpoint; /* NULL: nothing to refresh with */
	char *device_authorization_endpoint;
	char *revocation_endpoint;
	char *client_id;
	char *client_secret; /* wiping memory; from the configuration only, never from the table */
	/* RFC 7591: "client_secret_post" needs the secret; NULL or "none": a public client */
	char *token_endpoint_auth_method;
	char *client_id_member; /* entry member that holds an issued client id, which then wins */
	char *redirect_uri;
	char *scope;
	bool grant_client_credentials; /* grant_types has client_credentials (RFC 6749 4.4) */
	enum token_request token_request;
	bool token_get; /* TOKEN_BEARER with GET instead of POST {} */
	bool rotates; /* a refresh may consume the refresh token: the safe assumption, the default */
	bool requires_rotation;     /* an answer without a new refresh token is a bad answer */
	int64_t expires_skew_s;     /* subtracted in `expires` of foreign files; ours is exact */
	int64_t default_lifetime_s; /* when an answer names none; 0: 3600 */
	struct name_value *authorize_params; /* NULL-name terminated, may be NULL */
	struct name_value *token_params;
	struct name_value *headers; /* extra request headers the token endpoint requires */
	char **keep;                /* extra answer fields to store; NULL terminated, may be NULL */
	char *account_claim;        /* RFC 6901 pointer into the access token's JWT payload */
	char *account_member;       /* entry member the account id is kept in, e.g. "accountId" */
	/* Names of the answer's members where they differ from RFC 6749 5.1; NULL: the RFC's name. */
	char *answer_access;
	char *answer_refresh;
	char *answer_expires_in;
	char *answer_expires_at; /* seconds since the epoch, instead of expires_in */
};

struct provider {
	char *id;
	char *name;
	char **aliases;      /* NULL terminated */
	char **env;          /* in order of precedence; NULL terminated */
	char **env_oauth;    /* names for OAuth access tokens; NULL terminated, may be empty */
	char *endpoint;      /* NULL: per instance, see base-url */
	char *key_url;       /* where a person gets a key; may be NULL */
	char **header;       /* templates for a key: "x-api-key: {key}"; NULL terminated */
	char **header_oauth; /* for an OAuth token; may use {account} too; a line whose {account} is
			      * unknown is left out */
	enum error_envelope envelope;
	bool keyless;             /* works without a credential */
	bool custom;              /* not in the table: made by mkdir */
	struct oauth_desc *oauth; /* NULL: no OAuth */
};

struct provider_table;

/*
 * Builds the table: the embedded data, then every *.json of dirfd_providers_d (-1: none) in byte order
 * of their names, then overrides (an object id -> fields, may be NULL; errors name its line with
 * overrides_text). A file in providers.d holds one object; its id is the file name without .json, and
 * "id" in it, if present, must agree. Unknown fields are errors. http:// endpoints are accepted for
 * loopback hosts (127.0.0.0/8, [::1], localhost) only.
 * On failure nothing is returned and err names file, line and reason.
 */
int provider_table_new(int dirfd_providers_d, const cJSON *overrides, const char *overrides_text,
	size_t overrides_len, struct provider_table **ret, struct pa_err *err);
void provider_table_free(struct provider_table *t); /* NULL is fine */

size_t provider_count(const struct provider_table *t);
const struct provider *provider_at(const struct provider_table *t, size_t i); /* sorted by id */
/* By id or alias, any letter case. NULL if unknown. */
const struct provider *provider_find(const struct provider_table *t, const char *name, size_t len);
/* The effective table as JSON text, without client secrets; for wipe_free. NULL on no memory. */
char *provider_table_json(const struct provider_table *t);

/* A provider that only holds an API key, as mkdir makes it. id must be valid. */
int provider_new_custom(const char *id, struct provider **ret, struct pa_err *err);
void provider_free_custom(struct provider *p);

bool provider_id_is_valid(const char *id, size_t len);
bool profile_name_is_valid(const char *name, size_t len);
/* https anywhere, http on a loopback host only. */
bool endpoint_is_allowed(const char *url);

#endif
