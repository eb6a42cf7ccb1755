// SPDX-License-Identifier: Apache-2.0
/*
 * passthrough: POSIX ACLs.
 *
 * Without map a file's ACL is the host's own: the host's kernel keeps it and the mode together, and
 * hands it on to what is made. With map=root, and for what is a device on the guest's side alone,
 * it is the guest's, in its ids, kept as other attributes are: the host minds none of it, and we
 * hand it on.
 */
#include "fs/backends/passthrough/pt.h"
#include "base/cleanup.h"

#include <string.h>
#include <sys/xattr.h>
#include <time.h>

static bool is_ours(const struct pt *p, uint32_t type)
{
	return p->map || (type && type != S_IFREG && type != S_IFDIR);
}

static const char *host_name(const char *name, bool ours)
{
	if (!ours)
		return name;
	return !strcmp(name, ACL_ACCESS) ? PT_XATTR_GUEST ACL_ACCESS : PT_XATTR_GUEST ACL_DEFAULT;
}

/* A file in hand, open, and as the guest sees it. */
struct file {
	struct pt_ref r;
	struct statx sx;
	struct pt_meta m;
	struct pt_guest g;
};

static int look(struct pt *p, struct file *f)
{
	return pt_look_guest(p, &f->r, &f->sx, &f->m, &f->g);
}

static int write_one(int fd, const char *name, const void *value, size_t n)
{
	int r = n ? fsetxattr(fd, name, value, n, 0) : fremovexattr(fd, name);

	return r < 0 && (n || errno != ENODATA) ? -errno : 0;
}

static int set_mode(struct pt *p, struct file *f, uint32_t mode)
{
	int r;

	if (f->g.mode == mode)
		return 0;
	f->g.mode = mode;
	r = pt_change(p, &f->r, &f->sx, &f->m, &f->g);
	return r == 0 ? look(p, f) : r;
}

/* Ours and the mode are two things to the host. Whatever ends us between them, nobody may more than
 * he might before or may after: what the new mode lacks goes first, what it adds comes last. */
static int set_ours(
	struct pt *p, struct file *f, const char *name, const struct acl_bytes *keep, uint32_t mode)
{
	uint32_t before = f->g.mode;
	int r = set_mode(p, f, before & mode);

	if (r < 0)
		return r;
	r = write_one(f->r.fd, host_name(name, true), keep->p, keep->n);
	if (r < 0)
		(void)set_mode(p, f, before);
	return r;
}

/* The host's kernel takes set-gid from a file whose group is not among ours, and the guest's is not
 * known to it: what the guest's mode is to be is said again. */
static int set(
	struct pt *p, struct file *f, const char *name, const void *value, size_t n, bool kill)
{
	uint32_t mode = f->g.mode;
	struct acl_bytes keep;
	int r = acl_set(name, value, n, &mode, &keep);

	if (r < 0)
		return r;
	if (kill)
		mode &= ~(uint32_t)S_ISGID;
	r = is_ours(p, f->g.mode & S_IFMT) ? set_ours(p, f, name, &keep, mode)
					   : write_one(f->r.fd, name, value, n);
	if (r == -EINVAL) /* ids that an ordinary user's jail does not have: as with chown() */
		return -EPERM;
	if (r == 0)
		r = look(p, f);
	if (r == 0)
		r = set_mode(p, f, mode);
	if (r == 0 && (f->sx.stx_mode & 0111)) /* the host may run it now */
		pt_drop_writer(&p->nodes, f->r.node);
	return r;
}

static void forget_default(struct pt *p, struct pt_node *n)
{
	LOCK_SCOPE(&p->nodes.lock);
	n->no_default_until_ms = 0;
}

int pt_acl_set(
	struct pt *p, uint64_t node, const char *name, const void *value, size_t n, uint32_t flags)
{
	struct file f;
	int r = pt_open_ref(p, node, PT_READ, &f.r);

	if (r < 0) /* -ENXIO: not of a type that can be opened without doing things */
		return r == -ENXIO ? -EOPNOTSUPP : r;
	{
		LOCK_SCOPE(pt_change_lock(p, f.r.node));
		r = look(p, &f);
		if (r == 0)
			r = set(p, &f, name, value, n, flags & FSB_XATTR_KILL_SGID);
		forget_default(p, f.r.node);
	}
	pt_put(&p->nodes, &f.r);
	return r;
}

/* A file of @node, open, and what its ACL @*name is called there. */
static int find(struct pt *p, uint64_t node, const char **name, struct pt_ref *ret)
{
	int r = pt_open_ref(p, node, PT_READ, ret);

	if (r == 0)
		*name = host_name(*name, p->map || pt_is_special(p, ret->node));
	return r == -ENXIO ? -ENODATA : r;
}

int64_t pt_acl_get(struct pt *p, uint64_t node, const char *name, void *buf, size_t cap)
{
	struct pt_ref f;
	int64_t n = find(p, node, &name, &f);

	if (n < 0) /* what we may not open the guest cannot use either */
		return n == -EACCES ? -ENODATA : n;
	n = fgetxattr(f.fd, name, buf, cap);
	n = n < 0 ? -errno : n;
	pt_put(&p->nodes, &f);
	return n;
}

int pt_acl_remove(struct pt *p, uint64_t node, const char *name)
{
	struct pt_ref f;
	int r = find(p, node, &name, &f);

	if (r < 0)
		return r;
	{
		LOCK_SCOPE(pt_change_lock(p, f.node));
		r = fremovexattr(f.fd, name) < 0 ? -errno : 0;
	}
	pt_put(&p->nodes, &f);
	return r;
}

/* ---- what is made */

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t); /* a read of memory */
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* That there is none is believed for as long as a host's edit may take to show. */
static void read_default(struct pt *p, struct pt_ref *dir, struct acl_bytes *ret)
{
	uint64_t now = now_ms();
	int64_t n;

	ret->n = 0;
	{
		LOCK_SCOPE(&p->nodes.lock);
		if (now < dir->node->no_default_until_ms)
			return;
	}
	LOCK_SCOPE(pt_change_lock(p, dir->node));
	n = PT_IN_DIR(p, dir,
		pt_xattr_at(dir->fd, ".", host_name(ACL_DEFAULT, p->map), ret->p, sizeof(ret->p)));
	if (n > 0) {
		ret->n = (size_t)n;
		return;
	}
	LOCK_SCOPE(&p->nodes.lock);
	dir->node->no_default_until_ms = now + PT_NO_DEFAULT_MS;
}

void pt_acl_inherit(
	struct pt *p, struct pt_ref *dir, uint32_t umask, uint32_t *mode, struct pt_acls *ret)
{
	uint32_t type = *mode & S_IFMT;
	bool has;

	ret->access.n = ret->def.n = 0;
	if (type == S_IFLNK)
		return;
	if (p->b.acls)
		read_default(p, dir, &ret->def);
	has = acl_inherit(ret->def.p, ret->def.n, umask, mode, &ret->access);
	if (!has || type != S_IFDIR || !p->map)
		ret->def.n = 0;
	if (!is_ours(p, type)) /* the host's kernel does it, given the mode that comes of it */
		ret->access.n = 0;
}

int pt_acl_write(const struct pt_acls *a, int fd)
{
	int r = 0;

	if (a->access.n)
		r = write_one(fd, host_name(ACL_ACCESS, true), a->access.p, a->access.n);
	if (r == 0 && a->def.n)
		r = write_one(fd, host_name(ACL_DEFAULT, true), a->def.p, a->def.n);
	return r;
}
