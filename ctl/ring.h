/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded ring of text lines, read as a file that only grows: byte 0 is the first byte of the
 * first line ever, and the oldest lines make room for new ones. Not locked: the owner's lock guards
 * it.
 */
#ifndef MSB_CTL_RING_H
#define MSB_CTL_RING_H

#include "base/str.h"

#include <stddef.h>
#include <stdint.h>

struct ctl_ring {
	char **line; /* the line with number s is in slot s % cap; the first have slots are there */
	size_t cap, have;     /* cap > 0 */
	uint64_t next;	      /* number that the next line gets; the first was 1 */
	uint64_t base, total; /* bytes [base, total) are here */
};

int ctl_ring_init(struct ctl_ring *r, size_t cap); /* 0 or -ENOMEM */
void ctl_ring_done(struct ctl_ring *r);		   /* accepts a zeroed one */

/* Appends @line (newline included). -ENOMEM: it is lost, and its number is used up. */
int ctl_ring_add(struct ctl_ring *r, const char *line);

uint64_t ctl_ring_oldest(const struct ctl_ring *r); /* number of the oldest line that is here */

/* One reader of a ring: file offsets to the ring's bytes. Zeroed is new. */
struct ctl_ring_reader {
	uint64_t shift; /* ring byte = file offset + shift (modulo 2^64) */
	uint64_t seq;	/* number of the line that the last read ended in, or before */
	char note[48];	/* {"dropped":N}, read at file offsets [note_off, note_off + its length) */
	uint64_t note_off;
};

/**
 * ctl_ring_read() - Append what is at file offset @off to @s: at most @max bytes, none at the end
 * Offset 0 begins anew with the oldest line. A reader whose bytes are gone reads {"dropped":N}
 * instead, N lines, and goes on with the oldest that are here.
 */
void ctl_ring_read(const struct ctl_ring *r, struct ctl_ring_reader *rd, uint64_t off, size_t max,
	struct msb_str *s);
/* Whether a read at @off has something to give. */
int ctl_ring_more(const struct ctl_ring *r, const struct ctl_ring_reader *rd, uint64_t off);

#endif
