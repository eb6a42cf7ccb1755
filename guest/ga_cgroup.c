// SPDX-License-Identifier: Apache-2.0
// A cgroup for each job, so that killing one leaves no process behind. Making one and removing it
// costs as much as the fork: the next job's is made, and the last one's removed, while nobody
// waits.
#include "guest/ga.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define REMOVED_AT_ONCE 8 /* before whoever waits gets their turn */

static void path_of(char out[48], uint64_t serial, const char *file)
{
	(void)snprintf(out, 48, "job-%llu%s", (unsigned long long)serial, file); /* fits */
}

static bool try_remove(struct ga *g, uint64_t serial)
{
	char p[48];

	path_of(p, serial, "");
	return unlinkat(g->cgroups, p, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

static int make(struct ga *g, uint64_t serial)
{
	char p[48];
	int fd;

	path_of(p, serial, "");
	if (mkdirat(g->cgroups, p, 0755) < 0)
		return -1;
	fd = openat(g->cgroups, p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		(void)try_remove(g, serial); /* it is empty, and its name is not used again */
	return fd;
}

int ga_cgroup_make(struct ga *g, uint64_t serial)
{
	int fd = g->spare_cgroup;

	if (g->cgroups < 0)
		return -1;
	if (fd < 0 || g->spare_serial != serial)
		return make(g, serial);
	g->spare_cgroup = -1;
	return fd;
}

bool ga_cgroup_kill(struct ga *g, uint64_t serial)
{
	_cleanup_close_ int fd = -1;
	char p[48];

	if (g->cgroups < 0)
		return false;
	path_of(p, serial, "/cgroup.kill");
	fd = openat(g->cgroups, p, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, "1", 1) == 1;
}

bool ga_cgroup_oom(struct ga *g, uint64_t serial)
{
	_cleanup_close_ int fd = -1;
	char p[48], text[512];
	const char *hit;
	ssize_t n;

	if (g->cgroups < 0)
		return false;
	path_of(p, serial, "/memory.events");
	fd = openat(g->cgroups, p, O_RDONLY | O_CLOEXEC);
	n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
	if (n <= 0)
		return false;
	text[n] = '\0';
	hit = strstr(text, "oom_kill ");
	return hit && hit[9] != '0';
}

void ga_cgroup_remove(struct ga *g, uint64_t serial)
{
	uint64_t *more;

	if (g->cgroups < 0)
		return;
	g->sweep_due = true;
	more = realloc(g->lingering, (g->nlingering + 1) * sizeof(*more));
	if (!more) {
		(void)try_remove(g, serial); /* else an empty directory in a guest without memory */
		return;
	}
	g->lingering = more;
	g->lingering[g->nlingering++] = serial;
}

void ga_cgroup_tidy(struct ga *g)
{
	unsigned int removed = 0;
	size_t i = 0;

	while (i < g->nlingering && removed < REMOVED_AT_ONCE)
		if (try_remove(g, g->lingering[i])) {
			g->lingering[i] = g->lingering[--g->nlingering];
			removed++;
		} else {
			i++; /* a process is in it still: tried again when one has ended */
		}
	g->sweep_due = removed == REMOVED_AT_ONCE;
	if (g->spare_cgroup < 0 && !g->sweep_due) {
		g->spare_serial = g->next_serial;
		g->spare_cgroup = make(g, g->spare_serial);
	}
}
