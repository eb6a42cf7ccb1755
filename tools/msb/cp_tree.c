// SPDX-License-Identifier: Apache-2.0
// Copying trees, by descriptors of directories.
#include "tools/msb/cp.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/xattr.h>

void cp_left_out(struct cp *c, const char *path, const char *fmt, ...)
{
	_cleanup_str_ struct msb_str shown = MSB_STR_INIT;
	va_list ap;

	c->out++;
	msb_str_add_printable(&shown, path, strlen(path)); /* a guest's bytes */
	(void)fprintf(stderr, "msb: left out %s: ", shown.buf ?: "");
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
}

int cp_reopen(int path_fd)
{
	char proc[32];
	int fd;

	/* The very inode that was looked at: no name is resolved again. */
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", path_fd);
	fd = open(proc, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

/* ---- files */

static int write_at(int to, const char *p, size_t n, uint64_t off)
{
	while (n) {
		ssize_t k = pwrite(to, p, n, (off_t)off);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0 && errno == ESPIPE)
			k = write(to, p, n);
		if (k < 0)
			return -errno;
		p += k;
		n -= (size_t)k;
		off += (uint64_t)k;
	}
	return 0;
}

/* Bytes from @off to @end. */
static int run(struct cp *c, int from, int to, uint64_t off, uint64_t end, const char *name,
	struct msb_err *e)
{
	while (off < end) {
		size_t want = end - off < CP_BUF_BYTES ? (size_t)(end - off) : CP_BUF_BYTES;
		ssize_t n = pread(from, c->buf, want, (off_t)off);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return msb_err_set(e, errno, "cannot read %s: %m", name);
		if (n == 0)
			break; /* it has become shorter */
		r = write_at(to, c->buf, (size_t)n, off);
		if (r < 0)
			return msb_err_set(e, -r, "cannot write %s: %s", name, strerror(-r));
		off += (uint64_t)n;
	}
	return 0;
}

int cp_bytes(struct cp *c, int from, int to, uint64_t size, const char *name, struct msb_err *e)
{
	struct stat st;
	bool file = fstat(to, &st) == 0 && S_ISREG(st.st_mode);
	uint64_t off = 0;
	int r = 0;

	while (r == 0 && off < size) {
		off_t data = file ? lseek(from, (off_t)off, SEEK_DATA) : (off_t)off;
		off_t hole = data < 0 || !file ? -1 : lseek(from, data, SEEK_HOLE);

		if (data < 0 && errno == ENXIO)
			break; /* a hole up to its end */
		if (data < 0)
			data = (off_t)off; /* no such thing here */
		if (hole < 0 || (uint64_t)hole > size)
			hole = (off_t)size;
		if ((uint64_t)data >= size)
			break;
		r = run(c, from, to, (uint64_t)data, (uint64_t)hole, name, e);
		off = (uint64_t)hole;
	}
	if (r == 0 && file && ftruncate(to, (off_t)size) < 0)
		return msb_err_set(e, errno, "cannot write %s: %m", name);
	return r;
}

/* What is called so and may go: a file or a link. */
static int make_way(int dir, const char *name, const char *path, struct msb_err *e)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : msb_err_set(e, errno, "cannot look at %s: %m", path);
	if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
		return msb_err_set(e, EEXIST, "%s is there, and no file", path);
	return unlinkat(dir, name, 0) < 0 && errno != ENOENT
		       ? msb_err_set(e, errno, "cannot replace %s: %m", path)
		       : 0;
}

int cp_create(int dir, const char *name, const char *path, struct msb_err *e)
{
	int r = make_way(dir, name, path, e), fd;

	if (r < 0)
		return r;
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? msb_err_set(e, errno, "cannot make %s: %m", path) : fd;
}

int cp_attributes(struct cp *c, int fd, const struct stat *st, const char *name, struct msb_err *e)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};
	mode_t mode = st->st_mode & 07777;

	/* What a guest says is root's and set-id is not to be so here, unless it is asked for. */
	if (!c->to_guest && !c->archive)
		mode &= 01777;
	if (c->archive && fchown(fd, st->st_uid, st->st_gid) < 0)
		return msb_err_set(e, errno, "cannot give %s its owner: %m", name);
	if (fchmod(fd, mode) < 0)
		return msb_err_set(e, errno, "cannot give %s its mode: %m", name);
	if (futimens(fd, times) < 0)
		return msb_err_set(e, errno, "cannot give %s its time: %m", name);
	return 0;
}

static int file(struct cp *c, int from, const struct stat *st, int dir, const char *name,
	const char *path, struct msb_err *e)
{
	_cleanup_close_ int in = cp_reopen(from), out = -1;
	int r;

	if (in < 0)
		return msb_err_set(e, -in, "cannot open %s: %s", path, strerror(-in));
	out = cp_create(dir, name, path, e);
	if (out < 0)
		return out;
	r = cp_bytes(c, in, out, (uint64_t)st->st_size, path, e);
	return r < 0 ? r : cp_attributes(c, out, st, path, e);
}

int cp_symlink(struct cp *c, const char *target, int dir, const char *name, const struct stat *st,
	const char *path, struct msb_err *e)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};
	int r = make_way(dir, name, path, e);

	if (r < 0)
		return r;
	if (symlinkat(target, dir, name) < 0)
		return msb_err_set(e, errno, "cannot make the link %s: %m", path);
	if (c->archive && fchownat(dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return msb_err_set(e, errno, "cannot give %s its owner: %m", path);
	(void)utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW); /* of a link: nobody relies on it */
	return 0;
}

