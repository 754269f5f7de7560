package packetset

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"repacket/internal/field"
)

func val(v int) field.Set { return field.One(field.V(uint64(v))) }

func where(name string, v int) Set { return Where(field.MustByName(name), val(v)) }

func plenty() *Budget { return NewBudget(1 << 30) }

// all is what is in all of the sets.
func all(sets ...Set) Set {
	out := All()
	for _, s := range sets {
		out = plenty().Intersect(out, s)
	}
	return out
}

// TestStacks counts the stacks by hand: four links (none, Ethernet, one tag,
// two), on each nothing, IPv4 alone or with one of TCP, TCP with its option,
// UDP and ICMP, the same five of IPv6; and ARP on the three with Ethernet.
func TestStacks(t *testing.T) {
	t.Parallel()
	if want := 4*11 + 3; len(layers.all) != want {
		t.Errorf("%d stacks, want %d", len(layers.all), want)
	}
	for i, h := range layers.all {
		for layer := range field.Layers {
			if n := len(slices.DeleteFunc(h.List(), func(p field.Protocol) bool { return p.Header().Layer != layer })); n > 1 {
				t.Errorf("%v has %d headers of layer %d", h.List(), n, layer)
			}
		}
		if slices.Index(layers.all, h) != i {
			t.Errorf("%v is there twice", h.List())
		}
	}
}

// TestManyStacks: a table with SCTP, DCCP and more has more stacks than a word
// has bits, and sets of them work as those of today.
func TestManyStacks(t *testing.T) {
	t.Parallel()
	list, header := withMore(6, 0) // SCTP, DCCP and others
	l := newLayering(list, header)
	if want := 4*(11+2*6) + 3; len(l.all) != want { // each of them over IPv4 and over IPv6
		t.Fatalf("%d stacks, want %d", len(l.all), want)
	}
	for _, p := range list {
		for _, q := range list {
			want := 0
			for _, h := range l.all {
				if h.Has(p) && !h.Has(q) {
					want++
				}
			}
			got, both := 0, 0
			l.every.and(l.having[p]).without(l.having[q]).each(func(n int) {
				if got++; !l.all[n].Has(p) || l.all[n].Has(q) {
					t.Fatalf("%d and not %d: %v", p, q, l.all[n])
				}
			})
			l.having[p].each(func(n int) {
				if l.all[n].Has(q) {
					both++
				}
			})
			if got != want || l.having[p].meets(l.having[q]) != (both > 0) || l.having[p].or(l.having[q]) == l.having[q] && got > 0 {
				t.Errorf("%d and not %d: %d stacks, want %d; both: %d", p, q, got, want, both)
			}
		}
	}
}

// withMore are the headers of the table and some more: transports over IPv4 and IPv6,
// and options over each of these.
func withMore(transports, options int) ([]field.Protocol, func(field.Protocol) field.Header) {
	list := field.Protocols()
	more := map[field.Protocol]field.Header{}
	add := func(h field.Header) field.Protocol {
		p := list[len(list)-1] + 1
		list, more[p] = append(list, p), h
		return p
	}
	var over []field.Protocol
	for range transports {
		over = append(over, add(field.Header{Layer: field.TransportLayer, Over: []field.Protocol{field.IP, field.IP6}}))
	}
	for range options {
		add(field.Header{Layer: field.OptionLayer, Over: over})
	}
	return list, func(p field.Protocol) field.Header {
		if h, ok := more[p]; ok {
			return h
		}
		return p.Header()
	}
}

// TestTooManyStacks: a table with more stacks than a set has bits, 4*(11+2*(5+5*5))+3, is
// found out at once. With four options for five they are 4*(11+2*(5+5*4))+3 = 247, and fit.
func TestTooManyStacks(t *testing.T) {
	t.Parallel()
	for options, fits := range map[int]bool{4: true, 5: false} {
		said := func() (said any) {
			defer func() { said = recover() }()
			newLayering(withMore(5, options))
			return nil
		}()
		if text, _ := said.(string); fits != (said == nil) || !fits && !strings.Contains(text, "stacks") {
			t.Errorf("%d options: %v, want that they fit: %v", options, said, fits)
		}
	}
}

