/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the overlay backend: its state, its locks, and what its files offer one another. */
#ifndef MSB_FS_BACKENDS_OVERLAY_OVL_H
#define MSB_FS_BACKENDS_OVERLAY_OVL_H

#include "base/cleanup.h"
#include "fs/fsb.h"
#include "fs/fsd.h"
#include "fs/options.h"
#include "fs/image/index.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct acl_bytes;
struct img_files;

#define OVL_OWN_BASE	      (UINT64_C(1) << 30) /* own inodes count up from here, lower ones end */
#define OVL_NAME_MAX	      255
#define OVL_TARGET_MAX	      4095  /* bytes of a symbolic link */
#define OVL_MAX_LINKS	      65000 /* names of one file; EMLINK past it */
#define OVL_MAX_DEPTH	      65536 /* directories from any one to the root; ELOOP past it */
#define OVL_MAX_XATTR_VALUE   65536
#define OVL_MAX_XATTR_BYTES   (256u << 10) /* names and values of one inode; ENOSPC past it */
#define OVL_MAX_LOG_BYTES     (UINT64_C(1) << 30)  /* ENOSPC past it */
#define OVL_COMPACT_BYTES     (UINT64_C(32) << 20) /* a shorter log is never rewritten while open */
#define OVL_COMPACT_LOAD      (UINT64_C(1) << 20)  /* nor one shorter than this when it is opened */
#define OVL_LOG_RESERVE	      (UINT64_C(1) << 20)  /* disk space kept for the log */
#define OVL_LOG_RESERVE_LEAST (UINT64_C(256) << 10) /* of it, what only removals may use */
#define OVL_MAX_FRAME	      (1u << 20)	    /* payload bytes of one transaction */
#define OVL_TICK_NS	      20000000		    /* no host's file clock is coarser */
#define OVL_STRIPES	      64
#define OVL_COOKIE_MAX	      ((UINT64_C(1) << 31) - 3) /* a position and a bound fill 63 bits */
#define OVL_PACK_SLOTS	      64

/* ino and node id are the same number: the root is 1, a lower inode nid + 1, an own one counts up
 * from OVL_OWN_BASE and is never used again. */
#define OVL_ROOT FSB_ROOT

enum ovl_flags {
	OVL_CHANGED = 1,     /* the log knows it: stays in memory until its last link is gone */
	OVL_OWN_DATA = 2,    /* contents in data/, where a missing file is an empty one */
	OVL_OWN_XATTRS = 4,  /* ->xattrs replaces the lower ones */
	OVL_DIRTY = 8,	     /* times are newer than the log's */
	OVL_LINKABLE = 16,   /* O_TMPFILE: link(2) may give it its first name */
	OVL_STALE_SIZE = 32, /* loaded from the log: size and mtime are the data file's to say */
	OVL_STALE_BLOCKS = 64,
	OVL_HAS_CAP = 128,  /* has security.capability */
	OVL_FILE = 512,	    /* data/ has its file */
	OVL_NEW_DATA = 256, /* data file made since its last fsync: its directory needs one */
};

/* FSB_FL_* of the inode, in the same word. */
#define OVL_FL_SHIFT 12
#define OVL_FL_MASK  ((uint32_t)FSB_FL_ALL << OVL_FL_SHIFT)

#define OVL_LOGGED_FLAGS ((uint32_t)(OVL_OWN_DATA | OVL_OWN_XATTRS))

struct ovl_time {
	int64_t sec;
	uint32_t nsec; /* < 1e9 */
};

struct ovl_attr { /* what the log keeps of every changed inode */
	uint32_t mode, uid, gid, rdev, nlink;
	uint64_t size; /* regular files with OVL_OWN_DATA: a cache of the data file's */
	struct ovl_time atime, mtime, ctime;
};

struct ovl_xattr {
	struct ovl_xattr *next;
	uint32_t value_n;
	uint8_t name_n;
	char bytes[]; /* name NUL value */
};

struct ovl_dent {
	struct ovl_dent *next; /* of its bucket */
	uint64_t ino;	       /* 0: a lower name that is gone */
	uint64_t cookie;       /* 0: a name that the lower directory has, listed in its place */
	uint32_t hash;
	uint8_t type; /* DT_* */
	uint8_t name_n;
	char name[];
};

struct ovl_lent { /* of a lower directory; the name lies in the index's mapping */
	const char *name;
	uint64_t ino;
	uint8_t name_n, type;
};

struct ovl_added {
	uint64_t cookie;
	struct ovl_dent *d; /* NULL: removed since */
};

