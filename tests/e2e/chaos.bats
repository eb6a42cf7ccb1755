# SPDX-License-Identifier: Apache-2.0
# Clients at random, and kill -9 of everything: see chaos/chaos.py. MSB_CHAOS_SEED and MSB_CHAOS_OPS say which.

bats_require_minimum_version 1.5.0
load helper

setup() {
	msb_setup
	"$bin/msbd"
	msb_image
}

teardown() {
	[ -n "$BATS_TEST_COMPLETED" ] || tail -n 40 "$MSB_STATE/run/msb.log"
	msb_teardown
}

@test "random operations by 8 clients with kill -9: all agrees afterwards, nothing is stuck or left" {
	python3 "$repo/tests/e2e/chaos/chaos.py" "$bin/msbd" "$MSB_MNT" "$MSB_STATE"
}
