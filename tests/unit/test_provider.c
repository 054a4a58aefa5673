#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/provider.h"
#include "store/secret.h"
#include "provider_cases.h"

#define BEARER "Authorization: Bearer {key}"

static struct provider_table *builtin;

static const struct provider *find(const struct provider_table *t, const char *name)
{
	return provider_find(t, name, strlen(name));
}

static int setup(void **state)
{
	json_init();
	return provider_table_new(-1, NULL, NULL, 0, &builtin, NULL);
}

static int teardown(void **state)
{
	provider_table_free(builtin);
	return 0;
}

static void assert_list(char *const *list, const char *words)
{
	char joined[512] = "";
	for (; *list; list++)
		snprintf(joined + strlen(joined), sizeof(joined) - strlen(joined), "%s%s",
			joined[0] ? " " : "", *list);
	assert_string_equal(joined, words);
}

static void assert_text(const char *text, const char *want)
{
	assert_string_equal(text ? text : "", want);
}

static const char *const envelopes[] = { "unknown", "anthropic", "openai", "google", "aws",
	"simple", "azure" };

/* Every provider of the list, with every field it gives. */
static void the_table_is_whole(void **state)
{
	FILE *file = fopen(TEST_SOURCE_DIR "/vectors/providers.txt", "re");
	char line[1024];
	size_t rows = 0;
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		char *rest = line, *field[8];
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '#')
			continue;
		for (int i = 0; i < 8; i++)
			field[i] = strsep(&rest, "|");
		assert_null(rest);
		const struct provider *p = find(builtin, field[0]);
		if (!p)
			print_error("missing: %s\n", field[0]);
		assert_non_null(p);
		assert_string_equal(p->id, field[0]);
		assert_list(p->aliases, field[1]);
		assert_list(p->env, field[2]);
		assert_text(p->endpoint, field[3]);
		assert_list(p->header, field[4]);
		assert_string_equal(envelopes[p->envelope], field[5]);
		assert_int_equal(p->keyless, strcmp(field[6], "keyless") == 0);
		assert_text(p->key_url, field[7]);
		assert_true(strlen(p->name) > 1);
		assert_false(p->custom);
		rows++;
	}
	fclose(file);
	assert_int_equal(rows, 95);
	assert_int_equal(
		provider_count(builtin), rows + 3); /* meta, radius, qwen-cli: logins only */
}

static void it_is_sorted(void **state)
{
	for (size_t i = 0; i < provider_count(builtin); i++) {
		const struct provider *p = provider_at(builtin, i);
		assert_true(provider_id_is_valid(p->id, strlen(p->id)));
		if (i)
			assert_true(strcmp(provider_at(builtin, i - 1)->id, p->id) < 0);
	}
	assert_null(provider_at(builtin, provider_count(builtin)));
}

static void assert_found(const char *name, const struct provider *p)
{
	char any[PROVIDER_ID_MAX + 1];
	assert_ptr_equal(find(builtin, name), p);
	for (size_t i = 0; i <= strlen(name); i++)
		any[i] = (char)(i % 2 ? toupper(name[i]) : name[i]);
	assert_ptr_equal(find(builtin, any), p);
	for (size_t i = 0; i <= strlen(name); i++)
		any[i] = (char)toupper(name[i]);
	assert_ptr_equal(find(builtin, any), p);
	assert_ptr_equal(provider_find(builtin, any, strlen(name)), p);
}

static void every_name_finds_it_in_any_case(void **state)
{
	size_t aliases = 0;
	for (size_t i = 0; i < provider_count(builtin); i++) {
		const struct provider *p = provider_at(builtin, i);
		assert_found(p->id, p);
		for (char **alias = p->aliases; *alias; alias++, aliases++)
			assert_found(*alias, p);
	}
	assert_int_equal(aliases, 51);
	assert_string_equal(find(builtin, "grok")->id, "xai");
	assert_string_equal(find(builtin, "XAI")->id, "xai");
	assert_string_equal(find(builtin, "Mistral.RS")->id, "mistralrs");
	assert_string_equal(find(builtin, "kimi")->id, "moonshotai");
	assert_string_equal(find(builtin, "kimi-coding")->id, "kimi-for-coding");
	static const char *const unknown[] = { "", "x", "groq ", "groq/", "xa", "xaii",
		"anthropic@work", "\xc3\xa4",
		"provider-that-nobody-has-ever-heard-of-and-that-is-longer-than-64-bytes" };
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_null(find(builtin, unknown[i]));
	assert_null(provider_find(builtin, "groq\0x", 6));
	assert_ptr_equal(provider_find(builtin, "groqxyz", 4), find(builtin, "groq"));
}

