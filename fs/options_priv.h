/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the options; nobody else includes it. */
#ifndef MSB_FS_OPTIONS_PRIV_H
#define MSB_FS_OPTIONS_PRIV_H

#include "fs/options.h"

enum opt_backends {
	OPT_PASSTHROUGH = 1,
	OPT_OVERLAY = 2,
	OPT_IMAGE = 4,
	OPT_MEMORY = 8,
	OPT_PLUGIN = 16,
	OPT_ANY = 31,
	OPT_KEEPS_TIMES = OPT_PASSTHROUGH | OPT_OVERLAY | OPT_MEMORY,
};

enum opt_value { OPT_PLAIN, OPT_VALUE, OPT_MAY_VALUE };

/* What is said once, in whatever form; and what may repeat. */
enum opt_once {
	ONCE_RO,
	ONCE_QUOTA,
	ONCE_SIZE,
	ONCE_ATIME,
	ONCE_ACL,
	ONCE_MAP,
	ONCE_SUBMOUNTS,
	ONCE_AUDIT,
	ONCE_AUDIT_OPS,
	ONCE_PROTOCOL,
	ONCE_TIMEOUT,
	ONCE_OVER,
	REPEATS,
};

struct opt_key {
	const char *name;
	unsigned int backends;
	enum opt_value value;
	enum opt_once once;
	int (*read)(struct fsb_options *, char *v, struct msb_err *); /* @v: "" where it has none */
	/* NULL: another row prints it. */
	void (*print)(struct msb_str *, const struct fsb_options *, const char *name);
};

/* ---- options_keys.c */
extern const struct opt_key opt_keys[]; /* the last has no name */

/* ---- options_value.c: each reads a value, or prints what reads back as it */

int opt_read_ops(const char *p, uint32_t *ret, struct msb_err *e); /* write+unlink, all */
void opt_print_ops(struct msb_str *s, uint32_t ops);

/* A whole number with us, ms or s behind it, from 1 us on. */
int opt_read_time(const char *p, uint32_t max_usec, uint32_t *ret_usec, struct msb_err *e);
void opt_print_time(struct msb_str *s, uint32_t usec);

/* OP:ERRNO[:PROBABILITY], or OP:TIME[:PROBABILITY]. @text is cut up. */
int opt_read_fault(char *text, bool delay, struct fsb_fault *ret, struct msb_err *e);
void opt_print_fault(struct msb_str *s, const struct fsb_fault *f);

#endif
