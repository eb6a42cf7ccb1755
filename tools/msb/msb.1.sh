#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# msb(1) for scdoc, made of what the program itself says: one table drives parsing, --help and this.
#	tools/msb/msb.1.sh PROGRAM
set -eu
msb=$1
cat <<'END'
msb(1)

# NAME

msb - sandboxes and their images, with docker's commands

# SYNOPSIS

*msb* _COMMAND_ [_OPTION_]... [_ARGUMENT_]...

# DESCRIPTION

*msb* does nothing that the control tree of *msbd*(8) cannot: it writes and reads the files of the mount. Options may stand
anywhere before *--*.

# COMMANDS

END
# `  NAME   summary` lines are the commands; a command's own help goes in as it is.
"$msb" --help | sed -n 's/^  \([a-z][a-z-]*\)  *[^ ].*/\1/p' | while read -r command; do
	printf '## msb %s\n\n```\n' "$command"
	"$msb" "$command" --help
	printf '```\n\n'
done
cat <<'END'
# ENVIRONMENT

*MSB_MNT*
	Where the control tree is; else _/run/msb_, or _$XDG_RUNTIME_DIR/msb_ for an ordinary user.

*NO_COLOR*
	Print without colors.

# EXIT STATUS

0; 125 where *msb* itself failed, with a sentence on standard error; 130 after ^C.

# SEE ALSO

*msbd*(8)
END
