// SPDX-License-Identifier: Apache-2.0
// plugin, protocol=json: directories. A list that the plugin has a say in is taken when reading it
// begins, and served from memory: what it added and what is below, each name once.
#include "fs/backends/plugin/plugin_priv.h"
#include "base/cleanup.h"

#include <string.h>

struct entry {
	uint64_t ino;
	uint32_t type;
	uint8_t name_bytes;
	char name[];
};

struct list {
	struct entry **e;
	size_t n, cap;
	size_t own;    /* of them the plugin's */
	uint64_t next; /* below: where to go on */
	int error;
};

void pj_list_free(void *arg)
{
	struct list *l = arg;

	if (!l)
		return;
	for (size_t i = 0; i < l->n; i++)
		free(l->e[i]);
	free(l->e);
	free(l);
}

static int add(struct list *l, const char *name, size_t n, uint64_t ino, uint32_t type)
{
	struct entry *e;

	if (l->n >= PLUGIN_MAX_ENTRIES)
		return -EOVERFLOW;
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		struct entry **all = realloc(l->e, cap * sizeof(*all));

		if (!all)
			return -ENOMEM;
		l->e = all;
		l->cap = cap;
	}
	e = malloc(sizeof(*e) + n);
	if (!e)
		return -ENOMEM;
	e->ino = ino;
	e->type = type;
	e->name_bytes = (uint8_t)n;
	memcpy(e->name, name, n);
	l->e[l->n++] = e;
	return 0;
}

static bool has(const struct list *l, const char *name, size_t n)
{
	for (size_t i = 0; i < l->own; i++)
		if (l->e[i]->name_bytes == n && !memcmp(l->e[i]->name, name, n))
			return true;
	return false;
}

static int below_one(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type,
	uint64_t next_off, const struct fsb_entry *entry)
{
	struct list *l = arg;

	if (n <= FUSE_MAX_NAME && !has(l, name, n))
		l->error = add(l, name, n, ino, type);
	l->next = next_off;
	return l->error < 0;
}

static int add_below(struct list *l, const struct pf_node *d, const struct plug_handle *h,
	const struct fsb_req *req)
{
	uint64_t off;
	int r;

	l->own = l->n;
	do {
		off = l->next;
		r = BELOW(d->p, readdir, req, d->inner, h->ifh, off, false, below_one, l);
	} while (r == 0 && l->error == 0 && l->next != off);
	return r < 0 ? r : l->error;
}

/* The whole list of a directory. */
static int take(const struct pf_node *d, const struct plug_handle *h, const struct fsb_req *req,
	struct list *l)
{
	json_t *o = NULL, *list, *one;
	int r = pj_simple(d, FSB_READDIR, NULL, req, &o);
	bool below = r == -PLUGIN_PASS && h->below && HAS_BELOW(d->p, d->inner, readdir);
	size_t i;

	if (r < 0 && r != -PLUGIN_PASS)
		return r;
	r = 0;
	if (!below) { /* else they come from there */
		r = add(l, ".", 1, d->n->id, 4);
		if (r == 0)
			r = add(l, "..", 2, 1, 4);
	}
	list = json_object_get(o, "entries");
	if (list && !json_is_array(list))
		r = -EIO;
	json_array_foreach(list, i, one)
	{
		uint32_t type = 0;
		const char *name = pj_entry_read(one, &type);

		if (r == 0)
			r = name ? add(l, name, strlen(name), i + 1, type) : -EIO;
	}
	json_decref(o);
	return r == 0 && below ? add_below(l, d, h, req) : r;
}

int pj_opendir(struct fsb *b, uint64_t node, uint64_t *ret_fh)
{
	struct plug *p = plug_of(b);
	struct plug_handle h = {.node = node, .dir = true};
	_pf_node_ n;
	int r = pj_get(p, node, &n);

	if (r == 0)
		r = pj_simple(&n, FSB_OPENDIR, NULL, NULL, NULL);
	if (r < 0 && r != -PLUGIN_PASS)
		return r;
	if (n.inner) {
		r = p->inner->ops->opendir ? BELOW(p, opendir, n.inner, &h.ifh) : 0;
		if (r < 0)
			return r;
		h.below = true;
	}
	r = plug_handle_add(p, &h, ret_fh);
	if (r < 0 && h.below)
		plug_below_release(p, true, n.inner, h.ifh);
	return r;
}

static bool asks_who(struct pf_node *d, const char *name)
{
	return pj_asks(d, FSB_LOOKUP, name) || pj_asks(d, FSB_GETATTR, name);
}

int pj_readdir(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh, uint64_t off,
	bool plus, fsb_dirent_fn fn, void *arg)
{
	struct plug *p = plug_of(b);
	struct list *fresh = NULL;
	struct plug_handle h = {0};
	struct list *l;
	_pf_node_ d;
	int r = pj_get(p, node, &d);

	if (r == 0)
		r = plug_handle_get(p, fh, &h);
	if (r < 0)
		return r;
	if (!pj_asks(&d, FSB_READDIR, NULL) && h.below && !h.list)
		return plug_list_below(&d, &h, req, off, plus, asks_who, fn, arg);
	if (!h.list || off == 0) {
		fresh = calloc(1, sizeof(*fresh));
		r = fresh ? take(&d, &h, req, fresh) : -ENOMEM;
		if (r < 0) {
			pj_list_free(fresh);
			return r;
		}
	}
	LOCK_SCOPE(&p->lists_lock);
	l = plug_handle_list(p, fh, fresh);
	for (size_t i = off; l && i < l->n; i++)
		if (fn(arg, l->e[i]->name, l->e[i]->name_bytes, l->e[i]->ino, l->e[i]->type, i + 1,
			    NULL))
			break;
	return 0;
}
