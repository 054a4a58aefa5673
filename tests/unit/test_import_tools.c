/* What the formats of tools other than pi's make of good, odd and hostile documents, and what they write. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/import/import.h"
#include "store/secret.h"

/* {"exp":2000000000,"https://api.openai.com/auth":{"chatgpt_account_id":"acct-1"}} */
#define JWT_CODEX                                                                          \
	"e30.eyJleHAiOjIwMDAwMDAwMDAsImh0dHBzOi8vYXBpLm9wZW5haS5jb20vYXV0aCI6eyJjaGF0Z3B0" \
	"X2FjY291bnRfaWQiOiJhY2N0LTEifX0.c2ln"
/* {"email":"a@example.com"} */
#define JWT_EMAIL "e30.eyJlbWFpbCI6ImFAZXhhbXBsZS5jb20ifQ.c2ln"

static const struct import_format *format_of(const struct importer *tool, const char *name)
{
	for (const struct import_name *n = tool->names; n->name; n++) {
		if (strcmp(n->name, name) == 0)
			return n->format;
	}
	fail_msg("%s has no %s", tool->tool, name);
	return NULL;
}

static cJSON *parse(const char *text)
{
	cJSON *root = NULL;
	struct pa_err err;
	if (json_parse(text, strlen(text), PA_BAD_INPUT, &root, NULL, &err) < 0)
		fail_msg("%s: %s", err.detail, text);
	return root;
}

/* ---- reading ---- */

/* One line per entry: NAME PROVIDER[@PROFILE] ENTRY, or NAME PROVIDER: REASON. */
struct listing {
	char text[8192];
	size_t left; /* entries until it fails; 0: never */
};

static int list_entry(void *arg, struct import_entry *e, struct pa_err *err)
{
	struct listing *l = arg;
	WIPE_AUTO char *entry = e->entry ? json_text(e->entry) : NULL;
	size_t len = strlen(l->text);

	assert_true((e->entry != NULL) == (e->refused == NULL));
	assert_true(strlen(e->name) <= 255);
	if (e->entry)
		assert_string_equal(json_str(e->entry, "type"), e->lane);
	cJSON_Delete(e->entry);
	int n = snprintf(l->text + len, sizeof(l->text) - len, "%s %s%s%s%s %s\n", e->name,
		e->provider, e->profile ? "@" : "", e->profile ? e->profile : "",
		e->refused ? ":" : "", e->refused ? e->refused : entry);
	assert_true(n > 0 && (size_t)n < sizeof(l->text) - len);
	return l->left && --l->left == 0 ? pa_fail(err, PA_SYSTEM, EPIPE, "enough") : 0;
}

static int read_into(
	const struct import_format *f, const char *text, struct listing *l, struct pa_err *err)
{
	struct import_sink sink = { list_entry, l };
	JSON_AUTO cJSON *root = f->text ? NULL : parse(text);
	return f->read(root, f->text ? text : NULL, f->text ? strlen(text) : 0, &sink, err);
}

static void reads(const struct import_format *f, const char *text, const char *expected)
{
	struct listing l = { 0 };
	struct pa_err err = { 0 };
	if (read_into(f, text, &l, &err) < 0)
		fail_msg("%s: %s", err.detail, text);
	assert_string_equal(l.text, expected);
}

static void cannot_read(const struct import_format *f, const char *text, const char *detail)
{
	struct listing l = { 0 };
	struct pa_err err = { 0 };
	int rc = read_into(f, text, &l, &err);
	if (rc >= 0)
		fail_msg("was read: %s", text);
	assert_int_equal(rc, -EBADMSG);
	assert_int_equal(err.code, PA_FILE_UNUSABLE);
	assert_string_equal(err.detail, detail);
	assert_string_equal(l.text, "");
}

/* Whatever a document of JSON is, it is read, refused or unusable, and nothing worse. */
static void any_document_can_come(void **state)
{
	static const struct importer *const tools[] = { &import_claude_code, &import_codex,
		&import_gemini_cli, &import_copilot, &import_openclaw };
	static const char *const documents[] = { "null", "true", "1", "\"x\"", "[]", "[{}]", "{}",
		"{\"x\":null}", "{\"claudeAiOauth\":{\"accessToken\":[],\"refreshToken\":{}}}",
		"{\"tokens\":{\"access_token\":1,\"refresh_token\":null}}",
		"{\"access_token\":{},\"refresh_token\":\"\",\"expiry_date\":\"x\"}",
		"{\"github.com\":[],\"github.com:\":{\"oauth_token\":7}}",
		"{\"profiles\":{\"\":{},\":\":null,\"a:b:c\":{\"type\":[]}}}" };
	for (size_t i = 0; i < sizeof(tools) / sizeof(*tools); i++) {
		for (const struct import_name *n = tools[i]->names; n->name; n++) {
			for (size_t d = 0; d < sizeof(documents) / sizeof(*documents); d++) {
				struct listing l = { 0 };
				struct pa_err err = { 0 };
				if (n->format->text)
					continue;
				if (read_into(n->format, documents[d], &l, &err) < 0)
					assert_int_equal(err.code, PA_FILE_UNUSABLE);
				else
					assert_true(
						d > 5); /* only objects are files of these tools */
			}
		}
	}
}

