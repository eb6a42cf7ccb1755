// SPDX-License-Identifier: Apache-2.0
// passthrough: making files and directories.
#include "fs/backends/passthrough/pt.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>

#define CREATE_FLAGS (O_SYNC | O_DSYNC)

/* Group, and set-gid of directories, are the parent's where that is set-gid. */
int pt_new_guest(struct pt *p, const struct fsb_req *req, struct pt_ref *parent, uint32_t mode,
	struct pt_guest *ret, struct pt_acls *ret_acls)
{
	bool dir = S_ISDIR(mode);
	struct pt_guest above = {0};
	struct pt_meta m;
	struct statx sx;
	int r;

	*ret = (struct pt_guest){.mode = mode, .uid = req->uid, .gid = req->gid};
	if (ret_acls)
		pt_acl_inherit(p, parent, req->umask, &ret->mode, ret_acls);
	if (dir)
		ret->mode &= ~(uint32_t)(S_ISUID | S_ISGID);
	{
		LOCK_SCOPE(&p->nodes.lock);
		above.mode = parent->node->mode | parent->node->meta.set;
		above.flags = parent->node->meta.flags;
	}
	if (above.mode && !(above.mode & S_ISGID) && !above.flags)
		return 0;
	r = pt_look_guest(p, parent, &sx, &m, &above);
	if (r < 0)
		return r;
	ret->flags = fsb_inherited(above.flags, mode);
	if (above.mode & S_ISGID) {
		ret->gid = above.gid;
		ret->mode |= dir ? S_ISGID : 0;
	}
	return 0;
}

/* The host's mode of a new file, and the meta that it needs beside it. */
static uint32_t plan(const struct pt *p, const struct pt_guest *g, struct pt_meta *ret)
{
	const struct statx ours = {.stx_mode = (uint16_t)(S_ISDIR(g->mode) ? S_IFDIR : S_IFREG),
		.stx_uid = p->map ? p->root_uid : g->uid,
		.stx_gid = p->map ? p->root_gid : g->gid};
	uint32_t mode;

	pt_encode(p, &ours, g, &mode, ret);
	return mode;
}

/* On the host a file is whose it is in the guest; or with map, the directory's owner's: theirs are
 * all the files that a guest does not say anything else of. */
static int own(struct pt *p, const struct pt_guest *g, int fd)
{
	uint32_t uid = p->map ? p->root_uid : g->uid, gid = p->map ? p->root_gid : g->gid;

	if (!p->privileged || (uid == p->euid && gid == p->egid))
		return 0;
	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* What open() and mkdir() do not set of a new file. (Set-gid of a directory they do.) */
static int dress(struct pt *p, const struct pt_guest *g, const struct pt_acls *acls,
	const struct pt_meta *m, int fd)
{
	int r = own(p, g, fd);

	if (r == 0 && m->there)
		r = pt_write_meta(fd, m);
	return r == 0 && acls ? pt_acl_write(acls, fd) : r;
}

int pt_new_file(struct pt *p, struct pt_ref *dir, const char *name, int flags,
	const struct pt_guest *g, const struct pt_acls *acls, struct pt_meta *ret_meta)
{
	uint32_t mode = plan(p, g, ret_meta);
	int fd = PT_IN_DIR(p, dir,
		pt_openat(&p->nodes, dir->fd, name,
			flags | O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK | O_NOCTTY, mode & 01777));
	int r;

	if (fd < 0)
		return fd;
	r = dress(p, g, acls, ret_meta, fd);
	if (r < 0) {
		(void)unlinkat(dir->fd, name, 0); /* nobody's but ours, so nobody misses it */
		close(fd);
		return r;
	}
	if (S_ISREG(g->mode))
		return fd;
	pt_mark_special(p, dir);
	return fd;
}

/* Of one made by name: the host's users may have put another in its place meanwhile. It must be of
 * the type that was made, and ours, with one name, as only we can have made it. */
int pt_own_by_name(
	struct pt *p, struct pt_ref *dir, const char *name, uint32_t type, const struct pt_guest *g)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (!p->privileged || p->map || (g->uid == p->euid && g->gid == p->egid))
		return 0;
	fd = pt_openat(&p->nodes, dir->fd, name, O_PATH, 0);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_mode & S_IFMT) != type || st.st_uid != p->euid || st.st_nlink != 1)
		return -ESTALE;
	return own(p, g, fd);
}

/* Every one of these: writing allowed, the parent in hand, who it will belong to. */
static int begin(struct pt *p, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	struct pt_ref *ret, struct pt_guest *g, struct pt_acls *acls)
{
	int r = p->readonly ? -EROFS : pt_get(&p->nodes, parent, PT_PATH, ret);

	if (r < 0)
		return r;
	r = pt_new_guest(p, req, ret, mode, g, acls);
	if (r < 0)
		pt_put(&p->nodes, ret);
	return r;
}

