/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the passthrough backend; nobody else includes it. */
#ifndef MSB_FS_PASSTHROUGH_PT_H
#define MSB_FS_PASSTHROUGH_PT_H

#include "fs/acl.h"
#include "fs/backends/passthrough/nodes.h"

#define PT_MAX_HANDLES	 16384 /* open files and directories, where OPEN is sent */
#define PT_MAX_DIRS	 2048  /* of those, directories: each has a buffer */
#define PT_DIRENTS_BYTES 8192  /* read from a host directory at once */
#define PT_CHANGE_LOCKS	 16
/* Names that are looked at for one file handle, and bytes of those of directories that are still to
 * be searched; -ESTALE past it. */
#define PT_MAX_SEARCH	    (1u << 20)
#define PT_MAX_SEARCH_MS    3000
#define PT_MAX_SEARCH_BYTES (16u << 20)
#define PT_RECENT	    16 /* directories where something was found by its handle */

struct pt_handle;

struct pt {
	struct fsb b;	    /* first */
	struct fsb_ops own; /* what b.ops points at */
	bool readonly;
	bool privileged; /* root on the host: may give files away */
	bool map;	 /* owners are the guest's */
	bool stateless;	 /* OPEN is not sent: descriptors are the nodes' */
	uint32_t euid, egid;
	uint32_t root_uid, root_gid; /* of the directory: map=root shows it as 0, like our own */
	struct pt_nodes nodes;
	/* By node: changing what the guest believes of a file is reading, then writing. Held across
	 * system calls, and taken before the table's. */
	pthread_mutex_t change[PT_CHANGE_LOCKS];
	pthread_mutex_t search; /* held by who does */
	uint32_t max_search, max_search_ms, max_search_bytes;
	char *recent[PT_RECENT]; /* paths, the last one found first; guarded by it */
	pthread_mutex_t handles_lock;
	struct pt_handle **handle; /* fh is the index; 0 stays empty */
	uint32_t handles, first_free, dirs;
};

static inline struct pt *pt_of(struct fsb *b)
{
	return (struct pt *)(void *)b;
}

static inline pthread_mutex_t *pt_change_lock(struct pt *p, const struct pt_node *n)
{
	return &p->change[n->id % PT_CHANGE_LOCKS];
}

/* ---- guest.c: the host's file as the guest believes it to be */

struct pt_guest {
	uint32_t mode, uid, gid, rdev;
	uint32_t flags; /* FSB_FL_* */
};

/* Its meta, of @name in @dirfd; what is known of the node where that is right. True: for sure. */
bool pt_meta_at(
	struct pt *p, int dirfd, const char *name, const struct statx *sx, struct pt_meta *ret);
/* The same of a node in use, just looked at; the node learns it. */
void pt_meta_of(struct pt *p, struct pt_ref *r, const struct statx *sx, struct pt_meta *ret);
void pt_guest(
	const struct pt *p, const struct statx *sx, const struct pt_meta *m, struct pt_guest *ret);
void pt_attr(struct pt *p, const struct statx *sx, const struct pt_meta *m, struct fuse_attr *ret);
/* Both of a node in use: looks, and learns. 0 or -errno. */
int pt_look_guest(struct pt *p, struct pt_ref *r, struct statx *ret_sx, struct pt_meta *ret_meta,
	struct pt_guest *ret);
/* Attributes of a node in use: looks, and learns. */
int pt_attr_of(struct pt *p, struct pt_ref *r, struct fuse_attr *ret);
/* The host's mode and meta for @want, on a file that looks like @sx now. */
void pt_encode(const struct pt *p, const struct statx *sx, const struct pt_guest *want,
	uint32_t *ret_mode, struct pt_meta *ret);
/* Removes it where @m is not there. */
int pt_write_meta(int fd, const struct pt_meta *m);
/* Makes the file of @r, which looks like @sx and @old, what @want says of its mode and, with map,
 * owner. @r may get another descriptor. */
