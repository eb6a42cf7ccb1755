// SPDX-License-Identifier: Apache-2.0
// Scripts in the guest.
#include "ctl/scripts.h"
#include "base/cleanup.h"
#include "ctl/kept.h"
#include "vmm/agent.h"

#include <fcntl.h>
#include <string.h>

int ctl_scripts_share(const struct ctl_sandbox *sb, struct ctl_table *t)
{
	struct ctl_share *s = &t->s[t->n];

	if (!ctl_kept_count(sb, AREA_SCRIPTS))
		return 0;
	*s = (struct ctl_share){.name = CTL_SCRIPTS_SHARE,
		.source = strdup(CTL_SCRIPTS_SHARE),
		.path = strdup(CTL_SCRIPTS_PATH),
		.backend = strdup("passthrough"),
		.options = strdup("ro,map=root,nosubmounts"),
		.readonly = true};
	t->n++; /* ctl_table_done() takes what is there of it */
	return s->source && s->path && s->backend && s->options ? 0 : -ENOMEM;
}

bool ctl_scripts_is(const struct ctl_share *s)
{
	return !strcmp(s->name, CTL_SCRIPTS_SHARE);
}

int ctl_scripts_open(const struct ctl_sandbox *sb, int *ret, struct msb_err *e)
{
	char path[CTL_KEPT_PATH];

	ctl_kept_path(sb, AREA_SCRIPTS, NULL, path);
	*ret = openat(sb->c->sandboxes_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *ret < 0 ? msb_err_set(e, errno, "cannot open the sandbox's scripts: %m") : 0;
}

static int serve(struct ctl_sandbox *sb, const struct ctl_share *s, struct msb_err *e)
{
	struct ctl_files_of of = {
		.c = sb->c, .f = &sb->files, .id = sb->id, .name = sb->name, .sb = sb};
	struct ctl_share_fds fds;
	int r = ctl_share_open(sb, s, &fds, e);

	if (r < 0)
		return r;
	LOCK_SCOPE(&sb->files.lock);
	r = sb->files.sock < 0 ? msb_err_set(e, ENODEV, "the file server is gone")
			       : ctl_share_up(&of, s, &fds, e);
	ctl_share_close(&fds);
	return r;
}

int ctl_scripts_live(struct ctl_sandbox *sb, struct msb_err *e)
{
	_cleanup_(ctl_table_done) struct ctl_table t = {0};
	const struct agent_mount m = {CTL_SCRIPTS_SHARE, CTL_SCRIPTS_PATH, true, false, NULL};
	char sock[108];
	int r;

	{
		LOCK_SCOPE(&sb->c->lock);
		if (sb->foreign || ctl_state_ended(sb->state) || sb->state == ST_STOPPING)
			return 0; /* the next start has it */
		if (sb->scripts_up == sb->machines + 1)
			return 0;
		if (sb->state != ST_RUNNING)
			return msb_err_set(e, EBUSY, "%s is %s; %s", sb->name,
				ctl_state_name(sb->state),
				sb->state == ST_PAUSED ? "resume it first" : "wait for its start");
		r = ctl_scripts_share(sb, &t);
	}
	if (r < 0)
		return msb_err_set(e, ENOMEM, "no memory");
	if (!t.n)
		return 0;
	r = serve(sb, &t.s[0], e);
	if (r < 0)
		return r;
	ctl_sock_path(sb->c, sb->id, "agent", sock);
	r = agent_mount(sock, &m, -1, e); /* fine where it is there */
	if (r < 0)
		return msb_err_wrap(e, "scripts");
	LOCK_SCOPE(&sb->c->lock);
	sb->scripts_up = sb->machines + 1;
	return 0;
}
