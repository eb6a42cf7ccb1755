/* SPDX-License-Identifier: Apache-2.0 */
/* The user's terminal: raw while a job has it, and the keys that let go of the job. */
#ifndef MSB_TOOLS_TERM_H
#define MSB_TOOLS_TERM_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

#define TERM_KEYS_MAX	  16 /* of a sequence */
#define TERM_KEYS_DEFAULT "ctrl-p,ctrl-q"

struct term_keys {
	unsigned char key[TERM_KEYS_MAX];
	size_t n;  /* 0: none */
	size_t at; /* how many of them have come */
};

/* `a`, `ctrl-a` to `ctrl-z`, `ctrl-@ [ \ ] ^ _`, with commas between; empty: none. -EINVAL. */
int term_keys_parse(const char *text, struct term_keys *ret, struct msb_err *e);

/**
 * term_keys_take() - Take the keys out of what was typed
 * @out: room for @n + TERM_KEYS_MAX bytes: what goes on, that is all but the sequence. What may be
 * its beginning is held until it is known.
 * Return: bytes in @out; @ret_found: the sequence was typed, and what came after it is dropped.
 */
size_t term_keys_take(struct term_keys *k, const char *in, size_t n, char *out, bool *ret_found);

struct term {
	int fd; /* -1: not raw */
	struct termios saved;
};
#define TERM_INIT                                                                                  \
	{                                                                                          \
		.fd = -1                                                                           \
	}
int term_raw(struct term *t, int fd, struct msb_err *e);
void term_restore(struct term *t); /* also where it is not raw */

/* Of the first of stdout, stdin and stderr that is a terminal; 24 80 where none is. */
void term_size(unsigned int *rows, unsigned int *cols);

#endif
