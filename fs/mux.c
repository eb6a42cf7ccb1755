// SPDX-License-Identifier: Apache-2.0
/*
 * Several backends as one.
 *
 * Theory of operation. A seat counts the operations that are inside its child, and a bit of the
 * same word says that it is leaving: who enters adds one and looks at the bit, who removes sets the
 * bit and waits for the count. So entering costs one atomic addition, and a child that takes its
 * time (a plugin, a delay) holds up nobody but who removes it.
 */
#include "fs/mux.h"
#include "base/cleanup.h"
#include "fs/mux_priv.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#define FIRST_OFF 3 /* readdir: after "." and ".." */

struct mux *mux_of(struct fsb *b)
{
	return (struct mux *)(void *)b;
}

static struct mux_seat *seat_of(struct mux *m, uint64_t id)
{
	uint32_t n = (uint32_t)(id >> MUX_SHIFT);

	for (unsigned int i = 0; n && i < FSD_MAX_MOUNTS; i++)
		if (atomic_load_explicit(&m->seat[i].id, memory_order_acquire) == n)
			return &m->seat[i];
	return NULL;
}

static int enter_seat(struct mux_seat *s)
{
	if (atomic_fetch_add(&s->users, 1) & MUX_LEAVING) {
		mux_leave(s, 0);
		return -ESTALE;
	}
	return 0;
}

int mux_enter(struct fsb *b, uint64_t node, struct mux_seat **ret)
{
	struct mux_seat *s = seat_of(mux_of(b), node);
	int r = s ? enter_seat(s) : -ESTALE;

	/* The seat may have been given to another meanwhile. */
	if (r == 0 && s->id != node >> MUX_SHIFT)
		r = (int)mux_leave(s, -ESTALE);
	if (r == 0)
		*ret = s;
	return r;
}

int64_t mux_leave(struct mux_seat *s, int64_t r)
{
	if (atomic_fetch_sub(&s->users, 1) == (MUX_LEAVING | 1)) {
		pthread_mutex_lock(&s->lock);
		pthread_cond_broadcast(&s->empty);
		pthread_mutex_unlock(&s->lock);
	}
	return r == -ENOSYS ? -EOPNOTSUPP : r;
}

void mux_attr_out(const struct mux_seat *s, struct fuse_attr *a)
{
	a->ino ^= (uint64_t)s->id << MUX_SHIFT;
}

void mux_entry_out(const struct mux_seat *s, struct fsb_entry *e)
{
	if (e->node)
		e->node |= (uint64_t)s->id << MUX_SHIFT;
	e->generation ^= s->generation;
	mux_attr_out(s, &e->attr);
}

/* ---- the root */

void mux_root_attr(struct fuse_attr *ret)
{
	*ret = (struct fuse_attr){
		.ino = FSB_ROOT, .mode = S_IFDIR | 0755, .nlink = 2, .blksize = 4096};
}

struct mux_seat *mux_seat_named(struct mux *m, const char *name)
{
	for (unsigned int i = 0; i < FSD_MAX_MOUNTS; i++)
		if (m->seat[i].id && !strcmp(m->seat[i].name, name))
			return &m->seat[i];
	return NULL;
}

/* The entry of the root of the child with this id. */
static int root_of(struct mux *m, uint32_t id, struct fsb_entry *ret)
{
	struct mux_seat *s;
	int r = mux_enter(&m->b, (uint64_t)id << MUX_SHIFT, &s);

	if (r < 0)
		return r;
	*ret = (struct fsb_entry){.node = FSB_ROOT};
	r = s->b->ops->getattr(s->b, FSB_ROOT, 0, &ret->attr);
	if (r == 0)
		mux_entry_out(s, ret);
	return (int)mux_leave(s, r);
}

int mux_root_lookup(struct mux *m, const char *name, struct fsb_entry *ret)
{
	uint32_t id = 0;

	{
		LOCK_SCOPE(&m->lock);
		struct mux_seat *s = mux_seat_named(m, name);

		if (s)
			id = s->id;
	}
	return id ? root_of(m, id, ret) : -ENOENT;
}

