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

@test "image: how it is written says what it is; a relative path is the writer's" {
	mkdir "$m/p" "$dir/here" "$dir/gone"
	cd "$dir/here"
	for t in "./rootfs $dir/here/rootfs" "../x.qcow2 $dir/x.qcow2" ". $dir/here" "..//.././/y/../z ${dir%/*}/y/../z" \
		"./../../../../../x /x"; do
		echo "${t% *}" >"$m/p/image"
		[ "$(cat "$m/p/image")" = "${t#* }" ] || { echo "${t% *}: $(cat "$m/p/image"), not ${t#* }"; false; }
	done
	cd "$m/p"
	fails "Invalid argument" "is in the control tree" "$m/p/error" "echo ./x >image"
	cd "$dir/gone"
	rmdir "$dir/gone"
	fails "Invalid argument" "cannot be told" "$m/p/error" "echo ./x >$m/p/image"
	cd "$dir"
	fails "Invalid argument" "line 1, column 1: \`./x\` is not an absolute path" "$m/p/error" "echo 'image: ./x' >$m/p/config"
	if [ "$(id -u)" = 0 ]; then
		fails "Invalid argument" "cannot be told" "$m/p/error" "unshare -m bash -c 'echo ./x >$m/p/image'"
	fi
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
	echo acl >"$m/d/root_options"
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
	mkdir "$dir/r/mnt"
	mount -t tmpfs none "$dir/r/mnt"
	echo other >"$dir/r/mnt/f"
	of_dir d "$dir/r"
	chown nobody "$m/d"
	# Nor what is mounted below it.
	[ "$(ls -A "$m/d/root/mnt")" = '' ]
	umount "$dir/r/mnt"
	# Not what root could read, and no more than nobody could list.
	run -1 cat "$m/d/root/etc/shadow"
	[[ $output == *'Permission denied'* ]]
	[ "$(ls -A "$m/d/root/private")" = '' ]
	[ "$(sha256sum <"$m/d/root/usr/lib/blob")" = "$(sha256sum <"$dir/r/usr/lib/blob")" ]
	mkdir "$m/e"
	echo "$dir/closed/r" >"$m/e/image"
	chown nobody "$m/e"
	fails "Permission denied" "$dir/closed/r: Permission denied" "$m/e/error" "ls $m/e/root/"
}

# ---- disks

# plain DIR: what a disk's file system holds; busybox alone
plain() {
	mkdir -p "$1"/{bin,etc,proc,sys,dev,tmp,run,root}
	cp "$(command -v busybox)" "$1/bin/busybox"
	local a
	for a in sh cat ls stat echo mount dd sync id df head sha256sum touch; do
		ln -s busybox "$1/bin/$a"
	done
	echo 'root:x:0:0::/root:/bin/sh' >"$1/etc/passwd"
	echo "$2" >"$1/etc/what"
}

# ext4 FILE SIZE WHAT
ext4() {
	plain "$dir/plain" "$3"
	truncate -s "$2" "$1"
	mkfs.ext4 -q -F -d "$dir/plain" "$1"
}

# of_disk NAME PATH
of_disk() {
	of_dir "$1" "$2"
}

@test "a raw disk: root, exec, mounts and a restart; the file is never written, the sandbox's own grows" {
	mkdir -m 0700 "$dir/private"
	ext4 "$dir/private/x.img" 64M raw
	chmod 0600 "$dir/private/x.img"
	sha256sum "$dir/private/x.img" >"$dir/sum"
	stat -c '%a %u %g %Y' "$dir/private/x.img" >"$dir/stat"
	mkdir "$dir/share"
	echo shared >"$dir/share/f"
	of_disk d "$dir/private/x.img"
	echo "$dir/share /share passthrough ro" >"$m/d/mounts"
	echo start >"$m/d/ctl"
	[ "$(guest d 'cat /etc/what /share/f')" = "$(printf 'raw\nshared')" ]
	[[ $(guest d 'mount | head -n 1') == '/dev/vda on / type ext4 (rw'* ]]
	guest d 'echo kept >/root/f; dd if=/dev/urandom of=/root/r bs=1M count=3 2>/dev/null; sha256sum /root/r >/root/sum; sync'
	# Only the machine's kernel reads it.
	run ! ls "$m/d/root/"
	[[ $(cat "$m/d/error") == *'there is no view of it'* ]]
	# QEMU has the files as descriptors: as root its own user, who could open neither.
	if [ "$(id -u)" = 0 ]; then
		[ "$(stat -c %u "/proc/$(status_of d qemu_pid)")" -gt 1000000 ]
	fi
	echo stop >"$m/d/ctl"
	sha256sum -c --quiet "$dir/sum"
	stat -c '%a %u %g %Y' "$dir/private/x.img" | diff "$dir/stat" -
	qemu-img check -q -f qcow2 "$MSB_STATE/sandboxes/$(cat "$m/d/id")/disk.qcow2"
	# It grows at the next start, and never shrinks.
	echo 32M >"$m/d/disk_bytes"
	fails "Numerical result out of range" "only grows" "$m/d/error" "echo start >$m/d/ctl"
	echo 1G >"$m/d/disk_bytes"
	[ "$(cat "$m/d/disk_bytes")" = 1073741824 ]
	fails "Numerical result out of range" "disk_bytes is" "$m/d/error" "echo 5T >$m/d/disk_bytes"
	fails "Invalid argument" "disk_bytes is" "$m/d/error" "echo 1048577 >$m/d/disk_bytes"
	echo ro >"$m/d/root_options"
	echo start >"$m/d/ctl"
	[ "$(guest d 'cat /root/f && sha256sum -c /root/sum')" = "$(printf 'kept\n/root/r: OK')" ]
	[[ $(guest d 'cat /proc/partitions') == *' 1048576 vda'* ]]
	[ "$(guest d 'touch /x 2>/dev/null || echo no')" = no ]
	echo kill >"$m/d/ctl"
	fails "Device or resource busy" "may hold changes" "$m/d/error" "echo $dir >$m/d/image"
	# Its changes lie on this file and no other.
	touch "$dir/private/x.img"
	fails "Stale file handle" "was changed since" "$m/d/error" "echo start >$m/d/ctl"
	rmdir "$m/d"
}

