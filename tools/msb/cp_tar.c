// SPDX-License-Identifier: Apache-2.0
// Copying to and from a stream: tar.
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/image/tar.h"
#include "tools/msb/cp.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

#define OCTAL_SIZE ((UINT64_C(1) << 33) - 1) /* of a ustar header's size and time */
#define OCTAL_ID   ((1u << 21) - 1)

/* ---- writing: POSIX.1-2017 pax, "ustar Interchange Format" */

struct ustar {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100],
		magic[6], version[2], uname[32], gname[32], major[8], minor[8], prefix[155],
		pad[12];
};
_Static_assert(sizeof(struct ustar) == IMG_TAR_BLOCK, "ustar header");

struct tar {
	struct cp *c;
	int out;
};

static int put(const struct tar *t, const void *p, size_t n, struct msb_err *e)
{
	int r = msb_write_full(t->out, p, n);

	return r < 0 ? msb_err_set(e, -r, "cannot write the archive: %s", strerror(-r)) : 0;
}

static int pad(const struct tar *t, uint64_t size, struct msb_err *e)
{
	static const char zeros[IMG_TAR_BLOCK];
	size_t n = (size_t)(-size & (IMG_TAR_BLOCK - 1));

	return n ? put(t, zeros, n, e) : 0;
}

static int header(const struct tar *t, char type, const char *name, const char *link,
	const struct stat *st, uint64_t size, struct msb_err *e)
{
	struct ustar h = {.type = type, .magic = "ustar", .version = "00"};
	uint64_t mtime = st->st_mtim.tv_sec < 0 ? 0 : (uint64_t)st->st_mtim.tv_sec;
	unsigned int sum = 0;

	/* What does not fit is in the pax header that came before. */
	memcpy(h.name, name, strnlen(name, sizeof(h.name)));
	memcpy(h.link, link, strnlen(link, sizeof(h.link)));
	(void)snprintf(h.mode, sizeof(h.mode), "%07o", st->st_mode & 07777);
	(void)snprintf(h.uid, sizeof(h.uid), "%07o", st->st_uid <= OCTAL_ID ? st->st_uid : 0);
	(void)snprintf(h.gid, sizeof(h.gid), "%07o", st->st_gid <= OCTAL_ID ? st->st_gid : 0);
	(void)snprintf(h.size, sizeof(h.size), "%011" PRIo64, size <= OCTAL_SIZE ? size : 0);
	(void)snprintf(h.mtime, sizeof(h.mtime), "%011" PRIo64, mtime <= OCTAL_SIZE ? mtime : 0);
	memset(h.sum, ' ', sizeof(h.sum));
	for (size_t i = 0; i < sizeof(h); i++)
		sum += ((const unsigned char *)&h)[i];
	(void)snprintf(h.sum, sizeof(h.sum), "%06o", sum);
	return put(t, &h, sizeof(h), e);
}

/* `LENGTH KEY=VALUE\n`, the length of all of it. */
static void record(struct msb_str *s, const char *key, const char *value)
{
	size_t n = strlen(key) + strlen(value) + 3, len = n + 1;
	char digits[24];

	while ((size_t)snprintf(digits, sizeof(digits), "%zu", len) + n != len)
		len = (size_t)snprintf(digits, sizeof(digits), "%zu", len) + n;
	msb_str_addf(s, "%zu %s=%s\n", len, key, value);
}

static void record_number(struct msb_str *s, const char *key, uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	record(s, key, text);
}

