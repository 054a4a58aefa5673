#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk.h"
#include "vault_i.h"

#define JOURNAL_FILE "journal"
#define JOURNAL_MAX  (64 * 1024 * 1024)

/*
 * A record name owns a slot of two rows, which are written by turns: a row that is torn by a crash leaves
 * the one before it. Slots are aligned to their size, so that no row crosses a sector, and they are
 * overwritten in place: fdatasync then has no metadata to write.
 */
struct journal_row {
	uint8_t magic[4];
	uint8_t kind;
	uint8_t zero[3];
	uint64_t sequence; /* of the two rows the higher one counts; big-endian, as all integers */
	uint64_t generation;
	uint64_t at_ms;
	uint8_t spent[32];
	char name[SEAL_NAME_LEN];
	uint8_t zero2[6];
	uint8_t mac[32]; /* HMAC-SHA256(journal key, all before) */
};
_Static_assert(sizeof(struct journal_row) == 128, "docs/FORMAT.md says 128");

static const uint8_t row_magic[4] = { 'P', 'J', 'R', '1' };
#define ROW_LEN   ((off_t)sizeof(struct journal_row))
#define SLOT_LEN  (2 * ROW_LEN)
#define CHUNK_LEN (64 * SLOT_LEN) /* by which the file grows: room for 64 logins, 16 KiB */

#define NO_INTENT SIZE_MAX

struct journal_slot {
	char name[SEAL_NAME_LEN + 1]; /* empty: free */
	uint64_t sequence;            /* the last one given out */
	size_t intent; /* index of its newest durable row in v->intents, or NO_INTENT */
};

static int row_format(const struct vault *v, const struct intent *i, uint64_t sequence,
	struct journal_row *ret, struct pa_err *err)
{
	struct journal_row row = { .kind = (uint8_t)i->kind };
	int r;

	memcpy(row.magic, row_magic, sizeof(row.magic));
	row.sequence = htobe64(sequence);
	row.generation = htobe64(i->generation);
	row.at_ms = htobe64((uint64_t)i->at_ms);
	memcpy(row.spent, i->spent, sizeof(row.spent));
	memcpy(row.name, i->name, sizeof(row.name));
	r = seal_hmac(v->keys->keys[0]->journal_key, SEAL_KEY_LEN, &row,
		offsetof(struct journal_row, mac), row.mac, err);
	if (!r)
		*ret = row;
	return r;
}

/* False for a row that is empty, torn, another store's or of a later version; < 0 for no HMAC. */
static int row_parse(const struct vault *v, const struct journal_row *row, struct intent *ret,
	uint64_t *ret_sequence, struct pa_err *err)
{
	struct intent i = { .generation = be64toh(row->generation) };
	uint8_t mac[32];
	int r;

	if (memcmp(row->magic, row_magic, sizeof(row_magic)))
		return false;
	r = seal_hmac(v->keys->keys[0]->journal_key, SEAL_KEY_LEN, row,
		offsetof(struct journal_row, mac), mac, err);
	if (r < 0)
		return r;
	if (CRYPTO_memcmp(mac, row->mac, sizeof(mac)))
		return false;
	memcpy(i.name, row->name, SEAL_NAME_LEN);
	if (!keyslot_is_name(i.name) || row->kind < INTENT_REFRESH || row->kind > INTENT_ANSWERED)
		return false;
	memcpy(i.spent, row->spent, sizeof(i.spent));
	i.at_ms = (int64_t)be64toh(row->at_ms);
	i.kind = (enum intent_kind)row->kind;
	*ret = i;
	*ret_sequence = be64toh(row->sequence);
	return true;
}

/* Room for one more slot and for an intent of every slot: what is done later cannot fail. */
static int make_room(struct vault *v)
{
	size_t room = v->slots_room ? 2 * v->slots_room : 64;
	struct journal_slot *slots;
	struct intent *intents;

	if (v->nslots < v->slots_room)
		return 0;
	slots = reallocarray(v->slots, room, sizeof(*slots));
	if (slots)
		v->slots = slots;
	intents = reallocarray(v->intents, room, sizeof(*intents));
	if (intents)
		v->intents = intents;
	if (!slots || !intents)
		return -ENOMEM;
	v->slots_room = room;
	return 0;
}

static void slot_set_intent(struct vault *v, struct journal_slot *slot, const struct intent *i)
{
	if (slot->intent == NO_INTENT)
		slot->intent = v->nintents++;
	v->intents[slot->intent] = *i;
}

static void slot_free(struct vault *v, struct journal_slot *slot)
{
	size_t hole = slot->intent;

	if (hole != NO_INTENT) {
		v->nintents--;
		for (size_t i = 0; i < v->nslots; i++)
			if (v->slots[i].intent == v->nintents)
				v->slots[i].intent = hole;
		v->intents[hole] = v->intents[v->nintents];
	}
	slot->intent = NO_INTENT;
	slot->name[0] = '\0';
}