# part IMAGE OFFSET-MIB FILE: a file system into its partition
part() {
	dd if="$3" of="$1" bs=1M seek="$2" conv=notrunc,sparse status=none
}

@test "a qcow2 disk with a GPT: the partition that its type says is root; btrfs" {
	plain "$dir/plain" btrfs
	truncate -s 160M "$dir/fs"
	mkfs.btrfs -q --rootdir "$dir/plain" "$dir/fs"
	truncate -s 260M "$dir/x.raw"
	sfdisk -q "$dir/x.raw" <<-END
		label: gpt
		start=1MiB, size=10MiB, type=uefi, name=ESP
		start=11MiB, size=20MiB, type=linux, name=root
		start=40MiB, size=160MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=system
	END
	part "$dir/x.raw" 40 "$dir/fs"
	qemu-img convert -f raw -O qcow2 -c "$dir/x.raw" "$dir/x.qcow2"
	sha256sum "$dir/x.qcow2" >"$dir/sum"
	of_disk d "$dir/x.qcow2"
	echo start >"$m/d/ctl"
	[ "$(guest d 'cat /etc/what')" = btrfs ]
	[[ $(guest d 'mount | head -n 1') == '/dev/vda3 on / type btrfs '* ]]
	guest d 'echo kept >/root/f; sync'
	# One whose machine is killed finds what was synced.
	kill -9 "$(status_of d qemu_pid)"
	until_is 10 failed cat "$m/d/state"
	echo start >"$m/d/ctl"
	[ "$(guest d 'cat /root/f')" = kept ]
	echo stop >"$m/d/ctl"
	sha256sum -c --quiet "$dir/sum"
}

@test "a disk with an MBR and xfs: the only partition of Linux" {
	plain "$dir/plain" xfs
	cat >"$dir/proto" <<-END
		boot
		0 0
		d--755 0 0
		bin d--755 0 0
		busybox ---755 0 0 $dir/plain/bin/busybox
		sh l--777 0 0 busybox
		cat l--777 0 0 busybox
		mount l--777 0 0 busybox
		head l--777 0 0 busybox
		$
		etc d--755 0 0
		what ---644 0 0 $dir/plain/etc/what
		passwd ---644 0 0 $dir/plain/etc/passwd
		$
		proc d--755 0 0 $
		sys d--755 0 0 $
		dev d--755 0 0 $
		$
	END
	truncate -s 310M "$dir/fs"
	mkfs.xfs -q -p "$dir/proto" "$dir/fs"
	truncate -s 340M "$dir/x.img"
	sfdisk -q "$dir/x.img" <<-END
		label: dos
		start=1MiB, size=10MiB, type=c
		start=11MiB, size=310MiB, type=83
	END
	part "$dir/x.img" 11 "$dir/fs"
	of_disk d "$dir/x.img"
	echo start >"$m/d/ctl"
	[ "$(guest d 'cat /etc/what')" = xfs ]
	[[ $(guest d 'mount | head -n 1') == '/dev/vda2 on / type xfs '* ]]
	echo kill >"$m/d/ctl"
}

