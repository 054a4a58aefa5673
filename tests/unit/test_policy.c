#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/policy.h"

#define OWNER 1000
#define GROUP 77
#define OTHER 2000

#define DENY (-EACCES)

static const struct policy plain = { .owner_uid = OWNER, .owner_gid = OWNER };
static const struct policy grouped = {
	.owner_uid = OWNER, .owner_gid = OWNER, .has_group = true, .group = GROUP
};
static const struct policy open_status = {
	.owner_uid = OWNER, .owner_gid = OWNER, .public_status = true
};

/* On the host, in the server's own namespaces. */
static struct caller at_home(uid_t uid)
{
	return (struct caller){ .uid = uid,
		.gid = uid,
		.tid = 5,
		.known = true,
		.in_user_ns = true,
		.in_pid_ns = true };
}

static struct caller member(void)
{
	struct caller c = at_home(OTHER);

	c.in_group = true;
	return c;
}

static const struct node *part(const char *name)
{
	const struct node *n = node_find(NODE_IN_PROFILE, name);

	assert_non_null(n);
	return n;
}

static const struct node *root(void)
{
	return node_of(NODE_ROOT);
}

struct row {
	const char *name; /* NULL: the root directory */
	enum policy_op op;
	int want;
};

static void check(
	const struct policy *p, const struct caller *c, const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct node *n = rows[i].name ? part(rows[i].name) : root();
		int got = policy_check(p, c, n, rows[i].op);

		if (got != rows[i].want)
			fail_msg("%s, op %d: %d, expected %d", rows[i].name ? rows[i].name : "/",
				(int)rows[i].op, got, rows[i].want);
	}
}
#define CHECK(p, c, rows) check(p, c, rows, sizeof(rows) / sizeof((rows)[0]))

static void test_owner_and_root(void **state)
{
	static const struct row rows[] = {
		{ NULL, POLICY_SEARCH, 0 },
		{ NULL, POLICY_CHANGE, 0 },
		{ "key", POLICY_STAT, 0 },
		{ "key", POLICY_READ, 0 },
		{ "key", POLICY_CHANGE, 0 },
		{ "key", POLICY_WRITE, DENY }, /* there is nothing to write to, not even for root */
		{ "api-key", POLICY_WRITE, 0 },
		{ "api-key", POLICY_READ, DENY },
		{ "oauth", POLICY_WRITE, 0 },
		{ "oauth", POLICY_READ, DENY },
		{ "status", POLICY_READ, 0 },
		{ "status", POLICY_WRITE, DENY },
		{ "mode", POLICY_READ, 0 },
		{ "mode", POLICY_WRITE, 0 },
		{ "refresh", POLICY_WRITE, 0 },
		{ "refresh", POLICY_READ, DENY },
		{ "key", POLICY_ATTR, 0 },
	};
	static const uid_t uids[] = { OWNER, 0 };

	for (size_t i = 0; i < 2; i++) {
		struct caller c = at_home(uids[i]);

		CHECK(&plain, &c, rows);
		CHECK(&grouped, &c, rows);
		CHECK(&open_status, &c, rows);
	}
}

static void test_strangers(void **state)
{
	static const struct row rows[] = {
		{ NULL, POLICY_STAT, 0 }, /* the mount point itself */
		{ NULL, POLICY_SEARCH, DENY },
		{ NULL, POLICY_CHANGE, DENY },
		{ "key", POLICY_STAT, DENY },
		{ "key", POLICY_READ, DENY },
		{ "key", POLICY_CHANGE, DENY },
		{ "status", POLICY_STAT, DENY },
		{ "status", POLICY_READ, DENY },
		{ "api-key", POLICY_WRITE, DENY },
		{ "refresh", POLICY_WRITE, DENY },
		{ "mode", POLICY_READ, DENY },
		{ "key", POLICY_ATTR, -EPERM },
	};
	struct caller c = at_home(OTHER);

	CHECK(&plain, &c, rows);
	CHECK(&grouped, &c, rows);
	/* A member of the group means nothing where no group was named. */
	c = member();
	CHECK(&plain, &c, rows);
}

static void test_members(void **state)
{
	static const struct row rows[] = {
		{ NULL, POLICY_SEARCH, 0 },
		{ NULL, POLICY_CHANGE, DENY },
		{ "key", POLICY_STAT, 0 },
		{ "key", POLICY_READ, 0 },
		{ "header", POLICY_READ, 0 },
		{ "key", POLICY_CHANGE, DENY },
		{ "api-key", POLICY_WRITE, DENY },
		{ "oauth", POLICY_WRITE, DENY },
		{ "mode", POLICY_READ, 0 },
		{ "mode", POLICY_WRITE, DENY },
		{ "refresh", POLICY_WRITE, 0 },
		{ "key", POLICY_ATTR, -EPERM },
	};
	static const struct row nothing[] = {
		{ NULL, POLICY_SEARCH, DENY },
		{ "key", POLICY_READ, DENY },
		{ "refresh", POLICY_WRITE, DENY },
	};
	struct caller c = member();

	CHECK(&grouped, &c, rows);
	assert_int_equal(
		policy_check(&grouped, &c, node_find(NODE_IN_CONTROL, "audit"), POLICY_READ), DENY);
	/* What /proc does not confirm does not count. */
	c.known = false;
	CHECK(&grouped, &c, nothing);
	c = member();
	c.tid = 0;
	CHECK(&grouped, &c, nothing);
}