/* A directory's difference from its lower one. */
struct ovl_dir {
	struct ovl_dent **bucket;
	uint32_t buckets, dents; /* power of two; all of them, removed names too */
	uint32_t gone;		 /* dents with ino 0 */
	struct ovl_added *added; /* by rising cookie */
	uint32_t added_n, added_cap, holes;
	uint64_t last_cookie;
	struct ovl_lent *lower; /* all lower entries, once listed */
	uint32_t lower_n;
	bool listed;
};

struct ovl_fd {
	struct ovl_fd *prev, *next; /* least recently used first */
	struct ovl_fd **owner;	    /* where the cache's reference is kept; NULL once dropped */
	int fd;
	unsigned int refs; /* users; closed at 0 once dropped */
};

struct ovl_inode {
	struct ovl_inode *hnext;
	uint64_t ino, lower; /* lower: nid, 0 for an own inode */
	/* References: those of LOOKUP in the low OVL_REF_BITS, ops at work above them. */
	_Atomic uint64_t refs;
	_Atomic uint32_t flags; /* read without the attr lock, changed with it */
	struct ovl_attr a;
	struct ovl_time btime; /* of own inodes */
	struct ovl_xattr *xattrs;
	uint64_t parent; /* directories: where the log put it; 0: where the image has it */
	struct ovl_dir *dir;
	char *target;	   /* own symbolic links */
	struct ovl_fd *fd; /* fd_lock; regular files */
	uint64_t blocks;
	_Atomic uint32_t truncs; /* counts cuts, so that a write knows that it met one */
};

#define OVL_REF_BITS 40
#define OVL_PIN	     (UINT64_C(1) << OVL_REF_BITS)
#define OVL_LOOKUPS  (OVL_PIN - 1)

struct ovl_log {
	int fd;
	uint64_t end, seq;	    /* next frame's */
	uint64_t reserved;	    /* bytes of disk that the file has */
	uint64_t compact_at, limit; /* bytes */
};

/*
 * Locks, in the order in which they may be taken:
 *	copy_lock	one copy-up at a time of an inode (striped)
 *	tree		all inodes, directories, the log
 *	attr_lock	an inode's attributes and flags under a shared tree lock (striped);
 *			not needed where the tree lock is held exclusively
 *	pack_lock	the open packs
 *	fd_lock		the cache of descriptors
 */
struct ovl {
	struct fsb fsb;
	struct img_index *lower;
	uint64_t lower_root,
		lower_id; /* lower_id: fingerprint, so that an upper meets its own image */
	int packs_fd, upper_fd, data_fd;
	enum fsb_atime atime;
	/* Where the tree below is a directory of the host, in place of packs: its regular files. */
	struct img_files *files;
	int dir_fd;
	uint64_t seed; /* of the hashes in memory: a guest must not be able to aim collisions */
	uint64_t max_nodes;

	pthread_mutex_t copy_lock[OVL_STRIPES];
	pthread_rwlock_t tree;
	struct ovl_inode **table;
	uint64_t table_n, nodes; /* buckets, a power of two; inodes */
	uint64_t next_ino;
	int broken; /* -errno: memory and log no longer agree, nothing is changed any more */
	struct ovl_log log;

	pthread_mutex_t attr_lock[OVL_STRIPES];

	pthread_mutex_t pack_lock; /* before fd_lock: pack, pack_id */
	pthread_mutex_t fd_lock;
	struct ovl_fd lru; /* head */
	unsigned int fds, max_fds;
	struct ovl_fd *pack[OVL_PACK_SLOTS];
	uint32_t pack_id[OVL_PACK_SLOTS];

	/* A device state was asked for and nothing has changed since: the data files of inodes
	 * without a name are kept past their last reference, for whoever loads the state. */
	_Atomic bool saved;
	_Atomic bool has_unclaimed;
	pthread_mutex_t scan_lock; /* guards what follows; the last lock to be taken */
	uint64_t *unclaimed;	   /* numbers of data files that no inode owns; 0: claimed since */
	uint64_t unclaimed_n;
};

static inline struct ovl *ovl_of(struct fsb *b)
{
	return (struct ovl *)b; /* fsb is the first member */
}

static inline void ovl_unlock_tree_(pthread_rwlock_t **l)
{
	if (*l)
		pthread_rwlock_unlock(*l);
}

#define OVL_READ(o)                                                                                \
	_cleanup_(ovl_unlock_tree_) pthread_rwlock_t *MSB_CAT_(tree_, __LINE__) = &(o)->tree;      \
	pthread_rwlock_rdlock(MSB_CAT_(tree_, __LINE__))
