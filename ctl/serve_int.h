/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the parts of the FUSE session: serve.c has the session and what all of them need,
 * serve_names.c what is made, removed and given away, serve_open.c open files and listings. All
 * of serve_op_* run in the thread that answers the kernel and never wait.
 */
#ifndef MSB_CTL_SERVE_INT_H
#define MSB_CTL_SERVE_INT_H

#include "ctl/work.h"

/* Names come and go and node ids are fresh: the kernel keeps none. */
#define SERVE_ENTRY_SEC 0.0

static inline struct ctl *serve_ctl(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* How long the kernel may go by the attributes that it was told: not at all where they change by
 * themselves. Others change by a SETATTR of a directory above, and every path comes by a LOOKUP,
 * which tells them anew: only who holds a descriptor below sees the old ones, for so long, which
 * is why serve_find() looks for itself. */
double serve_attr_sec(const struct ctl_at *at);
/* Fills what a reply to LOOKUP, MKDIR or CREATE needs; ctl.lock held. */
void serve_entry(const struct ctl_at *at, struct fuse_entry_param *ret);
/**
 * serve_find() - Where @ino is; answers ENOENT itself and returns false where it is gone, EACCES
 * where not all of @want may be, as for serve_may()
 *
 * The thread that answers the kernel is the only one that removes nothing: what @ret borrows
 * outlives the lock only with a reference, so callers take what they need under it.
 */
bool serve_find(fuse_req_t req, fuse_ino_t ino, mode_t want, struct ctl_at *ret);
#define SERVE_READ   4
#define SERVE_WRITE  2
#define SERVE_SEARCH 1
#define SERVE_NAMES  3 /* to make or remove some in a directory */
/* Whether who asks may, as owner and modes are now, enter the sandbox or volume that it is of, and
 * read (4), write (2) and search (1) it as @want says; 0: enter alone. ctl.lock held. */
bool serve_may(fuse_req_t req, const struct ctl_at *at, mode_t want);
/* Whether it is the owner who asks, the instance's user, or root; ctl.lock held. */
bool serve_owns(fuse_req_t req, const struct ctl_at *at);
/* The open file of a request that has one. */
static inline struct ctl_handle *serve_handle(const struct fuse_file_info *fi)
{
	return (struct ctl_handle *)(uintptr_t)fi->fh;
}
/* Answers GETATTR, and SETATTR once it is done. */
void serve_attr(fuse_req_t req, fuse_ino_t ino);
/* A work for @at or its @child, with @n bytes of data; NULL: no memory. ctl.lock held. */
struct ctl_work *serve_work(fuse_req_t req, const struct ctl_at *at, const char *child, size_t n);
/* Finds @ino as serve_find() and makes a work for it, or answers the request itself and returns
 * NULL. */
struct ctl_work *serve_begin(fuse_req_t req, fuse_ino_t ino, mode_t want, const char *child,
	size_t n, struct ctl_at *ret);
/* What a reply to OPEN or CREATE says of @h; its reference is the descriptor's then. */
void serve_opened(const struct ctl_handle *h, struct fuse_file_info *fi);

void serve_op_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void serve_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void serve_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void serve_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void serve_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	const char *newname, unsigned int flags);
void serve_op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name);
void serve_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname);
void serve_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void serve_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	struct fuse_file_info *fi);
void serve_op_readlink(fuse_req_t req, fuse_ino_t ino);
void serve_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void serve_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void serve_op_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void serve_op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi);
void serve_op_poll(
	fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph);
void serve_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void serve_op_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void serve_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

#endif