static void oauth_tokens_travel_as_bearer(void **state)
{
	for (size_t i = 0; i < provider_count(builtin); i++) {
		const struct provider *p = provider_at(builtin, i);
		assert_string_equal(p->header_oauth[0], BEARER);
		if (strcmp(p->id, "anthropic") == 0)
			assert_list(p->header_oauth, BEARER " anthropic-beta: oauth-2025-04-20");
		else if (strcmp(p->id, "openai-codex") == 0)
			assert_list(p->header_oauth, BEARER " chatgpt-account-id: {account}");
		else
			assert_null(p->header_oauth[1]);
		assert_list(p->env_oauth,
			strcmp(p->id, "anthropic") == 0 ? "ANTHROPIC_OAUTH_TOKEN" : "");
	}
}

static void every_login_has_its_descriptor(void **state)
{
	size_t n = 0;
	for (size_t i = 0; i < provider_count(builtin); i++) {
		const struct provider *p = provider_at(builtin, i);
		const struct oauth_desc *d = p->oauth;
		if (!d)
			continue;
		assert_true(n < sizeof(flows) / sizeof(flows[0]));
		assert_string_equal(p->id, flows[n].id);
		assert_text(d->authorization_endpoint, flows[n].authorize);
		assert_text(d->token_endpoint, flows[n].token);
		assert_text(d->device_authorization_endpoint, flows[n].device);
		assert_text(d->client_id, flows[n].client);
		assert_int_equal(d->token_request, flows[n].request);
		assert_int_equal(d->token_get, flows[n].get);
		assert_int_equal(d->rotates, flows[n].rotates);
		assert_int_equal(d->grant_client_credentials, flows[n].credentials);
		assert_int_equal(d->expires_skew_s, flows[n].skew);
		assert_int_equal(d->default_lifetime_s, flows[n].lifetime);
		assert_false(d->requires_rotation);
		assert_null(d->client_secret);
		n++;
	}
	assert_int_equal(n, sizeof(flows) / sizeof(flows[0]));
}

static void assert_pairs(const struct name_value *pairs, const char *text)
{
	char joined[512] = "";
	for (; pairs && pairs->name; pairs++)
		snprintf(joined + strlen(joined), sizeof(joined) - strlen(joined), "%s%s=%s",
			joined[0] ? " " : "", pairs->name, pairs->value);
	assert_string_equal(joined, text);
}

static void the_odd_ones_have_their_oddities(void **state)
{
	const struct oauth_desc *d = find(builtin, "openai-codex")->oauth;
	assert_string_equal(d->account_claim, "/https:~1~1api.openai.com~1auth/chatgpt_account_id");
	assert_string_equal(d->account_member, "accountId");
	assert_list(d->keep, "id_token");
	assert_pairs(d->authorize_params, "id_token_add_organizations=true "
					  "codex_cli_simplified_flow=true originator=piauth");
	assert_string_equal(d->redirect_uri, "http://localhost:1455/auth/callback");
	assert_string_equal(d->scope, "openid profile email offline_access");

	d = find(builtin, "openai")->oauth;
	assert_string_equal(d->client_id_member, "clientId");
	assert_pairs(d->token_params, "resource=https://api.openai.com/v1");

	d = find(builtin, "github-copilot")->oauth;
	assert_text(d->answer_access, "token");
	assert_text(d->answer_expires_at, "expires_at");
	assert_null(d->answer_refresh);
	assert_null(d->answer_expires_in);
	assert_pairs(d->headers, "");

	d = find(builtin, "meta")->oauth;
	assert_text(d->answer_access, "api_key");
	assert_pairs(d->headers, "x-api-version=1.0.0");

	d = find(builtin, "anthropic")->oauth;
	assert_pairs(d->authorize_params, "code=true");
	assert_text(d->account_member, "accountUuid");
	assert_null(d->account_claim);
	assert_null(d->token_params);
	assert_null(d->keep);
	assert_null(d->answer_access);
	assert_null(find(builtin, "groq")->oauth);
	assert_ptr_equal(find(builtin, "gitlab-duo")->oauth, find(builtin, "gitlab")->oauth);
}

