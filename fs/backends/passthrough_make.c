// SPDX-License-Identifier: Apache-2.0
// passthrough: making, moving and removing names.
#include "fs/backends/passthrough_priv.h"
#include "base/cleanup.h"
#include "fs/reopen.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

uint32_t pt_new_mode(const struct pt *p, const struct fsb_req *req, uint32_t mode)
{
	return mode & ~req->umask & (S_ISDIR(mode) ? 07777 : 01777);
}

/* Gives a file that was just made, by us, to the user who asked. A directory with set-gid has
 * given it its group already. */
int pt_own(struct pt *p, const struct fsb_req *req, const struct pt_ref *parent, int fd)
{
	struct stat st;

	if (!p->privileged || (req->uid == 0 && req->gid == 0))
		return 0;
	if (fstat(parent->fd, &st) < 0)
		return -errno;
	return fchownat(fd, "", req->uid, st.st_mode & S_ISGID ? (gid_t)-1 : req->gid,
		       AT_EMPTY_PATH) < 0
		       ? -errno
		       : 0;
}

/* The same for one made by name. The host's users may have put another in its place meanwhile: it
 * must be of the type that was made, and ours, with one name, as only we can have made it. */
static int own_by_name(struct pt *p, const struct fsb_req *req, const struct pt_ref *parent,
	const char *name, uint32_t type)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (!p->privileged || (req->uid == 0 && req->gid == 0))
		return 0;
	fd = pt_openat(parent->fd, name, O_PATH, 0);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_mode & S_IFMT) != type || st.st_uid != geteuid() ||
		(type != S_IFDIR && st.st_nlink != 1))
		return -ESTALE;
	return pt_own(p, req, parent, fd);
}

/* Every one of these: the parent in hand, writing allowed, then the entry. */
static int begin(struct pt *p, uint64_t parent, struct pt_ref *ret)
{
	return p->readonly ? -EROFS : pt_get(&p->nodes, parent, ret);
}

static int finish(struct pt *p, struct pt_ref *dir, const struct fsb_req *req, const char *name,
	uint32_t type, int r, struct fsb_entry *ret)
{
	if (r == 0) {
		r = own_by_name(p, req, dir, name, type);
		if (r < 0) /* nobody's but ours, so nobody misses it */
			(void)unlinkat(dir->fd, name, type == S_IFDIR ? AT_REMOVEDIR : 0);
	}
	if (r == 0)
		r = pt_lookup_in(p, dir, name, ret);
	pt_put(&p->nodes, dir);
	return r;
}

int pt_mknod(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t rdev, struct fsb_entry *ret)
{
	struct pt *p = pt_of(b);
	uint32_t type = mode & S_IFMT ? mode & S_IFMT : S_IFREG;
	struct pt_ref dir;
	int r;

	if (type != S_IFREG && type != S_IFIFO && type != S_IFSOCK)
		return -EPERM;
	r = begin(p, parent, &dir);
	if (r < 0)
		return r;
	r = mknodat(dir.fd, name, type | pt_new_mode(p, req, mode), 0) < 0 ? -errno : 0;
	return finish(p, &dir, req, name, type, r, ret);
}

int pt_mkdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret)
{
	struct pt *p = pt_of(b);
	struct pt_ref dir;
	int r = begin(p, parent, &dir);

	if (r < 0)
		return r;
	r = mkdirat(dir.fd, name, pt_new_mode(p, req, mode | S_IFDIR)) < 0 ? -errno : 0;
	return finish(p, &dir, req, name, S_IFDIR, r, ret);
}

int pt_symlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	const char *target, struct fsb_entry *ret)
{
	struct pt *p = pt_of(b);
	struct pt_ref dir;
	int r = begin(p, parent, &dir);

	if (r < 0)
		return r;
	r = symlinkat(target, dir.fd, name) < 0 ? -errno : 0;
	return finish(p, &dir, req, name, S_IFLNK, r, ret);
}

static int remove_name(struct pt *p, uint64_t parent, const char *name, int flags)
{
	struct pt_ref dir;
	int r = begin(p, parent, &dir);

	if (r < 0)
		return r;
	pt_hold(&p->nodes, &dir, name);
	r = unlinkat(dir.fd, name, flags) < 0 ? -errno : 0;
	if (r < 0)
		pt_moved(&p->nodes, &dir, name); /* it keeps its place */
	pt_put(&p->nodes, &dir);
	return r;
}

int pt_unlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	return remove_name(pt_of(b), parent, name, 0);
}

int pt_rmdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	return remove_name(pt_of(b), parent, name, AT_REMOVEDIR);
}

int pt_rename(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint64_t newparent, const char *newname, uint32_t flags)
{
	struct pt *p = pt_of(b);
	struct pt_ref from, to;
	int r;

	if (flags & RENAME_WHITEOUT)
		return -EINVAL; /* a shared directory gets no devices that only a guest understands
				 */
	r = begin(p, parent, &from);
	if (r < 0)
		return r;
	r = pt_get(&p->nodes, newparent, &to);
	if (r == 0) {
		if (flags == 0)
			pt_hold(&p->nodes, &to, newname);
		r = renameat2(from.fd, name, to.fd, newname, flags) < 0 ? -errno : 0;
		if (r == 0 || flags == 0) /* else what is there keeps its place */
			pt_moved(&p->nodes, &to, newname);
		if (r == 0 && (flags & RENAME_EXCHANGE))
			pt_moved(&p->nodes, &from, name);
		pt_put(&p->nodes, &to);
	}
	pt_put(&p->nodes, &from);
	return r;
}

int pt_link(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t newparent,
	const char *newname, struct fsb_entry *ret)
{
	struct pt *p = pt_of(b);
	struct pt_ref dir, f;
	int r = begin(p, newparent, &dir);

	if (r < 0)
		return r;
	r = pt_get(&p->nodes, node, &f);
	if (r == 0) {
		/* AT_EMPTY_PATH wants a capability; the magic link does not. */
		r = linkat(fs_reopen_dir(), fs_fd_name(f.fd).s, dir.fd, newname,
			    AT_SYMLINK_FOLLOW) < 0
			    ? -errno
			    : 0;
		pt_put(&p->nodes, &f);
	}
	if (r == 0)
		r = pt_lookup_in(p, &dir, newname, ret);
	pt_put(&p->nodes, &dir);
	return r;
}
