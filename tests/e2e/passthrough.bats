# SPDX-License-Identifier: Apache-2.0
# Shared directories through /dev/fuse: POSIX cases beside the local file system, and what stays off the host.

load helper

setup() {
	repo=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	[ -w /dev/fuse ] || skip "no /dev/fuse"
	[ "$(id -u)" = 0 ] || skip "acts as other users: needs root"
	dir=$(mktemp -d /tmp/msbt.XXXXXX)
	chmod 0755 "$dir"
	mkdir "$dir/src" "$dir/mnt"
}

teardown() {
	[ -n "${dir:-}" ] || return 0
	umount "$dir/mnt" 2>/dev/null || true
	rm -rf "$dir"
}

# share OPTIONS: $dir/src at $dir/mnt
share() {
	umount "$dir/mnt" 2>/dev/null || true
	"$repo/build/e2e/fsmount" -d passthrough "$dir/src" "$dir/mnt" "$1" >/dev/null
}

cases_are_the_same() {
	mkdir -m 0777 "$dir/local"
	share "$1"
	mkdir "$dir/mnt/cases"
	chmod 0777 "$dir/mnt/cases"
	python3 "$repo/tests/e2e/posix_cases.py" "$dir/local" >"$dir/local.txt"
	python3 "$repo/tests/e2e/posix_cases.py" "$dir/mnt/cases" >"$dir/ours.txt"
	[ "$(wc -l <"$dir/local.txt")" -gt 150 ]
	diff "$dir/local.txt" "$dir/ours.txt"
	# Whatever they did, the host has no device and no set-id file of it.
	[ -z "$(find "$dir/src" -type b -o -type c -o -type f -perm /6000)" ]
}

@test "POSIX cases come back as on a local file system" {
	cases_are_the_same acl,map=none
}

@test "POSIX cases come back as on a local file system with map=root" {
	cases_are_the_same acl,map=root
	[ -z "$(find "$dir/src" ! -uid 0)" ]
}

@test "what the guest's root says of files is kept beside them" {
	share map=root
	(
		cd "$dir/mnt"
		mknod null c 1 3
		touch f
		chown 5:6 f
		chmod 4711 f
		ln -s nowhere l
		chown -h 7:7 l
		setfattr -n trusted.k -v v f
	)
	share map=root,ro
	[ "$(stat -c '%F %t:%T' "$dir/mnt/null")" = 'character special file 1:3' ]
	[ "$(stat -c '%u:%g %a' "$dir/mnt/f")" = '5:6 4711' ]
	[ "$(stat -c '%u %N' "$dir/mnt/l")" = "7 '$dir/mnt/l' -> 'nowhere'" ]
	[ "$(getfattr --only-values -n trusted.k "$dir/mnt/f")" = v ]
	[ "$(find "$dir/mnt" -type c)" = "$dir/mnt/null" ]
	[ "$(getfattr -d -m - --absolute-names "$dir/mnt/f" | grep -c user.msb)" = 0 ]
	[ "$(stat -c %u:%a "$dir/src/f")" = 0:1711 ]
	run touch "$dir/mnt/new"
	[[ $output == *"Read-only file system"* ]]
}

@test "file systems mounted below are entered, or not" {
	mkdir "$dir/src/sub"
	mount -t tmpfs t "$dir/src/sub"
	touch "$dir/src/sub/in" "$dir/src/f"
	share ''
	[ -f "$dir/mnt/sub/in" ]
	echo x >"$dir/mnt/sub/in"
	[ "$(cat "$dir/src/sub/in")" = x ]
	[ "$(stat -c %i "$dir/mnt/sub")" != "$(stat -c %i "$dir/mnt")" ]
	run python3 -c 'import os, sys; os.rename(sys.argv[1] + "/f", sys.argv[1] + "/sub/f")' "$dir/mnt"
	[[ $output == *"Invalid cross-device link"* ]]
	share nosubmounts
	run ls "$dir/mnt/sub/in"
	[[ $output == *"Invalid cross-device link"* ]]
	[ -f "$dir/mnt/f" ]
	umount "$dir/mnt"
	umount "$dir/src/sub"
}

handles_outlive_servers() {
	local handle=$repo/build/e2e/handle file dir_ in_sub gone
	share "$1"
	mkdir -p "$dir/mnt/a/b"
	echo text >"$dir/mnt/a/b/f"
	echo old >"$dir/mnt/gone"
	file=$("$handle" of "$dir/mnt/a/b/f")
	dir_=$("$handle" of "$dir/mnt/a/b")
	gone=$("$handle" of "$dir/mnt/gone")
	[ "$("$handle" open "$dir/mnt" "$file")" = $'file\ntext' ]
	# a server later, which has looked at nothing; and what moved on the host meanwhile
	for move in "true" "mv a/b c" "mv c/f f"; do
		umount "$dir/mnt"
		(cd "$dir/src" && eval "$move")
		share "$1"
		[ "$("$handle" open "$dir/mnt" "$file")" = $'file\ntext' ]
		[ "$("$handle" open "$dir/mnt" "$dir_")" = dir ]
	done
	[ "$(ls "$dir/mnt/c" && stat -c %s "$dir/mnt/f")" = 5 ]
	# another file is another one, also where it has the old one's number
	umount "$dir/mnt"
	rm "$dir/src/gone"
	for i in {1..20}; do echo "$i" >"$dir/src/new$i"; done
	share "$1"
	run "$handle" open "$dir/mnt" "$gone"
	[ "$output" = "handle: Stale file handle" ]
}

@test "file handles mean the same file in every server" {
	handles_outlive_servers map=none
}

@test "file handles mean the same file in every server with map=root" {
	handles_outlive_servers map=root
}

@test "a tree copied in and out is the same" {
	share map=root
	cp -a /usr/include/linux "$dir/mnt/"
	diff -r /usr/include/linux "$dir/mnt/linux"
	diff -r /usr/include/linux "$dir/src/linux"
	[ "$(find "$dir/mnt" | wc -l)" = "$(($(find /usr/include/linux | wc -l) + 1))" ]
	rm -r "$dir/mnt/linux"
	[ -z "$(ls -A "$dir/src")" ]
}
