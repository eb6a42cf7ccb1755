# SPDX-License-Identifier: Apache-2.0
# An image's index is an EROFS that the kernel mounts, with the packs as its devices, and all that a program can
# see there is the same through our backend, and in what umoci unpacks.

setup() {
	dir=$(mktemp -d /tmp/msbt.XXXXXX)
	mkdir "$dir/m"
}

teardown() {
	rm -rf "$dir"
}

# layer DIRECTORY TAR-OPTION...: one more layer of the image, as it is
layer() {
	local from=$1
	shift
	tar -c -C "$from" --sort=name --numeric-owner "$@" . >"$dir/layer.tar"
	umoci raw add-layer --image "$dir/oci:t" "$dir/layer.tar"
}

@test "the kernel's EROFS, our backend and umoci: the same tree" {
	[ "$(id -u)" = 0 ] || skip "mounting an EROFS takes root"
	grep -qw erofs /proc/filesystems || modprobe erofs || skip "no EROFS in this kernel"
	[ -e /dev/loop-control ] || skip "no loop devices"
	"$BATS_TEST_DIRNAME/../unit/image_samples.sh" "$dir"
	rm -rf "$dir/bundle"
	# What umoci makes no layers of: whiteouts of all that is below, runs of zeros, long targets and paths.
	mkdir -p "$dir/one/opq/old" "$dir/one/plain" "$dir/two/opq" "$dir/two/plain"
	echo gone >"$dir/one/opq/old/f"
	echo gone >"$dir/one/plain/f"
	echo gone >"$dir/one/plain/g"
	: >"$dir/two/opq/.wh..wh..opq"
	echo new >"$dir/two/opq/g"
	: >"$dir/two/plain/.wh.f"
	truncate -s 5M "$dir/two/hole"
	truncate -s 1M "$dir/two/islands"
	printf a | dd of="$dir/two/islands" bs=1 seek=300000 conv=notrunc status=none
	printf b | dd of="$dir/two/islands" bs=1 seek=700001 conv=notrunc status=none
	ln -s "$(printf '/%0199d' {1..20})" "$dir/two/far"
	deep=$dir/two$(printf '/%0200d' {1..5})
	mkdir -p "$deep"
	echo deep >"$deep/$(printf '%0255d' 1)"
	setfacl -m u:1000:rx,g:2000:r "$dir/two/plain"
	setfacl -d -m u:1000:rwx "$dir/two/plain"
	touch -h -d '1901-12-31 00:00:00 UTC' "$dir/two/far"
	layer "$dir/one" --format=gnu
	layer "$dir/two" --format=pax --xattrs --xattrs-include='*'
	run "$BATS_TEST_DIRNAME/three_trees.sh" "$BATS_TEST_DIRNAME/../../build/bin" "$dir/oci" t "$dir"
	echo "$output"
	[ "$status" = 0 ]
	[[ $output == *"names, "*" packs, all the same" ]]
	# The sample is what it says, and a listing tells these apart.
	want=(opq/g plain/g hole far etc/hard etc/fifo etc/null etc/disk)
	for name in "${want[@]}"; do
		grep -q "^/$name " "$dir/kernel.list" || { echo "no $name"; false; }
	done
	if grep -E '^/(opq/old|plain/f|gone/below) ' "$dir/kernel.list"; then false; fi
	grep -q '^/etc/size-1025 .* /bin/hard-lower\|^/etc/hard .* 2 1025 .* /etc/hard security.capability=' "$dir/kernel.list"
	grep -q '^/plain .*system.posix_acl_access=' "$dir/kernel.list"
	grep -q '^/etc/\\xff\\xfe\\x20space\\x09tab ' "$dir/kernel.list"
}

@test "a listing tells apart what differs" {
	mkdir -p "$dir/t/d"
	printf a >"$dir/t/f"
	printf a >"$dir/t/g"
	ln "$dir/t/f" "$dir/t/d/hard"
	ln -s f "$dir/t/soft"
	mkfifo "$dir/t/fifo"
	setfattr -n user.x -v 1 "$dir/t/g"
	touch -h -d '2020-01-01 UTC' "$dir/t" "$dir/t"/* "$dir/t/d/hard"
	cp -a "$dir/t" "$dir/same"
	diff <("$BATS_TEST_DIRNAME/listing.py" "$dir/t") <("$BATS_TEST_DIRNAME/listing.py" "$dir/same")
	for change in 'chmod 600 f' 'touch -d @1577836800.000000001 f' 'ln -sfn g soft; touch -h -d @1577836800 soft . ' \
		'printf b >f; touch -d @1577836800 f' 'setfattr -n user.x -v 2 g' 'setfattr -x user.x g' 'rm fifo; touch -d @1577836800 .' \
		'cp -p f h; mv h f; touch -d @1577836800 .' 'mv g G; touch -d @1577836800 .' 'ln -f g d/hard; touch -d @1577836800 d'; do
		rm -rf "$dir/other"
		cp -a "$dir/t" "$dir/other"
		(cd "$dir/other" && eval "$change")
		if cmp -s <("$BATS_TEST_DIRNAME/listing.py" "$dir/t") <("$BATS_TEST_DIRNAME/listing.py" "$dir/other"); then
			echo "not seen: $change"
			false
		fi
	done
}