/* What the receiver says ends the reading. */
static void the_receiver_can_stop(void **state)
{
	struct listing l = { .left = 1 };
	struct pa_err err = { 0 };
	const struct import_format *f = format_of(&import_copilot, "apps.json");
	assert_int_equal(read_into(f,
				 "{\"github.com:A\":{\"oauth_token\":\"ghu_fake\"},"
				 "\"github.com:B\":{\"oauth_token\":\"ghu_fake2\"}}",
				 &l, &err),
		-EPIPE);
	l = (struct listing){ .left = 1 };
	f = format_of(&import_gh, "hosts.yml");
	assert_int_equal(
		read_into(f, "a:\n  oauth_token: x\nb:\n  oauth_token: y\n", &l, &err), -EPIPE);
	assert_null(strstr(l.text, "\nb"));
	l = (struct listing){ .left = 1 };
	f = format_of(&import_codex, "auth.json");
	assert_int_equal(read_into(f,
				 "{\"OPENAI_API_KEY\":\"sk-fake-1\",\"tokens\":"
				 "{\"access_token\":\"a\",\"refresh_token\":\"r\"}}",
				 &l, &err),
		-EPIPE);
	assert_null(strstr(l.text, "sk-fake-1"));
}

#define CLAUDE(members) \
	"{\"claudeAiOauth\":{" members "},\"mcpOAuth\":{\"x\":{\"accessToken\":\"m\"}}}"

static void claude_code_is_read(void **state)
{
	const struct import_format *f = format_of(&import_claude_code, ".credentials.json");
	assert_true(f->linkable && f->lock == IMPORT_LOCK_CLAUDE);
	reads(f,
		CLAUDE("\"accessToken\":\"a\",\"refreshToken\":\"r\",\"expiresAt\":1790000000000,"
		       "\"scopes\":[\"user:profile\",\"user:inference\"],\"new\":{\"x\":1},"
		       "\"clientId\":\"9d1c250a-e61b-44d9-88ed-5944d1962f5e\","
		       "\"accountUuid\":\"acct-1\""),
		"claudeAiOauth anthropic {\"type\":\"oauth\",\"access\":\"a\",\"refresh\":\"r\","
		"\"expires\":1790000000000,\"claude-code\":{\"scopes\":[\"user:profile\","
		"\"user:inference\"],\"new\":{\"x\":1},"
		"\"clientId\":\"9d1c250a-e61b-44d9-88ed-5944d1962f5e\","
		"\"accountUuid\":\"acct-1\"},\"accountUuid\":\"acct-1\"}\n");
	/* Older versions and other writers leave scopes out. */
	reads(f, CLAUDE("\"accessToken\":\"a\",\"refreshToken\":\"r\""),
		"claudeAiOauth anthropic {\"type\":\"oauth\",\"access\":\"a\",\"refresh\":\"r\","
		"\"expires\":0,\"claude-code\":{}}\n");
	reads(f, "{\"mcpOAuth\":{}}", "");
	reads(f, "{\"claudeAiOauth\":null}", "");
}

static void claude_code_is_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "{\"claudeAiOauth\":\"x\"}", "not a JSON object" },
		{ CLAUDE("\"accessToken\":\"a\",\"refreshToken\":\"\",\"expiresAt\":1"),
			"the server refused this login, Claude Code has given it up" },
		{ CLAUDE("\"accessToken\":\"a\",\"refreshToken\":\"r\",\"clientId\":\"other\""),
			"another OAuth client's login: only that client can refresh it" },
		{ CLAUDE("\"accessToken\":\"a\",\"refreshToken\":\"r\",\"scopes\":[\"user:"
			 "profile\"]"),
			"without the scope user:inference it is no login for the API" },
		{ CLAUDE("\"scopes\":[\"user:inference\"]"), "there is no token in it" },
		{ CLAUDE("\"accessToken\":\"a\",\"refreshToken\":null,\"expiresAt\":null"),
			"neither a refresh token nor a time of expiry is there" },
	};
	const struct import_format *f = format_of(&import_claude_code, ".credentials.json");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char expected[256];
		snprintf(expected, sizeof(expected), "claudeAiOauth anthropic: %s\n", cases[i].why);
		reads(f, cases[i].text, expected);
	}
}