#define OVL_WRITE(o)                                                                               \
	_cleanup_(ovl_unlock_tree_) pthread_rwlock_t *MSB_CAT_(tree_, __LINE__) = &(o)->tree;      \
	pthread_rwlock_wrlock(MSB_CAT_(tree_, __LINE__))
#define OVL_ATTR(o, i) LOCK_SCOPE(&(o)->attr_lock[(i)->ino % OVL_STRIPES])

/* ---- overlay.c, image.c */
struct ovl *ovl_alloc(void); /* nothing in it; its fsb.ops->stop frees it */
void ovl_stop(struct fsb *b);
int ovl_kind_start(const struct fsb_start *s, struct fsb **ret, struct msb_err *e);
extern const struct fsb_ops ovl_image_ops; /* where nothing is above */

/* ---- inode.c: the table of inodes. Tree lock: shared to find, exclusive for the rest. */
struct ovl_inode *ovl_find(const struct ovl *o, uint64_t ino);
int ovl_get(const struct ovl *o, uint64_t node, struct ovl_inode **ret);     /* -ESTALE */
int ovl_get_dir(const struct ovl *o, uint64_t node, struct ovl_inode **ret); /* -ENOTDIR too */
struct ovl_inode *ovl_new(
	struct ovl *o, uint64_t ino); /* in the table, all zero; NULL: no memory */
int ovl_from_lower(struct ovl *o, uint64_t ino, struct ovl_inode **ret); /* finds or makes it */
bool ovl_mode_known(uint32_t mode); /* one of the seven types, no other bits */
int ovl_ino_of_nid(const struct ovl *o, uint64_t nid, uint64_t *ret);
struct ovl_inode *ovl_inode_free(struct ovl_inode *i); /* not from the table, nor its data */
int ovl_table_init(struct ovl *o);
void ovl_table_done(struct ovl *o);
bool ovl_unused(const struct ovl_inode *i);	     /* may leave memory now */
void ovl_remove(struct ovl *o, struct ovl_inode *i); /* from the table */

void ovl_ref(struct ovl_inode *i, uint64_t lookups); /* shared lock */
static inline void ovl_pin(struct ovl_inode *i)
{
	atomic_fetch_add_explicit(&i->refs, OVL_PIN, memory_order_relaxed);
}
void ovl_unpin(struct ovl *o, struct ovl_inode *i);		    /* no lock held */
void ovl_unref(struct ovl *o, struct ovl_inode *i, uint64_t count); /* exclusive; may free */
void ovl_forget(struct fsb *b, uint64_t node, uint64_t count);

/* Both under a shared tree lock at least; they take the attr lock. */
void ovl_fill_attr(struct ovl *o, struct ovl_inode *i, struct fuse_attr *ret);
void ovl_fill_entry(
	struct ovl *o, struct ovl_inode *i, struct fsb_entry *ret); /* counts one LOOKUP */

struct ovl_time ovl_now(void);
/* It was read: see relatime.h. Of what the log knows alone: an image's own files keep their access
 * time, as on any disk that cannot be written. Shared tree lock; takes the attr lock. */
void ovl_accessed(struct ovl *o, struct ovl_inode *i);
static inline uint32_t ovl_dtype(uint32_t mode)
{
	return (mode >> 12) & 15; /* IFTODT */
}

/* ---- dir.c: directories. */
int ovl_check_name(const char *name);
struct ovl_dent *ovl_dent_find(
	const struct ovl *o, const struct ovl_inode *dir, const char *name, size_t n);
/* The ino that @name stands for: -ENOENT, -EBADMSG. */
int ovl_dir_lookup(const struct ovl *o, const struct ovl_inode *dir, const char *name, size_t n,
	uint64_t *ret);
/* The directory and what @name is in it, as an inode in memory. Exclusive lock. */
int ovl_dir_find(struct ovl *o, uint64_t parent, const char *name, struct ovl_inode **ret_dir,
	struct ovl_inode **ret);
/* The directory, which must live and not have @name: -EEXIST. */
int ovl_dir_absent(struct ovl *o, uint64_t parent, const char *name, struct ovl_inode **ret_dir);
uint64_t ovl_parent(const struct ovl *o, uint64_t dir); /* 0: it has none */
/* Makes @name stand for @ino (0: nothing). @cookie 0: choose one where one is needed. */
int ovl_dir_set(struct ovl *o, struct ovl_inode *dir, const char *name, size_t n, uint64_t ino,
	uint32_t type, uint64_t cookie);
