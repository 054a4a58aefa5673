#include "seal.h"

#include <endian.h>
#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK     16 /* AES */
#define GCM_NONCE 12

/*
 * Fetching an algorithm costs more than opening a record with it, so it is done once. The three are
 * never freed: they live as long as the program, and OpenSSL counts references atomically.
 */
static CRYPTO_ONCE seal_once = CRYPTO_ONCE_STATIC_INIT;
static EVP_CIPHER *seal_ecb;
static EVP_CIPHER *seal_gcm;
static EVP_MAC_CTX *seal_mac; /* HMAC-SHA256 without a key, to be duplicated */

static void seal_fetch(void)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);

	seal_ecb = EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL);
	seal_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	if (mac)
		seal_mac = EVP_MAC_CTX_new(mac);
	if (seal_mac && !EVP_MAC_CTX_set_params(seal_mac, params)) {
		EVP_MAC_CTX_free(seal_mac);
		seal_mac = NULL;
	}
	EVP_MAC_free(mac);
}

/* OpenSSL's error queue belongs to the thread, and curl reads it too: leave nothing in it. */
static int seal_broken(struct pa_err *err, const char *what)
{
	ERR_clear_error();
	return pa_fail(err, PA_SYSTEM, 0, "OpenSSL: %s failed", what);
}

static int seal_ready(struct pa_err *err)
{
	if (!CRYPTO_THREAD_run_once(&seal_once, seal_fetch) || !seal_ecb || !seal_gcm || !seal_mac)
		return seal_broken(err, "fetching AES-256 and HMAC");
	return 0;
}

/*
 * The key of one message: both halves of AES-256-CMAC(key, ...) over a counter, a label and the first
 * half of the nonce, as SP 800-108r1 has it; written out because each input is exactly one block.
 */
static int xaes_key(EVP_CIPHER_CTX *ctx, const uint8_t key[static SEAL_KEY_LEN],
	const uint8_t nonce[static SEAL_NONCE_LEN], uint8_t ret[static SEAL_KEY_LEN])
{
	uint8_t zero[BLOCK] = { 0 };
	uint8_t k1[BLOCK];
	uint8_t m[2 * BLOCK] = { 0, 1, 'X', 0 };
	uint8_t msb = 0;
	bool ok;
	int n;

	ok = EVP_EncryptInit_ex2(ctx, seal_ecb, key, NULL, NULL) &&
	     EVP_CIPHER_CTX_set_padding(ctx, 0) && EVP_EncryptUpdate(ctx, k1, &n, zero, BLOCK);
	if (ok) {
		for (int i = BLOCK - 1; i >= 0; i--) {
			uint8_t b = k1[i];

			k1[i] = (uint8_t)(b << 1 | msb);
			msb = b >> 7;
		}
		k1[BLOCK - 1] ^= (uint8_t)(0x87 & -msb);

		memcpy(m + 4, nonce, GCM_NONCE);
		memcpy(m + BLOCK, m, BLOCK);
		m[BLOCK + 1] = 2;
		for (size_t i = 0; i < sizeof(m); i++)
			m[i] ^= k1[i % BLOCK];
		ok = EVP_EncryptUpdate(ctx, ret, &n, m, sizeof(m));
	}
	secret_wipe(k1, sizeof(k1));
	secret_wipe(m, sizeof(m));
	return ok;
}

int xaes_encrypt(const uint8_t key[static SEAL_KEY_LEN], const uint8_t nonce[static SEAL_NONCE_LEN],
	const void *aad, size_t aad_len, const void *plain, size_t len, uint8_t *out,
	struct pa_err *err)
{
	uint8_t kx[SEAL_KEY_LEN];
	EVP_CIPHER_CTX *ctx;
	bool ok;
	int n;
	int r;

