# SPDX-License-Identifier: Apache-2.0
# The rules that every file keeps, from each language and tool that people use: a matrix of rule and language.

bats_require_minimum_version 1.5.0
load helper

langs="bash dash busybox python perl"

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
	sandbox dev
	mkdir "$m/idle"
	echo start >"$m/dev/ctl"
	write_tools
}

teardown_file() {
	msb_teardown
}

setup() {
	PATH=$dir/tools:$PATH
	cd "$m/idle"
}

teardown() {
	[ -n "$BATS_TEST_COMPLETED" ] || tail -n 5 "$m/errors"
}

# The same few operations in each language, as programs LANG-OP. They say why they fail, and exit 1 then.
#	put FILE TEXT	one write of TEXT and a newline
#	get FILE	what it holds
#	ask FILE TEXT	TEXT written on a read-write descriptor, then read to the end of file
write_tools() {
	mkdir "$dir/tools"
	cd "$dir/tools"
	for sh in bash dash 'busybox sh'; do
		tool "${sh%% *}-put" "#!/usr/bin/env -S $sh" 'printf "%s\n" "$2" >"$1" || exit 1'
		tool "${sh%% *}-get" "#!/usr/bin/env -S $sh" 'while IFS= read -r line; do printf "%s\n" "$line"; done <"$1"'
		tool "${sh%% *}-ask" "#!/usr/bin/env -S $sh" 'exec 3<>"$1" || exit 1; printf "%s\n" "$2" >&3 || exit 1; exec cat <&3'
	done
	tool python-put '#!/usr/bin/python3' 'import sys
with open(sys.argv[1], "w") as f:
    f.write(sys.argv[2] + "\n")'
	tool python-get '#!/usr/bin/python3' 'import sys
sys.stdout.write(open(sys.argv[1]).read())'
	tool python-ask '#!/usr/bin/python3' 'import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
os.write(fd, sys.argv[2].encode() + b"\n")
while piece := os.read(fd, 65536):
    sys.stdout.buffer.write(piece)'
	tool perl-put '#!/usr/bin/perl' 'open(my $f, ">", $ARGV[0]) or die "$ARGV[0]: $!\n";
print $f "$ARGV[1]\n" or die "$!\n";
close $f or die "$!\n";'
	tool perl-get '#!/usr/bin/perl' 'open(my $f, "<", $ARGV[0]) or die "$ARGV[0]: $!\n"; print while <$f>;'
	tool perl-ask '#!/usr/bin/perl' 'use Fcntl; sysopen(my $f, $ARGV[0], O_RDWR) or die "$ARGV[0]: $!\n";
syswrite($f, "$ARGV[1]\n") or die "$!\n"; my $b; while (sysread($f, $b, 65536)) { print $b }'
	tool tee-put '#!/bin/bash' 'set -o pipefail; printf "%s\n" "$2" | tee "$1" >/dev/null'
	tool dd-put '#!/bin/bash' 'set -o pipefail; printf "%s\n" "$2" | dd of="$1" iflag=fullblock status=none'
	tool bbdd-put '#!/bin/bash' 'set -o pipefail; printf "%s\n" "$2" | busybox dd of="$1" 2>&1 >/dev/null | grep -v records >&2; exit "${PIPESTATUS[1]}"'
	tool cp-put '#!/bin/bash' 't=$(mktemp); printf "%s\n" "$2" >"$t"; cp "$t" "$1"; r=$?; rm "$t"; exit $r'
	tool cat-put '#!/bin/bash' 'printf "%s\n" "$2" | cat >"$1"; exit "${PIPESTATUS[1]}"'
	tool xargs-put '#!/bin/bash' 'printf "%s\n" "$1" | T=$2 xargs -I{} sh -c "echo \"\$T\" >{}"'
	tool sed-put '#!/bin/bash' 'printf "%s\n" "$2" | sed -n "w $1"'
	tool awk-put '#!/bin/bash' 'T=$2 awk -v f="$1" "BEGIN { print ENVIRON[\"T\"] > f; if (close(f)) exit 1 }"'
	cd /
}

