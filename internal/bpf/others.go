package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// Where rules set addresses, packets of protocols without fields of their own go to
// chains in which l4 is such that the checksum stands at its start (field.Others). They
// are looked for where no other header has been found, behind all tests for others.

// ipSummed is ip where addresses are set: the protocol is tested first, so that no
// packet runs through more instructions than without.
func (p *parser) ipSummed(n *plan.Network) {
	bare, option, others := p.entry(n.Bare), p.NewLabel(), p.NewLabel()
	joined := make([]assembler.Label, len(n.L4))
	p.later(func() {
		p.ipOptions(n, option, bare)
		p.routes(n, bare)
		p.protocols(n, joined, others)
		p.Goto(joined[len(joined)-1])
	})
	p.About("options")
	p.Emit(asm.LoadMem(value, p.reg.l3, ethLen, asm.Byte))
	p.Jump(option, asm.JNE.Imm32(value, plainVerHL, ""))
	entries := make([]assembler.Label, len(n.L4))
	for i := range n.L4 {
		entries[i], joined[i] = p.NewLabel(), p.NewLabel()
	}
	rest := p.NewLabel()
	p.protocols(n, entries, rest)
	start := func() {
		p.Emit(asm.Mov.Reg(p.reg.l4, p.reg.l3))
		p.totalLength()
	}
	p.later(func() {
		p.Bind(rest)
		if !contains(n, field.ICMP) {
			p.Jump(bare, asm.JEq.Imm32(value, swapped(uint32(field.ICMP.Header().Number), 4), ""))
		}
		start()
		p.BindLoop(others)
		p.others4(n, bare, plan.Direct)
	})
	for i := len(n.L4) - 1; i >= 0; i-- {
		p.Bind(entries[i])
		start()
		p.BindLoop(joined[i])
		p.transport(n.L4[i], lengths{covered(n), ipLen}, bare, plan.Direct)
	}
}

// others4 is for packets over IPv4 in which no other header was found. Fragment offset
// and protocol are in value, as protocols leaves them.
func (p *parser) others4(n *plan.Network, bare assembler.Label, way plan.Way) {
	if n.Summed == nil {
		p.Goto(bare)
		return
	}
	p.Jump(bare, asm.JSet.Imm32(value, swapped(0x1fff0000, 4), ""))
	p.Emit(asm.RSh.Imm(value, 24))
	p.others(n, field.IP, ipLen, bare, way)
}

func contains(n *plan.Network, proto field.Protocol) bool {
	for _, t := range n.L4 {
		if t.Proto == proto {
			return true
		}
	}
	return false
}

// protocols goes by fragment offset and protocol, which it leaves in value: to other
// with other protocols and later fragments, and on behind it with the last.
func (p *parser) protocols(n *plan.Network, to []assembler.Label, other assembler.Label) {
	p.About("fragment, protocol")
	p.Emit(asm.LoadMem(value, p.reg.l3, fragmentAt, asm.Word), asm.And.Imm32(value, swapped(0x1fff00ff, 4)))
	for i, t := range n.L4 {
		number := swapped(uint32(t.Proto.Header().Number), 4)
		if i == len(n.L4)-1 {
			p.Jump(other, asm.JNE.Imm32(value, number, ""))
			break
		}
		p.Jump(to[i], asm.JEq.Imm32(value, number, ""))
	}
}

// others goes to the chain of packets of field.Others; the protocol is in value, and in
// temp the length as transport has it.
func (p *parser) others(n *plan.Network, l3 field.Protocol, ahead int, bare assembler.Label, way plan.Way) {
	list := field.OthersOver(l3)
	entries, found := make([]assembler.Label, len(list)), p.NewLabel()
	p.About("other protocols with a pseudo-header")
	for i, o := range list {
		entries[i] = p.NewLabel()
		p.Jump(entries[i], asm.JEq.Imm32(value, int32(o.Number), ""))
	}
	p.Goto(bare)
	for i, o := range list {
		p.Bind(entries[i])
		p.About(o.Name + " checksum")
		size := max(8, o.Check+2)
		p.Jump(bare, asm.JLT.Imm32(temp, int32(ahead+size-1), ""))
		p.guard(p.reg.l4, l4Base+size, bare)
		if o.First != 0 && l3 == field.IP {
			p.Emit(asm.LoadMem(value, p.reg.l4, l4Base, asm.Byte))
			if o.FirstMask != 0xff {
				p.Emit(asm.And.Imm(value, int32(o.FirstMask)))
			}
			p.Jump(bare, asm.JNE.Imm(value, int32(o.First), ""))
		}
		if o.Shown && l3 == field.IP {
			p.anywhere(size)
			p.shows(o, bare)
		}
		zero := int64(0)
		if o.NeverZero {
			p.Emit(asm.LoadMem(value, p.reg.l4, int16(l4Base+o.Check), asm.Half))
			p.Jump(bare, asm.JEq.Imm(value, 0, ""))
			zero = p.abi.ones
		}
		p.saveImm(slotZero, zero)
		p.Emit(asm.Mov.Reg(value, p.reg.l4), asm.Add.Imm(value, int32(o.Check)))
		p.Goto(found)
	}
	// All these look alike to the verifier behind the difference of two pointers.
	p.Bind(found)
	p.Emit(
		asm.Sub.Reg(value, p.reg.l3), asm.And.Imm(value, 0x7fff),
		asm.Mov.Reg(p.reg.l4, p.reg.l3), asm.Add.Reg(p.reg.l4, value),
	)
	p.guard(p.reg.l4, l4Base+2, bare)
	p.byWay(*n.Summed, ahead, way)
}

// shows goes to bare unless the message over IPv4 has a checksum that is right with the
// pseudo-header and wrong without. In temp is the length as transport has it.
func (p *parser) shows(o field.Other, bare assembler.Label) {
	p.Emit(asm.LoadMem(value, p.reg.l3, fragmentAt, asm.Half))
	p.Jump(bare, asm.JSet.Imm32(value, swapped(0x2000, 2), "")) // others follow
	p.Emit(asm.Mov.Reg32(value, temp), asm.Add.Imm32(value, 1-ipLen))
	p.Jump(bare, asm.JGT.Imm32(value, field.MostShown, "")) // 0 was no limit, too
	p.save(slotL4Len, value)
	p.save(slotKeptLength, temp)
	p.Emit(asm.LoadMem(temp, p.reg.ctx, p.abi.data, asm.Word))
	p.place(slotL4, p.reg.l4, l4Base)
	p.saveImm(slotSum, 0)
	p.load(temp, slotKeptLength)
	p.loop(chunkFunction, recompute{p.code}.sumChunk, func() { recompute{p.code}.chunks(asm.R1) })
	p.load(value, slotSum)
	p.Jump(bare, asm.JEq.Imm(value, unread, ""))
	checksums{p.code}.fold(0xffffffff, 0xffff)
	p.Jump(bare, asm.JEq.Imm(value, modulus, "")) // right without
	most := p.addAddresses(field.IP)
	p.load(temp, slotL4Len)
	p.Emit(asm.HostTo(asm.BE, temp, asm.Half), asm.Add.Reg(value, temp), asm.Add.Imm(value, swapped(uint32(o.Number), 2)))
	checksums{p.code}.fold(most+3*0xffff, 0xffff)
	p.Jump(bare, asm.JNE.Imm(value, modulus, ""))
	p.load(temp, slotKeptLength)
}
