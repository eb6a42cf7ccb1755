/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mixtapes of masterblaster as sandboxes: an image that is a machine's kernel, initrd, kernel
 * arguments and disk. Its guest has no agent of msb's: it is started, watched by its console, and
 * stopped by its power button.
 */
#ifndef MSB_CTL_MIXTAPE_H
#define MSB_CTL_MIXTAPE_H

#include "ctl/meta.h"
#include "ctl/model.h"

struct ctl_op;

/**
 * ctl_mixtape_plan() - What its machine is made of; the disk is unpacked where it is not yet
 * @digest: of the image, which the sandbox is bound to from then on
 * @ret: disk and kernel are set; the disk is the caller's to close
 * Errors: -EOPNOTSUPP the sandbox has mounts or options of the root; -EBADMSG, -ENOENT a blob is
 * damaged or gone; -ERANGE, -ENOSPC; -EINTR doomed. Waits; takes ctl.lock.
 */
int ctl_mixtape_plan(struct ctl_op *op, const char *digest, const struct ctl_meta *meta,
	struct vmm_spec *ret, struct msb_err *e);

/* Copies of the kernel and the initrd, for the start of its machine alone: QEMU runs as who could
 * not read the store's. ctl_mixtape_swept() removes them. */
int ctl_mixtape_lay_out(struct ctl_sandbox *sb, const struct ctl_meta *meta, struct msb_err *e);
void ctl_mixtape_swept(struct ctl_sandbox *sb);

/* Waits for the console's first byte, CTL_SPEAK_TIMEOUT_MS, the machine's end, or the verb's.
 * @old_bytes: of the console before the machine was started: ctl_mixtape_console(). */
void ctl_mixtape_await(struct ctl_op *op, uint64_t old_bytes);
uint64_t ctl_mixtape_console(const struct ctl_sandbox *sb);

/* Presses the power button. */
int ctl_mixtape_stop(struct ctl_sandbox *sb, struct msb_err *e);

#endif
