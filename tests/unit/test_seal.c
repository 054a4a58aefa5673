/*
 * seal: published vectors, the worked example of docs/FORMAT.md, and every kind of damage.
 */
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/keyslot.h"
#include "store/seal.h"
#include "tests/lib/scratch.h"

#define XAES    TEST_SOURCE_DIR "/vectors/xaes.txt"
#define EXAMPLE TEST_SOURCE_DIR "/vectors/seal-v1.txt"
#define EXPORT  TEST_SOURCE_DIR "/vectors/seal-export-v1.txt"
#define FROZEN  TEST_SOURCE_DIR "/frozen/store-v1/store/"
#define FORMAT  TEST_SOURCE_DIR "/../docs/FORMAT.md"

static const uint8_t key[SEAL_KEY_LEN] = "0123456789abcdef0123456789abcdef";
static const struct seal_header header = {
	.generation = 0x0102030405060708,
	.key_id = { 1, 2, 3, 4, 5, 6, 7, 8 },
	.name = "abcdefghijklmnopqrstuvwxyz",
};

static void assert_corrupt(int r, const struct pa_err *err)
{
	assert_int_equal(r, -EBADMSG);
	assert_int_equal(err->code, PA_STORE_CORRUPT);
}

static void one_vector(const char *key_name, const char *aad, const char *sealed_name)
{
	size_t len;
	unsigned char *k = scratch_vector_hex(XAES, key_name, &len);
	unsigned char *nonce = scratch_vector_hex(XAES, "nonce", &len);
	char *plain = scratch_vector(XAES, "plaintext");
	const size_t plain_len = strlen(plain);
	unsigned char *sealed = scratch_vector_hex(XAES, sealed_name, &len);
	uint8_t out[64];
	struct pa_err err;

	assert_int_equal(len, plain_len + SEAL_TAG_LEN);
	assert_return_code(
		xaes_encrypt(k, nonce, aad, strlen(aad), plain, plain_len, out, &err), 0);
	assert_memory_equal(out, sealed, len);
	assert_return_code(xaes_decrypt(k, nonce, aad, strlen(aad), sealed, len, out, &err), 0);
	assert_memory_equal(out, plain, plain_len);

	sealed[0] ^= 1;
	assert_corrupt(xaes_decrypt(k, nonce, aad, strlen(aad), sealed, len, out, &err), &err);
	for (size_t i = 0; i < plain_len; i++)
		assert_int_equal(out[i], 0); /* what does not fit is not shown */
	assert_corrupt(xaes_decrypt(k, nonce, aad, strlen(aad), sealed, 15, out, &err), &err);
	free(k);
	free(nonce);
	free(plain);
	free(sealed);
}

static void xaes_vectors(void **state)
{
	char *aad = scratch_vector(XAES, "aad-2");

	one_vector("key-1", "", "sealed-1");
	one_vector("key-2", aad, "sealed-2");
	free(aad);
}

