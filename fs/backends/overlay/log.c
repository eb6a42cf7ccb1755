// SPDX-License-Identifier: Apache-2.0
// The overlay's log: appending transactions, replaying them, rewriting the file when it has grown.
//
// log = head { frame }*; head: magic[8] "msb-ovl\0", u32 version, u32 zero, u64 fingerprint of the
// lower image, u64 check of the 24 bytes before; frame: u32 payload bytes, u32 number of the frame,
// u64 check, payload (one transaction: txn.c). Little-endian; a check is XXH3-64, a frame's seeded
// with its number, so that no stale frame passes for a new one. The first frame that does not check
// ends the log: it is the tail that a crash tore, and is cut off.
#include "base/io.h"
#include "base/log.h"
#include "fs/backends/overlay/ovl.h"
#include "fs/backends/overlay/record.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <xxhash.h>

static void put_head(const struct ovl *o, uint8_t head[OVL_LOG_HEAD])
{
	uint32_t version = htole32(OVL_LOG_VERSION);
	uint64_t id = htole64(o->lower_id), sum;

	memset(head, 0, OVL_LOG_HEAD);
	memcpy(head, OVL_LOG_MAGIC, sizeof(OVL_LOG_MAGIC));
	memcpy(head + 8, &version, sizeof(version));
	memcpy(head + 16, &id, sizeof(id));
	sum = htole64(XXH3_64bits(head, 24));
	memcpy(head + 24, &sum, sizeof(sum));
}

static uint64_t frame_sum(const uint8_t *payload, uint32_t n, uint64_t seq)
{
	return XXH3_64bits_withSeed(payload, n, seq + 1);
}

static void seal(struct ovl_txn *t, uint64_t seq)
{
	uint32_t n = (uint32_t)(t->len - OVL_FRAME_HEAD), n_le = htole32(n),
		 seq_le = htole32((uint32_t)seq);
	uint64_t sum = htole64(frame_sum(t->buf + OVL_FRAME_HEAD, n, seq));

	memcpy(t->buf, &n_le, sizeof(n_le));
	memcpy(t->buf + 4, &seq_le, sizeof(seq_le));
	memcpy(t->buf + 8, &sum, sizeof(sum));
}

static int check_head(const struct ovl *o, const uint8_t *p, size_t n)
{
	uint8_t want[OVL_LOG_HEAD];
	uint32_t version;
	uint64_t sum;

	put_head(o, want);
	if (n < OVL_LOG_HEAD || memcmp(p, OVL_LOG_MAGIC, sizeof(OVL_LOG_MAGIC)) != 0)
		return -EBADMSG;
	memcpy(&sum, p + 24, sizeof(sum));
	if (le64toh(sum) != XXH3_64bits(p, 24))
		return -EBADMSG;
	memcpy(&version, p + 8, sizeof(version));
	if (le32toh(version) != OVL_LOG_VERSION)
		return -EPROTONOSUPPORT;
	return memcmp(p, want, OVL_LOG_HEAD) == 0 ? 0 : -ESTALE;
}

/* What can only be said once all has been read: names left, and what the data files have to say. */
static void settle(struct ovl *o)
{
	for (uint64_t b = 0; b < o->table_n; b++) {
		for (struct ovl_inode *i = o->table[b], *next; i; i = next) {
			next = i->hnext;
			if (i->flags & OVL_OWN_DATA)
				i->flags |= OVL_STALE_SIZE | OVL_STALE_BLOCKS;
			if (i->a.nlink == 0 && i->ino != OVL_ROOT) {
				ovl_remove(o, i);
				ovl_inode_free(i);
			}
		}
	}
}

