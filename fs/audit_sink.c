// SPDX-License-Identifier: Apache-2.0
// Where the audit wrappers of one file server write.
/*
 * Theory of operation. The ring holds records, each a multiple of 8 bytes that begins with its
 * size. A thread reserves room by moving @head with a compare-and-swap, fills it, and publishes it
 * by storing the size last; where a record would cross the end, the rest is reserved with it as a
 * record of padding. The writer takes records in the order of reservation, stops at one that is not
 * published, sets what it took to zero, and only then moves @tail: so a size of 0 always means "not
 * yet".
 *
 * The writer naps between batches and sleeps when there were none. It says ASLEEP, then looks at
 * @head again; a thread moves @head, then looks at the state. So one of the two sees the other.
 */
#include "fs/audit_sink.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define MAX_TEXT    4096
#define PADDING	    0x80000000u
#define TAIL_STEP   16384	 /* bytes taken at a time, as the requests' threads see it */
#define AGAIN_BYTES (512u << 10) /* of the ring, that are used at least before it begins again */
#define WRITE_BYTES (32u << 10)	 /* at a time: they are still in the nearest cache */
#define OUT_BYTES   (WRITE_BYTES + AUDIT_MAX_LINE)

struct record {
	_Atomic uint32_t size; /* of all; 0: not yet */
	int32_t result;
	uint32_t op, pid, uid, gid, flags, mode, nsec;
	uint16_t path_bytes, path2_bytes;
	int64_t sec;
	uint64_t off, bytes;
	uint16_t mount_bytes;
	char text[]; /* mount and its NUL, path, path2 */
};

enum state { ASLEEP, NAPPING, AWAKE };

struct audit_sink {
	_Alignas(64) _Atomic uint64_t head; /* bytes reserved since the start */
	_Atomic uint64_t tail_seen; /* @tail as last looked at: its line is mostly the writer's */
	_Alignas(64) _Atomic uint64_t tail; /* bytes taken */
	_Alignas(64) _Atomic uint32_t state;
	_Atomic bool ending;
	_Atomic uint64_t dropped; /* not told of yet */
	uint8_t *ring;
	pthread_t thread;

	/* the writer's own */
	int dir_fd, fd;
	bool failing;
	uint64_t max_bytes, size; /* of the file */
	size_t used;		  /* of @out */
	uint64_t lines;		  /* in @out, those that they say were dropped included */
	char out[OUT_BYTES];
};

static void futex_wake(_Atomic uint32_t *word)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *t)
{
	(void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, t, NULL, 0);
}

/* ---- the threads of requests */

/* Where a record of @n bytes goes, or NULL. */
static struct record *reserve(struct audit_sink *s, size_t n, uint64_t *ret_used)
{
	uint64_t head = atomic_load_explicit(&s->head, memory_order_relaxed), skip, at;

	do {
		uint64_t tail = atomic_load_explicit(&s->tail_seen, memory_order_acquire);

		at = head % AUDIT_RING_BYTES;
		skip = at + n > AUDIT_RING_BYTES ? AUDIT_RING_BYTES - at : 0;
		if (head + skip + n - tail > AUDIT_WAKE_BYTES) {
			tail = atomic_load_explicit(&s->tail, memory_order_acquire);
			atomic_store_explicit(&s->tail_seen, tail, memory_order_release);
		}
		*ret_used = head + skip + n - tail;
		/* Where @tail is past @head others were faster: it is tried again from there. */
		if (*ret_used > AUDIT_RING_BYTES && tail <= head)
			return NULL;
	} while (!atomic_compare_exchange_weak(&s->head, &head, head + skip + n));
	if (skip) {
		struct record *pad = (struct record *)(void *)(s->ring + at);

		atomic_store_explicit(&pad->size, (uint32_t)skip | PADDING, memory_order_release);
		at = 0;
	}
	return (struct record *)(void *)(s->ring + at);
}

