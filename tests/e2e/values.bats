# SPDX-License-Identifier: Apache-2.0
# Values of a sandbox and of its image, and what they do in a guest.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
}

teardown_file() {
	msb_teardown
}

teardown() {
	cd /
	[ -n "$BATS_TEST_COMPLETED" ] || tail -n 5 "$m/log"
	for sb in "$m"/t*/ctl; do
		[ -e "$sb" ] || continue
		echo kill >"$sb"
		rmdir "${sb%/ctl}"
	done
}

# image NAME JSON: bb with these keys of its config's `config`
image() {
	rm -rf "$dir/layout"
	"$BATS_TEST_DIRNAME/mkconfig.py" "$repo/build/images/busybox" "$dir/layout" "$2"
	echo "import $dir/layout $1" >"$m/images/ctl"
}

@test "an image's variables, user and directory are its commands', and the sandbox's go before" {
	image vars '{"Env": ["PATH=/bin", "A=1 2", "B=x", "=nothing", "none"], "User": "12:34", "WorkingDir": "/etc"}'
	sandbox t1 image=vars
	echo y >"$m/t1/env/B"
	echo start >"$m/t1/ctl"
	[ "$(guest t1 'echo "$A|$B|$PATH|$(id -u):$(id -g)|$PWD"')" = '1 2|y|/bin|12:34|/etc' ]
}
