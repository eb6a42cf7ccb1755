/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounds of what one image may be made of: all that keep a hostile one from taking more than its
 * share. Each of the first part can be set lower for an instance of msb, by the name that it has
 * here: MSB_IMAGE_MAX_LAYERS and so on. They bind what is taken in; what the store holds stays
 * usable. Those of the second part are what formats and kernels can have.
 */
#ifndef MSB_FS_IMAGE_LIMITS_H
#define MSB_FS_IMAGE_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#define IMG_MAX_BYTES	    (UINT64_C(1) << 40)
#define IMG_MAX_INODES	    UINT64_C(10000000)
#define IMG_MAX_LAYERS	    127
#define IMG_MAX_DEPTH	    512
#define IMG_MAX_XATTR_BYTES 65535 /* the index's format could have 262 KB */
#define IMG_MAX_JSON_BYTES  (4u << 20)
#define IMG_MAX_MANIFESTS   256
#define IMG_MAX_MEMBERS	    65536
#define IMG_TAR_MAX_PAX	    (1u << 20)
#define IMG_TAR_MAX_XATTRS  256
#define IMG_TAR_MAX_PARTS   65536
#define IMG_ZSTD_WINDOW_LOG 27
#define IMG_MAX_DISK_BYTES  (UINT64_C(256) << 30)
#define IMG_MAX_MEMORY	    (UINT64_C(4) << 30)

/* Name, least, and most, which is also what counts where nothing is set. */
#define IMG_LIMITS(X)                                                                              \
	X(BYTES, "bytes", 1, IMG_MAX_BYTES)    /* unpacked, holes included */                      \
	X(INODES, "inodes", 1, IMG_MAX_INODES) /* and the entries of one layer */                  \
	X(LAYERS, "layers", 1, IMG_MAX_LAYERS)                                                     \
	X(DEPTH, "depth", 1, IMG_MAX_DEPTH)		      /* directories */                    \
	X(XATTR_BYTES, "xattr_bytes", 1, IMG_MAX_XATTR_BYTES) /* names and values of an inode */   \
	X(JSON_BYTES, "json_bytes", 1, IMG_MAX_JSON_BYTES)    /* a manifest, index or config */    \
	X(MANIFESTS, "manifests", 1, IMG_MAX_MANIFESTS)	      /* of one index */                   \
	X(MEMBERS, "members", 1, IMG_MAX_MEMBERS)	      /* of an archive that is imported */ \
	X(PAX_BYTES, "pax_bytes", 1, IMG_TAR_MAX_PAX)	      /* one extended header of a tar */   \
	X(XATTRS, "xattrs", 1, IMG_TAR_MAX_XATTRS)	      /* of one entry of a tar */          \
	X(PARTS, "parts", 1, IMG_TAR_MAX_PARTS)		      /* of one file with holes */         \
	X(WINDOW_BYTES, "window_bytes", 1024, UINT64_C(1) << IMG_ZSTD_WINDOW_LOG) /* zstd's */     \
	X(DISK_BYTES, "disk_bytes", 1, IMG_MAX_DISK_BYTES) /* a mixtape's disk, unpacked */        \
	X(MEMORY_BYTES, "memory_bytes", UINT64_C(64) << 20, IMG_MAX_MEMORY) /* of msb-image */

enum img_limit {
#define X(id, name, least, most) IMG_LIMIT_##id,
	IMG_LIMITS(X)
#undef X
		IMG_NLIMITS
};

struct img_limit_row {
	const char *name;
	uint64_t least, most;
};
extern const struct img_limit_row img_limit_rows[IMG_NLIMITS];

/* What counts in this process. Threads: set before others start. */
uint64_t img_limit(enum img_limit);
void img_limit_set(enum img_limit, uint64_t v); /* 0, or past the most: the most */

/* ---- what formats and kernels can have */
#define IMG_MAX_NAME	      255
#define IMG_MAX_SYMLINK	      4095 /* bytes of a target */
#define IMG_TAR_MAX_PATH      4096 /* bytes of a name or a link target in a tar, NUL included */
#define IMG_MAX_FOLLOW	      40   /* symlinks on the way to one entry's directory */
#define IMG_MAX_JSON_DEPTH    32
#define IMG_MAX_NESTED_INDEX  4
#define IMG_MAX_META_ELEMENTS 4096 /* of env, cmd, entrypoint */

#endif
