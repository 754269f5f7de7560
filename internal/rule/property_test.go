package rule

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetset"
	"repacket/internal/syntax"
)

// telling are values at which something changes.
var telling = map[string][]uint64{
	"eth_type": {0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8}, "vlan_type": {0x0800, 0x86dd, 0x8100}, "cvlan_type": {0x0800, 0x86dd, 0x8100},
	"ip_ver": {4, 6}, "ip_protocol": {1, 6, 17}, "ip_tot_len": {19, 20, 27, 28, 39, 40, 43, 44},
	"ip6_next": {6, 17, 43, 44, 58, 60}, "ip6_len": {7, 8, 19, 20, 23, 24}, "icmp_type": {0, 8, 13, 14}, "tcp_hlen": {5, 6},
}

// drawValue is a value of the field, often a small one.
func drawValue(t *rapid.T, f *field.Field) field.Value {
	top := f.Max()
	switch rapid.IntRange(0, 3).Draw(t, "size") {
	case 0:
		if list := telling[f.Name]; list != nil {
			return field.V(rapid.SampledFrom(list).Draw(t, "value"))
		}
	case 1:
		v := field.Value{Hi: rapid.Uint64().Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")}
		return field.Value{Hi: v.Hi & top.Hi, Lo: v.Lo & top.Lo}
	}
	return field.V(rapid.Uint64Range(0, min(top.Lo, 6)).Draw(t, "value"))
}

// write is a value of f as a user may write it.
func write(t *rapid.T, f *field.Field, v field.Value) string {
	switch f.Kind {
	case field.Address4:
		return fmt.Sprintf("%d.%d.%d.%d", v.Lo>>24, v.Lo>>16&255, v.Lo>>8&255, v.Lo&255)
	case field.Address6:
		var groups []string
		for i := range 8 {
			half := []uint64{v.Hi, v.Lo}[i/4]
			groups = append(groups, fmt.Sprintf("%x", half>>(48-16*(i%4))&0xffff))
		}
		return strings.Join(groups, ":")
	case field.MAC:
		var groups []string
		for i := range 6 {
			groups = append(groups, fmt.Sprintf("%02X", v.Lo>>(40-8*i)&0xff))
		}
		return strings.Join(groups, ":")
	}
	return fmt.Sprintf(rapid.SampledFrom([]string{"%d", "%#x"}).Draw(t, "base"), v.Lo)
}

// drawTest writes a test of the field in the language, and says by itself
// which values it lets through.
func drawTest(t *rapid.T, f *field.Field) (text string, holds func(field.Value) bool) {
	top, n := f.Max(), drawValue(t, f)
	switch op := rapid.SampledFrom([]string{"", "eq", "ne", "lt", "le", "gt", "ge"}).Draw(t, "op"); op {
	case "lt":
		if n.IsZero() {
			n = field.V(1)
		}
		return f.Name + " lt " + write(t, f, n), func(v field.Value) bool { return v.Cmp(n) < 0 }
	case "le":
		return f.Name + " le " + write(t, f, n), func(v field.Value) bool { return v.Cmp(n) <= 0 }
	case "gt":
		if n == top {
			n = field.Value{}
		}
		return f.Name + " gt " + write(t, f, n), func(v field.Value) bool { return v.Cmp(n) > 0 }
	case "ge":
		return f.Name + " >= " + write(t, f, n), func(v field.Value) bool { return v.Cmp(n) >= 0 }
	default:
		var items []string
		var in []func(field.Value) bool
		for range rapid.IntRange(1, 4).Draw(t, "items") {
			item, holds := drawItem(t, f)
			items, in = append(items, item), append(in, holds)
		}
		any := func(v field.Value) bool {
			return slices.ContainsFunc(in, func(f func(field.Value) bool) bool { return f(v) })
		}
		text := strings.Join(strings.Fields(f.Name+" "+op+" "+strings.Join(items, ",")), " ")
		if op == "ne" {
			return text, func(v field.Value) bool { return !any(v) }
		}
		return text, any
	}
}

// drawItem writes a value, a range or a prefix.
func drawItem(t *rapid.T, f *field.Field) (text string, holds func(field.Value) bool) {
	lo, hi := drawValue(t, f), drawValue(t, f)
	if lo.Cmp(hi) > 0 {
		lo, hi = hi, lo
	}
	switch rapid.IntRange(0, 2).Draw(t, "item") {
	case 0:
		return write(t, f, lo), func(v field.Value) bool { return v == lo }
	case 1:
		if f.Kind == field.Address4 || f.Kind == field.Address6 || f.Kind == field.MAC {
			free := rapid.IntRange(0, f.Width-1).Draw(t, "free")
			shifted := func(v field.Value) field.Value { // what stands before the free bits
				for range free {
					v = field.Value{Hi: v.Hi >> 1, Lo: v.Lo>>1 | v.Hi<<63}
				}
				return v
			}
			net := shifted(lo)
			for range free {
				net = field.Value{Hi: net.Hi<<1 | net.Lo>>63, Lo: net.Lo << 1}
			}
			return fmt.Sprintf("%s/%d", write(t, f, net), f.Width-free), func(v field.Value) bool { return shifted(v) == shifted(lo) }
		}
	}
	if lo.IsZero() && hi == f.Max() {
		return write(t, f, hi), func(v field.Value) bool { return v == hi }
	}
	return write(t, f, lo) + "-" + write(t, f, hi), func(v field.Value) bool { return lo.Cmp(v) <= 0 && v.Cmp(hi) <= 0 }
}

// testOf is the test that a condition of one test is, without its guard.
func testOf(e Expr) Test {
	if and, ok := e.(And); ok {
		e = and.X[len(and.X)-1]
	}
	return e.(Test)
}

// TestTestsMeanWhatTheySay compares the sets of the checker with tests that
// are worked out value by value.
func TestTestsMeanWhatTheySay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(field.Fields()).Draw(t, "field")
		text, holds := drawTest(t, f)
		p, err := Check("if " + text)
		if err != nil {
			// The only error there can be: no value is left.
			for v := range min(f.Max().Lo, 70000) + 1 {
				if holds(field.V(v)) {
					t.Fatalf("%s: %v, but %d is let through", text, err, v)
				}
			}
			return
		}
		in := testOf(p.Rules[0].Cond).In
		for range 50 {
			v := drawValue(t, f)
			if in.Contains(v) != holds(v) {
				t.Fatalf("%s: %v: got %v, want %v", text, v, in.Contains(v), holds(v))
			}
		}
	})
}