tool() {
	printf '%s\n' "${@:2}" >"$dir/tools/$1"
	chmod 755 "$dir/tools/$1"
}

# says ERRNO-TEXT COMMAND...: fails, and says so
says() {
	local out
	if out=$("${@:2}" 2>&1); then
		echo "'${*:2}' should fail"
		return 1
	fi
	[[ $out == *"$1"* ]] || { echo "'${*:2}': '$out', not '$1'"; return 1; }
}

@test "a value reads back as it was written: every writer, every reader" {
	i=0
	for w in $langs tee dd bbdd cp cat xargs sed awk; do
		i=$((i % 64 + 1))
		$w-put cpus $i
		for r in $langs; do
			[ "$($r-get cpus)" = $i ] || { echo "$w wrote $i, $r reads $($r-get cpus)"; false; }
		done
	done
	cp cpus "$dir/copy"
	[ "$(cat "$dir/copy")" = $i ]
	for reader in 'dd if=cpus status=none' 'busybox cat cpus' 'busybox dd if=cpus' 'head -n 1 cpus' 'tail -n 1 cpus' 'sed p -n cpus' 'awk 1 cpus' 'sort cpus' 'tac cpus'; do
		[[ $($reader 2>/dev/null) == *"$i"* ]] || { echo "$reader"; false; }
	done
	[ "$(mapfile -t a <cpus; echo "${a[0]}")" = $i ]
	[ "$(stat -c %s cpus)" = 4096 ]
}

@test "what is longer than a page is copied whole, and its end is its end" {
	for i in {1..200}; do echo "key$i=$(printf '%050d' "$i")"; done >"$dir/long"
	cat "$dir/long" >labels
	for f in labels config ../images/bb/config.json; do
		cp "$f" "$dir/copy"
		cat "$f" >"$dir/want"
		cmp "$dir/want" "$dir/copy"
		[ "$(tail -n 1 "$f")" = "$(tail -n 1 "$dir/want")" ]
	done
	cmp "$dir/long" <(cat labels)
	[ "$(stat -c %s labels)" = "$(wc -c <"$dir/long")" ]
	[ "$(stat -c %s config)" -gt 10000 ]
	cp ../metrics "$dir/copy"
	[ "$(tail -n 1 "$dir/copy")" = '# EOF' ]
	[ "$(tail -n 1 ../metrics)" = '# EOF' ]
	echo >labels
}

@test "a refused value: every writer is told, nothing changes" {
	bash-put cpus 7
	for w in $langs tee dd cp cat xargs awk; do
		if $w-put cpus many >"$dir/out" 2>&1; then
			echo "$w was not told"
			false
		fi
		[[ $(cat error) == *'not `many`'* ]]
		[ "$(cat cpus)" = 7 ]
	done
	# the kind of failure, where the language has it; dash says I/O error whatever it was
	for w in bash python perl tee dd cp cat; do
		says 'Invalid argument' $w-put cpus many
		says 'out of range' $w-put cpus 65 || says 'Numerical result' $w-put cpus 65
		[ $w = dd ] || says 'long' $w-put hostname "$(printf '%05000d' 0)" # dd cuts it up
	done
	[ "$(cat cpus)" = 7 ]
}

