package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
)

// begin counts segments for a whole chain of packets of which no rule asks for
// more than the link, so that nobody has found a header behind it.
func (c *tc) begin() {
	if c.chain.Class.L3 != field.None {
		return // segments will
	}
	c.About("segments")
	super, have, one := c.NewLabel(), c.NewLabel(), c.NewLabel()
	c.loadContext(value, skbSegment)
	c.Jump(super, asm.JNE.Imm(value, 0, ""))
	c.BindLoop(one)
	c.Emit(asm.Mov.Imm(value, 1))
	c.BindLoop(have)
	c.save(slotSegments, value)
	c.later(func() {
		c.Bind(super)
		c.About("segments")
		c.loadContext(value, skbSegments)
		c.Jump(have, asm.JNE.Imm(value, 0, ""))
		c.headersByLink(one)
		c.divide(one)
		c.Goto(have)
	})
}

// countAhead counts segments before it is known whether a rule acts.
func (c *tc) countAhead() {
	c.segments()
	c.Forget()
}

// segments leaves on the stack into how many packets the packet will be
// segmented. A raw socket or a guest does not say; then its length and that of its
// headers do.
func (c *tc) segments() {
	if c.chain.Class.L3 == field.None {
		return // begin has
	}
	c.About("segments")
	have, one := c.NewLabel(), c.NewLabel()
	c.loadContext(value, skbSegments)
	c.Jump(have, asm.JNE.Imm(value, 0, ""))
	if l3, l4 := c.chain.Class.L3, c.chain.Class.L4; l3 == field.IP || l3 == field.IP6 {
		c.loadContext(temp, skbSegment)
		c.Jump(one, asm.JEq.Imm(temp, 0, ""))
		switch l4 {
		case field.TCP:
			c.offset(c.reg.l4, l4Base)
			c.tcpHeaderLength(asm.R1)
			c.Emit(asm.Add.Reg(value, asm.R1))
		case field.UDP:
			c.offset(c.reg.l4, l4Base)
			c.Emit(asm.Add.Imm(value, int32(field.UDP.Header().Fixed)))
		default:
			c.headersByL3(one)
		}
		c.divide(one)
		c.Goto(have)
	}
	c.Bind(one)
	c.Emit(asm.Mov.Imm(value, 1))
	c.Bind(have)
	c.save(slotSegments, value)
}

// divide leaves in value into how many packets a packet will be segmented whose
// headers are that long in all.
func (c *tc) divide(unknown assembler.Label) {
	c.loadContext(temp, skbSegment)
	c.loadContext(asm.R1, skbLength)
	c.Jump(unknown, asm.JGE.Reg(value, asm.R1, "")) // nobody made it: the stack will drop it
	c.Emit(asm.Sub.Reg(asm.R1, value), asm.Add.Reg(asm.R1, temp), asm.Add.Imm(asm.R1, -1), asm.Div.Reg(asm.R1, temp))
	c.Emit(asm.Mov.Reg(value, asm.R1))
}

// headersByL3 leaves in value how long all headers are, where no rule asks for
// layer 4, so that nobody has found it. Only the packets of raw sockets and guests
// come here, so it may be slow; those with extension headers are not segmented.
func (c *tc) headersByL3(unknown assembler.Label) {
	c.offset(c.reg.l3, ethLen)
	if c.chain.Class.L3 == field.IP {
		c.headerLength(asm.R1)
		c.Emit(asm.Add.Reg(value, asm.R1), asm.LoadMem(temp, c.reg.l3, protocolAt, asm.Byte))
	} else {
		c.Emit(asm.Add.Imm(value, ip6Len), asm.LoadMem(temp, c.reg.l3, nextAt, asm.Byte))
	}
	c.save(slotHeaders, value)
	udp := c.NewLabel()
	c.Jump(udp, asm.JEq.Imm(temp, int32(field.UDP.Header().Number), ""))
	c.layer4(udp, unknown)
}

// headersByLink is headersByL3 where not even the network header is known.
func (c *tc) headersByLink(unknown assembler.Label) {
	network, ip, l4, udp := c.NewLabel(), c.NewLabel(), c.NewLabel(), c.NewLabel()
	if c.plan.Link == field.RawIP {
		c.saveImm(slotHeaders, 0)
	} else {
		c.saveImm(slotHeaders, ethLen)
		for range maxTags { // those in the packet's bytes
			tag := c.NewLabel()
			c.peek(-2, asm.Half, unknown)
			c.Jump(tag, asm.JEq.Imm(value, swapped(typeTag, 2), ""))
			c.Jump(network, asm.JNE.Imm(value, swapped(typeService, 2), ""))
			c.Bind(tag)
			c.Emit(asm.Mov.Imm(temp, tagLen))
			c.increase(slotHeaders, temp)
		}
	}
	c.Bind(network)
	c.peek(0, asm.Byte, unknown)
	c.Emit(asm.Mov.Reg(temp, value), asm.RSh.Imm(temp, 4), asm.And.Imm(value, 0xf), asm.LSh.Imm(value, 2))
	c.save(slotIPLen, value)
	c.Jump(ip, asm.JEq.Imm(temp, 4, ""))
	c.Jump(unknown, asm.JNE.Imm(temp, 6, ""))
	c.saveImm(slotIPLen, ip6Len)
	c.peek(field.MustByName("ip6_next").Byte(), asm.Byte, unknown)
	c.Goto(l4)
	c.Bind(ip)
	c.peek(field.MustByName("ip_protocol").Byte(), asm.Byte, unknown)
	c.Bind(l4)
	c.load(temp, slotIPLen)
	c.increase(slotHeaders, temp)
	c.Jump(udp, asm.JEq.Imm(value, int32(field.UDP.Header().Number), ""))
	c.Jump(unknown, asm.JNE.Imm(value, int32(field.TCP.Header().Number), ""))
	c.layer4(udp, unknown)
}

// layer4 leaves in value how long all headers are with TCP's behind slotHeaders,
// or, if it is jumped to udp, with UDP's.
func (c *tc) layer4(udp, unknown assembler.Label) {
	done := c.NewLabel()
	c.peek(lengthAt, asm.Byte, unknown)
	c.Emit(asm.RSh.Imm(value, 4), asm.LSh.Imm(value, 2))
	c.Goto(done)
	c.Bind(udp)
	c.Emit(asm.Mov.Imm(value, int32(field.UDP.Header().Fixed)))
	c.Bind(done)
	c.load(temp, slotHeaders)
	c.Emit(asm.Add.Reg(value, temp))
}

// peek leaves in value what stands in the packet so far from slotHeaders.
func (c *tc) peek(off int, size asm.Size, unknown assembler.Label) {
	c.Call(asm.FnSkbLoadBytes, assembler.Reg(c.reg.ctx), assembler.Sum(c.content(slotHeaders), int32(off)),
		c.address(slotPeeked), assembler.Imm(int32(size.Sizeof())))
	c.Jump(unknown, asm.JNE.Imm(asm.R0, 0, ""))
	c.Emit(asm.LoadMem(value, asm.R10, c.frameOffset(slotPeeked), size))
}
