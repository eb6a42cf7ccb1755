// SPDX-License-Identifier: Apache-2.0
// The memory backend: a file system in the server's memory, for as long as the server runs.
//
// Theory of operation
// ===================
// An inode is a heap object that a table finds by its id (inode.c); the id is also its st_ino. It
// lives while a name or a client's reference is left. Directories are hash tables of names with a
// list for scans (dir.c). Contents are pages of one stretch of address space (pool.c), found by a
// tree of page numbers for each file (map.c), so that a hole costs nothing and a byte moves once:
// between a page and the requester's memory (data.c). No operation needs the kernel, but for memory
// that is had or given back, and for the time.
//
// The limit counts all that a guest can grow: pages, inodes, names, attributes, tables. Pages that
// become free go back to the kernel; so does the heap, when much of it has become free.
//
// Nobody else can change the files, so a kernel may believe for a day what it was told.
//
// Locks: see mem.h. Directories are used under the tree's lock, shared, and their own; rename and
// rmdir hold the tree alone, so that no two directories are ever to be locked in some order.
//
// Snapshots: state.c writes all of it as a stream, with ids and positions of listings;
// state_load.c reads it back.
//
// #syscalls madvise mmap munmap brk futex clock_gettime getrandom
#include "fs/backends/memory/mem.h"

#include <inttypes.h>
#include <sys/random.h>
#include <sys/stat.h>

int mem_charge(struct mem *m, uint64_t bytes)
{
	if (atomic_fetch_add(&m->used, bytes) + bytes <= m->limit)
		return 0;
	atomic_fetch_sub(&m->used, bytes);
	return -ENOSPC;
}

void mem_uncharge(struct mem *m, uint64_t bytes)
{
	atomic_fetch_sub(&m->used, bytes);
}

/* What an allocation takes of the heap, its head included. */
static uint64_t heap_bytes(size_t n)
{
	return (n + 8 + 15) / 16 * 16;
}

void *mem_alloc(struct mem *m, size_t n)
{
	void *p;

	if (mem_charge(m, heap_bytes(n)) < 0)
		return NULL;
	p = calloc(1, n);
	if (p)
		atomic_fetch_add(&m->heap, heap_bytes(n));
	else
		mem_uncharge(m, heap_bytes(n));
	return p;
}

void mem_free(struct mem *m, void *p, size_t n)
{
	free(p);
	atomic_fetch_sub(&m->heap, heap_bytes(n));
	mem_uncharge(m, heap_bytes(n));
}

static void mem_stop(struct fsb *b)
{
	struct mem *m = mem_of(b);

	mem_inodes_free(m);
	mem_pool_done(&m->pool);
	pthread_mutex_destroy(&m->slots_lock);
	pthread_rwlock_destroy(&m->tree);
	free(m);
}

/* How many pages a file can have of @bytes: what says where they are takes some of them. */
static uint64_t pages_of(uint64_t bytes)
{
	uint64_t branch = heap_bytes(sizeof(struct mem_branch));
	uint64_t below = MEM_FAN * (MEM_FAN * MEM_PAGE + heap_bytes(sizeof(struct mem_leaf)));

	bytes -= bytes < MEM_MAX_LEVELS * branch ? bytes : MEM_MAX_LEVELS * branch;
	return bytes * MEM_FAN * MEM_FAN / (below + branch + branch / MEM_FAN + 1);
}

static int mem_statfs(struct fsb *b, uint64_t node, struct statvfs *ret)
{
	struct mem *m = mem_of(b);
	uint64_t used, nodes;

	mem_sweep(m);
	used = atomic_load(&m->used);
	nodes = atomic_load(&m->nodes);
	*ret = (struct statvfs){.f_bsize = MEM_PAGE, .f_frsize = MEM_PAGE};
	ret->f_blocks = m->limit / MEM_PAGE;
	used = used < m->limit ? used : m->limit;
	ret->f_bfree = (m->limit - used) / MEM_PAGE;
	ret->f_bavail = pages_of(m->limit - used);
	ret->f_files = m->max_nodes;
	ret->f_ffree = ret->f_favail = nodes < m->max_nodes ? m->max_nodes - nodes : 0;
	ret->f_namemax = MEM_NAME_MAX;
	return 0;
}

/* There is nothing that a disk could have. */
static int mem_fsync(struct fsb *b, uint64_t node, uint64_t fh, bool datasync)
{
	return 0;
}

static int mem_syncfs(struct fsb *b, uint64_t node)
{
	return 0;
}

