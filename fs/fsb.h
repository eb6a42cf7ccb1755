/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend interface of the file server.
 *
 * A backend is one `const struct fsb_ops`. It owns its node ids (1 is the root, 0 is never valid)
 * and their lookup counts, exactly as FUSE counts them: every fsb_entry handed out is one reference
 * that forget() gives back. Ids and handles are below FSB_MAX_ID: what wraps backends uses the bits
 * above. The same backend serves a guest (virtqueues) and the host (/dev/fuse)
 * at once; both count on the same nodes. Ops return 0 or >= 0, or -errno, straight into the reply.
 * What an op is given, nodes (but see FSB_CAP_PINS) and handles, was handed out to the same
 * caller, and is neither forgotten nor released before the op returns; a handle's node outlives
 * the handle. Names are
 * checked. They do not log and never see a transport, and are called by any number
 * of threads at once: a backend locks for itself. A NULL op is answered ENOSYS, or EROFS where
 * it would write. POSIX ACLs are attributes, kept as fs/acl.h says, and inherited by what is made;
 * a backend that does not keep them answers them EOPNOTSUPP and does not list them. Source:
 * linux/fuse.h (protocol 7.38); Documentation/filesystems/fuse.rst.
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
#include <time.h>

#define FSB_ROOT      1
#define FSB_MAX_ID    (UINT64_C(1) << 48) /* node ids and handles are below */
#define FSB_MAX_STATE 4096		  /* bytes that save() may write for one node */

enum fsb_caps {
	FSB_CAP_WRITE = 1,
	FSB_CAP_NO_OPEN =
		2, /* OPEN/OPENDIR/FLUSH carry no state: the host answers ENOSYS once to each */
	FSB_CAP_XATTR = 4,
	FSB_CAP_SEE_OPENS = 8,	 /* OPEN and OPENDIR are to be sent even where NO_OPEN is set */
	FSB_CAP_MIXED_OPEN = 16, /* handles of some nodes are 0; the backend refuses 0 for others */
	/* Any node may be named at any time: one that is not there is -ESTALE, and one that is
	 * forgotten while an op uses it is there until that has returned. */
	FSB_CAP_PINS = 32,
	FSB_CAP_WAITS = 64, /* any op may wait for somebody else for long */
	/* Node ids are file handles (open_by_handle_at(2), an NFS server in the guest): lookup of
	 * "." in any id, held or not, a directory or not, finds that node; ".." in a directory its
	 * parent; -ESTALE. */
	FSB_CAP_EXPORT = 128,
	/* Who asks is told to somebody (audit, refusals, a plugin): the kernel is to say it with
	 * every request. It does not where mounts may be idmapped, so they may not be. */
	FSB_CAP_SEE_WHO = 256,
};

/* In the write_flags of writev(), beside those of FUSE: the file was opened with O_APPEND. Where
 * others write it as well, who asks may not know its end. */
#define FSB_WRITE_APPEND (1u << 30)

/* In the flags of setxattr(), beside XATTR_*: who sets this access ACL may not keep set-gid. */
#define FSB_XATTR_KILL_SGID (1u << 30)

/* How long, and how, a kernel may believe what it was told of a node. Times may be
 * FSB_AS_PROFILE: as the mount's profile says. */
#define FSB_AS_PROFILE UINT32_MAX
struct fsb_cache {
	uint32_t entry_ms, attr_ms, negative_ms;
	uint32_t open_flags; /* FOPEN_* of an OPEN's reply */
	bool fresh; /* contents are kept from one open to the next by nobody, whatever open_flags
		       and the profile say */
	bool alone; /* nobody but the sessions of this process changes the files: does not hold for
		       a guest while the host has a view, and for a view only while there is no
		       guest */
};

/* Who asks. A backend that keeps ownership gives new inodes uid and gid, which are known wherever
 * one is made. Else they may be FSB_UNKNOWN_ID: then it is not root; see
 * fsb_in_group().
 */
#define FSB_UNKNOWN_ID UINT32_MAX
struct fsb_req {
	uint32_t uid, gid, pid;
	uint32_t umask; /* to be applied by the backend where it creates; the kernel sends mode
			   unmasked */
};

/* Whether who may write a file of @mode is of its group. Where that is not known: who needs no
 * right of the others has another, which its owner and its group have. Who changes the owner has
 * one too: @mode is 0 then. */
static inline bool fsb_in_group(const struct fsb_req *r, uint32_t gid, uint32_t mode)
{
	return r->gid == FSB_UNKNOWN_ID ? !(mode & 0002) : r->gid == gid;
}

/* Of the request that this thread is serving, for ops that are not given it; NULL: none. Set by
 * fuse_handle(), so that a wrapper can say who asked. */
extern _Thread_local const struct fsb_req *fsb_asking;

/* A node as LOOKUP returns it: one reference is the caller's. attr.ino is the st_ino that users
 * see. */
