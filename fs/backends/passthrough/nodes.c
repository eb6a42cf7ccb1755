// SPDX-License-Identifier: Apache-2.0
// passthrough: nodes in use, and the descriptors that they keep.
#include "fs/backends/passthrough/nodes.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define FIRST_BUCKETS 64

/* Descriptors of all shares of the process. */
static _Atomic uint32_t fds_of_process;

static void idle_remove(struct pt_nodes *t, struct pt_node *n)
{
	*(n->newer ? &n->newer->older : &t->newest) = n->older;
	*(n->older ? &n->older->newer : &t->oldest) = n->newer;
	n->newer = n->older = NULL;
}

static void idle_add(struct pt_nodes *t, struct pt_node *n)
{
	n->older = t->newest;
	if (t->newest)
		t->newest->newer = n;
	t->newest = n;
	if (!t->oldest)
		t->oldest = n;
}

static bool may_idle(const struct pt_node *n)
{
	return n->users == 0 && !n->orphan && n->id != FSB_ROOT &&
	       (n->fd[PT_PATH] >= 0 || n->fd[PT_READ] >= 0 || n->fd[PT_WRITE] >= 0);
}

static void take_fd(struct pt_nodes *t, struct pt_node *n, enum pt_fd kind, struct pt_garbage *g)
{
	if (n->fd[kind] < 0)
		return;
	if (kind == PT_WRITE)
		pt_writer_gone(t, n);
	g->fd[g->fds++] = n->fd[kind];
	n->fd[kind] = -1;
	atomic_fetch_sub_explicit(&fds_of_process, 1, memory_order_relaxed);
}

void pt_take_writer(struct pt_nodes *t, struct pt_node *n, struct pt_garbage *g)
{
	if (n->orphan && n->fd[PT_READ] < 0 && n->fd[PT_PATH] < 0) {
		pt_writer_gone(t, n); /* all there is of it; nobody can run it either */
		return;
	}
	if (may_idle(n))
		idle_remove(t, n);
	take_fd(t, n, PT_WRITE, g);
	if (may_idle(n))
		idle_add(t, n);
}

void pt_take_fds(struct pt_nodes *t, struct pt_node *n, struct pt_garbage *g)
{
	for (enum pt_fd k = 0; k < PT_FDS; k++)
		take_fd(t, n, k, g);
	g->dir = n->dir;
	n->dir = NULL;
}

void pt_use(struct pt_nodes *t, struct pt_node *n)
{
	if (may_idle(n))
		idle_remove(t, n);
	n->users++;
}

/* Removes @n where nothing needs it any more, and then perhaps its parent, and so on. */
void pt_drop_unused(struct pt_nodes *t, struct pt_node *n, struct pt_garbage *g)
{
	while (n && !n->lookups && !n->users && !n->children && n->id != FSB_ROOT) {
		struct pt_node *parent = n->parent;

		if (may_idle(n))
			idle_remove(t, n);
		pt_writer_gone(t, n);
		pt_unlink_node(t, n);
		t->live--;
		t->orphans -= n->orphan;
		if (n->file.dev != PT_DEV_ANY)
			t->device[n->file.dev].nodes--;
		n->next_by_id = g->nodes;
		g->nodes = n;
		if (parent)
			parent->children--;
		n = parent;
	}
}

void pt_unuse(struct pt_nodes *t, struct pt_node *n, struct pt_garbage *g)
{
	if (--n->users)
		return;
	if (may_idle(n))
		idle_add(t, n);
	if (n->drop_writer) {
		n->drop_writer = false;
		pt_take_writer(t, n, g);
	}
	pt_drop_unused(t, n, g);
}

void pt_sweep(struct pt_garbage *g)
{
	for (unsigned int i = 0; i < g->fds; i++)
		close(g->fd[i]);
	(void)pt_dir_free(g->dir);
	for (struct pt_node *n = g->nodes, *next; n; n = next) {
		next = n->next_by_id;
		for (enum pt_fd k = 0; k < PT_FDS; k++)
			if (n->fd[k] >= 0) {
				close(n->fd[k]);
				atomic_fetch_sub_explicit(&fds_of_process, 1, memory_order_relaxed);
			}
		(void)pt_dir_free(n->dir);
		free(n->name);
		free(n);
	}
	*g = (struct pt_garbage){0};
}

void pt_give_fd(
	struct pt_nodes *t, struct pt_node *n, enum pt_fd kind, int fd, struct pt_garbage *g)
{
	struct pt_node *old = t->oldest;

	if (n->fd[kind] >= 0) { /* another thread was faster */
		g->fd[g->fds++] = fd;
		return;
	}
	n->fd[kind] = fd;
	if (kind == PT_WRITE)
		pt_wrote(t, n);
	if (atomic_fetch_add_explicit(&fds_of_process, 1, memory_order_relaxed) <
			FSD_MAX_BACKEND_FDS ||
		!old)
		return;
	idle_remove(t, old);
	pt_take_fds(t, old, g);
}

