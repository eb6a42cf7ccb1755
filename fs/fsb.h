/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend interface of the file server.
 *
 * A backend is one `const struct fsb_ops`. It owns its node ids (1 is the root, 0 is never valid)
 * and their lookup counts, exactly as FUSE counts them: every fsb_entry handed out is one reference
 * that forget() gives back. The same backend serves a guest (virtqueues) and the host (/dev/fuse)
 * at once; both count on the same nodes. Ops return 0 or >= 0, or -errno, straight into the reply.
 * What an op is given, nodes and handles, was handed out to the same caller, and is neither
 * forgotten nor released before the op returns; a handle's node outlives the handle. Names are
 * checked. They do not log and never see a transport. A NULL op is answered ENOSYS, or EROFS where
 * it would write. Source: linux/fuse.h (protocol 7.38); Documentation/filesystems/fuse.rst.
 */
#ifndef MSB_FS_FSB_H
#define MSB_FS_FSB_H

#include "base/err.h"

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#define FSB_ROOT 1

enum fsb_caps {
	FSB_CAP_WRITE = 1,
	FSB_CAP_NO_OPEN =
		2, /* OPEN/OPENDIR/FLUSH carry no state: the host answers ENOSYS once to each */
	FSB_CAP_XATTR = 4,
};

enum fsb_threads {
	FSB_SERIAL_ALL, /* one op at a time: the dispatcher holds a lock */
	FSB_PARALLEL,	/* the backend locks for itself */
};

/* Who asks. A backend that keeps ownership gives new inodes uid and gid. */
struct fsb_req {
	uint32_t uid, gid, pid;
	uint32_t umask; /* to be applied by the backend where it creates; the kernel sends mode
			   unmasked */
};

/* A node as LOOKUP returns it: one reference is the caller's. attr.ino is the st_ino that users
 * see. */
struct fsb_entry {
	uint64_t node; /* 0: negative entry (name is absent, may be cached) */
	uint64_t generation;
	struct fuse_attr attr;
};

/* FATTR_* in valid (linux/fuse.h); times in seconds and nanoseconds; *_NOW asks for the server's
 * clock. */
struct fsb_setattr {
	uint32_t valid;
	uint32_t mode, uid, gid;
	uint64_t size;
	uint64_t atime, mtime, ctime;
	uint32_t atimensec, mtimensec, ctimensec;
	bool kill_suidgid; /* FATTR_KILL_SUIDGID */
};

/**
 * fsb_dirent_fn() - Take one directory entry
 * @ino, @type: st_ino and DT_* ; @next_off: position after this entry, never 0
 * @entry: for readdirplus, one reference that becomes the caller's when 0 is returned; else NULL
 * Return: 0 taken; 1 no room: the backend takes back @entry's reference and returns 0 from readdir.
 */
typedef int (*fsb_dirent_fn)(void *arg, const char *name, size_t name_bytes, uint64_t ino,
	uint32_t type, uint64_t next_off, const struct fsb_entry *entry);

struct fsb; /* a backend's instance; each backend embeds it first in its own struct */

struct fsb_ops {
	const char *name, *summary;
	uint32_t caps;
	enum fsb_threads threads;
	void (*stop)(struct fsb *); /* frees the instance; accepts a half-started one */

