# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154,SC2164 # suites use what is set here; helper.bash sets the rest
# Root's instance with several users: for suites that begin with `load users`.

load helper

ann=12001 bob=12002

# as UID LINE: a shell of that user, in no group but its own
as() { setpriv --reuid "$1" --regid "$1" --clear-groups -- bash -c "cd $m; $2"; }

root_only() { [ "$(id -u)" = 0 ] || skip "needs root, to be several users"; }

# users_setup [LAUNCHER...]: an instance that everybody reaches, and its image
users_setup() {
	root_only
	msb_setup
	"$@" "$bin/msbd"
	msb_image
	chmod 0755 "$dir"
}

teardown_file() {
	[ "$(id -u)" != 0 ] || msb_teardown
}

setup() {
	root_only
	cd "$m"
}

teardown() {
	[ -n "$BATS_TEST_COMPLETED" ] || tail -n 5 "$m/errors"
}
