package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/bpf/flowtable"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// FlowsName is the name of the map with the flows that rules track.
const FlowsName = "repacket_flows"

// flows emits what enters flows in the table, and looks them up.
type flows struct{ *code }

// How many words of 64 bits a flow has, see package flowtable.
const (
	flowWords  = 2
	flowWords6 = 5
)

// flowRoom is the size of a key with its value.
const flowRoom = 2 * 8 * flowWords6

func wordsOf(f plan.TrackedFlow) int16 {
	if f.L3 == field.IP6 {
		return flowWords6
	}
	return flowWords
}

// owner is what entries name a rule by.
func (c flows) owner(ruleIndex int) int32 {
	if c.opt.Owners == nil {
		return int32(ruleIndex + 1)
	}
	return int32(c.opt.Owners[ruleIndex])
}

// call calls a function of the table with the words at slotFlow.
func (c flows) call(kind string, f plan.TrackedFlow, ruleIndex int) {
	ip6 := f.L3 == field.IP6
	name := "flow_" + kind + "_" + f.L3.String()
	c.flowFunctions[name] = func() {
		table := c.opt.Flows
		if kind == "find" {
			table.Find(c.Assembler, name, ip6)
		} else {
			table.Track(c.Assembler, name, ip6)
		}
	}
	form := assembler.Imm(int32(flowtable.FormOf(ip6, f.Tags)))
	c.CallFunction(name, c.address(slotFlow), form, assembler.Imm(c.owner(ruleIndex)))
	c.Forget()
}

// track enters the flow of a packet that a step rewrites: as it will be, and as it
// arrived. A packet that belongs to none is rewritten all the same.
func (c flows) track(s plan.Step) {
	f, done := *s.Track, c.NewLabel()
	key := c.frameOffset(slotFlow)
	arrived := key + 8*wordsOf(f)
	c.About("flow")
	c.Forget()
	c.words(f, arrived, false, done)
	for at := int16(0); at < 8*wordsOf(f); at += 8 {
		c.Emit(asm.LoadMem(value, asm.R10, arrived+at, asm.DWord), asm.StoreMem(asm.R10, key+at, value, asm.DWord))
	}
	c.asRewritten(s, key)
	c.About("track the flow")
	c.call("track", f, s.Rule)
	c.Jump(c.skip(ReasonCollision), asm.JEq.Imm(asm.R0, flowtable.Collision, ""))
	c.Jump(c.skip(ReasonBusy), asm.JNE.Imm(asm.R0, flowtable.Tracked, ""))
	c.Bind(done)
	c.Forget()
}

// asRewritten changes the words of a flow as the step changes the packet.
func (c flows) asRewritten(s plan.Step, key int16) {
	for _, e := range s.Exchanges {
		for _, pair := range [][2]plan.Window{{e.A, e.B}, {e.B, e.A}} {
			if at, ok := placeIn(*s.Track, pair[0]); ok {
				c.fetch(value, pair[1])
				c.Emit(asm.StoreMem(asm.R10, key+at, value, sizes[pair[0].Size]))
			}
		}
	}
	for _, w := range s.Writes {
		if at, ok := placeIn(*s.Track, w.Window); ok {
			actions(c).writeTo(w, asm.R10, key+at)
		}
	}
}

// placeIn is where the bytes of a window are in the words of a flow, in bytes; ok is
// false if a flow does not have them.
func placeIn(f plan.TrackedFlow, w plan.Window) (at int16, ok bool) {
	const idAt, afterPorts = 4, 8
	both := plan.Flow{L3: f.L3}.Addresses()
	switch {
	case w.Header == f.L3 && w.Off >= both.Off && w.Off < both.Off+both.Size:
		return int16(afterPorts + w.Off - both.Off), true
	case w.Header != f.L4:
	case f.L4 == field.ICMP || f.L4 == field.ICMP6:
		return int16(w.Off - idAt), w.Off >= idAt && w.Off < idAt+2
	case f.L4 != field.None && w.Off < idAt:
		return int16(w.Off), true
	}
	return 0, false
}

// answeredBy is the place in a flow whose content an answer has at at.
func answeredBy(f plan.TrackedFlow, at int16) int16 {
	half := int16(plan.Flow{L3: f.L3}.Addresses().Size / 2)
	switch {
	case at >= 8+half:
		return at - half
	case at >= 8:
		return at + half
	case f.L4 == field.ICMP || f.L4 == field.ICMP6:
		return at
	}
	return at ^ 2
}

// find looks up the flow that a packet answers, and goes to miss if the step's rule has
// tracked none.
func (c flows) find(s plan.Step, miss assembler.Label) {
	f, hit := *s.Answers, c.NewLabel()
	key := c.frameOffset(slotFlow)
	c.About("flow that it answers")
	c.Forget()
	c.words(f, key, true, miss)
	c.zero(key+8*wordsOf(f), 8*wordsOf(f)) // the verifier wants it so
	c.call("find", f, s.Rule)
	c.Jump(hit, asm.JEq.Imm(asm.R0, c.owner(s.Rule), ""))
	c.Jump(c.skip(ReasonTorn), asm.JEq.Imm(asm.R0, flowtable.Torn, ""))
	c.Goto(miss)
	c.Bind(hit)
	c.Forget()
}