int pt_change(struct pt *p, struct pt_ref *r, const struct statx *sx, const struct pt_meta *old,
	const struct pt_guest *want);
int pt_touch(const struct pt_ref *r); /* its ctime */
/* Permission was denied although the file is ours: gives us what map=root may take on the host,
 * which the guest does not see. 0: try again. */
int pt_claim(struct pt *p, struct pt_ref *r);
/* @r with a descriptor for @need, claimed where that takes it. */
int pt_open_ref(struct pt *p, uint64_t node, enum pt_fd need, struct pt_ref *ret);
/* The same with the node's lock for changes, which pt_open_ref() takes to claim. */
int pt_open_held(struct pt *p, uint64_t node, enum pt_fd need, struct pt_ref *ret);
/* As after a write by somebody who may not keep set-id bits: set-gid stays for one of the file's
 * group where the group may not execute it. */
uint32_t pt_without_setid(uint32_t mode, bool in_group);
/* A write by @r->fd: takes capabilities, the host's set-id bits, and the guest's where @writer has
 * no right to keep them, else NULL. */
int pt_kill(struct pt *p, struct pt_ref *r, const struct fsb_req *writer);

/* An op on names in a directory: once more where it was ours and merely closed to us. */
#define PT_IN_DIR(p, dir, op)                                                                      \
	({                                                                                         \
		__typeof__(op) r_ = (op);                                                          \
		if (r_ == -EACCES && pt_claim((p), (dir)) == 0)                                    \
			r_ = (op);                                                                 \
		r_;                                                                                \
	})

/* ---- passthrough.c */
/* Looks at @name in @parent and fills an entry with a reference. */
int pt_lookup_in(struct pt *p, struct pt_ref *parent, const char *name, struct fsb_entry *ret);
/* An entry of what is open as @fd, which becomes the node's, in any case, unless @kind is PT_NODE;
 * @name NULL: it has none. */
int pt_entry_of(struct pt *p, struct pt_ref *parent, const char *name, int fd, enum pt_fd kind,
	const struct pt_meta *meta, struct fsb_entry *ret);

/* ---- find.c */
/* The node of that id, which need not be one, or its parent, as an entry with a reference. -ESTALE.
 */
int pt_by_handle(struct pt *p, uint64_t id, bool parent, struct fsb_entry *ret);
static inline bool pt_is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* ---- setattr.c */
int pt_getflags(struct fsb *b, uint64_t node, uint32_t *ret);
int pt_setflags(struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags);
int pt_setattr(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct fsb_setattr *s, struct fuse_attr *ret);

/* ---- handles.c */
struct pt_handle {
	int fd;
	struct pt_dir *dir; /* NULL: a file */
};
/* Takes @fd in any case. -ENFILE at the limits above. */
int pt_handle_add(struct pt *p, int fd, bool dir, uint64_t at_fh, uint64_t *ret_fh);
struct pt_handle *pt_handle_get(struct pt *p, uint64_t fh); /* NULL */
void pt_handles_done(struct pt *p);
int pt_open(
	struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags, uint64_t *ret_fh);
int pt_opendir(struct fsb *b, uint64_t node, uint64_t *ret_fh);
void pt_release(struct fsb *b, uint64_t node, uint64_t fh);
int pt_reopen(struct fsb *b, uint64_t node, uint64_t fh, bool dir, uint32_t flags);

/* ---- io.c */
int64_t pt_readv(
	struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int n, uint64_t off);
int64_t pt_writev(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct iovec *iov, int n, uint64_t off, uint32_t write_flags);
int pt_fsync(struct fsb *b, uint64_t node, uint64_t fh, bool datasync);
int pt_fallocate(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len);
int64_t pt_lseek(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence);
int64_t pt_copy_file_range(struct fsb *b, const struct fsb_req *req, uint64_t node_in,
	uint64_t fh_in, uint64_t off_in, uint64_t node_out, uint64_t fh_out, uint64_t off_out,
	uint64_t len);
