/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one kernel holds of the file system, as bytes: for a server started anew, on the same files,
 * that is to go on where this one stopped.
 *
 * state = head {contents} {record}*. The head is FUSE_STATE_HEAD bytes: magic[8] "msbfuse\0", u32
 * version, u32 flags. With FUSE_STATE_CONTENTS the backend's save_all() follows. A record is u16
 * kind, u16 bytes (of the body), body; in this order:
 *	SESSION	u64 init flags; u32 minor; u8 ready, opens_off, zero[2]
 *	NODE*	u64 node, lookups; u32 flags; the backend's save()
 *	HANDLE*	u64 fh, node; u32 open flags, flags
 *	END	u64 nodes, handles, XXH3-64 of all records before
 * Little-endian. A node or handle that cannot be saved, or is not found again, is stale by itself:
 * its uses are -ESTALE, all others work.
 */
#ifndef MSB_FS_FUSE_STATE_H
#define MSB_FS_FUSE_STATE_H

#include "fs/fuse_core.h"

#define FUSE_STATE_VERSION  1u
#define FUSE_STATE_HEAD	    16
#define FUSE_STATE_CONTENTS 1u
#define FUSE_STATE_STALE    1u			  /* in flags of NODE and HANDLE */
#define FUSE_STATE_DIR	    2u			  /* in flags of HANDLE */
#define FUSE_STATE_MAX_SAVE (FSB_MAX_STATE + 256) /* and a mux's name before it */
#define FUSE_STATE_MAX_BODY (20 + FUSE_STATE_MAX_SAVE)
#define FUSE_STATE_MAX_LOOKUPS                                                                     \
	(UINT64_C(1) << 40) /* of one node; what more there are is not kept */

enum fuse_state_kind {
	FUSE_STATE_SESSION = 1,
	FUSE_STATE_NODE,
	FUSE_STATE_HANDLE,
	FUSE_STATE_END,
};

/* One record, as parsed. */
struct fuse_state_rec {
	enum fuse_state_kind kind;
	union {
		struct {
			uint64_t init_flags;
			uint32_t minor;
			bool ready, opens_off;
		} session;
		struct {
			uint64_t node, lookups;
			uint32_t flags;
			const uint8_t *state; /* into the bytes parsed */
			size_t state_bytes;
		} node;
		struct {
			uint64_t fh, node;
			uint32_t open_flags, flags;
		} handle;
		struct {
			uint64_t nodes, handles, sum;
		} end;
	};
};

/* The head: 0 and @ret_contents; -EBADMSG; -EPROTONOSUPPORT another version. */
int fuse_state_head(const uint8_t p[FUSE_STATE_HEAD], bool *ret_contents);

/**
 * fuse_state_record() - Check one record
 * Return: its bytes, @ret filled; 0: more are needed; -EBADMSG.
 */
int fuse_state_record(const uint8_t *p, size_t n, struct fuse_state_rec *ret);

/**
 * fsd_session_save() - Write all of it
 * @fd: pipe or file; may block
 * No request may be running. The session stays as it is.
 * Return: 0; -errno of writing, or of the backend's save_all().
 */
int fsd_session_save(struct fsd_session *s, int fd);

/**
 * fsd_session_load() - Make a session what another one was
 * @fd: as fsd_session_save() wrote it, and then its end; hostile
 * No request may be running. Forgets what the session had. What was agreed on at INIT stays: a
 * kernel that need not say who asks (FUSE_ALLOW_IDMAP) does not, whoever wants to know it here.
 * Return: 0; -EBADMSG; -EPROTONOSUPPORT a version or INIT flags that are not known here; -ENFILE;
 * of reading; of the backend. The session is empty then, and waits for INIT.
 */
int fsd_session_load(struct fsd_session *s, int fd);

#endif
