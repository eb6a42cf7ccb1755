// SPDX-License-Identifier: Apache-2.0
// What one kernel holds of the file system, and giving it back.
#include "fs/fuse_priv.h"
#include "base/cleanup.h"

#include <stdatomic.h>

void fsd_fs_init(struct fsd_fs *fs, struct fsb *b)
{
	fs->b = b;
}

void fsd_fs_done(struct fsd_fs *fs)
{
	fs->b->ops->stop(fs->b);
	fs->b = NULL;
}

static void backend_forget(struct fsd_session *s, uint64_t node, uint64_t count)
{
	s->fs->b->ops->forget(s->fs->b, node, count);
}

static void backend_release(struct fsd_session *s, bool dir, uint64_t node, uint64_t fh)
{
	const struct fsb_ops *o = s->fs->b->ops;

	if (dir && o->releasedir)
		o->releasedir(s->fs->b, node, fh);
	else if (!dir && o->release)
		o->release(s->fs->b, node, fh);
}

int fuse_pin_node(struct fsd_session *s, uint64_t node)
{
	struct fuse_ref *n;

	if (node == FUSE_ROOT_ID)
		return 0;
	LOCK_SCOPE(&s->lock);
	n = fuse_refs_find(&s->nodes, node);
	if (!n || n->flags & FUSE_REF_STALE)
		return -ESTALE;
	n->pins++;
	return 0;
}

void fuse_unpin_node(struct fsd_session *s, uint64_t node)
{
	uint64_t owed;

	if (node == FUSE_ROOT_ID)
		return;
	{
		LOCK_SCOPE(&s->lock);
		owed = fuse_refs_unpin(&s->nodes, node, NULL);
	}
	if (owed)
		backend_forget(s, node, owed);
}

int fuse_own_node(struct fsd_session *s, uint64_t node)
{
	int r;

	if (node == FUSE_ROOT_ID)
		return 0;
	{
		LOCK_SCOPE(&s->lock);
		r = fuse_refs_add(&s->nodes, &(struct fuse_ref){.key = node, .count = 1});
	}
	if (r < 0)
		backend_forget(s, node, 1);
	return r;
}

void fuse_forget(struct fsd_session *s, uint64_t node, uint64_t count)
{
	struct fuse_ref gone;
	uint64_t now;

	{
		LOCK_SCOPE(&s->lock);
		now = fuse_refs_drop(&s->nodes, node, count, &gone);
	}
	if (now && !(gone.flags & FUSE_REF_STALE))
		backend_forget(s, node, now);
}

int fuse_pin_handle(struct fsd_session *s, bool dir, uint64_t node, uint64_t fh)
{
	struct fuse_refs *t = dir ? &s->dirs : &s->files;
	struct fuse_ref *h;

	if (fh == 0)
		return s->fs->b->ops->caps & (FSB_CAP_NO_OPEN | FSB_CAP_MIXED_OPEN) ? 0 : -EBADF;
	LOCK_SCOPE(&s->lock);
	h = fuse_refs_find(t, fh);
	if (!h || h->node != node)
		return -EBADF;
	if (h->flags & FUSE_REF_STALE)
		return -ESTALE;
	h->pins++;
	return 0;
}

/* The last use of a handle that the kernel has let go. Its node was pinned when it was opened. */
void fuse_handle_gone(struct fsd_session *s, bool dir, const struct fuse_ref *h)
{
	if (h->flags & FUSE_REF_STALE)
		return;
	backend_release(s, dir, h->node, h->key);
	fuse_unpin_node(s, h->node);
}

void fuse_unpin_handle(struct fsd_session *s, bool dir, uint64_t fh)
{
	struct fuse_ref gone;
	uint64_t owed;

	if (fh == 0)
		return;
	{
		LOCK_SCOPE(&s->lock);
		owed = fuse_refs_unpin(dir ? &s->dirs : &s->files, fh, &gone);
	}
	if (owed)
		fuse_handle_gone(s, dir, &gone);
}

