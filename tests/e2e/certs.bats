# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # helper.bash sets them
# Authorities of one's own, where docker and containers have them: /etc is another one in a mount namespace of the
# test, so the machine's is not touched.

bats_require_minimum_version 1.5.0

setup_file() {
	load helper
	msb_setup
	# shellcheck source=tests/registry/registry.bash
	source "$repo/tests/registry/registry.bash"
	registry_ca "$dir/r"
	registry_docker "$dir/r" --tls
	export reg=localhost:$REGISTRY_PORT reg_pid=$REGISTRY_PID
	mkdir "$dir/certs"
	cp "$dir/r/ca.pem" "$dir/certs/ca.crt"
	skopeo --insecure-policy copy -q --dest-cert-dir "$dir/certs" "oci:$repo/build/images/busybox" "docker://$reg/bb:1"
}

teardown_file() {
	load helper
	kill "$reg_pid" || true
	msb_teardown
}

setup() {
	load helper
}

# with_etc COMMAND: bash runs it where /etc can be written to, with an msbd of its own
with_etc() {
	mkdir -p "$dir/upper" "$dir/work"
	# shellcheck disable=SC2016 # for the inner shell
	unshare -m --propagation private bash -euc '
		mount -t overlay overlay -o "lowerdir=/etc,upperdir=$dir/upper,workdir=$dir/work" /etc
		"$bin/msbd"
		trap "\"$bin/msbd\" --stop --all" EXIT
		ctl=$m/images/ctl
		pull() { bash -c "echo \"pull $reg/bb:1\" >$ctl"; }
		eval "$1"' bash "$1"
}

@test "/etc/docker/certs.d, /etc/containers/certs.d, and not another registry's" {
	[ "$(id -u)" = 0 ] || skip "a mount namespace takes root"
	# shellcheck disable=SC2016
	run -0 with_etc '
		if pull; then echo "taken without the authority"; exit 1; fi
		cat "$m/error"
		grep -q "certificate" "$m/error"
		for d in /etc/docker/certs.d /etc/containers/certs.d; do
			mkdir -p "$d/$reg" "$d/localhost:1"
			cp "$dir/r/ca.pem" "$d/localhost:1/ca.crt"
			if pull; then echo "$d: taken with the authority of another"; exit 1; fi
			cp "$dir/r/ca.pem" "$d/$reg/other-name.pem" # only *.crt are authorities
			if pull; then echo "$d: taken with what is none"; exit 1; fi
			cp "$dir/r/ca.pem" "$d/$reg/ca.crt"
			pull
			[ -x "$m/images/$reg/bb:1/rootfs/bin/busybox" ]
			echo "rm $reg/bb:1" >"$ctl"
			rm -r "$d/$reg"
			if pull; then echo "$d: still taken"; exit 1; fi
		done'
}

@test "a directory of one's own: ~/.docker and ~/.config/containers" {
	export HOME=$dir/home
	local d
	"$bin/msbd"
	for d in .docker .config/containers; do
		run -1 bash -c "echo 'pull $reg/bb:1' >'$m/images/ctl'"
		mkdir -p "$HOME/$d/certs.d/$reg"
		cp "$dir/r/ca.pem" "$HOME/$d/certs.d/$reg/ca.crt"
		echo "pull $reg/bb:1" >"$m/images/ctl"
		echo "rm $reg/bb:1" >"$m/images/ctl"
		rm -r "${HOME:?}/$d"
	done
}
