package rule

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"repacket/internal/field"
	"repacket/internal/operand"
)

// flow is what semantics.md 5.1 says of a packet: headers and the values that a flow has.
type flow struct {
	has  map[field.Protocol]bool
	hold map[string]uint64
}

// The fields of flows in these tests, by header, and the values that rules and flows have: few, so that
// they meet, and one that stands for all others.
var (
	flowHeaders = map[field.Protocol][]string{
		field.IP: {"ip_src", "ip_dest"}, field.TCP: {"tcp_src", "tcp_dest"}, field.UDP: {"udp_src", "udp_dest"},
		field.ICMP: {"icmp_type", "icmp_id"}, field.VLAN: {"vlan_id"},
	}
	flowSides = map[string]string{
		"ip_src": "ip_dest", "ip_dest": "ip_src", "tcp_src": "tcp_dest", "tcp_dest": "tcp_src", "udp_src": "udp_dest", "udp_dest": "udp_src",
	}
)

const (
	flowNet   = 10 << 24
	anyOther  = 4000
	echoValue = 8
)

// domain are the values that a field of a flow may have; the last one stands for all others.
func domain(name string) (out []uint64) {
	switch name {
	case "icmp_type":
		return []uint64{0, 8}
	case "ip_src", "ip_dest":
		for n := range uint64(16) {
			out = append(out, flowNet+n)
		}
		return append(out, 11<<24)
	}
	for n := range uint64(24) {
		out = append(out, n)
	}
	return append(out, anyOther)
}

func drawFlow(r *rand.Rand) flow {
	f := flow{has: map[field.Protocol]bool{field.Eth: true, field.IP: true}, hold: map[string]uint64{}}
	f.has[[]field.Protocol{field.TCP, field.UDP, field.ICMP}[r.IntN(3)]] = true
	f.has[field.VLAN] = r.IntN(2) == 0
	for _, p := range slices.Sorted(maps.Keys(flowHeaders)) {
		for _, name := range flowHeaders[p] {
			if all := domain(name); f.has[p] {
				f.hold[name] = all[r.IntN(len(all))]
			}
		}
	}
	return f
}

// exchanged is a flow with source and destination exchanged, an echo request for an echo reply.
func (f flow) exchanged() flow {
	out := flow{f.has, map[string]uint64{}}
	for name, v := range f.hold {
		if other := flowSides[name]; other != "" {
			name = other
		}
		if name == "icmp_type" {
			v = echoValue - v
		}
		out.hold[name] = v
	}
	return out
}

func (f flow) equal(o flow) bool { return maps.Equal(f.hold, o.hold) }

// asks says whether a condition can hold on packets of a flow, and whether it must.
func (f flow) asks(e Expr) (can, must bool) {
	switch e := e.(type) {
	case All:
		return true, true
	case Has:
		return f.has[e.Proto], f.has[e.Proto]
	case Test:
		if v, ok := f.hold[e.Field.Name]; ok {
			in := e.In.Contains(field.V(v))
			return in, in
		}
		return f.has[e.Field.Proto], false // TTL and the like; no test here is of a flow's field that is not there
	case Chance:
		return true, false
	case Not:
		can, must = f.asks(e.X)
		return !must, !can
	case And:
		can, must = true, true
		for _, x := range e.X {
			c, m := f.asks(x)
			can, must = can && c, must && m
		}
		return can, must
	case Or:
		for _, x := range e.X {
			c, m := f.asks(x)
			can, must = can || c, must || m
		}
		return can, must
	}
	panic("unknown condition")
}

// takes says whether a rule can act on packets of a flow, and whether it must.
func (f flow) takes(r *Rule) (can, must bool) {
	for _, a := range r.Actions {
		if !f.has[a.Field.Proto] {
			return false, false
		}
	}
	for _, s := range r.Swaps {
		if !f.has[s.Proto] {
			return false, false
		}
	}
	return f.asks(r.Cond)
}

// after is the flow behind the rule.
func (f flow) after(r *Rule) flow {
	out := flow{f.has, maps.Clone(f.hold)}
	for _, s := range r.Swaps {
		src, dest := s.Fields()
		out.hold[src.Name], out.hold[dest.Name] = f.hold[dest.Name], f.hold[src.Name]
	}
	for _, a := range r.Actions {
		v, top := f.hold[a.Field.Name], a.Field.Max().Lo
		if _, ok := f.hold[a.Field.Name]; !ok {
			continue
		}
		switch a.Op {
		case operand.Set:
			v = a.Value.Lo
		case operand.Prefix:
			keep := uint64(1)<<(a.Field.Width-a.Bits) - 1
			v = a.Value.Lo | v&keep
		case operand.Add:
			v = min(v+a.Value.Lo, top)
		case operand.Sub:
			v -= min(a.Value.Lo, v)
		}
		out.hold[a.Field.Name] = v
	}
	return out
}

