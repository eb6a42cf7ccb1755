# SPDX-License-Identifier: Apache-2.0
# Work on the guest's root, beside the same commands on a local ext4: unpack 50 MB in 10,000 small files, find,
# sha256sum, rename, link, delete. What both print must be the same, byte for byte.

bats_require_minimum_version 1.5.0

setup_file() {
	cd "$BATS_TEST_DIRNAME/../.."
	dir=$(mktemp -d /tmp/msbw.XXXXXX)
	export dir MSB_MNT=$dir/m MSB_STATE=$dir/s
	mkdir "$MSB_MNT" "$dir/share"
	[ -f build/images/debian/index.json ] || tools/mkimage debian build/images/debian
	# 10,000 files, 5,000 bytes each on average, in 100 directories; modes, times and names that differ
	python3 - "$dir/share/work.tar" <<-'PY'
		import io, random, sys, tarfile
		random.seed(7)
		with tarfile.open(sys.argv[1], "w", format=tarfile.PAX_FORMAT) as t:
		    i = tarfile.TarInfo("work"); i.type = tarfile.DIRTYPE; i.mode = 0o755; i.mtime = 1600000000
		    t.addfile(i)
		    for d in range(100):
		        i = tarfile.TarInfo(f"work/d{d:02}"); i.type = tarfile.DIRTYPE; i.mode = 0o755; i.mtime = 1600000000 + d
		        t.addfile(i)
		        for f in range(100):
		            body = random.randbytes(random.randrange(0, 10000))
		            i = tarfile.TarInfo(f"work/d{d:02}/{'ü' if f % 10 == 0 else 'n'}{f:03}"); i.size = len(body)
		            i.mode = random.choice([0o644, 0o600, 0o755, 0o4755, 0o444]); i.mtime = 1500000000 + random.randrange(10**8)
		            i.uid = random.choice([0, 1000, 33]); i.gid = i.uid
		            t.addfile(i, io.BytesIO(body))
		        i = tarfile.TarInfo(f"work/d{d:02}/sym"); i.type = tarfile.SYMTYPE; i.linkname = "n001"; t.addfile(i)
		        i = tarfile.TarInfo(f"work/d{d:02}/hard"); i.type = tarfile.LNKTYPE; i.linkname = f"work/d{d:02}/n002"; t.addfile(i)
	PY
	cat >"$dir/share/work.sh" <<-'SH'
		set -eu
		export LC_ALL=C TZ=UTC
		tar xpf "$1"
		# a directory's size is the file system's own business
		list() {
			find work -printf '%p %y %m %U %G %n %l %Ts\n' | sort
			find work -type f -printf '%p %s\n' | sort
			find work -type f -print0 | sort -z | xargs -0 sha256sum
		}
		list
		mv work/d00 work/d01/moved; mv work/d02/n001 work/d02/n003; ln work/d03/n001 work/d04/linked
		echo appended >> work/d05/n005; : > work/d05/n006; truncate -s 100000 work/d05/n007; chmod 0700 work/d06; chown 5:6 work/d06/n001
		cp -a work/d07 work/copy; rm -r work/d08; find work/d09 -name 'n*' -delete
		find work -newermt 2026-01-01 -type f -exec touch -d @1700000000 {} +
		find work -type d -exec touch -d @1700000000 {} +
		list
		rm -rf work; ls -A
	SH
	build/bin/msbd
	echo "import $PWD/build/images/debian debian" >"$MSB_MNT/images/ctl"
	mkdir "$MSB_MNT/w"
	echo debian >"$MSB_MNT/w/image"
	echo 512M >"$MSB_MNT/w/memory_bytes"
	echo "$dir/share /share passthrough ro" >"$MSB_MNT/w/mounts"
	echo start >"$MSB_MNT/w/ctl"
}

teardown_file() {
	build/bin/msbd --stop --all >/dev/null 2>&1 || true
	umount "$dir/ext4" 2>/dev/null || true
	rm -rf "$dir"
}

# local_ext4: a fresh ext4 in a loop device, or the disk under /tmp where it is ext4 already
local_ext4() {
	mkdir -p "$dir/ext4"
	if [ "$(stat -f -c %T /tmp)" = ext2/ext3 ]; then
		return
	fi
	truncate -s 512M "$dir/img"
	mkfs.ext4 -q "$dir/img"
	mount -o loop "$dir/img" "$dir/ext4" || skip "needs ext4 under /tmp, or a loop device"
	rmdir "$dir/ext4/lost+found"
}

@test "tar, find, sha256sum, rename, link, delete: the same as on ext4" {
	[ "$(id -u)" = 0 ] || skip "ownership on the local file system needs root"
	local_ext4
	(cd "$dir/ext4" && sh "$dir/share/work.sh" "$dir/share/work.tar") >"$dir/local.txt"
	exec {fd}<>"$MSB_MNT/w/exec"
	echo 'mkdir -p /srv/x && cd /srv/x && sh /share/work.sh /share/work.tar' >&"$fd"
	cat <&"$fd" >"$dir/guest.txt"
	exec {fd}>&-
	[ "$(wc -l <"$dir/local.txt")" -gt 40000 ]
	diff "$dir/local.txt" "$dir/guest.txt" | head -n 20
	cmp "$dir/local.txt" "$dir/guest.txt"
}

@test "what the guest wrote is what the host reads, and is there after a stop" {
	echo 'mkdir -p /srv/y && cd /srv/y && tar xpf /share/work.tar && cd / && find /srv/y -type f -print0 | sort -z | xargs -0 sha256sum > /srv/sums' >"$MSB_MNT/w/exec"
	sed "s,  /,  $MSB_MNT/w/root/,;s,^\\\\,," "$MSB_MNT/w/root/srv/sums" >"$dir/sums"
	sha256sum --quiet -c "$dir/sums"
	echo stop >"$MSB_MNT/w/ctl"
	sha256sum --quiet -c "$dir/sums"
	echo start >"$MSB_MNT/w/ctl"
	echo 'cd / && sha256sum --quiet -c /srv/sums' >"$MSB_MNT/w/exec"
}
