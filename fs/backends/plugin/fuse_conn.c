// SPDX-License-Identifier: Apache-2.0
/*
 * plugin, protocol=fuse: the kernel's side of the conversation.
 *
 * Theory of operation. We greet with INIT and send what the kernel would send; what comes back is
 * checked as the kernel checks it. An operation that the plugin answers with ENOSYS is not asked
 * for again: it is the backend's below. A node is asked about under the plugin's own id; where the
 * plugin has no LOOKUP it gets our ids, so that a plugin of one operation over a directory works.
 * After a restart ids are void: a node is found again by its names from the root on.
 */
#include "fs/backends/plugin/plugin_priv.h"
#include "base/cleanup.h"
#include "fs/fuse_iov.h"

#include <fcntl.h>
#include <string.h>
#include <sys/param.h>
#include <sys/stat.h>

#define OFFERED                                                                                    \
	(FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DONT_MASK |                \
		FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |               \
		FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_NO_OPEN_SUPPORT |                     \
		FUSE_NO_OPENDIR_SUPPORT | FUSE_HANDLE_KILLPRIV_V2 | FUSE_MAX_PAGES |               \
		FUSE_CACHE_SYMLINKS)

#define MAX_ERRNO     511 /* of the kernel's FUSE */
#define MAX_SHM_SLOTS 64

_Static_assert(FUSE_TMPFILE < 64, "plug.absent has a bit for each opcode");

static bool absent(struct plug *p, uint32_t opcode)
{
	return atomic_load(&p->absent) >> opcode & 1;
}

/* ---- what comes in */

static int init_reply(struct plug *p, struct plug_buf *b, const struct fuse_out_header *h, size_t n)
{
	struct pw_init init = {0};
	int r = h->error || n > sizeof(struct fuse_init_out) ? -EPROTO : plug_need(&p->conn, b, n);

	if (r == 0)
		r = pw_init(b->p + b->at, n, OFFERED, &init);
	if (r < 0)
		return r;
	b->at += n;
	atomic_store(&p->flags, init.flags);
	atomic_store(&p->max_io, init.max_io);
	atomic_store(&p->absent, 0);
	atomic_store(&p->init_unique, 0);
	plug_ready(&p->conn);
	return 0;
}

/* Frees it after its last use. */
static void shm_drop(struct pf_shm *m)
{
	if (!m->ended || m->used)
		return;
	close(m->fd);
	free(m);
}

static int shm_offered(struct plug *p, struct plug_buf *b, size_t n)
{
	struct plugin_shm s = {0};
	int r = n > sizeof(s) ? -EBADMSG : plug_need(&p->conn, b, n);

	if (r == 0)
		r = pw_shm(b->p + b->at, n, &s);
	if (r < 0)
		return r;
	b->at += n;
	LOCK_SCOPE(&p->shm_lock);
	/* Memory: anything else may take as long to read as whoever serves it likes. */
	if (b->fd < 0 || fcntl(b->fd, F_GET_SEALS) < 0 || p->shm ||
		!s.slot_bytes) /* once a connection */
		return -EBADMSG;
	p->shm = calloc(1, sizeof(*p->shm));
	if (!p->shm)
		return -ENOMEM;
	p->shm->fd = steal_fd(&b->fd);
	p->shm->slot_bytes = s.slot_bytes;
	p->shm->slots = (uint32_t)MIN(s.bytes / s.slot_bytes, MAX_SHM_SLOTS);
	return 0;
}

static int fuse_receive(struct plug_conn *c, struct plug_buf *b)
{
	struct plug *p = (struct plug *)((char *)c - offsetof(struct plug, conn));
	struct fuse_out_header h;
	struct plug_call *call;
	size_t n;
	int r = plug_need(c, b, sizeof(h));

	if (r < 0)
		return r;
	memcpy(&h, b->p + b->at, sizeof(h));
	r = pw_head(&h);
	if (r < 0)
		return r;
	b->at += sizeof(h);
	n = h.len - sizeof(h);
	if (h.unique == 0) /* the others tell a kernel to drop what it caches */
		return h.error == PLUGIN_NOTIFY_SHM ? shm_offered(p, b, n) : plug_skip(c, b, n);
	if (h.unique == atomic_load(&p->init_unique))
		return init_reply(p, b, &h, n);
	call = plug_reply_begin(c, h.unique);
	if (!call) /* nobody waits for it */
		return plug_skip(c, b, n);
	r = n > iov_bytes(call->out, call->n_out) ? -EBADMSG
	    : n					  ? plug_reply_data(c, b, call, n)
						  : 0;
	if (r < 0)
		plug_reply_fail(c, call, r);
	else
		plug_reply_end(c, call, h.error);
	return r;
}

