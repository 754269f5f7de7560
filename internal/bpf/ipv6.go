package bpf

import (
	"github.com/cilium/ebpf/asm"

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
	// unlimited is the payload length of a jumbogram: the frame alone counts.
	unlimited = 0x7fffffff
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
		c.emit(asm.StoreMem(asm.R10, slotLeft, temp, asm.DWord), storeLong(slotSeen, 0))
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

// walk steps over extension headers; the next header is in value, and l4 is
// where it is. Hop-by-hop stands first or not at all.
//
// The verifier follows every way through the loop. So that these do not
// multiply, all ways through one turn must look alike to it at its end: what is
// compared is a copy that it does not connect with the value (a value that was
// compared is known from then on), and what depends on the kind of a header is
// masked and not branched on.
func (c *compiler) walk(n *plan.Network, bare label) {
	next, top, step, walked := temp, c.newLabel(), c.newLabel(), c.newLabel()
	c.payload(bare)
	c.about("extension header")
	c.emit(asm.LoadMem(next, c.reg.l3, nextAt, asm.Byte), storeLong(slotSteps, 0)) // nothing is known of it
	c.disconnected(next)
	c.jumpTo(step, asm.JEq.Imm(value, hopByHop^apart, ""))
	c.bind(top, true)
	c.disconnected(next)
	c.jumpTo(step, asm.JEq.Imm(value, routing^apart, ""))
	c.jumpTo(step, asm.JEq.Imm(value, destination^apart, ""))
	c.jumpTo(walked, asm.JNE.Imm(value, fragmentID^apart, ""))
	c.bind(step, false)
	c.emit(asm.LoadMem(value, asm.R10, slotSteps, asm.DWord))
	c.jumpTo(bare, asm.JGE.Imm(value, maxExtensions, ""))
	c.emit(asm.Add.Imm(value, 1), asm.StoreMem(asm.R10, slotSteps, value, asm.DWord))
	c.extension(bare)
	c.goTo(top)
	c.bind(walked, false)
	c.walked(bare)
	c.transports(n, c.nextHeadersOr(n, bare), bare, plan.Extended)
}

// apart turns a value into one that the verifier does not connect with it.
const apart = 0x80

// disconnected leaves in value a copy of r that is compared in its place.
func (c *compiler) disconnected(r asm.Register) {
	c.emit(asm.Mov.Reg(value, r), asm.Xor.Imm(value, apart))
}

func (c *compiler) nextHeadersOr(n *plan.Network, bare label) []label {
	entries := c.nextHeaders(n)
	c.goTo(bare)
	return entries
}

// payload leaves in slotLeft how many bytes follow the IPv6 header: its payload
// length, or of a jumbogram all that there are. The next header is in value.
func (c *compiler) payload(bare label) {
	some := c.newLabel()
	c.about("payload length")
	c.emit(asm.LoadMem(temp, c.reg.l3, payloadAt, asm.Half), asm.HostTo(asm.BE, temp, asm.Half))
	c.jumpTo(some, asm.JNE.Imm(temp, 0, ""))
	c.about("jumbogram")
	c.jumpTo(bare, asm.JNE.Imm(value, hopByHop, ""))
	c.guard(c.reg.l4, l4Base+unit, bare)
	c.emit(asm.LoadMem(value, c.reg.l4, l4Base+2, asm.Half))
	c.jumpTo(bare, asm.JNE.Imm32(value, swapped(jumboOption, 2), ""))
	c.emit(asm.Mov.Imm(temp, unlimited))
	c.bind(some, false)
	c.emit(asm.StoreMem(asm.R10, slotLeft, temp, asm.DWord), storeLong(slotSeen, 0))
}

// extension steps over the extension header at l4, of the kind in temp, and
// leaves the kind of the next one there.
func (c *compiler) extension(bare label) {
	c.guard(c.reg.l4, l4Base+unit, bare)
	c.emit(asm.LoadMem(value, asm.R10, slotLeft, asm.DWord))
	c.jumpTo(bare, asm.JSLT.Imm(value, unit, ""))
	c.emit(asm.StoreMem(asm.R10, slotNext, temp, asm.DWord))

	// A fragment header has 8 bytes; the others say how many, in units of 8
	// bytes of which the first is not counted (RFC 8200 section 4).
	c.maskIf(fragmentID)
	c.emit(
		asm.Xor.Imm(temp, -1),
		asm.LoadMem(value, c.reg.l4, l4Base+1, asm.Byte),
		asm.And.Reg(value, temp),
		asm.Add.Imm(value, 1),
		asm.LSh.Imm(value, 3),
		asm.StoreMem(asm.R10, slotLength, value, asm.DWord),
		asm.Xor.Imm(temp, -1),
		asm.LoadMem(value, c.reg.l4, l4Base+2, asm.Half),
		asm.And.Reg(value, temp),
	)
	c.jumpTo(bare, asm.JSet.Imm32(value, swapped(0xfff8, 2), "")) // a later fragment
	c.emit(asm.And.Imm(value, seenMore))
	c.see()

	c.emit(asm.LoadMem(temp, asm.R10, slotNext, asm.DWord))
	c.maskIf(routing)
	c.emit(
		asm.LoadMem(value, c.reg.l4, l4Base+3, asm.Byte), // segments left
		asm.And.Reg(value, temp),
	)
	c.see()

	c.emit(
		asm.LoadMem(value, asm.R10, slotLength, asm.DWord),
		asm.LoadMem(temp, asm.R10, slotLeft, asm.DWord),
		asm.Sub.Reg(temp, value),
		asm.StoreMem(asm.R10, slotLeft, temp, asm.DWord),
		asm.LoadMem(temp, c.reg.l4, l4Base, asm.Byte),
		asm.Add.Reg(c.reg.l4, value),
	)
}

// maskIf turns temp into ones if it is kind, else into zeros.
func (c *compiler) maskIf(kind int32) {
	c.emit(
		asm.Xor.Imm(temp, kind),
		asm.Neg.Imm(temp, 0),
		asm.RSh.Imm(temp, 63), // 0 if it is, 1 if not
		asm.Add.Imm(temp, -1),
	)
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
		asm.Mov.Reg(value, c.reg.l4),
		asm.Sub.Reg(value, c.reg.l3),
		asm.And.Imm(value, 0x7fff), // 20 and 8 headers of 2048 bytes at most
		asm.Mov.Reg(c.reg.l4, c.reg.l3),
		asm.Add.Reg(c.reg.l4, value),
		asm.Mov.Reg(value, temp),
		asm.LoadMem(temp, asm.R10, slotLeft, asm.DWord),
	)
	c.jumpTo(bare, asm.JSLT.Imm(temp, 1, ""))
	c.emit(asm.Add.Imm(temp, ipLen-1))
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
