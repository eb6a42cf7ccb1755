# SPDX-License-Identifier: Apache-2.0
# Idmapped mounts of the root, in a real guest: whose files are whose, and what is refused.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
	sandbox box
	cp "$repo/build/e2e/idmap" "$m/box/root/bin/idmap"
	echo start >"$m/box/ctl"
	guest box 'mkdir -p /srv/data /mnt/x; chmod 0777 /srv/data; echo text >/srv/data/f; chown -R 1000:1000 /srv/data; '
	guest box 'idmap mount 1000 3000 2 /srv/data /mnt/x 2>&1' >"$dir/mounted"
}

teardown_file() {
	msb_teardown
}

teardown() {
	if [ -z "$BATS_TEST_COMPLETED" ]; then
		cat "$dir/mounted"
		tail -n 5 "$m/box/console"
	fi
}

# owner PATH: in the guest, and what the host sees of it
owner() { guest box "stat -c %u:%g $1"; }

@test "owners are mapped there and back, for the host as for the guest" {
	[ ! -s "$dir/mounted" ]
	[ "$(owner /srv/data/f)" = 1000:1000 ]
	[ "$(owner /mnt/x/f)" = 3000:3000 ]
	guest box 'chmod 0600 /mnt/x/f'
	[ "$(guest box 'idmap as 3000 cat /mnt/x/f')" = text ]
	[[ "$(guest box 'idmap as 3000 cat /srv/data/f 2>&1')" == *"Permission denied"* ]]
	guest box 'cd /mnt/x; idmap as 3000 sh -c "mkdir d; touch new; ln -s f l; mknod p p; ln new hard"; idmap as 3001 touch other; chown 3001:3000 d'
	for f in new l p hard; do
		[ "$(owner /mnt/x/$f)" = 3000:3000 ]
		[ "$(owner /srv/data/$f)" = 1000:1000 ]
		[ "$(stat -c %u:%g "$m/box/root/srv/data/$f")" = 1000:1000 ]
	done
	[ "$(owner /srv/data/other)" = 1001:1001 ]
	[ "$(owner /srv/data/d)" = 1001:1000 ]
}

@test "who has no number there makes nothing and is given nothing" {
	run guest box 'idmap as 5000 touch /mnt/x/stranger 2>&1'
	[[ $output == *"Value too large"* ]]
	run guest box 'touch /mnt/x/roots 2>&1'
	[[ $output == *"Value too large"* ]]
	run guest box 'chown 7:7 /mnt/x/f 2>&1'
	[[ $output == *chown* ]]
	[ "$(guest box 'ls /srv/data | grep -c -e stranger -e roots')" = 0 ]
	[ "$(owner /srv/data/f)" = 1000:1000 ]
}

@test "a container's root owns its volume" {
	run guest box 'cd /mnt/x; idmap ns 3000 2 sh -c "id -u; echo more >>f; touch mine; stat -c %u:%g mine f; chown 1:1 mine; cat f"'
	[ "$output" = "$(printf '0\n0:0\n0:0\ntext\nmore')" ]
	[ "$(owner /srv/data/mine)" = 1001:1001 ]
}

@test "set-id bits go with a stranger's write, and stay with root's" {
	guest box 'chmod 6777 /srv/data/f; echo a >>/mnt/x/f'
	[ "$(guest box 'stat -c %a /mnt/x/f')" = 6777 ]
	guest box 'idmap as 5000 sh -c "echo b >>/mnt/x/f"'
	[ "$(guest box 'stat -c %a /mnt/x/f')" = 777 ]
}

@test "where it is audited who asks, mounts are not idmapped" {
	sandbox told root_options=audit
	cp "$repo/build/e2e/idmap" "$m/told/root/bin/idmap"
	echo start >"$m/told/ctl"
	run guest told 'mkdir -m 0777 -p /srv/w; touch /srv/w/f; idmap mount 0 3000 2 /srv/w /mnt 2>&1'
	[[ $output == *"mount_setattr: Invalid argument"* ]]
	guest told 'idmap as 1234 rm -f /srv/w/f'
	until_is 10 1 grep -c '"uid":1234,"gid":1234,"op":"unlink","path":"/srv/w/f"' "$m/told/audit"
	[ "$(grep -c '"uid":null' "$m/told/audit")" = 0 ]
	echo kill >"$m/told/ctl"
	rmdir "$m/told"
}
