// SPDX-License-Identifier: Apache-2.0
// The FUSE server: extended attributes.
#include "fs/fuse_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

/*
 * Setting an ACL changes the mode bits too, and FUSE_POSIX_ACL, which would have the kernel and us
 * agree on that, is not negotiated: stored as plain bytes an ACL would silently lose `cp -a` the
 * group's and others' permissions. Refused, every program falls back to chmod(2).
 */
static bool is_acl(const char *name)
{
	return !strcmp(name, "system.posix_acl_access") ||
	       !strcmp(name, "system.posix_acl_default");
}

static int check(const struct fuse_call *c, const char *name)
{
	size_t n = strnlen(name, FUSE_MAX_NAME + 1);

	if (!(c->ops->caps & FSB_CAP_XATTR))
		return -ENOSYS; /* the kernel says EOPNOTSUPP and asks no more */
	if (n == 0 || n > FUSE_MAX_NAME)
		return -ERANGE;
	return is_acl(name) ? -EOPNOTSUPP : 0;
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

/* Takes out the names that check() refuses; an image may bring them. */
static int64_t without_acls(char *names, int64_t n)
{
	int64_t kept = 0;

	for (int64_t i = 0, len; i < n; i += len) {
		len = (int64_t)strnlen(names + i, (size_t)(n - i)) + 1;
		if (len > n - i || is_acl(names + i))
			continue;
		memmove(names + kept, names + i, (size_t)len);
		kept += len;
	}
	return kept;
}

int64_t fuse_do_listxattr(struct fuse_call *c)
{
	const struct fuse_getxattr_in *in = ARGS(c, struct fuse_getxattr_in);
	char *names = (char *)c->w->reply;
	int64_t n;

	if (!(c->ops->caps & FSB_CAP_XATTR))
		return -ENOSYS;
	/* The size alone may count a name that is left out: callers allow for a list that shrinks.
	 */
	n = CALL(c, listxattr, c->h.nodeid, names, room(in->size));
	return reply_bytes(c, in->size, n > 0 && in->size ? without_acls(names, n) : n);
}

int64_t fuse_do_removexattr(struct fuse_call *c)
{
	const char *name = fuse_arg_string(c, 0, 0);
	int r = check(c, name);

	if (r < 0)
		return r;
	return c->ops->removexattr ? CALL(c, removexattr, &c->req, c->h.nodeid, name) : -EROFS;
}
