// SPDX-License-Identifier: Apache-2.0
// The memory backend's contents, its limits, and the memory that it gives back.
#include "fs/backends/memory/mem.h"
#include "tests/unit/bypath.h"

#include <linux/falloc.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <cmocka.h>

#define MIB (1u << 20)

static struct fsb *start(uint64_t size)
{
	struct msb_err e = {0};
	struct mem *m;

	if (mem_new(size, &m, &e) < 0)
		fail_msg("start: %s", e.msg);
	return &m->fsb;
}

static void stop(struct fsb *b)
{
	b->ops->stop(b);
}

static uint64_t used(struct fsb *b)
{
	return atomic_load(&mem_of(b)->used);
}

/* A file with one reference. */
static uint64_t make(struct fsb *b, const char *name)
{
	struct fsb_entry e;
	uint64_t fh;

	assert_int_equal(b->ops->create(b, &fx_req, FSB_ROOT, name, 0644, O_EXCL, &e, &fh), 0);
	return e.node;
}

static int64_t write_at(struct fsb *b, uint64_t node, const void *p, size_t n, uint64_t off)
{
	const struct iovec iov[2] = {{(void *)p, n / 2}, {(char *)p + n / 2, n - n / 2}};

	return b->ops->writev(b, &fx_req, node, 0, iov, 2, off, 0);
}

static int64_t read_at(struct fsb *b, uint64_t node, void *p, size_t n, uint64_t off)
{
	const struct iovec iov[3] = {{p, n / 3}, {p, 0}, {(char *)p + n / 3, n - n / 3}};

	return b->ops->readv(b, node, 0, iov, 3, off);
}

static int64_t seek(struct fsb *b, uint64_t node, uint64_t off, uint32_t whence)
{
	return b->ops->lseek(b, node, 0, off, whence);
}

static struct fuse_attr attr(struct fsb *b, uint64_t node)
{
	struct fuse_attr a;

	assert_int_equal(b->ops->getattr(b, node, 0, &a), 0);
	return a;
}

static void resize(struct fsb *b, uint64_t node, uint64_t size)
{
	const struct fsb_setattr s = {.valid = FATTR_SIZE, .size = size};
	struct fuse_attr a;

	assert_int_equal(b->ops->setattr(b, &fx_req, node, 0, &s, &a), 0);
	assert_int_equal(a.size, size);
}

static int alloc(struct fsb *b, uint64_t node, uint32_t mode, uint64_t off, uint64_t len)
{
	return b->ops->fallocate(b, &fx_req, node, 0, mode, off, len);
}

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static void holes(void **state)
{
	const uint64_t far = UINT64_C(5) << 40;
	struct fsb *b = start(64 * MIB);
	uint64_t f = make(b, "f");
	char buf[10] = {0};

	assert_int_equal(seek(b, f, 0, SEEK_DATA), -ENXIO);
	assert_int_equal(write_at(b, f, "abc", 3, far + 10), 3);
	assert_int_equal(attr(b, f).size, far + 13);
	assert_int_equal(attr(b, f).blocks, 8);
	assert_int_equal(read_at(b, f, buf, 10, far + 8), 5);
	assert_memory_equal(buf, "\0\0abc", 5);
	assert_int_equal(read_at(b, f, buf, 10, 1000), 10);
	assert_memory_equal(buf, "\0\0\0\0\0\0\0\0\0\0", 10);
	assert_int_equal(seek(b, f, 0, SEEK_DATA), far);
	assert_int_equal(seek(b, f, 0, SEEK_HOLE), 0);
	assert_int_equal(seek(b, f, far + 2, SEEK_DATA), far + 2);
	assert_int_equal(seek(b, f, far + 2, SEEK_HOLE), far + 13);
	assert_int_equal(seek(b, f, far + 13, SEEK_DATA), -ENXIO);
	assert_int_equal(write_at(b, f, "x", 1, 3 * MIB), 1);
	assert_int_equal(seek(b, f, 0, SEEK_DATA), 3 * MIB);
	assert_int_equal(seek(b, f, 3 * MIB, SEEK_HOLE), 3 * MIB + MEM_PAGE);
	assert_int_equal(seek(b, f, 3 * MIB + MEM_PAGE, SEEK_DATA), far);
	/* the last byte that a file can have, and none past it */
	assert_int_equal(write_at(b, f, "z", 1, INT64_MAX - 1), 1);
	assert_int_equal(write_at(b, f, "zz", 2, INT64_MAX - 1), -EFBIG);
	assert_int_equal(seek(b, f, far + MEM_PAGE, SEEK_DATA), INT64_MAX - 4095);
	resize(b, f, 0);
	assert_int_equal(attr(b, f).blocks, 0);
	assert_null(mem_find(mem_of(b), f)->map.root);
	stop(b);
}

