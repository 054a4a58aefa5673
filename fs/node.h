/*
 * node - the one table of files: name, number, mode, and what reading and writing each means.
 *
 * A node id is the kernel's number and st_ino at once. Below 256 it is a fixed place; above, it is
 * (profile id << 8) | node. The numbers are ABI: container runtimes and open descriptors remember them
 * across restarts and upgrades. Never renumber, never re-use. Threads: constant data, any.
 */
#ifndef PIAUTH_NODE_H
#define PIAUTH_NODE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/broker.h"

#define NODE_BITS 8

/* Places that exist once. The gaps are kept for files of later versions. */
enum node_fixed {
	NODE_ROOT = 1, /* FUSE_ROOT_ID */
	NODE_ROOT_STATUS = 2,
	NODE_CONTROL = 16,
	NODE_VERSION = 17,
	NODE_EVENTS = 18,
	NODE_METRICS = 19,
	NODE_PROVIDERS = 20,
	NODE_AUDIT = 21,
	NODE_MIGRATE = 22,
};

/* Places of every profile. 8 (login), 10 (check), 14 (models) belong to later versions. */
enum node_part {
	NODE_PROFILE = 0,
	NODE_LINK = 1, /* a name that is another spelling of the profile's */
	NODE_KEY = 2,
	NODE_API_KEY = 3,
	NODE_OAUTH = 4,
	NODE_HEADER = 5,
	NODE_ENV = 6,
	NODE_STATUS = 7,
	NODE_REFRESH = 9,
	NODE_MODE = 11,
	NODE_ACCOUNT = 12,
	NODE_BASE_URL = 13,
	NODE_EXPIRES = 15,
	NODE_GENERATION = 16,
};

enum node_dir { NODE_IN_NONE, NODE_IN_ROOT, NODE_IN_CONTROL, NODE_IN_PROFILE };

enum node_read {
	NODE_READ_NONE,
	NODE_READ_VALUE, /* the credential: may wait; snapshots by generation */
	NODE_READ_TEXT,  /* small text, made at open */
	NODE_READ_LOG,   /* append log, read where it lies */
};

enum node_text {
	NODE_TEXT_NONE,
	NODE_TEXT_STATUS,
	NODE_TEXT_MODE,
	NODE_TEXT_ACCOUNT,
	NODE_TEXT_BASE_URL,
	NODE_TEXT_EXPIRES,
	NODE_TEXT_GENERATION,
	NODE_TEXT_OVERVIEW,
	NODE_TEXT_VERSION,
	NODE_TEXT_METRICS,
	NODE_TEXT_PROVIDERS,
	NODE_TEXT_MIGRATE,
};

enum node_write {
	NODE_WRITE_NONE,
	NODE_WRITE_INPUT,   /* one open stores one credential in `lane` */
	NODE_WRITE_REFRESH, /* one command per write(2), here and below */
	NODE_WRITE_MODE,
	NODE_WRITE_BASE_URL,
	NODE_WRITE_MIGRATE, /* may take seconds: parked */
};

enum node_flag {
	NODE_SECRET = 1 << 0, /* opens are audited */
	NODE_STORED = 1 << 1, /* there only while a static key is stored; can be created */
	NODE_FORGETS =
		1 << 2, /* unlink forgets `lane`; not `oauth`: install(1) and mv(1) unlink first */
	NODE_REPORTS =
		1 << 3, /* writing it changes nothing that is stored: group and containers may */
	NODE_OWNER_ONLY = 1 << 4, /* the group does not read it */
};

struct node {
	const char *name; /* NULL: a directory without a fixed name */
	uint8_t id;       /* enum node_fixed or enum node_part */
	enum node_dir in;
	enum node_dir is; /* what directory it is; NODE_IN_NONE: a file or link */
	mode_t mode;      /* type and the owner's permissions (0444: public facts) */
	enum node_read read;
	enum broker_what what;
	enum node_text text;
	enum node_write write;
	enum lane lane;
	unsigned flags;
};

static inline uint64_t node_profile_id(uint64_t ino)
{
	return ino >> NODE_BITS;
}

/* profile_id is ignored for fixed places. */
uint64_t node_ino(const struct node *n, uint64_t profile_id);
const struct node *node_of(uint64_t ino); /* NULL: no place has this number */
const struct node *node_find(enum node_dir dir, const char *name); /* NULL: no such fixed name */
/* The i-th entry of a directory; NULL behind the last. */
const struct node *node_at(enum node_dir dir, size_t i);
extern const struct node *const node_profile;
extern const struct node *const node_link;

#endif
