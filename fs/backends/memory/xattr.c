// SPDX-License-Identifier: Apache-2.0
// The memory backend's extended attributes: a list at the inode.
#include "fs/acl.h"
#include "fs/backends/memory/mem.h"

#include <sys/stat.h>
#include <sys/xattr.h>

static size_t bytes_of(const struct mem_xattr *x)
{
	return sizeof(*x) + x->name_n + 1 + x->value_n;
}

static struct mem_xattr **find(struct mem_inode *i, const char *name, size_t n)
{
	struct mem_xattr **p = &i->xattrs;

	while (*p && ((*p)->name_n != n || memcmp((*p)->bytes, name, n) != 0))
		p = &(*p)->next;
	return p;
}

static const char *value_of(const struct mem_xattr *x)
{
	return x->bytes + x->name_n + 1;
}

static void drop(struct mem *m, struct mem_inode *i, struct mem_xattr **at)
{
	struct mem_xattr *x = *at;

	*at = x->next;
	i->xattr_bytes -= x->name_n + x->value_n;
	mem_free(m, x, bytes_of(x));
}

bool mem_xattr_drop(struct mem *m, struct mem_inode *i, const char *name)
{
	struct mem_xattr **at = find(i, name, strlen(name));

	if (!*at)
		return false;
	drop(m, i, at);
	return true;
}

void mem_xattrs_free(struct mem *m, struct mem_inode *i)
{
	while (i->xattrs)
		drop(m, i, &i->xattrs);
}

int mem_xattr_set(struct mem *m, struct mem_inode *i, const char *name, size_t name_n,
	const void *value, size_t n)
{
	struct mem_xattr **at = find(i, name, name_n), *old = *at, *x;
	size_t had = old ? old->name_n + old->value_n : 0;

	if (i->xattr_bytes - had + name_n + n > MEM_MAX_XATTR_BYTES)
		return -ENOSPC;
	x = mem_alloc(m, sizeof(*x) + name_n + 1 + n);
	if (!x)
		return -ENOSPC;
	x->name_n = (uint8_t)name_n;
	x->value_n = (uint32_t)n;
	memcpy(x->bytes, name, name_n);
	if (n)
		memcpy(x->bytes + name_n + 1, value, n);
	x->next = old ? old->next : NULL;
	*at = x;
	i->xattr_bytes += (uint32_t)(name_n + n - had);
	if (old)
		mem_free(m, old, bytes_of(old));
	if (name_n == sizeof("security.capability") - 1 &&
		memcmp(name, "security.capability", name_n) == 0)
		i->flags |= MEM_HAS_CAP;
	return 0;
}

int mem_inherit(struct mem *m, struct mem_inode *i, struct mem_inode *dir, uint32_t umask)
{
	const struct mem_xattr *x =
		m->fsb.acls ? *find(dir, ACL_DEFAULT, strlen(ACL_DEFAULT)) : NULL;
	struct acl_bytes own;
	int r = 0;

	if (!acl_inherit(x ? value_of(x) : NULL, x ? x->value_n : 0, umask, &i->mode, &own) || !x)
		return 0;
	if (own.n)
		r = mem_xattr_set(m, i, ACL_ACCESS, strlen(ACL_ACCESS), own.p, own.n);
	if (r == 0 && S_ISDIR(i->type))
		r = mem_xattr_set(m, i, ACL_DEFAULT, strlen(ACL_DEFAULT), value_of(x), x->value_n);
	return r;
}

/* An ACL of @i, or none, which is what a mode says. */
static int set_acl(struct mem *m, struct mem_inode *i, const char *name, const void *value,
	size_t n, bool kill)
{
	uint32_t mode = i->mode;
	struct acl_bytes keep;
	int r = acl_set(name, value, n, &mode, &keep);

	if (r == 0 && keep.n)
		r = mem_xattr_set(m, i, name, strlen(name), keep.p, keep.n);
	else if (r == 0)
		(void)mem_xattr_drop(m, i, name);
	if (r == 0)
		i->mode = kill ? mode & ~(uint32_t)S_ISGID : mode;
	return r;
}

/* What Linux has; another one would be kept, but no other file system takes it. */
static bool known_namespace(const char *name)
{
	static const char *const prefix[] = {"user.", "trusted.", "security.", "system."};

	for (size_t k = 0; k < ARRAY_LEN(prefix); k++)
		if (strncmp(name, prefix[k], strlen(prefix[k])) == 0)
			return true;
	return false;
}

int mem_setxattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name,
	const void *value, size_t n, uint32_t flags)
{
	struct mem *m = mem_of(b);
	struct mem_inode *i = mem_find(m, node);
	size_t name_n = strnlen(name, MEM_NAME_MAX + 1);
	const struct mem_xattr *old;
	int r;

	if (!i)
		return -ESTALE;
	if (name_n == 0 || name_n > MEM_NAME_MAX)
		return -ERANGE;
	if (!known_namespace(name))
		return -EOPNOTSUPP;
	if (n > MEM_MAX_XATTR_VALUE)
		return -E2BIG;
	if (flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE | FSB_XATTR_KILL_SGID))
		return -EINVAL;
	MEM_EXCLUSIVE(&i->lock);
	old = *find(i, name, name_n);
	if (flags & XATTR_CREATE && old)
		return -EEXIST;
	if (flags & XATTR_REPLACE && !old)
		return -ENODATA;
	r = acl_is_name(name) ? set_acl(m, i, name, value, n, flags & FSB_XATTR_KILL_SGID)
			      : mem_xattr_set(m, i, name, name_n, value, n);
	if (r == 0)
		i->ctime = mem_now();
	return r;
}

int64_t mem_getxattr(struct fsb *b, uint64_t node, const char *name, void *buf, size_t cap)
{
	struct mem_inode *i = mem_find(mem_of(b), node);
	const struct mem_xattr *x;

	if (!i)
		return -ESTALE;
	MEM_SHARED(&i->lock);
	x = *find(i, name, strlen(name));
	if (!x)
		return -ENODATA;
	if (cap && x->value_n > cap)
		return -ERANGE;
	if (cap)
		memcpy(buf, value_of(x), x->value_n);
	return (int64_t)x->value_n;
}

int64_t mem_listxattr(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	struct mem_inode *i = mem_find(mem_of(b), node);
	size_t n = 0;

	if (!i)
		return -ESTALE;
	MEM_SHARED(&i->lock);
	for (const struct mem_xattr *x = i->xattrs; x; x = x->next) {
		if (cap && n + x->name_n + 1 <= cap)
			memcpy(buf + n, x->bytes, x->name_n + 1u);
		n += x->name_n + 1u;
	}
	return cap && n > cap ? -ERANGE : (int64_t)n;
}

int mem_removexattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name)
{
	struct mem *m = mem_of(b);
	struct mem_inode *i = mem_find(m, node);

	if (!i)
		return -ESTALE;
	MEM_EXCLUSIVE(&i->lock);
	if (!mem_xattr_drop(m, i, name))
		return -ENODATA;
	i->ctime = mem_now();
	return 0;
}
