# SPDX-License-Identifier: Apache-2.0
# A sandbox's root as the kernel sees it: POSIX cases beside a local file system, over what a sandbox adds and
# over an image's own files, kept over a stop and over kill -9 of the file server.

load helper

setup_file() {
	[ "$(id -u)" = 0 ] || return 0
	msb_setup
	"$bin/msbd"
	msb_image
	sandbox box root_options=acl
}

setup() {
	[ "$(id -u)" = 0 ] || skip "acts as other users: needs root"
}

teardown_file() {
	[ "$(id -u)" = 0 ] || return 0
	msb_teardown
}

@test "150 POSIX cases come back as on a local file system" {
	mkdir -m 0777 "$dir/local" "$m/box/root/cases"
	python3 "$repo/tests/e2e/posix_cases.py" "$dir/local" >"$dir/local.txt"
	python3 "$repo/tests/e2e/posix_cases.py" "$m/box/root/cases" >"$dir/ours.txt"
	[ "$(wc -l <"$dir/local.txt")" -gt 150 ]
	diff "$dir/local.txt" "$dir/ours.txt"
}

@test "a write takes set-id bits, also for who asks for the mode alone" {
	cd "$m/box/root/cases"
	echo x >setid
	chmod 6777 setid
	[ "$(stat -c %a setid)" = 6777 ] # it is in the kernel's cache, if anywhere
	setpriv --reuid 1001 --regid 1001 --clear-groups sh -c 'echo y >>setid'
	[ "$(stat -c %a setid)" = 777 ]
	rm setid
	cd /
}

# facts ROOT: what a listing and every content say, times to the nanosecond
facts() {
	(cd "$1" && find . -xdev -printf '%p %y %m %U %G %n %l %T@ %s\n' | sort &&
		find . -xdev -type f -print0 | sort -z | xargs -0 sha256sum)
}

@test "it is all there again with a new file server, ended in order or by kill -9" {
	facts "$m/box/root" >"$dir/before.txt"
	[ "$(wc -l <"$dir/before.txt")" -gt 100 ]
	"$bin/msbd" --stop --all
	"$bin/msbd"
	facts "$m/box/root" | diff "$dir/before.txt" -
	echo late >"$m/box/root/late"
	sync "$m/box/root/late" # the kernel's cache of a view dies with its server
	mv "$m/box/root/bin" "$m/box/root/moved"
	facts "$m/box/root" >"$dir/before.txt"
	pid=$(status_of box fsd_pid)
	[ "$pid" -gt 1 ]
	kill -9 "$pid"
	"$bin/msbd" --stop --all
	"$bin/msbd"
	facts "$m/box/root" | diff "$dir/before.txt" -
}

# through BACKEND SOURCE [OPTIONS]: the cases on a mount of its own
through() {
	at=$(mktemp -d "$dir/at.XXXX")
	"$repo/build/e2e/fsmount" -d "$1" "$2" "$at" ${3:+"$3"} >/dev/null 3>&-
	mkdir -m 0777 "$at/cases"
	python3 "$repo/tests/e2e/posix_cases.py" "$at/cases" >"$dir/$1.txt"
	umount "$at"
	diff "$dir/local.txt" "$dir/$1.txt"
}

@test "they do through /dev/fuse from an overlay without an image, from memory, and from a host directory" {
	[ -s "$dir/local.txt" ]
	mkdir "$dir/up"
	through overlay "upper=$dir/up" acl
	through memory none acl,size=64M
	mkdir "$dir/none" "$dir/root"
	through passthrough "$dir/none" acl,map=none
	through passthrough "$dir/root" acl,map=root
}