// few are fields that get in each other's way.
var few = strings.Fields(`ip_tos ip_dscp ip_ecn ip_flags ip_flag_mf ip_offset ip_protocol ip_hl ip_ver
	ip_tot_len tcp_dest udp_dest udp_len icmp_type icmp_id icmp_seq tcp_syn tcp_ack tcp_flags tcp_nonce tcp_hlen tcp_mss
	eth_type eth_src vlan_id vlan_type cvlan_id cvlan_type arp_op ip6_next ip6_len ip6_dscp ip6_src icmp6_type`)

// drawCondition writes a condition in the language.
func drawCondition(t *rapid.T, depth int) string {
	kind := rapid.IntRange(0, 8).Draw(t, "kind")
	if depth == 0 && kind < 8 {
		kind %= 3
	}
	switch kind {
	case 8:
		return rapid.SampledFrom([]string{"chance 5%", "chance 1/3", "chance 99%", "chance 2/2", "chance 1/4294967296"}).Draw(t, "chance")
	case 0:
		return rapid.SampledFrom(strings.Fields("eth vlan cvlan arp ip ip6 tcp udp icmp icmp6 all")).Draw(t, "header")
	case 1, 2:
		f := field.MustByName(rapid.SampledFrom(few).Draw(t, "field"))
		text, _ := drawTest(t, f)
		return text
	case 3:
		return "not (" + drawCondition(t, depth-1) + ")"
	case 4:
		return rapid.SampledFrom([]string{"dport ", "ttl ", "ecn "}).Draw(t, "short") + fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "port"))
	}
	join := []string{" ", " and ", " or "}[kind-5]
	parts := []string{}
	for range rapid.IntRange(2, 3).Draw(t, "parts") {
		parts = append(parts, "("+drawCondition(t, depth-1)+")")
	}
	return strings.Join(parts, join)
}