static void codex_is_read(void **state)
{
	const struct import_format *f = format_of(&import_codex, "auth.json");
	assert_true(f->linkable && f->lock == IMPORT_LOCK_NONE);
	reads(f,
		"{\"OPENAI_API_KEY\":null,\"tokens\":{\"id_token\":\"i\",\"access_token\":"
		"\"" JWT_CODEX
		"\",\"refresh_token\":\"r\"},\"last_refresh\":\"2026-01-02T03:04:05.678901Z\"}",
		"tokens openai-codex {\"type\":\"oauth\",\"access\":\"" JWT_CODEX
		"\",\"refresh\":\"r\",\"expires\":2000000000000,\"accountId\":\"acct-1\","
		"\"id_token\":\"i\"}\n");
	/* What the file says about the account goes before what the token says. */
	reads(f,
		"{\"tokens\":{\"access_token\":\"" JWT_CODEX
		"\",\"refresh_token\":\"r\",\"account_id\":\"acct-2\"}}",
		"tokens openai-codex {\"type\":\"oauth\",\"access\":\"" JWT_CODEX
		"\",\"refresh\":\"r\",\"expires\":2000000000000,\"accountId\":\"acct-2\"}\n");
	/* No JWT: when it expires is not known, so it counts as expired. */
	reads(f, "{\"tokens\":{\"access_token\":\"a\",\"refresh_token\":\"r\"}}",
		"tokens openai-codex {\"type\":\"oauth\",\"access\":\"a\",\"refresh\":\"r\","
		"\"expires\":0}\n");
	reads(f, "{\"tokens\":{\"id_token\":\"" JWT_CODEX "\",\"refresh_token\":\"r\"}}",
		"tokens openai-codex {\"type\":\"oauth\",\"access\":\"\",\"refresh\":\"r\","
		"\"expires\":0,\"accountId\":\"acct-1\",\"id_token\":\"" JWT_CODEX "\"}\n");
	reads(f, "{\"auth_mode\":\"apikey\",\"OPENAI_API_KEY\":\"sk-fake-1\",\"tokens\":null}",
		"OPENAI_API_KEY openai {\"type\":\"api_key\",\"key\":\"sk-fake-1\"}\n");
	reads(f, "{\"OPENAI_API_KEY\":null}", "");
	reads(f,
		"{\"OPENAI_API_KEY\":7,\"tokens\":[],\"agent_identity\":{},"
		"\"personal_access_token\":\"x\"}",
		"tokens openai-codex: not a JSON object\n"
		"OPENAI_API_KEY openai: not a string\n"
		"agent_identity openai: a kind of credential that piauth does not keep\n"
		"personal_access_token openai: a kind of credential that piauth does not keep\n");
	reads(f, "{\"tokens\":{\"id_token\":\"i\"}}",
		"tokens openai-codex: there is no token in it\n");
	reads(f, "{\"OPENAI_API_KEY\":\"!cat /x\"}",
		"OPENAI_API_KEY openai: a command, not a key: never executed\n");
}

static void gemini_cli_is_read(void **state)
{
	const struct import_format *f = format_of(&import_gemini_cli, "oauth_creds.json");
	assert_true(f->linkable && f->lock == IMPORT_LOCK_NONE);
	reads(f,
		"{\"access_token\":\"a\",\"refresh_token\":\"r\",\"scope\":\"s t\","
		"\"token_type\":\"Bearer\",\"id_token\":\"" JWT_EMAIL
		"\",\"expiry_date\":1790000000000}",
		"oauth_creds google-gemini-cli {\"type\":\"oauth\",\"access\":\"a\","
		"\"refresh\":\"r\",\"expires\":1790000000000,\"scope\":\"s t\","
		"\"token_type\":\"Bearer\",\"id_token\":\"" JWT_EMAIL
		"\",\"email\":\"a@example.com\"}\n");
	reads(f, "{\"refresh_token\":\"r\"}",
		"oauth_creds google-gemini-cli {\"type\":\"oauth\",\"access\":\"\","
		"\"refresh\":\"r\",\"expires\":0}\n");
	reads(f, "{\"scope\":\"s\",\"token_type\":\"Bearer\"}", "");

	f = format_of(&import_gemini_cli, "gemini-credentials.json");
	assert_null(f->write);
	reads(f, "00ff:AB12:c0de\n", "oauth_creds google-gemini-cli: encrypted by Gemini CLI\n");
	cannot_read(f, "", "not iv:tag:data in hexadecimal");
	cannot_read(f, "00ff:ab", "not iv:tag:data in hexadecimal");
	cannot_read(f, "{\"access_token\":\"a\"}", "not iv:tag:data in hexadecimal");
}

static void copilot_is_read(void **state)
{
	const struct import_format *f = format_of(&import_copilot, "apps.json");
	assert_false(f->linkable);
	reads(f,
		"{\"ghe.example.com:Iv1.x\":{\"user\":\"m\",\"oauth_token\":\"ghu_fake0\"},"
		"\"github.com:Iv1.x\":{\"user\":\"mona\",\"oauth_token\":\"ghu_fake1\","
		"\"githubAppId\":\"Iv1.x\"},"
		"\"github.com:Iv23.y\":{\"user\":\"octo\",\"oauth_token\":\"ghu_fake2\"},"
		"\"github.com:Iv23.z\":{\"user\":\"mona\",\"oauth_token\":\"ghu_fake3\"},"
		"\"github.com:a\":{\"user\":\"no name\",\"oauth_token\":\"ghu_fake4\"},"
		"\"github.com:b\":{\"user\":\"x\"},"
		"\"github.com.example.com\":{\"user\":\"x\",\"oauth_token\":\"ghu_fake5\"}}",
		"ghe.example.com:Iv1.x github-copilot: a GitHub Enterprise account: its token must "
		"not be sent to github.com\n"
		"github.com:Iv1.x github-copilot {\"copilot\":{\"user\":\"mona\","
		"\"githubAppId\":\"Iv1.x\"},\"type\":\"oauth\",\"access\":\"\","
		"\"refresh\":\"ghu_fake1\",\"expires\":0}\n"
		"github.com:Iv23.y github-copilot@octo {\"copilot\":{\"user\":\"octo\"},"
		"\"type\":\"oauth\",\"access\":\"\",\"refresh\":\"ghu_fake2\",\"expires\":0}\n"
		"github.com:Iv23.z github-copilot {\"copilot\":{\"user\":\"mona\"},"
		"\"type\":\"oauth\",\"access\":\"\",\"refresh\":\"ghu_fake3\",\"expires\":0}\n"
		"github.com:a github-copilot@no name {\"copilot\":{\"user\":\"no name\"},"
		"\"type\":\"oauth\",\"access\":\"\",\"refresh\":\"ghu_fake4\",\"expires\":0}\n"
		"github.com:b github-copilot: there is no token in it\n"
		"github.com.example.com github-copilot: a GitHub Enterprise account: its token "
		"must "
		"not be sent to github.com\n");
}

