/*
 * seal - plain bytes to sealed bytes and back; the one place that encrypts.
 *
 * XAES-256-GCM (C2SP): AES-256-GCM under a key derived from the 256-bit key and the first half of a
 * random 192-bit nonce, so that random nonces never run out. Built on OpenSSL's AES and GCM only.
 * Layout of a sealed record: docs/FORMAT.md. The whole header is authenticated, the plaintext is
 * padded to a multiple of SEAL_PAD so that sizes tell nothing. Threads: any, no state.
 */
#ifndef PIAUTH_SEAL_H
#define PIAUTH_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "secret.h"

#define SEAL_KEY_LEN   32
#define SEAL_NONCE_LEN 24
#define SEAL_TAG_LEN   16
#define SEAL_PAD       4096
#define SEAL_NAME_LEN  26 /* base32 (RFC 4648, lower case, no padding) of the first 130 bits */
/* Of one record, before padding: two lanes, each pending too. */
#define SEAL_PLAIN_MAX (128 * 1024 - 64)

/* XAES-256-GCM itself. out holds len (+ SEAL_TAG_LEN when encrypting) bytes. decrypt: STORE_CORRUPT
 * when the tag does not fit; out is wiped then. */
int xaes_encrypt(const uint8_t key[static SEAL_KEY_LEN], const uint8_t nonce[static SEAL_NONCE_LEN],
	const void *aad, size_t aad_len, const void *plain, size_t len, uint8_t *out,
	struct pa_err *err);
int xaes_decrypt(const uint8_t key[static SEAL_KEY_LEN], const uint8_t nonce[static SEAL_NONCE_LEN],
	const void *aad, size_t aad_len, const uint8_t *sealed, size_t len, void *out,
	struct pa_err *err);

/* HMAC-SHA256. */
int seal_hmac(const void *key, size_t key_len, const void *msg, size_t len, uint8_t ret[static 32],
	struct pa_err *err);
/* HKDF-SHA256 (RFC 5869) of 32 bytes. */
int seal_derive(const void *ikm, size_t ikm_len, const void *salt, size_t salt_len,
	const char *info, uint8_t ret[static 32], struct pa_err *err);
int seal_random(void *bytes, size_t len, struct pa_err *err);
void seal_base32(const uint8_t *bytes, size_t chars, char *ret); /* chars characters and a NUL */

/*
 * What every sealed file is made of: a header that ends with the nonce (which seal_file fills with random
 * bytes in its copy of head), then content and padding, sealed with the header as associated data. *ret is
 * malloc'ed. seal_file_open: *ret is in wiping memory, one NUL follows the content.
 */
int seal_file(const uint8_t key[static SEAL_KEY_LEN], const void *head, size_t head_len,
	const void *plain, size_t len, uint8_t **ret, size_t *ret_len, struct pa_err *err);
int seal_file_open(const uint8_t key[static SEAL_KEY_LEN], size_t head_len, const uint8_t *sealed,
	size_t len, char **ret, size_t *ret_len, struct pa_err *err);

/* What a record's header says, all of it authenticated. */
struct seal_header {
	uint64_t generation;
	uint8_t key_id[8];            /* which data key: the first bytes of its HMAC */
	char name[SEAL_NAME_LEN + 1]; /* the record's file name: a file cannot be renamed */
};

/* *ret is malloc'ed, *ret_len a header plus a multiple of SEAL_PAD plus a tag. */
int seal_record(const uint8_t key[static SEAL_KEY_LEN], const struct seal_header *h,
	const void *plain, size_t len, uint8_t **ret, size_t *ret_len, struct pa_err *err);
/* Only looks at the header; says STORE_CORRUPT for bytes that cannot be a record of this version. */
int seal_peek(const uint8_t *sealed, size_t len, struct seal_header *ret, struct pa_err *err);
/* *ret is in wiping memory (wipe_free), *ret_len without the padding, one NUL follows. */
int seal_open(const uint8_t key[static SEAL_KEY_LEN], const uint8_t *sealed, size_t len,
	struct seal_header *ret_header, char **ret, size_t *ret_len, struct pa_err *err);

#endif
