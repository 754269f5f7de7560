package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// Programs that sum whole datagrams or headers use more of the stack.
const (
	slotL3     = -24  // offset of the IP header from the packet's start
	slotHeader = -32  // length of the IPv4 header
	slotL4     = -40  // offset of the layer-4 header
	slotL4Len  = -48  // length of the layer-4 datagram
	slotCtx    = -56  // the context, for the function that sums a chunk
	slotSum    = -64  // what it has summed
	slotFailed = -72  // not 0 if it could not read the packet
	slotFixed  = -80  // the first checksum made, in memory order; the next is 8 lower
	headerAt   = -152 // the IPv4 header, at most 60 bytes
	headerRoom = 64

	slotSegments = -232 // tc: how many packets the packet is cut into
	slotLeft     = -160 // IPv6: the payload length; for sums, what of it the extension headers leave
	slotSeen     = -168 // what extension headers say
	slotOld      = -176 // tc: a checksum before it was tried
	slotNext     = -224 // the kind of one of them
	slotSteps    = -216 // how many of them have been stepped over
	slotMSS      = -184 // the base of the option MSS
	slotOption   = -192 // where in the TCP header the search for it is
	slotEnd      = -200 // the length of the TCP header
	slotFound    = -208 // where in it the option is, or 0
)

// wholeDatagram jumps to no unless the layer-4 datagram is all here, and
// leaves its place and length on the stack. That the header is there is known.
func (c *compiler) wholeDatagram(w plan.WholeDatagram, no label) {
	c.about("if " + w.String())
	c.load = held{}
	if w.L3 == field.IP6 {
		c.wholeDatagram6(no)
	} else {
		c.wholeDatagram4(no)
	}
	if w.Proto == field.UDP {
		base, off := c.at(plan.Window{Header: field.UDP, Off: field.MustByName("udp_len").Byte()})
		c.emit(asm.LoadMem(asm.R3, base, off, asm.Half), asm.HostTo(asm.BE, asm.R3, asm.Half))
		c.jumpTo(no, asm.JNE.Reg(asm.R3, value, ""))
	}
	c.offset(c.reg.l4, l4Base)
	c.emit(asm.StoreMem(asm.R10, slotL4, value, asm.DWord))
	c.inFrame(slotL4, slotL4Len, no)
}

// wholeDatagram4 leaves the datagram's length on the stack and in value, and
// jumps to no if an IPv4 datagram is not whole.
func (c *compiler) wholeDatagram4(no label) {
	const moreFragments = 0x2000
	c.emit(asm.LoadMem(value, c.reg.l3, fragmentAt, asm.Half))
	c.jumpTo(no, asm.JSet.Imm32(value, swapped(moreFragments, 2), ""))
	c.emit(asm.LoadMem(value, c.reg.l3, totLenAt, asm.Half), asm.HostTo(asm.BE, value, asm.Half))
	c.jumpTo(no, asm.JEq.Imm(value, 0, ""))
	c.headerLength()
	c.emit(
		asm.Sub.Reg(value, temp),
		asm.And.Imm(value, 0xffff), // it is; the verifier must see it to bound the loop over the chunks
		asm.StoreMem(asm.R10, slotL4Len, value, asm.DWord),
	)
}

// wholeHeader jumps to no unless the IPv4 header is all here.
func (c *compiler) wholeHeader(w plan.WholeHeader, no label) {
	c.about("if " + w.String())
	c.load = held{}
	if w.Words > 0 {
		c.emit(asm.Mov.Imm(temp, int32(4*w.Words)))
	} else {
		c.headerLength()
		c.jumpTo(no, asm.JLT.Imm(temp, ipLen, ""))
	}
	c.emit(asm.StoreMem(asm.R10, slotHeader, temp, asm.DWord))
	c.offset(c.reg.l3, ethLen)
	c.emit(asm.StoreMem(asm.R10, slotL3, value, asm.DWord))
	c.inFrame(slotL3, slotHeader, no)
}

// inFrame jumps to no unless the bytes from an offset on are in the packet,
// in whichever buffer. Offset and length are on the stack.
func (c *compiler) inFrame(offset, length int16, no label) {
	if c.opt.Hook == TC {
		c.emit(asm.LoadMem(value, c.reg.ctx, skbLength, asm.Word))
	} else {
		c.emit(asm.Mov.Reg(asm.R1, c.reg.ctx), asm.FnXdpGetBuffLen.Call())
	}
	c.emit(
		asm.LoadMem(temp, asm.R10, offset, asm.DWord),
		asm.LoadMem(asm.R3, asm.R10, length, asm.DWord),
		asm.Add.Reg(temp, asm.R3),
	)
	c.jumpTo(no, asm.JGT.Reg(temp, value, ""))
	c.load = held{}
}

// fixSums works out the checksums to fix or break and leaves them on the
// stack. It stands before the first store because reading the packet's bytes
// can fail, and then the packet passes untouched.
func (c *compiler) fixSums(sums []plan.Sum) {
	slot := int16(slotFixed)
	for _, s := range sums {
		if s.Op == plan.Adjust {
			continue
		}
		c.about(s.String())
		if s.Check.Proto == field.IP {
			c.sumHeader()
		} else {
			c.sumDatagram(s)
		}
		c.finishSum(s)
		c.emit(asm.StoreMem(asm.R10, slot, value, asm.DWord))
		slot -= 8
	}
}

// sum is where bytes have been added up: the end of the packet is not needed
// any more.
const sum = asm.R9

