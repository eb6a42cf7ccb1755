// SPDX-License-Identifier: Apache-2.0
// stop, and the way back from everything that start made.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "ctl/conf.h"
#include "ctl/config.h"
#include "ctl/files.h"
#include "ctl/mixtape.h"
#include "ctl/mounts.h"
#include "ctl/op.h"
#include "ctl/plugin.h"
#include "ctl/supervise.h"
#include "vmm/agent.h"

#include <fcntl.h>
#include <string.h>

static void vmm_worker_lost(void *arg)
{
	log_warn("the machine worker ended; machines go on, and the next verb starts it again");
}

int ctl_vmm(struct ctl *c, struct vmm **ret, struct msb_err *e)
{
	int r = 0;

	LOCK_SCOPE(&c->vmm_lock);
	if (!c->vmm)
		r = vmm_new(
			&c->paths, c->log_fd, ctl_machine_ended, vmm_worker_lost, c, &c->vmm, e);
	if (r == 0)
		*ret = c->vmm;
	return r;
}

static bool machine_gone(struct ctl_sandbox *sb)
{
	LOCK_SCOPE(&sb->c->lock);
	return sb->machine_ended;
}

static unsigned int timeout_ms(const struct ctl_op *op)
{
	uint64_t sec;

	LOCK_SCOPE(&op->sb->c->lock);
	sec = op->stop_sec;
	if (!sec)
		(void)msb_parse_u64(ctl_conf_value(op->sb, CONF_STOP_TIMEOUT), 1, CTL_MAX_STOP_SEC,
			&sec); /* it was checked */
	return (unsigned int)sec * 1000;
}

int ctl_op_stop(struct ctl_op *op, struct msb_err *e)
{
	struct ctl_sandbox *sb = op->sb;
	unsigned int all = timeout_ms(op);
	uint64_t until = msb_now_ms() + all;
	struct msb_err why = {0};
	struct vmm *vmm;
	char sock[108];
	int r = 0;

	ctl_sock_path(sb->c, sb->id, "agent", sock);
	if (op->before == ST_PAUSED) {
		r = ctl_vmm(sb->c, &vmm, &why);
		if (r == 0)
			r = vmm_resume(vmm, sb->id, &why);
	}
	if (r == 0 && sb->foreign)
		r = ctl_mixtape_stop(sb, &why);
	else if (r == 0)
		r = agent_shutdown(sock, (int)CTL_STOP_TERM_MS(all), (int)all, op->cancel_fd, &why);
	if (r == 0) {
		uint64_t now = msb_now_ms();

		ctl_machine_await_end(sb, now < until ? (unsigned int)(until - now) : 0);
	}
	if (r == 0 && !machine_gone(sb))
		r = msb_err_set(&why, ETIMEDOUT, "it did not power off in %u s", all / 1000);
	if (r < 0)
		log_warn("%s: not stopped in order: %s; killing it", sb->name, why.msg);
	return 0;
}

static void unexport(struct ctl_sandbox *sb)
{
	static const char *const tags[] = {CTL_TAG_ROOT, CTL_TAG_SHARES};
	struct ctl_files_of of = {
		.c = sb->c, .f = &sb->files, .id = sb->id, .name = sb->name, .sb = sb};

	LOCK_SCOPE(&sb->files.lock);
	ctl_shares_down(&of);
	for (unsigned int i = 0; sb->nexports && i < ARRAY_LEN(tags); i++) {
		char file[80];

		/* It fails where the server is gone, or has no such export (a root on a disk has
		 * none): then there is nothing to take back. */
		if (sb->files.sock >= 0)
			(void)ctl_files_answer(&of, fsd_unexport(sb->files.sock, tags[i], NULL));
		(void)snprintf(file, sizeof(file), "sb/%s/fs%u", sb->id, i);
		(void)unlinkat(sb->c->run_fd, file, 0);
	}
	sb->nexports = 0;
}

void ctl_teardown(struct ctl_sandbox *sb)
{
	static const char *const left[] = {"ch", "con", "agent", "agent.pid"};
	struct ctl *c = sb->c;
	struct msb_err e = {0};
	struct ctl_helper agent;
	struct vmm *vmm;
	bool machine;

	pthread_mutex_lock(&c->lock);
	/* One that has ended is libvirt's to forget, which may take it a while. */
	machine = sb->machine && !sb->machine_ended;
	agent = sb->agent;
	sb->agent = (struct ctl_helper){.pidfd = -1};
	ctl_supervise_drop(c, agent.pidfd);
	pthread_mutex_unlock(&c->lock);
	if (machine) {
		int r = ctl_vmm(c, &vmm, &e);

		if (r == 0)
			r = vmm_destroy(vmm, sb->id, &e);
		if (r < 0)
			log_err("%s: cannot end its machine: %s; the next verb tries again",
				sb->name, e.msg);
		else
			machine = false;
	}
	/* After the machine, so that the last of its console has been read. */
	(void)ctl_helper_end(&agent, CTL_END_TIMEOUT_MS); /* how it ends is of no interest now */
	unexport(sb);
	ctl_plugins_stop(sb);
	for (size_t i = 0; i < ARRAY_LEN(left); i++) {
		char file[80];

		(void)snprintf(file, sizeof(file), "sb/%s/%s", sb->id, left[i]);
		(void)unlinkat(c->run_fd, file, 0); /* absent where start did not get that far */
	}
	pthread_mutex_lock(&c->lock);
	sb->machine = machine;
	ctl_supervise_drop(c, sb->qemu.pidfd);
	if (sb->qemu.pidfd >= 0)
		close(sb->qemu.pidfd);
	sb->qemu = (struct ctl_helper){.pidfd = -1};
	sb->started_usec = 0;
	sb->agent_told = false;
	ctl_config_settled(sb);
	ctl_mounts_settled(sb);
	pthread_mutex_unlock(&c->lock);
}

int ctl_op_reattach_run(struct ctl_op *op, struct msb_err *e)
{
	struct ctl_sandbox *sb = op->sb;
	struct ctl *c = sb->c;
	struct ctl_helper old;
	int r;

	pthread_mutex_lock(&c->lock);
	old = sb->agent;
	sb->agent = (struct ctl_helper){.pidfd = -1};
	ctl_supervise_drop(c, old.pidfd);
	pthread_mutex_unlock(&c->lock);
	(void)ctl_helper_end(&old, 0); /* reaps it */
	r = ctl_agent_start(sb, e);
	return r < 0 ? msb_err_wrap(e, "cannot take up the agent again") : 0;
}