/* Takes over one slot as it is on disk. Its sequence goes on, even if nobody owns it. */
static int slot_load(struct vault *v, const struct journal_row rows[2], struct pa_err *err)
{
	struct journal_slot slot = { .intent = NO_INTENT };
	struct intent newest;
	struct intent i;
	uint64_t sequence;
	int r;

	for (int k = 0; k < 2; k++) {
		r = row_parse(v, &rows[k], &i, &sequence, err);
		if (r < 0)
			return r;
		if (r && sequence >= slot.sequence) {
			slot.sequence = sequence;
			memcpy(slot.name, i.name, sizeof(slot.name));
			newest = i;
		}
	}
	/* With one root every row has its record's name; a row whose record is gone is free to reuse. */
	if (slot.name[0] && v->keys->nkeys == 1 &&
		faccessat(v->records_fd, slot.name, F_OK, AT_SYMLINK_NOFOLLOW) && errno == ENOENT)
		slot.name[0] = '\0';
	if (make_room(v))
		return pa_fail(err, PA_NO_MEMORY, 0, JOURNAL_FILE);
	if (slot.name[0])
		slot_set_intent(v, &slot, &newest);
	v->slots[v->nslots++] = slot;
	return 0;
}

static int open_file(struct vault *v, struct pa_err *err)
{
	const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

	v->journal_fd = openat(v->dir_fd, JOURNAL_FILE, flags);
	if (v->journal_fd < 0 && errno == ENOENT) {
		v->journal_fd = openat(v->dir_fd, JOURNAL_FILE, flags | O_CREAT | O_EXCL, 0600);
		if (v->journal_fd >= 0 && fsync(v->dir_fd))
			return disk_fail(err, errno, "fsync the directory of", JOURNAL_FILE);
	}
	if (v->journal_fd < 0 && errno == ELOOP)
		return pa_fail(err, PA_STORE_UNSAFE, 0, JOURNAL_FILE " is a symbolic link");
	if (v->journal_fd < 0)
		return disk_fail(err, errno, "open", JOURNAL_FILE);
	return disk_check(v->journal_fd, JOURNAL_FILE, DISK_STORE_FILE, &v->journal_size, err);
}

int journal_open(struct vault *v, struct pa_err *err)
{
	struct journal_row rows[128];
	off_t at = 0;
	ssize_t n;
	int r;

	r = open_file(v, err);
	if (r < 0)
		return r;
	if (v->journal_size > JOURNAL_MAX)
		return pa_fail(err, PA_STORE_CORRUPT, 0, JOURNAL_FILE " is too long");
	v->journal_size -= v->journal_size % SLOT_LEN; /* growing was cut short */
	while (at < v->journal_size) {
		n = pread(v->journal_fd, rows, sizeof(rows), at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < SLOT_LEN)
			return disk_fail(err, n < 0 ? errno : EIO, "read", JOURNAL_FILE);
		n -= n % SLOT_LEN;
		for (ssize_t k = 0; k < n / ROW_LEN && at < v->journal_size; k += 2) {
			r = slot_load(v, &rows[k], err);
			if (r < 0)
				return r;
			at += SLOT_LEN;
		}
	}
	return journal_relabel(v, err);
}

void journal_close(struct vault *v)
{
	disk_closep(&v->journal_fd);
	free(v->slots);
	free(v->intents);
	v->slots = NULL;
	v->intents = NULL;
}

static bool intent_is_newer(const struct intent *a, const struct intent *b)
{
	return a->generation != b->generation ? a->generation > b->generation : a->at_ms > b->at_ms;
}

/* The name under which the record called name is going to be; itself if it need not move. */
static int future_name(const struct vault *v, const char *name, char ret[static SEAL_NAME_LEN + 1],
	struct pa_err *err)
{
	char profile[PROFILE_MAX + 1];
	WIPE_AUTO char *plain = NULL;
	struct seal_header header;
	struct sealed s;
	size_t len;
	int r;

	memcpy(ret, name, SEAL_NAME_LEN + 1);
	if (vault_read_record(v, name, &s, NULL) < 0)
		return 0; /* not there, or not readable: vault_scan tells, this is not the place */
	r = vault_unseal_profile(v, &s, &plain, &len, &header, profile, NULL);
	sealed_free(&s);
	if (r < 0)
		return 0;
	return vault_name(v, profile, ret, err);
}

static struct journal_slot *slot_find(const struct vault *v, const char *name)
{
	for (size_t i = 0; i < v->nslots; i++)
		if (!strcmp(v->slots[i].name, name))
			return &v->slots[i];
	return NULL;
}

