# SPDX-License-Identifier: Apache-2.0
# POSIX ACLs in a guest: minded by its kernel, the host's own in a passthrough, inherited, refused where not asked for.

load helper

setup_file() {
	[ "$(id -u)" = 0 ] || return 0
	msb_setup
	mkdir "$dir/share" "$dir/plain"
	chmod 0755 "$dir/share" "$dir/plain"
	"$bin/msbd"
	msb_image
	sandbox dev root_options=acl user=1000:1000
	printf '%s /share passthrough acl,map=none\nnone /mem memory acl\n%s /plain passthrough map=none\n' \
		"$dir/share" "$dir/plain" >"$m/dev/mounts"
	echo start >"$m/dev/ctl"
}

setup() {
	[ "$(id -u)" = 0 ] || skip "acts as other users: needs root"
}

teardown_file() {
	[ "$(id -u)" = 0 ] || return 0
	msb_teardown
}

# lets GUEST-COMMAND: whether user 1000 of the guest may
lets() {
	[ "$(guest dev "( $1 ) >/dev/null 2>&1 && echo may || echo may not")" = may ]
}

@test "a guest's kernel minds the ACLs of a share, and of its root" {
	for at in "$dir/share" "$m/dev/root/srv"; do
		mkdir -p "$at"
		for f in open named masked others; do
			echo "$f" >"$at/$f"
			chmod 0640 "$at/$f"
		done
		setfacl -m u:1000:r "$at/named"
		setfacl -m u:1000:r,m::- "$at/masked"
		chmod 0644 "$at/others"
		setfacl -m u:1000:- "$at/others" # less than others have
	done
	for at in /share /srv; do
		lets "cat $at/named"
		if lets "cat $at/open"; then false; fi
		if lets "cat $at/others"; then false; fi
		if lets "echo x >>$at/named"; then false; fi
		if lets "cat $at/masked"; then false; fi
		lets "ls -l $at/masked"
	done
	# Within a second what the host changes counts.
	setfacl -x u:1000 "$dir/share/named"
	setfacl -m u:1000:rw "$dir/share/open"
	ends=$((SECONDS + 70))
	until ! lets "cat /share/named" && lets "echo more >>/share/open"; do
		[ $SECONDS -lt $ends ]
	done
	grep -qx more "$dir/share/open"
}

@test "what a guest makes inherits, in each mount that has ACLs" {
	setfacl -m u:1000:rwx,d:u:1000:rw,d:g:50:r,d:o:- "$dir/share" "$m/dev/root/srv"
	guest dev "umask 077; for d in /share /srv; do echo x >\$d/heir; mkdir \$d/sub; echo x >\$d/sub/heir; done"
	for at in "$dir/share" "$m/dev/root/srv"; do
		for f in heir sub/heir; do
			[ "$(stat -c '%a %u' "$at/$f")" = "660 1000" ]
			getfacl -cEn "$at/$f" | diff - <(printf '%s\n' user::rw- user:1000:rw- group::r-x group:50:r-- mask::rw- other::--- '')
		done
		getfacl -dcn "$at/sub" | grep -qx 'user:1000:rw-'
	done
}

@test "they last: over a stop, in the sandbox's own files and a share" {
	before=$(cd "$m/dev/root" && getfacl -Rn srv)
	grep -q '^user:1000:' <<<"$before"
	echo stop >"$m/dev/ctl"
	echo start >"$m/dev/ctl"
	[ "$(cd "$m/dev/root" && getfacl -Rn srv)" = "$before" ]
	lets "cat /srv/named"
	if lets "cat /srv/open"; then false; fi
}

@test "a mount that does not ask for them has none" {
	echo x >"$dir/plain/f"
	chmod 0600 "$dir/plain/f"
	setfacl -m u:1000:r "$dir/plain/f"
	chmod 0640 "$dir/plain/f"
	if lets "cat /plain/f"; then false; fi # by its mode alone
	chmod 0644 "$dir/plain/f"
	until_is 5 may guest dev "cat /plain/f >/dev/null 2>&1 && echo may || echo may not"
}

@test "they cannot come into a machine that minds none of its mounts" {
	echo stop >"$m/dev/ctl"
	: >"$m/dev/root_options"
	echo >"$m/dev/root_options"
	echo "$dir/plain /plain passthrough map=none" >"$m/dev/mounts"
	echo start >"$m/dev/ctl"
	guest dev "ls /plain" >/dev/null
	run sh -c "echo 'none /mem memory acl' >>$m/dev/mounts"
	[ "$status" != 0 ]
	grep -q "checks no ACLs on them" "$m/dev/error"
	run getfattr -n system.posix_acl_access "$m/dev/root/srv/named"
	[[ $output == *"not supported"* ]]
	[ "$(stat -c %a "$m/dev/root/srv/named")" = 640 ]
	echo >"$m/dev/mounts"
	echo 'none /mem memory acl' >"$m/dev/mounts" # once the others are let go of
}
