// SPDX-License-Identifier: Apache-2.0
// passthrough: the host's file as the guest believes it to be, and back.
#include "fs/backends/passthrough/pt.h"
#include "base/cleanup.h"
#include "fs/reopen.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define SETID (S_ISUID | S_ISGID)

/* ---- reading */

/* Whether a file of this kind can have PT_XATTR_META at all. Without map only set-id bits and
 * devices are kept there, and a file that has it is marked by the sticky bit, which means nothing
 * else to the host: most files are not looked at twice. */
static bool has_meta(const struct pt *p, const struct statx *sx)
{
	return S_ISREG(sx->stx_mode) ? p->map || (sx->stx_mode & S_ISVTX)
				     : p->map && S_ISDIR(sx->stx_mode);
}

/* What was read, or why not. Whether that says it: one of ours could be read, and is no longer; any
 * other failure is for want of something, and passes. */
static bool parse(const char *buf, int64_t n, struct pt_meta *ret)
{
	if (n <= 0 || pt_meta_parse(buf, (size_t)n, ret) < 0)
		*ret = (struct pt_meta){0};
	if (ret->flags & FSB_FL_GUARDS)
		atomic_store(&fsb_guards, true);
	return n >= 0 || n == -ENODATA || n == -EOPNOTSUPP || n == -ERANGE || n == -EACCES;
}

bool pt_meta_at(
	struct pt *p, int dirfd, const char *name, const struct statx *sx, struct pt_meta *ret)
{
	char buf[PT_MAX_META];
	bool settled;

	*ret = (struct pt_meta){0};
	if (!has_meta(p, sx))
		return true;
	if (pt_known_meta(&p->nodes, sx, ret))
		return true;
	settled = pt_is_settled(sx); /* before it is read */
	return parse(buf, pt_xattr_at(dirfd, name, PT_XATTR_META, buf, sizeof(buf)), ret) &&
	       settled;
}

void pt_meta_of(struct pt *p, struct pt_ref *r, const struct statx *sx, struct pt_meta *ret)
{
	char buf[PT_MAX_META];
	bool sure = true;
	int64_t n;

	*ret = (struct pt_meta){0};
	if (!has_meta(p, sx) && sx->stx_mode == r->mode)
		return;
	if (has_meta(p, sx)) {
		if (pt_known_meta(&p->nodes, sx, ret))
			return;
		sure = pt_is_settled(sx);
		n = pt_need(&p->nodes, r, PT_READ);
		if (n == 0) {
			n = fgetxattr(r->fd, PT_XATTR_META, buf, sizeof(buf));
			n = n < 0 ? -errno : n;
		}
		sure = parse(buf, n, ret) && sure;
	}
	pt_learn(&p->nodes, r->node, sx, ret, sure);
}

/* ---- the guest's view */

static uint32_t owner(uint32_t id, uint32_t own, uint32_t root)
{
	return id == own || id == root ? 0 : id;
}

void pt_guest(
	const struct pt *p, const struct statx *sx, const struct pt_meta *m, struct pt_guest *ret)
{
	uint32_t mode = sx->stx_mode;

	*ret = (struct pt_guest){.mode = mode,
		.uid = sx->stx_uid,
		.gid = sx->stx_gid,
		.rdev = (uint32_t)makedev(sx->stx_rdev_major, sx->stx_rdev_minor)};
	if (p->map) {
		ret->uid = m->there ? m->uid : owner(sx->stx_uid, p->euid, p->root_uid);
		ret->gid = m->there ? m->gid : owner(sx->stx_gid, p->egid, p->root_gid);
	}
	if (!m->there)
		return;
	if (S_ISREG(mode))
		mode &= ~(uint32_t)S_ISVTX; /* the mark */
	if (p->map || m->type)
		mode &= ~(uint32_t)m->hide;
	ret->mode = mode | m->set;
	ret->flags = p->map ? m->flags : 0;
	if (m->type && S_ISREG(mode)) {
		ret->mode = (ret->mode & 07777) | m->type;
		ret->rdev = m->rdev;
	}
}

