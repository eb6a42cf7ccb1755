// SPDX-License-Identifier: Apache-2.0
// A line of a sandbox's log.
#include "tools/msb/logline.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

static int digit(char c)
{
	static const char all[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *p = c ? strchr(all, c) : NULL;

	return p ? (int)(p - all) : -1;
}

/* RFC 4648 section 4, strict. */
static int base64(const char *p, size_t n, struct msb_str *s)
{
	if (n % 4)
		return -EINVAL;
	for (; n; p += 4, n -= 4) {
		int pad = n > 4 ? 0 : (p[3] == '=') + (p[2] == '=' && p[3] == '=');
		uint32_t v = 0;
		char out[3];

		for (int i = 0; i < 4; i++) {
			int d = i < 4 - pad ? digit(p[i]) : 0;

			if (d < 0)
				return -EINVAL;
			v = v << 6 | (uint32_t)d;
		}
		out[0] = (char)(v >> 16);
		out[1] = (char)(v >> 8);
		out[2] = (char)v;
		msb_str_add(s, out, (size_t)(3 - pad));
	}
	return s->oom ? -ENOMEM : 0;
}

/* What goes to a terminal as it is: a time's characters alone. */
static bool is_time(const json_t *o, size_t max)
{
	const char *p = json_string_value(o);
	size_t n = json_string_length(o);

	return p && n < max && strspn(p, "0123456789-:.TZ") == n;
}

int logline_parse(const char *p, size_t n, struct logline *ret)
{
	json_t *o = json_loadb(p, n, JSON_ALLOW_NUL, NULL);
	const json_t *time = json_object_get(o, "time"), *job = json_object_get(o, "job"),
		     *stream = json_object_get(o, "stream"), *text = json_object_get(o, "data"),
		     *coded = json_object_get(o, "data_base64");
	struct logline x = {0};
	int r = -EINVAL;

	if (is_time(time, sizeof(x.time)) && json_is_integer(job) && json_is_string(stream) &&
		json_integer_value(job) >= 0 && json_integer_value(job) <= UINT32_MAX) {
		memcpy(x.time, json_string_value(time), json_string_length(time));
		x.job = (uint32_t)json_integer_value(job);
		x.is_err = strcmp(json_string_value(stream), "stderr") == 0;
		if (json_is_string(text)) {
			msb_str_add(&x.data, json_string_value(text), json_string_length(text));
			r = x.data.oom ? -ENOMEM : 0;
		} else if (json_is_string(coded)) {
			r = base64(json_string_value(coded), json_string_length(coded), &x.data);
		}
	}
	json_decref(o);
	if (r < 0)
		logline_done(&x);
	else
		*ret = x;
	return r;
}

void logline_done(struct logline *x)
{
	msb_str_done(&x->data);
}
