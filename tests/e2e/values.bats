# SPDX-License-Identifier: Apache-2.0
# Values of a sandbox and of its image, and what they do in a guest.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
}

teardown_file() {
	msb_teardown
}

teardown() {
	cd /
	[ -n "$BATS_TEST_COMPLETED" ] || tail -n 5 "$m/log"
	for sb in "$m"/t*/ctl; do
		[ -e "$sb" ] || continue
		echo kill >"$sb"
		rmdir "${sb%/ctl}"
	done
}

# image NAME JSON: bb with these keys of its config's `config`
image() {
	rm -rf "$dir/layout"
	"$BATS_TEST_DIRNAME/mkconfig.py" "$repo/build/images/busybox" "$dir/layout" "$2"
	echo "import $dir/layout $1" >"$m/images/ctl"
}

@test "an image's variables, user and directory are its commands', and the sandbox's go before" {
	image vars '{"Env": ["PATH=/bin", "A=1 2", "B=x", "=nothing", "none"], "User": "12:34", "WorkingDir": "/etc"}'
	sandbox t1 image=vars
	echo y >"$m/t1/env/B"
	echo start >"$m/t1/ctl"
	[ "$(guest t1 'echo "$A|$B|$PATH|$(id -u):$(id -g)|$PWD"')" = '1 2|y|/bin|12:34|/etc' ]
}

# job NAME: a job of it, held by descriptor 7; j is its directory
job() {
	exec 7<>"$m/$1/jobs/clone"
	read -r n <&7
	j=$m/$1/jobs/$n
}

@test "entrypoint and cmd: the image's, the sandbox's, and a job's arguments" {
	image args '{"Entrypoint": ["/bin/echo", "e 1"], "Cmd": ["c\n1", "c2"]}'
	sandbox t1 image=args
	cd "$m/t1"
	[ -z "$(cat entrypoint cmd)" ]
	echo start >ctl
	job t1
	[ "$(cat "$j/entrypoint")" = 0 ]
	fails 'Invalid argument' 'has no argv' error "echo start >$j/ctl"
	echo 1 >"$j/entrypoint"
	echo start >"$j/ctl"
	[ "$(cat "$j/stdout")" = $'e 1 c\n1 c2' ]
	[ "$(cat "$j/argv")" = '["/bin/echo","e 1","c\n1","c2"]' ]
	[ "$(cat "$j/wait")" = 0 ]
	job t1
	echo 1 >"$j/entrypoint"
	echo '["own", ""]' >"$j/argv"
	echo start >"$j/ctl"
	[ "$(cat "$j/stdout")" = 'e 1 own ' ]
	echo '[ "d1" ]' >cmd
	[ "$(cat cmd)" = '["d1"]' ]
	job t1
	echo 1 >"$j/entrypoint"
	echo start >"$j/ctl"
	[ "$(cat "$j/stdout")" = 'e 1 d1' ]
	# An entrypoint of its own comes without the image's cmd.
	echo >cmd
	echo '["/bin/echo","mine"]' >entrypoint
	job t1
	echo 1 >"$j/entrypoint"
	echo start >"$j/ctl"
	[ "$(cat "$j/stdout")" = mine ]
	echo '[]' >entrypoint
	job t1
	echo 1 >"$j/entrypoint"
	fails 'Invalid argument' 'no program to run' error "echo start >$j/ctl"
	# It may be set up better, and is there to be started.
	echo '["/bin/echo", "now"]' >"$j/argv"
	echo start >"$j/ctl"
	[ "$(cat "$j/stdout")" = now ]
	fails 'Invalid argument' 'JSON array' error 'echo /bin/sh >entrypoint'
	job t1
	fails 'Invalid argument' 'is 0 or 1' error "echo yes >$j/entrypoint"
	head -c 4000 /dev/zero | tr '\0' x >"$dir/long"
	echo "[\"$(cat "$dir/long")\"]" >cmd
	fails 'too long' '4096' error "printf '[\"%s\", \"%s\"]' $(cat "$dir/long") $(cat "$dir/long") >cmd"
	exec 7>&-
}