/* ---- gh ---- */

#define KEY(k)  "{\"type\":\"api_key\",\"key\":\"" k "\"}"
#define KEYRING "gh keeps it in the system's keyring (gh auth token)\n"

static void gh_is_read(void **state)
{
	const struct import_format *f = format_of(&import_gh, "hosts.yml");
	assert_null(f->write);
	assert_false(f->linkable);
	reads(f,
		"github.com:\n"
		"    users:\n"
		"        mona:\n"
		"            oauth_token: gho_fake1\n"
		"        octo:\n"
		"            oauth_token: gho_fake2\n"
		"        hub:\n"
		"    git_protocol: https\n"
		"    oauth_token: gho_fake1\n"
		"    user: mona\n"
		"ghe.example.com:\n"
		"    oauth_token: gho_fake3\n"
		"    user: m\n"
		"    users:\n"
		"        m:\n"
		"            oauth_token: gho_fake4\n"
		"        n:\n"
		"            oauth_token: gho_fake5\n"
		"\"localhost:8080\":\n"
		"    oauth_token: gho_fake6\n",
		"github.com github " KEY(
			"gho_fake1") "\n"
				     "github.com/octo github@octo " KEY(
					     "gho_fake2") "\n"
							  "github.com/hub github: " KEYRING
							  "ghe.example.com "
							  "github@ghe.example.com " KEY(
								  "gho_fake3") "\n"
									       "ghe.example.com/m "
									       "github@m@ghe."
									       "example.com " KEY(
										       "gho_fake4") "\n"
												    "ghe.example.com/n github@n@ghe.example.com " KEY(
													    "gho_fake5") "\n"
															 "localhost:8080 github@localhost:8080 " KEY(
																 "gho_fake6") "\n");
	/* before gh 2.40, and with everything that may be there without a meaning */
	reads(f,
		"# a comment\r\n\r\ngithub.com:\r\n  oauth_token: 'gho_fake1'  \r\n"
		"  # another\n  user: \"mona\"\n  git_protocol: ssh",
		"github.com github " KEY("gho_fake1") "\n");
	reads(f, "a.b:8080:\n user: x\n oauth_token: ''\n", "a.b:8080 github: " KEYRING);
	reads(f,
		"github.com:\n  git_protocol: https\n  users:\n    mona:\n    octo: {}\n  user: "
		"mona\n",
		"github.com github: " KEYRING "github.com/octo github: " KEYRING);
	reads(f, "github.com:\n  oauth_token: ~\n  user: null\n  users: {}\n", "");
	reads(f, "github.com:\n  oauth_token:\n    x: y\nb: c\n",
		"github.com github: its oauth_token is not a string\nb github: not a map\n");
	reads(f, "github.com:\n  users:\n    mona: x\n",
		"github.com github: " KEYRING "github.com/mona github: not a map\n");
	reads(f, "github.com:\n", "");
	reads(f, "{}\n", "");
	reads(f, "", "");
	reads(f, "\n# nothing\n", "");
}

static void gh_guesses_nothing(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "github.com:\n- user: mona\n", "line 2: neither a name nor a comment" },
		{ "---\ngithub.com:\n", "line 1: neither a name nor a comment" },
		{ "{github.com: {oauth_token: x}}\n", "line 1: neither a name nor a comment" },
		{ "github.com: &a\n", "line 1: a kind of value that gh does not write" },
		{ "github.com: !!str x\n", "line 1: a kind of value that gh does not write" },
		{ "github.com:\n  oauth_token: |\n    x\n",
			"line 2: a kind of value that gh does not write" },
		{ "github.com:\n  oauth_token: x # y\n", "line 2: more than one value in a line" },
		{ "github.com:\n  user: a: b\n", "line 2: more than one value in a line" },
		{ "github.com:\n  user: a:\n", "line 2: more than one value in a line" },
		{ "github.com:\n  oauth_token: x\n    y\n",
			"line 3: indented, but not below a name" },
		{ "  github.com:\n", "line 1: indented, but not below a name" },
		{ "github.com:\n    user: x\n  oauth_token: y\n",
			"line 3: indented like nothing above it" },
		{ "github.com:\n\tuser: x\n", "line 2: a tab or another control character" },
		{ "github.com:\n  user: x\n  user: y\n", "line 3: a name that is there twice" },
		{ "github.com:\n  user: x\ngithub.com:\n", "line 3: a name that is there twice" },
		{ "github.com:\n  oauth_token: \"a\\tb\"\n", "line 2: an escape in quotes" },
		{ "github.com:\n  oauth_token: 'it''s'\n", "line 2: an escape in quotes" },
		{ "github.com:\n  oauth_token: \"x\n", "line 2: a quote without its end" },
		{ "github.com:\n  oauth_token: '\n", "line 2: a quote without its end" },
		{ "github.com:\n  oauth_token: \"x\" y\n",
			"line 2: something behind a quoted value" },
		{ "github.com:\n  oauth_token\n", "line 2: no name with a colon behind it" },
		{ "github.com:\n  oauth_token:x\n", "line 2: no name with a colon behind it" },
		{ "'':\n", "line 1: no name with a colon behind it" },
		{ "\"a\"b:\n", "line 1: no name with a colon behind it" },
		{ "a:\n b:\n  c:\n   d:\n    e: f\n", "line 5: nested too deeply" },
		{ "{}\ngithub.com:\n", "line 2: something behind the document" },
		{ "github.com:\n  user: \xff\n", "not UTF-8 text" },
	};
	const struct import_format *f = format_of(&import_gh, "hosts.yml");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		cannot_read(f, cases[i].text, cases[i].why);

	char *lines = malloc(2 * 5000 + 1);
	assert_non_null(lines);
	for (size_t i = 0; i < 5000; i++)
		memcpy(lines + 2 * i, "#\n", 3);
	cannot_read(f, lines, "line 4097: more lines than gh writes");
	free(lines);
}

