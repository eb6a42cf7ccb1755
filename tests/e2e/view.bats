# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2016 # helper.bash sets them; the guest expands what is quoted
# Nothing that a view of a root says is older than the call, though it keeps contents: files that it opened before
# the machine ran, while it runs, mapped ones, and afterwards.

setup_file() {
	load helper
	msb_setup
	"$bin/msbd"
	msb_image
	sandbox dev
	mkfifo "$dir/to" "$dir/from"
	mkdir "$m/dev/root/d"
	for f in held cut tail; do printf '%-99s\n' before >"$m/dev/root/d/$f"; done
	"$BATS_TEST_DIRNAME/view.py" "$m/dev/root/d" "$dir/to" "$dir/from" 3>&- &
	export reader=$!
}

teardown_file() {
	load helper
	kill "$reader" 2>/dev/null || true
	msb_teardown
}

setup() {
	load helper
	exec {to}<>"$dir/to" {from}<>"$dir/from"
	root=$m/dev/root/d
}

# view VERB NAME: what view.py says
view() {
	echo "$*" >&"$to"
	local answer
	read -rt 120 answer <&"$from"
	jq -r . <<<"$answer"
}

# in_guest LINE: done by the guest, and answered
in_guest() {
	echo "cd /d && $1" >"$m/dev/exec"
}

@test "while the machine does not run, what is written and read again" {
	for f in held cut tail; do view open $f; done
	[ "$(view read held)$(view map held)$(view read tail)$(view read cut)" = beforebeforebeforebefore ]
	echo another >"$root/x"
	[ "$(cat "$root/x")" = another ]
	printf again >"$root/x"
	[ "$(cat "$root/x")" = again ]
	echo start >"$m/dev/ctl"
}

@test "a file that was open before: read, mapped, past its former end, cut" {
	in_guest 'printf "AFTER!\n" >h && dd if=h of=held conv=notrunc 2>/dev/null'
	until_is 5 AFTER! view map held
	[ "$(view read held)" = AFTER! ]
	for i in 1 2 3 4 5 6 7 8; do
		in_guest "echo line $i >>tail"
		[ "$(view tail tail)" = "line $i" ] # and not one byte of zero
	done
	in_guest ': >cut'
	[ "$(view read cut)" = "" ]
	in_guest 'echo longer than before >cut'
	until_is 5 "longer than before" view read cut
	[ "$(view tail tail)" = "" ]
	in_guest 'i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done >>tail'
	[ "$(view tail tail | tail -n 1)" = 2999 ]
}

@test "what is opened while the machine runs: at once, every time" {
	for i in 1 2 3 4 5; do
		in_guest "echo round $i >held"
		[ "$(cat "$root/held")" = "round $i" ]
	done
	view close held
	view open held
	[ "$(view map held)" = "round 5" ]
	in_guest 'echo ROUND 6 >held'
	[ "$(view read held)" = "ROUND 6" ]
	until_is 5 "ROUND 6" view map held
	in_guest 'cut -c 7 held >n && truncate -s 3 held'
	[ "$(cat "$root/held"; stat -c %s "$root/held")" = ROU3 ]
	# The other way, and a mapping that is written.
	echo from the host >"$root/held"
	until_is 5 "from the host" guest dev 'cat /d/held' # a guest may believe for a second
	python3 -c 'import mmap, sys
f = open(sys.argv[1], "r+b")
with mmap.mmap(f.fileno(), 0) as a: a[:4] = b"FROM"' "$root/held"
	until_is 5 "FROM the host" guest dev 'cat /d/held'
}

@test "names: renamed over, removed and made anew, a link" {
	echo old >"$root/a"
	[ "$(cat "$root/a")" = old ]
	in_guest 'echo new >b && mv b a'
	[ "$(cat "$root/a")" = new ]
	[ ! -e "$root/b" ]
	in_guest 'rm a && echo newer >a'
	[ "$(cat "$root/a")" = newer ]
	in_guest 'ln a c && echo linked >c'
	[ "$(cat "$root/a")" = linked ]
	in_guest 'rm a c'
	run cat "$root/a"
	[[ $output == *"No such file"* ]]
}

@test "once the machine has ended: what it wrote last, then kept again" {
	echo kept >"$root/last"
	cat "$root/last"
	in_guest 'echo "by the guest" >last; sync'
	echo stop >"$m/dev/ctl"
	[ "$(cat "$root/last")" = "by the guest" ]
	[ "$(cat "$root/last")" = "by the guest" ]
	echo host >"$root/last"
	[ "$(cat "$root/last")" = host ]
	for f in held cut tail; do view close $f; done
	mkdir -p "$m/dev/patches/d"
	echo patched >"$m/dev/patches/d/last"
	echo start >"$m/dev/ctl"
	[ "$(cat "$root/last")" = patched ]
}