static void names_have_an_alphabet(void **state)
{
	static const char *const ids[] = { "a", "0", "302ai", "a.b_c-d", "llama.cpp" };
	static const char *const no_ids[] = { "", "A", ".a", "-a", "_a", "a b", "a/b", "a@b", "a:b",
		"\xc3\xa4", "a\n" };
	static const char *const profiles[] = { "a", "Work", "me@example.org", "a+b", "1_2-3.4" };
	static const char *const no_profiles[] = { "", ".a", "@a", "-a", "+a", "a b", "a/b", "a:b",
		"\xc3\xa4", "a\n" };
	char longest[66];
	memset(longest, 'a', sizeof(longest));
	for (size_t i = 0; i < 5; i++) {
		assert_true(provider_id_is_valid(ids[i], strlen(ids[i])));
		assert_true(profile_name_is_valid(profiles[i], strlen(profiles[i])));
	}
	for (size_t i = 0; i < sizeof(no_ids) / sizeof(no_ids[0]); i++)
		assert_false(provider_id_is_valid(no_ids[i], strlen(no_ids[i])));
	for (size_t i = 0; i < sizeof(no_profiles) / sizeof(no_profiles[0]); i++)
		assert_false(profile_name_is_valid(no_profiles[i], strlen(no_profiles[i])));
	assert_false(provider_id_is_valid("a\0b", 3));
	assert_false(profile_name_is_valid("a\0b", 3));
	assert_true(provider_id_is_valid(longest, 64));
	assert_false(provider_id_is_valid(longest, 65));
	assert_true(profile_name_is_valid(longest, 64));
	assert_false(profile_name_is_valid(longest, 65));
}

static void only_safe_endpoints_are_allowed(void **state)
{
	for (size_t i = 0; i < sizeof(good_urls) / sizeof(good_urls[0]); i++) {
		if (!endpoint_is_allowed(good_urls[i]))
			print_error("refused: %s\n", good_urls[i]);
		assert_true(endpoint_is_allowed(good_urls[i]));
	}
	for (size_t i = 0; i < sizeof(bad_urls) / sizeof(bad_urls[0]); i++) {
		if (endpoint_is_allowed(bad_urls[i]))
			print_error("allowed: %s\n", bad_urls[i]);
		assert_false(endpoint_is_allowed(bad_urls[i]));
	}
	char url[4096] = "https://a.example/";
	memset(url + strlen(url), 'a', 3000);
	assert_false(endpoint_is_allowed(url));
	memset(url + 8, 'a', 254);
	memcpy(url + 8 + 254, "/", 2);
	assert_false(endpoint_is_allowed(url));
}

static int with_config(const char *text, struct provider_table **ret, struct pa_err *err)
{
	JSON_AUTO cJSON *root = NULL;
	assert_int_equal(json_parse_lax(text, strlen(text), PA_CONFIG, &root, NULL), 0);
	return provider_table_new(-1, cJSON_GetObjectItemCaseSensitive(root, "providers"), text,
		strlen(text), ret, err);
}

