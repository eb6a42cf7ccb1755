// SPDX-License-Identifier: Apache-2.0
// A session whose memory a supervisor holds: keeping it up, and taking over that of a killed
// server.
#include "base/cleanup.h"
#include "fs/fuse_priv.h"
#include "fs/fuse_state.h"

#include <stdatomic.h>

void fuse_keep_facts(struct fsd_session *s)
{
	LOCK_SCOPE(&s->lock);
	fuse_keep_init(s->keep, &(struct fuse_keep_init){.init_flags = atomic_load(&s->init_flags),
					.minor = atomic_load(&s->minor),
					.ready = atomic_load(&s->ready),
					.opens_off = atomic_load(&s->opens_off)});
}

void fuse_keep_states(struct fsd_session *s)
{
	const struct fsb_ops *o = s->fs->b->ops;
	uint8_t state[FUSE_STATE_MAX_SAVE];

	for (;;) {
		uint32_t slot;
		uint64_t key;
		int64_t n;

		{
			LOCK_SCOPE(&s->lock);
			slot = fuse_keep_unsaved(s->keep, &key);
		}
		if (!slot)
			return;
		n = o->save ? o->save(s->fs->b, key, state, sizeof(state)) : -EOPNOTSUPP;
		LOCK_SCOPE(&s->lock);
		fuse_keep_state(s->keep, slot, key, state, n);
	}
}

void fsd_session_commit(struct fsd_session *s)
{
	LOCK_SCOPE(&s->lock);
	fuse_keep_commit(s->keep);
}

/* Enters every node, each once, before the backend hears of any. */
static void enter_nodes(struct fsd_session *s, uint32_t last)
{
	struct fuse_keep_slot e;

	LOCK_SCOPE(&s->lock);
	for (uint32_t n = 1; n <= last; n++) {
		struct fuse_ref *had, r;

		if (!fuse_keep_read(s->keep, n, &e) || e.kind != FUSE_KEEP_NODE)
			continue;
		had = fuse_refs_find(&s->nodes, e.key);
		r = (struct fuse_ref){.key = e.key,
			.count = e.count,
			.kept = n,
			.flags = e.saved == FUSE_KEEP_SAVED && s->fs->b->ops->load
					 ? 0
					 : FUSE_REF_STALE};
		if (e.count > FUSE_STATE_MAX_LOOKUPS || e.key == FUSE_ROOT_ID ||
			(had && had->count + e.count > FUSE_STATE_MAX_LOOKUPS)) {
			fuse_keep_drop(s->keep, n);
		} else if (had) { /* given back and looked up again, when the kill came */
			had->count += e.count;
			fuse_keep_more(s->keep, had->kept, e.count);
			fuse_keep_drop(s->keep, n);
		} else if (fuse_refs_add(&s->nodes, &r) < 0) {
			fuse_keep_drop(s->keep, n);
		}
	}
}

static void load_nodes(struct fsd_session *s, uint32_t last)
{
	struct fsb *b = s->fs->b;
	struct fuse_keep_slot e;

	for (uint32_t n = 1; n <= last; n++) {
		struct fuse_ref *r;
		uint64_t lookups = 0;
		int err;

		if (!fuse_keep_read(s->keep, n, &e) || e.kind != FUSE_KEEP_NODE)
			continue;
		{
			LOCK_SCOPE(&s->lock);
			r = fuse_refs_find(&s->nodes, e.key);
			if (r && r->kept == n && !(r->flags & FUSE_REF_STALE))
				lookups = r->count;
		}
		if (!lookups)
			continue;
		err = b->ops->load(b, e.key, lookups, e.state, e.state_bytes);
		if (err < 0 && err != -ESTALE) { /* it has counted nothing */
			LOCK_SCOPE(&s->lock);
			fuse_refs_find(&s->nodes, e.key)->flags |= FUSE_REF_STALE;
		}
	}
}

static void load_handles(struct fsd_session *s, uint32_t last)
{
	struct fuse_keep_slot e;

	for (uint32_t n = 1; n <= last; n++) {
		bool dir, known;

		if (!fuse_keep_read(s->keep, n, &e) || e.kind == FUSE_KEEP_NODE)
			continue;
		dir = e.kind == FUSE_KEEP_DIR;
		{
			LOCK_SCOPE(&s->lock);
			known = (e.node == FUSE_ROOT_ID || fuse_refs_find(&s->nodes, e.node)) &&
				!fuse_refs_find(dir ? &s->dirs : &s->files, e.key);
		}
		if (!known || fuse_load_handle(s, dir,
				      (struct fuse_ref){.key = e.key,
					      .count = 1,
					      .node = e.node,
					      .flags = e.flags & ~FUSE_REF_STALE,
					      .kept = n},
				      e.flags & FUSE_REF_STALE) < 0) {
			LOCK_SCOPE(&s->lock);
			fuse_keep_drop(s->keep, n);
		}
	}
}

int fsd_session_keep(struct fsd_session *s, int fd)
{
	struct fuse_keep_init i;
	uint32_t last;
	int r = fuse_keep_new(fd, &s->keep);

	if (r < 0)
		return r;
	s->nodes.keep = s->files.keep = s->dirs.keep = s->keep;
	s->nodes.kind = FUSE_KEEP_NODE;
	s->files.kind = FUSE_KEEP_FILE;
	s->dirs.kind = FUSE_KEEP_DIR;
	last = fuse_keep_last(s->keep);
	if (fuse_keep_used(s->keep, &i) && !(i.init_flags & ~s->profile->init_flags)) {
		enter_nodes(s, last);
		load_nodes(s, last);
		load_handles(s, last);
		fuse_load_stale(s);
		atomic_store(&s->init_flags, i.init_flags);
		atomic_store(&s->minor, i.minor);
		atomic_store(&s->opens_off, i.opens_off);
		fuse_set_ready(s, true);
	} else {
		for (uint32_t n = 1; n <= last; n++)
			fuse_keep_drop(s->keep, n);
	}
	fuse_keep_claim(s->keep);
	return 0;
}
