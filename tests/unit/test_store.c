// SPDX-License-Identifier: Apache-2.0
// fs/image/store: same bytes once, and only the same; images appear whole; what is left over goes.
#include "fs/image/index.h"
#include "fs/image/store.h"
#include "tests/unit/tmpdir.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>

#define DIGEST_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct img_store *open_store(void)
{
	struct msb_err e = {0};
	struct img_store *s;

	assert_int_equal(img_store_open(dir_fd, &s, &e), 0);
	return s;
}

struct where {
	uint32_t pack;
	uint64_t off;
};

/* One layer being added. */
struct adding {
	struct img_store *s;
	struct img_writer *w;
	struct img_store_record rec;
	char diff_id[65];
};

static struct adding begin(struct img_store *s)
{
	static unsigned int number;
	struct adding a = {.s = s};
	struct msb_err e = {0};

	(void)snprintf(a.diff_id, sizeof(a.diff_id), "%064x", ++number);
	assert_int_equal(img_writer_new(s, &a.w, &e), 0);
	assert_int_equal(img_store_record_new(s, a.diff_id, &a.rec, &e), 0);
	return a;
}

static void give_up(struct adding *a)
{
	img_store_record_done(a->s, &a->rec);
	a->w = img_writer_free(a->w);
}

static struct where keep(struct adding *a, const void *p, size_t n, size_t step)
{
	struct msb_err e = {0};
	struct img_span span;

	img_writer_begin(a->w);
	for (size_t off = 0; off < n; off += step)
		assert_int_equal(img_writer_data(a->w, (const char *)p + off,
					 n - off < step ? n - off : step, &e),
			0);
	assert_int_equal(img_writer_end(a->w, &span, &e), 0);
	assert_int_equal(span.len, n);
	assert_int_equal(img_record_data(a->rec.w, &span, NULL, 0, &e), 0);
	return (struct where){span.pack, (uint64_t)span.blk * IMG_PACK_ALIGN};
}

static char *bytes(size_t n, unsigned int seed)
{
	char *p = malloc(n);

	assert_non_null(p);
	for (size_t k = 0; k < n; k++) {
		seed = seed * 1103515245 + 12345;
		p[k] = (char)(seed >> 16);
	}
	return p;
}

static struct img_tree *tree_of(const struct where *w, const size_t *sizes, size_t n)
{
	struct img_inode *i;
	struct img_tree *t;

	assert_int_equal(img_tree_new(100, &t), 0);
	for (size_t k = 0; k < n; k++) {
		char name = (char)('a' + k);

		assert_int_equal(img_tree_new_inode(t, S_IFREG | 0644, &i), 0);
		i->pack_id = w[k].pack;
		i->pack_off = w[k].off;
		i->size = sizes[k];
		assert_int_equal(img_tree_add(t, img_tree_root(t), &name, 1, i, 1, NULL), 0);
	}
	return t;
}

static void add_layer(struct adding *a)
{
	struct msb_err e = {0};

	assert_int_equal(img_store_add_layer(a->s, a->diff_id, a->w, &a->rec, false, &e), 0);
	give_up(a);
}

/* The image of one layer whose files lie where its record says. */
static void publish(struct adding *a, const char *digest)
{
	static const char text[] = "kind image\nsize_bytes 77\nx\n";
	char layers[256];
	struct img_store_file files[] = {{"meta", text, sizeof(text) - 1}, {"layers", layers, 0}};
	const struct img_span *v;
	struct img_record *rec;
	struct msb_err e = {0};
	struct where w[20];
	size_t sizes[20], n;
	struct img_tree *t;

	add_layer(a);
	assert_int_equal(img_store_layer(a->s, a->diff_id, &rec, &e), 0);
	v = img_record_spans(rec, &n);
	assert_true(n <= ARRAY_LEN(w));
	for (size_t k = 0; k < n; k++) {
		w[k] = (struct where){v[k].pack, (uint64_t)v[k].blk * IMG_PACK_ALIGN};
		sizes[k] = v[k].len;
	}
	t = tree_of(w, sizes, n);
	img_record_close(rec);
	files[1].n = (size_t)snprintf(
		layers, sizeof(layers), "sha256:%s sha256:%s 5 type\n", a->diff_id, DIGEST_A);
	assert_int_equal(img_store_publish(a->s, digest, t, files, 2, false, &e), 0);
	img_tree_free(t);
}

