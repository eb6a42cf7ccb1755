/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the plugin backend; nobody else includes it. */
#ifndef MSB_FS_PLUGIN_PRIV_H
#define MSB_FS_PLUGIN_PRIV_H

#include "fs/backends/plugin/conn.h"
#include "fs/backends/plugin/json_wire.h"
#include "fs/backends/plugin/nodes.h"
#include "fs/backends/plugin/plugin.h"
#include "fs/backends/plugin/wire.h"

#include <stdatomic.h>

/* An open file or directory: the plugin's, the one below, or both. */
struct plug_handle {
	uint64_t node;	/* 0: free */
	uint64_t pfh;	/* the plugin's */
	uint64_t ifh;	/* the one below */
	uint32_t flags; /* of its open, for a plugin started anew */
	uint32_t epoch; /* of the connection that pfh is from */
	bool dir, plug, below;
	bool list_below; /* of a directory: its list is the one below's */
	void *list;	 /* json: the directory as it was at the start of reading */
};

/* Shared memory that a plugin has brought. Outlives its connection while a request uses it. */
struct pf_shm {
	int fd;
	uint32_t slots, slot_bytes;
	uint64_t used; /* bits by slot */
	bool ended;    /* by its connection */
};

struct plug {
	struct fsb b; /* first */
	struct plug_conn conn;
	struct pn_table nodes;
	struct fsb *inner; /* NULL: nothing below */

	pthread_mutex_t handles_lock;
	struct plug_handle *handle; /* fh - 1 is the index */
	uint32_t handles, first_free, open;

	/* ---- protocol=fuse */
	_Atomic uint64_t absent;	/* bits by opcode: the plugin has said ENOSYS */
	_Atomic uint32_t flags, max_io; /* of struct pw_init */
	_Atomic uint64_t init_unique;
	pthread_mutex_t shm_lock; /* guards the pointer, and what it points at */
	struct pf_shm *shm;	  /* NULL: data is in the stream */

	/* ---- protocol=json */
	bool said; /* the receiving thread's: it has said what it wants */
	pthread_mutex_t says_lock;
	struct fsb *rules;    /* laid over it; set before the first message */
	struct pj_says *says; /* says_lock; NULL before it has said it, and with protocol=fuse */
	pthread_mutex_t lists_lock; /* the lists of handles */
};

static inline struct plug *plug_of(struct fsb *b)
{
	return (struct plug *)(void *)b;
}

/* One op of the backend below, which must be there. */
#define BELOW(p, op, ...) ((p)->inner->ops->op((p)->inner, __VA_ARGS__))
/* Whether the backend below has @op, for a node that it knows. */
#define HAS_BELOW(p, inner_node, op) ((inner_node) && (p)->inner->ops->op)

/* ---- plugin.c */
void plug_stop(struct plug *p);
void plug_below_forget(struct plug *p, uint64_t inner, uint64_t count);
void plug_below_release(struct plug *p, bool dir, uint64_t inner, uint64_t fh);
/* The entry of what the kernel is to know as @node. */
void plug_entry(
	struct fsb_entry *ret, uint64_t node, uint64_t generation, const struct fuse_attr *a);
const struct fsb_cache *plug_cache(struct fsb *b, uint64_t node);
int plug_load(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n);
/* An index for pn.cache: how long the plugin lets be believed what it said. */
uint8_t plug_cache_index(uint64_t entry_ms, uint64_t attr_ms);

/* ---- handles.c */
int plug_handle_add(struct plug *p, const struct plug_handle *h, uint64_t *ret_fh); /* -ENFILE */
int plug_handle_get(struct plug *p, uint64_t fh, struct plug_handle *ret);	    /* -EBADF */
int plug_handle_take(struct plug *p, uint64_t fh, struct plug_handle *ret);	    /* -EBADF */
/* Its list; @fresh, where it is not NULL, in place of the one before. lists_lock is held. */
void *plug_handle_list(struct plug *p, uint64_t fh, void *fresh);
void plug_handle_list_below(struct plug *p, uint64_t fh); /* from now on */
/* It is @h now, unless another thread has opened it again: false. */
bool plug_handle_reopened(struct plug *p, uint64_t fh, const struct plug_handle *h);

/* ---- protocol=fuse: fuse_conn.c */
extern const struct plug_proto plug_fuse_proto;
extern const struct fsb_ops plug_fuse_ops;

