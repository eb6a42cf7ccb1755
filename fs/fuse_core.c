// SPDX-License-Identifier: Apache-2.0
// The FUSE server: checking a request, finding its operation, framing its reply.
#include "fs/fuse_priv.h"
#include "fs/fuse_iov.h"
#include "fs/fuse_stats.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

_Static_assert(sizeof(struct fuse_in_header) == 40, "FUSE 7.38");
_Static_assert(sizeof(struct fuse_out_header) == 16, "FUSE 7.38");

#define HEAD sizeof(struct fuse_in_header)

/* Every opcode that is not here is ENOSYS, which the kernel remembers: FLUSH (writes go straight
 * to the backend), ACCESS (default_permissions), locks (local to the kernel), POLL, BMAP,
 * INTERRUPT (no request waits for anything but a disk), DAX mappings. */
const struct fuse_op fuse_ops_table[FUSE_STATX_OP + 1] = {
	/* INIT's tail has grown over time: fuse_do_init() looks at what is there. */
	[FUSE_INIT] = {fuse_do_init, 16, 0, OP_NO_NODE | OP_EARLY},
	[FUSE_DESTROY] = {fuse_do_destroy, 0, 0, OP_NO_NODE},
	[FUSE_LOOKUP] = {fuse_do_lookup, 0, 1, OP_SIZES},
	[FUSE_FORGET] = {fuse_do_forget, sizeof(struct fuse_forget_in), 0, OP_NO_REPLY},
	[FUSE_BATCH_FORGET] = {fuse_do_batch_forget, sizeof(struct fuse_batch_forget_in), 0,
		OP_NO_REPLY},
	[FUSE_GETATTR] = {fuse_do_getattr, sizeof(struct fuse_getattr_in), 0, OP_SIZES},
	[FUSE_SETATTR] = {fuse_do_setattr, sizeof(struct fuse_setattr_in), 0,
		OP_WRITES | OP_CHANGES | OP_SIZES},
	[FUSE_READLINK] = {fuse_do_readlink, 0, 0, 0},
	[FUSE_SYMLINK] = {fuse_do_symlink, 0, 2, OP_WRITES | OP_MAKES},
	[FUSE_MKNOD] = {fuse_do_mknod, sizeof(struct fuse_mknod_in), 1, OP_WRITES | OP_MAKES},
	[FUSE_MKDIR] = {fuse_do_mkdir, sizeof(struct fuse_mkdir_in), 1, OP_WRITES | OP_MAKES},
	[FUSE_UNLINK] = {fuse_do_unlink, 0, 1, OP_WRITES},
	[FUSE_RMDIR] = {fuse_do_rmdir, 0, 1, OP_WRITES},
	[FUSE_RENAME] = {fuse_do_rename, sizeof(struct fuse_rename_in), 2, OP_WRITES},
	[FUSE_RENAME2] = {fuse_do_rename2, sizeof(struct fuse_rename2_in), 2, OP_WRITES},
	[FUSE_LINK] = {fuse_do_link, sizeof(struct fuse_link_in), 1, OP_WRITES | OP_SIZES},
	[FUSE_OPEN] = {fuse_do_open, sizeof(struct fuse_open_in), 0, OP_CHANGES},
	[FUSE_CREATE] = {fuse_do_create, sizeof(struct fuse_create_in), 1,
		OP_WRITES | OP_CHANGES | OP_SIZES | OP_MAKES},
	[FUSE_TMPFILE] = {fuse_do_tmpfile, sizeof(struct fuse_create_in), 1, OP_WRITES | OP_MAKES},
	/* Handles are released whatever has become of their node. */
	[FUSE_RELEASE] = {fuse_do_release, sizeof(struct fuse_release_in), 0, OP_NO_NODE},
	[FUSE_READ] = {fuse_do_read, sizeof(struct fuse_read_in), 0, 0},
	[FUSE_WRITE] = {fuse_do_write, sizeof(struct fuse_write_in), 0, OP_WRITES | OP_CHANGES},
	[FUSE_FSYNC] = {fuse_do_fsync, sizeof(struct fuse_fsync_in), 0, OP_WAITS},
	[FUSE_FALLOCATE] = {fuse_do_fallocate, sizeof(struct fuse_fallocate_in), 0,
		OP_WRITES | OP_WAITS | OP_CHANGES},
	[FUSE_LSEEK] = {fuse_do_lseek, sizeof(struct fuse_lseek_in), 0, 0},
	[FUSE_COPY_FILE_RANGE] = {fuse_do_copy_file_range, sizeof(struct fuse_copy_file_range_in),
		0, OP_WRITES | OP_WAITS | OP_CHANGES},
	[FUSE_OPENDIR] = {fuse_do_opendir, sizeof(struct fuse_open_in), 0, 0},
	[FUSE_READDIR] = {fuse_do_readdir, sizeof(struct fuse_read_in), 0, 0},
	[FUSE_READDIRPLUS] = {fuse_do_readdir, sizeof(struct fuse_read_in), 0, OP_SIZES},
	[FUSE_RELEASEDIR] = {fuse_do_releasedir, sizeof(struct fuse_release_in), 0, OP_NO_NODE},
	[FUSE_FSYNCDIR] = {fuse_do_fsyncdir, sizeof(struct fuse_fsync_in), 0, OP_WAITS},
	/* Its arguments may be longer: fuse_do_setxattr() looks for the name. */
	[FUSE_SETXATTR] = {fuse_do_setxattr, FUSE_COMPAT_SETXATTR_IN_SIZE, 0, OP_WRITES},
	[FUSE_GETXATTR] = {fuse_do_getxattr, sizeof(struct fuse_getxattr_in), 1, 0},
	[FUSE_LISTXATTR] = {fuse_do_listxattr, sizeof(struct fuse_getxattr_in), 0, 0},
	[FUSE_REMOVEXATTR] = {fuse_do_removexattr, 0, 1, OP_WRITES},
	[FUSE_STATFS] = {fuse_do_statfs, 0, 0, 0},
	[FUSE_STATX_OP] = {fuse_do_statx, 24, 0, OP_SIZES},
	[FUSE_IOCTL] = {fuse_do_ioctl, sizeof(struct fuse_ioctl_in), 0, 0},
	[FUSE_SYNCFS] = {fuse_do_syncfs, sizeof(struct fuse_syncfs_in), 0, OP_WAITS},
};