static bool there(const char *path)
{
	return faccessat(dir_fd, path, F_OK, 0) == 0;
}

static uint64_t blocks_of(const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(dir_fd, path, &st, 0), 0);
	return (uint64_t)st.st_blocks;
}

/* The file @name of an image, read through its index, is @p. */
static void check_file(const char *digest, const char *name, const char *p, size_t n)
{
	_cleanup_free_ char *got = malloc(n);
	struct msb_err e = {0};
	struct img_index *ix;
	struct img_extent x;
	char path[128];
	uint64_t nid;
	int fd;

	(void)snprintf(path, sizeof(path), "images/%s/index", digest);
	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(img_index_open(fd, &ix, &e), 0);
	close(fd);
	assert_int_equal(img_index_lookup(ix, img_index_root(ix), name, 1, &nid), 0);
	assert_int_equal(img_index_extent(ix, nid, 0, &x), 0);
	assert_int_equal(x.len, n);
	(void)snprintf(path, sizeof(path), "packs/%08x", x.pack_id);
	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(msb_pread_full(fd, got, n, x.pack_off), n);
	assert_memory_equal(got, p, n);
	close(fd);
	img_index_close(ix);
}

static size_t entries(const char *path)
{
	int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t n = 0;

	while (d && readdir(d))
		n++;
	return d ? n - 2 : 0;
}

static void spoil(const char *path, uint64_t off)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_RDWR | O_CLOEXEC);
	char c;

	assert_int_equal(msb_pread_full(fd, &c, 1, off), 1);
	c ^= 1;
	assert_int_equal(msb_pwrite_full(fd, &c, 1, off), 0);
}

static int collect_none(void)
{
	return img_store_gc(dir_fd, NULL, 0, 0, NULL);
}

static void same_bytes_once(void **state)
{
	static const size_t sizes[] = {1, 4095, 4096, 4097, 100000, IMG_STORE_BUFFER - 1,
		IMG_STORE_BUFFER, IMG_STORE_BUFFER + 1, 3 * IMG_STORE_BUFFER + 5000};
	struct img_store *s = open_store();
	struct adding a = begin(s), first;
	struct where w[ARRAY_LEN(sizes)];
	uint64_t end = 0;

	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		_cleanup_free_ char *p = bytes(sizes[k], 1);

		w[k] = keep(&a, p, sizes[k], 70000);
		assert_int_equal(w[k].off, end);
		end += (sizes[k] + 4095) / 4096 * 4096;
	}
	first = begin(s); /* another layer, before anything is published: own copies */
	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		_cleanup_free_ char *p = bytes(sizes[k], 1);

		for (size_t j = 0; j <= k; j++) { /* each again, cut otherwise */
			struct where again = keep(&first, p, sizes[j], 4001);

			assert_int_equal(again.pack, 2);
		}
	}
	give_up(&first);
	assert_false(there("packs/00000002"));
	publish(&a, DIGEST_A);
	img_store_close(s);
	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		_cleanup_free_ char *p = bytes(sizes[k], 1);
		char name = (char)('a' + k);

		check_file(DIGEST_A, &name, p, sizes[k]);
	}
	/* And by another import; its own pack then holds nothing and goes. */
	s = open_store();
	a = begin(s);
	assert_true(img_store_has(s, DIGEST_A));
	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		_cleanup_free_ char *p = bytes(sizes[k], 1);
		struct where again = keep(&a, p, sizes[k], 70000);

		assert_int_equal(again.pack, w[k].pack);
		assert_int_equal(again.off, w[k].off);
	}
	publish(&a, DIGEST_B);
	img_store_close(s);
	assert_true(there("packs/00000001"));
	assert_int_equal(entries("packs"), 2);
	assert_int_equal(entries("layers"), 2);
	assert_int_equal(entries("tmp"), 0);
}

