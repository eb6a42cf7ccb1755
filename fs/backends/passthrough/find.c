// SPDX-License-Identifier: Apache-2.0
/*
 * passthrough: nodes by number alone: file handles, whose number is the node id.
 *
 * A kernel asks for what it has forgotten, and often we have too. The id says which inode it is of
 * which file system; only a listing says where that is, so the share is searched as one who lists
 * it would: beneath its root, through no link, into no mount that is not entered. What is met is
 * looked up by its names, and has to come out under that very id. Whether it still is the file that
 * the handle was made of is told by the generation, which the kernel compares.
 *
 * This takes as long as a listing of all of the share, within one request, which whoever stops the
 * device waits for: so it has an end, after PT_MAX_SEARCH names or PT_MAX_SEARCH_MS. One searches
 * at a time, so that it is one thread. Where something was found the next is looked for first: who
 * asks for files of a directory, as an NFS server whose cache is gone, searches for the first. That
 * something was not found is not remembered: it may be there a moment later.
 */
#include "fs/backends/passthrough/pt.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <time.h>

struct search {
	struct pt *p;
	uint64_t id;
	struct fsb_entry *ret;
	uint32_t left; /* names that may still be looked at */
	uint64_t until_ms;
	struct msb_str todo; /* a stack of directories: each a name, and a struct above */
	bool here;	     /* look at this directory alone */
	size_t n;
	char path[PATH_MAX]; /* of the directory being read, n bytes */
	_Alignas(8) char dirents[PT_DIRENTS_BYTES];
};

struct above {
	uint16_t path_bytes, name_bytes;
};
_Static_assert(PATH_MAX <= UINT16_MAX, "struct above");

enum { FOUND, GO_ON }; /* or -errno */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Enters what @path leads to, and all above it. */
static int enter_path(struct pt *p, const char *path, struct fsb_entry *ret)
{
	struct pt_ref dir, next;
	int r = pt_get(&p->nodes, FSB_ROOT, PT_PATH, &dir);

	while (r == 0) {
		size_t n = strcspn(path, "/");
		char name[NAME_MAX + 1] = "";

		memcpy(name, path, n < sizeof(name) ? n : NAME_MAX);
		r = pt_lookup_in(p, &dir, name, ret);
		if (r == 0 && path[n]) { /* in use, then held by what is below it */
			r = pt_get(&p->nodes, ret->node, PT_PATH, &next);
			pt_forget(&p->nodes, ret->node, 1);
		}
		pt_put(&p->nodes, &dir);
		if (!path[n])
			break;
		dir = next;
		path += n + 1;
	}
	return r;
}

static int meet(struct search *s)
{
	int r = enter_path(s->p, s->path, s->ret);

	if (r < 0)
		return GO_ON; /* it was moved */
	if (s->ret->node == s->id)
		return FOUND;
	pt_forget(&s->p->nodes, s->ret->node, 1);
	/* This file has the number and another id, and so it has by its other names. */
	return s->ret->attr.ino == s->id ? -ESTALE : GO_ON;
}

static bool append(struct search *s, const char *name, size_t n)
{
	size_t slash = s->n > 0;

	if (s->n + slash + n >= sizeof(s->path))
		return false;
	memcpy(s->path + s->n, "/", slash);
	memcpy(s->path + s->n + slash, name, n);
	s->n += slash + n;
	s->path[s->n] = '\0';
	return true;
}

static int push(struct search *s, const char *name, size_t n)
{
	const struct above a = {(uint16_t)s->n, (uint16_t)n};

	if (s->todo.len + n + sizeof(a) > s->p->max_search_bytes)
		return -ESTALE;
	msb_str_add(&s->todo, name, n);
	msb_str_add(&s->todo, &a, sizeof(a));
	return s->todo.oom ? -ENOMEM : GO_ON;
}

/* Makes the last one the directory to be read. False: there is none. */
static bool pop(struct search *s)
{
	struct above a;

	while (s->todo.len) {
		s->todo.len -= sizeof(a);
		memcpy(&a, s->todo.buf + s->todo.len, sizeof(a));
		s->todo.len -= a.name_bytes;
		s->n = a.path_bytes;
		if (append(s, s->todo.buf + s->todo.len, a.name_bytes))
			return true; /* else no path leads there */
	}
	return false;
}

static int see_name(struct search *s, uint32_t dev, const struct dirent64 *d)
{
	size_t above = s->n, n = strlen(d->d_name);
	int r = GO_ON;

	if (s->left-- == 0 || now_ms() >= s->until_ms)
		return -ESTALE;
	if (pt_ino_on(dev, d->d_ino) == s->id && append(s, d->d_name, n))
		r = meet(s);
	s->n = above;
	s->path[above] = '\0';
	if (r == GO_ON && !s->here && (d->d_type == DT_DIR || d->d_type == DT_UNKNOWN))
		r = push(s, d->d_name, n);
	return r;
}

static int search_dir(struct search *s, int fd)
{
	struct pt_nodes *t = &s->p->nodes;
	struct statx sx;
	int dev, r = GO_ON;
	ssize_t n;

	if (pt_statx(t, fd, "", &sx) < 0)
		return GO_ON;
	{
		LOCK_SCOPE(&t->lock);
		dev = pt_device(t, &sx);
	}
	/* A mount's root has another number than its name says. */
	if (dev >= 0 && s->n && pt_ino_on((uint32_t)dev, sx.stx_ino) == s->id)
		r = meet(s);
	if (dev < 0 || (dev && s->id >> PT_INO_BITS == 0)) /* below is nothing of the root's */
		return r;
	while (r == GO_ON && (n = getdents64(fd, s->dirents, sizeof(s->dirents))) > 0)
		for (ssize_t at = 0; at < n && r == GO_ON;) {
			const struct dirent64 *d = (const void *)(s->dirents + at);

			at += d->d_reclen;
			if (!pt_is_dots(d->d_name))
				r = see_name(s, (uint32_t)dev, d);
		}
	return r;
}

