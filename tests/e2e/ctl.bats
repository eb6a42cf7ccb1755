# SPDX-License-Identifier: Apache-2.0
# The control tree without a guest: its rules, from the shells and tools that people use.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	"$bin/msbd"
}

teardown_file() {
	msb_teardown
}

setup() {
	name=t$BATS_TEST_NUMBER
	mkdir "$m/$name"
	cd "$m/$name"
}

teardown() {
	cd /
	[ ! -e "$m/$name" ] || rmdir "$m/$name"
}

@test "mkdir and rmdir make and destroy; names are checked" {
	[ "$(cat state)" = created ]
	[[ $(cat id) =~ ^[0-9a-f]{32}$ ]]
	first=$(cat id)
	rmdir "$m/$name"
	[ ! -e "$m/$name" ]
	mkdir "$m/$name"
	[ "$(cat "$m/$name/id")" != "$first" ]
	fails "File exists" "" "" "mkdir $m/$name"
	fails "Invalid argument" "not a sandbox name" "$m/error" "mkdir $m/Upper"
	fails "not permitted" "reserved" "$m/error" "mkdir $m/snapshots"
	fails "not permitted" "beside the sandboxes" "$m/error" "mkdir $m/images/x"
	fails "not permitted" "only sandboxes" "$m/error" "rmdir $m/images"
}

@test "rm -rf, mv, ln, cp and sed -i are refused and change nothing" {
	echo v >env/X
	ls -R . >"$dir/before"
	run ! rm -rf "$m/$name"
	run ! mv cpus cpus2
	run ! ln cpus cpus2
	run ! ln -s cpus cpus2
	run ! cp cpus cpus2
	run ! sed -i s/1/2/ cpus
	run ! touch newfile
	ls -R . | diff "$dir/before" -
	[ "$(cat cpus)" = 1 ]
	[ "$(cat env/X)" = v ]
	run ! mv "$m/$name" "$m/other"
	[ -d "$m/$name" ]
}

@test "values are set by every shell and tool, and read back" {
	bash -c 'echo 2 > cpus'; [ "$(cat cpus)" = 2 ]
	dash -c 'echo 3 > cpus'; [ "$(cat cpus)" = 3 ]
	busybox sh -c 'echo 4 > cpus'; [ "$(cat cpus)" = 4 ]
	printf 5 >cpus; [ "$(cat cpus)" = 5 ]
	python3 -c 'open("cpus", "w").write("6\n")'; [ "$(cat cpus)" = 6 ]
	python3 -c 'open("cpus", "r+").write("7")'; [ "$(cat cpus)" = 7 ]
	echo 8 | dd of=cpus status=none; [ "$(cat cpus)" = 8 ]
	echo 9 | dd of=cpus conv=notrunc status=none; [ "$(cat cpus)" = 9 ]
	echo 10 | tee cpus >/dev/null; [ "$(cat cpus)" = 10 ]
	echo 11 >"$dir/value"; cp "$dir/value" cpus; [ "$(cat cpus)" = 11 ]
	cat "$dir/value" >memory_bytes && false
	echo 12 >>cpus; [ "$(cat cpus)" = 12 ]
	busybox dd if=cpus of="$dir/out" 2>/dev/null; [ "$(cat "$dir/out")" = 12 ]
	cp cpus "$dir/out"; [ "$(cat "$dir/out")" = 12 ]
	[ "$(head -c 1 cpus)" = 1 ]
	[ "$(tail -c 2 cpus)" = 2 ]
	read -r v <cpus; [ "$v" = 12 ]
}

@test "truncating changes nothing" {
	echo 3 >cpus
	: >cpus
	truncate -s 0 cpus
	python3 -c 'open("cpus", "w").close()'
	[ "$(cat cpus)" = 3 ]
	: >ctl
	: >exec
}

