# SPDX-License-Identifier: Apache-2.0
# msb's commands over an msbd that is killed and started again under them: they go on, at the byte where they were.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_dev
}

teardown_file() {
	msb_teardown
}

setup() {
	msb=$bin/msb
	cd "$dir"
}

teardown() {
	[ -n "$BATS_TEST_COMPLETED" ] || { tail -n 8 "$m/dev/console" "$m/log"; tail -n 5 err* || true; }
}

# again: as msbd_killed, from where we are
again() {
	msbd_killed
	cd "$dir"
}

# begins CODE: in the background, once it has printed `up`; its pid in $pid
begins() {
	: >out
	env --default-signal=INT,QUIT "$msb" exec dev sh -c "$1" >out 2>err &
	pid=$!
	until_is 20 up head -n 1 out
}

# ends STATUS: what was begun does, so
ends() {
	local s=0
	wait "$pid" || s=$?
	[ $s = "$1" ] || { echo "it ended with $s, not $1: $(tail -n 3 out err)"; false; }
}

more_than() { [ "$(stat -c %s "$1")" -gt "$2" ] && echo yes; }

@test "exec: 40 MB through stdin to stdout, msbd killed three times, byte by byte" {
	head -c 40000003 /dev/urandom >in
	: >out
	"$msb" exec -i dev cat <in >out 2>err &
	pid=$!
	for at in 1000000 12000000 25000000; do
		until_is 100 yes more_than out $at
		again
	done
	ends 0
	cmp in out
	[ -z "$(grep -v '^msb: msbd ended; waiting for another$' err)" ]
	# it goes with its holder's time to come back, at the latest
	until_is 30 0 jobs_of dev
}

@test "exec: a reader that is slow, both streams, no byte lost nor twice" {
	seq 400000 >want
	"$msb" exec dev sh -c 'seq 400000 & seq 400000 >&2; wait; exit 7' > >(sleep 6; cat >out) 2> >(sleep 3; cat >err2) &
	pid=$!
	until_is 20 1 jobs_of dev
	sleep 2 # a time in which pipes fill
	again
	sleep 2
	again
	ends 7
	until_is 60 same eval "cmp -s want out && echo same"
	# said between two of the command's writes
	until_is 60 same eval "sed -z 's/msb: msbd ended; waiting for another\n//g' err2 | cmp -s want - && echo same"
}

@test "exec: what ended meanwhile has its output and its status" {
	begins 'echo up; sleep 2; seq 100000; echo last >&2; exit 9'
	cd /
	old=$(msbd_pid)
	kill -9 "$old"
	sleep 4
	"$bin/msbd"
	cd "$dir"
	ends 9
	(echo up; seq 100000) | cmp - out
	[ "$(grep -v '^msb: msbd ended; waiting' err)" = last ]
	grep -q '^msb: msbd ended; waiting for another$' err
}

@test "exec: signals, and the end of the input, also while no msbd is there" {
	begins 'trap "echo int; exit 4" INT; echo up; while :; do sleep 0.1; done'
	again
	kill -INT $pid
	ends 4
	begins 'trap "echo int; exit 5" INT; echo up; while :; do sleep 0.1; done'
	cd /
	kill -9 "$(msbd_pid)"
	sleep 0.5
	kill -INT $pid
	sleep 0.5
	"$bin/msbd"
	cd "$dir"
	ends 5
	: >out
	{ echo one; sleep 2; echo two; sleep 2; } | "$msb" exec dev cat >out 2>err &
	pid=$!
	until_is 20 one cat out
	cd /
	kill -9 "$(msbd_pid)"
	sleep 5
	"$bin/msbd"
	cd "$dir"
	ends 0
	[ "$(cat out)" = $'one\ntwo' ]
}

@test "exec: who is killed meanwhile does not come back, and the command is hung up" {
	begins 'exec 2>/dev/null; trap "echo hung >/hung; exit" HUP; echo up; while :; do sleep 0.1; done'
	cd /
	kill -9 "$(msbd_pid)"
	kill -9 $pid
	"$bin/msbd"
	cd "$dir"
	# one who only looks keeps nothing from that, nor makes it come sooner
	cat "$m"/dev/jobs/[0-9]*/state
	until_is 40 hung guest dev 'cat /hung 2>/dev/null'
	until_is 10 0 jobs_of dev
}

@test "run: goes on, its status is the command's, and --rm removes it" {
	: >out
	"$msb" run -q --rm --name goes -m 128m bb sh -c 'echo up; until [ -e /go ]; do sleep 0.1; done; echo end; exit 6' >out 2>err &
	pid=$!
	until_is 60 up head -n 1 out
	again
	touch "$m/goes/root/go"
	ends 6
	[ "$(cat out)" = $'up\nend' ]
	[ ! -e "$m/goes" ]
}

