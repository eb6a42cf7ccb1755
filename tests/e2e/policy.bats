# SPDX-License-Identifier: Apache-2.0
# What a sandbox does by itself: starting again, and stopping when its time is over.

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
	sandbox $name
	cd "$m/$name"
}

teardown() {
	cd /
	[ -n "$BATS_TEST_COMPLETED" ] || tail -n 20 "$m/$name/events" "$m/log"
	echo kill >"$m/$name/ctl"
	rmdir "$m/$name"
}

has() { status_of $name "$1"; }

kill_machine() {
	local pid
	pid=$(has qemu_pid)
	[ "$pid" -gt 1 ]
	kill -9 "$pid"
}

# waits: it waits for its next try. Such a time is twice as long with each end: some time it is long enough to be seen.
waits() {
	if [ "$(has restart_in_ms)" != 0 ]; then
		echo yes
	elif [ "$(cat state)" = running ]; then
		kill_machine
	fi
}

@test "values: what they take, and what they say of the rest" {
	for v in no always unless-stopped on-failure on-failure:3; do
		echo $v >restart
		[ "$(cat restart)" = $v ]
	done
	fails 'Invalid argument' 'on-failure:N' error 'echo sometimes >restart'
	fails 'Invalid argument' 'on-failure:N' error 'echo on-failure:0 >restart'
	for f in max_duration_sec idle_timeout_sec; do
		fails 'range' "$f is a number of seconds from 0" error "echo 31536001 >$f"
		fails 'Invalid argument' "$f is a number of seconds from 0" error "echo 1m >$f"
	done
	fails 'range' 'from 1 to 3600' error 'echo 0 >stop_timeout_sec'
	[ "$(cat stop_timeout_sec)" = 10 ]
}

@test "always: a machine that dies comes back, one that is stopped does not" {
	echo always >restart
	echo start >ctl
	echo 'echo kept >/kept' >exec
	old=$(has qemu_pid)
	kill_machine
	until_is 60 1 has restarts
	until_is 60 running cat state
	[ "$(has qemu_pid)" != "$old" ]
	[ "$(guest $name 'cat /kept')" = kept ]
	grep -q '"event":"restart","in_ms":100,"try":1' events
	echo 'poweroff -f' >exec || true
	until_is 60 2 has restarts
	until_is 60 running cat state
	echo stop >ctl
	sleep 1
	[ "$(cat state)" = stopped ]
	[ "$(has restart_in_ms)" = 0 ]
}

@test "on-failure: so many tries, and not after a power-off; stop ends the waiting" {
	echo on-failure:1 >restart
	echo start >ctl
	kill_machine
	until_is 60 1 has restarts
	until_is 60 running cat state
	kill_machine # it has not run for long: this is its second failure in a row
	until_is 10 failed cat state
	grep -q '"event":"restart_given_up","tries":1' events
	echo on-failure:9 >restart
	echo start >ctl
	until_is 60 yes waits
	echo stop >ctl
	[ "$(has restart_in_ms)" = 0 ]
	echo start >ctl
	echo 'poweroff -f' >exec || true
	until_is 20 stopped cat state
	[ "$(has restart_in_ms)" = 0 ]
}

@test "a new msbd starts what was running, as its policy says" {
	sandbox two restart=unless-stopped
	sandbox three restart=no
	echo unless-stopped >restart
	for s in $name two three; do echo start >"$m/$s/ctl" & done
	wait
	echo stop >"$m/two/ctl"
	one=$(has qemu_pid)
	three=$(status_of three qemu_pid)
	cd /
	"$bin/msbd" --stop
	kill -9 "$one" "$three"
	"$bin/msbd"
	until_is 60 running cat "$m/$name/state"
	[ "$(status_of $name restarts)" = 1 ]
	[ "$(cat "$m/two/state")" = stopped ]
	[ "$(cat "$m/three/state")" = failed ]
	rmdir "$m/two" "$m/three"
}

@test "auto_remove: it goes with its machine, not at a restart, and by a new msbd where that was killed" {
	fails 'Invalid argument' 'auto_remove is 1' error 'echo yes >auto_remove'
	sandbox gone auto_remove=1 init=cmd 'cmd=["sh","-c","until [ -e /go ]; do sleep 0.1; done; exit 3"]'
	echo start >"$m/gone/ctl"
	exec 8<"$m/gone/status" 9<"$m/gone/wait"
	touch "$m/gone/root/go"
	[ "$(cat <&9)" = failed ]
	[[ $(dd bs=64k status=none <&8) == *$'\n'"exit_code 3"$'\n'* ]]
	exec 8<&- 9<&-
	[ ! -e "$m/gone" ]
	grep -q '"sandbox":"gone",.*"event":"removed","reason":"auto_remove"' "$m/events"
	# A start that fails leaves what it is asked about.
	echo nosuch >image
	echo never >pull
	echo 1 >auto_remove
	fails '' 'nosuch' error 'echo start >ctl'
	echo bb >image
	echo start >ctl
	echo restart >ctl
	[ "$(cat state)" = running ]
	machine=$(has qemu_pid)
	msbd=$(msbd_pid)
	cd /
	kill -9 "$msbd" "$machine"
	until_is 5 gone eval "[ -e /proc/$msbd ] || echo gone"
	"$bin/msbd"
	[ ! -e "$m/$name" ]
	sandbox $name # for teardown
}

@test "max_duration_sec: over, also where msbd was another one in between" {
	echo start >ctl
	echo 1 >max_duration_sec
	until_is 20 stopped cat state
	[[ $(has reason) == max_duration_sec* ]]
	echo 0 >max_duration_sec
	echo start >ctl
	begun=$(has started_usec)
	cd /
	"$bin/msbd" --stop
	"$bin/msbd"
	[ "$(status_of $name started_usec)" = "$begun" ]
	echo 1 >"$m/$name/max_duration_sec"
	until_is 20 stopped cat "$m/$name/state"
}

@test "idle_timeout_sec: not while something runs" {
	echo start >ctl
	echo 'touch /began; until [ -e /go ]; do sleep 0.1; done; echo done >/done' >exec &
	until_is 20 yes eval '[ -e root/began ] && echo yes'
	echo 1 >idle_timeout_sec
	sleep 3
	[ "$(cat state)" = running ]
	touch root/go
	wait
	until_is 20 stopped cat state
	[[ $(has reason) == idle_timeout_sec* ]]
	[ "$(cat root/done)" = 'done' ]
}

@test "stop_timeout_sec, or what stop and restart say themselves: what does not end is killed then" {
	stubborn() {
		exec 8<>exec
		echo 'trap "" TERM HUP; while :; do sleep 0.1; done' >&8
	}
	echo 1 >stop_timeout_sec
	echo start >ctl
	stubborn
	echo stop >ctl
	exec 8>&-
	[ "$(cat state)" = stopped ]
	# With an hour of the value's own this ends in time only by the time that is said.
	echo 3600 >stop_timeout_sec
	echo start >ctl
	fails 'range' 'from 1 to 3600 seconds, not `0`' error 'echo stop 0 >ctl'
	fails 'Invalid' 'not `soon`' error 'echo restart soon >ctl'
	fails 'Invalid' 'it is `stop [SECONDS]`' error 'echo stop 1 2 >ctl'
	stubborn
	timeout 120 sh -c 'echo restart 1 >ctl'
	exec 8>&-
	[ "$(cat state)" = running ]
	stubborn
	timeout 120 sh -c 'echo stop 1 >ctl'
	exec 8>&-
	[ "$(cat state stop_timeout_sec)" = $'stopped\n3600' ]
}
