// SPDX-License-Identifier: Apache-2.0
// Arguments as JSON.
#include "ctl/argv.h"
#include "base/cleanup.h"

#include <jansson.h>
#include <string.h>

int ctl_argv_from_json(
	const char *what, const char *p, size_t n, struct msb_str *ret, struct msb_err *e)
{
	json_error_t why;
	json_t *doc = json_loadb(p, n, 0, &why), *v;
	size_t i;
	int r = 0;

	if (!doc)
		return msb_err_set(
			e, EINVAL, "%s is no JSON: %s (byte %d)", what, why.text, why.position);
	if (!json_is_array(doc))
		r = msb_err_set(e, EINVAL, "%s is not an array of strings", what);
	json_array_foreach(doc, i, v)
	{
		if (!json_is_string(v)) {
			r = msb_err_set(e, EINVAL, "%s: element %zu is not a string", what, i);
			break;
		}
		msb_str_add(ret, json_string_value(v), json_string_length(v));
		msb_str_add(ret, "", 1);
	}
	json_decref(doc);
	return r;
}

void ctl_argv_to_json(const char *words, size_t bytes, struct msb_str *ret)
{
	msb_str_adds(ret, "[");
	for (size_t at = 0; at < bytes; at += strlen(words + at) + 1) {
		msb_str_adds(ret, at ? "," : "");
		msb_str_add_json(ret, words + at, strlen(words + at));
	}
	msb_str_adds(ret, "]");
}
