/*
 * migrate_player - a process at other tools' files that is played: the n-th one that an import starts obeys
 * the n-th script. Those that watch linked files say nothing until their conversation ends. Every function
 * fails the test itself.
 */
#ifndef PIAUTH_TEST_MIGRATE_PLAYER_H
#define PIAUTH_TEST_MIGRATE_PLAYER_H

#include "tests/unit/broker_fixture.h"

/*
 * Messages as JSON text with a newline at the end, sent after the first request. "<\n" awaits the next
 * request, "hang\n" the end of the conversation; "die\n" ends the process.
 */
#define script(...) script_of((const char *const[]){ __VA_ARGS__, NULL })
void script_of(const char *const *lines);

#define END                 "{\"m\":\"end\"}\n"
#define DIE                 "die\n"
#define LOOKING(tool, path) "{\"m\":\"looking\",\"tool\":\"" tool "\",\"path\":\"" path "\"}\n"
#define FOUND(tool, path)   \
	LOOKING(tool, path) \
	"{\"m\":\"file\",\"tool\":\"" tool "\",\"path\":\"" path "\",\"state\":\"found\"}\n"
#define ENTRY(tool, path, name, provider, lane, entry)                                  \
	"{\"m\":\"entry\",\"tool\":\"" tool "\",\"path\":\"" path "\",\"name\":\"" name \
	"\",\"provider\":\"" provider "\",\"lane\":\"" lane "\",\"linkable\":true,"     \
	"\"entry\":" entry "}\n"
#define PART(tool, path, name, provider, part, lane, entry)                             \
	"{\"m\":\"entry\",\"tool\":\"" tool "\",\"path\":\"" path "\",\"name\":\"" name \
	"\",\"provider\":\"" provider "\",\"profile\":\"" part "\",\"lane\":\"" lane    \
	"\",\"linkable\":true,\"entry\":" entry "}\n"
#define REFUSED(tool, path, name, why)                                                  \
	"{\"m\":\"entry\",\"tool\":\"" tool "\",\"path\":\"" path "\",\"name\":\"" name \
	"\",\"provider\":\"rota\",\"refused\":\"" why "\"}\n"
#define LOGIN(n, expires)                                                                   \
	"{\"type\":\"oauth\",\"access\":\"" CANARY "-a" n "\",\"refresh\":\"" CANARY "-r" n \
	"\",\"expires\":" expires "}"
#define KEY(k) "{\"type\":\"api_key\",\"key\":\"" CANARY "-" k "\"}"
#define SOON   "1700003600000" /* WALL_0 + an hour */
#define LATER  "1700007200000"

/* For main: whether this process is a played one; *ret_code is then its exit code. */
bool player_is_it(int argc, char **argv, int *ret_code);
int player_setup(void **state); /* cmocka's; fixture_teardown ends it */

unsigned player_started(void); /* how many scripts have begun */
/* What the n-th process was asked; for cJSON_Delete. */
cJSON *player_asked(unsigned n, unsigned request);

int migrate(struct fixture *f, const char *command); /* r of its end */
cJSON *report(struct fixture *f);                    /* for cJSON_Delete */
void await_import(struct fixture *f);                /* until the start's import is over */
/* wanted NULL: there is no such member. */
void assert_report(struct fixture *f, const char *pointer, const char *wanted);
/* "profile decision" of the i-th entry, "-" where it has no profile; reason "": none. */
void assert_entry(struct fixture *f, unsigned i, const char *wanted, const char *reason);
void assert_link(struct fixture *f, const char *profile, unsigned i, const char *path,
	const char *link_state);
void assert_profile_key(struct fixture *f, const char *profile, const char *key);
uint64_t generation_of(struct fixture *f, const char *profile);

#endif
