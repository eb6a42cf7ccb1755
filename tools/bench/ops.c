// SPDX-License-Identifier: Apache-2.0
// The operations that benches measure.
#include "tools/bench/ops.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define REPLY(s, type) ((const type *)(const void *)(s)->reply)

static unsigned int file_of(const struct slot *s)
{
	return s->i % FILES;
}

static int plain_done(struct client *c, struct slot *s)
{
	return s->out->error;
}

/* Opcode with one name in the directory. */
static void build_name(struct client *c, struct slot *s, struct shape *shape, uint32_t opcode,
	const char *prefix, unsigned int i)
{
	char name[32];
	int n = snprintf(name, sizeof(name), "%s%04u", prefix, i);

	client_request(c, s, opcode, c->dir, name, (size_t)n + 1);
	shape->args = (uint32_t)n + 1;
}

/* ---- names */

static void nop_build(struct client *c, struct slot *s, struct shape *shape)
{
	client_request(c, s, 63, FUSE_ROOT_ID, NULL, 0); /* not an operation */
}

static int nop_done(struct client *c, struct slot *s)
{
	return s->out->error == -ENOSYS ? 0 : -EPROTO;
}

static void lookup_build(struct client *c, struct slot *s, struct shape *shape)
{
	build_name(c, s, shape, FUSE_LOOKUP, "f", file_of(s));
	shape->reply = sizeof(struct fuse_entry_out);
}

static int lookup_done(struct client *c, struct slot *s)
{
	if (s->out->error)
		return s->out->error;
	c->node[file_of(s)] = REPLY(s, struct fuse_entry_out)->nodeid;
	c->lookups[file_of(s)]++;
	return c->node[file_of(s)] ? 0 : -ENOENT;
}

static void absent_build(struct client *c, struct slot *s, struct shape *shape)
{
	build_name(c, s, shape, FUSE_LOOKUP, "absent", file_of(s));
	shape->reply = sizeof(struct fuse_entry_out);
}

static int absent_done(struct client *c, struct slot *s)
{
	if (s->out->error == -ENOENT)
		return 0;
	return s->out->error || REPLY(s, struct fuse_entry_out)->nodeid ? -EPROTO : 0;
}

static void forget_build(struct client *c, struct slot *s, struct shape *shape)
{
	const struct fuse_forget_in in = {c->lookups[file_of(s)]};

	client_request(c, s, FUSE_FORGET, c->node[file_of(s)], &in, sizeof(in));
	shape->args = sizeof(in);
}

static int forget_done(struct client *c, struct slot *s)
{
	c->lookups[file_of(s)] = 0;
	return 0;
}

static void forget_made_build(struct client *c, struct slot *s, struct shape *shape)
{
	const struct fuse_forget_in in = {1};

	client_request(c, s, FUSE_FORGET, c->made[s->i], &in, sizeof(in));
	shape->args = sizeof(in);
}

static const struct op lookup_op = {.ring = 1, .build = lookup_build, .done = lookup_done};
static const struct op forget_op = {.build = forget_build, .done = forget_done};
static const struct op forget_made_op = {.build = forget_made_build};

static int lookup_all(struct client *c)
{
	return op_run(c, &lookup_op, FILES, SLOTS, NULL);
}

static int forget_all(struct client *c)
{
	return op_run(c, &forget_op, FILES, SLOTS, NULL);
}

/* Nothing but one reference of each file is held. */
static int know_once(struct client *c)
{
	int r = forget_all(c);

	return r < 0 ? r : lookup_all(c);
}

static void getattr_build(struct client *c, struct slot *s, struct shape *shape)
{
	const struct fuse_getattr_in in = {0};

	client_request(c, s, FUSE_GETATTR, c->node[file_of(s)], &in, sizeof(in));
	shape->args = sizeof(in);
	shape->reply = sizeof(struct fuse_attr_out);
}

/* ---- files that come and go */

static void make(struct client *c, struct slot *s, struct shape *shape, const char *prefix)
{
	struct {
		struct fuse_create_in in;
		char name[16];
	} a = {.in = {.flags = O_RDWR | O_CREAT | O_EXCL, .mode = S_IFREG | 0644, .umask = 022}};
	int n = snprintf(a.name, sizeof(a.name), "%s%04u", prefix, s->i);

	shape->args = (uint32_t)(sizeof(a.in) + (size_t)n + 1);
	client_request(c, s, FUSE_CREATE, c->dir, &a, shape->args);
	shape->reply = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out);
}