static void fallocate_and_zeros(void **state)
{
	struct fsb *b = start(64 * MIB);
	uint64_t f = make(b, "f");
	char page[MEM_PAGE], buf[3 * MEM_PAGE];

	memset(page, 'x', sizeof(page));
	assert_int_equal(alloc(b, f, FALLOC_FL_KEEP_SIZE, 0, 10 * MEM_PAGE), 0);
	assert_int_equal(attr(b, f).size, 0);
	assert_int_equal(attr(b, f).blocks, 80);
	assert_int_equal(write_at(b, f, page, 100, MEM_PAGE + 50), 100);
	assert_int_equal(attr(b, f).blocks, 80);
	assert_int_equal(seek(b, f, 0, SEEK_DATA), MEM_PAGE);
	assert_int_equal(alloc(b, f, 0, 0, 2 * MEM_PAGE + 7), 0);
	assert_int_equal(attr(b, f).size, 2 * MEM_PAGE + 7);
	assert_int_equal(read_at(b, f, buf, sizeof(buf), 0), 2 * MEM_PAGE + 7);
	for (unsigned int i = 0; i < 2 * MEM_PAGE + 7; i++)
		assert_int_equal(buf[i], i >= MEM_PAGE + 50 && i < MEM_PAGE + 150 ? 'x' : 0);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(write_at(b, f, page, MEM_PAGE, i * MEM_PAGE), MEM_PAGE);
	assert_int_equal(alloc(b, f, PUNCH, 100, 2 * MEM_PAGE), 0);
	assert_int_equal(attr(b, f).blocks, 72);
	assert_int_equal(seek(b, f, 0, SEEK_HOLE), MEM_PAGE);
	assert_int_equal(alloc(b, f, PUNCH, 10, 10), 0);
	assert_int_equal(read_at(b, f, buf, sizeof(buf), 0), sizeof(buf));
	for (unsigned int i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i],
			i < 10 || (i >= 20 && i < 100) || i >= 2 * MEM_PAGE + 100 ? 'x' : 0);
	assert_int_equal(alloc(b, f, FALLOC_FL_ZERO_RANGE, 50, 4 * MEM_PAGE), 0);
	assert_int_equal(attr(b, f).size, 4 * MEM_PAGE + 50);
	assert_int_equal(attr(b, f).blocks, 80);
	assert_int_equal(seek(b, f, MEM_PAGE, SEEK_DATA), -ENXIO);
	assert_int_equal(read_at(b, f, buf, 60, 0), 60);
	assert_int_equal(buf[49], 'x');
	assert_int_equal(buf[50], 0);
	assert_int_equal(alloc(b, f, FALLOC_FL_COLLAPSE_RANGE, 0, MEM_PAGE), -EOPNOTSUPP);
	assert_int_equal(alloc(b, f, 0, INT64_MAX, 2), -EFBIG);
	assert_int_equal(alloc(b, f, 0, 0, 0), -EINVAL);
	assert_int_equal(alloc(b, FSB_ROOT, 0, 0, 1), -ENODEV);
	/* a cut leaves zeros behind it, and takes what was reserved past the end */
	assert_int_equal(write_at(b, f, page, MEM_PAGE, 0), MEM_PAGE);
	resize(b, f, 10);
	assert_int_equal(attr(b, f).blocks, 8);
	resize(b, f, 20);
	assert_int_equal(read_at(b, f, buf, 100, 0), 20);
	assert_memory_equal(buf, "xxxxxxxxxx\0\0\0\0\0\0\0\0\0\0", 20);
	stop(b);
}