void pt_attr(struct pt *p, const struct statx *sx, const struct pt_meta *m, struct fuse_attr *ret)
{
	struct pt_guest g;

	pt_guest(p, sx, m, &g);
	*ret = (struct fuse_attr){.ino = pt_ino(&p->nodes, sx),
		.size = sx->stx_size,
		.blocks = sx->stx_blocks,
		.atime = (uint64_t)sx->stx_atime.tv_sec,
		.mtime = (uint64_t)sx->stx_mtime.tv_sec,
		.ctime = (uint64_t)sx->stx_ctime.tv_sec,
		.atimensec = sx->stx_atime.tv_nsec,
		.mtimensec = sx->stx_mtime.tv_nsec,
		.ctimensec = sx->stx_ctime.tv_nsec,
		.mode = g.mode,
		.nlink = sx->stx_nlink,
		.uid = g.uid,
		.gid = g.gid,
		.rdev = g.rdev,
		.blksize = sx->stx_blksize};
	if (S_ISLNK(g.mode)) /* 0777 wherever it is a file */
		ret->mode = S_IFLNK | 0777;
	if (m->type && !S_ISLNK(g.mode))
		ret->size = ret->blocks = 0;
}

int pt_look_guest(struct pt *p, struct pt_ref *r, struct statx *ret_sx, struct pt_meta *ret_meta,
	struct pt_guest *ret)
{
	int e = pt_look(&p->nodes, r, ret_sx);

	if (e < 0)
		return e;
	pt_meta_of(p, r, ret_sx, ret_meta);
	pt_guest(p, ret_sx, ret_meta, ret);
	return 0;
}

int pt_attr_of(struct pt *p, struct pt_ref *r, struct fuse_attr *ret)
{
	struct pt_meta m;
	struct statx sx;
	int e = pt_look(&p->nodes, r, &sx);

	if (e < 0)
		return e;
	pt_meta_of(p, r, &sx, &m);
	pt_attr(p, &sx, &m, ret);
	return 0;
}

/* ---- writing */

void pt_encode(const struct pt *p, const struct statx *sx, const struct pt_guest *want,
	uint32_t *ret_mode, struct pt_meta *ret)
{
	uint32_t perm = want->mode & 07777, host = perm, least = 0;
	bool file = S_ISREG(sx->stx_mode), dir = S_ISDIR(sx->stx_mode);
	struct pt_meta m = {.uid = p->map ? want->uid : sx->stx_uid,
		.gid = p->map ? want->gid : sx->stx_gid,
		.rdev = want->rdev};

	if (file && (want->mode & S_IFMT) != S_IFREG)
		m.type = want->mode & S_IFMT;
	if (p->map || m.type) {
		/* Ours to open. What the guest lets its users write, the host's may not: they could
		 * also change who the guest believes it to be. Nobody on the host needs what stands
		 * for a device. */
		least = dir ? 0700 : file ? 0600 : 0;
		host = (perm & (0755 | (sx->stx_mode & 0022))) | least;
		if (m.type)
			host = S_ISLNK(m.type) ? 0644 : least;
		m.set = (uint16_t)(perm & ~host);
		m.hide = (uint16_t)(host & ~perm);
		m.flags = m.type || !p->map ? 0 : want->flags;
		m.there = m.set || m.hide || m.type || m.flags ||
			  want->uid != owner(sx->stx_uid, p->euid, p->root_uid) ||
			  want->gid != owner(sx->stx_gid, p->egid, p->root_gid);
	} else if (file && (perm & SETID)) {
		host = perm & 0777;
		m.set = (uint16_t)(perm & 07000);
		m.there = true;
	}
	if (file && m.there && ((m.set & SETID) || m.type))
		host |= S_ISVTX;
	*ret_mode = host;
	*ret = m.there && (file || dir) ? m : (struct pt_meta){0};
	if (!p->map && !file)
		*ret = (struct pt_meta){0};
}

