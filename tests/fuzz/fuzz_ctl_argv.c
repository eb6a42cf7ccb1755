// SPDX-License-Identifier: Apache-2.0
// Arguments as JSON: what is taken is words, and reads back as the same words.
#include "base/cleanup.h"
#include "ctl/argv.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_str_ struct msb_str words = MSB_STR_INIT, json = MSB_STR_INIT,
				     again = MSB_STR_INIT;
	struct msb_err e = {0};

	if (ctl_argv_from_json("argv", (const char *)data, size, &words, &e) < 0) {
		if (e.code != EINVAL || !e.msg[0])
			abort();
		return 0;
	}
	if (words.len && words.buf[words.len - 1])
		abort();
	ctl_argv_to_json(words.buf, words.len, &json);
	if (ctl_argv_from_json("argv", json.buf, json.len, &again, &e) < 0 ||
		again.len != words.len || memcmp(again.buf ?: "", words.buf ?: "", words.len) != 0)
		abort();
	return 0;
}
