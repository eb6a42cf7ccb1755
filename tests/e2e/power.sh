#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC1091 # helper.bash sets them
# The power goes at some moment while images come and go: of what no flush had confirmed any part may be lost
# (tests/e2e/cutdisk.c). With the disk that is left msbd starts, what was told as done is so, the store checks
# clean, and pulling again succeeds.
#	tests/e2e/power.sh [CUTS]	8 of them; run by power.bats
#	MSB_CUT_SEED=N  the first one's seed; they count up    MSB_CUT_FS=xfs   instead of ext4
#	MSB_CUT_KEEP=DIR  is given the disk, the log and the marks of a cut that failed
set -eu
# In a mount namespace of its own: one that somebody else makes meanwhile would keep a disk mounted.
[ -n "${MSB_CUT_INSIDE:-}" ] || MSB_CUT_INSIDE=1 exec unshare -m --propagation private "$0" "$@"

BATS_TEST_DIRNAME=$(cd "$(dirname "$0")" && pwd)
source "$BATS_TEST_DIRNAME/helper.bash"
source "$BATS_TEST_DIRNAME/../registry/registry.bash"

cuts=${1:-8} seed=${MSB_CUT_SEED:-$((RANDOM * 32768 + RANDOM))} fs=${MSB_CUT_FS:-ext4}

finish() {
	local rc=$?
	trap - EXIT
	set +e
	if [ $rc != 0 ]; then
		cat "$m/error" "$dir/marks"
		[ -z "${MSB_CUT_KEEP:-}" ] || cp --sparse=always "$dir"/{after,base,log,marks} "$MSB_CUT_KEEP"
	fi
	"$bin/msbd" --stop --all
	unplug
	registry_stop "$REGISTRY_PID"
	msb_teardown || rc=1
	rm -rf "$regs"
	exit $rc
}

# Two images with files in common, and no layer; one more that is the second but for a layer; and an artifact.
make_images() {
	local i k n
	umoci init --layout "$regs/images"
	for i in x y; do
		umoci new --image "$regs/images:$i"
		for k in 1 2 3; do
			mkdir -p "$regs/$i/$k"
			for ((n = 0; n < 120; n++)); do
				head -c $((n * 37 + 300)) /dev/urandom >"$regs/$i/$k/$n"
			done
			head -c 700000 /dev/urandom >"$regs/$i/$k/large"
			[ $i = x ] || cp "$regs/x/$k/large" "$regs/$i/$k/of-x"
			umoci insert --rootless --image "$regs/images:$i" "$regs/$i/$k" "/$k" >/dev/null
		done
		umoci config --image "$regs/images:$i" --os linux --architecture amd64
	done
	umoci tag --image "$regs/images:y" z
	umoci insert --rootless --image "$regs/images:z" "$regs/x/1" /more >/dev/null
	python3 - "$regs/things" <<-'PY'
		import hashlib, json, os, sys
		out = sys.argv[1]
		os.makedirs(out + "/blobs/sha256")
		def blob(data, media_type):
		    h = hashlib.sha256(data).hexdigest()
		    with open(f"{out}/blobs/sha256/{h}", "wb") as f:
		        f.write(data)
		    return {"mediaType": media_type, "digest": "sha256:" + h, "size": len(data)}
		kind = "application/vnd.oci.image.manifest.v1+json"
		manifest = {"schemaVersion": 2, "mediaType": kind, "artifactType": "application/vnd.example+type",
		            "config": blob(b"{}", "application/vnd.oci.empty.v1+json"),
		            "layers": [blob(os.urandom(n), "application/vnd.example.data") for n in (900000, 5000)]}
		named = dict(blob(json.dumps(manifest).encode(), kind), annotations={"org.opencontainers.image.ref.name": "t"})
		for name, doc in (("index.json", {"schemaVersion": 2, "manifests": [named]}), ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
		    with open(f"{out}/{name}", "w") as f:
		        json.dump(doc, f)
	PY
}

# attach FILE DIR: mounts it there
attach() {
	losetup -f --show "$1" >"$2.loop"
	mount "$(cat "$2.loop")" "$2"
}

# detach DIR: and the loop device has let go of its file: it would be used again, with what it remembers
detach() {
	! mountpoint -q "$1" || umount "$1"
	[ -e "$1.loop" ] || return 0
	losetup -d "$(cat "$1.loop")"
	until_is 20 "" eval "losetup -n -O BACK-FILE $(cat "$1.loop") 2>/dev/null | grep -F '$dir/'"
	rm -f "$1.loop"
}

# plug: a disk that logs, mounted at $dir/disk
plug() {
	truncate -s "$([ "$fs" = ext4 ] && echo 96M || echo 320M)" "$dir/base"
	case $fs in
	ext4) mkfs.ext4 -q -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$dir/base" ;;
	*) "mkfs.$fs" -q -K "$dir/base" ;;
	esac
	cp --sparse=always "$dir/base" "$dir/image"
	"$repo/build/e2e/cutdisk" serve "$dir/fuse" "$dir/image" "$dir/log" 3>&- 4>&- &
	until_is 10 yes eval "[ -e '$dir/fuse/disk' ] && echo yes"
	attach "$dir/fuse/disk" "$dir/disk"
}

