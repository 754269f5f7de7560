package rule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"repacket/internal/syntax"
)

// TestHintsLeadToRules: one obedient step from what people type leads to rules that
// are accepted and mean what was meant, or there is no step.
func TestHintsLeadToRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ written, want string }{
		{"block if tcp_dest 22", "if tcp_dest 22 then drop"},
		{"deny if tcp_dest 22", "if tcp_dest 22 then drop"},
		{"drop if tcp_dest 22", "if tcp_dest 22 then drop"},
		{"reflect if tcp_dest 22", "if tcp_dest 22 then reflect"},
		{"pass if tcp_dest 22", "if tcp_dest 22 then pass"},
		{"redirect eth1 if tcp_dest 22", "if tcp_dest 22 then redirect eth1"},
		{"redirect to eth1 if tcp_dest 22", "if tcp_dest 22 then redirect eth1"},
		{"drop tcp_dest 22", "if tcp_dest 22 then drop"},
		{"deny tcp_dest 22", "if tcp_dest 22 then drop"},
		{"udp drop", "if udp then drop"},
		{"if udp drop", "if udp then drop"},
		{"if udp and drop", "if udp then drop"},
		{"if not tcp_dest 22 drop", "if not tcp_dest 22 then drop"},
		{"if tcp_dest 22 swap ip reflect", "if tcp_dest 22 then swap ip reflect"},
		{"if tcp_dst_prt 22 then drp", "if tcp_dstport 22 then drop"},
		{"udp dport 443 to 8080", "if udp dport 443 then udp_dport 8080"},
		{"udp_dest 443 8080", "if udp_dest 443 then udp_dest 8080"},
		{"ip_dest 10.0.0.1 to 10.0.0.2", "if ip_dest 10.0.0.1 then ip_dest 10.0.0.2"},
		{"ttl 64 if udp", "if udp then ttl 64"},
		{"set ttl 64 if udp", "if udp then ttl 64"},
		{"if udp_dest 443 then udp_dest 8080; ip_ttl 64", "if udp_dest 443 then udp_dest 8080, ip_ttl 64"},
		{"then ttl 64", "if all then ttl 64"},
		{"udp_dest is 53", "if udp_dest 53"},
		{"if udp_dprt 53 then ipttl 9", "if udp_dport 53 then ip_ttl 9"},
		{"if udp then chance 5% drop", ""},
		{"if tcp_dest 22 else then ttl 5", "if tcp_dest 22 else ttl 5"},
		// There is no step that is safe.
		{"drop", ""},
		{"reflect", ""},
		{"then drop", ""},
		{"if then drop", ""},
		{"if drop", ""},
		{"deny", ""},
		{"if ill then drop", ""},
		{"if 22 then drop", ""},
		{"if tcp 22 drop", "if tcp_dest 22 then drop"},
		{"if udp; drop", ""},
		{"udp drop if tcp_dest 22", ""},
		{"udp else tcp_dest 22 reflect", ""},
		{"drop if udp then ttl 5", ""},
		{"if udp or drop", ""},
		{"if udp_dest 5 udp_dest 6 then drop", ""},
		{"if udp then drop ttl 5", ""},
		{"if udp else tcp_dest 22 drop", ""},
		{"if udp else tcp_dest 22 then reflect", ""},
		{"if udp ; tcp_dest 22 ; drop", ""},
	} {
		fixed := fixesOf(c.written)
		got := ""
		if len(fixed) > 0 {
			got = fixed[0]
		}
		if got != c.want {
			t.Errorf("%q: leads to %q, want %q", c.written, got, c.want)
		}
	}
}

