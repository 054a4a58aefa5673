/* pi's files and those of its relatives: which keys are keys, what entries become, and what is written back. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/import/import.h"
#include "store/secret.h"

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

/* A line per entry: NAME PROVIDER[@PROFILE] and the entry, or NAME: and the reason why not. */
struct listing {
	char text[4096];
	size_t left; /* entries until it fails; 0: it does not */
};

static int list_entry(void *arg, struct import_entry *e, struct pa_err *err)
{
	struct listing *l = arg;
	size_t len = strlen(l->text);

	assert_true(strlen(e->name) <= 255);
	assert_true((e->entry != NULL) == (e->refused == NULL));
	if (e->entry) {
		WIPE_AUTO char *entry = json_text(e->entry);

		assert_string_equal(json_str(e->entry, "type"), e->lane);
		snprintf(l->text + len, sizeof(l->text) - len, "%s %s%s%s %s\n", e->name,
			e->provider, e->profile ? "@" : "", e->profile ? e->profile : "", entry);
	} else {
		snprintf(l->text + len, sizeof(l->text) - len, "%s: %s\n", e->name, e->refused);
	}
	cJSON_Delete(e->entry);
	if (l->left && --l->left == 0)
		return pa_fail(err, PA_INTERRUPTED, 0, "enough");
	return 0;
}

static void reads(const struct import_format *format, const char *document, const char *listing)
{
	JSON_AUTO cJSON *root = parse(document);
	struct listing l = { 0 };
	const struct import_sink sink = { list_entry, &l };
	struct pa_err err;

	if (format->read(root, document, strlen(document), &sink, &err) < 0)
		fail_msg("%s: %s", err.detail, document);
	assert_string_equal(l.text, listing);
}

static void does_not_read(const struct import_format *format, const char *document)
{
	JSON_AUTO cJSON *root = parse(document);
	struct listing l = { 0 };
	const struct import_sink sink = { list_entry, &l };
	struct pa_err err;

	assert_true(format->read(root, document, strlen(document), &sink, &err) < 0);
	assert_int_equal(err.code, PA_FILE_UNUSABLE);
	assert_string_equal(l.text, "");
}

static void a_key_is_what_every_version_takes_for_one(void **state)
{
	static const char *const keys[] = { "fake-key", "fake key", " fake-key\n", "a", "fake$",
		"f$1", "f$ x", "f$-", "FAKEKEY", "FAKE_VALUE", "fake_KEY", "_KEY", "f!x",
		"\xc3\xa9" };
	static const struct {
		const char *key, *reason;
	} others[] = {
		{ "", "empty" },
		{ " \r\n\t", "empty" },
		{ "!pass show x", "command" },
		{ " !pass show x", "command" },
		{ "$CMD:pass show x", "command" },
		{ "$COMMAND:pass show x", "command" },
		{ "$ENV:NAME", "variable" },
		{ "$NAME", "variable" },
		{ "$name", "variable" },
		{ "${NAME}", "variable" },
		{ "$_", "variable" },
		{ "GROQ_API_KEY", "variable" },
		{ " HF_TOKEN", "variable" },
		{ "CLIENT_SECRET", "variable" },
		{ "fake-$NAME", "template" },
		{ "fake-${NAME}", "template" },
		{ "fake$$key", "template" },
		{ "fake$!key", "template" },
		{ "$$fake", "template" },
		{ "$!fake", "template" },
		{ "$", "template" },
		{ "$1", "template" },
		{ "fake\nkey", "control" },
		{ "fake\x7f", "control" },
		{ "fake\x1b[0m", "control" },
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		if (import_key_refused(keys[i]))
			fail_msg("%s: %s", keys[i], import_key_refused(keys[i]));
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		const char *reason = import_key_refused(others[i].key);

		if (!reason || !strstr(reason, others[i].reason))
			fail_msg("%s: %s", others[i].key, reason ? reason : "a key");
	}
}

static void a_key_can_be_too_long(void **state)
{
	char key[16 * 1024 + 2];

	memset(key, 'k', sizeof(key));
	key[sizeof(key) - 2] = '\0';
	assert_null(import_key_refused(key));
	key[sizeof(key) - 2] = 'k';
	key[sizeof(key) - 1] = '\0';
	assert_string_equal(import_key_refused(key), "longer than a key can be");
}

