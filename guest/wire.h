/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The protocol between msb-agentd on the host and PID 1 in the guest, over one virtio-serial port.
 *
 * The port is a byte stream that forgets: QEMU drops what the guest writes while nobody is
 * connected, either end may die between two bytes of a frame, and what the dead one had in flight
 * is still delivered. So nothing is said before a session is agreed on, and a session ends at the
 * first byte that does not fit.
 *
 * Session. The host starts every session: WIRE_FRAME_MAX zero bytes, then a preamble of kind SYNC
 * with a fresh random nonce. A guest that was waiting for the rest of a frame swallows at most
 * WIRE_FRAME_MAX zeros as that rest, finds a wrong trailer, and looks for a preamble from there on.
 * The guest drops all output it had queued and answers with a preamble of kind HELLO and the same
 * nonce; the host skips everything before it, which no stale byte can imitate. From then on both
 * send frames. A guest that has no session (it has just booted, or lost one) announces itself now
 * and then by zeros and a HELLO with a zero nonce; the host answers with a new SYNC. When a session
 * ends, by a new SYNC, a violation, or a disconnect, the guest sends every job of that session
 * SIGHUP, and SIGKILL one second later. A sandbox that is booted stays booted.
 *
 * Frame: u8 type | u8 0 | u16 0 | u32 id | u32 payload bytes | payload | u32 tag. Little endian.
 * The tag is the first four bytes of the session's nonce. A frame is acted upon only when it is
 * complete, so that no job ever sees bytes of a frame that was cut.
 *
 * Ids. Requests and jobs are numbered by the host, in one number space; the guest answers a request
 * with exactly one OK or ERROR, a job with at most one STARTED and then exactly one EXIT or ERROR,
 * after which the id is free. EVENT has id 0.
 *
 * Credits. Each stream (IN, OUT, ERR) of each job may have a limited amount in flight, WIRE_COST()
 * of each of its frames. IN starts with WIRE_IN_WINDOW; OUT and ERR with what EXEC says (window=).
 * The receiver hands back, by CREDIT, what it has passed on. Sending past the credit is a
 * violation. So a job whose reader stops is stopped, alone, and memory is bounded at both ends.
 */
#ifndef MSB_GUEST_WIRE_H
#define MSB_GUEST_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_VERSION	    1
#define WIRE_HEADER	    12
#define WIRE_TRAILER	    4
#define WIRE_MAX_PAYLOAD    65536
#define WIRE_FRAME_MAX	    (WIRE_HEADER + WIRE_MAX_PAYLOAD + WIRE_TRAILER)
#define WIRE_PREAMBLE_BYTES 44
#define WIRE_NONCE_BYTES    16
/* One frame of a stream is one buffer of the guest's virtio-serial driver, which takes 32 KiB. */
#define WIRE_STREAM_MAX	 (32768 - WIRE_HEADER - WIRE_TRAILER)
#define WIRE_COST(n)	 ((uint32_t)(n) + WIRE_HEADER + WIRE_TRAILER)
#define WIRE_IN_WINDOW	 (128u << 10)
#define WIRE_OUT_WINDOW	 (256u << 10) /* most that EXEC may grant to one stream */
#define WIRE_MIN_WINDOW	 (32u << 10)
#define WIRE_MAX_JOBS	 1024
#define WIRE_HUP_KILL_MS 1000 /* from SIGHUP to SIGKILL of a job nobody wants any more */

enum wire_type {
	/* Host to guest. "kv" payloads are KEY=VALUE NUL, repeated. */
	WIRE_BOOT =
		1, /* kv hostname user workdir init clock_usec env.. mount=SOURCE\tPATH\tOPTS.. */
	WIRE_EXEC, /* kv arg.. env.. user cwd tty rows cols stdin window rlimit=NAME:SOFT:HARD.. */
	WIRE_IN,   /* bytes */
	WIRE_IN_EOF,   /* no payload; costs the credit of one byte: a terminal gets ^D */
	WIRE_SIGNAL,   /* u32 number, to the job's process group; SIGKILL: to all its processes */
	WIRE_RESIZE,   /* u16 rows, u16 columns */
	WIRE_HANGUP,   /* nobody wants the job any more: SIGHUP, then SIGKILL */
	WIRE_SHUTDOWN, /* u32 milliseconds from SIGTERM to SIGKILL of everything */
	WIRE_CLOCK,    /* u64 microseconds since 1970 */
	WIRE_DROP_CACHES, /* no payload */
	WIRE_STATUS,	  /* no payload; OK carries kv */
	WIRE_MOUNT,	  /* kv mount=NAME\tPATH\tOPTS: one share, once the root is there */
	WIRE_UMOUNT,	  /* kv name path lazy: the same share away; OK where it is not mounted */
	WIRE_CPUS,	  /* u32: so many are to be online, from the first on */
	/* Guest to host */
	WIRE_OK = 32, /* kv */
	WIRE_ERROR,   /* u32 errno | enum wire_fault << 16, sentence */
	WIRE_STARTED, /* u32 pid */
	WIRE_OUT,     /* bytes */
	WIRE_ERR,     /* bytes */
	WIRE_EXIT, /* u8 1: a signal ended it; u8 1: out of memory; u8 exit code or signal number */
	WIRE_EVENT, /* kv kind=.. */
	/* Both ways */
	WIRE_CREDIT = 64, /* u8 type of the stream (IN, OUT or ERR), u32 bytes */
};

