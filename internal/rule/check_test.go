package rule

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/syntax"
)

// mustCheck is a program that is right.
func mustCheck(t *testing.T, source string) *Program {
	t.Helper()
	p, err := Check(source)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return p
}

// mustFail is the error of a program that is wrong.
func mustFail(t *testing.T, source string) *syntax.Diagnostic {
	t.Helper()
	_, err := Check(source)
	var d *syntax.Diagnostic
	if !errors.As(err, &d) {
		t.Fatalf("%.60q: %v", source, err)
	}
	return d
}

func TestWritten(t *testing.T) {
	t.Parallel()
	source := "web: IF udp_dest  443 # a comment\n\tand ( tcp or ip_ttl=5 )  else Look-2: if dport 53,54 then dport  5353 ; if udp"
	got := mustCheck(t, source).Written
	at := func(first, last string) Span {
		return Span{Start: strings.Index(source, first), End: strings.LastIndex(source, last) + len(last)}
	}
	want := []Written{
		{Name: "web", Text: "IF udp_dest 443 and ( tcp or ip_ttl=5 )", Span: at("web:", "=5 )"), DryRun: true},
		{Name: "Look-2", Text: "if dport 53,54 then dport 5353", Span: at("Look", "5353")},
		{Text: "if udp", Span: at("if udp", "if udp"), DryRun: true},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Written{}, "Cond")); diff != "" {
		t.Errorf("(- want, + got)\n%s", diff)
	}
	var conds []string
	for _, w := range got {
		conds = append(conds, Print(w.Cond))
	}
	if diff := cmp.Diff([]string{"udp_dest 443 and (tcp or ip_ttl 5)", "tcp_dest 53-54 or udp_dest 53-54", "udp"}, conds); diff != "" {
		t.Errorf("conditions (- want, + got)\n%s", diff)
	}
}

// TestShape holds the checked form that the plan and the reference read.
func TestShape(t *testing.T) {
	t.Parallel()
	p := mustCheck(t, "if udp_dest 443,80-90 not (tcp or icmp) and all or ip_ttl 7 then udp_check bad ip_src 10.0.0.1 dport 5")
	if len(p.Rules) != 1 || p.Rules[0].Index != 0 { // the copy for TCP has no packet
		t.Fatalf("rules: %+v", p.Rules)
	}
	one := func(v uint64) field.Set { return field.Set{{Lo: field.V(v), Hi: field.V(v)}} }
	cond := Or{X: []Expr{
		And{X: []Expr{
			Test{Field: field.MustByName("udp_dest"), In: append(field.Set{{Lo: field.V(80), Hi: field.V(90)}}, one(443)...)},
			Not{X: Or{X: []Expr{Has{Proto: field.TCP}, Has{Proto: field.ICMP}}}},
			All{},
		}},
		Test{Field: field.MustByName("ip_ttl"), In: one(7)},
	}}
	if diff := cmp.Diff(Expr(cond), p.Rules[0].Cond, same); diff != "" {
		t.Errorf("(- want, + got)\n%s", diff)
	}
	actions := []Action{
		{Field: field.MustByName("udp_check"), Op: operand.Bad},
		{Field: field.MustByName("ip_src"), Value: field.V(0x0a000001)},
		{Field: field.MustByName("udp_dest"), Value: field.V(5)},
	}
	if diff := cmp.Diff(actions, p.Rules[0].Actions, same); diff != "" {
		t.Errorf("(- want, + got)\n%s", diff)
	}
}

// TestCopies: a rule with a generic field among its actions is copied once for
// each protocol; the copies count as one.
func TestCopies(t *testing.T) {
	t.Parallel()
	p := mustCheck(t, "if udp if dport 53 then dport 5353 if all then ttl 5")
	var got []string
	for _, r := range p.Rules {
		got = append(got, fmt.Sprint(r.Index, " ", r.Print()))
	}
	want := []string{
		"0 if udp",
		"1 if tcp_dest 53 then tcp_dest 5353",
		"1 if udp_dest 53 then udp_dest 5353",
		"2 if all then ip_ttl 5",
		"2 if all then ip6_hlim 5",
	}
	if diff := cmp.Diff(want, got); diff != "" || len(p.Written) != 3 {
		t.Errorf("written %v (- want, + got)\n%s", p.Written, diff)
	}
}

// TestEveryField: each name and alias can be tested and set.
func TestEveryField(t *testing.T) {
	t.Parallel()
	for _, f := range field.Fields() {
		for _, name := range append([]string{f.Name, strings.ToUpper(f.Name), strings.ReplaceAll(f.Name, "_", ".")}, f.Aliases...) {
			if name == "tcp.ack" {
				continue
			}
			value := "1"
			switch f.Kind {
			case field.Address4:
				value = "0.0.0.1"
			case field.Address6:
				value = "::1"
			case field.MAC:
				value = "00:00:00:00:00:01"
			}
			if f.Name == "ip_ver" || f.Name == "ip_hl" || f.Name == "ip_tot_len" || f.Name == "ip_protocol" {
				value = "6" // any that goes together with itself
			}
			p := mustCheck(t, "if "+name+" "+value+" then "+name+" "+value)
			if testOf(p.Rules[0].asked()).Field != f || p.Rules[0].Actions[0].Field != f {
				t.Errorf("%s is not %s: %+v", name, f.Name, p.Rules[0])
			}
		}
	}
}

