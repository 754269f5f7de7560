package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/bpf/flowtable"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

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
	if isIP6(f) {
		return flowWords6
	}
	return flowWords
}

func isIP6(f plan.TrackedFlow) bool { return field.Unquoted(f.L3) == field.IP6 }

// isMessage reports whether the flow is one of ICMP.
func isMessage(f plan.TrackedFlow) bool {
	own := field.Unquoted(f.L4)
	return own == field.ICMP || own == field.ICMP6
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
	ip6 := isIP6(f)
	name := "flow_" + kind + "_" + field.Unquoted(f.L3).String()
	c.flowFunctions[name] = func() {
		table := c.opt.Flows
		table.Indexed = c.use.originals
		switch kind {
		case "find":
			table.Find(c.Assembler, c.prefix+name, ip6)
		case "original":
			table.FindOriginal(c.Assembler, c.prefix+name, ip6)
		default:
			table.Track(c.Assembler, c.prefix+name, ip6)
		}
	}
	c.CallFunction(name, c.address(slotFlow), c.content(slotForm), assembler.Imm(c.owner(ruleIndex)))
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
	case isMessage(f):
		return int16(w.Off - idAt), w.Off >= idAt && w.Off < idAt+2
	case f.L4 != field.None && w.Off < idAt:
		return int16(w.Off), true
	}
	return 0, false
}

// isAnswer reports whether the packet that the flow is made of answers it: it does not where it is the
// packet itself that is quoted.
func isAnswer(f plan.TrackedFlow) bool { return f.Reply || !f.L3.IsQuoted() }

