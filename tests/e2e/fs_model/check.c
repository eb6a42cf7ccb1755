// SPDX-License-Identifier: Apache-2.0
// The model test's comparisons.
#include "tests/e2e/fs_model/model.h"

#include <string.h>
#include <sys/xattr.h>

#define SAME(what, x, y)                                                                           \
	do {                                                                                       \
		if ((x) != (y))                                                                    \
			model_differs(m, "%s: " what " %llo, not %llo", path,                      \
				(unsigned long long)(x), (unsigned long long)(y));                 \
	} while (0)

/* A time that was set is that time; any other is about now. */
static void check_mtime(
	struct model *m, const char *path, const struct timespec *a, const struct timespec *b)
{
	int64_t off = a->tv_sec - b->tv_sec;

	if (b->tv_sec < MODEL_OLD ? off != 0 || a->tv_nsec != b->tv_nsec : off < -120 || off > 120)
		model_differs(m, "%s: mtime %lld.%09ld, not %lld.%09ld", path, (long long)a->tv_sec,
			a->tv_nsec, (long long)b->tv_sec, b->tv_nsec);
}

void model_check_stat(struct model *m, const char *path, const struct stat *a, const struct stat *b)
{
	SAME("mode", a->st_mode, b->st_mode);
	if (m->root) {
		SAME("uid", a->st_uid, b->st_uid);
		SAME("gid", a->st_gid, b->st_gid);
	}
	SAME("links", a->st_nlink, b->st_nlink);
	if (!S_ISDIR(a->st_mode))
		SAME("size", a->st_size, b->st_size);
	if (S_ISCHR(a->st_mode) || S_ISBLK(a->st_mode))
		SAME("device", a->st_rdev, b->st_rdev);
	check_mtime(m, path, &a->st_mtim, &b->st_mtim);
}

/* What is said to be a hole reads as zeros, and the walk comes to the end. */
static void check_holes(struct model *m, const char *path, int fd, const uint8_t *p, int64_t size)
{
	int64_t at = 0, data;

	while (at < size) {
		data = lseek(fd, at, SEEK_DATA);
		if (data < 0 && errno != ENXIO)
			model_differs(m, "%s: SEEK_DATA: %s", path, strerror(errno));
		data = data < 0 ? size : data;
		if (data < at || data > size)
			model_differs(m, "%s: SEEK_DATA from %lld is at %lld", path, (long long)at,
				(long long)data);
		for (int64_t i = at; i < data; i++)
			if (p[i])
				model_differs(m, "%s: byte %lld is in a hole", path, (long long)i);
		if (data == size)
			break;
		at = lseek(fd, data, SEEK_HOLE);
		if (at <= data || at > size)
			model_differs(m, "%s: SEEK_HOLE from %lld is at %lld", path,
				(long long)data, (long long)at);
	}
}

void model_check_file(struct model *m, const char *path, const int fd[SIDES])
{
	static uint8_t p[SIDES][MODEL_FILE_BYTES + 1];
	int64_t r[SIDES], was;
	struct stat st[SIDES];

	BOTH(r, fstat(fd[s], &st[s]));
	model_agree(m, r);
	model_check_stat(m, path, &st[0], &st[1]);
	if ((fcntl(fd[0], F_GETFL) & O_ACCMODE) == O_WRONLY)
		return;
	BOTH(r, pread(fd[s], p[s], sizeof(p[s]), 0));
	model_agree(m, r);
	SAME("bytes", r[0], st[1].st_size);
	for (int64_t i = 0; i < r[0]; i++)
		if (p[0][i] != p[1][i])
			model_differs(m, "%s: byte %lld of %lld is %02x, not %02x", path,
				(long long)i, (long long)r[0], p[0][i], p[1][i]);
	was = lseek(fd[0], 0, SEEK_CUR);
	check_holes(m, path, fd[0], p[0], r[0]);
	(void)lseek(fd[0], was, SEEK_SET);
}

/* ---- attributes */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of our own namespaces: a host may add labels. */
static int names(struct model *m, int s, const char *at, char *list, char **name)
{
	ssize_t n = llistxattr(at, list, 4096);
	int count = 0;

	if (n < 0 && errno != ENOTSUP)
		model_differs(m, "%s: listxattr: %s", m->name[s], strerror(errno));
	for (char *p = list; p < list + n && count < 16; p += strlen(p) + 1)
		if (!strncmp(p, "user.", 5) || !strncmp(p, "trusted.", 8))
			name[count++] = p;
	qsort(name, (size_t)count, sizeof(*name), by_name);
	return count;
}

static void check_xattrs(struct model *m, const char *path)
{
	char list[SIDES][4096], value[SIDES][512], at[SIDES][512], *name[SIDES][16];
	int n[SIDES];

	for (int s = 0; s < SIDES; s++) {
		(void)snprintf(at[s], sizeof(at[s]), "%s/%s", m->name[s], path);
		n[s] = names(m, s, at[s], list[s], name[s]);
	}
	SAME("attributes", n[0], n[1]);
	for (int i = 0; i < n[0]; i++) {
		int64_t r[SIDES];

		if (strcmp(name[0][i], name[1][i]) != 0)
			model_differs(m, "%s: attribute %s, not %s", path, name[0][i], name[1][i]);
		BOTH(r, lgetxattr(at[s], name[s][i], value[s], sizeof(value[s])));
		model_agree(m, r);
		if (r[0] > 0 && memcmp(value[0], value[1], (size_t)r[0]) != 0)
			model_differs(m, "%s: value of %s", path, name[0][i]);
	}
}

