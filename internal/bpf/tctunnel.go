package bpf

import (
	"slices"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// A UDP checksum that is made later holds the pseudo-header's sum alone. Where it
// holds something else it is whole, although the kernel may say that a checksum is
// made later: it is that of a packet inside this one, as in a VXLAN tunnel (local
// checksum offload, Documentation/networking/checksum-offloads.rst). The kernel's
// helper cannot tell the two apart: it leaves such a checksum as it is where a port
// changes, and changes it the wrong way round where an address does, and the
// tunnel's packets are lost. So what is whole is changed here.
//
// A sum that a rule elsewhere made wrong while it was yet to be made (bad) looks
// whole too: what then changes under it makes it wrong by another amount.

// slotWhole is not 0 where the UDP checksum is not the pseudo-header's sum alone.
const slotWhole = slotOld

// tellsWhole tells whether wholeSum can be asked about a checksum.
func tellsWhole(check *field.Field) bool { return check.Proto == field.UDP }

// wholeSum leaves in value and in slotWhole whether the UDP checksum is whole: 0
// if it is the pseudo-header's sum alone (RFC 768, RFC 8200 section 8.1), or if
// there are IPv6 extension headers: behind some, the pseudo-header's destination is
// not in the header.
func (c *compiler) wholeSum() {
	ip, ip6 := c.carriers()
	six, done := c.newLabel(), c.newLabel()
	c.about("is udp_check whole?")
	c.load = held{}
	if ip && ip6 {
		c.emit(asm.LoadMem(value, c.reg.l3, ethLen, asm.Byte), asm.RSh.Imm(value, 4))
		c.jumpTo(six, asm.JEq.Imm(value, 6, ""))
	}
	if ip {
		c.pseudoSum(field.IP)
		c.goTo(done)
	}
	c.bind(six, !ip)
	if ip6 {
		// That the header is there the verifier may have forgotten, and the register
		// for the packet's end may serve for something else by now.
		other := c.newLabel()
		c.emit(
			asm.LoadMem(asm.R1, c.reg.ctx, c.to.end, asm.Word),
			asm.Mov.Reg(value, c.reg.l3),
			asm.Add.Imm(value, ethLen+ip6Len),
		)
		c.jumpTo(c.pass, asm.JGT.Reg(value, asm.R1, ""))
		c.emit(asm.LoadMem(value, c.reg.l3, nextAt, asm.Byte))
		c.jumpTo(other, asm.JNE.Imm(value, int32(field.UDP.Header().Number), ""))
		c.pseudoSum(field.IP6)
		c.goTo(done)
		c.bind(other, false)
		c.emit(asm.Mov.Imm(value, 0))
	}
	c.bind(done, false)
	c.emit(asm.StoreMem(asm.R10, slotWhole, value, asm.DWord))
}

// pseudoSum leaves in value 0 if the UDP checksum is the pseudo-header's sum.
func (c *compiler) pseudoSum(l3 field.Protocol) {
	const lengthAt, checkAt, largest = 4, 6, 0xffffffff
	start := int64(swapped(uint32(field.UDP.Header().Number), 2))
	c.emit(asm.Mov.Imm(value, int32(start)))
	first, bytes := addressesAt(l3)
	for at := first; at < first+bytes; at += 4 {
		c.emit(asm.LoadMem(temp, c.reg.l3, int16(ethLen+at), asm.Word), asm.Add.Reg(value, temp))
	}
	c.emit(
		asm.LoadMem(temp, c.reg.l4, l4Base+lengthAt, asm.Half),
		asm.Add.Reg(value, temp),
		asm.LoadMem(temp, c.reg.l4, l4Base+checkAt, asm.Half),
		asm.Xor.Imm(temp, 0xffff),
		asm.Add.Reg(value, temp),
	)
	c.fold(start+int64(bytes/4)*largest+2*0xffff, 0xffff)
	c.emit(asm.Xor.Imm(value, 0xffff))
}

// carriers tells which network headers the packets of the chain at hand have: one
// chain serves both where its rules do not ask.
func (c *compiler) carriers() (ip, ip6 bool) {
	for _, l := range c.plan.Levels {
		ip = ip || leadsTo(l.IP, c.emitting)
		ip6 = ip6 || leadsTo(l.IP6, c.emitting)
	}
	return ip, ip6
}

// leadsTo tells whether packets of a network header come to a chain.
func leadsTo(n *plan.Network, ch *plan.Chain) bool {
	return n != nil && slices.ContainsFunc(n.L4, func(t plan.Transport) bool {
		return slices.ContainsFunc(t.Ways[:], func(l plan.Leaf) bool { return l.Plain == ch || l.Even == ch || l.Odd == ch })
	})
}

// changeWhole changes a UDP checksum that is whole, by RFC 1624, and goes to done.
// One that is not, and 0, which is none, are left to what follows. broken: it is to
// come out wrong by one.
func (c *compiler) changeWhole(made *madeSum, broken bool, done label) {
	later, some := c.newLabel(), c.newLabel()
	c.about(made.String())
	c.emit(asm.LoadMem(value, asm.R10, slotWhole, asm.DWord))
	c.jumpTo(later, asm.JEq.Imm(value, 0, ""))
	c.emit(c.loadCheck(value, made.Sum))
	c.jumpTo(later, asm.JEq.Imm(value, 0, ""))
	c.emit(asm.Xor.Imm(value, 0xffff))
	most := int64(0xffff)
	for p, has := range made.has {
		if has {
			c.emit(asm.LoadMem(temp, asm.R10, int16(slotParts-8*p), asm.DWord), asm.Add.Reg(value, temp))
			most += 0xffff
		}
	}
	c.fold(most, 0xffff)
	c.emit(asm.Xor.Imm(value, 0xffff))
	if broken {
		one := swapped(1, 2)
		c.emit(asm.Add.Imm(value, one))
		c.fold(0xffff+int64(one), 0xffff)
	}
	c.jumpTo(some, asm.JNE.Imm(value, 0, ""))
	c.emit(asm.Mov.Imm(value, 0xffff)) // 0 would be none
	c.bind(some, false)
	c.emit(c.storeCheck(made.Sum))
	if made.has[plan.Pseudo] { // the header's checksum makes up for the addresses, nothing for this one
		c.emit(
			asm.LoadMem(temp, asm.R10, int16(slotParts-8*int(plan.Pseudo)), asm.DWord),
			asm.Xor.Imm(temp, 0xffff),
			asm.LoadMem(value, asm.R10, slotBytes, asm.DWord),
			asm.Add.Reg(value, temp),
			asm.StoreMem(asm.R10, slotBytes, value, asm.DWord),
		)
	}
	c.goTo(done)
	c.bind(later, false)
	c.load = held{}
}
