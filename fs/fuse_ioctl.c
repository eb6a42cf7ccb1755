// SPDX-License-Identifier: Apache-2.0
/*
 * The FUSE server: IOCTL, for files' flags alone.
 *
 * chattr(1) and its like reach a server as two commands each to get and to set. The kernel has
 * checked then who asks: the file's owner or one with CAP_FOWNER, and of `i` and `a` only who has
 * CAP_LINUX_IMMUTABLE (vfs_fileattr_set()). It asks by itself, with no argument: a command with one
 * is a program's, that no kernel has looked at (Linux before 5.13, and the 32-bit numbers).
 */
#include "fs/fuse_ioctl.h"
#include "fs/fuse_priv.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>

_Static_assert(FS_SYNC_FL == FSB_FL_SYNC && FS_IMMUTABLE_FL == FSB_FL_IMMUTABLE &&
		       FS_APPEND_FL == FSB_FL_APPEND && FS_NODUMP_FL == FSB_FL_NODUMP &&
		       FS_NOATIME_FL == FSB_FL_NOATIME && FS_DIRSYNC_FL == FSB_FL_DIRSYNC,
	"linux/fs.h");
_Static_assert(sizeof(struct fuse_ioctl_in) == 32 && sizeof(struct fuse_ioctl_out) == 16 &&
		       sizeof(struct fsxattr) == 28,
	"FUSE 7.38");

static const struct {
	uint32_t xflag, flag;
} xflags[] = {{FS_XFLAG_IMMUTABLE, FSB_FL_IMMUTABLE}, {FS_XFLAG_APPEND, FSB_FL_APPEND},
	{FS_XFLAG_SYNC, FSB_FL_SYNC}, {FS_XFLAG_NOATIME, FSB_FL_NOATIME},
	{FS_XFLAG_NODUMP, FSB_FL_NODUMP}};

#define XFLAGS (sizeof(xflags) / sizeof(xflags[0]))

static int parse_xattr(const uint8_t *p, struct fuse_flags_ask *ret)
{
	struct fsxattr x;

	memcpy(&x, p, sizeof(x));
	for (size_t i = 0; i < XFLAGS; i++) {
		if (x.fsx_xflags & xflags[i].xflag)
			ret->flags |= xflags[i].flag;
		ret->said |= xflags[i].flag;
		x.fsx_xflags &= ~xflags[i].xflag;
	}
	return x.fsx_xflags || x.fsx_extsize || x.fsx_cowextsize || x.fsx_projid ? -EOPNOTSUPP : 0;
}

int fuse_ioctl_parse(const uint8_t *p, size_t n, struct fuse_flags_ask *ret)
{
	struct fuse_ioctl_in in;
	size_t size;

	*ret = (struct fuse_flags_ask){0};
	if (n < sizeof(in))
		return -EINVAL;
	memcpy(&in, p, sizeof(in));
	p += sizeof(in);
	n -= sizeof(in);
	switch (in.cmd) {
	case FS_IOC_GETFLAGS:
	case FS_IOC_SETFLAGS: size = sizeof(uint32_t); break;
	case FS_IOC_FSGETXATTR:
	case FS_IOC_FSSETXATTR: size = sizeof(struct fsxattr); break;
	default: return -ENOTTY;
	}
	if (in.arg || in.flags & ~(uint32_t)FUSE_IOCTL_DIR)
		return -ENOTTY;
	ret->set = in.cmd == FS_IOC_SETFLAGS || in.cmd == FS_IOC_FSSETXATTR;
	ret->xflags = size == sizeof(struct fsxattr);
	if (in.in_size != (ret->set ? size : 0) || in.out_size != (ret->set ? 0 : size) ||
		n != in.in_size)
		return -EINVAL;
	if (!ret->set)
		return 0;
	if (ret->xflags)
		return parse_xattr(p, ret);
	memcpy(&ret->flags, p, sizeof(ret->flags));
	ret->said = FSB_FL_ALL;
	return ret->flags & ~(uint32_t)FSB_FL_ALL ? -EOPNOTSUPP : 0;
}

static int64_t reply_flags(struct fuse_call *c, const struct fuse_flags_ask *ask, uint32_t flags)
{
	struct {
		struct fuse_ioctl_out out;
		struct fsxattr x;
	} o = {0};

	if (!ask->xflags) {
		memcpy(&o.x, &flags, sizeof(flags));
		return fuse_reply(c, &o, sizeof(o.out) + sizeof(flags));
	}
	for (size_t i = 0; i < XFLAGS; i++)
		if (flags & xflags[i].flag)
			o.x.fsx_xflags |= xflags[i].xflag;
	return fuse_reply(c, &o, sizeof(o.out) + sizeof(o.x));
}

int64_t fuse_do_ioctl(struct fuse_call *c)
{
	const struct fuse_ioctl_out done = {0};
	struct fuse_flags_ask ask;
	uint32_t flags, want;
	int r = fuse_ioctl_parse(c->args, c->args_bytes, &ask);

	if (r < 0)
		return r;
	if (!c->ops->getflags || !c->ops->setflags)
		return -ENOTTY;
	if (ask.set && c->s->readonly)
		return -EROFS;
	r = CALL(c, getflags, c->h.nodeid, &flags);
	if (r < 0)
		return r;
	if (!ask.set)
		return reply_flags(c, &ask, flags);
	want = (flags & ~ask.said) | ask.flags;
	/* What stays immutable stays so altogether. */
	if (flags & want & FSB_FL_IMMUTABLE && want != flags)
		return -EPERM;
	r = CALL(c, setflags, &c->req, c->h.nodeid, want);
	return r < 0 ? r : fuse_reply(c, &done, sizeof(done));
}