int pt_write_meta(int fd, const struct pt_meta *m)
{
	char buf[PT_MAX_META];
	int r = m->there ? fsetxattr(fd, PT_XATTR_META, buf, pt_meta_print(m, buf), 0)
			 : fremovexattr(fd, PT_XATTR_META);

	if (r < 0 && m->there) /* not our file, or a file system that keeps none: who may, then? */
		return errno == EACCES || errno == EOPNOTSUPP ? -EPERM : -errno;
	return r < 0 && errno != ENODATA ? -errno : 0;
}

/* The process serves without this capability, so that the kernel takes the host's set-id bits from
 * what a guest writes; but with it alone root makes a directory of any group set-gid. */
static bool use_fsetid(bool on)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {0};
	const uint32_t bit = 1u << CAP_FSETID;

	if (syscall(SYS_capget, &h, d) < 0 || !(d[0].permitted & bit) ||
		!!(d[0].effective & bit) == on)
		return false;
	d[0].effective ^= bit;
	return syscall(SYS_capset, &h, d) == 0; /* of this thread */
}

static int set_mode(const struct pt *p, const struct pt_ref *r, uint32_t mode)
{
	bool fsetid = p->privileged && (mode & S_ISGID) && use_fsetid(true);
	int e;

	/* By the node's own magic link: fchmod() is not for O_PATH descriptors, and fchmodat2() is
	 * newer than some kernels in use. */
	e = fchmodat(fs_reopen_dir(), fs_fd_name(r->fd).s, mode, 0) < 0 ? -errno : 0;
	if (fsetid)
		(void)use_fsetid(false);
	return e;
}

static bool same_meta(const struct pt_meta *a, const struct pt_meta *b)
{
	return a->there == b->there && a->uid == b->uid && a->gid == b->gid && a->set == b->set &&
	       a->hide == b->hide && a->type == b->type && a->rdev == b->rdev &&
	       a->flags == b->flags;
}

