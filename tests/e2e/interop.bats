# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # helper.bash sets them
# What others pushed is pulled, and what we push and export is taken by others: skopeo, umoci, buildah and podman,
# with Debian's registry between.

setup_file() {
	load helper
	msb_setup
	# shellcheck source=tests/registry/registry.bash
	source "$repo/tests/registry/registry.bash"
	registry_docker "$dir/registry"
	export reg=localhost:$REGISTRY_PORT reg_pid=$REGISTRY_PID
	tree "$dir/tree"
	umoci init --layout "$dir/oci"
	umoci new --image "$dir/oci:t"
	umoci insert --rootless --image "$dir/oci:t" "$dir/tree" /srv
	umoci config --image "$dir/oci:t" --config.cmd /bin/true --config.env A=b --os linux --architecture amd64
	# A second layer, with a whiteout and a replaced file.
	umoci insert --rootless --image "$dir/oci:t" --whiteout /srv/gone
	umoci insert --rootless --image "$dir/oci:t" "$dir/tree/b" /srv/a
	"$bin/msbd"
}

teardown_file() {
	load helper
	kill "$reg_pid" || true
	[ ! -f "$dir/elsewhere" ] || kill "$(cat "$dir/elsewhere")" 2>/dev/null || true
	msb_teardown
}

setup() {
	load helper
}

# Files of many kinds and sizes.
tree() {
	mkdir -p "$1/sub/deep"
	echo a >"$1/a"
	head -c 70000 /dev/urandom >"$1/b"
	head -c 3000000 /dev/zero >"$1/sub/zeros"
	echo gone >"$1/gone"
	ln -s ../a "$1/sub/link"
	ln "$1/b" "$1/sub/hard"
	chmod 2755 "$1/sub/deep"
	echo 'a name' >"$1/sub/deep/$(printf 'na\tme')"
}

skopeo() {
	command skopeo --insecure-policy "$@"
}

pods() {
	local p=$1
	shift
	command "$p" --root "$dir/pod" --runroot "$dir/podrun" --storage-driver vfs "$@"
}

# same REF: the image's tree is what umoci unpacks
same() {
	local want=$dir/unpacked
	[ -d "$want" ] || umoci raw unpack --rootless --image "$dir/oci:t" "$want"
	diff -r --no-dereference "$want" "$m/images/$1/rootfs/."
	[ "$(stat -c %a "$m/images/$1/rootfs/srv/sub/deep")" = 2755 ]
	[ "$(stat -c %h "$m/images/$1/rootfs/srv/sub/hard")" = 2 ]
}

# The digest of a config: what podman calls an image's ID.
id_of() {
	sha256sum <"$m/images/$1/config.json" | cut -d' ' -f1
}

@test "what skopeo pushed: both formats, every compression" {
	local n=0 args
	for args in "--format oci" "--format v2s2"; do
		n=$((n + 1))
		# shellcheck disable=SC2086 # several words
		skopeo copy -q --dest-tls-verify=false $args "oci:$dir/oci:t" "docker://$reg/skopeo:v$n"
		echo "pull $reg/skopeo:v$n" >"$m/images/ctl"
		same "$reg/skopeo:v$n"
	done
	# Compressed before: a registry that has the layers another way would be given those.
	for args in gzip zstd; do
		n=$((n + 1))
		skopeo copy -q --dest-compress-format "$args" "oci:$dir/oci:t" "oci:$dir/oci$n:t"
		skopeo copy -q --dest-tls-verify=false "oci:$dir/oci$n:t" "docker://$reg/skopeo:v$n"
		echo "rm $reg/skopeo:v$((n - 1))" >"$m/images/ctl"
		echo "pull $reg/skopeo:v$n" >"$m/images/ctl"
		same "$reg/skopeo:v$n"
		grep -q "layer.v1.tar+$args" "$m/images/$reg/skopeo:v$n/manifest.json"
	done
	# zstd:chunked, of a tree at which this skopeo does not hang.
	msb_image
	skopeo copy -q --dest-compress-format zstd:chunked "oci:$repo/build/images/busybox" "oci:$dir/chunked:t"
	skopeo copy -q --dest-tls-verify=false "oci:$dir/chunked:t" "docker://$reg/skopeo:chunked"
	echo "pull $reg/skopeo:chunked" >"$m/images/ctl"
	grep -q zstd-chunked "$m/images/$reg/skopeo:chunked/manifest.json"
	diff -r --no-dereference "$m/images/bb/rootfs/." "$m/images/$reg/skopeo:chunked/rootfs/."
	# By digest too.
	d=$(cat "$m/images/$reg/skopeo:v1/digest")
	echo "pull $reg/skopeo@$d" >"$m/images/ctl"
	for n in 2 4; do
		echo "pull $reg/skopeo:v$n" >"$m/images/ctl"
	done
}