static void test_public_status(void **state)
{
	static const struct row rows[] = {
		{ NULL, POLICY_SEARCH, 0 },
		{ "status", POLICY_STAT, 0 },
		{ "status", POLICY_READ, 0 },
		{ "expires", POLICY_READ, 0 },
		{ "key", POLICY_STAT, DENY }, /* its size tells about the key */
		{ "key", POLICY_READ, DENY },
		{ "header", POLICY_READ, DENY },
		{ "mode", POLICY_READ, DENY },
		{ "api-key", POLICY_WRITE, DENY },
		{ "base-url", POLICY_WRITE, DENY },
		{ "refresh", POLICY_WRITE, DENY },
		{ NULL, POLICY_CHANGE, DENY },
	};
	struct caller c = at_home(OTHER);

	CHECK(&open_status, &c, rows);
	assert_int_equal(policy_check(&open_status, &c, node_profile, POLICY_SEARCH), 0);
	assert_int_equal(policy_check(&open_status, &c, node_link, POLICY_STAT), 0);
	assert_int_equal(
		policy_check(&open_status, &c, node_find(NODE_IN_CONTROL, "audit"), POLICY_READ),
		DENY);
}

/* A container of the owner: reads and reports, changes nothing. */
static void check_contained(const struct caller *c)
{
	static const struct row rows[] = {
		{ NULL, POLICY_SEARCH, 0 },
		{ "key", POLICY_READ, 0 },
		{ "refresh", POLICY_WRITE, 0 },
		{ "key", POLICY_CHANGE, DENY },
		{ "api-key", POLICY_WRITE, DENY },
		{ "oauth", POLICY_WRITE, DENY },
		{ "mode", POLICY_WRITE, DENY },
		{ "base-url", POLICY_WRITE, DENY },
		{ NULL, POLICY_CHANGE, DENY },
	};

	CHECK(&plain, c, rows);
}

static void test_containers(void **state)
{
	static const uid_t uids[] = { OWNER, 0 };

	for (size_t i = 0; i < 2; i++) {
		struct caller c = at_home(uids[i]);

		c.in_user_ns = false;
		check_contained(&c);
		c = at_home(uids[i]);
		c.in_pid_ns = false;
		check_contained(&c);
		c = at_home(uids[i]);
		c.known = false;
		check_contained(&c);
		c = at_home(uids[i]);
		c.tid = 0;
		check_contained(&c);
	}
}

static void test_named_namespace_may_change(void **state)
{
	static const struct row rows[] = {
		{ "key", POLICY_CHANGE, 0 },
		{ "api-key", POLICY_WRITE, 0 },
		{ NULL, POLICY_CHANGE, 0 },
	};
	struct caller c = at_home(OWNER);

	c.in_user_ns = c.in_pid_ns = false;
	c.is_named = true;
	CHECK(&plain, &c, rows);
	/* It narrows nobody's rights, and widens only the owner's. */
	c.uid = OTHER;
	assert_int_equal(policy_check(&plain, &c, part("key"), POLICY_CHANGE), DENY);
}

/* A look into /proc costs more than the request: only where the answer depends on it. */
static void test_wants(void **state)
{
	struct caller owner = at_home(OWNER), other = at_home(OTHER);

	assert_int_equal(policy_wants(&grouped, &owner, part("key"), POLICY_READ), 0);
	assert_int_equal(policy_wants(&grouped, &owner, part("key"), POLICY_STAT), 0);
	assert_int_equal(policy_wants(&grouped, &owner, part("refresh"), POLICY_WRITE), 0);
	assert_int_equal(policy_wants(&plain, &owner, part("api-key"), POLICY_WRITE),
		POLICY_WANTS_NAMESPACES);
	assert_int_equal(
		policy_wants(&plain, &owner, part("key"), POLICY_CHANGE), POLICY_WANTS_NAMESPACES);
	assert_int_equal(policy_wants(&plain, &other, part("key"), POLICY_READ), 0);
	assert_int_equal(
		policy_wants(&grouped, &other, part("key"), POLICY_READ), POLICY_WANTS_GROUPS);
}

static void test_modes(void **state)
{
	const struct policy both = { .owner_uid = OWNER,
		.owner_gid = OWNER,
		.has_group = true,
		.group = GROUP,
		.public_status = true };

	assert_int_equal(policy_mode(&plain, root()), S_IFDIR | 0500);
	assert_int_equal(policy_mode(&grouped, root()), S_IFDIR | 0550);
	assert_int_equal(policy_mode(&open_status, root()), S_IFDIR | 0555);
	assert_int_equal(policy_mode(&plain, part("key")), S_IFREG | 0400);
	assert_int_equal(policy_mode(&grouped, part("key")), S_IFREG | 0440);
	assert_int_equal(policy_mode(&both, part("key")), S_IFREG | 0440);
	assert_int_equal(policy_mode(&grouped, part("api-key")), S_IFREG | 0200);
	assert_int_equal(policy_mode(&grouped, part("refresh")), S_IFREG | 0220);
	assert_int_equal(policy_mode(&grouped, part("mode")), S_IFREG | 0640);
	assert_int_equal(policy_mode(&both, part("status")), S_IFREG | 0444);
	assert_int_equal(policy_mode(&both, node_find(NODE_IN_CONTROL, "audit")), S_IFREG | 0400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_owner_and_root),
		cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_public_status),
		cmocka_unit_test(test_containers),
		cmocka_unit_test(test_named_namespace_may_change),
		cmocka_unit_test(test_wants),
		cmocka_unit_test(test_modes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
