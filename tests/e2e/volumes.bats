# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2016 # helper.bash sets them; lines for guests
# volumes: kept when sandboxes go, shared by two guests at once, counted together, given away, refused with a reason.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
	mkdir "$m/volumes/data"
	sandbox one
	sandbox two
	echo "volume:data /data passthrough" >"$m/one/mounts"
	echo "volume:data /srv/data passthrough" >"$m/two/mounts"
	echo start >"$m/one/ctl"
	echo start >"$m/two/ctl"
}

teardown_file() {
	msb_teardown
}

setup() {
	v=$m/volumes/data
	[ "$(cat "$m/one/state")" = running ] || echo start >"$m/one/ctl"
	[ "$(cat "$m/two/state")" = running ] || echo start >"$m/two/ctl"
}

teardown() {
	if [ -z "$BATS_TEST_COMPLETED" ]; then
		cat "$m/one/error" "$m/two/error" "$m/error"
		tail -n 6 "$m/log"
	fi
}

@test "a new volume: its files, and who uses it" {
	[ "$(ls "$v")" = "$(printf '%s\n' data kind quota_bytes used_by used_bytes)" ]
	[ "$(cat "$v/kind")" = dir ]
	[ "$(cat "$v/quota_bytes")" = "" ]
	[ "$(cat "$v/used_by")" = "$(printf 'one\ntwo')" ]
	[ "$(readlink "$v/data")" = "$(realpath "$v/data")" ]
	[ "$(cat "$m/one/mounts")" = "volume:data /data passthrough rw" ]
	grep -q 'volume:data /data passthrough rw' "$m/one/config"
	grep -q '"event":"volume","volume":"data"' "$m/events"
}

@test "what one guest writes the other sees, and the host; and the other way round" {
	echo 'mkdir -p /data/d && echo from one > /data/d/f' >"$m/one/exec"
	until_is 10 "from one" guest two 'cat /srv/data/d/f'
	[ "$(cat "$v/data/d/f")" = "from one" ]
	echo 'echo from two > /srv/data/d/f' >"$m/two/exec"
	until_is 10 "from two" guest one 'cat /data/d/f'
	echo from the host >"$v/data/d/f"
	until_is 10 "from the host" guest one 'cat /data/d/f'
	until_is 10 "from the host" guest two 'cat /srv/data/d/f'
	echo 'rm -r /data/d' >"$m/one/exec"
	until_is 10 gone guest two 'ls /srv/data/d >/dev/null 2>&1 || echo gone'
	[ ! -e "$v/data/d" ]
}

@test "two guests append to one file: no line is lost" {
	# Lines of 8 bytes, so that none lies over the end of a page, where a guest's kernel writes twice.
	append='i=0; while [ $i -lt 300 ]; do printf "%s %03d\n" "$0" $i >> "$1"; i=$((i + 1)); done'
	echo "sh -c '$append' one /data/log" >"$m/one/exec" &
	echo "sh -c '$append' two /srv/data/log" >"$m/two/exec"
	wait $!
	for who in one two; do
		grep "^$who " "$v/data/log" | cut -d' ' -f2 >"$dir/$who"
		seq -w 0 299 | diff - "$dir/$who"
	done
	[ "$(wc -l <"$v/data/log")" = 600 ]
	until_is 10 600 guest one 'wc -l < /data/log'
	rm "$v/data/log"
}

@test "what only one may have: exclusive creation, and a name that is taken over by a rename" {
	lock='n=0; until mkdir $1/lock 2>/dev/null; do n=$((n + 1)); done; c=$(cat $1/count); sleep 0.02; echo $((c + 1)) > $1/new.$0; mv $1/new.$0 $1/count; rmdir $1/lock'
	echo 0 >"$v/data/count"
	for i in 1 2 3 4 5; do
		echo "sh -c '$lock' one /data" >"$m/one/exec" &
		p=$!
		echo "sh -c '$lock' two /srv/data" >"$m/two/exec"
		wait $p
	done
	[ "$(ls "$v/data")" = count ]
	rm "$v/data/count"
}

@test "the guest's root is root there: owners, modes, devices" {
	echo 'echo x > /data/o && chown 33:44 /data/o && chmod 4750 /data/o && mknod /data/n c 1 3' >"$m/one/exec"
	until_is 10 "33:44 4750" guest two 'stat -c "%u:%g %a" /srv/data/o'
	[ "$(stat -c %u "$v/data/o")" = "$(id -u)" ]
	[ ! -c "$v/data/n" ]
	echo 'rm /data/o /data/n' >"$m/one/exec"
}