@test "a disk that has no root, or leads elsewhere, is refused with a sentence" {
	mkdir "$m/d"
	local no="$m/d/error"
	try() { # ERRNO SENTENCE FILE
		echo "$dir/$3" >"$m/d/image"
		fails "$1" "$2" "$no" "echo start >$m/d/ctl"
	}
	try "No such file" "$dir/none.img: No such file" none.img
	mkdir "$dir/dir.raw"
	mkfifo "$dir/fifo.img"
	try "Invalid argument" "no regular file" dir.raw
	try "Invalid argument" "no regular file" fifo.img
	truncate -s 1000 "$dir/small.img"
	try "Numerical result" "1000 bytes" small.img
	truncate -s 2000001 "$dir/odd.raw"
	try "Numerical result" "whole sectors" odd.raw
	truncate -s 5T "$dir/huge.raw" || truncate -s 1001 "$dir/huge.raw"
	try "Numerical result" "4 TiB" huge.raw
	echo text >"$dir/text.qcow2"
	try "Bad message" "no qcow2 file" text.qcow2
	qemu-img create -q -f qcow2 -b /etc/passwd -F raw "$dir/backed.qcow2" 1G
	try "Operation not supported" "has a backing file" backed.qcow2
	qemu-img create -q -f qcow2 -o "data_file=$dir/data" "$dir/data.qcow2" 1G
	try "Operation not supported" "in another file" data.qcow2
	qemu-img create -q -f qcow2 --object secret,id=k,data=k -o encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10 "$dir/luks.qcow2" 16M
	try "Operation not supported" "encrypted" luks.qcow2
	# Options that a file server would carry out.
	fails "Invalid argument" "no options but ro and rw" "$no" "echo audit >$m/d/root_options"
	echo "$dir" >"$m/d/image"
	echo quota_bytes=1G >"$m/d/root_options"
	fails "Invalid argument" "no options but ro and rw" "$no" "echo $dir/text.qcow2 >$m/d/image"
	echo >"$m/d/root_options"
	# disk_bytes is of disks.
	echo 1G >"$m/d/disk_bytes"
	fails "Invalid argument" "quota_bytes" "$no" "echo start >$m/d/ctl"
	[ "$(cat "$m/d/state")" = created ]
}

@test "what is called raw is raw: a qcow2 in it leads nowhere; a disk without a file system says so" {
	echo 'none of the guest'"'"'s business' >"$dir/secret"
	qemu-img create -q -f qcow2 -b "$dir/secret" -F raw "$dir/x.img" 1M
	truncate -s 2M "$dir/x.img"
	of_disk d "$dir/x.img"
	fails "Invalid argument" "no file system that is known" "$m/d/error" "echo start >$m/d/ctl"
	[ "$(cat "$m/d/state")" = failed ]
	# Nothing was written to it: another file of that name is taken.
	ext4 "$dir/y" 32M again
	mv "$dir/y" "$dir/x.img"
	echo start >"$m/d/ctl"
	[ "$(guest d 'cat /etc/what')" = again ]
	echo kill >"$m/d/ctl"
}

@test "a disk is opened as the sandbox's owner" {
	[ "$(id -u)" = 0 ] || skip "only root's instance has other owners"
	ext4 "$dir/x.img" 32M x
	chmod 0600 "$dir/x.img"
	of_disk d "$dir/x.img"
	chown nobody "$m/d"
	fails "Permission denied" "$dir/x.img: Permission denied" "$m/d/error" "echo start >$m/d/ctl"
}

# ---- mixtapes

# initrd OUT: PID 1 of a mixtape that knows nothing of msb, with what it loads
initrd() {
	local release
	read -r release _ <"$repo/build/kernel/debian/version"
	mkdir -p "$dir/deb" "$dir/mod"
	dpkg-deb --fsys-tarfile "$repo/build/kernel/linux-image-${release}"_*.deb | tar -x -C "$dir/deb" --wildcards \
		'*/kernel/drivers/acpi/button.ko*' '*/kernel/drivers/input/evdev.ko*'
	cp "$repo/build/kernel/debian/lazy/virtio_blk/10-virtio_blk.ko" "$dir/mod/"
	local f
	for f in button evdev; do
		xz -dc "$(find "$dir/deb" -name "$f.ko.xz")" >"$dir/mod/20-$f.ko"
	done
	"$repo/tools/initramfs" "$repo/build/e2e/mixtape_init" "$dir/mod" "$1"
}

# mixtape NAME CMDLINE: imported
mixtape() {
	[ -e "$dir/initrd" ] || initrd "$dir/initrd"
	truncate -s 16M "$dir/disk"
	mkfs.ext4 -q -F "$dir/disk"
	python3 "$repo/tests/e2e/mkmixtape.py" "$dir/$1" "$repo/build/kernel/debian/vmlinuz" "$dir/initrd" "$2" "$dir/disk"
	echo "import $dir/$1 $1" >"$m/images/ctl"
}

# says NAME TEXT: the console has it, in time
says() {
	until_is 60 1 bash -c "grep -cF '$2' $m/$1/console"
}

