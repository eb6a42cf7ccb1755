# SPDX-License-Identifier: Apache-2.0
# Events: every kind that mnt-layout.md names comes, with its keys, to the sandbox and to the instance.

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

# event FILTER: the last event of that kind of the sandbox `a`, as jq selects it; of the instance too
event() {
	tail -n 400 "$m/events" | jq -ce "select(.sandbox == \"a\") | select($1)" | tail -n 1 | grep . >"$dir/global"
	jq -ce "select($1) | del(.seq, .time)" "$m/a/events" | tail -n 1 | grep . &&
		[ "$(jq -c 'del(.seq, .time)' "$dir/global")" = "$(jq -ce "select($1) | del(.seq, .time)" "$m/a/events" | tail -n 1)" ]
}

# end_of KEY: kills the process that status calls so
end_of() {
	local pid
	pid=$(status_of a "$1")
	[ "$pid" -gt 1 ]
	kill -9 "$pid"
}

comes() {
	local end=$((SECONDS + 60))
	until event "$1"; do
		[ $SECONDS -lt $end ] || { echo "no event with $1"; cat "$m/a/events"; return 1; }
		read -rt 0.05 <> <(:) || true
	done
}

@test "a life: created, states with reasons, jobs, mounts" {
	sandbox a
	event '.event == "created" and .state == "created" and .name == null'
	echo start >"$m/a/ctl"
	event '.event == "state" and .state == "running"'
	exec 8<>"$m/a/jobs/clone"
	read -r n <&8
	printf '["sh","-c","exit 3"]' >"$m/a/jobs/$n/argv"
	echo start >"$m/a/jobs/$n/ctl"
	cat "$m/a/jobs/$n/wait"
	exec 8>&-
	event ".event == \"job_started\" and .job == $n"
	event ".event == \"job_ended\" and .job == $n and .reason == \"exited\" and .exit_code == 3"
	echo 'none /t memory' >"$m/a/mounts"
	event '.event == "mount" and .path == "/t" and .backend == "memory"'
	echo >"$m/a/mounts"
	event '.event == "unmount" and .path == "/t"'
	# each line is JSON, numbered without a gap
	jq -es '[.[].seq] == [range(1; length + 1)]' "$m/a/events"
}

@test "a limit that was hit, and by whom" {
	bash -c 'for i in {1..300}; do echo x >'"$m"'/a/env/V$i || exit 1; done' 2>/dev/null || true
	event '.event == "limit" and .errno == "EDQUOT" and .uid == 0 and (.path | startswith("/a/env/V")) and (.message | test("256"))'
}

@test "what was refused" {
	run ! rm -f "$m/a/cpus"
	event '.event == "denied" and .errno == "EPERM" and .path == "/a/cpus"'
}

@test "what rules refuse a guest, and no more of it than there is room for" {
	mkdir "$dir/share"
	printf k >"$dir/share/x.key"
	echo "$dir/share /share passthrough deny=*.key" >"$m/a/mounts"
	guest a 'cat /share/x.key 2>&1' | grep -q 'Permission denied'
	comes '.event == "denied" and .mount == "/share" and .path == "/x.key" and .op == "lookup" and .errno == "EACCES" and .guest_uid == 0 and .guest_pid > 0'
	local begun=$SECONDS
	guest a 'i=0; while [ $i -lt 300 ]; do [ -e /share/$i.key ]; i=$((i + 1)); done'
	denied() { jq -s "map(select(.event == \"denied\" and .mount == \"/share\")) | $1" "$m/a/events"; }
	[ "$(denied length)" -le $(((SECONDS - begun) / 10 * 20 + 60)) ] # 20 of each span of 10 s that was touched
	# Once there is room again, the next one says how many were not told.
	until_is 60 true eval "guest a '[ -e /share/late.key ]'; denied 'length + (map(.more // 0) | add) > 300'"
	echo >"$m/a/mounts"
}

@test "a guest that runs out of memory" {
	echo 'tail /dev/zero' >"$m/a/exec" || true
	comes '.event == "oom"'
	until_is 10 yes eval '[ "$(cat "$m/a/metrics/guest_oom_kills")" -ge 1 ] && echo yes'
	[ "$(guest a 'echo alive')" = alive ]
}

@test "the agent's process is lost, and back" {
	end_of agent_pid
	comes '.event == "agent_lost" and .reason == "signal 9 (Killed)"'
	comes '.event == "agent_ready"'
	[ "$(guest a 'echo alive')" = alive ]
	# a machine that is stopped loses nothing
	n=$(grep -c agent_lost "$m/a/events")
	echo stop >"$m/a/ctl"
	[ "$(grep -c agent_lost "$m/a/events")" = "$n" ]
}

@test "a machine that dies says so, with a reason" {
	echo start >"$m/a/ctl"
	end_of qemu_pid
	comes '.event == "state" and .state == "failed" and (.reason | length > 5)'
	rmdir "$m/a"
	jq -ce 'select(.event == "removed" and .sandbox == "a")' "$m/events"
}

@test "every kind that was seen has its row in mnt-layout.md" {
	sed -n '/^## Events/,/^## /p' "$repo/mnt-layout.md" | sed -n 's/^| `\([a-z_-]*\)`.*/\1/p' | sort >"$dir/rows"
	jq -r .event "$m/events" | sort -u >"$dir/seen"
	[ -z "$(comm -13 "$dir/rows" "$dir/seen")" ] || { comm -13 "$dir/rows" "$dir/seen"; false; }
	# and every one that the sources tell
	grep -ohE 'ctl_(event|notice)\([^"]*"[a-z_-]+"' "$repo"/ctl/*.c | sed 's/.*"\(.*\)"/\1/' | sort -u >"$dir/told"
	[ -z "$(comm -13 "$dir/rows" "$dir/told")" ] || { comm -13 "$dir/rows" "$dir/told"; false; }
}
