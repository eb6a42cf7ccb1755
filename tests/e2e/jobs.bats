# SPDX-License-Identifier: Apache-2.0
# jobs/: exact arguments, streams, terminals, limits, ends, and who keeps a job.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_dev
}

teardown_file() {
	msb_teardown
}

setup() {
	cd "$m/dev"
	job
}

teardown() {
	exec 7>&-
	[ -n "$BATS_TEST_COMPLETED" ] || tail -n 5 console ../log
}

# job [ARGV-JSON]: another one, in $j, as long as descriptor 7 is open
job() {
	exec 7>&-
	exec 7<>jobs/clone
	read -r n <&7
	j=jobs/$n
	[ $# = 0 ] || printf '%s\n' "$1" >$j/argv
}

start() { echo start >$j/ctl; }

has() { sed -n "s/^$1 //p" $j/status; }

@test "argv: NULs, JSON, one word; exact, and refused where it is none" {
	printf 'printf\0[%%s]\0a b\0\0-\n\0"' >$j/argv
	[ "$(cat $j/argv)" = '["printf","[%s]","a b","","-\n","\""]' ]
	start
	[ "$(cat $j/stdout; echo .)" = $'[a b][][-\n]["].' ]
	job '["printf", "[%s]", "\u00e9", "\\"]'
	start
	[ "$(cat $j/stdout)" = '[é][\]' ]
	job
	echo true >$j/argv
	start
	[ "$(cat $j/wait)" = 0 ]
	job
	printf 'printf\0[%%s]\0\xff' >$j/argv
	[ "$(od -An -tx1 $j/argv | tr -d ' \n')" = 7072696e7466005b25735d00ff00 ]
	start
	[ "$(od -An -tx1 $j/stdout)" = ' 5b ff 5d' ]
	job
	fails 'Invalid argument' 'no JSON' error "echo '[\"a\"' >$j/argv"
	fails 'Invalid argument' 'element 1 is not a string' error "echo '[\"a\",1]' >$j/argv"
	fails 'Invalid argument' 'no JSON' error "echo '[]x' >$j/argv"
	fails 'Invalid argument' 'no program' error "echo '[]' >$j/argv"
	fails 'Invalid argument' 'no program' error "echo '[\"\"]' >$j/argv"
	head -c 28672 /dev/zero | tr '\0' a >"$dir/long"
	fails 'Argument list too long' '28672 bytes' error "dd if=$dir/long of=$j/argv bs=28672 status=none"
	fails 'Invalid argument' 'has no argv' error "echo start >$j/ctl"
}

@test "streams: apart, together, again, and to the end" {
	job '["sh", "-c", "echo one; echo two >&2; echo three"]'
	start
	cat $j/stdout >"$dir/out" & cat $j/stderr >"$dir/err" & cat $j/output >"$dir/both"
	wait %1 %2
	[ "$(cat "$dir/out")" = $'one\nthree' ]
	[ "$(cat "$dir/err")" = two ]
	[ "$(sort "$dir/both")" = $'one\nthree\ntwo' ]
	[ "$(cat $j/stdout)" = $'one\nthree' ]
	[ "$(head -c 2 $j/stdout)" = on ]
	grep -q "\"job\":$n,\"stream\":\"stderr\",\"data\":\"two" log
}

@test "stdin to stdout, byte by byte, at any size of a write" {
	job '["cat"]'
	head -c 3000001 /dev/urandom >"$dir/in"
	cat $j/stdout >"$dir/out" &
	dd if="$dir/in" of=$j/stdin bs=70001 status=none & # waits for the start
	start
	wait %1
	cmp "$dir/in" "$dir/out"
	[ "$(cat $j/wait)" = 0 ]
	fails 'Broken pipe' 'has ended' error "echo more >$j/stdin"
}

@test "stdin ends with its last writer, and by close-stdin" {
	job '["cat"]'
	start
	exec 8>$j/stdin 9>$j/stdin
	echo a >&8
	exec 8>&-
	echo b >&9
	[ "$(cat $j/state)" = running ]
	exec 9>&-
	[ "$(cat $j/wait)" = 0 ]
	[ "$(cat $j/stdout)" = $'a\nb' ]
	job '["cat"]'
	exec 8>$j/stdin
	start
	echo close-stdin >$j/ctl
	[ "$(cat $j/wait)" = 0 ]
	run ! bash -c 'echo x >&8'
	exec 8>&-
	job '["sh", "-c", "readlink /proc/self/fd/0; cat"]'
	echo close-stdin >$j/ctl
	start
	[ "$(cat $j/wait)" = 0 ]
	[ "$(cat $j/stdout)" = /dev/null ]
	run ! bash -c "echo x >$j/stdin"
}

@test "a slow reader makes the job wait and loses nothing; nobody's output falls out, and is counted" {
	job '["sh", "-c", "yes | head -c 2000000"]'
	exec 8<$j/stdout
	start
	sleep 1
	[ "$(cat $j/state)" = running ]
	[ "$(cat <&8 | wc -c)" = 2000000 ]
	exec 8<&-
	[ "$(cat $j/wait)" = 0 ]
	job '["sh", "-c", "yes | head -c 2000000; echo end"]'
	start
	[ "$(cat $j/wait)" = 0 ]
	[ $(($(wc -c <$j/stdout) + $(has stdout_gone_bytes))) = 2000004 ]
	[ "$(tail -n 1 $j/stdout)" = end ]
	[ "$(has stdout_gone_bytes)" -gt 1600000 ]
}

@test "how it ends: each way has its code and its word" {
	ends() {
		[ "$(cat $j/wait) $(has reason) $(cat $j/signal)" = "$1" ] ||
			{ echo "$(cat $j/wait) $(has reason) $(cat $j/signal), not $1"; cat $j/error; false; }
	}
	job '["sh", "-c", "exit 7"]'; start; ends '7 exited '
	[ "$(cat $j/error)" = "exit status 7" ]
	job '["sh", "-c", "kill -9 $$"]'; start; ends '137 signal KILL'
	job '["no-such"]'
	fails 'No such file' 'not found in PATH' error "echo start >$j/ctl"
	ends '127 not_found '
	job '["/etc/passwd"]'
	fails 'Permission denied' 'not executable' error "echo start >$j/ctl"
	ends '126 not_executable '
	job '["true"]'
	echo /no/such >$j/cwd
	fails 'No such file' 'cannot enter /no/such' error "echo start >$j/ctl"
	ends '125 bad_cwd '
	job '["true"]'
	echo nobody-here >$j/user
	fails 'No such file' 'is not in /etc/passwd' error "echo start >$j/ctl"
	ends '125 bad_user '
	job '["true"]'
	echo "nofile 1:unlimited" >$j/rlimits
	fails 'not permitted' 'cannot set limit' error "echo start >$j/ctl"
	ends '125 bad_rlimits '
	job '["sh", "-c", "trap : TERM; while :; do sleep 0.1; done"]'
	echo 3 >$j/timeout_sec # in which a slow guest gets to the trap
	start
	ends '124 timeout KILL'
	job '["sleep", "100"]'
	echo 1 >$j/timeout_sec
	start
	ends '124 timeout TERM'
	grep -q "\"event\":\"job_ended\",\"job\":$n,\"reason\":\"timeout\",\"exit_code\":124" events
}

@test "signals reach the group, KILL everything that it left" {
	job '["sh", "-c", "trap \"echo got; exit 4\" USR1; echo up; while :; do sleep 0.1; done"]'
	start
	read -r line <$j/stdout
	echo signal USR1 >$j/ctl
	[ "$(cat $j/wait)" = 4 ]
	[ "$(tail -n 1 $j/stdout)" = got ]
	fails 'No such process' 'has ended' error "echo signal TERM >$j/ctl"
	job '["sh", "-c", "setsid sleep 4711 & echo up; sleep 4712"]'
	start
	read -r line <$j/stdout
	until_is 5 2 guest dev 'pgrep -f "sleep 471" | grep -vc "^$$\$"' || true
	echo signal SIGKILL >$j/ctl
	[ "$(cat $j/wait)" = 137 ]
	until_is 5 0 guest dev 'n=0; for p in /proc/[0-9]*; do case "$(cat $p/cmdline 2>/dev/null | tr "\0" " ")" in "sleep 471"*) n=$((n+1));; esac; done; echo $n'
	fails 'Invalid argument' 'is no signal' error "echo signal NONE >$j/ctl"
	job '["true"]'
	fails 'busy' 'was not started' error "echo signal TERM >$j/ctl"
}

@test "a terminal: its size, resize, and one stream" {
	job '["sh", "-c", "stty size; echo err >&2; read x; stty size"]'
	fails 'Invalid argument' 'ROWS COLS' error "echo '24 x' >$j/tty"
	echo '30 100' >$j/tty
	start
	exec 8<$j/stdout 9>$j/stdin
	read -r line <&8
	[ "$line" = $'30 100\r' ]
	echo resize 40 120 >$j/ctl
	[ "$(cat $j/tty)" = '40 120' ]
	echo >&9
	[ "$(cat <&8 | tail -n 1)" = $'40 120\r' ]
	[ -z "$(cat $j/stderr)" ]
	exec 8<&- 9>&-
	job '["sleep", "900"]'
	start
	fails 'Invalid argument' 'has no terminal' error "echo resize 1 2 >$j/ctl"
	echo signal KILL >$j/ctl
}

@test "user, groups, directory, variables and limits" {
	job '["sh", "-c", "id -u; id -g; id -G; pwd; echo $A $B; ulimit -n; ulimit -H -n"]'
	echo 5:6:7,8 >$j/user
	echo /usr >$j/cwd
	echo sandbox >env/A
	echo sandbox >env/B
	echo mine >$j/env/B
	printf 'nofile 55:66\ncore 0\n' >$j/rlimits
	[ "$(cat $j/rlimits)" = $'nofile 55:66\ncore 0:0' ]
	echo "stack 8388608" >>$j/rlimits
	[ "$(wc -l <$j/rlimits)" = 3 ]
	start
	[ "$(cat $j/stdout)" = $'5\n6\n6 7 8\n/usr\nsandbox mine\n55\n66' ]
	fails 'busy' 'before it is started' error "echo / >$j/cwd"
	fails 'busy' 'before it is started' error "echo x >$j/argv"
	fails 'busy' 'before it is started' error "echo x >$j/env/C"
	fails 'busy' 'started once' error "echo start >$j/ctl"
	job
	fails 'Invalid argument' 'is no limit' error "echo 'files 1' >$j/rlimits"
	fails 'Invalid argument' 'is no limit' error "echo 'nofile 2:1' >$j/rlimits"
	fails 'too long' 'at most 16' error "yes 'core 0' | head -n 17 >$j/rlimits"
	fails 'range' 'timeout_sec' error "echo 31536001 >$j/timeout_sec"
	fails 'Invalid argument' 'not an absolute' error "echo x >$j/cwd"
	fails 'Invalid argument' 'not a user' error "echo 'a b' >$j/user"
	fails 'Invalid argument' "not a variable's name" error "echo 1 >$j/env/1"
	fails 'too long' '4096 bytes' error "head -c 4091 /dev/zero | tr '\0' a >$j/env/LONG"
}

@test "it goes with its last descriptor, stays while it runs, and by keep" {
	gone=$j
	exec 7>&-
	until_is 2 no eval "[ -e $gone ] && echo yes || echo no"
	job '["sh", "-c", "until [ -e /goes ]; do sleep 0.1; done"]'
	start
	exec 7>&-
	[ -e $j ]
	guest dev 'touch /goes'
	until_is 5 no eval "[ -e $j ] && echo yes || echo no"
	job '["sh", "-c", "cat; exit 5"]'
	echo keep >$j/ctl
	exec 7>&-
	start
	echo text >$j/stdin
	[ "$(cat $j/wait)" = 5 ]
	[ "$(cat $j/stdout)" = text ]
	[ "$(has keep)" = 1 ]
	echo release >$j/ctl
	until_is 2 no eval "[ -e $j ] && echo yes || echo no"
}

@test "at-close: the last descriptor's close ends its input, hangs it up, or does nothing" {
	fails 'Invalid argument' 'hangup' error "echo at-close never >$j/ctl"
	job '["sh", "-c", "exec 2>/dev/null; trap \"echo hung >/hung; exit\" HUP; echo up; while :; do sleep 0.1; done"]'
	echo at-close hangup >$j/ctl
	[ "$(has at_close)" = hangup ]
	start
	exec 8<$j/stdout
	read -r line <&8
	exec 7>&-
	[ -e $j ] # 8 holds it
	exec 8<&-
	until_is 5 no eval "[ -e $j ] && echo yes || echo no"
	until_is 5 hung guest dev 'cat /hung'
	grep -q "\"event\":\"job_ended\",\"job\":$n,\"reason\":\"hangup\",\"exit_code\":129" events
	job '["sh", "-c", "read x; read y; echo $x $y >/read"]'
	echo at-close nothing >$j/ctl
	start
	exec 7>&-
	echo one >$j/stdin
	[ "$(cat $j/state)" = running ]
	echo two >$j/stdin
	until_is 5 'one two' guest dev 'cat /read'
	until_is 5 no eval "[ -e $j ] && echo yes || echo no"
	job '["cat"]'
	echo at-close nothing >$j/ctl
	start
	echo a >$j/stdin
	exec 8<$j/wait
	echo close-stdin >$j/ctl
	[ "$(cat <&8)" = 0 ]
	exec 8<&-
}

@test "waiting: interrupted, not blocking, and polled" {
	job '["sleep", "1000"]'
	run -124 timeout 0.3 cat $j/wait
	run -124 timeout 0.3 cat $j/stdout
	run -124 timeout 0.3 dd if=/dev/zero of=$j/stdin count=1 status=none
	start
	run python3 - $j <<-'PY'
		import os, select, sys
		j = sys.argv[1]
		out = os.open(j + "/stdout", os.O_RDONLY | os.O_NONBLOCK)
		try:
		    os.read(out, 1)
		    sys.exit("read something")
		except BlockingIOError:
		    pass
		p = select.poll()
		p.register(out, select.POLLIN)
		wait = os.open(j + "/wait", os.O_RDONLY | os.O_NONBLOCK)
		p.register(wait, select.POLLIN)
		if p.poll(0):
		    sys.exit("something has come")
		with open(j + "/ctl", "w") as ctl:
		    ctl.write("signal TERM\n")
		got = set()
		while len(got) < 2:
		    for fd, ev in p.poll(100000) or sys.exit("nothing came"):
		        got.add(fd)
		        p.unregister(fd)
		        if fd == out and not ev & select.POLLHUP:
		            sys.exit("no hang-up at the end")
		assert os.read(out, 1) == b""
		assert os.read(wait, 9) == b"143\n"
	PY
	[ "$status" = 0 ] || { echo "$output"; false; }
}

@test "many at once, none lost; a command's number is not a job's" {
	for i in $(seq 50); do
		(
			exec 7<>jobs/clone
			read -r k <&7
			echo "[\"echo\", \"$i\"]" >jobs/$k/argv
			echo start >jobs/$k/ctl
			cat jobs/$k/stdout >"$dir/many.$i"
		) &
	done
	wait
	[ "$(cat "$dir"/many.* | sort -n | uniq | wc -l)" = 50 ]
	echo 'echo a command' >exec
	[ "$(sed -n 's/.*"job":\([0-9]*\),.*a command.*/\1/p' log)" -gt "$n" ]
}

@test "no more than 512, and nothing without a machine" {
	sandbox other
	for i in $(seq 512); do
		exec 8<>"$m/other/jobs/clone"
		read -r k <&8
		echo keep >"$m/other/jobs/$k/ctl"
	done
	exec 8>&-
	fails 'quota' '512 jobs' "$m/other/error" "exec 8<>$m/other/jobs/clone"
	echo true >"$m/other/jobs/1/argv"
	fails 'busy' 'start it first' "$m/other/error" "echo start >$m/other/jobs/1/ctl"
	[ "$(cat "$m/other/jobs/1/state")" = created ]
	rmdir "$m/other"
}

@test "the machine's end is the job's" {
	sandbox two
	echo start >"$m/two/ctl"
	cd "$m/two"
	job '["sleep", "100"]'
	start
	cat $j/wait >"$dir/ended" &
	sleep 0.3
	echo kill >ctl
	wait
	[ "$(cat "$dir/ended")" = 255 ]
	[ "$(has reason)" = lost ]
	cd /
	exec 7>&-
	rmdir "$m/two"
}
