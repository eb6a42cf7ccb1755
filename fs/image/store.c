// SPDX-License-Identifier: Apache-2.0
// The store's directory: joining those who add to it, and how an image appears.
#include "fs/image/store_int.h"
#include "fs/image/image.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#define INDEX_BUFFER (256u << 10)
#define META_MAX     (2 * IMG_MAX_JSON_BYTES)

static int open_dir(int at, const char *name, int *ret, struct msb_err *e)
{
	if (mkdirat(at, name, 0755) < 0 && errno != EEXIST)
		return msb_err_set(e, errno, "cannot make %s in the store: %m", name);
	*ret = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return *ret < 0 ? msb_err_set(e, errno, "cannot open %s of the store: %m", name) : 0;
}

int store_open_index(int images_fd, const char *digest, struct img_index **ret, struct msb_err *e)
{
	_cleanup_close_ int fd = -1;
	char path[80];

	(void)snprintf(path, sizeof(path), "%s/index", digest);
	fd = openat(images_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return msb_err_set(e, errno, "image %.12s: %m", digest);
	return img_index_open(fd, ret, e) < 0 ? msb_err_wrap(e, "image %.12s", digest) : 0;
}

bool store_digest_valid(const char *name)
{
	uint8_t raw[32];

	return strlen(name) == 64 && msb_unhex(name, raw, sizeof(raw)) == 0;
}

int store_each_name(int dirfd, int (*fn)(void *arg, const char *name, struct msb_err *e), void *arg,
	struct msb_err *e)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;
	int r = 0;

	if (!d) {
		r = msb_err_set(e, errno, "cannot read the store: %m");
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && (de = readdir(d)))
		if (de->d_name[0] != '.')
			r = fn(arg, de->d_name, e);
	return r;
}

/* ---- opening */

