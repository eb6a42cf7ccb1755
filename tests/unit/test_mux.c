// SPDX-License-Identifier: Apache-2.0
// Several backends as one: ids, names, what a kernel may hear, children that come and go.
#include "tests/unit/fusereq.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/mux.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <cmocka.h>

/* A child that has next to nothing, and says ENOSYS to what it has. getattr of node 9 waits. */
struct poor {
	struct fsb b; /* first */
	struct fsb_ops ops;
	_Atomic bool hold, held, gate, stopped;
	uint64_t forgotten;
	uint32_t contents;
};

static struct poor *poor_of(struct fsb *b)
{
	return (struct poor *)(void *)b;
}

static void poor_stop(struct fsb *b)
{
	poor_of(b)->stopped = true;
}

static int poor_lookup(struct fsb *b, const struct fsb_req *r, uint64_t parent, const char *name,
	struct fsb_entry *ret)
{
	*ret = (struct fsb_entry){.node = 9, .attr = {.ino = 9, .mode = S_IFREG | 0644}};
	return 0;
}

static void poor_forget(struct fsb *b, uint64_t node, uint64_t count)
{
	assert_int_equal(node, 9);
	poor_of(b)->forgotten += count;
}

static int poor_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	*ret = (struct fuse_attr){
		.ino = node, .mode = node == 1 ? S_IFDIR | 0755 : S_IFREG | 0644, .size = 100};
	if (node == 9 && poor_of(b)->hold) {
		poor_of(b)->held = true;
		while (!poor_of(b)->gate)
			usleep(100);
	}
	return 0;
}

static int poor_mkdir(struct fsb *b, const struct fsb_req *r, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret)
{
	return -ENOSYS;
}

static int64_t poor_save(struct fsb *b, uint64_t node, void *buf, size_t cap)
{
	memcpy(buf, "nine", 4);
	return 4;
}

static int poor_load(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n)
{
	return n == 4 && node == 9 && !memcmp(buf, "nine", 4) ? 0 : -EBADMSG;
}

static int poor_save_all(struct fsb *b, int fd)
{
	return msb_write_full(fd, &poor_of(b)->contents, 4);
}

static int poor_load_all(struct fsb *b, int fd)
{
	return read(fd, &poor_of(b)->contents, 4) == 4 ? 0 : -EBADMSG;
}

static void poor_init(struct poor *p)
{
	*p = (struct poor){.ops = {.name = "poor",
				   .caps = FSB_CAP_WRITE,
				   .stop = poor_stop,
				   .lookup = poor_lookup,
				   .forget = poor_forget,
				   .getattr = poor_getattr,
				   .mkdir = poor_mkdir,
				   .save = poor_save,
				   .load = poor_load,
				   .save_all = poor_save_all,
				   .load_all = poor_load_all}};
	p->b.ops = &p->ops;
}

static struct fsd_fs fs;
static struct fusereq q;
static char top[64];

static struct fsb *overlay(const char *name)
{
	struct fsb_overlay_opts o = {.index_fd = -1, .packs_fd = -1, .dir_fd = -1, .files_fd = -1};
	struct msb_err e = {0};
	struct fsb *b;
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	(void)mkdir(path, 0755);
	o.upper_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fsb_overlay_start(&o, &b, &e) < 0)
		fail_msg("%s", e.msg);
	return b;
}

static int setup(void **state)
{
	struct fsb *mux;

	(void)snprintf(top, sizeof(top), "/tmp/msb-mux-XXXXXX");
	assert_non_null(mkdtemp(top));
	assert_int_equal(mux_new(&mux), 0);
	assert_int_equal(mux_add(mux, "a", overlay("a")), 0);
	assert_int_equal(mux_add(mux, "b", overlay("b")), 0);
	fsd_fs_init(&fs, mux);
	q = (struct fusereq){.s = fsd_session_new(&fs, &fuse_profile_guest, false),
		.w = calloc(1, sizeof(*q.w))};
	return req_init(&q);
}

static int teardown(void **state)
{
	(void)fsd_session_free(q.s);
	fsd_fs_done(&fs);
	free(q.w);
	return msb_rm_rf(AT_FDCWD, top);
}

