// SPDX-License-Identifier: Apache-2.0
// The overlay backend: a sandbox's root, an image below and the sandbox's own changes above.
//
// Theory of operation
// ===================
// Below lies an image: a tree index in memory (fs/image/index.h) and packs of contents; or such an
// index of a directory of the host, with that directory for its contents (lower.c). It is never
// written. Above lies the upper directory of the host:
//
//	log		every change of metadata, in order (log.c, txn.c)
//	data/XX/INO	contents of regular files that are new or changed (data.c)
//
// It is not a mirrored tree. Owners, modes, device numbers, link targets, attributes of any
// namespace and names are in the log, not in the host's inodes, so a server without any privilege
// keeps a root's tree, and a rename of an image's directory is one record. All metadata that
// differs from the image is in memory: a table of inodes (inode.c), where each changed directory
// has the entries that differ from the lower one (dir.c). Inodes of the image are made when they
// are looked up and leave again when they are forgotten unchanged. An inode's number is its node id
// and is stable for the life of the sandbox; numbers are never used again, so generations are 0,
// and a device state says little more than numbers (state.c).
//
// A change is a list of records. It is written to the log first, by one pwrite, then applied by the
// same code that a load uses, so memory is always what a load would give, and a kill at any moment
// loses nothing that was answered. Contents are not logged: a file in data/ is its own truth about
// size and, where it was written after the last record of its inode, mtime; a load asks it when the
// inode is first used. Access times change when they are set, not by reads.
//
// Copy-up: the first change of a lower file's contents fills its data file, syncs it, then logs
// that the contents are there (copyup.c). Node and number stay, other changes copy nothing.
//
// Power: fsync writes the file and then the log to the disk, in that order; the log keeps
// everything that came before it, in order.
//
// A log past four times what its last rewrite took (and OVL_COMPACT_BYTES) is rewritten. Some disk
// space is kept for it, so that removing files works when the disk is full.
//
// #syscalls openat mkdirat unlinkat renameat newfstatat fstat fstatfs pread64 preadv pwrite64
// #syscalls pwritev ftruncate fallocate lseek copy_file_range fsync fdatasync syncfs utimensat
// #syscalls fcntl close getdents64 flock prlimit64 getrandom futex mmap munmap mremap madvise brk
#include "base/io.h"
#include "fs/backends/overlay/ovl.h"
#include "fs/image/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <xxhash.h>

void ovl_stop(struct fsb *b)
{
	struct ovl *o = ovl_of(b);

	if (o->upper_fd >= 0 && o->log.fd >= 0)
		(void)ovl_log_flush(o); /* else times of the last writes come from the data files */
	ovl_fds_done(o);
	if (o->table)
		ovl_table_done(o);
	img_index_close(o->lower);
	img_files_close(o->files);
	if (o->dir_fd >= 0)
		close(o->dir_fd);
	if (o->log.fd >= 0)
		close(o->log.fd);
	if (o->data_fd >= 0)
		close(o->data_fd);
	if (o->packs_fd >= 0)
		close(o->packs_fd);
	if (o->upper_fd >= 0)
		close(o->upper_fd);
	for (int i = 0; i < OVL_STRIPES; i++) {
		pthread_mutex_destroy(&o->copy_lock[i]);
		pthread_mutex_destroy(&o->attr_lock[i]);
	}
	pthread_mutex_destroy(&o->pack_lock);
	pthread_mutex_destroy(&o->fd_lock);
	pthread_mutex_destroy(&o->scan_lock);
	free(o->unclaimed);
	pthread_rwlock_destroy(&o->tree);
	free(o);
}

/* The upper directory is this server's alone and the image never changes: a guest may believe what
 * it heard until it changes it itself, for as long as the host does not look in. */
static const struct fsb_cache *ovl_cache(struct fsb *b, uint64_t node)
{
	static const struct fsb_cache alone = {.entry_ms = FSB_ALONE_MS,
		.attr_ms = FSB_ALONE_MS,
		.negative_ms = FSB_ALONE_MS,
		.open_flags = FOPEN_KEEP_CACHE,
		.alone = true};

	return &alone;
}

static const struct fsb_ops overlay_ops = {
	.name = "overlay",
	.summary = "an image below, a sandbox's own changes above",
	.caps = FSB_CAP_WRITE | FSB_CAP_NO_OPEN | FSB_CAP_XATTR | FSB_CAP_EXPORT,
	.stop = ovl_stop,
	.lookup = ovl_lookup,
	.forget = ovl_forget,
	.getattr = ovl_getattr,
	.setattr = ovl_setattr,
	.readlink = ovl_readlink,
	.mknod = ovl_mknod,
	.mkdir = ovl_mkdir,
	.symlink = ovl_symlink,
	.unlink = ovl_unlink,
	.rmdir = ovl_rmdir,
	.rename = ovl_rename,
	.link = ovl_link,
	.create = ovl_create,
	.tmpfile = ovl_tmpfile,
	.readv = ovl_readv,
	.writev = ovl_writev,
	.fsync = ovl_fsync,
	.readdir = ovl_readdir,
	.statfs = ovl_statfs,
	.setxattr = ovl_setxattr,
	.getxattr = ovl_getxattr,
	.listxattr = ovl_listxattr,
	.removexattr = ovl_removexattr,
	.fallocate = ovl_fallocate,
	.lseek = ovl_lseek,
	.copy_file_range = ovl_copy_file_range,
	.syncfs = ovl_syncfs,
	.btime = ovl_btime,
	.save = ovl_save,
	.load = ovl_load,
	.cache = ovl_cache,
	.usage = ovl_usage,
	.getflags = ovl_getflags,
	.setflags = ovl_setflags,
};