@test "rlimits: of every command, and a job's own go before" {
	sandbox t1
	cd "$m/t1"
	printf 'nofile 55:66\ncore 0\n' >rlimits
	[ "$(cat rlimits)" = $'nofile 55:66\ncore 0:0' ]
	echo start >ctl
	[ "$(guest t1 'ulimit -Sn; ulimit -Hn; ulimit -c')" = $'55\n66\n0' ]
	echo 'nproc 40:50' >>rlimits
	[ "$(guest t1 'ulimit -Su; ulimit -Hu')" = $'40\n50' ]
	job t1
	echo 'nofile 44' >"$j/rlimits"
	echo '["sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -c"]' >"$j/argv"
	echo start >"$j/ctl"
	[ "$(cat "$j/stdout")" = $'44\n44\n0' ]
	fails 'Invalid argument' 'is no limit' error "echo 'files 1' >>rlimits"
	fails 'too long' 'at most 16' error "yes 'core 0' | head -n 17 >rlimits"
	[ "$(wc -l <rlimits)" = 3 ]
	echo >rlimits
	[ "$(guest t1 'ulimit -Sn')" != 55 ]
	exec 7>&-
}

@test "labels: a table that grep finds, and a mapping in config" {
	sandbox t1
	cd "$m/t1"
	echo 'app=web' >labels
	echo 'org.example.owner=a: b # c' >>labels
	echo 'app=db' >>labels
	[ "$(cat labels)" = $'org.example.owner=a: b # c\napp=db' ]
	[ "$(grep -l '^app=db$' "$m"/*/labels)" = "$m/t1/labels" ]
	sed -n '/^labels:/,/^rlimits:/p' config >"$dir/part"
	diff "$dir/part" - <<-'EOF'
		labels:
		  org.example.owner: "a: b # c"
		  app: db
		rlimits: []
	EOF
	cat config >"$dir/one"
	cat "$dir/one" >config
	[ "$(cat labels)" = $'org.example.owner=a: b # c\napp=db' ]
	printf 'image: bb\nlabels: {x: "1", z: ""}\nrlimits: [core 0]\ncmd: \047["a"]\047\n' >"$dir/c"
	cat "$dir/c" >config
	[ "$(cat labels rlimits cmd entrypoint)" = $'x=1\nz=\ncore 0:0\n["a"]' ]
	fails 'Invalid argument' 'line 2, column 1: labels is a mapping' error "printf 'image: bb\nlabels: [a=b]\n' | dd of=config bs=4k iflag=fullblock status=none"
	fails 'Invalid argument' 'no `=` is in a key' error "printf 'image: bb\nlabels: {a=b: c}\n' | dd of=config bs=4k iflag=fullblock status=none"
	fails 'Invalid argument' 'is no label' error "echo web >labels"
	fails 'quota' 'at most 256 labels' error "seq -f 'k%g=v' 257 | dd of=labels bs=64k iflag=fullblock status=none"
	fails 'too long' 'labels has at most 16384 bytes' error "seq -f 'k%g=$(head -c 90 /dev/zero | tr '\0' v)' 200 | dd of=labels bs=64k iflag=fullblock status=none"
	[ "$(cat labels)" = $'x=1\nz=' ]
	echo >labels
	[ -z "$(cat labels)" ]
}

# main NAME SHELL-LINE: it has init cmd and runs that
main() {
	echo cmd >"$m/$1/init"
	echo "[\"/bin/sh\", \"-c\", \"$2\"]" >"$m/$1/entrypoint"
}