/* A file that was cut anywhere is read without its end, or unusable; its token is never a part of one. */
static void gh_does_not_read_over_its_end(void **state)
{
	static const char whole[] = "github.com:\n    oauth_token: \"gho_fake1\"\n    user: 'm'\n";
	const struct import_format *f = format_of(&import_gh, "hosts.yml");
	for (size_t len = 0; len < sizeof(whole); len++) {
		char *exact = malloc(len + 1);
		struct listing l = { 0 };
		struct pa_err err = { 0 };
		assert_non_null(exact);
		memcpy(exact, whole, len);
		exact[len] = '\0';
		if (read_into(f, exact, &l, &err) < 0)
			assert_int_equal(err.code, PA_FILE_UNUSABLE);
		else if (l.text[0])
			assert_string_equal(l.text, "github.com github " KEY("gho_fake1") "\n");
		free(exact);
	}
}

/* ---- OpenClaw ---- */

static void openclaw_is_read(void **state)
{
	const struct import_format *f = format_of(&import_openclaw, "auth-profiles.json");
	assert_true(f->linkable && f->lock == IMPORT_LOCK_PROPER);
	reads(f,
		"{\"version\":1,\"profiles\":{"
		"\"groq:default\":{\"type\":\"api_key\",\"provider\":\"groq\",\"key\":\"sk-fake-"
		"1\"},"
		"\"openai:a@example.com\":{\"type\":\"oauth\",\"provider\":\"openai\","
		"\"access\":\"a\",\"refresh\":\"r\",\"expires\":1},"
		"\"openai:pi\":{\"type\":\"oauth\",\"provider\":\"openai\","
		"\"access\":\"a\",\"refresh\":\"q\",\"expires\":1,\"clientId\":\"c\"}},"
		"\"usageStats\":{}}",
		"groq:default groq "
		"{\"type\":\"api_key\",\"provider\":\"groq\",\"key\":\"sk-fake-1\"}\n"
		"openai:a@example.com openai-codex@a@example.com {\"type\":\"oauth\","
		"\"provider\":\"openai\",\"access\":\"a\",\"refresh\":\"r\",\"expires\":1}\n"
		"openai:pi openai@pi {\"type\":\"oauth\",\"provider\":\"openai\",\"access\":\"a\","
		"\"refresh\":\"q\",\"expires\":1,\"clientId\":\"c\"}\n");
	assert_false(format_of(&import_openclaw, "oauth.json")->linkable);
}

/* ---- writing ---- */

static void writes(const struct import_format *f, const char *before, const char *name,
	const char *entry, const char *after)
{
	JSON_AUTO cJSON *root = parse(before);
	JSON_AUTO cJSON *e = entry ? parse(entry) : NULL;
	struct pa_err err = { 0 };
	if (f->write(root, name, e, &err) < 0)
		fail_msg("%s: %s", err.detail, before);
	WIPE_AUTO char *text = json_text(root);
	assert_string_equal(text, after);
}

static void cannot_write(const struct import_format *f, const char *before, const char *name,
	const char *entry, const char *detail)
{
	JSON_AUTO cJSON *root = parse(before);
	JSON_AUTO cJSON *e = entry ? parse(entry) : NULL;
	struct pa_err err = { 0 };
	assert_true(f->write(root, name, e, &err) < 0);
	assert_string_equal(err.detail, detail);
}

/* Takes what is read away and puts it back: the document is the same, and its entries were gone between. */
static void gives_back(const struct import_format *f, const char *document);

struct round {
	const struct import_format *f;
	cJSON *root;
	size_t n;
};

static int take_and_give(void *arg, struct import_entry *e, struct pa_err *err)
{
	struct round *r = arg;
	JSON_AUTO cJSON *entry = e->entry;
	struct listing l = { 0 };
	struct import_sink sink = { list_entry, &l };
	char line[128];

	assert_non_null(entry);
	assert_int_equal(r->f->write(r->root, e->name, NULL, err), 0);
	assert_int_equal(r->f->write(r->root, e->name, NULL, err), 0); /* there is nothing to do */
	assert_int_equal(r->f->read(r->root, NULL, 0, &sink, err), 0);
	snprintf(line, sizeof(line), "%s ", e->name);
	assert_null(strstr(l.text, line));
	assert_int_equal(r->f->write(r->root, e->name, entry, err), 0);
	r->n++;
	return 0;
}

