# SPDX-License-Identifier: Apache-2.0
# make install: what it puts where, that it runs from there and from nowhere else, the units, make uninstall.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	export d=$dir/d
	make -s -C "$repo" install DESTDIR="$d" PREFIX=/usr >&2
}

teardown_file() {
	msb_teardown
}

# each_installed FIND-ARGUMENTS...: paths below the installation's /usr
each_installed() {
	find "$d/usr" -mindepth 1 "$@" -printf '%P\n' | sort
}

@test "two programs for people, the others apart; modes that fit" {
	[ "$(each_installed -path '*/bin/*')" = "bin/msb
bin/msb-libfuse
bin/msbd" ]
	local p
	for p in "$repo"/build/bin/*; do
		p=${p##*/}
		[ -x "$d/usr/bin/$p" ] || [ -x "$d/usr/libexec/msb/$p" ] || { echo "$p is not installed"; return 1; }
	done
	[ -z "$(each_installed -type f ! -perm 0644 ! -perm 0755)" ]
	[ -z "$(each_installed -type d ! -perm 0755)" ]
	[ -z "$(each_installed ! -user "$(id -u)")" ]
	[ -s "$d/usr/share/msb/vmlinux" ]
	[ -s "$d/usr/share/msb/initramfs" ]
	[ -s "$d/usr/share/doc/msb/LICENSE" ]
	[ -s "$d/usr/share/bash-completion/completions/msb" ]
	[ -s "$d/usr/share/zsh/vendor-completions/_msb" ]
	[ -s "$d/usr/share/fish/vendor_completions.d/msb.fish" ]
	run grep -rlF "$repo" "$d"
	echo "$output"
	[ "$status" = 1 ] # nothing points back to where it was built
	run grep -rlF "$d" "$d"
	echo "$output"
	[ "$status" = 1 ] # or to where it was put together
}

@test "a sandbox runs from the installation alone" {
	bin=$d/usr/bin
	[ "$("$bin/msb" --version)" = "$("$repo/build/bin/msb" --version)" ]
	# a bus, as every system has: libvirt would have its machines moved out of the unit's control group
	python3 - "$dir/bus" "$dir/asked" <<-'END' &
		import socket, sys
		s = socket.socket(socket.AF_UNIX)
		s.bind(sys.argv[1])
		s.listen()
		s.accept()
		open(sys.argv[2], "w").close()
	END
	local bus=$!
	until_is 10 yes bash -c "[ -S '$dir/bus' ] && echo yes"
	DBUS_SYSTEM_BUS_ADDRESS=unix:path=$dir/bus "$bin/msbd"
	msb_image
	sandbox box
	echo start >"$m/box/ctl"
	kill $bus
	[ ! -e "$dir/asked" ]
	[ "$(guest box 'echo from a guest')" = "from a guest" ]
	local p
	[ "$(readlink "/proc/$(msbd_pid)/exe")" = "$bin/msbd" ]
	[ "$(readlink "/proc/$(status_of box fsd_pid)/exe")" = "$d/usr/libexec/msb/msb-fsd" ]
	[ "$(readlink "/proc/$(status_of box agent_pid)/exe")" = "$d/usr/libexec/msb/msb-agentd" ]
	for p in $(pgrep -f "$dir/") $(status_of box fsd_pid) $(status_of box qemu_pid); do
		run grep -aF "$repo/" "/proc/$p/maps" "/proc/$p/cmdline"
		echo "$p $output"
		[ "$status" = 1 ]
	done
	# the guest's kernel: by its name, or where QEMU has a view of its own, as what is mounted there
	p=$(status_of box qemu_pid)
	grep -qaF "$d/usr/share/msb" "/proc/$p/cmdline" "/proc/$p/mountinfo"
	"$bin/msb" images | grep -q bb
}

