# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What lan.sh shows.

@test "registries that are not on loopback: TLS, logins, tokens, redirects, plain HTTP, a proxy" {
	[ "$(id -u)" = 0 ] || skip "namespaces take root"
	run "$BATS_TEST_DIRNAME/lan.sh"
	echo "$output"
	[ "$status" = 0 ]
}
