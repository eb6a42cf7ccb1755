/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wrappers: what is done around every operation of another backend, without writing thirty
 * functions.
 *
 * A wrapper embeds struct fsb_filter first in its own struct and calls fsb_filter_init(). Every
 * operation then goes: before(), and where that is 0 the next backend's, then after(). An operation
 * that the next backend lacks is lacking here too; what a wrapper does wholly by itself it puts
 * into @own afterwards. Ids, handles and references are the next backend's own. Threads: hooks are
 * called by any at once.
 */
#ifndef MSB_FS_FILTER_H
#define MSB_FS_FILTER_H

#include "fs/fsb.h"
#include "fs/options.h"

/* One operation under way. What does not apply is 0 or NULL. */
struct fsb_call {
	enum fsb_op op;
	/* Who asks; NULL: nobody, a session ends. */
	const struct fsb_req *req;
	uint64_t node, fh;
	const char *name;  /* in @node */
	uint64_t node2;	   /* rename, link: the new directory; copy_file_range: the target */
	const char *name2; /* rename, link: the new name; symlink: the target; xattr: its name */
	uint64_t fh2;
	uint64_t off, off2; /* of data; off2: copy_file_range: in the target */
	uint64_t bytes;	    /* of data, asked for; setattr with FATTR_SIZE: the new size */
	uint32_t flags; /* of open, create, rename, fallocate (its mode), setattr (valid), xattr */
	uint32_t mode;	/* of what is made, setattr */
	const struct iovec *iov; /* of read and write */
	int iovcnt;
};

/* In the flags of a setattr: those of chattr(1) were set. */
#define FSB_SETATTR_FLAGS (1u << 31)

extern const char fsb_unnamed[]; /* stands for the name of an O_TMPFILE */

struct fsb_filter;

struct fsb_filter_ops {
	const char *name, *summary;
	/* 0: go on; -errno: that is the answer (but for release). NULL: always 0. */
	int (*before)(struct fsb_filter *, const struct fsb_call *);
	/* @result as the caller will get it; @made: the entry of lookup and of what makes files,
	 * else NULL; after a result < 0 too, unless before() gave it. */
	void (*after)(struct fsb_filter *, const struct fsb_call *, int64_t result,
		const struct fsb_entry *made);
	/* A reference was handed out, by any op; after after(), or for readdirplus before it.
	 * @name: fsb_unnamed of a temporary file. Takes no lock that is held around an op. */
	void (*entered)(struct fsb_filter *, uint64_t parent, const char *name, size_t name_bytes,
		const struct fsb_entry *made);
	/* Before the next backend hears of it. */
	void (*forgot)(struct fsb_filter *, uint64_t node, uint64_t count);
	/* readdir: false leaves the entry out. NULL: all are shown. Never asked of . and .. */
	bool (*shows)(struct fsb_filter *, uint64_t parent, const char *name, size_t name_bytes);
	/* May change what statfs returned. */
	void (*statfs)(struct fsb_filter *, uint64_t node, struct statvfs *);
	const struct fsb_cache *(*cache)(struct fsb_filter *, uint64_t node); /* NULL: the next's */
	void (*stop)(struct fsb_filter *); /* frees the filter; @next is stopped already */
};

struct fsb_names;

struct fsb_filter {
	struct fsb b; /* first */
	struct fsb *next;
	const struct fsb_filter_ops *f;
	struct fsb_names *names; /* fsb_filter_names(); NULL: it speaks of no paths */
	bool keeps_names;	 /* else a filter above does */
	struct fsb_ops own;	 /* what b.ops points at */
};

static inline struct fsb_filter *fsb_filter_of(struct fsb *b)
{
	return (struct fsb_filter *)(void *)b;
}

/**
 * fsb_filter_init() - Lay a wrapper over a backend
 * @f: memory of the caller's, freed by @ops->stop; takes @next
 * @add_caps, @drop_caps: FSB_CAP_*. With FSB_CAP_SEE_OPENS, open and opendir are there even where
 * @next lacks them: 0, and no handle.
 */
void fsb_filter_init(struct fsb_filter *f, const struct fsb_filter_ops *ops, struct fsb *next,
	uint32_t add_caps, uint32_t drop_caps);

/**
 * fsb_filter_names() - Give a wrapper, begun by fsb_filter_init(), the stack's table of names
 *
 * There is one however many ask, of at most FSD_MAX_NODES nodes; the outermost of them keeps it,
 * which this file does: enters, forgets, saves, loads and frees. At after() it is as it was before
 * the operation.
 * Return: 0; -ENOMEM.
 */
int fsb_filter_names(struct fsb_filter *f);

/* The next filter or backend where @b is a filter, else NULL. */
struct fsb *fsb_filter_below(struct fsb *b);

#endif