@test "init cmd: the command's end is the machine's, and its exit status says which" {
	sandbox t1
	cd "$m/t1"
	fails 'Invalid argument' 'init is' error 'echo systemd >init'
	[ "$(cat init)" = msb ]
	main t1 'echo out; sync; exit 0'
	echo start >ctl
	[ "$(cat wait)" = stopped ]
	[ "$(status_of t1 reason)" = 'its command has ended: exit status 0' ]
	[ "$(status_of t1 exit_code)" = 0 ]
	n=$(status_of t1 main_job)
	[ "$(cat jobs/"$n"/stdout)" = out ]
	main t1 'while ! [ -e /go ]; do sleep 0.1; done; exit 3'
	echo start >ctl
	[ ! -e jobs/"$n" ]
	n=$(status_of t1 main_job)
	[ "$(cat state jobs/"$n"/state)" = $'running\nrunning' ]
	[ -z "$(status_of t1 exit_code)" ]
	fails busy 'init can only be set while no machine runs' error 'echo msb >init'
	guest t1 'touch /go /kept'
	[ "$(cat wait)" = failed ]
	[ "$(cat error)" = 'its command has ended: exit status 3' ]
	[ "$(status_of t1 exit_code)" = 3 ]
	# It was stopped in order: what was written is there.
	[ -e root/kept ]
	# A stop is a stop.
	rm root/go
	echo start >ctl
	echo stop >ctl
	[ "$(cat state)" = stopped ]
	[ -z "$(status_of t1 reason)" ]
}

@test "init cmd: what cannot be run fails the start" {
	sandbox t1 init=cmd 'entrypoint=["/bin/nothing"]'
	fails 'No such file' 'its command' "$m/t1/error" "echo start >$m/t1/ctl"
	[ "$(cat "$m/t1/state")" = failed ]
	[ "$(status_of t1 exit_code)" = 127 ]
	echo '[]' >"$m/t1/entrypoint"
	fails 'Invalid argument' 'no program to run' "$m/t1/error" "echo start >$m/t1/ctl"
	echo '["/bin/true"]' >"$m/t1/entrypoint"
	echo nobody-there >"$m/t1/user"
	fails '' 'its command' "$m/t1/error" "echo start >$m/t1/ctl"
}

@test "init cmd: restart means what it does elsewhere" {
	sandbox t1 restart=on-failure:2
	cd "$m/t1"
	main t1 'echo x >>/runs; sync; exit 4'
	echo start >ctl
	until_is 90 restart_given_up sed -n 's/.*"event":"\(restart_given_up\)".*/\1/p' events
	[ "$(cat state)" = failed ]
	[ "$(wc -l <root/runs)" = 3 ]
	echo always >restart
	main t1 'echo y >>/runs; sync; while [ -e /wait ]; do sleep 0.1; done; exit 0'
	echo start >ctl
	until_is 90 yes sh -c "[ \$(grep -c y root/runs) -ge 2 ] && echo yes"
	echo kill >ctl
	[ "$(status_of t1 restart_in_ms)" = 0 ]
}

@test "init cmd: pause, restart and kill" {
	sandbox t1
	cd "$m/t1"
	main t1 'sleep 1000'
	echo start >ctl
	echo pause >ctl
	echo resume >ctl
	echo restart >ctl
	[ "$(cat state)" = running ]
	echo kill >ctl
	[ "$(cat state)" = stopped ]
	until_is 5 255 status_of t1 exit_code # its end was not seen
}

