package reference_test

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/test/oracle"
	"repacket/test/rulegen"
)

// forRandomCases gives check random programs with frames that fit them, on
// every link, and what the reference makes of each.
func forRandomCases(t *testing.T, check func(t *rapid.T, c randomCase)) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		link := field.Link(r.IntN(2))
		p := anyProgram(r, link)
		if r.IntN(2) == 0 {
			var err error
			style := rulegen.Style{Link: link, Operands: true, Chance: true}
			if p, err = rule.Check(style.Program(r)); err != nil {
				return
			}
		}
		for _, in := range packetgen.FramesOn(link, r, p, 100) {
			check(t, randomCase{link, p, in, reference.RunDrawn(link, p, in, reference.Seeded(r.Uint64()))})
		}
	})
}

// randomCase is a program, a frame and what becomes of it.
type randomCase struct {
	link field.Link
	p    *rule.Program
	in   []byte
	got  reference.Result
}

// fail reports what the oracle has to say, if anything.
func (c randomCase) fail(t *rapid.T, msg string) {
	if msg != "" {
		t.Fatalf("%s\n%s: %s\n%v\nin  %x\nout %x", msg, c.link, c.p.Source, c.p.Rules[max(0, c.got.Rule)], c.in, c.got.Frame)
	}
}

// anyProgram is a program of one to three rules, each for packets of a kind, not
// made from text: also what the checker would reject or cannot say.
func anyProgram(r *rand.Rand, link field.Link) *rule.Program {
	names := slices.Sorted(maps.Keys(kinds))
	var rules []*rule.Rule
	for i := range 1 + r.IntN(3) {
		has := kinds[names[r.IntN(len(names))]].has
		if link == field.RawIP {
			has = slices.DeleteFunc(slices.Clone(has), func(p field.Protocol) bool { return p < field.IP })
		}
		fields := slices.DeleteFunc(slices.Clone(field.Fields()), func(f *field.Field) bool { return !slices.Contains(has, f.Proto) })
		if len(fields) == 0 {
			continue
		}
		rules = append(rules, anyRule(r, i, fields, has))
	}
	return program(rules...)
}

func anyRule(r *rand.Rand, index int, fields []*field.Field, has []field.Protocol) *rule.Rule {
	out := &rule.Rule{Index: index, Cond: rule.Has{Proto: has[len(has)-1]}, Verdict: rule.Verdict(r.IntN(3))}
	for range r.IntN(3) {
		f := fields[r.IntN(len(fields))]
		a, b := anyValue(r, f), anyValue(r, f)
		if a.Cmp(b) > 0 {
			a, b = b, a
		}
		out.Cond = rule.And{X: []rule.Expr{out.Cond, rule.Test{Field: f, In: field.NewSet(field.Range{Lo: a, Hi: b})}}}
	}
	for range r.IntN(5) {
		a := anyAction(r, fields)
		if !slices.ContainsFunc(out.Actions, func(b rule.Action) bool { return overlap(a.Field, b.Field) }) {
			out.Actions = append(out.Actions, a)
		}
	}
	for _, p := range has {
		switch p {
		case field.Eth, field.IP, field.IP6, field.TCP, field.UDP:
			s := rule.Swap{Proto: p}
			src, dest := s.Fields()
			taken := slices.ContainsFunc(out.Actions, func(a rule.Action) bool { return overlap(a.Field, src) || overlap(a.Field, dest) })
			if !taken && r.IntN(4) == 0 {
				out.Swaps = append(out.Swaps, s)
			}
		}
	}
	return out
}

// anyAction is an action of any kind that its field takes, and of some kinds
// that the checker would reject.
func anyAction(r *rand.Rand, fields []*field.Field) rule.Action {
	f := fields[r.IntN(len(fields))]
	a := rule.Action{Field: f, Value: anyValue(r, f)}
	if f.Kind == field.Checksum {
		a.Op, a.From = operand.Op(r.IntN(4)), nil
		if a.Op > operand.Bad {
			a.Op, a.From = operand.Copy, f
		}
		return a
	}
	switch a.Op = []operand.Op{operand.Set, operand.Add, operand.Sub, operand.AtLeast, operand.AtMost, operand.Copy, operand.Random, operand.Hash, operand.Prefix}[r.IntN(9)]; a.Op {
	case operand.Add, operand.Sub:
		if r.IntN(2) == 0 {
			a.Value = field.V(r.Uint64N(min(f.Max().Lo, 9) + 1))
		}
	case operand.Copy:
		if a.From = fields[r.IntN(len(fields))]; a.From.Width > f.Width {
			a.From = f
		}
	case operand.Random, operand.Hash:
		a.Draw = r.IntN(100)
		a.Range = field.Range{Lo: anyValue(r, f), Hi: a.Value}
		if a.Range.Lo.Cmp(a.Range.Hi) > 0 {
			a.Range.Lo, a.Range.Hi = a.Range.Hi, a.Range.Lo
		}
	case operand.Prefix:
		a.Bits = r.IntN(f.Width)
		a.Value = a.Value.AndNot(field.Ones(f.Width - a.Bits))
	}
	return a
}

