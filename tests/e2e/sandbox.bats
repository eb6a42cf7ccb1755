# SPDX-License-Identifier: Apache-2.0
# Sandboxes with real guests: verbs, commands, waiting and being interrupted, and every process killed once.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
}

teardown_file() {
	msb_teardown
}

setup() {
	name=t$BATS_TEST_NUMBER
}

teardown() {
	cd /
	if [ -z "$BATS_TEST_COMPLETED" ]; then
		tail -n 5 "$m/$name/console" "$m/log" || true
	fi
	for s in "$m/$name" "$m/other"; do
		[ -e "$s" ] || continue
		echo kill >"$s/ctl"
		rmdir "$s"
	done
}

# alive PID: it is there, and no zombie that nobody has reaped yet
alive() { [ "$(awk '{ print $3 }' "/proc/$1/stat" 2>/dev/null)" != "" ] && ! grep -q ') Z ' "/proc/$1/stat"; }

state_is() { [ "$(cat "$m/$1/state")" = "$2" ]; }

sleepers() { guest $name 'grep -lx sleep /proc/[0-9]*/comm'; }

@test "start, exec, stop; events tell it" {
	sandbox $name cpus=2 hostname=box env/GREETING='hello there' workdir=/tmp
	cd "$m/$name"
	echo start >ctl
	state_is $name running
	[ "$(guest $name 'hostname; echo $GREETING; pwd; nproc')" = "$(printf 'box\nhello there\n/tmp\n2')" ]
	echo true >exec
	fails "Remote I/O" "exit status 7" error "echo 'exit 7' > exec"
	fails "Remote I/O" "killed by signal 9" error "echo 'kill -9 \$\$' > exec"
	# what a command sees may change under a running machine, what the machine is made of may not
	echo changed >env/GREETING
	[ "$(guest $name 'echo $GREETING')" = changed ]
	echo nobody >user
	[ "$(guest $name 'id -un')" = nobody ]
	fails "busy" "cpus" error "echo 1 > cpus"
	fails "busy" "running" "$m/error" "rmdir $m/$name"
	[ "$(cat metrics/memory_bytes)" -gt 10000000 ]
	[ "$(cat metrics/cpu_usec)" -gt 1000 ]
	echo stop >ctl
	state_is $name stopped
	[ "$(cat metrics/memory_bytes)" = 0 ]
	[ "$(jq -r 'select(.event == "state").state' events | tr '\n' ' ')" = "starting running stopping stopped " ]
	[ -s console ]
	echo restart >ctl
	state_is $name running
	echo restart >ctl
	state_is $name running
	[ "$(guest $name 'cat /proc/uptime | cut -d. -f1')" -lt 60 ]
}

@test "wait: any number of readers, woken by the end" {
	sandbox $name
	echo start >"$m/$name/ctl"
	for i in 1 2 3; do cat "$m/$name/wait" >"$dir/w$i" & done
	run -1 dd if="$m/$name/wait" iflag=nonblock
	[[ $output == *"temporarily unavailable"* ]]
	echo kill >"$m/$name/ctl"
	wait
	[ "$(cat "$dir/w1" "$dir/w2" "$dir/w3")" = "$(printf 'stopped\nstopped\nstopped')" ]
}

@test "a guest that powers off is stopped, one that panics is failed with its console kept" {
	sandbox $name
	echo start >"$m/$name/ctl"
	echo 'echo o > /proc/sysrq-trigger; sleep 9' >"$m/$name/exec" || true
	until_is 5 stopped cat "$m/$name/state"
	[[ $(status_of $name reason) == *"powered off"* ]]
	echo start >"$m/$name/ctl"
	echo 'echo c > /proc/sysrq-trigger; sleep 9' >"$m/$name/exec" || true
	until_is 5 failed cat "$m/$name/state"
	grep -Eq 'panic|reset' "$m/$name/error"
	grep -q 'sysrq' "$m/$name/console"
	echo start >"$m/$name/ctl"
	state_is $name running
}

