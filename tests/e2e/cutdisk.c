// SPDX-License-Identifier: Apache-2.0
/*
 * A disk whose power can be cut, for power.bats.
 *
 *	cutdisk serve DIR IMAGE LOG	mounts at DIR `disk`, which is IMAGE, and `mark`; ends with
 *the mount cutdisk cut BASE LOG SEED OUT	OUT is what a disk that began as BASE holds after a
 *cut cutdisk count LOG		how many writes and flushes
 *
 * Theory of operation: a loop device over `disk` sends each write here as it is made, and each
 * flush as an fsync. LOG is what came in its order, with lines that were written to `mark` in
 * between. A cut is after some record of it. What was written before the last flush is on the disk
 * then; of what came after it any part may be: all, none, or some of the writes or of their 4 KiB
 * blocks, whatever their order was. Less than a block is written whole or not at all, as disks of
 * today do it (ext4's super block relies on that). SEED says which. `cut` prints the marks before
 * the cut.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define DISK	  2
#define MARK	  3
#define BLOCK	  4096u
#define WRITE_MAX (1u << 20)

enum kind { KIND_WRITE = 1, KIND_FLUSH, KIND_MARK };

/* In LOG, before @n bytes. */
struct record {
	uint32_t kind, n;
	uint64_t off;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		die(path);
	return fd;
}

/* ---- serving */

static int image_fd, log_fd;

/* One thread serves: the log's order is that of the answers. */
static int note(enum kind kind, const void *p, size_t n, uint64_t off)
{
	struct record rec = {(uint32_t)kind, (uint32_t)n, off};
	struct iovec v[] = {{&rec, sizeof(rec)}, {(void *)p, n}};

	return writev(log_fd, v, 2) == (ssize_t)(sizeof(rec) + n) ? 0 : EIO;
}

static bool look(fuse_ino_t ino, struct stat *st)
{
	struct stat image;

	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_nlink = 1;
	st->st_mode = ino == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0600;
	if (ino == DISK && fstat(image_fd, &image) == 0)
		st->st_size = image.st_size;
	return ino <= MARK;
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = {.attr_timeout = 1, .entry_timeout = 1};

	e.ino = !strcmp(name, "disk") ? DISK : !strcmp(name, "mark") ? MARK : 0;
	if (!e.ino || !look(e.ino, &e.attr))
		fuse_reply_err(req, ENOENT);
	else
		fuse_reply_entry(req, &e);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	if (!look(ino, &st))
		fuse_reply_err(req, ENOENT);
	else
		fuse_reply_attr(req, &st, 1);
}

static void do_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	do_getattr(req, ino, fi); /* `echo > mark` truncates */
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fi->direct_io = ino == MARK;
	fuse_reply_open(req, fi);
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t n, off_t off, struct fuse_file_info *fi)
{
	static char buf[WRITE_MAX];
	ssize_t r = ino == DISK ? pread(image_fd, buf, n < sizeof(buf) ? n : sizeof(buf), off) : 0;

	if (r < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_buf(req, buf, (size_t)r);
}

static void do_write(fuse_req_t req, fuse_ino_t ino, const char *p, size_t n, off_t off,
	struct fuse_file_info *fi)
{
	int r;

	if (ino == MARK)
		r = note(KIND_MARK, p, n, 0);
	else if (pwrite(image_fd, p, n, off) != (ssize_t)n)
		r = EIO;
	else
		r = note(KIND_WRITE, p, n, (uint64_t)off);
	if (r)
		fuse_reply_err(req, r);
	else
		fuse_reply_write(req, n);
}

static void do_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	fuse_reply_err(req, note(KIND_FLUSH, NULL, 0, 0));
}

static int serve(const char *dir, const char *image, const char *log)
{
	static const struct fuse_lowlevel_ops ops = {
		.lookup = do_lookup,
		.getattr = do_getattr,
		.setattr = do_setattr,
		.open = do_open,
		.read = do_read,
		.write = do_write,
		.fsync = do_fsync,
	};
	char *argv[] = {"cutdisk", NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct fuse_session *se;

	image_fd = open_or_die(image, O_RDWR);
	log_fd = open_or_die(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND);
	se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!se || fuse_session_mount(se, dir) < 0)
		return 1;
	(void)fuse_session_loop(se);
	fuse_session_unmount(se);
	fuse_session_destroy(se);
	return 0;
}

/* ---- cutting */

static uint64_t seed;

