/*
 * probe_export - opens what `piauth store export` wrote, by docs/FORMAT.md alone: nothing of piauth is in it.
 *
 *	probe_export FILE < PASSPHRASE
 *
 * Prints the content. XAES-256-GCM is written out here from its specification (C2SP).
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_LEN 56
#define BLOCK      16

static void fail(const char *what)
{
	fprintf(stderr, "probe_export: %s\n", what);
	exit(1);
}

static void aes_block(const uint8_t key[32], const uint8_t in[BLOCK], uint8_t out[BLOCK])
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int len;

	if (!c || !EVP_EncryptInit_ex(c, EVP_aes_256_ecb(), NULL, key, NULL) ||
		!EVP_CIPHER_CTX_set_padding(c, 0) || !EVP_EncryptUpdate(c, out, &len, in, BLOCK))
		fail("AES");
	EVP_CIPHER_CTX_free(c);
}

/* The key for the first half of the nonce: two blocks of CMAC. */
static void xaes_key(const uint8_t key[32], const uint8_t nonce[24], uint8_t ret[32])
{
	uint8_t subkey[BLOCK], block[BLOCK] = { 0 };
	int msb;

	aes_block(key, block, subkey);
	msb = subkey[0] >> 7;
	for (int i = 0; i < BLOCK; i++)
		subkey[i] = (uint8_t)(subkey[i] << 1 | (i < BLOCK - 1 ? subkey[i + 1] >> 7 : 0));
	subkey[BLOCK - 1] ^= msb ? 0x87 : 0;
	for (uint8_t half = 1; half <= 2; half++) {
		uint8_t m[BLOCK] = { 0, half, 'X', 0 };

		memcpy(m + 4, nonce, 12);
		for (int i = 0; i < BLOCK; i++)
			m[i] ^= subkey[i];
		aes_block(key, m, ret + (half - 1) * BLOCK);
	}
}

static void gcm_open(const uint8_t key[32], const uint8_t *file, size_t len, uint8_t *plain)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	size_t sealed = len - HEADER_LEN - BLOCK;
	int n;

	if (!c || !EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, file + 44) ||
		!EVP_DecryptUpdate(c, NULL, &n, file, HEADER_LEN) ||
		!EVP_DecryptUpdate(c, plain, &n, file + HEADER_LEN, (int)sealed) ||
		!EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, BLOCK, (void *)(file + len - BLOCK)))
		fail("GCM");
	if (EVP_DecryptFinal_ex(c, plain + n, &n) != 1)
		fail("the tag does not fit: wrong passphrase?");
	EVP_CIPHER_CTX_free(c);
}

int main(int argc, char **argv)
{
	static uint8_t file[1 << 20], plain[1 << 20];
	uint8_t key[32], derived[32];
	char pass[256];
	size_t len, padded;
	uint32_t content;
	FILE *f = argc == 2 ? fopen(argv[1], "rb") : NULL;

	if (!f || !fgets(pass, sizeof(pass), stdin))
		fail("usage: probe_export FILE < PASSPHRASE");
	pass[strcspn(pass, "\n")] = '\0';
	len = fread(file, 1, sizeof(file), f);
	if (len < HEADER_LEN + 4096 + BLOCK || memcmp(file, "piauthX\1", 8) != 0)
		fail("not an export");
	if (!EVP_PBE_scrypt(pass, strlen(pass), file + 16, 16, 1ull << file[8], file[9], file[10],
		    512 << 20, key, sizeof(key)))
		fail("scrypt");
	xaes_key(key, file + 32, derived);
	gcm_open(derived, file, len, plain);
	padded = len - HEADER_LEN - BLOCK;
	content = (uint32_t)plain[padded - 4] << 24 | (uint32_t)plain[padded - 3] << 16 |
		  (uint32_t)plain[padded - 2] << 8 | plain[padded - 1];
	if (content > padded - 4 || fwrite(plain, 1, content, stdout) != content)
		fail("length");
	return 0;
}
