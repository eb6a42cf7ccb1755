// SPDX-License-Identifier: Apache-2.0
// The quota wrapper: counting what is there, as du(1) does, in a thread of its own.
#include "fs/backends/quota_priv.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* ---- the sum */

struct linked {
	dev_t dev;
	ino_t ino; /* 0: free */
};

struct walk {
	const _Atomic bool *stop;
	uint64_t bytes;
	bool partial;
	struct linked *seen;
	size_t slots, used;
};

/* Whether a file with several names was counted under another. Past the limit: no. */
static bool seen(struct walk *w, const struct stat *st)
{
	struct linked *s;
	size_t i;

	if (w->used + 1 > w->slots / 4 * 3) {
		struct walk n = {.slots = w->slots ? w->slots * 2 : 1024};

		if (n.slots > QUOTA_MAX_LINKED)
			return false;
		n.seen = calloc(n.slots, sizeof(*n.seen));
		if (!n.seen)
			return false;
		for (i = 0; i < w->slots; i++) {
			size_t to = (size_t)fsb_node_mix(w->seen[i].ino) & (n.slots - 1);

			while (w->seen[i].ino && n.seen[to].ino)
				to = (to + 1) & (n.slots - 1);
			if (w->seen[i].ino)
				n.seen[to] = w->seen[i];
		}
		free(w->seen);
		w->seen = n.seen;
		w->slots = n.slots;
	}
	i = (size_t)fsb_node_mix(st->st_ino) & (w->slots - 1);
	for (s = &w->seen[i]; s->ino; s = &w->seen[i = (i + 1) & (w->slots - 1)])
		if (s->ino == st->st_ino && s->dev == st->st_dev)
			return true;
	*s = (struct linked){st->st_dev, st->st_ino};
	w->used++;
	return false;
}

static void add(struct walk *w, const struct stat *st)
{
	if (S_ISDIR(st->st_mode) || st->st_nlink < 2 || !seen(w, st))
		w->bytes += (uint64_t)st->st_blocks * 512;
}

static DIR *open_dir(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

uint64_t quota_walk_sum(int dir_fd, const _Atomic bool *stop, bool *ret_partial)
{
	struct walk w = {.stop = stop};
	DIR *level[QUOTA_MAX_DEPTH];
	unsigned int depth = 0;
	struct stat st;

	if (fstatat(dir_fd, "", &st, AT_EMPTY_PATH) == 0)
		add(&w, &st);
	level[0] = open_dir(dir_fd, ".");
	if (level[0])
		depth = 1;
	else
		w.partial = true;
	while (depth) {
		const struct dirent *d = readdir(level[depth - 1]);

		if (!d || atomic_load(stop)) {
			w.partial = w.partial || d;
			closedir(level[--depth]);
			continue;
		}
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		if (fstatat(dirfd(level[depth - 1]), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			w.partial = w.partial || errno != ENOENT;
			continue;
		}
		add(&w, &st);
		if (!S_ISDIR(st.st_mode))
			continue;
		level[depth] = depth + 1 < QUOTA_MAX_DEPTH
				       ? open_dir(dirfd(level[depth - 1]), d->d_name)
				       : NULL;
		if (level[depth])
			depth++;
		else
			w.partial = w.partial || errno != ENOENT;
	}
	free(w.seen);
	*ret_partial = w.partial;
	return w.bytes;
}

/* ---- the thread */

/*
 * @used went from @before to what it is, by @grown and @shrunk, while the walk met each file at
 * some moment. So where the host did nothing, the sum lies within [before - shrunk, before +
 * grown], and @used is right. What lies outside is the host's, and is taken over.
 */
static void compare(struct quota *q, int64_t before, uint64_t grown, uint64_t shrunk, uint64_t sum,
	bool partial)
{
	int64_t most = before + (int64_t)(atomic_load(&q->grown) - grown);
	int64_t least = before - (int64_t)(atomic_load(&q->shrunk) - shrunk);

	if (!atomic_load(&q->counted))
		atomic_fetch_add(&q->used, (int64_t)sum - before);
	else if ((int64_t)sum > most)
		atomic_fetch_add(&q->used, (int64_t)sum - most);
	else if ((int64_t)sum < least && !partial)
		atomic_fetch_add(&q->used, (int64_t)sum - least);
}

static void walk(struct quota *q, const _Atomic bool *stop)
{
	uint64_t grown, shrunk, sum;
	bool partial;
	int64_t before;

	quota_settle_all(q);
	grown = atomic_load(&q->grown);
	shrunk = atomic_load(&q->shrunk);
	before = atomic_load(&q->used);
	sum = quota_walk_sum(q->dir_fd, stop, &partial);
	if (atomic_load(stop))
		return;
	quota_settle_all(q);
	compare(q, before, grown, shrunk, sum, partial);
	atomic_store(&q->counted, true);
}

static void *run(void *arg)
{
	struct quota *q = arg;
	uint64_t from;

	pthread_mutex_lock(&q->lock);
	for (;;) {
		while (!q->asked && !q->ending)
			pthread_cond_wait(&q->cond, &q->lock);
		if (q->ending)
			break;
		q->asked = false;
		pthread_mutex_unlock(&q->lock);
		from = msb_now_ms();
		walk(q, &q->stop);
		pthread_mutex_lock(&q->lock);
		q->ended_ms = msb_now_ms();
		q->took_ms = q->ended_ms - from;
		pthread_cond_broadcast(&q->cond);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

int quota_walk_start(struct quota *q, int dir_fd, struct msb_err *e)
{
	pthread_condattr_t a;
	struct timespec until;
	int r;

	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&q->cond, &a);
	pthread_condattr_destroy(&a);
	q->dir_fd = dir_fd;
	if (dir_fd < 0) {
		atomic_store(&q->counted, true);
		return 0;
	}
	q->asked = true;
	r = pthread_create(&q->walker, NULL, run, q);
	if (r) {
		close(dir_fd);
		q->dir_fd = -1;
		return msb_err_set(e, r, "quota: cannot count what is there: %s", strerror(r));
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += QUOTA_START_MS / 1000;
	LOCK_SCOPE(&q->lock);
	while (!q->ended_ms && pthread_cond_timedwait(&q->cond, &q->lock, &until) == 0)
		;
	return 0;
}

void quota_walk_stop(struct quota *q)
{
	if (q->dir_fd >= 0) {
		atomic_store(&q->stop, true);
		pthread_mutex_lock(&q->lock);
		q->ending = true;
		pthread_cond_broadcast(&q->cond);
		pthread_mutex_unlock(&q->lock);
		pthread_join(q->walker, NULL);
		close(q->dir_fd);
	}
	pthread_cond_destroy(&q->cond);
	pthread_mutex_destroy(&q->lock);
}

void quota_walk_ask(struct quota *q, uint64_t older_than_ms)
{
	uint64_t now = msb_now_ms(), pause;

	if (q->dir_fd < 0)
		return;
	LOCK_SCOPE(&q->lock);
	pause = q->took_ms * 20 > QUOTA_WALK_MS ? q->took_ms * 20 : QUOTA_WALK_MS;
	if (pause < older_than_ms)
		pause = older_than_ms;
	if (!q->ended_ms || now - q->ended_ms < pause)
		return;
	q->asked = true;
	pthread_cond_broadcast(&q->cond);
}