// TestEveryValueName: each name of a value is one in tests and in actions.
func TestEveryValueName(t *testing.T) {
	t.Parallel()
	for _, f := range field.Fields() {
		for _, n := range f.Names {
			p := mustCheck(t, "if "+f.Name+" "+strings.ToUpper(n.Word)+" then "+f.Name+" "+n.Word)
			if v, ok := testOf(p.Rules[0].Cond).In.Single(); !ok || v != field.V(n.Value) || p.Rules[0].Actions[0].Value != v {
				t.Errorf("%s %s is %v, want %d", f.Name, n.Word, p.Rules[0], n.Value)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	rule := "if udp "
	full := rule + strings.Repeat(" ", syntax.MaxSource-len(rule))
	mustCheck(t, full)
	if d := mustFail(t, full+" "); !strings.Contains(d.Msg, "8388609 bytes") {
		t.Errorf("one byte too many: %s", d.Msg)
	}
	mustCheck(t, "if "+strings.Repeat("udp ", 499_999))
	if d := mustFail(t, "if "+strings.Repeat("udp ", 500_000)); d.Msg != "more than 500,000 words are too many" || d.At.Start != 3+4*499_999 {
		t.Errorf("one word too many: %s at %v", d.Msg, d.At)
	}
	nested := func(n int) string { return "if " + strings.Repeat("(", n) + "udp" + strings.Repeat(")", n) }
	mustCheck(t, nested(100))
	mustCheck(t, "if "+strings.Repeat("not ", 100)+"udp")
	for _, source := range []string{nested(101), "if " + strings.Repeat("not ", 101) + "udp"} {
		if d := mustFail(t, source); !strings.Contains(d.Msg, "nested more than 100") || d.At.Start < 100 {
			t.Errorf("nested too deep: %s at %v", d.Msg, d.At)
		}
	}
}

// lines are 10,000 times a text, with the number of each: its low byte, the
// rest, and the number itself above 100.
func lines(format string) string {
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, format, i&255, i>>8, 100+i)
	}
	return b.String()
}

// TestLargePrograms: what is large is answered, not followed to the end.
func TestLargePrograms(t *testing.T) {
	t.Parallel()
	var or, ranges strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&or, "(ip_src 10.%d.%d.0/24 udp_dest %d ip_ttl ne %d) or ", i/256, i%256, i, i%256)
		fmt.Fprintf(&ranges, "if udp_dest %d-%d ip_ttl %d-255 then ip_dscp %d\n", 2*i, 2*i+1, i%255, i%64)
	}
	for name, source := range map[string]string{
		"or":         "if " + or.String() + "tcp then ip_ttl 5",
		"not or":     "if not (" + or.String() + "tcp) then ip_ttl 5",
		"ranges":     ranges.String(),
		"list":       "if udp_dest " + strings.Repeat("9,17,", 5000) + "1",
		"twins":      strings.Repeat("if udp_dest 5 then ip_ttl 5\n", 2000),
		"shape":      lines("if ip_dest 10.0.%[2]d.%[1]d udp_dest %[3]d then ip_dest 10.1.%[2]d.%[1]d\n"),
		"prefixes":   lines("if ip_dest 10.%[2]d.%[1]d.0/24 then ip_ttl %[1]d\n"),
		"steps":      lines("if udp_dest 20-%[3]d then ip_ttl %[1]d\n"),
		"two parts":  lines("if (ip_src 10.0.0.%[1]d ip_dscp ef) or tcp_dest %[3]d then ip_ttl %[1]d\n"),
		"contiguous": "if udp_dest " + lines("%[3]d,") + "9",
		"columns":    "if udp_dest " + strings.Repeat("@p,", 10_000) + "9 from ports.csv",
		"all beside": "if " + strings.Repeat("udp ", 20000),
	} {
		if p := mustCheckRows(t, source); len(p.Warnings) > maxNotes+maxShadowed {
			t.Errorf("%s: %d warnings", name, len(p.Warnings))
		}
	}
	noise := mustFail(t, strings.Repeat("x", 64<<10))
	if text := noise.Format(); len(text) > 500 {
		t.Errorf("64 KiB of noise are answered with %d bytes", len(text))
	}
}

func TestEmpty(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"", " \n\t", "# nothing but a comment"} {
		d := mustFail(t, source)
		if d.Msg != "no rule is given" || d.Hint == "" {
			t.Errorf("%q: %s", source, d.Format())
		}
	}
}

// TestValuesAreResolvedOnce: a rule whose generic fields make four rules of it is
// warned of once, for each place of which there is something to say.
func TestValuesAreResolvedOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		source string
		rules  int
		want   []string
	}{
		{"if chance 100% then dport 5, ttl +0", 4, []string{"chance 100% always holds", "ttl +0 changes nothing"}},
		{"if udp then udp_len 8 ttl 5", 2, []string{"udp_len says which bytes a receiver sums: udp_check may not hold afterwards"}},
		{"if not udp_dest 53 then ip_id 5 ip_hl 5 dport 7 reflect", 2, []string{
			"not udp_dest 53 also takes packets without UDP, such as TCP",
			"ip_hl says which bytes a receiver sums: tcp_check, udp_check may not hold afterwards",
		}},
	} {
		p := mustCheck(t, c.source)
		var got []string
		for _, w := range p.Warnings {
			got = append(got, w.Msg)
		}
		if diff := cmp.Diff(c.want, got); diff != "" || len(p.Rules) != c.rules {
			t.Errorf("%s: %d rules (- want, + got)\n%s", c.source, len(p.Rules), diff)
		}
	}
}