// parseCondition is the condition of a program of one rule, whether or not
// anything can match it.
func parseCondition(t *rapid.T, source string) (Expr, bool) {
	rules, _, d := syntax.Parse(source)
	if d != nil {
		t.Fatalf("%s: %v", source, d)
	}
	c := newChecker(source, 0, nil)
	e := choice(nil).apply(c.condition(rules[0].Cond))
	return e, c.err == nil
}

// TestStatesHoldEveryPacket: a packet on which a condition holds is in one of
// the checker's states, so that nothing possible is called impossible; and
// unless the states are a hull, no other packet is.
func TestStatesHoldEveryPacket(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e, ok := parseCondition(t, "if "+drawCondition(t, 3))
		if !ok {
			return
		}
		in, out := newEvaluator().packets(e), newEvaluator().others(e)
		for range 20 {
			p := drawFrame(t)
			if holds := eyes(e, p); holds {
				checkIn(t, e, in, out, p)
			} else {
				checkIn(t, Not{X: e}, out, in, p)
			}
		}
	})
}

func checkIn(t *rapid.T, e Expr, in, out packetset.Set, p frame) {
	if !within(in, p) {
		t.Fatalf("%s holds on %v, which is in none of the states %v", Print(e), p, in)
	}
	if out.Exact() && len(find[Chance](e)) == 0 && within(out, p) {
		t.Fatalf("%s holds on %v, which is also in the states of the rest, %v", Print(e), p, out)
	}
}

func within(s packetset.Set, p frame) bool {
	var found packetset.Headers
	for proto, has := range p.has {
		if has {
			found |= packetset.HeadersOf(proto)
		}
	}
	return s.Contains(found, p.get)
}

func drawActions(t *rapid.T) string {
	var out []string
	for range rapid.IntRange(0, 2).Draw(t, "actions") {
		out = append(out, rapid.SampledFrom([]string{
			"ip_ttl 5", "ip_dscp ef", "ip_tos 0", "udp_dest 80", "tcp_dest 80", "dport 80", "sport 5", "ttl 7", "dscp 0", "ecn ce",
			"udp_check fix", "tcp_check bad", "ip_check fix", "ip_check 0xdead", "icmp6_check fix", "ip_src 10.0.0.1",
			"ip_tot_len 40", "tcp_syn on", "tcp_flags syn-ack", "tcp_mss 1360", "icmp_type 0", "icmp_id 5", "icmp_seq 6", "icmp6_type 1",
			"eth_src 02:00:00:00:00:01", "eth_type arp", "vlan_id 5", "cvlan_pcp 3", "arp_op reply", "ip6_src ::1", "ip6_flow 7",
			"ip_ttl -1", "ttl +1", "tcp_seq +1", "ip_ttl atmost 64", "tcp_mss atmost 1360", "dscp atleast 10", "ip_hl +1", "ip6_src +1",
			"dport sport", "sport dport", "udp_src udp_dest", "eth_src eth_dest", "ip_src ip_dest", "ip_id icmp_seq", "icmp_id ip_id",
			"ip_ttl ip6_hlim", "udp_check udp_check", "arp_spa arp_tpa", "ip_tos ip_dscp",
			"ip_src 10.0.0.0/8", "ip6_dest fe80::/10", "eth_dest 02:00:00:00:00:00/24", "ip_dest 0.0.0.0/0", "ip_dest 10.0.0.1/32",
			"udp_src random", "dport random 1024-65535", "ip_src random 10.0.0.0/8", "ip6_src random", "eth_src random 02:00:00:00:00:00/8", "tcp_fin random",
			"swap eth", "swap ip", "swap ip6", "swap tcp", "swap udp", "pass", "reflect", "redirect eth1",
		}).Draw(t, "action"))
	}
	switch {
	case len(out) == 0 && rapid.Bool().Draw(t, "drop"):
		out = []string{"drop"}
	case len(out) == 0:
		return ""
	}
	return " then " + strings.Join(out, rapid.SampledFrom([]string{" ", ", ", " and "}).Draw(t, "join"))
}