int mux_by_handle(
	struct fsb *b, const struct fsb_req *req, uint64_t node, bool parent, struct fsb_entry *ret)
{
	uint64_t below = node & MUX_MASK;
	struct mux_seat *s;
	int r;

	if (node == FSB_ROOT || (below == FSB_ROOT && parent)) {
		*ret = (struct fsb_entry){.node = FSB_ROOT};
		mux_root_attr(&ret->attr);
		return 0;
	}
	if (below == FSB_ROOT)
		return root_of(mux_of(b), (uint32_t)(node >> MUX_SHIFT), ret);
	r = mux_enter(b, node, &s);
	if (r < 0)
		return r;
	r = s->b->ops->caps & FSB_CAP_EXPORT
		    ? s->b->ops->lookup(s->b, req, below, parent ? ".." : ".", ret)
		    : -ESTALE;
	if (r == 0)
		mux_entry_out(s, ret);
	return (int)mux_leave(s, r);
}

int mux_root_readdir(struct mux *m, uint64_t off, bool plus, fsb_dirent_fn fn, void *arg)
{
	if (off < 1 && fn(arg, ".", 1, FSB_ROOT, DT_DIR, 1, NULL))
		return 0;
	if (off < 2 && fn(arg, "..", 2, FSB_ROOT, DT_DIR, 2, NULL))
		return 0;
	for (uint64_t i = off < FIRST_OFF ? 0 : off - FIRST_OFF + 1; i < FSD_MAX_MOUNTS; i++) {
		char name[FSD_MAX_MOUNT_NAME + 1];
		struct fsb_entry e;
		uint32_t id;

		{
			LOCK_SCOPE(&m->lock);
			id = m->seat[i].id;
			memcpy(name, m->seat[i].name, sizeof(name));
		}
		if (id && root_of(m, id, &e) == 0 &&
			fn(arg, name, strlen(name), e.attr.ino, DT_DIR, FIRST_OFF + i,
				plus ? &e : NULL))
			break;
	}
	return 0;
}

/* ---- children come and go */

static void add_up_caps(struct mux *m)
{
	uint32_t all = FSB_CAP_NO_OPEN | FSB_CAP_PINS, any = 0;
	bool acls = false;

	for (unsigned int i = 0; i < FSD_MAX_MOUNTS; i++)
		if (m->seat[i].b) {
			all &= m->seat[i].b->ops->caps;
			any |= m->seat[i].b->ops->caps & (FSB_CAP_SEE_OPENS | FSB_CAP_WAITS);
			acls |= m->seat[i].b->acls;
		}
	m->b.acls = acls;
	/* A child that wants to know who asks may come at any time, and what INIT said then stays.
	 */
	m->ops.caps = FSB_CAP_WRITE | FSB_CAP_XATTR | FSB_CAP_MIXED_OPEN | FSB_CAP_EXPORT |
		      FSB_CAP_SEE_WHO | all | any;
}

static bool name_valid(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");

	return n > 0 && n <= FSD_MAX_MOUNT_NAME && !name[n];
}

uint32_t mux_new_id(struct mux *m, const char *name)
{
	uint64_t first = XXH3_64bits(name, strlen(name)) % MUX_FEW_SEATS;

	for (uint32_t i = 0; i < MUX_MAX_SEATS; i++) {
		uint32_t id = 1 + (i < MUX_FEW_SEATS ? (uint32_t)((first + i) % MUX_FEW_SEATS) : i);

		if (m->had[id / 8] & 1 << id % 8)
			continue;
		mux_take_id(m, id);
		return id;
	}
	return 0;
}

void mux_forgotten(struct fsb *mux)
{
	struct mux *m = mux_of(mux);

	LOCK_SCOPE(&m->lock);
	memset(m->had, 0, sizeof(m->had));
	for (unsigned int i = 0; i < FSD_MAX_MOUNTS; i++)
		mux_take_id(m, m->seat[i].id);
}