int pt_mknod(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t rdev, struct fsb_entry *ret)
{
	struct pt *p = pt_of(b);
	uint32_t type = mode & S_IFMT ? mode & S_IFMT : S_IFREG;
	struct pt_acls acls;
	struct pt_guest g;
	struct pt_meta m;
	struct pt_ref dir;
	int r;

	if (type == S_IFDIR || type == S_IFLNK)
		return -EPERM;
	r = begin(p, req, parent, type | (mode & 07777), &dir, &g, &acls);
	if (r < 0)
		return r;
	g.rdev = type == S_IFCHR || type == S_IFBLK ? rdev : 0;
	r = pt_new_file(p, &dir, name, 0, &g, &acls, &m);
	if (r >= 0)
		r = pt_entry_of(p, &dir, name, r, PT_WRITE, &m, ret);
	pt_put(&p->nodes, &dir);
	return r;
}

/* A new directory's descriptor; one that is not there any more is nobody's. */
static int open_made(struct pt *p, struct pt_ref *dir, const char *name)
{
	int fd = pt_openat(&p->nodes, dir->fd, name, O_RDONLY | O_DIRECTORY, 0);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) == 0 && st.st_uid == p->euid)
		return fd;
	close(fd);
	return -ESTALE;
}

int pt_mkdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret)
{
	struct pt *p = pt_of(b);
	uint32_t host;
	struct pt_acls acls;
	struct pt_guest g;
	struct pt_meta m;
	struct pt_ref dir;
	int fd, r = begin(p, req, parent, S_IFDIR | (mode & 01777), &dir, &g, &acls);

	if (r < 0)
		return r;
	host = plan(p, &g, &m);
	r = PT_IN_DIR(p, &dir, mkdirat(dir.fd, name, host & 01777) < 0 ? -errno : 0);
	if (r == 0 && !m.there && !acls.access.n && !acls.def.n &&
		(!p->privileged || (!p->map && g.uid == p->euid && g.gid == p->egid))) {
		r = pt_lookup_in(p, &dir, name, ret);
	} else if (r == 0) {
		fd = open_made(p, &dir, name);
		r = fd < 0 ? fd : dress(p, &g, &acls, &m, fd);
		if (r < 0) {
			(void)unlinkat(dir.fd, name, AT_REMOVEDIR);
			cleanup_close_(&fd);
		} else {
			r = pt_entry_of(p, &dir, name, fd, PT_READ, &m, ret);
		}
	}
	pt_put(&p->nodes, &dir);
	return r;
}

/* A new file that the guest has open: by a handle, or where there are none, by its node. */
static int opened(struct pt *p, struct pt_ref *dir, const char *name, int fd,
	const struct pt_meta *m, struct fsb_entry *ret, uint64_t *ret_fh)
{
	/* Without a name the node needs a descriptor too. */
	int handle = p->stateless ? -1 : name ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	int r;

	*ret_fh = 0;
	if (handle < 0 && !p->stateless) {
		r = -errno;
		close(fd);
		return r;
	}
	r = pt_entry_of(p, dir, name, fd, handle == fd ? PT_NODE : PT_WRITE, m, ret);
	if (r < 0) {
		cleanup_close_(&handle);
		return r;
	}
	if (handle < 0)
		return 0;
	r = pt_handle_add(p, handle, false, 0, ret_fh);
	if (r < 0)
		pt_forget(&p->nodes, ret->node, 1);
	return r;
}

int pt_create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	struct pt *p = pt_of(b);
	struct pt_acls acls;
	struct pt_guest g;
	struct pt_meta m;
	struct pt_ref dir;
	int r = begin(p, req, parent, S_IFREG | (mode & 07777), &dir, &g, &acls);

	if (r < 0)
		return r;
	r = pt_new_file(p, &dir, name, (int)(flags & CREATE_FLAGS), &g, &acls, &m);
	if (r >= 0)
		r = opened(p, &dir, name, r, &m, ret, ret_fh);
	pt_put(&p->nodes, &dir);
	return r;
}

int pt_tmpfile(struct fsb *b, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	struct pt *p = pt_of(b);
	uint32_t host;
	struct pt_acls acls;
	struct pt_guest g;
	struct pt_meta m;
	struct pt_ref dir;
	int fd, r;

	if ((flags & O_ACCMODE) == O_RDONLY)
		return p->readonly ? -EROFS : -EINVAL;
	r = begin(p, req, parent, S_IFREG | (mode & 07777), &dir, &g, &acls);
	if (r < 0)
		return r;
	host = plan(p, &g, &m);
	fd = PT_IN_DIR(p, &dir,
		pt_openat(&p->nodes, dir.fd, ".",
			(int)(flags & (CREATE_FLAGS | O_EXCL)) | O_RDWR | O_TMPFILE, host & 01777));
	pt_put(&p->nodes, &dir);
	if (fd < 0)
		return fd;
	r = dress(p, &g, &acls, &m, fd);
	if (r < 0) {
		close(fd);
		return r;
	}
	return opened(p, NULL, NULL, fd, &m, ret, ret_fh);
}
