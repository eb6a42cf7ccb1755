# SPDX-License-Identifier: Apache-2.0
"""Saves and restores a real machine with open files, by hand: QEMU, its monitor, a file server.

    migrate.py DIR SHARE [idle] [stop|live]... [-- NAME=BACKEND:SOURCE...]

DIR is empty and short; SHARE holds vmlinux and migrate.initramfs. Each `stop` or `live` is one save
into a file, with the machine stopped before or at work; then QEMU and the file server are killed,
and new ones go on. After each the guest checks all that it holds. Prints a line a step.
"""
import json
import os
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "..", "..", "build")
SECONDS = 180


class Failed(Exception):
    pass


def connect(path, seconds=SECONDS):
    end = time.monotonic() + seconds
    while True:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            return s
        except OSError:
            s.close()
            if time.monotonic() > end:
                raise Failed(f"{path}: nobody listens")
            time.sleep(0.01)


class Monitor:
    def __init__(self, path):
        self.file = connect(path).makefile("rw")
        self.file.readline()
        self.do("qmp_capabilities")

    def do(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                raise Failed(f"{command}: QEMU is gone")
            answer = json.loads(line)
            if "error" in answer:
                raise Failed(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def until(self, what, command, key, want, fail=()):
        end = time.monotonic() + SECONDS
        while True:
            now = self.do(command).get(key)
            if now in want:
                return
            if now in fail or time.monotonic() > end:
                raise Failed(f"{what}: {now}")
            time.sleep(0.02)


class Machine:
    """QEMU and the file server; `state` is what an earlier one was saved to."""

    def __init__(self, top, share, idle, mounts, state=None):
        for name in ("qmp", "console", "root", "shares", "control"):
            if os.path.exists(f"{top}/{name}"):
                os.unlink(f"{top}/{name}")
        self.top = top
        self.server = subprocess.Popen(
            [f"{BUILD}/e2e/fsserve", top] + mounts,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.server.stdout.readline().strip()
        if not self.pid:
            raise Failed("the file server does not start")
        argv = [
            "qemu-system-x86_64", "-machine", "q35,accel=tcg,memory-backend=mem", "-cpu", "max",
            "-m", "192M", "-smp", "2", "-object", "memory-backend-memfd,id=mem,size=192M,share=on",
            "-nodefaults", "-display", "none", "-no-reboot",
            "-bios", "qboot.rom",
            "-kernel", f"{share}/vmlinux", "-initrd", f"{share}/migrate.initramfs",
            "-append", "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check "
            "cryptomgr.notests mitigations=off no5lvl" + (" nothing=1" if idle else ""),
            "-qmp", f"unix:{top}/qmp,server=on,wait=off",
            "-serial", f"unix:{top}/console,server=on,wait=off"]
        for tag in ("root", "shares"):
            argv += ["-chardev", f"socket,id={tag},path={top}/{tag}", "-device",
                     f"vhost-user-fs-pci,chardev={tag},tag={tag},queue-size=1024,"
                     "num-request-queues=2"]
        if state:
            argv += ["-incoming", f"file:{state}"]
        self.qemu = subprocess.Popen(argv)
        self.console = connect(f"{top}/console").makefile("rw", newline="\n")
        self.monitor = Monitor(f"{top}/qmp")
        if state:
            # Paused where it was stopped before it was saved.
            self.monitor.until("incoming", "query-status", "status", ["running", "paused"])
            self.monitor.do("cont")

    def expect(self, word):
        """The rest of the line that starts with it."""
        signal.alarm(SECONDS)
        while True:
            line = self.console.readline()
            if not line:
                raise Failed("the machine is gone")
            line = line.strip()
            if line.startswith("bad") or "anic" in line:
                raise Failed(line)
            if line.startswith(word):
                signal.alarm(0)
                return line

    def check(self):
        self.console.write("check\n")
        self.console.flush()
        return self.expect("ok")

    def save(self, path, live):
        m = self.monitor
        m.do("migrate-set-parameters", **{"max-bandwidth": 1 << 30, "downtime-limit": 300})
        if not live:
            m.do("stop")
        m.do("migrate", uri=f"file:{path}")
        m.until("save", "query-migrate", "status", ["completed"], ["failed", "cancelled"])
        return m.do("query-migrate")["ram"].get("dirty-sync-count", 0)

    def kill(self):
        self.qemu.kill()
        self.qemu.wait()
        try:
            os.kill(int(self.pid), signal.SIGKILL)
        except OSError:
            pass
        self.server.stdin.close()
        self.server.wait()


def main():
    args = sys.argv[1:]
    mounts = []
    if "--" in args:
        mounts = args[args.index("--") + 1:]
        args = args[:args.index("--")]
    top, share = args[:2]
    idle = "idle" in args
    machine = Machine(top, share, idle, mounts)
    try:
        machine.expect("ready")
        print("started", machine.check(), flush=True)
        for n, how in enumerate(a for a in args[2:] if a != "idle"):
            state = f"{top}/state"
            passes = machine.save(state, how == "live")
            machine.kill()
            machine = Machine(top, share, idle, mounts, state)
            os.unlink(state)
            print(f"{how} restored, {passes} passes:", machine.check(), flush=True)
    finally:
        machine.kill()


try:
    main()
except Failed as e:
    sys.exit(f"migrate.py: {e}")
