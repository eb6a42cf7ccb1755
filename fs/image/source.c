// SPDX-License-Identifier: Apache-2.0
// Where an image is imported from: a directory, or a tar whose members are read in place.
#include "fs/image/source.h"
#include "fs/image/tar.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define MAX_LINKS 8
#define READ_STEP 65536

struct member {
	char *path, *link; /* link: another member, NULL for a file */
	uint64_t off, size;
	size_t seq; /* the last of a name counts, as it does for tar(1) */
};

struct img_source {
	int fd;
	bool archive;
	struct member *v;
	size_t n, cap;
	uint64_t pos; /* while listing: where the bytes being parsed end */
};

static const char *relative(const char *p)
{
	for (;;) {
		if (*p == '/')
			p++;
		else if (p[0] == '.' && p[1] == '/')
			p += 2;
		else
			return p;
	}
}

/* The member that a symlink in @path means, "." and ".." resolved as text. NULL: out of memory. */
static char *link_target(const char *path, const char *target)
{
	size_t dir_n = strrchr(path, '/') ? (size_t)(strrchr(path, '/') - path) : 0;
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	if (target[0] != '/')
		msb_str_add(&s, path, dir_n);
	for (const char *p = target; *p;) {
		size_t n = strcspn(p, "/");

		if (n == 2 && p[0] == '.' && p[1] == '.') {
			while (s.len && s.buf[--s.len] != '/')
				;
		} else if (n && !(n == 1 && p[0] == '.')) {
			if (s.len)
				msb_str_adds(&s, "/");
			msb_str_add(&s, p, n);
		}
		p += n + (p[n] == '/');
	}
	msb_str_add(&s, "", 0);
	return s.oom ? NULL : steal_ptr(s.buf);
}

static int on_entry(void *arg, const struct img_tar_entry *x, struct msb_err *e)
{
	struct img_source *s = arg;
	struct member *m;

	if (x->type != IMG_TAR_FILE && x->type != IMG_TAR_SYMLINK && x->type != IMG_TAR_HARDLINK)
		return 0;
	if (x->sparse) /* its bytes are in no one place */
		return msb_err_set(e, EOPNOTSUPP,
			"the archive itself has a sparse member; pack it without --sparse");
	if (s->n >= img_limit(IMG_LIMIT_MEMBERS))
		return msb_err_set(e, E2BIG, "the archive has more than %llu members",
			(unsigned long long)img_limit(IMG_LIMIT_MEMBERS));
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 64;

		m = reallocarray(s->v, cap, sizeof(*m));
		if (!m)
			return msb_err_set(e, ENOMEM, "out of memory");
		s->v = m;
		s->cap = cap;
	}
	m = &s->v[s->n];
	*m = (struct member){
		.path = strdup(relative(x->path)), .off = s->pos, .size = x->size, .seq = s->n};
	if (m->path && x->type == IMG_TAR_SYMLINK)
		m->link = link_target(m->path, x->link);
	else if (m->path && x->type == IMG_TAR_HARDLINK)
		m->link = strdup(relative(x->link));
	s->n++;
	return m->path && (m->link || x->type == IMG_TAR_FILE)
		       ? 0
		       : msb_err_set(e, ENOMEM, "out of memory");
}

static int no_data(void *arg, const void *p, size_t n, struct msb_err *e)
{
	return 0;
}

static int no_hole(void *arg, uint64_t n, struct msb_err *e)
{
	return 0;
}

static int no_done(void *arg, struct msb_err *e)
{
	return 0;
}

static int by_path(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	int r = strcmp(x->path, y->path);

	return r ? r : (x->seq > y->seq) - (x->seq < y->seq);
}

static int list_archive(struct img_source *s, uint64_t size, struct msb_err *e)
{
	static const struct img_tar_ops ops = {on_entry, no_data, no_hole, no_done};
	struct img_tar *t;
	char block[IMG_TAR_BLOCK];
	int r = 0;

	if (img_tar_new(&ops, s, &t) < 0)
		return msb_err_set(e, ENOMEM, "out of memory");
	while (r == 0 && s->pos < size) {
		uint64_t skip;
		int64_t n = msb_pread_full(s->fd, block, sizeof(block), s->pos);

		if (n <= 0) {
			r = msb_err_set(e, n < 0 ? (int)-n : EIO, "cannot read the archive: %s",
				n < 0 ? strerror((int)-n) : "it shrank");
			break;
		}
		s->pos += (uint64_t)n;
		r = img_tar_feed(t, block, (size_t)n, e);
		/* Data, then its padding. Extended headers are fed: they are small. */
		while (r == 0 && (skip = img_tar_skippable(t))) {
			if (skip > size - s->pos) {
				r = msb_err_set(e, EBADMSG, "the archive is cut short");
				break;
			}
			s->pos += skip;
			r = img_tar_skip(t, skip, e);
		}
	}
	if (r == 0)
		r = img_tar_finish(t, e);
	img_tar_free(t);
	if (r == 0 && s->n)
		qsort(s->v, s->n, sizeof(*s->v), by_path);
	return r;
}