@test "start joins start; kill gets through a start; stop is refused meanwhile" {
	sandbox $name root_options=delay=lookup:1s # in which all of this fits
	echo start >"$m/$name/ctl" &
	first=$!
	until_is 5 starting cat "$m/$name/state"
	echo start >"$m/$name/ctl" &
	second=$!
	fails "busy" "kill ends it" "$m/$name/error" "echo stop > $m/$name/ctl"
	fails "busy" "" "" "echo true > $m/$name/exec"
	fails "busy" "" "" "rmdir $m/$name"
	echo kill >"$m/$name/ctl"
	run ! wait $first
	run ! wait $second
	state_is $name stopped
	[ "$(status_of $name reason)" = killed ]
	echo >"$m/$name/root_options"
	echo start >"$m/$name/ctl"
	state_is $name running
}

@test "a shell whose background job ends goes on waiting, and still hears a later signal" {
	sandbox $name
	bash -c "sleep 0.2 & echo start > $m/$name/ctl"
	state_is $name running
	bash -c "sleep 0.2 & echo 'sleep 1; echo done > /tmp/mark' > $m/$name/exec"
	[ "$(guest $name 'cat /tmp/mark')" = done ]
	bash -c "trap 'exit 7' TERM; sleep 0.2 & echo 'sleep 60' > $m/$name/exec" &
	local shell=$!
	until_is 20 yes eval 'sleepers | grep -q . && echo yes'
	kill -TERM $shell
	local status=0
	wait $shell || status=$?
	[ "$status" = 7 ]
	until_is 20 '' sleepers
}

@test "an interrupted start goes on; kill -9 of the writer frees it at once" {
	sandbox $name root_options=delay=lookup:300ms # so that both writers go while it starts
	python3 - "$m/$name" <<-'PY'
	import errno, os, signal, sys, time
	fd = os.open(sys.argv[1] + "/ctl", os.O_WRONLY)
	class Alarm(Exception): pass
	def on(*_): raise Alarm()
	signal.signal(signal.SIGALRM, on); signal.setitimer(signal.ITIMER_REAL, 0.3)
	try:
	    os.write(fd, b"start\n"); assert False
	except Alarm:
	    pass
	PY
	state_is $name starting
	bash -c "echo start > $m/$name/ctl" &
	writer=$!
	sleep 0.2
	kill -9 $writer
	wait $writer || true
	state_is $name starting
	echo start >"$m/$name/ctl"
	state_is $name running
	# a command whose writer goes is hung up
	bash -c "echo 'touch /began; sleep 1000' > $m/$name/exec" &
	writer=$!
	until_is 5 0 sh -c "test -e $m/$name/root/began; echo \$?"
	kill -9 $writer
	until_is 5 "" sleepers
	# and so is one whose descriptor is closed
	exec 7<>"$m/$name/exec"
	echo 'sleep 1001' >&7
	fails "busy" "not been read" "$m/$name/error" "echo x >&7"
	until_is 20 yes eval 'sleepers | grep -q . && echo yes'
	exec 7>&-
	until_is 5 "" sleepers
}

@test "exec streams, and a slow reader stops no other" {
	sandbox $name
	echo start >"$m/$name/ctl"
	exec 7<>"$m/$name/exec"
	echo 'yes' >&7
	[ "$(head -n 1 <&7)" = y ]
	[ "$(guest $name 'seq 100000 | sha256sum')" = "$(seq 100000 | sha256sum)" ]
	[ "$(guest $name 'head -c 5000000 /dev/zero' | wc -c)" = 5000000 ]
	exec 7>&-
	for i in $(seq 20); do guest $name "echo $i" >"$dir/p.$i" & done
	wait
	[ "$(cat "$dir"/p.* | sort -n | tr '\n' ' ')" = "$(seq -s ' ' 20) " ]
	rm "$dir"/p.*
	python3 - "$m/$name" <<-'PY'
	import errno, os, sys
	fd = os.open(sys.argv[1] + "/exec", os.O_RDWR | os.O_NONBLOCK)
	assert os.read(fd, 10) == b""
	os.write(fd, b"sleep 3; echo late; exit 4\n")
	try:
	    os.read(fd, 100); assert False
	except BlockingIOError:
	    pass
	os.set_blocking(fd, True)
	PY
}

