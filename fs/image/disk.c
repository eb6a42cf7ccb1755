// SPDX-License-Identifier: Apache-2.0
// Unpacking a mixtape's disk into the store.
#include "fs/image/disk.h"
#include "fs/image/build.h"
#include "fs/image/sha.h"
#include "fs/image/store_int.h"
#include "fs/image/unzip.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define READ_BYTES (256u << 10)
#define HOLE	   4096u /* zeros of this many bytes, at such an offset, are not written */

struct out {
	int fd;
	uint64_t n, max; /* bytes until now, and at most */
};

static bool zeros(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Bytes up to the next block's begin, or all. */
static size_t to_block(uint64_t off, size_t n)
{
	size_t k = HOLE - (size_t)(off % HOLE);

	return k < n ? k : n;
}

/* Runs of blocks that hold something are one write each. */
static int put(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct out *o = arg;
	const uint8_t *b = p;

	if (n > o->max - o->n)
		return msb_err_set(
			e, E2BIG, "it unpacks to more than %llu bytes", (unsigned long long)o->max);
	while (n) {
		size_t k = to_block(o->n, n), run = 0;
		int r;

		while (run < n && !zeros(b + run, k)) {
			run += k;
			k = to_block(o->n + run, n - run);
		}
		r = run ? msb_pwrite_full(o->fd, b, run, o->n) : 0;
		if (r < 0)
			return msb_err_set(e, -r, "cannot unpack the disk: %s", strerror(-r));
		if (!run)
			run = k;
		b += run;
		o->n += run;
		n -= run;
	}
	return 0;
}

/* Hands what the blob unpacks to to @fn. */
static int unpack(
	int blob, uint64_t size, const char *digest, img_unzip_fn fn, void *arg, struct msb_err *e)
{
	_cleanup_(img_sha_free) EVP_MD_CTX *sha = img_sha_new();
	_cleanup_free_ uint8_t *buf = malloc(READ_BYTES);
	struct img_unzip *z = NULL;
	char got[65];
	int r = sha && buf && img_unzip_new(fn, arg, &z) == 0
			? 0
			: msb_err_set(e, ENOMEM, "out of memory");

	for (uint64_t off = 0; r == 0 && off < size;) {
		size_t want = size - off < READ_BYTES ? (size_t)(size - off) : READ_BYTES;
		int64_t n = msb_pread_full(blob, buf, want, off);

		if (n != (int64_t)want) {
			r = msb_err_set(e, n < 0 ? (int)-n : EBADMSG, "cannot read it: %s",
				n < 0 ? strerror((int)-n) : "it ends too early");
			break;
		}
		(void)EVP_DigestUpdate(sha, buf, want);
		r = img_unzip_feed(z, buf, want, e);
		off += want;
	}
	if (r == 0)
		r = img_unzip_finish(z, e);
	img_unzip_free(z);
	if (r < 0)
		return r;
	img_sha_hex(sha, got);
	if (strcmp(got, digest) != 0)
		return msb_err_set(
			e, EBADMSG, "damaged: its digest is sha256:%s; pull the image again", got);
	return 0;
}

static int keep(struct img_store *s, const char *tmp, struct out *o, int dir, const char *name,
	struct msb_err *e)
{
	if (ftruncate(o->fd, (off_t)o->n) < 0 || fdatasync(o->fd) < 0)
		return msb_err_set(e, errno, "cannot store it: %m");
	if (renameat(s->tmp_fd, tmp, dir, name) < 0 || fsync(dir) < 0)
		return msb_err_set(e, errno, "cannot store it: %m");
	return 0;
}

int img_disk_unpack(struct img_store *s, const char *digest, const char *format, uint64_t max_bytes,
	struct msb_err *e)
{
	_cleanup_close_ int dir = -1, blob = -1, fd = -1;
	char name[80], tmp[80];
	struct out o;
	uint64_t size;
	int r;

	if (!store_digest_valid(digest) ||
		(strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0))
		return msb_err_set(e, EINVAL, "not a disk");
	(void)snprintf(name, sizeof(name), "%s.%s", digest, format);
	(void)snprintf(tmp, sizeof(tmp), "disk.%s", digest);
	if (mkdirat(s->fd, STORE_DISKS, 0755) < 0 && errno != EEXIST)
		return msb_err_set(e, errno, "cannot make store/" STORE_DISKS ": %m");
	dir = openat(s->fd, STORE_DISKS, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return msb_err_set(e, errno, "cannot open store/" STORE_DISKS ": %m");
	if (faccessat(dir, name, F_OK, 0) == 0)
		return 0;
	blob = img_blob_open(s, digest, &size);
	if (blob < 0)
		return msb_err_set(e, -blob, "disk sha256:%.12s: %s", digest, strerror(-blob));
	fd = openat(s->tmp_fd, tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return msb_err_set(e, errno, "cannot unpack a disk: %m");
	o = (struct out){.fd = fd, .max = max_bytes};
	r = unpack(blob, size, digest, put, &o, e);
	if (r == 0)
		r = keep(s, tmp, &o, dir, name, e);
	if (r == 0)
		return 0;
	(void)unlinkat(s->tmp_fd, tmp, 0); /* swept with the rest of tmp where it stays */
	return msb_err_wrap(e, "disk sha256:%.12s", digest);
}

/* ---- looking whether it is still so */

struct compare {
	int fd;
	uint64_t at;
	char *buf;
};

static int same(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct compare *c = arg;
	const char *b = p;

	while (n) {
		size_t k = n < READ_BYTES ? n : READ_BYTES;
		int64_t got = msb_pread_full(c->fd, c->buf, k, c->at);

		if (got != (int64_t)k || memcmp(c->buf, b, k) != 0)
			return msb_err_set(e, EBADMSG, "the disk is not what it was");
		c->at += k;
		b += k;
		n -= k;
	}
	return 0;
}

static int open_disk(const struct img_store *s, const char *digest, const char *format)
{
	char path[96];

	(void)snprintf(path, sizeof(path), STORE_DISKS "/%.64s.%s", digest, format);
	return openat(s->fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

int img_disk_verify(
	const struct img_store *s, const char *digest, const char *format, struct msb_err *e)
{
	_cleanup_close_ int fd = open_disk(s, digest, format), blob = -1;
	_cleanup_free_ char *buf = malloc(READ_BYTES);
	struct compare c = {.fd = fd, .buf = buf};
	struct stat st;
	uint64_t size;
	int r;

	if (!buf)
		return msb_err_set(e, ENOMEM, "out of memory");
	if (fd < 0)
		return errno == ENOENT ? 0 : msb_err_set(e, errno, "cannot open a disk: %m");
	blob = img_blob_open(s, digest, &size);
	if (blob < 0)
		return msb_err_set(e, -blob, "disk sha256:%.12s: %s", digest, strerror(-blob));
	r = unpack(blob, size, digest, same, &c, e);
	if (r == 0 && (fstat(fd, &st) < 0 || (uint64_t)st.st_size != c.at))
		r = msb_err_set(e, EBADMSG, "the disk has another size than it had");
	return r;
}

void img_disk_forget(const struct img_store *s, const char *digest, const char *format)
{
	char path[96];

	(void)snprintf(path, sizeof(path), STORE_DISKS "/%.64s.%s", digest, format);
	(void)unlinkat(s->fd, path, 0); /* there may be none */
}
