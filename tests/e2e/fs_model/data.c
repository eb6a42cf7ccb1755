// SPDX-License-Identifier: Apache-2.0
// The model test's operations on open files and their contents.
#include "tests/e2e/fs_model/model.h"

#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

static uint8_t buf[SIDES][MODEL_FILE_BYTES];

/* A range that a file may have; most are short. */
static void range(struct model *m, uint32_t *ret_off, uint32_t *ret_n)
{
	uint32_t off = model_rnd(m, MODEL_FILE_BYTES), n;

	switch (model_rnd(m, 4)) {
	case 0:
		off &= ~4095u;
		n = (1 + model_rnd(m, 8)) * 4096;
		break;
	case 1: n = 1 + model_rnd(m, MODEL_FILE_BYTES); break;
	default: n = 1 + model_rnd(m, 9000);
	}
	*ret_off = off;
	*ret_n = n < MODEL_FILE_BYTES - off ? n : MODEL_FILE_BYTES - off;
}

static struct model_file *some(struct model *m)
{
	uint32_t first = model_rnd(m, MODEL_OPEN);

	for (uint32_t i = 0; i < MODEL_OPEN; i++)
		if (m->file[(first + i) % MODEL_OPEN].fd[0] >= 0)
			return &m->file[(first + i) % MODEL_OPEN];
	return NULL;
}

static int number(const struct model *m, const struct model_file *f)
{
	return (int)(f - m->file);
}

static void fill(struct model *m, uint8_t *p, uint32_t n)
{
	uint32_t v = model_rnd(m, UINT32_MAX);

	for (uint32_t i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (i & 3) * 8) + (uint8_t)(i >> 8);
}

/* ---- opening */

static void keep(struct model *m, struct model_file *f, const int64_t r[SIDES], int flags)
{
	int64_t opened[SIDES] = {r[0] < 0 ? r[0] : 0, r[1] < 0 ? r[1] : 0};

	model_agree(m, opened);
	if (r[0] < 0)
		return;
	model_close(f);
	f->append = flags & O_APPEND;
	f->reads = (flags & O_ACCMODE) != O_WRONLY;
	f->writes = (flags & O_ACCMODE) != O_RDONLY;
	f->unnamed = (flags & O_TMPFILE) == O_TMPFILE;
	for (int s = 0; s < SIDES; s++)
		f->fd[s] = (int)r[s];
}

