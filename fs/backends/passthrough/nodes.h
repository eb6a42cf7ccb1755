/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nodes of a passthrough: which host file each id means, and how to get at it.
 *
 * A node is a place, (parent, name), and an identity, (file system, ino, birth time). The place
 * finds the file, the identity tells whether it is still the same one: -ESTALE if not, never the
 * wrong file. A node costs no descriptor until something needs one; those not in use are closed,
 * least recently used first, when the process has FSD_MAX_BACKEND_FDS of them, and are found again
 * from their parent. A node about to lose its place (unlink, rename over) while the guest knows it
 * is held by a descriptor until it is forgotten, so what the guest has open survives as on a disk.
 *
 * Why not one descriptor a node: a guest's `find` would take half a million. Why not file handles:
 * open_by_handle_at() is for root alone, and reaches every file of the disk, not only the share's.
 *
 * A node's id is its file's st_ino in the guest, and its generation stands for the birth time, so
 * that both are the same in every server, and a guest's file handles last (find.c). What has no
 * birth time, or a number that another node bears, which the guest still knows of a file that is
 * gone, has an id of PT_OWN_IDS instead: counted up, with a generation that is this server's alone.
 * A handle of it lasts as long as the node. What a node is called it is called for good, also where
 * its file is replaced (pt_replaced()) and where another server goes on (state.c).
 *
 * A descriptor for writing makes the host's execve() of the file fail (ETXTBSY), so one of a file
 * with an execute bit is closed at once, and the others PT_WRITER_IDLE_MS after the last write.
 */
#ifndef MSB_FS_PASSTHROUGH_NODES_H
#define MSB_FS_PASSTHROUGH_NODES_H

#include "fs/backends/passthrough/meta.h"
#include "fs/fsb.h"
#include "fs/fsd.h"

#include <pthread.h>
#include <sys/stat.h>

/* Descriptors held for nodes without a place; past it an unlinked file is -ESTALE by its node. */
#define PT_MAX_ORPHANS (FSD_MAX_BACKEND_FDS / 2)
/* Directories above a node that have to be found again one by one; -ESTALE past it. */
#define PT_MAX_DEPTH 512
/* File systems of one share that have nodes; -EXDEV past it. */
#define PT_MAX_DEVICES	  255
#define PT_WRITER_IDLE_MS 200
#define PT_NO_DEFAULT_MS  1000 /* the host may give a directory a default ACL at any time */

#define PT_INO_BITS 40 /* of the file system's own number in a st_ino; its index is above */
#define PT_OWN_IDS  ((uint64_t)PT_MAX_DEVICES << PT_INO_BITS) /* and above: of no st_ino */

/* What makes a host file itself. An inode number is used again, its birth time is not. */
struct pt_identity {
	uint64_t ino;
	int64_t birth_sec;   /* 0 also of what a tool made that writes images of file systems */
	uint32_t birth_nsec; /* PT_NO_BIRTH where the file system keeps none */
	uint32_t type;	     /* S_IF* */
	uint32_t dev; /* index of its mount and device in the table; PT_DEV_ANY: not known yet */
};
#define PT_DEV_ANY  UINT32_MAX
#define PT_NO_BIRTH UINT32_MAX

/* What a descriptor is good for, and what pt_get() is asked for. */
enum pt_fd { PT_PATH, PT_READ, PT_WRITE, PT_FDS, PT_NODE /* none is needed */ };

struct pt_dir; /* an open directory's position: dir.c */

/* Guarded by the table's lock, but for what says otherwise. */
struct pt_node {
	uint64_t id;
	struct pt_identity file;
	struct pt_node *parent; /* holds it: counted in its children */
	char *name;		/* NULL: has no place */
	uint64_t place;		/* hash of both */
	int fd[PT_FDS];		/* set and never changed while there are users */
	bool orphan;		/* its descriptors are all there is: kept while the node lives */
	bool unsure;		/* its descriptor was not compared with its identity yet */
	bool gone;		/* was not that file, or could not be loaded: -ESTALE for ever */
	bool looked;		/* at its attributes, by its place */
	bool drop_writer;	/* as soon as nobody uses it */
	bool marked;		/* a directory that has PT_XATTR_SPECIAL */
	bool no_caps;		/* no security.capability of the guest's was there */
	uint64_t no_default_until_ms; /* of a directory: no default ACL was there just now */
	uint8_t moving; /* renames under way: a place that fails may be about to change */
	uint32_t users, children;
	uint32_t generation; /* of @id */
	uint64_t lookups;
	uint64_t moves;	     /* counts changes of the place */
	uint32_t mode;	     /* the host's, when last seen; 0: not seen */
	struct pt_meta meta; /* when last seen */
	struct timespec meta_ctime;
	bool meta_sure; /* @meta is right while the file's ctime is @meta_ctime */
	struct pt_dir *dir;
	struct pt_node *next_by_id, *next_by_file, *next_by_place;
	struct pt_node *newer, *older; /* idle list: users 0, a descriptor, not an orphan */
	struct pt_node *wrote_later, *wrote_earlier; /* those with a PT_WRITE descriptor */
	uint64_t wrote_ms;
};

