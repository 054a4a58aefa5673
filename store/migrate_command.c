/* The commands of .piauth/migrate: from text to a run that has not begun. */
#include <stdio.h>
#include <stdlib.h>

#include "migrate_i.h"

/* The next word of text, which is changed; NULL at its end. */
static char *next_word(char **text)
{
	char *word = *text + strspn(*text, " \t");
	size_t len = strcspn(word, " \t");

	if (!len)
		return NULL;
	*text = word + len;
	if (**text)
		*(*text)++ = '\0';
	return word;
}

static int parse_from(struct run *run, char *rest, struct pa_err *err)
{
	rest += strspn(rest, " \t");
	if (*rest != '/')
		return pa_fail(err, PA_BAD_INPUT, 0, "from: an absolute path is expected");
	run->from = strdup(rest);
	return run->from ? 0 : pa_fail(err, PA_NO_MEMORY, 0, "from");
}

static int parse_names(struct run *run, char *rest, struct pa_err *err)
{
	char *word;

	while ((word = next_word(&rest))) {
		struct profile *p = NULL;
		cJSON *name;

		if (!strcmp(word, "backup") && run->verb == MIGRATE_TAKE_OVER &&
			!run->names->child && !run->backup) {
			run->backup = true;
			continue;
		}
		if (broker_resolve(run->m->b, word, &p) == BROKER_NAME_NONE)
			return pa_fail(err, PA_NO_PROVIDER, 0, "%s", word);
		name = cJSON_CreateString(profile_name(p));
		/* Resolving may have made it. */
		profile_hold(p, 1);
		profile_drop(p, 1);
		if (!name || !cJSON_AddItemToArray(run->names, name)) {
			cJSON_Delete(name);
			return pa_fail(err, PA_NO_MEMORY, 0, "names");
		}
	}
	return 0;
}

static int parse_end(char *rest, struct pa_err *err)
{
	return next_word(&rest) ? pa_fail(err, PA_BAD_INPUT, 0, "too many words") : 0;
}

static int parse_words(struct run *run, char *text, struct pa_err *err)
{
	const char *verb = next_word(&text), *word = NULL;

	if (verb && !strcmp(verb, "dry-run")) {
		run->dry = true;
		verb = "now";
		if (*(text + strspn(text, " \t")))
			verb = (word = next_word(&text));
		if (word && strcmp(word, "from") != 0)
			return pa_fail(err, PA_BAD_INPUT, 0, "dry-run, or dry-run from PATH");
	}
	if (verb && !strcmp(verb, "now"))
		return parse_end(text, err);
	if (verb && !strcmp(verb, "from"))
		return parse_from(run, text, err);
	if (verb && !strcmp(verb, "skip")) {
		run->verb = MIGRATE_SKIP;
		return parse_end(text, err);
	}
	if (verb && !strcmp(verb, "take-over")) {
		run->verb = MIGRATE_TAKE_OVER;
		return parse_names(run, text, err);
	}
	if (verb && !strcmp(verb, "give-back")) {
		run->verb = MIGRATE_GIVE_BACK;
		return parse_names(run, text, err);
	}
	return pa_fail(err, PA_BAD_INPUT, 0,
		"now, dry-run, from PATH, skip, take-over or give-back is expected");
}

/* The command as the report repeats it: what it is about, without the names. */
static int note_command(struct run *run, struct pa_err *err)
{
	static const char *const names[] = {
		[MIGRATE_NOW] = "now",
		[MIGRATE_SKIP] = "skip",
		[MIGRATE_TAKE_OVER] = "take-over",
		[MIGRATE_GIVE_BACK] = "give-back",
	};

	if (asprintf(&run->command, "%s%s", run->from ? "from " : names[run->verb],
		    run->from ? run->from : "") >= 0)
		return 0;
	run->command = NULL;
	return pa_fail(err, PA_NO_MEMORY, 0, "command");
}

int run_new(struct migrate *m, const char *text, size_t len, struct run **ret, struct pa_err *err)
{
	struct run *run;
	char *words;
	int rc;

	while (len && strchr("\r\n \t", text[len - 1]))
		len--;
	if (len == 0 || len > COMMAND_MAX)
		return pa_fail(err, len ? PA_TOO_BIG : PA_BAD_INPUT, 0, "a command is expected");
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < 0x20 && text[i] != '\t')
			return pa_fail(err, PA_BAD_INPUT, 0, "one line is expected");
	}
	words = strndup(text, len);
	run = calloc(1, sizeof(*run));
	if (run) {
		run->m = m;
		run->names = cJSON_CreateArray();
	}
	rc = words && run && run->names ? parse_words(run, words, err)
					: pa_fail(err, PA_NO_MEMORY, 0, "command");
	free(words);
	if (rc == 0)
		rc = note_command(run, err);
	if (rc == 0 && run->verb != MIGRATE_SKIP && !m->b->legacy)
		rc = pa_fail(
			err, PA_UNSUPPORTED, 0, "the files of other tools are left alone here");
	if (rc < 0) {
		if (run)
			run_free(run);
		return rc;
	}
	*ret = run;
	return 0;
}
