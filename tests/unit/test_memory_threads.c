// SPDX-License-Identifier: Apache-2.0
// The memory backend under many threads: what they do to the same few names and files adds up.
#include "fs/backends/memory/mem.h"
#include "tests/unit/bypath.h"

#include <linux/falloc.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define THREADS 4
#define OPS	20000

struct worker {
	pthread_t thread;
	struct fsb *b;
	uint64_t seed;
	int64_t bad; /* an errno that nothing explains */
};

static uint32_t rnd(struct worker *w, uint32_t n)
{
	w->seed = w->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(w->seed >> 33) % n;
}

static void path(struct worker *w, char *p)
{
	uint32_t depth = rnd(w, 3);

	for (uint32_t i = 0; i <= depth; i++)
		p += sprintf(p, "%s%c", i ? "/" : "", 'a' + (char)rnd(w, 4));
}

/* Each may have found what it named gone, there, or of another kind. */
static bool explained(int64_t r)
{
	switch (r) {
	case -ENOENT:
	case -EEXIST:
	case -ENOTDIR:
	case -EISDIR:
	case -ENOTEMPTY:
	case -EINVAL:
	case -EPERM:
	case -ENODATA:
	case -ENXIO:
	case -ENODEV:
	case -ENOSPC: return true;
	default: return r >= 0;
	}
}

static int64_t on_file(struct worker *w, const char *p)
{
	static __thread char buf[30000];
	struct iovec iov = {buf, rnd(w, sizeof(buf))};
	struct fsb_setattr s = {.valid = FATTR_SIZE, .size = rnd(w, 60000)};
	struct fsb *b = w->b;
	struct fsb_entry e, f;
	struct fuse_attr a;
	int64_t r = fx_walk(b, p, &e);

	if (r < 0)
		return r;
	switch (rnd(w, 8)) {
	case 0: r = b->ops->readv(b, e.node, 0, &iov, 1, rnd(w, 60000)); break;
	case 1: r = b->ops->setattr(b, &fx_req, e.node, 0, &s, &a); break;
	case 2: r = b->ops->lseek(b, e.node, 0, rnd(w, 60000), SEEK_DATA); break;
	case 3:
		r = b->ops->fallocate(b, &fx_req, e.node, 0,
			FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, rnd(w, 60000), 9999);
		break;
	case 4:
		if (fx_walk(b, "a", &f) == 0) {
			r = b->ops->copy_file_range(
				b, &fx_req, e.node, 0, 0, f.node, 0, rnd(w, 60000), 30000);
			fx_forget(b, f.node);
		}
		break;
	case 5: r = b->ops->setxattr(b, &fx_req, e.node, "user.x", buf, rnd(w, 100), 0); break;
	case 6: r = b->ops->listxattr(b, e.node, buf, sizeof(buf)); break;
	default: r = b->ops->writev(b, &fx_req, e.node, 0, &iov, 1, rnd(w, 60000), 0);
	}
	fx_forget(b, e.node);
	return r;
}

static int list_one(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type,
	uint64_t next_off, const struct fsb_entry *e)
{
	uint64_t *node = arg;

	if (e && node[0] < 8)
		node[++node[0]] = e->node;
	else if (e)
		return 1;
	return 0;
}

static int64_t list(struct worker *w, const char *p)
{
	uint64_t node[9] = {0};
	struct fsb_entry e;
	int64_t r = fx_walk(w->b, p, &e);

	if (r < 0)
		return r;
	r = w->b->ops->readdir(w->b, &fx_req, e.node, 0, 0, true, list_one, node);
	while (node[0])
		fx_forget(w->b, node[node[0]--]);
	fx_forget(w->b, e.node);
	return r;
}

/* An id that may be going, or be none. */
static int64_t by_handle(struct worker *w)
{
	static _Atomic uint64_t last;
	struct fsb_entry e;
	int64_t r =
		w->b->ops->lookup(w->b, &fx_req, atomic_load(&last), rnd(w, 2) ? "." : "..", &e);

	if (r == 0)
		fx_forget(w->b, e.node);
	if (fx_walk(w->b, "a", &e) == 0) {
		atomic_store(&last, e.node);
		fx_forget(w->b, e.node);
	}
	return r == -ESTALE ? 0 : r;
}

static void *work(void *arg)
{
	static const uint32_t flag[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT};
	struct worker *w = arg;
	char p[32], q[32];
	struct statvfs st;

	for (int i = 0; i < OPS; i++) {
		int64_t r;

		path(w, p);
		path(w, q);
		switch (rnd(w, 14)) {
		case 0:
		case 1: r = fx_mk(w->b, p, S_IFREG | 0644, NULL); break;
		case 2: r = fx_mk(w->b, p, S_IFDIR | 0755, NULL); break;
		case 3: r = fx_mk(w->b, p, S_IFIFO | 0755, NULL); break;
		case 4: r = fx_rename(w->b, p, q, flag[rnd(w, 5)]); break;
		case 5: r = fx_link(w->b, p, q); break;
		case 6: r = fx_rm(w->b, p, true); break;
		case 7:
		case 8: r = fx_rm(w->b, p, false); break;
		case 9: r = list(w, *q == 'a' ? "" : p); break;
		case 10: r = by_handle(w); break;
		case 11: r = rnd(w, 50) ? 0 : w->b->ops->statfs(w->b, FSB_ROOT, &st); break;
		default: r = on_file(w, p);
		}
		if (!explained(r) && !w->bad)
			w->bad = r;
	}
	return NULL;
}