int ovl_dir_list_lower(struct ovl *o, struct ovl_inode *dir); /* fills ->lower; exclusive lock */
int ovl_dir_empty(struct ovl *o, struct ovl_inode *dir);      /* 0, -ENOTEMPTY; exclusive lock */
struct ovl_dir *ovl_dir_free(struct ovl_dir *d);
int ovl_readdir(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh, uint64_t off,
	bool plus, fsb_dirent_fn fn, void *arg);

/* ---- txn.c: a change, as the records that describe it. */
struct ovl_txn {
	uint8_t *buf; /* room for the frame's head, then records */
	size_t len, cap;
	bool oom;
	uint8_t small[512];
};

void ovl_txn_init(struct ovl_txn *t);
void ovl_txn_done(struct ovl_txn *t);
#define OVL_TXN(t)                                                                                 \
	_cleanup_(ovl_txn_done) struct ovl_txn t;                                                  \
	ovl_txn_init(&t)
void ovl_txn_inode(
	struct ovl_txn *t, uint64_t ino, uint64_t lower, uint32_t flags, const struct ovl_attr *a);
/* nlink, ctime and, where @mtime, mtime of an inode. */
void ovl_txn_touch(
	struct ovl_txn *t, uint64_t ino, uint32_t nlink, struct ovl_time now, bool mtime);
/* nlink and ctime of one whose names change. */
void ovl_txn_file(
	struct ovl_txn *t, const struct ovl_inode *i, uint32_t nlink, struct ovl_time now);
void ovl_txn_drop_link(struct ovl_txn *t, const struct ovl_inode *i, struct ovl_time now);
void ovl_txn_target(struct ovl_txn *t, uint64_t ino, const char *target, size_t n);
void ovl_txn_dent(
	struct ovl_txn *t, uint64_t dir, const char *name, size_t n, uint64_t ino, uint64_t cookie);
#define OVL_XATTR_GONE UINT32_MAX
void ovl_txn_xattr(struct ovl_txn *t, uint64_t ino, const char *name, size_t n, const void *value,
	uint32_t value_n);
void ovl_txn_next(struct ovl_txn *t, uint64_t next_ino);
void ovl_txn_birth(struct ovl_txn *t, const struct ovl_inode *i); /* where INODE does not say it */
void ovl_txn_whole(struct ovl_txn *t, const struct ovl_inode *i); /* all but a directory's names */

/**
 * ovl_apply() - Bring the tree to what the records of one transaction say
 * The one place where state changes, for a live op as for the loader. Exclusive tree lock.
 * Return: 0; -EBADMSG not records of ours; -ENOMEM.
 */
int ovl_apply(struct ovl *o, const uint8_t *p, size_t n);

/* ---- log.c */
/* Writes @t to the log, then applies it. @removes: may use the space kept for removals. */
int ovl_commit(struct ovl *o, struct ovl_txn *t, bool removes);
/**
 * ovl_log_replay() - Apply a log's bytes, header included
 * @ret_end: the length of its sound part. Pure but for the tree that it fills.
 * Errors: -EBADMSG not a log, or a sound frame with contents that make no sense; -ESTALE another
 * image's log; -EPROTONOSUPPORT another version.
 */
int ovl_log_replay(struct ovl *o, const uint8_t *p, size_t n, uint64_t *ret_end);
int ovl_log_open(struct ovl *o, struct msb_err *e);
int ovl_log_compact(struct ovl *o); /* exclusive tree lock */
int ovl_log_flush(struct ovl *o);   /* times that the log lacks; exclusive tree lock */
int ovl_log_sync(struct ovl *o);    /* to the disk; no lock held */

/* ---- data.c: contents. Inodes are pinned by the caller, no lock held, unless told otherwise. */
int ovl_fd_get(struct ovl *o, struct ovl_inode *i, bool create, struct ovl_fd **ret); /* -ENOENT */
int ovl_pack_get(struct ovl *o, uint32_t pack, struct ovl_fd **ret);
void ovl_fd_put(struct ovl *o, struct ovl_fd *f);
void ovl_fd_drop(struct ovl *o, struct ovl_fd **owner); /* any lock but fd_lock */
int ovl_data_sync_dir(struct ovl *o, uint64_t ino);	/* where its file's name is */
int ovl_data_unlink(struct ovl *o, uint64_t ino);
void ovl_data_refresh(struct ovl *o, struct ovl_inode *i); /* size and blocks; attr lock held */
struct ovl_data_name {
	char path[32]; /* below data/ */
};
struct ovl_data_name ovl_data_name(uint64_t ino);
int ovl_fds_init(struct ovl *o);
void ovl_fds_done(struct ovl *o);

