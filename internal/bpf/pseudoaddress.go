package bpf

import (
	"slices"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// Some packets have an address of the pseudo-header in an option behind the IP header:
// that of the last hop in a source route of IPv4 (RFC 791 section 3.1), or the Home
// Address of IPv6 (RFC 6275 section 6.3). Functions that bpf_loop calls for one option
// after the other look for it, in packets with options alone.
const (
	routeFunction = "find_last_hop"
	homeFunction  = "find_home"

	looseRoute, strictRoute = 131, 137
	maxIPOptions            = 40 // one byte each
	pointerAt               = 2  // the next hop, from 1 at the start of the option
	shortestRoute           = 7  // one address

	homeOption, homeLen = 0xc9, 16
	// maxSearched is how many extension headers and options the Home Address is looked
	// for among, each of them counted.
	maxSearched = 64
)

// tells reports whether some packets are treated otherwise if they come by another way.
func tells(n *plan.Network, other, than plan.Way) bool {
	differ := func(t plan.Transport) bool { return t.Ways[other] != t.Ways[than] }
	return n.Summed != nil && differ(*n.Summed) || slices.ContainsFunc(n.L4, differ)
}

// homes reports whether anybody asks for the option Home Address.
func (p *parser) homes(n *plan.Network) bool {
	return p.use.pseudo || tells(n, plan.Homed, plan.Extended) || tells(n, plan.HomedRouted, plan.Routed)
}

// search calls a function up to most times, which leaves in slotFound, and in value, where
// the address is, or 0.
func (p *parser) search(function string, most int32, emit func()) {
	p.saveImm(slotFound, 0)
	p.loop(function, emit, func() { p.Emit(asm.Mov.Imm(asm.R1, most)) })
	p.load(value, slotFound)
}

// loop calls a function as often as turns leaves in R1. All registers but value are as
// they were behind it.
func (p *parser) loop(function string, emit, turns func()) {
	kept := []struct {
		slot
		asm.Register
	}{{slotKeptLength, temp}, {slotContext, p.reg.ctx}, {slotKeptL3, p.reg.l3}, {slotKeptL4, p.reg.l4}, {slotKeptEnd, p.reg.end}}
	for _, k := range kept {
		if k.slot == slotContext || k.Register < asm.R6 { // a call takes that away
			p.save(k.slot, k.Register)
		}
	}
	turns()
	p.Loop(function)
	p.functions[function] = emit
	for _, k := range kept {
		if k.Register < asm.R6 {
			p.load(k.Register, k.slot)
		}
	}
}

// place leaves in a slot how far a place n bytes behind a base is from the packet's
// start, which is in temp. The verifier does not know how far that is: kernels before
// 6.7 have it look at one call of a function only, and take what is true then for true.
func (p *parser) place(s slot, base asm.Register, n int32) {
	p.Emit(asm.Mov.Reg(value, base), asm.Sub.Reg(value, temp), asm.Add.Imm(value, n))
	p.save(s, value)
}

// anywhere makes packets over IPv4 look the same to the verifier whatever tags and options
// have been stepped over, see anyTags. So many bytes of the header at l4 are known to be there.
func (p *parser) anywhere(known int) {
	if len(p.plan.Levels) > 1 || p.plan.Link == field.RawIP {
		return
	}
	const mostOptions = 0x3f // 40 bytes
	p.save(slotKeptLength, temp)
	p.Emit(
		asm.LoadMem(temp, p.reg.ctx, p.abi.data, asm.Word),
		asm.Sub.Reg(p.reg.l4, p.reg.l3), asm.And.Imm(p.reg.l4, mostOptions),
		asm.Sub.Reg(p.reg.l3, temp), asm.And.Imm(p.reg.l3, maxTags*tagLen|tagLen), asm.Add.Reg(p.reg.l3, temp),
		asm.Add.Reg(p.reg.l4, p.reg.l3),
	)
	p.guard(p.reg.l3, ethLen+ipLen, p.pass) // which the verifier has forgotten
	p.guard(p.reg.l4, l4Base+known, p.pass)
	p.load(temp, slotKeptLength)
}

// lastHop goes to routed, if that is not noLabel, if there is a source route that has hops
// left among the options of the IPv4 header.
func (p *parser) lastHop(routed assembler.Label) {
	p.About("source route")
	p.save(slotKeptLength, temp)
	p.Emit(asm.LoadMem(temp, p.reg.ctx, p.abi.data, asm.Word))
	p.place(slotOption, p.reg.l3, ethLen+ipLen)
	p.place(slotL4, p.reg.l4, l4Base)
	p.load(temp, slotKeptLength)
	p.search(routeFunction, maxIPOptions, p.findLastHop)
	if !p.use.pseudo {
		p.Jump(routed, asm.JNE.Imm(value, 0, ""))
		return
	}
	none := p.NewLabel()
	p.Jump(none, asm.JEq.Imm(value, 0, ""))
	p.standIn("ip_dest")
	if routed != noLabel {
		p.Goto(routed)
	}
	p.Bind(none)
}

// standIn turns the sum of an address in slotAddress into what it is more than that of the
// address in a field, for which it stands. slotKeptLength has what temp has.
func (p *parser) standIn(name string) {
	f := field.MustByName(name)
	p.load(value, slotAddress)
	for off := f.Byte(); off < f.Byte()+f.Size(); off += 4 {
		p.Emit(asm.LoadMem(temp, p.reg.l3, int16(ethLen+off), asm.Word), asm.Xor.Imm32(temp, -1), asm.Add.Reg(value, temp))
	}
	checksums{p.code}.fold(2*int64(f.Size()/4)*0xffffffff, 0xffff)
	p.save(slotAddress, value)
	p.load(temp, slotKeptLength)
}

// home notes in slotSeen whether the option Home Address is among the extension headers,
// which have been stepped over. In temp is the length of what is left, in slotNext the
// next header.
func (p *parser) home() {
	none := p.NewLabel()
	p.About("home address")
	p.load(value, slotSeen)
	p.Emit(asm.And.Imm(value, seenDestination))
	p.Jump(none, asm.JEq.Imm(value, 0, ""))
	p.save(slotKeptLength, temp)
	p.Emit(asm.LoadMem(temp, p.reg.ctx, p.abi.data, asm.Word))
	p.place(slotOption, p.reg.l3, ethLen+ip6Len)
	p.save(slotOptionsEnd, value)
	p.place(slotL4, p.reg.l4, l4Base)
	p.Emit(asm.LoadMem(value, p.reg.l3, nextAt, asm.Byte))
	p.save(slotKind, value)
	p.load(temp, slotKeptLength)
	p.search(homeFunction, maxSearched, p.findHome)
	p.Jump(none, asm.JEq.Imm(value, 0, ""))
	if p.use.pseudo {
		p.standIn("ip6_src")
	}
	p.load(value, slotSeen)
	p.Emit(asm.Or.Imm(value, seenHome))
	p.save(slotSeen, value)
	p.Bind(none)
}

// finder emits a function that looks for an option. R2 is the frame pointer of the
// program; it returns 1 to end the loop.
type finder struct {
	*parser
	done assembler.Label // ends the loop
}

// Registers of the functions, and how much of their stack they read into.
const (
	finderFrame = asm.R6
	finderAt    = asm.R7
	finderLen   = asm.R8
	finderEnd   = asm.R9
	finderRoom  = 16
)

func (p *parser) newFinder() finder {
	p.frame.Phase = parsing
	p.About("an option")
	p.Emit(asm.Mov.Reg(finderFrame, asm.R2))
	return finder{p, p.NewLabel()}
}

func (f finder) load(dst asm.Register, s slot) {
	f.Emit(asm.LoadMem(dst, finderFrame, f.frameOffset(s), asm.DWord))
}

func (f finder) save(s slot, src asm.Register) {
	f.Emit(asm.StoreMem(finderFrame, f.frameOffset(s), src, asm.DWord))
}

// read brings bytes of the packet onto the stack, from the place in a register on.
func (f finder) read(from asm.Register, size int32) {
	f.load(asm.R1, slotContext)
	f.Call(f.abi.loadBytes, assembler.Reg(asm.R1), assembler.Reg(from), assembler.Stack(-finderRoom), assembler.Imm(size))
	f.Jump(f.done, asm.JNE.Imm(asm.R0, 0, ""))
}

func (f finder) byte(dst asm.Register, at int16) {
	f.Emit(asm.LoadMem(dst, asm.R10, at-finderRoom, asm.Byte))
}

// found ends the search with the address at finderAt. Its sum is kept for checksums that
// are recomputed.
func (f finder) found(size int32) {
	f.save(slotFound, finderAt)
	if f.use.pseudo {
		f.read(finderAt, size)
		f.Emit(asm.Mov.Imm(value, 0))
		for at := int16(0); at < int16(size); at += 4 {
			f.Emit(asm.LoadMem(temp, asm.R10, at-finderRoom, asm.Word), asm.Add.Reg(value, temp))
		}
		f.save(slotAddress, value)
	}
	f.BindLoop(f.done)
	f.Emit(asm.Mov.Imm(asm.R0, 1))
	f.Exit()
}

// next goes on with what is so far behind finderAt as finderLen says.
func (f finder) next() {
	f.Emit(asm.Add.Reg(finderAt, finderLen))
	f.save(slotOption, finderAt)
	f.Emit(asm.Mov.Imm(asm.R0, 0))
	f.Exit()
}

// findLastHop looks at the option of IPv4 at slotOption. Behind the options, at slotL4,
// more bytes follow.
func (p *parser) findLastHop() {
	f := p.newFinder()
	more, route := f.NewLabel(), f.NewLabel()
	f.load(finderAt, slotOption)
	f.load(finderEnd, slotL4)
	f.Jump(f.done, asm.JGE.Reg(finderAt, finderEnd, ""))
	f.read(finderAt, pointerAt+1)
	f.byte(value, 0)
	f.Emit(asm.Mov.Imm(finderLen, 1))
	f.Jump(f.done, asm.JEq.Imm(value, kindEnd, ""))
	f.Jump(more, asm.JEq.Imm(value, kindNothing, ""))
	f.byte(finderLen, 1)
	f.Jump(f.done, asm.JLT.Imm(finderLen, 2, ""))
	f.Emit(asm.Mov.Reg(temp, finderAt), asm.Add.Reg(temp, finderLen))
	f.Jump(f.done, asm.JGT.Reg(temp, finderEnd, ""))
	f.Jump(route, asm.JEq.Imm(value, looseRoute, ""))
	f.Jump(more, asm.JNE.Imm(value, strictRoute, ""))
	f.Bind(route)
	f.Jump(more, asm.JLT.Imm(finderLen, shortestRoute, ""))
	f.byte(value, pointerAt)
	f.Jump(more, asm.JGT.Reg(value, finderLen, ""))
	f.Emit(asm.Mov.Reg(finderAt, temp), asm.Add.Imm(finderAt, -4))
	f.found(4)
	f.Bind(more)
	f.next()
}

// findHome looks at the option of IPv6 at slotOption, or where an extension header ends
// at the next one.
func (p *parser) findHome() {
	f := p.newFinder()
	more, header := f.NewLabel(), f.NewLabel()
	f.load(finderAt, slotOption)
	f.load(finderEnd, slotOptionsEnd)
	f.Jump(header, asm.JGE.Reg(finderAt, finderEnd, ""))
	f.read(finderAt, 2)
	f.byte(value, 0)
	f.Emit(asm.Mov.Imm(finderLen, 1))
	f.Jump(more, asm.JEq.Imm(value, 0, "")) // Pad1
	f.byte(finderLen, 1)
	f.Emit(asm.Add.Imm(finderLen, 2))
	f.Jump(more, asm.JNE.Imm(value, homeOption, ""))
	f.Jump(more, asm.JNE.Imm(finderLen, 2+homeLen, ""))
	f.Emit(asm.Mov.Reg(temp, finderAt), asm.Add.Imm(temp, 2+homeLen))
	f.Jump(more, asm.JGT.Reg(temp, finderEnd, ""))
	f.Emit(asm.Add.Imm(finderAt, 2))
	f.found(homeLen)
	f.Bind(more)
	f.next()
	f.Bind(header)
	f.extension()
}

// extension goes on with the options of the extension header at finderEnd, if it is one
// of destination options, or behind it. slotL4 is where the last one ends; more bytes follow.
func (f finder) extension() {
	measured, other := f.NewLabel(), f.NewLabel()
	f.load(temp, slotL4)
	f.Jump(f.done, asm.JGE.Reg(finderEnd, temp, ""))
	f.read(finderEnd, 2)
	f.load(temp, slotKind)
	f.byte(value, 0)
	f.save(slotKind, value)
	f.Emit(asm.Mov.Imm(finderLen, unit))
	f.Jump(measured, asm.JEq.Imm(temp, fragmentID, ""))
	f.byte(finderLen, 1)
	f.Emit(asm.Add.Imm(finderLen, 1), asm.LSh.Imm(finderLen, 3))
	f.Bind(measured)
	f.Emit(asm.Mov.Reg(finderAt, finderEnd), asm.Add.Reg(finderEnd, finderLen))
	f.save(slotOptionsEnd, finderEnd)
	f.Jump(other, asm.JNE.Imm(temp, destination, ""))
	f.Emit(asm.Mov.Imm(finderLen, 2))
	f.Bind(other)
	f.next() // all of it, or its first two bytes
}
