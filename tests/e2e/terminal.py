#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Types into a program on a terminal of its own, and looks at what it shows.
#	terminal.py ROWSxCOLS STEP... -- PROGRAM ARGUMENT...
# Steps, in turn: `type:TEXT` (escapes as in Python), `see:TEXT` waits for it in what came since the
# last one, `size:ROWSxCOLS`, `signal:NAME` to the program, `raw`, `cooked`: wait until the terminal
# is, `run:LINE` runs it in sh, `end:STATUS` waits for its end (-N: by signal N).
# Status 0: all were done; else what it showed goes to stderr.
import codecs, fcntl, os, pty, re, select, signal, struct, subprocess, sys, termios, time

WAIT_S = 120  # only ends what hangs
at = sys.argv.index("--")
steps, program = sys.argv[2:at], sys.argv[at + 1:]
main, other = pty.openpty()
seen, mark = b"", 0


def size(text):
    rows, cols = map(int, text.split("x"))
    fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def own_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def look(seconds):
    global seen
    if select.select([main], [], [], seconds)[0]:
        try:
            seen += os.read(main, 65536)
        except OSError:
            pass


def until(what, done):
    end = time.monotonic() + WAIT_S
    while not done():
        if time.monotonic() > end:
            sys.exit(f"{what}: did not come; it showed {seen!r}")
        look(0.05)


def is_raw():
    return not termios.tcgetattr(main)[3] & termios.ICANON


size(sys.argv[1])
child = subprocess.Popen(program, stdin=other, stdout=other, stderr=other, preexec_fn=own_terminal)
for step in steps:
    verb, _, arg = step.partition(":")
    if verb == "type":
        os.write(main, codecs.decode(arg, "unicode_escape").encode("latin-1"))
    elif verb == "see":
        want = codecs.decode(arg, "unicode_escape").encode("latin-1")
        until(step, lambda: want in seen[mark:])
        mark = seen.index(want, mark) + len(want)
    elif verb == "run":
        subprocess.run(arg, shell=True, check=True, cwd="/")
    elif verb == "size":
        size(arg)
        child.send_signal(signal.SIGWINCH)
    elif verb == "signal":
        child.send_signal(signal.Signals["SIG" + arg])
    elif verb == "raw":
        until(step, is_raw)
    elif verb == "cooked":
        until(step, lambda: not is_raw())
    elif verb == "end":
        until(step, lambda: child.poll() is not None)
        if child.returncode != int(arg):
            sys.exit(f"it ended with {child.returncode}, not {arg}; it showed {seen!r}")
    else:
        sys.exit(f"no such step: {step}")
if child.poll() is None:
    child.kill()
