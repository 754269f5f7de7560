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
	"slices"

	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/why"
)

// Program is what to do with a packet: find its class, then walk the chain.
// Classes that are treated alike share one *Chain.
type Program struct {
	Link field.Link
	// Levels say what to do by the number of VLAN tags: none, one and two. A
	// single level stands for all of them: tags are stepped over.
	Levels []Level
	// Tables are those that steps look rows up in.
	Tables []*Table
	// OneByOne are the rules whose rows are tested one after the other, for some
	// packets at least: no table serves.
	OneByOne []*rule.Rule
	// Draws is how many random numbers a packet may need, at places from 0 on.
	Draws int
	// Tests are those of which it is counted which one failed first, or nil.
	Tests []why.Test
}

// Level is what to do with packets that have so many tags.
type Level struct {
	// Other is for packets without any of the headers below.
	Other *Chain
	// ARP is nil where it is as Other.
	ARP *Chain
	// IP and IP6 are nil where all of it is as Other.
	IP, IP6 *Network
}

// Network is what to do with packets that have an IPv4 or an IPv6 header.
type Network struct {
	// Bare is for packets without any of the headers in L4.
	Bare *Chain
	// L4 are the layer-4 headers that have to be told apart.
	L4 []Transport
	// Summed is for packets of field.Others, or nil where all of it is as Bare.
	Summed *Transport
}

// Any reports whether something holds at the end of some way to a layer-4 header; on
// nil it does not.
func (n *Network) Any(holds func(Leaf) bool) bool {
	return n != nil && slices.ContainsFunc(n.L4, func(t Transport) bool { return slices.ContainsFunc(t.Ways[:], holds) })
}

// Transport is what to do with packets that have a layer-4 header.
type Transport struct {
	Proto field.Protocol
	// Ways are by the way to the header; over IPv4 there are only Direct and Routed.
	// Those that are treated alike are equal.
	Ways [ways]Leaf
}

// Leaf is the end of the way to a chain.
type Leaf struct {
	Plain *Chain
	// Even and Odd are for TCP with the option MSS, by its distance from the
	// start of the header. They are nil where the option is not asked for.
	Even, Odd *Chain
	// Quote is for ICMP and ICMPv6 messages that quote a packet; nil where all of it
	// is as Plain.
	Quote *Quote
}

// Quote is what to do with ICMP errors, by the packet that they quote.
type Quote struct {
	// L3 is field.QuotedIP or field.QuotedIP6.
	L3 field.Protocol
	// Bare is for quotes without any of the headers in L4.
	Bare *Chain
	L4   []QuotedTransport
}

// QuotedTransport is what to do with ICMP errors that quote a layer-4 header.
type QuotedTransport struct {
	Proto field.Protocol
	// Summed is where the header's checksum lies inside the quote, Plain where it does
	// not, or is UDP's 0. That of ICMP always does, so there Plain is nil.
	Plain, Summed *Chain
}

// Scans reports whether the option MSS has to be looked for.
func (l Leaf) Scans() bool { return l.Even != nil }

// Quotes reports whether the packet has to be looked for that an ICMP error quotes.
func (l Leaf) Quotes() bool { return l.Quote != nil }

// Blind reports whether no header has to be looked at: every packet is treated
// alike.
func (p *Program) Blind() bool {
	l := p.Levels[0]
	return len(p.Levels) == 1 && l.ARP == nil && l.IP == nil && l.IP6 == nil
}

// Chains lists every chain once, those of what is common first.
func (p *Program) Chains() []*Chain {
	var out []*Chain
	seen := map[*Chain]bool{nil: true}
	add := func(list ...*Chain) {
		for _, c := range list {
			if !seen[c] {
				seen[c] = true
				out = append(out, c)
			}
		}
	}
	for _, l := range p.Levels {
		for _, n := range []*Network{l.IP, l.IP6} {
			if n == nil {
				continue
			}
			for _, t := range n.L4 {
				for _, leaf := range t.Ways {
					add(leaf.Plain, leaf.Even, leaf.Odd)
					add(leaf.Quote.chains()...)
				}
			}
			if n.Summed != nil {
				for _, leaf := range n.Summed.Ways {
					add(leaf.Plain)
				}
			}
			add(n.Bare)
		}
		add(l.ARP, l.Other)
	}
	return out
}

