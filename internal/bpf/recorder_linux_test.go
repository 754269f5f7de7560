package bpf_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// TestRecordIsGivenBack: of a packet that is not rewritten although its record has begun nothing is
// recorded, and the ring does not fill up. That happens for want of memory only, or where the
// verifier has to be shown a bounds check again, so here such a check is made to fail: it compares
// with the start of the packet in place of the end.
func TestRecordIsGivenBack(t *testing.T) {
	ring := newMap(t, ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 4096})
	control := newMap(t, ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: bpf.RecordControlSize, MaxEntries: 1})
	counters := newMap(t, ebpf.MapSpec{
		Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: bpf.CounterSize, MaxEntries: 1 + uint32(bpf.ReasonCount),
	})
	ins, err := bpf.Compile(plan.Build(checked(t, "if ip6 and udp then udp_dest 8080"), field.Ethernet), bpf.Options{
		Hook: bpf.TC, Rules: 1, Counters: counters.FD(), Record: &bpf.Recording{Ring: ring.FD(), Control: control.FD()},
	})
	if err != nil {
		t.Fatal(err)
	}
	failBoundsCheck(t, ins)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: ins, License: "GPL"})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer prog.Close()
	const udp, packets = layers.IPProtocolUDP, 100 // more than the ring has room for
	ip6 := &layers.IPv6{Version: 6, NextHeader: udp, SrcIP: make([]byte, 16), DstIP: make([]byte, 16)}
	frame := super(t, &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv6}, ip6, gopacket.SerializableLayer(&layers.UDP{}))
	reader, err := ringbuf.NewReader(ring)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for range packets {
		verdict, out, err := prog.Test(frame)
		if err != nil || verdict != bpf.TC.Verdict(rule.Pass) || !bytes.Equal(out, frame) {
			t.Fatalf("%x leaves with verdict %d, %v", out, verdict, err)
		}
		if n := reader.AvailableBytes(); n == 0 {
			t.Fatal("no record has begun")
		}
		if err := reader.Flush(); err != nil { // what was given back is stepped over
			t.Fatal(err)
		}
		if r, err := reader.Read(); err == nil {
			t.Fatalf("recorded: %x", r.RawSample)
		}
	}
	var c bpf.RecordControl
	if err := control.Lookup(uint32(0), &c); err != nil || c.Lost > 0 {
		t.Errorf("the ring was full %d times, %v", c.Lost, err)
	}
}

// failBoundsCheck changes the check that leads to where records are given back.
func failBoundsCheck(t *testing.T, ins asm.Instructions) {
	t.Helper()
	const dataAt, endAt = 76, 80 // of struct __sk_buff in linux/bpf.h
	discard := slices.IndexFunc(ins, func(i asm.Instruction) bool {
		return i.IsBuiltinCall() && asm.BuiltinFunc(i.Constant) == asm.FnRingbufDiscard
	})
	label := ""
	for ; discard > 0 && label == ""; discard-- {
		label = ins[discard].Symbol()
	}
	jump := slices.IndexFunc(ins, func(i asm.Instruction) bool { return i.OpCode.JumpOp() == asm.JGT && i.Reference() == label })
	for ; jump > 0; jump-- {
		if i := &ins[jump]; i.OpCode.Class() == asm.LdXClass && i.Offset == endAt {
			i.Offset = dataAt
			return
		}
	}
	t.Fatal("there is no such check")
}
