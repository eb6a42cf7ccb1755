# SPDX-License-Identifier: Apache-2.0
# What e2e tests share: an instance of msb of their own, under a directory with a short name.
# shellcheck shell=bash

# msb_setup: paths and an empty instance, not started
msb_setup() {
	repo=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	bin=${MSB_TEST_BIN:-$repo/build/bin}
	dir=$(mktemp -d /tmp/msbt.XXXXXX)
	chmod 0755 "$dir"
	export MSB_MNT=$dir/m MSB_STATE=$dir/s
	m=$MSB_MNT
	export repo bin dir m
}

# msb_teardown: everything ended, nothing left; fails where something is
msb_teardown() {
	cd /
	"$bin/msbd" --stop --all || true
	until_is 5 '' left
	rm -rf "$dir"
}

# left: what the instance has of mounts and processes
left() {
	grep " $dir/" /proc/self/mountinfo
	pgrep -af "$dir/"
}

# an image `bb` from busybox, imported
msb_image() {
	[ -f "$repo/build/images/busybox/index.json" ] || "$repo/tools/mkimage" busybox "$repo/build/images/busybox"
	echo "import $repo/build/images/busybox bb" >"$m/images/ctl"
}

# sandbox NAME [FILE=VALUE...]: a sandbox of 128 MiB from bb
sandbox() {
	local name=$1 kv
	shift
	mkdir "$m/$name"
	echo bb >"$m/$name/image"
	echo 128M >"$m/$name/memory_bytes"
	for kv; do
		echo "${kv#*=}" >"$m/$name/${kv%%=*}"
	done
}

# msb_dev: an instance in which the sandbox `dev` runs
msb_dev() {
	msb_setup
	"$bin/msbd"
	msb_image
	sandbox dev
	echo start >"$m/dev/ctl"
}

# guest NAME LINE: what a command prints
guest() {
	local fd
	exec {fd}<>"$m/$1/exec" || return 1
	echo "$2" >&"$fd" || return 1
	cat <&"$fd"
	exec {fd}>&-
}

# status NAME KEY: a value of status
status_of() {
	sed -n "s/^$2 //p" "$m/$1/status"
}

# jobs_of NAME: how many it has
jobs_of() { find "$m/$1/jobs" -mindepth 1 -maxdepth 1 -type d | wc -l; }

# until_is SECONDS WANT COMMAND...: the command's output becomes WANT. The time only ends what hangs: SECONDS are a
# quiet machine's, one that is busy has a minute more.
until_is() {
	local end=$((${EPOCHREALTIME/./} + ($1 + 60) * 1000000)) want=$2 got
	shift 2
	while :; do
		got=$("$@") || true
		[ "$got" = "$want" ] && return 0
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || { echo "$*: '$got', not '$want'"; return 1; }
		read -rt 0.02 <> <(:) || true
	done
}

# fails ERRNO-TEXT SENTENCE-PART ERROR-FILE SHELL-LINE: refused with both
fails() {
	local out
	if out=$(bash -c "$4" 2>&1); then
		echo "'$4' should fail"
		return 1
	fi
	[[ $out == *"$1"* ]] || { echo "'$4': '$out', not '$1'"; return 1; }
	[ -z "$3" ] || [[ $(cat "$3") == *"$2"* ]] || { echo "$3: '$(cat "$3")', not '$2'"; return 1; }
}

# ours PATTERN: processes of this instance with such a command line; others may run beside it
ours() {
	local p
	for p in $(pgrep -f "$1"); do
		if grep -qz "^MSB_MNT=$m\$" "/proc/$p/environ" 2>/dev/null; then echo "$p"; fi
	done
}

# msbd_pid: of this instance; a child of it that is not another program yet is called the same
msbd_pid() {
	local p
	for p in $(ours "^$bin/msbd\$"); do
		[ "$(ps -o comm= -p "$(ps -o ppid= -p "$p")" 2>/dev/null)" = msbd ] || echo "$p"
	done | grep .
}

# msbd_killed: kill -9 of msbd, and another one
msbd_killed() {
	local pid
	cd /
	pid=$(msbd_pid)
	kill -9 "$pid"
	until_is 5 gone eval "[ -e /proc/$pid ] || echo gone"
	"$bin/msbd"
}
