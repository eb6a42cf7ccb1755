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

/* Of a node of the request's own. What cannot be looked at is not touched. */
static int flags_of(struct fuse_call *c, uint64_t node, uint32_t *ret)
{
	int r = CALL(c, getflags, node, ret);

	if (r == -ENOTTY)
		*ret = 0;
	return r == -ENOTTY ? 0 : r;
}

/* Whether a node of the request's own has none of @which. */
static int check_held(struct fuse_call *c, uint64_t node, uint32_t which)
{
	uint32_t flags;
	int r = flags_of(c, node, &flags);

	return r == 0 && flags & which ? -EPERM : r;
}

/* Of another. */
static int check(struct fuse_call *c, uint64_t node, uint32_t which)
{
	int r = fuse_hold(c, node);

	if (r < 0)
		return r;
	r = check_held(c, node, which);
	fuse_let_go(c, node);
	return r;
}

/* Of what @name in @dir is, if anything; @none: it must not be anything. */
static int check_name(struct fuse_call *c, uint64_t dir, const char *name, bool none)
{
	struct fsb_entry e = {0};
	int r;

	if (fuse_check_name(name) < 0)
		return 0; /* the operation says what is wrong with it */
	r = CALL(c, lookup, &c->req, dir, name, &e);
	if (r < 0 || !e.node)
		return r == -ENOENT ? 0 : r;
	r = none ? -EPERM : check_held(c, e.node, FSB_FL_GUARDS);
	c->ops->forget(c->b, e.node, 1);
	return r;
}

/* @name goes from @dir. */
static int removed(struct fuse_call *c, uint64_t dir, const char *name)
{
	return check_held(c, dir, FSB_FL_GUARDS) ?: check_name(c, dir, name, false);
}

/* @name comes into @dir, in the place of what is there: of a directory for appending nothing goes.
 */
static int put(struct fuse_call *c, uint64_t dir, const char *name)
{
	uint32_t flags;
	int r = flags_of(c, dir, &flags);

	if (r < 0)
		return r;
	return flags & FSB_FL_IMMUTABLE ? -EPERM : check_name(c, dir, name, flags & FSB_FL_APPEND);
}

static int moved(struct fuse_call *c, uint64_t newdir, size_t fixed)
{
	int r = fuse_hold(c, newdir);

	if (r < 0)
		return r;
	r = removed(c, c->h.nodeid, fuse_arg_string(c, fixed, 0))
		    ?: put(c, newdir, fuse_arg_string(c, fixed, 1));
	fuse_let_go(c, newdir);
	return r;
}

/* What each of these must not meet. */

static uint32_t set(const struct fuse_setattr_in *in)
{
	bool times = (in->valid & (FATTR_ATIME | FATTR_ATIME_NOW)) == FATTR_ATIME ||
		     (in->valid & (FATTR_MTIME | FATTR_MTIME_NOW)) == FATTR_MTIME;

	return times || in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_SIZE)
		       ? FSB_FL_GUARDS
		       : FSB_FL_IMMUTABLE;
}

static uint32_t opened(uint32_t flags)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY;

	if ((writes && !(flags & O_APPEND)) || flags & O_TRUNC)
		return FSB_FL_GUARDS;
	return writes ? FSB_FL_IMMUTABLE : 0;
}

static uint32_t written(const struct fuse_write_in *in)
{
	/* A page that a mapping changed is nobody's append. */
	return in->flags & O_APPEND && !(in->write_flags & FUSE_WRITE_CACHE) ? FSB_FL_IMMUTABLE
									     : FSB_FL_GUARDS;
}

static uint32_t allocated(const struct fuse_fallocate_in *in)
{
	return in->mode & ~(uint32_t)FALLOC_FL_KEEP_SIZE ? FSB_FL_GUARDS : FSB_FL_IMMUTABLE;
}

int fuse_flags_check(struct fuse_call *c)
{
	uint64_t node = c->h.nodeid;

	if (!c->ops->getflags)
		return 0;
	switch (c->h.opcode) {
	case FUSE_SETATTR: return check_held(c, node, set(ARGS(c, struct fuse_setattr_in)));
	case FUSE_OPEN: return check_held(c, node, opened(ARGS(c, struct fuse_open_in)->flags));
	case FUSE_WRITE: return check_held(c, node, written(ARGS(c, struct fuse_write_in)));
	case FUSE_FALLOCATE:
		return check_held(c, node, allocated(ARGS(c, struct fuse_fallocate_in)));
	case FUSE_COPY_FILE_RANGE:
		return check(c, ARGS(c, struct fuse_copy_file_range_in)->nodeid_out, FSB_FL_GUARDS);
	case FUSE_SETXATTR:
	case FUSE_REMOVEXATTR: return check_held(c, node, FSB_FL_GUARDS);
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_SYMLINK:
	case FUSE_TMPFILE:
	case FUSE_CREATE: return check_held(c, node, FSB_FL_IMMUTABLE);
	case FUSE_LINK:
		return check_held(c, node, FSB_FL_IMMUTABLE)
			       ?: check(c, ARGS(c, struct fuse_link_in)->oldnodeid, FSB_FL_GUARDS);
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
