/* SPDX-License-Identifier: Apache-2.0 */
/* Listing images. */
#ifndef MSB_TOOLS_LIST_H
#define MSB_TOOLS_LIST_H

#include "tools/msb/mnt.h"

struct list_how {
	const char *only; /* a reference, or a repository; NULL: all */
	bool json, quiet, whole;
};

/* On stdout, newest first. */
int list_images(const struct mnt *m, const struct list_how *how, struct msb_err *e);

#endif
