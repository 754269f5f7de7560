package bpf

import (
	"math/bits"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// code is what everything that emits shares.
type code struct {
	*assembler.Assembler
	context
	plan  *plan.Program
	opt   Options
	use   uses
	abi   abi
	hook  emitter
	frame *assembler.Frame
	reg   registers

	pass, count assembler.Label // leave the packet; count it, then leave it
	abort       assembler.Label // leave the packet in the middle of a rewrite
	rest        []func()        // what stands behind the exit
	functions   map[string]func()
	// prefix is what the names of its functions begin with in the program.
	prefix string
	// flowFunctions are those of the table of flows that are called.
	flowFunctions map[string]func()
	skips         map[Reason]assembler.Label // where packets are counted that are skipped
}

// Loop, Invoke and CallFunction are those of the assembler for a function of this code.

func (c *code) Loop(function string) { c.Assembler.Loop(c.prefix + function) }

func (c *code) Invoke(function string, args ...assembler.Arg) {
	c.Assembler.Invoke(c.prefix+function, args...)
}

func (c *code) CallFunction(name string, args ...assembler.Arg) {
	c.Assembler.CallFunction(c.prefix+name, args...)
}

// context says which packets the instructions to come are for.
type context struct {
	// chain is the one at hand, or nil where headers are looked for.
	chain *plan.Chain
	// offloaded: the first VLAN tag is not in the packet's bytes, as tc has it.
	offloaded bool
	// endLost: the register with the packet's end serves as scratch.
	endLost bool
}

// registers are the roles that hold throughout. The base of a header is a
// packet pointer moved so that an untagged, option-less packet needs no move:
// l3 is 14 bytes before the IPv4 header, l4 34 before the layer-4 header.
// They are caller-saved where no helper is called before the last store: then
// the kernel's prologue has nothing to push.
type registers struct {
	ctx, l3, l4, end asm.Register
}

// The scratch registers: value for loads and results, temp beside it. A third
// one is spare.
const (
	value = asm.R0
	temp  = asm.R5
)

// spare is the register of the packet's end as a third scratch register. From
// here on no guard can be emitted but behind ends.
func (c *code) spare() asm.Register {
	c.endLost = true
	return c.reg.end
}

// end is the register with the packet's end.
func (c *code) end() asm.Register {
	if c.endLost {
		panic("bpf: the packet's end is used where its register serves as scratch")
	}
	return c.reg.end
}

// Offsets from the bases, and of what is parsed, in bytes (IEEE 802.3, RFC 791).
const (
	ethLen      = 14
	ipLen       = 20
	l4Base      = ethLen + ipLen
	ethTypeAt   = 12
	tagLen      = 4
	maxTags     = 2
	totLenAt    = ethLen + 2
	fragmentAt  = ethLen + 6
	protocolAt  = ethLen + 9
	plainVerHL  = 0x45   // version 4, five words
	typeTag     = 0x8100 // IEEE 802.1Q
	typeService = 0x88a8 // IEEE 802.1ad
)

var sizes = map[int]asm.Size{1: asm.Byte, 2: asm.Half, 4: asm.Word}

// later puts something behind the exit.
func (c *code) later(emit func()) {
	here, phase := c.context, c.frame.Phase
	c.rest = append(c.rest, func() {
		c.context, c.frame.Phase = here, phase
		emit()
	})
}

// ends loads the packet's ends.
func (c *code) ends() {
	c.Emit(asm.LoadMem(c.reg.l3, c.reg.ctx, c.abi.data, asm.Word))
	c.Emit(asm.LoadMem(c.reg.end, c.reg.ctx, c.abi.end, asm.Word))
	c.endLost = false
}

// guard jumps to short unless n bytes from base are in the first buffer.
func (c *code) guard(base asm.Register, n int, short assembler.Label) {
	c.Emit(asm.Mov.Reg(value, base), asm.Add.Imm(value, int32(n)))
	c.Jump(short, asm.JGT.Reg(value, c.end(), ""))
	c.Forget()
}

// saveOffset leaves in a slot, and in value, how far a place n bytes behind a
// base is from the packet's start. It takes R1.
func (c *code) saveOffset(s slot, base asm.Register, n int32) {
	c.offset(base, n)
	c.save(s, value)
}

func (c *code) offset(base asm.Register, n int32) {
	c.Emit(asm.LoadMem(asm.R1, c.reg.ctx, c.abi.data, asm.Word))
	c.Emit(asm.Mov.Reg(value, base), asm.Sub.Reg(value, asm.R1), asm.Add.Imm(value, n))
}

// swapped is a big-endian constant of size bytes as a little-endian load
// shows it, in the form of an immediate.
func swapped(v uint32, size int) int32 {
	return int32(bits.ReverseBytes32(v) >> (32 - 8*size))
}

func fullMask(size int) uint32 { return uint32(uint64(1)<<(8*size) - 1) }

// at is where a window starts: a base register and an offset from it. The
// option MSS and quoted headers of layer 4 have their base on the stack, so it may
// take an instruction.
func (c *code) at(w plan.Window) (asm.Register, int16) {
	switch w.Header {
	case field.Eth:
		return c.reg.l3, int16(w.Off - tagLen*c.tagsInBytes())
	case field.VLAN: // its type is in the packet, also where its first half is not
		return c.reg.l3, int16(ethLen + w.Off - tagLen*c.chain.Class.Tags)
	case field.CVLAN:
		return c.reg.l3, int16(ethLen + w.Off - tagLen*(c.chain.Class.Tags-1))
	case field.ARP, field.IP, field.IP6:
		return c.reg.l3, int16(ethLen + w.Off)
	case field.MSS:
		c.load(asm.R1, slotMSS)
		return asm.R1, int16(l4Base + w.Off)
	case field.QuotedIP, field.QuotedIP6:
		return c.reg.l4, int16(quoteBase + w.Off)
	case field.QuotedTCP, field.QuotedUDP, field.QuotedICMP, field.QuotedICMP6:
		c.load(asm.R1, slotQuoted)
		return asm.R1, int16(l4Base + w.Off)
	}
	return c.reg.l4, int16(l4Base + w.Off)
}

// tagsInBytes is how many tags lie in the packet.
func (c *code) tagsInBytes() int {
	if c.offloaded {
		return c.chain.Class.Tags - 1
	}
	return c.chain.Class.Tags
}

// shift shifts a register, unless it is by nothing.
func (c *code) shift(op asm.ALUOp, dst asm.Register, n int) {
	if n > 0 {
		c.Emit(op.Imm(dst, int32(n)))
	}
}

// fetch loads a window as it is in memory, store stores one.
func (c *code) fetch(dst asm.Register, w plan.Window) {
	base, off := c.at(w)
	c.Emit(asm.LoadMem(dst, base, off, sizes[w.Size]))
}

func (c *code) store(w plan.Window, src asm.Register) {
	base, off := c.at(w)
	c.Emit(asm.StoreMem(base, off, src, sizes[w.Size]))
}

// held is noted of value: a window of the packet, whether it has been swapped to
// host order, and whether it has been masked.
type held struct {
	win    plan.Window
	host   bool
	masked bool
}

// loadWindow brings a window into value, in memory order or in host order,
// masked; it does nothing if value holds it already.
func (c *code) loadWindow(w plan.Window, host bool) {
	host = host && w.Size > 1 // a byte has no order
	want := held{win: w, host: host, masked: !w.Full()}
	if c.Known() == want {
		return
	}
	if c.inTag(w) {
		c.loadTag(w)
	} else {
		c.fetch(value, w)
	}
	mask := swapped(w.Mask, w.Size)
	if host {
		c.Emit(asm.HostTo(asm.BE, value, sizes[w.Size]))
		mask = int32(w.Mask)
	}
	if !w.Full() {
		c.Emit(asm.And.Imm32(value, mask))
	}
	c.Note(want)
}

// loadWindowOnce is loadWindow for a value that is not kept there.
func (c *code) loadWindowOnce(w plan.Window, host bool) {
	c.Forget()
	c.loadWindow(w, host)
	c.Forget()
}

// headerLength leaves 4*ip_hl in a register.
func (c *code) headerLength(dst asm.Register) {
	c.Emit(asm.LoadMem(dst, c.reg.l3, ethLen, asm.Byte), asm.And.Imm(dst, 0xf), asm.LSh.Imm(dst, 2))
}

// tcpHeaderLength leaves 4*tcp_hlen in a register.
func (c *code) tcpHeaderLength(dst asm.Register) {
	c.Emit(asm.LoadMem(dst, c.reg.l4, l4Base+lengthAt, asm.Byte), asm.RSh.Imm(dst, 4), asm.LSh.Imm(dst, 2))
}
