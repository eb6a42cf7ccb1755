#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The list a person would try by hand, step by step, against an instance of its own: by-hand.sh BIN IMAGES
# BIN: the directory of msbd. IMAGES: made by tools/mkimage and skopeo (see by-hand.bats). Run by root and by an
# ordinary user alike; MSB_MNT and MSB_STATE, or XDG_RUNTIME_DIR, say where. Ends with "by hand: ok".
# shellcheck disable=SC2016 # the guest's shell expands what is quoted
set -u
bin=$1 images=$2
m=${MSB_MNT:-$XDG_RUNTIME_DIR/msb}
work=$(mktemp -d /tmp/msbh.XXXXXX)

die() {
	echo "by hand: FAILED at line ${BASH_LINENO[0]}: $*"
	for f in "$m/error" "$m"/*/error; do [ -s "$f" ] && echo "$f: $(cat "$f")"; done
	tail -n 20 "$m/log" 2>/dev/null
	exit 1
}
finish() { "$bin/msbd" --stop --all; rm -rf "$work"; }
trap finish EXIT
step() { echo "- $*"; }
# is TEXT COMMAND...: the command prints exactly TEXT
is() {
	local want=$1 got
	shift
	got=$("$@" 2>&1) || die "$* failed: $got"
	[ "$got" = "$want" ] || die "$*: got '$got', want '$want'"
}
# comes TEXT COMMAND...: the same, in time
comes() {
	local want=$1
	shift
	for _ in {1..300}; do
		[ "$("$@" 2>&1)" != "$want" ] || return 0
		sleep 0.2
	done
	is "$want" "$@"
}
# refused ERRNO-TEXT SENTENCE-PART ERROR-FILE SHELL-LINE
refused() {
	local out
	out=$(bash -c "$4" 2>&1) && die "'$4' should fail"
	[[ $out == *"$1"* ]] || die "'$4': got '$out', want '$1'"
	[[ $(cat "$3") == *"$2"* ]] || die "'$4': $3 says '$(cat "$3")', not '$2'"
}
# guest NAME LINE: what a command prints in a sandbox
guest() {
	local fd
	exec {fd}<>"$m/$1/exec" || return 1
	echo "$2" >&"$fd" || return 1
	cat <&"$fd"
	exec {fd}>&-
}

step "msbd returns once the mount answers"
"$bin/msbd" || die "msbd"
[ -s "$m/version" ] || die "no version"
"$bin/msbd" 2>"$work/second" && die "a second msbd on the same state"
grep -q . "$work/second" || die "the second msbd says nothing"

step "import: OCI layout, OCI archive, docker-save archive; gzip, zstd"
for i in oci oci-zstd oci.tar oci-zstd.tar docker.tar; do
	[ -e "$images/$i" ] || continue
	echo "import $images/$i ${i//./-}" >"$m/images/ctl" || die "import $i"
	[[ $(cat "$m/images/${i//./-}/digest") =~ ^sha256:[0-9a-f]{64}$ ]] || die "digest of $i"
	[ "$(cat "$m/images/${i//./-}/size_bytes")" -gt 100000 ] || die "size of $i"
	grep -q '"rootfs"' "$m/images/${i//./-}/config.json" || die "config.json of $i"
	[ -f "$m/images/${i//./-}/rootfs/etc/passwd" ] || die "rootfs of $i"
done
imported=("$m"/images/oci* "$m"/images/docker*)
[ ${#imported[@]} = 5 ] || die "ls images: $(ls "$m/images")"
refused "File exists" "oci" "$m/error" "echo 'import $images/oci oci' > $m/images/ctl"
refused "No such file" "$work/none" "$m/error" "echo 'import $work/none none' > $m/images/ctl"

step "create and set"
mkdir "$m/a" || die mkdir
refused "File exists" "" "$m/error" "mkdir $m/a"
is created cat "$m/a/state"
refused "Invalid argument" "upper-case" "$m/a/error" "echo Nosuch > $m/a/image"
refused "busy" "" "$m/a/error" "echo true > $m/a/exec"
refused "Invalid argument" "cpus" "$m/a/error" "echo x > $m/a/cpus"
refused "out of range" "cpus" "$m/a/error" "echo 100000 > $m/a/cpus"
is created cat "$m/a/state"
echo oci >"$m/a/image" || die image
echo 1 >"$m/a/cpus" || die cpus
echo 128M >"$m/a/memory_bytes" || die memory
is 134217728 cat "$m/a/memory_bytes"
echo box >"$m/a/hostname" || die hostname
echo nobody >"$m/a/user" || die user
echo /tmp >"$m/a/workdir" || die workdir
echo 'bar baz' >"$m/a/env/FOO" || die env
is 'bar baz' cat "$m/a/env/FOO"
mkdir "$work/rw" "$work/ro"
mkdir "$work/over" "$work/mapped"
cat >"$work/plugin" <<-'PY'
	#!/usr/bin/python3
	import json, socket
	s = socket.socket(fileno=3)
	s.sendall(b'{"ops":["create"]}\n')
	for line in s.makefile("r", encoding="utf-8"):
	    q = json.loads(line)
	    a = {"error": "EACCES"} if "no" in q["path"] else {"pass": True}
	    s.sendall(json.dumps({"id": q["id"], **a}).encode() + b"\n")
PY
chmod 0755 "$work/plugin"
echo host >"$work/ro/f"
chmod 0777 "$work/rw"
printf '%s /rw passthrough rw\n%s /ro passthrough ro\n%s /plug plugin protocol=json,over=%s\n' \
	"$work/rw" "$work/ro" "$work/plugin" "$work/over" >"$m/a/mounts" || die mounts
chmod 0777 "$work/over"

step "start"
echo start >"$m/a/ctl" || die start
is running cat "$m/a/state"
grep -q '^state running' "$m/a/status" || die status
refused "busy" "" "$m/error" "rmdir $m/a"
echo start >"$m/a/ctl" || die "start is idempotent"

step "exec"
echo true >"$m/a/exec" || die "exec true"
refused "Remote I/O" "exit status 3" "$m/a/error" "echo 'exit 3' > $m/a/exec"
is box guest a hostname
is "bar baz" guest a 'echo $FOO'
is /tmp guest a pwd
is nobody guest a 'id -un'
[ "$(guest a 'echo out; echo err >&2' | sort)" = "$(printf 'err\nout')" ] || die "both outputs"
[ "$(guest a 'head -c 3000000 /dev/zero' | wc -c)" = 3000000 ] || die "3 MB through exec"
for i in 1 2 3 4 5 6 7 8; do guest a "sleep 1; echo $i" >"$work/par.$i" & done
wait
[ "$(cat "$work"/par.* | sort | tr -d '\n')" = 12345678 ] || die "eight at once"

step "mounts: rw both ways, ro enforced"
echo 'echo guest > /rw/g' >"$m/a/exec" || die "write to rw"
is guest cat "$work/rw/g"
is host guest a 'cat /ro/f'
refused "Remote I/O" "exit status" "$m/a/error" "echo 'echo x > /ro/f' > $m/a/exec"
is host cat "$work/ro/f"

step "mounts, while it runs: every backend, and away again"
cp "$m/a/mounts" "$work/mounts"
echo root >"$m/a/user"
{ cat "$work/mounts"; printf '%s\n' "oci /im image" "oci /ov overlay audit" "none /mem memory size_bytes=4M" \
	"$work/mapped /map passthrough map=root,quota_bytes=1M"; } >"$work/all"
cat "$work/all" >"$m/a/mounts" || die "live mounts"
is 7 guest a 'grep -c ^shares /proc/mounts'
echo 'echo x > /ov/etc/x && test ! -e /im/etc/x && echo y > /mem/y' >"$m/a/exec" || die "live backends"
echo 'echo z > /map/z && chown 7:8 /map/z && chmod 4755 /map/z && mknod /map/n c 1 3' >"$m/a/exec" || die "map=root"
is "7 8 4755" guest a 'stat -c "%u %g %a" /map/z'
is "$(id -u)" stat -c %u "$work/mapped/z"
refused "Remote I/O" "exit status" "$m/a/error" "echo 'dd if=/dev/zero of=/map/big bs=64k count=32' > $m/a/exec"
echo 'echo p > /plug/yes' >"$m/a/exec" || die "plugin"
is p cat "$work/over/yes"
refused "Remote I/O" "exit status" "$m/a/error" "echo 'echo p > /plug/no' > $m/a/exec"
comes 1 grep -c '"mount":"/ov".*"op":"create","path":"/etc/x"' "$m/a/audit"
cat "$work/mounts" >"$m/a/mounts" || die "live unmounts"
is 3 guest a 'grep -c ^shares /proc/mounts'
refused "No such file" "$work/nothing" "$m/a/error" "echo '$work/nothing /n passthrough' >> $m/a/mounts"
echo nobody >"$m/a/user"

step "root, running"
echo fromhost >"$m/a/root/var/tmp/h" || die "write under root/"
comes fromhost guest a 'cat /var/tmp/h'
echo changed-on-host >"$m/a/root/var/tmp/h"
comes changed-on-host guest a 'cat /var/tmp/h'
echo 'echo fromguest > /tmp/../var/tmp/g' >"$m/a/exec" || die "guest writes"
is fromguest cat "$m/a/root/var/tmp/g"

step "console, log, events, metrics"
cat "$m/a/console" >/dev/null || die console
grep -q fromguest <<<"$(guest a 'echo fromguest')" || die exec
grep -q '"fromguest' "$m/a/log" || die "log: $(tail -n 3 "$m/a/log")"
grep -q running "$m/a/events" || die events
[ "$(cat "$m/a/metrics/memory_bytes")" -gt 1000000 ] || die metrics

step "wait, stop"
cat "$m/a/wait" >"$work/wait" &
echo stop >"$m/a/ctl" || die stop
wait
is stopped cat "$work/wait"
is stopped cat "$m/a/state"
echo stop >"$m/a/ctl" || die "stop is idempotent"
refused "busy" "" "$m/a/error" "echo true > $m/a/exec"

step "root, stopped"
is changed-on-host cat "$m/a/root/var/tmp/h"
echo whilestopped >"$m/a/root/var/tmp/s" || die "write while stopped"
echo start >"$m/a/ctl" || die "start again"
is whilestopped guest a 'cat /var/tmp/s'

step "msbd may go: machines go on"
"$bin/msbd" --stop || die "--stop"
[ ! -e "$m/version" ] || die "still mounted"
"$bin/msbd" || die "msbd again"
is running cat "$m/a/state"
is whilestopped guest a 'cat /var/tmp/s'
[ "$(grep -c . "$m/log")" -gt 0 ] || die log

step "kill, rmdir"
echo kill >"$m/a/ctl" || die kill
is stopped cat "$m/a/state"
rm -rf "$m/a" 2>/dev/null && die "rm -rf removed a sandbox"
[ -f "$m/a/image" ] || die "rm -rf half-destroyed it"
rmdir "$m/a" || die rmdir
[ ! -e "$m/a" ] || die "still there"

step "stop --all"
"$bin/msbd" --stop --all || die "--stop --all"
[ ! -e "$m/version" ] || die "still mounted"
for _ in {1..300}; do pgrep -U "$(id -u)" -f "${MSB_STATE:-$XDG_RUNTIME_DIR/msb}" >/dev/null || break; sleep 0.2; done
pgrep -U "$(id -u)" -f "${MSB_STATE:-$XDG_RUNTIME_DIR/msb}" >/dev/null && die "left running: $(pgrep -U "$(id -u)" -af "${MSB_STATE:-$XDG_RUNTIME_DIR/msb}")"
trap - EXIT
rm -rf "$work"
echo "by hand: ok"