static void do_open(struct model *m)
{
	static const int access[] = {O_RDWR, O_RDWR, O_RDWR, O_WRONLY, O_RDONLY};
	struct model_file *f = &m->file[model_rnd(m, MODEL_OPEN)];
	int flags = access[model_rnd(m, ARRAY_LEN(access))] | O_CLOEXEC | O_NONBLOCK;
	mode_t mode = 0600 | model_rnd(m, 0200);
	char p[MODEL_PATH];
	struct stat st;
	int64_t r[SIDES];

	model_path(m, p);
	flags |= model_rnd(m, 3) ? O_CREAT : 0;
	flags |= model_rnd(m, 5) ? 0 : O_EXCL;
	flags |= model_rnd(m, 5) ? 0 : O_TRUNC;
	flags |= model_rnd(m, 5) ? 0 : O_APPEND;
	flags |= model_rnd(m, 3) ? 0 : O_NOFOLLOW;
	if (!(flags & O_CREAT))
		flags &= ~O_EXCL; /* means nothing for a file */
	/* Devices and pipes do not ask the file system for their contents. */
	if (fstatat(m->dir[ORACLE], p, &st, 0) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return;
	if (fstatat(m->dir[ORACLE], p, &st, 0) == 0 && S_ISDIR(st.st_mode))
		flags |= O_RDWR; /* refused */
	model_note(m, "#%d = open %s 0%o %o", number(m, f), p, flags, mode);
	BOTH(r, openat(m->dir[s], p, flags, mode));
	(void)strcpy(f->path, p);
	keep(m, f, r, flags);
}

static void do_tmpfile(struct model *m)
{
	struct model_file *f = &m->file[model_rnd(m, MODEL_OPEN)];
	int flags = O_TMPFILE | O_RDWR | O_CLOEXEC | (model_rnd(m, 3) ? 0 : O_EXCL);
	char p[MODEL_PATH];
	int64_t r[SIDES];

	model_path(m, p);
	if (model_rnd(m, 2))
		(void)strcpy(p, ".");
	model_note(
		m, "#%d = open %s O_TMPFILE%s", number(m, f), p, flags & O_EXCL ? " O_EXCL" : "");
	BOTH(r, openat(m->dir[s], p, flags, 0640));
	(void)strcpy(f->path, p);
	keep(m, f, r, flags);
}

static void do_close(struct model *m)
{
	struct model_file *f = some(m);

	if (!f)
		return;
	model_note(m, "close #%d", number(m, f));
	model_check_file(m, f->path, f->fd);
	model_close(f);
}

/* ---- reading and writing */

static void do_read(struct model *m)
{
	struct model_file *f = some(m);
	uint32_t off, n;
	int64_t r[SIDES];

	range(m, &off, &n);
	if (!f)
		return;
	model_note(m, "pread #%d %u at %u", number(m, f), n, off);
	BOTH(r, pread(f->fd[s], buf[s], n, off));
	model_agree(m, r);
	if (r[0] > 0 && memcmp(buf[0], buf[1], (size_t)r[0]) != 0)
		model_differs(m, "bytes read");
}

static void do_write(struct model *m)
{
	struct model_file *f = some(m);
	uint32_t off, n, cut;
	int64_t r[SIDES];
	struct stat st;

	range(m, &off, &n);
	fill(m, buf[0], n);
	cut = model_rnd(m, n);
	if (!f)
		return;
	if (f->append && (fstat(f->fd[ORACLE], &st) < 0 || st.st_size + n > MODEL_FILE_BYTES))
		return;
	model_note(m, "pwritev #%d %u+%u at %u%s", number(m, f), cut, n - cut, off,
		f->append ? " append" : "");
	{
		const struct iovec iov[2] = {{buf[0], cut}, {buf[0] + cut, n - cut}};

		BOTH(r, pwritev(f->fd[s], iov, 2, off));
	}
	model_agree(m, r);
}

/* By the descriptor's own position. */
static void do_seek_write(struct model *m)
{
	static const int whence[] = {SEEK_SET, SEEK_CUR, SEEK_END};
	int w = whence[model_rnd(m, 3)];
	struct model_file *f = some(m);
	int64_t by = (int64_t)model_rnd(m, 20000) - (w == SEEK_SET ? 0 : 10000), r[SIDES];
	uint32_t n = 1 + model_rnd(m, 5000);
	struct stat st;

	fill(m, buf[0], n);
	if (!f)
		return;
	model_note(m, "lseek #%d %lld whence %d", number(m, f), (long long)by, w);
	BOTH(r, lseek(f->fd[s], by, w));
	model_agree(m, r);
	if (r[0] < 0 || r[0] + n > MODEL_FILE_BYTES || fstat(f->fd[ORACLE], &st) < 0 ||
		st.st_size + n > MODEL_FILE_BYTES)
		return;
	model_note(m, "lseek #%d %lld whence %d, write %u%s", number(m, f), (long long)by, w, n,
		f->append ? " append" : "");
	BOTH(r, write(f->fd[s], buf[0], n));
	model_agree(m, r);
	BOTH(r, lseek(f->fd[s], 0, SEEK_CUR));
	model_agree(m, r);
}

static void do_mmap(struct model *m)
{
	struct model_file *f = some(m);
	uint32_t off, n;
	struct stat st;
	void *p[SIDES];
	bool writes = model_rnd(m, 2);

	range(m, &off, &n);
	fill(m, buf[0], n);
	if (!f || !f->reads || (writes && !f->writes) || fstat(f->fd[ORACLE], &st) < 0 ||
		st.st_size <= off)
		return;
	n = n < st.st_size - off ? n : (uint32_t)(st.st_size - off);
	model_note(m, "mmap #%d %s %u at %u", number(m, f), writes ? "write" : "read", n, off);
	for (int s = 0; s < SIDES; s++) {
		p[s] = mmap(NULL, off + n, PROT_READ | (writes ? PROT_WRITE : 0), MAP_SHARED,
			f->fd[s], 0);
		if (p[s] == MAP_FAILED)
			model_differs(m, "%s: mmap: %s", m->name[s], strerror(errno));
		if (writes)
			memcpy((uint8_t *)p[s] + off, buf[0], n);
	}
	if (memcmp((uint8_t *)p[0] + off, (uint8_t *)p[1] + off, n) != 0)
		model_differs(m, "bytes mapped");
	for (int s = 0; s < SIDES; s++) {
		if (writes && msync(p[s], off + n, MS_SYNC) < 0)
			model_differs(m, "%s: msync: %s", m->name[s], strerror(errno));
		(void)munmap(p[s], off + n);
	}
}

/* ---- space */

static void do_ftruncate(struct model *m)
{
	struct model_file *f = some(m);
	uint32_t size = model_rnd(m, 4) ? model_rnd(m, MODEL_FILE_BYTES) : 0;
	int64_t r[SIDES];

	if (!f)
		return;
	model_note(m, "ftruncate #%d %u", number(m, f), size);
	BOTH(r, ftruncate(f->fd[s], size));
	model_agree(m, r);
}

static void do_truncate(struct model *m)
{
	uint32_t size = model_rnd(m, MODEL_FILE_BYTES);
	char p[MODEL_PATH], at[SIDES][300];
	struct stat st;
	int64_t r[SIDES];

	model_path(m, p);
	if (fstatat(m->dir[ORACLE], p, &st, 0) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return;
	model_note(m, "truncate %s %u", p, size);
	for (int s = 0; s < SIDES; s++)
		(void)snprintf(at[s], sizeof(at[s]), "%s/%s", m->name[s], p);
	BOTH(r, truncate(at[s], size));
	model_agree(m, r);
}

/* What tmpfs has no fallocate() for, done otherwise. */
static int64_t zero_range(int fd, bool keep, uint32_t off, uint32_t n)
{
	struct stat st;

	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, n) < 0 ||
		fstat(fd, &st) < 0)
		return -errno;
	if (!keep && st.st_size < off + n && ftruncate(fd, off + n) < 0)
		return -errno;
	return 0;
}

