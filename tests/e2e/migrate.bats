#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A real machine is saved to a file, everything is killed, a new QEMU and a new file server go on: with files open,
# deleted, mapped and listed half way, and with two processes at work on others (migrate_init.c, migrate.py).

bats_require_minimum_version 1.5.0

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	dir=$(mktemp -d /tmp/msbg.XXXXXX)
	mkdir "$dir/m" "$dir/share"
}

teardown() {
	rm -rf "$dir"
}

migrate() {
	timeout 500 python3 tests/e2e/migrate.py "$dir/m" build/e2e/share "$@"
}

@test "a machine at work is saved and goes on, twice, and once more after a stop" {
	output=$(migrate live live stop)
	echo "$output"
	[ "$(grep -c "restored, .*: ok 1" <<<"$output")" = 3 ]
	# What is copied while the guest runs is copied more than once.
	[[ $output =~ live\ restored,\ ([0-9]+)\ passes ]]
	[ "${BASH_REMATCH[1]}" -ge 2 ]
}

@test "so is one with a directory of the host and a file system in memory" {
	output=$(migrate live stop -- mem=memory: "dir=passthrough:$dir/share")
	echo "$output"
	[ "$(grep -c "restored, .*: ok 3" <<<"$output")" = 2 ]
}

@test "so is one that has mounted nothing" {
	output=$(migrate idle live stop)
	echo "$output"
	[ "$(grep -c "restored, .*: ok 0" <<<"$output")" = 2 ]
}
