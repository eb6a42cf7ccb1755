# SPDX-License-Identifier: Apache-2.0
# msbd is killed and started again: nothing of jobs, verbs and policies is lost with it.

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
}

teardown() {
	exec 7>&- 8>&- 9>&-
	[ -n "$BATS_TEST_COMPLETED" ] || look
}

# look: where something stands still, on which side of the guest's channel; a command may set it going again
look() {
	tail -n 8 "$m/dev/console" "$m/log" "$m/dev/events" "$j/status"
	wc -c "$m/dev/log"
	timeout 30 bash -c "exec 9<>'$m/dev/exec'; echo 'cat /proc/uptime; grep virtio /proc/interrupts; ps | grep -v ]' >&9; cat <&9" || true
	wc -c "$m/dev/log"
	tail -c 300 "$m/dev/log"
}

# job ARGV-JSON: a kept one, in $j
job() {
	exec 7<>"$m/dev/jobs/clone"
	read -r n <&7
	j=$m/dev/jobs/$n
	printf '%s\n' "$1" >"$j/argv"
	echo keep >"$j/ctl"
	exec 7>&-
}

start() { echo start >"$j/ctl"; }

has() { sed -n "s/^$1 //p" "$j/status"; }

# said: what the log has of the job's standard output
said() {
	jq -rj "select(.job == $n and .stream == \"stdout\") | .data // (.data_base64 | @base64d)" "$m/dev/log"
}

@test "a kept job that runs: found with all that it is, and goes on" {
	job '["sh", "-c", "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; [ $((i % 100)) != 0 ] || sleep 0.1; done; echo $A; pwd; exit 7"]'
	echo one >"$j/env/A"
	echo /tmp >"$j/cwd"
	echo 600 >"$j/timeout_sec"
	echo 'nofile 55:66' >"$j/rlimits"
	echo 0:0 >"$j/user"
	start
	before=$(grep -E '^(number|pid|keep|created_usec|started_usec) ' "$j/status")
	argv=$(cat "$j/argv")
	msbd_killed
	[ "$(cat "$j/state")" = running ]
	[ "$(grep -E '^(number|pid|keep|created_usec|started_usec) ' "$j/status")" = "$before" ]
	[ "$(cat "$j/argv")" = "$argv" ]
	[ "$(cat "$j/env/A" "$j/cwd" "$j/user" "$j/timeout_sec" "$j/rlimits")" = $'one\n/tmp\n0:0\n600\nnofile 55:66' ]
	(seq 3000; echo one; echo /tmp) >"$dir/want"
	cat "$j/stdout" >"$dir/got"
	cmp "$dir/want" "$dir/got"
	[ "$(cat "$j/wait") $(has reason)" = '7 exited' ]
	said | cmp "$dir/want" -
}

@test "the end of a job while no msbd was there, and of one that had ended before" {
	job '["sh", "-c", "echo out; echo err >&2; read x; kill -9 $$"]'
	start
	first=$j
	n1=$n
	job '["sh", "-c", "echo before; exit 3"]'
	start
	[ "$(cat "$j/wait")" = 3 ]
	ended=$(has ended_usec)
	cd /
	pid=$(msbd_pid)
	echo go >"$first/stdin" # its end comes at once, after msbd's or before
	kill -9 "$pid"
	until_is 5 gone eval "[ -e /proc/$pid ] || echo gone"
	"$bin/msbd"
	[ "$(cat "$j/state" "$j/exit_code" "$j/stdout")" = $'ended\n3\nbefore' ]
	[ "$(has ended_usec) $(has reason) $(has keep)" = "$ended exited 1" ]
	j=$first n=$n1
	[ "$(cat "$j/wait")" = 137 ]
	[ "$(cat "$j/signal" "$j/stdout" "$j/stderr")" = $'KILL\nout\nerr' ]
	echo release >"$j/ctl" # it goes as ctl is closed, which close(2) does not wait for
	until_is 5 gone eval "[ -e $j ] || echo gone"
}

@test "input: what was written is not lost, and a kept job's stays open" {
	job '["sh", "-c", "sleep 1; cat"]'
	start
	head -c 200000 /dev/urandom | base64 -w0 >"$dir/in"
	exec 8>"$j/stdin"
	head -c 100000 "$dir/in" >&8 # the job does not read yet: some of it waits in between
	msbd_killed
	run ! bash -c 'echo x >&8'
	exec 8>&-
	[ "$(cat "$j/state")" = running ]
	tail -c +100001 "$dir/in" >"$j/stdin"
	[ "$(cat "$j/wait")" = 0 ]
	cmp "$dir/in" <(cat "$j/stdout")
	said | cmp "$dir/in" -
	job '["cat"]'
	start
	echo close-stdin >"$j/ctl"
	[ "$(cat "$j/wait")" = 0 ]
	msbd_killed
	[ "$(cat "$j/state")" = ended ]
}

