// SPDX-License-Identifier: Apache-2.0
/*
 * The FUSE server behind the kernel's own device.
 *
 * Theory of operation. One thread has the turn: it reads requests and serves them, and looks for
 * the next one for a while before it sleeps in read() (fs/spin.h), so that who asks one thing after
 * the other is served by a thread that is awake. It gives the turn away with a request that may
 * take long, and with data while more waits, and takes it again when that is done. A signal without
 * a meaning of its own ends the wait. Another thread tells the kernel what others changed
 * (fs/fuse_notify.h).
 */
#include "fs/dev_fuse.h"
#include "fs/fuse_notify.h"
#include "fs/spin.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

/* A message with the largest WRITE, or the largest READ's reply; page-aligned for the kernel. */
#define BUFFER_BYTES (FUSE_MAX_IO + 4096u)
#define LONG_BYTES   (64u << 10) /* of a WRITE */

struct dev_fuse {
	int fd;
	pthread_mutex_t turn; /* to read; held across requests that are quickly served */
	struct spin spin;     /* of who has the turn */
	_Atomic bool stop;
	unsigned int threads;
	pthread_t thread[DEV_FUSE_THREADS];
	_Atomic unsigned int running;
	struct fsd_session *session;
	struct fuse_notify *notify; /* NULL: only while it is set up */
};

/* What a thread needs besides the session. */
struct buffers {
	struct fuse_worker w;
	uint8_t *in, *out;
};

static void buffers_free(struct buffers **b)
{
	if (*b) {
		free((*b)->in);
		free((*b)->out);
	}
	free(*b);
}

static bool waits(int fd) /* a request, or the end of the mount */
{
	struct pollfd p = {fd, POLLIN, 0};

	return poll(&p, 1, 0) != 0;
}

static bool has_work(const void *arg)
{
	const struct dev_fuse *d = arg;

	return waits(d->fd) || atomic_load(&d->stop);
}

/* Reads a message, and learns from how long that took. As read(). */
static ssize_t next_message(struct dev_fuse *d, const struct buffers *b)
{
	uint64_t before;
	ssize_t n;

	if (spin_look(&d->spin, has_work, d, 8))
		return read(d->fd, b->in, BUFFER_BYTES);
	before = spin_now_us();
	n = read(d->fd, b->in, BUFFER_BYTES);
	spin_slept(&d->spin, before);
	return n;
}

/* Whether another thread is to go on reading while this message is served. */
static bool gives_way(const struct dev_fuse *d, const struct iovec *in)
{
	const struct fuse_in_header *h = in->iov_base;

	if (fuse_may_wait(d->session, in, 0))
		return true;
	return (h->opcode == FUSE_READ || in->iov_len > LONG_BYTES) && waits(d->fd);
}

/* Serves one message, with the turn, and says whether that is still had. 0; -errno at the end of
 * the mount. */
static int serve_one(struct dev_fuse *d, struct buffers *b, bool *ret_turn)
{
	ssize_t n = next_message(d, b);
	struct iovec in = {b->in, n > 0 ? (size_t)n : 0}, out = {b->out, BUFFER_BYTES};
	int64_t reply;

	*ret_turn = true;
	if (n < 0) /* ENOENT: the request was interrupted before we got it */
		return errno == EINTR || errno == ENOENT ? 0 : -errno;
	if (gives_way(d, &in)) {
		*ret_turn = false;
		pthread_mutex_unlock(&d->turn);
	}
	reply = fuse_handle(d->session, &b->w, &in, 1, &out, 1);
	fuse_worker_count(d->session, &b->w);
	/* A failed reply means that the requester was killed, or the mount is gone: read() tells.
	 */
	if (reply > 0 && !fuse_notify_reply(d->notify, (const void *)b->in, b->out, (size_t)reply))
		(void)!write(d->fd, b->out, (size_t)reply);
	return 0;
}

static void *thread_main(void *arg)
{
	struct dev_fuse *d = arg;
	__attribute__((cleanup(buffers_free))) struct buffers *b = calloc(1, sizeof(*b));
	bool turn = false;
	int r = 0;

	if (b) {
		b->in = aligned_alloc(4096, BUFFER_BYTES);
		b->out = aligned_alloc(4096, BUFFER_BYTES);
	}
	while (r == 0 && b && b->in && b->out && !atomic_load(&d->stop)) {
		if (!turn)
			pthread_mutex_lock(&d->turn);
		r = serve_one(d, b, &turn);
	}
	if (turn)
		pthread_mutex_unlock(&d->turn);
	atomic_fetch_sub(&d->running, 1);
	return NULL;
}

static void on_wake(int sig)
{
}

int dev_fuse_new(struct fsd_fs *fs, int fuse_fd, bool private, bool readonly, struct dev_fuse **ret,
	struct msb_err *e)
{
	struct dev_fuse *d = calloc(1, sizeof(*d));
	const struct sigaction wake = {.sa_handler = on_wake}; /* and no SA_RESTART */
	int flags = fcntl(fuse_fd, F_GETFL), r = 0;

	if (!d) {
		close(fuse_fd);
		return msb_err_set(e, ENOMEM, "no memory for a view");
	}
	d->fd = fuse_fd;
	pthread_mutex_init(&d->turn, NULL);
	d->session = fsd_session_new(
		fs, private ? &fuse_profile_view_owner : &fuse_profile_view, readonly);
	if (flags < 0 || fcntl(fuse_fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
		sigaction(SIGUSR1, &wake, NULL) < 0)
		r = -errno;
	else if (!d->session)
		r = -ENOMEM;
	if (d->session)
		fuse_view_came(d->session);
	if (r == 0)
		r = fuse_notify_new(d->fd, d->session, &d->notify);
	if (r == 0)
		fuse_view_watch(d->session, fuse_notify_changed, d->notify);
	while (r == 0 && d->threads < DEV_FUSE_THREADS) {
		atomic_fetch_add(&d->running, 1);
		r = -pthread_create(&d->thread[d->threads], NULL, thread_main, d);
		if (r == 0)
			d->threads++;
		else
			atomic_fetch_sub(&d->running, 1);
	}
	if (r < 0) {
		(void)dev_fuse_free(d);
		return msb_err_set(e, -r, "cannot serve a view: %s", strerror(-r));
	}
	*ret = d;
	return 0;
}

struct dev_fuse *dev_fuse_free(struct dev_fuse *d)
{
	if (!d)
		return NULL;
	if (d->notify)
		fuse_notify_stop(d->notify); /* while requests are served */
	atomic_store(&d->stop, true);
	/* A thread may be on its way into read(): again, until the last has seen it. */
	while (atomic_load(&d->running)) {
		for (unsigned int i = 0; i < d->threads; i++)
			pthread_kill(d->thread[i], SIGUSR1);
		(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	for (unsigned int i = 0; i < d->threads; i++)
		pthread_join(d->thread[i], NULL);
	close(d->fd);
	if (d->session)
		fuse_view_went(d->session);
	(void)fsd_session_free(d->session);
	(void)fuse_notify_free(d->notify);
	pthread_mutex_destroy(&d->turn);
	free(d);
	return NULL;
}

bool dev_fuse_ended(const struct dev_fuse *d)
{
	return atomic_load(&d->running) == 0;
}

void dev_fuse_counts(struct dev_fuse *d, struct fuse_counts *add_to)
{
	fsd_session_counts(d->session, add_to);
}