static int64_t copy(
	struct fsb *b, uint64_t in, uint64_t off_in, uint64_t out, uint64_t off_out, uint64_t len)
{
	return b->ops->copy_file_range(b, &fx_req, in, 0, off_in, out, 0, off_out, len);
}

static void copies(void **state)
{
	struct fsb *b = start(64 * MIB);
	uint64_t f = make(b, "f"), g = make(b, "g");
	char page[MEM_PAGE], buf[64];

	memset(page, 'x', sizeof(page));
	assert_int_equal(write_at(b, f, page, MEM_PAGE, MIB), MEM_PAGE);
	resize(b, f, 2 * MIB);
	for (uint64_t at = 0; at < 3 * MIB; at += MEM_PAGE)
		assert_int_equal(write_at(b, g, page, MEM_PAGE, at), MEM_PAGE);
	assert_int_equal(copy(b, f, 0, g, 5, UINT64_MAX / 4), 2 * MIB);
	assert_int_equal(attr(b, g).size, 3 * MIB);
	assert_int_equal(seek(b, g, MEM_PAGE, SEEK_DATA), MIB);
	assert_int_equal(read_at(b, g, buf, 10, 0), 10);
	assert_memory_equal(buf, "xxxxx\0\0\0\0\0", 10);
	assert_int_equal(read_at(b, g, buf, 10, MIB), 10);
	assert_memory_equal(buf, "\0\0\0\0\0xxxxx", 10);
	assert_int_equal(copy(b, g, 2 * MIB + 10, f, 7 * MIB, MIB), MIB - 10); /* to the end */
	assert_int_equal(attr(b, f).size, 8 * MIB - 10);
	assert_int_equal(copy(b, g, 3 * MIB, f, 0, 10), 0);
	/* one file */
	assert_int_equal(copy(b, g, 0, g, MIB, MIB + 1), -EINVAL);
	assert_int_equal(copy(b, g, 0, g, 5 * MIB, MIB), MIB);
	assert_int_equal(attr(b, g).size, 6 * MIB);
	assert_int_equal(copy(b, g, 0, FSB_ROOT, 0, 1), -EISDIR);
	stop(b);
}

/* ---- against plain bytes */

#define FILE_BYTES 400000u
static uint64_t seed;

static uint32_t rnd(uint32_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(seed >> 33) % n;
}

struct plain {
	uint8_t bytes[FILE_BYTES];
	uint32_t size;
};

static void step(struct fsb *b, uint64_t f, struct plain *p)
{
	static uint8_t buf[FILE_BYTES];
	uint32_t off = rnd(FILE_BYTES), n = rnd(4) ? rnd(9000) : rnd(FILE_BYTES);

	n = n < FILE_BYTES - off ? n : FILE_BYTES - off;
	switch (n ? rnd(7) : 0) {
	case 0:
		resize(b, f, off);
		if (off < p->size)
			memset(p->bytes + off, 0, p->size - off);
		p->size = off;
		return;
	case 1:
		if (n > p->size || off > p->size)
			return;
		{
			uint32_t to = rnd(FILE_BYTES);
			uint32_t len = p->size - off < n ? p->size - off : n;

			if (to + len > FILE_BYTES || (to < off + len && off < to + len))
				return;
			assert_int_equal(copy(b, f, off, f, to, n), len);
			memcpy(p->bytes + to, p->bytes + off, len);
			p->size = len && to + len > p->size ? to + len : p->size;
		}
		return;
	case 2:
		assert_int_equal(alloc(b, f, PUNCH, off, n), 0);
		memset(p->bytes + off, 0, n);
		return;
	case 3:
		assert_int_equal(alloc(b, f, FALLOC_FL_ZERO_RANGE, off, n), 0);
		memset(p->bytes + off, 0, n);
		break;
	case 4: assert_int_equal(alloc(b, f, 0, off, n), 0); break;
	default:
		memset(buf, (int)rnd(256), n);
		assert_int_equal(write_at(b, f, buf, n, off), n);
		memcpy(p->bytes + off, buf, n);
	}
	p->size = off + n > p->size ? off + n : p->size;
}

