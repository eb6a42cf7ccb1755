# SPDX-License-Identifier: Apache-2.0
# What README promises is what happens: the demo, start to end, in an instance of its own.

load helper

setup() {
	cd "$BATS_TEST_DIRNAME/../.."
	dir=$(mktemp -d /tmp/msbd.XXXXXX)
	export MSB_MNT=$dir/m MSB_STATE=$dir/s
	mkdir "$MSB_MNT"
}

teardown() {
	build/bin/msbd --stop --all >/dev/null 2>&1 || true
	rm -rf "$dir"
}

@test "the demo runs to its end and leaves nothing running" {
	run tools/demo
	echo "$output"
	[ "$status" = 0 ]
	[[ $output == *'$ echo start > demo/ctl'* ]]
	[[ $output == *"hello from the host"* ]]
	[[ $output == *"written in the guest"* ]]
	until_is 5 '' pgrep -af "$MSB_STATE"
	run grep -c "$dir" /proc/self/mountinfo
	[ "$output" = 0 ]
}
