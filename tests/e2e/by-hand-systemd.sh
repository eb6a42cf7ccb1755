#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# msb's units under a systemd that has booted, by hand: by-hand-systemd.sh ROOT IMAGE
# ROOT: a Debian with systemd, dbus-user-session, libpam-systemd, procps and what msb needs to run, in a directory
# (debootstrap and `run` of tools/packages make one). IMAGE: an OCI layout. As root, with systemd-nspawn
# (systemd-container). `make install DESTDIR=ROOT PREFIX=/usr` comes first. Ends with "by hand, systemd: ok".
# The system's instance, one of its sandboxes given to a user, and a user's own instance: each is restarted and
# killed under its machines and under a command that is followed.
set -eu

if [ "${1:-}" = inside ]; then
	# ---- in the container
	fail() {
		echo "by hand, systemd: $*" >&2
		journalctl --no-pager -n 20 -u "msbd*" >&2
		exit 1
	}
	step() { echo "- $*"; }
	# goes_on SYSTEMCTL-OPTION...: a unit's machines and commands while it is restarted, killed and stopped
	goes_on() {
		local qemu out follower
		systemctl "$@" start msbd || fail "it does not start"
		[ "$(systemctl "$@" show -P StatusText msbd)" = "serves $m; 0 machines" ] || fail "its status"
		msb load -q -i /image bb
		msb run -d --name web --idle -m 128m -v "$HOME/d:/d" bb || fail "no sandbox runs"
		[ "$(msb exec web cat /d/f)" = host ] || fail "a directory of the host"
		qemu=$(sed -n 's/^qemu_pid //p' "$m/web/status")
		out=$(mktemp)
		# shellcheck disable=SC2016 # for the guest's shell
		msb exec web sh -c 'i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo $i; sleep 0.5; done; exit 7' >"$out" &
		follower=$!
		sleep 3
		systemctl "$@" restart msbd || fail "it does not restart"
		[ "$(msb exec web echo again)" = again ] || fail "the guest is not found again"
		kill -9 "$(systemctl "$@" show -P MainPID msbd)"
		local status=0
		wait $follower || status=$?
		[ $status = 7 ] || fail "the command that was followed: $status"
		seq 60 | cmp - "$out" || fail "its output"
		[ "$(systemctl "$@" show -P NRestarts msbd)" = 1 ] || fail "a killed one is not started again"
		systemctl "$@" stop msbd
		[ -e "/proc/$qemu" ] || fail "the machine ended with msbd"
		systemctl "$@" start msbd
		[ "$(cat "$m/web/state")" = running ] || fail "not found after stop and start"
		rm "$out"
	}
	case $2 in
	own) # an ordinary user's
		export XDG_RUNTIME_DIR=/run/user/$UID HOME=/home/ann
		m=$XDG_RUNTIME_DIR/msb
		goes_on --user
		exit 0
		;;
	given) # a sandbox of root's instance
		export MSB_MNT=/run/msb HOME=/home/ann
		m=$MSB_MNT
		echo "/home/ann/d /d passthrough" >$m/hers/mounts
		msb start hers
		[ "$(msb exec hers cat /d/f)" = host ] || fail "her directory"
		! echo "/root /s passthrough" >>$m/hers/mounts || fail "root's directory is hers"
		[ "$(grep -c "^CapEff:.0000000000000000$" "/proc/$(sed -n 's/^fsd_pid //p' $m/hers/status)/status")" = 1 ] ||
			fail "her file server has capabilities"
		exit 0
		;;
	esac
	export HOME=/root
	m=/run/msb
	id ann >/dev/null 2>&1 || useradd -m ann
	for h in /root /home/ann; do
		mkdir -p $h/d
		echo host >$h/d/f
	done
	chown -R ann: /home/ann
	step "the system's unit"
	goes_on
	step "a sandbox that is a user's, under the unit's restrictions"
	msb create --name hers --idle -m 128m bb >/dev/null
	chown ann: $m/hers
	runuser -u ann -- bash /by-hand inside given || fail "given"
	systemctl restart msbd
	[ "$(cat $m/hers/state)" = running ] || fail "hers is not found again"
	step "the way down ends the machines, in order"
	systemctl stop msb-machines msbd
	! pgrep qemu >/dev/null || fail "a machine runs on"
	! grep " $m" /proc/self/mountinfo || fail "left mounted"
	step "a user's unit"
	loginctl enable-linger ann
	for _ in $(seq 100); do [ ! -S /run/user/"$(id -u ann)"/systemd/private ] || break; sleep 0.2; done
	runuser -u ann -- bash /by-hand inside own || fail "own"
	step "the end of the user's manager ends the machines"
	systemctl stop "user@$(id -u ann)"
	! pgrep -u ann || fail "something of hers runs on"
	loginctl disable-linger ann
	exit 0
fi

if [ $# != 2 ] || [ "$(id -u)" != 0 ]; then
	echo "usage, as root: by-hand-systemd.sh ROOT IMAGE" >&2
	exit 2
fi
root=$(realpath "$1") work=$(mktemp -d /tmp/msby.XXXXXX)
rm -rf "$root/image"
cp -r "$2" "$root/image"
cp "$0" "$root/by-hand"
# devices that are as udev makes them
mknod -m 0666 "$work/fuse" c 10 229
binds=(--bind="$work/fuse:/dev/fuse")
[ ! -c /dev/kvm ] || { mknod -m 0660 "$work/kvm" c 10 232; binds+=(--bind="$work/kvm:/dev/kvm"); }
systemd-nspawn -q -D "$root" --boot --register=no --keep-unit "${binds[@]}" </dev/null >"$work/log" 2>&1 &
nspawn=$!
clean() {
	kill -TERM "$nspawn" 2>/dev/null || true # powers it off
	wait "$nspawn" 2>/dev/null || true
	rm -rf "$work"
}
trap clean EXIT
for _ in $(seq 150); do
	leader=$(pgrep -P $nspawn | head -n 1) || true
	[ -z "$leader" ] || ! timeout 10 nsenter -t "$leader" -a systemctl is-system-running --wait >/dev/null 2>&1 || break
	sleep 0.2
done
nsenter -t "$leader" -a env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C bash /by-hand inside system
echo "by hand, systemd: ok"
