# SPDX-License-Identifier: Apache-2.0
# Options of mounts, as a guest meets them: quota, size, error, delay, rules, maps; at start and set anew.

load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
	mkdir "$dir/a" "$dir/b"
	echo A >"$dir/a/f"
	echo B >"$dir/b/f"
	sandbox box cpus=2 root_options=quota_bytes=64M
	printf '%s\n' "$dir/a /q passthrough quota_bytes=8M" "none /m memory size_bytes=4M" \
		"$dir/b /e passthrough error=mkdir:EROFS,error=read:EIO" \
		"$dir/b /s passthrough delay=mkdir:20s" \
		"$dir/b /r passthrough deny=**/*.key,deny=secret/**" >"$dir/first"
	cat "$dir/first" >"$m/box/mounts"
	echo start >"$m/box/ctl"
}

teardown_file() {
	msb_teardown
}

setup() {
	cat "$dir/first" >"$m/box/mounts"
	cd "$m/box"
}

teardown() {
	cd /
	[ -n "$BATS_TEST_COMPLETED" ] || { cat "$m/box/mounts" "$m/box/error"; tail -n 8 "$m/log"; }
}

# statfs(2)'s size (b) or free space (a) of a path, in KiB
space() { guest box "stat -f -c '%$2 %S' $1 | awk '{ print \$1 * \$2 / 1024 }'"; }

@test "quota: ENOSPC in the guest, and statfs tells the truth" {
	[ "$(space /q b)" = 8192 ]
	[[ $(guest box 'dd if=/dev/zero of=/q/big bs=64k count=256 2>&1') == *"No space left"* ]]
	[ "$(stat -c %s "$dir/a/big")" -le 8388608 ]
	[ "$(space /q a)" -lt 128 ]
	[[ $(guest box 'echo more > /q/more && cat /q/more') == *"No space left"* ]] || [ "$(space /q a)" -ge 0 ]
	echo 'rm -f /q/big /q/more' >exec
	[ "$(space /q a)" -gt 8000 ]
	echo 'dd if=/dev/zero of=/q/again bs=64k count=64 && rm /q/again' >exec
	[ "$(space / b)" = 65536 ]
	[[ $(guest box 'df -k /') == *" 65536 "* ]]
	[[ $(guest box 'dd if=/dev/zero of=/var/big bs=1M count=80 2>&1; rm /var/big') == *"No space left"* ]]
}

@test "size of memory; what is freed comes back; a changed line is another" {
	[ "$(space /m b)" = 4096 ]
	[[ $(guest box 'dd if=/dev/zero of=/m/big bs=64k count=128 2>&1') == *"No space left"* ]]
	echo 'rm /m/big; dd if=/dev/zero of=/m/big bs=64k count=48' >exec
	sed 's,^none.*,none /m memory size_bytes=16M,' "$dir/first" >"$dir/next"
	cat "$dir/next" >mounts
	[ "$(space /m b)" = 16384 ]
	[ "$(guest box 'ls /m')" = "" ]
}

@test "errors are made, and only those" {
	[[ $(guest box 'mkdir /e/d') == *"Read-only file system"* ]]
	[[ $(guest box 'cat /e/f') =~ (I/O|Input/output)\ error ]]
	echo 'echo new > /e/new && mv /e/new /e/newer && rm /e/newer' >exec
	grep -v ' /e ' "$dir/first" >"$dir/next"
	echo "$dir/b /e passthrough error=statfs:EIO:0.5" >>"$dir/next"
	cat "$dir/next" >mounts
	echo 'mkdir /e/d && rmdir /e/d && cat /e/f' >exec
}

@test "a delayed operation waits, and others do not wait for it" {
	# A name that the guest does not know waits for the directory's lock, which mkdir has; and a request for
	# those before it of the same CPU, which are a queue.
	echo 'cat /s/f' >exec
	exec {fd}<>exec
	echo 'taskset 1 mkdir /s/slow; echo done' >&"$fd"
	echo 'taskset 2 cat /q/f /s/f' >exec # looks at the same mount meanwhile
	[ ! -e "$dir/b/slow" ]
	[ "$(cat <&"$fd")" = done ]
	exec {fd}>&-
	[ -d "$dir/b/slow" ]
	rmdir "$dir/b/slow"
}

@test "rules: what is denied is" {
	mkdir -p "$dir/b/secret"
	echo k >"$dir/b/x.key"
	echo s >"$dir/b/secret/s"
	[[ $(guest box 'cat /r/x.key') == *"denied"* ]]
	[[ $(guest box 'cat /r/secret/s') == *"denied"* ]]
	[ "$(guest box 'cat /r/f')" = B ]
	[[ $(guest box 'echo > /r/new.key') == *"denied"* ]]
}

@test "map=root: owners and modes are the guest's, the files the host's" {
	{ cat "$dir/first"; echo "$dir/a /map passthrough map=root"; } >"$dir/next"
	cat "$dir/next" >mounts
	echo 'echo x > /map/x; chown 1234:5678 /map/x; chmod 4711 /map/x; mknod /map/null c 1 3' >exec
	[ "$(guest box 'stat -c "%u %g %a" /map/x; stat -c %F /map/null')" = "$(printf '1234 5678 4711\ncharacter special file')" ]
	[ "$(stat -c %u "$dir/a/x")" = "$(id -u)" ]
	[ ! -c "$dir/a/null" ]
	[ "$(cat "$dir/a/x")" = x ]
	cat "$dir/first" >mounts
	cat "$dir/next" >mounts
	[ "$(guest box 'stat -c "%u %g %a" /map/x')" = "1234 5678 4711" ]
	echo 'rm /map/x /map/null' >exec
	[ ! -e "$dir/a/x" ]
}
