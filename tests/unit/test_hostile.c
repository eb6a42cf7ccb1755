// SPDX-License-Identifier: Apache-2.0
// Images made to do harm: each is refused with a sentence and leaves nothing, or stays inside.
#include "fs/image/import.h"
#include "fs/image/index.h"
#include "fs/image/sha.h"
#include "fs/image/unzip.h"
#include "tests/unit/tarmake.h"
#include "tests/unit/tmpdir.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <zstd.h>
#include <cmocka.h>

#define MAX_BYTES  (64u << 20)
#define MAX_INODES 20000

static int store_fd;

static int setup(void **state)
{
	if (tmpdir_setup(state) < 0 || mkdirat(dir_fd, "store", 0700) < 0)
		return -1;
	store_fd = openat(dir_fd, "store", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return store_fd < 0;
}

static int teardown(void **state)
{
	close(store_fd);
	return tmpdir_teardown(state);
}

/* ---- layers */

static char big[3 << 20];

static void pax_n(struct msb_str *s, const char *key, char fill, size_t n)
{
	static char rec[3 << 20];
	const char *p = rec;
	size_t k = strlen(key);

	memcpy(rec, key, k);
	memset(rec + k, fill, n);
	n += k;
	tar_pax_n(s, 'x', &p, &n, 1);
}

static void dotdot(struct msb_str *s)
{
	tar_file(s, "../../etc/passwd", "x", 1);
}

static void dotdot_inside(struct msb_str *s)
{
	tar_file(s, "a/../../b", "x", 1);
}

static void absolute(struct msb_str *s)
{
	tar_file(s, "//etc/passwd", "x", 1);
}

static void symlinked_parent(struct msb_str *s)
{
	tar_header(s, "out", '2', "../../../../../..", 0777, 0);
	tar_header(s, "abs", '2', "/etc", 0777, 0);
	tar_file(s, "out/here", "x", 1);
	tar_file(s, "abs/shadow", "x", 1);
}

static void symlink_loop(struct msb_str *s)
{
	tar_header(s, "a", '2', "b", 0777, 0);
	tar_header(s, "b", '2', "a", 0777, 0);
	tar_file(s, "a/x", "x", 1);
}

/* Each step doubles what is left to walk. */
static void symlink_bomb(struct msb_str *s)
{
	char name[8], target[128];

	tar_header(s, "l0", '5', NULL, 0755, 0);
	for (int k = 1; k < 40; k++) {
		(void)snprintf(name, sizeof(name), "l%d", k);
		(void)snprintf(target, sizeof(target), "/l%d/../l%d/../l%d", k - 1, k - 1, k - 1);
		tar_header(s, name, '2', target, 0777, 0);
	}
	tar_file(s, "l39/x", "x", 1);
}

static void hardlink_out(struct msb_str *s)
{
	tar_header(s, "passwd", '1', "/etc/passwd", 0644, 0);
}

static void hardlink_dotdot(struct msb_str *s)
{
	tar_file(s, "f", "x", 1);
	tar_header(s, "g", '1', "../f", 0644, 0);
}

static void hardlink_dir(struct msb_str *s)
{
	tar_header(s, "d", '5', NULL, 0755, 0);
	tar_header(s, "d/e", '1', "d", 0755, 0);
}

static void hardlinks(struct msb_str *s)
{
	char name[16];

	tar_file(s, "f", big, 5000);
	for (int k = 0; k < 10000; k++) {
		(void)snprintf(name, sizeof(name), "h%d", k);
		tar_header(s, name, '1', "f", 0644, 0);
	}
}

static void devices(struct msb_str *s)
{
	tar_header(s, "null", '3', NULL, 0666, 0);
	tar_header(s, "disk", '4', NULL, 0666, 0);
	tar_header(s, "pipe", '6', NULL, 0666, 0);
}

static void setid(struct msb_str *s)
{
	tar_header(s, "su", '0', NULL, 06755, 0);
}

static void entries_too_many(struct msb_str *s)
{
	char name[16];

	for (int k = 0; k <= MAX_INODES; k++) {
		(void)snprintf(name, sizeof(name), "f%d", k);
		tar_header(s, name, '0', NULL, 0644, 0);
	}
}

static void entries_of_one_name(struct msb_str *s)
{
	for (int k = 0; k <= MAX_INODES; k++)
		tar_header(s, "f", '0', NULL, 0644, 0);
}

static void sparse_star(struct msb_str *s)
{
	tar_header(s, "s", 'S', NULL, 0644, 512);
	tar_bytes(s, big, 512);
}

static void sparse_huge(struct msb_str *s)
{
	tar_pax(s, "GNU.sparse.realsize=1099511627776");
	tar_header(s, "s", '0', NULL, 0644, 0);
}

/* None is too large, all are. */
static void sparse_often(struct msb_str *s)
{
	for (int k = 0; k < 9; k++) {
		tar_pax(s, "GNU.sparse.realsize=8000000");
		tar_header(s, "s", '0', NULL, 0644, 0);
	}
}

static void sparse_most(struct msb_str *s)
{
	tar_pax(s, "GNU.sparse.realsize=67000000");
	tar_header(s, "s", '0', NULL, 0644, 0);
}

static void sparse_short(struct msb_str *s)
{
	tar_pax(s, "GNU.sparse.realsize=1000");
	tar_file(s, "s", "x", 1);
}

/* An old map that goes on and says nothing. */
static void sparse_map(struct msb_str *s)
{
	tar_header(s, "s", 'S', NULL, 0644, 0);
	char *h = s->buf + s->len - 512, block[512] = {0};

	memcpy(h + 257, "ustar  ", 8);
	memset(h + 329, 0, 16);
	h[482] = 1;
	memcpy(h + 483, "00000000010", 12);
	tar_sum(h);
	block[504] = 1;
	for (int k = 0; k < 200000; k++)
		msb_str_add(s, block, sizeof(block));
}

static void huge_cut(struct msb_str *s)
{
	tar_pax(s, "size=1099511627776");
	tar_header(s, "s", '0', NULL, 0644, 0);
	tar_bytes(s, big, 4096);
}

static void huge_size(struct msb_str *s)
{
	tar_pax(s, "size=18446744073709551615");
	tar_header(s, "s", '0', NULL, 0644, 0);
}

static void zeros(struct msb_str *s)
{
	tar_header(s, "z", '0', NULL, 0644, 48u << 20);
	for (int k = 0; k < 48; k++)
		msb_str_add(s, memset(big, 0, 1 << 20), 1 << 20);
}

static void deep(struct msb_str *s)
{
	_cleanup_str_ struct msb_str p = MSB_STR_INIT;

	msb_str_adds(&p, "path=");
	for (int k = 0; k <= IMG_MAX_DEPTH; k++)
		msb_str_adds(&p, "d/");
	tar_pax(s, p.buf);
	tar_header(s, "x", '5', NULL, 0755, 0);
}

static void long_name(struct msb_str *s)
{
	pax_n(s, "path=", 'n', 256);
	tar_file(s, "x", "x", 1);
}

static void long_path(struct msb_str *s)
{
	pax_n(s, "path=", '/', 5000);
	tar_file(s, "x", "x", 1);
}

static void long_gnu(struct msb_str *s)
{
	memset(big, 'n', 100000);
	tar_header(s, "././@LongLink", 'L', NULL, 0, 100000);
	tar_bytes(s, big, 100000);
	tar_file(s, "x", "x", 1);
}

static void long_target(struct msb_str *s)
{
	pax_n(s, "linkpath=", 't', 4096);
	tar_header(s, "l", '2', "x", 0777, 0);
}

static void duplicates(struct msb_str *s)
{
	tar_file(s, "x", "1", 1);
	tar_header(s, "x", '5', NULL, 0755, 0);
	tar_file(s, "x/y", "2", 1);
	tar_header(s, "x", '2', "/etc/passwd", 0777, 0);
	tar_file(s, "x", "last", 4);
}

static void bad_utf8(struct msb_str *s)
{
	tar_file(s, "\xff\xfe\x80", "x", 1);
	tar_file(s, "new\nline\033[2J", "x", 1);
}

static void cases(struct msb_str *s)
{
	tar_file(s, "README", "1", 1);
	tar_file(s, "readme", "2", 1);
	tar_file(s, "Readme", "3", 1);
}

static void pax_huge(struct msb_str *s)
{
	pax_n(s, "comment=", 'c', 2 << 20);
	tar_file(s, "x", "x", 1);
}

static void pax_lies(struct msb_str *s)
{
	static const char body[] = "999999999 path=x\n";

	tar_header(s, "p", 'x', NULL, 0644, sizeof(body) - 1);
	tar_bytes(s, body, sizeof(body) - 1);
	tar_file(s, "x", "x", 1);
}

static void pax_nul(struct msb_str *s)
{
	const char *rec = "path=a\0b";
	size_t n = 8;

	tar_pax_n(s, 'x', &rec, &n, 1);
	tar_file(s, "x", "x", 1);
}

static void pax_xattrs(struct msb_str *s)
{
	static char text[300][40];
	const char *rec[300];
	size_t lens[300];

	for (int k = 0; k < 300; k++) {
		lens[k] = (size_t)snprintf(text[k], sizeof(text[k]), "SCHILY.xattr.user.%d=1", k);
		rec[k] = text[k];
	}
	tar_pax_n(s, 'x', rec, lens, 300);
	tar_file(s, "x", "x", 1);
}

static void pax_xattr_size(struct msb_str *s)
{
	pax_n(s, "SCHILY.xattr.user.x=", 'v', 70000);
	tar_file(s, "x", "x", 1);
}

static void pax_id(struct msb_str *s)
{
	tar_pax(s, "uid=4294967296");
	tar_file(s, "x", "x", 1);
}

static void pax_time(struct msb_str *s)
{
	tar_pax(s, "mtime=-99999999999.5");
	tar_file(s, "x", "x", 1);
}

/* An extended header for nothing, again and again. */
static void pax_only(struct msb_str *s)
{
	for (int k = 0; k < 1000; k++)
		tar_pax(s, "path=x");
}

static void whiteout_root(struct msb_str *s)
{
	tar_file(s, ".wh..", "", 0);
}

static void whiteout_up(struct msb_str *s)
{
	tar_file(s, "a/.wh...", "", 0);
}

static void whiteout_none(struct msb_str *s)
{
	tar_file(s, ".wh.", "", 0);
}

static void whiteout_out(struct msb_str *s)
{
	tar_file(s, "../.wh.store", "", 0);
}

static void whiteout_link(struct msb_str *s)
{
	tar_header(s, "l", '2', "/", 0777, 0);
	tar_file(s, "keep", "x", 1);
	tar_file(s, "l/.wh.keep", "", 0); /* of this layer: stays */
	tar_file(s, "l/.wh..wh..opq", "", 0);
	tar_header(s, ".wh.keep", '2', "/etc", 0777, 0);
	tar_file(s, ".wh.big", big, 100000); /* with contents */
}

static void not_a_tar(struct msb_str *s)
{
	memset(big, 'z', 100000);
	msb_str_add(s, big, 100000);
}

static void odd_type(struct msb_str *s)
{
	tar_header(s, "x", 'Z', NULL, 0644, 0);
}

static void cut_header(struct msb_str *s)
{
	tar_file(s, "x", "x", 1);
	s->len -= 700;
}

static void cut_data(struct msb_str *s)
{
	tar_file(s, "x", big, 5000);
	s->len -= 1000;
}

/* ---- how a layer is packed, and what is wrong with that */

enum pack {
	TAR,
	GZIP,
	ZSTD,
	GZIP_BOMB,
	ZSTD_BOMB,
	ZSTD_WINDOW,
	GZIP_CUT,
	ZSTD_CUT,
	GZIP_TWICE,
	WRONG_ID
};

static void gzip(const void *p, size_t n, struct msb_str *out)
{
	_cleanup_free_ char *buf = malloc(n + 100000);
	struct isal_zstream z;

	assert_non_null(buf);
	isal_deflate_stateless_init(&z);
	z.gzip_flag = IGZIP_GZIP;
	z.end_of_stream = 1;
	z.next_in = (uint8_t *)(uintptr_t)p;
	z.avail_in = (uint32_t)n;
	z.next_out = (uint8_t *)buf;
	z.avail_out = (uint32_t)n + 100000;
	assert_int_equal(isal_deflate_stateless(&z), COMP_OK);
	msb_str_add(out, buf, z.total_out);
}

static void zstd(const void *p, size_t n, int window_log, struct msb_str *out)
{
	_cleanup_free_ char *buf = malloc(ZSTD_compressBound(n));
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t r;

	assert_non_null(buf);
	if (window_log) { /* the size is not said: then the window is what it says */
		(void)ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log);
	}
	ZSTD_inBuffer in = {p, n, 0};
	ZSTD_outBuffer to = {buf, ZSTD_compressBound(n), 0};
	if (window_log)
		(void)ZSTD_compressStream2(c, &to, &in, ZSTD_e_continue);
	r = ZSTD_compressStream2(c, &to, &in, ZSTD_e_end);
	assert_int_equal(r, 0);
	ZSTD_freeCCtx(c);
	msb_str_add(out, buf, to.pos);
}