static void a_login_is_spelled_as_pi_does(void **state)
{
	reads(&import_pi_auth,
		"{\"a\":{\"type\":\"oauth\",\"access\":\"x\",\"refresh\":\"y\",\"expires\":12.9,"
		"\"n\":null,"
		"\"more\":{\"n\":null}}}",
		"a a {\"type\":\"oauth\",\"access\":\"x\",\"refresh\":\"y\",\"expires\":12,"
		"\"more\":{\"n\":null}}\n");
	reads(&import_pi_auth,
		"{\"a\":{\"type\":\"o_auth\",\"access_token\":\"x\",\"refresh_token\":\"y\","
		"\"expires\":1,"
		"\"client_id\":null}}",
		"a a {\"type\":\"oauth\",\"expires\":1,\"access\":\"x\",\"refresh\":\"y\"}\n");
	/* both spellings: pi's counts */
	reads(&import_pi_auth,
		"{\"a\":{\"type\":\"oauth\",\"access\":\"x\",\"access_token\":\"z\",\"expires\":1}"
		"}",
		"a a {\"type\":\"oauth\",\"access\":\"x\",\"access_token\":\"z\",\"expires\":1}\n");
	reads(&import_pi_auth,
		"{\"a\":{\"type\":\"oauth\",\"access\":\"x\",\"refresh\":\"\","
		"\"expires\":9007199254740991}}",
		"a a {\"type\":\"oauth\",\"access\":\"x\",\"refresh\":\"\","
		"\"expires\":9007199254740991}\n");
	/* in auth.json a type must be there */
	reads(&import_pi_auth, "{\"a\":{\"access\":\"x\",\"expires\":1}}",
		"a: it does not say of what kind it is\n");
	reads(&import_pi_oauth, "{\"a\":{\"access\":\"x\",\"expires\":1}}",
		"a a {\"access\":\"x\",\"expires\":1,\"type\":\"oauth\"}\n");
	reads(&import_pi_oauth, "{\"a\":[]}", "a: not an object\n");
}

static void tokens_in_odd_places_are_found(void **state)
{
	/* only where pi_agent_rust does that */
	reads(&import_pi_auth,
		"{\"Gemini-CLI\":{\"type\":\"o_auth\",\"access_token\":\"{\\\"token\\\":\\\"x\\\","
		"\\\"projectId\\\":\\\"p\\\"}\",\"refresh_token\":\"y\",\"expires\":1},"
		"\"a\":{\"type\":\"oauth\",\"access\":\"{\\\"token\\\":\\\"x\\\"}\",\"expires\":1},"
		"\"google-antigravity\":{\"type\":\"oauth\",\"access\":\"{x\",\"expires\":1}}",
		"Gemini-CLI Gemini-CLI {\"type\":\"oauth\",\"expires\":1,\"access\":\"x\","
		"\"refresh\":\"y\",\"projectId\":\"p\"}\n"
		"a a {\"type\":\"oauth\",\"access\":\"{\\\"token\\\":\\\"x\\\"}\",\"expires\":1}\n"
		"google-antigravity google-antigravity {\"type\":\"oauth\",\"access\":\"{x\","
		"\"expires\":1}\n");
	reads(&import_pi_auth,
		"{\"github-copilot\":{\"type\":\"o_auth\",\"access_token\":\"gho_fake\","
		"\"refresh_token\":\"\",\"expires\":9}}",
		"github-copilot github-copilot {\"type\":\"oauth\",\"expires\":0,\"access\":\"\","
		"\"refresh\":\"gho_fake\"}\n");
	/* a session token is one, and other providers' tokens are theirs */
	reads(&import_pi_auth,
		"{\"github-copilot\":{\"type\":\"oauth\",\"access\":\"tid=1\",\"refresh\":\"\","
		"\"expires\":9},\"acme\":{\"type\":\"oauth\",\"access\":\"gho_fake\",\"expires\":9}"
		"}",
		"github-copilot github-copilot "
		"{\"type\":\"oauth\",\"access\":\"tid=1\",\"refresh\":\"\","
		"\"expires\":9}\n"
		"acme acme {\"type\":\"oauth\",\"access\":\"gho_fake\",\"expires\":9}\n");
}

