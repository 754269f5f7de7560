#!/bin/sh
# Installs what the tests need besides Go, if it is missing: clang and the
# headers for the C that the built-in compiler is compared with, tcpdump and
# tshark, which judge how packets are shown and saved. With the word bench, it installs the
# programs that bench measures with, too.
set -eu
PATH=$PATH:/usr/sbin:/sbin # nft and tcpdump may be there, which only root looks into
missing=
command -v clang >/dev/null || missing="$missing clang"
[ -e /usr/include/bpf/bpf_helpers.h ] || missing="$missing libbpf-dev"
[ -e /usr/include/linux/bpf.h ] || missing="$missing linux-libc-dev"
command -v tcpdump >/dev/null || missing="$missing tcpdump"
command -v tshark >/dev/null && command -v capinfos >/dev/null || missing="$missing tshark"
if [ "${1-}" = bench ]; then
	command -v iperf3 >/dev/null || missing="$missing iperf3"
	command -v nft >/dev/null || missing="$missing nftables"
fi
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null; then
	echo "not installed, and there is no apt-get: install$missing" >&2
	exit 1
fi
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -qq
# shellcheck disable=SC2086 # a list of names
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