# what a service manager is told, a line each, in $dir/told
notify_listener() {
	python3 - "$dir/notify" "$dir/told" 3>&- <<-'END' &
		import socket, sys
		s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		s.bind(sys.argv[1])
		with open(sys.argv[2], "wb", buffering=0) as f:
		    while True:
		        m = s.recv(4096)
		        if m == b"end":
		            break
		        f.write(m + b"\n")
	END
	listener=$!
	until_is 10 yes bash -c "[ -S '$dir/notify' ] && echo yes"
}

told() { grep -cx "$1" "$dir/told"; }

@test "as a service: it says when it is ready, and a restart leaves machines running" {
	bin=$d/usr/bin
	"$bin/msbd" --stop
	notify_listener
	NOTIFY_SOCKET=$dir/notify "$bin/msbd" --foreground 3>&- >"$dir/out" 2>&1 &
	local pid=$! qemu
	until_is 30 1 told READY=1
	# the mount stands when that is said, and the machine of before is in it
	[ "$(guest box 'echo still here')" = "still here" ]
	qemu=$(status_of box qemu_pid)
	[ "$(told "STATUS=serves $m; 1 machine")" = 1 ]
	# nobody who is started speaks for the unit
	run grep -aF NOTIFY_SOCKET "/proc/$qemu/environ" "/proc/$(status_of box fsd_pid)/environ"
	[ "$status" = 1 ]
	# what systemd does with KillMode=process
	kill -TERM $pid
	wait $pid
	[ "$(told STOPPING=1)" -ge 1 ]
	kill -0 "$qemu"
	[ ! -e "$m/version" ]
	: >"$dir/told"
	NOTIFY_SOCKET=$dir/notify "$bin/msbd" --foreground 3>&- >"$dir/out" 2>&1 &
	pid=$!
	until_is 30 1 told READY=1
	[ "$(status_of box qemu_pid)" = "$qemu" ]
	[ "$(guest box 'echo and here')" = "and here" ]
	# a crash: the next one takes the dead mount away
	kill -KILL $pid
	wait $pid || true
	: >"$dir/told"
	NOTIFY_SOCKET=$dir/notify "$bin/msbd" --foreground 3>&- >"$dir/out" 2>&1 &
	pid=$!
	until_is 30 1 told READY=1
	[ "$(guest box 'echo and yet')" = "and yet" ]
	# what msb-machines.service does at its end
	"$bin/msbd" --stop --all
	wait $pid
	[ -z "$(tr '\0' ' ' <"/proc/$qemu/cmdline" 2>/dev/null)" ] # gone, or nobody's child has not been waited for yet
	[ "$(told "STATUS=ends with every machine")" = 1 ]
	python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"end", sys.argv[1])' "$dir/notify"
	wait "$listener"
}

@test "a start that fails is the unit's status" {
	bin=$d/usr/bin
	rm -f "$dir/notify" "$dir/told"
	python3 - "$dir/notify" >"$dir/told" <<-'END' &
		import socket, sys
		s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		s.bind(sys.argv[1])
		s.settimeout(120)
		m = s.recv(4096)
		while m.startswith(b"STATUS=looks for"):
		    m = s.recv(4096)
		print(m.decode())
	END
	local pid=$!
	until_is 10 yes bash -c "[ -S '$dir/notify' ] && echo yes"
	: >"$dir/file"
	run env NOTIFY_SOCKET="$dir/notify" MSB_MNT="$dir/file/m" "$bin/msbd" --foreground
	[ "$status" = 1 ]
	wait $pid
	echo "told: $(cat "$dir/told")"
	[[ $(cat "$dir/told") == "STATUS=cannot make $dir/file/m: Not a directory" ]]
}