static void gives_back(const struct import_format *f, const char *document)
{
	JSON_AUTO cJSON *root = parse(document);
	JSON_AUTO cJSON *changed = parse(document);
	struct round r = { f, changed, 0 };
	struct import_sink sink = { take_and_give, &r };
	struct pa_err err = { 0 };
	assert_int_equal(f->read(root, NULL, 0, &sink, &err), 0);
	assert_true(r.n > 0);
	json_drop(root, "last_refresh"); /* of Codex: the time of the writing */
	json_drop(changed, "last_refresh");
	if (!cJSON_Compare(root, changed, true)) {
		WIPE_AUTO char *text = json_text(changed);
		fail_msg("%s", text);
	}
}

static void what_was_taken_can_be_given_back(void **state)
{
	gives_back(format_of(&import_claude_code, ".credentials.json"),
		CLAUDE("\"accessToken\":\"a\",\"refreshToken\":\"r\",\"expiresAt\":1790000000000,"
		       "\"scopes\":[\"user:inference\"],\"subscriptionType\":\"max\",\"x\":[1]"));
	gives_back(format_of(&import_codex, "auth.json"),
		"{\"auth_mode\":\"chatgpt\",\"OPENAI_API_KEY\":\"sk-fake-1\",\"tokens\":{"
		"\"id_token\":\"i\",\"access_token\":\"" JWT_CODEX
		"\",\"refresh_token\":\"r\",\"account_id\":\"acct-1\"},"
		"\"last_refresh\":\"2026-01-02T03:04:05.678901Z\",\"x\":1}");
	gives_back(format_of(&import_gemini_cli, "oauth_creds.json"),
		"{\"access_token\":\"a\",\"refresh_token\":\"r\",\"scope\":\"s t\","
		"\"token_type\":\"Bearer\",\"id_token\":\"" JWT_EMAIL
		"\",\"expiry_date\":1790000000000,\"x\":1}");
	gives_back(format_of(&import_copilot, "apps.json"),
		"{\"github.com:Iv1.x\":{\"user\":\"mona\",\"oauth_token\":\"ghu_fake1\","
		"\"githubAppId\":\"Iv1.x\",\"x\":1},"
		"\"github.com:Iv23.y\":{\"user\":\"octo\",\"oauth_token\":\"ghu_fake2\"}}");
	gives_back(format_of(&import_openclaw, "auth-profiles.json"),
		"{\"version\":1,\"profiles\":{\"groq:default\":{\"type\":\"api_key\","
		"\"provider\":\"groq\",\"key\":\"sk-fake-1\"},"
		"\"anthropic:a@example.com\":{\"type\":\"oauth\",\"provider\":\"anthropic\","
		"\"access\":\"a\",\"refresh\":\"r\",\"expires\":1,\"email\":\"a@example.com\"}},"
		"\"lastGood\":{\"groq\":\"groq:default\"}}");
}

#define PAIR "\"type\":\"oauth\",\"access\":\"a2\",\"refresh\":\"r2\",\"expires\":1790000000001"

static void claude_code_is_written(void **state)
{
	const struct import_format *f = format_of(&import_claude_code, ".credentials.json");
	/* The pair changes; the end of the family, the plan and everybody else's do not. */
	writes(f,
		"{\"z\":1,\"claudeAiOauth\":{\"accessToken\":\"a\",\"refreshToken\":\"r\","
		"\"expiresAt\":1,\"refreshTokenExpiresAt\":1800000000000,\"scopes\":[\"s\"],"
		"\"subscriptionType\":null},\"mcpOAuth\":{\"m\":{}}}",
		"claudeAiOauth",
		"{" PAIR ",\"claude-code\":{\"scopes\":[\"other\"]},\"refreshed\":5}",
		"{\"z\":1,\"claudeAiOauth\":{\"accessToken\":\"a2\",\"refreshToken\":\"r2\","
		"\"expiresAt\":1790000000001,\"refreshTokenExpiresAt\":1800000000000,"
		"\"scopes\":[\"s\"],\"subscriptionType\":null},\"mcpOAuth\":{\"m\":{}}}");
	writes(f, f->empty, "claudeAiOauth",
		"{" PAIR ",\"claude-code\":{\"scopes\":[\"s\"]},\"refreshed\":5}",
		"{\"claudeAiOauth\":{\"scopes\":[\"s\"],\"accessToken\":\"a2\","
		"\"refreshToken\":\"r2\",\"expiresAt\":1790000000001}}");
	cannot_write(f, "{}", "claudeAiOauth", "{" PAIR "}",
		"the login's scopes, which Claude Code needs, are not known");
	cannot_write(f, "{\"claudeAiOauth\":7}", "claudeAiOauth", "{" PAIR "}",
		"claudeAiOauth is not a JSON object");
	cannot_write(f, "{\"mcpOAuth\":{}}", "mcpOAuth", NULL, "not a credential of Claude Code");
	cannot_write(f, "[]", "claudeAiOauth", NULL, "not a credential of Claude Code");
}

