package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// Of IPv6 (RFC 8200), in bytes: the header's length and places in it, from
// where Ethernet would begin.
const (
	ip6Len      = 40
	payloadAt   = ethLen + 4
	nextAt      = ethLen + 6
	hopByHop    = 0
	routing     = 43
	fragmentID  = 44
	destination = 60
	// unit is that of an extension header's length, and the shortest one.
	unit = 8
	// maxExtensions is how many extension headers are stepped over.
	maxExtensions = 8
	// notExtensions has a bit for each next header below 64 that is no extension
	// header behind another one.
	notExtensions = ^int64(1<<routing | 1<<fragmentID | 1<<destination)
)

// What has been seen among the extension headers, as bits of slotSeen.
const (
	seenRouting = 0x00ff // segments left in a routing header
	seenMore    = 0x0100 // a fragment that others follow: its flag as it lies in memory
	// destination options, as a bit of itself, and among them the Home Address
	seenDestination, destinationBit = 0x0200, 9
	seenHome                        = 0x0400
)

// ip6 finds the layer-4 header of an IPv6 packet and sends it to its chain. The
// type says that it is one; the header is there if its 40 bytes are.
func (p *parser) ip6(n *plan.Network, other assembler.Label) {
	if n == nil {
		p.Goto(other)
		return
	}
	p.About("ip6 header")
	p.guard(p.reg.l3, ethLen+ip6Len, other)
	if len(n.L4) == 0 && n.Summed == nil {
		p.enter(n.Bare)
		return
	}
	bare, walk := p.entry(n.Bare), p.NewLabel()
	p.About("ip6 version")
	p.Emit(asm.LoadMem(value, p.reg.l3, ethLen, asm.Byte), asm.And.Imm(value, 0xf0))
	p.Jump(bare, asm.JNE.Imm(value, 0x60, ""))
	p.About("payload length")
	p.Emit(asm.Mov.Reg(p.reg.l4, p.reg.l3), asm.Add.Imm(p.reg.l4, ip6Len-ipLen))
	p.loadBE(temp, payloadAt)
	if p.use.sums {
		p.save(slotLeft, temp)
	}
	if p.use.sums || p.use.flows {
		p.saveImm(slotSeen, 0)
	}
	p.About("next header")
	p.Emit(asm.Add.Imm32(temp, -1), asm.LoadMem(value, p.reg.l3, nextAt, asm.Byte)) // 0 is no limit, as in ip
	layer4 := p.nextHeaders(n, bare)
	for _, id := range []int32{hopByHop, routing, fragmentID, destination} {
		p.Jump(walk, asm.JEq.Imm(value, id, ""))
	}
	p.others6(n, bare, plan.Direct)
	layer4(plan.Direct)
	p.Bind(walk)
	p.walk(n, bare)
}

// loadBE brings two bytes behind l3 into a register, as a number.
func (p *parser) loadBE(dst asm.Register, at int16) {
	p.Emit(asm.LoadMem(dst, p.reg.l3, at, asm.Half), asm.HostTo(asm.BE, dst, asm.Half))
}

// nextHeaders goes by the next header in value, and returns what emits where it
// goes to.
func (p *parser) nextHeaders(n *plan.Network, bare assembler.Label) func(plan.Way) {
	entries := make([]assembler.Label, len(n.L4))
	for i, t := range n.L4 {
		entries[i] = p.NewLabel()
		p.Jump(entries[i], asm.JEq.Imm(value, int32(t.Proto.Header().Number), ""))
	}
	return func(way plan.Way) {
		for i, t := range n.L4 {
			p.Bind(entries[i])
			p.transport(t, lengths{}, bare, way)
		}
	}
}

// walk steps over extension headers, of which there is at least one. Hop-by-hop
// stands first or not at all.
//
// The verifier follows every way through every turn of the loop. So that these do
// not multiply, all ways through one turn must look alike to it at its end: what is
// compared is worked out from a value and is not the value (what was compared is
// known from then on), and what depends on the kind of a header is multiplied by
// 0 or 1 and not branched on. A turn is as short as can be, too: of all that a start
// takes, the verifier's time is most.
func (p *parser) walk(n *plan.Network, bare assembler.Label) {
	next, step, walked := temp, p.NewLabel(), p.NewLabel()
	p.anyTags()
	p.payload(n)
	p.About("extension header")
	p.Emit(asm.LoadMem(next, p.reg.l3, nextAt, asm.Byte)) // nothing is known of it
	p.saveImm(slotSteps, 0)
	p.BindLoop(step)
	p.load(value, slotSteps)
	p.Jump(bare, asm.JGE.Imm(value, maxExtensions, ""))
	p.Emit(asm.Add.Imm(value, 1))
	p.save(slotSteps, value)
	p.extension(n, bare)
	p.Emit(asm.Mov.Reg(value, next), asm.RSh.Imm(value, 6))
	p.Jump(walked, asm.JNE.Imm(value, 0, ""))
	p.Emit(asm.LoadImm(value, notExtensions, asm.DWord), asm.RSh.Reg(value, next))
	p.Jump(walked, asm.JSet.Imm(value, 1, ""))
	p.Goto(step)
	p.Bind(walked)
	p.walked(n, bare)
	layer4 := p.nextHeaders(n, bare)
	p.others6(n, bare, plan.Extended)
	layer4(plan.Extended)
}

// others6 is for packets in which no other header was found.
func (p *parser) others6(n *plan.Network, bare assembler.Label, way plan.Way) {
	if n.Summed == nil {
		p.Goto(bare)
		return
	}
	p.others(n, field.IP6, 0, bare, way)
}

