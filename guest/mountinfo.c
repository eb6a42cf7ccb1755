// SPDX-License-Identifier: Apache-2.0
// mountinfo(5): "ID PARENT DEV ROOT MOUNTPOINT OPTIONS [TAGS] - TYPE SOURCE OPTIONS", newest last.
#include "guest/init_root.h"

#include <string.h>

enum { ROOT = 3, POINT = 4 }; /* fields, from 0 */

/* The next line of *@text, terminated; NULL at the end. */
static char *next_line(char **text)
{
	char *line = *text, *end;

	if (!line || !*line)
		return NULL;
	end = strchr(line, '\n');
	if (end)
		*end++ = '\0';
	*text = end;
	return line;
}

static bool octal(char c)
{
	return c >= '0' && c <= '7';
}

/* Field @n of @p, its octal escapes undone in place; @rest is what follows it. NULL: there is none.
 */
static char *field(char *p, int n, char **rest)
{
	char *w, *start;

	for (; p && n > 0; n--) {
		p = strchr(p, ' ');
		if (p)
			p++;
	}
	if (!p)
		return NULL;
	start = w = p;
	for (; *p && *p != ' '; p++)
		if (*p == '\\' && octal(p[1]) && octal(p[2]) && octal(p[3])) {
			*w++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			p += 3;
		} else {
			*w++ = *p;
		}
	*rest = *p ? p + 1 : p;
	*w = '\0';
	return start;
}

size_t ga_mount_points(char *text, char *points[], size_t max)
{
	size_t n = 0;

	for (char *line, *rest; n < max && (line = next_line(&text));) {
		char *point = field(line, POINT, &rest);

		if (point)
			points[n++] = point;
	}
	return n;
}

enum ga_share_at ga_share_find(char *text, const char *name, const char *path)
{
	enum ga_share_at at = GA_SHARE_NONE;

	for (char *line, *rest; (line = next_line(&text));) {
		char *root = field(line, ROOT, &rest), *point, *dash;

		point = root ? field(rest, 0, &rest) : NULL;
		if (!point || strcmp(point, path) != 0)
			continue;
		dash = strstr(rest, "- ");
		if (dash && !strncmp(dash, "- virtiofs shares ", 18) && *root == '/' &&
			!strcmp(root + 1, name))
			at = GA_SHARE_TOP;
		else if (at != GA_SHARE_NONE)
			at = GA_SHARE_COVERED;
	}
	return at;
}