@test "the newline is optional, several lines are one write, the first that is bad ends it" {
	for w in 'printf 9' 'echo 9' 'printf "9\n"'; do
		bash -c "$w >cpus"
		[ "$(cat cpus)" = 9 ]
	done
	python3 - <<-'PY'
	import errno, os
	def fails(fd, data, code):
	    try:
	        os.write(fd, data)
	    except OSError as e:
	        assert e.errno == code, e
	    else:
	        assert False, data
	# A line has 4096 bytes at most; its newline is not counted.
	fd = os.open("env/X", os.O_WRONLY | os.O_CREAT)
	assert os.write(fd, b"x" * 4096 + b"\n") == 4097
	assert len(open("env/X").read()) == 4097
	fails(fd, b"x" * 4097 + b"\n", errno.E2BIG)
	os.close(fd)
	fd = os.open("ctl", os.O_RDWR)
	data = b"stop\nkill\nfly\nstop\n"
	assert os.write(fd, data) == 10
	fails(fd, data[10:], errno.EINVAL)
	assert os.read(fd, 4096).splitlines()[:2] == [b"ok", b"ok"]
	# A write that ends within a line is that line.
	assert os.write(fd, b"stop\nki") == 5 or True
	os.close(fd)
	PY
	perl -e 'open(F, ">", "ctl") or die; for my $l ("stop\nkill\n", "stop") { syswrite(F, $l) == length $l or die "$!" }'
	printf 'stop\nkill\nstop' | dd of=ctl bs=64 iflag=fullblock status=none
	printf 'stop\nkill\n' | tee ctl >/dev/null
}

@test "opening with O_TRUNC, truncating and closing do nothing" {
	bash-put cpus 5
	for sh in bash dash 'busybox sh'; do
		$sh -c ': >cpus'
		$sh -c ': >ctl'
		$sh -c 'exec 3>cpus; exec 3>&-'
	done
	truncate -s 0 cpus
	python3 -c 'import os; os.close(os.open("cpus", os.O_WRONLY | os.O_TRUNC)); os.truncate("cpus", 0)'
	perl -e 'open(F, ">", "cpus") or die; truncate("cpus", 0) or die; close F or die'
	dd if=/dev/null of=cpus status=none
	cp /dev/null cpus
	[ "$(cat cpus)" = 5 ]
	[ "$(cat state)" = created ]
}

@test "mkdir makes, rmdir destroys: from each; what runs is EBUSY, attributes are EPERM" {
	for l in mkdir 'busybox mkdir' 'python3 -c import(os).mkdir' perl; do
		case $l in
		python3*) python3 -c "import os; os.mkdir('$m/made'); os.rmdir('$m/made')" ;;
		perl) perl -e "mkdir('$m/made') or die; rmdir('$m/made') or die" ;;
		*) $l "$m/made"; ${l%mkdir}rmdir "$m/made" ;;
		esac
		[ ! -e "$m/made" ]
	done
	says busy rmdir "$m/dev"
	says busy busybox rmdir "$m/dev"
	python3 - "$m/dev" <<-'PY'
	import errno, os, sys
	for f, a, code in ((os.rmdir, (sys.argv[1],), errno.EBUSY), (os.unlink, ("cpus",), errno.EPERM),
	        (os.rename, ("cpus", "cpus2"), errno.EPERM), (os.rename, ("cpus", "memory_bytes"), errno.EPERM),
	        (os.link, ("cpus", "cpus2"), errno.EPERM), (os.symlink, ("cpus", "cpus2"), errno.EPERM),
	        (os.mkdir, ("sub",), errno.EPERM), (os.mknod, ("node",), errno.EPERM)):
	    try:
	        f(*a)
	    except OSError as e:
	        assert e.errno == code, (f, a, e)
	    else:
	        assert False, (f, a)
	PY
	perl -e 'use Errno; unlink("cpus") and die; $!{EPERM} or die "$!"; rename("cpus", "x") and die; $!{EPERM} or die "$!"'
	for sh in bash dash 'busybox sh'; do
		run ! $sh -c 'rm -rf .' # refused by the shell's rm itself
		run ! $sh -c 'rm -rf ../dev 2>/dev/null'
		run ! $sh -c 'rm -f cpus'
		run ! $sh -c 'mv cpus cpus2'
		run ! $sh -c 'echo x >newfile'
		run ! $sh -c 'ln -s cpus link'
	done
	[ "$(cat "$m/dev/state")" = running ]
	[ "$(guest dev 'echo here')" = here ]
}

