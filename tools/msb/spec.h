/* SPDX-License-Identifier: Apache-2.0 */
/* What docker's options say, in the syntax of the control tree's files. Pure functions, but where
 * they say so. All that is not docker's syntax is left as it is: msbd says what is wrong with it.
 */
#ifndef MSB_TOOLS_SPEC_H
#define MSB_TOOLS_SPEC_H

#include "base/err.h"
#include "base/str.h"

/* 512m, 2g, 1024k, 100b, 1GiB: as msbd takes it, 512M. */
void spec_bytes(const char *text, struct msb_str *s);
/* 1m30s, 90s, 90: seconds. What is none stays. */
void spec_seconds(const char *text, struct msb_str *s);
/* nofile=1024:2048, nofile=-1: `nofile 1024:2048`. */
int spec_ulimit(const char *text, struct msb_str *s, struct msb_err *e);
/* /run:size=64m,rw as a line of `tmpfs`: `/run size=64M`. */
void spec_tmpfs(const char *text, struct msb_str *s);

/* SRC:DST[:OPTIONS] as a line of `mounts`; a name is a volume's (@disk: one that is a disk), a path
 * what is at it. Looks at the directory that it is called in. */
int spec_volume(const char *text, bool disk, struct msb_str *s, struct msb_err *e);
/* type=bind,src=/a,dst=/b,ro. The same, but of type=tmpfs a line of `tmpfs`, which @tmpfs says. */
int spec_mount(const char *text, bool *tmpfs, struct msb_str *s, struct msb_err *e);

/* Words as a JSON array on one line. -EILSEQ one of them is no UTF-8. */
int spec_argv(char *const *words, struct msb_str *s, struct msb_err *e);

/* A name of two words, by a number. */
void spec_name(uint32_t number, char ret[64]);

#endif
