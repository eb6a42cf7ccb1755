/* SPDX-License-Identifier: Apache-2.0 */
/* Times as people write them. */
#ifndef MSB_TOOLS_SINCE_H
#define MSB_TOOLS_SINCE_H

#include "base/err.h"

/* 10s, 5m, 2h, 1d before now; 2026-01-31, 2026-01-31T12:00[:00[.5]][Z], both UTC; seconds since
 * 1970. Microseconds since 1970. A pure function. -EINVAL. */
int since_parse(const char *text, long long now_usec, long long *ret, struct msb_err *e);

#endif