	r = seal_ready(err);
	if (r < 0)
		return r;
	if (len > INT_MAX - SEAL_TAG_LEN || aad_len > INT_MAX)
		return pa_fail(err, PA_TOO_BIG, 0, "%zu bytes to seal", len);
	ctx = EVP_CIPHER_CTX_new();
	if (!ctx)
		return pa_fail(err, PA_NO_MEMORY, 0, "cipher");

	ok = xaes_key(ctx, key, nonce, kx) &&
	     EVP_EncryptInit_ex2(ctx, seal_gcm, kx, nonce + GCM_NONCE, NULL) &&
	     (!aad_len || EVP_EncryptUpdate(ctx, NULL, &n, aad, (int)aad_len)) &&
	     (!len || EVP_EncryptUpdate(ctx, out, &n, plain, (int)len)) &&
	     EVP_EncryptFinal_ex(ctx, out + len, &n) &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_LEN, out + len);
	secret_wipe(kx, sizeof(kx));
	EVP_CIPHER_CTX_free(ctx);
	return ok ? 0 : seal_broken(err, "AES-256-GCM encryption");
}

int xaes_decrypt(const uint8_t key[static SEAL_KEY_LEN], const uint8_t nonce[static SEAL_NONCE_LEN],
	const void *aad, size_t aad_len, const uint8_t *sealed, size_t len, void *out,
	struct pa_err *err)
{
	size_t plain_len = len - SEAL_TAG_LEN;
	uint8_t tag[SEAL_TAG_LEN];
	uint8_t kx[SEAL_KEY_LEN];
	EVP_CIPHER_CTX *ctx;
	bool ok;
	int n;
	int r;

	r = seal_ready(err);
	if (r < 0)
		return r;
	if (len < SEAL_TAG_LEN || len > INT_MAX || aad_len > INT_MAX)
		return pa_fail(err, PA_STORE_CORRUPT, 0, "%zu sealed bytes", len);
	ctx = EVP_CIPHER_CTX_new();
	if (!ctx)
		return pa_fail(err, PA_NO_MEMORY, 0, "cipher");

	memcpy(tag, sealed + plain_len, sizeof(tag));
	ok = xaes_key(ctx, key, nonce, kx) &&
	     EVP_DecryptInit_ex2(ctx, seal_gcm, kx, nonce + GCM_NONCE, NULL) &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof(tag), tag) &&
	     (!aad_len || EVP_DecryptUpdate(ctx, NULL, &n, aad, (int)aad_len)) &&
	     (!plain_len || EVP_DecryptUpdate(ctx, out, &n, sealed, (int)plain_len));
	if (!ok) {
		r = seal_broken(err, "AES-256-GCM decryption");
	} else if (EVP_DecryptFinal_ex(ctx, (uint8_t *)out + plain_len, &n) <= 0) {
		ERR_clear_error();
		r = pa_fail(err, PA_STORE_CORRUPT, 0, "the seal is broken");
	}
	if (r < 0)
		secret_wipe(out, plain_len);
	secret_wipe(kx, sizeof(kx));
	EVP_CIPHER_CTX_free(ctx);
	return r;
}

int seal_hmac(const void *key, size_t key_len, const void *msg, size_t len, uint8_t ret[static 32],
	struct pa_err *err)
{
	EVP_MAC_CTX *ctx;
	size_t n;
	bool ok;
	int r;

	r = seal_ready(err);
	if (r < 0)
		return r;
	ctx = EVP_MAC_CTX_dup(seal_mac);
	if (!ctx)
		return pa_fail(err, PA_NO_MEMORY, 0, "HMAC");
	ok = EVP_MAC_init(ctx, key, key_len, NULL) && EVP_MAC_update(ctx, msg, len) &&
	     EVP_MAC_final(ctx, ret, &n, 32) && n == 32;
	EVP_MAC_CTX_free(ctx);
	return ok ? 0 : seal_broken(err, "HMAC-SHA256");
}

