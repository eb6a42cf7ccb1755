# SPDX-License-Identifier: Apache-2.0
# config: all values as one document; generations, and what waits for the next start.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
	sandbox run
	echo start >"$m/run/ctl"
}

teardown_file() {
	msb_teardown
}

setup() {
	name=t$BATS_TEST_NUMBER
	sandbox $name
	cd "$m/$name"
}

teardown() {
	cd /
	[ -n "$BATS_TEST_COMPLETED" ] || tail -n 5 "$m/log"
	echo kill >"$m/$name/ctl"
	rmdir "$m/$name"
}

@test "it reads back as it is, and what it says is what the files say" {
	echo 'x "y" \ é' >env/ODD
	echo no >env/NO
	printf 'none /scratch memory size_bytes=1M\n' >mounts
	cat config >"$dir/one"
	cat "$dir/one" >config
	cat config | sed 1d | diff <(sed 1d "$dir/one") -
	[ "$(cat env/ODD)" = 'x "y" \ é' ]
	[ "$(cat env/NO)" = no ]
	grep -qx 'restart: "no"' config
	grep -qx 'memory_bytes: 134217728' config
	sed -e 's/^cpus: .*/cpus: 2/' -e 's/^restart: .*/restart: on-failure:3/' -e '/^- /d' -e 's/^mounts:/mounts: []/' "$dir/one" |
		sed 1d >"$dir/two"
	cat "$dir/two" >config
	[ "$(cat cpus restart)" = $'2\non-failure:3' ]
	[ -z "$(cat mounts)" ]
}

@test "one without an image, too; an image is taken back as long as nothing was made from it" {
	mkdir "$m/bare"
	cat "$m/bare/config" >"$dir/bare"
	grep -qx 'image: ""' "$dir/bare"
	cat "$dir/bare" >"$m/bare/config"
	echo bb >"$m/bare/image"
	echo >"$m/bare/image"
	[ -z "$(cat "$m/bare/image")" ]
	fails 'No such file' 'bare has no image yet' "$m/bare/error" "echo start >$m/bare/ctl"
	printf 'image: bb\n' >"$m/bare/config"
	printf 'cpus: 1\n' >"$m/bare/config"
	fails 'No such file' 'bare has no image yet' "$m/bare/error" "echo start >$m/bare/ctl"
	rmdir "$m/bare"
	echo changed >root/tmp/changed
	fails busy 'it has no image' error 'echo >image'
	[ "$(cat image)" = bb ]
}

@test "keys that it lacks get their defaults, all at once, or nothing is changed" {
	echo 3 >cpus
	echo x >env/A
	echo y >env/B
	printf 'image: bb\nworkdir: /tmp\nenv: {B: z, C: w}\n' >"$dir/c"
	cat "$dir/c" >config
	[ "$(cat cpus workdir memory_bytes)" = $'1\n/tmp\n268435456' ]
	[ "$(cd env; echo *)" = 'B C' ]
	[ "$(cat env/B env/C)" = $'z\nw' ]
	printf 'image: bb\nworkdir: /usr\ncpus: 65\n' >"$dir/c"
	fails range 'line 3, column 1: cpus is a number' error "cat $dir/c >config"
	[ "$(cat workdir)" = /tmp ]
	printf 'image: bb\nworkdir: /usr\nmounts:\n- none /a memory\n- none /a memory\n' >"$dir/c"
	fails exists 'line 3, column 1: there is a mount at /a' error "cat $dir/c >config"
	[ "$(cat workdir)" = /tmp ]
	[ -z "$(cat mounts)" ]
}

@test "strict: line, column, and the nearest key" {
	refuses() { printf "$1" >"$dir/c"; fails "${3:-Invalid}" "$2" error "cat $dir/c >config"; }
	refuses 'image: bb\nmemory: 1G\n' 'line 2, column 1: there is no key `memory`'
	refuses 'image: bb\nmemorybytes: 1G\n' 'is it `memory_bytes`?'
	refuses 'image: bb\ncpus: 1\ncpus: 2\n' 'line 3, column 1: `cpus` is there twice'
	refuses 'image: bb\nrestart: no\n' 'line 2, column 10: `no` means different things'
	refuses 'image: &a bb\nhostname: *a\n' 'line 1, column 8: anchors'
	refuses 'image: [bb]\n' 'image is one value'
	refuses 'mounts: none /a memory\n' 'mounts is a list'
	refuses 'env: [A]\n' 'env is a mapping'
	refuses 'env: {1A: x}\n' "not a variable's name"
	refuses 'image: bb\n---\nimage: bb\n' 'more than one document'
	refuses '\n' 'it has no keys'
	refuses 'generation: x\n' 'generation is a number'
	refuses 'image: bb\ngeneration: 999999\n' 'somebody changed it' Stale
	fails Invalid 'in one write' error "cat $dir/c >>config"
}

@test "generation guards an update that read something older" {
	cat config >"$dir/mine"
	g=$(sed -n 's/^generation: //p' config)
	echo 2 >cpus
	[ "$(sed -n 's/^generation: //p' config)" = $((g + 1)) ]
	fails Stale 'read it again' error "cat $dir/mine >config"
	[ "$(cat cpus)" = 2 ]
	sed "s/^generation: .*/generation: $((g + 1))/" "$dir/mine" >"$dir/new"
	cat "$dir/new" >config
	[ "$(cat cpus)" = 1 ]
	[ "$(sed -n 's/^generation: //p' config)" = $((g + 2)) ]
}

@test "under a machine: at once, at the next start, or refused; and a new msbd knows" {
	cd "$m/run"
	cat config >"$dir/run"
	edit() { sed -e 1d "$@" "$dir/run" >"$dir/edited"; cat "$dir/edited" >config; }
	edit -e 's/^cpus: .*/cpus: 2/' -e 's/^workdir: .*/workdir: \/tmp/' -e 's/^mounts:.*/mounts: ["none \/live memory"]/'
	[ "$(cat config.pending)" = cpus ]
	[ "$(guest run 'pwd; grep -c " /live " /proc/mounts; grep -c ^processor /proc/cpuinfo')" = $'/tmp\n1\n1' ]
	cd /
	"$bin/msbd" --stop
	"$bin/msbd"
	cd "$m/run"
	[ "$(cat config.pending)" = cpus ]
	edit
	[ -z "$(cat config.pending)" ]
	[ "$(guest run 'grep -c " /live " /proc/mounts')" = 0 ]
	sed -e 1d -e 's/^root_options: .*/root_options: ro/' "$dir/run" >"$dir/edited"
	fails busy 'root_options can only be changed' error "cat $dir/edited >config"
	edit -e 's/^cpus: .*/cpus: 2/'
	echo stop >ctl
	[ -z "$(cat config.pending)" ]
	echo start >ctl
	[ "$(guest run 'grep -c ^processor /proc/cpuinfo')" = 2 ]
}
