/*
 * import - the tools whose credential files piauth reads, one file of C per tool, in one table.
 *
 * A place is a path where a tool may keep a file, and the format it has there. A format reads a document
 * into entries of pi's auth.json format and, where the file can stay linked, writes one back. Everything
 * here runs in the process that has the owner's rights and no key (message.h); nothing is ever executed
 * or expanded from a file. Threads: one.
 */
#ifndef PIAUTH_IMPORT_IMPORT_H
#define PIAUTH_IMPORT_IMPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "../err.h"
#include "../json.h"

/* How a tool keeps others out of its file while it changes it (lock.h). */
enum import_lock {
	IMPORT_LOCK_NONE,   /* it does not */
	IMPORT_LOCK_PROPER, /* proper-lockfile: the directory FILE.lock */
	IMPORT_LOCK_CLAUDE, /* .oauth_refresh.lock and DIR.lock; .storage-write.lock around a write */
};

/* What a format found; strings are borrowed by the receiver for the call, entry is taken. */
struct import_entry {
	const char
		*name; /* names it inside its file for as long as it is there; at most 255 bytes */
	const char *provider; /* as the tool spells it */
	const char *profile;  /* the part after "@"; NULL: the default one */
	const char *lane;     /* "oauth" or "api_key" */
	cJSON *entry;         /* NULL where refused says why it cannot be imported */
	const char *refused;
};

/* Where entries go; a negative result ends the reading and is passed on. */
struct import_sink {
	int (*entry)(void *arg, struct import_entry *e, struct pa_err *err);
	void *arg;
};

struct import_format {
	/*
	 * Reads a file's document. root is NULL for formats with `text`, which get the bytes instead (one NUL
	 * follows them). A document of the wrong shape is FILE_UNUSABLE; a bad entry is a refused one.
	 */
	int (*read)(const cJSON *root, const char *text, size_t len, const struct import_sink *sink,
		struct pa_err *err);
	/*
	 * Changes the credential called name: entry is what it becomes (members that only the file knows stay),
	 * NULL removes it. NULL function: the file is never written.
	 */
	int (*write)(cJSON *root, const char *name, const cJSON *entry, struct pa_err *err);
	bool text;     /* not JSON */
	bool linkable; /* logins in it stay linked (message.h "linkable") */
	enum import_lock lock;
	/* What a name without a file becomes when it is written back; NULL: nothing, it has to be there. */
	const char *empty;
};

struct import_place {
	char *path; /* absolute; owned */
	const struct import_format *format;
};
struct import_places {
	struct import_place *v;
	size_t n;
};
/* Appends a printf'ed path. */
int import_place_add(struct import_places *p, const struct import_format *format,
	struct pa_err *err, const char *fmt, ...) PA_PRINTF(4, 5);
void import_places_done(struct import_places *p);

struct importer {
	const char *tool;  /* a stable word: in reports, and the "@profile" of a second family */
	const char *title; /* for people */
	/* Every place the tool may keep a file at, in order of precedence: of two entries for one provider
	 * and profile the first counts. home is absolute. The tool's own variables: import_env. */
	int (*places)(const char *home, struct import_places *ret, struct pa_err *err);
	/* Base names of its files and their formats, for --from; NULL name terminated. */
	const struct import_name {
		const char *name;
		const struct import_format *format;
	} * names;
	/* How to point the tool at piauth when its file holds no secret any more: one line, with MOUNT and
	 * PROVIDER in it; NULL: there is no way. */
	const char *hint;
};

/* In order: of two families of tokens at one provider, the first tool's gets the default profile. */
extern const struct importer *const importers[];        /* ends with NULL */
const struct importer *importer_find(const char *tool); /* NULL: no such tool */

/* The variables that places depend on, NULL terminated: what the process's environment consists of, HOME aside. */
extern const char *const import_env_names[];
/* The variables that a tool takes a credential from before it looks into its files, NULL terminated. */
const char *const *import_shadows(const char *tool);
/* A variable's value; NULL where unset or empty. */
const char *import_env(const char *name);
/* The directory a variable names: "~" and "~/x" expanded (as pi does), relative ones refused as NULL; else
 * home/fallback. malloc'ed. */
char *import_dir(const char *variable, const char *home, const char *fallback);

extern const struct importer import_pi, import_aihub, import_taskfactory, import_claude_code,
	import_codex, import_opencode, import_gemini_cli, import_copilot, import_gh,
	import_openclaw;

/* ---- what formats share: pi_entry.c ---- */

/*
 * One entry in pi's format or in one of its relatives' spellings (o_auth, bearer_token, ...) handed to the sink:
 * normalised, or refused with the reason. Keys that are commands or variables are refused.
 */
int import_pi_entry(const char *name, const char *provider, const char *profile, const cJSON *entry,
	const struct import_sink *sink, struct pa_err *err);
/* Why a key cannot be stored ("a command", "a variable", "empty", ...); NULL: it can. */
const char *import_key_refused(const char *key);
/* Hands an API key, or the reason why not, to the sink. */
int import_api_key(const char *name, const char *provider, const char *profile, const char *key,
	const struct import_sink *sink, struct pa_err *err);
/* Hands an entry that cannot be imported to the sink. reason: one line, no secret. */
int import_refuse(const char *name, const char *provider, const char *profile, const char *reason,
	const struct import_sink *sink, struct pa_err *err);
/*
 * Calls one for each member of object, in order. Provider ids have no letter case: of names that differ in
 * nothing else the lower-case one counts (else the first), the others are refused here.
 */
int import_each(const cJSON *object,
	int (*one)(const char *name, const cJSON *value, const struct import_sink *sink,
		struct pa_err *err),
	const struct import_sink *sink, struct pa_err *err);
/* Puts access, refresh and expires of entry into object under these names (NULL: it has no such member) and
 * keeps everything else that is there. What entry does not have stays as it is. */
int import_write_oauth(cJSON *object, const char *access, const char *refresh, const char *expires,
	const cJSON *entry, struct pa_err *err);
/*
 * Puts what entry says into old, an object of the same lane, in old's spelling: the tokens and times or the key,
 * and of the other members those that old has. Everything else of old stays, its type too.
 */
int import_pi_merge(cJSON *old, const cJSON *entry, struct pa_err *err);
/* The `write` of an object of entries in pi's format. A key that the file's readers would run or look up is
 * UNSUPPORTED, and so is any entry where one of another kind stands. */
int import_pi_write(cJSON *root, const char *name, const cJSON *entry, struct pa_err *err);

/* ---- pi's files as others have them: pi.c ---- */

extern const struct import_format import_pi_auth;   /* auth.json, under pi's lock */
extern const struct import_format import_pi_oauth;  /* oauth.json: "type" may be missing */
extern const struct import_format import_pi_source; /* auth.json that nobody writes any more */

/* ---- auth-profiles.json, {"profiles":{"provider:name":{...}}}: auth_profiles.c ---- */

int import_auth_profiles_read(const cJSON *root, const char *text, size_t len,
	const struct import_sink *sink, struct pa_err *err);
int import_auth_profiles_write(
	cJSON *root, const char *name, const cJSON *entry, struct pa_err *err);

/* ---- the look at everything: scan.c ---- */

/* One message (message.h) at a time to send; a negative result ends the scan. */
struct import_report {
	int (*send)(void *arg, const cJSON *message, struct pa_err *err);
	void *arg;
};
/* request: the "scan" object. home is absolute. Blocks on the files. */
int import_scan(
	const char *home, const cJSON *request, const struct import_report *to, struct pa_err *err);

#endif
