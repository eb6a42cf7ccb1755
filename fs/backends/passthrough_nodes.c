// SPDX-License-Identifier: Apache-2.0
// The nodes of a passthrough: which host file each id means, and how to get at it.
#include "fs/backends/passthrough_nodes.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

#define FIRST_BUCKETS 64

/* What makes a host file itself. An inode number is used again, its birth time is not. */
struct identity {
	uint64_t dev, ino;
	int64_t birth_sec; /* 0 where the file system keeps none */
	uint32_t birth_nsec, type;
};

struct pt_node {
	uint64_t id;
	struct identity file;
	struct pt_node *parent; /* holds it: counted in its children */
	char *name;		/* NULL: has no place */
	int fd;
	bool orphan; /* its descriptor is all there is: never closed while the node lives */
	uint64_t lookups;
	uint32_t users, children;
	struct pt_node *next_by_id, *next_by_file;
	struct pt_node *newer, *older; /* idle list: users 0, descriptor, not an orphan */
};

/* ---- looking at files */

int pt_openat(int dirfd, const char *name, int flags, mode_t mode)
{
	struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW),
		.mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS |
			   RESOLVE_NO_XDEV};
	long r = syscall(SYS_openat2, dirfd, name, &how, sizeof(how));

	return r < 0 ? -errno : (int)r;
}

int pt_statx(const struct pt_nodes *t, int dirfd, const char *name, struct statx *ret)
{
	if (statx(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH),
		    STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, ret) < 0)
		return -errno;
	return ret->stx_mnt_id == t->mnt_id ? 0 : -EXDEV;
}

static struct identity identity_of(const struct statx *sx)
{
	struct identity id = {.dev = (uint64_t)sx->stx_dev_major << 32 | sx->stx_dev_minor,
		.ino = sx->stx_ino,
		.type = sx->stx_mode & S_IFMT};

	if (sx->stx_mask & STATX_BTIME) {
		id.birth_sec = sx->stx_btime.tv_sec;
		id.birth_nsec = sx->stx_btime.tv_nsec;
	}
	return id;
}

static bool same(const struct identity *a, const struct identity *b)
{
	return a->ino == b->ino && a->dev == b->dev && a->birth_sec == b->birth_sec &&
	       a->birth_nsec == b->birth_nsec && a->type == b->type;
}

/* ---- the tables; t->lock is held */

static struct pt_node **id_bucket(const struct pt_nodes *t, uint64_t id)
{
	return &t->by_id[id & (t->buckets - 1)];
}

static struct pt_node **file_bucket(const struct pt_nodes *t, const struct identity *f)
{
	uint64_t h = (f->ino ^ f->dev << 20) * 0x9e3779b97f4a7c15ULL;

	return &t->by_file[(h >> 32) & (t->buckets - 1)];
}

static struct pt_node *find_id(const struct pt_nodes *t, uint64_t id)
{
	struct pt_node *n = *id_bucket(t, id);

	while (n && n->id != id)
		n = n->next_by_id;
	return n;
}

static struct pt_node *find_file(const struct pt_nodes *t, const struct statx *sx)
{
	const struct identity f = identity_of(sx);
	struct pt_node *n = *file_bucket(t, &f);

	while (n && !same(&n->file, &f))
		n = n->next_by_file;
	return n;
}

static void link_node(struct pt_nodes *t, struct pt_node *n)
{
	struct pt_node **i = id_bucket(t, n->id), **f = file_bucket(t, &n->file);

	n->next_by_id = *i;
	*i = n;
	n->next_by_file = *f;
	*f = n;
}

static void unlink_node(struct pt_nodes *t, struct pt_node *n)
{
	struct pt_node **p = id_bucket(t, n->id);

	while (*p != n)
		p = &(*p)->next_by_id;
	*p = n->next_by_id;
	p = file_bucket(t, &n->file);
	while (*p != n)
		p = &(*p)->next_by_file;
	*p = n->next_by_file;
}