static uint64_t make(uint64_t dir, const char *name)
{
	assert_int_equal(req_create(&q, dir, name, O_RDWR, 0644), 0);
	return REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
}

static uint64_t ino_of(uint64_t node)
{
	assert_int_equal(req_getattr(&q, node), 0);
	return REQ_REPLY(&q, struct fuse_attr_out)->attr.ino;
}

static int rename_over(uint64_t from, const char *name, uint64_t to)
{
	const struct fuse_rename_in in = {.newdir = to};

	req_start(&q, FUSE_RENAME, from);
	req_add(&q, &in, sizeof(in));
	req_str(&q, name);
	req_str(&q, name);
	return req_run(&q);
}

static void children_are_directories(void **state)
{
	uint64_t a = req_lookup(&q, 1, "a"), b = req_lookup(&q, 1, "b"), fa, fb;

	assert_true(a && b && a != b);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "c"), -ENOENT); /* not to be remembered */
	fa = make(a, "f");
	fb = make(b, "f");
	assert_true(fa != fb);
	/* The same number in both children, and yet two files to a program that compares. */
	assert_true(ino_of(fa) != ino_of(fb));
	assert_int_equal(ino_of(fa), req_lookup(&q, a, "f") ? ino_of(fa) : 0);
	assert_int_equal(rename_over(a, "f", b), -EXDEV);
	assert_int_equal(rename_over(a, "f", 1), -EXDEV);
	assert_int_equal(req_name(&q, FUSE_UNLINK, a, "f"), 0);
	assert_true(req_lookup(&q, b, "f") == fb);
	assert_int_equal(req_name(&q, FUSE_RMDIR, 1, "a"), -EROFS);
}

static void links_stay_in_a_child(void **state)
{
	uint64_t a = req_lookup(&q, 1, "a"), b = req_lookup(&q, 1, "b");
	const struct fuse_link_in in = {make(a, "f")};

	req_start(&q, FUSE_LINK, b);
	req_add(&q, &in, sizeof(in));
	req_str(&q, "g");
	assert_int_equal(req_run(&q), -EXDEV);
	req_start(&q, FUSE_LINK, a);
	req_add(&q, &in, sizeof(in));
	req_str(&q, "g");
	assert_int_equal(req_run(&q), 0);
}

static void root_lists_them(void **state)
{
	const struct fuse_read_in in = {.size = 4096};
	char names[64] = "";

	req_start(&q, FUSE_READDIRPLUS, 1);
	req_add(&q, &in, sizeof(in));
	assert_int_equal(req_run(&q), 0);
	for (size_t at = 0; at < q.out_bytes;) {
		const struct fuse_direntplus *d = (const void *)(q.out + 16 + at);

		(void)snprintf(names + strlen(names), sizeof(names) - strlen(names), "%.*s ",
			(int)d->dirent.namelen, d->dirent.name);
		at += FUSE_DIRENTPLUS_SIZE(d);
	}
	assert_string_equal(names, ". .. a b ");
}

static void removed_children_are_stale(void **state)
{
	uint64_t a = req_lookup(&q, 1, "a"), f = make(a, "f"), again;

	assert_int_equal(mux_remove(fs.b, "a"), 0);
	assert_int_equal(mux_remove(fs.b, "a"), -ENOENT);
	assert_null(mux_find(fs.b, "a"));
	assert_int_equal(req_getattr(&q, f), -ESTALE);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, a, "f"), -ESTALE);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "a"), -ENOENT);
	assert_int_equal(mux_add(fs.b, "a", overlay("a")), 0);
	again = req_lookup(&q, 1, "a");
	assert_true(again && again != a);
	assert_int_equal(req_getattr(&q, f), -ESTALE);
	assert_true(req_lookup(&q, again, "f") != 0);
	req_forget(&q, f, 1); /* of one that is gone: nobody minds */
}

static int full_open(
	struct fsb *b, const struct fsb_req *r, uint64_t node, uint32_t flags, uint64_t *ret_fh)
{
	*ret_fh = 7;
	return 0;
}

static int full_opendir(struct fsb *b, uint64_t node, uint64_t *ret_fh)
{
	*ret_fh = 8;
	return 0;
}

static int64_t full_readv(
	struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int n, uint64_t off)
{
	assert_int_equal(fh, 7); /* never one that it did not hand out */
	return 0;
}

