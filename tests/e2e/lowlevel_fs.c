// SPDX-License-Identifier: Apache-2.0
// A file system written with libfuse's low-level API as anybody would, for plugin.bats: it knows
// nothing of msb. One file, `numbers`, of 4 MiB: each 8 bytes are their own position; and `note`,
// which can be written. Several threads.
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBERS	      2
#define NOTE	      3
#define NUMBERS_BYTES (4u << 20)

static char note[4096];
static size_t note_bytes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int look(fuse_ino_t ino, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_nlink = 1;
	switch (ino) {
	case FUSE_ROOT_ID: st->st_mode = S_IFDIR | 0755; return 0;
	case NUMBERS:
		st->st_mode = S_IFREG | 0444;
		st->st_size = NUMBERS_BYTES;
		return 0;
	case NOTE:
		st->st_mode = S_IFREG | 0666;
		st->st_size = (off_t)note_bytes;
		return 0;
	default: return -1;
	}
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = {.attr_timeout = 1, .entry_timeout = 1};

	e.ino = !strcmp(name, "numbers") ? NUMBERS : !strcmp(name, "note") ? NOTE : 0;
	if (!e.ino || look(e.ino, &e.attr) < 0)
		fuse_reply_err(req, ENOENT);
	else
		fuse_reply_entry(req, &e);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	if (look(ino, &st) < 0)
		fuse_reply_err(req, ENOENT);
	else
		fuse_reply_attr(req, &st, 1);
}

static void do_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	if (ino == NOTE && to_set & FUSE_SET_ATTR_SIZE && st->st_size < (off_t)sizeof(note)) {
		pthread_mutex_lock(&lock);
		note_bytes = (size_t)st->st_size;
		pthread_mutex_unlock(&lock);
	}
	do_getattr(req, ino, fi);
}

static void do_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	static const char *const names[] = {".", "..", "numbers", "note"};
	char buf[1024];
	size_t n = 0;
	struct stat st;

	for (off_t i = off; i < 4; i++) {
		look(i < 2 ? FUSE_ROOT_ID : (fuse_ino_t)i, &st);
		n += fuse_add_direntry(req, buf + n, sizeof(buf) - n, names[i], &st, i + 1);
	}
	fuse_reply_buf(req, buf, n);
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (ino == NUMBERS && (fi->flags & O_ACCMODE) != O_RDONLY) {
		fuse_reply_err(req, EACCES);
		return;
	}
	if (ino == NOTE && fi->flags & O_TRUNC)
		note_bytes = 0;
	fuse_reply_open(req, fi);
}

static void do_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	size_t all = ino == NUMBERS ? NUMBERS_BYTES : note_bytes;
	size_t n = (size_t)off >= all ? 0 : size < all - (size_t)off ? size : all - (size_t)off;
	char *buf = malloc(n + 1);

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < n; i++) {
		unsigned long long at = ((unsigned long long)off + i) & ~7ull;

		buf[i] = ino == NUMBERS ? ((char *)&at)[((size_t)off + i) & 7]
					: note[(size_t)off + i];
	}
	pthread_mutex_unlock(&lock);
	fuse_reply_buf(req, buf, n);
	free(buf);
}

static void do_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	if (ino != NOTE || (size_t)off + size > sizeof(note)) {
		fuse_reply_err(req, EFBIG);
		return;
	}
	pthread_mutex_lock(&lock);
	memcpy(note + off, buf, size);
	if (note_bytes < (size_t)off + size)
		note_bytes = (size_t)off + size;
	pthread_mutex_unlock(&lock);
	fuse_reply_write(req, size);
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = do_lookup,
	.getattr = do_getattr,
	.setattr = do_setattr,
	.readdir = do_readdir,
	.open = do_open,
	.read = do_read,
	.write = do_write,
};

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	struct fuse_cmdline_opts opts;
	struct fuse_session *se;
	int r = 1;

	if (fuse_parse_cmdline(&args, &opts) != 0 || !opts.mountpoint)
		return 2;
	se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (se && fuse_set_signal_handlers(se) == 0 &&
		fuse_session_mount(se, opts.mountpoint) == 0) {
		fuse_daemonize(opts.foreground);
		r = fuse_session_loop_mt(se, NULL);
		fuse_session_unmount(se);
	}
	if (se)
		fuse_session_destroy(se);
	free(opts.mountpoint);
	fuse_opt_free_args(&args);
	return r ? 1 : 0;
}
