# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # helper.bash sets them
# Lookups, listings and attributes of an image, and of what lies below an overlay, cost the file server no system
# call but those that carry requests and replies, and memory for what the kernel now holds: they are counted while
# it is asked a little, and a lot. (tests/unit/test_image_backend.c has it with no kernel, and no call at all.)

setup_file() {
	load helper
	msb_setup
	mkdir -p "$dir/tree" "$dir/upper"
	for d in $(seq 60); do
		mkdir "$dir/tree/d$d"
		for f in $(seq 50); do echo "$d $f" >"$dir/tree/d$d/f$f"; done
		ln -s f1 "$dir/tree/d$d/link"
		head -c 5000 /dev/zero >"$dir/tree/d$d/large"
	done
	umoci init --layout "$dir/oci"
	umoci new --image "$dir/oci:t"
	tar -c -C "$dir/tree" --owner=0 --group=0 . >"$dir/layer.tar"
	umoci raw add-layer --image "$dir/oci:t" "$dir/layer.tar"
	"$bin/msbd"
	echo "import $dir/oci it" >"$m/images/ctl"
	cp "$MSB_STATE/store/images/$(sed 's/^sha256://' "$m/images/it/digest")/index" "$dir/index"
	cp -r "$MSB_STATE/store/packs" "$dir/packs"
	"$bin/msbd" --stop --all
}

teardown_file() {
	load helper
	msb_teardown
}

setup() {
	load helper
	mkdir -p "$dir/mnt"
}

teardown() {
	umount "$dir/mnt" 2>/dev/null || true
}

# storm FROM TO: looks up, lists and stats all of these directories, and names that are not there
storm() {
	local d
	for d in $(seq "$1" "$2"); do
		ls -lna "$dir/mnt/d$d"
		stat "$dir/mnt/d$d/none"{1..20} || true
	done >"$dir/seen.$1" 2>/dev/null
	[ "$(wc -l <"$dir/seen.$1")" = $((($2 - $1 + 1) * 55)) ]
}

# calls FROM TO: the server's system calls meanwhile: how many carry requests, which for /dev/fuse are read, write,
# and poll while it looks for the next one; in $dir/others the rest, but for memory
calls() {
	local tracer
	strace -c -f -U name,calls -o "$dir/calls" -p "$server" 3>&- &
	tracer=$!
	until_is 20 "$tracer" sed -n 's/^TracerPid:\t//p' "/proc/$server/status"
	storm "$1" "$2" || return 1
	kill -INT "$tracer"
	wait "$tracer" || true
	awk '$2 ~ /^[0-9]+$/ && $1 != "total" {if ($1 ~ /^(read|readv|write|writev|poll)$/) n += $2
			else if ($1 !~ /^(brk|mmap|mremap|mprotect|munmap|madvise)$/) print $1, $2 > "'"$dir/others"'"}
		END {print n}' "$dir/calls"
}

# counted BACKEND PARTS: what a storm costs that is ten times as long
counted() {
	local few many
	"$repo/build/e2e/fsmount" -d "$1" "$2" "$dir/mnt" >"$dir/pid" 2>"$dir/log" 3>&-
	server=$(cat "$dir/pid")
	: >"$dir/others"
	few=$(calls 1 5) || return 1
	mv "$dir/others" "$dir/others.few"
	: >"$dir/others"
	many=$(calls 6 55) || return 1
	echo "$1: $few calls carried a short storm, $many a long one; others:"
	cat "$dir/others.few"
	echo "and"
	cat "$dir/others"
	# Each request is read and answered: the storms were there.
	[ "$few" -gt 100 ]
	[ "$many" -gt $((few * 5)) ]
	# The rest is what a server does that waits: not more for more requests.
	[ "$(awk '{n += $2} END {print n + 0}' "$dir/others")" -le $(($(awk '{n += $2} END {print n + 0}' "$dir/others.few") + 10)) ]
}

@test "an image" {
	[ "$(id -u)" = 0 ] || skip "tracing the server takes root"
	counted image "index=$dir/index,packs=$dir/packs"
}

@test "what lies below an overlay" {
	[ "$(id -u)" = 0 ] || skip "tracing the server takes root"
	counted overlay "index=$dir/index,packs=$dir/packs,upper=$dir/upper"
}

@test "a passthrough has more to do, and the count says so" {
	[ "$(id -u)" = 0 ] || skip "tracing the server takes root"
	run counted passthrough "$dir/tree"
	echo "$output"
	[ "$status" != 0 ]
	grep -q '^statx\|^newfstatat\|^openat2\|^getdents64' "$dir/others"
}
