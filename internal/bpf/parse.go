package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// parse finds the class of a packet and goes to its chain.
func (c *compiler) parse() {
	l := c.plan.Levels[0]
	if c.plan.Link == field.RawIP {
		c.rawIP(l)
		return
	}
	c.besides()
	slow, body := c.newLabel(), c.newLabel()
	short := slow
	if c.onlyIP() {
		short = c.pass
		c.later(func() { c.tagged(slow, body) })
	} else {
		c.later(func() { c.slow(slow, body) })
	}
	if l.IP == nil {
		c.goTo(slow)
		return
	}
	c.about("ethernet type")
	c.guard(c.reg.l3, need(l.IP), short)
	c.emit(asm.LoadMem(value, c.reg.l3, ethTypeAt, asm.Half))
	c.jumpTo(slow, asm.JNE.Imm32(value, etherType(field.IP), ""))
	c.bind(body, true)
	c.ip(l.IP)
}

// onlyIP tells whether nothing is done with packets but IPv4's of enough bytes,
// whatever tags they have.
func (c *compiler) onlyIP() bool {
	l := c.plan.Levels[0]
	return len(c.plan.Levels) == 1 && l.IP != nil && l.IP6 == nil && l.ARP == nil && len(l.Other.Steps) == 0 &&
		(need(l.IP) == l4Base || len(l.IP.Bare.Steps) == 0)
}

// tagged is slow where only IPv4 packets count: tags are stepped over, and a
// packet that is too short for body has no way to go on. In value is the type.
func (c *compiler) tagged(here, body label) {
	c.bind(here, false)
	for tags := range maxTags {
		tag := c.newLabel()
		c.about("vlan tag")
		c.jumpTo(tag, asm.JEq.Imm32(value, swapped(typeTag, 2), ""))
		c.jumpTo(c.pass, asm.JNE.Imm32(value, swapped(typeService, 2), ""))
		c.bind(tag, false)
		c.thirdTag(tags, c.pass)
		c.emit(asm.Add.Imm(c.reg.l3, tagLen))
		c.guard(c.reg.l3, need(c.plan.Levels[0].IP), c.pass)
		c.emit(asm.LoadMem(value, c.reg.l3, ethTypeAt, asm.Half))
		c.jumpTo(body, asm.JEq.Imm32(value, etherType(field.IP), ""))
	}
	c.goTo(c.pass)
}

// need is how many bytes a packet must have for anything to be done with the
// layer-4 header behind its IPv4 header.
func need(n *plan.Network) int { return l4Base + covered(n) }

// covered is the part of the layer-4 header that the first guard covers.
func covered(n *plan.Network) int {
	if len(n.L4) == 0 {
		return 0
	}
	least := n.L4[0].Proto.Header().Fixed
	for _, t := range n.L4 {
		least = min(least, t.Proto.Header().Fixed)
	}
	return least
}

// etherType is what an Ethernet type looks like in memory.
func etherType(p field.Protocol) int32 { return swapped(uint32(p.Header().Number), 2) }

// slow looks at every packet that is no plain IPv4 packet of enough bytes:
// header by header, each with a guard of its own. body is where IPv4 packets
// without a tag go on.
func (c *compiler) slow(here, body label) {
	c.bind(here, false)
	c.about("ethernet type")
	c.guard(c.reg.l3, ethLen, c.pass)
	places := c.placesFor(c.plan.Levels[0], body)
	for tags := range maxTags + 1 {
		if tags > 0 && len(c.plan.Levels) > 1 {
			places = c.placesFor(c.plan.Levels[tags], noLabel)
		}
		c.dispatch(places, tags)
	}
}

// besides parses packets whose first tag the kernel has taken out of them, as it
// does at tc. Where tags are stepped over, such a packet is one without a tag.
func (c *compiler) besides() {
	if c.opt.Hook != TC || len(c.plan.Levels) == 1 {
		return
	}
	tagged := c.newLabel()
	c.about("vlan tag")
	c.emit(asm.LoadMem(value, c.reg.ctx, skbTagged, asm.Word))
	c.jumpTo(tagged, asm.JNE.Imm(value, 0, ""))
	c.later(func() {
		c.aside = true
		c.bind(tagged, false)
		c.guard(c.reg.l3, ethLen, c.pass)
		for tags := 1; tags <= maxTags; tags++ {
			c.dispatch(c.placesFor(c.plan.Levels[tags], noLabel), tags)
		}
	})
}

// places are where packets of a level go on, by their network header.
type places struct {
	level        plan.Level
	ip, ip6, arp label
	other        label
}

// noLabel stands for a place that has not been emitted.
const noLabel label = -1

