// SPDX-License-Identifier: Apache-2.0
/*
 * passthrough: nodes as bytes, for a server that goes on on the same files.
 *
 * A node is its parent's id, its name and its identity, of the file system only whether it is the
 * share's own: others have other numbers elsewhere. The generation is what the kernel was told: the
 * file may have been replaced since. Loading opens nothing: the file is looked for when it is first
 * used.
 */
#include "fs/backends/passthrough/pt.h"
#include "base/cleanup.h"

#include <limits.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#define VERSION 2

/* Little-endian, as every machine that runs KVM guests of ours is; the name follows, without NUL.
 * Small, since a supervisor keeps these for every node. */
struct saved {
	uint8_t version, type; /* S_IF* >> 12 */
	uint16_t on_root;      /* on the file system of the share's root: 1 */
	uint32_t birth_nsec;
	uint64_t parent, ino;
	int64_t birth_sec;
	uint32_t generation, zero;
};
_Static_assert(sizeof(struct saved) == 40, "device state");
_Static_assert(sizeof(struct saved) + NAME_MAX <= FSB_MAX_STATE, "device state");

int64_t pt_save(struct fsb *b, uint64_t node, void *buf, size_t cap)
{
	struct pt_nodes *t = &pt_of(b)->nodes;
	const struct pt_node *n;
	struct saved s;
	size_t bytes;

	LOCK_SCOPE(&t->lock);
	n = pt_find_id(t, node);
	if (!n || n->gone || n->orphan || !n->parent || !n->name)
		return -ESTALE;
	s = (struct saved){.version = VERSION,
		.type = (uint8_t)(n->file.type >> 12),
		.on_root = n->file.dev == 0,
		.birth_sec = n->file.birth_sec,
		.birth_nsec = n->file.birth_nsec,
		.parent = n->parent->id,
		.ino = n->file.ino,
		.generation = n->generation};
	bytes = strlen(n->name);
	if (sizeof(s) + bytes > cap)
		return -ERANGE;
	memcpy(buf, &s, sizeof(s));
	memcpy((uint8_t *)buf + sizeof(s), n->name, bytes);
	return (int64_t)(sizeof(s) + bytes);
}

/* A node that is known by its id alone. */
static struct pt_node *add_gone(struct pt_nodes *t, uint64_t id)
{
	struct pt_node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	*n = (struct pt_node){
		.id = id, .file = {.dev = PT_DEV_ANY}, .fd = {-1, -1, -1}, .gone = true};
	if (pt_add_node(t, n) < 0) {
		free(n);
		return NULL;
	}
	return n;
}

static struct pt_node *find_or_add(struct pt_nodes *t, uint64_t id)
{
	struct pt_node *n = pt_find_id(t, id);

	return n ? n : add_gone(t, id);
}

static int parse(const void *buf, size_t n, struct saved *s, char **ret_name)
{
	char *name;

	if (n == 0)
		return -ESTALE; /* of what could not be saved the id is known, and nobody else's */
	if (n < sizeof(*s))
		return -EINVAL;
	memcpy(s, buf, sizeof(*s));
	n -= sizeof(*s);
	if (s->version != VERSION || s->on_root > 1 || s->zero || n == 0 || n > NAME_MAX ||
		s->parent == 0 || s->parent >= FSB_MAX_ID ||
		(s->birth_nsec >= 1000000000 && s->birth_nsec != PT_NO_BIRTH) || !s->type ||
		s->type > 15)
		return -EINVAL;
	name = strndup((const char *)buf + sizeof(*s), n);
	if (!name)
		return -ENOMEM;
	if (strlen(name) != n || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, "..")) {
		free(name);
		return -EINVAL;
	}
	*ret_name = name;
	return 0;
}

/* The lock is held; takes *@name where it returns 0. */
static int place(struct pt_nodes *t, struct pt_node *n, const struct saved *s, char **name,
	struct pt_garbage *g)
{
	const struct pt_identity f = {.ino = s->ino,
		.birth_sec = s->birth_sec,
		.birth_nsec = s->birth_nsec,
		.type = (uint32_t)s->type << 12,
		.dev = s->on_root ? 0 : PT_DEV_ANY};
	struct pt_node *parent = find_or_add(t, s->parent);
	int r = -ESTALE;

	if (!parent)
		return -ENOMEM;
	pt_use(t, parent); /* what another node holds while nobody has loaded it */
	if (!n->name && pt_set_place(t, n, parent, *name, g)) {
		*name = NULL;
		pt_refile(t, n, &f);
		n->generation = s->generation;
		n->gone = false;
		r = 0;
	}
	pt_unuse(t, parent, g);
	return r;
}

int pt_load(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n)
{
	struct pt_nodes *t = &pt_of(b)->nodes;
	_cleanup_free_ char *name = NULL;
	struct pt_garbage g = {0};
	struct pt_node *m;
	struct saved s;
	int r;

	if (node == 0 || node >= FSB_MAX_ID)
		return -EINVAL;
	/* What the guest knows of it this server has not seen yet. */
	if (pt_of(b)->map)
		atomic_store(&fsb_guards, true);
	if (node == FSB_ROOT)
		return 0; /* always there, and not counted */
	r = parse(buf, n, &s, &name);
	if (r < 0 && r != -ESTALE)
		return r;
	pthread_mutex_lock(&t->lock);
	m = find_or_add(t, node);
	if (!m) {
		r = -ENOMEM;
	} else {
		pt_use(t, m);
		m->lookups += lookups;
		if (r == 0)
			r = place(t, m, &s, &name, &g);
		pt_unuse(t, m, &g);
	}
	pthread_mutex_unlock(&t->lock);
	pt_sweep(&g);
	return r;
}