@test "a quota holds for all of them together, and df says so" {
	echo 8M >"$v/quota_bytes"
	[ "$(cat "$v/quota_bytes")" = 8388608 ]
	echo 'dd if=/dev/zero of=/data/a bs=1M count=5 2>/dev/null' >"$m/one/exec"
	fails "Remote I/O" "" "$m/two/error" "echo 'dd if=/dev/zero of=/srv/data/b bs=1M count=5' > $m/two/exec"
	[[ $(guest two 'dd if=/dev/zero of=/srv/data/c bs=1M count=5 2>&1') == *"No space left"* ]]
	[ "$(cat "$v/used_bytes")" -le 8388608 ]
	[ "$(guest two 'df -k /srv/data | tail -n 1 | awk "{ print (\$2 <= 8192) }"')" = 1 ]
	# made larger, it holds at once
	echo 64M >"$v/quota_bytes"
	echo 'dd if=/dev/zero of=/srv/data/b bs=1M count=5 2>/dev/null' >"$m/two/exec"
	echo 'rm /data/a /data/b; rm -f /data/c' >"$m/one/exec"
	echo >"$v/quota_bytes"
	[ "$(cat "$v/quota_bytes")" = "" ]
	fails "Invalid argument" "quota_bytes is a number" "$m/error" "echo many > $v/quota_bytes"
	fails "out of range" "quota_bytes is a number" "$m/error" "echo 1 > $v/quota_bytes"
	fails "Invalid argument" "volumes/data/quota_bytes" "$m/one/error" \
		"echo 'volume:data /x passthrough quota_bytes=1M' >> $m/one/mounts"
}

@test "used_bytes is what du counts" {
	head -c 300000 /dev/urandom >"$v/data/blob"
	ln "$v/data/blob" "$v/data/again"
	[ "$(cat "$v/used_bytes")" = "$(du -s -B1 "$v/data/" | cut -f1)" ]
	rm "$v/data/blob" "$v/data/again"
}

@test "read-only is read-only; live changes of the table" {
	echo x >"$v/data/f"
	mkdir "$m/volumes/more"
	echo "volume:more /more passthrough ro" >>"$m/one/mounts"
	[[ $(guest one 'echo x > /more/x') == *"Read-only file system"* ]]
	[ "$(cat "$m/volumes/more/used_by")" = one ]
	fails "resource busy" "in the mounts of: one" "$m/error" "rmdir $m/volumes/more"
	echo "volume:data /data passthrough" >"$m/one/mounts"
	rmdir "$m/volumes/more"
	[ "$(ls "$m/volumes")" = data ]
	grep -q '"event":"volume-removed","volume":"more"' "$m/events"
}

@test "names, what is not there, and what is no operation here" {
	fails "Invalid argument" "not a volume's name" "$m/error" "mkdir $m/volumes/Data"
	fails "File exists" "" "" "mkdir $m/volumes/data"
	fails "No such file" "no volume \`none\`" "$m/one/error" "echo 'volume:none /n passthrough' >> $m/one/mounts"
	fails "Invalid argument" "a volume's name" "$m/one/error" "echo 'volume:No /n passthrough' >> $m/one/mounts"
	fails "Operation not permitted" "" "" "rm $v/kind"
	fails "Operation not permitted" "" "" "mkdir $v/x"
	fails "resource busy" "in the mounts of: one, two;" "$m/error" "rmdir $v"
	[ -d "$v" ]
}

@test "a volume is there after kill -9 of msbd, in the middle of its guests" {
	echo 'echo before > /data/f' >"$m/one/exec"
	echo 12M >"$v/quota_bytes"
	pid=$(msbd_pid)
	kill -9 "$pid"
	until_is 5 gone eval "[ -e /proc/$pid ] || echo gone"
	mkdir -p "$dir/s/volumes/0123456789abcdef0123456789abcdef/data/left"
	"$bin/msbd"
	[ ! -e "$dir/s/volumes/0123456789abcdef0123456789abcdef" ]
	[ "$(cat "$v/quota_bytes")" = 12582912 ]
	[ "$(cat "$v/data/f")" = before ]
	[[ $(guest one 'dd if=/dev/zero of=/data/big bs=1M count=13 2>&1; rm /data/big') == *"No space left"* ]]
	echo >"$v/quota_bytes"
}

