#include "keyslot.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

/* An export on disk: this header, the ciphertext, the tag. */
struct export_header {
	uint8_t magic[7];
	uint8_t version;
	uint8_t log_n; /* scrypt (RFC 7914): N = 2^log_n */
	uint8_t r;
	uint8_t p;
	uint8_t zero[5];
	uint8_t salt[16];
	uint8_t nonce[SEAL_NONCE_LEN];
};
_Static_assert(sizeof(struct export_header) == 56, "docs/FORMAT.md says 56");

static const uint8_t export_magic[7] = { 'p', 'i', 'a', 'u', 't', 'h', 'X' };
#define EXPORT_VERSION 1
#define LOG_N          16 /* 64 MiB and about a fifth of a second */
#define LOG_N_MAX      18 /* of a file that is read: 256 MiB */
#define EXPORT_MAX     (64 * 1024 * 1024)

static int export_key(const struct export_header *head, const char *pass, size_t pass_len,
	uint8_t key[static SEAL_KEY_LEN], struct pa_err *err)
{
	const uint64_t n = (uint64_t)1 << head->log_n;
	const uint64_t room = 128 * (uint64_t)head->r * (n + head->p + 4);

	if (!EVP_PBE_scrypt(pass, pass_len, head->salt, sizeof(head->salt), n, head->r, head->p,
		    room, key, SEAL_KEY_LEN)) {
		ERR_clear_error();
		return pa_fail(err, PA_NO_MEMORY, 0, "scrypt needs %llu MiB",
			(unsigned long long)room >> 20);
	}
	return 0;
}

int keyslot_seal_export(const char *pass, size_t pass_len, const void *plain, size_t len,
	uint8_t **ret, size_t *ret_len, struct pa_err *err)
{
	struct export_header head = { .version = EXPORT_VERSION, .log_n = LOG_N, .r = 8, .p = 1 };
	uint8_t key[SEAL_KEY_LEN];
	int r;

	if (!pass_len)
		return pa_fail(err, PA_BAD_INPUT, 0, "an export needs a passphrase");
	if (len > EXPORT_MAX)
		return pa_fail(err, PA_TOO_BIG, 0, "an export of %zu bytes", len);
	memcpy(head.magic, export_magic, sizeof(head.magic));
	r = seal_random(head.salt, sizeof(head.salt), err);
	if (r < 0)
		return r;
	r = export_key(&head, pass, pass_len, key, err);
	if (!r)
		r = seal_file(key, &head, sizeof(head), plain, len, ret, ret_len, err);
	secret_wipe(key, sizeof(key));
	return r;
}

static int export_check(const struct export_header *head, size_t len, struct pa_err *err)
{
	static const uint8_t zero[5];

	if (memcmp(head->magic, export_magic, sizeof(head->magic)))
		return pa_fail(err, PA_STORE_CORRUPT, 0, "not an export of piauth");
	if (head->version != EXPORT_VERSION)
		return pa_fail(err, PA_STORE_CORRUPT, 0, "export version %u is not known here",
			head->version);
	if (head->log_n < 10 || head->log_n > LOG_N_MAX || head->r != 8 || head->p != 1 ||
		memcmp(head->zero, zero, sizeof(zero)))
		return pa_fail(err, PA_STORE_CORRUPT, 0, "the export's parameters are wrong");
	if (len > sizeof(*head) + EXPORT_MAX + SEAL_PAD + SEAL_TAG_LEN)
		return pa_fail(err, PA_STORE_CORRUPT, 0, "the export is too long");
	return 0;
}

int keyslot_open_export(const char *pass, size_t pass_len, const uint8_t *sealed, size_t len,
	char **ret, size_t *ret_len, struct pa_err *err)
{
	uint8_t key[SEAL_KEY_LEN];
	struct export_header head;
	int r;

	if (len < sizeof(head))
		return pa_fail(err, PA_STORE_CORRUPT, 0, "the export is cut");
	memcpy(&head, sealed, sizeof(head));
	r = export_check(&head, len, err);
	if (r < 0)
		return r;
	r = export_key(&head, pass, pass_len, key, err);
	if (r < 0)
		return r;
	r = seal_file_open(key, sizeof(head), sealed, len, ret, ret_len, err);
	secret_wipe(key, sizeof(key));
	if (r == -EBADMSG) /* the two cannot be told apart */
		r = pa_fail(err, PA_STORE_LOCKED, 0, "wrong passphrase, or a damaged file");
	return r;
}
