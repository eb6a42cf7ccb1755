// SPDX-License-Identifier: Apache-2.0
// The memory backend's state: what is saved comes back whole, and nothing else does harm.
#include "base/str.h"
#include "fs/backends/memory/mem.h"
#include "fs/backends/memory/state.h"
#include "tests/unit/bypath.h"

#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <xxhash.h>
#include <cmocka.h>

#define MIB (1u << 20)

static struct mem *start(uint64_t size)
{
	struct msb_err e = {0};
	struct mem *m;

	if (mem_new(size, &m, &e) < 0)
		fail_msg("start: %s", e.msg);
	return m;
}

static void stop(struct mem *m)
{
	m->fsb.ops->stop(&m->fsb);
}

static uint64_t hash(uint64_t h, const void *p, size_t n)
{
	return XXH3_64bits_withSeed(p, n, h);
}

struct digest {
	struct fsb *b;
	uint64_t h, inodes;
	uint64_t id[2000];
	unsigned int n;
};

static int list_one(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type,
	uint64_t next_off, const struct fsb_entry *e)
{
	struct digest *d = arg;
	const uint64_t v[] = {ino, type, next_off};

	d->h = hash(hash(d->h, name, n), v, sizeof(v));
	if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
		assert_true(d->n < ARRAY_LEN(d->id));
		d->id[d->n++] = ino;
	}
	return 0;
}

static void digest_data(struct digest *d, uint64_t node, uint64_t size)
{
	static uint8_t buf[MIB];
	int64_t at = 0, end;

	while ((at = d->b->ops->lseek(d->b, node, 0, (uint64_t)at, SEEK_DATA)) >= 0) {
		end = d->b->ops->lseek(d->b, node, 0, (uint64_t)at, SEEK_HOLE);
		d->h = hash(hash(d->h, &at, sizeof(at)), &end, sizeof(end));
		for (; at < end; at += MIB) {
			struct iovec iov = {buf, (size_t)(end - at < MIB ? end - at : MIB)};

			assert_int_equal(d->b->ops->readv(d->b, node, 0, &iov, 1, (uint64_t)at),
				iov.iov_len);
			d->h = hash(d->h, buf, iov.iov_len);
		}
		at = end;
		if (at >= (int64_t)size)
			break;
	}
}

/* All that can be seen of everything, by node: what a kernel would go on with. */
static uint64_t digest(struct mem *m)
{
	static struct digest d;

	d = (struct digest){.b = &m->fsb, .id = {FSB_ROOT}, .n = 1};
	for (unsigned int k = 0; k < d.n; k++) {
		char names[1024], value[1024];
		struct timespec birth;
		struct fuse_attr a;
		int64_t n;

		assert_int_equal(d.b->ops->getattr(d.b, d.id[k], 0, &a), 0);
		assert_int_equal(d.b->ops->btime(d.b, d.id[k], &birth), 0);
		n = d.b->ops->listxattr(d.b, d.id[k], names, sizeof(names));
		for (char *p = names; p < names + n; p += strlen(p) + 1) {
			int64_t got = d.b->ops->getxattr(d.b, d.id[k], p, value, sizeof(value));

			assert_true(got >= 0);
			d.h = hash(hash(d.h, p, strlen(p)), value, (size_t)got);
		}
		if (S_ISREG(a.mode))
			digest_data(&d, d.id[k], a.size);
		if (S_ISLNK(a.mode)) {
			n = d.b->ops->readlink(d.b, d.id[k], names, sizeof(names));
			d.h = hash(d.h, names, (size_t)n);
		}
		if (S_ISDIR(a.mode))
			assert_int_equal(
				d.b->ops->readdir(d.b, &fx_req, d.id[k], 0, 0, false, list_one, &d),
				0);
		/* Now that it was read: that moves a time. */
		assert_int_equal(d.b->ops->getattr(d.b, d.id[k], 0, &a), 0);
		d.h = hash(hash(d.h, &a, sizeof(a)), &birth, sizeof(birth));
	}
	d.inodes = d.n;
	return d.h + d.inodes;
}

