# SPDX-License-Identifier: Apache-2.0
# The agent in a real guest: many commands, a fast writer, a reader that sleeps, users, memory, the log, the end
# of a guest, and msb-agentd killed under it.

bats_require_minimum_version 1.5.0

setup_file() {
	cd "$BATS_TEST_DIRNAME/../.."
	dir=$(mktemp -d /tmp/msba.XXXXXX)
	export dir MSB_MNT=$dir/m MSB_STATE=$dir/s
	export s=$MSB_MNT/a
	mkdir "$MSB_MNT"
	[ -f build/images/busybox/index.json ] || tools/mkimage busybox build/images/busybox
	build/bin/msbd
	echo "import $PWD/build/images/busybox busybox" >"$MSB_MNT/images/ctl"
	mkdir "$s"
	echo busybox >"$s/image"
	echo 128M >"$s/memory_bytes"
	echo start >"$s/ctl"
}

teardown_file() {
	build/bin/msbd --stop --all >/dev/null 2>&1 || true
	rm -rf "$dir"
}

# guest LINE: what a command prints in the sandbox; one that stands still ends some time
guest() {
	local fd
	exec {fd}<>"$s/exec" || return 1
	echo "$1" >&"$fd" || return 1
	timeout 1200 cat <&"$fd"
	exec {fd}>&-
}

# gone COMMAND: no process of the guest is called so any more, in time
gone() {
	for _ in $(seq 300); do
		guest "ps" | grep -q "$1" || return 0
		sleep 0.2
	done
	guest "ps"
	return 1
}

@test "a hundred commands at once" {
	for i in $(seq 100); do
		guest "sleep 1; echo answer \$(($i * 3))" >"$dir/out.$i" &
	done
	wait
	for i in $(seq 100); do
		[ "$(cat "$dir/out.$i")" = "answer $((i * 3))" ]
	done
}

@test "a fast writer and a reader that sleeps delay nobody" {
	exec {asleep}<>"$s/exec"
	echo 'echo begin; exec cat /dev/zero' >&"$asleep"
	guest 'head -c 200000000 /dev/zero' | wc -c >"$dir/bytes" &
	pid=$!
	for i in 1 2 3 4 5; do
		[ "$(timeout 100 cat < <(guest "echo prompt $i"))" = "prompt $i" ]
	done
	wait "$pid"
	[ "$(cat "$dir/bytes")" = 200000000 ]
	read -r line <&"$asleep"
	[ "$line" = begin ]
	exec {asleep}>&-
	gone 'cat /dev/zero'
}

@test "a command whose reader goes is hung up, then killed with all it has started" {
	exec {fd}<>"$s/exec"
	echo 'trap "" HUP; sleep 4321 & setsid sleep 4322 & echo up; sleep 4323' >&"$fd"
	read -r line <&"$fd"
	[ "$line" = up ]
	guest ps | grep -q 'sleep 4322'
	exec {fd}>&-
	gone 'sleep 432'
}

@test "users by name and number, groups, home" {
	guest 'echo "joe:x:1000:1000::/home/joe:/bin/sh" >> /etc/passwd; echo "wheel:x:10:joe" >> /etc/group'
	echo joe >"$s/user"
	[ "$(guest 'id -u; id -g; id -G; echo $HOME $USER')" = $'1000\n1000\n1000 10\n/home/joe joe' ]
	[ "$(guest 'echo through > /dev/stdout')" = through ]
	echo 1234:5 >"$s/user"
	[ "$(guest 'id -u; id -g; id -G; echo $HOME')" = $'1234\n5\n5\n/' ]
	echo nobody-here >"$s/user"
	run -1 bash -c 'echo true >"$s/exec"'
	grep -q "nobody-here" "$s/error"
	echo >"$s/user"
	guest true
}

@test "a command that takes all memory is ended, the sandbox is not" {
	run -1 bash -c 'echo "tail /dev/zero" >"$s/exec"'
	grep -q 'signal 9' "$s/error"
	[ "$(cat "$s/state")" = running ]
	[ "$(guest 'echo still here')" = 'still here' ]
}

@test "the log is what was printed, byte for byte" {
	guest 'for i in 1 2 3; do cat /bin/busybox; printf "\344\303\244\342\202\254\n"; done' >"$dir/raw"
	python3 - "$s/log" "$dir/raw" <<-'PY'
		import base64, json, sys
		jobs = {}
		for line in open(sys.argv[1], "rb"):
		    r = json.loads(line)
		    if r["stream"] == "stdout":
		        jobs.setdefault(r["job"], bytearray()).extend(
		            base64.b64decode(r["data_base64"]) if "data_base64" in r else r["data"].encode())
		assert bytes(jobs[max(jobs)]) == open(sys.argv[2], "rb").read()
	PY
}

@test "msb-agentd is killed: what ran is hung up, and exec works again" {
	exec {fd}<>"$s/exec"
	echo 'echo up; exec cat /dev/zero' >&"$fd"
	read -r line <&"$fd"
	old=$(sed -n 's/^agent_pid //p' "$s/status")
	kill -9 "$old"
	for _ in $(seq 600); do
		new=$(sed -n 's/^agent_pid //p' "$s/status")
		[ "$new" != "$old" ] && [ "$new" -gt 0 ] && [ "$(guest 'echo again')" = again ] && break
		sleep 0.1
	done
	[ "$(guest 'echo again')" = again ]
	[ "$(cat "$s/state")" = running ]
	gone 'cat /dev/zero'
	exec {fd}>&-
}

@test "stop: SIGTERM comes first, what was written is there, the machine powers off" {
	exec {fd}<>"$s/exec"
	echo 'trap "echo bye > /root/bye; exit" TERM; echo up; while :; do sleep 0.1; done' >&"$fd"
	read -r line <&"$fd"
	[ "$line" = up ]
	echo stop >"$s/ctl"
	[ "$(cat "$s/state")" = stopped ]
	[ "$(cat "$s/root/root/bye")" = bye ]
	grep -q 'Power down' "$s/console"
	exec {fd}>&-
}

@test "poweroff in the guest is a stop" {
	echo start >"$s/ctl"
	guest 'trap "echo ended > /root/ended; exit" TERM; poweroff; while :; do sleep 0.1; done' || true
	for _ in $(seq 600); do
		[ "$(cat "$s/state")" = stopped ] && break
		sleep 0.1
	done
	cat "$s/state" "$s/error"
	tail -n 3 "$s/console" "$s/events"
	[ "$(cat "$s/state")" = stopped ]
	[ "$(cat "$s/root/root/ended")" = ended ]
}