static int64_t full_writev(struct fsb *b, const struct fsb_req *r, uint64_t node, uint64_t fh,
	const struct iovec *iov, int n, uint64_t off, uint32_t flags)
{
	assert_int_equal(fh, 7);
	return (int64_t)iov[0].iov_len;
}

static int full_fsync(struct fsb *b, uint64_t node, uint64_t fh, bool datasync)
{
	assert_int_equal(fh, node == FSB_ROOT ? 8 : 7);
	return 0;
}

static int full_readdir(struct fsb *b, const struct fsb_req *r, uint64_t node, uint64_t fh,
	uint64_t off, bool plus, fsb_dirent_fn fn, void *arg)
{
	assert_int_equal(fh, 8);
	return 0;
}

static const struct fsb_cache *full_cache(struct fsb *b, uint64_t node)
{
	static const struct fsb_cache c = {.entry_ms = 5000, .attr_ms = 5000, .negative_ms = 5000};

	return &c;
}

static void full_init(struct poor *p)
{
	poor_init(p);
	p->ops.open = full_open;
	p->ops.opendir = full_opendir;
	p->ops.readv = full_readv;
	p->ops.writev = full_writev;
	p->ops.fsync = full_fsync;
	p->ops.readdir = full_readdir;
	p->ops.cache = full_cache;
}

static int sync_of(uint32_t opcode, uint64_t node, uint64_t fh)
{
	const struct fuse_fsync_in in = {.fh = fh};

	req_start(&q, opcode, node);
	req_add(&q, &in, sizeof(in));
	return req_run(&q);
}

/* A child whose handles mean something beside children that have none. */
static void stateless_beside_stateful(void **state)
{
	uint64_t a = req_lookup(&q, 1, "a"), p, f, g, fh, dh;
	struct poor full;

	full_init(&full);
	assert_int_equal(mux_add(fs.b, "p", &full.b), 0);
	p = req_lookup(&q, 1, "p");
	assert_int_equal(req_create(&q, a, "f", O_RDWR, 0644), 0);
	f = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_created_fh(&q), 0);
	assert_int_equal(req_write(&q, f, 0, 0, "x", 1, 0), 0);
	assert_int_equal(req_open(&q, FUSE_OPEN, f, O_RDONLY), 0); /* it is sent: p needs it */
	assert_int_equal(REQ_REPLY(&q, struct fuse_open_out)->fh, 0);
	assert_int_equal(req_read(&q, FUSE_READ, f, 0, 0, 1), 0);
	assert_int_equal(req_open(&q, FUSE_OPENDIR, a, 0), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_open_out)->fh, 0);
	assert_int_equal(req_read(&q, FUSE_READDIR, a, 0, 0, 4096), 0);
	g = req_lookup(&q, p, "g");
	assert_int_equal(req_open(&q, FUSE_OPEN, g, O_RDWR), 0);
	fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	assert_true(fh != 0);
	assert_int_equal(req_write(&q, g, fh, 0, "x", 1, 0), 0);
	assert_int_equal(req_read(&q, FUSE_READ, g, fh, 0, 1), 0);
	assert_int_equal(sync_of(FUSE_FSYNC, g, fh), 0);
	assert_int_equal(sync_of(FUSE_FSYNCDIR, a, 0), 0);
	assert_int_equal(req_open(&q, FUSE_OPENDIR, p, 0), 0);
	dh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	assert_int_equal(sync_of(FUSE_FSYNCDIR, p, dh), 0);
	/* A guest that leaves out what it was given. */
	assert_int_equal(req_write(&q, g, 0, 0, "x", 1, 0), -EBADF);
	assert_int_equal(req_read(&q, FUSE_READ, g, 0, 0, 1), -EBADF);
	assert_int_equal(req_read(&q, FUSE_READDIR, p, 0, 0, 1), -EBADF);
	assert_int_equal(sync_of(FUSE_FSYNC, g, 0), -EBADF);
	assert_int_equal(sync_of(FUSE_FSYNCDIR, p, 0), -EBADF);
	assert_int_equal(req_read(&q, FUSE_READ, f, fh, 0, 1), -EBADF);
	assert_int_equal(mux_remove(fs.b, "p"), 0);
}

