// SPDX-License-Identifier: Apache-2.0
// The memory backend's state: writing it. The format is in state.h.
#include "base/io.h"
#include "fs/backends/memory/mem.h"
#include "fs/backends/memory/state.h"

#include <endian.h>
#include <sys/stat.h>
#include <xxhash.h>

struct sink {
	int fd, err;
	size_t n;
	uint8_t *frame; /* head, then room for MEM_FRAME_BYTES */
};

static void flush(struct sink *s)
{
	uint32_t bytes = htole32((uint32_t)s->n);
	uint64_t sum = htole64(XXH3_64bits(s->frame + MEM_FRAME_HEAD, s->n));

	memcpy(s->frame, &bytes, sizeof(bytes));
	memcpy(s->frame + 4, &sum, sizeof(sum));
	if (s->err == 0 && s->n)
		s->err = msb_write_full(s->fd, s->frame, MEM_FRAME_HEAD + s->n);
	s->n = 0;
}

static void put(struct sink *s, const void *p, size_t n)
{
	while (n) {
		size_t part = MEM_FRAME_BYTES - s->n;

		part = part < n ? part : n;
		memcpy(s->frame + MEM_FRAME_HEAD + s->n, p, part);
		s->n += part;
		p = (const uint8_t *)p + part;
		n -= part;
		if (s->n == MEM_FRAME_BYTES)
			flush(s);
	}
}

static void put8(struct sink *s, uint8_t v)
{
	put(s, &v, 1);
}

static void put32(struct sink *s, uint32_t v)
{
	v = htole32(v);
	put(s, &v, sizeof(v));
}

static void put64(struct sink *s, uint64_t v)
{
	v = htole64(v);
	put(s, &v, sizeof(v));
}

static void put_time(struct sink *s, struct mem_time t)
{
	put64(s, (uint64_t)t.sec);
	put32(s, t.nsec);
}

static void put_xattrs(struct sink *s, const struct mem_inode *i)
{
	uint32_t n = 0;

	for (const struct mem_xattr *x = i->xattrs; x; x = x->next)
		n++;
	put32(s, n);
	for (const struct mem_xattr *x = i->xattrs; x; x = x->next) {
		put8(s, x->name_n);
		put32(s, x->value_n);
		put(s, x->bytes, x->name_n);
		put(s, x->bytes + x->name_n + 1, x->value_n);
	}
}

/* One leaf's pages, by runs of the same kind. */
static void put_leaf(struct sink *s, const struct mem *m, const struct mem_leaf *l, uint64_t index)
{
	for (unsigned int k = 0, run; k < MEM_FAN; k += run) {
		uint32_t unwritten = l->page[k] & MEM_UNWRITTEN;

		for (run = 1; k + run < MEM_FAN; run++)
			if (!l->page[k + run] != !l->page[k] ||
				(l->page[k + run] & MEM_UNWRITTEN) != unwritten)
				break;
		if (!l->page[k])
			continue;
		put32(s, run);
		put32(s, !!unwritten);
		put64(s, index + k);
		for (unsigned int p = k; !unwritten && p < k + run; p++)
			put(s, mem_page(m, l->page[p]), MEM_PAGE);
	}
}

static void put_inode(struct sink *s, const struct mem *m, struct mem_inode *i)
{
	MEM_SHARED(&i->lock);
	put64(s, i->id);
	put32(s, i->mode);
	put32(s, i->uid);
	put32(s, i->gid);
	put32(s, i->rdev);
	put32(s, i->flags & MEM_SAVED);
	put64(s, i->size);
	put_time(s, i->atime);
	put_time(s, i->mtime);
	put_time(s, i->ctime);
	put_time(s, i->btime);
	put_xattrs(s, i);
	if (S_ISLNK(i->type))
		put(s, i->target, (size_t)i->size);
	if (!S_ISREG(i->type))
		return;
	for (uint64_t at = 0;; at += MEM_FAN) {
		const struct mem_leaf *l = mem_map_next(&i->map, &at);

		if (!l)
			break;
		put_leaf(s, m, l, at);
	}
	put32(s, 0);
}

static void put_dir(struct sink *s, const struct mem_inode *dir)
{
	for (uint32_t k = 0; k < dir->dir.listed; k++) {
		const struct mem_dent *d = dir->dir.list[k].d;

		if (!d)
			continue;
		put8(s, 'D');
		put64(s, dir->id);
		put64(s, d->inode->id);
		put64(s, d->cookie);
		put8(s, d->name_n);
		put(s, d->name, d->name_n);
	}
	put8(s, 'C');
	put64(s, dir->id);
	put64(s, dir->dir.last_cookie);
}

/* Every inode into @ret, which has room for @n: how many there are. */
static uint64_t all(const struct mem *m, struct mem_inode **ret, uint64_t n)
{
	uint64_t found = 0;

	for (uint32_t c = 0; c < MEM_SLOTS / MEM_CHUNK; c++) {
		_Atomic(uintptr_t) *chunk = m->chunk[c];

		for (uint32_t k = 0; chunk && k < MEM_CHUNK; k++) {
			uintptr_t v = atomic_load(&chunk[k]);

			if (v && !(v & 1) && found < n)
				ret[found++] = (struct mem_inode *)v;
		}
	}
	return found;
}

/* The directories below the root, each after the one that it is in. */
static void put_tree(struct sink *s, const struct mem *m, const struct mem_inode **queue)
{
	uint64_t head = 0, tail = 0;

	queue[tail++] = m->root;
	while (head < tail) {
		const struct mem_dir *d = &queue[head]->dir;

		for (uint32_t k = 0; k < d->listed; k++)
			if (d->list[k].d && S_ISDIR(d->list[k].d->inode->type))
				queue[tail++] = d->list[k].d->inode;
		put_dir(s, queue[head++]);
	}
}

int mem_save_all(struct fsb *b, int fd)
{
	struct mem *m = mem_of(b);
	_cleanup_free_ uint8_t *frame = malloc(MEM_FRAME_HEAD + MEM_FRAME_BYTES);
	_cleanup_free_ struct mem_inode **inode = NULL;
	struct sink s = {.fd = fd, .frame = frame};
	const uint32_t end = 0;
	uint64_t n;

	MEM_EXCLUSIVE(&m->tree);
	mem_sweep(m);
	n = atomic_load(&m->nodes);
	inode = calloc(n, sizeof(struct mem_inode *));
	if (!frame || !inode)
		return -ENOMEM;
	{
		LOCK_SCOPE(&m->slots_lock);
		n = all(m, inode, n);
		put(&s, MEM_STATE_MAGIC, 8);
		put32(&s, MEM_STATE_VERSION);
		put32(&s, MEM_PAGE);
		put64(&s, m->counter);
		put64(&s, n);
	}
	for (uint64_t k = 0; k < n; k++)
		put_inode(&s, m, inode[k]);
	put_tree(&s, m, (const struct mem_inode **)inode); /* directories are no more than inodes */
	put8(&s, 'E');
	flush(&s);
	return s.err < 0 ? s.err : msb_write_full(fd, &end, sizeof(end));
}

int64_t mem_save(struct fsb *b, uint64_t node, void *buf, size_t cap)
{
	return mem_find(mem_of(b), node) ? 0 : -ESTALE; /* its id says it all */
}