// chains are those of a quote, which may be nil.
func (q *Quote) chains() []*Chain {
	if q == nil {
		return nil
	}
	out := []*Chain{q.Bare}
	for _, t := range q.L4 {
		out = append(out, t.Plain, t.Summed)
	}
	return out
}

// Chain is what is done with the packets of one class: the first step whose
// condition holds acts; without one the packet passes.
type Chain struct {
	// Class is the first of the classes that are treated so.
	Class Class
	Steps []Step
}

// Step is one rule in one class.
type Step struct {
	// Rule is the rule's place in rule.Program.Written: where it is counted.
	Rule int
	// Cond must hold; nil always does.
	Cond Cond
	// Lookup, if it is not nil, must find a row too. What it finds is what sums
	// and writes read.
	Lookup *Lookup
	// Select, if it is not empty, are steps of which the one acts whose row has
	// the lowest order. All have a Lookup, and the step itself has nothing else.
	Select []Step
	// DryRun: count the packet, change nothing.
	DryRun bool
	// Track, if it is not nil, is the flow that is entered in the table of flows before the
	// first store; where that keeps another one the packet is skipped.
	Track *TrackedFlow
	// Answers, if it is not nil, is the flow of a packet that has to answer one which the
	// table has for the rule, or the step does not act. What that one held is what Computes
	// of operand.Restore give.
	Answers *TrackedFlow
	// Flow, if it is not nil, is what the hash is made of that Computes choose by.
	Flow *Flow
	// Computes work out new values. They read the packet as it arrived, so they
	// come before all else.
	Computes []Compute
	// Sums are the checksums to change. They read the packet as it arrived, so
	// they come before the writes.
	Sums []Sum
	// Exchanges are pairs of windows whose bytes change places. No write
	// touches one of them.
	Exchanges []Exchange
	// Writes are the stores. No two of them touch the same bit.
	Writes []Write
	// Verdict is what becomes of the packet, Redirect the interface for
	// rule.ToInterface.
	Verdict  rule.Verdict
	Redirect string
	// Why, if it is not nil, counts why the rule has not acted: the step is no rule then, and
	// the packet goes on to the next one.
	Why *Why
}

// Window is one load or store: Size bytes (1, 2 or 4) at offset Off from the
// start of the header, read as a big-endian number and masked.
type Window struct {
	Header field.Protocol
	Off    int
	Size   int
	Mask   uint32
}

// Full reports whether the mask takes every bit of the window.
func (w Window) Full() bool { return w.Mask == fullMask(w.Size) }

func fullMask(size int) uint32 { return uint32(uint64(1)<<(8*size) - 1) }

// Exchange is a pair of windows of one header and one size, both full.
type Exchange struct {
	A, B Window
	Swap rule.Swap
}

// Cond is a condition: And, Or, Test, Chance, WholeDatagram or WholeHeader.
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
		// Fields are those that the window was made for; of a field that is
		// wider than a window it may be a part. More than one share it only
		// where In is a single value.
		Fields []*field.Field
	}
	// Chance holds when the random number of 32 bits at Index is below Below,
	// which is not 0; with Not, when it is not. A packet has one number there,
	// and no condition asks for it twice.
	Chance struct {
		Index int
		Below uint32
		Not   bool
		At    rule.Chance
	}
	// WholeDatagram holds when the layer-4 datagram is all here: no fragment,
	// the length in the IP header inside the frame and not 0, and for UDP
	// udp_len agreeing. L3 is field.IP or field.IP6.
	WholeDatagram struct{ Proto, L3 field.Protocol }
	// WholeHeader holds when the IPv4 header with its options is all here.
	// Words is the header's length in 32-bit words, or 0 for the packet's own.
	WholeHeader struct{ Words int }
)

func (And) cond()           {}
func (Or) cond()            {}
func (Test) cond()          {}
func (Chance) cond()        {}
func (WholeDatagram) cond() {}
func (WholeHeader) cond()   {}

// Source is where bytes come from that are made for a packet; the zero Source is
// none of these.
type Source struct {
	// Computed: they are the image at Slot in the scratch area.
	Computed bool
	Slot     int
	// Row is where the row of the step's table has them, or 0.
	Row Place
	// Xor: the row has what the window's bits of the packet are combined with.
	Xor bool
}

// Made reports whether there are such bytes.
func (s Source) Made() bool { return s.Computed || s.Row != 0 }

