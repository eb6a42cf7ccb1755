# SPDX-License-Identifier: Apache-2.0
# chattr's flags in a real guest: on the root, on memory and on a share, beside what the host may do.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	command -v chattr >/dev/null || skip "no chattr"
	msb_setup
	"$bin/msbd"
	msb_image
	sandbox box
	mkdir "$dir/share"
	printf '%s\n' "$dir/share /share passthrough map=root" "none /mem memory size=8M" >"$dir/table"
	cat "$dir/table" >"$m/box/mounts"
	# the real ones, with their libraries
	local f
	for f in chattr lsattr; do
		cp "$(command -v $f)" "$m/box/root/bin/$f"
	done
	ldd "$(command -v chattr)" "$(command -v lsattr)" | grep -o '/lib[^ ]*' | sort -u >"$dir/libs"
	while read -r f; do
		mkdir -p "$m/box/root${f%/*}"
		cp -L "$f" "$m/box/root$f"
	done <"$dir/libs"
	cp "$repo/build/e2e/idmap" "$m/box/root/bin/idmap"
	echo start >"$m/box/ctl"
	guest box 'mkdir /srv'
}

teardown_file() {
	msb_teardown # with files that are immutable
}

teardown() {
	if [ -z "$BATS_TEST_COMPLETED" ]; then
		tail -n 5 "$m/box/console"
	fi
}

# refused LINE: in the guest, by EPERM
refused() {
	run guest box "{ $1; } 2>&1"
	[[ $output == *"Operation not permitted"* ]] || { echo "$1: $output"; return 1; }
}

# flags PATH: as lsattr has them
flags() { guest box "lsattr -d $1" | cut -d' ' -f1 | tr -d -; }

@test "what is immutable stays as it is, whoever asks, until it is not" {
	for d in /srv /share /mem; do
		guest box "cd $d; echo text >f; mkdir sub; echo in >sub/in; chattr +i f sub"
		[ "$(flags $d/f)$(flags $d/sub)" = ii ]
		refused "echo more >>$d/f"
		refused "echo other >$d/f"
		refused "rm -f $d/f"
		refused "mv $d/f $d/g"
		refused "chmod 0600 $d/f"
		refused "touch -d @1 $d/f"
		refused "ln $d/f $d/g"
		refused "touch $d/sub/new"
		refused "rm -f $d/sub/in"
		guest box "echo changed >$d/sub/in" # another file, in it
		[ "$(guest box "cat $d/f $d/sub/in; ls $d")" = "$(printf 'text\nchanged\nf\nsub')" ]
		guest box "cd $d; chattr -i f sub; echo more >>f; rm -r f sub"
	done
}

@test "what is for appending alone grows" {
	for d in /srv /share /mem; do
		guest box "cd $d; echo one >log; chattr +a log; echo two >>log"
		[ "$(flags $d/log)" = a ]
		refused "echo zero >$d/log"
		refused "echo zero | dd of=$d/log conv=notrunc"
		refused "rm -f $d/log"
		[ "$(guest box "cat $d/log; chattr -a $d/log; rm $d/log")" = "$(printf 'one\ntwo')" ]
	done
}

@test "who may set them the guest's kernel checks" {
	guest box 'cd /srv; touch mine; chown 1000:1000 mine; idmap as 1000 chattr +dAS mine'
	[ "$(flags /srv/mine)" = SdA ]
	refused "idmap as 1000 chattr +i /srv/mine"
	refused "idmap as 1000 chattr +a /srv/mine"
	refused "idmap as 1001 chattr -d /srv/mine"
	refused "idmap ns 0 65536 chattr +i /srv/mine"
	[ "$(flags /srv/mine)" = SdA ]
}

@test "they are the guest's: the host sees, obeys in its view, and removes what is its own" {
	guest box 'cd /srv; echo text >kept; chattr +i kept; cd /share; touch kept gone; chattr +i kept gone'
	[[ "$(lsattr -d "$m/box/root/srv/kept")" == *i* ]]
	run bash -c "echo other >$m/box/root/srv/kept"
	[[ $output == *"Operation not permitted"* ]]
	run lsattr "$dir/share/kept"
	[[ "${output%% *}" != *i* ]]
	echo host >"$dir/share/kept"
	rm "$dir/share/gone"
}

@test "they are there after a new start, of the guest and of its file server" {
	echo stop >"$m/box/ctl"
	echo start >"$m/box/ctl"
	[ "$(flags /srv/kept)$(flags /share/kept)" = ii ]
	refused "rm -f /srv/kept"
	refused "rm -f /share/kept"
}
