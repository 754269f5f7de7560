package bpf

import (
	"slices"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// parser emits what finds the headers of a packet, and with them its class.
type parser struct{ *compiler }

// packet finds the class of a packet and goes to its chain.
func (p *parser) packet() {
	l := p.plan.Levels[0]
	if p.use.pseudo {
		p.saveImm(slotAddress, 0)
	}
	if p.plan.Link == field.RawIP {
		p.rawIP(l)
		return
	}
	p.hook.offloadedTag(p)
	slow, body := p.NewLabel(), p.NewLabel()
	short := slow
	if p.onlyIP() {
		short = p.pass
		p.later(func() { p.tagged(slow, body) })
	} else {
		p.later(func() { p.slow(slow, body) })
	}
	if l.IP == nil {
		p.Goto(slow)
		return
	}
	p.About("ethernet type")
	p.guard(p.reg.l3, need(l.IP), short)
	p.loadType()
	p.Jump(slow, asm.JNE.Imm32(value, etherType(field.IP), ""))
	p.BindLoop(body)
	p.ip(l.IP)
}

// onlyIP reports whether nothing is done with packets but IPv4's of enough bytes,
// whatever tags they have.
func (p *parser) onlyIP() bool {
	l := p.plan.Levels[0]
	return len(p.plan.Levels) == 1 && l.IP != nil && l.IP6 == nil && l.ARP == nil && len(l.Other.Steps) == 0 &&
		(need(l.IP) == l4Base || len(l.IP.Bare.Steps) == 0)
}

// need is how many bytes a packet must have for anything to be done with the
// layer-4 header behind its IPv4 header.
func need(n *plan.Network) int { return l4Base + covered(n) }

// covered is the part of the layer-4 header that the first guard covers.
func covered(n *plan.Network) int {
	if len(n.L4) == 0 {
		return 0
	}
	fixed := func(t plan.Transport) int { return t.Proto.Header().Fixed }
	return fixed(slices.MinFunc(n.L4, func(a, b plan.Transport) int { return fixed(a) - fixed(b) }))
}

// etherType is what an Ethernet type looks like in memory.
func etherType(p field.Protocol) int32 { return swapped(uint32(p.Header().Number), 2) }

// loadType brings the type in front of l3 into value.
func (p *parser) loadType() { p.Emit(asm.LoadMem(value, p.reg.l3, ethTypeAt, asm.Half)) }

// tag goes to other unless value has the type of a VLAN tag, or if the tag is the
// third. There are so many tags in front of it in the bytes.
func (p *parser) tag(tags int, other assembler.Label) {
	tag := p.NewLabel()
	p.About("vlan tag")
	p.Jump(tag, asm.JEq.Imm32(value, swapped(typeTag, 2), ""))
	p.Jump(other, asm.JNE.Imm32(value, swapped(typeService, 2), ""))
	p.Bind(tag)
	p.hook.thirdTag(tags, other)
}

// tagged is slow where only IPv4 packets count: tags are stepped over, and a
// packet that is too short for body has no way to go on. In value is the type.
func (p *parser) tagged(here, body assembler.Label) {
	p.Bind(here)
	for tags := range maxTags {
		p.tag(tags, p.pass)
		p.Emit(asm.Add.Imm(p.reg.l3, tagLen))
		p.guard(p.reg.l3, need(p.plan.Levels[0].IP), p.pass)
		p.loadType()
		p.Jump(body, asm.JEq.Imm32(value, etherType(field.IP), ""))
	}
	p.Goto(p.pass)
}

// slow looks at every packet that is no plain IPv4 packet of enough bytes:
// header by header, each with a guard of its own. body is where IPv4 packets
// without a tag go on.
func (p *parser) slow(here, body assembler.Label) {
	p.Bind(here)
	p.About("ethernet type")
	p.guard(p.reg.l3, ethLen, p.pass)
	next := p.networks(p.plan.Levels[0], body)
	for tags := range maxTags + 1 {
		if tags > 0 && len(p.plan.Levels) > 1 {
			next = p.networks(p.plan.Levels[tags], noLabel)
		}
		p.dispatch(next, tags)
	}
}

// networks are where packets of a level go on, by their network header.
type networks struct {
	level        plan.Level
	ip, ip6, arp assembler.Label
	other        assembler.Label
}

// noLabel stands for a place that has not been emitted.
const noLabel assembler.Label = -1

// networks makes the places of a level. body is where IPv4 packets that have
// enough bytes go on, if it has been emitted.
func (p *parser) networks(l plan.Level, body assembler.Label) networks {
	n := networks{l, p.NewLabel(), p.NewLabel(), p.NewLabel(), p.entry(l.Other)}
	p.later(func() {
		p.guardedIP(n, body)
		p.Bind(n.ip6)
		p.ip6(l.IP6, n.other)
		p.arp(n)
	})
	return n
}

// dispatch goes by the type in front of l3 and steps over a tag.
func (p *parser) dispatch(n networks, tags int) {
	p.About("ethernet type")
	p.loadType()
	if n.level.IP != nil {
		p.Jump(n.ip, asm.JEq.Imm32(value, etherType(field.IP), ""))
	}
	if n.level.IP6 != nil {
		p.Jump(n.ip6, asm.JEq.Imm32(value, etherType(field.IP6), ""))
	}
	if n.level.ARP != nil {
		p.Jump(n.arp, asm.JEq.Imm32(value, etherType(field.ARP), ""))
	}
	if tags == maxTags {
		p.Goto(n.other)
		return
	}
	p.tag(tags, n.other)
	p.guard(p.reg.l3, ethLen+tagLen, n.other)
	p.Emit(asm.Add.Imm(p.reg.l3, tagLen))
}

// guardedIP asks for the bytes that the body for IPv4 packets counts on.
func (p *parser) guardedIP(n networks, body assembler.Label) {
	p.Bind(n.ip)
	ip := n.level.IP
	if ip == nil {
		return
	}
	p.About("ip header")
	short := p.NewLabel()
	if need(ip) == l4Base {
		short = n.other
	}
	p.guard(p.reg.l3, need(ip), short)
	if body == noLabel {
		p.ip(ip)
	} else {
		p.Goto(body)
	}
	if short != n.other {
		p.Bind(short)
		p.About("ip header")
		p.guard(p.reg.l3, l4Base, n.other)
		p.enter(ip.Bare)
	}
}

// arp asks for the header and for its being that of Ethernet and IPv4 (RFC 826).
func (p *parser) arp(n networks) {
	p.Bind(n.arp)
	if n.level.ARP == nil {
		return
	}
	p.About("arp header")
	p.guard(p.reg.l3, ethLen+field.ARP.Header().Fixed, n.other)
	p.Emit(asm.LoadMem(value, p.reg.l3, ethLen, asm.Word))
	p.Jump(n.other, asm.JNE.Imm32(value, swapped(0x0001<<16|0x0800, 4), ""))
	p.Emit(asm.LoadMem(value, p.reg.l3, ethLen+4, asm.Half))
	p.Jump(n.other, asm.JNE.Imm32(value, swapped(6<<8|4, 2), ""))
	p.enter(n.level.ARP)
}

// rawIP parses packets that begin with an IP header: its first four bits tell
// which. The base is where Ethernet would begin.
func (p *parser) rawIP(l plan.Level) {
	other, six := p.entry(l.Other), p.NewLabel()
	p.About("ip version")
	p.Emit(asm.Add.Imm(p.reg.l3, -ethLen))
	p.guard(p.reg.l3, l4Base, other)
	p.Emit(asm.LoadMem(value, p.reg.l3, ethLen, asm.Byte), asm.RSh.Imm(value, 4))
	p.later(func() {
		p.Bind(six)
		p.About("ip version")
		p.Jump(other, asm.JNE.Imm(value, 6, ""))
		p.ip6(l.IP6, other)
	})
	if l.IP == nil {
		p.Jump(other, asm.JEq.Imm(value, 4, ""))
		p.Goto(six)
		return
	}
	p.Jump(six, asm.JNE.Imm(value, 4, ""))
	if need(l.IP) > l4Base {
		p.guard(p.reg.l3, need(l.IP), p.entry(l.IP.Bare))
	}
	p.ip(l.IP)
}