/* chmod() and chown() that change nothing are changes too. */
int pt_touch(const struct pt_ref *r)
{
	return fchownat(r->fd, "", (uid_t)-1, (gid_t)-1, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

int pt_change(struct pt *p, struct pt_ref *r, const struct statx *sx, const struct pt_meta *old,
	const struct pt_guest *want)
{
	struct pt_meta m;
	uint32_t mode;
	bool differs;
	int e = 0;

	if (S_ISLNK(sx->stx_mode))
		return -EOPNOTSUPP; /* a link of the host has an owner and no mode */
	pt_encode(p, sx, want, &mode, &m);
	differs = !same_meta(&m, old);
	if (differs) {
		e = pt_need(&p->nodes, r, PT_READ);
		if (e == -EACCES && pt_claim(p, r) == 0)
			e = pt_need(&p->nodes, r, PT_READ);
	}
	if (e == 0 && differs && m.there)
		e = pt_write_meta(r->fd, &m);
	if (e == 0 && mode != (sx->stx_mode & 07777u))
		e = set_mode(p, r, mode);
	if (e == 0 && differs && !m.there)
		e = pt_write_meta(r->fd, &m);
	if (e == 0 && !differs && mode == (sx->stx_mode & 07777u))
		e = pt_touch(r);
	if (e == 0 && (mode & 0111))
		pt_drop_writer(&p->nodes, r->node);
	return e;
}

int pt_claim(struct pt *p, struct pt_ref *r)
{
	struct pt_meta m;
	struct pt_guest g;
	struct statx sx;
	uint32_t mode;

	if (!p->map || p->readonly || p->privileged || pt_need(&p->nodes, r, PT_PATH) < 0 ||
		pt_statx(&p->nodes, r->fd, "", &sx) < 0)
		return -EACCES;
	if (sx.stx_uid != p->euid || (!S_ISREG(sx.stx_mode) && !S_ISDIR(sx.stx_mode)))
		return -EACCES;
	mode = (sx.stx_mode & 07777) | (S_ISDIR(sx.stx_mode) ? 0700 : 0600);
	if (mode == (sx.stx_mode & 07777u))
		return 0; /* another's claim came first */
	if (set_mode(p, r, mode) < 0)
		return -EACCES;
	/* Now that it can be read, what the guest saw is kept. */
	pt_meta_of(p, r, &sx, &m);
	pt_guest(p, &sx, &m, &g);
	if (pt_statx(&p->nodes, r->fd, "", &sx) == 0)
		(void)pt_change(p, r, &sx, &m, &g); /* it sees a bit more otherwise */
	return 0;
}

static int claim(struct pt *p, struct pt_ref *r)
{
	LOCK_SCOPE(pt_change_lock(p, r->node));
	return pt_claim(p, r);
}

static int open_ref(struct pt *p, uint64_t node, enum pt_fd need, bool held, struct pt_ref *ret)
{
	int e = pt_get(&p->nodes, node, need, ret);

	if (e != -EACCES || !p->map)
		return e;
	e = pt_get(&p->nodes, node, PT_PATH, ret);
	if (e < 0)
		return e;
	e = held ? pt_claim(p, ret) : claim(p, ret);
	if (e == 0)
		e = pt_need(&p->nodes, ret, need);
	if (e < 0)
		pt_put(&p->nodes, ret);
	return e;
}

int pt_open_ref(struct pt *p, uint64_t node, enum pt_fd need, struct pt_ref *ret)
{
	return open_ref(p, node, need, false, ret);
}

int pt_open_held(struct pt *p, uint64_t node, enum pt_fd need, struct pt_ref *ret)
{
	return open_ref(p, node, need, true, ret);
}

uint32_t pt_without_setid(uint32_t mode, bool in_group)
{
	mode &= ~(uint32_t)S_ISUID;
	return mode & S_IXGRP || !in_group ? mode & ~(uint32_t)S_ISGID : mode;
}

/* As the kernel does for a local writer who lacks CAP_FSETID. For the host's bits a guest is not
 * asked whether it wants that: it must not write what the host runs as somebody else. */
int pt_kill(struct pt *p, struct pt_ref *r, const struct fsb_req *writer)
{
	struct pt_guest g;
	struct pt_meta m;
	struct statx sx;
	uint32_t mode;
	int e;

	LOCK_SCOPE(pt_change_lock(p, r->node));
	if (r->kill & PT_KILL_CAPS)
		(void)fremovexattr(r->fd, PT_XATTR_GUEST "security.capability");
	e = pt_statx(&p->nodes, r->fd, "", &sx);
	if (e < 0 || !S_ISREG(sx.stx_mode))
		return e;
	pt_meta_of(p, r, &sx, &m);
	mode = pt_without_setid(sx.stx_mode, true);
	if (mode != sx.stx_mode) {
		e = set_mode(p, r, mode & 07777);
		if (e == 0)
			e = pt_statx(&p->nodes, r->fd, "", &sx);
	}
	pt_guest(p, &sx, &m, &g);
	mode = writer ? pt_without_setid(g.mode, fsb_in_group(writer, g.gid, g.mode)) : g.mode;
	if (e == 0 && mode != g.mode) {
		g.mode = mode;
		e = pt_change(p, r, &sx, &m, &g);
		if (e == 0)
			e = pt_statx(&p->nodes, r->fd, "", &sx);
		if (e == 0)
			pt_meta_of(p, r, &sx, &m);
	}
	if (e == 0) {
		LOCK_SCOPE(&p->nodes.lock);
		r->node->no_caps = true;
		r->node->mode = sx.stx_mode;
	}
	return e;
}