@test "init cmd: a new msbd knows its command, and that it ended meanwhile" {
	sandbox t1
	cd "$m/t1"
	main t1 'while ! [ -e /go ]; do sleep 0.1; done; exit 5'
	echo start >ctl
	n=$(status_of t1 main_job)
	cd /
	msbd_killed
	[ "$(status_of t1 main_job)" = "$n" ]
	guest t1 'touch /go'
	until_is 60 failed cat "$m/t1/state"
	[ "$(status_of t1 exit_code)" = 5 ]
	msbd_killed
	[ "$(status_of t1 exit_code)" = 5 ]
	rm "$m/t1/root/go"
	main t1 'sleep 2; echo over; exit 6'
	echo start >"$m/t1/ctl"
	id=$(cat "$m/t1/id")
	pid=$(msbd_pid)
	kill -9 "$pid"
	until_is 60 1 grep -c "b3Zlcg\|over" "$MSB_STATE/sandboxes/$id/agent/log"
	until_is 5 gone eval "[ -e /proc/$pid ] || echo gone"
	"$bin/msbd"
	until_is 60 failed cat "$m/t1/state"
	[ "$(status_of t1 exit_code)" = 6 ]
	[ "$(cat "$m/t1/error")" = 'its command has ended: exit status 6' ]
}

@test "init PATH: the guest's own init is PID 1, and everything goes on beside it" {
	sandbox t1 init=/sbin/init stop_timeout_sec=60
	cd "$m/t1"
	fails 'Invalid argument' 'init: guest path' error 'echo /sbin/../init >init'
	fails 'No such file' 'init /sbin/init: there is no such file in the root' error 'echo start >ctl'
	[ "$(cat state)" = failed ]
	mkdir -p patches/sbin patches/etc
	ln -s /bin/busybox patches/sbin/init
	printf '%s\n' '::sysinit:/bin/touch /sys-init' '::respawn:/bin/sh -c "echo up >>/up; exec sleep 1000"' \
		'::shutdown:/bin/touch /went-down' >patches/etc/inittab
	echo start >ctl
	[ "$(guest t1 'cat /proc/1/comm; readlink /proc/1/exe')" = $'init\n/bin/busybox' ]
	until_is 20 up guest t1 'cat /up'
	[ "$(guest t1 'cat /proc/self/oom_score_adj; tr -d "\000" </proc/$PPID/cmdline; cat /proc/$PPID/oom_score_adj')" = $'0\n@msb-1000' ]
	# What a job leaves is the agent's to reap, not the init's.
	guest t1 '(sleep 0.1 & ) ; true'
	echo 'none /live memory' >mounts
	[ "$(guest t1 'grep -c " /live " /proc/mounts')" = 1 ]
	[ "$(cat metrics/guest_memory_total_bytes)" -gt 0 ]
	job t1
	printf 'sh\0-c\0exit 4\0' >"$j/argv"
	echo start >"$j/ctl"
	[ "$(cat "$j/wait")" = 4 ]
	exec 7>&-
	msbd_killed
	cd "$m/t1"
	[ "$(guest t1 'cat /proc/1/comm')" = init ]
	until_is 20 128 guest t1 'cut -d" " -f1 /proc/1/syscall' # idle: in rt_sigtimedwait
	echo stop >ctl
	[ "$(cat state)" = stopped ]
	[ -z "$(status_of t1 reason)" ]
	[ -e root/sys-init ] && [ -e root/went-down ] # what it does at its end, it did
	rm root/went-down
	echo start >ctl
	guest t1 poweroff
	[ "$(cat wait)" = stopped ]
	[ "$(status_of t1 reason)" = 'the guest powered off' ]
	[ -e root/went-down ]
}

# mib NAME: what the guest's kernel calls its memory, in MiB
mib() {
	guest "$1" "awk '/MemTotal/{print int(\$2/1024)}' /proc/meminfo"
}

@test "cpus: up and down while it runs, within max_cpus" {
	sandbox t1 max_cpus=3
	cd "$m/t1"
	echo start >ctl
	[ "$(guest t1 nproc)" = 1 ]
	echo 3 >cpus
	[ "$(guest t1 nproc)" = 3 ]
	echo 2 >cpus
	[ "$(guest t1 nproc)" = 2 ]
	[ "$(cat cpus)" = 2 ]
	[ -z "$(cat config.pending)" ]
	fails busy 'made with a max_cpus of 3' error 'echo 4 >cpus'
	cd /
	msbd_killed
	cd "$m/t1"
	echo 3 >cpus
	[ "$(guest t1 nproc)" = 3 ]
	echo 1 >cpus
	[ "$(guest t1 'nproc; cat /sys/devices/system/cpu/online')" = $'1\n0' ]
	echo pause >ctl
	fails busy 'resume it' error 'echo 2 >cpus'
	[ "$(cat cpus)" = 1 ]
}

