#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a view says of files that it has open and mapped: view.py DIRECTORY TO FROM; then a line each from the pipe TO.

open NAME, close NAME; read NAME: through the descriptor, from its beginning; map NAME: through the mapping; tail NAME:
what came behind the last read or tail. Answers a line each to the pipe FROM, JSON, without white space around."""
import json
import mmap
import os
import sys

files: dict[str, tuple[int, mmap.mmap]] = {}
# For reading and writing: who asks comes and goes.
ask = os.fdopen(os.open(sys.argv[2], os.O_RDWR), "r")
say = os.open(sys.argv[3], os.O_RDWR)
os.chdir(sys.argv[1])
for line in ask:
    verb, name = line.split()
    answer = ""
    if verb == "open":
        fd = os.open(name, os.O_RDWR)
        files[name] = fd, mmap.mmap(fd, 0)
    fd, mapped = files[name]
    if verb == "read":
        os.lseek(fd, 0, os.SEEK_SET)
    if verb in ("read", "tail"):
        answer = os.read(fd, 65536).decode()
    elif verb == "map":
        answer = mapped[:].decode()
    elif verb == "close":
        mapped.close()
        os.close(fd)
    os.write(say, json.dumps(answer.strip()).encode() + b"\n")
