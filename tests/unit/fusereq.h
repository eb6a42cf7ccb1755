/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's side of FUSE, for tests: requests built byte by byte, carried in-process. */
#ifndef MSB_TESTS_FUSEREQ_H
#define MSB_TESTS_FUSEREQ_H

#include "fs/fuse_core.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define REQ_BYTES (FUSE_MAX_IO + 4096u)

/* A request under construction, then its reply. */
struct fusereq {
	/* Carries in[0..n) somewhere and the reply to out: its bytes. NULL: fuse_handle() on @s. */
	int64_t (*carry)(struct fusereq *);
	void *arg;
	struct fsd_session *s;
	struct fuse_worker *w;
	uint64_t unique;
	size_t n; /* bytes of the request */
	_Alignas(8) uint8_t in[REQ_BYTES], out[REQ_BYTES];
	size_t out_bytes; /* of the reply behind its header */
};

static inline struct fuse_in_header *req_head(struct fusereq *q)
{
	return (struct fuse_in_header *)(void *)q->in;
}

static inline void req_start(struct fusereq *q, uint32_t opcode, uint64_t node)
{
	q->n = sizeof(struct fuse_in_header);
	*req_head(q) = (struct fuse_in_header){
		.opcode = opcode, .nodeid = node, .unique = ++q->unique, .pid = 1};
}

static inline void req_add(struct fusereq *q, const void *p, size_t n)
{
	if (n)
		memcpy(q->in + q->n, p, n);
	q->n += n;
}

static inline void req_str(struct fusereq *q, const char *s)
{
	req_add(q, s, strlen(s) + 1);
}

/* Sends what was built. 0 or the reply's -errno; 1 where there is no reply. */
static inline int req_run(struct fusereq *q)
{
	struct iovec in = {q->in, q->n}, out = {q->out, sizeof(q->out)};
	const struct fuse_out_header *o = (const void *)q->out;
	int64_t r;

	req_head(q)->len = (uint32_t)q->n;
	r = q->carry ? q->carry(q) : fuse_handle(q->s, q->w, &in, 1, &out, 1);
	if (r <= 0)
		return r < 0 ? (int)r : 1;
	if (o->len != (uint64_t)r || o->unique != q->unique || o->error > 0 || r < 16)
		return -EBADMSG;
	q->out_bytes = (size_t)r - 16;
	return o->error;
}

#define REQ_REPLY(q, type) ((const type *)(const void *)((q)->out + 16))

static inline int req_init(struct fusereq *q)
{
	const struct fuse_init_in in = {
		.major = 7, .minor = 40, .max_readahead = 1u << 20, .flags = ~0u, .flags2 = ~0u};

	req_start(q, FUSE_INIT, 0);
	req_add(q, &in, sizeof(in));
	return req_run(q);
}

/* Opcode with a name in a directory: LOOKUP, UNLINK, RMDIR. */
static inline int req_name(struct fusereq *q, uint32_t opcode, uint64_t dir, const char *name)
{
	req_start(q, opcode, dir);
	req_str(q, name);
	return req_run(q);
}

/* The node of @name, or 0 where it is absent or the request failed. */
static inline uint64_t req_lookup(struct fusereq *q, uint64_t dir, const char *name)
{
	return req_name(q, FUSE_LOOKUP, dir, name) ? 0
						   : REQ_REPLY(q, struct fuse_entry_out)->nodeid;
}

static inline void req_forget(struct fusereq *q, uint64_t node, uint64_t n)
{
	const struct fuse_forget_in in = {n};

	req_start(q, FUSE_FORGET, node);
	req_add(q, &in, sizeof(in));
	(void)req_run(q);
}

static inline int req_getattr(struct fusereq *q, uint64_t node)
{
	const struct fuse_getattr_in in = {0};

	req_start(q, FUSE_GETATTR, node);
	req_add(q, &in, sizeof(in));
	return req_run(q);
}

static inline int req_create(
	struct fusereq *q, uint64_t dir, const char *name, uint32_t flags, uint32_t mode)
{
	const struct fuse_create_in in = {.flags = flags, .mode = mode, .umask = 022};

	req_start(q, FUSE_CREATE, dir);
	req_add(q, &in, sizeof(in));
	req_str(q, name);
	return req_run(q);
}

