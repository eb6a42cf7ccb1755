#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""POSIX cases in an empty directory: prints what each op came back with, the same on any good file system.

Run it on a local file system and on a view of a sandbox's root and compare. Needs root: it acts as
other users too. Inode numbers are told in the order in which they are first seen, times as whether
they moved.
"""
import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
seen = {}


def st(path):
    s = os.lstat(path)
    n = seen.setdefault((s.st_dev, s.st_ino), len(seen))
    size = "-" if stat.S_ISDIR(s.st_mode) else s.st_size
    return f"{stat.filemode(s.st_mode)} {s.st_uid}:{s.st_gid} links {s.st_nlink} size {size} ino {n}"


def outcome(fn, *args):
    try:
        fn(*args)
        return "ok"
    except OSError as e:
        return errno.errorcode[e.errno]


def case(label, fn, *args):
    print(label, "->", outcome(fn, *args))


def show(*paths):
    for p in paths:
        print(" ", p if len(p) < 40 else "long", st(p) if os.path.lexists(p) else "absent")


def as_user(uid, gid, fn, *args):
    r, w = os.pipe()
    if os.fork() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        os.write(w, outcome(fn, *args).encode())
        os._exit(0)
    os.close(w)
    said = os.read(r, 99).decode()
    os.close(r)
    os.wait()
    return said


def touch(path, mode=0o644):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, mode)
    os.fchmod(fd, mode)
    os.close(fd)


def put(path, data, flags=0):
    fd = os.open(path, os.O_WRONLY | flags)
    os.write(fd, data)
    os.close(fd)


def renameat2(a, b, flags):
    if libc.renameat2(-100, a.encode(), -100, b.encode(), flags) < 0:
        raise OSError(ctypes.get_errno(), "")


def moved(label, path, fn, *args):
    """Which times of path an op moves."""
    a = os.lstat(path)
    time.sleep(0.02)
    r = outcome(fn, *args)
    b = os.lstat(path)
    print(label, "->", r, "mtime" if a.st_mtime_ns != b.st_mtime_ns else "-",
          "ctime" if a.st_ctime_ns != b.st_ctime_ns else "-")


def names():
    for n in (255, 256):
        case(f"file name of {n}", touch, "n" * n)
        case(f"directory name of {n}", os.mkdir, "d" * n)
        case(f"link name of {n}", os.symlink, "x", "s" * n)
    touch("f")
    os.mkdir("d")
    os.symlink("f", "l")
    os.symlink("nowhere", "dangling")
    os.symlink("loop", "loop")
    os.mkfifo("fifo")
    case("open of a loop", os.open, "loop", os.O_RDONLY)
    case("a file as a directory", os.stat, "f/x")
    case("O_EXCL on a link", os.open, "dangling", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    case("create through a link", os.open, "dangling", os.O_CREAT | os.O_WRONLY)
    show("nowhere")
    case("write a directory", os.open, "d", os.O_WRONLY)
    case("O_DIRECTORY on a file", os.open, "f", os.O_DIRECTORY)
    case("truncate a directory", os.truncate, "d", 0)
    case("O_NOFOLLOW", os.open, "l", os.O_NOFOLLOW)
    for path in ("f", "d/.", "new/"):
        case(f"mkdir {path}", os.mkdir, path)
    for path in ("f", "d/.", "d/..", "absent"):
        case(f"rmdir {path}", os.rmdir, path)
    for path in ("d", "f/", "absent"):
        case(f"unlink {path}", os.unlink, path)
    case("link of 4095", os.symlink, "y" * 4095, "longlink")
    print(len(os.readlink("longlink")))
    case("empty link", os.symlink, "", "emptylink")


def links():
    case("link", os.link, "f", "h")
    case("link to a directory", os.link, "d", "d2")
    case("link over", os.link, "f", "h")
    case("link of a link", lambda: os.link("l", "lh", follow_symlinks=False))
    show("f", "h", "l", "lh")
    moved("link", "f", os.link, "f", "h2")
    moved("unlink", "f", os.unlink, "h2")
    moved("link in its directory", ".", os.link, "f", "h3")


def renames():
    os.makedirs("r/a/b")
    os.makedirs("r/c")
    for p in ("r/f1", "r/f2", "r/a/b/x"):
        touch(p)
    for a, b in (("r/a", "r/a/b/q"), ("r/a", "r/c"), ("r/f1", "r/c"), ("r/c", "r/f1"), ("r/f1", "r/f2"),
                 ("r/absent", "r/z"), ("r/c", "r/a/b"), ("r/f2", "r/f2"), ("r/f2", "r/f2/"),
                 ("r/a/b", "r/bb"), ("r/bb/x", "r"), ("r", "r/bb")):
        case(f"rename {a} {b}", os.rename, a, b)
    print(sorted(os.listdir("r")))
    show("r")
    os.makedirs("e/d1/s")
    os.makedirs("e/d2")
    touch("e/f")
    for a, b, flags in (("e/f", "e/d1", 1), ("e/f", "e/new", 1), ("e/new", "e/d2", 2), ("e/d1", "e/d2", 2),
                        ("e/d1/s", "e/d1", 2), ("e/d1", "e/absent", 2), ("e/d1", "e/w", 4),
                        ("e/d2", "e/d2", 1), ("e/d2", "e/d2", 2), ("e/w", "e/x", 6)):
        case(f"renameat2 {a} {b} {flags}", renameat2, a, b, flags)
    show(*(f"e/{p}" for p in sorted(os.listdir("e"))))
    touch("h4")
    os.link("h4", "h5")
    case("rename onto itself", os.rename, "h4", "h5")
    show("h4", "h5")
    moved("rename", "h5", lambda: (os.rename("h5", "h6"), os.rename("h6", "h5")))
    moved("rename into", "e", os.rename, "h5", "e/h5")


def privileges():
    touch("m", 0o4755)
    os.chown("m", 1000, 1000)
    show("m")
    for mode, label, fn in ((0o6755, "write", lambda: put("m", b"x")),
                            (0o6755, "truncate", lambda: os.truncate("m", 1)),
                            (0o2745, "write without group execution", lambda: put("m", b"x"))):
        os.chmod("m", mode)
        print(label, as_user(1000, 1000, fn))
        show("m")
    os.chmod("m", 0o6755)
    put("m", b"x")
    show("m")
    os.chown("m", 1000, 5)
    os.chmod("m", 0o755)
    print("setgid of a foreign group", as_user(1000, 1000, os.chmod, "m", 0o2755))
    show("m")
    print("chown by its owner", as_user(1000, 1000, os.chown, "m", 1001, -1),
          as_user(1000, 1000, os.chown, "m", -1, 1000))
    print("chmod by another", as_user(1001, 1001, os.chmod, "m", 0o700))
    os.mkdir("t")
    os.chmod("t", 0o1777)
    as_user(1000, 1000, touch, "t/u")
    print("sticky", as_user(1001, 1001, os.unlink, "t/u"), as_user(1001, 1001, os.rename, "t/u", "t/v"),
          as_user(1000, 1000, os.unlink, "t/u"))
    os.mkdir("g")
    os.chown("g", 0, 77)
    os.chmod("g", 0o2777)
    as_user(1000, 1000, touch, "g/f")
    as_user(1000, 1000, os.mkdir, "g/d")
    as_user(1000, 1000, os.open, "g/s", os.O_CREAT | os.O_WRONLY, 0o2775)
    as_user(1000, 1000, os.mkdir, "g/sd", 0o2775)
    show("g/f", "g/d", "g/s", "g/sd")
    os.mkdir("np", 0o700)
    print("closed directory", [as_user(1000, 1000, f, *a) for f, *a in
                               ((os.stat, "np/x"), (touch, "np/x"), (os.listdir, "np"))])
    touch("ro", 0o444)
    print("read-only file", [as_user(1000, 1000, f, *a) for f, *a in
                             ((os.open, "ro", os.O_WRONLY), (os.open, "ro", os.O_RDONLY), (os.truncate, "ro", 0))])
    for mask in (0, 0o77, 0o27):
        os.umask(mask)
        os.close(os.open(f"uf{mask}", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(f"ud{mask}")
        os.mkfifo(f"up{mask}", 0o666)
        show(f"uf{mask}", f"ud{mask}", f"up{mask}")
    os.umask(0o022)


def times():
    for label, path, fn in (
            ("chmod", "f", lambda: os.chmod("f", 0o600)), ("chown", "f", lambda: os.chown("f", 0, 0)),
            ("chown to nobody", "f", lambda: os.chown("f", -1, -1)),
            ("chown of a directory to nobody", "d", lambda: os.chown("d", -1, -1)),
            ("write", "f", lambda: put("f", b"abc")), ("write nothing", "f", lambda: put("f", b"")),
            ("truncate", "f", lambda: os.truncate("f", 1)), ("same size", "f", lambda: os.truncate("f", 1)),
            ("O_TRUNC", "f", lambda: put("f", b"", os.O_TRUNC)), ("mkdir", "d", lambda: os.mkdir("d/x")),
            ("rmdir", "d", lambda: os.rmdir("d/x")), ("create", "d", lambda: touch("d/y")),
            ("open existing", "d", lambda: os.open("d/y", os.O_CREAT | os.O_WRONLY)),
            ("setxattr", "f", lambda: os.setxattr("f", "user.c", b"3"))):
        moved(label, path, fn)
    for path, ns in (("f", (123456789, 987654321)), ("l", (5, 6)), ("f", (-10**9, 2**33 * 10**9))):
        os.utime(path, ns=ns, follow_symlinks=False)
        print(os.lstat(path).st_atime_ns, os.lstat(path).st_mtime_ns)
    for mode in (0o600, 0o666):
        os.chmod("f", mode)
        print("utime by another", as_user(1000, 1000, os.utime, "f"), as_user(1000, 1000, os.utime, "f", (1, 1)))


def accessed():
    """A read moves the access time once after each change."""
    put("ac", b"read me", os.O_CREAT)
    os.mkdir("acd")
    touch("acd/f")
    os.symlink("target", "acl")
    for path, read, change in (("ac", lambda: open("ac").read(), lambda: put("ac", b"again")),
                               ("acd", lambda: os.listdir("acd"), lambda: os.unlink("acd/f")),
                               ("acl", lambda: os.readlink("acl"),
                                lambda: os.chown("acl", 1, 1, follow_symlinks=False))):
        said = []
        for fn in (read, read, change, read, read):
            time.sleep(0.02)
            before = os.lstat(path)
            fn()
            after = os.lstat(path)
            said.append("atime" if before.st_atime_ns != after.st_atime_ns else "-")
        print(path, *said, after.st_atime_ns > after.st_ctime_ns)


def unlinked():
    fd = os.open("ul", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"hello")
    os.unlink("ul")
    os.ftruncate(fd, 2)
    os.fchmod(fd, 0o600)
    print(os.fstat(fd).st_nlink, os.pread(fd, 9, 0), os.fstat(fd).st_size, oct(os.fstat(fd).st_mode))
    os.close(fd)
    os.mkdir("rd")
    fd = os.open("rd", os.O_RDONLY)
    os.rmdir("rd")
    case("create in a removed directory", lambda: os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    print(os.listdir(fd), os.fstat(fd).st_nlink)
    for flags in (0, os.O_EXCL):
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR | flags, 0o640)
        os.write(fd, b"tmp")
        print(os.fstat(fd).st_nlink)
        case("link of O_TMPFILE", lambda: os.link(f"/proc/self/fd/{fd}", f"tmp{flags}", follow_symlinks=True))
        show(f"tmp{flags}")


def contents():
    fd = os.open("ap", os.O_CREAT | os.O_RDWR | os.O_APPEND)
    os.pwrite(fd, b"aa", 100)
    os.write(fd, b"bb")
    print(os.pread(fd, 9, 0))
    fd = os.open("holes", os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, b"x" * 4096, 1 << 20)
    os.ftruncate(fd, 3 << 20)
    for whence, off in ((os.SEEK_DATA, 0), (os.SEEK_HOLE, 0), (os.SEEK_HOLE, 1 << 20), (os.SEEK_DATA, 2 << 20),
                        (os.SEEK_DATA, 5 << 20), (os.SEEK_HOLE, (3 << 20) - 1)):
        try:
            print(os.lseek(fd, off, whence))
        except OSError as e:
            print(errno.errorcode[e.errno])
    case("truncate to less than nothing", os.truncate, "holes", -1)
    case("write past the end of files", os.pwrite, fd, b"x", 2**63 - 1)
    os.posix_fallocate(fd, 0, 4 << 20)
    print(os.fstat(fd).st_size, os.fstat(fd).st_blocks * 512 >= 4 << 20)


def mapped():
    """Shared mappings, the file's descriptors and each other's writes are one content."""
    fd = os.open("mm", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"." * 10000)
    other = os.open("mm", os.O_RDWR)
    with mmap.mmap(fd, 10000) as one, mmap.mmap(other, 10000, mmap.MAP_SHARED, mmap.PROT_READ) as two:
        one[4090:4100] = b"mmmmmmmmmm"
        print(two[4088:4102], os.pread(other, 14, 4088))
        os.pwrite(other, b"ww", 9998)
        print(one[9996:], two[9996:])
        one.flush()
        os.unlink("mm")
        one[0:4] = b"gone"
        print(os.pread(other, 6, 0), os.fstat(fd).st_nlink)
    os.ftruncate(fd, 4096)
    os.ftruncate(fd, 8192)
    print(os.pread(fd, 12, 4088), os.fstat(other).st_size)
    with mmap.mmap(fd, 4096, mmap.MAP_PRIVATE) as mine:
        mine[0:4] = b"mine"
        print(os.pread(fd, 4, 0))


def ranges():
    fd = os.open("ra", os.O_CREAT | os.O_RDWR)
    out = os.open("rb", os.O_CREAT | os.O_RDWR)
    os.write(fd, bytes(range(256)) * 64)
    print(os.copy_file_range(fd, out, 5000, 10, 100), os.pread(out, 104, 98) == bytes(2) + os.pread(fd, 102, 10))
    print(os.copy_file_range(fd, out, 5000, 16384), os.fstat(out).st_size)
    case("copy onto itself", os.copy_file_range, fd, fd, 100, 0, 50)
    keep, punch, zero = 1, 2, 16
    for mode, off, n in ((punch | keep, 4096, 4096), (zero, 100, 5000), (zero | keep, 16000, 9000),
                         (keep, 16384, 1 << 20), (0, 16384, 4096), (punch, 0, 1), (0, 0, 0), (0, -1, 1)):
        r = libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(n))
        print("fallocate", mode, off, n, "ok" if r == 0 else errno.errorcode[ctypes.get_errno()],
              os.fstat(fd).st_size, os.pread(fd, 4096, 4096).count(0))
    os.chmod("ra", 0o6666)
    print("a user's", as_user(1000, 1000, lambda: os.posix_fallocate(os.open("ra", os.O_WRONLY), 0, 4096)))
    show("ra")
    os.chmod("ra", 0o6666)
    print("a user's", as_user(1000, 1000, put, "ra", b"x"))
    show("ra")
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        case("lseek before the start", os.lseek, fd, -1, whence)
    case("an ioctl that nobody has", fcntl.ioctl, fd, 0x5a5a)
    case("an ioctl of terminals", fcntl.ioctl, fd, 0x5401, b" " * 64)
    os.fsync(fd)
    os.fdatasync(out)
    print("syncfs", libc.syncfs(fd))


def nodes():
    os.mknod("cn", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod("bn", stat.S_IFBLK | 0o600, os.makedev(300, 70000))
    show("cn", "bn")
    print(os.lstat("cn").st_rdev, os.lstat("bn").st_rdev)
    s, c = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    s.bind("so")
    s.listen()
    case("connect", c.connect, "so")
    show("so")
    with open("lk", "w") as a, open("lk", "w") as b:
        fcntl.flock(a, fcntl.LOCK_EX)
        case("flock", fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(a, fcntl.LOCK_EX)
        print("lockf", as_user(0, 0, lambda: fcntl.lockf(open("lk", "w"), fcntl.LOCK_EX | fcntl.LOCK_NB)))


def xattrs():
    for name, value in (("user.a", b"1"), ("user.b", b""), ("trusted.t", b"t"), ("security.s", b"s"),
                        ("other.x", b""), ("user." + "n" * 250, b"long"), ("user." + "n" * 251, b"x")):
        case(f"setxattr {name[:12]}", os.setxattr, "f", name, value)
    print(sorted(os.listxattr("f")), os.getxattr("f", "user.a"))
    case("absent", os.getxattr, "f", "user.zz")
    for _ in range(2):
        case("remove", os.removexattr, "f", "user.a")
    case("XATTR_CREATE", os.setxattr, "f", "user.b", b"2", os.XATTR_CREATE)
    case("XATTR_REPLACE", os.setxattr, "f", "user.q", b"2", os.XATTR_REPLACE)
    case("user. on a link", lambda: os.setxattr("l", "user.x", b"", follow_symlinks=False))
    case("user. on a pipe", os.setxattr, "fifo", "user.x", b"")
    print("trusted. by a user", as_user(1000, 1000, os.setxattr, "f", "trusted.u", b"x"))
    cap = bytes.fromhex("0100000200200000000000000000000000000000")
    touch("capf", 0o777)
    for fn in (lambda: as_user(1000, 1000, put, "capf", b"x"), lambda: os.chown("capf", 5, 5)):
        os.setxattr("capf", "security.capability", cap)
        fn()
        print("capabilities", os.listxattr("capf"))


ACL_TAGS = {"u": (1, 2), "g": (4, 8), "m": (16, 16), "o": (32, 32)}


def acl(text):
    """u::rwx,u:1000:r-x,g::r--,m::r-x,o::--- as the bytes of the attribute."""
    out = struct.pack("<I", 2)
    for entry in filter(None, text.split(",")):
        kind, who, perm = entry.split(":")
        bits = sum(bit for c, bit in zip("rwx", (4, 2, 1)) if c in perm)
        out += struct.pack("<HHI", ACL_TAGS[kind][who != ""], bits, int(who or 0xffffffff))
    return out


def set_acl(path, text, which="access"):
    os.setxattr(path, "system.posix_acl_" + which, acl(text), follow_symlinks=False)


def acl_of(path, which="access"):
    try:
        value = os.getxattr(path, "system.posix_acl_" + which, follow_symlinks=False)
    except OSError as e:
        return errno.errorcode[e.errno]
    kinds = {tag: (kind, named) for kind, (own, other) in ACL_TAGS.items() for tag, named in ((own, 0), (other, 1))}
    out = []
    for tag, perm, who in struct.iter_unpack("<HHI", value[4:]):
        bits = "".join(c if perm & bit else "-" for c, bit in zip("rwx", (4, 2, 1)))
        out.append(f"{kinds[tag][0]}:{'' if who == 0xffffffff else who}:{bits}")
    return ",".join(out)


def show_acls(*paths):
    for p in paths:
        print(" ", p, oct(os.lstat(p).st_mode), acl_of(p), acl_of(p, "default"), sorted(os.listxattr(p, follow_symlinks=False)))


def may(path):
    """What three users and members of two groups may do with it."""
    for uid, gid in ((1000, 1000), (1001, 1001), (1002, 1002), (1003, 50), (1004, 51)):
        print(" ", uid, gid, *(as_user(uid, gid, os.open, path, how)
                               for how in (os.O_RDONLY, os.O_WRONLY | os.O_NONBLOCK)),
              as_user(uid, gid, os.stat, path + "/."))


def acls():
    named = "u::rwx,u:1001:r--,u:1002:-wx,g::r-x,g:50:rw-,m::rwx,o::---"
    os.mkdir("acls")
    os.chmod("acls", 0o777)
    os.chdir("acls")
    touch("f", 0o666)
    os.mkdir("d")
    os.symlink("f", "l")
    os.mkfifo("fifo")
    for p in ("f", "d"):
        os.chown(p, 1000, 1000)
        case("set " + p, set_acl, p, named)
        show_acls(p)
        may(p)
        for mode in (0o640, 0o705, 0o2770):
            os.chmod(p, mode)
            show_acls(p)
            may(p)
    for text in ("", "u::rwx", "u::rwx,g::rwx,o::rwx,m::rwx", "u::rwx,u:1:rwx,g::rwx,o::rwx", "u::rwx,u::rwx,g::r--,o::r--",
                 "u::rwx,u:1:r--,u:1:r--,g::r--,m::r--,o::---", "u::rwx,g::rwx,m::r--,o::---", "u::rw-,g::r--,o::---"):
        case("set " + text, set_acl, "f", text)
        case("as default", set_acl, "d", text, "default")
        show_acls("f", "d")
    for value in (b"", b"x", acl(named)[:-1], b"\1" + acl(named)[1:]):
        case("no ACL", os.setxattr, "f", "system.posix_acl_access", value)
    case("default of a file", set_acl, "f", named, "default")
    case("of a link", set_acl, "l", named)
    case("of a pipe", set_acl, "fifo", "u::rw-,u:1001:r--,g::r--,m::r--,o::---")
    print("by another", as_user(1001, 1001, set_acl, "f", named), "by its owner", as_user(1000, 1000, set_acl, "f", named))
    show_acls("f", "l")
    os.chown("f", 1000, 50)
    for mode in (0o2755, 0o2644): # a group that is not its owner's
        os.chmod("f", mode)
        print("by its owner", as_user(1000, 1000, set_acl, "f", named))
        show_acls("f")
    os.chmod("f", 0o2755)
    set_acl("f", named)
    show_acls("f")
    os.link("f", "hard")
    os.rename("f", "g")
    put("g", b"x", os.O_TRUNC)
    os.chown("g", 1004, 51)
    show_acls("g", "hard")
    case("XATTR_CREATE", os.setxattr, "g", "system.posix_acl_access", acl(named))
    for _ in range(2):
        case("remove", os.removexattr, "g", "system.posix_acl_access")
        case("remove default", os.removexattr, "d", "system.posix_acl_default")
    show_acls("g", "d")
    for default in (named, "u::rw-,g::r--,o::---", "u::rwx,g::rwx,m::r-x,o::r--"):
        for sgid in (0o0755, 0o2755):
            os.mkdir("heirs")
            os.chown("heirs", 0, 50)
            os.chmod("heirs", sgid)
            set_acl("heirs", default, "default")
            old = os.umask(0o777)
            os.close(os.open("heirs/f", os.O_CREAT | os.O_WRONLY, 0o666))
            os.close(os.open("heirs/x", os.O_CREAT | os.O_WRONLY, 0o700))
            os.mkdir("heirs/d", 0o777)
            os.mkdir("heirs/d/d", 0o750)
            os.symlink("f", "heirs/l")
            os.mkfifo("heirs/fifo", 0o666)
            os.mknod("heirs/dev", stat.S_IFCHR | 0o660, os.makedev(1, 3))
            os.mknod("heirs/reg", stat.S_IFREG | 0o640)
            fd = os.open("heirs", os.O_TMPFILE | os.O_RDWR, 0o666)
            os.umask(old)
            print(oct(os.fstat(fd).st_mode), os.listxattr(fd))
            os.close(fd)
            show_acls(*("heirs/" + n for n in ("f", "x", "d", "d/d", "l", "fifo", "dev", "reg")))
            may("heirs/f")
            may("heirs/d")
            for name in ("f", "x", "d/d", "d", "l", "fifo", "dev", "reg", ""):
                (os.rmdir if name in ("d", "d/d", "") else os.unlink)("heirs/" + name)
    os.chdir("..")


def directories():
    os.mkdir("big")
    for i in range(3000):
        os.close(os.open(f"big/file-{i:05}", os.O_CREAT | os.O_WRONLY))
    met = []
    with os.scandir("big") as entries:
        for e in entries:
            met.append(e.name)
            os.unlink("big/" + e.name)
    print(len(met), len(set(met)), os.listdir("big"))
    show("big")
    for i in range(500):
        os.close(os.open(f"big/{i}", os.O_CREAT | os.O_WRONLY))
    met = 0
    with os.scandir("big") as entries:
        for e in entries: # comes to an end
            met += met < 5000
            if met == 5000:
                break
            os.rename("big/" + e.name, "big/moved")
            os.rename("big/moved", "big/" + e.name)
    print("met", 500 <= met < 5000, len(os.listdir("big")))
    for e in os.listdir("big"):
        os.unlink("big/" + e)
    case("rmdir", os.rmdir, "big")
    path = "deep"
    for _ in range(60):
        os.mkdir(path)
        path += "/" + "q" * 20
    while path != "deep":
        path = os.path.dirname(path)
        os.rmdir(path)
    print(sorted(p for p in os.listdir(".") if len(p) < 40))


os.chdir(sys.argv[1])
os.umask(0o022)
for part in (names, links, renames, privileges, times, accessed, unlinked, contents, mapped, ranges, nodes, xattrs,
             acls, directories):
    print("==", part.__name__)
    part()
