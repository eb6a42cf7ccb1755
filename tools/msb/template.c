// SPDX-License-Identifier: Apache-2.0
// Lines for people who say how.
#include "tools/msb/template.h"

#include <errno.h>
#include <string.h>

#define MAX_FIELD 64 /* bytes of a field's name */

int template_expand(const char *text,
	int (*get)(const void *arg, const char *field, struct msb_str *s), const void *arg,
	struct msb_str *s, struct msb_err *e)
{
	while (*text) {
		if (*text == '\\' && (text[1] == 't' || text[1] == 'n')) {
			msb_str_adds(s, text[1] == 't' ? "\t" : "\n");
			text += 2;
		} else if (!strncmp(text, "{{", 2)) {
			const char *p = text + 2 + strspn(text + 2, " "), *end = strstr(p, "}}");
			size_t n = end ? strcspn(p, " }") : 0;
			char field[MAX_FIELD];

			if (n < 2 || *p != '.' || n > sizeof(field) ||
				p + n + strspn(p + n, " ") != end)
				return msb_err_set(e, EINVAL,
					"a template has {{.FIELD}} in it, and no more than that: %.100s",
					text);
			memcpy(field, p + 1, n - 1);
			field[n - 1] = '\0';
			if (get(arg, field, s) < 0)
				return msb_err_set(e, EINVAL, "there is no field .%s", field);
			text = end + 2;
		} else {
			msb_str_add(s, text++, 1);
		}
	}
	return s->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}
