/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of msb-vmm: requests come in by worker.c, machines are libvirt's by worker_machine.c.
 */
#ifndef MSB_VMM_WORKER_H
#define MSB_VMM_WORKER_H

#include "base/err.h"
#include "vmm/domain_xml.h"
#include "vmm/vmm.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WORKER_THREADS	    16 /* requests carried out at once */
#define WORKER_MAX_STARTS   12 /* of them starts: the rest is for stopping what runs */
#define WORKER_MAX_QUEUED   256
#define WORKER_MAX_MACHINES 1024
/* What a machine costs the host beside its memory: QEMU and what it translates, file server, agent.
 */
#define WORKER_MARGIN_BYTES (UINT64_C(128) << 20)

/**
 * worker_run() - Serve requests until @sock ends; does not return
 * @run, @share: directories of the instance
 */
_Noreturn void worker_run(int sock, const char *run, const char *share);

/* Called on libvirt's event thread, once for each end of a machine. */
typedef void (*machines_ended_fn)(void *arg, const char *id, enum vmm_end how, const char *detail);

struct machines;

/**
 * machines_open() - Open libvirt under @run/libvirt (or at $MSB_LIBVIRT_URI)
 * Writes its configuration, waits up to 10 s for an earlier worker to let go of the directory, and
 * warms the capability cache in the background. Machines started earlier are known again.
 * @accel: "kvm" or "tcg"
 * Return: 0 and @ret, which lives as long as the process; -errno with @e.
 */
int machines_open(const char *run, const char *share, const char *accel, machines_ended_fn fn,
	void *arg, struct machines **ret, struct msb_err *e);

/* As the functions of vmm.h. Threads: any, several at once. */
int machines_start(struct machines *m, const struct vmm_spec *spec, struct msb_err *e);
int machines_resume(struct machines *m, const char *id, struct msb_err *e);
int machines_suspend(struct machines *m, const char *id, struct msb_err *e);
int machines_destroy(struct machines *m, const char *id, struct msb_err *e);
int machines_button(struct machines *m, const char *id, struct msb_err *e);
int machines_set_memory(struct machines *m, const char *id, uint64_t bytes, struct msb_err *e);
int machines_memory(struct machines *m, const char *id, uint64_t *ret, struct msb_err *e);
int machines_pid(struct machines *m, const char *id, pid_t *ret, struct msb_err *e);
/* Writes at most WORKER_MAX_MACHINES ids. Return: how many; -errno with @e. */
int machines_list(struct machines *m, char (*ids)[33], struct msb_err *e);

/* ---- worker_view.c: whom QEMU runs as, and what it can reach */

/* Where machines see things. As an ordinary user, or without the namespace: as they are. */
struct view {
	char libvirt[MSB_PATH_MAX + 16], share[MSB_PATH_MAX];
	char share_told[MSB_PATH_MAX]; /* share, as it is called outside the view */
	char sb[MSB_PATH_MAX + 16];    /* prefix of the sandboxes' sockets, outside the view */
	bool entered;
};

/**
 * view_open() - Enter a mount namespace where QEMUs of other uids reach libvirt, sockets and kernel
 * @kvm: /dev/kvm is to be among what they reach
 * For root only; for others, and where the kernel forbids it, says where things are. Threads:
 * before any other.
 */
void view_open(struct view *v, const char *run, const char *share, bool kvm);

/**
 * view_admit() - Give the machine @s a uid of its own, and to that uid its file servers' sockets
 * @s: checked; its paths become those inside the view
 * Return: 0; -errno with @e.
 */
int view_admit(const struct view *v, struct vmm_spec *s, struct vmm_host *h, struct msb_err *e);

/* ---- worker_host.c: what a start needs from the host */

/**
 * host_memory_check() - Does the host have @memory_bytes and the margin to spare?
 * @meminfo: text of /proc/meminfo
 * Return: 0; -ENOMEM with both numbers in @e. An unreadable @meminfo passes.
 */
int host_memory_check(const char *meminfo, uint64_t memory_bytes, struct msb_err *e);

/* Paths of a machine's parts, checked to exist at the time of the start. */
struct host_parts {
	char qemu[MSB_PATH_MAX], kernel[MSB_PATH_MAX], initrd[MSB_PATH_MAX];
	const char *loader; /* NULL: QEMU's own firmware */
};

/**
 * host_parts_find() - QEMU from $MSB_QEMU, the kernel from $MSB_KERNEL (debian, mini or a path)
 * @told: what users call @share, for sentences
 * @s: says whether its root is a disk, and whether it has a kernel of its own: then neither kernel
 * nor initrd are set
 * Return: 0; -ENOENT with a sentence that says what to install.
 */
int host_parts_find(const char *share, const char *told, const struct vmm_spec *s,
	struct host_parts *ret, struct msb_err *e);

/**
 * host_pid_of() - The process whose pid is in @pidfile and whose command line holds @word
 * @word: or HOST_FORK_OF_US, for one whose command line is this process's own, and which is neither
 * this process nor its parent
 * Return: its pid; -ESRCH where there is none; -errno.
 */
#define HOST_FORK_OF_US NULL
pid_t host_pid_of(const char *pidfile, const char *word);

/* Kills that process, if there is one, and waits up to 2 s for its end. */
void host_kill(const char *pidfile, const char *word);
/* What the host's time stamp counter counts in a millisecond, measured: takes 20 ms. 0: it cannot
 * be told. */
uint32_t host_tsc_khz(void);

#endif
