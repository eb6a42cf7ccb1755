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

*msb* [_OPTION_]... _COMMAND_ [_OPTION_]... [_ARGUMENT_]...

# DESCRIPTION

*msb* does nothing that the control tree of *msbd*(8) cannot: it writes and reads the files of the mount. *-x* shows each of
these operations as a line of *sh*, and *--dry-run* shows them without doing any.

A command's options may stand anywhere before *--*; those of *run*, *create* and *exec* before its first word, since what comes
after is another program's. A command that takes several names does with each what it can, prints the names with which that
was well, and fails where one was not.

# OPTIONS

They come before _COMMAND_; all but *--host* may be among its own, too.

```
END
"$msb" --help | sed -n '/^Options:/,/^$/p' | sed '1d;/^$/d'
cat <<'END'
```

With *--host* the command runs on another host, by *ssh*(1), which asks for no password of msb's and knows its hosts, keys and
aliases as ever. Paths are that host's. *ssh* gives 255 where it could not get there.

# COMMANDS

*msb help* _COMMAND_ and *msb* _COMMAND_ *--help* say what its page says.

END
# `  NAME   summary` lines are the commands, and each has a page.
"$msb" --help | sed -n 's/^  \([a-z][a-z-]*\)  *\([^ ].*\)/*msb-\1*(1)\n\t\2\n/p'
cat <<'END'
# ENVIRONMENT

*MSB_MNT*
	Where the control tree is; else _/run/msb_, or _$XDG_RUNTIME_DIR/msb_ for an ordinary user.

*NO_COLOR*
	Print without colors.

# EXIT STATUS

0; 125 where *msb* itself failed, with a sentence on standard error; 130 after ^C. *run* and *exec* end as their command did:
126 it cannot be run, 127 it is not there, 128 and a signal's number where that ended it.

# EXAMPLES

What a command does to the tree, to be kept as a script:

```
msb --dry-run create --name web --memory 512m python:3.12 > web.sh
```

The machines that failed, and why:

```
msb ps --filter state=failed --format '{{.Name}}\t{{.Reason}}'
```

# SEE ALSO

*msbd*(8), *msb-fs-passthrough*(5) and the pages that it names
END