	int (*lookup)(struct fsb *, const struct fsb_req *, uint64_t parent, const char *name,
		struct fsb_entry *ret);
	void (*forget)(struct fsb *, uint64_t node, uint64_t count);
	int (*getattr)(
		struct fsb *, uint64_t node, uint64_t fh, struct fuse_attr *ret); /* fh 0: none */
	int (*setattr)(struct fsb *, const struct fsb_req *, uint64_t node, uint64_t fh,
		const struct fsb_setattr *, struct fuse_attr *ret);
	int (*readlink)(struct fsb *, uint64_t node, char *buf, size_t cap); /* bytes, no NUL */
	int (*mknod)(struct fsb *, const struct fsb_req *, uint64_t parent, const char *name,
		uint32_t mode, uint32_t rdev, struct fsb_entry *ret);
	int (*mkdir)(struct fsb *, const struct fsb_req *, uint64_t parent, const char *name,
		uint32_t mode, struct fsb_entry *ret);
	int (*symlink)(struct fsb *, const struct fsb_req *, uint64_t parent, const char *name,
		const char *target, struct fsb_entry *ret);
	int (*unlink)(struct fsb *, const struct fsb_req *, uint64_t parent, const char *name);
	int (*rmdir)(struct fsb *, const struct fsb_req *, uint64_t parent, const char *name);
	int (*rename)(struct fsb *, const struct fsb_req *, uint64_t parent, const char *name,
		uint64_t newparent, const char *newname,
		uint32_t flags); /* RENAME_NOREPLACE, _EXCHANGE; _WHITEOUT or -EINVAL */
	int (*link)(struct fsb *, const struct fsb_req *, uint64_t node, uint64_t newparent,
		const char *newname, struct fsb_entry *ret);
	int (*open)(struct fsb *, const struct fsb_req *, uint64_t node, uint32_t flags,
		uint64_t *ret_fh);
	int (*create)(struct fsb *, const struct fsb_req *, uint64_t parent, const char *name,
		uint32_t mode, uint32_t flags, struct fsb_entry *ret,
		uint64_t *ret_fh); /* O_EXCL honoured */
	int (*tmpfile)(struct fsb *, const struct fsb_req *, uint64_t parent, uint32_t mode,
		uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh);
	void (*release)(struct fsb *, uint64_t node, uint64_t fh);
	int64_t (*readv)(struct fsb *, uint64_t node, uint64_t fh, const struct iovec *, int iovcnt,
		uint64_t off); /* iovecs may point into guest memory */
	int64_t (*writev)(struct fsb *, const struct fsb_req *, uint64_t node, uint64_t fh,
		const struct iovec *, int iovcnt, uint64_t off,
		uint32_t write_flags); /* FUSE_WRITE_KILL_SUIDGID */
	int (*fsync)(struct fsb *, uint64_t node, uint64_t fh, bool datasync);
	int (*opendir)(struct fsb *, uint64_t node, uint64_t *ret_fh);
	int (*readdir)(struct fsb *, const struct fsb_req *, uint64_t node, uint64_t fh,
		uint64_t off, bool plus, fsb_dirent_fn,
		void *arg); /* "." and ".." included; off 0 starts */
	void (*releasedir)(struct fsb *, uint64_t node, uint64_t fh);
	int (*statfs)(struct fsb *, uint64_t node, struct statvfs *ret);
	int (*setxattr)(struct fsb *, const struct fsb_req *, uint64_t node, const char *name,
		const void *value, size_t n, uint32_t flags);
	int64_t (*getxattr)(struct fsb *, uint64_t node, const char *name, void *buf,
		size_t cap); /* cap 0: size wanted */
	int64_t (*listxattr)(
		struct fsb *, uint64_t node, char *buf, size_t cap); /* names, NUL after each */
	int (*removexattr)(struct fsb *, const struct fsb_req *, uint64_t node, const char *name);
	int (*fallocate)(struct fsb *, const struct fsb_req *, uint64_t node, uint64_t fh,
		uint32_t mode, uint64_t off, uint64_t len);
	int64_t (*lseek)(struct fsb *, uint64_t node, uint64_t fh, uint64_t off,
		uint32_t whence); /* SEEK_DATA, SEEK_HOLE */
	int64_t (*copy_file_range)(struct fsb *, const struct fsb_req *, uint64_t node_in,
		uint64_t fh_in, uint64_t off_in, uint64_t node_out, uint64_t fh_out,
		uint64_t off_out, uint64_t len);
	int (*syncfs)(struct fsb *, uint64_t node);
};

struct fsb {
	const struct fsb_ops *ops;
};

/* ---- the backends. Each takes ownership of the descriptors on success and on failure.
 * Their start functions; every key a user can set is checked by the caller that parses `mounts`. */

struct fsb_passthrough_opts {
	int root_fd;   /* O_PATH or O_RDONLY directory */
	bool readonly; /* enforced here: every writing op is EROFS whatever the guest was told */
};
int fsb_passthrough_start(const struct fsb_passthrough_opts *, struct fsb **ret, struct msb_err *);

/* An image below, a sandbox's own changes above (upper_fd < 0: the image alone, read-only). */
struct fsb_overlay_opts {
	int index_fd; /* the image's tree index; -1: an empty tree below */
	int packs_fd; /* directory of pack files */
	int upper_fd; /* directory of the sandbox's changes; locked while open */
};
int fsb_overlay_start(const struct fsb_overlay_opts *, struct fsb **ret, struct msb_err *);

#endif
