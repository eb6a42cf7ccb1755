// SPDX-License-Identifier: Apache-2.0
// What one kernel holds of the file system: taking it over from another server.
#include "base/cleanup.h"
#include "fs/fuse_priv.h"
#include "fs/fuse_state.h"
#include "fs/fuse_state_priv.h"

#include <stdatomic.h>
#include <string.h>
#include <xxhash.h>

struct loader {
	struct fsd_session *s;
	int fd;
	enum fuse_state_kind last; /* 0: none yet */
	struct fuse_state_rec session;
	uint64_t nodes, handles;
	XXH3_state_t *sum;
	size_t at, n; /* buf[at..n) is still to be parsed */
	uint8_t buf[FUSE_STATE_BUFFER];
};

/* Bytes read, less than @n at the end only; -errno. */
static int64_t read_full(int fd, uint8_t *p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t k = read(fd, p + done, n - done);

		if (k == 0)
			break;
		if (k < 0 && errno != EINTR)
			return -errno;
		done += k < 0 ? 0 : (size_t)k;
	}
	return (int64_t)done;
}

static int load_session(struct loader *l, const struct fuse_state_rec *r)
{
	if (l->last)
		return -EBADMSG;
	/* Promises to the kernel that this server does not make. */
	if (r->session.init_flags & ~l->s->profile->init_flags)
		return -EPROTONOSUPPORT;
	l->session = *r;
	return 0;
}

/* The entry first: what the backend then counts is given back by the session, whatever comes. */
static int load_node(struct loader *l, const struct fuse_state_rec *r)
{
	const struct fsb_ops *o = l->s->fs->b->ops;
	struct fuse_ref n = {.key = r->node.node, .count = r->node.lookups};
	int e;

	if (l->last != FUSE_STATE_SESSION && l->last != FUSE_STATE_NODE)
		return -EBADMSG;
	if (r->node.flags & FUSE_STATE_STALE || !o->load)
		n.flags = FUSE_REF_STALE;
	{
		LOCK_SCOPE(&l->s->lock);
		e = fuse_refs_find(&l->s->nodes, n.key) ? -EBADMSG
							: fuse_refs_add(&l->s->nodes, &n);
	}
	if (e < 0)
		return e;
	l->nodes++;
	if (n.flags)
		return 0;
	e = o->load(l->s->fs->b, n.key, n.count, r->node.state, r->node.state_bytes);
	if (e < 0 && e != -ESTALE) { /* it has counted nothing */
		LOCK_SCOPE(&l->s->lock);
		fuse_refs_find(&l->s->nodes, n.key)->flags = FUSE_REF_STALE;
	}
	return e == -ESTALE ? 0 : e;
}

/* A backend may have a use for their ids that would give the kernel two files of one id. */
void fuse_load_stale(struct fsd_session *s)
{
	struct fsb *b = s->fs->b;

	for (size_t i = 0; b->ops->load && i < s->nodes.slots; i++) {
		struct fuse_ref n;
		int r;

		{
			LOCK_SCOPE(&s->lock);
			n = s->nodes.slot[i];
		}
		if (!n.key || !n.count || !(n.flags & FUSE_REF_STALE))
			continue;
		r = b->ops->load(b, n.key, n.count, NULL, 0);
		if (r == 0 || r == -ESTALE) { /* it counts them from now on */
			LOCK_SCOPE(&s->lock);
			s->nodes.slot[i].flags &= ~FUSE_REF_STALE;
		}
	}
}

int fuse_load_handle(struct fsd_session *s, bool dir, struct fuse_ref h, bool stale)
{
	const struct fsb_ops *o = s->fs->b->ops;
	int r = stale || !o->reopen ? -ESTALE : fuse_pin_node(s, h.node);

	if (r == 0) { /* the pin is the handle's from then on */
		r = o->reopen(s->fs->b, h.node, h.key, dir, h.flags);
		if (r < 0)
			fuse_unpin_node(s, h.node);
	}
	if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
		return r;
	if (r < 0)
		h.flags |= FUSE_REF_STALE;
	{
		LOCK_SCOPE(&s->lock);
		r = fuse_refs_add(dir ? &s->dirs : &s->files, &h);
	}
	if (r < 0)
		fuse_handle_gone(s, dir, &h);
	return r;
}

