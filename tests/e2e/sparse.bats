# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # helper.bash sets them
# Files with holes, as each version of GNU tar packs them: kept with their holes, and the layer is made again to
# the byte.

bats_require_minimum_version 1.5.0

setup_file() {
	load helper
	msb_setup
	export t=$dir/t
	mkdir "$t"
	truncate -s 40M "$t/far"
	printf far | dd of="$t/far" bs=1 seek=41943037 conv=notrunc status=none
	truncate -s 30M "$t/hole"
	truncate -s 900 "$t/small"
	: >"$t/empty"
	truncate -s 5000005 "$t/many"
	local k
	for k in $(seq 0 40); do
		printf '%01000d' "$k" | dd of="$t/many" bs=1 seek=$((k * 122880)) conv=notrunc status=none
	done
	head -c 100000 /dev/urandom >"$t/whole"
	"$bin/msbd"
}

teardown_file() {
	load helper
	msb_teardown
}

setup() {
	load helper
}

# archive TAR: what docker save would have made of it, at $dir/save.tar
archive() {
	rm -rf "$dir/save"
	mkdir "$dir/save"
	cp --sparse=never "$1" "$dir/save/layer.tar"
	printf '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
		"$(sha256sum <"$1" | cut -d' ' -f1)" >"$dir/save/config.json"
	echo '[{"Config":"config.json","RepoTags":null,"Layers":["layer.tar"]}]' >"$dir/save/manifest.json"
	tar -cf "$dir/save.tar" -C "$dir/save" manifest.json config.json layer.tar
}

# round NAME OPTION...: packed so, imported, read, exported
round() {
	local name=$1 want
	shift
	tar -cf "$dir/$name.tar" --sparse --hole-detection=seek "$@" -C "$t" .
	[ "$(stat -c %s "$dir/$name.tar")" -lt 2000000 ]
	archive "$dir/$name.tar"
	echo "import $dir/save.tar $name" >"$m/images/ctl"
	diff -r "$t" "$m/images/$name/rootfs"
	[ "$(cat "$m/images/$name/size_bytes")" = $((41943040 + 31457280 + 900 + 5000005 + 100000)) ]
	echo "verify $name" >"$m/images/ctl"
	echo "export $dir/out.tar $name" >"$m/images/ctl"
	rm -rf "$dir/out" "$dir/bundle"
	mkdir "$dir/out"
	tar -xf "$dir/out.tar" -C "$dir/out"
	want=$(sha256sum <"$dir/$name.tar")
	for b in "$dir"/out/blobs/sha256/*; do
		{ zstd -dcq "$b" || gzip -dc "$b" || cat "$b"; } 2>/dev/null | sha256sum
	done | grep -qxF "$want"
	[ "$name" != old ] || return 0 # which umoci does not read
	umoci raw unpack --image "$dir/out:$(jq -r '.manifests[0].annotations["org.opencontainers.image.ref.name"]' \
		"$dir/out/index.json")" "$dir/bundle"
	diff -r "$t" "$dir/bundle"
}

stat_of() {
	sed -n "s/^$1 //p" "$m/images/stat"
}

@test "old GNU headers" {
	round old --format=gnu
	[ "$(stat_of stored_bytes)" -lt 800000 ]
}

@test "extended headers: each version, and what is the same is kept once" {
	local before
	before=$(stat_of objects)
	for v in 0.0 0.1 1.0; do
		round "v${v/./}" --format=pax --sparse-version=$v
	done
	[ "$(stat_of objects)" = "$before" ]
	# The same files without --sparse are the same bytes.
	tar -cf "$dir/plain.tar" -C "$t" .
	archive "$dir/plain.tar"
	echo "import $dir/save.tar plain" >"$m/images/ctl"
	diff -r "$t" "$m/images/plain/rootfs"
	[ "$(stat_of objects)" = "$before" ]
	[ "$(stat_of stored_bytes)" -lt 800000 ]
}

@test "what is damaged is named, and comes back with its holes" {
	local pack off
	# shellcheck source=tests/registry/registry.bash
	source "$repo/tests/registry/registry.bash"
	registry_docker "$dir/registry"
	echo "push v10 localhost:$REGISTRY_PORT/v10:1" >"$m/images/ctl"
	echo "rm plain" >"$m/images/ctl"
	echo "pull localhost:$REGISTRY_PORT/v10:1" >"$m/images/ctl"
	for pack in "$dir"/s/store/packs/????????; do
		off=$(grep -abom1 '0000000017' "$pack" | cut -d: -f1) || continue
		printf X | dd of="$pack" bs=1 seek="$off" conv=notrunc status=none
		break
	done
	run -1 bash -c "echo 'verify localhost:$REGISTRY_PORT/v10:1' >'$m/images/ctl'"
	grep -h damaged "$m"/images/pulls/* </dev/null | grep -q 'many: its contents are damaged'
	echo "pull localhost:$REGISTRY_PORT/v10:1" >"$m/images/ctl"
	kill "$REGISTRY_PID"
	echo "verify" >"$m/images/ctl"
	diff -r "$t" "$m/images/old/rootfs"
	[ "$(stat_of stored_bytes)" -lt 800000 ]
}

@test "an archive that is itself packed so is refused with a sentence" {
	truncate -s 1M "$dir/save/big"
	tar -cf "$dir/sparse.tar" --sparse --hole-detection=seek -C "$dir/save" big manifest.json config.json layer.tar
	run -1 bash -c "echo 'import $dir/sparse.tar x' >'$m/images/ctl'"
	grep -q 'sparse member; pack it without --sparse' "$m/error"
}
