// SPDX-License-Identifier: Apache-2.0
// passthrough: open files and directories, where OPEN is sent and means something.
#include "fs/backends/passthrough/pt.h"
#include "base/cleanup.h"
#include "fs/reopen.h"

#include <fcntl.h>
#include <string.h>

/* Of the flags a guest opens with, those that mean the same here. O_APPEND is the guest's to
 * resolve: it sends offsets. */
#define OPEN_FLAGS (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC)

#define FIRST_HANDLES 64

static void handle_free(struct pt_handle *h)
{
	close(h->fd);
	(void)pt_dir_free(h->dir);
	free(h);
}

/* Room for @at. The lock is held. */
static int grow(struct pt *p, uint64_t at)
{
	uint32_t n = p->handles ? p->handles : FIRST_HANDLES;
	struct pt_handle **grown;

	while (n <= at)
		n *= 2;
	if (n > PT_MAX_HANDLES)
		return -ENFILE;
	if (n == p->handles)
		return 0;
	grown = reallocarray(p->handle, n, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + p->handles, 0, (n - p->handles) * sizeof(*grown));
	p->handle = grown;
	p->handles = n;
	return 0;
}

/* Puts @h at @at, or where that is 0 into the first free place. The lock is held. */
static int handle_enter(struct pt *p, struct pt_handle *h, uint64_t at, uint64_t *ret_fh)
{
	uint64_t i = at ? at : p->first_free ? p->first_free : 1; /* 0 is no handle */
	int r;

	while (!at && i < p->handles && p->handle[i])
		i++;
	if (i >= PT_MAX_HANDLES)
		return -ENFILE;
	r = grow(p, i);
	if (r < 0)
		return r;
	if (p->handle[i])
		return -EEXIST;
	p->handle[i] = h;
	if (!at)
		p->first_free = (uint32_t)i + 1;
	*ret_fh = i;
	return 0;
}

int pt_handle_add(struct pt *p, int fd, bool dir, uint64_t at_fh, uint64_t *ret_fh)
{
	struct pt_handle *h = calloc(1, sizeof(*h));
	int r = h ? 0 : -ENOMEM;

	if (r < 0) {
		close(fd);
		return r;
	}
	h->fd = fd;
	if (dir)
		h->dir = pt_dir_new();
	pthread_mutex_lock(&p->handles_lock);
	if (dir)
		r = !h->dir ? -ENOMEM : p->dirs >= PT_MAX_DIRS ? -ENFILE : 0;
	if (r == 0)
		r = handle_enter(p, h, at_fh, ret_fh);
	if (r == 0)
		p->dirs += dir;
	pthread_mutex_unlock(&p->handles_lock);
	if (r < 0)
		handle_free(h);
	return r;
}

struct pt_handle *pt_handle_get(struct pt *p, uint64_t fh)
{
	if (!fh)
		return NULL;
	LOCK_SCOPE(&p->handles_lock);
	return fh < p->handles ? p->handle[fh] : NULL;
}

void pt_release(struct fsb *b, uint64_t node, uint64_t fh)
{
	struct pt *p = pt_of(b);
	struct pt_handle *h = pt_handle_get(p, fh);

	if (!h)
		return;
	pthread_mutex_lock(&p->handles_lock);
	p->handle[fh] = NULL;
	p->dirs -= h->dir != NULL;
	if (fh < p->first_free)
		p->first_free = (uint32_t)fh;
	pthread_mutex_unlock(&p->handles_lock);
	handle_free(h);
}

void pt_handles_done(struct pt *p)
{
	for (uint32_t i = 0; i < p->handles; i++)
		if (p->handle[i])
			handle_free(p->handle[i]);
	free(p->handle);
	pthread_mutex_destroy(&p->handles_lock);
}

static int open_node(
	struct pt *p, uint64_t node, uint32_t type, int flags, uint64_t at_fh, uint64_t *ret_fh)
{
	struct pt_ref f;
	int r = pt_get(&p->nodes, node, PT_PATH, &f);

	if (r < 0)
		return r;
	/* Opening a device or a FIFO would do something on the host. */
	if (f.node->file.type != type)
		r = type == S_IFDIR ? -ENOTDIR : S_ISDIR(f.node->file.type) ? -EISDIR : -ENXIO;
	else if (pt_is_special(p, f.node))
		r = -ENXIO;
	else
		r = pt_reader(&p->nodes, fs_reopen(f.fd, flags));
	pt_put(&p->nodes, &f);
	return r < 0 ? r : pt_handle_add(p, r, type == S_IFDIR, at_fh, ret_fh);
}

/* Without handles there is only to say what is no file, and to cut it off. */
static int open_stateless(struct pt *p, uint64_t node, uint32_t flags)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
	struct pt_ref f;
	int r = pt_open_ref(p, node, writes ? PT_WRITE : PT_READ, &f);

	if (r < 0)
		return r;
	if (S_ISDIR(f.node->file.type))
		r = -EISDIR;
	else if (pt_is_special(p, f.node))
		r = -ENXIO;
	else if (flags & O_TRUNC)
		r = ftruncate(f.fd, 0) < 0 ? -errno : 0;
	pt_put(&p->nodes, &f);
	return r;
}

int pt_open(
	struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags, uint64_t *ret_fh)
{
	struct pt *p = pt_of(b);

	flags &= OPEN_FLAGS;
	*ret_fh = 0;
	if (p->readonly && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)))
		return -EROFS;
	return p->stateless ? open_stateless(p, node, flags)
			    : open_node(p, node, S_IFREG, (int)flags, 0, ret_fh);
}

int pt_opendir(struct fsb *b, uint64_t node, uint64_t *ret_fh)
{
	struct pt *p = pt_of(b);
	struct pt_ref f;
	int r;

	*ret_fh = 0;
	if (!p->stateless)
		return open_node(p, node, S_IFDIR, O_RDONLY | O_DIRECTORY, 0, ret_fh);
	r = pt_open_ref(p, node, PT_READ, &f);
	if (r < 0)
		return r;
	r = S_ISDIR(f.node->file.type) ? 0 : -ENOTDIR;
	pt_put(&p->nodes, &f);
	return r;
}

int pt_reopen(struct fsb *b, uint64_t node, uint64_t fh, bool dir, uint32_t flags)
{
	struct pt *p = pt_of(b);

	if (p->stateless)
		return fh ? -EINVAL : 0;
	if (fh == 0 || fh >= PT_MAX_HANDLES)
		return -EINVAL;
	flags = dir ? O_RDONLY | O_DIRECTORY : flags & (O_ACCMODE | O_SYNC | O_DSYNC);
	if (p->readonly && (flags & O_ACCMODE) != O_RDONLY)
		return -EROFS;
	return open_node(p, node, dir ? S_IFDIR : S_IFREG, (int)flags, fh, &fh);
}
