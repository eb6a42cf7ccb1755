# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2016,SC2164,SC2238 # helper.bash sets them; lines for guests; exec is a file
# patches/ and scripts/: files of bytes in the tree, and what becomes of them in a guest.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
	sandbox box
	cd "$m/box/patches"
	mkdir -p etc app append/etc
	echo "port = 80" >etc/app.conf
	printf 'extra:x:4242:4242::/:/bin/sh\n' >append/etc/passwd
	echo /etc/group >remove
	ln -s /etc/app.conf app/conf
	cp "$repo/README.md" app/readme
	chmod 0640 app/readme
	cd /
	printf '#!/bin/sh\necho "hello $1"\n' >"$m/box/scripts/hello"
	echo start >"$m/box/ctl"
}

teardown_file() {
	msb_teardown
}

setup() {
	[ "$(cat "$m/box/state")" = running ] || echo start >"$m/box/ctl"
	cd "$m/box"
}

teardown() {
	cd /
	if [ -z "$BATS_TEST_COMPLETED" ]; then
		cat "$m/box/error" "$m/error"
		tail -n 6 "$m/log"
	fi
}

again() {
	echo kill >ctl
	echo start >ctl
}

@test "they are files of bytes: several writes, at any offset, appended to, cut, copied" {
	printf 'one\ntwo\n' >patches/t
	[ "$(cat patches/t)" = "$(printf 'one\ntwo')" ]
	[ "$(stat -c '%s %a' patches/t)" = "8 644" ]
	printf 'x' | dd of=patches/t bs=1 seek=2 conv=notrunc 2>/dev/null
	[ "$(head -n 1 patches/t)" = onx ]
	for i in 1 2 3; do echo "line $i" >>patches/t; done
	[ "$(wc -l <patches/t)" = 5 ]
	truncate -s 3 patches/t
	[ "$(cat patches/t)" = onx ]
	: >patches/t
	[ "$(stat -c %s patches/t)" = 0 ]
	head -c 300000 /dev/urandom >"$dir/blob"
	cp "$dir/blob" patches/blob
	cmp "$dir/blob" patches/blob
	tee patches/blob <"$dir/blob" >/dev/null
	cmp "$dir/blob" patches/blob
	dash -c 'echo from dash > patches/t; echo more >> patches/t'
	python3 -c 'f = open("patches/t", "r+"); f.seek(5); f.write("PY"); f.close()'
	[ "$(cat patches/t)" = "$(printf 'from PYsh\nmore')" ]
	chmod 4755 patches/t
	[ "$(stat -c %a patches/t)" = 4755 ]
	[ "$(readlink patches/app/conf)" = /etc/app.conf ]
	echo "unpatch t" >ctl
	echo "unpatch blob" >ctl
	[ ! -e patches/t ]
}

@test "what is in the root when the guest begins" {
	[ "$(guest box 'cat /etc/app.conf')" = "port = 80" ]
	[ "$(guest box 'cat /app/conf')" = "port = 80" ]
	[ "$(guest box 'stat -c "%u:%g %a" /app/readme')" = "0:0 640" ]
	[ "$(guest box 'tail -n 1 /etc/passwd')" = "extra:x:4242:4242::/:/bin/sh" ]
	[ "$(guest box 'grep -c extra /etc/passwd')" = 1 ]
	[ "$(guest box 'ls /etc/group 2>/dev/null || echo none')" = none ]
	[ "$(cat root/etc/app.conf)" = "port = 80" ]
}

@test "once: the guest's own changes stay; what is changed is done at the next start" {
	echo 'echo "port = 81" > /etc/app.conf; echo g > /etc/group' >exec
	echo "unpatch app/readme" >ctl
	again
	[ "$(guest box 'cat /etc/app.conf /etc/group; ls /app')" = "$(printf 'port = 81\ng\nconf\nreadme')" ]
	[ "$(guest box 'grep -c extra /etc/passwd')" = 1 ]
	echo "port = 8080" >patches/etc/app.conf
	[ "$(guest box 'cat /etc/app.conf')" = "port = 81" ]
	again
	[ "$(guest box 'cat /etc/app.conf /etc/group')" = "$(printf 'port = 8080\ng')" ]
	[ "$(guest box 'grep -c extra /etc/passwd')" = 1 ]
}

@test "a link of the guest's leads nowhere but into its root" {
	echo 'ln -s ../../../../../../../../tmp /app/up && ln -s /proc/1 /app/p' >exec
	mkdir patches/app/up
	echo in >patches/app/up/msb-patched
	again
	[ ! -e /tmp/msb-patched ]
	[ "$(guest box 'cat /tmp/msb-patched')" = in ]
	echo "unpatch app/up" >ctl
}

@test "what cannot be done says where, and the start with it; a kill -9 on the way changes nothing" {
	mkdir patches/bin
	echo x >patches/bin/new
	echo 'mkdir /dir' >exec
	echo x >patches/dir
	echo kill >ctl
	fails "Is a directory" "/dir: there is a directory" error "echo start > ctl"
	[ "$(cat state)" = stopped ]
	echo "unpatch dir" >ctl
	printf 'again\n' >patches/append/etc/passwd
	# The file server is killed while it starts: at whatever moment that is, no line comes twice.
	for i in 1 2 3 4; do
		(
			for _ in {1..200}; do
				p=$(sed -n 's/^fsd_pid //p' status)
				[ "${p:-0}" = 0 ] || break
			done
			sleep "0.00$i"
			[ "${p:-0}" = 0 ] || kill -9 "$p"
		) 2>/dev/null &
		echo start >ctl 2>/dev/null || true
		wait $!
		echo kill >ctl
	done
	echo start >ctl
	[ "$(guest box 'grep -c again /etc/passwd; grep -c extra /etc/passwd; cat /bin/new')" = "$(printf '1\n1\nx')" ]
}

