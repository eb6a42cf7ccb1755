/* SPDX-License-Identifier: Apache-2.0 */
/* Ops of a backend by path, as a kernel makes them: each component is looked up and forgotten in
 * the end. */
#ifndef MSB_TESTS_BYPATH_H
#define MSB_TESTS_BYPATH_H

#include "fs/fsb.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <cmocka.h>

__attribute__((unused)) static const struct fsb_req fx_req = {.pid = 1};

static inline void fx_forget(struct fsb *b, uint64_t node)
{
	if (node && node != FSB_ROOT)
		b->ops->forget(b, node, 1);
}

/* The entry at @path ("" is the root); one reference is the caller's. Symlinks are not followed. */
static inline int fx_walk(struct fsb *b, const char *path, struct fsb_entry *ret)
{
	int r = 0;

	*ret = (struct fsb_entry){.node = FSB_ROOT};
	r = b->ops->getattr(b, FSB_ROOT, 0, &ret->attr);
	while (r == 0 && *path) {
		char name[256] = {0};
		size_t n = strcspn(path, "/");
		struct fsb_entry e;

		if (S_ISLNK(ret->attr.mode)) {
			r = -ENOENT; /* all of the tests' links lead nowhere */
			break;
		}
		memcpy(name, path, n);
		path += n + (path[n] == '/');
		r = b->ops->lookup(b, &fx_req, ret->node, name, &e);
		if (r < 0)
			break;
		fx_forget(b, ret->node);
		*ret = e;
	}
	if (r < 0)
		fx_forget(b, ret->node);
	return r;
}

/* The directory of @path and the last name in it. */
static inline int fx_parent(struct fsb *b, const char *path, uint64_t *ret, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char dir[256] = {0};
	struct fsb_entry e;
	int r;

	if (slash)
		memcpy(dir, path, (size_t)(slash - path));
	*ret_name = slash ? slash + 1 : path;
	r = fx_walk(b, dir, &e);
	if (r == 0 && !S_ISDIR(e.attr.mode)) {
		r = S_ISLNK(e.attr.mode) ? -ENOENT : -ENOTDIR;
		fx_forget(b, e.node);
	}
	*ret = e.node;
	return r;
}

static inline int fx_mk(struct fsb *b, const char *path, uint32_t mode, const char *target)
{
	struct fsb_entry e;
	const char *name;
	uint64_t dir, fh;
	int r = fx_parent(b, path, &dir, &name);

	if (r < 0)
		return r;
	if (S_ISDIR(mode))
		r = b->ops->mkdir(b, &fx_req, dir, name, mode, &e);
	else if (S_ISLNK(mode))
		r = b->ops->symlink(b, &fx_req, dir, name, target, &e);
	else if (S_ISREG(mode))
		r = b->ops->create(b, &fx_req, dir, name, mode, O_EXCL, &e, &fh);
	else
		r = b->ops->mknod(b, &fx_req, dir, name, mode, (uint32_t)makedev(1, 3), &e);
	fx_forget(b, dir);
	if (r == 0)
		fx_forget(b, e.node);
	return r;
}

static inline int fx_rm(struct fsb *b, const char *path, bool dir)
{
	const char *name;
	uint64_t parent;
	int r = fx_parent(b, path, &parent, &name);

	if (r < 0)
		return r;
	r = dir ? b->ops->rmdir(b, &fx_req, parent, name)
		: b->ops->unlink(b, &fx_req, parent, name);
	fx_forget(b, parent);
	return r;
}

static inline int fx_rename(struct fsb *b, const char *from, const char *to, uint32_t flags)
{
	const char *name, *newname;
	uint64_t parent, newparent;
	int r = fx_parent(b, from, &parent, &name);

	if (r < 0)
		return r;
	r = fx_parent(b, to, &newparent, &newname);
	if (r == 0) {
		r = b->ops->rename(b, &fx_req, parent, name, newparent, newname, flags);
		fx_forget(b, newparent);
	}
	fx_forget(b, parent);
	return r;
}

