// SPDX-License-Identifier: Apache-2.0
// What is taken for a reference prints to a text that means the same, and leads out of no
// directory.
#include "fs/image/ref.h"
#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT, t = MSB_STR_INIT;
	struct msb_err e = {0};
	struct img_ref r, again;
	char *text = strndup((const char *)data, size);

	if (!text)
		return 0;
	if (img_ref_parse(text, IMG_REF_LOCAL_HOST, &r, &e) == 0) {
		img_ref_print(&r, &s);
		if (s.len > IMG_REF_MAX || strstr(s.buf, "/../") || strstr(s.buf, "//") ||
			img_ref_parse(s.buf, IMG_REF_LOCAL_HOST, &again, &e) < 0)
			abort();
		img_ref_print(&again, &t);
		if (strcmp(s.buf, t.buf) != 0)
			abort();
	} else if (!*e.msg) {
		abort();
	}
	free(text);
	return 0;
}
