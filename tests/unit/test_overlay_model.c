// SPDX-License-Identifier: Apache-2.0
// The overlay against a real directory: random ops on both, then the same state, also after a
// restart, after a crash (a copy of the upper, opened), and with the log cut at any byte.
// Usage: test_overlay_model [SEED [OPS]]; the seed of a run is printed.
#include "tests/unit/overlay_fixture.h"

#include "base/log.h"

#include <dirent.h>
#include <time.h>
#include <xxhash.h>

#define SMALL_TIME 1000000 /* times below it were set, others are of the clock */

static uint64_t seed, seed_now;
static unsigned int ops = 3000;

static uint32_t rnd(uint32_t n)
{
	seed_now = seed_now * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(seed_now >> 33) % n;
}

struct model {
	struct fx fx;
	char real[80];
	bool root; /* may chown and make devices */
	bool user_xattr;
};

static const char *rp(const struct model *m, const char *path)
{
	static char buf[2][512];
	static int which;

	which = !which;
	(void)snprintf(buf[which], sizeof(buf[which]), "%s/%s", m->real, path);
	return buf[which];
}

static void random_path(char *path)
{
	static const char *const names[] = {"a", "b", "c", "d", "e", "f", "x", "big"};
	uint32_t depth = 1 + rnd(3);

	*path = 0;
	for (uint32_t i = 0; i < depth; i++)
		path += sprintf(
			path, "%s%s", i ? "/" : "", names[rnd(i == 0 ? 6 : ARRAY_LEN(names))]);
}

/* ---- the same tree for both */

