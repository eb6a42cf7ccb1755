/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading tar: ustar, pax and GNU headers, pushed in pieces of any size; nothing is read or
 * written. Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Interchange Format";
 * tar(5) for the GNU extensions and SCHILY.xattr; GNU tar's manual, "Storing Sparse Files".
 */
#ifndef MSB_FS_IMAGE_TAR_H
#define MSB_FS_IMAGE_TAR_H

#include "fs/image/limits.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMG_TAR_BLOCK 512

struct img_tar_xattr {
	const char *name, *value; /* not NUL-terminated */
	size_t name_n, value_n;
};

/* A run of a file's bytes; between them are holes. */
struct img_tar_part {
	uint64_t off, len; /* len > 0 */
};

enum img_tar_type {
	IMG_TAR_FILE = '0',
	IMG_TAR_HARDLINK = '1',
	IMG_TAR_SYMLINK = '2',
	IMG_TAR_CHR = '3',
	IMG_TAR_BLK = '4',
	IMG_TAR_DIR = '5',
	IMG_TAR_FIFO = '6',
};

/* Valid during the call that gets it. Names are NUL-terminated and hold no other NUL; they are as
 * the archive has them: absolute, with "..", or anything else. */
struct img_tar_entry {
	const char *path, *link;
	enum img_tar_type type;
	uint32_t mode, uid, gid; /* mode: 07777 */
	uint32_t dev_major, dev_minor;
	uint64_t size; /* 0 of all but files; holes included */
	bool sparse;   /* of a file: only these of its bytes are in the archive */
	const struct img_tar_part *parts; /* rising, inside of the file; valid until its done() */
	size_t nparts;
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	const struct img_tar_xattr *xattrs;
	size_t nxattrs;
};

/* Each returns 0, or -errno with @e set: the parser stops there and hands it on. */
struct img_tar_ops {
	int (*entry)(void *arg, const struct img_tar_entry *, struct msb_err *e);
	/* Of a file, in order. No bytes: here would be those of one that is but a hole. */
	int (*data)(void *arg, const void *p, size_t n, struct msb_err *e);
	int (*hole)(void *arg, uint64_t n, struct msb_err *e); /* of a file: zeros come next */
	int (*done)(
		void *arg, struct msb_err *e); /* a file's bytes are complete; for empty ones too */
};

struct img_tar;

int img_tar_new(const struct img_tar_ops *, void *arg, struct img_tar **ret);
struct img_tar *img_tar_free(struct img_tar *);

/**
 * img_tar_feed() - Take the next @n bytes
 * Return: 0; -EBADMSG not a tar, or damaged; -EOPNOTSUPP a kind of entry that images do not hold;
 * -E2BIG a limit above; what an op returned. After an error only img_tar_free() is allowed. Bytes
 * after the end of the archive are ignored.
 */
int img_tar_feed(struct img_tar *, const void *p, size_t n, struct msb_err *e);

/* No more bytes: -EBADMSG where they end inside an entry. */
int img_tar_finish(struct img_tar *, struct msb_err *e);

/* How many of the next bytes are a file's or padding, and the way to leave them out: no data() is
 * called for them. For archives that can be read at any place. A file with holes is left out as a
 * whole: its bytes, which may be none, then done(). */
uint64_t img_tar_skippable(const struct img_tar *);
int img_tar_skip(struct img_tar *, uint64_t n, struct msb_err *e);

#endif
