// SPDX-License-Identifier: Apache-2.0
// The store's directory: its lock, what of it is garbage, and how an image appears.
#include "fs/image/store_int.h"
#include "fs/image/image.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define INDEX_BUFFER (256u << 10)
#define META_MAX     (2 * IMG_MAX_JSON_BYTES)
#define STORE_TMP    "tmp" /* what is being made or removed; nothing in it outlives the lock */

static int open_dir(int at, const char *name, int *ret, struct msb_err *e)
{
	if (mkdirat(at, name, 0755) < 0 && errno != EEXIST)
		return msb_err_set(e, errno, "cannot make %s in the store: %m", name);
	*ret = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return *ret < 0 ? msb_err_set(e, errno, "cannot open %s of the store: %m", name) : 0;
}

int store_open_index(
	struct img_store *s, const char *digest, struct img_index **ret, struct msb_err *e)
{
	_cleanup_close_ int fd = -1;
	char path[80];

	(void)snprintf(path, sizeof(path), "%s/index", digest);
	fd = openat(s->images_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return msb_err_set(e, errno, "image %.12s: %m", digest);
	return img_index_open(fd, ret, e) < 0 ? msb_err_wrap(e, "image %.12s", digest) : 0;
}

/* The packs that an image's index names. */
static int load_image(struct img_store *s, const char *digest, struct msb_err *e)
{
	struct img_index *ix;
	uint32_t *packs = NULL;
	size_t n;
	int r = store_open_index(s, digest, &ix, e);

	if (r < 0)
		return r;
	r = img_index_packs(ix, &packs, &n);
	img_index_close(ix);
	if (r < 0)
		return msb_err_set(e, -r, "image %.12s: %s", digest, strerror(-r));
	for (size_t k = 0; r == 0 && k < n; k++)
		r = store_load_pack(s, packs[k], e);
	free(packs);
	return r < 0 ? msb_err_wrap(e, "image %.12s", digest) : 0;
}

bool store_digest_valid(const char *name)
{
	uint8_t raw[32];

	return strlen(name) == 64 && msb_unhex(name, raw, sizeof(raw)) == 0;
}

static int each_name(int dirfd, int (*fn)(struct img_store *, const char *, struct msb_err *),
	struct img_store *s, struct msb_err *e)
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
			r = fn(s, de->d_name, e);
	return r;
}

static int take_image(struct img_store *s, const char *name, struct msb_err *e)
{
	struct msb_err why = {0};
	int r = store_digest_valid(name) ? load_image(s, name, &why) : 0;

	if (r == -ENOMEM)
		return msb_err_set(e, ENOMEM, "out of memory");
	if (r < 0) {
		log_warn("%s; its packs are left as they are", why.msg);
		s->unsure = true;
	}
	return 0;
}

static int sweep_pack(struct img_store *s, const char *name, struct msb_err *e)
{
	char hex[9] = {0};
	uint8_t id[4];

	memcpy(hex, name, strnlen(name, 8));
	if (msb_unhex(hex, id, 4) == 0 && (!name[8] || strcmp(name + 8, ".objects") == 0) &&
		store_find_pack(s, (uint32_t)id[0] << 24 | id[1] << 16 | id[2] << 8 | id[3]))
		return 0;
	return unlinkat(s->packs_fd, name, 0) < 0 && errno != ENOENT
		       ? msb_err_set(e, errno, "cannot remove pack %s: %m", name)
		       : 0;
}

void store_forget(struct img_store *s)
{
	store_drop_fds(s);
	free(s->packs);
	free(s->table);
	s->packs = NULL;
	s->table = NULL;
	s->npacks = s->ntable = s->nobjects = 0;
	s->unsure = false;
}

int store_collect(struct img_store *s, struct msb_err *e)
{
	int r = msb_rm_rf(s->fd, STORE_TMP);

	if (r < 0)
		return msb_err_set(
			e, -r, "cannot empty the store's %s: %s", STORE_TMP, strerror(-r));
	if (mkdirat(s->fd, STORE_TMP, 0700) < 0)
		return msb_err_set(e, errno, "cannot make %s in the store: %m", STORE_TMP);
	r = each_name(s->images_fd, take_image, s, e);
	return r < 0 || s->unsure ? r : each_name(s->packs_fd, sweep_pack, s, e);
}

