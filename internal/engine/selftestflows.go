package engine

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"

	"repacket/internal/bpf"
	"repacket/internal/field"
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
// through the rules before, some of them by an ICMP error. The others are as for any rules.
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
			answer := AnswerTo(o, t.want.Frame)
			if r.IntN(3) == 0 {
				answer = errorAbout(o, t.want.Frame, r)
			}
			if Testable(o, answer) {
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

// trackTrials are packets for rules that track flows: one of four is an ICMP error about the answer to an
// earlier packet of a flow, as its sender gets it. The others are drawn for a program.
func trackTrials(p *rule.Program, o LoadOptions, r *rand.Rand, n int, drawn *rule.Program) []trial {
	flows, out := &reference.Flows{}, make([]trial, 0, n)
	var asked [][]byte
	for len(out) < n {
		frame := packetgen.FrameOn(o.Link, r, drawn)
		if len(asked) > 0 && r.IntN(4) == 0 {
			frame = errorAbout(o, AnswerTo(o, asked[r.IntN(len(asked))]), r)
		}
		if !Testable(o, frame) {
			continue
		}
		t := newTrial(p, o, frame, packetgen.Draws(r, p), flows)
		out = append(out, t)
		if a := t.want.Acted; a != nil && a.Replies == rule.Tracked && !a.Restores() {
			asked = append(asked, frame)
		}
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

// errorAbout is an ICMP error that quotes a packet, of which 8 bytes behind the IP header are there at
// least, or nothing useful if that is no IP packet. Its checksums are what they happen to be, and stay
// as wrong.
func errorAbout(o LoadOptions, frame []byte, r *rand.Rand) []byte {
	const ethernet, tag, ip, ip6, most = 14, 4, 20, 40, 120
	at := 0
	if o.Link == field.Ethernet {
		for at = ethernet; at+tag <= len(frame) && (frame[at-2] == 0x81 || frame[at-2] == 0x88 && frame[at-1] == 0xa8); {
			at += tag
		}
	}
	quote := frame[min(at, len(frame)):]
	message := []byte{3, 1, 0, 0, 0, 0, 0, 0} // host unreachable, RFC 792
	var header []byte
	switch {
	case len(quote) >= ip6 && quote[0]>>4 == 6:
		quote = quote[:min(len(quote), ip6+8+r.IntN(most))]
		message[0] = 2 // packet too big, RFC 4443
		header = make([]byte, ip6)
		header[0], header[6], header[7] = 0x60, 58, 64
		binary.BigEndian.PutUint16(header[4:], uint16(len(message)+len(quote)))
		copy(header[24:], quote[8:24])
		if r.IntN(2) == 0 { // by the destination itself
			copy(header[8:], quote[24:40])
		}
	case len(quote) >= ip && quote[0]>>4 == 4:
		quote = quote[:min(len(quote), 4*int(quote[0]&0xf)+8+r.IntN(most))]
		header = make([]byte, ip)
		header[0], header[8], header[9] = 0x45, 64, 1
		binary.BigEndian.PutUint16(header[2:], uint16(ip+len(message)+len(quote)))
		copy(header[16:], quote[12:16])
		if r.IntN(2) == 0 {
			copy(header[12:], quote[16:20])
		}
	default:
		return frame
	}
	return slices.Concat(frame[:at], header, message, quote)
}
