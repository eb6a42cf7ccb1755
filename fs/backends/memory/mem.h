/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the memory backend: its state, its locks, and what its files offer one another. */
#ifndef MSB_FS_BACKENDS_MEMORY_MEM_H
#define MSB_FS_BACKENDS_MEMORY_MEM_H

#include "base/cleanup.h"
#include "fs/fsb.h"
#include "fs/fsd.h"
#include "fs/options.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define MEM_PAGE	    4096u
#define MEM_DEFAULT_BYTES   (UINT64_C(256) << 20)
#define MEM_MIN_BYTES	    (UINT64_C(1) << 20)
#define MEM_MAX_BYTES	    (UINT64_C(1) << 40)
#define MEM_BYTES_PER_NODE  1024 /* of the size: one inode more; never more than FSD_MAX_NODES */
#define MEM_NAME_MAX	    255
#define MEM_TARGET_MAX	    4095		      /* bytes of a symbolic link */
#define MEM_MAX_LINKS	    65000		      /* names of one file; EMLINK past it */
#define MEM_MAX_COOKIE	    ((UINT64_C(1) << 31) - 3) /* a position and a bound fill 63 bits */
#define MEM_MAX_DEPTH	    65536 /* directories from any one to the root; ELOOP past it */
#define MEM_MAX_XATTR_VALUE 65536
#define MEM_MAX_XATTR_BYTES (256u << 10) /* names and values of one inode; ENOSPC past it */
#define MEM_HOT_PAGES	    256		 /* free pages kept from the kernel, for the next writes */
#define MEM_FAULT_PAGES	    16u		 /* the least that mem_pages_fault() is worth */
#define MEM_TRIM_BYTES	    (UINT64_C(4) << 20) /* of metadata freed: the heap is given back */

/* A node's id is a number that counts up, and its slot: 28 and 20 bits. The root's is 1. An id
 * comes again after 2^28 others at the earliest, and never while its inode lives. */
#define MEM_SLOT_BITS	20
#define MEM_SLOTS	(1u << MEM_SLOT_BITS)
#define MEM_COUNTER_MAX ((UINT64_C(1) << (48 - MEM_SLOT_BITS)) - 1)
#define MEM_CHUNK	1024u /* slots that come at once */
_Static_assert(FSD_MAX_NODES <= MEM_SLOTS, "every inode has a slot");

struct mem_time {
	int64_t sec;
	uint32_t nsec; /* < 1e9 */
};

struct mem_xattr {
	struct mem_xattr *next;
	uint32_t value_n;
	uint8_t name_n;
	char bytes[]; /* name NUL value */
};

/* ---- contents: a tree of page numbers, 64 to a node, as high as the file is long */

#define MEM_FAN_BITS   6
#define MEM_FAN	       64u
#define MEM_MAX_LEVELS 9		   /* 54 bits of page number; a file has 51 */
#define MEM_UNWRITTEN  (UINT32_C(1) << 31) /* reads as zeros, whatever the page holds */

struct mem_leaf {
	uint32_t used;
	uint32_t page[MEM_FAN]; /* 0: a hole; else number + 1, perhaps MEM_UNWRITTEN */
};

struct mem_branch {
	uint32_t used;
	void *child[MEM_FAN];
};

struct mem_map {
	void *root;
	uint32_t levels; /* 1: the root is a leaf */
	uint64_t pages;
};

/* ---- directories */

struct mem_inode;

struct mem_dent {
	struct mem_dent *next; /* of its bucket */
	struct mem_inode *inode;
	uint64_t cookie; /* its place in a listing, for as long as the name exists */
	uint32_t hash;
	uint8_t name_n;
	char name[];
};

struct mem_listed {
	uint64_t cookie;
	struct mem_dent *d; /* NULL: removed since */
};

struct mem_dir {
	struct mem_inode *parent; /* NULL: removed. Changes under an exclusive tree lock. */
	pthread_rwlock_t lock;	  /* what follows, and the inode's nlink too */
	struct mem_dent **bucket;
	uint32_t buckets, dents;    /* buckets: 0 or a power of two */
	struct mem_listed *list;    /* by rising cookie */
	uint32_t listed, cap, gone; /* gone: of those listed */
	uint64_t last_cookie;
};

