# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # helper.bash sets them
# What power.sh shows, at a few moments (MSB_CUTS=N: at so many); and that it does not take a sync for each file.

@test "what was told as done outlives a power cut, and the rest is whole or absent" {
	[ "$(id -u)" = 0 ] || skip "mounts take root"
	run "$BATS_TEST_DIRNAME/power.sh" "${MSB_CUTS:-8}"
	echo "$output"
	[ "$status" = 0 ]
}

# syncs NAME FILES: of msbd and its helpers, from its start over an import of so many files to its end
syncs() {
	local pid
	mkdir "$dir/$1.tree"
	python3 -c 'import os, sys
for k in range(int(sys.argv[2])):
    with open(f"{sys.argv[1]}/{k}", "wb") as f:
        f.write(os.urandom(1000 + k % 3000))' "$dir/$1.tree" "$2"
	umoci init --layout "$dir/$1"
	umoci new --image "$dir/$1:1"
	umoci insert --rootless --image "$dir/$1:1" "$dir/$1.tree" /x >/dev/null
	umoci config --image "$dir/$1:1" --os linux --architecture amd64
	strace -f -qq -o "$dir/trace" -e trace=fsync,fdatasync,sync,syncfs "$bin/msbd" --foreground >"$dir/out" 2>&1 3>&- 4>&- &
	pid=$!
	until_is 20 yes eval "[ -e $m/version ] && echo yes" || return 1
	echo "import $dir/$1 $1" >"$m/images/ctl" || return 1
	"$bin/msbd" --stop --all || return 1
	wait $pid || return 1
	grep -c '(' "$dir/trace"
}

@test "an import of many files takes no more syncs than one of few" {
	load helper
	msb_setup
	few=$(syncs few 40)
	many=$(syncs many 2000)
	msb_teardown
	echo "$few, $many"
	[ "$few" -gt 5 ]
	[ "$many" -le $((few + 10)) ]
}