@test "it stays when its sandboxes go, and goes when nobody names it" {
	echo 'echo kept > /data/kept' >"$m/one/exec"
	for i in one two; do
		echo kill >"$m/$i/ctl"
		rmdir "$m/$i"
	done
	[ "$(cat "$v/data/kept")" = kept ]
	[ "$(cat "$v/used_by")" = "" ]
	rmdir "$v"
	[ ! -e "$v" ]
	[ "$(ls -A "$dir/s/volumes")" = "" ]
	sandbox one "mounts="
	sandbox two
}

@test "given away: its owner's, and by its mode others'" {
	[ "$(id -u)" = 0 ] || skip "for root: users of one instance"
	echo kill >"$m/one/ctl"
	mkdir "$m/volumes/theirs"
	mkdir "$m/volumes/theirs/data/d"
	echo x >"$m/volumes/theirs/data/d/f"
	ln -s /etc/passwd "$m/volumes/theirs/data/d/l"
	chown 4242:4243 "$m/volumes/theirs"
	[ "$(stat -c %u "$m/volumes/theirs/data/d/f")" = 4242 ]
	[ "$(stat -c %u /etc/passwd)" = 0 ]
	[ "$(stat -c '%u:%g %a' "$m/volumes/theirs")" = "4242:4243 700" ]
	as() { setpriv --reuid "$1" --regid "$2" --clear-groups -- sh -c "$3"; }
	as 4242 4242 "echo mine > $m/volumes/theirs/data/f && cat $m/volumes/theirs/used_bytes"
	run ! as 5555 5555 "ls $m/volumes/theirs/"
	run ! as 5555 5555 "ls $(readlink "$m/volumes/theirs/data")/"
	chown 5555:4243 "$m/one"
	fails "Permission denied" "not for uid 5555" "$m/one/error" "echo 'volume:theirs /t passthrough' > $m/one/mounts"
	chmod 0750 "$m/volumes/theirs"
	fails "Permission denied" "not for uid 5555 to write" "$m/one/error" "echo 'volume:theirs /t passthrough' > $m/one/mounts"
	as 5555 5555 "echo 'volume:theirs /t passthrough ro' > $m/one/mounts"
	chmod 0700 "$m/volumes/theirs"
	fails "Permission denied" "not for uid 5555" "$m/one/error" "echo start > $m/one/ctl"
	echo >"$m/one/mounts"
	chown 0:0 "$m/one"
	rmdir "$m/volumes/theirs"
}

@test "whose it is: what that user has put in the place of its files is neither given nor entered" {
	[ "$(id -u)" = 0 ] || skip "for root: users of one instance"
	local files
	mkdir "$m/volumes/hers"
	chown 4242:4243 "$m/volumes/hers"
	files=$(readlink "$m/volumes/hers/data")
	as() { setpriv --reuid 4242 --regid 4242 --groups "$1" -- sh -c "$2"; }
	# a directory that she may move, and write in, but that is root's
	mkdir -m 0777 "$dir/open" "$dir/open/roots"
	chmod 0777 "$dir/open/roots"
	as 4243 "mv $files $files.own && mv $dir/open/roots $files"
	fails "Operation not permitted" "not all of its files" "$m/error" "setpriv --reuid 4242 --regid 4242 --groups 4243,4244 -- chgrp 4244 $m/volumes/hers"
	[ "$(stat -c %u:%g "$files")" = 0:0 ]
	as 4243 "mv $files $dir/open/roots && mv $files.own $files"
	# a file system of hers
	mount -t tmpfs hers "$files"
	fails "Invalid cross-device link" "the files of volume hers" "$m/one/error" "echo 'volume:hers /h passthrough' >$m/one/mounts"
	umount "$files"
	rmdir "$m/volumes/hers"
	rm -r "$dir/open"
}

@test "given away, and msbd killed in the middle: the next one goes on" {
	[ "$(id -u)" = 0 ] || skip "for root: users of one instance"
	local uid=6000 files=$m/volumes/big/data pid
	mkdir "$m/volumes/big"
	mkdir "$files"/{1..40}
	(cd "$files/" && for d in *; do (cd "$d" && seq 400 | xargs touch); done)
	# It is killed once the directory itself has its new owner: what is in it follows that.
	while :; do
		uid=$((uid + 1))
		[ $uid -lt 6020 ]
		pid=$(msbd_pid)
		files=$(readlink "$m/volumes/big/data")
		(chown $uid:7000 "$m/volumes/big" 2>/dev/null || true) 3>&- &
		until [ "$(stat -c %u "$files")" = $uid ]; do :; done
		kill -9 "$pid"
		wait $!
		until_is 5 gone eval "[ -e /proc/$pid ] || echo gone"
		[ -z "$(find "$files" ! -uid $uid -print -quit)" ] || break # else it was too late
		"$bin/msbd"
	done
	# until all are given nobody passes: who could, could put more of the former owner's there, to be given too
	[ "$(stat -c %u:%a "${files%/*}")" = 0:700 ]
	"$bin/msbd"
	[ "$(stat -c %u "$m/volumes/big")" = $uid ]
	until_is 60 '' find "$files" ! -uid $uid -print -quit
	# Another chown comes after it, and finds all of them.
	chown 6900:7000 "$m/volumes/big"
	[ -z "$(find "$files" ! -uid 6900 -print -quit)" ]
	[ "$(stat -c %u:%a "${files%/*}")" = 6900:700 ]
	rmdir "$m/volumes/big"
}

@test "a disk: made once, mounted by its serial, one machine's to write, any number's to read" {
	mkdir "$m/volumes/disk"
	d=$m/volumes/disk
	fails "Invalid argument" "first write the disk's size" "$m/error" "echo disk > $d/kind"
	echo 1M >"$d/quota_bytes"
	fails "out of range" "a disk has from 16M" "$m/error" "echo disk > $d/kind"
	fails "Invalid argument" "kind is" "$m/error" "echo tape > $d/kind"
	echo 32M >"$d/quota_bytes"
	echo disk >"$d/kind"
	[ "$(cat "$d/kind")" = disk ]
	grep -q '^mount_backends .* disk$' "$m/features"
	[ -f "$(readlink "$d/data")" ]
	[ "$(cat "$d/used_bytes")" -lt 33554432 ]
	fails "resource busy" "keeps its size" "$m/error" "echo 64M > $d/quota_bytes"
	fails "resource busy" "is a disk" "$m/error" "echo dir > $d/kind"
	echo kill >"$m/one/ctl"
	echo kill >"$m/two/ctl"
	fails "Invalid argument" "its backend is disk" "$m/one/error" "echo 'volume:disk /d passthrough' > $m/one/mounts"
	fails "Invalid argument" "no options but ro and rw" "$m/one/error" "echo 'volume:disk /d disk audit' > $m/one/mounts"
	echo "volume:disk /d disk" >"$m/one/mounts"
	echo "volume:disk /mnt/d disk ro" >"$m/two/mounts"
	echo start >"$m/one/ctl"
	[ "$(guest one 'grep " /d " /proc/mounts | cut -d" " -f3')" = ext4 ]
	echo 'echo kept > /d/f && chown 33:44 /d/f && sync' >"$m/one/exec"
	[[ $(guest one 'dd if=/dev/zero of=/d/big bs=1M count=40 2>&1; rm /d/big') == *"No space left"* ]]
	fails "resource busy" "one has it" "$m/two/error" "echo start > $m/two/ctl"
	fails "resource busy" "from its start to its end" "$m/one/error" "echo > $m/one/mounts"
	[ "$(cat "$m/one/mounts")" = "volume:disk /d disk rw" ]
	echo stop >"$m/one/ctl"
	echo start >"$m/two/ctl"
	[ "$(guest two 'cat /mnt/d/f; stat -c %u:%g /mnt/d/f')" = "$(printf 'kept\n33:44')" ]
	[[ $(guest two 'echo x > /mnt/d/f') == *"Read-only file system"* ]]
	fails "resource busy" "two has it to read" "$m/one/error" "echo start > $m/one/ctl"
	echo "volume:disk /d disk ro" >"$m/one/mounts"
	echo start >"$m/one/ctl"
	[ "$(guest one 'cat /d/f')" = kept ]
	echo kill >"$m/one/ctl"
	echo kill >"$m/two/ctl"
	echo >"$m/one/mounts"
	echo >"$m/two/mounts"
	rmdir "$d"
}
