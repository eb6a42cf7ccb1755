// SPDX-License-Identifier: Apache-2.0
/*
 * The virtio-fs device.
 *
 * Theory of operation. One thread accepts front ends and speaks vhost-user with one at a time. It
 * starts a thread a queue, which serves requests inline: pools only add wake-ups, and those are
 * what a request costs. After work a queue's thread looks at the ring for a while (fs/spin.h).
 * Queue 0 brings FORGETs alone, which nobody waits for, one for each file that a guest removes:
 * after some its thread naps without asking for kicks, so that a guest that forgets much neither
 * calls us nor is called for each.
 */
#include "fs/virtiofs.h"
#include "fs/fuse_state.h"
#include "fs/fuse_stats.h"
#include "fs/spin.h"
#include "base/cleanup.h"
#include "base/log.h"

#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

/* What may be held back of the guest: index and call are what a request costs most. */
#define PUBLISH_BATCH 4		   /* completions before the index is moved */
#define CALL_BATCH    8		   /* and before the guest is called */
#define CALL_BYTES    (128u << 10) /* and their data */
#define HOLD_CYCLES   100000	   /* some tens of microseconds */
#define RETRY_MS      100	   /* after accept() failed */
#define NAP_MS	      5
#define NAP_BELOW     128 /* FORGETs at once: more would fill the ring in a nap */

struct queue {
	struct virtiofs *v;
	struct vu_queue *q;
	pthread_t thread;
	int stop_fd;
	_Atomic bool stop;
	struct fuse_worker *w;
	struct vq_elem e;
	bool forgets;
	unsigned int held; /* completions that the guest has not been called for */
	size_t held_bytes;
};

struct virtiofs {
	struct vu_dev dev; /* first */
	struct fsd_fs *fs;
	char tag[36 + 1];
	int listen_fd, stop_fd;
	pthread_t thread;
	struct fsd_session *session; /* one front end's after another */
	bool keeps;		     /* ... what a next server may go on with */
	_Atomic bool warned;	     /* of this front end: a guest must not fill the log */
	struct queue *queue[VIRTIOFS_QUEUES];
	struct fuse_stats stats[VIRTIOFS_QUEUES]; /* stay when a queue is stopped */
};

/* Hands over what was served and held back. */
static void hand_over(struct queue *k)
{
	vq_publish(&k->q->vq);
	if (k->v->keeps)
		fsd_session_commit(k->v->session);
	vu_call(k->q);
	k->held = 0;
	k->held_bytes = 0;
}

/* Whether the guest is to have what is held back, since *@since, now. */
static bool due(const struct queue *k, uint64_t *since)
{
	uint64_t now = __builtin_ia32_rdtsc();

	if (k->held == 1)
		*since = now;
	return k->held == CALL_BATCH || k->held_bytes >= CALL_BYTES || now - *since > HOLD_CYCLES;
}

/* Serves what waits. How many requests; or -EPROTO: the queue is broken. */
static int serve_waiting(struct queue *k)
{
	struct vq *q = &k->q->vq;
	uint64_t since = 0;
	int r = 0, served = 0;

	while (!atomic_load_explicit(&k->stop, memory_order_relaxed) &&
		(r = vq_pop(q, &k->e)) > 0) {
		int64_t n;

		if (k->held && k->e.n_out &&
			fuse_may_wait(k->v->session, k->e.iov, k->e.out_bytes + k->e.in_bytes))
			hand_over(k);
		n = fuse_handle(k->v->session, k->w, k->e.iov, k->e.n_out, k->e.iov + k->e.n_out,
			k->e.n_in);
		if (n < 0) {
			q->broken = true;
			r = -EPROTO;
			break;
		}
		vq_put(q, &k->e, (uint32_t)n);
		k->held_bytes += k->e.out_bytes + (size_t)n;
		k->held++;
		served++;
		if (!vq_pending(q) || due(k, &since))
			hand_over(k);
		else if (k->held % PUBLISH_BATCH == 0)
			vq_publish(q);
	}
	hand_over(k);
	fuse_worker_count(k->v->session, k->w);
	return r < 0 ? r : served;
}

static bool has_work(const void *arg)
{
	const struct queue *k = arg;

	return vq_pending(&k->q->vq) || atomic_load(&k->stop);
}

/* Sleeps until the guest kicks or the queue is to stop. */
static void sleep_for_kick(struct queue *k)
{
	struct pollfd p[2] = {{k->q->kick_fd, POLLIN, 0}, {k->stop_fd, POLLIN, 0}};
	eventfd_t n;

	if (poll(p, 2, -1) > 0 && p[0].revents)
		(void)!read(k->q->kick_fd, &n, sizeof(n)); /* what it counts does not matter */
}

static void nap(const struct queue *k)
{
	struct pollfd p = {k->stop_fd, POLLIN, 0};

	(void)poll(&p, 1, NAP_MS);
}

static void *queue_main(void *arg)
{
	struct queue *k = arg;
	struct spin spin = {.us = k->forgets ? 0 : SPIN_FIRST_US};

	while (!atomic_load(&k->stop)) {
		int n;

		vq_no_kicks(&k->q->vq);
		n = serve_waiting(k);
		if (n < 0) {
			if (!atomic_exchange(&k->v->warned, true))
				log_warn("export %s: the guest broke a queue; it is not served",
					k->v->tag);
			break;
		}
		if (k->forgets && n > 0) {
			if (n < NAP_BELOW)
				nap(k);
			continue;
		}
		if (!spin_look(&spin, has_work, k, 64) && vq_want_kicks(&k->q->vq)) {
			uint64_t before = spin_now_us();

			sleep_for_kick(k);
			if (!k->forgets)
				spin_slept(&spin, before);
		}
	}
	return NULL;
}

