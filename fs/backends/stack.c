// SPDX-License-Identifier: Apache-2.0
// The table of backends and wrappers, and putting them together.
#include "fs/fsb.h"

#include "base/cleanup.h"
#include "fs/options.h"

#include <fcntl.h>
#include <string.h>

const struct fsb_kind *const fsb_kinds[] = {
#define KIND(name) &fsb_##name##_kind,
#include "fs/backends/backends.def"
#undef KIND
	NULL,
};

const struct fsb_kind *fsb_kind_find(const char *name)
{
	for (const struct fsb_kind *const *k = fsb_kinds; *k; k++)
		if ((*k)->start && !strcmp((*k)->name, name))
			return *k;
	return NULL;
}

void fsb_start_close(const struct fsb_start *s)
{
	const int fd[] = {s->dir_fd, s->index_fd, s->packs_fd, s->files_fd, s->upper_fd, s->sock_fd,
		s->usage_fd};

	for (size_t i = 0; i < ARRAY_LEN(fd); i++)
		if (fd[i] >= 0)
			close(fd[i]);
	if (s->inner)
		s->inner->ops->stop(s->inner);
}

/* Of the directory that a quota is to count; the backend takes over @from's own. */
static int count_fd(const struct fsb_start *from)
{
	int fd = from->upper_fd >= 0 ? from->upper_fd : from->dir_fd;

	return fd >= 0 && from->options && (from->options->quota_bytes || from->usage_fd >= 0)
		       ? fcntl(fd, F_DUPFD_CLOEXEC, 0)
		       : -1;
}

int fsb_stack_start(
	const char *backend, const struct fsb_start *from, struct fsb **ret, struct msb_err *e)
{
	const struct fsb_kind *kind = fsb_kind_find(backend);
	bool acls = from->options && from->options->acl;
	struct fsb_start own = *from, wrap = *from;
	struct fsb *b;
	int r;

	if (!kind) {
		fsb_start_close(from);
		return msb_err_set(e, EOPNOTSUPP, "there is no backend `%s`", backend);
	}
	_cleanup_close_ int counted = count_fd(from);
	_cleanup_close_ int usage = steal_fd(&own.usage_fd); /* a wrapper's, not the backend's */

	wrap.count_fd = counted;
	wrap.usage_fd = usage;
	if (own.inner)
		own.inner->acls = acls;
	r = kind->start(&own, &b, e);
	if (r == 0)
		b->acls = acls; /* it inherits them; the outermost shows them */
	for (const struct fsb_kind *const *k = fsb_kinds; r == 0 && *k; k++)
		if ((*k)->wrap)
			r = (*k)->wrap(&wrap, b, &b, e);
	if (r < 0)
		return r;
	b->acls = acls;
	*ret = b;
	return 0;
}
