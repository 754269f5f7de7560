package bpf_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/reference"
)

// TestLimit: so many packets and no more, and then no more tickets are drawn.
func TestLimit(t *testing.T) {
	c := load(t, "if udp then ip_ttl 9", engine.LoadOptions{Limit: 3})
	for i := range 6 {
		want := reference.Run(c.rules, udpFrame).Frame
		if i >= 3 {
			want = udpFrame
		}
		o := ebpf.RunOptions{Data: udpFrame, DataOut: c.out}
		if _, err := c.loaded.Program.Run(&o); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(o.DataOut, want) {
			t.Errorf("packet %d leaves as %x, want %x", i, o.DataOut, want)
		}
	}
	taken, err := c.loaded.Taken()
	if err != nil || taken != 3 {
		t.Errorf("%d tickets were drawn (%v), want 3", taken, err)
	}
	counters, err := c.loaded.Counters()
	if err != nil || counters[0].Packets != 3 || counters[0].Bytes != uint64(3*len(udpFrame)) {
		t.Errorf("counted %+v (%v), want 3 packets", counters, err)
	}
}

// TestTicketIsCompared: on the ticket that is drawn it depends whether a rule
// acts, because another CPU can draw between reading and drawing. No packet
// shows that for sure, so the instructions are looked at.
func TestTicketIsCompared(t *testing.T) {
	ins, err := bpf.Compile(plan.Build(checked(t, "if udp"), field.Ethernet), bpf.Options{Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	drawn := slices.IndexFunc(ins, func(i asm.Instruction) bool { return i.OpCode.Mode() == asm.AtomicMode })
	if drawn < 0 {
		t.Fatal("no ticket is drawn")
	}
	ticket, next := ins[drawn].Src, ins[drawn+1]
	if next.OpCode.JumpOp() != asm.JGE || next.Dst != ticket || next.OpCode.Source() != asm.RegSource {
		t.Errorf("behind %v stands %v, want a jump if the ticket is not below the limit", ins[drawn], next)
	}
}

// TestLargeNumbers: counters and tickets go on beyond 32 bits.
func TestLargeNumbers(t *testing.T) {
	const large = 1<<32 - 1
	counters := singleMap(t, ebpf.PerCPUArray, bpf.CounterSize)
	tickets := singleMap(t, ebpf.Array, 8)
	all := make([]bpf.Counter, ebpf.MustPossibleCPU())
	for i := range all {
		all[i] = bpf.Counter{Packets: large, Bytes: large}
	}
	if err := counters.Put(uint32(0), all); err != nil {
		t.Fatal(err)
	}
	if err := tickets.Put(uint32(0), uint64(large)); err != nil {
		t.Fatal(err)
	}
	o := bpf.Options{Counters: counters.FD(), Tickets: tickets.FD(), Limit: large + 2}
	ins, err := bpf.Compile(plan.Build(checked(t, "if udp"), field.Ethernet), o)
	if err != nil {
		t.Fatal(err)
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Instructions: ins, License: "GPL"})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	for range 4 { // two more than are left
		if _, _, err := prog.Test(udpFrame); err != nil {
			t.Fatal(err)
		}
	}
	var got bpf.Counter
	if err := counters.Lookup(uint32(0), &all); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		got.Packets += c.Packets - large
		got.Bytes += c.Bytes - large
	}
	if want := (bpf.Counter{Packets: 2, Bytes: uint64(2 * len(udpFrame))}); got != want {
		t.Errorf("counted %+v more, want %+v", got, want)
	}
}

func singleMap(t *testing.T, kind ebpf.MapType, size uint32) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: kind, KeySize: 4, ValueSize: size, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}
