// SPDX-License-Identifier: Apache-2.0
// With whose rights a sandbox's processes run.
#include "ctl/owner.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <string.h>

bool ctl_is_other(const struct ctl *c, uid_t uid)
{
	return c->uid == 0 && uid != 0;
}

struct img_open ctl_owner_opener(struct ctl_sandbox *sb)
{
	LOCK_SCOPE(&sb->c->lock);
	return (struct img_open){.bin_dir = sb->c->paths.bin,
		.log_fd = sb->c->log_fd,
		.uid = sb->uid,
		.gid = sb->gid,
		.cancel_fd = sb->c->stop_fd};
}

int ctl_owner(struct ctl_sandbox *sb, struct msb_user *ret, struct msb_err *e)
{
	struct img_open o = ctl_owner_opener(sb);
	int r;

	if (!ctl_is_other(sb->c, o.uid)) {
		*ret = (struct msb_user){.uid = sb->c->uid, .gid = sb->c->gid};
		return 0;
	}
	r = img_open_user(&o, ret, e);
	return r < 0 ? r : 1;
}

int ctl_owner_dir(
	struct ctl_sandbox *sb, const char *path, int *ret, uid_t *ret_uid, struct msb_err *e)
{
	struct img_open o = ctl_owner_opener(sb);
	bool other = ctl_is_other(sb->c, o.uid);
	struct msb_err why = {0};
	int r;

	*ret_uid = other ? o.uid : sb->c->uid;
	if (other) {
		r = img_open_dir(&o, path, -1, -1, ret, &why);
		return r < 0 ? msb_err_set(e, -r, "%.300s, as uid %u, whose sandbox this is",
				       why.msg, o.uid)
			     : 0;
	}
	*ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret < 0 ? msb_err_set(e, errno, "%s: %m", path) : 0;
}

int ctl_owner_give(const struct ctl *c, int *fd, struct msb_ids from, struct msb_ids to,
	bool readonly, struct msb_err *e)
{
	int given;

	if (*fd < 0 || !ctl_is_other(c, to.uid) || from.uid == to.uid)
		return 0;
	given = msb_idmap_dir(*fd, from, to, readonly, e);
	if (given < 0)
		return msb_err_wrap(e, "what msbd keeps cannot be given to uid %u", to.uid);
	close(*fd);
	*fd = given;
	return 0;
}
