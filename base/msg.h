/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages between processes of ours: one SOCK_SEQPACKET datagram each, with descriptors where
 * needed.
 *
 * Wire (host order; both ends run on one machine, from one build):
 *	u32 head_bytes | u32 payload_bytes | head | payload
 *	head = verb NUL { key '=' value NUL }*	   keys may repeat; values hold no NUL
 * A request is answered by "ok" (with what it returns) or by "error" (code=ERRNO msg=SENTENCE).
 * The decoder treats a peer as hostile: a process that parses a guest's bytes may have been taken
 * over.
 */
#ifndef MSB_BASE_MSG_H
#define MSB_BASE_MSG_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MSB_MSG_MAX 65536 /* bytes of one message, header included */
#define MSB_MSG_FDS 64	  /* descriptors of one message */

struct msb_msg {
	uint32_t head_bytes, payload_bytes;
	unsigned int nfds;
	bool oversize;		/* a setter ran out of room; send fails with -E2BIG */
	int fds[MSB_MSG_FDS];	/* received: owned until taken; to send: borrowed */
	char data[MSB_MSG_MAX]; /* head, then payload */
};

/* ---- building. Set keys first, the payload last. */
void msb_msg_init(struct msb_msg *m, const char *verb);
void msb_msg_set(struct msb_msg *m, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void msb_msg_payload(struct msb_msg *m, const void *p, size_t n);
void msb_msg_add_fd(struct msb_msg *m, int fd); /* borrowed until sent */

/* ---- reading */
const char *msb_msg_verb(const struct msb_msg *m);
const char *msb_msg_get(const struct msb_msg *m, const char *key); /* first value or NULL */
/* The value of @key after @prev (NULL: the first), or NULL. */
const char *msb_msg_next(const struct msb_msg *m, const char *key, const char *prev);
int msb_msg_get_u64(const struct msb_msg *m, const char *key, uint64_t *ret); /* -ENOENT, -EINVAL */
const void *msb_msg_payload_ptr(const struct msb_msg *m);
int msb_msg_take_fd(
	struct msb_msg *m, unsigned int index); /* the caller's now; -1 where there is none */
void msb_msg_close_fds(struct msb_msg *m);	/* of a received message: those not taken */

/**
 * msb_msg_decode() - Check a datagram laid out in @m->data by the caller (@n bytes, wire header
 * included) Return: 0 and head_bytes, payload_bytes set, data moved to its start; -EBADMSG. Used by
 * recv and fuzzing.
 */
int msb_msg_decode(struct msb_msg *m, size_t n);

/* ---- sockets */
int msb_msg_send(int sock,
	const struct msb_msg *m); /* 0; -EPIPE; -E2BIG; -EAGAIN on a full non-blocking one */
int msb_msg_recv(int sock,
	struct msb_msg *m); /* 0; -EPIPE at end; -EBADMSG; -EAGAIN; closes nothing of @m's past */

/**
 * msb_msg_call() - Send @m and wait for its answer, which replaces it
 * @timeout_ms: -1 for ever
 * Return: 0 on "ok"; what "error" says (also in @e); -ETIMEDOUT; -EPIPE where the peer went away.
 */
int msb_msg_call(int sock, struct msb_msg *m, int timeout_ms, struct msb_err *e);

/* The second half of msb_msg_call(), for who has waited by itself: receives the answer. */
int msb_msg_answer(int sock, struct msb_msg *m, struct msb_err *e);

/* What "error" {code msg} says: -errno, and @e. The peer may have been taken over: an errno that
 * there is not is EIO (the kernel takes no others in answers of a file system, and who waits for
 * one would wait on), and bytes that a terminal acts on are \xNN. */
int msb_msg_error(const struct msb_msg *m, struct msb_err *e);

/* Answers a request. @e->code 0 means -EIO. */
int msb_msg_reply_ok(int sock);
int msb_msg_reply_err(int sock, const struct msb_err *e);

#endif