static void random_contents(void **state)
{
	static uint8_t buf[FILE_BYTES];
	static struct plain p;
	struct fsb *b = start(4 * MIB);
	uint64_t f = make(b, "f"), at_first = seed;

	for (unsigned int i = 0; i < 20000; i++) {
		step(b, f, &p);
		if (read_at(b, f, buf, sizeof(buf), 0) != p.size ||
			memcmp(buf, p.bytes, p.size) != 0)
			fail_msg("seed %llu: differs after op %u", (unsigned long long)at_first, i);
	}
	stop(b);
}

/* ---- limits */

static void full_of_data(void **state)
{
	struct fsb *b = start(8 * MIB);
	uint64_t f = make(b, "f"), before = used(b), n = 0;
	static char buf[MIB];
	struct statvfs st;
	int64_t r;

	memset(buf, 'x', sizeof(buf));
	assert_int_equal(b->ops->statfs(b, FSB_ROOT, &st), 0);
	assert_int_equal(st.f_blocks, 8 * MIB / st.f_frsize);
	assert_int_equal(st.f_bfree, (8 * MIB - before) / st.f_frsize);
	while ((r = write_at(b, f, buf, sizeof(buf), n)) > 0)
		n += (uint64_t)r;
	assert_int_equal(r, -ENOSPC);
	assert_true(n > 7 * MIB && n < 8 * MIB);
	assert_int_equal(attr(b, f).size, n);
	assert_int_equal(attr(b, f).blocks, n / 512);
	assert_int_equal(b->ops->statfs(b, FSB_ROOT, &st), 0);
	assert_int_equal(st.f_bfree, 0);
	assert_int_equal(alloc(b, f, FALLOC_FL_KEEP_SIZE, n, UINT64_C(1) << 50), -ENOSPC);
	assert_int_equal(write_at(b, f, "over", 4, 100), 4); /* what has a page already */
	assert_int_equal(alloc(b, f, PUNCH, 0, MIB), 0);
	assert_int_equal(write_at(b, f, buf, MIB, 0), MIB);
	assert_int_equal(fx_rm(b, "f", false), 0);
	fx_forget(b, f);
	f = make(b, "f");
	assert_int_equal(used(b), before);
	assert_int_equal(alloc(b, f, 0, 0, 7 * MIB), 0);
	assert_int_equal(alloc(b, f, 0, 0, 9 * MIB), -ENOSPC);
	assert_int_equal(attr(b, f).size, 7 * MIB);
	assert_int_equal(attr(b, f).blocks, 7 * MIB / 512);
	stop(b);
}

/* What statfs says is available can be had, by one file, and hardly more than that. */
static void all_that_is_available(void **state)
{
	static const uint64_t size[] = {MEM_MIN_BYTES, 3 * MIB, 100 * MIB, UINT64_C(3) << 30};

	for (size_t i = 0; i < ARRAY_LEN(size); i++) {
		struct fsb *b = start(size[i]);
		uint64_t f = make(b, "f"), bytes;
		struct statvfs st;

		assert_int_equal(b->ops->statfs(b, FSB_ROOT, &st), 0);
		bytes = st.f_bavail * st.f_frsize;
		assert_true(bytes <= st.f_bfree * st.f_frsize);
		assert_true(bytes >= size[i] / 100 * 97);
		assert_int_equal(alloc(b, f, 0, 0, bytes), 0);
		assert_int_equal(attr(b, f).blocks, bytes / 512);
		assert_int_equal(b->ops->statfs(b, FSB_ROOT, &st), 0);
		assert_true(st.f_bavail <= 8);
		assert_int_equal(alloc(b, f, 0, bytes, size[i] / 50), -ENOSPC);
		stop(b);
	}
}

