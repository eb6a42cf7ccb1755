// SPDX-License-Identifier: Apache-2.0
// Errors that a user will read.
#include "base/err.h"
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Parts of a sentence come from users, from helpers that a guest may have taken over, and from
 * programs. It is shown on terminals and in files of one line a record. */
static void one_line(char *p)
{
	for (; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c < 0x20 || c == 0x7f)
			*p = '?';
		else if (msb_utf8_is_c1(p))
			p[0] = p[1] = '?';
	}
}

int(msb_err_set)(struct msb_err *e, int code, const char *fmt, ...)
{
	if (e) {
		va_list ap;

		e->code = code;
		va_start(ap, fmt);
		(void)vsnprintf(e->msg, sizeof(e->msg), fmt, ap); /* cut on purpose */
		va_end(ap);
		one_line(e->msg);
	}
	return -code;
}

int(msb_err_wrap)(struct msb_err *e, const char *fmt, ...)
{
	char old[MSB_ERR_MAX];
	va_list ap;
	int n;

	if (!e)
		return -EIO;
	memcpy(old, e->msg, sizeof(old));
	va_start(ap, fmt);
	n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	if (n < 0)
		n = 0;
	if ((size_t)n < sizeof(e->msg))
		(void)snprintf(e->msg + n, sizeof(e->msg) - (size_t)n, ": %s",
			e->code ? old : strerror(EIO));
	one_line(e->msg);
	if (!e->code)
		e->code = EIO;
	return -e->code;
}
