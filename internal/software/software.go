// Package software carries a plan out in Go, on packets in memory: capture files need no
// kernel. It is one more back end of package plan, beside instructions and C, and knows
// nothing of files.
//
// Packets may be cut off: of those of a capture file fewer bytes may have been captured than
// were on the wire. What depends on missing bytes is unknown (semantics.md 3.12).
package software

import (
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// Machine is a plan that is ready to be carried out. It does not change, so any number of
// Runners may share it.
type Machine struct {
	link   field.Link
	blind  bool // every packet is treated alike
	levels []level
	tables []*table
	// all are the chains of every class.
	all         []*chain
	scratchSize int // bytes that values are worked out in
}

// level is a plan.Level.
type level struct {
	other, arp *chain
	ip, ip6    *network
	// inner are the chains of this level and of those with more tags.
	inner []*chain
}

// network is a plan.Network.
type network struct {
	bare   *chain
	l4     []transport
	summed *transport
	others []field.Other
	all    []*chain // of the network
}

// transport is a plan.Transport.
type transport struct {
	proto         field.Protocol
	number, fixed int
	ways          []leaf
}

// leaf is a plan.Leaf.
type leaf struct {
	plain, even, odd *chain
	quote            *quote
	all              []*chain
}

// quote is a plan.Quote.
type quote struct {
	l3   field.Protocol
	bare *chain
	l4   []quoted
}

// quoted is a plan.QuotedTransport.
type quoted struct {
	proto         field.Protocol
	number        int
	plain, summed *chain
}

// chain is a plan.Chain.
type chain struct{ steps []step }

// New makes a machine of a plan, which may have tables.
func New(p *plan.Program) *Machine {
	m := &Machine{link: p.Link, blind: p.Blind()}
	for _, t := range p.Tables {
		m.tables = append(m.tables, newTable(t))
	}
	c := compiler{Machine: m, chains: map[*plan.Chain]*chain{nil: nil}}
	for _, ch := range p.Chains() {
		m.all = append(m.all, c.chain(ch))
	}
	for _, l := range p.Levels {
		m.levels = append(m.levels, level{
			other: c.chain(l.Other), arp: c.chain(l.ARP),
			ip: c.network(l.IP, field.IP), ip6: c.network(l.IP6, field.IP6),
		})
	}
	var inner []*chain
	for i := len(m.levels) - 1; i >= 0; i-- {
		inner = append(inner, m.levels[i].chains()...)
		m.levels[i].inner = inner[:len(inner):len(inner)]
	}
	return m
}

// chains are those of a level.
func (l *level) chains() []*chain {
	out := []*chain{l.other}
	if l.arp != nil {
		out = append(out, l.arp)
	}
	for _, n := range []*network{l.ip, l.ip6} {
		if n != nil {
			out = append(out, n.all...)
		}
	}
	return out
}

// compiler makes a machine.
type compiler struct {
	*Machine
	chains map[*plan.Chain]*chain
}

func (c *compiler) chain(p *plan.Chain) *chain {
	if made, known := c.chains[p]; known {
		return made
	}
	out := &chain{}
	c.chains[p] = out
	for _, s := range p.Steps {
		out.steps = append(out.steps, c.step(s))
	}
	return out
}

func (c *compiler) network(p *plan.Network, l3 field.Protocol) *network {
	if p == nil {
		return nil
	}
	n := &network{bare: c.chain(p.Bare), others: field.OthersOver(l3)}
	n.all = append(n.all, n.bare)
	for _, t := range p.L4 {
		n.l4 = append(n.l4, c.transport(t, n))
	}
	if p.Summed != nil {
		t := c.transport(*p.Summed, n)
		n.summed = &t
	}
	return n
}

func (c *compiler) transport(p plan.Transport, n *network) transport {
	t := transport{proto: p.Proto}
	if p.Proto != field.None {
		h := p.Proto.Header()
		t.number, t.fixed = int(h.Number), h.Fixed
	}
	for _, l := range p.Ways {
		made := leaf{plain: c.chain(l.Plain), even: c.chain(l.Even), odd: c.chain(l.Odd)}
		made.all = []*chain{made.plain, made.even, made.odd}
		if l.Quote != nil {
			made.quote = c.quote(l.Quote)
			made.all = append(made.all, made.quote.chains()...)
		}
		t.ways = append(t.ways, made)
		for _, ch := range made.all {
			if ch != nil {
				n.all = append(n.all, ch)
			}
		}
	}
	return t
}

func (c *compiler) quote(p *plan.Quote) *quote {
	q := &quote{l3: p.L3, bare: c.chain(p.Bare)}
	for _, t := range p.L4 {
		q.l4 = append(q.l4, quoted{t.Proto, int(t.Proto.Header().Number), c.chain(t.Plain), c.chain(t.Summed)})
	}
	return q
}

func (q *quote) chains() []*chain {
	out := []*chain{q.bare}
	for _, t := range q.l4 {
		out = append(out, t.plain, t.summed)
	}
	return out
}

// Reason is why a packet that a rule may match is skipped: it stays as it is, and no later
// rule acts on it.
type Reason uint8

// The reasons.
const (
	NotSkipped Reason = iota
	Untested          // which rule acts depends on bytes that were not captured
	Unwritten         // a rule matches, and sets, reads or sums up bytes that were not captured
	Reasons           // how many there are
)

// Result is what has become of a packet.
type Result struct {
	// Rule is the place in rule.Program.Written of the rule that acted, or -1.
	Rule int
	// DryRun: it changes nothing.
	DryRun   bool
	Verdict  rule.Verdict
	Redirect string
	Skipped  Reason
}

// none: no rule acts.
var none = Result{Rule: -1}

// Runner carries a machine out on one packet after the other. It is for one goroutine.
type Runner struct {
	*Machine
	// Draw gives the random numbers of the packet at hand: 32 bits by their place.
	Draw func(index int) uint32
	// Missed is why rules did not act on the packet, where the plan asks that. Of a packet whose
	// class is not known there is nothing.
	Missed []Missed
	packet
	copies [2][]byte // of a packet whose class is not known
}

// Runner makes a runner, whose random numbers are all 0 until Draw is set.
func (m *Machine) Runner() *Runner {
	r := &Runner{Machine: m, Draw: func(int) uint32 { return 0 }}
	r.scratch = make([]byte, m.scratchSize)
	return r
}

// packet is what is known of the packet at hand.
type packet struct {
	data   []byte // as far as it was captured
	length int    // on the wire
	// at are the places of the headers that its class has. Where that is not known it is
	// nowhere.
	at [headers]int
	// Of the extension headers that were stepped over.
	stepped int  // bytes
	more    bool // a fragment that others follow
	// lastHop and home are the addresses that stand in the pseudo-header for the destination
	// of IPv4 and the source of IPv6, or nil.
	lastHop, home []byte
	// neverZero: field.Other.NeverZero of the packet's protocol.
	neverZero bool
	// row is that of the step's table, l4Len the length of the datagram of layer 4.
	row     []byte
	scratch []byte
	flow    uint64
}

const headers = int(field.QuotedICMP6) + 1

// nowhere is behind the end of any packet.
const nowhere = 1 << 30

// Run gives a packet to the first rule that acts on it, which rewrites data in place: the
// bytes that were captured of a packet of length bytes. They begin with the header of the
// link, and end without the frame check sequence.
func (r *Runner) Run(data []byte, length int) Result {
	r.data, r.length, r.Missed = data, length, r.Missed[:0]
	whole := len(data) >= length
	if !whole {
		for i := range r.at {
			r.at[i] = nowhere
		}
	}
	one, several := r.classify()
	switch {
	case several != nil:
		return r.undecided(several)
	case one == nil:
		return none
	}
	return r.walk(one)
}

// undecided is Run where missing bytes say which of several classes a packet is of: what
// all of them make of it is done.
func (r *Runner) undecided(chains []*chain) Result {
	r.copies[0] = append(r.copies[0][:0], r.data...)
	r.copies[1] = append(r.copies[1][:0], r.data...)
	original, first := r.copies[0], r.copies[1]
	defer func() { r.Missed = r.Missed[:0] }()
	var result Result
	for i, c := range chains {
		copy(r.data, original)
		got := none
		if c != nil {
			got = r.walk(c)
		}
		if got.Skipped != NotSkipped {
			copy(r.data, original)
			return got
		}
		if i == 0 {
			result = got
			copy(first, r.data)
			continue
		}
		if got != result || string(first) != string(r.data) {
			copy(r.data, original)
			return Result{Rule: -1, Skipped: Untested}
		}
	}
	return result
}

// walk lets the first step whose condition holds act.
func (r *Runner) walk(c *chain) Result {
	for i := range c.steps {
		s := &c.steps[i]
		if len(s.asks) > 0 {
			r.missed(s.asks)
			continue
		}
		if len(s.choices) > 0 {
			chosen, found := r.choose(s.choices)
			if found == unknown {
				return Result{Rule: -1, Skipped: Untested}
			}
			if found == no {
				continue
			}
			return r.act(chosen)
		}
		switch r.matches(s) {
		case yes:
			return r.act(s)
		case unknown:
			return Result{Rule: -1, Skipped: Untested}
		}
	}
	return none
}

// matches reports whether a step acts, and finds its row.
func (r *Runner) matches(s *step) truth {
	holds := yes
	if s.cond != nil {
		if holds = s.cond(r); holds == no {
			return no
		}
	}
	if s.lookup == nil {
		return holds
	}
	row, found := r.find(s.lookup)
	if found == no {
		return no
	}
	r.row = row
	return min(holds, found)
}

// choose finds the step whose row comes first in the order of the rules.
func (r *Runner) choose(list []step) (chosen *step, found truth) {
	best := uint64(1) << 40
	var row []byte
	open := best // the first order that is not known not to act
	for i := range list {
		s := &list[i]
		switch r.matches(s) {
		case unknown:
			open = min(open, uint64(s.lookup.first))
		case yes:
			if order := r.order(s.lookup); order < best {
				best, chosen, row = order, s, r.row
			}
		}
	}
	r.row = row
	switch {
	case open < best:
		return nil, unknown
	case chosen == nil:
		return nil, no
	}
	return chosen, yes
}