/* ---- scan.c: data files that nobody owns */
int ovl_data_scan(struct ovl *o); /* after a load of the log, which has no other user yet */
bool ovl_data_claim(struct ovl *o, uint64_t ino); /* whether there was one of that number */
void ovl_data_purge(struct ovl *o);		  /* removes the rest; any lock but scan_lock */

/* ---- handle.c: the node of that number, or the directory that it is in; -ESTALE */
int ovl_by_handle(struct ovl *o, uint64_t ino, bool parent, struct fsb_entry *ret);

/* ---- state.c: device state */
int64_t ovl_save(struct fsb *b, uint64_t node, void *buf, size_t cap);
int ovl_load(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n);

/* ---- lower.c: where lower contents lie. A pack is one of the store, or a directory's file. */
int ovl_lower_extent(struct ovl *o, uint64_t nid, uint64_t off, struct img_extent *ret);
int ovl_lower_open(struct ovl *o, uint32_t pack); /* a descriptor; -ESTALE a file was changed */
int ovl_lower_check(struct ovl *o, uint32_t pack, int fd); /* after reading: -ESTALE likewise */

/* ---- copyup.c: lower contents and how they become own ones */
int64_t ovl_lower_readv(
	struct ovl *o, struct ovl_inode *i, const struct iovec *iov, int iovcnt, uint64_t off);
int64_t ovl_lower_seek(struct ovl *o, struct ovl_inode *i, uint64_t off, uint32_t whence);
/* Copies lower bytes [off, off + len) into @fd at @to, holes left out where @sparse. */
int ovl_lower_copy(struct ovl *o, struct ovl_inode *i, uint64_t off, uint64_t len, int fd,
	uint64_t to, bool sparse);
int ovl_copy_up(struct ovl *o, struct ovl_inode *i, uint64_t upto); /* its first @upto bytes */

/* ---- attr.c, xattr.c, namei.c, file.c: the ops */
void ovl_txn_own_xattrs(struct ovl *o, struct ovl_txn *t, struct ovl_inode *i, const char *but);
/* The access ACL of a new inode of @mode, as asked for, in @dir; @mode becomes what it is to be.
 * @ret_default: the one that a new directory gets, 0 bytes: none; as long as the tree is locked. */
int ovl_inherit(struct ovl *o, const struct ovl_inode *dir, uint32_t umask, uint32_t *mode,
	struct acl_bytes *ret_access, struct iovec *ret_default);
int ovl_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret);
int64_t ovl_usage(struct fsb *b, uint64_t node);
int ovl_setattr(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct fsb_setattr *s, struct fuse_attr *ret);
int ovl_btime(struct fsb *b, uint64_t node, struct timespec *ret);
int ovl_readlink(struct fsb *b, uint64_t node, char *buf, size_t cap);
/* Before a change of contents. @suidgid: who makes it, where set-id bits must go too; else NULL. */
int ovl_kill_privs(struct ovl *o, struct ovl_inode *i, const struct fsb_req *suidgid);
int ovl_statfs(struct fsb *b, uint64_t node, struct statvfs *ret);
int ovl_getflags(struct fsb *b, uint64_t node, uint32_t *ret);
int ovl_setflags(struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags);

int ovl_setxattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name,
	const void *value, size_t n, uint32_t flags);
int64_t ovl_getxattr(struct fsb *b, uint64_t node, const char *name, void *buf, size_t cap);
int64_t ovl_listxattr(struct fsb *b, uint64_t node, char *buf, size_t cap);
int ovl_removexattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name);

int ovl_lookup(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	struct fsb_entry *ret);
int ovl_mknod(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t rdev, struct fsb_entry *ret);
int ovl_mkdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret);
int ovl_symlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	const char *target, struct fsb_entry *ret);
int ovl_create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh);
int ovl_tmpfile(struct fsb *b, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh);
int ovl_unlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name);
int ovl_rmdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name);
int ovl_link(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t newparent,
	const char *newname, struct fsb_entry *ret);
int ovl_rename(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint64_t newparent, const char *newname, uint32_t flags);

int64_t ovl_readv(struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int iovcnt,
	uint64_t off);
int64_t ovl_writev(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct iovec *iov, int iovcnt, uint64_t off, uint32_t write_flags);
int ovl_fsync(struct fsb *b, uint64_t node, uint64_t fh, bool datasync);
int ovl_fallocate(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len);
int64_t ovl_lseek(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence);
int64_t ovl_copy_file_range(struct fsb *b, const struct fsb_req *req, uint64_t node_in,
	uint64_t fh_in, uint64_t off_in, uint64_t node_out, uint64_t fh_out, uint64_t off_out,
	uint64_t len);
int ovl_syncfs(struct fsb *b, uint64_t node);

#endif
