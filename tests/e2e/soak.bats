# SPDX-License-Identifier: Apache-2.0
# A short soak; `make soak` is the long one.

@test "six sandboxes, three at once, nine starts: nothing leaks" {
	cd "$BATS_TEST_DIRNAME/../.."
	SANDBOXES=6 RUNNING=3 STARTS=9 run tests/soak.sh
	echo "$output"
	[ "$status" = 0 ]
}
