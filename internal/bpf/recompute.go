package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// recompute emits checksums that are made from whole headers and datagrams (fix
// and bad), and the conditions for that. Sums are
// added up in the spare register.
type recompute struct{ *code }

// wholeDatagram jumps to no unless the layer-4 datagram is all here, and
// leaves its place and length on the stack. That the header is there is known.
func (c recompute) wholeDatagram(w plan.WholeDatagram, no assembler.Label) {
	const moreFragments = 0x2000
	c.About("if " + w.String())
	c.Forget()
	if w.L3 == field.IP6 {
		c.load(value, slotSeen)
		c.Jump(no, asm.JSet.Imm(value, seenMore, ""))
		c.Emit(asm.LoadMem(value, c.reg.l3, payloadAt, asm.Half))
		c.Jump(no, asm.JEq.Imm(value, 0, ""))
		c.load(value, slotLeft)
	} else {
		c.Emit(asm.LoadMem(value, c.reg.l3, fragmentAt, asm.Half))
		c.Jump(no, asm.JSet.Imm32(value, swapped(moreFragments, 2), ""))
		c.Emit(asm.LoadMem(value, c.reg.l3, totLenAt, asm.Half), asm.HostTo(asm.BE, value, asm.Half))
		c.Jump(no, asm.JEq.Imm(value, 0, ""))
		c.headerLength(temp)
		c.Emit(asm.Sub.Reg(value, temp))
	}
	c.Emit(asm.And.Imm(value, 0xffff)) // it is; the verifier must see it to bound the loop over the chunks
	c.save(slotL4Len, value)
	if w.Proto == field.UDP {
		base, off := c.at(plan.Window{Header: field.UDP, Off: field.MustByName("udp_len").Byte()})
		c.Emit(asm.LoadMem(asm.R3, base, off, asm.Half), asm.HostTo(asm.BE, asm.R3, asm.Half))
		c.Jump(no, asm.JNE.Reg(asm.R3, value, ""))
	}
	c.saveOffset(slotL4, c.reg.l4, l4Base)
	c.inFrame(slotL4, slotL4Len, no)
}

// wholeHeader jumps to no unless the IPv4 header is all here.
func (c recompute) wholeHeader(w plan.WholeHeader, no assembler.Label) {
	c.About("if " + w.String())
	c.Forget()
	if w.Words > 0 {
		c.Emit(asm.Mov.Imm(temp, int32(4*w.Words)))
	} else {
		c.headerLength(temp)
		c.Jump(no, asm.JLT.Imm(temp, ipLen, ""))
	}
	c.save(slotHeaderLen, temp)
	c.saveOffset(slotL3, c.reg.l3, ethLen)
	c.inFrame(slotL3, slotHeaderLen, no)
}

// inFrame jumps to no unless the bytes from an offset on are in the packet,
// in whichever buffer.
func (c recompute) inFrame(offset, length slot, no assembler.Label) {
	c.hook.length()
	c.load(temp, offset)
	c.load(asm.R3, length)
	c.Emit(asm.Add.Reg(temp, asm.R3))
	c.Jump(no, asm.JGT.Reg(temp, value, ""))
	c.Forget()
}

// fixed are the checksums of a step that are to be fixed or broken, and where the
// new ones are kept until the packet is rewritten.
func (c recompute) fixed(sums []plan.Sum, each func(s plan.Sum, at int16)) {
	at := c.frameOffset(slotFixed) + 8
	for _, s := range sums {
		if s.Op != plan.Adjust {
			c.About(s.String())
			each(s, at)
			at -= 8
		}
	}
}

// fix works out the checksums to fix or break. It stands before the first store
// because reading the packet's bytes can fail, and then the packet passes
// untouched.
func (c recompute) fix(sums []plan.Sum) {
	c.fixed(sums, func(s plan.Sum, at int16) {
		if s.Check.Proto == field.IP {
			c.header(c.pass)
		} else {
			c.datagram(s)
		}
		c.finish(s)
		c.Emit(asm.StoreMem(asm.R10, at, value, asm.DWord))
	})
}

// storeFixed stores what fix has worked out.
func (c recompute) storeFixed(sums []plan.Sum) {
	c.fixed(sums, func(s plan.Sum, at int16) {
		c.Emit(asm.LoadMem(value, asm.R10, at, asm.DWord))
		c.store(checkWindow(s.Check), value)
	})
}

