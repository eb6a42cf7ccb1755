/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health checks: a command that is run in the guest again and again, and what follows from how it
 * ends.
 *
 * Theory of operation. What is due lies in the sandbox as times, and the policy's timer
 * (ctl/policy.h) comes by for it: ctl_health_look() compares what there is with what there is to
 * be, so whatever changed, a state, a value, or msbd itself, is found by the same look. One check
 * runs at a time; it is a connection to msb-agentd as a job is, but none of jobs/, and what it
 * prints goes into no log. One whose time is over is killed with all of its processes; until it has
 * ended no other is begun, but each interval counts as a failure. Where msbd is killed msb-agentd
 * hangs the check up, and the next msbd goes on from the status that was written down.
 *
 * All with ctl.lock held, but what says otherwise.
 */
#ifndef MSB_CTL_HEALTH_H
#define MSB_CTL_HEALTH_H

#include "base/err.h"
#include "base/str.h"
#include "ctl/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ctl_meta;
struct ctl_sandbox;
struct msb_msg;

/* ---- the rules: pure functions (health_rule.c) */

enum ctl_health_status { HEALTH_NONE, HEALTH_STARTING, HEALTH_HEALTHY, HEALTH_UNHEALTHY };
enum ctl_health_form {
	HEALTH_FORM_NONE,
	HEALTH_FORM_CMD,   /* a program and its arguments */
	HEALTH_FORM_SHELL, /* a line for /bin/sh */
};

const char *ctl_health_name(enum ctl_health_status s);
enum ctl_health_status ctl_health_named(const char *name); /* HEALTH_NONE: there is no such name */

/* What @words, a NUL after each, say: a form, of which the words after the first are the rest; or
 * -EINVAL. */
int ctl_health_form(const char *words, size_t bytes, struct msb_err *e);

struct ctl_health_rule {
	uint64_t interval_sec, timeout_sec, start_sec, retries;
	uint64_t
		start_interval_sec; /* 0: interval_sec, but CTL_HEALTH_START_INTERVAL_SEC at most */
};
/**
 * ctl_health_after() - What a check's end makes of the status
 * @since_ms: from the first moment of `starting` to the beginning of that check
 * @failing:  failures in a row, kept by the caller
 */
enum ctl_health_status ctl_health_after(const struct ctl_health_rule *r,
	enum ctl_health_status status, bool good, uint64_t since_ms, unsigned int *failing);
/* Milliseconds from the end of a check, or the first moment, to the next one. */
uint64_t ctl_health_wait_ms(
	const struct ctl_health_rule *r, enum ctl_health_status status, uint64_t since_ms);

/* ---- a sandbox's */

struct ctl_health_result {
	uint64_t begun_usec, ended_usec; /* CLOCK_REALTIME */
	const char *reason;		 /* as a job's */
	int exit_code;
	struct msb_str output; /* its first CTL_HEALTH_OUTPUT_BYTES */
	bool cut;	       /* there was more */
	char error[256];       /* "": there is no more to say */
};

/* One that is under way. */
struct ctl_health_check {
	int sock;   /* -1: none is */
	bool taken; /* msb-agentd has it */
	bool late;  /* it was killed, and its result told */
	uint64_t begun_ms, begun_usec;
	struct msb_str output;
	bool cut;
};

struct ctl_health {
	enum ctl_health_status status;
	uint64_t changes;     /* of it */
	unsigned int failing; /* in a row */
	char *set;	      /* the value of `healthcheck` that it goes by; NULL: none yet */
	enum ctl_health_form form;
	char *words; /* of that, or the image's: the form, and what belongs to it */
	size_t bytes;
	uint64_t since_ms,
		last_ms; /* CLOCK_MONOTONIC: of `starting`; of the last end, or beginning */
	uint64_t checks, failures; /* since msbd was started */
	struct ctl_health_check check;
	struct ctl_health_result last[CTL_HEALTH_RESULTS]; /* the oldest first */
	size_t nlast;
	char *image_words; /* its image's; NULL: it has none */
	size_t image_bytes;
	struct ctl_health_rule image; /* 0: not said */
};

void ctl_health_init(struct ctl_health *h);
void ctl_health_done(struct ctl_health *h);
/* What its image says, from now on. */
void ctl_health_image(struct ctl_sandbox *sb, const struct ctl_meta *m);
/* The same of the image that it keeps to, for a new msbd; reads the store, without ctl.lock. */
void ctl_health_load(struct ctl_sandbox *sb);
/* A new msbd has found its machine, which has run for @ran_ms. */
void ctl_health_recovered(struct ctl_sandbox *sb, uint64_t now_ms, uint64_t ran_ms);

/* Does what is due. */
void ctl_health_look(struct ctl_sandbox *sb, uint64_t now_ms);
/* When something will be; UINT64_MAX: never. */
uint64_t ctl_health_due(const struct ctl_sandbox *sb);

/* The last results as JSON Lines, the oldest first. */
void ctl_health_print(const struct ctl_sandbox *sb, struct msb_str *s);

/* ---- the check itself (health_check.c) */

/* Begins one. Return: 0; -errno where it could not be, with a sentence. */
int ctl_health_begin(struct ctl_sandbox *sb, struct msb_err *e);
void ctl_health_kill(struct ctl_sandbox *sb); /* with all of its processes; its end comes */
void ctl_health_drop(struct ctl_sandbox *sb); /* nobody waits for it: it is hung up. None is fine */
/* What the supervisor's thread calls: its connection has something. */
void ctl_health_event(struct ctl_sandbox *sb);

/* It has ended so, or its time is over; its output is the check's. (health.c) */
void ctl_health_result(
	struct ctl_sandbox *sb, const char *reason, int exit_code, const char *error);

#endif