static void xaes_accumulated(void **state)
{
	const size_t rounds = 10000;
	const size_t most = rounds * (SEAL_KEY_LEN + SEAL_NONCE_LEN + 2 + 2 * 255);
	unsigned char *expect;
	uint8_t *stream = malloc(most);
	EVP_MD_CTX *in = EVP_MD_CTX_new();
	EVP_MD_CTX *out = EVP_MD_CTX_new();
	uint8_t digest[32];
	uint8_t sealed[255 + SEAL_TAG_LEN];
	uint8_t again[255];
	const uint8_t *p = stream;
	struct pa_err err;
	size_t len;

	assert_non_null(stream);
	assert_int_equal(EVP_DigestInit_ex(in, EVP_shake128(), NULL), 1);
	assert_int_equal(EVP_DigestFinalXOF(in, stream, most), 1);
	assert_int_equal(EVP_DigestInit_ex(out, EVP_shake128(), NULL), 1);
	for (size_t i = 0; i < rounds; i++) {
		const uint8_t *k = p;
		const uint8_t *nonce = k + SEAL_KEY_LEN;
		const size_t plain_len = nonce[SEAL_NONCE_LEN];
		const uint8_t *plain = nonce + SEAL_NONCE_LEN + 1;
		const size_t aad_len = plain[plain_len];
		const uint8_t *aad = plain + plain_len + 1;

		p = aad + aad_len;
		assert_return_code(
			xaes_encrypt(k, nonce, aad, aad_len, plain, plain_len, sealed, &err), 0);
		assert_return_code(xaes_decrypt(k, nonce, aad, aad_len, sealed,
					   plain_len + SEAL_TAG_LEN, again, &err),
			0);
		assert_memory_equal(again, plain, plain_len);
		assert_int_equal(EVP_DigestUpdate(out, sealed, plain_len + SEAL_TAG_LEN), 1);
	}
	assert_int_equal(EVP_DigestFinalXOF(out, digest, sizeof(digest)), 1);
	expect = scratch_vector_hex(XAES, "accumulated-10000", &len);
	assert_int_equal(len, sizeof(digest));
	assert_memory_equal(digest, expect, len);
	free(expect);
	free(stream);
	EVP_MD_CTX_free(in);
	EVP_MD_CTX_free(out);
}

/* RFC 4231 test case 2, RFC 5869 test case 1 (its first 32 bytes) and 3 (no salt, no info). */
static void hmac_and_hkdf(void **state)
{
	static const uint8_t hmac[32] = { 0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a,
		0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39,
		0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43 };
	static const uint8_t hkdf1[32] = { 0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a, 0x90,
		0x43, 0x4f, 0x64, 0xd0, 0x36, 0x2f, 0x2a, 0x2d, 0x2d, 0x0a, 0x90, 0xcf, 0x1a, 0x5a,
		0x4c, 0x5d, 0xb0, 0x2d, 0x56, 0xec, 0xc4, 0xc5, 0xbf };
	static const uint8_t hkdf3[32] = { 0x8d, 0xa4, 0xe7, 0x75, 0xa5, 0x63, 0xc1, 0x8f, 0x71,
		0x5f, 0x80, 0x2a, 0x06, 0x3c, 0x5a, 0x31, 0xb8, 0xa1, 0x1f, 0x5c, 0x5e, 0xe1, 0x87,
		0x9e, 0xc3, 0x45, 0x4e, 0x5f, 0x3c, 0x73, 0x8d, 0x2d };
	static const uint8_t salt[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
	const char info[] = "\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9";
	uint8_t ikm[22];
	uint8_t out[32];
	struct pa_err err;

	memset(ikm, 0x0b, sizeof(ikm));
	assert_return_code(seal_hmac("Jefe", 4, "what do ya want for nothing?", 28, out, &err), 0);
	assert_memory_equal(out, hmac, 32);
	assert_return_code(seal_derive(ikm, 22, salt, sizeof(salt), info, out, &err), 0);
	assert_memory_equal(out, hkdf1, 32);
	assert_return_code(seal_derive(ikm, 22, NULL, 0, "", out, &err), 0);
	assert_memory_equal(out, hkdf3, 32);
}

/* RFC 4648 section 10, in lower case and without padding. */
static void base32(void **state)
{
	char text[32];

	seal_base32((const uint8_t *)"foobar", 9, text);
	assert_string_equal(text, "mzxw6ytbo");
	seal_base32((const uint8_t *)"fooba", 8, text);
	assert_string_equal(text, "mzxw6ytb");
	seal_base32((const uint8_t *)"\xff\xff\xff\xff\xff", 8, text);
	assert_string_equal(text, "77777777");
	seal_base32((const uint8_t *)"", 0, text);
	assert_string_equal(text, "");
}

static void record_of_every_size(void **state)
{
	static const size_t sizes[] = { 0, 1, 4091, 4092, 4093, 8188, 8189, SEAL_PLAIN_MAX };
	char *plain = malloc(SEAL_PLAIN_MAX + 1);
	struct seal_header got;
	struct pa_err err;
	uint8_t *sealed;
	char *opened;
	size_t sealed_len;
	size_t len;

	memset(plain, 'x', SEAL_PLAIN_MAX + 1);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		const size_t n = sizes[i];

		assert_return_code(
			seal_record(key, &header, n ? plain : NULL, n, &sealed, &sealed_len, &err),
			0);
		assert_int_equal(sealed_len, 80 + (n + 4 + 4095) / 4096 * 4096 + SEAL_TAG_LEN);
		assert_return_code(seal_peek(sealed, sealed_len, &got, &err), 0);
		assert_true(got.generation == header.generation);
		assert_memory_equal(got.key_id, header.key_id, 8);
		assert_string_equal(got.name, header.name);
		memset(&got, 0, sizeof(got));
		assert_return_code(
			seal_open(key, sealed, sealed_len, &got, &opened, &len, &err), 0);
		assert_int_equal(len, n);
		assert_memory_equal(opened, plain, n);
		assert_int_equal(opened[n], 0);
		assert_string_equal(got.name, header.name);
		wipe_free(opened);
		free(sealed);
	}
	assert_int_equal(
		seal_record(key, &header, plain, SEAL_PLAIN_MAX + 1, &sealed, &sealed_len, &err),
		-EFBIG);
	assert_int_equal(err.code, PA_TOO_BIG);
	free(plain);
}

