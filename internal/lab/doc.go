// Package lab makes throw-away networks for the demo, the end-to-end tests and
// the benchmarks: network namespaces without a name, joined by veth pairs, and
// raw frames in and out of their interfaces.
//
//   - Networks: NewPair, NewRouter, Connect; OpenTun, AddBridge, AddMacvlan,
//     AddVXLAN. SetFeatures turns offloads on and off.
//   - Packets in every state that the kernel knows: Port.Send as they are;
//     Port.SendOffloaded and Tun.WriteOffloaded with an open checksum or as a
//     super-packet (see Partial); out of a tunnel with the whole sum known
//     (AddVXLAN); behind GRO known to be right; with a tag beside them
//     (PushVLAN).
//   - Eyes: Port.Receive for bytes; Capture with what stands beside them, where
//     tcpdump stands; Skbs for what tc sees.
//   - Stream for whole streams, verified; Counters for what the kernel found
//     wrong.
//
// Nothing that it makes has a name outside the process: the kernel removes all
// of it when the process ends, kill -9 included. Linux only; it needs the
// capabilities SYS_ADMIN (namespaces), NET_ADMIN (interfaces) and NET_RAW
// (frames).
package lab