# In a copy that names programs where they are now: units are checked with what they start.
@test "systemd takes the units as they are" {
	command -v systemd-analyze >/dev/null || skip "no systemd-analyze here"
	local k
	for k in system user; do
		mkdir -p "$dir/u/$k"
		cp "$d/usr/lib/systemd/$k"/*.service "$dir/u/$k/"
		grep -q '^ExecStart=/usr/bin/msbd --foreground$' "$dir/u/$k/msbd.service"
		grep -q '^KillMode=process$' "$dir/u/$k/msbd.service"
		grep -q '^Type=notify$' "$dir/u/$k/msbd.service"
		sed -i "s|=/usr/bin/|=$d/usr/bin/|" "$dir/u/$k"/*.service
	done
	mkdir -m 0700 "$dir/xdg"
	run systemd-analyze --man=no verify "$dir"/u/system/*.service
	echo "$output"
	[ "$status" = 0 ]
	[ -z "$output" ]
	XDG_RUNTIME_DIR=$dir/xdg run systemd-analyze --user --man=no verify "$dir"/u/user/*.service
	echo "$output"
	[ "$status" = 0 ]
	[ -z "$output" ]
	# nobody else would see the tree from within a mount namespace
	run grep -hE '^(Private(Tmp|Devices|Mounts)|Protect(System|Home|Kernel|ControlGroups|Proc)|ReadOnly|Inaccessible|Bind|Root|MountFlags)' \
		"$dir"/u/*/msbd.service
	[ -z "$output" ]
}

@test "the manual: a page for each program, with every option; what they name exists" {
	local word page n
	for page in msb.1 msb-libfuse.1 msbd.8; do
		[ -s "$d/usr/share/man/man${page##*.}/$page" ]
	done
	for word in $("$d/usr/bin/msbd" --help | grep -oE '^ .*' | grep -oE -- '--[a-z]+' | sort -u); do
		grep -qF -- "$word" "$d/usr/share/man/man8/msbd.8" || { echo "$word is not in msbd(8)"; return 1; }
	done
	"$d/usr/bin/msb" --help | sed -n 's/^  \([a-z][a-z-]*\)  *[^ ].*/msb-\1.1/p' | sort >"$dir/pages"
	find "$d/usr/share/man/man1" -name 'msb-*.1' ! -name msb-libfuse.1 -printf '%f\n' | sort | diff "$dir/pages" -
	while read -r page; do
		grep -q "^\.SH NAME" "$d/usr/share/man/man1/$page"
		grep -qF "\\fB${page%.1}\\fR(1)" "$d/usr/share/man/man1/msb.1" || { echo "$page is not in msb(1)"; return 1; }
		# every page that it names is there
		for word in $(grep -oE '\\fBmsb[a-z-]*\\fR\([0-9]\)' "$d/usr/share/man/man1/$page"); do
			word=${word#'\fB'} n=${word//[!0-9]/}
			[ -s "$d/usr/share/man/man$n/${word%%\\*}.$n" ] || { echo "$page: $word"; return 1; }
		done
	done <"$dir/pages"
	for page in "$d"/usr/lib/systemd/*/*.service; do
		for word in $(sed -n 's/^Documentation=//p' "$page"); do
			word=${word#man:}
			[ -s "$d/usr/share/man/man${word//[!0-9]/}/${word%(*}.${word//[!0-9]/}" ] || { echo "$page: $word"; return 1; }
		done
	done
}

@test "a libfuse program finds what makes it a plugin" {
	[ "$("$d/usr/bin/msb-libfuse" printenv LD_PRELOAD)" = "$d/usr/bin/../libexec/msb/libfuse-plugin.so" ]
}

@test "uninstall takes away what install has put there, and nothing else" {
	: >"$d/usr/share/doc/msb/mine"
	: >"$d/usr/bin/other"
	make -s -C "$repo" uninstall DESTDIR="$d" PREFIX=/usr
	[ "$(each_installed -type f)" = "bin/other
share/doc/msb/mine" ]
	[ ! -e "$d/usr/libexec/msb" ]
	[ ! -e "$d/usr/share/msb" ]
	rm "$d/usr/share/doc/msb/mine"
	make -s -C "$repo" install uninstall DESTDIR="$d" PREFIX=/usr
	[ "$(each_installed -type f)" = bin/other ]
	[ ! -e "$d/usr/share/doc/msb" ]
}
