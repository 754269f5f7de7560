package plan

import (
	"repacket/internal/field"
	"repacket/internal/rule"
)

// Flow is what packets of a flow have in common: the addresses in the IP header L3, the
// protocol, and the ports in the layer-4 header L4. Without L4, and in fragments, there
// are no ports, and the protocol is the number in the IP header.
type Flow struct{ L3, L4 field.Protocol }

// TrackedFlow is what packets of a flow have in common: the addresses in the IP header L3, the
// protocol, the VLAN identifiers, and the ports or the echo identifier in the layer-4 header L4 or,
// without it, the number in the IP header. Where the headers are quoted it is the packet that an
// ICMP error quotes. How many tags there are is not told apart by classes: back ends look.
type TrackedFlow struct {
	L3, L4 field.Protocol
	// Reply: the packet that is quoted answers the flow as it arrived, before a rule rewrote it.
	// So the table is asked for that, and for what the flow became.
	Reply bool
}

// Addresses is where the source and behind it the destination are: 8 or 32 bytes, and
// so no single load.
func (f Flow) Addresses() Window {
	src, dest := rule.Swap{Proto: f.L3}.Fields()
	return Window{Header: f.L3, Off: src.Byte(), Size: src.Size() + dest.Size()}
}