/* ---- directories */

#define MAX_NAMES 512

struct listing {
	struct dirent e[MAX_NAMES];
	int n;
};

static int by_entry(const void *a, const void *b)
{
	return strcmp(((const struct dirent *)a)->d_name, ((const struct dirent *)b)->d_name);
}

static void list(struct model *m, int s, const char *path, struct listing *l)
{
	int fd = openat(m->dir[s], path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	long half = 0;

	if (!d)
		model_differs(m, "%s: opening %s: %s", m->name[s], path, strerror(errno));
	l->n = 0;
	while ((e = readdir(d))) {
		if (l->n == MAX_NAMES)
			model_differs(m, "%s: too many entries", path);
		memcpy(&l->e[l->n], e, sizeof(*e) < e->d_reclen ? sizeof(*e) : e->d_reclen);
		if (++l->n == 3)
			half = telldir(d);
	}
	/* Back to a position: the same entry follows. */
	if (l->n > 3) {
		seekdir(d, half);
		e = readdir(d);
		if (!e || strcmp(e->d_name, l->e[3].d_name) != 0)
			model_differs(m, "%s: after seekdir %s, not %s", path,
				e ? e->d_name : "end", l->e[3].d_name);
	}
	closedir(d);
	qsort(l->e, (size_t)l->n, sizeof(l->e[0]), by_entry);
}

static struct listing *new_listing(struct model *m)
{
	struct listing *l = malloc(sizeof(*l));

	if (!l)
		model_differs(m, "out of memory");
	return l;
}

/* The same names, types as lstat says them, and inode numbers as lstat says them. */
static struct listing *compare_lists(struct model *m, const char *path)
{
	struct listing *a = new_listing(m);
	_cleanup_free_ struct listing *b = new_listing(m);

	list(m, UNDER_TEST, path, a);
	list(m, ORACLE, path, b);
	for (int i = 0; i < a->n && i < b->n; i++)
		if (strcmp(a->e[i].d_name, b->e[i].d_name) != 0)
			model_differs(
				m, "%s: has %s, not %s", path, a->e[i].d_name, b->e[i].d_name);
	SAME("entries", a->n, b->n);
	for (int i = 0; i < a->n; i++)
		if (a->e[i].d_type != b->e[i].d_type)
			model_differs(m, "%s/%s: type %d, not %d", path, a->e[i].d_name,
				a->e[i].d_type, b->e[i].d_type);
	return a;
}

void model_check_dir(struct model *m, const char *path)
{
	free(compare_lists(m, path));
}

static void check_one(struct model *m, const char *path, uint64_t ino)
{
	struct stat st[SIDES];
	int64_t r[SIDES];
	int fd[SIDES];

	BOTH(r, fstatat(m->dir[s], path, &st[s], AT_SYMLINK_NOFOLLOW));
	model_agree(m, r);
	if (r[0] < 0)
		model_differs(m, "%s: listed, but: %s", path, strerror((int)-r[0]));
	model_check_stat(m, path, &st[0], &st[1]);
	SAME("listed inode", ino, st[0].st_ino);
	if (m->xattr[0] || m->xattr[1])
		check_xattrs(m, path);
	if (S_ISLNK(st[0].st_mode)) {
		char to[SIDES][MODEL_PATH] = {{0}};

		BOTH(r, readlinkat(m->dir[s], path, to[s], sizeof(to[s])));
		model_agree(m, r);
		if (strcmp(to[0], to[1]) != 0)
			model_differs(m, "%s: link to %s, not %s", path, to[0], to[1]);
	}
	if (!S_ISREG(st[0].st_mode))
		return;
	BOTH(r, fd[s] = openat(m->dir[s], path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
	if (r[0] < 0 || r[1] < 0)
		model_differs(m, "%s: cannot be opened on both", path);
	model_check_file(m, path, fd);
	for (int s = 0; s < SIDES; s++)
		close(fd[s]);
}

static void check_below(struct model *m, const char *path, int depth)
{
	_cleanup_free_ struct listing *l = compare_lists(m, path);
	char sub[400];

	for (int i = 0; i < l->n; i++) {
		const char *name = l->e[i].d_name;

		if (!strcmp(name, ".") || !strcmp(name, ".."))
			continue;
		(void)snprintf(sub, sizeof(sub), "%s/%s", path, name);
		check_one(m, sub, l->e[i].d_ino);
		/* Directories that were moved below each other may be as deep as they like. */
		if (l->e[i].d_type == DT_DIR && depth < 12)
			check_below(m, sub, depth + 1);
	}
}

void model_check_tree(struct model *m)
{
	check_below(m, ".", 0);
	for (int i = 0; i < MODEL_OPEN; i++)
		if (m->file[i].fd[0] >= 0)
			model_check_file(m, m->file[i].path, m->file[i].fd);
}