func overlap(f, g *field.Field) bool {
	return f.Proto == g.Proto && f.Bit < g.Bit+g.Width && g.Bit < f.Bit+f.Width
}

func anyValue(r *rand.Rand, f *field.Field) field.Value {
	all := field.Value{Hi: r.Uint64(), Lo: r.Uint64()}
	return f.Max().AndNot(all)
}

// TestOnlyNamedBitsChange: semantics.md 3.4 and 4.1.
func TestOnlyNamedBitsChange(t *testing.T) {
	t.Parallel()
	forRandomCases(t, func(t *rapid.T, c randomCase) {
		c.fail(t, oracle.StrayBitsOn(c.link, c.in, c.got))
	})
}

// TestFieldsAreWhatWasSet: by the outside decoder.
func TestFieldsAreWhatWasSet(t *testing.T) {
	t.Parallel()
	compared := 0
	forRandomCases(t, func(t *rapid.T, c randomCase) {
		n, msg := oracle.WrongFieldsOn(c.link, c.in, c.got)
		compared += n
		c.fail(t, msg)
	})
	if compared < 1000 {
		t.Errorf("only %d fields were compared", compared)
	}
}

// TestChecksumsKeepTheirError: by the outside decoder, what was right is
// right, what was wrong by k is wrong by k, fix makes right and bad wrong.
func TestChecksumsKeepTheirError(t *testing.T) {
	t.Parallel()
	compared := 0
	forRandomCases(t, func(t *rapid.T, c randomCase) {
		n, msg := oracle.WrongSumsOn(c.link, c.in, c.got)
		compared += n
		c.fail(t, msg)
	})
	least := 1000
	if testing.Short() { // rapid takes a fifth of its cases then
		least /= 5
	}
	if compared < least {
		t.Errorf("only %d checksums were compared", compared)
	}
}

// FuzzRun: no text and no bytes make the reference panic, lengthen or shorten
// a frame, change the one it was given, or touch a bit that no action named.
func FuzzRun(f *testing.F) {
	for _, text := range []string{
		"if udp_dest 443 then udp_dest 8080",
		"if all then ip_hl 15 ip_check fix else if not ip_ttl ge 5 then tcp_check bad ip_src 0.0.0.0",
		"if icmp_type 8 or tcp_syn on then icmp_check fix; if ip_flag_mf on",
		"if dport 53,443 then dport 5353 ttl 64 udp_check fix",
		"if ip6_src 2001:db8::/32 then ip6_dest ::1 tcp_mss 1360 reflect; if arp then swap eth arp_op reply else drop",
		"if vlan_id 100 or icmp6_type echo-request then swap eth reflect",
		"if udp chance 1/3 then udp_dest +1 ip_ttl atmost 5 ip_src random 10.0.0.0/8 ip_dest 10.1.0.0/16 udp_src udp_dest else if all then tcp_seq -5 eth_src eth_dest",
		"if ip6 not chance 50% then ip6_src random ip6_dest ::/3 tcp_check tcp_check; if tcp then tcp_check tcp_check ip_hl random; if all then ip_hl +1 ttl -1",
	} {
		for _, name := range slices.Sorted(maps.Keys(kinds)) {
			f.Add(text, kinds[name].make().build(f))
		}
		f.Add(text, []byte{})
	}
	f.Fuzz(func(t *testing.T, text string, frame []byte) {
		p, err := rule.Check(text)
		if err != nil {
			return
		}
		before := bytes.Clone(frame)
		draws := reference.Seeded(uint64(len(text)))
		got := reference.RunDrawn(field.Ethernet, p, frame, draws)
		if !bytes.Equal(before, frame) {
			t.Fatal("the frame that was given is changed")
		}
		if msg := oracle.StrayBits(frame, got); msg != "" {
			t.Fatal(msg)
		}
		raw := reference.RunDrawn(field.RawIP, p, frame, draws)
		if msg := oracle.StrayBitsOn(field.RawIP, frame, raw); msg != "" {
			t.Fatal(msg)
		}
	})
}