@test "programs that replace a file are refused, and leave everything as it was" {
	bash-put cpus 3
	ls -R . >"$dir/before"
	run ! sed -i s/3/4/ cpus
	run ! busybox sed -i s/3/4/ cpus
	perl -pi -e s/3/4/ cpus 2>&1 | grep -q 'not permitted' # its exit status is 0 all the same
	echo 4 >"$dir/four"
	run ! mv "$dir/four" cpus
	[ "$(cat cpus)" = 3 ]
	echo 4 >"$dir/four"
	run ! install "$dir/four" cpus
	run ! ln -f "$dir/four" cpus
	run ! tar -C "$dir" -cf "$dir/t.tar" cpus
	# vim, as it is and told to write in place: it says no, or has set the value; nothing else is there
	for set in 'set bk' 'set nobk nowb noswf'; do
		bash-put cpus 3
		r=0
		timeout 60 vim -es -u NONE -i NONE -c "$set" -c '%s/3/4/' -c 'wq' cpus </dev/null >"$dir/vim" 2>&1 || r=$?
		case $r.$(cat cpus) in
		0.4 | [1-9]*.3) ;;
		*) echo "vim ($set): exit $r, value $(cat cpus): $(cat "$dir/vim")"; false ;;
		esac
		ls -R . | diff "$dir/before" -
	done
}

@test "a verb has taken effect when its write returns: from each" {
	for l in $langs tee dd cp; do
		$l-put "$m/dev/ctl" pause
		[ "$(cat "$m/dev/state")" = paused ]
		$l-put "$m/dev/ctl" pause # again is fine
		$l-put "$m/dev/ctl" resume
		[ "$(cat "$m/dev/state")" = running ]
		$l-put "$m/dev/ctl" start
	done
	for l in $langs; do
		! $l-put ctl pause 2>/dev/null || return 1
		[[ $(cat error) == *'it is created'* ]]
		! $l-put ctl 'no such verb' 2>/dev/null || return 1
	done
	for l in bash python perl; do
		says busy $l-put ctl resume
		says 'No such file' $l-put ctl start # no image
		says 'Invalid argument' $l-put ctl 'no such verb'
	done
}

@test "a read-write descriptor of ctl is a transaction of its own: from each, at once" {
	for l in $langs; do
		[ "$($l-ask ctl stop)" = ok ]
		run $l-ask ctl 'unset NONE'
		[ "$status" != 0 ] # the write failed, and says why where it is read
	done
	for i in $(seq 20); do
		for l in $langs; do
			$l-ask ctl stop >"$dir/ask.$l.$i" &
		done
	done
	wait
	[ "$(cat "$dir"/ask.* | sort | uniq -c | tr -s ' ')" = ' 100 ok' ]
}

@test "exec: the write is the command; it fails as the command does: from each" {
	for l in $langs tee dd cp cat; do
		$l-put "$m/dev/exec" "echo $l >/tmp/who"
		[ "$(guest dev 'cat /tmp/who')" = $l ]
		! $l-put "$m/dev/exec" 'exit 3' 2>"$dir/why" || return 1
		[ "$(cat "$m/dev/error")" = 'exit status 3' ]
		case $l in dash | busybox) ;; *) grep -q 'Remote I/O' "$dir/why" ;; esac
		! $l-put "$m/dev/exec" 'kill -9 $$' 2>/dev/null || return 1
		[[ $(cat "$m/dev/error") == 'killed by signal 9'* ]]
	done
	for l in $langs; do
		[ "$($l-ask "$m/dev/exec" 'echo out; echo err >&2; seq 5' | sort | tr '\n' ' ')" = '1 2 3 4 5 err out ' ] # two streams have no order
		[ "$($l-ask "$m/dev/exec" 'seq 20000' | cksum)" = "$(seq 20000 | cksum)" ]
	done
	for l in bash python perl; do
		says busy $l-put exec true
	done
	echo pause >"$m/dev/ctl"
	for l in $langs; do
		! timeout 120 $l-put "$m/dev/exec" true 2>/dev/null || return 1
		[[ $(cat "$m/dev/error") == *'resume it first'* ]]
	done
	echo resume >"$m/dev/ctl"
}

