// SPDX-License-Identifier: Apache-2.0
// passthrough: finding a node's file again, and closing what was opened for writing.
#include "fs/backends/passthrough/nodes.h"
#include "base/cleanup.h"
#include "fs/reopen.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <time.h>

#define EVICT_BATCH 64

/* ---- one node's file */

/* A place that was copied while the lock was held. Both nodes are in use. */
struct place {
	struct pt_node *parent;
	int dirfd; /* -1: the parent has none either */
	uint64_t moves;
	char name[NAME_MAX + 1];
};

/* With the lock: -ESTALE where @n has no place. */
static int copy_place(struct pt_nodes *t, const struct pt_node *n, struct place *ret)
{
	if (!n->name || !n->parent || n->orphan)
		return -ESTALE;
	ret->parent = n->parent;
	ret->dirfd = pt_pick(n->parent, PT_PATH);
	ret->moves = n->moves;
	memcpy(ret->name, n->name, strlen(n->name) + 1);
	pt_use(t, n->parent);
	return 0;
}

static void drop_parent(struct pt_nodes *t, struct pt_node *parent)
{
	struct pt_garbage g = {0};

	pthread_mutex_lock(&t->lock);
	pt_unuse(t, parent, &g);
	pthread_mutex_unlock(&t->lock);
	pt_sweep(&g);
}

/* @n was not in the place that @p says. True: look again, it moves; false: it is really gone. */
static bool look_again(struct pt_nodes *t, const struct pt_node *n, const struct place *p)
{
	LOCK_SCOPE(&t->lock);
	if (pt_pick(n, PT_PATH) >= 0 || n->unsure || n->moves != p->moves)
		return true;
	if (!n->moving)
		return false;
	t->waiting++;
	pthread_cond_wait(&t->moved, &t->lock);
	t->waiting--;
	return true;
}

/* Whether what was just looked at is @n's file; a loaded node learns its file system by it. */
static bool is_file_of(struct pt_nodes *t, struct pt_node *n, const struct statx *sx)
{
	struct pt_identity f;

	LOCK_SCOPE(&t->lock);
	if (pt_identity(t, sx, &f) < 0 || !pt_same(&n->file, &f))
		return false;
	if (n->file.dev == PT_DEV_ANY)
		pt_settle(t, n, &f);
	return true;
}

static bool out_of_fds(int r)
{
	return r == -EMFILE || r == -ENFILE;
}

static int reopen_fd(struct pt_nodes *t, int fd, int flags)
{
	int r = fs_reopen(fd, flags);

	if (!out_of_fds(r))
		return r;
	pt_evict(t, EVICT_BATCH);
	return fs_reopen(fd, flags);
}

static int flags_of(const struct pt_node *n, enum pt_fd need)
{
	if (S_ISDIR(n->file.type))
		return O_RDONLY | O_DIRECTORY;
	return need == PT_WRITE ? O_RDWR : O_RDONLY;
}

/* A descriptor of @n by its place, in @p->dirfd: of directories one that reads where that is
 * permitted, of the rest O_PATH, since opening other things than files does something. */
static int open_place(
	struct pt_nodes *t, struct pt_node *n, const struct place *p, enum pt_fd *ret_kind)
{
	_cleanup_close_ int fd = -1;
	struct statx sx;

	*ret_kind = PT_PATH;
	if (S_ISDIR(n->file.type)) {
		fd = pt_reader(t, pt_openat(t, p->dirfd, p->name, O_RDONLY | O_DIRECTORY, 0));
		if (fd >= 0)
			*ret_kind = PT_READ;
	}
	if (fd < 0)
		fd = pt_openat(t, p->dirfd, p->name, O_PATH, 0);
	if (fd < 0)
		return out_of_fds(fd) || fd == -ENOMEM || fd == -EACCES ? fd : -ESTALE;
	if (pt_statx(t, fd, "", &sx) < 0 || !is_file_of(t, n, &sx))
		return -ESTALE;
	return steal_fd(&fd);
}

static void give(struct pt_nodes *t, struct pt_node *n, enum pt_fd kind, int fd)
{
	struct pt_garbage g = {0};

	pthread_mutex_lock(&t->lock);
	pt_give_fd(t, n, kind, fd, &g);
	pthread_mutex_unlock(&t->lock);
	pt_sweep(&g);
}

