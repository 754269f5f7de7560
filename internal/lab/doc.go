// Package lab makes throw-away networks: network namespaces without a name, joined
// by veth pairs, and raw frames in and out of their interfaces. It holds what the
// demo needs; test/testnet builds on it.
//
// Nothing that it makes has a name outside the process: the kernel removes all
// of it when the process ends, kill -9 included. Linux only; it needs the
// capabilities SYS_ADMIN (namespaces), NET_ADMIN (interfaces) and NET_RAW
// (frames).
package lab
