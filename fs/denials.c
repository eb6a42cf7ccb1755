// SPDX-License-Identifier: Apache-2.0
// Refusals that are to be told of.
#include "fs/denials.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <pthread.h>
#include <sys/eventfd.h>

struct denials {
	pthread_mutex_t lock; /* all below */
	int fd;
	uint64_t since_ms, more;
	unsigned int in_span; /* kept since then */
	size_t first, n;
	struct denial v[DENIALS_MAX]; /* a ring */
};

struct denials *denials_new(void)
{
	struct denials *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	pthread_mutex_init(&d->lock, NULL);
	d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return d->fd < 0 ? denials_free(d) : d;
}

struct denials *denials_free(struct denials *d)
{
	if (!d)
		return NULL;
	if (d->fd >= 0)
		close(d->fd);
	pthread_mutex_destroy(&d->lock);
	free(d);
	return NULL;
}

void denials_add_at(struct denials *d, const struct denial *x, uint64_t now_ms)
{
	struct denial *to;

	LOCK_SCOPE(&d->lock);
	if (!d->since_ms || now_ms - d->since_ms >= DENIALS_MS) {
		d->since_ms = now_ms;
		d->in_span = 0;
	}
	if (d->in_span == DENIALS_MAX || d->n == DENIALS_MAX) {
		d->more++;
		return;
	}
	to = &d->v[(d->first + d->n++) % DENIALS_MAX];
	*to = *x;
	to->more = d->more;
	d->more = 0;
	d->in_span++;
	(void)eventfd_write(d->fd, 1); /* a full counter is readable too */
}

void denials_add(struct denials *d, const struct denial *x)
{
	denials_add_at(d, x, msb_now_ms());
}

int denials_fd(const struct denials *d)
{
	return d->fd;
}

bool denials_take(struct denials *d, struct denial *ret)
{
	eventfd_t n;

	LOCK_SCOPE(&d->lock);
	if (!d->n) {
		(void)eventfd_read(d->fd, &n); /* only to make it unreadable again */
		return false;
	}
	*ret = d->v[d->first];
	d->first = (d->first + 1) % DENIALS_MAX;
	d->n--;
	return true;
}