/* Names, links and attributes are counted too. */
static void full_of_names(void **state)
{
	struct fsb *b = start(2 * MIB);
	char name[256];
	int r, n = 0;
	struct fsb_entry e;

	assert_int_equal(fx_mk(b, "f", S_IFREG | 0644, NULL), 0);
	memset(name, 'l', sizeof(name));
	do
		(void)snprintf(name + 240, 16, "%d", n++);
	while ((r = fx_link(b, "f", name)) == 0);
	assert_int_equal(r, -ENOSPC);
	assert_true(n > 5000 && n < 10000);
	assert_int_equal(fx_mk(b, name, S_IFLNK, "target"), -ENOSPC);
	assert_int_equal(fx_mk(b, "f", S_IFREG | 0644, NULL), -EEXIST);
	(void)snprintf(name + 240, 16, "%d", 7);
	assert_int_equal(fx_walk(b, name, &e), 0);
	fx_forget(b, e.node);
	/* Where there is no room for a name, what needs none still works. */
	assert_int_equal(fx_rename(b, "f", name, 0), 0); /* one file: nothing happens */
	for (int i = 0; i < n - 1; i++) {
		(void)snprintf(name + 240, 16, "%d", i);
		assert_int_equal(fx_rm(b, name, false), 0);
	}
	assert_true(used(b) < 32768);
	stop(b);
}

static void too_many_inodes(void **state)
{
	struct fsb *b = start(MEM_MIN_BYTES);
	uint64_t most = mem_of(b)->max_nodes;
	struct statvfs st;
	char name[16];
	uint64_t n;

	assert_int_equal(most, MEM_MIN_BYTES / MEM_BYTES_PER_NODE);
	for (n = 1; n < most; n++) {
		(void)snprintf(name, sizeof(name), "%d", (int)n);
		assert_int_equal(fx_mk(b, name, S_IFREG | 0644, NULL), 0);
	}
	assert_int_equal(b->ops->statfs(b, FSB_ROOT, &st), 0);
	assert_int_equal(st.f_files, most);
	assert_int_equal(st.f_ffree, 0);
	assert_int_equal(fx_mk(b, "one", S_IFDIR | 0755, NULL), -ENOSPC);
	assert_int_equal(fx_rename(b, "1", "one", RENAME_WHITEOUT), -ENOSPC);
	assert_int_equal(fx_rm(b, "1", false), 0);
	assert_int_equal(fx_mk(b, "one", S_IFDIR | 0755, NULL), 0);
	stop(b);
}

static void too_many_links(void **state)
{
	struct fsb *b = start(64 * MIB);
	char name[16];

	assert_int_equal(fx_mk(b, "f", S_IFREG | 0644, NULL), 0);
	for (int n = 1; n < MEM_MAX_LINKS; n++) {
		(void)snprintf(name, sizeof(name), "%d", n);
		assert_int_equal(fx_link(b, "f", name), 0);
	}
	assert_int_equal(fx_link(b, "f", "more"), -EMLINK);
	stop(b);
}

static void too_deep(void **state)
{
	struct fsb *b = start(128 * MIB);
	struct fsb_entry d = {.node = FSB_ROOT}, e;
	uint64_t top = 0;

	for (int n = 0; n <= MEM_MAX_DEPTH; n++) {
		assert_int_equal(b->ops->mkdir(b, &fx_req, d.node, "d", 0755, &e), 0);
		if (top)
			fx_forget(b, d.node);
		else
			top = e.node;
		d = e;
	}
	assert_int_equal(fx_mk(b, "x", S_IFDIR | 0755, NULL), 0);
	assert_int_equal(b->ops->rename(b, &fx_req, FSB_ROOT, "x", d.node, "x", 0), -ELOOP);
	assert_int_equal(b->ops->rename(b, &fx_req, top, "d", d.node, "x", 0), -EINVAL);
	stop(b);
}

