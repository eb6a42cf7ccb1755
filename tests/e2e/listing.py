#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints all that a program can see of a tree, a line a name, in one order: listing.py DIRECTORY

PATH TYPE MODE UID GID RDEV NLINK SIZE MTIME FIRST-NAME XATTRS CONTENTS. Bytes that are not printable are
\\xNN. A directory's size is its file system's own affair, and not in it; first names tell which names are
hard links of each other; contents are a digest, or a link's target.
"""
import hashlib
import os
import stat
import sys


def text(b: bytes) -> str:
    return "".join(chr(c) if 32 < c < 127 and c != 92 else f"\\x{c:02x}" for c in b) or "-"


def contents(path: bytes, st: os.stat_result) -> str:
    if stat.S_ISLNK(st.st_mode):
        return text(os.readlink(path))
    if not stat.S_ISREG(st.st_mode):
        return "-"
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while b := f.read(1 << 20):
            h.update(b)
    return h.hexdigest()


def xattrs(path: bytes) -> str:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return ",".join(text(os.fsencode(n)) + "=" + text(os.getxattr(path, n, follow_symlinks=False)) for n in names) or "-"


def walk(top: bytes) -> None:
    first: dict[int, str] = {}
    stack = [b""]
    while stack:
        rel = stack.pop()
        path = top + rel
        st = os.lstat(path)
        name = text(rel or b"/")
        is_dir = stat.S_ISDIR(st.st_mode)
        if is_dir:
            stack += (rel + b"/" + n for n in sorted(os.listdir(path), reverse=True))
        print(name, oct(st.st_mode), st.st_uid, st.st_gid, st.st_rdev, st.st_nlink, "-" if is_dir else st.st_size,
              st.st_mtime_ns, first.setdefault(st.st_ino, name), xattrs(path), contents(path, st))


walk(os.path.realpath(os.fsencode(sys.argv[1])))