void audit_sink_add(struct audit_sink *s, const struct audit_event *ev)
{
	size_t mount = strnlen(ev->mount, AUDIT_MAX_MOUNT), a = MIN(ev->path_bytes, MAX_TEXT),
	       b = MIN(ev->path2_bytes, MAX_TEXT);
	size_t n = roundup(sizeof(struct record) + mount + 1 + a + b, 8);
	struct timespec now;
	struct record *r;
	uint32_t state;
	uint64_t used;

	clock_gettime(CLOCK_REALTIME, &now);
	r = reserve(s, n, &used);
	if (!r) {
		atomic_fetch_add(&s->dropped, 1);
		return;
	}
	r->result = ev->result;
	r->op = ev->op;
	r->pid = ev->pid;
	r->uid = ev->uid;
	r->gid = ev->gid;
	r->flags = ev->flags;
	r->mode = ev->mode;
	r->off = ev->off;
	r->bytes = ev->bytes;
	r->sec = now.tv_sec;
	r->nsec = (uint32_t)now.tv_nsec;
	r->mount_bytes = (uint16_t)mount;
	r->path_bytes = (uint16_t)a;
	r->path2_bytes = (uint16_t)b;
	memcpy(r->text, ev->mount, mount);
	if (a)
		memcpy(r->text + mount + 1, ev->path, a);
	if (b)
		memcpy(r->text + mount + 1 + a, ev->path2, b);
	atomic_store_explicit(&r->size, (uint32_t)n, memory_order_release);
	/* Where the next one goes, once around the ring, is in no cache. */
	__builtin_prefetch((uint8_t *)(void *)r + n, 1);
	__builtin_prefetch((uint8_t *)(void *)r + n + 64, 1);

	state = atomic_load(&s->state);
	if ((state == ASLEEP || (state == NAPPING && used > AUDIT_WAKE_BYTES)) &&
		atomic_compare_exchange_strong(&s->state, &state, AWAKE))
		futex_wake(&s->state);
}

uint64_t audit_sink_lost(const struct audit_sink *s)
{
	return atomic_load(&s->dropped);
}

/* ---- the writer */

