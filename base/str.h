/* SPDX-License-Identifier: Apache-2.0 */
/* Strings that grow, strict numbers, and safe renderings of untrusted text. */
#ifndef MSB_BASE_STR_H
#define MSB_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A byte string, NUL-terminated after len. Grows on the heap, or is cut at cap where it is fixed.
 * A failed allocation sets oom and leaves the text as it was; check once, at the end. */
struct msb_str {
	char *buf;
	size_t len, cap;
	bool fixed, oom;
};

#define MSB_STR_INIT                                                                               \
	{                                                                                          \
		0                                                                                  \
	}
#define MSB_STR_FIXED(array)                                                                       \
	{                                                                                          \
		.buf = (array), .cap = sizeof(array), .fixed = true                                \
	}

void msb_str_done(struct msb_str *s); /* frees; @s is empty and usable again */
void msb_str_add(struct msb_str *s, const void *p, size_t n);
void msb_str_adds(struct msb_str *s, const char *text);
void msb_str_addf(struct msb_str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void msb_str_add_json(
	struct msb_str *s, const char *p, size_t n); /* quoted; bad UTF-8 becomes U+FFFD; control
							characters, also U+0080-U+009F, escaped */
void msb_str_add_printable(struct msb_str *s, const char *p, size_t n); /* those as \xNN */
void msb_str_add_base64(struct msb_str *s, const void *p, size_t n);	/* RFC 4648 section 4 */
#define _cleanup_str_ __attribute__((cleanup(msb_str_done)))

/* Bytes of the UTF-8 sequence (as below) at @text: 1-4, or 0 where there is none. @n is not 0. */
size_t msb_utf8_len(const char *text, size_t n);
/* Whether U+0080-U+009F is at @p: control characters, as those below U+0020 are, which a terminal
 * may act on. Looks at the second byte where the first begins one. */
static inline bool msb_utf8_is_c1(const char *p)
{
	const unsigned char *u = (const unsigned char *)p;

	return u[0] == 0xc2 && u[1] >= 0x80 && u[1] < 0xa0;
}
bool msb_utf8_valid(
	const char *p, size_t n); /* RFC 3629: no surrogates, no overlong forms, no NUL */

/**
 * msb_parse_u64() - Strict decimal: digits only, no sign, no space, no leading +
 * Return: 0; -EINVAL not a number; -ERANGE not within [min, max]. @ret untouched on failure.
 */
int msb_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

/**
 * msb_parse_bytes() - Decimal with an optional binary suffix K, M, G, T (128M = 134217728)
 * Return: as msb_parse_u64().
 */
int msb_parse_bytes(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

/* Sandbox and image-name syntax: [a-z0-9][a-z0-9-]{0,62}. */
bool msb_name_valid(const char *name);

void msb_hex(const uint8_t *in, size_t n, char *out); /* writes 2n digits and a NUL */
int msb_unhex(
	const char *in, uint8_t *out, size_t n); /* exactly 2n lower-case digits, else -EINVAL */

#endif