enum mem_flags {
	MEM_LINKABLE = 1, /* O_TMPFILE: link(2) may give it its first name */
	MEM_HAS_CAP = 2,  /* has security.capability */
};
#define MEM_FL_SHIFT 12 /* FSB_FL_* of the inode, in the same word */
#define MEM_FL_MASK  ((uint32_t)FSB_FL_ALL << MEM_FL_SHIFT)
#define MEM_SAVED    (MEM_LINKABLE | MEM_FL_MASK)

struct mem_inode {
	uint64_t id;
	uint32_t type; /* S_IFMT of its mode; never changes */
	/* LOOKUPs in the low MEM_REF_BITS, MEM_NAMED while it has a name, MEM_LOADED until
	 * mem_sweep() has met it. Freed when it comes to 0; while it is 0 nobody finds it. */
	_Atomic uint64_t refs;
	pthread_rwlock_t lock; /* what follows, but a directory's entries */
	uint32_t mode, uid, gid, rdev, nlink, flags;
	uint64_t size;
	struct mem_time atime, mtime, ctime, btime;
	struct mem_xattr *xattrs;
	uint32_t xattr_bytes;
	union {
		struct mem_map map; /* regular files */
		struct mem_dir dir;
		char *target;
	};
};

#define MEM_REF_BITS 40
#define MEM_NAMED    (UINT64_C(1) << MEM_REF_BITS)
#define MEM_LOADED   (UINT64_C(2) << MEM_REF_BITS)
#define MEM_LOOKUPS  (MEM_NAMED - 1)

/* ---- pages */

struct mem_pool {
	uint8_t *base; /* address space for all pages; the kernel has memory for those in use */
	uint32_t pages;
	pthread_mutex_t lock; /* what follows */
	uint64_t *used;	      /* a bit a page */
	uint64_t *full;	      /* a bit a word of @used: no page free in it */
	uint32_t low;	      /* no word of @full before it has a free page */
	uint32_t hot[MEM_HOT_PAGES];
	unsigned int hot_n;
};

/*
 * Locks, in the order in which they may be taken:
 *	tree		shared: to use directories at all. Exclusive: to move or remove them; then
 *			their entries need no lock.
 *	dir.lock	one at a time
 *	inode->lock	attributes, contents; of two the one with the lower id first
 *	slots_lock, pool.lock	leaves
 */
struct mem {
	struct fsb fsb;
	uint64_t limit, max_nodes; /* bytes; inodes */
	enum fsb_atime atime;
	uint64_t seed; /* of names' hashes: a guest must not be able to aim collisions */
	pthread_rwlock_t tree;
	struct mem_inode *root;
	_Atomic uint64_t used;		  /* bytes, of pages and of everything else */
	_Atomic uint64_t heap, heap_peak; /* bytes of everything else; since the last trim */
	_Atomic bool sweep;		  /* inodes were loaded that nobody may want */
	struct mem_pool pool;

	pthread_mutex_t slots_lock; /* what follows; slots are read without */
	/* A slot holds an inode, or 1 | the next free slot << 1. Slot 0 is never used. */
	_Atomic(uintptr_t) *_Atomic chunk[MEM_SLOTS / MEM_CHUNK];
	uint32_t free_slot; /* 0: none */
	uint64_t counter;
	_Atomic uint64_t nodes;
};

static inline struct mem *mem_of(struct fsb *b)
{
	return (struct mem *)b; /* fsb is the first member */
}

static inline void mem_unlock_(pthread_rwlock_t **l)
{
	if (*l)
		pthread_rwlock_unlock(*l);
}

#define MEM_SHARED(l)                                                                              \
	_cleanup_(mem_unlock_) pthread_rwlock_t *MSB_CAT_(rw_, __LINE__) = (l);                    \
	pthread_rwlock_rdlock(MSB_CAT_(rw_, __LINE__))
#define MEM_EXCLUSIVE(l)                                                                           \
	_cleanup_(mem_unlock_) pthread_rwlock_t *MSB_CAT_(rw_, __LINE__) = (l);                    \
	pthread_rwlock_wrlock(MSB_CAT_(rw_, __LINE__))