static int entry(const struct tar *t, char type, const char *name, const char *link,
	const struct stat *st, struct msb_err *e)
{
	_cleanup_str_ struct msb_str x = MSB_STR_INIT;
	uint64_t size = type == IMG_TAR_FILE ? (uint64_t)st->st_size : 0;
	int r = 0;

	if (strlen(name) > sizeof(((struct ustar *)0)->name))
		record(&x, "path", name);
	if (strlen(link) > sizeof(((struct ustar *)0)->link))
		record(&x, "linkpath", link);
	if (size > OCTAL_SIZE)
		record_number(&x, "size", size);
	if (st->st_uid > OCTAL_ID)
		record_number(&x, "uid", st->st_uid);
	if (st->st_gid > OCTAL_ID)
		record_number(&x, "gid", st->st_gid);
	if (x.oom)
		return msb_err_set(e, ENOMEM, "no memory");
	if (x.len) {
		const struct stat none = {.st_mode = 0644};

		r = header(t, 'x', "pax", "", &none, x.len, e);
		if (r == 0)
			r = put(t, x.buf, x.len, e);
		if (r == 0)
			r = pad(t, x.len, e);
	}
	return r < 0 ? r : header(t, type, name, link, st, size, e);
}

static int add_file(
	const struct tar *t, int from, const char *name, const struct stat *st, struct msb_err *e)
{
	_cleanup_close_ int in = cp_reopen(from);
	uint64_t off = 0, size = (uint64_t)st->st_size;
	int r;

	if (in < 0)
		return msb_err_set(e, -in, "cannot open %s: %s", name, strerror(-in));
	r = entry(t, IMG_TAR_FILE, name, "", st, e);
	while (r == 0 && off < size) {
		size_t want = size - off < CP_BUF_BYTES ? (size_t)(size - off) : CP_BUF_BYTES;
		int64_t n = msb_pread_full(in, t->c->buf, want, off);

		if (n < 0)
			return msb_err_set(
				e, (int)-n, "cannot read %s: %s", name, strerror((int)-n));
		memset(t->c->buf + n, 0, want - (size_t)n); /* it has become shorter: as promised */
		r = put(t, t->c->buf, want, e);
		off += want;
	}
	return r < 0 ? r : pad(t, size, e);
}

struct adding {
	const struct tar *t;
	unsigned int depth;
};

static int add(
	const struct tar *t, int from, const char *name, unsigned int depth, struct msb_err *e);

static int add_one(void *arg, int from, const char *name, const char *path, struct msb_err *e)
{
	const struct adding *x = arg;

	return add(x->t, from, path, x->depth, e);
}

static int add(
	const struct tar *t, int from, const char *name, unsigned int depth, struct msb_err *e)
{
	char target[PATH_MAX];
	_cleanup_free_ char *slash = NULL;
	struct stat st;
	ssize_t n;
	int r;

	if (fstat(from, &st) < 0)
		return msb_err_set(e, errno, "cannot look at %s: %m", name);
	switch (st.st_mode & S_IFMT) {
	case S_IFREG: return add_file(t, from, name, &st, e);
	case S_IFDIR:
		if (depth == CP_MAX_DEPTH)
			return msb_err_set(e, ELOOP,
				"%.64s...: more than %d directories in each other", name,
				CP_MAX_DEPTH);
		if (asprintf(&slash, "%s/", name) < 0) {
			slash = NULL;
			return msb_err_set(e, ENOMEM, "no memory");
		}
		r = *name ? entry(t, IMG_TAR_DIR, slash, "", &st, e) : 0;
		return r < 0 ? r : cp_each(from, name, add_one, &(struct adding){t, depth + 1}, e);
	case S_IFLNK:
		n = readlinkat(from, "", target, sizeof(target) - 1);
		if (n < 0)
			return msb_err_set(e, errno, "cannot read the link %s: %m", name);
		target[n] = '\0';
		return entry(t, IMG_TAR_SYMLINK, name, target, &st, e);
	case S_IFIFO: return entry(t, IMG_TAR_FIFO, name, "", &st, e);
	default:
		cp_left_out(t->c, name, "it is a %s", S_ISSOCK(st.st_mode) ? "socket" : "device");
		return 0;
	}
}