static void the_configuration_is_merged_in(void **state)
{
	struct provider_table *t = NULL;
	assert_int_equal(
		with_config(
			"{\"providers\": { // mine\n"
			"\"anthropic\": {\"oauth\": {\"token_endpoint\": \"http://127.0.0.1:9/t\","
			"  \"authorize_params\": {\"code\": null, \"x\": \"y\"}}},\n"
			"\"google-gemini-cli\": {\"oauth\": {\"client_secret\": \"FAKESECRET\"}},\n"
			"\"xai\": {\"aliases\": [\"musk\"], \"oauth\": null, \"endpoint\": null},\n"
			"\"groq\": null,\n"
			"\"own\": {},\n"
			"\"test-as\": {\"id\": \"test-as\", \"header\": [\"X-Key: {key}\"],\n"
			"  \"oauth\": {\"token_endpoint\": \"http://localhost:3000/token\","
			"  \"client_id\": \"c\", \"requires_rotation\": true,"
			"  \"grant_types\": [\"client_credentials\"]}}\n"
			"}}",
			&t, NULL),
		0);
	const struct provider *p = find(t, "anthropic");
	assert_string_equal(p->oauth->token_endpoint, "http://127.0.0.1:9/t");
	assert_string_equal(p->oauth->client_id, "9d1c250a-e61b-44d9-88ed-5944d1962f5e");
	assert_pairs(p->oauth->authorize_params, "x=y");
	assert_list(p->env, "ANTHROPIC_API_KEY");
	assert_string_equal(find(t, "gemini-cli")->oauth->client_secret, "FAKESECRET");

	p = find(t, "musk");
	assert_string_equal(p->id, "xai");
	assert_null(p->oauth);
	assert_null(p->endpoint);
	assert_null(find(t, "grok"));
	assert_null(find(t, "groq"));

	p = find(t, "own");
	assert_string_equal(p->name, "own");
	assert_list(p->header, BEARER);
	assert_list(p->header_oauth, BEARER);
	assert_list(p->aliases, "");
	assert_list(p->env, "");
	assert_int_equal(p->envelope, ENVELOPE_UNKNOWN);
	assert_false(p->custom);

	p = find(t, "test-as");
	assert_list(p->header, "X-Key: {key}");
	assert_true(p->oauth->rotates);
	assert_true(p->oauth->requires_rotation);
	assert_true(p->oauth->grant_client_credentials);
	assert_int_equal(p->oauth->token_request, TOKEN_FORM);
	assert_int_equal(provider_count(t), provider_count(builtin) + 1);

	WIPE_AUTO char *json = provider_table_json(t);
	assert_null(strstr(json, "FAKESECRET"));
	assert_null(strstr(json, "\"client_secret\""));
	assert_non_null(strstr(json, "http://127.0.0.1:9/t"));
	provider_table_free(t);
}

static void mistakes_are_named(void **state)
{
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		char text[512];
		struct provider_table *t = NULL;
		struct pa_err err = { 0 };
		snprintf(text, sizeof(text), "{\"providers\":{\n\"x\":%s}}", mistakes[i].fields);
		int rc = with_config(text, &t, &err);
		if (rc == 0 || !strstr(err.detail, mistakes[i].detail))
			print_error("%s: %s\n", mistakes[i].fields, err.detail);
		assert_int_equal(rc, -EINVAL);
		assert_int_equal(err.code, PA_CONFIG);
		assert_non_null(strstr(err.detail, mistakes[i].detail));
		assert_null(t);
	}
}