@test "a bad value is refused in write(2), with a sentence, and changes nothing" {
	fails "Invalid argument" "not \`many\`" error "echo many > cpus"
	fails "out of range" "1 to 64" error "echo 65 > cpus"
	fails "out of range" "64M to 1T" error "echo 1M > memory_bytes"
	fails "Invalid argument" "no upper-case" error "echo None > image"
	for user in a:b:c:d :a a: a::c a:b: 'a b'; do fails "Invalid argument" "is not a user" error "echo '$user' > user"; done
	# bash, and everything else that uses stdio, hands over a line of this length in one piece
	fails "too long" "4096" error "head -c 5000 /dev/zero | tr '\0' x > hostname"
	fails "too long" "4096" error "echo $(printf '%05000d' 0) > exec"
	fails "Invalid argument" "NUL" error "printf 'a\0b' > hostname"
	fails "Invalid argument" "verb" error "echo fly > ctl"
	fails "Invalid argument" "import PATH NAME" "$m/error" "echo 'import /x' > $m/images/ctl"
	fails "Operation not supported" "passthrough" error "echo '/a /b nfs' > mounts"
	[ "$(cat cpus)" = 1 ]
	[ "$(cat "$m/error")" = "$(cat error)" ]
	jq -es '.[-1] | .errno == "EOPNOTSUPP" and .uid == 0 and (.path | endswith("/mounts"))' "$m/errors"
}

@test "read-only files refuse writing" {
	for f in state status error id console log events wait; do
		fails "" "" "" "echo x > $f"
	done
}

@test "several lines in one write; the lines before a bad one take effect" {
	run python3 - <<-'PY'
	import os, errno
	fd = os.open("mounts", os.O_WRONLY)
	data = b"/tmp /a passthrough\n/tmp /b passthrough ro\nbad\n/tmp /c passthrough\n"
	n = os.write(fd, data)
	assert n == data.index(b"bad"), n
	try:
	    os.write(fd, data[n:])
	    assert False
	except OSError as e:
	    assert e.errno == errno.EINVAL, e
	PY
	echo "$output"
	[ "$status" = 0 ]
	printf '%s\n' '/tmp /a passthrough rw' '/tmp /b passthrough ro' | diff mounts -
	echo '/var /c passthrough' >>mounts
	[ "$(wc -l <mounts)" = 3 ]
	printf '/x\\040y /d passthrough\n/y /e passthrough\n' >mounts
	[ "$(head -n 1 mounts)" = '/x\040y /d passthrough rw' ]
	[ "$(wc -l <mounts)" = 2 ]
	cp mounts "$dir/mounts"
	cat "$dir/mounts" >mounts
	diff mounts "$dir/mounts"
	echo >mounts
	[ -z "$(cat mounts)" ]
}

@test "variables: made by writing, unset by a verb, never by unlink" {
	echo 'a b' >env/FOO
	[ "$(cat env/FOO)" = 'a b' ]
	echo >env/FOO
	[ "$(cat env/FOO)" = '' ]
	run ! rm env/FOO
	grep -q unset error
	fails "Invalid argument" "name" error "echo x > env/1X"
	echo 'unset FOO' >ctl
	[ ! -e env/FOO ]
	fails "No such file" "not set" error "echo 'unset FOO' > ctl"
}

