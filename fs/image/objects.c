// SPDX-License-Identifier: Apache-2.0
// What is published: the lists of the packs, and finding the same bytes there.
#include "fs/image/store_int.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <string.h>

#define CANDIDATES 4 /* contents of one length and 128-bit hash that are compared */
#define LIST_STEP  1024

bool store_pack_id(const char *name, uint32_t *ret, bool *ret_list)
{
	char hex[9] = {0};
	uint8_t id[4];

	memcpy(hex, name, strnlen(name, 8));
	if (msb_unhex(hex, id, 4) < 0 || (name[8] && strcmp(name + 8, ".objects") != 0))
		return false;
	*ret = (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
	*ret_list = name[8] != 0;
	return true;
}

static void insert(struct object *table, size_t n, const struct object *o)
{
	size_t k = o->hash.low64 & (n - 1);

	while (table[k].len)
		k = (k + 1) & (n - 1);
	table[k] = *o;
}

/* The lock is held. */
static int grow(struct img_store *s, size_t more)
{
	size_t n = s->ntable ? s->ntable : 4096;
	struct object *t;

	while (2 * (s->nobjects + more) > n)
		n *= 2;
	if (n == s->ntable)
		return 0;
	t = calloc(n, sizeof(*t));
	if (!t)
		return -ENOMEM;
	for (size_t k = 0; k < s->ntable; k++)
		if (s->table[k].len)
			insert(t, n, &s->table[k]);
	free(s->table);
	s->table = t;
	s->ntable = n;
	return 0;
}

/* The lock is held: where @id is in packs, or would be. */
static size_t pack_slot(const struct img_store *s, uint32_t id)
{
	size_t lo = 0, hi = s->npacks;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->packs[mid] < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool known(struct img_store *s, uint32_t id)
{
	LOCK_SCOPE(&s->lock);
	size_t k = pack_slot(s, id);

	return k < s->npacks && s->packs[k] == id;
}

int store_add_objects(struct img_store *s, uint32_t id, const struct object *o, size_t n)
{
	LOCK_SCOPE(&s->lock);
	size_t at = pack_slot(s, id);
	uint32_t *p;

	if (at < s->npacks && s->packs[at] == id)
		return 0;
	p = reallocarray(s->packs, s->npacks + 1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	s->packs = p;
	if (grow(s, n) < 0)
		return -ENOMEM;
	memmove(p + at + 1, p + at, (s->npacks - at) * sizeof(*p));
	p[at] = id;
	s->npacks++;
	for (size_t k = 0; k < n; k++) {
		struct object x = o[k];

		x.pack = id;
		if (x.len) {
			insert(s->table, s->ntable, &x);
			s->nobjects++;
		}
	}
	return 0;
}

struct list {
	struct img_store *s;
	uint32_t last; /* of the ids in use */
};

static int load_list(void *arg, const char *name, struct msb_err *e)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	struct list *l = arg;
	uint32_t id;
	bool list;
	int r;

	if (!store_pack_id(name, &id, &list))
		return 0;
	if (id > l->last)
		l->last = id;
	if (!list || known(l->s, id))
		return 0;
	r = msb_read_file(l->s->packs_fd, name, SIZE_MAX / 2, &text);
	if (r == -ENOENT) /* emptied meanwhile: only with the store alone, or by its own writer */
		return 0;
	if (r < 0 && r != -ENOMEM) { /* its contents cannot be used again, that is all */
		log_warn("%s: %s, ignoring", name, strerror(-r));
		return 0;
	}
	if (r == 0)
		r = store_add_objects(l->s, id, (const struct object *)text.buf,
			text.len / sizeof(struct object));
	return r < 0 ? msb_err_set(e, ENOMEM, "out of memory") : 0;
}

int store_load_lists(struct img_store *s, struct msb_err *e)
{
	struct list l = {.s = s};
	int r = store_each_name(s->packs_fd, load_list, &l, e);

	if (r < 0)
		return r;
	LOCK_SCOPE(&s->lock);
	if (s->next_id <= l.last)
		s->next_id = l.last + 1;
	return 0;
}

bool store_find_object(
	struct img_writer *w, const struct object *o, uint64_t off, uint32_t id, struct object *ret)
{
	struct img_store *s = w->st;
	struct object v[CANDIDATES];
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	for (size_t k = o->hash.low64 & (s->ntable - 1);
		n < CANDIDATES && s->ntable && s->table[k].len; k = (k + 1) & (s->ntable - 1))
		if (s->table[k].len == o->len && XXH128_isEqual(s->table[k].hash, o->hash))
			v[n++] = s->table[k];
	pthread_mutex_unlock(&s->lock);
	for (size_t k = 0; k < n; k++)
		if (store_same_bytes(w, &v[k], id, off)) {
			*ret = v[k];
			return true;
		}
	return false;
}