static void squeeze(enum pack how, const struct msb_str *tar, struct msb_str *out)
{
	_cleanup_str_ struct msb_str once = MSB_STR_INIT;

	memset(big, 0, sizeof(big));
	switch (how) {
	case TAR:
	case WRONG_ID: msb_str_add(out, tar->buf, tar->len); break;
	case GZIP:
	case GZIP_CUT: gzip(tar->buf, tar->len, out); break;
	case ZSTD:
	case ZSTD_CUT: zstd(tar->buf, tar->len, 0, out); break;
	case ZSTD_WINDOW: zstd(tar->buf, tar->len, IMG_ZSTD_WINDOW_LOG + 1, out); break;
	case GZIP_BOMB:
	case ZSTD_BOMB: /* the file of the header goes on for gigabytes of zeros */
		msb_str_add(&once, tar->buf, tar->len);
		(how == GZIP_BOMB ? gzip(once.buf, once.len, out)
				  : zstd(once.buf, once.len, 0, out));
		for (int k = 0; k < 1500; k++)
			(how == GZIP_BOMB ? gzip(big, sizeof(big), out)
					  : zstd(big, sizeof(big), 0, out));
		break;
	case GZIP_TWICE:
		gzip(tar->buf, tar->len, &once);
		gzip(once.buf, once.len, out);
		break;
	}
	if (how == GZIP_CUT || how == ZSTD_CUT)
		out->len -= 6;
}

