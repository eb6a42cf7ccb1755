#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Real machines through vmm.h, without the rest of msb: their PID 1 is tiny_init.c.

bats_require_minimum_version 1.5.0
load helper

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	MSB_STATE=$(mktemp -d "${TMPDIR:-/tmp}/vmmXXXX")
	MSB_SHARE=$PWD/build/e2e/share
	export MSB_STATE MSB_SHARE MSB_MNT=$MSB_STATE/mnt
	unset MSB_KERNEL MSB_QEMU MSB_LIBVIRT_URI
}

teardown() {
	# Machines outlive their worker by design: those of a failed test are ended here.
	for f in "$MSB_STATE"/run/libvirt/run/qemu/*.pid; do
		case $f in */driver.pid | *'*.pid') continue ;; esac
		kill -9 "$(cat "$f")" 2>/dev/null || true
	done
	rm -rf "$MSB_STATE"
}

drive() {
	timeout 900 build/e2e/vmm_driver "$PWD/build/bin" "$1"
}

# The same as somebody without any privilege, who may not even read this directory.
drive_as_nobody() {
	mkdir -p "$MSB_STATE/bin"
	cp build/bin/msb-vmm build/e2e/vmm_driver "$MSB_STATE/bin/"
	cp -r "$MSB_SHARE" "$MSB_STATE/share"
	chown -R 65534:65534 "$MSB_STATE"
	MSB_SHARE=$MSB_STATE/share timeout 900 setpriv --reuid 65534 --regid 65534 --clear-groups \
		env HOME=/nonexistent "$MSB_STATE/bin/vmm_driver" "$MSB_STATE/bin" "$1"
}


@test "a machine starts, speaks, pauses, resumes" {
	drive life
}

@test "eight machines start at once" {
	drive eight
}

@test "a killed QEMU is reported, others do not notice, and it starts again" {
	drive crash
}

@test "machines go on without their worker, and the next worker finds them" {
	drive worker
}

@test "machines that end without a worker are gone when there is one" {
	drive missed
}

@test "another msbd finds the machines of a killed one" {
	drive adopt
}

@test "a kernel of the user's own, as a bzImage, where only its owner gets to" {
	cp build/kernel/debian/vmlinuz "$MSB_STATE/"
	MSB_KERNEL=$MSB_STATE/vmlinuz drive life
}

@test "power-off, reset and panic are told apart" {
	drive ends
}

@test "a start that hangs in its file server is freed by destroying the machine" {
	drive stuck
}

@test "a worker killed in the middle of a start: nothing is left of it, and it starts again" {
	drive cut-off
}

@test "machines that libvirt hangs on are ended all the same, and others go on" {
	drive deaf
}

@test "a worker that ends at once leaves no QEMU behind" {
	for _ in 1 2 3; do
		drive hasty
		rm -rf "$MSB_STATE/run/libvirt/cache"
	done
	until_is 5 '' pgrep -af -- "-machine none.*$MSB_STATE/.*/qmp-"
}

@test "an ordinary user's machine" {
	[ "$(id -u)" = 0 ] || skip "needs root, to become somebody else"
	drive_as_nobody life
	drive_as_nobody worker
}

@test "as root, QEMU has a user of its own and no capability" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	unshare -m true || skip "needs mount namespaces"
	output=$(drive identity)
	[[ $output =~ uid=[12][0-9]{9}\ caps=0000000000000000\ seccomp=2 ]]
}

@test "as root, that user may use KVM whatever the mode of /dev/kvm" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	[ -e /dev/kvm ] || skip "no /dev/kvm"
	output=$(MSB_ACCEL=kvm drive identity)
	[[ $output =~ uid=[12][0-9]{9}\ caps=0000000000000000 ]]
}

@test "more memory than the host has: ENOMEM and both numbers" {
	MEMORY_BYTES=$((1 << 40)) run drive refused
	[ "$status" = 0 ]
	[[ $output == *"ENOMEM: not enough memory: the sandbox asks for 1048576 MiB and msb for "*"the host has "*" MiB available"* ]]
}

@test "no QEMU: ENOENT and what to do" {
	MSB_QEMU=/nonexistent/qemu run drive refused
	[ "$status" = 0 ]
	[[ $output == *"ENOENT: QEMU /nonexistent/qemu is missing; install it with make deps"* ]]
}

@test "no kernel: ENOENT and what to do" {
	MSB_SHARE=$MSB_STATE run drive refused
	[ "$status" = 0 ]
	[[ $output == *"ENOENT: the kernel "*"/vmlinux is missing; make it with make kernel-debian"* ]]
}

@test "no kernel where MSB_KERNEL says: ENOENT and the path" {
	MSB_KERNEL=/nonexistent/kernel run drive refused
	[ "$status" = 0 ]
	[[ $output == *"ENOENT: the kernel /nonexistent/kernel is missing"* ]]
}

@test "a QEMU that does not run: a sentence of what it said" {
	printf '#!/bin/sh\necho "qemu-system-x86_64: broken on purpose" >&2\nexit 1\n' >"$MSB_STATE/qemu"
	chmod 755 "$MSB_STATE/qemu" "$MSB_STATE"
	MSB_QEMU=$MSB_STATE/qemu run drive refused
	[ "$status" = 0 ]
	[[ $output == *"EIO: "* ]]
}
