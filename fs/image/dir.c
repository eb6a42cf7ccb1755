// SPDX-License-Identifier: Apache-2.0
// Walking a directory of the host into an index and a list of files.
#include "fs/image/dir.h"
#include "fs/image/erofs.h"
#include "fs/image/files.h"
#include "fs/image/image.h"
#include "fs/image/index_write.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <xxhash.h>

#define XATTR_LIST_BYTES 65536 /* the kernel's own limit */
#define FIRST_LINKS	 1024

/* An inode with several names, by what it is on the host. */
struct link {
	uint64_t dev, ino;
	struct img_inode *inode;
};

struct walk {
	const struct img_dir_opts *opts;
	struct img_tree *tree;
	struct msb_str path, paths; /* of what is looked at; of all regular files */
	struct img_file *file;
	size_t nfile, cap_file;
	struct link *link; /* a hash table; inode NULL: free */
	size_t nlink, cap_link;
	struct msb_err *e;
	char list[XATTR_LIST_BYTES], value[XATTR_LIST_BYTES];
};

static int fail(struct walk *w, int r)
{
	return msb_err_set(w->e, -r, "%.150s%s: %s", w->path.len ? w->path.buf : ".",
		w->path.len > 150 ? "..." : "",
		r == -E2BIG   ? "the directory has more files than a tree can have"
		: r == -ELOOP ? "directories nested too deep"
			      : strerror(-r));
}

/* ---- inodes with several names */

static struct link *link_slot(struct link *t, size_t cap, uint64_t dev, uint64_t ino)
{
	const uint64_t key[2] = {dev, ino};
	size_t k = XXH3_64bits(key, sizeof(key)) & (cap - 1);

	while (t[k].inode && (t[k].dev != dev || t[k].ino != ino))
		k = (k + 1) & (cap - 1);
	return &t[k];
}

static int link_room(struct walk *w)
{
	size_t cap = w->cap_link ? w->cap_link * 2 : FIRST_LINKS;
	struct link *t;

	if (w->cap_link && w->nlink < w->cap_link / 2)
		return 0;
	t = calloc(cap, sizeof(*t));
	if (!t)
		return -ENOMEM;
	for (size_t k = 0; k < w->cap_link; k++)
		if (w->link[k].inode)
			*link_slot(t, cap, w->link[k].dev, w->link[k].ino) = w->link[k];
	free(w->link);
	w->link = t;
	w->cap_link = cap;
	return 0;
}

/* ---- one inode */

/* Those that mean something to a guest's kernel or programs, and that the host's kernel let us see.
 * What msb's shares keep beside files is not the files' own. */
static bool wanted(const char *name)
{
	return (!strncmp(name, "user.", 5) && strncmp(name, "user.msb.", 9) != 0) ||
	       !strncmp(name, "trusted.", 8) || !strcmp(name, "security.capability");
}

/* @name in the working directory. */
static int take_xattrs(struct walk *w, struct img_inode *i, const char *name)
{
	ssize_t n = llistxattr(name, w->list, sizeof(w->list));
	int r = 0;

	for (ssize_t k = 0; k < n && r == 0; k += (ssize_t)strlen(w->list + k) + 1) {
		const char *x = w->list + k;
		ssize_t v;

		if (!wanted(x))
			continue;
		v = lgetxattr(name, x, w->value, sizeof(w->value));
		if (v >= 0) /* else it went meanwhile, or is not ours to see */
			r = img_inode_set_xattr(i, x, strlen(x), w->value, (size_t)v);
	}
	if (r == -E2BIG)
		return msb_err_set(w->e, E2BIG, "%s: its attributes are too large", w->path.buf);
	return r < 0 ? fail(w, r) : 0;
}

static int take_file(
	struct walk *w, struct img_inode *i, int dir, const char *name, const struct statx *st)
{
	bool denied = faccessat(dir, name, R_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) < 0;
	struct img_file *f;

