#!/bin/sh
# Installs what the tests need besides Go, if it is missing: clang and the
# headers for the C that the built-in compiler is compared with.
set -eu
missing=
command -v clang >/dev/null || missing="$missing clang"
[ -e /usr/include/bpf/bpf_helpers.h ] || missing="$missing libbpf-dev"
[ -e /usr/include/linux/bpf.h ] || missing="$missing linux-libc-dev"
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null; then
	echo "the tests need clang and the headers of libbpf: install$missing" >&2
	exit 1
fi
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -qq
# shellcheck disable=SC2086 # a list of names
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing
