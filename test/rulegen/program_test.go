package rulegen_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/test/rulegen"
)

// everything is the style of programs in the whole of the language.
var everything = rulegen.Style{Operands: true, Chance: true}

// TestProgramsAreMostlyValid: at least 80 of 100, and what is refused is
// refused for what it means, not for how it is written.
func TestProgramsAreMostlyValid(t *testing.T) {
	t.Parallel()
	const n = 3000
	r, valid, reasons := source(10), 0, map[string]int{}
	for i := range n {
		text := []rulegen.Style{{}, everything}[i%2].Program(r)
		_, err := rule.Check(text)
		if err == nil {
			valid++
			continue
		}
		meaning := false
		for _, reason := range []string{"nothing can match", "do not go together", "no packet has both"} {
			if strings.Contains(err.Error(), reason) {
				reasons[reason]++
				meaning = true
			}
		}
		if !meaning {
			t.Errorf("%v\n%s", err, text)
		}
	}
	t.Logf("%d of %d are valid; refused: %v", valid, n, reasons)
	if valid < n*80/100 {
		t.Errorf("%d of %d are valid", valid, n)
	}
}

// TestProgramsCoverTheLanguage: every field is tested and set, every word and
// sign occurs.
func TestProgramsCoverTheLanguage(t *testing.T) {
	t.Parallel()
	r, words := source(11), map[string]bool{}
	tested, set, ops := map[string]bool{}, map[string]bool{}, map[operand.Op]bool{}
	for range 1500 {
		text := everything.Program(r)
		for _, w := range strings.Fields(text) {
			words[w] = true
		}
		if p, err := rule.Check(text); err == nil {
			for _, x := range p.Rules {
				walk(x.Cond, func(e rule.Test) { tested[e.Field.Name] = true })
				for _, a := range x.Actions {
					set[a.Field.Name] = true
					ops[a.Op] = true
				}
			}
		}
	}
	for kind := field.Number; kind <= field.Checksum; kind++ {
		for _, o := range operand.For(kind) {
			if !ops[o.Op] {
				t.Errorf("operation %d never occurs", o.Op)
			}
		}
	}
	for _, f := range field.Fields() {
		if !tested[f.Name] || !set[f.Name] {
			t.Errorf("%s: tested %v, set %v", f.Name, tested[f.Name], set[f.Name])
		}
	}
	for _, w := range strings.Fields("if then else and or not all eq ne lt le gt ge fix bad swap pass drop reflect eth vlan arp ip ip6 tcp udp icmp icmp6 ( ) == != < <= > >= && || ! = on off sport dport dscp ecn ttl r1: # , 0x0 chance random atleast atmost +1 -1") {
		if !words[w] {
			t.Errorf("%s never occurs", w)
		}
	}
}

// TestStyles: what a style leaves out never occurs, what it adds does.
func TestStyles(t *testing.T) {
	t.Parallel()
	raw := rulegen.Style{Link: field.RawIP, OnlyPass: true}
	to := rulegen.Style{Redirect: []string{"eth7", "drop"}}
	plain := source(17)
	for range 200 {
		p, err := rule.Check(rulegen.Program(plain))
		if err == nil && p.Draws > 0 {
			t.Errorf("something is drawn: %s", p.Source)
		}
	}
	r, verdicts := source(16), map[rule.Verdict]int{}
	for range 400 {
		if p, err := rule.Check(raw.Program(r)); err == nil {
			for _, x := range p.Rules {
				walk(x.Cond, func(e rule.Test) {
					if e.Field.Proto < field.IP {
						t.Errorf("%s on a link without Ethernet: %s", e.Field.Name, p.Source)
					}
				})
				if x.Verdict != rule.Pass {
					t.Errorf("a packet does not pass: %s", p.Source)
				}
			}
		}
		if p, err := rule.Check(to.Program(r)); err == nil {
			for _, x := range p.Rules {
				verdicts[x.Verdict]++
				if x.Verdict == rule.ToInterface && !slices.Contains(to.Redirect, x.Redirect) {
					t.Errorf("redirected to %q: %s", x.Redirect, p.Source)
				}
			}
		}
	}
	for _, v := range []rule.Verdict{rule.Pass, rule.Drop, rule.Reflect, rule.ToInterface} {
		if verdicts[v] == 0 {
			t.Errorf("no rule says %s", v)
		}
	}
}