// restore leaves what a field held in the flow that was found as its image.
func (c flows) restore(f plan.TrackedFlow, x plan.Compute) {
	found := c.frameOffset(slotFlow) + 8*wordsOf(f)
	for _, w := range x.Windows() {
		at, _ := placeIn(f, w)
		c.Emit(asm.LoadMem(temp, asm.R10, found+answeredBy(f, at), sizes[w.Size]))
		c.Emit(asm.StoreMem(asm.R10, c.image(x.At(w)), temp, sizes[w.Size]))
	}
}

// Scratch registers while the words of a flow are made: helpers are called where flows are
// tracked, so the roles are elsewhere.
const (
	word = asm.R3
	part = asm.R2
)

// words makes the flow of a packet at a place on the stack, or with answered that which
// it answers. It goes to none if the packet belongs to no flow.
func (c flows) words(f plan.TrackedFlow, at int16, answered bool, none assembler.Label) {
	switch f.L4 {
	case field.TCP, field.UDP:
		c.Emit(asm.LoadMem(word, c.reg.l4, l4Base, asm.Word))
		if answered {
			c.Emit(asm.Mov.Reg(part, word), asm.RSh.Imm(part, 16), asm.LSh.Imm(word, 16))
			c.Emit(asm.Or.Reg(word, part), asm.Mov.Reg32(word, word))
		}
		c.number(f)
	case field.ICMP, field.ICMP6:
		c.message(f, answered, none)
		c.number(f)
	default:
		number := int16(protocolAt)
		if f.L3 == field.IP6 {
			number = nextAt
		}
		c.Emit(asm.LoadMem(word, c.reg.l3, number, asm.Byte), asm.LSh.Imm(word, protocolShift))
	}
	for i, w := range f.VLANs() {
		c.loadWindowOnce(w, true)
		c.Emit(asm.LSh.Imm(value, int32(protocolShift+8+12*i)), asm.Or.Reg(word, value))
	}
	c.Emit(asm.StoreMem(asm.R10, at, word, asm.DWord))
	c.addresses(f, at+8, answered)
}

// protocolShift is where the protocol is in the first word of a flow, as an amd64 or an
// arm64 loads it.
const protocolShift = 32

// number adds the number of the layer-4 protocol.
func (c flows) number(f plan.TrackedFlow) {
	c.Emit(asm.Mov.Imm(part, int32(f.L4.Header().Number)), asm.LSh.Imm(part, protocolShift), asm.Or.Reg(word, part))
}

// message makes the identifier and the type of a message of ICMP that is a request or
// answers one (RFC 792, RFC 4443). Others belong to no flow.
func (c flows) message(f plan.TrackedFlow, answered bool, none assembler.Label) {
	const idAt, header = 4, 8
	const isMessage = 1 << 24 // not so where the header is missing
	turned := c.NewLabel()
	types := [][2]int32{{8, 0}, {13, 14}}
	if f.L4 == field.ICMP6 {
		types = [][2]int32{{128, 129}}
	}
	c.Emit(asm.Mov.Reg(word, c.reg.l4), asm.Add.Imm(word, l4Base+header))
	c.Emit(asm.LoadMem(part, c.reg.ctx, c.abi.end, asm.Word))
	c.Jump(none, asm.JGT.Reg(word, part, ""))
	c.Emit(asm.LoadMem(word, c.reg.l4, l4Base, asm.Byte))
	for _, pair := range types {
		for i, kind := range pair {
			c.SkipIf(asm.JNE.Imm(word, kind, ""), func() {
				if answered {
					c.Emit(asm.Mov.Imm(word, pair[1-i]))
				}
				c.Goto(turned)
			})
		}
	}
	c.Goto(none)
	c.Bind(turned)
	c.Emit(asm.LSh.Imm(word, 16), asm.Or.Imm(word, isMessage), asm.LoadMem(part, c.reg.l4, l4Base+idAt, asm.Half), asm.Or.Reg(word, part))
}

// addresses makes the words of the addresses, exchanged for the flow that is answered.
func (c flows) addresses(f plan.TrackedFlow, at int16, answered bool) {
	base, off := c.code.at(plan.Flow{L3: f.L3}.Addresses())
	if f.L3 == field.IP {
		c.Emit(asm.LoadMem(word, base, off, asm.DWord))
		if answered {
			c.Emit(asm.Mov.Reg(part, word), asm.RSh.Imm(part, 32), asm.LSh.Imm(word, 32), asm.Or.Reg(word, part))
		}
		c.Emit(asm.StoreMem(asm.R10, at, word, asm.DWord))
		return
	}
	const words = flowWords6 - 1
	for i := range int16(words) {
		to := i
		if answered {
			to = (i + words/2) % words
		}
		c.Emit(asm.LoadMem(word, base, off+8*i, asm.DWord), asm.StoreMem(asm.R10, at+8*to, word, asm.DWord))
	}
}
