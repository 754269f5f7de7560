package rule

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"repacket/internal/field"
)

// frame is a packet as the language sees it: which headers are found and what
// their fields hold. It is built by the rules of part 3.6 of the design, not
// by the checker's own table of them.
type frame struct {
	has map[field.Protocol]bool
	// whole: a whole datagram, no fragment and with lengths that agree.
	whole bool
	bytes map[field.Protocol][]byte
}

// get reads bits one by one, unlike anything in the code under test.
func (p frame) get(f *field.Field) uint64 {
	var v uint64
	for bit := f.Bit; bit < f.Bit+f.Width; bit++ {
		v = v<<1 | uint64(p.bytes[f.Proto][bit/8]>>(7-bit%8)&1)
	}
	return v
}

// eyes is how a condition holds on a frame (parts 2 and 3.3 of the design).
func eyes(e Expr, p frame) bool {
	switch e := e.(type) {
	case All:
		return true
	case Has:
		return p.has[e.Proto]
	case Test:
		return p.has[e.Field.Proto] && e.In.Contains(field.V(p.get(e.Field)))
	case Not:
		return !eyes(e.X, p)
	case And:
		return !slices.ContainsFunc(e.X, func(x Expr) bool { return !eyes(x, p) })
	case Or:
		return slices.ContainsFunc(e.X, func(x Expr) bool { return eyes(x, p) })
	}
	panic("unknown condition")
}

// drawFrame makes an IPv4 frame whose fields are often small numbers and
// often lie.
func drawFrame(t *rapid.T) frame {
	p := frame{has: map[field.Protocol]bool{field.Eth: true}, bytes: map[field.Protocol][]byte{}}
	if rapid.IntRange(0, 9).Draw(t, "other") == 0 {
		return p
	}
	octet := rapid.Map(rapid.IntRange(0, 11), func(n int) byte {
		return []byte{0, 0, 0, 0, 1, 2, 3, 4, 5, 46, 184, 255}[n]
	})
	for _, proto := range field.Protocols() {
		n := proto.Header().Fixed
		p.bytes[proto] = rapid.SliceOfN(octet, n, n).Draw(t, proto.String())
	}
	ip := p.bytes[field.IP]
	p.has[field.IP] = true
	if rapid.IntRange(0, 4).Draw(t, "lies") > 0 {
		ip[0] = 0x45
		ip[3] = rapid.SampledFrom([]byte{0, 20, 27, 28, 39, 40, 60}).Draw(t, "total")
		ip[7] = 0
		ip[9] = rapid.SampledFrom([]byte{1, 6, 17, 47}).Draw(t, "protocol")
	}
	p.whole = ip[6]&0x3f == 0 && ip[7] == 0 && rapid.Bool().Draw(t, "whole")
	total := int(ip[2])<<8 | int(ip[3])
	hl := int(ip[0] & 15)
	for number, proto := range map[byte]field.Protocol{1: field.ICMP, 6: field.TCP, 17: field.UDP} {
		inside := total == 0 || 4*hl+proto.Header().Fixed <= total
		p.has[proto] = ip[0]>>4 == 4 && hl >= 5 && ip[6]&0x1f == 0 && ip[7] == 0 && ip[9] == number && inside
	}
	return p
}