// TestRepliesStyle: a part of the rules that say replies has an inverse, of each kind of change.
func TestRepliesStyle(t *testing.T) {
	t.Parallel()
	r, accepted, undone := source(18), 0, map[operand.Op]int{}
	swaps, rows := 0, 0
	for range 400 {
		p, err := rulegen.Style{Replies: true}.Source(r).Check()
		if err != nil || p.Replies == nil {
			continue
		}
		accepted++
		for _, x := range p.Replies.Rules {
			for _, a := range x.Actions {
				undone[a.Op]++
			}
			swaps += len(x.Swaps)
			if x.Rows != nil {
				rows++
			}
		}
	}
	if accepted < 100 || swaps == 0 || rows == 0 {
		t.Errorf("%d programs of 400 have replies, %d swaps, %d rules with rows", accepted, swaps, rows)
	}
	for _, op := range []operand.Op{operand.Set, operand.Prefix, operand.Add, operand.Sub} {
		if undone[op] == 0 {
			t.Errorf("nothing is undone by operation %d", op)
		}
	}
}

func walk(e rule.Expr, visit func(rule.Test)) {
	switch e := e.(type) {
	case rule.Test:
		visit(e)
	case rule.Not:
		walk(e.X, visit)
	case rule.And:
		for _, x := range e.X {
			walk(x, visit)
		}
	case rule.Or:
		for _, x := range e.X {
			walk(x, visit)
		}
	}
}

func TestProgramsAreTheSameAgain(t *testing.T) {
	t.Parallel()
	write := func(seed uint64) (texts []string) {
		r := source(seed)
		for range 50 {
			texts = append(texts, rulegen.Program(r))
		}
		return texts
	}
	if !slices.Equal(write(12), write(12)) {
		t.Error("the same seed gives other programs")
	}
	if slices.Equal(write(12), write(13)) {
		t.Error("another seed gives the same programs")
	}
}

// TestFramesHitRandomPrograms: over random programs, too, at least 40 of 100
// frames make a rule act, and nearly every rule acts on one.
func TestFramesHitRandomPrograms(t *testing.T) {
	t.Parallel()
	const programs, frames = 400, 100
	for _, link := range []field.Link{field.Ethernet, field.RawIP} {
		r, total, rules, met := source(14), 0, 0, 0
		for n := 0; n < programs; {
			style := rulegen.Style{Link: link, Operands: n%2 == 0, Chance: n%2 == 0}
			p, err := rule.Check(style.Program(r))
			if err != nil {
				continue
			}
			n++
			seen := map[int]bool{}
			for _, frame := range packetgen.FramesOn(link, r, p, frames) {
				if i := reference.RunOn(link, p, frame).Rule; i >= 0 {
					total++
					seen[i] = true
				}
			}
			rules += len(p.Rules)
			met += len(seen)
		}
		t.Logf("%s: %d of %d frames act, %d of %d rules", link, total, programs*frames, met, rules)
		if total < programs*frames*40/100 || met < rules*80/100 {
			t.Errorf("%s: rules act on %d of %d frames; %d of %d rules act", link, total, programs*frames, met, rules)
		}
	}
}

