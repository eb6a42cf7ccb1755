#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes one image of every kind of file in three layers, in each format, and what umoci unpacks of it.
#	image_samples.sh DIRECTORY
#	-> DIRECTORY/{oci,oci-zstd,oci.tar,oci-zstd.tar,docker.tar} and DIRECTORY/bundle/rootfs
set -eu
cd "$1"
umask 022
rootless=
[ "$(id -u)" = 0 ] || rootless=--rootless

umoci init --layout oci
umoci new --image oci:t
# shellcheck disable=SC2086 # an option or nothing
unpack() { umoci unpack $rootless --image oci:t "$1"; }

unpack one
r=one/rootfs
mkdir -p $r/{bin,etc,empty,opaque/sub,gone/below,tofile,many}
for n in 0 1 1023 1024 1025 4095 4096 4097 100000 3000000; do
	head -c $n /dev/urandom >$r/etc/size-$n
done
cp $r/etc/size-4097 $r/etc/same-bytes
ln $r/etc/size-1025 $r/etc/hard
ln $r/etc/size-0 $r/bin/hard-empty
ln -s ../etc/size-1 $r/bin/soft
ln -s /nowhere $r/dangling
ln -s etc $r/config
ln $r/bin/soft $r/bin/hard-soft
mkfifo $r/etc/fifo
chmod 4755 $r/etc/size-4096
chmod 2771 $r/etc/size-4095
chmod 1777 $r/empty
touch -d '1969-12-31 23:59:58.25 UTC' $r/etc/size-1
touch -d '2100-01-01 00:00:00.123456789 UTC' $r/etc/size-1023
printf x >"$r/etc/$(printf 'n%.0s' $(seq 250))"
printf x >"$r/etc/"$'\xff\xfe space\ttab'
printf x >$r/etc/.hidden
deep=$r$(printf '/deep%.0s' $(seq 60))
mkdir -p "$deep"
printf bottom >"$deep/file"
for n in $(seq 300); do printf '%s' "$n" >"$r/many/$n"; done
printf 1 >$r/opaque/sub/a
printf 1 >$r/opaque/b
printf 1 >$r/gone/below/c
printf 1 >$r/tofile/d
printf 1 >$r/todir
printf 1 >$r/replaced
setfattr -n user.name -v value $r/etc/size-1024
setfattr -n user.empty -v '' $r/etc/size-1024 || true
setfattr -n user.big -v "$(printf 'v%.0s' $(seq 3000))" $r/etc/size-100000
if [ -z "$rootless" ]; then
	mknod $r/etc/null c 1 3
	mknod $r/etc/disk b 259 300
	chown 1234:5678 $r/etc/size-4097
	chown 4000000000:4000000001 $r/etc/size-100000
	setfattr -n trusted.thing -v secret $r/etc/size-3000000
	setfattr -n security.capability -v 0sAQAAAgAgAAAAAAAAAAAAAAAAAAA= $r/etc/size-1025
	setfattr -n user.dir -v d $r/empty
fi
umoci repack --image oci:t one

unpack two
r=two/rootfs
rm -r $r/gone $r/opaque
mkdir $r/opaque
printf 2 >$r/opaque/new
rm -r $r/tofile
printf 2 >$r/tofile
rm $r/todir
mkdir $r/todir
printf 2 >$r/todir/in
printf longer >$r/replaced
rm $r/many/1?? $r/etc/size-4095
ln $r/etc/size-4096 $r/bin/hard-lower
printf through >$r/config/through-a-link
chmod 0700 $r/empty
umoci repack --image oci:t two

unpack three
r=three/rootfs
mkdir $r/gone
printf 3 >$r/gone/again
rm $r/opaque/new
printf 3 >$r/etc/size-4095
umoci repack --image oci:t three

rm -rf one two three
umoci config --image oci:t --config.env 'A=b "c"' --config.cmd sh --config.cmd -c --config.workingdir /etc
umoci gc --layout oci
unpack bundle

skopeo copy -q --insecure-policy oci:oci:t oci-archive:oci.tar:t
skopeo copy -q --insecure-policy oci:oci:t docker-archive:docker.tar:t:1
skopeo copy -q --insecure-policy --dest-compress --dest-compress-format zstd oci:oci:t oci:oci-zstd:t
skopeo copy -q --insecure-policy oci:oci-zstd:t oci-archive:oci-zstd.tar:t
