# SPDX-License-Identifier: Apache-2.0
# tests/e2e/by-hand.sh as whoever runs the tests, and, where that is root, as an ordinary user too.

load helper

setup_file() {
	cd "$BATS_TEST_DIRNAME/../.."
	dir=$(mktemp -d /tmp/msbb.XXXXXX)
	export dir
	chmod 0755 "$dir"
	[ -f build/images/busybox/index.json ] || tools/mkimage busybox build/images/busybox
	mkdir "$dir/images"
	cp -r build/images/busybox "$dir/images/oci"
	skopeo --insecure-policy copy -q "oci:$dir/images/oci" "oci-archive:$dir/images/oci.tar"
	skopeo --insecure-policy copy -q --dest-compress-format zstd "oci:$dir/images/oci" "oci:$dir/images/oci-zstd"
	skopeo --insecure-policy copy -q --dest-compress-format zstd "oci:$dir/images/oci" "oci-archive:$dir/images/oci-zstd.tar"
	skopeo --insecure-policy copy -q "oci:$dir/images/oci" "docker-archive:$dir/images/docker.tar:busybox:latest"
	cp -r build/bin tests/e2e/by-hand.sh "$dir/"
	mkdir "$dir/share"
	cp -rL build/share/msb "$dir/share/msb"
	chmod -R a+rX "$dir"
}

teardown_file() {
	rm -rf "$dir"
}

@test "by hand, as whoever runs this" {
	mkdir "$dir/m"
	MSB_MNT=$dir/m MSB_STATE=$dir/s run bash "$dir/by-hand.sh" "$dir/bin" "$dir/images"
	echo "$output"
	[ "$status" = 0 ]
	[[ $output == *"by hand: ok" ]]
}

@test "by hand, as an ordinary user under XDG_RUNTIME_DIR" {
	[ "$(id -u)" = 0 ] || skip "needs root, to become somebody else"
	user=msb-test-$$
	useradd --no-create-home --home-dir "$dir/home" --shell /bin/bash "$user"
	mkdir "$dir/home" "$dir/run"
	chown "$user" "$dir/home" "$dir/run"
	chmod 0700 "$dir/run"
	# A /dev/fuse that everyone may open, as udev makes it, in a mount namespace of our own.
	mknod "$dir/fuse" c 10 229
	chmod 0666 "$dir/fuse"
	run unshare -m bash -c "mount --bind $dir/fuse /dev/fuse && exec runuser -u $user -- \
		env -i PATH=/usr/bin:/bin HOME=$dir/home XDG_RUNTIME_DIR=$dir/run \
		bash $dir/by-hand.sh $dir/bin $dir/images"
	echo "$output"
	until_is 5 '' pgrep -u "$user" -a
	userdel "$user"
	[ "$status" = 0 ]
	[[ $output == *"by hand: ok" ]]
}