// TestValuesOfOneFieldStayExact: a long list of values is still one state, so
// nothing is lost of it.
func TestValuesOfOneFieldStayExact(t *testing.T) {
	t.Parallel()
	out := Set{}
	for v := range 2 * MaxStates {
		out = plenty().Union(out, all(where("udp_dest", 2*v), where("ip_ttl", 7)))
	}
	if !out.Exact() || len(out.states) != 1 {
		t.Errorf("%d states, exact: %v", len(out.states), out.Exact())
	}
}

// TestManyStatesHoldEveryPacket: a set of more states than are kept leaves none
// of its packets out.
func TestManyStatesHoldEveryPacket(t *testing.T) {
	t.Parallel()
	out, parts := Set{}, []Set{}
	for v := range MaxStates + 16 {
		name := []string{"udp_dest", "tcp_dest"}[v%2]
		parts = append(parts, all(where(name, v), where("ip_ttl", v)))
		out = plenty().Union(out, parts[v])
		if v == MaxStates-1 && !out.Exact() {
			t.Error("as many states as are kept, and not exact")
		}
	}
	if out.Exact() || len(out.states) != MaxStates {
		t.Errorf("%d states, exact: %v", len(out.states), out.Exact())
	}
	for v, one := range parts {
		if !plenty().Meets(out, one) {
			t.Errorf("part %d is left out", v)
		}
	}
}

// TestAround: the state around two others knows what both know, each field
// once, and nothing that is always so.
func TestAround(t *testing.T) {
	t.Parallel()
	a := all(With(field.UDP), where("ip_ttl", 3), where("ip_id", 5))
	b := all(With(field.UDP), where("ip_ttl", 1), where("ip_tos", 2))
	got := around(a.states[0], b.states[0], true).facts
	if want := val(1).Union(val(3)); len(got) != 1 || got[0].Field.Name != "ip_ttl" || !got[0].In.Equal(want) {
		t.Errorf("got %v", got)
	}
}

// drawSet is some set of packets, made of the smallest ones.
func drawSet(t *rapid.T, depth int) Set {
	fields := field.Fields()
	f := fields[rapid.IntRange(0, len(fields)-1).Draw(t, "field")]
	values := field.NewSet(field.Range{Hi: field.V(rapid.Uint64Range(0, 20).Draw(t, "most"))}).Intersect(field.All(f.Width))
	kind := rapid.IntRange(0, 5).Draw(t, "kind")
	if depth == 0 {
		kind %= 4
	}
	switch kind {
	case 0:
		return With(f.Proto)
	case 1:
		return Without(f.Proto)
	case 2:
		return Where(f, values)
	case 3:
		return Unless(f, values)
	case 4:
		return plenty().Union(drawSet(t, depth-1), drawSet(t, depth-1))
	}
	return plenty().Intersect(drawSet(t, depth-1), drawSet(t, depth-1))
}

// TestMeets: two states meet where there is something in both.
func TestMeets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawSet(t, 3), drawSet(t, 3)
		for _, x := range a.states {
			for _, y := range b.states {
				if _, want := x.and(y); x.meets(y) != want {
					t.Fatalf("%v and %v meet: %v, want %v", x, y, !want, want)
				}
			}
		}
	})
}

// TestNeeded: the values that a header asks of the field that names it, by hand.
func TestNeeded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of   field.Protocol
		name string
		want field.Set
	}{
		{field.TCP, "ip_protocol", val(6)},
		{field.TCP, "ip_ver", val(4)},
		{field.ICMP6, "ip6_next", field.NewSet(single(58), single(0), between(43, 44), single(60))},
		{field.VLAN, "eth_type", val(0x8100).Union(val(0x88a8))},
		{field.CVLAN, "vlan_type", val(0x8100).Union(val(0x88a8))},
		{field.ARP, "cvlan_type", val(0x0806)},
		{field.MSS, "ip_tot_len", field.NewSet(single(0), between(44, 65535))},
		{field.UDP, "ip6_len", field.NewSet(single(0), between(8, 65535))},
		{field.UDP, "ip_ttl", field.All(8)},
		{field.UDP, "tcp_dest", nil},
	} {
		if got := plenty().Needed(With(c.of), field.MustByName(c.name)); !got.In.Equal(c.want) {
			t.Errorf("%s of %v: %v, want %v", c.name, c.of, got.In, c.want)
		}
	}
}