@test "memory_bytes: up and down while it runs, within max_memory_bytes" {
	sandbox t1 max_memory_bytes=512M
	cd "$m/t1"
	echo start >ctl
	until_is 60 yes eval '[ "$(mib t1)" -lt 140 ] && echo yes'
	until_is 60 $((384 << 20)) cat metrics/balloon_bytes
	echo 400M >memory_bytes
	[ "$(cat metrics/balloon_bytes)" = $((112 << 20)) ]
	grep -qx "msb_sandbox_balloon_bytes{sandbox=\"t1\"} $((112 << 20))" "$m/metrics"
	now=$(mib t1)
	((now > 340 && now <= 400))
	echo 160M >memory_bytes
	now=$(mib t1)
	((now < 165))
	[ "$(cat memory_bytes)" = 167772160 ]
	[ -z "$(cat config.pending)" ]
	fails busy 'made with a max_memory_bytes of 536870912' error 'echo 513M >memory_bytes'
	# What it uses it does not give back, and then it has what it had.
	echo 400M >memory_bytes
	guest t1 'mkdir /full; mount -t tmpfs -o size=100% none /full; dd if=/dev/zero of=/full/x bs=1M count=220 2>&1' >/dev/null
	fails busy 'the guest uses too much to give 285212672 bytes back' error 'echo 128M >memory_bytes'
	[ "$(cat memory_bytes)" = 419430400 ]
	now=$(mib t1)
	((now > 340))
	# a document that asks for it has changed nothing either
	sed -e 's/^memory_bytes: .*/memory_bytes: 128M/' -e 's/^mounts: .*/mounts: ["none \/more memory"]/' -e 's/^workdir: .*/workdir: \/tmp/' config >"$dir/c"
	fails busy 'the guest uses too much' error "cat $dir/c >config"
	[ "$(cat memory_bytes mounts workdir)" = 419430400 ]
	[ "$(guest t1 'grep -c " /more " /proc/mounts')" = 0 ]
	guest t1 'umount /full'
	echo 128M >memory_bytes
	cd /
	msbd_killed
	cd "$m/t1"
	echo 300M >memory_bytes
	now=$(mib t1)
	((now > 250 && now <= 300))
}

