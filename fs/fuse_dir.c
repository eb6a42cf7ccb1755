// SPDX-License-Identifier: Apache-2.0
// The FUSE server: directories.
#include "fs/fuse_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/param.h>

int64_t fuse_do_opendir(struct fuse_call *c)
{
	struct fuse_open_out o = {0};
	bool stateless = c->ops->caps & FSB_CAP_NO_OPEN;
	int64_t n;

	if (fuse_skips_open(c))
		return -ENOSYS;
	if (!stateless || ((c->ops->caps & FSB_CAP_SEE_OPENS) && c->ops->opendir)) {
		int r;

		if (!c->ops->opendir)
			return -ENOSYS;
		r = CALL(c, opendir, c->h.nodeid, &o.fh);
		if (r == 0 && (o.fh || !(c->ops->caps & (FSB_CAP_NO_OPEN | FSB_CAP_MIXED_OPEN))))
			r = fuse_own_handle(c->s, true, c->h.nodeid, o.fh, 0);
		if (r < 0)
			return r;
	}
	n = fuse_reply(c, &o, sizeof(o));
	if (n < 0)
		fuse_release(c->s, true, o.fh);
	return n;
}

struct fill {
	struct fuse_call *c;
	size_t used, room;
	bool plus;
	int error;
};

/* Appends one entry to the worker's reply. Runs inside of the backend, which may hold locks: it
 * takes the reference by the session's table alone, and a reference that does not fit there goes
 * back to the backend by the return value. */
static int fill_one(void *arg, const char *name, size_t name_bytes, uint64_t ino, uint32_t type,
	uint64_t next_off, const struct fsb_entry *entry)
{
	struct fill *f = arg;
	size_t head = f->plus ? sizeof(struct fuse_entry_out) : 0;
	size_t n = FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + name_bytes);
	uint8_t *p = f->c->w->reply + f->used;
	struct fuse_dirent d = {
		.ino = ino, .off = next_off, .namelen = (uint32_t)name_bytes, .type = type};

	if (name_bytes == 0 || name_bytes > FUSE_MAX_NAME)
		return 0; /* no kernel accepts it */
	if (n > f->room - f->used)
		return 1;
	if (entry && entry->node) {
		pthread_mutex_lock(&f->c->s->lock);
		f->error = fuse_refs_add(
			&f->c->s->nodes, &(struct fuse_ref){.key = entry->node, .count = 1});
		pthread_mutex_unlock(&f->c->s->lock);
		if (f->error < 0)
			return 1;
	}
	memset(p, 0, n);
	if (f->plus && entry && entry->node) {
		struct fuse_entry_out o;

		fuse_entry_out(f->c->s, f->c->h.nodeid, entry, &o);
		memcpy(p, &o, sizeof(o));
	}
	memcpy(p + head, &d, FUSE_NAME_OFFSET);
	memcpy(p + head + FUSE_NAME_OFFSET, name, name_bytes);
	f->used += n;
	return 0;
}

int64_t fuse_do_readdir(struct fuse_call *c)
{
	const struct fuse_read_in *in = ARGS(c, struct fuse_read_in);
	struct fill f = {.c = c,
		.room = MIN(MIN(in->size, sizeof(c->w->reply)), c->out_bytes),
		.plus = c->h.opcode == FUSE_READDIRPLUS};
	int r;

	if (!c->ops->readdir)
		return -ENOSYS;
	r = fuse_pin_handle(c->s, true, c->h.nodeid, in->fh);
	if (r < 0)
		return r;
	r = CALL(c, readdir, &c->req, c->h.nodeid, in->fh, in->offset, f.plus, fill_one, &f);
	fuse_unpin_handle(c->s, true, in->fh);
	/* What was taken must reach the kernel, or its references would be nobody's: an error
	 * shows up at the next request, which starts where this one stopped. */
	if (f.used == 0 && (r < 0 || f.error < 0))
		return r < 0 ? r : f.error;
	return fuse_reply(c, c->w->reply, f.used);
}

int64_t fuse_do_releasedir(struct fuse_call *c)
{
	fuse_release(c->s, true, ARGS(c, struct fuse_release_in)->fh);
	return 0;
}

int64_t fuse_do_fsyncdir(struct fuse_call *c)
{
	const struct fuse_fsync_in *in = ARGS(c, struct fuse_fsync_in);
	int64_t r;

	if (!c->ops->fsync)
		return -ENOSYS;
	r = fuse_pin_handle(c->s, true, c->h.nodeid, in->fh);
	if (r < 0)
		return r;
	r = CALL(c, fsync, c->h.nodeid, in->fh, in->fsync_flags & FUSE_FSYNC_FDATASYNC);
	fuse_unpin_handle(c->s, true, in->fh);
	return r;
}