static void fuse_ended(struct plug_conn *c)
{
	struct plug *p = (struct plug *)((char *)c - offsetof(struct plug, conn));

	LOCK_SCOPE(&p->shm_lock);
	if (p->shm) {
		p->shm->ended = true;
		shm_drop(p->shm);
	}
	p->shm = NULL;
}

/* ---- what goes out */

static void number(void *arg, uint64_t id)
{
	struct fuse_in_header *h = arg;

	h->unique = id;
}

struct init_msg {
	struct plug *p;
	struct fuse_in_header h;
	struct fuse_init_in in;
};

static void number_init(void *arg, uint64_t id)
{
	struct init_msg *m = arg;

	m->h.unique = id;
	atomic_store(&m->p->init_unique, id); /* before its reply can come */
}

static int fuse_greet(struct plug_conn *c)
{
	struct plug *p = (struct plug *)((char *)c - offsetof(struct plug, conn));
	const uint32_t bytes = sizeof(struct fuse_in_header) + sizeof(struct fuse_init_in);
	struct init_msg m = {.p = p,
		.h = {.len = bytes, .opcode = FUSE_INIT},
		.in = {.major = FUSE_KERNEL_VERSION,
			.minor = FUSE_KERNEL_MINOR_VERSION,
			.max_readahead = FUSE_MAX_IO,
			.flags = OFFERED}};
	const struct iovec v[] = {{&m.h, sizeof(m.h)}, {&m.in, sizeof(m.in)}};

	return plug_post(c, 0, v, 2, number_init, &m);
}

const struct plug_proto plug_fuse_proto = {
	.greet = fuse_greet,
	.receive = fuse_receive,
	.ended = fuse_ended,
};

static void head(struct fuse_in_header *h, uint32_t opcode, uint64_t pid, const struct fsb_req *req)
{
	*h = (struct fuse_in_header){.opcode = opcode, .nodeid = pid};
	if (!req)
		req = fsb_asking;
	if (req) {
		h->uid = req->uid;
		h->gid = req->gid;
		h->pid = req->pid;
	}
}

int64_t pf_ask(struct plug *p, uint32_t opcode, const struct pf_node *n, const struct fsb_req *req,
	struct iovec *v, unsigned int nv, const struct iovec *out, unsigned int n_out, size_t min)
{
	struct plug_call call = {.out = out, .n_out = n_out, .epoch = n->epoch};
	struct fuse_in_header h;
	int r;

	if (!n->pid || absent(p, opcode))
		return -PLUGIN_PASS;
	head(&h, opcode, n->pid, req);
	v[0] = (struct iovec){&h, sizeof(h)};
	h.len = (uint32_t)iov_bytes(v, nv);
	r = plug_call_run(&p->conn, &call, v, nv, number, &h);
	if (r < 0)
		return -EIO; /* also where it was started anew meanwhile */
	if (call.error == -ENOSYS) {
		atomic_fetch_or(&p->absent, UINT64_C(1) << opcode);
		return -PLUGIN_PASS;
	}
	if (call.error)
		return call.error < -MAX_ERRNO && call.error != -PLUGIN_PASS ? -EIO : call.error;
	if (call.bytes < min) {
		plug_break(&p->conn, "an answer of it is too short");
		return -EIO;
	}
	return (int64_t)call.bytes;
}

void pf_tell(
	struct plug *p, uint32_t opcode, uint64_t pid, uint32_t epoch, const void *args, size_t n)
{
	struct fuse_in_header h;
	struct iovec v[] = {{&h, sizeof(h)}, {(void *)(uintptr_t)args, n}};

	if (absent(p, opcode))
		return;
	head(&h, opcode, pid, NULL);
	h.len = (uint32_t)(sizeof(h) + n);
	(void)plug_post(&p->conn, epoch, v, 2, number, &h); /* a broken one has forgotten it all */
}

void pf_forget_plugin(struct plug *p, uint64_t pid, uint32_t epoch, uint64_t count)
{
	const struct fuse_forget_in in = {.nlookup = count};

	if (pid && count)
		pf_tell(p, FUSE_FORGET, pid, epoch, &in, sizeof(in));
}