struct pt_nodes {
	pthread_mutex_t lock; /* never held across a system call that may block */
	struct pt_node **by_id, **by_file, **by_place; /* hash chains, a power of two of each */
	size_t buckets;
	uint32_t live, orphans;
	uint64_t own_ids; /* how many were given */
	uint32_t own_generation;
	struct pt_node *newest, *oldest; /* idle nodes whose descriptors may be closed */

	pthread_cond_t moved; /* a rename is done */
	uint32_t waiting;     /* for that */

	bool submounts; /* enter other file systems */
	bool noatime;	/* reads move no access time on the host */
	struct pt_device {
		uint64_t mnt, dev;
		uint32_t nodes;
	} device[PT_MAX_DEVICES]; /* [0] is the root's, and never changes; unused: mnt and dev 0 */

	/* closing writers */
	struct pt_node *wrote_last, *wrote_first;
	pthread_t closer;
	pthread_cond_t work;
	bool closer_runs, stopping;
};

/* A node in use, and a descriptor of its file: the table's, or where @own is set, one's own. */
struct pt_ref {
	struct pt_node *node;
	int fd; /* -1: none was asked for and there is none */
	bool own;
	uint8_t kill;  /* PT_KILL_*, as known when it was got */
	uint32_t mode; /* the node's, then */
};

/* What a write may have to take from a file. */
enum {
	PT_KILL_HOST = 1,  /* the host's set-id bits, or they are not known */
	PT_KILL_GUEST = 2, /* the guest's */
	PT_KILL_CAPS = 4,  /* perhaps the guest's file capabilities */
};

/* A file just looked at. */
struct pt_seen {
	const struct statx *sx;
	const struct pt_meta *meta; /* NULL: was not looked at */
	bool meta_sure;
	int fd; /* taken over in any case; -1: none */
	enum pt_fd kind;
	bool drop;	 /* pt_drop_writer() */
	bool put_parent; /* on success it is given back */
};

int pt_nodes_init(struct pt_nodes *t, int root_fd, bool submounts); /* takes @root_fd in any case */
/* A descriptor to read by, as @t wants it; passes errors on. */
int pt_reader(const struct pt_nodes *t, int fd);
void pt_nodes_done(struct pt_nodes *t);

/**
 * pt_get() - The file of @id, to be given back by pt_put()
 * @need: PT_NODE the node alone; PT_PATH any descriptor; PT_READ, PT_WRITE one that reads, or reads
 *	  and writes: of regular files and directories
 * Return: 0; -ESTALE it is not there any more; -ENXIO, -EISDIR not of a type to be opened; what
 * openat2() says.
 */
int pt_get(struct pt_nodes *t, uint64_t id, enum pt_fd need, struct pt_ref *ret);
/* The same for a node in hand: a descriptor that does @need into @r->fd. */
int pt_need(struct pt_nodes *t, struct pt_ref *r, enum pt_fd need);
void pt_put(struct pt_nodes *t, struct pt_ref *r); /* nothing where it was given back already */

/* Looks at the file of @r, through a descriptor where there is one, else in its place. -ESTALE. */
int pt_look(struct pt_nodes *t, const struct pt_ref *r, struct statx *ret);

/**
 * pt_enter() - The node of a file just looked at
 * @name: its name in @parent, or NULL for one without a name, reached by @seen->fd
 * @ret: its node and generation are set: with one reference that pt_forget() gives back
 * Return: 0; -ENFILE; -ENOMEM; -EXDEV too many file systems.
 */
int pt_enter(struct pt_nodes *t, struct pt_ref *parent, const char *name,
	const struct pt_seen *seen, struct fsb_entry *ret);
/* The same of a node in hand. */
void pt_enter_again(struct pt_nodes *t, const struct pt_ref *r, struct fsb_entry *ret);
void pt_forget(struct pt_nodes *t, uint64_t id, uint64_t count);

/* @name in @parent is about to go away: keeps its node, where there is one, reachable. */
void pt_hold(struct pt_nodes *t, const struct pt_ref *parent, const char *name);

/* Around a rename: those whose place fails meanwhile wait for its end. NULL: no known node. */
struct pt_node *pt_move_begin(struct pt_nodes *t, const struct pt_ref *parent, const char *name);
void pt_move_end(struct pt_nodes *t, struct pt_node *n, const struct pt_ref *parent,
	const char *name); /* its place from now on; @name NULL: as it was */

/* Whatever @name in @parent is now, after something failed: that is its node's place. */
void pt_moved(struct pt_nodes *t, const struct pt_ref *parent, const char *name);

/* Its file is another one from now on, of the same guest's file. Only with no other user: -EBUSY.
 */
int pt_replaced(struct pt_nodes *t, struct pt_ref *r, const struct statx *sx);

/* What was just learned of a node in use. */
void pt_learn(struct pt_nodes *t, struct pt_node *n, const struct statx *sx,
	const struct pt_meta *meta, bool meta_sure);
