// SPDX-License-Identifier: Apache-2.0
// passthrough: nodes as files are seen, move and go away.
#include "fs/backends/passthrough/nodes.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>

/* Of a directory's or a file's clock on the host: what changed later than this before it was read
 * may have changed after, at the same time. */
#define TICK_NS 20000000

static bool is_above(const struct pt_node *n, const struct pt_node *below)
{
	for (int i = 0; below && i < PT_MAX_DEPTH; i++, below = below->parent)
		if (below == n)
			return true;
	return false;
}

/* @n is found by its place, so its descriptor may go. */
static void not_orphan(struct pt_nodes *t, struct pt_node *n)
{
	t->orphans -= n->orphan;
	n->orphan = false;
}

static bool make_orphan(struct pt_nodes *t, struct pt_node *n)
{
	if (n->orphan || t->orphans >= PT_MAX_ORPHANS)
		return false;
	n->orphan = true;
	t->orphans++;
	return true;
}

bool pt_set_place(struct pt_nodes *t, struct pt_node *n, struct pt_node *parent, char *name,
	struct pt_garbage *g)
{
	struct pt_node *old = n->parent;

	/* Directories that were moved on the host while nobody looked can seem to lie in each
	 * other: the old place is then as good as the new one. */
	if (n->id == FSB_ROOT || is_above(n, parent))
		return false;
	not_orphan(t, n);
	pt_unlink_place(t, n);
	parent->children++;
	n->parent = parent;
	free(n->name);
	n->name = name;
	n->moves++;
	pt_link_place(t, n);
	if (old) {
		old->children--;
		pt_drop_unused(t, old, g);
	}
	return true;
}

/* ---- what was seen of a file */

static bool same_time(const struct timespec *a, const struct statx_timestamp *b)
{
	return a->tv_sec == b->tv_sec && (uint32_t)a->tv_nsec == b->tv_nsec;
}

static void learn(
	struct pt_node *n, const struct statx *sx, const struct pt_meta *meta, bool meta_sure)
{
	n->mode = sx->stx_mode;
	if (!meta)
		return;
	n->meta = *meta;
	n->meta_ctime = (struct timespec){sx->stx_ctime.tv_sec, sx->stx_ctime.tv_nsec};
	n->meta_sure = meta_sure;
}

void pt_learn(struct pt_nodes *t, struct pt_node *n, const struct statx *sx,
	const struct pt_meta *meta, bool meta_sure)
{
	LOCK_SCOPE(&t->lock);
	learn(n, sx, meta, meta_sure);
}

bool pt_known_meta(struct pt_nodes *t, const struct statx *sx, struct pt_meta *ret)
{
	struct pt_identity f;
	struct pt_node *n;

	LOCK_SCOPE(&t->lock);
	if (pt_identity(t, sx, &f) < 0)
		return false;
	n = pt_find_file(t, &f);
	if (!n || !n->meta_sure || !same_time(&n->meta_ctime, &sx->stx_ctime))
		return false;
	*ret = n->meta;
	return true;
}

bool pt_is_settled(const struct statx *sx)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return (now.tv_sec - sx->stx_ctime.tv_sec) * INT64_C(1000000000) + now.tv_nsec -
		       (int64_t)sx->stx_ctime.tv_nsec >
	       TICK_NS;
}

/* ---- entering and forgetting */

static struct pt_node *new_node(struct pt_nodes *t, const struct pt_identity *f)
{
	struct pt_node *n = malloc(sizeof(*n));

	if (n) {
		*n = (struct pt_node){.file = *f, .fd = {-1, -1, -1}};
		pt_give_id(t, n);
	}
	return n;
}

int pt_enter(struct pt_nodes *t, struct pt_ref *parent, const char *name,
	const struct pt_seen *seen, struct fsb_entry *ret)
{
	struct pt_garbage g = {0};
	struct pt_identity f;
	struct pt_node *n = NULL;
	char *own = NULL;
	bool held;
	int r;

	pthread_mutex_lock(&t->lock);
	r = pt_identity(t, seen->sx, &f);
	if (r == 0) {
		n = pt_find_file(t, &f);
		if (name && (!n || !pt_is_place(n, parent->node, name))) {
			own = strdup(name);
			r = own ? 0 : -ENOMEM;
		}
		if (r == 0 && !n) {
			n = new_node(t, &f);
			r = n ? pt_add_node(t, n) : -ENOMEM;
			if (r < 0) {
				free(n);
				n = NULL;
			}
		}
	}
	if (r == 0) {
		/* One that was without a place and has one now is idle once it is given up. */
		held = seen->fd >= 0 || n->orphan;
		n->lookups++;
		if (n->file.dev == PT_DEV_ANY)
			pt_settle(t, n, &f);
		learn(n, seen->sx, seen->meta, seen->meta_sure);
		if (held)
			pt_use(t, n);
		if (seen->fd >= 0)
			pt_give_fd(t, n, seen->kind, seen->fd, &g);
		if (!name)
			(void)make_orphan(t, n);
		else if (!own)
			not_orphan(t, n);
		else if (pt_set_place(t, n, parent->node, own, &g))
			own = NULL;
		n->drop_writer |= seen->drop;
		if (held)
			pt_unuse(t, n, &g);
		ret->node = n->id;
		ret->generation = n->generation;
		if (seen->put_parent) {
			pt_unuse(t, parent->node, &g);
			parent->node = NULL;
		}
	} else if (seen->fd >= 0) {
		g.fd[g.fds++] = seen->fd;
	}
	pthread_mutex_unlock(&t->lock);
	pt_sweep(&g);
	free(own);
	return r;
}

