// SPDX-License-Identifier: Apache-2.0
// The FUSE server: STATX, which is GETATTR and the time of birth (protocol 7.39, Linux 6.6).
#include "fs/fuse_priv.h"

#include <linux/stat.h>

struct statx_in {
	uint32_t getattr_flags, reserved;
	uint64_t fh;
	uint32_t sx_flags, sx_mask;
};

struct sx_time {
	int64_t sec;
	uint32_t nsec;
	int32_t reserved;
};

struct statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec, flags;
	uint64_t spare[2];
	struct {
		uint32_t mask, blksize;
		uint64_t attributes;
		uint32_t nlink, uid, gid;
		uint16_t mode, spare0;
		uint64_t ino, size, blocks, attributes_mask;
		struct sx_time atime, btime, ctime, mtime;
		uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
		uint64_t spare2[14];
	} stat;
};
_Static_assert(sizeof(struct statx_in) == 24, "FUSE 7.39");
_Static_assert(sizeof(struct statx_out) == 32 + 256, "FUSE 7.39");
_Static_assert(STATX_ATTR_IMMUTABLE == FSB_FL_IMMUTABLE && STATX_ATTR_APPEND == FSB_FL_APPEND &&
		       STATX_ATTR_NODUMP == FSB_FL_NODUMP,
	"linux/stat.h");

int64_t fuse_do_statx(struct fuse_call *c)
{
	const struct statx_in *in = ARGS(c, struct statx_in);
	uint64_t fh = in->getattr_flags & FUSE_GETATTR_FH ? in->fh : 0;
	struct timespec birth;
	struct statx_out o = {0};
	struct fuse_attr a;
	uint32_t flags;
	int r;

	/* A handle only says which file, and the node says that too. */
	if (fh && fuse_pin_handle(c->s, false, c->h.nodeid, fh) < 0)
		fh = 0;
	r = CALL(c, getattr, c->h.nodeid, fh, &a);
	fuse_unpin_handle(c->s, false, fh);
	if (r < 0)
		return r;
	fuse_attr_valid(fuse_cache_of(c->s, c->h.nodeid), &a, &o.attr_valid, &o.attr_valid_nsec);
	o.stat.mask = STATX_BASIC_STATS;
	if ((in->sx_mask & STATX_BTIME) && c->ops->btime &&
		CALL(c, btime, c->h.nodeid, &birth) == 0) {
		o.stat.mask |= STATX_BTIME;
		o.stat.btime = (struct sx_time){birth.tv_sec, (uint32_t)birth.tv_nsec, 0};
	}
	if (c->ops->getflags && CALL(c, getflags, c->h.nodeid, &flags) == 0) {
		o.stat.attributes_mask = FSB_FL_GUARDS | FSB_FL_NODUMP; /* the bits are the same */
		o.stat.attributes = flags & o.stat.attributes_mask;
	}
	o.stat.blksize = a.blksize;
	o.stat.nlink = a.nlink;
	o.stat.uid = a.uid;
	o.stat.gid = a.gid;
	o.stat.mode = (uint16_t)a.mode;
	o.stat.ino = a.ino;
	o.stat.size = a.size;
	o.stat.blocks = a.blocks;
	o.stat.atime = (struct sx_time){(int64_t)a.atime, a.atimensec, 0};
	o.stat.mtime = (struct sx_time){(int64_t)a.mtime, a.mtimensec, 0};
	o.stat.ctime = (struct sx_time){(int64_t)a.ctime, a.ctimensec, 0};
	/* The kernel's 32-bit form: 12 bits of major amid 20 of minor. */
	o.stat.rdev_major = a.rdev >> 8 & 0xfff;
	o.stat.rdev_minor = (a.rdev & 0xff) | (a.rdev >> 12 & 0xfff00);
	return fuse_reply(c, &o, sizeof(o));
}
