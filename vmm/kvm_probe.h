/* SPDX-License-Identifier: Apache-2.0 */
/* Can this host's KVM run a guest? /dev/kvm that opens is no answer: under some hypervisors a guest
 * starts and hangs, or runs a thousand times slower than emulation. So a guest is run. */
#ifndef MSB_VMM_KVM_PROBE_H
#define MSB_VMM_KVM_PROBE_H

#include <stddef.h>

#define KVM_PROBE_LOOPS	     100000 /* iterations that the throw-away guest makes */
#define KVM_PROBE_MAX_MS     10	    /* of CPU time for them: native hardware takes well under 1 */
#define KVM_PROBE_TIMEOUT_MS 250    /* then the probing process is killed */

/**
 * kvm_probe() - Run a loop in a throw-away machine
 * Return: 0 where KVM is fit for use; -ENODEV or -EACCES where there is no /dev/kvm for us;
 * -ETIMEDOUT where it hangs or crawls; -EIO where it computes wrongly or refuses.
 * Takes KVM_PROBE_TIMEOUT_MS at most, in a child process. Threads: any.
 */
int kvm_probe(void);

/**
 * vmm_accel_choose() - "kvm" or "tcg", probing at most once a boot
 * @run: run directory; the outcome is kept in its file `accel` as "BOOT-ID kvm|tcg"
 * $MSB_ACCEL=kvm|tcg overrides. Return: a static string.
 */
const char *vmm_accel_choose(const char *run);

#endif
