package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/plan"
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

// abi are facts about a hook, as linux/bpf.h has them.
type abi struct {
	// data and end are where the context has the packet's ends.
	data, end int16
	// loadBytes copies bytes of the packet, in whichever buffer they are.
	loadBytes asm.BuiltinFunc
	section   string
	verdicts  map[rule.Verdict]int32
	// ones is what slotZero has where a checksum of 0 is sent as 0xffff.
	ones int64
	// calls: helpers are called before the last store, whatever the rules are.
	calls bool
}

var abis = map[Hook]abi{
	XDP: {
		data: 0, end: 4, loadBytes: asm.FnXdpLoadBytes, section: "xdp", ones: 0xffff,
		// XDP_PASS, XDP_DROP, XDP_TX, XDP_REDIRECT
		verdicts: map[rule.Verdict]int32{rule.Pass: 2, rule.Drop: 1, rule.Reflect: 3, rule.ToInterface: 4},
	},
	TC: {
		data: 76, end: 80, loadBytes: asm.FnSkbLoadBytes, section: "tc", ones: onesForZero, calls: true,
		// TCX_NEXT (which is TC_ACT_UNSPEC), so that programs behind run too;
		// TC_ACT_SHOT; TC_ACT_REDIRECT for both others.
		verdicts: map[rule.Verdict]int32{rule.Pass: -1, rule.Drop: 2, rule.Reflect: 7, rule.ToInterface: 7},
	},
}

// redirects reports whether a helper has to send the packet.
func (s abi) redirects(v rule.Verdict) bool { return s.verdicts[v] == s.verdicts[rule.ToInterface] }

// Verdict is what a program returns for a verdict.
func (h Hook) Verdict(v rule.Verdict) uint32 { return uint32(abis[h].verdicts[v]) }

// emitter emits what differs between the hooks.
type emitter interface {
	// linearize brings the headers into one buffer. The packet's ends are loaded.
	linearize()
	// offloadedTag parses packets whose first VLAN tag is not in their bytes.
	offloadedTag(p *parser)
	// thirdTag goes to other where a tag behind so many in the bytes is the third.
	thirdTag(tags int, other assembler.Label)
	// begin is what comes first in a chain.
	begin()
	// countAhead leaves on the stack how many packets the packet stands for, in a chain in which
	// that is counted of packets on which no rule acts.
	countAhead()
	// act does what a step says, counts the packet and ends the program.
	act(s plan.Step)
	// reflect leaves on the stack where a reflected packet goes, if a helper sends it.
	reflect()
	// length leaves in value how long the packet is, in all buffers.
	length()
	// measure leaves in packetLength the length that is counted, and returns what
	// adds to R1 for how many packets the packet counts.
	measure() asm.Instruction
}

func emitterFor(c *code) emitter {
	if c.opt.Hook == TC {
		return &tc{c}
	}
	return xdp{c}
}
