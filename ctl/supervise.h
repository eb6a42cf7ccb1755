/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread that waits for what nobody asked for: a helper that ends, a signal to msbd, a log that
 * grows under a poller, output of a command. It never waits for anything else; what takes time it
 * hands to a verb's thread.
 */
#ifndef MSB_CTL_SUPERVISE_H
#define MSB_CTL_SUPERVISE_H

#include "ctl/files.h"
#include "ctl/model.h"

/**
 * ctl_supervise_start() - Start the thread
 * @exit_fd: eventfd, written once msbd is to end
 * SIGTERM and SIGINT (blocked in every thread by the caller) end msbd; SIGUSR1 stops every machine
 * and file server first.
 */
int ctl_supervise_start(struct ctl *c, int exit_fd, struct msb_err *e);

/* Watch a helper; ctl.lock held. */
void ctl_supervise_fsd(const struct ctl_files_of *of);
void ctl_supervise_agent(struct ctl_sandbox *sb);
void ctl_supervise_qemu(struct ctl_sandbox *sb);
/* Wakes those who poll a file of @sb, once, when @fd is readable; closing it ends that. ctl.lock
 * held. */
int ctl_supervise_output(const struct ctl_sandbox *sb, int fd);
/* Wait for what a job's connection has to say (@in) and for room in it (@out), once; neither: no
 * more. ctl.lock held. */
int ctl_supervise_job(const struct ctl_job *j, bool in, bool out);
/* Reads the connection of its health check as long as that is open; ctl.lock held. */
int ctl_supervise_check(const struct ctl_sandbox *sb, int fd);
/* Stop watching, before it is ended on purpose; ctl.lock held. -1 is fine. */
void ctl_supervise_drop(struct ctl *c, int pidfd);

#endif