@test "a mixtape: imported, started, stopped by its power button; its disk is kept; no agent of ours" {
	mixtape tape "console=ttyS0 quiet panic=-1 mix=<tape>"$'\n'
	mkdir "$m/t"
	echo tape >"$m/t/image"
	echo 192M >"$m/t/memory_bytes"
	echo start >"$m/t/ctl"
	[ "$(cat "$m/t/state")" = running ]
	says t 'boot 1, arguments console=ttyS0 quiet panic=-1 mix=<tape>'
	# Unpacked once, its zeros take no room; the machine's copies of its kernel are gone.
	local d
	d=$(ls "$MSB_STATE"/store/disks/*.raw)
	[ "$(stat -c %s "$d")" = 16777216 ]
	[ "$(stat -c %b "$d")" -lt 8192 ]
	[ ! -e "$MSB_STATE/run/sb/$(cat "$m/t/id")/kernel" ]
	# What takes an agent says so.
	fails "Operation not supported" "has no agent of msb" "$m/t/error" "echo ls >$m/t/exec"
	fails "Operation not supported" "has no agent of msb" "$m/t/error" "echo '$dir /x passthrough' >$m/t/mounts"
	run ! ls "$m/t/root/"
	[[ $(cat "$m/t/error") == *'has no tree of files'* ]]
	echo pause >"$m/t/ctl"
	echo resume >"$m/t/ctl"
	# msbd finds it again.
	msbd_killed
	[ "$(cat "$m/t/state")" = running ]
	fails "Operation not supported" "has no agent of msb" "$m/t/error" "echo ls >$m/t/exec"
	echo stop >"$m/t/ctl"
	[ "$(cat "$m/t/state")" = stopped ]
	says t 'mixtape: power button'
	echo start >"$m/t/ctl"
	says t 'boot 2, '
	echo kill >"$m/t/ctl"
	# What was unpacked is looked at with the rest, and made again.
	echo verify >"$m/images/ctl"
	printf X | dd of="$d" bs=1 seek=5000000 conv=notrunc status=none
	fails "Bad message" "1 damaged" "$m/error" "echo verify >$m/images/ctl"
	grep -qh 'what was unpacked from it is damaged' "$m"/images/pulls/*
	echo "import $dir/tape again" >"$m/images/ctl"
	echo 'rm again' >"$m/images/ctl"
	[ ! -e "$d" ]
	echo verify >"$m/images/ctl"
	echo start >"$m/t/ctl"
	says t 'boot 3, '
	echo kill >"$m/t/ctl"
	# In use it stays; then all of it goes.
	echo prune >"$m/images/ctl"
	[ -e "$d" ]
	rmdir "$m/t"
	echo 'rm tape' >"$m/images/ctl"
	echo prune >"$m/images/ctl"
	[ ! -e "$d" ]
	[ -z "$(ls "$MSB_STATE/store/blobs")" ]
}

@test "a mixtape with a plain disk that does not hear its button is killed; what it cannot have is refused" {
	PLAIN=1 mixtape tape "console=ttyS0 quiet deaf"
	mkdir "$m/t"
	echo tape >"$m/t/image"
	echo 192M >"$m/t/memory_bytes"
	echo "$dir /x passthrough" >"$m/t/mounts"
	fails "Operation not supported" "empty \`mounts\`" "$m/t/error" "echo start >$m/t/ctl"
	echo >"$m/t/mounts"
	echo ro >"$m/t/root_options"
	fails "Operation not supported" "empty \`root_options\`" "$m/t/error" "echo start >$m/t/ctl"
	echo >"$m/t/root_options"
	[ "$(cat "$m/t/state")" = created ]
	echo 1G >"$m/t/disk_bytes"
	echo start >"$m/t/ctl"
	says t 'boot 1, '
	[ ! -e "$MSB_STATE/store/disks" ] # the blob itself is the base
	echo stop >"$m/t/ctl"
	[ "$(cat "$m/t/state")" = stopped ]
	grep -q 'did not power off' "$m/log"
}

@test "a mixtape whose disk is damaged in the store does not start, and says what to do" {
	mixtape tape "console=ttyS0"
	mkdir "$m/t"
	echo tape >"$m/t/image"
	local blob
	blob=$MSB_STATE/store/blobs/$(sed -n 's/^mixtape.disk //p' "$MSB_STATE"/store/images/*/meta)
	cp "$blob" "$dir/blob"
	printf X | dd of="$blob" bs=1 seek=100 conv=notrunc status=none
	fails "Bad message" "disk sha256:" "$m/t/error" "echo start >$m/t/ctl"
	[ "$(cat "$m/t/state")" = created ]
	[ -z "$(ls "$MSB_STATE/store/disks")" ]
	cp "$dir/blob" "$blob"
	echo start >"$m/t/ctl"
	echo kill >"$m/t/ctl"
}
