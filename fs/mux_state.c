// SPDX-License-Identifier: Apache-2.0
/*
 * Several backends as one: device state.
 *
 * A node is saved as the name of its child, a NUL, and what the child says of it; the contents of
 * all children as {u8 name_bytes, name, u64 bytes, contents}*, u8 0. Where the names sit may differ
 * from the server that saved: the ids that a kernel knows decide, so a child moves to the seat
 * number that the first of its nodes names. What could not be saved has no bytes, and goes by its
 * seat.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/mux_priv.h"

#include <string.h>
#include <sys/mman.h>

#define COPY_BYTES 65536

int64_t mux_save(struct fsb *b, uint64_t node, void *buf, size_t cap)
{
	struct mux_seat *s;
	int64_t r = mux_enter(b, node, &s);
	size_t n;

	if (r < 0)
		return r;
	/* A name never changes while its child sits. */
	n = strlen(s->name) + 1;
	if (n > cap)
		return mux_leave(s, -ENOBUFS);
	memcpy(buf, s->name, n);
	if ((node & MUX_MASK) == FSB_ROOT)
		r = 0;
	else
		r = s->b->ops->save
			    ? s->b->ops->save(s->b, node & MUX_MASK, (char *)buf + n, cap - n)
			    : -EOPNOTSUPP;
	r = mux_leave(s, r);
	return r < 0 ? r : r + (int64_t)n;
}

/* Gives the child of that name the number @id; who sits there else moves. 0; -ESTALE there is no
 * such child; -EBADMSG two want it. */
static int bind_seat(struct mux *m, const char *name, uint32_t id)
{
	struct mux_seat *s, *other = NULL;

	LOCK_SCOPE(&m->lock);
	mux_take_id(m, id);
	s = mux_seat_named(m, name);
	if (s && s->bound)
		return s->id == id ? 0 : -EBADMSG;
	for (unsigned int i = 0; i < FSD_MAX_MOUNTS; i++)
		if (m->seat[i].id == id && &m->seat[i] != s)
			other = &m->seat[i];
	if (other && other->bound)
		return s ? -EBADMSG : -ESTALE;
	if (other) {
		uint32_t moved = mux_new_id(m, other->name);

		if (!moved)
			return -EBADMSG;
		other->id = moved;
	}
	if (!s)
		return -ESTALE;
	s->id = id;
	s->bound = true;
	return 0;
}

/* Whoever sat there: nobody else may while the kernel remembers it. */
static int load_unsaved(struct fsb *b, uint64_t node, uint64_t lookups)
{
	struct mux *m = mux_of(b);
	struct mux_seat *s;
	int r;

	{
		LOCK_SCOPE(&m->lock);
		mux_take_id(m, (uint32_t)(node >> MUX_SHIFT));
	}
	r = (node & MUX_MASK) == FSB_ROOT ? -EBADMSG : mux_enter(b, node, &s);

	if (r < 0)
		return -EBADMSG;
	r = s->b->ops->load ? s->b->ops->load(s->b, node & MUX_MASK, lookups, NULL, 0) : -EBADMSG;
	return (int)mux_leave(s, r);
}

int mux_load(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n)
{
	const char *name = buf;
	size_t k = n ? strnlen(name, n) : 0;
	struct mux_seat *s;
	int r;

	if (n == 0)
		return load_unsaved(b, node, lookups);
	if (k == n || k > FSD_MAX_MOUNT_NAME || node >> MUX_SHIFT == 0)
		return -EBADMSG;
	r = bind_seat(mux_of(b), name, (uint32_t)(node >> MUX_SHIFT));
	if (r < 0 || (node & MUX_MASK) == FSB_ROOT)
		return r;
	r = mux_enter(b, node, &s);
	if (r < 0)
		return r;
	r = s->b->ops->load
		    ? s->b->ops->load(s->b, node & MUX_MASK, lookups, name + k + 1, n - k - 1)
		    : -ESTALE;
	return (int)mux_leave(s, r);
}

static int read_full(int fd, void *p, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t k = read(fd, (uint8_t *)p + done, n - done);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? -errno : -EBADMSG; /* cut short */
		done += (size_t)k;
	}
	return 0;
}

/* @to -1: nowhere. */
static int copy(int from, int to, uint64_t bytes)
{
	_cleanup_free_ char *buf = malloc(COPY_BYTES);
	int r = buf ? 0 : -ENOMEM;

	while (r == 0 && bytes) {
		size_t n = bytes < COPY_BYTES ? (size_t)bytes : COPY_BYTES;

		r = read_full(from, buf, n);
		r = r < 0 || to < 0 ? r : msb_write_full(to, buf, n);
		bytes -= n;
	}
	return r;
}

static int save_child(struct mux_seat *s, int fd)
{
	_cleanup_close_ int tmp = memfd_create("state", MFD_CLOEXEC);
	uint8_t n = (uint8_t)strlen(s->name);
	off_t end;
	uint64_t bytes;
	int r;

	if (tmp < 0)
		return -errno;
	r = s->b->ops->save_all(s->b, tmp);
	if (r < 0)
		return r;
	end = lseek(tmp, 0, SEEK_END);
	if (end < 0 || lseek(tmp, 0, SEEK_SET) < 0)
		return -errno;
	bytes = (uint64_t)end;
	r = msb_write_full(fd, &n, 1);
	r = r < 0 ? r : msb_write_full(fd, s->name, n);
	r = r < 0 ? r : msb_write_full(fd, &bytes, sizeof(bytes));
	return r < 0 ? r : copy(tmp, fd, bytes);
}

int mux_save_all(struct fsb *b, int fd)
{
	struct mux *m = mux_of(b);
	const uint8_t end = 0;

	for (unsigned int i = 0; i < FSD_MAX_MOUNTS; i++) {
		struct mux_seat *s;
		int r;

		if (mux_enter(b, (uint64_t)m->seat[i].id << MUX_SHIFT, &s) < 0)
			continue;
		r = s->b->ops->save_all ? save_child(s, fd) : 0;
		r = (int)mux_leave(s, r);
		if (r < 0)
			return r;
	}
	return msb_write_full(fd, &end, 1);
}

/* Straight from @fd: a copy would take as much memory as the bytes say that there are. Of a mount
 * that is not there any more the nodes are stale. */
static int load_child(struct fsb *b, const char *name, int fd, uint64_t bytes)
{
	struct fsb *child = mux_find(b, name);

	return child && child->ops->load_all ? child->ops->load_all(child, fd)
					     : copy(fd, -1, bytes);
}

int mux_load_all(struct fsb *b, int fd)
{
	for (;;) {
		char name[FSD_MAX_MOUNT_NAME + 1] = "";
		uint64_t bytes;
		uint8_t n;
		int r = read_full(fd, &n, 1);

		if (r < 0 || n == 0)
			return r;
		if (n > FSD_MAX_MOUNT_NAME)
			return -EBADMSG;
		r = read_full(fd, name, n);
		r = r < 0 ? r : read_full(fd, &bytes, sizeof(bytes));
		r = r < 0 ? r : load_child(b, name, fd, bytes);
		if (r < 0)
			return r;
	}
}