@test "what buildah built and pushed" {
	c=$(pods buildah from scratch)
	pods buildah copy "$c" "$dir/tree" /srv
	pods buildah config --cmd /bin/true --arch amd64 --os linux "$c"
	for f in oci docker; do
		pods buildah commit -q --format "$f" "$c" "built:$f"
		pods buildah push -q --tls-verify=false "built:$f" "docker://$reg/buildah:$f"
		echo "pull $reg/buildah:$f" >"$m/images/ctl"
		diff -r --no-dereference "$dir/tree" "$m/images/$reg/buildah:$f/rootfs/srv/."
	done
	pods buildah rm "$c"
}

@test "what podman pushed, and an index" {
	pods podman pull -q --tls-verify=false "$reg/skopeo:v1"
	pods podman push -q --tls-verify=false "$reg/skopeo:v1" "docker://$reg/podman:v1"
	echo "pull $reg/podman:v1" >"$m/images/ctl"
	same "$reg/podman:v1"
	pods podman manifest create list
	pods podman manifest add --tls-verify=false list "docker://$reg/podman:v1"
	pods podman manifest add --tls-verify=false --arch arm64 list "docker://$reg/buildah:oci"
	pods podman manifest push -q --tls-verify=false --all list "docker://$reg/podman:list"
	echo "pull $reg/podman:list" >"$m/images/ctl"
	same "$reg/podman:list"
	[ "$(cat "$m/images/$reg/podman:list/digest")" = "$(cat "$m/images/$reg/podman:v1/digest")" ]
}

@test "what we push, podman and skopeo pull; byte for byte where the layers are there" {
	echo "push $reg/skopeo:v1 $reg/skopeo:again" >"$m/images/ctl"
	skopeo inspect --raw --tls-verify=false "docker://$reg/skopeo:again" >"$dir/again.json"
	cmp "$dir/again.json" "$m/images/$reg/skopeo:v1/manifest.json"
	# Where they are not they are made again: the same image all the same.
	for v in v1 v2 v4; do
		echo "rm $reg/skopeo:$v" >"$m/images/ctl"
		echo "pull $reg/skopeo:$v" >"$m/images/ctl"
		registry_elsewhere
		echo "push $reg/skopeo:$v $there/ours:$v" >"$m/images/ctl"
		id=$(id_of "$reg/skopeo:$v")
		pods podman pull -q --tls-verify=false "$there/ours:$v"
		[ "$(pods podman image inspect --format '{{.Id}}' "$there/ours:$v")" = "$id" ]
		tree=$(pods podman image mount "$there/ours:$v")
		diff -r --no-dereference "$dir/unpacked" "$tree"
		pods podman image umount "$there/ours:$v"
		skopeo copy -q --src-tls-verify=false "docker://$there/ours:$v" "oci:$dir/back-$v:t"
		if [ $v != v4 ]; then # umoci reads no zstd
			umoci raw unpack --rootless --image "$dir/back-$v:t" "$dir/back-tree-$v"
			diff -r --no-dereference "$dir/unpacked" "$dir/back-tree-$v"
		fi
		kill "$there_pid"
	done
}

# A registry that has nothing: there, there_pid
registry_elsewhere() {
	source "$repo/tests/registry/registry.bash"
	local d
	d=$(mktemp -d "$dir/elsewhere.XXXX")
	registry_docker "$d"
	there=localhost:$REGISTRY_PORT there_pid=$REGISTRY_PID
	echo "$there_pid" >"$dir/elsewhere"
}

@test "what we export, podman loads, skopeo copies and umoci unpacks" {
	echo "export $dir/out.tar $reg/skopeo:v2" >"$m/images/ctl"
	id=$(id_of "$reg/skopeo:v2")
	pods podman load -q -i "$dir/out.tar"
	pods podman image exists "$id"
	skopeo copy -q "oci-archive:$dir/out.tar" "oci:$dir/exported:t"
	umoci raw unpack --rootless --image "$dir/exported:t" "$dir/exported-tree"
	diff -r --no-dereference "$dir/unpacked" "$dir/exported-tree"
	echo "import $dir/out.tar back" >"$m/images/ctl"
	same "localhost/back:latest"
	# The same image, the same bytes.
	echo "export $dir/out2.tar $reg/skopeo:v2" >"$m/images/ctl"
	cmp "$dir/out.tar" "$dir/out2.tar"
}
