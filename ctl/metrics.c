// SPDX-License-Identifier: Apache-2.0
// Figures of sandboxes: where they come from.
#include "ctl/metrics.h"
#include "ctl/metrics_table.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"
#include "ctl/conf.h"
#include "ctl/nodes.h"
#include "ctl/policy.h"
#include "ctl/resize.h"
#include "fs/du.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

/* ---- what msbd knows itself, and the kernel of processes */

void ctl_sample_of(const struct ctl_sandbox *sb, struct ctl_sample *ret)
{
	bool machine = !ctl_state_ended(sb->state);
	uint64_t now = ctl_now_usec();

	*ret = (struct ctl_sample){.uid = sb->uid,
		.state = sb->state,
		.health = sb->health.status,
		.foreign = sb->foreign,
		.qemu = machine ? sb->qemu.pid : 0,
		.fsd = sb->files.fsd.pid};
	memcpy(ret->name, sb->name, sizeof(ret->name));
	memcpy(ret->id, sb->id, sizeof(ret->id));
	ret->v[METRIC_MEMORY_LIMIT_BYTES] =
		machine ? strtoull(sb->was[CONF_MEMORY]
					  ?: sb->conf[CONF_MEMORY] ?: CTL_DEFAULT_MEMORY_BYTES,
				  NULL, 10)
			: 0;
	ret->room_bytes = machine && ctl_resize_has_balloon(sb) ? sb->room_memory_bytes : 0;
	ret->v[METRIC_JOBS_RUNNING] = ctl_policy_busy(sb);
	ret->v[METRIC_JOBS_TOTAL] = sb->jobs_total;
	ret->v[METRIC_HEALTH_CHECKS] = sb->health.checks;
	ret->v[METRIC_HEALTH_FAILURES] = sb->health.failures;
	ret->v[METRIC_RESTARTS] = sb->restarts;
	ret->v[METRIC_UPTIME_SEC] = machine && sb->started_usec && now > sb->started_usec
					    ? (now - sb->started_usec) / 1000000
					    : 0;
}

