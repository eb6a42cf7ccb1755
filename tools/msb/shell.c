// SPDX-License-Identifier: Apache-2.0
// What sh is told.
#include "tools/msb/shell.h"

#include <string.h>

static bool plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       strchr("%+,-./:=@_", c);
}

static void quoted(struct msb_str *s, const char *p, size_t n)
{
	msb_str_adds(s, "'");
	for (size_t i = 0; i < n; i++)
		if (p[i] == '\'')
			msb_str_adds(s, "'\\''");
		else
			msb_str_add(s, p + i, 1);
	msb_str_adds(s, "'");
}

void shell_word(struct msb_str *s, const char *word)
{
	size_t n = strlen(word);
	bool bare = n > 0;

	for (size_t i = 0; i < n; i++)
		bare &= plain(word[i]);
	if (bare)
		msb_str_add(s, word, n);
	else
		quoted(s, word, n);
}

/* As a printf's format: every byte, NULs too. */
static void escaped(struct msb_str *s, const char *p, size_t n)
{
	msb_str_adds(s, "'");
	for (size_t i = 0; i < n; i++)
		if (p[i] == '%')
			msb_str_adds(s, "%%");
		else if (p[i] == '\n')
			msb_str_adds(s, "\\n");
		else if (p[i] >= ' ' && p[i] < 0x7f && p[i] != '\'' && p[i] != '\\')
			msb_str_add(s, p + i, 1);
		else
			msb_str_addf(s, "\\%03o", (unsigned char)p[i]);
	msb_str_adds(s, "'");
}

void shell_write(struct msb_str *s, const char *path, bool append, const char *p, size_t n)
{
	bool line = n > 0 && p[n - 1] == '\n' && msb_utf8_valid(p, n - 1), lines;

	for (size_t i = 0; i + 1 < n; i++)
		line &= (unsigned char)p[i] >= ' ' && p[i] != 0x7f;
	lines = n > 0 && memchr(p, '\n', n - 1);
	if (line) {
		/* echo takes words with - and \ as it likes. */
		bool echo = p[0] != '-' && !memchr(p, '\\', n);

		msb_str_adds(s, echo ? "echo " : "printf '%s\\n' ");
		quoted(s, p, n - 1);
	} else {
		/* A format that begins with - would be an option. */
		msb_str_adds(s, n > 0 && *p == '-' ? "printf -- " : "printf ");
		escaped(s, p, n);
	}
	if (lines) {
		msb_str_adds(s, " | dd bs=1M iflag=fullblock status=none ");
		msb_str_adds(s, append ? "conv=notrunc oflag=append of=" : "conv=notrunc of=");
	} else {
		msb_str_adds(s, append ? " >> " : " > ");
	}
	shell_word(s, path);
}