int cp_to_tar(struct cp *c, int from, const char *name, int out, struct msb_err *e)
{
	static const char end[2 * IMG_TAR_BLOCK];
	const struct tar t = {c, out};
	int r = add(&t, from, name, 0, e);

	return r < 0 ? r : put(&t, end, sizeof(end), e);
}

/* ---- reading */

struct untar {
	struct cp *c;
	int root;
	const char *into; /* below it */
	int fd;		  /* of the file that is made; -1: none, its bytes are dropped */
	uint64_t off;
	char path[PATH_MAX]; /* of it */
	struct stat st;
};

static int beneath(int root, const char *path, uint64_t flags)
{
	const struct open_how how = {
		.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	long fd;

	do
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
	while (fd < 0 && errno == EAGAIN); /* names moved meanwhile */
	return fd < 0 ? -errno : (int)fd;
}

/* Where an entry's name is made: its directory, made as well where it is missing, with what is a
 * link in the sandbox followed inside of it, as its own tar would. @name: in @path. */
static int parent(struct untar *u, const char **name, struct msb_err *e)
{
	char *slash = strrchr(u->path, '/');
	int fd;

	*name = slash + 1;
	for (char *p = u->path; p && *p;) {
		char *next = strchr(p + 1, '/');
		_cleanup_close_ int up = -1;

		if (!next)
			break;
		*next = '\0';
		fd = beneath(u->root, u->path, O_PATH | O_DIRECTORY);
		if (fd == -ENOENT) {
			*p = '\0';
			up = beneath(u->root, *u->path ? u->path : "/", O_PATH | O_DIRECTORY);
			*p = '/';
			if (up >= 0 && mkdirat(up, p + 1, 0755) == 0)
				fd = beneath(u->root, u->path, O_PATH | O_DIRECTORY);
		}
		if (fd < 0)
			return msb_err_set(e, -fd, "cannot go to %s: %s", u->path, strerror(-fd));
		*next = '/';
		if (next == slash)
			return fd;
		close(fd);
		p = next;
	}
	fd = beneath(u->root, "/", O_PATH | O_DIRECTORY);
	return fd < 0 ? msb_err_set(e, -fd, "cannot open the root: %s", strerror(-fd)) : fd;
}

/* INTO/NAME with neither `.`, `..` nor empty names of the archive's. -EINVAL it goes up. */
static int path_of(struct untar *u, const char *name, struct msb_err *e)
{
	struct msb_str s = MSB_STR_FIXED(u->path);

	msb_str_add(&s, "", 0); /* where no name comes it is the root's */
	for (const char *p = u->into; *p;) {
		size_t n = strcspn(p, "/");

		if (n)
			msb_str_addf(&s, "/%.*s", (int)n, p);
		p += n + (p[n] == '/');
	}
	for (const char *p = name; *p;) {
		size_t n = strcspn(p, "/");

		if (n == 2 && p[0] == '.' && p[1] == '.')
			return msb_err_set(e, EINVAL, "the archive names %s, which goes up", name);
		if (n && !(n == 1 && p[0] == '.'))
			msb_str_addf(&s, "/%.*s", (int)n, p);
		p += n + (p[n] == '/');
	}
	return s.len >= sizeof(u->path) - 1
		       ? msb_err_set(e, ENAMETOOLONG, "%.64s... is too long", name)
		       : 0;
}

static int make_dir(struct untar *u, int dir, const char *name, struct msb_err *e)
{
	_cleanup_close_ int fd = -1;

	if (mkdirat(dir, name, 0700) < 0)
		return errno == EEXIST ? 0 : msb_err_set(e, errno, "cannot make %s: %m", u->path);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? msb_err_set(e, errno, "cannot open %s: %m", u->path)
		      : cp_attributes(u->c, fd, &u->st, u->path, e);
}

static int make_hardlink(
	struct untar *u, int dir, const char *name, const char *target, struct msb_err *e)
{
	_cleanup_close_ int from = -1;
	char path[PATH_MAX], proc[32];
	int r;

	memcpy(path, u->path, sizeof(path));
	r = path_of(u, target, e);
	if (r < 0)
		return r;
	from = beneath(u->root, u->path, O_PATH | O_NOFOLLOW);
	memcpy(u->path, path, sizeof(path));
	if (from < 0)
		return msb_err_set(
			e, -from, "%s is a link to %s: %s", u->path, target, strerror(-from));
	(void)unlinkat(dir, name, 0); /* where it is there; linkat() says what is wrong else */
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", from);
	return linkat(AT_FDCWD, proc, dir, name, AT_SYMLINK_FOLLOW) < 0
		       ? msb_err_set(e, errno, "cannot make %s: %m", u->path)
		       : 0;
}

static int on_entry(void *arg, const struct img_tar_entry *x, struct msb_err *e)
{
	_cleanup_close_ int dir = -1;
	struct untar *u = arg;
	const char *name;
	int r = path_of(u, x->path, e);

	if (r < 0)
		return r;
	u->st = (struct stat){.st_mode = x->mode,
		.st_uid = x->uid,
		.st_gid = x->gid,
		.st_size = (off_t)x->size,
		.st_mtim = {x->mtime_sec, x->mtime_nsec},
		.st_atim = {x->mtime_sec, x->mtime_nsec}};
	if (!*u->path)
		return 0; /* the directory itself */
	dir = parent(u, &name, e);
	if (dir < 0)
		return dir;
	switch (x->type) {
	case IMG_TAR_DIR: return make_dir(u, dir, name, e);
	case IMG_TAR_SYMLINK: return cp_symlink(u->c, x->link, dir, name, &u->st, u->path, e);
	case IMG_TAR_HARDLINK: return make_hardlink(u, dir, name, x->link, e);
	case IMG_TAR_FILE:
		u->off = 0;
		u->fd = cp_create(dir, name, u->path, e);
		return u->fd < 0 ? u->fd : 0;
	default:
		cp_left_out(
			u->c, u->path, "it is a %s", x->type == IMG_TAR_FIFO ? "pipe" : "device");
		return 0;
	}
}

static int on_data(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct untar *u = arg;
	int r = u->fd < 0 ? 0 : msb_pwrite_full(u->fd, p, n, u->off);

	u->off += n;
	return r < 0 ? msb_err_set(e, -r, "cannot write %s: %s", u->path, strerror(-r)) : 0;
}

static int on_hole(void *arg, uint64_t n, struct msb_err *e)
{
	struct untar *u = arg;

	u->off += n;
	return 0;
}

static int on_done(void *arg, struct msb_err *e)
{
	struct untar *u = arg;
	int r = 0;

	if (u->fd < 0)
		return 0;
	if (ftruncate(u->fd, u->st.st_size) < 0)
		r = msb_err_set(e, errno, "cannot write %s: %m", u->path);
	if (r == 0)
		r = cp_attributes(u->c, u->fd, &u->st, u->path, e);
	close(steal_fd(&u->fd));
	return r;
}

int cp_from_tar(struct cp *c, int in, int root, const char *path, struct msb_err *e)
{
	static const struct img_tar_ops ops = {on_entry, on_data, on_hole, on_done};
	struct untar u = {.c = c, .root = root, .into = path, .fd = -1};
	struct img_tar *t = NULL;
	ssize_t n = 1;
	int r = img_tar_new(&ops, &u, &t);

	if (r < 0)
		return msb_err_set(e, -r, "no memory");
	while (r == 0 && n > 0) {
		n = read(in, c->buf, CP_BUF_BYTES);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n < 0)
			r = msb_err_set(e, errno, "cannot read the archive: %m");
		else if (n > 0)
			r = img_tar_feed(t, c->buf, (size_t)n, e);
	}
	if (r == 0)
		r = img_tar_finish(t, e);
	if (u.fd >= 0)
		close(u.fd);
	img_tar_free(t);
	return r;
}