/* The names of children are not to be remembered, whatever the children say of theirs. */
static void names_of_children_do_not_last(void **state)
{
	struct poor full;
	uint64_t p;

	full_init(&full);
	assert_int_equal(mux_add(fs.b, "p", &full.b), 0);
	p = req_lookup(&q, 1, "p");
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->entry_valid, 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr_valid, 5);
	assert_true(req_lookup(&q, p, "g") != 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->entry_valid, 5);
	assert_int_equal(mux_remove(fs.b, "p"), 0);
	/* Of one that says nothing the rest is as anywhere else. */
	poor_init(&full);
	assert_int_equal(mux_add(fs.b, "r", &full.b), 0);
	p = req_lookup(&q, 1, "r");
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->entry_valid, 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr_valid, 1);
	assert_int_equal(req_getattr(&q, p), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr_valid, 1);
	assert_true(req_lookup(&q, p, "g") != 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->entry_valid, 1);
	assert_int_equal(mux_remove(fs.b, "r"), 0);
}

static void enosys_is_not_heard(void **state)
{
	const struct fuse_mkdir_in mk = {.mode = 0755};
	const struct fuse_lseek_in seek = {.offset = 10, .whence = SEEK_HOLE};
	const struct fuse_open_in op = {0};
	struct poor p;
	uint64_t d, n;

	poor_init(&p);
	assert_int_equal(fs.b->ops->caps & FSB_CAP_NO_OPEN, FSB_CAP_NO_OPEN);
	assert_int_equal(mux_add(fs.b, "p", &p.b), 0);
	assert_int_equal(fs.b->ops->caps & FSB_CAP_NO_OPEN, 0);
	d = req_lookup(&q, 1, "p");
	n = req_lookup(&q, d, "x");
	req_start(&q, FUSE_MKDIR, d);
	req_add(&q, &mk, sizeof(mk));
	req_str(&q, "y");
	assert_int_equal(req_run(&q), -EOPNOTSUPP);
	req_start(&q, FUSE_LISTXATTR, n);
	req_add(&q, &(struct fuse_getxattr_in){0}, sizeof(struct fuse_getxattr_in));
	assert_int_equal(req_run(&q), 0);
	/* A child without lseek: all is data, up to the end. */
	req_start(&q, FUSE_OPEN, n);
	req_add(&q, &op, sizeof(op));
	assert_int_equal(req_run(&q), 0);
	req_start(&q, FUSE_LSEEK, n);
	req_add(&q, &seek, sizeof(seek));
	assert_int_equal(req_run(&q), 0); /* it has no open() either: its handles are 0 */
	assert_int_equal(REQ_REPLY(&q, struct fuse_lseek_out)->offset, 100);
	assert_int_equal(mux_remove(fs.b, "p"), 0);
	assert_true(p.stopped);
	req_start(&q, FUSE_OPEN, req_lookup(&q, 1, "a"));
	req_add(&q, &op, sizeof(op));
	assert_false(fsd_session_opens_off(q.s));
	assert_int_equal(req_run(&q), -ENOSYS);
	assert_true(fsd_session_opens_off(q.s));
}

static int by_handle(uint64_t node, const char *name, struct fuse_entry_out *ret)
{
	int r = req_name(&q, FUSE_LOOKUP, node, name);

	if (r == 0)
		*ret = *REQ_REPLY(&q, struct fuse_entry_out);
	return r;
}

