// Package rulegen writes random programs in the language for comparing its
// implementations with each other, and makes a failing case small. Its
// counterpart for the product, which runs synthetic packets through a program
// before it is attached, is internal/packetgen.
//
// All of it is deterministic: the same random source gives the same programs.
package rulegen

import "repacket/internal/field"

var (
	transportProtocols = []field.Protocol{field.TCP, field.UDP, field.ICMP, field.ICMP6}
	// etherTypeFields hold the type of what follows, by the number of tags before.
	etherTypeFields = []*field.Field{field.MustByName("eth_type"), field.MustByName("vlan_type"), field.MustByName("cvlan_type")}
)

// ethernetHeader is the length in bytes of the shortest frame.
const ethernetHeader = 14
