/* SPDX-License-Identifier: Apache-2.0 */
/* Control lines: what users write into command and table files. Pure functions over bytes. */
#ifndef MSB_CTL_LINE_H
#define MSB_CTL_LINE_H

#include "base/err.h"
#include "base/str.h"
#include "ctl/limits.h"

#include <stddef.h>

/**
 * ctl_line_next() - Take the next line of a write
 * @p, @n: the bytes of the write; @pos: where to begin, moved past the line and its newline
 * @line, @len: the line without its newline, pointing into @p. The last newline is optional.
 * Return: 1 a line; 0 no more; -E2BIG more than CTL_MAX_LINE bytes; -EINVAL a NUL in it. @pos and
 * the outputs are untouched on failure.
 */
int ctl_line_next(const char *p, size_t n, size_t *pos, const char **line, size_t *len);

/* Says what ctl_line_next() refused; returns @r. */
int ctl_line_error(int r, struct msb_err *e);

/* Words of a line. Valid as long as the struct is. */
struct ctl_words {
	size_t n;
	const char *w[CTL_MAX_WORDS];
	char buf[CTL_MAX_LINE + 1];
};

/**
 * ctl_words_split() - Split a line at spaces and tabs
 * \ooo stands for the byte with that octal number, as in fstab(5): \040 is a space. A line that is
 * blank or begins with # has no words.
 * Return: 0; -EINVAL a stray backslash, \000, or a control byte; -E2BIG more than CTL_MAX_WORDS.
 */
int ctl_words_split(const char *line, size_t len, struct ctl_words *ret, struct msb_err *e);

/* Appends @text as one word that ctl_words_split() reads back. */
void ctl_word_quote(struct msb_str *s, const char *text);

#endif