// anyTags makes packets look the same to the verifier whatever tags have been
// stepped over, and whatever the next header is. It would follow the walk for each
// number of tags and kind of header otherwise, and take 6 ms for one rule instead
// of 2: of all that a start takes, most.
func (p *parser) anyTags() {
	p.About("ip6 header")
	if len(p.plan.Levels) == 1 && p.plan.Link != field.RawIP {
		p.Emit(
			asm.LoadMem(temp, p.reg.ctx, p.abi.data, asm.Word),
			asm.Sub.Reg(p.reg.l3, temp),
			asm.And.Imm(p.reg.l3, maxTags*tagLen|tagLen), // a difference of pointers may be anything to it
			asm.Add.Reg(p.reg.l3, temp),
		)
		p.guard(p.reg.l3, ethLen+ip6Len, p.pass) // which the verifier has forgotten
		p.Emit(asm.Mov.Reg(p.reg.l4, p.reg.l3), asm.Add.Imm(p.reg.l4, ip6Len-ipLen))
	}
	p.Emit(asm.LoadMem(value, p.reg.l3, nextAt, asm.Byte))
}

// payload leaves in slotLeft how many bytes follow the IPv6 header: its payload
// length, or where that is 0, as segmentation offload sends it, no less than there are.
func (p *parser) payload(n *plan.Network) {
	some := p.NewLabel()
	p.About("payload length")
	p.loadBE(temp, payloadAt)
	p.Jump(some, asm.JNE.Imm(temp, 0, ""))
	// The frame alone counts, and every header has a guard. To the verifier this is
	// any number, so it looks at all packets at once from here on.
	p.Emit(asm.Mov.Reg(temp, p.end()), asm.Sub.Reg(temp, p.reg.l3))
	p.Bind(some)
	p.save(slotLeft, temp)
	if p.sees(n) {
		p.saveImm(slotSeen, 0)
	}
}

// extension steps over the extension header at l4, of the kind in temp, and
// leaves the kind of the next one there. Whether it lies inside the payload is seen
// at the end: each takes something, so what is left then is less than nothing.
func (p *parser) extension(n *plan.Network, bare assembler.Label) {
	is := func(kind int32) { // turns temp into 1 if it is kind, else into 0
		p.Emit(asm.Xor.Imm(temp, kind), asm.Add.Imm(temp, -1))
		p.Emit(asm.RSh.Imm(temp, 63)) // the sign: of 0 less 1 alone
	}
	see := func() { // notes what is in value
		p.load(temp, slotSeen)
		p.Emit(asm.Or.Reg(temp, value))
		p.save(slotSeen, temp)
		p.load(temp, slotNext)
	}
	p.guard(p.reg.l4, l4Base+unit, bare)
	if p.sees(n) {
		p.save(slotNext, temp)
	}
	is(fragmentID)
	p.Emit(asm.LoadMem(value, p.reg.l4, l4Base+2, asm.Half), asm.Mul.Reg(value, temp))
	p.Jump(bare, asm.JSet.Imm32(value, swapped(0xfff8, 2), "")) // a later fragment
	if p.sees(n) {
		p.Emit(asm.And.Imm(value, seenMore))
		see()
		is(routing)
		p.Emit(asm.LoadMem(value, p.reg.l4, l4Base+3, asm.Byte), asm.Mul.Reg(value, temp)) // segments left
		see()
		if p.homes(n) {
			is(destination)
			p.Emit(asm.Mov.Reg(value, temp), asm.LSh.Imm(value, destinationBit))
			see()
		}
		is(fragmentID)
	}
	// A fragment header has 8 bytes; the others say how many, in units of 8
	// bytes of which the first is not counted (RFC 8200 section 4). The mask takes
	// nothing away; to the verifier it takes the least of 8 away, so that the places
	// behind the most headers are all those behind fewer, and are looked at alone.
	p.Emit(
		asm.Xor.Imm(temp, 1), asm.LoadMem(value, p.reg.l4, l4Base+1, asm.Byte), asm.Mul.Reg(value, temp),
		asm.Add.Imm(value, 1), asm.LSh.Imm(value, 3), asm.And.Imm(value, 0xff8),
		asm.LoadMem(temp, p.reg.l4, l4Base, asm.Byte),
		asm.Add.Reg(p.reg.l4, value),
	)
}

// sees reports whether anybody asks what has been seen.
func (p *parser) sees(n *plan.Network) bool {
	return p.use.sums || p.use.flows || tells(n, plan.Extended, plan.Routed) || p.homes(n)
}

// walked leaves the next header in value and in temp the length of what is
// left, as transport wants it. The verifier comes here with another range of l4
// for each number of extension headers, and would look at the chains each time;
// the difference of two pointers tells it nothing, so all these look the same.
func (p *parser) walked(n *plan.Network, bare assembler.Label) {
	p.About("next header")
	p.save(slotNext, temp)
	p.Emit(
		asm.Mov.Reg(value, p.reg.l4), asm.Sub.Reg(value, p.reg.l3),
		asm.And.Imm(value, 0x7fff), // 20 and 8 headers of 2048 bytes at most
		asm.Mov.Reg(p.reg.l4, p.reg.l3), asm.Add.Reg(p.reg.l4, value),
	)
	p.load(temp, slotLeft)
	p.Emit(asm.Sub.Reg(temp, value), asm.Add.Imm(temp, ip6Len-ipLen))
	p.Jump(bare, asm.JSLT.Imm(temp, 1, ""))
	if p.use.sums {
		p.save(slotLeft, temp)
	}
	p.Emit(asm.Add.Imm(temp, -1))
	if p.homes(n) {
		p.home()
	}
	p.load(value, slotNext)
}
