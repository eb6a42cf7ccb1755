// SPDX-License-Identifier: Apache-2.0
// The overlay's nodes by number alone: file handles, whose number is the node id.
//
// Of an inode that is not in memory only a directory knows that it is still there, and that the
// number is one at all: an index read at a number that it never gave out would take a file's bytes
// for an inode. So the tree is searched. This takes as long as listing all of it, and no kernel
// asks but for a handle of a file that it has forgotten.
#include "fs/backends/overlay/ovl.h"

#include <dirent.h>

struct search {
	const struct ovl *o;
	const struct ovl_inode *dir; /* being searched; NULL: not in memory */
	uint64_t want, *todo;	     /* todo: directories */
	size_t todo_n, todo_cap;
	uint64_t budget; /* entries: an image may lie about its shape */
	bool found;
	int err;
};

/* Nonzero: the search has ended. */
static int meet(struct search *s, uint64_t ino, uint8_t type)
{
	if (s->budget-- == 0)
		return s->err = -ESTALE;
	if (ino == s->want)
		return s->found = true;
	if (type != DT_DIR)
		return 0;
	if (s->todo_n == s->todo_cap) {
		size_t cap = s->todo_cap ? s->todo_cap * 2 : 64;
		uint64_t *p = reallocarray(s->todo, cap, sizeof(*p));

		if (!p)
			return s->err = -ENOMEM;
		s->todo = p;
		s->todo_cap = cap;
	}
	s->todo[s->todo_n++] = ino;
	return 0;
}

static int meet_lower(void *arg, const char *name, size_t n, uint64_t nid, uint8_t type)
{
	struct search *s = arg;
	uint64_t ino;

	if (s->dir && ovl_dent_find(s->o, s->dir, name, n))
		return 0; /* it stands for something else, or for nothing */
	return ovl_ino_of_nid(s->o, nid, &ino) < 0 ? 0 : meet(s, ino, type);
}

static void search_dir(struct search *s, uint64_t ino)
{
	const struct ovl_dir *d;
	uint64_t nid;

	s->dir = ovl_find(s->o, ino);
	d = s->dir ? s->dir->dir : NULL;
	for (uint32_t b = 0; d && b < d->buckets; b++) {
		for (const struct ovl_dent *e = d->bucket[b]; e; e = e->next) {
			if (e->ino && meet(s, e->ino, e->type))
				return;
		}
	}
	nid = s->dir ? s->dir->lower : ino - 1;
	if (nid && s->o->lower)
		(void)img_index_readdir(s->o->lower, nid, meet_lower, s); /* what can be read */
}

/* Whether the tree has @ino. */
static int in_tree(const struct ovl *o, uint64_t ino)
{
	struct search s = {.o = o, .want = ino, .budget = 4 * o->max_nodes};

	(void)meet(&s, OVL_ROOT, DT_DIR);
	while (s.todo_n && !s.found && s.err == 0)
		search_dir(&s, s.todo[--s.todo_n]);
	free(s.todo);
	return s.err < 0 ? s.err : s.found ? 0 : -ESTALE;
}

int ovl_by_handle(struct ovl *o, uint64_t ino, bool parent, struct fsb_entry *ret)
{
	struct ovl_inode *i;
	int r = 0;

	OVL_WRITE(o);
	if (parent)
		ino = ovl_get_dir(o, ino, &i) < 0 ? 0 : ovl_parent(o, ino);
	i = ovl_find(o, ino);
	if (!i && ino < OVL_OWN_BASE) {
		r = in_tree(o, ino);
		if (r == 0)
			r = ovl_from_lower(o, ino, &i);
	}
	if (r < 0 || !i)
		return r < 0 ? r : -ESTALE;
	if (i->flags & OVL_STALE_SIZE)
		ovl_data_refresh(o, i);
	ovl_fill_entry(o, i, ret);
	return 0;
}