static void write_real(
	const struct model *m, const char *path, const char *p, size_t n, mode_t mode)
{
	int fd = open(rp(m, path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(msb_write_full(fd, p, n), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void real_image(const struct model *m)
{
	char big[FX_BIG], name[16];

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = fx_byte(i);
	assert_int_equal(mkdir(rp(m, "a"), 0755), 0);
	assert_int_equal(mkdir(rp(m, "a/b"), 0755), 0);
	assert_int_equal(mkdir(rp(m, "a/b/c"), 0700), 0);
	assert_int_equal(mkdir(rp(m, "f"), 0755), 0);
	assert_int_equal(mkdir(rp(m, "many"), 0755), 0);
	write_real(m, "a/b/f", "in b\n", 5, 0644);
	write_real(m, "a/big", big, sizeof(big), 0644);
	write_real(m, "a/d", "", 0, 0600);
	write_real(m, "a/x", "#!\n", 3, 0755);
	write_real(m, "c", FX_SMALL, strlen(FX_SMALL), 0640);
	assert_int_equal(link(rp(m, "c"), rp(m, "d")), 0);
	assert_int_equal(symlink(FX_TARGET, rp(m, "e")), 0);
	for (int i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof(name), "many/%03d", i);
		write_real(m, name, "", 0, 0644);
	}
	if (m->user_xattr) {
		assert_int_equal(lsetxattr(rp(m, "a/x"), "user.one", "1", 1, 0), 0);
		assert_int_equal(lsetxattr(rp(m, "a/x"), "user.two", "22", 2, 0), 0);
	}
}

/* ---- one random op on both; both succeed or fail alike */

static int err(int r)
{
	return r < 0 ? -errno : 0;
}

static int both_setattr(struct model *m, const char *path, int *real)
{
	struct fsb_setattr s = {0};
	struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, {0}};
	struct fsb_entry e;
	bool is_link = fx_walk(m->fx.b, path, &e) == 0;

	if (is_link) {
		fx_forget(m->fx.b, e.node);
		is_link = S_ISLNK(e.attr.mode);
	}
	switch (rnd(m->root ? 3 : 2)) {
	case 0:
		if (is_link)
			return *real = 0; /* Linux has no lchmod */
		s.valid = FATTR_MODE;
		s.mode = 0700 | rnd(01000); /* an ordinary user must get in again */
		*real = err(chmod(rp(m, path), s.mode));
		break;
	case 1:
		s.valid = FATTR_MTIME;
		s.mtime = rnd(SMALL_TIME);
		s.mtimensec = rnd(1000000000);
		ts[1] = (struct timespec){(time_t)s.mtime, (long)s.mtimensec};
		*real = err(utimensat(AT_FDCWD, rp(m, path), ts, AT_SYMLINK_NOFOLLOW));
		break;
	default:
		s.valid = FATTR_UID | FATTR_GID;
		s.uid = rnd(5);
		s.gid = rnd(5);
		s.kill_suidgid = true;
		*real = err(lchown(rp(m, path), s.uid, s.gid));
	}
	return fx_setattr(m->fx.b, path, &s);
}

/* Devices and pipes do not ask the file system for their contents. */
static bool special(struct model *m, const char *path)
{
	struct stat st;

	return lstat(rp(m, path), &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) &&
	       !S_ISLNK(st.st_mode);
}

static int both_truncate(struct model *m, const char *path, int *real)
{
	struct fsb_setattr s = {.valid = FATTR_SIZE, .size = rnd(4) ? rnd(100000) : 0};
	int fd;

	*real = 0;
	if (special(m, path))
		return 0;
	fd = open(rp(m, path), O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	*real = fd < 0 || ftruncate(fd, (off_t)s.size) < 0 ? -1 : 0;
	if (fd >= 0)
		close(fd);
	return fx_setattr(m->fx.b, path, &s) < 0 ? -1 : 0;
}

static int both_write(struct model *m, const char *path, int *real)
{
	static char buf[9000];
	size_t n = 1 + rnd(sizeof(buf) - 1);
	uint64_t off = rnd(3) ? rnd(20000) : rnd(120000);
	int fd;

	*real = 0;
	if (special(m, path))
		return 0;
	fd = open(rp(m, path), O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	memset(buf, (int)rnd(256), n);
	*real = fd < 0 || pwrite(fd, buf, n, (off_t)off) != (ssize_t)n ? -1 : 0;
	if (fd >= 0)
		close(fd);
	return fx_write(m->fx.b, path, buf, n, off, 0) < 0 ? -1 : 0;
}

static int both_xattr(struct model *m, const char *path, int *real)
{
	struct fsb *b = m->fx.b;
	char name[] = "user.?", value[300];
	struct fsb_entry e;
	int r = 0;

	*real = 0;
	if (!m->user_xattr || fx_walk(b, path, &e) < 0)
		return 0;
	name[5] = (char)('p' + rnd(3));
	memset(value, 'v', sizeof(value));
	/* user.* on other types is the kernel's to refuse */
	if (!S_ISREG(e.attr.mode) && !S_ISDIR(e.attr.mode)) {
		r = 0;
	} else if (rnd(3)) {
		size_t n = rnd(sizeof(value));
		int flags = rnd(2) ? 0 : rnd(2) ? XATTR_CREATE : XATTR_REPLACE;

		*real = err(lsetxattr(rp(m, path), name, value, n, flags));
		r = b->ops->setxattr(b, &fx_req, e.node, name, value, n, (uint32_t)flags);
	} else {
		*real = err(lremovexattr(rp(m, path), name));
		r = b->ops->removexattr(b, &fx_req, e.node, name);
	}
	fx_forget(b, e.node);
	return r;
}

static bool is_prefix(const char *p, const char *of)
{
	size_t n = strlen(p);

	return strncmp(p, of, n) == 0 && (of[n] == '/' || of[n] == '\0');
}

static int both_rename(struct model *m, const char *path, int *real)
{
	static const uint32_t flag[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	uint32_t flags = flag[rnd(ARRAY_LEN(flag))];
	char to[128];
	int r;

	random_path(to);
	*real = err(renameat2(AT_FDCWD, rp(m, path), AT_FDCWD, rp(m, to), flags));
	r = fx_rename(m->fx.b, path, to, flags);
	/* Which of several reasons is told is the kernel's affair where one path lies on the other.
	 */
	if (r < 0 && *real < 0 && (is_prefix(to, path) || is_prefix(path, to)))
		r = *real;
	return r;
}

static int both_mknod(struct model *m, const char *path, int *real)
{
	uint32_t mode = m->root && rnd(2) ? S_IFCHR | 0620 : S_IFIFO | 0640;

	*real = err(mknod(rp(m, path), mode, makedev(1, 3)));
	return fx_mk(m->fx.b, path, mode, NULL);
}

static int both_fsync(struct model *m, const char *path)
{
	struct fsb_entry e;
	int r = fx_walk(m->fx.b, path, &e);

	if (r < 0)
		return 0;
	r = m->fx.b->ops->fsync(m->fx.b, e.node, 0, false);
	fx_forget(m->fx.b, e.node);
	return r;
}

static void step(struct model *m, unsigned int n)
{
	char path[128], to[128];
	uint32_t what = rnd(20);
	int real = 0, ours, fd;

	random_path(path);
	switch (what) {
	case 0:
	case 1:
	case 2:
		fd = open(rp(m, path), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
		real = err(fd);
		if (fd >= 0)
			close(fd);
		ours = fx_mk(m->fx.b, path, S_IFREG | 0644, NULL);
		break;
	case 3:
	case 4:
	case 5:
		real = err(mkdir(rp(m, path), 0755));
		ours = fx_mk(m->fx.b, path, S_IFDIR | 0755, NULL);
		break;
	case 6:
		real = err(symlink("nowhere", rp(m, path)));
		ours = fx_mk(m->fx.b, path, S_IFLNK | 0777, "nowhere");
		break;
	case 7: ours = both_mknod(m, path, &real); break;
	case 8:
		random_path(to);
		real = err(linkat(AT_FDCWD, rp(m, path), AT_FDCWD, rp(m, to), 0));
		ours = fx_link(m->fx.b, path, to);
		break;
	case 9:
		real = err(unlink(rp(m, path)));
		ours = fx_rm(m->fx.b, path, false);
		break;
	case 10:
		real = err(rmdir(rp(m, path)));
		ours = fx_rm(m->fx.b, path, true);
		break;
	case 11:
	case 12:
	case 13: ours = both_rename(m, path, &real); break;
	case 14:
	case 15: ours = both_setattr(m, path, &real); break;
	case 16: ours = both_truncate(m, path, &real); break;
	case 17: ours = both_xattr(m, path, &real); break;
	case 18: ours = rnd(4) ? 0 : both_fsync(m, path); break;
	default: ours = both_write(m, path, &real);
	}
	if (ours != real)
		fail_msg("seed %llu: op %u, kind %u on %s: %d (%s), the directory %d (%s)",
			(unsigned long long)seed, n, what, path, ours, strerror(-ours), real,
			strerror(-real));
}

/* ---- comparing */

struct names {
	char (*name)[256];
	int n, cap;
};

static int add_name(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type,
	uint64_t off, const struct fsb_entry *e)
{
	struct names *l = arg;

	if (n <= 2 && memcmp(name, "..", n) == 0)
		return 0;
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 16;
		l->name = realloc(l->name, (size_t)l->cap * sizeof(*l->name));
		assert_non_null(l->name);
	}
	memcpy(l->name[l->n], name, n);
	l->name[l->n++][n] = '\0';
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void list(struct fsb *b, uint64_t node, struct names *l)
{
	assert_int_equal(b->ops->readdir(b, &fx_req, node, 0, 0, false, add_name, l), 0);
	if (l->n)
		qsort(l->name, (size_t)l->n, sizeof(*l->name), by_name);
}

static void list_real(const char *path, struct names *l)
{
	DIR *d = opendir(path);
	struct dirent *e;

	assert_non_null(d);
	while ((e = readdir(d)))
		(void)add_name(l, e->d_name, strlen(e->d_name), 0, 0, 0, NULL);
	closedir(d);
	if (l->n)
		qsort(l->name, (size_t)l->n, sizeof(*l->name), by_name);
}

#define SAME(what, a, b)                                                                           \
	do {                                                                                       \
		long long x_ = (long long)(a), y_ = (long long)(b);                                \
		if (x_ != y_)                                                                      \
			fail_msg("seed %llu: %s: " what " %llx, not %llx",                         \
				(unsigned long long)seed, path, x_, y_);                           \
	} while (0)

static void same_file(struct model *m, const char *path, uint64_t node, uint64_t size)
{
	char *a = malloc(size + 1), *b = malloc(size + 1);
	struct iovec iov = {b, size + 1};
	int fd = open(rp(m, path), O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0 && a && b);
	SAME("bytes there", msb_pread_full(fd, a, size + 1, 0), size);
	SAME("bytes read", m->fx.b->ops->readv(m->fx.b, node, 0, &iov, 1, 0), size);
	SAME("contents", memcmp(a, b, size), 0);
	close(fd);
	free(a);
	free(b);
}

static void same_xattrs(struct model *m, const char *path, uint64_t node)
{
	char names[1024], a[512], b[512];
	ssize_t n = llistxattr(rp(m, path), names, sizeof(names));
	int64_t want = 0;

	assert_true(n >= 0);
	for (char *p = names; p < names + n; p += strlen(p) + 1) {
		ssize_t an;

		if (strncmp(p, "user.", 5) != 0)
			continue; /* labels of the host */
		want += (int64_t)strlen(p) + 1;
		an = lgetxattr(rp(m, path), p, a, sizeof(a));
		SAME("attribute size", m->fx.b->ops->getxattr(m->fx.b, node, p, b, sizeof(b)), an);
		SAME("attribute", memcmp(a, b, (size_t)an), 0);
	}
	SAME("attributes", m->fx.b->ops->listxattr(m->fx.b, node, NULL, 0), want);
}

static void same_time(const char *path, const struct fuse_attr *a, const struct stat *st)
{
	int64_t off = (int64_t)a->mtime - st->st_mtime;

	if (st->st_mtime < SMALL_TIME) {
		SAME("mtime", a->mtime, st->st_mtime);
		SAME("mtime ns", a->mtimensec, st->st_mtim.tv_nsec);
	} else if (a->mtime != FX_MTIME && (off < -60 || off > 60)) {
		fail_msg("seed %llu: %s: mtime %lld, not %lld", (unsigned long long)seed, path,
			(long long)a->mtime, (long long)st->st_mtime);
	}
}

static void same(struct model *m, const char *path)
{
	struct names ours = {0}, real = {0};
	struct fsb_entry e;
	char sub[512];
	struct stat st;

	assert_int_equal(lstat(rp(m, path), &st), 0);
	SAME("lookup", fx_walk(m->fx.b, path, &e), 0);
	if (*path) {
		SAME("mode", e.attr.mode, st.st_mode);
		if (m->root) {
			SAME("uid", e.attr.uid, st.st_uid);
			SAME("gid", e.attr.gid, st.st_gid);
		}
		same_time(path, &e.attr, &st);
	}
	SAME("nlink", e.attr.nlink, st.st_nlink);
	if (S_ISCHR(st.st_mode))
		SAME("rdev", e.attr.rdev, st.st_rdev);
	if (!S_ISDIR(st.st_mode))
		SAME("size", e.attr.size, st.st_size);
	if (S_ISREG(st.st_mode))
		same_file(m, path, e.node, e.attr.size);
	if (S_ISLNK(st.st_mode))
		SAME("target", m->fx.b->ops->readlink(m->fx.b, e.node, sub, sizeof(sub)),
			strlen("nowhere"));
	if (m->user_xattr && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
		same_xattrs(m, path, e.node);
	if (S_ISDIR(st.st_mode)) {
		list(m->fx.b, e.node, &ours);
		list_real(rp(m, path), &real);
		SAME("entries", ours.n, real.n);
		for (int i = 0; ours.name && real.name && i < ours.n; i++) {
			if (strcmp(ours.name[i], real.name[i]) != 0)
				fail_msg("seed %llu: %s: %s, not %s", (unsigned long long)seed,
					path, ours.name[i], real.name[i]);
			(void)snprintf(
				sub, sizeof(sub), "%s%s%s", path, *path ? "/" : "", ours.name[i]);
			same(m, sub);
		}
		free(ours.name);
		free(real.name);
	}
	fx_forget(m->fx.b, e.node);
}

/* All of the metadata but times and sizes, which data files may have ahead of the log. */
static uint64_t digest(struct fsb *b, uint64_t node, uint64_t h)
{
	struct fuse_attr a;
	struct names l = {0};
	char names[2048];
	int64_t n;

	assert_int_equal(b->ops->getattr(b, node, 0, &a), 0);
	{
		uint64_t v[] = {a.ino, a.mode, a.nlink, a.uid, a.gid, a.rdev};

		h = XXH3_64bits_withSeed(v, sizeof(v), h);
	}
	n = b->ops->listxattr(b, node, names, sizeof(names));
	assert_true(n >= 0);
	h = XXH3_64bits_withSeed(names, (size_t)n, h);
	if (!S_ISDIR(a.mode))
		return h;
	list(b, node, &l);
	for (int i = 0; i < l.n; i++) {
		struct fsb_entry e;

		assert_int_equal(b->ops->lookup(b, &fx_req, node, l.name[i], &e), 0);
		h = XXH3_64bits_withSeed(l.name[i], strlen(l.name[i]), h);
		h = digest(b, e.node, h);
		fx_forget(b, e.node);
	}
	free(l.name);
	return h;
}

/* ---- crashes */

static void copy_file(int from_dir, int to_dir, const char *name)
{
	_cleanup_close_ int in = openat(from_dir, name, O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int out =
		openat(to_dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct timespec ts[2];
	struct stat st;
	ssize_t n;

	assert_true(in >= 0 && out >= 0);
	do
		n = copy_file_range(in, NULL, out, NULL, 1 << 30, 0);
	while (n > 0);
	assert_int_equal(n, 0);
	assert_int_equal(fstat(in, &st), 0);
	ts[0] = st.st_atim;
	ts[1] = st.st_mtim;
	assert_int_equal(futimens(out, ts), 0);
}

static void copy_tree(int from, int to)
{
	DIR *d = fdopendir(dup(from));
	struct dirent *e;

	assert_non_null(d);
	rewinddir(d);
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		if (e->d_type == DT_DIR) {
			_cleanup_close_ int a = openat(from, e->d_name, O_RDONLY | O_CLOEXEC),
					    b = -1;

			assert_int_equal(mkdirat(to, e->d_name, 0700), 0);
			b = openat(to, e->d_name, O_RDONLY | O_CLOEXEC);
			assert_true(a >= 0 && b >= 0);
			copy_tree(a, b);
		} else {
			copy_file(from, to, e->d_name);
		}
	}
	closedir(d);
}

static void copy_upper(struct model *m, const char *name)
{
	_cleanup_close_ int from = fx_open(m->fx.dir, "upper", O_RDONLY | O_DIRECTORY), to = -1;
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", m->fx.dir, name);
	assert_int_equal(msb_rm_rf(AT_FDCWD, path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	to = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	copy_tree(from, to);
}

/* What is on the disk now, opened by another server, is what was answered. */
static void crash(struct model *m)
{
	struct msb_err e = {0};
	struct fsb *live = m->fx.b;

	copy_upper(m, "crash");
	if (fx_start(&m->fx, "crash", &e) < 0)
		fail_msg("seed %llu: after a crash: %s", (unsigned long long)seed, e.msg);
	same(m, "");
	fx_stop(&m->fx);
	m->fx.b = live;
}

struct point {
	uint64_t end, digest;
};

static void cut_log(struct model *m, const struct point *at, unsigned int n)
{
	struct fsb *live = m->fx.b;
	char junk[5000];

	memset(junk, 0xa5, sizeof(junk));
	for (int i = 0; i < 60; i++) {
		uint64_t len = 32 + rnd((uint32_t)at[n - 1].end - 32);
		struct msb_err e = {0};
		unsigned int k = n - 1;
		int fd;

		copy_upper(m, "cut");
		fd = fx_open(m->fx.dir, "cut/log", O_WRONLY);
		assert_int_equal(ftruncate(fd, (off_t)len), 0);
		/* Or garbage instead; not zeros, in which many a frame ends. */
		if (rnd(2))
			assert_int_equal(
				msb_pwrite_full(fd, junk, 1 + rnd(sizeof(junk) - 1), len), 0);
		close(fd);
		while (k && at[k].end > len)
			k--;
		if (at[k].end > len)
			continue; /* not even the first frame is whole */
		if (fx_start(&m->fx, "cut", &e) < 0)
			fail_msg("seed %llu: log cut at %llu: %s", (unsigned long long)seed,
				(unsigned long long)len, e.msg);
		if (digest(m->fx.b, FSB_ROOT, 0) != at[k].digest)
			fail_msg("seed %llu: log cut at %llu: not what was there after op %u",
				(unsigned long long)seed, (unsigned long long)len, k);
		fx_stop(&m->fx);
	}
	m->fx.b = live;
}

/* ---- the runs */

static void setup(struct model *m, bool lower)
{
	char probe[] = "probe";

	*m = (struct model){.root = geteuid() == 0};
	umask(0);
	fx_init(&m->fx, lower);
	(void)snprintf(m->real, sizeof(m->real), "%s/real", m->fx.dir);
	assert_int_equal(mkdir(m->real, 0755), 0);
	write_real(m, probe, "", 0, 0600);
	m->user_xattr = lsetxattr(rp(m, probe), "user.p", "", 0, 0) == 0;
	assert_int_equal(unlink(rp(m, probe)), 0);
	if (lower)
		real_image(m);
	if (lower && !m->user_xattr)
		print_message("no user attributes here: not compared\n");
}

static void run(bool lower)
{
	struct model m;

	setup(&m, lower);
	for (unsigned int i = 0; i < ops; i++) {
		step(&m, i);
		if (rnd(100) == 0)
			same(&m, "");
		if (rnd(200) == 0) {
			fx_restart(&m.fx);
			same(&m, "");
		}
		if (rnd(200) == 0)
			crash(&m);
		if (rnd(300) == 0) {
			OVL_WRITE(ovl_of(m.fx.b));
			assert_int_equal(ovl_log_compact(ovl_of(m.fx.b)), 0);
		}
	}
	same(&m, "");
	crash(&m);
	fx_restart(&m.fx);
	same(&m, "");
	fx_done(&m.fx);
}

static void over_nothing(void **state)
{
	run(false);
}

static void over_an_image(void **state)
{
	run(true);
}

static void cut_anywhere(void **state)
{
	struct point at[400];
	struct model m;
	unsigned int n = 0;

	setup(&m, true);
	for (; n < ARRAY_LEN(at); n++) {
		step(&m, n);
		at[n].end = ovl_of(m.fx.b)->log.end;
		at[n].digest = digest(m.fx.b, FSB_ROOT, 0);
	}
	cut_log(&m, at, n);
	fx_done(&m.fx);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(over_nothing),
		cmocka_unit_test(over_an_image),
		cmocka_unit_test(cut_anywhere),
	};

	seed = argc > 1 ? strtoull(argv[1], NULL, 0)
			: (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000;
	ops = argc > 2 ? (unsigned int)strtoul(argv[2], NULL, 0) : ops;
	seed_now = seed;
	setenv("MSB_LOG", "err", 1); /* torn logs are what is tested here */
	msb_log_init("test", NULL, -1);
	print_message("seed %llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
