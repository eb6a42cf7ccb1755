/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the worker that speak to libvirt share. */
#ifndef MSB_VMM_WORKER_LIBVIRT_H
#define MSB_VMM_WORKER_LIBVIRT_H

#include "base/cleanup.h"
#include "vmm/worker.h"

#include <libvirt/libvirt.h>
#include <pthread.h>

/* Why a machine is about to end, as far as is known before libvirt says that it has. */
struct omen {
	struct omen *next;
	char id[33];
	enum vmm_end how;
};

struct machines {
	virConnectPtr conn;
	struct view view;
	char uri[3 * MSB_PATH_MAX];
	char pids[MSB_PATH_MAX + 64]; /* where libvirt keeps ID.pid */
	char logs[MSB_PATH_MAX + 64]; /* where it keeps ID.log; "" where that is not ours */
	bool kvm;
	uint32_t tsc_khz; /* of the host; where not @kvm */
	machines_ended_fn ended;
	void *arg;
	pthread_mutex_t lock;
	struct omen *omens; /* under lock; at most one a machine */
};

/* Turns libvirt's last error on this thread into @e. Return: -errno. */
int lv_err(struct msb_err *e, const char *what);

static inline void cleanup_domain_(virDomainPtr *d)
{
	if (*d)
		virDomainFree(*d);
}
#define _cleanup_domain_ _cleanup_(cleanup_domain_)

/* The machine, or NULL with @e: ENOENT. */
virDomainPtr machine_find(struct machines *m, const char *id, struct msb_err *e);
/* Whether the host has @bytes for a machine: 0; -ENOMEM with @e. */
int machine_memory_check(uint64_t bytes, struct msb_err *e);
/* The pid of machine @id's QEMU: 0; -ESRCH; -errno. */
int machine_pid(const struct machines *m, const char *id, pid_t *ret);
/* Kills QEMU at once and waits up to 2 s; libvirt alone asks it nicely and looks every 200 ms. */
void machine_kill(const struct machines *m, const char *id);

/* ---- worker_end.c: how machines end */

/* Has libvirt tell of ends. 0 or -errno with @e. */
int ends_watch(struct machines *m, struct msb_err *e);
/* Notes why @id is about to end; the first cause is the cause. */
void end_foretell(struct machines *m, const char *id, enum vmm_end how);
/* Takes what was foretold for @id into @how, which may be NULL. */
void end_fulfil(struct machines *m, const char *id, enum vmm_end *how);
/* The last line that QEMU itself wrote into its log, or ""; the log is removed. */
void end_take_log(const struct machines *m, const char *id, char *line, size_t size);

/* ---- worker_sweep.c: before libvirt is opened */

/* Ends and removes what earlier workers left that libvirt must not find: machines whose start was
 * cut off, files of those that have ended, QEMUs that were only asked what they can do. */
void left_sweep(const struct machines *m);

#endif
