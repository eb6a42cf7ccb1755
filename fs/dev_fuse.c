// SPDX-License-Identifier: Apache-2.0
/*
 * The FUSE server behind the kernel's own device. Threads wait in read(), which wakes one of them a
 * request; poll() would wake them all. A signal without a meaning of its own ends the wait.
 */
#include "fs/dev_fuse.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

/* A message with the largest WRITE, or the largest READ's reply; page-aligned for the kernel. */
#define BUFFER_BYTES (FUSE_MAX_IO + 4096u)

struct dev_fuse {
	int fd;
	_Atomic bool stop;
	unsigned int threads;
	pthread_t thread[DEV_FUSE_THREADS];
	_Atomic unsigned int running;
	struct fsd_session *session;
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

/* Serves one message. 0; -errno at the end of the mount. */
static int serve_one(struct dev_fuse *d, struct buffers *b)
{
	struct iovec in = {b->in, 0}, out = {b->out, BUFFER_BYTES};
	ssize_t n = read(d->fd, b->in, BUFFER_BYTES);
	int64_t reply;

	if (n < 0) /* ENOENT: the request was interrupted before we got it */
		return errno == EINTR || errno == ENOENT ? 0 : -errno;
	in.iov_len = (size_t)n;
	reply = fuse_handle(d->session, &b->w, &in, 1, &out, 1);
	fuse_worker_count(d->session, &b->w);
	/* A failed reply means that the requester was killed, or the mount is gone: read() tells.
	 */
	if (reply > 0)
		(void)!write(d->fd, b->out, (size_t)reply);
	return 0;
}

static void *thread_main(void *arg)
{
	struct dev_fuse *d = arg;
	__attribute__((cleanup(buffers_free))) struct buffers *b = calloc(1, sizeof(*b));
	int r = 0;

	if (b) {
		b->in = aligned_alloc(4096, BUFFER_BYTES);
		b->out = aligned_alloc(4096, BUFFER_BYTES);
	}
	while (r == 0 && b && b->in && b->out && !atomic_load(&d->stop))
		r = serve_one(d, b);
	atomic_fetch_sub(&d->running, 1);
	return NULL;
}

static void on_wake(int sig)
{
}

int dev_fuse_new(
	struct fsd_fs *fs, int fuse_fd, bool readonly, struct dev_fuse **ret, struct msb_err *e)
{
	struct dev_fuse *d = calloc(1, sizeof(*d));
	const struct sigaction wake = {.sa_handler = on_wake}; /* and no SA_RESTART */
	int flags = fcntl(fuse_fd, F_GETFL), r = 0;

	if (!d) {
		close(fuse_fd);
		return msb_err_set(e, ENOMEM, "no memory for a view");
	}
	d->fd = fuse_fd;
	/* A mount by an ordinary user is that user's alone. */
	d->session = fsd_session_new(
		fs, geteuid() == 0 ? &fuse_profile_view : &fuse_profile_view_owner, readonly);
	if (flags < 0 || fcntl(fuse_fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
		sigaction(SIGUSR1, &wake, NULL) < 0)
		r = -errno;
	else if (!d->session)
		r = -ENOMEM;
	if (d->session)
		fuse_view_came(d->session);
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