// TestShrink: a case of which two words and two bytes matter comes down to
// those.
func TestShrink(t *testing.T) {
	t.Parallel()
	text := "web: if ( tcp_dest 80,443 or udp_dest 53 ) ip_ttl lt 64 then ip_ttl 64, ip_id 7 # a comment\n if udp then ip_dscp ef"
	frame := packetgen.Frame(source(15), &rule.Program{})
	frame = append(append(frame, make([]byte, 60)...), 0xaa, 0, 0xbb)
	calls := 0
	fails := func(text string, frame []byte) bool {
		calls++
		p, err := rule.Check(text)
		if err != nil {
			return false
		}
		id := slices.ContainsFunc(p.Rules, func(r *rule.Rule) bool {
			return slices.ContainsFunc(r.Actions, func(a rule.Action) bool { return a.Field.Name == "ip_id" })
		})
		return id && slices.Contains(frame, 0xaa) && slices.Contains(frame, 0xbb)
	}
	gotText, gotFrame := rulegen.Shrink(text, frame, fails)
	if !fails(gotText, gotFrame) {
		t.Fatalf("what is left does not fail: %s", gotText)
	}
	if want := "if all then ip_id 0"; len(gotText) > len(want)+8 {
		t.Errorf("the text is %q, want something like %q", gotText, want)
	}
	zeros := slices.DeleteFunc(slices.Clone(gotFrame), func(b byte) bool { return b != 0 })
	if len(gotFrame) != 14 || len(zeros) != 12 {
		t.Errorf("the frame is %x, want 14 bytes, 12 of them 0", gotFrame)
	}
	if text, _ := rulegen.Shrink("if all then ip_ttl +77", frame, func(text string, _ []byte) bool {
		p, err := rule.Check(text)
		return err == nil && slices.ContainsFunc(p.Rules[0].Actions, func(a rule.Action) bool { return a.Op == operand.Add })
	}); text != "if all then ip_ttl +0" {
		t.Errorf("an addition is shrunk to %q", text)
	}
	t.Logf("%s\n%x\nafter %d calls", gotText, gotFrame, calls)
}

// TestShrinkAddresses: wide values become plain ones, and a frame of a link
// without Ethernet is shrunk like any other.
func TestShrinkAddresses(t *testing.T) {
	t.Parallel()
	text := "if ip6_src fe80::1:2/127 eth_src 02:00:00:00:00:01 then ip6_dest 2001:db8::77, eth_dest ff:00:00:00:00:01"
	frame := append([]byte{0x60}, make([]byte, 59)...)
	want := map[string]bool{"ip6_src": true, "eth_src": true, "ip6_dest": true, "eth_dest": true}
	fails := func(text string, frame []byte) bool {
		words := strings.Fields(text)
		n := 0
		for i, w := range words {
			if want[w] && i+1 < len(words) && strings.Contains(words[i+1], ":") {
				n++
			}
		}
		return n == len(want) && len(frame) >= 20 && frame[0]>>4 == 6
	}
	gotText, gotFrame := rulegen.Shrink(text, frame, fails)
	if want := "ip6_src :: eth_src :: ip6_dest :: eth_dest ::"; gotText != want {
		t.Errorf("the text is %q, want %q", gotText, want)
	}
	if len(gotFrame) != 20 || gotFrame[0] != 0x60 {
		t.Errorf("the frame is %x", gotFrame)
	}
}

// FuzzProgram: any seed gives a program that is checked without a panic, and
// frames that the reference leaves as long as they were.
func FuzzProgram(f *testing.F) {
	f.Add(uint64(1))
	f.Add(^uint64(0))
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := source(seed)
		link := field.Link(r.IntN(2))
		p, err := rule.Check(rulegen.Style{Link: link, Redirect: []string{"eth1"}, Operands: true, Chance: true}.Program(r))
		if err != nil {
			return
		}
		for _, frame := range packetgen.FramesOn(link, r, p, 20) {
			if got := reference.RunDrawn(link, p, frame, reference.Seeded(seed)); len(got.Frame) != len(frame) {
				t.Fatalf("%d bytes became %d", len(frame), len(got.Frame))
			}
		}
	})
}

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