static void create_build(struct client *c, struct slot *s, struct shape *shape)
{
	make(c, s, shape, "new");
}

static int create_done(struct client *c, struct slot *s)
{
	const struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} *o = (const void *)s->reply;

	c->made[s->i] = s->out->error ? 0 : o->entry.nodeid;
	c->fh[s->i] = s->out->error ? 0 : o->open.fh;
	return s->out->error;
}

static void release_build(struct client *c, struct slot *s, struct shape *shape)
{
	const struct fuse_release_in in = {.fh = c->fh[s->i]};

	client_request(c, s, FUSE_RELEASE, c->made[s->i], &in, sizeof(in));
	shape->args = sizeof(in);
}

static void unlink_build(struct client *c, struct slot *s, struct shape *shape)
{
	build_name(c, s, shape, FUSE_UNLINK, "new", s->i);
}

static void rename_build(struct client *c, struct slot *s, struct shape *shape)
{
	struct {
		struct fuse_rename_in in;
		char names[32];
	} a = {.in = {.newdir = c->dir}};
	int n = snprintf(a.names, sizeof(a.names), "new%04u%cmoved%04u", s->i, 0, s->i);

	shape->args = (uint32_t)(sizeof(a.in) + (size_t)n + 1);
	client_request(c, s, FUSE_RENAME, c->dir, &a, shape->args);
}

static void unlink_moved_build(struct client *c, struct slot *s, struct shape *shape)
{
	build_name(c, s, shape, FUSE_UNLINK, "moved", s->i);
}

static const struct op create_op = {.ring = 1, .build = create_build, .done = create_done};
static const struct op release_op = {.ring = 1, .build = release_build, .done = plain_done};
static const struct op unlink_op = {.ring = 1, .build = unlink_build, .done = plain_done};
static const struct op unlink_moved_op = {
	.ring = 1, .build = unlink_moved_build, .done = plain_done};

static int make_new(struct client *c)
{
	int r = op_run(c, &create_op, FILES, SLOTS, NULL);

	return r < 0 ? r : op_run(c, &release_op, FILES, SLOTS, NULL);
}

static int forget_made(struct client *c)
{
	return op_run(c, &forget_made_op, FILES, SLOTS, NULL);
}

static int create_finish(struct client *c)
{
	int r;

	c->uid = 0;
	r = op_run(c, &release_op, FILES, SLOTS, NULL);
	if (r == 0)
		r = op_run(c, &unlink_op, FILES, SLOTS, NULL);
	return r < 0 ? r : forget_made(c);
}

static int as_user(struct client *c)
{
	c->uid = 1000;
	return 0;
}

static int rename_finish(struct client *c)
{
	int r = op_run(c, &unlink_moved_op, FILES, SLOTS, NULL);

	return r < 0 ? r : forget_made(c);
}

/* ---- open files */

enum stage { OPEN, READ, FLUSH, RELEASE, CLOSED };

/* Stages that this kernel does not send are passed over. */
static unsigned int stage(const struct client *c, unsigned int at)
{
	if (at == OPEN && c->no_open)
		at++;
	if (at == FLUSH && c->no_flush)
		at++;
	if (at == RELEASE && c->no_open)
		at++;
	return at;
}

static void io_build(struct client *c, struct slot *s, struct shape *shape)
{
	const struct fuse_open_in open_in = {.flags = O_RDONLY};
	const struct fuse_read_in read_in = {.fh = c->fh[file_of(s)], .size = PAGE};
	const struct fuse_flush_in flush_in = {.fh = c->fh[file_of(s)]};
	const struct fuse_release_in release_in = {.fh = c->fh[file_of(s)]};
	const struct {
		uint32_t opcode, bytes;
		const void *p;
	} what[CLOSED + 1] = {
		[OPEN] = {FUSE_OPEN, sizeof(open_in), &open_in},
		[READ] = {FUSE_READ, sizeof(read_in), &read_in},
		[FLUSH] = {FUSE_FLUSH, sizeof(flush_in), &flush_in},
		[RELEASE] = {FUSE_RELEASE, sizeof(release_in), &release_in},
	};

	s->step = stage(c, s->step);
	client_request(c, s, what[s->step].opcode, c->node[file_of(s)], what[s->step].p,
		what[s->step].bytes);
	shape->args = what[s->step].bytes;
	shape->reply = s->step == OPEN ? sizeof(struct fuse_open_out) : 0;
	shape->reply_data = s->step == READ ? PAGE : 0;
}