static int take_seat(struct mux *m, const char *name, struct fsb *child)
{
	struct mux_seat *s = NULL;
	uint32_t id;

	if (!name_valid(name))
		return -EINVAL;
	LOCK_SCOPE(&m->lock);
	if (mux_seat_named(m, name))
		return -EEXIST;
	for (unsigned int i = 0; i < FSD_MAX_MOUNTS && !s; i++)
		if (!m->seat[i].id)
			s = &m->seat[i];
	id = s ? mux_new_id(m, name) : 0;
	if (!id)
		return -ENOSPC;
	s->b = child;
	s->bound = false;
	(void)snprintf(s->name, sizeof(s->name), "%s", name);
	s->generation = (uint32_t)(XXH3_64bits(name, strlen(name)) >> 32);
	atomic_fetch_and(&s->users, ~MUX_LEAVING); /* one who came too late may still count */
	atomic_store_explicit(&s->id, id, memory_order_release);
	m->n++;
	add_up_caps(m);
	return 0;
}

int mux_add(struct fsb *mux, const char *name, struct fsb *child)
{
	int r = take_seat(mux_of(mux), name, child);

	if (r < 0)
		child->ops->stop(child);
	return r;
}

/* Nobody is inside any more, nor will be. */
static void empty_seat(struct mux_seat *s)
{
	atomic_fetch_or(&s->users, MUX_LEAVING);
	pthread_mutex_lock(&s->lock);
	while (atomic_load(&s->users) != MUX_LEAVING)
		pthread_cond_wait(&s->empty, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

int mux_remove(struct fsb *mux, const char *name)
{
	struct mux *m = mux_of(mux);
	struct mux_seat *s = mux_find(mux, name) ? mux_seat_named(m, name) : NULL;

	if (!s)
		return -ENOENT;
	empty_seat(s);
	s->b->ops->stop(s->b);
	LOCK_SCOPE(&m->lock);
	atomic_store_explicit(&s->id, 0, memory_order_release);
	s->b = NULL;
	m->n--;
	add_up_caps(m);
	return 0;
}

struct fsb *mux_find(struct fsb *mux, const char *name)
{
	struct mux *m = mux_of(mux);
	struct mux_seat *s;

	LOCK_SCOPE(&m->lock);
	s = mux_seat_named(m, name);
	return s ? s->b : NULL;
}

static void mux_stop(struct fsb *b);

struct fsb *mux_child(struct fsb *b, uint64_t *node)
{
	struct mux_seat *s;
	struct fsb *child;

	if (b->ops->stop != mux_stop)
		return b;
	if (mux_enter(b, *node, &s) < 0)
		return NULL;
	*node &= MUX_MASK;
	child = s->b;
	(void)mux_leave(s, 0);
	return child;
}

unsigned int mux_count(const struct fsb *mux)
{
	return ((const struct mux *)(const void *)mux)->n;
}

static void mux_stop(struct fsb *b)
{
	struct mux *m = mux_of(b);

	for (unsigned int i = 0; i < FSD_MAX_MOUNTS; i++) {
		struct mux_seat *s = &m->seat[i];

		if (s->id)
			s->b->ops->stop(s->b);
		pthread_mutex_destroy(&s->lock);
		pthread_cond_destroy(&s->empty);
	}
	pthread_mutex_destroy(&m->lock);
	free(m);
}

int mux_new(struct fsb **ret)
{
	struct mux *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->ops = mux_ops;
	m->ops.stop = mux_stop;
	m->b.ops = &m->ops;
	pthread_mutex_init(&m->lock, NULL);
	for (unsigned int i = 0; i < FSD_MAX_MOUNTS; i++) {
		pthread_mutex_init(&m->seat[i].lock, NULL);
		pthread_cond_init(&m->seat[i].empty, NULL);
	}
	add_up_caps(m);
	*ret = &m->b;
	return 0;
}
