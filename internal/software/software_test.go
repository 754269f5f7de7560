package software_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"repacket/internal/field"
	"repacket/internal/packetgen"
	"repacket/internal/plan"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/internal/software"
	"repacket/test/quotes"
	"repacket/test/rulegen"
)

// draw is the n-th random program, for Ethernet or raw IP, with rules in files or without; it is nil
// where the rules are rejected.
func draw(r *rand.Rand, n uint64) (rulegen.Style, rulegen.Source, *rule.Program) {
	style := rulegen.Style{Redirect: []string{"eth9"}, Operands: n%3 != 0, Chance: n%2 == 0}
	if n%8 == 0 {
		style.Link = field.RawIP
	}
	s := rulegen.Source{Text: style.Program(r)}
	if n%5 == 0 {
		s = style.Source(r)
	}
	p, err := s.Check()
	if err != nil {
		return style, s, nil
	}
	return style, s, p
}

// TestAsReference compares random programs with the reference, on packets made for them.
func TestAsReference(t *testing.T) {
	t.Parallel()
	acted := 0
	for n := range uint64(300) {
		r := rand.New(rand.NewPCG(18, n))
		style, s, p := draw(r, n)
		if p == nil {
			continue
		}
		acted += compare(t, s, p, style.Link, r, 100)
	}
	if acted < 5_000 {
		t.Errorf("rules acted on %d packets: that proves little", acted)
	}
}

// compare compares a program with the reference on packets made for it, and returns on how
// many a rule acted.
func compare(t *testing.T, s rulegen.Source, p *rule.Program, link field.Link, r *rand.Rand, packets int) (acted int) {
	t.Helper()
	made, err := plan.BuildTables(p, link)
	if err != nil {
		t.Fatalf("%s\n%v", s.Text, err)
	}
	runner := software.New(made).Runner()
	for range packets {
		frame, draws := packetgen.FrameOn(link, r, p), packetgen.Draws(r, p)
		draw := func(i int) uint32 { return draws[i] }
		want := reference.RunDrawn(link, p, frame, draw)
		runner.Draw = draw
		got := slices.Clone(frame)
		result := runner.Run(got, len(got))
		if result.Rule != want.Index || !bytes.Equal(got, want.Frame) || result.Verdict != want.Verdict ||
			result.Redirect != want.Redirect || result.DryRun != want.DryRun {
			t.Fatalf("%s\n%v\nframe %x\nwant  %x rule %d\ngot   %x %+v", s.Text, s.Files, frame, want.Frame, want.Index, got, result)
		}
		if want.Index >= 0 {
			acted++
		}
	}
	return acted
}

// TestQuotesAsReference compares programs over what ICMP errors quote with the reference.
func TestQuotesAsReference(t *testing.T) {
	t.Parallel()
	for i, test := range quotes.Cases {
		for _, link := range []field.Link{field.Ethernet, field.RawIP} {
			r := rand.New(rand.NewPCG(20, uint64(i)))
			if acted := compare(t, rulegen.Source{Text: test.Name}, test.Program(), link, r, 1000); acted < 100 {
				t.Errorf("%s: acted on %d packets of 1,000: that proves little", test.Name, acted)
			}
		}
	}
}

// TestTablesAsReference compares rules of one shape, which become a table, with the reference.
func TestTablesAsReference(t *testing.T) {
	t.Parallel()
	for shape, kind := range map[string]plan.TableKind{
		"if udp_dest %[1]d then udp_dest %[2]d ip_src 10.1.0.%[3]d":                   plan.Dense,
		"if ip_src 10.0.%[3]d.1 udp_src %[1]d then ip_src 10.2.%[3]d.9 udp_src %[2]d": plan.Hash,
		"if tcp_seq %[1]d00-%[1]d77 then tcp_seq %[2]d tcp_window %[1]d":              plan.Ordered,
	} {
		r := rand.New(rand.NewPCG(21, uint64(kind)))
		var b strings.Builder
		for n := range 300 {
			fmt.Fprintf(&b, shape+"\n", 100+7*n, r.IntN(1<<16), n%256)
		}
		p, err := rule.Check(b.String())
		if err != nil {
			t.Fatal(err)
		}
		made, err := plan.BuildTables(p, field.Ethernet)
		if err != nil || len(made.Tables) != 1 || made.Tables[0].Kind != kind {
			t.Fatalf("%s: %d tables, want one of kind %v, %v", shape, len(made.Tables), kind, err)
		}
		if acted := compare(t, rulegen.Source{Text: shape}, p, field.Ethernet, r, 2000); acted < 500 {
			t.Errorf("%s: acted on %d packets of 2,000: that proves little", shape, acted)
		}
	}
}

