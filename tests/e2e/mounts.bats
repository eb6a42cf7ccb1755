# SPDX-License-Identifier: Apache-2.0
# mounts: every backend, at start and while the machine runs; what fails changes nothing; what is cut off is mended.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
	echo "import $repo/build/images/busybox cc" >"$m/images/ctl"
	mkdir "$dir/a" "$dir/b"
	echo A >"$dir/a/f"
	echo B >"$dir/b/f"
	sandbox box
	printf '%s\n' "$dir/a /mnt/a passthrough" "$dir/b /deep/er/b passthrough ro" "bb /im image" \
		"bb /ov overlay" >"$m/box/mounts"
	echo start >"$m/box/ctl"
	cp "$m/box/mounts" "$dir/first"
	for i in {1..31}; do
		mkdir -p "$dir/many/$i"
		echo "$i" >"$dir/many/$i/f"
		echo "$dir/many/$i /many/$i passthrough" >>"$dir/one"
		echo "$dir/many/$i /others/$i passthrough" >>"$dir/two"
	done
}

teardown_file() {
	msb_teardown
}

# each test begins with the table of the first start
setup() {
	[ "$(cat "$m/box/state")" = running ] || echo start >"$m/box/ctl"
	cat "$dir/first" >"$m/box/mounts"
	cd "$m/box"
}

teardown() {
	cd /
	if [ -z "$BATS_TEST_COMPLETED" ]; then
		cat "$m/box/mounts" "$m/box/error"
		tail -n 5 "$m/box/console"
		tail -n 6 "$m/log"
	fi
}

# the paths where the guest has shares, sorted
in_guest() { guest box "sed -n 's,^shares ,,p' /proc/mounts | cut -d' ' -f1 | sort"; }
# the paths of the table, sorted
in_table() { cut -d' ' -f2 mounts | sort; }
agree() { [ "$(in_guest)" = "$(in_table)" ] || { echo "guest: $(in_guest)"; echo "table: $(in_table)"; false; }; }

# live TABLE-LINE...: the table is these lines now
live() {
	printf '%s\n' "$@" >"$dir/live" # bash would write it line by line
	cat "$dir/live" >mounts
}

@test "each backend at the start of a machine" {
	agree
	[ "$(guest box 'cat /mnt/a/f /deep/er/b/f')" = "$(printf 'A\nB')" ]
	echo 'echo x > /mnt/a/g; mkdir /mnt/a/d && mv /mnt/a/g /mnt/a/d' >exec
	[ "$(cat "$dir/a/d/g")" = x ]
	fails "Remote I/O" "" error "echo 'echo x > /deep/er/b/g' > exec"
	[ ! -e "$dir/b/g" ]
	[[ $(guest box 'echo x > /im/x; rm /im/bin/sh; ls /im/bin/sh') == *"Read-only file system"*"/im/bin/sh" ]]
	echo 'rm /ov/etc/passwd && echo mine > /ov/etc/own && cmp /im/etc/group /ov/etc/group' >exec
	[ "$(guest box 'ls /ov/etc/passwd 2>/dev/null; cat /ov/etc/own; ls /im/etc/own 2>/dev/null')" = mine ]
	# the kernel reads ahead as far as PID 1 says
	[ "$(guest box 'cat /sys/class/bdi/$(awk "\$5 == \"/mnt/a\" { print \$3 }" /proc/self/mountinfo)/read_ahead_kb')" = 512 ]
	# a file server has a mount for each; the machine has two devices, however many there are
	[ "$(guest box 'ls /sys/bus/virtio/drivers/virtiofs | grep -c virtio')" = 2 ]
}

@test "changes of an overlay stay with the sandbox, for that path and image" {
	echo 'echo kept > /ov/kept' >exec
	live "bb /elsewhere overlay"
	[ "$(guest box 'ls /elsewhere/kept 2>/dev/null; ls /ov')" = "" ]
	live "cc /ov overlay" # the same image by another name
	[ "$(guest box 'cat /ov/kept')" = kept ]
	live "bb /ov overlay"
	[ "$(guest box 'cat /ov/kept')" = kept ]
	# one that is changed keeps its directory: the old one lets go first
	live "bb /ov overlay delay=lookup:1ms"
	[ "$(guest box 'cat /ov/kept')" = kept ]
	echo restart >ctl
	[ "$(guest box 'cat /ov/kept')" = kept ]
	agree
}