// storeLast makes the sums that have to wait until everything is stored. They
// read what fix has read already, so reading cannot fail here.
func (c recompute) storeLast(sums []plan.Sum) {
	for _, s := range sums {
		if s.Last {
			c.About(s.String())
			c.header(c.abort)
			c.finish(plan.Sum{Check: s.Check, Op: s.Op})
			c.store(checkWindow(s.Check), value)
		}
	}
}

// header adds up the IPv4 header as it is, of which the length is a multiple of
// four. It goes to failed if it cannot be read.
func (c recompute) header(failed assembler.Label) {
	c.zero(c.frameOffset(slotHeader), headerRoom)
	c.Call(c.abi.loadBytes, assembler.Reg(c.reg.ctx), c.content(slotL3), c.address(slotHeader), c.content(slotHeaderLen))
	c.Jump(failed, asm.JNE.Imm(asm.R0, 0, ""))
	c.Call(asm.FnCsumDiff, assembler.Imm(0), assembler.Imm(0), c.address(slotHeader), c.content(slotHeaderLen), assembler.Imm(0))
	c.Emit(asm.Mov.Reg(c.spare(), asm.R0))
}

// datagram adds up the pseudo-header and the datagram as it arrived.
func (c recompute) datagram(s plan.Sum) {
	c.pseudoHeader(s)
	c.save(slotSum, c.spare())
	c.save(slotContext, c.reg.ctx)
	c.chunks(asm.R1)
	c.Loop(chunkFunction)
	c.functions[chunkFunction] = c.sumChunk
	c.load(c.spare(), slotSum)
	c.Jump(c.pass, asm.JEq.Imm(c.spare(), unread, ""))
}

// chunks leaves in a register how many chunks the datagram has.
func (c recompute) chunks(dst asm.Register) {
	c.load(dst, slotL4Len)
	c.Emit(asm.Add.Imm(dst, 1<<c.chunkShift()-1), asm.RSh.Imm(dst, c.chunkShift()))
}

// pseudoHeader starts the sum of TCP, UDP and ICMPv6 (RFC 9293 section 3.1, RFC
// 768, RFC 8200 section 8.1).
func (c recompute) pseudoHeader(s plan.Sum) {
	if s.Check.Proto == field.ICMP {
		c.Emit(asm.Mov.Imm(c.spare(), 0))
		return
	}
	c.load(value, slotL4Len)
	c.Emit(asm.HostTo(asm.BE, value, asm.Half), asm.Add.Imm(value, swapped(uint32(s.Check.Proto.Header().Number), 2)))
	most := c.addAddresses(s.L3)
	c.load(temp, slotAddress)
	c.Emit(asm.Add.Reg(value, temp))
	checksums(c).fold(most+3*0xffff, 0x1fffe) // the helper takes a sum of 32 bits
	c.Emit(asm.Mov.Reg(c.spare(), value))
}

// addAddresses adds the addresses of the IP header to value and returns the most that
// they can be.
func (c *code) addAddresses(l3 field.Protocol) (most int64) {
	src := field.MustByName(l3.Header().Prefix + "_src")
	for off := src.Byte(); off < src.Byte()+2*src.Size(); off += 4 { // the destination follows
		c.Emit(asm.LoadMem(temp, c.reg.l3, int16(ethLen+off), asm.Word), asm.Add.Reg(value, temp))
		most += 0xffffffff
	}
	return most
}

// zero zeroes a place on the stack.
func (c *code) zero(at, size int16) {
	for off := at; off < at+size; off += 8 {
		c.Emit(assembler.StoreLong(asm.R10, off, 0))
	}
}

