package bpf

import (
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"repacket/internal/plan"
)

// The option MSS (RFC 9293 section 3.2) is looked for by a function that
// bpf_loop (Linux 5.17) calls for one option after the other: written out, the
// ways through the options would multiply for the verifier.
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
func (c *compiler) scan(l plan.Leaf) {
	plain, odd := c.newLabel(), c.newLabel()
	const hlen = asm.R1
	c.about("tcp options")
	c.emit(
		asm.LoadMem(hlen, c.reg.l4, l4Base+lengthAt, asm.Byte),
		asm.RSh.Imm(hlen, 4),
		asm.LSh.Imm(hlen, 2),
	)
	c.jumpTo(plain, asm.JLT.Imm(hlen, tcpLen+lenMSS, ""))
	c.emit(asm.Mov.Reg(value, hlen), asm.Add.Imm(value, ipLen-1))
	c.jumpTo(plain, asm.JLT.Reg(temp, value, "")) // not all inside the datagram
	c.emit(asm.Mov.Reg(value, c.reg.l4), asm.Add.Reg(value, hlen), asm.Add.Imm(value, l4Base))
	c.jumpTo(plain, asm.JGT.Reg(value, c.reg.end, ""))
	// Kernels before 6.7 have the verifier look at one call of the function only,
	// and take what is true then for true: where the search began at 20, an odd
	// place could not be, and the code for it was removed. So it begins at a
	// number that the verifier does not know: the difference of two pointers.
	c.emit(
		asm.StoreMem(asm.R10, slotEnd, hlen, asm.DWord),
		asm.Mov.Reg(value, c.reg.l4),
		asm.Sub.Reg(value, c.reg.l4),
		asm.StoreMem(asm.R10, slotFound, value, asm.DWord),
		asm.Add.Imm(value, tcpLen),
		asm.StoreMem(asm.R10, slotOption, value, asm.DWord),
		asm.StoreMem(asm.R10, slotCtx, c.reg.ctx, asm.DWord),
	)
	c.offset(c.reg.l4, l4Base)
	c.emit(
		asm.StoreMem(asm.R10, slotL4, value, asm.DWord),
		asm.Mov.Imm(asm.R1, maxOptions),
		loadFunction(asm.R2, optionFunction),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnLoop.Call(),
		asm.LoadMem(temp, asm.R10, slotFound, asm.DWord),
	)
	c.jumpTo(plain, asm.JEq.Imm(temp, 0, ""))
	c.emit(
		asm.And.Imm(temp, 0x3f), // a header has at most 60 bytes
		asm.Mov.Reg(asm.R1, c.reg.l4),
		asm.Add.Reg(asm.R1, temp),
	)
	c.guard(asm.R1, l4Base+lenMSS, plain)
	c.emit(asm.StoreMem(asm.R10, slotMSS, asm.R1, asm.DWord))
	c.jumpTo(odd, asm.JSet.Imm(temp, 1, ""))
	c.enter(l.Even)
	c.bind(odd, false)
	c.enter(l.Odd)
	c.bind(plain, false)
	c.enter(l.Plain)
}

// findMSS is the function: it looks at the option at slotOption. R2 is the frame
// pointer of the program; it returns 1 to end the loop.
func (c *compiler) findMSS() {
	const frame, at, length = asm.R6, asm.R7, asm.R8
	const room = -8
	more, done := c.newLabel(), c.newLabel()
	c.function(optionFunction, frameFunctionType(optionFunction))
	c.about("a tcp option")
	c.emit(
		asm.Mov.Reg(frame, asm.R2),
		asm.LoadMem(at, frame, slotOption, asm.DWord),
		asm.LoadMem(value, frame, slotEnd, asm.DWord),
		asm.Mov.Reg(length, at),
		asm.Add.Imm(length, 2), // a last byte can only end the options
	)
	c.jumpTo(done, asm.JGT.Reg(length, value, ""))
	c.emit(
		asm.LoadMem(asm.R1, frame, slotCtx, asm.DWord),
		asm.LoadMem(asm.R2, frame, slotL4, asm.DWord),
		asm.Add.Reg(asm.R2, at),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, room),
		asm.Mov.Imm(asm.R4, 2),
		c.to.loadBytes.Call(),
	)
	c.jumpTo(done, asm.JNE.Imm(asm.R0, 0, ""))
	c.emit(asm.LoadMem(value, asm.R10, room, asm.Byte), asm.Mov.Imm(length, 1))
	c.jumpTo(done, asm.JEq.Imm(value, kindEnd, ""))
	c.jumpTo(more, asm.JEq.Imm(value, kindNothing, ""))
	c.emit(asm.LoadMem(length, asm.R10, room+1, asm.Byte))
	c.jumpTo(done, asm.JLT.Imm(length, 2, ""))
	c.emit(
		asm.Mov.Reg(asm.R1, at),
		asm.Add.Reg(asm.R1, length),
		asm.LoadMem(asm.R2, frame, slotEnd, asm.DWord),
	)
	c.jumpTo(done, asm.JGT.Reg(asm.R1, asm.R2, ""))
	c.jumpTo(more, asm.JNE.Imm(value, kindMSS, ""))
	c.jumpTo(more, asm.JNE.Imm(length, lenMSS, ""))
	c.emit(asm.StoreMem(frame, slotFound, at, asm.DWord))
	c.goTo(done)
	c.bind(more, false)
	c.emit(
		asm.Add.Reg(at, length),
		asm.StoreMem(frame, slotOption, at, asm.DWord),
		asm.Mov.Imm(asm.R0, 0),
	)
	c.exit()
	c.bind(done, false)
	c.emit(asm.Mov.Imm(asm.R0, 1))
	c.exit()
}

// frameFunctionType is the type of a function that bpf_loop calls with the frame
// pointer of the program.
func frameFunctionType(name string) *btf.Func {
	return &btf.Func{
		Name:    name,
		Linkage: btf.StaticFunc,
		Type: &btf.FuncProto{
			Return: &btf.Int{Name: "long", Size: 8, Encoding: btf.Signed},
			Params: []btf.FuncParam{
				{Name: "index", Type: &btf.Int{Name: "unsigned int", Size: 4}},
				{Name: "frame", Type: &btf.Pointer{Target: (*btf.Void)(nil)}},
			},
		},
	}
}