static void an_enterprise_login_stays_where_it_is(void **state)
{
	static const struct {
		const char *provider, *url;
		bool refused;
	} cases[] = {
		{ "github-copilot", "\"\"", false },
		{ "github-copilot", "\"github.com\"", false },
		{ "Copilot", "\"https://github.com/\"", false },
		{ "github-copilot", "\"github.com.example.com\"", true },
		{ "github-copilot", "\"github.com/x\"", true },
		{ "GITHUB-COPILOT", "\"ghe.example.com\"", true },
		{ "github-copilot", "\"http://github.com\"", true },
		{ "github-copilot", "{}", true },
		{ "github-copilot-enterprise", "\"\"", true },
		{ "github-copilot-enterprise", "null", true },
		{ "github-copilot-enterprise", "\"github.com\"", false },
		{ "qwen-cli", "\"portal.example.com\"", false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct listing l = { 0 };
		const struct import_sink sink = { list_entry, &l };
		char text[256];

		snprintf(text, sizeof(text),
			"{\"%s\":{\"type\":\"oauth\",\"access\":\"x\",\"expires\":1,\"refresh\":"
			"\"ghu_fake\","
			"\"enterpriseUrl\":%s}}",
			cases[i].provider, cases[i].url);
		JSON_AUTO cJSON *root = parse(text);
		assert_int_equal(import_pi_auth.read(root, text, strlen(text), &sink, NULL), 0);
		if ((strstr(l.text, ": an enterprise host: ") != NULL) != cases[i].refused)
			fail_msg("%s: %s", text, l.text);
	}
}

static void letter_case_makes_no_second_provider(void **state)
{
	reads(&import_pi_auth,
		"{\"B\":{\"type\":\"api_key\",\"key\":\"1\"},\"a\":1,\"b\":{\"type\":\"api_key\","
		"\"key\":\"2\"},\"C\":{\"type\":\"api_key\",\"key\":\"3\"},\"B \":2}",
		"B: another entry has this name in other letter case\n"
		"a: not an object\n"
		"b b {\"type\":\"api_key\",\"key\":\"2\"}\n"
		"C C {\"type\":\"api_key\",\"key\":\"3\"}\n"
		"B : not an object\n");
	reads(&import_pi_auth, "{\"xA\":1,\"XA\":2,\"Xa\":3}",
		"xA: not an object\n"
		"XA: another entry has this name in other letter case\n"
		"Xa: another entry has this name in other letter case\n");
}

static void what_the_store_cannot_hold_is_refused(void **state)
{
	static const char head[] =
		"{\"a\":{\"type\":\"oauth\",\"access\":\"x\",\"expires\":1,\"more\":\"";
	size_t len = 25 * 1024;
	char *text = malloc(sizeof(head) + len + 4);

	assert_non_null(text);
	memcpy(text, head, sizeof(head) - 1);
	memset(text + sizeof(head) - 1, 'm', len);
	memcpy(text + sizeof(head) - 1 + len, "\"}}", 4);
	reads(&import_pi_auth, text, "a: it is longer than the store takes\n");
	free(text);
	reads(&import_pi_auth,
		"{\"a\":{\"type\":\"api_key\",\"key\":\"k\",\"env\":[[[[[[[[[[[[[[0]]]]]]]]]]]]]]}"
		"}",
		"a a {\"type\":\"api_key\",\"key\":\"k\",\"env\":[[[[[[[[[[[[[[0]]]]]]]]]]]]]]}\n");
	reads(&import_pi_auth,
		"{\"a\":{\"type\":\"api_key\",\"key\":\"k\",\"env\":[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]"
		"}}",
		"a: it is nested too deeply\n");
}

static void a_document_of_another_shape_is_unusable(void **state)
{
	static const char *const shapes[] = { "[]", "null", "\"x\"", "1" };

	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		does_not_read(&import_pi_auth, shapes[i]);
		does_not_read(&import_pi_oauth, shapes[i]);
		does_not_read(&import_pi_source, shapes[i]);
		does_not_read(format_of(&import_pi, "settings.json"), shapes[i]);
		does_not_read(format_of(&import_aihub, "auth-profiles.json"), shapes[i]);
		does_not_read(format_of(&import_opencode, "auth.json"), shapes[i]);
	}
	does_not_read(format_of(&import_pi, "settings.json"), "{\"apiKeys\":null}");
	does_not_read(format_of(&import_aihub, "auth-profiles.json"), "{\"profiles\":[]}");
	reads(format_of(&import_pi, "settings.json"), "{\"theme\":\"dark\"}", "");
	reads(format_of(&import_aihub, "auth-profiles.json"), "{}", "");
}

static void the_receiver_can_end_the_reading(void **state)
{
	JSON_AUTO cJSON *root =
		parse("{\"a\":1,\"b\":{\"type\":\"api_key\",\"key\":\"k\"},\"c\":2}");
	struct listing l = { .left = 2 };
	const struct import_sink sink = { list_entry, &l };
	struct pa_err err;

	assert_int_equal(import_pi_auth.read(root, "", 0, &sink, &err), -EINTR);
	assert_int_equal(err.code, PA_INTERRUPTED);
	assert_string_equal(l.text, "a: not an object\nb b {\"type\":\"api_key\",\"key\":\"k\"}\n");
}

