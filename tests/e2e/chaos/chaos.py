#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random operations by several clients on an instance of msb, while its processes are killed or stand still.

usage: chaos.py MSBD MNT STATE   with MSB_CHAOS_SEED, MSB_CHAOS_OPS (60), MSB_CHAOS_CLIENTS (8)

Afterwards the tree, SQLite, processes, mounts and the store have to agree, nothing may be stuck, and
once the sandboxes are removed nothing may be left. The seed is printed: with it each client does the
same again, though not at the same moment.
"""
import errno, os, random, signal, sqlite3, subprocess, sys, threading, time

MSBD, MNT, STATE = sys.argv[1:4]
SEED = int(os.environ.get("MSB_CHAOS_SEED") or time.time_ns() % 10**9)
OPS = int(os.environ.get("MSB_CHAOS_OPS") or 60)
CLIENTS = int(os.environ.get("MSB_CHAOS_CLIENTS") or 8)
NAMES = [f"c{i}" for i in range(4)]
PAUSE_SEC = 4  # at most, before an operation: machines need time to start between two kills
FROZEN_SEC = 3
STUCK_SEC = 400  # one operation: a start under TCG with all of this at once is slow
# What an operation may meet: the state does not allow it, it was removed, its machine or helper was
# killed, msbd was. Anything else is a finding.
FAIR = {errno.EBUSY, errno.ENODEV, errno.ENOENT, errno.EEXIST, errno.EIO, errno.EREMOTEIO, errno.ENOTCONN,
        errno.ECONNABORTED, errno.EPIPE, errno.EAGAIN, errno.EINTR, errno.ECANCELED, errno.ESRCH,
        errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNRESET, errno.ESHUTDOWN, errno.ESTALE}

lock = threading.Lock()
msbd_lock = threading.Lock()
began = time.monotonic()
doing = {}  # client: what, since
findings = []
left = OPS
seen = set()  # ids of sandboxes: a machine's command line has one
kept = set()  # (sandbox's id, job) that were started with `keep`


def say(text):
    with lock:
        print(f"{time.monotonic() - began:7.2f} {text}", flush=True)


def finding(text):
    say("FINDING " + text)
    findings.append(text)


def put(path, text):
    fd = os.open(f"{MNT}/{path}", os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def get(path, flags=0):
    fd = os.open(f"{MNT}/{path}", os.O_RDONLY | flags)
    try:
        return os.read(fd, 1 << 20).decode(errors="replace")
    finally:
        os.close(fd)


def status(name):
    return dict((line.split(" ", 1) + [""])[:2] for line in get(f"{name}/status").splitlines())


# ---- processes


def mine():
    """pid: command line, of every process of this instance"""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            env = open(f"/proc/{pid}/environ", "rb").read().split(b"\0")
            cmd = open(f"/proc/{pid}/cmdline", "rb").read().replace(b"\0", b" ").decode(errors="replace").strip()
            stat = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if stat[0] == "Z" or int(pid) == os.getpid() or not cmd:
            continue
        if f"MSB_STATE={STATE}".encode() in env and os.path.basename(cmd.split()[0]).startswith("msb"):
            found[int(pid)] = cmd
        elif cmd.split()[0].endswith("qemu-system-x86_64") and any(i in cmd for i in list(seen)):
            found[int(pid)] = cmd
    return found


def msbd_pid():
    for pid, cmd in mine().items():
        if cmd.split()[0] == MSBD:
            return pid
    return None


def kill_pid(pid):
    try:
        os.kill(pid, signal.SIGKILL)
        return True
    except (ProcessLookupError, TypeError):
        return False


def start_msbd(why):
    r = subprocess.run([MSBD], stderr=subprocess.PIPE, text=True, timeout=300)
    if r.returncode:
        finding(f"msbd does not start {why}: {r.stderr.strip()}")


def kill_msbd(rng):
    with msbd_lock:
        pid = msbd_pid()
        if pid:
            kill_pid(pid)
            while os.path.exists(f"/proc/{pid}"):
                time.sleep(0.005)
        time.sleep(rng.random() / 2)
        start_msbd("after kill -9")


def kill_some(rng, kind):
    pids = [p for p, cmd in mine().items() if os.path.basename(cmd.split()[0]).startswith(kind)]
    if pids:
        kill_pid(rng.choice(sorted(pids)))


def freeze_some(rng):
    """One of them stands still for a while: whoever waits for it has to."""
    pid = rng.choice(sorted(mine()) or [0])
    try:
        if pid:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(rng.random() * FROZEN_SEC)
            os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass


# ---- operations: each gets the client's own generator and a sandbox's name


def op_mkdir(rng, n):
    os.mkdir(f"{MNT}/{n}")
    seen.add(get(f"{n}/id").strip())
    put(f"{n}/image", "bb\n")
    put(f"{n}/memory_bytes", "128M\n")


def op_start(rng, n):
    try:
        op_mkdir(rng, n)
    except FileExistsError:
        pass
    put(f"{n}/ctl", "start\n")


def verb(v):
    def op(rng, n):
        put(f"{n}/ctl", v + "\n")
    op.__name__ = "op_" + v
    return op


def op_rmdir(rng, n):
    os.rmdir(f"{MNT}/{n}")


def op_exec(rng, n):
    word = f"w{rng.randrange(10**6)}"
    fd = os.open(f"{MNT}/{n}/exec", os.O_RDWR)
    try:
        os.write(fd, f"echo {word}".encode())
        out = b""
        while piece := os.read(fd, 4096):
            out += piece
        # Its output is all there, or it was hung up.
        if not (word + "\n").encode().startswith(out):
            finding(f"exec of {word} printed {out!r}")
    finally:
        os.close(fd)


def op_exec_killed(rng, n):
    p = subprocess.Popen(["sh", "-c", f"echo 'sleep {rng.randrange(1, 30)}' > {MNT}/{n}/exec"],
                         stderr=subprocess.DEVNULL)
    time.sleep(rng.random())
    p.kill()
    if p.wait(timeout=60) == 0:
        pass


def new_job(n, argv, keep):
    fd = os.open(f"{MNT}/{n}/jobs/clone", os.O_RDWR)
    number = os.read(fd, 16).decode().strip()
    try:
        put(f"{n}/jobs/{number}/argv", "\0".join(argv) + "\0")
        if keep:
            put(f"{n}/jobs/{number}/ctl", "keep\n")
        put(f"{n}/jobs/{number}/ctl", "start\n")
    except OSError:
        os.close(fd)
        raise
    return number, fd


def op_job(rng, n):
    count = rng.randrange(1, 60000)
    number, fd = new_job(n, ["sh", "-c", f"seq {count}; exit 9"], False)
    try:
        out = os.open(f"{MNT}/{n}/jobs/{number}/stdout", os.O_RDONLY)
        try:
            data = b""
            while piece := os.read(out, 65536):
                data += piece
        finally:
            os.close(out)
        reason = dict(x.split(" ", 1) for x in get(f"{n}/jobs/{number}/status").splitlines()).get("reason")
        want = b"".join(b"%d\n" % i for i in range(1, count + 1))
        if reason == "exited" and not want.endswith(data):
            finding(f"job {number} of {n}: its output is not that of seq {count}")
    finally:
        os.close(fd)


def op_job_kept(rng, n):
    ident = get(f"{n}/id").strip()
    number, fd = new_job(n, ["sh", "-c", "while :; do echo x; sleep 1; done"], True)
    os.close(fd)
    with lock:
        kept.add((ident, number))


def op_values(rng, n):
    put(f"{n}/cpus", f"{rng.randrange(1, 3)}\n")
    fd = os.open(f"{MNT}/{n}/env/V{rng.randrange(5)}", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"value\n")
    os.close(fd)


def op_config(rng, n):
    text = get(f"{n}/config")
    put(f"{n}/config", text.replace("idle_timeout_sec: 0", "idle_timeout_sec: 3600"))


FAULTS = "error=create+write+unlink:EIO:0.05,delay=lookup+create+write:20ms:0.1"


def op_mounts(rng, n):
    table = rng.choice(["none /scratch memory\n", f"none /scratch memory {FAULTS}\n", "\n",
                        "none /a memory\nnone /a/b memory\n"])
    fd = os.open(f"{MNT}/{n}/mounts", os.O_WRONLY)
    try:
        os.write(fd, table.encode())
    finally:
        os.close(fd)


def op_files(rng, n):
    put(f"{n}/exec", "cd /scratch && for i in $(seq 30); do mkdir d; echo $i >d/$i; mv d/$i f; rm -r f d; done\n")


def op_policy(rng, n):
    put(f"{n}/restart", rng.choice(["no", "no", "on-failure:2", "always"]) + "\n")
    put(f"{n}/auto_remove", rng.choice("0001") + "\n")


def op_health(rng, n):
    put(f"{n}/healthcheck_interval_sec", "1\n")
    put(f"{n}/healthcheck", rng.choice(['["CMD", "true"]', '["CMD-SHELL", "sleep 1; exit 3"]', '["NONE"]']) + "\n")


def op_look(rng, n):
    for top, dirs, files in os.walk(f"{MNT}/{n}"):
        for f in files:
            try:
                get(os.path.relpath(f"{top}/{f}", MNT), os.O_NONBLOCK)
            except OSError as e:
                if e.errno not in FAIR | {errno.EACCES, errno.ENXIO, errno.EOPNOTSUPP}:
                    raise


def op_root(rng, n):
    os.listdir(f"{MNT}/{n}/root/")
    with open(f"{MNT}/{n}/root/etc/chaos", "w") as f:
        f.write(n)


def op_wait_killed(rng, n):
    p = subprocess.Popen(["cat", f"{MNT}/{n}/wait"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(rng.random())
    p.kill()
    p.wait(timeout=60)


def op_gc(rng, n):
    put("ctl", "gc\n")
    put("images/ctl", "verify bb\n")


def op_cli(rng, n):
    p = subprocess.Popen([os.path.join(os.path.dirname(MSBD), "msb"), "start", n], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    time.sleep(rng.random() * 3)
    p.kill()
    p.wait(timeout=60)


def op_kill_msbd(rng, n):
    kill_msbd(rng)


def op_freeze(rng, n):
    freeze_some(rng)


def killer(kind):
    def op(rng, n):
        kill_some(rng, kind)
    op.__name__ = "op_kill_" + kind
    return op


TABLE = ([op_start] * 14 + [op_mkdir] * 4 + [verb("stop")] * 4 + [verb("kill")] * 4 + [verb("pause")] * 3 +
         [verb("resume")] * 4 + [verb("restart")] * 2 + [op_rmdir] * 4 + [op_exec] * 10 + [op_exec_killed] * 4 +
         [op_job] * 6 + [op_job_kept] * 5 + [op_values] * 4 + [op_config] * 3 + [op_mounts] * 5 + [op_files] * 4 +
         [op_policy] * 3 + [op_health] * 2 + [op_look] * 4 + [op_root] * 4 + [op_wait_killed] * 3 + [op_gc] * 2 +
         [op_cli] * 3 + [op_kill_msbd] * 4 + [killer("msb-vmm")] * 3 + [killer("msb-agentd")] * 3 +
         [killer("msb-fsd")] * 3 + [killer("qemu")] * 3 + [op_freeze] * 4)


def answers():
    try:
        os.stat(MNT + "/version")
        return True
    except OSError:
        return False


def await_msbd():
    """Until it answers. Who kills it starts another one: without that it must not have ended."""
    while not answers():
        time.sleep(0.05)
        with msbd_lock:
            if not answers() and not msbd_pid():
                finding("msbd ended by itself; see the kernel's log")
                start_msbd("after it ended by itself")


def client(i):
    global left
    rng = random.Random(SEED * 1000 + i)
    while True:
        with lock:
            if left <= 0:
                doing.pop(i, None)
                return
            left -= 1
            number = OPS - left
        op, n = rng.choice(TABLE), rng.choice(NAMES)
        time.sleep(rng.random() * PAUSE_SEC)
        doing[i] = (f"{number} {op.__name__[3:]} {n}", time.monotonic())
        await_msbd()
        try:
            op(rng, n)
            said = "ok"
        except OSError as e:
            said = errno.errorcode.get(e.errno, str(e.errno))
            if e.errno not in FAIR:
                finding(f"{doing[i][0]}: {e}: {last_error()}")
        except Exception as e:  # a client that breaks is a finding as well
            said = repr(e)
            finding(f"{doing[i][0]}: {e!r}")
        say(f"client {i}: {doing[i][0]}: {said} ({time.monotonic() - doing[i][1]:.1f} s)")
        doing.pop(i, None)


def last_error():
    try:
        return get("error").strip()
    except OSError as e:
        return str(e)


def watch():
    while True:
        time.sleep(1)
        for i, (what, since) in list(doing.items()):
            if time.monotonic() - since > STUCK_SEC:
                print(f"FINDING client {i} is stuck in {what}", flush=True)
                print(f"chaos: seed {SEED}: FAILED", flush=True)
                os._exit(1)


# ---- afterwards


def until(what, seconds, fn):
    end = time.monotonic() + seconds
    while True:
        why = fn()
        if not why:
            return True
        if time.monotonic() > end:
            finding(f"{what}: {why}")
            return False
        time.sleep(0.1)


def sandboxes():
    return sorted(n for n in os.listdir(MNT) if n in NAMES)


def settled():
    for n in sandboxes():
        try:
            s = status(n)
        except OSError as e:
            return f"{n}: {e}"  # it has just gone by itself
        seen.add(s["id"])  # msbd may have been killed before its maker learnt it
        if s["state"] not in ("created", "running", "paused", "stopped", "failed"):
            return f"{n} is {s['state']}"
        if s.get("restart_in_ms", "0") not in ("", "0"):
            return f"{n} starts again in {s['restart_in_ms']} ms"
    return None


def rows(sql):
    db = sqlite3.connect(f"file:{STATE}/msb.db?mode=ro", uri=True)
    try:
        return sorted(db.execute(sql).fetchall())
    finally:
        db.close()


def check_db():
    tree = sorted((n, get(f"{n}/id").strip(), get(f"{n}/state").strip()) for n in sandboxes())
    have = sorted((n, i, dict(rows(f"SELECT key, value FROM vals WHERE id = '{i}'")).get(".state", "created"))
                  for n, i in rows("SELECT name, id FROM sandboxes"))
    if rows("PRAGMA integrity_check") != [("ok",)]:
        finding("SQLite: integrity_check")
    if tree != have:
        finding(f"tree {tree}, SQLite {have}")
    stray = rows("SELECT id FROM vals WHERE id NOT IN (SELECT id FROM sandboxes)")
    if stray:
        finding(f"SQLite: values of no sandbox: {stray}")
    for n, i, _ in tree:
        values = dict(rows(f"SELECT key, value FROM vals WHERE id = '{i}'"))
        for key in ("cpus", "restart"):
            if key in values and get(f"{n}/{key}").strip() != values[key]:
                finding(f"{n}/{key}: tree and SQLite differ")
    dirs = sorted(os.listdir(f"{STATE}/sandboxes"))
    if dirs != sorted(i for _, i, _ in tree):
        finding(f"directories {dirs}, sandboxes {[i for _, i, _ in tree]}")


def processes_wrong():
    known, wrong = set(), []
    pids = mine()
    for n in sandboxes():
        s = status(n)
        here = {k: int(s[k + "_pid"]) for k in ("qemu", "agent", "fsd") if s[k + "_pid"] not in ("0", "-1")}
        known |= set(here.values())
        for k, p in here.items():
            if p not in pids:
                wrong.append(f"{n}'s {k} {p} is not there")
        if s["state"] in ("running", "paused") and len(here) != 3:
            wrong.append(f"{n} is {s['state']} with {here}")
        if s["state"] not in ("running", "paused") and ("qemu" in here or "agent" in here):
            wrong.append(f"{n} is {s['state']} with {here}")
    for pid, cmd in pids.items():
        base = os.path.basename(cmd.split()[0])
        if base.startswith(("qemu", "msb-agentd")) and pid not in known:
            wrong.append(f"nobody's: {pid} {cmd[:100]}")
        if base.startswith("msb-fsd") and pid not in known and cmd.split()[-1] in NAMES:
            wrong.append(f"nobody's: {pid} {cmd}")
    return "; ".join(wrong) or None


def check_guests():
    for n in sandboxes():
        state = get(f"{n}/state").strip()
        if state == "paused":
            put(f"{n}/ctl", "resume\n")
        if get(f"{n}/state").strip() != "running":
            continue
        fd = os.open(f"{MNT}/{n}/exec", os.O_RDWR)
        try:
            os.write(fd, b"echo alive; cat /proc/mounts")
            out = b""
            while piece := os.read(fd, 65536):
                out += piece
            if not out.startswith(b"alive\n"):
                finding(f"{n} runs and answers {out[:200]!r}")
            table = [x.split()[1] for x in get(f"{n}/mounts").splitlines()]
            there = [x.split()[1] for x in out.decode().splitlines()[1:] if x.split()[1] in ("/scratch", "/a", "/a/b")]
            if sorted(table) != sorted(there):
                finding(f"{n}: mounts says {table}, the guest has {there}")
        except OSError as e:
            finding(f"{n} runs and does not: {e}: {last_error()}")
        finally:
            os.close(fd)


def check_jobs():
    for n in sandboxes():
        ident, state = get(f"{n}/id").strip(), get(f"{n}/state").strip()
        for number in filter(str.isdigit, os.listdir(f"{MNT}/{n}/jobs")):
            s = dict((x.split(" ", 1) + [""])[:2] for x in get(f"{n}/jobs/{number}/status").splitlines())
            if s["state"] in ("starting", "running") and state not in ("running", "paused"):
                finding(f"{n} is {state}, its job {number} {s['state']}")
            if s["state"] in ("created", "ended") and s["keep"] != "1":
                finding(f"{n}: job {number} is {s['state']}, and nobody keeps it")
            if s["state"] == "running" and s["keep"] == "1" and (ident, number) not in kept:
                finding(f"{n}: job {number} is kept, and nobody asked for it")


def check_mounts():
    here = [x.split()[4] for x in open("/proc/self/mountinfo") if f" {os.path.dirname(MNT)}/" in x]
    if here.count(MNT) != 1:
        finding(f"mounted {here.count(MNT)} times at {MNT}")
    ids = {get(f"{n}/id").strip() for n in sandboxes()}
    for x in here:
        if x != MNT and not any(i in x for i in ids) and "/img" not in x and "images" not in x:
            say(f"another mount: {x}")
    return here


def fds():
    pid = msbd_pid()
    return sorted(os.readlink(f"/proc/{pid}/fd/{f}").split(":")[0] for f in os.listdir(f"/proc/{pid}/fd")
                  if os.path.lexists(f"/proc/{pid}/fd/{f}"))


def remove_all():
    for n in sandboxes():
        put(f"{n}/restart", "no\n")
        put(f"{n}/auto_remove", "0\n")
        put(f"{n}/ctl", "kill\n")
        os.rmdir(f"{MNT}/{n}")


def files():
    found = []
    for top, dirs, names in os.walk(STATE):
        for x in names + [d for d in dirs]:
            found.append(os.path.relpath(f"{top}/{x}", STATE))
    return sorted(found)


def check_left(before):
    def why():
        extra = [f"{p} {c[:80]}" for p, c in mine().items()
                 if os.path.basename(c.split()[0]).startswith(("qemu", "msb-agentd")) or c.split()[-1] in NAMES]
        return "; ".join(extra) or None
    until("processes are left", 120, why)
    for sub in ("sandboxes", "run/sb"):
        have = [x for x in os.listdir(f"{STATE}/{sub}")] if os.path.isdir(f"{STATE}/{sub}") else []
        images = {i for (i,) in rows("SELECT id FROM images")}
        if set(have) - images:
            finding(f"{sub} holds {sorted(set(have) - images)}")
    if rows("SELECT COUNT(*) FROM vals") != [(0,)]:
        finding("SQLite: values are left")
    mounts = check_mounts()

    # The first msbd has seen no sandbox: the machine worker's socket and the like come with the first.
    def open_still():
        now = fds()
        return f"{len(now)}, {len(before)} when it was new: {now}" if len(now) > len(before) + 12 else None
    until("descriptors of msbd", 60, open_still)
    say(f"{len(fds())} descriptors ({len(before)} at the beginning), {len(mounts)} mounts, {len(mine())} processes")


def main():
    print(f"chaos: seed {SEED}, {OPS} operations, {CLIENTS} clients", flush=True)
    before = fds()
    first = [threading.Thread(target=op_start, args=(None, n)) for n in NAMES]
    for t in first:
        t.start()
    for t in first:
        t.join()
    threading.Thread(target=watch, daemon=True).start()
    clients = [threading.Thread(target=client, args=(i,), daemon=True) for i in range(CLIENTS)]
    for t in clients:
        t.start()
    for t in clients:
        t.join()
    if not msbd_pid():
        start_msbd("at the end")
    doing["end"] = ("the end", time.monotonic())
    steps = [
        lambda: until("not settled", 300, settled),
        check_db,
        lambda: until("processes", 120, processes_wrong),
        check_jobs,
        check_guests,
        check_mounts,
        lambda: put("images/ctl", "verify\n"),
        remove_all,
        lambda: check_left(before),
    ]
    for step in steps:
        try:
            step()
        except OSError as e:
            finding(f"afterwards: {step.__name__}: {e}: {last_error()}")
    print(f"chaos: seed {SEED}: {len(findings)} findings", flush=True)
    for f in findings:
        print("  " + f)
    return 1 if findings else 0


sys.exit(main())