@test "attach, logs -f, events -f, wait, wait --healthy: each goes on" {
	sandbox two
	printf '%s\n' '["CMD-SHELL", "test -e /well"]' >"$m/two/healthcheck"
	echo 1 >"$m/two/healthcheck_interval_sec"
	echo 1000 >"$m/two/healthcheck_retries"
	echo start >"$m/two/ctl"
	job=$("$msb" exec -d two sh -c 'i=0; while [ $i -lt 120 ]; do i=$((i+1)); echo $i; sleep 0.1; done; touch /well; exit 3')
	"$msb" attach --no-stdin "$job" >out1 2>err1 &
	attach=$!
	: >out2
	"$msb" logs -f two >out2 2>err2 &
	logs=$!
	"$msb" events -f --format json two >out3 2>err3 &
	events=$!
	"$msb" wait two >out4 2>err4 &
	wait=$!
	"$msb" wait --healthy two >out5 2>err5 &
	healthy=$!
	until_is 20 10 sed -n 10p out1
	again
	until_is 20 30 sed -n 30p out1
	again
	pid=$attach
	ends 3
	seq 120 | cmp - out1
	pid=$healthy
	ends 0
	[ "$(cat out5)" = healthy ]
	echo stop >"$m/two/ctl"
	pid=$logs
	ends 0
	seq 120 | cmp - out2
	pid=$wait
	ends 0
	[ "$(cat out4)" = stopped ]
	until_is 20 stopped eval "jq -r 'select(.event == \"state\").state' out3 | tail -n 1"
	kill $events
	jq -r .event out3 | grep -qx job_started # of the first msbd's time
	jq -r .event out3 | grep -qx job_ended	 # of the last one's
	rmdir "$m/two"
}

@test "a terminal goes on, raw and of the size that it has then" {
	cat >type.sh <<-END
		until [ -e "$dir/go" ]; do sleep 0.1; done
		kill -9 $(msbd_pid)
		sleep 1
		"$bin/msbd"
		touch "$dir/there"
	END
	rm -f go there
	(cd / && bash "$dir/type.sh" 3>&-) &
	timeout 600 "$BATS_TEST_DIRNAME/terminal.py" 24x80 raw type:'echo a$((1+1))\r' see:a2 \
		type:'touch /x; echo b$((1+1))\r' see:b2 run:"touch $dir/go; until [ -e $dir/there ]; do sleep 0.1; done" \
		size:40x120 type:'stty size; echo c$((1+1))\r' see:'40 120' see:c2 type:'exit 8\r' end:8 cooked -- "$msb" exec -it dev sh
	wait
}

@test "none comes: a sentence, 125; what was let go of runs on, what was not is hung up then" {
	job=$("$msb" exec -d dev sh -c 'echo before; sleep 5; echo after; exec sleep 4717')
	begins 'exec 2>/dev/null; trap "echo gone >/gone; exit" HUP; echo up; while :; do sleep 0.1; done'
	: >out2
	"$msb" attach --no-stdin "$job" >out2 2>err2 &
	joined=$!
	until_is 20 before head -n 1 out2
	kill -9 "$(msbd_pid)"
	ends 125
	grep -q 'msb: msbd ended, and no other has come in 30 s; the command is hung up once msbd runs again' err
	pid=$joined
	ends 125
	grep -q "no other has come in 30 s; the command may run on: try \`msb attach $job\` once" err2
	run -125 "$msb" exec dev true
	"$bin/msbd"
	: >out
	"$msb" attach --no-stdin "$job" >out 2>err &
	pid=$!
	until_is 30 after tail -n 1 out
	until_is 40 gone guest dev 'cat /gone 2>/dev/null'
	echo signal KILL >"$m/dev/jobs/${job#dev/}/ctl"
	ends 137
	until_is 10 0 jobs_of dev
}

# stands: the processes that `strace` runs, once one of them stands still
stands() { [ "$(sed -n 's/^State:\t\([tT]\) .*/\1/p' "/proc/$1/status")" ] && echo yes; }

@test "msbd is killed between the start of a command and the first look at it" {
	job=$("$msb" exec -d dev sh -c 'echo early; until [ -e /late ]; do sleep 0.2; done; echo late; exit 4')
	for how in exec attach; do
		words=(exec dev sh -c 'echo up; sleep 2; echo end; exit 6')
		[ $how = exec ] || words=(attach --no-stdin "$job")
		rm -f trace
		# it stops itself where it opens `status`, which is that look
		strace -qq -o "$dir/trace" -P status -e trace=openat -e inject=openat:signal=SIGSTOP:when=1 \
			"$msb" "${words[@]}" >out 2>err 3>&- &
		pid=$!
		until_is 30 openat eval "grep -so '^openat' '$dir/trace' | head -n 1"
		tracee=$(pgrep -P $pid)
		until_is 20 yes stands "$tracee"
		cd /
		old=$(msbd_pid)
		kill -9 "$old"
		until_is 5 gone eval "[ -e /proc/$old ] || echo gone"
		kill -CONT "$tracee"
		sleep 1 # nobody is there when it looks
		"$bin/msbd"
		cd "$dir"
		if [ $how = exec ]; then
			ends 6
			[ "$(cat out)" = $'up\nend' ]
		else
			guest dev 'touch /late'
			ends 4
			[ "$(cat out)" = $'early\nlate' ]
		fi
		[ -z "$(grep -v '^msb: msbd ended; waiting for another$' err)" ]
	done
}

@test "the machine ended meanwhile: said, 255" {
	sandbox three
	echo start >"$m/three/ctl"
	: >out
	"$msb" exec three sh -c 'echo up; exec sleep 100' >out 2>err &
	pid=$!
	until_is 20 up cat out
	qemu=$(sed -n 's/^qemu_pid //p' "$m/three/status")
	kill -9 "$(msbd_pid)"
	kill -9 "$qemu"
	sleep 0.5
	"$bin/msbd"
	ends 255
	grep -q 'machine' err
	rmdir "$m/three"
}
