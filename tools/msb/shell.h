/* SPDX-License-Identifier: Apache-2.0 */
/* What sh is told: words in quotes, and file operations as lines that do the same when pasted. Pure
 * functions. */
#ifndef MSB_TOOLS_SHELL_H
#define MSB_TOOLS_SHELL_H

#include "base/str.h"

#include <stdbool.h>

/* A word, in quotes where it needs any. */
void shell_word(struct msb_str *s, const char *word);

/**
 * shell_write() - A line that writes @n bytes to @path, in one write(2), from any sh
 * A text of one line is `echo 'TEXT' > PATH`; what echo would change is a printf; several lines go
 * through dd, since bash's printf makes a write of each.
 */
void shell_write(struct msb_str *s, const char *path, bool append, const char *p, size_t n);

#endif