int ovl_log_replay(struct ovl *o, const uint8_t *p, size_t n, uint64_t *ret_end)
{
	const uint64_t max_nodes = o->max_nodes;
	size_t at = OVL_LOG_HEAD;
	int r = check_head(o, p, n);

	if (r < 0)
		return r;
	/* Files that were removed again count until settle(): what was written once must load. */
	o->max_nodes = UINT64_MAX;
	for (; n - at >= OVL_FRAME_HEAD; o->log.seq++) {
		const uint8_t *payload = p + at + OVL_FRAME_HEAD;
		uint32_t bytes, seq;
		uint64_t sum;

		memcpy(&bytes, p + at, sizeof(bytes));
		memcpy(&seq, p + at + 4, sizeof(seq));
		memcpy(&sum, p + at + 8, sizeof(sum));
		bytes = le32toh(bytes);
		if (bytes > OVL_MAX_FRAME || bytes > n - at - OVL_FRAME_HEAD ||
			le32toh(seq) != (uint32_t)o->log.seq ||
			le64toh(sum) != frame_sum(payload, bytes, o->log.seq))
			break;
		r = ovl_apply(o, payload, bytes);
		if (r < 0)
			break;
		at += OVL_FRAME_HEAD + bytes;
	}
	o->max_nodes = max_nodes;
	if (r < 0)
		return r;
	settle(o);
	if (!ovl_find(o, OVL_ROOT))
		return -EBADMSG;
	*ret_end = at;
	return 0;
}

/* ---- appending */

/* Keeps room on the disk ahead of the log, so that a full disk can still be emptied. */
static int reserve(struct ovl *o, size_t n, bool removes)
{
	struct ovl_log *l = &o->log;
	uint64_t need = l->end + n;

	if (need > l->limit + (removes ? l->limit / 16 : 0))
		return -ENOSPC;
	if (need + OVL_LOG_RESERVE_LEAST <= l->reserved)
		return 0;
	if (fallocate(l->fd, FALLOC_FL_KEEP_SIZE, (off_t)l->end,
		    (off_t)(n + OVL_LOG_RESERVE + OVL_LOG_RESERVE_LEAST)) == 0)
		l->reserved = need + OVL_LOG_RESERVE + OVL_LOG_RESERVE_LEAST;
	else if (errno == EOPNOTSUPP)
		l->reserved = UINT64_MAX / 2;
	else if (!removes)
		return errno == EDQUOT ? -EDQUOT : -ENOSPC;
	return 0;
}

int ovl_commit(struct ovl *o, struct ovl_txn *t, bool removes)
{
	struct ovl_log *l = &o->log;
	int r;

	ovl_data_purge(o);
	atomic_store(&o->saved, false);
	if (o->broken || t->oom)
		return o->broken ? o->broken : -ENOMEM;
	if (t->len - OVL_FRAME_HEAD > OVL_MAX_FRAME)
		return -ENOSPC;
	r = reserve(o, t->len, removes);
	if (r < 0)
		return r;
	seal(t, l->seq);
	r = msb_pwrite_full(l->fd, t->buf, t->len, l->end);
	if (r < 0) {
		(void)!ftruncate(l->fd, (off_t)l->end); /* else the checks find the torn frame */
		return r;
	}
	l->end += t->len;
	l->seq++;
	r = ovl_apply(o, t->buf + OVL_FRAME_HEAD, t->len - OVL_FRAME_HEAD);
	if (r < 0) {
		log_err("overlay: memory and log no longer agree (%s): no more changes until it is "
			"opened again",
			strerror(-r));
		return o->broken = -EIO;
	}
	if (l->end > l->compact_at && ovl_log_compact(o) < 0)
		l->compact_at = l->end * 2; /* the old log is whole: try again later */
	return 0;
}

/* ---- rewriting */

/* The length at which a log is rewritten that would be @live bytes long then. */
static uint64_t rewrite_at(const struct ovl *o, uint64_t live)
{
	uint64_t at = live * 4 > OVL_COMPACT_BYTES ? live * 4 : OVL_COMPACT_BYTES;

	/* Before it meets its limit, but not again and again where it is nearly all alive. */
	at = at < o->log.limit / 8 * 7 ? at : o->log.limit / 8 * 7;
	return at > live + live / 4 ? at : live + live / 4;
}

struct writer {
	struct ovl_txn t;
	int fd;
	uint64_t end, seq;
	int err;
};

static void flush(struct writer *w)
{
	if (w->err == 0 && w->t.oom)
		w->err = -ENOMEM;
	if (w->err == 0 && w->t.len > OVL_FRAME_HEAD) {
		seal(&w->t, w->seq++);
		w->err = msb_pwrite_full(w->fd, w->t.buf, w->t.len, w->end);
		w->end += w->t.len;
	}
	w->t.len = OVL_FRAME_HEAD;
}