@test "poll of exec: asleep until the command prints, and until it ends" {
	sandbox $name
	echo start >"$m/$name/ctl"
	timeout 600 python3 - "$m/$name" <<-'PY'
	import os, select, sys, threading
	sb = sys.argv[1]
	IN, HUP = select.POLLIN, select.POLLHUP

	def run(line):
	    w = os.open(sb + "/exec", os.O_WRONLY)
	    os.write(w, line + b"\n")
	    os.close(w)

	run(b"mkfifo /tmp/a /tmp/b")
	fd = os.open(sb + "/exec", os.O_RDWR | os.O_NONBLOCK)
	p = select.poll()
	p.register(fd, IN | select.POLLOUT)
	for code in (0, 4):
	    os.write(fd, b"cat /tmp/a; cat /tmp/b; exit %d\n" % code)
	    assert p.poll(200) == [], "ready before there is anything"
	    t = threading.Thread(target=run, args=(b"echo some > /tmp/a",)); t.start()
	    assert p.poll() == [(fd, IN)]
	    assert p.poll(0) == [(fd, IN)]
	    assert os.read(fd, 100) == b"some\n"
	    t.join()
	    assert p.poll(200) == [], "ready though all was read"
	    t = threading.Thread(target=run, args=(b": > /tmp/b",)); t.start()
	    assert p.poll()[0][1] & (IN | HUP) == IN | HUP
	    assert os.read(fd, 100) == b""
	    t.join()
	    assert p.poll()[0][1] & (IN | HUP) == IN | HUP
	assert "exit status 4" in open(sb + "/error").read()

	# An end that poll found and nobody read is told too; epoll wakes as well; so does a kill.
	os.write(fd, b"exit 5\n")
	p.poll()
	ep = select.epoll()
	ep.register(fd, select.EPOLLIN)
	os.write(fd, b"sleep 1; sleep 1000\n")
	assert "exit status 5" in open(sb + "/error").read()
	assert ep.poll(0.2) == []
	t = threading.Thread(target=lambda: open(sb + "/ctl", "w").write("kill\n")); t.start()
	assert ep.poll()[0][1] & IN
	assert os.read(fd, 100) == b""
	t.join()
	PY
}

@test "other users together have half of the requests that wait: the owner gets through" {
	[ "$(id -u)" = 0 ] || skip "needs root, to be two users"
	sandbox $name
	echo start >"$m/$name/ctl"
	chown 12345:12345 "$m/$name"
	timeout 300 python3 - "$m/$name/wait" >"$dir/refused" <<-'PY' &
	import errno, os, sys, threading
	os.setgroups([]); os.setgid(12345); os.setuid(12345)
	fd = os.open(sys.argv[1], os.O_RDONLY)
	def read():
	    try:
	        os.pread(fd, 100, 0)
	    except OSError as e:
	        os.write(1, b"%s\n" % errno.errorcode[e.errno].encode())
	for _ in range(256 + 20):
	    threading.Thread(target=read).start()
	PY
	readers=$!
	until_is 30 20 grep -c '^EAGAIN$' "$dir/refused"
	grep -q "256 requests of this kind, of users other" "$m/$name/error"
	[ -n "$(head -c 1 "$m/log")" ]
	[ "$(guest $name 'echo through')" = through ]
	echo kill >"$m/$name/ctl"
	wait $readers
	[ "$(wc -l <"$dir/refused")" = 20 ]
}

# in_time: the guest's clock is the host's
in_time() {
	local from=$EPOCHSECONDS clock
	clock=$(guest $name 'date +%s')
	[ "$clock" -ge $((from - 2)) ] || { echo "$clock, not from $from on"; return 1; }
	[ "$clock" -le $((EPOCHSECONDS + 1)) ]
}