struct fsb_entry {
	uint64_t node; /* 0: negative entry (name is absent, may be cached) */
	uint64_t generation;
	struct fuse_attr attr;
};

/* Flags of a regular file or directory, as chattr(1) sets them: FS_*_FL of linux/fs.h. */
enum fsb_flags {
	FSB_FL_SYNC = 0x8,	  /* S: kept, and means nothing */
	FSB_FL_IMMUTABLE = 0x10,  /* i */
	FSB_FL_APPEND = 0x20,	  /* a */
	FSB_FL_NODUMP = 0x40,	  /* d: kept for dump(8) and the like */
	FSB_FL_NOATIME = 0x80,	  /* A: reads move no access time */
	FSB_FL_DIRSYNC = 0x10000, /* D: as S */
};
#define FSB_FL_GUARDS  (FSB_FL_IMMUTABLE | FSB_FL_APPEND) /* what fuse_flags.c holds up */
#define FSB_FL_ALL     (FSB_FL_GUARDS | FSB_FL_INHERIT)
#define FSB_FL_INHERIT (FSB_FL_SYNC | FSB_FL_NODUMP | FSB_FL_NOATIME | FSB_FL_DIRSYNC)

/* What a new file of @mode has from a directory with @flags. */
static inline uint32_t fsb_inherited(uint32_t flags, uint32_t mode)
{
	switch (mode & 0170000) {
	case 0040000: return flags & FSB_FL_INHERIT;
	case 0100000: return flags & FSB_FL_INHERIT & ~(uint32_t)FSB_FL_DIRSYNC;
	default: return 0;
	}
}

/* Some file of this process has one of FSB_FL_GUARDS, or may have: set by who keeps flags before it
 * tells of one, and never taken back. While it is not, no operation is held up by looking. */
extern _Atomic bool fsb_guards;

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

struct fsb_options;
struct audit_sink;
struct denials;
struct fsb; /* a backend's instance; each backend embeds it first in its own struct */

struct fsb_ops {
	const char *name, *summary;
	uint32_t caps;
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
	/* Makes and opens a file; -EEXIST where the name is there, with O_EXCL or without. */
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
		uint32_t write_flags); /* FUSE_WRITE_KILL_SUIDGID, FSB_WRITE_APPEND */
	int (*fsync)(
		struct fsb *, uint64_t node, uint64_t fh, bool datasync); /* a directory's too */
	int (*opendir)(struct fsb *, uint64_t node, uint64_t *ret_fh);
	int (*readdir)(struct fsb *, const struct fsb_req *, uint64_t node, uint64_t fh,
		uint64_t off, bool plus, fsb_dirent_fn,
		void *arg); /* "." and ".." included; off 0 starts */
	void (*releasedir)(struct fsb *, uint64_t node, uint64_t fh);
	int (*statfs)(struct fsb *, uint64_t node, struct statvfs *ret);
	int (*setxattr)(struct fsb *, const struct fsb_req *, uint64_t node, const char *name,
		const void *value, size_t n, uint32_t flags); /* XATTR_*, FSB_XATTR_KILL_SGID */
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
	/* Birth time. -EOPNOTSUPP where none is kept. */
	int (*btime)(struct fsb *, uint64_t node, struct timespec *ret);
	/* NULL op or NULL: as the mount's profile says. What is returned lives as long as the
	 * backend. */
	const struct fsb_cache *(*cache)(struct fsb *, uint64_t node);

	/* ---- device state: what a server started anew, on the same files, needs to go on for a
	 * kernel that knows ids and handles of the old one. */
	/* What finds @node again, in the backend's own form: at most FSB_MAX_STATE bytes. */
	int64_t (*save)(struct fsb *, uint64_t node, void *buf, size_t cap);
	/* Brings a node back under its id, with @lookups references; the bytes are hostile. Every
	 * node is loaded before any other op runs, in no order. -ESTALE: its file is gone; the id
	 * answers -ESTALE from then on, and its references are counted all the same. @n 0, where
	 * save() writes more: nothing could be saved. Those come last, so that a backend whose ids
	 * may come again can keep the id from others while it is held: -ESTALE then, else -EBADMSG.
	 */
	int (*load)(struct fsb *, uint64_t node, uint64_t lookups, const void *buf, size_t n);
	/* Brings a handle back under its number, once every node is loaded. @flags as at open. */
	int (*reopen)(struct fsb *, uint64_t node, uint64_t fh, bool dir, uint32_t flags);
	/* Contents that are in no file of the host: all of them, to and from a pipe or file.
	 * load_all() comes before any load() and reads exactly what save_all() wrote: other bytes
	 * follow. */
	int (*save_all)(struct fsb *, int fd);
	int (*load_all)(struct fsb *, int fd);
	/* Bytes of disk that a node takes, of what a quota counts. NULL: attr.blocks says it. */
	int64_t (*usage)(struct fsb *, uint64_t node);

	/* FSB_FL_*. NULL: none are kept; -ENOTTY: not of a file of this kind. Who may change them
	 * the kernel has checked. */
	int (*getflags)(struct fsb *, uint64_t node, uint32_t *ret);
	int (*setflags)(struct fsb *, const struct fsb_req *, uint64_t node, uint32_t flags);
};

