// SPDX-License-Identifier: Apache-2.0
// What a sandbox is there to run.
#include "ctl/run_argv.h"
#include "base/cleanup.h"
#include "ctl/argv.h"
#include "ctl/conf.h"
#include "ctl/image_names.h"
#include "ctl/images.h"
#include "ctl/meta.h"

#include <string.h>

/* What is set and which image it is of, as they are now. */
struct said {
	char *entrypoint, *cmd; /* JSON; "": the image's */
	char digest[65];	/* "": its root is no image's */
};

static int said_get(struct ctl_sandbox *sb, struct said *ret)
{
	const struct ctl_pin *pin;

	LOCK_SCOPE(&sb->c->lock);
	*ret = (struct said){.entrypoint = strdup(ctl_conf_value(sb, CONF_ENTRYPOINT)),
		.cmd = strdup(ctl_conf_value(sb, CONF_CMD))};
	pin = ctl_pin_find(sb, "");
	if (pin)
		memcpy(ret->digest, pin->digest, sizeof(ret->digest));
	return ret->entrypoint && ret->cmd ? 0 : -ENOMEM;
}

static void said_done(struct said *s)
{
	free(s->entrypoint);
	free(s->cmd);
}

static void add_list(struct msb_str *ret, char *const *list)
{
	for (; list && *list; list++)
		msb_str_add(ret, *list, strlen(*list) + 1);
}

int ctl_run_argv(struct ctl_sandbox *sb, const char *own, size_t own_bytes, struct msb_str *ret,
	struct msb_err *e)
{
	_cleanup_(ctl_meta_done) struct ctl_meta meta = {0};
	_cleanup_(said_done) struct said s = {0};
	int r = said_get(sb, &s);

	if (r < 0)
		return msb_err_set(e, ENOMEM, "no memory");
	r = s.digest[0] ? ctl_image_meta(sb->c, s.digest, &meta, e) : 0;
	if (r < 0)
		return r;
	/* What is set was checked then. */
	if (s.entrypoint[0])
		r = ctl_argv_from_json("entrypoint", s.entrypoint, strlen(s.entrypoint), ret, e);
	else
		add_list(ret, meta.entrypoint);
	if (r == 0 && own_bytes)
		msb_str_add(ret, own, own_bytes);
	else if (r == 0 && s.cmd[0])
		r = ctl_argv_from_json("cmd", s.cmd, strlen(s.cmd), ret, e);
	else if (!s.entrypoint[0])
		add_list(ret, meta.cmd);
	if (r < 0)
		return r;
	if (ret->oom)
		return msb_err_set(e, ENOMEM, "no memory");
	if (ret->len > CTL_MAX_ARGV_BYTES)
		return msb_err_set(e, E2BIG, "entrypoint and arguments have at most %d bytes",
			CTL_MAX_ARGV_BYTES);
	return ret->len && ret->buf[0]
		       ? 0
		       : msb_err_set(e, EINVAL,
				 "there is no program to run: neither the sandbox nor its image has an "
				 "entrypoint or a cmd");
}