/* Doubles both tables. Where memory is short the old ones go on, with longer chains. */
static int grow(struct pt_nodes *t, size_t buckets)
{
	struct pt_nodes n = {.buckets = buckets,
		.by_id = calloc(buckets, sizeof(*n.by_id)),
		.by_file = calloc(buckets, sizeof(*n.by_file))};

	if (!n.by_id || !n.by_file) {
		free(n.by_id);
		free(n.by_file);
		return -ENOMEM;
	}
	for (size_t i = 0; i < t->buckets; i++)
		for (struct pt_node *m = t->by_id[i], *next; m; m = next) {
			next = m->next_by_id;
			link_node(&n, m);
		}
	free(t->by_id);
	free(t->by_file);
	t->by_id = n.by_id;
	t->by_file = n.by_file;
	t->buckets = buckets;
	return 0;
}

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
	return n->users == 0 && n->fd >= 0 && !n->orphan && n->id != FSB_ROOT;
}

static void use(struct pt_nodes *t, struct pt_node *n)
{
	if (may_idle(n))
		idle_remove(t, n);
	n->users++;
}

static void unuse(struct pt_nodes *t, struct pt_node *n)
{
	n->users--;
	if (may_idle(n))
		idle_add(t, n);
}

/* What has to be closed and freed once the lock is gone. */
struct garbage {
	struct pt_node *nodes; /* chained by next_by_id */
	int fd;		       /* one descriptor too many */
};

static void sweep(struct garbage *g)
{
	cleanup_close_(&g->fd);
	for (struct pt_node *n = g->nodes, *next; n; n = next) {
		next = n->next_by_id;
		cleanup_close_(&n->fd);
		free(n->name);
		free(n);
	}
}

/* Removes @n where nothing needs it any more, and then perhaps its parent, and so on. */
static void drop_unused(struct pt_nodes *t, struct pt_node *n, struct garbage *g)
{
	while (n && !n->lookups && !n->users && !n->children && n->id != FSB_ROOT) {
		struct pt_node *parent = n->parent;

		if (may_idle(n))
			idle_remove(t, n);
		unlink_node(t, n);
		t->live--;
		t->fds -= n->fd >= 0;
		t->orphans -= n->orphan;
		n->next_by_id = g->nodes;
		g->nodes = n;
		if (parent)
			parent->children--;
		n = parent;
	}
}

/* Gives @n, in use, its descriptor; the one least used lately goes where there are too many. */
static void give_fd(struct pt_nodes *t, struct pt_node *n, int fd, struct garbage *g)
{
	struct pt_node *old = t->oldest;

	if (n->fd >= 0) { /* another thread was faster */
		g->fd = fd;
		return;
	}
	n->fd = fd;
	if (++t->fds <= FSD_MAX_BACKEND_FDS || !old)
		return;
	idle_remove(t, old);
	g->fd = old->fd;
	old->fd = -1;
	t->fds--;
}

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

/* @n, in use, is found as @name in @parent from now on. Takes @name where it returns true. */
static bool set_place(struct pt_nodes *t, struct pt_node *n, struct pt_node *parent, char *name,
	struct garbage *g)
{
	struct pt_node *old = n->parent;

	/* Directories that were moved on the host while nobody looked can seem to lie in each
	 * other: the old place is then as good as the new one. */
	if (n->id == FSB_ROOT || is_above(n, parent))
		return false;
	not_orphan(t, n);
	parent->children++;
	n->parent = parent;
	free(n->name);
	n->name = name;
	if (old) {
		old->children--;
		drop_unused(t, old, g);
	}
	return true;
}

static bool is_place(const struct pt_node *n, const struct pt_node *parent, const char *name)
{
	return n->parent == parent && n->name && !strcmp(n->name, name);
}

/* ---- public */

