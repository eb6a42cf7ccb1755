// SPDX-License-Identifier: Apache-2.0
// A guest kernel for benches: running operations, mounting, making the files they need.
#include "tools/bench/ops.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void post(struct client *c, const struct op *op, struct slot *s)
{
	struct shape shape = {0};

	op->build(c, s, &shape);
	c->requests++;
	front_post(&c->f, op->ring, s, &shape);
}

int op_run(struct client *c, const struct op *op, unsigned int count, unsigned int depth,
	uint32_t *lat_ns)
{
	struct slot *idle[SLOTS];
	uint64_t began[SLOTS];
	unsigned int nidle = 0, next = 0, ended = 0;

	c->error = 0;
	for (unsigned int i = 0; i < depth && i < SLOTS; i++)
		idle[nidle++] = &c->f.slot[i];
	while (ended < count) {
		struct slot *s;

		while (nidle && next < count) {
			s = idle[--nidle];
			s->i = next++;
			s->step = 0;
			post(c, op, s);
			began[s - c->f.slot] = s->since_ns;
		}
		front_kick(&c->f, op->ring);
		for (s = front_reap(&c->f, op->ring, true); s;
			s = front_reap(&c->f, op->ring, false)) {
			int r = op->done ? op->done(c, s) : 0;

			if (r > 0) {
				post(c, op, s);
				continue;
			}
			if (r < 0 && c->error == 0)
				c->error = r;
			if (lat_ns)
				lat_ns[ended] = (uint32_t)(now_ns() - began[s - c->f.slot]);
			ended++;
			idle[nidle++] = s;
		}
	}
	return c->error;
}

void client_request(struct client *c, struct slot *s, uint32_t opcode, uint64_t node,
	const void *args, size_t n)
{
	*s->in = (struct fuse_in_header){.opcode = opcode,
		.nodeid = node,
		.unique = ++c->unique,
		.uid = c->uid,
		.gid = c->uid,
		.pid = 1};
	if (n)
		memcpy(s->args, args, n);
}

/* One request, waited for, in slot 0 that client_request() has filled. Its error. */
static int call(struct client *c, uint32_t args, uint32_t data, uint32_t reply)
{
	struct slot *s = &c->f.slot[0];
	const struct shape shape = {args, data, reply, 0};

	front_post(&c->f, 1, s, &shape);
	front_kick(&c->f, 1);
	(void)front_reap(&c->f, 1, true);
	return s->out->error;
}

static int mount_fs(struct client *c)
{
	/* What Linux 6.12 offers, but for extensions of requests. */
	const uint64_t flags = FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC |
			       FUSE_EXPORT_SUPPORT | FUSE_BIG_WRITES | FUSE_DONT_MASK |
			       FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |
			       FUSE_ASYNC_DIO | FUSE_WRITEBACK_CACHE | FUSE_NO_OPEN_SUPPORT |
			       FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV | FUSE_POSIX_ACL |
			       FUSE_ABORT_ERROR | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |
			       FUSE_NO_OPENDIR_SUPPORT | FUSE_EXPLICIT_INVAL_DATA |
			       FUSE_HANDLE_KILLPRIV_V2 | FUSE_INIT_EXT;
	const struct fuse_init_in in = {
		.major = 7, .minor = 38, .max_readahead = 1u << 17, .flags = (uint32_t)flags};

	client_request(c, &c->f.slot[0], FUSE_INIT, 0, &in, sizeof(in));
	return call(c, sizeof(in), 0, sizeof(struct fuse_init_out));
}

static uint64_t entry_node(const struct client *c)
{
	return ((const struct fuse_entry_out *)(const void *)c->f.slot[0].reply)->nodeid;
}

static int make_dir(struct client *c, const char *subdir)
{
	uint64_t parent = FUSE_ROOT_ID;
	struct {
		struct fuse_mkdir_in in;
		char name[2];
	} a = {{.mode = 0777}, "d"};
	int r;

	if (subdir) {
		uint32_t n = (uint32_t)strlen(subdir) + 1;

		client_request(c, &c->f.slot[0], FUSE_LOOKUP, parent, subdir, n);
		r = call(c, n, 0, sizeof(struct fuse_entry_out));
		if (r)
			return r;
		parent = entry_node(c);
	}
	client_request(c, &c->f.slot[0], FUSE_MKDIR, parent, &a, sizeof(a.in) + 2);
	r = call(c, sizeof(a.in) + 2, 0, sizeof(struct fuse_entry_out));
	c->dir = entry_node(c);
	return r;
}

