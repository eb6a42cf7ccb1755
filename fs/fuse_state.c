// SPDX-License-Identifier: Apache-2.0
// What one kernel holds of the file system: the bytes, and writing them.
#include "fs/fuse_state.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/fuse_priv.h"
#include "fs/fuse_state_priv.h"

#include <endian.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/param.h>
#include <xxhash.h>

static const uint8_t magic[8] = "msbfuse";

/* ---- bytes */

static uint8_t *put16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

static uint8_t *put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

int fuse_state_head(const uint8_t p[FUSE_STATE_HEAD], bool *ret_contents)
{
	uint32_t flags = get32(p + 12);

	if (memcmp(p, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	if (get32(p + 8) != FUSE_STATE_VERSION)
		return -EPROTONOSUPPORT;
	if (flags & ~FUSE_STATE_CONTENTS)
		return -EBADMSG;
	*ret_contents = flags & FUSE_STATE_CONTENTS;
	return 0;
}

static int session_record(const uint8_t *b, size_t n, struct fuse_state_rec *r)
{
	if (n != 16 || b[12] > 1 || b[13] > 1 || b[14] || b[15])
		return -EBADMSG;
	r->session.init_flags = get64(b);
	r->session.minor = get32(b + 8);
	r->session.ready = b[12];
	r->session.opens_off = b[13];
	return 0;
}

static int node_record(const uint8_t *b, size_t n, struct fuse_state_rec *r)
{
	if (n < 20 || n > FUSE_STATE_MAX_BODY)
		return -EBADMSG;
	r->node.node = get64(b);
	r->node.lookups = get64(b + 8);
	r->node.flags = get32(b + 16);
	r->node.state = b + 20;
	r->node.state_bytes = n - 20;
	return r->node.node <= FUSE_ROOT_ID || r->node.lookups == 0 ||
			       r->node.lookups > FUSE_STATE_MAX_LOOKUPS ||
			       r->node.flags & ~FUSE_STATE_STALE
		       ? -EBADMSG
		       : 0;
}

static int handle_record(const uint8_t *b, size_t n, struct fuse_state_rec *r)
{
	if (n != 24)
		return -EBADMSG;
	r->handle.fh = get64(b);
	r->handle.node = get64(b + 8);
	r->handle.open_flags = get32(b + 16);
	r->handle.flags = get32(b + 20);
	return r->handle.fh == 0 || r->handle.node == 0 || r->handle.open_flags & FUSE_REF_STALE ||
			       r->handle.flags & ~(FUSE_STATE_STALE | FUSE_STATE_DIR)
		       ? -EBADMSG
		       : 0;
}

static int end_record(const uint8_t *b, size_t n, struct fuse_state_rec *r)
{
	if (n != 24)
		return -EBADMSG;
	r->end.nodes = get64(b);
	r->end.handles = get64(b + 8);
	r->end.sum = get64(b + 16);
	return 0;
}

int fuse_state_record(const uint8_t *p, size_t n, struct fuse_state_rec *ret)
{
	size_t bytes;
	int r;

	if (n < FUSE_STATE_RECORD_HEAD)
		return 0;
	bytes = get16(p + 2);
	if (bytes > FUSE_STATE_MAX_BODY)
		return -EBADMSG;
	if (n < FUSE_STATE_RECORD_HEAD + bytes)
		return 0;
	ret->kind = get16(p);
	p += FUSE_STATE_RECORD_HEAD;
	switch (ret->kind) {
	case FUSE_STATE_SESSION: r = session_record(p, bytes, ret); break;
	case FUSE_STATE_NODE: r = node_record(p, bytes, ret); break;
	case FUSE_STATE_HANDLE: r = handle_record(p, bytes, ret); break;
	case FUSE_STATE_END: r = end_record(p, bytes, ret); break;
	default: r = -EBADMSG;
	}
	return r < 0 ? r : (int)(FUSE_STATE_RECORD_HEAD + bytes);
}

/* ---- writing */

struct writer {
	struct fsd_session *s;
	int fd, error;
	uint64_t nodes, handles;
	XXH3_state_t *sum;
	size_t n;
	uint8_t buf[FUSE_STATE_BUFFER];
};

static void flush(struct writer *w)
{
	if (w->error == 0 && w->n)
		w->error = msb_write_full(w->fd, w->buf, w->n);
	w->n = 0;
}

/* Room for a record's body; its head and the sum are put_record()'s. */
static uint8_t *body(struct writer *w)
{
	if (sizeof(w->buf) - w->n < FUSE_STATE_RECORD_HEAD + FUSE_STATE_MAX_BODY)
		flush(w);
	return w->buf + w->n + FUSE_STATE_RECORD_HEAD;
}

static void put_record(struct writer *w, enum fuse_state_kind kind, size_t body_bytes)
{
	size_t bytes = FUSE_STATE_RECORD_HEAD + body_bytes;

	put16(put16(w->buf + w->n, (uint16_t)kind), (uint16_t)body_bytes);
	XXH3_64bits_update(w->sum, w->buf + w->n, bytes);
	w->n += bytes;
}

static void put_session(struct writer *w)
{
	uint8_t *b = body(w);

	memset(b, 0, 16);
	put32(put64(b, atomic_load(&w->s->init_flags)), atomic_load(&w->s->minor));
	b[12] = atomic_load(&w->s->ready);
	b[13] = atomic_load(&w->s->opens_off);
	put_record(w, FUSE_STATE_SESSION, 16);
}

static void put_node(struct writer *w, const struct fuse_ref *n)
{
	const struct fsb_ops *o = w->s->fs->b->ops;
	uint8_t *b = body(w);
	int64_t bytes = -ESTALE;

	if (!(n->flags & FUSE_REF_STALE) && o->save)
		bytes = o->save(w->s->fs->b, n->key, b + 20, FUSE_STATE_MAX_SAVE);
	put64(put64(b, n->key), MIN(n->count, FUSE_STATE_MAX_LOOKUPS));
	put32(b + 16, bytes < 0 ? FUSE_STATE_STALE : 0);
	put_record(w, FUSE_STATE_NODE, 20 + (bytes < 0 ? 0 : (size_t)bytes));
	w->nodes++;
}

static void put_handle(struct writer *w, const struct fuse_ref *h, bool dir)
{
	uint8_t *b = body(w);
	bool stale = h->flags & FUSE_REF_STALE;

	b = put64(put64(b, h->key), h->node);
	put32(put32(b, h->flags & ~FUSE_REF_STALE),
		(stale ? FUSE_STATE_STALE : 0) | (dir ? FUSE_STATE_DIR : 0));
	put_record(w, FUSE_STATE_HANDLE, 24);
	w->handles++;
}

/* The next entry that the kernel holds, from slot *@at on. */
static bool next(struct fsd_session *s, const struct fuse_refs *t, size_t *at, struct fuse_ref *ret)
{
	LOCK_SCOPE(&s->lock);
	for (; *at < t->slots; ++*at)
		if (t->slot[*at].key && t->slot[*at].count) {
			*ret = t->slot[(*at)++];
			return true;
		}
	return false;
}

static void put_all(struct writer *w)
{
	struct fuse_ref e;
	uint64_t sum;
	uint8_t *b;

	put_session(w);
	for (size_t i = 0; w->error == 0 && next(w->s, &w->s->nodes, &i, &e);)
		put_node(w, &e);
	for (size_t i = 0; w->error == 0 && next(w->s, &w->s->files, &i, &e);)
		put_handle(w, &e, false);
	for (size_t i = 0; w->error == 0 && next(w->s, &w->s->dirs, &i, &e);)
		put_handle(w, &e, true);
	sum = XXH3_64bits_digest(w->sum);
	b = body(w);
	put64(put64(put64(b, w->nodes), w->handles), sum);
	put_record(w, FUSE_STATE_END, 24);
	flush(w);
}

int fsd_session_save(struct fsd_session *s, int fd)
{
	_cleanup_free_ struct writer *w = malloc(sizeof(*w));
	const struct fsb_ops *o = s->fs->b->ops;
	uint8_t head[FUSE_STATE_HEAD];
	int r;

	memcpy(head, magic, sizeof(magic));
	put32(put32(head + 8, FUSE_STATE_VERSION), o->save_all ? FUSE_STATE_CONTENTS : 0);
	r = w ? msb_write_full(fd, head, sizeof(head)) : -ENOMEM;
	if (r == 0 && o->save_all)
		r = o->save_all(s->fs->b, fd);
	if (r < 0)
		return r;
	w->s = s;
	w->fd = fd;
	w->error = 0;
	w->n = 0;
	w->nodes = w->handles = 0;
	w->sum = XXH3_createState();
	if (!w->sum)
		return -ENOMEM;
	XXH3_64bits_reset(w->sum);
	put_all(w);
	XXH3_freeState(w->sum);
	return w->error;
}
