package run

import "net/netip"

// Traffic is what is known, without looking into packets, of the interface of a run: why
// rules may have matched nothing.
type Traffic struct {
	Interface string // as it is called by now
	Up        bool
	Carrier   bool // the link is there
	// Seen is how many packets the interface has counted in the direction of the rules
	// since they were attached, and Other in the other direction.
	Seen, Other uint64
	// Bridge: the interface is a bridge; Ports are its ports.
	Bridge bool
	Ports  []string
	// Unresolved, for packets that leave: the next hops whose MAC addresses neither ARP nor
	// neighbor discovery has found out, so that packets to them do not leave.
	Unresolved []netip.Addr
	// Filters: it may accept no packets for MAC addresses other than its own, because it is
	// hardware and not in promiscuous mode.
	Filters bool
}
