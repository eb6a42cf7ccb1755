# SPDX-License-Identifier: Apache-2.0
# Plugins in a real guest: FUSE messages with data in shared memory, an unmodified libfuse program, a script; made
# while the machine runs, killed under open files. (What msbd does for their programs: plugins.bats.)

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
	mkdir -m 0777 "$dir/inner"
	for p in flat lowlevel generated deny ruled; do
		{
			echo '#!/bin/sh'
			case $p in
			flat) echo "exec $repo/build/plugins/flat" ;;
			lowlevel) echo "exec $repo/tools/plugins/msb-libfuse $repo/build/e2e/lowlevel_fs /" ;;
			generated) echo "exec $repo/tools/plugins/generated-file" ;;
			ruled) printf '%s\n' "echo '{\"rules\":[\"deny=/private\",\"redact=*.pem\"]}' >&3" 'exec cat <&3 >/dev/null' ;;
			deny) echo "DENY_PATTERN=SECRET exec $repo/tools/plugins/deny-pattern" ;;
			esac
		} >"$dir/$p"
		chmod 0755 "$dir/$p"
	done
	sandbox box
	echo "$dir/flat /flat plugin" >"$m/box/mounts"
	echo start >"$m/box/ctl"
	printf '%s\n' "$dir/flat /flat plugin" "$dir/lowlevel /low plugin" "$dir/generated /gen plugin protocol=json" \
		"$dir/deny /deny plugin protocol=json,over=$dir/inner" \
		"$dir/ruled /ruled plugin protocol=json,over=$dir/inner" >"$dir/live"
	cat "$dir/live" >"$m/box/mounts"
}

teardown_file() {
	msb_teardown
}

setup() {
	cd "$m/box"
}

teardown() {
	cd /
	[ -n "$BATS_TEST_COMPLETED" ] || { cat "$m/box/error"; tail -n 5 "$m/box/events"; tail -n 15 "$m/log"; }
}

@test "a plugin in C, data by shared memory" {
	[ "$(guest box 'cd /flat && dd if=/dev/urandom of=/tmp/d bs=1M count=6 2>/dev/null && cp /tmp/d a && echo 3 >/proc/sys/vm/drop_caches && cmp /tmp/d a && mv a b && ls')" = b ]
	# what is open when it is unlinked goes on
	[ "$(guest box 'cd /flat && echo text >c && exec 5<c && rm c b && cat <&5 && ls | wc -l')" = "$(printf 'text\n0')" ]
	grep -q memfd:msb-plugin "/proc/$(pgrep -P "$(msbd_pid)" -f "$repo/build/plugins/flat")/maps"
}

@test "a libfuse program, unchanged" {
	[ "$(guest box 'ls /low | tr "\n" " "; dd if=/low/numbers bs=1M 2>/dev/null | wc -c; echo hi >/low/note; cat /low/note')" = \
		"$(printf 'note numbers 4194304\nhi')" ]
}

@test "rules that a plugin declares" {
	echo p >"$dir/inner/private"
	echo key >"$dir/inner/k.pem"
	echo open >"$dir/inner/open"
	[[ $(guest box 'cat /ruled/private 2>&1') == *denied* ]]
	[ "$(guest box 'ls /ruled; cat /ruled/open; tr "\0" 0 </ruled/k.pem')" = "$(printf 'k.pem\nopen\nopen\n0000')" ]
	[[ $(guest box 'echo x >/ruled/k.pem 2>&1') == *denied* ]]
	grep -q '"event":"denied","mount":"/ruled","path":"/private","op":"lookup","errno":"EACCES"' events
	rm "$dir/inner/private" "$dir/inner/k.pem" "$dir/inner/open"
}

@test "a file that is made up, anew each time" {
	[ "$(guest box 'ls /gen')" = status ]
	[ "$(guest box 'sed -n "s/^sandbox //p" /gen/status')" = box ]
	one=$(guest box 'head -n 1 /gen/status')
	[ "$(guest box 'head -n 1 /gen/status')" != "$one" ]
}

@test "writes are refused by what is in them, whoever makes them" {
	[ "$(guest box 'cd /deny && echo fine >a && cat a')" = fine ]
	[[ $(guest box 'echo a SECRET >/deny/b') == *"Permission denied"* ]]
	until_is 10 '/deny /b' jq -r 'select(.event == "denied" and .op == "write") | "\(.mount) \(.path)"' "$m/box/events"
	[[ $(guest box 'echo a SECRET >/tmp/s; cp /tmp/s /deny/c') == *"Permission denied"* ]]
	[ "$(cat "$dir/inner/a")" = fine ]
	run ! grep -r SECRET "$dir/inner"
}

@test "killed under an open file: an error, then the next one goes on" {
	guest box 'echo kept >/deny/k'
	guest box 'exec 5</deny/k; touch /tmp/open; until [ -e /tmp/go ]; do sleep 0.1; done; cat <&5 >/tmp/out' &
	until_is 20 yes guest box '[ -e /tmp/open ] && echo yes'
	pkill -9 -P "$(msbd_pid)" -f "$repo/tools/plugins/deny-pattern"
	until_is 20 1 restarted
	until_is 20 kept guest box 'cat /deny/k 2>/dev/null'
	guest box 'touch /tmp/go'
	wait
	[ "$(guest box 'cat /tmp/out')" = kept ]
	[[ $(guest box 'echo a SECRET >/deny/b') == *"Permission denied"* ]]
}
restarted() { jq -s 'map(select(.event == "plugin_restarted" and .path == "/deny")) | length' "$m/box/events"; }
