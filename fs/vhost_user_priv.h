/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the vhost-user core; nobody else includes it. */
#ifndef MSB_FS_VHOST_USER_PRIV_H
#define MSB_FS_VHOST_USER_PRIV_H

#include "fs/vhost_user.h"

#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#define VU_BIT(n) (1ULL << (n))

#define VU_F_PROTOCOL	      30 /* VHOST_USER_F_PROTOCOL_FEATURES */
#define VU_PROTO_MQ	      0
#define VU_PROTO_LOG_SHMFD    1
#define VU_PROTO_REPLY_ACK    3
#define VU_PROTO_CONFIG	      9
#define VU_PROTO_INFLIGHT     12
#define VU_PROTO_RESET	      13
#define VU_PROTO_MEM_SLOTS    15
#define VU_PROTO_STATUS	      16
#define VU_PROTO_DEVICE_STATE 19

#define VU_VRING_INDEX_MASK 0xffu
#define VU_NO_FD	    0x100u /* of kick, call, err; and of SET_DEVICE_STATE_FD's answer */

enum vu_request {
	VU_GET_FEATURES = 1,
	VU_SET_FEATURES = 2,
	VU_SET_OWNER = 3,
	VU_RESET_OWNER = 4,
	VU_SET_MEM_TABLE = 5,
	VU_SET_LOG_BASE = 6,
	VU_SET_LOG_FD = 7,
	VU_SET_VRING_NUM = 8,
	VU_SET_VRING_ADDR = 9,
	VU_SET_VRING_BASE = 10,
	VU_GET_VRING_BASE = 11,
	VU_SET_VRING_KICK = 12,
	VU_SET_VRING_CALL = 13,
	VU_SET_VRING_ERR = 14,
	VU_GET_PROTOCOL_FEATURES = 15,
	VU_SET_PROTOCOL_FEATURES = 16,
	VU_GET_QUEUE_NUM = 17,
	VU_SET_VRING_ENABLE = 18,
	VU_GET_CONFIG = 24,
	VU_GET_INFLIGHT_FD = 31,
	VU_SET_INFLIGHT_FD = 32,
	VU_RESET_DEVICE = 34,
	VU_GET_MAX_MEM_SLOTS = 36,
	VU_ADD_MEM_REG = 37,
	VU_REM_MEM_REG = 38,
	VU_SET_STATUS = 39,
	VU_GET_STATUS = 40,
	VU_SET_DEVICE_STATE_FD = 42,
	VU_CHECK_DEVICE_STATE = 43,
	VU_REQUESTS,
};

/* Carries out one request: 0, or -errno. What it answers it leaves in the message. */
typedef int (*vu_request_fn)(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);

/* ---- vhost_user_ring.c */
int vu_nonblock(int fd); /* nobody waits where a front end lets them; 0 or -errno */
void vu_stop_all(struct vu_dev *d);
int vu_restart_all(struct vu_dev *d); /* those whose all is known */
void vu_queue_close(struct vu_queue *q);
int vu_set_vring_num(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);
int vu_set_vring_addr(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);
int vu_set_vring_base(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);
int vu_get_vring_base(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);
int vu_set_vring_fd(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);
int vu_set_vring_enable(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);

/* ---- vhost_user_mem.c */
void vu_unmap_all(struct vu_dev *d); /* memory, log and inflight region */
int vu_set_mem_table(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);
int vu_add_mem_reg(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);
int vu_rem_mem_reg(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);
int vu_set_log_base(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);
int vu_get_inflight_fd(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);
int vu_set_inflight_fd(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);
/* The part of the inflight region that is queue @i's; NULL. */
struct vq_inflight *vu_inflight_of(const struct vu_dev *d, unsigned int i);

/* ---- vhost_user_state.c */
void vu_state_abort(struct vu_dev *d); /* ends a transfer under way */
int vu_set_device_state_fd(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);
int vu_check_device_state(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);

#endif
