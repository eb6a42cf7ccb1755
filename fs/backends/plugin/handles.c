// SPDX-License-Identifier: Apache-2.0
// plugin: open files and directories.
#include "fs/backends/plugin/plugin_priv.h"
#include "base/cleanup.h"

#define FIRST_HANDLES 16
#define NO_HANDLE     UINT32_MAX

/* A free one keeps the index of the next in pfh. */
static int grow(struct plug *p)
{
	uint32_t n = p->handles ? p->handles * 2 : FIRST_HANDLES;
	struct plug_handle *h;

	if (p->handles >= PLUGIN_MAX_HANDLES)
		return -ENFILE;
	h = realloc(p->handle, n * sizeof(*h));
	if (!h)
		return -ENOMEM;
	for (uint32_t i = p->handles; i < n; i++)
		h[i] = (struct plug_handle){.pfh = i + 1 < n ? i + 1 : NO_HANDLE};
	p->first_free = p->handles;
	p->handle = h;
	p->handles = n;
	return 0;
}

int plug_handle_add(struct plug *p, const struct plug_handle *h, uint64_t *ret_fh)
{
	uint32_t i;
	int r;

	LOCK_SCOPE(&p->handles_lock);
	if (p->open == p->handles) {
		r = grow(p);
		if (r < 0)
			return r;
	}
	i = p->first_free;
	p->first_free = (uint32_t)p->handle[i].pfh;
	p->handle[i] = *h;
	p->open++;
	*ret_fh = i + 1;
	return 0;
}

int plug_handle_get(struct plug *p, uint64_t fh, struct plug_handle *ret)
{
	LOCK_SCOPE(&p->handles_lock);
	if (fh == 0 || fh > p->handles || !p->handle[fh - 1].node)
		return -EBADF;
	*ret = p->handle[fh - 1];
	return 0;
}

int plug_handle_take(struct plug *p, uint64_t fh, struct plug_handle *ret)
{
	LOCK_SCOPE(&p->handles_lock);
	if (fh == 0 || fh > p->handles || !p->handle[fh - 1].node)
		return -EBADF;
	*ret = p->handle[fh - 1];
	p->handle[fh - 1] = (struct plug_handle){.pfh = p->first_free};
	p->first_free = (uint32_t)(fh - 1);
	p->open--;
	return 0;
}

void plug_handle_list_below(struct plug *p, uint64_t fh)
{
	LOCK_SCOPE(&p->handles_lock);
	if (fh && fh <= p->handles && p->handle[fh - 1].node)
		p->handle[fh - 1].list_below = true;
}

void *plug_handle_list(struct plug *p, uint64_t fh, void *fresh)
{
	LOCK_SCOPE(&p->handles_lock);
	if (fh == 0 || fh > p->handles || !p->handle[fh - 1].node) {
		pj_list_free(fresh);
		return NULL;
	}
	if (fresh) {
		pj_list_free(p->handle[fh - 1].list);
		p->handle[fh - 1].list = fresh;
	}
	return p->handle[fh - 1].list;
}

bool plug_handle_reopened(struct plug *p, uint64_t fh, const struct plug_handle *h)
{
	LOCK_SCOPE(&p->handles_lock);
	if (fh == 0 || fh > p->handles || p->handle[fh - 1].node != h->node ||
		p->handle[fh - 1].epoch == h->epoch)
		return false;
	p->handle[fh - 1] = *h;
	return true;
}