int64_t fuse_reply(struct fuse_call *c, const void *p, size_t n)
{
	if (n > c->out_bytes)
		return -EIO;
	(void)iov_write(c->out, c->n_out, sizeof(struct fuse_out_header), p, n);
	return (int64_t)n;
}

const char *fuse_arg_string(const struct fuse_call *c, size_t fixed, unsigned int index)
{
	const char *p = (const char *)c->args + fixed;

	while (index--)
		p += strlen(p) + 1;
	return p;
}

bool fuse_is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

bool fuse_is_nobody(const struct fuse_call *c)
{
	return c->req.uid == FSB_UNKNOWN_ID || c->req.gid == FSB_UNKNOWN_ID;
}

int fuse_check_name(const char *name)
{
	size_t n = strnlen(name, FUSE_MAX_NAME + 1);

	if (n > FUSE_MAX_NAME)
		return -ENAMETOOLONG;
	if (n == 0 || memchr(name, '/', n) || fuse_is_dots(name))
		return -EINVAL;
	return 0;
}

/* All strings that the operation needs must end within the arguments. */
static int check_args(const struct fuse_call *c, const struct fuse_op *op)
{
	size_t at = op->arg_bytes;

	if (c->args_bytes < at)
		return -EINVAL;
	for (unsigned int i = 0; i < op->names; i++) {
		const uint8_t *end = memchr(c->args + at, 0, c->args_bytes - at);

		if (!end)
			return -EINVAL;
		at = (size_t)(end - c->args) + 1;
	}
	return 0;
}

/* A kernel that turns a file handle into a node asks by an id that it has forgotten. */
static bool by_handle(const struct fuse_call *c)
{
	return c->h.opcode == FUSE_LOOKUP && c->ops->caps & FSB_CAP_EXPORT &&
	       fuse_is_dots((const char *)c->args);
}

/* A view is not told how large a file is before it was told that the contents are others. */
static int64_t run(struct fuse_call *c, const struct fuse_op *op)
{
	unsigned int begun;
	bool tells = op->flags & OP_CHANGES && fuse_view_change(c->s, c->h.nodeid, &begun);
	int64_t r = op->run(c);

	if (tells)
		fuse_view_change_end(begun);
	if (c->s->explicit_inval && op->flags & OP_SIZES)
		fuse_view_settle();
	return r;
}