unplug() {
	detach "$dir/cut"
	detach "$dir/disk"
	! mountpoint -q "$dir/fuse" || umount "$dir/fuse"
}

# digest_of NAME: of the image, or -
digest_of() {
	if [ -e "$m/images/$1" ]; then cat "$m/images/$1/digest"; else echo -; fi
}

# op NAMES DIGEST LINE: a command of images/ctl, after which the names have the digest; - means that they are gone
op() {
	echo "begin $2 $1" >"$dir/fuse/mark"
	echo "$3" >"$m/images/ctl"
	echo "done $2 $1" >"$dir/fuse/mark"
}

# A sandbox, with files in its root that were synced: many, so that there are cuts after which nothing else was done.
root() {
	local k
	mkdir "$m/sb"
	echo "$regs/x/1" >"$m/sb/image"
	for k in {1..40}; do
		echo kept >"$m/sb/root/kept-$k"
		sync "$m/sb/root/kept-$k"
		echo "done kept-$k sb" >"$dir/fuse/mark"
	done
}

# What is done while the disk logs. Twice: then much of it finds what it needs, and garbage.
work() {
	local k pid pids
	for k in 1 2; do
		op "$d/i:x" "$x" "pull $d/i:x"
		op localhost/own:latest "$own" "import $regs/y.tar own"
		op localhost/kept:latest "$x" "tag $d/i:x kept"
		pids=()
		op "$d/i:y" "$y" "pull $d/i:y" &
		pids+=($!)
		op "$d/i:z" "$z" "pull $d/i:z" &
		pids+=($!)
		op "$d/things:t" "$t" "pull $d/things:t" &
		pids+=($!)
		op "$d/i:x" - "rm $d/i:x"
		for pid in "${pids[@]}"; do wait "$pid"; done
		op localhost/kept:latest "$own" "tag own kept"
		op localhost/own:latest - "rm own"
		[ -e "$m/sb" ] || root
		op "$d/i:z $d/i:y $d/things:t localhost/kept:latest" - prune
	done
	op "$d/i:y" "$y" "pull $d/i:y"
}

# after SEED: a cut, and what is so then
after() {
	local -A want=()
	local what digest names name left k
	"$repo/build/e2e/cutdisk" cut "$dir/base" "$dir/log" "$1" "$dir/after" >"$dir/marks"
	while read -r what digest names; do
		for name in $names; do
			[ "$what" = begin ] || want[$name]=
			want[$name]="${want[$name]--} $digest"
		done
	done <"$dir/marks"
	attach "$dir/after" "$dir/cut"
	"$bin/msbd"
	for name in "$d"/i:{x,y,z} "$d/things:t" localhost/{own,kept}:latest; do
		[[ " ${want[$name]:--} " == *" $(digest_of "$name") "* ]] ||
			{ echo "$name: $(digest_of "$name"), not ${want[$name]:--}"; return 1; }
		[ ! -e "$m/images/$name" ] || echo "verify $name" >"$m/images/ctl"
	done
	echo verify >"$m/images/ctl"
	for name in i:x i:y i:z things:t; do
		echo "pull $d/$name" >"$m/images/ctl"
		[ "$(digest_of "$d/$name")" = "$(eval "echo \$${name#*:}")" ]
	done
	echo verify >"$m/images/ctl"
	for k in 1 2 3; do
		diff -r "$regs/y/$k" "$m/images/$d/i:z/rootfs/$k"
	done
	for k in ${want[sb]-}; do
		[ "$k" = - ] || [ "$(cat "$m/sb/root/$k")" = kept ]
	done
	[ ! -e "$m/sb" ] || rmdir "$m/sb"
	echo prune >"$m/images/ctl"
	left=$(find "$MSB_STATE"/store/{images,layers,packs,blobs,tmp} -mindepth 1)
	[ -z "$left" ] || { echo "left: $left"; return 1; }
	"$bin/msbd" --stop --all
	detach "$dir/cut"
}

msb_setup
regs=$(mktemp -d /tmp/msbr.XXXXXX)
REGISTRY_PID=
trap finish EXIT
mkdir "$dir/fuse" "$dir/disk" "$dir/cut"
make_images
registry_fake "$regs/fake" --serve "i=$regs/images" --serve "things=$regs/things"
d=localhost:$REGISTRY_PORT

"$bin/msbd"
for k in i:x i:y i:z things:t; do
	echo "pull $d/$k" >"$m/images/ctl"
	declare "${k#*:}=$(digest_of "$d/$k")"
done
echo "export $regs/y.tar $d/i:y" >"$m/images/ctl"
echo "import $regs/y.tar own" >"$m/images/ctl" # its layers are compressed anew
own=$(digest_of localhost/own:latest)
"$bin/msbd" --stop --all

plug
export MSB_STATE=$dir/disk/s
"$bin/msbd"
work
"$bin/msbd" --stop --all
unplug

export MSB_STATE=$dir/cut/s
for ((k = 0; k < cuts; k++)); do
	echo "seed $((seed + k))"
	after $((seed + k))
done
echo "$cuts cuts of $fs: $("$repo/build/e2e/cutdisk" count "$dir/log")"
