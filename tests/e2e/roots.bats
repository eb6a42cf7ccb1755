#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Roots that are no image: a directory of the host, a disk, a mixtape.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell on purpose
# shellcheck disable=SC2154 # dir, m, repo, bin come from helper.bash

bats_require_minimum_version 1.5.0
load helper

setup() {
	msb_setup
	"$bin/msbd"
}

teardown() {
	msb_teardown
}

# rootfs DIR: a tree that a guest can run from
rootfs() {
	mkdir -p "$1"/{bin,etc,proc,sys,dev,tmp,usr/lib,home/me}
	cp "$(command -v busybox)" "$1/bin/busybox"
	local a
	for a in sh cat ls stat id rm mv ln echo chmod chown touch sync mount ps dd sed test cmp find head; do
		ln "$1/bin/busybox" "$1/bin/$a"
	done
	echo 'root:x:0:0::/:/bin/sh' >"$1/etc/passwd"
	echo 'me:x:1000:1000::/home/me:/bin/sh' >>"$1/etc/passwd"
	echo 'what the host wrote' >"$1/etc/motd"
	ln -s motd "$1/etc/issue"
	chmod 0640 "$1/etc/motd"
	head -c 300000 /dev/urandom >"$1/usr/lib/blob"
	echo other >"$1/usr/lib/other"
}

# of_dir NAME PATH: a sandbox with that root
of_dir() {
	mkdir "$m/$1"
	echo "$2" >"$m/$1/image"
	echo 128M >"$m/$1/memory_bytes"
}

@test "image: how it is written says what it is; a relative path is refused with a sentence" {
	mkdir "$m/p"
	fails "Invalid argument" "does not know your directory" "$m/p/error" "echo ./rootfs >$m/p/image"
	fails "Invalid argument" "does not know your directory" "$m/p/error" "echo ../x.qcow2 >$m/p/image"
	echo /nowhere/at/all >"$m/p/image"
	[ "$(cat "$m/p/image")" = /nowhere/at/all ]
	fails "No such file" "/nowhere/at/all: No such file" "$m/p/error" "echo start >$m/p/ctl"
	[ "$(cat "$m/p/state")" = created ]
	echo "$dir/file" >"$m/p/image"
	echo x >"$dir/file"
	fails "Not a directory" "$dir/file" "$m/p/error" "echo start >$m/p/ctl"
	fails "Not a directory" "$dir/file" "$m/p/error" "ls $m/p/root/"
}

@test "a directory: a guest's root, with its own changes on top, which the directory never sees" {
	rootfs "$dir/r"
	(cd "$dir/r" && find . -type f -exec sha256sum {} + | sort) >"$dir/before"
	of_dir d "$dir/r"
	echo start >"$m/d/ctl"
	[ "$(guest d 'cat /etc/issue')" = 'what the host wrote' ]
	[ "$(guest d 'stat -c "%u %g %a" /etc/motd')" = '0 0 640' ]
	# Hard links are links, and stay so.
	[ "$(guest d 'stat -c %h /bin/sh')" = "$(stat -c %h "$dir/r/bin/sh")" ]
	[ "$(guest d 'test /bin/sh -ef /bin/cat && echo one')" = one ]
	local ino
	ino=$(guest d 'stat -c %i /usr/lib/blob /etc/motd')
	guest d 'echo mine >>/etc/motd; ln /etc/motd /etc/again; rm /etc/passwd; mv /usr/lib /usr/LIB; echo new >/home/me/new; chown 7:8 /home/me/new; chmod 600 /usr/LIB/blob; sync'
	[ "$(guest d 'cat /etc/again')" = "$(printf 'what the host wrote\nmine')" ]
	[ "$(cat "$m/d/root/etc/again")" = "$(printf 'what the host wrote\nmine')" ]
	echo restart >"$m/d/ctl"
	[ "$(guest d 'stat -c %i /usr/LIB/blob /etc/motd')" = "$ino" ]
	[ "$(guest d 'stat -c "%u %g" /home/me/new')" = '7 8' ]
	[ "$(guest d 'ls /usr; test -e /etc/passwd || echo gone')" = "$(printf 'LIB\ngone')" ]
	cmp "$m/d/root/usr/LIB/blob" "$dir/r/usr/lib/blob"
	(cd "$dir/r" && find . -type f -exec sha256sum {} + | sort) | cmp - "$dir/before"
	[ ! -e "$dir/r/home/me/new" ]
	# Set once it holds changes, it stays.
	echo stop >"$m/d/ctl"
	fails "Device or resource busy" "may hold changes" "$m/d/error" "echo $dir >$m/d/image"
}

