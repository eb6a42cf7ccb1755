// SPDX-License-Identifier: Apache-2.0
// A cgroup for each job, so that killing one leaves no process behind.
#include "guest/ga.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static void path_of(char out[48], uint64_t serial, const char *file)
{
	(void)snprintf(out, 48, "job-%llu%s", (unsigned long long)serial, file); /* fits */
}

int ga_cgroup_make(struct ga *g, uint64_t serial)
{
	char p[48];
	int fd;

	if (g->cgroups < 0)
		return -1;
	path_of(p, serial, "");
	if (mkdirat(g->cgroups, p, 0755) < 0)
		return -1;
	fd = openat(g->cgroups, p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		ga_cgroup_remove(g, serial);
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

static bool try_remove(struct ga *g, uint64_t serial)
{
	char p[48];

	path_of(p, serial, "");
	return unlinkat(g->cgroups, p, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

void ga_cgroup_remove(struct ga *g, uint64_t serial)
{
	uint64_t *more;

	if (g->cgroups < 0 || try_remove(g, serial))
		return;
	more = realloc(g->lingering, (g->nlingering + 1) * sizeof(*more));
	if (!more)
		return; /* an empty directory in a guest without memory: the least of its troubles
			 */
	g->lingering = more;
	g->lingering[g->nlingering++] = serial;
}

void ga_cgroup_sweep(struct ga *g)
{
	for (size_t i = 0; i < g->nlingering;)
		if (try_remove(g, g->lingering[i]))
			g->lingering[i] = g->lingering[--g->nlingering];
		else
			i++;
}