@test "pipelines: into files, out of them, and both" {
	cd "$m/dev"
	seq 3 | while read -r i; do echo "echo $i >>/tmp/pipe" >exec; done
	[ "$(guest dev 'cat /tmp/pipe')" = $'1\n2\n3' ]
	printf '%s\n' 'echo a >>/tmp/lines' 'echo b >>/tmp/lines' | tee exec >/dev/null
	printf '%s\n' 'echo c >>/tmp/lines' 'echo d >>/tmp/lines' | dd of=exec bs=4096 iflag=fullblock status=none
	printf 'echo e >>/tmp/lines\n' | dd of=exec bs=4096 iflag=fullblock status=none
	[ "$(guest dev 'cat /tmp/lines')" = $'a\nb\nc\nd\ne' ]
	# the reader that has enough ends; the writer is hung up, and nobody waits
	python-ask exec yes 2>/dev/null | head -n 2 >"$dir/yes" || true
	[ "$(cat "$dir/yes")" = $'y\ny' ]
	cat cpus | xargs -I{} echo {} | tee cpus | cat >"$dir/through"
	[ "$(cat "$dir/through")" = "$(cat cpus)" ]
	paste -d: cpus state | grep -q '^[0-9]*:running$'
	exec 7<>jobs/clone
	read -r n <&7
	printf 'sort\0-r\0' >jobs/$n/argv
	echo start >jobs/$n/ctl
	seq 9 | cat >jobs/$n/stdin &
	[ "$(cat jobs/$n/stdout | head -n 3 | tr '\n' ' ')" = '9 8 7 ' ]
	exec 7>&-
}

@test "a write that waits: kill -9 of who waits frees it at once, in every language" {
	cd "$m/dev"
	for l in $langs; do
		$l-put exec 'sleep 1000' 2>/dev/null &
		pid=$!
		until_is 20 1 guest dev 'n=0; for p in /proc/[0-9]*; do [ "$(tr "\0" " " <$p/cmdline 2>/dev/null)" = "sleep 1000 " ] && n=$((n+1)); done; echo $n'
		kill -9 $pid
		until_is 5 gone eval "[ -e /proc/$pid ] || echo gone" # no D state: the request was given up
		wait $pid || true
		until_is 20 0 guest dev 'n=0; for p in /proc/[0-9]*; do [ "$(tr "\0" " " <$p/cmdline 2>/dev/null)" = "sleep 1000 " ] && n=$((n+1)); done; echo $n'
	done
	for reader in 'cat wait' 'dd if=wait' 'python-get wait' 'perl-get wait' 'busybox cat wait' 'bash-get wait'; do
		$reader >/dev/null 2>&1 &
		pid=$!
		read -rt 0.3 <> <(:) || true
		kill -9 $pid
		until_is 5 gone eval "[ -e /proc/$pid ] || echo gone"
		wait $pid || true
	done
}

@test "^C on a terminal ends the wait, and not the sandbox" {
	cd "$m/dev"
	tool raw-put '#!/usr/bin/python3' 'import os, sys
os.write(os.open(sys.argv[1], os.O_WRONLY), sys.argv[2].encode())'
	# Python's own files write again at close what they could not write: not what ^C is for
	for l in bash dash busybox raw perl; do
		python3 - $l-put exec 'sleep 1001' <<-'PY'
		import os, pty, select, sys, time
		pid, fd = pty.fork()
		if pid == 0:
		    os.execvp(sys.argv[1], sys.argv[1:])
		# the command runs once the guest has it; ^C before that has to work as well
		time.sleep(0.5)
		os.write(fd, b"\x03")
		end = time.time() + 120
		while time.time() < end:
		    done, status = os.waitpid(pid, os.WNOHANG)
		    if done:
		        break
		    if select.select([fd], [], [], 0.1)[0]:
		        try: os.read(fd, 4096)
		        except OSError: pass
		else:
		    os.kill(pid, 9)
		    sys.exit("it waits still")
		assert status != 0, "it did not fail"
		PY
	done
	[ "$(cat state)" = running ]
	until_is 20 0 guest dev 'n=0; for p in /proc/[0-9]*; do [ "$(tr "\0" " " <$p/cmdline 2>/dev/null)" = "sleep 1001 " ] && n=$((n+1)); done; echo $n'
}