static void too_many_attributes(void **state)
{
	struct fsb *b = start(64 * MIB);
	static char value[MEM_MAX_XATTR_VALUE + 1];
	uint64_t f = make(b, "f"), before = used(b);

	assert_int_equal(
		b->ops->setxattr(b, &fx_req, f, "user.a", value, sizeof(value), 0), -E2BIG);
	for (char name[] = "user.a"; name[5] < 'd'; name[5]++)
		assert_int_equal(b->ops->setxattr(b, &fx_req, f, name, value, 65536, 0), 0);
	assert_int_equal(b->ops->setxattr(b, &fx_req, f, "user.d", value, 65536, 0), -ENOSPC);
	assert_int_equal(b->ops->setxattr(b, &fx_req, f, "user.c", value, 65536, 0), 0);
	for (char name[] = "user.a"; name[5] < 'd'; name[5]++)
		assert_int_equal(b->ops->removexattr(b, &fx_req, f, name), 0);
	assert_int_equal(used(b), before);
	stop(b);
}

static void sizes_are_bounded(void **state)
{
	struct msb_err e = {0};
	struct mem *m;

	assert_int_equal(mem_new(MEM_MIN_BYTES - 1, &m, &e), -ERANGE);
	assert_non_null(strstr(e.msg, "1 MiB at least"));
	assert_int_equal(mem_new(MEM_MAX_BYTES + 1, &m, &e), -ERANGE);
}

/* ---- memory goes back */

static uint64_t resident(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long long size, rss;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%llu %llu", &size, &rss), 2);
	fclose(f);
	return rss * MEM_PAGE;
}

static void pages_go_back(void **state)
{
	struct fsb *b = start(256 * MIB);
	uint64_t f = make(b, "f"), before = resident(), full;
	static char buf[MIB];

	memset(buf, 'x', sizeof(buf));
	for (uint64_t n = 0; n < 128; n++)
		assert_int_equal(write_at(b, f, buf, MIB, n * MIB), MIB);
	full = resident();
	assert_true(full > before + 120 * MIB);
	assert_int_equal(alloc(b, f, PUNCH, 0, 64 * MIB), 0);
	assert_true(resident() < before + 70 * MIB);
	assert_int_equal(fx_rm(b, "f", false), 0);
	assert_true(resident() > before + 50 * MIB); /* it is open */
	fx_forget(b, f);
	assert_true(resident() < before + 4 * MIB);
	stop(b);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_HEAP 0 /* the sanitizer's heap keeps what is freed */
#else
#define OWN_HEAP 1
#endif

static void heap_goes_back(void **state)
{
	struct fsb *b = start(256 * MIB);
	uint64_t before = resident(), had;
	char name[16];

	assert_int_equal(fx_mk(b, "d", S_IFDIR | 0755, NULL), 0);
	had = used(b);
	for (int n = 0; n < 100000; n++) {
		(void)snprintf(name, sizeof(name), "d/%d", n);
		assert_int_equal(fx_mk(b, name, S_IFREG | 0644, NULL), 0);
	}
	if (OWN_HEAP)
		assert_true(resident() > before + 20 * MIB);
	assert_true(resident() - before < 2 * used(b)); /* what is counted is what is taken */
	for (int n = 0; n < 100000; n++) {
		(void)snprintf(name, sizeof(name), "d/%d", n);
		assert_int_equal(fx_rm(b, name, false), 0);
	}
	/* but the table of ids, 8 bytes an inode */
	assert_true(used(b) < had + 1100000);
	if (OWN_HEAP)
		assert_true(resident() < before + 6 * MIB);
	stop(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holes),
		cmocka_unit_test(fallocate_and_zeros),
		cmocka_unit_test(copies),
		cmocka_unit_test(random_contents),
		cmocka_unit_test(full_of_data),
		cmocka_unit_test(all_that_is_available),
		cmocka_unit_test(full_of_names),
		cmocka_unit_test(too_many_inodes),
		cmocka_unit_test(too_many_links),
		cmocka_unit_test(too_deep),
		cmocka_unit_test(too_many_attributes),
		cmocka_unit_test(sizes_are_bounded),
		cmocka_unit_test(pages_go_back),
		cmocka_unit_test(heap_goes_back),
	};

	seed = (uint64_t)time(NULL);
	print_message("seed %llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
