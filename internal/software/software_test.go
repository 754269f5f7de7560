package software_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"repacket/internal/field"
	"repacket/internal/packetgen"
	"repacket/internal/plan"
	"repacket/internal/reference"
	"repacket/internal/software"
	"repacket/test/rulegen"
)

// TestAsReference compares random programs with the reference, on packets made for them.
func TestAsReference(t *testing.T) {
	t.Parallel()
	acted := 0
	for n := range uint64(300) {
		r := rand.New(rand.NewPCG(18, n))
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
			continue
		}
		made, err := plan.BuildTables(p, style.Link)
		if err != nil {
			t.Fatalf("%s\n%v", s.Text, err)
		}
		runner := software.New(made).Runner()
		for range 100 {
			frame, draws := packetgen.FrameOn(style.Link, r, p), packetgen.Draws(r, p)
			draw := func(i int) uint32 { return draws[i] }
			want := reference.RunDrawn(style.Link, p, frame, draw)
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
	}
	if acted < 5_000 {
		t.Errorf("rules acted on %d packets: that proves little", acted)
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