func drawProgram(t *rapid.T) string {
	text := ""
	for i := range rapid.IntRange(1, 4).Draw(t, "rules") {
		if i > 0 {
			text += rapid.SampledFrom([]string{" else ", ";", "\n"}).Draw(t, "between")
		}
		text += "if " + drawCondition(t, 2) + drawActions(t)
	}
	return text + rapid.SampledFrom([]string{"", "", ";", " else drop", " else ttl 5"}).Draw(t, "end")
}

// acts reports whether a rule acts on a frame.
func acts(r *Rule, p frame) bool {
	for _, a := range r.Actions {
		if !p.has[a.Field.Proto] || (a.Op == operand.Fix || a.Op == operand.Bad) && a.Field.Name != "ip_check" && !p.whole {
			return false
		}
		if a.Op == operand.Copy && !p.has[a.From.Proto] {
			return false
		}
	}
	for _, s := range r.Swaps {
		if !p.has[s.Proto] {
			return false
		}
	}
	return eyes(r.Cond, p)
}

// TestNothingPossibleIsRefused: what the checker calls impossible, or says is
// taken by an earlier rule, never happens.
func TestNothingPossibleIsRefused(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		source := drawProgram(t)
		p, err := Check(source)
		if err != nil {
			return
		}
		dead := map[int]bool{}
		for _, w := range p.Warnings {
			for i, written := range p.Written {
				shadow := strings.HasPrefix(w.Msg, "never acts") || strings.HasPrefix(w.Msg, "says the same")
				dead[i] = dead[i] || shadow && w.At.Start == written.Span.Start
			}
		}
		for range 20 {
			f := drawFrame(t)
			for _, r := range p.Rules {
				if !acts(r, f) {
					continue
				}
				if dead[r.Index] {
					t.Fatalf("%s\nrule %d is said never to act, and does on %v", source, r.Index+1, f)
				}
				break
			}
		}
	})
}

// TestImpossibleRulesNeverAct draws rules that are refused for what they ask
// and looks for a packet that meets them.
func TestImpossibleRulesNeverAct(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		source := "if " + drawCondition(t, 2)
		e, ok := parseCondition(t, source)
		if _, err := Check(source); err == nil || !ok {
			return
		}
		for range 30 {
			if p := drawFrame(t); eyes(e, p) {
				t.Fatalf("%s is rejected and holds on %v", source, p)
			}
		}
	})
}

// TestStatesHoldEveryPacketWithoutSteps: also where the steps end midway each
// packet on which a condition holds is in one of the states, and none too many
// unless they are a hull.
func TestStatesHoldEveryPacketWithoutSteps(t *testing.T) {
	t.Parallel()
	hulls := 0
	rapid.Check(t, func(t *rapid.T) {
		e, ok := parseCondition(t, "if "+drawCondition(t, 3))
		if !ok {
			return
		}
		steps := rapid.IntRange(0, 200).Draw(t, "steps")
		limited := func() *evaluator { return &evaluator{Budget: packetset.NewBudget(steps)} }
		in, out := limited().packets(e), limited().others(e)
		if !in.Exact() || !out.Exact() {
			hulls++
		}
		for range 20 {
			p := drawFrame(t)
			if holds := eyes(e, p); holds {
				checkIn(t, e, in, out, p)
			} else {
				checkIn(t, Not{X: e}, out, in, p)
			}
		}
	})
	if hulls == 0 {
		t.Error("the steps never ended")
	}
}
