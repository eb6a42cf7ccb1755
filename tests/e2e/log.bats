# SPDX-License-Identifier: Apache-2.0
# NAME/log: every byte once and in order, through rotations, for who follows it, and whoever is killed meanwhile.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
	sandbox a
	echo start >"$m/a/ctl"
}

teardown_file() {
	[ ! -f "$dir/tail" ] || kill "$(cat "$dir/tail")" 2>/dev/null || true
	msb_teardown
}

# print N TAG: N lines of the guest, some 4.6 MB for 120000
print() {
	guest a "awk 'BEGIN { for (i = 0; i < $1; i++) print \"$2-a-line-of-a-certain-length-\" i }'" | wc -l
}

# of_job N: what the log says that job N printed
of_job() { jq -j "select(.job == $1 and .stream == \"stdout\") | .data // (.data_base64 | @base64d)" "$m/a/log"; }
last_job() { tail -n 1 "$m/a/log" | jq .job; }
expected() { awk -v n="$1" -v t="$2" 'BEGIN { for (i = 0; i < n; i++) print t "-a-line-of-a-certain-length-" i }'; }
files() { find "$MSB_STATE/sandboxes" -name 'log*' | wc -l; }
size() { stat -c %s "$1"; }

@test "followed through rotations: no line lost, none twice" {
	echo 'echo first' >"$m/a/exec"
	tail -n +1 -f "$m/a/log" >"$dir/followed" 2>"$dir/complaints" &
	echo $! >"$dir/tail"
	[ "$(print 120000 one)" = 120000 ]
	one=$(last_job)
	[ "$(print 120000 two)" = 120000 ]
	two=$(last_job)
	[ "$(files)" -ge 3 ]
	until_is 60 "$(size "$m/a/log")" size "$dir/followed"
	cmp "$dir/followed" "$m/a/log"
	[ ! -s "$dir/complaints" ]
	of_job "$one" | cmp - <(expected 120000 one)
	of_job "$two" | cmp - <(expected 120000 two)
	jq -es 'all(.time and .job and .stream)' "$m/a/log" >/dev/null
}

@test "kill -9 of msbd, then of msb-agentd: what was there is there, once" {
	before=$(size "$m/a/log")
	head -c "$before" "$m/a/log" | sha256sum >"$dir/sum"
	job=$(last_job)
	msbd_killed
	[ "$(size "$m/a/log")" = "$before" ]
	echo 'echo after msbd' >"$m/a/exec"
	head -c "$before" "$m/a/log" | sha256sum | cmp - "$dir/sum"
	[ "$(last_job)" -gt "$job" ]
	[ "$(tail -n 1 "$m/a/log" | jq -r .data)" = 'after msbd' ]
	pid=$(status_of a agent_pid)
	[ "$pid" -gt 1 ]
	kill -9 "$pid"
	until_is 60 ok eval 'echo "echo after agentd" >"$m/a/exec" 2>/dev/null && echo ok'
	head -c "$before" "$m/a/log" | sha256sum | cmp - "$dir/sum"
	[ "$(tail -n 1 "$m/a/log" | jq -r .data)" = 'after agentd' ]
}

@test "bytes that are no text come back as they were" {
	guest a 'printf "\377\000\001\n"; head -c 3000 /dev/urandom | tee /kept' >"$dir/bytes"
	of=$(last_job)
	jq -j "select(.job == $of) | (.data // empty | @base64), .data_base64 // empty, \"\n\"" "$m/a/log" | base64 -d -i | cmp - "$dir/bytes"
}