int fuse_own_handle(struct fsd_session *s, bool dir, uint64_t node, uint64_t fh, uint32_t flags)
{
	int r = fuse_pin_node(s, node);

	if (r == 0) {
		{
			LOCK_SCOPE(&s->lock);
			r = fuse_refs_add(dir ? &s->dirs : &s->files,
				&(struct fuse_ref){
					.key = fh, .count = 1, .node = node, .flags = flags});
		}
		if (r == 0)
			return 0;
		fuse_unpin_node(s, node);
	}
	backend_release(s, dir, node, fh);
	return r;
}

void fuse_release(struct fsd_session *s, bool dir, uint64_t fh)
{
	struct fuse_ref gone;
	uint64_t now;

	{
		LOCK_SCOPE(&s->lock);
		now = fuse_refs_drop(dir ? &s->dirs : &s->files, fh, 1, &gone);
	}
	if (now && gone.count == 1)
		fuse_handle_gone(s, dir, &gone);
}

/* The first key from slot *@at on that the kernel still holds, or 0. */
static uint64_t next_held(struct fsd_session *s, const struct fuse_refs *t, size_t *at)
{
	LOCK_SCOPE(&s->lock);
	for (; *at < t->slots; ++*at)
		if (t->slot[*at].key && t->slot[*at].count)
			return t->slot[*at].key;
	return 0;
}

void fsd_session_reset(struct fsd_session *s)
{
	uint64_t key;

	/* A dropped entry's slot is filled from behind it, so the position stays. */
	for (size_t i = 0; (key = next_held(s, &s->files, &i));)
		fuse_release(s, false, key);
	for (size_t i = 0; (key = next_held(s, &s->dirs, &i));)
		fuse_release(s, true, key);
	for (size_t i = 0; (key = next_held(s, &s->nodes, &i));)
		fuse_forget(s, key, UINT64_MAX);
	fuse_view_end(s);
	fuse_set_ready(s, false);
	atomic_store(&s->opens_off, false);
	atomic_store(&s->init_flags, 0);
	atomic_store(&s->minor, 0);
	if (s->keep) {
		fuse_keep_facts(s);
		fsd_session_commit(s);
	}
}

struct fsd_session *fsd_session_new(
	struct fsd_fs *fs, const struct fuse_profile *profile, bool readonly)
{
	struct fsd_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->fs = fs;
	s->profile = profile;
	s->readonly = readonly || !(fs->b->ops->caps & FSB_CAP_WRITE);
	pthread_mutex_init(&s->lock, NULL);
	fuse_refs_init(&s->nodes, FSD_MAX_NODES);
	fuse_refs_init(&s->files, FUSE_MAX_HANDLES);
	fuse_refs_init(&s->dirs, FUSE_MAX_HANDLES);
	return s;
}

struct fsd_session *fsd_session_free(struct fsd_session *s)
{
	if (!s)
		return NULL;
	fsd_session_reset(s);
	fuse_refs_done(&s->nodes);
	fuse_refs_done(&s->files);
	fuse_refs_done(&s->dirs);
	(void)fuse_keep_free(s->keep);
	pthread_mutex_destroy(&s->lock);
	free(s);
	return NULL;
}

bool fsd_session_opens_off(const struct fsd_session *s)
{
	return atomic_load(&s->opens_off);
}

bool fsd_session_acls_off(const struct fsd_session *s)
{
	return atomic_load(&s->ready) && !(atomic_load(&s->init_flags) & FUSE_POSIX_ACL);
}

void fuse_worker_count(struct fsd_session *s, struct fuse_worker *w)
{
	if (w->requests)
		atomic_fetch_add_explicit(&s->requests, w->requests, memory_order_relaxed);
	w->requests = 0;
}

void fsd_session_counts(struct fsd_session *s, struct fuse_counts *add_to)
{
	LOCK_SCOPE(&s->lock);
	add_to->nodes += s->nodes.used;
	add_to->handles += s->files.used + s->dirs.used;
	add_to->requests += atomic_load(&s->requests);
}