static int opened(struct client *c, struct slot *s)
{
	if (s->step == OPEN && s->out->error == 0)
		c->fh[file_of(s)] = REPLY(s, struct fuse_open_out)->fh;
	return s->out->error;
}

static int open_read_done(struct client *c, struct slot *s)
{
	int r = opened(c, s);

	if (r == 0 && s->step == READ && s->out->len != sizeof(*s->out) + PAGE)
		r = -EIO;
	s->step = stage(c, s->step + 1);
	return r < 0 ? r : s->step < CLOSED;
}

static int open_done(struct client *c, struct slot *s)
{
	int r = opened(c, s), more = s->step == OPEN;

	s->step = RELEASE;
	return r < 0 ? r : more;
}

static int open_prepare(struct client *c)
{
	memset(c->fh, 0, sizeof(c->fh));
	return c->no_open;
}

static int open_read_prepare(struct client *c)
{
	memset(c->fh, 0, sizeof(c->fh));
	return 0;
}

static void data_build(
	struct client *c, struct slot *s, struct shape *shape, uint32_t opcode, uint32_t bytes)
{
	uint64_t off = (uint64_t)s->i * bytes % DATA_BYTES;
	const struct fuse_read_in in = {.fh = c->data_fh, .offset = off, .size = bytes};
	const struct fuse_write_in out = {.fh = c->data_fh, .offset = off, .size = bytes};

	if (opcode == FUSE_READ) {
		client_request(c, s, opcode, c->data, &in, sizeof(in));
		*shape = (struct shape){.args = sizeof(in), .reply_data = bytes};
	} else {
		client_request(c, s, opcode, c->data, &out, sizeof(out));
		*shape = (struct shape){
			.args = sizeof(out), .data = bytes, .reply = sizeof(struct fuse_write_out)};
	}
}

#define DATA_OP(what, opcode, bytes)                                                               \
	static void what##_build(struct client *c, struct slot *s, struct shape *shape)            \
	{                                                                                          \
		data_build(c, s, shape, opcode, bytes);                                            \
	}                                                                                          \
	static int what##_done(struct client *c, struct slot *s)                                   \
	{                                                                                          \
		uint32_t n = opcode == FUSE_READ ? s->out->len - (uint32_t)sizeof(*s->out)         \
						 : REPLY(s, struct fuse_write_out)->size;          \
                                                                                                   \
		return s->out->error ? s->out->error : n == (bytes) ? 0 : -EIO;                    \
	}
DATA_OP(read_4k, FUSE_READ, PAGE)
DATA_OP(read_128k, FUSE_READ, 32 * PAGE)
DATA_OP(read_1m, FUSE_READ, SLOT_PAGES *PAGE)
DATA_OP(write_4k, FUSE_WRITE, PAGE)
DATA_OP(write_128k, FUSE_WRITE, 32 * PAGE)
DATA_OP(write_1m, FUSE_WRITE, SLOT_PAGES *PAGE)

static void first_write_build(struct client *c, struct slot *s, struct shape *shape)
{
	const struct fuse_write_in in = {.fh = c->fh[s->i], .size = PAGE};

	client_request(c, s, FUSE_WRITE, c->made[s->i], &in, sizeof(in));
	*shape = (struct shape){
		.args = sizeof(in), .data = PAGE, .reply = sizeof(struct fuse_write_out)};
}

static void create_file_build(struct client *c, struct slot *s, struct shape *shape)
{
	make(c, s, shape, "f");
}

int client_make_files(struct client *c)
{
	static const struct op create = {
		.ring = 1, .build = create_file_build, .done = create_done};
	static const struct op write = {.ring = 1, .build = first_write_build, .done = plain_done};
	int r = op_run(c, &create, FILES, SLOTS, NULL);

	if (r == 0)
		r = op_run(c, &write, FILES, SLOTS, NULL);
	if (r == 0)
		r = op_run(c, &release_op, FILES, SLOTS, NULL);
	for (unsigned int i = 0; i < FILES; i++) {
		c->node[i] = c->made[i];
		c->lookups[i] = 1;
	}
	return r;
}

/* ---- directories */

static int readdir_prepare(struct client *c)
{
	int r = forget_all(c);

	return r < 0 ? r : client_open_dirs(c);
}

static void readdir_build(struct client *c, struct slot *s, struct shape *shape)
{
	long k = s - c->f.slot;
	const struct fuse_read_in in = {.fh = c->dir_fh[k], .offset = c->dir_off[k], .size = PAGE};

	client_request(c, s, FUSE_READDIRPLUS, c->dir, &in, sizeof(in));
	*shape = (struct shape){.args = sizeof(in), .reply_data = PAGE};
}

