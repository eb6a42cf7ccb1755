// SPDX-License-Identifier: Apache-2.0
// A line of a sandbox's log, of which a guest has shaped the data: what is taken is within its
// bounds.
#include "tools/msb/logline.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct logline x = {0};

	if (size > LOGLINE_MAX || logline_parse((const char *)data, size, &x) < 0)
		return 0;
	/* A line holds its data's bytes as they are, escaped, or as base64: never fewer. */
	if (!memchr(x.time, '\0', sizeof(x.time)) || x.data.len > size || x.data.oom)
		abort();
	logline_done(&x);
	return 0;
}