// TestBudget: a rule takes its own steps first, then those of all; the last one is
// refused, and what is worked out without any holds every packet still.
func TestBudget(t *testing.T) {
	t.Parallel()
	b := NewBudget(3)
	b.Turn(5)
	if !b.Spend(5) || b.Over() || !b.Spend(2) || b.Over() || b.Spend(1) || !b.Over() || b.Spent() != 8 {
		t.Errorf("%+v", b)
	}
	x, y := where("udp_dest", 5), where("ip_ttl", 7)
	if got := b.Intersect(x, y); got.Exact() || !plenty().Meets(got, all(x, y)) {
		t.Errorf("both: %v", got)
	}
	many := plenty().Union(plenty().Union(x, y), With(field.ARP))
	for _, pair := range [][2]Set{{x, many}, {many, x}} { // the one of fewer cases is kept
		if got := b.Intersect(pair[0], pair[1]); len(got.states) != 1 {
			t.Errorf("%d and %d states: %v", len(pair[0].states), len(pair[1].states), got)
		}
	}
	if got := b.Union(x, y); got.Exact() || !plenty().Meets(got, x) || !plenty().Meets(got, y) {
		t.Errorf("either: %v", got)
	}
	if none := where("tcp_dest", 5); !b.Meets(x, none) || plenty().Meets(x, none) {
		t.Error("without steps everything may meet")
	}
}

// TestParts: what is known of a part of a field is known of the field, value by
// value.
func TestParts(t *testing.T) {
	t.Parallel()
	for _, f := range field.Fields() {
		wide := widest[f]
		if wide == f {
			continue
		}
		in := val(1)
		if f.Width > 1 {
			in = field.NewSet(single(0), between(2, 3)).Intersect(field.All(f.Width))
		}
		got := factOf(f, in)
		for v := range wide.Max().Lo + 1 {
			part := v >> (wide.Bit + wide.Width - f.Bit - f.Width) & f.Max().Lo
			if got.In.Contains(field.V(v)) != in.Contains(field.V(part)) {
				t.Fatalf("%s in %v: %d of %s", f.Name, in, v, wide.Name)
			}
		}
	}
}

// TestSpan: from the least to the largest value of the cases that have the field.
func TestSpan(t *testing.T) {
	t.Parallel()
	ttl := field.MustByName("ip_ttl")
	u := plenty().Union(all(where("ip_ttl", 9), where("udp_dest", 5)), all(where("ip_ttl", 3), where("tcp_dest", 5)))
	if got, ok := u.Span(ttl); !ok || got != between(3, 9) {
		t.Errorf("got %v, %v", got, ok)
	}
	if got, ok := With(field.ARP).Span(ttl); ok {
		t.Errorf("ARP has %v", got)
	}
}

// TestSteps counts by hand: a step for each pair of states, and for each fact and
// range that is looked at or kept.
func TestSteps(t *testing.T) {
	t.Parallel()
	x, y := where("udp_dest", 5), where("ip_ttl", 7)
	if x.Size() != 3 || all(x, y).Size() != 5 {
		t.Errorf("sizes: %d, %d", x.Size(), all(x, y).Size())
	}
	for name, c := range map[string]struct {
		do   func(*Budget)
		want int
	}{
		"meets":     {func(b *Budget) { b.Meets(x, y) }, 1 + 2},
		"intersect": {func(b *Budget) { b.Intersect(x, y) }, 1 + 2 + 2 + 1 + 4},
		"union":     {func(b *Budget) { b.Union(x, y) }, 1 + 2 + 2}, // the first field tells that they stay apart
	} {
		b := plenty()
		if c.do(b); b.Spent() != c.want {
			t.Errorf("%s: %d steps, want %d", name, b.Spent(), c.want)
		}
	}
}

// TestInexact: what is made of a set that holds too much does so too.
func TestInexact(t *testing.T) {
	t.Parallel()
	x, y := where("udp_dest", 5), where("ip_ttl", 7)
	for name, s := range map[string]Set{
		"intersect": plenty().Intersect(x.Around(), y), "intersect, second": plenty().Intersect(x, y.Around()),
		"union": plenty().Union(x.Around(), y), "union, second": plenty().Union(x, y.Around()),
	} {
		if s.Exact() {
			t.Errorf("%s: exact", name)
		}
	}
}
