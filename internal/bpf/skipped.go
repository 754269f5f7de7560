package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/rule"
)

// Reason says why a packet on which a rule should have acted was skipped. Such
// packets are counted behind the rules: the entry of a reason is the
// number of rules as written plus the reason.
type Reason int

// The reasons.
const (
	// ReasonSegments: the rule sets fields that shape segmentation, and the packet
	// is a GSO packet, which is segmented later.
	ReasonSegments Reason = iota
	// ReasonPartial: the rule sets a checksum of layer 4 to a value or makes it right,
	// and that of the packet is offloaded (CHECKSUM_PARTIAL).
	ReasonPartial
	// ReasonHeaders: the headers could not be brought into one buffer, for want of
	// memory. No packet provokes that; a test makes the program ask for too much.
	ReasonHeaders
	// ReasonTag: the rule sets the type of a VLAN tag to one that the kernel does
	// not offload.
	ReasonTag
	// ReasonLimit: the packet stands for more than the limit has left.
	ReasonLimit
	// ReasonCollision: behind the rule the packet would look like another flow's, of another
	// client, which is tracked.
	ReasonCollision
	// ReasonBusy: the place of its flow in the table was being written to.
	ReasonBusy
	// ReasonTorn: the flow that it answers was changing while it was looked up.
	ReasonTorn
	// ReasonCount is how many there are.
	ReasonCount = iota
)

// skip is where packets go that are skipped for a reason.
func (c *code) skip(why Reason) assembler.Label {
	l, ok := c.skips[why]
	if !ok {
		l = c.NewLabel()
		c.skips[why] = l
		c.later(func() {
			c.frame.Phase = counting
			c.Bind(l)
			c.About("skipped")
			c.Emit(asm.StoreImm(asm.R10, c.frameOffset(slotRule), int64(c.opt.Rules)+int64(why), asm.Word))
			if c.use.verdicts {
				c.Emit(asm.StoreImm(asm.R10, c.frameOffset(slotVerdict), int64(c.abi.verdicts[rule.Pass]), asm.Word))
			}
			c.Goto(c.count)
		})
	}
	return l
}
