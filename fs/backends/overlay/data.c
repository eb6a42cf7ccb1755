// SPDX-License-Identifier: Apache-2.0
// The overlay's data files data/XX/INO (both hex, XX the low byte), and the cache of descriptors.
#include "fs/backends/overlay/ovl.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

struct ovl_data_name ovl_data_name(uint64_t ino)
{
	struct ovl_data_name d;

	snprintf(d.path, sizeof(d.path), "%02x/%llx", (unsigned int)(ino & 255),
		(unsigned long long)ino);
	return d;
}

int ovl_fds_init(struct ovl *o)
{
	struct rlimit l;

	o->lru.prev = o->lru.next = &o->lru;
	o->max_fds = FSD_MAX_BACKEND_FDS;
	/* Half of what the process may have: the rest is for sockets, packs, and ops at work. */
	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur / 2 < o->max_fds)
		o->max_fds = l.rlim_cur < 16 ? 8 : (unsigned int)(l.rlim_cur / 2);
	return 0;
}

static void unlist(struct ovl_fd *f)
{
	f->prev->next = f->next;
	f->next->prev = f->prev;
}

static void list_last(struct ovl *o, struct ovl_fd *f)
{
	f->prev = o->lru.prev;
	f->next = &o->lru;
	f->prev->next = f;
	o->lru.prev = f;
}

/* Takes @f out of the cache; its last user closes it. fd_lock held. True: the caller does. */
static bool retire(struct ovl *o, struct ovl_fd *f)
{
	*f->owner = NULL;
	f->owner = NULL;
	unlist(f);
	o->fds--;
	return f->refs == 0;
}

static void close_fd(struct ovl_fd *f)
{
	close(f->fd);
	free(f);
}

void ovl_fds_done(struct ovl *o)
{
	while (o->lru.next && o->lru.next != &o->lru) {
		struct ovl_fd *f = o->lru.next;

		retire(o, f);
		close_fd(f);
	}
}

static struct ovl_fd *cached(struct ovl *o, struct ovl_fd *const *owner)
{
	LOCK_SCOPE(&o->fd_lock);
	struct ovl_fd *f = *owner;

	if (f) {
		f->refs++;
		unlist(f);
		list_last(o, f);
	}
	return f;
}

/* Puts @fd into the cache, unless another thread was first: then its descriptor serves both. */
static int remember(struct ovl *o, struct ovl_fd **owner, int fd, struct ovl_fd **ret)
{
	struct ovl_fd *f = calloc(1, sizeof(*f)), *old = NULL, *lost = NULL;

	if (!f) {
		close(fd);
		return -ENOMEM;
	}
	pthread_mutex_lock(&o->fd_lock);
	if (*owner) {
		lost = f;
		f->fd = fd;
		f = *owner;
	} else {
		*f = (struct ovl_fd){.fd = fd, .owner = owner};
		*owner = f;
		list_last(o, f);
		o->fds++;
		for (old = o->lru.next; o->fds > o->max_fds && old != &o->lru; old = old->next) {
			if (old->refs == 0 && old != f)
				break;
		}
		if (o->fds > o->max_fds && old != &o->lru)
			retire(o, old);
		else
			old = NULL;
	}
	f->refs++;
	pthread_mutex_unlock(&o->fd_lock);
	if (lost)
		close_fd(lost);
	if (old)
		close_fd(old);
	*ret = f;
	return 0;
}

void ovl_fd_put(struct ovl *o, struct ovl_fd *f)
{
	bool last;

	pthread_mutex_lock(&o->fd_lock);
	last = --f->refs == 0 && !f->owner;
	pthread_mutex_unlock(&o->fd_lock);
	if (last)
		close_fd(f);
}

void ovl_fd_drop(struct ovl *o, struct ovl_fd **owner)
{
	struct ovl_fd *f;
	bool last;

	pthread_mutex_lock(&o->fd_lock);
	f = *owner;
	last = f && retire(o, f);
	pthread_mutex_unlock(&o->fd_lock);
	if (last)
		close_fd(f);
}