@test "output past what is kept: the last of it is there, the rest is counted, the log exact" {
	job '["sh", "-c", "seq 300000; read x; echo end"]'
	start
	until_is 60 300000 eval "said | tail -n 1"
	msbd_killed
	seq 300000 >"$dir/want"
	exec 8<"$j/stdout"
	echo go >"$j/stdin"
	cat <&8 >"$dir/got"
	gone=$(has stdout_gone_bytes)
	[ "$(wc -c <"$dir/got")" -ge 262144 ]
	[ $(($(wc -c <"$dir/got") + gone)) = $(($(wc -c <"$dir/want") + 4)) ]
	(cat "$dir/want"; echo end) | tail -c +$((gone + 1)) | cmp - "$dir/got"
	(cat "$dir/want"; echo end) | cmp - <(said)
}

@test "a job that nobody keeps goes on, its input ended, and goes with its end" {
	exec 7<>jobs/clone
	read -r n <&7
	j=$m/dev/jobs/$n
	echo '["sh", "-c", "cat; until [ -e /goes ]; do sleep 0.1; done; echo done"]' >"$j/argv"
	start
	exec 8>"$j/stdin"
	echo text >&8
	msbd_killed
	exec 7>&- 8>&-
	[ "$(cat "$j/state")" = running ]
	exec 9<"$j/stdout" # somebody has it again
	echo 'touch /goes' >"$m/dev/exec"
	[ "$(cat <&9)" = $'text\ndone' ]
	[ "$(cat "$j/wait")" = 0 ]
	exec 9<&-
	until_is 5 no eval "[ -e $j ] && echo yes || echo no"
	# and one that ended meanwhile is not there again
	exec 7<>"$m/dev/jobs/clone"
	read -r n <&7
	j=$m/dev/jobs/$n
	echo true >"$j/argv"
	start
	[ "$(cat "$j/wait")" = 0 ]
	msbd_killed
	exec 7>&-
	[ ! -e "$j" ]
}

@test "at-close says what becomes of it" {
	job '["sh", "-c", "exec 2>/dev/null; trap \"echo hung >/hung; exit\" HUP; echo up; while :; do sleep 0.1; done"]'
	echo at-close hangup >"$j/ctl"
	exec 9<"$j/stdout"
	start
	read -r line <&9
	job '["sh", "-c", "read x; echo $x"]'
	exec 7<>"$j/state"
	echo release >"$j/ctl"
	echo at-close nothing >"$j/ctl"
	start
	msbd_killed
	exec 7>&-
	exec 9<&-
	exec 9<"$j/wait" 8<"$j/stdout"
	[ "$(has at_close)" = nothing ]
	echo word >"$j/stdin"
	[ "$(cat <&9; cat <&8)" = $'0\nword' ]
	until_is 60 hung guest dev 'cat /hung 2>/dev/null' # its holder had its time to come back
}

@test "a command of exec is hung up" {
	(echo 'exec 2>/dev/null; trap "echo hup >/tmp/hup; exit" HUP; echo up >/tmp/hup; while :; do sleep 0.1; done' >exec) 2>/dev/null &
	writer=$!
	until_is 20 up guest dev 'cat /tmp/hup 2>/dev/null'
	msbd_killed
	ended=0
	wait $writer || ended=$?
	[ "$ended" != 0 ]
	until_is 20 hup guest dev 'cat /tmp/hup 2>/dev/null'
}

@test "a time limit holds while no msbd is there" {
	job '["sleep", "100"]'
	echo 2 >"$j/timeout_sec"
	start
	cd /
	pid=$(msbd_pid)
	kill -9 "$pid"
	sleep 3
	"$bin/msbd"
	[ "$(timeout 120 cat "$j/wait") $(has reason)" = '124 timeout' ]
}

@test "a terminal and its size, signals, numbers" {
	job '["sh", "-c", "read x; stty size; read x; exit 5"]'
	echo '30 100' >"$j/tty"
	start
	echo resize 40 120 >"$j/ctl"
	msbd_killed
	[ "$(cat "$j/tty")" = '40 120' ]
	exec 9>"$j/stdin" 8<"$j/stdout"
	echo >&9
	read -r line <&8 # the echo of the newline
	read -r line <&8
	[ "$line" = $'40 120\r' ]
	exec 8<&-
	echo signal KILL >"$j/ctl"
	[ "$(cat "$j/wait")" = 137 ]
	exec 9>&-
	old=$n
	job '["true"]'
	[ "$n" -gt "$old" ]
}

@test "many jobs, and the order of their numbers" {
	for _ in $(seq 60); do
		job '["sh", "-c", "echo $0; read x", "here"]'
		start
		echo "$n"
	done >"$dir/numbers"
	msbd_killed
	while read -r n; do
		[ "$(cat "$m/dev/jobs/$n/state")" = running ]
		echo close-stdin >"$m/dev/jobs/$n/ctl"
	done <"$dir/numbers"
	while read -r n; do
		[ "$(cat "$m/dev/jobs/$n/wait" "$m/dev/jobs/$n/stdout")" = $'1\nhere' ]
		echo release >"$m/dev/jobs/$n/ctl"
	done <"$dir/numbers"
}