@test "pause and resume" {
	sandbox $name
	echo start >"$m/$name/ctl"
	in_time
	echo pause >"$m/$name/ctl"
	echo pause >"$m/$name/ctl"
	state_is $name paused
	fails "busy" "resume it" "$m/$name/error" "timeout 60 bash -c 'echo true > $m/$name/exec'"
	fails "busy" "resume it" "$m/$name/error" "echo start > $m/$name/ctl"
	echo resume >"$m/$name/ctl"
	[ "$(guest $name 'echo on')" = on ]
	echo pause >"$m/$name/ctl"
	sleep 5 # for which the guest's clock stands still
	echo resume >"$m/$name/ctl"
	in_time
	echo pause >"$m/$name/ctl"
	echo stop >"$m/$name/ctl"
	state_is $name stopped
}

@test "the root, from both sides, and shares" {
	mkdir "$dir/rw" "$dir/ro"
	echo one >"$dir/ro/f"
	sandbox $name
	echo "from the host" >"$m/$name/root/etc/note"
	printf '%s /rw passthrough\n%s /deep/er/ro passthrough ro\n' "$dir/rw" "$dir/ro" >"$m/$name/mounts"
	echo start >"$m/$name/ctl"
	[ "$(guest $name 'cat /etc/note')" = "from the host" ]
	[ "$(guest $name 'cat /deep/er/ro/f; echo x > /rw/g; echo y > /deep/er/ro/h')" != "" ]
	[ "$(cat "$dir/rw/g")" = x ]
	[ ! -e "$dir/ro/h" ]
	run ! rm -rf "$m/$name"
	[ -e "$m/$name/root/etc/note" ]
	echo stop >"$m/$name/ctl"
	[ "$(cat "$m/$name/root/etc/note")" = "from the host" ]
	echo "import $repo/build/images/busybox cc" >"$m/images/ctl"
	fails "busy" "may hold changes" "$m/$name/error" "echo cc > $m/$name/image"
	fails "busy" "uses image" "$m/error" "echo 'rm bb' > $m/images/ctl"
	echo 'rm cc' >"$m/images/ctl"
	echo "$dir/none /x passthrough" >"$m/$name/mounts"
	fails "No such file" "mount source" "$m/$name/error" "echo start > $m/$name/ctl"
	state_is $name stopped
}

@test "what a guest believes to know of its root does not outlive the host's first look" {
	local i fd
	sandbox $name
	echo start >"$m/$name/ctl"
	guest $name 'mkdir -p /d/sub; echo old >/d/file; echo old >/d/held; ls -l /d >/dev/null; cat /d/new; true'
	# one command keeps a file open and is in a directory of it, so neither leaves the guest's caches
	exec {fd}<>"$m/$name/exec"
	echo 'cd /d/sub; exec 5</d/held; echo in; while [ ! -e /d/end ]; do sleep 0.2; done; cat <&5; cat /d/held' >&"$fd"
	read -r i <&"$fd"
	[ "$i" = in ]
	# the guest is asked nothing while it knows
	i=$(guest $name 'ls -l /d /d/sub >/dev/null; cat /d/file')
	[ "$i" = old ]
	# all of this happens where the guest's kernel believes something else
	cd "$m/$name/root/d"
	echo newer >file
	echo replaced >held.tmp
	mv held.tmp held
	echo there >new
	rmdir sub
	cd /
	until_is 20 newer guest $name 'cat /d/file'
	until_is 20 there guest $name 'cat /d/new'
	until_is 20 replaced guest $name 'cat /d/held'
	until_is 20 gone guest $name 'test -e /d/sub || echo gone'
	touch "$m/$name/root/d/end"
	[ "$(cat <&"$fd")" = "$(printf 'old\nreplaced')" ]
	exec {fd}>&-
	echo stop >"$m/$name/ctl"
}

@test "the image may change while nothing in the root did" {
	echo "import $repo/build/images/busybox cc" >"$m/images/ctl"
	sandbox $name
	ls "$m/$name/root/etc" >/dev/null
	cat "$m/$name/root/etc/passwd" >/dev/null
	echo cc >"$m/$name/image"
	echo bb >"$m/$name/image"
	echo x >"$m/$name/root/x"
	fails "busy" "may hold changes" "$m/$name/error" "echo cc > $m/$name/image"
	[ "$(cat "$m/$name/image" "$m/$name/root/x")" = "$(printf 'bb\nx')" ]
	echo 'rm cc' >"$m/images/ctl"
}