/* ---- memory.c */

/* Room for @bytes more: -ENOSPC. */
int mem_charge(struct mem *m, uint64_t bytes);
void mem_uncharge(struct mem *m, uint64_t bytes);
/* Zeroed memory that counts; NULL: past the limit, or none. Freed with the size it was had with. */
void *mem_alloc(struct mem *m, size_t n);
void mem_free(struct mem *m, void *p, size_t n);
int mem_new(uint64_t limit, struct mem **ret, struct msb_err *e);
int mem_make_root(struct mem *m);

/* ---- pool.c: pages. Counted against the limit. */
int mem_pool_init(struct mem_pool *p, uint64_t bytes);
void mem_pool_done(struct mem_pool *p);
static inline uint8_t *mem_page(const struct mem *m, uint32_t entry)
{
	return m->pool.base + (uint64_t)((entry & ~MEM_UNWRITTEN) - 1) * MEM_PAGE;
}
/* Up to @n map entries of pages with anything in them: how many the limit left. */
uint32_t mem_pages_take(struct mem *m, uint32_t n, uint32_t *ret);
/* MEM_FAN at most. */
void mem_pages_give(struct mem *m, const uint32_t *entry, uint32_t n);
/* Has the kernel find memory for what is about to be written, many pages at a time. */
void mem_pages_fault(struct mem *m, const uint32_t *entry, uint32_t n);

/* ---- map.c: which page is where. The inode's lock. */
struct mem_leaf *mem_map_leaf(const struct mem_map *p, uint64_t index); /* NULL: holes */
int mem_map_make(struct mem *m, struct mem_map *p, uint64_t index, struct mem_leaf **ret);
/* The first leaf that has or follows *@index; sets that to its first page's. NULL: none. */
struct mem_leaf *mem_map_next(const struct mem_map *p, uint64_t *index);
void mem_map_erase(struct mem *m, struct mem_map *p, uint64_t first, uint64_t end);

/* ---- inode.c */
struct mem_inode *mem_find(const struct mem *m, uint64_t id);
int mem_get_dir(const struct mem *m, uint64_t id, struct mem_inode **ret); /* -ESTALE, -ENOTDIR */
/* An inode that nobody finds until its references are set, when all of it is there; @id 0: the
 * next. -ENOSPC; -EEXIST @id. */
int mem_inode_new(struct mem *m, uint64_t id, uint32_t mode, struct mem_inode **ret);
void mem_inode_free(struct mem *m, struct mem_inode *i); /* and its id */
/* Between these two no id is given out, so that those of a state can be put back. */
void mem_slots_hide(struct mem *m);
void mem_slots_list(struct mem *m);
void mem_inodes_free(struct mem *m); /* all of them */
void mem_ref(struct mem_inode *i);   /* one LOOKUP */
/* The same, of any id: NULL where it is none, or is going. */
struct mem_inode *mem_hold(struct mem *m, uint64_t id);
void mem_unref(struct mem_inode *i); /* takes it back; it has a name */
void mem_named(struct mem_inode *i);
void mem_nameless(struct mem *m, struct mem_inode *i); /* no lock held; may free */
void mem_forget(struct fsb *b, uint64_t node, uint64_t count);
void mem_sweep(struct mem *m);
void mem_attr(const struct mem_inode *i, struct fuse_attr *ret); /* locked */
void mem_entry(struct mem_inode *i, struct fsb_entry *ret);	 /* not locked; not counted */
/* An entry of @dir came or went, as many subdirectories did. */
void mem_touch_dir(struct mem_inode *dir, int subdirs, struct mem_time now);
struct mem_time mem_now(void);
/* It was read: see relatime.h. Not locked. */
void mem_accessed(const struct mem *m, struct mem_inode *i);
/* Contents changed, or the @owner. @suidgid: who did it, where set-id bits must go too; else NULL.
 * Exclusively locked. */
void mem_kill_privs(struct mem *m, struct mem_inode *i, const struct fsb_req *suidgid, bool owner);

/* ---- dir.c. The directory's dir.lock, or the tree's exclusively. */
int mem_check_name(const char *name);
struct mem_dent *mem_dent_find(
	const struct mem *m, const struct mem_inode *dir, const char *name, size_t n);