static void file_open(struct audit_sink *s)
{
	struct stat st;

	s->fd = openat(s->dir_fd, AUDIT_FILE,
		O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	s->size = s->fd >= 0 && fstat(s->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static int file_write(struct audit_sink *s, const char *p, size_t n)
{
	int r;

	if (s->fd < 0)
		file_open(s);
	if (s->fd >= 0 && s->size && s->size + n > s->max_bytes) {
		close(s->fd);
		s->fd = -1;
		if (renameat(s->dir_fd, AUDIT_FILE, s->dir_fd, AUDIT_FILE ".1") < 0)
			return -errno;
		file_open(s);
	}
	if (s->fd < 0)
		return -errno;
	r = msb_write_full(s->fd, p, n);
	if (r == 0)
		s->size += n;
	else
		(void)!ftruncate(s->fd, (off_t)s->size); /* else a piece of a line stays */
	return r;
}

/* Writes what is in @out. What cannot be written is dropped: the ring must not stand still. */
static void flush(struct audit_sink *s)
{
	int r;

	if (!s->used)
		return;
	r = file_write(s, s->out, s->used);
	if (r < 0) {
		atomic_fetch_add(&s->dropped, s->lines);
		if (!s->failing)
			log_warn("cannot write the audit file: %s; what is lost is counted there",
				strerror(-r));
	}
	s->failing = r < 0;
	s->used = 0;
	s->lines = 0;
}

static void tell_dropped(struct audit_sink *s)
{
	uint64_t n = atomic_load(&s->dropped) ? atomic_exchange(&s->dropped, 0) : 0;
	struct timespec now;

	if (!n)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	s->used += audit_format_dropped(s->out + s->used, n, now.tv_sec, (uint32_t)now.tv_nsec);
	s->lines += n;
}

static void format(struct audit_sink *s, const struct record *r)
{
	const struct audit_event ev = {.op = r->op,
		.result = r->result,
		.pid = r->pid,
		.uid = r->uid,
		.gid = r->gid,
		.flags = r->flags,
		.mode = r->mode,
		.off = r->off,
		.bytes = r->bytes,
		.mount = r->text,
		.path = r->text + r->mount_bytes + 1,
		.path_bytes = r->path_bytes,
		.path2 = r->text + r->mount_bytes + 1 + r->path_bytes,
		.path2_bytes = r->path2_bytes};

	if (s->used >= WRITE_BYTES) {
		flush(s);
		tell_dropped(s);
	}
	s->used += audit_format(s->out + s->used, &ev, r->sec, r->nsec);
	s->lines++;
}

/* Where all was taken, the next record comes at the ring's beginning: what was used last is in a
 * cache still, the rest of the ring is not. Until @s->tail says so too, the jump looks like
 * records to those who add some: room for AGAIN_BYTES is left to them. */
static void begin_again(struct audit_sink *s, uint64_t *tail)
{
	uint64_t all = *tail;

	if (all % AUDIT_RING_BYTES < AGAIN_BYTES)
		return;
	atomic_store_explicit(&s->tail, all, memory_order_release);
	if (atomic_compare_exchange_strong(&s->head, &all, roundup(all, AUDIT_RING_BYTES)))
		*tail = roundup(*tail, AUDIT_RING_BYTES);
}

/* Takes all that is published. Whether there was any. */
static bool drain(struct audit_sink *s)
{
	uint64_t tail = atomic_load_explicit(&s->tail, memory_order_relaxed), from = tail,
		 told = tail;

	tell_dropped(s);
	for (;;) {
		struct record *r = (struct record *)(void *)(s->ring + tail % AUDIT_RING_BYTES);
		uint32_t size = atomic_load_explicit(&r->size, memory_order_acquire);

		if (!size)
			break;
		if (!(size & PADDING))
			format(s, r);
		size &= ~PADDING;
		memset((void *)r, 0, size);
		tail += size;
		if (tail - told >= TAIL_STEP) {
			atomic_store_explicit(&s->tail, tail, memory_order_release);
			told = tail;
		}
	}
	begin_again(s, &tail);
	atomic_store_explicit(&s->tail, tail, memory_order_release);
	flush(s);
	return tail != from;
}

static void *run(void *arg)
{
	static const struct timespec nap = {0, AUDIT_FLUSH_MS * 1000000L};
	struct audit_sink *s = arg;
	unsigned int quiet = 0; /* naps without a record */

	for (;;) {
		bool ending = atomic_load(&s->ending);

		if (drain(s))
			quiet = 0;
		else
			quiet++;
		if (ending)
			break;
		if (quiet > AUDIT_IDLE_MS / AUDIT_FLUSH_MS) {
			atomic_store(&s->state, ASLEEP);
			if (atomic_load(&s->head) == atomic_load(&s->tail) &&
				!atomic_load(&s->ending))
				futex_wait(&s->state, ASLEEP, NULL);
			quiet = 0;
		} else {
			atomic_store(&s->state, NAPPING);
			if (!atomic_load(&s->ending))
				futex_wait(&s->state, NAPPING, &nap);
		}
		atomic_store(&s->state, AWAKE);
	}
	/* A failing disk is not tried once more; what it lost goes with it. */
	tell_dropped(s);
	flush(s);
	return NULL;
}

int audit_sink_new(int dir_fd, uint64_t max_bytes, struct audit_sink **ret, struct msb_err *e)
{
	struct audit_sink *s = aligned_alloc(64, roundup(sizeof(*s), 64));
	int r = ENOMEM;

	if (!s) {
		close(dir_fd);
		return msb_err_set(e, ENOMEM, "no memory for the audit file");
	}
	memset(s, 0, offsetof(struct audit_sink, out)); /* the rest costs nothing until used */
	s->dir_fd = dir_fd;
	s->fd = -1;
	s->max_bytes = max_bytes ?: AUDIT_MAX_BYTES;
	s->state = AWAKE;
	/* Pages that no record has reached cost nothing. */
	s->ring = mmap(
		NULL, AUDIT_RING_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->ring != MAP_FAILED) {
		r = pthread_create(&s->thread, NULL, run, s);
		if (r == 0) {
			*ret = s;
			return 0;
		}
		(void)munmap(s->ring, AUDIT_RING_BYTES);
	}
	close(dir_fd);
	free(s);
	return msb_err_set(e, r, "cannot start the audit writer: %s", strerror(r));
}

struct audit_sink *audit_sink_free(struct audit_sink *s)
{
	if (!s)
		return NULL;
	atomic_store(&s->ending, true);
	atomic_store(&s->state, AWAKE);
	futex_wake(&s->state);
	pthread_join(s->thread, NULL);
	(void)munmap(s->ring, AUDIT_RING_BYTES);
	if (s->fd >= 0)
		close(s->fd);
	close(s->dir_fd);
	free(s);
	return NULL;
}