@test "they are the owner's: nothing is removed by rm, and access is the sandbox's" {
	fails "Operation not permitted" "unpatch PATH" error "rm patches/etc/app.conf"
	fails "Operation not permitted" "" "" "mv patches/etc/app.conf patches/x"
	fails "Operation not permitted" "" "" "rmdir patches/app"
	fails "No such file" "no \`nothing\` in patches/" error "echo 'unpatch nothing' > ctl"
	run ! rm -rf "$m/box"
	[ "$(cat patches/etc/app.conf)" = "port = 8080" ]
	[ "$(head -n 1 scripts/hello)" = '#!/bin/sh' ]
	[ "$(id -u)" = 0 ] || return 0
	chown 4242 "$m/box"
	setpriv --reuid 4242 --regid 4242 --clear-groups -- sh -c 'echo theirs > patches/etc/app.conf && cat scripts/hello >/dev/null && mkdir patches/more'
	run ! setpriv --reuid 5555 --regid 5555 --clear-groups -- cat "$m/box/patches/etc/app.conf"
	chown 0 "$m/box"
	echo "unpatch more" >ctl
}

@test "a root that is read-only has them, a quota counts them" {
	sandbox ro root_options=ro
	mkdir "$m/ro/patches/etc"
	echo set >"$m/ro/patches/etc/app.conf"
	echo start >"$m/ro/ctl"
	[[ $(guest ro 'cat /etc/app.conf; echo x > /etc/x') == "set"*"Read-only file system"* ]]
	echo kill >"$m/ro/ctl"
	rmdir "$m/ro"
	sandbox small root_options=quota_bytes=64K
	head -c 200000 /dev/zero >"$m/small/patches/big"
	fails "No space left" "to put in /big" "$m/small/error" "echo start > $m/small/ctl"
	rmdir "$m/small"
}

@test "a root with rules, which is audited, has them: also where the rules let the guest see nothing" {
	sandbox ruled root_options=audit,deny=/etc/secret
	mkdir -p "$m/ruled/patches/etc/d"
	echo key >"$m/ruled/patches/etc/secret"
	echo seen >"$m/ruled/patches/etc/d/f"
	echo start >"$m/ruled/ctl"
	(! grep '"denied"' "$m/ruled/events")
	[ "$(guest ruled 'cat /etc/d/f')" = seen ]
	[[ $(guest ruled 'cat /etc/secret 2>&1') == *"Permission denied"* ]]
	until_is 60 yes eval "grep '\"denied\"' $m/ruled/events | grep -q '\"/etc/secret\"' && echo yes"
	echo kill >"$m/ruled/ctl"
	rmdir "$m/ruled"
}

@test "a disk has none" {
	truncate -s 1M "$dir/d.raw"
	mkdir "$m/disk"
	echo "$dir/d.raw" >"$m/disk/image"
	echo x >"$m/disk/patches/x"
	fails "not supported" "patches are put into a root" "$m/disk/error" "echo start > $m/disk/ctl"
	rmdir "$m/disk"
}

@test "a script is a command of the guest, whoever runs it" {
	[ "$(guest box 'hello there')" = "hello there" ]
	[ "$(guest box 'command -v hello')" = /run/msb-scripts/hello ]
	[ "$(guest box 'stat -c "%u %a" /run/msb-scripts/hello')" = "0 755" ]
	echo 4242 >user
	[ "$(guest box 'hello again')" = "hello again" ]
	echo >user
	echo /usr/bin:/bin >env/PATH
	[ "$(guest box 'hello path; echo $PATH')" = "$(printf 'hello path\n/run/msb-scripts:/usr/bin:/bin')" ]
	echo "unset PATH" >ctl
	exec 7<>jobs/clone
	read -r n <&7
	echo '["hello", "a b"]' >"jobs/$n/argv"
	echo start >"jobs/$n/ctl"
	[ "$(cat "jobs/$n/stdout")" = "hello a b" ]
	exec 7>&-
	[[ $(guest box 'echo x > /run/msb-scripts/hello') == *"Read-only file system"* ]]
}

@test "what is written to scripts/ is there at once: changed, new, taken away" {
	printf '#!/bin/sh\necho "bye $1"\n' >scripts/hello
	until_is 10 "bye now" guest box 'hello now'
	printf '#!/bin/sh\necho second\n' >scripts/second.sh
	until_is 10 second guest box second.sh
	echo "unscript second.sh" >ctl
	[ "$(ls scripts)" = hello ]
	until_is 10 none guest box 'command -v second.sh || echo none'
	fails "Invalid argument" "not a script's name" error "echo x > scripts/.hidden"
	fails "Operation not permitted" "scripts are files" error "mkdir scripts/d"
	fails "too large" "at most 1048576 bytes" error "head -c 1048577 /dev/zero > scripts/big"
	echo "unscript big" >ctl
}

@test "the first script of a machine that runs" {
	sandbox late
	echo start >"$m/late/ctl"
	[ "$(guest late 'grep -c msb-scripts /proc/mounts; echo $PATH | grep -c msb-scripts')" = "$(printf '0\n0')" ]
	printf '#!/bin/sh\necho late\n' >"$m/late/scripts/late"
	[ "$(guest late late)" = late ]
	# also after a new msbd
	msbd_killed
	printf '#!/bin/sh\necho later\n' >"$m/late/scripts/later"
	until_is 10 later guest late later
	cd "$m/box"
	[ "$(readlink patches/app/conf)" = /etc/app.conf ]
	[ "$(cat patches/etc/app.conf)" != "" ]
	[ "$(stat -c %a scripts/hello)" = 600 ]
}