// TestShortPayloadOfCutHeader: an IPv6 payload of 4 bytes has no UDP header. The length is in
// the bytes 4 and 5 (RFC 8200 section 3); what is next, behind them, does not matter then.
func TestShortPayloadOfCutHeader(t *testing.T) {
	t.Parallel()
	p, err := rule.Check("if udp then drop")
	if err != nil {
		t.Fatal(err)
	}
	runner := software.New(plan.Build(p, field.RawIP)).Runner()
	for captured, skipped := range map[int]software.Reason{5: software.Untested, 6: software.NotSkipped} {
		packet := []byte{0x60, 0, 0, 0, 0, 4}[:captured:captured]
		if result := runner.Run(packet, 60); result.Rule != -1 || result.Skipped != skipped {
			t.Errorf("%d bytes captured: %+v, want no rule and reason %d", captured, result, skipped)
		}
	}
}

// TestFixOfLongerHeader: the checksum of a header that a rule makes longer covers bytes
// behind the header that arrived. If they were not captured, the packet is skipped.
func TestFixOfLongerHeader(t *testing.T) {
	t.Parallel()
	p, err := rule.Check("if ip then ip_hl 6 ip_check fix")
	if err != nil {
		t.Fatal(err)
	}
	runner := software.New(plan.Build(p, field.RawIP)).Runner()
	// 10.0.0.1 > 10.0.0.2 of protocol 253, and eight bytes behind the header.
	packet := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0}
	for captured, skipped := range map[int]software.Reason{20: software.Unwritten, 23: software.Unwritten, 24: software.NotSkipped, 28: software.NotSkipped} {
		got := slices.Clone(packet[:captured:captured])
		want := slices.Clone(got)
		if skipped == software.NotSkipped {
			// ~(4600+001c+40fd+0a00+0001+0a00+0002+1234+5678) in ones' complement.
			want[0], want[10], want[11] = 0x46, 0xfc, 0x36
		}
		if result := runner.Run(got, len(packet)); result.Skipped != skipped || !bytes.Equal(got, want) {
			t.Errorf("%d bytes captured: %x, %+v, want %x", captured, got, result, want)
		}
	}
}

// completions are how many ways of filling in missing bytes are tried.
const completions = 6

// TestCutOff compares packets that were cut off with the reference: where that knows what is
// done, it is done; and whatever is done is what the rules make of the whole packet, whatever
// the missing bytes are.
func TestCutOff(t *testing.T) {
	t.Parallel()
	acted, skipped, more := 0, 0, 0
	for n := range uint64(400) {
		r := rand.New(rand.NewPCG(19, n))
		style, s, p := draw(r, n)
		if p == nil {
			continue
		}
		made, err := plan.BuildTables(p, style.Link)
		if err != nil {
			t.Fatalf("%s\n%v", s.Text, err)
		}
		runner := software.New(made).Runner()
		for range 60 {
			frame, draws := packetgen.FrameOn(style.Link, r, p), packetgen.Draws(r, p)
			runner.Draw = func(i int) uint32 { return draws[i] }
			captured := frame[:min(r.IntN(80), len(frame))]
			want := reference.RunCaptured(style.Link, p, captured, len(frame), runner.Draw)
			got := slices.Clone(captured)
			result := runner.Run(got, len(frame))
			fail := func(what string, of reference.Result) {
				t.Fatalf("%s\n%s\n%v\nframe %x\nof %d bytes, captured %d\nwant %x rule %d, skipped %t\ngot  %x %+v",
					what, s.Text, s.Files, frame, len(frame), len(captured), of.Frame, of.Index, of.Skipped, got, result)
			}
			switch {
			case result.Skipped != software.NotSkipped:
				if skipped++; !bytes.Equal(got, captured) {
					fail("a skipped packet is changed", want)
				}
				if !want.Skipped && len(made.Tables) == 0 {
					fail("what is known is skipped", want)
				}
				continue
			case !want.Skipped && (result.Rule != want.Index || !bytes.Equal(got, want.Frame)):
				fail("a difference", want)
			case want.Skipped:
				more++
			}
			if result.Rule >= 0 {
				acted++
			}
			for i := range completions {
				whole := slices.Clone(frame)
				for at := len(captured); at < len(whole) && i > 0; at++ {
					whole[at] = [completions]byte{2: 0xff, 3: byte(r.Uint32()), 4: byte(r.Uint32()), 5: byte(r.Uint32())}[i]
				}
				w := reference.RunDrawn(style.Link, p, whole, runner.Draw)
				if w.Index != result.Rule || !bytes.Equal(w.Frame[:len(captured)], got) || w.Verdict != result.Verdict {
					frame = whole
					fail("another completion", w)
				}
			}
		}
	}
	if acted < 3_000 || skipped < 3_000 {
		t.Errorf("rules acted on %d packets and %d were skipped: that proves little", acted, skipped)
	}
	t.Logf("%d acted, %d skipped, %d known by the plan alone", acted, skipped, more)
}