struct ovl *ovl_alloc(void)
{
	pthread_rwlockattr_t attr;
	struct ovl *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->dir_fd = o->packs_fd = o->upper_fd = o->data_fd = o->log.fd = -1;
	o->next_ino = OVL_OWN_BASE;
	o->max_nodes = FSD_MAX_NODES;
	o->log.limit = OVL_MAX_LOG_BYTES;
	o->log.compact_at = OVL_COMPACT_BYTES;
	o->fsb.ops = &ovl_image_ops;
	/* Readers come without end; a writer among them must not wait for ever. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&o->tree, &attr);
	pthread_rwlockattr_destroy(&attr);
	for (int i = 0; i < OVL_STRIPES; i++) {
		pthread_mutex_init(&o->copy_lock[i], NULL);
		pthread_mutex_init(&o->attr_lock[i], NULL);
	}
	pthread_mutex_init(&o->pack_lock, NULL);
	pthread_mutex_init(&o->fd_lock, NULL);
	pthread_mutex_init(&o->scan_lock, NULL);
	ovl_fds_init(o);
	if (ovl_table_init(o) < 0) {
		ovl_stop(&o->fsb);
		return NULL;
	}
	return o;
}

static int open_lower(struct ovl *o, int index_fd, struct msb_err *e)
{
	struct ovl_inode *root;
	char head[4096];
	int64_t n;
	int r = img_index_open(index_fd, &o->lower, e);

	if (r < 0)
		return r;
	o->lower_root = img_index_root(o->lower);
	/* An index starts with its superblock, where its identity is. */
	n = msb_pread_full(index_fd, head, sizeof(head), 0);
	if (n < 0)
		return msb_err_set(e, (int)-n, "cannot read the image's index");
	o->lower_id = XXH3_64bits_withSeed(head, (size_t)n, img_index_inodes(o->lower));
	r = ovl_from_lower(o, OVL_ROOT, &root);
	if (r < 0 || !S_ISDIR(root->a.mode))
		return msb_err_set(e, EBADMSG, "the image's root directory is damaged");
	return 0;
}

static int open_upper(struct ovl *o, int fd, struct msb_err *e)
{
	int r;

	/* Opened anew: a lock belongs to an open file, and whoever sent @fd may keep its own copy.
	 */
	o->upper_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (o->upper_fd < 0)
		return msb_err_set(e, errno, "cannot open the directory of changes: %m");
	if (flock(o->upper_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK
			       ? msb_err_set(e, EBUSY,
					 "another file server has the sandbox's changes open")
			       : msb_err_set(e, errno, "cannot lock the directory of changes: %m");
	if (mkdirat(o->upper_fd, "data", 0700) < 0 && errno != EEXIST)
		return msb_err_set(e, errno, "cannot make the directory of data files: %m");
	o->data_fd = openat(o->upper_fd, "data", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (o->data_fd < 0)
		return msb_err_set(e, errno, "cannot open the directory of data files: %m");
	r = ovl_log_open(o, e);
	if (r < 0)
		return r;
	r = ovl_data_scan(o);
	if (r < 0)
		return msb_err_set(
			e, -r, "cannot clear the data files that a crash left: %s", strerror(-r));
	o->fsb.ops = &overlay_ops;
	return 0;
}

/* What is served where there is neither an image nor a directory: nothing, read-only. */
static int empty_root(struct ovl *o, struct msb_err *e)
{
	struct ovl_inode *root = ovl_new(o, OVL_ROOT);

	if (!root)
		return msb_err_set(e, ENOMEM, "no memory for a root directory");
	root->a = (struct ovl_attr){.mode = S_IFDIR | 0755, .nlink = 2, .size = 4096};
	return 0;
}

int fsb_overlay_start(const struct fsb_overlay_opts *opts, struct fsb **ret, struct msb_err *e)
{
	_cleanup_close_ int index_fd = opts->index_fd, upper_fd = opts->upper_fd;
	_cleanup_close_ int files_fd = opts->files_fd;
	struct ovl *o = ovl_alloc();
	int r = 0;

	if (!o) {
		if (opts->packs_fd >= 0)
			close(opts->packs_fd);
		if (opts->dir_fd >= 0)
			close(opts->dir_fd);
		return msb_err_set(e, ENOMEM, "no memory for a file system");
	}
	o->packs_fd = opts->packs_fd;
	o->atime = opts->atime;
	o->dir_fd = opts->dir_fd;
	/* Not fatal: without a seed a guest could make its own server slow, nothing more. */
	(void)!getrandom(&o->seed, sizeof(o->seed), GRND_NONBLOCK);
	if (files_fd >= 0)
		r = img_files_open(files_fd, &o->files, e);
	if (r == 0 && index_fd >= 0)
		r = open_lower(o, index_fd, e);
	if (r == 0)
		r = upper_fd >= 0  ? open_upper(o, upper_fd, e)
		    : index_fd < 0 ? empty_root(o, e)
				   : 0;
	if (r < 0) {
		ovl_stop(&o->fsb);
		return r;
	}
	*ret = &o->fsb;
	return 0;
}

int ovl_kind_start(const struct fsb_start *s, struct fsb **ret, struct msb_err *e)
{
	const struct fsb_overlay_opts o = {.index_fd = s->index_fd,
		.packs_fd = s->packs_fd,
		.dir_fd = s->dir_fd,
		.files_fd = s->files_fd,
		.upper_fd = s->upper_fd,
		.atime = fsb_options_atime(s->options)};

	return fsb_overlay_start(&o, ret, e);
}

const struct fsb_kind fsb_overlay_kind = {
	.name = "overlay",
	.summary = "an image below, private changes above",
	.start = ovl_kind_start,
};