/* A child's number and its own say together what a handle means, in the next server too. */
static void file_handles(void **state)
{
	struct fuse_entry_out a, d, f, e;
	struct poor p;
	uint64_t seat;

	assert_int_equal(by_handle(1, "a", &a), 0);
	assert_int_equal(req_mkdir(&q, a.nodeid, "d", 0755), 0);
	assert_int_equal(by_handle(a.nodeid, "d", &d), 0);
	make(d.nodeid, "f");
	assert_int_equal(by_handle(d.nodeid, "f", &f), 0);
	assert_int_equal(by_handle(f.nodeid, ".", &e), 0);
	assert_int_equal(e.nodeid, f.nodeid);
	assert_int_equal(e.generation, f.generation);
	assert_int_equal(e.attr.ino, f.attr.ino);
	assert_int_equal(by_handle(d.nodeid, "..", &e), 0);
	assert_int_equal(e.nodeid, a.nodeid);
	assert_int_equal(e.generation, a.generation);
	assert_int_equal(by_handle(a.nodeid, ".", &e), 0);
	assert_int_equal(e.nodeid, a.nodeid);
	assert_int_equal(e.generation, a.generation);
	assert_int_equal(by_handle(a.nodeid, "..", &e), 0);
	assert_int_equal(e.nodeid, 1);
	assert_int_equal(e.generation, 0);
	assert_int_equal(by_handle(1, ".", &e), 0);
	assert_int_equal(e.nodeid, 1);
	assert_int_equal(by_handle(UINT64_C(0xffff) << 48 | 5, ".", &e), -ESTALE);
	assert_int_equal(by_handle(UINT64_C(0xffff) << 48 | 1, ".", &e), -ESTALE);
	/* A child that has none. */
	poor_init(&p);
	assert_int_equal(mux_add(fs.b, "p", &p.b), 0);
	assert_int_equal(by_handle(1, "p", &e), 0);
	seat = e.nodeid >> 48;
	assert_int_equal(by_handle(seat << 48 | 9, ".", &e), -ESTALE);
	/* Its seat is another's while somebody may remember it, and then its own again. */
	assert_int_equal(mux_remove(fs.b, "p"), 0);
	poor_init(&p);
	assert_int_equal(mux_add(fs.b, "p", &p.b), 0);
	assert_int_equal(by_handle(1, "p", &e), 0);
	assert_int_not_equal(e.nodeid >> 48, seat);
	assert_int_equal(mux_remove(fs.b, "p"), 0);
	mux_forgotten(fs.b);
	poor_init(&p);
	assert_int_equal(mux_add(fs.b, "p", &p.b), 0);
	assert_int_equal(by_handle(1, "p", &e), 0);
	assert_int_equal(e.nodeid >> 48, seat);
	assert_int_equal(mux_remove(fs.b, "p"), 0);
	assert_int_equal(by_handle(f.nodeid, ".", &e), 0); /* who stayed kept theirs */
	assert_int_equal(mux_remove(fs.b, "a"), 0);
	assert_int_equal(by_handle(f.nodeid, ".", &e), -ESTALE);
}

static void *hold(void *arg)
{
	struct fusereq *r = arg;

	assert_int_equal(req_getattr(r, r->unique), 0);
	return NULL;
}

static void *take_away(void *arg)
{
	assert_int_equal(mux_remove(fs.b, arg), 0);
	return NULL;
}

static void removal_waits_for_operations(void **state)
{
	struct fusereq *other = calloc(1, sizeof(*other));
	struct poor p;
	uint64_t n;
	pthread_t t, u;

	poor_init(&p);
	assert_int_equal(mux_add(fs.b, "p", &p.b), 0);
	n = req_lookup(&q, req_lookup(&q, 1, "p"), "x");
	*other = (struct fusereq){.s = q.s, .w = calloc(1, sizeof(*other->w)), .unique = n};
	p.hold = true;
	pthread_create(&t, NULL, hold, other);
	while (!p.held)
		usleep(100);
	pthread_create(&u, NULL, take_away, (char[]){"p"});
	/* Newcomers are refused from some point on, others go on, and the child lives until the
	 * held one has left. */
	while (req_name(&q, FUSE_LOOKUP, n, "y") != -ESTALE)
		usleep(100);
	assert_true(req_lookup(&q, 1, "a") != 0);
	assert_false(p.stopped);
	p.gate = true;
	pthread_join(u, NULL);
	assert_true(p.stopped);
	pthread_join(t, NULL);
	free(other->w);
	free(other);
}