/* Every name is found, and what it stands for is held by names alone. */
static void check(struct mem *m, struct mem_inode *dir, uint64_t *names)
{
	uint32_t subdirs = 0;

	for (uint32_t i = 0; i < dir->dir.listed; i++) {
		const struct mem_dent *d = dir->dir.list[i].d;

		if (!d)
			continue;
		assert_ptr_equal(mem_dent_find(m, dir, d->name, d->name_n), d);
		assert_int_equal(atomic_load(&d->inode->refs), MEM_NAMED);
		*names += 1;
		if (S_ISDIR(d->inode->type)) {
			subdirs++;
			assert_ptr_equal(d->inode->dir.parent, dir);
			check(m, d->inode, names);
		}
	}
	assert_int_equal(dir->nlink, 2 + subdirs);
}

/* Names that all inodes say they have. */
static uint64_t links(struct mem *m)
{
	uint64_t n = 0;

	for (uint32_t c = 0; c < MEM_SLOTS / MEM_CHUNK; c++) {
		for (uint32_t s = 0; m->chunk[c] && s < MEM_CHUNK; s++) {
			uintptr_t v = atomic_load(&m->chunk[c][s]);
			const struct mem_inode *i = (const struct mem_inode *)v;

			if (!v || v & 1 || i == m->root)
				continue;
			assert_true(i->nlink > 0);
			n += S_ISDIR(i->type) ? 1 : i->nlink;
		}
	}
	return n;
}

static void empty(struct fsb *b, const char *dir)
{
	struct fsb_entry e;
	char p[600];

	for (int c = 'a'; c < 'e'; c++) {
		(void)snprintf(p, sizeof(p), "%s%s%c", dir, *dir ? "/" : "", c);
		if (fx_walk(b, p, &e) < 0)
			continue;
		if (S_ISDIR(e.attr.mode))
			empty(b, p);
		fx_forget(b, e.node);
		assert_int_equal(fx_rm(b, p, S_ISDIR(e.attr.mode)), 0);
	}
}

static void all_at_once(void **state)
{
	struct worker w[THREADS] = {0};
	struct msb_err e = {0};
	uint64_t before, names = 0;
	struct mem *m;

	assert_int_equal(mem_new(MEM_MIN_BYTES, &m, &e), 0);
	before = m->used;
	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){.b = &m->fsb, .seed = (uint64_t)i + 1};
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(w[i].thread, NULL), 0);
		assert_int_equal(w[i].bad, 0);
	}
	check(m, m->root, &names);
	assert_int_equal(names, links(m));
	empty(&m->fsb, "");
	assert_int_equal(m->nodes, 1);
	/* but the root's tables, and those of ids */
	assert_true(m->used - before <= 512 + 3 * (MEM_CHUNK * sizeof(uintptr_t) + 16));
	m->fsb.ops->stop(&m->fsb);
}

/* ---- what is being made, or going */

struct pair {
	struct mem *m;
	_Atomic bool over;
	uint64_t met; /* of what cannot be met */
};

/* The id that the next inode will have, as a guest can count too. */
static void *guess(void *arg)
{
	struct pair *p = arg;
	struct fsb_entry e;

	while (!atomic_load(&p->over)) {
		uint64_t id;
		{
			LOCK_SCOPE(&p->m->slots_lock);
			id = p->m->counter << MEM_SLOT_BITS;
			id |= p->m->free_slot ? p->m->free_slot : 1;
		}
		for (unsigned int i = 0; i < 100; i++)
			p->met += mem_lookup(&p->m->fsb, &fx_req,
					  id + (UINT64_C(1) << MEM_SLOT_BITS), ".", &e) == 0;
	}
	return NULL;
}

static void what_is_half_made_is_not_found(void **state)
{
	struct pair p = {0};
	struct msb_err e = {0};
	struct fsb_entry made;
	pthread_t thread;
	uint64_t fh, full;

	assert_int_equal(mem_new(MEM_MIN_BYTES, &p.m, &e), 0);
	assert_int_equal(fx_mk(&p.m->fsb, "a", S_IFREG | 0644, NULL), 0);
	/* Room for an inode, not for its name. */
	full = p.m->limit - p.m->used - sizeof(struct mem_inode) - 40;
	assert_int_equal(mem_charge(p.m, full), 0);
	assert_int_equal(pthread_create(&thread, NULL, guess, &p), 0);
	for (int i = 0; i < OPS * 5; i++)
		assert_int_equal(
			mem_create(&p.m->fsb, &fx_req, 1, "b", 0644, 0, &made, &fh), -ENOSPC);
	atomic_store(&p.over, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(p.met, 0);
	mem_uncharge(p.m, full);
	p.m->fsb.ops->stop(&p.m->fsb);
}

static void *sweep(void *arg)
{
	struct pair *p = arg;
	struct statvfs st;

	while (!atomic_load(&p->over)) {
		atomic_store(&p->m->sweep, true);
		(void)p->m->fsb.ops->statfs(&p->m->fsb, FSB_ROOT, &st);
	}
	return NULL;
}

static void sweeping_leaves_what_goes_by_itself(void **state)
{
	struct pair p = {0};
	struct msb_err e = {0};
	struct fsb_entry made;
	pthread_t thread;
	uint64_t fh;

	assert_int_equal(mem_new(MEM_MIN_BYTES, &p.m, &e), 0);
	assert_int_equal(pthread_create(&thread, NULL, sweep, &p), 0);
	for (int i = 0; i < OPS * 5; i++) {
		assert_int_equal(mem_tmpfile(&p.m->fsb, &fx_req, 1, 0644, 0, &made, &fh), 0);
		mem_forget(&p.m->fsb, made.node, 1);
	}
	atomic_store(&p.over, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(p.m->nodes, 1);
	p.m->fsb.ops->stop(&p.m->fsb);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_at_once),
		cmocka_unit_test(what_is_half_made_is_not_found),
		cmocka_unit_test(sweeping_leaves_what_goes_by_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
