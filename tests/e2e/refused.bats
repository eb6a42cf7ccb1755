# SPDX-License-Identifier: Apache-2.0
# Starts that cannot be: each gives its errno and a sentence in time, and leaves nothing behind.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	export MSB_SHARE=$repo/build/share/msb
	"$bin/msbd"
	msb_image
	"$bin/msbd" --stop
}

teardown_file() {
	msb_teardown
}

teardown() {
	cd /
	echo kill >"$m/box/ctl"
	rmdir "$m/box"
	"$bin/msbd" --stop --all
}

# refused ERRNO-TEXT SENTENCE-PART: of a start that has to fail
refused() {
	fails "$1" "$2" "$m/box/error" "echo start > $m/box/ctl"
	[ "$(cat "$m/box/state")" = failed ]
	[ "$(status_of box reason)" = "$(cat "$m/box/error")" ]
	[ "$(status_of box qemu_pid)" = 0 ]
	[ "$(status_of box agent_pid)" = 0 ]
	[ "$(find "$dir/s/run/sb/$(cat "$m/box/id")" -mindepth 1 ! -name 'fsd*' | wc -l)" = 0 ]
	[ "$(cat "$m/box/wait")" = failed ]
}

@test "QEMU is not there" {
	MSB_QEMU=/nonexistent/qemu "$bin/msbd"
	sandbox box
	refused "No such file" "/nonexistent/qemu"
}

@test "the kernel is not there" {
	MSB_KERNEL=/nonexistent/kernel "$bin/msbd"
	sandbox box
	refused "No such file" "/nonexistent/kernel"
}

@test "the host lacks the memory" {
	"$bin/msbd"
	sandbox box memory_bytes=1T
	refused "Cannot allocate memory" "memory"
	echo 128M >"$m/box/memory_bytes"
	echo start >"$m/box/ctl"
	[ "$(guest box 'echo well')" = well ]
}

@test "a kernel that panics: the console is kept" {
	mkdir "$dir/share"
	cp -l "$MSB_SHARE"/vmlinu* "$dir/share" 2>/dev/null || cp "$MSB_SHARE"/vmlinu* "$dir/share"
	: | cpio --quiet -o -H newc | gzip >"$dir/share/initramfs"
	MSB_SHARE=$dir/share "$bin/msbd"
	sandbox box
	refused "Input/output error" "panic"
	grep -q 'Kernel panic' "$m/box/console"
}

@test "a mount source that vanished: as before, not failed" {
	"$bin/msbd"
	sandbox box
	echo "$dir/nothing /x passthrough" >"$m/box/mounts"
	fails "No such file" "$dir/nothing" "$m/box/error" "echo start > $m/box/ctl"
	[ "$(cat "$m/box/state")" = created ]
}

@test "more readers than there may be: EAGAIN, and kill gets through" {
	"$bin/msbd"
	sandbox box
	echo start >"$m/box/ctl"
	timeout 300 python3 - "$m/box" <<-'PY'
	import errno, os, sys, threading, time
	box = sys.argv[1]
	max_readers = 512
	got = []
	def reader():
	    fd = os.open(box + "/wait", os.O_RDONLY)
	    try:
	        got.append(os.read(fd, 100))
	    except OSError as e:
	        got.append(e.errno)
	    os.close(fd)
	threading.stack_size(256 << 10)
	threads = [threading.Thread(target=reader) for _ in range(max_readers + 8)]
	for t in threads: t.start()
	end = time.time() + 120
	while len(got) < 8 and time.time() < end: time.sleep(0.05)
	assert got == [errno.EAGAIN] * 8, got
	assert open(box + "/state").read() == "running\n"
	with open(box + "/ctl", "w") as f: f.write("kill\n")
	for t in threads: t.join()
	assert got[8:] == [b"stopped\n"] * max_readers, got
	PY
	grep -q EAGAIN "$m/errors"
}

@test "more open files than there may be: ENFILE" {
	"$bin/msbd"
	sandbox box
	[ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -gt 16600 ] || skip "the hard limit of descriptors is $(ulimit -Hn)"
	ulimit -n 16600
	python3 - "$m/version" "$m/images" <<-'PY'
	import errno, os, sys
	fds = []
	try:
	    # directories as well
	    for n in range(16384 + 1): fds.append(os.open(sys.argv[1 + n % 2], os.O_RDONLY))
	    assert False
	except OSError as e:
	    assert e.errno == errno.ENFILE, e
	assert len(fds) == 16384, len(fds)
	PY
	[ "$(cat "$m/version")" != "" ]
}
