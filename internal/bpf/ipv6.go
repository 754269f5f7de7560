package bpf

import (
	"slices"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// Of IPv6 (RFC 8200), in bytes: the header's length and places in it, from
// where Ethernet would begin.
const (
	ip6Len      = 40
	payloadAt   = ethLen + 4
	nextAt      = ethLen + 6
	hopByHop    = 0
	routing     = 43
	fragmentID  = 44
	destination = 60
	// unit is that of an extension header's length, and the shortest one.
	unit = 8
	// maxExtensions is how many extension headers are stepped over.
	maxExtensions = 8
	// jumboOption begins the hop-by-hop header of a jumbogram: option 0xc2 of
	// 4 bytes (RFC 2675).
	jumboOption = 0xc204
)

// What has been seen among the extension headers, as bits of slotSeen.
const (
	seenRouting = 0x00ff // segments left in a routing header
	seenMore    = 0x0100 // a fragment that others follow: its flag as it lies in memory
)

// ip6 finds the layer-4 header of an IPv6 packet and sends it to its chain. The
// type says that it is one; the header is there if its 40 bytes are.
func (c *compiler) ip6(n *plan.Network, other label) {
	if n == nil {
		c.goTo(other)
		return
	}
	c.about("ip6 header")
	c.guard(c.reg.l3, ethLen+ip6Len, other)
	if len(n.L4) == 0 {
		c.enter(n.Bare)
		return
	}
	bare, walk := c.entry(n.Bare), c.newLabel()
	c.about("ip6 version")
	c.emit(asm.LoadMem(value, c.reg.l3, ethLen, asm.Byte), asm.And.Imm(value, 0xf0))
	c.jumpTo(bare, asm.JNE.Imm(value, 0x60, ""))
	c.about("payload length")
	c.emit(
		asm.Mov.Reg(c.reg.l4, c.reg.l3),
		asm.Add.Imm(c.reg.l4, ip6Len-ipLen),
		asm.LoadMem(temp, c.reg.l3, payloadAt, asm.Half),
		asm.HostTo(asm.BE, temp, asm.Half),
	)
	if c.use.sums {
		c.emit(asm.StoreMem(asm.R10, slotLeft, temp, asm.DWord))
	}
	if c.use.sums || c.use.flows {
		c.emit(storeLong(slotSeen, 0))
	}
	c.about("next header")
	c.emit(asm.Add.Imm(temp, ipLen-1), asm.LoadMem(value, c.reg.l3, nextAt, asm.Byte))
	entries := c.nextHeaders(n)
	for _, id := range []int32{hopByHop, routing, fragmentID, destination} {
		c.jumpTo(walk, asm.JEq.Imm(value, id, ""))
	}
	c.goTo(bare)
	c.transports(n, entries, bare, plan.Direct)
	c.bind(walk, false)
	c.walk(n, bare)
}

// nextHeaders goes by the next header in value to one of the entries.
func (c *compiler) nextHeaders(n *plan.Network) []label {
	entries := make([]label, len(n.L4))
	for i, t := range n.L4 {
		entries[i] = c.newLabel()
		c.jumpTo(entries[i], asm.JEq.Imm(value, int32(t.Proto.Header().Number), ""))
	}
	return entries
}

func (c *compiler) transports(n *plan.Network, entries []label, bare label, way plan.Way) {
	for i, t := range n.L4 {
		c.bind(entries[i], false)
		c.transport(t, 0, bare, way)
	}
}

// walk steps over extension headers, of which there is at least one. Hop-by-hop
// stands first or not at all.
//
// The verifier follows every way through every turn of the loop. So that these do
// not multiply, all ways through one turn must look alike to it at its end: what is
// compared is worked out from a value and is not the value (what was compared is
// known from then on), and what depends on the kind of a header is multiplied by
// 0 or 1 and not branched on. A turn is as short as can be, too: of all that a start
// takes, the verifier's time is most.
func (c *compiler) walk(n *plan.Network, bare label) {
	next, step, walked := temp, c.newLabel(), c.newLabel()
	c.anyTags()
	c.payload(n, bare)
	c.about("extension header")
	c.emit(asm.LoadMem(next, c.reg.l3, nextAt, asm.Byte), storeLong(slotSteps, 0)) // nothing is known of it
	c.bind(step, true)
	c.emit(asm.LoadMem(value, asm.R10, slotSteps, asm.DWord))
	c.jumpTo(bare, asm.JGE.Imm(value, maxExtensions, ""))
	c.emit(asm.Add.Imm(value, 1), asm.StoreMem(asm.R10, slotSteps, value, asm.DWord))
	c.extension(n, bare)
	c.emit(asm.Mov.Reg(value, next), asm.RSh.Imm(value, 6))
	c.jumpTo(walked, asm.JNE.Imm(value, 0, ""))
	c.emit(asm.LoadImm(value, notExtensions, asm.DWord), asm.RSh.Reg(value, next))
	c.jumpTo(walked, asm.JSet.Imm(value, 1, ""))
	c.goTo(step)
	c.bind(walked, false)
	c.walked(bare)
	c.transports(n, c.nextHeadersOr(n, bare), bare, plan.Extended)
}

// notExtensions has a bit for each next header below 64 that is no extension header
// behind another one.
const notExtensions = ^int64(1<<routing | 1<<fragmentID | 1<<destination)

// anyTags makes packets look the same to the verifier whatever tags have been
// stepped over, and whatever the next header is. It would follow the walk for each
// number of tags and kind of header otherwise, and take 6 ms for one rule instead
// of 2: of all that a start takes, most.
func (c *compiler) anyTags() {
	c.about("ip6 header")
	if len(c.plan.Levels) == 1 && c.plan.Link != field.RawIP {
		c.emit(
			asm.LoadMem(temp, c.reg.ctx, c.to.data, asm.Word),
			asm.Sub.Reg(c.reg.l3, temp),
			asm.And.Imm(c.reg.l3, maxTags*tagLen|tagLen), // a difference of pointers may be anything to it
			asm.Add.Reg(c.reg.l3, temp),
		)
		c.guard(c.reg.l3, ethLen+ip6Len, c.pass) // which the verifier has forgotten
		c.emit(asm.Mov.Reg(c.reg.l4, c.reg.l3), asm.Add.Imm(c.reg.l4, ip6Len-ipLen))
	}
	c.emit(asm.LoadMem(value, c.reg.l3, nextAt, asm.Byte))
}

func (c *compiler) nextHeadersOr(n *plan.Network, bare label) []label {
	entries := c.nextHeaders(n)
	c.goTo(bare)
	return entries
}

// payload leaves in slotLeft how many bytes follow the IPv6 header: its payload
// length, or of a jumbogram no less than there are. The next header is in value.
func (c *compiler) payload(n *plan.Network, bare label) {
	some := c.newLabel()
	c.about("payload length")
	c.emit(asm.LoadMem(temp, c.reg.l3, payloadAt, asm.Half), asm.HostTo(asm.BE, temp, asm.Half))
	c.jumpTo(some, asm.JNE.Imm(temp, 0, ""))
	c.about("jumbogram")
	c.jumpTo(bare, asm.JNE.Imm(value, hopByHop, ""))
	c.guard(c.reg.l4, l4Base+unit, bare)
	c.emit(asm.LoadMem(value, c.reg.l4, l4Base+2, asm.Half))
	c.jumpTo(bare, asm.JNE.Imm32(value, swapped(jumboOption, 2), ""))
	// The frame alone counts, and every header has a guard. To the verifier this is
	// any number, so it looks at all packets at once from here on.
	c.emit(asm.Mov.Reg(temp, c.reg.end), asm.Sub.Reg(temp, c.reg.l3))
	c.bind(some, false)
	c.emit(asm.StoreMem(asm.R10, slotLeft, temp, asm.DWord))
	if c.sees(n) {
		c.emit(storeLong(slotSeen, 0))
	}
}

// extension steps over the extension header at l4, of the kind in temp, and
// leaves the kind of the next one there. Whether it lies inside the payload is seen
// at the end: each takes something, so what is left then is less than nothing.
func (c *compiler) extension(n *plan.Network, bare label) {
	c.guard(c.reg.l4, l4Base+unit, bare)
	if c.sees(n) {
		c.emit(asm.StoreMem(asm.R10, slotNext, temp, asm.DWord))
	}
	c.is(fragmentID)
	c.emit(asm.LoadMem(value, c.reg.l4, l4Base+2, asm.Half), asm.Mul.Reg(value, temp))
	c.jumpTo(bare, asm.JSet.Imm32(value, swapped(0xfff8, 2), "")) // a later fragment
	if c.sees(n) {
		c.emit(asm.And.Imm(value, seenMore))
		c.see()
		c.emit(asm.LoadMem(temp, asm.R10, slotNext, asm.DWord))
		c.is(routing)
		c.emit(asm.LoadMem(value, c.reg.l4, l4Base+3, asm.Byte), asm.Mul.Reg(value, temp)) // segments left
		c.see()
		c.emit(asm.LoadMem(temp, asm.R10, slotNext, asm.DWord))
		c.is(fragmentID)
	}
	// A fragment header has 8 bytes; the others say how many, in units of 8
	// bytes of which the first is not counted (RFC 8200 section 4). The mask takes
	// nothing away; to the verifier it takes the least of 8 away, so that the places
	// behind the most headers are all those behind fewer, and are looked at alone.
	c.emit(
		asm.Xor.Imm(temp, 1),
		asm.LoadMem(value, c.reg.l4, l4Base+1, asm.Byte),
		asm.Mul.Reg(value, temp),
		asm.Add.Imm(value, 1),
		asm.LSh.Imm(value, 3),
		asm.And.Imm(value, 0xff8),
		asm.LoadMem(temp, c.reg.l4, l4Base, asm.Byte),
		asm.Add.Reg(c.reg.l4, value),
	)
}

// is turns temp into 1 if it is kind, else into 0.
func (c *compiler) is(kind int32) {
	c.emit(
		asm.Xor.Imm(temp, kind),
		asm.Add.Imm(temp, -1),
		asm.RSh.Imm(temp, 63), // the sign: of 0 less 1 alone
	)
}

// sees tells whether anybody asks what has been seen.
func (c *compiler) sees(n *plan.Network) bool {
	return c.use.sums || c.use.flows || slices.ContainsFunc(n.L4, func(t plan.Transport) bool {
		return t.Ways[plan.Extended] != t.Ways[plan.Routed]
	})
}

// see notes what is in value.
func (c *compiler) see() {
	c.emit(
		asm.LoadMem(temp, asm.R10, slotSeen, asm.DWord),
		asm.Or.Reg(temp, value),
		asm.StoreMem(asm.R10, slotSeen, temp, asm.DWord),
	)
}

// walked leaves the next header in value and in temp the length of what is
// left, as transport wants it. The verifier comes here with another range of l4
// for each number of extension headers, and would look at the chains each time;
// the difference of two pointers tells it nothing, so all these look the same.
func (c *compiler) walked(bare label) {
	c.about("next header")
	c.emit(
		asm.StoreMem(asm.R10, slotNext, temp, asm.DWord),
		asm.Mov.Reg(value, c.reg.l4),
		asm.Sub.Reg(value, c.reg.l3),
		asm.And.Imm(value, 0x7fff), // 20 and 8 headers of 2048 bytes at most
		asm.Mov.Reg(c.reg.l4, c.reg.l3),
		asm.Add.Reg(c.reg.l4, value),
		asm.LoadMem(temp, asm.R10, slotLeft, asm.DWord),
		asm.Sub.Reg(temp, value),
		asm.Add.Imm(temp, ip6Len-ipLen),
	)
	c.jumpTo(bare, asm.JSLT.Imm(temp, 1, ""))
	if c.use.sums {
		c.emit(asm.StoreMem(asm.R10, slotLeft, temp, asm.DWord))
	}
	c.emit(asm.Add.Imm(temp, ipLen-1), asm.LoadMem(value, asm.R10, slotNext, asm.DWord))
}

// wholeDatagram6 leaves the datagram's length on the stack, and jumps to no if
// an IPv6 datagram is not whole.
func (c *compiler) wholeDatagram6(no label) {
	c.emit(asm.LoadMem(value, asm.R10, slotSeen, asm.DWord))
	c.jumpTo(no, asm.JSet.Imm(value, seenMore, ""))
	c.emit(asm.LoadMem(value, c.reg.l3, payloadAt, asm.Half))
	c.jumpTo(no, asm.JEq.Imm(value, 0, ""))
	c.emit(
		asm.LoadMem(value, asm.R10, slotLeft, asm.DWord),
		asm.And.Imm(value, 0xffff), // it is; the verifier must see it to bound the loop over the chunks
		asm.StoreMem(asm.R10, slotL4Len, value, asm.DWord),
	)
}