/* A node in use by one operation. */
struct pf_node {
	struct plug *p;
	struct pn *n;
	uint64_t pid;	/* what the plugin knows it by; 0: it does not */
	uint64_t inner; /* the node below; 0 */
	uint32_t epoch;
};
int pf_get(struct plug *p, uint64_t node, struct pf_node *ret); /* -ESTALE, -EIO */
void pf_put(struct pf_node *n);
#define _pf_node_ __attribute__((cleanup(pf_put))) struct pf_node

/**
 * pf_ask() - One request
 * @v:	   v[0] is left for the header, arguments follow
 * @out:   where the reply's payload goes
 * Return: bytes of payload; -PLUGIN_PASS: the plugin leaves it to what is below, or does not know
 * the node; -errno. Less than @min bytes break the connection.
 */
int64_t pf_ask(struct plug *p, uint32_t opcode, const struct pf_node *n, const struct fsb_req *req,
	struct iovec *v, unsigned int nv, const struct iovec *out, unsigned int n_out, size_t min);
/* The same without an answer. @pid of connection @epoch. */
void pf_tell(
	struct plug *p, uint32_t opcode, uint64_t pid, uint32_t epoch, const void *args, size_t n);
void pf_forget_plugin(struct plug *p, uint64_t pid, uint32_t epoch, uint64_t count);

/* Fixed arguments and up to two names, and a reply of fixed size. 0 or as pf_ask(). */
int pf_simple(struct plug *p, uint32_t opcode, const struct pf_node *n, const struct fsb_req *req,
	const void *args, size_t args_bytes, const char *name, const char *name2, void *out,
	size_t out_bytes);

/* A place for data in shared memory, to be given back; NULL: there is none. */
struct pf_shm *pf_slot_get(struct plug *p, size_t bytes, struct plugin_slot *ret);
void pf_slot_put(struct plug *p, struct pf_shm *shm, const struct plugin_slot *slot);

/* ---- fuse_meta.c */
/* Makes the kernel's entry of @name out of the plugin's @pe and the one below, either NULL. Takes
 * over the references of both, also on failure. */
int pf_enter(const struct pf_node *parent, const char *name, const struct fuse_entry_out *pe,
	const struct fsb_entry *ie, struct fsb_entry *ret);
/* The same of something just made below: asks the plugin whether it knows it. */
int pf_enter_below(const struct pf_node *parent, const char *name, const struct fsb_req *req,
	const struct fsb_entry *ie, struct fsb_entry *ret);
int pf_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret);
int pf_setattr(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct fsb_setattr *set, struct fuse_attr *ret);
/* Takes away set-id bits, where the plugin does not by itself. */
int pf_kill_suidgid(const struct pf_node *n, const struct fsb_req *req);
uint32_t pf_masked(const struct plug *p, const struct fsb_req *req, uint32_t mode);

/* ---- fuse_file.c, fuse_dir.c */
int pf_open(
	struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags, uint64_t *ret_fh);
int pf_create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh);
int pf_tmpfile(struct fsb *b, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh);
void pf_release(struct fsb *b, uint64_t node, uint64_t fh);
/* The handle of a request, opened again in a plugin started anew. fh 0: none. */
int pf_handle(const struct pf_node *n, uint64_t fh, struct plug_handle *ret);
int64_t pf_readv(
	struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int n, uint64_t off);
int64_t pf_writev(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct iovec *iov, int n, uint64_t off, uint32_t write_flags);
int pf_fsync(struct fsb *b, uint64_t node, uint64_t fh, bool datasync);
int pf_fallocate(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len);
int64_t pf_lseek(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence);
int64_t pf_copy_file_range(struct fsb *b, const struct fsb_req *req, uint64_t node_in,
	uint64_t fh_in, uint64_t off_in, uint64_t node_out, uint64_t fh_out, uint64_t off_out,
	uint64_t len);
int pf_opendir(struct fsb *b, uint64_t node, uint64_t *ret_fh);
int pf_readdir(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh, uint64_t off,
	bool plus, fsb_dirent_fn fn, void *arg);
/* What is below of a directory, under our ids. @asks: whether the plugin has to be asked who a name
 * is: the kernel will, when it needs to. */