int pt_nodes_init(struct pt_nodes *t, int root_fd)
{
	struct pt_node *root;
	struct statx sx;

	*t = (struct pt_nodes){.next_id = FSB_ROOT + 1, .fds = 1, .live = 1};
	pthread_mutex_init(&t->lock, NULL);
	root = calloc(1, sizeof(*root));
	if (!root || grow(t, FIRST_BUCKETS) < 0) {
		free(root);
		close(root_fd);
		return -ENOMEM;
	}
	root->id = FSB_ROOT;
	root->fd = root_fd;
	if (statx(root_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, &sx) <
		0) {
		int r = -errno;

		link_node(t, root);
		return r;
	}
	t->mnt_id = sx.stx_mnt_id;
	root->file = identity_of(&sx);
	link_node(t, root);
	return S_ISDIR(sx.stx_mode) ? 0 : -ENOTDIR;
}

void pt_nodes_done(struct pt_nodes *t)
{
	struct garbage g = {.fd = -1};

	for (size_t i = 0; i < t->buckets; i++)
		for (struct pt_node *n = t->by_id[i], *next; n; n = next) {
			next = n->next_by_id;
			n->next_by_id = g.nodes;
			g.nodes = n;
		}
	sweep(&g);
	free(t->by_id);
	free(t->by_file);
	t->by_id = t->by_file = NULL;
	t->buckets = 0;
	pthread_mutex_destroy(&t->lock);
}

/* Finds the file of @n, a node without a descriptor, in @dirfd. */
static int find_again(struct pt_nodes *t, const struct pt_node *n, int dirfd, const char *name)
{
	_cleanup_close_ int fd = pt_openat(dirfd, name, O_PATH, 0);
	struct identity f;
	struct statx sx;

	if (fd < 0)
		return fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM ? fd : -ESTALE;
	if (pt_statx(t, fd, "", &sx) < 0)
		return -ESTALE;
	f = identity_of(&sx);
	return same(&f, &n->file) ? steal_fd(&fd) : -ESTALE;
}

/* Opens the topmost of the nodes above @target, or itself, that has no descriptor.
 * 1: @target has one; 0: a step was made; -errno. */
static int open_step(struct pt_nodes *t, struct pt_node *target)
{
	struct garbage g = {.fd = -1};
	struct pt_node *n = target;
	char name[NAME_MAX + 1];
	int fd, depth = 0;

	pthread_mutex_lock(&t->lock);
	if (target->fd >= 0) {
		pthread_mutex_unlock(&t->lock);
		return 1;
	}
	while (n->parent && n->parent->fd < 0 && depth++ < PT_MAX_DEPTH)
		n = n->parent;
	if (!n->parent || !n->name || n->parent->fd < 0) {
		pthread_mutex_unlock(&t->lock);
		return -ESTALE;
	}
	use(t, n->parent);
	use(t, n);
	struct pt_node *parent = n->parent; /* a rename may change it meanwhile */
	int dirfd = parent->fd;

	memcpy(name, n->name, strlen(n->name) + 1);
	pthread_mutex_unlock(&t->lock);

	fd = find_again(t, n, dirfd, name);

	pthread_mutex_lock(&t->lock);
	if (fd >= 0)
		give_fd(t, n, fd, &g);
	unuse(t, n);
	drop_unused(t, n, &g); /* the parent is still in use: it stops there */
	unuse(t, parent);
	drop_unused(t, parent, &g);
	pthread_mutex_unlock(&t->lock);
	sweep(&g);
	return fd < 0 ? fd : 0;
}

int pt_get(struct pt_nodes *t, uint64_t id, struct pt_ref *ret)
{
	struct pt_node *n;
	int r = 0;

	pthread_mutex_lock(&t->lock);
	n = find_id(t, id);
	if (n) {
		use(t, n);
		r = n->fd >= 0;
	}
	pthread_mutex_unlock(&t->lock);
	if (!n)
		return -ESTALE;
	/* Steps can be undone by others that need descriptors too, but not for ever. */
	for (int i = 0; r == 0 && i < 2 * PT_MAX_DEPTH; i++)
		r = open_step(t, n);
	*ret = (struct pt_ref){n, n->fd}; /* in use, so it stays what it is */
	if (r == 1)
		return 0;
	pt_put(t, ret);
	return r < 0 ? r : -ESTALE;
}