static int copy_link(struct cp *c, int from, const struct stat *st, int dir, const char *name,
	const char *path, struct msb_err *e)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from, "", target, sizeof(target) - 1);

	if (n < 0)
		return msb_err_set(e, errno, "cannot read the link %s: %m", path);
	target[n] = '\0';
	return cp_symlink(c, target, dir, name, st, path, e);
}

static int fifo(struct cp *c, const struct stat *st, int dir, const char *name, const char *path,
	struct msb_err *e)
{
	int r = make_way(dir, name, path, e);

	if (r == 0 && mkfifoat(dir, name, st->st_mode & 0777) < 0)
		return msb_err_set(e, errno, "cannot make the pipe %s: %m", path);
	if (r == 0 && c->archive &&
		fchownat(dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return msb_err_set(e, errno, "cannot give %s its owner: %m", path);
	return r;
}

/* ---- directories */

int cp_each(int from, const char *path,
	int (*one)(void *, int, const char *, const char *, struct msb_err *), void *arg,
	struct msb_err *e)
{
	_cleanup_closedir_ DIR *d = NULL;
	const struct dirent *de;
	int fd = cp_reopen(from), r = 0;

	if (fd < 0)
		return msb_err_set(e, -fd, "cannot open %s: %s", path, strerror(-fd));
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return msb_err_set(e, ENOMEM, "no memory");
	}
	while (r == 0 && (errno = 0, de = readdir(d))) {
		_cleanup_close_ int below = -1;
		_cleanup_free_ char *full = NULL;

		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		if (strchr(de->d_name, '/'))
			return msb_err_set(e, EBADMSG, "%s holds a name with a slash", path);
		if (asprintf(&full, "%s%s%s", path, *path ? "/" : "", de->d_name) < 0) {
			full = NULL;
			return msb_err_set(e, ENOMEM, "no memory");
		}
		below = openat(dirfd(d), de->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (below >= 0)
			r = one(arg, below, de->d_name, full, e);
		else if (errno != ENOENT) /* it has just gone */
			r = msb_err_set(e, errno, "cannot look at %s: %m", full);
	}
	if (r == 0 && errno)
		r = msb_err_set(e, errno, "cannot list %s: %m", path);
	return r;
}

static int tree(struct cp *c, int from, int dir, const char *name, const char *path,
	unsigned int depth, struct msb_err *e);

struct copying {
	struct cp *c;
	int dir;
	unsigned int depth;
};

static int copy_one(void *arg, int from, const char *name, const char *path, struct msb_err *e)
{
	const struct copying *x = arg;

	return tree(x->c, from, x->dir, name, path, x->depth, e);
}

static int directory(struct cp *c, int from, const struct stat *st, int dir, const char *name,
	const char *path, unsigned int depth, struct msb_err *e)
{
	_cleanup_close_ int into = -1;
	struct stat made;
	bool is_new;
	int r;

	if (depth == CP_MAX_DEPTH)
		return msb_err_set(e, ELOOP, "%.64s...: more than %d directories in each other",
			path, CP_MAX_DEPTH);
	if (st->st_dev == c->into_dev && st->st_ino == c->into_ino) {
		cp_left_out(c, path, "it is where the copy goes");
		return 0;
	}
	is_new = mkdirat(dir, name, 0700) == 0;
	if (!is_new && errno != EEXIST)
		return msb_err_set(e, errno, "cannot make %s: %m", path);
	into = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (into < 0 || fstat(into, &made) < 0)
		return msb_err_set(
			e, errno == ELOOP ? ENOTDIR : errno, "%s is there, and no directory", path);
	if (depth == 0) {
		c->into_dev = made.st_dev;
		c->into_ino = made.st_ino;
	}
	r = cp_each(from, path, copy_one, &(struct copying){c, into, depth + 1}, e);
	/* After what is in it, which moves its time, and may need to write there. */
	return r < 0 || !is_new ? r : cp_attributes(c, into, st, path, e);
}

static int tree(struct cp *c, int from, int dir, const char *name, const char *path,
	unsigned int depth, struct msb_err *e)
{
	struct stat st;

	if (fstat(from, &st) < 0)
		return msb_err_set(e, errno, "cannot look at %s: %m", path);
	switch (st.st_mode & S_IFMT) {
	case S_IFREG: return file(c, from, &st, dir, name, path, e);
	case S_IFDIR: return directory(c, from, &st, dir, name, path, depth, e);
	case S_IFLNK: return copy_link(c, from, &st, dir, name, path, e);
	case S_IFIFO: return fifo(c, &st, dir, name, path, e);
	default:
		cp_left_out(c, path, "it is a %s", S_ISSOCK(st.st_mode) ? "socket" : "device");
		return 0;
	}
}

int cp_tree(struct cp *c, int from, int dir, const char *name, const char *path, struct msb_err *e)
{
	return tree(c, from, dir, name, path, 0, e);
}

int cp_contents(struct cp *c, int from, int dir, const char *path, struct msb_err *e)
{
	struct stat st;

	if (fstat(dir, &st) == 0) {
		c->into_dev = st.st_dev;
		c->into_ino = st.st_ino;
	}
	return cp_each(from, path, copy_one, &(struct copying){c, dir, 1}, e);
}
