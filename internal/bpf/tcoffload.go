package bpf

import (
	"slices"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// A UDP checksum that is offloaded holds the pseudo-header's sum alone. Where it
// holds something else it is complete, although the kernel may say that a checksum is
// offloaded: it is that of a packet inside this one, as in a VXLAN tunnel (local
// checksum offload, Documentation/networking/checksum-offloads.rst). The kernel's
// helper cannot tell the two apart: it leaves such a checksum as it is where a port
// changes, and changes it the wrong way round where an address does, and the
// tunnel's packets are lost. So what is complete is changed here.
//
// A sum that a rule elsewhere made wrong while it was offloaded (bad) looks
// complete too: what then changes under it makes it wrong by another amount.

// completeSum leaves in value whether the UDP checksum is complete: 0
// if it is the pseudo-header's sum alone (RFC 768, RFC 8200 section 8.1), or if
// there are IPv6 extension headers or a source route: behind some, an address of the
// pseudo-header is not in the header.
func (c *tc) completeSum(short assembler.Label) {
	ip, ip6 := c.carriers()
	six, done := c.NewLabel(), c.NewLabel()
	c.About("is udp_check complete?")
	c.Forget()
	if ip && ip6 {
		c.Emit(asm.LoadMem(value, c.reg.l3, ethLen, asm.Byte), asm.RSh.Imm(value, 4))
		c.Jump(six, asm.JEq.Imm(value, 6, ""))
	}
	if ip {
		if c.chain.Class.Way.Routed() {
			c.Emit(asm.Mov.Imm(value, 0))
		} else {
			c.pseudoSum(field.IP)
		}
		c.Goto(done)
	}
	c.Bind(six)
	if ip6 {
		// That the header is there the verifier may have forgotten, and the register
		// for the packet's end may serve for something else by now.
		other := c.NewLabel()
		c.loadContext(asm.R1, c.abi.end)
		c.Emit(asm.Mov.Reg(value, c.reg.l3), asm.Add.Imm(value, ethLen+ip6Len))
		c.Jump(short, asm.JGT.Reg(value, asm.R1, ""))
		c.Emit(asm.LoadMem(value, c.reg.l3, nextAt, asm.Byte))
		c.Jump(other, asm.JNE.Imm(value, int32(field.UDP.Header().Number), ""))
		c.pseudoSum(field.IP6)
		c.Goto(done)
		c.Bind(other)
		c.Emit(asm.Mov.Imm(value, 0))
	}
	c.Bind(done)
}

// pseudoSum leaves in value 0 if the UDP checksum is the pseudo-header's sum.
func (c *tc) pseudoSum(l3 field.Protocol) {
	const udpLengthAt, checkAt = 4, 6
	start := int64(swapped(uint32(field.UDP.Header().Number), 2))
	c.Emit(asm.Mov.Imm(value, int32(start)))
	most := start + c.addAddresses(l3)
	c.Emit(asm.LoadMem(temp, c.reg.l4, l4Base+udpLengthAt, asm.Half), asm.Add.Reg(value, temp))
	c.Emit(asm.LoadMem(temp, c.reg.l4, l4Base+checkAt, asm.Half), asm.Xor.Imm(temp, 0xffff), asm.Add.Reg(value, temp))
	checksums{c.code}.fold(most+2*0xffff, 0xffff)
	c.Emit(asm.Xor.Imm(value, 0xffff))
}

// carriers tells which network headers the packets of the chain at hand have: one
// chain serves both where its rules do not ask.
func (c *tc) carriers() (ip, ip6 bool) {
	leads := func(n *plan.Network) bool {
		return n != nil && slices.ContainsFunc(n.L4, func(t plan.Transport) bool {
			return slices.ContainsFunc(t.Ways[:], func(l plan.Leaf) bool { return l.Plain == c.chain || l.Even == c.chain || l.Odd == c.chain })
		})
	}
	for _, l := range c.plan.Levels {
		ip, ip6 = ip || leads(l.IP), ip6 || leads(l.IP6)
	}
	return ip, ip6
}

// changeComplete changes a UDP checksum that is complete, by RFC 1624, and goes to
// done. One that is not, and 0, which is none, are left to what follows.
func (c *tcRewrite) changeComplete(done assembler.Label) {
	offloaded, check := c.NewLabel(), checkWindow(c.sum.Check)
	c.About(c.sum.String())
	if !c.complete {
		c.load(value, slotWhole)
		c.Jump(offloaded, asm.JEq.Imm(value, 0, ""))
	}
	c.fetch(value, check)
	c.Jump(offloaded, asm.JEq.Imm(value, 0, ""))
	c.Emit(asm.Xor.Imm(value, 0xffff))
	most := int64(0xffff)
	for p, has := range c.sum.has {
		if has {
			c.Emit(asm.LoadMem(temp, asm.R10, c.part(plan.Part(p)), asm.DWord), asm.Add.Reg(value, temp))
			most += 0xffff
		}
	}
	checksums{c.code}.fold(most, 0xffff)
	c.Emit(asm.Xor.Imm(value, 0xffff))
	if c.broken { // it is to come out wrong by one
		one := swapped(1, 2)
		c.Emit(asm.Add.Imm(value, one))
		checksums{c.code}.fold(0xffff+int64(one), 0xffff)
	}
	c.zeroToOnes() // 0 would be none
	c.store(check, value)
	if c.sum.has[plan.Pseudo] { // the header's checksum makes up for the addresses, nothing for this one
		c.Emit(asm.LoadMem(temp, asm.R10, c.part(plan.Pseudo), asm.DWord), asm.Xor.Imm(temp, 0xffff))
		c.increase(slotBytes, temp)
	}
	if !c.complete {
		c.Goto(done)
	}
	c.Bind(offloaded)
	c.Forget()
}