int seal_derive(const void *ikm, size_t ikm_len, const void *salt, size_t salt_len,
	const char *info, uint8_t ret[static 32], struct pa_err *err)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[5];
	OSSL_PARAM *p = params;
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	bool ok;

	*p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)ikm, ikm_len);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, strlen(info));
	if (salt_len)
		*p++ = OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_SALT, (void *)salt, salt_len);
	*p = OSSL_PARAM_construct_end();

	ok = ctx && EVP_KDF_derive(ctx, ret, 32, params) > 0;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok ? 0 : seal_broken(err, "HKDF-SHA256");
}

int seal_random(void *bytes, size_t len, struct pa_err *err)
{
	if (len > INT_MAX || RAND_priv_bytes(bytes, (int)len) != 1)
		return seal_broken(err, "the random generator");
	return 0;
}

void seal_base32(const uint8_t *bytes, size_t chars, char *ret)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
	unsigned bits = 0;
	unsigned have = 0;

	for (size_t i = 0; i < chars; i++) {
		if (have < 5) {
			bits = (bits << 8 | *bytes++) & 0xfff;
			have += 8;
		}
		have -= 5;
		ret[i] = alphabet[bits >> have & 31];
	}
	ret[chars] = '\0';
}

/* The last bytes of the padded plaintext say how much of it is content. */
#define LENGTH_FIELD 4

int seal_file(const uint8_t key[static SEAL_KEY_LEN], const void *head, size_t head_len,
	const void *plain, size_t len, uint8_t **ret, size_t *ret_len, struct pa_err *err)
{
	const uint32_t be_len = htobe32((uint32_t)len);
	WIPE_AUTO uint8_t *padded = NULL;
	size_t padded_len;
	uint8_t *nonce;
	uint8_t *out;
	int r;

	if (len > INT32_MAX)
		return pa_fail(err, PA_TOO_BIG, 0, "%zu bytes to seal", len);
	padded_len = (len + LENGTH_FIELD + SEAL_PAD - 1) / SEAL_PAD * SEAL_PAD;
	padded = wipe_calloc(1, padded_len);
	out = malloc(head_len + padded_len + SEAL_TAG_LEN);
	if (!padded || !out) {
		free(out);
		return pa_fail(err, PA_NO_MEMORY, 0, "%zu bytes to seal", len);
	}
	if (len)
		memcpy(padded, plain, len);
	memcpy(padded + padded_len - LENGTH_FIELD, &be_len, LENGTH_FIELD);
	memcpy(out, head, head_len);
	nonce = out + head_len - SEAL_NONCE_LEN;
	r = seal_random(nonce, SEAL_NONCE_LEN, err);
	if (!r)
		r = xaes_encrypt(
			key, nonce, out, head_len, padded, padded_len, out + head_len, err);
	if (r < 0) {
		free(out);
		return r;
	}
	*ret = out;
	*ret_len = head_len + padded_len + SEAL_TAG_LEN;
	return 0;
}

int seal_file_open(const uint8_t key[static SEAL_KEY_LEN], size_t head_len, const uint8_t *sealed,
	size_t len, char **ret, size_t *ret_len, struct pa_err *err)
{
	WIPE_AUTO char *padded = NULL;
	size_t padded_len;
	size_t plain_len;
	uint32_t be_len;
	int r;

	if (len < head_len + SEAL_PAD + SEAL_TAG_LEN || (len - head_len - SEAL_TAG_LEN) % SEAL_PAD)
		return pa_fail(err, PA_STORE_CORRUPT, 0, "%zu sealed bytes", len);
	padded_len = len - head_len - SEAL_TAG_LEN;
	padded = wipe_malloc(padded_len);
	if (!padded)
		return pa_fail(err, PA_NO_MEMORY, 0, "%zu sealed bytes", len);
	r = xaes_decrypt(key, sealed + head_len - SEAL_NONCE_LEN, sealed, head_len,
		sealed + head_len, len - head_len, padded, err);
	if (r < 0)
		return r;

	memcpy(&be_len, padded + padded_len - LENGTH_FIELD, LENGTH_FIELD);
	plain_len = be32toh(be_len);
	if (plain_len > padded_len - LENGTH_FIELD)
		return pa_fail(err, PA_STORE_CORRUPT, 0, "the content's length is wrong");
	padded[plain_len] = '\0'; /* over the padding, or over the length itself */
	*ret = padded;
	*ret_len = plain_len;
	padded = NULL;
	return 0;
}