/* ---- writing ---- */

/* Sets name in the document, or removes it (entry NULL). */
static void writes(const struct import_format *format, const char *document, const char *name,
	const char *entry, const char *result)
{
	JSON_AUTO cJSON *root = parse(document);
	JSON_AUTO cJSON *value = entry ? parse(entry) : NULL;
	struct pa_err err;

	if (format->write(root, name, value, &err) < 0)
		fail_msg("%s: %s", err.detail, document);
	WIPE_AUTO char *text = json_text(root);
	assert_string_equal(text, result);
}

static void does_not_write(const struct import_format *format, const char *document,
	const char *name, const char *entry)
{
	JSON_AUTO cJSON *root = parse(document);
	JSON_AUTO cJSON *before = parse(document);
	JSON_AUTO cJSON *value = entry ? parse(entry) : NULL;
	struct pa_err err;

	assert_true(format->write(root, name, value, &err) < 0);
	assert_true(err.code == PA_UNSUPPORTED || err.code == PA_FILE_UNUSABLE);
	assert_null(strstr(err.detail, "fake"));
	assert_true(cJSON_Compare(root, before, true));
}

#define LOGIN "{\"type\":\"oauth\",\"access\":\"x2\",\"refresh\":\"y2\",\"expires\":22}"
#define KEY   "{\"type\":\"api_key\",\"key\":\"fake-2\"}"

static void a_rotated_pair_leaves_the_rest_alone(void **state)
{
	writes(&import_pi_auth,
		"{\"z\":{\"type\":\"api_key\",\"key\":\"!cmd\"},\"a\":{\"type\":\"oauth\","
		"\"refresh\":\"y\","
		"\"own\":{\"deep\":[1]},\"access\":\"x\",\"expires\":1,\"accountId\":\"old\"},"
		"\"b\":7}",
		"a",
		"{\"type\":\"oauth\",\"access\":\"x2\",\"refresh\":\"y2\",\"expires\":"
		"9007199254740991,"
		"\"accountId\":\"new\",\"refreshed\":5}",
		"{\"z\":{\"type\":\"api_key\",\"key\":\"!cmd\"},\"a\":{\"type\":\"oauth\","
		"\"refresh\":\"y2\","
		"\"own\":{\"deep\":[1]},\"access\":\"x2\",\"expires\":9007199254740991,"
		"\"accountId\":\"new\"},\"b\":7}");
	/* what is not said stays */
	writes(&import_pi_auth,
		"{\"a\":{\"type\":\"oauth\",\"access\":\"x\",\"refresh\":\"y\",\"expires\":1}}",
		"a", "{\"type\":\"oauth\",\"access\":\"x2\",\"expires\":22}",
		"{\"a\":{\"type\":\"oauth\",\"access\":\"x2\",\"refresh\":\"y\",\"expires\":22}}");
	writes(&import_pi_auth,
		"{\"a\":{\"type\":\"api_key\",\"key\":\"fake-1\",\"env\":{\"N\":\"v\"}}}", "a", KEY,
		"{\"a\":{\"type\":\"api_key\",\"key\":\"fake-2\",\"env\":{\"N\":\"v\"}}}");
	/* only exactly this name */
	writes(&import_pi_auth, "{\"A\":1}", "a", KEY, "{\"A\":1,\"a\":" KEY "}");
	writes(&import_pi_auth, "{}", "a", LOGIN, "{\"a\":" LOGIN "}");
	writes(&import_pi_auth, "{\"A\":1,\"a\":2,\"b\":3}", "a", NULL, "{\"A\":1,\"b\":3}");
	writes(&import_pi_auth, "{\"b\":3}", "a", NULL, "{\"b\":3}");
}