	if (w->path.len > IMG_FILES_MAX_PATH)
		return msb_err_set(w->e, E2BIG, "a path of more than %d bytes: %.100s...",
			IMG_FILES_MAX_PATH, w->path.buf);
	if (w->nfile == w->cap_file) {
		size_t cap = w->cap_file ? w->cap_file * 2 : 1024;

		f = realloc(w->file, cap * sizeof(*f));
		if (!f)
			return fail(w, -ENOMEM);
		w->file = f;
		w->cap_file = cap;
	}
	/* The writer of the index refuses what lies past its one pack of 16 TiB. */
	i->pack_id = 0;
	i->pack_off = (uint64_t)w->nfile * EROFS_BLK;
	w->file[w->nfile++] =
		(struct img_file){.dev = makedev(st->stx_dev_major, st->stx_dev_minor),
			.ino = st->stx_ino,
			.size = st->stx_size,
			.mtime_sec = st->stx_mtime.tv_sec,
			.mtime_nsec = st->stx_mtime.tv_nsec,
			.path_n = (uint16_t)w->path.len,
			.flags = denied ? IMG_FILE_DENIED : 0,
			.path_off = w->paths.len};
	msb_str_add(&w->paths, w->path.buf, w->path.len + 1);
	return w->paths.oom ? fail(w, -ENOMEM) : 0;
}

static int take_link(struct walk *w, struct img_inode *i, int dir, const char *name)
{
	char target[IMG_MAX_SYMLINK + 2];
	ssize_t n = readlinkat(dir, name, target, sizeof(target));

	if (n <= 0)
		return n < 0 && errno != ENOENT && errno != EINVAL ? fail(w, -errno) : -ENOENT;
	if (n > IMG_MAX_SYMLINK)
		return msb_err_set(w->e, E2BIG, "%s: a symbolic link of more than %d bytes",
			w->path.buf, IMG_MAX_SYMLINK);
	i->bytes = strndup(target, (size_t)n);
	i->size = (uint64_t)n;
	return i->bytes ? 0 : fail(w, -ENOMEM);
}

static void take_attr(const struct walk *w, struct img_inode *i, const struct statx *st)
{
	i->mode = st->stx_mode;
	i->uid = st->stx_uid == w->opts->root_uid ? 0 : st->stx_uid;
	i->gid = st->stx_gid == w->opts->root_gid ? 0 : st->stx_gid;
	i->rdev = (uint32_t)makedev(st->stx_rdev_major, st->stx_rdev_minor);
	i->mtime_sec = st->stx_mtime.tv_sec;
	i->mtime_nsec = st->stx_mtime.tv_nsec;
	i->size = S_ISREG(st->stx_mode) ? st->stx_size : 0;
}

/* A new inode for @name; none where it has gone. */
static int make_inode(
	struct walk *w, int dir, const char *name, const struct statx *st, struct img_inode **ret)
{
	struct img_inode *i = NULL;
	int r = img_tree_new_inode(w->tree, st->stx_mode, &i);

	if (r < 0)
		return fail(w, r);
	take_attr(w, i, st);
	if (S_ISREG(i->mode) && i->size)
		r = take_file(w, i, dir, name, st);
	else if (S_ISLNK(i->mode))
		r = take_link(w, i, dir, name);
	if (r == 0)
		r = take_xattrs(w, i, name);
	if (r < 0)
		img_tree_drop(w->tree, i);
	else
		*ret = i;
	return r == -ENOENT ? 0 : r;
}

/* ---- directories */

static int walk_dir(struct walk *w, int fd, struct img_inode *dir);

/* One that may not be read is empty. */
static int enter(struct walk *w, int parent, const char *name, struct img_inode *dir)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r;
	struct statx st;

	if (fd < 0)
		return errno == EACCES || errno == EPERM || errno == ENOENT || errno == ENOTDIR ||
				       errno == ELOOP
			       ? 0
			       : fail(w, -errno);
	/* Something may have been mounted on it this moment. */
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) < 0 ||
		st.stx_attributes & STATX_ATTR_MOUNT_ROOT) {
		close(fd);
		return 0;
	}
	r = walk_dir(w, fd, dir);
	/* Back, for the attributes of the names that follow. */
	return r == 0 && fchdir(parent) < 0 ? fail(w, -errno) : r;
}

static int take_name(struct walk *w, int fd, struct img_inode *dir, const char *name)
{
	struct img_inode *i = NULL;
	struct link *l = NULL;
	struct statx st;
	int r;

	if (statx(fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &st) < 0)
		return errno == ENOENT ? 0 : fail(w, -errno);
	if (!S_ISDIR(st.stx_mode) && st.stx_nlink > 1) {
		uint64_t dev = makedev(st.stx_dev_major, st.stx_dev_minor);

		if (link_room(w) < 0)
			return fail(w, -ENOMEM);
		l = link_slot(w->link, w->cap_link, dev, st.stx_ino);
		i = l->inode;
	}
	if (!i) {
		r = make_inode(w, fd, name, &st, &i);
		if (r < 0 || !i)
			return r;
		if (l) {
			*l = (struct link){
				makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino, i};
			w->nlink++;
		}
	}
	r = img_tree_add(w->tree, dir, name, strlen(name), i, 1, NULL);
	if (r < 0 && i->refs == 0)
		img_tree_drop(w->tree, i);
	if (r < 0)
		return fail(w, r);
	/* On a file system mounted here are other files than the directory's. */
	if (!S_ISDIR(i->mode) || st.stx_attributes & STATX_ATTR_MOUNT_ROOT)
		return 0;
	return enter(w, fd, name, i);
}