// placesFor makes the places of a level. body is where IPv4 packets that have
// enough bytes go on, if it has been emitted.
func (c *compiler) placesFor(l plan.Level, body label) places {
	p := places{l, c.newLabel(), c.newLabel(), c.newLabel(), c.entry(l.Other)}
	c.later(func() {
		c.guardedIP(p, body)
		c.bind(p.ip6, false)
		c.ip6(l.IP6, p.other)
		c.arp(p)
	})
	return p
}

// dispatch goes by the type in front of l3 and steps over a tag.
func (c *compiler) dispatch(p places, tags int) {
	c.about("ethernet type")
	c.emit(asm.LoadMem(value, c.reg.l3, ethTypeAt, asm.Half))
	if p.level.IP != nil {
		c.jumpTo(p.ip, asm.JEq.Imm32(value, etherType(field.IP), ""))
	}
	if p.level.IP6 != nil {
		c.jumpTo(p.ip6, asm.JEq.Imm32(value, etherType(field.IP6), ""))
	}
	if p.level.ARP != nil {
		c.jumpTo(p.arp, asm.JEq.Imm32(value, etherType(field.ARP), ""))
	}
	if tags == maxTags {
		c.goTo(p.other)
		return
	}
	c.about("vlan tag")
	tag := c.newLabel()
	c.jumpTo(tag, asm.JEq.Imm32(value, swapped(typeTag, 2), ""))
	c.jumpTo(p.other, asm.JNE.Imm32(value, swapped(typeService, 2), ""))
	c.bind(tag, false)
	c.thirdTag(tags, p.other)
	c.guard(c.reg.l3, ethLen+tagLen, p.other)
	c.emit(asm.Add.Imm(c.reg.l3, tagLen))
}

// thirdTag goes to other where a tag, behind so many in the bytes, is the third: at
// tc the first one may lie beside the packet. Where rules look at tags, such packets
// have been parsed apart, see besides.
func (c *compiler) thirdTag(tags int, other label) {
	if c.opt.Hook != TC || len(c.plan.Levels) > 1 || tags != maxTags-1 {
		return
	}
	c.emit(asm.LoadMem(value, c.reg.ctx, skbTagged, asm.Word))
	c.jumpTo(other, asm.JNE.Imm(value, 0, ""))
}

// guardedIP asks for the bytes that the body for IPv4 packets counts on.
func (c *compiler) guardedIP(p places, body label) {
	c.bind(p.ip, false)
	n := p.level.IP
	if n == nil {
		return
	}
	c.about("ip header")
	short := c.newLabel()
	if need(n) == l4Base {
		short = p.other
	}
	c.guard(c.reg.l3, need(n), short)
	if body == noLabel {
		c.ip(n)
	} else {
		c.goTo(body)
	}
	if short != p.other {
		c.bind(short, false)
		c.about("ip header")
		c.guard(c.reg.l3, l4Base, p.other)
		c.enter(n.Bare)
	}
}

// arp asks for the header and for its being that of Ethernet and IPv4 (RFC 826).
func (c *compiler) arp(p places) {
	c.bind(p.arp, false)
	if p.level.ARP == nil {
		return
	}
	c.about("arp header")
	c.guard(c.reg.l3, ethLen+field.ARP.Header().Fixed, p.other)
	c.emit(asm.LoadMem(value, c.reg.l3, ethLen, asm.Word))
	c.jumpTo(p.other, asm.JNE.Imm32(value, swapped(0x0001<<16|0x0800, 4), ""))
	c.emit(asm.LoadMem(value, c.reg.l3, ethLen+4, asm.Half))
	c.jumpTo(p.other, asm.JNE.Imm32(value, swapped(6<<8|4, 2), ""))
	c.enter(p.level.ARP)
}

// rawIP parses packets that begin with an IP header: its first four bits tell
// which. The base is where Ethernet would begin.
func (c *compiler) rawIP(l plan.Level) {
	other, six := c.entry(l.Other), c.newLabel()
	c.about("ip version")
	c.emit(asm.Add.Imm(c.reg.l3, -ethLen))
	c.guard(c.reg.l3, l4Base, other)
	c.emit(asm.LoadMem(value, c.reg.l3, ethLen, asm.Byte), asm.RSh.Imm(value, 4))
	c.later(func() {
		c.bind(six, false)
		c.about("ip version")
		c.jumpTo(other, asm.JNE.Imm(value, 6, ""))
		c.ip6(l.IP6, other)
	})
	if l.IP == nil {
		c.jumpTo(other, asm.JEq.Imm(value, 4, ""))
		c.goTo(six)
		return
	}
	c.jumpTo(six, asm.JNE.Imm(value, 4, ""))
	if need(l.IP) > l4Base {
		c.guard(c.reg.l3, need(l.IP), c.entry(l.IP.Bare))
	}
	c.ip(l.IP)
}
