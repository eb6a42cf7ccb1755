// SPDX-License-Identifier: Apache-2.0
// What is taken for a configuration prints to one that means the same.
#include "base/cleanup.h"
#include "ctl/yaml.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print(const struct ctl_yaml *y, struct msb_str *s)
{
	for (size_t i = 0; i < y->n; i++) {
		const struct ctl_yaml_entry *en = &y->v[i];

		ctl_yaml_print(s, en->key);
		msb_str_adds(s, en->type == YAML_SCALAR ? ": "
				: en->type == YAML_LIST ? ": ["
							: ": {");
		for (size_t k = 0; k < en->n; k++) {
			if (en->type == YAML_MAP) {
				ctl_yaml_print(s, en->v[k].key);
				msb_str_adds(s, ": ");
			}
			/* In brackets a plain word may not stand before everything. */
			msb_str_add_json(s, en->v[k].value, strlen(en->v[k].value));
			msb_str_adds(s, en->type == YAML_SCALAR ? "" : ", ");
		}
		msb_str_adds(s, en->type == YAML_SCALAR ? "\n"
				: en->type == YAML_LIST ? "]\n"
							: "}\n");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(ctl_yaml_done) struct ctl_yaml y = {0}, again = {0};
	_cleanup_str_ struct msb_str s = MSB_STR_INIT, t = MSB_STR_INIT;
	struct msb_err e = {0};

	if (size > CTL_MAX_YAML_BYTES / 16)
		return 0; /* what is printed may be longer */
	if (ctl_yaml_parse((const char *)data, size, &y, &e) < 0) {
		if (!*e.msg)
			abort();
		return 0;
	}
	print(&y, &s);
	if (ctl_yaml_parse(s.buf ?: "", s.len, &again, &e) < 0)
		abort();
	print(&again, &t);
	if (s.len != t.len || memcmp(s.buf ?: "", t.buf ?: "", s.len) != 0)
		abort();
	return 0;
}