/* What is in one layer twice is there once, wherever the first still is. */
static void same_bytes_of_a_layer(void **state)
{
	struct img_store *s = open_store();
	struct adding a = begin(s);
	_cleanup_free_ char *p = bytes(3 * IMG_STORE_BUFFER, 5);
	struct where big = keep(&a, p, 3 * IMG_STORE_BUFFER, 65536), small = keep(&a, p, 9, 9), w;

	for (int k = 0; k < 3; k++) {
		w = keep(&a, p, 3 * IMG_STORE_BUFFER, 100000);
		assert_int_equal(w.off, big.off);
		w = keep(&a, p, 9, 4);
		assert_int_equal(w.off, small.off);
		w = keep(&a, p, 10, 4);
		assert_int_equal(w.off, small.off + 4096);
	}
	publish(&a, DIGEST_A);
	img_store_close(s);
	check_file(DIGEST_A, "a", p, 3 * IMG_STORE_BUFFER);
	check_file(DIGEST_A, "k", p, 10);
}

/* A file of nothing but zeros takes no space, a hundred megabytes of it neither. */
static void zeros(void **state)
{
	size_t n = 100 * IMG_STORE_BUFFER + 77;
	_cleanup_free_ char *p = calloc(1, n);
	struct img_store *s = open_store();
	struct adding a = begin(s);

	(void)keep(&a, "first", 5, 5);
	(void)keep(&a, p, n, 1 << 20);
	(void)keep(&a, "last", 4, 4);
	publish(&a, DIGEST_A);
	img_store_close(s);
	assert_true(blocks_of("packs/00000001") * 512 < 4 * IMG_STORE_BUFFER);
	check_file(DIGEST_A, "a", "first", 5);
	check_file(DIGEST_A, "b", p, n);
	check_file(DIGEST_A, "c", "last", 4);
}

/* A pack that is large enough takes no more: a file goes into the next one whole. */
static void next_pack(void **state)
{
	_cleanup_free_ char *p = calloc(1, 1 << 20), *q = bytes(100000, 9);
	struct img_store *s = open_store();
	struct adding a = begin(s);
	struct msb_err e = {0};
	struct img_span span;
	struct where w;

	(void)keep(&a, q, 50000, 50000);
	img_writer_begin(a.w);
	for (uint64_t n = 0; n < IMG_PACK_BYTES; n += 1 << 20)
		assert_int_equal(img_writer_data(a.w, p, 1 << 20, &e), 0);
	assert_int_equal(img_writer_end(a.w, &span, &e), 0);
	assert_int_equal(img_record_data(a.rec.w, &span, NULL, 0, &e), 0);
	assert_int_equal(span.pack, 1);
	w = keep(&a, q, 100000, 4096);
	assert_int_equal(w.pack, 2);
	assert_int_equal(w.off, 0);
	w = keep(&a, q, 50000, 4096); /* what the first one has is found there */
	assert_int_equal(w.pack, 1);
	publish(&a, DIGEST_A);
	img_store_close(s);
	check_file(DIGEST_A, "a", q, 50000);
	check_file(DIGEST_A, "c", q, 100000);
	check_file(DIGEST_A, "d", q, 50000);
	assert_int_equal(entries("packs"), 4);
	assert_int_equal(collect_none(), 0);
	assert_int_equal(entries("packs"), 0);
}

/* Two at once: who publishes last uses the first one's bytes and gives its own back. */
static void both_at_once(void **state)
{
	_cleanup_free_ char *same = bytes(2000000, 1), *one = bytes(500000, 2),
			    *two = bytes(600000, 3);
	struct img_store *s1 = open_store(), *s2 = open_store();
	struct adding a = begin(s1), b = begin(s2), c = begin(s2);
	struct where w;

	(void)keep(&a, one, 500000, 65536);
	(void)keep(&a, same, 2000000, 65536);
	w = keep(&b, same, 2000000, 65536);
	assert_int_equal(w.pack, 2);
	(void)keep(&b, two, 600000, 65536);
	w = keep(&c, same, 2000000, 65536); /* and a third, of nothing else */
	assert_int_equal(w.pack, 3);
	publish(&a, DIGEST_A);
	publish(&b, DIGEST_B);
	add_layer(&c);
	img_store_close(s1);
	img_store_close(s2);
	check_file(DIGEST_A, "b", same, 2000000);
	check_file(DIGEST_B, "a", same, 2000000);
	check_file(DIGEST_B, "b", two, 600000);
	assert_true(blocks_of("packs/00000002") * 512 < 600000 + 100000);
	assert_false(there("packs/00000003"));
	/* What was given back is not in the list. */
	s1 = open_store();
	a = begin(s1);
	w = keep(&a, same, 2000000, 65536);
	assert_int_equal(w.pack, 1);
	w = keep(&a, two, 600000, 65536);
	assert_int_equal(w.pack, 2);
	give_up(&a);
	img_store_close(s1);
}

