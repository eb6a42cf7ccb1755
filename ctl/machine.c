// SPDX-License-Identifier: Apache-2.0
// The end of a machine: who notices, and what it means.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "ctl/helper.h"
#include "ctl/op.h"
#include "ctl/supervise.h"
#include "ctl/thread.h"

#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>

/* How long the worker may take to say how a machine ended whose process is gone. */
#define TELL_MS 400

/* Lock held. */
static void ended(struct ctl_sandbox *sb)
{
	static const struct {
		int code;
		const char *text;
	} ends[] = {
		[VMM_END_SHUTDOWN] = {ESHUTDOWN, "the guest powered off"},
		[VMM_END_RESET] = {EIO,
			"the guest reset: a kernel panic, or a reboot; see console"},
		[VMM_END_PANIC] = {EIO, "the guest's kernel panicked; see console"},
		[VMM_END_DESTROYED] = {ECANCELED, "killed"},
		[VMM_END_CRASHED] = {EIO, "QEMU ended"},
	};
	enum vmm_end how = sb->end_told ? sb->end_how : VMM_END_CRASHED;
	const char *why = sb->end_told && *sb->end_detail ? sb->end_detail : ends[how].text;

	if (sb->machine_ended || !sb->machine)
		return;
	sb->machine_ended = true;
	pthread_cond_broadcast(&sb->c->changed);
	log_info("%s: %s", sb->name, why);
	if (sb->op && (sb->op->verb == VERB_STOP || sb->op->verb == VERB_KILL ||
			      sb->op->verb == VERB_FINISH))
		return;
	ctl_op_clean(sb, ends[how].code, "%s", why);
}

void ctl_machine_ended(void *arg, const char *id, enum vmm_end how, const char *detail)
{
	struct ctl *c = arg;
	struct ctl_sandbox *sb;

	/* Only our own vmm_destroy() does that, and it may be told after the next start began. */
	if (how == VMM_END_DESTROYED || how > VMM_END_CRASHED)
		return;
	LOCK_SCOPE(&c->lock);
	sb = ctl_sandbox_by_id(c, id);
	if (!sb || !sb->machine)
		return;
	/* Of an earlier machine: libvirt may see that end only now. One that ends while it is being
	 * made fails vmm_start_paused(). */
	if (sb->qemu.pidfd < 0 && sb->op && sb->op->verb == VERB_START)
		return;
	sb->end_told = true;
	sb->end_how = how;
	(void)snprintf(sb->end_detail, sizeof(sb->end_detail), "%s", detail);
	pthread_cond_broadcast(&c->changed);
	/* While the process lives its end is yet to come: then ctl_machine_exited() goes on. */
	if (sb->qemu.pidfd < 0 || msb_wait_fd(sb->qemu.pidfd, POLLIN, 0) == 0)
		ended(sb);
}

struct exited {
	struct ctl_sandbox *sb; /* a reference */
	uint64_t machine;	/* which of its machines */
};

void ctl_machine_await_end(struct ctl_sandbox *sb, unsigned int ms)
{
	uint64_t until = msb_now_ms() + ms;
	struct timespec t = {
		.tv_sec = (time_t)(until / 1000), .tv_nsec = (long)(until % 1000) * 1000000};

	LOCK_SCOPE(&sb->c->lock);
	while (!sb->machine_ended && !sb->doom &&
		pthread_cond_timedwait(&sb->c->changed, &sb->c->lock, &t) == 0)
		;
}

/* The process has ended: gives the worker a moment to say how, then cleans up. */
static void *exited(void *arg)
{
	struct exited *x = arg;
	struct ctl_sandbox *sb = x->sb;
	struct ctl *c = sb->c;
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += TELL_MS * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	pthread_mutex_lock(&c->lock);
	while (!sb->end_told && sb->machines == x->machine &&
		pthread_cond_timedwait(&c->changed, &c->lock, &t) == 0)
		;
	if (sb->machines == x->machine)
		ended(sb);
	pthread_mutex_unlock(&c->lock);
	ctl_sandbox_unref(sb);
	free(x);
	return NULL;
}

void ctl_machine_exited(struct ctl_sandbox *sb)
{
	struct exited *x = malloc(sizeof(*x));

	if (x)
		*x = (struct exited){ctl_sandbox_ref(sb), sb->machines};
	if (x && ctl_thread(exited, x) == 0)
		return;
	if (x)
		sb->refs--;
	free(x);
	ended(sb);
}

void ctl_machine_watch(struct ctl_sandbox *sb, struct vmm *vmm)
{
	pid_t pid = 0;
	int fd;

	if (vmm_pid(vmm, sb->id, &pid, NULL) < 0)
		return; /* it has ended: the worker says so */
	fd = pidfd_open(pid, 0);
	LOCK_SCOPE(&sb->c->lock);
	sb->qemu = ctl_helper_new(fd < 0 ? 0 : pid, fd);
	sb->end_told = false;
	if (fd >= 0)
		ctl_supervise_qemu(sb);
}