static uint64_t next_random(void)
{
	uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static bool read_record(int fd, struct record *rec, char *data)
{
	ssize_t n = read(fd, rec, sizeof(*rec));

	if (n == 0)
		return false;
	if (n != (ssize_t)sizeof(*rec) || rec->n > WRITE_MAX || read(fd, data, rec->n) != rec->n)
		die("the log");
	return true;
}

static char data[WRITE_MAX];

struct list {
	uint64_t *at; /* numbers of records */
	size_t n;
};

static void list_add(struct list *l, uint64_t at)
{
	if (!(l->n & (l->n - 1))) {
		l->at = reallocarray(l->at, l->n ? 2 * l->n : 1, sizeof(*l->at));
		if (!l->at)
			die("list");
	}
	l->at[l->n++] = at;
}

static uint64_t look_through(int log, struct list *flushes, struct list *marks)
{
	struct record rec;
	uint64_t n = 0;

	for (; read_record(log, &rec, data); n++)
		if (rec.kind != KIND_WRITE)
			list_add(rec.kind == KIND_FLUSH ? flushes : marks, n);
	if (lseek(log, 0, SEEK_SET) < 0)
		die("the log");
	return n;
}

/* How many records came before the cut: any number; all up to a flush, which was not answered; or
 * all up to a mark. */
static uint64_t where(uint64_t all, const struct list *flushes, const struct list *marks)
{
	uint64_t r = next_random() % (all + 1);

	switch (next_random() % 4) {
	case 0: return marks->n ? marks->at[r % marks->n] + 1 : all;
	case 1: return r;
	default: /* one before which something was written; much, more often */
		for (size_t k = 0; k < flushes->n; k++)
			if (flushes->at[k] >= r && k && flushes->at[k - 1] + 1 < flushes->at[k])
				return flushes->at[k];
		return all;
	}
}

static void copy(const char *from, const char *to)
{
	int in = open_or_die(from, O_RDONLY), out = open_or_die(to, O_WRONLY | O_CREAT | O_TRUNC);
	off_t end = lseek(in, 0, SEEK_END), at = 0;

	if (ftruncate(out, end) < 0)
		die(to);
	while ((at = lseek(in, at, SEEK_DATA)) >= 0) {
		off_t hole = lseek(in, at, SEEK_HOLE);

		if (lseek(out, at, SEEK_SET) < 0)
			die(to);
		while (at < hole)
			if (sendfile(out, in, &at, (size_t)(hole - at)) <= 0)
				die(to);
	}
	close(in);
	close(out);
}

static void put(int out, const char *p, size_t n, uint64_t off)
{
	if (pwrite(out, p, n, (off_t)off) != (ssize_t)n)
		die("pwrite");
}

/* Of each hundred units, which begin at multiples of @unit, some @percent reached the disk. */
static void put_some(int out, const struct record *rec, uint64_t unit, unsigned int percent)
{
	for (uint64_t at = rec->off, end = at + rec->n, next; at < end; at = next) {
		next = (at / unit + 1) * unit;
		if (next > end)
			next = end;
		if (next_random() % 100 < percent)
			put(out, data + (at - rec->off), (size_t)(next - at), at);
	}
}

static int cut(const char *base, const char *log_path, const char *to)
{
	static const unsigned int percents[] = {0, 10, 50, 90, 100};
	struct list flushes = {0}, marks = {0};
	int log = open_or_die(log_path, O_RDONLY), out;
	uint64_t all = look_through(log, &flushes, &marks), end = where(all, &flushes, &marks);
	uint64_t unit = next_random() % 2 ? BLOCK : UINT64_C(1) << 62; /* a write */
	unsigned int percent = percents[next_random() % 5];
	uint64_t flushed = 0, kept = 0;
	struct record rec;

	for (size_t k = 0; k < flushes.n && flushes.at[k] < end; k++)
		flushed = flushes.at[k];
	copy(base, to);
	out = open_or_die(to, O_WRONLY);
	for (uint64_t n = 0; n < end && read_record(log, &rec, data); n++) {
		if (rec.kind == KIND_MARK)
			printf("%.*s", (int)rec.n, data);
		if (rec.kind != KIND_WRITE)
			continue;
		if (n < flushed)
			put(out, data, rec.n, rec.off);
		else
			put_some(out, &rec, unit, percent);
		kept += n >= flushed;
	}
	fprintf(stderr,
		"cut after record %" PRIu64 " of %" PRIu64 ": %u %% of the %s of %" PRIu64
		" writes that no flush followed\n",
		end, all, percent, unit == BLOCK ? "blocks" : "whole", kept);
	close(out);
	close(log);
	return 0;
}

static int count(const char *log_path)
{
	struct list flushes = {0}, marks = {0};
	int log = open_or_die(log_path, O_RDONLY);
	uint64_t all = look_through(log, &flushes, &marks);

	printf("%" PRIu64 " %zu\n", all - flushes.n - marks.n, flushes.n);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "serve"))
		return serve(argv[2], argv[3], argv[4]);
	if (argc == 6 && !strcmp(argv[1], "cut")) {
		seed = strtoull(argv[4], NULL, 10);
		return cut(argv[2], argv[3], argv[5]);
	}
	if (argc == 3 && !strcmp(argv[1], "count"))
		return count(argv[2]);
	fprintf(stderr, "cutdisk serve DIR IMAGE LOG | cut BASE LOG SEED OUT | count LOG\n");
	return 2;
}
