// SPDX-License-Identifier: Apache-2.0
// start: the image that the root is made of, fetched where it is to be.
#include "base/cleanup.h"
#include "ctl/conf.h"
#include "ctl/image_names.h"
#include "ctl/op.h"
#include "ctl/pulls.h"

#include <string.h>

/* 1: @ref is to be fetched; 0: what is there will do. Lock held. */
static int wants_pull(struct ctl_sandbox *sb, struct img_ref *ref, struct msb_err *e)
{
	const char *text = sb->conf[CONF_IMAGE], *policy = ctl_conf_value(sb, CONF_PULL);
	struct ctl_image *img = NULL;
	struct msb_err why = {0};
	int r;

	/* What a root was made of once is not exchanged below it. */
	if (!text || *text == '/' || ctl_pin_find(sb, ""))
		return 0;
	r = ctl_image_resolve(sb->c, text, ref, &img, &why);
	if (r < 0 && r != -ENOENT)
		return msb_err_set(e, -r, "%s", why.msg);
	if (r < 0 && !strcmp(policy, "never"))
		return msb_err_set(e, ENOENT,
			"there is no image `%s` here, and the file pull says never; `pull %s` in "
			"images/ctl fetches it",
			text, text);
	if (r < 0)
		return 1;
	/* What was imported is in no registry. */
	return !strcmp(policy, "always") &&
	       strncmp(img->name, IMG_REF_LOCAL_HOST "/", strlen(IMG_REF_LOCAL_HOST "/")) != 0;
}

static void pulling(struct ctl_op *op, bool on, const char *what)
{
	char reason[IMG_REF_MAX + 16];

	(void)snprintf(reason, sizeof(reason), "pulling %s", what);
	op->pulling = on;
	ctl_sandbox_state(op->sb, ST_STARTING, on ? reason : NULL);
}

int ctl_op_pull(struct ctl_op *op, struct msb_err *e)
{
	_cleanup_str_ struct msb_str name = MSB_STR_INIT;
	struct ctl *c = op->sb->c;
	struct ctl_req q;
	struct img_ref ref;
	int r;

	{
		LOCK_SCOPE(&c->lock);
		r = wants_pull(op->sb, &ref, e);
		if (r <= 0)
			return r;
		q = op->who;
		img_ref_print(&ref, &name);
		pulling(op, true, name.buf ?: "");
	}
	r = ctl_pull_image(&q, &ref, op->cancel_fd, NULL, e);
	LOCK_SCOPE(&c->lock);
	op->pulling = false;
	if (r == 0)
		pulling(op, false, "");
	return r;
}
