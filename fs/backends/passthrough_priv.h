/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the passthrough backend; nobody else includes it. */
#ifndef MSB_FS_PASSTHROUGH_PRIV_H
#define MSB_FS_PASSTHROUGH_PRIV_H

#include "fs/backends/passthrough_nodes.h"

#define PT_MAX_HANDLES	 16384 /* open files and directories */
#define PT_MAX_DIRS	 2048  /* of those, directories: each has a buffer */
#define PT_DIRENTS_BYTES 32768 /* read from a host directory at once */

/* An open file or directory. */
struct pt_handle {
	int fd;
	bool dir;
	/* of a directory */
	pthread_mutex_t lock; /* guards the position and the buffer */
	uint64_t pos;	      /* of the entry at @at */
	size_t at, filled;
	uint8_t *dirents; /* PT_DIRENTS_BYTES, allocated by the first read */
};

struct pt {
	struct fsb b; /* first */
	bool readonly, privileged;
	struct pt_nodes nodes;
	pthread_mutex_t handles_lock;
	struct pt_handle **handle; /* fh is the index; 0 stays empty */
	uint32_t handles, first_free, dirs;
};

static inline struct pt *pt_of(struct fsb *b)
{
	return (struct pt *)(void *)b;
}

void pt_attr(const struct statx *sx, struct fuse_attr *ret);

/* Looks at @name in @parent and fills an entry with a reference. */
int pt_lookup_in(
	struct pt *p, const struct pt_ref *parent, const char *name, struct fsb_entry *ret);

/* ---- passthrough_file.c */
/* Takes @fd in any case. -ENFILE at the limits above. */
int pt_handle_add(struct pt *p, int fd, bool dir, uint64_t *ret_fh);
struct pt_handle *pt_handle_get(struct pt *p, uint64_t fh); /* NULL */
void pt_handles_done(struct pt *p);
int pt_open(
	struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags, uint64_t *ret_fh);
int pt_create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh);
int pt_tmpfile(struct fsb *b, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh);
void pt_release(struct fsb *b, uint64_t node, uint64_t fh);
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
int pt_opendir(struct fsb *b, uint64_t node, uint64_t *ret_fh);
int pt_readdir(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh, uint64_t off,
	bool plus, fsb_dirent_fn fn, void *arg);

/* ---- passthrough_make.c: what makes and changes names */
int pt_own(struct pt *p, const struct fsb_req *req, const struct pt_ref *parent, int fd);
uint32_t pt_new_mode(const struct pt *p, const struct fsb_req *req, uint32_t mode);
int pt_mknod(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t rdev, struct fsb_entry *ret);
int pt_mkdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret);
int pt_symlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	const char *target, struct fsb_entry *ret);
int pt_unlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name);
int pt_rmdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name);
int pt_rename(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint64_t newparent, const char *newname, uint32_t flags);
int pt_link(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t newparent,
	const char *newname, struct fsb_entry *ret);

#endif
