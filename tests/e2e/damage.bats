# SPDX-License-Identifier: Apache-2.0
# What happens to the state directory: damage, no room, no writing, a clock that goes back, two that want it.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	if [ "$(id -u)" = 0 ]; then
		mkdir "$dir/s"
		mount -t tmpfs -o size=200m,mode=0755 msbtest "$dir/s" # a disk of its own
	fi
	"$bin/msbd"
	msb_image
	cat "$m/images/bb/digest" >"$dir/digest"
	sandbox dev cpus=2 max_duration_sec=3600
	echo value >"$m/dev/env/KEY"
	echo start >"$m/dev/ctl"
}

teardown_file() {
	"$bin/msbd" --stop --all || true
	if [ "$(id -u)" = 0 ]; then
		mount -o remount,rw "$dir/s"
		umount "$dir/s"
	fi
	msb_teardown
}

teardown() {
	rm -f "$MSB_STATE/filler"
	"$bin/msbd" || true # where a test failed half-way
	[ -n "$BATS_TEST_COMPLETED" ] || tail -n 5 "$m/log"
}

db() { echo "$MSB_STATE/msb.db"; }

# as_it_was: everything that setup_file made is there, and works
as_it_was() {
	[ "$(cat "$m/dev/cpus" "$m/dev/env/KEY" "$m/dev/state")" = $'2\nvalue\nrunning' ]
	[ "$(guest dev 'echo here')" = here ]
	[ "$(cat "$m/images/bb/digest")" = "$(cat "$dir/digest")" ]
	[ -n "${no_programs:-}" ] || echo verify >"$m/images/ctl"
}

# refuses PART...: msbd does not start, says so in a sentence with these parts, and changes nothing
refuses() {
	local part before
	before=$(cksum "$(db)"; ls -R "$MSB_STATE/sandboxes" "$MSB_STATE/store" | cksum)
	run -1 "$bin/msbd"
	for part; do
		[[ $output == *"$part"* ]] || { echo "'$output', not '$part'"; return 1; }
	done
	[ "$(wc -l <<<"$output")" = 1 ]
	[ "$before" = "$(cksum "$(db)"; ls -R "$MSB_STATE/sandboxes" "$MSB_STATE/store" | cksum)" ]
	[ ! -e "$m/version" ]
}

@test "the state file damaged: a sentence, nothing touched, and its copy brings everything back" {

	as_it_was
	"$bin/msbd" --stop
	[ "$(stat -c %a "$(db).backup")" = 600 ]
	cp "$(db)" "$dir/good"
	size=$(stat -c %s "$(db)")
	for damage in text empty half gone header middle; do
		rm -f "$(db)"-*
		cp "$dir/good" "$(db)"
		case $damage in
		text) echo "no database at all" >"$(db)" ;;
		empty) : >"$(db)" ;;
		half) truncate -s $((size / 2)) "$(db)" ;;
		gone) rm "$(db)"; run -1 "$bin/msbd"; [[ $output == *damaged*backup* ]] ;;
		header) dd if=/dev/zero of="$(db)" bs=16 count=1 conv=notrunc status=none ;;
		middle) dd if=/dev/urandom of="$(db)" bs=4096 seek=1 count=$((size / 4096 - 1)) conv=notrunc status=none ;;
		esac
		[ $damage = empty ] || [ $damage = gone ] || refuses "$(db) is damaged" 'left as it is' "$(db).backup"
		run -1 "$bin/msbd"
		[[ $output == *"is damaged"*"$(db).backup"* ]]
		[ "$(ls "$MSB_STATE/sandboxes" | wc -l)" = 1 ]
	done
	# as the sentence says
	rm -f "$(db)" "$(db)"-*
	cp -p "$(db).backup" "$(db)"
	"$bin/msbd"
	as_it_was
}

@test "a state file of a newer msb is refused, and left for it" {
	"$bin/msbd" --stop
	cp "$(db)" "$dir/good"
	python3 -c 'import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute("PRAGMA user_version=99"); d.commit(); d.execute("PRAGMA wal_checkpoint(TRUNCATE)")' "$(db)"
	refuses 'was written by a newer msb' 'schema 99'
	rm -f "$(db)"-*
	cp "$dir/good" "$(db)"
	"$bin/msbd"
	as_it_was
}

