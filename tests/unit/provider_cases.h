/*
 * provider_cases - the tables test_provider works through.
 */
#ifndef PIAUTH_TEST_PROVIDER_CASES_H
#define PIAUTH_TEST_PROVIDER_CASES_H

#include "store/provider.h"

/* Every descriptor of the embedded table, in the order of its ids. */
static const struct {
	const char *id;
	const char *authorize;
	const char *token;
	const char *device;
	const char *client;
	enum token_request request;
	bool get;
	bool rotates;
	bool credentials;
	int skew;
	int lifetime;
} flows[] = {
	{ "anthropic", "https://claude.ai/oauth/authorize",
		"https://platform.claude.com/v1/oauth/token", "",
		"9d1c250a-e61b-44d9-88ed-5944d1962f5e", TOKEN_JSON, false, true, false, 300, 0 },
	{ "github-copilot", "", "https://api.github.com/copilot_internal/v2/token",
		"https://github.com/login/device/code", "Iv1.b507a08c87ecfe98", TOKEN_BEARER, true,
		false, false, 300, 0 },
	{ "gitlab", "https://gitlab.com/oauth/authorize", "https://gitlab.com/oauth/token", "",
		"da4edff2e6ebd2bc3208611e2768bc1c1dd7be791dc5ff26ca34ca9ee44f7d4b", TOKEN_FORM,
		false, true, false, 300, 0 },
	{ "google-antigravity", "https://accounts.google.com/o/oauth2/v2/auth",
		"https://oauth2.googleapis.com/token", "",
		"1071006060591-tmhssin2h21lcre235vtolojh4g403ep.apps.googleusercontent.com",
		TOKEN_FORM, false, false, false, 300, 0 },
	{ "google-gemini-cli", "https://accounts.google.com/o/oauth2/v2/auth",
		"https://oauth2.googleapis.com/token", "",
		"681255809395-oo8ft2oprdrnp9e3aqf6av3hmdib135j.apps.googleusercontent.com",
		TOKEN_FORM, false, false, false, 300, 0 },
	{ "kimi-for-coding", "", "https://auth.kimi.com/api/oauth/token",
		"https://auth.kimi.com/api/oauth/device_authorization",
		"17e5f671-d194-4dfb-9706-5516cb48c098", TOKEN_FORM, false, true, false, 0, 0 },
	{ "meta", "", "https://api.meta.ai/muse-code/key",
		"https://auth.meta.com/oidc/device/authorization/", "1031625952748946",
		TOKEN_BEARER, false, false, false, 0, 86400 },
	{ "openai", "https://auth.openai.com/api/accounts/authorize",
		"https://auth.openai.com/api/accounts/oauth/token", "", "dynamic_agent_client",
		TOKEN_FORM, false, true, false, 180, 0 },
	{ "openai-codex", "https://auth.openai.com/oauth/authorize",
		"https://auth.openai.com/oauth/token", "", "app_EMoamEEZ73f0CkXaXp7hrann",
		TOKEN_FORM, false, true, false, 0, 0 },
	{ "qwen-cli", "", "https://chat.qwen.ai/api/v1/oauth2/token",
		"https://chat.qwen.ai/api/v1/oauth2/device/code",
		"f0304373b74a44d2b584a3fb70ca9e56", TOKEN_FORM, false, true, false, 0, 0 },
	{ "radius", "", "https://radius.pi.dev/v1/oauth/token",
		"https://radius.pi.dev/v1/oauth/device", "pi-gateway", TOKEN_FORM, false, true,
		false, 60, 0 },
	{ "sap-ai-core", "", "", "", "", TOKEN_FORM, false, false, true, 0, 0 },
	{ "xai", "", "https://auth.x.ai/oauth2/token", "https://auth.x.ai/oauth2/device/code",
		"b1a00492-073a-47ea-816f-4c329264a828", TOKEN_FORM, false, true, false, 300, 3600 },
};

static const char *const good_urls[] = { "https://api.example.org", "https://api.example.org/",
	"https://api.example.org:8443/v1?x=y&z", "HTTPS://API.example.org/v1", "https://10.0.0.1/x",
	"https://[2001:db8::1]:443/x", "https://a_b.example/@x/a%20b",
	"https://xn--bcher-kva.example", "http://localhost", "http://LocalHost:1455/auth/callback",
	"http://127.0.0.1:8080/v1", "http://127.255.255.254/", "http://[::1]/x", "http://[::1]:80",
	"http://[0:0:0:0:0:0:0:1]/" };

static const char *const bad_urls[] = { "", "https://", "http://", "https:///x", "https://:443/",
	"api.example.org", "ftp://api.example.org", "file:///etc/passwd", "//api.example.org",
	"https:/api.example.org", " https://api.example.org", "https://api.example.org ",
	"http://api.example.org", "http://10.0.0.1/", "http://0.0.0.0/", "http://128.0.0.1/",
	"http://127.1/", "http://127.0.0.1.example.org/", "http://127.0.0.1@evil.example/",
	"http://localhost@evil.example/", "http://localhost:80@evil.example/",
	"http://localhost:@evil.example/", "http://localhost%40evil.example/",
	"http://localhost%2eevil.example/", "http://localhost.evil.example/", "http://localhost./",
	"http://localhost\\@evil.example/", "http://localhost\\.evil.example/",
	"http://localhost#@evil.example/", "http://localhost?@evil.example/#x",
	"http://localhost:80:80/", "http://localhost:/", "http://localhost:0/",
	"http://localhost:65536/", "http://localhost:x/", "http://localhost:99999999999999999999/",
	"http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.0.0.01/",
	"http://[::ffff:127.0.0.1]/", "http://[::]/", "http://[::1/", "http://[::1]evil.example/",
	"http://[::1%25lo]/", "http://::1/", "http://[127.0.0.1]/", "http://[]/",
	"https://user:password@api.example.org/", "https://api.example.org\\evil",
	"https://api.example.org/#fragment", "https://api.exa mple.org",
	"https://api.example.org/\n", "https://api.example.org/\t", "https://\xc3\xa4.example/",
	"https://.example.org/", "https://api.example.org:443x/", "https://a%2fb/", "https://a<b/",
	"https://{account}/v1" };

