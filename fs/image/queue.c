// SPDX-License-Identifier: Apache-2.0
// Bytes from one thread to another, in order, through a few fixed buffers.
#include "fs/image/queue.h"
#include "base/cleanup.h"

#include <stdbool.h>
#include <string.h>

struct img_queue {
	pthread_mutex_t lock; /* of all but the bytes of slots, which their holder has alone */
	pthread_cond_t changed;
	size_t first, used; /* slots that hold bytes, the reader's current one included */
	bool reading;	    /* the first is the reader's */
	bool ended, stopped;
	size_t n[IMG_QUEUE_SLOTS];
	char slot[IMG_QUEUE_SLOTS][IMG_QUEUE_SLOT];
};

int img_queue_new(struct img_queue **ret)
{
	struct img_queue *q = malloc(sizeof(*q));

	if (!q)
		return -ENOMEM;
	memset(q, 0, offsetof(struct img_queue, slot));
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->changed, NULL);
	*ret = q;
	return 0;
}

struct img_queue *img_queue_free(struct img_queue *q)
{
	if (q) {
		pthread_cond_destroy(&q->changed);
		pthread_mutex_destroy(&q->lock);
	}
	free(q);
	return NULL;
}

/* A slot to fill, or -ECANCELED. */
static int room(struct img_queue *q)
{
	LOCK_SCOPE(&q->lock);
	while (q->used == IMG_QUEUE_SLOTS && !q->stopped)
		pthread_cond_wait(&q->changed, &q->lock);
	return q->stopped ? -ECANCELED : (int)((q->first + q->used) % IMG_QUEUE_SLOTS);
}

int img_queue_put(struct img_queue *q, const void *p, size_t n)
{
	const char *b = p;

	while (n) {
		size_t k = n < IMG_QUEUE_SLOT ? n : IMG_QUEUE_SLOT;
		int slot = room(q);

		if (slot < 0)
			return slot;
		memcpy(q->slot[slot], b, k);
		b += k;
		n -= k;
		LOCK_SCOPE(&q->lock);
		q->n[slot] = k;
		q->used++;
		pthread_cond_signal(&q->changed);
	}
	return 0;
}

void img_queue_end(struct img_queue *q)
{
	LOCK_SCOPE(&q->lock);
	q->ended = true;
	pthread_cond_signal(&q->changed);
}

size_t img_queue_get(struct img_queue *q, const void **p)
{
	LOCK_SCOPE(&q->lock);
	if (q->reading) {
		q->first = (q->first + 1) % IMG_QUEUE_SLOTS;
		q->used--;
		q->reading = false;
		pthread_cond_signal(&q->changed);
	}
	while (!q->used && !q->ended)
		pthread_cond_wait(&q->changed, &q->lock);
	if (!q->used)
		return 0;
	q->reading = true;
	*p = q->slot[q->first];
	return q->n[q->first];
}

void img_queue_stop(struct img_queue *q)
{
	LOCK_SCOPE(&q->lock);
	q->stopped = true;
	pthread_cond_signal(&q->changed);
}
