// SPDX-License-Identifier: Apache-2.0
/*
 * passthrough: symbolic links, and further names of files.
 *
 * A symbolic link of the host can carry no attribute of ours. With map=root it is root's in the
 * guest; one that is somebody else's is a file with the target in it, which the host's users see as
 * such. A link that changes its owner, or is to carry an attribute, becomes one in place.
 */
#include "fs/backends/passthrough/pt.h"
#include "base/cleanup.h"
#include "fs/reopen.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>

#define TEMP_NAME ".msb-link-" /* of a new file while it replaces a link */

static int write_target(int fd, const char *target)
{
	size_t n = strlen(target);
	ssize_t r = pwrite(fd, target, n, 0);

	return r < 0 ? -errno : (size_t)r == n ? 0 : -ENOSPC;
}

/* A file that the guest takes for a link. A descriptor, or -errno. */
static int make_file(struct pt *p, struct pt_ref *dir, const char *name, const char *target,
	const struct pt_guest *g, struct pt_meta *ret_meta)
{
	int fd = pt_new_file(p, dir, name, 0, g, NULL, ret_meta), r;

	if (fd < 0)
		return fd;
	r = write_target(fd, target);
	if (r == 0)
		return fd;
	(void)unlinkat(dir->fd, name, 0);
	close(fd);
	return r;
}

static int make_link(struct pt *p, struct pt_ref *dir, const char *name, const char *target,
	const struct pt_guest *g)
{
	int r = PT_IN_DIR(p, dir, symlinkat(target, dir->fd, name) < 0 ? -errno : 0);

	if (r < 0)
		return r;
	r = pt_own_by_name(p, dir, name, S_IFLNK, g);
	if (r < 0)
		(void)unlinkat(dir->fd, name, 0);
	return r;
}

int pt_symlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	const char *target, struct fsb_entry *ret)
{
	struct pt *p = pt_of(b);
	struct pt_guest g;
	struct pt_meta m;
	struct pt_ref dir;
	int r = p->readonly ? -EROFS : pt_get(&p->nodes, parent, PT_PATH, &dir);

	if (r < 0)
		return r;
	r = pt_new_guest(p, req, &dir, S_IFLNK | 0777, &g, NULL);
	if (r == 0 && p->map && (g.uid || g.gid)) {
		g.mode = S_IFLNK | 0777;
		r = make_file(p, &dir, name, target, &g, &m);
		if (r >= 0)
			r = pt_entry_of(p, &dir, name, r, PT_WRITE, &m, ret);
	} else if (r == 0) {
		r = make_link(p, &dir, name, target, &g);
		if (r == 0)
			r = pt_lookup_in(p, &dir, name, ret);
	}
	pt_put(&p->nodes, &dir);
	return r;
}

static int read_target(struct pt *p, struct pt_ref *r, char *buf, size_t cap)
{
	struct pt_meta m;
	struct statx sx;
	ssize_t n;
	int e;

	if (S_ISLNK(r->node->file.type)) {
		n = readlinkat(r->fd, "", buf, cap);
		return n < 0 ? -errno : (int)n;
	}
	e = pt_look(&p->nodes, r, &sx);
	if (e < 0)
		return e;
	pt_meta_of(p, r, &sx, &m);
	if (!S_ISLNK(m.type))
		return -EINVAL;
	e = pt_need(&p->nodes, r, PT_READ);
	if (e < 0)
		return e;
	n = pread(r->fd, buf, cap, 0);
	return n < 0 ? -errno : (int)n;
}

int pt_readlink(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	struct pt *p = pt_of(b);
	struct pt_ref f;
	int r = pt_get(&p->nodes, node, PT_PATH, &f);

	if (r < 0)
		return r;
	r = read_target(p, &f, buf, cap);
	pt_put(&p->nodes, &f);
	return r;
}

int pt_place_of(struct pt *p, const struct pt_ref *r, struct pt_ref *ret_dir, char *name)
{
	uint64_t parent = 0;

	{
		LOCK_SCOPE(&p->nodes.lock);
		if (r->node->name && !r->node->orphan) {
			parent = r->node->parent->id;
			memcpy(name, r->node->name, strlen(r->node->name) + 1);
		}
	}
	return parent ? pt_get(&p->nodes, parent, PT_PATH, ret_dir) : -EPERM;
}

/* Puts @temp in the place of @name, which must be the link that @was is of: what the host's users
 * have put there meanwhile stays. */
static int exchange(
	struct pt *p, int dirfd, const char *temp, const char *name, const struct statx *was)
{
	struct statx sx;

	if (renameat2(dirfd, temp, dirfd, name, RENAME_EXCHANGE) < 0)
		return -errno;
	if (pt_statx(&p->nodes, dirfd, temp, &sx) == 0 && sx.stx_ino == was->stx_ino &&
		S_ISLNK(sx.stx_mode))
		return 0;
	(void)renameat2(dirfd, temp, dirfd, name, RENAME_EXCHANGE);
	return -ESTALE;
}

int pt_convert_link(struct pt *p, struct pt_ref *r, const struct statx *sx,
	const struct pt_guest *want, struct pt_meta *ret)
{
	const struct timespec times[2] = {{sx->stx_atime.tv_sec, sx->stx_atime.tv_nsec},
		{sx->stx_mtime.tv_sec, sx->stx_mtime.tv_nsec}};
	const struct pt_guest g = {.mode = S_IFLNK | 0777, .uid = want->uid, .gid = want->gid};
	char name[NAME_MAX + 1], temp[NAME_MAX + 1], target[PATH_MAX];
	_cleanup_close_ int fd = -1;
	struct statx now;
	struct pt_ref dir;
	ssize_t n = readlinkat(r->fd, "", target, sizeof(target) - 1);
	int e;

	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (sx->stx_nlink != 1) /* its other names would stay what they are */
		return -EPERM;
	e = pt_place_of(p, r, &dir, name);
	if (e < 0)
		return e;
	(void)snprintf(temp, sizeof(temp), TEMP_NAME "%llu", (unsigned long long)r->node->id);
	fd = make_file(p, &dir, temp, target, &g, ret);
	e = fd < 0 ? fd : futimens(fd, times) < 0 ? -errno : pt_statx(&p->nodes, fd, "", &now);
	if (e == 0)
		e = exchange(p, dir.fd, temp, name, sx);
	if (fd >= 0)
		(void)unlinkat(dir.fd, temp, 0); /* the link, or where it failed the file */
	if (e == 0)
		e = pt_replaced(&p->nodes, r, &now);
	if (e == 0)
		e = pt_need(&p->nodes, r, PT_PATH);
	pt_put(&p->nodes, &dir);
	return e;
}

int pt_link(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t newparent,
	const char *newname, struct fsb_entry *ret)
{
	struct pt *p = pt_of(b);
	struct pt_ref dir, f;
	int r = p->readonly ? -EROFS : pt_get(&p->nodes, newparent, PT_PATH, &dir);

	if (r < 0)
		return r;
	r = pt_get(&p->nodes, node, PT_PATH, &f);
	if (r == 0) {
		if (pt_is_special(p, f.node))
			pt_mark_special(p, &dir);
		/* AT_EMPTY_PATH wants a capability; the magic link does not. */
		r = PT_IN_DIR(p, &dir,
			linkat(fs_reopen_dir(), fs_fd_name(f.fd).s, dir.fd, newname,
				AT_SYMLINK_FOLLOW) < 0
				? -errno
				: 0);
		pt_put(&p->nodes, &f);
	}
	if (r == 0)
		r = pt_lookup_in(p, &dir, newname, ret);
	pt_put(&p->nodes, &dir);
	return r;
}
