/*
 * utf8 - what is well-formed UTF-8 (RFC 3629). Leaf; no state.
 */
#ifndef PIAUTH_UTF8_H
#define PIAUTH_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* The length of the sequence at p (left >= 1 bytes); 0: it is none; -1: only its end is missing. */
static inline int utf8_len(const unsigned char *p, size_t left)
{
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	/* the second byte shuts out overlong forms, surrogates and what is beyond U+10FFFF */
	unsigned char low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
	unsigned char high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
	for (size_t i = 1; i < len && i < left; i++) {
		if (p[i] < (i == 1 ? low : 0x80) || p[i] > (i == 1 ? high : 0xbf))
			return 0;
	}
	return left < len ? -1 : (int)len;
}

/* Where the first byte stands that is NUL or not UTF-8; len if nowhere. *ret_cut: the text ends
 * inside a sequence there. */
static inline size_t utf8_bad_byte(const char *text, size_t len, bool *ret_cut)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t i = 0;
	*ret_cut = false;
	while (i < len) {
		int n = p[i] ? utf8_len(p + i, len - i) : 0;
		if (n <= 0) {
			*ret_cut = n < 0;
			break;
		}
		i += (size_t)n;
	}
	return i;
}

#endif
