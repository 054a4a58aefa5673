/*
 * server - what one mount consists of: the broker behind it and the tables in front of it.
 *
 * It is the user data of the FUSE session. Everything in it belongs to the loop's thread.
 */
#ifndef PIAUTH_SERVER_H
#define PIAUTH_SERVER_H

#include <time.h>

#include "audit.h"
#include "caller.h"
#include "handle.h"
#include "page.h"
#include "parked.h"
#include "policy.h"
#include "store/broker.h"

struct server {
	struct broker *broker;                  /* borrowed */
	const struct provider_table *providers; /* borrowed */
	struct audit *audit;                    /* borrowed */
	struct policy policy;
	struct caller_self self;
	struct page *page; /* borrowed; NULL: none, and nothing outlives this process */
	struct handles handles;
	struct parked_list parked;
	size_t changes;       /* writes and removals that are not answered yet */
	size_t providers_len; /* of providers.json */
	struct {
		size_t len;
		size_t events_len; /* when it was made: every change is an event */
		time_t made;
	} overview; /* of the root's status: content.c */
	struct timespec started;
	pid_t pid; /* of the holder: what stands for the server to others */
};

#endif