static void flush_if_big(struct writer *w)
{
	if (w->t.len > OVL_MAX_FRAME / 4)
		flush(w);
}

static void put_inode(struct writer *w, const struct ovl_inode *i)
{
	ovl_txn_inode(&w->t, i->ino, i->lower, i->flags, &i->a);
	ovl_txn_birth(&w->t, i);
	if (i->target)
		ovl_txn_target(&w->t, i->ino, i->target, strlen(i->target));
	/* Not ovl_txn_whole(): all attributes of one inode may be longer than a frame. */
	for (const struct ovl_xattr *x = i->xattrs; x; x = x->next) {
		ovl_txn_xattr(
			&w->t, i->ino, x->bytes, x->name_n, x->bytes + x->name_n + 1, x->value_n);
		flush_if_big(w);
	}
	flush_if_big(w);
}

static void put_dents(struct writer *w, const struct ovl_inode *i)
{
	const struct ovl_dir *d = i->dir;

	for (uint32_t b = 0; b < d->buckets; b++) {
		for (const struct ovl_dent *e = d->bucket[b]; e; e = e->next) {
			if (!e->cookie)
				ovl_txn_dent(&w->t, i->ino, e->name, e->name_n, e->ino, 0);
			flush_if_big(w);
		}
	}
	for (uint32_t n = 0; n < d->added_n; n++) {
		const struct ovl_dent *e = d->added[n].d;

		if (e)
			ovl_txn_dent(&w->t, i->ino, e->name, e->name_n, e->ino, e->cookie);
		flush_if_big(w);
	}
}

static void put_all(struct ovl *o, struct writer *w)
{
	ovl_txn_next(&w->t, o->next_ino);
	for (uint64_t b = 0; b < o->table_n; b++) {
		for (const struct ovl_inode *i = o->table[b]; i; i = i->hnext) {
			if (i->flags & OVL_CHANGED)
				put_inode(w, i);
		}
	}
	for (uint64_t b = 0; b < o->table_n; b++) {
		for (const struct ovl_inode *i = o->table[b]; i; i = i->hnext) {
			if (i->flags & OVL_CHANGED && i->dir)
				put_dents(w, i);
		}
	}
	flush(w);
}