// sumHeader adds up the IPv4 header as it arrived.
func (c *compiler) sumHeader() {
	c.empty(headerAt, headerRoom)
	c.emit(
		asm.Mov.Reg(asm.R1, c.reg.ctx),
		asm.LoadMem(asm.R2, asm.R10, slotL3, asm.DWord),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, headerAt),
		asm.LoadMem(asm.R4, asm.R10, slotHeader, asm.DWord),
		c.to.loadBytes.Call(),
	)
	c.jumpTo(c.pass, asm.JNE.Imm(asm.R0, 0, ""))
	c.emit(
		asm.Mov.Imm(asm.R1, 0),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, headerAt),
		asm.LoadMem(asm.R4, asm.R10, slotHeader, asm.DWord), // a multiple of four
		asm.Mov.Imm(asm.R5, 0),
		asm.FnCsumDiff.Call(),
		asm.Mov.Reg(sum, asm.R0),
	)
}

// sumDatagram adds up the pseudo-header and the datagram as it arrived.
func (c *compiler) sumDatagram(s plan.Sum) {
	c.pseudoHeader(s)
	c.emit(
		asm.StoreMem(asm.R10, slotSum, sum, asm.DWord),
		asm.StoreMem(asm.R10, slotCtx, c.reg.ctx, asm.DWord),
		storeLong(slotFailed, 0),
		asm.LoadMem(asm.R1, asm.R10, slotL4Len, asm.DWord),
		asm.Add.Imm(asm.R1, 1<<c.chunkShift()-1),
		asm.RSh.Imm(asm.R1, c.chunkShift()),
		loadFunction(asm.R2, chunkFunction),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnLoop.Call(),
		asm.LoadMem(value, asm.R10, slotFailed, asm.DWord),
	)
	c.jumpTo(c.pass, asm.JNE.Imm(value, 0, ""))
	c.emit(asm.LoadMem(sum, asm.R10, slotSum, asm.DWord))
	c.chunks = true
}

// pseudoHeader starts the sum of TCP, UDP and ICMPv6 (RFC 9293 section 3.1, RFC
// 768, RFC 8200 section 8.1).
func (c *compiler) pseudoHeader(s plan.Sum) {
	c.emit(asm.Mov.Imm(sum, 0))
	if s.Check.Proto == field.ICMP {
		return
	}
	at, bytes := addressesAt(s.L3)
	c.emit(
		asm.LoadMem(value, asm.R10, slotL4Len, asm.DWord),
		asm.HostTo(asm.BE, value, asm.Half),
		asm.Add.Imm(value, swapped(uint32(s.Check.Proto.Header().Number), 2)),
	)
	words := int64(0)
	for off := at; off < at+bytes; off += 4 {
		c.emit(asm.LoadMem(temp, c.reg.l3, int16(ethLen+off), asm.Word), asm.Add.Reg(value, temp))
		words++
	}
	c.fold(words*0xffffffff+2*0xffff, 0x1fffe) // the helper takes a sum of 32 bits
	c.emit(asm.Mov.Reg(sum, value))
}

// empty zeroes a place on the stack.
func (c *compiler) empty(at, size int16) {
	for off := at; off < at+size; off += 8 {
		c.emit(storeLong(off, 0))
	}
}

// storeLong stores a constant as 64 bits on the stack. The library has no
// constructor for it, since the constant has only 32.
func storeLong(off int16, v int64) asm.Instruction {
	return asm.Instruction{OpCode: asm.StoreImmOp(asm.DWord), Dst: asm.R10, Offset: off, Constant: v}
}

// finishSum turns the sum of the packet as it arrived into the checksum of
// the packet as it leaves, in memory order, in value.
func (c *compiler) finishSum(s plan.Sum) {
	c.load = held{}
	terms := memoryTerms(s.Terms, -1)
	start := unsigned(inMemory(s.Const)+modulus, terms, 1)
	c.emit( // the checksum counts as 0, so its complement goes in beside it
		c.loadCheck(value, s),
		asm.Xor.Imm(value, 0xffff),
		asm.Add.Reg(value, sum),
		asm.Add.Imm(value, int32(start)),
	)
	most := 0xffffffff + 0xffff + start + c.addTerms(terms)
	most += c.rowParts(s, asm.Add)
	c.fold(most, 0xffff)
	c.emit(asm.Xor.Imm(value, 0xffff))
	if s.Ones {
		some := c.newLabel()
		c.jumpTo(some, asm.JNE.Imm(value, 0, ""))
		c.emit(asm.Mov.Imm(value, 0xffff))
		c.bind(some, false)
	}
	if s.Op == plan.Bad {
		c.emit( // one more in network order; 0x10000 becomes 1
			asm.HostTo(asm.BE, value, asm.Half),
			asm.Add.Imm(value, 1),
			asm.Mov.Reg(temp, value),
			asm.RSh.Imm(temp, 16),
			asm.Add.Reg(value, temp),
			asm.HostTo(asm.BE, value, asm.Half),
		)
	}
}

// lastSums makes the sums that have to wait until everything is stored. They
// read what fixSums has read already, so reading cannot fail here.
func (c *compiler) lastSums(sums []plan.Sum) {
	for _, s := range sums {
		if s.Last {
			c.about(s.String())
			c.sumHeader()
			c.finishSum(plan.Sum{Check: s.Check, Op: s.Op})
			c.emit(c.storeCheck(s))
		}
	}
}

// storeFixed stores what fixSums left on the stack.
func (c *compiler) storeFixed(sums []plan.Sum) {
	slot := int16(slotFixed)
	for _, s := range sums {
		if s.Op == plan.Adjust {
			continue
		}
		c.about(s.String())
		c.emit(asm.LoadMem(value, asm.R10, slot, asm.DWord), c.storeCheck(s))
		slot -= 8
	}
}