static const struct fsb_cache *mem_cache(struct fsb *b, uint64_t node)
{
	static const struct fsb_cache day = {.entry_ms = FSB_ALONE_MS,
		.attr_ms = FSB_ALONE_MS,
		.negative_ms = FSB_ALONE_MS,
		.open_flags = FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR,
		.alone = true};

	return &day;
}

static const struct fsb_ops memory_ops = {
	.name = "memory",
	.summary = "files in the server's memory",
	.caps = FSB_CAP_WRITE | FSB_CAP_NO_OPEN | FSB_CAP_XATTR | FSB_CAP_EXPORT,
	.stop = mem_stop,
	.lookup = mem_lookup,
	.forget = mem_forget,
	.getattr = mem_getattr,
	.setattr = mem_setattr,
	.readlink = mem_readlink,
	.mknod = mem_mknod,
	.mkdir = mem_mkdir,
	.symlink = mem_symlink,
	.unlink = mem_unlink,
	.rmdir = mem_rmdir,
	.rename = mem_rename,
	.link = mem_link,
	.create = mem_create,
	.tmpfile = mem_tmpfile,
	.readv = mem_readv,
	.writev = mem_writev,
	.fsync = mem_fsync,
	.readdir = mem_readdir,
	.statfs = mem_statfs,
	.setxattr = mem_setxattr,
	.getxattr = mem_getxattr,
	.listxattr = mem_listxattr,
	.removexattr = mem_removexattr,
	.fallocate = mem_fallocate,
	.lseek = mem_lseek,
	.copy_file_range = mem_copy_file_range,
	.syncfs = mem_syncfs,
	.btime = mem_btime,
	.getflags = mem_getflags,
	.setflags = mem_setflags,
	.cache = mem_cache,
	.save = mem_save,
	.load = mem_load,
	.save_all = mem_save_all,
	.load_all = mem_load_all,
};

int mem_make_root(struct mem *m)
{
	int r = mem_inode_new(m, FSB_ROOT, S_IFDIR | 0755, &m->root);

	if (r < 0)
		return r;
	m->root->nlink = 2;
	m->root->dir.parent = m->root;
	m->root->atime = m->root->mtime = m->root->ctime = m->root->btime = mem_now();
	mem_named(m->root);
	mem_slots_list(m);
	return 0;
}

int mem_new(uint64_t limit, struct mem **ret, struct msb_err *e)
{
	pthread_rwlockattr_t attr;
	struct mem *m;
	int r;

	if (limit < MEM_MIN_BYTES || limit > MEM_MAX_BYTES)
		return msb_err_set(e, ERANGE,
			"a memory file system has %" PRIu64 " MiB at least and %" PRIu64
			" GiB at most",
			(uint64_t)(MEM_MIN_BYTES >> 20), (uint64_t)(MEM_MAX_BYTES >> 30));
	m = calloc(1, sizeof(*m));
	if (!m)
		return msb_err_set(e, ENOMEM, "no memory for a file system");
	m->fsb.ops = &memory_ops;
	m->limit = limit / MEM_PAGE * MEM_PAGE;
	m->max_nodes = limit / MEM_BYTES_PER_NODE;
	if (m->max_nodes > FSD_MAX_NODES - 1)
		m->max_nodes = FSD_MAX_NODES - 1; /* there is no slot 0 */
	/* Not fatal: without a seed a guest could make its own server slow, nothing more. */
	(void)!getrandom(&m->seed, sizeof(m->seed), GRND_NONBLOCK);
	/* The handles of one that is gone are not to mean files of this one. */
	(void)!getrandom(&m->counter, sizeof(m->counter), GRND_NONBLOCK);
	m->counter &= MEM_COUNTER_MAX;
	/* Readers come without end; a writer among them must not wait for ever. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&m->tree, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&m->slots_lock, NULL);
	r = mem_pool_init(&m->pool, m->limit);
	if (r == 0)
		r = mem_make_root(m);
	if (r < 0) {
		mem_stop(&m->fsb);
		return msb_err_set(e, -r,
			"no address space for a memory file system of %" PRIu64 " MiB",
			limit >> 20);
	}
	*ret = m;
	return 0;
}

static int kind_start(const struct fsb_start *s, struct fsb **ret, struct msb_err *e)
{
	uint64_t size = s->options ? s->options->size_bytes : 0;
	struct mem *m;
	int r = mem_new(size ? size : MEM_DEFAULT_BYTES, &m, e);

	fsb_start_close(s);
	if (r == 0) {
		m->atime = fsb_options_atime(s->options);
		*ret = &m->fsb;
	}
	return r;
}

const struct fsb_kind fsb_memory_kind = {
	.name = "memory",
	.summary = "files in memory, up to a size; gone with the sandbox",
	.start = kind_start,
};
