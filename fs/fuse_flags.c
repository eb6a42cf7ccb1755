// SPDX-License-Identifier: Apache-2.0
/*
 * The FUSE server: files that are immutable, or for appending alone.
 *
 * A guest's kernel does not know of these flags, and the host's must not (a file of the host that
 * is immutable could not be removed with its sandbox), so they are held up here, as a local file
 * system's kernel would (Linux, fs/namei.c and fs/attr.c). What only the kernel could refuse is
 * not: where OPEN is not sent, a file is opened for writing, and it is the write that fails.
 *
 * All of it runs only once some file has such a flag (fsb_guards).
 */
#include "fs/fuse_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>

/* A node of the request's own. */
static uint32_t of_held(struct fuse_call *c, uint64_t node)
{
	uint32_t flags;

	return CALL(c, getflags, node, &flags) == 0 ? flags : 0;
}

/* Another, which the operation itself will check. */
static uint32_t of(struct fuse_call *c, uint64_t node)
{
	uint32_t flags = 0;

	if (fuse_hold(c, node) == 0) {
		flags = of_held(c, node);
		fuse_let_go(c, node);
	}
	return flags;
}

static int refuse(uint32_t flags, uint32_t which)
{
	return flags & which ? -EPERM : 0;
}

/* @name goes from @dir. */
static int removed(struct fuse_call *c, uint64_t dir, const char *name)
{
	struct fsb_entry e = {0};
	int r = refuse(of(c, dir), FSB_FL_GUARDS);

	if (r < 0 || fuse_check_name(name) < 0)
		return r;
	r = CALL(c, lookup, &c->req, dir, name, &e);
	if (r < 0 || !e.node)
		return r == -ENOENT ? 0 : r;
	r = refuse(of_held(c, e.node), FSB_FL_GUARDS);
	c->ops->forget(c->b, e.node, 1);
	return r;
}

static int moved(struct fuse_call *c, uint64_t newdir, size_t fixed)
{
	int r = fuse_hold(c, newdir);

	if (r < 0)
		return r;
	r = removed(c, c->h.nodeid, fuse_arg_string(c, fixed, 0));
	if (r == 0)
		r = refuse(of(c, newdir), FSB_FL_IMMUTABLE);
	if (r == 0 && of(c, newdir) & FSB_FL_APPEND) { /* it takes new names alone */
		struct fsb_entry e = {0};
		const char *name = fuse_arg_string(c, fixed, 1);

		if (fuse_check_name(name) == 0 && CALL(c, lookup, &c->req, newdir, name, &e) == 0 &&
			e.node) {
			c->ops->forget(c->b, e.node, 1);
			r = -EPERM;
		}
	} else if (r == 0) {
		r = removed(c, newdir, fuse_arg_string(c, fixed, 1));
	}
	fuse_let_go(c, newdir);
	return r;
}

static int set(const struct fuse_setattr_in *in, uint32_t flags)
{
	bool times = (in->valid & (FATTR_ATIME | FATTR_ATIME_NOW)) == FATTR_ATIME ||
		     (in->valid & (FATTR_MTIME | FATTR_MTIME_NOW)) == FATTR_MTIME;

	if (times || in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_SIZE))
		return refuse(flags, FSB_FL_GUARDS);
	return refuse(flags, FSB_FL_IMMUTABLE);
}

static int opened(uint32_t open_flags, uint32_t flags)
{
	bool writes = (open_flags & O_ACCMODE) != O_RDONLY;

	if (writes && !(open_flags & O_APPEND))
		return refuse(flags, FSB_FL_GUARDS);
	return refuse(flags, open_flags & O_TRUNC ? FSB_FL_GUARDS : writes ? FSB_FL_IMMUTABLE : 0);
}

static int written(const struct fuse_write_in *in, uint32_t flags)
{
	/* A page that a mapping changed is nobody's append. */
	bool appends = in->flags & O_APPEND && !(in->write_flags & FUSE_WRITE_CACHE);

	return refuse(flags, appends ? FSB_FL_IMMUTABLE : FSB_FL_GUARDS);
}

/* Where the name is there already, that file is opened. */
static int created(struct fuse_call *c)
{
	const struct fuse_create_in *in = ARGS(c, struct fuse_create_in);
	const char *name = fuse_arg_string(c, sizeof(*in), 0);
	struct fsb_entry e = {0};
	int r = refuse(of_held(c, c->h.nodeid), FSB_FL_IMMUTABLE);

	if (r < 0 || fuse_check_name(name) < 0)
		return r;
	r = CALL(c, lookup, &c->req, c->h.nodeid, name, &e);
	if (r < 0 || !e.node)
		return r == -ENOENT ? 0 : r;
	r = opened(in->flags, of_held(c, e.node));
	c->ops->forget(c->b, e.node, 1);
	return r;
}

int fuse_flags_check(struct fuse_call *c)
{
	uint64_t node = c->h.nodeid;

	if (!c->ops->getflags)
		return 0;
	switch (c->h.opcode) {
	case FUSE_SETATTR: return set(ARGS(c, struct fuse_setattr_in), of_held(c, node));
	case FUSE_OPEN: return opened(ARGS(c, struct fuse_open_in)->flags, of_held(c, node));
	case FUSE_WRITE: return written(ARGS(c, struct fuse_write_in), of_held(c, node));
	case FUSE_FALLOCATE:
		return refuse(of_held(c, node),
			ARGS(c, struct fuse_fallocate_in)->mode & ~(uint32_t)FALLOC_FL_KEEP_SIZE
				? FSB_FL_GUARDS
				: FSB_FL_IMMUTABLE);
	case FUSE_COPY_FILE_RANGE:
		return refuse(
			of(c, ARGS(c, struct fuse_copy_file_range_in)->nodeid_out), FSB_FL_GUARDS);
	case FUSE_SETXATTR:
	case FUSE_REMOVEXATTR: return refuse(of_held(c, node), FSB_FL_GUARDS);
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_SYMLINK:
	case FUSE_TMPFILE: return refuse(of_held(c, node), FSB_FL_IMMUTABLE);
	case FUSE_CREATE: return created(c);
	case FUSE_LINK:
		return refuse(of_held(c, node), FSB_FL_IMMUTABLE)
			       ?: refuse(of(c, ARGS(c, struct fuse_link_in)->oldnodeid),
					  FSB_FL_GUARDS);
	case FUSE_UNLINK:
	case FUSE_RMDIR: return removed(c, node, fuse_arg_string(c, 0, 0));
	case FUSE_RENAME:
		return moved(
			c, ARGS(c, struct fuse_rename_in)->newdir, sizeof(struct fuse_rename_in));
	case FUSE_RENAME2:
		return moved(
			c, ARGS(c, struct fuse_rename2_in)->newdir, sizeof(struct fuse_rename2_in));
	default: return 0;
	}
}
