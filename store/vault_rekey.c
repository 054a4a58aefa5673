/*
 * Rekey. Any point of it opens, and a second run finishes what the first began:
 *
 * 1. Look at every record: one that does not open would be lost with the old key.
 * 2. keyslots.json gets the new root beside the old one. From here both open.
 * 3. The journal's rows get the names that the records will have, before any record moves.
 * 4. Record by record: sealed under the new root and the new name, durable; then the old file goes.
 * 5. The key file is replaced, and the old root dropped.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "disk.h"
#include "vault_i.h"

typedef int record_fn(struct vault *v, const char *name, struct pa_err *err);

/* The names of all records. They are taken before any is renamed: readdir could show those twice. */
static int list_records(
	const struct vault *v, char (**ret)[SEAL_NAME_LEN + 1], size_t *ret_n, struct pa_err *err)
{
	char(*names)[SEAL_NAME_LEN + 1] = NULL;
	struct dirent *entry;
	size_t room = 0;
	size_t n = 0;
	DIR *dir;
	int e;
	int r = disk_list(v->records_fd, "records", &dir, err);

	if (r < 0)
		return r;
	while (errno = 0, (entry = readdir(dir))) {
		if (!keyslot_is_name(entry->d_name))
			continue;
		if (n == room) {
			void *more = reallocarray(names, room ? 2 * room : 64, sizeof(*names));

			if (!more)
				break;
			names = more;
			room = room ? 2 * room : 64;
		}
		memcpy(names[n++], entry->d_name, sizeof(*names));
	}
	e = errno;
	closedir(dir);
	if (e) {
		free(names);
		return disk_fail(err, e, "list", "records");
	}
	*ret = names;
	*ret_n = n;
	return 0;
}

static int each_record(struct vault *v, record_fn *fn, struct pa_err *err)
{
	char(*names)[SEAL_NAME_LEN + 1] = NULL;
	size_t n = 0;
	int r;

	r = list_records(v, &names, &n, err);
	for (size_t i = 0; i < n && !r; i++)
		r = fn(v, names[i], err);
	free(names);
	return r;
}

static int check_record(struct vault *v, const char *name, struct pa_err *err)
{
	WIPE_AUTO char *plain = NULL;
	struct sealed s;
	size_t len;
	int r;

	r = vault_read_record(v, name, &s, err);
	if (r < 0)
		return r;
	r = vault_unseal(v, &s, &plain, &len, NULL, err);
	sealed_free(&s);
	if (r == -EBADMSG)
		r = pa_fail(err, PA_STORE_CORRUPT, 0, "record %s does not open", name);
	return r;
}

static int move_record(struct vault *v, const char *name, struct pa_err *err)
{
	char profile[PROFILE_MAX + 1];
	char new_name[SEAL_NAME_LEN + 1];
	WIPE_AUTO char *plain = NULL;
	struct sealed again = { NULL, 0 };
	struct seal_header header;
	struct sealed s;
	size_t len;
	int r;

	r = vault_read_record(v, name, &s, err);
	if (r < 0)
		return r;
	r = vault_unseal_profile(v, &s, &plain, &len, &header, profile, err);
	sealed_free(&s);
	if (r < 0 || !memcmp(header.key_id, v->keys->keys[0]->key_id, sizeof(header.key_id)))
		return r;
	r = vault_name(v, profile, new_name, err);
	if (r < 0)
		return r;
	if (!vault_has_newer(v, new_name, header.generation)) {
		r = vault_seal(v, profile, header.generation, plain, len, &again, err);
		if (!r)
			r = disk_replace(v->records_fd, new_name, again.bytes, again.len, err);
		sealed_free(&again);
	}
	return r < 0 ? r : disk_remove(v->records_fd, name, err);
}

int vault_rekey(struct vault *v, struct pa_err *err)
{
	int r;

	r = each_record(v, check_record, err);
	if (!r)
		r = keyslots_rekey_begin(v->dir_fd, &v->source, v->keys, err);
	if (!r)
		r = journal_relabel(v, err);
	if (!r)
		r = journal_rewrite(v, err);
	if (!r)
		r = each_record(v, move_record, err);
	if (!r)
		r = keyslots_rekey_end(v->dir_fd, &v->source, v->keys, err);
	return r;
}