@test "live: what is new comes, what is gone goes, what stays is not touched" {
	echo 'mkfifo /tmp/go' >exec
	exec {fd}<>exec
	echo 'exec 5<>/mnt/a/open; echo one >&5; read go < /tmp/go; echo two >&5; cat /mnt/a/open' >&"$fd"
	echo 'while ! [ -s /mnt/a/open ]; do sleep 0.05; done' >exec
	mkdir -p "$dir/n ew"
	echo N >"$dir/n ew/f"
	{ grep -v /deep mounts; echo "$dir/n\\040ew /new/here passthrough ro"; } >"$dir/next"
	cat "$dir/next" >mounts
	agree
	diff <(cut -d' ' -f1-4 mounts | sed 's/ rw$//') <(sed 's/ rw$//; s,image$,image ro,' "$dir/next")
	[ "$(guest box 'cat /new/here/f; ls /deep/er/b')" = N ]
	[[ $(guest box 'echo x > /new/here/f') == *"Read-only"* ]]
	[ "$(jq -r 'select(.event == "unmount").path' events | tail -n 1)" = /deep/er/b ]
	[ "$(jq -r 'select(.event == "mount") | .path + .backend' events | tail -n 1)" = /new/herepassthrough ]
	echo 'echo > /tmp/go' >exec
	[ "$(cat <&"$fd")" = "$(printf 'one\ntwo')" ]
	exec {fd}>&-
	echo "bb /im2 image" >>mounts
	[ "$(guest box 'ls -d /im2/bin')" = /im2/bin ]
	agree
	echo >mounts
	[ "$(in_guest)" = "" ]
	live "$dir/a /mnt/a passthrough"
	[ "$(guest box 'cat /mnt/a/f')" = A ]
}

@test "a line that is changed is another mount" {
	echo 'echo w > /mnt/a/w' >exec
	live "$dir/a /mnt/a passthrough ro"
	[[ $(guest box 'echo w > /mnt/a/w') == *"Read-only"* ]]
	live "$dir/b /mnt/a passthrough"
	[ "$(guest box 'cat /mnt/a/f')" = B ]
	live "$dir/a /mnt/a passthrough"
	echo 'echo w > /mnt/a/w' >exec
	[ "$(guest box 'cat /mnt/a/f')" = A ]
}

@test "mounts below mounts, in the order of the lines" {
	live "$dir/a /n passthrough" "$dir/b /n/below passthrough" "bb /n/below/im image"
	[ "$(guest box 'cat /n/f /n/below/f; ls -d /n/below/im/bin')" = "$(printf 'A\nB\n/n/below/im/bin')" ]
	[ -d "$dir/a/below" ]
	fails "busy" "a mount below it" error "grep -v '/n ' mounts > $dir/t; cat $dir/t > mounts"
	agree
	echo restart >ctl
	[ "$(guest box 'cat /n/below/f')" = B ]
	echo >mounts
	[ "$(in_guest)" = "" ]
}

@test "what is in use stays, and everything with it" {
	echo 'mkfifo /tmp/stay' >exec
	exec {fd}<>exec
	echo 'cd /mnt/a; echo there; read go < /tmp/stay' >&"$fd"
	read -r there <&"$fd"
	[ "$there" = there ]
	fails "busy" "/mnt/a: something in the guest uses it" error "echo 'bb /other image' > mounts"
	diff mounts "$dir/first"
	agree
	[ "$(guest box 'cat /deep/er/b/f; ls -d /other/bin 2>/dev/null')" = B ]
	[ "$(jq -r 'select(.event == "mount" or .event == "unmount").path' events | grep -c other)" = 0 ]
	echo 'echo > /tmp/stay' >exec
	cat <&"$fd"
	exec {fd}>&-
	live "bb /other image"
	agree
}

