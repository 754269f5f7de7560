// Package testnet makes throw-away networks and traffic for the end-to-end tests
// and the benchmarks, beyond the namespaces and veth pairs of internal/lab.
//
//   - Networks: NewPair, NewRouter, Connect; OpenTun, AddBridge, AddMacvlan,
//     AddVXLAN. SetFeatures turns offloads on and off.
//   - Packets in every state that the kernel knows: Port.Send as they are;
//     Port.SendOffloaded and Tun.WriteOffloaded with an offloaded checksum or as a
//     GSO packet (see Partial); out of a tunnel with the whole sum known
//     (AddVXLAN); behind GRO known to be right; with an offloaded VLAN tag
//     (PushVLAN).
//   - Eyes: Port.Receive for bytes; Capture with their metadata, where
//     tcpdump stands; Skbs for what tc sees.
//   - Stream for whole streams, verified; Counters for what the kernel found
//     wrong.
//
// Nothing that it makes has a name outside the process: the kernel removes all
// of it when the process ends, kill -9 included. Linux only; it needs the
// capabilities SYS_ADMIN (namespaces), NET_ADMIN (interfaces) and NET_RAW
// (frames).
package testnet