static void codex_is_written(void **state)
{
	const struct import_format *f = format_of(&import_codex, "auth.json");
	JSON_AUTO cJSON *root = parse("{\"OPENAI_API_KEY\":null,\"tokens\":{\"id_token\":\"i\","
				      "\"access_token\":\"a\",\"refresh_token\":\"r\","
				      "\"account_id\":\"acct-1\",\"x\":1},"
				      "\"last_refresh\":\"2020-01-02T03:04:05.678901Z\",\"y\":2}");
	JSON_AUTO cJSON *entry = parse("{" PAIR ",\"id_token\":\"i2\",\"accountId\":\"acct-2\"}");
	struct pa_err err;
	struct tm tm = { 0 };
	time_t before = time(NULL);

	assert_int_equal(f->write(root, "tokens", entry, &err), 0);
	const char *at = json_str(root, "last_refresh");
	const char *rest = strptime(at, "%Y-%m-%dT%H:%M:%S", &tm);
	assert_non_null(rest);
	assert_int_equal(*rest, '.');
	assert_int_equal(strspn(rest + 1, "0123456789"), 9);
	assert_string_equal(rest + 10, "Z");
	assert_true(timegm(&tm) >= before && timegm(&tm) <= time(NULL));
	json_drop(root, "last_refresh");
	WIPE_AUTO char *text = json_text(root);
	assert_string_equal(text,
		"{\"OPENAI_API_KEY\":null,\"tokens\":{\"id_token\":\"i2\",\"access_token\":\"a2\","
		"\"refresh_token\":\"r2\",\"account_id\":\"acct-1\",\"x\":1},\"y\":2}");

	writes(f, "{\"tokens\":{\"access_token\":\"a\"},\"last_refresh\":\"x\",\"y\":2}", "tokens",
		NULL, "{\"y\":2}");
	writes(f, "{\"OPENAI_API_KEY\":\"sk-fake-1\",\"y\":2}", "OPENAI_API_KEY", NULL,
		"{\"OPENAI_API_KEY\":null,\"y\":2}");
	writes(f, "{}", "OPENAI_API_KEY", NULL, "{}");
	writes(f, "{}", "OPENAI_API_KEY", KEY("sk-fake-2"), "{\"OPENAI_API_KEY\":\"sk-fake-2\"}");
	cannot_write(f, "{}", "OPENAI_API_KEY", "{" PAIR "}", "the entry has no key");
	cannot_write(f, "{}", "tokens", "{" PAIR "}",
		"the login's ID token, which Codex needs, is not known");
	cannot_write(f, "{\"tokens\":[]}", "tokens", "{" PAIR "}", "tokens is not a JSON object");
	cannot_write(
		f, "{\"agent_identity\":{}}", "agent_identity", NULL, "not a credential of Codex");
}

static void gemini_cli_is_written(void **state)
{
	const struct import_format *f = format_of(&import_gemini_cli, "oauth_creds.json");
	writes(f,
		"{\"access_token\":\"a\",\"x\":1,\"scope\":\"s\",\"expiry_date\":1,"
		"\"refresh_token\":\"r\"}",
		"oauth_creds", "{" PAIR ",\"scope\":\"t\",\"token_type\":\"Bearer\"}",
		"{\"access_token\":\"a2\",\"x\":1,\"scope\":\"s\",\"expiry_date\":1790000000001,"
		"\"refresh_token\":\"r2\",\"token_type\":\"Bearer\"}");
	writes(f,
		"{\"access_token\":\"a\",\"refresh_token\":\"r\",\"id_token\":\"i\","
		"\"expiry_date\":1,\"scope\":\"s\"}",
		"oauth_creds", NULL, "{\"scope\":\"s\"}");
	cannot_write(f, "{}", "other", NULL, "not a credential of Gemini CLI");
}

static void copilot_is_written(void **state)
{
	const struct import_format *f = format_of(&import_copilot, "hosts.json");
	writes(f, "{\"github.com\":{\"oauth_token\":\"ghu_fake\"},\"ghe.example.com\":{\"x\":1}}",
		"github.com", NULL, "{\"ghe.example.com\":{\"x\":1}}");
	writes(f, "{\"github.com\":{\"oauth_token\":\"ghu_fake\",\"user\":\"m\"}}", "github.com",
		"{" PAIR ",\"copilot\":{\"user\":\"n\"}}",
		"{\"github.com\":{\"oauth_token\":\"r2\",\"user\":\"m\"}}");
	cannot_write(f, "{}", "github.com", "{" PAIR "}",
		"the login's user, whom Copilot needs, is not known");
	cannot_write(f, "{}", "github.com", "{\"copilot\":{}}", "the entry has no token of GitHub");
	cannot_write(f, "{\"ghe.example.com\":{}}", "ghe.example.com", NULL,
		"not a credential of Copilot");
}

/* ---- places ---- */

static void lies_at(const struct importer *tool, const char *expected)
{
	struct import_places p = { 0 };
	struct pa_err err = { 0 };
	char text[2048] = "";
	assert_int_equal(tool->places("/home/mona", &p, &err), 0);
	for (size_t i = 0; i < p.n; i++) {
		assert_non_null(p.v[i].format->read);
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s\n", p.v[i].path);
	}
	import_places_done(&p);
	assert_string_equal(text, expected);
}