// before are the flows that a rule makes a flow of, without an earlier rule that must take them. One that
// stands for others counts twice.
func (f flow) before(all []*Rule, k int) (out []flow) {
	r := all[k]
	list := []flow{{f.has, maps.Clone(f.hold)}}
	for _, s := range r.Swaps {
		src, dest := s.Fields()
		list[0].hold[src.Name], list[0].hold[dest.Name] = f.hold[dest.Name], f.hold[src.Name]
	}
	for _, a := range r.Actions {
		if _, ok := f.hold[a.Field.Name]; !ok {
			continue
		}
		var next []flow
		for _, x := range list {
			for _, v := range domain(a.Field.Name) {
				y := flow{f.has, maps.Clone(x.hold)}
				y.hold[a.Field.Name] = v
				next = append(next, y)
			}
		}
		list = next
	}
	for _, x := range list {
		if can, _ := x.takes(r); !can || !x.after(r).equal(f) {
			continue
		}
		taken := slices.ContainsFunc(all[:k], func(early *Rule) bool { _, must := x.takes(early); return must })
		if taken {
			continue
		}
		out = append(out, x)
		for _, a := range r.Actions {
			if v := x.hold[a.Field.Name]; (v == anyOther || v == 11<<24) && (a.Op == operand.Set || a.Op == operand.Prefix) {
				out = append(out, x)
			}
		}
	}
	return out
}

// drawReplies writes rules with few values, some of which say replies.
func drawReplies(r *rand.Rand) string {
	one := func(list ...string) string { return list[r.IntN(len(list))] }
	port := func() string { return fmt.Sprint(1 + r.IntN(6)) }
	address := func() string { return fmt.Sprintf("10.0.0.%d", r.IntN(8)) }
	prefix := func() string { return fmt.Sprintf("10.0.0.%d/%s", 4*r.IntN(3), one("30", "30", "32")) }
	values := func() string {
		return one(port(), port(), "1-3", "4-5", "ne "+port(), port()+",7", "le 3")
	}
	test := func(l4 string) string {
		ports := map[string][]string{"tcp": {"tcp_src", "tcp_dest"}, "udp": {"udp_src", "udp_dest"}, "icmp": {"icmp_id", "icmp_id"}}[l4]
		return one(ports[0]+" "+values(), ports[1]+" "+values(), ports[1]+" "+port(), ports[1]+" "+port(),
			"ip_src "+address(), "ip_dest "+address(), "ip_dest "+prefix(), "ip_src "+prefix(),
			"vlan_id "+values(), "vlan", "ip_ttl 5", "not ip_ttl 5", "ip_dscp ef", "chance 5%", l4)
	}
	action := func(l4 string) string {
		ports := map[string][]string{"tcp": {"tcp_src", "tcp_dest"}, "udp": {"udp_src", "udp_dest"}, "icmp": {"icmp_id", "icmp_id"}}[l4]
		swap := "swap " + l4
		if l4 == "icmp" {
			swap = "swap ip"
		}
		return one(ports[1]+" "+port(), ports[1]+" "+port(), ports[1]+" +3", ports[0]+" -1", ports[0]+" "+port(),
			"ip_dest "+prefix(), "ip_dest "+address(), "ip_src "+prefix(), "vlan_id "+port(), "swap ip", swap, "ip_ttl 9", "ip_dscp ef")
	}
	var b strings.Builder
	for range 1 + r.IntN(3) {
		l4 := one("tcp", "tcp", "udp", "icmp")
		b.WriteString("if " + test(l4))
		for range r.IntN(3) {
			b.WriteString(one(" and ", " ", " ", " or ", " and not ") + test(l4))
		}
		if r.IntN(6) == 0 {
			b.WriteString(one(" then drop ", " then pass ", " "))
			continue
		}
		b.WriteString(" then " + action(l4))
		for range r.IntN(2) {
			b.WriteString(", " + action(l4))
		}
		b.WriteString(one(" replies ", " replies ", " replies ", " "))
	}
	return b.String()
}

// TestRepliesByDefinition: whatever flow a packet of the other direction has, it is changed if and only if
// there is exactly one flow that semantics.md 5.1 asks for, and becomes that flow, exchanged. The flows are
// found by trying all.
func TestRepliesByDefinition(t *testing.T) {
	t.Parallel()
	programs, accepted, changed, kept := 6_000, 0, 0, 0
	if testing.Short() {
		programs /= 5
	}
	r := rand.New(rand.NewPCG(15, 1))
	for range programs {
		source := drawReplies(r)
		p, err := check(source, Options{}) // without hints, which take their time
		if err != nil || p.Replies == nil || len(p.Replies.Rules) == 0 {
			continue
		}
		accepted++
		for range 12 {
			g := drawFlow(r)
			if k := p.Rules[r.IntN(len(p.Rules))]; r.IntN(3) > 0 { // one that may be a reply
				g = g.after(k).exchanged()
			}
			if replyOf(t, p, g) {
				changed++
			} else {
				kept++
			}
		}
	}
	t.Logf("%d of %d programs are accepted; %d replies, %d other packets", accepted, programs, changed, kept)
	if accepted < programs/20 || changed < accepted || kept < accepted {
		t.Errorf("%d of %d programs are accepted; %d replies, %d other packets: that shows little", accepted, programs, changed, kept)
	}
}