/* Makes the file and, for the first of its 256, the directory. */
static int make_file(struct ovl *o, const struct ovl_data_name *d)
{
	const char dir[3] = {d->path[0], d->path[1], '\0'};
	int fd;

	ovl_data_purge(o); /* one that an earlier server left there is not ours to go on with */
	fd = openat(o->data_fd, d->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 && errno == ENOENT) {
		if (mkdirat(o->data_fd, dir, 0700) < 0 && errno != EEXIST)
			return -errno;
		fd = openat(o->data_fd, d->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	}
	return fd < 0 ? -errno : fd;
}

int ovl_fd_get(struct ovl *o, struct ovl_inode *i, bool create, struct ovl_fd **ret)
{
	struct ovl_data_name d;
	int fd;

	*ret = cached(o, &i->fd);
	if (*ret)
		return 0;
	d = ovl_data_name(i->ino);
	if (i->flags & OVL_FILE) {
		fd = openat(o->data_fd, d.path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
		fd = fd < 0 ? -errno : fd;
	} else if (create) {
		fd = make_file(o, &d);
		if (fd >= 0) {
			OVL_READ(o);
			OVL_ATTR(o, i);
			i->flags |= OVL_FILE | OVL_NEW_DATA;
		}
	} else {
		return -ENOENT;
	}
	return fd < 0 ? fd : remember(o, &i->fd, fd, ret);
}

int ovl_pack_get(struct ovl *o, uint32_t pack, struct ovl_fd **ret)
{
	struct ovl_fd **slot = &o->pack[pack % OVL_PACK_SLOTS];
	int fd, r;

	pthread_mutex_lock(&o->pack_lock);
	if (o->pack_id[pack % OVL_PACK_SLOTS] != pack)
		ovl_fd_drop(o, slot);
	o->pack_id[pack % OVL_PACK_SLOTS] = pack;
	*ret = cached(o, slot);
	if (*ret) {
		pthread_mutex_unlock(&o->pack_lock);
		return 0;
	}
	fd = ovl_lower_open(o, pack);
	r = fd < 0 ? fd : remember(o, slot, fd, ret);
	pthread_mutex_unlock(&o->pack_lock);
	return r;
}

int ovl_data_unlink(struct ovl *o, uint64_t ino)
{
	return unlinkat(o->data_fd, ovl_data_name(ino).path, 0) < 0 ? -errno : 0;
}

int ovl_data_sync_dir(struct ovl *o, uint64_t ino)
{
	char dir[3];
	_cleanup_close_ int fd = -1;

	snprintf(dir, sizeof(dir), "%02x", (unsigned int)(ino & 255));
	fd = openat(o->data_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 || fsync(o->data_fd) < 0 ? -errno : 0;
}

static bool later(struct timespec a, struct ovl_time b)
{
	return a.tv_sec > b.sec || (a.tv_sec == b.sec && a.tv_nsec > b.nsec);
}

void ovl_data_refresh(struct ovl *o, struct ovl_inode *i)
{
	struct ovl_fd *f = cached(o, &i->fd);
	struct stat st = {0};
	int r = 0;

	if (f) {
		r = fstat(f->fd, &st); /* a third of what the name costs */
		ovl_fd_put(o, f);
	} else if (i->flags & OVL_FILE) {
		r = fstatat(o->data_fd, ovl_data_name(i->ino).path, &st, AT_SYMLINK_NOFOLLOW);
	}
	if (r < 0 && errno != ENOENT)
		return; /* asked again next time */
	i->blocks = (uint64_t)st.st_blocks;
	/* A write that the log has not seen: it left its mark on the file alone. */
	if (i->flags & OVL_STALE_SIZE) {
		i->a.size = (uint64_t)st.st_size;
		if (later(st.st_mtim, i->a.ctime))
			i->a.mtime = i->a.ctime =
				(struct ovl_time){st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec};
	}
	i->flags &= ~(uint32_t)(OVL_STALE_SIZE | OVL_STALE_BLOCKS);
}
