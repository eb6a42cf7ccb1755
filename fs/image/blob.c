// SPDX-License-Identifier: Apache-2.0
// Blobs that are kept byte for byte, and files that downloads go to.
#include "fs/image/build.h"
#include "fs/image/sha.h"
#include "fs/image/store_int.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define STEP (256u << 10)

/* How many of the first bytes a download left. It writes several ranges at once: the first hole
 * ends them, and the block before it may not be whole. */
static uint64_t prefix(int fd)
{
	off_t hole = lseek(fd, 0, SEEK_HOLE);
	uint64_t n = hole > 0 ? (uint64_t)hole / IMG_PACK_ALIGN * IMG_PACK_ALIGN : 0;

	return n > IMG_PACK_ALIGN ? n - IMG_PACK_ALIGN : 0;
}

static void tmp_name(struct img_store *s, const char *digest, char out[80])
{
	pthread_mutex_lock(&s->lock);
	(void)snprintf(out, 80, "blob.%.12s.%llu", digest, (unsigned long long)s->names++);
	pthread_mutex_unlock(&s->lock);
}

int img_blob_begin(struct img_store *s, const char *digest, struct img_blob *ret, struct msb_err *e)
{
	struct img_blob b = {.shared = true};

	if (!store_digest_valid(digest))
		return msb_err_set(e, EINVAL, "not a digest");
	(void)snprintf(b.name, sizeof(b.name), "%s.part", digest);
	b.fd = openat(s->blobs_fd, b.name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (b.fd >= 0 && flock(b.fd, LOCK_EX | LOCK_NB) == 0) {
		b.have = prefix(b.fd);
		*ret = b;
		return 0;
	}
	/* Somebody else is at it. */
	if (b.fd >= 0)
		close(b.fd);
	b.shared = false;
	tmp_name(s, digest, b.name);
	b.fd = openat(s->tmp_fd, b.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (b.fd < 0)
		return msb_err_set(e, errno, "cannot store a download: %m");
	*ret = b;
	return 0;
}

void img_blob_done(struct img_store *s, struct img_blob *b, bool drop)
{
	if (b->fd < 0)
		return;
	/* Removed while the lock is held: nobody goes on with a file that has no name. */
	if (drop || !b->shared)
		(void)unlinkat(b->shared ? s->blobs_fd : s->tmp_fd, b->name, 0);
	close(b->fd);
	b->fd = -1;
}

struct copy {
	struct img_store *s;
	const char *digest;
	uint64_t size; /* UINT64_MAX: any */
	int fd;
	uint64_t n;
	EVP_MD_CTX *sha;
	char name[80];
};

static int copy_bytes(struct copy *c, const void *p, size_t n, struct msb_err *e)
{
	int r;

	if (n > c->size - c->n)
		return msb_err_set(
			e, EBADMSG, "it has more than %llu bytes", (unsigned long long)c->size);
	(void)EVP_DigestUpdate(c->sha, p, n);
	r = msb_pwrite_full(c->fd, p, n, c->n);
	(void)sync_file_range(c->fd, (off_t)c->n, (off_t)n, SYNC_FILE_RANGE_WRITE);
	c->n += n;
	return r < 0 ? msb_err_set(e, -r, "cannot store a blob: %s", strerror(-r)) : 0;
}

static int copy_begin(struct copy *c, struct msb_err *e)
{
	tmp_name(c->s, c->digest, c->name);
	c->fd = openat(c->s->tmp_fd, c->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return c->fd < 0 ? msb_err_set(e, errno, "cannot store a blob: %m") : 0;
}

/* All has come. */
static int copy_keep(struct copy *c, struct msb_err *e)
{
	char got[65];
	int r;

	img_sha_hex(c->sha, got);
	if (c->size != UINT64_MAX && c->n != c->size)
		return msb_err_set(e, EBADMSG, "it has %llu bytes, not %llu",
			(unsigned long long)c->n, (unsigned long long)c->size);
	if (strcmp(got, c->digest) != 0)
		return msb_err_set(e, EBADMSG, "damaged: its digest is sha256:%s, not sha256:%s",
			got, c->digest);
	if (fdatasync(c->fd) < 0)
		return msb_err_set(e, errno, "cannot store a blob: %m");
	r = store_publish_lock(c->s, e);
	if (r < 0)
		return r;
	if (renameat(c->s->tmp_fd, c->name, c->s->blobs_fd, c->digest) < 0)
		r = msb_err_set(e, errno, "cannot store a blob: %m");
	else
		store_note_added(c->s, c->s->blobs_fd, c->digest);
	store_publish_unlock(c->s);
	return r;
}

static void copy_done(struct copy *c)
{
	if (c->fd < 0)
		return;
	(void)unlinkat(c->s->tmp_fd, c->name, 0); /* of one that was not kept */
	close(c->fd);
}

int img_blob_take(struct img_store *s, const struct img_layer_job *job, struct img_budget *budget,
	struct msb_err *e)
{
	_cleanup_(img_sha_free) EVP_MD_CTX *sha = img_sha_new();
	_cleanup_free_ char *buf = malloc(STEP);
	struct copy c = {.s = s, .digest = job->digest, .size = job->size, .fd = -1, .sha = sha};
	int64_t n = 0;
	int r = sha && buf ? 0 : msb_err_set(e, ENOMEM, "out of memory");

	if (r == 0 && !store_digest_valid(job->digest))
		r = msb_err_set(e, EINVAL, "not a digest");
	if (r == 0)
		r = copy_begin(&c, e);
	while (r == 0 && (n = job->from.read(job->from.arg, buf, STEP, e)) > 0) {
		if (atomic_fetch_add(&budget->bytes, (uint64_t)n) + (uint64_t)n > budget->max_bytes)
			r = msb_err_set(e, E2BIG, "the image takes more than %llu bytes",
				(unsigned long long)budget->max_bytes);
		else if (budget->stop)
			r = msb_err_set(e, ECANCELED, "stopped");
		else
			r = copy_bytes(&c, buf, (size_t)n, e);
		if (r == 0 && job->progress)
			job->progress(job->arg, c.n, "unpack");
	}
	if (r == 0 && n < 0)
		r = (int)n;
	if (r == 0)
		r = copy_keep(&c, e);
	copy_done(&c);
	if (r == 0 && job->progress)
		job->progress(job->arg, c.n, "done");
	return r;
}

int img_blob_open(const struct img_store *s, const char *digest, uint64_t *ret_size)
{
	struct stat st;
	int fd;

	if (!store_digest_valid(digest))
		return -ENOENT;
	fd = openat(s->blobs_fd, digest, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	*ret_size = (uint64_t)st.st_size;
	return fd;
}