static void the_spelling_of_the_file_stays(void **state)
{
	writes(&import_pi_auth,
		"{\"a\":{\"type\":\"o_auth\",\"access_token\":\"x\",\"refresh_token\":\"y\","
		"\"expires\":1,"
		"\"client_id\":null}}",
		"a", LOGIN,
		"{\"a\":{\"type\":\"o_auth\",\"access_token\":\"x2\",\"refresh_token\":\"y2\","
		"\"expires\":22,\"client_id\":null}}");
	writes(&import_pi_auth,
		"{\"google-gemini-cli\":{\"type\":\"o_auth\",\"access_token\":\"{\\\"token\\\":"
		"\\\"x\\\","
		"\\\"projectId\\\":\\\"p\\\"}\",\"refresh_token\":\"y\",\"expires\":1}}",
		"google-gemini-cli",
		"{\"type\":\"oauth\",\"access\":\"x2\",\"refresh\":\"y\",\"expires\":22,"
		"\"projectId\":\"p\"}",
		"{\"google-gemini-cli\":{\"type\":\"o_auth\",\"access_token\":\"{\\\"token\\\":"
		"\\\"x2\\\","
		"\\\"projectId\\\":\\\"p\\\"}\",\"refresh_token\":\"y\",\"expires\":22}}");
	writes(&import_pi_auth,
		"{\"github-copilot\":{\"type\":\"o_auth\",\"access_token\":\"gho_fake\","
		"\"refresh_token\":\"\",\"expires\":9}}",
		"github-copilot",
		"{\"type\":\"oauth\",\"access\":\"tid=2\",\"refresh\":\"gho_fake\",\"expires\":22}",
		"{\"github-copilot\":{\"type\":\"o_auth\",\"access_token\":\"gho_fake\","
		"\"refresh_token\":\"\",\"expires\":9}}");
	writes(&import_pi_oauth, "{\"a\":{\"access\":\"x\",\"refresh\":\"y\",\"expires\":1}}", "a",
		LOGIN, "{\"a\":{\"access\":\"x2\",\"refresh\":\"y2\",\"expires\":22}}");
}

static void nothing_is_written_that_pi_would_misread(void **state)
{
	static const char *const entries[] = {
		"{\"type\":\"api_key\",\"key\":\"!fake\"}",
		"{\"type\":\"api_key\",\"key\":\"$fake\"}",
		"{\"type\":\"api_key\",\"key\":\"fake$$x\"}",
		"{\"type\":\"api_key\"}",
		"{\"type\":\"bearer_token\",\"token\":\"fake\"}",
		"{\"type\":\"o_auth\",\"access_token\":\"fake\",\"expires\":1}",
		"{\"access\":\"fake\",\"expires\":1}",
		"[]",
	};

	for (size_t i = 0; i < sizeof(entries) / sizeof(*entries); i++)
		does_not_write(&import_pi_auth, "{\"b\":1}", "a", entries[i]);
	does_not_write(&import_pi_auth, "[]", "a", LOGIN);
	does_not_write(&import_pi_auth, "[]", "a", NULL);
}

static void another_kind_is_not_overwritten(void **state)
{
	does_not_write(&import_pi_auth, "{\"a\":" KEY "}", "a", LOGIN);
	does_not_write(&import_pi_auth, "{\"a\":" LOGIN "}", "a", KEY);
	does_not_write(&import_pi_auth, "{\"a\":{\"type\":\"aws_credentials\"}}", "a", LOGIN);
	does_not_write(&import_pi_auth, "{\"a\":\"fake\"}", "a", LOGIN);
	does_not_write(&import_pi_auth, "{\"a\":null}", "a", KEY);
	does_not_write(&import_pi_oauth, "{}", "a", KEY);
	writes(&import_pi_auth, "{\"a\":{\"type\":\"aws_credentials\"}}", "a", NULL, "{}");
}

static void from_old_files_secrets_only_go(void **state)
{
	const struct import_format *migrated = format_of(&import_pi, "oauth.json.migrated");
	const struct import_format *settings = format_of(&import_pi, "settings.json");

	assert_false(migrated->linkable);
	assert_false(settings->linkable);
	assert_null(import_pi_source.write);
	does_not_write(migrated, "{}", "a", LOGIN);
	does_not_write(settings, "{\"apiKeys\":{\"a\":\"fake\"}}", "a", KEY);
	does_not_write(settings, "{}", "a", KEY);
	writes(migrated, "{\"a\":1,\"b\":2}", "a", NULL, "{\"b\":2}");
	writes(settings, "{\"a\":1,\"apiKeys\":{\"a\":\"fake\",\"b\":\"fake\"},\"theme\":\"x\"}",
		"a", NULL, "{\"a\":1,\"apiKeys\":{\"b\":\"fake\"},\"theme\":\"x\"}");
	writes(settings, "{\"a\":1}", "a", NULL, "{\"a\":1}");
}

/* ---- profiles ---- */

