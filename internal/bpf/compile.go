// Package bpf compiles a plan into an XDP program of eBPF instructions. It
// makes no map and calls no kernel: maps come in as file descriptors.
//
// The program's shape: one check of the packet's length, the Ethernet type,
// the layer-4 header if some rule asks for it, then the chain of the class.
// What is rare (VLAN tags, IPv4 options) stands behind the exit and jumps
// back, so that plain packets run straight through.
//
// Both architectures that are built, amd64 and arm64, are little-endian, and
// so is the code: loads are compared with swapped constants, and checksums
// are summed in the byte order of memory, which RFC 1071 section 2(B) allows.
package bpf

import (
	"fmt"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// Counter is what a program counts by rule and CPU, in the order of rules as
// written: packets and bytes that the rule took.
type Counter struct {
	Packets, Bytes uint64
}

// CounterSize is the size in bytes of a Counter in its map.
const CounterSize = 16

// MaxInstructions is what a program may take. Conditional jumps reach 32,767
// instructions, so no jump within the limit can miss its target.
const MaxInstructions = 32767

// Options are what a program is bound to.
type Options struct {
	// Counters is a PERCPU_ARRAY map of Counter, one a rule as written.
	Counters int
	// Fragments: a packet can lie in several buffers, so its length comes from
	// a helper. Without it the packet's pointers are subtracted, which is faster.
	Fragments bool
	// Limit is the number of packets to act on, or 0 for no limit.
	Limit uint64
	// Tickets is an ARRAY map of one 64-bit word, the number of packets acted
	// on, which may run past the limit. Needed for Limit only.
	Tickets int
	// Timed: let every packet pass from the deadline on.
	Timed bool
	// Deadline is an ARRAY map of one 64-bit word, a CLOCK_MONOTONIC_COARSE
	// time in nanoseconds. Needed for Timed only.
	Deadline int
}

// TooLargeError says that a program has more instructions than are allowed.
type TooLargeError struct {
	Instructions int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the rules come to %d instructions, and a program can have %d", e.Instructions, MaxInstructions)
}

// Compile makes the XDP program of a plan. The error is a *TooLargeError.
func Compile(p *plan.Program, o Options) (asm.Instructions, error) {
	c, err := compile(p, o)
	if err != nil {
		return nil, err
	}
	return c.ins, nil
}

func compile(p *plan.Program, o Options) (*compiler, error) {
	c := &compiler{plan: p, opt: o}
	c.note.Rule = noRule
	c.reg = registers{ctx: asm.R1, l3: asm.R2, end: asm.R3, l4: asm.R4}
	if o.Timed {
		c.reg.ctx = asm.R6
	}
	if c.fixes = hasFix(p); c.fixes {
		c.reg = registers{ctx: asm.R6, l3: asm.R7, l4: asm.R8, end: asm.R9}
	}
	c.pass, c.count = c.newLabel(), c.newLabel()
	c.ip, c.joined = c.newLabel(), c.newLabel()
	c.noIP = c.entry(p.NoIP)
	c.plain = c.entry(p.IP)
	c.program()
	if c.chunks {
		c.sumChunk()
	}
	ins := c.finish()
	c.describe(ins)
	if n := slots(ins); n > MaxInstructions {
		return nil, &TooLargeError{n}
	}
	return c, nil
}

func slots(ins asm.Instructions) int {
	n := uint64(0)
	for _, i := range ins {
		n += i.Size() / asm.InstructionSize
	}
	return int(n)
}

// registers are the roles that hold throughout. The base of a header is a
// packet pointer moved so that an untagged, option-less packet needs no move:
// l3 is 14 bytes before the IPv4 header, l4 34 before the layer-4 header.
// They are caller-saved where no helper is called before the last store: then
// the kernel's prologue has nothing to push.
type registers struct {
	ctx, l3, l4, end asm.Register
}

// The scratch registers: value for loads and results, temp beside it. The end
// of the packet is free once every guard is behind, so it serves as a third.
const (
	value = asm.R0
	temp  = asm.R5
)

type compiler struct {
	builder
	plan  *plan.Program
	opt   Options
	reg   registers
	fixes bool // some rule makes a whole sum
	// compared: the only value that the step changes is known to differ.
	compared bool
	// chunks: a datagram is summed, so the function for it is needed.
	chunks    bool
	functions []function

	pass, count  label // leave the packet; count it, then leave it
	ip, joined   label // IPv4 header found; layer-4 base known
	noIP, plain  label // the chains of packets without IPv4, without layer 4
	vlan, option label
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
	plainVerHL  = 0x45 // version 4, five words
	typeIPv4    = 0x0800
	typeTag     = 0x8100 // IEEE 802.1Q
	typeService = 0x88a8 // IEEE 802.1ad
)

// Pass is the verdict of every program: XDP_PASS of linux/bpf.h.
const Pass = 2

// entry is the label of a chain; an empty one is the way out.
func (c *compiler) entry(ch plan.Chain) label {
	if len(ch.Steps) == 0 {
		return c.pass
	}
	return c.newLabel()
}

// program lays everything out, what is common first.
func (c *compiler) program() {
	c.prologue()
	if c.plan.Alike {
		c.chain(c.plan.NoIP)
		c.epilogue()
		return
	}
	c.vlan, c.option = c.newLabel(), c.newLabel()
	c.ethernet()
	c.layer4()
	if c.plain != c.pass {
		c.bind(c.plain, false)
		c.chain(c.plan.IP)
	}
	c.epilogue()
	if len(c.plan.L4) > 0 {
		c.bind(c.option, false)
		c.options()
	}
	c.bind(c.vlan, false)
	c.tags()
	if c.noIP != c.pass {
		c.bind(c.noIP, false)
		c.chain(c.plan.NoIP)
	}
}

// prologue gives up at the deadline and loads the packet's ends.
func (c *compiler) prologue() {
	c.about("packet")
	if c.reg.ctx != asm.R1 {
		c.emit(asm.Mov.Reg(c.reg.ctx, asm.R1))
	}
	if c.opt.Timed {
		c.about("deadline")
		c.emit(
			asm.FnKtimeGetCoarseNs.Call(),
			asm.LoadMapValue(asm.R1, c.opt.Deadline, 0),
			asm.LoadMem(asm.R1, asm.R1, 0, asm.DWord),
		)
		c.jumpTo(c.pass, asm.JGE.Reg(value, asm.R1, ""))
	}
	if c.plan.Alike {
		return
	}
	c.about("packet")
	c.emit(
		asm.LoadMem(c.reg.l3, c.reg.ctx, 0, asm.Word),  // xdp_md.data
		asm.LoadMem(c.reg.end, c.reg.ctx, 4, asm.Word), // xdp_md.data_end
	)
	if c.fixes {
		c.emit(storeLong(slotL3, ethLen))
	}
}

// ethernet finds the IPv4 header of an untagged packet.
func (c *compiler) ethernet() {
	c.about("ethernet type")
	c.guard(c.reg.l3, c.need(), c.noIP)
	c.emit(asm.LoadMem(value, c.reg.l3, ethTypeAt, asm.Half))
	c.jumpTo(c.vlan, asm.JNE.Imm32(value, swapped(typeIPv4, 2), ""))
	c.bind(c.ip, true)
}

// tags steps over at most two VLAN tags; the Ethernet type is in value.
func (c *compiler) tags() {
	c.about("vlan tag")
	for range maxTags {
		tag := c.newLabel()
		c.jumpTo(tag, asm.JEq.Imm32(value, swapped(typeTag, 2), ""))
		c.jumpTo(c.noIP, asm.JNE.Imm32(value, swapped(typeService, 2), ""))
		c.bind(tag, false)
		c.emit(asm.Add.Imm(c.reg.l3, tagLen))
		c.guard(c.reg.l3, c.need(), c.noIP)
		if c.fixes {
			c.emit(
				asm.LoadMem(value, asm.R10, slotL3, asm.DWord),
				asm.Add.Imm(value, tagLen),
				asm.StoreMem(asm.R10, slotL3, value, asm.DWord),
			)
		}
		c.emit(asm.LoadMem(value, c.reg.l3, ethTypeAt, asm.Half))
		c.jumpTo(c.ip, asm.JEq.Imm32(value, swapped(typeIPv4, 2), ""))
	}
	c.goTo(c.noIP)
}

// guard jumps to short unless n bytes from base are in the first buffer.
func (c *compiler) guard(base asm.Register, n int, short label) {
	c.emit(asm.Mov.Reg(value, base), asm.Add.Imm(value, int32(n)))
	c.jumpTo(short, asm.JGT.Reg(value, c.reg.end, ""))
	c.load = held{}
}

// need is how many bytes a packet must have for anything to be done with its
// IPv4 header. Where only rules of layer 4 are left, their header is asked
// for at once.
func (c *compiler) need() int {
	return l4Base + c.covered()
}

// covered is the part of the layer-4 header that the first guard covers.
func (c *compiler) covered() int {
	if c.noIP != c.pass || c.plain != c.pass || len(c.plan.L4) == 0 {
		return 0
	}
	least := c.plan.L4[0].Proto.Header().Fixed
	for _, ch := range c.plan.L4 {
		least = min(least, ch.Proto.Header().Fixed)
	}
	return least
}

// layer4 finds the layer-4 header and sends the packet to its chain. In temp
// is the total length less 1 and less the options: so 0, which segmentation
// offload sends and which leaves the frame alone to count, is the largest.
func (c *compiler) layer4() {
	if len(c.plan.L4) == 0 {
		if c.plain == c.pass {
			c.goTo(c.pass)
		}
		return
	}
	if one := c.plan.L4; len(one) == 1 { // first: most packets that do not match are of another protocol
		c.about("protocol, fragment")
		c.emit(asm.LoadMem(value, c.reg.l3, protocolAt, asm.Byte))
		c.jumpTo(c.plain, asm.JNE.Imm32(value, int32(one[0].Proto.Header().Number), ""))
		c.emit(asm.LoadMem(value, c.reg.l3, fragmentAt, asm.Half))
		c.jumpTo(c.plain, asm.JSet.Imm32(value, swapped(0x1fff, 2), ""))
	}
	c.about("options")
	c.emit(asm.LoadMem(value, c.reg.l3, ethLen, asm.Byte))
	c.jumpTo(c.option, asm.JNE.Imm32(value, plainVerHL, ""))
	c.emit(asm.Mov.Reg(c.reg.l4, c.reg.l3))
	c.totalLength()
	c.bind(c.joined, true)
	if len(c.plan.L4) == 1 {
		c.header(c.plan.L4[0])
		return
	}
	c.about("fragment, protocol")
	// Fragment offset, time to live and protocol, in one load; no offset and
	// the protocol are looked for, everything else is masked out.
	c.emit(
		asm.LoadMem(value, c.reg.l3, fragmentAt, asm.Word),
		asm.And.Imm32(value, swapped(0x1fff00ff, 4)),
	)
	last := len(c.plan.L4) - 1
	entries := make([]label, last+1)
	for i, ch := range c.plan.L4 {
		number := swapped(uint32(ch.Proto.Header().Number), 4)
		if i == last {
			c.jumpTo(c.plain, asm.JNE.Imm32(value, number, ""))
			break
		}
		entries[i] = c.newLabel()
		c.jumpTo(entries[i], asm.JEq.Imm32(value, number, ""))
	}
	for i := last; i >= 0; i-- {
		if i != last {
			c.bind(entries[i], false)
		}
		c.header(c.plan.L4[i])
	}
}

// header checks that a layer-4 header is all there, then runs its chain.
func (c *compiler) header(ch plan.Chain) {
	c.about(ch.Proto.String() + " header")
	fixed := ch.Proto.Header().Fixed
	if fixed > c.covered() {
		c.guard(c.reg.l4, l4Base+fixed, c.plain)
	}
	c.jumpTo(c.plain, asm.JLT.Imm32(temp, int32(ipLen+fixed-1), ""))
	c.chain(ch)
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
func (c *compiler) options() {
	c.about("options")
	c.emit(asm.Mov.Reg(temp, value), asm.And.Imm(temp, 0xf0))
	c.jumpTo(c.plain, asm.JNE.Imm(temp, 0x40, ""))
	c.emit(asm.And.Imm(value, 0xf))
	c.jumpTo(c.plain, asm.JLT.Imm(value, 5, ""))
	c.emit(asm.LSh.Imm(value, 2))
	c.totalLength()
	c.jumpTo(c.plain, asm.JLT.Reg32(temp, value, ""))
	c.emit(
		asm.Add.Imm(value, -ipLen),
		asm.Sub.Reg32(temp, value),
		asm.Mov.Reg(c.reg.l4, c.reg.l3),
		asm.Add.Reg(c.reg.l4, value),
	)
	if c.covered() > 0 {
		c.guard(c.reg.l4, l4Base+c.covered(), c.plain)
	}
	c.goTo(c.joined)
}

// chain emits the steps of a class; what no step takes passes.
func (c *compiler) chain(ch plan.Chain) {
	for i, s := range ch.Steps {
		next := c.pass
		if i < len(ch.Steps)-1 {
			next = c.newLabel()
		}
		c.note.Rule = s.Rule
		if c.load.host {
			// The verifier would carry one more range of values for each rule
			// behind, and could prune none of them: quadratic.
			c.load = held{}
		}
		if s.Cond != nil {
			c.unless(s.Cond, next)
		}
		c.act(s)
		if next != c.pass {
			c.bind(next, false)
		}
	}
	c.note.Rule = noRule
	if len(ch.Steps) == 0 {
		c.goTo(c.pass)
	}
}

// swapped is a big-endian constant of size bytes as a little-endian load
// shows it, in the form of an immediate.
func swapped(v uint32, size int) int32 {
	var out uint32
	for range size {
		out = out<<8 | v&0xff
		v >>= 8
	}
	return int32(out)
}

// at is where a window starts: a base register and an offset from it.
func (c *compiler) at(w plan.Window) (asm.Register, int16) {
	if w.Header == field.IP {
		return c.reg.l3, int16(ethLen + w.Off)
	}
	return c.reg.l4, int16(l4Base + w.Off)
}

var sizes = map[int]asm.Size{1: asm.Byte, 2: asm.Half, 4: asm.Word}