void pt_evict(struct pt_nodes *t, unsigned int n)
{
	while (n--) {
		struct pt_garbage g = {0};
		struct pt_node *old;

		pthread_mutex_lock(&t->lock);
		old = t->oldest;
		if (old) {
			idle_remove(t, old);
			pt_take_fds(t, old, &g);
		}
		pthread_mutex_unlock(&t->lock);
		pt_sweep(&g);
		if (!old)
			break;
	}
}

/* ---- public */

int pt_nodes_init(struct pt_nodes *t, int root_fd, bool submounts)
{
	pthread_condattr_t monotonic;
	struct pt_node *root;
	struct timespec now;
	struct statx sx;

	/* No two servers begin at the same nanosecond. */
	clock_gettime(CLOCK_REALTIME, &now);
	*t = (struct pt_nodes){.own_generation = (uint32_t)(now.tv_sec * 1000000000 + now.tv_nsec),
		.live = 1,
		.submounts = submounts};
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->moved, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&t->work, &monotonic);
	pthread_condattr_destroy(&monotonic);
	root = calloc(1, sizeof(*root));
	if (!root || pt_grow(t, FIRST_BUCKETS) < 0) {
		free(root);
		close(root_fd);
		return -ENOMEM;
	}
	root->id = FSB_ROOT;
	root->fd[PT_READ] = root->fd[PT_WRITE] = -1;
	root->fd[PT_PATH] = root_fd;
	atomic_fetch_add_explicit(&fds_of_process, 1, memory_order_relaxed);
	if (statx(root_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, &sx) <
		0) {
		int r = -errno;

		pt_link_node(t, root);
		return r;
	}
	t->device[0] = (struct pt_device){.mnt = sx.stx_mnt_id, .dev = pt_dev_of(&sx), .nodes = 1};
	(void)pt_identity(t, &sx, &root->file); /* of the first there is room */
	root->mode = sx.stx_mode;
	pt_link_node(t, root);
	return S_ISDIR(sx.stx_mode) ? 0 : -ENOTDIR;
}

void pt_nodes_done(struct pt_nodes *t)
{
	struct pt_garbage g = {0};

	pt_closer_stop(t);
	for (size_t i = 0; i < t->buckets; i++)
		for (struct pt_node *n = t->by_id[i], *next; n; n = next) {
			next = n->next_by_id;
			n->next_by_id = g.nodes;
			g.nodes = n;
		}
	pt_sweep(&g);
	free(t->by_id);
	free(t->by_file);
	free(t->by_place);
	t->by_id = t->by_file = t->by_place = NULL;
	t->buckets = 0;
	pthread_cond_destroy(&t->work);
	pthread_cond_destroy(&t->moved);
	pthread_mutex_destroy(&t->lock);
}

static uint8_t to_kill(const struct pt_node *n)
{
	bool host = !n->mode || (n->mode & S_ISUID) ||
		    (n->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);

	return (uint8_t)((host ? PT_KILL_HOST : 0) | (n->meta.set & 06000 ? PT_KILL_GUEST : 0) |
			 (n->no_caps ? 0 : PT_KILL_CAPS));
}

int pt_get(struct pt_nodes *t, uint64_t id, enum pt_fd need, struct pt_ref *ret)
{
	struct pt_node *n;
	int r = 0;

	pthread_mutex_lock(&t->lock);
	n = pt_find_id(t, id);
	if (n && !n->gone) {
		pt_use(t, n);
		*ret = (struct pt_ref){n, pt_pick(n, need == PT_NODE ? PT_PATH : need), false,
			to_kill(n), n->mode};
		if (need == PT_WRITE && ret->fd >= 0)
			pt_wrote(t, n);
	} else {
		r = -ESTALE;
	}
	pthread_mutex_unlock(&t->lock);
	if (r < 0 || ret->fd >= 0 || need == PT_NODE)
		return r;
	r = pt_reach(t, ret, need);
	if (r < 0)
		pt_put(t, ret);
	return r;
}

int pt_need(struct pt_nodes *t, struct pt_ref *r, enum pt_fd need)
{
	int fd;

	if (r->own)
		return 0;
	pthread_mutex_lock(&t->lock);
	fd = pt_pick(r->node, need);
	pthread_mutex_unlock(&t->lock);
	if (fd < 0)
		return pt_reach(t, r, need);
	r->fd = fd;
	return 0;
}

void pt_put(struct pt_nodes *t, struct pt_ref *r)
{
	struct pt_garbage g = {0};

	if (!r->node)
		return;
	if (r->own)
		g.fd[g.fds++] = r->fd;
	pthread_mutex_lock(&t->lock);
	pt_unuse(t, r->node, &g);
	pthread_mutex_unlock(&t->lock);
	pt_sweep(&g);
	*r = (struct pt_ref){.fd = -1};
}