// drawTest writes a test of the field in the language, and says by itself
// which values it lets through.
func drawTest(t *rapid.T, f *field.Field) (text string, holds func(uint64) bool) {
	top := f.Max().Lo
	number := rapid.OneOf(rapid.Uint64Range(0, min(top, 6)), rapid.Uint64Range(0, top))
	write := func(v uint64) string {
		if f.Kind == field.Address4 {
			return fmt.Sprintf("%d.%d.%d.%d", v>>24, v>>16&255, v>>8&255, v&255)
		}
		return fmt.Sprintf(rapid.SampledFrom([]string{"%d", "%#x"}).Draw(t, "base"), v)
	}
	switch op := rapid.SampledFrom([]string{"", "eq", "ne", "lt", "le", "gt", "ge"}).Draw(t, "op"); op {
	case "lt":
		n := max(1, number.Draw(t, "n"))
		return f.Name + " lt " + write(n), func(v uint64) bool { return v < n }
	case "le":
		n := number.Draw(t, "n")
		return f.Name + " le " + write(n), func(v uint64) bool { return v <= n }
	case "gt":
		n := min(top-1, number.Draw(t, "n"))
		return f.Name + " gt " + write(n), func(v uint64) bool { return v > n }
	case "ge":
		n := number.Draw(t, "n")
		return f.Name + " >= " + write(n), func(v uint64) bool { return v >= n }
	default:
		var items []string
		var in []func(uint64) bool
		for range rapid.IntRange(1, 4).Draw(t, "items") {
			a, b := number.Draw(t, "a"), number.Draw(t, "b")
			lo, hi := min(a, b), max(a, b)
			if rapid.Bool().Draw(t, "single") || lo == 0 && hi == top {
				hi = lo
				items = append(items, write(lo))
			} else {
				items = append(items, write(lo)+"-"+write(hi))
			}
			in = append(in, func(v uint64) bool { return lo <= v && v <= hi })
		}
		any := func(v uint64) bool { return slices.ContainsFunc(in, func(f func(uint64) bool) bool { return f(v) }) }
		text := strings.Join(strings.Fields(f.Name+" "+op+" "+strings.Join(items, ",")), " ")
		if op == "ne" {
			return text, func(v uint64) bool { return !any(v) }
		}
		return text, any
	}
}

// TestTestsMeanWhatTheySay compares the sets of the checker with tests that
// are worked out value by value.
func TestTestsMeanWhatTheySay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(field.Fields()).Draw(t, "field")
		text, holds := drawTest(t, f)
		p, err := Check("if " + text)
		if err != nil {
			// The only error there can be: no value is left.
			for v := range min(f.Max().Lo, 70000) + 1 {
				if holds(v) {
					t.Fatalf("%s: %v, but %d is let through", text, err, v)
				}
			}
			return
		}
		in := p.Rules[0].Cond.(Test).In
		for range 50 {
			v := rapid.OneOf(rapid.Uint64Range(0, min(f.Max().Lo, 8)), rapid.Uint64Range(0, f.Max().Lo)).Draw(t, "v")
			if in.Contains(field.V(v)) != holds(v) {
				t.Fatalf("%s: %d: got %v, want %v", text, v, in.Contains(field.V(v)), holds(v))
			}
		}
	})
}

// few are fields that get in each other's way.
var few = []string{
	"ip_tos", "ip_dscp", "ip_ecn", "ip_flags", "ip_flag_mf", "ip_offset", "ip_protocol", "ip_hl", "ip_ver",
	"ip_tot_len", "tcp_dest", "udp_dest", "udp_len", "icmp_type", "tcp_syn",
}

// drawCondition writes a condition in the language.
func drawCondition(t *rapid.T, depth int) string {
	kind := rapid.IntRange(0, 7).Draw(t, "kind")
	if depth == 0 {
		kind %= 3
	}
	switch kind {
	case 0:
		return rapid.SampledFrom([]string{"eth", "ip", "tcp", "udp", "icmp", "all"}).Draw(t, "header")
	case 1, 2:
		f := field.MustByName(rapid.SampledFrom(few).Draw(t, "field"))
		text, _ := drawTest(t, f)
		return text
	case 3:
		return "not (" + drawCondition(t, depth-1) + ")"
	case 4:
		return "dport " + fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "port"))
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
	rules, d := parse(source)
	if d != nil {
		t.Fatalf("%s: %v", source, d)
	}
	c := &checker{program: &Program{Source: source}, where: map[*Rule]union{}}
	e := c.condition(rules[0].cond, nil)
	return e, c.err == nil
}

// TestStatesHoldEveryPacket: a packet on which a condition holds is in one of
// the checker's states, so that nothing possible is called impossible; and
// unless the states are a hull, no other packet is.
func TestStatesHoldEveryPacket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e, ok := parseCondition(t, "if "+drawCondition(t, 3))
		if !ok {
			return
		}
		in, out := packets(e), others(e)
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