/* What is known of the file that @sx is of: true where that is still right. */
bool pt_known_meta(struct pt_nodes *t, const struct statx *sx, struct pt_meta *ret);
/* Whether what is read now will change the ctime if it changes. */
bool pt_is_settled(const struct statx *sx);
/* It got an execute bit: no descriptor for writing may stay. */
void pt_drop_writer(struct pt_nodes *t, struct pt_node *n);

/* st_ino as the guest sees it: unique in the share, below FSB_MAX_ID. */
uint64_t pt_ino(struct pt_nodes *t, const struct statx *sx);
uint64_t pt_ino_on(uint32_t dev, uint64_t ino); /* of a number of file system @dev */

/**
 * pt_statx() - Look at @name in @dirfd, or at @dirfd itself where @name is ""
 * Follows no link. Return: 0; -EXDEV another file system that is not to be entered; -errno.
 */
int pt_statx(const struct pt_nodes *t, int dirfd, const char *name, struct statx *ret);

/* openat2() of a name, or of names with / between, beneath @dirfd, through no link, and no mount
 * that is not entered. Closes idle descriptors where there are no more. */
int pt_openat(struct pt_nodes *t, int dirfd, const char *name, int flags, mode_t mode);

/* ---- inside, nodes.c to reach.c and state.c; the lock is held unless it says otherwise */

/* What has to be closed and freed once the lock is gone. */
struct pt_garbage {
	struct pt_node *nodes; /* chained by next_by_id */
	struct pt_dir *dir;
	int fd[2 * PT_FDS];
	unsigned int fds;
};
void pt_sweep(struct pt_garbage *g); /* without the lock */

int pt_grow(struct pt_nodes *t, size_t buckets);
uint64_t pt_dev_of(const struct statx *sx);
struct pt_node *pt_find_id(const struct pt_nodes *t, uint64_t id);
struct pt_node *pt_find_file(const struct pt_nodes *t, const struct pt_identity *f);
struct pt_node *pt_find_place(
	const struct pt_nodes *t, const struct pt_node *parent, const char *name);
bool pt_is_place(const struct pt_node *n, const struct pt_node *parent, const char *name);
void pt_link_place(struct pt_nodes *t, struct pt_node *n);
void pt_unlink_place(struct pt_nodes *t, struct pt_node *n);
void pt_refile(struct pt_nodes *t, struct pt_node *n, const struct pt_identity *f);
/* A loaded node was found again, as @f: now its file system is known. */
void pt_settle(struct pt_nodes *t, struct pt_node *n, const struct pt_identity *f);
void pt_take_fds(struct pt_nodes *t, struct pt_node *n, struct pt_garbage *g);
/* Removes @n where nothing needs it any more, and then perhaps its parent, and so on. */
void pt_drop_unused(struct pt_nodes *t, struct pt_node *n, struct pt_garbage *g);
void pt_use(struct pt_nodes *t, struct pt_node *n);
/* Gives up a use, and removes the node where nothing needs it any more. */
void pt_unuse(struct pt_nodes *t, struct pt_node *n, struct pt_garbage *g);
int pt_add_node(struct pt_nodes *t, struct pt_node *n); /* 0, -ENFILE */
void pt_link_node(struct pt_nodes *t, struct pt_node *n);
void pt_unlink_node(struct pt_nodes *t, struct pt_node *n);
bool pt_set_place(struct pt_nodes *t, struct pt_node *n, struct pt_node *parent, char *name,
	struct pt_garbage *g); /* takes @name where it returns true */
void pt_give_fd(
	struct pt_nodes *t, struct pt_node *n, enum pt_fd kind, int fd, struct pt_garbage *g);
/* Closes the descriptors of up to @n idle nodes at once. Without the lock. */
void pt_evict(struct pt_nodes *t, unsigned int n);
int pt_device(struct pt_nodes *t, const struct statx *sx); /* index or -EXDEV */
void pt_give_id(struct pt_nodes *t, struct pt_node *n);	   /* to a new one; and a generation */
int pt_identity(struct pt_nodes *t, const struct statx *sx, struct pt_identity *ret);
bool pt_same(const struct pt_identity *a, const struct pt_identity *b);
int pt_reach(struct pt_nodes *t, struct pt_ref *r, enum pt_fd need); /* reach.c, without the lock */
void pt_wrote(struct pt_nodes *t, struct pt_node *n);		     /* reach.c */
void pt_writer_gone(struct pt_nodes *t, struct pt_node *n);	     /* reach.c */
void pt_take_writer(struct pt_nodes *t, struct pt_node *n, struct pt_garbage *g);
void pt_closer_stop(struct pt_nodes *t);      /* reach.c, without the lock */
struct pt_dir *pt_dir_free(struct pt_dir *d); /* dir.c, without the lock */

/* A descriptor of @n that does @need; -1. */
static inline int pt_pick(const struct pt_node *n, enum pt_fd need)
{
	if (n->unsure)
		return -1;
	if (need == PT_WRITE || (need == PT_READ && n->fd[PT_READ] < 0))
		return n->fd[PT_WRITE];
	if (need == PT_READ || n->fd[PT_READ] >= 0)
		return n->fd[PT_READ];
	return n->fd[PT_WRITE] >= 0 ? n->fd[PT_WRITE] : n->fd[PT_PATH];
}

#endif
