package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/plan"
)

// The option MSS (RFC 9293 section 3.2) is looked for by a function that
// bpf_loop calls for one option after the other: written out, the ways through
// the options would multiply for the verifier.
const (
	optionFunction = "find_mss"
	// tcpLen is the length of TCP's header without options, lengthAt where it
	// says how long it is with them, in bytes.
	tcpLen, lengthAt = 20, 12
	maxOptions       = 40 // one byte each
	kindEnd          = 0
	kindNothing      = 1
	kindMSS          = 2
	lenMSS           = 4
)

// scan looks for the option MSS in a TCP header and goes to the chain for what
// is found. In temp is the datagram's length as transport has it.
func (p *parser) scan(l plan.Leaf, ahead int) {
	plain, odd := p.NewLabel(), p.NewLabel()
	const hlen = asm.R1
	p.About("tcp options")
	p.tcpHeaderLength(hlen)
	p.Jump(plain, asm.JLT.Imm(hlen, tcpLen+lenMSS, ""))
	p.Emit(asm.Mov.Reg(value, hlen), asm.Add.Imm(value, int32(ahead-1)))
	p.Jump(plain, asm.JLT.Reg(temp, value, "")) // not all inside the datagram
	p.Emit(asm.Mov.Reg(value, p.reg.l4), asm.Add.Reg(value, hlen), asm.Add.Imm(value, l4Base))
	p.Jump(plain, asm.JGT.Reg(value, p.end(), ""))
	// Kernels before 6.7 have the verifier look at one call of the function only,
	// and take what is true then for true: where the search began at 20, an odd
	// place could not be, and the code for it was removed. So it begins at a
	// number that the verifier does not know: the difference of two pointers.
	p.save(slotTCPLen, hlen)
	p.Emit(asm.Mov.Reg(value, p.reg.l4), asm.Sub.Reg(value, p.reg.l4))
	p.save(slotMSSAt, value)
	p.Emit(asm.Add.Imm(value, tcpLen))
	p.save(slotOption, value)
	p.save(slotContext, p.reg.ctx)
	p.saveOffset(slotL4, p.reg.l4, l4Base)
	p.Emit(asm.Mov.Imm(asm.R1, maxOptions))
	p.Loop(optionFunction)
	p.functions[optionFunction] = p.findMSS
	p.load(temp, slotMSSAt)
	p.Jump(plain, asm.JEq.Imm(temp, 0, ""))
	p.loadMSS(plain)
	p.Jump(odd, asm.JSet.Imm(temp, 1, ""))
	p.enter(l.Even)
	p.Bind(odd)
	p.enter(l.Odd)
	p.Bind(plain)
	p.enter(l.Plain)
}

// loadMSS leaves in slotMSS the base of the option MSS, which is as far from the
// TCP header as temp says.
func (c *code) loadMSS(short assembler.Label) {
	c.Emit(asm.And.Imm(temp, 0x3f)) // a header has at most 60 bytes
	c.Emit(asm.Mov.Reg(asm.R1, c.reg.l4), asm.Add.Reg(asm.R1, temp))
	c.guard(asm.R1, l4Base+lenMSS, short)
	c.save(slotMSS, asm.R1)
}

// findMSS is the function: it looks at the option at slotOption. R2 is the frame
// pointer of the program; it returns 1 to end the loop.
func (p *parser) findMSS() {
	const frame, at, length = asm.R6, asm.R7, asm.R8
	const room = -8
	p.frame.Phase = parsing
	load := func(dst asm.Register, s slot) { p.Emit(asm.LoadMem(dst, frame, p.frameOffset(s), asm.DWord)) }
	save := func(s slot, src asm.Register) { p.Emit(asm.StoreMem(frame, p.frameOffset(s), src, asm.DWord)) }
	more, done := p.NewLabel(), p.NewLabel()
	p.About("a tcp option")
	p.Emit(asm.Mov.Reg(frame, asm.R2))
	load(at, slotOption)
	load(value, slotTCPLen)
	p.Emit(asm.Mov.Reg(length, at), asm.Add.Imm(length, 2)) // a last byte can only end the options
	p.Jump(done, asm.JGT.Reg(length, value, ""))
	load(asm.R1, slotContext)
	load(asm.R2, slotL4)
	p.Emit(asm.Add.Reg(asm.R2, at))
	p.Call(p.abi.loadBytes, assembler.Reg(asm.R1), assembler.Reg(asm.R2), assembler.Stack(room), assembler.Imm(2))
	p.Jump(done, asm.JNE.Imm(asm.R0, 0, ""))
	p.Emit(asm.LoadMem(value, asm.R10, room, asm.Byte), asm.Mov.Imm(length, 1))
	p.Jump(done, asm.JEq.Imm(value, kindEnd, ""))
	p.Jump(more, asm.JEq.Imm(value, kindNothing, ""))
	p.Emit(asm.LoadMem(length, asm.R10, room+1, asm.Byte))
	p.Jump(done, asm.JLT.Imm(length, 2, ""))
	p.Emit(asm.Mov.Reg(asm.R1, at), asm.Add.Reg(asm.R1, length))
	load(asm.R2, slotTCPLen)
	p.Jump(done, asm.JGT.Reg(asm.R1, asm.R2, ""))
	p.Jump(more, asm.JNE.Imm(value, kindMSS, ""))
	p.Jump(more, asm.JNE.Imm(length, lenMSS, ""))
	save(slotMSSAt, at)
	p.Goto(done)
	p.Bind(more)
	p.Emit(asm.Add.Reg(at, length))
	save(slotOption, at)
	p.Emit(asm.Mov.Imm(asm.R0, 0))
	p.Exit()
	p.Bind(done)
	p.Emit(asm.Mov.Imm(asm.R0, 1))
	p.Exit()
}