@test "what cannot come: nothing changes" {
	fails "No such file" "mount source $dir/none" error \
		"printf '%s\n' 'bb /x image' '$dir/none /y passthrough' > $dir/t; cat $dir/t > mounts"
	agree
	diff mounts "$dir/first"
	touch "$dir/file"
	fails "Not a directory" "$dir/file" error "echo '$dir/file /y passthrough' >> mounts"
	# the guest refuses: something that is no directory is in the way
	fails "Not a directory" "/bin/sh" error \
		"printf '%s\n' 'bb /x image' 'bb /bin/sh image' > $dir/t; cat $dir/t > mounts"
	agree
	diff mounts "$dir/first"
	[ "$(guest box 'ls -d /x/bin 2>/dev/null; cat /mnt/a/f')" = A ]
	echo pause >ctl
	fails "busy" "paused" error "echo 'bb /x image' >> mounts"
	echo resume >ctl
	agree
}

@test "lines that are refused" {
	fails "Not supported" "there are passthrough" error "echo '/a /b nfs' >> mounts" ||
		fails "not supported" "there are passthrough" error "echo '/a /b nfs' >> mounts"
	fails "Invalid" "absolute path of a directory" error "echo 'a /b passthrough' >> mounts"
	fails "Invalid" "the name of an image" error "echo '/a /b overlay' >> mounts"
	fails "Invalid" "none" error "echo '/a /b memory' >> mounts"
	fails "No such file" "no image \`dd\`" error "echo 'dd /b image' >> mounts"
	fails "Invalid" "did you mean \`audit\`" error "echo '/a /b passthrough audi' >> mounts"
	fails "exists" "/mnt/a" error "echo '/a /mnt/a passthrough' >> mounts"
	fails "busy" "box uses image" "$m/error" "echo 'rm bb' > $m/images/ctl"
	echo "cc /c image" >>mounts
	fails "busy" "box uses image" "$m/error" "echo 'rm cc' > $m/images/ctl"
	diff <(head -n 4 mounts) "$dir/first"
}

@test "as many as there may be, exchanged for as many others" {
	cat "$dir/one" >mounts
	agree
	fails "quota" "at most 31" error "echo 'bb /x image' >> mounts"
	cat "$dir/two" >mounts
	agree
	[ "$(guest box 'cat /others/*/f | sort -n | tr "\n" " "')" = "$(echo {1..31}) " ]
	[ "$(guest box 'ls /many/7')" = "" ]
	echo restart >ctl
	agree
}

@test "as many directories of changes as there may be" {
	changes=$dir/s/sandboxes/$(cat id)/overlays
	for i in {1..256}; do mkdir "$changes/x$i"; done
	fails "quota" "256 overlay mounts" error "echo 'bb /more overlay' >> mounts"
	agree
	rmdir "$changes"/x*
	echo 'bb /more overlay' >>mounts
	agree
}

@test "what the guest does to its mounts is its own" {
	echo 'umount /mnt/a' >exec
	grep -v /mnt/a "$dir/first" >"$dir/t"
	cat "$dir/t" >mounts # gone already: no failure
	agree
	cat "$dir/first" >mounts
	agree
	echo 'mount -t tmpfs t /mnt/a' >exec
	fails "busy" "mounted something else over it" error "cat $dir/t > mounts"
	echo 'umount /mnt/a' >exec
	cat "$dir/t" >mounts
	agree
	echo 'mkdir -p /private; mount -t tmpfs t /private; ln -s /private/in /link; mkdir /private/in' >exec
	live "bb /link/im image"
	[ "$(guest box 'ls -d /private/in/im/bin')" = /private/in/im/bin ]
	live "$(head -n 1 "$dir/first")" || true # the guest's own link hides it: gone is gone
	echo restart >ctl
}

@test "the host's edits are seen" {
	echo 'cat /mnt/a/f; ls /mnt/a' >exec
	echo A2 >"$dir/a/f"
	until_is 10 A2 guest box 'cat /mnt/a/f'
	echo 'test ! -e /mnt/a/late' >exec
	mkdir "$dir/a/late"
	until_is 10 /mnt/a/late guest box 'ls -d /mnt/a/late 2>&1'
	rmdir "$dir/a/late"
	until_is 10 gone guest box '[ -e /mnt/a/late ] || echo gone'
	echo A >"$dir/a/f"
	until_is 10 A guest box 'cat /mnt/a/f'
}