/* A descriptor that was taken in a hurry: is it the node's file? */
static int make_sure(struct pt_nodes *t, struct pt_node *n)
{
	struct statx sx;
	bool right = pt_statx(t, n->fd[PT_PATH], "", &sx) == 0 && is_file_of(t, n, &sx);

	LOCK_SCOPE(&t->lock);
	n->unsure = false;
	n->gone |= !right;
	return right ? 0 : -ESTALE;
}

/* Gets the topmost node above @n, or itself, that has no descriptor one. 1: @n has one already. */
static int step(struct pt_nodes *t, struct pt_node *n)
{
	struct pt_garbage g = {0};
	struct pt_node *top = n;
	struct place p;
	enum pt_fd kind;
	int fd, r, depth = 0;
	bool unsure;

	pthread_mutex_lock(&t->lock);
	if (pt_pick(n, PT_PATH) >= 0) {
		pthread_mutex_unlock(&t->lock);
		return 1;
	}
	while (!top->unsure && top->parent && pt_pick(top->parent, PT_PATH) < 0 &&
		depth++ < PT_MAX_DEPTH)
		top = top->parent;
	unsure = top->unsure;
	r = top->gone ? -ESTALE : unsure ? 0 : copy_place(t, top, &p);
	if (r == 0)
		pt_use(t, top);
	pthread_mutex_unlock(&t->lock);
	if (r < 0)
		return r;
	if (unsure) {
		r = make_sure(t, top);
	} else {
		fd = p.dirfd < 0 ? -ESTALE : open_place(t, top, &p, &kind);
		if (fd >= 0)
			give(t, top, kind, fd);
		r = fd == -ESTALE && look_again(t, top, &p) ? 0 : fd < 0 ? fd : 0;
		drop_parent(t, p.parent);
	}
	pthread_mutex_lock(&t->lock);
	pt_unuse(t, top, &g);
	pthread_mutex_unlock(&t->lock);
	pt_sweep(&g);
	return r;
}

/* With any descriptor of @r->node in @r->fd, gets one that does more. */
static int upgrade(struct pt_nodes *t, struct pt_ref *r, enum pt_fd need)
{
	struct pt_garbage g = {0};
	struct pt_node *n = r->node;
	int fd;

	if (!S_ISREG(n->file.type) && !S_ISDIR(n->file.type))
		return -ENXIO;
	if (S_ISDIR(n->file.type) && need == PT_WRITE)
		return -EISDIR;
	fd = pt_reader(t, reopen_fd(t, r->fd, flags_of(n, need)));
	if (fd < 0)
		return fd;
	pthread_mutex_lock(&t->lock);
	/* What the host may want to run is open for writing no longer than this op. */
	r->own = need == PT_WRITE && (!n->mode || (n->mode & 0111));
	if (!r->own) {
		pt_give_fd(t, n, need, fd, &g);
		fd = n->fd[need]; /* perhaps another thread's, which was faster */
	}
	pthread_mutex_unlock(&t->lock);
	pt_sweep(&g);
	r->fd = fd;
	return 0;
}

int pt_reach(struct pt_nodes *t, struct pt_ref *ref, enum pt_fd need)
{
	struct pt_node *n = ref->node;
	int r = 0;

	/* Steps can be undone by others that need descriptors too, but not for ever. */
	for (int i = 0; r == 0 && i < 2 * PT_MAX_DEPTH; i++)
		r = step(t, n);
	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	pthread_mutex_lock(&t->lock);
	ref->fd = pt_pick(n, need);
	r = ref->fd >= 0;
	if (!r)
		ref->fd = pt_pick(n, PT_PATH); /* in use, so it stays */
	pthread_mutex_unlock(&t->lock);
	return r ? 0 : upgrade(t, ref, need);
}