int plug_list_below(struct pf_node *d, const struct plug_handle *h, const struct fsb_req *req,
	uint64_t off, bool plus, bool (*asks)(struct pf_node *, const char *name), fsb_dirent_fn fn,
	void *arg);
int pf_setxattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name,
	const void *value, size_t n, uint32_t flags);
int64_t pf_getxattr(struct fsb *b, uint64_t node, const char *name, void *buf, size_t cap);
int64_t pf_listxattr(struct fsb *b, uint64_t node, char *buf, size_t cap);
int pf_removexattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name);

static inline void pj_decref(json_t **o)
{
	json_decref(*o);
}
#define _cleanup_json_ __attribute__((cleanup(pj_decref))) json_t

/* ---- protocol=json: json_conn.c. Nodes are struct pf_node, with pid 0. */
extern const struct plug_proto plug_json_proto;
extern const struct fsb_ops plug_json_ops;

int pj_wait_said(struct fsb *b); /* until it has said what it wants; -EIO */
int pj_get(struct plug *p, uint64_t node, struct pf_node *ret); /* -ESTALE, -EIO */

/* Whether it wants to be asked. @name: NULL: @n itself. A file that has lost its path counts as
 * wanted: what a plugin is to see is not hidden from it by unlinking. */
bool pj_asks(const struct pf_node *n, enum fsb_op op, const char *name);
bool pj_asks_after(const struct pf_node *n, enum fsb_op op, const char *name);

/* A question: `"op":"write","path":"/a","uid":0,...`, to be added to. 0; -EILSEQ a name that is not
 * UTF-8; -ENAMETOOLONG. */
int pj_begin(struct msb_str *s, const struct pf_node *n, enum fsb_op op, const char *name,
	const struct fsb_req *req);
void pj_add_string(struct msb_str *s, const char *key, const char *value);
void pj_add_number(struct msb_str *s, const char *key, uint64_t value);
/* Another node's path. */
int pj_add_path(struct msb_str *s, const char *key, const struct pf_node *n, const char *name);
/* Asks it. 0 and @ret, the caller's; -PLUGIN_PASS; -errno. @ret NULL: the answer has nothing else.
 */
int pj_ask(struct plug *p, struct msb_str *s, json_t **ret);
/* All three, where it wants that; -PLUGIN_PASS where not. */
int pj_simple(const struct pf_node *n, enum fsb_op op, const char *name, const struct fsb_req *req,
	json_t **ret);
/* Tells it what was done below, where it wants that. Returns @r. */
int64_t pj_after(const struct pf_node *n, enum fsb_op op, const char *name, int64_t r);

/* ---- json_meta.c */
int pj_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret);
/* Makes the kernel's entry out of what the plugin said, @a, and of what is below; either NULL.
 * Takes over the reference below, also on failure. */
int pj_enter(const struct pf_node *parent, const char *name, const struct fuse_attr *a,
	const struct fsb_entry *ie, struct fsb_entry *ret);

/* ---- json_file.c, json_dir.c, json_xattr.c */
int pj_open(
	struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags, uint64_t *ret_fh);
int pj_create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh);
int pj_tmpfile(struct fsb *b, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh);
void pj_release(struct fsb *b, uint64_t node, uint64_t fh);
int64_t pj_readv(
	struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int n, uint64_t off);
int64_t pj_writev(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct iovec *iov, int n, uint64_t off, uint32_t write_flags);
int pj_fsync(struct fsb *b, uint64_t node, uint64_t fh, bool datasync);
int pj_fallocate(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len);
int64_t pj_lseek(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence);
int64_t pj_copy_file_range(struct fsb *b, const struct fsb_req *req, uint64_t node_in,
	uint64_t fh_in, uint64_t off_in, uint64_t node_out, uint64_t fh_out, uint64_t off_out,
	uint64_t len);
int pj_opendir(struct fsb *b, uint64_t node, uint64_t *ret_fh);
int pj_readdir(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh, uint64_t off,
	bool plus, fsb_dirent_fn fn, void *arg);
void pj_list_free(void *list);
int pj_setxattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name,
	const void *value, size_t n, uint32_t flags);
int64_t pj_getxattr(struct fsb *b, uint64_t node, const char *name, void *buf, size_t cap);
int64_t pj_listxattr(struct fsb *b, uint64_t node, char *buf, size_t cap);
int pj_removexattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name);

#endif