// TestHintsOfWarnings: what to write instead of accepted rules sends no
// packet elsewhere that went its way.
func TestHintsOfWarnings(t *testing.T) {
	t.Parallel()
	for written, want := range map[string][]string{
		"if all then ttl 65\nif udp then reflect":        {"if udp then ttl 65 reflect"},
		"if udp then ip_ttl 6; if ip_tos 5 then drop":    nil,
		"if udp then swap udp; if ip_tos 5 then reflect": nil,
		"if tcp_flags syn,ack then drop":                 nil,
		"if tcp_flags syn,ack then ip_ttl 5":             {"if tcp_syn on tcp_ack on then ip_ttl 5"},
		"if not tcp_dest 22 then drop":                   {"if tcp_dest ne 22 then drop"},
	} {
		var got []string
		for _, w := range mustCheckRows(t, written).Warnings {
			if !strings.Contains(w.Msg, "neighbour") {
				got = append(got, w.Fixed...)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", written, got, want)
		}
	}
}

// diagnostics are the error, or the warnings, of a text.
func diagnostics(written string) []*syntax.Diagnostic {
	p, err := CheckWith(written, Options{Open: sheets})
	var d *syntax.Diagnostic
	if errors.As(err, &d) {
		return []*syntax.Diagnostic{d}
	}
	return p.Warnings
}

func fixesOf(written string) (fixed []string) {
	for _, d := range diagnostics(written) {
		fixed = append(fixed, d.Fixed...)
	}
	return fixed
}

// saidAs are words for a verdict that the tests know.
var saidAs = map[string][]string{
	"drop": {"drop", "deny", "reject", "discard", "block"}, "reflect": {"reflect", "bounce"}, "redirect": {"redirect", "forward"},
}

// said counts the words of a text that ask for a verdict, mistyped ones of its
// letters included.
func said(text, verdict string) int {
	n := 0
	for _, word := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
		if slices.Contains(saidAs[verdict], word) || word != "" && word[0] == verdict[0] && len(word) >= 2 && fewEdits(word, verdict) {
			n++
		}
	}
	return n
}

// fewEdits reports whether at least half of the letters of a word stand in another one
// in their order.
func fewEdits(word, of string) bool {
	common, at := 0, 0
	for _, r := range word {
		if i := strings.IndexRune(of[at:], r); i >= 0 {
			common, at = common+1, at+i+1
		}
	}
	return 2*common >= len(of)
}

// checkHint fails unless what a hint leads to is accepted and gives no verdict that is
// not in the text, nor for all packets unless the text says so; and unless a hint that
// leads nowhere is prose.
func checkHint(t interface{ Fatalf(string, ...any) }, d *syntax.Diagnostic) {
	if len(d.Suggestions) > 0 {
		t.Fatalf("%q: unchecked suggestions are left", d.Source)
	}
	for _, fixed := range d.Fixed {
		rules, _, err := syntax.Parse(fixed)
		if err != nil {
			t.Fatalf("%q: hint %q leads to %q: %s", d.Source, d.Hint, fixed, err.Msg)
		}
		m := mender{}
		if _, err := m.check(fixed); err != nil {
			t.Fatalf("%q: hint %q leads to %q: %s", d.Source, d.Hint, fixed, err.Msg)
		}
		count := map[string]int{}
		for _, r := range rules {
			for _, v := range r.Verdicts {
				word := v.Verdict.String()
				count[word]++
				if _, all := r.Cond.(syntax.AllNode); all && !r.Closing && v.Verdict != Pass && !saysAll(d.Source) {
					t.Fatalf("%q: hint %q leads to %q: for all packets", d.Source, d.Hint, fixed)
				}
			}
		}
		for _, verdict := range []string{"drop", "reflect", "redirect"} {
			if count[verdict] > said(d.Source, verdict) {
				t.Fatalf("%q: hint %q leads to %q: nobody asked for %s", d.Source, d.Hint, fixed, verdict)
			}
		}
	}
	if len(d.Fixed) == 0 {
		checkProse(t, d)
	}
}

func saysAll(text string) bool {
	words := strings.Fields(strings.ToLower(text))
	return slices.ContainsFunc(words, func(w string) bool {
		return strings.Contains(w, "all") || strings.Contains(w, "any") || strings.Contains(w, "every")
	})
}

// checkProse fails if a piece of a hint that leads nowhere could be typed back as a
// rule, an action or a test with a value.
func checkProse(t interface{ Fatalf(string, ...any) }, d *syntax.Diagnostic) {
	words := strings.Fields(d.Hint)
	for i := range words {
		for n := i + 2; n <= len(words); n++ {
			text := strings.TrimRight(strings.Join(words[i:n], " "), ",;?")
			rules := []string{"if all then " + text}
			if words[i] == "if" {
				rules = append(rules, text)
			} else if _, named := syntax.ResolveField(syntax.Token{Text: words[i]}); named {
				rules = append(rules, "if "+text)
			}
			for _, r := range rules {
				if p, err := CheckWith(r, Options{Open: sheets}); err == nil && !strings.Contains(d.Source, text) {
					t.Fatalf("%q: the hint %q has %q in it, which is accepted as %q and was not checked", d.Source, d.Hint, text, p.Rules[0].Print())
				}
			}
		}
	}
}

