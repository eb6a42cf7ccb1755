// SPDX-License-Identifier: Apache-2.0
// The memory backend's ops on the space of a file: truncate, fallocate, holes, copies.
#include "fs/backends/memory/mem.h"

#include <linux/falloc.h>
#include <sys/stat.h>

/* Bytes of one page become zeros, where it has any others. */
static void zero_part(struct mem *m, struct mem_inode *i, uint64_t off, uint64_t end)
{
	struct mem_leaf *l = mem_map_leaf(&i->map, off / MEM_PAGE);
	uint32_t e = l ? l->page[off / MEM_PAGE % MEM_FAN] : 0;

	if (e && !(e & MEM_UNWRITTEN))
		memset(mem_page(m, e) + off % MEM_PAGE, 0, end - off);
}

/* The whole pages in [off, end), as [first, last); what is not whole is zeroed. */
static void zero_edges(struct mem *m, struct mem_inode *i, uint64_t off, uint64_t end,
	uint64_t *ret_first, uint64_t *ret_last)
{
	uint64_t first = (off + MEM_PAGE - 1) / MEM_PAGE, last = end / MEM_PAGE;

	if (off / MEM_PAGE == end / MEM_PAGE) {
		if (off < end)
			zero_part(m, i, off, end);
	} else {
		if (off % MEM_PAGE)
			zero_part(m, i, off, first * MEM_PAGE);
		if (end % MEM_PAGE)
			zero_part(m, i, last * MEM_PAGE, end);
	}
	*ret_first = first;
	*ret_last = last;
}

void mem_zero(struct mem *m, struct mem_inode *i, uint64_t off, uint64_t end)
{
	uint64_t first, last;

	zero_edges(m, i, off, end, &first, &last);
	mem_map_erase(m, &i->map, first, last);
}

void mem_resize(struct mem *m, struct mem_inode *i, uint64_t size)
{
	uint64_t pages = (size + MEM_PAGE - 1) / MEM_PAGE;

	if (size <= i->size) { /* pages past the end go too, that fallocate left there */
		mem_map_erase(m, &i->map, pages, UINT64_MAX);
		if (size % MEM_PAGE)
			zero_part(m, i, size, pages * MEM_PAGE);
	}
	i->size = size;
}

/* ---- fallocate */

/* Pages for each of [first, end) that has none. */
static int reserve(struct mem *m, struct mem_inode *i, uint64_t first, uint64_t end)
{
	uint64_t used = atomic_load(&m->used), have = 0;

	for (uint64_t at = first; at < end; at += MEM_FAN) {
		const struct mem_leaf *l = mem_map_next(&i->map, &at);

		if (!l || at >= end)
			break;
		have += l->used;
	}
	/* Not a page is taken for what cannot be had; more exactly only taking them tells. */
	if (end - first > have && end - first - have > (m->limit - used) / MEM_PAGE)
		return -ENOSPC;
	for (uint64_t at = first; at < end;) {
		uint32_t fresh[MEM_FAN], want = 0, got, n = 0;
		struct mem_leaf *l;
		uint64_t to = (at / MEM_FAN + 1) * MEM_FAN;

		to = to < end ? to : end;
		if (mem_map_make(m, &i->map, at, &l) < 0)
			return -ENOSPC;
		for (uint64_t k = at; k < to; k++)
			want += !l->page[k % MEM_FAN];
		got = want ? mem_pages_take(m, want, fresh) : 0;
		for (uint64_t k = at; k < to && n < got; k++)
			if (!l->page[k % MEM_FAN])
				l->page[k % MEM_FAN] = fresh[n++] | MEM_UNWRITTEN;
		l->used += got;
		i->map.pages += got;
		if (!l->used)
			mem_map_erase(m, &i->map, at, to);
		if (got < want)
			return -ENOSPC;
		at = to;
	}
	return 0;
}

static void unwrite(struct mem_inode *i, uint64_t first, uint64_t last)
{
	for (uint64_t at = first; at < last; at += MEM_FAN) {
		struct mem_leaf *l = mem_map_next(&i->map, &at);

		for (unsigned int s = 0; l && s < MEM_FAN; s++)
			if (l->page[s] && at + s >= first && at + s < last)
				l->page[s] |= MEM_UNWRITTEN;
		if (!l)
			return;
	}
}

int mem_fallocate(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len)
{
	struct mem *m = mem_of(b);
	uint64_t end, first, last;
	struct mem_inode *i;
	int r;

	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE: break;
	default: return -EOPNOTSUPP;
	}
	if (len == 0 || off > INT64_MAX || len > INT64_MAX)
		return -EINVAL;
	if (len > INT64_MAX - off)
		return -EFBIG;
	end = off + len;
	r = mem_get_file(m, node, &i);
	if (r < 0)
		return r == -EISDIR ? -ENODEV : r;
	MEM_EXCLUSIVE(&i->lock);
	if (mode & FALLOC_FL_PUNCH_HOLE) {
		mem_zero(m, i, off, end);
	} else {
		r = reserve(m, i, off / MEM_PAGE, (end + MEM_PAGE - 1) / MEM_PAGE);
		if (r < 0)
			return r;
		if (mode & FALLOC_FL_ZERO_RANGE) {
			zero_edges(m, i, off, end, &first, &last);
			unwrite(i, first, last);
		}
		if (!(mode & FALLOC_FL_KEEP_SIZE) && end > i->size)
			i->size = end;
	}
	mem_kill_privs(m, i, NULL, false);
	i->mtime = i->ctime = mem_now();
	return 0;
}

