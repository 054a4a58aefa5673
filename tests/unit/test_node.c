#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/node.h"

/* The numbers that open descriptors and bind mounts remember. A change here breaks running containers. */
static void test_numbers_are_abi(void **state)
{
	static const struct {
		enum node_dir dir;
		const char *name;
		uint64_t ino; /* for profile 1 */
		mode_t mode;
	} abi[] = {
		{ NODE_IN_ROOT, "status", 2, S_IFREG | 0444 },
		{ NODE_IN_ROOT, ".piauth", 16, S_IFDIR | 0500 },
		{ NODE_IN_CONTROL, "version", 17, S_IFREG | 0444 },
		{ NODE_IN_CONTROL, "events", 18, S_IFREG | 0444 },
		{ NODE_IN_CONTROL, "metrics", 19, S_IFREG | 0444 },
		{ NODE_IN_CONTROL, "providers.json", 20, S_IFREG | 0444 },
		{ NODE_IN_CONTROL, "audit", 21, S_IFREG | 0400 },
		{ NODE_IN_CONTROL, "migrate", 22, S_IFREG | 0600 },
		{ NODE_IN_PROFILE, "key", 0x102, S_IFREG | 0400 },
		{ NODE_IN_PROFILE, "api-key", 0x103, S_IFREG | 0200 },
		{ NODE_IN_PROFILE, "oauth", 0x104, S_IFREG | 0200 },
		{ NODE_IN_PROFILE, "header", 0x105, S_IFREG | 0400 },
		{ NODE_IN_PROFILE, "env", 0x106, S_IFREG | 0400 },
		{ NODE_IN_PROFILE, "status", 0x107, S_IFREG | 0444 },
		{ NODE_IN_PROFILE, "refresh", 0x109, S_IFREG | 0200 },
		{ NODE_IN_PROFILE, "mode", 0x10b, S_IFREG | 0600 },
		{ NODE_IN_PROFILE, "account", 0x10c, S_IFREG | 0444 },
		{ NODE_IN_PROFILE, "base-url", 0x10d, S_IFREG | 0644 },
		{ NODE_IN_PROFILE, "expires", 0x10f, S_IFREG | 0444 },
		{ NODE_IN_PROFILE, "generation", 0x110, S_IFREG | 0444 },
	};
	size_t seen = 0;

	for (size_t i = 0; i < sizeof(abi) / sizeof(abi[0]); i++) {
		const struct node *n = node_find(abi[i].dir, abi[i].name);

		assert_non_null(n);
		assert_int_equal(node_ino(n, 1), abi[i].ino);
		assert_int_equal(n->mode, abi[i].mode);
	}
	for (enum node_dir dir = NODE_IN_ROOT; dir <= NODE_IN_PROFILE; dir++)
		for (size_t i = 0; node_at(dir, i); i++)
			seen++;
	assert_int_equal(seen, sizeof(abi) / sizeof(abi[0]));
	assert_int_equal(node_ino(node_of(1), 0), 1);
	assert_int_equal(node_ino(node_profile, 1), 0x100);
	assert_int_equal(node_ino(node_link, 1), 0x101);
}

static void check_round_trip(const struct node *n, uint64_t id)
{
	uint64_t ino = node_ino(n, id);

	assert_ptr_equal(node_of(ino), n);
	assert_true((int64_t)ino > 0); /* st_ino is signed in some languages */
	if (n->in == NODE_IN_PROFILE)
		assert_int_equal(node_profile_id(ino), id);
	else
		assert_int_equal(node_profile_id(ino), 0);
}

static void test_every_place_is_found_by_its_number(void **state)
{
	static const uint64_t ids[] = { 1, 255, 256, (UINT64_C(1) << 55) - 1 };

	for (size_t k = 0; k < sizeof(ids) / sizeof(ids[0]); k++)
		for (enum node_dir dir = NODE_IN_ROOT; dir <= NODE_IN_PROFILE; dir++)
			for (size_t i = 0; node_at(dir, i); i++)
				check_round_trip(node_at(dir, i), ids[k]);
}

static void test_other_numbers_are_nothing(void **state)
{
	/* Also those that are kept for later versions. */
	static const uint64_t none[] = { 0, 3, 4, 5, 15, 23, 255, 0x108, 0x10a, 0x10e, 0x111,
		0x1ff };

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_null(node_of(none[i]));
	assert_null(node_find(NODE_IN_ROOT, "key"));
	assert_null(node_find(NODE_IN_PROFILE, "Key"));
	assert_null(node_find(NODE_IN_PROFILE, ""));
	assert_null(node_find(NODE_IN_NONE, "key"));
	assert_null(node_at(NODE_IN_NONE, 0));
}

/* What is read or written has a meaning for it, and the mode says the same. */
static void test_modes_agree_with_meaning(void **state)
{
	for (enum node_dir dir = NODE_IN_ROOT; dir <= NODE_IN_PROFILE; dir++) {
		for (size_t i = 0; node_at(dir, i); i++) {
			const struct node *n = node_at(dir, i);

			if (n->is != NODE_IN_NONE)
				continue;
			assert_int_equal(!!(n->mode & 0400), n->read != NODE_READ_NONE);
			assert_int_equal(!!(n->mode & 0200), n->write != NODE_WRITE_NONE);
			assert_int_equal(n->text != NODE_TEXT_NONE, n->read == NODE_READ_TEXT);
			/* What holds a secret is nobody else's, and every open of it is audited. */
			if (n->read == NODE_READ_VALUE || n->write == NODE_WRITE_INPUT) {
				assert_int_equal(n->mode & 0077, 0);
				assert_true(n->flags & NODE_SECRET);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_are_abi),
		cmocka_unit_test(test_every_place_is_found_by_its_number),
		cmocka_unit_test(test_other_numbers_are_nothing),
		cmocka_unit_test(test_modes_agree_with_meaning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