struct img_store *store_alloc(void)
{
	struct img_store *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->lock_fd = s->publish_fd = s->packs_fd = s->images_fd = s->layers_fd = s->blobs_fd =
		s->tmp_fd = -1;
	s->next_id = PACK_ID_FIRST;
	pthread_mutex_init(&s->publish, NULL);
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

int store_open_dirs(struct img_store *s, int fd, struct msb_err *e)
{
	int r;

	s->fd = fd;
	s->lock_fd = openat(fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	s->publish_fd = openat(fd, "publish", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0 || s->publish_fd < 0)
		return msb_err_set(e, errno, "cannot lock the store: %m");
	r = open_dir(fd, "packs", &s->packs_fd, e);
	if (r == 0)
		r = open_dir(fd, "images", &s->images_fd, e);
	if (r == 0)
		r = open_dir(fd, "layers", &s->layers_fd, e);
	if (r == 0)
		r = open_dir(fd, "blobs", &s->blobs_fd, e);
	return r;
}

int store_lock(int fd, int how)
{
	int r;

	do
		r = flock(fd, how);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int store_open_tmp(struct img_store *s, int *ret, struct msb_err *e)
{
	return open_dir(s->fd, STORE_TMP, ret, e);
}

static int found(void *arg, const char *name, struct msb_err *e)
{
	return 1;
}

/* What killed ones left goes where nobody else is there, and without waiting for that. */
static int clean(struct img_store *s, int tmp, struct msb_err *e)
{
	int r = store_each_name(tmp, found, NULL, e);

	if (r <= 0 || store_lock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return r < 0 ? r : 0;
	return store_sweep(s, false, e);
}

static int make_tmp(struct img_store *s, struct msb_err *e)
{
	_cleanup_close_ int tmp = -1;
	uint64_t x;
	int r = store_open_tmp(s, &tmp, e);

	if (r == 0)
		r = clean(s, tmp, e);
	if (r == 0)
		r = store_lock(s->lock_fd, LOCK_SH) < 0
			    ? msb_err_set(e, errno, "cannot lock the store: %m")
			    : 0;
	if (r < 0)
		return r;
	if (getrandom(&x, sizeof(x), 0) != (ssize_t)sizeof(x))
		return msb_err_set(e, errno, "no random number: %m");
	(void)snprintf(s->tmp, sizeof(s->tmp), "%016llx", (unsigned long long)x);
	return open_dir(tmp, s->tmp, &s->tmp_fd, e);
}

static int store_open(int fd, bool to_add, struct img_store **ret, struct msb_err *e)
{
	struct img_store *s = store_alloc();
	int r;

	if (!s)
		return msb_err_set(e, ENOMEM, "out of memory");
	r = store_open_dirs(s, fd, e);
	if (r == 0 && store_lock(s->lock_fd, LOCK_SH) < 0)
		r = msb_err_set(e, errno, "cannot lock the store: %m");
	if (r == 0 && to_add)
		r = make_tmp(s, e);
	if (r < 0) {
		img_store_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

int img_store_open(int fd, struct img_store **ret, struct msb_err *e)
{
	return store_open(fd, true, ret, e);
}

int img_store_open_read(int fd, struct img_store **ret, struct msb_err *e)
{
	return store_open(fd, false, ret, e);
}

struct img_store *img_store_close(struct img_store *s)
{
	if (!s)
		return NULL;
	if (s->tmp_fd >= 0) {
		char path[64];

		(void)snprintf(path, sizeof(path), STORE_TMP "/%s", s->tmp);
		(void)msb_rm_rf(s->fd, path); /* a sweep would */
	}
	for (int *f = (int[]){s->tmp_fd, s->publish_fd, s->packs_fd, s->images_fd, s->layers_fd,
		     s->blobs_fd, s->lock_fd, -2};
		*f != -2; f++)
		if (*f >= 0)
			close(*f);
	pthread_mutex_destroy(&s->publish);
	pthread_mutex_destroy(&s->lock);
	free(s->packs);
	free(s->table);
	free(s->added);
	free(s);
	return NULL;
}

void store_note_added(struct img_store *s, int dirfd, const char *name)
{
	LOCK_SCOPE(&s->lock);
	struct added *a = reallocarray(s->added, s->nadded + 1, sizeof(*a));

	if (!a)
		return; /* it stays until nobody has needed it for a while */
	s->added = a;
	a[s->nadded].dirfd = dirfd;
	memcpy(a[s->nadded++].name, name, sizeof(a->name));
}

void img_store_forget(struct img_store *s)
{
	struct msb_err e = {0};

	if (!s->nadded || store_lock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return;
	if (store_sweep(s, true, &e) < 0)
		log_warn("%s, ignoring", e.msg);
}

int store_publish_lock(struct img_store *s, struct msb_err *e)
{
	int r;

	pthread_mutex_lock(&s->publish);
	r = store_lock(s->publish_fd, LOCK_EX);
	if (r < 0)
		pthread_mutex_unlock(&s->publish);
	return r < 0 ? msb_err_set(e, -r, "cannot lock the store: %s", strerror(-r)) : 0;
}

void store_publish_unlock(struct img_store *s)
{
	(void)flock(s->publish_fd, LOCK_UN); /* of a lock that is held */
	pthread_mutex_unlock(&s->publish);
}

/* ---- images */

static int read_meta(const struct img_store *s, const char *digest, struct msb_str *ret)
{
	char path[80];
	int r;

	(void)snprintf(path, sizeof(path), "%s/meta", digest);
	r = msb_read_file(s->images_fd, path, META_MAX, ret);
	return r < 0 ? r : ret->buf ? 0 : -EBADMSG;
}

/* The rest of the line of @meta that begins with @key and a space, or NULL. */
static const char *meta_line(const char *meta, const char *key, size_t *ret_n)
{
	size_t k = strlen(key);

	for (const char *p = meta; p && *p; p = strchr(p, '\n'), p += p != NULL) {
		if (strncmp(p, key, k) != 0 || p[k] != ' ')
			continue;
		*ret_n = strcspn(p + k + 1, "\n");
		return p + k + 1;
	}
	return NULL;
}

#define DAMAGED_FILE "damaged" /* of an image; empty */

bool img_store_damaged(const struct img_store *s, const char *digest)
{
	char path[80];

	(void)snprintf(path, sizeof(path), "%.64s/" DAMAGED_FILE, digest);
	return faccessat(s->images_fd, path, F_OK, 0) == 0;
}

void img_store_mark(const struct img_store *s, const char *digest, bool damaged)
{
	_cleanup_close_ int fd = -1;
	char path[80];
	int r;

	(void)snprintf(path, sizeof(path), "%.64s/" DAMAGED_FILE, digest);
	if (damaged) {
		fd = openat(s->images_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
		r = fd;
	} else {
		r = unlinkat(s->images_fd, path, 0);
	}
	if (r < 0 && errno != ENOENT) /* where the image has gone meanwhile, all is well */
		log_warn(
			"image %.12s: whether it is damaged cannot be noted: %m, ignoring", digest);
}

bool img_store_has(const struct img_store *s, const char *digest)
{
	_cleanup_str_ struct msb_str meta = MSB_STR_INIT;
	struct img_index *ix;
	const char *kind;
	char path[80];
	size_t n;

	(void)snprintf(path, sizeof(path), "%s/layers", digest);
	if (read_meta(s, digest, &meta) < 0 || faccessat(s->images_fd, path, F_OK, 0) < 0)
		return false;
	kind = meta_line(meta.buf, "kind", &n);
	if (kind && (n != 5 || memcmp(kind, "image", n) != 0))
		return true;
	if (store_open_index(s->images_fd, digest, &ix, NULL) < 0)
		return false;
	img_index_close(ix);
	return true;
}

int img_store_size(const struct img_store *s, const char *digest, uint64_t *ret, struct msb_err *e)
{
	_cleanup_str_ struct msb_str meta = MSB_STR_INIT;
	int r = read_meta(s, digest, &meta);
	const char *line;
	char text[24] = "";
	size_t n = 0;

	if (r < 0)
		return msb_err_set(e, -r, "image %.12s: meta: %s", digest, strerror(-r));
	line = meta_line(meta.buf, "size_bytes", &n);
	if (line && n < sizeof(text))
		memcpy(text, line, n);
	if (msb_parse_u64(text, 0, UINT64_MAX, ret) < 0)
		return msb_err_set(e, EBADMSG, "image %.12s: meta: no size_bytes", digest);
	return 0;
}

/* ---- publishing */

struct packs {
	uint32_t *id;
	size_t n, cap;
	uint32_t last; /* seen: files of one pack lie together */
};

static int note_packs(const struct img_inode *dir, struct packs *p)
{
	int r = 0;

	for (const struct img_dent *d = dir->children; r == 0 && d; d = d->next) {
		const struct img_inode *i = d->inode;
		size_t k = 0;

		if (S_ISDIR(i->mode)) {
			r = note_packs(i, p); /* as deep as IMG_MAX_DEPTH */
			continue;
		}
		if (!S_ISREG(i->mode) || i->inlined || !i->size || (p->n && i->pack_id == p->last))
			continue;
		while (k < p->n && p->id[k] != i->pack_id)
			k++;
		p->last = i->pack_id;
		if (k < p->n)
			continue;
		if (p->n == p->cap) {
			size_t cap = p->cap ? 2 * p->cap : 64;
			uint32_t *v = reallocarray(p->id, cap, sizeof(*v));

			if (!v)
				return -ENOMEM;
			p->id = v;
			p->cap = cap;
		}
		p->id[p->n++] = i->pack_id;
	}
	return r;
}

int store_index_bytes(const struct img_store *s, const char *digest, struct img_tree *t, FILE *out,
	struct msb_err *e)
{
	_cleanup_free_ struct img_pack *packs = NULL;
	struct packs p = {0};
	uint8_t uuid[16];
	char head[33];
	int r = note_packs(img_tree_root(t), &p);

	memcpy(head, digest, 32);
	head[32] = 0;
	packs = calloc(p.n + 1, sizeof(*packs));
	if (r < 0 || !packs)
		r = msb_err_set(e, ENOMEM, "out of memory");
	else if (msb_unhex(head, uuid, sizeof(uuid)) < 0)
		r = msb_err_set(e, EINVAL, "not a digest");
	for (size_t k = 0; r == 0 && k < p.n; k++) {
		char name[PACK_NAME_MAX];
		struct stat st;

		store_pack_name(name, p.id[k], "");
		if (fstatat(s->packs_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			r = msb_err_set(e, errno == ENOENT ? EBADMSG : errno,
				"pack %s of the store: %m", name);
		else
			packs[k] = (struct img_pack){
				p.id[k], (uint32_t)((uint64_t)st.st_size / IMG_PACK_ALIGN)};
	}
	if (r == 0)
		r = img_index_write(t, packs, p.n, uuid, out, e);
	free(p.id);
	return r;
}

static int write_index(
	struct img_store *s, int dirfd, const char *digest, struct img_tree *t, struct msb_err *e)
{
	_cleanup_fclose_ FILE *f = NULL;
	int fd = openat(dirfd, "index", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), r;

	f = fd < 0 ? NULL : fdopen(fd, "we");
	if (!f)
		return msb_err_set(e, errno, "cannot write the tree index: %m");
	(void)setvbuf(f, NULL, _IOFBF, INDEX_BUFFER); /* else it is smaller, no more */
	r = store_index_bytes(s, digest, t, f, e);
	if (r == 0 && fdatasync(fd) < 0)
		r = msb_err_set(e, errno, "cannot write the tree index: %m");
	return r;
}

static int write_file(int dirfd, const struct img_store_file *file, struct msb_err *e)
{
	_cleanup_close_ int fd =
		openat(dirfd, file->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	int r = fd < 0 ? -errno : msb_write_full(fd, file->p, file->n);

	if (r == 0 && fdatasync(fd) < 0)
		r = -errno;
	return r < 0 ? msb_err_set(e, -r, "cannot write %s: %s", file->name, strerror(-r)) : 0;
}

/* The new one for one that is there. One of the two is there at every moment, whenever the power
 * goes; but not between two renames, where the file system cannot exchange. */
static int take_place(struct img_store *s, const char *digest)
{
	char old[80];
	int r;

	if (renameat2(s->tmp_fd, digest, s->images_fd, digest, RENAME_EXCHANGE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	(void)snprintf(old, sizeof(old), "old.%s", digest);
	r = msb_rm_rf(s->tmp_fd, old); /* of a try before */
	if (r < 0)
		return r;
	if (renameat(s->images_fd, digest, s->tmp_fd, old) < 0 ||
		renameat(s->tmp_fd, digest, s->images_fd, digest) < 0)
		return -errno;
	(void)msb_rm_rf(s->tmp_fd, old); /* gone with the directory else */
	return 0;
}

static int appear(struct img_store *s, const char *digest, bool replace, struct msb_err *e)
{
	int r = store_publish_lock(s, e);

	if (r < 0)
		return r;
	if (replace || !img_store_has(s, digest)) {
		if (renameat(s->tmp_fd, digest, s->images_fd, digest) < 0)
			r = errno == ENOTEMPTY || errno == EEXIST ? take_place(s, digest) : -errno;
	}
	if (r == 0 && fsync(s->images_fd) < 0)
		r = -errno;
	if (r < 0)
		msb_err_set(e, -r, "cannot put the image into the store: %s", strerror(-r));
	store_publish_unlock(s);
	return r;
}

int img_store_publish(struct img_store *s, const char *digest, struct img_tree *t,
	const struct img_store_file *files, size_t nfiles, bool replace, struct msb_err *e)
{
	_cleanup_close_ int dir = -1;
	int r;

	if (!store_digest_valid(digest))
		return msb_err_set(e, EINVAL, "not a digest");
	r = msb_rm_rf(s->tmp_fd, digest); /* of a try before */
	if (r < 0)
		return msb_err_set(e, -r, "cannot clean the store: %s", strerror(-r));
	r = open_dir(s->tmp_fd, digest, &dir, e);
	if (r == 0 && t)
		r = write_index(s, dir, digest, t, e);
	for (size_t k = 0; r == 0 && k < nfiles; k++)
		r = write_file(dir, &files[k], e);
	/* What the image names is on disk before its name is. */
	if (r == 0 && (fsync(s->fd) < 0 || fsync(s->packs_fd) < 0 || fsync(s->layers_fd) < 0 ||
			      fsync(s->blobs_fd) < 0 || fsync(dir) < 0))
		r = msb_err_set(e, errno, "cannot put the image into the store: %m");
	if (r == 0)
		r = appear(s, digest, replace, e);
	(void)msb_rm_rf(s->tmp_fd, digest); /* what it replaced; gone with the directory else */
	return r;
}
