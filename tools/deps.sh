#!/bin/sh
# Installs what the tests need besides Go, if it is missing: clang and the
# headers for the C that the built-in compiler is compared with, tcpdump and
# tshark, which judge how packets are shown and saved, mandoc and systemd, which judge the manual pages
# and the unit, tmux, the terminal of repacket top, and ssh with its server, by which the tests come to a
# namespace; the server is not started for the machine. With the word bench, it installs the
# programs that bench measures with, too.
set -eu
PATH=$PATH:/usr/sbin:/sbin # nft and tcpdump may be there, which only root looks into
missing=
command -v clang >/dev/null || missing="$missing clang"
[ -e /usr/include/bpf/bpf_helpers.h ] || missing="$missing libbpf-dev"
[ -e /usr/include/linux/bpf.h ] || missing="$missing linux-libc-dev"
command -v tcpdump >/dev/null || missing="$missing tcpdump"
command -v tshark >/dev/null && command -v capinfos >/dev/null || missing="$missing tshark"
command -v mandoc >/dev/null || missing="$missing mandoc"
command -v tmux >/dev/null || missing="$missing tmux"
command -v systemd-analyze >/dev/null || missing="$missing systemd"
command -v ssh >/dev/null || missing="$missing openssh-client"
server=
command -v sshd >/dev/null || server=openssh-server
if [ "${1-}" = bench ]; then
	command -v iperf3 >/dev/null || missing="$missing iperf3"
	command -v nft >/dev/null || missing="$missing nftables"
fi
[ -z "$missing$server" ] && exit 0
if ! command -v apt-get >/dev/null; then
	echo "not installed, and there is no apt-get: install$missing $server" >&2
	exit 1
fi
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -qq
# shellcheck disable=SC2086 # a list of names
[ -z "$missing" ] || $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
[ -n "$server" ] || exit 0
# Nobody has asked for a server that others reach: it is neither started nor enabled.
policy=/usr/sbin/policy-rc.d
[ -e $policy ] || {
	printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
	$sudo chmod 755 $policy
	trap '$sudo rm -f $policy' EXIT
}
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $server
! command -v systemctl >/dev/null || $sudo systemctl disable -q ssh.service ssh.socket 2>/dev/null || true