static int forget_variables(void **state)
{
	for (size_t i = 0; import_env_names[i]; i++)
		unsetenv(import_env_names[i]);
	return 0;
}

static void files_are_where_the_tools_have_them(void **state)
{
	lies_at(&import_claude_code, "/home/mona/.claude/.credentials.json\n");
	lies_at(&import_codex, "/home/mona/.codex/auth.json\n");
	lies_at(&import_gemini_cli, "/home/mona/.gemini/oauth_creds.json\n"
				    "/home/mona/.gemini/gemini-credentials.json\n");
	lies_at(&import_copilot, "/home/mona/.config/github-copilot/apps.json\n"
				 "/home/mona/.config/github-copilot/hosts.json\n");
	lies_at(&import_gh, "/home/mona/.config/gh/hosts.yml\n");
	lies_at(&import_openclaw, "/home/mona/.openclaw/agents/main/agent/auth-profiles.json\n"
				  "/home/mona/.openclaw/agent/auth-profiles.json\n"
				  "/home/mona/.openclaw/credentials/oauth.json\n");
}

static void variables_move_them(void **state)
{
	setenv("CLAUDE_CONFIG_DIR", "/c1", 1);
	lies_at(&import_claude_code, "/c1/.credentials.json\n");
	setenv("CLAUDE_SECURESTORAGE_CONFIG_DIR", "/c2", 1);
	lies_at(&import_claude_code, "/c2/.credentials.json\n");
	setenv("CLAUDE_SECURESTORAGE_CONFIG_DIR", "", 1);
	lies_at(&import_claude_code, "/home/mona/.claude/.credentials.json\n");
	unsetenv("CLAUDE_SECURESTORAGE_CONFIG_DIR");
	setenv("CLAUDE_CONFIG_DIR", "", 1);
	lies_at(&import_claude_code, "/home/mona/.claude/.credentials.json\n");
	setenv("CLAUDE_CONFIG_DIR", "relative", 1);
	lies_at(&import_claude_code, "");

	setenv("CODEX_HOME", "/x", 1);
	lies_at(&import_codex, "/x/auth.json\n");
	setenv("GEMINI_CLI_HOME", "/g", 1);
	lies_at(&import_gemini_cli,
		"/g/.gemini/oauth_creds.json\n/g/.gemini/gemini-credentials.json\n");
	setenv("XDG_CONFIG_HOME", "/xdg", 1);
	lies_at(&import_copilot, "/xdg/github-copilot/apps.json\n/xdg/github-copilot/hosts.json\n");
	lies_at(&import_gh, "/xdg/gh/hosts.yml\n");
	setenv("GH_CONFIG_DIR", "/gh", 1);
	lies_at(&import_gh, "/gh/hosts.yml\n");
}

static void openclaw_has_a_file_for_each_agent(void **state)
{
	static const char *const agents[] = { "zeta", "alpha", "main", ".hidden", "a b" };
	char dir[] = "/tmp/piauth-agents-XXXXXX", path[256], expected[1024];
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/agents", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	for (size_t i = 0; i < sizeof(agents) / sizeof(*agents); i++) {
		snprintf(path, sizeof(path), "%s/agents/%s", dir, agents[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	setenv("OPENCLAW_STATE_DIR", dir, 1);
	snprintf(expected, sizeof(expected),
		"%s/agents/main/agent/auth-profiles.json\n%s/agents/alpha/agent/"
		"auth-profiles.json\n"
		"%s/agents/zeta/agent/auth-profiles.json\n%s/agent/auth-profiles.json\n"
		"%s/credentials/oauth.json\n",
		dir, dir, dir, dir, dir);
	lies_at(&import_openclaw, expected);
	for (size_t i = 0; i < sizeof(agents) / sizeof(*agents); i++) {
		snprintf(path, sizeof(path), "%s/agents/%s", dir, agents[i]);
		rmdir(path);
	}
	snprintf(path, sizeof(path), "%s/agents", dir);
	rmdir(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_document_can_come),
		cmocka_unit_test(the_receiver_can_stop),
		cmocka_unit_test(claude_code_is_read),
		cmocka_unit_test(claude_code_is_refused),
		cmocka_unit_test(codex_is_read),
		cmocka_unit_test(gemini_cli_is_read),
		cmocka_unit_test(copilot_is_read),
		cmocka_unit_test(gh_is_read),
		cmocka_unit_test(gh_guesses_nothing),
		cmocka_unit_test(gh_does_not_read_over_its_end),
		cmocka_unit_test(openclaw_is_read),
		cmocka_unit_test(what_was_taken_can_be_given_back),
		cmocka_unit_test(claude_code_is_written),
		cmocka_unit_test(codex_is_written),
		cmocka_unit_test(gemini_cli_is_written),
		cmocka_unit_test(copilot_is_written),
		cmocka_unit_test_setup_teardown(
			files_are_where_the_tools_have_them, forget_variables, forget_variables),
		cmocka_unit_test_setup_teardown(
			variables_move_them, forget_variables, forget_variables),
		cmocka_unit_test_setup_teardown(
			openclaw_has_a_file_for_each_agent, forget_variables, forget_variables),
	};
	json_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
