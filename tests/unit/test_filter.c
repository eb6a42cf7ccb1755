// SPDX-License-Identifier: Apache-2.0
// fs/filter and the wrappers of a few lines: every operation goes through the hooks, what the next
// backend lacks is lacking, references of hidden entries go back; readonly, error, delay.
#include "base/cleanup.h"
#include "fs/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <dirent.h>
#include <time.h>
#include <cmocka.h>

#define ENTRIES 300

/* A directory of ENTRIES files; node of entry i is i + 100. */
static struct {
	struct fsb b; /* first */
	int64_t refs, stopped, in_readdir, calls;
} back;

static int b_lookup(struct fsb *b, const struct fsb_req *r, uint64_t parent, const char *name,
	struct fsb_entry *ret)
{
	back.calls++;
	if (!strcmp(name, "none"))
		return -ENOENT;
	*ret = (struct fsb_entry){.node = strcmp(name, "negative") ? 100 : 0};
	back.refs += ret->node != 0;
	return 0;
}

static void b_forget(struct fsb *b, uint64_t node, uint64_t count)
{
	assert_int_equal(back.in_readdir, 0);
	back.refs -= (int64_t)count;
}

static int b_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	back.calls++;
	*ret = (struct fuse_attr){.ino = node};
	return 0;
}

static int64_t b_readv(
	struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int n, uint64_t off)
{
	back.calls++;
	return 5;
}

static int64_t b_writev(struct fsb *b, const struct fsb_req *r, uint64_t node, uint64_t fh,
	const struct iovec *iov, int n, uint64_t off, uint32_t flags)
{
	back.calls++;
	return 7;
}

static int b_open(
	struct fsb *b, const struct fsb_req *r, uint64_t node, uint32_t flags, uint64_t *ret_fh)
{
	*ret_fh = 9;
	return 0;
}

static void b_release(struct fsb *b, uint64_t node, uint64_t fh)
{
	back.calls++;
}

static int b_readdir(struct fsb *b, const struct fsb_req *r, uint64_t node, uint64_t fh,
	uint64_t off, bool plus, fsb_dirent_fn fn, void *arg)
{
	back.in_readdir++;
	for (uint64_t i = off; i < ENTRIES; i++) {
		struct fsb_entry e = {.node = plus && i > 1 ? i + 100 : 0};
		char name[16];

		(void)snprintf(name, sizeof(name),
			i == 0	 ? "."
			: i == 1 ? ".."
				 : "%c%u",
			i % 3 ? 'h' : 's', (unsigned int)i);
		back.refs += e.node != 0;
		if (fn(arg, name, strlen(name), i + 100, DT_REG, i + 1, plus ? &e : NULL)) {
			back.refs -= e.node != 0;
			break;
		}
	}
	back.in_readdir--;
	return 0;
}

static void b_stop(struct fsb *b)
{
	back.stopped++;
}

static const struct fsb_ops back_ops = {.name = "back",
	.caps = FSB_CAP_WRITE | FSB_CAP_NO_OPEN | FSB_CAP_EXPORT,
	.stop = b_stop,
	.lookup = b_lookup,
	.forget = b_forget,
	.getattr = b_getattr,
	.open = b_open,
	.release = b_release,
	.readv = b_readv,
	.writev = b_writev,
	.readdir = b_readdir};

/* A filter that writes down what it is told. */
static struct {
	struct fsb_filter f; /* first */
	int answer, entered, befores, afters, stopped;
	int64_t forgotten, result;
	struct fsb_call call;
	uint64_t made;
	bool hides;
} spy;

static int s_before(struct fsb_filter *f, const struct fsb_call *c)
{
	spy.befores++;
	spy.call = *c;
	return spy.answer;
}

static void s_after(struct fsb_filter *f, const struct fsb_call *c, int64_t result,
	const struct fsb_entry *made)
{
	spy.afters++;
	spy.result = result;
	spy.made = made ? made->node : 0;
}

static void s_entered(struct fsb_filter *f, uint64_t parent, const char *name, size_t n,
	const struct fsb_entry *made)
{
	spy.entered++;
}

static void s_forgot(struct fsb_filter *f, uint64_t node, uint64_t count)
{
	spy.forgotten += (int64_t)count;
}

static bool s_shows(struct fsb_filter *f, uint64_t parent, const char *name, size_t n)
{
	assert_int_not_equal(name[0], '.');
	return !spy.hides || name[0] == 's';
}

static void s_stop(struct fsb_filter *f)
{
	assert_int_equal(back.stopped, 1); /* from the inside out */
	spy.stopped++;
}