@test "a slow verb keeps neither other files nor kill waiting; its own writer may go" {
	sandbox slow root_options=delay=lookup:1s # in which all of this fits
	cd "$m/slow"
	echo start >ctl &
	pid=$!
	until_is 20 starting cat state
	kill -9 $pid # start goes on
	wait $pid || true
	for l in $langs; do
		[ "$($l-get cpus)" = 1 ]
		$l-put env/"$(echo $l | tr a-z A-Z)" $l || $l-put hostname slow
	done
	echo start >ctl & # joins it
	pid=$!
	python-put ctl kill
	wait $pid && false
	[[ $(cat state) =~ ^(stopped|failed)$ ]]
	[ -z "$(find . -name env -newer /nonexistent 2>/dev/null)" ]
	cd /
	rmdir "$m/slow"
}

@test "O_NONBLOCK, poll and select: from Python and Perl" {
	cd "$m/dev"
	exec 7<>jobs/clone
	read -r n <&7
	printf 'cat\0' >jobs/$n/argv
	echo start >jobs/$n/ctl
	timeout 600 python3 - jobs/$n <<-'PY'
	import errno, os, select, sys
	j = sys.argv[1]
	nb = os.O_RDONLY | os.O_NONBLOCK
	def again(fd):
	    try:
	        got = os.read(fd, 100)
	    except BlockingIOError:
	        return
	    assert False, got
	wait, out, jwait = os.open("wait", nb), os.open(j + "/stdout", nb), os.open(j + "/wait", nb)
	for fd in (wait, out, jwait):
	    again(fd)
	fd = os.open("exec", os.O_RDWR | os.O_NONBLOCK)
	os.write(fd, b"sleep 3; echo late\n")
	again(fd)
	assert select.select([fd, out], [], [], 0)[0] == []
	assert select.select([fd], [], [], 100)[0] == [fd]
	assert os.read(fd, 100) == b"late\n"
	# a value is ready whenever it is read; a change of state is an exception to select
	assert select.select([os.open("cpus", nb)], [], [], 0)[0]
	inp = os.open(j + "/stdin", os.O_WRONLY | os.O_NONBLOCK)
	assert select.select([], [inp], [], 100)[1] == [inp]
	sent = 0
	try:
	    while True:
	        sent += os.write(inp, b"x" * 65536)
	except BlockingIOError:
	    pass
	got = 0
	while got < sent:
	    assert select.select([out], [], [], 100)[0] == [out]
	    got += len(os.read(out, 65536))
	assert select.select([], [inp], [], 100)[1] == [inp]
	os.close(inp)
	p = select.poll()
	p.register(out, select.POLLIN)
	ev = p.poll(100000)
	assert ev[0][1] & select.POLLHUP, ev
	assert os.read(out, 10) == b""
	PY
	perl - <<-'PL'
	use strict; use Fcntl; use IO::Select; use Errno;
	sysopen(my $w, "wait", O_RDONLY | O_NONBLOCK) or die;
	defined sysread($w, my $b, 10) and die "read something";
	$!{EAGAIN} or die "$!";
	sysopen(my $x, "exec", O_RDWR) or die;
	syswrite($x, "echo word\n") or die "$!";
	my @r = IO::Select->new($x)->can_read(100);
	@r == 1 or die "not ready";
	sysread($x, $b, 100) or die;
	$b eq "word\n" or die $b;
	PL
	exec 7>&-
}