/* The name must be absent. @cookie 0: the next one. */
int mem_dir_add(struct mem *m, struct mem_inode *dir, const char *name, size_t n, uint64_t cookie,
	struct mem_inode *child);
void mem_dir_remove(struct mem *m, struct mem_inode *dir, struct mem_dent *d);
void mem_dir_free(struct mem *m, struct mem_dir *d); /* what it holds */
int mem_readdir(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh, uint64_t off,
	bool plus, fsb_dirent_fn fn, void *arg);

/* ---- namei.c, rename.c */
int mem_lookup(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	struct fsb_entry *ret);
int mem_mknod(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t rdev, struct fsb_entry *ret);
int mem_mkdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret);
int mem_symlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	const char *target, struct fsb_entry *ret);
int mem_create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh);
int mem_tmpfile(struct fsb *b, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh);
int mem_link(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t newparent,
	const char *newname, struct fsb_entry *ret);
int mem_unlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name);
int mem_rmdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name);
int mem_rename(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint64_t newparent, const char *newname, uint32_t flags);

/* ---- attr.c, xattr.c */
int mem_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret);
int mem_setattr(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct fsb_setattr *s, struct fuse_attr *ret);
int mem_readlink(struct fsb *b, uint64_t node, char *buf, size_t cap);
int mem_btime(struct fsb *b, uint64_t node, struct timespec *ret);
int mem_getflags(struct fsb *b, uint64_t node, uint32_t *ret);
int mem_setflags(struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags);
int mem_setxattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name,
	const void *value, size_t n, uint32_t flags);
int64_t mem_getxattr(struct fsb *b, uint64_t node, const char *name, void *buf, size_t cap);
int64_t mem_listxattr(struct fsb *b, uint64_t node, char *buf, size_t cap);
int mem_removexattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name);
void mem_xattrs_free(struct mem *m, struct mem_inode *i);
/* Exclusively locked; replaces what is there. -ENOSPC. */
int mem_xattr_set(struct mem *m, struct mem_inode *i, const char *name, size_t name_n,
	const void *value, size_t n);
bool mem_xattr_drop(struct mem *m, struct mem_inode *i, const char *name);
/* What @i, that nobody knows yet and whose mode is as asked for, gets from @dir, which is locked:
 * its mode and ACLs. -ENOSPC. */
int mem_inherit(struct mem *m, struct mem_inode *i, struct mem_inode *dir, uint32_t umask);

/* ---- data.c, space.c */
int64_t mem_readv(struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int iovcnt,
	uint64_t off);
int64_t mem_writev(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct iovec *iov, int iovcnt, uint64_t off, uint32_t write_flags);
int mem_fallocate(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len);
int64_t mem_lseek(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence);
int64_t mem_copy_file_range(struct fsb *b, const struct fsb_req *req, uint64_t node_in,
	uint64_t fh_in, uint64_t off_in, uint64_t node_out, uint64_t fh_out, uint64_t off_out,
	uint64_t len);
/* A regular file: -ESTALE, -EISDIR, -EINVAL. */
int mem_get_file(const struct mem *m, uint64_t node, struct mem_inode **ret);

struct mem_cursor { /* a place in a vector */
	const struct iovec *iov;
	int n;
	size_t at; /* in the first */
};
/* Writes from the cursor, size updated, no times. Exclusively locked. Short, or -ENOSPC at once. */
int64_t mem_write(
	struct mem *m, struct mem_inode *i, struct mem_cursor *from, uint64_t off, uint64_t len);
void mem_zero(struct mem *m, struct mem_inode *i, uint64_t off, uint64_t end); /* leaves holes */
void mem_resize(struct mem *m, struct mem_inode *i, uint64_t size);

/* ---- state.c, state_load.c */
int64_t mem_save(struct fsb *b, uint64_t node, void *buf, size_t cap);
int mem_load(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n);
int mem_save_all(struct fsb *b, int fd);
int mem_load_all(struct fsb *b, int fd);
/* The same from bytes, which may be anything. @m is new; empty again after a failure. */
int mem_load_bytes(struct mem *m, const uint8_t *p, size_t n);

#endif