static struct queue *queue_free(struct queue *k)
{
	if (k) {
		cleanup_close_(&k->stop_fd);
		free(k->w);
		free(k);
	}
	return NULL;
}

static int queue_start(struct vu_dev *d, unsigned int i)
{
	struct virtiofs *v = (struct virtiofs *)(void *)d;
	struct queue *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return -ENOMEM;
	k->v = v;
	k->q = &d->q[i];
	k->forgets = i == 0;
	k->w = calloc(1, sizeof(*k->w));
	if (k->w)
		k->w->stats = &v->stats[i];
	fuse_stats_clock();
	k->stop_fd = eventfd(0, EFD_CLOEXEC);
	r = !k->w	     ? -ENOMEM
	    : k->stop_fd < 0 ? -errno
			     : -pthread_create(&k->thread, NULL, queue_main, k);
	if (r < 0) {
		(void)queue_free(k);
		return r;
	}
	v->queue[i] = k;
	return 0;
}

static void queue_stop(struct vu_dev *d, unsigned int i)
{
	struct virtiofs *v = (struct virtiofs *)(void *)d;
	struct queue *k = v->queue[i];

	atomic_store(&k->stop, true);
	(void)eventfd_write(k->stop_fd, 1);
	pthread_join(k->thread, NULL);
	v->queue[i] = queue_free(k);
}

static void reset(struct vu_dev *d)
{
	fsd_session_reset(((struct virtiofs *)(void *)d)->session);
}

static int save(struct vu_dev *d, int fd)
{
	return fsd_session_save(((struct virtiofs *)(void *)d)->session, fd);
}

static int load(struct vu_dev *d, int fd)
{
	struct virtiofs *v = (struct virtiofs *)(void *)d;
	int r = fsd_session_load(v->session, fd);

	if (r < 0 && !atomic_exchange(&v->warned, true))
		log_warn("export %s: the state of a saved machine cannot be loaded: %s", v->tag,
			strerror(-r));
	return r;
}

static const struct vu_ops ops = {
	.queues = VIRTIOFS_QUEUES,
	.queue_start = queue_start,
	.queue_stop = queue_stop,
	.reset = reset,
	.save = save,
	.load = load,
};

static void *accept_main(void *arg)
{
	struct virtiofs *v = arg;
	struct pollfd p[2] = {{v->listen_fd, POLLIN, 0}, {v->stop_fd, POLLIN, 0}};

	for (;;) {
		_cleanup_close_ int sock = -1;
		struct msb_err e = {0};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			break;
		sock = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (sock < 0) { /* no descriptors left, say: waiting is all there is to do */
			(void)poll(&p[1], 1, RETRY_MS);
			continue;
		}
		log_debug("export %s: a machine connected", v->tag);
		atomic_store(&v->warned, false);
		if (vu_serve(&v->dev, sock, v->stop_fd, &e) < 0)
			log_warn("export %s: %s", v->tag, e.msg);
		log_debug("export %s: the machine is gone", v->tag);
	}
	return NULL;
}

int virtiofs_new(struct fsd_fs *fs, const char *tag, int listen_fd, int keep_fd, bool readonly,
	struct virtiofs **ret, struct msb_err *e)
{
	struct virtiofs *v = calloc(1, sizeof(*v));
	int r = -ENOMEM;

	if (!v) {
		close(listen_fd);
		return msb_err_set(e, ENOMEM, "export %s: no memory", tag);
	}
	fuse_stats_clock_begin();
	vu_init(&v->dev, &ops);
	v->fs = fs;
	v->listen_fd = listen_fd;
	(void)snprintf(v->tag, sizeof(v->tag), "%s", tag);
	v->stop_fd = eventfd(0, EFD_CLOEXEC);
	v->session = fsd_session_new(fs, &fuse_profile_guest, readonly);
	v->keeps = keep_fd >= 0;
	if (v->session)
		r = v->keeps ? fsd_session_keep(v->session, keep_fd) : 0;
	if (r == 0)
		r = v->stop_fd < 0 ? -errno : -pthread_create(&v->thread, NULL, accept_main, v);
	if (r < 0) {
		cleanup_close_(&v->stop_fd);
		close(listen_fd);
		(void)fsd_session_free(v->session);
		free(v);
		return msb_err_set(e, -r, "export %s: %s", tag, strerror(-r));
	}
	*ret = v;
	return 0;
}

struct virtiofs *virtiofs_free(struct virtiofs *v)
{
	if (!v)
		return NULL;
	(void)eventfd_write(v->stop_fd, 1);
	pthread_join(v->thread, NULL);
	close(v->stop_fd);
	close(v->listen_fd);
	(void)fsd_session_free(v->session);
	free(v);
	return NULL;
}

const char *virtiofs_tag(const struct virtiofs *v)
{
	return v->tag;
}

bool virtiofs_opens_off(const struct virtiofs *v)
{
	return fsd_session_opens_off(v->session);
}

bool virtiofs_acls_off(const struct virtiofs *v)
{
	return fsd_session_acls_off(v->session);
}

void virtiofs_stats(const struct virtiofs *v, struct fsd_stats *add_to)
{
	for (int i = 0; i < VIRTIOFS_QUEUES; i++)
		fuse_stats_add(&v->stats[i], add_to);
}

void virtiofs_counts(struct virtiofs *v, struct fuse_counts *add_to)
{
	fsd_session_counts(v->session, add_to);
}
