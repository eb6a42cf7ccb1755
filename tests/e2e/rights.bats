# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2016 # helper.bash sets them; lines for guests
# Root's instance: a sandbox that is a user's reaches that user's files, and no others, whatever is written into it.

bats_require_minimum_version 1.5.0
load users

# place NAME OWNER MODE: a directory of the host with a file `x`
place() {
	mkdir "$dir/$1"
	echo "$1" >"$dir/$1/x"
	chmod 0600 "$dir/$1/x"
	chown -R "$2:$2" "$dir/$1"
	chmod "$3" "$dir/$1"
}

setup_file() {
	root_only
	# with what the system's unit leaves msbd, and no more
	caps=$(sed -n 's/^CapabilityBoundingSet=//p' "$BATS_TEST_DIRNAME/../../tools/packaging/msbd.service.in" | tr 'A-Z\n' 'a-z ' | sed 's/cap_/+/g; s/ *$//; s/ /,/g')
	users_setup setpriv --no-new-privs --bounding-set="-all,$caps" --
	place secret 0 0700
	place bobs $bob 0700
	place open 0 0755
	echo all >"$dir/open/readable"
	place open/locked 0 0700
	place anns $ann 0755
	ln -s "$dir/secret" "$dir/anns/to-secret"
	ln -s "$dir/bobs" "$dir/anns/to-bobs"
	mkdir "$m/volumes/roots" "$m/volumes/hers" "$m/volumes/bobs"
	chmod 0777 "$m/volumes/roots"
	chown $ann:$ann "$m/volumes/hers"
	chown $bob:$bob "$m/volumes/bobs"
	chmod 0707 "$m/volumes/bobs"
	echo from the host >"$m/volumes/bobs/data/host"
	chown $bob:$bob "$m/volumes/bobs/data/host"
	sandbox dev
	mkdir -p "$m/dev/patches/etc"
	echo start >"$m/dev/ctl"
}

# with what she has in it
start_hers() {
	as $ann "echo patched >dev/patches/etc/patch; printf '#!/bin/sh\necho scripted\n' >dev/scripts/hi
		cat >dev/mounts <<-END
		$dir/open /open passthrough
		$dir/anns /anns passthrough quota_bytes=1M,audit
		volume:roots /roots passthrough
		volume:hers /hers passthrough
		volume:bobs /bobs passthrough
		bb /over overlay
		bb /image image
		none /mem memory
		END
		echo start >dev/ctl"
}

# id_of KEY FIELD: of the process that status calls KEY
id_of() { sed -n "s/^$2:\s*//p" "/proc/$(status_of dev "$1")/status" | tr '\t' ' '; }

# hers LINE: what her guest prints
hers() { as $ann "exec 3<>dev/exec; echo \"$1\" >&3; cat <&3"; }

# refused UID ERRNO SENTENCE-PART LINE: of the sandbox NAME=dev, as that user
refused() {
	local out
	if out=$(as "$1" "$4" 2>&1); then
		echo "'$4' should be refused"
		return 1
	fi
	[[ $out == *"$2"* ]] || { echo "'$4': '$out', not '$2'"; return 1; }
	[[ $(cat "${box:-dev}/error") == *"$3"* ]] || { echo "'$4': '$(cat "${box:-dev}/error")', not '$3'"; return 1; }
}

@test "given by root while it runs: root's file server opens nothing for her; what root left in it is hers" {
	[ "$(id_of fsd_pid Uid)" = "0 0 0 0" ]
	echo 'echo kept >/kept; chown 33:44 /kept' >dev/exec
	chown $ann:$ann dev
	refused $ann 'Device or resource busy' 'with the rights of uid 0' "echo '$dir/open /open passthrough' >dev/mounts"
	refused $ann 'Permission denied' "as uid $ann" "echo '$dir/secret /open passthrough' >dev/mounts"
	as $ann 'echo stop >dev/ctl'
	start_hers
	[ "$(hers 'cat /kept')" = kept ]
}

@test "its processes are the owner's, without a capability" {
	for key in fsd_pid agent_pid; do
		[ "$(id_of $key Uid)" = "$ann $ann $ann $ann" ]
		[ "$(id_of $key Gid)" = "$ann $ann $ann $ann" ]
		[ "$(id_of $key Groups)" = "" ]
		[ "$(id_of $key CapEff)" = 0000000000000000 ]
		[ "$(id_of $key CapPrm)" = 0000000000000000 ]
		[ "$(id_of $key NoNewPrivs)" = 1 ]
		# nor can she look into them: what they hold is more than what is hers
		run ! as $ann "ls /proc/$(status_of dev $key)/fd/"
		[[ $output == *denied* ]]
	done
	[[ $(id_of qemu_pid Uid) != *$ann* ]]
	[ "$(id_of qemu_pid CapEff)" = 0000000000000000 ]
}

