/* SPDX-License-Identifier: Apache-2.0 */
/* Where an instance of msb keeps its things. */
#ifndef MSB_BASE_PATHS_H
#define MSB_BASE_PATHS_H

#include "base/err.h"

#define MSB_PATH_MAX 512

/* clang-format off */
/*
 * mnt    the control tree:         $MSB_MNT, else /run/msb or $XDG_RUNTIME_DIR/msb
 * state  what outlives a boot:     $MSB_STATE, else /var/lib/msb or $XDG_DATA_HOME/msb
 *                                  (~/.local/share/msb)
 * run    sockets, views, libvirt:  $MSB_STATE/run where MSB_STATE is set, else /run/msbd or
 *                                  $XDG_RUNTIME_DIR/msbd
 * bin    the programs that msbd starts:
 *                                  ../libexec/msb from the directory of the running program, else
 *                                  that directory
 * share  kernel and initramfs:     $MSB_SHARE, else ../share/msb from there
 *
 * Under state:  msb.db  store/  sandboxes/ID/{upper/,agent/log,agent/console}  volumes/ID/data/
 * Under run:    lock  msb.log  libvirt/  views/KEY/  sb/ID/{fsd,agent,...}.sock
 */
/* clang-format on */
struct msb_paths {
	char mnt[MSB_PATH_MAX], state[MSB_PATH_MAX], run[MSB_PATH_MAX], bin[MSB_PATH_MAX],
		share[MSB_PATH_MAX];
};

/* Fills @p from the environment. Creates nothing. -EINVAL where no place can be told (no
 * XDG_RUNTIME_DIR). */
int msb_paths_init(struct msb_paths *p, struct msb_err *e);
/* The control tree alone, which is all that a client needs. */
int msb_paths_mnt(char ret[MSB_PATH_MAX], struct msb_err *e);

#endif
