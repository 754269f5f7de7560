package engine

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/cilium/ebpf"

	"repacket/internal/bpf"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// Proof is what has been tried on a program, and agreed.
type Proof struct {
	// Packets is the number of packets that ran through it, Acted the number
	// on which a rule acted.
	Packets, Acted int
	// Unreached are the rules, by their place in rule.Program.Written, that
	// acted on none of the packets: of them nothing is proved.
	Unreached []int
}

// Difference is a packet on which the program in the kernel does not do what
// the reference says. It must never be seen; if it is, it is a bug.
type Difference struct {
	Source string   // the rules
	Draws  []uint32 // the random numbers that the rules drew
	Frame  []byte   // as it arrives; nil where only the counters differ, over all packets
	Want   []byte   // as the reference lets it leave
	Got    []byte   // as the program does
	// Verdict is what the program returned; XDP_PASS is 2.
	Verdict uint32
	// WantCounted is what each rule as written should have counted over all
	// packets so far, Counted what it did count.
	WantCounted, Counted []bpf.Counter
}

func (d *Difference) Error() string {
	return "the program in the kernel does not do what the rules say; nothing was attached"
}

// Report is the difference in full, for a bug report.
func (d *Difference) Report() string {
	text := fmt.Sprintf("rules:    %s\n", d.Source)
	if d.Frame != nil {
		if len(d.Draws) > 0 {
			text += fmt.Sprintf("draws:    %x\n", d.Draws)
		}
		text += fmt.Sprintf("arrives:  %x\nexpected: %x\nprogram:  %x, verdict %d\n", d.Frame, d.Want, d.Got, d.Verdict)
	}
	return text + fmt.Sprintf("counters: %v, expected %v\n", d.Counted, d.WantCounted)
}

// longestInOne is a length in bytes up to which a test run gives the program a
// packet in one buffer. Natively a program that knows only one never sees a
// longer packet; generic mode makes one buffer of any, but a test run cuts them
// up all the same.
const longestInOne = 3000

// proofSeed makes every proof of the same rules the same.
const proofSeed = 0x7265706163

// Prove loads the rules as they would be attached, runs n packets made for them
// through the program in the kernel, one at a time, and compares bytes, verdict
// and counters with the reference. Where rules draw random numbers, both are
// handed the same ones; that is all in which the program differs from the one to
// be attached. The error is a *Difference, or that of Load.
func Prove(p *rule.Program, o LoadOptions, n int) (Proof, error) {
	o.limits, o.Drawn = nil, true
	l, proof, err := loadProved(p, o, n)
	if l != nil {
		l.Close()
	}
	return proof, err
}

// loadProved is Prove, but gives the program that has been proved: its counters
// and tickets have counted the packets. With an error there is none.
func loadProved(p *rule.Program, o LoadOptions, n int) (*Loaded, Proof, error) {
	made := make(chan []trial, 1)
	go func() { made <- trials(p, o, n) }() // while the kernel looks at the program
	l, err := Load(p, o)
	if err != nil {
		return nil, Proof{}, err
	}
	proof, err := l.prove(p, o, made)
	if err != nil {
		return nil, proof, errors.Join(err, l.Close())
	}
	return l, proof, nil
}

// prove puts a program to the proof.
func (l *Loaded) prove(p *rule.Program, o LoadOptions, made <-chan []trial) (Proof, error) {
	if o.Timed {
		if err := l.SetDeadline(math.MaxUint64); err != nil {
			return Proof{}, err
		}
	}
	b := &bench{program: p, hook: o.Hook, loaded: l, limit: o.Limit, counted: make([]bpf.Counter, len(p.Written))}
	for _, t := range <-made {
		if err := b.try(t); err != nil {
			return b.proof, err
		}
	}
	for i, c := range b.counted {
		if c.Packets == 0 {
			b.proof.Unreached = append(b.proof.Unreached, i)
		}
	}
	return b.proof, b.checkCounters()
}

// trial is a packet and what is to become of it.
type trial struct {
	frame []byte
	draws []uint32 // the random numbers of the rules
	want  reference.Result
}

// trials makes n packets for the rules, the same ones each time.
func trials(p *rule.Program, o LoadOptions, n int) []trial {
	r := rand.New(rand.NewPCG(proofSeed, uint64(n)))
	out := make([]trial, 0, n)
	for len(out) < n {
		if frame := packetgen.FrameOn(o.Link, r, p); Testable(o, frame) {
			draws := packetgen.Draws(r, p)
			want := reference.RunDrawn(o.Link, p, frame, func(i int) uint32 { return draws[i] })
			out = append(out, trial{frame, draws, want})
		}
	}
	return out
}

// Testable tells whether the kernel runs a program on a frame that has not been
// received. At tc it wants a header behind the Ethernet addresses, the whole of
// it where the type promises one, and one buffer.
func Testable(o LoadOptions, frame []byte) bool {
	const addresses, ip, ip6 = 14, 20, 40 // bytes
	switch {
	case o.Hook == bpf.XDP:
		return o.Fragments || len(frame) <= longestInOne
	case len(frame) > longestInOne || len(frame) < addresses+ip:
		return false
	}
	isIP6 := frame[12] == 0x86 && frame[13] == 0xdd
	return !isIP6 || len(frame) >= addresses+ip6
}

// bench is a loaded program beside the reference.
type bench struct {
	program *rule.Program
	hook    bpf.Hook
	loaded  *Loaded
	limit   uint64
	out     []byte
	counted []bpf.Counter // what the reference counted, by rule as written
	proof   Proof
}

// try runs one packet through both.
func (b *bench) try(t trial) error {
	frame, want := t.frame, t.want
	if b.limit > 0 { // every packet is to be acted on
		if err := b.loaded.giveTickets(); err != nil {
			return err
		}
	}
	if err := b.loaded.SetDraws(t.draws); err != nil {
		return err
	}
	verdict, got, err := b.run(frame)
	if err != nil {
		return err
	}
	b.proof.Packets++
	if want.Index >= 0 {
		b.proof.Acted++
		b.counted[want.Index].Packets++
		b.counted[want.Index].Bytes += uint64(len(frame))
	}
	if verdict != b.hook.Verdict(want.Verdict) || !bytes.Equal(got, want.Frame) {
		return b.differs(Difference{Frame: frame, Draws: t.draws, Want: want.Frame, Got: bytes.Clone(got), Verdict: verdict})
	}
	return nil
}

// run runs one packet through the program in the kernel. What it returns is
// overwritten by the next.
func (b *bench) run(frame []byte) (verdict uint32, out []byte, err error) {
	if len(b.out) < len(frame) {
		b.out = make([]byte, 2*len(frame))
	}
	o := ebpf.RunOptions{Data: frame, DataOut: b.out}
	verdict, err = b.loaded.Program.Run(&o)
	if err != nil {
		return 0, nil, fmt.Errorf("run a packet of %d bytes through the program: %w", len(frame), err)
	}
	return verdict, o.DataOut, nil
}

// differs completes a difference with the rules and the counters.
func (b *bench) differs(d Difference) error {
	d.Source, d.WantCounted = b.program.Source, b.counted
	var err error
	d.Counted, err = b.loaded.Counters()
	return errors.Join(&d, err)
}

// checkCounters compares what has been counted over all packets.
func (b *bench) checkCounters() error {
	got, err := b.loaded.Counters()
	if err != nil {
		return err
	}
	if !slices.Equal(got, b.counted) {
		return b.differs(Difference{})
	}
	return nil
}
