package engine

import (
	"math/rand/v2"
	"sync"

	"repacket/internal/bpf"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// A program that gives packets what they held in the flow that they answer is tested together with
// the rules that track the flows: these run before, in a program that shares its table.

// answersFlows reports whether a program is one of these.
func (o LoadOptions) answersFlows(p *rule.Program) bool { return o.Answers != nil && p.Tracks() }

// forwardOptions are those of the rules' program beside one that answers its flows.
func (o LoadOptions) forwardOptions() LoadOptions {
	return LoadOptions{Hook: bpf.XDP, Link: o.Link, Redirect: outlets(o.Answers), Drawn: true, Clang: o.Clang}
}

func loadForward(o LoadOptions, flows *Flows) (*bench, error) {
	with := o.forwardOptions()
	with.Flows = flows
	l, err := Load(o.Answers, with)
	if err != nil {
		return nil, err
	}
	return &bench{program: o.Answers, hook: with.Hook, loaded: l, counted: make([]bpf.Counter, len(o.Answers.Written))}, nil
}

func newTrial(p *rule.Program, o LoadOptions, frame []byte, draws []uint32, flows *reference.Flows) trial {
	want := reference.RunTracked(o.Link, p, frame, func(i int) uint32 { return draws[i] }, flows)
	return trial{frame: frame, draws: draws, want: want}
}

// answerTrials are packets for a program that answers flows: three of four answer a packet that runs
// through the rules before. The others are as for any rules.
func answerTrials(p *rule.Program, o LoadOptions, r *rand.Rand, n int) []trial {
	flows, out := &reference.Flows{}, make([]trial, 0, n)
	for len(out) < n {
		var answered *trial
		frame := packetgen.FrameOn(o.Link, r, p)
		if r.IntN(4) > 0 {
			with := o.forwardOptions()
			asked := packetgen.FrameOn(o.Link, r, o.Answers)
			if !Testable(with, asked) {
				continue
			}
			t := newTrial(o.Answers, with, asked, packetgen.Draws(r, o.Answers), flows)
			answered = &t
			if answer := AnswerTo(o, t.want.Frame); Testable(o, answer) {
				frame = answer
			}
		}
		for !Testable(o, frame) {
			frame = packetgen.FrameOn(o.Link, r, p)
		}
		t := newTrial(p, o, frame, packetgen.Draws(r, p), flows)
		t.answered = answered
		out = append(out, t)
	}
	return out
}

// answering makes of a packet one that answers it.
var answering = sync.OnceValue(func() *rule.Program {
	p, err := rule.Check(`
		if ip and tcp then swap ip, swap tcp else if ip and udp then swap ip, swap udp
		else if ip and icmp_type 8 then swap ip, icmp_type 0 else if ip and icmp_type 13 then swap ip, icmp_type 14
		else if ip6 and tcp then swap ip6, swap tcp else if ip6 and udp then swap ip6, swap udp
		else if ip6 and icmp6_type 128 then swap ip6, icmp6_type 129
		else if ip then swap ip else if ip6 then swap ip6`)
	if err != nil {
		panic(err)
	}
	return p
})

// AnswerTo is a packet that answers another one, as far as it says which flow it belongs to.
func AnswerTo(o LoadOptions, frame []byte) []byte {
	return reference.RunOn(o.Link, answering(), frame).Frame
}