/* ---- holes */

static bool has_data(uint32_t entry)
{
	return entry && !(entry & MEM_UNWRITTEN);
}

/* The first page at or after @index with data, or UINT64_MAX. */
static uint64_t next_data(const struct mem_map *p, uint64_t index)
{
	for (uint64_t at = index;; at += MEM_FAN) {
		const struct mem_leaf *l = mem_map_next(p, &at);

		if (!l)
			return UINT64_MAX;
		for (unsigned int s = 0; s < MEM_FAN; s++)
			if (at + s >= index && has_data(l->page[s]))
				return at + s;
	}
}

static uint64_t next_hole(const struct mem_map *p, uint64_t index)
{
	const struct mem_leaf *l;

	while ((l = mem_map_leaf(p, index)))
		do {
			if (!has_data(l->page[index % MEM_FAN]))
				return index;
		} while (++index % MEM_FAN);
	return index;
}

int64_t mem_lseek(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence)
{
	struct mem *m = mem_of(b);
	struct mem_inode *i;
	uint64_t at;
	int r;

	if ((whence != SEEK_DATA && whence != SEEK_HOLE) || off > INT64_MAX)
		return -EINVAL;
	r = mem_get_file(m, node, &i);
	if (r < 0)
		return r;
	MEM_SHARED(&i->lock);
	if (off >= i->size)
		return -ENXIO;
	at = whence == SEEK_DATA ? next_data(&i->map, off / MEM_PAGE)
				 : next_hole(&i->map, off / MEM_PAGE);
	if (at > i->size / MEM_PAGE || at * MEM_PAGE >= i->size)
		return whence == SEEK_DATA ? -ENXIO : (int64_t)i->size;
	return (int64_t)(at * MEM_PAGE > off ? at * MEM_PAGE : off);
}

/* ---- copies */

/* Both locked; the ranges do not overlap. Holes stay holes. */
static int64_t copy(struct mem *m, struct mem_inode *in, uint64_t off_in, struct mem_inode *out,
	uint64_t off_out, uint64_t len)
{
	uint64_t done = 0;

	while (done < len) {
		uint64_t at = off_in + done, to = off_out + done, index = at / MEM_PAGE;
		const struct mem_leaf *l = mem_map_leaf(&in->map, index);
		uint32_t e = l ? l->page[index % MEM_FAN] : 0;
		uint64_t next = has_data(e) ? index + 1 : next_data(&in->map, index),
			 n = len - done;

		if (next <= (at + n) / MEM_PAGE)
			n = next * MEM_PAGE - at;
		if (has_data(e)) {
			const struct iovec iov = {mem_page(m, e) + at % MEM_PAGE, (size_t)n};
			struct mem_cursor c = {&iov, 1, 0};
			int64_t r = mem_write(m, out, &c, to, n);

			if (r < 0)
				return done ? (int64_t)done : r;
			done += (uint64_t)r;
		} else {
			mem_zero(m, out, to, to + n);
			out->size = out->size > to + n ? out->size : to + n;
			done += n;
		}
	}
	return (int64_t)done;
}

static int64_t copy_locked(struct mem *m, const struct fsb_req *req, struct mem_inode *in,
	uint64_t off_in, struct mem_inode *out, uint64_t off_out, uint64_t len)
{
	int64_t n;

	if (off_in >= in->size)
		return 0;
	len = in->size - off_in < len ? in->size - off_in : len;
	if (len > INT64_MAX - off_out)
		return -EFBIG;
	if (in == out && off_in < off_out + len && off_out < off_in + len)
		return -EINVAL;
	n = copy(m, in, off_in, out, off_out, len);
	if (n > 0) {
		mem_kill_privs(m, out, req->uid ? req : NULL, false); /* no flag says it */
		out->mtime = out->ctime = mem_now();
	}
	return n;
}

int64_t mem_copy_file_range(struct fsb *b, const struct fsb_req *req, uint64_t node_in,
	uint64_t fh_in, uint64_t off_in, uint64_t node_out, uint64_t fh_out, uint64_t off_out,
	uint64_t len)
{
	struct mem *m = mem_of(b);
	struct mem_inode *in, *out;
	int r;

	if (off_in > INT64_MAX || off_out > INT64_MAX)
		return -EINVAL;
	r = mem_get_file(m, node_in, &in);
	if (r < 0)
		return r;
	r = mem_get_file(m, node_out, &out);
	if (r < 0)
		return r;
	if (in->id < out->id) {
		MEM_SHARED(&in->lock);
		MEM_EXCLUSIVE(&out->lock);
		return copy_locked(m, req, in, off_in, out, off_out, len);
	}
	MEM_EXCLUSIVE(&out->lock);
	if (in == out)
		return copy_locked(m, req, in, off_in, out, off_out, len);
	MEM_SHARED(&in->lock);
	return copy_locked(m, req, in, off_in, out, off_out, len);
}