static int open_and_search(struct search *s, int root)
{
	struct pt_nodes *t = &s->p->nodes;
	_cleanup_close_ int fd = -1;

	if (now_ms() >= s->until_ms)
		return -ESTALE;
	fd = pt_reader(t, pt_openat(t, root, s->n ? s->path : ".", O_RDONLY | O_DIRECTORY, 0));
	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
		return fd;
	return fd < 0 ? GO_ON : search_dir(s, fd);
}

/* The directory where it was found comes first. */
static void remember(struct search *s)
{
	char **recent = s->p->recent, *path = strdup(s->path);
	size_t i = 0;

	if (!path)
		return;
	while (i < PT_RECENT - 1 && recent[i] && strcmp(recent[i], path) != 0)
		i++;
	free(recent[i]);
	memmove(recent + 1, recent, i * sizeof(*recent));
	recent[0] = path;
}

static int search_recent(struct search *s, int root)
{
	int r = GO_ON;

	s->here = true;
	s->left = s->p->max_search / PT_RECENT;
	for (size_t i = 0; i < PT_RECENT && s->p->recent[i] && r == GO_ON; i++) {
		s->n = 0;
		if (append(s, s->p->recent[i], strlen(s->p->recent[i])))
			r = open_and_search(s, root);
	}
	s->here = false;
	if (r == FOUND)
		return FOUND;
	s->n = 0;
	s->path[0] = '\0';
	return GO_ON;
}

static int search_all(struct search *s, int root)
{
	int r;

	s->left = s->p->max_search;
	do
		r = open_and_search(s, root);
	while (r == GO_ON && pop(s));
	return r;
}

/* With the lock, which was waited for in the time up to @until_ms too. */
static int search(struct pt *p, uint64_t id, uint64_t until_ms, struct fsb_entry *ret)
{
	_cleanup_free_ struct search *s = calloc(1, sizeof(*s));
	struct pt_ref root;
	int r;

	if (!s)
		return -ENOMEM;
	s->p = p;
	s->id = id;
	s->ret = ret;
	s->until_ms = until_ms;
	r = pt_get(&p->nodes, FSB_ROOT, PT_PATH, &root);
	if (r < 0)
		return r;
	r = search_recent(s, root.fd);
	if (r == GO_ON)
		r = search_all(s, root.fd);
	if (r == FOUND)
		remember(s);
	pt_put(&p->nodes, &root);
	msb_str_done(&s->todo);
	return r == GO_ON ? -ESTALE : r;
}

static int known(struct pt *p, uint64_t id, struct fsb_entry *ret)
{
	struct pt_ref f;
	int r = pt_get(&p->nodes, id, PT_NODE, &f);

	if (r < 0)
		return r;
	r = pt_attr_of(p, &f, &ret->attr);
	if (r == 0)
		pt_enter_again(&p->nodes, &f, ret);
	pt_put(&p->nodes, &f);
	return r;
}

static int by_id(struct pt *p, uint64_t id, struct fsb_entry *ret)
{
	uint64_t until = now_ms() + p->max_search_ms;
	int r = known(p, id, ret);

	if (r != -ESTALE || id >= PT_OWN_IDS)
		return r;
	LOCK_SCOPE(&p->search);
	r = known(p, id, ret); /* whoever searched meanwhile may have met it */
	return r == -ESTALE ? search(p, id, until, ret) : r;
}

/* Whether the node is where it was seen last: one with a descriptor is used wherever it went. */
static bool in_place(struct pt *p, uint64_t id)
{
	struct pt_nodes *t = &p->nodes;
	char name[NAME_MAX + 1];
	struct pt_identity file;
	struct pt_ref f, dir;
	struct statx sx;
	bool is = false;

	if (pt_get(t, id, PT_NODE, &f) < 0)
		return false;
	if (pt_place_of(p, &f, &dir, name) == 0) {
		if (pt_statx(t, dir.fd, name, &sx) == 0) {
			LOCK_SCOPE(&t->lock);
			is = pt_identity(t, &sx, &file) == 0 && pt_same(&file, &f.node->file);
		}
		pt_put(t, &dir);
	}
	pt_put(t, &f);
	return is;
}

/* @id is known, and where it is: its parent. */
static int parent_of(struct pt *p, uint64_t id, struct fsb_entry *ret)
{
	uint64_t parent = 0;

	{
		LOCK_SCOPE(&p->nodes.lock);
		const struct pt_node *n = pt_find_id(&p->nodes, id);

		if (n && n->parent)
			parent = n->parent->id;
	}
	return parent ? known(p, parent, ret) : -ESTALE;
}

int pt_by_handle(struct pt *p, uint64_t id, bool parent, struct fsb_entry *ret)
{
	uint64_t until = now_ms() + p->max_search_ms;
	struct fsb_entry below;
	int r;

	if (!parent || id == FSB_ROOT)
		return by_id(p, id, ret);
	r = by_id(p, id, &below);
	if (r < 0)
		return r;
	if (!S_ISDIR(below.attr.mode) || !below.attr.nlink) {
		r = -ESTALE; /* no kernel goes up from there */
	} else if (!in_place(p, id)) {
		LOCK_SCOPE(&p->search);
		r = id < PT_OWN_IDS ? search(p, id, until, &below) : -ESTALE;
		if (r == 0)
			pt_forget(&p->nodes, id, 1);
	}
	if (r == 0)
		r = parent_of(p, id, ret);
	pt_forget(&p->nodes, id, 1);
	return r;
}