/* Resident bytes of a process; 0 where it has ended. */
static uint64_t resident(pid_t pid)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	uint64_t pages = 0;
	char path[48];

	(void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	if (!pid || msb_read_file(AT_FDCWD, path, 4096, &s) < 0 ||
		sscanf(s.buf, "%*u %" SCNu64, &pages) != 1)
		return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Time that all threads of a process have run; 0 where it has ended. */
static uint64_t cpu_usec(pid_t pid)
{
	clockid_t clock;
	struct timespec t;

	if (!pid || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
		return 0;
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void from_processes(struct ctl_sample *s)
{
	s->v[METRIC_CPU_USEC] = cpu_usec(s->qemu);
	s->v[METRIC_MEMORY_BYTES] = resident(s->qemu);
	s->v[METRIC_FSD_CPU_USEC] = cpu_usec(s->fsd);
	s->v[METRIC_FSD_MEMORY_BYTES] = resident(s->fsd);
}

/* ---- what the processes say that look after the guest */

static void from_guest(struct ctl_sample *s, const struct wire_stats *w)
{
	static const enum ctl_metric where[WIRE_NSTATS] = {
		[WIRE_CPU_USER_USEC] = METRIC_GUEST_CPU_USER,
		[WIRE_CPU_SYSTEM_USEC] = METRIC_GUEST_CPU_SYSTEM,
		[WIRE_CPU_IDLE_USEC] = METRIC_GUEST_CPU_IDLE,
		[WIRE_CPU_IOWAIT_USEC] = METRIC_GUEST_CPU_IOWAIT,
		[WIRE_CPU_STEAL_USEC] = METRIC_GUEST_CPU_STEAL,
		[WIRE_MEMORY_TOTAL_BYTES] = METRIC_GUEST_MEMORY_TOTAL,
		[WIRE_MEMORY_AVAILABLE_BYTES] = METRIC_GUEST_MEMORY_AVAILABLE,
		[WIRE_OOM_KILLS] = METRIC_GUEST_OOM_KILLS,
	};

	for (int i = 0; i < WIRE_NSTATS; i++)
		s->v[where[i]] = w->v[i];
	/* Its /proc may be hidden from its own PID 1: then it knows nothing. */
	s->missing[FROM_GUEST] = w->have == (1u << WIRE_NSTATS) - 1 ? 0 : ENODATA;
}

static void from_fsd(struct ctl_sample *s)
{
	s->v[METRIC_FS_OPS] = 0;
	for (int i = 0; i < FSD_OPS; i++)
		for (int k = 0; k < FSD_BUCKETS; k++)
			s->v[METRIC_FS_OPS] += s->fs.hist[i][k];
	s->v[METRIC_FS_ERRORS] = s->fs.errors;
	s->v[METRIC_FS_READ_BYTES] = s->fs.read_bytes;
	s->v[METRIC_FS_WRITTEN_BYTES] = s->fs.written_bytes;
}

/* ---- what a thread of its own finds out, because it may take long */

struct aside {
	struct ctl *c;
	struct ctl_sample *s;
	size_t n;
	enum ctl_metric_source source;
	void *(*main)(void *arg);
	_Atomic bool stop;
	int done_fd; /* eventfd: readable once all were seen to */
	pthread_t thread;
	bool runs;
};

/* What is on the disk: a walk. */
static void *walk_main(void *arg)
{
	struct aside *w = arg;

	for (size_t i = 0; i < w->n && !w->stop; i++) {
		struct ctl_sample *s = &w->s[i];
		_cleanup_close_ int fd = openat(
			w->c->sandboxes_fd, s->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		bool partial = false;

		if (fd >= 0)
			s->v[METRIC_DISK_USED_BYTES] = fs_du(fd, &w->stop, &partial);
		if (!w->stop) /* else it is what was found by then */
			s->missing[FROM_DISK] = fd < 0 ? ENODEV : 0;
	}
	(void)eventfd_write(w->done_fd, 1);
	return NULL;
}

static void ask_balloon(struct vmm *vmm, struct ctl_sample *s, uint64_t until)
{
	uint64_t has = 0, now = msb_now_ms();
	int r;

	if (!s->room_bytes) {
		s->missing[FROM_BALLOON] = 0;
		return;
	}
	r = !vmm	  ? -ENODEV
	    : now < until ? vmm_memory(vmm, s->id, (unsigned int)(until - now), &has, NULL)
			  : -ETIMEDOUT;
	s->missing[FROM_BALLOON] = -r;
	s->v[METRIC_BALLOON_BYTES] = r == 0 && has < s->room_bytes ? s->room_bytes - has : 0;
}

static void *balloon_main(void *arg)
{
	struct aside *w = arg;
	uint64_t until = msb_now_ms() + CTL_SAMPLE_MS;
	struct vmm *vmm;

	{
		LOCK_SCOPE(&w->c->vmm_lock);
		vmm = w->c->vmm;
	}
	for (size_t i = 0; i < w->n; i++)
		ask_balloon(vmm, &w->s[i], until);
	(void)eventfd_write(w->done_fd, 1);
	return NULL;
}

/* Return: a descriptor, the caller's, that is readable once it is done; or -1. */
static int aside_start(struct aside *w)
{
	for (size_t i = 0; i < w->n; i++)
		w->s[i].missing[w->source] = ETIMEDOUT;
	w->done_fd = eventfd(0, EFD_CLOEXEC);
	if (w->done_fd < 0)
		return -1;
	w->runs = pthread_create(&w->thread, NULL, w->main, w) == 0;
	if (!w->runs)
		close(w->done_fd);
	return w->runs ? fcntl(w->done_fd, F_DUPFD_CLOEXEC, 0) : -1;
}

static void aside_end(struct aside *w)
{
	if (!w->runs)
		return;
	w->stop = true;
	pthread_join(w->thread, NULL);
	close(w->done_fd);
}

/* A question that was asked. */
struct asked {
	struct ctl_sample *s; /* NULL: it is a thread's end that is waited for */
	enum ctl_metric_source source;
};

static int ask(const struct ctl *c, struct ctl_sample *s, enum ctl_metric_source source)
{
	char sock[108];

	ctl_sock_path(c, s->id, source == FROM_GUEST ? "agent" : "fsd", sock);
	return source == FROM_GUEST ? agent_stats_ask(sock, NULL) : fsd_stats_ask(sock, NULL);
}

static void answer(struct asked *a, int fd)
{
	struct wire_stats w;
	int r = a->source == FROM_GUEST ? agent_stats_answer(fd, &w, NULL)
					: fsd_stats_answer(fd, &a->s->fs, NULL);

	a->s->missing[a->source] = -r;
	if (r == 0 && a->source == FROM_GUEST)
		from_guest(a->s, &w);
	else if (r == 0)
		from_fsd(a->s);
}

/* Whether there is somebody to ask; where there should be and cannot, that is noted. */
static bool wants(struct ctl_sample *s, enum ctl_metric_source source)
{
	if (ctl_state_ended(s->state))
		return false;
	if (s->foreign)
		s->missing[source] = EOPNOTSUPP;
	else if (source == FROM_GUEST && s->state != ST_RUNNING)
		s->missing[source] = EBUSY;
	return !s->missing[source];
}

static void collect(struct asked *a, struct pollfd *p, nfds_t n)
{
	uint64_t end = msb_now_ms() + CTL_SAMPLE_MS, now;
	nfds_t left = n;

	while (left && (now = msb_now_ms()) < end) {
		if (poll(p, n, (int)(end - now)) < 0 && errno != EINTR)
			break;
		for (nfds_t i = 0; i < n; i++) {
			if (p[i].fd < 0 || !p[i].revents)
				continue;
			if (a[i].s)
				answer(&a[i], p[i].fd);
			close(p[i].fd);
			p[i].fd = -1;
			left--;
		}
	}
	for (nfds_t i = 0; i < n; i++) {
		if (p[i].fd < 0)
			continue;
		if (a[i].s)
			a[i].s->missing[a[i].source] = ETIMEDOUT;
		close(p[i].fd);
	}
}

int ctl_sample_take(struct ctl *c, struct ctl_sample *s, size_t n, unsigned int sources)
{
	static const enum ctl_metric_source asks[] = {FROM_GUEST, FROM_FSD};
	struct aside aside[] = {{.c = c, .s = s, .n = n, .source = FROM_DISK, .main = walk_main},
		{.c = c, .s = s, .n = n, .source = FROM_BALLOON, .main = balloon_main}};
	_cleanup_free_ struct asked *a = calloc(2 * n + ARRAY_LEN(aside), sizeof(*a));
	_cleanup_free_ struct pollfd *p = calloc(2 * n + ARRAY_LEN(aside), sizeof(*p));
	nfds_t k = 0;

	if (!a || !p)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_LEN(aside); i++) {
		int fd = sources & 1u << aside[i].source ? aside_start(&aside[i]) : -1;

		if (fd >= 0)
			p[k++] = (struct pollfd){.fd = fd, .events = POLLIN};
	}
	for (size_t i = 0; i < n; i++) {
		if (sources & (1u << FROM_MACHINE | 1u << FROM_FSD_PROCESS))
			from_processes(&s[i]);
		for (size_t j = 0; j < ARRAY_LEN(asks); j++) {
			int fd;

			if (!(sources & 1u << asks[j]) || !wants(&s[i], asks[j]))
				continue;
			fd = ask(c, &s[i], asks[j]);
			s[i].missing[asks[j]] = fd < 0 ? -fd : 0;
			if (fd < 0)
				continue;
			a[k] = (struct asked){&s[i], asks[j]};
			p[k++] = (struct pollfd){.fd = fd, .events = POLLIN};
		}
	}
	collect(a, p, k);
	for (size_t i = 0; i < ARRAY_LEN(aside); i++)
		aside_end(&aside[i]);
	return 0;
}

/* ---- NAME/metrics */

static void print_latency(const struct fsd_stats *t, struct msb_str *s)
{
	for (int i = 0; i < FSD_OPS; i++) {
		uint64_t n = 0;

		for (int k = 0; k < FSD_BUCKETS; k++)
			n += t->hist[i][k];
		msb_str_addf(s, "%s count=%" PRIu64 " sum_usec=%" PRIu64,
			fsd_op_name((enum fsd_op)i), n, t->usec[i]);
		n = 0;
		for (int k = 0; k < FSD_BUCKETS - 1; k++) {
			n += t->hist[i][k];
			msb_str_addf(s, " le_%u=%" PRIu64, 1u << k, n);
		}
		msb_str_addf(s, " le_inf=%" PRIu64 "\n", n + t->hist[i][FSD_BUCKETS - 1]);
	}
}

static int missing(const struct ctl_sample *s, enum ctl_metric_source source, struct msb_err *e)
{
	const char *who = source == FROM_GUEST	   ? "the guest"
			  : source == FROM_DISK	   ? "its directory's walk"
			  : source == FROM_BALLOON ? "its machine"
						   : "its file server";

	switch (s->missing[source]) {
	case EOPNOTSUPP:
		return msb_err_set(e, EOPNOTSUPP,
			"a mixtape's machine has neither an agent nor a file server of msb's to "
			"ask");
	case EBUSY:
		return msb_err_set(e, EBUSY, "the guest cannot be asked while %s is %s", s->name,
			ctl_state_name(s->state));
	case ETIMEDOUT:
		return msb_err_set(e, ETIMEDOUT, "%s did not answer in %d ms", who, CTL_SAMPLE_MS);
	default:
		return msb_err_set(e, s->missing[source], "%s cannot be asked: %s", who,
			strerror(s->missing[source]));
	}
}

int ctl_read_metric(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	enum ctl_metric m = (enum ctl_metric)at->node->arg;
	enum ctl_metric_source source = ctl_metric_rows[m].source;
	struct ctl_sample one;

	pthread_mutex_lock(&at->c->lock);
	ctl_sample_of(at->sb, &one);
	pthread_mutex_unlock(&at->c->lock);
	if (ctl_sample_take(at->c, &one, 1, 1u << source) < 0)
		return msb_err_set(e, ENOMEM, "no memory");
	if (one.missing[source])
		return missing(&one, source, e);
	if (m == METRIC_FS_LATENCY)
		print_latency(&one.fs, s);
	else
		msb_str_addf(s, "%" PRIu64 "\n", one.v[m]);
	return 0;
}

/* ---- /metrics */

struct ctl_scrape {
	unsigned int refs; /* ctl.lock; so is what follows, until it is done */
	bool done;
	int result;
	size_t n;
	struct ctl_sample s[];
};

/* Of every sandbox: what one reader may see of it another may not. ctl.lock held. */
static struct ctl_scrape *scrape_new(const struct ctl *c)
{
	struct ctl_scrape *x = calloc(1, sizeof(*x) + c->nsb * sizeof(x->s[0]));

	if (!x)
		return NULL;
	for (; x->n < c->nsb; x->n++)
		ctl_sample_of(c->sb[x->n], &x->s[x->n]);
	return x;
}

/* The sampling under way, or one of its own. A reference, or NULL. */
static struct ctl_scrape *scrape(struct ctl *c)
{
	struct ctl_scrape *x;
	int r;

	pthread_mutex_lock(&c->lock);
	x = c->scrape;
	if (x) {
		x->refs++;
		while (!x->done)
			pthread_cond_wait(&c->changed, &c->lock);
		pthread_mutex_unlock(&c->lock);
		return x;
	}
	x = c->scrape = scrape_new(c);
	pthread_mutex_unlock(&c->lock);
	if (!x)
		return NULL;
	r = ctl_sample_take(c, x->s, x->n, (1u << FROM_COUNT) - 1);
	pthread_mutex_lock(&c->lock);
	x->refs++;
	x->done = true;
	x->result = r;
	c->scrape = NULL;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return x;
}

int ctl_read_metrics(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	struct ctl *c = at->c;
	struct ctl_scrape *x = scrape(c);
	bool last;
	int r;

	if (!x)
		return msb_err_set(e, ENOMEM, "no memory");
	r = x->result;
	if (r == 0)
		ctl_metrics_print(c, x->s, x->n, at->uid, s);
	pthread_mutex_lock(&c->lock);
	last = --x->refs == 0;
	pthread_mutex_unlock(&c->lock);
	if (last)
		free(x);
	return r < 0 ? msb_err_set(e, -r, "no memory") : 0;
}