static void profiles_are_named_after_the_colon(void **state)
{
	reads(format_of(&import_aihub, "auth-profiles.json"),
		"{\"profiles\":{\"a:default\":{\"type\":\"api_key\",\"key\":\"1\"},\"a:\":1,\"b\":"
		"2,"
		"\"a:w@x:y\":{\"type\":\"api_key\",\"key\":\"2\",\"provider\":\"c\"},"
		"\"d:m\":{\"mode\":\"api_key\",\"apiKey\":\"3\",\"provider\":7},"
		"\"d:M\":{\"type\":\"apiKey\",\"key\":\"4\"},"
		"\"e:t\":{\"type\":\"token\",\"token\":\"5\"},"
		"\"e:k\":{\"type\":\"api_key\",\"keyRef\":{\"id\":\"6\"}}}}",
		"a:default a {\"type\":\"api_key\",\"key\":\"1\"}\n"
		"a:: not an object\n"
		"b: not an object\n"
		"a:w@x:y c@w@x:y {\"type\":\"api_key\",\"key\":\"2\",\"provider\":\"c\"}\n"
		"d:m d@m {\"provider\":7,\"type\":\"api_key\",\"key\":\"3\"}\n"
		"d:M: another entry has this name in other letter case\n"
		"e:t: a bearer token: not stored by this version\n"
		"e:k: no key in it: it names one that is kept elsewhere\n");
}

static void profiles_are_written_as_they_were(void **state)
{
	const struct import_format *f = format_of(&import_aihub, "auth-profiles.json");

	writes(f,
		"{\"version\":1,\"profiles\":{\"a:d\":{\"mode\":\"api_key\",\"apiKey\":\"1\",\"x\":"
		"2}},"
		"\"order\":{}}",
		"a:d", KEY,
		"{\"version\":1,\"profiles\":{\"a:d\":{\"mode\":\"api_key\",\"apiKey\":\"fake-2\","
		"\"x\":2}},"
		"\"order\":{}}");
	writes(f,
		"{\"profiles\":{\"a:d\":{\"type\":\"oauth\",\"provider\":\"a\",\"access\":\"x\"}}}",
		"a:d", LOGIN,
		"{\"profiles\":{\"a:d\":{\"type\":\"oauth\",\"provider\":\"a\",\"access\":\"x2\","
		"\"refresh\":\"y2\",\"expires\":22}}}");
	writes(f, "{}", "a:d", KEY,
		"{\"version\":1,\"profiles\":{\"a:d\":{\"type\":\"api_key\",\"key\":\"fake-2\","
		"\"provider\":\"a\"}}}");
	writes(f, "{\"profiles\":{\"a:d\":1,\"b\":2}}", "a:d", NULL, "{\"profiles\":{\"b\":2}}");
	writes(f, "{\"x\":1}", "a:d", NULL, "{\"x\":1}");
	does_not_write(f, "{\"profiles\":{\"a:d\":{\"mode\":\"api_key\",\"apiKey\":\"1\"}}}", "a:d",
		LOGIN);
	does_not_write(
		f, "{\"profiles\":{\"a:d\":{\"type\":\"token\",\"token\":\"1\"}}}", "a:d", LOGIN);
	does_not_write(f, "{\"profiles\":{\"a:d\":{}}}", "a:d", LOGIN);
	does_not_write(f, "{\"profiles\":[]}", "a:d", LOGIN);
}

/* ---- opencode ---- */

static void opencode_has_its_own_names(void **state)
{
	const struct import_format *f = format_of(&import_opencode, "auth.json");

	reads(f,
		"{\"OpenAI\":{\"type\":\"oauth\",\"access\":\"x\",\"refresh\":\"y\",\"expires\":1},"
		"\"a\":{\"type\":\"api\",\"key\":\"{env:N}\"},\"b\":{\"type\":\"o_auth2\"},\"c\":"
		"7}",
		"OpenAI openai-codex "
		"{\"type\":\"oauth\",\"access\":\"x\",\"refresh\":\"y\",\"expires\":1}\n"
		"a a {\"type\":\"api_key\",\"key\":\"{env:N}\"}\n"
		"b: of a kind that is not known\n"
		"c: not an object\n");
	reads(f,
		"{\"openai\":{\"type\":\"oauth\",\"access\":\"x\",\"refresh\":\"y\",\"expires\":1,"
		"\"clientId\":\"i\"}}",
		"openai openai "
		"{\"type\":\"oauth\",\"access\":\"x\",\"refresh\":\"y\",\"expires\":1,"
		"\"clientId\":\"i\"}\n");
	writes(f, "{\"a\":{\"type\":\"api\",\"key\":\"fake\",\"metadata\":{}}}", "a", KEY,
		"{\"a\":{\"type\":\"api\",\"key\":\"fake-2\",\"metadata\":{}}}");
	writes(f, "{}", "a", KEY, "{\"a\":{\"type\":\"api\",\"key\":\"fake-2\"}}");
	writes(f, "{}", "a",
		"{\"type\":\"oauth\",\"access\":\"x2\",\"refresh\":\"y2\",\"expires\":22,"
		"\"accountId\":\"i\",\"refreshed\":5}",
		"{\"a\":{\"type\":\"oauth\",\"refresh\":\"y2\",\"access\":\"x2\",\"expires\":22,"
		"\"accountId\":\"i\"}}");
	writes(f, "{\"b\":1,\"a\":{\"type\":\"wellknown\"}}", "a", NULL, "{\"b\":1}");
	does_not_write(f, "{\"a\":{\"type\":\"api\",\"key\":\"fake\"}}", "a", LOGIN);
	does_not_write(f, "{\"a\":{\"type\":\"oauth\",\"access\":\"fake\"}}", "a", KEY);
	does_not_write(f, "{\"a\":{\"type\":\"wellknown\",\"key\":\"N\"}}", "a", KEY);
	does_not_write(f, "{}", "a", "{\"type\":\"bearer_token\"}");
	does_not_write(f, "[]", "a", NULL);
}

