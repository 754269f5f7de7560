package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
)

// segments leaves on the stack into how many packets the packet is cut. A raw
// socket or a guest does not say; then its length and that of its headers do.
func (c *compiler) segments() {
	if c.class.L3 == field.None {
		return // segmentsOfLink has
	}
	c.about("segments")
	have, one := c.newLabel(), c.newLabel()
	c.emit(asm.LoadMem(value, c.reg.ctx, skbSegments, asm.Word))
	c.jumpTo(have, asm.JNE.Imm(value, 0, ""))
	if l3, l4 := c.class.L3, c.class.L4; l3 == field.IP || l3 == field.IP6 {
		c.emit(asm.LoadMem(temp, c.reg.ctx, skbSegment, asm.Word))
		c.jumpTo(one, asm.JEq.Imm(temp, 0, ""))
		if l4 == field.TCP || l4 == field.UDP {
			c.headersByL4()
		} else {
			c.headersByL3(one)
		}
		c.cut(one)
		c.goTo(have)
	}
	c.bind(one, false)
	c.emit(asm.Mov.Imm(value, 1))
	c.bind(have, false)
	c.emit(asm.StoreMem(asm.R10, slotSegments, value, asm.DWord))
}

// cut leaves in value into how many packets a packet is cut whose headers are
// that long in all.
func (c *compiler) cut(unknown label) {
	c.emit(asm.LoadMem(temp, c.reg.ctx, skbSegment, asm.Word), asm.LoadMem(asm.R1, c.reg.ctx, skbLength, asm.Word))
	c.jumpTo(unknown, asm.JGE.Reg(value, asm.R1, "")) // nobody made it: the stack will drop it
	c.emit(
		asm.Sub.Reg(asm.R1, value),
		asm.Add.Reg(asm.R1, temp),
		asm.Add.Imm(asm.R1, -1),
		asm.Div.Reg(asm.R1, temp),
		asm.Mov.Reg(value, asm.R1),
	)
}

// segmentsOfLink is segments for a whole chain of packets of which no rule asks
// for more than the link, so that nobody has found a header behind it.
func (c *compiler) segmentsOfLink() {
	c.about("segments")
	super, have, one := c.newLabel(), c.newLabel(), c.newLabel()
	c.emit(asm.LoadMem(value, c.reg.ctx, skbSegment, asm.Word))
	c.jumpTo(super, asm.JNE.Imm(value, 0, ""))
	c.bind(one, true)
	c.emit(asm.Mov.Imm(value, 1))
	c.bind(have, true)
	c.emit(asm.StoreMem(asm.R10, slotSegments, value, asm.DWord))
	c.later(func() {
		c.bind(super, false)
		c.about("segments")
		c.emit(asm.LoadMem(value, c.reg.ctx, skbSegments, asm.Word))
		c.jumpTo(have, asm.JNE.Imm(value, 0, ""))
		c.headersByLink(one)
		c.cut(one)
		c.goTo(have)
	})
}

// Where headersByLink keeps what it has found: no rule has acted yet, so these
// places on the stack are free.
const (
	slotHeaders = slotSegments // how long the headers are so far
	slotPeeked  = slotTag      // what has been read
	slotIPLen   = slotTagType  // how long the IP header is
)

// headersByLink is headersByL3 where not even the network header is known.
func (c *compiler) headersByLink(unknown label) {
	ip, l4, udp, done := c.newLabel(), c.newLabel(), c.newLabel(), c.newLabel()
	c.linkHeaders(unknown)
	c.peek(0, asm.Byte, unknown)
	c.emit(
		asm.Mov.Reg(temp, value),
		asm.RSh.Imm(temp, 4),
		asm.And.Imm(value, 0xf),
		asm.LSh.Imm(value, 2),
		asm.StoreMem(asm.R10, slotIPLen, value, asm.DWord),
	)
	c.jumpTo(ip, asm.JEq.Imm(temp, 4, ""))
	c.jumpTo(unknown, asm.JNE.Imm(temp, 6, ""))
	c.emit(storeLong(slotIPLen, ip6Len))
	c.peek(field.MustByName("ip6_next").Byte(), asm.Byte, unknown)
	c.goTo(l4)
	c.bind(ip, false)
	c.peek(field.MustByName("ip_protocol").Byte(), asm.Byte, unknown)
	c.bind(l4, false)
	c.emit(asm.LoadMem(temp, asm.R10, slotIPLen, asm.DWord))
	c.behind(temp)
	c.jumpTo(udp, asm.JEq.Imm(value, int32(field.UDP.Header().Number), ""))
	c.jumpTo(unknown, asm.JNE.Imm(value, int32(field.TCP.Header().Number), ""))
	c.peek(lengthAt, asm.Byte, unknown)
	c.emit(asm.RSh.Imm(value, 4), asm.LSh.Imm(value, 2))
	c.goTo(done)
	c.bind(udp, false)
	c.emit(asm.Mov.Imm(value, int32(field.UDP.Header().Fixed)))
	c.bind(done, false)
	c.emit(asm.LoadMem(temp, asm.R10, slotHeaders, asm.DWord), asm.Add.Reg(value, temp))
}

