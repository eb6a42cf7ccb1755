/* SPDX-License-Identifier: Apache-2.0 */
/* A session over a plugin of either protocol, alone or over a directory. */
#ifndef MSB_TESTS_PLUGIN_SESSION_H
#define MSB_TESTS_PLUGIN_SESSION_H

#include "tests/unit/fusereq.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/backends/plugin/plugin_priv.h"
#include "fs/options.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <cmocka.h>

static struct fsb_options options;
static struct fsd_fs fs;
static struct fusereq q;
static char top[64]; /* of what is below; "": nothing */
static uint8_t data[FUSE_MAX_IO];

/* A directory at top, as what a plugin is over. */
static inline struct fsb *inner_dir(void)
{
	struct fsb_passthrough_opts o = {0};
	struct msb_err e = {0};
	struct fsb *inner;

	(void)snprintf(top, sizeof(top), "/tmp/msb-plug-XXXXXX");
	assert_non_null(mkdtemp(top));
	o.root_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fsb_passthrough_start(&o, &inner, &e), 0);
	return inner;
}

/* @inner: NULL, or what the plugin is over. */
static inline void session_start(int sock_fd, struct fsb *inner)
{
	struct fsb_start s = FSB_START_NONE;
	struct msb_err e = {0};
	struct fsb *b;

	s.options = &options;
	s.inner = inner;
	s.sock_fd = sock_fd;
	assert_int_equal(fsb_plugin_kind.start(&s, &b, &e), 0);
	fsd_fs_init(&fs, b);
	q.s = fsd_session_new(&fs, &fuse_profile_view, false);
	assert_int_equal(req_init(&q), 0);
}

static inline void session_setup(bool json)
{
	options = (struct fsb_options){.plugin_timeout_ms = 20000, .plugin_json = json};
	top[0] = '\0';
	q.w = calloc(1, sizeof(*q.w));
	(void)umask(0);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 2654435761u >> 24);
}

/* While the plugin is there still. */
static inline void session_end(void)
{
	if (!q.s)
		return;
	q.s = fsd_session_free(q.s);
	fsd_fs_done(&fs);
}

static inline void session_teardown(void)
{
	free(q.w);
	if (top[0])
		(void)msb_rm_rf(AT_FDCWD, top);
}

static inline struct fsb_plugin_status status(void)
{
	struct fsb_plugin_status s;

	assert_int_equal(fsb_plugin_status(fs.b, &s), 0);
	return s;
}

static inline uint64_t open_of(uint64_t node, uint32_t flags)
{
	assert_int_equal(req_open(&q, FUSE_OPEN, node, flags), 0);
	return REQ_REPLY(&q, struct fuse_open_out)->fh;
}

static inline int write_at(uint64_t node, uint64_t fh, uint64_t off, const void *p, uint32_t n)
{
	int r = req_write(&q, node, fh, off, p, n, 0);

	return r < 0 ? r : (int)REQ_REPLY(&q, struct fuse_write_out)->size;
}

#endif