int img_store_open(int fd, struct img_store **ret, struct msb_err *e)
{
	struct img_store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return msb_err_set(e, ENOMEM, "out of memory");
	s->fd = fd;
	s->lock_fd = s->packs_fd = s->images_fd = s->out_fd = -1;
	for (size_t k = 0; k < PACK_FD_CACHE; k++)
		s->cache[k].fd = -1;
	s->lock_fd = openat(fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0 || flock(s->lock_fd, LOCK_EX) < 0) {
		r = msb_err_set(e, errno, "cannot lock the store: %m");
		img_store_close(s);
		return r;
	}
	s->buf = malloc(IMG_STORE_BUFFER + PACK_ALIGN);
	s->hash = XXH3_createState();
	r = s->buf && s->hash ? 0 : msb_err_set(e, ENOMEM, "out of memory");
	if (r == 0)
		r = open_dir(fd, "packs", &s->packs_fd, e);
	if (r == 0)
		r = open_dir(fd, "images", &s->images_fd, e);
	if (r == 0)
		r = store_collect(s, e);
	if (r < 0) {
		img_store_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct img_store *img_store_close(struct img_store *s)
{
	if (!s)
		return NULL;
	store_drop_fds(s);
	if (s->out_fd >= 0)
		close(s->out_fd);
	for (size_t k = 0; k < s->npacks; k++) {
		char name[PACK_NAME_MAX];

		if (!s->packs[k].ours)
			continue;
		(void)snprintf(name, sizeof(name), "%08x", s->packs[k].id);
		(void)unlinkat(s->packs_fd, name, 0); /* the next one to open would */
		(void)snprintf(name, sizeof(name), "%08x.objects", s->packs[k].id);
		(void)unlinkat(s->packs_fd, name, 0);
	}
	for (int *f = (int[]){s->lock_fd, s->packs_fd, s->images_fd, -2}; *f != -2; f++)
		if (*f >= 0)
			close(*f);
	XXH3_freeState(s->hash);
	free(s->packs);
	free(s->table);
	free(s->new);
	free(s->buf);
	free(s);
	return NULL;
}

bool img_store_has(const struct img_store *s, const char *digest)
{
	_cleanup_close_ int fd = -1;
	struct img_index *ix;
	char path[80];

	(void)snprintf(path, sizeof(path), "%s/index", digest);
	fd = openat(s->images_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || img_index_open(fd, &ix, NULL) < 0)
		return false;
	img_index_close(ix);
	return true;
}

int img_store_size(const struct img_store *s, const char *digest, uint64_t *ret, struct msb_err *e)
{
	static const char key[] = "size_bytes ";
	_cleanup_str_ struct msb_str meta = MSB_STR_INIT;
	char path[80];
	int r;

	(void)snprintf(path, sizeof(path), "%s/meta", digest);
	r = msb_read_file(s->images_fd, path, META_MAX, &meta);
	if (r < 0)
		return msb_err_set(e, -r, "image %.12s: meta: %s", digest, strerror(-r));
	if (meta.buf)
		meta.buf[strcspn(meta.buf, "\n")] = 0;
	if (!meta.buf || strncmp(meta.buf, key, strlen(key)) != 0 ||
		msb_parse_u64(meta.buf + strlen(key), 0, UINT64_MAX, ret) < 0)
		return msb_err_set(e, EBADMSG, "image %.12s: meta: no size_bytes", digest);
	return 0;
}

/* ---- publishing */

static void note_packs(const struct img_store *s, const struct img_inode *dir, bool *used)
{
	for (const struct img_dent *d = dir->children; d; d = d->next) {
		const struct img_inode *i = d->inode;

		if (S_ISDIR(i->mode)) {
			note_packs(s, i, used); /* as deep as IMG_MAX_DEPTH */
		} else if (S_ISREG(i->mode) && !i->inlined && i->size) {
			const struct pack *p = store_find_pack(s, i->pack_id);

			if (p)
				used[p - s->packs] = true;
		}
	}
}

static int write_index(struct img_store *s, int dirfd, const char *digest, struct img_tree *t,
	const bool *used, struct msb_err *e)
{
	_cleanup_free_ struct img_pack *packs = calloc(s->npacks + 1, sizeof(*packs));
	_cleanup_fclose_ FILE *f = NULL;
	uint8_t uuid[16];
	char head[33];
	size_t n = 0;
	int fd, r;

	if (!packs)
		return msb_err_set(e, ENOMEM, "out of memory");
	for (size_t k = 0; k < s->npacks; k++)
		if (used[k])
			packs[n++] = (struct img_pack){s->packs[k].id, s->packs[k].blocks};
	memcpy(head, digest, 32);
	head[32] = 0;
	if (msb_unhex(head, uuid, sizeof(uuid)) < 0)
		return msb_err_set(e, EINVAL, "not a digest");
	fd = openat(dirfd, "index", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	f = fd < 0 ? NULL : fdopen(fd, "we");
	if (!f)
		return msb_err_set(e, errno, "cannot write the tree index: %m");
	(void)setvbuf(f, NULL, _IOFBF, INDEX_BUFFER); /* else it is smaller, no more */
	r = img_index_write(t, packs, n, uuid, f, e);
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

int img_store_publish(struct img_store *s, const char *digest, struct img_tree *t,
	const struct img_store_file *files, size_t nfiles, struct msb_err *e)
{
	_cleanup_free_ bool *used = calloc(s->npacks + 1, sizeof(*used));
	_cleanup_close_ int tmp = -1, dir = -1;
	int r;

	if (!used)
		return msb_err_set(e, ENOMEM, "out of memory");
	r = store_close_pack(s, e);
	if (r == 0)
		r = open_dir(s->fd, STORE_TMP, &tmp, e);
	if (r == 0)
		r = open_dir(tmp, digest, &dir, e);
	if (r == 0) {
		note_packs(s, img_tree_root(t), used);
		r = write_index(s, dir, digest, t, used, e);
	}
	for (size_t k = 0; r == 0 && k < nfiles; k++)
		r = write_file(dir, &files[k], e);
	if (r < 0) {
		if (tmp >= 0)
			(void)msb_rm_rf(tmp, digest); /* the next one to open would */
		return r;
	}
	/* One that img_store_has() does not count is in the way. */
	if (renameat(s->images_fd, digest, tmp, "damaged") < 0 && errno != ENOENT)
		return msb_err_set(e, errno, "cannot replace a damaged image: %m");
	/* What the image names is on disk before its name is. */
	if (fsync(s->fd) < 0 || fsync(s->packs_fd) < 0 || fsync(dir) < 0 ||
		renameat(tmp, digest, s->images_fd, digest) < 0 || fsync(s->images_fd) < 0) {
		r = msb_err_set(e, errno, "cannot put the image into the store: %m");
		(void)msb_rm_rf(tmp, digest);
		return r;
	}
	for (size_t k = 0; k < s->npacks; k++)
		if (used[k])
			s->packs[k].ours = false; /* those that nothing is in go with the close */
	return 0;
}
