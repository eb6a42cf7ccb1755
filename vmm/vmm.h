/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machine control. Client side of msb-vmm, the worker that holds libvirt (qemu:///embed) for one
 * instance of msb.
 *
 * msb-vmm: fd 3 = SEQPACKET socket to msbd. It forks: the parent is a child subreaper that reaps
 * QEMUs, the child holds libvirt. It exits when fd 3 closes; QEMUs go on, and the next msb-vmm
 * finds them by the root. Requests carry seq=N and are answered out of order; events have verb
 * "event". See vmm/worker.c.
 */
#ifndef MSB_VMM_VMM_H
#define MSB_VMM_VMM_H

#include "base/err.h"
#include "base/paths.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define VMM_MAX_FS	     32
#define VMM_MIN_MEMORY_BYTES (UINT64_C(64) << 20)
#define VMM_MAX_MEMORY_BYTES (UINT64_C(1) << 40)
#define VMM_MAX_CPUS	     64
#define VMM_MAX_VOLUMES	     8
#define VMM_MAX_CMDLINE	     2047 /* bytes: COMMAND_LINE_SIZE of x86 Linux, and its NUL */

struct vmm_fs {
	char tag[37]; /* virtiofs tag: 1-36 bytes */
	char socket[108];
};

/*
 * The machine's disk, /dev/vda: a qcow2 of its own over a base that is only read. QEMU gets both as
 * descriptors, so that neither's path nor mode is anything to it, and nothing in either's bytes
 * says what else is opened.
 */
struct vmm_disk {
	char base_format[8]; /* raw or qcow2, as img_qcow2_check() found it; "": no disk */
	int overlay_fd;	     /* O_RDWR, as img_qcow2_make() makes it */
	int base_fd;	     /* O_RDONLY */
};

/* A further disk, raw, which the guest finds by its serial. */
struct vmm_volume {
	char serial[17]; /* 16 hex digits */
	bool readonly;
	int fd;
};

/* A kernel of the disk's own in place of msb's. */
struct vmm_kernel {
	char kernel[108], initrd[108]; /* "": msb's own */
	char cmdline[VMM_MAX_CMDLINE + 1];
};

/* What a machine is made of. Paths absolute. */
struct vmm_spec {
	char id[33]; /* sandbox id: 32 hex digits; the libvirt name and UUID */
	uint32_t cpus;
	uint64_t memory_bytes;
	uint32_t max_cpus;	   /* where that is more: it has so many, and boots with @cpus */
	uint64_t max_memory_bytes; /* what vmm_set_memory() can make of it; or less: nothing */
	char agent_socket[108],
		console_socket[108]; /* QEMU listens there (chardev server, nowait) */
	unsigned int nfs;
	struct vmm_fs fs[VMM_MAX_FS];
	char cmdline_extra[256]; /* after our own kernel arguments */
	struct vmm_disk disk;	 /* descriptors borrowed for the call, as those of volumes */
	unsigned int nvolumes;
	struct vmm_volume volume[VMM_MAX_VOLUMES];
	struct vmm_kernel own;
};

enum vmm_end {
	VMM_END_SHUTDOWN,  /* the guest powered off */
	VMM_END_RESET,	   /* the guest asked for a reset: a panic with panic=-1, or reboot */
	VMM_END_PANIC,	   /* the pvpanic device said so */
	VMM_END_DESTROYED, /* vmm_destroy() */
	VMM_END_CRASHED,   /* QEMU died: killed, or aborted */
};

struct vmm;

/* Called on the client's own thread when a machine has ended, once per start. A machine that ended
 * while there was no worker is told of only by its absence from vmm_list(). Must not call vmm_
 * functions: those fail with -EDEADLK there.
 * @detail: a sentence for users, or "". */
typedef void (*vmm_ended_fn)(void *arg, const char *id, enum vmm_end how, const char *detail);
/* Called, on the same thread, when the worker itself has died; the next call starts it again. Then
 * compare vmm_list() with what should run. */
typedef void (*vmm_lost_fn)(void *arg);

int vmm_new(const struct msb_paths *paths, int log_fd, vmm_ended_fn, vmm_lost_fn, void *arg,
	struct vmm **ret, struct msb_err *e);
/* Ends the worker; machines go on. Calls under way fail, and so do later ones (-ECANCELED), from
 * any thread: for who cannot know that nobody calls any more. */
void vmm_close(struct vmm *);
struct vmm *vmm_free(struct vmm *); /* closes it, where nobody calls any more; accepts NULL */

/* All block, from any thread, several at once, for at most two minutes: -ETIMEDOUT, and it may yet
 * be done; vmm_destroy() settles that. -EPIPE the worker ended; -ENOENT with a sentence where QEMU,
 * the kernel or the initramfs is missing; -ENOMEM where the host lacks the memory. */
int vmm_start_paused(struct vmm *, const struct vmm_spec *,
	struct msb_err *e); /* its QEMU exists, sockets are connectable */
int vmm_resume(struct vmm *, const char *id, struct msb_err *e);
int vmm_suspend(struct vmm *, const char *id, struct msb_err *e);
/* 0 where it is gone already. Where a worker ends, or cannot do it, others try. */
int vmm_destroy(struct vmm *, const char *id, struct msb_err *e);
/* Presses its power button; what the guest makes of that is the guest's. */
int vmm_power_button(struct vmm *, const char *id, struct msb_err *e);
/* Says how much memory the guest is to have, at most what vmm_spec set: vmm_memory() tells what it
 * has, as its kernel gives back what it can. -ENOMEM the host lacks the memory. */
int vmm_set_memory(struct vmm *, const char *id, uint64_t bytes, struct msb_err *e);
/* @within_ms: -ETIMEDOUT after it, and no worker is started for it; 0: as long as it takes. */
int vmm_memory(struct vmm *, const char *id, unsigned int within_ms, uint64_t *ret_bytes,
	struct msb_err *e);
int vmm_pid(struct vmm *, const char *id, pid_t *ret, struct msb_err *e);
/* Ids of the machines that exist now, 33 bytes each; *ret is the caller's to free. */
int vmm_list(struct vmm *, char (**ret)[33], size_t *ret_n, struct msb_err *e);

/* "kvm" or "tcg": the outcome of the probe, cached per boot in run/accel. $MSB_ACCEL=kvm|tcg
 * overrides. */
const char *vmm_accel(struct vmm *);

#endif
