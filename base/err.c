// SPDX-License-Identifier: Apache-2.0
// Errors that a user will read.
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int(msb_err_set)(struct msb_err *e, int code, const char *fmt, ...)
{
	if (e) {
		va_list ap;

		e->code = code;
		va_start(ap, fmt);
		(void)vsnprintf(e->msg, sizeof(e->msg), fmt, ap); /* cut on purpose */
		va_end(ap);
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
	if (!e->code)
		e->code = EIO;
	return -e->code;
}
