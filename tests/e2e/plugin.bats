# SPDX-License-Identifier: Apache-2.0
# Plugins through /dev/fuse and a real msb-fsd in its jail: the examples, unmodified libfuse programs, and plugins
# that are killed, stopped, or talk nonsense.

bats_require_minimum_version 1.5.0

setup() {
	repo=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	dir=$(mktemp -d /tmp/msbp.XXXXXX)
	mp=$dir/m
	examples=$repo/tools/plugins
	mkdir "$mp" "$dir/src"
	[ -e /dev/fuse ] || skip "no /dev/fuse"
}

teardown() {
	cd /
	if grep -q " $mp " /proc/self/mountinfo; then
		fusermount3 -u -z "$mp" 2>/dev/null || umount -l "$mp"
	fi
	# its end is the plugin's too
	for f in "$dir"/*.pid; do
		read -r p <"$f" 2>/dev/null || continue
		kill -CONT "$p" 2>/dev/null || true
		gone "$p" || kill -9 "$p" 2>/dev/null || true
	done
	rm -rf "$dir"
}

# gone PID: it ends in time
gone() {
	local end=$((SECONDS + 80))
	while kill -0 "$1" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; do
		[ "$SECONDS" -lt "$end" ] || return 1
		read -rt 0.05 <> <(:) || true
	done
}

# names DIRECTORY: what is in it, sorted, with a blank behind each
names() {
	(cd "$1" && shopt -s nullglob && printf '%s ' *)
}

# plugin OPTIONS PROGRAM [ARGUMENT...]: mounts it; its process id is in plugin.pid
plugin() {
	local options=$1
	shift
	{
		echo '#!/bin/sh'
		echo "PATH=/usr/local/bin:/usr/bin:/bin; export PATH" # as msbd has it
		echo "echo \$\$ >$dir/plugin.pid"
		echo "exec $(printf "'%s' " "$@") >>$dir/out 2>&1"
	} >"$dir/run"
	chmod +x "$dir/run"
	rm -f "$dir/plugin.pid"
	"$repo/build/e2e/fsmount" -d plugin "$dir/run" "$mp" "$options" >"$dir/fsd.pid"
	local end=$((SECONDS + 60))
	until [ -s "$dir/plugin.pid" ]; do
		[ "$SECONDS" -lt "$end" ]
		read -rt 0.02 <> <(:) || true
	done
}

# it has come up: what is asked before is an error only past the timeout
up() {
	local end=$((SECONDS + 60))
	until stat "$mp" >"$dir/out.stat" 2>&1; do
		[ "$SECONDS" -lt "$end" ] || { cat "$dir/out"; return 1; }
		read -rt 0.05 <> <(:) || true
	done
}

@test "a plugin refuses writes that contain a pattern" {
	plugin "protocol=json,over=$dir/src" env "DENY_PATTERN=SECRET[0-9]" "$examples/deny-pattern"
	up
	cd "$mp"
	echo harmless >a
	run ! bash -c 'echo "a SECRET7 here" >b'
	[ ! -s b ]
	# in two writes, behind one another
	run ! bash -c '{ printf SEC; sleep 0.1; printf RET7; } >c'
	[ "$(cat c)" = SEC ]
	# by copying, which a kernel would let the server do by itself
	echo "SECRET7" >"$dir/src/below"
	run ! cp below d
	[ ! -s d ]
	mkdir e && mv a e/f && ln e/f g && rm g
	[ "$(cat "$dir/src/e/f")" = harmless ]
	run ! bash -c 'echo SECRET7 >>e/f'
	[ "$(cat e/f)" = harmless ]
	dd if=/dev/zero of=big bs=1M count=8 status=none
	cmp -n 8388608 big /dev/zero
	cmp big "$dir/src/big"
}

@test "a plugin makes up a file, alone and beside others" {
	plugin "protocol=json" "$examples/generated-file"
	up
	cd "$mp"
	[ "$(ls)" = status ]
	[[ $(cat status) == time\ *load\ * ]]
	one=$(sed -n 's/^time //p' status)
	sleep 0.01
	[ "$(sed -n 's/^time //p' status)" != "$one" ]
	run ! touch other
	run ! rm status
	cd /
	fusermount3 -u "$mp" || umount "$mp"
	gone "$(cat "$dir/plugin.pid")"
	echo below >"$dir/src/other"
	plugin "protocol=json,over=$dir/src" "$examples/generated-file"
	up
	[ "$(names "$mp")" = "other status " ]
	[ "$(cat "$mp/other")" = below ]
	grep -q ^load "$mp/status"
	echo more >>"$mp/other"
	[ "$(tail -n 1 "$dir/src/other")" = more ]
}

@test "a plugin that is a shell script" {
	cat >"$dir/script" <<-'END'
		#!/bin/sh
		echo '{"ops":["unlink"],"paths":["*.keep"]}' >&3
		while read -r line <&3; do
			id=${line#'{"id":'}
			echo "{\"id\":${id%%,*},\"error\":\"EPERM\"}" >&3
		done
	END
	chmod +x "$dir/script"
	plugin "protocol=json,over=$dir/src" "$dir/script"
	up
	cd "$mp"
	touch a b.keep
	rm a
	run ! rm b.keep
	[ "$(ls)" = b.keep ]
}

@test "a plugin in C, data by shared memory" {
	plugin "" "$repo/build/plugins/flat"
	up
	cd "$mp"
	head -c 5000000 /dev/urandom >"$dir/data"
	cp "$dir/data" a
	cmp "$dir/data" a
	echo tail >>a
	[ "$(tail -c 5 a)" = tail ]
	truncate -s 1000 a
	cmp -n 1000 "$dir/data" a
	mv a b && [ "$(ls)" = b ]
	exec 5<b
	rm b
	cmp -n 1000 "$dir/data" - <&5
	exec 5<&-
	for i in {1..200}; do echo "$i" >"f$i"; done
	[ "$(names . | wc -w)" = 200 ]
	[ "$(cat f123)" = 123 ]
	# the memory was there: it is the plugin's own mapping
	grep -q memfd:msb-plugin "/proc/$(cat "$dir/plugin.pid")/maps"
}

@test "a libfuse file system of several threads, unchanged" {
	plugin "" "$examples/msb-libfuse" "$repo/build/e2e/lowlevel_fs" /
	up
	cd "$mp"
	[ "$(names .)" = "note numbers " ]
	[ "$(stat -c %s numbers)" = 4194304 ]
	python3 - numbers <<-'END'
		import struct, sys
		data = open(sys.argv[1], "rb").read()
		assert data == b"".join(struct.pack("<Q", i) for i in range(0, 4 << 20, 8))
	END
	for i in {1..8}; do cmp numbers "$mp/numbers" & done
	wait
	echo hello >note
	[ "$(cat note)" = hello ]
	run ! bash -c 'echo x >numbers'
	run ! cat other
	grep -q memfd:msb-plugin "/proc/$(cat "$dir/plugin.pid")/maps"
}

@test "libfuse's own examples, unchanged, of both of its interfaces" {
	local from=/usr/share/doc/libfuse3-dev/examples flags
	[ -f $from/hello_ll.c ] || skip "libfuse3-dev without its examples"
	flags=$(pkg-config --cflags --libs fuse3)
	for e in hello_ll hello passthrough_ll; do
		# shellcheck disable=SC2086 # several flags
		cc -w -o "$dir/$e" $from/$e.c $flags
	done
	for e in hello_ll hello; do
		plugin "" "$examples/msb-libfuse" "$dir/$e" /
		up
		[ "$(cat "$mp/hello")" = "Hello World!" ]
		[ "$(ls "$mp")" = hello ]
		fusermount3 -u "$mp" || umount "$mp"
		gone "$(cat "$dir/plugin.pid")"
	done
	plugin "" "$examples/msb-libfuse" "$dir/passthrough_ll" -o "source=$dir/src" /
	up
	head -c 3000000 /dev/urandom >"$dir/data"
	cp "$dir/data" "$mp/a"
	mkdir "$mp/d" && mv "$mp/a" "$mp/d/b" && ln -s b "$mp/d/l"
	cmp "$dir/data" "$mp/d/l"
	cmp "$dir/data" "$dir/src/d/b"
	rm -r "$mp/d"
	[ -z "$(ls "$dir/src")" ]
}

@test "a killed plugin is an error at once, to all of the mount" {
	plugin "protocol=json,over=$dir/src" "$examples/deny-pattern"
	up
	echo a >"$mp/a"
	exec 5>>"$mp/a"
	kill -9 "$(cat "$dir/plugin.pid")"
	gone "$(cat "$dir/plugin.pid")"
	run ! bash -c 'echo b >&5'
	run -1 cat "$mp/a"
	[[ $output == *"Input/output error"* ]]
	run ! ls "$mp"
	exec 5>&- || true
	# the server is there still, and ends in order
	kill -0 "$(head -n 1 "$dir/fsd.pid")"
}

@test "a stopped plugin is an error within its timeout" {
	plugin "protocol=json,timeout=5s,over=$dir/src" "$examples/deny-pattern"
	up
	echo a >"$mp/a"
	kill -STOP "$(cat "$dir/plugin.pid")"
	# many at once, and none hangs
	for i in {1..8}; do
		bash -c "echo b >$mp/f$i" 2>"$dir/e$i" &
	done
	wait
	grep -l "Input/output error" "$dir"/e? | wc -l | grep -qx 8
	run -1 cat "$mp/a"
	# when it goes on, it finds its socket ended, and ends
	kill -CONT "$(cat "$dir/plugin.pid")"
	gone "$(cat "$dir/plugin.pid")"
}

@test "a plugin that talks nonsense, or nothing" {
	for said in 'hello' '{"ops":["fly"]}' '{"ops":["getattr"]}
[]'; do
		plugin "protocol=json,over=$dir/src" sh -c "echo '$said' >&3; cat <&3 >/dev/null"
		run -1 stat "$mp/x"
		[[ $output == *"Input/output error"* ]]
		fusermount3 -u "$mp" || umount "$mp"
		gone "$(cat "$dir/plugin.pid")"
	done
	plugin "timeout=300ms" sleep 1000
	run -1 stat "$mp/x"
	[[ $output == *"Input/output error"* ]]
	kill -9 "$(cat "$dir/plugin.pid")"
}