int pt_look(struct pt_nodes *t, const struct pt_ref *ref, struct statx *ret)
{
	struct pt_ref copy = *ref;
	struct place p;

	for (int i = 0; copy.fd < 0 && i < PT_MAX_DEPTH; i++) {
		bool found, again;
		int r;

		pthread_mutex_lock(&t->lock);
		copy.fd = pt_pick(ref->node, PT_PATH);
		r = copy.fd >= 0 ? -EALREADY : copy_place(t, ref->node, &p);
		again = ref->node->looked;
		ref->node->looked = true;
		pthread_mutex_unlock(&t->lock);
		if (r == -EALREADY)
			break;
		/* Whoever looks twice will look more often, and a descriptor makes that cheaper. */
		if (r < 0 || p.dirfd < 0 || again) {
			if (r == 0)
				drop_parent(t, p.parent);
			r = pt_reach(t, &copy, PT_PATH);
			if (r < 0)
				return r;
			break;
		}
		r = pt_statx(t, p.dirfd, p.name, ret);
		found = r == 0 && is_file_of(t, ref->node, ret);
		drop_parent(t, p.parent);
		if (found)
			return 0;
		if (!look_again(t, ref->node, &p))
			return r == -EACCES ? r : -ESTALE;
	}
	return copy.fd < 0 ? -ESTALE : pt_statx(t, copy.fd, "", ret);
}

/* ---- descriptors for writing */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void pt_writer_gone(struct pt_nodes *t, struct pt_node *n)
{
	if (!n->wrote_ms)
		return;
	*(n->wrote_later ? &n->wrote_later->wrote_earlier : &t->wrote_last) = n->wrote_earlier;
	*(n->wrote_earlier ? &n->wrote_earlier->wrote_later : &t->wrote_first) = n->wrote_later;
	n->wrote_later = n->wrote_earlier = NULL;
	n->wrote_ms = 0;
}

/* The oldest writer's descriptor, where it has been idle for long enough; else how long to wait. */
static bool close_oldest(struct pt_nodes *t, struct pt_garbage *g, uint64_t *ret_wait_ms)
{
	struct pt_node *n = t->wrote_first;
	uint64_t now = now_ms();

	if (n->wrote_ms + PT_WRITER_IDLE_MS > now) {
		*ret_wait_ms = n->wrote_ms + PT_WRITER_IDLE_MS - now;
		return false;
	}
	if (n->users) {
		pt_wrote(t, n); /* it is being written */
		return true;
	}
	pt_take_writer(t, n, g);
	return true;
}

static void *closer_main(void *arg)
{
	struct pt_nodes *t = arg;

	pthread_mutex_lock(&t->lock);
	while (!t->stopping) {
		struct pt_garbage g = {0};
		struct timespec until;
		uint64_t ms;

		if (!t->wrote_first) {
			pthread_cond_wait(&t->work, &t->lock);
		} else if (close_oldest(t, &g, &ms)) {
			pthread_mutex_unlock(&t->lock);
			pt_sweep(&g);
			pthread_mutex_lock(&t->lock);
		} else {
			clock_gettime(CLOCK_MONOTONIC, &until);
			until.tv_nsec += (long)ms * 1000000;
			until.tv_sec += until.tv_nsec / 1000000000;
			until.tv_nsec %= 1000000000;
			(void)pthread_cond_timedwait(&t->work, &t->lock, &until);
		}
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

void pt_wrote(struct pt_nodes *t, struct pt_node *n)
{
	if (!t->wrote_last && t->closer_runs)
		pthread_cond_signal(&t->work);
	if (n == t->wrote_last) {
		n->wrote_ms = now_ms();
		return;
	}
	pt_writer_gone(t, n);
	n->wrote_ms = now_ms();
	n->wrote_earlier = t->wrote_last;
	if (t->wrote_last)
		t->wrote_last->wrote_later = n;
	t->wrote_last = n;
	if (!t->wrote_first)
		t->wrote_first = n;
	/* Without the thread they are closed as all others are. */
	if (!t->closer_runs && !t->stopping)
		t->closer_runs = pthread_create(&t->closer, NULL, closer_main, t) == 0;
}

void pt_closer_stop(struct pt_nodes *t)
{
	bool runs;

	pthread_mutex_lock(&t->lock);
	t->stopping = true;
	runs = t->closer_runs;
	pthread_cond_signal(&t->work);
	pthread_mutex_unlock(&t->lock);
	if (runs)
		pthread_join(t->closer, NULL);
}
