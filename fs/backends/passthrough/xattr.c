// SPDX-License-Identifier: Apache-2.0
/*
 * passthrough: extended attributes.
 *
 * The guest's user.* are the host's. The others mean something to a kernel, and must to the guest's
 * alone: they are kept under PT_XATTR_GUEST, as are names that would be ours. What the host has of
 * other attributes the guest does not see, but for ACLs: acl.c.
 */
#include "fs/backends/passthrough/pt.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#define USER "user."

#ifndef SYS_getxattrat
#define SYS_getxattrat 464 /* Linux 6.13 */
#endif

struct xattr_value {
	uint64_t value;
	uint32_t size, flags;
};

static bool begins(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

/* The host's name of the guest's @name. */
static int host_name(const char *name, char buf[XATTR_NAME_MAX + 1], const char **ret)
{
	*ret = name;
	if (begins(name, USER) && !begins(name, PT_XATTR_OURS))
		return 0;
	if (!begins(name, USER) && !begins(name, "trusted.") && !begins(name, "security."))
		return -EOPNOTSUPP;
	*ret = buf;
	return (size_t)snprintf(buf, XATTR_NAME_MAX + 1, PT_XATTR_GUEST "%s", name) > XATTR_NAME_MAX
		       ? -ERANGE
		       : 0;
}

/* The guest's name of the host's @name; NULL where it is none of its own. @acls: those of the file
 * are the guest's, not the host's. */
static const char *guest_name(const char *name, bool acls)
{
	if (acl_is_name(name))
		return acls ? NULL : name;
	if (begins(name, PT_XATTR_GUEST)) {
		name += strlen(PT_XATTR_GUEST);
		return acl_is_name(name) && !acls ? NULL : name;
	}
	return begins(name, USER) && !begins(name, PT_XATTR_OURS) ? name : NULL;
}

int64_t pt_xattr_at(int dirfd, const char *name, const char *xattr, void *buf, size_t cap)
{
	static _Atomic bool missing;
	struct xattr_value v = {(uintptr_t)buf, (uint32_t)cap, 0};
	_cleanup_close_ int fd = -1;
	ssize_t n;

	if (!atomic_load_explicit(&missing, memory_order_relaxed)) {
		n = syscall(SYS_getxattrat, dirfd, name, AT_SYMLINK_NOFOLLOW, xattr, &v, sizeof(v));
		if (n >= 0 || (errno != ENOSYS && errno != EPERM))
			return n < 0 ? -errno : n;
		atomic_store(&missing, true);
	}
	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = fgetxattr(fd, xattr, buf, cap);
	return n < 0 ? -errno : n;
}

static int begin(struct pt *p, uint64_t node, struct pt_ref *ret)
{
	int r = pt_open_ref(p, node, PT_READ, ret);

	return r == -ENXIO ? -EPERM : r; /* other types have none, and opening them does things */
}

/* A link of the host carries nothing; one of ours does. */
static int make_carrier(struct pt *p, uint64_t node)
{
	struct pt_guest g;
	struct pt_meta m;
	struct statx sx;
	struct pt_ref f;
	int r = pt_get(&p->nodes, node, PT_PATH, &f);

	if (r < 0)
		return r;
	{
		LOCK_SCOPE(pt_change_lock(p, f.node));
		r = pt_look(&p->nodes, &f, &sx);
		if (r == 0 && !S_ISLNK(sx.stx_mode))
			r = -EPERM;
		if (r == 0) {
			pt_meta_of(p, &f, &sx, &m);
			pt_guest(p, &sx, &m, &g);
			r = pt_convert_link(p, &f, &sx, &g, &m);
		}
	}
	pt_put(&p->nodes, &f);
	return r;
}

int pt_setxattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name,
	const void *value, size_t n, uint32_t flags)
{
	struct pt *p = pt_of(b);
	char buf[XATTR_NAME_MAX + 1];
	struct pt_ref f;
	int r;

	if (p->readonly)
		return -EROFS;
	if (acl_is_name(name))
		return pt_acl_set(p, node, name, value, n, flags);
	r = host_name(name, buf, &name);
	if (r == 0) {
		r = begin(p, node, &f);
		if (r == -EPERM && name == buf) {
			r = make_carrier(p, node);
			if (r == 0)
				r = begin(p, node, &f);
		}
	}
	if (r < 0)
		return r;
	if (name != buf) {
		r = fsetxattr(f.fd, name, value, n, (int)flags) < 0 ? -errno : 0;
	} else { /* before a writer takes capabilities away, or after it */
		LOCK_SCOPE(pt_change_lock(p, f.node));
		r = fsetxattr(f.fd, name, value, n, (int)flags) < 0 ? -errno : 0;
		LOCK_SCOPE(&p->nodes.lock);
		f.node->no_caps = false;
	}
	pt_put(&p->nodes, &f);
	return r;
}

int64_t pt_getxattr(struct fsb *b, uint64_t node, const char *name, void *buf, size_t cap)
{
	struct pt *p = pt_of(b);
	char host[XATTR_NAME_MAX + 1];
	struct pt_ref f;
	int64_t n;

	if (acl_is_name(name))
		return pt_acl_get(p, node, name, buf, cap);
	n = host_name(name, host, &name);
	if (n == 0)
		n = begin(p, node, &f);
	if (n < 0)
		return n == -EPERM || n == -ERANGE ? -ENODATA : n;
	n = fgetxattr(f.fd, name, buf, cap);
	n = n < 0 ? -errno : n;
	pt_put(&p->nodes, &f);
	return n;
}

/* The names that are the guest's, in the place of @n bytes of them all. */
static int64_t guest_names(bool acls, const char *all, ssize_t n, char *buf, size_t cap)
{
	size_t out = 0;

	for (const char *s = all; s < all + n; s += strlen(s) + 1) {
		const char *name = guest_name(s, acls);
		size_t k = name ? strlen(name) + 1 : 0;

		if (cap && k > cap - out)
			return -ERANGE;
		if (cap && k)
			memcpy(buf + out, name, k);
		out += k;
	}
	return (int64_t)out;
}

int64_t pt_listxattr(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	struct pt *p = pt_of(b);
	_cleanup_free_ char *all = malloc(XATTR_LIST_MAX);
	struct pt_ref f;
	int64_t n = all ? begin(p, node, &f) : -ENOMEM;

	if (n < 0)
		return n == -EPERM ? 0 : n;
	n = flistxattr(f.fd, all, XATTR_LIST_MAX);
	n = n < 0 ? errno == EOPNOTSUPP ? 0 : -errno
		  : guest_names(p->map || pt_is_special(p, f.node), all, n, buf, cap);
	pt_put(&p->nodes, &f);
	return n;
}

int pt_removexattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name)
{
	struct pt *p = pt_of(b);
	char buf[XATTR_NAME_MAX + 1];
	struct pt_ref f;
	int r;

	if (p->readonly)
		return -EROFS;
	if (acl_is_name(name))
		return pt_acl_remove(p, node, name);
	r = host_name(name, buf, &name);
	if (r == 0) {
		r = begin(p, node, &f);
		r = r == -EPERM ? -ENODATA : r; /* it can have none */
	}
	if (r < 0)
		return r == -ERANGE ? -ENODATA : r;
	r = fremovexattr(f.fd, name) < 0 ? -errno : 0;
	pt_put(&p->nodes, &f);
	return r;
}