@test "a file whose object dies ends: readers, pollers and waiters" {
	mkdir "$m/dies"
	cd "$m/dies"
	timeout 300 python3 - "$m/dies" "$dir/ready" <<-'PY' &
	import errno, os, select, sys
	fds = {f: os.open(f, os.O_RDONLY) for f in ("state", "events", "cpus", "log")}
	for fd in fds.values():
	    while os.read(fd, 65536) and fd != fds["state"] and fd != fds["cpus"]: pass
	p = select.poll()
	for fd in fds.values():
	    p.register(fd, select.POLLPRI)
	open(sys.argv[2], "w").close()
	hung = set()
	while len(hung) < len(fds):
	    for fd, ev in p.poll(100000) or sys.exit("no hang-up"):
	        if ev & select.POLLHUP:
	            hung.add(fd); p.unregister(fd)
	try:
	    os.pread(fds["state"], 10, 0)
	    sys.exit("it can be read")
	except OSError as e:
	    assert e.errno == errno.ENODEV, e
	PY
	pid=$!
	until_is 30 yes eval "[ -e $dir/ready ] && echo yes"
	cd /
	rmdir "$m/dies"
	wait $pid
}

@test "errno says the kind, error and errors say the rest" {
	cd "$m/idle"
	python3 - "$m" <<-'PY'
	import errno, json, os, sys
	m = sys.argv[1]
	def put(f, text):
	    fd = os.open(f, os.O_WRONLY | (os.O_CREAT if "env/" in f else 0))
	    try: os.write(fd, text)
	    finally: os.close(fd)
	cases = [
	    (errno.EINVAL, lambda: put("cpus", b"x\n")), (errno.ERANGE, lambda: put("cpus", b"99\n")),
	    (errno.E2BIG, lambda: put("hostname", b"x" * 5000)), (errno.ENOENT, lambda: put("ctl", b"unset A\n")),
	    (errno.EEXIST, lambda: os.mkdir(m + "/idle")), (errno.EBUSY, lambda: put("ctl", b"pause\n")),
	    (errno.EPERM, lambda: os.unlink("cpus")), (errno.EPERM, lambda: os.mkdir(m + "/snapshots")),
	    (errno.EOPNOTSUPP, lambda: put("mounts", b"/a /b nfs\n")),
	    (errno.ESTALE, lambda: put("config", b"generation: 999\ncpus: 1\n")),
	    (errno.EREMOTEIO, lambda: put(m + "/dev/exec", b"false\n")),
	    (errno.EINVAL, lambda: os.mkdir(m + "/UPPER")),
	    (errno.EISDIR, lambda: os.open(m + "/dev", os.O_WRONLY)),
	    (errno.ENOENT, lambda: os.open(m + "/nowhere/state", os.O_RDONLY)),
	]
	for code, fn in cases:
	    seq = json.loads(open(m + "/errors").read().splitlines()[-1])["seq"]
	    try:
	        fn()
	    except OSError as e:
	        assert e.errno == code, (code, e)
	    else:
	        assert False, code
	    if code in (errno.EISDIR, errno.ENOENT) and "nowhere" in repr(fn): continue
	    last = json.loads(open(m + "/errors").read().splitlines()[-1])
	    if last["seq"] > seq:
	        assert last["errno"] == errno.errorcode[code].replace("ENOTSUP", "EOPNOTSUPP"), last
	        assert {"seq", "time", "pid", "uid", "path", "errno", "message"} <= set(last), last
	        assert open(m + "/error").read().strip() == last["message"], last
	PY
}

@test "a stream's reader that falls behind is told how much it missed" {
	mkdir "$m/busy"
	cd "$m/busy"
	exec 8<events
	for i in $(seq 150); do
		echo "none /x memory" >mounts
		echo restart=$i >/dev/null
		echo start >ctl 2>/dev/null || true # no image: starting, failed or as it was
		chmod 0700 .
	done
	cat <&8 | jq -es 'map(has("seq") or has("dropped")) | all' >/dev/null
	exec 8<&-
	# the instance's keeps 2048
	exec 8<"$m/events"
	for i in $(seq 1100); do
		mkdir "$m/b1" && rmdir "$m/b1"
	done
	cat <&8 >"$dir/events"
	exec 8<&-
	head -n 1 "$dir/events" | jq -e '.dropped > 0'
	[ "$(wc -l <"$dir/events")" -le 2049 ]
	jq -es '[.[] | .seq // empty] | . == (. | sort) and length == (. | unique | length)' "$dir/events"
	cd /
	rmdir "$m/busy"
}
