// Package plan turns checked rules into what a program has to do: what to
// parse, what to test in which order, what to store, and what that does to the
// checksums. It knows no instruction set, no kernel and no hook.
//
// The idea that carries it: packets are told apart by their headers first
// (a class), and each class gets its own chain of the rules that can act on
// it. Within a chain it is known which headers are there, so no chain tests
// for a header, and rules that cannot act on a class take no room in it.
package plan

import (
	"repacket/internal/field"
	"repacket/internal/rule"
)

// Program is what to do with a packet: find its class, then walk the chain.
type Program struct {
	// NoIP is for packets without an IPv4 header.
	NoIP Chain
	// IP is for IPv4 packets without any of the headers in L4.
	IP Chain
	// L4 are the chains of the layer-4 headers that have to be told apart.
	L4 []Chain
	// Alike: NoIP and IP say the same and nothing else has to be told apart,
	// so no header needs to be looked at.
	Alike bool
}

// Chain is what is done with the packets of one class: the first step whose
// condition holds acts; without one the packet passes.
type Chain struct {
	// Proto is the innermost header that is known to be there: Eth, IP, or a
	// protocol of layer 4 (then IPv4 is there too).
	Proto field.Protocol
	Steps []Step
}

// Step is one rule in one class.
type Step struct {
	// Rule is the rule's place in rule.Program.Written: where it is counted.
	Rule int
	// Cond must hold; nil always does.
	Cond Cond
	// Look: count the packet, change nothing.
	Look bool
	// Sums are the checksums to change. They read the packet as it arrived, so
	// they come before the writes.
	Sums []Sum
	// Writes are the stores of constants. No two of them touch the same bit.
	Writes []Write
}

// Window is one load or store: Size bytes (1, 2 or 4) at offset Off from the
// start of the header, read as a big-endian number and masked.
type Window struct {
	Header field.Protocol
	Off    int
	Size   int
	Mask   uint32
}

// Full tells whether the mask takes every bit of the window.
func (w Window) Full() bool { return w.Mask == fullMask(w.Size) }

func fullMask(size int) uint32 { return uint32(uint64(1)<<(8*size) - 1) }

// Cond is a condition: And, Or, Test, WholeDatagram or WholeHeader.
type Cond interface{ cond() }

type (
	// And holds when all of its conditions do, tested in order.
	And []Cond
	// Or holds when one of its conditions does, tested in order.
	Or []Cond
	// Test holds when the masked window is in In; with Not, when it is not.
	// In's values stand in place: a field's low bits below its place are 0.
	Test struct {
		Window
		Not bool
		In  field.Set
		// Fields are those that the window was made for. More than one share it
		// only where In is a single value.
		Fields []*field.Field
	}
	// WholeDatagram holds when the layer-4 datagram is all here: no fragment,
	// ip_tot_len inside the frame and not 0, and for UDP udp_len agreeing.
	WholeDatagram struct{ Proto field.Protocol }
	// WholeHeader holds when the IPv4 header with its options is all here.
	// Words is the header's length in 32-bit words, or 0 for the packet's own.
	WholeHeader struct{ Words int }
)

func (And) cond()           {}
func (Or) cond()            {}
func (Test) cond()          {}
func (WholeDatagram) cond() {}
func (WholeHeader) cond()   {}

// Write sets the masked bits of a window to those of Value.
type Write struct {
	Window
	Value uint32
	// Fields are those that are written.
	Fields []*field.Field
}

// SumOp says what a checksum is changed to.
type SumOp uint8

// The ways to a checksum.
const (
	// Adjust changes it by what the writes change (RFC 1624).
	Adjust SumOp = iota
	// Fix makes it right for the packet as it leaves.
	Fix
	// Bad makes it wrong: the right sum plus one in one's complement.
	Bad
)

// Sum is a change of one checksum. The writes change what the checksum covers
// by Const minus the Terms, in 16-bit one's complement arithmetic in network
// byte order: Const holds every new value and every old one that is known.
type Sum struct {
	Check *field.Field
	Op    SumOp
	// Const is modulo 65535.
	Const uint32
	Terms []Term
	// Changes are what Const and Terms come from, for those who would rather
	// do the arithmetic themselves.
	Changes []Change
	// ZeroIsNone: a checksum of 0 means that there is none and stays, and one
	// computed as 0 is sent as 0xffff (UDP over IPv4, RFC 768).
	ZeroIsNone bool
	// Last: the checksum has to be made when everything else is stored. The
	// rule gives the IPv4 header another length, so it may come to lie over
	// layer-4 bytes that the rule changes too.
	Last bool
}

// Change is a field that a checksum covers and that becomes Value. One unit of
// the field's value adds Weight to the sum.
type Change struct {
	Field  *field.Field
	Value  field.Value
	Weight int
}

// Term is what an old value adds to a sum: Factor times the masked window.
type Term struct {
	Window
	Factor int
}

// Build plans a checked program. It cannot fail: what cannot be done has been
// refused by the checker.
func Build(p *rule.Program) *Program {
	out := &Program{
		NoIP: chain(p, class{proto: field.Eth}),
		IP:   chain(p, class{proto: field.IP}),
	}
	for _, proto := range toldApart(p) {
		c := chain(p, class{proto: proto})
		if !sameSteps(c, out.IP) {
			out.L4 = append(out.L4, c)
		}
	}
	out.Alike = len(out.L4) == 0 && sameSteps(out.NoIP, out.IP)
	return out
}
