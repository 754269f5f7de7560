package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// Of the packet that an ICMP error quotes: where it begins from the base of layer 4, and
// places in its IP header from there.
const (
	quoteBase       = l4Base + field.QuoteAt
	quotedTotLenAt  = quoteBase + 2
	quotedFragAt    = quoteBase + 6
	quotedProtoAt   = quoteBase + 9
	quotedPayloadAt = quoteBase + 4
	quotedNextAt    = quoteBase + 6
	quotedUDPSumAt  = 6 // in its header
)

// Registers of the search in a quote.
const (
	quotedBase   = asm.R1 // base of the quoted layer-4 header
	quotedIPLen  = asm.R2 // length of the quoted IP header
	quotedLength = asm.R3 // what the quoted header says of the length behind it, less 1
)

// quote looks for the packet that an ICMP message quotes, and goes to the chain for
// what is found. In temp is the message's length as transport has it.
func (p *parser) quote(l plan.Leaf, ahead int) {
	plain, bare := p.NewLabel(), p.NewLabel()
	p.quotedIP(l.Quote.L3, ahead, plain)
	if q := l.Quote; len(q.L4) > 0 {
		p.quotedTransports(q, ahead, bare)
	}
	p.Bind(bare)
	p.enter(l.Quote.Bare)
	p.Bind(plain)
	p.enter(l.Plain)
}

// quotedIP goes to plain unless the message is an error that quotes an IP header.
func (p *parser) quotedIP(l3 field.Protocol, ahead int, plain assembler.Label) {
	errors, version := field.ICMPErrors, int32(0x40)
	if l3 == field.QuotedIP6 {
		errors, version = field.ICMP6Errors, 0x60
	}
	p.About("icmp error")
	found := p.NewLabel()
	p.Emit(asm.LoadMem(value, p.reg.l4, l4Base, asm.Byte))
	conditions{p.code}.search(errors, 0, 255, found, plain)
	p.Bind(found)
	p.About(l3.Header().Title + " header")
	size := field.QuoteAt + l3.Header().Fixed
	p.Jump(plain, asm.JLT.Imm32(temp, int32(ahead+size-1), ""))
	p.guard(p.reg.l4, l4Base+size, plain)
	p.Emit(asm.LoadMem(value, p.reg.l4, quoteBase, asm.Byte), asm.Mov.Reg(quotedIPLen, value), asm.And.Imm(value, 0xf0))
	p.Jump(plain, asm.JNE.Imm(value, version, ""))
}

// quotedTransports finds the layer-4 header of the quote, of which 8 bytes are there, and
// goes to its chain; else to bare. In quotedIPLen is the first byte of its IP header.
func (p *parser) quotedTransports(q *plan.Quote, ahead int, bare assembler.Label) {
	lengthAt, protocolAt := int16(quotedTotLenAt), int16(quotedProtoAt)
	if q.L3 == field.QuotedIP {
		p.Emit(asm.And.Imm(quotedIPLen, 0xf))
		p.Jump(bare, asm.JLT.Imm(quotedIPLen, 5, ""))
		p.Emit(asm.LSh.Imm(quotedIPLen, 2))
		p.Emit(asm.LoadMem(value, p.reg.l4, quotedFragAt, asm.Half))
		p.Jump(bare, asm.JSet.Imm32(value, swapped(0x1fff, 2), "")) // a later fragment
	} else {
		lengthAt, protocolAt = quotedPayloadAt, quotedNextAt
		p.Emit(asm.Mov.Imm(quotedIPLen, ip6Len))
	}
	p.About("quoted layer 4")
	p.Jump(bare, asm.JLT.Reg32(temp, quotedIPLen, ""))
	p.Emit(asm.Sub.Reg32(temp, quotedIPLen))
	const first = field.QuoteAt + field.QuoteAt // 8 bytes of the message and 8 of the quoted header
	p.Jump(bare, asm.JLT.Imm32(temp, int32(ahead+first-1), ""))
	p.Emit(asm.LoadMem(quotedLength, p.reg.l4, lengthAt, asm.Half), asm.HostTo(asm.BE, quotedLength, asm.Half))
	p.Emit(asm.Add.Imm32(quotedLength, -1)) // 0 is no limit, as in ip
	if q.L3 == field.QuotedIP {
		p.Jump(bare, asm.JLT.Reg32(quotedLength, quotedIPLen, ""))
		p.Emit(asm.Sub.Reg32(quotedLength, quotedIPLen))
	}
	p.Emit(asm.Mov.Reg(quotedBase, p.reg.l4), asm.Add.Reg(quotedBase, quotedIPLen), asm.Add.Imm(quotedBase, field.QuoteAt))
	p.guard(quotedBase, l4Base+q.L4[0].Proto.Header().Fixed, bare)
	p.save(slotQuoted, quotedBase)
	p.Emit(asm.LoadMem(value, p.reg.l4, protocolAt, asm.Byte))
	entries := make([]assembler.Label, len(q.L4))
	for i, t := range q.L4 {
		entries[i] = p.NewLabel()
		p.Jump(entries[i], asm.JEq.Imm(value, int32(t.Proto.Header().Number), ""))
	}
	p.Goto(bare)
	for i, t := range q.L4 {
		p.Bind(entries[i])
		p.quotedTransport(t, ahead+field.QuoteAt, bare)
	}
}

// quotedTransport goes to the chain of a quoted layer-4 header, by whether its checksum
// is there to follow what changes. The quoted packet has to have had the whole header.
func (p *parser) quotedTransport(t plan.QuotedTransport, ahead int, bare assembler.Label) {
	p.About(t.Proto.Header().Title + " header")
	p.Jump(bare, asm.JLT.Imm32(quotedLength, int32(field.Unquoted(t.Proto).Header().Fixed-1), ""))
	if t.Plain == nil || t.Plain == t.Summed {
		p.enter(t.Summed)
		return
	}
	plain := p.NewLabel()
	if t.Proto == field.QuotedUDP {
		p.Emit(asm.LoadMem(value, quotedBase, l4Base+quotedUDPSumAt, asm.Half))
		p.Jump(plain, asm.JEq.Imm(value, 0, ""))
	} else {
		check := field.Quoted(field.MustByName("tcp_check"))
		size := check.Byte() + check.Size()
		p.Jump(plain, asm.JLT.Imm32(temp, int32(ahead+size-1), ""))
		p.guard(quotedBase, l4Base+size, plain)
		p.save(slotQuoted, quotedBase)
	}
	p.enter(t.Summed)
	p.Bind(plain)
	p.enter(t.Plain)
}
