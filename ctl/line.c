// SPDX-License-Identifier: Apache-2.0
// Control lines: splitting writes into lines and lines into words.
#include "ctl/line.h"

#include <errno.h>
#include <string.h>

int ctl_line_next(const char *p, size_t n, size_t *pos, const char **line, size_t *len)
{
	const char *start = p + *pos, *nl;
	size_t left = n - *pos, k;

	if (left == 0)
		return 0;
	nl = memchr(start, '\n', left);
	k = nl ? (size_t)(nl - start) : left;
	if (k > CTL_MAX_LINE)
		return -E2BIG;
	if (memchr(start, '\0', k))
		return -EINVAL;
	*line = start;
	*len = k;
	*pos += k + (nl != NULL);
	return 1;
}

int ctl_line_error(int r, struct msb_err *e)
{
	return r == -E2BIG ? msb_err_set(e, E2BIG, "a line is longer than %d bytes", CTL_MAX_LINE)
			   : msb_err_set(e, EINVAL, "a line holds a NUL byte");
}

/* The byte of an octal escape at @p (after the backslash), or -1. */
static int octal(const char *p, size_t n)
{
	int v = 0;

	if (n < 3)
		return -1;
	for (size_t i = 0; i < 3; i++) {
		if (p[i] < '0' || p[i] > '7')
			return -1;
		v = v * 8 + (p[i] - '0');
	}
	return v > 0 && v < 256 ? v : -1;
}

int ctl_words_split(const char *line, size_t len, struct ctl_words *ret, struct msb_err *e)
{
	char *out = ret->buf;
	size_t i = 0;

	ret->n = 0;
	if (len > CTL_MAX_LINE)
		return msb_err_set(e, E2BIG, "the line is longer than %d bytes", CTL_MAX_LINE);
	for (;;) {
		while (i < len && (line[i] == ' ' || line[i] == '\t'))
			i++;
		if (i == len || (ret->n == 0 && line[i] == '#'))
			return 0;
		if (ret->n == CTL_MAX_WORDS)
			return msb_err_set(e, E2BIG, "more than %d words", CTL_MAX_WORDS);
		ret->w[ret->n++] = out;
		for (; i < len && line[i] != ' ' && line[i] != '\t'; i++) {
			int c = (unsigned char)line[i];

			if (c == '\\') {
				c = octal(line + i + 1, len - i - 1);
				if (c < 0)
					return msb_err_set(e, EINVAL,
						"a backslash stands before three octal digits, as in \\040 for a space");
				i += 3;
			} else if (c < 0x20 || c == 0x7f) {
				return msb_err_set(e, EINVAL, "a control byte (0x%02x)", c);
			}
			*out++ = (char)c;
		}
		*out++ = '\0';
	}
}

void ctl_word_quote(struct msb_str *s, const char *text)
{
	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c <= ' ' || c == 0x7f || c == '\\' || (c == '#' && p == text))
			msb_str_addf(s, "\\%03o", c);
		else
			msb_str_add(s, p, 1);
	}
}