@test "random bytes in the state file and its log: a sentence or a start, never a crash or a loss of files" {
	"$bin/msbd" --stop
	cp "$(db)" "$dir/good"
	seed=${MSB_DAMAGE_SEED:-$RANDOM}
	echo "seed $seed"
	for i in $(seq 25); do
		rm -f "$(db)"-*
		cp "$dir/good" "$(db)"
		python3 - "$(db)" $((seed + i)) <<-'PY'
		import random, sys
		r = random.Random(int(sys.argv[2]))
		b = bytearray(open(sys.argv[1], "rb").read())
		for _ in range(r.choice([1, 4, 64])):
		    b[r.randrange(len(b))] = r.randrange(256)
		open(sys.argv[1], "wb").write(b)
		if r.random() < 0.3:
		    open(sys.argv[1] + "-wal", "wb").write(r.randbytes(r.choice([32, 4096, 20000])))
		PY
		cp -a "$MSB_STATE/sandboxes" "$dir/sandboxes.$i" 2>/dev/null || true
		r=0
		timeout 120 "$bin/msbd" 2>"$dir/said" || r=$?
		case $r in
		0) timeout 60 cat "$m/version" >/dev/null; "$bin/msbd" --stop ;;
		1) [ -s "$dir/said" ] ;;
		*) echo "$i: exit $r: $(cat "$dir/said")"; false ;;
		esac
		[ "$r" = 1 ] || break # it may have taken what is wrong for right: the rest on a good one
	done
	rm -f "$(db)"-*
	cp "$dir/good" "$(db)"
	"$bin/msbd"
	as_it_was
}

@test "the disk is full: a sentence, nothing half-done; with room again everything goes on" {
	[ "$(id -u)" = 0 ] || skip "needs root, to mount a small disk"
	mkdir "$m/gone"
	dd if=/dev/zero of="$MSB_STATE/filler" bs=64k status=none 2>/dev/null || true
	dd if=/dev/zero of="$MSB_STATE/filler" bs=1k oflag=append conv=notrunc status=none 2>/dev/null || true
	full() { # LINE UNDO
		for _ in 1 2 3; do
			for i in $(seq 400); do # what SQLite has still, and has again where its log was folded in
				bash -c "head -c 3000 /dev/zero | tr '\0' x >$m/dev/env/FILL$((i % 8 + 1))" 2>/dev/null || break
			done
			if fails 'No space left' 'full' "$m/error" "$1"; then return; fi
			eval "$2" # which it was just now
		done
		return 1
	}
	full "head -c 3000 /dev/zero | tr '\0' y >$m/dev/env/KEY" "echo value >$m/dev/env/KEY"
	[ "$(cat "$m/dev/env/KEY")" = value ]
	full "mkdir $m/other" "rmdir $m/other"
	[ ! -e "$m/other" ]
	[ "$(guest dev 'echo here')" = here ] # machines go on; what they write is their own error
	[ "$(cat "$m/dev/state")" = running ]
	run ! bash -c "echo 'import $repo/build/images/busybox again' >$m/images/ctl"
	rmdir "$m/gone" # what makes room does not want any
	[ ! -e "$m/gone" ]
	cd /
	kill -9 "$(msbd_pid)"
	until_is 5 1 bash -c "stat $m >/dev/null 2>&1; echo \$?"
	# It may need room to find its machines: then it says so, and leaves them alone.
	"$bin/msbd" 2>"$dir/said" || grep -q 'No space left\|is full' "$dir/said"
	rm "$MSB_STATE/filler"
	[ ! -s "$dir/said" ] || "$bin/msbd"
	[ "$(cat "$m/dev/env/KEY" "$m/dev/state")" = $'value\nrunning' ]
	for i in $(seq 8); do
		[ ! -e "$m/dev/env/FILL$i" ] || echo "unset FILL$i" >"$m/dev/ctl"
	done
	mkdir "$m/other"
	rmdir "$m/other"
	as_it_was
}

@test "the state directory is read-only: a sentence, at the start and in each write" {
	[ "$(id -u)" = 0 ] || skip "needs root, to mount it so"
	"$bin/msbd" --stop
	# what runs holds files of it open for writing: a bind mount on top is read-only for msbd alone
	mount --bind "$MSB_STATE" "$MSB_STATE"
	mount -o remount,bind,ro "$MSB_STATE"
	run -1 "$bin/msbd"
	umount "$MSB_STATE"
	[[ $output == *"$MSB_STATE"*'Read-only file system'* ]]
	"$bin/msbd"
	as_it_was
}

