// SPDX-License-Identifier: Apache-2.0
// A layer that is there and damaged gets its contents back in place.
#include "fs/image/build.h"
#include "fs/image/sha.h"
#include "fs/image/store_int.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define STEP (32u << 10)

/* A pack that was cut short or missing is as long again. */
static int end_aligned(int fd, uint64_t end)
{
	struct stat st;

	end += -end % IMG_PACK_ALIGN;
	if (fstat(fd, &st) < 0)
		return -errno;
	return (uint64_t)st.st_size < end && ftruncate(fd, (off_t)end) < 0 ? -errno : 0;
}

/* What is so already is left alone, holes too. */
static int put(int fd, const char *p, char *had, size_t n, uint64_t off)
{
	return msb_pread_full(fd, had, n, off) == (int64_t)n && memcmp(had, p, n) == 0
		       ? 0
		       : msb_pwrite_full(fd, p, n, off);
}

static int copy(struct img_store *s, const struct img_span *from, const struct img_span *to,
	struct msb_err *e)
{
	_cleanup_free_ char *buf = malloc(2 * STEP);
	_cleanup_close_ int in = -1, out = -1;
	char name[PACK_NAME_MAX];
	int r = 0;

	if (!buf)
		return msb_err_set(e, ENOMEM, "out of memory");
	store_pack_name(name, from->pack, "");
	in = openat(s->packs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	store_pack_name(name, to->pack, "");
	out = openat(s->packs_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (in < 0 || out < 0)
		return msb_err_set(e, errno, "pack %s: %m", name);
	r = end_aligned(out, (uint64_t)to->blk * IMG_PACK_ALIGN + to->len);
	for (uint64_t off = 0; r == 0 && off < to->len; off += STEP) {
		size_t want = to->len - off < STEP ? (size_t)(to->len - off) : STEP;
		int64_t n =
			msb_pread_full(in, buf, want, (uint64_t)from->blk * IMG_PACK_ALIGN + off);

		r = n == (int64_t)want ? put(out, buf, buf + STEP, want,
						 (uint64_t)to->blk * IMG_PACK_ALIGN + off)
				       : -EIO;
	}
	if (r == 0 && fdatasync(out) < 0)
		r = -errno;
	return r < 0 ? msb_err_set(e, -r, "cannot repair pack %s: %s", name, strerror(-r)) : 0;
}

/* What lies elsewhere than it did is not what it was there. */
static int write_over(struct img_store *s, const struct img_record *old,
	struct img_record_writer *new, bool *ret_fits, struct msb_err *e)
{
	size_t n, m;
	const struct img_span *v = img_record_spans(old, &n), *w = img_record_writer_spans(new, &m);
	int r = 0;

	*ret_fits = n == m;
	for (size_t k = 0; *ret_fits && k < n; k++)
		*ret_fits = v[k].len == w[k].len;
	for (size_t k = 0; r == 0 && *ret_fits && k < n; k++)
		if (v[k].pack != w[k].pack || v[k].blk != w[k].blk)
			r = copy(s, &w[k], &v[k], e);
	return r;
}

static int digest(void *arg, const void *p, size_t n, struct msb_err *e)
{
	(void)EVP_DigestUpdate(arg, p, n);
	return 0;
}

static bool right(const struct img_store *s, const struct img_record *rec, const char *diff_id)
{
	_cleanup_(img_sha_free) EVP_MD_CTX *sha = img_sha_new();
	char got[65];

	if (!sha || img_record_tar(rec, s->packs_fd, digest, sha, NULL) < 0)
		return false;
	img_sha_hex(sha, got);
	return strcmp(got, diff_id) == 0;
}

int img_store_repair_layer(struct img_store *s, const char *diff_id, struct img_writer *w,
	struct img_store_record *rec, struct msb_err *e)
{
	struct img_record *old;
	bool fits, whole = false;
	int r = store_writer_flush(w, e);

	if (r < 0)
		return r;
	if (img_store_layer(s, diff_id, &old, NULL) == 0) {
		r = write_over(s, old, rec->w, &fits, e);
		whole = r == 0 && fits && right(s, old, diff_id);
		img_record_close(old);
	}
	return r < 0 || whole ? r : img_store_add_layer(s, diff_id, w, rec, true, e);
}
