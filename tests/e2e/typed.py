# SPDX-License-Identifier: Apache-2.0
"""Types keys into a program on a terminal, and waits for what it shows.

    typed.py [KEYS WANT]... -- PROGRAM [ARGUMENT]...

Each KEYS (with \\t, \\r as Python has them) are sent once the WANT before has come; WANT is a regular expression. Exit
status 1, with all that was shown, where one does not come within 180 s."""
import os
import pty
import re
import select
import sys
import time

at = sys.argv.index("--")
steps, argv = sys.argv[1:at], sys.argv[at + 1:]
pid, fd = pty.fork()
if pid == 0:
    os.environ.update(TERM="dumb", PS1="> ", COLUMNS="200")
    os.execvp(argv[0], argv)
shown = b""
for keys, want in zip(steps[::2], steps[1::2]):
    seen = len(shown)
    os.write(fd, keys.encode().decode("unicode_escape").encode())
    end = time.monotonic() + 180
    while not re.search(want.encode(), shown[seen:]):
        left = end - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            sys.exit(f"{want!r} did not come after {keys!r}: {shown!r}")
        try:
            shown += os.read(fd, 65536)
        except OSError:
            sys.exit(f"ended before {want!r}: {shown!r}")
os.close(fd)
os.kill(pid, 9)
os.waitpid(pid, 0)