static const struct fsb_filter_ops spy_ops = {.name = "spy",
	.before = s_before,
	.after = s_after,
	.entered = s_entered,
	.forgot = s_forgot,
	.shows = s_shows,
	.stop = s_stop};

static struct fsb *b;
static const struct fsb_req req = {.uid = 1, .gid = 2, .pid = 3};

static int setup(void **state)
{
	memset(&back, 0, sizeof(back));
	memset(&spy, 0, sizeof(spy));
	back.b.ops = &back_ops;
	b = &back.b;
	return 0;
}

static void lay_spy(uint32_t add)
{
	fsb_filter_init(&spy.f, &spy_ops, b, add, FSB_CAP_NO_OPEN);
	b = &spy.f.b;
}

static void hooks(void **state)
{
	struct iovec iov[2] = {{"abc", 3}, {"de", 2}};
	struct fuse_attr a;
	struct fsb_entry e;
	uint64_t fh;

	lay_spy(FSB_CAP_XATTR);
	assert_int_equal(b->ops->caps, FSB_CAP_WRITE | FSB_CAP_XATTR);
	assert_int_equal(b->ops->lookup(b, &req, 1, "x", &e), 0);
	assert_int_equal(spy.call.op, FSB_LOOKUP);
	assert_string_equal(spy.call.name, "x");
	assert_int_equal(spy.made, 100);
	assert_int_equal(spy.entered, 1);
	assert_int_equal(b->ops->lookup(b, &req, 1, "none", &e), -ENOENT);
	assert_int_equal(b->ops->lookup(b, &req, 1, "negative", &e), 0);
	assert_int_equal(spy.entered, 1);
	assert_int_equal(spy.afters, 3);
	b->ops->forget(b, 100, 1);
	assert_int_equal(spy.forgotten, 1);
	assert_int_equal(back.refs, 0);

	fsb_asking = &req;
	assert_int_equal(b->ops->getattr(b, 5, 0, &a), 0);
	assert_ptr_equal(spy.call.req, &req);
	fsb_asking = NULL;
	assert_int_equal(b->ops->readv(b, 5, 6, iov, 2, 70), 5);
	assert_null(spy.call.req);
	assert_int_equal(spy.call.bytes, 5);
	assert_int_equal(spy.call.off, 70);
	assert_int_equal(spy.result, 5);
	assert_int_equal(b->ops->writev(b, &req, 5, 6, iov, 2, 70, 0), 7);

	/* before() answers: neither the backend nor after() hears of it. */
	spy.answer = -EPERM;
	spy.afters = 0;
	back.calls = 0;
	assert_int_equal(b->ops->getattr(b, 5, 0, &a), -EPERM);
	assert_int_equal(b->ops->readv(b, 5, 6, iov, 2, 70), -EPERM);
	assert_int_equal(b->ops->lookup(b, &req, 1, "x", &e), -EPERM);
	assert_int_equal(b->ops->open(b, &req, 5, 0, &fh), -EPERM);
	assert_int_equal(spy.afters, 0);
	assert_int_equal(back.calls, 0);
	/* A release always reaches it. */
	b->ops->release(b, 5, 6);
	assert_int_equal(back.calls, 1);
	assert_int_equal(spy.afters, 1);

	b->ops->stop(b);
	assert_int_equal(spy.stopped, 1);
}

static void lacking(void **state)
{
	uint64_t fh = 1;

	lay_spy(0);
	assert_null(b->ops->mkdir);
	assert_null(b->ops->opendir);
	assert_null(b->ops->save);
	assert_null(b->ops->cache);
	assert_non_null(b->ops->readv);
	/* Who wants to see opens has them, with or without the next backend's. */
	b = &back.b;
	lay_spy(FSB_CAP_SEE_OPENS);
	assert_int_equal(b->ops->opendir(b, 1, &fh), 0);
	assert_int_equal(fh, 0);
	assert_int_equal(spy.call.op, FSB_OPENDIR);
}

struct got {
	unsigned int n, room, refs;
	uint64_t last_off;
};

static int take(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type, uint64_t next,
	const struct fsb_entry *e)
{
	struct got *g = arg;

	if (g->n == g->room)
		return 1;
	g->n++;
	g->refs += e && e->node;
	g->last_off = next;
	return 0;
}

static void hidden_entries(void **state)
{
	for (int plus = 0; plus < 2; plus++) {
		struct got g = {.room = 7};
		unsigned int total = 0, refs = 0;
		uint64_t off = 0;

		setup(NULL);
		lay_spy(0);
		spy.hides = true;
		for (;;) {
			g.n = g.refs = 0;
			assert_int_equal(b->ops->readdir(b, &req, 1, 0, off, plus, take, &g), 0);
			if (!g.n)
				break;
			total += g.n;
			refs += g.refs;
			off = g.last_off;
		}
		/* . and .. and the shown third */
		assert_int_equal(total, 2 + (ENTRIES - 1) / 3);
		assert_int_equal(refs, plus ? total - 2 : 0);
		assert_int_equal(spy.entered, refs);
		assert_int_equal(back.refs, refs);
	}
}