static void same_record_is_never_the_same(void **state)
{
	struct pa_err err;
	uint8_t *a;
	uint8_t *b;
	size_t len;

	assert_return_code(seal_record(key, &header, "same", 4, &a, &len, &err), 0);
	assert_return_code(seal_record(key, &header, "same", 4, &b, &len, &err), 0);
	assert_memory_not_equal(a + 56, b + 56, SEAL_NONCE_LEN);
	assert_memory_not_equal(a + 80, b + 80, 64);
	free(a);
	free(b);
}

static void every_damaged_byte_is_found(void **state)
{
	uint8_t wrong[SEAL_KEY_LEN];
	struct seal_header got;
	char *opened = NULL;
	struct pa_err err;
	uint8_t *sealed;
	size_t len;
	size_t n;

	assert_return_code(seal_record(key, &header, "secret", 6, &sealed, &len, &err), 0);
	for (size_t i = 0; i < len; i += i < 128 || i > len - 32 ? 1 : 31) {
		sealed[i] ^= 0x20;
		assert_corrupt(seal_open(key, sealed, len, &got, &opened, &n, &err), &err);
		sealed[i] ^= 0x20;
	}
	for (size_t cut = 0; cut < len; cut += cut < 100 ? 1 : 97)
		assert_corrupt(seal_open(key, sealed, cut, &got, &opened, &n, &err), &err);
	memcpy(wrong, key, sizeof(wrong));
	wrong[31] ^= 1;
	assert_corrupt(seal_open(wrong, sealed, len, &got, &opened, &n, &err), &err);
	assert_null(opened);
	free(sealed);
}

/* A record that was sealed like this, with the right key. */
static int open_crafted(size_t at, uint8_t byte, uint32_t length, struct pa_err *err)
{
	uint8_t head[80] = "piauthR\1";
	uint8_t padded[SEAL_PAD] = { 0 };
	uint8_t sealed[sizeof(head) + sizeof(padded) + SEAL_TAG_LEN];
	char *opened;
	size_t len;
	int r;

	memcpy(head + 24, header.name, SEAL_NAME_LEN);
	head[at] = byte;
	for (int i = 0; i < 4; i++)
		padded[SEAL_PAD - 1 - i] = (uint8_t)(length >> 8 * i);
	memcpy(sealed, head, sizeof(head));
	assert_return_code(xaes_encrypt(key, head + 56, head, sizeof(head), padded, sizeof(padded),
				   sealed + sizeof(head), err),
		0);
	r = seal_open(key, sealed, sizeof(sealed), NULL, &opened, &len, err);
	if (!r) {
		assert_int_equal(len, length);
		wipe_free(opened);
	}
	return r;
}

