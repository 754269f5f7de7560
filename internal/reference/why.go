package reference

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/why"
)

// Missed is the test by which a rule did not act on a packet.
type Missed struct {
	// Test is its place in the list of why.Tests, Miss the way in which it failed.
	Test int
	Miss why.Miss
	// Seen is what was there instead.
	Seen field.Value
}

// Why says of each of the first rules that did not act on a frame, and had its chance, which test
// failed first (semantics.md 3.13). The tests are those of why.Tests, and got is what became of
// the frame, of which not all of length bytes may have been captured.
func Why(link field.Link, prog *rule.Program, tests []why.Test, frame []byte, length int, got Result) []Missed {
	p := parseCut(link, append(slices.Clone(frame), make([]byte, length-len(frame))...), len(frame))
	p.cut.guess = true // what is unknown has not failed
	var out []Missed
	for first := 0; first < len(tests); {
		written := tests[first].Rule
		end := first
		for end < len(tests) && tests[end].Rule == written {
			end++
		}
		if why.Last(prog, written) < got.Passed {
			out = append(out, p.missed(prog, tests, first, end))
		}
		first = end
	}
	return out
}

// missed is the first of the tests from first to end that fails. Where all hold, it is the last:
// one that is not asked, or more than one test together.
func (p packet) missed(prog *rule.Program, tests []why.Test, first, end int) Missed {
	for i, t := range tests[first:end] {
		if miss, failed := p.fails(prog, t); failed {
			return p.see(t, Missed{Test: first + i, Miss: miss})
		}
	}
	return p.see(tests[end-1], Missed{Test: end - 1, Miss: why.Failed})
}

// fails reports whether a test fails, and how. One that is not asked fails for want of headers at
// most.
func (p packet) fails(prog *rule.Program, t why.Test) (why.Miss, bool) {
	switch {
	case len(t.Headers) > 0 && !slices.ContainsFunc(t.Headers, p.mayHave):
		return why.NoHeader, true
	case t.Guard != nil && !holds(t.Guard, p):
		return why.NoField, true
	case t.Whole != nil:
		of := slices.IndexFunc(prog.Rules, func(r *rule.Rule) bool { return r.Index == t.Rule && !r.Quote })
		return why.Failed, !p.mayBeWhole(t.Whole.Proto, prog.Rules[of].Actions)
	}
	return why.Failed, t.Expr != nil && !t.Rest && !holds(t.Expr, p)
}

// see looks at what is there instead of what was asked for.
func (p packet) see(t why.Test, m Missed) Missed {
	fields := t.Sees
	switch m.Miss {
	case why.NoHeader:
		m.Seen = p.instead(t.Headers[0].Header().Layer)
		return m
	case why.NoField:
		fields = []*field.Field{t.GuardSees}
	}
	for _, f := range fields {
		if f != nil && p.has(f.Proto) && p.captured(f) {
			m.Seen = p.get(f)
		}
	}
	return m
}

// instead is the innermost header that is there, or what it says follows, up to a layer.
func (p packet) instead(layer field.Layer) field.Value {
	if layer < field.NetworkLayer {
		return field.Value{}
	}
	inner := []field.Protocol{field.ARP, field.IP, field.IP6}
	if layer > field.NetworkLayer {
		inner = []field.Protocol{field.TCP, field.UDP, field.ICMP, field.ICMP6, field.ARP}
	}
	for _, h := range inner {
		if p.has(h) {
			return why.Header(h)
		}
	}
	if at, there := p.at[field.IP]; there {
		if ip := readIP(p.frame[at:]); ip.fragOffset != 0 {
			return why.LaterFragment(uint8(ip.protocol))
		}
		return why.Protocol(p.frame[at+9])
	}
	if at, there := p.at[field.IP6]; there {
		return why.Next(p.frame[at+6])
	}
	if !p.has(field.Eth) {
		return why.NoIP()
	}
	behind := ethernetLen
	for _, tag := range []field.Protocol{field.VLAN, field.CVLAN} {
		if at, there := p.at[tag]; there {
			behind = at + tagLen
		}
	}
	return why.EtherType(uint16(p.etherType(behind)))
}