/* After CREATE. */
static inline uint64_t req_created_fh(const struct fusereq *q)
{
	const struct fuse_open_out *o = (const void *)(q->out + 16 + sizeof(struct fuse_entry_out));

	return o->fh;
}

static inline int req_open(struct fusereq *q, uint32_t opcode, uint64_t node, uint32_t flags)
{
	const struct fuse_open_in in = {.flags = flags};

	req_start(q, opcode, node);
	req_add(q, &in, sizeof(in));
	return req_run(q);
}

static inline int req_release(struct fusereq *q, uint32_t opcode, uint64_t node, uint64_t fh)
{
	const struct fuse_release_in in = {.fh = fh};

	req_start(q, opcode, node);
	req_add(q, &in, sizeof(in));
	return req_run(q);
}

static inline int req_read(
	struct fusereq *q, uint32_t opcode, uint64_t node, uint64_t fh, uint64_t off, uint32_t size)
{
	const struct fuse_read_in in = {.fh = fh, .offset = off, .size = size};

	req_start(q, opcode, node);
	req_add(q, &in, sizeof(in));
	return req_run(q);
}

static inline int req_write(struct fusereq *q, uint64_t node, uint64_t fh, uint64_t off,
	const void *p, uint32_t n, uint32_t flags)
{
	const struct fuse_write_in in = {.fh = fh, .offset = off, .size = n, .write_flags = flags};

	req_start(q, FUSE_WRITE, node);
	req_add(q, &in, sizeof(in));
	req_add(q, p, n);
	return req_run(q);
}

static inline int req_mkdir(struct fusereq *q, uint64_t dir, const char *name, uint32_t mode)
{
	const struct fuse_mkdir_in in = {.mode = mode, .umask = 022};

	req_start(q, FUSE_MKDIR, dir);
	req_add(q, &in, sizeof(in));
	req_str(q, name);
	return req_run(q);
}

static inline int req_rename(struct fusereq *q, uint64_t dir, const char *name, uint64_t newdir,
	const char *newname, uint32_t flags)
{
	const struct fuse_rename2_in in = {.newdir = newdir, .flags = flags};

	req_start(q, FUSE_RENAME2, dir);
	req_add(q, &in, sizeof(in));
	req_str(q, name);
	req_str(q, newname);
	return req_run(q);
}

/* What makes a file, but LINK: opcodes, and the bytes of their fixed arguments. */
static const struct req_maker {
	uint32_t opcode;
	size_t fixed;
} req_makers[] = {{FUSE_MKNOD, sizeof(struct fuse_mknod_in)},
	{FUSE_MKDIR, sizeof(struct fuse_mkdir_in)}, {FUSE_SYMLINK, 0},
	{FUSE_CREATE, sizeof(struct fuse_create_in)},
	{FUSE_TMPFILE, sizeof(struct fuse_create_in)}};

/* One of them, of "made", with no rights. */
static inline int req_make(
	struct fusereq *q, const struct req_maker *m, uint64_t dir, uint32_t uid, uint32_t gid)
{
	const bool opens = m->opcode == FUSE_CREATE || m->opcode == FUSE_TMPFILE;
	const uint32_t args[4] = {opens ? O_RDWR : 0};

	req_start(q, m->opcode, dir);
	req_head(q)->uid = uid;
	req_head(q)->gid = gid;
	req_add(q, args, m->fixed);
	req_str(q, "made");
	req_str(q, "target");
	return req_run(q);
}

/* The shorter form, as where ACLs are not agreed on. */
static inline int req_setxattr(
	struct fusereq *q, uint64_t node, const char *name, const void *value, size_t n)
{
	const struct fuse_setxattr_in in = {.size = (uint32_t)n};

	req_start(q, FUSE_SETXATTR, node);
	req_add(q, &in, FUSE_COMPAT_SETXATTR_IN_SIZE);
	req_str(q, name);
	req_add(q, value, n);
	return req_run(q);
}

static inline int req_setattr(struct fusereq *q, uint64_t node, const struct fuse_setattr_in *in)
{
	req_start(q, FUSE_SETATTR, node);
	req_add(q, in, sizeof(*in));
	return req_run(q);
}

#endif