static void bomb(struct msb_str *s)
{
	tar_header(s, "bomb", '0', NULL, 0644, 1ull << 33);
}

static void plain(struct msb_str *s)
{
	tar_file(s, "x", "x", 1);
	tar_file(s, "y", big, 5000);
}

/* ---- the table */

static const struct row {
	const char *name;
	void (*make)(struct msb_str *);
	enum pack how;
	int want;
	const char *says; /* refused: in the sentence; contained: a path that is there */
	uint32_t mode;	  /* of it, with its type */
} rows[] = {
	{"dotdot", dotdot, TAR, -EBADMSG, "etc/passwd", 0},
	{"dotdot inside", dotdot_inside, TAR, -EBADMSG, "..", 0},
	{"absolute", absolute, TAR, 0, "etc/passwd", S_IFREG | 0644},
	{"symlinked parent", symlinked_parent, TAR, 0, "here", S_IFREG | 0644},
	{"symlinked parent", symlinked_parent, TAR, 0, "etc/shadow", S_IFREG | 0644},
	{"symlink loop", symlink_loop, TAR, -EBADMSG, "too many symbolic links", 0},
	{"symlink bomb", symlink_bomb, TAR, -EBADMSG, "too many symbolic links", 0},
	{"hard link out", hardlink_out, TAR, -EBADMSG, "does not hold", 0},
	{"hard link up", hardlink_dotdot, TAR, -EBADMSG, "..", 0},
	{"hard link to a directory", hardlink_dir, TAR, -EBADMSG, "to a directory", 0},
	{"hard links", hardlinks, GZIP, 0, "h9999", S_IFREG | 0644},
	{"devices", devices, TAR, 0, "null", S_IFCHR | 0666},
	{"devices", devices, TAR, 0, "disk", S_IFBLK | 0666},
	{"devices", devices, TAR, 0, "pipe", S_IFIFO | 0666},
	{"set-id", setid, TAR, 0, "su", S_IFREG | 06755},
	{"entries", entries_too_many, GZIP, -E2BIG, "too many files", 0},
	{"entries of one name", entries_of_one_name, ZSTD, -E2BIG, "too many files", 0},
	{"sparse of star", sparse_star, TAR, -EOPNOTSUPP, "sparse", 0},
	{"sparse: 1 TiB", sparse_huge, TAR, -E2BIG, "unpacks to more than", 0},
	{"sparse: too much", sparse_often, TAR, -E2BIG, "unpacks to more than", 0},
	{"sparse: 64 MB", sparse_most, TAR, 0, "s", S_IFREG | 0644},
	{"sparse: less comes", sparse_short, TAR, -EBADMSG, "map says", 0},
	{"sparse: a map without end", sparse_map, GZIP, -E2BIG, "unpacks to more than", 0},
	{"1 TiB that ends", huge_cut, TAR, -EBADMSG, "middle of an entry", 0},
	{"a size that is none", huge_size, TAR, -EBADMSG, "damaged", 0},
	{"zeros", zeros, ZSTD, 0, "z", S_IFREG | 0644},
	{"deep", deep, TAR, -E2BIG, "too deep", 0},
	{"long name", long_name, TAR, -E2BIG, "longer than 255", 0},
	{"long path", long_path, TAR, -E2BIG, "too long", 0},
	{"long path of GNU", long_gnu, TAR, -E2BIG, "too long", 0},
	{"long target", long_target, TAR, -E2BIG, "too long", 0},
	{"duplicates", duplicates, TAR, 0, "x", S_IFREG | 0644},
	{"bad UTF-8", bad_utf8, TAR, 0, "\xff\xfe\x80", S_IFREG | 0644},
	{"control characters", bad_utf8, TAR, 0, "new\nline\033[2J", S_IFREG | 0644},
	{"case", cases, TAR, 0, "readme", S_IFREG | 0644},
	{"case", cases, TAR, 0, "README", S_IFREG | 0644},
	{"pax: huge", pax_huge, GZIP, -E2BIG, "too long", 0},
	{"pax: lies", pax_lies, TAR, -EBADMSG, "damaged", 0},
	{"pax: NUL", pax_nul, TAR, -EBADMSG, "damaged", 0},
	{"pax: attributes", pax_xattrs, TAR, -E2BIG, "too long", 0},
	{"pax: attribute", pax_xattr_size, TAR, -E2BIG, "too large", 0},
	{"pax: owner", pax_id, TAR, -EBADMSG, "damaged", 0},
	{"pax: time", pax_time, TAR, 0, "x", S_IFREG | 0644},
	{"pax: nothing else", pax_only, GZIP, -EBADMSG, "middle of an entry", 0},
	{"whiteout of the root", whiteout_root, TAR, -EBADMSG, ".wh..", 0},
	{"whiteout of the parent", whiteout_up, TAR, -EBADMSG, ".wh...", 0},
	{"whiteout of nothing", whiteout_none, TAR, -EBADMSG, ".wh.", 0},
	{"whiteout outside", whiteout_out, TAR, -EBADMSG, "..", 0},
	{"whiteout through a link", whiteout_link, TAR, 0, "keep", S_IFREG | 0644},
	{"no tar", not_a_tar, TAR, -EBADMSG, "damaged tar", 0},
	{"odd type", odd_type, TAR, -EOPNOTSUPP, "'Z'", 0},
	{"cut in a header", cut_header, TAR, -EBADMSG, "middle of an entry", 0},
	{"cut in a file", cut_data, TAR, -EBADMSG, "middle of an entry", 0},
	{"gzip bomb", bomb, GZIP_BOMB, -E2BIG, "unpacks to more than", 0},
	{"zstd bomb", bomb, ZSTD_BOMB, -E2BIG, "unpacks to more than", 0},
	{"zstd window", plain, ZSTD_WINDOW, -E2BIG, "134217728 bytes", 0},
	{"cut gzip", plain, GZIP_CUT, -EBADMSG, "too early", 0},
	{"cut zstd", plain, ZSTD_CUT, -EBADMSG, "too early", 0},
	{"gzip in gzip", plain, GZIP_TWICE, -EBADMSG, "middle of an entry", 0},
	{"wrong digest", plain, WRONG_ID, -EBADMSG, "unpacks to", 0},
	{"plain", plain, ZSTD, 0, "y", S_IFREG | 0644},
};