static void fill(struct mem *m)
{
	struct fsb *b = &m->fsb;
	static char big[300000];
	struct fsb_entry e;
	char name[32];

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 7 / 5);
	assert_int_equal(fx_mk(b, "d", S_IFDIR | 02775, NULL), 0);
	assert_int_equal(fx_mk(b, "d/e", S_IFDIR | 0700, NULL), 0);
	assert_int_equal(fx_mk(b, "d/e/f", S_IFREG | 0640, NULL), 0);
	assert_int_equal(fx_write(b, "d/e/f", big, sizeof(big), 12345, 0), sizeof(big));
	assert_int_equal(fx_write(b, "d/e/f", big, 10, UINT64_C(3) << 40, 0), 10);
	assert_int_equal(fx_link(b, "d/e/f", "hard"), 0);
	assert_int_equal(fx_mk(b, "l", S_IFLNK, "some/where"), 0);
	assert_int_equal(fx_mk(b, "c", S_IFCHR | 0600, NULL), 0);
	assert_int_equal(fx_mk(b, "p", S_IFIFO | 0600, NULL), 0);
	assert_int_equal(fx_walk(b, "d/e", &e), 0);
	assert_int_equal(b->ops->setxattr(b, &fx_req, e.node, "user.x", "12", 2, 0), 0);
	assert_int_equal(b->ops->setxattr(b, &fx_req, e.node, "trusted.y", "", 0, 0), 0);
	fx_forget(b, e.node);
	for (int i = 0; i < 300; i++) {
		(void)snprintf(name, sizeof(name), "d/%d", i);
		assert_int_equal(fx_mk(b, name, S_IFREG | 0644, NULL), 0);
	}
	for (int i = 0; i < 300; i += 3) {
		(void)snprintf(name, sizeof(name), "d/%d", i);
		assert_int_equal(fx_rm(b, name, false), 0);
	}
	assert_int_equal(fx_walk(b, "d/1", &e), 0);
	assert_int_equal(
		b->ops->fallocate(b, &fx_req, e.node, 0, FALLOC_FL_KEEP_SIZE, 4096, 100 * MEM_PAGE),
		0);
	fx_forget(b, e.node);
	assert_int_equal(fx_rename(b, "d/2", "d/4", 0), 0);
}

