#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/config.h"
#include "store/secret.h"

static char dir[] = "/tmp/piauth-config-XXXXXX";
static int dirfd_test;

static int setup(void **state)
{
	json_init();
	if (!mkdtemp(dir))
		return -1;
	dirfd_test = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_test < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	unlinkat(dirfd_test, "config.json", 0);
	close(dirfd_test);
	return rmdir(dir);
}

static void write_config(const char *text, size_t len, mode_t mode)
{
	int fd = openat(dirfd_test, "config.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static int read_text(const char *text, struct config **ret, struct pa_err *err)
{
	write_config(text, strlen(text), 0600);
	return config_read(dirfd_test, "config.json", ret, err);
}

static void assert_defaults(const struct config *c)
{
	assert_true(c->deadline_s == 60);
	assert_true(c->exchange_deadline_s == 300);
	assert_true(c->connect_timeout_s == 15);
	assert_true(c->watchdog_s == 10);
	assert_true(c->env_fallback);
	assert_non_null(c->mutators);
	assert_null(c->mutators[0]);
	assert_null(c->providers);
}

static void no_file_is_an_empty_one(void **state)
{
	struct config *c = NULL;
	unlinkat(dirfd_test, "config.json", 0);
	assert_int_equal(config_read(dirfd_test, "config.json", &c, NULL), 0);
	assert_defaults(c);
	config_free(c);
	assert_int_equal(config_read(dirfd_test, "no/such/dir/config.json", &c, NULL), 0);
	config_free(c);
	assert_int_equal(read_text("{}", &c, NULL), 0);
	assert_defaults(c);
	config_free(c);
	config_free(NULL);
}

static void every_key_is_read(void **state)
{
	struct config *c = NULL;
	assert_int_equal(
		read_text(
			"// comment\n{ \"deadline_s\": 1, /* x */ \"exchange_deadline_s\": 86400,\n"
			"\"connect_timeout_s\": 3, \"watchdog_s\": 4, \"order\": [\"store\"],\n"
			"\"allow_mutations_from\": [\"user:[4026531837]\", \"user:[1]\"],\n"
			"\"providers\": {\"groq\": {\"name\": \"G\"}} }\n",
			&c, NULL),
		0);
	assert_true(c->deadline_s == 1);
	assert_true(c->exchange_deadline_s == 86400);
	assert_true(c->connect_timeout_s == 3);
	assert_true(c->watchdog_s == 4);
	assert_false(c->env_fallback);
	assert_string_equal(c->mutators[0], "user:[4026531837]");
	assert_string_equal(c->mutators[1], "user:[1]");
	assert_null(c->mutators[2]);
	assert_string_equal(json_at(c->providers, "/groq/name")->valuestring, "G");
	assert_int_equal(json_line_of(c->text, c->text_len, "/providers/groq"), 5);
	config_free(c);
	assert_int_equal(read_text("{\"order\":[\"store\",\"env\"]}", &c, NULL), 0);
	assert_true(c->env_fallback);
	config_free(c);
}

static void mistakes_have_a_line(void **state)
{
	static const char order[] = "\"order\" must be [\"store\", \"env\"] or [\"store\"]";
	static const struct {
		const char *text;
		const char *detail;
	} cases[] = {
		{ "{\n \"deadline_s\": 5,\n \"dead_line\": 5 }",
			"config.json line 3: unknown key \"dead_line\"" },
		{ "{\"Deadline_s\": 5}", "config.json line 1: unknown key \"Deadline_s\"" },
		{ "{\"a/b~c\": 5}", "config.json line 1: unknown key \"a/b~c\"" },
		{ "{\n\n\"watchdog_s\": \"10\"}", "config.json line 3: \"watchdog_s\" must be a "
						  "number of seconds from 1 to 86400" },
		{ "{\"deadline_s\": 0}", "config.json line 1: \"deadline_s\" must be a number of "
					 "seconds from 1 to 86400" },
		{ "{\"deadline_s\": 86401}", "config.json line 1: \"deadline_s\" must be a number "
					     "of seconds from 1 to 86400" },
		{ "{\"connect_timeout_s\": 1.5}", "config.json line 1: \"connect_timeout_s\" must "
						  "be a number of seconds from 1 to 86400" },
		{ "{\"exchange_deadline_s\": null}", "config.json line 1: \"exchange_deadline_s\" "
						     "must be a number of seconds from 1 to "
						     "86400" },
		{ "{\"order\": [\"env\",\"store\"]}", order },
		{ "{\"order\": []}", order },
		{ "{\"order\": \"store\"}", order },
		{ "{\"order\": [\"store\",\"env\",\"env\"]}", order },
		{ "{\"order\": [\"store\",1]}", order },
		{ "{\"allow_mutations_from\": \"user:[1]\"}",
			"\"allow_mutations_from\" must be a list of user namespaces" },
		{ "{\"allow_mutations_from\": [\"user:[1]\",\n\"pid:[1]\"]}",
			"config.json line 2: not the name of a user namespace "
			"(\"user:[NUMBER]\")" },
		{ "{\"allow_mutations_from\": [\"user:[]\"]}", "not the name of a user namespace" },
		{ "{\"allow_mutations_from\": [\"user:[1]x\"]}",
			"not the name of a user namespace" },
		{ "{\"allow_mutations_from\": [5]}", "not the name of a user namespace" },
		{ "{\n\"providers\": []}", "config.json line 2: \"providers\" must be an object" },
		{ "[]", "config.json line 1: not an object" },
		{ "", "config.json line 1: the text ends too early" },
		{ "{\n\"a\":1,\n\"a\":2}",
			"config.json line 3: a member name that its object has twice" },
		{ "{\n,}", "config.json line 2: no member name where one must be" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct config *c = NULL;
		struct pa_err err = { 0 };
		int rc = read_text(cases[i].text, &c, &err);
		if (rc == 0 || !strstr(err.detail, cases[i].detail))
			print_error("%s\n-> %s\n", cases[i].text, err.detail);
		assert_int_equal(rc, -EINVAL);
		assert_int_equal(err.code, PA_CONFIG);
		assert_non_null(strstr(err.detail, cases[i].detail));
		assert_null(c);
		assert_true(config_read(dirfd_test, "config.json", &c, NULL) < 0);
	}
}

/* A value may be a secret; only names and places are told. */
static void values_are_never_quoted(void **state)
{
	static const char *const texts[] = { "{\"deadline_s\":\"FAKESECRET\"}",
		"{\"order\":\"FAKESECRET\"}", "{\"allow_mutations_from\":[\"FAKESECRET\"]}",
		"{\"providers\":\"FAKESECRET\"}", "{\"x\":FAKESECRET}", "{\"x\":\"FAKESECRET" };
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct config *c = NULL;
		struct pa_err err = { 0 };
		char shown[400];
		assert_true(read_text(texts[i], &c, &err) < 0);
		pa_err_format(&err, shown, sizeof(shown));
		assert_null(strstr(shown, "FAKESECRET"));
	}
}

static void a_client_secret_must_be_private(void **state)
{
	static const char text[] =
		"{\"providers\":{\"x\":{\"oauth\":{\"client_secret\":\"FAKESECRET\"}}}}";
	static const struct {
		mode_t mode;
		bool refused;
	} cases[] = { { 0600, false }, { 0400, false }, { 0640, true }, { 0604, true },
		{ 0644, true } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct config *c = NULL;
		struct pa_err err = { 0 };
		write_config(text, strlen(text), cases[i].mode);
		int rc = config_read(dirfd_test, "config.json", &c, &err);
		if (cases[i].refused) {
			assert_int_equal(rc, -EACCES);
			assert_int_equal(err.code, PA_STORE_UNSAFE);
		} else {
			assert_int_equal(rc, 0);
			config_free(c);
		}
	}
	struct config *c = NULL;
	write_config("{\"providers\":{}}", 16, 0644);
	assert_int_equal(config_read(dirfd_test, "config.json", &c, NULL), 0);
	config_free(c);
}

static void only_a_regular_file_of_bounded_size(void **state)
{
	struct config *c = NULL;
	struct pa_err err = { 0 };
	assert_true(config_read(dirfd_test, ".", &c, &err) < 0);
	assert_non_null(strstr(err.detail, "not a regular file"));

	unlinkat(dirfd_test, "config.json", 0);
	assert_int_equal(mkfifoat(dirfd_test, "config.json", 0600), 0);
	assert_true(config_read(dirfd_test, "config.json", &c, &err) < 0); /* and does not wait */
	assert_non_null(strstr(err.detail, "not a regular file"));
	unlinkat(dirfd_test, "config.json", 0);

	char *big = malloc(CONFIG_MAX + 1);
	memset(big, ' ', CONFIG_MAX + 1);
	big[0] = '{';
	big[CONFIG_MAX - 1] = '}';
	write_config(big, CONFIG_MAX, 0600);
	assert_int_equal(config_read(dirfd_test, "config.json", &c, &err), 0);
	config_free(c);
	write_config(big, CONFIG_MAX + 1, 0600);
	assert_int_equal(config_read(dirfd_test, "config.json", &c, &err), -EFBIG);
	assert_int_equal(err.code, PA_CONFIG);
	free(big);
	assert_int_equal(symlinkat("config.json", dirfd_test, "loop.json"), 0);
	unlinkat(dirfd_test, "config.json", 0);
	assert_int_equal(renameat(dirfd_test, "loop.json", dirfd_test, "config.json"), 0);
	assert_int_equal(config_read(dirfd_test, "config.json", &c, &err), -ELOOP);
	unlinkat(dirfd_test, "config.json", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_file_is_an_empty_one),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(mistakes_have_a_line),
		cmocka_unit_test(values_are_never_quoted),
		cmocka_unit_test(a_client_secret_must_be_private),
		cmocka_unit_test(only_a_regular_file_of_bounded_size),
	};
	return cmocka_run_group_tests_name("config", tests, setup, teardown);
}
