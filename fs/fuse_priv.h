/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the FUSE core; nobody else includes it. */
#ifndef MSB_FS_FUSE_PRIV_H
#define MSB_FS_FUSE_PRIV_H

#include "fs/fuse_core.h"
#include "fs/fuse_refs.h"

struct fsd_session {
	struct fsd_fs *fs;
	const struct fuse_profile *profile;
	bool readonly;
	_Atomic uint64_t requests;
	_Atomic bool ready;	/* INIT has been answered */
	_Atomic bool opens_off; /* so has OPEN or OPENDIR, with ENOSYS */
	/* What INIT agreed on. Written while no other request runs, as a kernel sees to; a hostile
	 * one confuses itself. */
	_Atomic uint64_t init_flags;
	_Atomic uint32_t minor;

	/* A view's (fs/fuse_view.c). Set before requests. */
	void (*changed)(void *arg, uint64_t node, uint64_t bytes);
	void *changed_arg;
	bool explicit_inval; /* INIT: cached contents are dropped when we say so; set before others
			      */
	struct fsd_session *next_view;

	pthread_mutex_t lock;	/* guards what follows; never held across a backend's op */
	uint64_t opens;		/* of a view, that are not released */
	struct fuse_keep *keep; /* set before requests; NULL: seldom otherwise */
	struct fuse_refs nodes, files, dirs;
};

/* One request being served. */
struct fuse_call {
	struct fsd_session *s;
	struct fuse_worker *w;
	struct fsb *b;
	const struct fsb_ops *ops;
	struct fuse_in_header h;
	struct fsb_req req;
	const uint8_t *args; /* private copy of what follows the header; of WRITE its head only */
	size_t args_bytes;
	const struct iovec *in; /* the whole request, for WRITE's data */
	unsigned int n_in;
	const struct iovec *out; /* room for the whole reply */
	unsigned int n_out;
	size_t out_bytes; /* room behind the reply's header */
	bool pin;	  /* the backend leaves it to us that nodes stay while they are used */
};

/* Serves a request. Bytes of the reply behind its header, or -errno. */
typedef int64_t (*fuse_op_fn)(struct fuse_call *);

enum fuse_op_flags {
	OP_WRITES = 1,	 /* EROFS on a read-only session */
	OP_NO_REPLY = 2, /* and no node */
	OP_NO_NODE = 4,	 /* the header's node means nothing */
	OP_EARLY = 8,	 /* allowed before INIT */
	OP_WAITS = 16,	 /* for a disk, as a rule */
	OP_CHANGES = 32, /* contents, or may */
	OP_SIZES = 64,	 /* the reply says how large files are that may be there already */
	OP_MAKES = 128,	 /* a file, which belongs to who asks */
};

struct fuse_op {
	fuse_op_fn run;
	uint16_t arg_bytes; /* fixed arguments */
	uint8_t names;	    /* strings behind them */
	uint8_t flags;
};

/* Linux 6.6 (protocol 7.39), which the headers of Debian 12 lack. */
#define FUSE_STATX_OP 52
extern const struct fuse_op fuse_ops_table[FUSE_STATX_OP + 1];

/* ---- fuse_core.c */
int64_t fuse_reply(struct fuse_call *c, const void *p, size_t n);

/* The fixed arguments. The table has checked that they are there; the copy is 8-aligned. */
#define ARGS(c, type) ((const type *)(const void *)(c)->args)

/* The @index-th string behind @fixed bytes of arguments; the table has checked that it is there. */
const char *fuse_arg_string(const struct fuse_call *c, size_t fixed, unsigned int index);

bool fuse_is_dots(const char *name); /* "." or ".." */

/* Who asks is not said: of a mount that may be idmapped it is where files are made, and there alone
 * (Linux 6.12, FUSE_INVALID_UIDGID). */
bool fuse_is_nobody(const struct fuse_call *c);

/* A directory entry's name: 0, -EINVAL, -ENAMETOOLONG. */
int fuse_check_name(const char *name);

/* Runs one operation of the backend. */
#define CALL(c, op, ...) ((c)->ops->op((c)->b, __VA_ARGS__))

/* ---- fuse_session.c */
int fuse_pin_node(struct fsd_session *s, uint64_t node); /* 0, -ESTALE; FUSE_ROOT_ID always 0 */
void fuse_unpin_node(struct fsd_session *s, uint64_t node);
/* -EBADF, -ESTALE */
int fuse_pin_handle(struct fsd_session *s, bool dir, uint64_t node, uint64_t fh);
void fuse_unpin_handle(struct fsd_session *s, bool dir, uint64_t fh);
/* Takes over one reference of a reply; on failure it is given back to the backend. */
int fuse_own_node(struct fsd_session *s, uint64_t node);
int fuse_own_handle(struct fsd_session *s, bool dir, uint64_t node, uint64_t fh, uint32_t flags);
void fuse_handle_gone(struct fsd_session *s, bool dir, const struct fuse_ref *h);
/* ---- fuse_load.c: brings a handle back; @h is entered, stale where it cannot be had. */
int fuse_load_handle(struct fsd_session *s, bool dir, struct fuse_ref h, bool stale);
void fuse_load_stale(struct fsd_session *s); /* when all else is loaded */
/* ---- fuse_takeover.c: for a session with a keep */
void fuse_keep_facts(struct fsd_session *s);  /* what INIT agreed on has changed */
void fuse_keep_states(struct fsd_session *s); /* before a reply names new nodes */
void fuse_forget(struct fsd_session *s, uint64_t node, uint64_t count);
void fuse_release(struct fsd_session *s, bool dir, uint64_t fh);