int ovl_log_compact(struct ovl *o)
{
	_cleanup_close_ int fd = openat(
		o->upper_fd, "log.new", O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct writer w = {.fd = fd, .end = OVL_LOG_HEAD};
	uint8_t head[OVL_LOG_HEAD];

	if (fd < 0)
		return -errno;
	put_head(o, head);
	w.err = msb_pwrite_full(fd, head, sizeof(head), 0);
	ovl_txn_init(&w.t);
	put_all(o, &w);
	ovl_txn_done(&w.t);
	/* The old log is on the disk as far as was asked for: the new one must be before it goes.
	 */
	if (w.err == 0 && fdatasync(fd) < 0)
		w.err = -errno;
	if (w.err == 0 && renameat(o->upper_fd, "log.new", o->upper_fd, "log") < 0)
		w.err = -errno;
	if (w.err < 0) {
		(void)unlinkat(o->upper_fd, "log.new", 0); /* the next one truncates it anyway */
		return w.err;
	}
	(void)fsync(o->upper_fd); /* survived: until the next sync either log will do */
	if (o->log.fd >= 0)
		close(o->log.fd);
	o->log.fd = steal_fd(&fd);
	o->log.end = w.end;
	o->log.seq = w.seq;
	o->log.reserved = 0;
	o->log.compact_at = rewrite_at(o, w.end);
	return 0;
}

/* ---- opening and syncing */

/* About what a rewritten log would take. */
static uint64_t live_bytes(const struct ovl *o)
{
	uint64_t n = 0;

	for (uint64_t b = 0; b < o->table_n; b++) {
		for (const struct ovl_inode *i = o->table[b]; i; i = i->hnext) {
			n += i->flags & OVL_CHANGED ? OVL_RECORD_HEAD + OVL_R_INODE_BODY : 0;
			n += i->dir ? i->dir->dents * UINT64_C(40) : 0;
			for (const struct ovl_xattr *x = i->xattrs; x; x = x->next)
				n += OVL_RECORD_HEAD + 13u + x->name_n + x->value_n;
		}
	}
	return n;
}

static int fresh(struct ovl *o, struct msb_err *e)
{
	int r;

	if (!o->lower) {
		struct ovl_inode *root = ovl_new(o, OVL_ROOT);

		if (!root)
			return msb_err_set(e, ENOMEM, "no memory for a new root");
		root->a = (struct ovl_attr){.mode = S_IFDIR | 0755, .nlink = 2, .size = 4096};
		root->a.atime = root->a.mtime = root->a.ctime = ovl_now();
		root->flags = OVL_CHANGED;
	}
	r = ovl_log_compact(o);
	return r < 0 ? msb_err_set(e, -r, "cannot write the log of changes: %s", strerror(-r)) : 0;
}

static int replay_failed(int r, struct msb_err *e)
{
	if (r == -ESTALE)
		return msb_err_set(e, ESTALE, "these changes were made to another image");
	if (r == -EPROTONOSUPPORT)
		return msb_err_set(e, EPROTONOSUPPORT,
			"the log of changes is of a version that this msb does not know");
	if (r == -EBADMSG)
		return msb_err_set(e, EBADMSG, "the log of changes is damaged");
	return msb_err_set(e, -r, "cannot load the log of changes: %s", strerror(-r));
}

int ovl_log_open(struct ovl *o, struct msb_err *e)
{
	_cleanup_free_ uint8_t *p = NULL;
	struct stat st;
	uint64_t live;
	int64_t n;
	int r;

	o->log.fd = openat(o->upper_fd, "log", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (o->log.fd < 0 && errno == ENOENT)
		return fresh(o, e);
	if (o->log.fd < 0 || fstat(o->log.fd, &st) < 0)
		return msb_err_set(e, errno, "cannot open the log of changes: %m");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > o->log.limit + o->log.limit / 16)
		return msb_err_set(e, EFBIG, "the log of changes is past its limit");
	p = malloc((size_t)st.st_size + 1);
	if (!p)
		return msb_err_set(e, ENOMEM, "no memory to load the log of changes");
	n = msb_pread_full(o->log.fd, p, (size_t)st.st_size, 0);
	r = n < 0 ? (int)n : ovl_log_replay(o, p, (size_t)n, &o->log.end);
	if (r < 0)
		return replay_failed(r, e);
	if (o->log.end < (uint64_t)n) {
		log_warn("overlay: cutting %lld bytes that a crash tore off the end of the log",
			(long long)((uint64_t)n - o->log.end));
		if (ftruncate(o->log.fd, (off_t)o->log.end) < 0)
			return msb_err_set(e, errno, "cannot cut the log of changes: %m");
	}
	live = live_bytes(o);
	o->log.compact_at = rewrite_at(o, live);
	if (o->log.end > OVL_COMPACT_LOAD && live * 2 < o->log.end)
		(void)ovl_log_compact(o); /* the long log serves as well */
	return 0;
}

int ovl_log_flush(struct ovl *o)
{
	const bool saved = atomic_load(&o->saved);
	OVL_TXN(t);
	int r = 0;

	for (uint64_t b = 0; b < o->table_n && r == 0; b++) {
		for (const struct ovl_inode *i = o->table[b]; i; i = i->hnext) {
			if (i->flags & OVL_DIRTY)
				ovl_txn_inode(&t, i->ino, i->lower, i->flags, &i->a);
		}
		if (t.len > OVL_MAX_FRAME / 4) {
			r = ovl_commit(o, &t, true);
			t.len = OVL_FRAME_HEAD;
		}
	}
	if (r == 0 && t.len > OVL_FRAME_HEAD)
		r = ovl_commit(o, &t, true);
	atomic_store(&o->saved, saved); /* what is written down has not changed by that */
	return r;
}

int ovl_log_sync(struct ovl *o)
{
	_cleanup_close_ int fd = -1;
	{
		/* A rewrite may replace the log meanwhile; that syncs what was in the old one. */
		OVL_READ(o);
		fd = fcntl(o->log.fd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			return -errno;
	}
	return fdatasync(fd) < 0 ? -errno : 0;
}