@test "the clock is set back, and forward: nothing ends early, nothing is lost" {
	fake=$(ls /usr/lib/*/faketime/libfaketime.so.1 2>/dev/null) || skip "libfaketime is not installed"
	exec 7<>"$m/dev/jobs/clone"
	read -r n <&7
	printf 'sh\0-c\0read x; echo $x\0' >"$m/dev/jobs/$n/argv"
	echo keep >"$m/dev/jobs/$n/ctl"
	echo start >"$m/dev/jobs/$n/ctl"
	exec 7>&-
	for off in -2d +2d; do
		"$bin/msbd" --stop
		LD_PRELOAD=$fake FAKETIME=$off FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1 "$bin/msbd"
		days=$((($(date -d "$(tail -n 1 "$m/log" | jq -r .time)" +%s) - $(date +%s)) / 86000))
		[ "$days" = "$((${off%d} + 0))" ]
		no_programs=1 as_it_was # with its max_duration_sec of an hour; libfaketime lets none in a jail start
		[ "$(cat "$m/dev/jobs/$n/state")" = running ]
		mkdir "$m/other"
		rmdir "$m/other"
		jq -es '[.[].seq] | . == sort' "$m/events"
	done
	"$bin/msbd" --stop
	"$bin/msbd"
	echo word >"$m/dev/jobs/$n/stdin"
	[ "$(cat "$m/dev/jobs/$n/wait" "$m/dev/jobs/$n/stdout")" = $'0\nword' ]
	echo release >"$m/dev/jobs/$n/ctl"
	as_it_was
}

@test "a disk that stands still holds up nobody who does not wait for it" {
	command -v cc >/dev/null || skip "there is no compiler"
	other=$(mktemp -d /tmp/msbt.XXXXXX)
	# while there is a `gate`, whoever syncs stands before it, and `gate.in` says so
	cc -shared -fPIC -x c -o "$other/disk.so" - <<-'C'
		#include <fcntl.h>
		#include <stdio.h>
		#include <stdlib.h>
		#include <sys/syscall.h>
		#include <unistd.h>
		static int pass(long call, int fd)
		{
			const char *gate = getenv("GATE");
			char in[4096];
			snprintf(in, sizeof(in), "%s.in", gate ? gate : "");
			while (gate && access(gate, F_OK) == 0) {
				close(open(in, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
				usleep(20000);
			}
			return (int)syscall(call, fd);
		}
		int fsync(int fd) { return pass(SYS_fsync, fd); }
		int fdatasync(int fd) { return pass(SYS_fdatasync, fd); }
	C
	GATE=$other/gate LD_PRELOAD=$other/disk.so MSB_MNT=$other/m MSB_STATE=$other/s "$bin/msbd"
	pid=$(jq -r 'select(.msg | contains(" serves ")) | .pid' "$other/m/log")
	touch "$other/gate"
	mkdir "$other/m/one"
	until_is 60 yes eval "[ -e $other/gate.in ] && echo yes" || late=1
	kill "$pid"
	until_is 1 1 grep -c 'signal 15 from' "$other/s/run/msb.log" || late=1
	rm "$other/gate"
	until_is 60 gone eval "[ -e /proc/$pid ] || echo gone"
	[ -z "${late:-}" ]
	MSB_MNT=$other/m MSB_STATE=$other/s "$bin/msbd"
	[ "$(cat "$other/m/one/state")" = created ]
	MSB_MNT=$other/m MSB_STATE=$other/s "$bin/msbd" --stop
	rm -rf "$other"
}

@test "two msbd on one state directory, or on one mount: one serves, the other says who" {
	other=$(mktemp -d /tmp/msbt.XXXXXX)
	run -1 env MSB_MNT="$other/m" "$bin/msbd"
	[[ $output == *'another msbd serves'* ]]
	run -1 env MSB_STATE="$other/s" "$bin/msbd"
	[[ $output == *"$m"* ]]
	as_it_was
	"$bin/msbd" --stop
	for i in $(seq 6); do
		"$bin/msbd" 2>"$other/said.$i" &
	done
	wait
	[ "$(cat "$other"/said.* | grep -c 'another msbd serves')" = 5 ]
	[ "$(pgrep -x -f "$bin/msbd" | while read -r p; do grep -z "^MSB_STATE=$MSB_STATE\$" "/proc/$p/environ"; done | tr '\0' '\n' | wc -l)" = 1 ]
	rm -rf "$other"
	as_it_was
}
