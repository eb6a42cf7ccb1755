/* SPDX-License-Identifier: Apache-2.0 */
/* For the fuzzers of plugins: a plugin in a thread whose every answer is a piece of the input, and
 * a kernel that does one of each operation with what it is told. */
#ifndef MSB_TESTS_PLUGIN_FEED_H
#define MSB_TESTS_PLUGIN_FEED_H

#include "tests/unit/fusereq.h"
#include "fs/backends/plugin/plugin.h"
#include "fs/options.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is left of the input. */
struct feed {
	const uint8_t *p;
	size_t n;
	int fd;
};

/* At most @n bytes of it. */
static inline size_t feed_take(struct feed *f, size_t n, const uint8_t **ret)
{
	n = MIN(n, f->n);
	*ret = f->p;
	f->p += n;
	f->n -= n;
	return n;
}

static inline uint8_t feed_byte(struct feed *f)
{
	const uint8_t *p;

	return feed_take(f, 1, &p) ? *p : 0;
}

static inline void feed_send(struct feed *f, const void *p, size_t n)
{
	if (n)
		(void)send(f->fd, p, n, MSG_NOSIGNAL);
}

/* One of each operation, on what the plugin says there is. */
static inline void feed_operations(struct fusereq *q)
{
	static const uint8_t text[5000] = "text";
	const struct fuse_setattr_in set = {.valid = FATTR_SIZE | FATTR_MODE, .mode = 0600};
	const struct fuse_lseek_in seek = {.whence = SEEK_HOLE};
	const struct fuse_getxattr_in get = {.size = 100};
	uint64_t a, dir, fh;

	a = req_lookup(q, 1, "a");
	dir = req_mkdir(q, 1, "d", 0755) == 0 ? REQ_REPLY(q, struct fuse_entry_out)->nodeid : 1;
	(void)req_lookup(q, dir, "b");
	(void)req_getattr(q, a ?: 1);
	(void)req_setattr(q, a ?: 1, &set);
	if (a && req_open(q, FUSE_OPEN, a, O_RDWR) == 0) {
		fh = REQ_REPLY(q, struct fuse_open_out)->fh;
		(void)req_read(q, FUSE_READ, a, fh, 0, 5000);
		(void)req_write(q, a, fh, 0, text, sizeof(text), 0);
		req_start(q, FUSE_LSEEK, a);
		req_add(q, &seek, sizeof(seek));
		(void)req_run(q);
		(void)req_release(q, FUSE_RELEASE, a, fh);
	}
	if (req_open(q, FUSE_OPENDIR, dir, 0) == 0) {
		fh = REQ_REPLY(q, struct fuse_open_out)->fh;
		(void)req_read(q, FUSE_READDIRPLUS, dir, fh, 0, 4096);
		(void)req_read(q, FUSE_READDIR, dir, fh, 1, 4096);
		(void)req_release(q, FUSE_RELEASEDIR, dir, fh);
	}
	if (req_create(q, dir, "n", O_CREAT | O_RDWR, 0644) == 0)
		(void)req_release(q, FUSE_RELEASE, REQ_REPLY(q, struct fuse_entry_out)->nodeid,
			req_created_fh(q));
	req_start(q, FUSE_READLINK, a ?: 1);
	(void)req_run(q);
	req_start(q, FUSE_LISTXATTR, a ?: 1);
	req_add(q, &get, sizeof(get));
	(void)req_run(q);
	req_start(q, FUSE_STATFS, 1);
	(void)req_run(q);
	(void)req_rename(q, dir, "n", 1, "m", 0);
	(void)req_name(q, FUSE_UNLINK, 1, "m");
	if (a)
		req_forget(q, a, 1);
}

/* A run: @plugin_main is the plugin's thread, on a struct feed. */
static inline void feed_run(
	const struct fsb_options *options, void *(*plugin_main)(void *), const uint8_t *p, size_t n)
{
	static struct fusereq q;
	struct fsb_start s = FSB_START_NONE;
	struct feed f = {p, n, -1};
	struct fsd_fs fs;
	struct fsb *b;
	pthread_t t;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	f.fd = pair[1];
	if (pthread_create(&t, NULL, plugin_main, &f) != 0)
		abort();
	s.options = options;
	s.sock_fd = pair[0];
	if (fsb_plugin_kind.start(&s, &b, NULL) < 0)
		abort();
	fsd_fs_init(&fs, b);
	q.w = calloc(1, sizeof(*q.w));
	q.s = fsd_session_new(&fs, &fuse_profile_view, false);
	if (req_init(&q) < 0)
		abort();
	feed_operations(&q);
	q.s = fsd_session_free(q.s);
	fsd_fs_done(&fs);
	(void)pthread_join(t, NULL);
	free(q.w);
}

#endif
