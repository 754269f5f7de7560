// Package pseudoheader has packets of protocols whose checksum covers addresses, as they
// arrive and as they leave a rule. What leaves was computed apart from Repacket.
package pseudoheader

import (
	"encoding/hex"
	"fmt"
)

// Case is a rule, and a packet before and behind it, as Ethernet frames in hex. An
// empty Out is a packet that stays as it is.
type Case struct{ Name, Rule, In, Out string }

// Frames are the packet as it arrives and as it leaves.
func (c Case) Frames() (in, out []byte) {
	in = decode(c.In)
	if out = in; c.Out != "" {
		out = decode(c.Out)
	}
	return in, out
}

func decode(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		panic(fmt.Sprintf("%v in %s", err, text))
	}
	return b
}

// Cases are the packets.
var Cases = []Case{
	{
		"BIG TCP over IPv6 without the option for jumbograms", "if ip6_dest 2001:db8::5 then ip6_dest 2001:db8::6",
		"02000000000202000000000186dd600000000000064020010db800000000000000000000000120010db8000000000000000000000005040101bb00000000000000005010200069d6000061626364",
		"02000000000202000000000186dd600000000000064020010db800000000000000000000000120010db8000000000000000000000006040101bb00000000000000005010200069d5000061626364",
	},
	{
		"a port of it", "if tcp_dest 443 then tcp_dest 8443",
		"02000000000202000000000186dd600000000000064020010db800000000000000000000000120010db8000000000000000000000005040101bb00000000000000005010200069d6000061626364",
		"02000000000202000000000186dd600000000000064020010db800000000000000000000000120010db8000000000000000000000005040120fb0000000000000000501020004a96000061626364",
	},
}