// TestGoldenHints: no hint of the golden files breaks the promise of hints.
func TestGoldenHints(t *testing.T) {
	t.Parallel()
	for _, source := range goldenSources(t) {
		for _, d := range diagnostics(source) {
			checkHint(t, d)
		}
	}
}

// FuzzHints: no text gets a hint that makes it worse.
func FuzzHints(f *testing.F) {
	for _, source := range goldenSources(f) {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		for _, d := range diagnostics(source) {
			checkHint(t, d)
		}
	})
}

// brokenRule is a rule in pieces: tests, all of which have to hold, and a verdict.
type brokenRule struct {
	tests   []string
	actions string
	verdict string
	text    string // as broken
}

func drawBroken(t *rapid.T, verdict string) brokenRule {
	b := brokenRule{verdict: verdict}
	for range rapid.IntRange(1, 3).Draw(t, "tests") {
		b.tests = append(b.tests, rapid.SampledFrom([]string{
			"udp", "tcp", "ip", "tcp_dest 22", "udp_dest 53,80-90", "ip_src 10.0.0.0/8", "ip_ttl lt 5", "not ip_tos 3", "tcp_syn on",
			"dport 53", "ip_dest ne 10.0.0.1", "vlan_id 5", "eth_type ipv4", "ip6_src 2001:db8::/32", "udp_src ge 3", "(udp or icmp)",
		}).Draw(t, "test"))
	}
	b.actions = rapid.SampledFrom([]string{"", "", "ttl 5", "swap ip", "ip_tos 4 ip_id 7", "eth_src 02:00:00:00:00:01"}).Draw(t, "actions")
	if b.verdict == "drop" {
		b.actions = ""
	}
	return b
}

// write breaks a rule: its verdict may stand elsewhere.
func (b brokenRule) write(t *rapid.T) string {
	condition, actions := strings.Join(b.tests, rapid.SampledFrom([]string{" ", " and "}).Draw(t, "join")), b.actions
	switch rapid.IntRange(0, 4).Draw(t, "place") {
	case 0:
		return strings.TrimSpace(b.verdict+" "+actions) + " if " + condition
	case 1:
		return b.verdict + " " + condition
	case 2:
		return "if " + condition + " " + b.verdict
	case 3:
		return "if " + b.verdict + " " + condition + " then " + actions
	}
	return "if " + condition + " then " + strings.TrimSpace(actions+" "+b.verdict)
}

// foreign are words that are none of the language, and some that are.
var foreign = strings.Fields(`allow deny block please when unless to is from-host port src dst host iif set mark accept all any else if
	then not or and drop reflect 22 443 on 10.0.0.1 icmp udp ttl ; , ( ) = == -> & | "x" illegal drpo pas tcp_dpot ipsrc`)

// breakWords deletes, swaps, doubles and replaces words.
func breakWords(t *rapid.T, text string) string {
	words := strings.Fields(text)
	for range rapid.IntRange(0, 2).Draw(t, "breaks") {
		i := rapid.IntRange(0, len(words)-1).Draw(t, "at")
		switch rapid.IntRange(0, 3).Draw(t, "break") {
		case 0:
			if words = slices.Delete(words, i, i+1); len(words) == 0 {
				return ""
			}
		case 1:
			j := min(i+1, len(words)-1)
			words[i], words[j] = words[j], words[i]
		case 2:
			words = slices.Insert(words, i, words[i])
		case 3:
			words[i] = rapid.SampledFrom(foreign).Draw(t, "foreign")
		}
	}
	return strings.Join(words, " ")
}

