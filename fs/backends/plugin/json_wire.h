/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of JSON from a plugin, read. Pure functions over what jansson has decoded, or over bytes;
 * both are hostile. The format is in msb-fs-plugin(5). Source: RFC 8259.
 */
#ifndef MSB_FS_PLUGIN_JSON_WIRE_H
#define MSB_FS_PLUGIN_JSON_WIRE_H

#include "fs/backends/rules.h"
#include "fs/fsb.h"
#include "fs/glob.h"
#include "fs/options.h"

#include <jansson.h>
#include <sys/statvfs.h>

#define PLUGIN_MAX_LINE	      (1u << 20)   /* bytes of one line, either way */
#define PLUGIN_MAX_JSON_DEPTH 8		   /* brackets in brackets */
#define PLUGIN_MAX_JSON_DATA  (128u << 10) /* bytes of a file in one line */
#define PLUGIN_MAX_ENTRIES    65536	   /* names of one directory */

/* A line, without its end. NULL: it is no object, too deep, or has a key twice. */
json_t *pj_decode(const char *p, size_t n);

/* What a plugin wants to be asked. */
struct pj_says {
	uint32_t ops, after; /* FSB_OP_BIT() */
	unsigned int npaths; /* 0: of every path */
	struct fsb_glob path[FSB_MAX_GLOBS];
	struct fsb_rule_set rules;
};
/* -EBADMSG: it names an operation that there is not, a pattern that is none, or a rule. */
int pj_says_read(const json_t *o, struct pj_says *ret);
/* Whether it wants to be asked about @path. */
bool pj_says_path(const struct pj_says *s, const char *path);

/* What a reply says of how it went. */
enum pj_verdict { PJ_DONE, PJ_PASS, PJ_ERROR };
/* @ret_error: -errno, of PJ_ERROR. -EBADMSG: "error" is none. */
int pj_verdict_read(const json_t *o, enum pj_verdict *ret, int *ret_error);

/* A file's attributes by @o ("attr"), with what is in @a where @o says nothing. -EIO. */
int pj_attr_read(const json_t *o, struct fuse_attr *a);

/* "text" or "data" of @o: at most @cap bytes. How many; -EIO: there are more, or it is neither. */
int64_t pj_data_read(const json_t *o, void *buf, size_t cap);
/* RFC 4648 section 4, with its padding. Bytes; -EBADMSG; -EMSGSIZE more than @cap. */
int64_t pj_base64(const char *p, size_t n, uint8_t *buf, size_t cap);

/* A name of a directory's entries: a string, or an object of "name" and "type". NULL: neither. */
const char *pj_entry_read(const json_t *o, uint32_t *ret_type);

/* "text", or "data" where it is not UTF-8: `,"text":"..."`. */
void pj_add_data(struct msb_str *s, const void *p, size_t n);

#endif
