// SPDX-License-Identifier: Apache-2.0
// The memory backend's contents: bytes move once, between a page and the requester's memory.
//
// What lies past the end of a file in its last page is zeros, at all times.
#include "fs/backends/memory/mem.h"

#include <limits.h>
#include <sys/stat.h>

int mem_get_file(const struct mem *m, uint64_t node, struct mem_inode **ret)
{
	*ret = mem_find(m, node);
	if (!*ret)
		return -ESTALE;
	if (!S_ISREG((*ret)->type))
		return S_ISDIR((*ret)->type) ? -EISDIR : -EINVAL;
	return 0;
}

static uint64_t total(const struct iovec *iov, int n)
{
	uint64_t sum = 0;

	for (int k = 0; k < n; k++)
		sum += iov[k].iov_len;
	return sum;
}

/* @n bytes at @p from the cursor (@in) or to it; @p NULL: zeros to it. */
static void move(struct mem_cursor *c, uint8_t *p, size_t n, bool in)
{
	while (n) {
		size_t part = c->iov->iov_len - c->at;
		uint8_t *q = (uint8_t *)c->iov->iov_base + c->at;

		if (part == 0) {
			c->iov++;
			c->n--;
			c->at = 0;
			continue;
		}
		part = part < n ? part : n;
		if (!p)
			memset(q, 0, part);
		else if (in)
			memcpy(p, q, part);
		else
			memcpy(q, p, part);
		p = p ? p + part : NULL;
		c->at += part;
		n -= part;
	}
}

static bool reads_zeros(uint32_t entry)
{
	return !entry || entry & MEM_UNWRITTEN;
}

/* How many pages from slot @s on, @most at most, lie in memory as they lie in the file. */
static unsigned int run_of(const struct mem_leaf *l, unsigned int s, unsigned int most)
{
	unsigned int n = 1;

	if (!l)
		return most;
	while (n < most && (reads_zeros(l->page[s]) ? reads_zeros(l->page[s + n])
						    : l->page[s + n] == l->page[s] + n))
		n++;
	return n;
}

/* Up to @len bytes to the cursor: how many there are. */
static uint64_t read_locked(
	const struct mem *m, struct mem_inode *i, struct mem_cursor *c, uint64_t off, uint64_t len)
{
	uint64_t at, end;

	MEM_SHARED(&i->lock);
	if (off >= i->size)
		return 0;
	len = i->size - off < len ? i->size - off : len;
	for (at = off, end = off + len; at < end;) {
		uint64_t index = at / MEM_PAGE;
		const struct mem_leaf *l = mem_map_leaf(&i->map, index);
		unsigned int s = index % MEM_FAN, run = run_of(l, s, MEM_FAN - s);
		uint64_t n = (uint64_t)run * MEM_PAGE - at % MEM_PAGE;

		n = n < end - at ? n : end - at;
		if (!l || reads_zeros(l->page[s]))
			move(c, NULL, (size_t)n, false);
		else
			move(c, mem_page(m, l->page[s]) + at % MEM_PAGE, (size_t)n, false);
		at += n;
	}
	return len;
}

int64_t mem_readv(struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int iovcnt,
	uint64_t off)
{
	struct mem *m = mem_of(b);
	struct mem_cursor c = {iov, iovcnt, 0};
	struct mem_inode *i;
	uint64_t len;
	int r;

	if (off > INT64_MAX || iovcnt < 0 || iovcnt > IOV_MAX)
		return -EINVAL;
	r = mem_get_file(m, node, &i);
	if (r < 0)
		return r;
	len = read_locked(m, i, &c, off, total(iov, iovcnt));
	mem_accessed(m, i);
	return (int64_t)len;
}

/* ---- writing */

/* Pages for [at, end), which lies in one leaf; what of new ones will not be written is zeroed.
 * Returns the end of what has pages. */
static uint64_t prepare(
	struct mem *m, struct mem_map *map, struct mem_leaf *l, uint64_t at, uint64_t end)
{
	uint64_t first = at / MEM_PAGE, last = (end - 1) / MEM_PAGE;
	uint32_t fresh[MEM_FAN], want = 0, n = 0, got;

	for (uint64_t k = first; k <= last; k++)
		want += !l->page[k % MEM_FAN];
	got = want ? mem_pages_take(m, want, fresh) : 0;
	if (got >= MEM_FAULT_PAGES)
		mem_pages_fault(m, fresh, got);
	for (uint64_t k = first; k <= last; k++) {
		uint32_t *e = &l->page[k % MEM_FAN];
		uint64_t page = k * MEM_PAGE;

		if (!*e) {
			if (n == got)
				return page > at ? page : at;
			*e = fresh[n++] | MEM_UNWRITTEN;
			l->used++;
			map->pages++;
		}
		if (!(*e & MEM_UNWRITTEN))
			continue;
		*e &= ~MEM_UNWRITTEN;
		if (at > page)
			memset(mem_page(m, *e), 0, at - page);
		if (end < page + MEM_PAGE)
			memset(mem_page(m, *e) + (end - page), 0, page + MEM_PAGE - end);
	}
	return end;
}

int64_t mem_write(
	struct mem *m, struct mem_inode *i, struct mem_cursor *from, uint64_t off, uint64_t len)
{
	uint64_t at = off, end = off + len;

	while (at < end) {
		uint64_t index = at / MEM_PAGE;
		uint64_t to = (index / MEM_FAN + 1) * MEM_FAN * MEM_PAGE, have;
		struct mem_leaf *l;

		to = to < end ? to : end;
		if (mem_map_make(m, &i->map, index, &l) < 0)
			break;
		have = prepare(m, &i->map, l, at, to);
		if (have == at && !l->used)
			mem_map_erase(m, &i->map, index, index + 1); /* the leaf is of no use */
		while (at < have) {
			unsigned int s = (at / MEM_PAGE) % MEM_FAN;
			uint64_t n = (uint64_t)run_of(l, s, MEM_FAN - s) * MEM_PAGE - at % MEM_PAGE;

			n = n < have - at ? n : have - at;
			move(from, mem_page(m, l->page[s]) + at % MEM_PAGE, (size_t)n, true);
			at += n;
		}
		if (have < to)
			break;
	}
	if (at > i->size && at > off)
		i->size = at;
	return at > off || len == 0 ? (int64_t)(at - off) : -ENOSPC;
}

int64_t mem_writev(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct iovec *iov, int iovcnt, uint64_t off, uint32_t write_flags)
{
	struct mem *m = mem_of(b);
	struct mem_cursor c = {iov, iovcnt, 0};
	struct mem_inode *i;
	uint64_t len;
	int64_t n;
	int r;

	if (iovcnt < 0 || iovcnt > IOV_MAX)
		return -EINVAL;
	r = mem_get_file(m, node, &i);
	if (r < 0)
		return r;
	len = total(iov, iovcnt);
	MEM_EXCLUSIVE(&i->lock);
	/* What the guest's kernel takes for an append need not be one (RWF_NOAPPEND). */
	if (write_flags & FSB_WRITE_APPEND && i->flags & (uint32_t)FSB_FL_APPEND << MEM_FL_SHIFT)
		off = i->size;
	if (off > INT64_MAX || len > INT64_MAX - off)
		return -EFBIG;
	n = mem_write(m, i, &c, off, len);
	if (n <= 0)
		return n;
	mem_kill_privs(m, i, write_flags & FUSE_WRITE_KILL_SUIDGID ? req : NULL, false);
	i->mtime = i->ctime = mem_now();
	return n;
}