@test "a read-write descriptor of ctl answers what was written on it" {
	exec 5<>ctl 6<>ctl
	echo 'unset A' >&5 || true
	echo 'stop' >&5
	echo 'kill' >&6
	run cat <&5
	[ "${lines[0]}" = "error ENOENT variable A is not set" ]
	[ "${lines[1]}" = ok ]
	[ ${#lines[@]} = 2 ]
	[ "$(cat <&6)" = ok ]
	exec 5>&- 6>&-
	grep -qx start ctl
}

@test "verbs that the state does not need are done; others are refused" {
	echo stop >ctl
	echo kill >ctl
	fails "busy" "it is created" error "echo pause > ctl"
	fails "busy" "it is created" error "echo resume > ctl"
	fails "No such file" "no image" error "echo start > ctl"
	[ "$(cat state)" = created ]
	fails "busy" "start it first" error "echo true > exec"
	[ "$(readlink root)" = "(no image yet)" ]
	ls -l . >/dev/null
}

@test "a missing archive and a name that is taken are said" {
	fails "No such file" "/nowhere" "$m/error" "echo 'import /nowhere x' > $m/images/ctl"
	fails "Invalid argument" "absolute" "$m/error" "echo 'import here x' > $m/images/ctl"
	fails "No such file" "no image" "$m/error" "echo 'rm x' > $m/images/ctl"
	[ ! -e "$m/images/x" ]
	echo gc >"$m/ctl"
}

@test "owner and mode are the directory's" {
	[ "$(stat -c %a .)" = 700 ]
	[ "$(stat -c %a cpus)" = 600 ]
	chmod 0750 .
	[ "$(stat -c '%a %a' cpus)" = "640 640" ]
	[ "$(stat -c %a state)" = 440 ]
	chmod 0770 .
	[ "$(stat -c %a ctl)" = 660 ]
	run ! chmod 0777 cpus
	chown 65534:65534 .
	[ "$(stat -c %u:%g ctl)" = 65534:65534 ]
	setpriv --reuid 65534 --regid 65534 --clear-groups -- sh -c "echo 2 > $m/$name/cpus"
	[ "$(cat cpus)" = 2 ]
	run ! setpriv --reuid 12345 --regid 12345 --clear-groups -- cat "$m/$name/cpus"
	run ! setpriv --reuid 65534 --regid 65534 --clear-groups -- mkdir "$m/mine"
}

@test "another user of the host reaches neither the state file nor a view of the root" {
	[ "$(id -u)" = 0 ] || skip "needs root, to be two users"
	as() { setpriv --reuid "$1" --regid "$1" --clear-groups -- "${@:2}"; }
	for f in "$MSB_STATE"/msb.db*; do
		[ "$(stat -c %a "$f")" = 600 ]
		run ! as 12345 cat "$f"
	done
	msb_image || [ -d "$m/images/bb" ]
	echo bb >image
	ls root/etc/passwd
	view=$(readlink root)
	grep -q " $view " /proc/self/mountinfo # so its path is no secret
	run ! as 12345 ls "$view/"
	run ! as 12345 sh -c "echo x > $view/tmp/x"
	# Who is given the sandbox is given its view, which root's reader makes anew; the one before loses it.
	chown 12345:12345 .
	as 12345 ls "$m/$name/root/etc/passwd"
	as 12345 ls "$view/etc/passwd"
	chown 54321:54321 .
	run ! as 12345 ls "$view/etc/passwd"
	as 54321 ls "$m/$name/root/etc/passwd"
	run ! as 12345 ls "$view/etc/passwd"
	chmod 0770 .
	setpriv --reuid 12345 --regid 54321 --clear-groups -- ls "$view/etc/passwd"
	# An image is everybody's to read.
	as 12345 ls "$m/images/bb/rootfs/etc/passwd"
	# An older state file is made private as well.
	"$bin/msbd" --stop
	chmod 0644 "$MSB_STATE"/msb.db
	"$bin/msbd"
	[ "$(stat -c %a "$MSB_STATE/msb.db")" = 600 ]
	ls "$m/$name/root/etc/passwd"
	cd "$m/$name" # of the new mount
}

@test "a file server that hangs does not keep msbd from starting" {
	msb_image || [ -d "$m/images/bb" ]
	echo bb >image
	ls root/etc/passwd
	fsd=$(status_of "$name" fsd_pid)
	kill -STOP "$fsd"
	cd /
	"$bin/msbd" --stop
	run timeout 120 "$bin/msbd"
	kill -CONT "$fsd"
	[ "$status" = 0 ]
	ls "$m/$name/root/etc/passwd"
	cd "$m/$name"
}

@test "a text that takes long keeps nobody waiting, not even who polls it" {
	cd /
	"$bin/msbd" --stop
	mkdir -p "$MSB_STATE/run/libvirt"
	"$bin/msbd"
	python3 - "$m" "$MSB_STATE/run/libvirt/msb-vmm.lock" <<-'PY'
	import fcntl, os, select, signal, sys, threading, time
	signal.alarm(120)  # if it waited for the lock that we have, it would for ever
	lock = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT, 0o600)
	fcntl.flock(lock, fcntl.LOCK_EX)  # the machine worker waits for it, and `features` for the worker
	fd = os.open(sys.argv[1] + "/features", os.O_RDONLY)
	got = []
	t = threading.Thread(target=lambda: got.append(os.pread(fd, 4096, 0)))
	t.start()
	time.sleep(0.5)
	assert not got
	p = select.poll()
	p.register(fd)
	p.poll(100)
	threading.Thread(target=lambda: os.pread(fd, 10, 10)).start()
	assert open(sys.argv[1] + "/version").read()
	os.close(lock)
	t.join()
	assert got[0].startswith(b"accel ")
	PY
	cd "$m/$name"
}

@test "other users together open half of the files: the owner gets through" {
	[ "$(id -u)" = 0 ] || skip "needs root, to be two users"
	timeout 300 python3 - "$m" "$name" <<-'PY'
	import errno, os, resource, sys
	m, name = sys.argv[1:]

	def other(fn):
	    """fn as another user, who then stays until end(); what fn returned, and end"""
	    said, say = os.pipe()
	    wait, go = os.pipe()
	    if os.fork() == 0:
	        try:
	            os.close(go)
	            os.setgroups([]); os.setgid(12345); os.setuid(12345)
	            os.write(say, b"%d\n" % fn())
	            os.read(wait, 1)
	        finally:
	            os._exit(0)
	    os.close(say); os.close(wait)
	    n = int(os.read(said, 100) or -1)
	    def end():
	        os.close(go)
	        os.wait()
	    return n, end

	def owner():
	    for f in ("version", "log"):
	        assert open(f"{m}/{f}", "rb").read(1)
	    fd = os.open(f"{m}/{name}/ctl", os.O_RDWR)
	    os.write(fd, b"kill\n")
	    assert os.read(fd, 100) == b"ok\n"
	    os.close(fd)

	resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
	def opens():
	    n = 0
	    try:
	        while n < 16384:
	            os.open(m + "/version", os.O_RDONLY); n += 1
	    except OSError as e:
	        assert e.errno == errno.ENFILE, e
	    return n
	n, end = other(opens)
	assert n == 8192, n
	owner()
	end()
	n, end = other(lambda: os.open(m + "/version", os.O_RDONLY))
	assert n >= 0
	end()
	PY
}

@test "reads are snapshots, taken again at offset 0" {
	python3 - <<-'PY'
	import os
	fd = os.open("cpus", os.O_RDONLY)
	def put(v):
	    w = os.open("cpus", os.O_WRONLY); os.write(w, v); os.close(w)
	put(b"11")
	assert os.pread(fd, 1, 0) == b"1"
	put(b"22")
	assert os.pread(fd, 10, 1) == b"1\n"
	assert os.pread(fd, 10, 0) == b"22\n"
	assert os.pread(fd, 10, 3) == b""
	PY
}

@test "events: a stream that tail can follow, poll wakes" {
	grep -q '"event":"created"' events
	tail -n 1 "$m/events" | jq -e ".sandbox == \"$name\""
	timeout 300 tail -n +1 -f "$m/events" >"$dir/followed" &
	tail=$!
	timeout 300 python3 - "$m" "$dir/polls" <<-'PY' &
	import os, select, sys
	fd = os.open(sys.argv[1] + "/events", os.O_RDONLY)
	while os.read(fd, 65536): pass
	p = select.poll(); p.register(fd, select.POLLIN)
	assert not p.poll(0)
	open(sys.argv[2], "w").close()
	assert p.poll(100000), "poll did not wake"
	assert b"created" in os.read(fd, 65536)
	PY
	poller=$!
	until_is 9 0 sh -c "test -e $dir/polls; echo \$?"
	mkdir "$m/later"
	wait $poller
	rmdir "$m/later"
	until_is 3 2 grep -c '"later"' "$dir/followed"
	kill $tail
}

@test "poll on state: POLLPRI when it has changed since it was read" {
	timeout 300 python3 - "$dir/polls2" <<-'PY' &
	import os, select, sys
	fd = os.open("state", os.O_RDONLY)
	os.read(fd, 100)
	p = select.poll(); p.register(fd, select.POLLPRI)
	assert not p.poll(0)
	open(sys.argv[1], "w").close()
	assert p.poll(100000), "poll did not wake"
	PY
	poller=$!
	until_is 9 0 sh -c "test -e $dir/polls2; echo \$?"
	echo start >ctl || true
	wait $poller
}

@test "a removed sandbox ends its readers" {
	exec 5<state 6<events
	cat <&6 >/dev/null
	cd /
	rmdir "$m/$name"
	run ! cat <&5
	exec 5<&- 6<&-
}

@test "wait on a sandbox without a machine returns at once" {
	[ "$(timeout 60 cat wait)" = created ]
}

@test "concurrency: a hundred writers, a hundred sandboxes" {
	for i in $(seq 100); do
		echo $((i % 64 + 1)) >cpus &
	done
	wait
	[[ $(cat cpus) =~ ^[0-9]+$ ]]
	for i in $(seq 100); do mkdir "$m/many-$i" & done
	wait
	[ "$(find "$m" -maxdepth 1 -name 'many-*' | wc -l)" = 100 ]
	for i in $(seq 100); do rmdir "$m/many-$i" & done
	wait
	[ "$(find "$m" -maxdepth 1 -name 'many-*' | wc -l)" = 0 ]
	[ "$(ls "$dir/s/sandboxes" | wc -l)" = 1 ]
}

@test "kill -9 of msbd: the next one detaches the dead mount and has everything" {
	echo 5 >cpus
	echo kept >env/KEPT
	id=$(cat id)
	cd /
	pid=$(msbd_pid)
	kill -9 "$pid"
	until_is 2 1 bash -c "stat $m >/dev/null 2>&1; echo \$?"
	"$bin/msbd"
	[ "$(grep -c " $m " /proc/self/mountinfo)" = 1 ]
	[ "$(cat "$m/$name/cpus" "$m/$name/env/KEPT" "$m/$name/id")" = "$(printf '5\nkept\n%s' "$id")" ]
}

@test "a second msbd on the same state says so" {
	run -1 "$bin/msbd"
	[[ $output == *"another msbd serves $m"* ]]
}

@test "msbd --help, --version, bad options" {
	run -0 "$bin/msbd" --help
	[[ $output == *--foreground* && $output == *--stop* && $output == *--all* ]]
	[ "$(awk '{ if (length($0) > 80) n++ } END { print n + 0 }' <<<"$output")" = 0 ]
	run -0 "$bin/msbd" --version
	run -2 "$bin/msbd" --nonsense
	run -2 "$bin/msbd" argument
	run -2 "$bin/msbd" --all
}

@test "--foreground: a line without end in the log takes no memory" {
	mkdir "$dir/fg"
	python3 - "$bin/msbd" "$dir/fg" <<-'PY'
	import os, re, signal, socket, subprocess, sys
	bin, dir = sys.argv[1:]
	s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
	s.bind(dir + "/n"); s.settimeout(120)
	env = dict(os.environ, MSB_MNT=dir + "/m", MSB_STATE=dir + "/s", NOTIFY_SOCKET=dir + "/n")
	p = subprocess.Popen([bin, "--foreground"], env=env, stderr=subprocess.PIPE)
	while b"READY=1" not in s.recv(4096).split(b"\n"):
	    pass
	most = lambda: int(re.search(r"VmHWM:\s*(\d+)", open(f"/proc/{p.pid}/status").read())[1]) << 10
	open(f"/proc/{p.pid}/clear_refs", "w").write("5") # begins to count anew
	before = most()
	long = b"x" * (7 << 20) # as a process of ours that was taken over could; short of what is rotated
	with open(dir + "/s/run/msb.log", "ab") as f:
	    f.write(long + b"\nthe mark\n")
	seen = b""
	while b"the mark\n" not in seen:
	    seen += os.read(p.stderr.fileno(), 65536)
	took = most() - before
	p.send_signal(signal.SIGTERM)
	p.communicate(timeout=120)
	assert p.returncode == 0, p.returncode
	assert long in seen
	assert took < len(long) // 2, took
	PY
	rm -r "$dir/fg"
}

@test "--foreground: ready is told, the log is on stderr, SIGTERM ends it" {
	mkdir "$dir/fg"
	python3 - "$bin/msbd" "$dir/fg" <<-'PY'
	import os, signal, socket, subprocess, sys
	bin, dir = sys.argv[1:]
	s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
	s.bind(dir + "/n"); s.settimeout(120)
	env = dict(os.environ, MSB_MNT=dir + "/m", MSB_STATE=dir + "/s", NOTIFY_SOCKET=dir + "/n")
	p = subprocess.Popen([bin, "--foreground"], env=env, stderr=subprocess.PIPE, text=True)
	while b"READY=1" not in s.recv(4096).split(b"\n"):
	    pass
	assert os.path.exists(dir + "/m/version")
	p.send_signal(signal.SIGTERM)
	_, err = p.communicate(timeout=120)
	assert p.returncode == 0, p.returncode
	assert "serves " + dir in err, err
	assert not os.path.exists(dir + "/m/version")
	PY
}
