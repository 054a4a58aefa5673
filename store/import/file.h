/*
 * file - other people's files: read without harm, replaced whole.
 *
 * Symbolic links are followed with the owner's rights; what is not a regular file, lies on a mount of
 * piauth itself, or is longer than FILE_MAX is not opened at all (a FIFO or device is never touched).
 * Blocks as long as the disk does. Threads: one.
 */
#ifndef PIAUTH_IMPORT_FILE_H
#define PIAUTH_IMPORT_FILE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "../err.h"
#include "../json.h"

#define FILE_MAX       (4 * 1024 * 1024) /* bytes */
#define FILE_NO_OFFSET ((size_t)-1)
#define FILE_SETTLE_MS 200 /* a tool that truncates and then writes its file takes less */

enum file_state { FILE_FOUND, FILE_ABSENT, FILE_UNREADABLE, FILE_CORRUPT };
const char *file_state_name(enum file_state s);

struct file {
	enum file_state state;
	char *text; /* wiping memory, one NUL follows; NULL unless read */
	size_t len;
	cJSON *root;      /* parsed, unless it was read as text */
	bool compact;     /* JSON on one line */
	bool bom;         /* it starts with a byte order mark */
	size_t offset;    /* where it is corrupt; FILE_NO_OFFSET: all of it */
	char reason[160]; /* why not FOUND; one line, no secret */
	struct stat st;   /* all zero where it could not be looked at */
};
/* Never fails: the state says what happened. as_text: bytes only, no JSON. An empty file is CORRUPT ("empty"). */
void file_read(const char *path, bool as_text, struct file *ret);
/* The same, for who holds no lock: a file that is corrupt and was changed just now gets FILE_SETTLE_MS, and is
 * read again as soon as its writer has closed it. */
void file_read_settled(const char *path, bool as_text, struct file *ret);
void file_done(struct file *f);

/*
 * Replaces the content with root, formatted as f was (two spaces, or compact; a final newline if it had one).
 * A plain file with one link that is no mount point: temp file in its directory, same mode and owner, fsync,
 * rename, fsync of the directory. Behind a symbolic link, with several links, bind-mounted, or where its
 * directory or owner do not allow that: in place with one write, fsync. f: as it was read, under the lock;
 * FILE_ABSENT makes it, 0600. -ESTALE (FILE_UNUSABLE): it is not as it was read any more, nothing was done.
 * On other failures it is as it was, or whole and new; only a crash of the system while it is written in place
 * can tear it.
 */
int file_replace(const char *path, const struct file *f, const cJSON *root, struct pa_err *err);
/* Copies it to PATH.piauth-backup, 0600; refuses to overwrite one (-EEXIST). */
int file_backup(const char *path, const struct file *f, struct pa_err *err);

#endif
