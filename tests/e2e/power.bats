# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What power.sh shows, at a few moments. MSB_CUTS=N: at so many.

@test "what was told as done outlives a power cut, and the rest is whole or absent" {
	run "$BATS_TEST_DIRNAME/power.sh" "${MSB_CUTS:-8}"
	echo "$output"
	[ "$status" = 0 ]
}
