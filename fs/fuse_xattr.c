// SPDX-License-Identifier: Apache-2.0
// The FUSE server: extended attributes.
#include "fs/acl.h"
#include "fs/fuse_priv.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/xattr.h>

static bool agreed(const struct fuse_call *c, uint64_t init_flag)
{
	return atomic_load_explicit(&c->s->init_flags, memory_order_relaxed) & init_flag;
}

/*
 * Where FUSE_POSIX_ACL was not agreed on, the kernel neither minds ACLs nor knows that setting one
 * changes the mode: refused, every program falls back to chmod(2). Taken as plain bytes they would
 * silently lose `cp -a` the group's and others' permissions.
 */
static int check(const struct fuse_call *c, const char *name)
{
	size_t n = strnlen(name, FUSE_MAX_NAME + 1);

	if (!(c->ops->caps & FSB_CAP_XATTR))
		return -ENOSYS; /* the kernel says EOPNOTSUPP and asks no more */
	if (n == 0 || n > FUSE_MAX_NAME)
		return -ERANGE;
	return acl_is_name(name) && !agreed(c, FUSE_POSIX_ACL) ? -EOPNOTSUPP : 0;
}

int64_t fuse_do_setxattr(struct fuse_call *c)
{
	const struct fuse_setxattr_in *in = ARGS(c, struct fuse_setxattr_in);
	bool longer = agreed(c, FUSE_SETXATTR_EXT); /* else 8 bytes of it */
	size_t fixed = longer ? sizeof(*in) : FUSE_COMPAT_SETXATTR_IN_SIZE;
	const char *name = (const char *)c->args + fixed;
	const uint8_t *value;
	uint32_t flags;
	int r;

	if (c->args_bytes <= fixed || !memchr(name, 0, c->args_bytes - fixed))
		return -EINVAL;
	value = (const uint8_t *)name + strlen(name) + 1;
	r = check(c, name);
	if (r < 0)
		return r;
	if (!c->ops->setxattr)
		return -EROFS;
	if (in->size > FUSE_MAX_XATTR)
		return -E2BIG;
	if (in->size > c->args_bytes - (size_t)(value - c->args) ||
		(in->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE)))
		return -EINVAL;
	flags = in->flags;
	/* Linux asks for it whichever ACL is set, but only the access ACL touches the mode. */
	if (longer && in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID && !strcmp(name, ACL_ACCESS))
		flags |= FSB_XATTR_KILL_SGID;
	return CALL(c, setxattr, &c->req, c->h.nodeid, name, value, in->size, flags);
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

/* A kernel that checks rights asks whether there is an ACL, and takes any other failure for that of
 * the check. So what a backend keeps no ACLs of has none, nor has a file whose is not sound. One
 * that is too long for Linux fails there: without it more would be allowed.
 */
static int64_t get_acl(struct fuse_call *c, const char *name, size_t asked)
{
	struct acl_bytes seen;
	struct fuse_attr a = {0};
	int64_t n = CALL(c, getxattr, c->h.nodeid, name, c->w->reply, ACL_MAX_BYTES);
	int r = 0;

	if (n == -EOPNOTSUPP)
		return -ENODATA;
	if (n < 0)
		return n;
	if (!strcmp(name, ACL_ACCESS))
		r = CALL(c, getattr, c->h.nodeid, 0, &a);
	if (r == 0)
		r = acl_seen(name, c->w->reply, (size_t)n, a.mode, &seen);
	if (r)
		return r;
	memcpy(c->w->reply, seen.p, seen.n);
	return asked && seen.n > asked ? -ERANGE : (int64_t)seen.n;
}

int64_t fuse_do_getxattr(struct fuse_call *c)
{
	const struct fuse_getxattr_in *in = ARGS(c, struct fuse_getxattr_in);
	const char *name = fuse_arg_string(c, sizeof(*in), 0);
	int r = check(c, name);

	if (r < 0)
		return r;
	return reply_bytes(c, in->size,
		acl_is_name(name)
			? get_acl(c, name, in->size)
			: CALL(c, getxattr, c->h.nodeid, name, c->w->reply, room(in->size)));
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
	if (n > 0 && in->size && !agreed(c, FUSE_POSIX_ACL))
		n = (int64_t)acl_names_out(names, (size_t)n); /* check() refuses them */
	return reply_bytes(c, in->size, n);
}

int64_t fuse_do_removexattr(struct fuse_call *c)
{
	const char *name = fuse_arg_string(c, 0, 0);
	int r = check(c, name);

	if (r < 0)
		return r;
	if (!c->ops->removexattr)
		return -EROFS;
	r = CALL(c, removexattr, &c->req, c->h.nodeid, name);
	return r == -ENODATA && acl_is_name(name) ? 0 : r; /* as a disk has it: to have none */
}