@test "file handles work for what the guest's kernel has forgotten, and in the next machine" {
	local file ov forget='sync; echo 3 >/proc/sys/vm/drop_caches'
	mkdir -p "$dir/a/x/y"
	echo deep >"$dir/a/x/y/f"
	cp "$repo/build/e2e/handle" "$dir/a/"
	echo restart >ctl # a mount that came back while the machine runs is another one
	file=$(guest box '/mnt/a/handle of /mnt/a/x/y/f')
	ov=$(guest box '/mnt/a/handle of /ov/etc/group')
	[ "$(guest box "$forget; /mnt/a/handle open /mnt/a $file")" = $'file\ndeep' ]
	mv "$dir/a/x/y/f" "$dir/a/x/g"
	[ "$(guest box "$forget; /mnt/a/handle open /mnt/a $file")" = $'file\ndeep' ]
	[ "$(guest box "$forget; /mnt/a/handle open /ov $ov | head -n 1")" = file ]
	echo restart >ctl
	[ "$(guest box "/mnt/a/handle open /mnt/a $file")" = $'file\ndeep' ]
	[ "$(guest box "/mnt/a/handle open /ov $ov | head -n 1")" = file ]
	rm "$dir/a/x/g"
	[ "$(guest box "$forget; /mnt/a/handle open /mnt/a $file")" = "handle: Stale file handle" ]
}

@test "strictatime: each open of a file has its contents read, and moves its access time" {
	echo stop >ctl
	live "none /strict memory strictatime" "none /relative memory" "$dir/a /mnt/a passthrough strictatime"
	echo strictatime >root_options
	echo start >ctl
	local again='a=$(stat -c %X f); sleep 1.1; cat f >/dev/null; [ $(stat -c %X f) = $a ] && echo $d stays || echo $d moves'
	guest box "for d in /strict /relative /srv; do mkdir -p \$d; cd \$d; echo text >f; sleep 1.1; cat f >/dev/null; $again; done; cat /mnt/a/f" >"$dir/moves"
	[ "$(cat "$dir/moves")" = "$(printf '%s\n' '/strict moves' '/relative stays' '/srv moves' A)" ]
	echo stop >ctl
	echo >root_options
}

@test "a write that is interrupted goes on" {
	kill -STOP "$(status_of box agent_pid)"
	run timeout 2 bash -c "echo 'bb /later image' >> mounts"
	[ "$status" != 0 ]
	kill -CONT "$(status_of box agent_pid)"
	until_is 20 /later tail_path
	agree
}
tail_path() { tail -n 1 mounts | cut -d' ' -f2; }

@test "kill -9 of the agent's process while mounts change" {
	for i in 1 2 3; do
		(sleep 0.0$((i * 2)); kill -9 "$(status_of box agent_pid)") &
		cat "$dir/two" >mounts || true
		wait
		until_is 20 up guest box 'echo up'
		until_is 20 ok agrees
		cat "$dir/first" >mounts
	done
	[ "$(cat state)" = running ]
	agree
}
agrees() { agree >/dev/null && echo ok; }

@test "kill -9 of msbd at any moment of a change: the table and the guest agree" {
	cd "$dir"
	for i in 01 03 05 08 12 18; do
		cat "$dir/first" >"$m/box/mounts"
		(sleep 0.$i; kill -9 "$(msbd_pid)") &
		cat "$dir/two" >"$m/box/mounts" || true
		wait
		"$bin/msbd"
		cd "$m/box"
		[ "$(cat state)" = running ]
		until_is 20 ok agrees
		# all of one or all of the other
		in_table | cmp - <(cut -d' ' -f2 "$dir/first" | sort) || in_table | cmp - <(cut -d' ' -f2 "$dir/two" | sort)
		[ "$(guest box 'cat /mnt/a/f /others/9/f 2>/dev/null')" = "$([ "$(wc -l <mounts)" = 4 ] && echo A || echo 9)" ]
		cd "$dir"
	done
}

@test "the end of a machine takes its mounts along" {
	fsd=$(status_of box fsd_pid)
	[ "$(ls -l "/proc/$fsd/fd" | grep -c " -> .*/a$")" -ge 0 ]
	echo stop >ctl
	live "$dir/none /x passthrough" # looked at by start
	fails "No such file" "mount source $dir/none" error "echo start > ctl"
	[ "$(cat state)" = stopped ]
	cat "$dir/first" >mounts
	echo start >ctl
	agree
	kill -9 "$fsd"
	until_is 10 failed cat state
	echo start >ctl
	agree
}