void pt_put(struct pt_nodes *t, struct pt_ref *r)
{
	struct garbage g = {.fd = -1};

	pthread_mutex_lock(&t->lock);
	unuse(t, r->node);
	drop_unused(t, r->node, &g);
	pthread_mutex_unlock(&t->lock);
	sweep(&g);
	r->node = NULL;
}

uint32_t pt_type(const struct pt_ref *r)
{
	return r->node->file.type;
}

int pt_enter(struct pt_nodes *t, const struct pt_ref *parent, const char *name,
	const struct statx *sx, int fd, uint64_t *ret_id)
{
	struct garbage g = {.fd = fd};
	struct pt_node *n = calloc(1, sizeof(*n)), *spare = n;
	char *own = name ? strdup(name) : NULL;
	int r = 0;

	pthread_mutex_lock(&t->lock);
	n = find_file(t, sx);
	if (!n && t->live >= FSD_MAX_NODES) {
		r = -ENFILE;
	} else if (!spare || (name && !own)) {
		r = -ENOMEM;
	} else if (!n) {
		n = steal_ptr(spare);
		*n = (struct pt_node){.id = t->next_id++, .file = identity_of(sx), .fd = -1};
		if (t->live >= t->buckets)
			(void)grow(t, t->buckets * 2); /* long chains will do */
		link_node(t, n);
		t->live++;
	}
	if (r == 0) {
		use(t, n);
		n->lookups++;
		if (!name && n->fd < 0) {
			give_fd(t, n, fd, &g);
			if (g.fd == fd)
				g.fd = -1;
			n->orphan = true;
			t->orphans++;
		} else if (name && is_place(n, parent->node, name)) {
			not_orphan(t, n);
		} else if (name && set_place(t, n, parent->node, own, &g)) {
			own = NULL;
		}
		unuse(t, n);
		*ret_id = n->id;
	}
	pthread_mutex_unlock(&t->lock);
	sweep(&g);
	free(own);
	free(spare);
	return r;
}

void pt_forget(struct pt_nodes *t, uint64_t id, uint64_t count)
{
	struct garbage g = {.fd = -1};
	struct pt_node *n;

	pthread_mutex_lock(&t->lock);
	n = find_id(t, id);
	if (n) {
		n->lookups -= count < n->lookups ? count : n->lookups;
		drop_unused(t, n, &g);
	}
	pthread_mutex_unlock(&t->lock);
	sweep(&g);
}

void pt_hold(struct pt_nodes *t, const struct pt_ref *parent, const char *name)
{
	struct garbage g = {.fd = pt_openat(parent->fd, name, O_PATH, 0)};
	struct pt_node *n;
	struct statx sx;

	if (g.fd < 0 || pt_statx(t, g.fd, "", &sx) < 0) {
		g.fd = g.fd < 0 ? -1 : g.fd;
		sweep(&g);
		return;
	}
	pthread_mutex_lock(&t->lock);
	n = find_file(t, &sx);
	/* Under another name it will be found again. */
	if (n && !n->orphan && is_place(n, parent->node, name) && t->orphans < PT_MAX_ORPHANS) {
		int fd = g.fd;

		use(t, n);
		g.fd = -1;
		give_fd(t, n, fd, &g);
		n->orphan = true;
		t->orphans++;
		unuse(t, n);
	}
	pthread_mutex_unlock(&t->lock);
	sweep(&g);
}

void pt_moved(struct pt_nodes *t, const struct pt_ref *parent, const char *name)
{
	struct garbage g = {.fd = -1};
	char *own = strdup(name);
	struct pt_node *n;
	struct statx sx;

	if (own && pt_statx(t, parent->fd, name, &sx) == 0) {
		pthread_mutex_lock(&t->lock);
		n = find_file(t, &sx);
		if (n) {
			use(t, n);
			if (is_place(n, parent->node, name))
				not_orphan(t, n);
			else if (set_place(t, n, parent->node, own, &g))
				own = NULL;
			unuse(t, n);
		}
		pthread_mutex_unlock(&t->lock);
		sweep(&g);
	}
	free(own);
}
