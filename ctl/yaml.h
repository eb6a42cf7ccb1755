/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The YAML that a configuration is written in: one mapping of names to scalars, lists of scalars,
 * and mappings of scalars; nothing else of YAML. Pure functions over bytes.
 *
 * What YAML is known to surprise with is refused, with line and column: anchors and aliases, tags,
 * more than one document, a name that comes twice, and a plain word that some versions of YAML take
 * for a boolean or for nothing (no, yes, on, off, true, ~, and so on): in quotes it is a text.
 */
#ifndef MSB_CTL_YAML_H
#define MSB_CTL_YAML_H

#include "base/err.h"
#include "base/str.h"

#include <stddef.h>

#define CTL_MAX_YAML_BYTES   65536
#define CTL_MAX_YAML_ENTRIES 4096 /* scalars of a document */

enum ctl_yaml_type { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct ctl_yaml_item {
	char *key; /* of a map; NULL in a list */
	char *value;
	unsigned int line, column; /* of the value, from 1 */
};

struct ctl_yaml_entry {
	char *key;
	enum ctl_yaml_type type;
	unsigned int line, column; /* of the key */
	struct ctl_yaml_item *v;   /* one of a scalar */
	size_t n;
};

struct ctl_yaml {
	struct ctl_yaml_entry *v;
	size_t n;
};

/**
 * ctl_yaml_parse() - Read a document
 * An empty one has no entries. Values hold no NUL. Return: 0; -EINVAL; -E2BIG a limit; -ENOMEM;
 * with a sentence that names line and column. Give @ret to ctl_yaml_done() in any case.
 */
int ctl_yaml_parse(const char *p, size_t n, struct ctl_yaml *ret, struct msb_err *e);
void ctl_yaml_done(struct ctl_yaml *y);

/* Appends a scalar that reads back as @text: in quotes where it is not plainly a text or a number.
 */
void ctl_yaml_print(struct msb_str *s, const char *text);

/* The word of @words (NULL at the end) that @text is most likely meant to be, or NULL. */
const char *ctl_nearest(const char *text, const char *const *words);

#endif