static int take_entry(struct client *c, const struct fuse_direntplus *d)
{
	unsigned int i;

	if (d->dirent.namelen != 5 || sscanf(d->dirent.name, "f%4u", &i) != 1 || i >= FILES)
		return 0; /* "." and "..": no reference */
	c->node[i] = d->entry_out.nodeid;
	c->lookups[i]++;
	return c->node[i] ? 0 : -EPROTO;
}

static int readdir_done(struct client *c, struct slot *s)
{
	const uint8_t *p = slot_page(s, 0), *end = p + s->out->len - sizeof(*s->out);
	long k = s - c->f.slot;
	int r = s->out->error;

	if (p == end)
		c->dir_off[k] = 0; /* and again */
	while (r == 0 && p < end) {
		const struct fuse_direntplus *d = (const void *)p;

		r = take_entry(c, d);
		c->dir_off[k] = d->dirent.off;
		p += FUSE_DIRENTPLUS_SIZE(d);
	}
	return r;
}

static int readdir_finish(struct client *c)
{
	int r = client_close_dirs(c);

	return r < 0 ? r : know_once(c);
}

/* ---- the table. Targets: what is promised of a passthrough beside the better virtiofsd. */

#define METADATA(cpu_target) .cpu = (cpu_target), .p50 = 0.25, .rate = 2
#define DATA(cpu_target)     .cpu = (cpu_target), .rate = 1.1
#define IO(what, n, cpu_target)                                                                    \
	{                                                                                          \
		.name = #what, .count = (n), .ring = 1, .build = what##_build,                     \
		.done = what##_done, .prepare = client_fill_data, .finish = client_empty_data,     \
		DATA(cpu_target)                                                                   \
	}

const struct op ops[] = {
	{.name = "nop", .count = 2 * FILES, .ring = 1, .build = nop_build, .done = nop_done},
	{.name = "lookup_hot",
		.count = 2 * FILES,
		.ring = 1,
		.build = lookup_build,
		.done = lookup_done,
		.finish = know_once,
		METADATA(0.4)},
	{.name = "lookup_cold",
		.count = FILES,
		.ring = 1,
		.prepare = forget_all,
		.build = lookup_build,
		.done = lookup_done,
		METADATA(0.4)},
	{.name = "lookup_negative",
		.count = 2 * FILES,
		.ring = 1,
		.build = absent_build,
		.done = absent_done,
		METADATA(0.4)},
	{.name = "forget",
		.count = FILES,
		.build = forget_build,
		.done = forget_done,
		.finish = lookup_all},
	{.name = "getattr",
		.count = 2 * FILES,
		.ring = 1,
		.build = getattr_build,
		.done = plain_done,
		METADATA(0.6)},
	{.name = "open_release",
		.count = FILES,
		.ring = 1,
		.prepare = open_prepare,
		.build = io_build,
		.done = open_done,
		METADATA(0.6)},
	{.name = "open_read_release",
		.count = FILES,
		.ring = 1,
		.prepare = open_read_prepare,
		.build = io_build,
		.done = open_read_done},
	{.name = "create",
		.count = FILES,
		.ring = 1,
		.build = create_build,
		.done = create_done,
		.finish = create_finish,
		METADATA(0)},
	{.name = "create_uid_1000",
		.count = FILES,
		.ring = 1,
		.prepare = as_user,
		.build = create_build,
		.done = create_done,
		.finish = create_finish,
		METADATA(0.4)},
	{.name = "unlink",
		.count = FILES,
		.ring = 1,
		.prepare = make_new,
		.build = unlink_build,
		.done = plain_done,
		.finish = forget_made,
		METADATA(0.6)},
	{.name = "rename",
		.count = FILES,
		.ring = 1,
		.prepare = make_new,
		.build = rename_build,
		.done = plain_done,
		.finish = rename_finish,
		METADATA(0.6)},
	{.name = "readdirplus_4k",
		.count = 255,
		.ring = 1,
		.prepare = readdir_prepare,
		.build = readdir_build,
		.done = readdir_done,
		.finish = readdir_finish,
		METADATA(0.4)},
	IO(read_4k, FILES, 0.7),
	IO(read_128k, 500, 0.9),
	IO(read_1m, 100, 0.9),
	IO(write_4k, FILES, 0.7),
	IO(write_128k, 500, 0.9),
	IO(write_1m, 100, 0.9),
};
const unsigned int nops = ARRAY_LEN(ops);