int pf_simple(struct plug *p, uint32_t opcode, const struct pf_node *n, const struct fsb_req *req,
	const void *args, size_t args_bytes, const char *name, const char *name2, void *out,
	size_t out_bytes)
{
	struct iovec v[4], o = {out, out_bytes};
	unsigned int nv = 1;
	int64_t r;

	if (args_bytes)
		v[nv++] = (struct iovec){(void *)(uintptr_t)args, args_bytes};
	if (name)
		v[nv++] = (struct iovec){(void *)(uintptr_t)name, strlen(name) + 1};
	if (name2)
		v[nv++] = (struct iovec){(void *)(uintptr_t)name2, strlen(name2) + 1};
	r = pf_ask(p, opcode, n, req, v, nv, &o, out_bytes ? 1 : 0, out_bytes);
	return r < 0 ? (int)r : 0;
}

/* ---- nodes */

/* LOOKUP in a plugin started anew. */
static int refind_one(struct plug *p, struct pn *n, uint32_t epoch)
{
	struct pf_node parent = {.p = p, .epoch = epoch};
	struct fuse_entry_out e = {0};
	char name[256];
	int r = pn_place(&p->nodes, n, &parent.n, name);

	if (r < 0)
		return r;
	r = pn_pid(&p->nodes, parent.n, epoch, &parent.pid);
	if (r == 0)
		r = pf_simple(p, FUSE_LOOKUP, &parent, NULL, NULL, 0, name, NULL, &e, sizeof(e));
	pn_put(&p->nodes, parent.n);
	if (r == 0 && e.nodeid &&
		(pw_entry(&e, false) < 0 || (e.attr.mode & S_IFMT) != (n->mode & S_IFMT))) {
		pf_forget_plugin(p, e.nodeid, epoch, 1);
		return -ESTALE;
	}
	if (r < 0 || !e.nodeid)
		return r == -EIO ? r : -ESTALE;
	pn_refound(&p->nodes, n, e.nodeid, e.generation, epoch);
	return 0;
}

/* From the highest directory on that the new plugin does not know. */
static int refind(struct plug *p, struct pn *n, uint32_t epoch)
{
	struct pn *chain[PLUGIN_MAX_DEPTH];
	unsigned int k = 0;
	uint64_t pid;
	int r = 0;

	for (struct pn *up = n; r == 0;) {
		char name[256];

		chain[k++] = up;
		r = k == PLUGIN_MAX_DEPTH ? -ESTALE : pn_place(&p->nodes, up, &up, name);
		if (r == 0 && pn_pid(&p->nodes, up, epoch, &pid) == 0) {
			pn_put(&p->nodes, up);
			break;
		}
	}
	while (k--) {
		if (r == 0)
			r = refind_one(p, chain[k], epoch);
		if (k) /* @n is the caller's */
			pn_put(&p->nodes, chain[k]);
	}
	return r;
}

int pf_get(struct plug *p, uint64_t node, struct pf_node *ret)
{
	int r = plug_wait_ready(&p->conn, &ret->epoch);

	ret->p = p;
	ret->n = NULL;
	if (r < 0)
		return r;
	ret->n = pn_get(&p->nodes, node);
	if (!ret->n)
		return -ESTALE;
	ret->inner = ret->n->inner;
	r = pn_pid(&p->nodes, ret->n, ret->epoch, &ret->pid);
	if (r == -ESTALE) {
		r = refind(p, ret->n, ret->epoch);
		if (r == 0)
			r = pn_pid(&p->nodes, ret->n, ret->epoch, &ret->pid);
	}
	if (r == 0 && !ret->pid && absent(p, FUSE_LOOKUP))
		ret->pid = node;
	return r;
}

void pf_put(struct pf_node *n)
{
	if (n->n)
		pn_put(&n->p->nodes, n->n);
}

/* ---- shared memory */

struct pf_shm *pf_slot_get(struct plug *p, size_t bytes, struct plugin_slot *ret)
{
	struct pf_shm *m;

	LOCK_SCOPE(&p->shm_lock);
	m = p->shm;
	if (!m || bytes > m->slot_bytes)
		return NULL;
	for (uint32_t i = 0; i < m->slots; i++)
		if (!(m->used >> i & 1)) {
			m->used |= UINT64_C(1) << i;
			*ret = (struct plugin_slot){
				.off = (uint64_t)i * m->slot_bytes, .len = (uint32_t)bytes};
			return m;
		}
	return NULL;
}

void pf_slot_put(struct plug *p, struct pf_shm *m, const struct plugin_slot *slot)
{
	LOCK_SCOPE(&p->shm_lock);
	m->used &= ~(UINT64_C(1) << (slot->off / m->slot_bytes));
	shm_drop(m);
}