// finish turns the sum of the packet as it arrived into the checksum of
// the packet as it leaves, in memory order, in value.
func (c recompute) finish(s plan.Sum) {
	c.Forget()
	terms := memoryTerms(s.Terms, -1)
	start := unsigned(inMemory(s.Const)+modulus, terms, 1)
	c.fetch(value, checkWindow(s.Check)) // the checksum counts as 0, so its complement is added
	c.Emit(asm.Xor.Imm(value, 0xffff), asm.Add.Reg(value, c.spare()), asm.Add.Imm(value, int32(start)))
	most := 0xffffffff + 0xffff + start + checksums(c).addTerms(terms)
	most += tables(c).addRows(s, asm.Add)
	checksums(c).fold(most, 0xffff)
	c.Emit(asm.Xor.Imm(value, 0xffff))
	if s.Ones {
		c.zeroToOnes()
	}
	if s.Op == plan.Bad {
		c.Emit( // one more in network order; 0x10000 becomes 1
			asm.HostTo(asm.BE, value, asm.Half), asm.Add.Imm(value, 1),
			asm.Mov.Reg(temp, value), asm.RSh.Imm(temp, 16), asm.Add.Reg(value, temp),
			asm.HostTo(asm.BE, value, asm.Half),
		)
	}
}

// zeroToOnes makes a checksum of 0 in value 0xffff, the other way to write it.
func (c *code) zeroToOnes() {
	c.SkipIf(asm.JNE.Imm(value, 0, ""), func() { c.Emit(asm.Mov.Imm(value, 0xffff)) })
}

// A datagram is summed in chunks, each copied to the stack by a helper: the
// packet may lie in several buffers, and then its bytes cannot be read
// directly. The stack has 512 bytes, and bpf_csum_diff takes no more than 512
// a call on kernels up to 6.12.
//
// Where values are worked out on the stack too, less is left for a chunk. No
// rule needs more than 192 bytes of it: a field takes 4, an address up to 16.
//
// The chunks are a function that bpf_loop calls. A loop in the program itself
// would be walked by the verifier 255 times, each time next to all earlier ones:
// 80 ms to load.
const chunkFunction = "sum_chunk"

// unread is the sum of a datagram of which a chunk could not be read.
const unread = -1

// chunkShift is the binary logarithm of a chunk's size in bytes.
func (c recompute) chunkShift() int32 {
	shift := int32(8)
	for c.use.scratch > stackSize-slotsSize-1<<shift {
		shift--
	}
	return shift
}

// sumChunk is the function: it adds chunk number R1 to the sum. R2 is the frame
// pointer of the program, so that the program's slots can be used; it returns
// 1 to end the loop early.
func (c recompute) sumChunk() {
	const frame, offset, size = asm.R6, asm.R7, asm.R8
	c.frame.Phase = summing
	chunk := int32(1) << c.chunkShift()
	caller := func(s slot) assembler.Arg { return assembler.Memory(frame, c.frameOffset(s)) }
	fail, small, whole := c.NewLabel(), c.NewLabel(), c.NewLabel()
	c.About("sum of a chunk")
	c.Emit(asm.Mov.Reg(frame, asm.R2), asm.Mov.Reg32(offset, asm.R1), asm.LSh.Imm(offset, c.chunkShift()))
	c.Emit(caller(slotL4Len)(size)...)
	c.Emit(asm.Sub.Reg(size, offset))
	c.Jump(fail, asm.JSLT.Imm(size, 1, ""))
	c.Jump(small, asm.JLT.Imm(size, chunk, ""))
	c.Emit(asm.Mov.Imm(size, chunk))
	c.Goto(whole)
	c.Bind(small)
	c.zero(int16(-chunk), int16(chunk)) // so that an odd last byte counts as RFC 1071 wants it
	c.Bind(whole)
	at := func(dst asm.Register) []asm.Instruction { return append(caller(slotL4)(dst), asm.Add.Reg(dst, offset)) }
	c.Call(c.abi.loadBytes, caller(slotContext), at, assembler.Stack(int16(-chunk)), assembler.Reg(size))
	c.Jump(fail, asm.JNE.Imm(asm.R0, 0, ""))
	c.Emit(asm.Add.Imm(size, 3), asm.RSh.Imm(size, 2), asm.LSh.Imm(size, 2))
	c.Call(asm.FnCsumDiff, assembler.Imm(0), assembler.Imm(0), assembler.Stack(int16(-chunk)), assembler.Reg(size), caller(slotSum))
	c.Emit(asm.StoreMem(frame, c.frameOffset(slotSum), asm.R0, asm.DWord), asm.Mov.Imm(asm.R0, 0))
	c.Exit()
	c.Bind(fail)
	c.Emit(assembler.StoreLong(frame, c.frameOffset(slotSum), unread), asm.Mov.Imm(asm.R0, 1))
	c.Exit()
}