// TestHintsNeverMakeItWorse breaks rules. What hints lead to is accepted, and drops,
// reflects or redirects only packets that meet each test that stands in the broken
// words as it stood in the verdict's rule.
func TestHintsNeverMakeItWorse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		verdicts := []string{"drop", "reflect", "redirect eth1", "pass"}
		rules := map[string]brokenRule{}
		written := ""
		for i := range rapid.IntRange(1, 2).Draw(t, "rules") {
			verdict := rapid.SampledFrom(verdicts).Draw(t, "verdict")
			verdicts = slices.DeleteFunc(slices.Clone(verdicts), func(v string) bool { return v == verdict })
			b := drawBroken(t, verdict)
			if i > 0 {
				written += rapid.SampledFrom([]string{" else ", " ; ", "\n"}).Draw(t, "between")
			}
			b.text = breakWords(t, b.write(t))
			rules[verdict] = b
			written += b.text
		}
		_, err := Check(written)
		if err == nil {
			return // these are rules that say what they say
		}
		for _, d := range diagnostics(written) {
			checkHint(t, d)
			for _, fixed := range d.Fixed {
				checkNarrow(t, written, fixed, rules)
			}
		}
	})
}

// rejoined reports whether the broken words join the tests in another way than the rule
// did: by an or, or with a not before one.
func (b brokenRule) rejoined() bool {
	count := func(text string) (n int) {
		for _, w := range strings.FieldsFunc(text, func(r rune) bool { return r == '(' || r == ')' || r == ' ' }) {
			if w == "or" || w == "not" || w == "unless" || w == "|" {
				n++
			}
		}
		return n
	}
	return count(b.text) != count(strings.Join(b.tests, " "))
}

// checkNarrow fails if a rule with a verdict acts on a frame that fails a test of
// the rule that the verdict is from, where the broken words have that test.
func checkNarrow(t *rapid.T, written, fixed string, rules map[string]brokenRule) {
	p, err := Check(fixed)
	if err != nil {
		t.Fatalf("%q leads to %q: %v", written, fixed, err)
	}
	for _, r := range p.Rules {
		b, known := rules[r.printVerdict()]
		own := said(b.text, r.Verdict.String()) == 1 && said(written, r.Verdict.String()) == 1
		if r.Verdict == Pass || !known || !own || strings.Contains(written, "else "+b.verdict) {
			continue // it stands there twice, in another rule, or says that it is for the rest
		}
		for _, test := range b.tests {
			if !strings.Contains(" "+b.text+" ", " "+test+" ") || b.rejoined() {
				continue
			}
			asked, _ := parseCondition(t, "if "+test)
			for range 20 {
				if frame := drawFrame(t); eyes(r.Cond, frame) && !eyes(asked, frame) {
					t.Fatalf("%q leads to %q, which takes %v without %s", written, fixed, frame, test)
				}
			}
		}
		if Print(r.Cond) == "all" && !saysAll(written) {
			t.Fatalf("%q leads to %q: everything", written, fixed)
		}
	}
}

// TestHintsMeanTheSame: a rule whose verdict stands before if, or that lacks if or
// then, gets no other hint than the rule.
func TestHintsMeanTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := drawBroken(t, rapid.SampledFrom([]string{"drop", "reflect", "redirect eth1"}).Draw(t, "verdict"))
		condition := strings.Join(b.tests, " ")
		want, err := Check("if " + condition + " then " + b.verdict)
		if err != nil {
			return
		}
		for _, written := range []string{
			b.verdict + " if " + condition, b.verdict + " " + condition, "if " + condition + " " + b.verdict,
			condition + " then " + b.verdict, condition + " " + b.verdict, "if " + condition + " then then " + b.verdict,
		} {
			fixed := fixesOf(written)
			if len(fixed) != 1 {
				t.Fatalf("%q leads to %q", written, fixed)
			}
			got, err := Check(fixed[0])
			if err != nil || reprint(got) != reprint(want) {
				t.Fatalf("%q leads to %q, %v, want %q", written, fixed[0], err, reprint(want))
			}
		}
	})
}

// TestLongSourcesGetHints: in a long file the hint is for the rule at fault.
func TestLongSourcesGetHints(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, "if udp_dest %d\n  then udp_dest %d\n", i, i+1)
	}
	written := b.String() + "if tcp_dprt 22\n  then ttl 5 else\nif tcp_dest 9\n"
	d := diagnostics(written)[0]
	if d.Hint != "did you mean tcp_dport?" || !slices.Equal(d.Fixed, []string{"if tcp_dport 22\n  then ttl 5"}) {
		t.Errorf("hint %q, %q", d.Hint, d.Fixed)
	}
}