// Write sets the masked bits of a window to those of Value or, if there is a
// Source, to those of it. From a row they are the window's bytes, of which Value
// then has those that are the same in every row; bits that are not masked are 0.
type Write struct {
	Window
	Source
	Value uint32
	// Fields are those that are written; of one that is wider than a window
	// it may be a part.
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
	// L3 is the header that the pseudo-header is made of: field.IP or field.IP6.
	L3 field.Protocol
	// Const is modulo 65535; Parts are what it consists of.
	Const uint32
	Parts [parts]uint32
	Terms []Term
	// Rows are what the row of the step's table adds; then Const and Parts have
	// none of these parts.
	Rows []RowPart
	// Changes are what Const and Terms come from, for those who would rather
	// do the arithmetic themselves.
	Changes []Change
	// ZeroIsNone: a checksum of 0 means that there is none and stays (UDP, RFC 768).
	ZeroIsNone bool
	// Ones: a checksum computed as 0 is sent as 0xffff, the other way to write
	// it. For UDP 0 means something else. An ICMP message of zeros alone is right
	// with 0xffff only, since no sum of zeros folds to 0xffff (RFC 1071), so
	// there it is what fix makes; adjusting keeps to RFC 1624, which makes 0.
	Ones bool
	// Last: the checksum has to be made when everything else is stored. The
	// rule gives the IPv4 header another length, so it may come to lie over
	// layer-4 bytes that the rule changes too.
	Last bool
}

// Part says what a part of a sum changes besides the checksum.
type Part uint8

// The parts.
const (
	Own       Part = iota // bytes of the checksum's own header
	Pseudo                // the pseudo-header, which is in no packet
	PseudoIP6             // the pseudo-header, by bytes of the IPv6 header
	parts     = 3
)

// Part is what of an adjusted sum belongs to a part; ok is false if nothing
// does. A hook that must tell its packets' checksum from what is summed up
// elsewhere carries out each part in its own way.
func (s Sum) Part(p Part) (_ Sum, ok bool) {
	out := Sum{Check: s.Check, Const: s.Parts[p], ZeroIsNone: s.ZeroIsNone, Ones: s.Ones}
	for _, t := range s.Terms {
		if t.Part == p {
			out.Terms = append(out.Terms, t)
		}
	}
	for _, r := range s.Rows {
		if r.Part == p {
			out.Rows = append(out.Rows, r)
		}
	}
	return out, out.Const != 0 || len(out.Terms) > 0 || len(out.Rows) > 0
}

// Change is a field, or a part of an address, that a checksum covers and that
// becomes Value, what From was when the packet arrived, or what is Computed. One unit of the field's value adds Weight to the
// sum.
type Change struct {
	Field *field.Field
	Value field.Value
	From  *field.Field
	// Computed is the one of the step's Computes that makes the value, or nil.
	Computed *Compute
	Weight   int
	// Pseudo: it is the pseudo-header that changes, not the header's own bytes.
	Pseudo bool
}

// Term is what a value adds to a sum: Factor times the masked window, of the
// Source or, if there is none, of the packet as it arrived.
type Term struct {
	Window
	Source
	Factor int
	Part   Part
}

// Build plans a checked program for a link. It cannot fail: an impossible rule
// has been rejected by the checker. Rows of files are written out, see WrittenOut.
// It goes on as long as it takes: BuildOneByOne is for rules of any length.
func Build(p *rule.Program, link field.Link) *Program {
	return newBuilder(p.WrittenOut(), link, noEnd()).build()
}

// BuildOneByOne is Build, but gives up where rules come to more than any program
// can have. The error is a *TooLargeError or that of rule.Program.TooComplex.
func BuildOneByOne(p *rule.Program, link field.Link) (*Program, error) {
	p = p.WrittenOut()
	b := newBuilder(p, link, effortFor(p))
	return b.build(), b.effort.err
}

func newBuilder(p *rule.Program, link field.Link, e *effort) *builder {
	b := &builder{program: p, link: link, asked: askedFor(p), effort: e, tables: &tables{bundles: map[bundleKey]*bundle{}}}
	for _, r := range p.Rules {
		b.tables.items = append(b.tables.items, item{rule: r})
	}
	return b
}

func (b *builder) build() *Program {
	out := &Program{Link: b.link, Draws: b.program.Draws}
	levels := 1
	if b.link == field.Ethernet && b.asked.tags() {
		levels = maxTags + 1
	}
	for tags := range levels {
		out.Levels = append(out.Levels, b.level(tags))
	}
	return out
}