static void do_fallocate(struct model *m)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	int mode = modes[model_rnd(m, ARRAY_LEN(modes))];
	struct model_file *f = some(m);
	uint32_t off, n;
	int64_t r[SIDES];

	range(m, &off, &n);
	if (!f)
		return;
	model_note(m, "fallocate #%d mode %d %u at %u", number(m, f), mode, n, off);
	r[UNDER_TEST] = model_result(fallocate(f->fd[UNDER_TEST], mode, off, n));
	if (r[UNDER_TEST] == -EOPNOTSUPP && mode & FALLOC_FL_ZERO_RANGE)
		return; /* the host's file system has none */
	r[ORACLE] = mode & FALLOC_FL_ZERO_RANGE
			    ? zero_range(f->fd[ORACLE], mode & FALLOC_FL_KEEP_SIZE, off, n)
			    : model_result(fallocate(f->fd[ORACLE], mode, off, n));
	model_agree(m, r);
}

static int64_t copy_all(int from, uint32_t at, int to, uint32_t off, uint32_t n)
{
	loff_t a = at, b = off;
	uint32_t done = 0;

	while (done < n) {
		ssize_t r = copy_file_range(from, &a, to, &b, n - done, 0);

		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		done += (uint32_t)r;
	}
	return done;
}

static void do_copy(struct model *m)
{
	struct model_file *f = some(m), *g = some(m);
	uint32_t off, n, to = model_rnd(m, MODEL_FILE_BYTES);
	int64_t r[SIDES];

	range(m, &off, &n);
	n = n < MODEL_FILE_BYTES - to ? n : MODEL_FILE_BYTES - to;
	if (!f || !g)
		return;
	model_note(m, "copy_file_range #%d at %u to #%d at %u, %u", number(m, f), off, number(m, g),
		to, n);
	for (int s = 0; s < SIDES; s++)
		r[s] = copy_all(f->fd[s], off, g->fd[s], to, n);
	model_agree(m, r);
}

static void do_fsync(struct model *m)
{
	struct model_file *f = some(m);
	int64_t r[SIDES];
	bool data = model_rnd(m, 2);

	if (!f || model_rnd(m, 4))
		return;
	model_note(m, "f%ssync #%d", data ? "data" : "", number(m, f));
	BOTH(r, data ? fdatasync(f->fd[s]) : fsync(f->fd[s]));
	model_agree(m, r);
}

static void do_check(struct model *m)
{
	struct model_file *f = some(m);

	if (!f)
		return;
	model_note(m, "compare #%d", number(m, f));
	model_check_file(m, f->path, f->fd);
}

const struct model_op model_data_ops[] = {
	{"open", do_open, 14, 8},
	{"tmpfile", do_tmpfile, 2, 1},
	{"close", do_close, 6, 3},
	{"read", do_read, 6, 20},
	{"write", do_write, 10, 24},
	{"seek and write", do_seek_write, 4, 8},
	{"mmap", do_mmap, 4, 12},
	{"ftruncate", do_ftruncate, 4, 8},
	{"truncate", do_truncate, 3, 3},
	{"fallocate", do_fallocate, 5, 12},
	{"copy", do_copy, 4, 8},
	{"fsync", do_fsync, 1, 2},
	{"check", do_check, 3, 8},
	{NULL, NULL, 0, 0},
};