/* Takes over @fd. */
static int walk_dir(struct walk *w, int fd, struct img_inode *dir)
{
	_cleanup_closedir_ DIR *d = fdopendir(fd);
	size_t len = w->path.len;
	struct dirent *de;
	int r = 0;

	if (!d) {
		r = -errno;
		close(fd);
		return fail(w, r);
	}
	if (fchdir(fd) < 0) /* it may be read, and not be entered: then it is as good as empty */
		return errno == EACCES ? 0 : fail(w, -errno);
	while (r == 0 && (errno = 0, de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		msb_str_addf(&w->path, "%s%s", len ? "/" : "", de->d_name);
		if (w->path.oom)
			return fail(w, -ENOMEM);
		r = take_name(w, fd, dir, de->d_name);
		w->path.len = len;
		w->path.buf[len] = '\0';
	}
	if (r == 0 && errno)
		r = fail(w, -errno);
	return r;
}

/* ---- the list */

static int write_list(struct walk *w, FILE *out)
{
	struct img_files_head h = {
		.magic = IMG_FILES_MAGIC, .count = w->nfile, .path_bytes = w->paths.len};
	XXH3_state_t *x = XXH3_createState();

	if (!x)
		return msb_err_set(w->e, ENOMEM, "out of memory");
	XXH3_64bits_reset_withSeed(x, h.count);
	if (w->nfile) {
		XXH3_64bits_update(x, w->file, w->nfile * sizeof(*w->file));
		XXH3_64bits_update(x, w->paths.buf, w->paths.len);
	}
	h.sum = XXH3_64bits_digest(x);
	XXH3_freeState(x);
	(void)fwrite(&h, sizeof(h), 1, out); /* ferror() is asked once, at the end */
	if (w->nfile) {
		(void)fwrite(w->file, sizeof(*w->file), w->nfile, out);
		(void)fwrite(w->paths.buf, 1, w->paths.len, out);
	}
	if (fflush(out) != 0 || ferror(out))
		return msb_err_set(w->e, errno ? errno : EIO, "cannot write the list of files: %m");
	return 0;
}

static int walk(struct walk *w, int dir, FILE *index, FILE *files)
{
	const struct img_pack pack = {.id = 0, .blocks = UINT32_MAX};
	_cleanup_close_ int own = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	struct statx st;
	uint8_t uuid[16];
	int r;

	if (own < 0 || statx(dir, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) < 0 ||
		fchdir(dir) < 0 || lseek(own, 0, SEEK_SET) < 0 ||
		getrandom(uuid, sizeof(uuid), 0) != sizeof(uuid))
		return fail(w, -errno);
	take_attr(w, img_tree_root(w->tree), &st);
	r = take_xattrs(w, img_tree_root(w->tree), ".");
	if (r == 0)
		r = walk_dir(w, steal_fd(&own), img_tree_root(w->tree));
	if (r == 0)
		r = write_list(w, files);
	return r < 0 ? r : img_index_write(w->tree, &pack, 1, uuid, index, w->e);
}

int img_dir_walk(int dir, const struct img_dir_opts *opts, FILE *index, FILE *files,
	uint64_t *ret_inodes, struct msb_err *e)
{
	_cleanup_free_ struct walk *w = calloc(1, sizeof(*w));
	struct msb_err own = {0};
	int r;

	if (!w || img_tree_new(opts->max_inodes, &w->tree) < 0)
		return msb_err_set(e, ENOMEM, "out of memory");
	w->opts = opts;
	w->e = e ?: &own;
	msb_str_adds(&w->path, "");
	r = w->path.oom ? fail(w, -ENOMEM) : walk(w, dir, index, files);
	if (r == 0)
		*ret_inodes = img_tree_inodes(w->tree);
	img_tree_free(w->tree);
	msb_str_done(&w->path);
	msb_str_done(&w->paths);
	free(w->file);
	free(w->link);
	return r;
}
