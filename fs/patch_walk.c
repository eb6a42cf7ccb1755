// SPDX-License-Identifier: Apache-2.0
// Patches: paths in the root, and removing.
#include "fs/patch.h"
#include "base/cleanup.h"

#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>

/* Directories from the root on, each held. */
struct walk {
	struct patch_tree *t;
	unsigned int n, links;
	uint64_t node[FS_PATCH_MAX_DEPTH];
	char rest[2 * PATH_MAX];
};

static void forget(struct patch_tree *t, uint64_t node)
{
	if (node != FSB_ROOT)
		t->b->ops->forget(t->b, node, 1);
}

static int look(struct patch_tree *t, uint64_t parent, const char *name, struct fsb_entry *ret)
{
	int r = t->b->ops->lookup(t->b, &t->req, parent, name, ret);

	return r < 0 ? r : ret->node ? 0 : -ENOENT;
}

static void up_to(struct walk *w, unsigned int n)
{
	while (w->n > n)
		forget(w->t, w->node[--w->n]);
}

static uint64_t here(const struct walk *w)
{
	return w->n ? w->node[w->n - 1] : FSB_ROOT;
}

static int enter(struct walk *w, uint64_t node)
{
	if (w->n == FS_PATCH_MAX_DEPTH) {
		forget(w->t, node);
		return -ELOOP;
	}
	w->node[w->n++] = node;
	return 0;
}

/* @rest is behind the link; what it says comes before that. */
static int follow_link(struct walk *w, uint64_t node, const char *rest)
{
	char all[sizeof(w->rest)];
	struct fsb *b = w->t->b;
	int n = ++w->links > FS_PATCH_MAX_LINKS ? -ELOOP
						: b->ops->readlink(b, node, all, PATH_MAX - 1);

	forget(w->t, node);
	if (n < 0)
		return n;
	if (memchr(all, '\0', (size_t)n) || (size_t)n + strlen(rest) + 2 > sizeof(all))
		return -ENAMETOOLONG;
	(void)snprintf(all + n, sizeof(all) - (size_t)n, "/%s", rest);
	if (all[0] == '/')
		up_to(w, 0);
	memcpy(w->rest, all, strlen(all) + 1);
	return 0;
}

static int make_dir(struct walk *w, const char *name, struct fsb_entry *ret)
{
	struct fsb *b = w->t->b;

	return b->ops->mkdir ? b->ops->mkdir(b, &w->t->req, here(w), name, 0755, ret) : -EROFS;
}

/* 1: @ret->name is the last one. */
static int step(struct walk *w, bool make, bool follow, struct patch_place *ret)
{
	char *p = w->rest + strspn(w->rest, "/"), *rest;
	size_t n = strcspn(p, "/");
	struct fsb_entry at = {0};
	bool last;
	int r;

	if (n == 0)
		return -EISDIR; /* it came out at a directory, by .. or a link */
	if (n >= sizeof(ret->name))
		return -ENAMETOOLONG;
	memcpy(ret->name, p, n);
	ret->name[n] = '\0';
	rest = p + n + strspn(p + n, "/");
	last = !*rest;
	memmove(w->rest, rest, strlen(rest) + 1);
	if (!strcmp(ret->name, "."))
		return 0;
	if (!strcmp(ret->name, "..")) {
		up_to(w, w->n ? w->n - 1 : 0);
		return 0;
	}
	if (last && !follow)
		return 1;
	r = look(w->t, here(w), ret->name, &at);
	if (r == -ENOENT && last)
		return 1;
	if (r == -ENOENT && make)
		r = make_dir(w, ret->name, &at);
	if (r < 0)
		return r;
	if (S_ISLNK(at.attr.mode)) {
		char tail[sizeof(w->rest)];

		memcpy(tail, w->rest, strlen(w->rest) + 1);
		return follow_link(w, at.node, tail);
	}
	if (last) {
		forget(w->t, at.node);
		return 1;
	}
	if (!S_ISDIR(at.attr.mode)) {
		forget(w->t, at.node);
		return -ENOTDIR;
	}
	return enter(w, at.node);
}

int patch_find(
	struct patch_tree *t, const char *path, bool make, bool follow, struct patch_place *ret)
{
	_cleanup_free_ struct walk *w = calloc(1, sizeof(*w));
	int r = 0;

	if (!w)
		return -ENOMEM;
	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	w->t = t;
	memcpy(w->rest, path, strlen(path) + 1);
	while (r == 0)
		r = step(w, make, follow, ret);
	if (r > 0) {
		ret->parent = here(w);
		if (w->n)
			w->n--; /* the caller's now */
	}
	up_to(w, 0);
	return r < 0 ? r : 0;
}

void patch_place_done(struct patch_tree *t, struct patch_place *p)
{
	forget(t, p->parent);
}

int patch_look(struct patch_tree *t, const struct patch_place *p, struct fsb_entry *ret)
{
	return look(t, p->parent, p->name, ret);
}

/* ---- removing */

struct names {
	char (*name)[256];
	size_t n;
	bool oom;
};

#define BATCH 256 /* names that are read before they are removed */

static int take_name(void *arg, const char *name, size_t bytes, uint64_t ino, uint32_t type,
	uint64_t next_off, const struct fsb_entry *entry)
{
	struct names *l = arg;

	if (l->n == BATCH)
		return 1;
	if (bytes < sizeof(*l->name) && !(bytes == 1 && name[0] == '.') &&
		!(bytes == 2 && !memcmp(name, "..", 2))) {
		memcpy(l->name[l->n], name, bytes);
		l->name[l->n++][bytes] = '\0';
	}
	return 0;
}

static int remove_at(struct patch_tree *t, uint64_t parent, const char *name, unsigned int depth);

static int empty_dir(struct patch_tree *t, uint64_t node, unsigned int depth)
{
	struct names l = {.name = malloc(BATCH * sizeof(*l.name))};
	struct fsb *b = t->b;
	int r = !l.name ? -ENOMEM : depth == FS_PATCH_MAX_DEPTH ? -ELOOP : 0;

	/* From its beginning each time: what was read is gone. */
	while (r == 0) {
		l.n = 0;
		r = b->ops->readdir(b, &t->req, node, 0, 0, false, take_name, &l);
		if (r < 0 || !l.n)
			break;
		for (size_t i = 0; r == 0 && i < l.n; i++)
			r = remove_at(t, node, l.name[i], depth);
	}
	free(l.name);
	return r;
}

static int remove_at(struct patch_tree *t, uint64_t parent, const char *name, unsigned int depth)
{
	struct fsb *b = t->b;
	struct fsb_entry at = {0};
	int r = look(t, parent, name, &at);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (!S_ISDIR(at.attr.mode)) {
		r = b->ops->unlink(b, &t->req, parent, name);
	} else {
		r = empty_dir(t, at.node, depth + 1);
		if (r == 0)
			r = b->ops->rmdir(b, &t->req, parent, name);
	}
	forget(t, at.node);
	return r;
}

int patch_remove(struct patch_tree *t, const struct patch_place *p)
{
	return remove_at(t, p->parent, p->name, 0);
}