static void what_a_later_version_may_write_is_refused(void **state)
{
	struct pa_err err;

	assert_return_code(open_crafted(0, 'p', 4092, &err), 0);
	assert_corrupt(open_crafted(0, 'p', 4093, &err), &err);
	assert_corrupt(open_crafted(0, 'p', UINT32_MAX, &err), &err);
	assert_corrupt(open_crafted(0, 'P', 0, &err), &err);
	assert_corrupt(open_crafted(7, 2, 0, &err), &err);
	assert_string_equal(err.detail, "record version 2 is not known here");
	assert_corrupt(open_crafted(24, 'A', 0, &err), &err);
	assert_corrupt(open_crafted(24, '/', 0, &err), &err);
	assert_corrupt(open_crafted(50, 1, 0, &err), &err);
	assert_corrupt(open_crafted(55, 1, 0, &err), &err);
	assert_string_equal(err.detail, "reserved bytes are in use");
}

static void assert_hex(const char *name, const void *bytes, size_t len)
{
	size_t expect_len;
	unsigned char *expect = scratch_vector_hex(EXAMPLE, name, &expect_len);

	assert_int_equal(len, expect_len);
	assert_memory_equal(bytes, expect, len);
	free(expect);
}

/* Every number of the worked example follows from the key file and keyslots.json, and the doc shows it. */
static void worked_example(void **state)
{
	static const char *const shown[] = { "key-file", "key", "store", "kek", "aad", "wrapped",
		"root", "lasting", "data-key", "name-key", "journal-key", "key-id", "profile",
		"name", "generation", "content", "header", "ciphertext-begins", "tag",
		"file-sha256", "journal-row", "token" };
	char *store = scratch_vector(EXAMPLE, "store");
	char *aad = scratch_vector(EXAMPLE, "aad");
	char *profile = scratch_vector(EXAMPLE, "profile");
	char *name = scratch_vector(EXAMPLE, "name");
	char *content = scratch_vector(EXAMPLE, "content");
	char *token = scratch_vector(EXAMPLE, "token");
	char *doc = scratch_read(FORMAT, NULL);
	unsigned char *k;
	unsigned char *wrapped;
	unsigned char *row;
	uint8_t kek[32];
	uint8_t material[64];
	uint8_t data_key[32];
	uint8_t name_key[32];
	uint8_t journal_key[32];
	uint8_t mac[32];
	char text[SEAL_NAME_LEN + 1];
	char path[256];
	struct seal_header got;
	struct pa_err err;
	char *file;
	char *plain;
	size_t len;
	size_t n;

	k = scratch_vector_hex(EXAMPLE, "key", &n);
	assert_return_code(
		seal_derive(k, n, store, strlen(store), "piauth wrap key-file 1", kek, &err), 0);
	assert_hex("kek", kek, 32);
	wrapped = scratch_vector_hex(EXAMPLE, "wrapped", &n);
	assert_return_code(
		xaes_decrypt(kek, wrapped, aad, strlen(aad), wrapped + 24, n - 24, material, &err),
		0);
	assert_hex("root", material, 32);
	assert_hex("lasting", material + 32, 32);
	assert_return_code(seal_derive(material, 32, store, strlen(store), "piauth data key 1",
				   data_key, &err),
		0);
	assert_hex("data-key", data_key, 32);
	assert_return_code(seal_derive(material, 32, store, strlen(store), "piauth name key 1",
				   name_key, &err),
		0);
	assert_hex("name-key", name_key, 32);
	assert_return_code(seal_derive(material + 32, 32, store, strlen(store),
				   "piauth journal key 1", journal_key, &err),
		0);
	assert_hex("journal-key", journal_key, 32);
	assert_return_code(seal_hmac(data_key, 32, "piauth key id 1", 15, mac, &err), 0);
	assert_hex("key-id", mac, 8);
	assert_return_code(seal_hmac(name_key, 32, profile, strlen(profile), mac, &err), 0);
	seal_base32(mac, SEAL_NAME_LEN, text);
	assert_string_equal(text, name);

	snprintf(path, sizeof(path), FROZEN "records/%s", name);
	file = scratch_read(path, &len);
	assert_hex("header", file, 80);
	assert_hex("ciphertext-begins", file + 80, 32);
	assert_hex("tag", file + len - 16, 16);
	assert_int_equal(EVP_Digest(file, len, mac, NULL, EVP_sha256(), NULL), 1);
	assert_hex("file-sha256", mac, 32);
	assert_return_code(seal_open(data_key, (uint8_t *)file, len, &got, &plain, &n, &err), 0);
	assert_int_equal(got.generation, 1);
	assert_string_equal(got.name, name);
	assert_int_equal(n, strlen(content) + strlen(profile) + 1);
	assert_memory_equal(plain, content, strlen(content));
	assert_memory_equal(plain + strlen(content), profile, strlen(profile));
	assert_int_equal(plain[n - 1], strlen(profile));

	row = scratch_vector_hex(EXAMPLE, "journal-row", &n);
	assert_int_equal(n, 128);
	assert_return_code(seal_hmac(journal_key, 32, row, 96, mac, &err), 0);
	assert_memory_equal(mac, row + 96, 32);
	assert_return_code(seal_hmac(journal_key, 32, token, strlen(token), mac, &err), 0);
	assert_memory_equal(mac, row + 32, 32);

	for (size_t i = 0; i < sizeof(shown) / sizeof(*shown); i++) {
		char *value = scratch_vector(EXAMPLE, shown[i]);
		char line[600];

		snprintf(line, sizeof(line), "\n%s: %s\n", shown[i], value);
		if (!strstr(doc, line))
			fail_msg("docs/FORMAT.md does not show %s: %s", shown[i], value);
		free(value);
	}
	wipe_free(plain);
	free(file);
	free(k);
	free(wrapped);
	free(row);
	free(store);
	free(aad);
	free(profile);
	free(name);
	free(content);
	free(token);
	free(doc);
}