@test "tmpfs: file systems of the guest's own memory, among the mounts" {
	sandbox t1
	cd "$m/t1"
	mkdir -p "$dir/host/over"
	touch "$dir/host/f"
	fails 'Invalid argument' 'line 2: /b: there is no option `huge=1`' error "printf '/a\n/b huge=1\n' | dd of=tmpfs bs=4k iflag=fullblock status=none"
	fails 'quota' 'at most 16 tmpfs' error "seq -f '/t%g' 17 | dd of=tmpfs bs=4k iflag=fullblock status=none"
	fails range 'size is bytes' error 'echo "/a size=1K" >tmpfs'
	[ -z "$(cat tmpfs)" ]
	echo "$dir/host /d/host passthrough" >mounts
	fails exists '/d/host is in mounts' error 'echo /d/host >tmpfs'
	echo '/d/host/over/in uid=7,gid=8' >tmpfs
	echo '/d/host/over mode=0700,size=1M,noexec,nodev,nosuid' >>tmpfs
	echo '/d ro' >>tmpfs
	fails exists 'there is a tmpfs at /d' error 'echo "none /d memory" >>mounts'
	[ "$(cat tmpfs)" = "/d/host/over/in rw,uid=7,gid=8
/d/host/over rw,size=1048576,mode=0700,nosuid,nodev,noexec
/d ro" ]
	grep -v '^/d ' tmpfs >"$dir/lines"
	dd if="$dir/lines" of=tmpfs bs=4k status=none
	echo '/d size=1M' >>tmpfs
	echo start >ctl
	[ "$(guest t1 'grep -E " /d(/| )" /proc/mounts | cut -d" " -f2,3')" = "/d tmpfs
/d/host virtiofs
/d/host/over tmpfs
/d/host/over/in tmpfs" ]
	[ "$(guest t1 'stat -c "%a %u:%g" /d/host/over /d/host/over/in; ls /d/host')" = $'700 0:0\n1777 7:8\nf\nover' ]
	guest t1 'grep " /d/host/over tmpfs rw,nosuid,nodev,noexec" /proc/mounts' | grep -q size=1024k
	[ ! -e "$dir/host/over/in" ]
	fails busy 'tmpfs can only be set while no machine runs' error 'echo /e >tmpfs'
	sed -e '/^- "\/d/d' -e 's/^tmpfs:.*/tmpfs: ["\/e"]/' -e 1d config >"$dir/c"
	cat "$dir/c" >config
	[ "$(cat tmpfs config.pending)" = $'/e rw\ntmpfs' ]
	[ "$(guest t1 'grep -c "^tmpfs /e " /proc/mounts')" = 0 ]
	# One document may move a path from one table to the other.
	echo kill >ctl
	printf 'image: bb\nmounts: ["none /e memory"]\ntmpfs: ["/d/host"]\n' >"$dir/c"
	cat "$dir/c" >config
	[ "$(cat mounts tmpfs)" = $'none /e memory rw\n/d/host rw' ]
	printf 'image: bb\nmounts: ["none /e memory"]\ntmpfs: ["/e"]\n' >"$dir/c"
	fails exists '/e is in mounts' error "cat $dir/c >config"
	[ "$(cat tmpfs)" = '/d/host rw' ]
}

@test "config: cpus and memory_bytes at once where there is room, else pending" {
	sandbox t1 max_cpus=2 max_memory_bytes=256M
	cd "$m/t1"
	echo start >ctl
	sed -e 's/^cpus: .*/cpus: 2/' -e 's/^memory_bytes: .*/memory_bytes: 200M/' -e 's/^max_cpus: .*/max_cpus: 4/' config >"$dir/c"
	cat "$dir/c" >config
	[ "$(guest t1 nproc)" = 2 ]
	[ "$(mib t1)" -gt 130 ]
	[ "$(cat config.pending)" = max_cpus ]
	sed -e 's/^cpus: .*/cpus: 3/' config >"$dir/c"
	cat "$dir/c" >config
	[ "$(guest t1 nproc)" = 2 ]
	[ "$(cat cpus config.pending)" = $'3\ncpus\nmax_cpus' ]
	echo 1 >cpus # what the machine can do
	[ "$(guest t1 nproc)" = 1 ]
	[ "$(cat cpus config.pending)" = $'1\nmax_cpus' ]
}

@test "cpus and memory_bytes: a machine without room says so" {
	sandbox t1
	cd "$m/t1"
	fails range 'max_cpus is a number from 1 to 64' error 'echo 65 >max_cpus'
	fails 'Invalid argument' 'max_memory_bytes is a whole number of MiB' error 'echo 65.5M >max_memory_bytes'
	echo 3G >max_memory_bytes
	fails range 'more than 16 times' error 'echo start >ctl'
	echo >max_memory_bytes
	echo start >ctl
	fails busy 'unless it was started with a max_cpus' error 'echo 2 >cpus'
	fails busy 'unless it was started with a max_memory_bytes' error 'echo 256M >memory_bytes'
	fails busy 'max_cpus can only be set while no machine runs' error 'echo 2 >max_cpus'
	echo 1 >cpus
	[ "$(guest t1 'ls /sys/bus/virtio/drivers | grep -c balloon')" = 0 ]
}
