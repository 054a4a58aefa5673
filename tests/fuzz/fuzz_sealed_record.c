/*
 * A sealed record, the input four times: as the file, as damage to one, as the content of one, and as what
 * somebody sealed who has the key. For the last it is read in parts, all of which may be cut short:
 *	80 bytes     what differs from the header of a good record
 *	4 bytes      what differs from the length of all that follows
 *	2 bytes      blocks of padding more than needed, and bytes missing at the end of the file
 *	the content  the rest
 */
#include <endian.h>
#include <string.h>

#include "store/seal.h"
#include "store/vault_i.h" /* a vault that has a key and no disk, to open a record as the server does */

#include "fuzz_main.h"

#define HEADER 80
#define NONCE  56 /* where it begins; docs/FORMAT.md has the rest */
#define PARTS  (HEADER + 4 + 2)

#define PADDED_MAX (128 * 1024) /* of the plaintext with its padding */

static struct keyset keys = { .data_key = "piauth fuzz data key, no secret", .key_id = "fuzz-key" };
static struct keyslots slots = { .nkeys = 1, .keys = { &keys } };
static const struct vault vault = { .keys = &slots };
static const struct seal_header good = {
	.generation = 7, .key_id = "fuzz-key", .name = "abcdefghijklmnopqrstuvwxyz"
};

#define CLEAN_LEN (HEADER + SEAL_PAD + SEAL_TAG_LEN)
static uint8_t clean[CLEAN_LEN]; /* a file that opens, the same in every run */

static void make_head(uint8_t head[static HEADER])
{
	static const char bytes[] = "piauthR\1\0\0\0\0\0\0\0\7fuzz-keyabcdefghijklmnopqrstuvwxyz";

	memset(head, 0, HEADER);
	memcpy(head, bytes, sizeof(bytes) - 1);
}

static void fuzz_set_up(void)
{
	uint8_t padded[SEAL_PAD] = "{}groq\4";

	padded[SEAL_PAD - 1] = 7;
	make_head(clean);
	fuzz_check(xaes_encrypt(keys.data_key, clean + NONCE, clean, HEADER, padded, SEAL_PAD,
			   clean + HEADER, NULL) == 0);
}

static void check_corrupt(int r, const struct pa_err *err)
{
	fuzz_check(r == -EBADMSG && err->code == PA_STORE_CORRUPT && *err->detail);
}

static void check_same_header(const struct seal_header *a, const struct seal_header *b)
{
	fuzz_check(a->generation == b->generation && strcmp(a->name, b->name) == 0);
	fuzz_check(memcmp(a->key_id, b->key_id, sizeof(a->key_id)) == 0);
}

/* Content, profile and its length are one plaintext: docs/FORMAT.md. */
static void check_vault(const uint8_t *file, size_t len, const char *plain, size_t plain_len)
{
	const struct sealed s = { (uint8_t *)file, len };
	WIPE_AUTO char *content = NULL;
	char profile[PROFILE_MAX + 1] = "";
	struct seal_header header;
	struct pa_err err = { 0 };
	size_t content_len = 0;
	size_t profile_len = plain_len ? (uint8_t)plain[plain_len - 1] : 0;

	int r = vault_unseal_profile(&vault, &s, &content, &content_len, &header, profile, &err);
	if (memcmp(file + 16, good.key_id, 8) != 0 || !profile_len || profile_len >= plain_len) {
		check_corrupt(r, &err);
		fuzz_check(!content);
		return;
	}
	fuzz_check(r == 0 && content_len + profile_len + 1 == plain_len);
	fuzz_check(memcmp(content, plain, content_len) == 0 && content[content_len] == '\0');
	fuzz_check(memcmp(profile, plain + content_len, profile_len) == 0);
	fuzz_check(profile[profile_len] == '\0');
}

/* Any bytes as a file; whether they open, and as what. */
static bool open_file(const uint8_t *file, size_t len, char **ret, size_t *ret_len)
{
	struct seal_header peeked;
	struct seal_header opened;
	struct pa_err err = { 0 };
	int peek = seal_peek(file, len, &peeked, &err);

	if (peek < 0)
		check_corrupt(peek, &err);
	int r = seal_open(keys.data_key, file, len, &opened, ret, ret_len, &err);
	if (r < 0) {
		const struct sealed s = { (uint8_t *)file, len };
		struct pa_err again = { 0 };
		WIPE_AUTO char *content = NULL;
		size_t content_len;

		check_corrupt(r, &err);
		r = vault_unseal(&vault, &s, &content, &content_len, NULL, &again);
		check_corrupt(r, &again);
		return false;
	}
	fuzz_check(peek == 0 && (*ret)[*ret_len] == '\0');
	check_same_header(&peeked, &opened);
	check_vault(file, len, *ret, *ret_len);
	return true;
}