@test "msbd killed again and again under a job that prints" {
	job '["sh", "-c", "seq 200000; read x"]'
	start
	for _ in 1 2 3 4 5; do
		msbd_killed
	done
	[ "$(cat "$j/state")" = running ]
	until_is 60 200000 eval "said | tail -n 1"
	said | cmp <(seq 200000) -
	echo close-stdin >"$j/ctl"
	[ "$(cat "$j/wait")" = 1 ]
	[ "$(tail -n 1 "$j/stdout")" = 200000 ]
}

@test "a sandbox that is paused stays paused, with its jobs" {
	job '["sh", "-c", "read x; echo $x"]'
	start
	echo pause >"$m/dev/ctl"
	msbd_killed
	[ "$(cat "$m/dev/state")" = paused ]
	[ "$(cat "$j/state")" = running ]
	echo resume >"$m/dev/ctl"
	echo word >"$j/stdin"
	[ "$(cat "$j/wait" "$j/stdout")" = $'0\nword' ]
}

# filled: more input of these jobs is under way than one side has room for
filled() {
	[ "$(sed -n 's/^stdin_bytes //p' "${all[@]/%//status}" | awk '{ n += $1 } END { print n }')" -gt 500000 ] && echo yes
}

@test "nor does one that is paused lose any where its channel is full" {
	local all=() writers=() taken=0 n
	for _ in 1 2 3 4 5 6; do
		job '["wc", "-c"]'
		start
		all+=("$j")
	done
	echo pause >"$m/dev/ctl"
	for j in "${all[@]}"; do
		head -c 400000 /dev/zero >"$j/stdin" 2>/dev/null 3>&- &
		writers+=($!)
	done
	until_is 20 yes filled # and they wait: it is more than msb-agentd and QEMU have room for
	msbd_killed
	wait "${writers[@]}" || true
	[ "$(cat "${all[@]/%//state}" | sort -u)" = running ]
	echo resume >"$m/dev/ctl"
	for j in "${all[@]}"; do
		echo close-stdin >"$j/ctl"
		[ "$(cat "$j/wait")" = 0 ]
		n=$(has stdin_bytes)
		[ "$(cat "$j/stdout")" = "$n" ]
		taken=$((taken + n))
	done
	[ $taken -gt 500000 ] # past the 256 KiB of the one and the 208 of the other
}

@test "the agent's process ends while msbd is not there: its jobs are lost, the sandbox is not" {
	job '["sleep", "100"]'
	start
	agent=$(status_of dev agent_pid)
	cd /
	pid=$(msbd_pid)
	kill -9 "$pid" "$agent"
	until_is 5 gone eval "[ -e /proc/$agent ] || echo gone"
	"$bin/msbd"
	[ "$(guest dev 'echo here')" = here ] || until_is 30 here guest dev 'echo here'
	[ ! -e "$j" ]
}

# mute_agent NAME: msbd is killed and another started, whose `pid` it is, while NAME's `agent` does not answer; what that
# one says is in `log` after byte `from`
mute_agent() {
	log=$MSB_STATE/run/msb.log
	agent=$(status_of "$1" agent_pid)
	cd /
	pid=$(msbd_pid)
	kill -9 "$pid"
	until_is 5 gone eval "[ -e /proc/$pid ] || echo gone"
	kill -STOP "$agent"
	from=$(wc -c <"$log")
	"$bin/msbd" 3>&- &
	pid=$!
}

# says TEXT: the log says that, by and by
says() { until_is 30 "$1" eval "tail -c +$((from + 1)) '$log' | grep -o '$1'"; }

@test "an agent's process that does not answer holds up no other sandbox" {
	local log agent pid from first
	sandbox later
	echo start >"$m/later/ctl"
	job '["cat"]'
	start
	first=$j
	exec 7<>"$m/later/jobs/clone"
	read -r n <&7
	j=$m/later/jobs/$n
	echo cat >"$j/argv"
	echo keep >"$j/ctl"
	start
	exec 7>&-
	mute_agent dev
	says 'later: 1 jobs taken up'
	run ! grep 'dev: its jobs' <(tail -c "+$((from + 1))" "$log")
	kill -CONT "$agent"
	wait "$pid"
	[ "$(cat "$first/state" "$j/state")" = $'running\nrunning' ]
	echo kill >"$m/later/ctl"
	rmdir "$m/later"
}

@test "a machine that ends while msbd waits for its agent's process has failed, and nothing of it is left" {
	local log agent pid from
	sandbox doomed
	echo start >"$m/doomed/ctl"
	qemu=$(status_of doomed qemu_pid)
	mute_agent doomed
	says 'dev: found running'
	kill -9 "$qemu"
	says 'doomed: QEMU ended'
	wait "$pid"
	until_is 30 failed cat "$m/doomed/state"
	until_is 30 gone eval "[ -e /proc/$agent ] || echo gone"
	[ "$(status_of doomed agent_pid)" = 0 ] || [ -z "$(status_of doomed agent_pid)" ]
	[ "$(guest dev 'echo here')" = here ]
	echo start >"$m/doomed/ctl"
	[ "$(guest doomed 'echo here')" = here ]
	echo kill >"$m/doomed/ctl"
	rmdir "$m/doomed"
}
