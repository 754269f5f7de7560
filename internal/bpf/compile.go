// Package bpf compiles a plan into an XDP program of eBPF instructions. It
// makes no map and calls no kernel: maps come in as file descriptors.
//
// The program's shape: one check of the packet's length, the Ethernet type,
// the layer-4 header if some rule asks for it, then the chain of the class.
// That is for plain IPv4 packets, which run straight through. All else (short
// packets, tags, ARP, IPv6, IPv4 options) stands behind the exit.
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
	"repacket/internal/rule"
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
	Hook Hook
	// Rules is the number of rules as written. At tc, entries of the counters
	// behind theirs count what was left alone, by Reason.
	Rules int
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
	// Redirect are the numbers of the interfaces that rules redirect to.
	Redirect map[string]int
	// Deadline is an ARRAY map of one 64-bit word, a CLOCK_MONOTONIC_COARSE
	// time in nanoseconds. Needed for Timed only.
	Deadline int
	// Tables are the maps of plan.Program.Tables: each an ARRAY of the one value
	// that FillArray makes.
	Tables []int
	// Draws is an ARRAY map of one value that holds plan.Program.Draws numbers
	// of 32 bits, which are taken for the random ones, so that other
	// implementations can draw the same. 0: the kernel draws.
	Draws int
}

// TooLargeError says that a program has more instructions than are allowed.
type TooLargeError struct {
	Instructions int
	// More: there are more still, which were not counted.
	More bool
}

// mostEmitted is how many instructions are emitted before the compiler gives up.
const mostEmitted = 4 * MaxInstructions

func (e *TooLargeError) Error() string {
	if e.More {
		return fmt.Sprintf("the rules come to more than %d instructions, and a program can have %d", e.Instructions, MaxInstructions)
	}
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
	c := &compiler{plan: p, opt: o, to: o.Hook.site(), entries: map[place]label{}, placed: map[place]bool{}}
	c.note.Rule = noRule
	c.use, c.longestTree = usesOf(p, o.Hook), longestTree(p)
	c.reg = registers{ctx: asm.R1, l3: asm.R2, end: asm.R3, l4: asm.R4}
	if o.Timed {
		c.reg.ctx = asm.R6
	}
	if c.use.calls() || o.Hook == TC {
		c.reg = registers{ctx: asm.R6, l3: asm.R7, l4: asm.R8, end: asm.R9}
	}
	c.pass, c.count = c.newLabel(), c.newLabel()
	c.program()
	if len(c.ins) > mostEmitted {
		return nil, &TooLargeError{mostEmitted, true}
	}
	if c.chunks {
		c.sumChunk()
	}
	if c.use.options {
		c.findMSS()
	}
	ins := c.finish()
	c.describe(ins)
	if n := slots(ins); n > MaxInstructions {
		return nil, &TooLargeError{Instructions: n}
	}
	return c, nil
}

// uses is what a program needs beyond the plain way.
type uses struct {
	sums     bool // some rule makes a whole sum
	options  bool // some rule asks for TCP's MSS
	verdicts bool // some rule does not let the packet pass
	redirect bool
	draws    bool // some rule asks for a random number
	flows    bool // some rule asks for the hash of a flow
	scratch  int  // bytes that values are worked out in
}

// calls tells whether helpers are called before the last store, so that
// registers have to outlive calls.
func (u uses) calls() bool { return u.sums || u.options || u.draws }

func usesOf(p *plan.Program, h Hook) uses {
	u := uses{draws: p.Draws > 0}
	for _, ch := range p.Chains() {
		u.options = u.options || ch.Class.MSS
		for _, s := range ch.Acting() {
			u.flows = u.flows || s.Flow != nil
			u.scratch = max(u.scratch, (s.Scratch()+7)&^7)
			u.verdicts = u.verdicts || s.Verdict != rule.Pass
			// At tc both are sent by a helper; the verdict alone drops the packet.
			sent := s.Verdict == rule.ToInterface || s.Verdict == rule.Reflect && h == TC
			u.redirect = u.redirect || sent
			for _, sum := range s.Sums {
				u.sums = u.sums || sum.Op != plan.Adjust
			}
		}
	}
	for _, l := range p.Levels { // a chain may be that of packets without the option too
		for _, n := range []*plan.Network{l.IP, l.IP6} {
			if n == nil {
				continue
			}
			for _, t := range n.L4 {
				for _, leaf := range t.Ways {
					u.options = u.options || leaf.Scans()
				}
			}
		}
	}
	return u
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
	plan *plan.Program
	opt  Options
	to   site
	reg  registers
	use  uses
	// compared: the only value that the step changes is known to differ.
	compared bool
	// chunks: a datagram is summed, so the function for it is needed.
	chunks    bool
	functions []function
	// longestTree is how many intervals are searched by comparisons written out.
	longestTree int

	pass, count label // leave the packet; count it, then leave it
	// entries are the places of the chains, placed those that have been emitted.
	entries map[place]label
	placed  map[place]bool
	// chains are those that are still to be emitted.
	chains []place
	// rest is what stands behind the exit.
	rest []func()
	// tags is the number of VLAN tags of the packets of the chain at hand; aside:
	// the first of them lies beside the packet, as tc has it.
	tags  int
	aside bool
	// emitting is the chain at hand, class is its class; onLink: it is for one number of tags.
	emitting *plan.Chain
	class    plan.Class
	onLink   bool
	// leftAlone are the places where packets are counted that are left alone.
	leftAlone map[Reason]label
}