// replyOf compares what becomes of a packet with what the definition says, and reports whether it is a reply.
func replyOf(t *testing.T, p *Program, g flow) bool {
	t.Helper()
	var originals []flow
	for k, r := range p.Rules {
		if r.Replies == Stateless {
			originals = append(originals, g.exchanged().before(p.Rules, k)...)
		}
	}
	got, acted := g, false
	for _, r := range p.Replies.Rules {
		if can, _ := g.takes(r); can {
			got, acted = g.after(r), true
			break
		}
	}
	if acted != (len(originals) == 1) || acted && !got.equal(originals[0].exchanged()) {
		var rules []string
		for _, r := range p.Replies.Rules {
			rules = append(rules, r.Print())
		}
		t.Fatalf("%s\n%s\n%v becomes %v (a rule acts: %v)\nflows: %v", p.Source, strings.Join(rules, "\n"), g, got.hold, acted, originals)
	}
	return acted
}

// drawReplyRows writes rules for the rows of a file, and the file.
func drawReplyRows(r *rand.Rand) (source, file string) {
	one := func(list ...string) string { return list[r.IntN(len(list))] }
	prefixes, ranges := r.IntN(3) == 0, r.IntN(4) == 0
	address := func() string {
		if prefixes {
			return fmt.Sprintf("10.0.0.%d/%s", 4*r.IntN(4), one("30", "30", "30", "31"))
		}
		return fmt.Sprintf("10.0.0.%d", r.IntN(8))
	}
	port := func() string {
		lo := 1 + r.IntN(9)
		if ranges && r.IntN(2) == 0 {
			return fmt.Sprintf("%d-%d", lo, lo+r.IntN(3))
		}
		return fmt.Sprint(lo)
	}
	var rows, b strings.Builder
	rows.WriteString("a,b,p,q,n\n")
	for range 1 + r.IntN(4) {
		fmt.Fprintf(&rows, "%s,%s,%s,%d,%d\n", address(), address(), port(), 1+r.IntN(9), 1+r.IntN(3))
	}
	test := func() string {
		return one("ip_dest @a", "ip_dest @a", "ip_src @a", "tcp_dest @p", "tcp_dest @p", "tcp_src @p", "not ip_src @b", "tcp_dest 1-3",
			"ip_dest 10.0.0.0/30", "ip_src 10.0.0.2", "ip_ttl 5", "ip_dest @a,10.0.0.9", "not tcp_dest 2", "vlan")
	}
	action := func() string {
		return one("ip_dest @b", "ip_dest @b", "ip_src @b", "tcp_dest @q", "tcp_dest @q", "tcp_dest +@n", "tcp_dest -@n", "tcp_src @q",
			"tcp_dest 5", "tcp_dest +2", "ip_dest 10.0.0.5", "ip_dest 10.0.0.4/30", "swap ip", "swap tcp", "ip_ttl @q")
	}
	for range 1 + r.IntN(2) {
		b.WriteString("if " + test())
		for range r.IntN(3) {
			b.WriteString(one(" and ", " and ", " and ", " or ") + test())
		}
		b.WriteString(one(" then "+action(), " then "+action()+", "+action(), " then drop", ""))
		b.WriteString(one(" replies", " replies", "") + " from rows.csv\n")
	}
	return b.String() + one("", "if ip_dest 10.0.0.0/29 then ip_dest 10.0.0.8/29 replies", "if tcp_dest 1-9 then tcp_dest +10 replies"), rows.String()
}

// TestRepliesOfRowsByDefinition is TestRepliesByDefinition for rules with rows, each a rule of its own.
func TestRepliesOfRowsByDefinition(t *testing.T) {
	t.Parallel()
	programs, accepted, changed := 12_000, 0, 0
	if testing.Short() {
		programs /= 5
	}
	r := rand.New(rand.NewPCG(15, 2))
	for range programs {
		source, file := drawReplyRows(r)
		p, err := check(source, Options{Open: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(file)), nil }})
		if err != nil || p.Replies == nil || len(p.Replies.Rules) == 0 {
			continue
		}
		accepted++
		each := &Program{Source: source + file, Rules: rowByRow(p.Rules), Replies: &Program{Rules: rowByRow(p.Replies.Rules)}}
		for range 12 {
			g := drawFlow(r)
			if k := each.Rules[r.IntN(len(each.Rules))]; r.IntN(3) > 0 {
				g = g.after(k).exchanged()
			}
			if replyOf(t, each, g) {
				changed++
			}
		}
	}
	t.Logf("%d of %d programs are accepted; %d replies", accepted, programs, changed)
	if accepted < programs/20 || changed < accepted {
		t.Errorf("%d of %d programs are accepted; %d replies: that shows little", accepted, programs, changed)
	}
}

// rowByRow are rules with each row a rule.
func rowByRow(rules []*Rule) (out []*Rule) {
	for _, r := range rules {
		if r.Rows == nil {
			out = append(out, r)
			continue
		}
		for row := range r.Rows.Len {
			out = append(out, r.Row(row))
		}
	}
	return out
}
