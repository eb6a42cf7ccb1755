// SPDX-License-Identifier: Apache-2.0
// The FUSE server: extended attributes.
#include "fs/fuse_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

static int check(const struct fuse_call *c, const char *name)
{
	size_t n = strnlen(name, FUSE_MAX_NAME + 1);

	if (!(c->ops->caps & FSB_CAP_XATTR))
		return -ENOSYS; /* the kernel says EOPNOTSUPP and asks no more */
	return n == 0 || n > FUSE_MAX_NAME ? -ERANGE : 0;
}

int64_t fuse_do_setxattr(struct fuse_call *c)
{
	const struct fuse_setxattr_in *in = ARGS(c, struct fuse_setxattr_in); /* 8 bytes of it */
	const char *name = fuse_arg_string(c, FUSE_COMPAT_SETXATTR_IN_SIZE, 0);
	const uint8_t *value = (const uint8_t *)name + strlen(name) + 1;
	int r = check(c, name);

	if (r < 0)
		return r;
	if (!c->ops->setxattr)
		return -EROFS;
	if (in->size > FUSE_MAX_XATTR)
		return -E2BIG;
	if (in->size > c->args_bytes - (size_t)(value - c->args) ||
		(in->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE)))
		return -EINVAL;
	return CALL(c, setxattr, &c->req, c->h.nodeid, name, value, in->size, in->flags);
}

/* A value or a list: its size where none was asked for, else its bytes. */
static int64_t reply_bytes(struct fuse_call *c, uint32_t asked, int64_t n)
{
	struct fuse_getxattr_out o = {0};

	if (n < 0)
		return n;
	if (asked)
		return n > (int64_t)asked ? -ERANGE : fuse_reply(c, c->w->reply, (size_t)n);
	o.size = (uint32_t)n;
	return fuse_reply(c, &o, sizeof(o));
}

static size_t room(uint32_t asked)
{
	return asked < FUSE_MAX_XATTR ? asked : FUSE_MAX_XATTR;
}

int64_t fuse_do_getxattr(struct fuse_call *c)
{
	const struct fuse_getxattr_in *in = ARGS(c, struct fuse_getxattr_in);
	const char *name = fuse_arg_string(c, sizeof(*in), 0);
	int r = check(c, name);

	if (r < 0)
		return r;
	return reply_bytes(
		c, in->size, CALL(c, getxattr, c->h.nodeid, name, c->w->reply, room(in->size)));
}

int64_t fuse_do_listxattr(struct fuse_call *c)
{
	const struct fuse_getxattr_in *in = ARGS(c, struct fuse_getxattr_in);

	if (!(c->ops->caps & FSB_CAP_XATTR))
		return -ENOSYS;
	return reply_bytes(
		c, in->size, CALL(c, listxattr, c->h.nodeid, (char *)c->w->reply, room(in->size)));
}

int64_t fuse_do_removexattr(struct fuse_call *c)
{
	const char *name = fuse_arg_string(c, 0, 0);
	int r = check(c, name);

	if (r < 0)
		return r;
	return c->ops->removexattr ? CALL(c, removexattr, &c->req, c->h.nodeid, name) : -EROFS;
}