/* Figures of the guest's kernel, in what WIRE_STATUS is answered with. */
enum wire_stat {
	WIRE_CPU_USER_USEC, /* of all CPUs together, since the guest booted */
	WIRE_CPU_SYSTEM_USEC,
	WIRE_CPU_IDLE_USEC,
	WIRE_CPU_IOWAIT_USEC,
	WIRE_CPU_STEAL_USEC,
	WIRE_MEMORY_TOTAL_BYTES,
	WIRE_MEMORY_AVAILABLE_BYTES,
	WIRE_OOM_KILLS, /* processes that the kernel killed for want of memory */
	WIRE_NSTATS
};

/* The key of a figure in that. */
static inline const char *wire_stat_name(enum wire_stat s)
{
	static const char *const names[WIRE_NSTATS] = {"cpu_user_usec", "cpu_system_usec",
		"cpu_idle_usec", "cpu_iowait_usec", "cpu_steal_usec", "memory_total_bytes",
		"memory_available_bytes", "oom_kills"};

	return names[s];
}

struct wire_stats {
	uint64_t v[WIRE_NSTATS];
	uint32_t have; /* 1 << enum wire_stat, of those that were found */
};

/* What of a job was at fault, where its program could not be started. */
enum wire_fault { WIRE_FAULT_PROGRAM, WIRE_FAULT_USER, WIRE_FAULT_CWD, WIRE_FAULT_LIMITS };
#define WIRE_FAULT(code, fault) ((code) | (fault) << 16)

enum wire_kind { WIRE_SYNC = 1, WIRE_HELLO = 2 };
#define WIRE_FLAG_BOOTED 1u /* of a HELLO: the sandbox's root is mounted, jobs can run */

struct wire_preamble {
	uint16_t version, kind;
	uint32_t flags;
	uint8_t nonce[WIRE_NONCE_BYTES];
};

struct wire_frame {
	enum wire_type type;
	uint32_t id, len;
	const uint8_t *payload; /* in the receiver's buffer, until its next call */
};

/* ---- numbers */
static inline uint32_t wire_get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void wire_put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static inline uint64_t wire_get64(const uint8_t *p)
{
	return wire_get32(p) | (uint64_t)wire_get32(p + 4) << 32;
}

static inline void wire_put64(uint8_t *p, uint64_t v)
{
	wire_put32(p, (uint32_t)v);
	wire_put32(p + 4, (uint32_t)(v >> 32));
}

/* ---- receiving: bytes in, preambles and frames out. Knows no descriptor and allocates nothing. */
struct wire_rx {
	size_t off, len; /* bytes not yet consumed: buf[off..len) */
	uint32_t tag;
	bool synced;
	uint8_t buf[2 * WIRE_FRAME_MAX];
};

enum wire_got { WIRE_MORE, WIRE_GOT_PREAMBLE, WIRE_GOT_FRAME };

void wire_rx_init(struct wire_rx *rx);
/* Where to put what is read next, and how much fits: at least WIRE_FRAME_MAX once wire_rx_next()
 * has said WIRE_MORE. Invalidates the last frame. */
uint8_t *wire_rx_room(struct wire_rx *rx, size_t *ret_n);
void wire_rx_filled(struct wire_rx *rx, size_t n);
/**
 * wire_rx_next() - Take the next thing out of what was read
 * Without a session only preambles are found, and every other byte is skipped.
 * Return: WIRE_MORE; WIRE_GOT_PREAMBLE with @p, then wire_rx_accept() makes it the session;
 * WIRE_GOT_FRAME with @f; -EBADMSG: the bytes are no frame of this session, which has ended.
 */
int wire_rx_next(struct wire_rx *rx, struct wire_preamble *p, struct wire_frame *f);
void wire_rx_accept(struct wire_rx *rx, const struct wire_preamble *p);
void wire_rx_lost(struct wire_rx *rx); /* ends the session; keeps unread bytes */

/* ---- sending: frames into a buffer, whole or not at all */
struct wire_tx {
	size_t off, len; /* bytes not yet written: buf[off..len) */
	uint32_t tag;
	uint8_t buf[4 * WIRE_FRAME_MAX];
};

void wire_tx_init(struct wire_tx *tx);
/* Drops what is queued and queues a preamble, after zeros where @zeros; sets the session's tag. */
void wire_tx_start(struct wire_tx *tx, const struct wire_preamble *p, bool zeros);
/* Room for the payload of one more frame, WIRE_MAX_PAYLOAD at most. */
size_t wire_tx_space(struct wire_tx *tx);
/* Queues a frame. -ENOBUFS where it does not fit; -E2BIG past WIRE_MAX_PAYLOAD. */
int wire_tx_frame(struct wire_tx *tx, enum wire_type type, uint32_t id, const void *p, size_t n);
/* The same, in place: the caller fills up to wire_tx_space() bytes at the result, then commits. */
uint8_t *wire_tx_place(struct wire_tx *tx);
void wire_tx_commit(struct wire_tx *tx, enum wire_type type, uint32_t id, size_t n);
void wire_tx_written(struct wire_tx *tx, size_t n);

/* ---- kv payloads */
/**
 * wire_kv_next() - Walk KEY=VALUE NUL entries
 * @pos: 0 at first; advanced
 * Return: 1 with @key (@key_len bytes, not terminated) and @value (terminated); 0 at the end;
 * -EBADMSG for an entry without '=' or a payload that does not end in NUL.
 */
int wire_kv_next(const uint8_t *p, size_t n, size_t *pos, const char **key, size_t *key_len,
	const char **value);
bool wire_kv_is(const char *key, size_t key_len, const char *name);
/* Appends an entry to @buf. -E2BIG where it does not fit; @pos is kept then. */
int wire_kv_add(uint8_t *buf, size_t cap, size_t *pos, const char *key, const char *value);

#endif