func checkIn(t *rapid.T, e Expr, in, out union, p frame) {
	if !within(in, p) {
		t.Fatalf("%s holds on %v, which is in none of the states %v", Print(e), p, in.states)
	}
	if !out.hull && within(out, p) {
		t.Fatalf("%s holds on %v, which is also in the states of the rest, %v", Print(e), p, out.states)
	}
}

func within(u union, p frame) bool {
	return slices.ContainsFunc(u.states, func(s state) bool {
		for layer := 2; layer <= 4; layer++ {
			found := field.None
			for _, proto := range field.Protocols() {
				if p.has[proto] && proto.Header().Layer == layer {
					found = proto
				}
			}
			if s.layers[layer]&(1<<found) == 0 {
				return false
			}
		}
		for _, k := range s.facts {
			if p.has[k.f.Proto] && !k.in.Contains(field.V(p.get(k.f))) {
				return false
			}
		}
		return true
	})
}

func drawActions(t *rapid.T) string {
	var out []string
	for range rapid.IntRange(0, 2).Draw(t, "actions") {
		out = append(out, rapid.SampledFrom([]string{
			"ip_ttl 5", "ip_dscp ef", "ip_tos 0", "udp_dest 80", "tcp_dest 80", "dport 80", "sport 5",
			"udp_check fix", "tcp_check bad", "ip_check fix", "ip_check 0xdead", "ip_src 10.0.0.1",
			"ip_tot_len 40", "tcp_syn on", "icmp_type 0",
		}).Draw(t, "action"))
	}
	if len(out) == 0 {
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
	return text
}

// acts tells whether a rule acts on a frame.
func acts(r *Rule, p frame) bool {
	for _, a := range r.Actions {
		if !p.has[a.Field.Proto] || a.Op != Set && !p.whole {
			return false
		}
	}
	return eyes(r.Cond, p)
}

// TestNothingPossibleIsRefused: what the checker calls impossible, or says is
// taken by an earlier rule, never happens.
func TestNothingPossibleIsRefused(t *testing.T) {
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
	rapid.Check(t, func(t *rapid.T) {
		source := "if " + drawCondition(t, 2)
		e, ok := parseCondition(t, source)
		if _, err := Check(source); err == nil || !ok {
			return
		}
		for range 30 {
			if p := drawFrame(t); eyes(e, p) {
				t.Fatalf("%s is refused and holds on %v", source, p)
			}
		}
	})
}

// same compares checked programs, places in the source apart.
var same = cmp.Options{
	cmpopts.IgnoreTypes(Span{}),
	cmp.Comparer(func(a, b *field.Field) bool { return a == b }),
}

// reprint writes a checked program so that it can be read again.
func reprint(p *Program) string {
	var rules []string
	for _, r := range p.Rules {
		rules = append(rules, r.Print())
	}
	return strings.Join(rules, " else ")
}

// checkReprint fails unless what is printed reads as the same rules again.
func checkReprint(t interface{ Fatalf(string, ...any) }, source string, p *Program) {
	text := reprint(p)
	again, err := Check(text)
	if err != nil {
		if strings.Contains(err.Error(), "nested more than") {
			return // printing adds brackets
		}
		t.Fatalf("%q is printed as %q, which is refused: %v", source, text, err)
	}
	if len(again.Rules) != len(p.Rules) {
		t.Fatalf("%q has %d rules, its print %q %d", source, len(p.Rules), text, len(again.Rules))
	}
	for i, r := range again.Rules {
		if diff := cmp.Diff(p.Rules[i].Cond, r.Cond, same); diff != "" {
			t.Fatalf("%q is printed as %q, which means something else:\n%s", source, text, diff)
		}
		if diff := cmp.Diff(p.Rules[i].Actions, r.Actions, same, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%q is printed as %q, which does something else:\n%s", source, text, diff)
		}
	}
}

func TestPrintReadsAsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		source := drawProgram(t)
		if p, err := Check(source); err == nil {
			checkReprint(t, source, p)
		}
	})
}
