/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to a plugin: requests out from any thread, replies in by number.
 *
 * A thread of its own receives: it finds the request that a reply belongs to and puts the reply's
 * bytes where that request wants them. Who asked waits for at most the plugin's timeout. A plugin
 * that goes away, answers too late or breaks the protocol breaks the connection: every request
 * under way fails at once, and so does each later one, until plug_attach() brings another socket.
 * What comes from the socket is hostile.
 */
#ifndef MSB_FS_PLUGIN_CONN_H
#define MSB_FS_PLUGIN_CONN_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define PLUGIN_MAX_INFLIGHT 64	  /* requests whose answer is awaited; further ones queue */
#define PLUGIN_BUFFER	    16384 /* bytes received at once */
#define PLUGIN_START_MS                                                                            \
	10000u /* until the greeting is answered, or the timeout if that is longer */

enum plug_state {
	PLUG_STARTING, /* the greeting has not been answered */
	PLUG_READY,
	PLUG_BROKEN,
};

/* One request that is answered. Its owner sets out and n_out, and epoch or 0. */
struct plug_call {
	const struct iovec *out; /* where the payload of the reply goes */
	unsigned int n_out;
	uint32_t epoch; /* only to the connection of this number; 0: to any */
	/* ---- the answer */
	int error;    /* 0 or -errno, as the plugin said it */
	size_t bytes; /* of payload in @out */
	void *object; /* or what the protocol made of it; the owner's */
	/* ---- the connection's; its lock */
	uint64_t id;
	bool done, filling, broken;
	struct plug_call *next;
};

/* What was received and not used yet; the receiving thread's. */
struct plug_buf {
	uint8_t *p;
	size_t cap, at, end;
	int fd; /* a descriptor that came along; -1: none */
};

struct plug_conn;

struct plug_proto {
	/* Speaks first, if it is us who does: 0 or -errno. Must not wait for an answer. */
	int (*greet)(struct plug_conn *);
	/* Receives one message. -errno ends the connection. */
	int (*receive)(struct plug_conn *, struct plug_buf *);
	/* The connection has ended: what belonged to it is void. Runs before the next begins. */
	void (*ended)(struct plug_conn *);
};

struct plug_conn {
	const struct plug_proto *proto;
	uint32_t timeout_ms;
	pthread_mutex_t lock; /* guards what follows; never held across a system call that waits */
	pthread_cond_t changed;
	enum plug_state state;
	uint32_t epoch; /* number of the socket, from 1 */
	uint64_t last_id;
	unsigned int inflight;
	struct plug_call *calls;
	bool sending, running;
	int64_t ready_by; /* monotonic ns */
	char why[96];	  /* why it is broken */
	int sock;	  /* changes only while nobody sends or receives */
	pthread_t reader;
};

void plug_conn_init(struct plug_conn *c, const struct plug_proto *proto, uint32_t timeout_ms);
void plug_conn_done(struct plug_conn *c);

/* A new socket, taken over in any case, in place of the one before. One caller at a time. */
int plug_conn_attach(struct plug_conn *c, int sock);

/* Ends the connection. Any thread. */
void plug_break(struct plug_conn *c, const char *why);
/* The greeting has been answered. For the receiving thread. */
void plug_ready(struct plug_conn *c);
/* Waits for it. 0 and the connection's number; -EIO. */
int plug_wait_ready(struct plug_conn *c, uint32_t *ret_epoch);

/* Gives a message its number. @arg is plug_call_run()'s. */
typedef void (*plug_number_fn)(void *arg, uint64_t id);

/**
 * plug_call_run() - Send a request and wait for its answer
 * @number: writes the number into the message, before it is sent
 * Return: 0 with @call's answer; -EIO the connection is or became broken; -ESTALE @call->epoch is
 * over. At most the timeout later.
 */
int plug_call_run(struct plug_conn *c, struct plug_call *call, const struct iovec *msg,
	unsigned int n, plug_number_fn number, void *arg);

/* Sends a message whose answer, if there is one, nobody wants. Also while starting. */
int plug_post(struct plug_conn *c, uint32_t epoch, const struct iovec *msg, unsigned int n,
	plug_number_fn number, void *arg);

/* ---- for receive(): 0, -EPIPE at the end, -errno */
int plug_need(struct plug_conn *c, struct plug_buf *b, size_t n); /* n bytes at b->p + b->at */
int plug_more(struct plug_conn *c, struct plug_buf *b);		  /* at least one more */
int plug_skip(struct plug_conn *c, struct plug_buf *b, size_t n);
/* The request with that number, which stays until plug_reply_end(); NULL. */
struct plug_call *plug_reply_begin(struct plug_conn *c, uint64_t id);
/* @n bytes into @call->out, which must have the room. */
int plug_reply_data(struct plug_conn *c, struct plug_buf *b, struct plug_call *call, size_t n);
void plug_reply_end(struct plug_conn *c, struct plug_call *call, int error);
/* Instead: it cannot be had, -errno, and the connection ends. */
void plug_reply_fail(struct plug_conn *c, struct plug_call *call, int r);

#endif