@test "kill -9 of QEMU: failed, with the reason; others do not notice" {
	sandbox $name
	sandbox other
	echo start >"$m/$name/ctl" & echo start >"$m/other/ctl" & wait
	cat "$m/$name/wait" >"$dir/ended" &
	kill -9 "$(status_of $name qemu_pid)"
	until_is 1 failed cat "$m/$name/state"
	wait
	[ "$(cat "$dir/ended")" = failed ]
	grep -q QEMU "$m/$name/error"
	[ "$(guest other 'echo fine')" = fine ]
	echo start >"$m/$name/ctl"
	[ "$(guest $name 'echo again')" = again ]
}

@test "kill -9 of the file server: failed, the machine ended, the view gone" {
	sandbox $name
	echo start >"$m/$name/ctl"
	ls "$m/$name/root/" >/dev/null
	qemu=$(status_of $name qemu_pid)
	kill -9 "$(status_of $name fsd_pid)"
	until_is 2 failed cat "$m/$name/state"
	grep -q 'file server ended: signal 9' "$m/$name/error"
	run ! alive "$qemu"
	ls "$m/$name/root/" >/dev/null
	echo start >"$m/$name/ctl"
	[ "$(guest $name 'echo again')" = again ]
}

@test "kill -9 of the agent's process: it is started again, the sandbox goes on" {
	sandbox $name
	echo start >"$m/$name/ctl"
	pid=$(status_of $name agent_pid)
	kill -9 "$pid"
	until_is 5 back guest $name 'echo back'
	state_is $name running
	[ "$(status_of $name agent_pid)" != "$pid" ]
	echo stop >"$m/$name/ctl"
	state_is $name stopped
}

@test "a command that prints without end: its writer can be interrupted" {
	sandbox $name
	echo start >"$m/$name/ctl"
	timeout -s INT 2 bash -c "echo yes > $m/$name/exec" || true
	bash -c "echo yes > $m/$name/exec" &
	writer=$!
	sleep 1
	kill -9 $writer
	until_is 5 gone eval "alive $writer || echo gone"
	wait $writer || true
	until_is 5 0 guest $name 'grep -lx yes /proc/[0-9]*/comm | wc -l'
}

# What a helper does that a guest has taken over: nothing. (A stopped process is not a dead one.)
@test "an agent's process that hangs: stop and kill get through, exec fails" {
	sandbox $name
	echo start >"$m/$name/ctl"
	kill -STOP "$(status_of $name agent_pid)"
	python3 - "$m/$name/exec" <<-'PY'
	import os, signal, sys, threading
	# More than the backlog of its socket holds.
	def one():
	    fd = os.open(sys.argv[1], os.O_WRONLY)
	    try:
	        os.write(fd, b"true\n")
	        os._exit(1)
	    except OSError:
	        pass
	ts = [threading.Thread(target=one) for _ in range(200)]
	signal.alarm(120)
	[t.start() for t in ts]; [t.join() for t in ts]
	PY
	bash -c "echo stop > $m/$name/ctl" &
	until_is 2 stopping cat "$m/$name/state"
	timeout 120 bash -c "echo kill >$m/$name/ctl"
	state_is $name stopped
	wait
	echo start >"$m/$name/ctl"
	guest $name 'echo fine'
	kill -STOP "$(status_of $name agent_pid)"
	timeout 120 bash -c "echo stop >$m/$name/ctl"
	state_is $name stopped
}