static void limits(void **state)
{
	static struct poor p[FSD_MAX_MOUNTS + 1];
	const char *const bad[] = {"", "A", "a/b", "..", "seventeen-letters", "abcdefghijklmnopq"};
	char name[20];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		poor_init(&p[0]);
		assert_int_equal(mux_add(fs.b, bad[i], &p[0].b), -EINVAL);
		assert_true(p[0].stopped);
	}
	poor_init(&p[0]);
	assert_int_equal(mux_add(fs.b, "a", &p[0].b), -EEXIST);
	for (unsigned int i = 2; i <= FSD_MAX_MOUNTS; i++) {
		(void)snprintf(name, sizeof(name), "m%u", i);
		poor_init(&p[i]);
		assert_int_equal(mux_add(fs.b, name, &p[i].b), i < FSD_MAX_MOUNTS ? 0 : -ENOSPC);
	}
	assert_int_equal(mux_count(fs.b), FSD_MAX_MOUNTS);
	/* As many st_ino as can be are no larger than a double is exact. */
	for (unsigned int i = 2; i <= MUX_FEW_SEATS - 1; i++) {
		(void)snprintf(name, sizeof(name), "m%u", i);
		assert_true(req_lookup(&q, 1, name) > 0);
		assert_true(REQ_REPLY(&q, struct fuse_entry_out)->attr.ino < UINT64_C(1) << 53);
	}
}

/* A kernel remembers one that is gone: the seat of that name is not given to the next one. */
static void unsaved_seats_stay_taken(void)
{
	struct poor x[3];
	uint64_t seat[3];
	struct fsb *m;

	for (int i = 0; i < 3; i++) { /* the second server's second time comes after a state */
		struct fsb_entry e;

		if (i < 2)
			assert_int_equal(mux_new(&m), 0);
		if (i)
			assert_int_equal(
				m->ops->load(m, seat[0] << 48 | (i == 1 ? 1 : 9), 1, NULL, 0),
				-EBADMSG);
		poor_init(&x[i]);
		assert_int_equal(mux_add(m, "x", &x[i].b), 0);
		assert_int_equal(m->ops->lookup(m, NULL, 1, "x", &e), 0);
		seat[i] = e.node >> 48;
		if (i < 1)
			m->ops->stop(m);
		else
			assert_int_equal(mux_remove(m, "x"), 0);
	}
	assert_int_not_equal(seat[1], seat[0]);
	assert_int_not_equal(seat[2], seat[0]);
	m->ops->stop(m);
}

static uint64_t seat_in(struct fsb *m, const char *name)
{
	struct fsb_entry e;

	assert_int_equal(m->ops->lookup(m, NULL, 1, name, &e), 0);
	return e.node >> 48;
}

/* A kernel remembers a child that the next server does not have: who would sit there moves. */
static void seats_of_who_is_gone_stay_taken(void **state)
{
	struct poor gone, y;
	struct fsb_entry e;
	struct fsb *m;
	uint64_t seat;

	poor_init(&gone);
	poor_init(&y);
	assert_int_equal(mux_new(&m), 0);
	assert_int_equal(mux_add(m, "y", &y.b), 0);
	seat = seat_in(m, "y");
	/* As if "gone" had sat where y does now. */
	assert_int_equal(m->ops->load(m, seat << 48 | 9, 3, "gone\0nine", 9), -ESTALE);
	assert_int_not_equal(seat_in(m, "y"), seat);
	assert_int_equal(m->ops->getattr(m, seat << 48 | 9, 0, &e.attr), -ESTALE);
	m->ops->forget(m, seat << 48 | 9, 3);
	assert_int_equal(y.forgotten, 0);
	/* And a root alone, of which nothing more is saved. */
	seat = seat_in(m, "y");
	assert_int_equal(m->ops->load(m, seat << 48 | 1, 1, "gone", 5), -ESTALE);
	assert_int_not_equal(seat_in(m, "y"), seat);
	m->ops->stop(m);
}