/* As a file of exactly len bytes, so that a sanitizer sees the first byte read beyond it. */
static bool open_copy(const uint8_t *file, size_t len, char **ret, size_t *ret_len)
{
	uint8_t *copy = malloc(len ? len : 1);

	fuzz_check(copy);
	memcpy(copy, file, len);
	bool opens = open_file(copy, len, ret, ret_len);
	free(copy);
	return opens;
}

static void check_as_content(const uint8_t *data, size_t size)
{
	WIPE_AUTO char *plain = NULL;
	WIPE_AUTO char *none = NULL;
	struct seal_header header;
	struct pa_err err = { 0 };
	uint8_t *file = NULL;
	size_t len;
	size_t plain_len;
	size_t at = 0;

	int r = seal_record(keys.data_key, &good, data, size, &file, &len, &err);
	if (size > SEAL_PLAIN_MAX) {
		fuzz_check(r < 0 && err.code == PA_TOO_BIG && !file);
		return;
	}
	fuzz_check(r == 0 && (len - HEADER - SEAL_TAG_LEN) % SEAL_PAD == 0);
	fuzz_check(seal_peek(file, len, &header, &err) == 0);
	check_same_header(&header, &good);
	fuzz_check(open_file(file, len, &plain, &plain_len) && plain_len == size);
	fuzz_check(memcmp(plain, data, size) == 0);
	/* One bit, anywhere: the input decides which. */
	for (size_t i = 0; i < size && i < 8; i++)
		at = at << 8 | data[i];
	file[at % len] ^= (uint8_t)(1 << at / len % 8);
	fuzz_check(!open_file(file, len, &none, &plain_len) && !none);
	free(file);
}

/* As docs/FORMAT.md has it: magic, version, name and six zeros; the rest may be anything. */
static bool head_is_good(const uint8_t head[static HEADER])
{
	static const uint8_t zero[6];
	char name[SEAL_NAME_LEN + 1] = "";

	memcpy(name, head + 24, SEAL_NAME_LEN);
	return memcmp(head, "piauthR\1", 8) == 0 && memcmp(head + 50, zero, sizeof(zero)) == 0 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz234567") == SEAL_NAME_LEN;
}

static void check_as_forged(const uint8_t *data, size_t size)
{
	uint8_t parts[PARTS] = { 0 };
	uint8_t head[HEADER];
	const uint8_t *content = size > PARTS ? data + PARTS : data + size;
	size_t content_len = size > PARTS ? size - PARTS : 0;
	WIPE_AUTO char *plain = NULL;
	struct pa_err err = { 0 };
	uint32_t length;
	size_t plain_len;

	memcpy(parts, data, size < PARTS ? size : PARTS);
	make_head(head);
	for (size_t i = 0; i < HEADER; i++)
		head[i] ^= parts[i];
	memcpy(&length, parts + HEADER, 4);
	length = be32toh(length) ^ (uint32_t)content_len;
	size_t blocks = (content_len + 4 + SEAL_PAD - 1) / SEAL_PAD + parts[PARTS - 2] % 40;
	size_t padded_len = blocks * SEAL_PAD;
	size_t len = HEADER + padded_len + SEAL_TAG_LEN;
	uint8_t *padded = calloc(1, padded_len);
	uint8_t *file = malloc(len);
	fuzz_check(padded && file);
	if (content_len)
		memcpy(padded, content, content_len);
	for (size_t i = 0; i < 4; i++)
		padded[padded_len - 1 - i] = (uint8_t)(length >> 8 * i);
	memcpy(file, head, HEADER);
	fuzz_check(xaes_encrypt(keys.data_key, head + NONCE, head, HEADER, padded, padded_len,
			   file + HEADER, &err) == 0);

	bool opens = parts[PARTS - 1] == 0 && length <= padded_len - 4 &&
		     padded_len <= PADDED_MAX && head_is_good(head);
	fuzz_check(open_copy(file, len - parts[PARTS - 1], &plain, &plain_len) == opens);
	fuzz_check(!opens || (plain_len == length && memcmp(plain, padded, plain_len) == 0));
	free(padded);
	free(file);
}

/* Damage: the first byte says where, what follows it changes the bytes there. */
static void check_as_damage(const uint8_t *data, size_t size)
{
	WIPE_AUTO char *plain = NULL;
	uint8_t file[CLEAN_LEN];
	size_t plain_len;
	size_t at = size ? data[0] * 17U % CLEAN_LEN : 0;

	memcpy(file, clean, CLEAN_LEN);
	for (size_t i = 1; i < size; i++)
		file[(at + i - 1) % CLEAN_LEN] ^= data[i];
	bool whole = memcmp(file, clean, CLEAN_LEN) == 0;
	fuzz_check(open_file(file, CLEAN_LEN, &plain, &plain_len) == whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WIPE_AUTO char *plain = NULL;
	size_t plain_len;

	open_copy(data, size, &plain, &plain_len);
	check_as_damage(data, size);
	check_as_content(data, size);
	check_as_forged(data, size);
	return 0;
}