/* A record on disk: this header, the ciphertext, the tag. Integers are big-endian. */
struct record_header {
	uint8_t magic[7];
	uint8_t version;
	uint64_t generation;
	uint8_t key_id[8];
	char name[SEAL_NAME_LEN];
	uint8_t zero[6];
	uint8_t nonce[SEAL_NONCE_LEN];
};
_Static_assert(sizeof(struct record_header) == 80, "docs/FORMAT.md says 80");

static const uint8_t record_magic[7] = { 'p', 'i', 'a', 'u', 't', 'h', 'R' };
#define RECORD_VERSION 1
#define RECORD_MIN     (sizeof(struct record_header) + SEAL_PAD + SEAL_TAG_LEN)
#define PADDED_MAX     ((SEAL_PLAIN_MAX + LENGTH_FIELD + SEAL_PAD - 1) / SEAL_PAD * SEAL_PAD)

int seal_record(const uint8_t key[static SEAL_KEY_LEN], const struct seal_header *h,
	const void *plain, size_t len, uint8_t **ret, size_t *ret_len, struct pa_err *err)
{
	struct record_header head = { .version = RECORD_VERSION };

	if (len > SEAL_PLAIN_MAX)
		return pa_fail(err, PA_TOO_BIG, 0, "a record of %zu bytes", len);
	memcpy(head.magic, record_magic, sizeof(head.magic));
	head.generation = htobe64(h->generation);
	memcpy(head.key_id, h->key_id, sizeof(head.key_id));
	memcpy(head.name, h->name, sizeof(head.name));
	return seal_file(key, &head, sizeof(head), plain, len, ret, ret_len, err);
}

int seal_peek(const uint8_t *sealed, size_t len, struct seal_header *ret, struct pa_err *err)
{
	static const uint8_t zero[6];
	struct record_header head;

	if (len < RECORD_MIN || (len - RECORD_MIN) % SEAL_PAD ||
		len - RECORD_MIN > PADDED_MAX - SEAL_PAD)
		return pa_fail(err, PA_STORE_CORRUPT, 0, "%zu bytes are no record", len);
	memcpy(&head, sealed, sizeof(head));
	if (memcmp(head.magic, record_magic, sizeof(head.magic)))
		return pa_fail(err, PA_STORE_CORRUPT, 0, "not a record");
	if (head.version != RECORD_VERSION)
		return pa_fail(err, PA_STORE_CORRUPT, 0, "record version %u is not known here",
			head.version);
	for (size_t i = 0; i < SEAL_NAME_LEN; i++) {
		char c = head.name[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '2' && c <= '7'))
			return pa_fail(err, PA_STORE_CORRUPT, 0, "the record has no name");
	}
	if (memcmp(head.zero, zero, sizeof(zero)))
		return pa_fail(err, PA_STORE_CORRUPT, 0, "reserved bytes are in use");

	ret->generation = be64toh(head.generation);
	memcpy(ret->key_id, head.key_id, sizeof(ret->key_id));
	memcpy(ret->name, head.name, SEAL_NAME_LEN);
	ret->name[SEAL_NAME_LEN] = '\0';
	return 0;
}

int seal_open(const uint8_t key[static SEAL_KEY_LEN], const uint8_t *sealed, size_t len,
	struct seal_header *ret_header, char **ret, size_t *ret_len, struct pa_err *err)
{
	struct seal_header header;
	int r;

	r = seal_peek(sealed, len, &header, err);
	if (r < 0)
		return r;
	r = seal_file_open(key, sizeof(struct record_header), sealed, len, ret, ret_len, err);
	if (!r && ret_header)
		*ret_header = header;
	return r;
}
