/* SPDX-License-Identifier: Apache-2.0 */
/* Detached threads with a small stack. */
#ifndef MSB_CTL_THREAD_H
#define MSB_CTL_THREAD_H

int ctl_thread(void *(*fn)(void *), void *arg); /* 0 or -errno; signals stay blocked as they are */

#endif
