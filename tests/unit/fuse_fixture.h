/* SPDX-License-Identifier: Apache-2.0 */
/* A session over a backend that counts what is held, and expects all of it back in the end. */
#ifndef MSB_TESTS_FUSE_FIXTURE_H
#define MSB_TESTS_FUSE_FIXTURE_H

#include "tests/unit/fusereq.h"
#include "base/cleanup.h"
#include "fs/fuse_priv.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/stat.h>
#include <cmocka.h>

/* A backend that counts: every name is a file, its node the name's length + 100. "wait" holds its
 * caller until the gate opens. */
struct counting {
	struct fsb b; /* first */
	struct fsb_ops ops;
	_Atomic int64_t lookups, handles;
	_Atomic bool waiting, gate;
	_Atomic uint64_t forgotten_inside; /* forgets while a getattr was held */
	uint32_t written, last_mode;
	uint64_t atime; /* of every node; what was written was at 0 */
};

static struct counting back;
static struct fsd_fs fs;
static struct fusereq q;

static inline struct counting *of(struct fsb *b)
{
	return (struct counting *)(void *)b;
}

static inline void b_stop(struct fsb *b)
{
}

static inline int entry(struct fsb *b, uint64_t node, struct fsb_entry *ret)
{
	*ret = (struct fsb_entry){.node = node,
		.attr = {.ino = node, .mode = S_IFREG | (node == 101 ? 0755 : 06755)}};
	of(b)->lookups++;
	return 0;
}

static inline int b_lookup(struct fsb *b, const struct fsb_req *r, uint64_t parent,
	const char *name, struct fsb_entry *ret)
{
	return !strcmp(name, "none") ? -ENOENT : entry(b, strlen(name) + 100, ret);
}

static inline void b_forget(struct fsb *b, uint64_t node, uint64_t count)
{
	of(b)->lookups -= (int64_t)count;
	if (of(b)->waiting)
		of(b)->forgotten_inside++;
}

static inline int b_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	*ret = (struct fuse_attr){.ino = node, .mode = S_IFREG | 06755, .atime = of(b)->atime};
	if (node == 100 + strlen("wait")) {
		of(b)->waiting = true;
		while (!of(b)->gate)
			usleep(100);
		of(b)->waiting = false;
	}
	return 0;
}

static inline int b_setattr(struct fsb *b, const struct fsb_req *r, uint64_t node, uint64_t fh,
	const struct fsb_setattr *s, struct fuse_attr *ret)
{
	of(b)->last_mode = s->mode;
	return b_getattr(b, node, 0, ret);
}

static inline int b_open(
	struct fsb *b, const struct fsb_req *r, uint64_t node, uint32_t flags, uint64_t *fh)
{
	*fh = (uint64_t)++of(b)->handles + 1000;
	return 0;
}

static inline int b_create(struct fsb *b, const struct fsb_req *r, uint64_t parent,
	const char *name, uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *fh)
{
	of(b)->last_mode = mode & ~r->umask;
	(void)entry(b, strlen(name) + 100, ret);
	return b_open(b, r, ret->node, flags, fh);
}

static inline void b_release(struct fsb *b, uint64_t node, uint64_t fh)
{
	of(b)->handles--;
}

static inline int64_t b_readv(
	struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int n, uint64_t off)
{
	int64_t sum = 0;

	for (int i = 0; i < n; i++) {
		memset(iov[i].iov_base, 'r', iov[i].iov_len);
		sum += (int64_t)iov[i].iov_len;
	}
	return sum;
}

static inline int64_t b_writev(struct fsb *b, const struct fsb_req *r, uint64_t node, uint64_t fh,
	const struct iovec *iov, int n, uint64_t off, uint32_t flags)
{
	of(b)->written = 0;
	for (int i = 0; i < n; i++)
		of(b)->written += (uint32_t)iov[i].iov_len;
	return of(b)->written;
}

static inline int b_unlink(
	struct fsb *b, const struct fsb_req *r, uint64_t parent, const char *name)
{
	return 0;
}

static inline int b_opendir(struct fsb *b, uint64_t node, uint64_t *fh)
{
	return b_open(b, NULL, node, 0, fh);
}

/* Ten thousand entries, so that every buffer ends somewhere. */
static inline int b_readdir(struct fsb *b, const struct fsb_req *r, uint64_t node, uint64_t fh,
	uint64_t off, bool plus, fsb_dirent_fn fn, void *arg)
{
	for (uint64_t i = off; i < 10000; i++) {
		struct fsb_entry e = {.node = i + 10};

		of(b)->lookups += plus;
		if (fn(arg, "some-name", 9, i + 10, DT_REG, i + 1, plus ? &e : NULL)) {
			of(b)->lookups -= plus;
			break;
		}
	}
	return 0;
}

static inline int b_symlink(struct fsb *b, const struct fsb_req *r, uint64_t parent,
	const char *name, const char *target, struct fsb_entry *ret)
{
	return entry(b, 7, ret);
}

static const struct fsb_ops counting_ops = {.name = "counting",
	.caps = FSB_CAP_WRITE,
	.stop = b_stop,
	.lookup = b_lookup,
	.forget = b_forget,
	.getattr = b_getattr,
	.setattr = b_setattr,
	.symlink = b_symlink,
	.unlink = b_unlink,
	.open = b_open,
	.create = b_create,
	.release = b_release,
	.readv = b_readv,
	.writev = b_writev,
	.opendir = b_opendir,
	.readdir = b_readdir,
	.releasedir = b_release};

static inline void start(const struct fuse_profile *profile, bool readonly)
{
	q.s = fsd_session_new(&fs, profile, readonly);
	assert_non_null(q.s);
	assert_int_equal(req_init(&q), 0);
}

static inline int setup(void **state)
{
	memset(&back, 0, sizeof(back));
	back.ops = counting_ops;
	back.b.ops = &back.ops;
	fsd_fs_init(&fs, &back.b);
	q.w = calloc(1, sizeof(*q.w));
	start(&fuse_profile_guest, false);
	return 0;
}

static inline int teardown(void **state)
{
	q.s = fsd_session_free(q.s);
	fsd_fs_done(&fs);
	free(q.w);
	/* The one invariant of all tests: nothing stays behind. */
	return back.lookups || back.handles ? -1 : 0;
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
