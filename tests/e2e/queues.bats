# SPDX-License-Identifier: Apache-2.0
# A machine's file systems have a queue of requests for each CPU.
# shellcheck disable=SC2154,SC2016 # helper.bash sets them; the guest expands

load helper

setup() {
	msb_setup
	"$bin/msbd"
	msb_image
}

teardown() {
	msb_teardown
}

@test "two CPUs have two request queues at each file system and use both; the server stays small" {
	sandbox box cpus=2
	echo start >"$m/box/ctl"
	until_is 120 running cat "$m/box/state"
	run guest box 'for c in 1 2; do taskset $c dd if=/dev/zero of=/f$c bs=64k count=32 2>&1; done; grep requests /proc/interrupts'
	echo "$output"
	# CPU0's on queue 0, CPU1's on queue 1; two file systems.
	[ "$(grep -c "requests.0" <<<"$output")" = 2 ]
	[ "$(grep -c "requests.1" <<<"$output")" = 2 ]
	awk '/requests/ { q = substr($NF, length($NF)); n[q] += $(2 + q) } END { exit !(n[0] > 8 && n[1] > 8) }' <<<"$output"
	# Its own memory, in KiB: not the guest's, nor what it shares with other servers.
	pid=$(status_of box fsd_pid)
	[ "$(awk '/^Private/ { kb += $2 } END { print kb + 0 }' "/proc/$pid/smaps_rollup")" -lt 5000 ]
	# The kernel reads ahead as far as PID 1 says.
	[ "$(guest box 'cat /sys/class/bdi/$(awk "\$5 == \"/\" { print \$3 }" /proc/self/mountinfo)/read_ahead_kb')" = 512 ]
}
