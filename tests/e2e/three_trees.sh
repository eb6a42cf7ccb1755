#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One image, seen three ways: the kernel's EROFS driver on its index, with the packs as devices; our backend by
# /dev/fuse; and what umoci unpacks. Every name, attribute, link, extended attribute and byte is to be the same.
#	three_trees.sh BIN LAYOUT TAG DIRECTORY		root; DIRECTORY is empty, and left with the three listings
# Says how many names there are.
set -euo pipefail
bin=$1 layout=$2 tag=$3 dir=$4
here=$(dirname "$(realpath "$0")")
export MSB_MNT=$dir/m MSB_STATE=$dir/s
loops=()
finish() {
	umount "$dir/kernel" 2>/dev/null || true
	[ ${#loops[@]} = 0 ] || losetup -d "${loops[@]}" || true
	"$bin/msbd" --stop --all || true
}
trap finish EXIT

umoci raw unpack --image "$layout:$tag" "$dir/umoci"
"$bin/msbd"
echo "import $layout it" >"$MSB_MNT/images/ctl" || { cat "$MSB_MNT/error"; exit 1; }
digest=$(sed 's/^sha256://' "$MSB_MNT"/images/it/digest)
index=$MSB_STATE/store/images/$digest/index

# number OFFSET SIZE: of the super block (struct erofs_super)
number() {
	od -A n -t "u$2" -j $((1024 + $1)) -N "$2" "$index" | tr -d ' '
}
devices=$(number 86 2) slot=$(number 88 2) options=ro
for ((d = 0; d < devices; d++)); do
	pack=$(dd if="$index" bs=1 skip=$(((slot + d) * 128)) count=8 status=none)
	loops+=("$(losetup -f --show -r "$MSB_STATE/store/packs/$pack")")
	options+=,device=${loops[-1]}
done
loops+=("$(losetup -f --show -r "$index")")
mkdir "$dir/kernel"
mount -t erofs -o "$options" "${loops[-1]}" "$dir/kernel"

"$here/listing.py" "$dir/kernel" >"$dir/kernel.list"
"$here/listing.py" "$MSB_MNT/images/it/rootfs/" >"$dir/msb.list"
"$here/listing.py" "$dir/umoci" >"$dir/umoci.list"
# POSIX ACLs are in the index; FUSE shows none (fs/fuse_xattr.c says why).
sed -E 's/system\.posix_acl_[a-z]+=[^ ,]*,?//g; s/,( [^ ]+)$/\1/; s/  / - /' "$dir/kernel.list" >"$dir/no-acls.list"
same=yes
for pair in no-acls:msb kernel:umoci; do
	other=${pair#*:}
	diff "$dir/${pair%:*}.list" "$dir/$other.list" >"$dir/$other.diff" || {
		echo "the kernel and $other differ:"
		head -n 40 "$dir/$other.diff"
		same=no
	}
done
[ $same = yes ]
echo "$(wc -l <"$dir/kernel.list") names, $devices packs, all the same"