static void names_belong_to_one_provider(void **state)
{
	static const char *const cases[][2] = {
		{ "{\"providers\":{\n\"grok\":{}}}", "configuration line 2: \"grok\" is another "
						     "name of \"xai\": configure that" },
		{ "{\"providers\":{\"x\":{\"aliases\":[\"grok\"]}}}", "\"grok\" names both \"x\"" },
		{ "{\"providers\":{\"x\":{\"aliases\":[\"groq\"]}}}", "\"groq\" names both" },
		{ "{\"providers\":{\"x\":{\"aliases\":[\"x\"]}}}", "\"x\" names both" },
		{ "{\"providers\":{\n\"Groq\":{}}}",
			"configuration line 2: \"Groq\" cannot be a provider's name" },
		{ "{\"providers\":{\n\"a/b\":{}}}",
			"configuration line 2: \"a/b\" cannot be a provider's name" },
		{ "{\"providers\":[]}", "configuration line 1: must be an object of providers" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct provider_table *t = NULL;
		struct pa_err err = { 0 };
		assert_int_equal(with_config(cases[i][0], &t, &err), -EINVAL);
		if (!strstr(err.detail, cases[i][1]))
			print_error("%s\n", err.detail);
		assert_non_null(strstr(err.detail, cases[i][1]));
	}
}

/* The table's text is itself a configuration that changes nothing. */
static void the_text_can_be_read_again(void **state)
{
	WIPE_AUTO char *text = provider_table_json(builtin);
	JSON_AUTO cJSON *root = NULL;
	struct provider_table *t = NULL;
	assert_int_equal(json_parse(text, strlen(text), PA_CONFIG, &root, NULL, NULL), 0);
	assert_int_equal((size_t)cJSON_GetArraySize(root), provider_count(builtin));
	assert_int_equal(provider_table_new(-1, root, text, strlen(text), &t, NULL), 0);
	WIPE_AUTO char *again = provider_table_json(t);
	assert_string_equal(again, text);
	provider_table_free(t);
}

static void custom_providers_hold_a_key(void **state)
{
	struct provider *p = NULL;
	struct pa_err err;
	assert_int_equal(provider_new_custom("my-own.1", &p, &err), 0);
	assert_string_equal(p->id, "my-own.1");
	assert_string_equal(p->name, "my-own.1");
	assert_true(p->custom);
	assert_false(p->keyless);
	assert_null(p->oauth);
	assert_null(p->endpoint);
	assert_list(p->header, BEARER);
	assert_list(p->env, "");
	assert_list(p->env_oauth, "");
	assert_list(p->aliases, "");
	provider_free_custom(p);
	provider_free_custom(NULL);
	p = NULL;
	assert_int_equal(provider_new_custom("Not/This", &p, &err), -EINVAL);
	assert_int_equal(err.code, PA_BAD_INPUT);
	assert_null(p);
}

static char dir[] = "/tmp/piauth-provider-XXXXXX";
static int dirfd_test = -1;

static int make_dir(void **state)
{
	memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
	if (!mkdtemp(dir))
		return -1;
	dirfd_test = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_test < 0 ? -1 : 0;
}

static int remove_dir(void **state)
{
	DIR *entries = fdopendir(dirfd_test);
	struct dirent *entry;
	if (!entries)
		return -1;
	rewinddir(entries);
	while ((entry = readdir(entries))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd_test, entry->d_name, 0);
	}
	closedir(entries);
	return rmdir(dir);
}

