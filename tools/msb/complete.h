/* SPDX-License-Identifier: Apache-2.0 */
/* What could be typed next, for shells: from the table of commands, and from the mount. */
#ifndef MSB_TOOLS_COMPLETE_H
#define MSB_TOOLS_COMPLETE_H

#include "base/str.h"

/**
 * complete_words() - Lines of `WORD<TAB>WHAT IT IS`; a line `:file` or `:dir` where files could be,
 * too
 * @words: what was typed after `msb`; the last one is not yet whole, and may be empty. NULL at the
 * end
 */
void complete_words(char *const *words, struct msb_str *s);

#endif
