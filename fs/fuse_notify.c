// SPDX-License-Identifier: Apache-2.0
// What a kernel behind /dev/fuse is told unasked.
#include "fs/fuse_notify.h"
#include "base/cleanup.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <string.h>

struct item {
	struct item *next;
	uint64_t node;	/* 0: @reply */
	uint64_t bytes; /* of the reply, or of the file's beginning; 0: of all of it */
	uint8_t reply[];
};

struct fuse_notify {
	int fd;
	struct fsd_session *s;
	pthread_t thread;
	_Atomic size_t waiting; /* all that is not said yet */
	pthread_mutex_t lock;	/* guards what follows */
	pthread_cond_t more;
	struct item *first, **last;
	size_t nodes; /* in the list */
	bool all;     /* every node that is open, before the list */
	bool stop;
};

/* lock held */
static void add(struct fuse_notify *n, struct item *i)
{
	i->next = NULL;
	*n->last = i;
	n->last = &i->next;
	atomic_fetch_add(&n->waiting, 1);
	pthread_cond_signal(&n->more);
}

void fuse_notify_changed(void *arg, uint64_t node, uint64_t bytes)
{
	struct fuse_notify *n = arg;
	struct item *i;

	LOCK_SCOPE(&n->lock);
	if (n->all || n->stop)
		return;
	if (n->first && n->last == &n->first->next && n->first->node == node && node &&
		!n->first->bytes)
		return; /* a file that is written piece by piece */
	i = node && n->nodes < FUSE_NOTIFY_MAX ? malloc(sizeof(*i)) : NULL;
	if (i) {
		i->node = node;
		i->bytes = bytes;
		n->nodes++;
		add(n, i);
		return;
	}
	n->all = true;
	atomic_fetch_add(&n->waiting, 1);
	pthread_cond_signal(&n->more);
}

/* Whether a page that is to be dropped may wait for the reply: until a truncation has its own, the
 * kernel writes no mapped page back, and until a file is released that takes one of the requests
 * that it has under way at most, which reads ahead and writes are too. */
static bool holds_pages(const struct fuse_in_header *h)
{
	switch (h->opcode) {
	case FUSE_READ:
	case FUSE_WRITE:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR: return true;
	case FUSE_SETATTR:
		return h->len >= sizeof(*h) + sizeof(struct fuse_setattr_in) &&
		       ((const struct fuse_setattr_in *)(const void *)(h + 1))->valid & FATTR_SIZE;
	default: return false;
	}
}

bool fuse_notify_reply(
	struct fuse_notify *n, const struct fuse_in_header *request, const void *p, size_t bytes)
{
	struct item *i;

	if (!atomic_load(&n->waiting) || holds_pages(request))
		return false;
	i = malloc(sizeof(*i) + bytes);
	if (!i)
		return false;
	i->node = 0;
	i->bytes = bytes;
	memcpy(i->reply, p, bytes);
	LOCK_SCOPE(&n->lock);
	if (n->stop) {
		free(i);
		return false;
	}
	add(n, i);
	return true;
}

/* Fails where the kernel does not have the node, or the mount is gone: then nothing is cached. */
static void drop_contents(const struct fuse_notify *n, uint64_t node, uint64_t bytes)
{
	struct {
		struct fuse_out_header h;
		struct fuse_notify_inval_inode_out o;
	} m = {.h = {.len = sizeof(m), .error = FUSE_NOTIFY_INVAL_INODE},
		.o = {.ino = node, .len = (int64_t)bytes}};

	(void)!write(n->fd, &m, sizeof(m));
}

static void say(const struct fuse_notify *n, const struct item *i)
{
	if (i->node)
		drop_contents(n, i->node, i->bytes);
	else
		(void)!write(n->fd, i->reply, i->bytes);
}

static void say_all(struct fuse_notify *n)
{
	size_t at = 0;

	for (uint64_t node; (node = fuse_view_next_open(n->s, &at));)
		drop_contents(n, node, 0);
}

static void *run(void *arg)
{
	struct fuse_notify *n = arg;

	pthread_mutex_lock(&n->lock);
	for (;;) {
		struct item *i;
		bool all;

		while (!n->all && !n->first && !n->stop)
			pthread_cond_wait(&n->more, &n->lock);
		i = n->first;
		all = n->all;
		if (!i && !all)
			break;
		n->all = false;
		if (i) {
			n->first = i->next;
			if (!n->first)
				n->last = &n->first;
			n->nodes -= i->node != 0;
		}
		pthread_mutex_unlock(&n->lock);
		if (all)
			say_all(n);
		if (i)
			say(n, i);
		free(i);
		atomic_fetch_sub(&n->waiting, (size_t)all + (i != NULL));
		pthread_mutex_lock(&n->lock);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

int fuse_notify_new(int fd, struct fsd_session *s, struct fuse_notify **ret)
{
	struct fuse_notify *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return -ENOMEM;
	n->fd = fd;
	n->s = s;
	n->last = &n->first;
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->more, NULL);
	r = -pthread_create(&n->thread, NULL, run, n);
	if (r < 0) {
		n->stop = true;
		(void)fuse_notify_free(n);
		return r;
	}
	*ret = n;
	return 0;
}

void fuse_notify_stop(struct fuse_notify *n)
{
	{
		LOCK_SCOPE(&n->lock);
		n->stop = true;
		pthread_cond_signal(&n->more);
	}
	pthread_join(n->thread, NULL);
}

struct fuse_notify *fuse_notify_free(struct fuse_notify *n)
{
	if (n) {
		pthread_mutex_destroy(&n->lock);
		pthread_cond_destroy(&n->more);
		free(n);
	}
	return NULL;
}