@test "a file server that hangs: kill gets through, and the next start has another" {
	mkdir -p "$dir/share1" "$dir/share2"
	sandbox $name
	printf '%s\n' "$dir/share1 /mnt passthrough" "$dir/share2 /opt/s passthrough" >"$m/$name/mounts"
	echo start >"$m/$name/ctl"
	kill -STOP "$(status_of $name fsd_pid)"
	timeout 120 bash -c "echo kill >$m/$name/ctl"
	state_is $name stopped
	grep -q "does not answer" "$m/log"
	until_is 5 0 status_of $name fsd_pid
	echo start >"$m/$name/ctl"
	[ "$(guest $name 'echo again')" = again ]
}

@test "an agent's process that keeps ending fails its sandbox" {
	sandbox $name
	echo start >"$m/$name/ctl"
	for i in 1 2 3 4 5; do
		pid=$(status_of $name agent_pid)
		kill -9 "$pid"
		until_is 5 back guest $name 'echo back'
	done
	kill -9 "$(status_of $name agent_pid)"
	until_is 5 failed cat "$m/$name/state"
	[[ $(cat "$m/$name/error") == *"keeps ending: signal 9"* ]]
	until_is 3 0 status_of $name qemu_pid
	echo start >"$m/$name/ctl"
	[ "$(guest $name 'echo fine')" = fine ]
}

# Ends msbd by force and waits until it is gone: a kill returns before its victim has ended.
kill_msbd() {
	local pid
	pid=$(msbd_pid)
	kill -9 "$pid"
	until_is 10 gone eval "alive $pid || echo gone"
}

@test "kill -9 of msbd: running machines are found, exec works again, what vanished is failed" {
	sandbox $name
	sandbox other
	echo start >"$m/$name/ctl" & echo start >"$m/other/ctl" & wait
	echo 'echo $$ > /tmp/pid; mount' >"$m/$name/exec"
	ls "$m/$name/root/" >/dev/null
	qemu=$(status_of $name qemu_pid)
	gone=$(status_of other qemu_pid)
	kill_msbd
	kill -9 "$gone"
	"$bin/msbd"
	state_is $name running
	[ "$(status_of $name qemu_pid)" = "$qemu" ]
	[ "$(guest $name 'test -s /tmp/pid && echo same')" = same ]
	ls "$m/$name/root/tmp/pid"
	until_is 3 failed cat "$m/other/state"
	[ -n "$(status_of other reason)" ]
	echo start >"$m/other/ctl" # what its machine had of the file server was taken back
	[ "$(guest other 'echo again')" = again ]
	kill -9 "$(status_of $name qemu_pid)"
	until_is 2 failed cat "$m/$name/state"
	echo start >"$m/$name/ctl"
	[ "$(guest $name 'echo again')" = again ]
}

@test "kill -9 of msbd while one starts: the half-done start is cleared away" {
	sandbox $name root_options=delay=lookup:1s # so that it still does
	echo start >"$m/$name/ctl" &
	until_is 5 starting cat "$m/$name/state"
	sleep 0.5
	kill_msbd
	wait
	"$bin/msbd"
	until_is 5 failed cat "$m/$name/state"
	grep -q 'msbd ended while' "$m/$name/error"
	run ! pgrep -f "guest=$(cat "$m/$name/id")"
	echo >"$m/$name/root_options"
	echo start >"$m/$name/ctl"
	[ "$(guest $name 'echo again')" = again ]
}

@test "--stop and msbd again: machines went on; --stop --all ends them" {
	sandbox $name
	echo start >"$m/$name/ctl"
	qemu=$(status_of $name qemu_pid)
	"$bin/msbd" --stop
	alive "$qemu"
	"$bin/msbd"
	[ "$(guest $name 'echo on')" = on ]
	"$bin/msbd" --stop --all
	run ! alive "$qemu"
	"$bin/msbd"
	state_is $name stopped
}

@test "kill -9 of the machine worker: machines go on, verbs work" {
	sandbox $name
	echo start >"$m/$name/ctl"
	pkill -9 -P "$(msbd_pid)" -x msb-vmm
	[ "$(guest $name 'echo on')" = on ]
	state_is $name running
	echo stop >"$m/$name/ctl"
	state_is $name stopped
	echo start >"$m/$name/ctl"
	[ "$(guest $name 'echo on')" = on ]
}