struct fsb {
	const struct fsb_ops *ops;
	/* Its mount asks for ACLs: kernels are to check them, they are shown and inherited. Set by
	 * who starts it, before any op; false: those that are kept stay and mean nothing. */
	bool acls;
};

#define FSB_ALONE_MS 86400000u /* cache times where nobody else changes the files */

/* ---- started directly, as unit tests do. Each takes ownership of the descriptors on success and
 * on failure. */

struct fsb_passthrough_opts {
	int root_fd;	/* O_PATH or O_RDONLY directory */
	bool readonly;	/* enforced here: every writing op is EROFS whatever the guest was told */
	int map;	/* enum fsb_map of fs/options.h */
	bool submounts; /* enter other file systems mounted below */
	bool noatime;	/* reads move no access time; nor do they where readonly is set */
};
int fsb_passthrough_start(const struct fsb_passthrough_opts *, struct fsb **ret, struct msb_err *);

/* An image below, a sandbox's own changes above (upper_fd < 0: the image alone, read-only). */
struct fsb_overlay_opts {
	int index_fd; /* the image's tree index; -1: an empty tree below */
	int packs_fd; /* directory of pack files */
	int dir_fd;   /* or, with files_fd: the directory of the host that the index is of */
	int files_fd; /* the list of its files (fs/image/files.h); -1: it is an image's index */
	int upper_fd; /* directory of the sandbox's changes; locked while open */
	int atime;    /* enum fsb_atime of fs/options.h */
};
int fsb_overlay_start(const struct fsb_overlay_opts *, struct fsb **ret, struct msb_err *);

/*
 * The kinds: one row a backend or wrapper in fs/backends/backends.def, one definition in its own
 * file. What a user may say of each is in fs/options.h.
 */

/* What a backend is made from. Descriptors are -1 where there is none; start() takes all of them
 * over, on success and on failure. */
struct fsb_start {
	const struct fsb_options *options;
	const char *mount; /* its name, in what is audited and logged */
	int dir_fd;   /* passthrough: a directory, O_PATH or O_RDONLY; overlay: with files_fd */
	int index_fd; /* image, overlay: the image's tree index; -1: an empty tree below */
	int packs_fd; /* image, overlay: directory of pack files */
	int files_fd; /* overlay: the index is one of dir_fd's, with this list of files */
	int upper_fd; /* overlay: directory of the changes; locked while open */
	int sock_fd;  /* plugin: a connected SOCK_STREAM socket to it */
	int usage_fd; /* quota: a struct fsd_usage that others map, too; -1: a count of its own */
	int count_fd; /* quota, borrowed: where on the host its files are; -1: nowhere */
	struct fsb *inner;	 /* plugin: what it is laid over, or NULL; taken over */
	struct audit_sink *sink; /* audit: outlives the backend */
	struct denials *denials; /* denied: likewise; NULL: nobody is told */
};
#define FSB_START_NONE                                                                             \
	{                                                                                          \
		.dir_fd = -1, .index_fd = -1, .packs_fd = -1, .files_fd = -1, .upper_fd = -1,      \
		.sock_fd = -1, .usage_fd = -1, .count_fd = -1                                      \
	}

void fsb_start_close(const struct fsb_start *); /* where it is not handed on after all */

struct fsb_kind {
	const char *name, *summary;
	/* A backend; or NULL for a wrapper, which has wrap(). */
	int (*start)(const struct fsb_start *, struct fsb **ret, struct msb_err *);
	/* Lays the wrapper over @next, which it owns from then on and stops on failure too.
	 * Returns @next itself where the options do not ask for the wrapper. */
	int (*wrap)(const struct fsb_start *, struct fsb *next, struct fsb **ret, struct msb_err *);
};

/* Rows of backends.def in order; NULL at the end. */
#define KIND(name) extern const struct fsb_kind fsb_##name##_kind;
#include "fs/backends/backends.def"
#undef KIND
extern const struct fsb_kind *const fsb_kinds[];
const struct fsb_kind *fsb_kind_find(const char *name); /* a backend's; NULL */

/**
 * fsb_stack_start() - A backend with all the wrappers that its options ask for
 * @backend: its name; @from: its descriptors are taken over in any case
 * Return: 0 and @ret, which stops all of them; -EOPNOTSUPP no such backend; what start() says.
 */
int fsb_stack_start(
	const char *backend, const struct fsb_start *from, struct fsb **ret, struct msb_err *);

#endif
