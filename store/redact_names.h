/*
 * redact_names - what redact takes for a secret, as data. docs/THREAT-MODEL.md lists the same.
 */
#ifndef PIAUTH_REDACT_NAMES_H
#define PIAUTH_REDACT_NAMES_H

/* Names are compared in lower case with everything but letters and digits left out. */

/* The whole name. */
static const char *const secret_names[] = { "access", "assertion", "auth", "jwt", "key", "pass",
	"pwd", "refresh", "sig" };

/* A part of the name. */
static const char *const secret_parts[] = { "accesskey", "apikey", "authcode", "authorization",
	"bearer", "clientassertion", "codeverifier", "cookie", "credential", "deviceauthid",
	"devicecode", "encryptionkey", "masterkey", "passphrase", "passwd", "password",
	"privatekey", "secret", "servicekey", "sessionkey", "signature", "signingkey", "sshkey",
	"token", "usercode" };

/* What a name says that only talks about a secret: counters, addresses, kinds. */
static const struct {
	const char *part;
	const char *tail; /* what follows the part */
} harmless[] = {
	{ "accesskey", "id" },
	{ "authorization", "endpoint" },
	{ "authorization", "server" },
	{ "authorization", "ur" },
	{ "signature", "method" },
	{ "signature", "version" },
	{ "token", "budget" },
	{ "token", "count" },
	{ "token", "endpoint" },
	{ "token", "expir" },
	{ "token", "iz" },
	{ "token", "len" },
	{ "token", "lifetime" },
	{ "token", "limit" },
	{ "token", "method" },
	{ "token", "type" },
	{ "token", "ur" },
	{ "token", "usage" },
};

/* These plurals hold tokens; any other (max_tokens, prompt_tokens) counts them. */
static const char *const token_plurals[] = { "accesstokens", "authtokens", "bearertokens",
	"idtokens", "refreshtokens", "sessiontokens" };

/* In a URL query or a form body (RFC 6749 4.1) these are secrets too. */
static const char *const query_names[] = { "code", "state" };

/* How keys of known kinds begin. */
#define KEY_TAIL_MIN 12 /* so many characters must follow, or it is a word like any other */

static const char *const key_prefixes[] = { "1//0", "AIza", "AKIA", "ASIA", "GOCSPX-", "csk-",
	"fw_", "ghe_", "gho_", "ghp_", "ghr_", "ghs_", "ghu_", "github_pat_", "glpat-", "gloas-",
	"gsk_", "hf_", "npm_", "nvapi-", "pplx-", "r8_", "rk_live_", "rt_", "sk-", "sk_", "tgp_",
	"xai-", "xoxb-", "xoxp-", "ya29." };

#endif
