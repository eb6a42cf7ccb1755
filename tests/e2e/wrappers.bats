# SPDX-License-Identifier: Apache-2.0
# What is laid over a backend (msb-fs-readonly(5), -strictatime, -quota, -rules, -error, -delay, -audit), by a real file server
# through the host's kernel: no guest. With guests: mounts.bats.

load helper

setup() {
	[ "$(id -u)" = 0 ] || skip "looks at its own mount as root"
	[ -e /dev/fuse ] || skip "no /dev/fuse"
	msb_setup
	src=$(mktemp -d /dev/shm/msbt.XXXXXX)
	mkdir "$dir/at" "$dir/audit"
	echo hello >"$src/file"
	mkdir "$src/d"
}

teardown() {
	[ -n "${dir:-}" ] || return 0
	while mountpoint -q "$dir/at"; do umount "$dir/at"; done
	rm -rf "$src" "$dir"
}

# over OPTIONS: the directory with them, at $dir/at
over() {
	"$repo/build/e2e/fsmount" -d -a "$dir/audit" passthrough "$src" "$dir/at" "$1" 2>"$dir/log" 3>&-
}

# lines FILTER: of the audit file that jq's FILTER selects, once there are any
lines() {
	local n
	for n in $(seq 600); do
		n=$(jq -c "select($1)" "$dir/audit/audit" 2>/dev/null) || true # it may not be there yet
		[ -z "$n" ] || break
		sleep 0.1
	done
	echo "$n"
}

@test "ro: nothing is written, whoever asks" {
	over ro
	[ "$(cat "$dir/at/file")" = hello ]
	run touch "$dir/at/new"
	[[ $output == *"Read-only file system"* ]]
	run rm "$dir/at/file"
	[[ $output == *"Read-only file system"* ]]
	run chmod 600 "$dir/at/file"
	[[ $output == *"Read-only file system"* ]]
	[ "$(ls "$src")" = "$(printf 'd\nfile')" ]
}

@test "quota_bytes: ENOSPC at the limit, df says the truth, what is freed can be used" {
	over quota_bytes=1M
	[ "$(df -k --output=size "$dir/at" | tail -1)" -eq 1024 ]
	run dd if=/dev/zero of="$dir/at/big" bs=4k
	[[ $output == *"No space left"* ]]
	[ "$(du -sk "$src" | cut -f1)" -le 1024 ]
	[ "$(du -sk "$src" | cut -f1)" -ge 1016 ]
	[ "$(df -k --output=avail "$dir/at" | tail -1)" -le 8 ]
	rm "$dir/at/big"
	head -c 900K /dev/zero >"$dir/at/again"
	run truncate -s 1G "$dir/at/sparse"
	[ "$status" = 0 ]
}

@test "deny and redact: not seen, not changed, not led around" {
	echo "the secret" >"$src/d/no"
	echo "private key" >"$src/x.key"
	over 'deny=/d/no,redact=*.key'
	[ -z "$(ls "$dir/at/d")" ]
	run cat "$dir/at/d/no"
	[[ $output == *"Permission denied"* ]]
	[ "$(stat -c %s "$dir/at/x.key")" = 12 ]
	[ "$(tr -d '\0' <"$dir/at/x.key" | wc -c)" = 0 ]
	[ "$(wc -c <"$dir/at/x.key")" = 12 ]
	run sh -c "echo x >>'$dir/at/x.key'"
	[ "$status" != 0 ]
	for how in "mv $dir/at/x.key $dir/at/x" "ln $dir/at/x.key $dir/at/x" "rm $dir/at/x.key" "mv $dir/at/file $dir/at/d/no"; do
		# shellcheck disable=SC2086 # words
		run $how
		[[ $output == *"Permission denied"* ]]
	done
	# The directory above a rule stays where it is; all others move.
	run python3 -c "import os; os.rename('$dir/at/d', '$dir/at/e')"
	[[ $output == *"Invalid cross-device link"* ]]
	mkdir "$dir/at/m"
	mv "$dir/at/m" "$dir/at/n"
	[ "$(cat "$src/d/no" "$src/x.key")" = "$(printf 'the secret\nprivate key')" ]
}