void pt_enter_again(struct pt_nodes *t, const struct pt_ref *r, struct fsb_entry *ret)
{
	LOCK_SCOPE(&t->lock);
	r->node->lookups += r->node->id != FSB_ROOT; /* which nobody counts */
	ret->node = r->node->id;
	ret->generation = r->node->generation;
}

void pt_forget(struct pt_nodes *t, uint64_t id, uint64_t count)
{
	struct pt_garbage g = {0};
	struct pt_node *n;

	pthread_mutex_lock(&t->lock);
	n = pt_find_id(t, id);
	if (n) {
		n->lookups -= count < n->lookups ? count : n->lookups;
		pt_drop_unused(t, n, &g);
	}
	pthread_mutex_unlock(&t->lock);
	pt_sweep(&g);
}

/* ---- removing and moving */

void pt_hold(struct pt_nodes *t, const struct pt_ref *parent, const char *name)
{
	struct pt_garbage g = {0};
	struct pt_node *n;
	int fd;

	pthread_mutex_lock(&t->lock);
	n = pt_find_place(t, parent->node, name);
	if (n && (!n->lookups || n->id == FSB_ROOT))
		n = NULL;
	if (n) {
		pt_use(t, n);
		/* What it has will do, unless it was never compared. */
		if (n->fd[PT_READ] >= 0 || n->fd[PT_WRITE] >= 0 || n->fd[PT_PATH] >= 0) {
			(void)make_orphan(t, n);
			pt_unuse(t, n, &g);
			n = NULL;
		}
	}
	pthread_mutex_unlock(&t->lock);
	pt_sweep(&g);
	if (!n)
		return;
	fd = pt_openat(t, parent->fd, name, O_PATH, 0);
	pthread_mutex_lock(&t->lock);
	if (fd >= 0) {
		/* Most are forgotten unused: whether it is the node's file is looked at by who
		 * uses it. */
		if (n->fd[PT_PATH] < 0 && pt_pick(n, PT_PATH) < 0)
			n->unsure = true;
		pt_give_fd(t, n, PT_PATH, fd, &g);
		(void)make_orphan(t, n);
	}
	pt_unuse(t, n, &g);
	pthread_mutex_unlock(&t->lock);
	pt_sweep(&g);
}

struct pt_node *pt_move_begin(struct pt_nodes *t, const struct pt_ref *parent, const char *name)
{
	struct pt_node *n;

	LOCK_SCOPE(&t->lock);
	n = pt_find_place(t, parent->node, name);
	if (n) {
		pt_use(t, n);
		n->moving++;
	}
	return n;
}

void pt_move_end(
	struct pt_nodes *t, struct pt_node *n, const struct pt_ref *parent, const char *name)
{
	char *own = name ? strdup(name) : NULL;
	struct pt_garbage g = {0};

	pthread_mutex_lock(&t->lock);
	n->moving--;
	if (own && !pt_is_place(n, parent->node, name) && pt_set_place(t, n, parent->node, own, &g))
		own = NULL;
	pt_unuse(t, n, &g);
	if (t->waiting)
		pthread_cond_broadcast(&t->moved);
	pthread_mutex_unlock(&t->lock);
	pt_sweep(&g);
	free(own);
}

void pt_moved(struct pt_nodes *t, const struct pt_ref *parent, const char *name)
{
	struct pt_garbage g = {0};
	char *own = strdup(name);
	struct pt_identity f;
	struct pt_node *n;
	struct statx sx;

	if (own && pt_statx(t, parent->fd, name, &sx) == 0) {
		pthread_mutex_lock(&t->lock);
		n = pt_identity(t, &sx, &f) == 0 ? pt_find_file(t, &f) : NULL;
		if (n) {
			pt_use(t, n);
			if (pt_is_place(n, parent->node, name))
				not_orphan(t, n);
			else if (pt_set_place(t, n, parent->node, own, &g))
				own = NULL;
			pt_unuse(t, n, &g);
		}
		pthread_mutex_unlock(&t->lock);
		pt_sweep(&g);
	}
	free(own);
}

int pt_replaced(struct pt_nodes *t, struct pt_ref *r, const struct statx *sx)
{
	struct pt_garbage g = {0};
	struct pt_node *n = r->node;
	struct pt_identity f;
	int e = -EBUSY;

	pthread_mutex_lock(&t->lock);
	if (n->users == 1)
		e = pt_identity(t, sx, &f);
	if (e == 0) {
		pt_take_fds(t, n, &g);
		pt_refile(t, n, &f);
		n->mode = 0;
		n->meta_sure = false;
		r->fd = -1;
	}
	pthread_mutex_unlock(&t->lock);
	pt_sweep(&g);
	return e;
}

void pt_drop_writer(struct pt_nodes *t, struct pt_node *n)
{
	LOCK_SCOPE(&t->lock);
	n->drop_writer = true; /* by the last user; the caller is one */
}
