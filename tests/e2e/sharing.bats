# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # helper.bash sets them
# A second image that shares nine files of ten with the first, and not one layer: what is stored grows by the
# bytes that are new, to the byte.

setup_file() {
	load helper
	msb_setup
	"$BATS_TEST_DIRNAME/sharing.py" "$dir" >"$dir/expected"
	"$bin/msbd"
}

teardown_file() {
	load helper
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

@test "the same image in another format: nothing" {
	skopeo --insecure-policy copy -q "oci:$dir/b:t" "docker-archive:$dir/b.tar:b:latest"
	skopeo --insecure-policy copy -q --dest-compress-format zstd "oci:$dir/b:t" "oci-archive:$dir/b.oci.tar:t"
	echo "import $dir/b.tar c" >"$m/images/ctl"
	echo "import $dir/b.oci.tar d" >"$m/images/ctl"
	[ "$(packs)" = $((expected[0] + expected[1])) ]
}
