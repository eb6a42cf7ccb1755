// SPDX-License-Identifier: Apache-2.0
// passthrough: open files and directories.
#include "fs/backends/passthrough_priv.h"
#include "base/cleanup.h"
#include "fs/reopen.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/param.h>

/* Of the flags a guest opens with, those that mean the same here. O_APPEND is the guest's to
 * resolve: it sends offsets. */
#define OPEN_FLAGS (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC)

#define FIRST_HANDLES 64

/* ---- handles: an array of pointers, grown under its lock, entries found under it */

static void handle_free(struct pt_handle *h)
{
	close(h->fd);
	free(h->dirents);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* Puts @h into the first free place. The lock is held. */
static int handle_enter(struct pt *p, struct pt_handle *h, uint64_t *ret_fh)
{
	uint32_t i = p->first_free ? p->first_free : 1; /* 0 is no handle */

	while (i < p->handles && p->handle[i])
		i++;
	if (i >= p->handles) {
		uint32_t n = p->handles ? p->handles * 2 : FIRST_HANDLES;
		struct pt_handle **grown;

		if (n > PT_MAX_HANDLES)
			return -ENFILE;
		grown = reallocarray(p->handle, n, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		memset(grown + p->handles, 0, (n - p->handles) * sizeof(*grown));
		p->handle = grown;
		i = p->handles ? p->handles : 1;
		p->handles = n;
	}
	p->handle[i] = h;
	p->first_free = i + 1;
	*ret_fh = i;
	return 0;
}

int pt_handle_add(struct pt *p, int fd, bool dir, uint64_t *ret_fh)
{
	struct pt_handle *h = calloc(1, sizeof(*h));
	int r;

	if (!h) {
		close(fd);
		return -ENOMEM;
	}
	h->fd = fd;
	h->dir = dir;
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_lock(&p->handles_lock);
	r = dir && p->dirs >= PT_MAX_DIRS ? -ENFILE : handle_enter(p, h, ret_fh);
	if (r == 0)
		p->dirs += dir;
	pthread_mutex_unlock(&p->handles_lock);
	if (r < 0)
		handle_free(h);
	return r;
}

struct pt_handle *pt_handle_get(struct pt *p, uint64_t fh)
{
	LOCK_SCOPE(&p->handles_lock);
	return fh < p->handles ? p->handle[fh] : NULL; /* [0] is NULL */
}

void pt_release(struct fsb *b, uint64_t node, uint64_t fh)
{
	struct pt *p = pt_of(b);
	struct pt_handle *h = pt_handle_get(p, fh);

	if (!h)
		return;
	pthread_mutex_lock(&p->handles_lock);
	p->handle[fh] = NULL;
	p->dirs -= h->dir;
	if (fh < p->first_free)
		p->first_free = (uint32_t)fh;
	pthread_mutex_unlock(&p->handles_lock);
	handle_free(h);
}

void pt_handles_done(struct pt *p)
{
	for (uint32_t i = 0; i < p->handles; i++)
		if (p->handle[i])
			handle_free(p->handle[i]);
	free(p->handle);
	pthread_mutex_destroy(&p->handles_lock);
}

static int open_node(struct pt *p, uint64_t node, uint32_t type, int flags, uint64_t *ret_fh)
{
	struct pt_ref f;
	int r = pt_get(&p->nodes, node, &f);

	if (r < 0)
		return r;
	/* Opening a device or a FIFO would do something on the host. */
	if (pt_type(&f) != type)
		r = type == S_IFDIR ? -ENOTDIR : S_ISDIR(pt_type(&f)) ? -EISDIR : -ENXIO;
	else
		r = fs_reopen(f.fd, flags);
	pt_put(&p->nodes, &f);
	return r < 0 ? r : pt_handle_add(p, r, type == S_IFDIR, ret_fh);
}

int pt_open(
	struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags, uint64_t *ret_fh)
{
	struct pt *p = pt_of(b);

	flags &= OPEN_FLAGS;
	if (p->readonly && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)))
		return -EROFS;
	return open_node(p, node, S_IFREG, (int)flags, ret_fh);
}

int pt_opendir(struct fsb *b, uint64_t node, uint64_t *ret_fh)
{
	return open_node(pt_of(b), node, S_IFDIR, O_RDONLY | O_DIRECTORY, ret_fh);
}

