/* probe_kill - what its two files share: probe_kill.c ends workers, probe_kill_clients.c are the clients. */
#ifndef PROBE_KILL_H
#define PROBE_KILL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TEXT_MAX    4096
#define TOKEN_MAX   512
#define GENERATIONS 4096
#define CLIENTS_MAX 64
#define FILES_MAX   4
#define SAMPLES_MAX 4000000

enum role { READ, KEEP, WRITE, CHANGE, WALK, ROLES };
extern const char *const role_names[ROLES];

enum phase { QUIET, KILLING, PHASES };

enum kind { FIXED, TOKEN, WRITTEN };

struct file {
	const char *path;
	enum kind kind;
	size_t len;
	char text[TEXT_MAX]; /* at the start */
	uint64_t newest;     /* number that this client has seen */
};

struct client {
	enum role role;
	int number;
	pid_t pid;
	size_t nfiles;
	struct file files[FILES_MAX];
	_Atomic uint32_t epoch; /* the last one in which it has done something from start to end */
	_Atomic int64_t began_ns; /* the operation under way */
	_Atomic uint32_t complaints;
	_Atomic uint64_t done;   /* operations */
	_Atomic uint64_t failed; /* of them */
	_Atomic uint64_t
		excepted; /* a token could not be had: only where an answer died with a worker */
	_Atomic uint64_t torn;  /* neither the old value nor the new one */
	_Atomic uint64_t lost;  /* acknowledged, and gone */
	_Atomic uint64_t stale; /* ESTALE, where that is an answer */
	char value[TEXT_MAX];   /* the last one acknowledged; of a writer */
};

struct token {
	_Atomic uint32_t state; /* 0 unknown, 1 being filled, 2 known */
	char text[TOKEN_MAX];
};

struct shared {
	_Atomic bool stop;
	_Atomic uint32_t phase, epoch;
	_Atomic size_t count[PHASES];
	struct token tokens[GENERATIONS];
	struct client clients[CLIENTS_MAX];
	uint32_t us[PHASES][SAMPLES_MAX];
};

extern struct shared *shared;
extern const char *value_prefix; /* of what the writers store */
extern int got_on;               /* eventfd: clients that did something in this epoch */

void die(const char *what);
int64_t now_ns(void);
__attribute__((format(printf, 2, 3))) void complain(struct client *c, const char *fmt, ...);

/* Before the first of them runs: a writer's first value is there; what the files hold at the start is known. */
void client_prepare(struct client *c);
void client_look(struct client *c);
/* Until shared->stop; does not return. */
void client_run(struct client *c);

#endif
