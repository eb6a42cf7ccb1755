// SPDX-License-Identifier: Apache-2.0
// Mount options: what is taken is printed as something that reads back the same.
#include "base/str.h"
#include "fs/options.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Input: a byte that says which backend, then the options. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const backends[] = {
		"passthrough", "overlay", "image", "memory", "plugin"};
	static struct fsb_options a, b;
	_cleanup_str_ struct msb_str s = MSB_STR_INIT, again = MSB_STR_INIT;
	struct msb_err e = {0};
	const char *backend;
	int r;

	if (!size)
		return 0;
	backend = backends[data[0] % 5];
	r = fsb_options_parse(backend, (const char *)data + 1, size - 1, &a, &e);
	if (r > 0 || (r < 0) != (e.code == -r && *e.msg))
		abort();
	if (r < 0)
		return 0;
	fsb_options_print(&s, &a);
	/* The long names may make it longer than what may be written. */
	if (s.len > FSB_MAX_OPTIONS)
		return 0;
	if (fsb_options_parse(backend, s.buf, s.len, &b, NULL) < 0)
		abort();
	fsb_options_print(&again, &b);
	if (strcmp(s.buf, again.buf) != 0)
		abort();
	return 0;
}