int pt_create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	struct pt *p = pt_of(b);
	int make = O_CREAT | O_EXCL | O_NONBLOCK | O_NOCTTY;
	struct pt_ref dir;
	int fd, r;

	if (p->readonly)
		return -EROFS;
	r = pt_get(&p->nodes, parent, &dir);
	if (r < 0)
		return r;
	fd = pt_openat(dir.fd, name, (int)(flags & OPEN_FLAGS & ~(uint32_t)O_TRUNC) | make,
		pt_new_mode(p, req, mode));
	r = fd < 0 ? fd : pt_own(p, req, &dir, fd);
	if (r < 0 && fd >= 0) {
		(void)unlinkat(dir.fd, name, 0);
		close(steal_fd(&fd));
	}
	if (r == 0)
		r = pt_lookup_in(p, &dir, name, ret);
	/* It is there already, and that is as good: the guest did not know it yet. */
	if (r == -EEXIST && !(flags & O_EXCL)) {
		r = pt_lookup_in(p, &dir, name, ret);
		if (r == 0) {
			r = pt_open(b, req, ret->node, flags, ret_fh);
			if (r < 0)
				pt_forget(&p->nodes, ret->node, 1);
		}
	} else if (r == 0) {
		r = pt_handle_add(p, steal_fd(&fd), false, ret_fh);
		if (r < 0)
			pt_forget(&p->nodes, ret->node, 1);
	}
	pt_put(&p->nodes, &dir);
	cleanup_close_(&fd);
	return r;
}

int pt_tmpfile(struct fsb *b, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	struct pt *p = pt_of(b);
	_cleanup_close_ int fd = -1;
	struct pt_ref dir;
	struct statx sx;
	int r;

	if (p->readonly)
		return -EROFS;
	if ((flags & O_ACCMODE) == O_RDONLY)
		return -EINVAL;
	r = pt_get(&p->nodes, parent, &dir);
	if (r < 0)
		return r;
	fd = pt_openat(dir.fd, ".",
		(int)(flags & (O_ACCMODE | O_SYNC | O_DSYNC | O_EXCL)) | O_TMPFILE,
		pt_new_mode(p, req, mode));
	r = fd < 0 ? fd : pt_own(p, req, &dir, fd);
	pt_put(&p->nodes, &dir);
	if (r == 0)
		r = pt_statx(&p->nodes, fd, "", &sx);
	if (r == 0)
		r = fs_reopen(fd, O_PATH);
	if (r < 0)
		return r;
	ret->generation = 0;
	pt_attr(&sx, &ret->attr);
	r = pt_enter(&p->nodes, NULL, NULL, &sx, r, &ret->node);
	if (r < 0)
		return r;
	r = pt_handle_add(p, steal_fd(&fd), false, ret_fh);
	if (r < 0)
		pt_forget(&p->nodes, ret->node, 1);
	return r;
}

/* ---- data */

int64_t pt_readv(
	struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int n, uint64_t off)
{
	struct pt_handle *h = pt_handle_get(pt_of(b), fh);
	ssize_t r = h ? preadv(h->fd, iov, n, (off_t)off) : -1;

	return h ? r < 0 ? -errno : r : -EBADF;
}

/* As the kernel does for a local writer who lacks CAP_FSETID, which this process has for chmod. A
 * guest is not asked whether it wants that: it must not write what the host runs as somebody else.
 */
static int kill_suidgid(int fd)
{
	struct stat st;
	mode_t mode;

	if (fstat(fd, &st) < 0)
		return -errno;
	mode = st.st_mode & ~(mode_t)S_ISUID;
	if (mode & S_IXGRP)
		mode &= ~(mode_t)S_ISGID;
	return mode != st.st_mode && fchmod(fd, mode & 07777) < 0 ? -errno : 0;
}

int64_t pt_writev(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct iovec *iov, int n, uint64_t off, uint32_t write_flags)
{
	struct pt *p = pt_of(b);
	struct pt_handle *h = pt_handle_get(p, fh);
	ssize_t r;

	if (!h)
		return -EBADF;
	if (p->readonly)
		return -EROFS;
	if (p->privileged || write_flags & FUSE_WRITE_KILL_SUIDGID) {
		int e = kill_suidgid(h->fd);

		if (e < 0)
			return e;
	}
	r = pwritev(h->fd, iov, n, (off_t)off);
	return r < 0 ? -errno : r;
}