/* A node for the time of a request. */
static inline int fuse_hold(const struct fuse_call *c, uint64_t node)
{
	return c->pin ? fuse_pin_node(c->s, node) : 0;
}
static inline void fuse_let_go(const struct fuse_call *c, uint64_t node)
{
	if (c->pin)
		fuse_unpin_node(c->s, node);
}

/* ---- the operations, by file */
int64_t fuse_do_init(struct fuse_call *c); /* fuse_init.c */
int64_t fuse_do_destroy(struct fuse_call *c);
int64_t fuse_do_lookup(struct fuse_call *c); /* fuse_meta.c */
int64_t fuse_do_forget(struct fuse_call *c);
int64_t fuse_do_batch_forget(struct fuse_call *c);
int64_t fuse_do_getattr(struct fuse_call *c);
int64_t fuse_do_setattr(struct fuse_call *c);
int64_t fuse_do_statx(struct fuse_call *c); /* fuse_statx.c */
int64_t fuse_do_readlink(struct fuse_call *c);
int64_t fuse_do_symlink(struct fuse_call *c);
int64_t fuse_do_mknod(struct fuse_call *c);
int64_t fuse_do_mkdir(struct fuse_call *c);
int64_t fuse_do_unlink(struct fuse_call *c);
int64_t fuse_do_rmdir(struct fuse_call *c);
int64_t fuse_do_rename(struct fuse_call *c);
int64_t fuse_do_rename2(struct fuse_call *c);
int64_t fuse_do_link(struct fuse_call *c);
int64_t fuse_do_statfs(struct fuse_call *c);
int64_t fuse_do_syncfs(struct fuse_call *c);
int64_t fsd_reply_entry(struct fuse_call *c, const struct fsb_entry *e);
void fuse_entry_out(struct fsd_session *s, uint64_t parent, const struct fsb_entry *e,
	struct fuse_entry_out *o);
/* What the kernel may believe of @node. */
const struct fsb_cache *fuse_cache_of(struct fsd_session *s, uint64_t node); /* fuse_cache.c */
void fuse_set_ready(
	struct fsd_session *s, bool ready); /* INIT was answered, or the session is over */
void fuse_valid(uint32_t ms, uint64_t *ret_sec, uint32_t *ret_nsec);
void fuse_attr_valid(const struct fsb_cache *c, const struct fuse_attr *a, uint64_t *ret_sec,
	uint32_t *ret_nsec);
bool fuse_view_alone(const struct fsd_session *s); /* nobody else can change files */

/* ---- fuse_view.c: contents that views have cached */
extern _Atomic uint64_t fuse_view_opens;	      /* of all views */
bool fuse_view_explicit(const struct fsd_session *s); /* whether INIT is to ask for it */
void fuse_view_begin(struct fsd_session *s);
void fuse_view_end(struct fsd_session *s);
void fuse_view_older(void); /* somebody comes: nothing that is cached outlives its last close */
/* The FOPEN_* flags for an open of @node, which is held by the kernel. Counted until it is closed.
 */
uint32_t fuse_view_open(struct fsd_session *s, uint64_t node);
/* Before the reply to such an open: a read of the file's beginning is to be seen. */
void fuse_view_read_again(struct fsd_session *s, uint64_t node);
void fuse_view_close(struct fsd_session *s, uint64_t node);
/* @node's contents were changed through @from (NULL: somehow, any node): tells the other views. */
void fuse_view_tell(const struct fsd_session *from, uint64_t node);
static inline void fuse_contents_changed(const struct fuse_call *c, uint64_t node)
{
	if (__builtin_expect(
		    __atomic_load_n((const uint64_t *)&fuse_view_opens, __ATOMIC_RELAXED) != 0, 0))
		fuse_view_tell(c->s, node);
}

/* Around what may change contents: whether a view may have them cached, and then @ret for the end.
 */
bool fuse_view_change(const struct fsd_session *from, uint64_t node, unsigned int *ret);
void fuse_view_change_end(unsigned int begun);
/* Waits until the changes that are under way are told, which took effect or not. */
void fuse_view_settle(void);
bool fuse_view_unsettled(void); /* whether that would wait now */

int64_t fuse_do_open(struct fuse_call *c); /* fuse_file.c */
/* Whether OPEN and OPENDIR are answered ENOSYS; notes that they were. */
bool fuse_skips_open(struct fuse_call *c);
int fuse_kill_suidgid(struct fuse_call *c); /* the request's node loses its set-id bits */
int64_t fuse_do_create(struct fuse_call *c);
int64_t fuse_do_tmpfile(struct fuse_call *c);
int64_t fuse_do_release(struct fuse_call *c);
int64_t fuse_do_read(struct fuse_call *c);
int64_t fuse_do_write(struct fuse_call *c);
int64_t fuse_do_fsync(struct fuse_call *c);
int64_t fuse_do_fallocate(struct fuse_call *c);
int64_t fuse_do_lseek(struct fuse_call *c);
int64_t fuse_do_copy_file_range(struct fuse_call *c);
int64_t fuse_do_opendir(struct fuse_call *c); /* fuse_dir.c */
int64_t fuse_do_readdir(struct fuse_call *c);
int64_t fuse_do_releasedir(struct fuse_call *c);
int64_t fuse_do_fsyncdir(struct fuse_call *c);
int64_t fuse_do_setxattr(struct fuse_call *c); /* fuse_xattr.c */
int64_t fuse_do_getxattr(struct fuse_call *c);
int64_t fuse_do_listxattr(struct fuse_call *c);
int64_t fuse_do_removexattr(struct fuse_call *c);
int64_t fuse_do_ioctl(struct fuse_call *c); /* fuse_ioctl.c */
/* ---- fuse_flags.c: whether the request must not be for a file's flags; its node is held. -EPERM,
 * or what kept it from looking. */
int fuse_flags_check(struct fuse_call *c);

#endif