// answeredBy is the place in a flow whose content an answer has at at.
func answeredBy(f plan.TrackedFlow, at int16) int16 {
	half := int16(plan.Flow{L3: f.L3}.Addresses().Size / 2)
	switch {
	case !isAnswer(f):
		return at
	case at >= 8+half:
		return at - half
	case at >= 8:
		return at + half
	case isMessage(f):
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
	c.words(f, key, isAnswer(f), miss)
	c.zero(key+8*wordsOf(f), 8*wordsOf(f)) // the verifier wants it so
	kind := "find"
	if f.Reply {
		kind = "original"
	}
	c.call(kind, f, s.Rule)
	c.Jump(hit, asm.JEq.Imm(asm.R0, c.owner(s.Rule), ""))
	c.Jump(c.skip(ReasonTorn), asm.JEq.Imm(asm.R0, flowtable.Torn, ""))
	c.Goto(miss)
	c.Bind(hit)
	c.Forget()
}

// restore leaves what a field held in the flow that was found as its image.
func (c flows) restore(f plan.TrackedFlow, x plan.Compute) {
	if f.L3.IsQuoted() && !x.Field.Proto.IsQuoted() {
		c.restoreEnd(f, x)
		return
	}
	found := c.frameOffset(slotFlow) + 8*wordsOf(f)
	for _, w := range x.Windows() {
		at, _ := placeIn(f, w)
		c.Emit(asm.LoadMem(temp, asm.R10, found+answeredBy(f, at), sizes[w.Size]))
		c.Emit(asm.StoreMem(asm.R10, c.image(x.At(w)), temp, sizes[w.Size]))
	}
}

// restoreEnd is restore for an address of an ICMP error: where it is that of the end of the
// quoted packet that the error comes from, or goes to, it follows; else it stays.
func (c flows) restoreEnd(f plan.TrackedFlow, x plan.Compute) {
	found := c.frameOffset(slotFlow) + 8*wordsOf(f)
	stays, done := c.NewLabel(), c.NewLabel()
	src, dest := rule.Swap{Proto: x.Field.Proto}.Fields()
	end := field.Quoted(dest)
	if x.Field == dest {
		end = field.Quoted(src)
	}
	outer, inner := x.Windows(), fieldWindows(end)
	for i, w := range outer {
		c.fetch(value, w)
		c.fetch(temp, inner[i])
		c.Jump(stays, asm.JNE.Reg(value, temp, ""))
	}
	for i, w := range outer {
		at, _ := placeIn(f, inner[i])
		c.Emit(asm.LoadMem(temp, asm.R10, found+answeredBy(f, at), sizes[w.Size]))
		c.Emit(asm.StoreMem(asm.R10, c.image(x.At(w)), temp, sizes[w.Size]))
	}
	c.Goto(done)
	c.Bind(stays)
	for _, w := range outer {
		c.fetch(temp, w)
		c.Emit(asm.StoreMem(asm.R10, c.image(x.At(w)), temp, sizes[w.Size]))
	}
	c.Bind(done)
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
	switch {
	case isMessage(f):
		c.message(f, answered, none)
		c.number(f)
	case f.L4 != field.None:
		base, off := c.at(plan.Window{Header: f.L4})
		c.Emit(asm.LoadMem(word, base, off, asm.Word))
		if answered {
			c.Emit(asm.Mov.Reg(part, word), asm.RSh.Imm(part, 16), asm.LSh.Imm(word, 16))
			c.Emit(asm.Or.Reg(word, part), asm.Mov.Reg32(word, word))
		}
		c.number(f)
	default:
		number := protocolAt - ethLen
		if isIP6(f) {
			number = nextAt - ethLen
		}
		base, off := c.at(plan.Window{Header: f.L3, Off: number})
		c.Emit(asm.LoadMem(word, base, off, asm.Byte), asm.LSh.Imm(word, protocolShift))
	}
	c.vlans(f)
	c.Emit(asm.StoreMem(asm.R10, at, word, asm.DWord))
	c.addresses(f, at+8, answered)
}

// vlans adds the identifiers of the VLAN tags and leaves the form of the flow in its slot. How many
// bytes of tags there are says the place of layer 3, which is behind them.
func (c flows) vlans(f plan.TrackedFlow) {
	const last, outer = ethTypeAt - 2, ethTypeAt - 2 - tagLen
	form := func(tags int) { c.saveImm(slotForm, int64(flowtable.FormOf(isIP6(f), tags))) }
	form(0)
	if c.plan.Link != field.Ethernet {
		return
	}
	id := func(at int16, nth int) {
		c.Emit(asm.LoadMem(part, c.reg.l3, at, asm.Half), asm.HostTo(asm.BE, part, asm.Half))
		c.addID(nth)
	}
	bare, two, inPacket := c.NewLabel(), c.NewLabel(), c.NewLabel()
	c.offset(c.reg.l3, 0)
	if c.opt.Hook == TC {
		c.Emit(asm.LoadMem(part, c.reg.ctx, skbTagged, asm.Word))
		c.Jump(inPacket, asm.JEq.Imm(part, 0, ""))
		form(1)
		c.Emit(asm.LoadMem(part, c.reg.ctx, skbTag, asm.Word))
		c.addID(0)
		c.Jump(bare, asm.JEq.Imm(value, 0, ""))
		form(2)
		id(last, 1)
		c.Goto(bare)
		c.Bind(inPacket)
	}
	c.Jump(bare, asm.JEq.Imm(value, 0, ""))
	c.Jump(two, asm.JNE.Imm(value, tagLen, ""))
	form(1)
	id(last, 0)
	c.Goto(bare)
	c.Bind(two)
	form(2)
	id(outer, 0)
	id(last, 1)
	c.Bind(bare)
}

// addID adds the identifier of tag control information in part, as that of tag number nth.
func (c flows) addID(nth int) {
	c.Emit(asm.And.Imm(part, 0xfff), asm.LSh.Imm(part, int32(protocolShift+8+12*nth)), asm.Or.Reg(word, part))
}

// protocolShift is where the protocol is in the first word of a flow, as an amd64 or an
// arm64 loads it.
const protocolShift = 32

// number adds the number of the layer-4 protocol.
func (c flows) number(f plan.TrackedFlow) {
	c.Emit(asm.Mov.Imm(part, int32(field.Unquoted(f.L4).Header().Number)), asm.LSh.Imm(part, protocolShift), asm.Or.Reg(word, part))
}

// message makes the identifier and the type of a message of ICMP that is a request or
// answers one (RFC 792, RFC 4443). Others belong to no flow.
func (c flows) message(f plan.TrackedFlow, answered bool, none assembler.Label) {
	const idAt, header = 4, 8
	const there = 1 << 24 // the header, else this would be a flow without it
	turned := c.NewLabel()
	types := [][2]int32{{8, 0}, {13, 14}}
	if field.Unquoted(f.L4) == field.ICMP6 {
		types = [][2]int32{{128, 129}}
	}
	base, off := c.at(plan.Window{Header: f.L4})
	if f.L4 == field.ICMP6 { // four bytes of it are there, of the others eight
		c.Emit(asm.Mov.Reg(word, base), asm.Add.Imm(word, int32(off)+header))
		c.Emit(asm.LoadMem(part, c.reg.ctx, c.abi.end, asm.Word))
		c.Jump(none, asm.JGT.Reg(word, part, ""))
	}
	c.Emit(asm.LoadMem(word, base, off, asm.Byte))
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
	c.Emit(asm.LSh.Imm(word, 16), asm.Or.Imm(word, there), asm.LoadMem(part, base, off+idAt, asm.Half), asm.Or.Reg(word, part))
}

// addresses makes the words of the addresses, exchanged for the flow that is answered.
func (c flows) addresses(f plan.TrackedFlow, at int16, answered bool) {
	base, off := c.at(plan.Flow{L3: f.L3}.Addresses())
	if !isIP6(f) {
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