/* What a state says of its size costs no memory: here no file may be as large. */
static void contents_are_not_copied(void **state)
{
	static const uint8_t zeros[65536];
	const uint64_t bytes = 64 * sizeof(zeros), four = 4;
	const uint8_t name_bytes = 4, none = 0;
	struct rlimit old, little;
	struct poor y;
	struct fsb *m;
	int fd = memfd_create("t", MFD_CLOEXEC);

	poor_init(&y);
	assert_int_equal(mux_new(&m), 0);
	assert_int_equal(mux_add(m, "y", &y.b), 0);
	assert_int_equal(write(fd, &name_bytes, 1), 1);
	assert_int_equal(write(fd, "gone", 4), 4);
	assert_int_equal(write(fd, &bytes, 8), 8);
	for (int i = 0; i < 64; i++)
		assert_int_equal(write(fd, zeros, sizeof(zeros)), sizeof(zeros));
	assert_int_equal(write(fd, (uint8_t[]){1, 'y'}, 2), 2);
	assert_int_equal(write(fd, &four, 8), 8);
	assert_int_equal(write(fd, "\x07\0\0\0", 4), 4);
	assert_int_equal(write(fd, &none, 1), 1);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	little = (struct rlimit){4096, old.rlim_max};
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	assert_int_equal(m->ops->load_all(m, fd), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(y.contents, 7);
	m->ops->stop(m);
	close(fd);
}

/* What a server saved means the same to the next, wherever it seats its children. */
static void state_goes_by_name(void **state)
{
	struct poor x[2], y[2];
	struct fsb *from, *to;
	char buf[FSB_MAX_STATE];
	struct fsb_entry e, other;
	int64_t n;
	int fd = memfd_create("t", MFD_CLOEXEC);

	for (int i = 0; i < 2; i++) {
		poor_init(&x[i]);
		poor_init(&y[i]);
		x[i].contents = 7 + (uint32_t)i;
	}
	assert_int_equal(mux_new(&from), 0);
	assert_int_equal(mux_new(&to), 0);
	assert_int_equal(mux_add(from, "x", &x[0].b), 0);
	assert_int_equal(mux_add(from, "y", &x[1].b), 0);
	assert_int_equal(mux_add(to, "y", &y[1].b), 0);
	assert_int_equal(mux_add(to, "x", &y[0].b), 0);
	assert_int_equal(from->ops->lookup(from, NULL, 1, "x", &e), 0);
	assert_int_equal(from->ops->lookup(from, NULL, e.node, "f", &e), 0);
	n = from->ops->save(from, e.node, buf, sizeof(buf));
	assert_true(n > 0);
	/* As if x had sat where y does. */
	assert_int_equal(to->ops->lookup(to, NULL, 1, "y", &other), 0);
	e.node = (other.node & ~(FSB_MAX_ID - 1)) | (e.node & (FSB_MAX_ID - 1));
	assert_int_equal(to->ops->load(to, e.node, 3, buf, (size_t)n), 0);
	assert_int_equal(to->ops->lookup(to, NULL, 1, "y", &other), 0);
	assert_int_not_equal(other.node >> 48, e.node >> 48);
	assert_int_equal(to->ops->load(to, e.node, 3, NULL, 0), -EBADMSG); /* as x says */
	assert_int_equal(to->ops->load(to, UINT64_C(0xfffe) << 48 | 9, 3, NULL, 0), -EBADMSG);
	unsaved_seats_stay_taken();
	assert_int_equal(to->ops->load(to, e.node, 3, buf, (size_t)n - 1), -EBADMSG);
	assert_int_equal(to->ops->load(to, e.node, 3, "zz\0nine", 7), -ESTALE);
	assert_int_equal(to->ops->load(to, e.node, 3, "y\0nine", 6), -EBADMSG); /* x has it */
	assert_int_equal(to->ops->load(to, e.node, 3, "no end", 6), -EBADMSG);
	assert_int_equal(to->ops->load(to, 9, 3, buf, (size_t)n), -EBADMSG);
	to->ops->forget(to, e.node, 3);
	assert_int_equal(y[0].forgotten, 3);
	assert_int_equal(y[1].forgotten, 0);

	assert_int_equal(from->ops->save_all(from, fd), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(to->ops->load_all(to, fd), 0);
	assert_int_equal(y[0].contents, 7);
	assert_int_equal(y[1].contents, 8);
	assert_int_equal(ftruncate(fd, 9), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(to->ops->load_all(to, fd), -EBADMSG);
	close(fd);
	from->ops->stop(from);
	to->ops->stop(to);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(children_are_directories), T(links_stay_in_a_child),
		T(root_lists_them), T(removed_children_are_stale), T(stateless_beside_stateful),
		T(names_of_children_do_not_last), T(enosys_is_not_heard),
		T(removal_waits_for_operations), T(file_handles), T(limits),
		cmocka_unit_test(state_goes_by_name), cmocka_unit_test(contents_are_not_copied),
		cmocka_unit_test(seats_of_who_is_gone_stay_taken)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