int pt_fsync(struct fsb *b, uint64_t node, uint64_t fh, bool datasync)
{
	struct pt *p = pt_of(b);
	struct pt_handle *h = pt_handle_get(p, fh);
	_cleanup_close_ int fd = -1;
	struct pt_ref f;

	if (!h) { /* a directory, by its node */
		int r = pt_get(&p->nodes, node, &f);

		if (r < 0)
			return r;
		fd = S_ISDIR(pt_type(&f)) ? fs_reopen(f.fd, O_RDONLY | O_DIRECTORY) : -EBADF;
		pt_put(&p->nodes, &f);
		if (fd < 0)
			return fd;
	}
	return (datasync ? fdatasync(h ? h->fd : fd) : fsync(h ? h->fd : fd)) < 0 ? -errno : 0;
}

int pt_fallocate(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len)
{
	struct pt *p = pt_of(b);
	struct pt_handle *h = pt_handle_get(p, fh);

	if (!h)
		return -EBADF;
	if (p->readonly)
		return -EROFS;
	return fallocate(h->fd, (int)mode, (off_t)off, (off_t)len) < 0 ? -errno : 0;
}

int64_t pt_lseek(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence)
{
	struct pt_handle *h = pt_handle_get(pt_of(b), fh);
	off_t r = h ? lseek(h->fd, (off_t)off, (int)whence) : -1;

	return h ? r < 0 ? -errno : r : -EBADF;
}

int64_t pt_copy_file_range(struct fsb *b, const struct fsb_req *req, uint64_t node_in,
	uint64_t fh_in, uint64_t off_in, uint64_t node_out, uint64_t fh_out, uint64_t off_out,
	uint64_t len)
{
	struct pt *p = pt_of(b);
	struct pt_handle *in = pt_handle_get(p, fh_in), *out = pt_handle_get(p, fh_out);
	off_t from = (off_t)off_in, to = (off_t)off_out;
	ssize_t r;

	if (!in || !out)
		return -EBADF;
	if (p->readonly)
		return -EROFS;
	r = p->privileged ? kill_suidgid(out->fd) : 0;
	if (r < 0)
		return r;
	r = copy_file_range(in->fd, &from, out->fd, &to, len, 0);
	return r < 0 ? -errno : r;
}

/* ---- directories */

/* Brings the entry at @off into the buffer. 1; 0 at the end; -errno. */
static int dir_fill(struct pt_handle *h, uint64_t off)
{
	ssize_t n;

	if (!h->dirents)
		h->dirents = malloc(PT_DIRENTS_BYTES);
	if (!h->dirents)
		return -ENOMEM;
	if (off != h->pos || off == 0) {
		if (lseek(h->fd, (off_t)off, SEEK_SET) < 0)
			return -errno;
		h->at = h->filled = 0;
		h->pos = off;
	}
	if (h->at < h->filled)
		return 1;
	n = getdents64(h->fd, h->dirents, PT_DIRENTS_BYTES);
	h->at = 0;
	h->filled = n > 0 ? (size_t)n : 0;
	return n < 0 ? -errno : n > 0;
}

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* One entry to the caller, with a reference of its node for readdirplus. 1: no room. */
static int dir_emit(struct pt *p, const struct pt_ref *dir, const struct dirent64 *d, bool plus,
	fsb_dirent_fn fn, void *arg)
{
	struct fsb_entry e;
	bool have = plus && !is_dots(d->d_name) && pt_lookup_in(p, dir, d->d_name, &e) == 0;
	int full = fn(arg, d->d_name, strlen(d->d_name), d->d_ino, d->d_type, (uint64_t)d->d_off,
		have ? &e : NULL);

	if (full && have)
		pt_forget(&p->nodes, e.node, 1);
	return full;
}

int pt_readdir(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh, uint64_t off,
	bool plus, fsb_dirent_fn fn, void *arg)
{
	struct pt *p = pt_of(b);
	struct pt_handle *h = pt_handle_get(p, fh);
	struct pt_ref dir;
	int r;

	if (!h)
		return -EBADF;
	r = pt_get(&p->nodes, node, &dir);
	if (r < 0)
		return r;
	LOCK_SCOPE(&h->lock);
	while ((r = dir_fill(h, off)) > 0) {
		const struct dirent64 *d = (const void *)(h->dirents + h->at);

		if (dir_emit(p, &dir, d, plus, fn, arg))
			break;
		h->at += d->d_reclen;
		h->pos = off = (uint64_t)d->d_off;
	}
	pt_put(&p->nodes, &dir);
	return r < 0 ? r : 0;
}
