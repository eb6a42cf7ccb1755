/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wrappers: what is done around every operation of another backend, without writing thirty
 * functions.
 *
 * A wrapper embeds struct fsb_filter first in its own struct, fills @f and calls fsb_filter_init().
 * Every operation then goes: before(), and where that is 0 the next backend's, then after(). An
 * operation that the next backend lacks is lacking here too. Ids, handles and references are the
 * next backend's own. Threads: as the next backend's; hooks are called by any of them at once.
 */
#ifndef MSB_FS_FILTER_H
#define MSB_FS_FILTER_H

#include "fs/fsb.h"
#include "fs/options.h"

/* One operation under way. What does not apply is 0 or NULL. */
struct fsb_call {
	enum fsb_op op;
	const struct fsb_req *req; /* NULL: the op has none (getattr, read ...) */
	uint64_t node, fh;
	const char *name; /* in @node */
	uint64_t node2; /* rename: the new directory; link: the file; copy_file_range: the target */
	const char *name2; /* rename: the new name; symlink: the target; xattr: its name */
	uint64_t fh2;
	uint64_t off,
		bytes;	/* of data: asked for; setattr with FATTR_SIZE: bytes is the new size */
	uint32_t flags; /* of open, create, rename, fallocate (its mode), setattr (valid) */
	uint32_t mode;	/* of what is made, setattr */
	const struct iovec *iov; /* of read and write */
	int iovcnt;
};

struct fsb_filter;

struct fsb_filter_ops {
	const char *name, *summary;
	/* 0: go on; -errno: that is the answer. */
	int (*before)(struct fsb_filter *, const struct fsb_call *);
	/* @result as the caller will get it; @made: the entry of lookup and of what makes files,
	 * else NULL; after a result < 0 too, unless before() gave it. */
	void (*after)(struct fsb_filter *, const struct fsb_call *, int64_t result,
		const struct fsb_entry *made);
	/* A reference was handed out, by any op, readdirplus included (before after() is called).
	 */
	void (*entered)(struct fsb_filter *, uint64_t parent, const char *name, size_t name_bytes,
		uint64_t node);
	void (*forgot)(struct fsb_filter *, uint64_t node, uint64_t count);
	/* readdir: false leaves the entry out. NULL: all are shown. */
	bool (*shows)(struct fsb_filter *, uint64_t parent, const char *name, size_t name_bytes);
	/* May change what statfs returned. */
	void (*statfs)(struct fsb_filter *, uint64_t node, struct statvfs *);
	const struct fsb_cache *(*cache)(struct fsb_filter *, uint64_t node); /* NULL: the next's */
	void (*stop)(struct fsb_filter *); /* frees the filter; @next is stopped already */
};

struct fsb_filter {
	struct fsb b; /* first */
	struct fsb *next;
	const struct fsb_filter_ops *f;
	struct fsb_ops own; /* what b.ops points at */
};

/* @f->f and memory are the caller's; takes @next. @add_caps, @drop_caps: FSB_CAP_*. */
void fsb_filter_init(struct fsb_filter *f, const struct fsb_filter_ops *ops, struct fsb *next,
	uint32_t add_caps, uint32_t drop_caps);

#endif
