package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// ip finds the layer-4 header of an IPv4 packet and sends it to its chain. In
// temp is the total length less 1 and less the options: so 0, which
// segmentation offload sends and which leaves the frame alone to count, is the
// largest. That need(n) bytes are there is known.
func (c *compiler) ip(n *plan.Network) {
	if len(n.L4) == 0 {
		c.enter(n.Bare)
		return
	}
	bare, option, joined := c.entry(n.Bare), c.newLabel(), c.newLabel()
	c.later(func() { c.options(n, option, joined, bare) })
	if one := n.L4; len(one) == 1 { // first: most packets that do not match are of another protocol
		c.about("protocol, fragment")
		c.emit(asm.LoadMem(value, c.reg.l3, protocolAt, asm.Byte))
		c.jumpTo(bare, asm.JNE.Imm32(value, int32(one[0].Proto.Header().Number), ""))
		c.emit(asm.LoadMem(value, c.reg.l3, fragmentAt, asm.Half))
		c.jumpTo(bare, asm.JSet.Imm32(value, swapped(0x1fff, 2), ""))
	}
	c.about("options")
	c.emit(asm.LoadMem(value, c.reg.l3, ethLen, asm.Byte))
	c.jumpTo(option, asm.JNE.Imm32(value, plainVerHL, ""))
	c.emit(asm.Mov.Reg(c.reg.l4, c.reg.l3))
	c.totalLength()
	c.bind(joined, true)
	if len(n.L4) > 1 {
		c.protocols(n, bare)
		return
	}
	c.transport(n.L4[0], covered(n), bare, plan.Direct)
}

// protocols tells the layer-4 headers behind IPv4 apart.
func (c *compiler) protocols(n *plan.Network, bare label) {
	c.about("fragment, protocol")
	// Fragment offset, time to live and protocol, in one load; no offset and
	// the protocol are looked for, everything else is masked out.
	c.emit(
		asm.LoadMem(value, c.reg.l3, fragmentAt, asm.Word),
		asm.And.Imm32(value, swapped(0x1fff00ff, 4)),
	)
	last := len(n.L4) - 1
	entries := make([]label, last+1)
	for i, t := range n.L4 {
		number := swapped(uint32(t.Proto.Header().Number), 4)
		if i == last {
			c.jumpTo(bare, asm.JNE.Imm32(value, number, ""))
			break
		}
		entries[i] = c.newLabel()
		c.jumpTo(entries[i], asm.JEq.Imm32(value, number, ""))
	}
	for i := last; i >= 0; i-- {
		if i != last {
			c.bind(entries[i], false)
		}
		c.transport(n.L4[i], covered(n), bare, plan.Direct)
	}
}

// transport checks that a layer-4 header, of which so many bytes are known to
// be there, is all there, then goes to its chain; else to bare. In temp is the
// length of the datagram less 1, as if it were behind an IPv4 header.
func (c *compiler) transport(t plan.Transport, known int, bare label, way plan.Way) {
	c.about(t.Proto.String() + " header")
	fixed := t.Proto.Header().Fixed
	if fixed > known {
		c.guard(c.reg.l4, l4Base+fixed, bare)
	}
	c.jumpTo(bare, asm.JLT.Imm32(temp, int32(ipLen+fixed-1), ""))
	if way == plan.Extended && t.Ways[plan.Extended] != t.Ways[plan.Routed] {
		routed := c.newLabel()
		c.emit(asm.LoadMem(value, asm.R10, slotSeen, asm.DWord))
		c.jumpTo(routed, asm.JSet.Imm(value, seenRouting, ""))
		c.leaf(t.Ways[plan.Extended])
		c.bind(routed, false)
		way = plan.Routed
	}
	c.leaf(t.Ways[way])
}

// leaf goes to a chain; for TCP it may depend on the option MSS.
func (c *compiler) leaf(l plan.Leaf) {
	if l.Scans() {
		c.scan(l)
		return
	}
	c.enter(l.Plain)
}

func (c *compiler) totalLength() {
	c.about("total length")
	c.emit(
		asm.LoadMem(temp, c.reg.l3, totLenAt, asm.Half),
		asm.HostTo(asm.BE, temp, asm.Half),
		asm.Add.Imm32(temp, -1),
	)
}

// options finds the layer-4 header behind IPv4 options; version and header
// length are in value. A version that is not 4, or a header of less than five
// words, has nothing behind it.
func (c *compiler) options(n *plan.Network, here, joined, bare label) {
	c.bind(here, false)
	c.about("options")
	c.emit(asm.Mov.Reg(temp, value), asm.And.Imm(temp, 0xf0))
	c.jumpTo(bare, asm.JNE.Imm(temp, 0x40, ""))
	c.emit(asm.And.Imm(value, 0xf))
	c.jumpTo(bare, asm.JLT.Imm(value, 5, ""))
	c.emit(asm.LSh.Imm(value, 2))
	c.totalLength()
	c.jumpTo(bare, asm.JLT.Reg32(temp, value, ""))
	c.emit(
		asm.Add.Imm(value, -ipLen),
		asm.Sub.Reg32(temp, value),
		asm.Mov.Reg(c.reg.l4, c.reg.l3),
		asm.Add.Reg(c.reg.l4, value),
	)
	if covered(n) > 0 {
		c.guard(c.reg.l4, l4Base+covered(n), bare)
	}
	c.goTo(joined)
}

// headerLength leaves 4*ip_hl in temp.
func (c *compiler) headerLength() {
	c.emit(
		asm.LoadMem(temp, c.reg.l3, ethLen, asm.Byte),
		asm.And.Imm(temp, 0xf),
		asm.LSh.Imm(temp, 2),
	)
}

// offset leaves in value how far a place n bytes behind a base is from the
// packet's start. It takes R1.
func (c *compiler) offset(base asm.Register, n int32) {
	c.emit(
		asm.LoadMem(asm.R1, c.reg.ctx, c.to.data, asm.Word),
		asm.Mov.Reg(value, base),
		asm.Sub.Reg(value, asm.R1),
		asm.Add.Imm(value, n),
	)
}

// addressesAt is where the addresses of the pseudo-header begin, from the start
// of the IP header, and addressBytes how many bytes both take.
func addressesAt(l3 field.Protocol) (at, bytes int) {
	src := field.MustByName(l3.Header().Prefix + "_src")
	return src.Byte(), 2 * src.Size()
}