static void put(const char *name, const char *text, mode_t mode)
{
	int fd = openat(dirfd_test, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void files_are_merged_in(void **state)
{
	static const char config[] =
		"{\"providers\":{\"groq\":{\"key_url\":\"https://c.example\"}}}";
	JSON_AUTO cJSON *root = NULL;
	struct provider_table *t = NULL;
	put("groq.json", "// mine\n{\"name\":\"G\",\"key_url\":\"https://f.example\"}", 0644);
	put("own.json", "{\"id\":\"own\",\"aliases\":[\"mine\"],\"keyless\":true}", 0644);
	put("llama.local.json", "{}", 0644);
	put("secret.json", "{\"oauth\":{\"client_secret\":\"FAKESECRET\"}}", 0600);
	put("README", "not JSON", 0644);
	put("groq.json~", "not JSON", 0644);
	put(".hidden.json", "not JSON", 0644);
	put(".json", "not JSON", 0644);
	assert_int_equal(json_parse(config, sizeof(config) - 1, PA_CONFIG, &root, NULL, NULL), 0);
	assert_int_equal(provider_table_new(dirfd_test, json_at(root, "/providers"), config,
				 sizeof(config) - 1, &t, NULL),
		0);
	assert_string_equal(find(t, "groq")->name, "G");
	assert_string_equal(find(t, "groq")->key_url, "https://c.example");
	assert_list(find(t, "groq")->env, "GROQ_API_KEY");
	assert_string_equal(find(t, "MINE")->id, "own");
	assert_true(find(t, "own")->keyless);
	assert_non_null(find(t, "llama.local"));
	assert_string_equal(find(t, "secret")->oauth->client_secret, "FAKESECRET");
	assert_int_equal(provider_count(t), provider_count(builtin) + 3);
	provider_table_free(t);
	/* the directory can be read again */
	assert_int_equal(provider_table_new(dirfd_test, NULL, NULL, 0, &t, NULL), 0);
	provider_table_free(t);
}

static void bad_files_are_named(void **state)
{
	static const struct {
		const char *name;
		const char *text;
		mode_t mode;
		enum pa_code code;
		const char *detail;
	} cases[] = {
		{ "a.json", "{\n\n\"label\":1}", 0644, PA_CONFIG,
			"providers.d/a.json line 3: unknown field \"label\"" },
		{ "a.json", "{\n,}", 0644, PA_CONFIG,
			"providers.d/a.json line 2: no member name where one must be" },
		{ "a.json", "", 0644, PA_CONFIG,
			"providers.d/a.json line 1: the text ends too early" },
		{ "a.json", "\n[]", 0644, PA_CONFIG,
			"providers.d/a.json line 2: must be an object" },
		{ "a.json", "{\"id\":\"b\"}", 0644, PA_CONFIG,
			"providers.d/a.json line 1: \"id\" must be \"a\" or absent" },
		{ "a.json", "{\n\"endpoint\":\"http://a.example\"}", 0644, PA_CONFIG,
			"providers.d/a.json line 2: \"endpoint\" must be an https:// address" },
		{ "a.json", "{\"oauth\":{\"client_secret\":\"s\"}}", 0644, PA_STORE_UNSAFE,
			"providers.d/a.json holds a client secret" },
		{ "Aaa.json", "{}", 0644, PA_CONFIG,
			"providers.d/Aaa.json line 1: \"Aaa\" cannot be a provider's name" },
		{ "grok.json", "{}", 0644, PA_CONFIG,
			"providers.d/grok.json line 1: \"grok\" is another name of \"xai\"" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct provider_table *t = NULL;
		struct pa_err err = { 0 };
		put(cases[i].name, cases[i].text, cases[i].mode);
		int rc = provider_table_new(dirfd_test, NULL, NULL, 0, &t, &err);
		if (rc == 0 || !strstr(err.detail, cases[i].detail))
			print_error("%s\n", err.detail);
		assert_int_equal(rc, -pa_errno(cases[i].code));
		assert_int_equal(err.code, cases[i].code);
		assert_non_null(strstr(err.detail, cases[i].detail));
		assert_null(t);
		unlinkat(dirfd_test, cases[i].name, 0);
	}
	struct provider_table *t = NULL;
	assert_int_equal(symlinkat("nowhere", dirfd_test, "a.json"), 0);
	assert_int_equal(provider_table_new(dirfd_test, NULL, NULL, 0, &t, NULL), -ENOENT);
	struct pa_err err;
	int file = openat(dirfd_test, "b", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(provider_table_new(file, NULL, NULL, 0, &t, &err), -ENOTDIR);
	close(file);
}

/* In byte order of the names, so that the outcome does not depend on the disk. */
static void the_first_bad_file_is_the_first_by_name(void **state)
{
	struct provider_table *t = NULL;
	struct pa_err err = { 0 };
	for (char c = 'z'; c >= 'a'; c--) {
		char name[] = { c, '.', 'j', 's', 'o', 'n', '\0' };
		put(name, "{\"x\":1}", 0644);
	}
	assert_true(provider_table_new(dirfd_test, NULL, NULL, 0, &t, &err) < 0);
	assert_non_null(strstr(err.detail, "providers.d/a.json"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_is_whole),
		cmocka_unit_test(it_is_sorted),
		cmocka_unit_test(every_name_finds_it_in_any_case),
		cmocka_unit_test(oauth_tokens_travel_as_bearer),
		cmocka_unit_test(every_login_has_its_descriptor),
		cmocka_unit_test(the_odd_ones_have_their_oddities),
		cmocka_unit_test(names_have_an_alphabet),
		cmocka_unit_test(only_safe_endpoints_are_allowed),
		cmocka_unit_test(the_configuration_is_merged_in),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(names_belong_to_one_provider),
		cmocka_unit_test(the_text_can_be_read_again),
		cmocka_unit_test(custom_providers_hold_a_key),
		cmocka_unit_test_setup_teardown(files_are_merged_in, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(bad_files_are_named, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(
			the_first_bad_file_is_the_first_by_name, make_dir, remove_dir),
	};
	return cmocka_run_group_tests_name("provider", tests, setup, teardown);
}