static void export_vector(void **state)
{
	char *pass = scratch_vector(EXPORT, "passphrase");
	char *content = scratch_vector(EXPORT, "content");
	size_t len;
	unsigned char *sealed = scratch_vector_hex(EXPORT, "sealed", &len);
	struct pa_err err;
	char *plain;
	size_t n;

	assert_return_code(
		keyslot_open_export(pass, strlen(pass), sealed, len, &plain, &n, &err), 0);
	assert_int_equal(n, strlen(content));
	assert_string_equal(plain, content);
	wipe_free(plain);
	free(pass);
	free(content);
	free(sealed);
}

static void random_bytes_differ(void **state)
{
	uint8_t a[32] = { 0 };
	uint8_t b[32] = { 0 };
	struct pa_err err;

	assert_return_code(seal_random(a, sizeof(a), &err), 0);
	assert_return_code(seal_random(b, sizeof(b), &err), 0);
	assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(xaes_vectors),
		cmocka_unit_test(xaes_accumulated),
		cmocka_unit_test(hmac_and_hkdf),
		cmocka_unit_test(base32),
		cmocka_unit_test(record_of_every_size),
		cmocka_unit_test(same_record_is_never_the_same),
		cmocka_unit_test(every_damaged_byte_is_found),
		cmocka_unit_test(what_a_later_version_may_write_is_refused),
		cmocka_unit_test(worked_example),
		cmocka_unit_test(export_vector),
		cmocka_unit_test(random_bytes_differ),
	};

	return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}
