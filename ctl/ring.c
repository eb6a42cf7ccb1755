// SPDX-License-Identifier: Apache-2.0
// A bounded ring of text lines, read as a file that only grows.
#include "ctl/ring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 4

int ctl_ring_init(struct ctl_ring *r, size_t cap)
{
	*r = (struct ctl_ring){.cap = cap, .next = 1};
	return 0;
}

void ctl_ring_done(struct ctl_ring *r)
{
	for (size_t i = 0; i < r->have; i++)
		free(r->line[i]);
	free(r->line);
	*r = (struct ctl_ring){0};
}

/* The slot of a line, made where it is not there yet: most rings stay short. NULL: no memory. */
static char **slot_for(struct ctl_ring *r, uint64_t seq)
{
	size_t i = seq % r->cap, have = r->have ?: FIRST_SLOTS;
	char **p;

	if (i < r->have)
		return &r->line[i];
	while (have <= i)
		have *= 2;
	if (have > r->cap)
		have = r->cap;
	p = realloc(r->line, have * sizeof(*p));
	if (!p)
		return NULL;
	memset(p + r->have, 0, (have - r->have) * sizeof(*p));
	r->line = p;
	r->have = have;
	return &p[i];
}

int ctl_ring_add(struct ctl_ring *r, const char *line)
{
	char **slot = slot_for(r, r->next++);

	if (!slot)
		return -ENOMEM;
	if (*slot)
		r->base += strlen(*slot);
	free(*slot);
	*slot = strdup(line);
	if (!*slot)
		return -ENOMEM;
	r->total += strlen(line);
	return 0;
}

uint64_t ctl_ring_oldest(const struct ctl_ring *r)
{
	return r->next > r->cap ? r->next - r->cap : 1;
}

/* Copies ring bytes [at, ...). */
static void copy(const struct ctl_ring *r, struct ctl_ring_reader *rd, uint64_t at, size_t max,
	struct msb_str *s)
{
	uint64_t begin = r->base;

	for (uint64_t seq = ctl_ring_oldest(r); seq < r->next && max; seq++) {
		const char *line = seq % r->cap < r->have ? r->line[seq % r->cap] : NULL;
		size_t n = line ? strlen(line) : 0, skip;

		if (n && at < begin + n) {
			skip = at > begin ? (size_t)(at - begin) : 0;
			if (n - skip > max) {
				msb_str_add(s, line + skip, max);
				rd->seq = seq;
				return;
			}
			msb_str_add(s, line + skip, n - skip);
			max -= n - skip;
			rd->seq = seq + 1;
		}
		begin += n;
	}
}

void ctl_ring_read(const struct ctl_ring *r, struct ctl_ring_reader *rd, uint64_t off, size_t max,
	struct msb_str *s)
{
	size_t n;

	if (off == 0)
		*rd = (struct ctl_ring_reader){.seq = 1};
	n = strlen(rd->note);
	if (n && off >= rd->note_off && off < rd->note_off + n) {
		n -= (size_t)(off - rd->note_off);
		msb_str_add(s, rd->note + (off - rd->note_off), n < max ? n : max);
		return;
	}
	if (off + rd->shift < r->base) {
		uint64_t oldest = ctl_ring_oldest(r);

		n = (size_t)snprintf(rd->note, sizeof(rd->note), "{\"dropped\":%" PRIu64 "}\n",
			oldest > rd->seq ? oldest - rd->seq : 1);
		rd->note_off = off;
		rd->shift = r->base - (off + n);
		msb_str_add(s, rd->note, n < max ? n : max);
		return;
	}
	copy(r, rd, off + rd->shift, max, s);
}

int ctl_ring_more(const struct ctl_ring *r, const struct ctl_ring_reader *rd, uint64_t off)
{
	return off + rd->shift < r->total;
}