int pt_syncfs(struct fsb *b, uint64_t node);

/* ---- dir.c */
struct pt_dir *pt_dir_new(void);
int pt_readdir(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh, uint64_t off,
	bool plus, fsb_dirent_fn fn, void *arg);
bool pt_is_special(struct pt *p, const struct pt_node *n); /* not what it is on the host */
/* An entry of @dir is not what it is on the host: readdir has to look. Best effort. */
void pt_mark_special(struct pt *p, struct pt_ref *dir);

/* ---- xattr.c */
int pt_setxattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name,
	const void *value, size_t n, uint32_t flags);
int64_t pt_getxattr(struct fsb *b, uint64_t node, const char *name, void *buf, size_t cap);
int64_t pt_listxattr(struct fsb *b, uint64_t node, char *buf, size_t cap);
int pt_removexattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name);
/* One attribute of @name in @dirfd, a regular file or a directory. */
int64_t pt_xattr_at(int dirfd, const char *name, const char *xattr, void *buf, size_t cap);

/* ---- acl.c: the attributes that are ACLs */
int pt_acl_set(
	struct pt *p, uint64_t node, const char *name, const void *value, size_t n, uint32_t flags);
int64_t pt_acl_get(struct pt *p, uint64_t node, const char *name, void *buf, size_t cap);
int pt_acl_remove(struct pt *p, uint64_t node, const char *name);
struct pt_acls { /* of a new file, where the host does not see to it; 0 bytes: none */
	struct acl_bytes access, def;
};
/* What is made in @dir with @mode, which becomes the mode that it gets. */
void pt_acl_inherit(
	struct pt *p, struct pt_ref *dir, uint32_t umask, uint32_t *mode, struct pt_acls *ret);
int pt_acl_write(const struct pt_acls *a, int fd);

/* ---- make.c: what makes names */
int pt_mknod(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t rdev, struct fsb_entry *ret);
int pt_mkdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret);
int pt_create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh);
int pt_tmpfile(struct fsb *b, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh);

/* What a new file is for the guest that asks: @mode with its type, unmasked. @ret_acls NULL: of a
 * kind that has neither. */
int pt_new_guest(struct pt *p, const struct fsb_req *req, struct pt_ref *parent, uint32_t mode,
	struct pt_guest *ret, struct pt_acls *ret_acls);
/* A new file of the host that stands for @g; @acls NULL: none. A descriptor, or -errno. */
int pt_new_file(struct pt *p, struct pt_ref *dir, const char *name, int flags,
	const struct pt_guest *g, const struct pt_acls *acls, struct pt_meta *ret_meta);
/* Gives away what was just made by name, where files are given away. */
int pt_own_by_name(struct pt *p, struct pt_ref *dir, const char *name, uint32_t type,
	const struct pt_guest *g);

/* ---- links.c: symbolic links and names of files that are there */
int pt_symlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	const char *target, struct fsb_entry *ret);
int pt_readlink(struct fsb *b, uint64_t node, char *buf, size_t cap);
/* A symbolic link of the host becomes a file that can carry an owner. */
int pt_convert_link(struct pt *p, struct pt_ref *r, const struct statx *sx,
	const struct pt_guest *want, struct pt_meta *ret);
/* The place of @r's node: a parent to be given back, and a name of up to NAME_MAX bytes. -EPERM: it
 * has none. */
int pt_place_of(struct pt *p, const struct pt_ref *r, struct pt_ref *ret_dir, char *name);
int pt_link(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t newparent,
	const char *newname, struct fsb_entry *ret);

/* ---- rename.c: what moves and removes names */
int pt_unlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name);
int pt_rmdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name);
int pt_rename(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint64_t newparent, const char *newname, uint32_t flags);

/* ---- state.c */
int64_t pt_save(struct fsb *b, uint64_t node, void *buf, size_t cap);
int pt_load(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n);

#endif