// place is where a chain is: once for each place of the first tag, if it looks
// at the link.
type place struct {
	*plan.Chain
	aside bool
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

// program lays everything out, what is common first.
func (c *compiler) program() {
	c.prologue()
	if c.plan.Blind() {
		c.enter(c.plan.Levels[0].Other)
	} else {
		c.parse()
	}
	c.epilogue()
	for len(c.rest) > 0 || len(c.chains) > 0 {
		if len(c.rest) > 0 {
			next := c.rest[0]
			c.rest = c.rest[1:]
			next()
			continue
		}
		next := c.chains[0]
		c.chains = c.chains[1:]
		if !c.placed[next] {
			c.aside = next.aside
			c.enter(next.Chain)
		}
	}
}

// later puts something behind the exit.
func (c *compiler) later(emit func()) {
	aside := c.aside
	c.rest = append(c.rest, func() {
		c.aside = aside
		emit()
	})
}

// entry is the label of a chain, which is emitted behind all else unless it is
// entered before; an empty one is the way out.
func (c *compiler) entry(ch *plan.Chain) label {
	if len(ch.Steps) == 0 {
		return c.pass
	}
	at := c.placeOf(ch)
	l, ok := c.entries[at]
	if !ok {
		l = c.newLabel()
		c.entries[at] = l
		c.chains = append(c.chains, at)
	}
	return l
}

func (c *compiler) placeOf(ch *plan.Chain) place {
	return place{ch, c.aside && ch.OnLink()}
}

// enter goes on with a chain, and emits it here if that has not been done.
func (c *compiler) enter(ch *plan.Chain) {
	at, l := c.placeOf(ch), c.entry(ch)
	if c.placed[at] || l == c.pass || c.dead && !c.labels[l].used {
		c.goTo(l)
		return
	}
	c.placed[at] = true
	c.bind(l, true)
	was := c.class
	c.emitting = ch
	c.class, c.tags, c.onLink = ch.Class, ch.Class.Tags, ch.OnLink()
	if c.opt.Hook == TC && c.class.L3 == field.None {
		c.segmentsOfLink()
	}
	c.chain(ch)
	c.class, c.tags = was, was.Tags
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
	if c.plan.Blind() {
		return
	}
	c.about("packet")
	c.ends()
	if c.opt.Hook == TC {
		c.pull()
	}
}

// ends loads the packet's ends.
func (c *compiler) ends() {
	c.emit(
		asm.LoadMem(c.reg.l3, c.reg.ctx, c.to.data, asm.Word),
		asm.LoadMem(c.reg.end, c.reg.ctx, c.to.end, asm.Word),
	)
}

// guard jumps to short unless n bytes from base are in the first buffer.
func (c *compiler) guard(base asm.Register, n int, short label) {
	c.emit(asm.Mov.Reg(value, base), asm.Add.Imm(value, int32(n)))
	c.jumpTo(short, asm.JGT.Reg(value, c.reg.end, ""))
	c.load = held{}
}

// chain emits the steps of a class; what no step takes passes.
func (c *compiler) chain(ch *plan.Chain) {
	for i, s := range ch.Steps {
		if len(c.ins) > mostEmitted {
			break // a program that is not finished
		}
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
		switch {
		case len(s.Select) > 0:
			c.choose(s.Select, next)
		case s.Lookup != nil:
			c.lookup(s, next)
		default:
			if s.Cond != nil {
				c.unless(s.Cond, next)
			}
			c.act(s)
		}
		if next != c.pass {
			c.bind(next, false)
		}
	}
	c.note.Rule = noRule
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

// at is where a window starts: a base register and an offset from it. The
// option MSS has its base on the stack, so it may take an instruction.
func (c *compiler) at(w plan.Window) (asm.Register, int16) {
	switch w.Header {
	case field.Eth:
		return c.reg.l3, int16(w.Off - tagLen*c.tagsInBytes())
	case field.VLAN: // its type is in the packet, also where its first half is not
		return c.reg.l3, int16(ethLen + w.Off - tagLen*c.tags)
	case field.CVLAN:
		return c.reg.l3, int16(ethLen + w.Off - tagLen*(c.tags-1))
	case field.ARP, field.IP, field.IP6:
		return c.reg.l3, int16(ethLen + w.Off)
	case field.MSS:
		c.emit(asm.LoadMem(asm.R1, asm.R10, slotMSS, asm.DWord))
		return asm.R1, int16(l4Base + w.Off)
	}
	return c.reg.l4, int16(l4Base + w.Off)
}

// tagsInBytes is how many tags lie in the packet.
func (c *compiler) tagsInBytes() int {
	if c.aside {
		return c.tags - 1
	}
	return c.tags
}

var sizes = map[int]asm.Size{1: asm.Byte, 2: asm.Half, 4: asm.Word}