@test "a directory that the host changes: taken up while nothing lies on it, else never mixed" {
	rootfs "$dir/r"
	of_dir d "$dir/r"
	[ "$(cat "$m/d/root/etc/motd")" = 'what the host wrote' ]
	cat "$m/d/root/usr/lib/blob" >/dev/null
	# While it is served its tree is what it was, and a file that was changed cannot be read.
	echo 'longer than what the host wrote first' >"$dir/r/etc/motd"
	echo changed >"$dir/r/usr/lib/other"
	echo new >"$dir/r/etc/new"
	[ ! -e "$m/d/root/etc/new" ]
	run -1 cat "$m/d/root/usr/lib/other"
	[[ $output == *'Stale file handle'* ]]
	# Served anew, and unchanged: as the directory is now.
	"$bin/msbd" --stop --all
	"$bin/msbd"
	[ "$(cat "$m/d/root/etc/motd")" = 'longer than what the host wrote first' ]
	[ "$(cat "$m/d/root/etc/new")" = new ]
	# With changes of its own: the tree stays, what was changed below is an error, never half of it.
	echo own >"$m/d/root/etc/own"
	"$bin/msbd" --stop --all
	echo again >"$dir/r/etc/motd"
	rm "$dir/r/etc/new"
	"$bin/msbd"
	run -1 cat "$m/d/root/etc/motd"
	[[ $output == *'Stale file handle'* ]]
	run -1 cat "$m/d/root/etc/new"
	[[ $output == *'Stale file handle'* ]]
	[ "$(cat "$m/d/root/etc/own")" = own ]
	cmp "$m/d/root/usr/lib/blob" "$dir/r/usr/lib/blob"
	# It can be replaced.
	rm "$m/d/root/etc/motd"
	echo mine >"$m/d/root/etc/motd"
	[ "$(cat "$m/d/root/etc/motd")" = mine ]
}

@test "POSIX cases over files of a directory come back as on the host's own file system" {
	[ "$(id -u)" = 0 ] || skip "acts as other users: needs root"
	mkdir -p "$dir/r/cases" "$dir/local"
	chmod 0777 "$dir/r/cases" "$dir/local"
	of_dir d "$dir/r"
	python3 "$repo/tests/e2e/posix_cases.py" "$dir/local" >"$dir/local.txt"
	python3 "$repo/tests/e2e/posix_cases.py" "$m/d/root/cases" >"$dir/ours.txt"
	[ "$(wc -l <"$dir/local.txt")" -gt 150 ]
	diff "$dir/local.txt" "$dir/ours.txt"
	# On files that are the directory's: every kind of change, then the same again on a copy.
	cp -a "$repo/fs" "$dir/r/fs"
	cp -a "$repo/fs" "$dir/copy"
	of_dir e "$dir/r"
	work() {
		cd "$1"
		echo line >>fsb.h
		truncate -s 100 mux.c
		mv backends/memory backends/MEMORY
		ln mux.h backends/MEMORY/mux.h
		echo more >>backends/MEMORY/mux.h
		rm -r image/erofs.h backends/overlay
		mkdir backends/overlay
		mv -T image/tree.h backends/overlay/tree.h
		chmod 4711 glob.c
		chown 12:34 glob.h
		setfattr -n user.x -v y names.c
		dd if=/dev/zero of=virtq.c bs=1 seek=5000 count=10 conv=notrunc status=none
		cd /
	}
	facts() {
		(cd "$1" && find . -printf '%p %y %m %U %G %n %l %s\n' | grep -v ' d ' | sort &&
			find . -type f -print0 | sort -z | xargs -0 sha256sum &&
			getfattr -d names.c)
	}
	work "$dir/copy"
	work "$m/e/root/fs"
	facts "$dir/copy" >"$dir/copy.txt"
	facts "$m/e/root/fs" | diff "$dir/copy.txt" -
	kill -9 "$(status_of e fsd_pid)"
	"$bin/msbd" --stop --all
	"$bin/msbd"
	facts "$m/e/root/fs" | diff "$dir/copy.txt" -
	diff -r "$repo/fs" "$dir/r/fs"
}

@test "a directory is opened as the sandbox's owner" {
	[ "$(id -u)" = 0 ] || skip "only root's instance has other owners"
	rootfs "$dir/r"
	mkdir -m 700 "$dir/r/private"
	echo secret >"$dir/r/private/f"
	echo secret >"$dir/r/etc/shadow"
	chmod 600 "$dir/r/etc/shadow"
	mkdir -m 700 "$dir/closed"
	of_dir d "$dir/r"
	chown nobody "$m/d"
	# Not what root could read, and no more than nobody could list.
	run -1 cat "$m/d/root/etc/shadow"
	[[ $output == *'Permission denied'* ]]
	[ "$(ls -A "$m/d/root/private")" = '' ]
	[ "$(cat "$m/d/root/usr/lib/blob" | sha256sum)" = "$(sha256sum <"$dir/r/usr/lib/blob")" ]
	mkdir "$m/e"
	echo "$dir/closed/r" >"$m/e/image"
	chown nobody "$m/e"
	fails "Permission denied" "$dir/closed/r: Permission denied" "$m/e/error" "ls $m/e/root/"
}
