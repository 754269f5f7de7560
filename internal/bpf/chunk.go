package bpf

import (
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// A datagram is summed in chunks, each copied to the stack by a helper: the
// packet may lie in several buffers, and then its bytes cannot be read
// directly. The stack has 512 bytes, and bpf_csum_diff takes no more than 512
// a call on kernels up to 6.12.
//
// Where values are worked out on the stack too, less is left for a chunk. No
// rule needs more than 192 bytes of it: a field takes 4, an address up to 16.
//
// The chunks are a function that bpf_loop (Linux 5.17) calls. A loop in the
// program itself would be walked by the verifier 255 times, each time beside
// all earlier ones: 80 ms to load.
const chunkFunction = "sum_chunk"

// chunkShift is the binary logarithm of a chunk's size in bytes.
func (c *compiler) chunkShift() int32 {
	size, shift := -scratchTop, int32(8)
	for c.use.scratch > stackSize+scratchTop-size {
		size, shift = size/2, shift-1
	}
	return shift
}

// loadFunction loads the address of a function of the same program.
func loadFunction(dst asm.Register, name string) asm.Instruction {
	return asm.Instruction{
		OpCode:   asm.LoadImmOp(asm.DWord),
		Dst:      dst,
		Src:      asm.PseudoFunc,
		Constant: -1,
	}.WithReference(name)
}

// sumChunk is the function: it adds chunk number R1 to the sum. R2 is the frame
// pointer of the program, so that the program's slots can be used; it returns
// 1 to end the loop early.
func (c *compiler) sumChunk() {
	const frame, offset, size = asm.R6, asm.R7, asm.R8
	chunkShift := c.chunkShift()
	chunk := int32(1) << chunkShift
	fail, small, whole := c.newLabel(), c.newLabel(), c.newLabel()
	c.function(chunkFunction, frameFunctionType(chunkFunction))
	c.about("sum of a chunk")
	c.emit(
		asm.Mov.Reg(frame, asm.R2),
		asm.Mov.Reg32(offset, asm.R1),
		asm.LSh.Imm(offset, chunkShift),
		asm.LoadMem(size, frame, slotL4Len, asm.DWord),
		asm.Sub.Reg(size, offset),
	)
	c.jumpTo(fail, asm.JSLT.Imm(size, 1, ""))
	c.jumpTo(small, asm.JLT.Imm(size, chunk, ""))
	c.emit(asm.Mov.Imm(size, chunk))
	c.goTo(whole)
	c.bind(small, false)
	c.empty(int16(-chunk), int16(chunk)) // so that an odd last byte counts as RFC 1071 wants it
	c.bind(whole, false)
	c.emit(
		asm.LoadMem(asm.R1, frame, slotCtx, asm.DWord),
		asm.LoadMem(asm.R2, frame, slotL4, asm.DWord),
		asm.Add.Reg(asm.R2, offset),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, -chunk),
		asm.Mov.Reg(asm.R4, size),
		c.to.loadBytes.Call(),
	)
	c.jumpTo(fail, asm.JNE.Imm(asm.R0, 0, ""))
	c.emit(
		asm.Add.Imm(size, 3),
		asm.RSh.Imm(size, 2),
		asm.LSh.Imm(size, 2),
		asm.Mov.Imm(asm.R1, 0),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, -chunk),
		asm.Mov.Reg(asm.R4, size),
		asm.LoadMem(asm.R5, frame, slotSum, asm.DWord),
		asm.FnCsumDiff.Call(),
		asm.StoreMem(frame, slotSum, asm.R0, asm.DWord),
		asm.Mov.Imm(asm.R0, 0),
	)
	c.exit()
	c.bind(fail, false)
	c.emit(
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreMem(frame, slotFailed, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 1),
	)
	c.exit()
}

// function starts a function behind what has been emitted. The kernel takes
// the address only of functions that it has type information for, and then
// wants it for the program too.
func (c *compiler) function(name string, of *btf.Func) {
	c.dead, c.load = false, held{}
	c.functions = append(c.functions, function{at: len(c.ins), name: name, of: of})
}

// function is where a function of the program starts.
type function struct {
	at   int
	name string
	of   *btf.Func
	id   btf.TypeID // of it, in an object
}

// describe adds names and types of the functions, if there is more than one.
func (c *compiler) describe(ins asm.Instructions) {
	if len(c.functions) == 0 {
		return
	}
	ins[0] = btf.WithFuncMetadata(ins[0].WithSymbol(ProgramName), programFunction())
	for _, f := range c.functions {
		ins[f.at] = btf.WithFuncMetadata(ins[f.at].WithSymbol(f.name), f.of)
	}
}

// programFunction is the type of the program.
func programFunction() *btf.Func {
	return &btf.Func{
		Name:    ProgramName,
		Linkage: btf.GlobalFunc,
		Type: &btf.FuncProto{
			Return: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed},
			Params: []btf.FuncParam{{Name: "ctx", Type: &btf.Pointer{Target: (*btf.Void)(nil)}}},
		},
	}
}
