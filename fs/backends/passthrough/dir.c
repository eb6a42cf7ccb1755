// SPDX-License-Identifier: Apache-2.0
// passthrough: reading directories.
#include "fs/backends/passthrough/pt.h"
#include "base/cleanup.h"

#include <dirent.h>
#include <limits.h>
#include <string.h>
#include <sys/xattr.h>

#define FIRST_BYTES 1024 /* of entries: a page of a guest's readdirplus */

/* Where a directory's descriptor stands, and what was read of it beyond. Of a node's own descriptor
 * all who read the directory share one: each says with every request where it is. */
struct pt_dir {
	pthread_mutex_t lock; /* guards the rest */
	uint64_t pos;	      /* of the entry at @at */
	size_t at, filled;
	size_t room;	  /* to be read next: little after a seek, more as they read on */
	uint8_t *dirents; /* PT_DIRENTS_BYTES while there is something in it */
	bool special;	  /* had PT_XATTR_SPECIAL when it was last begun */
};

struct pt_dir *pt_dir_new(void)
{
	struct pt_dir *d = calloc(1, sizeof(*d));

	if (d)
		pthread_mutex_init(&d->lock, NULL);
	return d;
}

struct pt_dir *pt_dir_free(struct pt_dir *d)
{
	if (!d)
		return NULL;
	pthread_mutex_destroy(&d->lock);
	free(d->dirents);
	free(d);
	return NULL;
}

bool pt_is_special(struct pt *p, const struct pt_node *n)
{
	LOCK_SCOPE(&p->nodes.lock);
	return n->meta.type;
}

void pt_mark_special(struct pt *p, struct pt_ref *dir)
{
	bool marked;

	{
		LOCK_SCOPE(&p->nodes.lock);
		marked = dir->node->marked;
		dir->node->marked = true;
	}
	if (!marked && pt_need(&p->nodes, dir, PT_READ) == 0)
		(void)fsetxattr(dir->fd, PT_XATTR_SPECIAL, "", 0, 0);
}

/* The entry at @off, in the buffer. NULL at the end, and where @reterr is set. */
static const struct dirent64 *entry_at(struct pt_dir *d, int fd, uint64_t off, int *reterr)
{
	ssize_t n;

	if (!d->dirents)
		d->dirents = malloc(PT_DIRENTS_BYTES);
	if (!d->dirents) {
		*reterr = -ENOMEM;
		return NULL;
	}
	if (off != d->pos || off == 0) {
		if (lseek(fd, (off_t)off, SEEK_SET) < 0) {
			*reterr = -errno;
			return NULL;
		}
		d->at = d->filled = 0;
		d->pos = off;
		d->room = FIRST_BYTES;
	}
	if (d->at < d->filled)
		return (const void *)(d->dirents + d->at);
	n = getdents64(fd, d->dirents, d->room);
	if (d->room < PT_DIRENTS_BYTES)
		d->room *= 2;
	d->at = 0;
	d->filled = n > 0 ? (size_t)n : 0;
	if (n > 0)
		return (const void *)d->dirents;
	*reterr = n < 0 ? -errno : 0;
	free(d->dirents);
	d->dirents = NULL;
	return NULL;
}

/* What the guest takes a regular file of the host for, in a directory where that may differ. */
static uint32_t special_type(int fd, const char *name)
{
	char buf[PT_MAX_META];
	struct pt_meta m;
	int64_t n = pt_xattr_at(fd, name, PT_XATTR_META, buf, sizeof(buf));

	return n > 0 && pt_meta_parse(buf, (size_t)n, &m) == 0 && m.type ? IFTODT(m.type) : DT_REG;
}

/* One entry to the caller, with a reference of its node for readdirplus. 1: no room. Some of the
 * host's file systems have names longer than NAME_MAX bytes, which no guest can say: those are no
 * nodes. */
static int emit(struct pt *p, struct pt_ref *dir, bool special, const struct dirent64 *d, bool plus,
	fsb_dirent_fn fn, void *arg)
{
	struct fsb_entry e;
	size_t n = strlen(d->d_name);
	bool have = plus && n <= NAME_MAX && !pt_is_dots(d->d_name) &&
		    pt_lookup_in(p, dir, d->d_name, &e) == 0;
	uint64_t ino = have ? e.attr.ino : pt_ino_on(dir->node->file.dev, d->d_ino);
	uint32_t type = have ? IFTODT(e.attr.mode) : d->d_type;
	int full;

	if (!have && special && type == DT_REG)
		type = special_type(dir->fd, d->d_name);
	full = fn(arg, d->d_name, n, ino, type, (uint64_t)d->d_off, have ? &e : NULL);
	if (full && have)
		pt_forget(&p->nodes, e.node, 1);
	return full;
}

/* The directory's reading position: a handle's, or the node's. */
static struct pt_dir *dir_of(struct pt *p, struct pt_ref *r, const struct pt_handle *h)
{
	struct pt_dir *fresh;

	if (h)
		return h->dir;
	{
		LOCK_SCOPE(&p->nodes.lock);
		if (r->node->dir)
			return r->node->dir;
	}
	fresh = pt_dir_new();
	LOCK_SCOPE(&p->nodes.lock);
	if (!r->node->dir)
		r->node->dir = steal_ptr(fresh);
	(void)pt_dir_free(fresh);
	return r->node->dir;
}

int pt_readdir(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh, uint64_t off,
	bool plus, fsb_dirent_fn fn, void *arg)
{
	struct pt *p = pt_of(b);
	const struct pt_handle *h = pt_handle_get(p, fh);
	const struct dirent64 *e;
	struct pt_dir *d;
	struct pt_ref dir;
	int r;

	if (fh ? !h || !h->dir : !p->stateless)
		return -EBADF;
	r = pt_open_ref(p, node, h ? PT_PATH : PT_READ, &dir);
	if (r < 0)
		return r;
	d = S_ISDIR(dir.node->file.type) ? dir_of(p, &dir, h) : NULL;
	r = d ? 0 : S_ISDIR(dir.node->file.type) ? -ENOMEM : -ENOTDIR;
	if (r == 0) {
		int fd = h ? h->fd : dir.fd;

		LOCK_SCOPE(&d->lock);
		if (off == 0 || !d->dirents)
			d->special = fgetxattr(fd, PT_XATTR_SPECIAL, NULL, 0) >= 0;
		while ((e = entry_at(d, fd, off, &r))) {
			if (emit(p, &dir, d->special, e, plus, fn, arg))
				break;
			d->at += e->d_reclen;
			d->pos = off = (uint64_t)e->d_off;
		}
	}
	pt_put(&p->nodes, &dir);
	return r;
}