@test "error and delay: what is asked for, and the seed in the log" {
	over 'error=mkdir:EDQUOT,error=symlink+link:EMLINK,delay=unlink:1ms'
	grep -q '"msg":"error=: seed [0-9]' "$dir/log"
	grep -q '"msg":"delay=: seed [0-9]' "$dir/log"
	run mkdir "$dir/at/new"
	[[ $output == *"quota exceeded"* ]]
	run ln -s x "$dir/at/l"
	[[ $output == *"Too many links"* ]]
	rm "$dir/at/file"
	[ ! -e "$src/file" ]
}

# moved_twice: whether the second read of a file moves its access time, too
moved_twice() {
	local first
	echo text >"$dir/at/f"
	cat "$dir/at/f" >/dev/null
	first=$(stat -c %x "$dir/at/f")
	sleep 0.02
	cat "$dir/at/f" >/dev/null
	[ "$first" != "$(stat -c %x "$dir/at/f")" ]
}

@test "strictatime: every read is seen, none is answered from a cache" {
	local backend
	for backend in "memory none" "overlay upper=$src"; do
		# shellcheck disable=SC2086 # two words
		"$repo/build/e2e/fsmount" -d $backend "$dir/at" strictatime 3>&-
		moved_twice
		moved_twice
		umount "$dir/at"
	done
	"$repo/build/e2e/fsmount" -d memory none "$dir/at" "" 3>&-
	run moved_twice
	[ "$status" = 1 ]
	umount "$dir/at"
	over strictatime
	cat "$dir/at/file" >/dev/null
	echo other >"$src/file"
	[ "$(cat "$dir/at/file")" = other ]
}

@test "a request that takes its time holds up no other" {
	local slow
	over 'delay=mkdir:15s'
	mkdir "$dir/at/d/new" 3>&- & # the kernel holds up what is in the same directory
	slow=$!
	until [[ $(tr '\0' ' ' <"/proc/$slow/cmdline") == mkdir* && $(cut -d' ' -f3 "/proc/$slow/stat") == [SD] ]]; do
		sleep 0.01
	done
	[ "$(cat "$dir/at/file")" = hello ]
	touch "$dir/at/other"
	[ ! -e "$src/d/new" ] # it still takes its time
	wait "$slow"
	[ -d "$src/d/new" ]
}

@test "audit: who did what, level by level; names of any bytes; dropped records are none" {
	over audit
	mkdir "$dir/at/new"
	mv "$dir/at/new" "$dir/at/d/moved"
	echo more >>"$dir/at/file"
	rmdir "$dir/at/d/moved"
	touch "$dir/at/"$'\xff\xc3\xa9'
	cat "$dir/at/file" >/dev/null
	lines '.op == "mkdir" and .path == "/new" and .result == 0 and .mount == "m" and .uid == 0 and .pid > 0' | grep -q .
	lines '.op == "rename" and .path == "/new" and .path2 == "/d/moved"' | grep -q .
	lines '.op == "write" and .path == "/file" and .offset == 6 and .bytes == 5' | grep -q .
	lines '.op == "rmdir" and .path == "/d/moved"' | grep -q .
	lines '.op == "create" or .op == "mknod"' | grep -q .
	grep -qF "\"path\":\"/\\udcff$(printf '\xc3\xa9')\"" "$dir/audit/audit"
	[ -z "$(jq -c 'select(.op == "read" or .op == "open" or .dropped)' "$dir/audit/audit")" ]
	umount "$dir/at"
	over 'audit=all,audit_path=/d,audit_ops=lookup+opendir+mkdir'
	cat "$dir/at/file" >/dev/null
	ls "$dir/at/d" >/dev/null
	[ ! -e "$dir/at/d/none" ]
	lines '.op == "opendir" and .path == "/d"' | grep -q .
	lines '.op == "lookup" and .path == "/d/none" and .result == "ENOENT"' | grep -q .
	[ -z "$(jq -c 'select(.op == "lookup" and .path == "/file")' "$dir/audit/audit")" ]
}

@test "all of them at once: a build's worth of files" {
	over 'quota_bytes=200M,deny=/nobody,redact=*.nobody,delay=fsync:1us,audit=all'
	cp -a "$repo/fs" "$dir/at/fs"
	mv "$dir/at/fs" "$dir/at/copy"
	diff -r "$repo/fs" "$dir/at/copy"
	rm -r "$dir/at/copy"
	lines '.op == "rename" and .path2 == "/copy"' | grep -q .
	[ "$(du -sk "$src" | cut -f1)" -lt 64 ]
}