int img_source_open(int fd, struct img_source **ret, struct msb_err *e)
{
	struct img_source *s;
	unsigned char magic[4] = {0};
	struct stat st;
	int r = 0;

	if (fstat(fd, &st) < 0)
		return msb_err_set(e, errno, "cannot read the image: %m");
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return msb_err_set(
			e, EBADMSG, "not an image: neither a directory nor a regular file");
	s = calloc(1, sizeof(*s));
	if (!s)
		return msb_err_set(e, ENOMEM, "out of memory");
	s->fd = fd;
	s->archive = S_ISREG(st.st_mode);
	if (s->archive) {
		(void)msb_pread_full(fd, magic, sizeof(magic), 0); /* an error shows again below */
		if ((magic[0] == 0x1f && magic[1] == 0x8b) ||
			memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0)
			r = msb_err_set(e, EBADMSG,
				"the archive is compressed: decompress it first (gzip -d, zstd -d)");
		else
			r = list_archive(s, (uint64_t)st.st_size, e);
	}
	if (r < 0) {
		img_source_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct img_source *img_source_close(struct img_source *s)
{
	if (!s)
		return NULL;
	for (size_t k = 0; k < s->n; k++) {
		free(s->v[k].path);
		free(s->v[k].link);
	}
	free(s->v);
	free(s);
	return NULL;
}

static const struct member *find(const struct img_source *s, const char *path)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) { /* past the last of this name */
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(s->v[mid].path, path) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && strcmp(s->v[lo - 1].path, path) == 0 ? &s->v[lo - 1] : NULL;
}

static int open_beneath(int dirfd, const char *path)
{
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int img_source_member(
	const struct img_source *s, const char *path, struct img_member *ret, struct msb_err *e)
{
	const struct member *m;
	struct stat st;
	int fd;

	if (s->archive) {
		m = find(s, relative(path));
		for (int k = 0; m && m->link && k < MAX_LINKS; k++)
			m = find(s, m->link);
		if (!m || m->link)
			return -ENOENT;
		*ret = (struct img_member){.fd = s->fd, .off = m->off, .size = m->size};
		return 0;
	}
	fd = open_beneath(s->fd, path);
	if (fd == -ENOENT)
		return -ENOENT;
	if (fd < 0)
		return msb_err_set(e, -fd, "cannot open %s: %s", path, strerror(-fd));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return msb_err_set(e, EBADMSG, "%s is not a regular file", path);
	}
	*ret = (struct img_member){.fd = fd, .own_fd = true, .size = (uint64_t)st.st_size};
	return 0;
}

void img_member_done(struct img_member *m)
{
	if (m->own_fd)
		close(m->fd);
	m->own_fd = false;
}

int img_source_read(const struct img_source *s, const char *path, size_t max, struct msb_str *ret,
	struct msb_err *e)
{
	_cleanup_(img_member_done) struct img_member m = {0};
	char buf[READ_STEP];
	int r = img_source_member(s, path, &m, e);

	if (r < 0)
		return r;
	if (m.size > max)
		return msb_err_set(e, EFBIG, "%s is larger than %zu bytes", path, max);
	for (uint64_t off = 0; off < m.size;) {
		size_t want = m.size - off < sizeof(buf) ? (size_t)(m.size - off) : sizeof(buf);
		int64_t n = msb_pread_full(m.fd, buf, want, m.off + off);

		if (n != (int64_t)want)
			return msb_err_set(e, n < 0 ? (int)-n : EIO, "cannot read %s", path);
		msb_str_add(ret, buf, want);
		off += want;
	}
	msb_str_add(ret, "", 0);
	return ret->oom ? msb_err_set(e, ENOMEM, "out of memory") : 0;
}
