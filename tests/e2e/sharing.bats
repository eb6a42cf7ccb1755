# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # helper.bash sets them
# A second image that shares nine files of ten with the first, and not one layer: what is stored grows by the
# bytes that are new, to the byte.

setup_file() {
	load helper
	msb_setup
	"$BATS_TEST_DIRNAME/sharing.py" "$dir" >"$dir/expected"
	# shellcheck source=tests/registry/registry.bash
	source "$repo/tests/registry/registry.bash"
	registry_docker "$dir/registry"
	export reg=localhost:$REGISTRY_PORT reg_pid=$REGISTRY_PID
	"$bin/msbd"
}

teardown_file() {
	load helper
	kill "$reg_pid" || true
	msb_teardown
}

setup() {
	load helper
	mapfile -t expected < <(cut -d' ' -f1 "$dir/expected")
}

# Bytes of the contents that the store holds: what was given back (holes) is not there.
packs() {
	python3 - "$dir/s/store/packs" <<-'PY'
		import os, sys
		n = 0
		for e in os.scandir(sys.argv[1]):
		    if e.name.endswith(".objects"):
		        continue
		    fd, at = os.open(e.path, os.O_RDONLY), 0
		    while at < e.stat().st_size:
		        try:
		            at = os.lseek(fd, at, os.SEEK_DATA)
		        except OSError: # none from here on
		            break
		        end = os.lseek(fd, at, os.SEEK_HOLE)
		        n, at = n + end - at, end
		print(n)
	PY
}

stat_of() {
	sed -n "s/^$1 //p" "$m/images/stat"
}

@test "the first image: each content once, 4 KiB aligned" {
	echo "import $dir/a a" >"$m/images/ctl"
	[ "$(packs)" = "${expected[0]}" ]
}

@test "the second: by what is new, and no more" {
	[ "${expected[1]}" -gt 0 ]
	[ $((expected[1] * 5)) -lt "${expected[0]}" ]
	echo "import $dir/b b" >"$m/images/ctl"
	[ "$(packs)" = $((expected[0] + expected[1])) ]
	# They are what they were made of.
	cmp "$m/images/a/rootfs/usr/share/s8" "$m/images/b/rootfs/usr/share/s8"
	cmp "$m/images/a/rootfs/opt/a8" "$m/images/b/rootfs/opt/again"
	run cmp "$m/images/a/rootfs/usr/share/s7" "$m/images/b/rootfs/usr/share/s7"
	[ "$status" = 1 ]
	run cmp "$m/images/a/rootfs/usr/share/s9" "$m/images/b/rootfs/opt/near"
	[ "$status" = 1 ]
}

@test "what images/stat says of it" {
	mapfile -t objects < <(cut -d' ' -f2 "$dir/expected")
	[ "$(stat_of images)" = 2 ]
	[ "$(stat_of layers)" = 5 ]
	[ "$(stat_of objects)" = $((objects[0] + objects[1])) ]
	[ "$(stat_of logical_bytes)" = $(($(cat "$m/images/a/size_bytes") + $(cat "$m/images/b/size_bytes"))) ]
	[ "$(stat_of saved_bytes)" = $(($(stat_of logical_bytes) - $(stat_of stored_bytes))) ]
	[ "$(stat_of pending_bytes)" -lt 65536 ] # the file system's own blocks for a pack in many pieces
	[ "$(stat_of blob_bytes)" = 0 ]
	# Contents, and beside them what the index and the records of five layers take.
	[ "$(stat_of stored_bytes)" -ge "$(packs)" ]
	echo "stored $(stat_of stored_bytes), packs $(packs), index $(stat_of index_bytes), records $(stat_of record_bytes)"
}

@test "the same image in another format: nothing" {
	skopeo --insecure-policy copy -q "oci:$dir/b:t" "docker-archive:$dir/b.tar:b:latest"
	skopeo --insecure-policy copy -q --dest-compress-format zstd "oci:$dir/b:t" "oci-archive:$dir/b.oci.tar:t"
	echo "import $dir/b.tar c" >"$m/images/ctl"
	echo "import $dir/b.oci.tar d" >"$m/images/ctl"
	[ "$(packs)" = $((expected[0] + expected[1])) ]
}

@test "taken away, nothing is left; pulled from a registry, it is the same to the byte" {
	echo "rm a" >"$m/images/ctl"
	[ "$(packs)" -lt $((expected[0] + expected[1])) ]
	for i in b c d; do echo "rm $i" >"$m/images/ctl"; done
	echo prune >"$m/images/ctl"
	[ "$(packs)" = 0 ]
	for i in a b; do
		skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$dir/$i:t" "docker://$reg/$i:t"
	done
	echo "pull $reg/a:t" >"$m/images/ctl"
	[ "$(packs)" = "${expected[0]}" ]
	echo "pull $reg/b:t" >"$m/images/ctl"
	[ "$(packs)" = $((expected[0] + expected[1])) ]
	echo verify >"$m/images/ctl"
}

@test "both at once: each content once all the same" {
	for i in a b; do echo "rm $reg/$i:t" >"$m/images/ctl"; done
	echo prune >"$m/images/ctl"
	[ "$(packs)" = 0 ]
	echo "pull $reg/b:t" >"$m/images/ctl" &
	echo "pull $reg/a:t" >"$m/images/ctl"
	wait $!
	[ "$(packs)" = $((expected[0] + expected[1])) ]
	echo verify >"$m/images/ctl"
}

@test "what a sandbox changes of a file shares the rest with the store, where the file system can" {
	[ "$(id -u)" = 0 ] || skip "a file system of the test's own takes root"
	local fs
	mkdir -p "$dir/own"
	for fs in xfs btrfs; do
		truncate -s 600M "$dir/$fs"
		"mkfs.$fs" -q "$dir/$fs" 2>/dev/null
		# shellcheck disable=SC2016 # for the inner shell; what it mounts is gone with it
		unshare -m --propagation private bash -euc '
			mount -o loop "$dir/$1" "$dir/own"
			mkdir "$dir/own/m"
			export MSB_MNT=$dir/own/m MSB_STATE=$dir/own/s
			"$bin/msbd"
			trap "\"$bin/msbd\" --stop --all" EXIT
			echo "import $repo/build/images/busybox bb" >"$MSB_MNT/images/ctl"
			mkdir "$MSB_MNT/t"
			echo bb >"$MSB_MNT/t/image"
			cp "$MSB_MNT/t/root/bin/busybox" "$dir/was"
			printf X >>"$MSB_MNT/t/root/bin/busybox"
			{ cat "$dir/was"; printf X; } | cmp - "$MSB_MNT/t/root/bin/busybox"
			file=$(find "$MSB_STATE/sandboxes" -path "*/upper/data/*" -type f -size +1000k)
			sync "$file"
			filefrag -v "$file"
			filefrag -v "$file" | grep -q " 0: .* shared"' bash $fs
	done
}