/* ---- */

static size_t entries(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t n = 0;

	while (d && readdir(d))
		n++;
	return d ? n - 2 : 0;
}

static void nothing_left(const struct row *w)
{
	for (const char **p = (const char *[]){"images", "layers", "packs", "blobs", "tmp", NULL};
		*p; p++)
		if (entries(store_fd, *p))
			fail_msg("%s: something is left in %s", w->name, *p);
	assert_int_equal(entries(dir_fd, "."), 1); /* and nothing came beside the store */
}

static int import(const struct row *w, struct img_imported *got, struct msb_err *e)
{
	static const struct img_import_opts opts = {
		.max_bytes = MAX_BYTES, .max_inodes = MAX_INODES};
	static const char list[] = "[{\"Config\":\"c\",\"Layers\":[\"low\",\"l\"]}]";
	_cleanup_str_ struct msb_str low = MSB_STR_INIT, tar = MSB_STR_INIT, packed = MSB_STR_INIT,
				     config = MSB_STR_INIT, all = MSB_STR_INIT;
	_cleanup_close_ int fd = memfd_create("image", MFD_CLOEXEC);
	unsigned char raw[32];
	struct img_source *src;
	struct img_store *st;
	char hex[2][65];
	int r;

	tar_file(&low, "low", "x", 1); /* a good layer below */
	tar_end(&low);
	w->make(&tar);
	if (w->how != GZIP_BOMB && w->how != ZSTD_BOMB && w->make != cut_header &&
		w->make != cut_data && w->make != huge_cut && w->make != pax_only)
		tar_end(&tar);
	squeeze(w->how, &tar, &packed);
	(void)EVP_Digest(low.buf, low.len, raw, NULL, EVP_sha256(), NULL);
	msb_hex(raw, 32, hex[0]);
	(void)EVP_Digest(tar.buf, w->how == WRONG_ID ? 1 : tar.len, raw, NULL, EVP_sha256(), NULL);
	msb_hex(raw, 32, hex[1]);
	msb_str_addf(&config,
		"{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"diff_ids\":"
		"[\"sha256:%s\",\"sha256:%s\"]}}",
		hex[0], hex[1]);
	tar_file(&all, "c", config.buf, config.len);
	tar_file(&all, "manifest.json", list, strlen(list));
	tar_file(&all, "low", low.buf, low.len);
	tar_file(&all, "l", packed.buf, packed.len);
	tar_end(&all);
	assert_int_equal(msb_write_full(fd, all.buf, all.len), 0);
	assert_int_equal(img_source_open(fd, &src, e), 0);
	assert_int_equal(img_store_open(store_fd, &st, e), 0);
	r = img_import_run(src, st, &opts, got, e);
	img_store_close(st);
	img_source_close(src);
	return r;
}

