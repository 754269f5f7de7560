package software_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"repacket/internal/field"
	"repacket/internal/packetgen"
	"repacket/internal/plan"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/internal/software"
	"repacket/internal/why"
)

// TestWhyAsReference: why rules of random programs do not act is what the reference says, packet by
// packet, and asking changes nothing else.
func TestWhyAsReference(t *testing.T) {
	t.Parallel()
	missed := map[why.Miss]int{}
	for n := range uint64(60) {
		r := rand.New(rand.NewPCG(19, n))
		style, s, p := draw(r, n)
		if p != nil {
			compareWhy(t, s.Text, p, style.Link, r, 50, missed)
		}
	}
	for _, rules := range []string{
		"if icmp_id 5 then eth_src 02:00:00:00:00:01", "if ip_ttl ge 1 then icmp_seq 7", "if tcp_mss 1-9", "if tcp then tcp_mss 5",
	} {
		p, err := rule.Check(rules)
		if err != nil {
			t.Fatal(err)
		}
		compareWhy(t, rules, p, field.Ethernet, rand.New(rand.NewPCG(20, 2)), 200, missed)
	}
	for m := range why.Misses {
		if missed[m] < 30 {
			t.Errorf("tests failed in way %d %d times: that proves little", m, missed[m])
		}
	}
}

// TestWhyOfFields: what is seen is the value of the field, for every field there is.
func TestWhyOfFields(t *testing.T) {
	t.Parallel()
	missed := map[why.Miss]int{}
	for _, f := range field.Fields() {
		text := rule.Print(rule.Test{Field: f, In: field.One(field.V(1))})
		for _, rules := range []string{"if " + text, "if eth and not " + text, "if " + text + " or " + text + " then eth_src 02:00:00:00:00:01"} {
			p, err := rule.Check(rules)
			if err != nil {
				t.Fatalf("%s: %v", rules, err)
			}
			compareWhy(t, rules, p, field.Ethernet, rand.New(rand.NewPCG(20, 1)), 30, missed)
		}
	}
}

func compareWhy(t *testing.T, text string, p *rule.Program, link field.Link, r *rand.Rand, packets int, missed map[why.Miss]int) {
	t.Helper()
	tests := why.Tests(p)
	made, err := plan.BuildWhy(p, link)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	runner := software.New(made).Runner()
	for range packets {
		frame, draws := packetgen.FrameOn(link, r, p), packetgen.Draws(r, p)
		draw := func(i int) uint32 { return draws[i] }
		result := reference.RunDrawn(link, p, frame, draw)
		want := reference.Why(link, p, tests, frame, len(frame), result)
		runner.Draw = draw
		if got := runner.Run(slices.Clone(frame), len(frame)); got.Rule != result.Index {
			t.Fatalf("%s\nframe %x\nrule %d acts, want %d", text, frame, got.Rule, result.Index)
		}
		var list []software.Missed
		for _, m := range want {
			list = append(list, software.Missed{Slot: why.Slot(m.Test, m.Miss), Seen: m.Seen})
			missed[m.Miss]++
		}
		if !slices.Equal(runner.Missed, list) {
			t.Fatalf("%s\nframe %x\nmissed %x\nwant   %x", text, frame, runner.Missed, list)
		}
	}
}
