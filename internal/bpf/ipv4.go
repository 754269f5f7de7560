package bpf

import (
	"slices"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/plan"
)

// ip finds the layer-4 header of an IPv4 packet and sends it to its chain. In
// temp is the total length less 1 and less the options: so 0, which
// segmentation offload sends and which leaves the frame alone to count, is the
// largest. That need(n) bytes are there is known.
func (p *parser) ip(n *plan.Network) {
	if len(n.L4) == 0 {
		p.enter(n.Bare)
		return
	}
	if n.Summed != nil {
		p.ipSummed(n)
		return
	}
	bare, option, joined := p.entry(n.Bare), p.NewLabel(), p.NewLabel()
	p.later(func() {
		p.ipOptions(n, option, bare)
		p.routes(n, bare)
		p.Goto(joined)
	})
	if one := n.L4; len(one) == 1 { // first: most packets that do not match are of another protocol
		p.About("protocol, fragment")
		p.Emit(asm.LoadMem(value, p.reg.l3, protocolAt, asm.Byte))
		p.Jump(bare, asm.JNE.Imm32(value, int32(one[0].Proto.Header().Number), ""))
		p.Emit(asm.LoadMem(value, p.reg.l3, fragmentAt, asm.Half))
		p.Jump(bare, asm.JSet.Imm32(value, swapped(0x1fff, 2), ""))
	}
	p.About("options")
	p.Emit(asm.LoadMem(value, p.reg.l3, ethLen, asm.Byte))
	p.Jump(option, asm.JNE.Imm32(value, plainVerHL, ""))
	p.Emit(asm.Mov.Reg(p.reg.l4, p.reg.l3))
	p.totalLength()
	p.BindLoop(joined)
	if len(n.L4) == 1 {
		p.transport(n.L4[0], lengths{covered(n), ipLen}, bare, plan.Direct)
		return
	}
	// Fragment offset, time to live and protocol, in one load; no offset and
	// the protocol are looked for, everything else is masked out.
	p.About("fragment, protocol")
	p.Emit(asm.LoadMem(value, p.reg.l3, fragmentAt, asm.Word), asm.And.Imm32(value, swapped(0x1fff00ff, 4)))
	last := len(n.L4) - 1
	entries := make([]assembler.Label, last)
	for i, t := range n.L4 {
		number := swapped(uint32(t.Proto.Header().Number), 4)
		if i == last {
			p.Jump(bare, asm.JNE.Imm32(value, number, ""))
			break
		}
		entries[i] = p.NewLabel()
		p.Jump(entries[i], asm.JEq.Imm32(value, number, ""))
	}
	for i := last; i >= 0; i-- {
		if i != last {
			p.Bind(entries[i])
		}
		p.transport(n.L4[i], lengths{covered(n), ipLen}, bare, plan.Direct)
	}
}

func (p *parser) totalLength() {
	p.About("total length")
	p.Emit(asm.LoadMem(temp, p.reg.l3, totLenAt, asm.Half), asm.HostTo(asm.BE, temp, asm.Half), asm.Add.Imm32(temp, -1))
}

// ipOptions finds the layer-4 header behind IPv4 options; version and header
// length are in value. A version that is not 4, or a header of less than five
// words, has nothing behind it.
func (p *parser) ipOptions(n *plan.Network, here, bare assembler.Label) {
	p.Bind(here)
	p.About("options")
	p.Emit(asm.Mov.Reg(temp, value), asm.And.Imm(temp, 0xf0))
	p.Jump(bare, asm.JNE.Imm(temp, 0x40, ""))
	p.Emit(asm.And.Imm(value, 0xf))
	p.Jump(bare, asm.JLT.Imm(value, 5, ""))
	p.Emit(asm.LSh.Imm(value, 2))
	p.totalLength()
	p.Jump(bare, asm.JLT.Reg32(temp, value, ""))
	p.Emit(asm.Add.Imm(value, -ipLen), asm.Sub.Reg32(temp, value))
	p.Emit(asm.Mov.Reg(p.reg.l4, p.reg.l3), asm.Add.Reg(p.reg.l4, value))
	if covered(n) > 0 {
		p.guard(p.reg.l4, l4Base+covered(n), bare)
	}
}

// routes goes on with packets that have a source route with hops left among their IPv4
// options, if these are treated in their own way. In temp is the length as transport has it.
func (p *parser) routes(n *plan.Network, bare assembler.Label) {
	if !tells(n, plan.Routed, plan.Direct) {
		if p.use.pseudo {
			p.anywhere(covered(n))
			p.lastHop(noLabel)
		}
		return
	}
	routed, rest := p.NewLabel(), p.NewLabel()
	p.anywhere(covered(n))
	p.lastHop(routed)
	p.later(func() {
		p.Bind(routed)
		entries := make([]assembler.Label, len(n.L4))
		for i := range entries {
			entries[i] = p.NewLabel()
		}
		p.protocols(n, entries, rest)
		for i, t := range slices.Backward(n.L4) {
			p.Bind(entries[i])
			p.transport(t, lengths{covered(n), ipLen}, bare, plan.Routed)
		}
		p.Bind(rest)
		p.others4(n, bare, plan.Routed)
	})
}

// lengths are what is known of a layer-4 header, in bytes: how many of it are there,
// and how many in front of it are counted by the length in temp.
type lengths struct{ known, ahead int }

// transport checks that a layer-4 header is all there, then goes to its chain; else
// to bare. In temp is the length of the datagram less 1, and of what is ahead of it.
func (p *parser) transport(t plan.Transport, l lengths, bare assembler.Label, way plan.Way) {
	p.About(t.Proto.String() + " header")
	fixed := t.Proto.Header().Fixed
	if fixed > l.known {
		p.guard(p.reg.l4, l4Base+fixed, bare)
	}
	p.Jump(bare, asm.JLT.Imm32(temp, int32(l.ahead+fixed-1), ""))
	p.byWay(t, l.ahead, way)
}

// byWay goes to the chain of the way, which of IPv6 what has been seen may still change.
func (p *parser) byWay(t plan.Transport, ahead int, way plan.Way) {
	if way != plan.Extended {
		p.leaf(t.Ways[way], ahead)
		return
	}
	w := t.Ways
	if w[plan.Homed] != w[plan.Extended] || w[plan.HomedRouted] != w[plan.Routed] {
		p.either(seenHome,
			func() { p.byRouting(w[plan.Extended], w[plan.Routed], ahead) },
			func() { p.byRouting(w[plan.Homed], w[plan.HomedRouted], ahead) })
		return
	}
	p.byRouting(w[plan.Extended], w[plan.Routed], ahead)
}

// byRouting goes to a chain by whether a routing header has segments left.
func (p *parser) byRouting(plain, routed plan.Leaf, ahead int) {
	if plain == routed {
		p.leaf(plain, ahead)
		return
	}
	p.either(seenRouting, func() { p.leaf(plain, ahead) }, func() { p.leaf(routed, ahead) })
}

// either goes on by what has been seen among the extension headers of IPv6.
func (p *parser) either(what int32, not, seen func()) {
	is := p.NewLabel()
	p.load(value, slotSeen)
	p.Jump(is, asm.JSet.Imm(value, what, ""))
	not()
	p.Bind(is)
	seen()
}

// leaf goes to a chain; for TCP it may depend on the option MSS, for ICMP on what is
// quoted.
func (p *parser) leaf(l plan.Leaf, ahead int) {
	switch {
	case l.Scans():
		p.scan(l, ahead)
	case l.Quotes():
		p.quote(l, ahead)
	default:
		p.enter(l.Plain)
	}
}