static void opencode_keeps_github_tokens_only(void **state)
{
	const struct import_format *f = format_of(&import_opencode, "auth.json");
	static const char session[] = "{\"type\":\"oauth\",\"access\":\"tid=2\","
				      "\"refresh\":\"gho_fake\",\"expires\":22}";

	writes(f,
		"{\"github-copilot\":{\"type\":\"oauth\",\"refresh\":\"gho_fake\",\"access\":\"gho_"
		"fake\","
		"\"expires\":0}}",
		"github-copilot", session,
		"{\"github-copilot\":{\"type\":\"oauth\",\"refresh\":\"gho_fake\",\"access\":\"gho_"
		"fake\","
		"\"expires\":0}}");
	writes(f,
		"{\"github-copilot\":{\"type\":\"oauth\",\"refresh\":\"gho_old\",\"access\":\"\","
		"\"expires\":0}}",
		"github-copilot", session,
		"{\"github-copilot\":{\"type\":\"oauth\",\"refresh\":\"gho_fake\",\"access\":\"\","
		"\"expires\":0}}");
	writes(f,
		"{\"github-copilot\":{\"type\":\"oauth\",\"refresh\":\"gho_fake\",\"access\":\"\","
		"\"expires\":1}}",
		"github-copilot", session,
		"{\"github-copilot\":{\"type\":\"oauth\",\"refresh\":\"gho_fake\",\"access\":\"tid="
		"2\","
		"\"expires\":22}}");
	/* before that it kept session tokens as all others do */
	writes(f,
		"{\"github-copilot\":{\"type\":\"oauth\",\"refresh\":\"gho_fake\",\"access\":\"tid="
		"1\","
		"\"expires\":1}}",
		"github-copilot", session,
		"{\"github-copilot\":{\"type\":\"oauth\",\"refresh\":\"gho_fake\",\"access\":\"tid="
		"2\","
		"\"expires\":22}}");
}

/* What is written is what is read. */
static void written_logins_are_read_back(void **state)
{
	static const char login[] = "{\"type\":\"oauth\",\"access\":\"x2\",\"refresh\":\"y2\","
				    "\"expires\":22}";
	static const char *const documents[] = {
		"{\"a\":{\"type\":\"oauth\",\"access\":\"x\",\"refresh\":\"y\",\"expires\":1}}",
		"{\"a\":{\"type\":\"o_auth\",\"access_token\":\"x\",\"refresh_token\":\"y\","
		"\"expires\":1}}",
		"{}",
	};

	for (size_t i = 0; i < sizeof(documents) / sizeof(*documents); i++) {
		JSON_AUTO cJSON *root = parse(documents[i]);
		JSON_AUTO cJSON *entry = parse(login);
		struct listing l = { 0 };
		const struct import_sink sink = { list_entry, &l };

		assert_int_equal(import_pi_auth.write(root, "a", entry, NULL), 0);
		assert_int_equal(import_pi_auth.read(root, "", 0, &sink, NULL), 0);
		assert_non_null(strstr(l.text, "\"x2\""));
		assert_non_null(strstr(l.text, "\"y2\""));
		assert_non_null(strstr(l.text, "22"));
		assert_null(strstr(l.text, "\"x\""));
	}
}

/* ---- places ---- */

static char *places_of(const struct importer *tool, const char *home)
{
	struct import_places places = { 0 };
	struct pa_err err;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	if (tool->places(home, &places, &err) < 0)
		fail_msg("%s", err.detail);
	for (size_t i = 0; i < places.n; i++)
		fprintf(f, "%s%s%s\n", places.v[i].path, places.v[i].format->linkable ? " +" : "",
			places.v[i].format->lock == IMPORT_LOCK_PROPER ? " locked" : "");
	import_places_done(&places);
	fclose(f);
	return text;
}

