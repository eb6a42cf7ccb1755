// SPDX-License-Identifier: Apache-2.0
// The guest's own figures, and noticing that its kernel has killed for want of memory.
#include "guest/ga_stats.h"
#include "guest/ga.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>

static void set(struct wire_stats *s, enum wire_stat i, uint64_t v)
{
	s->v[i] = v;
	s->have |= 1u << i;
}

void ga_stats_cpu(const char *text, uint64_t ticks, struct wire_stats *ret)
{
	uint64_t user, nice, sys, idle, iowait, irq, softirq, steal, usec = 1000000 / ticks;

	if (sscanf(text,
		    "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		    " %" SCNu64 " %" SCNu64,
		    &user, &nice, &sys, &idle, &iowait, &irq, &softirq, &steal) != 8)
		return;
	set(ret, WIRE_CPU_USER_USEC, (user + nice) * usec);
	set(ret, WIRE_CPU_SYSTEM_USEC, (sys + irq + softirq) * usec);
	set(ret, WIRE_CPU_IDLE_USEC, idle * usec);
	set(ret, WIRE_CPU_IOWAIT_USEC, iowait * usec);
	set(ret, WIRE_CPU_STEAL_USEC, steal * usec);
}

/* The number behind @key at the beginning of a line. */
static bool find(const char *text, const char *key, uint64_t *ret)
{
	size_t n = strlen(key);

	for (const char *p = text; p && *p; p = strchr(p, '\n'), p += p != NULL)
		if (!strncmp(p, key, n))
			return sscanf(p + n, " %" SCNu64, ret) == 1;
	return false;
}

void ga_stats_memory(const char *text, struct wire_stats *ret)
{
	uint64_t kib;

	if (find(text, "MemTotal:", &kib))
		set(ret, WIRE_MEMORY_TOTAL_BYTES, kib << 10);
	if (find(text, "MemAvailable:", &kib))
		set(ret, WIRE_MEMORY_AVAILABLE_BYTES, kib << 10);
}

void ga_stats_vm(const char *text, struct wire_stats *ret)
{
	uint64_t n;

	if (find(text, "oom_kill ", &n))
		set(ret, WIRE_OOM_KILLS, n);
}

/* ---- in the agent */

/* As text; "" where it cannot be had. */
static void text_of(int fd, char *buf, size_t size)
{
	ssize_t n = fd >= 0 ? pread(fd, buf, size - 1, 0) : 0;

	buf[n > 0 ? n : 0] = '\0';
}

static void oom_kills(struct ga *g, struct wire_stats *s)
{
	char buf[16384]; /* all of it: the figure is near its end */

	text_of(g->vmstat_fd, buf, sizeof(buf));
	ga_stats_vm(buf, s);
}

/* The kernel has logged something. What it says is anybody's who may write there: the counter
 * tells. */
static void kmsg_event(struct ga *g, struct ga_watch *w, uint32_t events)
{
	static const char kind[] = "oom";
	struct wire_stats s = {0};
	uint8_t b[64];
	size_t n = 0;

	(void)lseek(w->fd, 0, SEEK_END); /* whatever it was is read so */
	oom_kills(g, &s);
	if (!(s.have & 1u << WIRE_OOM_KILLS) || s.v[WIRE_OOM_KILLS] <= g->oom_kills)
		return;
	g->oom_kills = s.v[WIRE_OOM_KILLS];
	(void)wire_kv_add(b, sizeof(b), &n, "kind", kind); /* fits */
	ga_reply(g, WIRE_EVENT, 0, b, n);
}

void ga_stats_init(struct ga *g)
{
	struct wire_stats s = {0};
	int fd;

	/* Open from now on: the root that comes later may have another /proc, or none. */
	g->stat_fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);
	g->meminfo_fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	g->vmstat_fd = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
	oom_kills(g, &s);
	g->oom_kills = s.v[WIRE_OOM_KILLS];
	g->kmsg.fn = kmsg_event;
	g->kmsg.fd = -1;
	fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)lseek(fd, 0, SEEK_END); /* else it begins with what is old */
	if (ga_watch_add(g, &g->kmsg, fd, EPOLLIN) < 0)
		close(fd);
}

void ga_stats_done(struct ga *g)
{
	ga_watch_close(&g->kmsg);
	cleanup_close_(&g->stat_fd);
	cleanup_close_(&g->meminfo_fd);
	cleanup_close_(&g->vmstat_fd);
}

size_t ga_stats_add(struct ga *g, uint8_t *b, size_t cap, size_t n)
{
	struct wire_stats s = {0};
	char text[4096], number[24];
	long ticks = sysconf(_SC_CLK_TCK);

	text_of(g->stat_fd, text, sizeof(text));
	ga_stats_cpu(text, ticks > 0 ? (uint64_t)ticks : 100, &s);
	text_of(g->meminfo_fd, text, sizeof(text));
	ga_stats_memory(text, &s);
	oom_kills(g, &s);
	for (int i = 0; i < WIRE_NSTATS; i++) {
		if (!(s.have & 1u << i))
			continue;
		(void)snprintf(number, sizeof(number), "%" PRIu64, s.v[i]);
		(void)wire_kv_add(b, cap, &n, wire_stat_name((enum wire_stat)i), number); /* fits */
	}
	return n;
}
