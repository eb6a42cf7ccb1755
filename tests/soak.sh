#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Creates SANDBOXES (50), starts and stops them RUNNING (8) at a time, STARTS (100) starts in all, and counts
# processes, descriptors, mounts, sockets and files before and after. Speaks TAP. Its own mount and state.
# Before the first count one sandbox is started and stopped, so that what is made once does not look like a leak.
set -u
cd "$(dirname "$0")/.." || exit 1

sandboxes=${SANDBOXES:-50} running=${RUNNING:-8} starts=${STARTS:-100}
dir=$(mktemp -d /tmp/msbk.XXXXXX)
export MSB_MNT=$dir/m MSB_STATE=$dir/s
mkdir "$MSB_MNT"
m=$MSB_MNT
bad=0 n=0
check() { # check TEXT CONDITION...
	local text=$1
	shift
	n=$((n + 1))
	if "$@"; then echo "ok $n - $text"; else echo "not ok $n - $text"; bad=1; fi
}
# shellcheck disable=SC2317 # the trap calls it
finish() {
	build/bin/msbd --stop --all >/dev/null 2>&1
	rm -rf "$dir"
}
trap finish EXIT

# Every process of this instance: msbd, what it started, and the machines.
ours() { pgrep -f -- "$MSB_STATE|$MSB_MNT" | grep -vx $$; grep -lzs "^MSB_STATE=$MSB_STATE\$" /proc/[0-9]*/environ | cut -d/ -f3; }
pids() { ours | sort -un | while read -r p; do
	case $(cat /proc/"$p"/comm 2>/dev/null) in msb*|qemu*) echo "$p" ;; esac
done; }
count() { # processes, their descriptors, mounts, sockets, files
	local p fds=0
	for p in $(pids); do fds=$((fds + $(find /proc/"$p"/fd -mindepth 1 2>/dev/null | wc -l))); done
	printf 'processes %s\nfds %s\nmounts %s\nsockets %s\nfiles %s\n' "$(pids | wc -l)" "$fds" \
		"$(grep -c "$dir" /proc/self/mountinfo)" "$(grep -c "$dir" /proc/net/unix)" \
		"$(find "$MSB_STATE" -xdev ! -name '*-wal' ! -name '*-shm' ! -name '*.backup' ! -name '*.log*' 2>/dev/null | wc -l)"
}
settle() { # settle NAME: counted once nothing has come or gone for some seconds
	local same=0
	count >"$dir/$1"
	for _ in {1..100}; do
		sleep 1
		count >"$dir/now"
		if cmp -s "$dir/$1" "$dir/now"; then same=$((same + 1)); else same=0; fi
		mv "$dir/now" "$dir/$1"
		[ $same -lt 4 ] || return
	done
}
details() { # what each descriptor is, for the report of a leak
	local p
	for p in $(pids); do
		find /proc/"$p"/fd -mindepth 1 -printf "$(cat /proc/"$p"/comm) %l\n" 2>/dev/null
	done | sed 's/\[[0-9]*\]//' | sort | uniq -c
}
# shellcheck disable=SC2016 # the guest's shell expands it
use() {
	echo 'test "$(cat /proc/sys/kernel/hostname)"' >"$m/$1/exec" && echo "echo $1 > /tmp/mark" >"$m/$1/exec"
}

[ -f build/images/busybox/index.json ] || tools/mkimage busybox build/images/busybox || exit 1
build/bin/msbd || exit 1
echo "import $PWD/build/images/busybox busybox" >"$m/images/ctl" || exit 1

mkdir "$m/warm" && echo busybox >"$m/warm/image" && echo start >"$m/warm/ctl" && use warm && echo stop >"$m/warm/ctl"
check "a first sandbox starts, runs and stops" [ $? = 0 ]
rmdir "$m/warm"
settle before
details >"$dir/before.fds"

ok=1
for i in $(seq "$sandboxes"); do
	mkdir "$m/s$i" && echo busybox >"$m/s$i/image" && echo 128M >"$m/s$i/memory_bytes" || ok=0
done
check "$sandboxes sandboxes are created" [ $ok = 1 ]

# Rounds of RUNNING: all are started together, all are running together, all are stopped together.
started=0 peak=0 next=0
while [ "$started" -lt "$starts" ]; do
	round=()
	while [ ${#round[@]} -lt "$running" ] && [ $((started + ${#round[@]})) -lt "$starts" ]; do
		next=$((next % sandboxes + 1))
		round+=("s$next")
	done
	: >"$dir/done"
	for s in "${round[@]}"; do
		(echo start >"$m/$s/ctl" && use "$s" && echo "$s" >>"$dir/done") || echo "start of $s: $(cat "$m/$s/error")" >&2 &
	done
	wait
	up=$(cat "$m"/s*/state | grep -c running)
	[ "$up" -gt "$peak" ] && peak=$up
	for s in "${round[@]}"; do
		(echo stop >"$m/$s/ctl" && [ "$(cat "$m/$s/state")" = stopped ]) || echo "stop of $s: $(cat "$m/$s/error")" >>"$dir/bad" &
	done
	wait
	started=$((started + ${#round[@]}))
	[ "$(wc -l <"$dir/done")" = ${#round[@]} ] || echo "a start failed" >>"$dir/bad"
done
check "$started starts, commands and stops succeed" [ ! -e "$dir/bad" ]
check "$running run at once (most: $peak)" [ "$peak" = "$running" ]

for i in $(seq "$sandboxes"); do rmdir "$m/s$i" || bad=1; done
settle after
details >"$dir/after.fds"
paste "$dir/before" "$dir/after" | sed 's/^/# before, after: /'
check "nothing leaks: processes, fds, mounts, sockets, files" cmp -s "$dir/before" "$dir/after"
if ! cmp -s "$dir/before" "$dir/after"; then
	diff "$dir/before.fds" "$dir/after.fds" | sed 's/^/# /'
	for p in $(pids); do echo "# $p $(tr '\0' ' ' </proc/"$p"/cmdline | cut -c1-120)"; done
fi
echo "1..$n"
exit $bad