# has KEY PATH: dev's process has it open
has() { stat -L -c %d:%i "/proc/$(status_of dev "$1")"/fd/* 2>/dev/null | grep -qx "$(stat -c %d:%i "$2")"; }

@test "of what msbd keeps of a sandbox each of its processes has what that writes, and no more" {
	kept=$MSB_STATE/sandboxes/$(cat dev/id)
	for key in fsd_pid agent_pid; do
		run ! has $key "$kept"
		run ! has $key "$kept/patches"
	done
	has agent_pid "$kept/agent"
	has fsd_pid "$kept/upper"
	run ! has agent_pid "$kept/upper"
	[ "$(find "$kept/agent" -type f -printf '%f\n' | sort)" = $'console\nlog' ]
}

@test "what the owner may not on the host, the guest may not" {
	[ "$(hers 'cat /open/readable')" = all ]
	[ "$(hers 'ls /open/locked')" = "" ] # busybox says nothing of the error
	while read -r line; do
		out=$(hers "{ $line; } 2>&1")
		[[ $out == *'ermission denied'* || $out == *'not permitted'* ]] || { echo "'$line': $out"; return 1; }
	done <<-'END'
		cat /open/x
		cat /open/locked/x
		touch /open/locked/new
		echo y >/open/readable
		touch /open/new
		mkdir /open/new
		rm -f /open/readable
		mv /open/readable /open/moved
		ln /open/x /open/linked
		chmod 666 /open/x
		chown 12001 /open/x
	END
	[ "$(cat "$dir/open/readable")" = all ]
	[ "$(stat -c '%u %a' "$dir/open/x")" = "0 600" ]
	[ "$(find "$dir/open" | wc -l)" = 5 ]
}

@test "what the owner may, the guest may: files, owners, quotas, changes" {
	hers 'echo made >/anns/f; chown 33:44 /anns/f; chmod 4755 /anns/f; mknod /anns/null c 1 3; mkdir /anns/d' >/dev/null
	[ "$(hers 'stat -c %u:%g:%a /anns/f; echo x >/anns/null; stat -c %t /anns/null')" = $'33:44:4755\n1' ]
	[ "$(stat -c '%u:%g %F' "$dir/anns/f")" = "$ann:$ann regular file" ]
	[ "$(cat "$dir/anns/f")" = made ]
	[[ $(hers 'dd if=/dev/zero of=/anns/big bs=64k count=32 2>&1; rm /anns/big') == *'No space left'* ]]
	[ "$(hers 'cat /kept; stat -c %u:%g /kept; cat /etc/patch; hi')" = $'kept\n33:44\npatched\nscripted' ]
	hers 'echo o >/over/etc/o; chown 1:2 /over/etc/o; echo m >/mem/m' >/dev/null
	[ "$(hers 'cat /over/etc/o /mem/m; stat -c %u:%g /over/etc/o; cat /image/etc/passwd | wc -l')" = "$(hers 'echo o; echo m; echo 1:2; wc -l </etc/passwd')" ]
	[ "$(as $ann 'cat dev/root/kept')" = kept ]
	[ "$(jq -r 'select(.mount == "/anns" and .path == "/f") | .op' dev/audit | head -n 1)" = create ]
	# on the disk nothing of that is hers
	[ -z "$(find "$MSB_STATE/sandboxes" -uid $ann)" ]
}

@test "volumes: her own, one that she may use, whose files stay its owner's" {
	hers 'echo a >/hers/f; echo b >/roots/f; echo c >/bobs/f; chown 5:6 /bobs/f; cat /bobs/host' >/dev/null
	[ "$(hers 'cat /bobs/host')" = 'from the host' ]
	[ "$(stat -c %u:%g volumes/hers/data/f volumes/roots/data/f volumes/bobs/data/f)" = "$(printf '%s:%s\n' $ann $ann 0 0 $bob $bob)" ]
	[ "$(hers 'stat -c %u:%g /hers/f /roots/f /bobs/f')" = $'0:0\n0:0\n5:6' ]
	hers 'echo more >>/bobs/host; rm /roots/f' >/dev/null
	[ "$(cat volumes/bobs/data/host)" = $'from the host\nmore' ]
	echo of root >volumes/roots/data/r
	chmod 0600 volumes/roots/data/r
	until_is 10 'of root' hers 'cat /roots/r'
	# on the host it is its owner's alone: what a file server that was taken over left there nobody else runs
	cp /bin/true volumes/roots/data/set-id
	chmod 4755 volumes/roots/data/set-id
	run ! as $ann 'volumes/roots/data/set-id'
	run ! as $ann 'ls volumes/roots/data/'
	as $ann 'ls volumes/hers/data/ >/dev/null'
	rm volumes/roots/data/set-id
	mkdir volumes/closed
	refused $ann 'Permission denied' "not for uid $ann" "echo 'volume:closed /c passthrough' >>dev/mounts"
	rmdir volumes/closed
}

@test "sources that she may not open are refused, by every way there is" {
	before=$(cat dev/mounts)
	for at in "$dir/secret" "$dir/bobs" "$dir/anns/to-secret" "$dir/anns/to-bobs" "$dir/open/locked" /root; do
		[ "$at" != /root ] || [ "$(stat -c %a /root)" = 700 ] || continue
		refused $ann 'Permission denied' "mount source $at: Permission denied, as uid $ann, whose sandbox this is" "echo '$at /s passthrough ro' >>dev/mounts"
	done
	refused $ann 'Permission denied' "as uid $ann" "echo '/bin/cat /s plugin protocol=json,over=$dir/secret' >>dev/mounts"
	[ "$(cat dev/mounts)" = "$before" ]
	# the same where it is only looked at by start
	mkdir two
	chown $ann:$ann two
	truncate -s 4M "$dir/secret/disk.raw" "$dir/anns/disk.raw"
	chmod 0600 "$dir/anns/disk.raw" # root's
	as $ann "echo bb >two/image; echo '$dir/secret /s passthrough' >two/mounts"
	box=two
	refused $ann 'Permission denied' "$dir/secret: Permission denied, as uid $ann" 'echo start >two/ctl'
	as $ann 'echo >two/mounts'
	for image in "$dir/secret" "$dir/bobs" "$dir/anns/to-secret" "$dir/secret/disk.raw" "$dir/anns/disk.raw"; do
		as $ann "echo '$image' >two/image"
		refused $ann 'Permission denied' "$image" 'echo start >two/ctl'
		[ "$(cat two/state)" = created ] || [ "$(cat two/state)" = failed ]
	done
	as $ann "echo '$dir/secret/x /p plugin' >two/mounts; echo bb >two/image"
	refused $ann 'Permission denied' "$dir/secret/x" 'echo start >two/ctl'
	rmdir two
	# a directory below which there is what is not hers
	mkdir two
	chown $ann:$ann two
	as $ann "echo '$dir/open' >two/image"
	[ "$(as $ann 'cat two/root/readable')" = all ]
	run ! as $ann 'cat two/root/x two/root/locked/x'
	run ! cat two/root/x # whoever looks: it is her file server that looks on the host
	rmdir two
}

@test "a link where msbd keeps something leads nowhere, whoever has put it there" {
	sandbox links mounts='bb /over overlay'
	kept=$MSB_STATE/sandboxes/$(cat links/id)
	ls -A "$dir/secret" >"$BATS_TEST_TMPDIR/before"
	for name in upper audit overlays agent; do
		rm -rf "${kept:?}/$name"
		ln -s "$dir/secret" "$kept/$name"
		box=links refused 0 'Not a directory' "" 'echo start >links/ctl'
		ls -A "$dir/secret" | cmp - "$BATS_TEST_TMPDIR/before"
		rm "$kept/$name"
	done
	rmdir links
}

@test "given away while it runs: her files stay hers, and his come with the next start" {
	chown $bob:$bob dev
	refused $bob 'Device or resource busy' "with the rights of uid $ann" "echo '$dir/bobs /b passthrough' >>dev/mounts"
	as $bob "echo 'none /b memory' >>dev/mounts"
	msbd_killed
	cd "$m"
	[ "$(cat dev/state)" = running ]
	[ "$(id_of fsd_pid Uid)" = "$ann $ann $ann $ann" ]
	refused $bob 'Device or resource busy' "with the rights of uid $ann" "echo '$dir/bobs /b2 passthrough' >>dev/mounts"
	run ! as $ann 'cat dev/state'
	as $bob 'echo stop >dev/ctl'
	# her volume is not his to use: the sentence says so, nothing starts
	refused $bob 'Permission denied' "not for uid $bob" 'echo start >dev/ctl'
	as $bob "cat >dev/mounts <<-END
		$dir/bobs /b passthrough
		$dir/anns /anns passthrough
		volume:bobs /bobs passthrough
		bb /over overlay
		END"
	as $bob 'echo start >dev/ctl'
	[ "$(id_of fsd_pid Uid)" = "$bob $bob $bob $bob" ]
	[ "$(id_of agent_pid Uid)" = "$bob $bob $bob $bob" ]
	run as $bob 'exec 3<>dev/exec; echo "cat /kept /over/etc/o /b/x /bobs/f; touch /anns/his; chown 7:8 /over/etc/o /kept && echo own" >&3; cat <&3'
	[[ $output == *kept*o*bobs*c*'Permission denied'*own* ]]
}

@test "taken back and given away while it does not run: the next start's owner counts" {
	as $bob 'echo stop >dev/ctl; echo >dev/mounts'
	[ "$(cat dev/root/kept)" = kept ] # its file server runs, as bob
	chown $ann:$ann dev
	as $ann "echo '$dir/anns /anns passthrough' >dev/mounts; echo start >dev/ctl"
	[ "$(id_of fsd_pid Uid)" = "$ann $ann $ann $ann" ]
	[ "$(hers 'echo back >/anns/back; cat /kept')" = kept ]
	[ "$(stat -c %u "$dir/anns/back")" = $ann ]
	as $ann 'echo stop >dev/ctl'
	chown 0:0 dev
	echo >dev/mounts
	[ "$(cat dev/root/kept)" = kept ]
	[ "$(id_of fsd_pid Uid)" = "0 0 0 0" ]
}