static int saved(struct mem *m)
{
	int fd = memfd_create("state", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(m->fsb.ops->save_all(&m->fsb, fd), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static void comes_back_whole(void **state)
{
	struct mem *m = start(64 * MIB), *n = start(64 * MIB);
	struct fsb_entry open, gone, e;
	uint64_t fh, want;
	char tail[] = "behind it", buf[16] = {0};
	struct iovec iov = {buf, 4};
	int fd;

	fill(m);
	/* Two without a name: a kernel still has one of them. */
	assert_int_equal(m->fsb.ops->tmpfile(&m->fsb, &fx_req, FSB_ROOT, 0600, 0, &open, &fh), 0);
	assert_int_equal(fx_mk(&m->fsb, "gone", S_IFREG | 0600, NULL), 0);
	assert_int_equal(fx_write(&m->fsb, "gone", "text", 4, 0, 0), 4);
	assert_int_equal(fx_walk(&m->fsb, "gone", &gone), 0);
	assert_int_equal(fx_rm(&m->fsb, "gone", false), 0);
	want = digest(m);
	fd = saved(m);
	assert_int_equal(digest(m), want); /* saving changes nothing */

	assert_int_equal(lseek(fd, 0, SEEK_END) > 0, 1);
	assert_int_equal(write(fd, tail, sizeof(tail)), sizeof(tail));
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(n->fsb.ops->load_all(&n->fsb, fd), 0);
	assert_int_equal(read(fd, buf, sizeof(buf)), sizeof(tail)); /* not a byte more was taken */
	assert_int_equal(m->fsb.ops->save(&m->fsb, gone.node, buf, sizeof(buf)), 0);
	assert_int_equal(m->fsb.ops->save(&m->fsb, gone.node + 1, buf, sizeof(buf)), -ESTALE);
	assert_int_equal(n->fsb.ops->load(&n->fsb, gone.node, 3, "", 0), 0);
	assert_int_equal(n->fsb.ops->load(&n->fsb, gone.node, 3, "x", 1), -EBADMSG);
	assert_int_equal(n->fsb.ops->load(&n->fsb, gone.node, UINT64_MAX, "", 0), -EBADMSG);
	assert_int_equal(n->fsb.ops->load(&n->fsb, gone.node + 1, 3, "", 0), -ESTALE);
	assert_int_equal(digest(n), want);

	/* It goes on: the open file is there, nobody's is swept, ids are new ones. */
	assert_int_equal(fx_mk(&n->fsb, "new", S_IFREG | 0600, NULL), 0);
	assert_int_equal(fx_walk(&n->fsb, "new", &e), 0);
	assert_true(e.node != open.node && e.node != gone.node);
	assert_null(mem_find(n, open.node));
	assert_int_equal(n->fsb.ops->readv(&n->fsb, gone.node, 0, &iov, 1, 0), 4);
	assert_memory_equal(buf, "text", 4);
	n->fsb.ops->forget(&n->fsb, gone.node, 2);
	assert_non_null(mem_find(n, gone.node));
	n->fsb.ops->forget(&n->fsb, gone.node, 1);
	assert_null(mem_find(n, gone.node));
	fx_forget(&n->fsb, e.node);
	assert_int_equal(fx_rm(&n->fsb, "d/5", false), 0);
	close(fd);
	stop(m);
	stop(n);
}

static void needs_an_empty_one_of_its_size(void **state)
{
	struct mem *m = start(64 * MIB), *n = start(MEM_MIN_BYTES);
	uint64_t empty = digest(n), used = n->used;
	static char big[MIB];
	int fd;

	fill(m);
	assert_int_equal(fx_write(&m->fsb, "hard", big, sizeof(big), 0, 0), sizeof(big));
	fd = saved(m);
	assert_int_equal(m->fsb.ops->load_all(&m->fsb, fd), -EBUSY);
	assert_int_equal(n->fsb.ops->load_all(&n->fsb, fd), -ENOSPC);
	assert_int_equal(n->nodes, 1);
	assert_int_equal(n->used, used);
	assert_true(digest(n) != empty); /* its root is a new one */
	assert_int_equal(fx_mk(&n->fsb, "f", S_IFREG | 0644, NULL), 0);
	close(fd);
	stop(m);
	stop(n);
}

static void damaged_streams(void **state)
{
	struct mem *m = start(4 * MIB), *n;
	static uint8_t whole[MIB];
	ssize_t bytes;
	int fd;

	assert_int_equal(fx_mk(&m->fsb, "d", S_IFDIR | 0755, NULL), 0);
	assert_int_equal(fx_mk(&m->fsb, "d/f", S_IFREG | 0755, NULL), 0);
	assert_int_equal(fx_write(&m->fsb, "d/f", "text", 4, 0, 0), 4);
	fd = saved(m);
	bytes = read(fd, whole, sizeof(whole));
	assert_true(bytes > MEM_PAGE);
	close(fd);
	n = start(4 * MIB);
	for (ssize_t i = 0; i < bytes; i += i < 500 || i > bytes - 300 ? 1 : 97) {
		for (int cut = 0; cut < 2; cut++) {
			fd = memfd_create("state", MFD_CLOEXEC);
			whole[i] ^= 1;
			assert_int_equal(
				write(fd, whole, (size_t)(cut ? i : bytes)), cut ? i : bytes);
			whole[i] ^= 1;
			assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
			assert_int_equal(n->fsb.ops->load_all(&n->fsb, fd), -EBADMSG);
			assert_int_equal(n->nodes, 1);
			close(fd);
		}
	}
	stop(n);
	stop(m);
}

/* ---- contents of frames that nobody would write */

struct made {
	uint8_t p[70000];
	size_t n;
};

static void add(struct made *s, const void *p, size_t n)
{
	memcpy(s->p + s->n, p, n);
	s->n += n;
}

static void add32(struct made *s, uint32_t v)
{
	add(s, &v, sizeof(v));
}

static void add64(struct made *s, uint64_t v)
{
	add(s, &v, sizeof(v));
}

static void head(struct made *s, uint64_t inodes)
{
	s->n = 0;
	add(s, MEM_STATE_MAGIC, 8);
	add32(s, MEM_STATE_VERSION);
	add32(s, MEM_PAGE);
	add64(s, 9);
	add64(s, inodes);
}

static void inode(struct made *s, uint64_t id, uint32_t mode, uint64_t size, uint32_t nsec)
{
	add64(s, id);
	add32(s, mode);
	for (int i = 0; i < 4; i++)
		add32(s, 0); /* uid gid rdev flags */
	add64(s, size);
	for (int i = 0; i < 4; i++) {
		add64(s, 1);
		add32(s, nsec);
	}
	add32(s, 0); /* attributes */
}

static void entry(struct made *s, uint64_t dir, uint64_t id, uint64_t cookie, const char *name)
{
	uint8_t n = (uint8_t)strlen(name);

	add(s, "D", 1);
	add64(s, dir);
	add64(s, id);
	add64(s, cookie);
	add(s, &n, 1);
	add(s, name, n);
}

static void extent(struct made *s, uint32_t pages, uint32_t unwritten, uint64_t first)
{
	static const uint8_t page[MEM_PAGE];

	add32(s, pages);
	add32(s, unwritten);
	add64(s, first);
	for (uint32_t i = 0; i < pages && i < 2 && !unwritten; i++)
		add(s, page, sizeof(page));
}

#define ID(n) ((uint64_t)(n) << MEM_SLOT_BITS | (n))
#define DIR   (S_IFDIR | 0755)
#define FILE_ (S_IFREG | 0644)

static void tree(struct made *s, uint64_t a, uint32_t mode_a, uint64_t b, uint32_t mode_b)
{
	head(s, 3);
	inode(s, FSB_ROOT, DIR, 0, 0);
	inode(s, a, mode_a, 0, 0);
	if (S_ISREG(mode_a))
		add32(s, 0);
	inode(s, b, mode_b, 0, 0);
	if (S_ISREG(mode_b))
		add32(s, 0);
}

static int try(const struct made *s)
{
	struct mem *m = start(MEM_MIN_BYTES);
	int r = mem_load_bytes(m, s->p, s->n);

	if (r < 0)
		assert_int_equal(m->nodes, 1);
	stop(m);
	return r;
}

/* Of a tree of three: what follows the inodes. */
static int try_entries(const char *what)
{
	static struct made s;
	const uint64_t a = ID(2), b = ID(3);

	tree(&s, a, DIR, b, what[0] == 'f' ? FILE_ : DIR);
	for (const char *p = what + 1; *p; p++) {
		switch (*p) {
		case 'a': entry(&s, FSB_ROOT, a, 1, "a"); break;
		case 'b': entry(&s, FSB_ROOT, b, 2, "b"); break;
		case 'B': entry(&s, a, b, 1, "b"); break;
		case 'A': entry(&s, b, a, 1, "a"); break;
		case '2': entry(&s, FSB_ROOT, b, 2, "a"); break;
		case '=': entry(&s, FSB_ROOT, b, 1, "b"); break;
		case '/': entry(&s, FSB_ROOT, b, 2, "x/y"); break;
		case '.': entry(&s, FSB_ROOT, b, 2, ".."); break;
		case '0': entry(&s, FSB_ROOT, b, 2, ""); break;
		case 'r': entry(&s, a, FSB_ROOT, 2, "r"); break;
		case 'm': entry(&s, FSB_ROOT, b, UINT64_MAX, "m"); break;
		case '?': entry(&s, FSB_ROOT, ID(4), 5, "m"); break;
		case 'c':
		case 'C':
			add(&s, "C", 1);
			add64(&s, FSB_ROOT);
			add64(&s, *p == 'c' ? 5 : 0);
			break;
		default: add(&s, p, 1);
		}
	}
	return try(&s);
}

static void entries_make_one_tree(void **state)
{
	static const struct {
		const char *what;
		int r;
	} t[] = {
		{"dE", 0},
		{"daE", 0},
		{"dabE", 0},
		{"daBE", 0},
		{"fabE", 0},
		{"faBbE", 0},
		{"fabcE", 0},
		{"fabCE", -EBADMSG},
		{"faBE", 0},
		{"fbE", 0},
		{"dab", -EBADMSG},
		{"d", -EBADMSG},
		{"dX", -EBADMSG},
		{"daEE", -EBADMSG},
		{"dABE", -EBADMSG},
		{"dBAE", -EBADMSG},
		{"daBAE", -EBADMSG},
		{"dabBE", -EBADMSG},
		{"fBE", -EBADMSG},
		{"da2E", -EBADMSG},
		{"da=E", -EBADMSG},
		{"da/E", -EBADMSG},
		{"da.E", -EBADMSG},
		{"da0E", -EBADMSG},
		{"darE", -EBADMSG},
		{"dmE", -EBADMSG},
		{"d?E", -EBADMSG},
		{"fbAE", -EBADMSG},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		if (try_entries(t[i].what) != t[i].r)
			fail_msg("%s: %d", t[i].what, try_entries(t[i].what));
}

static void inodes_are_checked(void **state)
{
	static const struct {
		uint64_t id, size;
		uint32_t mode, nsec;
	} bad[] = {
		{0, 0, DIR, 0},
		{ID(2), 0, 0, 0},
		{ID(2), 0, DIR | 010000000, 0},
		{ID(2), 0, S_IFREG | S_IFLNK, 0},
		{ID(2), 0, DIR, 1000000000},
		{ID(2), 0, S_IFLNK | 0777, 0},
		{ID(2), 4096, S_IFLNK | 0777, 0},
		{ID(2), UINT64_MAX, FILE_, 0},
		{FSB_MAX_ID, 0, DIR, 0},
		{FSB_MAX_ID | ID(2), 0, DIR, 0},
		{UINT64_C(7) << MEM_SLOT_BITS, 0, DIR, 0},
		{FSB_ROOT, 0, FILE_, 0},
		{ID(1), 0, DIR, 0},
	};
	static struct made s;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		head(&s, 1);
		inode(&s, bad[i].id, bad[i].mode, bad[i].size, bad[i].nsec);
		add32(&s, 0);
		add(&s, "E", 1);
		if (try(&s) != -EBADMSG)
			fail_msg("case %zu: %d", i, try(&s));
	}
	tree(&s, ID(2), DIR, ID(2), DIR); /* twice the same */
	add(&s, "E", 1);
	assert_int_equal(try(&s), -EBADMSG);
	tree(&s, ID(2), DIR, ID(2) + (1u << MEM_SLOT_BITS), DIR); /* or the same slot */
	add(&s, "E", 1);
	assert_int_equal(try(&s), -EBADMSG);
	head(&s, UINT64_MAX);
	assert_int_equal(try(&s), -EBADMSG);
	head(&s, 0);
	assert_int_equal(try(&s), -EBADMSG);
	head(&s, 1);
	s.p[8]++;
	assert_int_equal(try(&s), -EPROTONOSUPPORT);
	head(&s, 1);
	s.p[0]++;
	assert_int_equal(try(&s), -EBADMSG);
	head(&s, 1);
	s.p[22] = 0xff; /* the last id counter */
	assert_int_equal(try(&s), -EBADMSG);
}

static void extents_are_checked(void **state)
{
	static const struct {
		uint64_t first;
		uint32_t pages, unwritten;
		int r;
	} t[] = {
		{0, 1, 0, 0},
		{1, 1, 0, 0},
		{0, 2, 0, 0},
		{2, 1, 0, -EBADMSG},
		{1, 2, 0, -EBADMSG},
		{2, 2, 1, 0},
		{0, 64, 1, 0},
		{0, 65, 1, -EBADMSG},
		{63, 2, 1, -EBADMSG},
		{0, 1, 2, -EBADMSG},
		{UINT64_MAX, 1, 1, -EBADMSG},
		{INT64_MAX / 4096, 1, 1, -EBADMSG},
		{INT64_MAX / 4096 - 64, 1, 1, 0},
		{0, UINT32_MAX, 1, -EBADMSG},
	};
	static struct made s;

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		head(&s, 2);
		inode(&s, FSB_ROOT, DIR, 0, 0);
		inode(&s, ID(2), FILE_, 5000, 0);
		extent(&s, t[i].pages, t[i].unwritten, t[i].first);
		add32(&s, 0);
		add(&s, "E", 1);
		if (try(&s) != t[i].r)
			fail_msg("case %zu: %d", i, try(&s));
	}
	head(&s, 2);
	inode(&s, FSB_ROOT, DIR, 0, 0);
	inode(&s, ID(2), FILE_, 5000, 0);
	extent(&s, 2, 0, 0);
	extent(&s, 1, 1, 1); /* a page twice */
	add32(&s, 0);
	add(&s, "E", 1);
	assert_int_equal(try(&s), -EBADMSG);
}

/* Bytes past the end of a file would show when it grows. */
static void no_bytes_past_the_end(void **state)
{
	static struct made s;
	struct fsb_setattr grow = {.valid = FATTR_SIZE, .size = 20};
	struct mem *m = start(MEM_MIN_BYTES);
	char buf[20];

	head(&s, 2);
	inode(&s, FSB_ROOT, DIR, 0, 0);
	inode(&s, ID(2), FILE_, 10, 0);
	extent(&s, 1, 0, 0);
	memset(s.p + s.n - MEM_PAGE, 'x', MEM_PAGE);
	add32(&s, 0);
	entry(&s, FSB_ROOT, ID(2), 1, "f");
	add(&s, "E", 1);
	assert_int_equal(mem_load_bytes(m, s.p, s.n), 0);
	assert_int_equal(fx_setattr(&m->fsb, "f", &grow), 0);
	assert_int_equal(fx_read(&m->fsb, "f", buf, 20, 0), 20);
	assert_memory_equal(buf, "xxxxxxxxxx\0\0\0\0\0\0\0\0\0\0", 20);
	stop(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back_whole),
		cmocka_unit_test(needs_an_empty_one_of_its_size),
		cmocka_unit_test(damaged_streams),
		cmocka_unit_test(entries_make_one_tree),
		cmocka_unit_test(inodes_are_checked),
		cmocka_unit_test(extents_are_checked),
		cmocka_unit_test(no_bytes_past_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
