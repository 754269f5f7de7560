package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/rule"
)

// Hook is where a program runs: that says what its context is and how it may
// change a packet.
type Hook uint8

// The hooks.
const (
	XDP Hook = iota // struct xdp_md
	TC              // struct __sk_buff, at tcx or in a classifier
)

// site is what differs between the hooks, as linux/bpf.h has it.
type site struct {
	// data and end are where the context has the packet's ends.
	data, end int16
	// loadBytes copies bytes of the packet, in whichever buffer they are.
	loadBytes asm.BuiltinFunc
	section   string
	verdicts  map[rule.Verdict]int32
}

var sites = map[Hook]site{
	XDP: {
		data: 0, end: 4, loadBytes: asm.FnXdpLoadBytes, section: "xdp",
		// XDP_PASS, XDP_DROP, XDP_TX, XDP_REDIRECT
		verdicts: map[rule.Verdict]int32{rule.Pass: 2, rule.Drop: 1, rule.Reflect: 3, rule.ToInterface: 4},
	},
	TC: {
		data: 76, end: 80, loadBytes: asm.FnSkbLoadBytes, section: "tc",
		// TCX_NEXT (which is TC_ACT_UNSPEC), so that programs behind run too;
		// TC_ACT_SHOT; TC_ACT_REDIRECT for both others.
		verdicts: map[rule.Verdict]int32{rule.Pass: -1, rule.Drop: 2, rule.Reflect: 7, rule.ToInterface: 7},
	},
}

func (h Hook) site() site { return sites[h] }

// Verdict is what a program returns for a verdict.
func (h Hook) Verdict(v rule.Verdict) uint32 { return uint32(h.site().verdicts[v]) }

// Places in struct __sk_buff.
const (
	skbLength   = 0
	skbTagged   = 20 // vlan_present
	skbTag      = 24 // vlan_tci, in the host's order
	skbTagType  = 28 // vlan_proto, in network order
	skbIfindex  = 40
	skbSegments = 164 // gso_segs
	skbSegment  = 176 // gso_size
)