static void contained(const struct row *w, const char *digest)
{
	struct msb_err e = {0};
	struct img_index *ix;
	struct img_attr a;
	char path[128];
	uint64_t nid;
	int fd;

	(void)snprintf(path, sizeof(path), "images/%s/index", digest);
	fd = openat(store_fd, path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(img_index_open(fd, &ix, &e), 0);
	close(fd);
	nid = img_index_root(ix);
	for (const char *p = w->says; *p;) {
		size_t n = strcspn(p, "/");

		if (img_index_lookup(ix, nid, p, n, &nid) < 0)
			fail_msg("%s: no %s", w->name, w->says);
		p += n + (p[n] == '/');
	}
	assert_int_equal(img_index_getattr(ix, nid, &a), 0);
	assert_int_equal(a.mode, w->mode);
	if (S_ISCHR(a.mode) || S_ISBLK(a.mode))
		assert_int_equal(a.rdev, makedev(1, 3));
	img_index_close(ix);
}

/* What the store takes on disk. */
static uint64_t packs_bytes(void)
{
	int fd = openat(store_fd, "packs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fdopendir(fd);
	const struct dirent *de;
	uint64_t n = 0;
	struct stat st;

	assert_non_null(d);
	while ((de = readdir(d)))
		if (fstatat(fd, de->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
			n += (uint64_t)st.st_blocks * 512;
	return n;
}

static void each(void **state)
{
	for (const struct row *w = rows; w < rows + ARRAY_LEN(rows); w++) {
		struct img_imported got = {0};
		struct msb_err e = {0};
		int r = import(w, &got, &e);

		if (r != w->want || e.code != -r)
			fail_msg("%s: %d %s", w->name, r, e.msg);
		if (r < 0) {
			if (!strstr(e.msg, w->says) || !strstr(e.msg, "layer 2 of 2"))
				fail_msg("%s: %s", w->name, e.msg);
			for (const char *p = e.msg; *p; p++)
				assert_true((unsigned char)*p >= ' ');
		} else {
			contained(w, got.digest);
			assert_true(packs_bytes() < 1 << 20);
			assert_int_equal(img_store_gc(store_fd, NULL, 0, 0, &e), 0);
		}
		nothing_left(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each, setup, teardown),
	};

	return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
