/* SPDX-License-Identifier: Apache-2.0 */
/* An image's `meta` file: what the import took from its config. Pure functions over bytes. */
#ifndef MSB_CTL_META_H
#define MSB_CTL_META_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CTL_META_MAX_LIST 4096 /* elements of one: IMG_MAX_META_ELEMENTS */

struct ctl_meta {
	uint64_t size_bytes, inodes;
	char kind[16];			/* image, artifact, mixtape */
	char *user, *workdir, *created; /* "" where the image says nothing */
	char **env;			/* NAME=VALUE, NULL at the end; never NULL */
	size_t nenv;
	char **entrypoint, **cmd; /* NULL at the end; NULL: it has none */
	size_t nentrypoint, ncmd;
	char **health; /* CMD, CMD-SHELL or NONE, and what belongs to it, likewise */
	size_t nhealth;
	uint64_t health_interval_sec, health_timeout_sec, health_start_sec,
		health_start_interval_sec, health_retries; /* 0: not said */
	/* A mixtape's: names in the store's blobs, 64 hex digits; "": it has none. */
	char kernel[65], initrd[65], cmdline[65], disk[65];
	char disk_format[8]; /* raw, qcow2 */
	bool disk_packed;    /* compressed */
};

/**
 * ctl_meta_parse() - Read `key value` lines; of a list `key.N value`, an element a line
 * Texts are JSON strings. Unknown keys are passed over: later importers write more. A NUL anywhere,
 * and a newline in what is no list's, are -EBADMSG; a variable without a name is left out: the
 * image's author chose them.
 * Return: 0, free with ctl_meta_done(); -EBADMSG; -E2BIG; -ENOMEM. @ret is set on success only.
 */
int ctl_meta_parse(const char *p, size_t n, struct ctl_meta *ret, struct msb_err *e);
void ctl_meta_done(struct ctl_meta *m);

#endif
