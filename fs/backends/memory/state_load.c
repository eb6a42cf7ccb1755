// SPDX-License-Identifier: Apache-2.0
// The memory backend's state: reading it back. Its bytes are hostile. The format is in state.h.
#include "fs/backends/memory/mem.h"
#include "fs/backends/memory/state.h"

#include <endian.h>
#include <errno.h>
#include <sys/stat.h>
#include <xxhash.h>

struct source {
	int fd;	 /* -1: @p is all */
	int err; /* the first failure; zeros are read from then on */
	const uint8_t *p;
	size_t n;
	uint8_t *frame; /* where frames of @fd go */
};

static int read_full(int fd, void *p, size_t n)
{
	while (n) {
		ssize_t r = read(fd, p, n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -EBADMSG;
		p = (uint8_t *)p + r;
		n -= (size_t)r;
	}
	return 0;
}

/* The next frame: -ENODATA after the last. */
static int next_frame(struct source *s)
{
	uint32_t bytes;
	uint64_t sum;
	int r;

	if (s->fd < 0)
		return -ENODATA;
	r = read_full(s->fd, &bytes, sizeof(bytes));
	bytes = le32toh(bytes);
	if (r == 0 && bytes == 0)
		return -ENODATA;
	if (r == 0 && bytes > MEM_FRAME_BYTES)
		r = -EBADMSG;
	if (r == 0)
		r = read_full(s->fd, &sum, sizeof(sum));
	if (r == 0)
		r = read_full(s->fd, s->frame, bytes);
	if (r == 0 && XXH3_64bits(s->frame, bytes) != le64toh(sum))
		r = -EBADMSG;
	if (r == 0) {
		s->p = s->frame;
		s->n = bytes;
	}
	return r;
}

static void get(struct source *s, void *to, size_t n)
{
	while (n) {
		size_t part = s->n < n ? s->n : n;

		if (s->err == 0 && part == 0) {
			s->err = next_frame(s);
			if (s->err == -ENODATA)
				s->err = -EBADMSG; /* there should be more */
			part = s->n < n ? s->n : n;
		}
		if (s->err) {
			memset(to, 0, n);
			return;
		}
		memcpy(to, s->p, part);
		s->p += part;
		s->n -= part;
		to = (uint8_t *)to + part;
		n -= part;
	}
}

static uint8_t get8(struct source *s)
{
	uint8_t v;

	get(s, &v, 1);
	return v;
}

static uint32_t get32(struct source *s)
{
	uint32_t v;

	get(s, &v, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(struct source *s)
{
	uint64_t v;

	get(s, &v, sizeof(v));
	return le64toh(v);
}

static struct mem_time get_time(struct source *s)
{
	struct mem_time t = {.sec = (int64_t)get64(s)};

	t.nsec = get32(s);
	if (t.nsec >= 1000000000u)
		s->err = s->err ? s->err : -EBADMSG;
	return t;
}

/* ---- inodes */

static int load_xattrs(struct mem *m, struct source *s, struct mem_inode *i, uint8_t *value)
{
	uint32_t count = get32(s);

	if (count > MEM_MAX_XATTRS)
		return -EBADMSG;
	for (; count && s->err == 0; count--) {
		char name[MEM_NAME_MAX + 1] = {0};
		uint8_t name_n = get8(s);
		uint32_t n = get32(s);
		int r;

		if (name_n == 0 || n > MEM_MAX_XATTR_VALUE)
			return -EBADMSG;
		get(s, name, name_n);
		get(s, value, n);
		if (s->err < 0 || strlen(name) != name_n)
			return s->err < 0 ? s->err : -EBADMSG;
		r = mem_xattr_set(m, i, name, name_n, value, n);
		if (r < 0)
			return r;
	}
	return s->err;
}

static int load_target(struct mem *m, struct source *s, struct mem_inode *i, uint64_t size)
{
	if (size == 0 || size > MEM_TARGET_MAX)
		return -EBADMSG;
	i->target = mem_alloc(m, (size_t)size + 1);
	if (!i->target)
		return -ENOSPC;
	i->size = size;
	get(s, i->target, (size_t)size);
	return s->err == 0 && strlen(i->target) != size ? -EBADMSG : s->err;
}

/* Pages [first, first + n), which lie in one leaf and must be holes yet. */
static int load_extent(struct mem *m, struct source *s, struct mem_inode *i, uint64_t first,
	uint32_t n, bool unwritten)
{
	uint32_t fresh[MEM_FAN], got;
	struct mem_leaf *l;
	int r = mem_map_make(m, &i->map, first, &l);

	if (r < 0)
		return r;
	for (uint32_t k = 0; k < n; k++)
		if (l->page[(first + k) % MEM_FAN])
			return -EBADMSG;
	got = mem_pages_take(m, n, fresh);
	for (uint32_t k = 0; k < got; k++) {
		l->page[(first + k) % MEM_FAN] = fresh[k] | (unwritten ? MEM_UNWRITTEN : 0);
		l->used++;
		i->map.pages++;
		if (!unwritten)
			get(s, mem_page(m, fresh[k]), MEM_PAGE);
	}
	return got < n ? -ENOSPC : s->err;
}

static int load_extents(struct mem *m, struct source *s, struct mem_inode *i, uint64_t size)
{
	uint64_t pages = size / MEM_PAGE + !!(size % MEM_PAGE);
	uint32_t n;

	if (size > INT64_MAX)
		return -EBADMSG;
	i->size = size;
	while ((n = get32(s))) {
		uint32_t unwritten = get32(s);
		uint64_t first = get64(s);
		int r;

		if (n > MEM_FAN || unwritten > 1 || first > INT64_MAX / MEM_PAGE - MEM_FAN ||
			first % MEM_FAN + n > MEM_FAN || (!unwritten && first + n > pages))
			return s->err < 0 ? s->err : -EBADMSG;
		r = load_extent(m, s, i, first, n, unwritten);
		if (r < 0)
			return r;
	}
	/* What lies past the end is zeros, whatever these bytes say. */
	if (size % MEM_PAGE) {
		const struct mem_leaf *l = mem_map_leaf(&i->map, pages - 1);
		uint32_t e = l ? l->page[(pages - 1) % MEM_FAN] : 0;

		if (e && !(e & MEM_UNWRITTEN))
			memset(mem_page(m, e) + size % MEM_PAGE, 0, MEM_PAGE - size % MEM_PAGE);
	}
	return s->err;
}

static bool known(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK: return (mode & ~(uint32_t)(S_IFMT | 07777)) == 0;
	default: return false;
	}
}

/* The inode of a record: new, or the root, which is there. */
static int place(struct mem *m, uint64_t id, uint32_t mode, struct mem_inode **ret)
{
	int r;

	if (!known(mode) || id >= FSB_MAX_ID || !(id & (MEM_SLOTS - 1)))
		return -EBADMSG;
	if (id == FSB_ROOT) {
		*ret = m->root;
		m->root->mode = mode;
		return S_ISDIR(mode) ? 0 : -EBADMSG;
	}
	r = mem_inode_new(m, id, mode, ret);
	if (r < 0)
		return r == -EEXIST ? -EBADMSG : r;
	atomic_store(&(*ret)->refs, MEM_LOADED);
	return 0;
}

static int load_inode(struct mem *m, struct source *s, uint8_t *value)
{
	uint64_t id = get64(s), size;
	uint32_t mode = get32(s);
	struct mem_inode *i;
	int r = s->err < 0 ? s->err : place(m, id, mode, &i);

	if (r < 0)
		return r;
	i->uid = get32(s);
	i->gid = get32(s);
	i->rdev = get32(s);
	i->flags = get32(s) & MEM_SAVED;
	if (i->flags >> MEM_FL_SHIFT & FSB_FL_GUARDS)
		atomic_store(&fsb_guards, true);
	size = get64(s);
	i->atime = get_time(s);
	i->mtime = get_time(s);
	i->ctime = get_time(s);
	i->btime = get_time(s);
	r = s->err < 0 ? s->err : load_xattrs(m, s, i, value);
	if (r == 0 && S_ISLNK(mode))
		r = load_target(m, s, i, size);
	else if (r == 0 && S_ISREG(mode))
		r = load_extents(m, s, i, size);
	return r;
}

/* ---- the tree */

static int load_entry(struct mem *m, struct source *s)
{
	struct mem_inode *dir, *i;
	uint64_t dir_id = get64(s), id = get64(s), cookie = get64(s);
	char name[MEM_NAME_MAX + 1] = {0};
	uint8_t n = get8(s);
	int r;

	get(s, name, n);
	dir = mem_find(m, dir_id);
	i = mem_find(m, id);
	if (s->err < 0)
		return s->err;
	/* A directory has one name, and is in the tree before its entries are: there is no loop. */
	if (!dir || !i || !S_ISDIR(dir->type) || dir->nlink == 0 || i == m->root ||
		(S_ISDIR(i->type) && i->nlink) || i->nlink >= MEM_MAX_LINKS ||
		cookie <= dir->dir.last_cookie || cookie > MEM_MAX_COOKIE || strlen(name) != n ||
		mem_check_name(name) < 0 || mem_dent_find(m, dir, name, n))
		return -EBADMSG;
	r = mem_dir_add(m, dir, name, n, cookie, i);
	if (r < 0)
		return r;
	if (S_ISDIR(i->type)) {
		i->nlink = 2;
		i->dir.parent = dir;
		dir->nlink++;
	} else {
		i->nlink++;
	}
	mem_named(i);
	return 0;
}

static int load_cookie(struct mem *m, struct source *s)
{
	struct mem_inode *dir = mem_find(m, get64(s));
	uint64_t last = get64(s);

	if (s->err < 0)
		return s->err;
	if (!dir || !S_ISDIR(dir->type) || last < dir->dir.last_cookie || last > MEM_MAX_COOKIE)
		return -EBADMSG;
	dir->dir.last_cookie = last;
	return 0;
}

static int load_tree(struct mem *m, struct source *s)
{
	for (;;) {
		uint8_t tag = get8(s);
		int r;

		switch (tag) {
		case 'D': r = load_entry(m, s); break;
		case 'C': r = load_cookie(m, s); break;
		case 'E': return s->n ? -EBADMSG : s->err;
		default: r = s->err < 0 ? s->err : -EBADMSG;
		}
		if (r < 0)
			return r;
	}
}

static int load(struct mem *m, struct source *s)
{
	_cleanup_free_ uint8_t *value = malloc(MEM_MAX_XATTR_VALUE);
	char magic[8];
	uint32_t version, page;
	uint64_t n;
	int r = 0;

	if (!value)
		return -ENOMEM;
	get(s, magic, sizeof(magic));
	version = get32(s);
	page = get32(s);
	m->counter = get64(s);
	n = get64(s);
	if (s->err < 0 || memcmp(magic, MEM_STATE_MAGIC, sizeof(magic)) != 0)
		return s->err < 0 ? s->err : -EBADMSG;
	if (version != MEM_STATE_VERSION || page != MEM_PAGE)
		return -EPROTONOSUPPORT;
	if (m->counter > MEM_COUNTER_MAX || n == 0)
		return -EBADMSG;
	for (uint64_t k = 0; r == 0 && k < n; k++)
		r = load_inode(m, s, value);
	return r < 0 ? r : load_tree(m, s);
}

static int load_whole(struct mem *m, struct source *s)
{
	int r;

	MEM_EXCLUSIVE(&m->tree);
	if (atomic_load(&m->nodes) != 1)
		return -EBUSY;
	mem_slots_hide(m);
	r = load(m, s);
	if (r == 0 && next_frame(s) != -ENODATA)
		r = -EBADMSG;
	if (r < 0) {
		mem_inodes_free(m);
		m->counter = 0;
		return mem_make_root(m) < 0 ? -ENOMEM : r;
	}
	mem_slots_list(m);
	atomic_store(&m->sweep, true);
	return 0;
}

int mem_load_bytes(struct mem *m, const uint8_t *p, size_t n)
{
	struct source s = {.fd = -1, .p = p, .n = n};

	return load_whole(m, &s);
}

int mem_load_all(struct fsb *b, int fd)
{
	_cleanup_free_ uint8_t *frame = malloc(MEM_FRAME_BYTES);
	struct source s = {.fd = fd, .frame = frame};

	return frame ? load_whole(mem_of(b), &s) : -ENOMEM;
}

int mem_load(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n)
{
	struct mem_inode *i = mem_find(mem_of(b), node);
	uint64_t had;

	if (n != 0)
		return -EBADMSG;
	if (!i)
		return -ESTALE;
	had = atomic_load(&i->refs) & MEM_LOOKUPS;
	if (lookups > MEM_LOOKUPS / 2 - (had < MEM_LOOKUPS / 2 ? had : MEM_LOOKUPS / 2))
		return -EBADMSG;
	atomic_fetch_add(&i->refs, lookups);
	return 0;
}
