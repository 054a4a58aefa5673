#include "node.h"

#include <string.h>
#include <sys/stat.h>

#define DIR(m)  (S_IFDIR | (m))
#define FILE(m) (S_IFREG | (m))

/* Entries of a directory appear in this order in readdir. */
static const struct node nodes[] = {
	{ .id = NODE_ROOT, .is = NODE_IN_ROOT, .mode = DIR(0500) },
	{ "status", NODE_ROOT_STATUS, NODE_IN_ROOT, .mode = FILE(0444), .read = NODE_READ_TEXT,
		.text = NODE_TEXT_OVERVIEW },
	{ ".piauth", NODE_CONTROL, NODE_IN_ROOT, .is = NODE_IN_CONTROL, .mode = DIR(0500) },
	{ "version", NODE_VERSION, NODE_IN_CONTROL, .mode = FILE(0444), .read = NODE_READ_TEXT,
		.text = NODE_TEXT_VERSION },
	{ "events", NODE_EVENTS, NODE_IN_CONTROL, .mode = FILE(0444), .read = NODE_READ_LOG },
	{ "metrics", NODE_METRICS, NODE_IN_CONTROL, .mode = FILE(0444), .read = NODE_READ_TEXT,
		.text = NODE_TEXT_METRICS },
	{ "providers.json", NODE_PROVIDERS, NODE_IN_CONTROL, .mode = FILE(0444),
		.read = NODE_READ_TEXT, .text = NODE_TEXT_PROVIDERS },
	{ "audit", NODE_AUDIT, NODE_IN_CONTROL, .mode = FILE(0400), .read = NODE_READ_LOG,
		.flags = NODE_OWNER_ONLY },
	{ "migrate", NODE_MIGRATE, NODE_IN_CONTROL, .mode = FILE(0600), .read = NODE_READ_TEXT,
		.text = NODE_TEXT_MIGRATE, .write = NODE_WRITE_MIGRATE, .flags = NODE_OWNER_ONLY },
};

static const struct node parts[] = {
	{ .id = NODE_PROFILE, .is = NODE_IN_PROFILE, .mode = DIR(0700) },
	{ .id = NODE_LINK, .mode = S_IFLNK | 0777 },
	{ "key", NODE_KEY, NODE_IN_PROFILE, .mode = FILE(0400), .read = NODE_READ_VALUE,
		.what = BROKER_KEY, .lane = LANE_NONE, .flags = NODE_SECRET | NODE_FORGETS },
	{ "api-key", NODE_API_KEY, NODE_IN_PROFILE, .mode = FILE(0200), .write = NODE_WRITE_INPUT,
		.lane = LANE_API_KEY, .flags = NODE_SECRET | NODE_STORED | NODE_FORGETS },
	{ "oauth", NODE_OAUTH, NODE_IN_PROFILE, .mode = FILE(0200), .write = NODE_WRITE_INPUT,
		.lane = LANE_OAUTH, .flags = NODE_SECRET },
	{ "header", NODE_HEADER, NODE_IN_PROFILE, .mode = FILE(0400), .read = NODE_READ_VALUE,
		.what = BROKER_HEADER, .flags = NODE_SECRET },
	{ "env", NODE_ENV, NODE_IN_PROFILE, .mode = FILE(0400), .read = NODE_READ_VALUE,
		.what = BROKER_ENV, .flags = NODE_SECRET },
	{ "status", NODE_STATUS, NODE_IN_PROFILE, .mode = FILE(0444), .read = NODE_READ_TEXT,
		.text = NODE_TEXT_STATUS },
	{ "refresh", NODE_REFRESH, NODE_IN_PROFILE, .mode = FILE(0200), .write = NODE_WRITE_REFRESH,
		.flags = NODE_REPORTS },
	{ "mode", NODE_MODE, NODE_IN_PROFILE, .mode = FILE(0600), .read = NODE_READ_TEXT,
		.text = NODE_TEXT_MODE, .write = NODE_WRITE_MODE },
	{ "account", NODE_ACCOUNT, NODE_IN_PROFILE, .mode = FILE(0444), .read = NODE_READ_TEXT,
		.text = NODE_TEXT_ACCOUNT },
	{ "base-url", NODE_BASE_URL, NODE_IN_PROFILE, .mode = FILE(0644), .read = NODE_READ_TEXT,
		.text = NODE_TEXT_BASE_URL, .write = NODE_WRITE_BASE_URL },
	{ "expires", NODE_EXPIRES, NODE_IN_PROFILE, .mode = FILE(0444), .read = NODE_READ_TEXT,
		.text = NODE_TEXT_EXPIRES },
	{ "generation", NODE_GENERATION, NODE_IN_PROFILE, .mode = FILE(0444),
		.read = NODE_READ_TEXT, .text = NODE_TEXT_GENERATION },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

const struct node *const node_profile = &parts[0];
const struct node *const node_link = &parts[1];

uint64_t node_ino(const struct node *n, uint64_t profile_id)
{
	if (n >= nodes && n < nodes + COUNT(nodes))
		return n->id;
	return profile_id << NODE_BITS | n->id;
}

const struct node *node_of(uint64_t ino)
{
	const struct node *table = node_profile_id(ino) ? parts : nodes;
	size_t count = node_profile_id(ino) ? COUNT(parts) : COUNT(nodes);
	uint8_t id = ino & ((1 << NODE_BITS) - 1);

	for (size_t i = 0; i < count; i++)
		if (table[i].id == id)
			return &table[i];
	return NULL;
}

const struct node *node_at(enum node_dir dir, size_t i)
{
	const struct node *table = dir == NODE_IN_PROFILE ? parts : nodes;
	size_t count = dir == NODE_IN_PROFILE ? COUNT(parts) : COUNT(nodes);

	if (dir == NODE_IN_NONE)
		return NULL;
	for (size_t k = 0; k < count; k++)
		if (table[k].in == dir && i-- == 0)
			return &table[k];
	return NULL;
}

const struct node *node_find(enum node_dir dir, const char *name)
{
	const struct node *n;

	for (size_t i = 0; (n = node_at(dir, i)); i++)
		if (strcmp(n->name, name) == 0)
			return n;
	return NULL;
}