static struct fsb_options o;

static void lay(const struct fsb_kind *kind, const char *options)
{
	const struct fsb_start from = {.options = &o};
	struct msb_err e = {0};

	assert_int_equal(fsb_options_parse("memory", options, strlen(options), &o, &e), 0);
	assert_int_equal(kind->wrap(&from, b, &b, &e), 0);
}

static void readonly(void **state)
{
	struct iovec iov = {"abc", 3};
	uint64_t fh;

	lay(&fsb_readonly_kind, "rw");
	assert_ptr_equal(b, &back.b); /* not asked for: not there */
	lay(&fsb_readonly_kind, "ro");
	assert_int_equal(b->ops->caps & FSB_CAP_WRITE, 0);
	assert_int_equal(b->ops->writev(b, &req, 5, 0, &iov, 1, 0, 0), -EROFS);
	assert_int_equal(b->ops->readv(b, 5, 0, &iov, 1, 0), 5);
	assert_int_equal(b->ops->open(b, &req, 5, O_RDONLY, &fh), 0);
	assert_int_equal(b->ops->open(b, &req, 5, O_RDWR, &fh), -EROFS);
	assert_int_equal(b->ops->open(b, &req, 5, O_WRONLY, &fh), -EROFS);
	assert_int_equal(b->ops->open(b, &req, 5, O_RDONLY | O_TRUNC, &fh), -EROFS);
	b->ops->stop(b);
	assert_int_equal(back.stopped, 1);
}

static unsigned int failures(unsigned int calls)
{
	unsigned int n = 0;
	struct fuse_attr a;

	for (unsigned int i = 0; i < calls; i++)
		n += b->ops->getattr(b, 5, 0, &a) == -EIO;
	return n;
}

static void faults(void **state)
{
	struct iovec iov = {"abc", 3};
	struct fuse_attr a;
	bool first[200];
	unsigned int n;

	lay(&fsb_error_kind, "rw");
	lay(&fsb_delay_kind, "rw");
	assert_ptr_equal(b, &back.b);
	lay(&fsb_error_kind, "error=read:ENOSPC,error=getattr+lookup:EIO");
	assert_int_equal(b->ops->readv(b, 5, 0, &iov, 1, 0), -ENOSPC);
	assert_int_equal(failures(10), 10);
	assert_int_equal(b->ops->writev(b, &req, 5, 0, &iov, 1, 0, 0), 7);
	b->ops->stop(b);

	/* The same seed and calls: the same faults. */
	assert_int_equal(setenv("MSB_FAULT_SEED", "42", 1), 0);
	setup(NULL);
	lay(&fsb_error_kind, "error=all:EIO:0.25");
	for (size_t i = 0; i < ARRAY_LEN(first); i++)
		first[i] = b->ops->getattr(b, 5, 0, &a);
	b->ops->stop(b);
	setup(NULL);
	lay(&fsb_error_kind, "error=all:EIO:0.25");
	for (size_t i = 0; i < ARRAY_LEN(first); i++)
		assert_int_equal(b->ops->getattr(b, 5, 0, &a) != 0, first[i]);
	n = failures(20000);
	assert_in_range(n, 4500, 5500);
	b->ops->stop(b);
	assert_int_equal(unsetenv("MSB_FAULT_SEED"), 0);
}

static struct timespec slept;

/* In the place of libc's. */
int nanosleep(const struct timespec *t, struct timespec *left)
{
	slept.tv_sec += t->tv_sec;
	slept.tv_nsec += t->tv_nsec;
	return 0;
}

static void delays(void **state)
{
	struct iovec iov = {"abc", 3};
	struct fuse_attr attr;

	lay(&fsb_delay_kind, "delay=getattr:1020ms");
	assert_int_equal(b->ops->getattr(b, 5, 0, &attr), 0);
	assert_int_equal(slept.tv_sec, 1);
	assert_int_equal(slept.tv_nsec, 20000000);
	assert_int_equal(b->ops->readv(b, 5, 0, &iov, 1, 0), 5);
	assert_int_equal(slept.tv_sec, 1);
	b->ops->stop(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(hooks, setup),
		cmocka_unit_test_setup(lacking, setup),
		cmocka_unit_test_setup(hidden_entries, setup),
		cmocka_unit_test_setup(readonly, setup),
		cmocka_unit_test_setup(faults, setup),
		cmocka_unit_test_setup(delays, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