/* The same layer twice: the second goes. */
static void same_layer(void **state)
{
	_cleanup_free_ char *p = bytes(100000, 1), *q = bytes(100000, 2);
	struct img_store *s1 = open_store(), *s2 = open_store();
	struct adding a = begin(s1), b = begin(s2);

	(void)keep(&a, p, 100000, 65536);
	(void)keep(&b, q, 100000, 65536);
	memcpy(b.diff_id, a.diff_id, sizeof(b.diff_id));
	add_layer(&a);
	add_layer(&b);
	assert_int_equal(entries("layers"), 1);
	assert_false(there("packs/00000002"));
	img_store_close(s1);
	img_store_close(s2);
	assert_int_equal(entries("tmp"), 0);
}

/* A hash is a hint: what it leads to is compared, so that no image gets another one's bytes. */
static void hash_is_not_trusted(void **state)
{
	_cleanup_free_ char *p = bytes(10000, 7);
	struct img_store *s = open_store();
	struct adding a = begin(s);
	struct where w = keep(&a, p, 10000, 10000);

	assert_int_equal(w.pack, 1);
	publish(&a, DIGEST_A);
	img_store_close(s);
	spoil("packs/00000001", 9999); /* same hash in the list, other bytes */
	s = open_store();
	a = begin(s);
	w = keep(&a, p, 10000, 10000);
	assert_int_equal(w.pack, 2);
	publish(&a, DIGEST_B);
	img_store_close(s);
	check_file(DIGEST_B, "a", p, 10000);
	assert_int_equal(truncate(strcat(strcpy((char[64]){0}, dir), "/packs/00000001"), 100),
		0); /* and one that is not even there */
	s = open_store();
	a = begin(s);
	w = keep(&a, p, 10000, 10000);
	assert_int_equal(w.pack, 2);
	give_up(&a);
	img_store_close(s);
}