static int open_node(struct client *c, uint32_t opcode, uint64_t node, uint32_t flags, uint64_t *fh)
{
	const struct fuse_open_in in = {.flags = flags};
	int r;

	client_request(c, &c->f.slot[0], opcode, node, &in, sizeof(in));
	r = call(c, sizeof(in), 0, sizeof(struct fuse_open_out));
	*fh = r ? 0 : ((const struct fuse_open_out *)(const void *)c->f.slot[0].reply)->fh;
	return r;
}

int client_open_dirs(struct client *c)
{
	for (int i = 0; i < SLOTS; i++) {
		int r = c->no_opendir ? 0
				      : open_node(c, FUSE_OPENDIR, c->dir, O_RDONLY, &c->dir_fh[i]);

		c->no_opendir |= r == -ENOSYS;
		if (r && !c->no_opendir)
			return r;
		c->dir_off[i] = 0;
	}
	return 0;
}

int client_close_dirs(struct client *c)
{
	for (int i = 0; i < SLOTS && !c->no_opendir; i++) {
		const struct fuse_release_in in = {.fh = c->dir_fh[i]};

		client_request(c, &c->f.slot[0], FUSE_RELEASEDIR, c->dir, &in, sizeof(in));
		(void)call(c, sizeof(in), 0, 0);
	}
	return 0;
}

/* A file of its own, which stays known: what a guest has open it does not forget. */
static int make_data(struct client *c)
{
	const struct {
		struct fuse_create_in in;
		char name[8];
	} a = {.in = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0644}, .name = "data"};
	const struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} *o = (const void *)c->f.slot[0].reply;
	int r;

	client_request(c, &c->f.slot[0], FUSE_CREATE, c->dir, &a, sizeof(a.in) + 5);
	r = call(c, sizeof(a.in) + 5, 0, sizeof(*o));
	c->data = r ? 0 : o->entry.nodeid;
	c->data_fh = r ? 0 : o->open.fh;
	return r;
}

int client_fill_data(struct client *c)
{
	int r = 0;

	for (uint64_t off = 0; r == 0 && off < DATA_BYTES; off += SLOT_PAGES * PAGE) {
		const struct fuse_write_in in = {
			.fh = c->data_fh, .offset = off, .size = SLOT_PAGES * PAGE};

		client_request(c, &c->f.slot[0], FUSE_WRITE, c->data, &in, sizeof(in));
		r = call(c, sizeof(in), in.size, sizeof(struct fuse_write_out));
	}
	return r;
}

int client_empty_data(struct client *c)
{
	const struct fuse_setattr_in in = {.valid = FATTR_SIZE};

	client_request(c, &c->f.slot[0], FUSE_SETATTR, c->data, &in, sizeof(in));
	return call(c, sizeof(in), 0, sizeof(struct fuse_attr_out));
}

/* Learns what the server wants to be told. */
static int open_data(struct client *c)
{
	struct fuse_flush_in flush = {0};
	uint64_t fh;
	int r = make_data(c);

	if (r)
		return r;
	r = open_node(c, FUSE_OPEN, c->data, O_RDWR, &fh);
	c->no_open = r == -ENOSYS;
	if (r && !c->no_open)
		return r;
	flush.fh = c->data_fh;
	client_request(c, &c->f.slot[0], FUSE_FLUSH, c->data, &flush, sizeof(flush));
	c->no_flush = call(c, sizeof(flush), 0, 0) == -ENOSYS;
	return 0;
}

int client_start(struct client *c, const char *socket, const char *subdir, struct msb_err *e)
{
	int r = front_connect(&c->f, socket, e);

	if (r < 0)
		return r;
	r = mount_fs(c);
	if (r == 0)
		r = make_dir(c, subdir);
	if (r == 0)
		r = client_make_files(c);
	if (r == 0)
		r = open_data(c);
	if (r == 0)
		r = client_open_dirs(c);
	if (r == 0)
		r = client_close_dirs(c);
	return r < 0 ? msb_err_set(e, -r, "%s: making files: %s", socket, strerror(-r)) : 0;
}

void client_done(struct client *c)
{
	front_done(&c->f);
}
