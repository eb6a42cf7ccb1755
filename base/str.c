// SPDX-License-Identifier: Apache-2.0
// Strings that grow, strict numbers, and safe renderings of untrusted text.
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void msb_str_done(struct msb_str *s)
{
	if (!s->fixed) {
		free(s->buf);
		*s = (struct msb_str)MSB_STR_INIT;
	}
}

/* Room for @n more bytes and the NUL; how many of @n fit. */
static size_t room(struct msb_str *s, size_t n)
{
	size_t cap = s->cap ? s->cap : 64;
	char *p;

	if (s->oom)
		return 0;
	if (s->len + n < s->cap)
		return n;
	if (s->fixed)
		return s->cap - s->len - 1;
	while (cap <= s->len + n)
		cap *= 2;
	p = realloc(s->buf, cap);
	if (!p) {
		s->oom = true;
		return 0;
	}
	s->buf = p;
	s->cap = cap;
	return n;
}

void msb_str_add(struct msb_str *s, const void *p, size_t n)
{
	n = room(s, n);
	if (!s->buf)
		return;
	if (n)
		memcpy(s->buf + s->len, p, n);
	s->len += n;
	s->buf[s->len] = '\0';
}

void msb_str_adds(struct msb_str *s, const char *text)
{
	msb_str_add(s, text, strlen(text));
}

void msb_str_addf(struct msb_str *s, const char *fmt, ...)
{
	va_list ap;
	char *p = NULL;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&p, fmt, ap);
	va_end(ap);
	if (n < 0) {
		s->oom = true;
		return;
	}
	msb_str_add(s, p, (size_t)n);
	free(p);
}

size_t msb_utf8_len(const char *text, size_t n)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t len;
	uint32_t c;

	if (p[0] < 0x80)
		return p[0] ? 1 : 0;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		len = 2, c = p[0] & 0x1fu;
	else if ((p[0] & 0xf0) == 0xe0)
		len = 3, c = p[0] & 0x0fu;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		len = 4, c = p[0] & 0x07u;
	else
		return 0;
	if (len > n)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	if ((len == 3 && (c < 0x800 || (c >= 0xd800 && c <= 0xdfff))) ||
		(len == 4 && (c < 0x10000 || c > 0x10ffff)))
		return 0;
	return len;
}

/* Text that stands for itself in JSON: what most bytes are, so it is copied in runs. */
static size_t plain_run(const unsigned char *u, size_t n)
{
	size_t i = 0;

	while (i < n && u[i] >= 0x20 && u[i] < 0x7f && u[i] != '"' && u[i] != '\\')
		i++;
	return i;
}

bool msb_utf8_valid(const char *p, size_t n)
{
	const unsigned char *u = (const unsigned char *)p;

	for (size_t i = 0, len; i < n; i += len) {
		len = plain_run(u + i, n - i);
		if (!len)
			len = msb_utf8_len(p + i, n - i);
		if (!len)
			return false;
	}
	return true;
}

void msb_str_add_json(struct msb_str *s, const char *p, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *u = (const unsigned char *)p;

	msb_str_add(s, "\"", 1);
	for (size_t i = 0; i < n;) {
		size_t run = plain_run(u + i, n - i), len;

		if (run) {
			msb_str_add(s, p + i, run);
			i += run;
			continue;
		}
		len = msb_utf8_len(p + i, n - i);
		if (u[i] == '"' || u[i] == '\\') {
			char esc[2] = {'\\', (char)u[i]};
			msb_str_add(s, esc, 2);
		} else if (u[i] == '\n') {
			msb_str_add(s, "\\n", 2);
		} else if (u[i] == '\t') {
			msb_str_add(s, "\\t", 2);
		} else if (u[i] < 0x20 || u[i] == 0x7f) {
			char esc[6] = {'\\', 'u', '0', '0', hex[u[i] >> 4], hex[u[i] & 15]};
			msb_str_add(s, esc, 6);
		} else if (len == 2 && msb_utf8_is_c1(p + i)) {
			msb_str_addf(s, "\\u00%02x", u[i + 1]);
			i++;
		} else if (len == 3 && memcmp(u + i, "\xef\xbf", 2) == 0 && u[i + 2] >= 0xbe) {
			/* U+FFFE and U+FFFF are no characters: YAML has them in no other way. */
			msb_str_addf(s, "\\uff%02x", u[i + 2] + 0x40);
			i += 2;
		} else if (len == 0) {
			msb_str_adds(s, "\\ufffd");
		} else {
			msb_str_add(s, p + i, len);
			i += len;
			continue;
		}
		i++;
	}
	msb_str_add(s, "\"", 1);
}

void msb_str_add_printable(struct msb_str *s, const char *p, size_t n)
{
	const unsigned char *u = (const unsigned char *)p;

	msb_str_add(s, "", 0); /* where nothing comes it is a text, too */
	for (size_t i = 0; i < n;) {
		size_t len = msb_utf8_len(p + i, n - i);

		if (len == 0 || (len == 2 && msb_utf8_is_c1(p + i)) || u[i] < 0x20 ||
			u[i] == 0x7f) {
			msb_str_addf(s, "\\x%02x", u[i]);
			i++;
		} else {
			msb_str_add(s, p + i, len);
			i += len;
		}
	}
}

void msb_str_add_base64(struct msb_str *s, const void *data, size_t n)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = data;

	for (size_t i = 0; i < n; i += 3) {
		size_t k = n - i < 3 ? n - i : 3;
		uint32_t v = (uint32_t)p[i] << 16 | (k > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			     (k > 2 ? p[i + 2] : 0);
		char out[4] = {digits[v >> 18], digits[v >> 12 & 63],
			k > 1 ? digits[v >> 6 & 63] : '=', k > 2 ? digits[v & 63] : '='};

		msb_str_add(s, out, 4);
	}
}

/* Digits at *@text, advancing it. */
static int digits_u64(const char **text, uint64_t *ret)
{
	const char *p = *text;
	uint64_t v = 0;
	bool over = false;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10u, &v) ||
			__builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			over = true;
	*text = p;
	*ret = v;
	return over ? -ERANGE : 0;
}

int msb_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;
	int r = digits_u64(&text, &v);

	if (r == -EINVAL || *text)
		return -EINVAL;
	if (r < 0 || v < min || v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

int msb_parse_bytes(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	static const char suffix[] = "KMGT";
	const char *hit;
	uint64_t v = 0;
	int r = digits_u64(&text, &v);

	if (r == -EINVAL)
		return r;
	if (*text) {
		hit = strchr(suffix, *text);
		if (!hit || text[1])
			return -EINVAL;
		if (__builtin_mul_overflow(v, UINT64_C(1) << (10 * (hit - suffix + 1)), &v))
			return -ERANGE;
	}
	if (r < 0 || v < min || v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

bool msb_name_valid(const char *name)
{
	size_t n = strlen(name);

	if (n < 1 || n > 63 || name[0] == '-')
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

void msb_hex(const uint8_t *in, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[in[i] >> 4];
		out[2 * i + 1] = digits[in[i] & 15];
	}
	out[2 * n] = '\0';
}

int msb_unhex(const char *in, uint8_t *out, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	if (strlen(in) != 2 * n)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		const char *hi = strchr(digits, in[2 * i]), *lo = strchr(digits, in[2 * i + 1]);

		if (!hi || !lo)
			return -EINVAL;
		out[i] = (uint8_t)((hi - digits) << 4 | (lo - digits));
	}
	return 0;
}
