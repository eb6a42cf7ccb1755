# SPDX-License-Identifier: Apache-2.0
# msb exec, shell and attach: exit codes, streams, terminals, signals, who is killed and who stays.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_dev
}

teardown_file() {
	msb_teardown
}

setup() {
	msb=$bin/msb
	cd "$dir"
}

teardown() {
	[ -n "$BATS_TEST_COMPLETED" ] || tail -n 5 "$m/dev/console" "$m/log"
}

# on SIZE STEP... -- PROGRAM...: see terminal.py
on() {
	timeout 600 "$BATS_TEST_DIRNAME/terminal.py" "$@"
}

# no_process TEXT: whether no process of the guest has TEXT in its command line
processes() {
	guest dev "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c '[${1:0:1}]${1:1}' || true"
}

@test "exit status: the command's, or why there is none" {
	run -0 "$msb" exec dev true
	run -3 "$msb" exec dev sh -c 'exit 3'
	run -127 --separate-stderr "$msb" exec dev no-such
	[[ $stderr == *'not found'* ]]
	run -126 --separate-stderr "$msb" exec dev /etc/passwd
	[[ $stderr == *'not executable'* ]]
	run -137 "$msb" exec dev sh -c 'kill -9 $$'
	run -124 --separate-stderr "$msb" exec --timeout 1 dev sleep 100
	[[ $stderr == *'longer than'* ]]
	run -125 --separate-stderr "$msb" exec -w /no/such dev true
	[[ $stderr == *'cannot enter /no/such'* ]]
	run -125 --separate-stderr "$msb" exec nobody-here true
	[[ $stderr == *'no sandbox nobody-here'* ]]
	sandbox idle
	run -125 --separate-stderr "$msb" exec idle true
	[[ $stderr == *'start it first'* ]]
	rmdir "$m/idle"
	[ "$(jobs_of dev)" = 0 ]
}