static int load_handle(struct loader *l, const struct fuse_state_rec *r)
{
	bool dir = r->handle.flags & FUSE_STATE_DIR;
	const struct fuse_ref h = {.key = r->handle.fh,
		.count = 1,
		.node = r->handle.node,
		.flags = r->handle.open_flags};

	if (l->last == 0)
		return -EBADMSG;
	{
		LOCK_SCOPE(&l->s->lock);
		if (fuse_refs_find(dir ? &l->s->dirs : &l->s->files, h.key) ||
			(h.node != FUSE_ROOT_ID && !fuse_refs_find(&l->s->nodes, h.node)))
			return -EBADMSG;
	}
	l->handles++;
	return fuse_load_handle(l->s, dir, h, r->handle.flags & FUSE_STATE_STALE);
}

static int load_end(struct loader *l, const struct fuse_state_rec *r)
{
	return l->last == 0 || r->end.nodes != l->nodes || r->end.handles != l->handles ||
			       r->end.sum != XXH3_64bits_digest(l->sum)
		       ? -EBADMSG
		       : 0;
}

/* One record. Its bytes; 0: there are not enough; -errno. */
static int load_record(struct loader *l)
{
	struct fuse_state_rec rec;
	int n = fuse_state_record(l->buf + l->at, l->n - l->at, &rec), r = -EBADMSG;

	if (n <= 0)
		return n;
	switch (rec.kind) {
	case FUSE_STATE_SESSION: r = load_session(l, &rec); break;
	case FUSE_STATE_NODE: r = load_node(l, &rec); break;
	case FUSE_STATE_HANDLE: r = load_handle(l, &rec); break;
	case FUSE_STATE_END: r = load_end(l, &rec); break;
	}
	if (r < 0)
		return r;
	XXH3_64bits_update(l->sum, l->buf + l->at, (size_t)n);
	l->last = rec.kind;
	l->at += (size_t)n;
	return n;
}

static int load_records(struct loader *l)
{
	for (;;) {
		int64_t got;
		int r;

		while ((r = load_record(l)) > 0)
			if (l->last == FUSE_STATE_END)
				break;
		if (r < 0)
			return r;
		/* The writer closes behind its last record. */
		if (l->last == FUSE_STATE_END)
			return l->at < l->n || read_full(l->fd, l->buf, 1) != 0 ? -EBADMSG : 0;
		memmove(l->buf, l->buf + l->at, l->n - l->at);
		l->n -= l->at;
		l->at = 0;
		got = read(l->fd, l->buf + l->n, sizeof(l->buf) - l->n);
		if (got < 0 && errno == EINTR)
			got = 0;
		else if (got <= 0)
			return got < 0 ? -errno : -EBADMSG;
		l->n += (size_t)got;
	}
}

static int load(struct loader *l)
{
	const struct fsb_ops *o = l->s->fs->b->ops;
	uint8_t head[FUSE_STATE_HEAD];
	bool contents = false;
	int64_t n = read_full(l->fd, head, sizeof(head));
	int r = n < 0 ? (int)n : n < FUSE_STATE_HEAD ? -EBADMSG : fuse_state_head(head, &contents);

	if (r == 0 && contents)
		r = o->load_all ? o->load_all(l->s->fs->b, l->fd) : -EPROTONOSUPPORT;
	return r < 0 ? r : load_records(l);
}

int fsd_session_load(struct fsd_session *s, int fd)
{
	_cleanup_free_ struct loader *l = malloc(sizeof(*l));
	int r;

	fsd_session_reset(s);
	if (!l)
		return -ENOMEM;
	l->s = s;
	l->fd = fd;
	l->last = 0;
	l->nodes = l->handles = 0;
	l->at = l->n = 0;
	l->sum = XXH3_createState();
	if (!l->sum)
		return -ENOMEM;
	XXH3_64bits_reset(l->sum);
	r = load(l);
	XXH3_freeState(l->sum);
	if (r < 0) {
		fsd_session_reset(s);
	} else {
		fuse_load_stale(s);
		atomic_store(&s->init_flags, l->session.session.init_flags);
		atomic_store(&s->minor, l->session.session.minor);
		atomic_store(&s->opens_off, l->session.session.opens_off);
		fuse_set_ready(s, l->session.session.ready);
		if (s->keep) {
			fuse_keep_states(s);
			fuse_keep_facts(s);
		}
	}
	return r;
}