// linkHeaders finds how long the headers of the link are, with the tags that lie
// in the packet.
func (c *compiler) linkHeaders(unknown label) {
	if c.plan.Link == field.RawIP {
		c.emit(storeLong(slotHeaders, 0))
		return
	}
	network := c.newLabel()
	c.emit(storeLong(slotHeaders, ethLen))
	for range maxTags {
		tag := c.newLabel()
		c.peek(-2, asm.Half, unknown)
		c.jumpTo(tag, asm.JEq.Imm(value, swapped(typeTag, 2), ""))
		c.jumpTo(network, asm.JNE.Imm(value, swapped(typeService, 2), ""))
		c.bind(tag, false)
		c.emit(asm.Mov.Imm(temp, tagLen))
		c.behind(temp)
	}
	c.bind(network, false)
}

// peek leaves in value what stands in the packet so far from slotHeaders.
func (c *compiler) peek(off int, size asm.Size, unknown label) {
	c.emit(
		asm.Mov.Reg(asm.R1, c.reg.ctx),
		asm.LoadMem(asm.R2, asm.R10, slotHeaders, asm.DWord),
		asm.Add.Imm(asm.R2, int32(off)),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, slotPeeked),
		asm.Mov.Imm(asm.R4, int32(size.Sizeof())),
		asm.FnSkbLoadBytes.Call(),
	)
	c.jumpTo(unknown, asm.JNE.Imm(asm.R0, 0, ""))
	c.emit(asm.LoadMem(value, asm.R10, slotPeeked, size))
}

// behind adds to slotHeaders.
func (c *compiler) behind(length asm.Register) {
	c.emit(
		asm.LoadMem(asm.R1, asm.R10, slotHeaders, asm.DWord),
		asm.Add.Reg(asm.R1, length),
		asm.StoreMem(asm.R10, slotHeaders, asm.R1, asm.DWord),
	)
}

// headersByL4 leaves in value how long all headers are, from the layer-4 header.
func (c *compiler) headersByL4() {
	c.offset(c.reg.l4, l4Base)
	if c.class.L4 == field.UDP {
		c.emit(asm.Add.Imm(value, int32(field.UDP.Header().Fixed)))
		return
	}
	c.emit(
		asm.LoadMem(asm.R1, c.reg.l4, l4Base+lengthAt, asm.Byte),
		asm.RSh.Imm(asm.R1, 4),
		asm.LSh.Imm(asm.R1, 2),
		asm.Add.Reg(value, asm.R1),
	)
}

// headersByL3 is headersByL4 where no rule asks for layer 4, so nobody has found
// it. Only the packets of raw sockets and guests come here, so it may be slow;
// extension headers they do not cut up.
func (c *compiler) headersByL3(unknown label) {
	const udp = 17
	isUDP, done := c.newLabel(), c.newLabel()
	c.offset(c.reg.l3, ethLen)
	if c.class.L3 == field.IP {
		c.emit(
			asm.LoadMem(asm.R1, c.reg.l3, ethLen, asm.Byte),
			asm.And.Imm(asm.R1, 0xf),
			asm.LSh.Imm(asm.R1, 2),
			asm.Add.Reg(value, asm.R1),
			asm.LoadMem(temp, c.reg.l3, protocolAt, asm.Byte),
		)
	} else {
		c.emit(asm.Add.Imm(value, ip6Len), asm.LoadMem(temp, c.reg.l3, ethLen+6, asm.Byte))
	}
	c.jumpTo(isUDP, asm.JEq.Imm(temp, udp, ""))
	c.emit(
		asm.StoreMem(asm.R10, slotSegments, value, asm.DWord),
		asm.Mov.Reg(asm.R1, c.reg.ctx),
		asm.Mov.Reg(asm.R2, value),
		asm.Add.Imm(asm.R2, lengthAt),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, slotTag),
		asm.Mov.Imm(asm.R4, 1),
		asm.FnSkbLoadBytes.Call(),
	)
	c.jumpTo(unknown, asm.JNE.Imm(asm.R0, 0, ""))
	c.emit(
		asm.LoadMem(asm.R1, asm.R10, slotTag, asm.Byte),
		asm.RSh.Imm(asm.R1, 4),
		asm.LSh.Imm(asm.R1, 2),
		asm.LoadMem(value, asm.R10, slotSegments, asm.DWord),
		asm.Add.Reg(value, asm.R1),
	)
	c.goTo(done)
	c.bind(isUDP, false)
	c.emit(asm.Add.Imm(value, int32(field.UDP.Header().Fixed)))
	c.bind(done, false)
}

// ticketTC is ticket for packets that stand for several: one that would go
// beyond the limit is left alone, and gives back what it took. It is counted so
// that whoever waits for the last packets sees why they do not come.
func (c *compiler) ticketTC() {
	if c.opt.Limit == 0 {
		return
	}
	const limit, count = asm.R3, asm.R4
	within := c.newLabel()
	c.about("limit")
	c.emit(
		asm.LoadImm(limit, int64(c.opt.Limit), asm.DWord),
		asm.LoadMapValue(value, c.opt.Tickets, 0),
		asm.LoadMem(count, asm.R10, slotSegments, asm.DWord),
		asm.LoadMem(temp, value, 0, asm.DWord),
	)
	c.jumpTo(c.pass, asm.JGE.Reg(temp, limit, ""))
	c.emit(asm.Add.Reg(temp, count))
	c.jumpTo(c.alone(ReasonLimit), asm.JGT.Reg(temp, limit, ""))
	c.emit(asm.Mov.Reg(temp, count), fetchAdd(value, temp), asm.Add.Reg(temp, count))
	c.jumpTo(within, asm.JLE.Reg(temp, limit, ""))
	c.emit(asm.Neg.Imm(count, 0), fetchAdd(value, count))
	c.goTo(c.alone(ReasonLimit))
	c.bind(within, false)
}