@test "arguments, variables, directory and user are exact" {
	[ "$("$msb" exec dev printf '[%s]' 'a b' '' -n $'\n' '"' "\$x" é)" = $'[a b][][-n][\n]["][$x][é]' ]
	HERE='of here' run -0 "$msb" exec -e A=1 -e 'B=x y=z' -e HERE -e UNSET_HERE dev sh -c 'echo "$A,$B,$HERE,${UNSET_HERE-unset}"'
	[ "$output" = '1,x y=z,of here,unset' ]
	run -0 "$msb" exec -w /usr -u 5:6 dev sh -c 'pwd; id -u; id -g'
	[ "$output" = $'/usr\n5\n6' ]
	run -125 "$msb" exec -e '=x' dev true
	run -125 "$msb" exec -e 'a/b=x' dev true
}

@test "standard output and error are apart; options end at the first word" {
	"$msb" exec dev sh -c 'echo one; echo two >&2; echo three' >out 2>err
	[ "$(cat out)" = $'one\nthree' ]
	[ "$(cat err)" = two ]
	[ "$("$msb" exec dev echo -t --timeout 3)" = '-t --timeout 3' ]
}

@test "20 MB through stdin to stdout, byte by byte; from a pipe, a file, a slow reader" {
	head -c 20000003 /dev/urandom >in
	cat in | "$msb" exec dev cat >out
	cmp in out
	"$msb" exec dev cat <in | cat >out
	cmp in out
	head -c 3000000 in >less
	"$msb" exec dev cat <less | (sleep 1; cat) >out
	cmp less out
	"$msb" exec dev sh -c 'cat >&2' <less 2>out
	cmp less out
	"$msb" exec -i dev cat <in >out
	cmp in out
}

@test "stdin ends, is not read, or is nothing" {
	[ "$(printf 'a\nb\n' | "$msb" exec dev head -n 1)" = a ]
	for i in 1 2 3 4 5 6 7 8; do # its end comes while it is written to
		[ "$(yes | "$msb" exec dev head -n 2)" = $'y\ny' ]
	done
	[ "$("$msb" exec dev cat </dev/null)" = '' ]
	[ "$("$msb" exec dev cat <&-)" = '' ]
	run -0 timeout 80 bash -c "sleep 100 | { '$msb' exec dev echo done; kill \$(jobs -p) 2>/dev/null; exec 0<&-; }" || true
	run -0 bash -c "'$msb' exec dev yes | head -n 2"
	[ "$output" = $'y\ny' ]
	until_is 10 0 jobs_of dev
	until_is 10 0 processes yes
}

@test "a terminal: its size, its changes, one stream, and raw only meanwhile" {
	on 33x101 see:'33 101' raw size:40x120 see:'40 120' type:'x\r' see:'got x' end:7 cooked \
		-- "$msb" exec -it dev sh -c 'stty size; while [ "$(stty size)" != "40 120" ]; do sleep 0.1; done; stty size; read x; echo got $x >&2; exit 7'
	on 24x80 see:xterm-odd end:0 -- env TERM=xterm-odd "$msb" exec -t dev sh -c 'echo $TERM'
	# what the guest shows comes as it is, and ^C is its own
	on 24x80 raw see:up type:'\x03' see:stopped end:130 cooked \
		-- "$msb" exec -it dev sh -c 'trap "echo stopped; exit 130" INT; echo up; while :; do sleep 0.1; done'
	on 24x80 cooked see:'one\r\n' end:0 -- "$msb" exec dev echo one
}

@test "the terminal is as before, however it ends" {
	on 24x80 raw see:up signal:TERM end:143 cooked -- "$msb" exec -it dev sh -c 'echo up; exec sleep 100'
	on 24x80 raw see:up signal:HUP end:129 cooked -- "$msb" exec -it dev sh -c 'trap "" HUP; echo up; sleep 100'
	on 24x80 raw see:up signal:INT see:int signal:INT end:130 cooked \
		-- "$msb" exec -it dev sh -c 'trap "echo int" INT; echo up; while :; do sleep 0.1; done'
	until_is 10 0 jobs_of dev
}

@test "a shell: the user's own, a login shell, and lines from a pipe" {
	on 24x80 raw type:'echo $((6*7))\r' see:42 type:'exit 5\r' end:5 cooked -- "$msb" shell dev
	[ "$(echo 'echo $0 $((6*7))' | "$msb" shell dev)" = '/bin/sh 42' ]
	[ "$(echo 'id -u' | "$msb" shell -u 5 dev)" = 5 ]
}

@test "let go of by its keys, come back to, and by keys of one's own" {
	on 24x80 raw type:'a=41\r' type:'\x10\x11' see:'msb attach dev/' end:0 cooked -- "$msb" exec -it dev sh
	[ "$(jobs_of dev)" = 1 ]
	on 30x90 raw type:'stty size; echo $((a+1))\r' see:'30 90' see:42 type:'\x10x' type:'\x10\x11' end:0 cooked -- "$msb" attach dev
	on 24x80 raw type:'\r\rexit 9\r' end:9 cooked -- "$msb" attach dev
	until_is 10 0 jobs_of dev
	on 24x80 raw see:up type:'\x10\x11' see:'\x10\x11' type:'q\x01' see:'runs on' end:0 cooked \
		-- "$msb" exec -it --detach-keys q,ctrl-a dev sh -c 'stty raw -echo; echo up; cat'
	on 24x80 raw type:ab see:ab type:'\x05' see:'runs on' end:0 -- "$msb" attach --detach-keys ctrl-e dev
	echo signal KILL >"$(echo "$m"/dev/jobs/[0-9]*/ctl)"
	until_is 10 0 jobs_of dev
	run -125 "$msb" exec --detach-keys ctrl-ö dev true
	run -125 "$msb" attach dev
	[[ $output == *'no job runs in dev'* ]]
}

@test "detached from the start: it runs on, and its output is there for who comes" {
	run -0 "$msb" exec -d dev sh -c 'echo early; sleep 2; echo late; exit 6'
	job=$output
	[[ $job == dev/* ]]
	run -6 "$msb" attach "$job"
	[ "$output" = $'early\nlate' ]
	run -125 "$msb" attach "$job"
	[[ $output == *"has no job ${job#dev/}"* ]]
	run -0 "$msb" exec -di dev cat
	run -0 bash -c "echo through | '$msb' attach dev"
	[ "$output" = through ]
	until_is 10 0 jobs_of dev
	"$msb" exec -d dev sleep 300
	"$msb" exec -d dev sleep 301
	run -125 "$msb" attach dev
	[[ $output == *'say which: dev/'*' dev/'* ]]
	for c in "$m"/dev/jobs/[0-9]*/ctl; do echo signal KILL >"$c"; done
	until_is 10 0 jobs_of dev
}

# begins CODE: in the background, once it has printed a line; its pid in $pid; what was in `out` before does not count
begins() {
	# bash lets what it starts in the background ignore SIGINT
	: >out
	env --default-signal=INT,QUIT "$msb" exec dev sh -c "$1" >out 2>err &
	pid=$!
	until_is 20 up head -n 1 out
}

# ends STATUS: what was begun does, so
ends() {
	local s=0
	wait "$pid" || s=$?
	[ $s = "$1" ] || { echo "it ended with $s, not $1: $(cat out err)"; false; }
}

@test "signals without a terminal: ^C to the command, twice ends the wait; TERM and others go on" {
	begins 'trap "echo int; exit 4" INT; echo up; while :; do sleep 0.1; done'
	kill -INT $pid
	ends 4
	[ "$(cat out)" = $'up\nint' ]
	for s in TERM:143 USR1:138 QUIT:131; do
		begins 'echo up; exec sleep 100'
		kill "-${s%:*}" $pid
		ends "${s#*:}"
	done
	begins 'trap "echo int" INT; echo up; while :; do sleep 0.1; done; : 4713'
	kill -INT $pid
	until_is 10 int tail -n 1 out
	kill -INT $pid
	ends 130
	until_is 10 0 processes ': 4713'
	until_is 10 0 jobs_of dev
}

@test "a signal arrives also where the command does not read its input" {
	begins 'echo up; exec sleep 100' < <(yes)
	sleep 1
	kill -TERM $pid
	ends 143
}

@test "killed: its job is hung up; one that was let go of stays" {
	begins 'echo up; exec sleep 4714'
	kill -9 $pid
	wait $pid || true
	until_is 10 0 processes 'sleep 4714'
	until_is 10 0 jobs_of dev
	job=$("$msb" exec -d dev sleep 4715)
	"$msb" attach "$job" &
	pid=$!
	until_is 10 1 jobs_of dev
	sleep 0.5
	kill -9 $pid
	wait $pid || true
	[ "$(cat "$m/dev/jobs/${job#dev/}/state")" = running ]
	echo signal KILL >"$m/dev/jobs/${job#dev/}/ctl"
}

@test "the machine's end is a sentence" {
	sandbox two
	echo start >"$m/two/ctl"
	: >out
	"$msb" exec two sh -c 'echo up; exec sleep 100' >out 2>err &
	pid=$!
	until_is 20 up cat out
	echo kill >"$m/two/ctl"
	ends 255
	[[ $(cat err) == *'machine'* ]]
	rmdir "$m/two"
}

@test "what -x shows does the same in any sh" {
	"$msb" --dry-run exec -e "A=it's" -w /usr dev sh -c 'pwd; echo "$A"; cat; exit 3' <<<'' >script
	[ "$(jobs_of dev)" = 0 ]
	for sh in bash dash 'busybox sh'; do
		run -3 $sh script <<<'typed in'
		[ "$output" = $"/usr"$'\n'"it's"$'\n''typed in' ] || { echo "$sh: $output"; cat script; false; }
	done
}

@test "a thousand in a row, two hundred at once: none is lost" {
	for i in $(seq 1000); do
		[ "$("$msb" exec dev echo "$i")" = "$i" ] || { echo "the ${i}th"; false; }
	done
	for i in $(seq 200); do
		("$msb" exec dev sh -c "echo $i; exit $((i % 100))" >"many.$i" 2>"many.$i.err" && s=0 || s=$?; echo $s >>"many.$i") &
	done
	wait
	for i in $(seq 200); do
		[ "$(cat "many.$i")" = "$i"$'\n'"$((i % 100))" ] || { cat "many.$i" "many.$i.err"; false; }
	done
	until_is 10 0 jobs_of dev
	# Of their cgroups none is left but that of the one who looks, and of the next.
	until_is 10 none eval '[ "$("$msb" exec dev sh -c "set -- /sys/fs/cgroup/msb/job-*; echo \$#")" -le 2 ] && echo none'
}