int journal_relabel(struct vault *v, struct pa_err *err)
{
	char name[SEAL_NAME_LEN + 1];
	struct journal_slot *other;
	int r;

	for (size_t i = 0; v->keys->nkeys > 1 && i < v->nslots; i++) {
		struct journal_slot *slot = &v->slots[i];

		if (slot->intent == NO_INTENT)
			continue;
		r = future_name(v, slot->name, name, err);
		if (r < 0)
			return r;
		other = slot_find(v, name);
		if (other && other != slot) {
			if (other->intent != NO_INTENT &&
				intent_is_newer(
					&v->intents[other->intent], &v->intents[slot->intent])) {
				slot_free(v, slot);
				continue;
			}
			slot_free(v, other);
		}
		memcpy(slot->name, name, sizeof(slot->name));
		memcpy(v->intents[slot->intent].name, name, sizeof(name));
	}
	return 0;
}

/* Writes one row, growing the file by zeros if need be. Not durable yet. */
static int row_write(struct vault *v, size_t slot, uint64_t sequence, const struct journal_row *row,
	struct pa_err *err)
{
	static const uint8_t zeros[CHUNK_LEN];
	const off_t at = (off_t)slot * SLOT_LEN;
	int r;

	/* Real zeros: blocks that are only reserved would cost metadata when they are first written. */
	while (at + SLOT_LEN > v->journal_size) {
		r = disk_write_at(v->journal_fd, zeros, sizeof(zeros), v->journal_size);
		if (r < 0)
			return disk_fail(err, -r, "extend", JOURNAL_FILE);
		v->journal_size += CHUNK_LEN;
	}
	r = disk_write_at(v->journal_fd, row, sizeof(*row), at + (sequence & 1 ? ROW_LEN : 0));
	return r < 0 ? disk_fail(err, -r, "write", JOURNAL_FILE) : 0;
}

static int journal_sync(const struct vault *v, struct pa_err *err)
{
	return fdatasync(v->journal_fd) ? disk_fail(err, errno, "fsync", JOURNAL_FILE) : 0;
}

int journal_rewrite(struct vault *v, struct pa_err *err)
{
	struct journal_row row;
	int r;

	for (size_t i = 0; i < v->nslots; i++) {
		struct journal_slot *slot = &v->slots[i];

		if (slot->intent == NO_INTENT)
			continue;
		r = row_format(v, &v->intents[slot->intent], ++slot->sequence, &row, err);
		if (!r)
			r = row_write(v, i, slot->sequence, &row, err);
		if (r < 0)
			return r;
	}
	return journal_sync(v, err);
}

int vault_intent(const struct vault *v, const char *profile, uint64_t generation, const void *token,
	size_t token_len, int64_t now_ms, enum intent_kind kind, struct intent *ret,
	struct pa_err *err)
{
	struct intent i = { .generation = generation, .at_ms = now_ms, .kind = kind };
	int r;

	r = vault_name(v, profile, i.name, err);
	if (!r)
		r = seal_hmac(v->keys->keys[0]->journal_key, SEAL_KEY_LEN, token, token_len,
			i.spent, err);
	if (!r)
		*ret = i;
	return r;
}

int vault_proof(const struct vault *v, const void *token, size_t token_len, char ret[static 17],
	struct pa_err *err)
{
	uint8_t mac[32];
	int r = seal_hmac(v->keys->keys[0]->journal_key, SEAL_KEY_LEN, token, token_len, mac, err);

	for (size_t i = 0; !r && i < 8; i++)
		snprintf(ret + 2 * i, 3, "%02x", mac[i]);
	return r;
}

static struct intent_job *intent_job_of(struct write_job *job)
{
	return (struct intent_job *)((char *)job - offsetof(struct intent_job, job));
}

static int intent_job_run(struct write_job *job, struct pa_err *err)
{
	struct intent_job *j = intent_job_of(job);
	struct journal_row row;
	int r;

	r = row_format(j->v, &j->intent, j->sequence, &row, err);
	if (!r)
		r = row_write(j->v, j->slot, j->sequence, &row, err);
	return r < 0 ? r : journal_sync(j->v, err);
}

static void intent_job_done(struct write_job *job, int r, const struct pa_err *err)
{
	struct intent_job *j = intent_job_of(job);

	if (!r)
		slot_set_intent(j->v, &j->v->slots[j->slot], &j->intent);
	j->done(j, r, err);
}

int intent_job_init(struct intent_job *j, struct vault *v, const struct intent *i)
{
	struct journal_slot *slot;

	if (!keyslot_is_name(i->name))
		return -EINVAL;
	slot = slot_find(v, i->name);
	if (!slot)
		slot = slot_find(v, ""); /* a free one */
	if (!slot) {
		if (make_room(v))
			return -ENOMEM;
		slot = &v->slots[v->nslots++];
		*slot = (struct journal_slot){ .intent = NO_INTENT };
	}
	memcpy(slot->name, i->name, sizeof(slot->name));

	j->job = (struct write_job){ .run = intent_job_run, .done = intent_job_done };
	j->v = v;
	j->intent = *i;
	j->slot = (size_t)(slot - v->slots);
	j->sequence = ++slot->sequence;
	return 0;
}

const struct intent *vault_intents(const struct vault *v, size_t *ret_count)
{
	*ret_count = v->nintents;
	return v->intents;
}