static void touch(const char *path)
{
	close(openat(dir_fd, path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static void leftovers(void **state)
{
	_cleanup_free_ char *p = bytes(5000, 3);
	struct img_store *s = open_store(), *other;
	struct adding a = begin(s);

	(void)keep(&a, p, 5000, 5000);
	publish(&a, DIGEST_A);
	img_store_close(s);
	s = open_store();
	a = begin(s);
	p[0]++;
	(void)keep(&a, p, 5000, 5000);
	assert_true(there("packs/00000002"));
	give_up(&a); /* not published */
	img_store_close(s);
	assert_false(there("packs/00000002"));

	/* What a kill leaves: packs with and without a list, half an image. */
	for (const char **f = (const char *[]){"packs/00000007", "packs/00000008",
		     "packs/00000008.objects", "packs/junk", "packs/00000001.tmp", NULL};
		*f; f++)
		touch(*f);
	assert_int_equal(mkdirat(dir_fd, "tmp/0123", 0700), 0);
	assert_int_equal(mkdirat(dir_fd, "tmp/0123/" DIGEST_B, 0700), 0);
	touch("tmp/0123/" DIGEST_B "/index");
	s = open_store();
	assert_false(img_store_has(s, DIGEST_B));
	assert_true(there("packs/00000001"));
	assert_true(there("packs/00000001.objects"));
	assert_true(there("images/" DIGEST_A));
	assert_int_equal(entries("packs"), 2);
	assert_int_equal(entries("tmp"), 1);
	assert_int_equal(entries("layers"), 1);

	/* Not while somebody else is there: it might be his. */
	assert_int_equal(mkdirat(dir_fd, "tmp/0124", 0700), 0);
	touch("packs/00000007");
	other = open_store();
	assert_true(there("packs/00000007"));
	img_store_close(other);
	img_store_close(s);
	s = open_store();
	img_store_close(s);
	assert_false(there("packs/00000007"));
	assert_int_equal(entries("tmp"), 0);
}

static void size_of_image(void **state)
{
	_cleanup_free_ char *p = bytes(5000, 3);
	struct img_store *s = open_store();
	struct adding a = begin(s);
	struct msb_err e = {0};
	uint64_t size;

	(void)keep(&a, p, 5000, 5000);
	publish(&a, DIGEST_A);
	assert_int_equal(img_store_size(s, DIGEST_A, &size, &e), 0);
	assert_int_equal(size, 77);
	assert_int_equal(img_store_size(s, DIGEST_B, &size, &e), -ENOENT);
	img_store_close(s);
}

static int collect(const char *const *keep_v, size_t n, uint64_t sec)
{
	struct msb_err e = {0};
	int r = img_store_gc(dir_fd, keep_v, n, sec, &e);

	if (r < 0)
		print_error("%s\n", e.msg);
	return r;
}

static void gc(void **state)
{
	static const size_t sizes[] = {1000000, 2000000};
	_cleanup_free_ char *only_a = bytes(sizes[0], 1), *both = bytes(sizes[1], 2);
	struct img_store *s = open_store();
	struct adding a = begin(s);
	struct where again;
	uint64_t before;

	(void)keep(&a, only_a, sizes[0], 65536);
	(void)keep(&a, both, sizes[1], 65536);
	publish(&a, DIGEST_A);
	a = begin(s);
	(void)keep(&a, both, sizes[1], 65536);
	publish(&a, DIGEST_B);
	img_store_close(s);
	before = blocks_of("packs/00000001");
	assert_int_equal(collect((const char *[]){DIGEST_A, DIGEST_B}, 2, 0), 0);
	assert_int_equal(blocks_of("packs/00000001"), before);
	assert_int_equal(entries("layers"), 2);
	assert_int_equal(collect((const char *[]){DIGEST_B}, 1, IMG_KEEP_PARTIAL_SEC), 0);
	assert_false(there("images/" DIGEST_A));
	assert_int_equal(entries("layers"), 1);
	check_file(DIGEST_B, "a", both, sizes[1]);
	assert_true(blocks_of("packs/00000001") * 512 < sizes[1] + 100000); /* a hole now */
	/* What went is not used again; what stayed is. */
	s = open_store();
	a = begin(s);
	again = keep(&a, both, sizes[1], 65536);
	assert_int_equal(again.pack, 1);
	again = keep(&a, only_a, sizes[0], 65536);
	assert_int_equal(again.pack, 2);
	give_up(&a);
	img_store_close(s);
	assert_int_equal(collect(NULL, 0, 0), 0);
	assert_false(there("images/" DIGEST_B));
	assert_int_equal(entries("packs"), 0);
	assert_int_equal(entries("layers"), 0);
	assert_int_equal(entries("tmp"), 0);
}

static void age(const char *path, time_t sec)
{
	const struct timespec t[2] = {{.tv_sec = time(NULL) - sec}, {.tv_sec = time(NULL) - sec}};

	assert_int_equal(utimensat(dir_fd, path, t, 0), 0);
}

/* Layers and blobs of no image: a day; of an image: as long as it is there. */
static void partial(void **state)
{
	_cleanup_free_ char *p = bytes(5000, 1), *q = bytes(6000, 2);
	struct img_store *s = open_store();
	struct adding a = begin(s), b = begin(s);
	char young[128], old[128];

	(void)keep(&a, p, 5000, 5000);
	(void)keep(&b, q, 6000, 6000);
	(void)snprintf(young, sizeof(young), "layers/%s", a.diff_id);
	(void)snprintf(old, sizeof(old), "layers/%s", b.diff_id);
	add_layer(&a);
	add_layer(&b);
	img_store_close(s);
	touch("blobs/" DIGEST_A);
	touch("blobs/" DIGEST_B ".part");
	age(young, IMG_KEEP_PARTIAL_SEC - 60);
	age(old, IMG_KEEP_PARTIAL_SEC + 60);
	age("blobs/" DIGEST_A, IMG_KEEP_PARTIAL_SEC + 60);
	assert_int_equal(collect(NULL, 0, IMG_KEEP_PARTIAL_SEC), 0);
	assert_true(there(young));
	assert_false(there(old));
	assert_true(there("packs/00000001"));
	assert_false(there("packs/00000002"));
	assert_false(there("blobs/" DIGEST_A));
	assert_true(there("blobs/" DIGEST_B ".part"));
	assert_int_equal(collect(NULL, 0, 0), 0);
	assert_int_equal(entries("layers") + entries("packs") + entries("blobs"), 0);
}

/* An artifact's blobs stay with it, and what was made from them. */
static void artifact(void **state)
{
	static const char meta[] = "kind artifact\nsize_bytes 0\n",
			  layers[] = "- sha256:" DIGEST_A " 0 text/plain\n";
	const struct img_store_file files[] = {
		{"meta", meta, sizeof(meta) - 1}, {"layers", layers, sizeof(layers) - 1}};
	struct img_store *s = open_store();
	struct msb_err e = {0};

	touch("blobs/" DIGEST_A);
	touch("blobs/" DIGEST_B);
	assert_int_equal(mkdirat(dir_fd, "disks", 0700), 0);
	touch("disks/" DIGEST_A ".raw");
	touch("disks/" DIGEST_B ".raw");
	assert_int_equal(img_store_publish(s, DIGEST_B, NULL, files, 2, false, &e), 0);
	assert_true(img_store_has(s, DIGEST_B));
	img_store_close(s);
	assert_int_equal(collect((const char *[]){DIGEST_B}, 1, 0), 0);
	assert_true(there("blobs/" DIGEST_A));
	assert_false(there("blobs/" DIGEST_B));
	assert_true(there("disks/" DIGEST_A ".raw"));
	assert_false(there("disks/" DIGEST_B ".raw"));
	assert_int_equal(collect(NULL, 0, 0), 0);
	assert_int_equal(entries("blobs") + entries("disks") + entries("images"), 0);
}

/* Beside somebody who adds only names go. */
static void gc_beside(void **state)
{
	_cleanup_free_ char *p = bytes(5000, 1), *q = bytes(7000, 2);
	struct img_store *s = open_store();
	struct adding a = begin(s), b;

	(void)keep(&a, p, 5000, 5000);
	publish(&a, DIGEST_A);
	b = begin(s);
	(void)keep(&b, p, 5000, 5000); /* lies in what is about to be nobody's */
	(void)keep(&b, q, 7000, 7000);
	assert_int_equal(collect(NULL, 0, 0), 1);
	assert_false(there("images/" DIGEST_A));
	assert_true(there("packs/00000001"));
	publish(&b, DIGEST_B);
	img_store_close(s);
	assert_int_equal(collect((const char *[]){DIGEST_B}, 1, 0), 0);
	check_file(DIGEST_B, "a", p, 5000);
	check_file(DIGEST_B, "b", q, 7000);
	assert_int_equal(entries("layers"), 1);
	assert_int_equal(entries("tmp"), 0);
}

static void forget(void **state)
{
	_cleanup_free_ char *p = bytes(5000, 1), *q = bytes(7000, 2);
	struct img_store *s = open_store(), *other;
	struct adding a = begin(s);

	(void)keep(&a, p, 5000, 5000);
	publish(&a, DIGEST_A);
	img_store_close(s);
	s = open_store();
	a = begin(s);
	(void)keep(&a, p, 5000, 5000);
	(void)keep(&a, q, 7000, 7000);
	add_layer(&a);
	other = open_store();
	img_store_forget(s); /* he might need it */
	img_store_close(s);
	assert_int_equal(entries("layers"), 2);
	img_store_close(other);
	s = open_store();
	a = begin(s);
	(void)keep(&a, "third", 5, 5);
	add_layer(&a);
	assert_int_equal(entries("layers"), 3);
	img_store_forget(s); /* what it added itself, no more */
	img_store_close(s);
	assert_int_equal(entries("layers"), 2);
	assert_int_equal(entries("packs"), 4);
	check_file(DIGEST_A, "a", p, 5000);
	/* What an image has come to need meanwhile stays. */
	s = open_store();
	a = begin(s);
	(void)keep(&a, "fourth", 6, 6);
	publish(&a, DIGEST_B);
	img_store_forget(s);
	img_store_close(s);
	assert_int_equal(entries("layers"), 3);
	check_file(DIGEST_B, "a", "fourth", 6);
}

/* A damaged image harms no other, and is never taken for garbage together with its packs. */
static void damaged_image(void **state)
{
	_cleanup_free_ char *p = bytes(5000, 3);
	struct img_store *s = open_store();
	struct adding a = begin(s);
	char record[128];
	struct where w;

	(void)keep(&a, p, 5000, 5000);
	(void)snprintf(record, sizeof(record), "layers/%s", a.diff_id);
	publish(&a, DIGEST_A);
	img_store_close(s);
	spoil("images/" DIGEST_A "/index", 1024);
	spoil(record, 100);
	s = open_store();
	assert_false(img_store_has(s, DIGEST_A));
	a = begin(s);
	w = keep(&a, p, 5000, 5000);
	assert_int_equal(w.pack, 1);
	publish(&a, DIGEST_B);
	img_store_close(s);
	/* Neither tree nor record says what it needs: all stays, and nothing is lost. */
	assert_int_equal(collect((const char *[]){DIGEST_A, DIGEST_B}, 2, 0), 0);
	assert_true(there("packs/00000001"));
	assert_true(there("images/" DIGEST_A));
	assert_true(there(record));
	assert_int_equal(collect((const char *[]){DIGEST_B}, 1, 0), 0);
	assert_false(there(record));
	check_file(DIGEST_B, "a", p, 5000);
	/* It can be made again over what is left of it. */
	spoil("images/" DIGEST_B "/index", 1024);
	s = open_store();
	a = begin(s);
	(void)keep(&a, p, 5000, 5000);
	publish(&a, DIGEST_B);
	assert_true(img_store_has(s, DIGEST_B));
	img_store_close(s);
	check_file(DIGEST_B, "a", p, 5000);
}

/* In a child, which then has no RENAME_EXCHANGE: as on a file system that has none. */
static int replace_without_exchange(
	struct img_store *s, const struct img_store_file *files, size_t nfiles)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		scmp_filter_ctx c = seccomp_init(SCMP_ACT_ALLOW);

		if (!c ||
			seccomp_rule_add(c, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(renameat2), 1,
				SCMP_A4(SCMP_CMP_MASKED_EQ, RENAME_EXCHANGE, RENAME_EXCHANGE)) <
				0 ||
			seccomp_load(c) < 0)
			_exit(2);
		_exit(img_store_publish(s, DIGEST_B, NULL, files, nfiles, true, NULL) < 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void no_exchange(void **state)
{
	static const char meta[] = "kind artifact\nsize_bytes 0\n", layers[] = "";
	const struct img_store_file files[] = {{"meta", meta, sizeof(meta) - 1},
		{"layers", layers, 0}, {"more", meta, sizeof(meta) - 1}};
	struct img_store *s = open_store();
	struct msb_err e = {0};

	assert_int_equal(img_store_publish(s, DIGEST_B, NULL, files, 2, false, &e), 0);
	assert_false(there("images/" DIGEST_B "/more"));
	assert_int_equal(replace_without_exchange(s, files, 3), 0);
	assert_true(there("images/" DIGEST_B "/more"));
	assert_true(img_store_has(s, DIGEST_B));
	assert_int_equal(entries("images"), 1);
	img_store_close(s);
}

/* The tree says what is in use where a record is lost. */
static void lost_record(void **state)
{
	_cleanup_free_ char *p = bytes(5000, 3), *q = bytes(9000, 4);
	struct img_store *s = open_store();
	struct adding a = begin(s);
	char record[128];

	(void)keep(&a, p, 5000, 5000);
	(void)keep(&a, q, 9000, 9000);
	(void)snprintf(record, sizeof(record), "layers/%s", a.diff_id);
	publish(&a, DIGEST_A);
	img_store_close(s);
	assert_int_equal(unlinkat(dir_fd, record, 0), 0);
	assert_int_equal(collect((const char *[]){DIGEST_A}, 1, 0), 0);
	check_file(DIGEST_A, "a", p, 5000);
	check_file(DIGEST_A, "b", q, 9000);
	assert_int_equal(entries("packs"), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(same_bytes_once, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(
			same_bytes_of_a_layer, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(zeros, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(next_pack, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(both_at_once, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(same_layer, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(hash_is_not_trusted, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(leftovers, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(size_of_image, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(gc, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(partial, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(artifact, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(gc_beside, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(forget, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(damaged_image, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(no_exchange, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(lost_record, tmpdir_setup, tmpdir_teardown),
	};

	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