static int64_t dispatch(struct fuse_call *c, const struct fuse_op *op)
{
	int64_t r;

	if (!op || !op->run)
		return -ENOSYS;
	if (!(op->flags & OP_EARLY) && !atomic_load(&c->s->ready))
		return -EIO;
	r = check_args(c, op);
	if (r < 0)
		return r;
	if ((op->flags & OP_WRITES) && c->s->readonly)
		return -EROFS;
	if ((op->flags & OP_MAKES) && fuse_is_nobody(c))
		return -EOVERFLOW;
	/* Forgetting must not meet a pin of its own. */
	if (op->flags & (OP_NO_NODE | OP_NO_REPLY))
		return op->run(c);
	if (by_handle(c))
		return run(c, op);
	r = fuse_hold(c, c->h.nodeid);
	if (r < 0)
		return r;
	if (__builtin_expect(atomic_load_explicit(&fsb_guards, memory_order_relaxed), 0))
		r = fuse_flags_check(c);
	if (r == 0)
		r = run(c, op);
	fuse_let_go(c, c->h.nodeid);
	return r;
}

#define LONG_BYTES (64u << 10) /* that takes as long as dozens of requests without data */

bool fuse_may_wait(const struct fsd_session *s, const struct iovec *in, size_t bytes)
{
	uint32_t opcode;
	unsigned int flags;

	if (s->fs->b->ops->caps & FSB_CAP_WAITS || bytes > LONG_BYTES)
		return true;
	if (iov_read(in, 1, offsetof(struct fuse_in_header, opcode), &opcode, sizeof(opcode)) <
		sizeof(opcode))
		return false;
	flags = opcode <= FUSE_STATX_OP ? fuse_ops_table[opcode].flags : 0;
	return flags & OP_WAITS || (flags & OP_SIZES && s->explicit_inval && fuse_view_unsettled());
}

int64_t fuse_handle(struct fsd_session *s, struct fuse_worker *w, const struct iovec *in,
	unsigned int n_in, const struct iovec *out, unsigned int n_out)
{
	size_t in_bytes = iov_bytes(in, n_in), out_bytes = iov_bytes(out, n_out), args;
	uint64_t begun = w->stats ? fuse_stats_now() : 0;
	const struct fuse_op *op;
	struct fuse_out_header o = {0};
	int64_t r;
	struct fuse_call c = {.s = s,
		.w = w,
		.b = s->fs->b,
		.ops = s->fs->b->ops,
		.args = w->args,
		.in = in,
		.n_in = n_in,
		.out = out,
		.n_out = n_out,
		.pin = !(s->fs->b->ops->caps & FSB_CAP_PINS)};

	if (iov_read(in, n_in, 0, &c.h, HEAD) < HEAD)
		return -EPROTO;
	c.req.pid = c.h.pid;
	if (!s->profile->as_root) {
		c.req.uid = c.h.uid;
		c.req.gid = c.h.gid;
	}
	op = c.h.opcode <= FUSE_STATX_OP ? &fuse_ops_table[c.h.opcode] : NULL;
	w->requests++;

	/* WRITE's data stays where it is; BATCH_FORGET reads its list piece by piece. */
	args = in_bytes - HEAD;
	if (c.h.opcode == FUSE_WRITE || c.h.opcode == FUSE_BATCH_FORGET)
		args = args < op->arg_bytes ? args : op->arg_bytes;
	if (c.h.len != in_bytes || in_bytes > FUSE_MAX_IO + FUSE_MAX_ARGS) {
		r = -EINVAL; /* also a list of FORGETs as long as all memory */
	} else if (args > FUSE_MAX_ARGS) {
		r = -E2BIG;
	} else {
		c.args_bytes = iov_read(in, n_in, HEAD, w->args, args);
		c.out_bytes = out_bytes > sizeof(o) ? out_bytes - sizeof(o) : 0;
		fsb_asking = &c.req;
		r = dispatch(&c, op);
		fsb_asking = NULL;
	}
	if (__builtin_expect(s->keep != NULL, 0))
		fuse_keep_states(s);
	if (w->stats)
		fuse_stats_count(w->stats, c.h.opcode, r, in_bytes, begun);
	if (op && (op->flags & OP_NO_REPLY))
		return 0;
	if (out_bytes < sizeof(o))
		return -EPROTO;
	o.unique = c.h.unique;
	o.error = r < 0 ? (int32_t)r : 0;
	o.len = (uint32_t)(sizeof(o) + (r < 0 ? 0 : (uint64_t)r));
	(void)iov_write(out, n_out, 0, &o, sizeof(o));
	return o.len;
}
