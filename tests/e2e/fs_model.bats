# SPDX-License-Identifier: Apache-2.0
# Random operations on each backend through /dev/fuse, beside the same on tmpfs (tests/e2e/fs_model/): results,
# contents, attributes and listings agree. The seed of a run is printed; fs_model -s SEED -n OPS repeats it.
# About a minute in all; MODEL_SECONDS (15) is the time of each.

load helper

setup() {
	[ "$(id -u)" = 0 ] || skip "makes devices and changes owners: needs root"
	msb_setup
	seconds=${MODEL_SECONDS:-15}
	oracle=$(mktemp -d /dev/shm/msbt.XXXXXX)
	mkdir "$dir/at"
}

teardown() {
	[ "$(id -u)" = 0 ] || return 0
	while mountpoint -q "$dir/at"; do umount "$dir/at"; done
	rm -rf "$oracle" "$dir"
}

# serve BACKEND SOURCE [OPTIONS]: at $dir/at
serve() {
	"$repo/build/e2e/fsmount" -d "$1" "$2" "$dir/at" ${3:+"$3"} >"$dir/pid" 3>&-
}

stop_serving() {
	umount "$dir/at"
	# The server ends in its own time, and a directory of changes has one at a time.
	until_is 60 '' ended "$(cat "$dir/pid")"
}

# ended PID: nothing once it has, also where nobody has waited for it yet
ended() { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null

model() {
	"$repo/build/e2e/fs_model" "$@" "$dir/at" "$oracle"
}

@test "memory" {
	serve memory none size=1G
	model -t $((seconds * 2 / 3))
	model -d -t $((seconds / 3))
}

@test "memory, with all that may be laid over it and changes nothing" {
	serve memory none 'size=1G,quota_bytes=900M,deny=/nobody,redact=*.nobody,delay=fsync:1us'
	model -t $((seconds / 3))
	model -d -t $((seconds / 3))
}

@test "passthrough" {
	mkdir "$dir/src"
	serve passthrough "$dir/src"
	# A guest's write takes the host's set-id bits, whoever it is by.
	model -u -l -t $((seconds * 2 / 3))
	model -u -l -d -t $((seconds / 3))
}

@test "passthrough, with the guest's owners kept beside the files" {
	mkdir "$dir/src"
	serve passthrough "$dir/src" map=root
	model -l -t $((seconds * 2 / 3))
	model -l -d -t $((seconds / 3))
}

# An image whose files have the model's names: index and packs are where it is.
random_image() {
	local sum
	mkdir "$dir/made" "$dir/beside" "$dir/save"
	"$repo/build/e2e/fs_model" -n 6000 "$dir/made" "$dir/beside"
	find "$dir/made" -type s -delete # an archive has no sockets
	tar --format=posix --xattrs --xattrs-include='*' -C "$dir/made" -cf "$dir/save/layer.tar" .
	sum=$(sha256sum <"$dir/save/layer.tar")
	printf '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
		"${sum%% *}" >"$dir/save/config.json"
	echo '[{"Config":"config.json","RepoTags":["low:1"],"Layers":["layer.tar"]}]' >"$dir/save/manifest.json"
	tar -C "$dir/save" -cf "$dir/save.tar" manifest.json config.json layer.tar
	"$bin/msbd" 3>&-
	echo "import $dir/save.tar low" >"$m/images/ctl"
	"$bin/msbd" --stop --all
	index=$(find "$MSB_STATE/store/images" -name index -type f)
	packs=$MSB_STATE/store/packs
}

@test "overlay over an image, also after each of three restarts" {
	local n
	random_image
	mkdir "$dir/upper"
	serve overlay "index=$index,packs=$packs,upper=$dir/upper"
	cp -a "$dir/at/." "$oracle/"
	model -c
	for n in 1 2 3; do
		model -t $((seconds / 5 + 1))
		model -d -t $((seconds / 10 + 1))
		stop_serving
		serve overlay "index=$index,packs=$packs,upper=$dir/upper"
		model -c
	done
}