static inline int fx_link(struct fsb *b, const char *from, const char *to)
{
	struct fsb_entry e, ret;
	const char *name;
	uint64_t parent;
	int r = fx_walk(b, from, &e);

	if (r < 0)
		return r;
	r = fx_parent(b, to, &parent, &name);
	if (r == 0) {
		r = b->ops->link(b, &fx_req, e.node, parent, name, &ret);
		if (r == 0)
			fx_forget(b, ret.node);
		fx_forget(b, parent);
	}
	fx_forget(b, e.node);
	return r;
}

static inline int fx_setattr(struct fsb *b, const char *path, const struct fsb_setattr *s)
{
	struct fuse_attr attr;
	struct fsb_entry e;
	int r = fx_walk(b, path, &e);

	if (r < 0)
		return r;
	r = b->ops->setattr(b, &fx_req, e.node, 0, s, &attr);
	fx_forget(b, e.node);
	return r;
}

static inline int64_t fx_write(
	struct fsb *b, const char *path, const void *p, size_t n, uint64_t off, uint32_t flags)
{
	struct iovec iov = {(void *)p, n};
	struct fsb_entry e;
	int64_t r = fx_walk(b, path, &e);

	if (r < 0)
		return r;
	r = b->ops->writev(b, &fx_req, e.node, 0, &iov, 1, off, flags);
	fx_forget(b, e.node);
	return r;
}

static inline int64_t fx_read(struct fsb *b, const char *path, void *p, size_t n, uint64_t off)
{
	/* Two pieces, so that a vector is what is tested. */
	struct iovec iov[2] = {{p, n / 3}, {(char *)p + n / 3, n - n / 3}};
	struct fsb_entry e;
	int64_t r = fx_walk(b, path, &e);

	if (r < 0)
		return r;
	r = b->ops->readv(b, e.node, 0, iov, 2, off);
	fx_forget(b, e.node);
	return r;
}

static inline int fx_no_entry(void *arg, const char *name, size_t name_bytes, uint64_t ino,
	uint32_t type, uint64_t next_off, const struct fsb_entry *entry)
{
	return 0;
}

/* Reads what is at @path, of whichever kind: 1 where that moved its access time, 0 where not. */
static inline int fx_read_moves(struct fsb *b, const char *path)
{
	struct fuse_attr now;
	struct fsb_entry e;
	char buf[16];
	int64_t n;
	int r = fx_walk(b, path, &e);

	if (r < 0)
		return r;
	(void)nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL); /* the clock ticks */
	if (S_ISDIR(e.attr.mode))
		n = b->ops->readdir(b, &fx_req, e.node, 0, 0, false, fx_no_entry, NULL);
	else if (S_ISLNK(e.attr.mode))
		n = b->ops->readlink(b, e.node, buf, sizeof(buf));
	else
		n = fx_read(b, path, buf, sizeof(buf), 0);
	r = n < 0 ? (int)n : b->ops->getattr(b, e.node, 0, &now);
	fx_forget(b, e.node);
	return r < 0 ? r : now.atime != e.attr.atime || now.atimensec != e.attr.atimensec;
}

static inline struct fuse_attr fx_attr(struct fsb *b, const char *path)
{
	struct fsb_entry e;
	int r = fx_walk(b, path, &e);

	if (r < 0)
		fail_msg("%s: %s", path, strerror(-r));
	fx_forget(b, e.node);
	return e.attr;
}

static inline int fx_absent(struct fsb *b, const char *path)
{
	struct fsb_entry e;
	int r = fx_walk(b, path, &e);

	if (r == 0)
		fx_forget(b, e.node);
	return r;
}

static inline void fx_check_text(struct fsb *b, const char *path, const char *want)
{
	char buf[256] = {0};
	int64_t n = fx_read(b, path, buf, sizeof(buf), 0);

	assert_int_equal(n, strlen(want));
	assert_memory_equal(buf, want, (size_t)n);
}

#endif