static void has_places(const struct importer *tool, const char *home, const char *wanted)
{
	char *text = places_of(tool, home);

	assert_string_equal(text, wanted);
	free(text);
}

static void variables_move_the_places(void **state)
{
	has_places(&import_taskfactory, "/h",
		"/h/.taskfactory/agent/auth.json + locked\n"
		"/h/.pi/factory/agent/auth.json\n/h/.pi/factory/auth.json\n");
	has_places(&import_opencode, "/h", "/h/.local/share/opencode/auth.json +\n");
	has_places(&import_aihub, "/h",
		"/h/.aihub/auth.json + locked\n/h/.aihub/credentials/oauth.json +\n"
		"/h/.aihub/agent/auth-profiles.json + locked\n");
	setenv("PI_CODING_AGENT_DIR", "~/elsewhere/", 1);
	setenv("AIHUB_HOME", "/srv/hub", 1);
	setenv("XDG_DATA_HOME", "/srv/data", 1);
	has_places(&import_pi, "/h",
		"/h/elsewhere/auth.json + locked\n/h/elsewhere/oauth.json +\n"
		"/h/elsewhere/oauth.json.migrated\n/h/elsewhere/settings.json locked\n");
	has_places(&import_aihub, "/h",
		"/srv/hub/auth.json + locked\n/srv/hub/credentials/oauth.json +\n"
		"/srv/hub/agent/auth-profiles.json + locked\n");
	has_places(&import_opencode, "/h", "/srv/data/opencode/auth.json +\n");
	setenv("PI_CODING_AGENT_DIR", "agent", 1);
	setenv("AIHUB_HOME", "./hub", 1);
	setenv("XDG_DATA_HOME", "data", 1);
	has_places(&import_pi, "/h", "");
	has_places(&import_aihub, "/h", "");
	has_places(&import_opencode, "/h", "/h/.local/share/opencode/auth.json +\n");
	unsetenv("PI_CODING_AGENT_DIR");
	unsetenv("AIHUB_HOME");
	unsetenv("XDG_DATA_HOME");
}

static void oauth_json_is_in_use_until_there_is_an_auth_json(void **state)
{
	char dir[] = "/tmp/piauth-import-XXXXXX", path[64], wanted[512];

	assert_non_null(mkdtemp(dir));
	setenv("PI_CODING_AGENT_DIR", dir, 1);
	for (int there = 0; there < 2; there++) {
		snprintf(wanted, sizeof(wanted),
			"%s/auth.json + locked\n%s/oauth.json%s\n%s/oauth.json.migrated\n"
			"%s/settings.json locked\n",
			dir, dir, there ? "" : " +", dir, dir);
		has_places(&import_pi, "/h", wanted);
		snprintf(path, sizeof(path), "%s/auth.json", dir);
		if (!there)
			assert_int_equal(mkdir(path, 0700), 0);
	}
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(dir), 0);
	unsetenv("PI_CODING_AGENT_DIR");
}

static int setup(void **state)
{
	json_init();
	unsetenv("PI_CODING_AGENT_DIR");
	unsetenv("AIHUB_HOME");
	unsetenv("XDG_DATA_HOME");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_is_what_every_version_takes_for_one),
		cmocka_unit_test(a_key_can_be_too_long),
		cmocka_unit_test(a_login_is_spelled_as_pi_does),
		cmocka_unit_test(tokens_in_odd_places_are_found),
		cmocka_unit_test(an_enterprise_login_stays_where_it_is),
		cmocka_unit_test(letter_case_makes_no_second_provider),
		cmocka_unit_test(what_the_store_cannot_hold_is_refused),
		cmocka_unit_test(a_document_of_another_shape_is_unusable),
		cmocka_unit_test(the_receiver_can_end_the_reading),
		cmocka_unit_test(a_rotated_pair_leaves_the_rest_alone),
		cmocka_unit_test(the_spelling_of_the_file_stays),
		cmocka_unit_test(nothing_is_written_that_pi_would_misread),
		cmocka_unit_test(another_kind_is_not_overwritten),
		cmocka_unit_test(from_old_files_secrets_only_go),
		cmocka_unit_test(profiles_are_named_after_the_colon),
		cmocka_unit_test(profiles_are_written_as_they_were),
		cmocka_unit_test(opencode_has_its_own_names),
		cmocka_unit_test(opencode_keeps_github_tokens_only),
		cmocka_unit_test(written_logins_are_read_back),
		cmocka_unit_test(variables_move_the_places),
		cmocka_unit_test(oauth_json_is_in_use_until_there_is_an_auth_json),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