/* What a configuration may not say, and what piauth says then. */
static const struct {
	const char *fields; /* of provider x, which begins in line 2 */
	const char *detail;
} mistakes[] = {
	{ "{\"label\":\"y\"}", "configuration line 2: unknown field \"label\"" },
	{ "{\n\"oauth\":{\n\"token_endpiont\":\"https://a\"}}",
		"configuration line 4: unknown field \"token_endpiont\"" },
	{ "{\"oauth\":{\"answer\":{\n\"x\":\"y\"}}}", "configuration line 3: unknown field \"x\"" },
	{ "[]", "configuration line 2: must be an object" },
	{ "{\"oauth\":[]}", "configuration line 2: must be an object" },
	{ "{\"name\":5}", "\"name\" must be printable text" },
	{ "{\"name\":\"\"}", "\"name\" must be printable text" },
	{ "{\"name\":\"a\\nb\"}", "\"name\" must be printable text" },
	{ "{\"id\":\"y\"}", "\"id\" must be \"x\" or absent" },
	{ "{\"aliases\":\"y\"}", "\"aliases\" must be a list of names" },
	{ "{\"aliases\":[\"Y\"]}", "\"aliases\" must be a list of names" },
	{ "{\"env\":[\"A B\"]}", "\"env\" must be a list of environment variables" },
	{ "{\"env\":[\"A=B\"]}", "\"env\" must be a list of environment variables" },
	{ "{\"env\":[null]}", "\"env\" must be a list of environment variables" },
	{ "{\"endpoint\":\"http://api.example.org\"}", "\"endpoint\" must be an https:// address" },
	{ "{\"endpoint\":\"http://127.0.0.1@evil.example/\"}",
		"\"endpoint\" must be an https:// address" },
	{ "{\"key_url\":\"javascript:alert(1)\"}", "\"key_url\" must be an https:// address" },
	{ "{\"header\":\"X: {key}\"}", "\"header\" must be a list" },
	{ "{\"header\":[\"{key}\"]}", "\"header\" must be a list" },
	{ "{\"header\":[\"X Y: {key}\"]}", "\"header\" must be a list" },
	{ "{\"header\":[\"X: {key}\\r\\nY: z\"]}", "\"header\" must be a list" },
	{ "{\"header\":[\"X: {account}\"]}", "\"header\" must be a list" },
	{ "{\"header\":[\"X: {key\"]}", "\"header\" must be a list" },
	{ "{\"header\":[\"X: key}\"]}", "\"header\" must be a list" },
	{ "{\"header\":[\"X: {refresh}\"]}", "\"header\" must be a list" },
	{ "{\"header_oauth\":[\"X: {refresh}\"]}", "\"header_oauth\" must be a list" },
	{ "{\"error_envelope\":\"xml\"}", "\"error_envelope\" must be anthropic" },
	{ "{\"keyless\":1}", "\"keyless\" must be true or false" },
	{ "{\"oauth\":{\"token_endpoint\":\"http://as.example/\"}}",
		"\"token_endpoint\" must be an https:// address" },
	{ "{\"oauth\":{\"revocation_endpoint\":\"http://as.example/\"}}",
		"\"revocation_endpoint\" must be an https:// address" },
	{ "{\"oauth\":{\"token_request\":\"xml\"}}", "\"token_request\" must be form" },
	{ "{\"oauth\":{\"token_method\":\"PUT\"}}", "\"token_method\" must be GET or POST" },
	{ "{\"oauth\":{\"rotates\":\"no\"}}", "\"rotates\" must be true or false" },
	{ "{\"oauth\":{\"expires_skew_s\":-1}}", "\"expires_skew_s\" must be a number of seconds" },
	{ "{\"oauth\":{\"expires_skew_s\":1.5}}",
		"\"expires_skew_s\" must be a number of seconds" },
	{ "{\"oauth\":{\"default_lifetime_s\":1e20}}", "must be a number of seconds" },
	{ "{\"oauth\":{\"token_params\":[]}}", "\"token_params\" must be an object of texts" },
	{ "{\"oauth\":{\"token_params\":{\"a\":1}}}",
		"\"token_params\" must be an object of texts" },
	{ "{\"oauth\":{\"headers\":{\"A\":\"b\\nC: d\"}}}",
		"\"headers\" must be an object of texts" },
	{ "{\"oauth\":{\"headers\":{\"A:\":\"b\"}}}", "\"headers\" must be an object of texts" },
	{ "{\"oauth\":{\"account_claim\":\"a/b\"}}", "\"account_claim\" must be a JSON pointer" },
	{ "{\"oauth\":{\"account_claim\":\"/a~2\"}}", "\"account_claim\" must be a JSON pointer" },
	{ "{\"oauth\":{\"client_secret\":17}}", "\"client_secret\" must be printable text" },
	{ "{\"oauth\":{\"grant_types\":\"x\"}}", "\"grant_types\" must be a list of texts" },
};

#endif
